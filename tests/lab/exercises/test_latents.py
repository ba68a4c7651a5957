"""Every check of notebook 01 accepts right answers, however written, and meets each wrong one with its hint."""

import re

import pytest
import torch

from course_utils.lab.exercises import latents as one
from course_utils.lab.exercises.checking import Exercise


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


def pearson(x):
    return torch.corrcoef(torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()]))[0, 1]


def pearson_by_hand(x):
    a, b = x[..., :-1].flatten(), x[..., 1:].flatten()
    return ((a - a.mean()) * (b - b.mean())).mean() / (a.std(unbiased=False) * b.std(unbiased=False))


def needed(energy, share):
    return int((energy.sort(descending=True).values.cumsum(0) / energy.sum() < share).sum()) + 1


def needed_by_loop(energy, share):
    total, values = 0.0, sorted((float(e) for e in energy), reverse=True)
    for count, value in enumerate(values, start=1):
        total += value
        if total >= share * sum(values):
            return count


RIGHT = [
    (one.savings, lambda h, w, f, c: 3 * h * w / ((h // f) * (w // f) * c)),
    (one.savings, lambda h, w, f, c: 3 * f**2 / c),
    (one.neighbours, pearson),
    (one.neighbours, pearson_by_hand),
    (one.needed, needed),
    (one.needed, needed_by_loop),
    (one.halfway, lambda e, d, a, b: d((e(a) + e(b)) / 2)),
    (one.halfway, lambda e, d, a, b: d(torch.lerp(e(a), e(b), 0.5))),
]
EXERCISES = [v for v in vars(one).values() if isinstance(v, Exercise)]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answers_are_kept(exercise, answer, capsys):
    kept, said = verdict(exercise, answer, capsys)
    assert kept is answer, said
    assert said.startswith("✓")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_courses_own_version_is_right(exercise, capsys):
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")


WRONG = [
    (one.savings, lambda h, w, f, c: h * w / ((h / f) * (w / f) * c), "a pixel has three numbers"),
    (one.savings, lambda h, w, f, c: 3 * f / c, "it counts twice"),
    (one.savings, lambda h, w, f, c: f * f, "places against places"),
    (one.savings, lambda h, w, f, c: c / (3 * f * f), "upside down"),
    (one.savings, lambda h, w, f, c: 3 * f * f * c, "divide by them"),
    (one.neighbours, lambda x: (x[..., :-1] * x[..., 1:]).mean() / (x**2).mean(), "means were not subtracted"),
    (one.neighbours, lambda x: torch.cov(torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()]))[0, 1], "this is the covariance"),
    (one.neighbours, lambda x: pearson(x.transpose(-1, -2)), "neighbours \\*below\\*"),
    (one.neighbours, lambda x: torch.corrcoef(torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()])), "one of its corners"),
    (one.needed, lambda e, s: int((e.cumsum(0) / e.sum() < s).sum()) + 1, "the \\*largest\\* first"),
    (one.needed, lambda e, s: int((e.sort().values.cumsum(0) / e.sum() < s).sum()) + 1, "wrong way round"),
    (one.needed, lambda e, s: needed(e, s) - 1, "one too few"),
    (one.needed, lambda e, s: int((e.sort(descending=True).values.cumsum(0) < s).sum()) + 1, "of the whole"),
    (one.halfway, lambda e, d, a, b: (d(e(a)) + d(e(b))) / 2, "after decoding"),
    (one.halfway, lambda e, d, a, b: (a + b) / 2, "encode first"),
    (one.halfway, lambda e, d, a, b: d(e((a + b) / 2)), "before encoding"),
    (one.halfway, lambda e, d, a, b: d(e(a) + e(b)), "a sum is not a mean"),
    (one.halfway, lambda e, d, a, b: (e(a) + e(b)) / 2, "still a latent"),
]  # fmt: skip


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_wrong_answers_get_the_hint_meant_for_them(exercise, answer, hint, capsys):
    kept, said = verdict(exercise, answer, capsys)
    assert kept is exercise.course
    assert said.startswith("✗")
    assert re.search(hint, said), said


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_every_exercise_has_three_wrong_answers_here(exercise):
    assert sum(e is exercise for e, *_ in WRONG) >= 3
