"""Tokens and transformers: a BPE merge, attention and the causal mask.

The exercises of `blocks` and `patches` are here under the same names, since one notebook has them all.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.blocks import block
from course_utils.lab.exercises.checking import Case, Formula, Mistake, exercise, hint_for, noise
from course_utils.lab.exercises.patches import patch_convolution, patchify
from course_utils.lab.exercises.returns import MASK, STRINGS, Wrong, named, one_line

__all__ = ["attention", "block", "causal_mask", "merge", "patch_convolution", "patchify"]


def _merge_by_regex(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """The way of Sennrich et al. 2016, algorithm 1: symbols with spaces between them, and a regular expression."""
    both = re.escape(" ".join(pair))
    return re.sub(rf"(?<!\S){both}(?!\S)", "".join(pair).replace("\\", r"\\"), " ".join(symbols)).split()


_MERGES = [
    (list("hat"), ("h", "a")),
    (["the", "a", "hat"], ("a", "hat")),
    (list("banana"), ("a", "n")),
    (list("aaa"), ("a", "a")),
    (list("aaaaa"), ("a", "a")),
    (["h", "at", "h", "a", "t"], ("h", "a")),
    (list("hat"), ("a", "h")),
    (list("cat"), ("x", "y")),
    (["a"], ("a", "a")),
    ([], ("a", "b")),
]


def _first_only(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    for i in range(len(symbols) - 1):
        if (symbols[i], symbols[i + 1]) == pair:
            return [*symbols[:i], "".join(pair), *symbols[i + 2 :]]
    return list(symbols)


def _overlapping(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """Forgets to step over the second half."""
    out = []
    for i, symbol in enumerate(symbols):
        out.append("".join(pair) if tuple(symbols[i : i + 2]) == pair else symbol)
    return out


def _overlapping_aaa(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """Joins, and drops the second half, but looks at it again as a first half."""
    out, skip = [], False
    for i, symbol in enumerate(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            out.append("".join(pair))
            skip = True
        elif skip:
            skip = False
        else:
            out.append(symbol)
    return out


def _last_lost(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """Stops one short, and so never copies a last symbol that stands alone."""
    out, i = [], 0
    while i < len(symbols) - 1:
        if (symbols[i], symbols[i + 1]) == pair:
            out.append("".join(pair))
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def _from_the_right(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    return [s[::-1] for s in merge.course([s[::-1] for s in symbols[::-1]], (pair[1][::-1], pair[0][::-1]))][::-1]


def _either_order(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    out, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) in (pair, pair[::-1]):
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


_MERGE_MISTAKES = [
    Mistake(_first_only, "only the first occurrence was joined: go on to the end of the word."),
    Mistake(
        _overlapping,
        "the second half of the pair is still there: after a join, step over *two* symbols (i += 2).",
    ),
    Mistake(
        _overlapping_aaa,
        "one symbol was used twice: in “aaa” the middle a belongs to the first pair. Step over both halves.",
    ),
    Mistake(_last_lost, "the last symbol got lost: when no neighbour is left, it still has to be copied."),
    Mistake(_from_the_right, "pairs are joined from left to right: “aaa” becomes “aa a”."),
    Mistake(_either_order, "the order matters: (a, h) is not (h, a)."),
    Mistake(lambda s, p: list(s), "nothing was joined."),
]


def _check_merge(attempt: Attempt) -> None:
    answers = []
    for symbols, pair in _MERGES:
        answer = attempt(symbols, pair)
        words = f"with {symbols} and the pair {pair}"
        if len(answer) > len(symbols):
            raise Wrong(f"{words}: expected at most {len(symbols)} symbols, got {len(answer)}")
        for symbol in answer:
            if type(symbol) is not str:
                raise Wrong(f"{words}: expected a list of strings, got {named(symbol)} in it")
        answers.append(list(answer))
    expected = [_merge_by_regex(symbols, pair) for symbols, pair in _MERGES]
    wrong = [i for i, (a, e) in enumerate(zip(answers, expected, strict=True)) if a != e]
    if not wrong:
        return
    symbols, pair = _MERGES[wrong[0]]
    raise Wrong(
        f"with {symbols} and the pair {pair}: expected {expected[wrong[0]]}, got {one_line(repr(answers[wrong[0]]))}",
        hint_for(
            _MERGE_MISTAKES,
            lambda mistake: answers == [mistake.answer(list(s), p) for s, p in _MERGES],
            "walk from left to right; where the next two symbols are the pair, write them as one.",
        ),
    )


@exercise(
    check=_check_merge,
    mistakes=_MERGE_MISTAKES,
    on_error={"list index out of range": "the last symbol has no right neighbour: symbols[i + 1] is past the end."},
    returns=STRINGS,
)
def merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """A list of symbols and a pair of symbols → a new list in which each occurrence of the pair is joined.

    Sennrich et al. 2016, algorithm 1.
    """
    out, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == tuple(pair):
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def _attention_cases(mask: Tensor | None, words: str) -> list[Case]:
    """Torch's own kernel, in float64. Tokens and widths differ, so that no axis can be mistaken for another."""
    cases = []
    for shape, what in (((5, 4), "for 5 tokens"), ((2, 3, 5, 8), "for 2 texts with 3 heads")):
        q, k, v = (scale * noise(*shape, seed=seed) for seed, scale in enumerate((2, 2, 1)))
        exact = q[None].double(), k[None].double(), v[None].double()
        right = F.scaled_dot_product_attention(exact[0], exact[1], exact[2], attn_mask=mask)[0]
        cases.append(Case((q, k, v, mask), right, f"{what} {words}"))
    return cases


