"""Stop in a live training cell: what was learnt stays, the history so far is there, and the cells below go on."""

import math

import pytest
import torch
from torch import nn

from course_utils.lab.progress import Progress
from course_utils.training import recipes
from course_utils.training.loop import Part, fit
from course_utils.training.recipes import RECIPES


def problem(stop_at=None, where="loss"):
    """y = 3x − 1 from random draws, interrupted once: before a step, after it is done, or in the progress."""
    torch.manual_seed(0)
    model, calls = nn.Linear(1, 1), {"loss": 0, "after_step": 0, "progress": 0}

    def count(what):
        calls[what] += 1
        if what == where and calls[what] == stop_at:
            raise KeyboardInterrupt

    def loss(g):
        count("loss")
        x = torch.randn(32, 1, generator=g)
        value = (model(x) - (3 * x - 1)).square().mean()
        return value, {"loss": value.detach()}

    part = Part(model, loss, lr=0.1, ema=0.9, after_step=lambda: count("after_step"))
    return part, lambda *a, **k: count("progress")


@pytest.mark.parametrize(
    ("where", "stop_at", "done"),
    [("loss", 1, 1), ("after_step", 1, 1), ("loss", 35, 34), ("after_step", 35, 34), ("progress", 3, 30)],
)
def test_a_stopped_run_leaves_what_was_learnt_and_the_history_so_far(where, stop_at, done, capsys):
    part, progress = problem(stop_at, where)
    history = fit(part, steps=300, progress=progress)
    assert history.stopped == done
    assert history.steps[-1] == done
    assert len(history.values["loss"]) == len(history.steps)
    assert not part.module.training
    assert capsys.readouterr().out == f"stopped at step {done} of 300\n"


def test_a_stopped_run_has_the_averaged_weights():
    part, _ = problem(35)
    seen = []
    part.after_step = lambda: seen.append(part.module.weight.item())
    fit(part, steps=300)
    assert min(seen[-20:]) <= part.module.weight.item() <= max(seen[-20:])
    assert part.module.weight.item() != seen[-1]


def test_a_complete_run_was_not_stopped(capsys):
    part, _ = problem()
    assert fit(part, steps=3).stopped is None
    assert capsys.readouterr().out == ""


def test_an_interrupt_after_the_last_step_is_none():
    part, progress = problem(30, "progress")
    history = fit(part, steps=300, progress=progress)
    assert history.stopped is None
    assert history.steps == list(range(10, 301, 10))


def test_the_progress_says_it_in_its_own_line(capsys):
    part, _ = problem(35)
    fit(part, steps=300, progress=Progress("line"))
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "stopped" in line] == [said[-1]]
    assert said[-1].startswith("line: stopped at step 34 of 300")


def test_the_same_cell_again_says_that_it_goes_on(capsys):
    part, _ = problem(35)
    fit(part, steps=300)
    learnt = part.module.weight.item()
    capsys.readouterr()
    history = fit(part, steps=1)
    assert "goes on with weights of a run that was stopped at step 34" in capsys.readouterr().out
    assert history.stopped is None
    assert part.module.weight.item() == pytest.approx(learnt, abs=0.2)
    fit(part, steps=1)
    assert capsys.readouterr().out == "", "said once"


def test_a_second_interrupt_before_the_first_step_ends_the_cell():
    def never(g):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(Part(nn.Linear(1, 1), never), steps=3)


def test_with_a_state_an_interrupt_is_raised_on_because_the_run_can_go_on(tmp_path):
    whole, _ = problem()
    fit(whole, steps=30, state=tmp_path / "whole")
    part, _ = problem(25)
    with pytest.raises(KeyboardInterrupt):
        fit(part, steps=30, state=tmp_path / "run", save_every=10)
    again, _ = problem()
    fit(again, steps=30, state=tmp_path / "run", save_every=10)
    assert torch.equal(again.module.weight, whole.module.weight)


@pytest.mark.parametrize("name", ["judge", "kl_sweep", "clip"])
def test_a_recipe_that_is_stopped_still_gives_its_model_and_metrics(name):
    calls = []

    def stop(step, steps, logs, preview=None):
        calls.append(step)
        if len(calls) == 1:
            raise KeyboardInterrupt

    model, metrics = RECIPES[name](recipes.budget(name, "ci", steps=20, pictures=512, progress=stop))
    assert all(p.isfinite().all() for p in model.parameters())
    numbers = [v for value in metrics.values() for v in (value.values() if isinstance(value, dict) else [value])]
    assert all(math.isfinite(v) for v in numbers)
