"""The CFG explorer without widgets: a setting in; pictures, encoded, and the judge's opinion out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_utils.datasets import captions
from course_utils.lab import plots
from course_utils.lab.widgets.judged import (
    FAST_STEPS,
    Drawing,
    Finding,
    Findings,
    Judged,
    encode,
    find,
    notes,
    say_w,
    share_right,
)
from course_utils.lab.widgets.latest import ShouldStop

PROMPT = "a cat"  # which leaves most open: guidance has something to win, and variety something to lose
SCALES = (0.0, 1.0, 3.0, 8.0, 15.0)
SAMPLERS = {"euler": "Euler", "heun": "Heun", "ddim": "DDIM", "ddpm": "DDPM"}
# What the line ε = ε₀ + w (ε₁ − ε₀) does with w below 0, at 0, between, at 1 and above, if there are (a prompt, a negative
# prompt). ε₀ is the negative prompt's prediction, or the unconditional one; ε₁ the prompt's, or the unconditional one.
MEANINGS = {
    (True, False): (
        "away from the prompt",
        "unconditional: the prompt has no say",
        "between unconditional and conditional",
        "conditional: the prompt without guidance",
        "guided: towards the prompt, further than conditional",
    ),
    (True, True): (
        "away from the prompt, towards the negative prompt and further",
        "the negative prompt alone: the prompt has no say",
        "between the negative prompt and the prompt",
        "conditional: the negative prompt has no say",
        "guided: towards the prompt, away from the negative prompt",
    ),
    (False, True): (
        "towards the negative prompt and further",
        "the negative prompt alone",
        "between the negative prompt and unconditional",
        "unconditional: the negative prompt has no say",
        "away from the negative prompt",
    ),
    (False, False): ("no prompt: unconditional, the same picture at every w",) * 5,
}


@dataclass(frozen=True)
class CFGRequest:
    """All that the pictures depend on. `model`: which of the pipelines, by its name; "" is one without a name.

    Steps: 8 do as well as 20 up to w = 8, but fly apart at 15; 16 do up to there (`benchmarks/steps.py`). `fast`: by the
    model's student, if it has one that can, in `FAST_STEPS` steps of one forward each.
    """

    prompt: str = PROMPT
    guidance_scale: float = 3.0
    negative: str = ""
    steps: int = 16
    sampler: str = "euler"
    seed: int = 0
    n: int = 4
    model: str = ""
    fast: bool = False

    @property
    def label(self) -> str:
        """What is shown, in one line: "w = 3 · 'a brown bear' · seed 0 · 16 Euler steps · model: yours"."""
        prompt = f"'{self.prompt.strip()}'" if self.prompt.strip() else "no prompt (unconditional)"
        away = f" · negative '{self.negative.strip()}'" if self.negative.strip() else ""
        name = SAMPLERS.get(self.sampler, self.sampler)
        steps = f"{self.steps} {name} step{'s' if self.steps != 1 else ''}"
        steps = f"{FAST_STEPS} fast steps" if self.fast else steps
        model = f" · model: {self.model}" if self.model else ""
        return f"{self.scale} · {prompt}{away} · seed {self.seed} · {steps}{model}"

    @property
    def scale(self) -> str:
        return say_w(self.guidance_scale)

    @property
    def meaning(self) -> str:
        """What this w does, in words: "away from the prompt"."""
        w = self.guidance_scale
        place = 0 if w < 0 else 1 if w == 0 else 2 if w < 1 else 3 if w == 1 else 4
        return MEANINGS[bool(self.prompt.strip()), bool(self.negative.strip())][place]

    @property
    def how(self) -> dict:
        """What the pipeline takes by name, for pictures and for a strip alike."""
        return {
            "steps": FAST_STEPS if self.fast else self.steps,
            "sampler": self.sampler,
            "negative": self.negative,
            "seed": self.seed,
        }

    @property
    def strip(self) -> CFGRequest:
        """The same for all requests that share a strip: w and the number of pictures do not matter."""
        return replace(self, guidance_scale=0.0, n=1)

    @property
    def draft(self) -> CFGRequest:
        """The same by the student."""
        return replace(self, fast=True)

    def dragged_from(self, other: CFGRequest) -> bool:
        """Whether the two differ in w alone, however they are drawn."""
        return replace(self.draft, guidance_scale=0.0) == replace(other.draft, guidance_scale=0.0)


@dataclass(frozen=True)
class CFGResult(Judged):
    """The pictures of a setting, and how they were drawn: exactly, if a student could not."""

    request: CFGRequest
    drawn: CFGRequest


class CFGExplorerCore(Drawing):
    """Pictures, their encoding and the judge's opinion for one setting of the explorer.

    `pipelines`: `diffusion.pipeline.TextToPicture`s by name, {"the course's": ..., "yours": ...}; a single one needs no
    name. `judge`: a `models.classifier.Judge`, or None. `students`: `diffusion.few_steps.FastPipeline`s distilled from some
    of them, by the same names.
    """

    def __init__(self, pipelines, judge=None, students=None):
        named, fast = (x if isinstance(x, Mapping) else {"": x} for x in (pipelines, students or {}))
        if not named:
            raise ValueError("pipelines: got none; expected one or more")
        if unknown := set(fast) - set(named):
            raise ValueError(
                f"students: got one of {', '.join(map(repr, sorted(unknown)))}; expected names of pipelines"
            )
        super().__init__(named, fast)
        self.judge = judge

    def pipeline(self, model: str):
        """The pipeline of this name; an unknown one is a ValueError."""
        if model not in self.pipelines:
            raise ValueError(f"model is {model!r}; expected one of {', '.join(map(repr, self.pipelines))}")
        return self.pipelines[model]

    def can_be_fast(self, request: CFGRequest) -> bool:
        """Whether the model has a student, and the setting is one that a student knows."""
        plain = request.sampler == "euler" and not request.negative.strip() and request.guidance_scale >= 0
        return plain and request.model in self.students

    def drawing(self, request: CFGRequest):
        """The pipeline that draws a request."""
        exact = self.pipeline(request.model)
        return self.students[request.model] if request.fast else exact

    def compute(self, request: CFGRequest, should_stop: ShouldStop = None) -> CFGResult | None:
        """The pictures of a setting; None if `should_stop` said so on the way. Bad settings: ValueError."""
        drawn = self.settled(request)
        with torch.inference_mode():  # of this thread: the mode does not carry over from another
            pictures = self.drawing(drawn).generate(
                request.prompt,
                request.n,
                request.guidance_scale,
                **drawn.how,
                should_stop=should_stop,
            )
            if pictures is None:
                return None
            pictures = pictures.cpu()
            findings = self.findings(request.prompt, pictures)
        said = notes(request.prompt, request.negative)
        if request.fast and not drawn.fast:
            said = (*said, "exact: the fast model knows Euler's sampler, w from 0 up and no negative prompt")
        return CFGResult(pictures, encode(pictures), findings, said, request=request, drawn=drawn)

    def grid(
        self, request: CFGRequest, scales: Sequence[float], n: int, should_stop: ShouldStop = None
    ) -> tuple[Tensor, Findings] | None:
        """The request's first n noises at every w of `scales`: pictures (scales · n, 3, H, W), w by w."""
        with torch.inference_mode():
            drawn = self.settled(replace(request, guidance_scale=min(scales)))
            grid = self.drawing(drawn).strip(
                request.prompt,
                scales,
                n,
                **drawn.how,
                should_stop=should_stop,
            )
            if grid is None:
                return None
            pictures = grid.flatten(0, 1).cpu()
            return pictures, self.findings(request.prompt, pictures)

    def strip(
        self, request: CFGRequest, scales: Sequence[float] = SCALES, should_stop: ShouldStop = None
    ) -> tuple[tuple[bytes, ...], list[str]] | None:
        """The first picture's noise at every w of `scales`: JPEG bytes and a caption for each."""
        made = self.grid(request, scales, 1, should_stop)
        if made is None:
            return None
        pictures, findings = made
        return encode(pictures), [
            strip_caption(w, row) for w, row in zip(scales, findings or [()] * len(scales), strict=True)
        ]

    def overview(self, request: CFGRequest, scales: Sequence[float], n: int):
        """n noises as a tiled picture, with a row for each w of `scales` and the share that the judge finds right."""
        made = self.grid(request, scales, n)
        assert made is not None, "nothing asks it to stop"
        pictures, findings = made
        labels = []
        for row, w in enumerate(scales):
            share = share_right(findings[row * n : (row + 1) * n])
            labels.append(say_w(w) + (f"\n{100 * share:.0f} % right" if not math.isnan(share) else ""))
        return plots.tile(pictures, columns=n, scale=plots.zoom(pictures), row_labels=labels)

    def findings(self, prompt: str, pictures: Tensor) -> Findings:
        """What the judge sees of what the prompt names, picture by picture."""
        return find(self.judge, pictures, captions.named(prompt))


def strip_caption(w: float, findings: Sequence[Finding]) -> str:
    """'w = 3' and, if the prompt names something, how much of it the judge finds."""
    asked = [f for f in findings if f.named]
    return say_w(w) + (f"\n{sum(f.right for f in asked)} of {len(asked)} right" if asked else "")


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
