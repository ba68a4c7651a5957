"""The recipes of the denoisers: what they train on, their losses, and three models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from course_utils import runtime
from course_utils.datasets.drawing import render
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion import objectives
from course_utils.diffusion.paths import RectifiedFlow, VariancePreserving
from course_utils.evaluation.chunks import in_chunks
from course_utils.images import to_float
from course_utils.models.autoencoder import VAE
from course_utils.models.clip import CLIP
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.training.budget import Budget
from course_utils.training.loop import Part
from course_utils.training.recipes.clip import CAPTION_VARIANTS, captions_embedded

CONDITION_DROPOUT = 0.1
SIZE = DenoiserConfig(width=256, depth=4, heads=4, patch=4, side=16)
"""The denoisers that ship: 16 tokens of 4×4 places each, of the latents of 128-px pictures."""


def _of_pictures(source: Plushies, *encoders: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """What each encoder says of each picture, (N, ...). A picture is drawn once for all of them."""
    found = []
    for index in torch.arange(len(source)).split(2048):
        x = to_float(render(source.attributes[index], source.seeds[index], source.size))
        found.append([in_chunks(encoder, x) for encoder in encoders])
    return [torch.cat(parts).contiguous() for parts in zip(*found, strict=True)]


def latents_and_conditions(n: int, model: VAE, towers: CLIP, seed: int = 0, size: int = 128) -> tuple[Tensor, Tensor]:
    """What a denoiser trains on: normalised latents (N, 4, size / 8, size / 8) and caption embeddings (N, variants, D)."""
    source = Plushies(n, size=size, seed=seed)
    return _of_pictures(source, model.to_latent)[0], captions_embedded(source, towers)


def picture_embeddings(n: int, towers: CLIP, seed: int = 0) -> Tensor:
    """What CLIP says of the same n pictures themselves, (N, D): the condition of a reference picture."""
    return _of_pictures(Plushies(n, size=CLIP.side, seed=seed), towers.encode_image)[0]


def text_and_picture_conditions(
    n: int, model: VAE, towers: CLIP, seed: int = 0, size: int = 128
) -> tuple[Tensor, Tensor]:
    """Latents (N, 4, size / 8, size / 8) with the captions' embeddings and, for a third of the draws, the picture's own.

    CLIP's texts and pictures live in two separate parts of its space, so a denoiser that is to follow both
    must have seen both.
    """
    source = Plushies(n, size=size, seed=seed)
    latents, own = _of_pictures(source, model.to_latent, towers.encode_image)
    own = own[:, None].expand(-1, CAPTION_VARIANTS // 2, -1)
    return latents, torch.cat([captions_embedded(source, towers), own], dim=1)


def draw_training_pairs(
    model: Denoiser, latents: Tensor, conditions: Tensor, batch: int, g: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """z0 (B, 4, h, w), a condition of each, (B, D), which is null in a tenth of them, and noise eps like z0."""
    device = next(model.parameters()).device
    index = torch.randint(len(latents), (batch,), generator=g)
    variant = torch.randint(conditions.shape[1], (batch,), generator=g)
    z0, c = latents[index].to(device), conditions[index, variant].to(device)
    eps = torch.randn(z0.shape, generator=g).to(device)
    dropped = (torch.rand(batch, generator=g) < CONDITION_DROPOUT).to(device)
    return z0, torch.where(dropped[:, None], model.null, c), eps


def _per_number(summed: Tensor, z0: Tensor) -> Tensor:
    """Objectives sum over a latent; the mean per number of a latent suits the optimiser's defaults."""
    return summed.mean() / z0[0].numel()


def denoiser_loss(model: Denoiser, latents: Tensor, conditions: Tensor, batch: int, g: torch.Generator) -> Tensor:
    """One batch of conditional flow matching with condition dropout: the training step of notebook 08.

    Times are logit-normal (Esser et al. 2024, §3.1): the middle of the path, where most is decided, comes most often.
    """
    z0, c, eps = draw_training_pairs(model, latents, conditions, batch, g)
    t = torch.randn(batch, generator=g).sigmoid().to(z0.device)
    return _per_number(objectives.flow_matching(model, RectifiedFlow(), z0, c, t, eps), z0)


def diffusion_loss(model: Denoiser, latents: Tensor, conditions: Tensor, batch: int, g: torch.Generator) -> Tensor:
    """One batch of DDPM's training (Ho et al. 2020, algorithm 1): name the noise, at a time drawn evenly."""
    z0, c, eps = draw_training_pairs(model, latents, conditions, batch, g)
    t = torch.rand(batch, generator=g).to(z0.device)
    return _per_number(objectives.noise_prediction(model, VariancePreserving(), z0, c, t, eps), z0)


def denoiser_part(
    model: Denoiser,
    latents: Tensor,
    conditions: Tensor,
    batch: int,
    loss_of: Callable[..., Tensor] = denoiser_loss,
) -> Part:
    """A denoiser to fit with `denoiser_loss`, or another of its arguments."""

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        value = loss_of(model, latents, conditions, batch, g)
        return value, {"loss": value.detach()}

    return Part(model, loss, lr=1.5e-3, ema=0.9995, weight_decay=0.0)


def _train(budget: Budget, seed: int, loss_of: Callable[..., Tensor], config: DenoiserConfig) -> tuple[Denoiser, dict]:
    torch.manual_seed(seed)
    towers, autoencoder = budget.load("clip"), budget.load("vae")
    latents, conditions = text_and_picture_conditions(budget.pictures, autoencoder, towers, seed)
    model = Denoiser(config).to(runtime.device())

    budget.fit(denoiser_part(model, latents, conditions, budget.batch, loss_of=loss_of), seed)
    held, wanted = text_and_picture_conditions(budget.held_out, autoencoder, towers, seed + 1)
    with torch.no_grad():
        g = runtime.generator(seed + 1)
        value = sum(loss_of(model, held, wanted, 256, g) for _ in range(8)) / 8
    return model, {"loss": float(value)}


def denoiser(budget: Budget, seed: int = 0) -> tuple[Denoiser, dict]:
    """The diffusion transformer: rectified flow in the VAE's latents, conditioned on CLIP's embedding of a caption
    or of a picture. It predicts velocities."""
    return _train(budget, seed, denoiser_loss, SIZE)


def short_denoiser(budget: Budget, seed: int = 0) -> tuple[Denoiser, dict]:
    """The denoiser after a third of its training, as much as `diffusion` has: its fair rival."""
    return _train(budget, seed, denoiser_loss, SIZE)


def diffusion(budget: Budget, seed: int = 0) -> tuple[Denoiser, dict]:
    """The same transformer with the short denoiser's budget, trained as DDPM was: noise, on `VariancePreserving`."""
    return _train(budget, seed, diffusion_loss, SIZE)


def weak_denoiser(budget: Budget, seed: int = 0) -> tuple[Denoiser, dict]:
    """The denoiser smaller and trained for less: the bad version of itself that autoguidance moves away from."""
    return _train(budget, seed, denoiser_loss, replace(SIZE, width=128, depth=2, heads=2))
