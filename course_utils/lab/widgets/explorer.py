"""The CFG explorer: type a prompt, drag w, and see what guidance does to the same noise.

While w is dragged, only its newest value is computed (see `latest`), and pictures reach the browser as
encoded bytes. All that can be had without widgets is in `explorer_core`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import ipywidgets as w
from IPython.display import Image

from course_utils.datasets import captions
from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.lab import plots
from course_utils.lab.widgets.base import hidden_image, html, look, reveal
from course_utils.lab.widgets.drawing import grid_of_texts
from course_utils.lab.widgets.explorer_core import SAMPLERS, SCALES, CFGExplorerCore, CFGRequest, compose
from course_utils.lab.widgets.judged import GAP, PANEL
from course_utils.lab.widgets.picture_rows import FIT, PictureRows, scale_slider

# A picture that takes longer than FAST seconds is given up when w moves on, faster ones are shown on the way.
# But during a long drag something is shown every PATIENCE seconds.
FAST, PATIENCE = 0.24, 1.0


class CFGExplorer(PictureRows):
    """The widget. `CFGExplorer()` loads the course's own checkpoints; in a notebook, the last line shows it.

    The pictures follow w while it is dragged, with the mouse or the arrow keys. Below them is the same noise
    at w = 0 to 12, which follows everything but w, and is computed when nothing else is.
    """

    fallback = "CFG explorer: run this cell in a notebook to drag w"

    def __init__(self, pipeline=None, judge=None, **settings):
        if pipeline is None:
            from course_utils import checkpoints

            pipeline = checkpoints.load_pipeline()
            judge = judge or checkpoints.load("judge")
        super().__init__(CFGExplorerCore(pipeline, judge))
        self._strip_of: CFGRequest | None = None
        self._shown_at = self._seconds = 0.0
        self._build(CFGRequest(**settings))

    # What the reader sees and touches.

    def _build(self, start: CFGRequest) -> None:
        self.prompt = w.Text(start.prompt, description="prompt", continuous_update=False, **look(PANEL, 70))
        self.words = {
            name: w.Dropdown(options=[(f"any {name.split('_')[-1]}", ""), *zip(v, v, strict=True)], **look(115, 0))
            for name, v in ATTRIBUTES.items()
        }
        self.w = scale_slider(start.guidance_scale, PANEL)
        self.negative = w.Text(
            start.negative,
            description="negative",
            placeholder="what to move away from",
            continuous_update=False,
            **look(PANEL, 70),
        )
        names = [(text, name) for name, text in SAMPLERS.items()]
        self.sampler = w.Dropdown(options=names, value=start.sampler, description="sampler", **look(200, 70))
        self.noise_controls(start.steps, start.seed, start.n)
        self.strip_title, self.strip_text = w.HTML(), w.HTML()
        self.strip_image = hidden_image(max_width=FIT, margin="2px").add_class("cfg-strip")
        self.label.add_class("cfg-label")
        self.status.add_class("cfg-status")
        self.images[0].add_class("cfg-pictures")
        self.children = [
            self.prompt,
            w.HBox([*self.words.values()], layout=w.Layout(padding="0 0 0 76px")),
            self.w,
            self.negative,
            w.HBox([self.sampler, self.steps, self.seed, self.n]),
            *self.rows,
            self.strip_title,
            self.strip_image,
            self.strip_text,
        ]
        self.add_class("cfg-explorer")
        self._match_words()
        self.follow(self.prompt, self.w, self.negative, self.n, self.sampler, self.steps, self.seed)
        for name, widget in self.words.items():
            widget.observe(self.listener(partial(self._word_picked, name)), "value")
        self.say("loading …")

    @property
    def request(self) -> CFGRequest:
        """What the controls say now."""
        return CFGRequest(
            self.prompt.value,
            round(self.w.value, 1),
            self.negative.value,
            self.steps.value,
            self.sampler.value,
            self.seed.value,
            self.n.value,
        )

    # The reader did something.

    def asked(self, change: dict) -> None:
        if change["owner"] is self.prompt:
            self._match_words()
        self.refresh()

    def _match_words(self) -> None:
        """Let the word lists say what the prompt names."""
        values = captions.describe(captions.named(self.prompt.value))
        with self.syncing():
            for name, widget in self.words.items():
                widget.value = values.get(name, "")
            self.words["accessory_colour"].disabled = values.get("accessory", "nothing") == "nothing"

    def _word_picked(self, attribute: str, change: dict) -> None:
        values = {name: widget.value for name, widget in self.words.items() if widget.value} | {
            attribute: change["new"]
        }
        if values.get("accessory", "") in ("", "nothing"):
            values.pop("accessory_colour", None)
        self.prompt.value = compose({name: v for name, v in values.items() if v})

    # In the worker's thread.

    def work(self, request: CFGRequest) -> None:
        if self.shown is None or self.shown.request != request:
            started = time.monotonic()
            super().work(request)
            if self.shown is None or self.shown.request != request:
                return
            self._shown_at = time.monotonic()
            self._seconds = self._shown_at - started
        if self._strip_of != request.strip and self._worker.waiting is None:
            self.say(f"computing the same noise at w = {SCALES[0]:g} to {SCALES[-1]:g} …")
            made = self.core.strip(request, should_stop=self._interrupted)
            if made is None:
                return
            self._show_strip(*made)
            self._strip_of = request.strip
        self.say(" · ".join(self.shown.notes))

    def _show_strip(self, encoded: bytes, texts: list[str]) -> None:
        reveal(self.strip_image, encoded)
        self.strip_title.value = "<b>The first picture's noise at other w</b>"
        side = (PANEL - GAP * (len(texts) - 1)) // len(texts)
        self.strip_text.value = grid_of_texts([html(t).replace("\n", "<br>") for t in texts], side, align="center")

    def _interrupted(self) -> bool:
        return self._worker.closed or self._worker.waiting is not None

    def outdated(self, request: CFGRequest) -> bool:
        newer = self._worker.waiting
        if newer is None or not newer.moves_only_w(request):
            return super().outdated(request)
        slow = self._seconds > FAST and time.monotonic() - self._shown_at < PATIENCE
        return self._worker.closed or (newer != request and slow)

    # For saved notebooks.

    def static(self, prompt: str | None = None, scales: Sequence[float] = (0, 1, 3, 12), n: int = 4) -> Image:
        """The same thing as a picture that a notebook keeps: n noises, a row for each w of `scales`."""
        request = self.request if prompt is None else replace(self.request, prompt=prompt)
        return Image(plots.to_png(self.core.overview(request, scales, n)))
