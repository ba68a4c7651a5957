"""Runs that stop and go on: equal to unbroken ones bit for bit, whenever they are stopped."""

import errno
import json
import math
import os
import pickle
import random
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from course_utils import files, sealed
from course_utils.training import state
from course_utils.training.loop import Part, fit
from course_utils.training.processes import TrainingError, processes


class Stop(Exception):
    """In the place of a kill."""


def parts(width=8, lr=0.01):
    """Two modules that take turns, with averages, dropout, and the memory layout of the course's convolutions."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Dropout(0.3), nn.Conv2d(width, 1, 3))
    first.to(memory_format=torch.channels_last)
    second = nn.Linear(4, 2)

    def loss(g):
        return (first(torch.randn(4, 3, 8, 8, generator=g)) - 1).square().mean(), {}

    def other(g):
        return (second(torch.randn(8, 4, generator=g)) - 1).square().mean(), {}

    return [Part(first, loss, lr=lr, ema=0.9), Part(second, other, lr=0.1, ema=0.5, start=3)]


def outcome(some):
    return [v.clone() for part in some for v in part.module.state_dict().values()]


def stop_at(wanted):
    def progress(step, steps, logs, preview=None):
        if step == wanted:
            raise Stop

    return progress


def train(state=None, stop=None, width=8, steps=12, seed=1, lr=0.01, made_of=None):
    """The parts after a run, and the history's steps; None if it was stopped."""
    some = parts(width, lr)
    torch.manual_seed(seed)  # dropout follows the global generator
    how = {"state": state, "made_of": made_of, "save_every": 4, "log_every": 1, "progress": stop_at(stop)}
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


def steps_kept(folder):
    return [step for step, _ in state.saves(folder)]


def newest(folder):
    return state.saves(folder)[-1][1]


@pytest.mark.parametrize("stop", [3, 6, 11])
def test_a_run_that_stops_and_goes_on_ends_where_an_unbroken_one_does(tmp_path, whole, stop):
    run = tmp_path / "run"
    train(run, stop)
    kept = stop // 4 * 4
    assert steps_kept(run) == list(range(4, stop + 1, 4))
    # Only before the first save does the seed count again.
    found, steps = train(run, seed=2 if kept else 1)
    assert steps == list(range(1, 13)), "the history is that of the whole run"
    assert equal(found, whole)


def test_a_complete_run_stays_until_its_result_is_safe(tmp_path, whole):
    run = tmp_path / "run"
    train(run)
    assert steps_kept(run) == [8, 12], "the newest two"
    found, steps = train(run, seed=2)
    assert equal(found, whole)
    assert len(steps) == 12
    state.remove(run)
    assert not run.exists()


@pytest.mark.parametrize("save", [1, 2, 3])
@pytest.mark.parametrize("where", [(files, "_write"), (os, "replace")], ids=["written", "named"])
def test_a_run_that_fails_while_it_saves_has_its_previous_state(tmp_path, whole, monkeypatch, save, where):
    """Stopped when the bytes are written, or when the file does not have its name yet."""
    run, real, calls = tmp_path / "run", getattr(*where), []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == save:
            raise Stop
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(*where, killed)
        assert train(run) is None
    assert steps_kept(run) == [4 * n for n in range(1, save)]
    assert equal(train(run, seed=2 if save > 1 else 1)[0], whole)
    assert not list(run.glob(".*"))


def test_what_a_user_keeps_in_the_folder_stays(tmp_path):
    run = tmp_path / "run"
    train(run)
    (run / "notes.txt").write_text("mine")
    state.remove(run)
    assert [path.name for path in run.iterdir()] == ["notes.txt"]


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("run-by-a-pickle",)


def flip(path, bit):
    raw = bytearray(path.read_bytes())
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    path.write_bytes(raw)


def rewritten(path, tensors, about):
    """A file with another content under its right digest, as only a deliberate hand makes it."""
    path.write_bytes(sealed.pack(tensors, {"about": json.dumps(about)}))


