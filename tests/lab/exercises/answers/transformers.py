"""Answers to the exercises of `transformers`."""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F


def merge_with_a_stack(symbols, pair):
    out, fresh = [], False
    for symbol in symbols:
        if out and not fresh and (out[-1], symbol) == tuple(pair):
            out[-1], fresh = out[-1] + symbol, True
        else:
            out.append(symbol)
            fresh = False
    return out


def merge_with_a_regular_expression(symbols, pair):
    return re.sub(rf"(?<!\S){pair[0]} {pair[1]}(?!\S)", pair[0] + pair[1], " ".join(symbols)).split()


def attention_by_einsum(q, k, v, mask=None):
    scores = torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return weights @ v


def torch_attention(q, k, v, mask=None):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]


def past_the_end(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if symbols[i] == pair[0] and symbols[i + 1] == pair[1]:
            out.append("".join(pair))
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def in_place(symbols, pair):
    for i in range(len(symbols) - 1, 0, -1):
        if (symbols[i - 1], symbols[i]) == pair:
            symbols[i - 1 : i + 1] = ["".join(pair)]
    return symbols


def off_by_one(symbols, pair):
    out, i = [], 0
    while i < len(symbols) - 1:
        joined = (symbols[i], symbols[i + 1]) == pair
        out.append("".join(pair) if joined else symbols[i])
        i += 2 if joined else 1
    return out


def keeps_the_half(symbols, pair):
    return ["".join(pair) if tuple(symbols[i : i + 2]) == pair else symbols[i] for i in range(len(symbols))]


def from_the_right(symbols, pair):
    out = []
    for symbol in reversed(symbols):
        if out and (symbol, out[0]) == tuple(pair):
            out[0] = symbol + out[0]
        else:
            out.insert(0, symbol)
    return out


def in_either_order(symbols, pair):
    out, rest = [], list(symbols)
    while rest:
        found = set(rest[:2]) == set(pair) and len(rest) > 1
        out.append("".join(rest[: 2 if found else 1]))
        rest = rest[2 if found else 1 :]
    return out


def once(symbols, pair):
    for i, neighbours in enumerate(zip(symbols, symbols[1:], strict=False)):
        if neighbours == tuple(pair):
            return symbols[:i] + ["".join(pair)] + symbols[i + 2 :]
    return symbols[:]


def skips_one_symbol_only(symbols, pair):
    joins = [i for i in range(len(symbols)) if tuple(symbols[i : i + 2]) == tuple(pair)]
    kept = [i for i in range(len(symbols)) if i in joins or i - 1 not in joins]
    return ["".join(pair) if i in joins else symbols[i] for i in kept]


def scores(q, k):
    return q @ k.mT / q.shape[-1] ** 0.5


def masked(s, mask):
    return s if mask is None else s.masked_fill(~mask, -torch.inf)


RIGHT = {
    "merge": [
        merge_with_a_stack,
        merge_with_a_regular_expression,
    ],
    "attention": [
        attention_by_einsum,
        torch_attention,
    ],
    "causal_mask": [
        lambda length: torch.ones(length, length).tril().bool(),
        lambda length: ~torch.ones(length, length, dtype=torch.bool).triu(1),
    ],
}

WRONG = {
    "merge": [
        (lambda s, p: list(s), "nothing was joined"),
        (keeps_the_half, "step over *two* symbols"),
        (off_by_one, "the last symbol got lost"),
        (past_the_end, "past the end"),
        (in_place, "in place"),
        (lambda s, p: "".join(s), "expected a list of strings, got str"),
        (lambda s, p: sorted(merge_with_a_stack(s, p)), "walk from left to right"),
        (from_the_right, "from left to right"),
        (in_either_order, "(a, h) is not (h, a)"),
        (once, "only the first occurrence"),
        (skips_one_symbol_only, "one symbol was used twice"),
    ],
    "attention": [
        (lambda q, k, v, m: masked(q @ k.mT, m).softmax(-1) @ v, "the scale is missing"),
        (lambda q, k, v, m: masked(q @ k.mT / q.shape[-1], m).softmax(-1) @ v, "the *root* of d"),
        (lambda q, k, v, m: masked(scores(q, k), m).softmax(-2) @ v, "wrong axis"),
        (lambda q, k, v, m: masked(scores(k, q), m).softmax(-1) @ v, "swapped"),
        (lambda q, k, v, m: scores(q, k).softmax(-1) @ v, "the mask was not used"),
        (lambda q, k, v, m: masked(scores(q, k), None if m is None else ~m).softmax(-1) @ v, "upside down"),
        (lambda q, k, v, m: (scores(q, k) * (1 if m is None else m)).softmax(-1) @ v, "e⁰ = 1"),
        (lambda q, k, v, m: (scores(q, k).softmax(-1) * (1 if m is None else m)) @ v, "masked after the softmax"),
        (lambda q, k, v, m: masked(scores(q, k), m) @ v, "the softmax is missing"),
        (lambda q, k, v, m: masked(scores(q, k), m).softmax(-1), "expected shape"),
        (lambda q, k, v, m: scores(q, k).masked_fill(~m, -torch.inf).softmax(-1) @ v, "mask may be None"),
        (lambda q, k, v, m: (q @ k).softmax(-1) @ v, "the keys have to be transposed"),
    ],
    "causal_mask": [
        (lambda n: torch.ones(n, n).triu().bool(), "the *future*"),
        (lambda n: torch.ones(n, n).triu(1).bool(), "True and False are swapped"),
        (lambda n: torch.ones(n, n).tril(-1).bool(), "keep the diagonal"),
        (lambda n: torch.ones(n, n).bool(), "everyone sees everyone"),
        (lambda n: torch.ones(n, n).tril(), "the mask holds truth values"),
        (lambda n: torch.full((n, n), -torch.inf).triu(1), "a mask to *add*"),
        (lambda n: torch.ones(n).bool(), "expected shape (4, 4), got (4,)"),
        (lambda n: [[True] * n] * n, "expected a bool tensor, got a list of 4"),
    ],
}
