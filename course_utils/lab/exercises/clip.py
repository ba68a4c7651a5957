"""CLIP: similarities, the symmetric loss, the same without copies, the sigmoid loss, and recall."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.lab.exercises.checking import Case, Mistake, exercise, noise
from course_utils.lab.exercises.returns import NUMBER


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


def _masked(s: Tensor, logit_scale: Tensor, tokens: Tensor, rivals: Callable[[int, int, bool], bool]) -> Tensor:
    """The loss where j competes with i as `rivals(i, j, same text)` says, number by number in float64."""
    e = (logit_scale.double().exp() * s.double()).exp()
    texts = [tuple(row) for row in tokens.tolist()]
    n, total = len(texts), torch.zeros((), dtype=torch.float64)
    for shares in (e, e.T):
        for i in range(n):
            heard = [j for j in range(n) if j == i or rivals(i, j, texts[i] == texts[j])]
            total = total - (shares[i, i] / shares[i, heard].sum()).log() / (2 * n)
    return total


def _masked_cases() -> list[Case]:
    """By hand: at equal similarities a pair costs the logarithm of how many texts are not copies of its own."""
    tokens = torch.tensor([[1, 5, 2], [1, 6, 2], [1, 5, 2], [1, 7, 2]])
    by_hand = torch.tensor((2 * math.log(3.0) + 2 * math.log(4.0)) / 4)
    flat = torch.full((4, 4), 0.2), torch.tensor(math.log(7.0)), tokens
    cases = [Case(flat, by_hand, "when all similarities are equal and texts 0 and 2 are the same")]
    for ids, words in (([0, 1, 0, 2, 0, 1], "for six pairs, three of one text"), ([0, 1, 2, 3, 4], "for five texts")):
        a, b = (F.normalize(noise(len(ids), 8, seed=5 + k), dim=-1) for k in (0, 1))
        inputs = a @ b.T, torch.tensor(math.log(9.0)), torch.tensor([[1, 3 + i, 2] for i in ids])
        cases.append(Case(inputs, _masked(*inputs, lambda i, j, same: not same), words))
    return cases


def _by_logits(s: Tensor, logit_scale: Tensor, tokens: Tensor, fill: float, diagonal: bool = False) -> Tensor:
    same = (tokens[:, None] == tokens[None]).all(2)
    hidden = same if diagonal else same & ~torch.eye(len(s), dtype=torch.bool)
    rows = [m.masked_fill(hidden, fill) for m in _both(s, logit_scale)]
    return torch.stack([F.cross_entropy(m, torch.arange(len(s))) for m in rows]).mean()


@exercise(
    cases=_masked_cases,
    mistakes=[
        Mistake(
            lambda s, k, tokens: contrastive_loss.course(s, k),
            "nothing was masked: where two pairs have the same tokens, neither may count as the other's wrong answer.",
        ),
        Mistake(
            lambda s, k, tokens: _by_logits(s, k, tokens, 0.0),
            "a logit of 0 still takes part in the softmax, as e⁰ = 1: what is masked must be −∞.",
        ),
        Mistake(
            lambda s, k, tokens: _by_logits(s, k, tokens, -math.inf, diagonal=True),
            "the diagonal was masked, too: a pair's own text is the right answer, and must stay.",
        ),
        Mistake(
            lambda s, k, tokens: _masked(s, k, tokens, lambda i, j, same: not same or j > i),
            "only one of the two copies was masked: the mask is symmetric.",
        ),
        Mistake(
            lambda s, k, tokens: 2 * _masked(s, k, tokens, lambda i, j, same: not same),
            "the two directions are summed: the loss is their mean, so the ½ is missing.",
        ),
        Mistake(
            lambda s, k, tokens: _masked(s, torch.zeros(()), tokens, lambda i, j, same: not same),
            "the scale is missing: multiply the similarities by logit_scale.exp().",
        ),
    ],
    hint="same[i, j] says whether row i and row j of tokens agree everywhere; off the diagonal it hides logits, with −∞.",
    on_error={
        "must match the size": "compare every row with every row: tokens[:, None] == tokens[None] is (B, B, L), then .all(2).",
        "expected scalar type Long": "targets are class *numbers*: torch.arange(B), int64.",
    },
    learned=("similarities", "logit_scale"),
    on_cpu=(),
)
def masked_loss(similarities: Tensor, logit_scale: Tensor, tokens: Tensor) -> Tensor:
    """Cosines (B, B), log(1/τ), a tensor (), and the texts' tokens (B, L) → the loss, a tensor ().

    As `contrastive_loss`, but a pair with the same text as another's does not count as its wrong answer.
    """
    logits = logit_scale.exp() * similarities
    own = torch.arange(len(logits), device=logits.device)
    same = (tokens[:, None] == tokens[None]).all(2) & (own[:, None] != own[None])
    logits = logits.masked_fill(same, -math.inf)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def _sigmoid_cases() -> list[Case]:
    """−log σ(x) = log(1 + e^−x), number by number in float64."""
    cases = []
    for n, scale, bias, seed, words in (
        (1, 5.0, -1.0, 3, "for one pair"),
        (3, 10.0, -10.0, 0, "for three pairs at scale 10 and bias −10"),
        (5, 4.0, 0.5, 2, "for five pairs at scale 4 and bias 0.5"),
    ):
        a, b = (F.normalize(noise(n, 8, seed=seed + k), dim=-1) for k in (0, 1))
        s, total = a @ b.T, 0.0
        for i in range(n):
            for j in range(n):
                logit = scale * float(s[i, j]) + bias
                total += math.log1p(math.exp(-logit if i == j else logit))
        inputs = s, torch.tensor(math.log(scale)), torch.tensor(bias)
        cases.append(Case(inputs, torch.tensor(total / n, dtype=torch.float64), words))
    return cases


def _signed(s: Tensor, k: Tensor, bias: Tensor | float, wrong: float = -1.0) -> Tensor:
    """log σ of every question, (B, B), where the label of strangers is `wrong`."""
    labels = torch.full_like(s, wrong).fill_diagonal_(1.0)
    return F.logsigmoid(labels * (k.exp() * s + bias))


@exercise(
    cases=_sigmoid_cases,
    mistakes=[
        Mistake(
            lambda s, k, bias: -_signed(s, k, bias).mean(),
            "this is the mean over B² questions: the loss is their sum divided by B, one share per pair.",
        ),
        Mistake(lambda s, k, bias: -_signed(s, k, bias).sum(), "the sum must be divided by B."),
        Mistake(lambda s, k, bias: -_signed(s, k, 0.0).sum() / len(s) + 0 * bias, "the bias is missing."),
        Mistake(
            lambda s, k, bias: -_signed(s, k, bias, 0.0).sum() / len(s),
            "the label of strangers is −1, not 0: with 0 their logits vanish, and nothing pushes them apart.",
        ),
        Mistake(
            lambda s, k, bias: -_signed(s, k, bias, 1.0).sum() / len(s),
            "every pair was told that it belongs together: off the diagonal the label is −1.",
        ),
        Mistake(
            lambda s, k, bias: _signed(s, k, bias).sum() / len(s),
            "the sign: the loss is *minus* the logarithm of a probability.",
        ),
        Mistake(
            lambda s, k, bias: -_signed(s, k, bias).diagonal().mean(),
            "the diagonal alone: the strangers' questions count as well, with label −1.",
        ),
        Mistake(
            lambda s, k, bias: -_signed(s, k.log(), bias).sum() / len(s),
            "logit_scale is the *logarithm* of the scale: take .exp() before you multiply.",
        ),
    ],
    hint="labels are +1 on the diagonal and −1 elsewhere; sum −F.logsigmoid(labels * (scale * S + bias)), divide by B.",
    on_error={"must match the size": "labels are (B, B): 2 * torch.eye(B) - 1."},
    learned=("similarities", "logit_scale", "bias"),
    on_cpu=(),
)
def sigmoid_loss(similarities: Tensor, logit_scale: Tensor, bias: Tensor) -> Tensor:
    """Cosines (B, B), log of the scale, a tensor (), and a bias, a tensor () → the loss, a tensor ().

    Each of the B² pairs is a question of its own: do the two belong together? Zhai et al. 2023, algorithm 1.
    """
    labels = 2 * torch.eye(len(similarities), device=similarities.device) - 1
    return -F.logsigmoid(labels * (logit_scale.exp() * similarities + bias)).sum() / len(similarities)


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
