"""Attribute classifiers. The judge sees finished pictures and is used for evaluation only; the ViT is for lessons."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.datasets.attributes import ATTRIBUTES, NAMES
from course_utils.images import looked_at
from course_utils.models.configured import Configured
from course_utils.models.layers import to_an_eighth
from course_utils.models.vit import ViT


@dataclass(frozen=True)
class JudgeConfig:
    """Channels of the judge's first feature map."""

    width: int = 32


class Judge(Configured, nn.Module):
    """Which value of each attribute does a picture show? A small convolutional network with a head per attribute."""

    Config = JudgeConfig
    side = 64

    def __init__(self, config: JudgeConfig | None = None):
        super().__init__()
        self.config = config or JudgeConfig()
        w = self.config.width
        self.body = to_an_eighth(w)
        # Two looks at the last feature map: what is there, and roughly where.
        self.mix = nn.Sequential(nn.Linear(4 * w * 17, 4 * w), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(4 * w, len(values)) for name, values in ATTRIBUTES.items()})

    def features(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 64, 64), or larger ones, which are averaged down, in [-1, 1] → (B, F), for kernel distances."""
        h = self.body(looked_at(x, self.side))  # (B, 4w, 8, 8)
        pooled = torch.cat([F.adaptive_avg_pool2d(h, 4).flatten(1), h.amax((2, 3))], dim=1)
        return self.mix(pooled)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits (B, K) for each attribute."""
        h = self.features(x)
        return {name: head(h) for name, head in self.heads.items()}

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The likeliest value of each attribute: (B, 6) int64, -1 for the colour of no accessory."""
        return likeliest(self(x))


class AttributeViT(nn.Module):
    """A vision transformer that names attributes: a linear head per attribute on the class token's state."""

    side = 64

    def __init__(self, stem: nn.Module, tokens: int, width: int = 128, depth: int = 3, heads: int = 4):
        super().__init__()
        self.vit = ViT(stem, tokens, width, depth, heads)
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(v)) for name, v in ATTRIBUTES.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Pictures (B, 3, 64, 64), or larger ones, in [-1, 1] → logits (B, K) for each attribute."""
        h = self.vit(looked_at(x, self.side))
        return {name: head(h) for name, head in self.heads.items()}

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The likeliest value of each attribute: (B, 6) int64, -1 for the colour of no accessory."""
        return likeliest(self(x))


def likeliest(logits: dict[str, Tensor]) -> Tensor:
    """The likeliest value of each attribute: (B, 6) int64, -1 for the colour of no accessory."""
    rows = torch.stack([logits[name].argmax(1) for name in NAMES], dim=1)
    nothing = rows[:, NAMES.index("accessory")] == ATTRIBUTES["accessory"].index("nothing")
    rows[nothing, NAMES.index("accessory_colour")] = -1
    return rows


def attribute_loss(logits: dict[str, Tensor], attributes: Tensor) -> Tensor:
    """Mean over attributes of the cross-entropy; rows that hold -1 do not count for that attribute."""
    losses = [
        F.cross_entropy(logits[name], attributes[:, i], ignore_index=-1)
        for i, name in enumerate(NAMES)
        if bool((attributes[:, i] >= 0).any())
    ]
    return torch.stack(losses).mean()
