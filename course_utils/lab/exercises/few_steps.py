"""Few steps: guidance distilled into one answer, two steps made one, and the sampler that takes long steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.diffusion.paths import over
from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.checking import Case, Mistake, exercise, noise, wrong_reductions
from course_utils.lab.exercises.returns import Wrong

Student = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Teacher = Callable[[Tensor, Tensor, Tensor], Tensor]
Step = Callable[[Tensor, Tensor, Tensor], Tensor]


def _student(z: Tensor, t: Tensor, s: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """A fixed student that looks at everything that it is told."""
    return 0.6 * z + t[:, None] - 2 * (t - s)[:, None] * z.flip(1) + 0.2 * (y + w)[:, None]


def _teacher(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A fixed teacher, whose answer without a class (y = −1) differs from that with one."""
    return 0.8 * z - t[:, None] * z.flip(1) + 0.5 * y[:, None]


def _distilled_case(n: int, seed: int, words: str) -> Case:
    """The definition, point by point."""
    z, t = noise(n, 2, seed=seed), torch.linspace(0.3, 0.9, n)
    y, w = torch.arange(n) % 3, torch.linspace(0.5, 4.0, n)
    total = 0.0
    for i in range(n):
        one = slice(i, i + 1)
        free, told = _teacher(z[one], t[one], torch.tensor([-1])), _teacher(z[one], t[one], y[one])
        guided = free + float(w[i]) * (told - free)
        said = _student(z[one], t[one], t[one], y[one], w[one])
        total += sum((a - b) ** 2 for a, b in zip(said[0].tolist(), guided[0].tolist(), strict=True))
    return Case((_student, _teacher, z, t, y, w), torch.tensor(total / n), words)


def _guided(teacher: Teacher, z: Tensor, t: Tensor, y: Tensor, w: Tensor) -> Tensor:
    free = teacher(z, t, torch.full_like(y, -1))
    return free + w[:, None] * (teacher(z, t, y) - free)


