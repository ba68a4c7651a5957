"""The tokenizer equals Hugging Face's on merges and ids, loses nothing, and says what it refuses."""

import json
import random

import pytest
import torch

from course_utils.models.tokenizer import ALPHABET, SPECIALS, Tokenizer, learn_merges, normalise, pieces

WORDS = "a the fluffy brown golden bear bears rabbit with scarf red hat, glasses! it's 12 aaaa née 熊".split()


def corpus(n=300, seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(n)]


STRANGE = [
    "",
    " ",
    "  two  spaces ",
    "\n\ttabs\r\n",
    "It's 3 o'clock, they'll WIN!!",
    "naïve Ångström ß ſ",
    "日本語 の ぬいぐるみ",
    "🧸👩‍👩‍👧 emoji",
    "\x00\x1c\x1f control\x7f",
    "½ ² Ⅷ ٣",
    "e\u0301 combining",
    "a\u00a0b\u2003c\u3000d",
    "…—“quotes”",
    "aaaaaaa",
]


def library(texts, vocab_size):
    """`tokenizers` with the same rules, stated in its own words."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Library

    theirs = Library(models.BPE())
    theirs.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Prepend(" "),
        ]
    )
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    theirs.train_from_iterator(texts, trainer)
    theirs.normalizer = normalizers.Sequence([])
    return theirs


@pytest.mark.parametrize(("vocab_size", "seed"), [(259, 0), (300, 1), (340, 2), (2000, 3)])
def test_merges_and_ids_equal_the_library(vocab_size, seed):
    texts = corpus(seed=seed)
    ours, theirs = Tokenizer.train(texts, vocab_size), library(texts, vocab_size)
    model = json.loads(theirs.to_str())["model"]
    assert ours.merges == [tuple(merge) for merge in model["merges"]]
    assert {symbol: i for i, symbol in enumerate(ours.symbols)} == model["vocab"]
    for text in [*corpus(100, seed=seed + 10), *STRANGE]:
        assert ours.encode(text) == theirs.encode(text).ids, text
        assert ours.tokens(text) == theirs.encode(text).tokens, text


def test_random_words_with_many_ties_equal_the_library():
    """A corpus of two letters has ties, and pairs that overlap (aaa)."""
    rng = random.Random(0)
    for _ in range(5):
        texts = ["".join(rng.choices("ab", k=rng.randint(1, 12))) for _ in range(15)]
        model = json.loads(library(texts, 300).to_str())["model"]
        assert Tokenizer.train(texts, 300).merges == [tuple(merge) for merge in model["merges"]]


def test_learns_the_textbook_example():
    """Worked by hand: `ab` occurs 3 + 2 times, then `abc` 2 times."""
    assert learn_merges({"ab": 3, "abc": 2, "x": 9}, 261) == [("a", "b"), ("ab", "c")]
    assert learn_merges({"ba": 1, "ab": 1}, 260) == [("a", "b")], "of equal counts the smallest ids win"


def test_any_text_comes_back():
    tok = Tokenizer.train(corpus(), 320)
    rng = random.Random(0)
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts = STRANGE + ["".join(map(chr, rng.choices(codes, k=20))) for _ in range(50)]
    for text in texts:
        assert tok.decode(tok.encode(text)) == text
        assert "".join(pieces(text)) == "".join(tok.tokens(text))
    assert tok.encode("") == []


def test_ids_of_specials_and_bytes():
    tok = Tokenizer.train([], 259)
    assert (tok.pad_id, tok.start_id, tok.end_id, tok.vocab_size) == (0, 1, 2, 259)
    assert tok.encode("!") == [3]
    assert len(ALPHABET) == 256
    assert tok.decode([1, *tok.encode("hi"), 2, 0, 0]) == "hi"
    assert tok.decode(tok.encode("é")[:1]) == "\ufffd"


def test_call_frames_pads_and_normalises():
    tok = Tokenizer.train(corpus(), 400, context_length=12)
    out = tok(["Brown  BEAR ", ""])
    assert out.shape == (2, 12)
    assert out.dtype == torch.int64
    ids = tok.encode(" brown bear")
    assert out[0].tolist() == [1, *ids, 2] + [0] * (10 - len(ids))
    assert out[1].tolist() == [1, 2] + [0] * 10
    assert torch.equal(tok("brown bear"), out[:1])
    assert tok([]).shape == (0, 12)
    assert normalise(" \n") == ""
    assert tok.tokens(normalise("bear")) == ["Ġbear"]


def test_saved_and_loaded_is_the_same():
    tok = Tokenizer.train(corpus(), 350, context_length=30)
    again = Tokenizer.from_dict(json.loads(json.dumps(tok.to_dict())))
    assert again.merges == tok.merges
    assert torch.equal(again(corpus(20)), tok(corpus(20)))


def test_refusals_name_the_argument():
    tok = Tokenizer.train(corpus(), 300, context_length=8)
    with pytest.raises(ValueError, match="7 tokens, and 6 fit"):
        tok("q" * 6)
    assert tok("q" * 5).shape == (1, 8)
    with pytest.raises(ValueError, match=r"3 \(int\)"):
        tok.encode(3)
    with pytest.raises(ValueError, match="NoneType"):
        tok([None])
    with pytest.raises(ValueError, match="vocab_size is 258"):
        Tokenizer.train([], 258)
    with pytest.raises(ValueError, match="ids holds 300"):
        tok.decode([300])
    with pytest.raises(ValueError, match="lacks merges"):
        Tokenizer.from_dict({"context_length": 3})
    with pytest.raises(ValueError, match="neither a byte nor a merge"):
        Tokenizer([("ab", "c")])
    with pytest.raises(ValueError, match="context_length is 1"):
        Tokenizer([], 1)
