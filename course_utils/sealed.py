"""Tensors and words in one safetensors file that knows its own digest.

`digest`, among the words in the header, is the SHA-256 of the whole file in which the digest itself is written as 64
zeros. So it covers the header, every word in it, and every tensor, wherever the file has been.
"""

from __future__ import annotations

import hashlib
import json

from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

BLANK = b"0" * 64


def pack(tensors: dict[str, Tensor], words: dict[str, str]) -> bytes:
    """A file of tensors (on the CPU, contiguous) and words; `digest` is added to them."""
    raw = save_bytes(tensors, {**words, "digest": BLANK.decode()})
    field = b'"digest":"%s"'  # inside a word the quotes would be escaped, so this is found once
    return raw.replace(field % BLANK, field % hashlib.sha256(raw).hexdigest().encode(), 1)


def words(raw: bytes) -> dict[str, str]:
    """The words of a file, not yet checked against its digest. ValueError if there is no header to read them from."""
    try:
        header = json.loads(_header(raw))
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    found = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(found, dict) or not all(isinstance(word, str) for word in found.values()):
        raise ValueError("its header is not one of safetensors")
    return found


def tensors(raw: bytes) -> dict[str, Tensor]:
    """The tensors of a file that matches its digest. ValueError for any other."""
    header, digest = _header(raw), words(raw).get("digest", "").encode()
    if len(digest) != len(BLANK) or header.count(digest) != 1:
        raise ValueError("it carries no digest")
    seen = hashlib.sha256(raw[:8])
    seen.update(header.replace(digest, BLANK))
    seen.update(memoryview(raw)[8 + len(header) :])
    if seen.hexdigest().encode() != digest:
        raise ValueError("it does not match the digest in its header")
    try:
        return load_bytes(raw)
    except Exception as error:  # the library has an error of its own for each way not to fit, and so has torch
        raise ValueError(" ".join(str(error).split())) from None


def _header(raw: bytes) -> bytes:
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > len(raw) - 8:
        raise ValueError(f"it is cut short after {len(raw)} bytes, or no safetensors file")
    return raw[8 : 8 + size]
