"""CLIP: similarities, the symmetric loss and its scale, recall, and zero-shot classes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.checking import Case, Mistake, as_tensor, difference, exercise, noise
from course_utils.lab.exercises.returns import NUMBER, Wrong


def _similarity_cases() -> list[Case]:
    """By hand: (3, 4) has length 5. Then random vectors, against torch's cosine of every pair."""
    by_hand = (
        torch.tensor([[3.0, 4.0], [2.0, 0.0]]),
        torch.tensor([[1.0, 0.0], [0.0, 3.0], [-3.0, 4.0]]),
    )
    expected = torch.tensor([[0.6, 0.8, 0.28], [1.0, 0.0, -0.6]])
    a, b = noise(5, 4, seed=0) * torch.tensor([[0.1], [1.0], [5.0], [20.0], [2.0]]), noise(3, 4, seed=1) + 1
    pairs = F.cosine_similarity(a[:, None].double(), b[None].double(), dim=-1)
    return [
        Case(by_hand, expected, "for pictures (3, 4), (2, 0) and texts (1, 0), (0, 3), (−3, 4)"),
        Case((a, b), pairs, "for five pictures and three texts"),
    ]


@exercise(
    cases=_similarity_cases,
    mistakes=[
        Mistake(
            lambda a, b: a @ b.T,
            "the vectors keep their own lengths: divide each by its length first, so that only directions count.",
        ),
        Mistake(
            lambda a, b: F.normalize(a, dim=0) @ F.normalize(b, dim=0).T,
            "normalised along the batch (dim=0): it is each *row* that gets length 1, dim=-1.",
        ),
        Mistake(
            lambda a, b: F.normalize(a, dim=-1) @ b.T,
            "only the pictures were normalised: texts get length 1, too.",
        ),
        Mistake(
            lambda a, b: a @ F.normalize(b, dim=-1).T,
            "only the texts were normalised: pictures get length 1, too.",
        ),
        Mistake(
            lambda a, b: (a / a.norm()) @ (b / b.norm()).T,
            "divided by the length of the whole matrix: each row has its own, .norm(dim=-1, keepdim=True).",
        ),
        Mistake(
            lambda a, b: (F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T).softmax(-1),
            "no softmax yet: the loss brings it.",
        ),
    ],
    hint="make every row a unit vector, then one matrix product gives all cosines: (B, D) @ (D, N).",
    on_error={
        "cannot be multiplied": "(B, D) @ (N, D) does not fit: transpose the second, .T",
        "must match the size": "keep the axis that you sum over, keepdim=True, so that (B, 1) divides (B, D).",
    },
    learned=("image_features", "text_features"),
    on_cpu=(),
)
def similarity(image_features: Tensor, text_features: Tensor) -> Tensor:
    """Features (B, D) of pictures and (N, D) of texts, of any length → their cosines (B, N)."""
    return F.normalize(image_features, dim=-1) @ F.normalize(text_features, dim=-1).T


def _both(s: Tensor, logit_scale: Tensor) -> tuple[Tensor, Tensor]:
    logits = logit_scale.exp() * s
    return logits, logits.T


def _rows_and_columns(s: Tensor, logit_scale: Tensor) -> list[Tensor]:
    return [F.cross_entropy(logits, torch.arange(len(s))) for logits in _both(s, logit_scale)]


def _loss_cases() -> list[Case]:
    """Closed form, and −log of the shares that e^logit takes of its row and of its column, in float64."""
    scale = torch.tensor(math.log(4.0))
    alike = torch.full((5, 5), 0.3)
    cases = [Case((alike, scale), torch.tensor(math.log(5.0)), "when all 5×5 similarities are equal")]
    for n, factor, seed in ((3, 1.0, 0), (6, 14.3, 2)):
        a, b = (F.normalize(noise(n, 8, seed=seed + k), dim=-1) for k in (0, 1))
        powers = (factor * (a @ b.T).double()).exp()
        shares = powers.diagonal() / powers.sum(1), powers.diagonal() / powers.sum(0)
        value = -(shares[0].log() + shares[1].log()).mean() / 2
        cases.append(Case((a @ b.T, torch.tensor(math.log(factor))), value, f"for {n} pairs at scale {factor:g}"))
    return cases


