"""Right values are not enough: each answer here would have stopped its notebook later, or left something untrained."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils import backend_registration

from course_utils import runtime
from course_utils.lab.exercises.checking import RIGHT, WRONG
from tests.lab.exercises.test_exercises import EXERCISES, pasted

ROOT = runtime.data_dir().parent
every_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)


def changed(exercise, change):
    """The right answer in another form."""
    right = pasted(exercise)
    return lambda *inputs, **by_name: change(right(*inputs, **by_name))


def refused(exercise, change):
    verdict = exercise.judge(changed(exercise, change))
    assert verdict.kind == WRONG
    return "\n".join(verdict.lines)


TENSORS = [name for name, e in EXERCISES.items() if e.returns.words == "a tensor"]
NUMBERS = [name for name, e in EXERCISES.items() if e.returns.words == "one number"]
LEARNED = [name for name, e in EXERCISES.items() if e.learned]


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.detach().numpy(), "got a NumPy array"),
        (lambda x: x.tolist(), "got"),
        (lambda x: x.double() if x.dtype == torch.float32 else x.float(), "the values are right, but expected torch."),
        (lambda x: x.half(), "expected torch.float"),
        (lambda x: x + 0j, "expected real numbers"),
        (lambda x: x.detach().to_sparse() if x.ndim else x.expand(2).to_sparse(), "expected a dense tensor"),
        (lambda x: x + torch.zeros((), dtype=x.dtype).requires_grad_(), "a gradient that nobody asked for"),
        (lambda x: x[None], "expected shape"),
        (lambda x: x.to("meta"), "its answer is on meta"),
        (lambda x: [x], "expected a tensor"),
    ],
    ids=["numpy", "list", "dtype", "half", "complex", "sparse", "stray gradient", "shape", "device", "in a list"],
)
def test_a_tensor_stays_the_tensor_that_the_notebook_needs(name, change, message):
    assert message in refused(EXERCISES[name], change)


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("how", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_what_is_learned_through_keeps_its_gradient(name, how):
    exercise = EXERCISES[name]
    right = pasted(exercise)

    def function(*inputs, **by_name):
        with how():
            return right(*inputs, **by_name)

    verdict = exercise.judge(function)
    assert verdict.kind == WRONG
    if how is torch.no_grad:
        assert f"✗ {name}: no gradient reaches {exercise.learned[0]}." in verdict.lines[0]


@pytest.mark.parametrize("name", LEARNED)
def test_a_gradient_of_something_else_is_found(name):
    """The value stays, its gradient is doubled."""
    assert "a wrong gradient reaches" in refused(EXERCISES[name], lambda x: 2 * x - x.detach())


def test_a_kl_without_gradient_is_refused():
    """It was accepted once, and the VAE then trained without its KL."""
    assert EXERCISES["kl_to_prior"].judge(lambda m, v: pasted(EXERCISES["kl_to_prior"])(m.detach(), v)).lines[0] == (
        "✗ kl_to_prior: no gradient reaches mean."
    )


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_comes_in_any_form_that_the_notebook_can_use(name):
    exercise = EXERCISES[name]
    for form in (float, lambda x: torch.tensor(float(x))):
        assert exercise.judge(changed(exercise, form)).kind == RIGHT
    for form in (str, lambda x: [float(x)], lambda x: np.array(float(x)), complex):
        assert exercise.judge(changed(exercise, form)).kind == WRONG


def test_whole_numbers():
    """`kinds.bit_length()` follows in the notebook: a float has none."""
    assert "expected an int, got float" in refused(EXERCISES["count_plushies"], float)
    assert "expected an int, got a tensor" in refused(EXERCISES["count_plushies"], torch.tensor)
    assert "expected an int, got NumPy's int64" in refused(EXERCISES["count_plushies"], np.int64)
    assert "expected a whole number, got float" in refused(EXERCISES["needed"], float)
    assert EXERCISES["needed"].judge(changed(EXERCISES["needed"], torch.tensor)).kind == RIGHT


def test_numpys_numbers_cannot_multiply_a_tensor_that_learns():
    assert "got NumPy's float64" in refused(EXERCISES["adaptive_weight"], lambda x: np.float64(float(x)))
    assert EXERCISES["savings"].judge(changed(EXERCISES["savings"], np.float64)).kind == RIGHT


def test_symbols_are_a_list_of_strings():
    merge = EXERCISES["merge"]
    assert "expected a list of strings, got a tuple of" in refused(merge, tuple)
    assert "expected a list of strings, got str" in refused(merge, "".join)
    assert "got bytes in it" in refused(merge, lambda symbols: [s.encode() for s in symbols])
    assert "expected at most" in refused(merge, lambda symbols: symbols * 1000)


def test_truth_values_are_bool():
    for name in ("active", "causal_mask"):
        assert "torch.int64" in refused(EXERCISES[name], lambda x: x.long())


def calls_by_keyword():
    """(exercise, the names of the arguments that a notebook passes by keyword), from the notebooks' own code."""
    knobs = {"low", "high"}  # of `**knobs["interval"]`, from data/results
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            for node in ast.walk(ast.parse("".join(cell["source"]))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in EXERCISES:
                    names = {k.arg for k in node.keywords if k.arg} | (
                        knobs if any(not k.arg for k in node.keywords) else set()
                    )
                    yield node.func.id, names


def test_the_checks_pass_by_keyword_what_the_notebooks_pass_by_keyword():
    found = {name: set() for name in EXERCISES}
    for name, keywords in calls_by_keyword():
        found[name] |= keywords
    knobs = json.loads((runtime.data_dir() / "results" / "guidance_methods.json").read_text(encoding="utf-8"))
    assert set(knobs["fronts"]["curves"]["interval"]["knobs"]) == {"low", "high"}
    assert found == {name: set(e.keywords) for name, e in EXERCISES.items()}


def test_names_that_the_notebooks_call_does_not_know_are_told():
    verdict = EXERCISES["drop_condition"].judge(lambda c, n, prob, g: torch.where(torch.rand(len(c)) < prob, n, c))
    assert "unexpected keyword argument" in verdict.lines[0]
    assert verdict.lines[1] == (
        "  Hint: the notebook calls it with (cond, null, p=…, generator=…): keep the names that stand before a =."
    )
    renamed = pasted(EXERCISES["interval_guidance"])
    verdict = EXERCISES["interval_guidance"].judge(lambda a, b, scale, t, lo, hi: renamed(a, b, scale, t, lo, hi))
    assert "low=…, high=…" in verdict.lines[1]
    others = lambda first, second, scale, times, low, high: renamed(first, second, scale, times, low, high)  # noqa: E731
    assert EXERCISES["interval_guidance"].judge(others).kind == RIGHT


@every_exercise
def test_an_input_that_learns_nothing_is_left_so(exercise):
    """`z.requires_grad_()` on the caller's tensor: everything after it would build graphs."""
    right, given = pasted(exercise), []

    def function(*inputs, **by_name):
        result = right(*inputs, **by_name)
        given.extend(x.requires_grad_() for x in inputs if isinstance(x, torch.Tensor) and x.is_floating_point())
        return result

    verdict = exercise.judge(function)
    assert verdict.kind == (WRONG if given else RIGHT)
    assert not given or "in place" in verdict.lines[0]


def test_a_check_works_where_the_notebook_has_switched_gradients_off():
    exercise = EXERCISES["reparameterise"]
    with torch.no_grad():
        assert exercise.judge(pasted(exercise)).kind == RIGHT
    with torch.inference_mode():
        assert exercise.judge(pasted(exercise)).kind == RIGHT


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot have a device made in Python",
)
def test_on_a_device_the_checks_go_there(tmp_path):
    """In a process of its own: a device, once registered, stays."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_DEVICE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


_ON_A_DEVICE = """
import torch
from course_utils import runtime
from tests.devices import standin
from tests.lab.exercises.test_exercises import ANSWERS, EXERCISES, pasted

