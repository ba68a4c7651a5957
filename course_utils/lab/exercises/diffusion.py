"""Diffusion from zero: noising, the training loss, one step back, and the same prediction in other words."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.lab.exercises.checking import Case, Mistake, exercise, noise, wrong_reductions


def _noised_case(n: int, seed: int, words: str) -> Case:
    """Row by row, as the formula reads for a single latent."""
    z0, eps = noise(n, n, seed=seed), noise(n, n, seed=seed + 1)
    alpha = torch.linspace(0.9, 0.3, n)
    sigma = (1 - alpha**2).sqrt()
    rows = [[a * x + s * e for x, e in zip(row, drawn, strict=True)] for row, drawn, a, s in
            zip(z0.tolist(), eps.tolist(), alpha.tolist(), sigma.tolist(), strict=True)]  # fmt: skip
    return Case((z0, eps, alpha, sigma), torch.tensor(rows), words)


def _column(x: Tensor) -> Tensor:
    return x[:, None]


@exercise(
    # As many points as coordinates: there a factor along the wrong axis is no error, but a wrong number.
    cases=lambda: [_noised_case(2, 0, "for two points in the plane"), _noised_case(3, 2, "for three points in space")],
    mistakes=[
        Mistake(
            lambda z0, e, a, s: a * z0 + s * e,
            "each *point* has its own α and σ, so they go down the rows: alpha[:, None] has shape (B, 1).",
        ),
        Mistake(
            lambda z0, e, a, s: _column(a) * z0 + _column(s) ** 2 * e,
            "σ is a standard deviation, and it multiplies ε as it is: no square.",
        ),
        Mistake(
            lambda z0, e, a, s: _column(a).sqrt() * z0 + _column(s) * e,
            "α is the factor of z₀ itself. The root belongs to DDPM's ᾱ, which is α².",
        ),
        Mistake(lambda z0, e, a, s: z0 + _column(s) * e, "α is missing: the data fade while the noise grows."),
        Mistake(
            lambda z0, e, a, s: _column(s) * z0 + _column(a) * e, "swapped: α belongs to the data, σ to the noise."
        ),
        Mistake(lambda z0, e, a, s: _column(a) * z0 - _column(s) * e, "a minus for a plus: z_t = α z₀ + σ ε."),
    ],
    hint="z_t = α z₀ + σ ε, with one α and one σ for each row.",
    on_error={"must match the size": "alpha and sigma have shape (B,); alpha[:, None] has (B, 1)."},
)
def add_noise(z0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Data z0 and noise eps (B, D), and for each point alpha, sigma (B,) → z_t (B, D)."""
    return alpha[:, None] * z0 + sigma[:, None] * eps


Model = Callable[[Tensor, Tensor], Tensor]


def _toy(z: Tensor, t: Tensor) -> Tensor:
    """A fixed model, linear in each point, that looks at the time."""
    return 0.7 * z + t[:, None] * z.flip(1) - 0.2


def _loss_case(n: int, d: int, seed: int, words: str) -> Case:
    """The definition, number by number."""
    z0, eps, t = noise(n, d, seed=seed), noise(n, d, seed=seed + 1), torch.linspace(0.2, 0.8, n)
    alpha, sigma, total = 1 - t, t, 0.0
    for i in range(n):
        z = (1 - float(t[i])) * z0[i] + float(t[i]) * eps[i]
        said = _toy(z[None], t[i : i + 1])[0]
        total += sum((a - b) ** 2 for a, b in zip(said.tolist(), eps[i].tolist(), strict=True))
    return Case((_toy, z0, eps, t, alpha, sigma), torch.tensor(total / n), words)


