"""The field explorer: the exact field of a mixture in the plane at t, and the ways of a sampler through it."""

from __future__ import annotations

import ipywidgets as w
from IPython.display import Image

from course_utils.diffusion.mixture import LabelledMixture
from course_utils.lab import plots
from course_utils.lab.widgets.base import LiveWidget, hidden_image, look, reveal
from course_utils.lab.widgets.field_core import (
    FIELDS,
    MOST_STEPS,
    OFFERED,
    W_MAX,
    W_MIN,
    FieldCore,
    FieldRequest,
    FieldResult,
)

ALL = -1  # a list shows nothing for None


class FieldExplorer(LiveWidget):
    """The widget: t, steps and w as sliders, the class, the sampler and the field as lists; arrows and trajectories.

    `FieldExplorer(three_petals(RectifiedFlow()))`; in a notebook, the last line shows it. It always starts from the same
    points of noise. w counts once a class is chosen. The velocity's arrows are drawn backwards, as sampling goes.
    """

    fallback = "field explorer: run this cell in a notebook to move t, the steps and w"

    def __init__(self, mixture: LabelledMixture, request: FieldRequest | None = None, seed: int = 0):
        super().__init__(FieldCore(mixture, seed))
        start = request or FieldRequest()
        classes = [("all", ALL), *((str(y), y) for y in range(mixture.classes))]
        low, high = min(W_MIN, start.guidance_scale), max(W_MAX, start.guidance_scale)
        self.t = w.FloatSlider(start.t, min=0.0, max=1.0, step=0.02, description="t", **look(430, 60))
        self.steps = w.IntSlider(start.steps, min=1, max=MOST_STEPS, description="steps", **look(430, 60))
        self.w = w.FloatSlider(start.guidance_scale, min=low, max=high, step=0.25, description="w", **look(430, 60))
        self.y = w.Dropdown(
            options=classes, value=ALL if start.y is None else start.y, description="class", **look(150, 60)
        )
        self.sampler = w.Dropdown(options=OFFERED, value=start.sampler, description="sampler", **look(170, 60))
        self.field = w.Dropdown(options=FIELDS, value=start.field, description="arrows", **look(180, 60))
        for name in ("t", "steps", "w", "y", "sampler", "field"):
            getattr(self, name).add_class(f"field-{name}")
        self.status.add_class("field-status")
        self.image = hidden_image().add_class("field-pictures")
        rows = [w.HBox([self.y, self.sampler, self.field]), w.HBox([self.t, self.steps]), self.w]
        self.children = [*rows, self.status, self.image]
        self.add_class("field-explorer")
        self.w.disabled = start.y is None
        self.follow(self.t, self.steps, self.w, self.y, self.sampler, self.field)

    @property
    def request(self) -> FieldRequest:
        """What the controls say now."""
        y, sampler = self.y.value, self.sampler.value
        y = None if y == ALL else y
        return FieldRequest(self.t.value, self.steps.value, sampler, self.w.value, y, self.field.value)

    def asked(self, change: dict) -> None:
        self.w.disabled = self.y.value == ALL
        super().asked(change)

    def busy(self, request: FieldRequest) -> str:
        return ""

    def show(self, result: FieldResult) -> None:
        reveal(self.image, result.encoded)
        self.say("dots at left: the points at the step nearest to t", bold=result.request.words)

    def static(self) -> Image:
        """The same as a picture that a notebook keeps: the field at three times, and the ways."""
        return Image(plots.to_jpeg(self.core.overview(self.request)))
