"""How an exercise is checked: one calm line, and the notebook always goes on.

    from course_utils.lab.exercises import classifier_free_guidance as check

    cfg_combine = check.cfg_combine(cfg_combine)

Every exercise is the course's own version of a function, decorated with `exercise`, in the module of its subject.
The name then stands for an `Exercise`. Called with the student's function, it prints a verdict and returns that
function if it is right, or else the course's own version, so that Run All works whatever stands in the cell.

A check compares what the student's function answers with an independent answer: a closed form, a library,
finite differences. The hint for a particular mistake comes from a `Mistake`, which is the formula that someone
who makes it would write. If the answers agree, that is the mistake. Then comes what the notebook needs beside
the right values: type, dtype, gradient, and the device that it works on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils import runtime
from course_utils.lab.exercises.attempt import Attempt, Call, moved, undisturbed
from course_utils.lab.exercises.returns import TENSOR, NotAttempted, Returns, Wrong, is_tensor, named, one_line

GOES_ON = "The notebook goes on with the course's own version."
RIGHT, WRONG, NOT_ATTEMPTED, COURSES_OWN = "right", "wrong", "not attempted", "the course's own"


@dataclass(frozen=True)
class Verdict:
    """One of the four words above, and the lines to print."""

    kind: str
    lines: tuple[str, ...]


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


def wrong_reductions(error: Callable[..., Tensor]) -> list[Mistake]:
    """Of a loss that sums squares over a point's coordinates and averages over points: `error` (B, D) reduced otherwise."""
    return [
        Mistake(
            lambda *given: error(*given).square().mean(),
            "this is the mean over all numbers. Sum over a point's coordinates, then take the mean over points.",
        ),
        Mistake(
            lambda *given: error(*given).square().sum(),
            "this is the sum over the batch, too: it would grow with the batch. Take the mean over points.",
        ),
    ]


