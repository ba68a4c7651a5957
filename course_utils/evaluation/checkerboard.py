"""Does a decoder draw a checkerboard: a pattern that is repeated every second or every fourth pixel?

Layers that double the side draw neighbouring pixels from one feature, and some decoders then repeat a pattern all over
the picture (Odena et al. 2016, "Deconvolution and Checkerboard Artifacts"). Among the waves that is a bright line.
"""

from __future__ import annotations

from torch import Tensor

from course_utils.evaluation.metrics import power_by_wave

PERIODS = (2, 4)  # pixels from one repetition to the next
NEIGHBOURS = range(3, 9)  # a line is compared with the lines that lie so far from it, towards the middle


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
    lie in one column, those with the same period down it in one row.
    """
    side = len(ratio) if isinstance(ratio, Tensor) and ratio.ndim == 2 else 0
    if side < 48 or side % 4 or ratio.shape[1] != side:
        came = tuple(getattr(ratio, "shape", ()))
        raise ValueError(f"ratio: got shape {came}; expected (side, side) with a side of 48, 52, 56, ...")
    return max(_factor(way, side // 2 - side // period) for way in (ratio, ratio.T) for period in PERIODS)


def _factor(ratio: Tensor, column: int) -> float:
    """By what factor a column's mean lies above that of its neighbours: (side, side) logarithms."""
    around = ratio[:, column + NEIGHBOURS.start : column + NEIGHBOURS.stop]
    return float(10 ** (ratio[:, column].mean() - around.mean()))
