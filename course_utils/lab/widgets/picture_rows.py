"""Rows of pictures with the judge's opinion below: the part of a widget that the explorer and the generator share.

Where a model has a student, it draws first while a slider is dragged; exact pictures follow when the slider rests.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ipywidgets as w

from course_utils.lab.widgets.base import LiveWidget, choice, hidden_image, html, look, reveal
from course_utils.lab.widgets.drawing import findings_html, grid_of_texts
from course_utils.lab.widgets.judged import ALONE, GAP, PANEL, PER_ROW, TILE, W_MAX

INSTANT = 0.1  # seconds: pictures that are there sooner need no draft


class PictureRows(LiveWidget):
    """A `LiveWidget` for up to eight judged pictures. Its core's results are `judged.Judged`.

    Its requests say whether they are `fast`, give their `draft`, and tell whether they were only `dragged_from` another; its
    core says of one whether it `can_be_fast`.
    """

    def __init__(self, core: Any):
        super().__init__(core)
        self.label = w.HTML()
        self.pictures = [picture_row(PER_ROW) for _ in range(2)]
        self.texts = [w.HTML() for _ in self.pictures]
        self.seconds = 0.0  # that the last exact pictures took
        self.layout.max_width, self.layout.padding = f"{PANEL + 24}px", "4px 0 12px 0"

    @property
    def rows(self) -> list[w.Widget]:
        """What shows a result, from top to bottom."""
        pairs = zip(self.pictures, self.texts, strict=True)
        return [self.label, self.status, *(widget for pair in pairs for widget in pair)]

    def noise_controls(self, steps: int, seed: int, n: int) -> None:
        """Make the controls of steps, seed and number of pictures."""
        self.steps = w.BoundedIntText(steps, min=1, max=100, description="steps", **look(170, 70))
        self.seed = w.BoundedIntText(seed, min=0, max=999_999, description="seed", **look(205, 70))
        self.n = w.Dropdown(options=[1, 4, 8], value=n, description="pictures", **look(205, 70))

    def pace_control(self, fast: bool) -> None:
        """Make the switch between exact and fast pictures."""
        self.pace = choice([("exact", False), ("fast", True)], fast, "speed").add_class("pace")

    def work(self, request: Any) -> None:
        dragged = self.shown is not None and request.dragged_from(self.shown.request)
        if dragged and not request.fast and self.seconds > INSTANT and self.core.can_be_fast(request):
            super().work(request.draft)
            if self._worker.waiting is not None:
                return
        started = time.monotonic()
        super().work(request)
        if self.shown is not None and self.shown.request == request and not self.shown.drawn.fast:
            self.seconds = time.monotonic() - started

    def outdated(self, request: Any) -> bool:
        newer = self._worker.waiting
        if request.fast and newer is not None and newer.dragged_from(request):
            return self._worker.closed  # it is there before the next one would be
        return super().outdated(request)

    def busy(self, request: Any) -> str:
        return f"computing {request.scale} …"

    def show(self, result: Any) -> None:
        """Show the pictures, the findings below each, and the label."""
        tile = ALONE if len(result.encoded) == 1 else TILE
        for i, (row, text) in enumerate(zip(self.pictures, self.texts, strict=True)):
            of_row = slice(i * PER_ROW, (i + 1) * PER_ROW)
            show_pictures(row, result.encoded[of_row], tile)
            text.value = grid_of_texts([findings_html(found) for found in result.findings[of_row]], tile, lines=4)
        self.label.value = f"<b>{html(result.drawn.label)}</b>"


def picture_row(count: int) -> w.HBox:
    """Room for up to `count` pictures side by side; see `show_pictures`."""
    images = [hidden_image(margin="0", min_width="0") for _ in range(count)]
    return w.HBox(images, layout=w.Layout(grid_gap=f"{GAP}px", margin="0 2px", overflow="hidden"))


def show_pictures(row: w.HBox, encoded: Sequence[bytes], tile: float) -> None:
    """Show encoded pictures, each `tile` CSS pixels wide where there is room; what is left of the row is hidden."""
    for image, picture in zip(row.children, encoded, strict=False):
        image.layout.width = f"{tile:g}px"
        reveal(image, picture)
    for image in row.children[len(encoded) :]:
        image.layout.display = "none"


def scale_slider(start: float, low: float, width: int) -> w.FloatSlider:
    """A slider for w from `low`; a start beyond its usual ends moves them."""
    ends = {"min": min(low, start), "max": max(W_MAX, start)}
    return w.FloatSlider(start, **ends, step=0.1, description="w", readout_format=".1f", **look(width, 70))
