"""The Plushies: deterministic, well formed, split as promised."""

import pytest
import torch
from torch.utils.data import DataLoader

from course_utils.datasets.attributes import ATTRIBUTES, NAMES, held_out_combinations, sample_attributes
from course_utils.datasets.drawing import render
from course_utils.datasets.orders import RESOLUTIONS
from course_utils.datasets.plushies import Plushies
from course_utils.images import to_float, to_uint8


def one(**values):
    """A row in which everything is the first value, but for what is given by name."""
    row = dict.fromkeys(NAMES, 0) | {"accessory_colour": -1}
    row |= {name: ATTRIBUTES[name].index(value) for name, value in values.items()}
    return torch.tensor([[row[name] for name in NAMES]])


def test_same_seed_same_bytes_and_another_seed_another_picture():
    a, seeds = sample_attributes(8, "train", seed=3)
    assert torch.equal(render(a, seeds), render(a, seeds))
    assert not torch.equal(render(a, seeds), render(a, seeds + 1))


def test_a_picture_does_not_depend_on_its_batch():
    a, seeds = sample_attributes(40)
    together = render(a, seeds).int()
    alone = torch.cat([render(a[i : i + 1], seeds[i : i + 1]) for i in (0, 7, 39)]).int()
    assert (together[[0, 7, 39]] - alone).abs().max() <= 1


@pytest.mark.parametrize("size", RESOLUTIONS)
def test_every_resolution_shows_the_same_plushie(size):
    a, seeds = sample_attributes(4)
    small = torch.nn.functional.adaptive_avg_pool2d(to_float(render(a, seeds, size)), 16)
    usual = torch.nn.functional.adaptive_avg_pool2d(to_float(render(a, seeds, 64)), 16)
    assert render(a, seeds, size).shape == (4, 3, size, size)
    assert (small - usual).abs().mean() < 0.05


@pytest.mark.parametrize("name", [n for n in NAMES if n != "accessory_colour"])
def test_each_attribute_changes_the_picture(name):
    pictures = []
    for value in ATTRIBUTES[name]:
        row = one(**{name: value})
        if name == "accessory" and value != "nothing":
            row[0, NAMES.index("accessory_colour")] = 0
        pictures.append(to_float(render(row, torch.tensor([5]))))
    for i, x in enumerate(pictures):
        for y in pictures[:i]:
            assert (x - y).abs().mean() > 0.005


def test_fur_is_new_in_every_picture_and_lives_on_the_animal_only():
    a = one().expand(64, -1)
    x = to_float(render(a, torch.arange(64)))
    detail = x - torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1)
    corner, middle = detail[:, :, 1:8, 1:8].std(), detail[:, :, 28:40, 28:36].std()
    assert middle > 8 * corner


def test_fur_has_a_seed_of_its_own():
    a, seeds = sample_attributes(6)
    assert torch.equal(render(a, seeds, fur_seeds=seeds), render(a, seeds))
    furs = torch.stack([to_float(render(a, seeds, fur_seeds=seeds + k)) for k in range(1, 9)])
    spread = furs.std(0).mean(1)
    # Corners hold no fur and do not change; the middle does.
    assert float(spread[:, :4, :4].max()) == 0
    assert bool((spread[:, 28:40, 28:36].mean((1, 2)) > 0.03).all())


def test_pictures_keep_their_bytes():
    """Checkpoints were trained on these very pictures."""
    a, seeds = sample_attributes(4, "test")
    assert seeds.tolist() == [1736833618, 4146463987, 3568491650, 1443236557]
    sums = render(a, seeds).long().sum((1, 2, 3)).tolist()
    # Other processors round a few bytes otherwise.
    assert sums == pytest.approx([1228648, 2230415, 2012232, 2107723], abs=200)


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
    assert (to_uint8(ds[3]["picture"]).int() - memory.pictures[3].int()).abs().max() <= 1
    assert ds[3]["caption"] == memory.captions[3]
    batch = next(iter(DataLoader(ds, batch_size=4)))
    assert batch["picture"].shape == (4, 3, 64, 64)
    assert len(batch["caption"]) == 4
    assert float(batch["picture"].min()) >= -1
    with pytest.raises(IndexError, match="10 plushies"):
        ds[10]


def test_bytes_and_floats_round_trip():
    x = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(x)), x)
    assert to_float(x).aminmax() == (torch.tensor(-1.0), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: render(one(), torch.tensor([1]), 65), "size: got 65"),
        (lambda: render(torch.zeros(2, 5), torch.tensor([1, 2])), r"expected a tensor of shape \(N, 6\)"),
        (lambda: render(one() + 9, torch.tensor([1])), "species is 9"),
        (lambda: render(torch.zeros(1, 6).long(), torch.tensor([1])), "accessory_colour must be -1"),
        (lambda: render(one(), torch.tensor([1, 2])), r"seeds: got shape \(2,\)"),
        (
            lambda: render(one(), torch.tensor([1]), fur_seeds=torch.tensor([1, 2])),
            r"fur_seeds: got shape \(2,\)",
        ),
        (lambda: sample_attributes(3, "training"), "split: got 'training'"),
        (lambda: sample_attributes(-1), "n is -1"),
        (lambda: Plushies(3, size=63), "size: got 63"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_browsable_sample_is_written(tmp_path, capsys):
    from course_utils.datasets.__main__ import main

    assert main([str(tmp_path), "-n", "5"]) == 0
    lines = (tmp_path / "captions.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 5
    assert (tmp_path / "plushies.png").stat().st_size > 1000


def test_the_bytes_do_not_depend_on_the_number_of_threads():
    attributes, seeds = sample_attributes(80)
    before = torch.get_num_threads()
    try:
        drawn = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            drawn.append(render(attributes, seeds))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*drawn)
