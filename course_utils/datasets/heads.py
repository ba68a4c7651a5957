"""The smallest data set of the course: a bear's head that is drawn from two numbers, its place (notebook 02)."""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 24  # pixels
# Discs as (right, down, radius), seen from the head's middle, in half sides of the picture.
OUTLINE = ((0, 0, 0.42), (-0.34, -0.34, 0.17), (0.34, -0.34, 0.17))  # face and ears
FEATURES = ((-0.16, -0.06, 0.07), (0.16, -0.06, 0.07), (0, 0.12, 0.1))  # eyes and nose
EDGE = 12  # how steeply brightness falls at an edge


def heads(places: Tensor, sizes: Tensor | float = 1.0) -> Tensor:
    """A bear's head at each place: (n, 2), right and down, in [-0.5, 0.5] → pictures (n, 1, 24, 24) in [-1, 1].

    `sizes`, one number or (n,), more than 0: 1 is the usual size, up to which the whole head is in the picture.
    """
    if not isinstance(places, Tensor) or places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(f"places: got {tuple(getattr(places, 'shape', ()))}; expected shape (n, 2)")
    size = torch.as_tensor(sizes, dtype=places.dtype, device=places.device)
    if size.ndim and size.shape != places.shape[:1]:
        raise ValueError(f"sizes: got shape {tuple(size.shape)}; expected one number or ({len(places)},)")
    if not bool((size > 0).all()):
        raise ValueError(f"sizes: got {float(size.min())}; expected more than 0")
    size = size.expand(len(places))
    outline, features = (_outside(discs, places, size) for discs in (OUTLINE, FEATURES))
    return torch.tanh(-EDGE * torch.maximum(outline, -features))[:, None]


def _outside(discs: tuple[tuple[float, float, float], ...], places: Tensor, size: Tensor) -> Tensor:
    """How far each pixel lies outside the nearest of the discs, negative inside: (n, 24, 24)."""
    axis = torch.linspace(-1, 1, SIDE, dtype=places.dtype, device=places.device)
    found = []
    for right, down, radius in discs:
        x, y = (places + size[:, None] * places.new_tensor((right, down))).T[:, :, None, None]
        found.append(((axis - x) ** 2 + (axis[:, None] - y) ** 2).sqrt() - radius * size[:, None, None])
    return torch.stack(found).amin(0)
