"""Answers to the exercises of `blocks`."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from course_utils.external.torch_block import torch_block


def attend(x, layers, mask):
    q, k, v = layers.attention.queries_keys_values(x)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


def joined(x):
    return x.transpose(1, 2).flatten(2)


def in_four_lines(h, layers, mask=None):
    found = attend(layers.norm1(h), layers, mask)
    h = h + layers.attention.out(torch.cat(found.unbind(1), dim=-1))
    return h + layers.mlp(layers.norm2(h))


def by_torchs_layer(h, layers, mask=None):
    return torch_block(layers).to(h).requires_grad_(False)(h, src_mask=None if mask is None else ~mask)


def head_by_head(h, layers, mask=None):
    x = layers.norm1(h)
    q, k, v = (part.chunk(layers.attention.heads, -1) for part in layers.attention.qkv(x).chunk(3, -1))
    mixed = [F.scaled_dot_product_attention(a, b, c, attn_mask=mask) for a, b, c in zip(q, k, v, strict=True)]
    middle = layers.attention.out(torch.cat(mixed, -1)) + h
    return layers.mlp(layers.norm2(middle)) + middle


def halves(first, second):
    """A block of two halves, each (state, layers, mask) → state."""
    return lambda h, p, m=None: second(first(h, p, m), p)


def right_first(h, p, m):
    return h + p.attention.out(joined(attend(p.norm1(h), p, m)))


def right_second(h, p):
    return h + p.mlp(p.norm2(h))


def norms_on_the_skip(h, p, m=None):
    h = p.norm1(h + p.attention.out(joined(attend(h, p, m))))
    return p.norm2(h + p.mlp(h))


RIGHT = {"block": [in_four_lines, by_torchs_layer, head_by_head]}

WRONG = {
    "block": [
        (halves(lambda h, p, m: right_first(h, p, None), right_second), "the mask was not used"),
        (halves(lambda h, p, m: right_first(h, p, m) - h, right_second), "the first skip is missing"),
        (halves(right_first, lambda h, p: p.mlp(p.norm2(h))), "the second skip is missing"),
        (halves(right_first, lambda h, p: h + p.mlp(h)), "through norm2"),
        (halves(lambda h, p, m: h + p.attention.out(joined(attend(h, p, m))), right_second), "through norm1"),
        (norms_on_the_skip, "the norms come first"),
        (lambda h, p, m=None: right_first(h, p, m) + p.mlp(p.norm2(h)), "one behind the other"),
        (halves(lambda h, p, m: h + joined(attend(p.norm1(h), p, m)), right_second), "what the heads have found"),
        (
            halves(lambda h, p, m: h + p.attention.out(attend(p.norm1(h), p, m).reshape(h.shape)), right_second),
            "by a reshape alone",
        ),
        (halves(lambda h, p, m: h + attend(p.norm1(h), p, m), right_second), "(B, heads, L, d)"),
        (halves(lambda h, p, m: right_first(h, p, m) * 2, right_second), "first h + out("),
        (lambda h, p, m=None: p.att(h), "attention has queries_keys_values"),
    ]
}
