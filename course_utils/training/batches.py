"""Batches drawn from pictures in memory, and pictures that no recipe trains on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.datasets.attributes import NAMES
from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.images import to_float


def pictures_at(data: PlushieTensors, index: Tensor) -> Tensor:
    """The pictures (B, 3, 64, 64) of an index (B,), on the device."""
    return to_float(data.pictures[index]).to(runtime.device()).contiguous(memory_format=torch.channels_last)


def draw(data: PlushieTensors, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random batch: pictures (B, 3, 64, 64), and which they are (B,)."""
    index = torch.randint(len(data), (batch,), generator=generator)
    return pictures_at(data, index), index


def look_alikes(attributes: Tensor, group: int, columns: tuple[str, ...]) -> list[Tensor]:
    """The pictures that agree in `columns`, as one index for each combination with `group` pictures or more."""
    keys = attributes[:, [NAMES.index(name) for name in columns]]
    _, which = keys.unique(dim=0, return_inverse=True)
    found = which.argsort(stable=True).split(which.bincount().tolist())
    return [index for index in found if len(index) >= group]


def draw_look_alikes(groups: list[Tensor], batch: int, group: int, generator: torch.Generator) -> Tensor:
    """An index (batch,) made of groups of look-alikes, so that a batch holds hard negatives."""
    picked = torch.randint(len(groups), (batch // group,), generator=generator).tolist()
    return torch.cat([groups[i][torch.randperm(len(groups[i]), generator=generator)[:group]] for i in picked])


def place(module: nn.Module) -> nn.Module:
    """On the device, in the memory layout that makes convolutions twice as fast on a CPU."""
    return module.to(runtime.device(), memory_format=torch.channels_last)


def held_out(n: int, split: str = "val") -> PlushieTensors:
    """Pictures that no recipe trains on."""
    return Plushies(n, split).in_memory()
