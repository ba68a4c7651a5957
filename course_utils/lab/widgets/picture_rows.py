"""Rows of pictures with the judge's opinion below: the part of a widget that the explorer and the generator share."""

from __future__ import annotations

from typing import Any

import ipywidgets as w

from course_utils.lab.widgets.base import LiveWidget, hidden_image, html, look, reveal
from course_utils.lab.widgets.drawing import findings_html, grid_of_texts
from course_utils.lab.widgets.judged import PANEL, PER_ROW, TILE, W_MAX, W_MIN

FIT = f"min(100%, {PANEL}px)"


class PictureRows(LiveWidget):
    """A `LiveWidget` for up to eight judged pictures. Its core's results are `judged.Judged`."""

    def __init__(self, core: Any):
        super().__init__(core)
        self.label = w.HTML()
        self.images = [hidden_image(max_width=FIT, margin="2px") for _ in range(2)]
        self.texts = [w.HTML() for _ in self.images]
        self.layout.max_width, self.layout.padding = f"{PANEL + 24}px", "4px 0 12px 0"

    @property
    def rows(self) -> list[w.Widget]:
        """What shows a result, from top to bottom."""
        pairs = zip(self.images, self.texts, strict=True)
        return [self.label, self.status, *(widget for pair in pairs for widget in pair)]

    def noise_controls(self, steps: int, seed: int, n: int) -> None:
        """Make the controls of steps, seed and number of pictures."""
        self.steps = w.BoundedIntText(steps, min=1, max=100, description="steps", **look(170, 70))
        self.seed = w.BoundedIntText(seed, min=0, max=999_999, description="seed", **look(205, 70))
        self.n = w.Dropdown(options=[1, 4, 8], value=n, description="pictures", **look(205, 70))

    def busy(self, request: Any) -> str:
        return f"computing {request.scale} …"

    def show(self, result: Any) -> None:
        """Show the pictures, the findings below each, and the label."""
        tile = 256 if len(result.pictures) == 1 else TILE
        for i, (image, text) in enumerate(zip(self.images, self.texts, strict=True)):
            rows = result.findings[i * PER_ROW : (i + 1) * PER_ROW]
            if i < len(result.encoded):
                reveal(image, result.encoded[i])
                text.value = grid_of_texts([findings_html(row) for row in rows], tile, lines=4)
            else:
                image.layout.display, text.value = "none", ""
        self.label.value = f"<b>{html(result.request.label)}</b>"


def scale_slider(start: float, width: int) -> w.FloatSlider:
    """A slider for w; a start beyond its usual ends moves them."""
    low, high = min(W_MIN, start), max(W_MAX, start)
    return w.FloatSlider(start, min=low, max=high, step=0.1, description="w", readout_format=".1f", **look(width, 70))
