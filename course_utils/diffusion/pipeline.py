"""From a prompt to pictures: text tower, guided sampler, decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_utils.diffusion.guidance import ClassifierFreeGuidance, checked_scale
from course_utils.diffusion.paths import Path, Prediction
from course_utils.diffusion.samplers import SAMPLERS, Callback, noise_like, time_grid


class Stopped(Exception):
    """Raised inside a sampler when its result is no longer wanted."""


class TextToPicture:
    """Compose a VAE, a CLIP and a denoiser that predicts velocities on `path`.

    The empty prompt '' (or one of white space) is the null condition: pictures of anything at all. A prompt
    too long for the tokenizer is its ValueError.
    """

    def __init__(self, vae: nn.Module, clip: nn.Module, denoiser: nn.Module, path: Path):
        self.vae, self.clip, self.denoiser, self.path = vae, clip, denoiser, path

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one latent."""
        config = self.denoiser.config
        return config.channels, config.side, config.side

    @property
    def device(self) -> torch.device:
        """Where the denoiser lives, and the pictures are made."""
        return self.denoiser.null.device

    def embed(self, prompt: str) -> Tensor:
        """The condition of a prompt, (1, D): CLIP's embedding, or the null condition for ''."""
        if not isinstance(prompt, str):
            raise ValueError(f"prompt is {prompt!r} ({type(prompt).__name__}); expected a string")
        with torch.inference_mode():
            embedding = self.clip.encode_text([prompt]) if prompt.strip() else self.denoiser.null[None]
        return embedding.to(self.device).clone()

    def noise(self, n: int, seed: int) -> Tensor:
        """The start of n pictures, (n, C, h, w) ~ N(0, 1). Picture i's depends on seed and i alone."""
        return noise_like(torch.empty(n, *self.latent_shape), _generators(n, seed)).to(self.device)

    def generate(
        self,
        prompt: str | Sequence[str],
        n: int | None = None,
        guidance_scale: float | Tensor = 3.0,
        steps: int = 20,
        sampler: str = "euler",
        negative: str = "",
        seed: int = 0,
        callback: Callback | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Tensor | None:
        """Pictures (n, 3, H, W) in [-1, 1] of a prompt, or one of each prompt of a list.

        n: how many, 4 by default; of a list of prompts as many as there are.
        guidance_scale: w (0 unconditional, 1 conditional), or a tensor (n,) with one for each picture.
        negative: what to move away from; '' is the null condition.
        seed: the same seed gives picture i the same noise, whatever n, prompt and w are.
        callback: called as `callback(step, z, prediction)` after each step, see `samplers`.
        should_stop: asked before each forward; as soon as it says True the work ends and None is returned.
        """
        prompts = (
            [prompt] * (4 if n is None else n if _is_count(n) else 1) if isinstance(prompt, str) else prompt
        )
        if not isinstance(prompts, (list, tuple)) or not prompts:
            raise ValueError(f"prompt is {prompt!r}; expected a string or a list of strings, 1 or more")
        if n is not None and (not _is_count(n) or n != len(prompts)):
            expected = (
                "a whole number, 1 or more" if isinstance(prompt, str) else f"{len(prompts)}, one a prompt"
            )
            raise ValueError(f"n is {n!r}; expected {expected}")
        guidance_scale = checked_scale(guidance_scale, len(prompts))
        noise, generators = self.noise(len(prompts), seed), _generators(len(prompts), seed, later=True)
        return self._run(
            prompts, noise, generators, guidance_scale, steps, sampler, negative, callback, should_stop
        )

    def strip(
        self,
        prompt: str,
        scales: Sequence[float],
        n: int = 1,
        steps: int = 20,
        sampler: str = "euler",
        negative: str = "",
        seed: int = 0,
        should_stop: Callable[[], bool] | None = None,
    ) -> Tensor | None:
        """The same n noises at every w of `scales`, in one batch: (len(scales), n, 3, H, W) in [-1, 1].

        Row k is what `generate(prompt, n, scales[k], ...)` gives, up to rounding.
        """
        if not _is_count(n):
            raise ValueError(f"n is {n!r}; expected a whole number, 1 or more")
        if len(scales) == 0:
            raise ValueError("scales is empty; expected one guidance scale or more")
        rows = len(scales)
        guidance_scale = checked_scale(torch.as_tensor(scales, dtype=torch.float32), rows).repeat_interleave(
            n
        )
        noise = self.noise(n, seed).repeat(rows, 1, 1, 1)
        generators = [g for _ in range(rows) for g in _generators(n, seed, later=True)]
        pictures = self._run(
            [prompt] * (rows * n),
            noise,
            generators,
            guidance_scale,
            steps,
            sampler,
            negative,
            None,
            should_stop,
        )
        return None if pictures is None else pictures.unflatten(0, (rows, n))

    def _run(
        self,
        prompts: Sequence[str],
        noise: Tensor,
        generators: list[torch.Generator],
        guidance_scale: Tensor,
        steps: int,
        sampler: str,
        negative: str,
        callback: Callback | None,
        should_stop: Callable[[], bool] | None,
    ) -> Tensor | None:
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler is {sampler!r}; expected one of {', '.join(SAMPLERS)}")
        times = time_grid(steps)
        embeddings = {text: self.embed(text) for text in {*prompts, negative}}  # each text once
        with torch.inference_mode():
            cond = torch.cat([embeddings[text] for text in prompts])
            guided = ClassifierFreeGuidance(self.denoiser, cond, guidance_scale, embeddings[negative])

            def model(z: Tensor, t: Tensor) -> Prediction:
                if should_stop and should_stop():
                    raise Stopped
                return self.path.from_velocity(guided(z, t), z, t)

            try:
                z = SAMPLERS[sampler](model, noise, times, generators, callback)
            except Stopped:
                return None
            pictures = self.vae.to_picture(z)
        # A copy from outside inference mode is an ordinary tensor, which a judge may take gradients through.
        return pictures.clone()


def _generators(n: int, seed: int, later: bool = False) -> list[torch.Generator]:
    """A generator for each of n pictures, for its start or, `later`, for the noise that its sampler adds."""
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"seed is {seed!r}; expected a whole number")
    # Neighbouring seeds share no generator: they are 2,000,003 apart, more than twice any n.
    first = 2_000_003 * seed + 1_000_000 * later
    return [torch.Generator().manual_seed((first + i) % 2**63) for i in range(n)]


def _is_count(n: object) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 1