def noise(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers, the same ones on every call, without a trace in the global random state."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Check = Callable[[Attempt], None]
"""Calls the attempt as it would call the function, and raises `Wrong` unless all is right."""


@dataclass(eq=False)
class Exercise:
    """The checks of one function. Called with the student's, it prints one verdict and returns the one to use.

    `course` is the course's own version, whose name and docstring are the exercise's. The `checks` are made in
    order, up to the first that fails. `mistakes` are all those that have a hint. For `on_error` see `Attempt`.
    The rest is what the notebook needs, see `exercise`.
    """

    course: Callable
    checks: Sequence[Check]
    mistakes: Sequence[Mistake] = ()
    on_error: Mapping[str, str] = field(default_factory=dict)
    returns: Returns = TENSOR
    keywords: Sequence[str] = ()
    learned: Sequence[str] = ()
    on_cpu: Sequence[str] | None = None

    def __post_init__(self):
        self.name, self.__doc__ = self.course.__name__, self.course.__doc__
        self.arguments = tuple(inspect.signature(self.course).parameters)

    def __call__(self, student: Any) -> Callable:
        verdict = self.verdict(student)
        print("\n".join(verdict.lines))
        return student if verdict.kind == RIGHT else self.course

    def verdict(self, student: Any) -> Verdict:
        """What to say of a student's function. Even a fault of the check itself is one calm line."""
        try:
            return self.judge(student)
        except Exception as error:
            message = f"the check itself stopped with {one_line(repr(error))}"
            return self._wrong(Wrong(message, "this is a fault of the course: please report it with your function."))

    def judge(self, student: Any) -> Verdict:
        """As `verdict`, but a fault of the check itself is raised, for those who can mend it."""
        try:
            if student is self.course or student is self:
                said = f"○ {self.name}: this is the course's own version."
                return Verdict(COURSES_OWN, (f"{said} Write yours in the cell above and run that cell again.",))
            if issubclass(type(student), Exercise):
                raise Wrong(f"expected your function, got the exercise {student.name}")
            if not callable(student):
                raise Wrong(f"expected a function, got {named(student)}", f"def {self.name}(...): … return …")
            with undisturbed():
                self._examine(Attempt(student, self.on_error, self.returns, self.arguments, self.keywords))
        except NotAttempted:
            return Verdict(NOT_ATTEMPTED, (f"○ {self.name}: not attempted yet. {GOES_ON}",))
        except Wrong as wrong:
            return self._wrong(wrong)
        return Verdict(RIGHT, (f"✓ {self.name}: right. From here on the notebook uses your function.",))

    def _wrong(self, wrong: Wrong) -> Verdict:
        hint = [f"  Hint: {wrong.hint}"] if wrong.hint else []
        return Verdict(WRONG, (f"✗ {self.name}: {wrong.what}.", *hint, f"  {GOES_ON}"))

    def _examine(self, attempt: Attempt) -> None:
        for check in self.checks:
            check(attempt)
        for call in attempt.calls:
            self.returns.insist(call.answer, call.inputs)
        if not attempt.calls:
            return
        last, device = attempt.calls[-1], runtime.device()
        if self.learned:
            self._check_gradients(attempt, last)
        if self.on_cpu is not None and device.type != "cpu":
            self._check_on(device, attempt, last)

    def _check_gradients(self, attempt: Attempt, last: Call) -> None:
        """Of some weighted sum of the answer, against the gradients of the course's own version."""
        inputs = dict(zip(self.arguments, last.inputs, strict=True))
        leaves = {name: inputs[name].detach().clone().requires_grad_() for name in self.learned}
        given = (inputs | leaves).values()
        right, answer = self.course(*given), attempt(*given)
        weights = noise(right.numel(), seed=11).view(right.shape)
        expected = torch.autograd.grad((weights * right).sum(), list(leaves.values()))
        got: Sequence[Tensor | None] = [None] * len(leaves)
        if answer.requires_grad:
            loss = (weights * answer).sum()
            got = attempt.run(torch.autograd.grad, loss, list(leaves.values()), allow_unused=True)
        for name, a, b in zip(leaves, got, expected, strict=True):
            if a is None or not torch.allclose(a, b, rtol=1e-2, atol=1e-3):
                raise Wrong(
                    f"{'no' if a is None else 'a wrong'} gradient reaches {name}",
                    "something is learned through this answer: no .detach(), .data, .item(), float() or no_grad.",
                )

    def _check_on(self, device: torch.device, attempt: Attempt, last: Call) -> None:
        """Once more where the notebook works, with all inputs there except those that it leaves on the CPU."""
        there = [
            x if name in (self.on_cpu or ()) else moved(x, device)
            for name, x in zip(self.arguments, last.inputs, strict=True)
        ]
        try:
            with torch.no_grad():
                again = attempt(*there)
            if is_tensor(again):
                case = Case((), last.answer.detach(), "the same inputs as on the CPU")
                if not torch.allclose(as_tensor(again, case), _float64(last.answer), rtol=1e-2, atol=1e-2):
                    raise Wrong("another answer than on the CPU")
        except Wrong as wrong:
            raise Wrong(
                f"right on the CPU, but not with its inputs on {device}, where the notebook works: {wrong.what}",
                wrong.hint or "what you make inside belongs where the inputs are: device=x.device, or .to(x.device).",
            ) from None


def exercise(
    *,
    cases: Callable[[], Sequence[Case]] | None = None,
    mistakes: Sequence[Mistake] = (),
    hint: str = "",
    tolerance: float = 1e-4,
    check: Check | None = None,
    after: Check | None = None,
    on_error: Mapping[str, str] | None = None,
    returns: Returns = TENSOR,
    keywords: Sequence[str] = (),
    learned: Sequence[str] = (),
    on_cpu: Sequence[str] | None = None,
) -> Callable[[Callable], Exercise]:
    """Makes an `Exercise` of the course's own version of a function.

    For a formula give `cases`, a function that makes them, with `mistakes`, `hint` and `tolerance` (see `Formula`).
    A freer `check` comes before the cases, or replaces them; it looks through the `mistakes` itself (see `hint_for`).
    A check that makes sense only for right answers comes `after` the cases.

    Then what the notebook needs: what the function `returns`, which arguments it passes as `keywords`, which ones
    are `learned` and so need a gradient. Where it works on its device, `on_cpu` lists the arguments that stay behind.
    """
    formula = None if cases is None else Formula(cases, mistakes, hint, tolerance)
    checks = [c for c in (check, formula, after) if c is not None]
    return lambda course: Exercise(course, checks, mistakes, on_error or {}, returns, keywords, learned, on_cpu)


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
    if not is_tensor(answer) and type(answer) is not bool and issubclass(type(answer), (int, float, np.number)):
        answer = _as_number(answer)
    if not is_tensor(answer):
        raise Wrong(f"expected {'a tensor of shape ' + str(shape) if shape else 'one number'}, got {named(answer)}")
    if answer.shape != case.expected.shape:
        came = tuple(answer.shape)
        raise Wrong(
            f"{case.words}: expected shape {shape}, got {came}",
            "was something summed, joined or broadcast along the wrong axis?",
        )
    return _float64(answer)


def _as_number(answer: Any) -> Tensor:
    try:
        return torch.tensor(float(answer), dtype=torch.float64)
    except OverflowError:
        raise Wrong(f"expected one number, got one of {answer.bit_length()} bits") from None


def difference(answer: Tensor, case: Case, tolerance: float) -> str:
    """What was expected and what came, at the first place where they differ."""
    expected = case.expected.double()
    if bool(answer.isnan().any()) and not bool(expected.isnan().any()):
        return f"{case.words}: the answer holds NaN"
    off = ((answer - expected).abs() > tolerance * (1 + expected.abs())).flatten()
    i = int(off.byte().argmax())  # the first one
    return f"{case.words}: expected {expected.flatten()[i]:.4g}, got {answer.flatten()[i]:.4g}"


def _float64(x: Tensor) -> Tensor:
    """On the CPU first, since Apple's MPS has no float64."""
    return x.detach().cpu().double()
