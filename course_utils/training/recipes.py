"""The recipes behind the checkpoints that ship: one readable function a model.

Each takes a `Budget` and returns the trained model with the numbers that it measured on pictures it has not
trained on. `python -m course_utils.training RECIPE` runs one and saves its checkpoint; a recipe that builds on
another model (the denoiser needs the VAE and CLIP) loads that model's checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils import losses, runtime
from course_utils.checkpoints import load
from course_utils.datasets.attributes import NAMES
from course_utils.datasets.drawing import render
from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.diffusion import objectives
from course_utils.diffusion.paths import RectifiedFlow, VariancePreserving
from course_utils.images import to_float
from course_utils.models.autoencoder import VAE
from course_utils.models.classifier import Judge, attribute_loss
from course_utils.models.clip import CLIP
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.models.perceptual import DEGRADATIONS, Backbone, degrade
from course_utils.models.tokenizer import Tokenizer
from course_utils.training import autoencoders
from course_utils.training.batches import (
    Budget,
    accuracy,
    draw,
    draw_look_alikes,
    held_out,
    in_chunks,
    look_alikes,
    pictures_at,
    place,
)
from course_utils.training.loop import Part, fit

BUDGETS: dict[str, dict[str, Budget]] = {
    "judge": {"ci": Budget(256, 5, 32), "cpu": Budget(16_000, 800, 96), "gpu": Budget(60_000, 6_000, 256)},
    "backbone": {"ci": Budget(256, 3, 16), "cpu": Budget(8_000, 400, 64), "gpu": Budget(60_000, 8_000, 256)},
    "vae": {"ci": Budget(256, 4, 16), "cpu": Budget(24_000, 3_000, 32), "gpu": Budget(60_000, 30_000, 64)},
    "kl_sweep": {"ci": Budget(256, 2, 16), "cpu": Budget(8_000, 500, 32), "gpu": Budget(60_000, 10_000, 64)},
    "lpips_decoder": {
        "ci": Budget(256, 4, 8),
        "cpu": Budget(8_000, 500, 16),
        "gpu": Budget(60_000, 20_000, 32),
    },
    "gan_decoder": {
        "ci": Budget(256, 4, 8),
        "cpu": Budget(8_000, 500, 16),
        "gpu": Budget(60_000, 20_000, 32),
    },
    "sharp_decoder": {
        "ci": Budget(256, 4, 8),
        "cpu": Budget(8_000, 500, 16),
        "gpu": Budget(60_000, 20_000, 32),
    },
    "clip": {
        "ci": Budget(1_500, 4, 32),
        "cpu": Budget(20_000, 3_000, 192),
        "gpu": Budget(60_000, 8_000, 512),
    },
    "denoiser": {
        "ci": Budget(256, 4, 32),
        "cpu": Budget(24_000, 5_000, 256),
        "gpu": Budget(100_000, 60_000, 512),
    },
    "diffusion": {
        "ci": Budget(256, 4, 32),
        "cpu": Budget(24_000, 5_000, 256),
        "gpu": Budget(100_000, 60_000, 512),
    },
    "weak_denoiser": {
        "ci": Budget(256, 4, 32),
        "cpu": Budget(24_000, 1_000, 128),
        "gpu": Budget(100_000, 6_000, 512),
    },
}
"""Optimiser steps and data by recipe and profile. `cpu` is what trained the checkpoints that ship, on two cores; the VAE and CLIP in several runs,
which their headers name."""

CONDITION_DROPOUT = 0.1
CAPTION_VARIANTS = 4
LOOK_ALIKES = 16
BLUR, NOISE = DEGRADATIONS.index("blur"), DEGRADATIONS.index("noise")


def judge(budget: Budget, seed: int = 0) -> tuple[Judge, dict]:
    """The attribute classifier that evaluation trusts. It sees pictures sharp, blurred up to three times and noisy,
    so that it judges what is shown and not how crisply. Alone of all models it also sees the held-out combinations
    (other pictures of them than evaluation uses): its own blind spots must not look like those of a generator."""
    torch.manual_seed(seed)
    model = place(Judge())
    common = Plushies(budget.pictures).in_memory()
    rare = Plushies(budget.pictures // 8, "heldout", seed=seed + 1).in_memory()
    data = PlushieTensors(
        torch.cat([common.pictures, rare.pictures]),
        torch.cat([common.attributes, rare.attributes]),
        common.captions + rare.captions,
    )

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, index = draw(data, budget.batch, g)
        blurs, noisy = torch.randint(0, 4, (len(x),), generator=g), torch.rand(len(x), generator=g) < 0.3
        for k in range(3):
            x = degrade(x, BLUR * (blurs > k), g)
        x = degrade(x, NOISE * noisy, g).contiguous(memory_format=torch.channels_last)
        value = attribute_loss(model(x), data.attributes[index].to(x.device))
        return value, {"loss": value.detach()}

    fit(
        Part(model, loss, lr=2e-3, ema=0.995, weight_decay=0.05),
        steps=budget.steps, seed=seed, progress=budget.progress, state=budget.state,
    )  # fmt: skip
    n = 2048 if budget.steps > 100 else 64
    return model, {
        "accuracy": accuracy(model.predict, held_out(n)),
        "accuracy_heldout": accuracy(model.predict, held_out(n // 2, "heldout")),
    }


def backbone(budget: Budget, seed: int = 0) -> tuple[Backbone, dict]:
    """SqueezeNet that names attributes and tells how a picture was degraded: the eyes of the course's LPIPS."""
    torch.manual_seed(seed)
    data, model = Plushies(budget.pictures).in_memory(), place(Backbone())

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, index = draw(data, budget.batch, g)
        kinds = torch.randint(0, len(DEGRADATIONS), (len(x),), generator=g)
        logits = model(degrade(x, kinds, g).contiguous(memory_format=torch.channels_last))
        texture = F.cross_entropy(logits.pop("degradation"), kinds.to(x.device))
        value = attribute_loss(logits, data.attributes[index].to(x.device)) + texture
        return value, {"loss": value.detach(), "texture": texture.detach()}

    fit(
        Part(model, loss, lr=1e-3, ema=0.99),
        steps=budget.steps,
        seed=seed,
        progress=budget.progress,
        state=budget.state,
    )
    held = held_out(1024 if budget.steps > 100 else 64)
    g = runtime.generator(seed + 1)
    kinds = torch.randint(0, len(DEGRADATIONS), (len(held),), generator=g)
    degraded = degrade(to_float(held.pictures), kinds, g)
    found = in_chunks(lambda x: model(x)["degradation"].argmax(1), degraded)

    def predict(x: Tensor) -> Tensor:
        logits = model(x)
        return torch.stack([logits[name].argmax(1) for name in NAMES], dim=1)

    return model, {
        "accuracy": accuracy(predict, held),
        "degradation": float((found == kinds).float().mean()),
    }


