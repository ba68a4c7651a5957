"""Pictures and what the judge sees in them: what the explorer and the generator share, without widgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from course_utils.datasets import captions
from course_utils.datasets.attributes import ATTRIBUTES, NAMES
from course_utils.diffusion.threaded import ThreadedPipeline, on_all_cores
from course_utils.evaluation.chunks import device_of
from course_utils.lab import plots

W_MIN, W_MAX = -2.0, 15.0  # the ends of the slider for w
FAST_STEPS = 2  # of a student: four follow hardly more captions, and a picture then takes about a third longer
# In CSS pixels, whatever the pictures' own size is; a picture that stands alone is shown larger.
GAP, TILE, ALONE, PER_ROW = 8, 192, 256, 4
PANEL = PER_ROW * TILE + (PER_ROW - 1) * GAP  # four tiles and what is between them


@dataclass(frozen=True)
class Finding:
    """One attribute of one picture: the value that was asked for ("" if it is open) and what the judge sees."""

    attribute: str
    named: str
    seen: str

    @property
    def right(self) -> bool:
        return self.named == self.seen


Findings = tuple[tuple[Finding, ...], ...]  # by picture


@dataclass(frozen=True)
class Judged:
    """Pictures (n, 3, H, W) in [-1, 1] and how to show them.

    `encoded`: JPEG bytes of each picture. `findings`: for each picture, the attributes that were asked for, or, if none
    was, all that the judge sees; empty without a judge. `notes`: what the reader should know about the setting.
    """

    pictures: Tensor
    encoded: tuple[bytes, ...]
    findings: Findings
    notes: tuple[str, ...]


class Drawing:
    """What the cores of both widgets share: pipelines by name, and the students distilled from some of them."""

    def __init__(self, pipelines: Mapping, students: Mapping):
        self.pipelines, self.students = (
            {name: on_all_cores(pipeline) for name, pipeline in some.items()} for some in (pipelines, students)
        )

    def close(self) -> None:
        """End the pipelines' threads; what is computed later starts new ones."""
        for pipeline in (*self.pipelines.values(), *self.students.values()):
            if isinstance(pipeline, ThreadedPipeline):
                pipeline.close()

    def can_be_fast(self, request: Any) -> bool:
        """Whether there is a student that knows the setting."""
        raise NotImplementedError

    def settled(self, request: Any) -> Any:
        """The request, exact where a student cannot draw it."""
        return replace(request, fast=request.fast and self.can_be_fast(request))


def encode(pictures: Tensor) -> tuple[bytes, ...]:
    """JPEG bytes of each picture at its own size: the browser enlarges it, and a picture that stays is not sent again."""
    return tuple(plots.to_jpeg(picture, scale=1) for picture in pictures)


def say_w(w: float) -> str:
    """'w = 3', 'w = -0.5': to two decimal places, and a zero has no sign."""
    return f"w = {round(float(w), 2) + 0.0:g}"  # -0.0 + 0.0 is 0.0


def find(judge, pictures: Tensor, wanted: Tensor) -> Findings:
    """What a `models.classifier.Judge` sees of the `wanted` attribute values (6,), where -1 leaves one open."""
    if judge is None:
        return ()
    device = device_of(judge)
    seen = judge.predict(pictures.to(device)).tolist()
    values = wanted.tolist()
    columns = [i for i, value in enumerate(values) if value >= 0] or range(len(NAMES))
    return tuple(
        tuple(Finding(NAMES[i], _value(i, values[i]), _value(i, row[i]) or "nothing") for i in columns) for row in seen
    )


def share_right(findings: Iterable[Iterable[Finding]]) -> float:
    """Of all that was asked for, the share that the judge finds; NaN if nothing was."""
    right = [f.right for picture in findings for f in picture if f.named]
    return sum(right) / len(right) if right else float("nan")


def notes(*texts: str) -> tuple[str, ...]:
    """What to tell the reader about words that the data set does not have."""
    said = []
    for text in texts:
        unknown = list(dict.fromkeys(captions.unknown_words(text)))
        if unknown:
            words = " or ".join(f'"{word}"' for word in unknown)
            known = ", ".join(v for values in ATTRIBUTES.values() for v in values if v != "nothing")
            said.append(f"the data set has no word {words}; words it knows: {known}")
    return tuple(said)


def _value(column: int, index: int) -> str:
    return ATTRIBUTES[NAMES[column]][index] if index >= 0 else ""
