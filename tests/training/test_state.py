"""Runs that stop and go on: equal to unbroken ones bit for bit, whenever they are stopped."""

import errno
import json
import math
import os
import pickle
import random
import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from accelerate import Accelerator, checkpointing
from accelerate.utils import load, other
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from course_utils import files, sealed
from course_utils.training import seals, state
from course_utils.training.loop import Part, fit
from course_utils.training.processes import TrainingError


class Stop(BaseException):
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


MOMENTS = {  # of a save: what is called, and how often until then
    "begun": (Accelerator, "save_state", 1),
    "weights written": (torch, "save", 1),
    "half of the moments written": (torch, "save", 2),
    "moments written": (torch, "save", 3),
    "not sealed": (files, "_write", 2),
    "without a name": (Path, "replace", 1),
}


@pytest.mark.parametrize("save", [1, 2, 3])
@pytest.mark.parametrize("when", MOMENTS.values(), ids=list(MOMENTS))
def test_a_run_that_is_killed_while_it_saves_has_its_previous_state(tmp_path, whole, monkeypatch, save, when):
    owner, name, times = when
    in_all = {"save": 3, "_write": 2}.get(name, 1)
    run, real, calls = tmp_path / "run", getattr(owner, name), []

    def killed(*arguments, **options):
        calls.append(arguments)
        if len(calls) == in_all * (save - 1) + times:
            raise Stop
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        assert train(run) is None
    assert steps_kept(run) == [4 * n for n in range(1, save)]
    assert equal(train(run, seed=2 if save > 1 else 1)[0], whole)
    assert steps_kept(run) == [8, 12]
    assert len(list(run.iterdir())) == 2, "what the kill left is gone"


def test_a_run_that_is_killed_while_it_removes_its_saves_has_the_newest_or_none(tmp_path, whole, monkeypatch):
    run, kept, rename = tmp_path / "run", [], Path.rename
    train(run)
    monkeypatch.setattr(Path, "rename", lambda old, new: (kept.append(steps_kept(run)), rename(old, new))[1])
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **k: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        state.remove(run)
    assert kept == [[8, 12], [12]]
    assert steps_kept(run) == [], "no half of a save has a name"
    monkeypatch.undo()
    state.remove(run)
    assert not run.exists()


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
    """Of the bits of all files of a save."""
    for file in sorted(path.iterdir()):
        raw = bytearray(file.read_bytes())
        if bit < 8 * len(raw):
            raw[bit // 8] ^= 1 << bit % 8
            file.write_bytes(raw)
            return
        bit -= 8 * len(raw)


def about(path):
    return json.loads(sealed.words((path / seals.SEAL).read_bytes())["about"])


def seal_again(path, rows=None, **changes):
    """Another content under its right seal, as only a deliberate hand makes it."""
    rows = sealed.tensors((path / seals.SEAL).read_bytes()) if rows is None else rows
    said = about(path) | {"files": seals.digests(path)} | changes
    (path / seals.SEAL).write_bytes(sealed.pack(rows, {"about": json.dumps(said)}))


def weights(name, change):
    """Change a weight (None removes it)."""

    def forge(path):
        tensors = load_file(path / "model.safetensors")
        tensors[name] = change(tensors.get(name))
        save_file({k: v for k, v in tensors.items() if v is not None}, path / "model.safetensors")
        seal_again(path)

    return forge


def optimizer(change):
    """Change what the first optimizer keeps."""

    def forge(path):
        kept = load(path / "optimizer.bin")
        change(kept)
        torch.save(kept, path / "optimizer.bin")
        seal_again(path)

    return forge


def rows(name, change):
    """Change the random numbers of the processes."""

    def forge(path):
        kept = sealed.tensors((path / seals.SEAL).read_bytes())
        seal_again(path, kept | {name: change(kept[name])})

    return forge


def put(name, content, sealed_again=True):
    """A file in the place of another, or beside it."""

    def forge(path):
        content(path / name)
        if sealed_again:
            seal_again(path)

    return forge


def pickled(path):
    torch.save(Malicious(), path, pickle_module=pickle)


def moment(name, change):
    return optimizer(lambda kept: kept["state"][0].update({name: change(kept["state"][0][name])}))


def cut(name, end):
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:end])


