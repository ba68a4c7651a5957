"""Every check of notebook 03 accepts right answers, however written, and meets each wrong one with its hint."""

import pytest
import torch
import torch.nn.functional as F

from course_utils.lab.exercises import decoders as three
from course_utils.lab.exercises.checking import Exercise


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


def unit(f, dim=1):
    return f / (torch.linalg.vector_norm(f, dim=dim, keepdim=True) + 1e-10)


def layer(f, g, w):
    return ((unit(f) - unit(g)) ** 2 * w[None, :, None, None]).sum(1).mean((1, 2))


def layer_by_einsum(f, g, w):
    d = F.normalize(f, dim=1, eps=1e-10) - F.normalize(g, dim=1, eps=1e-10)
    return torch.einsum("bchw,bchw,c->b", d, d, w) / (f.shape[2] * f.shape[3])


def layer_place_by_place(f, g, w):
    f, g = (unit(v).flatten(2).transpose(1, 2) for v in (f, g))  # (B, places, C)
    return ((f - g).square() @ w).mean(1)


def guess_by_descent(samples):
    a = torch.zeros(samples.shape[1:], requires_grad=True)
    for _ in range(200):
        loss = ((samples - a) ** 2).mean(0).sum()
        (gradient,) = torch.autograd.grad(loss, a)
        a = (a - 0.3 * gradient).detach().requires_grad_()
    return a


