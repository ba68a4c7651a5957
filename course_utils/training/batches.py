"""Batches drawn from pictures in memory, and pictures that no recipe trains on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.images import looked_at, to_float

CROP = 64


def pictures_at(data: PlushieTensors, index: Tensor) -> Tensor:
    """The pictures (B, 3, H, W) of an index (B,), on the device."""
    return _placed(to_float(data.pictures[index]))


def _placed(x: Tensor) -> Tensor:
    return x.to(runtime.device()).contiguous(memory_format=torch.channels_last)


def draw(data: PlushieTensors, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random batch: pictures (B, 3, H, W), and which they are (B,)."""
    index = torch.randint(len(data), (batch,), generator=generator)
    return pictures_at(data, index), index


def draw_crops(
    data: PlushieTensors, batch: int, generator: torch.Generator, whole: float = 0.25
) -> tuple[Tensor, Tensor]:
    """As `draw`, at `CROP` pixels a side: a share of pictures as a whole, averaged down, then places cut out of others.

    An autoencoder of convolutions learns from crops what it is to do on whole pictures, at a quarter of the price. The
    small whole ones teach it the size that models are trained on live.
    """
    index = torch.randint(len(data), (batch,), generator=generator)
    ys, xs = torch.randint(0, data.pictures.shape[-1] - CROP + 1, (2, batch), generator=generator)
    n = round(whole * batch)
    found = [looked_at(to_float(data.pictures[index[:n]]), CROP)] if n else []
    places = list(zip(index.tolist(), ys.tolist(), xs.tolist(), strict=True))[n:]
    if places:
        found.append(to_float(torch.stack([data.pictures[i, :, y : y + CROP, x : x + CROP] for i, y, x in places])))
    return _placed(torch.cat(found)), index


def draw_look_alikes(groups: list[Tensor], batch: int, group: int, generator: torch.Generator) -> Tensor:
    """An index (batch,) made of groups of look-alikes, so that a batch holds hard negatives."""
    picked = torch.randint(len(groups), (batch // group,), generator=generator).tolist()
    return torch.cat([groups[i][torch.randperm(len(groups[i]), generator=generator)[:group]] for i in picked])


def place(module: nn.Module) -> nn.Module:
    """On the device, in the memory layout that makes convolutions twice as fast on a CPU."""
    return module.to(runtime.device(), memory_format=torch.channels_last)


def held_out(n: int, split: str = "val", size: int = 128) -> PlushieTensors:
    """Pictures that no recipe trains on."""
    return Plushies(n, split, size).in_memory()
