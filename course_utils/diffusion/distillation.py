"""Distillation: what a student of few forwards learns from a guided teacher of many.

A student answers a wider question than a denoiser: not "which way now?" but "how far on average until s?". Its answer is
the mean velocity u(z_t, t, s, cond, w) = (z_t − z_s) / (t − s) of the way that a teacher, guided with w, takes from t to
s < t, so that z_s = z_t − (t − s) u is one step, however long. At s = t it is the teacher's guided velocity itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.arguments import whole
from course_utils.diffusion.paths import Prediction, RectifiedFlow, over
from course_utils.diffusion.samplers import euler, time_grid
from course_utils.losses import same_shape

Velocity = Callable[[Tensor, Tensor], Tensor]  # (z (B, ...), t (B,)) -> (B, ...)
MeanVelocity = Callable[[Tensor, Tensor, Tensor], Tensor]  # (z (B, ...), t (B,), s (B,)) -> (B, ...)
Student = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]  # (z, t, s, cond, w) -> (B, ...)


def mean_velocity(z_t: Tensor, z_s: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """(z_t − z_s) / (t − s): what leads from z_t to z_s, both (B, ...), in one step. t, s (B,) with s < t.

    The average velocity of MeanFlow (Geng et al. 2025); what a shortcut model answers (Frans et al. 2024).
    """
    same_shape(z_t=z_t, z_s=z_s)
    if not bool((s < t).all()):
        raise ValueError(f"s is {s.tolist()} and t {t.tolist()}; expected s below t everywhere")
    return (z_t - z_s) / over(t - s, z_t)


def step_to(step: MeanVelocity, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """z_s from z_t (B, ...) in one step of mean velocity: z − (t − s) u."""
    return z - over(t - s, z) * step(z, t, s)


@torch.no_grad()
def two_steps(step: MeanVelocity, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The mean velocity (B, ...) of two steps of equal length from t (B,) to s (B,): the target of one long step.

    Of a teacher's two steps it is progressive distillation (Salimans & Ho 2022), of the student's own it is the
    self-consistency of shortcut models (Frans et al. 2024). No gradient flows through a target.
    """
    middle = (t + s) / 2
    return mean_velocity(z, step_to(step, step_to(step, z, t, middle), middle, s), t, s)


@torch.no_grad()
def trajectory(velocity: Velocity, z: Tensor, steps: int, keep: int) -> Tensor:
    """Where Euler's `steps` steps lead from noise z (B, ...), looked at `keep` times: (keep + 1, B, ...), noise first.

    The times of what is kept are `time_grid(keep)`, so keep divides steps. Any two of them give a target for one step of
    the student, along a way that the teacher really takes (Luhman & Luhman 2021 take the two ends).
    """
    steps, keep = whole("steps", steps, 1), whole("keep", keep, 1)
    if steps % keep:
        raise ValueError(f"keep is {keep}; expected a divisor of steps, {steps}")
    kept, path = [z], RectifiedFlow()  # a velocity is what leads on, whatever the path

    def look(step: int, z: Tensor, _: Prediction) -> None:
        if (step + 1) % (steps // keep) == 0:
            kept.append(z)

    euler(lambda z, t: path.from_velocity(velocity(z, t), z, t), z, time_grid(steps), callback=look)
    return torch.stack(kept)


def regression(student: Student, z: Tensor, t: Tensor, s: Tensor, cond: Tensor, w: Tensor, target: Tensor) -> Tensor:
    """‖u(z_t, t, s, cond, w) − target‖², summed over a latent: (B, ...), (B,), (B,), (B, D), (B,), (B, ...) -> (B,).

    With the teacher's guided velocity as target and s = t it distils guidance into one forward (Meng et al. 2023, stage one);
    with a mean velocity, steps.
    """
    same_shape(z=z, target=target)
    return (student(z, t, s, cond, w) - target).square().flatten(1).sum(1)
