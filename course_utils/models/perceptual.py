"""The course's own backbone for LPIPS: torchvision's SqueezeNet 1.1, trained on the Plushies.

LPIPS (Zhang et al. 2018) compares pictures by the features of a network that has learnt to see. The official
networks have seen ImageNet and must be downloaded. This one has learnt to name a plushie's attributes and to
tell how a picture was degraded (blurred, noisy, pixelated, ...), so its features notice texture as well as shape.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.images import check_input
from course_utils.models.configured import Configured

DEGRADATIONS = ("none", "blur", "noise", "pixelated", "grey", "shuffled")

# torchvision's SqueezeNet is trained on pictures scaled so; lpips scales its input the same way.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


def _blur(x: Tensor, generator: torch.Generator) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, stride=1)


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    return (x + 0.15 * torch.randn(x.shape, generator=generator).to(x)).clamp(-1, 1)


def _pixelate(x: Tensor, generator: torch.Generator) -> Tensor:
    return F.interpolate(F.avg_pool2d(x, 2), size=x.shape[-2:], mode="nearest")


def _grey(x: Tensor, generator: torch.Generator) -> Tensor:
    return x.mean(1, keepdim=True).expand_as(x)


def _shuffle(x: Tensor, generator: torch.Generator) -> Tensor:
    """Swap neighbouring pixels: the same colours, another texture."""
    return x.unflatten(3, (-1, 2)).flip(4).flatten(3)


_DEGRADE = {"blur": _blur, "noise": _noise, "pixelated": _pixelate, "grey": _grey, "shuffled": _shuffle}


def degrade(x: Tensor, kinds: Tensor, generator: torch.Generator) -> Tensor:
    """Degrade picture i in the way `DEGRADATIONS[kinds[i]]` says: (B, 3, H, W) → the same shape and memory layout."""
    out, kinds = x.clone(), kinds.cpu()
    for kind, name in enumerate(DEGRADATIONS):
        index = (kinds == kind).nonzero().flatten().to(x.device)
        if name in _DEGRADE and len(index):
            out[index] = _DEGRADE[name](x[index], generator)
    return out


@dataclass(frozen=True)
class BackboneConfig:
    """SqueezeNet 1.1 has one size."""


class Backbone(Configured, nn.Module):
    """SqueezeNet features with a linear head for each attribute and one for the degradation; pictures of any size."""

    Config = BackboneConfig

    def __init__(self, config: BackboneConfig | None = None):
        super().__init__()
        self.config = config or BackboneConfig()
        from torchvision.models import squeezenet1_1

        self.features = squeezenet1_1(weights=None).features
        heads = {name: len(values) for name, values in ATTRIBUTES.items()} | {"degradation": len(DEGRADATIONS)}
        self.heads = nn.ModuleDict({name: nn.Linear(1024, k) for name, k in heads.items()})
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Pictures (B, 3, H, W) in [-1, 1] → logits for each attribute and for the degradation."""
        h = self.features((check_input(x) - self.shift) / self.scale)
        pooled = torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}


def lpips_network(backbone: Backbone) -> nn.Module:
    """`lpips.LPIPS` on the course's backbone: two pictures in [-1, 1] → a distance (B, 1, 1, 1).

    The `lpips` package does the rest: unit-length features per layer, squared differences, means over places, sums
    over layers. Its learned channel weights belong to the official network and are left out (`lpips=False`).
    Always in eval mode, with frozen weights; gradients flow to the pictures.
    """
    net = lpips_on(dict(backbone.features.named_parameters()), weighted=False)
    return net.to(next(backbone.parameters()).device)


def lpips_on(features: Mapping[str, Tensor], weighted: bool) -> nn.Module:
    import lpips

    with warnings.catch_warnings():
        # lpips still passes torchvision's old `pretrained` argument.
        warnings.simplefilter("ignore")
        net = lpips.LPIPS(net="squeeze", lpips=weighted, pnet_rand=True, verbose=False)
    with torch.no_grad():
        for name, p in net.net.named_parameters():
            # lpips cuts the features into slices but keeps their numbers: "slice1.0.weight" is "0.weight".
            p.copy_(features[name.split(".", 1)[1]])
    return net.eval().requires_grad_(False)


def channel_weights(net: nn.Module) -> list[Tensor]:
    """How much each channel of each layer of an `lpips.LPIPS` counts: (C,) per layer, ones where none were learnt."""
    if not net.lpips:
        device = next(net.parameters()).device
        return [torch.ones(channels, device=device) for channels in net.chns]
    return [layer.model[-1].weight.flatten() for layer in net.lins]
