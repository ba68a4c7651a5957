"""Building blocks that several models share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResBlock(nn.Module):
    """Two 3×3 convolutions around a skip, normalised first (He et al. 2016, "identity mappings").

    The second convolution starts at zero, so that a fresh block is the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for p in self.conv2.parameters():
            nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


def conv_norm_act(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    """A 3×3 convolution, group norm, SiLU: non-linear from the first step, unlike a fresh `ResBlock`."""
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.GroupNorm(8, cout), nn.SiLU())


def to_an_eighth(width: int) -> nn.Sequential:
    """Convolutions in three pairs, each halving the side: (B, 3, H, W) → (B, 4 · width, H/8, W/8)."""
    return nn.Sequential(
        conv_norm_act(3, width, 2),
        conv_norm_act(width, width),
        conv_norm_act(width, 2 * width, 2),
        conv_norm_act(2 * width, 2 * width),
        conv_norm_act(2 * width, 4 * width, 2),
        conv_norm_act(4 * width, 4 * width),
    )


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, §3.2). (B, L, D) → (B, L, D)."""

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} does not divide width {width}")
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each token asks for, offers and passes on: (B, L, D) → three times (B, heads, L, D / heads)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.queries_keys_values(x)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor) -> Tensor:
        """How much token i takes from token j: (B, heads, L, L), each row sums to 1. For looking at only."""
        q, k, _ = self.queries_keys_values(x)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        return scores.softmax(-1)


class MLP(nn.Sequential):
    """The transformer's feed-forward half, four times as wide inside."""

    def __init__(self, width: int):
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class Block(nn.Module):
    """A transformer block with the layer norms first (Radford et al. 2019)."""

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def sinusoidal(t: Tensor, width: int, longest: float = 10_000.0) -> Tensor:
    """Sinusoidal features of positions t (B,): (B, width) (Vaswani et al. 2017, §3.5).

    Periods run from 2π to 2π·longest, so a time in [0, 1] must be stretched first: callers pass 1000·t.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(longest) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def sinusoidal_2d(side: int, width: int) -> Tensor:
    """Fixed position features of a side × side grid of tokens, row by row: (side², width)."""
    if width % 4:
        raise ValueError(f"width: got {width}; expected a multiple of 4, for sine and cosine of two coordinates")
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.cat([sinusoidal(y.flatten(), width // 2, 100.0), sinusoidal(x.flatten(), width // 2, 100.0)], dim=1)


def silent_embedding(features: int, width: int) -> nn.Sequential:
    """A number's sinusoidal features (B, features) → (B, width). The last map starts at zero: a fresh one says nothing."""
    layers = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))
    for p in layers[-1].parameters():
        nn.init.zeros_(p)
    return layers


def one_for_each(what: str, batch: int, **given: Tensor) -> None:
    """ValueError for a tensor that does not hold one number for each of `batch` things of the kind `what`."""
    for name, x in given.items():
        if x.shape != (batch,):
            raise ValueError(f"{name}: expected one for each {what}, shape ({batch},), got {tuple(x.shape)}")
