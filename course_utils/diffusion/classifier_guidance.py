"""Classifier guidance (Dhariwal & Nichol 2021): a classifier of noisy latents pushes every step.

Two forms, of which the second needs no stochastic sampler and the first is the second's limit of small steps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.diffusion.guidance import checked_scale
from course_utils.diffusion.paths import Prediction, over
from course_utils.diffusion.samplers import Callback, Generators, Model, noise_like, step_pairs

Gradient = Callable[[Tensor, Tensor], Tensor]  # (z (B, ...), t (B,)) -> ∇_z log p(y | z_t), (B, ...)


def classifier_gradient(classifier: Callable[[Tensor, Tensor], Tensor], y: Tensor) -> Gradient:
    """∇_z log p(y | z_t) of a classifier (z (B, ...), t (B,)) -> logits (B, K) for classes y (B,) int64.

    Works wherever the caller is, under `no_grad` and in inference mode too. The sum over the batch has each
    latent's own gradient only if the classifier keeps latents apart: no BatchNorm in training mode.
    """
    if not isinstance(y, Tensor) or y.ndim != 1 or not len(y) or y.is_floating_point() or y.dtype == torch.bool:
        raise ValueError(f"y is {y!r}; expected a tensor (B,) of classes, whole numbers")

    def gradient(z: Tensor, t: Tensor) -> Tensor:
        if len(z) != len(y):
            raise ValueError(f"z holds {len(z)} latents; expected {len(y)}, as many as y")
        with torch.inference_mode(False), torch.enable_grad():
            inside = z.detach().clone().requires_grad_()
            logits = classifier(inside, t.clone())
            if logits.ndim != 2 or not 0 <= int(y.min()) <= int(y.max()) < logits.shape[1]:
                shape = tuple(logits.shape)
                raise ValueError(f"y is {y.tolist()}; expected classes of the classifier's logits {shape}")
            chosen = logits.log_softmax(1).gather(1, y.clone().to(z.device)[:, None]).sum()
            return torch.autograd.grad(chosen, inside)[0]

    return gradient


class ClassifierGuidance:
    """`guided(z, t) -> Prediction` with eps − w σ ∇ log p(y | z_t): Dhariwal & Nichol 2021, algorithm 2.

    In terms of the score: ∇ log p_t(z) + w ∇ log p(y | z_t). w = 0 is the model alone, w = 1 Bayes' rule.

    model: what samplers take, (z, t) -> Prediction. gradient: see `classifier_gradient`.
    guidance_scale: w, or a tensor (B,); below 0 it moves away from the class. The same push on the data's side is + w σ²/α ∇ log p; where α = 0
    (the rectified flow's t = 1) latents hold nothing of any class, and there is none.
    """

    def __init__(self, model: Model, gradient: Gradient, guidance_scale: float | Tensor):
        self.guidance_scale = checked_scale(guidance_scale)
        self.model, self.gradient = model, gradient

    def __call__(self, z: Tensor, t: Tensor) -> Prediction:
        """Latents (B, ...) at times (B,) -> the guided prediction."""
        w = over(checked_scale(self.guidance_scale, len(z)).to(z), z)
        prediction = self.model(z, t)
        path = prediction.path
        alpha, sigma = over(path.alpha(t), z), over(path.sigma(t), z)
        push = torch.where(alpha > 0, w * sigma**2 / alpha.clamp(min=1e-12), 0.0) * self.gradient(z, t)
        return path.from_z0(prediction.z0 + push, z, t)


def guided_ddpm(
    model: Model,
    z: Tensor,
    times: Tensor,
    generator: Generators = None,
    callback: Callback | None = None,
    *,
    gradient: Gradient,
    guidance_scale: float | Tensor,
) -> Tensor:
    """Ancestral sampling with a shifted mean: z_s ~ N(μ + w Σ ∇ log p(y | z_t), Σ).

    Dhariwal & Nichol 2021, algorithm 1. Their derivation has the gradient at μ (after eq. 6); here it is taken
    at z_t, as in their code. The two differ by less, the smaller the steps. Σ is the posterior's variance, 0 in
    the last step. A sampler like the others, see `samplers`.
    """
    w = over(checked_scale(guidance_scale, len(z)).to(z), z)
    for i, t, s in step_pairs(times, z):
        at = t.expand(len(z))
        prediction = model(z, at)
        mean, std = guided_mean(prediction, s, gradient(z, at), w)
        z = mean + std * noise_like(z, generator)
        if callback:
            callback(i, z, prediction)
    return z


def guided_mean(prediction: Prediction, s: Tensor, gradient: Tensor, w: float | Tensor) -> tuple[Tensor, Tensor]:
    """μ + w Σ ∇ log p(y | z_t) and the std √Σ of the step from prediction.t to s; gradient (B, ...)."""
    mean, std = prediction.path.posterior(prediction.z, prediction.z0, prediction.t, s)
    return mean + w * std**2 * gradient, std
