"""The CFG explorer without widgets: a setting in; pictures, encoded, and the judge's opinion out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_utils.datasets import captions
from course_utils.datasets.attributes import ATTRIBUTES, NAMES
from course_utils.diffusion.threaded import on_all_cores
from course_utils.lab import plots

PROMPT = "a brown bear with a red scarf on a striped sky background"
SCALES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
SAMPLERS = {"euler": "Euler", "heun": "Heun", "ddim": "DDIM", "ddpm": "DDPM"}
GAP, TILE, PER_ROW = 8, 192, 4
PANEL = PER_ROW * TILE + (PER_ROW - 1) * GAP  # pixels: four tiles and what is between them


@dataclass(frozen=True)
class Request:
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
        return f"w = {float(self.guidance_scale):.1f} · {self.label_but_w}"

    @property
    def label_but_w(self) -> str:
        prompt = f"'{self.prompt.strip()}'" if self.prompt.strip() else "no prompt (unconditional)"
        away = f" · away from '{self.negative.strip()}'" if self.negative.strip() else ""
        name = SAMPLERS.get(self.sampler, self.sampler)
        return f"{prompt}{away} · seed {self.seed} · {self.steps} {name} step{'s' if self.steps != 1 else ''}"

    @property
    def strip(self) -> Request:
        """The same for all requests that share a strip: w and the number of pictures do not matter."""
        return replace(self, guidance_scale=0.0, n=1)

    def moves_only_w(self, other: Request) -> bool:
        return replace(self, guidance_scale=0.0) == replace(other, guidance_scale=0.0)


@dataclass(frozen=True)
class Finding:
    """One attribute of one picture: what the prompt names ("" if it is open) and what the judge sees."""

    attribute: str
    named: str
    seen: str

    @property
    def right(self) -> bool:
        return self.named == self.seen

    def __str__(self) -> str:
        if not self.named:
            return self.seen
        return f"✓ {self.named}" if self.right else f"✗ {self.named} (judge sees {self.seen})"


@dataclass(frozen=True)
class Result:
    """Pictures (n, 3, H, W) in [-1, 1] and how to show them.

    `encoded`: JPEG bytes, one for each row of up to four pictures. `findings`: for each picture, the
    attributes that the prompt names, or, if it names none, all that the judge sees; empty without a judge.
    `notes`: what the reader should know about the prompt.
    """

    request: Request
    pictures: Tensor
    encoded: tuple[bytes, ...]
    findings: tuple[tuple[Finding, ...], ...]
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.request.label

    @property
    def adherence(self) -> list[str]:
        """One line a picture: '✓ bear ✗ hat (judge sees scarf)'."""
        return ["  ".join(str(f) for f in row) for row in self.findings]


class CFGExplorerCore:
    """Pictures, their encoding and the judge's opinion for one setting of the explorer.

    `pipeline`: a `diffusion.pipeline.TextToPicture`. `judge`: a `models.classifier.Judge`, or None.
    """

    def __init__(self, pipeline, judge=None):
        self.pipeline, self.judge = on_all_cores(pipeline), judge

    def compute(
        self,
        prompt: str = PROMPT,
        guidance_scale: float = 3.0,
        negative: str = "",
        steps: int = 20,
        sampler: str = "euler",
        seed: int = 0,
        n: int = 4,
        should_stop: Callable[[], bool] | None = None,
    ) -> Result | None:
        """The pictures of a setting; None if `should_stop` said so on the way. Bad settings: ValueError."""
        request = Request(prompt, guidance_scale, negative, steps, sampler, seed, n)
        with torch.inference_mode():  # of this thread: the mode does not carry over from another
            pictures = self.pipeline.generate(
                prompt,
                n,
                guidance_scale,
                steps,
                sampler,
                negative=negative,
                seed=seed,
                should_stop=should_stop,
            )
            if pictures is None:
                return None
            pictures = pictures.cpu()
            findings = self.findings(prompt, pictures)
        scale = 4 if n == 1 else 3
        rows = pictures.split(PER_ROW)
        encoded = tuple(plots.to_jpeg(row, columns=len(row), scale=scale, gap=GAP) for row in rows)
        return Result(request, pictures, encoded, findings, notes(prompt, negative))

    def strip(
        self,
        request: Request,
        scales: Sequence[float] = SCALES,
        should_stop: Callable[[], bool] | None = None,
    ) -> tuple[bytes, list[str]] | None:
        """The first picture's noise at every w of `scales`: JPEG bytes and a caption for each."""
        with torch.inference_mode():
            pictures = self.pipeline.strip(
                request.prompt, scales, 1, request.steps, request.sampler,
                negative=request.negative, seed=request.seed, should_stop=should_stop,
            )  # fmt: skip
            if pictures is None:
                return None
            pictures = pictures[:, 0].cpu()
            findings = self.findings(request.prompt, pictures)
        side = (PANEL - GAP * (len(scales) - 1)) // len(scales)
        encoded = plots.to_jpeg(pictures, columns=len(scales), scale=side / pictures.shape[-1], gap=GAP)
        return encoded, [strip_caption(w, row) for w, row in zip(scales, findings or [()] * len(scales), strict=True)]

    def findings(self, prompt: str, pictures: Tensor) -> tuple[tuple[Finding, ...], ...]:
        """What the judge sees of what the prompt names, picture by picture."""
        if self.judge is None:
            return ()
        device = next(self.judge.parameters()).device if hasattr(self.judge, "parameters") else "cpu"
        seen = self.judge.predict(pictures.to(device)).tolist()
        named = captions.named(prompt).tolist()
        columns = [i for i, v in enumerate(named) if v >= 0] or range(len(NAMES))
        return tuple(
            tuple(Finding(NAMES[i], _value(i, named[i]), _value(i, row[i]) or "nothing") for i in columns)
            for row in seen
        )


def _value(column: int, index: int) -> str:
    return ATTRIBUTES[NAMES[column]][index] if index >= 0 else ""


def strip_caption(w: float, findings: Sequence[Finding]) -> str:
    """'w = 3' and, if the prompt names something, how much of it the judge finds."""
    asked = [f for f in findings if f.named]
    return f"w = {w:g}" + (f"\n{sum(f.right for f in asked)} of {len(asked)} right" if asked else "")


def notes(prompt: str, negative: str = "") -> tuple[str, ...]:
    """What to tell the reader about words that the data set does not have, and about the empty prompt."""
    said = []
    for text in (prompt, negative):
        unknown = list(dict.fromkeys(captions.unknown_words(text)))
        if unknown:
            words = " or ".join(f'"{word}"' for word in unknown)
            known = ", ".join(v for values in ATTRIBUTES.values() for v in values if v != "nothing")
            said.append(f"the data set has no word {words}; words it knows: {known}")
    if not prompt.strip():
        said.append(
            "An empty prompt is the null condition: "
            + ("w moves away from the negative prompt." if negative.strip() else "the same picture at every w.")
        )
    return tuple(said)


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
