"""Runs that stop and go on: equal to unbroken ones bit for bit, whenever they are stopped."""

import os
import pickle

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from course_utils.training.loop import Part, fit


class Stop(Exception):
    """In the place of a kill."""


def parts(width=8):
    """Two modules that take turns, with averages, dropout, and the memory layout of the course's convolutions."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Dropout(0.3), nn.Conv2d(width, 1, 3))
    first.to(memory_format=torch.channels_last)
    second = nn.Linear(4, 2)

    def loss(g):
        return (first(torch.randn(4, 3, 8, 8, generator=g)) - 1).square().mean(), {}

    def other(g):
        return (second(torch.randn(8, 4, generator=g)) - 1).square().mean(), {}

    return [Part(first, loss, lr=0.01, ema=0.9), Part(second, other, lr=0.1, ema=0.5, start=3)]


def outcome(some):
    return [v.clone() for part in some for v in part.module.state_dict().values()]


def stop_at(wanted):
    def progress(step, steps, logs, preview=None):
        if step == wanted:
            raise Stop

    return progress


def train(state=None, stop=None, width=8, steps=12, seed=1):
    """The parts after a run; None if it was stopped."""
    some = parts(width)
    torch.manual_seed(seed)  # dropout follows the global generator
    how = {"state": state, "save_every": 4, "log_every": 1, "progress": stop_at(stop)}
    try:
        history = fit(some, steps=steps, **how)
    except Stop:
        return None
    return outcome(some), history.steps


def equal(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def whole():
    return train()[0]


@pytest.mark.parametrize("stop", [3, 6, 11])
def test_a_run_that_stops_and_goes_on_ends_where_an_unbroken_one_does(tmp_path, whole, stop):
    state = tmp_path / "run"
    train(state, stop)
    kept = stop // 4 * 4
    assert sorted(path.name for path in state.glob("*")) == ([f"{kept}-of-12"] if kept else [])
    # Only before the first save does the seed count again.
    found, steps = train(state, seed=2 if kept else 1)
    assert steps[0] == kept + 1
    assert equal(found, whole)
    assert not state.exists()


@pytest.mark.parametrize("step", [4, 8])
@pytest.mark.parametrize("after", [False, True])
def test_a_run_that_is_killed_while_it_saves_has_its_previous_state(tmp_path, whole, monkeypatch, step, after):
    """Killed when half of the files are written, or when all are and the folder does not have its name yet."""
    state, saved, save = tmp_path / "run", [], Accelerator.save_state

    def killed(self, output_dir, **options):
        saved.append(output_dir)
        if len(saved) < step // 4:
            return save(self, output_dir, **options)
        save(self, output_dir, **options)
        if not after:
            os.remove(f"{output_dir}/optimizer.bin")
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Accelerator, "save_state", killed)
        assert train(state) is None
    found, steps = train(state, seed=2 if step > 4 else 1)
    assert steps[0] == step - 3
    assert equal(found, whole)
    assert not state.exists()


def test_what_a_user_keeps_in_the_folder_stays(tmp_path):
    state = tmp_path / "run"
    train(state, stop=6)
    (state / "notes.txt").write_text("mine")
    train(state)
    assert [path.name for path in state.iterdir()] == ["notes.txt"]


def damage(path):
    path.write_bytes(path.read_bytes()[:100])


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("run-by-a-pickle",)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: damage(folder / "model.safetensors"),
        lambda folder: damage(folder / "optimizer.bin"),
        lambda folder: (folder / "optimizer_1.bin").unlink(),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: torch.save(Malicious(), folder / "optimizer.bin", pickle_module=pickle),
    ],
)
def test_a_damaged_state_is_named_and_runs_nothing(tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    train("run", stop=6)
    change(tmp_path / "run" / "4-of-12")
    with pytest.raises(ValueError, match="state: got run, which does not fit this run"):
        train("run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_state_of_another_run_is_refused(tmp_path):
    state = tmp_path / "run"
    train(state, stop=6)
    with pytest.raises(ValueError, match=f"state: got {state}, of a run of 12 steps; expected one of 20"):
        train(state, steps=20)
    with pytest.raises(ValueError, match=f"state: got {state}, which does not fit this run"):
        train(state, width=4)
    # As two processes would have kept it.
    kept = load_file(state / "4-of-12" / "model.safetensors")
    save_file(kept | {"generators": kept["generators"].repeat(2, 1)}, state / "4-of-12" / "model.safetensors")
    with pytest.raises(ValueError, match="the same number of processes"):
        train(state)


def test_a_file_is_not_a_folder(tmp_path):
    file = tmp_path / "run.safetensors"
    file.touch()
    with pytest.raises(ValueError, match=f"state: got {file}, a file; expected a folder"):
        train(file)
