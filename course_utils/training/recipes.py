"""The recipes behind the checkpoints that ship: one readable function a model.

Each takes a `Budget` and returns the trained model with the numbers that it measured on pictures it has not
trained on. `python -m course_utils.training RECIPE` runs one and saves its checkpoint; a recipe that builds on
another model (the denoiser needs the VAE and CLIP) loads that model's checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils import losses, runtime
from course_utils.datasets.plushies import NAMES, Plushies, PlushieTensors, render, to_float
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.models.autoencoder import VAE
from course_utils.models.classifier import Judge, attribute_loss
from course_utils.models.clip import CLIP
from course_utils.models.denoiser import Denoiser
from course_utils.models.discriminator import PatchDiscriminator
from course_utils.models.perceptual import DEGRADATIONS, Backbone, degrade, lpips_network
from course_utils.models.tokenizer import Tokenizer
from course_utils.training.checkpoints import load
from course_utils.training.loop import Part, fit


@dataclass(frozen=True)
class Budget:
    """What a recipe may spend: pictures in memory, optimiser steps, pictures a step."""

    pictures: int
    steps: int
    batch: int
    state: Path | None = None  # where an interrupted run is kept
    progress: Callable[..., None] | None = None


BUDGETS: dict[str, dict[str, Budget]] = {
    "judge": {"ci": Budget(256, 5, 32), "cpu": Budget(16_000, 800, 96), "gpu": Budget(60_000, 6_000, 256)},
    "backbone": {"ci": Budget(256, 3, 16), "cpu": Budget(8_000, 400, 64), "gpu": Budget(60_000, 8_000, 256)},
    "vae": {"ci": Budget(256, 4, 16), "cpu": Budget(24_000, 3_000, 32), "gpu": Budget(60_000, 30_000, 64)},
    "sharp_decoder": {
        "ci": Budget(256, 4, 8),
        "cpu": Budget(8_000, 500, 16),
        "gpu": Budget(60_000, 20_000, 32),
    },
    "clip": {
        "ci": Budget(1_500, 4, 32),
        "cpu": Budget(20_000, 1_100, 192),
        "gpu": Budget(60_000, 8_000, 512),
    },
    "denoiser": {
        "ci": Budget(256, 4, 32),
        "cpu": Budget(24_000, 2_500, 128),
        "gpu": Budget(100_000, 60_000, 512),
    },
}
"""Optimiser steps and data by recipe and profile. `cpu` is what trained the checkpoints that ship, on two cores."""

KL_WEIGHT = 0.2
CONDITION_DROPOUT = 0.1
CAPTION_VARIANTS = 4
LOOK_ALIKES = 16
BLUR, NOISE = DEGRADATIONS.index("blur"), DEGRADATIONS.index("noise")


def _pictures(data: PlushieTensors, index: Tensor) -> Tensor:
    """The pictures (B, 3, 64, 64) of an index (B,), on the device."""
    return to_float(data.pictures[index]).to(runtime.device()).contiguous(memory_format=torch.channels_last)


def _draw(data: PlushieTensors, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random batch: pictures (B, 3, 64, 64), and which they are (B,)."""
    index = torch.randint(len(data), (batch,), generator=generator)
    return _pictures(data, index), index


def look_alikes(attributes: Tensor, group: int, columns: tuple[str, ...]) -> list[Tensor]:
    """The pictures that agree in `columns`, as one index each for every combination with `group` pictures or more."""
    keys = attributes[:, [NAMES.index(name) for name in columns]]
    _, which = keys.unique(dim=0, return_inverse=True)
    found = which.argsort(stable=True).split(which.bincount().tolist())
    return [index for index in found if len(index) >= group]


