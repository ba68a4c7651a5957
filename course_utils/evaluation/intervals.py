"""95 % intervals of shares and of means, so that a number says how much of it may be chance."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.arguments import number, whole

Interval = tuple[float, float, float]
"""A value and the ends of its interval: (value, low, high)."""

Z = 1.959964  # of a standard normal's draws, 95 % lie between -Z and Z


def share_interval(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval of a share in [0, 1] seen in n tries (Wilson 1927). It stays within [0, 1], at 0 and 1 too."""
    share, n = number("share", share, 0.0, 1.0), whole("n", n, 1)
    middle, half = share + Z * Z / (2 * n), Z * math.sqrt(share * (1 - share) / n + (Z / (2 * n)) ** 2)
    return (middle - half) / (1 + Z * Z / n), (middle + half) / (1 + Z * Z / n)


def interval_text(value: float, low: float, high: float, form: str = ".2f") -> str:
    """A number and the ends of its interval, as texts and tables show them: "0.65 (0.61 to 0.70)"."""
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def share_text(share: float, n: int, form: str = ".0%") -> str:
    """A share seen in n tries with its `share_interval`: "65% (61% to 70%)"."""
    return interval_text(share, *share_interval(share, n), form)


def mean_interval(values: Tensor) -> tuple[float, float]:
    """The interval of the mean of independent values (n,), n ≥ 2, by their standard error; for dozens or more."""
    if not isinstance(values, Tensor) or values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values: got {tuple(getattr(values, 'shape', ()))}; expected (n,) with n ≥ 2")
    v = values.detach().cpu().double()
    if not bool(v.isfinite().all()):
        raise ValueError("values: got NaN or infinity; expected finite values")
    middle, half = float(v.mean()), Z * float(v.std()) / math.sqrt(len(v))
    return middle - half, middle + half


def jackknife_interval(statistic: Callable[[Tensor], float], rows: Tensor) -> tuple[float, float]:
    """The interval of a smooth statistic of independent rows (n, ...), n ≥ 3: 1.96 jackknife errors on either side.

    It asks how the statistic changes when a single row is left out (Efron & Stein 1981). Not for maxima and medians, which
    a single row often does not change at all.
    """
    if not isinstance(rows, Tensor) or not rows.ndim or len(rows) < 3:
        raise ValueError(f"rows: got {tuple(getattr(rows, 'shape', ()))}; expected (n, ...) with n ≥ 3")
    n = len(rows)
    without = torch.tensor([statistic(torch.cat([rows[:i], rows[i + 1 :]])) for i in range(n)], dtype=torch.float64)
    middle, half = statistic(rows), Z * math.sqrt((n - 1) * float(without.var(correction=0)))
    return middle - half, middle + half
