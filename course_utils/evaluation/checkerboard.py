"""Does a decoder draw a checkerboard: a pattern that is repeated every second or every fourth pixel?

Layers that double the side draw neighbouring pixels from one feature, and some decoders then repeat a pattern all over
the picture (Odena et al. 2016, "Deconvolution and Checkerboard Artifacts"). Among the waves that is a bright
line where the pattern's strength differs from place to place, and a bright point where it is the same everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.evaluation.metrics import power_by_wave

PERIODS = (2, 4)  # pixels from one repetition to the next
NEIGHBOURS = range(3, 9)  # a line is compared with the lines that lie so far from it, towards the middle
REACH = 6  # and a single wave with the waves up to so far from it, on all sides


def wave_ratio(fake: Tensor, real: Tensor) -> Tensor:
    """log₁₀ of the power of each wave in `fake` over that in `real`: pictures (N, 3, H, W), (M, 3, H, W) → (H, W).

    The slowest waves are in the middle, as in `power_by_wave`. 0: as much as in the real pictures, -1: a tenth.
    """
    if fake.shape[2:] != real.shape[2:]:
        raise ValueError(
            f"fake: got pictures of {tuple(fake.shape[2:])}; expected real's size, {tuple(real.shape[2:])}"
        )
    return (power_by_wave(fake) / power_by_wave(real)).log10()


def stripes(ratio: Tensor) -> float:
    """By what factor the waves of two or four pixels stand out from their neighbours, at most; 1: not at all.

    ratio: `wave_ratio` of square pictures whose side is a multiple of 4, 48 or more. Waves with the same period across the picture
    lie in one column, those with the same period down it in one row: stripes that differ from place to place fill such a line,
    and a pattern that is the same all over a picture is a single point in it, which the mean of the line would hide.
    """
    side = len(ratio) if isinstance(ratio, Tensor) and ratio.ndim == 2 else 0
    if side < 48 or side % 4 or ratio.shape[1] != side:
        came = tuple(getattr(ratio, "shape", ()))
        raise ValueError(f"ratio: got shape {came}; expected (side, side) with a side of 48, 52, 56, ...")
    lines = [_line(way, side // 2 - side // period) for way in (ratio, ratio.T) for period in PERIODS]
    steps = [side // period for period in PERIODS]
    points = [_point(ratio, *at) for step in steps for at in ((0, step), (step, 0), (step, step))]
    return max(lines + points)


def _line(ratio: Tensor, column: int) -> float:
    """By what factor a column's mean lies above that of its neighbours: (side, side) logarithms."""
    around = ratio[:, column + NEIGHBOURS.start : column + NEIGHBOURS.stop]
    return float(10 ** (ratio[:, column].mean() - around.mean()))


def _point(ratio: Tensor, down: int, across: int) -> float:
    """By what factor one wave lies above those around it, and above those of its line. The rim goes on at the opposite side."""
    middle = len(ratio) // 2
    part = ratio.roll((REACH - middle - down, REACH - middle - across), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]
    far = torch.ones_like(part, dtype=torch.bool)
    far[REACH - 1 : REACH + 2, REACH - 1 : REACH + 2] = False  # the window of the spectrum smears a wave this far
    around = max(half.median() for half in (part[far], part[REACH][far[REACH]], part[:, REACH][far[:, REACH]]))
    return float(10 ** (part[REACH, REACH] - around))
