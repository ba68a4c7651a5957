"""Any text, in any field: nothing of it becomes HTML, nothing stops a worker, and the status line says what is wrong."""

import html
import json
import re

import ipywidgets
import pytest
import torch

from course_utils.datasets import captions
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.external.clip_bpe import ClipBPE
from course_utils.lab.widgets.base import WRONG
from course_utils.lab.widgets.explorer import CFGExplorer
from course_utils.lab.widgets.generator import Generator
from course_utils.lab.widgets.generator_core import GeneratorCore
from course_utils.lab.widgets.tokenizer_playground import TokenizerPlayground
from course_utils.models.tokenizer import Tokenizer, normalise
from tests.diffusion.test_pipeline import Clip, Denoiser, Vae
from tests.lab.widgets.test_base import MAKERS, SECONDS, pictures, tokenizer
from tests.lab.widgets.texts import TEXTS

OWN_TAGS = {"b", "div", "br", "span", "small", "li", "ol", "ul", "i"}
HALVES = {name for name, text in TEXTS.items() if re.search("[\ud800-\udfff]", text)}


class ReadingClip(Clip):
    """The pipeline's stand-in, which reads a text through a tokenizer as CLIP does."""

    def __init__(self):
        super().__init__()
        self.tokenizer = tokenizer()

    def encode_text(self, texts):
        rows = self.tokenizer(texts).float()[:, :6]
        return torch.nn.functional.normalize(rows, dim=1)


def pipeline():
    return TextToPicture(Vae(), ReadingClip(), Denoiser(), RectifiedFlow())


def make_generator():
    core = GeneratorCore({"sharp": pipeline()}, None, pictures(2), torch.zeros(2, 6, dtype=torch.long))
    return Generator(core=core, steps=1, n=1)


NAMED = {kind.__name__: maker for kind, maker in MAKERS.items()}
FIELDS = {
    "AttentionViewer.sentence": NAMED["AttentionViewer"],
    "CFGExplorer.prompt": lambda: CFGExplorer(pipeline(), steps=1, n=1),
    "CFGExplorer.negative": lambda: CFGExplorer(pipeline(), steps=1, n=1, prompt="a cat"),
    "Generator.prompt": make_generator,
    "RetrievalExplorer.sentence": NAMED["RetrievalExplorer"],
    "TokenizerPlayground.text": lambda: TokenizerPlayground(tokenizer(), ClipBPE()),
}


def shown(widget):
    """All HTML of a widget and of those in it."""
    for child in getattr(widget, "children", ()):
        yield from shown(child)
    if isinstance(widget, ipywidgets.HTML):
        yield widget.value


def is_harmless(widget):
    for value in shown(widget):
        json.dumps(value, ensure_ascii=False).encode()  # as the kernel sends it
        assert {tag.lower() for tag in re.findall(r"<\s*/?\s*([^\s>/]+)", value)} <= OWN_TAGS
        assert not re.search("[\0\u202e]", value)


def test_no_text_field_is_left_out():
    found = set()
    for name, make in NAMED.items():
        widget = make()
        found |= {f"{name}.{key}" for key, control in vars(widget).items() if isinstance(control, ipywidgets.Text)}
        widget.close()
    assert found == set(FIELDS)


@pytest.fixture(params=FIELDS)
def field(request):
    widget = FIELDS[request.param]()
    control = getattr(widget, request.param.split(".")[1])
    yield widget, control
    widget.close()


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_in_any_field(field, name):
    widget, control = field
    control.value = TEXTS[name]
    widget.refresh()
    assert widget.wait(SECONDS)
    is_harmless(widget)
    said = html.unescape(widget.status.value)
    if name in HALVES:
        assert "half of a surrogate pair" in said
    assert "Error:" not in said, "what is wrong is said in words"
    control.value = "a cat"
    widget.refresh()
    assert widget.wait(SECONDS)
    assert widget.shown is not None
    assert WRONG not in widget.status.value, "and the next text works"


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_functions_read_or_refuse_any_text(text):
    own = Tokenizer.train(["a brown bear"], 300, context_length=20_000)
    assert captions.named(text).shape == (6,)
    assert "bear" not in captions.unknown_words(text)
    if re.search("[\ud800-\udfff]", text):
        for read in (own, own.encode, pipeline().generate):
            with pytest.raises(ValueError, match="has .* half of a surrogate pair"):
                read(text)
        return
    assert own.decode(own.encode(text)) == text
    assert own(text).shape == (1, 20_000)
    if len(own.encode(normalise(text))) > 14:
        with pytest.raises(ValueError, match=r"is too long: .*\d+ tokens, and 14 fit"):
            pipeline().generate(text, 1, steps=1)
    else:
        assert pipeline().generate(text, 1, steps=1).shape == (1, 3, 64, 64)
