"""Looking into transformers: who attends to whom, layer by layer, and along all layers at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def attention_maps(model: nn.Module, inputs: Tensor) -> Tensor:
    """The attention weights of every layer: (layers, B, heads, L, L), on the CPU.

    `model` is a `TextTransformer` (inputs: tokens (B, L)) or a `ViT` (inputs: pictures; token 0 is the class token).
    Row i of a map says how much token i takes from each token; it sums to 1.
    """
    x, maps = model.embed(inputs), []
    for block in model.blocks:
        maps.append(block.attention.weights(block.norm1(x)).cpu())
        x = block(x)
    return torch.stack(maps)


def rollout(maps: Tensor) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020, §3): (layers, B, heads, L, L) → (B, L, L), rows sum to 1.

    A layer passes half of each state through its skip and half through its attention, heads averaged; the product
    over layers says how much of token i at the end came from token j at the start. The MLPs are left out of account.
    """
    if maps.ndim != 5 or maps.shape[-1] != maps.shape[-2]:
        raise ValueError(f"maps: expected (layers, B, heads, L, L), got {tuple(maps.shape)}")
    eye = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    total = eye.expand(maps.shape[1], -1, -1)
    for layer in maps.mean(2):
        total = (0.5 * layer + 0.5 * eye) @ total
    return total
