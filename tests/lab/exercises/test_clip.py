"""Every check of notebook 05 accepts right answers, however written, and meets each wrong one with the hint meant for it."""

import math

import pytest
import torch
import torch.nn.functional as F

from course_utils import losses
from course_utils.evaluation import metrics
from course_utils.lab.exercises import clip as five
from course_utils.lab.exercises.checking import Exercise


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


def unit(x, dim=-1):
    return x / x.norm(dim=dim, keepdim=True)


def both(s, k):
    logits = k.exp() * s
    own = torch.arange(len(s))
    return F.cross_entropy(logits, own), F.cross_entropy(logits.T, own)


# ---- right answers -----------------------------------------------------------------------------------------


def by_einsum(image_features, text_features):
    return torch.einsum("id,jd->ij", unit(image_features), unit(text_features))


def lengths_afterwards(a, b):
    return a @ b.T / (a.norm(dim=1)[:, None] * b.norm(dim=1)[None])


def loss_by_log_softmax(similarities, logit_scale):
    logits = similarities * torch.exp(logit_scale)
    rows, columns = logits.log_softmax(1).diagonal(), logits.log_softmax(0).diagonal()
    return -(rows + columns).mean() / 2


def loss_of_the_course(similarities, logit_scale):
    # Unit vectors are not needed: with the identity as texts, the product is the matrix itself.
    return losses.contrastive(similarities, torch.eye(len(similarities)), logit_scale)


def loss_of_the_library(similarities, logit_scale):
    from open_clip import ClipLoss

    return ClipLoss()(similarities, torch.eye(len(similarities)), logit_scale.exp())


def recall_in_a_loop(similarities, captions):
    right = 0
    for i, row in enumerate(similarities):
        right += captions[int(row.argmax())] == captions[i]
    return right / len(captions)


def recall_of_the_course(similarities, captions):
    # Pictures that are their similarities to texts along the axes; lengths of rows do not change who is nearest.
    return metrics.recall_at_1(similarities, torch.eye(len(captions)), captions)


RIGHT = [
    (five.similarity, lambda a, b: F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T),
    (five.similarity, by_einsum),
    (five.similarity, lengths_afterwards),
    (five.similarity, lambda a, b: F.cosine_similarity(a[:, None], b[None], dim=-1)),
    (five.contrastive_loss, lambda s, k: sum(both(s, k)) / 2),
    (five.contrastive_loss, loss_by_log_softmax),
    (five.contrastive_loss, loss_of_the_course),
    (five.contrastive_loss, loss_of_the_library),
    (five.clamped, lambda k: k.clamp(0, math.log(100))),
    (five.clamped, lambda k: k.exp().clamp(1, 100).log()),
    (five.clamped, lambda k: torch.clamp(k, min=0.0, max=4.605170185988092)),
    (five.recall_at_1, recall_in_a_loop),
    (five.recall_at_1, recall_of_the_course),
    (five.recall_at_1, lambda s, c: torch.tensor(recall_in_a_loop(s, c))),
    (five.class_vectors, lambda p: F.normalize(p.mean(1), dim=-1)),
    (five.class_vectors, lambda p: unit(p.sum(dim=1))),
    (five.class_vectors, lambda p: torch.stack([unit(texts.mean(0)) for texts in p])),
]
EXERCISES = [v for v in vars(five).values() if isinstance(v, Exercise)]