@exercise(
    cases=_loss_cases,
    mistakes=[
        Mistake(
            lambda s, k: _rows_and_columns(s, k)[0],
            "this is one direction, pictures choosing texts: add the other, texts choosing pictures, and halve.",
        ),
        Mistake(
            lambda s, k: _rows_and_columns(s, k)[1],
            "this is one direction, texts choosing pictures: add the other, pictures choosing texts, and halve.",
        ),
        Mistake(
            lambda s, k: sum(_rows_and_columns(s, k)),
            "the two directions are summed: the loss is their mean, so the ½ is missing.",
        ),
        Mistake(
            lambda s, k: sum(_rows_and_columns(s, torch.zeros(()))) / 2,
            "the scale is missing: multiply the similarities by logit_scale.exp().",
        ),
        Mistake(
            lambda s, k: sum(_rows_and_columns(s, k.log())) / 2,
            "logit_scale is the *logarithm* of the scale: take .exp() before you multiply.",
        ),
        Mistake(
            lambda s, k: sum(_rows_and_columns(s, -k)) / 2,
            "divided where it must be multiplied: logit_scale is ln(1/τ), so exp(logit_scale) already is 1/τ.",
        ),
        Mistake(
            lambda s, k: -(k.exp() * s).diagonal().mean(),
            "the diagonal alone: the softmax over all others is missing, and nothing pushes strangers apart.",
        ),
        Mistake(
            lambda s, k: sum(F.cross_entropy(m, torch.arange(len(s)), reduction="sum") for m in _both(s, k)) / 2,
            "summed over the batch: the loss is the *mean* over the pairs.",
        ),
        Mistake(
            lambda s, k: F.cross_entropy((k.exp() * s).softmax(1), torch.arange(len(s))),
            "F.cross_entropy takes logits: it does the softmax itself.",
        ),
        Mistake(
            lambda s, k: sum(F.cross_entropy(m.softmax(1), torch.arange(len(s))) for m in _both(s, k)) / 2,
            "F.cross_entropy takes logits: it does the softmax itself.",
        ),
        Mistake(
            lambda s, k: sum(F.cross_entropy(m, torch.zeros(len(s), dtype=torch.long)) for m in _both(s, k)) / 2,
            "every row was told to choose number 0: the right answer of row i is i, torch.arange(B).",
        ),
    ],
    hint="logits = logit_scale.exp() * similarities; cross_entropy of rows and of columns against torch.arange(B).",
    on_error={
        "expected scalar type Long": "targets are class *numbers*: torch.arange(B), not a one-hot matrix of floats.",
        "class probabilities": "targets are class *numbers*: torch.arange(B), int64.",
    },
    learned=("similarities", "logit_scale"),
    on_cpu=(),
)
def contrastive_loss(similarities: Tensor, logit_scale: Tensor) -> Tensor:
    """Cosines (B, B) with the pictures in rows, and log(1/τ), a tensor () → the loss, a tensor ().

    Radford et al. 2021, figure 3.
    """
    logits = logit_scale.exp() * similarities
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def _clamp_cases() -> list[Case]:
    """By hand: scales 0.5, 1, 14, 100, 1000 and e¹⁵⁰ must become 1, 1, 14, 100, 100 and 100."""
    scales = ((14.0, 14.0), (1000.0, 100.0), (100.0, 100.0), (0.5, 1.0), (1.0, 1.0))
    return [
        *(
            Case((torch.tensor(math.log(before)),), torch.tensor(math.log(after)), f"for a scale of {before:g}")
            for before, after in scales
        ),
        Case((torch.tensor(150.0),), torch.tensor(math.log(100.0)), "for a scale of e¹⁵⁰"),
    ]


