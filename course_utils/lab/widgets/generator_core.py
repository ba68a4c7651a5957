"""The generator without widgets: words, a reference picture or both in; pictures and the judge's opinion out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_utils.datasets import captions
from course_utils.datasets.attributes import NAMES
from course_utils.diffusion.guidance_methods import methods
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.samplers import time_grid
from course_utils.images import check_pictures, looked_at
from course_utils.lab import plots
from course_utils.lab.widgets.judged import (
    FAST_STEPS,
    W_MAX,
    Drawing,
    Findings,
    Judged,
    encode,
    find,
    notes,
    say_w,
    share_right,
)
from course_utils.lab.widgets.latest import ShouldStop

METHODS = (*methods(RectifiedFlow(), time_grid(1)), "autoguidance")
DECODERS = ("sharp", "soft")


@dataclass(frozen=True)
class GeneratorRequest:
    """All that the pictures depend on. `reference`: which of the reference pictures, from 1; 0 for none. `share`: how
    much of a mixture is the picture's."""

    prompt: str = "a white rabbit with a purple scarf on a striped mint background"
    reference: int = 0
    share: float = 0.5
    guidance_scale: float = 3.0
    method: str = "CFG"
    steps: int = 20
    seed: int = 0
    decoder: str = "sharp"
    n: int = 4
    fast: bool = False

    @property
    def source(self) -> str:
        """Where the condition comes from, in words."""
        text = f"'{self.prompt.strip()}'" if self.prompt.strip() else ""
        picture = f"picture {self.reference}" if self.reference else ""
        if text and picture:
            return f"{text} {1 - self.share:.0%} + {picture} {self.share:.0%}"
        return text or picture or "nothing (unconditional)"

    @property
    def scale(self) -> str:
        """The guidance scale as its method means it: CFG++'s λ goes from 0 to 1 while w goes from 0 to 15."""
        if self.method == "CFG++":
            return f"λ = {self.guidance_scale / W_MAX:.2f}"
        return say_w(self.guidance_scale)

    @property
    def label(self) -> str:
        """What is shown, in one line."""
        steps = f"{FAST_STEPS} fast steps" if self.fast else f"{self.steps} steps"
        return f"{self.source} · {self.method}, {self.scale} · {steps} · seed {self.seed} · {self.decoder} decoder"

    @property
    def draft(self) -> GeneratorRequest:
        """The same by the student."""
        return replace(self, fast=True)

    def dragged_from(self, other: GeneratorRequest) -> bool:
        """Whether the two differ in w or the mixture alone, however they are drawn."""
        return self.still() == other.still()

    def still(self) -> GeneratorRequest:
        """What stays the same while a slider is dragged."""
        return replace(self, guidance_scale=0.0, share=0.0, fast=False)


@dataclass(frozen=True)
class GeneratorResult(Judged):
    """The pictures of a setting. What was asked for is what the prompt names, what the reference picture shows, or in a
    mixture the prompt first. `drawn`: the request, exact where a student could not draw it."""

    request: GeneratorRequest
    drawn: GeneratorRequest

    @property
    def share_right(self) -> float:
        """Of all that was asked for, the share that the judge finds; NaN if nothing was."""
        return share_right(self.findings)


class GeneratorCore(Drawing):
    """Pictures and the judge's opinion for one setting of the generator.

    pipelines: a `TextToPicture` for each decoder, {"sharp": ..., "soft": ...}; a single one will do.
    references: pictures (N, 3, H, W) in [-1, 1] to choose from, with their attributes (N, 6); as large as what the
        pipelines draw, or a multiple of it.
    weak: a weaker denoiser, for autoguidance.
    students: a `FastPipeline` for some or all of the decoders, by the same names.
    """

    def __init__(self, pipelines: Mapping, judge, references: Tensor, attributes: Tensor, weak=None, students=None):
        check_pictures(references, "references")
        if attributes.shape != (len(references), len(NAMES)):
            raise ValueError(f"attributes: expected ({len(references)}, {len(NAMES)}), got {tuple(attributes.shape)}")
        super().__init__(pipelines, students or {})
        self.judge, self.references, self.attributes, self.weak = judge, references, attributes, weak

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of guidance that can be asked for: autoguidance needs a weaker model."""
        return METHODS if self.weak is not None else METHODS[:-1]

    def can_be_fast(self, request: GeneratorRequest) -> bool:
        """Whether there is a student that knows the setting: plain guidance, from w = 0 up."""
        return request.method == "CFG" and request.guidance_scale >= 0 and request.decoder in self.students

    def compute(self, request: GeneratorRequest, should_stop: ShouldStop = None) -> GeneratorResult | None:
        """The pictures of a setting; None if `should_stop` said so on the way. Bad settings: ValueError."""
        for name, value, known in (
            ("method", request.method, self.methods),
            ("decoder", request.decoder, tuple(self.pipelines)),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}")
        if request.reference not in range(len(self.references) + 1):
            raise ValueError(f"reference is {request.reference!r}; expected 0 for none, or 1 to {len(self.references)}")
        pipeline, i = self.pipelines[request.decoder], request.reference - 1
        drawn = self.settled(request)
        guidance = methods(pipeline.path, time_grid(request.steps), self.weak)[request.method]
        w = request.guidance_scale / (W_MAX if request.method == "CFG++" else 1)
        with torch.inference_mode():  # of this thread: the mode does not carry over from another
            reference = self.references[i : i + 1] if request.reference else None
            cond = pipeline.condition(request.prompt, reference, request.share)
            drawing = self.students[request.decoder] if drawn.fast else pipeline
            pictures = drawing.generate(
                cond.expand(request.n, -1),
                None,
                w,
                FAST_STEPS if drawn.fast else request.steps,
                seed=request.seed,
                should_stop=should_stop,
                guidance=guidance,
            )
            if pictures is None:
                return None
            pictures = pictures.cpu()
            findings = self.findings(request, pictures)
        said = notes(request.prompt)
        if request.fast and not drawn.fast:
            said = (*said, "exact: the fast model knows plain CFG only")
        return GeneratorResult(pictures, encode(pictures), findings, said, request=request, drawn=drawn)

    def findings(self, request: GeneratorRequest, pictures: Tensor) -> Findings:
        """What the judge sees of what was asked for, picture by picture."""
        wanted = captions.named(request.prompt)
        if request.reference:
            shown = self.attributes[request.reference - 1]
            if not request.prompt.strip() or request.share == 1:
                wanted = shown
            elif request.share > 0:
                wanted = torch.where(wanted >= 0, wanted, shown)
        return find(self.judge, pictures, wanted)

    def overview(self, request: GeneratorRequest, shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)):
        """A tiled picture: the reference, and the same noises from the prompt alone to the picture alone."""
        request = replace(request, reference=request.reference or 1)
        made = [self.compute(replace(request, share=share)) for share in shares]
        rows = [result.pictures for result in made if result]  # all, as nothing asks them to stop
        reference = looked_at(self.references[request.reference - 1][None].cpu(), rows[0].shape[-1], "references")
        shown = torch.cat([reference, *(row[:1] for row in rows)])
        more = torch.cat([torch.ones_like(shown[:1]), *(row[1:2] for row in rows)])
        labels = ["reference", *(f"{share:.0%} picture" for share in shares)]
        return plots.tile(torch.cat([shown, more]), columns=len(labels), scale=plots.zoom(shown), column_labels=labels)
