"""Two ways from one picture to another, side by side: through pixels, and through an autoencoder's latents."""

from __future__ import annotations

import ipywidgets as w
from IPython.display import Image
from torch import Tensor, nn

from course_utils.lab import plots
from course_utils.lab.widgets.base import LiveWidget, hidden_image, look, reveal
from course_utils.lab.widgets.interpolation_core import InterpolationCore, InterpolationRequest, InterpolationResult


class Interpolation(LiveWidget):
    """The widget: two numbers choose pictures, a slider walks from one to the other.

    `Interpolation(autoencoder, pictures)`; in a notebook, the last line shows it. The arrow keys move the slider, too.
    """

    fallback = "Interpolation: run this cell in a notebook to walk between two pictures"

    def __init__(self, autoencoder: nn.Module, pictures: Tensor, a: int = 0, b: int = 1):
        super().__init__(InterpolationCore(autoencoder, pictures))
        last = len(pictures) - 1
        self.a = w.BoundedIntText(a, min=0, max=last, description="from", **look(150, 80))
        self.b = w.BoundedIntText(b, min=0, max=last, description="to", **look(150, 80))
        self.t = w.FloatSlider(0.5, min=0, max=1, step=0.01, description="t", readout_format=".2f", **look(440, 80))
        self.status.add_class("interpolation-label")
        self.image = hidden_image().add_class("interpolation-pictures")
        names = w.HTML("<b>left: in pixels &nbsp; right: in latents</b>")
        self.children = [w.HBox([self.a, self.b, self.t]), self.status, self.image, names]
        self.add_class("interpolation")
        self.follow(self.a, self.b, self.t)

    @property
    def request(self) -> InterpolationRequest:
        """What the controls say now."""
        return InterpolationRequest(self.a.value, self.b.value, self.t.value)

    def show(self, result: InterpolationResult) -> None:
        reveal(self.image, result.encoded)
        self.say(bold=result.request.label)

    def static(self) -> Image:
        """The same thing as a picture that a notebook keeps: both ways in five steps."""
        return Image(plots.to_jpeg(self.core.overview(self.a.value, self.b.value)))
