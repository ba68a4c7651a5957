"""The KL slider without a browser: same pictures and noise at every weight, the newest value wins, errors are said."""

import io

import pytest
import torch
from PIL import Image

from course_utils.lab.widgets.kl_slider import KLSlider
from course_utils.lab.widgets.kl_slider_core import KLRequest, KLSliderCore
from course_utils.models.vector_autoencoder import VAESweep, VectorVAEConfig

SECONDS = 60  # after which a test that waits has failed


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(10, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def sweep():
    torch.manual_seed(0)
    made = VAESweep((0.0, 1.0, 100.0), VectorVAEConfig((16, 16, 16, 16), latent=12)).eval()
    # The last one has collapsed: whatever the picture, the same mean.
    head = made[100.0].encoder[-1]
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return made.requires_grad_(False)


@pytest.fixture
def core(sweep, pictures):
    return KLSliderCore(sweep, pictures)


@pytest.fixture
def slider(sweep, pictures):
    made = KLSlider(sweep, pictures)
    yield made
    made.close()


def test_pictures_are_the_model_s(core, sweep, pictures):
    result = core.compute(KLRequest(1.0, seed=3))
    noise = torch.randn(7, 12, 1, 1, generator=torch.Generator().manual_seed(3))
    expected = sweep[1.0].decode(noise).clamp(-1, 1)
    torch.testing.assert_close(result.samples, expected, rtol=1e-4, atol=1e-5)
    x_hat = sweep[1.0].decode(sweep[1.0].encode(pictures).mode()).clamp(-1, 1)
    torch.testing.assert_close(result.reconstructions, x_hat[:7], rtol=1e-4, atol=1e-5)
    by_hand = -10 * ((pictures - x_hat) ** 2 / 4).mean((1, 2, 3)).log10()
    assert result.psnr == pytest.approx(float(by_hand.mean()), abs=1e-3)


def test_the_noise_depends_on_the_seed_alone(core):
    first, other = core.compute(KLRequest(1.0, seed=0)), core.compute(KLRequest(1.0, seed=1))
    assert not torch.equal(first.samples, other.samples)
    assert torch.equal(first.reconstructions, other.reconstructions)
    assert torch.equal(first.samples, core.compute(KLRequest(1.0, seed=0)).samples)


def test_a_collapsed_member_has_no_active_dimension(core):
    result = core.compute(KLRequest(100.0))
    assert (result.active, result.dimensions) == (0, 12)
    assert float(result.reconstructions.std(0).max()) < 1e-5, "every picture is decoded alike"
    assert "0 of 12 dimensions active" in result.numbers


def test_encoded_rows_and_overview(core):
    image = Image.open(io.BytesIO(core.compute(KLRequest(0.0)).encoded))
    assert image.format == "JPEG"
    assert image.height == 3 * 128 + 2 * 8
    overview = core.overview()
    assert overview.height > 4 * 128 + 3 * 8, "a row for the pictures and one for each weight"


@pytest.mark.parametrize(
    ("bad", "says"),
    [({"weight": 2.0}, "expected one of 0, 1, 100"), ({"weight": 1.0, "seed": -1}, "seed: got -1")],
)
def test_bad_settings_are_refused(core, bad, says):
    with pytest.raises(ValueError, match=says):
        core.compute(KLRequest(**bad))


def test_bad_pictures_are_refused(sweep, pictures):
    with pytest.raises(ValueError, match="pictures: expected two or more, got 1"):
        KLSliderCore(sweep, pictures[:1])
    with pytest.raises(ValueError, match="pictures"):
        KLSliderCore(sweep, pictures[0])
    with pytest.raises(ValueError, match="pictures: expected .*64"):
        KLSliderCore(sweep, pictures.repeat(1, 1, 2, 2))


def test_two_pictures_are_enough_for_the_overview(sweep, pictures):
    assert KLSliderCore(sweep, pictures[:2]).overview().height > 4 * 128


def test_dragging_shows_the_last_value(slider):
    slider.refresh()
    assert slider.wait(SECONDS)
    before = slider.image.value
    assert slider.shown.request == KLRequest(1.0)
    for weight in (0.0, 100.0, 0.0, 100.0):
        slider.weight.value = weight
    assert slider.wait(SECONDS)
    assert slider.shown.request == KLRequest(100.0)
    assert slider.image.value != before
    assert "β = 100" in slider.status.value
    assert "0 of 12" in slider.numbers.value


def test_the_label_names_the_plain_autoencoder(slider):
    slider.weight.value = 0.0
    slider.seed.value = 7
    assert slider.wait(SECONDS)
    assert "β = 0 (plain autoencoder) · noise 7" in slider.status.value


def test_an_error_is_shown_and_the_next_request_works(slider):
    compute = slider.core.compute

    def broken(request, should_stop):
        raise RuntimeError("out of <memory>")

    slider.core.compute = broken
    slider.weight.value = 0.0
    assert slider.wait(SECONDS)
    assert "RuntimeError: out of &lt;memory&gt;" in slider.status.value
    slider.core.compute = compute
    slider.weight.value = 100.0
    assert slider.wait(SECONDS)
    assert "β = 100" in slider.status.value


def test_the_notebook_gets_a_widget_and_a_still_picture(slider):
    bundle = slider._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == slider.model_id
    assert slider.wait(SECONDS)
    assert Image.open(io.BytesIO(slider.static().data)).format == "JPEG"


def test_a_sweep_without_the_first_weight_starts_at_its_own(sweep, pictures):
    made = KLSlider(sweep, pictures, weight=0.5)
    assert made.request.weight == 0.0
    made.close()
