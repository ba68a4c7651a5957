"""The exercises of notebook 01, pixels against latents. See `exercises` for how a check works."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from course_utils.lab.exercises.checking import Attempt, Case, Exercise, Mistake, Wrong, formula


def _noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- savings ----


def _savings(height: int, width: int, factor: int, channels: int) -> float:
    return 3 * height * width / ((height // factor) * (width // factor) * channels)


def _counted(height: int, width: int, factor: int, channels: int) -> Tensor:
    """By making both tensors and counting."""
    picture = torch.empty(3, height, width)
    latent = torch.empty(channels, *picture[0, ::factor, ::factor].shape)
    return torch.tensor(picture.numel() / latent.numel())


savings = Exercise(
    "savings",
    _savings,
    formula(
        [
            Case(case, _counted(*case), f"at {case[0]}×{case[1]}, f = {case[2]}, {case[3]} channels")
            for case in ((64, 64, 8, 4), (1024, 512, 8, 16), (256, 256, 4, 3))
        ],
        [
            Mistake(lambda h, w, f, c: torch.tensor(h * w / ((h / f) * (w / f) * c)), "a pixel has three numbers."),
            Mistake(
                lambda h, w, f, c: torch.tensor(3 * f / c),
                "f shortens the height *and* the width: it counts twice.",
            ),
            Mistake(
                lambda h, w, f, c: torch.tensor(float(f * f)),
                "that is places against places; the picture has 3 numbers a place, the latent `channels`.",
            ),
            Mistake(
                lambda h, w, f, c: torch.tensor((h / f) * (w / f) * c / (3 * h * w)),
                "upside down: how many times fewer, so the picture's count is on top.",
            ),
            Mistake(
                lambda h, w, f, c: torch.tensor(3.0 * f * f * c),
                "more channels make a latent larger: divide by them.",
            ),
        ],
        hint="count both: 3 · height · width numbers, and (height / f) · (width / f) · channels.",
    ),
)
"""How many times fewer numbers a latent has than its picture."""


# ---- neighbours ----


def _neighbours(x: Tensor) -> Tensor:
    a, b = x[..., :-1].flatten().double(), x[..., 1:].flatten().double()
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.norm() * b.norm())


def _neighbours_case(x: Tensor, words: str) -> Case:
    """NumPy's own answer."""
    a = x.numpy().astype(np.float64)
    found = np.corrcoef(a[..., :-1].ravel(), a[..., 1:].ravel())[0, 1]
    return Case((x,), torch.tensor(found), words)


_SMOOTH = _noise(2, 3, 8, 12, seed=0).cumsum(-1) + 4.0
_check_correlation = formula(
    [
        _neighbours_case(_SMOOTH, "on smooth rows"),
        _neighbours_case(_noise(2, 3, 8, 12, seed=1) + 2, "on noise"),
    ],
    [
        Mistake(
            lambda x: (x[..., :-1] * x[..., 1:]).mean() / x.square().mean(),
            "the means were not subtracted: bright pictures would look correlated whatever is in them.",
        ),
        Mistake(
            lambda x: torch.cov(torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()]))[0, 1],
            "this is the covariance: divide by both standard deviations.",
        ),
        Mistake(
            lambda x: torch.corrcoef(torch.stack([x[..., :-1, :].flatten(), x[..., 1:, :].flatten()]))[0, 1],
            "these are neighbours *below*: the last axis goes across.",
        ),
    ],
    hint="pair x[..., :-1] with x[..., 1:], flatten both, and take the Pearson correlation.",
)


def _check_neighbours(attempt: Attempt) -> None:
    answer = attempt(_SMOOTH)
    if isinstance(answer, (Tensor, np.ndarray)) and tuple(answer.shape) == (2, 2):
        raise Wrong(
            "expected one number, got a 2 × 2 table",
            "corrcoef gives a table; the answer is one of its corners.",
        )
    _check_correlation(attempt)


