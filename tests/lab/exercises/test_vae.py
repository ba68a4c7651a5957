"""Every check of notebook 02 accepts right answers, however written, and meets each wrong one with the hint meant for it."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from course_utils import losses
from course_utils.evaluation import latent_statistics
from course_utils.lab.exercises import vae as two
from course_utils.lab.exercises.checking import Exercise


def verdict(exercise, function, capsys):
    """(the function to go on with, what was printed)."""
    capsys.readouterr()
    result = exercise(function)
    return result, capsys.readouterr().out


def terms(mean, logvar):
    return mean**2 + logvar.exp() - 1 - logvar


def total(x):
    return x.sum((1, 2, 3))


# ---- right answers -----------------------------------------------------------------------------------------


def eps_first(mean, logvar, eps):
    return eps * logvar.exp().sqrt() + mean


def kl_in_a_loop(mean, logvar):
    return torch.stack([(0.5 * terms(m, v)).sum() for m, v in zip(mean, logvar, strict=True)])


def kl_by_torch(mean, logvar):
    return total(kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)))


def total_variance(mean, logvar):
    second = (mean**2 + logvar.exp()).mean(0)
    return second - mean.mean(0) ** 2


RIGHT = [
    (two.reparameterise, lambda mean, logvar, eps: mean + torch.exp(0.5 * logvar) * eps),
    (two.reparameterise, eps_first),
    (two.reparameterise, lambda m, v, e: torch.addcmul(m, v.exp() ** 0.5, e)),
    (two.kl_to_prior, kl_by_torch),
    (two.kl_to_prior, kl_in_a_loop),
    (two.kl_to_prior, losses.kl),
    (two.kl_to_prior, lambda m, v: -0.5 * total(1 + v - m**2 - v.exp())),
    (two.effective_weight, lambda beta, numbers: beta * numbers / 2),
    (two.effective_weight, lambda beta, numbers: torch.tensor(beta * 0.5 * numbers)),
    (two.active, lambda mean: mean.var(dim=0) > 0.01),
    (two.active, lambda mean: mean.var(0, unbiased=False) > 0.01),
    (two.active, lambda mean: mean.std(0) > 0.1),
    (two.active, latent_statistics.active_dimensions),
    (two.aggregate_variance, lambda m, v: m.var(0) + v.exp().mean(0)),
    (two.aggregate_variance, lambda m, v: m.var(0, unbiased=False) + v.exp().mean(0)),
    (two.aggregate_variance, total_variance),
    (two.aggregate_variance, lambda m, v: latent_statistics.aggregate_moments(m, v)[1]),
]
EXERCISES = [v for v in vars(two).values() if isinstance(v, Exercise)]


@pytest.mark.parametrize(("exercise", "function"), RIGHT)
def test_right_answers_are_used_from_there_on(exercise, function, capsys):
    result, said = verdict(exercise, function, capsys)
    assert result is function, said
    assert said == f"✓ {exercise.name}: right. From here on the notebook uses your function.\n"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_courses_own_version_is_right(exercise, capsys):
    before = torch.get_rng_state()
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")
    assert verdict(exercise, exercise.course, capsys)[1].startswith("✓")
    assert torch.equal(before, torch.get_rng_state()), "a check leaves no trace"


# ---- wrong answers -----------------------------------------------------------------------------------------


def draws_its_own(mean, logvar, eps):
    return mean + (0.5 * logvar).exp() * torch.randn_like(mean)


def uses_torch_normal(mean, logvar, eps):
    return torch.normal(mean, (0.5 * logvar).exp())


def detached_std(mean, logvar, eps):
    return mean + (0.5 * logvar).exp().detach() * eps


def under_no_grad(mean, logvar, eps):
    with torch.no_grad():
        return mean + (0.5 * logvar).exp() * eps


def reverse_kl(m, v):
    return total(kl_divergence(Normal(0.0, 1.0), Normal(m, (0.5 * v).exp())))


WRONG = [
    (two.reparameterise, lambda m, v, e: m + v.exp() * e, "the *variance* σ²"),
    (two.reparameterise, lambda m, v, e: m + v * e, "log σ², not σ"),
    (two.reparameterise, lambda m, v, e: m + (-0.5 * v).exp() * e, "the sign in the exponent"),
    (two.reparameterise, lambda m, v, e: m + e, "σ is missing"),
    (two.reparameterise, lambda m, v, e: (0.5 * v).exp() * e, "the mean is missing"),
    (two.reparameterise, lambda m, v, e: m - (0.5 * v).exp() * e, "a minus for a plus"),
    (two.reparameterise, lambda m, v, e: m * e + (0.5 * v).exp(), "swapped"),
    (two.reparameterise, lambda m, v, e: m, "eps has mean 0 and standard deviation 1"),
    (two.reparameterise, draws_its_own, "the randomness comes in as eps"),
    (two.reparameterise, uses_torch_normal, "the randomness comes in as eps"),
    (two.reparameterise, detached_std, "reaches logvar"),
    (two.reparameterise, under_no_grad, "reaches mean"),
    (two.reparameterise, lambda m, v, e: m.add_((0.5 * v).exp() * e), "in place"),
    (two.kl_to_prior, lambda m, v: total(terms(m, v)), "½ in front is missing"),
    (two.kl_to_prior, lambda m, v: 0.5 * total(1 + v - m**2 - v.exp()), "never negative"),
    (two.kl_to_prior, lambda m, v: 0.5 * total(m**2 + (v / 2).exp() - 1 - v), "σ stands where σ² belongs"),
    (two.kl_to_prior, lambda m, v: 0.5 * total(terms(m, 2 * v)), "taken for log σ"),
    (two.kl_to_prior, lambda m, v: 0.5 * total(m**2 + v.exp() - 1 - v / 2), "not log σ = ½ logvar"),
    (two.kl_to_prior, lambda m, v: 0.5 * total(m**2 + v - 1 - v), "without its exponential"),
    (two.kl_to_prior, lambda m, v: 0.5 * total(m**2 + v.exp() - 1 + v), "the sign of the last term"),
    (two.kl_to_prior, lambda m, v: 0.5 * total(m**2 + v.exp() - v), "the − 1 is missing"),
    (two.kl_to_prior, lambda m, v: 0.5 * total(m.abs() + v.exp() - 1 - v), "the mean enters squared"),
    (two.kl_to_prior, lambda m, v: 0.5 * terms(m, v).mean((1, 2, 3)), "their *sum*"),
    (two.kl_to_prior, reverse_kl, "KL(prior ‖ posterior)"),
    (two.kl_to_prior, lambda m, v: 0.5 * terms(m, v).sum(), "expected shape (2,), got ()"),
    (two.kl_to_prior, lambda m, v: 0.5 * terms(m, v), "expected shape (2,), got (2, 1, 1, 1)"),
    (two.kl_to_prior, lambda m, v: 0.3 * total(terms(m, v)), "neither a sum nor a mean over the batch"),
    (two.effective_weight, lambda b, n: b * n, "mse_loss has no ½"),
    (two.effective_weight, lambda b, n: 2 * b * n, "½ the other way"),
    (two.effective_weight, lambda b, n: 2 * b / n, "upside down"),
    (two.effective_weight, lambda b, n: b / n, "upside down"),
    (two.effective_weight, lambda b, n: b, "nothing divides the KL"),
    (two.effective_weight, lambda b, n: b * n / 4, "multiply the whole loss by n / 2"),
    (two.active, lambda m: m.var(1) > 0.01, "over the *pictures*"),
    (two.active, lambda m: m.var() > 0.01, "expected shape (8,)"),
    (two.active, lambda m: (m.var(0) > 0.01).sum(), "leave the counting to the notebook"),
    (two.active, lambda m: m.var(0), "expected truth values"),
    (two.active, lambda m: m.var(0) < 0.01, "marks the *collapsed*"),
    (two.active, lambda m: m.std(0) > 0.01, "compares the standard deviation"),
    (two.active, lambda m: (m**2).mean(0) > 0.01, "this is the mean square"),
    (two.active, lambda m: m.mean(0).abs() > 0.01, "where a dimension sits"),
    (two.active, lambda m: m.var(0) > 0.5, "mean.var(dim=0) > 0.01"),
    (two.aggregate_variance, lambda m, v: m.var(0), "the spread of the means alone"),
    (two.aggregate_variance, lambda m, v: v.exp().mean(0), "the mean width of the posteriors alone"),
    (two.aggregate_variance, lambda m, v: (m**2 + v.exp()).mean(0), "the mean *square* of z"),
    (two.aggregate_variance, lambda m, v: m.var(0) + (v / 2).exp().mean(0), "variances add"),
    (two.aggregate_variance, lambda m, v: m.var(0) + v.mean(0), "take exp before the mean"),
    (two.aggregate_variance, lambda m, v: m.var(0) + v.mean(0).exp(), "not the mean of exp"),
    (two.aggregate_variance, lambda m, v: m.std(0) + v.exp().mean(0), "not their standard deviation"),
    (two.aggregate_variance, lambda m, v: m.square().mean(1) + v.exp().mean(1), "along the wrong axis"),
    (two.aggregate_variance, lambda m, v: 2 * m.var(0), "law of total variance"),
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
