"""What stands behind a plushie: a wall with a pattern, a floor, and light."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.datasets.seeds import Draws

BACKGROUND = torch.tensor(
    [[0.60, 0.82, 0.97], [0.62, 0.88, 0.74], [0.91, 0.82, 0.62], [0.15, 0.16, 0.36], [0.85, 0.50, 0.56]]
)
NIGHT = ATTRIBUTES["background"].index("night")
STRIPED, CHECKED, DOTTED = 1, 2, 3


def wave(x: Tensor) -> Tensor:
    """A triangle wave of period 1 that starts at -1: it goes up to 1 and back."""
    return 1.0 - 4.0 * (x - x.floor() - 0.5).abs()


def _pattern(kind: int, p: Tensor, q: Tensor, sharp: Tensor) -> Tensor:
    """The pattern's height, -1 to 1, at positions (p, q) in periods; `sharp` is a period in pixels."""
    if kind == STRIPED:
        return (wave(p) * 0.5 * sharp).clamp(-1.0, 1.0)
    if kind == CHECKED:
        return (wave(p) * 0.5 * sharp).clamp(-1.0, 1.0) * (wave(q) * 0.5 * sharp).clamp(-1.0, 1.0)
    x, y = p - p.floor() - 0.5, q - q.floor() - 0.5
    return ((0.29 - (x * x + y * y).sqrt()) * 2.0 * sharp).clamp(-1.0, 1.0)


def backdrop(attributes: Tensor, draws: Draws, size: int) -> Tensor:
    """Walls and floors for (N, 6) attributes: (N, 3, size, size) in [0, 1]."""
    axis = ((torch.arange(size) + 0.5) * (2.0 / size) - 1.0).float()
    ground, kind = attributes[:, 4], attributes[:, 5]
    colour = (BACKGROUND[ground] + draws.tint()).float()[:, :, None, None]

    turn, period = draws.between(-0.5, 0.5), draws.between(0.26, 0.44)
    shift_x, shift_y = draws.between(0, 1), draws.between(0, 1)
    step = torch.where(ground == NIGHT, 0.17, -0.17) * draws.between(0.8, 1.25)
    horizon, depth = draws.between(0.28, 0.62), draws.between(0.04, 0.12)
    glow_x, glow_y, glow = draws.between(-0.9, 0.3), draws.between(-0.9, 0.1), draws.between(0.04, 0.12)

    image = colour.expand(-1, -1, size, size).contiguous()
    wall = ((horizon.float()[:, None] - axis) * (size / 4.0)).clamp(0.0, 1.0)[:, None, :, None]
    for k in (STRIPED, CHECKED, DOTTED):
        rows = (kind == k).nonzero()[:, 0]
        if not len(rows):
            continue
        c, s = (turn.cos() / period)[rows, None], (turn.sin() / period)[rows, None]
        p, q = (
            (a * axis.double() + shift[rows, None]).float()[:, None, :] + (b * axis.double()).float()[:, :, None]
            for a, b, shift in ((c, s, shift_x), (-s, c, shift_y))
        )
        height = _pattern(k, p, q, (period[rows] * (size / 2)).float()[:, None, None])[:, None]
        image[rows] += step.float()[rows, None, None, None] * (0.5 + 0.5 * height) * wall[rows]

    # The floor is a shade darker, and the light falls off from a bright spot at the upper left.
    floor = depth.float()[:, None, None, None] * (1.0 - wall)
    x, y = (axis - g.float()[:, None] for g in (glow_x, glow_y))
    away = (x * x)[:, None, None, :] + (y * y)[:, None, :, None]
    return image * (1.05 - floor - glow.float()[:, None, None, None] * away)
