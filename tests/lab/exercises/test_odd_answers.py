"""No answer, however odd, stops a check or gets past one."""

from __future__ import annotations

import pytest
import torch

from course_utils.lab.exercises.checking import WRONG
from tests.lab.exercises.odd_answers import ODD
from tests.lab.exercises.test_exercises import EXERCISES

every_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)


@every_exercise
@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_gets_its_verdict(exercise, name):
    """By `judge`, which has no safety net: what a check itself cannot take would be raised here."""
    before = torch.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype()
    verdict = exercise.judge(ODD[name])
    after = torch.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert verdict.kind == WRONG, verdict.lines
    assert all(line.isprintable() and len(line) < 500 for line in verdict.lines)
