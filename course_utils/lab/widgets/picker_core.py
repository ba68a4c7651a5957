"""The plushie picker without widgets: attributes in words and a seed in; the picture, captions and the split out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.datasets import captions
from course_utils.datasets.attributes import ATTRIBUTES, NAMES, held_out_combinations
from course_utils.datasets.drawing import render
from course_utils.lab import plots
from course_utils.lab.widgets.latest import ShouldStop

SIDE = 256  # pixels on the screen, whatever the picture's own size
FIRST = {
    "species": "bear",
    "fur": "brown",
    "accessory": "hat",
    "accessory_colour": "red",
    "background": "mint",
    "pattern": "dotted",
}


@dataclass(frozen=True)
class PickerRequest:
    """All that the picture and its captions depend on. `values`: one word for each attribute, in `NAMES`' order."""

    values: tuple[str, ...] = tuple(FIRST[name] for name in NAMES)
    seed: int = 0
    size: int = 128


@dataclass(frozen=True)
class Picked:
    """One plushie: `picture` (3, size, size) uint8, `attributes` (6,) with -1 for the colour of nothing, `encoded`:
    PNG bytes, `captions`: different true captions. `held_out`: no training picture shows this combination."""

    picture: Tensor
    attributes: Tensor
    encoded: bytes
    captions: tuple[str, ...]
    held_out: bool


def pick(values: Mapping[str, str], seed: int = 0, size: int = 128, n_captions: int = 4) -> Picked:
    """Draw the plushie with these attribute values ({"species": "cat", ...}, all six) and write captions of it.

    Raises ValueError for an attribute that is missing, or a value that it does not have.
    """
    row = []
    for name in NAMES:
        if values.get(name) not in ATTRIBUTES[name]:
            expected = ", ".join(ATTRIBUTES[name])
            raise ValueError(f"{name}: got {values.get(name)!r}; expected one of {expected}")
        row.append(ATTRIBUTES[name].index(values[name]))
    if values["accessory"] == "nothing":
        row[NAMES.index("accessory_colour")] = -1
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: got {seed!r}; expected a whole number, 0 or more")
    attributes = torch.tensor(row)
    picture = render(attributes[None], torch.tensor([seed]), size)[0]
    texts = [captions.full_caption(attributes)]
    variant = 0
    while len(texts) < n_captions:
        text = captions.caption(attributes, 1000 * seed + variant)
        texts += [text] if text not in texts else []
        variant += 1
    encoded = plots.to_png(picture[None], scale=SIDE / size)
    return Picked(picture, attributes, encoded, tuple(texts), tuple(row[:3]) in held_out_combinations())


class PickerCore:
    """`pick` for the widget."""

    def compute(self, request: PickerRequest, should_stop: ShouldStop = None) -> Picked:
        """The plushie that was asked for. Quick, so `should_stop` is not asked."""
        return pick(dict(zip(NAMES, request.values, strict=True)), request.seed, request.size)
