"""Torch's own transformer block with the weights of the course's: an independent answer for what a block computes."""

from __future__ import annotations

from torch import nn

from course_utils.models.layers import Block

# Torch's name of each layer -> the course's.
_NAMES = {
    "self_attn.in_proj_": "attention.qkv.",
    "self_attn.out_proj.": "attention.out.",
    "linear1.": "mlp.0.",
    "linear2.": "mlp.2.",
    "norm1.": "norm1.",
    "norm2.": "norm2.",
}


def torch_block(block: Block) -> nn.TransformerEncoderLayer:
    """`nn.TransformerEncoderLayer` with a copy of a block's weights, without dropout: (B, L, D) → (B, L, D).

    A mask, where there is one, goes in as `src_mask`, with True where a token may *not* look.
    """
    if not isinstance(block, Block):
        raise TypeError(f"block: got {type(block).__name__}; expected a Block")
    weights = block.state_dict()
    width = block.attention.out.in_features
    theirs = nn.TransformerEncoderLayer(
        width,
        block.attention.heads,
        len(weights["mlp.0.bias"]),
        dropout=0.0,
        activation=nn.GELU(),
        batch_first=True,
        norm_first=True,
        dtype=weights["norm1.weight"].dtype,
        device=weights["norm1.weight"].device,
    )
    ends = ("weight", "bias")
    theirs.load_state_dict({a + end: weights[b + end] for a, b in _NAMES.items() for end in ends})
    return theirs
