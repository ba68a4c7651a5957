"""The story: what byte-pair encoding finds in it, and that the sequel is a text of its own."""

import re

import pytest

from course_utils.datasets.story import SEQUEL, STORY
from course_utils.external.library_bpe import library_merges
from course_utils.models.tokenizer import Tokenizer


def words(text):
    return set(re.findall(r"[a-z]+", text.lower()))


def test_merges_of_the_story_look_like_english():
    tokenizer = Tokenizer.train(STORY, 659)
    assert {"ing", "Ġthe", "Ġun", "ness"} <= set(tokenizer.symbols[259:])
    assert tokenizer.tokens(" unkindness") == ["Ġun", "kind", "ness"]


def test_the_story_is_large_enough_and_the_sequel_is_new():
    known = words(" ".join(STORY))
    assert len(known) > 300
    assert "unkindness" not in known
    assert SEQUEL not in STORY
    assert words(SEQUEL) - known


def test_its_merges_equal_the_librarys():
    pytest.importorskip("tokenizers")
    assert Tokenizer.train(STORY, 659).merges == library_merges(STORY, 659)
