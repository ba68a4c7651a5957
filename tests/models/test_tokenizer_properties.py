"""What holds for any text and any tokenizer."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_utils.models.tokenizer import Tokenizer, normalise, pieces

QUICK = settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck), derandomize=True)
TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
OWN = Tokenizer.train(["a brown bear with a red hat", "a cat with glasses on a striped mint background"] * 3, 320)


@QUICK
@given(TEXT)
def test_any_text_comes_back(text):
    ids = OWN.encode(text)
    assert OWN.decode(ids) == text
    assert all(3 <= i < OWN.vocab_size for i in ids)
    assert len(ids) <= len(text.encode())
    assert "".join(OWN.tokens(text)) == "".join(pieces(text))


@QUICK
@given(st.lists(TEXT, max_size=4))
def test_prompts_are_framed_padded_or_refused(texts):
    room = OWN.context_length - 2
    lengths = [len(OWN.encode(normalise(text))) for text in texts]
    if max(lengths, default=0) > room:
        with pytest.raises(ValueError, match=rf"is too long: .*\d+ tokens, and {room} fit"):
            OWN(texts)
        return
    batch = OWN(texts)
    assert batch.shape == (len(texts), OWN.context_length)
    for row, text, length in zip(batch.tolist(), texts, lengths, strict=True):
        assert row[0] == OWN.start_id
        assert row[length + 1] == OWN.end_id
        assert set(row[length + 2 :]) <= {OWN.pad_id}
        assert OWN.decode(row) == normalise(text)


@QUICK
@given(st.text(st.characters(categories=["Cs"]), min_size=1, max_size=3), TEXT)
def test_half_a_character_is_refused(half, text):
    for read in (OWN.encode, OWN, OWN.tokens):
        with pytest.raises(ValueError, match="text has .* half of a surrogate pair"):
            read(text + half)


@settings(QUICK, max_examples=15)
@given(st.lists(TEXT, max_size=5), st.integers(259, 300))
def test_any_corpus_trains_a_tokenizer_that_can_be_saved(corpus, vocab_size):
    made = Tokenizer.train(corpus, vocab_size)
    assert 259 <= made.vocab_size <= vocab_size
    again = Tokenizer.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again.symbols == made.symbols
    assert all(again.decode(made.encode(text)) == text for text in corpus)


def test_a_word_that_cannot_fit_is_refused_at_once():
    with pytest.raises(ValueError, match="is too long: at least .* tokens, and 22 fit"):
        OWN("bear" * 100_000)
