"""The temperature slider without a browser: closed forms at both ends, the newest value wins, errors are said."""

import io
import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from course_utils import losses
from course_utils.lab.widgets.drawing import heat
from course_utils.lab.widgets.temperature import TemperatureSlider
from course_utils.lab.widgets.temperature_core import TemperatureCore, TemperatureRequest

SECONDS = 60  # after which a test that waits has failed


@pytest.fixture(scope="module")
def pairs():
    g = torch.Generator().manual_seed(0)
    u, c = (F.normalize(torch.randn(6, 8, generator=g), dim=1) for _ in range(2))
    return u, F.normalize(c + u, dim=1), torch.rand(6, 3, 64, 64, generator=g) * 2 - 1


@pytest.fixture
def slider(pairs):
    made = TemperatureSlider(*pairs, captions=[f"caption {i}" for i in range(6)])
    yield made
    made.close()


def test_heat_runs_from_blue_to_yellow():
    picture = heat(torch.tensor([[0.0, 1.0, 9.0]]), 0.0, 1.0)
    assert picture.shape == (3, 1, 3)
    low, high, clipped = picture[:, 0].T
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert torch.equal(high, clipped)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((torch.zeros(3), 0, 1), "matrix: expected"), ((torch.zeros(2, 2), 1, 1), "high: got 1")],
)
def test_heat_refuses_what_is_no_matrix(arguments, says):
    with pytest.raises(ValueError, match=says):
        heat(*arguments)


def test_the_loss_is_the_course_s(pairs):
    u, c, x = pairs
    result = TemperatureCore(u, c, x).compute(TemperatureRequest(14.3))
    assert result.loss == pytest.approx(float(losses.contrastive(u, c, torch.tensor(math.log(14.3)))), abs=1e-5)
    assert torch.allclose(result.probabilities.sum(1), torch.ones(6))
    assert result.own == pytest.approx(float(result.probabilities.diagonal().mean()))


def test_both_ends_of_the_scale(pairs):
    core = TemperatureCore(*pairs)
    flat, sharp = core.compute(TemperatureRequest(1e-4)), core.compute(TemperatureRequest(1e5))
    assert flat.loss == pytest.approx(math.log(6), abs=1e-3)
    assert flat.rivals == pytest.approx(6, abs=1e-3)
    assert sharp.rivals == pytest.approx(1, abs=1e-2)
    right = float((core.similarities.argmax(1) == torch.arange(6)).float().mean())
    assert sharp.own == pytest.approx(right, abs=1e-2)
    assert "hesitates among 6.0 captions" in flat.numbers


def test_drawings_grow_with_what_they_show(pairs):
    core = TemperatureCore(*pairs)
    one, three = core.draw([10.0]), core.draw([1.0, 10.0, 100.0])
    assert Image.open(io.BytesIO(core.compute(TemperatureRequest(10.0)).encoded)).size == one.size
    assert three.height < one.height, "cells are smaller beside each other"


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_scales_that_are_none_are_refused(pairs, scale):
    with pytest.raises(ValueError, match="scale: got"):
        TemperatureCore(*pairs).compute(TemperatureRequest(scale))


def test_pairs_that_do_not_fit_are_refused(pairs):
    u, c, x = pairs
    with pytest.raises(ValueError, match="text_emb: expected the shape of image_emb"):
        TemperatureCore(u, c[:5], x)
    with pytest.raises(ValueError, match="pictures: expected one for each"):
        TemperatureCore(u, c, x[:5])
    with pytest.raises(ValueError, match="captions: got 1; expected 6"):
        TemperatureCore(u, c, x, ["one"])


def test_dragging_shows_the_last_value(slider):
    slider.refresh()
    assert slider.wait(SECONDS)
    before = slider.image.value
    for scale in (1.0, 50.0, 2.0, 100.0):
        slider.scale.value = scale
    assert slider.wait(SECONDS)
    assert slider.shown.request.scale == 100.0
    assert slider.image.value != before
    assert "1/τ = 100, τ = 0.01" in slider.status.value
    assert "loss" in slider.numbers.value


def test_an_error_is_shown_and_the_next_request_works(slider):
    compute = slider.core.compute

    def broken(request, should_stop):
        raise RuntimeError("out of <memory>")

    slider.core.compute = broken
    slider.scale.value = 1.0
    assert slider.wait(SECONDS)
    assert "RuntimeError: out of &lt;memory&gt;" in slider.status.value
    slider.core.compute = compute
    slider.scale.value = 2.0
    assert slider.wait(SECONDS)
    assert "1/τ = 2" in slider.status.value


def test_the_notebook_gets_a_widget_and_a_still_picture(slider):
    bundle = slider._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == slider.model_id
    assert slider.wait(SECONDS)
    assert Image.open(io.BytesIO(slider.static().data)).format == "JPEG"
