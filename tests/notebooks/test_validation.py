"""Validation bites: a copy of the course is sabotaged, in the package, in a checkpoint or in a notebook, and it fails.

A small notebook stands for those of the course. Its cells claim what the sabotaged places are for; it is executed on `cpu`,
as the course's are, and validated on `ci`. Everything that is not sabotaged must go on passing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode, v4

from tests.notebooks.harsh import ROOT
from tests.notebooks.validate import NEVER, NOT_ON_CI, census, complaints

pytestmark = pytest.mark.notebook

CELLS = {
    "setup": """
import math
from types import SimpleNamespace
import torch
from torch.distributions import Normal, kl_divergence
from course_utils import checkpoints, losses, runtime
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion.guidance import ClassifierFreeGuidance
from course_utils.diffusion.samplers import time_grid
from course_utils.evaluation.judge import accuracy
from course_utils.images import to_float
from course_utils.lab.claims import claim
from course_utils.models.autoencoder import DiagonalGaussian
print(runtime.setup(seed=0))
a, b = torch.randn(2, 8, 4, generator=runtime.generator(0))""",
    "kl": """
exact = kl_divergence(Normal(a, (0.5 * b).exp()), Normal(0.0, 1.0)).sum(1)
claim("the KL is that of two normal distributions", torch.allclose(losses.kl(a, b), exact, atol=1e-5))
print(f"it is {float(exact.mean()):.2f} nats on average")
print("found in 5 steps")""",
    "contrastive": """
u, scale = torch.nn.functional.normalize(a, dim=1), torch.tensor(math.log(10.0))
claim("pairs that agree cost less than strangers", losses.contrastive(u, u, scale) < losses.contrastive(u, u.roll(1, 0), scale))""",
    "sample": """
q = DiagonalGaussian(torch.cat([a, b], 1)[..., None, None])
eps = torch.randn(q.mean.shape, generator=runtime.generator(1))
claim("a sample is the mean plus its noise, scaled", torch.allclose(q.sample(runtime.generator(1)), q.mean + q.std * eps))""",
    "combine": """
guidance = ClassifierFreeGuidance(SimpleNamespace(null=torch.zeros(4)), a, 3.0)
claim("w = 3 goes beyond the conditional answer", torch.allclose(guidance.combine(a, b) - b, 2 * (b - a), atol=1e-5))""",
    "time_grid": """
times = time_grid(4)
claim("times fall from 1 to 0", (times[0] == 1) & (times[-1] == 0) & bool((times.diff() < 0).all()))""",
    "judge": """
data = Plushies(64, "test").in_memory()
right = accuracy(checkpoints.load("judge", "cpu"), to_float(data.pictures), data.attributes)
claim("the judge names nearly every attribute", min(right.values()) > 0.9)""",
    "live": """
claim("a model that was trained for long is better", runtime.profile() != "ci")""",
    "last": """
claim("the last cell has been reached", True)""",
}
NAMES = list(CELLS)
# What is changed in the package -> the cell that must fail.
SABOTAGE = {
    "kl": ("losses.py", "logvar.exp() - 1 - logvar", "logvar.exp() - 1 + logvar"),
    "contrastive": ("losses.py", "logits = logit_scale.exp()", "logits = -logit_scale.exp()"),
    "sample": ("models/autoencoder.py", "self.mean + self.std * eps", "self.mean - self.std * eps"),
    "combine": ("diffusion/guidance.py", "uncond + w * (cond - uncond)", "uncond - w * (cond - uncond)"),
    "time_grid": ("diffusion/samplers.py", "torch.arange(steps, -1, -1, dtype", "torch.arange(0, steps + 1, dtype"),
}
# The judge's file is a good checkpoint, and listed, but of a judge that has learnt nothing.
UNTRAINED = """
from course_utils import checkpoints
judge = checkpoints.load("judge", "cpu")
for weights in judge.parameters():
    weights.data.normal_(std=0.02)
