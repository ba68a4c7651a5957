"""`python -m course_utils.training`: where results go, what is said, and that nothing is lost on the way."""

import errno
import os
import re
import shutil
import signal

import pytest
import torch
from filelock import FileLock

from course_utils import checkpoints, runtime
from course_utils.evaluation import metrics
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.training import __main__ as command
from course_utils.training import runs, state
from course_utils.training.loop import Part
from course_utils.training.recipes import BUILDS_ON, RECIPES, budget, decoders

SMALL = DenoiserConfig(width=32, depth=1, heads=2, condition=16)
REAL = dict(RECIPES)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A cache of its own, and a copy of what ships, so that no test can replace that."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    shipped = tmp_path / "shipped"
    shutil.copytree(checkpoints.folder(), shipped)
    monkeypatch.setattr(checkpoints, "folder", lambda: shipped)
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    """Every recipe trains a small denoiser in no time, from its budget, and notes that it ran."""
    ran = []

    def recipe_of(name):
        def recipe(given, seed):
            torch.manual_seed(seed)
            model = Denoiser(SMALL)
            for needed in BUILDS_ON.get(name, ()):
                given.load(needed)
            given.fit(Part(model, lambda g: (sum(p.square().sum() for p in model.parameters()), {})), seed)
            ran.append(name)
            return model, {"loss": 1.0}

        return recipe

    for name in RECIPES:
        monkeypatch.setitem(RECIPES, name, recipe_of(name))
        monkeypatch.setitem(checkpoints.MODELS, name, Denoiser)
    for name in ("vae", "clip", "backbone"):
        checkpoints.save(Denoiser(SMALL), checkpoints.path_of(name), name=name, recipe="", metrics={}, seed=0)
    return ran


def own(name, profile="ci"):
    return runtime.cache_dir() / "checkpoints" / profile / f"{name}.safetensors"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_result_goes_to_ones_own_folder_and_what_ships_stays(capsys):
    before = contents(checkpoints.folder())
    assert command.main(["vae", "--profile", "ci"]) == 0
    assert contents(checkpoints.folder()) == before
    assert checkpoints.header(own("vae"))["recipe"] == "vae --profile ci --steps 4 --seed 0"
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("profile ci on ")
    call = re.fullmatch(r"  load it: checkpoints\.load\('(.*)'\)", said[-1])
    assert isinstance(checkpoints.load(call[1]), checkpoints.MODELS["vae"])
    assert not state.saves_below(runtime.cache_dir()), "the state goes when the checkpoint is safe"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vae", "--ship"], "--ship: the ci profile"),
        (["vae", "--ship", "--profile", "ci"], "--ship: the ci profile"),
        (["all", "--ship"], "--ship: the ci profile"),
        (["vae", "--ship", "--profile", "cpu", "--out", "x.safetensors"], "--ship and --out"),
        (["vae", "--out", "SHIPPED/vae.safetensors"], "lies among the course's own checkpoints; --ship"),
        (["vae", "--out", "SHIPPED/../shipped/mine.safetensors"], "lies among the course's own"),
        (["all", "--out", "mine.safetensors"], "all recipes cannot be saved to one file"),
        (["vae", "--out", "mine.pt"], "mine.pt; expected a name that ends in .safetensors"),
        (["vae", "--steps", "0"], "--steps: got '0'; expected a whole number from 1"),
        (["vae", "--steps", "-1"], "--steps: got '-1'"),
        (["vae", "--steps", "many"], "--steps: got 'many'"),
        (["vae", "--seed", "-1"], "--seed: got '-1'"),
        (["vae", "--seed", "99999999999999999999"], "--seed: got '99999999999999999999'"),
        (["vea"], "invalid choice: 'vea'"),
        (["vae", "--profile", "tpu"], "invalid choice: 'tpu'"),
        ([], "required"),
    ],
)
def test_bad_arguments_are_refused_in_one_line_before_training(arguments, said, capsys, quick):
    arguments = [a.replace("SHIPPED", str(checkpoints.folder())) for a in arguments]
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not quick


def test_ship_replaces_what_ships_and_builds_on_it(capsys, quick):
    own("vae").parent.mkdir(parents=True)
    shutil.copy(checkpoints.path_of("vae"), own("vae", "ci"))
    assert command.main(["judge", "--ship", "--profile", "cpu", "--steps", "2"]) == 0
    assert checkpoints.manifest()["judge.safetensors"]["recipe"] == "judge --profile cpu --steps 2 --seed 0"
    assert "load it: checkpoints.load('judge')" in capsys.readouterr().out
    assert not own("judge", "cpu").exists()


