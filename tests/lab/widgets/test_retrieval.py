"""The retrieval explorer without a browser: nearest first, in both directions; the last question wins; errors are said."""

import io

import pytest
import torch
from PIL import Image

from course_utils.lab.widgets.retrieval import RetrievalExplorer
from course_utils.lab.widgets.retrieval_core import RetrievalCore, RetrievalRequest
from course_utils.models.clip import CLIP, CLIPConfig
from course_utils.models.tokenizer import Tokenizer

SECONDS = 60  # after which a test that waits has failed
CAPTIONS = ["a brown bear", "a cat with a red hat", "a brown bear", "a white rabbit"]


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(CAPTIONS, 300, 16)
    config = CLIPConfig(embedding=16, image_width=16, text_width=16, heads=2)
    return CLIP(tokenizer, config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def core(clip, pictures):
    return RetrievalCore(clip, pictures, CAPTIONS)


@pytest.fixture
def explorer(clip, pictures):
    made = RetrievalExplorer(clip, pictures, CAPTIONS)
    yield made
    made.close()


def test_pictures_come_nearest_first(core, clip, pictures):
    cosines = (clip.encode_image(pictures) @ clip.encode_text(["a grey bear"]).T)[:, 0]
    order = sorted(range(4), key=lambda i: -float(cosines[i]))
    found = core.pictures_for("a grey bear", k=3)
    assert list(found.index) == order[:3]
    assert found.cosine == pytest.approx([float(cosines[i]) for i in order[:3]], abs=1e-5)
    assert found.sentences == ()


def test_sentences_that_pictures_share_are_found_once(core, clip, pictures):
    found = core.sentences_for(1)
    different = ["a brown bear", "a cat with a red hat", "a white rabbit"]
    cosines = (clip.encode_text(different) @ clip.encode_image(pictures[1:2]).T)[:, 0]
    assert list(found.sentences) == [different[i] for i in cosines.argsort(descending=True).tolist()]


def test_the_core_answers_both_kinds_of_request(core):
    assert core.compute(RetrievalRequest("a bear")) == core.pictures_for("a bear")
    assert core.compute(RetrievalRequest(None, 2)) == core.sentences_for(2)


def test_unknown_words_are_named(core):
    assert core.pictures_for("a zebra with a hat").unknown == ("zebra",)
    assert core.pictures_for("a bear with a hat").unknown == ()


@pytest.mark.parametrize(
    ("sentence", "says"), [("  ", "got nothing"), ("very " * 40 + "long", "too long: .* tokens, and 14 fit")]
)
def test_sentences_that_cannot_be_read_are_refused(core, sentence, says):
    with pytest.raises(ValueError, match=says):
        core.pictures_for(sentence)


def test_bad_arguments_are_refused(core, clip, pictures):
    with pytest.raises(ValueError, match="index: got 4; expected 0 to 3"):
        core.sentences_for(4)
    with pytest.raises(ValueError, match="k: got 0"):
        core.pictures_for("a bear", k=0)
    with pytest.raises(ValueError, match="captions: expected 4, one for each picture, got 3"):
        RetrievalCore(clip, pictures, CAPTIONS[:3])


def test_what_is_found_is_drawn(core):
    found = core.pictures_for("a bear")
    assert core.picture(found).width > 4 * 96
    assert core.picture(core.sentences_for(0)).size == (128, 128)
    assert core.overview(["a bear", "a cat"], k=2).height > 2 * 64


def test_the_last_question_is_answered(explorer):
    explorer.refresh()
    assert explorer.wait(SECONDS)
    assert explorer.shown.request == RetrievalRequest("a brown bear")
    for sentence in ("a c", "a ca", "a cat"):
        explorer.sentence.value = sentence
    assert explorer.wait(SECONDS)
    assert explorer.shown.request == RetrievalRequest("a cat")
    assert "a cat" in explorer.status.value
    assert Image.open(io.BytesIO(explorer.image.value)).format == "JPEG"
    explorer.index.value = 3
    assert explorer.wait(SECONDS)
    assert explorer.shown.request == RetrievalRequest(None, 3)
    assert "its own caption: <b>a white rabbit</b>" in explorer.text.value
    assert explorer.text.value.count("<li>") == 3


def test_what_goes_wrong_is_said_and_the_next_question_works(explorer):
    explorer.sentence.value = "<b> " * 30
    assert explorer.wait(SECONDS)
    assert "too long" in explorer.status.value
    assert "<b> <b>" not in explorer.status.value, "what is typed is shown as text"
    explorer.sentence.value = "a zebra"
    assert explorer.wait(SECONDS)
    assert "No caption of the data set contains: zebra." in explorer.text.value


def test_the_notebook_gets_a_widget_and_a_still_picture(explorer):
    bundle = explorer._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id
    assert explorer.wait(SECONDS)
    assert Image.open(io.BytesIO(explorer.static(["a bear"]).data)).format == "JPEG"
