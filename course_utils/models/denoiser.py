"""The denoiser: a diffusion transformer with adaLN-zero (Peebles & Xie 2023), conditioned on a CLIP embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.configured import Configured
from course_utils.models.layers import MLP, Attention, sinusoidal, sinusoidal_2d
from course_utils.models.vit import patchify, unpatchify


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of the transformer and of the latent (channels, side) that it works on."""

    width: int = 160
    depth: int = 3
    heads: int = 2
    patch: int = 2
    channels: int = 4
    side: int = 8
    condition: int = 128


class DiTBlock(nn.Module):
    """A transformer block whose shifts, scales and gates come from the condition (Peebles & Xie 2023, §3.2).

    The map that makes them starts at zero, so that a fresh block is the identity.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = MLP(width)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)[:, None].chunk(6, dim=-1)  # (B, 1, width)
        x = x + gate1 * self.attention(torch.addcmul(shift1, self.norm1(x), 1 + scale1))
        return x + gate2 * self.mlp(torch.addcmul(shift2, self.norm2(x), 1 + scale2))


class Denoiser(Configured, nn.Module):
    """v(z_t, t, condition): latents (B, 4, 8, 8), times (B,) in [0, 1], conditions (B, D) → velocities (B, 4, 8, 8).

    A condition is a unit vector of CLIP's space, or `null`, a learned vector of that space which stands for
    "no condition". Dropping a condition means putting `null` in its place (Ho & Salimans 2022, §3.2).
    """

    Config = DenoiserConfig

    def __init__(self, config: DenoiserConfig | None = None):
        super().__init__()
        self.config = c = config or DenoiserConfig()
        self.input = nn.Linear(c.channels * c.patch**2, c.width)
        self.position_embedding = nn.Parameter(sinusoidal_2d(c.side // c.patch, c.width))
        self.time = nn.Sequential(nn.Linear(256, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.condition = nn.Sequential(nn.Linear(c.condition, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.null = nn.Parameter(F.normalize(torch.randn(c.condition), dim=0))
        self.blocks = nn.ModuleList(DiTBlock(c.width, c.heads) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.width, elementwise_affine=False)
        self.modulation = nn.Linear(c.width, 2 * c.width)
        self.output = nn.Linear(c.width, c.channels * c.patch**2)
        for layer in (self.modulation, self.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        self.check(z, t, condition)
        return self.answer(z, self.question(t, condition))

    def question(self, t: Tensor, condition: Tensor) -> Tensor:
        """What the blocks are modulated by: times (B,) and conditions (B, D) as one vector each, (B, width)."""
        # A unit vector of D numbers has entries near 1/√D; networks like inputs near 1.
        return self.time(sinusoidal(1000.0 * t, 256)) + self.condition(condition * self.config.condition**0.5)

    def answer(self, z: Tensor, question: Tensor) -> Tensor:
        """The velocity at z (B, C, side, side), asked for by `question` (B, width)."""
        c, u = self.config, F.silu(question)
        x = self.input(patchify(z, c.patch)) + self.position_embedding  # (B, L, width)
        for block in self.blocks:
            x = block(x, u)
        shift, scale = self.modulation(u)[:, None].chunk(2, dim=-1)
        x = self.output(torch.addcmul(shift, self.norm(x), 1 + scale))
        return unpatchify(x, c.patch, c.channels)

    def check(self, z: Tensor, t: Tensor, condition: Tensor) -> None:
        """ValueError for arguments of other shapes than this denoiser's."""
        c = self.config
        if z.ndim != 4 or z.shape[1:] != (c.channels, c.side, c.side):
            raise ValueError(
                f"z: expected latents of shape (B, {c.channels}, {c.side}, {c.side}), got {tuple(z.shape)}"
            )
        if t.shape != (len(z),):
            raise ValueError(f"t: expected one time for each latent, shape ({len(z)},), got {tuple(t.shape)}")
        if condition.shape != (len(z), c.condition):
            raise ValueError(f"condition: expected shape ({len(z)}, {c.condition}), got {tuple(condition.shape)}")


class PictureDenoiser(Denoiser):
    """A denoiser whose network names the data ẑ0; what comes out is the velocity of the straight path that leads there.

    Noise fills all the numbers of a large input and the data only few, so the data are easier to name (Li & He 2025).
    z_t = (1 − t) z0 + t eps gives v = (z_t − z0) / t; times below `EARLIEST` count as that, as in their training.
    """

    EARLIEST = 0.05

    def forward(self, z: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return (z - super().forward(z, t, condition)) / t.clamp(min=self.EARLIEST)[:, None, None, None]