def _error(model: Model, z0: Tensor, eps: Tensor, t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return model(add_noise.course(z0, eps, alpha, sigma), t) - eps


@exercise(
    cases=lambda: [_loss_case(3, 2, 4, "for three points in the plane"), _loss_case(5, 4, 6, "for five points in 4-D")],
    mistakes=[
        *wrong_reductions(_error),
        Mistake(lambda *given: _error(*given).norm(dim=1).mean(), "the error is squared: ‖·‖², without the root."),
        Mistake(
            lambda *given: _error(*given).abs().sum(1).mean(),
            "the error is squared. The best answer under absolute errors is the median, not the mean.",
        ),
        Mistake(
            lambda m, z0, e, t, a, s: (m(add_noise.course(z0, e, a, s), t) - z0).square().sum(1).mean(),
            "the model is to name the noise ε, not the data z₀.",
        ),
        Mistake(
            lambda m, z0, e, t, a, s: (m(z0, t) - e).square().sum(1).mean(),
            "the model saw z₀ itself. Give it z_t: add_noise(z0, eps, alpha, sigma).",
        ),
    ],
    hint="noise the data, ask the model with t, subtract ε, square, sum over axis 1, mean over the batch.",
    learned=("z0",),
)
def noise_loss(model: Model, z0: Tensor, eps: Tensor, t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """model(z_t (B, D), t (B,)) → ε̂ (B, D). With z0, eps (B, D), t, alpha, sigma (B,) → the loss ().

    Ho et al. 2020, eq. 14: the mean over points of ‖ε̂(z_t, t) − ε‖².
    """
    z_t = add_noise.course(z0, eps, alpha, sigma)
    return (model(z_t, t) - eps).square().sum(1).mean()


def _step_case(z: Tensor, eps: Tensor, levels: tuple[float, float, float, float], drawn: Tensor, words: str) -> Case:
    """Bayes' rule on a fine grid: the weight of each z_s is its density given z₀ times that of z_t given z_s."""
    alpha_t, sigma_t, alpha_s, sigma_s = levels
    z0 = (z.double() - sigma_t * eps.double()) / alpha_t
    given = z, eps, *(torch.tensor(x) for x in levels), drawn
    if sigma_s == 0:
        return Case(given, z0.float(), words)
    grid, ratio = torch.linspace(-12, 12, 48_001, dtype=torch.float64), alpha_t / alpha_s
    added = sigma_t**2 - (ratio * sigma_s) ** 2
    near = -((grid - alpha_s * z0[..., None]) ** 2) / (2 * sigma_s**2)
    weight = (near - (z.double()[..., None] - ratio * grid) ** 2 / (2 * added)).softmax(-1)
    mean = (weight * grid).sum(-1)
    std = ((weight * grid**2).sum(-1) - mean**2).sqrt()
    return Case(given, (mean + std * drawn.double()).float(), words)


def _step_cases() -> list[Case]:
    told = torch.full((1, 2), 1.0), torch.full((1, 2), 0.5)
    drawn = torch.full((1, 2), 1.0)
    words = "with z = 1, ε̂ = 0.5, noise = 1, from α = 0.6, σ = 0.8 to α = 0.8, σ = 0.6"
    random = noise(4, 2, seed=8), noise(4, 2, seed=9)
    return [
        _step_case(*told, (0.6, 0.8, 0.8, 0.6), drawn, words),
        _step_case(*random, (0.5, 0.5, 0.7, 0.3), noise(4, 2, seed=10), "on the straight path, from t = 0.5 to 0.3"),
        _step_case(*random, (0.8, 0.6, 1.0, 0.0), noise(4, 2, seed=12), "in the last step, into data (σ_s = 0)"),
    ]


def _step(z, eps, alpha_t, sigma_t, alpha_s, sigma_s, noise, z0=None, std=None):
    """The step, with one of its parts replaced."""
    ratio = alpha_t / alpha_s
    added = sigma_t**2 - (ratio * sigma_s) ** 2
    z0 = (z - sigma_t * eps) / alpha_t if z0 is None else z0
    mean = (ratio * sigma_s**2 * z + alpha_s * added * z0) / sigma_t**2
    return mean + (added.sqrt() * sigma_s / sigma_t if std is None else std(added)) * noise


@exercise(
    cases=_step_cases,
    mistakes=[
        Mistake(
            lambda z, e, at, st, a, s, n: _step(z, e, at, st, a, s, n, std=lambda added: added * s**2 / st**2),
            "noise is multiplied by the standard deviation, the *root* of Σ.",
        ),
        Mistake(
            lambda z, e, at, st, a, s, n: _step(z, e, at, st, a, s, n, std=lambda added: added.sqrt()),
            "√b is the noise that the path adds from s to t. On the way back z₀ is guessed, which leaves less: √Σ.",
        ),
        Mistake(
            lambda z, e, at, st, a, s, n: _step(z, e, at, st, a, s, 0 * n),
            "the noise is missing: this is the mean μ, and a draw is μ + √Σ · noise.",
        ),
        Mistake(
            lambda z, e, at, st, a, s, n: _step(z, e, at, st, a, s, n, z0=z - st * e),
            "ẑ₀ = (z_t − σ_t ε̂) / α_t: the division by α_t is missing.",
        ),
        Mistake(
            lambda z, e, at, st, a, s, n: _step(z, e, at, st, a, s, n, z0=e),
            "ε̂ stands where ẑ₀ belongs: first compute ẑ₀ = (z_t − σ_t ε̂) / α_t.",
        ),
        Mistake(
            lambda z, e, at, st, a, s, n: a * (z - st * e) / at + s * n,
            "this noises ẑ₀ anew and forgets z_t. The posterior's mean lies between the two.",
        ),
        Mistake(
            lambda z, e, at, st, a, s, n: a * (z - st * e) / at + s * e,
            "this is DDIM's step, which draws no noise; it comes later in the notebook.",
        ),
    ],
    hint="first ẑ₀ = (z_t − σ_t ε̂) / α_t, then r = α_t / α_s and b = σ_t² − r² σ_s², then μ + √Σ · noise. "
    "Nothing may be divided by σ_s, which is 0 in the last step.",
)
def ddpm_step(
    z: Tensor, eps_hat: Tensor, alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor, noise: Tensor
) -> Tensor:
    """z = z_t, eps_hat and noise (B, D), and α, σ at t and at s < t, each () → z_s (B, D).

    Ho et al. 2020, eq. 6 and 7 for any α and σ: a draw from q(z_s | z_t, ẑ₀), the last one without noise.
    """
    z0 = (z - sigma_t * eps_hat) / alpha_t
    ratio = alpha_t / alpha_s
    added = sigma_t**2 - (ratio * sigma_s) ** 2
    mean = (ratio * sigma_s**2 * z + alpha_s * added * z0) / sigma_t**2
    return mean + added.sqrt() * sigma_s / sigma_t * noise


def _velocity_case(levels: tuple[float, float, float, float], seed: int, words: str) -> Case:
    """Forwards: from data and noise to z_t and to its derivative by t."""
    alpha, sigma, d_alpha, d_sigma = levels
    z0, eps = (noise(4, 2, seed=s).double() for s in (seed, seed + 1))
    given = eps.float(), (alpha * z0 + sigma * eps).float(), *(torch.tensor(x) for x in levels)
    return Case(given, (d_alpha * z0 + d_sigma * eps).float(), words)


@exercise(
    cases=lambda: [
        _velocity_case((0.6, 0.4, -1.0, 1.0), 14, "on the straight path at t = 0.4"),
        _velocity_case((0.8, 0.6, -0.9, 1.2), 16, "with α = 0.8, σ = 0.6, α′ = −0.9, σ′ = 1.2"),
    ],
    mistakes=[
        Mistake(
            lambda e, z, a, s, da, ds: da * z + ds * e,
            "z_t stands where z₀ belongs: first solve z_t = α z₀ + σ ε for z₀.",
        ),
        Mistake(
            lambda e, z, a, s, da, ds: da * (z - s * e) + ds * e,
            "z₀ = (z_t − σ ε) / α: the division by α is missing.",
        ),
        Mistake(
            lambda e, z, a, s, da, ds: a * (z - s * e) / a + s * e,
            "α and σ give z_t back. The velocity takes their *derivatives*, α′ and σ′.",
        ),
        Mistake(
            lambda e, z, a, s, da, ds: ds * (z - s * e) / a + da * e,
            "swapped: α′ belongs to the data, σ′ to the noise.",
        ),
        Mistake(
            lambda e, z, a, s, da, ds: -(da * (z - s * e) / a + ds * e),
            "the sign: the velocity points along growing t, towards the noise.",
        ),
        Mistake(
            lambda e, z, a, s, da, ds: e - (z - s * e) / a,
            "ε − z₀ is the velocity of the straight path only, where α′ = −1 and σ′ = 1.",
        ),
    ],
    hint="solve z_t = α z₀ + σ ε for z₀, then put z₀ and ε into v = α′ z₀ + σ′ ε.",
)
def eps_to_velocity(eps: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, d_alpha: Tensor, d_sigma: Tensor) -> Tensor:
    """The noise eps in z = z_t, both (B, D), and α, σ and their derivatives by t, each () → the velocity (B, D)."""
    z0 = (z - sigma * eps) / alpha
    return d_alpha * z0 + d_sigma * eps
