"""The course's conventions: pixels in [-1, 1], the count of plushies, the path from data to noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.lab.exercises.checking import Case, Mistake, exercise, noise
from course_utils.lab.exercises.returns import INT


def _to_model_cases() -> list[Case]:
    """By interpolation: 256 even steps from -1 to 1 are what the bytes 0 to 255 must become."""
    every_byte = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    steps = torch.linspace(-1, 1, 256, dtype=torch.float64).view(1, 16, 16)
    return [
        Case((torch.tensor([0, 255], dtype=torch.uint8),), torch.tensor([-1.0, 1.0]), "for the bytes 0 and 255"),
        Case((every_byte,), steps, "for all bytes from 0 to 255"),
    ]


@exercise(
    cases=_to_model_cases,
    mistakes=[
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
def to_model(pixels: Tensor) -> Tensor:
    """uint8 pictures (..., H, W) with 0 to 255 → floats in [-1, 1], the same shape."""
    return pixels.float() / 127.5 - 1


def _listed(*sizes: int) -> Tensor:
    """By listing: all rows, with the colour of "nothing" set to one value, counted without repeats."""
    rows = torch.cartesian_prod(*(torch.arange(n) for n in sizes))
    rows[rows[:, 2] == 0, 3] = 0
    return torch.tensor(float(len(rows.unique(dim=0))))


@exercise(
    cases=lambda: [Case(sizes, _listed(*sizes), f"with {sizes}") for sizes in ((2, 2, 2, 3, 1, 1), (3, 2, 5, 4, 2, 3))],
    mistakes=[
        Mistake(
            lambda *n: math.prod(n),
            "one of the accessories is *nothing*, and nothing has no colour: it counts once, not once per colour.",
        ),
        Mistake(
            lambda s, f, a, c, b, p: s * f * (1 + a * c) * b * p,
            "nothing was counted twice: `accessories` includes it, so (accessories - 1) have a colour.",
        ),
        Mistake(
            lambda s, f, a, c, b, p: s * f * (a - 1) * c * b * p,
            "plushies that wear nothing are missing: one more choice beside the coloured ones.",
        ),
        Mistake(
            lambda *n: sum(n),
            "choices multiply: each species comes in each fur, and so on.",
        ),
    ],
    hint="count what can be worn, 1 + (accessories - 1) · colours, and multiply by the four free choices.",
    returns=INT,
)
def count_plushies(species: int, furs: int, accessories: int, colours: int, backgrounds: int, patterns: int) -> int:
    """How many values each attribute has → how many different plushies there are.

    `accessories` includes "nothing", which has no colour.
    """
    return species * furs * (1 + (accessories - 1) * colours) * backgrounds * patterns


def _mix_cases() -> list[Case]:
    z0, eps = noise(2, 4, 8, 8, seed=0), noise(2, 4, 8, 8, seed=1)
    return [
        Case((z0, eps, 0.0), z0, "at t = 0"),
        Case((z0, eps, 1.0), eps, "at t = 1"),
        Case((z0, eps, 0.25), torch.lerp(z0, eps, 0.25), "at t = 0.25"),
    ]


@exercise(
    cases=_mix_cases,
    mistakes=[
        Mistake(lambda z, e, t: t * z + (1 - t) * e, "turned round: here t = 0 is data and t = 1 is noise."),
        Mistake(lambda z, e, t: z + t * e, "the data must fade as the noise comes: its factor is 1 - t."),
        Mistake(
            lambda z, e, t: math.sqrt(1 - t) * z + math.sqrt(t) * e,
            "square roots belong to another path (DDPM's); this one is a straight line.",
        ),
        Mistake(lambda z, e, t: (z + e) / 2, "t must decide how much there is of each."),
    ],
    hint="a straight line from z0 to eps: (1 - t) of the one, t of the other.",
)
def mix(z0: Tensor, eps: Tensor, t: float) -> Tensor:
    """Data z0 and noise eps of one shape, and t in [0, 1] → z_t on the straight path, data at t = 0, noise at t = 1."""
    return (1 - t) * z0 + t * eps
