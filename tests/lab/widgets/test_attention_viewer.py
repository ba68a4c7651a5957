"""The attention viewer without a browser: the model's own weights, drawings, controls that fit what is looked at."""

import io

import pytest
import torch
from PIL import Image

from course_utils.lab.widgets.attention_viewer import AttentionViewer
from course_utils.lab.widgets.attention_viewer_core import ALL_LAYERS, AttentionCore, AttentionRequest
from course_utils.lab.widgets.drawing import spotlight
from course_utils.models.attention_maps import attention_maps, rollout
from course_utils.models.text import TextTransformer
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.vit import PatchStem, ViT

SECONDS = 60  # after which a test that waits has failed


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["a brown bear with a red hat", "a cat"] * 3, 300, context_length=24)
    text = TextTransformer(tokenizer.vocab_size, 24, 32, 2, 4).eval()
    vit = ViT(PatchStem(32, 16), 16, 32, 3, 2).eval()
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return text, tokenizer, vit, pictures


@pytest.fixture
def core(parts):
    return AttentionCore(*parts)


@pytest.fixture
def viewer(parts):
    made = AttentionViewer(*parts, sentence="a brown bear")
    yield made
    made.close()


def test_weights_of_a_sentence_are_the_models(core, parts):
    text, tokenizer, *_ = parts
    tokens = tokenizer("a cat")
    length = int((tokens != tokenizer.pad_id).sum())
    maps = attention_maps(text, tokens)[:, 0, :, :length, :length]
    result = core.compute(AttentionRequest("text", "a cat", layer=2, head=3, token=2))
    torch.testing.assert_close(result.weights, maps[1, 2, 2])
    assert len(result.tokens) == length
    assert (result.tokens[0], result.tokens[-1]) == ("<start>", "<end>")
    mean = core.compute(AttentionRequest("text", "a cat", layer=1, token=length - 1))
    torch.testing.assert_close(mean.weights, maps[0, :, length - 1].mean(0))
    assert "layer 1, mean of heads: “<end>” takes most from" in mean.label


def test_weights_of_a_picture_are_the_models(core, parts):
    *_, vit, pictures = parts
    maps = attention_maps(vit, pictures)
    result = core.compute(AttentionRequest("picture", picture=1, layer=3, head=2, token=5))
    torch.testing.assert_close(result.weights, maps[2, 1, 1, 5])
    assert result.tokens[5] == "row 1, column 0"
    along = core.compute(AttentionRequest("picture", picture=0, layer=ALL_LAYERS))
    torch.testing.assert_close(along.weights, rollout(maps)[0, 0])
    assert "rollout" in along.label


def test_drawings_are_pictures(core):
    for request in (
        AttentionRequest("text", "a cat"),
        AttentionRequest("text", "", layer=0),
        AttentionRequest("picture", token=3),
    ):
        assert Image.open(io.BytesIO(core.compute(request).encoded)).format == "PNG"


def test_the_spotlight_is_brightest_at_the_largest_weight():
    white = torch.ones(3, 64, 64)
    lit = spotlight(white, torch.tensor([0.0, 0.1, 0.4, 0.2]))
    assert torch.equal(lit[:, 32:, :32], white[:, 32:, :32])
    assert float(lit[0, 0, 0]) == pytest.approx(2 * 0.12 - 1)
    assert lit[0, 0, 40] < lit[0, 40, 40]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (AttentionRequest("text", "a cat", layer=3), "layer: got 3; expected 0 to 2"),
        (AttentionRequest("text", "a cat", head=5), "head: got 5; expected 0 to 4"),
        (AttentionRequest("text", "a cat", token=99), "token: got 99"),
        (AttentionRequest("picture", picture=2), "picture: got 2; expected 0 to 1"),
        (AttentionRequest("sound"), "kind: got 'sound'"),
        (AttentionRequest("text", "q" * 30), "too long"),
    ],
)
def test_bad_requests_are_named(core, request_, message):
    with pytest.raises(ValueError, match=message):
        core.compute(request_)


def test_pictures_are_checked(parts):
    with pytest.raises(ValueError, match="pictures"):
        AttentionCore(*parts[:3], torch.zeros(0, 3, 64, 64))


def test_controls_fit_text_and_picture(viewer):
    viewer.refresh()
    assert viewer.wait(SECONDS)
    assert viewer.shown.tokens[viewer.token.value] == "<end>", "it starts at the last token"
    viewer.kind.value = "picture"
    assert viewer.wait(SECONDS)
    assert viewer.shown.request == AttentionRequest("picture", "a brown bear", 0, 3, 0, 0)
    assert viewer.token.max == 16
    assert viewer.sentence.disabled
    for token in (3, 9, 16):
        viewer.token.value = token
    viewer.layer.value = ALL_LAYERS
    assert viewer.wait(SECONDS)
    assert viewer.shown.request.token == 16
    viewer.kind.value = "text"
    viewer.sentence.value = "a cat"
    assert viewer.wait(SECONDS)
    assert viewer.token.max == len(viewer.shown.tokens) - 1
    assert "<b>layer 2" in viewer.status.value


def test_too_long_a_sentence_is_said(viewer):
    viewer.sentence.value = "hat " * 40
    assert viewer.wait(SECONDS)
    assert "too long" in viewer.status.value
    viewer.sentence.value = "a cat"
    assert viewer.wait(SECONDS)
    assert "too long" not in viewer.status.value


def test_static_is_a_picture(viewer):
    shown = viewer.static(AttentionRequest("text", "a cat"), AttentionRequest("picture"))
    assert shown.alt.count("takes most from") == 2
    assert Image.open(io.BytesIO(shown.data)).width >= 400
    assert "run this cell" in viewer._repr_mimebundle_()["text/plain"]
    assert viewer.wait(SECONDS)
