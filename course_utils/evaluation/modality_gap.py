"""The two halves of CLIP's space, pictures and captions, seen in a plane that shows the gap between them (Liang et al. 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gap_plane(u: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (N, D) of pictures and (M, D) of captions → their places (N, 2) and (M, 2) in one plane.

    The first axis is the direction from the captions' mean to the pictures', with 0 halfway between the two; along it
    the means are as far apart as in the whole space. The second is the direction across it in which all the vectors
    vary most; its sign is arbitrary.
    """
    if u.ndim != 2 or c.ndim != 2 or u.shape[1] != c.shape[1] or not len(u) or not len(c):
        raise ValueError(f"u, c: got {tuple(u.shape)} and {tuple(c.shape)}; expected vectors (N, D) and (M, D)")
    gap = F.normalize(u.mean(0) - c.mean(0), dim=0)
    both = torch.cat([u, c]) - (u.mean(0) + c.mean(0)) / 2
    across = both - (both @ gap)[:, None] * gap
    main = torch.linalg.svd(across, full_matrices=False)[2][0]
    pictures, captions = (both @ torch.stack([gap, main], dim=1)).split([len(u), len(c)])
    return pictures, captions
