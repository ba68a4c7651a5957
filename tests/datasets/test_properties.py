"""What holds for any plushie, text and seed."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_utils.datasets import captions
from course_utils.datasets.attributes import ATTRIBUTES, NAMES
from course_utils.datasets.drawing import render
from course_utils.datasets.orders import RESOLUTIONS

QUICK = settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck), derandomize=True)
SEEDS = st.integers(-(2**63), 2**63 - 1)


@st.composite
def rows(draw):
    row = [draw(st.integers(0, len(values) - 1)) for values in ATTRIBUTES.values()]
    if row[2] == 0:
        row[3] = -1
    return row


@QUICK
@given(rows(), SEEDS)
def test_a_caption_names_attributes_of_its_row_and_no_others(row, seed):
    text = captions.caption(row, seed)
    assert captions.unknown_words(text) == []
    named = captions.named(text).tolist()
    assert named[0] == row[0], "the species is always named"
    assert all(found in (-1, value) for found, value in zip(named, row, strict=True))
    assert captions.named(captions.full_caption(row)).tolist() == row
    assert text == captions.caption(torch.tensor(row), seed)


@QUICK
@given(st.text(st.characters(codec=None), max_size=60))
def test_any_text_is_read(text):
    named = captions.named(text)
    assert named.shape == (6,)
    assert all(-1 <= v < len(ATTRIBUTES[name]) for name, v in zip(NAMES, named.tolist(), strict=True))
    words = captions.unknown_words(text)
    assert all(word not in captions.WORDS for word in words)
    assert captions.unknown_words(" ".join(words)) == words


@QUICK
@given(st.one_of(st.none(), st.integers(), st.floats(), st.binary(), st.lists(st.text())))
def test_what_is_no_text_is_refused(value):
    for read in (captions.named, captions.unknown_words):
        with pytest.raises(ValueError, match="^text is"):
            read(value)


@settings(QUICK, max_examples=25)
@given(rows(), SEEDS, st.sampled_from(RESOLUTIONS[:3]), SEEDS)
def test_equal_seeds_draw_equal_bytes(row, seed, size, other):
    attributes, seeds = torch.tensor([row, row]), torch.tensor([seed, other])
    both = render(attributes, seeds, size)
    assert both.shape == (2, 3, size, size)
    assert both.dtype == torch.uint8
    alone = render(attributes[:1], seeds[:1], size)
    assert torch.equal(both[:1], alone)
    assert torch.equal(render(attributes, seeds[:1].expand(2), size)[1:], alone)
