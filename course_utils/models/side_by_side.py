"""Many small denoisers of the plane in one module: an experiment over settings and seeds in the time of one training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.arguments import whole

CONDITION = 8


class SmallDenoisers(nn.Module):
    """M = kinds · alike independent networks of three hidden layers, ordered by kind: points → velocities, (M, B, 2) each.

    Network k · alike + i of kind k starts from the same weights for every k, so that kinds differ in nothing but how they
    are trained. Each has a vector for every class, `classes` (M, C, 8), and one for no class, `null` (M, 8). Drawn with
    the global generator.
    """

    def __init__(self, kinds: int, alike: int = 1, classes: int = 3, width: int = 64):
        super().__init__()
        kinds, alike = whole("kinds", kinds, 1), whole("alike", alike, 1)
        classes, width = whole("classes", classes, 1), whole("width", width, 1)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(alike, *shape).repeat(kinds, *(1 for _ in shape))

        ends = [2 + 3 + CONDITION, width, width, width, 2]
        pairs = list(zip(ends[:-1], ends[1:], strict=True))
        self.weights = nn.ParameterList(drawn(a, b) * (2 / a) ** 0.5 for a, b in pairs)
        self.biases = nn.ParameterList(torch.zeros(kinds * alike, 1, b) for _, b in pairs)
        self.classes, self.null = nn.Parameter(drawn(classes, CONDITION)), nn.Parameter(drawn(CONDITION))

    def forward(self, z: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """z (M, B, 2), t (B,) for all networks, and a condition for each point of each network, c (M, B, 8)."""
        expected = (len(self.null), len(t))
        if z.shape != (*expected, 2) or c.shape != (*expected, CONDITION):
            raise ValueError(
                f"z, c: got {tuple(z.shape)} and {tuple(c.shape)}; expected {(*expected, 2)} and {(*expected, CONDITION)}"
            )
        time = torch.stack([t, (torch.pi * t).sin(), (torch.pi * t).cos()], 1).expand(*expected, 3)
        h = torch.cat([z, time, c], 2)  # (M, B, 13)
        for weight, bias in zip(list(self.weights)[:-1], list(self.biases)[:-1], strict=True):
            h = F.silu(torch.baddbmm(bias, h, weight))
        return torch.baddbmm(self.biases[-1], h, self.weights[-1])
