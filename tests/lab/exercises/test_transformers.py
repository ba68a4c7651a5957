"""Every check of notebook 04 accepts right answers, however written, and meets each wrong one with the hint meant for it."""

import re

import pytest
import torch
import torch.nn.functional as F

from course_utils.lab.exercises import transformers as four
from course_utils.lab.exercises.checking import Exercise
from course_utils.models import vit


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


# ---- right answers -----------------------------------------------------------------------------------------


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


def with_a_loop(x, p):
    rows = [x[:, :, i : i + p, j : j + p].flatten(1) for i in range(0, x.shape[2], p) for j in range(0, x.shape[3], p)]
    return torch.stack(rows, dim=1)


RIGHT = [
    (four.merge, merge_with_a_stack),
    (four.merge, merge_with_a_regular_expression),
    (four.attention, attention_by_einsum),
    (four.attention, torch_attention),
    (four.causal_mask, lambda length: torch.ones(length, length).tril().bool()),
    (four.causal_mask, lambda length: ~torch.ones(length, length, dtype=torch.bool).triu(1)),
    (four.patchify, with_a_loop),
    (four.patchify, lambda x, p: F.unfold(x, p, stride=p).mT),
    (four.patchify, vit.patchify),
    (four.patch_convolution, lambda x, w, b, p: vit.patchify(x, p) @ w.T + b),
    (
        four.patch_convolution,
        lambda x, w, b, p: F.conv2d(x, w.unflatten(1, (3, p, p)), b, p).flatten(2).transpose(1, 2),
    ),
]
EXERCISES = [v for v in vars(four).values() if isinstance(v, Exercise)]


