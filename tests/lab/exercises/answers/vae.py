"""Answers to the exercises of `vae`."""

from __future__ import annotations

import torch
from torch.distributions import Normal, kl_divergence

from course_utils import losses
from course_utils.evaluation import latent_statistics


def terms(mean, logvar):
    return mean**2 + logvar.exp() - 1 - logvar


def total(x):
    return x.sum((1, 2, 3))


def eps_first(mean, logvar, eps):
    return eps * logvar.exp().sqrt() + mean


def kl_in_a_loop(mean, logvar):
    return torch.stack([(0.5 * terms(m, v)).sum() for m, v in zip(mean, logvar, strict=True)])


def kl_by_torch(mean, logvar):
    return total(kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)))


def total_variance(mean, logvar):
    second = (mean**2 + logvar.exp()).mean(0)
    return second - mean.mean(0) ** 2


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


RIGHT = {
    "reparameterise": [
        lambda mean, logvar, eps: mean + torch.exp(0.5 * logvar) * eps,
        eps_first,
        lambda m, v, e: torch.addcmul(m, v.exp() ** 0.5, e),
    ],
    "kl_to_prior": [
        kl_by_torch,
        kl_in_a_loop,
        losses.kl,
        lambda m, v: -0.5 * total(1 + v - m**2 - v.exp()),
    ],
    "effective_weight": [
        lambda beta, numbers: beta * numbers / 2,
        lambda beta, numbers: torch.tensor(beta * 0.5 * numbers),
    ],
    "active": [
        lambda mean: mean.var(dim=0) > 0.01,
        lambda mean: mean.var(0, unbiased=False) > 0.01,
        lambda mean: mean.std(0) > 0.1,
        latent_statistics.active_dimensions,
    ],
    "aggregate_variance": [
        lambda m, v: m.var(0) + v.exp().mean(0),
        lambda m, v: m.var(0, unbiased=False) + v.exp().mean(0),
        total_variance,
        lambda m, v: latent_statistics.aggregate_moments(m, v)[1],
    ],
}

WRONG = {
    "reparameterise": [
        (lambda m, v, e: m + v.exp() * e, "the *variance* σ²"),
        (lambda m, v, e: m + v * e, "log σ², not σ"),
        (lambda m, v, e: m + (-0.5 * v).exp() * e, "the sign in the exponent"),
        (lambda m, v, e: m + e, "σ is missing"),
        (lambda m, v, e: (0.5 * v).exp() * e, "the mean is missing"),
        (lambda m, v, e: m - (0.5 * v).exp() * e, "a minus for a plus"),
        (lambda m, v, e: m * e + (0.5 * v).exp(), "swapped"),
        (lambda m, v, e: m, "eps has mean 0 and standard deviation 1"),
        (draws_its_own, "the randomness comes in as eps"),
        (uses_torch_normal, "the randomness comes in as eps"),
        (detached_std, "reaches logvar"),
        (under_no_grad, "reaches mean"),
        (lambda m, v, e: m.add_((0.5 * v).exp() * e), "in place"),
    ],
    "kl_to_prior": [
        (lambda m, v: total(terms(m, v)), "½ in front is missing"),
        (lambda m, v: 0.5 * total(1 + v - m**2 - v.exp()), "never negative"),
        (lambda m, v: 0.5 * total(m**2 + (v / 2).exp() - 1 - v), "σ stands where σ² belongs"),
        (lambda m, v: 0.5 * total(terms(m, 2 * v)), "taken for log σ"),
        (lambda m, v: 0.5 * total(m**2 + v.exp() - 1 - v / 2), "not log σ = ½ logvar"),
        (lambda m, v: 0.5 * total(m**2 + v - 1 - v), "without its exponential"),
        (lambda m, v: 0.5 * total(m**2 + v.exp() - 1 + v), "the sign of the last term"),
        (lambda m, v: 0.5 * total(m**2 + v.exp() - v), "the − 1 is missing"),
        (lambda m, v: 0.5 * total(m.abs() + v.exp() - 1 - v), "the mean enters squared"),
        (lambda m, v: 0.5 * terms(m, v).mean((1, 2, 3)), "their *sum*"),
        (reverse_kl, "KL(prior ‖ posterior)"),
        (lambda m, v: 0.5 * terms(m, v).sum(), "expected shape (2,), got ()"),
        (lambda m, v: 0.5 * terms(m, v), "expected shape (2,), got (2, 1, 1, 1)"),
        (lambda m, v: 0.3 * total(terms(m, v)), "neither a sum nor a mean over the batch"),
    ],
    "effective_weight": [
        (lambda b, n: b * n, "mse_loss has no ½"),
        (lambda b, n: 2 * b * n, "½ the other way"),
        (lambda b, n: 2 * b / n, "upside down"),
        (lambda b, n: b / n, "upside down"),
        (lambda b, n: b, "nothing divides the KL"),
        (lambda b, n: b * n / 4, "multiply the whole loss by n / 2"),
    ],
    "active": [
        (lambda m: m.var(1) > 0.01, "over the *pictures*"),
        (lambda m: m.var() > 0.01, "expected shape (8,)"),
        (lambda m: (m.var(0) > 0.01).sum(), "leave the counting to the notebook"),
        (lambda m: m.var(0), "expected truth values"),
        (lambda m: m.var(0) < 0.01, "marks the *collapsed*"),
        (lambda m: m.std(0) > 0.01, "compares the standard deviation"),
        (lambda m: (m**2).mean(0) > 0.01, "this is the mean square"),
        (lambda m: m.mean(0).abs() > 0.01, "where a dimension sits"),
        (lambda m: m.var(0) > 0.5, "mean.var(dim=0) > 0.01"),
    ],
    "aggregate_variance": [
        (lambda m, v: m.var(0), "the spread of the means alone"),
        (lambda m, v: v.exp().mean(0), "the mean width of the posteriors alone"),
        (lambda m, v: (m**2 + v.exp()).mean(0), "the mean *square* of z"),
        (lambda m, v: m.var(0) + (v / 2).exp().mean(0), "variances add"),
        (lambda m, v: m.var(0) + v.mean(0), "take exp before the mean"),
        (lambda m, v: m.var(0) + v.mean(0).exp(), "not the mean of exp"),
        (lambda m, v: m.std(0) + v.exp().mean(0), "not their standard deviation"),
        (lambda m, v: m.square().mean(1) + v.exp().mean(1), "along the wrong axis"),
        (lambda m, v: 2 * m.var(0), "law of total variance"),
    ],
}
