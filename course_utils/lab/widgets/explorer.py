"""The CFG explorer: type a prompt, drag w, and see what guidance does to the same noise.

While w is dragged, only its newest value is computed (see `lab.latest`), and pictures reach the browser as
encoded bytes. All that can be had without widgets is in `lab.explorer_core`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from html import escape

import torch

from course_utils.datasets import captions
from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.lab import plots
from course_utils.lab.widgets.explorer_core import (
    GAP,
    PANEL,
    PER_ROW,
    SAMPLERS,
    SCALES,
    TILE,
    CFGExplorerCore,
    Finding,
    Request,
    Result,
    compose,
)
from course_utils.lab.widgets.latest import Latest

W_MAX = 15.0
# A picture that takes longer than FAST seconds is given up when w moves on, faster ones are shown on the way.
# But during a long drag something is shown every PATIENCE seconds.
FAST, PATIENCE = 0.24, 1.0


class CFGExplorer:
    """The widget. `CFGExplorer()` loads the course's own checkpoints; in a notebook, the last line shows it.

    The pictures follow w while it is dragged, with the mouse or the arrow keys. Below them is the same noise
    at w = 0 to 12, which follows everything but w, and is computed when nothing else is.
    """

    def __init__(self, pipeline=None, judge=None, **settings):
        if pipeline is None:
            from course_utils import checkpoints

            pipeline = checkpoints.load_pipeline()
            judge = judge or checkpoints.load("judge")
        self.core = CFGExplorerCore(pipeline, judge)
        self.shown: Result | None = None
        self._strip_of: Request | None = None
        self._shown_at = self._seconds = 0.0
        self._syncing = False
        self._worker = Latest(self._work)
        self._build(Request(**settings))

    # What the reader sees and touches.

    def _build(self, start: Request) -> None:
        import ipywidgets as w

        def look(width: int, described: int = 70) -> dict:
            style = {"description_width": f"{described}px"}
            return {"layout": w.Layout(width=f"{width}px"), "style": style}

        self.prompt = w.Text(start.prompt, description="prompt", continuous_update=False, **look(PANEL))
        self.words = {
            name: w.Dropdown(options=[(f"any {name.split('_')[-1]}", ""), *zip(v, v, strict=True)], **look(115, 0))
            for name, v in ATTRIBUTES.items()
        }
        self.w = w.FloatSlider(
            start.guidance_scale,
            min=0,
            max=W_MAX,
            step=0.1,
            description="w",
            readout_format=".1f",
            **look(PANEL),
        )
        self.negative = w.Text(
            start.negative, description="negative", placeholder="what to move away from",
            continuous_update=False, **look(PANEL),
        )  # fmt: skip
        names = [(text, name) for name, text in SAMPLERS.items()]
        self.sampler = w.Dropdown(options=names, value=start.sampler, description="sampler", **look(200))
        self.steps = w.BoundedIntText(start.steps, min=1, max=100, description="steps", **look(170))
        self.seed = w.BoundedIntText(start.seed, min=0, max=999_999, description="seed", **look(205))
        self.n = w.Dropdown(options=[1, 4, 8], value=start.n, description="pictures", **look(205))
        self.label, self.status = w.HTML(), w.HTML()
        self.images = [w.Image(format="jpeg", layout=fitting(PANEL)) for _ in range(2)]
        self.texts = [w.HTML() for _ in self.images]
        self.strip_title = w.HTML()
        self.strip_image, self.strip_text = w.Image(format="jpeg", layout=fitting(PANEL)), w.HTML()
        for widget in (*self.images, self.strip_image):
            widget.layout.display = "none"  # until there is a picture: an empty one shows as broken

        self.box = w.VBox(
            [
                self.prompt,
                w.HBox([*self.words.values()], layout=w.Layout(padding="0 0 0 76px")),
                self.w,
                self.negative,
                w.HBox([self.sampler, self.steps, self.seed, self.n]),
                self.label,
                self.status,
                *(widget for pair in zip(self.images, self.texts, strict=True) for widget in pair),
                self.strip_title,
                self.strip_image,
                self.strip_text,
            ],
            layout=w.Layout(max_width=f"{PANEL + 24}px", padding="4px 0 12px 0"),
        )
        self.box.add_class("cfg-explorer")
        self.label.add_class("cfg-label")
        self.status.add_class("cfg-status")
        self.images[0].add_class("cfg-pictures")
        self.strip_image.add_class("cfg-strip")
        self._match_words()
        for widget in (self.prompt, self.w, self.negative, self.n, self.sampler, self.steps, self.seed):
            widget.observe(self._asked, "value")
        for name, widget in self.words.items():
            widget.observe(lambda change, name=name: self._word_picked(name, change["new"]), "value")
        self._say(self.status, "loading …")

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget, and start to compute. The text is for where no widget can be shown."""
        self.refresh()
        return {
            "text/plain": "CFG explorer: run this cell in a notebook to drag w",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip

    def show(self) -> None:
        """Show the widget here; the same as leaving it on a cell's last line."""
        from IPython.display import display

        display(self)

    def refresh(self) -> None:
        """Compute what the controls say."""
        self._worker.submit(self.request)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    @property
    def request(self) -> Request:
        """What the controls say now."""
        return Request(
            self.prompt.value, round(self.w.value, 1), self.negative.value, self.steps.value,
            self.sampler.value, self.seed.value, self.n.value,
        )  # fmt: skip

    # The reader did something.

    def _asked(self, change: dict) -> None:
        if change["owner"] is self.prompt:
            self._match_words()
        self.refresh()

    def _match_words(self) -> None:
        """Let the word lists say what the prompt names."""
        values = captions.describe(captions.named(self.prompt.value))
        self._syncing = True
        for name, widget in self.words.items():
            widget.value = values.get(name, "")
        self.words["accessory_colour"].disabled = values.get("accessory", "nothing") == "nothing"
        self._syncing = False

    def _word_picked(self, attribute: str, value: str) -> None:
        if self._syncing:
            return
        values = {name: widget.value for name, widget in self.words.items() if widget.value} | {attribute: value}
        if values.get("accessory", "") in ("", "nothing"):
            values.pop("accessory_colour", None)
        self.prompt.value = compose({name: v for name, v in values.items() if v})

    # In the worker's thread.

    def _work(self, request: Request) -> None:
        try:
            self._show_pictures(request)
        except ValueError as error:
            self._say(self.status, str(error), wrong=True)
        except Exception as error:  # a thread has nobody else to tell, and the next request may well work
            self._say(self.status, f"{type(error).__name__}: {error}", wrong=True)

    def _show_pictures(self, request: Request) -> None:
        if self.shown is None or self.shown.request != request:
            self._say(self.status, f"computing w = {request.guidance_scale:.1f} …")
            started = time.monotonic()
            result = self.core.compute(**vars(request), should_stop=lambda: self._outdated(request))
            if result is None:
                return
            self._seconds, self._shown_at = time.monotonic() - started, time.monotonic()
            for i, (image, text) in enumerate(zip(self.images, self.texts, strict=True)):
                given = i < len(result.encoded)
                if given:
                    image.value = result.encoded[i]
                image.layout.display = "block" if given else "none"
                tile = 256 if request.n == 1 else TILE
                rows = result.findings[i * PER_ROW : (i + 1) * PER_ROW]
                text.value = grid_of_texts([findings_html(row) for row in rows], tile, lines=4) if given else ""
            self.shown = result
            self.label.value = f"<b>{escape(result.label)}</b>"
        if self._strip_of != request.strip and self._worker.waiting is None:
            self._say(self.status, f"computing the same noise at w = {SCALES[0]:g} to {SCALES[-1]:g} …")
            made = self.core.strip(request, should_stop=lambda: self._worker.waiting is not None)
            if made is None:
                return
            encoded, texts = made
            self.strip_image.value, self.strip_image.layout.display = encoded, "block"
            self.strip_title.value = "<b>The first picture's noise at other w</b>"
            side = (PANEL - GAP * (len(texts) - 1)) // len(texts)
            self.strip_text.value = grid_of_texts(
                [escape(t).replace("\n", "<br>") for t in texts], side, align="center"
            )
            self._strip_of = request.strip
        self._say(self.status, " · ".join(self.shown.notes))

    def _outdated(self, request: Request) -> bool:
        newer = self._worker.waiting
        if self._worker.closed:
            return True
        if newer is None or newer == request:
            return False
        if not newer.moves_only_w(request):
            return True
        return self._seconds > FAST and time.monotonic() - self._shown_at < PATIENCE

    def _say(self, widget, text: str, wrong: bool = False) -> None:
        # The line keeps its height, so that the pictures stay where they are.
        colour = "var(--jp-error-color1, #b00020)" if wrong else "var(--jp-ui-font-color2, #555)"
        style = f"min-height:20px;line-height:20px;max-width:{PANEL}px;color:{colour}"
        widget.value = f'<div style="{style}">{escape(text)}</div>'

    # For saved notebooks.

    def static(self, prompt: str | None = None, scales: Sequence[float] = (0, 1, 3, 12), n: int = 4):
        """The same thing as a picture that a notebook keeps: n noises, a row for each w of `scales`.

        Returns an `IPython.display.Image`, which a cell's last line shows.
        """
        from IPython.display import Image

        request = self.request if prompt is None else replace(self.request, prompt=prompt)
        with torch.inference_mode():
            grid = self.core.pipeline.strip(
                request.prompt, scales, n, request.steps, request.sampler,
                negative=request.negative, seed=request.seed,
            )  # fmt: skip
            pictures = grid.flatten(0, 1).cpu()
            findings = self.core.findings(request.prompt, pictures)
        labels = []
        for row, w in enumerate(scales):
            mine = [f for picture in findings[row * n : (row + 1) * n] for f in picture if f.named]
            share = f"\n{100 * sum(f.right for f in mine) / len(mine):.0f} % right" if mine else ""
            labels.append(f"w = {w:g}{share}")
        return Image(plots.to_png(pictures, columns=n, scale=2, row_labels=labels))


def fitting(width: int):
    """A layout in which an image keeps its size, and shrinks only where there is no room."""
    from ipywidgets import Layout

    return Layout(max_width=f"min(100%, {width}px)", object_fit="contain", align_self="flex-start", margin="2px")


def grid_of_texts(cells: Sequence[str], tile: int, align: str = "left", lines: int = 2) -> str:
    """Texts below tiles: columns as wide as a tile, as far apart as the tiles are.

    There is room for some lines from the start, so that what is below stays where it is.
    """
    if not any(cells):
        return ""
    columns = " ".join([f"{tile}px"] * len(cells))
    style = (
        f"display:grid;grid-template-columns:{columns};column-gap:{GAP}px;line-height:18px;"
        f"min-height:{18 * lines}px;text-align:{align}"
    )
    return f'<div style="{style}">{"".join(f"<div>{cell}</div>" for cell in cells)}</div>'


def findings_html(findings: Sequence[Finding]) -> str:
    """Ticks and crosses that differ in shape and in words, and only then in colour."""
    if not findings:
        return ""
    if not any(f.named for f in findings):
        seen = ", ".join(dict.fromkeys(f.seen for f in findings if f.seen != "nothing"))
        return f'<span style="color:var(--jp-ui-font-color2,#555)">judge sees {escape(seen)}</span>'
    right = [
        f'<span style="white-space:nowrap;margin-right:7px">✓&nbsp;{escape(f.named)}</span>'
        for f in findings
        if f.right
    ]
    wrong = [
        f'<div style="color:#B33A00">✗&nbsp;{escape(f.named)} <small>sees {escape(f.seen)}</small></div>'
        for f in findings
        if not f.right
    ]
    return f'<div style="color:#00694B">{" ".join(right)}</div>{"".join(wrong)}'