def test_a_misspelt_profile_stops_neither_help_nor_an_explicit_one(monkeypatch, capsys, quick):
    monkeypatch.setenv("COURSE_PROFILE", "laptop")
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"])
    assert stop.value.code == 0
    assert command.main(["judge", "--profile", "ci"]) == 0
    assert "profile ci on" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        command.main(["judge"])
    assert stop.value.code == 2
    assert "COURSE_PROFILE is 'laptop'; expected one of ci, cpu, gpu" in capsys.readouterr().err.splitlines()[-1]


def test_later_recipes_build_on_ones_own_of_the_same_profile(capsys):
    def built_on():
        assert command.main(["gan_decoder", "--steps", "1"]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if "builds on" in line)

    assert built_on() == "gan_decoder builds on the course's vae and the course's backbone"
    command.main(["vae", "--steps", "1"])
    capsys.readouterr()
    assert built_on() == f"gan_decoder builds on your vae ({own('vae')}) and the course's backbone"
    encoder = "encoder.0.weight"
    assert encoder not in checkpoints.load(own("gan_decoder")).state_dict()
    os.rename(own("vae").parent, own("vae", "cpu").parent)
    assert built_on() == "gan_decoder builds on the course's vae and the course's backbone"


def test_what_was_trained_on_another_vae_is_not_mixed_with_ones_own(quick):
    def sources():
        return command._run(command._asked(["realness", "--profile", "ci"]), "realness").sources

    course = {name: checkpoints.path_of(name) for name in BUILDS_ON["realness"]}
    for name in ("vae", "clip", "denoiser"):
        assert command.main([name, "--profile", "ci"]) == 0
        assert sources() == course
    model = Denoiser(SMALL)
    checkpoints.save(model, own("sharp_decoder"), name="sharp_decoder", recipe="", metrics={}, seed=0)
    assert sources() == {name: own(name) for name in course}
    assert command._run(command._asked(["realness", "--profile", "cpu", "--ship"]), "realness").sources == course


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_load_what_they_say_that_they_build_on(name, monkeypatch):
    loaded, load = set(), checkpoints.load

    def seen(wanted, device=None):
        loaded.add(str(wanted))
        return load(wanted, device)

    metrics.course_lpips.cache_clear()
    for module in (checkpoints, metrics, decoders):
        monkeypatch.setattr(module, "load", seen)
    REAL[name](budget(name, "ci", steps=1), 0)
    assert loaded == set(BUILDS_ON.get(name, ()))


def interrupted(monkeypatch, where, error):
    """Let `where` fail once, after it is reached."""
    owner, name = where
    real, calls = getattr(owner, name), []

    def fail(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, fail)


