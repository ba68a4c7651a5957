"""Settings that are no sensible number, picture or condition: each is refused by name before anything is made."""

import math

import numpy as np
import pytest
import torch

from course_utils import arguments
from course_utils.datasets import captions
from course_utils.datasets.attributes import sample_attributes
from course_utils.datasets.drawing import render
from course_utils.datasets.photos import photo
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion.classifier_guidance import classifier_gradient
from course_utils.diffusion.conditions import slerp
from course_utils.diffusion.guidance import ClassifierFreeGuidance, checked_scale
from course_utils.diffusion.guidance_methods import APG, DynamicThreshold, LimitedInterval, Rescale
from course_utils.diffusion.mixture import MixtureDenoiser, three_petals
from course_utils.diffusion.paths import RectifiedFlow, VariancePreserving
from course_utils.diffusion.samplers import SAMPLERS, ddim, time_grid
from course_utils.models.tokenizer import Tokenizer
from tests.diffusion.test_pipeline import pipeline  # noqa: F401, a fixture

NO_NUMBERS = [math.nan, math.inf, -math.inf, "3", "", None, True, [], {}, 1j, object(), torch.full((2,), 2.0), 10**400]
NO_WHOLE = [*NO_NUMBERS, 2.5, 1.0, -1, np.float32(2), torch.tensor(2.0)]
TOO_MANY = [10**9, 10**30]

FLOW, PETALS = RectifiedFlow(), three_petals(RectifiedFlow())
DENOISER = MixtureDenoiser(PETALS)
COND = DENOISER.condition(1, 2)
ROW = torch.tensor([[0, 0, 1, 0, 0, 0]])


@pytest.mark.parametrize("value", [*NO_WHOLE, *TOO_MANY], ids=lambda v: repr(v)[:20])
@pytest.mark.parametrize(
    ("name", "call"),
    {
        "steps": time_grid,
        "threads": lambda n: __import__("course_utils.diffusion.threaded", fromlist="x").ThreadedPipeline(None, n),
        "n": lambda n: PETALS.sample(n),
        "size": lambda n: render(ROW, torch.tensor([1]), n),
        "seeds": lambda n: render(ROW, n),
        "context_length": lambda n: Tokenizer([], n),
    }.items(),
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_whole_numbers(name, call, value):
    with pytest.raises(ValueError, match=f"^{name}"):
        call(value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1e30, -1.5e4], ids=lambda v: repr(v)[:20])
