"""What the judge says of generated pictures: do they follow the caption, and do they differ where they may?

A caption names some attributes and leaves the others open. *Adherence* looks at the first kind, *diversity*
at the second, so guidance can raise one and lower the other. `named` rows are those of
`datasets.captions.named`: six columns in the order of `ATTRIBUTES`, -1 where the caption names nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from course_utils.datasets.attributes import ATTRIBUTES, NAMES
from course_utils.evaluation.chunks import device_of, in_chunks
from course_utils.images import check_pictures

ACCESSORY, COLOUR = NAMES.index("accessory"), NAMES.index("accessory_colour")
NOTHING = ATTRIBUTES["accessory"].index("nothing")


class Predicts(Protocol):
    """All that this module needs of a judge; `models.classifier.Judge` has it."""

    def predict(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Adherence:
    """How well N pictures follow what their captions name.

    `share` (N,): the share of the named attributes that the judge finds; NaN where a caption names nothing.
    `all_right` (N,): whether it finds all of them (true where a caption names nothing).
    `asked` (N,): how many attributes each caption names.
    `per_attribute`: for each attribute that some caption names, the share of those pictures that show it.
    """

    share: Tensor
    all_right: Tensor
    asked: Tensor
    per_attribute: dict[str, float]

    @property
    def mean_share(self) -> float:
        """Mean of `share` over the captions that name something."""
        return float(self.share[self.asked > 0].mean())

    @property
    def mean_all_right(self) -> float:
        """Share of pictures with everything right, among the captions that name something."""
        return float(self.all_right[self.asked > 0].float().mean())


def check_named(named: Tensor, n: int) -> Tensor:
    """(n, 6) rows of named attributes, or a ValueError that says what came instead."""
    if not isinstance(named, Tensor) or named.shape != (n, len(NAMES)):
        came = tuple(getattr(named, "shape", ())) or type(named).__name__
        raise ValueError(f"named: got {came}; expected {n} rows of {len(NAMES)} attributes, one per picture")
    named = named.long().cpu()
    for column, name in enumerate(NAMES):
        low, high = (int(v) for v in named[:, column].aminmax()) if n else (0, 0)
        if low < -1 or high >= len(ATTRIBUTES[name]):
            bad = low if low < -1 else high
            raise ValueError(f"named: got {bad} for {name}; expected -1 (open) to {len(ATTRIBUTES[name]) - 1}")
    return named


def predictions(judge: Predicts, pictures: Tensor) -> Tensor:
    """What the judge sees in pictures (N, 3, H, W) in [-1, 1]: (N, 6) int64 on the CPU."""
    check_pictures(pictures, "pictures")
    if not len(pictures):
        return torch.empty(0, len(NAMES), dtype=torch.int64)
    return in_chunks(judge.predict, pictures, on=device_of(judge))


def share_right(found: Tensor, named: Tensor) -> dict[str, float]:
    """For each attribute that some row of `named` (N, 6) names, the share of those rows where `found` (N, 6) agrees."""
    counts, right = named >= 0, (found == named) & (named >= 0)
    return {
        name: float(right[:, i].sum() / counts[:, i].sum()) for i, name in enumerate(NAMES) if bool(counts[:, i].any())
    }


def adherence(judge: Predicts, pictures: Tensor, named: Tensor) -> Adherence:
    """Does each picture show what its caption names? pictures (N, 3, H, W) in [-1, 1], named (N, 6).

    An attribute that a caption leaves out counts neither for nor against; the accessory's colour counts only
    where it is named, and then a picture without an accessory gets it wrong.
    """
    found = predictions(judge, pictures)
    named = check_named(named, len(found))
    asked, right = (named >= 0).sum(1), ((found == named) & (named >= 0)).sum(1)
    return Adherence(right / asked, right == asked, asked, share_right(found, named))


def accuracy(judge: Predicts, pictures: Tensor, attributes: Tensor) -> dict[str, float]:
    """The judge's accuracy for each attribute on pictures whose true attributes (N, 6) are known.

    The accessory's colour counts only where there is an accessory.
    """
    return adherence(judge, pictures, attributes).per_attribute


def normalised_entropy(values: Tensor, kinds: int) -> float:
    """Entropy of the values (n,) that were seen, over the most that n draws of `kinds` can have: 0 to 1.

    n draws show at most min(n, kinds) different values, so the maximum is log min(n, kinds).
    """
    if len(values) < 2 or kinds < 2:
        raise ValueError(f"values, kinds: got {len(values)} and {kinds}; expected 2 values and 2 kinds or more")
    p = torch.bincount(values.cpu(), minlength=kinds).double() / len(values)
    # xlogy is 0 where p is 0; adding 0.0 turns the -0.0 of a single value into 0.0.
    return float(-torch.special.xlogy(p, p).sum() / math.log(min(len(values), kinds))) + 0.0


def open_diversity(judge: Predicts, pictures: Tensor, named: Tensor) -> float:
    """How differently samples of *one* prompt fill in what the prompt leaves open: 0 (all alike) to 1.

    `diversity_of` what the judge sees in pictures (n, 3, H, W), n ≥ 2, in [-1, 1].
    named (6,), or (n, 6) with n equal rows.
    """
    found = predictions(judge, pictures)
    if len(found) < 2:
        raise ValueError(f"pictures: got {len(found)}; expected at least 2 samples of one prompt")
    return diversity_of(found, named)


def diversity_of(found: Tensor, named: Tensor) -> float:
    """How different the open attributes are in n ≥ 2 rows `found` (n, 6) of one prompt: 0 (all alike) to 1.

    For each attribute that the prompt does not name: the entropy of the rows, such as `predictions` or the true
    attributes of real pictures, divided by the largest that n rows can have; then the plain mean over those attributes.
    The accessory's colour counts on the rows that have an accessory, and is left out when fewer than two do.
    NaN when nothing is open. Few samples underestimate an entropy: compare only at equal n.

    named (6,), or (n, 6) with n equal rows.
    """
    if isinstance(named, Tensor) and named.ndim == 1:
        named = named.expand(len(found), -1)
    row = check_named(named, len(found))
    if bool((row != row[0]).any()):
        raise ValueError("named: got rows that differ; expected equal ones, because diversity is that of one prompt")
    entropies = []
    for column, name in enumerate(NAMES):
        if row[0, column] >= 0:
            continue
        seen = found[:, column]
        if column == COLOUR:
            seen = seen[seen >= 0]
            if row[0, ACCESSORY] == NOTHING or len(seen) < 2:
                continue
        entropies.append(normalised_entropy(seen, len(ATTRIBUTES[name])))
    return sum(entropies) / len(entropies) if entropies else math.nan