@pytest.mark.parametrize(("exercise", "function"), RIGHT)
def test_right_answers_are_used_from_there_on(exercise, function, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is function, said
    assert said == f"✓ {exercise.name}: right. From here on the notebook uses your function.\n"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_courses_own_version_is_right(exercise, capsys):
    before = torch.get_rng_state()
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")
    assert torch.equal(before, torch.get_rng_state()), "a check leaves no trace"


# ---- wrong answers -----------------------------------------------------------------------------------------


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


def scores(q, k):
    return q @ k.mT / q.shape[-1] ** 0.5


def masked(s, mask):
    return s if mask is None else s.masked_fill(~mask, -torch.inf)


def conv(x, w, b, p):
    return F.conv2d(x, w.view(len(w), 3, p, p), b, stride=p)


def order(*axes):
    def answer(x, p):
        b, c, h, w = x.shape
        return x.view(b, c, h // p, p, w // p, p).permute(*axes).reshape(b, -1, c * p * p)

    return answer


WRONG = [
    (four.merge, lambda s, p: list(s), "nothing was joined"),
    (four.merge, keeps_the_half, "step over *two* symbols"),
    (four.merge, off_by_one, "the last symbol got lost"),
    (four.merge, past_the_end, "past the end"),
    (four.merge, in_place, "in place"),
    (four.merge, lambda s, p: "".join(s), "expected a list of symbols, got the string"),
    (
        four.merge,
        lambda s, p: sorted(merge_with_a_stack(s, p)),
        "walk from left to right",
    ),
    (four.merge, four._from_the_right, "from left to right"),
    (four.merge, four._either_order, "(a, h) is not (h, a)"),
    (four.merge, four._first_only, "only the first occurrence"),
    (four.attention, lambda q, k, v, m: masked(q @ k.mT, m).softmax(-1) @ v, "the scale is missing"),
    (four.attention, lambda q, k, v, m: masked(q @ k.mT / q.shape[-1], m).softmax(-1) @ v, "the *root* of d"),
    (four.attention, lambda q, k, v, m: masked(scores(q, k), m).softmax(-2) @ v, "wrong axis"),
    (four.attention, lambda q, k, v, m: masked(scores(k, q), m).softmax(-1) @ v, "swapped"),
    (four.attention, lambda q, k, v, m: scores(q, k).softmax(-1) @ v, "the mask was not used"),
    (
        four.attention,
        lambda q, k, v, m: masked(scores(q, k), None if m is None else ~m).softmax(-1) @ v,
        "upside down",
    ),
    (
        four.attention,
        lambda q, k, v, m: (scores(q, k) * (1 if m is None else m)).softmax(-1) @ v,
        "e⁰ = 1",
    ),
    (
        four.attention,
        lambda q, k, v, m: (scores(q, k).softmax(-1) * (1 if m is None else m)) @ v,
        "masked after the softmax",
    ),
    (four.attention, lambda q, k, v, m: masked(scores(q, k), m) @ v, "the softmax is missing"),
    (four.attention, lambda q, k, v, m: masked(scores(q, k), m).softmax(-1), "expected shape"),
    (
        four.attention,
        lambda q, k, v, m: scores(q, k).masked_fill(~m, -torch.inf).softmax(-1) @ v,
        "mask may be None",
    ),
    (four.attention, lambda q, k, v, m: (q @ k).softmax(-1) @ v, "the keys have to be transposed"),
    (four.causal_mask, lambda n: torch.ones(n, n).triu().bool(), "the *future*"),
    (four.causal_mask, lambda n: torch.ones(n, n).triu(1).bool(), "True and False are swapped"),
    (four.causal_mask, lambda n: torch.ones(n, n).tril(-1).bool(), "keep the diagonal"),
    (four.causal_mask, lambda n: torch.ones(n, n).bool(), "everyone sees everyone"),
    (four.causal_mask, lambda n: torch.ones(n, n).tril(), "the mask holds truth values"),
    (four.causal_mask, lambda n: torch.full((n, n), -torch.inf).triu(1), "a mask to *add*"),
    (four.causal_mask, lambda n: torch.ones(n).bool(), "expected shape (4, 4), got (4,)"),
    (four.causal_mask, lambda n: [[True] * n] * n, "expected a bool tensor (4, 4), got list"),
    (four.patchify, lambda x, p: x.reshape(len(x), -1, 3 * p * p), "a reshape alone"),
    (four.patchify, order(0, 2, 4, 3, 5, 1), "the channels come last"),
    (four.patchify, order(0, 4, 2, 1, 3, 5), "down the columns"),
    (four.patchify, order(0, 2, 4, 1, 5, 3), "came out transposed"),
    (four.patchify, order(0, 1, 2, 4, 3, 5), "tokens of their own"),
    (four.patchify, order(0, 4, 2, 1, 5, 3), "height and width are swapped"),
    (four.patchify, lambda x, p: x.reshape(len(x), 3, x.shape[2] / p, p, -1, p), "H // p"),
    (four.patch_convolution, lambda x, w, b, p: conv(x, w, b, p), "a row of tokens"),
    (four.patch_convolution, lambda x, w, b, p: conv(x, w, b, p).flatten(2), "transpose with .mT"),
    (
        four.patch_convolution,
        lambda x, w, b, p: F.conv2d(x, w.view(len(w), 3, p, p), b).flatten(2).mT,
        "a window at every pixel",
    ),
    (four.patch_convolution, lambda x, w, b, p: conv(x, w, None, p).flatten(2).mT, "the bias is missing"),
    (
        four.patch_convolution,
        lambda x, w, b, p: conv(x, w, b, p).flatten(2).reshape(len(x), -1, len(w)),
        "reshape does not transpose",
    ),
    (
        four.patch_convolution,
        lambda x, w, b, p: F.conv2d(x, w.view(len(w), p, p, 3).permute(0, 3, 1, 2), b, stride=p).flatten(2).mT,
        "channel by channel",
    ),
    (four.patch_convolution, lambda x, w, b, p: conv(x, w, b, p).mT.flatten(2).mT, "down the columns"),
    (
        four.patch_convolution,
        lambda x, w, b, p: F.conv2d(x, w.view(len(w), 3, p, p).mT, b, stride=p).flatten(2).mT,
        "kernel came out transposed",
    ),
]


@pytest.mark.parametrize(("exercise", "function", "hint"), WRONG)
def test_wrong_answers_get_the_hint_meant_for_them(exercise, function, hint, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is exercise.course
    assert said.startswith(f"✗ {exercise.name}: ")
    assert hint in said
    assert said == verdict(exercise, function, capsys)[1]  # nbval compares what is printed


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_each_check_rejects_three_wrong_answers_and_more(exercise):
    assert sum(e is exercise for e, _, _ in WRONG) >= 3


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_every_exercise_may_be_left_for_later(exercise, capsys):
    assert verdict(exercise, lambda *inputs: ..., capsys)[1].startswith("○")
