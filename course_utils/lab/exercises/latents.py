"""Pixels against latents: how many numbers, how correlated, how few are needed, PCA, and what lies halfway."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.checking import Case, Mistake, exercise, noise
from course_utils.lab.exercises.returns import COUNT, NUMBER, Wrong, is_tensor


def _counted(height: int, width: int, factor: int, channels: int) -> Tensor:
    """By making both tensors and counting."""
    picture = torch.empty(3, height, width)
    latent = torch.empty(channels, *picture[0, ::factor, ::factor].shape)
    return torch.tensor(picture.numel() / latent.numel())


@exercise(
    cases=lambda: [
        Case(case, _counted(*case), f"at {case[0]}×{case[1]}, f = {case[2]}, {case[3]} channels")
        for case in ((64, 64, 8, 4), (1024, 512, 8, 16), (256, 256, 4, 3))
    ],
    mistakes=[
        Mistake(lambda h, w, f, c: h * w / ((h / f) * (w / f) * c), "a pixel has three numbers."),
        Mistake(
            lambda h, w, f, c: 3 * f / c,
            "f shortens the height *and* the width: it counts twice.",
        ),
        Mistake(
            lambda h, w, f, c: f * f,
            "that is places against places; the picture has 3 numbers per place, the latent `channels`.",
        ),
        Mistake(
            lambda h, w, f, c: (h / f) * (w / f) * c / (3 * h * w),
            "upside down: how many times fewer, so the picture's count is on top.",
        ),
        Mistake(
            lambda h, w, f, c: 3 * f * f * c,
            "more channels make a latent larger: divide by them.",
        ),
    ],
    hint="count both: 3 · height · width numbers, and (height / f) · (width / f) · channels.",
    returns=NUMBER,
)
def savings(height: int, width: int, factor: int, channels: int) -> float:
    """How many times fewer numbers a latent (channels, height / factor, width / factor) has than its RGB picture.

    All four are whole numbers, and `factor` divides `height` and `width`.
    """
    return 3 * height * width / ((height // factor) * (width // factor) * channels)


def _smooth_rows() -> Tensor:
    return noise(2, 3, 8, 12, seed=0).cumsum(-1) + 4.0


def _neighbours_cases() -> list[Case]:
    """NumPy's own answer."""
    cases = []
    for x, words in (
        (_smooth_rows(), "on smooth rows"),
        ((noise(2, 3, 8, 12, seed=1) + 2).double(), "on noise in float64"),
    ):
        a = x.numpy().astype(np.float64)
        found = np.corrcoef(a[..., :-1].ravel(), a[..., 1:].ravel())[0, 1]
        cases.append(Case((x,), torch.tensor(found), words))
    return cases


def _check_one_number(attempt: Attempt) -> None:
    answer = attempt(_smooth_rows())
    if is_tensor(answer) and tuple(answer.shape) == (2, 2):
        raise Wrong(
            "expected one number, got a 2 × 2 table",
            "corrcoef gives a table; the answer is one of its corners.",
        )


@exercise(
    check=_check_one_number,
    cases=_neighbours_cases,
    mistakes=[
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
    returns=NUMBER,
)
def neighbours(x: Tensor) -> Tensor:
    """Pictures (N, C, H, W) → the correlation of each number with its right-hand neighbour, in [-1, 1]."""
    x = x.cpu().double()  # In this order, since Apple's MPS has no float64.
    a, b = x[..., :-1].flatten(), x[..., 1:].flatten()
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.norm() * b.norm())


def _needed_cases() -> list[Case]:
    """By taking one after another, the largest first, until there is enough."""
    few, many = torch.tensor([1.0, 8.0, 0.5, 0.3, 0.2]), noise(300, seed=3).exp()
    cases = []
    for energy, share, words in (
        (few, 0.85, "for energies 1, 8, 0.5, 0.3, 0.2 and a share of 0.85"),
        (many, 0.6, "on 300 numbers"),
    ):
        got, count = 0.0, 0
        for value in sorted(energy.tolist(), reverse=True):
            if got >= share * sum(energy.tolist()):
                break
            got, count = got + value, count + 1
        cases.append(Case((energy, share), torch.tensor(count), words))
    return cases


