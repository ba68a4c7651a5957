"""What is declared, what is used, and what the lock file pins agree; importing the package sets what it should."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Where a package is imported under another name than it is installed by.
INSTALLED_AS = {
    "PIL": "pillow", "open_clip": "open-clip-torch", "skimage": "scikit-image", "xdist": "pytest-xdist",
}  # fmt: skip
# Used without an import in the package: the first starts the notebooks, the second is an instructor's.
TOOLS = {"jupyterlab", "nbval"}
# The developers': commands of their own, and options of pytest.
DEV_TOOLS = {"jupytext", "mypy", "pytest-timeout", "ruff"}
# What the course's card asks requirements.txt to list by name.
NAMED = {
    "jupyterlab", "torch", "torchvision", "matplotlib", "ipywidgets", "lpips", "open-clip-torch", "nbval",
}  # fmt: skip


def listed(lines: list[str]) -> dict[str, Requirement]:
    """Requirements by their name, from lines in which comments and pip's options may stand."""
    lines = [line.split("#")[0].strip() for line in lines]
    found = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def read(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


def imported(folder: Path) -> set[str]:
    """The packages, by the names that they are installed by, that a folder's code imports, at the top or in functions."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    names -= set(sys.stdlib_module_names) | {"course_utils", "tests", "tomllib"}  # the last is not in Python 3.10
    return {canonicalize_name(INSTALLED_AS.get(name, name)) for name in names}


DECLARED = listed(PROJECT["dependencies"])
DEV = listed(PROJECT["optional-dependencies"]["dev"])
LOCKED = listed(read("requirements.lock"))


def test_requirements_txt_says_what_pyproject_says():
    there = listed(read("requirements.txt"))
    assert {n: r.specifier for n, r in there.items()} == {n: r.specifier for n, r in DECLARED.items()}
    assert there.keys() >= NAMED
    assert "-e ." in read("requirements.txt")
    assert "-e .[dev]" in read("requirements-dev.txt")


def test_what_the_package_imports_is_declared_and_what_is_declared_is_used():
    used = imported(ROOT / "course_utils")
    assert used - DECLARED.keys() == set()
    assert DECLARED.keys() - used == TOOLS


def test_what_tests_and_benchmarks_import_is_declared_and_used_too():
    used = imported(ROOT / "tests") | imported(ROOT / "benchmarks")
    used -= {canonicalize_name(path.stem) for path in (ROOT / "benchmarks").glob("*.py")}  # one imports another
    assert used - DECLARED.keys() - DEV.keys() == set()
    assert DEV.keys() - used == DEV_TOOLS


@pytest.mark.parametrize("release", ["7.0.0", "7.0.1"])
def test_kernels_that_lose_messages_from_threads_are_excluded(release):
    assert not DECLARED["ipykernel"].specifier.contains(release)
    assert DECLARED["ipykernel"].specifier.contains("7.1.0")


def test_the_lock_pins_all_that_is_declared_within_its_bounds():
    wanted = {**DECLARED, **{name: r for name, r in DEV.items() if r.marker is None}}
    assert wanted.keys() - LOCKED.keys() == set()
    for name, requirement in wanted.items():
        (pin,) = LOCKED[name].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version, prereleases=True), f"{name} {pin.version}"


def test_the_lock_serves_every_machine():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in text
    for name, requirement in LOCKED.items():
        (pin,) = requirement.specifier
        assert "+" not in pin.version, f"{name}: a build of one machine"
        assert not re.match(r"nvidia-|cuda-|triton", name), f"{name} exists for Linux only"


def test_the_versions_of_python_agree():
    oldest = re.search(r"[\d.]+", PROJECT["requires-python"])[0]
    minors = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    assert minors[0] == oldest
    assert f'"{oldest}"' in workflow
    assert f'"{minors[-1]}"' in workflow


@pytest.mark.parametrize(("before", "after"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_importing_the_package_lets_idle_threads_sleep_unless_the_user_said_otherwise(before, after):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if before:
        environment["OMP_WAIT_POLICY"] = before
    code = "import course_utils, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.split() == [after, "False"], run.stderr
