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
from torch import Tensor, nn

from course_utils.datasets.attributes import ATTRIBUTES, NAMES
from course_utils.images import check_pictures

ACCESSORY, COLOUR = NAMES.index("accessory"), NAMES.index("accessory_colour")
NOTHING = ATTRIBUTES["accessory"].index("nothing")
CHUNK = 256  # pictures that the judge sees at once


class Predicts(Protocol):
    """All that is asked of a judge here; `models.classifier.Judge` has it."""

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
        raise ValueError(f"named: expected {n} rows of {len(NAMES)} attributes, one a picture, got {came}")
    named = named.long().cpu()
    for column, name in enumerate(NAMES):
        low, high = (int(v) for v in named[:, column].aminmax()) if n else (0, 0)
        if low < -1 or high >= len(ATTRIBUTES[name]):
            bad = low if low < -1 else high
            raise ValueError(f"named: {name} is {bad}; expected -1 (open) to {len(ATTRIBUTES[name]) - 1}")
    return named


@torch.no_grad()
def predictions(judge: Predicts, pictures: Tensor) -> Tensor:
    """What the judge sees in pictures (N, 3, 64, 64) in [-1, 1]: (N, 6) int64 on the CPU."""
    check_pictures(pictures, "pictures")
    device = next(judge.parameters()).device if isinstance(judge, nn.Module) else pictures.device
    parts = [judge.predict(part.to(device)).cpu() for part in pictures.split(CHUNK) if len(part)]
    return torch.cat(parts) if parts else torch.empty(0, len(NAMES), dtype=torch.int64)


def adherence(judge: Predicts, pictures: Tensor, named: Tensor) -> Adherence:
    """Does each picture show what its caption names? pictures (N, 3, 64, 64) in [-1, 1], named (N, 6).

    An attribute that a caption leaves out counts neither for nor against; the accessory's colour counts only
    where it is named, and then a picture without an accessory gets it wrong.
    """
    found = predictions(judge, pictures)
    named = check_named(named, len(found))
    counts, right = named >= 0, (found == named) & (named >= 0)
    asked = counts.sum(1)
    per_attribute = {
        name: float(right[:, i].sum() / counts[:, i].sum()) for i, name in enumerate(NAMES) if bool(counts[:, i].any())
    }
    return Adherence(right.sum(1) / asked, right.sum(1) == asked, asked, per_attribute)


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
        raise ValueError(f"values: entropy needs 2 values and 2 kinds or more, got {len(values)} and {kinds}")
    p = torch.bincount(values, minlength=kinds).double() / len(values)
    # xlogy is 0 where p is 0; adding 0.0 turns the -0.0 of a single value into 0.0.
    return float(-torch.special.xlogy(p, p).sum() / math.log(min(len(values), kinds))) + 0.0


def open_diversity(judge: Predicts, pictures: Tensor, named: Tensor) -> float:
    """How differently samples of *one* prompt fill in what the prompt leaves open: 0 (all alike) to 1.

    For each attribute that the prompt does not name: the entropy of the judge's predictions over the n ≥ 2
    pictures, divided by the largest that n pictures can have; then the plain mean over those attributes. The
    accessory's colour is judged on the pictures that show an accessory, and left out when fewer than two do.
    NaN when nothing is open. Few samples underestimate an entropy: compare only at equal n.

    pictures (n, 3, 64, 64) in [-1, 1]; named (6,), or (n, 6) with n equal rows.
    """
    found = predictions(judge, pictures)
    if len(found) < 2:
        raise ValueError(f"pictures: diversity needs at least 2 samples of a prompt, got {len(found)}")
    if isinstance(named, Tensor) and named.ndim == 1:
        named = named.expand(len(found), -1)
    row = check_named(named, len(found))
    if bool((row != row[0]).any()):
        raise ValueError("named: the rows differ; diversity is measured over samples of one prompt")
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
