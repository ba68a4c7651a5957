"""The tokenizer playground without a browser: what is drawn, what is counted, what is said of too long a text."""

import io

import pytest
from PIL import Image

from course_utils.external.clip_bpe import ClipBPE
from course_utils.lab.widgets.drawing import readable, token_rows
from course_utils.lab.widgets.tokenizer_playground import TokenizerPlayground
from course_utils.lab.widgets.tokenizer_playground_core import PlaygroundCore, TokenizerRequest
from course_utils.models.tokenizer import Tokenizer

SECONDS = 60  # after which a test that waits has failed


@pytest.fixture(scope="module")
def own():
    return Tokenizer.train(["a brown bear with a red hat", "a cat"] * 3, 300, context_length=12)


@pytest.fixture(scope="module")
def clip():
    return ClipBPE()


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("Ġhat", "·hat"), ("hat</w>", "hat·"), ("<end>", "<end>"), ("Ã©", "é"), ("Ã", "C3"), ("Ċ", "0A"),
        ("æĹ¥", "E6 97 A5"), ("Ġ", "·"), ("Ã</w>", "C3·"),
    ],
)  # fmt: skip
def test_symbols_become_readable(symbol, shown):
    assert readable(symbol) == shown


def test_rows_wrap_and_keep_their_width():
    one = token_rows({"few": ["Ġa", "Ġbear"]}, width=300)
    many = token_rows({"many": ["Ġbear"] * 30}, width=300)
    assert one.width == many.width == 300
    assert many.height > 4 * one.height
    with_ids = token_rows({"few": ["Ġa", "Ġbear"]}, {"few": [3, 400]}, width=300)
    assert with_ids.height > one.height
    with pytest.raises(ValueError, match="rows: got none"):
        token_rows({})


def test_counts_and_tokens_are_the_tokenizers(own, clip):
    result = PlaygroundCore(own, clip).compute(TokenizerRequest("A red hat"))
    course, theirs = result.tokens.values()
    assert "".join(course) == "ĠaĠredĠhat", "as the models read it"
    assert theirs == ["a</w>", "red</w>", "hat</w>"]
    assert result.label == f"9 characters, 9 bytes → {len(course)} tokens (course) · 3 tokens (CLIP)"
    assert result.notes == ()
    assert Image.open(io.BytesIO(result.encoded)).format == "PNG"


def test_too_long_a_text_is_said_for_both(own, clip):
    course, theirs = PlaygroundCore(own, clip).compute(TokenizerRequest("hat " * 100)).notes
    assert "and 10 fit. They refuse it." in course
    assert "drops the last 25 tokens without saying so" in theirs


def test_any_text_can_be_looked_at(own, clip):
    core = PlaygroundCore(own, clip)
    for text in ("", " ", "日本 🧸 é\n", "\x00", "½ ² <end> </w>"):
        assert core.compute(TokenizerRequest(text)).encoded
    with pytest.raises(ValueError, match="text: got 2001 characters"):
        core.compute(TokenizerRequest("a" * 2001))
    with pytest.raises(ValueError, match="text: got int"):
        core.compute(TokenizerRequest(3))


def test_typing_shows_the_last_text(own, clip):
    widget = TokenizerPlayground(own, clip, text="a cat")
    widget.refresh()
    assert widget.wait(SECONDS)
    before = widget.image.value
    for text in ("a b", "a be", "a bear", "a bear <b>"):
        widget.text.value = text
    assert widget.wait(SECONDS)
    assert widget.shown.request.text == "a bear <b>"
    assert widget.image.value != before
    assert "<b>10 characters" in widget.status.value
    widget.text.value = "a" * 3000
    assert widget.wait(SECONDS)
    assert "expected a string of up to 2000" in widget.status.value
    widget.close()


def test_static_is_a_picture(own, clip):
    widget = TokenizerPlayground(own, clip)
    one, two = widget.static("a cat"), widget.static("a cat", "a bear")
    assert two.alt.startswith("“a cat”: 5 characters")
    assert "“a bear”: 6 characters" in two.alt
    heights = [Image.open(io.BytesIO(shown.data)).height for shown in (one, two)]
    assert heights[1] > 1.5 * heights[0]
    assert "run this cell" in widget._repr_mimebundle_()["text/plain"]
    widget.wait(SECONDS)
    widget.close()
