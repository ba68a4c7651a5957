"""The machinery of the checks: what is printed, which function the notebook goes on with, and when cases are made."""

from __future__ import annotations

import sys

import pytest
import torch
from IPython.core.autocall import ExitAutocall
from IPython.core.interactiveshell import InteractiveShell

from course_utils.lab.exercises.checking import Case, Mistake, as_tensor, exercise, hint_for, noise
from course_utils.lab.exercises.classifier_free_guidance import cfg_combine
from course_utils.lab.exercises.returns import NUMBER, Wrong


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


def gap(eps_uncond, eps_cond, guidance_scale):
    """Combine (B, C, h, w) and (B, C, h, w) -> (B, C, h, w)."""
    ...


def gap_in_the_middle(eps_uncond, eps_cond, guidance_scale):
    difference = ...
    return eps_uncond + guidance_scale * difference


def gap_at_the_end(eps_uncond, eps_cond, guidance_scale):
    difference = eps_cond - eps_uncond
    assert difference is not None
    return ...


def gap_that_raises(eps_uncond, eps_cond, guidance_scale):
    raise NotImplementedError


@pytest.mark.parametrize("function", [gap, gap_in_the_middle, gap_at_the_end, gap_that_raises])
def test_not_attempted_is_one_calm_line(function, capsys):
    result, said = verdict(cfg_combine, function, capsys)
    assert result is cfg_combine.course
    assert said == ("○ cfg_combine: not attempted yet. The notebook goes on with the course's own version.\n")


def forgets_to_return(eps_uncond, eps_cond, w):
    difference = eps_cond - eps_uncond
    eps_uncond + w * difference


def divides_by_zero(eps_uncond, eps_cond, w):
    difference = eps_cond - eps_uncond
    return difference * (1 / 0)


def test_a_missing_return_is_told_from_a_gap(capsys):
    assert "is a `return` missing?" in verdict(cfg_combine, forgets_to_return, capsys)[1]


def test_an_exception_is_named_with_its_line(capsys):
    result, said = verdict(cfg_combine, divides_by_zero, capsys)
    assert result is cfg_combine.course
    assert "it stopped with ZeroDivisionError: division by zero (line 3 of the function)" in said
    # Torch, too, says NotImplementedError when a type does not suit an operation. That is no gap.
    said = verdict(cfg_combine, lambda u, c, w: torch.histc(u.long()), capsys)[1]
    assert said.startswith("✗ cfg_combine: it stopped with ")
    said = verdict(cfg_combine, lambda one: one, capsys)[1]
    assert "before its first line: do its arguments match?" in said
    assert "the notebook calls it with (v_uncond, v_cond, guidance_scale)." in said


def test_what_is_no_function_is_wrong(capsys):
    assert "expected a function, got float" in verdict(cfg_combine, 3.0, capsys)[1]


def test_an_error_in_a_check_itself_is_a_calm_line_and_raised_by_judge(capsys):
    def broken(attempt):
        raise RuntimeError("the check's own")

    def course(): ...

    result, said = verdict(exercise(check=broken)(course), lambda: 0, capsys)
    assert result is course
    assert said == (
        '✗ course: the check itself stopped with RuntimeError("the check\'s own").\n'
        "  Hint: this is a fault of the course: please report it with your function.\n"
        "  The notebook goes on with the course's own version.\n"
    )
    with pytest.raises(RuntimeError, match="the check's own"):
        exercise(check=broken)(course).judge(lambda: 0)


def test_an_exit_does_not_leave_the_check(capsys):
    result, said = verdict(cfg_combine, lambda u, c, w: sys.exit(1), capsys)
    assert result is cfg_combine.course
    assert said.startswith("✗ cfg_combine: it left Python with SystemExit (line 1 of the function).\n")
    assert "end with `return`, not with exit()." in said


def test_exit_in_a_notebook_does_not_end_the_kernel(capsys, monkeypatch):
    """There `exit` is IPython's own: it raises nothing, and the kernel ends after the cell."""
    shell = InteractiveShell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    said = verdict(cfg_combine, lambda u, c, w: ExitAutocall(shell)(), capsys)[1]
    assert said.startswith("✗ cfg_combine: it left Python with SystemExit")
    assert not shell.exit_now
    assert "ask_exit" not in vars(shell)


