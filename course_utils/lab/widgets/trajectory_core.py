"""Guided trajectories without widgets: label, w and seed in; the latents and the model's guesses of the end at every
step out. The same noise at every w and label, so that all that changes is the work of the classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.diffusion.classifier_guidance import classifier_gradient, guided_ddpm
from course_utils.diffusion.guidance import checked_scale
from course_utils.diffusion.samplers import Model, time_grid
from course_utils.evaluation.chunks import device_of
from course_utils.lab import plots
from course_utils.lab.widgets.judged import say_w
from course_utils.lab.widgets.latest import ShouldStop
from course_utils.models.noisy_classifier import NoisyClassifier

PICTURES, STEPS, W_MAX = 6, 40, 30.0
ROWS = ("now: z_t", "guessed end: ẑ₀")


@dataclass(frozen=True)
class TrajectoryRequest:
    """All that a trajectory depends on, and which of its steps is shown."""

    attribute: str = "species"
    label: str = "cat"
    guidance_scale: float = 8.0
    seed: int = 0
    step: int = STEPS

    @property
    def words(self) -> str:
        """What is shown, in one line; `label` is the classifier's."""
        return f"{self.label} · {say_w(self.guidance_scale)} · noise {self.seed} · step {self.step} of {STEPS}"


@dataclass(frozen=True)
class Trajectory:
    """Latents z and guesses z0, (steps + 1, n, C, h, w) each, at `times` (steps + 1,) from 1 to 0; p(y | z_t) as the
    noisy classifier sees it, (steps + 1, n)."""

    times: Tensor
    z: Tensor
    z0: Tensor
    probability: Tensor


@dataclass(frozen=True)
class TrajectoryResult:
    """One step of a trajectory: `now` and `guessed` (n, 3, H, W) in [-1, 1], both encoded as JPEG bytes."""

    request: TrajectoryRequest
    now: Tensor
    guessed: Tensor
    encoded: bytes
    probability: Tensor


class TrajectoryCore:
    """Guided DDPM trajectories of a model of all pictures.

    model: what samplers take, (z, t) -> Prediction, unconditional. decode: latents -> pictures in [-1, 1].
    """

    def __init__(
        self, model: Model, classifier: NoisyClassifier, decode: Callable[[Tensor], Tensor], n: int = PICTURES
    ):
        self.model, self.classifier, self.decode, self.n = model, classifier, decode, n
        self.device = device_of(classifier)
        self._walk = lru_cache(maxsize=8)(self._walked)

    def trajectory(self, attribute: str, label: str, guidance_scale: float, seed: int = 0) -> Trajectory:
        """All steps. Remembered, so that the step slider costs nothing."""
        if attribute not in ATTRIBUTES:
            raise ValueError(f"attribute is {attribute!r}; expected one of {', '.join(ATTRIBUTES)}")
        if label not in ATTRIBUTES[attribute]:
            raise ValueError(f"label is {label!r}; expected one of {', '.join(ATTRIBUTES[attribute])}")
        w = float(checked_scale(guidance_scale, 1))
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed is {seed!r}; expected a whole number, 0 or more")
        return self._walk(attribute, label, w, seed)

    @torch.no_grad()
    def _walked(self, attribute: str, label: str, w: float, seed: int) -> Trajectory:
        g = torch.Generator().manual_seed(seed)
        z = torch.randn(self.n, *self.classifier.shape, generator=g).to(self.device)
        y = torch.full((self.n,), ATTRIBUTES[attribute].index(label))
        times = time_grid(STEPS)
        first = self.model(z, torch.ones(self.n, device=self.device))
        latents, guesses = [z], [first.z0]

        def keep(step: int, z: Tensor, prediction) -> None:
            latents.append(z)
            guesses.append(prediction.z0)

        gradient = classifier_gradient(self.classifier.of(attribute), y)
        guided_ddpm(self.model, z, times, g, keep, gradient=gradient, guidance_scale=w)
        seen = [
            self.classifier.probability(latent, t.expand(self.n).to(self.device), attribute, y)
            for latent, t in zip(latents, times, strict=True)
        ]
        return Trajectory(times, torch.stack(latents), torch.stack(guesses), torch.stack(seen).cpu())

    @torch.no_grad()
    def compute(self, request: TrajectoryRequest, should_stop: ShouldStop = None) -> TrajectoryResult:
        """The pictures of one step; a step, label or scale out of range is a ValueError that names it.

        `should_stop` is not asked: a walk once begun is remembered, and other steps of it may be wanted next.
        """
        if not isinstance(request.step, int) or not 0 <= request.step <= STEPS:
            raise ValueError(f"step is {request.step!r}; expected a whole number from 0 to {STEPS}")
        walk = self.trajectory(request.attribute, request.label, request.guidance_scale, request.seed)
        # Guesses from nearly pure noise lie far outside of what the decoder knows, by a factor 1/α.
        both = torch.cat([walk.z[request.step], walk.z0[request.step].clamp(-4, 4)])
        now, guessed = self.decode(both).cpu().chunk(2)
        probability = walk.probability[request.step]
        rows = plots.labelled_rows(
            dict(zip(ROWS, (now, guessed), strict=True)),
            scale=plots.zoom(now),
            column_labels=[f"{p:.0%}" for p in probability.tolist()],
        )
        return TrajectoryResult(request, now, guessed, plots.to_jpeg(rows), probability)

    def overview(self, request: TrajectoryRequest, steps: tuple[int, ...] = (0, 10, 20, 28, 34, 40)):
        """The first picture's way as a tiled picture: a column for each step."""
        results = [self.compute(replace(request, step=step)) for step in steps]
        rows = {
            ROWS[0]: torch.stack([r.now[0] for r in results]),
            ROWS[1]: torch.stack([r.guessed[0] for r in results]),
        }
        labels = [f"step {r.request.step}: {float(r.probability[0]):.0%}" for r in results]
        return plots.labelled_rows(rows, scale=plots.zoom(rows[ROWS[0]]), column_labels=labels)
