"""How an exercise is checked: one calm line, and the notebook always goes on.

    cfg_combine = exercises_07.cfg_combine(cfg_combine)

An `Exercise` is called with the student's function. It prints a verdict and returns the student's function if
it is right, else the course's own version, so that Run All works whatever stands in the cell. The exercises
themselves live in one file a notebook (`exercises_07`, ...).

A check compares what the student's function answers with an independent answer: a closed form, a library,
finite differences. A hint for one particular mistake comes from a `Mistake`, the formula that
someone who makes it would write: if the answers agree, that is the mistake.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

GOES_ON = "The notebook goes on with the course's own version."


class Wrong(Exception):
    """The answer is wrong: what was expected and what came, and a hint if the mistake is a known one."""

    def __init__(self, what: str, hint: str = ""):
        super().__init__(what)
        self.what, self.hint = what, hint


class NotAttempted(Exception):
    """The function's body is still `...`."""


@dataclass(frozen=True)
class Case:
    """Inputs, the right answer to them, and the inputs in words ("at w = 3")."""

    inputs: tuple
    expected: Tensor
    words: str


@dataclass(frozen=True)
class Mistake:
    """A wrong formula that people do write, and the hint that helps. Called with a case's inputs."""

    answer: Callable[..., Tensor]
    hint: str


def _placeholder():
    """A body with nothing but a docstring and `...`, to recognise others like it."""
    ...


def _is_placeholder(function: Callable) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and len(code.co_code) <= len(_placeholder.__code__.co_code)


def _where(error: Exception, function: Callable) -> str:
    """In which line of the student's function an error arose, counted from its `def`."""
    code = getattr(function, "__code__", None)
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code is code:
            return f"line {line - code.co_firstlineno + 1} of the function"
    return "before its first line: do its arguments match?"


class Attempt:
    """The student's function, called with copies of its inputs; what it does wrong comes out as `Wrong`.

    `on_error` maps a word in an exception's message to a hint, for mistakes that stop the function.
    """

    def __init__(self, function: Callable, on_error: Mapping[str, str] | None = None):
        self.function, self.on_error = function, on_error or {}

    def __call__(self, *inputs: Any) -> Any:
        given = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
        try:
            answer = self.function(*given)
        except Exception as error:
            # A gap in the middle is still `...`, or the body is a bare `raise NotImplementedError`.
            if "ellipsis" in str(error) or (isinstance(error, NotImplementedError) and not error.args):
                raise NotAttempted from None
            hints = (hint for word, hint in self.on_error.items() if word in str(error))
            message = (str(error).splitlines() or ["no message"])[0]
            what = f"it stopped with {type(error).__name__}: {message} ({_where(error, self.function)})"
            raise Wrong(what, next(hints, "")) from error
        if answer is Ellipsis or (answer is None and _is_placeholder(self.function)):
            raise NotAttempted
        if answer is None:
            raise Wrong("it returned None", "the function must return its result: is a `return` missing?")
        for before, after in zip(inputs, given, strict=True):
            if isinstance(before, Tensor) and not torch.equal(before, after):
                raise Wrong(
                    "it changed its input in place",
                    "the caller still needs it: make a new tensor (`a + b`, `torch.where`, `.clone()`).",
                )
        return answer


@dataclass(frozen=True)
class Exercise:
    """A named check. Called with a function, it prints one verdict and returns the function to use.

    `course`: the course's own version. `check(attempt)` raises `Wrong` or returns; it calls `attempt` as it
    would call the function. `on_error`: see `Attempt`.
    """

    name: str
    course: Callable
    check: Callable[[Attempt], None]
    on_error: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, student: Callable) -> Callable:
        try:
            if not callable(student):
                raise Wrong(f"expected a function, got {type(student).__name__}")
            self.check(Attempt(student, self.on_error))
        except NotAttempted:
            print(f"○ {self.name}: not attempted yet. {GOES_ON}")
        except Wrong as wrong:
            print(f"✗ {self.name}: {wrong.what}.")
            if wrong.hint:
                print(f"  Hint: {wrong.hint}")
            print(f"  {GOES_ON}")
        else:
            print(f"✓ {self.name}: right. From here on the notebook uses your function.")
            return student
        return self.course


def formula(
    cases: Sequence[Case], mistakes: Sequence[Mistake], hint: str = "", tolerance: float = 1e-4
) -> Callable[[Attempt], None]:
    """A check of a formula: its answers to all cases, and the hint of a mistake that explains all of them.

    `hint` is for answers that no mistake explains. `tolerance` is relative to the size of the right answer.
    """

    def check(attempt: Attempt) -> None:
        answers = [as_tensor(attempt(*case.inputs), case) for case in cases]
        wrong = [not _close(a, case.expected, tolerance) for a, case in zip(answers, cases, strict=True)]
        if not any(wrong):
            return
        known = (
            mistake.hint
            for mistake in mistakes
            if all(_close(a, mistake.answer(*case.inputs), tolerance) for a, case in zip(answers, cases, strict=True))
        )
        first = wrong.index(True)
        raise Wrong(difference(answers[first], cases[first], tolerance), next(known, hint))

    return check


def as_tensor(answer: Any, case: Case) -> Tensor:
    """The answer as a tensor of the expected shape, or `Wrong` with the shape or the type that came."""
    shape = tuple(case.expected.shape)
    if isinstance(answer, (tuple, dict)):
        raise Wrong(f"expected one tensor of shape {shape}, got a {type(answer).__name__} of {len(answer)}")
    try:
        answer = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"expected a tensor of shape {shape}, got {type(answer).__name__}") from None
    if answer.shape != case.expected.shape:
        came = tuple(answer.shape)
        raise Wrong(
            f"{case.words}: expected shape {shape}, got {came}",
            "was something summed, joined or broadcast along the wrong axis?",
        )
    return answer.detach().to("cpu", torch.float64)


def difference(answer: Tensor, case: Case, tolerance: float) -> str:
    """What was expected and what came, at the first place where they differ."""
    expected = case.expected.double()
    if bool(answer.isnan().any()) and not bool(expected.isnan().any()):
        return f"{case.words}: the answer holds NaN"
    off = ((answer - expected).abs() > tolerance * (1 + expected.abs())).flatten()
    i = int(off.nonzero()[0])
    return f"{case.words}: expected {expected.flatten()[i]:.4g}, got {answer.flatten()[i]:.4g}"


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    b = torch.as_tensor(b).detach().to("cpu", torch.float64)
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)