def test_recursion_and_memory_get_a_hint(capsys):
    def endless(*inputs):
        return endless(*inputs)

    assert "the function calls itself again and again" in verdict(cfg_combine, endless, capsys)[1]
    assert "more memory than there is" in verdict(cfg_combine, lambda u, c, w: [0] * 10**17, capsys)[1]


def test_interrupts_pass_through():
    def interrupted(*inputs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cfg_combine(interrupted)


DOUBLE = Mistake(lambda x: 2 * x, "squared, not doubled.")


def square_cases():
    return [Case((x,), torch.tensor(x * x), f"for x = {x:g}") for x in (2.0, 3.0)]


@exercise(cases=square_cases, mistakes=[DOUBLE], hint="x times x.", returns=NUMBER)
def square(x):
    """A number → its square."""
    return x * x


def test_the_decorated_function_gives_the_exercise_its_name_and_docstring():
    assert square.name == "square"
    assert square.__doc__ == "A number → its square."
    assert square.course(3) == 9


def test_a_mistake_must_explain_every_case(capsys):
    # At x = 2 the double is the square, so the message shows x = 3.
    said = verdict(square, lambda x: 2 * x, capsys)[1]
    assert "for x = 3: expected 9, got 6." in said
    assert "squared, not doubled." in said
    assert "x times x." in verdict(square, lambda x: x + 3, capsys)[1]
    assert verdict(square, lambda x: x**2, capsys)[1].startswith("✓")


def test_cases_are_made_once_and_late():
    made = []

    def cases():
        made.append(torch.is_grad_enabled())
        return square_cases()

    lazy = exercise(cases=cases, returns=NUMBER)(square.course)
    assert made == []
    with torch.no_grad():
        lazy(lambda x: x * x)
    lazy(lambda x: x * x)
    assert made == [True], "cases may use autograd, whatever the notebook has switched off"


def test_checks_go_before_and_after_the_cases(capsys):
    order = []

    def before(attempt):
        order.append("before")

    def after(attempt):
        order.append("after")
        raise Wrong("a last look", "look again.")

    strict = exercise(check=before, cases=square_cases, after=after, returns=NUMBER)(square.course)
    assert "✗ square: for x = 2: expected 4, got 5." in verdict(strict, lambda x: x + 3, capsys)[1]
    assert order == ["before"], "what comes after is for right answers"
    assert "✗ square: a last look.\n  Hint: look again.\n" in verdict(strict, lambda x: x * x, capsys)[1]
    assert order == ["before", "before", "after"]


def test_a_word_of_an_exception_leads_to_its_hint(capsys):
    helpful = exercise(cases=square_cases, on_error={"division": "do not divide."}, returns=NUMBER)(square.course)
    assert "  Hint: do not divide.\n" in verdict(helpful, lambda x: x / 0, capsys)[1]


def test_the_first_mistake_that_explains_gives_the_hint():
    mistakes = [Mistake(abs, "first."), DOUBLE, Mistake(lambda x: x + x, "third.")]
    assert hint_for(mistakes, lambda mistake: mistake.answer(3) == 6, "none.") == "squared, not doubled."
    assert hint_for(mistakes, lambda mistake: mistake.answer(3) == 7, "none.") == "none."


def test_answers_are_compared_in_float64_on_the_cpu():
    answer = torch.ones(2, requires_grad=True)
    compared = as_tensor(answer, Case((), torch.ones(2), ""))
    assert (compared.dtype, compared.device.type, compared.requires_grad) == (torch.float64, "cpu", False)


def test_noise_is_the_same_on_every_call_and_leaves_no_trace():
    before = torch.get_rng_state()
    assert torch.equal(noise(2, 3, seed=1), noise(2, 3, seed=1))
    assert not torch.equal(noise(2, 3, seed=1), noise(2, 3, seed=2))
    assert torch.equal(before, torch.get_rng_state())
