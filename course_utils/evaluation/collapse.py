"""Is one value more frequent among pictures of one prompt than chance explains? (Notebook 08's count of collapse.)"""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils import runtime
from course_utils.arguments import whole


def most_frequent(values: Tensor) -> float:
    """The share of the most frequent of n values, int64 (n,), n ≥ 1 and values ≥ 0."""
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values: got shape {tuple(values.shape)}; expected (n,) with n ≥ 1")
    return float(torch.bincount(values).max()) / len(values)


def shares(values: Tensor, kinds: int) -> Tensor:
    """The share of each kind among values, int64 (n,) from 0 to kinds - 1, or -1 for none, which is not counted: (kinds,).

    All 0 if there is nothing to count.
    """
    if values.ndim != 1 or (len(values) and not -1 <= int(values.min()) <= int(values.max()) < kinds):
        raise ValueError(f"values: got shape {tuple(values.shape)}; expected (n,) with numbers from -1 to {kinds - 1}")
    counts = torch.bincount(values[values >= 0], minlength=kinds)
    return counts / counts.sum().clamp(min=1)


def most_frequent_by_chance(pool: Tensor, n: int, draws: int = 400) -> Tensor:
    """`most_frequent` of n different ones out of `pool` (N,), drawn anew each time: (draws,).

    Among few values one is always the most frequent: this says how frequent it is where nothing has collapsed.
    """
    n, draws = whole("n", n, 1, len(pool)), whole("draws", draws, 1)
    orders = (torch.randperm(len(pool), generator=runtime.generator(k))[:n] for k in range(draws))
    return torch.tensor([most_frequent(pool[order]) for order in orders])