def edit(**changes):
    """Change a tensor by its name, with `_` for a dot (None removes it), or what the header says."""

    def change(path):
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
        for name, value in changes.items():
            key = name.replace("__", ".")
            if name in about:
                about[name] = value
            elif value is None:
                del tensors[key]
            else:
                tensors[key] = value(tensors[key]) if key in tensors else value(None)
        rewritten(path, tensors, about)

    return change


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut to nothing": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pickle": lambda path: torch.save(Malicious(), path, pickle_module=pickle),
    "another name": lambda path: path.rename(path.with_name(path.name.replace("8-of", "9-of"))),
    "a step below 0": edit(step=-8),
    "a step that is text": edit(step="eight"),
    "no history": edit(history=None),
    "a missing moment": edit(optimizer__0__0__exp_avg=None),
    "a missing weight": edit(module__0__0__weight=None),
    "a foreign tensor": edit(module__7__weight=lambda _: torch.zeros(2)),
    "NaN": edit(optimizer__0__0__exp_avg_sq=lambda v: v * math.nan),
    "infinity": edit(module__0__0__weight=lambda v: v / 0),
    "another type": edit(module__0__0__weight=lambda v: v.double()),
    "another shape": edit(random__cpu=lambda v: v[:, 1:]),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_state_is_named_and_set_aside_and_the_one_before_is_used(
    tmp_path, monkeypatch, capsys, whole, change
):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    train(run, stop=9)
    capsys.readouterr()
    change(newest(run))
    found, _ = train(run, seed=2)
    assert equal(found, whole)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(str(run))
    assert "it is set aside" in said[0]
    assert said[1] == "goes on from step 4 of 12"
    assert len(list(run.glob("*aside*"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing was run"


def test_of_400_flipped_bits_none_is_loaded(tmp_path, capsys):
    run = tmp_path / "run"
    train(run, stop=9)
    some = parts()
    unread = state.RunState(
        run, processes(), [part.module for part in some], [], torch.Generator(), 12, {"of": "another run"}
    )
    path, draws = newest(run), random.Random(0)
    whole = path.read_bytes()
    for _ in range(400):
        flip(path, draws.randrange(8 * len(whole)))
        with pytest.raises(state._Unfit, match="is damaged"):
            unread._read(path)
        path.write_bytes(whole)
    with pytest.raises(state._Unfit, match="is of another run"):
        unread._read(path)


def test_a_run_whose_states_are_all_damaged_starts_anew_and_keeps_a_few(tmp_path, capsys, whole):
    run = tmp_path / "run"
    for bit in range(3):
        train(run, stop=9)
        for _, path in state.saves(run):
            flip(path, bit)
    found, steps = train(run)
    assert equal(found, whole)
    assert steps[0] == 1
    assert len(list(run.glob("*aside*"))) == state.SET_ASIDE


def test_until_a_state_is_known_to_fit_nothing_changes(tmp_path, whole):
    run = tmp_path / "run"
    train(run, stop=6)
    edit(random__generator=lambda v: v.float() * math.nan)(newest(run))  # the last tensor that is looked at
    assert equal(train(run)[0], whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 20}, "steps: 12 there, 20 here"),
        ({"width": 4}, r"module.0.0.bias: \[8\] there, \[4\] here"),
        ({"made_of": {"vae": "abc"}}, "vae: none there, abc here"),
        ({"lr": 0.02}, "part 0: lr 0.01"),
    ],
)
def test_the_state_of_another_run_is_set_aside(tmp_path, capsys, change, said):
    run = tmp_path / "run"
    train(run, stop=6)
    capsys.readouterr()
    unbroken = train(**change)
    found = train(run, **change)
    assert re.search(rf"is of another run \({said}|does not fit this run \({said}", capsys.readouterr().out)
    assert equal(found[0], unbroken[0])


def test_the_state_of_two_processes_is_not_gone_on_from_in_one(tmp_path, capsys):
    run = tmp_path / "run"
    train(run, stop=6)
    capsys.readouterr()
    with safe_open(newest(run), "pt") as file:
        made_of = json.loads(file.metadata()["about"])["made_of"]
    edit(made_of=made_of | {"processes": "2"}, random__cpu=lambda v: v.repeat(2, 1))(newest(run))
    assert train(run)[1][0] == 1
    assert "processes: 2 there, 1 here" in capsys.readouterr().out


def test_a_full_disk_stops_the_run_and_says_what_is_kept(tmp_path, monkeypatch, whole):
    run, write, calls = tmp_path / "run", files._write, []

    def full(path, raw):
        calls.append(path)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, raw)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write", full)
        with pytest.raises(TrainingError, match=r"step 8 could not be saved .*No space left.*step 4 is kept"):
            train(run)
    assert steps_kept(run) == [4]
    assert equal(train(run, seed=2)[0], whole)


def test_nothing_that_is_not_finite_is_saved(tmp_path):
    run = tmp_path / "run"

    def spoil():
        if steps_kept(run) == [4]:
            with torch.no_grad():
                some[1].module.bias.fill_(math.inf)

    some = parts()
    some[1].after_step = spoil
    some[1].start = 0
    with pytest.raises(FloatingPointError, match="training went wrong"):
        fit(some, steps=12, state=run, save_every=4)
    assert steps_kept(run) == [4]


def test_a_file_is_not_a_folder(tmp_path):
    file = tmp_path / "run.safetensors"
    file.touch()
    with pytest.raises(ValueError, match=f"state: got {file}, a file; expected a folder"):
        train(file)
