"""The Plushies as a data set: split as promised, the same in memory as one by one."""

import pytest
import torch
from torch.utils.data import DataLoader

from course_utils.datasets.attributes import held_out_combinations, sample_attributes
from course_utils.datasets.plushies import Plushies
from course_utils.images import to_uint8


def test_held_out_combinations_are_a_tenth_and_appear_in_no_other_split():
    held = held_out_combinations()
    assert len(held) == 18
    triples = {
        split: {tuple(r) for r in sample_attributes(4000, split)[0][:, :3].tolist()}
        for split in ("train", "val", "test", "heldout")
    }
    assert triples["heldout"] <= held
    assert not any(triples[s] & held for s in ("train", "val", "test"))
    assert {t[0] for t in triples["train"]} == set(range(6))
    assert {t[2] for t in triples["train"]} == set(range(5))


def test_splits_share_no_picture_seed():
    seeds = [set(sample_attributes(5000, s)[1].tolist()) for s in ("train", "val", "test", "heldout")]
    for i, a in enumerate(seeds):
        assert len(a) > 4990
        assert all(len(a & b) <= 2 for b in seeds[:i])


def test_row_i_depends_on_i_alone():
    few, many = sample_attributes(5)[0], sample_attributes(500)[0]
    assert torch.equal(few, many[:5])


def test_dataset_and_memory_agree_and_a_dataloader_works():
    ds = Plushies(10)
    memory = ds.in_memory()
    assert torch.equal(to_uint8(ds[3]["picture"]), memory.pictures[3])
    assert ds[3]["caption"] == memory.captions[3]
    batch = next(iter(DataLoader(ds, batch_size=4)))
    assert batch["picture"].shape == (4, 3, 128, 128)
    assert len(batch["caption"]) == 4
    assert float(batch["picture"].min()) >= -1
    with pytest.raises(IndexError, match="10 plushies"):
        ds[10]


def test_pictures_for_training_live_are_drawn_smaller():
    small, usual = Plushies(2, size=64), Plushies(2)
    assert small[0]["picture"].shape == (3, 64, 64)
    assert torch.equal(small.attributes, usual.attributes)
    assert small.caption(1) == usual.caption(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_attributes(3, "training"), "split: got 'training'"),
        (lambda: sample_attributes(-1), "n is -1"),
        (lambda: Plushies(3, size=63), "size: got 63"),
    ],
)
def test_bad_orders_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
