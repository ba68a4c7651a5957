"""What a picture's order looks like: checked attributes, seeds and sizes; and the work shared among cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from course_utils.arguments import short, whole
from course_utils.datasets.attributes import check_attributes

T = TypeVar("T")

RESOLUTIONS = (32, 64, 128, 256)


def check_seeds(name: str, seeds: Tensor, n: int) -> Tensor:
    """(n,) whole numbers as int64 on the CPU, or a ValueError."""
    try:
        seeds = torch.as_tensor(seeds).cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{name}: got {short(seeds)}; expected whole numbers ({n},)") from None
    if (seeds.is_floating_point() and seeds.numel()) or seeds.is_complex() or seeds.dtype == torch.bool:
        raise ValueError(f"{name}: got {seeds.dtype}; expected whole numbers")
    seeds = seeds.to(torch.int64)
    if seeds.shape != (n,):
        raise ValueError(f"{name}: got shape {tuple(seeds.shape)}; expected ({n},), one for each row of attributes")
    return seeds


def check_size(size: int) -> int:
    """One of `RESOLUTIONS`, or a ValueError."""
    if whole("size", size, 1) not in RESOLUTIONS:
        raise ValueError(f"size: got {size}; expected one of {RESOLUTIONS}")
    return int(size)


def each_on_a_core(draw: Callable[..., T], *parts: Sequence) -> list[T]:
    """`draw` of each chunk, on a core of its own.

    Split among cores, each of a chunk's many small operations would first have to wake them up.
    """
    threads = min(len(parts[0]), torch.get_num_threads())
    if threads <= 1:
        return list(map(draw, *parts))
    with ThreadPoolExecutor(threads, "render", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(draw, *parts))


def checked(
    attributes: Tensor, seeds: Tensor, size: int, fur_seeds: Tensor | None
) -> tuple[Tensor, Tensor, int, Tensor]:
    """What `render` was given, ready for drawing, or a ValueError."""
    size = check_size(size)
    a = check_attributes(attributes).cpu()
    seeds = check_seeds("seeds", seeds, len(a))
    return a, seeds, size, seeds if fur_seeds is None else check_seeds("fur_seeds", fur_seeds, len(a))
