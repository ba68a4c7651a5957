"""The exercises of notebook 04, tokens and transformers. See `exercises` for how a check works."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.lab.exercises import Attempt, Case, Exercise, Mistake, Wrong, as_tensor, formula


def _noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- one BPE merge ----


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    out, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == tuple(pair):
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


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
    return [s[::-1] for s in _merge([s[::-1] for s in symbols[::-1]], (pair[1][::-1], pair[0][::-1]))][::-1]


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


_MERGE_MISTAKES: list[tuple[Callable, str]] = [
    (_first_only, "only the first occurrence was joined: go on to the end of the word."),
    (
        _overlapping,
        "the second half of the pair is still there: after a join, step over *two* symbols (i += 2).",
    ),
    (
        _overlapping_aaa,
        "one symbol was used twice: in “aaa” the middle a belongs to the first pair. Step over both halves.",
    ),
    (_last_lost, "the last symbol got lost: when no neighbour is left, it still has to be copied."),
    (_from_the_right, "pairs are joined from left to right: “aaa” becomes “aa a”."),
    (_either_order, "the order matters: (a, h) is not (h, a)."),
    (lambda s, p: list(s), "nothing was joined."),
]


def _check_merge(attempt: Attempt) -> None:
    answers = []
    for symbols, pair in _MERGES:
        given = list(symbols)
        answer = attempt(given, pair)
        words = f"with {symbols} and the pair {pair}"
        if given != symbols:
            raise Wrong(
                f"{words}: it changed its input in place",
                "build a new list: the caller still needs the old one.",
            )
        if isinstance(answer, str):
            raise Wrong(f"{words}: expected a list of symbols, got the string {answer!r}")
        if not isinstance(answer, (list, tuple)) or not all(isinstance(s, str) for s in answer):
            raise Wrong(f"{words}: expected a list of strings, got {answer!r}"[:200])
        answers.append(list(answer))
    expected = [_merge_by_regex(symbols, pair) for symbols, pair in _MERGES]
    wrong = [i for i, (a, e) in enumerate(zip(answers, expected, strict=True)) if a != e]
    if not wrong:
        return
    symbols, pair = _MERGES[wrong[0]]
    known = (
        hint for mistake, hint in _MERGE_MISTAKES if answers == [mistake(list(s), p) for s, p in _MERGES]
    )
    raise Wrong(
        f"with {symbols} and the pair {pair}: expected {expected[wrong[0]]}, got {answers[wrong[0]]}",
        next(known, "walk from left to right; where the next two symbols are the pair, write them as one."),
    )


merge = Exercise(
    name="merge",
    course=_merge,
    check=_check_merge,
    on_error={
        "list index out of range": "the last symbol has no right neighbour: symbols[i + 1] is past the end."
    },
)


# ---- attention ----


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


def _attention_cases(mask: Tensor | None, words: str) -> list[Case]:
    """Torch's own kernel, in float64. Tokens and widths differ, so that no axis can be mistaken for another."""
    cases = []
    for shape, what in (((5, 4), "for 5 tokens"), ((2, 3, 5, 8), "for 2 texts with 3 heads")):
        q, k, v = (scale * _noise(*shape, seed=seed) for seed, scale in enumerate((2, 2, 1)))
        right = F.scaled_dot_product_attention(*(x[None].double() for x in (q, k, v)), attn_mask=mask)[0]
        cases.append(Case((q, k, v, mask), right, f"{what} {words}"))
    return cases