RIGHT = [
    (three.best_guess, lambda samples: samples.mean(0)),
    (three.best_guess, lambda samples: sum(samples) / len(samples)),
    (three.best_guess, guess_by_descent),
    (three.layer_distance, layer),
    (three.layer_distance, layer_by_einsum),
    (three.layer_distance, layer_place_by_place),
    (three.hinge_critic, lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean()),
    (three.hinge_critic, lambda r, f: (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean()),
    (three.hinge_critic, lambda r, f: -(r - 1).clamp(max=0).mean() - (-f - 1).clamp(max=0).mean()),
    (three.hinge_decoder, lambda fake: -fake.mean()),
    (three.hinge_decoder, lambda fake: -fake.sum() / fake.numel()),
    (three.adaptive_weight, lambda r, a: r.norm() / (a.norm() + 1e-6)),
    (three.adaptive_weight, lambda r, a: r.square().sum().sqrt() / (a.square().sum().sqrt() + 1e-6)),
]
EXERCISES = [v for v in vars(three).values() if isinstance(v, Exercise)]


@pytest.mark.parametrize(("exercise", "function"), RIGHT)
def test_right_answers_are_used_from_there_on(exercise, function, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is function, said
    assert said == f"✓ {exercise.name}: right. From here on the notebook uses your function.\n"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_courses_own_version_is_right(exercise, capsys):
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_every_exercise_may_be_left_for_later(exercise, capsys):
    assert verdict(exercise, lambda *inputs: ..., capsys)[1].startswith("○")


def weigh(squares, w):
    return (squares * w[None, :, None, None]).sum(1).mean((1, 2))


def no_epsilon(f, g, w):
    return weigh((f / f.norm(dim=1, keepdim=True) - g / g.norm(dim=1, keepdim=True)) ** 2, w)


WRONG = [
    (three.best_guess, lambda s: s.median(0).values, "best under L1"),
    (three.best_guess, lambda s: s.sum(0), "divide by the number of pictures"),
    (three.best_guess, lambda s: s[0], "one of the pictures is not the best guess"),
    (three.best_guess, lambda s: (s.amin(0) + s.amax(0)) / 2, "the *largest* distance"),
    (three.best_guess, lambda s: s.mean().expand(s.shape[1:]), "one grey for the whole picture"),
    (three.best_guess, lambda s: s.square().mean(0).sqrt(), "no squares in the answer"),
    (three.best_guess, lambda s: s.mean(1), "along the wrong axis"),
    (three.best_guess, lambda s: s.std(0), "Differentiate by a"),
    (three.layer_distance, lambda f, g, w: weigh((f - g) ** 2, w), "not brought to unit length"),
    (three.layer_distance, lambda f, g, w: weigh((unit(f, (2, 3)) - unit(g, (2, 3))) ** 2, w), "over places"),
    (three.layer_distance, lambda f, g, w: weigh((unit(f, (1, 2, 3)) - unit(g, (1, 2, 3))) ** 2, w), "one norm"),
    (three.layer_distance, lambda f, g, w: weigh((unit(f) - unit(g)).abs(), w), "squared, not made positive"),
    (three.layer_distance, lambda f, g, w: ((unit(f) - unit(g)) ** 2).sum(1).mean((1, 2)), "w are missing"),
    (three.layer_distance, lambda f, g, w: weigh((unit(f) - unit(g)) ** 2, w**2), "it was squared too"),
    (three.layer_distance, lambda f, g, w: layer(f, g, w) * f[0, 0].numel(), "*mean* over places"),
    (three.layer_distance, lambda f, g, w: layer(f, g, w) / f.shape[1], "*sum* over channels"),
    (three.layer_distance, lambda f, g, w: weigh((unit(f) - unit(g)) ** 2, w).mean(), "expected shape"),
    (three.layer_distance, lambda f, g, w: 2 - 2 * (unit(f) * unit(g)).sum(1).mean((1, 2)), "w are missing"),
    (three.layer_distance, lambda f, g, w: ((unit(f) - unit(g)) ** 2 * w).sum(1).mean((1, 2)), "lines it up"),
    (three.layer_distance, no_epsilon, "0 / 0"),
    (three.hinge_critic, lambda r, f: three.hinge_critic.course(f, r), "swapped"),
    (three.hinge_critic, lambda r, f: (1 - r).mean() + (1 + f).mean(), "the hinge is missing"),
    (three.hinge_critic, lambda r, f: F.relu(-r).mean() + F.relu(f).mean(), "the margin is missing"),
    (three.hinge_critic, lambda r, f: F.relu(1 - r).mean() + F.relu(1 - f).mean(), "fall *below* −1"),
    (three.hinge_critic, lambda r, f: three.hinge_critic.course(r, f) / 2, "pays 2"),
    (three.hinge_critic, lambda r, f: F.relu(1 - r).sum() + F.relu(1 + f).sum(), "not sum"),
    (three.hinge_critic, lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(), "logistic loss"),
    (three.hinge_critic, lambda r, f: F.relu(1 - r.mean()) + F.relu(1 + f.mean()), "each patch has to pass"),
    (three.hinge_critic, lambda r, f: F.relu(1 - r).mean(), "the two means added"),
    (three.hinge_decoder, lambda f: f.mean(), "wants *high* scores"),
    (three.hinge_decoder, lambda f: F.relu(1 - f).mean(), "no hinge on this side"),
    (three.hinge_decoder, lambda f: F.relu(1 + f).mean(), "the critic's side"),
    (three.hinge_decoder, lambda f: -f.sum(), "not sum"),
    (three.hinge_decoder, lambda f: -F.relu(f).mean(), "must still be felt"),
    (three.hinge_decoder, lambda f: F.softplus(-f).mean(), "logistic loss"),
    (three.hinge_decoder, lambda f: -f, "expected shape"),
    (three.adaptive_weight, lambda r, a: a.norm() / (r.norm() + 1e-6), "upside down"),
    (three.adaptive_weight, lambda r, a: r.square().sum() / (a.square().sum() + 1e-6), "squared norms"),
    (three.adaptive_weight, lambda r, a: r.abs().sum() / (a.abs().sum() + 1e-6), "sums of absolute values"),
    (three.adaptive_weight, lambda r, a: r.abs().max() / (a.abs().max() + 1e-6), "largest entries"),
    (three.adaptive_weight, lambda r, a: r.mean() / (a.mean() + 1e-6), "cancel each other"),
    (three.adaptive_weight, lambda r, a: r.norm() * a.norm(), "a product"),
    (three.adaptive_weight, lambda r, a: r.norm() / a.norm(), "says nothing has gradient 0"),
    (three.adaptive_weight, lambda r, a: r / (a + 1e-6), "expected shape"),
]  # fmt: skip


@pytest.mark.parametrize(("exercise", "function", "hint"), WRONG)
def test_wrong_answers_get_the_hint_meant_for_them(exercise, function, hint, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is exercise.course
    assert said.startswith(f"✗ {exercise.name}: ")
    assert hint in said
    assert said.endswith("  The notebook goes on with the course's own version.\n")
    assert said == verdict(exercise, function, capsys)[1]  # nbval compares what is printed


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_each_check_rejects_three_wrong_answers_and_more(exercise):
    assert sum(e is exercise for e, _, _ in WRONG) >= 3
