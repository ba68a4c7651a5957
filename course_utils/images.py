"""Pictures as tensors: bytes to floats and back, and what is taken for a batch of pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def to_float(pictures: Tensor) -> Tensor:
    """uint8 pictures → float32 in [-1, 1], a new tensor. ValueError for any other type."""
    if not isinstance(pictures, Tensor) or pictures.dtype != torch.uint8:
        raise ValueError(f"pictures: got {_kind(pictures)}; expected uint8 from 0 to 255")
    return pictures.float() / 127.5 - 1.0


def to_uint8(pictures: Tensor) -> Tensor:
    """Float pictures in [-1, 1] → uint8, rounded; values outside are clipped. ValueError for any other type."""
    if not isinstance(pictures, Tensor) or not pictures.is_floating_point():
        raise ValueError(f"pictures: got {_kind(pictures)}; expected floats in [-1, 1]")
    return ((pictures.clamp(-1.0, 1.0) + 1.0) * 127.5 + 0.5).to(torch.uint8)


def check_pictures(x: Tensor, name: str = "x", side: int | None = None) -> Tensor:
    """A batch of float pictures (B, 3, H, W) in [-1, 1], or a ValueError that says what came instead.

    It reads every value: for measurements, pipelines and widgets.
    """
    _check_shape(x, name, side)
    _check_values(x, name)
    return x


def check_input(x: Tensor, name: str = "x", side: int | None = None) -> Tensor:
    """`check_pictures` for a network's forward: float32 only, and it looks at the values where that costs nothing.

    On a GPU the look would make the processor wait at every forward, and `torch.compile` could not trace it.
    """
    _check_shape(x, name, side)
    if x.dtype != torch.float32:
        raise ValueError(f"{name}: expected float32 in [-1, 1], got {_kind(x)}; {name}.float() converts")
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_values(x, name)
    return x


def looked_at(x: Tensor, side: int, name: str = "x") -> Tensor:
    """`check_input` for a network that looks at one size: larger pictures (B, 3, k · side, k · side) are averaged down.

    So the judge and CLIP, which look at 64 × 64, see a picture of 128 × 128 as well.
    """
    _check_shape(x, name)
    if x.shape[2] != x.shape[3] or x.shape[2] == 0 or x.shape[2] % side:
        raise ValueError(f"{name}: expected {side}×{side} pixels or a whole multiple, got {x.shape[2]}×{x.shape[3]}")
    return F.avg_pool2d(check_input(x, name), x.shape[2] // side)


def _check_shape(x: Tensor, name: str, side: int | None = None) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"{name}: expected a tensor of pictures, shape (B, 3, H, W), got {_kind(x)}")
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"{name}: expected pictures of shape (B, 3, H, W), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"{name}: expected floats in [-1, 1], got {_kind(x)}; images.to_float converts")
    if side is not None and x.shape[2:] != (side, side):
        raise ValueError(f"{name}: expected {side}×{side} pixels, got {x.shape[2]}×{x.shape[3]}")


def _check_values(x: Tensor, name: str) -> None:
    if x.numel():
        low, high = x.detach().aminmax()
        if not (low >= -1.001 and high <= 1.001):
            raise ValueError(f"{name}: expected values in [-1, 1], got {float(low):.3g} to {float(high):.3g}")


def _kind(x: object) -> str:
    return str(x.dtype).removeprefix("torch.") if isinstance(x, Tensor) else type(x).__name__
