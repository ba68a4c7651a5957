"""What every widget has from its base: the newest request, errors that are said, a text for where it cannot be shown."""

import importlib
import pkgutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from types import SimpleNamespace

import ipywidgets
import pytest
import torch

from course_utils.diffusion.guidance_methods import LimitedInterval
from course_utils.diffusion.mixture import three_petals
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.lab import widgets
from course_utils.lab.widgets.attention_viewer import AttentionViewer
from course_utils.lab.widgets.base import WRONG, LiveWidget, hidden_image, look, reveal
from course_utils.lab.widgets.blind_test import BlindTestWidget
from course_utils.lab.widgets.explorer import CFGExplorer
from course_utils.lab.widgets.field import FieldExplorer
from course_utils.lab.widgets.generator import Generator
from course_utils.lab.widgets.guided_ways import GuidedWays
from course_utils.lab.widgets.interpolation import Interpolation
from course_utils.lab.widgets.kl_slider import KLSlider
from course_utils.lab.widgets.picker import PlushiePicker
from course_utils.lab.widgets.picture_rows import PictureRows
from course_utils.lab.widgets.predict import Prediction
from course_utils.lab.widgets.retrieval import RetrievalExplorer
from course_utils.lab.widgets.temperature import TemperatureSlider
from course_utils.lab.widgets.tokenizer_playground import TokenizerPlayground
from course_utils.lab.widgets.toy_vae import ToyVAEExplorer
from course_utils.lab.widgets.trajectory import TrajectoryExplorer
from course_utils.models.autoencoder import VAE, VAEConfig
from course_utils.models.clip import CLIP, CLIPConfig
from course_utils.models.text import TextTransformer
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.vector_autoencoder import VAESweep, VectorVAEConfig
from course_utils.models.vit import PatchStem, ViT

SECONDS = 60  # after which a test that waits has failed
VIEW = "application/vnd.jupyter.widget-view+json"
MODULES = [module.name for module in pkgutil.iter_modules(widgets.__path__)]


@dataclass(frozen=True)
class NumberRequest:
    number: int

    @property
    def label(self):
        return f"the number <{self.number}>"


class NumberCore:
    """Gives a number back, when `gate` is open; some numbers it refuses."""

    def __init__(self):
        self.gate, self.begun, self.computed = threading.Event(), threading.Event(), []
        self.gate.set()

    def compute(self, request, should_stop=None):
        self.begun.set()
        assert self.gate.wait(SECONDS)
        if request.number == 13:
            raise ValueError("number is 13; expected <another>")
        if request.number == 99:
            raise RuntimeError("out of <memory>")
        if should_stop():
            return None
        self.computed.append(request.number)
        return request


class Number(LiveWidget):
    fallback = "number: run this cell in a notebook"

    def __init__(self):
        super().__init__(NumberCore())
        self.number = ipywidgets.IntText(0, description="number", **look(100))
        self.image = hidden_image()
        self.children = [ipywidgets.HBox([self.number]), self.status, self.image]
        self.follow(self.number)

    @property
    def request(self):
        return NumberRequest(self.number.value)

    def show(self, result):
        if result.number == 50:
            raise KeyError("50")
        reveal(self.image, str(result.number).encode())
        self.say("no more to say", bold=result.label)


@pytest.fixture
def widget():
    made = Number()
    gate = made.core.gate
    yield made
    gate.set()
    made.close()


def settle(widget):
    assert widget.wait(SECONDS)


def test_nothing_is_computed_before_the_widget_is_shown(widget):
    assert widget._worker._thread is None
    assert widget.image.layout.display == "none"
    bundle = widget._repr_mimebundle_()
    settle(widget)
    assert bundle[VIEW]["model_id"] == widget.model_id
    assert bundle["text/plain"] == "number: run this cell in a notebook"
    assert widget.core.computed == [0]
    assert (widget.image.value, widget.image.layout.display) == (b"0", "block")
    assert widget.shown == NumberRequest(0)
    assert "<b>the number &lt;0&gt;</b> · no more to say" in widget.status.value


