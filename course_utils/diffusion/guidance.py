"""Classifier-free guidance: one object that prepares a doubled batch and combines what comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from course_utils.arguments import short
from course_utils.diffusion.paths import over


class Denoises(Protocol):
    """All that is asked of a denoiser here: velocities, and a condition that stands for none."""

    null: Tensor

    def __call__(self, z: Tensor, t: Tensor, cond: Tensor, /) -> Tensor: ...


class ClassifierFreeGuidance:
    """`guided(z, t) -> velocity` = v_u + w (v_c − v_u), in one forward of twice the batch.

    Ho & Salimans 2022, eq. 6, in the lecture's convention: w = 0 is unconditional, w = 1 conditional,
    w > 1 goes beyond (they write 1 + w for this w), and w < 0 moves away from the condition.

    denoiser: (z (B, ...), t (B,), cond (B, D)) -> (B, ...), with the null condition (D,) as `denoiser.null`.
    cond: (B, D). guidance_scale: w, or a tensor (B,) with a w for each picture.
    negative: what to move away from, (B, D) or (1, D), in the place of the null condition.
    """

    def __init__(
        self,
        denoiser: Denoises,
        cond: Tensor,
        guidance_scale: float | Tensor,
        negative: Tensor | None = None,
    ):
        uncond = denoiser.null[None] if negative is None else negative
        for name, x in (("cond", cond), ("negative", uncond)):
            if not isinstance(x, Tensor) or x.ndim != 2 or not x.is_floating_point():
                came = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
                raise ValueError(f"{name} is {came}; expected floats (B, D)")
            if x.device != denoiser.null.device:
                raise ValueError(f"{name} is on {x.device}; expected the denoiser's device, {denoiser.null.device}")
        if uncond.shape not in (cond.shape, (1, cond.shape[1])):
            expected = f"{tuple(cond.shape)} or (1, {cond.shape[1]})"
            raise ValueError(f"negative has shape {tuple(uncond.shape)}; expected {expected}")
        self.denoiser = denoiser
        self.guidance_scale = checked_scale(guidance_scale, len(cond)).to(cond)
        self.doubled_cond = torch.cat([uncond.expand_as(cond), cond])  # (2B, D)

    def __call__(self, z: Tensor, t: Tensor) -> Tensor:
        """Latents (B, ...) at times (B,) -> the guided velocity (B, ...)."""
        uncond, cond = self.denoiser(*self.prepare(z, t)).chunk(2)
        return self.guide(uncond, cond, z, t)

    def prepare(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The denoiser's arguments for both questions at once, in the order [uncond, cond]."""
        if 2 * len(z) != len(self.doubled_cond):
            raise ValueError(f"z holds {len(z)} latents; expected {len(self.doubled_cond) // 2}, as many as cond")
        return torch.cat([z, z]), torch.cat([t, t]), self.doubled_cond

    def combine(self, uncond: Tensor, cond: Tensor) -> Tensor:
        """Start from the unconditional answer and go w times the way to the conditional one."""
        w = over(self.guidance_scale, cond)
        return uncond + w * (cond - uncond)

    def guide(self, uncond: Tensor, cond: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The guided velocity from both answers at z, t: what other methods of guidance replace."""
        return self.combine(uncond, cond)


LARGEST = 10_000.0
Guidance = Callable[..., ClassifierFreeGuidance]  # (denoiser, cond, guidance_scale, negative) -> the object


def checked_scale(guidance_scale: float | Sequence[float] | Tensor, batch: int | None = None) -> Tensor:
    """w as a tensor, () or (batch,), or a ValueError: a scale is a number from −`LARGEST` to `LARGEST`.

    A batch of None allows any (B,). Far beyond the largest scale that draws anything, latents overflow.
    """
    try:
        w = torch.as_tensor(guidance_scale)
        if w.dtype == torch.bool or w.is_complex():
            raise TypeError(w.dtype)
        w = w.float()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"guidance_scale is {short(guidance_scale)}; expected a number") from error
    if w.ndim > 1 or (w.ndim == 1 and batch is not None and len(w) != batch):
        expected = "(B,)" if batch is None else f"({batch},)"
        raise ValueError(f"guidance_scale has shape {tuple(w.shape)}; expected a number or {expected}")
    if not bool((w.abs() <= LARGEST).all()):  # NaN is not, either
        raise ValueError(
            f"guidance_scale is {short(guidance_scale)}; expected −{LARGEST:g} to {LARGEST:g} (0: unconditional)"
        )
    return w
