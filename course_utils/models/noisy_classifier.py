"""A classifier of noisy latents: it is told the time, so that it knows how much to trust what it sees."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.models.layers import sinusoidal


class NoisyBlock(nn.Module):
    """Two convolutions around a skip, scaled and shifted by the time. Group norm, which keeps latents apart."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.time = nn.Linear(width, 2 * width)

    def forward(self, h: Tensor, u: Tensor) -> Tensor:
        scale, shift = self.time(u)[..., None, None].chunk(2, dim=1)
        inside = self.conv1(F.silu(self.norm1(h)))
        return h + self.conv2(F.silu(self.norm2(inside) * (1 + scale) + shift))


class NoisyClassifier(nn.Module):
    """p(attribute | z_t, t): latents (B, 4, side, side), times (B,) in [0, 1] → logits (B, K) for each attribute.

    `side`: a multiple of 8. The first convolution brings larger latents to 8 × 8 places, where the blocks work, so that
    a classifier of 16 × 16 costs as much as one of 8 × 8. Dhariwal & Nichol 2021, §4: what guides a diffusion model must
    have seen the latents of its every time.
    """

    def __init__(self, width: int = 64, channels: int = 4, side: int = 8):
        super().__init__()
        if side < 8 or side % 8:
            raise ValueError(f"side: got {side}; expected a multiple of 8")
        self.shape = channels, side, side
        step = side // 8
        self.input = nn.Conv2d(channels, width, step + 2, stride=step, padding=1)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU())
        self.blocks = nn.ModuleList(NoisyBlock(width) for _ in range(2))
        self.mix = nn.Sequential(nn.Linear(width * 16, 2 * width), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(2 * width, len(values)) for name, values in ATTRIBUTES.items()})

    def forward(self, z: Tensor, t: Tensor) -> dict[str, Tensor]:
        if z.ndim != 4 or tuple(z.shape[1:]) != self.shape:
            raise ValueError(f"z: expected latents (B, {', '.join(map(str, self.shape))}), got {tuple(z.shape)}")
        if t.shape != (len(z),):
            raise ValueError(f"t: expected one time for each latent, shape ({len(z)},), got {tuple(t.shape)}")
        h, u = self.input(z), self.time(sinusoidal(1000.0 * t, 128).to(z.dtype))
        for block in self.blocks:
            h = block(h, u)
        h = self.mix(F.avg_pool2d(F.silu(h), 2).flatten(1))
        return {name: head(h) for name, head in self.heads.items()}

    def of(self, attribute: str) -> Callable[[Tensor, Tensor], Tensor]:
        """The classifier of one attribute alone, (z, t) → logits (B, K), as `classifier_gradient` takes it."""
        if attribute not in self.heads:
            raise ValueError(f"attribute is {attribute!r}; expected one of {', '.join(self.heads)}")
        return lambda z, t: self(z, t)[attribute]

    @torch.no_grad()
    def probability(self, z: Tensor, t: Tensor, attribute: str, y: Tensor) -> Tensor:
        """p(y | z_t) for the classes y (B,) of one attribute: (B,)."""
        return self.of(attribute)(z, t).softmax(1).gather(1, y.to(z.device)[:, None])[:, 0]