checkpoints.save(judge, checkpoints.path_of("judge"), name="judge", recipe="none", metrics={}, seed=0)
"""


class Course:
    """A copy of the course whose only notebook is the small one."""

    def __init__(self, folder: Path):
        self.folder, self.notebook = folder, folder / "notebooks" / "small.ipynb"
        for name in ("course_utils", "data", "tests"):
            ignored = shutil.ignore_patterns("__pycache__", "browser", "devices", "exercises")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored if name == "tests" else None)
        self.notebook.parent.mkdir()
        notebook = v4.new_notebook(cells=[v4.new_code_cell(source.strip()) for source in CELLS.values()])
        why = {"why": "On ci no model is trained for long enough."}
        notebook.cells[NAMES.index("live")].metadata.update(tags=[NOT_ON_CI], course=why)
        nbformat.write(notebook, self.notebook)
        self.python("tests/notebooks/execute.py", "notebooks/small.ipynb", COURSE_PROFILE="cpu").check_returncode()

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        # Without bytecode, which would outlive a change of a file within the same second.
        environment = {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"} | environment
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=os.environ | environment, timeout=600,
            capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip

    def failing(self, *notebooks: str, profile: str = "ci") -> tuple[dict[str, set[int]], str]:
        """Which cells of which notebooks validation finds wrong, by the notebook's stem, and all that it says."""
        names = [f"notebooks/{name}.ipynb" for name in notebooks]
        run = self.python("-m", "tests.notebooks.validate", "--profile", profile, *names)
        cells: dict[str, set[int]] = {name: set() for name in notebooks}
        for name, k in re.findall(r"(?m)^FAILED notebooks/(\w+)\.ipynb::Cell (\d+)", run.stdout):
            cells[name].add(int(k))
        wrong = any(cells.values()) or ".ipynb: " in run.stdout  # a cell, or a complaint about how a notebook is saved
        assert run.returncode == wrong, run.stdout + run.stderr
        return cells, run.stdout


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return Course(tmp_path_factory.mktemp("sabotaged") / "course")


@pytest.fixture
def restored(course):
    """The package and the checkpoints of the copy are put back after the test."""
    yield course
    for name in ("course_utils", "data"):
        shutil.rmtree(course.folder / name)
        shutil.copytree(ROOT / name, course.folder / name)


@pytest.mark.parametrize("profile", ["ci", "cpu"])
def test_without_sabotage_it_passes(course, profile):
    cells, said = course.failing("small", profile=profile)
    assert cells == {"small": set()}, said
    assert complaints(course.notebook) == []


@pytest.mark.parametrize("cell", SABOTAGE)
def test_a_sign_turned_in_the_package(cell, restored):
    name, right, wrong = SABOTAGE[cell]
    path = restored.folder / "course_utils" / name
    code = path.read_text(encoding="utf-8")
    assert code.count(right) == 1
    path.write_text(code.replace(right, wrong), encoding="utf-8")
    cells, said = restored.failing("small")
    assert cells == {"small": {NAMES.index(cell)}}, said


def test_another_checkpoint_in_a_checkpoints_place(restored):
    folder = restored.folder / "data" / "checkpoints"
    shutil.copy(folder / "backbone.safetensors", folder / "judge.safetensors")
    cells, said = restored.failing("small")
    assert cells == {"small": {NAMES.index("judge")}}
    assert "does not match data/checkpoints/manifest.json" in said


def test_a_checkpoint_that_has_learnt_nothing(restored):
    restored.python("-c", UNTRAINED).check_returncode()
    cells, said = restored.failing("small")
    assert cells == {"small": {NAMES.index("judge")}}
    assert "✗ the judge names nearly every attribute" in said


def test_a_notebook_of_the_course(restored):
    """An exercise's line was edited in notebook 00, and one of the checkpoints that it lists and draws with holds another model."""
    notebook = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    exercise = next(k for k, cell in enumerate(code) if cell.source.startswith("def to_model"))
    lists = next(k for k, cell in enumerate(code) if "| checkpoint |" in cell.source)
    trailer = {k for k, cell in enumerate(code) if "strips[prompt" in cell.source}  # drawn with the VAE
    code[exercise].outputs[0].text = code[exercise].outputs[0].text.replace("not attempted yet", "right")
    nbformat.write(notebook, restored.notebook.with_name("start.ipynb"))
    folder = restored.folder / "data" / "checkpoints"
    shutil.copy(folder / "backbone.safetensors", folder / "vae.safetensors")
    cells, said = restored.failing("start")
    assert cells == {"start": {exercise, lists} | trailer}, said


def edit(cell: str, old: str, new: str) -> Callable[[NotebookNode], None]:
    """Change what is saved as a cell's text."""

    def change(notebook: NotebookNode) -> None:
        (output,) = notebook.cells[NAMES.index(cell)].outputs
        assert old in output.text
        output.text = output.text.replace(old, new)

    return change


def without_its_output(notebook: NotebookNode) -> None:
    notebook.cells[NAMES.index("combine")].outputs = []


def without_a_claim(notebook: NotebookNode) -> None:
    cell = notebook.cells[NAMES.index("combine")]
    cell.source = cell.source.replace("claim(", "str(")


def printing_to_stderr(notebook: NotebookNode) -> None:
    notebook.cells[0].source += "\nimport warnings; warnings.warn('no font cache yet')"


