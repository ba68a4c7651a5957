"""The energy distance between two sets of points, and the noise floor that tells what "equal" looks like."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E|X − Y| − E|X − X′| − E|Y − Y′| of samples (N, D) and (M, D), N, M ≥ 2.

    Székely & Rizzo 2013: 0 if and only if the distributions are equal. Unbiased, without the pairs
    of a point and itself, so that equal distributions scatter around 0, below it as well.
    """
    for name, points in (("x", x), ("y", y)):
        if not isinstance(points, Tensor) or points.ndim != 2 or len(points) < 2:
            raise ValueError(f"{name}: expected (N, D) with N ≥ 2, got {tuple(getattr(points, 'shape', ()))}")
        if not bool(points.isfinite().all()):
            raise ValueError(f"{name}: expected finite points, got NaN or infinity")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"y: expected points of {x.shape[1]} numbers, as in x, got {y.shape[1]}")
    x, y = x.detach().double(), y.detach().double()
    return float(2 * torch.cdist(x, y).mean() - _within(x) - _within(y))


def energy_noise_floor(draw: Callable[[], Tensor], repeats: int = 20) -> Tensor:
    """Distances (repeats,) between independent pairs of `draw()`s (N, D) of one distribution.

    A sampler whose distance to exact samples of that size lies among them cannot be told from exact.
    """
    if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
        raise ValueError(f"repeats is {repeats!r}; expected a whole number, 1 or more")
    return torch.tensor([energy_distance(draw(), draw()) for _ in range(repeats)], dtype=torch.float64)


def _within(x: Tensor) -> Tensor:
    """Mean distance of two different points of x."""
    return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))
