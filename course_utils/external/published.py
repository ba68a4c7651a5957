"""Files that others have published: looked for on this machine, and fetched only when somebody asks for it.

What makes a file the published one is its SHA-256, wherever it lies and whoever sends it. The transfer is our own,
since the libraries' can't be bounded: torch.hub's waits for ever, the Hugging Face Hub's tries again for minutes.
Here nothing waits longer than it says: not for a resolver, not for a handshake, not for the next piece.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import queue
import ssl
import sys
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout
from huggingface_hub.utils import tqdm

from course_utils import runtime

PIECE = 1 << 16  # bytes: less than this in `stall` seconds counts as nothing


class FetchError(OSError):
    """Why a file could not be fetched, in words for the user."""


@dataclass(frozen=True)
class Published:
    """One version of a published file. `title` is what it holds, as the messages say it; `size` in bytes."""

    title: str
    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return urlsplit(self.url).path.rsplit("/", 1)[1]

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def __str__(self) -> str:
        return f"{self.title} ({megabytes(self.size)})"


def obtain(
    file: Published,
    ask: str,
    download: bool = False,
    elsewhere: Iterable[Path] = (),
    seconds: float = 2.0,
    stall: float = 20.0,
) -> Path | None:
    """Where the whole file lies, or None and one printed line: why not, and what to do.

    Looks into the course's cache, then at the paths `elsewhere`. Only with `download` is the network used: the server
    has `seconds` to answer, and then `stall` seconds for each next piece. What has come before a break is kept, and
    the next call goes on from there. `ask` is the call that fetches the file, as the line names it.
    """
    folder, unusable = _cache()
    kept = [folder / file.name] if folder else []
    faults = []
    for path in [*kept, *elsewhere]:
        fault = fault_of(path, file)
        if fault is None:
            return path
        if fault:
            faults.append(f"{path.name} {fault}")
    if not download:
        found = f"cannot be used ({faults[0]})" if faults else "are not on this machine"
        print(f"{file} {found}; `{ask}` fetches them once from {file.host}.")
        return None
    try:
        if folder is None:
            raise FetchError(f"there is no folder to keep them in ({unusable}); set COURSE_CACHE to one")
        return fetch(file, folder, seconds, stall)
    except FetchError as error:
        print(f"{file} could not be fetched: {error}.")
        return None


def fault_of(path: Path, file: Published) -> str | None:
    """What is wrong with a copy of the file: None if nothing is, "" if there is none."""
    try:
        with path.open("rb") as opened:
            if (size := os.fstat(opened.fileno()).st_size) != file.size:
                return f"is damaged: it has {size} bytes, the published one {file.size}"
            digest = hashlib.sha256()
            while piece := opened.read(1 << 20):
                digest.update(piece)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None if digest.hexdigest() == file.sha256 else "is damaged: its SHA-256 is not the published one"


def fetch(file: Published, folder: Path, seconds: float, stall: float) -> Path:
    """Fetch the file into a folder and return its path; FetchError says why not, and what is kept."""
    part = folder / f"{file.name}.part"
    try:
        with FileLock(f"{part}.lock", timeout=0):
            if fault_of(part, file) is not None:
                _download(file, part, seconds, stall)
            part.replace(folder / file.name)
    except Timeout:
        raise FetchError("another process is fetching them just now") from None
    except FetchError:
        raise
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)  # the room belongs to its owner again
        why = getattr(error, "strerror", None) or error
        raise FetchError(f"{folder} can't keep them ({why}); set COURSE_CACHE to a folder that can") from error
    return folder / file.name


def _download(file: Published, part: Path, seconds: float, stall: float) -> None:
    """Look whether there is room and a server, and make `part` the whole file."""
    done = part.stat().st_size if part.exists() else 0
    if done >= file.size:
        done = 0
    if (free := disk_usage(part.parent).free) < file.size - done:
        raise FetchError(f"the disk has {megabytes(free)} left; free some, or set COURSE_CACHE to another folder")
    runtime.reachable.cache_clear()  # the user asks anew: what was found a while ago does not count
    if not runtime.reachable(file.host, seconds):
        raise FetchError(
            f"{file.host} does not answer under its own certificate within {seconds:g} s"
            " (no network, a login page in front of it, or a slow line: `seconds=10` waits longer)"
        )
    _transfer(file, part, done, stall)
    if fault := fault_of(part, file):
        part.unlink()
        raise FetchError(f"what came {fault}; nothing is kept")


def _transfer(file: Published, part: Path, done: int, stall: float) -> None:
    """Write the file's bytes from `done` on into `part`."""
    pieces = _pieces(file, done, stall)

    def kept() -> str:
        return f"; {megabytes(done)} are kept, ask again and the rest follows" if done else ""

    try:
        with contextlib.closing(pieces):
            start = next(pieces)
            with part.open("r+b" if start else "wb") as out, _bar(file, start) as bar:
                out.seek(start)
                done = start
                for piece in pieces:
                    out.write(piece)
                    done += len(piece)
                    bar.update(len(piece))
    except KeyboardInterrupt:
        print(f"{file}: stopped{kept()}.")
        raise
    except _Broken as error:
        raise FetchError(f"{error}{kept()}") from error
    if done < file.size:
        raise FetchError(f"{file.host} stopped in the middle{kept()}")


