"""What the course knows of its machine."""

import socket

import torch

from course_utils import runtime


def test_a_server_that_takes_no_connection_is_not_reachable(monkeypatch):
    asked = []

    def refuse(address, timeout):
        asked.append((address, timeout))
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert not runtime.reachable("host.invalid", 0.5)
    assert asked == [(("host.invalid", 443), 0.5)]


def test_synchronize_waits_for_the_device_that_was_named(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda on: waited.append(("cuda", on)))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append(("mps", None)))
    runtime.synchronize("cpu")
    runtime.synchronize("cuda:0")
    runtime.synchronize(torch.device("mps"))
    assert waited == [("cuda", "cuda:0"), ("mps", None)]
    monkeypatch.setattr(runtime, "device", lambda: torch.device("mps"))
    runtime.synchronize()
    assert waited[-1] == ("mps", None)
