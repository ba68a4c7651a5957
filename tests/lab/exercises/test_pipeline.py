"""Every check of notebook 08 accepts right answers, however written, and meets each wrong one with the hint meant for it."""

import math

import pytest
import torch
import torch.nn.functional as F

from course_utils.lab.exercises import pipeline as eight
from course_utils.lab.exercises.checking import Exercise


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


def over(values, z):
    return values[:, None, None, None]


def inside(t, low, high):
    return ((t > low) & (t <= high))[:, None, None, None]


# ---- right answers -----------------------------------------------------------------------------------------


def velocity_by_einsum(z0, eps, d_alpha, d_sigma):
    return torch.einsum("b,bchw->bchw", d_alpha, z0) + torch.einsum("b,bchw->bchw", d_sigma, eps)


def velocity_in_a_loop(z0, eps, d_alpha, d_sigma):
    return torch.stack([a * x + s * e for x, e, a, s in zip(z0, eps, d_alpha, d_sigma, strict=True)])


def through_the_ends(z, v, t, s):
    """Guess data and noise, then place the point between them."""
    z0, eps = z - t * v, z + (1 - t) * v
    return (1 - s) * z0 + s * eps


def turned(a, b, share):
    """Rotate a in the plane of a and b."""
    cosine = (a * b).sum(-1, keepdim=True)
    angle = torch.acos(cosine)
    across = F.normalize(b - cosine * a, dim=-1)
    return torch.cos(share * angle) * a + torch.sin(share * angle) * across


def two_sines(a, b, share):
    angle = torch.acos((a * b).sum(-1, keepdim=True))
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def scale_of_each(v_u, v_c, w, t, low, high):
    scale = torch.where((t > low) & (t <= high), w, 1.0)
    return v_u + over(scale, v_u) * (v_c - v_u)


def one_by_one(v_u, v_c, w, t, low, high):
    rows = [u + w * (c - u) if low < float(x) <= high else c for u, c, x in zip(v_u, v_c, t, strict=True)]
    return torch.stack(rows)


RIGHT = [
    (eight.path_velocity, lambda z0, eps, a, s: over(a, z0) * z0 + over(s, eps) * eps),
    (eight.path_velocity, velocity_by_einsum),
    (eight.path_velocity, velocity_in_a_loop),
    (eight.path_velocity, lambda z0, eps, a, s: a.view(-1, 1, 1, 1) * z0 + s.view(-1, 1, 1, 1) * eps),
    (eight.euler_step, lambda z, v, t, s: z + (s - t) * v),
    (eight.euler_step, lambda z, v, t, s: z - (t - s) * v),
    (eight.euler_step, through_the_ends),
    (eight.slerp, two_sines),
    (eight.slerp, turned),
    (
        eight.interval_guidance,
        lambda u, c, w, t, low, high: torch.where(inside(t, low, high), u + w * (c - u), c),
    ),
    (eight.interval_guidance, scale_of_each),
    (eight.interval_guidance, one_by_one),
]
EXERCISES = [v for v in vars(eight).values() if isinstance(v, Exercise)]


