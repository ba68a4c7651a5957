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
from course_utils.lab.widgets.base import QUIET, html, look
from course_utils.lab.widgets.drawing import grid_of_texts
from course_utils.lab.widgets.explorer_core import SAMPLERS, SCALES, CFGExplorerCore, CFGRequest, compose
from course_utils.lab.widgets.judged import GAP, PANEL, W_MIN
from course_utils.lab.widgets.picture_rows import PictureRows, picture_row, scale_slider, show_pictures

# A picture that takes longer than FAST seconds is given up when w moves on, faster ones are shown on the way.
# But during a long drag something is shown every PATIENCE seconds.
FAST, PATIENCE = 0.24, 1.0
AT = f"{', '.join(f'{w:g}' for w in SCALES[:-1])} and {SCALES[-1]:g}"
STRIP_TILE = (PANEL - GAP * (len(SCALES) - 1)) // len(SCALES)  # CSS pixels


class CFGExplorer(PictureRows):
    """The widget. `CFGExplorer()` loads the course's own checkpoints; in a notebook, the last line shows it.

    `CFGExplorer({"the course's": pipeline, "yours": own}, judge)` lets the reader change between models: noise, prompt
    and w stay. The settings are those of `CFGRequest`; it starts with the first model.

    With `students` (`FastPipeline`s by the models' names) there is a switch: "exact" draws with the model, after a draft
    by the student while w is dragged; "fast" draws with the student alone.

    The pictures follow w while it is dragged, with the mouse or the arrow keys. Below them is the same noise at the w of
    `SCALES`, which follows everything but w, and is computed when nothing else is.
    """

    fallback = "CFG explorer: run this cell in a notebook to drag w"

    def __init__(self, pipelines=None, judge=None, students=None, **settings):
        if pipelines is None:
            from course_utils import checkpoints

            pipelines = checkpoints.load_pipeline()
            students = checkpoints.load_fast_pipeline(pipelines)
            judge = judge or checkpoints.load("judge")
        super().__init__(CFGExplorerCore(pipelines, judge, students))
        self._strip_of: CFGRequest | None = None
        self._shown_at = 0.0
        self._build(CFGRequest(**{"model": next(iter(self.core.pipelines)), **settings}))

    # What the reader sees and touches.

    def _build(self, start: CFGRequest) -> None:
        self.core.pipeline(start.model)  # which refuses an unknown name
        self.model = w.Dropdown(
            options=list(self.core.pipelines), value=start.model, description="model", **look(PANEL // 2, 70)
        ).add_class("cfg-model")
        self.pace_control(start.fast)
        self.prompt = w.Text(start.prompt, description="prompt", continuous_update=False, **look(PANEL, 70))
        self.words = {
            name: w.Dropdown(options=[(f"any {name.split('_')[-1]}", ""), *zip(v, v, strict=True)], **look(115, 0))
            for name, v in ATTRIBUTES.items()
        }
        self.w = scale_slider(start.guidance_scale, W_MIN, PANEL)
        self.meaning = w.HTML(layout=w.Layout(margin="0 2px 0 76px")).add_class("cfg-meaning")
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
        self.strip = picture_row(len(SCALES)).add_class("cfg-strip")
        self.label.add_class("cfg-label")
        self.status.add_class("cfg-status")
        self.pictures[0].add_class("cfg-pictures")
        self.children = [
            *([self.model] if len(self.core.pipelines) > 1 else []),
            self.prompt,
            w.HBox([*self.words.values()], layout=w.Layout(padding="0 0 0 76px")),
            self.w,
            self.meaning,
            self.negative,
            w.HBox([self.sampler, self.steps, self.seed, self.n]),
            *([self.pace] if self.core.students else []),
            *self.rows,
            self.strip_title,
            self.strip,
            self.strip_text,
        ]
        self.add_class("cfg-explorer")
        self._match_words()
        self._say_meaning()
        self.follow(
            self.model, self.prompt, self.w, self.negative, self.n, self.sampler, self.steps, self.seed, self.pace
        )
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
            self.model.value,
            self.pace.value,
        )

    # The reader did something.

    def asked(self, change: dict) -> None:
        if change["owner"] is self.prompt:
            self._match_words()
        self._say_meaning()
        self.refresh()

    def _say_meaning(self) -> None:
        """Say below the slider what its w does."""
        self.meaning.value = f'<span style="color:{QUIET}">{html(self.request.meaning)}</span>'

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
            super().work(request)
            if self.shown is None or self.shown.request != request:
                return
            self._shown_at = time.monotonic()
        if self._strip_of != request.strip and self._worker.waiting is None:
            self.say(f"computing the same noise at w = {AT} …")
            made = self.core.strip(request, should_stop=self._interrupted)
            if made is None:
                return
            self._show_strip(*made)
            self._strip_of = request.strip
        self.say(" · ".join(self.shown.notes))

    def _show_strip(self, encoded: Sequence[bytes], texts: Sequence[str]) -> None:
        show_pictures(self.strip, encoded, STRIP_TILE)
        self.strip_title.value = f"<b>The first picture's noise at w = {AT}</b>"
        cells = [html(text).replace("\n", "<br>") for text in texts]
        self.strip_text.value = grid_of_texts(cells, STRIP_TILE, align="center")

    def _interrupted(self) -> bool:
        return self._worker.closed or self._worker.waiting is not None

    def outdated(self, request: CFGRequest) -> bool:
        newer = self._worker.waiting
        if newer is None or not newer.dragged_from(request) or self.core.can_be_fast(request):
            return super().outdated(request)
        slow = self.seconds > FAST and time.monotonic() - self._shown_at < PATIENCE
        return self._worker.closed or (newer != request and slow)

    # For saved notebooks.

    def static(self, prompt: str | None = None, scales: Sequence[float] = SCALES, n: int = 4) -> Image:
        """The same thing as a picture that a notebook keeps: n noises, a row for each w of `scales`."""
        request = self.request if prompt is None else replace(self.request, prompt=prompt)
        return Image(plots.to_jpeg(self.core.overview(request, scales, n)))
