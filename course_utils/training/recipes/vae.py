"""The recipes of the VAE and of the sweep over its KL weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils import losses
from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.evaluation.chunks import in_chunks, reconstructed
from course_utils.evaluation.metrics import psnr
from course_utils.images import to_float
from course_utils.models.autoencoder import VAE, Autoencoder
from course_utils.models.vector_autoencoder import VAESweep
from course_utils.training.batches import CROP, draw, draw_crops, held_out, place
from course_utils.training.budget import Budget
from course_utils.training.loop import Part

KL_WEIGHT = 0.03


def vae_loss(model: Autoencoder, x: Tensor, kl_weight: float, g: torch.Generator) -> tuple[Tensor, dict]:
    """½‖x − x̂‖² + kl_weight · KL of pictures x (B, 3, H, W), both summed over a picture (Kingma & Welling 2014, eq. 10).

    With `kl_weight` 0 the latent is not sampled: a plain autoencoder.
    """
    posterior = model.encode(x)
    z = posterior.sample(g) if kl_weight > 0 else posterior.mode()
    reconstruction, kl = losses.reconstruction(x, model.decode(z)).mean(), posterior.kl().mean()
    # Nats per picture are in the hundreds; per number of a picture they suit the optimiser's defaults.
    value = (reconstruction + kl_weight * kl) / x[0].numel()
    return value, {"loss": value.detach(), "reconstruction": reconstruction.detach(), "kl": kl.detach()}


def vae_part(
    model: Autoencoder,
    data: PlushieTensors,
    batch: int,
    kl_weight: float,
    lr: float = 2e-3,
    ema: float = 0.998,
    drawn: Callable[..., tuple[Tensor, Tensor]] = draw,
) -> Part:
    """An autoencoder to fit with `vae_loss`, on batches that `draw` or `draw_crops` takes from pictures in memory."""

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, _ = drawn(data, batch, g)
        return vae_loss(model, x, kl_weight, g)

    return Part(model, loss, lr=lr, ema=ema, weight_decay=0.0)


def decoder_part(model: Autoencoder, data: PlushieTensors, batch: int, lr: float = 1e-3) -> Part:
    """The decoder alone, to fit with ½‖x − x̂‖² on the means of crops' posteriors: the latents stay what they are.

    A denoiser is trained and sampled without the encoder's noise, so the decoder may do without it, too. Stable
    Diffusion's own decoder was trained on in this way (the model card of sd-vae-ft-mse).
    """
    decoder = model.decoder.requires_grad_(True)

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, _ = draw_crops(data, batch, g)
        with torch.no_grad():
            z = model.encode(x).mode()
        value = losses.reconstruction(x, decoder(z)).mean() / x[0].numel()
        return value, {"loss": value.detach()}

    return Part(decoder, loss, lr=lr, ema=0.998, weight_decay=0.0)


def _measure(model: Autoencoder, x: Tensor) -> dict[str, float]:
    kl = in_chunks(lambda part: model.encode(part).kl(), x)
    return {"psnr": float(psnr(x, reconstructed(model, x)).mean()), "kl": float(kl.mean())}


def vae(budget: Budget, seed: int = 0) -> tuple[VAE, dict]:
    """The autoencoder of the latent space, trained on crops and measured on whole pictures; then its decoder, for as long."""
    torch.manual_seed(seed)
    data, model = Plushies(budget.pictures).in_memory(), place(VAE())
    for name, part in (
        ("both", vae_part(model, data, budget.batch, KL_WEIGHT, ema=0.999, drawn=draw_crops)),
        ("decoder", decoder_part(model, data, budget.batch)),
    ):
        budget.phase(name).fit(part, seed)
    model.measure_latents(data.pictures[:2048])
    x = to_float(held_out(budget.held_out).pictures)
    return model, _measure(model, x) | {"kl_weight": KL_WEIGHT}


def kl_sweep(budget: Budget, seed: int = 0) -> tuple[VAESweep, dict]:
    """VAEs with a latent vector that differ in the KL weight only; each has the same data, seed and number of steps.

    Their pictures are plain: 64 numbers cannot say what an animal wears and where the stripes run, too.
    """
    data = Plushies(budget.pictures, size=CROP).plain().in_memory()
    x = to_float(Plushies(budget.held_out, "val", CROP).plain().in_memory().pictures)
    sweep, metrics = VAESweep(), {}
    for weight in sweep.weights:
        torch.manual_seed(seed)
        model = place(sweep.fresh())
        budget.phase(f"{weight:g}").fit(vae_part(model, data, budget.batch, weight), seed)
        model.measure_latents(data.pictures[:4096])
        sweep[weight].load_state_dict(model.state_dict())
        metrics[f"{weight:g}"] = _measure(model, x)
    return sweep, metrics
