"""What the course knows of its machine."""

import socket
import ssl
import threading
import time
import urllib.error
import urllib.request

import pytest
import torch

from course_utils import runtime


@pytest.fixture(autouse=True)
def fresh():
    runtime.reachable.cache_clear()
    yield
    runtime.reachable.cache_clear()


@pytest.mark.parametrize(
    "failure",
    [
        OSError("no network"),
        urllib.error.URLError(ssl.SSLCertVerificationError("another host's certificate")),
        TimeoutError("the handshake hangs"),
    ],
)
def test_a_server_that_does_not_answer_is_not_reachable(monkeypatch, failure):
    def refuse(request, timeout):
        raise failure

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert not runtime.reachable("host.invalid", 0.5)


def test_a_server_that_refuses_its_front_page_is_there(monkeypatch):
    asked = []

    def refuse(request, timeout):
        asked.append((request.full_url, request.method, timeout))
        raise urllib.error.HTTPError(request.full_url, 403, "forbidden", {}, None)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert runtime.reachable("host.invalid", 0.5)
    assert runtime.reachable("host.invalid", 0.5)
    assert asked == [("https://host.invalid/", "HEAD", 0.5)], "asked once per run"


def test_a_resolver_that_never_answers_is_given_up(monkeypatch):
    over = threading.Event()

    def never(*_, **__):
        over.wait(30)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    start = time.monotonic()
    assert not runtime.reachable("host.invalid", 0.2)
    assert time.monotonic() - start < 10
    over.set()


def test_a_host_that_takes_the_connection_and_says_nothing(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert not runtime.reachable(f"127.0.0.1:{port}", 0.3)


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


def test_the_cache_is_one_folder_for_notebooks_and_commands(monkeypatch, tmp_path):
    root = runtime.data_dir().parent
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path / "course" / "data")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    for asked, folder in (
        (None, tmp_path / "course" / ".cache"),
        ("  ", tmp_path / "course" / ".cache"),
        ("mine", tmp_path / "course" / "mine"),
        ("~/mine", tmp_path / "home" / "mine"),
        (str(tmp_path / "there"), tmp_path / "there"),
    ):
        if asked is None:
            monkeypatch.delenv("COURSE_CACHE", raising=False)
        else:
            monkeypatch.setenv("COURSE_CACHE", asked)
        monkeypatch.chdir(tmp_path)
        assert runtime.cache_dir() == folder
        assert folder.is_dir()
    assert (root / "course_utils").is_dir()


def test_a_cache_where_nobody_is_at_home_is_named(monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(FileNotFoundError, match="no such home folder: '~nobody-of-this-name/cache'"):
        runtime.cache_dir()


def test_setup_says_which_profile_is_in_force(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "cpu")
    assert runtime.setup().startswith("profile cpu on ")
    monkeypatch.setenv("COURSE_PROFILE", "laptop")
    assert runtime.setup(3, "ci").startswith("profile ci on ")
