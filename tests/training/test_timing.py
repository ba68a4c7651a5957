"""Steps for seconds: proportional to the time, and the model stays as it was."""

import time

import pytest
import torch
from torch import nn

from course_utils.training.loop import Part
from course_utils.training.timing import steps_within


def part_that_takes(seconds):
    module = nn.Linear(2, 1)

    def loss(generator):
        time.sleep(seconds)
        value = module(torch.randn(3, 2, generator=generator)).square().mean()
        return value, {}

    return Part(module, loss)


def test_steps_fill_the_time():
    assert steps_within(1.0, part_that_takes(0.02)) == pytest.approx(45, abs=15)
    assert steps_within(1e-6, part_that_takes(0.001)) == 1


def test_nothing_is_learnt():
    part = part_that_takes(0.0)
    before = part.module.weight.detach().clone()
    state = torch.get_rng_state()
    steps_within(0.1, part)
    assert torch.equal(part.module.weight, before)
    assert part.module.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_time_is_named():
    with pytest.raises(ValueError, match="seconds: got 0"):
        steps_within(0, part_that_takes(0.0))