@exercise(
    cases=_clamp_cases,
    mistakes=[
        Mistake(
            lambda k: k.clamp(0.0, 100.0),
            "this bounds the *logarithm* by 100, which allows scales up to e¹⁰⁰: the bound is ln 100.",
        ),
        Mistake(
            lambda k: k.clamp(1.0, 100.0),
            "these are the bounds of the scale itself; its logarithm lies between ln 1 = 0 and ln 100.",
        ),
        Mistake(lambda k: k.clamp(max=math.log(100.0)), "the lower bound is missing: a scale below 1 is not allowed."),
        Mistake(lambda k: k.clamp(min=0.0), "the upper bound is missing: ln 100."),
        Mistake(
            lambda k: k.exp().clamp(1.0, 100.0),
            "this returns the scale: what is stored, and wanted back, is its logarithm.",
        ),
        Mistake(
            lambda k: k.clamp(0.0, 2.0),
            "log10 of 100 is 2, but the logarithm here is the natural one: math.log(100).",
        ),
        Mistake(lambda k: k, "nothing was bounded: .clamp(lowest, highest)."),
    ],
    hint="the scale must stay in [1, 100], so its natural logarithm stays in [0, ln 100].",
    on_cpu=(),
)
def clamped(logit_scale: Tensor) -> Tensor:
    """log(1/τ), a tensor () → the same, with 1/τ kept in [1, 100].

    Radford et al. 2021, section 2.5. The lower bound is the course's own.
    """
    return logit_scale.clamp(0.0, math.log(100.0))


def _recall_cases() -> list[Case]:
    """By hand: in the first case picture 0 finds the other "a cat", 2 and 3 find their own, 1 and 4 are wrong.

    Column by column other captions win. In the second case all captions differ, and two of three pictures are right.
    """
    captions = ["a cat", "a dog", "a cat", "a bear", "a mouse"]
    similarities = torch.tensor(
        [
            [0.5, 0.1, 0.9, 0.2, 0.3],
            [0.1, 0.3, 0.2, 0.8, 0.4],
            [0.7, 0.2, 0.8, 0.1, 0.0],
            [0.3, 0.4, 0.1, 0.6, 0.2],
            [0.2, 0.9, 0.3, 0.1, 0.5],
        ]
    )
    different = torch.tensor([[0.5, 0.6, 0.1], [0.2, 0.9, 0.3], [0.1, 0.2, 0.4]])
    return [
        Case((similarities, captions), torch.tensor(3 / 5), "for five pictures, two of them captioned “a cat”"),
        Case((different, ["a", "b", "c"]), torch.tensor(2 / 3), "for three different captions"),
    ]


def _share(similarities: Tensor, captions: list[str], dim: int = 1) -> float:
    best = similarities.argmax(dim=dim).tolist()
    return sum(captions[j] == captions[i] for i, j in enumerate(best)) / len(best)


@exercise(
    cases=_recall_cases,
    mistakes=[
        Mistake(
            lambda s, c: (s.argmax(dim=1) == torch.arange(len(s))).float().mean(),
            "the index of the best caption was compared, not its text: two pictures may share a caption word for "
            "word, and then either of the two is right. Compare captions[j] with captions[i].",
        ),
        Mistake(
            lambda s, c: _share(s, c, dim=0),
            "this goes down the columns, each caption choosing a picture: pictures are the rows, argmax(dim=1).",
        ),
        Mistake(lambda s, c: _share(s, c) * len(c), "this is how many are right: divide by the number of pictures."),
        Mistake(lambda s, c: 1 - _share(s, c), "this is the share of wrong ones: 1 minus it is the recall."),
        Mistake(lambda s, c: _share(-s, c), "the *least* similar caption was taken: argmax instead of argmin."),
    ],
    hint="j = similarities.argmax(dim=1) is each picture's nearest caption; it is right if captions[j] == captions[i].",
    on_error={
        word: "captions is a list: index it with plain integers, .tolist() makes them."
        for word in ("list indices", "integer tensors")
    },
    returns=NUMBER,
)
def recall_at_1(similarities: Tensor, captions: list[str]) -> float:
    """Cosines (N pictures, N captions) and the N captions → the share of pictures whose nearest caption reads right."""
    return _share(similarities, captions)


