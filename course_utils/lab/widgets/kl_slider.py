"""The KL slider: drag the KL weight β, and see reconstructions and prior samples of the VAE trained with it."""

from __future__ import annotations

import ipywidgets as w
from IPython.display import Image
from torch import Tensor

from course_utils.lab import plots
from course_utils.lab.widgets.base import LiveWidget, hidden_image, html, look, reveal
from course_utils.lab.widgets.kl_slider_core import KLRequest, KLResult, KLSliderCore
from course_utils.models.vector_autoencoder import VAESweep


class KLSlider(LiveWidget):
    """The widget: a slider over the sweep's weights, three rows of pictures, and two numbers below them.

    `KLSlider(sweep, pictures)`; in a notebook, the last line shows it. The arrow keys move the slider, too.
    """

    fallback = "KL slider: run this cell in a notebook to drag the weight"

    def __init__(self, sweep: VAESweep, pictures: Tensor, weight: float = 1.0):
        super().__init__(KLSliderCore(sweep, pictures))
        weights = self.core.weights
        self.weight = w.SelectionSlider(
            options=[(f"{value:g}", value) for value in weights],
            value=weight if weight in weights else weights[0],
            description="β",
            **look(560),
        )
        self.seed = w.BoundedIntText(0, min=0, max=999_999, description="noise", **look(190))
        self.status.add_class("kl-label")
        self.image = hidden_image().add_class("kl-pictures")
        self.numbers = w.HTML()
        self.children = [w.HBox([self.weight, self.seed]), self.status, self.image, self.numbers]
        self.add_class("kl-slider")
        self.follow(self.weight, self.seed)

    @property
    def request(self) -> KLRequest:
        """What the controls say now."""
        return KLRequest(self.weight.value, self.seed.value)

    def show(self, result: KLResult) -> None:
        reveal(self.image, result.encoded)
        self.numbers.value = html(result.numbers)
        self.say(bold=result.request.label)

    def static(self) -> Image:
        """The same thing as a picture that a notebook keeps, with a row for each weight."""
        return Image(plots.to_jpeg(self.core.overview(self.seed.value)))
