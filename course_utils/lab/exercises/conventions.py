"""The exercises of notebook 00, the course's conventions. See `exercises` for how a check works."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.lab.exercises.checking import Attempt, Case, Exercise, Mistake, Wrong, formula


def _noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- to_model ----


def _to_model(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1


_BYTES = torch.arange(256, dtype=torch.uint8)
_RAMP = torch.linspace(-1, 1, 256, dtype=torch.float64)
"""256 even steps from -1 to 1: what the bytes 0 to 255 must become, by interpolation instead of the formula."""

_check_to_model_values = formula(
    [
        Case((torch.tensor([0, 255], dtype=torch.uint8),), torch.tensor([-1.0, 1.0]), "for the bytes 0 and 255"),
        Case((_BYTES.view(1, 16, 16),), _RAMP.view(1, 16, 16), "for all bytes from 0 to 255"),
    ],
    [
        Mistake(lambda x: x.float() / 255, "this is [0, 1]: stretch it by 2 and move it down by 1."),
        Mistake(lambda x: x.float() / 128 - 1, "divide by half of 255, not of 256: 255 must become exactly 1."),
        Mistake(lambda x: x / 255 * 2, "the shift is missing: black must become -1."),
        Mistake(lambda x: x.float() - 127.5, "the scale is missing: divide by 127.5 first."),
        Mistake(
            lambda x: (x - 1).float() / 127.5,
            "1 was subtracted from bytes, where 0 - 1 is 255: make floats first, then subtract.",
        ),
        Mistake(lambda x: 1 - x.float() / 127.5, "turned round: white must become +1."),
    ],
    hint="0 → -1 and 255 → 1: divide by 127.5, then subtract 1, both on floats.",
)


def _check_to_model(attempt: Attempt) -> None:
    _check_to_model_values(attempt)
    answer = attempt(_BYTES)
    if not answer.is_floating_point():
        raise Wrong(f"expected floats, got {answer.dtype}", "networks work on floats: start with `pixels.float()`.")


to_model = Exercise("to_model", _to_model, _check_to_model)
"""uint8 pictures (..., H, W) → floats in [-1, 1]."""


# ---- count_plushies ----


def _count_plushies(species: int, furs: int, accessories: int, colours: int, backgrounds: int, patterns: int) -> int:
    return species * furs * (1 + (accessories - 1) * colours) * backgrounds * patterns


def _listed(*sizes: int) -> Tensor:
    """By listing: all rows, with the colour of "nothing" set to one value, counted without repeats."""
    rows = torch.cartesian_prod(*(torch.arange(n) for n in sizes))
    rows[rows[:, 2] == 0, 3] = 0
    return torch.tensor(float(len(rows.unique(dim=0))))


count_plushies = Exercise(
    "count_plushies",
    _count_plushies,
    formula(
        [Case(sizes, _listed(*sizes), f"with {sizes}") for sizes in ((2, 2, 2, 3, 1, 1), (3, 2, 5, 4, 2, 3))],
        [
            Mistake(
                lambda *n: torch.tensor(float(math.prod(n))),
                "one of the accessories is *nothing*, and nothing has no colour: it counts once, not once a colour.",
            ),
            Mistake(
                lambda s, f, a, c, b, p: torch.tensor(float(s * f * (1 + a * c) * b * p)),
                "nothing was counted twice: `accessories` includes it, so (accessories - 1) have a colour.",
            ),
            Mistake(
                lambda s, f, a, c, b, p: torch.tensor(float(s * f * (a - 1) * c * b * p)),
                "plushies that wear nothing are missing: one more choice beside the coloured ones.",
            ),
            Mistake(
                lambda *n: torch.tensor(float(sum(n))),
                "choices multiply: each species comes in each fur, and so on.",
            ),
        ],
        hint="count what can be worn, 1 + (accessories - 1) · colours, and multiply by the four free choices.",
    ),
)
"""How many different attribute rows there are."""


# ---- mix ----


def _mix(z0: Tensor, eps: Tensor, t: float) -> Tensor:
    return (1 - t) * z0 + t * eps


_Z0, _EPS = _noise(2, 4, 8, 8, seed=0), _noise(2, 4, 8, 8, seed=1)

mix = Exercise(
    "mix",
    _mix,
    formula(
        [
            Case((_Z0, _EPS, 0.0), _Z0, "at t = 0"),
            Case((_Z0, _EPS, 1.0), _EPS, "at t = 1"),
            Case((_Z0, _EPS, 0.25), torch.lerp(_Z0, _EPS, 0.25), "at t = 0.25"),
        ],
        [
            Mistake(lambda z, e, t: t * z + (1 - t) * e, "turned round: here t = 0 is data and t = 1 is noise."),
            Mistake(lambda z, e, t: z + t * e, "the data must fade as the noise comes: its factor is 1 - t."),
            Mistake(
                lambda z, e, t: math.sqrt(1 - t) * z + math.sqrt(t) * e,
                "square roots belong to another path (DDPM's, notebook 06); this one is a straight line.",
            ),
            Mistake(lambda z, e, t: (z + e) / 2, "t must decide how much there is of each."),
        ],
        hint="a straight line from z0 to eps: (1 - t) of the one, t of the other.",
    ),
)
"""z_t on the straight path between data (t = 0) and noise (t = 1)."""
