"""Vision transformers: pictures as sequences of patches (Dosovitskiy et al. 2021).

Two ways to make tokens. `patchify` cuts the picture up, as in the paper. `ConvStem` looks through a few
convolutions first ("early convolutions", Xiao et al. 2021), which learns from far fewer pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.models.layers import Block, conv_norm_act, sinusoidal_2d


def patchify(x: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) → (B, H/p · W/p, C·p·p): each patch a row, patches in reading order."""
    b, c, h, w = x.shape
    if h % patch or w % patch:
        raise ValueError(f"patch: {patch} does not divide the picture's {h}×{w}")
    x = x.view(b, c, h // patch, patch, w // patch, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * patch * patch)


def unpatchify(tokens: Tensor, patch: int, channels: int) -> Tensor:
    """The inverse of `patchify` for square pictures: (B, L, C·p·p) → (B, C, H, W)."""
    b, length, _ = tokens.shape
    side = round(length**0.5)
    x = tokens.view(b, side, side, channels, patch, patch)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(b, channels, side * patch, side * patch)


class PatchStem(nn.Module):
    """Patches → tokens with one linear map: (B, 3, H, W) → (B, (H/p)², width)."""

    def __init__(self, width: int, patch: int = 8):
        super().__init__()
        self.patch = patch
        self.project = nn.Linear(3 * patch * patch, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(patchify(x, self.patch))


class ConvStem(nn.Module):
    """Convolutions, four of them strided → one token for each 16×16 pixels: (B, 3, 64, 64) → (B, 16, width)."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            conv_norm_act(3, 32, 2),  # 32 × 32
            conv_norm_act(32, 64, 2),  # 16 × 16
            conv_norm_act(64, 64),
            conv_norm_act(64, 128, 2),  # 8 × 8
            conv_norm_act(128, 128),
            nn.Conv2d(128, width, 2, stride=2),  # 4 × 4
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    """A stem, a class token, fixed 2-D positions plus learned ones, transformer blocks.

    Pictures (B, 3, 64, 64) → the class token's state (B, width).
    """

    def __init__(self, stem: nn.Module, tokens: int, width: int = 128, depth: int = 3, heads: int = 4):
        super().__init__()
        self.stem = stem
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.position_embedding = nn.Parameter(0.1 * sinusoidal_2d(round(tokens**0.5), width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def embed(self, x: Tensor) -> Tensor:
        """What enters the first block: the class token, then each patch with its position, (B, 1 + L, width)."""
        patches = self.stem(x) + self.position_embedding
        return torch.cat([self.class_token.expand(len(x), -1, -1), patches], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.blocks(self.embed(x))[:, 0])