@exercise(
    cases=_needed_cases,
    mistakes=[
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
    returns=COUNT,
)
def needed(energy: Tensor, share: float) -> int:
    """energy (D,) ≥ 0 in any order, and a share in (0, 1] → how many of the largest hold that share of the whole."""
    kept = energy.sort(descending=True).values.cumsum(0) / energy.sum()
    return int((kept < share).sum()) + 1


def _plane() -> tuple[Tensor, Tensor, Tensor]:
    """Points (5, 12), a mean far from 0, and three orthonormal directions (3, 12)."""
    directions = torch.linalg.qr(noise(12, 3, seed=10)).Q.T
    return noise(5, 12, seed=9), noise(12, seed=11) + 3.0, directions


def _project_cases() -> list[Case]:
    """By least squares, which does not know that the directions are orthonormal."""
    x, mean, directions = _plane()
    numbers = torch.linalg.lstsq(directions.T, (x - mean).T).solution
    return [Case((x, mean, directions), mean + (directions.T @ numbers).T, "with three directions among twelve")]


def _check_not_numbers(attempt: Attempt) -> None:
    x, mean, directions = _plane()
    if attempt(x, mean, directions).shape == (len(x), len(directions)):
        raise Wrong("expected rows of 12, got rows of 3", "these are the few numbers: go back to pictures with them.")


@exercise(
    check=_check_not_numbers,
    cases=_project_cases,
    mistakes=[
        Mistake(lambda x, m, v: m + x @ v.T @ v, "subtract the mean before you project."),
        Mistake(lambda x, m, v: (x - m) @ v.T @ v, "add the mean again: these are differences from it."),
        Mistake(
            lambda x, m, v: x @ v.T @ v, "directions start from the mean: subtract it first, and add it afterwards."
        ),
        Mistake(lambda x, m, v: x - (x - m) @ v.T @ v, "this is what gets lost; the answer is what is kept."),
    ],
    hint="how far does x - mean reach along each direction? Go that far along each from the mean.",
)
def project(x: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Rows x (N, D), a mean (D,), orthonormal directions (k, D) → the nearest points (N, D) that k numbers can name."""
    return mean + (x - mean) @ directions.T @ directions


def _encode(x: Tensor) -> Tensor:
    return torch.tanh(x @ noise(4, 6, seed=5).T)


def _decode(z: Tensor) -> Tensor:
    return torch.sin(z @ noise(6, 4, seed=6).T)


def _halfway_cases() -> list[Case]:
    a, b = noise(3, 6, seed=7), noise(3, 6, seed=8)
    middle = _decode(torch.lerp(_encode(a), _encode(b), 0.5))
    return [Case((_encode, _decode, a, b), middle, "with a small encoder and decoder")]


def _check_decoded(attempt: Attempt) -> None:
    a, b = noise(3, 6, seed=7), noise(3, 6, seed=8)
    answer = attempt(_encode, _decode, a, b)
    if answer.shape == _encode(a).shape:
        raise Wrong("expected a picture, got a latent", "this is still a latent: decode it.")


@exercise(
    check=_check_decoded,
    cases=_halfway_cases,
    mistakes=[
        Mistake(
            lambda e, d, a, b: (d(e(a)) + d(e(b))) / 2, "the mean was taken after decoding: those are pixels again."
        ),
        Mistake(lambda e, d, a, b: (a + b) / 2, "this is the middle in pixels: encode first."),
        Mistake(
            lambda e, d, a, b: d(e((a + b) / 2)),
            "the mean was taken before encoding: that is a ghost in, a ghost out.",
        ),
        Mistake(lambda e, d, a, b: d(e(a) + e(b)), "a sum is not a mean: divide by 2."),
    ],
    hint="encode both, take the mean of the two latents, decode it.",
)
def halfway(encode: Callable, decode: Callable, a: Tensor, b: Tensor) -> Tensor:
    """encode: picture → latent, decode: latent → picture, and two pictures → the picture halfway in latent space."""
    return decode((encode(a) + encode(b)) / 2)
