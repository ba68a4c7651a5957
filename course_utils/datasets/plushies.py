"""The Plushies: captioned plush animals that the course draws itself. Nothing is downloaded.

`attributes` says what a plushie can be, `drawing` draws it, `captions` puts it into words; here the three are a
data set.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.datasets.attributes import NAMES, sample_attributes
from course_utils.datasets.captions import caption
from course_utils.datasets.drawing import render
from course_utils.datasets.orders import check_size
from course_utils.images import to_float


@dataclass
class PlushieTensors:
    """A split in memory: pictures (N, 3, H, W) uint8, attributes (N, 6), one caption each."""

    pictures: Tensor
    attributes: Tensor
    captions: list[str]

    def __len__(self) -> int:
        return len(self.pictures)


class Plushies(torch.utils.data.Dataset):
    """n captioned plushies of a split, drawn when asked for.

    `ds[i]` → {"picture": float32 (3, size, size) in [-1, 1], "attributes": (6,) int64, "caption": str}.
    Splits: train, val and test share their combinations; heldout has only those that the others never show.
    128 is the size that the course shows and ships models for; models that are trained live take 64.
    """

    def __init__(self, n: int, split: str = "train", size: int = 128, seed: int = 0):
        self.size = check_size(size)
        self.attributes, self.seeds = sample_attributes(n, split, seed)

    def __len__(self) -> int:
        return len(self.seeds)

    def caption(self, i: int, variant: int = 0) -> str:
        """Caption number `variant` of picture i: other words, other omissions, the same truth."""
        return caption(self.attributes[i], int(self.seeds[i]) + 7919 * variant)

    def __getitem__(self, i: int) -> dict[str, Tensor | str]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is out of range for {len(self)} plushies")
        i %= len(self)
        picture = to_float(render(self.attributes[i : i + 1], self.seeds[i : i + 1], self.size)[0])
        return {"picture": picture, "attributes": self.attributes[i], "caption": self.caption(i)}

    def plain(self) -> Plushies:
        """The same animals with nothing on, before walls without a pattern: all that is left is what a few numbers can say."""
        few = copy(self)
        few.attributes = self.attributes.clone()
        for name, value in (("accessory", 0), ("accessory_colour", -1), ("pattern", 0)):
            few.attributes[:, NAMES.index(name)] = value
        return few

    def in_memory(self) -> PlushieTensors:
        """Draw all pictures at once (on two cores about 300 a second at 128 px)."""
        captions = [self.caption(i) for i in range(len(self))]
        return PlushieTensors(render(self.attributes, self.seeds, self.size), self.attributes, captions)
