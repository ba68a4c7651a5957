"""The VAE: sampling, the KL term and its weight, collapsed dimensions and the aggregate posterior.

The exercise of `vae_forward` is here under the same name, since one notebook has them all.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Independent, MixtureSameFamily, Normal, kl_divergence
from torch.distributions.categorical import Categorical

from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.checking import Case, Mistake, as_tensor, exercise, hint_for, noise
from course_utils.lab.exercises.returns import MASK, NUMBER, Wrong
from course_utils.lab.exercises.vae_forward import vae_forward

__all__ = ["active", "aggregate_variance", "effective_weight", "kl_to_prior", "reparameterise", "vae_forward"]


def _normal(mean: Tensor, logvar: Tensor) -> Normal:
    """N(mean, e^logvar) as torch has it, independent of the formulas that are asked for."""
    return Normal(mean, logvar.exp().sqrt())


def _reparameterise_case(mean: Tensor, logvar: Tensor, eps: Tensor, words: str) -> Case:
    """The answer by way of probability: z lies where ε lies, as seen from each normal's own quantiles."""
    quantile = Normal(0.0, 1.0).cdf(eps.double())
    return Case((mean, logvar, eps), _normal(mean.double(), logvar.double()).icdf(quantile), words)


def _random_case() -> Case:
    mean, logvar, eps = noise(3, 4, 2, 2, seed=0), noise(3, 4, 2, 2, seed=1) - 1, noise(3, 4, 2, 2, seed=2)
    return _reparameterise_case(mean, logvar, eps, "on random numbers")


def _reparameterise_cases() -> list[Case]:
    one = torch.ones(1, 2, 1, 1)
    words = "with mean = 5, σ = 2 (logvar = 1.386) and eps = 3"
    return [_reparameterise_case(5 * one, 1.3862944 * one, 3 * one, words), _random_case()]


def _check_nothing_is_drawn(attempt: Attempt) -> None:
    case = _random_case()
    with torch.random.fork_rng(devices=[]):
        draws = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            draws.append(as_tensor(attempt(*case.inputs), case))
    if not torch.equal(*draws):
        raise Wrong(
            "the same mean, logvar and eps gave two different answers",
            "the randomness comes in as eps: draw nothing inside, or no gradient can pass.",
        )


