"""Two numbers that pull against each other, over a knob: which method's curve lies further out?

A method of guidance is a curve over w: the share of captions followed, and the diversity of what they leave open.
Curves are compared by the diversity that is left where both follow captions equally well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def front(right: np.ndarray, diversity: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """The most diversity that a curve reaches where `right` is at least each level: (levels,).

    right, diversity (points,): the curve's points in the order of its knob, joined by straight lines. The result is
    NaN where the curve never gets that far.
    """
    right, diversity = np.asarray(right, dtype=float), np.asarray(diversity, dtype=float)
    if right.ndim != 1 or right.shape != diversity.shape or len(right) < 2:
        raise ValueError(
            f"right, diversity: got shapes {right.shape} and {diversity.shape}; expected two of (points,), 2 or more"
        )
    share = np.linspace(0, 1, 21)[:, None]
    along, across = (((1 - share) * x[:-1] + share * x[1:]).ravel() for x in (right, diversity))
    found = np.full(len(levels), np.nan)
    for k, level in enumerate(levels):
        reached = along >= level - 1e-9  # a line that ends on a level reaches it, whatever rounding says
        if reached.any():
            found[k] = across[reached].max()
    return found


def value_at(points: Iterable[tuple[float, float]], at: float) -> float:
    """What a curve of points (x, y), x > 0, in any order, has at x = `at`: on straight lines in log x, NaN outside."""
    x, y = np.array(sorted(points), dtype=float).T
    return float(np.interp(np.log(at), np.log(x), y, left=np.nan, right=np.nan))


def leads(
    rights: Mapping[str, np.ndarray],
    diversities: Mapping[str, np.ndarray],
    levels: Sequence[float],
    base: str = "CFG",
    resamples: int = 400,
    seed: int = 0,
) -> dict[str, dict[str, np.ndarray]]:
    """How much more diverse is each method than `base` where both follow as many captions?

    rights[method] (points, captions): 1 where a caption is followed; diversities[method] (points, prompts). Every
    method must have seen the same captions and prompts. Returns for each method, each (levels,): its `diversity`, the
    `lead` over base, and `low` and `high`, the middle 90 % of the lead when captions and prompts are drawn again with
    replacement, the same for all methods (Efron 1979). The last two are NaN where fewer than half of the draws get
    that far.
    """
    if base not in rights or rights.keys() != diversities.keys():
        raise ValueError(
            f"rights, diversities: got {list(rights)} and {list(diversities)}; expected the same methods, and {base!r}"
        )
    random = np.random.default_rng(seed)
    captions, prompts = rights[base].shape[1], diversities[base].shape[1]

    def at(i: np.ndarray, j: np.ndarray) -> dict[str, np.ndarray]:
        return {m: front(rights[m][:, i].mean(1), diversities[m][:, j].mean(1), levels) for m in rights}

    once = at(np.arange(captions), np.arange(prompts))
    drawn = [
        at(random.integers(captions, size=(captions,)), random.integers(prompts, size=(prompts,)))
        for _ in range(resamples)
    ]
    result = {}
    for method, diversity in once.items():
        found = np.stack([d[method] - d[base] for d in drawn])  # (resamples, levels)
        ends = np.full((2, len(levels)), np.nan)
        for k, column in enumerate(found.T):
            known = column[np.isfinite(column)]
            if 2 * len(known) > resamples:
                ends[:, k] = np.quantile(known, (0.05, 0.95))
        lead = diversity - once[base]
        result[method] = {"diversity": diversity, "lead": lead, "low": ends[0], "high": ends[1]}
    return result
