"""Is a latent space used, and does it look like its prior? Statistics of a VAE's posteriors, dimension by dimension.

A picture x gets the posterior q(z|x) = N(μ(x), diag σ²(x)) over D numbers. Everything here takes the means (N, D)
and log-variances (N, D) of N pictures, as `posteriors` returns them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.evaluation.chunks import device_of, in_chunks

ACTIVE = 0.01  # Burda et al. 2016, "Latent space representation"


def posteriors(model: nn.Module, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, H, W) in [-1, 1] → means and log-variances, each (N, D) on the CPU.

    model: an autoencoder with `encode(x)` that returns `mean` and `logvar`, such as `models.autoencoder.VAE`. Its
    axes are flattened: with 4 channels of 8×8 (pictures of 64 px), dimension d is channel d // 64 at row d % 64 // 8,
    column d % 8.
    """
    if not len(pictures):
        raise ValueError("pictures: got none; expected one or more")

    def both(x: Tensor) -> Tensor:
        q = model.encode(x)
        return torch.stack([q.mean.flatten(1), q.logvar.flatten(1)], dim=1)

    mean, logvar = in_chunks(both, pictures, on=device_of(model)).unbind(1)
    return mean, logvar


def active_dimensions(mean: Tensor, threshold: float = ACTIVE) -> Tensor:
    """Which dimensions say something about the picture? (N, D) → (D,) bool; its sum is the number of them.

    A dimension is active if the variance over pictures of its posterior mean is above the threshold (Burda et
    al. 2016, "Latent space representation"). Where it is not, every picture has the same mean there.
    """
    _matrix(mean, "mean")
    return mean.cpu().double().var(dim=0) > threshold


def kl_per_dimension(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(q(z_d|x) ‖ N(0, 1)) in nats, mean over pictures: (N, D), (N, D) → (D,). Their sum is the VAE's KL term."""
    _pair(mean, logvar)
    m, v = mean.cpu().double(), logvar.cpu().double()
    return (0.5 * (m.square() + v.exp() - 1 - v)).mean(0).float()


def aggregate_moments(mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each dimension of the aggregate posterior: (N, D), (N, D) → (D,), (D,).

    The aggregate posterior q(z) is the mixture of the N pictures' posteriors; the prior has mean 0 and variance 1.
    By the law of total variance its variance is that of the means plus the mean of the variances. The mixture is
    the population here, so the variance of the means is the one that divides by N.
    """
    _pair(mean, logvar)
    m, v = mean.cpu().double(), logvar.cpu().double()
    return m.mean(0).float(), (m.var(dim=0, unbiased=False) + v.exp().mean(0)).float()


def _matrix(x: Tensor, name: str) -> None:
    if not isinstance(x, Tensor) or x.ndim != 2 or len(x) < 2:
        came = tuple(getattr(x, "shape", ())) or type(x).__name__
        raise ValueError(f"{name}: got {came}; expected (N, D) for N ≥ 2 pictures")


def _pair(mean: Tensor, logvar: Tensor) -> None:
    _matrix(mean, "mean")
    _matrix(logvar, "logvar")
    if mean.shape != logvar.shape:
        raise ValueError(f"logvar: got {tuple(logvar.shape)}; expected the shape of mean, {tuple(mean.shape)}")
