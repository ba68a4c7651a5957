"""A folder that is whole or is not used: its seal, a file in it, has the digest of every other file, and its own.

A folder gets its name when it is sealed, and loses it before it is removed; so no half of one ever has a name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from uuid import uuid4

from torch import Tensor

from course_utils import files, sealed

SEAL = "seal.safetensors"


def unnamed(parent: Path) -> Path:
    """Where a folder lies that has no name yet, or no more."""
    return parent / f".{uuid4().hex}.partial"


def seal(folder: Path, about: Mapping[str, object], tensors: dict[str, Tensor]) -> None:
    """Close a folder, with words about it (as JSON has them) and tensors of one's own. Raises OSError."""
    files.replace({folder / SEAL: sealed.pack(tensors, {"about": json.dumps({**about, "files": digests(folder)})})})


def opened(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    """The words and the tensors of a folder's seal. Raises OSError or ValueError if not every bit is as it was."""
    raw = files.read(folder / SEAL)
    try:
        tensors, about = sealed.tensors(raw), dict(json.loads(sealed.words(raw)["about"]))
        there, found = dict(about["files"]), digests(folder)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"its seal is damaged or foreign ({error})") from error
    if wrong := [name for name in sorted(there | found) if there.get(name) != found.get(name)]:
        raise ValueError(f"it is damaged ({', '.join(wrong)})")
    return about, tensors


def clear(parent: Path, folders: Iterable[Path] = ()) -> None:
    """Remove folders, and whatever has no name: a killed process left it."""
    for path in folders:
        files.patiently(partial(path.rename, unnamed(parent)))
    for path in parent.glob(".*.partial"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file beside the seal. Hidden ones are the desktop's."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SEAL and not path.name.startswith("."))
    return {name: hashlib.sha256(files.read(folder / name)).hexdigest() for name in names}
