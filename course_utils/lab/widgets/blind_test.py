"""The blind test for people: two pictures, a button under each, and the score by decoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import ipywidgets as w
from torch import Tensor

from course_utils.lab.widgets.base import LiveWidget, hidden_image, html, reveal
from course_utils.lab.widgets.blind_test_core import SCALE, SIDES, BlindTest, BlindTestRequest, BlindTestResult
from course_utils.lab.widgets.drawing import RIGHT, WRONG


class BlindTestWidget(LiveWidget):
    """The widget. Tab and Enter answer without a mouse: the buttons keep the focus.

    Only the showing of questions is left to the worker. Answers are counted at once, in the order of the clicks.
    """

    fallback = "blind test: run this cell in a notebook to take it"

    def __init__(self, real: Tensor, reconstructions: Mapping[str, Tensor], seed: int = 0):
        super().__init__(BlindTest(real, reconstructions, seed))
        side = f"{SCALE * real.shape[-1]}px"
        self.images = [hidden_image("png", width=side, height=side).add_class(f"blind-{name}") for name in SIDES]
        self.buttons = [w.Button(description=f"the {name} one is real", layout=w.Layout(width=side)) for name in SIDES]
        for button, name in zip(self.buttons, SIDES, strict=True):
            button.on_click(self.listener(partial(self._clicked, name)))
        self.status.add_class("blind-status")
        self.verdict, self.table = w.HTML().add_class("blind-verdict"), w.HTML().add_class("blind-score")
        columns = [w.VBox(pair) for pair in zip(self.images, self.buttons, strict=True)]
        self.children = [self.status, w.HBox(columns), self.verdict, self.table]
        self.add_class("blind-test")

    @property
    def request(self) -> BlindTestRequest:
        """The question that waits for an answer."""
        return BlindTestRequest(self.core.number)

    def _clicked(self, side: str, button: w.Button) -> None:
        self.choose(side)

    def choose(self, side: str) -> None:
        """Answer the question that is shown, say how that went, and show the next one."""
        if self.shown is None or self.shown.request != self.request:
            return  # nobody answers a question that they have not seen
        right, asked = self.core.answer(side)
        mark, colour = ("✓ right", RIGHT) if right else ("✗ no", WRONG)
        self.verdict.value = (
            f'<span style="color:{colour}">{mark}</span>: the {asked.real} one was real, '
            f"the other was made by the decoder <b>{html(asked.decoder)}</b>."
        )
        self.refresh()

    def busy(self, request: BlindTestRequest) -> str:
        return ""

    def show(self, result: BlindTestResult) -> None:
        for image, encoded in zip(self.images, result.encoded, strict=True):
            reveal(image, encoded)
        score = self.core.score
        cells = "".join(
            f'<td style="padding-right:24px">{html(name)}<br><b>{score.right.get(name, 0)} of '
            f"{score.asked.get(name, 0)}</b></td>"
            for name in self.core.reconstructions
        )
        self.table.value = f"Real picture found, by decoder (half is guessing):<table><tr>{cells}</tr></table>"
        self.say(bold=f"Question {result.request.number + 1}: which one is real?")
