"""Random numbers as pure functions of integer seeds, alike on every machine and in every batch."""

from __future__ import annotations

import torch
from torch import Tensor


def hashed(x: Tensor) -> Tensor:
    """An integer hash of 32 bits with good avalanche (a multiply-xorshift construction), on int64 tensors."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & 0xFFFFFFFF
    x = (x ^ (x >> 15)) * 0x846CA68B & 0xFFFFFFFF
    return x ^ (x >> 16)


def uniform(seeds: Tensor, stream: int, count: int) -> Tensor:
    """(N,) integer seeds → (N, count) numbers in [0, 1), a function of (seed, stream, column) alone."""
    keys = hashed(hashed(seeds & 0xFFFFFFFF) + 0x9E3779B9 * (stream + 1) & 0xFFFFFFFF)
    return hashed(keys[:, None] + 0x85EBCA6B * torch.arange(1, count + 1) & 0xFFFFFFFF).float() / 2**32


class Draws:
    """A row's random numbers, one after the other: each call of `between` takes the next column.

    (N,) double precision numbers, functions of (seed, how many were taken before) alone.
    """

    def __init__(self, seeds: Tensor, stream: int, count: int = 128):
        self._columns = iter(uniform(seeds, stream, count).double().unbind(1))

    def between(self, low: float, high: float) -> Tensor:
        return low + (high - low) * next(self._columns)

    def tint(self) -> Tensor:
        """A small shift of a colour, (N, 3): lighter or darker by up to 0.03, and each channel by up to 0.02."""
        return self.between(-0.03, 0.03)[:, None] + torch.stack([self.between(-0.02, 0.02) for _ in range(3)], dim=1)
