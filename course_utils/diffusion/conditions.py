"""Between two conditions: the shortest way on the sphere of CLIP's unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.arguments import short


def slerp(a: Tensor, b: Tensor, share: float | Tensor) -> Tensor:
    """Unit vectors (B, D) or (1, D) each → the unit vectors `share` of the way from a to b (Shoemake 1985).

    (sin((1 − s) θ) a + sin(s θ) b) / sin θ with θ the angle between a and b; share s is a number from 0 to 1 or
    a tensor (B,). A straight line between them would leave the sphere, where no condition has been in training.
    """
    for name, x in (("a", a), ("b", b)):
        if not isinstance(x, Tensor) or x.ndim != 2 or not x.is_floating_point():
            raise ValueError(f"{name}: expected unit vectors (B, D), got {tuple(getattr(x, 'shape', ()))}")
        if not torch.allclose(x.norm(dim=1), torch.ones((), dtype=x.dtype, device=x.device), atol=1e-3):
            raise ValueError(f"{name}: expected unit vectors, got lengths {x.norm(dim=1).tolist()}")
    try:
        s = torch.as_tensor(share)
        s = torch.tensor(torch.nan) if s.is_complex() or s.dtype == torch.bool else s.to(a)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        s = torch.tensor(torch.nan)
    if s.ndim > 1 or not s.numel() or not bool(((s >= 0) & (s <= 1)).all()):
        raise ValueError(f"share is {short(share)}; expected a number from 0 (a) to 1 (b), or (B,) of them")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"b has {b.shape[1]} numbers a vector; expected {a.shape[1]}, as many as a")
    s = s[:, None] if s.ndim else s
    cosine = (a * b).sum(1, keepdim=True).clamp(-1, 1)
    if bool((cosine < -1 + 1e-6).any()):
        raise ValueError("a and b point in opposite directions; expected two vectors with one shortest way")
    # atan2 is exact for small angles too, where the arc cosine is not.
    angle = torch.atan2((b - cosine * a).norm(dim=1, keepdim=True), cosine)
    mixed = torch.where(angle < 1e-4, (1 - s) * a + s * b, (torch.sin((1 - s) * angle) * a + torch.sin(s * angle) * b))
    return mixed / mixed.norm(dim=1, keepdim=True)
