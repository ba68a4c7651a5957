"""Files that are whole or not there: read in one go, written beside their place and moved there in one step.

Nothing is mapped into memory, which not every file system can do, and nothing stays open, because Windows does not
replace a file that is. Every failure is an OSError; `why` is its reason without the path.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from filelock import FileLock

T = TypeVar("T")

LARGEST = 2**28  # bytes: far above any model of the course, and below what would fill a laptop's memory
ROOM = 2**25  # bytes that must be free before it is worth training for them
ABANDONED = 3600.0  # seconds after which nobody is writing a partial file any more
WINDOWS = os.name == "nt"

_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def why(error: OSError) -> str:
    """What went wrong, in the system's words and without the path."""
    return error.strerror or str(error)


def read(path: Path, largest: int = LARGEST) -> bytes:
    """All bytes of a regular file. Anything else that lies there is refused unopened: a pipe would be waited for."""
    size = _regular(path).st_size
    if size > largest:
        raise OSError(errno.EFBIG, f"it has {size} bytes, expected at most {largest}", str(path))
    return patiently(path.read_bytes)


def replace(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together; their folders are made.

    All are written beside their places, flushed to the disk and read back before the first is moved to its place. So
    whoever reads sees an old file or a new one, and whatever stops the writing leaves the old ones.
    """
    partials: dict[Path, Path] = {}
    try:
        for path, raw in contents.items():
            _replaceable(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            partials[path] = path.with_name(f".{uuid4().hex}.partial")
            _write(partials[path], raw)
        for path, partial in partials.items():
            _clean(path.parent, partial.stat().st_mtime)
        for path, partial in partials.items():
            patiently(functools.partial(os.replace, partial, path))
    finally:
        for partial in partials.values():
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    for folder in {path.parent for path in contents}:
        _sync(folder)


def check_writable(path: Path) -> None:
    """Try whether `replace` could write this file now: its folder is made, a few bytes are written and removed."""
    _replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid4().hex}.partial")
    try:
        _write(partial, b"course")
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < ROOM:
        raise OSError(errno.ENOSPC, f"{free / 1e6:.0f} MB are free, expected at least {ROOM / 1e6:.0f}", str(path))


@contextmanager
def lock(path: Path, seconds: float = 60.0) -> Iterator[None]:
    """Be the only one, among threads and processes, that holds this lock file. An OSError if it is not to be had in time.

    The file stays, empty; the lock itself goes with the process that held it, killed or not.
    """
    held = FileLock(path, timeout=seconds)
    try:
        held.acquire()
    except NotImplementedError as error:  # a file system without locks
        raise OSError(errno.ENOLCK, str(error), str(path)) from None
    try:
        yield
    finally:
        held.release()


def _regular(path: Path) -> os.stat_result:
    try:
        found = os.stat(path)
    except ValueError as error:  # a null character
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "something else")
        raise OSError(errno.EINVAL, f"{kind} lies there, expected a file", str(path))
    return found


def _replaceable(path: Path) -> None:
    """Only a regular file that may be written to gives way to another, although the system would move it over more."""
    with suppress(FileNotFoundError):
        _regular(path)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "the file there is write-protected", str(path))


def _write(path: Path, raw: bytes) -> None:
    with open(path, "xb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    if path.read_bytes() != raw:
        raise OSError(errno.EIO, "what was written reads back as something else", str(path))


def _clean(folder: Path, now: float) -> None:
    """Remove what killed processes left. `now` by the file system's own clock, which may be another computer's."""
    for path in folder.glob(".*.partial"):
        if _PARTIAL.fullmatch(path.name):
            with suppress(OSError):  # somebody else has just removed it, or may and we may not
                if path.stat().st_mtime < now - ABANDONED:
                    path.unlink()


def _sync(folder: Path) -> None:
    """Bring a folder's new names to the disk, on systems that can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def patiently(action: Callable[[], T], seconds: float = 2.0) -> T:
    """Windows refuses a file for the moment in which another process reads or replaces it."""
    end = time.monotonic() + seconds
    while True:
        try:
            return action()
        except PermissionError:
            if not WINDOWS or time.monotonic() > end:
                raise
            time.sleep(0.01)
