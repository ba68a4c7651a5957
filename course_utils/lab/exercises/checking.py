"""How an exercise is checked: one calm line, and the notebook always goes on.

    from course_utils.lab.exercises import classifier_free_guidance as check

    cfg_combine = check.cfg_combine(cfg_combine)

Every exercise is the course's own version of a function, decorated with `exercise`, in the module of its subject.
The name then stands for an `Exercise`. Called with the student's function, it prints a verdict and returns that
function if it is right, or else the course's own version, so that Run All works whatever stands in the cell.

A check compares what the student's function answers with an independent answer: a closed form, a library,
finite differences. The hint for a particular mistake comes from a `Mistake`, which is the formula that someone
who makes it would write. If the answers agree, that is the mistake.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
    """A wrong formula that people do write, and the hint that helps. It takes the same inputs as the exercise."""

    answer: Callable[..., Any]
    hint: str


def noise(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers, the same ones on every call, without a trace in the global random state."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
    """The student's function, called with copies of its inputs. What it does wrong is raised as `Wrong`.

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


Check = Callable[[Attempt], None]
"""Calls the attempt as it would call the function, and raises `Wrong` unless all is right."""


@dataclass(eq=False)
class Exercise:
    """The checks of one function. Called with the student's, it prints one verdict and returns the one to use.

    `course` is the course's own version, whose name and docstring are the exercise's. The `checks` are made in
    order, up to the first that fails. `mistakes` are all those that have a hint. For `on_error` see `Attempt`.
    """

    course: Callable
    checks: Sequence[Check]
    mistakes: Sequence[Mistake] = ()
    on_error: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.name, self.__doc__ = self.course.__name__, self.course.__doc__

    def __call__(self, student: Callable) -> Callable:
        try:
            if not callable(student):
                raise Wrong(f"expected a function, got {type(student).__name__}")
            attempt = Attempt(student, self.on_error)
            for check in self.checks:
                check(attempt)
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


def exercise(
    *,
    cases: Callable[[], Sequence[Case]] | None = None,
    mistakes: Sequence[Mistake] = (),
    hint: str = "",
    tolerance: float = 1e-4,
    check: Check | None = None,
    after: Check | None = None,
    on_error: Mapping[str, str] | None = None,
) -> Callable[[Callable], Exercise]:
    """Makes an `Exercise` of the course's own version of a function.

    For a formula give `cases`, a function that makes them, with `mistakes`, `hint` and `tolerance` (see `Formula`).
    A freer `check` comes before the cases, or replaces them; it looks through the `mistakes` itself (see `hint_for`).
    A check that makes sense only for right answers comes `after` the cases.
    """
    formula = None if cases is None else Formula(cases, mistakes, hint, tolerance)
    checks = [c for c in (check, formula, after) if c is not None]
    return lambda course: Exercise(course, checks, mistakes, on_error or {})


@dataclass(frozen=True)
class Formula:
    """A check of a formula: its answers to all cases, and the hint of a mistake that explains all of them.

    The cases are made when they are first needed. `hint` is for answers that no mistake explains. `tolerance` is
    relative to the size of the right answer.
    """

    make_cases: Callable[[], Sequence[Case]]
    mistakes: Sequence[Mistake] = ()
    hint: str = ""
    tolerance: float = 1e-4

    @cached_property
    def cases(self) -> Sequence[Case]:
        with torch.enable_grad():  # Some right answers come from autograd, whatever the notebook has switched off.
            return self.make_cases()

    def __call__(self, attempt: Attempt) -> None:
        answers = [as_tensor(attempt(*case.inputs), case) for case in self.cases]
        for answer, case in zip(answers, self.cases, strict=True):
            if not self._close(answer, case.expected):
                hint = hint_for(self.mistakes, lambda mistake: self._explains(mistake, answers), self.hint)
                raise Wrong(difference(answer, case, self.tolerance), hint)

    def _explains(self, mistake: Mistake, answers: list[Tensor]) -> bool:
        return all(self._close(a, mistake.answer(*c.inputs)) for a, c in zip(answers, self.cases, strict=True))

    def _close(self, a: Tensor, b: Any) -> bool:
        b = _float64(torch.as_tensor(b))
        return a.shape == b.shape and torch.allclose(a, b, rtol=self.tolerance, atol=self.tolerance)


def hint_for(mistakes: Sequence[Mistake], explains: Callable[[Mistake], bool], otherwise: str = "") -> str:
    """The hint of the first mistake that explains the answer."""
    return next((mistake.hint for mistake in mistakes if explains(mistake)), otherwise)


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
    return _float64(answer)


def difference(answer: Tensor, case: Case, tolerance: float) -> str:
    """What was expected and what came, at the first place where they differ."""
    expected = case.expected.double()
    if bool(answer.isnan().any()) and not bool(expected.isnan().any()):
        return f"{case.words}: the answer holds NaN"
    off = ((answer - expected).abs() > tolerance * (1 + expected.abs())).flatten()
    i = int(off.nonzero()[0])
    return f"{case.words}: expected {expected.flatten()[i]:.4g}, got {answer.flatten()[i]:.4g}"


def _float64(x: Tensor) -> Tensor:
    """On the CPU first, since Apple's MPS has no float64."""
    return x.detach().cpu().double()