def _masked_cases() -> list[Case]:
    """Every row and every column of the mask has some of both, so that no mistake makes a row of nothing but −∞."""
    row, column = torch.arange(5)[:, None], torch.arange(5)[None, :]
    return _attention_cases((row + 2 * column) % 3 != 0, "with a mask")


def _scaled(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / q.shape[-1] ** 0.5


def _masked(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    return _scaled(q, k) if mask is None else _scaled(q, k).masked_fill(~mask, float("-inf"))


_SCORES_HINT = "scores = q @ kᵀ / √d; −∞ where the mask is False; softmax over the last axis; times v."
_WITHOUT_MASK = Formula(
    lambda: _attention_cases(None, "without a mask"),
    [
        Mistake(
            lambda q, k, v, m: (q @ k.mT).softmax(-1) @ v,
            "the scale is missing: divide the scores by √d, or long vectors make the softmax all or nothing.",
        ),
        Mistake(
            lambda q, k, v, m: (q @ k.mT / q.shape[-1]).softmax(-1) @ v,
            "divided by d: it is the *root* of d, since a sum of d products has standard deviation √d.",
        ),
        Mistake(
            lambda q, k, v, m: _scaled(q, k).softmax(-2) @ v,
            "softmax along the wrong axis: each *row*, one token's view of all others, sums to 1: dim=-1.",
        ),
        Mistake(
            lambda q, k, v, m: _scaled(k, q).softmax(-1) @ v,
            "queries and keys are swapped: row i of q @ kᵀ holds what token i asks of each token.",
        ),
        Mistake(
            lambda q, k, v, m: _scaled(q, k) @ v,
            "the softmax is missing: scores become weights that are positive and sum to 1.",
        ),
    ],
    _SCORES_HINT,
)
_WITH_MASK = Formula(
    _masked_cases,
    [
        Mistake(
            lambda q, k, v, m: _scaled(q, k).softmax(-1) @ v,
            "the mask was not used: where it is False, the score becomes −∞ before the softmax.",
        ),
        Mistake(
            lambda q, k, v, m: _masked(q, k, None if m is None else ~m).softmax(-1) @ v,
            "the mask is upside down: True means *may look*. masked_fill fills where its mask is True: give it ~mask.",
        ),
        Mistake(
            lambda q, k, v, m: (_scaled(q, k) * (1 if m is None else m)).softmax(-1) @ v,
            "masked scores became 0, and e⁰ = 1 still gets weight: they must become −∞.",
        ),
        Mistake(
            lambda q, k, v, m: (_scaled(q, k).softmax(-1) * (1 if m is None else m)) @ v,
            "masked after the softmax: the rows no longer sum to 1. Put −∞ into the scores before it.",
        ),
        Mistake(
            lambda q, k, v, m: (_scaled(q, k) + (0 if m is None else m)).softmax(-1) @ v,
            "the mask was added as 0 and 1: where it is False, the score must become −∞.",
        ),
    ],
    _SCORES_HINT,
)


def _check_attention(attempt: Attempt) -> None:
    """Without a mask first, so that a mistake in the scores gets its own hint whatever the mask does."""
    _WITHOUT_MASK(attempt)
    _WITH_MASK(attempt)


@exercise(
    check=_check_attention,
    mistakes=[*_WITHOUT_MASK.mistakes, *_WITH_MASK.mistakes],
    on_error={
        "must match": "the keys have to be transposed: q @ k.mT is (L, L), one score for each pair of tokens.",
        "shapes cannot be multiplied": "the keys have to be transposed: q @ k.mT is (L, L), one score per pair.",
        "Expected size for first two dimensions": "the keys have to be transposed: q @ k.mT is (L, L).",
        "'NoneType'": "mask may be None: then every token may look at every other.",
        "numpy_T": "use k.mT, which transposes the last two axes only.",
    },
    learned=("q", "k", "v"),
    on_cpu=(),
)
def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """q, k, v (..., L, d), and a mask, None or bool (L, L) with True where i may look at j → (..., L, d).

    Vaswani et al. 2017, equation 1.
    """
    return _masked(q, k, mask).softmax(-1) @ v


_CAUSAL_HINT = "row i is the token that looks, column j the one that is looked at: True where j ≤ i."
_CAUSAL_MISTAKES = [
    Mistake(
        lambda n: torch.ones(n, n).triu().bool(),
        "upside down: this lets each token see itself and the *future*. " + _CAUSAL_HINT,
    ),
    Mistake(
        lambda n: torch.ones(n, n).triu(1).bool(),
        "True and False are swapped: True means *may look*. " + _CAUSAL_HINT,
    ),
    Mistake(
        lambda n: torch.ones(n, n).tril(-1).bool(),
        "a token may look at itself, too: keep the diagonal, or the first row would be empty.",
    ),
    Mistake(lambda n: torch.ones(n, n).bool(), "here everyone sees everyone. " + _CAUSAL_HINT),
]


def _check_causal_mask(attempt: Attempt) -> None:
    for length in (4, 1, 7):
        _check_length(attempt, length)


def _check_length(attempt: Attempt, length: int) -> None:
    words = f"for {length} tokens"
    right = torch.tensor([[j <= i for j in range(length)] for i in range(length)])
    answer = attempt(length)
    if answer.shape != right.shape:
        raise Wrong(f"{words}: expected shape {tuple(right.shape)}, got {tuple(answer.shape)}")
    if answer.dtype != torch.bool:
        hint = "compare positions, or end with .bool(): the mask holds truth values."
        if answer.is_floating_point() and bool(answer.isinf().any()):
            hint = "this is a mask to *add* to scores, with −∞. Here True and False say who may look."
        raise Wrong(f"{words}: expected dtype torch.bool, got {answer.dtype}", hint)
    if not torch.equal(answer, right):
        i, j = (answer != right).nonzero()[0].tolist()
        raise Wrong(
            f"{words}: at [{i}, {j}] expected {bool(right[i, j])}, got {bool(answer[i, j])}",
            hint_for(_CAUSAL_MISTAKES, lambda mistake: torch.equal(answer, mistake.answer(length)), _CAUSAL_HINT),
        )


@exercise(check=_check_causal_mask, mistakes=_CAUSAL_MISTAKES, returns=MASK)
def causal_mask(length: int) -> Tensor:
    """length L → bool (L, L), True at [i, j] where token i may look at token j."""
    position = torch.arange(length)
    return position[None, :] <= position[:, None]
