"""Batches: what is drawn at random, where crops are cut out, and look-alikes, which are found in the captions."""

import os
import subprocess
import sys
from itertools import combinations

import pytest
import torch

from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.images import looked_at, to_float, to_uint8
from course_utils.training.batches import CROP, draw, draw_crops, draw_look_alikes
from course_utils.training.recipes.clip import LOOK_ALIKES, RARE, word_groups


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def mapped(n=20, size=128):
    """Pictures whose every pixel says where it is: its column in red, its row in green, its picture in blue."""
    along = torch.arange(size, dtype=torch.uint8)
    column, row = along.expand(n, size, size), along[:, None].expand(n, size, size)
    which = torch.arange(n, dtype=torch.uint8)[:, None, None].expand(n, size, size)
    return PlushieTensors(torch.stack([column, row, which], 1), torch.zeros(n, 6, dtype=torch.int64), [""] * n)


def test_draw_repeats_with_its_seed():
    data = mapped(size=32)
    (x, i), (y, j) = (draw(data, 8, seeded(5)) for _ in range(2))
    assert torch.equal(i, j)
    torch.testing.assert_close(x, to_float(data.pictures[i]))
    assert torch.equal(x, y)


@pytest.mark.parametrize(("whole", "first"), [(0.25, 2), (0.5, 4), (0.0, 0), (1.0, 8)])
def test_whole_pictures_come_first_and_crops_after_them(whole, first):
    data = mapped()
    x, index = draw_crops(data, 8, seeded(1), whole=whole)
    assert x.shape == (8, 3, CROP, CROP)
    assert index.shape == (8,)
    assert torch.equal(x[:first], looked_at(to_float(data.pictures[index[:first]]), CROP))
    for i, crop in zip(index[first:].tolist(), to_uint8(x[first:]), strict=True):
        left, top, which = crop[:, 0, 0].tolist()
        assert which == i
        assert torch.equal(crop, data.pictures[i, :, top : top + CROP, left : left + CROP])


def test_crops_repeat_with_their_seed():
    data = mapped()
    (x, i), (y, j), (z, _) = (draw_crops(data, 8, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(x, y)
    assert torch.equal(i, j)
    assert not torch.equal(x, z)


def test_crops_come_from_every_place_and_picture_equally_often():
    data, g = mapped(), seeded(0)
    found = torch.cat([to_uint8(draw_crops(data, 400, g, whole=0.0)[0])[:, :, 0, 0] for _ in range(8)]).long()
    for axis, places in ((0, 128 - CROP + 1), (1, 128 - CROP + 1), (2, 20)):
        counts = found[:, axis].bincount(minlength=places).double()
        assert len(counts) == places
        expected = 3200 / places
        chi2 = float(((counts - expected) ** 2 / expected).sum())
        # Mean places - 1 and variance twice that: four standard deviations.
        assert chi2 < places - 1 + 4 * (2 * (places - 1)) ** 0.5
    related = torch.corrcoef(found.double().T)
    assert float((related - torch.eye(3)).abs().max()) < 0.08, "rows, columns and pictures are drawn independently"


def test_pictures_of_the_crops_size_are_taken_as_they_are():
    data = mapped(size=CROP)
    x, index = draw_crops(data, 8, seeded(1))
    assert torch.equal(x, to_float(data.pictures[index]))


@pytest.fixture(scope="module")
def captions():
    source = Plushies(2000, size=32)
    return [source.caption(i) for i in range(len(source))]


def words(text):
    return set(text.replace(",", "").split())


def test_captions_of_a_group_share_two_words_that_are_rare(captions):
    said = [words(text) for text in captions]
    groups = word_groups(captions)
    assert len(groups) > 100
    for group in groups:
        assert len(group) == len(group.unique()) >= LOOK_ALIKES
        shared = set.intersection(*(said[i] for i in group.tolist()))
        rare = [word for word in shared if sum(word in own for own in said) < RARE * len(said)]
        assert len(rare) >= 2


def test_groups_hold_all_captions_with_their_two_words():
    """Any words do: nothing is known of what they mean."""
    texts = ["zib zab"] * 20 + ["zib zub, ulu"] * 16 + ["zub zab"] * 15 + ["ulu"] * 150
    found = {tuple(group.tolist()) for group in word_groups(texts)}
    said = [words(text) for text in texts]
    rare = [w for w in ("zib", "zab", "zub", "ulu") if sum(w in own for own in said) < RARE * len(said)]
    assert rare == ["zib", "zab", "zub"], "ulu stands in most"
    both = [tuple(i for i, own in enumerate(said) if {a, b} <= own) for a, b in combinations(rare, 2)]
    assert found == {rows for rows in both if len(rows) >= LOOK_ALIKES}
    assert found == {tuple(range(20)), tuple(range(20, 36))}


IN_ORDER = """
from itertools import combinations
from course_utils.training.recipes.clip import word_groups
texts = [f"{a} {b}" for a, b in combinations("abcdefgh", 2) for _ in range(16)] + ["all of us"] * 2000
print([group.tolist()[0] for group in word_groups(texts)])
"""


def test_groups_come_in_one_order_in_every_process():
    """Python orders a set of words anew in each process, and a batch is drawn by the groups' numbers."""
    found = [
        subprocess.run(
            [sys.executable, "-c", IN_ORDER], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        for seed in ("0", "1", "2")
    ]
    assert len({run.stdout for run in found}) == 1
    assert found[0].stdout.count(b",") == 27, "a group for each pair of words"


def test_a_batch_of_look_alikes_is_made_of_groups(captions):
    groups = word_groups(captions)
    members = [set(group.tolist()) for group in groups]
    index = draw_look_alikes(groups, 64, LOOK_ALIKES, seeded(0))
    assert torch.equal(index, draw_look_alikes(groups, 64, LOOK_ALIKES, seeded(0)))
    for part in index.split(LOOK_ALIKES):
        assert len(part.unique()) == LOOK_ALIKES
        assert any(set(part.tolist()) <= group for group in members)
