"""Recipes around the autoencoder: the VAE itself, the sweep over its KL weight, and sharper decoders for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils import losses
from course_utils.checkpoints import load
from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.images import to_float
from course_utils.models.autoencoder import VAE, VAESweep
from course_utils.models.discriminator import PatchDiscriminator
from course_utils.models.perceptual import lpips_network
from course_utils.training.batches import Budget, draw, held_out, in_chunks, place
from course_utils.training.loop import Part, fit

KL_WEIGHT = 0.03


def vae_part(
    model: VAE, data: PlushieTensors, batch: int, kl_weight: float, lr: float = 2e-3, ema: float = 0.998
) -> Part:
    """An autoencoder to fit: ½‖x − x̂‖² + kl_weight · KL, both summed over a picture (Kingma & Welling 2014, eq. 10).

    With `kl_weight` 0 the latent is not sampled: a plain autoencoder.
    """

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, _ = draw(data, batch, g)
        posterior = model.encode(x)
        z = posterior.sample(g) if kl_weight > 0 else posterior.mode()
        reconstruction, kl = losses.reconstruction(x, model.decode(z)).mean(), posterior.kl().mean()
        # Nats per picture are in the hundreds; per pixel they suit the optimiser's defaults.
        value = (reconstruction + kl_weight * kl) / x[0].numel()
        return value, {"loss": value.detach(), "reconstruction": reconstruction.detach(), "kl": kl.detach()}

    return Part(model, loss, lr=lr, ema=ema, weight_decay=0.0)


def _psnr(x: Tensor, x_hat: Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB of pictures in [-1, 1], whose range is 2."""
    return float((-10 * ((x - x_hat) ** 2 / 4).mean((1, 2, 3)).log10()).mean())


def _measure(model: VAE, x: Tensor) -> dict[str, float]:
    x_hat = in_chunks(lambda part: model.decode(model.encode(part).mode()).clamp(-1, 1), x)
    return {"psnr": _psnr(x, x_hat), "kl": float(in_chunks(lambda part: model.encode(part).kl(), x).mean())}


def vae(budget: Budget, seed: int = 0) -> tuple[VAE, dict]:
    """The autoencoder of the latent space."""
    torch.manual_seed(seed)
    data, model = Plushies(budget.pictures).in_memory(), place(VAE())
    fit(
        vae_part(model, data, budget.batch, KL_WEIGHT),
        steps=budget.steps, seed=seed, progress=budget.progress, state=budget.state,
    )  # fmt: skip
    model.measure_latents(data.pictures[:4096])
    x = to_float(held_out(1024 if budget.steps > 100 else 64).pictures)
    return model, _measure(model, x) | {"kl_weight": KL_WEIGHT}


def kl_sweep(budget: Budget, seed: int = 0) -> tuple[VAESweep, dict]:
    """Small VAEs, alike but for the KL weight, each with the same data, seed and number of steps."""
    data, x = Plushies(budget.pictures).in_memory(), held_out(512 if budget.steps > 100 else 64)
    sweep, metrics = VAESweep(), {}
    for weight in sweep.weights:
        torch.manual_seed(seed)
        model = place(sweep.fresh())
        state = budget.state and budget.state.with_stem(f"{budget.state.stem}-{weight:g}")
        fit(
            vae_part(model, data, budget.batch, weight),
            steps=budget.steps, seed=seed, progress=budget.progress, state=state,
        )  # fmt: skip
        model.measure_latents(data.pictures[:4096])
        sweep[weight].load_state_dict(model.state_dict())
        metrics[f"{weight:g}"] = _measure(model, to_float(x.pictures))
    return sweep, metrics


