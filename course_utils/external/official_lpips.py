"""LPIPS as published: the channel weights come with the `lpips` package, the backbone from the network if asked for."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import nn

from course_utils import runtime
from course_utils.external.published import Published, obtain
from course_utils.models.perceptual import lpips_on

# torchvision's ImageNet weights; the name holds the first eight digits of the file's SHA-256.
FILE = Published(
    title="The published weights of SqueezeNet 1.1",
    url="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
    size=4_958_839,
    sha256="b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
)


def official_lpips(download: bool = False, seconds: float = 2.0, stall: float = 20.0) -> nn.Module | None:
    """`lpips.LPIPS` as published, on SqueezeNet as ImageNet trained it; None and one printed line where it can't be had.

    The channel weights come with the package. The backbone is looked for in the course's cache and in torch's. Only
    with `download` is it fetched (5 MB, once): the server has `seconds` to answer, and then `stall` seconds for each
    next piece. A file that is not the published one is not used.
    """
    hub = Path(torch.hub.get_dir()) / "checkpoints" / FILE.name
    file = obtain(FILE, "official_lpips(download=True)", download, [hub], seconds, stall)
    if file is None:
        return None
    weights = torch.load(io.BytesIO(file.read_bytes()), weights_only=True)
    features = {k.removeprefix("features."): v for k, v in weights.items() if k.startswith("features.")}
    return lpips_on(features, weighted=True).to(runtime.device())
