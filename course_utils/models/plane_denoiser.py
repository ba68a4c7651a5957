"""A denoiser of points: small enough to be trained within seconds in a notebook, on data whose every answer is known."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.arguments import whole
from course_utils.models.layers import one_for_each, silent_embedding, sinusoidal


class PlaneDenoiser(nn.Module):
    """Points z (B, 2), times t (B,) in [0, 1] and, with `classes`, labels y (B,) → vectors (B, 2).

    What the vectors mean, noise or velocity, is decided by the loss. y is int64 from 0 to classes − 1, and −1 or None
    for "no class": then a learned vector, `null`, stands in the class's place (Ho & Salimans 2022, §3.2). Without
    `classes` there is only that one. The last layer starts at zero, so that a fresh network answers 0.
    """

    def __init__(self, classes: int = 0, width: int = 96, depth: int = 3):
        super().__init__()
        self.classes, width = whole("classes", classes, 0), whole("width", width, 2)
        self.point = nn.Linear(2, width)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(max(1, self.classes), width)  # never asked for where there are no classes
        self.null = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(whole("depth", depth, 1)))
        self.output = nn.Linear(width, 2)
        for p in self.output.parameters():
            nn.init.zeros_(p)

    def forward(self, z: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        self.check(z, t)
        return self._answer(z, self._question(t, y, z))

    @staticmethod
    def check(z: Tensor, t: Tensor) -> None:
        """ValueError for anything but points and a time for each."""
        if z.ndim != 2 or z.shape[1] != 2:
            raise ValueError(f"z: expected points (B, 2), got {tuple(z.shape)}")
        if t.shape != (len(z),):
            raise ValueError(f"t: expected one time for each point, shape ({len(z)},), got {tuple(t.shape)}")

    def _question(self, t: Tensor, y: Tensor | None, z: Tensor) -> Tensor:
        """What is asked about z: times and labels as one vector each, (B, width)."""
        return self.time(sinusoidal(100.0 * t, 64).to(z.dtype)) + self._condition(y, len(z))

    def _answer(self, z: Tensor, question: Tensor) -> Tensor:
        """(B, 2) at points z (B, 2), asked for by `question` (B, width)."""
        h = self.point(z)
        for layer in self.layers:
            h = h + layer(F.silu(h + question))
        return self.output(F.silu(h))

    def _condition(self, y: Tensor | None, batch: int) -> Tensor:
        """(batch, width), or (width,) where no point has a class."""
        if y is None:
            return self.null
        if y.shape != (batch,) or y.is_floating_point() or y.dtype == torch.bool:
            raise ValueError(f"y: expected whole numbers of shape ({batch},), got {y.dtype} {tuple(y.shape)}")
        if batch and (int(y.min()) < -1 or int(y.max()) >= self.classes):
            raise ValueError(f"y: expected classes from 0 to {self.classes - 1}, or -1 for none, got {y.tolist()}")
        return torch.where(y[:, None] < 0, self.null, self.label(y.clamp(min=0)))


class FastPlaneDenoiser(PlaneDenoiser):
    """`FastDenoiser` for points: z (B, 2), times t and s (B,), s ≤ t, labels y (B,), scales w (B,) → mean velocities (B, 2).

    Beside t and y it is told how far to go, t − s, and how strongly it is guided, w.
    """

    def __init__(self, classes: int = 0, width: int = 128, depth: int = 4):
        super().__init__(classes, width, depth)
        self.length, self.scale = (silent_embedding(64, width) for _ in range(2))

    def forward(self, z: Tensor, t: Tensor, s: Tensor, y: Tensor | None, guidance_scale: Tensor) -> Tensor:  # type: ignore[override]
        self.check(z, t)
        one_for_each("point", len(z), s=s, guidance_scale=guidance_scale)
        told = self.length(sinusoidal(100.0 * (t - s), 64).to(z.dtype))
        told = told + self.scale(sinusoidal(10.0 * guidance_scale, 64).to(z.dtype))
        return self._answer(z, self._question(t, y, z) + told)
