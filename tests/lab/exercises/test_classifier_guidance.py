"""Every check of notebook 06 accepts right answers, however written, and meets each wrong one with the hint meant for it."""

import pytest
import torch

from course_utils.diffusion import classifier_guidance
from course_utils.lab.exercises import classifier_guidance as six
from course_utils.lab.exercises.checking import Exercise


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


# ---- right answers -----------------------------------------------------------------------------------------


def score_by_autograd(z, mean, std):
    z = z.clone().requires_grad_()
    torch.distributions.Normal(mean, std).log_prob(z).sum().backward()
    return z.grad


def score_from_noise(z, mean, std):
    return -((z - mean) / std) / std


def gradient_by_cross_entropy(classifier, z, t, y):
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        (-torch.nn.functional.cross_entropy(classifier(z, t), y, reduction="sum")).backward()
    return z.grad


def gradient_of_the_course(classifier, z, t, y):
    return classifier_guidance.classifier_gradient(classifier, y)(z, t)


def mean_by_precision(mean, std, gradient, w):
    precision = 1 / std**2
    return (precision * mean + w * gradient) / precision


def eps_through_the_score(eps, sigma, gradient, w):
    return -sigma * (-eps / sigma + w * gradient)


RIGHT = [
    (six.gaussian_score, [score_by_autograd, score_from_noise]),
    (six.class_gradient, [gradient_by_cross_entropy, gradient_of_the_course]),
    (six.guided_mean, [mean_by_precision, lambda m, s, g, w: torch.add(m, g, alpha=w * s * s)]),
    (six.guided_eps, [eps_through_the_score, lambda e, s, g, w: torch.sub(e, g, alpha=w * s)]),
]


@pytest.mark.parametrize(("exercise", "function"), [(e, f) for e, functions in RIGHT for f in (*functions, e.course)])
def test_right_answers_are_used(exercise, function, capsys):
    used, said = verdict(exercise, function, capsys)
    assert used is function, said
    assert said.startswith("✓")


# ---- wrong answers -----------------------------------------------------------------------------------------


def gradient_of(value):
    """A student's function with this value, (logits (B, K), y (B,)) → a number, to differentiate."""

    def function(classifier, z, t, y):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            return torch.autograd.grad(value(classifier(z, t), y), z)[0]

    return function


def picked(x, y):
    return x[torch.arange(len(y)), y]


def without_enable_grad(classifier, z, t, y):
    z = z.detach()
    return torch.autograd.grad(picked(classifier(z, t).log_softmax(1), y).sum(), z)[0]


WRONG = [
    (six.gaussian_score, lambda z, m, s: (z - m) / s**2, "the sign"),
    (six.gaussian_score, lambda z, m, s: (m - z) / s, "variance std², not by std"),
    (six.gaussian_score, lambda z, m, s: m - z, "variance is missing"),
    (six.gaussian_score, lambda z, m, s: -((z - m) ** 2) / (2 * s**2), "log-density itself"),
    (six.class_gradient, gradient_of(lambda x, y: -picked(x.log_softmax(1), y).sum()), "the sign"),
    (six.class_gradient, gradient_of(lambda x, y: picked(x.log_softmax(1), y).mean()), "take the sum"),
    (six.class_gradient, gradient_of(torch.nn.functional.cross_entropy), "cross-entropy is −log p"),
    (six.class_gradient, gradient_of(lambda x, y: picked(x, y).sum()), "logit is not log p"),
    (six.class_gradient, gradient_of(lambda x, y: picked(x.softmax(1), y).sum()), "gradient of p;"),
    (six.class_gradient, gradient_of(lambda x, y: x.log_softmax(1).sum()), "pick, in each row, the column y"),
    (six.class_gradient, gradient_of(lambda x, y: picked(x.log_softmax(1), y)), "autograd wants one number"),
    (six.class_gradient, without_enable_grad, "torch.enable_grad()"),
    (six.class_gradient, lambda c, z, t, y: c(z, t), "has the latent's shape"),
    (six.guided_mean, lambda m, s, g, w: m + w * s * g, "std², not std"),
    (six.guided_mean, lambda m, s, g, w: m - w * s**2 * g, "the sign"),
    (six.guided_mean, lambda m, s, g, w: m + w * g, "Σ is missing"),
    (six.guided_mean, lambda m, s, g, w: m + s**2 * g, "w is missing"),
    (six.guided_mean, lambda m, s, g, w: w * s**2 * g, "the mean is missing"),
    (six.guided_eps, lambda e, s, g, w: e + w * s * g, "the sign"),
    (six.guided_eps, lambda e, s, g, w: e - w * g, "σ_t is missing"),
    (six.guided_eps, lambda e, s, g, w: e - w * g / s, "σ_t multiplies"),
    (six.guided_eps, lambda e, s, g, w: e - w * s**2 * g, "σ_t once"),
    (six.guided_eps, lambda e, s, g, w: e - s * g, "w is missing"),
]


@pytest.mark.parametrize(("exercise", "function", "hint"), WRONG)
def test_wrong_answers_meet_their_hint(exercise, function, hint, capsys):
    used, said = verdict(exercise, function, capsys)
    assert used is exercise.course
    assert said.startswith("✗")
    assert hint in said


EXERCISES = [e for e in vars(six).values() if isinstance(e, Exercise)]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_not_attempted_is_one_calm_line(exercise, capsys):
    def untouched(*inputs): ...

    used, said = verdict(exercise, untouched, capsys)
    assert used is exercise.course
    assert said == f"○ {exercise.name}: not attempted yet. The notebook goes on with the course's own version.\n"