def clip(budget: Budget, seed: int = 0) -> tuple[CLIP, dict]:
    """Two towers that agree on which caption belongs to which picture. The tokenizer is trained first.

    Batches are made of look-alikes, groups that agree in fur and background. In a batch at random these two tell
    most pictures apart, and the towers are slow to learn the species.
    """
    torch.manual_seed(seed)
    source = Plushies(budget.pictures)
    data = source.in_memory()
    captions = [[source.caption(i, k) for k in range(CAPTION_VARIANTS)] for i in range(len(source))]
    tokenizer = Tokenizer.train((c for row in captions[:4000] for c in row), vocab_size=512, context_length=24)
    tokens = torch.stack([tokenizer(row) for row in captions])  # (N, variants, L)
    model = place(CLIP(tokenizer))
    groups = look_alikes(data.attributes, LOOK_ALIKES, ("fur", "background"))

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        index = draw_look_alikes(groups, budget.batch, LOOK_ALIKES, g)
        x = pictures_at(data, index)
        variant = torch.randint(CAPTION_VARIANTS, (len(x),), generator=g)
        text = tokens[index, variant].to(x.device)
        value = losses.contrastive(model.encode_image(x), model.encode_text(text), model.logit_scale)
        return value, {"loss": value.detach(), "scale": model.logit_scale.detach().exp()}

    fit(
        Part(model, loss, lr=1.5e-3, ema=0.995, weight_decay=0.05, after_step=model.clamp_scale),
        steps=budget.steps, seed=seed, progress=budget.progress, state=budget.state,
    )  # fmt: skip
    held = held_out(512 if budget.steps > 100 else 64)
    pictures = in_chunks(lambda x: model.encode_image(to_float(x)), held.pictures)
    with torch.no_grad():
        best = (pictures @ model.encode_text(held.captions).cpu().T).argmax(1)
    right = [held.captions[int(j)] == held.captions[i] for i, j in enumerate(best)]
    return model, {"recall_at_1": sum(right) / len(right)}


