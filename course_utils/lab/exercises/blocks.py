"""The transformer block, put together from attention and the layers of a `Block`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.external.torch_block import torch_block
from course_utils.lab.exercises.checking import Case, Mistake, exercise, noise
from course_utils.models.layers import Block


def _layers(width: int, heads: int, seed: int) -> Block:
    """A block whose norms are not yet neutral, so that a norm in the wrong place shows."""
    layers = Block(width, heads).requires_grad_(False)
    for i, weights in enumerate(layers.parameters()):
        scale = 1.0 if weights.ndim == 1 else weights.shape[1] ** -0.5
        weights.copy_(scale * noise(*weights.shape, seed=seed + i))
    return layers


def _block_cases() -> list[Case]:
    """Torch's own layer with the same weights, whose mask is the other way round."""
    cases = []
    for seed, (b, length, width, heads) in enumerate(((1, 4, 8, 2), (2, 5, 12, 3))):
        layers, h = _layers(width, heads, 100 * seed), noise(b, length, width, seed=seed)
        row, column = torch.arange(length)[:, None], torch.arange(length)[None, :]
        for mask, words in ((None, "without a mask"), ((row + 2 * column) % 3 != 0, "with a mask")):
            right = torch_block(layers)(h, src_mask=None if mask is None else ~mask).detach()
            cases.append(Case((h, layers, mask), right, f"for {length} tokens and {heads} heads {words}"))
    return cases


def _attended(x: Tensor, layers: nn.Module, mask: Tensor | None, joined: bool = True) -> Tensor:
    """Attention of every head, the heads side by side again, before the last linear map."""
    q, k, v = layers.attention.queries_keys_values(x)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return y.transpose(1, 2).flatten(2) if joined else y.reshape(x.shape)


def _out(x: Tensor, layers: nn.Module, mask: Tensor | None) -> Tensor:
    return layers.attention.out(_attended(x, layers, mask))


def _second_half(h: Tensor, layers: nn.Module) -> Tensor:
    return h + layers.mlp(layers.norm2(h))


def _norm_last(h: Tensor, p: nn.Module, m: Tensor | None) -> Tensor:
    h = p.norm1(h + _out(h, p, m))
    return p.norm2(h + p.mlp(h))


@exercise(
    cases=_block_cases,
    mistakes=[
        Mistake(
            lambda h, p, m: _second_half(h + _out(p.norm1(h), p, None), p),
            "the mask was not used: attention(q, k, v, mask).",
        ),
        Mistake(
            lambda h, p, m: _second_half(_out(p.norm1(h), p, m), p),
            "the first skip is missing: what attention found is *added* to h.",
        ),
        Mistake(
            lambda h, p, m: p.mlp(p.norm2(h + _out(p.norm1(h), p, m))),
            "the second skip is missing: what the MLP found is *added* to the state.",
        ),
        Mistake(
            lambda h, p, m: p.mlp(p.norm2(_out(p.norm1(h), p, m))),
            "both skips are missing: each half *adds* what it found to the state.",
        ),
        Mistake(
            lambda h, p, m: _second_half(h + _out(h, p, m), p),
            "attention reads the state through norm1; only the skip passes it on as it is.",
        ),
        Mistake(
            lambda h, p, m: (h + _out(p.norm1(h), p, m)) + p.mlp(h + _out(p.norm1(h), p, m)),
            "the MLP reads the state through norm2; only the skip passes it on as it is.",
        ),
        Mistake(
            _norm_last,
            "the norms come first, on the way into each half. Behind the sum, as in Vaswani et al. 2017, they would "
            "stand on the skip, too.",
        ),
        Mistake(
            lambda h, p, m: _second_half(p.norm1(h) + _out(p.norm1(h), p, m), p),
            "the first skip starts before the norm: h + …, not norm1(h) + ….",
        ),
        Mistake(
            lambda h, p, m: h + _out(p.norm1(h), p, m) + p.mlp(p.norm2(h)),
            "the halves stand one behind the other: the MLP reads the state that attention has already changed.",
        ),
        Mistake(
            lambda h, p, m: _second_half(h + _attended(p.norm1(h), p, m), p),
            "the last linear map of attention is missing: layers.attention.out mixes what the heads have found.",
        ),
        Mistake(
            lambda h, p, m: _second_half(h + p.attention.out(_attended(p.norm1(h), p, m, joined=False)), p),
            "the heads were joined by a reshape alone, which mixes up tokens and heads: first bring the heads behind "
            "the tokens, with .transpose(1, 2).",
        ),
    ],
    hint="first h + out(attention of norm1(h)), then that plus mlp(norm2(that)).",
    on_error={
        "not enough values to unpack": "layers.attention.queries_keys_values(x) gives q, k and v, three tensors.",
        "must match the size": "attention gives (B, heads, L, d): join the heads with .transpose(1, 2).flatten(2).",
        "shapes cannot be multiplied": "attention.out takes (B, L, D): join the heads with .transpose(1, 2).flatten(2).",
        "normalized_shape": "a layer norm takes (B, L, D): join the heads with .transpose(1, 2).flatten(2).",
        "has no attribute": "layers has norm1, attention, norm2, mlp; attention has queries_keys_values and out.",
        "same device": "h, the layers and the mask are on one device: what you make inside belongs where the inputs are.",
    },
    learned=("h",),
    on_cpu=(),
)
def block(h: Tensor, layers: nn.Module, mask: Tensor | None = None) -> Tensor:
    """States h (B, L, D), the `layers` of a Block, and a mask as in `attention` → new states (B, L, D).

    Vaswani et al. 2017, §3.1, with the layer norms first, as in Radford et al. 2019.
    """
    q, k, v = layers.attention.queries_keys_values(layers.norm1(h))
    heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    h = h + layers.attention.out(heads.transpose(1, 2).flatten(2))
    return h + layers.mlp(layers.norm2(h))