@pytest.mark.parametrize(
    ("name", "call"),
    {
        "guidance_scale": lambda w: checked_scale(w, 3),
        "eta": lambda x: ddim(None, torch.zeros(1, 2), time_grid(1), eta=x),
        "share": lambda x: slerp(torch.eye(3)[:1], torch.eye(3)[1:2], x),
        "low": lambda x: LimitedInterval(DENOISER, COND, 1.0, low=x),
        "phi": lambda x: Rescale(DENOISER, COND, 1.0, phi=x),
        "limit": lambda x: DynamicThreshold(
            DENOISER, COND, 1.0, path=FLOW, limit=-1.0 if isinstance(x, float) and x == 1e30 else x
        ),
        "momentum": lambda x: APG(DENOISER, COND, 1.0, path=FLOW, momentum=x),
        "beta_min": lambda x: VariancePreserving(x),
        "by": lambda x: PETALS.blurred(-1.0 if isinstance(x, float) and x == 1e30 else x),
    }.items(),
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_numbers(name, call, value):
    with pytest.raises(ValueError, match=name):
        call(value)


def test_numpy_numbers_and_tensors_of_no_dimensions_are_numbers():
    assert len(time_grid(np.int64(4))) == 5
    assert float(checked_scale(np.float32(3))) == float(checked_scale(torch.tensor(3))) == 3
    assert arguments.number("x", torch.tensor(0.5), 0, 1) == arguments.number("x", np.float64(0.5), 0, 1) == 0.5
    assert render(ROW, np.array([1]), np.int32(32)).equal(render(ROW, torch.tensor([1]), 32))
    assert photo("chelsea", np.int64(8)).shape == (3, 8, 8)
    assert len(Plushies(np.int64(3))) == 3


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sample_attributes(2.5), "n is 2.5"),
        (lambda: sample_attributes(10**9), "n is 1000000000; expected a whole number from 0 to"),
        (lambda: sample_attributes(1, seed=10**30), "seed is 1"),
        (lambda: sample_attributes(1, seed=0.5), "seed is 0.5"),
        (lambda: render(ROW.float(), torch.tensor([1])), "attributes: expected whole numbers, got torch.float32"),
        (lambda: render(ROW, torch.tensor([0.5])), "seeds: got torch.float32; expected whole numbers"),
        (lambda: render(ROW, torch.tensor([1]), fur_seeds=torch.tensor([math.nan])), "fur_seeds: got torch.float32"),
        (lambda: render([[0] * 6], torch.tensor([1])), "attributes: expected a tensor"),
        (lambda: captions.caption([0] * 5, 0), "row: expected 6 numbers"),
        (lambda: captions.caption([0, 0, 1, 0, 0, 9], 0), "row: pattern is 9; expected a whole number from -1 to 3"),
        (lambda: captions.caption([0, 0, 1, 0, 0, 0], 0.5), "seed is 0.5"),
        (lambda: captions.describe(None), "row: expected 6 numbers"),
        (lambda: captions.full_caption([0, 0, 1, -1, 0, 0]), "got none for accessory_colour"),
        (lambda: captions.named(None), "text is None"),
        (lambda: captions.unknown_words(3), "text is 3"),
        (lambda: photo("chelsea", True), "size is True"),
        (lambda: classifier_gradient(None, torch.zeros(0).long()), "y is"),
        (lambda: PETALS.tilted_sample(3, 0, "x"), "guidance_scale is 'x'"),
        (lambda: PETALS.score([0.0, 0.0], 0.5), "z has shape"),
        (lambda: ClassifierFreeGuidance(DENOISER, COND.long(), 1.0), "cond is torch.int64"),
        (lambda: ClassifierFreeGuidance(DENOISER, "a bear", 1.0), "cond is str; expected floats"),
        (lambda: ClassifierFreeGuidance(DENOISER, COND, 1.0, COND.to(torch.uint8)), "negative is torch.uint8"),
        (lambda: ClassifierFreeGuidance(DENOISER, COND.to("meta"), 1.0), "cond is on meta; expected the denoiser's"),
        (lambda: checked_scale("1e3"), "guidance_scale is '1e3'; expected a number"),
        (lambda: checked_scale([True]), "guidance_scale is"),
        (lambda: Tokenizer([]).decode([0.5]), "ids is 0.5"),
        (lambda: Tokenizer([])(None), "texts is None; expected a string or a list of strings"),
        (lambda: Tokenizer([("a",)]), "merges holds"),
        (lambda: Tokenizer.from_dict([]), "saved tokenizer is"),
    ],
)
def test_the_argument_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize(
    "z", [None, "z", torch.zeros(2, 2).long(), torch.zeros(2, 2).to(torch.uint8), torch.tensor(0.0)]
)
def test_samplers_name_latents_that_are_none(sampler, z):
    with pytest.raises(ValueError, match="^z is"):
        sampler(None, z, time_grid(2))


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("times", [None, [1.0, 0.0], 4, torch.tensor([1, 0]), torch.tensor([1.0, math.nan])])
def test_samplers_name_times_that_are_none(sampler, times):
    with pytest.raises(ValueError, match="^times is"):
        sampler(None, torch.zeros(1, 2), times)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"steps": 10**9}, "steps is 1000000000"),
        ({"steps": True}, "steps is True"),
        ({"n": 10**6}, "n is 1000000; expected a whole number from 1 to 10,000"),
        ({"seed": 10**400}, "seed is a whole number of 1329 bits"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"sampler": ["euler"]}, "sampler is"),
        ({"sampler": None}, "sampler is None"),
        ({"negative": None}, "negative is None"),
        ({"negative": "x" * 30}, "^negative"),
        ({"negative": "\ud800"}, "negative has"),
        ({"prompt": "\ud800"}, "prompt has .* half of a surrogate pair"),
        ({"prompt": ["a", "\ud800"], "n": None}, r"prompt\[1\] has"),
        ({"prompt": []}, "prompt is"),
        ({"prompt": None}, "prompt is None"),
        ({"prompt": torch.zeros(2, 6).to(torch.uint8)}, "prompt: expected conditions"),
        ({"guidance_scale": 10**400}, "guidance_scale is"),
        ({"guidance_scale": True}, "guidance_scale is True"),
    ],
)
def test_the_pipeline_makes_nothing(pipeline, settings, says):  # noqa: F811
    with pytest.raises(ValueError, match=says):
        pipeline.generate(**{"prompt": "a bear", **settings})
    assert pipeline.denoiser.batches == []


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_conditions_and_pictures_of_other_floats_are_taken(pipeline, kind):  # noqa: F811
    cond = torch.nn.functional.normalize(torch.ones(2, 6), dim=1).to(kind)
    assert pipeline.generate(cond, steps=1).dtype == torch.float32
    assert pipeline.condition("", torch.full((1, 3, 64, 64), 0.5, dtype=kind)).dtype == torch.float32