@torch.no_grad()
def latents_and_conditions(n: int, model: VAE, towers: CLIP, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What a denoiser trains on: normalised latents (N, 4, 8, 8) and caption embeddings (N, variants, D)."""
    source = Plushies(n, seed=seed)
    latents = []
    for part in torch.arange(n).split(2048):
        pictures = render(source.attributes[part], source.seeds[part])
        latents.append(in_chunks(lambda x: model.to_latent(to_float(x)), pictures))
    captions = [source.caption(i, k) for i in range(n) for k in range(CAPTION_VARIANTS)]
    conditions = torch.cat([towers.encode_text(captions[i : i + 4096]).cpu() for i in range(0, len(captions), 4096)])
    return torch.cat(latents).contiguous(), conditions.view(n, CAPTION_VARIANTS, -1)


@torch.no_grad()
def picture_embeddings(n: int, towers: CLIP, seed: int = 0) -> Tensor:
    """What CLIP says of the same n pictures themselves, (N, D): the condition of a reference picture."""
    source = Plushies(n, seed=seed)
    return torch.cat(
        [
            in_chunks(lambda x: towers.encode_image(to_float(x)), render(source.attributes[i], source.seeds[i]))
            for i in torch.arange(n).split(2048)
        ]
    )


def text_and_picture_conditions(n: int, model: VAE, towers: CLIP, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Latents (N, 4, 8, 8) with the captions' embeddings and, for a third of the draws, the picture's own.

    CLIP's texts and pictures live in two separate parts of its space, so a denoiser that is to follow both
    must have seen both.
    """
    latents, conditions = latents_and_conditions(n, model, towers, seed)
    own = picture_embeddings(n, towers, seed)[:, None].expand(-1, CAPTION_VARIANTS // 2, -1)
    return latents, torch.cat([conditions, own], 1)


def draw_training_pairs(
    model: Denoiser, latents: Tensor, conditions: Tensor, batch: int, g: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """z0 (B, 4, 8, 8), a condition of each, (B, D), null in a tenth of them, and noise eps like z0."""
    device = next(model.parameters()).device
    index = torch.randint(len(latents), (batch,), generator=g)
    variant = torch.randint(conditions.shape[1], (batch,), generator=g)
    z0, c = latents[index].to(device), conditions[index, variant].to(device)
    eps = torch.randn(z0.shape, generator=g).to(device)
    dropped = (torch.rand(batch, generator=g) < CONDITION_DROPOUT).to(device)
    return z0, torch.where(dropped[:, None], model.null, c), eps


def denoiser_loss(model: Denoiser, latents: Tensor, conditions: Tensor, batch: int, g: torch.Generator) -> Tensor:
    """One batch of conditional flow matching with condition dropout: the training step of notebook 07.

    Times are logit-normal (Esser et al. 2024, §3.1): the middle of the path, where most is decided, comes oftenest.
    """
    z0, c, eps = draw_training_pairs(model, latents, conditions, batch, g)
    t = torch.randn(batch, generator=g).sigmoid().to(z0.device)
    # Summed over a latent by `flow_matching`; per number here, which suits the optimiser's defaults.
    return objectives.flow_matching(model, RectifiedFlow(), z0, c, t, eps).mean() / z0[0].numel()


def diffusion_loss(model: Denoiser, latents: Tensor, conditions: Tensor, batch: int, g: torch.Generator) -> Tensor:
    """One batch of DDPM's training (Ho et al. 2020, algorithm 1): name the noise, at a time drawn evenly."""
    z0, c, eps = draw_training_pairs(model, latents, conditions, batch, g)
    t = torch.rand(batch, generator=g).to(z0.device)
    return objectives.noise_prediction(model, VariancePreserving(), z0, c, t, eps).mean() / z0[0].numel()


def _train_denoiser(
    budget: Budget, seed: int, loss_of: Callable[..., Tensor], config: DenoiserConfig
) -> tuple[Denoiser, dict]:
    torch.manual_seed(seed)
    towers, autoencoder = load("clip"), load("vae")
    latents, conditions = text_and_picture_conditions(budget.pictures, autoencoder, towers, seed)
    model = Denoiser(config).to(runtime.device())

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        value = loss_of(model, latents, conditions, budget.batch, g)
        return value, {"loss": value.detach()}

    fit(
        Part(model, loss, lr=1.5e-3, ema=0.9995, weight_decay=0.0),
        steps=budget.steps, seed=seed, progress=budget.progress, state=budget.state,
    )  # fmt: skip
    n = 1024 if budget.steps > 100 else 64
    held, wanted = text_and_picture_conditions(n, autoencoder, towers, seed + 1)
    with torch.no_grad():
        g = runtime.generator(seed + 1)
        value = sum(loss_of(model, held, wanted, 256, g) for _ in range(8)) / 8
    return model, {"loss": float(value)}


def denoiser(budget: Budget, seed: int = 0) -> tuple[Denoiser, dict]:
    """The diffusion transformer: rectified flow in the VAE's latents, conditioned on CLIP's embedding of a caption
    or of a picture. It predicts velocities."""
    return _train_denoiser(budget, seed, denoiser_loss, DenoiserConfig())


def diffusion(budget: Budget, seed: int = 0) -> tuple[Denoiser, dict]:
    """The same transformer with the same budget, trained as DDPM was: it predicts noise, on `VariancePreserving`."""
    return _train_denoiser(budget, seed, diffusion_loss, DenoiserConfig())


def weak_denoiser(budget: Budget, seed: int = 0) -> tuple[Denoiser, dict]:
    """The denoiser smaller and trained for less: the bad version of itself that autoguidance moves away from."""
    return _train_denoiser(budget, seed, denoiser_loss, DenoiserConfig(width=96, depth=2))


RECIPES: dict[str, Callable[..., tuple[nn.Module, dict]]] = {
    "judge": judge,
    "backbone": backbone,
    "vae": autoencoders.vae,
    "kl_sweep": autoencoders.kl_sweep,
    "lpips_decoder": autoencoders.lpips_decoder,
    "gan_decoder": autoencoders.gan_decoder,
    "sharp_decoder": autoencoders.sharp_decoder,
    "clip": clip,
    "denoiser": denoiser,
    "diffusion": diffusion,
    "weak_denoiser": weak_denoiser,
}
"""Every recipe, in an order in which each finds what it builds on."""


def budget(recipe: str, profile: str, **changes) -> Budget:
    """The budget of a recipe under a profile, with changes such as `steps=100`."""
    if recipe not in RECIPES:
        raise ValueError(f"recipe: got {recipe!r}; expected one of {', '.join(RECIPES)}")
    if profile not in runtime.PROFILES:
        raise ValueError(f"profile: got {profile!r}; expected one of {', '.join(runtime.PROFILES)}")
    return replace(BUDGETS[recipe][profile], **changes)
