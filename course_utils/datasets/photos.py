"""Real photographs and textures for comparison: those that scikit-image carries in its wheel. Nothing is downloaded.

An astronaut (NASA, public domain), a cat called Chelsea, a cup of coffee, a rocket (public domain), and grey textures of grass,
gravel and brick; see scikit-image's `data` module for their sources and licences (all free to use).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from course_utils.arguments import whole

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "grass", "gravel", "brick")


@lru_cache
def _square(name: str) -> Image.Image:
    from skimage import data

    picture = np.asarray(getattr(data, name)())
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, axis=-1)
    side = min(picture.shape[:2])
    top, left = ((n - side) // 2 for n in picture.shape[:2])
    return Image.fromarray(picture[top : top + side, left : left + side, :3])


def photo(name: str, size: int = 256) -> Tensor:
    """The middle square of a photograph, (3, size, size) uint8; made smaller with anti-aliasing, never larger.

    Raises ValueError for a name that is not in `NAMES`, and for a size that the photograph does not have.
    """
    if name not in NAMES:
        raise ValueError(f"name: got {name!r}; expected one of {', '.join(NAMES)}")
    square = _square(name)
    size = whole("size", size, 8, square.width)
    small = square.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()