DAMAGE = {
    "cut weights": cut("model.safetensors", -1),
    "cut moments": cut("optimizer_1.bin", -1),
    "a cut seal": cut(seals.SEAL, -1),
    "an empty seal": cut(seals.SEAL, 0),
    "no seal": lambda path: (path / seals.SEAL).unlink(),
    "no moments": lambda path: (path / "optimizer.bin").unlink(),
    "longer": lambda path: (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes() + b"0"),
    "a file more": lambda path: (path / "custom_checkpoint_0.pkl").touch(),
    "a folder in the place of a file": lambda path: (
        (path / "optimizer.bin").unlink(),
        (path / "optimizer.bin").mkdir(),
    ),
    "a file in the place of the folder": lambda path: (shutil.rmtree(path), path.touch()),
    "empty": lambda path: (shutil.rmtree(path), path.mkdir()),
    "files of the save before": lambda path: shutil.copy(path.with_name("4-of-12") / "optimizer.bin", path),
    "the save before": lambda path: (shutil.rmtree(path), shutil.copytree(path.with_name("4-of-12"), path)),
    "a pickle": put("optimizer.bin", pickled, sealed_again=False),
    "a sealed pickle for moments": put("optimizer.bin", pickled),
    "a sealed pickle for weights": put("model.safetensors", pickled),
    "a sealed pickle for other weights": lambda path: (
        (path / "model.safetensors").unlink(),
        put("pytorch_model.bin", pickled)(path),
    ),
    "a sealed pickle beside them": put("custom_checkpoint_0.pkl", pickled),
    "sealed without moments": lambda path: ((path / "optimizer_1.bin").unlink(), seal_again(path)),
    "another name": lambda path: path.rename(path.with_name("9-of-12")),
    "a step below 0": lambda path: seal_again(path, step=-8),
    "a step that is text": lambda path: seal_again(path, step="eight"),
    "no history": lambda path: seal_again(path, history=None),
    "no list of files": lambda path: seal_again(path, files=8),
    "a seal that says nothing": lambda path: (path / seals.SEAL).write_bytes(sealed.pack({}, {})),
    "a missing moment": optimizer(lambda kept: kept["state"][0].pop("exp_avg")),
    "a foreign moment": optimizer(lambda kept: kept["state"].update({99: kept["state"][0]})),
    "moments of another shape": moment("exp_avg", lambda v: v[:1]),
    "a moment that is a number": moment("exp_avg", lambda v: 1.0),
    "moments that are a list": put("optimizer.bin", lambda path: torch.save([1, 2], path)),
    "NaN in a moment": moment("exp_avg_sq", lambda v: v * math.nan),
    "a missing weight": weights("0.0.weight", lambda v: None),
    "a foreign weight": weights("7.weight", lambda v: torch.zeros(2)),
    "infinity": weights("0.0.weight", lambda v: v / 0),
    "NaN in an average": weights("2.0.bias", lambda v: v * math.nan),
    "a weight of another type": weights("0.0.weight", lambda v: v.double()),
    "a weight of another shape": weights("0.0.weight", lambda v: v[1:]),
    "random numbers of another shape": rows("cpu", lambda v: v[:, 1:]),
    "random numbers of another type": rows("generator", lambda v: v.float() * math.nan),
    "random numbers that are none": rows("generator", lambda v: v * 0 + 255),
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
    assert re.fullmatch(rf"{run}/\d-of-12 is set aside, as \d-of-12.aside-1: .+", said[0])
    assert said[1:] == ["goes on from step 4 of 12"]
    assert len(list(run.glob("*aside*"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing was run"


def test_random_numbers_do_not_come_from_a_pickle(tmp_path, monkeypatch, whole):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    train(run, stop=9)
    put("random_states_0.pkl", pickled)(newest(run))
    assert equal(train(run, seed=2)[0], whole)
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing was run"


def test_settings_are_those_of_the_run_and_not_of_the_file(tmp_path, whole):
    run = tmp_path / "run"
    train(run, stop=9)
    optimizer(lambda kept: [group.update(betas="none", weight_decay=math.nan) for group in kept["param_groups"]])(
        newest(run)
    )
    assert equal(train(run, seed=2)[0], whole)


def test_of_400_flipped_bits_none_is_loaded(tmp_path):
    run = tmp_path / "run"
    train(run, stop=9)
    path, draws = newest(run), random.Random(0)
    bits = 8 * sum(file.stat().st_size for file in path.iterdir())
    seal = range(bits - 8 * (path / seals.SEAL).stat().st_size, bits)  # the last file
    for n in range(400):
        bit = draws.choice(seal) if n % 2 else draws.randrange(bits)
        flip(path, bit)
        with pytest.raises(ValueError, match="is damaged"):
            seals.opened(path)
        flip(path, bit)
    assert seals.opened(path)[0]["step"] == 8


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


@pytest.mark.parametrize(
    "change", [DAMAGE[k] for k in ("NaN in a moment", "moments that are a list", "random numbers that are none")]
)
def test_a_state_that_turns_out_not_to_fit_leaves_no_trace(tmp_path, whole, change):
    run = tmp_path / "run"
    train(run, stop=6)
    change(newest(run))
    assert equal(train(run)[0], whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 20}, "steps: 12 there, 20 here"),
        ({"width": 4}, r"0.0.bias: \[8\] torch.float32 there, \[4\] torch.float32 here"),
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
    assert re.search(rf"is of another run \({said}", capsys.readouterr().out)
    assert equal(found[0], unbroken[0])


def test_the_state_of_two_processes_is_not_gone_on_from_in_one(tmp_path, capsys):
    run = tmp_path / "run"
    train(run, stop=6)
    capsys.readouterr()
    path = newest(run)
    seal_again(path, made_of=about(path)["made_of"] | {"processes": "2"})
    assert train(run)[1][0] == 1
    assert "processes: 2 there, 1 here" in capsys.readouterr().out


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("owner", "name", "error", "said"),
    [
        (files, "check_writable", NO_SPACE, "No space left"),
        (other, "safe_save_file", SafetensorError("I/O error: No space left"), "SafetensorError: I/O error: No space"),
        (torch, "save", RuntimeError("file write\nfailed"), "RuntimeError: file write failed"),
        (files, "replace", NO_SPACE, "No space left"),
        (Path, "replace", PermissionError(errno.EACCES, "Access is denied"), "Access is denied"),
    ],
)
def test_a_full_disk_stops_the_run_and_says_what_is_kept(tmp_path, monkeypatch, whole, owner, name, error, said):
    run, real = tmp_path / "run", getattr(owner, name)

    def full(*arguments, **options):
        if steps_kept(run):
            raise error
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(TrainingError, match=rf"step 8 could not be saved .*{said}.*step 4 is kept"):
            train(run)
    assert [path.name for path in run.iterdir()] == ["4-of-12"], "the room is given back"
    assert equal(train(run, seed=2)[0], whole)


def test_files_are_read_and_not_mapped(tmp_path, monkeypatch, whole):
    """Not every file system can map a file."""
    run = tmp_path / "run"
    train(run, stop=9)
    for module in (safetensors.torch, checkpointing):
        for name in ("load_file", "load_model", "safe_open"):
            monkeypatch.delattr(module, name, raising=False)
    found, steps = train(run, seed=2)
    assert equal(found, whole)
    assert not list(run.glob("*aside*"))


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
