"""Captions say the truth, leave things out, and can be read back."""

import pytest
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
    true_of,
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


def test_a_caption_is_true_of_the_pictures_that_have_all_that_it_names():
    bear, cat = (
        [0, 5, 1, 0, 1, 0],
        [1, 2, 0, -1, 3, 1],
    )  # a blue bear, red hat, plain mint; a bare white cat, striped night
    told = torch.stack(
        [named(text) for text in ("a bear", "a cat at night", "a red hat", "a bear at night", "anything")]
    )
    expected = [[True, False, True, False, True], [False, True, False, False, True]]
    assert true_of(torch.tensor([bear, cat]), told).tolist() == expected


def test_each_caption_is_true_of_its_own_picture_and_of_others_as_often_as_counting_says():
    rows, seeds = sample_attributes(60)
    texts = [caption(row, seed) for row, seed in zip(rows, seeds.tolist(), strict=True)]
    found = true_of(rows, torch.stack([named(text) for text in texts]))
    assert bool(found.diagonal().all())
    for i, row in enumerate(rows):
        shown = describe(row).items()
        assert found[i].tolist() == [describe(named(text)).items() <= shown for text in texts]


@pytest.mark.parametrize(("rows", "told", "says"), [((2, 5), (3, 6), "rows: got"), ((2, 6), (6,), "told: got")])
def test_what_are_no_rows_of_attributes_is_refused(rows, told, says):
    with pytest.raises(ValueError, match=says):
        true_of(torch.zeros(rows), torch.zeros(told))


def test_a_skeleton_is_a_captions_grammar():
    assert skeleton("A Red bear with a blue hat!") == "a <accessory_colour> <species> with a <fur> <accessory>"
    rows = sample_attributes(500, "train", 0)[0]
    forms = {skeleton(caption(row, seed)) for seed, row in enumerate(rows)}
    assert len(forms) < 500
    assert skeleton("a brown bear brown bear with hat a") not in forms
    assert skeleton("") == ""
