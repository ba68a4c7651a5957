"""Published files: never fetched unasked, never the wrong ones, never a hang, and a break loses nothing."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
import urllib.request
from collections import namedtuple
from functools import lru_cache
from pathlib import Path

import pytest
from filelock import FileLock

from course_utils import runtime
from course_utils.external import published
from course_utils.external.published import Published, obtain
from tests.external import servers

CONTENT = bytes(range(256)) * 2000  # some eight pieces
ASK = "official_toy(download=True)"
PATIENCE = 30  # seconds: what takes longer hangs


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The course's cache in a folder of the test's own, and no proxy between it and its servers."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    runtime.reachable.cache_clear()
    yield tmp_path / "cache"
    runtime.reachable.cache_clear()


@pytest.fixture
def server(monkeypatch):
    """A server that is as good as any; a test that wants to know whether it is in reach asks for another one."""
    monkeypatch.setattr(runtime, "reachable", lru_cache(lambda host, seconds: True))
    with servers.serving(CONTENT) as running:
        yield running


def toy(host: str, content: bytes = CONTENT, scheme: str = "http") -> Published:
    return Published("The published weights of a toy", f"{scheme}://{host}/v1/toy.bin", len(content),
                     hashlib.sha256(content).hexdigest())  # fmt: skip


def fetched(file: Published, capsys, **how) -> str:
    """Ask for the file in vain, and return the one line that says why."""
    start = time.monotonic()
    assert obtain(file, ASK, download=True, **{"seconds": 0.5, "stall": 0.5} | how) is None
    assert time.monotonic() - start < PATIENCE
    out, err = capsys.readouterr()
    assert err == ""
    lines = [line for line in out.splitlines() if not line.startswith("\r") and "B/s" not in line and line]
    assert len(lines) == 1
    assert lines[0].startswith(f"{file} could not be fetched: ")
    assert "Errno" not in lines[0]
    return lines[0]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"toy.bin.part.lock"} if folder.exists() else set()


def test_nothing_is_fetched_unasked(cache, monkeypatch, capsys):
    def never(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(urllib.request, "urlopen", never)
    monkeypatch.setattr(published, "urlopen", never)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    assert obtain(toy("example.org"), ASK) is None
    assert capsys.readouterr() == (
        "The published weights of a toy (0.5 MB) are not on this machine; `official_toy(download=True)` fetches them"
        " once from example.org.\n",
        "",
    )
    assert not files(cache)


def test_fetched_once_with_a_bar_on_stdout(server, cache, capsys):
    file = toy(server.host)
    path = obtain(file, ASK, download=True)
    out, err = capsys.readouterr()
    assert path == cache / "toy.bin"
    assert path.read_bytes() == CONTENT
    assert "100%" in out
    assert err == "", "a notebook shows stderr in red"
    assert files(cache) == {"toy.bin"}
    assert obtain(file, ASK, download=True) == path
    assert obtain(file, ASK) == path
    assert server.asked == [0]
    assert capsys.readouterr() == ("", "")


def test_a_whole_copy_elsewhere_is_taken_and_a_damaged_one_is_not(tmp_path, capsys):
    good, bad = tmp_path / "good.bin", tmp_path / "bad.bin"
    good.write_bytes(CONTENT)
    bad.write_bytes(CONTENT[:-1] + b"!")
    assert obtain(toy("example.org"), ASK, elsewhere=[tmp_path / "none.bin", bad, good]) == good
    assert obtain(toy("example.org"), ASK, elsewhere=[bad]) is None
    assert "cannot be used (bad.bin is damaged: its SHA-256 is not the published one)" in capsys.readouterr().out


def test_a_damaged_copy_is_named_and_fetching_mends_it(server, cache, capsys):
    cache.mkdir()
    path = cache / "toy.bin"
    flipped = bytearray(CONTENT)
    flipped[1234] ^= 1
    for content, says in ((flipped, "SHA-256"), (CONTENT[:100], "it has 100 bytes"), (b"", "it has 0 bytes")):
        path.write_bytes(content)
        assert obtain(toy(server.host), ASK) is None
        line = capsys.readouterr().out
        assert line.count("\n") == 1
        assert "toy.bin is damaged" in line
        assert says in line
        assert obtain(toy(server.host), ASK, download=True).read_bytes() == CONTENT
        capsys.readouterr()


def test_what_is_no_file_is_named(server, cache, capsys):
    (cache / "toy.bin").mkdir(parents=True)
    assert obtain(toy(server.host), ASK) is None
    assert "toy.bin cannot be read" in capsys.readouterr().out
    assert "can't keep them" in fetched(toy(server.host), capsys)


@pytest.mark.parametrize("fault", ["cut", "hang"])
def test_a_break_keeps_what_came_and_the_next_call_goes_on(server, cache, capsys, fault):
    setattr(server, fault, 300_000)
    line = fetched(toy(server.host), capsys)
    assert ("stopped in the middle" if fault == "cut" else "sent nothing for 0.5 s") in line
    assert "0.3 MB are kept, ask again and the rest follows" in line
    assert files(cache) == {"toy.bin.part"}
    kept = (cache / "toy.bin.part").stat().st_size
    assert 0 < kept <= 300_000
    setattr(server, fault, None)
    assert obtain(toy(server.host), ASK, download=True).read_bytes() == CONTENT
    assert server.asked == [0, kept]
    assert files(cache) == {"toy.bin"}


def test_a_server_that_knows_no_ranges_starts_again(server, cache):
    cache.mkdir()
    (cache / "toy.bin.part").write_bytes(b"x" * 1000)
    server.ranges = False
    assert obtain(toy(server.host), ASK, download=True).read_bytes() == CONTENT


def test_a_part_that_was_complete_needs_no_network(server, cache):
    cache.mkdir()
    (cache / "toy.bin.part").write_bytes(CONTENT)
    assert obtain(toy(server.host), ASK, download=True).read_bytes() == CONTENT
    assert server.asked == []


def test_a_part_of_something_else_is_thrown_away(server, cache, capsys):
    cache.mkdir()
    (cache / "toy.bin.part").write_bytes(b"x" * 1000)
    assert "SHA-256 is not the published one; nothing is kept" in fetched(toy(server.host), capsys)
    assert not files(cache)
    assert obtain(toy(server.host), ASK, download=True).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"<html>please log in</html>", CONTENT + b"more", b""])
def test_an_answer_of_another_size_is_not_kept(server, cache, capsys, content):
    server.content = content
    assert "sends something else" in fetched(toy(server.host), capsys)
    assert not files(cache)


def test_another_file_of_the_same_size_is_not_kept(server, cache, capsys):
    server.content = CONTENT[::-1]
    assert "SHA-256 is not the published one; nothing is kept" in fetched(toy(server.host), capsys)
    assert not files(cache)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_a_refusal_is_told(server, capsys, status):
    server.status = status
    assert f"{server.host} answers {status}" in fetched(toy(server.host), capsys)


def test_a_chain_of_other_servers_is_bounded_too(server, capsys):
    server.location = f"http://{server.host}/v1/toy.bin"
    assert "answers 302" in fetched(toy(server.host), capsys), "in a circle"
    with servers.silent() as host:
        server.location = f"http://{host}/toy.bin"
        assert fetched(toy(server.host), capsys)


def test_a_resolver_that_hangs_behind_the_first_answer(server, capsys, monkeypatch):
    over = threading.Event()
    real = socket.getaddrinfo

    def slow(host, *more, **named):
        if host == "cdn.invalid":
            over.wait(PATIENCE)
            raise socket.gaierror("too late")
        return real(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    server.location = "http://cdn.invalid/toy.bin"
    assert "sent nothing for 0.5 s" in fetched(toy(server.host), capsys)
    over.set()


def nowhere(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        return servers.contextlib.nullcontext(f"127.0.0.1:{free.getsockname()[1]}")


@pytest.mark.parametrize("kind", [nowhere, lambda _: servers.silent(), servers.foreign])
def test_a_host_that_is_not_there_or_not_itself(tmp_path, cache, capsys, kind):
    with kind(tmp_path) as host:
        assert not runtime.reachable(host, 0.5)
        assert f"{host} does not answer under its own certificate within 0.5 s" in fetched(
            toy(host, scheme="https"), capsys
        )
    assert not files(cache)


def test_a_resolver_that_never_answers(monkeypatch, capsys):
    over = threading.Event()

    def never(*_, **__):
        over.wait(PATIENCE)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    assert "does not answer" in fetched(toy("host.invalid", scheme="https"), capsys)
    over.set()


def test_many_addresses_share_one_deadline(monkeypatch, capsys):
    """As of a host with addresses of both kinds on a network that drops what it does not like."""
    tried, over = [], threading.Event()

    class Dropped(socket.socket):
        def connect(self, address):
            tried.append(address)
            over.wait(self.gettimeout())
            raise TimeoutError("timed out")

    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address] * 1000)
    monkeypatch.setattr(socket, "socket", Dropped)
    assert "does not answer" in fetched(toy("host.invalid", scheme="https"), capsys)
    assert 1 <= len(tried) <= 3
    over.set()


def test_a_certificate_that_is_not_the_hosts_in_the_second_answer(server, tmp_path, capsys):
    with servers.foreign(tmp_path) as host:
        server.location = f"https://{host}/toy.bin"
        assert "shows a certificate that is not its own" in fetched(toy(server.host), capsys)


def test_who_asks_again_gets_a_new_answer(monkeypatch, capsys):
    answers = iter([False, True])
    monkeypatch.setattr(runtime, "reachable", lru_cache(lambda host, seconds: next(answers)))
    with servers.serving(CONTENT) as server:
        fetched(toy(server.host), capsys)
        assert obtain(toy(server.host), ASK, download=True, seconds=0.5) is not None


def test_a_full_disk_is_found_before_anything_is_fetched(server, cache, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(published, "disk_usage", lambda folder: usage(10**9, 10**9 - 10**5, 10**5))
    assert "the disk has 0.1 MB left" in fetched(toy(server.host), capsys)
    assert server.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_disk_that_gets_full_on_the_way(server, cache, capsys):
    cache.mkdir()
    (cache / "toy.bin.part").symlink_to("/dev/full")
    assert "can't keep them (No space left on device); set COURSE_CACHE" in fetched(toy(server.host), capsys)
    assert not files(cache)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
def test_a_cache_that_cannot_be_written_to(server, cache, monkeypatch, capsys, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(published, "FileLock", refuse)
    assert f"can't keep them ({error.strerror}); set COURSE_CACHE" in fetched(toy(server.host), capsys)


def test_no_folder_at_all(server, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "below"))
    assert obtain(toy(server.host), ASK) is None
    assert "are not on this machine" in capsys.readouterr().out
    assert "there is no folder to keep them in" in fetched(toy(server.host), capsys)
    whole = tmp_path / "whole.bin"
    whole.write_bytes(CONTENT)
    assert obtain(toy(server.host), ASK, elsewhere=[whole]) == whole


def test_no_home(server, monkeypatch, capsys):
    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("COURSE_CACHE", "~/course")
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert obtain(toy(server.host), ASK) is None
    assert "are not on this machine" in capsys.readouterr().out
    assert "there is no folder to keep them in" in fetched(toy(server.host), capsys)


def test_two_processes_do_not_fetch_at_once(server, cache, capsys):
    cache.mkdir()
    with FileLock(cache / "toy.bin.part.lock"):
        assert "another process is fetching them just now" in fetched(toy(server.host), capsys)
    assert server.asked == []


def test_an_interrupt_keeps_what_came_and_leaves_no_thread(server, cache, monkeypatch, capsys):
    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, _):
            raise KeyboardInterrupt

    monkeypatch.setattr(published, "_bar", lambda *_: Bar())
    with pytest.raises(KeyboardInterrupt):
        obtain(toy(server.host), ASK, download=True)
    assert "stopped; 0.1 MB are kept, ask again and the rest follows" in capsys.readouterr().out
    assert files(cache) == {"toy.bin.part"}
    for thread in threading.enumerate():
        if thread.name == "fetching toy.bin":
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_a_name_that_can_be_no_hosts_is_not_reachable(capfd):
    for host in ("x" * 70 + ".org", "a b", "..", "h:port", ""):
        assert not runtime.reachable(host, 0.5)
    assert capfd.readouterr().err == "", "no traceback of a thread"
