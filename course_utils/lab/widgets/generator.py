"""The generator: words, a reference picture or both; any method of guidance, any w, two decoders.

The course's last widget. All that can be had without widgets is in `generator_core`.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import ipywidgets as w
from IPython.display import Image

from course_utils.datasets.plushies import Plushies
from course_utils.images import to_float
from course_utils.lab import plots
from course_utils.lab.widgets.base import choice, look
from course_utils.lab.widgets.generator_core import DECODERS, GeneratorCore, GeneratorRequest, GeneratorResult
from course_utils.lab.widgets.judged import PANEL
from course_utils.lab.widgets.picture_rows import PictureRows, scale_slider

REFERENCES = 8
LABEL = 78  # pixels of a description and its margin
BUTTON = (PANEL - LABEL) // 9 - 4  # "none" and eight references in one line


def course_core(pipeline, judge, weak=None, student=None) -> GeneratorCore:
    """The core with eight test plushies to refer to, and the VAE's own decoder beside the pipeline's and its student's."""
    from course_utils.checkpoints import load

    vae = load("vae", pipeline.device)

    def both(sharp) -> dict:
        soft = copy.copy(sharp)
        soft.vae = vae
        return {"sharp": sharp, "soft": soft}

    data = Plushies(REFERENCES, "test").in_memory()
    pictures = to_float(data.pictures).to(pipeline.device)
    students = both(student) if student is not None else None
    return GeneratorCore(both(pipeline), judge, pictures, data.attributes, weak, students)


class Generator(PictureRows):
    """The widget. `Generator(pipeline, judge)`, with a weaker denoiser as `weak` for autoguidance too, and with a `student` of
    the pipeline for fast pictures; in a notebook, the last line shows it. A mixture counts where there are both a prompt and a picture."""

    fallback = "generator: run this cell in a notebook to use it"

    def __init__(
        self, pipeline=None, judge=None, weak=None, core: GeneratorCore | None = None, student=None, **settings
    ):
        super().__init__(core or course_core(pipeline, judge, weak, student))
        self._build(GeneratorRequest(**settings))

    def _build(self, start: GeneratorRequest) -> None:
        self.prompt = w.Text(
            start.prompt,
            description="prompt",
            placeholder="empty: no words",
            continuous_update=False,
            **look(PANEL, 70),
        )
        count = len(self.core.references)
        references = [("none", 0), *((str(i), i) for i in range(1, count + 1))]
        self.reference = choice(references, start.reference, "picture", button=BUTTON).add_class("generator-reference")
        # Each thumbnail below its button; the first button, "none", has none.
        small = self.core.references.cpu()
        thumbnails = plots.to_jpeg(small, columns=count, scale=BUTTON / small.shape[-1], gap=4)
        below = w.Layout(margin=f"2px 2px 2px {LABEL + BUTTON + 6}px", object_fit="contain", align_self="flex-start")
        self.thumbnails = w.Image(value=thumbnails, format="jpeg", layout=below)
        half = look(PANEL // 2, 70)
        self.share = w.FloatSlider(
            start.share, min=0, max=1, step=0.05, description="mix", readout_format=".2f", **half
        ).add_class("generator-mix")
        self.w = scale_slider(start.guidance_scale, 0.0, PANEL // 2)
        self.method = w.Dropdown(
            options=self.core.methods, value=start.method, description="guidance", **half
        ).add_class("generator-method")
        self.decoder = choice([d for d in DECODERS if d in self.core.pipelines], start.decoder, "decoder")
        self.noise_controls(start.steps, start.seed, start.n)
        self.pace_control(start.fast)
        self.label.add_class("generator-label")
        self.status.add_class("generator-status")
        self.pictures[0].add_class("generator-pictures")
        self.children = [
            self.prompt,
            self.reference,
            self.thumbnails,
            w.HBox([self.share, self.w]),
            w.HBox([self.method, self.decoder]),
            w.HBox([self.steps, self.seed, self.n]),
            *([self.pace] if self.core.students else []),
            *self.rows,
        ]
        self.add_class("generator")
        self._match()
        self.follow(
            self.prompt,
            self.reference,
            self.share,
            self.w,
            self.method,
            self.decoder,
            self.steps,
            self.seed,
            self.n,
            self.pace,
        )

    @property
    def request(self) -> GeneratorRequest:
        """What the controls say now."""
        return GeneratorRequest(
            self.prompt.value,
            self.reference.value,
            round(self.share.value, 2),
            round(self.w.value, 1),
            self.method.value,
            self.steps.value,
            self.seed.value,
            self.decoder.value,
            self.n.value,
            self.pace.value,
        )

    def asked(self, change: dict) -> None:
        self._match()
        self.refresh()

    def _match(self) -> None:
        """A mixture needs both; CFG++ calls its scale λ."""
        self.share.disabled = not (self.reference.value and self.prompt.value.strip())
        self.w.description = "15 λ" if self.method.value == "CFG++" else "w"

    def show(self, result: GeneratorResult) -> None:
        super().show(result)
        share = result.share_right
        found = [f"{share:.0%} of what was asked for is there"] if share == share else []
        self.say(" · ".join([*found, *result.notes]))

    def static(self, reference: int = 1, prompt: str | None = None) -> Image:
        """The same thing as a picture that a notebook keeps: two noises, from the prompt alone to the picture alone."""
        request = replace(self.request, reference=reference, prompt=self.prompt.value if prompt is None else prompt)
        return Image(plots.to_jpeg(self.core.overview(request)))
