"""The energy distance between two sets of points, and the noise floor that tells what "equal" looks like."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E|X − Y| − E|X − X′| − E|Y − Y′| of samples (N, D) and (M, D), N, M ≥ 2.

    It is 0 if and only if the distributions are equal (Székely & Rizzo 2013). The pairs of a point and itself are left
    out, which makes the estimate unbiased: for equal distributions it scatters around 0 and can be negative.
    """
    for name, points in (("x", x), ("y", y)):
        if not isinstance(points, Tensor) or points.ndim != 2 or len(points) < 2:
            raise ValueError(f"{name}: got {tuple(getattr(points, 'shape', ()))}; expected (N, D) with N ≥ 2")
        if not bool(points.isfinite().all()):
            raise ValueError(f"{name}: got NaN or infinity; expected finite points")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"y: got points of {y.shape[1]} numbers; expected {x.shape[1]}, as in x")
    x, y = x.detach().cpu().double(), y.detach().cpu().double()  # not every device has float64
    return float(2 * torch.cdist(x, y).mean() - _within(x) - _within(y))


def energy_noise_floor(draw: Callable[[], Tensor], repeats: int = 20) -> Tensor:
    """Distances (repeats,) between independent pairs of `draw()`s (N, D) of one distribution.

    A sampler whose distance to exact samples of that size lies among them cannot be told from exact.
    """
    if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
        raise ValueError(f"repeats: got {repeats!r}; expected a whole number, 1 or more")
    return torch.tensor([energy_distance(draw(), draw()) for _ in range(repeats)], dtype=torch.float64)


def _within(x: Tensor) -> Tensor:
    """Mean distance of two different points of x."""
    return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))