FAILURES = {
    "interrupted while it saves": ((checkpoints, "save"), KeyboardInterrupt(), 130, "kept as of step 2 of 2"),
    "full disk": ((checkpoints, "save"), OSError(errno.ENOSPC, "No space left on device", "x"), 1, "No space left"),
    "refused": ((checkpoints, "save"), checkpoints.CheckpointError("x cannot be written"), 1, "x cannot be written"),
    "state removed too early": ((state, "remove"), KeyboardInterrupt(), 130, "kept as of step 2 of 2"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=list(FAILURES))
def test_whatever_stops_the_last_write_loses_nothing(failure, monkeypatch, capsys, quick):
    where, error, code, said = failure
    interrupted(monkeypatch, where, error)
    assert command.main(["judge", "--steps", "2"]) == code
    out = capsys.readouterr()
    assert said in out.err
    assert out.err.count("\n") == 1
    assert command.main(["judge", "--steps", "2"]) == 0
    assert "goes on from step 2 of 2" in capsys.readouterr().out
    checkpoints.load(own("judge"))


@pytest.mark.parametrize("place", ["below a file", "a folder"])
def test_a_target_that_cannot_be_written_is_refused_before_training(place, places, capsys, quick):
    (places / "file").touch()
    (places / "folder.safetensors").mkdir()
    out = places / ("file/x.safetensors" if place == "below a file" else "folder.safetensors")
    assert command.main(["judge", "--out", str(out)]) == 1
    assert str(out) in capsys.readouterr().err
    assert not quick


def test_a_cache_that_cannot_be_written_is_one_line(places, monkeypatch, capsys, quick):
    (places / "file").touch()
    monkeypatch.setenv("COURSE_CACHE", str(places / "file" / "cache"))
    assert command.main(["judge"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "set COURSE_CACHE" in error
    assert not quick


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_command_which_says_what_is_kept(kind, monkeypatch, capsys):
    whole = own("whole")
    command.main(["judge", "--steps", "4", "--out", str(whole)])
    expected = checkpoints.load(whole).state_dict()

    def stop(step, steps, logs, preview=None):
        signal.raise_signal(kind)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(command, "_report", lambda name: stop)
        assert command.main(["judge", "--steps", "4"]) == 130
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err == "stopped: judge had not been saved yet; the same command starts it anew\n"
    assert not own("judge").exists()
    command.main(["judge", "--steps", "4"])
    found = checkpoints.load(own("judge")).state_dict()
    assert all(torch.equal(found[k], v) for k, v in expected.items())


def test_all_goes_on_where_it_was_killed(monkeypatch, capsys, quick):
    class Killed(BaseException):
        pass

    with monkeypatch.context() as patch:
        patch.setitem(RECIPES, "vae", lambda given, seed: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            command.main(["all"])
    assert quick == ["judge", "backbone"]
    own("backbone").write_bytes(own("backbone").read_bytes()[:-1])
    capsys.readouterr()
    assert command.main(["all"]) == 0
    assert quick == ["judge", "backbone", *list(RECIPES)[1:]]
    assert "judge: finished already in this round, skipped" in capsys.readouterr().out
    command.main(["all", "--steps", "1"])
    assert len(quick) == 2 + (len(RECIPES) - 1) + len(RECIPES), "a round that is complete is not gone on with"


def test_all_does_not_skip_what_builds_on_something_else_now(monkeypatch, quick):
    with monkeypatch.context() as patch:
        patch.setitem(RECIPES, "diffusion", lambda given, seed: (_ for _ in ()).throw(FloatingPointError("nan")))
        assert command.main(["all"]) == 1
    quick.clear()
    command.main(["vae", "--seed", "5"])
    quick.clear()
    command.main(["all"])
    assert quick == ["vae", "diffusion", "weak_denoiser", "fast_adapter", "realness"], (
        "the same seed gives the same VAE, which the others know"
    )


def test_a_round_whose_note_is_damaged_starts_anew(quick):
    note = runtime.cache_dir() / "training" / "all-ci-0.json"
    for text in ("", "[1]", "{", '{"judge": 3}'):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(text)
        run = command._run(command._asked(["all"]), "judge")
        assert not runs.Round("all-ci-0").has(run)


@pytest.mark.parametrize("what", ["the run", "the target"])
def test_of_two_runs_at_once_the_second_says_so_and_stops(what, places, capsys, quick):
    out = str(places / "x.safetensors")
    first = command._run(command._asked(["judge", "--out", out]), "judge")
    second = ["judge"] if what == "the run" else ["backbone", "--seed", "3", "--out", out]
    with runs.alone(first):
        assert command.main(second) == 1
        assert "is being trained by another process" in capsys.readouterr().err
        assert command.main(["clip"]) == 0, "another recipe may run beside it"
    assert command.main(second) == 0


def test_a_lock_file_that_was_left_does_not_block(quick):
    with runs.alone(command._run(command._asked(["judge"]), "judge")):
        pass
    for path in runs.locks().iterdir():
        path.touch()
        assert FileLock(path, timeout=0).acquire()
    assert command.main(["backbone"]) == 0


def test_a_state_that_was_made_on_another_vae_is_not_resumed(monkeypatch, capsys, quick):
    with monkeypatch.context() as patch:
        interrupted(patch, (checkpoints, "save"), KeyboardInterrupt())
        assert command.main(["denoiser"]) == 130
    command.main(["vae", "--seed", "3"])
    capsys.readouterr()
    assert command.main(["denoiser"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"is set aside, .*: it is of another run \(vae: [0-9a-f]{32} there, [0-9a-f]{32} here\)", said)
    assert "goes on" not in said


def test_another_number_of_steps_does_not_go_on_with_a_stopped_run():
    folders = {command._run(command._asked(["vae", "--steps", str(n)]), "vae").folder for n in (3, 4, 3)}
    assert len(folders) == 2


def test_nan_keeps_the_last_state_and_names_the_step(monkeypatch, capsys):
    def recipe(given, seed):
        model = Denoiser(SMALL)
        steps = []

        def loss(g):
            steps.append(1)
            value = sum(p.square().sum() for p in model.parameters())
            return value * (float("nan") if len(steps) == 3 else 1), {}

        given.fit(Part(model, loss), seed)
        return model, {}

    monkeypatch.setitem(RECIPES, "judge", recipe)
    assert command.main(["judge", "--steps", "3"]) == 1
    assert capsys.readouterr().err == "training went wrong at step 3: the gradient's norm is nan\n"
    assert not own("judge").exists()
