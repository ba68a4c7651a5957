"""Captions say the truth, leave things out, and can be read back."""

import torch

from course_utils.datasets.attributes import ATTRIBUTES, NAMES, sample_attributes
from course_utils.datasets.captions import (
    FILLERS,
    WORDS,
    caption,
    describe,
    full_caption,
    named,
    skeleton,
    unknown_words,
)


def test_what_a_caption_names_is_true():
    rows, seeds = sample_attributes(1500)
    for row, seed in zip(rows, seeds.tolist(), strict=True):
        said = named(caption(row, seed))
        assert said[0] == row[0], "the species is always named"
        assert torch.equal(said[said >= 0], row[said >= 0])


def test_captions_leave_things_out_and_vary():
    rows, seeds = sample_attributes(1500)
    said = torch.stack([named(caption(row, seed)) for row, seed in zip(rows, seeds.tolist(), strict=True)])
    for column, name in enumerate(NAMES[1:], 1):
        shown = rows[:, column] >= 0
        share = (said[shown, column] < 0).float().mean()
        assert 0.05 < share < 0.35, name
    assert len({caption(rows[0], s) for s in range(50)}) > 20


def test_a_colour_is_never_named_without_its_accessory():
    rows, seeds = sample_attributes(1500)
    for row, seed in zip(rows, seeds.tolist(), strict=True):
        said = named(caption(row, seed))
        assert said[3] < 0 or said[2] > 0


def test_full_caption_names_everything():
    rows, _ = sample_attributes(200, seed=5)
    for row in rows:
        assert torch.equal(named(full_caption(row)), row)


def test_each_word_names_one_value_and_every_value_has_a_word():
    assert {pair for pair in WORDS.values()} == {(n, v) for n, values in ATTRIBUTES.items() for v in values}
    assert not FILLERS & set(WORDS)


def test_free_text():
    assert describe(named("A BROWN bear, please! With a red hat...")) == {
        "species": "bear", "fur": "brown", "accessory": "hat", "accessory_colour": "red",
    }  # fmt: skip
    assert (named("") == -1).all()
    assert unknown_words("a purple unicorn on Mars") == ["unicorn", "mars"]
    assert describe(named("a cat or a dog"))["species"] == "cat"


def test_a_skeleton_is_a_captions_grammar():
    assert skeleton("A Red bear with a blue hat!") == "a <accessory_colour> <species> with a <fur> <accessory>"
    rows = sample_attributes(500, "train", 0)[0]
    forms = {skeleton(caption(row, seed)) for seed, row in enumerate(rows)}
    assert len(forms) < 500
    assert skeleton("a brown bear brown bear with hat a") not in forms
    assert skeleton("") == ""
