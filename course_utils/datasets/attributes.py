"""What a plushie can be: six attributes, the splits, and the combinations that are held out."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from course_utils.arguments import short, whole
from course_utils.datasets.seeds import hashed, uniform

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "species": ("bear", "cat", "rabbit", "mouse", "dog", "elephant"),
    "fur": ("brown", "golden", "white", "grey", "pink", "blue"),
    "accessory": ("nothing", "hat", "scarf", "bowtie", "glasses"),
    "accessory_colour": ("red", "green", "yellow", "purple"),
    "background": ("sky", "mint", "sand", "night", "rose"),
    "pattern": ("plain", "striped", "checked", "dotted"),
}
NAMES = tuple(ATTRIBUTES)
SPLITS = ("train", "val", "test", "heldout")
HELD_OUT_SHARE = 0.1
MOST_ROWS = 10_000_000


def check_attributes(attributes: Tensor) -> Tensor:
    """(N, 6) int64 rows, each value in range and a colour where, and only where, there is an accessory."""
    if not isinstance(attributes, Tensor) or attributes.ndim != 2 or attributes.shape[1] != len(NAMES):
        came = tuple(attributes.shape) if isinstance(attributes, Tensor) else short(attributes)
        raise ValueError(f"attributes: expected a tensor of shape (N, 6), got {came}")
    if attributes.is_floating_point() or attributes.dtype == torch.bool:
        raise ValueError(f"attributes: expected whole numbers, got {attributes.dtype}")
    a = attributes.long()
    for column, name in enumerate(NAMES):
        low = -1 if name == "accessory_colour" else 0
        bad = (a[:, column] < low) | (a[:, column] >= len(ATTRIBUTES[name]))
        if bool(bad.any()):
            raise ValueError(
                f"attributes: {name} is {int(a[bad, column][0])}; expected {low} to {len(ATTRIBUTES[name]) - 1}"
            )
    if bool(((a[:, 2] == 0) != (a[:, 3] == -1)).any()):
        raise ValueError("attributes: accessory_colour must be -1 where accessory is 'nothing', and only there")
    return a


@lru_cache
def held_out_combinations() -> frozenset[tuple[int, int, int]]:
    """The (species, fur, accessory) index triples that no picture of train, val or test shows: one in ten."""
    triples = list(product(*(range(len(ATTRIBUTES[name])) for name in ("species", "fur", "accessory"))))
    order = torch.randperm(len(triples), generator=torch.Generator().manual_seed(296))
    return frozenset(triples[i] for i in order[: round(HELD_OUT_SHARE * len(triples))].tolist())


def sample_attributes(n: int, split: str = "train", seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw n attribute rows (n, 6) and picture seeds (n,) of a split. Row i depends on (split, seed, i) alone."""
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}; expected one of {', '.join(SPLITS)}")
    n, seed = whole("n", n, 0, MOST_ROWS), whole("seed", seed, -(2**60), 2**60)
    key = hashed(torch.tensor(seed * len(SPLITS) + SPLITS.index(split) + 1))
    seeds = hashed(key + torch.arange(n, dtype=torch.int64) & 0xFFFFFFFF)
    held = held_out_combinations()
    table = [t for t in product(range(6), range(6), range(5)) if (t in held) == (split == "heldout")]
    # Every accessory, "nothing" included, is equally likely within what the split allows.
    u = uniform(seeds, 3, 4)
    triple = torch.tensor(table)[(u[:, 0] * len(table)).long()]
    colour = torch.where(triple[:, 2] == 0, -1, (u[:, 1] * 4).long())
    return torch.cat([triple, torch.stack([colour, (u[:, 2] * 5).long(), (u[:, 3] * 4).long()], dim=1)], dim=1), seeds
