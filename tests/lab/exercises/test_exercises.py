"""Every check accepts right answers, however written, and meets each wrong one with the hint meant for it."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.lab import exercises
from course_utils.lab.exercises import blocks, classifier_free_guidance, conventions, patches, transformers
from course_utils.lab.exercises.checking import Exercise

SUBJECTS = exercises.SUBJECTS
MODULES = {subject: importlib.import_module(f"{exercises.__name__}.{subject}") for subject in SUBJECTS}
ANSWERS = {subject: importlib.import_module(f"{__package__}.answers.{subject}") for subject in SUBJECTS}
EXERCISES = {
    name: exercise
    for module in MODULES.values()
    for name, exercise in vars(module).items()
    if isinstance(exercise, Exercise)
}
GOES_ON = "The notebook goes on with the course's own version."


def rows(tables):
    """(exercise, entry) for every entry of the tables by name, with ids that say which exercise it is."""
    return [
        pytest.param(EXERCISES[name], entry, id=f"{name}-{i}")
        for table in tables
        for name, entries in table.items()
        for i, entry in enumerate(entries)
    ]


every_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
every_subject = pytest.mark.parametrize("subject", SUBJECTS)


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


@every_subject
def test_every_exercise_has_its_answers(subject):
    module, answers = MODULES[subject], ANSWERS[subject]
    own = {n for n, e in vars(module).items() if isinstance(e, Exercise) and e.course.__module__ == module.__name__}
    assert own == set(answers.RIGHT) == set(answers.WRONG)
    assert all(answers.RIGHT.values())
    assert all(len(wrong) >= 3 for wrong in answers.WRONG.values())


@every_exercise
def test_an_exercise_is_called_what_its_module_calls_it(exercise):
    assert EXERCISES[exercise.name] is exercise
    assert exercise.__doc__ == exercise.course.__doc__
    assert exercise.__doc__


@pytest.mark.parametrize(("exercise", "function"), rows(answers.RIGHT for answers in ANSWERS.values()))
def test_right_answers_are_used_from_there_on(exercise, function, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is function, said
    assert said == f"✓ {exercise.name}: right. From here on the notebook uses your function.\n"


def pasted(exercise):
    """The course's own text in a cell of the notebook, as a function of the student's own."""
    text = inspect.getsource(exercise.course)
    text = text[text.index("def ") :]
    names = {**vars(inspect.getmodule(exercise.course)), "__name__": "__main__"}
    exec(compile("from __future__ import annotations\n" + textwrap.dedent(text), "<cell>", "exec"), names)
    return names[exercise.name]


@every_exercise
def test_the_courses_text_pasted_is_right(exercise, capsys):
    before = torch.get_rng_state()
    function = pasted(exercise)
    assert verdict(exercise, function, capsys)[0] is function
    assert verdict(exercise, function, capsys)[1].startswith("✓")
    assert torch.equal(before, torch.get_rng_state()), "a check leaves no trace"


@every_exercise
def test_the_courses_own_version_is_known(exercise, capsys):
    """After a wrong answer the name stands for it, and the line of the check may be run again."""
    wrong = verdict(exercise, lambda *inputs, **more: "nothing", capsys)[0]
    for again in (wrong, exercise.course, exercise):
        result, said = verdict(exercise, again, capsys)
        assert result is exercise.course
        assert said == (
            f"○ {exercise.name}: this is the course's own version. Write yours in the cell above and run that cell "
            "again.\n"
        )


@pytest.mark.parametrize(("exercise", "wrong"), rows(answers.WRONG for answers in ANSWERS.values()))
def test_wrong_answers_get_the_hint_meant_for_them(exercise, wrong, capsys):
    function, hint = wrong
    result, said = verdict(exercise, function, capsys)
    assert result is exercise.course
    assert said.startswith(f"✗ {exercise.name}: ")
    assert hint in said
    assert said.endswith(f"  {GOES_ON}\n")
    assert said == verdict(exercise, function, capsys)[1], "nbval compares what is printed"


@pytest.mark.parametrize(("exercise", "mistake"), rows([{name: e.mistakes for name, e in EXERCISES.items()}]))
def test_each_known_mistake_gets_its_own_hint(exercise, mistake, capsys):
    said = verdict(exercise, mistake.answer, capsys)[1].splitlines()
    assert said[0].startswith(f"✗ {exercise.name}: ")
    assert said[1:] == [f"  Hint: {mistake.hint}", f"  {GOES_ON}"]


def untouched(*inputs, **by_name): ...


@every_exercise
@pytest.mark.parametrize("function", [untouched, lambda *inputs, **by_name: ...], ids=["body", "answer"])
def test_not_attempted_is_one_calm_line(exercise, function, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is exercise.course
    assert said == f"○ {exercise.name}: not attempted yet. {GOES_ON}\n"


class NoTensors(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function.__name__} was called")


@every_subject
def test_cases_wait_for_the_first_check(subject):
    """A notebook imports its exercises long before it checks one."""
    path = Path(MODULES[subject].__file__)
    code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    with NoTensors():
        exec(code, {"__name__": f"{subject}_again"})
        with pytest.raises(AssertionError, match="was called"):
            torch.zeros(1)


def test_one_notebook_has_the_patches_and_the_block_with_the_transformers():
    assert transformers.block is blocks.block
    assert transformers.patchify is patches.patchify
    assert transformers.patch_convolution is patches.patch_convolution


def test_the_count_is_the_data_sets():
    """6 · 6 · (1 + 4 · 4) · 5 · 4 different plushies."""
    sizes = [len(values) for values in ATTRIBUTES.values()]
    assert conventions.count_plushies.course(*sizes) == 6 * 6 * 17 * 5 * 4


def test_condition_dropout_works_where_the_condition_lives():
    """The "meta" device stands for any but the CPU, where the mask is drawn."""
    cond, null = torch.zeros(4, 8, device="meta"), torch.zeros(8, device="meta")
    ours = classifier_free_guidance.drop_condition(untouched)
    assert ours(cond, null, 0.5, torch.Generator().manual_seed(0)).device.type == "meta"
