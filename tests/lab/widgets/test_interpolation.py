"""The interpolation widget without a browser."""

import io

import pytest
import torch
from PIL import Image

from course_utils.lab.widgets.interpolation import Interpolation
from course_utils.lab.widgets.interpolation_core import InterpolationCore, InterpolationRequest
from course_utils.models.autoencoder import VAE, VAEConfig

SECONDS = 60  # after which a test that waits has failed


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return VAE(VAEConfig(widths=(16, 16, 16))).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_ends_are_the_pictures_and_their_reconstructions(model, pictures):
    core = InterpolationCore(model, pictures)
    x_hat = model.decode(model.encode(pictures).mode()).clamp(-1, 1)
    for t, i in ((0.0, 1), (1.0, 3)):
        result = core.compute(InterpolationRequest(1, 3, t))
        torch.testing.assert_close(result.pixels, pictures[i])
        torch.testing.assert_close(result.latents, x_hat[i], atol=1e-5, rtol=1e-4)


def test_between_them_each_way_is_straight_in_its_own_space(model, pictures):
    result = InterpolationCore(model, pictures).compute(InterpolationRequest(0, 2, 0.25))
    torch.testing.assert_close(result.pixels, 0.75 * pictures[0] + 0.25 * pictures[2])
    z = model.encode(pictures).mode()
    expected = model.decode((0.75 * z[0] + 0.25 * z[2])[None])[0].clamp(-1, 1)
    torch.testing.assert_close(result.latents, expected, atol=1e-5, rtol=1e-4)
    assert Image.open(io.BytesIO(result.encoded)).format == "JPEG"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"a": 4}, "a: got 4; expected a picture's number, 0 to 3"),
        ({"b": -1}, "b: got -1"),
        ({"t": 1.5}, "t: got"),
    ],
)
def test_bad_requests(model, pictures, bad, says):
    with pytest.raises(ValueError, match=says):
        InterpolationCore(model, pictures).compute(InterpolationRequest(**bad))


def test_one_picture_is_not_enough(model, pictures):
    with pytest.raises(ValueError, match="pictures: expected two or more, got 1"):
        InterpolationCore(model, pictures[:1])


def test_dragging_shows_the_last_value(model, pictures):
    widget = Interpolation(model, pictures, a=0, b=1)
    widget.refresh()
    assert widget.wait(SECONDS)
    before = widget.image.value
    for t in (0.6, 0.7, 0.8, 1.0):
        widget.t.value = t
    assert widget.wait(SECONDS)
    assert widget.shown.request == InterpolationRequest(0, 1, 1.0)
    assert "100% of picture 1" in widget.status.value
    assert widget.image.value != before
    widget.close()


def test_what_goes_wrong_is_said_and_the_pictures_stay(model, pictures):
    widget = Interpolation(model, pictures)
    widget.refresh()
    assert widget.wait(SECONDS)
    before = widget.image.value
    widget._worker.submit(InterpolationRequest(0, 9, 0.5))
    assert widget.wait(SECONDS)
    assert "b: got 9" in widget.status.value
    assert widget.image.value == before
    widget.close()
