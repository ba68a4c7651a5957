"""The temperature slider: one similarity matrix, and what the softmax makes of it at any temperature."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as w
from IPython.display import Image
from torch import Tensor

from course_utils.lab import plots
from course_utils.lab.widgets.base import LiveWidget, hidden_image, html, look, reveal
from course_utils.lab.widgets.temperature_core import SCALES, TemperatureCore, TemperatureRequest, TemperatureResult


class TemperatureSlider(LiveWidget):
    """The widget: a slider over 1/τ, the cosines, the probabilities, and three numbers below them.

    `TemperatureSlider(image_emb, text_emb, pictures, captions)`; in a notebook, the last line shows it. The arrow
    keys move the slider, too.
    """

    fallback = "Temperature slider: run this cell in a notebook to drag it"

    def __init__(
        self, image_emb: Tensor, text_emb: Tensor, pictures: Tensor, captions: Sequence[str] = (), scale: float = 14.3
    ):
        super().__init__(TemperatureCore(image_emb, text_emb, pictures, captions))
        self.scale = w.SelectionSlider(
            options=[(f"{value:g}", value) for value in SCALES],
            value=scale if scale in SCALES else SCALES[0],
            description="1/τ",
            **look(560),
        )
        self.status.add_class("temperature-label")
        self.image = hidden_image().add_class("temperature-picture")
        self.numbers = w.HTML()
        self.children = [self.scale, self.status, self.image, self.numbers]
        self.add_class("temperature-slider")
        self.follow(self.scale)

    @property
    def request(self) -> TemperatureRequest:
        """What the slider says now."""
        return TemperatureRequest(self.scale.value)

    def show(self, result: TemperatureResult) -> None:
        reveal(self.image, result.encoded)
        self.numbers.value = html(result.numbers)
        self.say(bold=result.request.label)

    def static(self, scales: Sequence[float] = (1.0, 14.3, 100.0)) -> Image:
        """The same as a picture that a notebook keeps: the matrix at several scales."""
        return Image(plots.to_jpeg(self.core.draw(scales)))
