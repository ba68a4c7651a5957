"""Pictures and what the judge sees in them: what the explorer and the generator share, without widgets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from course_utils.datasets import captions
from course_utils.datasets.attributes import ATTRIBUTES, NAMES
from course_utils.evaluation.chunks import device_of
from course_utils.lab import plots

W_MIN, W_MAX = 0.0, 15.0  # the ends of the slider for w
GAP, TILE, PER_ROW = 8, 192, 4
PANEL = PER_ROW * TILE + (PER_ROW - 1) * GAP  # pixels: four tiles and what is between them


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

    `encoded`: JPEG bytes, one for each row of up to four pictures. `findings`: for each picture, the
    attributes that were asked for, or, if none was, all that the judge sees; empty without a judge.
    `notes`: what the reader should know about the prompt.
    """

    pictures: Tensor
    encoded: tuple[bytes, ...]
    findings: Findings
    notes: tuple[str, ...]


def encode_rows(pictures: Tensor) -> tuple[bytes, ...]:
    """JPEG bytes, one for each row of up to four pictures; a single picture is shown larger."""
    scale = 4 if len(pictures) == 1 else 3
    return tuple(plots.to_jpeg(row, columns=len(row), scale=scale, gap=GAP) for row in pictures.split(PER_ROW))


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


def _value(column: int, index: int) -> str:
    return ATTRIBUTES[NAMES[column]][index] if index >= 0 else ""
