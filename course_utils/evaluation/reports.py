"""What benchmarks have in common: real pictures to compare with, prompts, and numbers to write down and read again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from course_utils import runtime
from course_utils.checkpoints import load
from course_utils.datasets.attributes import NAMES
from course_utils.datasets.captions import named
from course_utils.datasets.plushies import Plushies
from course_utils.evaluation.intervals import share_interval
from course_utils.evaluation.judge import adherence
from course_utils.evaluation.kernel import (
    StandardFeatures,
    kernel_distance,
    kernel_interval,
    real_against_real,
    yardstick,
)
from course_utils.images import to_float


@lru_cache
def pictures(n: int, split: str = "test") -> tuple[Tensor, Tensor, list[str]]:
    """n real pictures of a split: floats in [-1, 1], attributes, captions."""
    data = Plushies(n, split).in_memory()
    return to_float(data.pictures), data.attributes, data.captions


def distance(seen: Tensor, real: Tensor) -> dict:
    """The kernel distance of two sets of features, with the ends of its 95 % interval."""
    low, high = kernel_interval(seen, real)
    return {"value": kernel_distance(seen, real), "low": low, "high": high}


class Distances:
    """Kernel distances to n real validation pictures, whose captions nothing here is drawn for."""

    def __init__(self, n: int):
        self.features = StandardFeatures(load("judge").features, pictures(n, "train")[0])
        self.real = self.features(pictures(n, "val")[0])

    def of(self, x: Tensor) -> dict:
        return distance(self.features(x), self.real)

    def of_real(self, m: int) -> dict:
        """m real pictures against as many as `of` compares with: the mean, and where 95 % of the draws lie."""
        pool = torch.cat([self.real, self.features(pictures(m)[0])])
        found = real_against_real(pool, m, len(self.real), draws=200)
        return {"value": float(found.mean()), "low": float(found.quantile(0.025)), "high": float(found.quantile(0.975))}


class Scores:
    """How pictures that are drawn for n test captions follow them, and how near they are to real ones of the same side.

    `texts` are the captions, `pictures` (n, 3, side, side) the real pictures that they come from.
    """

    def __init__(self, n: int, side: int, real: int = 1024):
        test, self.judge = Plushies(n, "test", side), load("judge")
        self.texts, self.pictures = [test.caption(i) for i in range(n)], to_float(test.in_memory().pictures)
        self.asked = torch.stack([named(text) for text in self.texts])
        self.features, self.real = yardstick(self.judge.features, real, side)

    def __call__(self, x: Tensor) -> dict:
        """A picture for each caption: the share that follows it in full, and the kernel distance, with 95 % intervals."""
        found, seen = adherence(self.judge, x, self.asked), self.features(x)
        return {
            "all_right": found.mean_all_right,
            "all_right_interval": share_interval(found.mean_all_right, len(x)),
            "attributes": found.mean_share,
            "kernel_distance": kernel_distance(seen, self.real),
            "kernel_interval": kernel_interval(seen, self.real),
        }


def leaving_open(captions: Iterable[str]) -> list[str]:
    """Those captions, each once, that leave an attribute open.

    A colour alone is not enough: where a picture shows no accessory, it has none.
    """
    others = [i for i, name in enumerate(NAMES) if name != "accessory_colour"]
    return [text for text in dict.fromkeys(captions) if bool((named(text)[others] < 0).any())]


def measured(name: str) -> dict:
    """The numbers that a benchmark has written to data/results/NAME.json."""
    folder = runtime.data_dir() / "results"
    if name not in (known := sorted(file.stem for file in folder.glob("*.json"))):
        raise ValueError(f"name: got {name!r}; expected one of {', '.join(known)}")
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def rounded(value):
    """Numbers to four significant digits, NaN to null, for a file that people read."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.4g}") if np.isfinite(value) else None
    return value
