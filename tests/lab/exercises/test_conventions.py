"""Every check of notebook 00 accepts right answers, however written, and meets each wrong one with its hint."""

import re

import pytest
import torch

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.images import to_float
from course_utils.lab.exercises import conventions as zero
from course_utils.lab.exercises.checking import Exercise


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


def count(s, f, a, c, b, p):
    return s * f * ((a - 1) * c + 1) * b * p


def count_by_loops(s, f, a, c, b, p):
    return sum(1 for _ in range(s * f * b * p) for worn in range(a) for _ in range(c if worn else 1))


RIGHT = [
    (zero.to_model, lambda x: x.float() / 127.5 - 1),
    (zero.to_model, lambda x: 2 * (x / 255) - 1),
    (zero.to_model, lambda x: (x.double() - 127.5) / 127.5),
    (zero.to_model, to_float),
    (zero.count_plushies, count),
    (zero.count_plushies, count_by_loops),
    (zero.mix, lambda z, e, t: (1 - t) * z + t * e),
    (zero.mix, lambda z, e, t: z + t * (e - z)),
    (zero.mix, torch.lerp),
]
EXERCISES = [v for v in vars(zero).values() if isinstance(v, Exercise)]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answers_are_kept(exercise, answer, capsys):
    kept, said = verdict(exercise, answer, capsys)
    assert kept is answer, said
    assert said.startswith("✓")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_courses_own_version_is_right(exercise, capsys):
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")


WRONG = [
    (zero.to_model, lambda x: x / 255, r"this is \[0, 1\]"),
    (zero.to_model, lambda x: x.float() / 128 - 1, "half of 255, not of 256"),
    (zero.to_model, lambda x: (x - 1) / 127.5, "0 - 1 is 255"),
    (zero.to_model, lambda x: 1 - x / 127.5, "turned round"),
    (zero.to_model, lambda x: x / 255 * 2, "the shift is missing"),
    (zero.to_model, lambda x: x - 127.5, "the scale is missing"),
    (zero.count_plushies, lambda s, f, a, c, b, p: s * f * a * c * b * p, "nothing has no colour"),
    (zero.count_plushies, lambda s, f, a, c, b, p: s * f * (1 + a * c) * b * p, "counted twice"),
    (zero.count_plushies, lambda s, f, a, c, b, p: s * f * (a - 1) * c * b * p, "wear nothing are missing"),
    (zero.count_plushies, lambda *n: sum(n), "choices multiply"),
    (zero.mix, lambda z, e, t: t * z + (1 - t) * e, "t = 0 is data"),
    (zero.mix, lambda z, e, t: z + t * e, "its factor is 1 - t"),
    (zero.mix, lambda z, e, t: (1 - t) ** 0.5 * z + t**0.5 * e, "another path"),
    (zero.mix, lambda z, e, t: (z + e) / 2, "t must decide"),
]


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_wrong_answers_get_the_hint_meant_for_them(exercise, answer, hint, capsys):
    kept, said = verdict(exercise, answer, capsys)
    assert kept is exercise.course
    assert said.startswith("✗")
    assert re.search(hint, said), said


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_every_exercise_has_three_wrong_answers_here(exercise):
    assert sum(e is exercise for e, *_ in WRONG) >= 3


def test_the_count_is_the_data_sets():
    """6 · 6 · (1 + 4 · 4) · 5 · 4 different plushies."""
    sizes = [len(values) for values in ATTRIBUTES.values()]
    assert zero.count_plushies.course(*sizes) == 6 * 6 * 17 * 5 * 4
