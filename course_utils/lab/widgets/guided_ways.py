"""Methods of guidance in the plane: choose one, drag w, and see its ways beside those of plain guidance."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as w
from IPython.display import Image

from course_utils.diffusion.guidance import Guidance
from course_utils.diffusion.mixture import LabelledMixture
from course_utils.lab import plots
from course_utils.lab.widgets.base import LiveWidget, hidden_image, look, reveal
from course_utils.lab.widgets.guided_ways_core import W_MAX, GuidedCore, GuidedRequest, GuidedResult


class GuidedWays(LiveWidget):
    """The widget: a list of methods and a slider for w; the ways of plain guidance and of the method, with two numbers.

    `GuidedWays(three_petals(RectifiedFlow()), {"interval": LimitedInterval})`; in a notebook, the last line shows it.
    The arrow keys move the slider, too.
    """

    fallback = "guided ways: run this cell in a notebook to choose a method and drag w"

    def __init__(self, mixture: LabelledMixture, methods: Mapping[str, Guidance], guidance_scale: float = 4.0):
        super().__init__(GuidedCore(mixture, methods))
        self.method = w.Dropdown(options=list(methods), description="method", **look(260))
        self.w = w.FloatSlider(guidance_scale, min=0.0, max=W_MAX, step=0.25, description="w", **look(430, 60))
        self.status.add_class("guided-status")
        self.method.add_class("guided-method")
        self.image = hidden_image().add_class("guided-pictures")
        self.children = [w.HBox([self.method, self.w]), self.status, self.image]
        self.add_class("guided-ways")
        self.follow(self.method, self.w)

    @property
    def request(self) -> GuidedRequest:
        """What the controls say now."""
        return GuidedRequest(self.method.value, self.w.value)

    def busy(self, request: GuidedRequest) -> str:
        return ""

    def show(self, result: GuidedResult) -> None:
        reveal(self.image, result.encoded)
        each = (f"{name}: doubt {result.doubt[name]:.2g}, price {result.price[name]:.3f}" for name in result.ways)
        self.say(" · ".join(each), bold=result.request.words)

    def static(self) -> Image:
        """The same as a picture that a notebook keeps: every method at the slider's w, after plain guidance."""
        asked = [GuidedRequest(name, self.w.value) for name in self.core.methods]
        return Image(plots.to_jpeg(self.core.overview(asked)))
