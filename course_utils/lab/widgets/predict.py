"""Predict, then look: a question before a figure, to whose answer the reader commits with a click."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import ipywidgets as w
from IPython.display import display

from course_utils.lab.widgets import cells
from course_utils.lab.widgets.base import LiveWidget, html
from course_utils.lab.widgets.drawing import RIGHT, WRONG
from course_utils.lab.widgets.predict_core import PredictionCore, PredictionRequest, PredictionResult

_VERDICT = "max-width:900px;line-height:20px;padding:4px 0"


class Prediction(LiveWidget):
    """The widget: a question and a button for each answer; the first one pressed counts.

    `guess = Prediction("Which is larger?", ["this one", "that one"])` before a figure, and after it
    `guess.answer("that one", "It has more of everything.")`. Nothing waits for the click: where nobody chose, the answer
    is told all the same, and whoever chooses later is told then. Tab and Enter choose without a mouse.
    """

    def __init__(self, question: str, answers: Sequence[str]):
        super().__init__(PredictionCore(question, answers))
        self.fallback = self.core.asked
        self.verdicts: list[w.HTML] = []
        asked = w.HTML(f"<b>Your prediction</b> · {html(question)}").add_class("prediction-question")
        fit = w.Layout(width="max-content", min_width="220px", max_width="100%")
        self.buttons = [w.Button(description=answer, layout=fit, tooltip=answer) for answer in answers]
        for number, button in enumerate(self.buttons):
            button.on_click(self.listener(partial(self._clicked, number)))
        self.status.add_class("prediction-said")
        self.children = [asked, *self.buttons, self.status]
        self.add_class("prediction")

    @property
    def request(self) -> PredictionRequest:
        """What was chosen."""
        return PredictionRequest(self.core.chosen)

    def _clicked(self, number: int, button: w.Button) -> None:
        self.choose(number)

    def choose(self, number: int) -> None:
        """Commit to answer `number`, counted from 0. A second choice changes nothing."""
        if self.core.choose(number):
            self.refresh()

    def answer(self, right: str, why: str) -> None:
        """Show which answer was right, one of the given ones word for word, and why in a sentence.

        Its text is the same for every reader. What the reader said stands in a widget in its place, where there is one.
        """
        self.core.reveal(right, why)
        verdict = w.HTML().add_class("prediction-verdict")
        cells.made(verdict)
        self.verdicts = [old for old in self.verdicts if old.comm is not None] + [verdict]
        self.show(self.core.compute(self.request))
        display(_Told(verdict, self.core.told))

    def busy(self, request: PredictionRequest) -> str:
        return ""

    def show(self, result: PredictionResult) -> None:
        if result.request.chosen is not None:
            for number, button in enumerate(self.buttons):
                button.disabled = True
                button.icon = "arrow-right" if number == result.request.chosen else ""
        self.say(bold=result.said)
        colour = {"✓": RIGHT, "✗": WRONG}.get(result.mark, "inherit")
        mark = f'<b style="color:{colour}">{result.mark}</b> ' if result.mark else ""
        for verdict in self.verdicts:
            verdict.value = f'<div style="{_VERDICT}">{mark}{html(result.verdict)}</div>'


class _Told:
    """A verdict as a notebook shows it, and as text for everything else."""

    def __init__(self, verdict: w.HTML, told: str):
        self.verdict, self.told = verdict, told

    def _repr_mimebundle_(self, **how: object) -> dict:
        return {**self.verdict._repr_mimebundle_(**how), "text/plain": self.told}

    def __repr__(self) -> str:
        return self.told