neighbours = Exercise("neighbours", _neighbours, _check_neighbours)
"""Correlation of each number with its right-hand neighbour."""


# ---- needed ----


def _needed(energy: Tensor, share: float) -> int:
    kept = energy.sort(descending=True).values.cumsum(0) / energy.sum()
    return int((kept < share).sum()) + 1


def _needed_case(energy: Tensor, share: float, words: str) -> Case:
    """By taking one after another, the largest first, until there is enough."""
    got, count = 0.0, 0
    for value in sorted(energy.tolist(), reverse=True):
        if got >= share * sum(energy.tolist()):
            break
        got, count = got + value, count + 1
    return Case((energy, share), torch.tensor(count), words)


_ENERGY = torch.tensor([1.0, 8.0, 0.5, 0.3, 0.2])
_MANY = _noise(300, seed=3).exp()
needed = Exercise(
    "needed",
    _needed,
    formula(
        [_needed_case(_ENERGY, 0.85, "for energies 1, 8, 0.5, 0.3, 0.2 and a share of 0.85"), _needed_case(_MANY, 0.6, "on 300 numbers")],
        [
            Mistake(
                lambda e, s: ((e.cumsum(0) / e.sum()) < s).sum() + 1,
                "take the *largest* first: sort in descending order before you add up.",
            ),
            Mistake(
                lambda e, s: ((e.sort().values.cumsum(0) / e.sum()) < s).sum() + 1,
                "sorted the wrong way round: the largest come first.",
            ),
            Mistake(
                lambda e, s: ((e.sort(descending=True).values.cumsum(0) / e.sum()) < s).sum(),
                "one too few: the one that reaches the share counts as well.",
            ),
            Mistake(
                lambda e, s: (e.sort(descending=True).values.cumsum(0) < s).sum() + 1,
                "a share *of the whole*: divide by the sum of all energies.",
            ),
            Mistake(
                lambda e, s: (e > (1 - s) * e.max()).sum(), "a threshold on single energies is something else: add them up."
            ),
        ],
        hint="sort in descending order, add up with cumsum, divide by the sum, count until the share is reached.",
    ),
)  # fmt: skip
"""How many of the largest energies hold a share of the whole."""


# ---- halfway ----


def _halfway(encode, decode, a: Tensor, b: Tensor) -> Tensor:
    return decode((encode(a) + encode(b)) / 2)


_W, _V = _noise(4, 6, seed=5), _noise(6, 4, seed=6)


def _encode(x: Tensor) -> Tensor:
    return torch.tanh(x @ _W.T)


def _decode(z: Tensor) -> Tensor:
    return torch.sin(z @ _V.T)


_A, _B = _noise(3, 6, seed=7), _noise(3, 6, seed=8)
_MIDDLE = torch.sin(torch.lerp(torch.tanh(_A @ _W.T), torch.tanh(_B @ _W.T), 0.5) @ _V.T)


def _check_halfway(attempt: Attempt) -> None:
    answer = attempt(_encode, _decode, _A, _B)
    if isinstance(answer, Tensor) and answer.shape == _encode(_A).shape:
        raise Wrong("expected a picture, got a latent", "this is still a latent: decode it.")
    formula(
        [Case((_encode, _decode, _A, _B), _MIDDLE, "with a small encoder and decoder")],
        [
            Mistake(lambda e, d, a, b: (d(e(a)) + d(e(b))) / 2, "the mean was taken after decoding: those are pixels again."),
            Mistake(lambda e, d, a, b: (a + b) / 2, "this is the middle in pixels: encode first."),
            Mistake(lambda e, d, a, b: d(e((a + b) / 2)), "the mean was taken before encoding: that is a ghost in, a ghost out."),
            Mistake(lambda e, d, a, b: d(e(a) + e(b)), "a sum is not a mean: divide by 2."),
        ],
        hint="encode both, take the mean of the two latents, decode it.",
    )(attempt)  # fmt: skip


halfway = Exercise("halfway", _halfway, _check_halfway)
"""The picture halfway between two, through the latent space."""
