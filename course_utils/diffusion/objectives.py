"""What a denoiser is trained on: its squared error in the velocity or in the noise, summed over a latent."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from course_utils.diffusion.paths import Path
from course_utils.losses import same_shape

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]  # (z (B, ...), t (B,), cond (B, D)) -> (B, ...)


def flow_matching(
    denoiser: Denoise,
    path: Path,
    z0: Tensor,
    cond: Tensor,
    t: Tensor,
    eps: Tensor,
) -> Tensor:
    """‖v̂(z_t, t, cond) − v‖², summed over a latent: z0, eps (B, ...), cond (B, D), t (B,) -> (B,).

    v = α′ z0 + σ′ eps is how z_t moves with t; on the rectified flow it is
    eps − z0 (Lipman et al. 2023, eq. 9; Liu et al. 2023, eq. 1), and a model that says 0 pays 2 for each
    number of a normalised latent.
    """
    same_shape(z0=z0, eps=eps)
    predicted = denoiser(path.add_noise(z0, eps, t), t, cond)
    return (predicted - path.velocity(z0, eps, t)).square().flatten(1).sum(1)


def noise_prediction(
    denoiser: Denoise,
    path: Path,
    z0: Tensor,
    cond: Tensor,
    t: Tensor,
    eps: Tensor,
) -> Tensor:
    """‖ε̂(z_t, t, cond) − ε‖², summed over a latent: z0, eps (B, ...), cond (B, D), t (B,) -> (B,).

    DDPM's simple loss (Ho et al. 2020, eq. 14). A model that says 0 pays 1 for each number.
    """
    same_shape(z0=z0, eps=eps)
    return (denoiser(path.add_noise(z0, eps, t), t, cond) - eps).square().flatten(1).sum(1)