device = standin.use()
runtime.device = lambda: device
for name, exercise in EXERCISES.items():
    verdict = exercise.judge(pasted(exercise))
    assert verdict.kind == "right", verdict.lines
    if exercise.on_cpu is None or exercise.returns.any_tensor:  # one number may lie anywhere
        continue
    right = pasted(exercise)
    def on_the_cpu(*inputs, **by_name):
        back = [x.cpu() if isinstance(x, torch.Tensor) and not x.requires_grad else x for x in inputs]
        return right(*back, **by_name)
    lines = exercise.judge(on_the_cpu).lines
    assert lines[0].startswith(f"✗ {name}: right on the CPU, but not with its inputs on standin:0"), lines
    assert "where the inputs are" in lines[1] or "y.to(z.device)" in lines[1], lines

def cpu_mask(cond, null, p, generator):
    return torch.where(torch.rand(len(cond), generator=generator)[:, None] < p, null, cond)

def y_as_it_comes(classifier, z, t, y):
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(classifier(z, t), y, reduction="sum")
        return -torch.autograd.grad(loss, z)[0]

for name, function in (("drop_condition", cpu_mask), ("class_gradient", y_as_it_comes)):
    verdict = EXERCISES[name].judge(function)
    assert verdict.lines[0].startswith(f"✗ {name}: right on the CPU, but not"), verdict.lines
    print(verdict.lines)
"""