def _error(student: Student, teacher: Teacher, z: Tensor, t: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return student(z, t, t, y, w) - _guided(teacher, z, t, y, w)


def _against(target: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss with another target."""
    return lambda m, f, z, t, y, w: (m(z, t, t, y, w) - target(f, z, t, y, w)).square().sum(1).mean()


def _student_learns(attempt: Attempt) -> None:
    """A gradient reaches the student's weights, through its answer."""
    weight = torch.tensor(0.5, requires_grad=True)
    _, teacher, *given = _distilled_case(3, 4, "").inputs
    loss = attempt.run(attempt.function, lambda *question: weight * _student(*question), teacher, *given)
    expected = torch.autograd.grad(
        distilled_loss.course(lambda *question: weight * _student(*question), teacher, *given), weight
    )[0]
    got = torch.autograd.grad(loss, weight, allow_unused=True)[0] if loss.requires_grad else None
    if got is None or not torch.allclose(got, expected, rtol=1e-3):
        raise Wrong(
            f"{'no' if got is None else 'a wrong'} gradient reaches the student's weights",
            "only the teacher's part is a constant; the student's own answer must not be under no_grad.",
        )


@exercise(
    cases=lambda: [_distilled_case(3, 0, "for three points"), _distilled_case(5, 2, "for five points")],
    mistakes=[
        Mistake(
            _against(lambda f, z, t, y, w: f(z, t, y)),
            "the target is the teacher's conditional answer, so the student would learn w = 1 for every w.",
        ),
        Mistake(
            _against(lambda f, z, t, y, w: f(z, t, y) + w[:, None] * (f(z, t, y) - f(z, t, torch.full_like(y, -1)))),
            "this is the 1 + w convention: guided is v_u + w (v_c − v_u), so that w = 1 is conditional.",
        ),
        Mistake(
            _against(lambda f, z, t, y, w: f(z, t, y) + w[:, None] * (f(z, t, torch.full_like(y, -1)) - f(z, t, y))),
            "the two answers are swapped: start without a class (y = −1) and go w times the way to the class's.",
        ),
        Mistake(
            lambda m, f, z, t, y, w: (
                (m(z, t, torch.zeros_like(t), y, w) - _guided(f, z, t, y, w)).square().sum(1).mean()
            ),
            "the student was asked for the whole way, s = 0. The velocity at t is the mean velocity from t to t: s = t.",
        ),
        *wrong_reductions(_error),
    ],
    hint="the target is v_u + w (v_c − v_u), with one w for each row: w[:, None]; the student is asked with s = t.",
    on_error={"must match the size": "w has shape (B,); w[:, None] has (B, 1), one factor for each point."},
    after=_student_learns,
)
def distilled_loss(student: Student, teacher: Teacher, z: Tensor, t: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """student(z, t, s, y, w) and teacher(z, t, y) → (B, 2); y = −1: no class. z (B, 2), t, y, w (B,) → the loss ().

    Meng et al. 2023: the mean over points of ‖u(z, t, t, y, w) − guided velocity‖². The target is a constant.
    """
    with torch.no_grad():
        free = teacher(z, t, torch.full_like(y, -1))
        target = free + w[:, None] * (teacher(z, t, y) - free)
    return (student(z, t, t, y, w) - target).square().sum(1).mean()


def _turning(z: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """A step that depends on where, when and how far."""
    return 0.5 * z + t[:, None] * z.flip(1) + (t - s)[:, None]


def _halves_case(n: int, seed: int, words: str) -> Case:
    """Both halves, point by point in double precision, and what leads there in one step."""
    z, t = noise(n, 2, seed=seed), torch.linspace(0.5, 1.0, n)
    s, rows = t / 4, []
    for point, start, end in zip(z.double(), t.tolist(), s.tolist(), strict=True):
        at, middle = point[None], (start + end) / 2
        for a, b in ((start, middle), (middle, end)):
            at = at - (a - b) * _turning(at, torch.tensor([a]).double(), torch.tensor([b]).double())
        rows.append((point - at[0]) / (start - end))
    return Case((_turning, z, t, s), torch.stack(rows), words)


def _walk(step: Step, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return z - over(t - s, z) * step(z, t, s)


def _half_way(step: Step, z: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    middle = (t + s) / 2
    return _walk(step, z, t, middle), middle


@exercise(
    cases=lambda: [
        _halves_case(1, 0, "for one point"),
        _halves_case(4, 2, "for four points, each with its own t and s"),
    ],
    mistakes=[
        Mistake(
            lambda step, z, t, s: step(z, t, s), "this is one step, as it was before: take two of half the length."
        ),
        Mistake(
            lambda step, z, t, s: (step(z, t, (t + s) / 2) + step(z, (t + s) / 2, s)) / 2,
            "the second half starts where the first one ends: go there before you ask again.",
        ),
        Mistake(
            lambda step, z, t, s: _walk(step, *_half_way(step, z, t, s), s),
            "this is where the two steps end, z_s. Asked for is the mean velocity that leads there: (z_t − z_s) / (t − s).",
        ),
        Mistake(
            lambda step, z, t, s: z - _walk(step, *_half_way(step, z, t, s), s),
            "this is the whole way. A velocity is that way per time: divide by t − s.",
        ),
        Mistake(
            lambda step, z, t, s: (_walk(step, *_half_way(step, z, t, s), s) - z) / over(t - s, z),
            "the sign: time falls from t to s, so the velocity is (z_t − z_s) / (t − s).",
        ),
        Mistake(
            lambda step, z, t, s: (z - _walk(step, _half_way(step, z, t, s)[0], t, (t + s) / 2)) / over(t - s, z),
            "the second half goes from the middle to s: step(z_middle, middle, s).",
        ),
    ],
    hint="middle = (t + s) / 2; z_m = z − (t − middle) · step(z, t, middle); z_s likewise from z_m; then (z − z_s) / (t − s).",
    on_error={"must match the size": "t and s have shape (B,); (t - s)[:, None] has (B, 1)."},
)
def two_into_one(step: Step, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """step(z, t, s) → mean velocity (B, 2). Points z (B, 2), times t and s (B,), s < t → mean velocity (B, 2).

    Salimans & Ho 2022, Frans et al. 2024: the one step that leads where two steps of half the length lead.
    """
    middle = (t + s) / 2
    z_middle = z - (t - middle)[:, None] * step(z, t, middle)
    z_s = z_middle - (middle - s)[:, None] * step(z_middle, middle, s)
    return (z - z_s) / (t - s)[:, None]


def _sampler_cases() -> list[Case]:
    """The exact student of dz/dt = z ends at z e⁻¹ in any number of steps; another one is walked by hand."""

    def exact(z: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return ((1 - (s - t).exp()) / (t - s))[:, None] * z

    z = noise(3, 2, seed=6)
    cases = [Case((exact, z, n), z.double() * torch.tensor(-1.0).double().exp(), f"in {n} steps") for n in (1, 4)]
    at, times = z.double(), [1.0, 2 / 3, 1 / 3, 0.0]
    for a, b in zip(times, times[1:], strict=False):
        at = at - (a - b) * _turning(at, torch.full((3,), a).double(), torch.full((3,), b).double())
    return [*cases, Case((_turning, z, 3), at, "in 3 steps of a student that looks at t and s")]


def _onwards(step: Step, z: Tensor, n: int, sign: float, to_the_end: bool = False) -> Tensor:
    """n steps with a mistake in the sign, or in how far the student is asked for."""
    for k in range(n):
        t, s = (torch.full((len(z),), 1 - i / n) for i in (k, k + 1))
        z = z + sign * (t - s)[:, None] * step(z, t, torch.zeros_like(s) if to_the_end else s)
    return z


@exercise(
    cases=_sampler_cases,
    mistakes=[
        Mistake(
            lambda step, z, n: z - step(z, torch.ones(len(z)), torch.zeros(len(z))),
            "this is always one step, whatever n is.",
        ),
        Mistake(
            lambda step, z, n: _onwards(step, z, n, 1.0),
            "the sign: from noise to data time falls, z_s = z_t − (t − s) u.",
        ),
        Mistake(
            lambda step, z, n: _onwards(step, z, n, -1.0, to_the_end=True),
            "u is asked for the way to s = 0 each time. Ask for the next time only: s = t − 1/n.",
        ),
    ],
    hint="for k = 0 … n − 1: t = 1 − k/n, s = t − 1/n, z = z − (t − s) · step(z, t, s), with times of shape (B,).",
    on_error={"has no attribute": "step takes tensors: torch.full((len(z),), 1 - k / n)."},
)
def few_steps(step: Step, z: Tensor, n: int) -> Tensor:
    """step(z, t, s) → mean velocity (B, 2). Noise z (B, 2), n equal steps from t = 1 to 0 → where they end (B, 2)."""
    for k in range(n):
        t, s = (torch.full((len(z),), 1 - i / n) for i in (k, k + 1))
        z = z - (t - s)[:, None] * step(z, t, s)
    return z
