"""The recipes behind the checkpoints that ship: one readable function per model.

Each takes a `Budget` and returns the trained model with the numbers that it measured on pictures it has not
trained on. `python -m course_utils.training RECIPE` runs one and saves its checkpoint. A recipe that builds on
another model (the denoiser needs the VAE and CLIP) takes it from its budget. LPIPS, which measures as well as
teaches, always has the course's own backbone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from course_utils import runtime
from course_utils.training.budget import Budget
from course_utils.training.recipes.backbone import backbone
from course_utils.training.recipes.clip import clip
from course_utils.training.recipes.decoders import gan_decoder, lpips_decoder, sharp_decoder
from course_utils.training.recipes.denoiser import denoiser, diffusion, short_denoiser, weak_denoiser
from course_utils.training.recipes.fast_adapter import fast_adapter
from course_utils.training.recipes.judge import judge
from course_utils.training.recipes.realness import realness
from course_utils.training.recipes.vae import kl_sweep, vae

RECIPES: dict[str, Callable[[Budget, int], tuple[nn.Module, dict]]] = {
    "judge": judge,
    "backbone": backbone,
    "vae": vae,
    "kl_sweep": kl_sweep,
    "lpips_decoder": lpips_decoder,
    "gan_decoder": gan_decoder,
    "sharp_decoder": sharp_decoder,
    "clip": clip,
    "denoiser": denoiser,
    "short_denoiser": short_denoiser,
    "diffusion": diffusion,
    "weak_denoiser": weak_denoiser,
    "fast_adapter": fast_adapter,
    "realness": realness,
}
"""Every recipe, in an order in which each finds what it builds on."""

BUILDS_ON: dict[str, tuple[str, ...]] = {
    "lpips_decoder": ("vae", "backbone"),
    "gan_decoder": ("vae", "backbone"),
    "sharp_decoder": ("vae", "backbone"),
    "denoiser": ("vae", "clip"),
    "short_denoiser": ("vae", "clip"),
    "diffusion": ("vae", "clip"),
    "weak_denoiser": ("vae", "clip"),
    "fast_adapter": ("clip", "denoiser"),
    "realness": ("vae", "clip", "denoiser", "sharp_decoder"),
}
"""The checkpoints that a recipe loads. The others load none."""

# Pictures in memory, optimiser steps, pictures per step, pictures to measure on.
_DECODER = {
    "ci": Budget(256, 4, 8, 64),
    "cpu": Budget(8_000, 1_600, 16, 512),
    "gpu": Budget(60_000, 20_000, 32, 512),
}
_DENOISER = {
    "ci": Budget(256, 4, 32, 64),
    "cpu": Budget(32_000, 2_800, 256, 1024),
    "gpu": Budget(100_000, 20_000, 512, 1024),
}
BUDGETS: dict[str, dict[str, Budget]] = {
    "judge": {
        "ci": Budget(256, 5, 32, 64),
        "cpu": Budget(16_000, 800, 96, 2048),
        "gpu": Budget(60_000, 6_000, 256, 2048),
    },
    "backbone": {
        "ci": Budget(256, 3, 16, 64),
        "cpu": Budget(8_000, 1_100, 64, 1024),
        "gpu": Budget(60_000, 8_000, 256, 1024),
    },
    "vae": {
        "ci": Budget(256, 4, 16, 64),
        "cpu": Budget(32_000, 5_500, 32, 1024),
        "gpu": Budget(60_000, 30_000, 64, 1024),
    },
    "kl_sweep": {
        "ci": Budget(256, 2, 16, 64),
        "cpu": Budget(16_000, 3_000, 32, 512),
        "gpu": Budget(60_000, 10_000, 64, 512),
    },
    "lpips_decoder": _DECODER,
    "gan_decoder": _DECODER,
    "sharp_decoder": _DECODER,
    "clip": {
        "ci": Budget(1_500, 4, 32, 64),
        "cpu": Budget(32_000, 3_000, 192, 512),
        "gpu": Budget(60_000, 8_000, 512, 512),
    },
    "denoiser": _DENOISER | {"cpu": Budget(32_000, 8_000, 256, 1024), "gpu": Budget(100_000, 60_000, 512, 1024)},
    "short_denoiser": _DENOISER,
    "diffusion": _DENOISER,
    "weak_denoiser": {
        "ci": Budget(256, 4, 32, 64),
        "cpu": Budget(32_000, 1_000, 128, 1024),
        "gpu": Budget(100_000, 6_000, 512, 1024),
    },
    "fast_adapter": {
        "ci": Budget(64, 4, 32, 64),
        "cpu": Budget(24_576, 1_000, 256, 1024),
        "gpu": Budget(200_000, 20_000, 512, 1024),
    },
    "realness": {
        "ci": Budget(36, 4, 16, 18),
        "cpu": Budget(2_700, 700, 64, 900),
        "gpu": Budget(45_000, 8_000, 256, 1_800),
    },
}
"""Budgets by recipe and profile. `cpu` is what trained the checkpoints that ship, on two cores. The VAE, CLIP, the denoiser
and the fast adapter took several runs, which their headers name."""


def budget(recipe: str, profile: str, **changes) -> Budget:
    """The budget of a recipe under a profile, with changes such as `steps=100`."""
    if recipe not in RECIPES:
        raise ValueError(f"recipe: got {recipe!r}; expected one of {', '.join(RECIPES)}")
    if profile not in runtime.PROFILES:
        raise ValueError(f"profile: got {profile!r}; expected one of {', '.join(runtime.PROFILES)}")
    return replace(BUDGETS[recipe][profile], **changes)
