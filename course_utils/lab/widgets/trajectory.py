"""A guided trajectory, step by step: choose a label and w, then walk from noise to picture with the step slider.

`TrajectoryCore` works without widgets: label, w and seed in; the latents and the model's guesses of the end at every
step out. The same noise at every w and label, so that all that changes is the work of the classifier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from html import escape

import torch
from torch import Tensor

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.diffusion.classifier_guidance import classifier_gradient, guided_ddpm
from course_utils.diffusion.guidance import checked_scale
from course_utils.diffusion.samplers import Model, time_grid
from course_utils.lab import plots
from course_utils.lab.widgets.latest import Latest
from course_utils.models.noisy_classifier import NoisyClassifier

PICTURES, STEPS, W_MAX = 6, 40, 30.0
ROWS = ("now: z_t", "guessed end: ẑ₀")


@dataclass(frozen=True)
class Request:
    """All that a trajectory depends on, and which of its steps is shown."""

    attribute: str = "species"
    label: str = "cat"
    guidance_scale: float = 8.0
    seed: int = 0
    step: int = STEPS

    @property
    def words(self) -> str:
        return f"{self.label} · w = {self.guidance_scale:g} · noise {self.seed} · step {self.step} of {STEPS}"


@dataclass(frozen=True)
class Trajectory:
    """Latents z and guesses z0, (steps + 1, n, C, h, w) each, at `times` (steps + 1,) from 1 to 0; p(y | z_t) as the
    noisy classifier sees it, (steps + 1, n)."""

    times: Tensor
    z: Tensor
    z0: Tensor
    probability: Tensor


@dataclass(frozen=True)
class Result:
    """One step of a trajectory: `now` and `guessed` (n, 3, 64, 64) in [-1, 1], both encoded as JPEG bytes."""

    request: Request
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
        self.device = next(classifier.parameters()).device
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
    def compute(self, request: Request) -> Result:
        """The pictures of one step; a step, label or scale out of range is a ValueError that names it."""
        if not isinstance(request.step, int) or not 0 <= request.step <= STEPS:
            raise ValueError(f"step is {request.step!r}; expected a whole number from 0 to {STEPS}")
        walk = self.trajectory(request.attribute, request.label, request.guidance_scale, request.seed)
        # Guesses from nearly pure noise lie far outside of what the decoder knows, by a factor 1/α.
        both = torch.cat([walk.z[request.step], walk.z0[request.step].clamp(-4, 4)])
        now, guessed = self.decode(both).cpu().chunk(2)
        probability = walk.probability[request.step]
        rows = plots.labelled_rows(
            dict(zip(ROWS, (now, guessed), strict=True)),
            scale=1.5,
            column_labels=[f"{p:.0%}" for p in probability.tolist()],
        )
        return Result(request, now, guessed, plots.to_jpeg(rows), probability)

    def overview(self, request: Request, steps: tuple[int, ...] = (0, 10, 20, 28, 34, 40)):
        """The first picture's way as a tiled picture: a column for each step."""
        results = [self.compute(Request(**{**vars(request), "step": step})) for step in steps]
        rows = {ROWS[0]: [r.now[0] for r in results], ROWS[1]: [r.guessed[0] for r in results]}
        labels = [f"step {r.request.step}: {float(r.probability[0]):.0%}" for r in results]
        return plots.labelled_rows({k: torch.stack(v) for k, v in rows.items()}, scale=1.5, column_labels=labels)


class TrajectoryExplorer:
    """The widget: label, w, noise and step; two rows of pictures, with p(y | z_t) above each.

    `TrajectoryExplorer(core)`; in a notebook, the last line shows it. The arrow keys move the sliders, too.
    """

    def __init__(self, core: TrajectoryCore, request: Request | None = None):
        self.core = core
        self.shown: Result | None = None
        self._worker = Latest(self._work)
        self._build(request or Request())

    def _build(self, request: Request) -> None:
        import ipywidgets as w

        style, wide = {"description_width": "60px"}, w.Layout(width="430px")
        options = [(f"{name.replace('_', ' ')}: {v}", (name, v)) for name in ATTRIBUTES for v in ATTRIBUTES[name]]
        self.label = w.Dropdown(
            options=options, value=(request.attribute, request.label), description="label", style=style
        )
        self.w = w.FloatSlider(
            request.guidance_scale, min=0, max=W_MAX, step=0.5, description="w", style=style, layout=wide
        )
        self.step = w.IntSlider(request.step, min=0, max=STEPS, description="step", style=style, layout=wide)
        self.seed = w.BoundedIntText(
            request.seed, min=0, max=999_999, description="noise", style=style, layout=w.Layout(width="170px")
        )
        self.status, self.image = w.HTML(), w.Image(format="jpeg")
        self.image.layout = w.Layout(max_width="100%", object_fit="contain", align_self="flex-start")
        self.image.layout.display = "none"  # until there is a picture: an empty one shows as broken
        self.box = w.VBox([w.HBox([self.label, self.seed]), w.HBox([self.w, self.step]), self.status, self.image])
        for widget, name in ((self.box, "trajectory"), (self.status, "trajectory-status"),
                             (self.image, "trajectory-pictures"), (self.step, "trajectory-step"),
                             (self.w, "trajectory-w")):  # fmt: skip
            widget.add_class(name)
        for control in (self.label, self.w, self.step, self.seed):
            control.observe(self._asked, "value")

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget, and start to compute. The text is for where no widget can be shown."""
        self.refresh()
        return {
            "text/plain": "trajectory explorer: run this cell in a notebook to walk through the steps",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip

    @property
    def request(self) -> Request:
        """What the controls say now."""
        return Request(*self.label.value, self.w.value, self.seed.value, self.step.value)

    def refresh(self) -> None:
        """Compute what the controls say."""
        self._worker.submit(self.request)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def static(self):
        """The same thing as a picture that a notebook keeps: one plushie's way, as an `IPython.display.Image`."""
        from IPython.display import Image

        return Image(plots.to_jpeg(self.core.overview(self.request)))

    def _asked(self, change: dict) -> None:
        self.status.value = f"<i>computing {escape(self.request.words)} …</i>"
        self.refresh()

    def _work(self, request: Request) -> None:
        try:
            result = self.core.compute(request)
        except Exception as error:  # a thread has nobody else to tell, and the next request may well work
            text = escape(f"{type(error).__name__}: {error}")
            self.status.value = f'<span style="color:#b00020">{text}</span>'
            return
        self.image.value, self.image.layout.display = result.encoded, "block"
        self.shown = result
        self.status.value = f"<b>{escape(request.words)}</b> · above each picture: p({escape(request.label)} | z_t)"
