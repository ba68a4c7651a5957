"""The recipe of the fast denoiser: the course's denoiser, guided, distilled into few steps of one forward each."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from course_utils import runtime
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion.distillation import mean_velocity, regression, trajectory
from course_utils.diffusion.guidance import ClassifierFreeGuidance
from course_utils.diffusion.samplers import time_grid
from course_utils.models.clip import CLIP
from course_utils.models.denoiser import Denoiser
from course_utils.models.fast_denoiser import AdapterConfig, FastAdapter, FastDenoiser
from course_utils.training.budget import Budget
from course_utils.training.loop import Part
from course_utils.training.recipes.clip import CAPTION_VARIANTS, captions_embedded
from course_utils.training.recipes.denoiser import picture_embeddings

HIGHEST = 15.0  # the largest w that is distilled
TEACHER_STEPS, KEPT = 16, 8
PICTURES = 0.2  # the share of conditions that are pictures' and not captions'


@dataclass(frozen=True)
class Ways:
    """What the teacher did: z (kept + 1, N, C, h, w) float16 from noise to data, under cond (N, D) and w (N,)."""

    z: Tensor
    cond: Tensor
    w: Tensor


def conditions(n: int, towers: CLIP, seed: int = 0) -> Tensor:
    """A condition for each of n training pictures, (n, D): one of its captions' embeddings, or its own."""
    g = runtime.generator(seed)
    said = captions_embedded(Plushies(n, size=CLIP.side, seed=seed), towers)
    chosen = said[torch.arange(n), torch.randint(CAPTION_VARIANTS, (n,), generator=g)]
    seen = torch.rand(n, generator=g) < PICTURES
    return torch.where(seen[:, None], picture_embeddings(n, towers, seed), chosen)


@torch.inference_mode()
def guided_ways(teacher: Denoiser, cond: Tensor, seed: int = 0, batch: int = 256) -> Ways:
    """The ways that the guided teacher takes from noise to a latent, one for each of cond (N, D).

    w = 15 u² with u even in [0, 1]: half of the ways are below w = 4, where guidance is used.
    """
    g, c = runtime.generator(seed), teacher.config
    w = HIGHEST * torch.rand(len(cond), generator=g).square()
    parts = []
    for some, scales in zip(cond.split(batch), w.split(batch), strict=True):
        z = torch.randn(len(some), c.channels, c.side, c.side, generator=g).to(teacher.null)
        guided = ClassifierFreeGuidance(teacher, some.to(teacher.null), scales)
        parts.append(trajectory(guided, z, TEACHER_STEPS, KEPT).half().cpu())
    return Ways(torch.cat(parts, dim=1), cond, w)


def fast_loss(
    adapter: FastAdapter, fast: FastDenoiser, teacher: Denoiser, ways: Ways, batch: int, g: torch.Generator
) -> Tensor:
    """One batch of steps along the teacher's ways: lengths of 1, 1/2, 1/4 and 1/8, equally often.

    Each step's squared error is taken as a share of its target's squared length. Else the largest w, whose ways are the
    longest, would be nearly all that counts.
    """
    device, times = teacher.null.device, time_grid(KEPT)
    i = torch.randint(len(ways.w), (batch,), generator=g)
    length = 2 ** torch.randint(KEPT.bit_length(), (batch,), generator=g)  # in kept times: 1, 2, 4, 8
    start = (torch.rand(batch, generator=g) * (KEPT // length)).long() * length
    z, after = (ways.z[k, i].to(device).float() for k in (start, start + length))
    t, s, cond, w = (x.to(device) for x in (times[start], times[start + length], ways.cond[i], ways.w[i]))
    weights = adapter.weights(teacher)

    def student(*question: Tensor) -> Tensor:
        return functional_call(fast, weights, question)

    target = mean_velocity(z, after, t, s)
    return (regression(student, z, t, s, cond, w, target) / target.square().flatten(1).sum(1)).mean()


def adapter_part(teacher: Denoiser, ways: Ways, batch: int, rank: int = AdapterConfig.rank) -> Part:
    """An adapter of `teacher` to fit: `part.module`."""
    adapter = FastAdapter(AdapterConfig(**asdict(teacher.config), rank=rank)).to(teacher.null)
    fast = FastDenoiser(teacher.config).to(teacher.null)

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        value = fast_loss(adapter, fast, teacher, ways, batch, g)
        return value, {"loss": value.detach()}

    return Part(adapter, loss, lr=1.5e-3, ema=0.998, weight_decay=0.0)


def fast_adapter(budget: Budget, seed: int = 0) -> tuple[FastAdapter, dict]:
    """What makes the course's denoiser fast: w from 0 to 15 as an input, steps of 1 to 1/8, one forward each."""
    torch.manual_seed(seed)
    towers, teacher = budget.load("clip"), budget.load("denoiser")
    part = adapter_part(teacher, guided_ways(teacher, conditions(budget.pictures, towers, seed), seed), budget.batch)
    budget.fit(part, seed)
    adapter: FastAdapter = part.module
    held = guided_ways(teacher, conditions(budget.held_out, towers, seed + 1), seed + 1)
    with torch.no_grad():
        g, fast = runtime.generator(seed + 1), FastDenoiser(teacher.config).to(teacher.null)
        value = sum(fast_loss(adapter, fast, teacher, held, 256, g) for _ in range(8)) / 8
    return adapter, {"loss": float(value)}
