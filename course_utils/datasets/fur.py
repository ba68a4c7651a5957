"""Fur: noise that is new in every picture, combed along the body.

White noise on a grid of 128 × 128 is smeared along the direction in which the fur lies (a line integral convolution,
Cabral and Leedom 1993): hairs appear. Which way they lie can be seen; which of them are light and which dark
nobody can predict, and that is what notebook 03 is about.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.datasets.seeds import uniform

GRID = 128
DOUBLINGS = 3
STEP = 1.15  # grid cells
STRENGTH = 0.045  # standard deviation of the fur's brightness, of 1
FUZZ = 0.006  # standard deviation of how far edges are moved, in units of the picture (its width is 2)


def white_noise(seeds: Tensor, stream: int) -> Tensor:
    """(N,) seeds → (N, 128, 128) with mean 0 and standard deviation 1."""
    return ((uniform(seeds, stream, GRID * GRID) - 0.5) * 12**0.5).view(-1, GRID, GRID)


def resized(x: Tensor, size: int) -> Tensor:
    """(N, H, H) → (N, size, size) by averaging four neighbours, or by doubling every cell and smoothing."""
    while x.shape[-1] > size:
        x = 0.25 * (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2])
    while x.shape[-1] < size:
        x = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
        x = 0.5 * (x + x.roll(1, 1))
        x = 0.5 * (x + x.roll(1, 2))
    return x


def clumps(noise: Tensor) -> Tensor:
    """White noise (N, 128, 128) → noise in specks of two cells, of standard deviation 1, to roughen edges."""
    pairs = noise + noise.roll(1, 1)
    return 0.5 * (pairs + pairs.roll(1, 2))


def strands(noise: Tensor, flow: Tensor) -> Tensor:
    """Comb white noise (N, 128, 128) along flow (N, 2, 128, 128), a direction of any length: (N, 128, 128).

    Each place adds what lies a step ahead; done three times, with the step doubled each time, a hair is eight
    steps long, and bends with the flow.
    """
    length = (flow * flow).sum(1, keepdim=True).sqrt().clamp(min=1e-3)
    step_x, step_y = (flow * (STEP / length)).unbind(1)
    middles = torch.arange(GRID) + 0.5
    for k in range(DOUBLINGS):
        column = (middles + 2**k * step_x).clamp(0.0, GRID - 0.5)
        row = (middles[:, None] + 2**k * step_y).clamp(0.0, GRID - 0.5).floor()
        ahead = (row * GRID + column).long().flatten(1)
        noise = noise + noise.flatten(1).gather(1, ahead).view_as(noise)
    return noise * 2 ** (-0.5 * DOUBLINGS)
