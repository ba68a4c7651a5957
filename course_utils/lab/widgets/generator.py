"""The generator: words, a reference picture or both; any method of guidance, any w, two decoders.

The course's last widget. All that can be had without widgets is in `lab.generator_core`.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from html import escape

from course_utils.datasets.plushies import Plushies
from course_utils.images import to_float
from course_utils.lab import plots
from course_utils.lab.widgets.explorer import TILE, findings_html, fitting, grid_of_texts
from course_utils.lab.widgets.explorer_core import PANEL, PER_ROW
from course_utils.lab.widgets.generator_core import DECODERS, W_MAX, GeneratorCore, Request, Result
from course_utils.lab.widgets.latest import Latest

REFERENCES = 8
BUTTON = TILE // 2 - 12  # pixels


def course_core(pipeline, judge, weak=None) -> GeneratorCore:
    """The core with eight test plushies to refer to, and the VAE's own decoder beside the pipeline's."""
    from course_utils.checkpoints import load

    soft = copy.copy(pipeline)
    soft.vae = load("vae", pipeline.device)
    data = Plushies(REFERENCES, "test").in_memory()
    pictures = to_float(data.pictures).to(pipeline.device)
    return GeneratorCore({"sharp": pipeline, "soft": soft}, judge, pictures, data.attributes, weak)


class Generator:
    """The widget. `Generator(pipeline, judge)`, with a weaker denoiser as `weak` for autoguidance too; in a notebook,
    the last line shows it. A mixture counts where there are both a prompt and a picture."""

    def __init__(self, pipeline=None, judge=None, weak=None, core: GeneratorCore | None = None, **settings):
        self.core = core or course_core(pipeline, judge, weak)
        self.shown: Result | None = None
        self._worker = Latest(self._work)
        self._build(Request(**settings))

    def _build(self, start: Request) -> None:
        import ipywidgets as w

        def look(width: int, described: int = 70) -> dict:
            style = {"description_width": f"{described}px"}
            return {"layout": w.Layout(width=f"{width}px"), "style": style}

        self.prompt = w.Text(
            start.prompt,
            description="prompt",
            placeholder="empty: no words",
            continuous_update=False,
            **look(PANEL),
        )
        count = len(self.core.references)
        self.reference = w.ToggleButtons(
            options=[("none", 0), *((str(i), i) for i in range(1, count + 1))],
            value=start.reference, description="picture",
            style={"description_width": "70px", "button_width": f"{BUTTON}px"},
        )  # fmt: skip
        # Each thumbnail below its button; the first button, "none", has none.
        thumbnails = plots.to_jpeg(self.core.references.cpu(), columns=count, scale=BUTTON / 64, gap=4)
        beside = w.Layout(margin=f"2px 2px 2px {BUTTON + 6}px", object_fit="contain", align_self="flex-start")
        self.thumbnails = w.Image(value=thumbnails, format="jpeg", layout=beside)
        slider = {"readout_format": ".2f", **look(PANEL // 2)}
        self.share = w.FloatSlider(start.share, min=0, max=1, step=0.05, description="mix", **slider)
        self.w = w.FloatSlider(start.guidance_scale, min=0, max=W_MAX, step=0.1, description="w", **slider)
        self.w.readout_format = ".1f"
        self.method = w.Dropdown(
            options=self.core.methods, value=start.method, description="guidance", **look(PANEL // 2)
        )
        self.decoder = w.ToggleButtons(
            options=[d for d in DECODERS if d in self.core.pipelines], value=start.decoder,
            description="decoder", style={"description_width": "70px", "button_width": "80px"},
        )  # fmt: skip
        self.steps = w.BoundedIntText(start.steps, min=1, max=100, description="steps", **look(170))
        self.seed = w.BoundedIntText(start.seed, min=0, max=999_999, description="seed", **look(205))
        self.n = w.Dropdown(options=[1, 4, 8], value=start.n, description="pictures", **look(205))
        self.label, self.status = w.HTML(), w.HTML()
        self.images = [w.Image(format="jpeg", layout=fitting(PANEL)) for _ in range(2)]
        self.texts = [w.HTML() for _ in self.images]
        for image in self.images:
            image.layout.display = "none"  # until there is a picture: an empty one shows as broken
        self.box = w.VBox(
            [
                self.prompt, self.reference, self.thumbnails,
                w.HBox([self.share, self.w]),
                w.HBox([self.method, self.decoder]),
                w.HBox([self.steps, self.seed, self.n]),
                self.label, self.status,
                *(widget for pair in zip(self.images, self.texts, strict=True) for widget in pair),
            ],
            layout=w.Layout(max_width=f"{PANEL + 24}px", padding="4px 0 12px 0"),
        )  # fmt: skip
        for widget, name in ((self.box, "generator"), (self.label, "generator-label"), (self.status, "generator-status"),
                             (self.reference, "generator-reference"), (self.share, "generator-mix"),
                             (self.method, "generator-method"), (self.images[0], "generator-pictures")):  # fmt: skip
            widget.add_class(name)
        for control in (self.prompt, self.reference, self.share, self.w, self.method, self.decoder,
                        self.steps, self.seed, self.n):  # fmt: skip
            control.observe(self._asked, "value")
        self._match()

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget, and start to compute. The text is for where no widget can be shown."""
        self.refresh()
        return {
            "text/plain": "generator: run this cell in a notebook to use it",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip

    @property
    def request(self) -> Request:
        """What the controls say now."""
        return Request(
            self.prompt.value, self.reference.value, round(self.share.value, 2), round(self.w.value, 1),
            self.method.value, self.steps.value, self.seed.value, self.decoder.value, self.n.value,
        )  # fmt: skip

    def refresh(self) -> None:
        """Compute what the controls say."""
        self._worker.submit(self.request)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def static(self, reference: int = 1, prompt: str | None = None):
        """The same thing as a picture that a notebook keeps: two noises, from the prompt alone to the picture alone."""
        from IPython.display import Image

        request = replace(self.request, reference=reference, prompt=self.prompt.value if prompt is None else prompt)
        return Image(plots.to_jpeg(self.core.overview(request)))

    def _asked(self, change: dict) -> None:
        self._match()
        self.refresh()

    def _match(self) -> None:
        """A mixture needs both; CFG++ calls its scale λ."""
        self.share.disabled = not (self.reference.value and self.prompt.value.strip())
        self.w.description = "15 λ" if self.method.value == "CFG++" else "w"

    def _work(self, request: Request) -> None:
        try:
            self._say(f"computing {request.scale} …")
            result = self.core.compute(request, should_stop=lambda: self._worker.waiting not in (None, request))
        except Exception as error:  # a thread has nobody else to tell, and the next request may well work
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            self._say(f"{kind}{error}", wrong=True)
            return
        if result is None:
            return
        for i, (image, text) in enumerate(zip(self.images, self.texts, strict=True)):
            given = i < len(result.encoded)
            if given:
                image.value = result.encoded[i]
            image.layout.display = "block" if given else "none"
            rows = result.findings[i * PER_ROW : (i + 1) * PER_ROW]
            tile = 256 if request.n == 1 else TILE
            text.value = grid_of_texts([findings_html(row) for row in rows], tile, lines=4) if given else ""
        self.shown = result
        asked = any(f.named for row in result.findings for f in row)
        found = [f"{result.share_right:.0%} of what was asked for is there"] if asked else []
        self._say(" · ".join([*found, *result.notes]))
        self.label.value = f"<b>{escape(request.label)}</b>"

    def _say(self, text: str, wrong: bool = False) -> None:
        colour = "var(--jp-error-color1, #b00020)" if wrong else "var(--jp-ui-font-color2, #555)"
        style = f"min-height:20px;line-height:20px;max-width:{PANEL}px;color:{colour}"
        self.status.value = f'<div style="{style}">{escape(text)}</div>'