def test_the_newest_request_is_shown_and_those_between_are_not_computed(widget):
    widget.core.gate.clear()
    widget.number.value = 1
    assert widget.core.begun.wait(SECONDS)
    assert "computing the number &lt;1&gt; …" in widget.status.value
    for number in range(2, 40):
        widget.number.value = number
    widget.core.gate.set()
    settle(widget)
    assert widget.core.computed == [39], "the first one was told that it is outdated"
    assert widget.shown == NumberRequest(39)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (13, "number is 13; expected &lt;another&gt;"),
        (99, "RuntimeError: out of &lt;memory&gt;"),
        (50, "KeyError: &#x27;50&#x27;"),
    ],
)
def test_an_error_is_said_and_the_next_request_works(widget, number, says):
    widget.number.value = 7
    settle(widget)
    widget.number.value = number
    settle(widget)
    assert f">{says}<" in widget.status.value, "the class is named for all but a ValueError"
    assert f"color:{WRONG}" in widget.status.value
    assert widget.image.value == b"7", "what was shown stays"
    assert widget.shown == (None if number == 50 else NumberRequest(7)), "half a result is none"
    widget.number.value = 8
    settle(widget)
    assert widget.shown == NumberRequest(8)
    assert WRONG not in widget.status.value


def test_the_status_line_keeps_its_height(widget):
    for said in ({}, {"text": "some words"}, {"text": "some words", "wrong": True}, {"bold": "a title"}):
        widget.say(**said)
        assert "min-height:20px" in widget.status.value


def test_a_closed_widget_frees_its_thread_and_ignores_requests(widget):
    core = widget.core
    core.gate.clear()
    widget.number.value = 1
    assert core.begun.wait(SECONDS)
    thread, inside = widget._worker._thread, widget.number
    widget.close()
    core.gate.set()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert core.computed == [], "what was in work is told that it is outdated"
    widget.number.value = 2
    widget.refresh()
    settle(widget)
    assert core.computed == []
    assert (widget.comm, inside.comm) == (None, None)
    widget.close()


def test_a_widget_that_was_never_built_is_closed_without_noise(recwarn):
    with pytest.raises(ValueError, match="pictures: expected two or more"):
        Interpolation(None, torch.zeros(1, 3, 64, 64))
    Number.__new__(Number).close()


# All of the course's widgets.


def make_attention_viewer():
    own = tokenizer()
    text = TextTransformer(own.vocab_size, own.context_length, 16, 1, 2).eval()
    return AttentionViewer(text, own, ViT(PatchStem(16, 16), 16, 16, 1, 2).eval(), pictures(2), sentence="a cat")


def make_generator():
    core = SimpleNamespace(references=pictures(2), methods=("CFG",), pipelines={"sharp": None}, students={})
    return Generator(core=core)


def tokenizer():
    return Tokenizer.train(["a brown bear", "a cat"], 300, context_length=16)


def clip():
    return CLIP(tokenizer(), CLIPConfig(embedding=16, image_width=16, text_width=16, heads=2)).eval()


def pictures(n):
    return torch.zeros(n, 3, 64, 64)


class PlaneVAE:
    """A model with two latent numbers: each picture's posterior is its brightness, each latent a picture of its size."""

    def encode(self, x):
        mean = x.mean((1, 2, 3))[:, None].repeat(1, 2)
        return mean, torch.zeros_like(mean)

    def decode(self, z):
        return z.mean(1)[:, None, None, None].expand(-1, 1, 64, 64)


