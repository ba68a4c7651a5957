"""The CFG explorer without widgets: a setting in; pictures, encoded, and the judge's opinion out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_utils.datasets import captions
from course_utils.diffusion.threaded import ThreadedPipeline, on_all_cores
from course_utils.lab import plots
from course_utils.lab.widgets.judged import GAP, PANEL, Finding, Findings, Judged, encode_rows, find, notes, share_right
from course_utils.lab.widgets.latest import ShouldStop

PROMPT = "a brown bear with a red scarf on a striped sky background"
SCALES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
SAMPLERS = {"euler": "Euler", "heun": "Heun", "ddim": "DDIM", "ddpm": "DDPM"}


@dataclass(frozen=True)
class CFGRequest:
    """All that the pictures depend on."""

    prompt: str = PROMPT
    guidance_scale: float = 3.0
    negative: str = ""
    steps: int = 20
    sampler: str = "euler"
    seed: int = 0
    n: int = 4

    @property
    def label(self) -> str:
        """What is shown, in one line: "w = 3.0 · 'a brown bear' · seed 0 · 20 Euler steps"."""
        prompt = f"'{self.prompt.strip()}'" if self.prompt.strip() else "no prompt (unconditional)"
        away = f" · away from '{self.negative.strip()}'" if self.negative.strip() else ""
        name = SAMPLERS.get(self.sampler, self.sampler)
        steps = f"{self.steps} {name} step{'s' if self.steps != 1 else ''}"
        return f"{self.scale} · {prompt}{away} · seed {self.seed} · {steps}"

    @property
    def scale(self) -> str:
        return f"w = {round(float(self.guidance_scale), 1) + 0.0:.1f}"  # the sum has no negative zero

    @property
    def how(self) -> dict:
        """What the pipeline takes by name, for pictures and for a strip alike."""
        return {"steps": self.steps, "sampler": self.sampler, "negative": self.negative, "seed": self.seed}

    @property
    def strip(self) -> CFGRequest:
        """The same for all requests that share a strip: w and the number of pictures do not matter."""
        return replace(self, guidance_scale=0.0, n=1)

    def moves_only_w(self, other: CFGRequest) -> bool:
        return replace(self, guidance_scale=0.0) == replace(other, guidance_scale=0.0)


@dataclass(frozen=True)
class CFGResult(Judged):
    """The pictures of a setting."""

    request: CFGRequest


class CFGExplorerCore:
    """Pictures, their encoding and the judge's opinion for one setting of the explorer.

    `pipeline`: a `diffusion.pipeline.TextToPicture`. `judge`: a `models.classifier.Judge`, or None.
    """

    def __init__(self, pipeline, judge=None):
        self.pipeline, self.judge = on_all_cores(pipeline), judge

    def close(self) -> None:
        """End the pipeline's threads; what is computed later starts new ones."""
        if isinstance(self.pipeline, ThreadedPipeline):
            self.pipeline.close()

    def compute(self, request: CFGRequest, should_stop: ShouldStop = None) -> CFGResult | None:
        """The pictures of a setting; None if `should_stop` said so on the way. Bad settings: ValueError."""
        with torch.inference_mode():  # of this thread: the mode does not carry over from another
            pictures = self.pipeline.generate(
                request.prompt,
                request.n,
                request.guidance_scale,
                **request.how,
                should_stop=should_stop,
            )
            if pictures is None:
                return None
            pictures = pictures.cpu()
            findings = self.findings(request.prompt, pictures)
        return CFGResult(
            pictures, encode_rows(pictures), findings, notes(request.prompt, request.negative), request=request
        )

    def grid(
        self, request: CFGRequest, scales: Sequence[float], n: int, should_stop: ShouldStop = None
    ) -> tuple[Tensor, Findings] | None:
        """The request's first n noises at every w of `scales`: pictures (scales · n, 3, H, W), w by w."""
        with torch.inference_mode():
            grid = self.pipeline.strip(
                request.prompt,
                scales,
                n,
                **request.how,
                should_stop=should_stop,
            )
            if grid is None:
                return None
            pictures = grid.flatten(0, 1).cpu()
            return pictures, self.findings(request.prompt, pictures)

    def strip(
        self, request: CFGRequest, scales: Sequence[float] = SCALES, should_stop: ShouldStop = None
    ) -> tuple[bytes, list[str]] | None:
        """The first picture's noise at every w of `scales`: JPEG bytes and a caption for each."""
        made = self.grid(request, scales, 1, should_stop)
        if made is None:
            return None
        pictures, findings = made
        side = (PANEL - GAP * (len(scales) - 1)) // len(scales)
        encoded = plots.to_jpeg(pictures, columns=len(scales), scale=side / pictures.shape[-1], gap=GAP)
        return encoded, [strip_caption(w, row) for w, row in zip(scales, findings or [()] * len(scales), strict=True)]

    def overview(self, request: CFGRequest, scales: Sequence[float], n: int):
        """n noises as a tiled picture, with a row for each w of `scales` and the share that the judge finds right."""
        made = self.grid(request, scales, n)
        assert made is not None, "nothing asks it to stop"
        pictures, findings = made
        labels = []
        for row, w in enumerate(scales):
            share = share_right(findings[row * n : (row + 1) * n])
            labels.append(f"w = {w:g}" + (f"\n{100 * share:.0f} % right" if not math.isnan(share) else ""))
        return plots.tile(pictures, columns=n, scale=2, row_labels=labels)

    def findings(self, prompt: str, pictures: Tensor) -> Findings:
        """What the judge sees of what the prompt names, picture by picture."""
        return find(self.judge, pictures, captions.named(prompt))


def strip_caption(w: float, findings: Sequence[Finding]) -> str:
    """'w = 3' and, if the prompt names something, how much of it the judge finds."""
    asked = [f for f in findings if f.named]
    return f"w = {w:g}" + (f"\n{sum(f.right for f in asked)} of {len(asked)} right" if asked else "")


def compose(values: dict[str, str]) -> str:
    """A prompt that names these attribute values, in the data set's own way of saying it."""
    fur, worn = values.get("fur", ""), values.get("accessory", "")
    text = " ".join(w for w in ("a", fur, values.get("species", "plush")) if w)
    if worn == "nothing":
        text += ", bare"
    elif worn:
        words = ("" if worn == "glasses" else "a", values.get("accessory_colour", ""), worn)
        text += " with " + " ".join(w for w in words if w)
    place = " ".join(values[name] for name in ("pattern", "background") if values.get(name))
    text += f" on a {place} background" if place else ""
    return text.replace("a elephant", "an elephant")