class _Broken(Exception):
    """The network's part of a transfer went wrong."""


def _pieces(file: Published, done: int, stall: float) -> Generator:
    """Where the answer starts, then its bytes, piece by piece.

    A thread reads, and this one waits for it: whatever hangs there, a resolver included, is given up after `stall`
    seconds. The thread touches no file, so that it can be left behind.
    """
    came: queue.Queue = queue.Queue(maxsize=16)
    given_up = threading.Event()

    def put(thing: int | bytes | Exception) -> None:
        while not given_up.is_set():
            with contextlib.suppress(queue.Full):
                return came.put(thing, timeout=0.5)

    def read() -> None:
        try:
            request = Request(file.url, headers={"Range": f"bytes={done}-"} if done else {})
            with urlopen(request, timeout=stall) as answer:
                goes_on = answer.status == 206
                stated = answer.headers.get("Content-Range" if goes_on else "Content-Length") or ""
                if stated.rsplit("/", 1)[-1] != str(file.size):
                    raise _Broken(f"{file.host} sends something else (a page to log in, or another version)")
                put(done if goes_on else 0)
                left = file.size - (done if goes_on else 0)
                while left and not given_up.is_set() and (piece := answer.read(min(PIECE, left))):
                    left -= len(piece)
                    put(piece)
            put(b"")
        except Exception as error:  # it is the other thread that tells it
            put(error)

    threading.Thread(target=read, name=f"fetching {file.name}", daemon=True).start()
    try:
        while True:
            try:
                thing = came.get(timeout=stall)
            except queue.Empty:
                thing = TimeoutError()
            if isinstance(thing, Exception):
                raise thing if isinstance(thing, _Broken) else _Broken(_in_words(thing, file.host, stall)) from thing
            if thing == b"":
                return
            yield thing
    finally:
        given_up.set()


def _in_words(error: Exception, host: str, stall: float) -> str:
    """What went wrong on the network, without a traceback."""
    reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    if isinstance(reason, HTTPError):
        said = " ".join(str(reason.reason).split())  # for a circle of redirects it is several lines
        return f"{host} answers {reason.code} ({said.split('. ')[0]})"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"{host} shows a certificate that is not its own"
    if isinstance(reason, TimeoutError):
        return f"{host} sent nothing for {stall:g} s"
    says = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return f"the connection to {host} broke ({' '.join(says.split())})"


def _bar(file: Published, start: int) -> tqdm:
    # On stdout: a notebook shows stderr in red, as if something were wrong.
    return tqdm(total=file.size, initial=start, unit="B", unit_scale=True, desc=file.title, file=sys.stdout)


def _cache() -> tuple[Path | None, str]:
    """The course's cache, or None and why there is none (a read-only folder, no home)."""
    try:
        return runtime.cache_dir(), ""
    except OSError as error:
        return None, error.strerror or str(error)
    except RuntimeError as error:
        return None, str(error)


def megabytes(size: float) -> str:
    """Bytes in words: '605 MB', '0.3 MB'."""
    return f"{size / 1e6:.0f} MB" if size >= 1e6 or size == 0 else f"{size / 1e6:.1f} MB"