def decoder_parts(
    model: VAE, data: PlushieTensors, batch: int, *, perceptual: float, adversarial: float, delay: int
) -> list[Part]:
    """What it takes to fine-tune `model.decoder` for sharp pictures: L1 + perceptual · LPIPS + adversarial · λ · GAN.

    The encoder is not touched. λ is the adaptive weight, so `adversarial` is the share of the pull that the
    discriminator gets at the last layer. It is measured from gradients that say nothing before the
    discriminator does, so the discriminator learns alone for the first `delay` steps (Esser et al. 2021, §3.1).
    With `adversarial` 0 there is no discriminator, with `perceptual` 0 no LPIPS.
    """
    decoder = model.decoder.requires_grad_(True)
    # Texture from a pixel shuffle is a grid of two pixels; what is smooth stays as it was learnt.
    decoder[-1].coarse.requires_grad_(False)
    distance = lpips_network(load("backbone")) if perceptual else None
    critic = place(PatchDiscriminator()) if adversarial else None
    now: dict[str, Tensor] = {}

    def pair(g: torch.Generator) -> tuple[Tensor, Tensor]:
        x, _ = draw(data, batch, g)
        with torch.no_grad():
            z = model.encode(x).mode()
        return x, decoder(z)

    def critic_loss(g: torch.Generator) -> tuple[Tensor, dict]:
        now["x"], now["x_hat"] = pair(g)
        value = losses.hinge_discriminator(critic(now["x"]), critic(now["x_hat"].detach()))
        return value, {"critic": value.detach()}

    def decoder_loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, x_hat = (now["x"], now["x_hat"]) if critic else pair(g)
        value = (x - x_hat).abs().mean()
        logs = {"l1": value.detach()}
        if distance:
            features = distance(x, x_hat).mean()
            value, logs["lpips"] = value + perceptual * features, features.detach()
        if critic:
            gan = losses.hinge_generator(critic(x_hat))
            weight = losses.adaptive_weight(value, gan, decoder.last_layer)
            value, logs["weight"] = value + adversarial * weight * gan, weight
        return value, logs

    options = {"betas": (0.5, 0.9), "weight_decay": 0.0}
    parts = [Part(decoder, decoder_loss, lr=4e-4, ema=0.99, start=delay if critic else 0, **options)]
    # The critic starts from nothing and must stay ahead (two learning rates: Heusel et al. 2017, §2).
    return [Part(critic, critic_loss, lr=2e-3, **options), *parts] if critic else parts


def _decoder(perceptual: float, adversarial: float) -> Callable[..., tuple[nn.Module, dict]]:
    def recipe(budget: Budget, seed: int = 0) -> tuple[nn.Module, dict]:
        torch.manual_seed(seed)
        data, model = Plushies(budget.pictures).in_memory(), load("vae")
        x = to_float(held_out(512 if budget.steps > 100 else 64).pictures)

        def decoded() -> Tensor:
            return in_chunks(lambda part: model.decode(model.encode(part).mode()).clamp(-1, 1), x)

        soft = decoded()
        parts = decoder_parts(
            model, data, budget.batch,
            perceptual=perceptual, adversarial=adversarial, delay=budget.steps // 20,
        )  # fmt: skip
        fit(parts, steps=budget.steps, seed=seed, progress=budget.progress, state=budget.state)
        sharp, distance = decoded(), lpips_network(load("backbone"))

        def far(y: Tensor) -> float:
            pairs = torch.stack([x, y], dim=1)
            return float(in_chunks(lambda pair: distance(*pair.unbind(1)).flatten(), pairs, size=64).mean())

        return model.decoder, {
            "psnr": _psnr(x, sharp),
            "lpips_soft": far(soft),
            "lpips": far(sharp),
        }

    return recipe


sharp_decoder = _decoder(perceptual=0.05, adversarial=1.0)
"""The VAE's decoder, taught to draw fur: L1 + LPIPS + a patch discriminator."""
lpips_decoder = _decoder(perceptual=0.05, adversarial=0.0)
"""The same without the discriminator, for notebook 03."""
gan_decoder = _decoder(perceptual=0.0, adversarial=1.0)
"""The same without LPIPS, for notebook 03."""
