"""Paths from data to noise, and the four ways of saying the same prediction.

Time runs from t = 0 (data) to t = 1 (noise): z_t = α(t) z0 + σ(t) eps with eps ~ N(0, I). A model may
predict the noise, the data, the velocity or the score; given z_t and t each determines the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.arguments import number


class Path:
    """z_t = α(t) z0 + σ(t) eps. A subclass gives α, σ and their derivatives; all else follows from them.

    The four take times of any shape in [0, 1] and return the same shape. Elsewhere times are (B,), one
    for each latent of a batch (B, ...), or a single () for all of them.
    """

    def __init__(self):
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        (alpha0, alpha1), (sigma0, sigma1) = self.alpha(ends).tolist(), self.sigma(ends).tolist()
        if abs(alpha0 - 1) > 1e-6 or abs(sigma0) > 1e-6:
            raise ValueError(f"path: expected pure data at t = 0, got alpha {alpha0:.3g}, sigma {sigma0:.3g}")
        if abs(alpha1) > 0.1 or abs(sigma1 - 1) > 0.01:
            raise ValueError(f"path: expected pure noise at t = 1, got alpha {alpha1:.3g}, sigma {sigma1:.3g}")

    def alpha(self, t: Tensor) -> Tensor:
        """How much of the data is left at t: 1 at t = 0."""
        raise NotImplementedError

    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise at t: 0 at t = 0, 1 at t = 1."""
        raise NotImplementedError

    def d_alpha(self, t: Tensor) -> Tensor:
        """dα/dt."""
        raise NotImplementedError

    def d_sigma(self, t: Tensor) -> Tensor:
        """dσ/dt."""
        raise NotImplementedError

    def add_noise(self, z0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """z_t = α z0 + σ eps: data and noise (B, ...), t (B,) -> (B, ...)."""
        return over(self.alpha(t), z0) * z0 + over(self.sigma(t), z0) * eps

    def velocity(self, z0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """dz_t/dt = α′ z0 + σ′ eps: data and noise (B, ...), t (B,) -> (B, ...)."""
        return over(self.d_alpha(t), z0) * z0 + over(self.d_sigma(t), z0) * eps

    def posterior(self, z: Tensor, z0: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """q(z_s | z_t, z0) for s < t: z, z0 (B, ...), t, s (B,) or () -> its mean (B, ...) and std.

        DDPM's eq. 6 and 7 (Ho et al. 2020) for any α and σ (Kingma et al. 2021).
        """
        alpha_s, sigma_s, sigma_t = (over(x, z) for x in (self.alpha(s), self.sigma(s), self.sigma(t)))
        ratio = over(self.alpha(t), z) / alpha_s
        added = (sigma_t**2 - (ratio * sigma_s) ** 2).clamp(min=0)  # variance that the path adds from s to t
        mean = (ratio * sigma_s**2 * z + alpha_s * added * z0) / sigma_t**2
        return mean, added.sqrt() * sigma_s / sigma_t

    def from_eps(self, eps: Tensor, z: Tensor, t: Tensor) -> Prediction:
        """From the noise in z: eps, z (B, ...), t (B,)."""
        return Prediction(self, z, t, "eps", eps)

    def from_velocity(self, velocity: Tensor, z: Tensor, t: Tensor) -> Prediction:
        """From dz/dt at z: velocity, z (B, ...), t (B,)."""
        return Prediction(self, z, t, "velocity", velocity)

    def from_z0(self, z0: Tensor, z: Tensor, t: Tensor) -> Prediction:
        """From the data behind z: z0, z (B, ...), t (B,)."""
        return Prediction(self, z, t, "z0", z0)

    def from_score(self, score: Tensor, z: Tensor, t: Tensor) -> Prediction:
        """From ∇ log p_t(z): score, z (B, ...), t (B,)."""
        return Prediction(self, z, t, "score", score)


@dataclass(frozen=True)
class Prediction:
    """What a model says at (z, t), readable as `z0`, `eps`, `velocity` or `score`, each (B, ...).

    Two ends hide one side. Pure noise (α = 0) says nothing of the data, nor pure data (σ = 0) of the noise:
    `z0` from `eps` or `score`, and `eps` from `z0`, is there 0, the mean of a normalised latent and of noise.
    `score` from anything else is no number at σ = 0: there it is a property of the data alone.
    """

    path: Path
    z: Tensor
    t: Tensor
    given: str
    value: Tensor

    @property
    def z0(self) -> Tensor:
        """The data: solve z = α z0 + σ eps, or that and v = α′ z0 + σ′ eps."""
        if self.given == "z0":
            return self.value
        alpha, sigma = self._at(self.path.alpha), self._at(self.path.sigma)
        if self.given == "velocity":
            d_alpha, d_sigma = self._at(self.path.d_alpha), self._at(self.path.d_sigma)
            return (d_sigma * self.z - sigma * self.value) / (alpha * d_sigma - sigma * d_alpha)
        return _divided(self.z - sigma * self.eps, alpha)

    @property
    def eps(self) -> Tensor:
        """The noise."""
        if self.given == "eps":
            return self.value
        alpha, sigma = self._at(self.path.alpha), self._at(self.path.sigma)
        if self.given == "score":
            return -sigma * self.value
        if self.given == "velocity":
            d_alpha, d_sigma = self._at(self.path.d_alpha), self._at(self.path.d_sigma)
            return (alpha * self.value - d_alpha * self.z) / (alpha * d_sigma - sigma * d_alpha)
        return _divided(self.z - alpha * self.value, sigma)

    @property
    def velocity(self) -> Tensor:
        """dz/dt = α′ z0 + σ′ eps."""
        return self.value if self.given == "velocity" else self.path.velocity(self.z0, self.eps, self.t)

    @property
    def score(self) -> Tensor:
        """∇ log p_t(z) = −eps / σ (Vincent 2011)."""
        return self.value if self.given == "score" else -self.eps / self._at(self.path.sigma)

    def _at(self, schedule) -> Tensor:
        return over(schedule(self.t), self.z)


class RectifiedFlow(Path):
    """The straight line z_t = (1 − t) z0 + t eps, of constant velocity eps − z0 (Liu et al. 2023, eq. 1)."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def d_alpha(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)


class VariancePreserving(Path):
    """α² + σ² = 1 with a noise rate β(t) that grows linearly: DDPM in continuous time.

    alpha_bar = α² = exp(−∫₀ᵗ β) (Song et al. 2021, eq. 11 and appendix B). With the defaults α(1) = 0.007,
    like DDPM's thousand steps with β from 10⁻⁴ to 0.02.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0):
        beta_min, beta_max = number("beta_min", beta_min), number("beta_max", beta_max)
        if not 0 < beta_min <= beta_max:
            raise ValueError(f"beta_min {beta_min} and beta_max {beta_max}: expected 0 < beta_min <= beta_max")
        self.beta_min, self.beta_max = beta_min, beta_max
        super().__init__()

    def beta(self, t: Tensor) -> Tensor:
        """The noise rate β(t), the continuous form of DDPM's β."""
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def alpha_bar(self, t: Tensor) -> Tensor:
        """α² = exp(−∫₀ᵗ β): the share of the data's variance that is left."""
        return torch.exp(-self._total(t))

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-0.5 * self._total(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._total(t)))  # √(1 − alpha_bar), exact for small t too

    def d_alpha(self, t: Tensor) -> Tensor:
        return -0.5 * self.beta(t) * self.alpha(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        # σ grows like √t: its slope at t = 0 is infinite, and a large number stands in for it there.
        return 0.5 * self.beta(t) * self.alpha_bar(t) / self.sigma(t).clamp(min=1e-6)

    def _total(self, t: Tensor) -> Tensor:
        """∫₀ᵗ β."""
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2


class Cosine(Path):
    """α = cos(πt/2), σ = sin(πt/2): a quarter circle walked at constant speed.

    Also variance preserving. Nichol & Dhariwal 2021, eq. 17, without their offset s = 0.008, so that both
    ends are exact.
    """

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * (1 - t))  # cos(πt/2), and exactly 0 at t = 1

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * t)

    def d_alpha(self, t: Tensor) -> Tensor:
        return -0.5 * math.pi * self.sigma(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        return 0.5 * math.pi * self.alpha(t)


def over(values: Tensor, z: Tensor) -> Tensor:
    """One number for each latent, (B,), shaped to multiply (B, ...); a single number () stays as it is."""
    return values if values.ndim == 0 else values.reshape(-1, *[1] * (z.ndim - 1))


def _divided(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, and 0 where the denominator is 0."""
    safe = torch.where(denominator == 0, torch.ones_like(denominator), denominator)
    return torch.where(denominator == 0, torch.zeros_like(numerator), numerator / safe)
