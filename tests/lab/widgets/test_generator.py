"""The generator without a browser: words, pictures and mixtures, every method, refusals, the newest request."""

import io
import math
import threading
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.images import to_float
from course_utils.lab.widgets.generator import Generator
from course_utils.lab.widgets.generator_core import METHODS, GeneratorCore, GeneratorRequest

SECONDS = 60  # after which a test that waits has failed
FAST = {"steps": 3, "n": 2}


class Clip(nn.Module):
    side = 64

    def encode_text(self, texts):
        if any(len(text) > 90 for text in texts):
            raise ValueError("text: too long")
        rows = [torch.randn(6, generator=torch.Generator().manual_seed(sum(map(ord, t)))) for t in texts]
        return nn.functional.normalize(torch.stack(rows), dim=1)

    def encode_image(self, x):
        return nn.functional.normalize(x[:, :, 20:52:16, 32].flatten(1), dim=1)


class Denoiser(nn.Module):
    config = SimpleNamespace(channels=4, side=8)

    def __init__(self):
        super().__init__()
        self.null = nn.Parameter(torch.full((6,), 0.1))

    def forward(self, z, t, cond):
        return z - 2 * cond[:, :4, None, None] * (1 + t[:, None, None, None]) - torch.sin(3 * z)


class Vae(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def to_picture(self, z):
        return (self.gain * z[:, :3]).repeat_interleave(8, 2).repeat_interleave(8, 3).clamp(-1, 1)


class Judge(nn.Module):
    """Sees in every picture the first value of everything, and green."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def predict(self, x):
        return torch.tensor([[0, 0, 1, 1, 0, 0]]).expand(len(x), -1)


@pytest.fixture
def core():
    clip, denoiser = Clip(), Denoiser()
    pipelines = {
        name: TextToPicture(Vae(gain), clip, denoiser, RectifiedFlow())
        for name, gain in (("sharp", 0.3), ("soft", 0.1))
    }
    data = Plushies(3, "test").in_memory()
    weak = lambda z, t, cond: 0.5 * denoiser(z, t, cond)  # noqa: E731
    return GeneratorCore(pipelines, Judge(), to_float(data.pictures), data.attributes, weak)


@pytest.fixture
def generator(core):
    made = Generator(core=core, steps=3, n=4)
    yield made
    made.close()


def test_words_picture_and_mixture_are_the_pipelines_conditions(core):
    pipeline, x = core.pipelines["sharp"], core.references[1:2]
    for request, cond in (
        (GeneratorRequest("a bear", 0, **FAST), pipeline.condition("a bear")),
        (GeneratorRequest("", 2, **FAST), pipeline.condition("", x)),
        (GeneratorRequest("a bear", 2, 0.3, **FAST), pipeline.condition("a bear", x, 0.3)),
        (GeneratorRequest("", 0, **FAST), pipeline.condition()),
    ):
        expected = pipeline.generate(cond.expand(2, -1), guidance_scale=3.0, steps=3)
        torch.testing.assert_close(core.compute(request).pictures, expected, atol=1e-5, rtol=0)


def test_every_method_and_decoder_makes_another_picture(core):
    made = {
        m: core.compute(GeneratorRequest(method=m, guidance_scale=9.0, steps=8, n=1)).pictures for m in core.methods
    }
    assert tuple(made) == METHODS
    assert all(x.isfinite().all() for x in made.values())
    assert sum(torch.equal(x, made["CFG"]) for x in made.values()) == 1
    soft = core.compute(GeneratorRequest(decoder="soft", method="CFG", guidance_scale=9.0, steps=8, n=1)).pictures
    assert soft.abs().mean() < made["CFG"].abs().mean()


def test_the_scale_of_cfg_plus_plus_is_lambda(core):
    request = GeneratorRequest("a bear", method="CFG++", guidance_scale=7.5, **FAST)
    assert request.scale == "λ = 0.50"
    assert GeneratorRequest(guidance_scale=7.5).scale == "w = 7.5"


def test_findings_follow_the_prompt_then_the_reference(core):
    words = core.compute(GeneratorRequest("a cat", **FAST)).findings
    assert [[f.named for f in row] for row in words] == [["cat"], ["cat"]]
    both = core.compute(GeneratorRequest("a cat", 1, **FAST)).findings[0]
    row = core.attributes[0].tolist()
    expected = ["cat", *(ATTRIBUTES[k][v] for k, v in list(zip(ATTRIBUTES, row, strict=True))[1:] if v >= 0)]
    assert [f.named for f in both] == expected
    assert core.compute(GeneratorRequest("a cat", 1, 0.0, **FAST)).findings == words
    alone = core.compute(GeneratorRequest("", 1, **FAST)).findings
    assert core.compute(GeneratorRequest("a cat", 1, 1.0, **FAST)).findings == alone
    assert len(alone[0]) == sum(v >= 0 for v in row)
    result = core.compute(GeneratorRequest("a brown bear", **FAST))
    assert result.share_right == 1.0
    assert math.isnan(core.compute(GeneratorRequest("", **FAST)).share_right)
    assert Image.open(io.BytesIO(result.encoded[0])).format == "JPEG"


def test_a_scale_may_be_negative(core):
    away, free = (core.compute(GeneratorRequest("a bear", guidance_scale=w, **FAST)) for w in (-2.0, 0.0))
    assert not torch.equal(away.pictures, free.pictures)
    assert (away.request.scale, GeneratorRequest(guidance_scale=-0.0).scale) == ("w = -2", "w = 0")


def test_a_start_beyond_the_slider_moves_its_end(core):
    made = Generator(core=core, guidance_scale=-2.0)
    assert made.request.guidance_scale == -2.0
    made.close()


def test_closing_ends_what_is_in_work(generator):
    begun, go_on = threading.Event(), threading.Event()
    compute, made = generator.core.compute, []

    def slow(request, should_stop):
        begun.set()
        assert go_on.wait(SECONDS)
        made.append(compute(request, should_stop))
        return made[-1]

    generator.core.compute = slow
    generator.refresh()
    assert begun.wait(SECONDS)
    generator.close()
    go_on.set()
    assert generator.wait(SECONDS)
    assert made == [None]
    assert generator.shown is None


def test_without_a_weak_model_there_is_no_autoguidance(core):
    core.weak = None
    assert "autoguidance" not in core.methods
    with pytest.raises(ValueError, match="method is 'autoguidance'; expected one of CFG"):
        core.compute(GeneratorRequest(method="autoguidance"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "method is 'magic'"),
        ({"decoder": "hard"}, "decoder is 'hard'; expected one of sharp, soft"),
        ({"reference": 9}, "reference is 9; expected 0 for none, or 1 to 3"),
        ({"reference": 1, "share": 2.0}, "share is 2.0"),
        ({"guidance_scale": math.inf}, "guidance_scale is inf"),
        ({"steps": 0}, "steps is 0"),
    ],
    ids=str,
)
def test_refusals_name_the_argument(core, changes, message):
    with pytest.raises(ValueError, match=message):
        core.compute(GeneratorRequest(**changes))


def test_work_that_nobody_wants_stops(core):
    assert core.compute(GeneratorRequest(), should_stop=lambda: True) is None


def test_the_widget_shows_the_newest_request_and_says_errors(generator):
    for w in (1.0, 2.0, 8.0):
        generator.w.value = w
    generator.reference.value = 3
    generator.method.value = "CFG++"
    assert generator.wait(SECONDS)
    assert generator.shown.request == generator.request
    assert "picture 3 50%" in generator.label.value
    assert "λ = 0.53" in generator.label.value
    assert generator.w.description == "15 λ"
    assert "of what was asked for is there" in generator.status.value
    assert generator.pictures[0].children[0].value == generator.shown.encoded[0]
    generator.prompt.value = "a" * 200
    assert generator.wait(SECONDS)
    assert "too long" in generator.status.value


def test_a_mixture_needs_both(generator):
    assert generator.share.disabled
    generator.reference.value = 1
    assert not generator.share.disabled
    generator.prompt.value = " "
    assert generator.share.disabled


def test_static_picture(generator):
    picture = Image.open(io.BytesIO(generator.static(prompt="a bear").data))
    assert picture.width == 6 * 128 + 5 * 8, "the reference and five mixtures, at 128 pixels each"
