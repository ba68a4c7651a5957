"""Five ways to change a picture that metrics disagree about (notebook 03).

Three keep what is drawn and change where or how crisply it shows (shift, blur, noise), one changes the colours and
thereby what is drawn, and one replaces the fur by other fur, which nobody notices. Pictures are (B, 3, H, W) floats
in [-1, 1], and so are the results.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import functional as T

from course_utils.datasets.drawing import render
from course_utils.images import check_pictures, to_float


def shift(x: Tensor, pixels: float = 1) -> Tensor:
    """Move the content `pixels` (a whole number) to the right; the left edge is repeated."""
    check_pictures(x, "x")
    n = int(pixels)
    if n != pixels or not 0 <= n < x.shape[-1]:
        raise ValueError(f"pixels: got {pixels}; expected a whole number from 0 to {x.shape[-1] - 1}")
    return F.pad(x, (n, 0, 0, 0), mode="replicate")[..., : x.shape[-1]]


def blur(x: Tensor, sigma: float = 0.8) -> Tensor:
    """Blur with a Gaussian of standard deviation `sigma` pixels."""
    check_pictures(x, "x")
    if not 0 < sigma <= 8:
        raise ValueError(f"sigma: got {sigma}; expected more than 0 and at most 8 pixels")
    size = 2 * max(1, round(3 * sigma)) + 1
    return T.gaussian_blur(x, [size, size], [sigma, sigma])


def noise(x: Tensor, std: float = 0.05, generator: torch.Generator | None = None) -> Tensor:
    """Add white Gaussian noise of standard deviation `std`, a share of the range 2, and clip."""
    check_pictures(x, "x")
    if not 0 <= std <= 1:
        raise ValueError(f"std: got {std}; expected 0 to 1")
    drawn = torch.randn(x.shape, generator=generator)
    return (x + 2 * std * drawn.to(x)).clamp(-1, 1)


def colour(x: Tensor, degrees: float = 20) -> Tensor:
    """Turn every hue by `degrees` around the colour circle; greys stay grey."""
    check_pictures(x, "x")
    if not -180 <= degrees <= 180:
        raise ValueError(f"degrees: got {degrees}; expected -180 to 180")
    light = ((x + 1) / 2).clamp(0, 1)
    return T.adjust_hue(light, degrees / 360) * 2 - 1


def texture(attributes: Tensor, seeds: Tensor, size: int = 128, fur_seed: int = 1) -> Tensor:
    """Draw the same plushies (N, 6), (N,) in other fur: everything else keeps its place and colour.

    Each `fur_seed` gives other fur; 0 gives back the pictures as they are.
    """
    seeds = torch.as_tensor(seeds, dtype=torch.int64)
    return to_float(render(attributes, seeds, size, fur_seeds=seeds + 104_729 * fur_seed))