def _class_cases() -> list[Case]:
    """By hand: (1, 0) and (0, 1) average to the diagonal. Then random unit vectors, in float64 and one by one."""
    by_hand = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8], [0.6, 0.8]]])
    half = 0.5**0.5
    random = F.normalize(noise(3, 3, 3, seed=4), dim=-1)
    sums = [[sum(float(random[k, t, d]) for t in range(3)) for d in range(3)] for k in range(3)]
    lengths = [math.sqrt(sum(v * v for v in row)) for row in sums]
    expected = torch.tensor(
        [[v / length for v in row] for row, length in zip(sums, lengths, strict=True)], dtype=torch.float64
    )
    return [
        Case((by_hand,), torch.tensor([[half, half], [0.6, 0.8]]), "for class 0 with texts (1, 0) and (0, 1)"),
        Case((random,), expected, "for three classes with three texts each"),
    ]


def _unequal_axes() -> Tensor:
    return F.normalize(noise(4, 7, 5, seed=6), dim=-1)


def _check_axis(attempt: Attempt) -> None:
    """The shape that comes back says which axis was averaged."""
    answer = attempt(_unequal_axes())
    if tuple(answer.shape) == (7, 5):
        raise Wrong(
            "for 4 classes with 7 texts of 5 numbers each: expected shape (4, 5), got (7, 5)",
            "averaged over the classes (dim=0): axis 1 holds the texts of one class.",
        )
    if tuple(answer.shape) == (4, 7):
        raise Wrong(
            "for 4 classes with 7 texts of 5 numbers each: expected shape (4, 5), got (4, 7)",
            "averaged over the numbers of each vector (dim=2): axis 1 holds the texts of one class.",
        )


def _check_lengths(attempt: Attempt) -> None:
    words = "the lengths of 4 class vectors of 7 texts each"
    lengths = as_tensor(attempt(_unequal_axes()), Case((), torch.ones(4, 5), words)).norm(dim=-1)
    case = Case((), torch.ones(4), words)
    if not torch.allclose(lengths, case.expected.double(), atol=1e-4):
        raise Wrong(difference(lengths, case, 1e-4), "divide each class's mean by its own length.")


@exercise(
    check=_check_axis,
    cases=_class_cases,
    mistakes=[
        Mistake(
            lambda p: p.mean(1),
            "the mean of unit vectors is shorter than 1, the more they disagree the shorter: divide by its length.",
        ),
        Mistake(lambda p: p.sum(1), "the sum is not a unit vector: divide by its length."),
        Mistake(
            lambda p: F.normalize(p.mean(1), dim=0),
            "normalised down the classes: each row, one class, gets length 1, dim=-1.",
        ),
        Mistake(
            lambda p: p[:, 0],
            "this takes the first text of each class alone: the ensemble averages all of them.",
        ),
        Mistake(
            lambda p: p.mean(1).softmax(-1),
            "no softmax here: a class vector is a direction, its numbers are not probabilities.",
        ),
        Mistake(
            lambda p: F.normalize(p.amax(1), dim=-1),
            "this takes the largest number at each place: it is the mean that is wanted.",
        ),
    ],
    hint="mean over axis 1, then F.normalize(..., dim=-1).",
    after=_check_lengths,
)
def class_vectors(prompt_emb: Tensor) -> Tensor:
    """Unit vectors (K classes, T texts, D) → unit vectors (K, D), one per class.

    Radford et al. 2021, section 3.1.4.
    """
    return F.normalize(prompt_emb.mean(dim=1), dim=-1)