# A change of what is saved -> the cell that validation on ci finds wrong.
EDITS = {
    "a_word_of_a_claim": (edit("kl", "two normal", "two other"), "kl"),
    "a_number_in_a_claim": (edit("combine", "w = 3", "w = 5"), "combine"),
    "the_mark_of_a_claim": (edit("time_grid", "✓", "○"), "time_grid"),
    "a_word_beside_a_number": (edit("kl", "nats", "bits"), "kl"),
    "no_output": (without_its_output, "combine"),
    "no_claim": (without_a_claim, "combine"),
    "a_number_that_may_vary": (edit("kl", "it is ", "it is 1"), None),
    "a_single_step_of_a_slow_machine": (edit("kl", "5 steps", "1 step"), None),
    "a_warning_of_this_machine": (printing_to_stderr, None),
    "a_claim_that_ci_leaves_out": (edit("live", "is better", "is worse"), None),
}


@pytest.fixture(scope="module")
def edited(course):
    """Each edit in a notebook of its own, validated together on ci."""
    saved = nbformat.read(course.notebook, as_version=4)
    for name, (change, _) in EDITS.items():
        notebook = deepcopy(saved)
        change(notebook)
        notebook.cells[NAMES.index("judge")].source = 'claim("the judge names nearly every attribute", True)'  # faster
        nbformat.write(notebook, course.notebook.with_name(f"{name}.ipynb"))
    return course.failing(*EDITS)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_what_is_saved(name, edited):
    cells, said = edited
    wrong = EDITS[name][1]
    assert cells[name] == ({NAMES.index(wrong)} if wrong else set()), said


def test_on_cpu_the_claims_of_trained_models_are_compared(course, edited):
    cells, said = course.failing("a_claim_that_ci_leaves_out", profile="cpu")
    assert cells == {"a_claim_that_ci_leaves_out": {NAMES.index("live")}}, said


def test_a_claim_that_fails_now_as_it_did_then(course):
    notebook = nbformat.read(course.notebook, as_version=4)
    notebook.cells[-1].source = 'claim("the last cell has been reached", False)'
    edit("last", "✓ the last cell has been reached", "✗ the last cell has been reached (not in this run)")(notebook)
    nbformat.write(notebook, course.notebook.with_name("false.ipynb"))
    cells, said = course.failing("false")
    assert cells == {"false": {NAMES.index("last")}}, said
    assert "A claim does not hold" in said
    assert "false.ipynb: cell 8 was saved with a claim that does not hold: ✗ the last cell" in said


def test_a_cell_deleted_where_nothing_below_needs_it(course):
    notebook = nbformat.read(course.notebook, as_version=4)
    del notebook.cells[-1]
    nbformat.write(notebook, course.notebook.with_name("shorter.ipynb"))
    cells, said = course.failing("shorter")
    assert cells == {"shorter": set()}
    assert "shorter.ipynb: a code cell is missing, moved, new or not executed" in said


def deleted(notebook: NotebookNode) -> None:
    del notebook.cells[NAMES.index("combine")]


def cleared(notebook: NotebookNode) -> None:
    notebook.cells[NAMES.index("combine")].update(outputs=[], execution_count=None)


def moved(notebook: NotebookNode) -> None:
    notebook.cells[3:5] = reversed(notebook.cells[3:5])


def marked(tag: str, **course: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[NAMES.index("setup")].metadata.update(tags=[tag], course=course)


def hidden(notebook: NotebookNode) -> None:
    marked(NEVER, why="It has a good reason.")(notebook)
    notebook.cells[0].outputs[0].text += "✓ a claim that nothing compares\n"


def commented(notebook: NotebookNode) -> None:
    notebook.cells[0].source = "# NBVAL_IGNORE_OUTPUT\n" + notebook.cells[0].source


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (deleted, "a code cell is missing"),
        (cleared, "a code cell is missing"),
        (moved, "a code cell is missing"),
        (marked(NEVER), "cell 0 is not compared, and does not say why"),
        (marked(NOT_ON_CI, why="varies"), "cell 0 is not compared, and does not say why"),
        (marked("nbval-skip"), "cell 0 is not compared, and does not say why"),
        (hidden, "cell 0 holds a claim and is never compared"),
        (commented, "cell 0 is marked in a comment"),
        (edit("last", "✓", "✗"), "cell 8 was saved with a claim that does not hold"),
        (marked(NEVER, why="It names the machine."), ""),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_complaints_about_how_a_notebook_is_saved(change, says, course):
    notebook = nbformat.read(course.notebook, as_version=4)
    change(notebook)
    path = course.notebook.with_name("form.ipynb")
    nbformat.write(notebook, path)
    found = complaints(path)
    assert len(found) == bool(says), found
    assert not says or says in found[0]


def test_the_census(course):
    expected = {"cells": 9, "print": 9, "claims": 8}
    on_ci, on_cpu = census(course.notebook, "ci"), census(course.notebook, "cpu")
    assert dict(on_cpu) == expected | {"compared": 9}
    assert dict(on_ci) == expected | {"compared": 8, "marked": 1}
