"""LPIPS as published: the channel weights come with the `lpips` package, the backbone from the network."""

from __future__ import annotations

import hashlib
import io
import urllib.request
from http.client import HTTPException

import torch
from torch import nn

from course_utils import runtime
from course_utils.models.perceptual import lpips_on

# torchvision's ImageNet weights; the name ends with the first eight digits of the file's SHA-256.
OFFICIAL_URL = "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"


def official_lpips(seconds: float = 3.0) -> nn.Module | None:
    """`lpips.LPIPS` as published, on SqueezeNet as ImageNet trained it; None where the weights cannot be had.

    The channel weights come with the package. The backbone (5 MB) is fetched once and kept in the course's cache;
    a server that says nothing for `seconds` counts as out of reach, and a file that is not the published one is
    not used.
    """
    name = OFFICIAL_URL.rsplit("/", 1)[1]
    file = runtime.cache_dir() / name
    if file.exists():
        raw = file.read_bytes()
    else:
        try:
            with urllib.request.urlopen(OFFICIAL_URL, timeout=seconds) as answer:
                raw = answer.read()
        except (OSError, HTTPException):
            return None
    if not hashlib.sha256(raw).hexdigest().startswith(name.rsplit("-", 1)[1].removesuffix(".pth")):
        return None
    if not file.exists():
        partial = file.with_suffix(".partial")
        partial.write_bytes(raw)
        partial.replace(file)
    weights = torch.load(io.BytesIO(raw), weights_only=True)
    features = {k.removeprefix("features."): v for k, v in weights.items() if k.startswith("features.")}
    return lpips_on(features, weighted=True).to(runtime.device())