def draw_look_alikes(groups: list[Tensor], batch: int, group: int, generator: torch.Generator) -> Tensor:
    """An index (batch,) made of groups of look-alikes, so that a batch holds hard negatives."""
    picked = torch.randint(len(groups), (batch // group,), generator=generator).tolist()
    return torch.cat([groups[i][torch.randperm(len(groups[i]), generator=generator)[:group]] for i in picked])


def _place(module: nn.Module) -> nn.Module:
    """On the device, in the memory layout that makes convolutions twice as fast on a CPU."""
    return module.to(runtime.device(), memory_format=torch.channels_last)


def _validation(n: int, split: str = "val") -> PlushieTensors:
    return Plushies(n, split).in_memory()


@torch.no_grad()
def _in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, size: int = 256) -> Tensor:
    return torch.cat([function(part.to(runtime.device())).cpu() for part in x.split(size)])


def _accuracy(predict: Callable[[Tensor], Tensor], data: PlushieTensors) -> dict[str, float]:
    """Share of right answers for each attribute; a colour counts only where there is an accessory."""
    found = _in_chunks(lambda x: predict(to_float(x)), data.pictures)
    return {
        name: float((found[:, i] == data.attributes[:, i])[data.attributes[:, i] >= 0].float().mean())
        for i, name in enumerate(NAMES)
    }


def judge(budget: Budget, seed: int = 0) -> tuple[Judge, dict]:
    """The attribute classifier that evaluation trusts. It sees pictures sharp, blurred up to three times and noisy,
    so that it judges what is shown and not how crisply."""
    torch.manual_seed(seed)
    data, model = Plushies(budget.pictures).in_memory(), _place(Judge())

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, index = _draw(data, budget.batch, g)
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
    return model, {"accuracy": _accuracy(model.predict, _validation(2048 if budget.steps > 100 else 64))}


def backbone(budget: Budget, seed: int = 0) -> tuple[Backbone, dict]:
    """SqueezeNet that names attributes and tells how a picture was degraded: the eyes of the course's LPIPS."""
    torch.manual_seed(seed)
    data, model = Plushies(budget.pictures).in_memory(), _place(Backbone())

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, index = _draw(data, budget.batch, g)
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
    held = _validation(1024 if budget.steps > 100 else 64)
    g = runtime.generator(seed + 1)
    kinds = torch.randint(0, len(DEGRADATIONS), (len(held),), generator=g)
    degraded = degrade(to_float(held.pictures), kinds, g)
    found = _in_chunks(lambda x: model(x)["degradation"].argmax(1), degraded)

    def predict(x: Tensor) -> Tensor:
        logits = model(x)
        return torch.stack([logits[name].argmax(1) for name in NAMES], dim=1)

    return model, {
        "accuracy": _accuracy(predict, held),
        "degradation": float((found == kinds).float().mean()),
    }


def vae(budget: Budget, seed: int = 0) -> tuple[VAE, dict]:
    """The autoencoder of the latent space: ½‖x − x̂‖² + weight · KL, both summed over a picture."""
    torch.manual_seed(seed)
    data, model = Plushies(budget.pictures).in_memory(), _place(VAE())

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, _ = _draw(data, budget.batch, g)
        x_hat, posterior = model(x, g if x.device.type == "cpu" else None)
        reconstruction, kl = losses.reconstruction(x, x_hat).mean(), posterior.kl().mean()
        # Nats per picture are in the hundreds; per pixel they suit the optimiser's defaults.
        value = (reconstruction + KL_WEIGHT * kl) / x[0].numel()
        return value, {"loss": value.detach(), "reconstruction": reconstruction.detach(), "kl": kl.detach()}

    fit(
        Part(model, loss, lr=2e-3, ema=0.998, weight_decay=0.0),
        steps=budget.steps, seed=seed, progress=budget.progress, state=budget.state,
    )  # fmt: skip
    model.measure_latents(data.pictures[:4096])
    held = _validation(1024 if budget.steps > 100 else 64)
    x = to_float(held.pictures)
    x_hat = _in_chunks(lambda part: model.decode(model.encode(part).mode()).clamp(-1, 1), x)
    kl = _in_chunks(lambda part: model.encode(part).kl(), x)
    psnr = -10 * ((x - x_hat) ** 2 / 4).mean((1, 2, 3)).log10()
    return model, {"psnr": float(psnr.mean()), "kl": float(kl.mean()), "kl_weight": KL_WEIGHT}


def sharp_decoder(budget: Budget, seed: int = 0) -> tuple[nn.Module, dict]:
    """The VAE's decoder, taught to draw fur: L1 + LPIPS + a patch discriminator, the encoder untouched.

    The discriminator learns alone for the first twentieth of the run: the adversarial weight is measured from
    gradients, which say nothing before the discriminator does (Esser et al. 2021, §3.1).
    """
    torch.manual_seed(seed)
    data, model = Plushies(budget.pictures).in_memory(), load("vae").requires_grad_(True)
    decoder, critic = model.decoder, _place(PatchDiscriminator())
    distance = lpips_network(load("backbone"))
    delay, step = budget.steps // 20, 0
    now: dict[str, Tensor] = {}

    def critic_loss(g: torch.Generator) -> tuple[Tensor, dict]:
        nonlocal step
        step += 1
        x, _ = _draw(data, budget.batch, g)
        with torch.no_grad():
            z = model.encode(x).mode()
        now.update(x=x, x_hat=decoder(z))
        value = losses.hinge_discriminator(critic(x), critic(now["x_hat"].detach()))
        return value, {"critic": value.detach()}

    def decoder_loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, x_hat = now["x"], now["x_hat"]
        pixels, features = (x - x_hat).abs().mean(), distance(x, x_hat).mean()
        value = pixels + 0.3 * features
        logs = {"l1": pixels.detach(), "lpips": features.detach()}
        if step > delay:
            adversarial = losses.hinge_generator(critic(x_hat))
            weight = losses.adaptive_weight(value, adversarial, decoder.last_layer)
            value = value + 0.5 * weight * adversarial
            logs["weight"] = weight.detach()
        return value, logs

    fit(
        [
            Part(critic, critic_loss, lr=4e-4, betas=(0.5, 0.9), weight_decay=0.0),
            Part(decoder, decoder_loss, lr=4e-4, ema=0.99, betas=(0.5, 0.9), weight_decay=0.0),
        ],
        steps=budget.steps, seed=seed, progress=budget.progress,
    )  # fmt: skip
    held = _validation(512 if budget.steps > 100 else 64)
    x = to_float(held.pictures)
    before = load("vae")
    sharp = _in_chunks(lambda p: decoder(before.encode(p).mode()).clamp(-1, 1), x)
    soft = _in_chunks(lambda p: before.decode(before.encode(p).mode()).clamp(-1, 1), x)
    distances = [
        float(torch.cat([distance(a, b) for a, b in zip(x.split(64), y.split(64), strict=True)]).mean())
        for y in (soft, sharp)
    ]
    psnr = -10 * ((x - sharp) ** 2 / 4).mean((1, 2, 3)).log10()
    return decoder, {"psnr": float(psnr.mean()), "lpips_soft": distances[0], "lpips": distances[1]}


def clip(budget: Budget, seed: int = 0) -> tuple[CLIP, dict]:
    """Two towers that agree on which caption belongs to which picture. The tokenizer is trained first.

    Batches are made of look-alikes, groups that agree in fur and background. In a batch at random these two tell
    most pictures apart, and the towers are slow to learn the species.
    """
    torch.manual_seed(seed)
    source = Plushies(budget.pictures)
    data = source.in_memory()
    captions = [[source.caption(i, k) for k in range(CAPTION_VARIANTS)] for i in range(len(source))]
    tokenizer = Tokenizer.train(
        (c for row in captions[:4000] for c in row), vocab_size=512, context_length=24
    )
    tokens = torch.stack([tokenizer(row) for row in captions])  # (N, variants, L)
    model = _place(CLIP(tokenizer))
    groups = look_alikes(data.attributes, LOOK_ALIKES, ("fur", "background"))

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        index = draw_look_alikes(groups, budget.batch, LOOK_ALIKES, g)
        x = _pictures(data, index)
        variant = torch.randint(CAPTION_VARIANTS, (len(x),), generator=g)
        text = tokens[index, variant].to(x.device)
        value = losses.contrastive(model.encode_image(x), model.encode_text(text), model.logit_scale)
        return value, {"loss": value.detach(), "scale": model.logit_scale.detach().exp()}

    fit(
        Part(model, loss, lr=1.5e-3, ema=0.995, weight_decay=0.05, after_step=model.clamp_scale),
        steps=budget.steps, seed=seed, progress=budget.progress, state=budget.state,
    )  # fmt: skip
    held = _validation(512 if budget.steps > 100 else 64)
    pictures = _in_chunks(lambda x: model.encode_image(to_float(x)), held.pictures)
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
        latents.append(_in_chunks(lambda x: model.to_latent(to_float(x)), pictures))
    captions = [source.caption(i, k) for i in range(n) for k in range(CAPTION_VARIANTS)]
    conditions = torch.cat(
        [towers.encode_text(captions[i : i + 4096]).cpu() for i in range(0, len(captions), 4096)]
    )
    return torch.cat(latents).contiguous(), conditions.view(n, CAPTION_VARIANTS, -1)


def denoiser_loss(
    model: Denoiser, latents: Tensor, conditions: Tensor, batch: int, g: torch.Generator
) -> Tensor:
    """One batch of conditional flow matching with condition dropout: the training step of notebook 07.

    Times are logit-normal (Esser et al. 2024, §3.1): the middle of the path, where most is decided, comes oftenest.
    """
    device = next(model.parameters()).device
    index = torch.randint(len(latents), (batch,), generator=g)
    variant = torch.randint(conditions.shape[1], (batch,), generator=g)
    z0, c = latents[index].to(device), conditions[index, variant].to(device)
    eps = torch.randn(z0.shape, generator=g).to(device)
    t = torch.randn(batch, generator=g).sigmoid().to(device)
    dropped = (torch.rand(batch, generator=g) < CONDITION_DROPOUT).to(device)
    c = torch.where(dropped[:, None], model.null, c)
    # Summed over a latent by `flow_matching`; per number here, which suits the optimiser's defaults.
    return losses.flow_matching(model, RectifiedFlow(), z0, c, t, eps).mean() / z0[0].numel()


def denoiser(budget: Budget, seed: int = 0) -> tuple[Denoiser, dict]:
    """The diffusion transformer: rectified flow in the VAE's latents, conditioned on CLIP's caption embedding."""
    torch.manual_seed(seed)
    latents, conditions = latents_and_conditions(budget.pictures, load("vae"), load("clip"), seed)
    model = Denoiser().to(runtime.device())

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        value = denoiser_loss(model, latents, conditions, budget.batch, g)
        return value, {"loss": value.detach()}

    fit(
        Part(model, loss, lr=1e-3, ema=0.9995, weight_decay=0.0),
        steps=budget.steps, seed=seed, progress=budget.progress, state=budget.state,
    )  # fmt: skip
    n = 1024 if budget.steps > 100 else 64
    held, wanted = latents_and_conditions(n, load("vae"), load("clip"), seed + 1)
    with torch.no_grad():
        g = runtime.generator(seed + 1)
        value = sum(denoiser_loss(model, held, wanted, 256, g) for _ in range(8)) / 8
    return model, {"loss": float(value)}


RECIPES: dict[str, Callable[..., tuple[nn.Module, dict]]] = {
    "judge": judge,
    "backbone": backbone,
    "vae": vae,
    "sharp_decoder": sharp_decoder,
    "clip": clip,
    "denoiser": denoiser,
}
"""Every recipe, in an order in which each finds what it builds on."""


def budget(recipe: str, profile: str, **changes) -> Budget:
    """The budget of a recipe under a profile, with changes such as `steps=100`."""
    if recipe not in RECIPES:
        raise ValueError(f"recipe: got {recipe!r}; expected one of {', '.join(RECIPES)}")
    if profile not in runtime.PROFILES:
        raise ValueError(f"profile: got {profile!r}; expected one of {', '.join(runtime.PROFILES)}")
    return replace(BUDGETS[recipe][profile], **changes)
