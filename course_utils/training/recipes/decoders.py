"""The recipes of sharper decoders for the VAE."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from course_utils import losses
from course_utils.checkpoints import load
from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.evaluation.chunks import reconstructed
from course_utils.evaluation.metrics import perceptual_distance, psnr
from course_utils.images import to_float
from course_utils.models.autoencoder import VAE
from course_utils.models.discriminator import PatchDiscriminator
from course_utils.models.perceptual import lpips_network
from course_utils.training.batches import draw_crops, held_out, place
from course_utils.training.budget import Budget
from course_utils.training.loop import Part

COLOUR = 2.0
"""How much more a wrong colour counts. Fur is lighter or darker than its ground and never of another colour, so that there
is nothing to invent here; without this the first thing that LPIPS and a critic teach is confetti along every edge."""

PERCEPTUAL = 0.03
ADVERSARIAL = 0.15
"""The critic is gentle: in a trial with 0.5 in its place, for 3,000 steps beside 0.02 · LPIPS, there was more fine detail (0.75 of
the real power, against 0.52), and eyes dissolved into speckle."""


def chroma(x: Tensor) -> Tensor:
    """What is left of pictures (B, 3, H, W) without their grey: the mean over the three colours is 0."""
    return x - x.mean(1, keepdim=True)


def decoder_parts(
    model: VAE, data: PlushieTensors, batch: int, *, perceptual: float, adversarial: float, delay: int
) -> list[Part]:
    """What it takes to fine-tune `model.decoder` for sharp pictures: L1 + colour + perceptual · LPIPS + adversarial · λ · GAN.

    The encoder is not touched. λ is the adaptive weight, so `adversarial` is the share of the pull that the
    discriminator gets at the last layer. It is measured from gradients that say nothing before the
    discriminator does, so the discriminator learns alone for the first `delay` steps. This order is the course's own:
    in VQGAN and in Stable Diffusion's code it is the autoencoder that trains alone during the warm-up. LPIPS is
    left out of λ: it pulls harder than L1, and a critic that pulled as hard as both would dissolve eyes into speckle.
    With `adversarial` 0 there is no discriminator, with `perceptual` 0 no LPIPS.
    """
    decoder = model.decoder.requires_grad_(True)
    distance = lpips_network(load("backbone")) if perceptual else None
    critic = place(PatchDiscriminator()) if adversarial else None

    def latents(g: torch.Generator) -> tuple[Tensor, Tensor]:
        x, _ = draw_crops(data, batch, g, whole=0.0)
        with torch.no_grad():
            return x, model.encode(x).mode()

    # Each loss draws a batch of its own, so that neither depends on when the other runs.
    def critic_loss(g: torch.Generator) -> tuple[Tensor, dict]:
        assert critic is not None
        x, z = latents(g)
        with torch.no_grad():
            x_hat = decoder(z)
        value = losses.hinge_discriminator(critic(x), critic(x_hat))
        return value, {"critic": value.detach()}

    def decoder_loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, z = latents(g)
        x_hat = decoder(z)
        l1 = (x - x_hat).abs().mean()
        plain = l1 + COLOUR * (chroma(x) - chroma(x_hat)).abs().mean()
        value, logs = plain, {"l1": l1.detach()}
        if distance:
            features = distance(x, x_hat).mean()
            value, logs["lpips"] = value + perceptual * features, features.detach()
        if critic:
            gan = losses.hinge_generator(critic(x_hat))
            weight = losses.adaptive_weight(plain, gan, decoder.last_layer)
            value, logs["weight"] = value + adversarial * weight * gan, weight
        return value, logs

    part = partial(Part, betas=(0.5, 0.9), weight_decay=0.0)
    if critic is None:
        return [part(decoder, decoder_loss, lr=3e-4, ema=0.998)]
    # The critic starts from nothing and must stay ahead (two learning rates: Heusel et al. 2017).
    return [part(critic, critic_loss, lr=2e-3), part(decoder, decoder_loss, lr=3e-4, ema=0.998, start=delay)]


def _decoder(budget: Budget, seed: int, perceptual: float, adversarial: float) -> tuple[nn.Module, dict]:
    torch.manual_seed(seed)
    data, model = Plushies(budget.pictures).in_memory(), budget.load("vae")
    x = to_float(held_out(budget.held_out).pictures)
    soft = reconstructed(model, x)
    weights = {"perceptual": perceptual, "adversarial": adversarial}
    budget.fit(decoder_parts(model, data, budget.batch, delay=budget.steps // 20, **weights), seed)
    sharp = reconstructed(model, x)
    return model.decoder, {
        "psnr": float(psnr(x, sharp).mean()),
        "lpips_soft": float(perceptual_distance(x, soft).mean()),
        "lpips": float(perceptual_distance(x, sharp).mean()),
    }


def sharp_decoder(budget: Budget, seed: int = 0) -> tuple[nn.Module, dict]:
    """The VAE's decoder, taught to draw fur: L1 + LPIPS + a patch discriminator."""
    return _decoder(budget, seed, perceptual=PERCEPTUAL, adversarial=ADVERSARIAL)


def lpips_decoder(budget: Budget, seed: int = 0) -> tuple[nn.Module, dict]:
    """The sharp decoder without the discriminator, for notebook 03."""
    return _decoder(budget, seed, perceptual=PERCEPTUAL, adversarial=0.0)


def gan_decoder(budget: Budget, seed: int = 0) -> tuple[nn.Module, dict]:
    """The sharp decoder without LPIPS, for notebook 03."""
    return _decoder(budget, seed, perceptual=0.0, adversarial=ADVERSARIAL)
