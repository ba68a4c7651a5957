"""The recipe of the classifier that tells real pictures from generated ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils import runtime
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.evaluation.realness import (
    CHUNK,
    PICTURES_SEED,
    SCALES,
    real_and_generated,
    training_seed,
)
from course_utils.evaluation.realness import (
    realness as score,
)
from course_utils.images import to_float, to_uint8
from course_utils.models.realness import Realness
from course_utils.training.batches import held_out, place
from course_utils.training.budget import Budget
from course_utils.training.loop import Part


def realness(budget: Budget, seed: int = 0) -> tuple[Realness, dict]:
    """A classifier of real against generated pictures, at all w from -2 to 15.

    Half of each batch is real. Everything is mirrored at random, which makes more of few pictures.
    """
    torch.manual_seed(seed)
    vae = budget.load("vae")
    vae.decoder = budget.load("sharp_decoder")
    pipeline = TextToPicture(vae, budget.load("clip"), budget.load("denoiser"), RectifiedFlow())
    chunks = -(-budget.pictures // CHUNK)
    seeds = [training_seed(seed * chunks + k) for k in range(chunks)]
    examples = real_and_generated(pipeline, Plushies(budget.pictures, seed=PICTURES_SEED + seed).in_memory(), seeds)
    real, fake = map(to_uint8, examples[:2])
    model, half = place(Realness()), budget.batch // 2

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        picked = [x[torch.randint(len(x), (half,), generator=g)] for x in (real, fake)]
        x = to_float(torch.cat(picked))
        x = torch.where((torch.rand(len(x), generator=g) < 0.5)[:, None, None, None], x.flip(3), x)
        x = x.to(runtime.device()).contiguous(memory_format=torch.channels_last)
        is_real = (torch.arange(2 * half, device=x.device) < half).float()
        value = F.binary_cross_entropy_with_logits(model(x), is_real)
        return value, {"loss": value.detach()}

    budget.fit(Part(model, loss, lr=2e-3, ema=0.99, weight_decay=0.05), seed)
    held = held_out(budget.held_out)
    real, fake, scales = real_and_generated(pipeline, held, range(-(-len(held) // CHUNK)))
    of_real, of_fake = score(model, real), score(model, fake)
    return model, {
        "accuracy": float(torch.cat([of_real > 0.5, of_fake <= 0.5]).float().mean()),
        "score_real": float(of_real.mean()),
        "score_generated": {f"{w:g}": float(of_fake[scales == w].mean()) for w in SCALES},
    }
