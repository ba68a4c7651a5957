"""More pictures than a network can take at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.images import check_pictures


@torch.no_grad()
def in_chunks(
    function: Callable[..., Tensor], *inputs: Tensor, size: int = 256, on: torch.device | str | None = None
) -> Tensor:
    """function(*inputs) a chunk of rows at a time, on the course's device or on `on`; the results together on the CPU.

    Inputs have equally many rows, one or more, and `function` gives one row of the result for each.
    """
    device = on or runtime.device()
    chunks = zip(*(x.split(size) for x in inputs), strict=True)
    return torch.cat([function(*(part.to(device) for part in chunk)).cpu() for chunk in chunks])


def device_of(net: object) -> torch.device:
    """Where a network's weights are; the CPU for what has none."""
    weights = (*net.parameters(), *net.buffers()) if isinstance(net, nn.Module) else ()
    return next((w.device for w in weights), torch.device("cpu"))


def reconstructed(vae: nn.Module, pictures: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] through the latent space and back, without sampling, on the CPU."""
    check_pictures(pictures, "pictures")
    return in_chunks(lambda x: vae.decode(vae.encode(x).mode()).clamp(-1, 1), pictures, on=device_of(vae))
