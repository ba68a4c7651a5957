"""A classifier that tells real pictures from generated ones; for evaluation only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_utils.images import check_input
from course_utils.models.configured import Configured
from course_utils.models.layers import conv_norm_act


@dataclass(frozen=True)
class RealnessConfig:
    """Channels of the first feature map."""

    width: int = 16


class Realness(Configured, nn.Module):
    """Was this picture generated, or is it a real one that went through the same decoder?

    Convolutions and a look at the whole, so that pictures may have any side that 8 divides.
    """

    Config = RealnessConfig

    def __init__(self, config: RealnessConfig | None = None):
        super().__init__()
        self.config = config or RealnessConfig()
        w = self.config.width
        self.body = nn.Sequential(
            conv_norm_act(3, w, 2),
            conv_norm_act(w, w),
            conv_norm_act(w, 2 * w, 2),
            conv_norm_act(2 * w, 2 * w),
            conv_norm_act(2 * w, 4 * w, 2),
            conv_norm_act(4 * w, 4 * w),
        )
        self.head = nn.Linear(8 * w, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] → logits (B,), above 0 for what looks real."""
        h = self.body(check_input(x, "x"))  # (B, 4w, H/8, W/8)
        # One bad spot gives a picture away, so the loudest answer counts beside the mean.
        return self.head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1)).squeeze(1)
