"""The plushie picker without a browser."""

import io

import pytest
import torch
from PIL import Image

from course_utils.datasets import captions
from course_utils.datasets.attributes import ATTRIBUTES, NAMES, held_out_combinations
from course_utils.datasets.drawing import render
from course_utils.lab.widgets.picker import FIRST, PlushiePicker, pick

SECONDS = 60  # after which a test that waits has failed


def test_the_picture_is_the_data_sets():
    picked = pick(FIRST, seed=3)
    row = [ATTRIBUTES[name].index(FIRST[name]) for name in NAMES]
    assert picked.attributes.tolist() == row
    assert torch.equal(picked.picture, render(torch.tensor([row]), torch.tensor([3]))[0])
    image = Image.open(io.BytesIO(picked.encoded))
    assert (image.format, image.size) == ("PNG", (256, 256))


def test_captions_differ_and_are_all_true():
    picked = pick(FIRST, n_captions=6)
    assert len(set(picked.captions)) == 6
    for text in picked.captions:
        named = captions.named(text)
        assert bool(((named == picked.attributes) | (named < 0)).all()), text
    assert captions.named(picked.captions[0]).tolist() == picked.attributes.tolist(), "the first names everything"


def test_nothing_has_no_colour():
    picked = pick(FIRST | {"accessory": "nothing"})
    assert int(picked.attributes[NAMES.index("accessory_colour")]) == -1
    assert torch.equal(picked.picture, pick(FIRST | {"accessory": "nothing", "accessory_colour": "green"}).picture)


def test_held_out_combinations_are_told():
    triple = next(iter(held_out_combinations()))
    names = ("species", "fur", "accessory")
    held = {name: ATTRIBUTES[name][i] for name, i in zip(names, triple, strict=True)}
    assert pick(FIRST | held).held_out
    assert pick(FIRST).held_out == (tuple(pick(FIRST).attributes[:3].tolist()) in held_out_combinations())


@pytest.mark.parametrize(
    ("change", "seed", "says"),
    [
        ({"species": "dragon"}, 0, "species: got 'dragon'; expected one of bear, cat"),
        ({"fur": None}, 0, "fur: got None"),
        ({}, -1, "seed: got -1"),
    ],
)
def test_bad_choices_are_refused(change, seed, says):
    with pytest.raises(ValueError, match=says):
        pick(FIRST | change, seed)


def test_the_widget_follows_its_menus():
    picker = PlushiePicker()
    picker.refresh()
    assert picker.wait(SECONDS)
    before = picker.image.value
    picker.menus["species"].value = "elephant"
    assert picker.wait(SECONDS)
    assert picker.image.value != before
    assert "elephant" in picker.text.value
    picker.menus["accessory"].value = "nothing"
    assert picker.menus["accessory_colour"].disabled
    picker.menus["accessory"].value = "scarf"
    assert not picker.menus["accessory_colour"].disabled
    assert picker.wait(SECONDS)
    small = picker.image.value
    picker.size.value = 256
    assert picker.wait(SECONDS)
    assert picker.image.value != small
    assert picker.shown.picture.shape == (3, 256, 256)
    picker.close()