MAKERS = {
    AttentionViewer: make_attention_viewer,
    BlindTestWidget: lambda: BlindTestWidget(pictures(2), {"soft": pictures(2)}),
    CFGExplorer: lambda: CFGExplorer(SimpleNamespace()),
    FieldExplorer: lambda: FieldExplorer(three_petals(RectifiedFlow())),
    Generator: make_generator,
    GuidedWays: lambda: GuidedWays(three_petals(RectifiedFlow()), {"interval": LimitedInterval}),
    Interpolation: lambda: Interpolation(VAE(VAEConfig(widths=(16, 16, 16))).eval(), pictures(2)),
    KLSlider: lambda: KLSlider(VAESweep((0.0, 1.0), VectorVAEConfig((16, 16, 16, 16), 8)), pictures(2)),
    PlushiePicker: PlushiePicker,
    Prediction: lambda: Prediction("Which is larger?", ["this one", "that one"]),
    RetrievalExplorer: lambda: RetrievalExplorer(clip(), pictures(2), ["a bear", "a cat"]),
    TemperatureSlider: lambda: TemperatureSlider(torch.eye(2), torch.eye(2), pictures(2)),
    TokenizerPlayground: lambda: TokenizerPlayground(tokenizer(), SimpleNamespace(vocab_size=1)),
    ToyVAEExplorer: lambda: ToyVAEExplorer({1.0: PlaneVAE()}, pictures(4), torch.eye(4)[:, :2]),
    TrajectoryExplorer: lambda: TrajectoryExplorer(SimpleNamespace()),
}
TEXTS = {
    AttentionViewer: "Attention viewer: run this cell in a notebook to choose layer, head and token",
    BlindTestWidget: "blind test: run this cell in a notebook to take it",
    CFGExplorer: "CFG explorer: run this cell in a notebook to drag w",
    FieldExplorer: "field explorer: run this cell in a notebook to move t, the steps and w",
    Generator: "generator: run this cell in a notebook to use it",
    GuidedWays: "guided ways: run this cell in a notebook to choose a method and drag w",
    Interpolation: "Interpolation: run this cell in a notebook to walk between two pictures",
    KLSlider: "KL slider: run this cell in a notebook to drag the weight",
    PlushiePicker: "Plushie picker: run this cell in a notebook to choose attributes",
    Prediction: "Your prediction: Which is larger?\n  A  this one\n  B  that one",
    RetrievalExplorer: "Retrieval explorer: run this cell in a notebook to search",
    TemperatureSlider: "Temperature slider: run this cell in a notebook to drag it",
    TokenizerPlayground: "Tokenizer playground: run this cell in a notebook to type a text",
    ToyVAEExplorer: "Toy VAE: run this cell in a notebook to watch it train and to drag the weight",
    TrajectoryExplorer: "trajectory explorer: run this cell in a notebook to walk through the steps",
}


def test_no_widget_is_left_out():
    defined = set()
    for name in MODULES:
        module = importlib.import_module(f"{widgets.__name__}.{name}")
        defined |= {c for c in vars(module).values() if isinstance(c, type) and issubclass(c, ipywidgets.Widget)}
    assert defined - {LiveWidget, PictureRows} == set(MAKERS) == set(TEXTS)


@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.__name__)
def test_every_widget_keeps_the_contract(kind):
    made = MAKERS[kind]()
    asked = []
    made.core.compute = lambda request, should_stop=None: asked.append((request, should_stop()))
    assert isinstance(made, LiveWidget)
    assert made.shown is None
    own = {name for name in vars(made) if not name.startswith("_")}
    assert own & set(dir(ipywidgets.VBox)) == set(), "no control hides what a box has"
    request = made.request
    assert request == made.request
    assert hash(request) == hash(made.request), "a request does not change"
    bundle = made._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == TEXTS[kind]
    assert bundle[VIEW]["model_id"] == made.model_id
    assert made.wait(SECONDS)
    assert asked == [(request, False)]
    thread = made._worker._thread
    made.close()
    thread.join(SECONDS)
    assert not thread.is_alive()
    made.refresh()
    assert len(asked) == 1


def test_cores_and_drawings_do_without_widgets():
    without = [name for name in MODULES if name.endswith("_core") or name in ("drawing", "judged", "latest")]
    assert len(without) == 18
    lines = ["import sys", "sys.modules['ipywidgets'] = sys.modules['IPython'] = None"]
    lines += [f"import {widgets.__name__}.{name}" for name in without]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=SECONDS)
