"""A guided trajectory, step by step: choose a label and w, then walk from noise to picture with the step slider."""

from __future__ import annotations

import ipywidgets as w
from IPython.display import Image

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.lab import plots
from course_utils.lab.widgets.base import LiveWidget, hidden_image, look, reveal
from course_utils.lab.widgets.trajectory_core import STEPS, W_MAX, TrajectoryCore, TrajectoryRequest, TrajectoryResult


class TrajectoryExplorer(LiveWidget):
    """The widget: label, w, noise and step; two rows of pictures, with p(y | z_t) above each.

    `TrajectoryExplorer(core)`; in a notebook, the last line shows it. The arrow keys move the sliders, too.
    """

    fallback = "trajectory explorer: run this cell in a notebook to walk through the steps"

    def __init__(self, core: TrajectoryCore, request: TrajectoryRequest | None = None):
        super().__init__(core)
        start = request or TrajectoryRequest()
        options = [(f"{name.replace('_', ' ')}: {v}", (name, v)) for name in ATTRIBUTES for v in ATTRIBUTES[name]]
        self.label = w.Dropdown(
            options=options, value=(start.attribute, start.label), description="label", **look(300, 60)
        )
        self.w = w.FloatSlider(
            start.guidance_scale,
            min=min(0.0, start.guidance_scale),
            max=max(W_MAX, start.guidance_scale),
            step=0.5,
            description="w",
            **look(430, 60),
        ).add_class("trajectory-w")
        self.step = w.IntSlider(start.step, min=0, max=STEPS, description="step", **look(430, 60))
        self.step.add_class("trajectory-step")
        self.seed = w.BoundedIntText(start.seed, min=0, max=999_999, description="noise", **look(170, 60))
        self.status.add_class("trajectory-status")
        self.image = hidden_image().add_class("trajectory-pictures")
        self.children = [w.HBox([self.label, self.seed]), w.HBox([self.w, self.step]), self.status, self.image]
        self.add_class("trajectory")
        self.follow(self.label, self.w, self.step, self.seed)

    @property
    def request(self) -> TrajectoryRequest:
        """What the controls say now."""
        attribute, value = self.label.value
        return TrajectoryRequest(attribute, value, self.w.value, self.seed.value, self.step.value)

    def busy(self, request: TrajectoryRequest) -> str:
        return f"computing {request.words} …"

    def show(self, result: TrajectoryResult) -> None:
        reveal(self.image, result.encoded)
        self.say(f"above each picture: p({result.request.label} | z_t)", bold=result.request.words)

    def static(self) -> Image:
        """The same thing as a picture that a notebook keeps: one plushie's way."""
        return Image(plots.to_jpeg(self.core.overview(self.request)))
