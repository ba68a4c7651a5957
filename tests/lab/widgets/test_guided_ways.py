"""Guided ways without a browser: they are the sampler's, their two numbers are the ends', and what is refused."""

import io

import pytest
import torch
from PIL import Image

from course_utils.diffusion.guidance import ClassifierFreeGuidance
from course_utils.diffusion.guidance_methods import CFGZeroStar, LimitedInterval
from course_utils.diffusion.mixture import LabelledMixture, MixtureDenoiser, three_petals
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.samplers import euler, time_grid
from course_utils.evaluation.energy import energy_distance
from course_utils.lab.widgets.guided_ways import GuidedWays
from course_utils.lab.widgets.guided_ways_core import PLAIN, STEPS, GuidedCore, GuidedRequest

SECONDS = 60  # after which a test that waits has failed
PATH = RectifiedFlow()
PETALS = three_petals(PATH)
METHODS = {"interval": LimitedInterval, "CFG-Zero*": CFGZeroStar}


@pytest.fixture
def core():
    return GuidedCore(PETALS, METHODS, y=1, n=40)


def test_ways_are_the_samplers_and_the_numbers_are_those_of_their_ends(core):
    result = core.compute(GuidedRequest("interval", 3.0))
    denoiser = MixtureDenoiser(PETALS)
    for name, method in ((PLAIN, ClassifierFreeGuidance), ("interval", LimitedInterval)):
        guided = method(denoiser, denoiser.condition(1, 40), 3.0)
        end = euler(lambda z, t, g=guided: PATH.from_velocity(g(z, t), z, t), core.start, time_grid(STEPS))
        assert result.ways[name].shape == (STEPS + 1, 40, 2)
        assert torch.equal(result.ways[name][-1], end)
        assert result.price[name] == pytest.approx(energy_distance(end, core.data))
        certain = PETALS.class_log_posterior(end, torch.zeros(()))[:, 1]
        assert result.doubt[name] == pytest.approx(-float(certain.mean()), abs=1e-6)
    assert result.price["interval"] < result.price[PLAIN]


def test_w_1_is_the_class_under_both(core):
    result = core.compute(GuidedRequest("interval", 1.0))
    torch.testing.assert_close(result.ways[PLAIN], result.ways["interval"], atol=1e-4, rtol=1e-4)


def test_a_newer_request_stops_the_work(core):
    assert core.compute(GuidedRequest("interval"), lambda: True) is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (GuidedRequest("other"), "method is 'other'; expected one of plain guidance, interval, CFG-Zero"),
        (GuidedRequest("interval", float("nan")), "guidance_scale"),
    ],
)
def test_bad_requests_are_refused(core, request_, message):
    with pytest.raises(ValueError, match=message):
        core.compute(request_)


def test_bad_arguments_are_refused():
    line = LabelledMixture(torch.zeros(1, 1), torch.ones(1, 1, 1), torch.ones(1), torch.tensor([0]), PATH)
    with pytest.raises(ValueError, match="mixture: got one in 1 dimensions"):
        GuidedCore(line, METHODS)
    for methods in ({}, {PLAIN: LimitedInterval}):
        with pytest.raises(ValueError, match="methods: got"):
            GuidedCore(PETALS, methods)


def test_the_widget_shows_the_newest_request_and_both_methods_numbers():
    widget = GuidedWays(PETALS, METHODS)
    try:
        widget.refresh()
        widget.method.value, widget.w.value = "CFG-Zero*", 2.0
        assert widget.wait(SECONDS)
        assert widget.shown.request == GuidedRequest("CFG-Zero*", 2.0)
        for text in ("CFG-Zero* · w = 2", "plain guidance: doubt", "CFG-Zero*: doubt"):
            assert text in widget.status.value
        assert Image.open(io.BytesIO(widget.image.value)).width > 800
        assert Image.open(io.BytesIO(widget.static().data)).width > 800
    finally:
        widget.close()
