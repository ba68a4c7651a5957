"""Steps for seconds: proportional to the time, and the model stays as it was."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from course_utils.training import timing
from course_utils.training.loop import Part


@pytest.fixture
def part_that_takes(monkeypatch):
    """A part whose loss takes the given seconds, in turn, on a clock that nothing else moves."""
    now = 0.0
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now))

    def make(*seconds):
        module, spent = nn.Linear(2, 1), itertools.cycle(seconds)

        def loss(generator):
            nonlocal now
            now += next(spent)
            return module(torch.randn(3, 2, generator=generator)).square().mean(), {}

        return Part(module, loss)

    return make


def test_steps_fill_the_time(part_that_takes):
    assert timing.steps_within(1.0, part_that_takes(0.25)) == 4
    assert timing.steps_within(1e-6, part_that_takes(0.25)) == 1


def test_two_batches_warm_up(part_that_takes):
    part = part_that_takes(8.0, 9.0, 0.25, 0.5, 0.75, 0.25, 0.5, 0.75)
    assert timing.steps_within(10.0, part) == 20


def test_nothing_is_learnt(part_that_takes):
    part = part_that_takes(0.25)
    before = part.module.weight.detach().clone()
    state = torch.get_rng_state()
    timing.steps_within(0.1, part)
    assert torch.equal(part.module.weight, before)
    assert part.module.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_time_is_named(part_that_takes):
    with pytest.raises(ValueError, match="seconds: got 0"):
        timing.steps_within(0, part_that_takes(0.25))
