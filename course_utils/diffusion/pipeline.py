"""From a prompt or a reference picture to pictures: a tower of CLIP, guided sampler, decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_utils.arguments import short, text, whole
from course_utils.diffusion.conditions import slerp
from course_utils.diffusion.guidance import ClassifierFreeGuidance, Guidance, checked_scale
from course_utils.diffusion.paths import Path, Prediction
from course_utils.diffusion.samplers import SAMPLERS, Callback, noise_like, time_grid
from course_utils.images import check_pictures, looked_at

MOST_PICTURES = 10_000  # in one batch; whoever wants more draws them in parts


class Stopped(Exception):
    """Raised inside a sampler when its result is no longer wanted."""


class AsVelocity:
    """A denoiser that predicts the noise on `path`, in the place of one that predicts velocities."""

    def __init__(self, denoiser: nn.Module, path: Path):
        self.denoiser, self.path = denoiser, path
        self.null, self.config = denoiser.null, denoiser.config

    def __call__(self, z: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self.path.from_eps(self.denoiser(z, t, condition), z, t).velocity


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
        text("prompt", prompt)
        with torch.inference_mode():
            embedding = self.clip.encode_text([prompt]) if prompt.strip() else self.denoiser.null[None]
        return embedding.detach().to(self.device).clone()

    def embed_picture(self, picture: Tensor) -> Tensor:
        """The conditions of reference pictures (B, 3, H, W) in [-1, 1], of a size that CLIP takes: embeddings, (B, D)."""
        check_pictures(picture, "picture")
        with torch.inference_mode():
            embedding = self.clip.encode_image(
                looked_at(picture.to(self.device, torch.float32), self.clip.side, "picture")
            )
        return embedding.clone()

    def condition(self, prompt: str = "", picture: Tensor | None = None, share: float = 0.5) -> Tensor:
        """The condition (1, D) of a prompt, of a reference picture (1, 3, H, W), or of a mixture of the two.

        share: how much of the mixture is the picture's, from 0 to 1, along the sphere; it counts only where
        there are both. Neither is the null condition.
        """
        words = self.embed(prompt)
        if picture is None:
            return words
        seen = self.embed_picture(picture)
        if len(seen) != 1:
            raise ValueError(f"picture holds {len(seen)} pictures; expected 1")
        return slerp(words, seen, share) if prompt.strip() else seen

    def noise(self, n: int, seed: int) -> Tensor:
        """The start of n pictures, (n, C, h, w) ~ N(0, 1). Picture i's depends on seed and i alone."""
        blank = torch.empty(_checked_count(n), *self.latent_shape)
        return noise_like(blank, _generators(n, seed)).to(self.device)

    def generate(
        self,
        prompt: str | Sequence[str] | Tensor,
        n: int | None = None,
        guidance_scale: float | Tensor = 3.0,
        steps: int = 20,
        sampler: str = "euler",
        negative: str = "",
        seed: int = 0,
        callback: Callback | None = None,
        should_stop: Callable[[], bool] | None = None,
        guidance: Guidance = ClassifierFreeGuidance,
    ) -> Tensor | None:
        """Pictures (n, 3, H, W) in [-1, 1] of a prompt, or one of each prompt of a list.

        prompt: text, texts, or conditions (n, D) as `condition` makes them.
        n: how many, 4 by default; of a list of prompts as many as there are.
        guidance_scale: w (0 unconditional, 1 conditional, below 0 away from the prompt), or a tensor (n,) with one for
            each picture.
        negative: what to move away from; '' is the null condition.
        seed: the same seed gives picture i the same noise, whatever n, prompt and w are.
        callback: called as `callback(step, z, prediction)` after each step, see `samplers`; the tensors are
            inference tensors, to look at and not to differentiate.
        should_stop: asked before each forward; as soon as it says True the work ends and None is returned.
        guidance: the method, called as `guidance(denoiser, cond, guidance_scale, negative)`, where negative
            is None for ''; see `guidance_methods.methods`.
        """
        how = self._settings(steps, sampler, negative)
        cond = self._conditions(prompt, n)
        w = checked_scale(guidance_scale, len(cond))
        noise, generators = self.noise(len(cond), seed), _generators(len(cond), seed, later=True)
        return self._run(
            cond, noise, generators, w, **how, guidance=guidance, callback=callback, should_stop=should_stop
        )

    def strip(
        self,
        prompt: str | Tensor,
        scales: Sequence[float],
        n: int = 1,
        steps: int = 20,
        sampler: str = "euler",
        negative: str = "",
        seed: int = 0,
        should_stop: Callable[[], bool] | None = None,
        guidance: Guidance = ClassifierFreeGuidance,
    ) -> Tensor | None:
        """The same n noises at every w of `scales`, in one batch: (len(scales), n, 3, H, W) in [-1, 1].

        prompt: text, or the condition of all of them, (1, D).
        Row k is what `generate(prompt, n, scales[k], ...)` gives, up to rounding.
        """
        if not isinstance(scales, Sequence | Tensor) or len(scales) == 0:
            raise ValueError(f"scales is {short(scales)}; expected a list of guidance scales, 1 or more")
        how, rows = self._settings(steps, sampler, negative), len(scales)
        if isinstance(prompt, Tensor):
            cond = self._conditions(prompt, 1).expand(_checked_count(n), -1)
        else:
            cond = self._conditions(text("prompt", prompt), _checked_count(n))
        w = checked_scale(scales, rows).repeat_interleave(n)
        noise = self.noise(n, seed).repeat(rows, 1, 1, 1)
        generators = [g for _ in range(rows) for g in _generators(n, seed, later=True)]
        pictures = self._run(
            cond.repeat(rows, 1), noise, generators, w, **how, guidance=guidance, should_stop=should_stop
        )
        return None if pictures is None else pictures.unflatten(0, (rows, n))

    def _settings(self, steps: int, sampler: str, negative: str) -> dict:
        """What `_run` takes by name, checked before anything is computed."""
        self.check_way(steps, sampler, negative)
        away = None
        if negative.strip():
            try:
                away = self.embed(negative)
            except ValueError as error:
                raise ValueError(f"negative {error}") from None
        return {"times": time_grid(steps), "sampler": sampler, "away": away}

    def check_way(self, steps: int, sampler: str, negative: str) -> None:
        """ValueError for a way from noise to data that this pipeline does not know."""
        if not isinstance(sampler, str) or sampler not in SAMPLERS:
            raise ValueError(f"sampler is {short(sampler)}; expected one of {', '.join(SAMPLERS)}")
        text("negative", negative)
        time_grid(steps)

    def _conditions(self, prompt: str | Sequence[str] | Tensor, n: int | None) -> Tensor:
        """A condition for each picture, (n, D): of texts, each embedded once, or as they were given."""
        if not isinstance(prompt, Tensor):
            prompts = _one_for_each(prompt, n)
            embeddings = {said: self.embed(said) for said in set(prompts)}
            return torch.cat([embeddings[said] for said in prompts])
        width = len(self.denoiser.null)
        if prompt.ndim != 2 or not len(prompt) or prompt.shape[1] != width or not prompt.is_floating_point():
            raise ValueError(f"prompt: expected conditions (n, {width}), got {tuple(prompt.shape)}")
        if not bool(prompt.isfinite().all()):
            raise ValueError("prompt: expected finite conditions, got NaN or infinity")
        if n is not None and n != len(prompt):
            raise ValueError(f"n is {n}; expected {len(prompt)}, one picture for each condition")
        return prompt.to(self.denoiser.null)

    def _run(
        self,
        cond: Tensor,
        noise: Tensor,
        generators: list[torch.Generator],
        guidance_scale: Tensor,
        *,
        times: Tensor,
        sampler: str,
        away: Tensor | None,
        guidance: Guidance,
        callback: Callback | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Tensor | None:
        """Conditions (n, D), noise (n, C, h, w), a generator and a w for each -> pictures; all was checked before."""
        with torch.inference_mode():
            guided = guidance(self.denoiser, cond, guidance_scale, away)

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
    _checked_count(n)
    seed = whole("seed", seed, -(2**63), 2**63)
    # Neighbouring seeds share no generator as long as n is below a million.
    first = 2_000_003 * seed + 1_000_000 * later
    return [torch.Generator().manual_seed((first + i) % 2**63) for i in range(n)]


def _one_for_each(prompt: str | Sequence[str], n: int | None) -> list[str]:
    """A prompt for each picture: one prompt n (or 4) times, or the list as it is."""
    if isinstance(prompt, str):
        return [prompt] * (4 if n is None else _checked_count(n))
    if not isinstance(prompt, list | tuple) or not prompt:
        raise ValueError(f"prompt is {short(prompt)}; expected a string or a list of strings, 1 or more")
    if n is not None and n != len(prompt):
        raise ValueError(f"n is {n}; expected {len(prompt)}, one picture for each prompt of the list")
    return [text(f"prompt[{i}]", said) for i, said in enumerate(prompt)]


def _checked_count(n: int) -> int:
    return whole("n", n, 1, MOST_PICTURES)