def _scaled(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / q.shape[-1] ** 0.5


def _masked(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    return _scaled(q, k).masked_fill(~mask, float("-inf"))


_SCORES_HINT = "scores = q @ kᵀ / √d; −∞ where the mask is False; softmax over the last axis; times v."
_without_mask = formula(
    _attention_cases(None, "without a mask"),
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
_ROW, _COLUMN = torch.arange(5)[:, None], torch.arange(5)[None, :]
# Every row and every column has some of both, so that no mistake makes a row of nothing but −∞.
_with_mask = formula(
    _attention_cases((_ROW + 2 * _COLUMN) % 3 != 0, "with a mask"),
    [
        Mistake(
            lambda q, k, v, m: _scaled(q, k).softmax(-1) @ v,
            "the mask was not used: where it is False, the score becomes −∞ before the softmax.",
        ),
        Mistake(
            lambda q, k, v, m: _masked(q, k, ~m).softmax(-1) @ v,
            "the mask is upside down: True means *may look*. masked_fill fills where its mask is True: give it ~mask.",
        ),
        Mistake(
            lambda q, k, v, m: (_scaled(q, k) * m).softmax(-1) @ v,
            "masked scores became 0, and e⁰ = 1 still gets weight: they must become −∞.",
        ),
        Mistake(
            lambda q, k, v, m: (_scaled(q, k).softmax(-1) * m) @ v,
            "masked after the softmax: the rows no longer sum to 1. Put −∞ into the scores before it.",
        ),
        Mistake(
            lambda q, k, v, m: (_scaled(q, k) + m).softmax(-1) @ v,
            "the mask was added as 0 and 1: where it is False, the score must become −∞.",
        ),
    ],
    _SCORES_HINT,
)


def _check_attention(attempt: Attempt) -> None:
    _without_mask(attempt)
    _with_mask(attempt)


attention = Exercise(
    name="attention",
    course=_attention,
    check=_check_attention,
    on_error={
        "must match": "the keys have to be transposed: q @ k.mT is (L, L), one score for each pair of tokens.",
        "shapes cannot be multiplied": "the keys have to be transposed: q @ k.mT is (L, L), one score a pair.",
        "Expected size for first two dimensions": "the keys have to be transposed: q @ k.mT is (L, L).",
        "'NoneType'": "mask may be None: then every token may look at every other.",
        "numpy_T": "use k.mT, which transposes the last two axes only.",
    },
)


# ---- the causal mask ----


def _causal_mask(length: int) -> Tensor:
    position = torch.arange(length)
    return position[None, :] <= position[:, None]


def _check_causal_mask(attempt: Attempt) -> None:
    for length in (4, 1, 7):
        words = f"for {length} tokens"
        right = torch.tensor([[j <= i for j in range(length)] for i in range(length)])
        answer = attempt(length)
        if not isinstance(answer, Tensor):
            raise Wrong(f"{words}: expected a bool tensor ({length}, {length}), got {type(answer).__name__}")
        if answer.shape != right.shape:
            raise Wrong(f"{words}: expected shape {tuple(right.shape)}, got {tuple(answer.shape)}")
        if answer.dtype != torch.bool:
            hint = "compare positions, or end with .bool(): the mask holds truth values."
            if answer.is_floating_point() and bool(answer.isinf().any()):
                hint = "this is a mask to *add* to scores, with −∞. Here True and False say who may look."
            raise Wrong(f"{words}: expected dtype torch.bool, got {answer.dtype}", hint)
        if torch.equal(answer, right):
            continue
        hint = "row i is the token that looks, column j the one that is looked at: True where j ≤ i."
        if torch.equal(answer, right.T):
            hint = "upside down: this lets each token see itself and the *future*. " + hint
        elif torch.equal(answer, ~right):
            hint = "True and False are swapped: True means *may look*. " + hint
        elif torch.equal(answer, right.tril(-1)):
            hint = "a token may look at itself, too: keep the diagonal, or the first row would be empty."
        elif bool(answer.all()):
            hint = "here everyone sees everyone. " + hint
        i, j = (answer != right).nonzero()[0].tolist()
        raise Wrong(f"{words}: at [{i}, {j}] expected {bool(right[i, j])}, got {bool(answer[i, j])}", hint)


causal_mask = Exercise(name="causal_mask", course=_causal_mask, check=_check_causal_mask)


# ---- patches, by reshaping ----


def _patchify(x: Tensor, p: int) -> Tensor:
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // p, p, w // p, p)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * p * p)


def _picture(b: int, h: int, w: int, seed: int) -> Tensor:
    return _noise(b, 3, h, w, seed=seed)


def _patch_cases() -> list[Case]:
    """`F.unfold` cuts windows; with a stride as large as the window these are patches."""
    return [
        Case(
            (x, p),
            F.unfold(x, p, stride=p).mT,
            f"for {len(x)} picture(s) of {x.shape[2]}×{x.shape[3]} and patches of {p}",
        )
        for x, p in ((_picture(1, 4, 6, 0), 2), (_picture(2, 16, 8, 1), 4), (_picture(2, 6, 6, 2), 1))
    ]


def _order(*axes: int) -> Callable[[Tensor, int], Tensor]:
    """Patches with the axes of (b, c, rows, p, columns, q) in another order."""

    def answer(x: Tensor, p: int) -> Tensor:
        b, c, h, w = x.shape
        y = x.reshape(b, c, h // p, p, w // p, p).permute(*axes)
        return y.reshape(b, -1, c * p * p)

    return answer


patchify = Exercise(
    name="patchify",
    course=_patchify,
    check=formula(
        _patch_cases(),
        [
            Mistake(
                lambda x, p: x.reshape(len(x), -1, x.shape[1] * p * p),
                "a reshape alone only cuts the numbers where they lie, one channel and row after another. Split H and "
                "W into (H/p, p) and (W/p, p), then permute.",
            ),
            Mistake(
                _order(0, 2, 4, 3, 5, 1),
                "the channels come last in your rows: here a row is channel by channel, (C, p, p), as a "
                "convolution's weight has it.",
            ),
            Mistake(
                _order(0, 4, 2, 1, 3, 5),
                "the patches go down the columns: reading order is row by row, so H/p stands before W/p.",
            ),
            Mistake(
                _order(0, 4, 2, 1, 5, 3),
                "height and width are swapped: patches go row by row, and so do the pixels in them.",
            ),
            Mistake(
                _order(0, 2, 4, 1, 5, 3),
                "each patch came out transposed: within a patch, its rows come before its columns.",
            ),
            Mistake(
                _order(0, 1, 2, 4, 3, 5),
                "the channels have become tokens of their own: C belongs *inside* a row, behind both patch axes.",
            ),
        ],
        hint="x.reshape(B, C, H/p, p, W/p, p), then .permute(0, 2, 4, 1, 3, 5), then join the last three axes.",
    ),
    on_error={
        "is invalid for input of size": "the sizes must multiply to B · C · H · W: H splits into H//p and p, W into W//p and p.",
        "view size is not compatible": "after a permute the numbers lie elsewhere: use .reshape for .view.",
        "cannot be interpreted as an integer": "H / p is a float in Python: use H // p.",
        "must be tuple of ints": "H / p is a float in Python: use H // p.",
    },
)


# ---- patches, by a convolution ----


def _patch_convolution(x: Tensor, weight: Tensor, bias: Tensor, p: int) -> Tensor:
    kernel = weight.reshape(len(weight), x.shape[1], p, p)
    return F.conv2d(x, kernel, bias, stride=p).flatten(2).mT


def _convolution_cases() -> list[Case]:
    cases = []
    for seed, (h, w, p, d) in enumerate(((4, 6, 2, 5), (16, 8, 4, 7))):
        x, weight, bias = (
            _picture(2, h, w, seed),
            _noise(d, 3 * p * p, seed=seed + 5),
            _noise(d, seed=seed + 9),
        )
        right = F.linear(F.unfold(x, p, stride=p).mT, weight, bias)
        cases.append(
            Case((x, weight, bias, p), right, f"for pictures of {h}×{w}, patches of {p} and width {d}")
        )
    return cases


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, p: int) -> Tensor:
    return F.conv2d(x, kernel, bias, stride=p).flatten(2).mT


def _check_patch_convolution(attempt: Attempt) -> None:
    for case in _convolution_cases():
        answer, (x, *_, p) = attempt(*case.inputs), case.inputs
        if isinstance(answer, Tensor):
            full, (b, length, d) = x.shape[2] - p + 1, case.expected.shape
            if answer.ndim == 4:
                hint = "a convolution's output is a picture (B, D, H/p, W/p): .flatten(2).mT makes a row of tokens of it."
                raise Wrong(f"{case.words}: expected shape {(b, length, d)}, got {tuple(answer.shape)}", hint)
            if answer.shape == (b, d, length):
                hint = "tokens are the second axis, their numbers the last: transpose with .mT."
                raise Wrong(f"{case.words}: expected shape {(b, length, d)}, got {tuple(answer.shape)}", hint)
            if answer.ndim == 3 and answer.shape[1] == full * (x.shape[3] - p + 1):
                hint = "a window at every pixel: with stride=p the kernel steps from patch to patch."
                raise Wrong(f"{case.words}: expected shape {(b, length, d)}, got {tuple(answer.shape)}", hint)
        as_tensor(answer, case)
    formula(
        _convolution_cases(),
        [
            Mistake(
                lambda x, w, b, p: _convolve(x, w.view(len(w), 3, p, p), None, p), "the bias is missing."
            ),
            Mistake(
                lambda x, w, b, p: _convolve(x, w.view(len(w), p, p, 3).permute(0, 3, 1, 2), b, p),
                "the rows of weight are read as (p, p, C): they are channel by channel, (C, p, p).",
            ),
            Mistake(
                lambda x, w, b, p: _convolve(x, w.view(len(w), 3, p, p).mT, b, p),
                "each kernel came out transposed: weight.reshape(D, C, p, p) is all it takes.",
            ),
            Mistake(
                lambda x, w, b, p: F.conv2d(x, w.view(len(w), 3, p, p), b, stride=p).mT.flatten(2).mT,
                "the tokens go down the columns: flatten the output as it is, row by row.",
            ),
            Mistake(
                lambda x, w, b, p: (
                    F.conv2d(x, w.view(len(w), 3, p, p), b, stride=p).flatten(2).reshape(len(x), -1, len(w))
                ),
                "reshape does not transpose: (B, D, L) becomes (B, L, D) with .mT.",
            ),
        ],
        hint="F.conv2d with the rows of weight as kernels (C, p, p) and stride p, then .flatten(2).mT.",
    )(attempt)


patch_convolution = Exercise(
    name="patch_convolution",
    course=_patch_convolution,
    check=_check_patch_convolution,
    on_error={
        "expected stride": "F.conv2d wants kernels of shape (D, C, p, p): reshape weight first.",
        "weight should have at least": "F.conv2d wants kernels of shape (D, C, p, p): reshape weight first.",
        "Expected 3D (unbatched) or 4D (batched) input": "F.conv2d takes the picture first, then the kernels.",
        "expected input": "kernels have the shape (D, C, p, p): D = len(weight), C = x.shape[1].",
    },
)
