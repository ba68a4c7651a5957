"""A VAE with two latent numbers, to watch while it trains and to compare afterwards: one slider over the KL weight."""

from __future__ import annotations

import time
from collections.abc import Mapping

import ipywidgets as w
from IPython.display import Image
from torch import Tensor

from course_utils.lab import plots
from course_utils.lab.widgets.base import LiveWidget, hidden_image, html, look, reveal
from course_utils.lab.widgets.toy_vae_core import PlaneVAE, ToyRequest, ToyResult, ToyVAECore

EVERY = 0.5  # seconds between two drawings while a model trains


class ToyVAEExplorer(LiveWidget):
    """The widget: a slider over the weights, the posteriors in the plane beside the decoded grid, and three numbers.

    `toy = ToyVAEExplorer({0.0: model, 1.0: other}, pictures, factors)` with models that may still be untrained; show it with
    `display(toy)`, then call `toy.watch(weight)` after each training step. The arrow keys move the slider, too.
    """

    fallback = "Toy VAE: run this cell in a notebook to watch it train and to drag the weight"

    def __init__(self, models: Mapping[float, PlaneVAE], pictures: Tensor, factors: Tensor):
        super().__init__(ToyVAECore(models, pictures, factors))
        self.weight = w.SelectionSlider(
            options=[(f"{value:g}", value) for value in self.core.weights], description="β", **look(560)
        )
        self.status.add_class("toy-label")
        self.image = hidden_image().add_class("toy-pictures")
        self.numbers = w.HTML()
        self.children = [self.weight, self.status, self.image, self.numbers]
        self.add_class("toy-vae")
        self.follow(self.weight)
        self._next_drawing = 0.0

    @property
    def request(self) -> ToyRequest:
        """What the slider says now."""
        return ToyRequest(self.weight.value)

    def at(self, weight: float) -> ToyResult:
        """The model of a weight as it is now: its posteriors, what it decodes, its numbers."""
        return self.core.compute(ToyRequest(weight))

    def watch(self, weight: float) -> None:
        """Move the slider to the weight of the model in training and draw it anew, at most every half a second."""
        if weight == self.weight.value and time.monotonic() < self._next_drawing:
            return
        with self.syncing():
            self.weight.value = weight
        self.refresh()
        self._next_drawing = time.monotonic() + EVERY

    def busy(self, request: ToyRequest) -> str:
        return ""

    def show(self, result: ToyResult) -> None:
        reveal(self.image, result.encoded)
        self.numbers.value = html(result.numbers)
        self.say(bold=result.request.label)

    def static(self) -> Image:
        """The same as a picture that a notebook keeps: all weights beside each other."""
        return Image(plots.to_jpeg(self.core.overview()))
