"""The environment's checks: what a broken machine looks like, and that each failure says how to mend it."""

import importlib.metadata
from types import SimpleNamespace

import pytest
import torch

from course_utils.checkpoints import CheckpointError
from course_utils.lab import environment as env


def versions(**known):
    def version_of(name):
        if name not in known:
            raise importlib.metadata.PackageNotFoundError(name)
        return known[name]

    return version_of


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 9, 18), False), ((3, 10, 0), True), ((3, 13, 1), True), ((3, 99, 0), None)]
)
def test_python_versions(version, ok):
    check = env.python_version(version)
    assert check.ok is ok
    assert f"{version[0]}.{version[1]}" in check.found
    assert ("install Python 3.10" in check.mend) == (ok is False)


def test_missing_packages_are_named():
    check = env.packages(("torch", "lpips", "nothere"), versions(torch="2.9", lpips="0.1"))
    assert (check.ok, check.found) == (False, "missing: nothere")
    assert "requirements.txt" in check.mend
    assert env.packages().ok, "what the tests run in has everything"


def no_operator():
    raise RuntimeError("operator torchvision::nms does not exist\nand a long traceback")


def wrong_operator():
    return SimpleNamespace(ops=SimpleNamespace(nms=lambda *_: torch.tensor([7])), __version__="1")


def missing():
    raise ImportError("No module named 'torchvision'")


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (no_operator, "operator torchvision::nms does not exist"),
        (missing, "No module named 'torchvision'"),
        (wrong_operator, "wrong answers"),
    ],
)
def test_a_torchvision_that_does_not_fit_is_found(load, says):
    check = env.torch_pair(load)
    assert check.ok is False
    assert says in check.found
    assert "traceback" not in check.found
    assert "torch torchvision" in check.mend


def test_the_pair_that_is_installed_fits():
    assert env.torch_pair().ok


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({"ipywidgets": "8.1.5"}, "jupyterlab_widgets is missing"),
        ({"ipywidgets": "7.7.0", "jupyterlab_widgets": "1.1.0"}, "too old"),
    ],
)
def test_half_a_widget_is_not_enough(known, says):
    check = env.widgets(versions(**known))
    assert check.ok is False
    assert says in check.found
    assert "reload" in check.mend


def test_a_cache_that_cannot_be_written_to(tmp_path):
    assert env.cache(tmp_path).ok
    assert not list(tmp_path.iterdir()), "the check leaves nothing behind"
    check = env.cache(tmp_path / "missing")
    assert check.ok is False
    assert "COURSE_CACHE" in check.mend


def test_a_misspelt_profile(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "cpus")
    check = env.chosen_profile()
    assert check.ok is False
    assert "'cpus'" in check.found
    monkeypatch.setenv("COURSE_PROFILE", "ci")
    assert env.chosen_profile().found.startswith("ci, as COURSE_PROFILE asks")


def test_a_damaged_checkpoint_is_named():
    def load(name):
        if name == "clip":
            raise CheckpointError("clip.safetensors is damaged")

    check = env.shipped_checkpoints(load)
    assert (check.ok, check.found) == (False, "clip.safetensors is damaged")
    assert "git checkout" in check.mend


def test_no_network_is_no_failure():
    check = env.reachable({"nowhere": "host.invalid"}, seconds=0.5)
    assert check.ok is None
    assert "offline" in check.found


def test_the_report_lists_what_to_mend_from_the_top():
    good = env.Check("a", True, "fine | good")
    assert "**Ready.**" in env.report([good])
    assert "fine / good" in env.report([good]), "a bar would end the table's cell"
    bad = [env.Check("b", False, "broken", "glue it"), env.Check("c", False, "lost", "find it")]
    text = env.report([good, *bad, env.Check("d", None, "by the way")])
    assert "**2 to mend**" in text
    assert text.index("1. **b**: glue it.") < text.index("2. **c**: find it.")
    assert "| · | d |" in text