@pytest.mark.parametrize(("exercise", "function"), RIGHT)
def test_right_answers_are_used_from_there_on(exercise, function, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is function, said
    assert said == f"✓ {exercise.name}: right. From here on the notebook uses your function.\n"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_courses_own_version_is_right(exercise, capsys):
    before = torch.get_rng_state()
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")
    assert torch.equal(before, torch.get_rng_state()), "a check leaves no trace"


# ---- wrong answers -----------------------------------------------------------------------------------------


def with_if(v_u, v_c, w, t, low, high):
    if t > low and t <= high:
        return v_u + w * (v_c - v_u)
    return v_c


def no_axis(v_u, v_c, w, t, low, high):
    return torch.where((t > low) & (t <= high), v_u + w * (v_c - v_u), v_c)


def one_angle_for_all(a, b, share):
    angle = torch.acos((a * b).sum(-1))
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def in_degrees(a, b, share):
    angle = torch.acos((a * b).sum(-1, keepdim=True)) * 180 / math.pi
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def undivided(a, b, share):
    angle = torch.acos((a * b).sum(-1, keepdim=True))
    return torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b


WRONG = [
    (eight.path_velocity, lambda z0, eps, a, s: a * z0 + s * eps, "spread along the last axis"),
    (eight.path_velocity, lambda z0, eps, a, s: eps - z0, "the straight path only"),
    (eight.path_velocity, lambda z0, eps, a, s: over(a, z0) * eps + over(s, z0) * z0, "the two are swapped"),
    (eight.path_velocity, lambda z0, eps, a, s: over(s, z0) * eps - over(a, z0) * z0, "negative already"),
    (eight.path_velocity, lambda z0, eps, a, s: -over(a, z0) * z0 - over(s, z0) * eps, "walks against it"),
    (eight.path_velocity, lambda z0, eps, a, s: over(a, z0) * z0, "only α and σ depend on t"),
    (eight.path_velocity, lambda z0, eps, a, s: z0.mul_(over(a, z0)) + over(s, z0) * eps, "in place"),
    (eight.euler_step, lambda z, v, t, s: z + (t - s) * v, "which is negative on the way"),
    (eight.euler_step, lambda z, v, t, s: z - s * v, "not s"),
    (eight.euler_step, lambda z, v, t, s: z - t * v, "the guess of the data"),
    (eight.euler_step, lambda z, v, t, s: z - v, "a step of length 1"),
    (eight.euler_step, lambda z, v, t, s: (s - t) * v, "add it to z"),
    (eight.euler_step, lambda z, v, t, s: z + (s - t) * v / 2, "time × velocity"),
    (eight.slerp, lambda a, b, share: (1 - share) * a + share * b, "shorter than 1"),
    (
        eight.slerp,
        lambda a, b, share: F.normalize(torch.lerp(a, b, share), dim=-1),
        "pushed out to the sphere",
    ),
    (eight.slerp, lambda a, b, share: two_sines(b, a, share), "the ends are swapped"),
    (eight.slerp, undivided, "sine of the whole angle is missing"),
    (eight.slerp, in_degrees, "angle = acos(a · b)"),
    (eight.slerp, one_angle_for_all, "keeps the axis"),
    (
        eight.interval_guidance,
        lambda u, c, w, t, low, high: torch.where(inside(t, low, high), u + w * (c - u), u),
        "the prompt still counts",
    ),
    (
        eight.interval_guidance,
        lambda u, c, w, t, low, high: inside(t, low, high) * (u + w * (c - u)),
        "a velocity all the same",
    ),
    (
        eight.interval_guidance,
        lambda u, c, w, t, low, high: torch.where(inside(t, low, high), c, u + w * (c - u)),
        "inside and outside are swapped",
    ),
    (
        eight.interval_guidance,
        lambda u, c, w, t, low, high: torch.where(over((t >= low) & (t < high), u), u + w * (c - u), c),
        "the other way round",
    ),
    (
        eight.interval_guidance,
        lambda u, c, w, t, low, high: torch.where(over((t >= low) & (t <= high), u), u + w * (c - u), c),
        "low itself lies outside",
    ),
    (eight.interval_guidance, lambda u, c, w, t, low, high: u + w * (c - u), "every latent was guided"),
    (eight.interval_guidance, lambda u, c, w, t, low, high: c, "no latent was guided"),
    (
        eight.interval_guidance,
        lambda u, c, w, t, low, high: torch.where(inside(t, low, high), c + w * (c - u), c),
        "1 + w convention",
    ),
    (eight.interval_guidance, with_if, "choose with torch.where"),
    (eight.interval_guidance, no_axis, "spreads it over the latent"),
]


@pytest.mark.parametrize(("exercise", "function", "hint"), WRONG)
def test_wrong_answers_get_the_hint_meant_for_them(exercise, function, hint, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is exercise.course
    assert said.startswith(f"✗ {exercise.name}: ")
    assert hint in said
    assert said == verdict(exercise, function, capsys)[1]  # nbval compares what is printed


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_each_check_rejects_three_wrong_answers_and_more(exercise):
    assert sum(e is exercise for e, _, _ in WRONG) >= 3


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_every_exercise_may_be_left_for_later(exercise, capsys):
    assert verdict(exercise, lambda *inputs: ..., capsys)[1].startswith("○")