@exercise(
    check=_check_nothing_is_drawn,
    cases=_reparameterise_cases,
    mistakes=[
        Mistake(
            lambda m, v, e: m + v.exp() * e,
            "exp(logvar) is the *variance* σ²; eps is scaled by σ = exp(½ logvar).",
        ),
        Mistake(lambda m, v, e: m + v * e, "logvar is log σ², not σ: σ = exp(½ logvar)."),
        Mistake(
            lambda m, v, e: m + (-0.5 * v).exp() * e,
            "the sign in the exponent: σ = exp(+½ logvar), so that a larger logvar spreads more.",
        ),
        Mistake(lambda m, v, e: m + e, "σ is missing: eps has standard deviation 1, z needs σ."),
        Mistake(lambda m, v, e: (0.5 * v).exp() * e, "the mean is missing: add it to σ · eps."),
        Mistake(
            lambda m, v, e: m - (0.5 * v).exp() * e,
            "a minus for a plus. The distribution is the same, but z must move with eps: mean + σ · eps.",
        ),
        Mistake(lambda m, v, e: m * e + (0.5 * v).exp(), "swapped: σ multiplies eps, the mean is added."),
    ],
    hint="eps has mean 0 and standard deviation 1. Multiply it by σ = exp(½ logvar), then add the mean.",
    learned=("mean", "logvar"),
    on_cpu=(),
)
def reparameterise(mean: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """mean, logvar = log σ² and eps ~ N(0, I), all (B, ...) → a sample (B, ...) of N(mean, σ²).

    Kingma and Welling 2014, section 2.4.
    """
    return mean + torch.exp(0.5 * logvar) * eps


def _kl_case(mean: Tensor, logvar: Tensor, words: str) -> Case:
    q = _normal(mean.double(), logvar.double())
    return Case((mean, logvar), kl_divergence(q, Normal(0.0, 1.0)).flatten(1).sum(1), words)


def _terms(mean: Tensor, logvar: Tensor) -> Tensor:
    return mean.square() + logvar.exp() - 1 - logvar


def _each(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


def _kl_cases() -> list[Case]:
    zeros = torch.zeros(2, 3, 1, 1)
    return [
        _kl_case(torch.full((2, 1, 1, 1), 2.0), torch.zeros(2, 1, 1, 1), "for one number with mean 2 and σ = 1"),
        _kl_case(zeros, torch.full((2, 3, 1, 1), -2.0), "for three numbers with mean 0 and logvar = −2"),
        _kl_case(noise(3, 4, 2, 2, seed=3), noise(3, 4, 2, 2, seed=4), "on random numbers"),
    ]


@exercise(
    cases=_kl_cases,
    mistakes=[
        Mistake(lambda m, v: _each(_terms(m, v)), "the factor ½ in front is missing."),
        Mistake(lambda m, v: -0.5 * _each(_terms(m, v)), "the sign: a KL divergence is never negative."),
        Mistake(
            lambda m, v: 0.5 * _each(m.square() + (0.5 * v).exp() - 1 - v),
            "σ stands where σ² belongs: exp(logvar) *is* σ², no root and no ½ in the exponent.",
        ),
        Mistake(
            lambda m, v: 0.5 * _each(m.square() + (2 * v).exp() - 1 - 2 * v),
            "logvar was taken for log σ. It is log σ², so σ² = exp(logvar) and log σ² = logvar.",
        ),
        Mistake(
            lambda m, v: 0.5 * _each(m.square() + v.exp() - 1 - 0.5 * v),
            "the last term is log σ², which is logvar itself, not log σ = ½ logvar.",
        ),
        Mistake(
            lambda m, v: 0.5 * _each(m.square() + v - 1 - v.exp().log()),
            "the variance is exp(logvar): logvar went in without its exponential.",
        ),
        Mistake(
            lambda m, v: 0.5 * _each(m.square() + v.exp() - 1 + v),
            "the sign of the last term: it is − log σ², so that σ → 0 costs more and more.",
        ),
        Mistake(lambda m, v: 0.5 * _each(m.square() + v.exp() - v), "the − 1 is missing: at μ = 0, σ = 1 the KL is 0."),
        Mistake(lambda m, v: 0.5 * _each(m.abs() + v.exp() - 1 - v), "the mean enters squared."),
        Mistake(
            lambda m, v: 0.5 * _terms(m, v).flatten(1).mean(1),
            "this is the mean over a latent's numbers; the KL of independent numbers is their *sum*.",
        ),
        Mistake(
            lambda m, v: 0.5 * _each(m.square() / v.exp() + (-v).exp() - 1 + v),
            "this is KL(prior ‖ posterior). The VAE's term is KL(posterior ‖ prior), the other way round.",
        ),
    ],
    hint="½ (μ² + σ² − 1 − log σ²) for each number, with σ² = exp(logvar); then the sum over axes 1, 2 and 3. "
    "One value per picture: neither a sum nor a mean over the batch.",
    learned=("mean", "logvar"),
    on_cpu=(),
)
def kl_to_prior(mean: Tensor, logvar: Tensor) -> Tensor:
    """mean and logvar (B, C, h, w) → KL(N(mean, σ²) ‖ N(0, I)) in nats, (B,).

    Kingma and Welling 2014, appendix B.
    """
    return 0.5 * _each(_terms(mean, logvar))


def _weight_case(beta: float, numbers: int, words: str) -> Case:
    """Autograd's answer: how much smaller than ½‖x − x̂‖² torch's mean squared error pulls on a picture."""
    x, x_hat = torch.zeros(1, numbers, dtype=torch.double), torch.ones(1, numbers, dtype=torch.double)
    x_hat.requires_grad_()
    (mean,) = torch.autograd.grad(F.mse_loss(x_hat, x), x_hat)
    (total,) = torch.autograd.grad(0.5 * (x_hat - x).square().sum(), x_hat)
    return Case((beta, numbers), beta * total[0, 0] / mean[0, 0], words)


@exercise(
    cases=lambda: [
        _weight_case(1.0, 12, "for beta = 1 and 12 numbers"),
        _weight_case(1.0, 12288, "for beta = 1 and 12288 numbers"),
        _weight_case(0.01, 300, "for beta = 0.01 and 300 numbers"),
    ],
    mistakes=[
        Mistake(
            lambda b, n: b * n,
            "a factor ½: mse_loss has no ½ in front, our loss ½‖x − x̂‖² has one.",
        ),
        Mistake(lambda b, n: b * n * 2, "½ the other way: multiply the loss by n / 2, not by 2 n."),
        Mistake(
            lambda b, n: 2 * b / n,
            "upside down: dividing the reconstruction by n makes the KL count *more* beside it.",
        ),
        Mistake(
            lambda b, n: b / n,
            "upside down: dividing the reconstruction by n makes the KL count *more* beside it.",
        ),
        Mistake(lambda b, n: b, "the mean divides the reconstruction by n; nothing divides the KL."),
    ],
    hint="multiply the whole loss by n / 2, so that its first term becomes ½‖x − x̂‖². What stands before the KL then?",
    returns=NUMBER,
)
def effective_weight(beta: float, numbers: int) -> float:
    """The beta beside a mean squared error over `numbers` entries → the β of ½‖x − x̂‖² + β · KL."""
    return beta * numbers / 2


# The standard deviation of each dimension over the pictures, and its mean over them.
_SPREAD = (0.0, 0.03, 0.05, 0.3, 1.0, 0.15, 0.05, 2.0)
_CENTRE = (0.0, 0.0, 2.0, 0.0, -1.0, 0.5, 0.0, 0.02)
_ACTIVE_MISTAKES = [
    Mistake(
        lambda m: m.var(dim=0) <= 0.01,
        "this marks the *collapsed* dimensions: active is a variance *above* 0.01.",
    ),
    Mistake(
        lambda m: m.std(0) > 0.01,
        "the threshold is for the variance; this compares the standard deviation with it.",
    ),
    Mistake(
        lambda m: m.square().mean(0) > 0.01,
        "this is the mean square. A dimension that always says 2 tells no pictures apart: subtract the mean over "
        "pictures, or use `var`.",
    ),
    Mistake(
        lambda m: m.mean(0).abs() > 0.01,
        "the mean over pictures says where a dimension sits. What counts is whether it *varies*.",
    ),
]


def _means() -> Tensor:
    """Means (400, 8) whose columns have exactly these standard deviations and centres."""
    z = noise(400, len(_SPREAD), seed=5).double()
    z = (z - z.mean(0)) / z.std(0)
    return (z * torch.tensor(_SPREAD) + torch.tensor(_CENTRE)).float()


def _check_active(attempt: Attempt) -> None:
    mean, expected = _means(), torch.tensor(_SPREAD).square() > 0.01
    answer = attempt(mean)
    if answer.shape == (len(mean),):
        raise Wrong(
            f"400 pictures of 8 dimensions: expected shape (8,), got {tuple(answer.shape)}",
            "the variance goes over the *pictures*, axis 0; this one went over the dimensions of each picture.",
        )
    if answer.ndim == 0 and answer.dtype != torch.bool:
        raise Wrong(
            f"expected one truth value for each of the 8 dimensions, got the number {float(answer):.4g}",
            "leave the counting to the notebook: return the comparison itself, and give `var` its axis, dim=0.",
        )
    if answer.is_floating_point():
        raise Wrong(f"expected truth values, got {answer.dtype}", "compare with the threshold: variance > 0.01.")
    got = as_tensor(answer, Case((mean,), expected, "400 pictures of 8 dimensions")).bool()
    if torch.equal(got, expected):
        return
    d = int((got != expected).nonzero()[0])
    word = {True: "active", False: "collapsed"}
    raise Wrong(
        f"dimension {d}, whose mean has standard deviation {_SPREAD[d]:g} over the pictures: "
        f"expected {word[bool(expected[d])]}, got {word[bool(got[d])]}",
        hint_for(_ACTIVE_MISTAKES, lambda mistake: torch.equal(got, mistake.answer(mean)), "mean.var(dim=0) > 0.01"),
    )


@exercise(check=_check_active, mistakes=_ACTIVE_MISTAKES, returns=MASK)
def active(mean: Tensor) -> Tensor:
    """Posterior means (N pictures, D) → (D,) bool: is a dimension's variance over the pictures above 0.01?

    Burda et al. 2016, "Latent space representation": active units.
    """
    return mean.var(dim=0) > 0.01


def _mixture_case(mean: Tensor, logvar: Tensor, words: str) -> Case:
    """Torch's own answer: the variance of an even mixture of the pictures' posteriors."""
    even = Categorical(torch.ones(len(mean), dtype=torch.double))
    q = MixtureSameFamily(even, Independent(_normal(mean.double(), logvar.double()), 1))
    return Case((mean, logvar), q.variance, words)


def _mixture_cases() -> list[Case]:
    apart = torch.tensor([-2.0, 2.0]).repeat(250)[:, None]
    return [
        _mixture_case(apart, torch.zeros(500, 1), "with mean −2 in half of the pictures, 2 in the others, and σ = 1"),
        _mixture_case(noise(500, 6, seed=6) + 1, noise(500, 6, seed=7) - 1, "on random numbers"),
    ]


@exercise(
    cases=_mixture_cases,
    mistakes=[
        Mistake(
            lambda m, v: m.var(dim=0, unbiased=False),
            "this is the spread of the means alone. Each posterior has a width of its own: add the mean of σ².",
        ),
        Mistake(
            lambda m, v: v.exp().mean(0),
            "this is the mean width of the posteriors alone. Their means differ: add the variance of μ.",
        ),
        Mistake(
            lambda m, v: m.square().mean(0) + v.exp().mean(0),
            "this is the mean *square* of z, not its variance: subtract the square of the mean of μ.",
        ),
        Mistake(
            lambda m, v: m.var(dim=0, unbiased=False) + (0.5 * v).exp().mean(0),
            "variances add, standard deviations do not: the second term is the mean of σ² = exp(logvar).",
        ),
        Mistake(
            lambda m, v: m.var(dim=0, unbiased=False) + v.mean(0),
            "logvar is log σ²: take exp before the mean.",
        ),
        Mistake(
            lambda m, v: m.var(dim=0, unbiased=False) + v.mean(0).exp(),
            "exp of a mean is not the mean of exp: first exp(logvar), then the mean over pictures.",
        ),
        Mistake(
            lambda m, v: m.std(dim=0, unbiased=False) + v.exp().mean(0),
            "the first term is the *variance* of the means, not their standard deviation.",
        ),
    ],
    hint="the law of total variance: the variance over pictures of μ, plus the mean over pictures of σ². "
    "Both go over axis 0.",
    tolerance=5e-3,  # Dividing by N − 1 is right, too.
)
def aggregate_variance(mean: Tensor, logvar: Tensor) -> Tensor:
    """Means and log-variances of N posteriors, (N, D) each → the variance (D,) of their even mixture."""
    return mean.var(dim=0, unbiased=False) + logvar.exp().mean(0)