@pytest.mark.parametrize(("exercise", "function"), RIGHT)
def test_right_answers_are_used_from_there_on(exercise, function, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is function, said
    assert said == f"✓ {exercise.name}: right. From here on the notebook uses your function.\n"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_courses_own_version_is_right(exercise, capsys):
    before = torch.get_rng_state()
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")
    assert torch.equal(before, torch.get_rng_state()), "a check leaves no trace"


# ---- wrong answers -----------------------------------------------------------------------------------------


def cosines(a, b):
    return unit(a) @ unit(b).T


def one_hot(s, k):
    return F.cross_entropy(k.exp() * s, torch.eye(len(s)).long())


def detached_scale(s, k):
    return sum(both(s, k.detach())) / 2


def as_a_number(s, k):
    return torch.tensor((sum(both(s, k)) / 2).item())


def zeros(s):
    return torch.zeros(len(s), dtype=torch.long)


def summed(s, k):
    logits, own = k.exp() * s, torch.arange(len(s))
    return sum(F.cross_entropy(m, own, reduction="sum") for m in (logits, logits.T)) / 2


def share(s, c, dim=1):
    return sum(c[j] == c[i] for i, j in enumerate(s.argmax(dim).tolist())) / len(c)


WRONG = [
    (five.similarity, lambda a, b: a @ b.T, "keep their own lengths"),
    (five.similarity, lambda a, b: unit(a, 0) @ unit(b, 0).T, "along the batch"),
    (five.similarity, lambda a, b: unit(a) @ b.T, "only the pictures"),
    (five.similarity, lambda a, b: a @ unit(b).T, "only the texts"),
    (five.similarity, lambda a, b: (a / a.norm()) @ (b / b.norm()).T, "of the whole matrix"),
    (five.similarity, lambda a, b: cosines(b, a), "expected shape (2, 3), got (3, 2)"),
    (five.similarity, lambda a, b: unit(a) @ unit(b), "transpose the second"),
    (five.similarity, lambda a, b: cosines(a, b).softmax(-1), "the loss brings it"),
    (five.similarity, lambda a, b: (a / a.norm(dim=-1)) @ b.T, "keep the axis"),
    (five.similarity, lambda a, b: 2 * cosines(a, b), "one matrix product gives all cosines"),
    (five.contrastive_loss, lambda s, k: both(s, k)[0], "one direction, pictures choosing texts"),
    (five.contrastive_loss, lambda s, k: both(s, k)[1], "one direction, texts choosing pictures"),
    (five.contrastive_loss, lambda s, k: sum(both(s, k)), "the ½ is missing"),
    (five.contrastive_loss, lambda s, k: sum(both(s, 0 * k)) / 2, "the scale is missing"),
    (five.contrastive_loss, lambda s, k: sum(both(s, k.log())) / 2, "the *logarithm* of the scale"),
    (five.contrastive_loss, lambda s, k: sum(both(s, -k)) / 2, "divided where it must be multiplied"),
    (five.contrastive_loss, lambda s, k: -(k.exp() * s).diagonal().mean(), "the diagonal alone"),
    (five.contrastive_loss, summed, "summed over the batch"),
    (
        five.contrastive_loss,
        lambda s, k: F.cross_entropy((k.exp() * s).softmax(1), torch.arange(len(s))),
        "the softmax itself",
    ),
    (
        five.contrastive_loss,
        lambda s, k: (F.cross_entropy(k.exp() * s, zeros(s)) + F.cross_entropy((k.exp() * s).T, zeros(s))) / 2,
        "choose number 0",
    ),
    (five.contrastive_loss, one_hot, "class *numbers*"),
    (five.contrastive_loss, detached_scale, "no gradient reaches logit_scale"),
    (five.contrastive_loss, as_a_number, "no gradient reaches similarities"),
    (five.contrastive_loss, lambda s, k: s.mul_(k.exp()).mean(), "in place"),
    (five.clamped, lambda k: k.clamp(0, 100), "bounds the *logarithm* by 100"),
    (five.clamped, lambda k: k.clamp(1, 100), "bounds of the scale itself"),
    (five.clamped, lambda k: k.clamp(max=math.log(100)), "the lower bound is missing"),
    (five.clamped, lambda k: k.clamp(min=0), "the upper bound is missing"),
    (five.clamped, lambda k: k.exp().clamp(1, 100), "this returns the scale"),
    (five.clamped, lambda k: k.clamp(0, 2), "the natural one"),
    (five.clamped, lambda k: k, "nothing was bounded"),
    (five.clamped, lambda k: k.clamp_(0, math.log(100)), "in place"),
    (
        five.recall_at_1,
        lambda s, c: (s.argmax(1) == torch.arange(len(s))).float().mean(),
        "two pictures may share a caption",
    ),
    (five.recall_at_1, lambda s, c: share(s, c, dim=0), "down the columns"),
    (five.recall_at_1, lambda s, c: share(s, c) * len(c), "divide by the number of pictures"),
    (five.recall_at_1, lambda s, c: 1 - share(s, c), "the share of wrong ones"),
    (five.recall_at_1, lambda s, c: share(-s, c), "the *least* similar"),
    (five.recall_at_1, lambda s, c: c[s.argmax(1)] == c, "plain integers"),
    (five.class_vectors, lambda p: p.mean(1), "shorter than 1"),
    (five.class_vectors, lambda p: p.sum(1), "the sum is not a unit vector"),
    (five.class_vectors, lambda p: unit(p.mean(0)), "averaged over the classes"),
    (five.class_vectors, lambda p: unit(p.mean(2)), "averaged over the numbers"),
    (five.class_vectors, lambda p: F.normalize(p.mean(1), dim=0), "normalised down the classes"),
    (five.class_vectors, lambda p: p[:, 0], "the first text of each class alone"),
    (five.class_vectors, lambda p: p.mean(1).softmax(-1), "no softmax here"),
    (five.class_vectors, lambda p: unit(p.amax(1)), "the largest number"),
    (five.class_vectors, lambda p: unit(p.median(1).values), "then F.normalize"),
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
