"""The five changes do what they say, and nothing else."""

import pytest
import torch
import torch.nn.functional as F

from course_utils.datasets.attributes import sample_attributes
from course_utils.datasets.drawing import render
from course_utils.datasets.plushies import Plushies
from course_utils.evaluation import degradations as change
from course_utils.evaluation.metrics import high_frequency_ratio
from course_utils.images import to_float


@pytest.fixture(scope="module")
def x():
    attributes, seeds = sample_attributes(8)
    return to_float(render(attributes, seeds))


def test_shift_moves_by_whole_pixels_and_keeps_the_rest(x):
    moved = change.shift(x, 3)
    assert torch.equal(moved[..., 3:], x[..., :-3])
    assert torch.equal(moved[..., :3], x[..., :1].expand(-1, -1, -1, 3))
    assert torch.equal(change.shift(x, 0), x)


def test_blur_is_a_gaussian(x):
    wave = torch.cos(2 * torch.pi * 8 * torch.arange(64) / 64).expand(1, 3, 64, 64)
    # A Gaussian of σ damps a wave of frequency f by exp(−2 π² σ² f²).
    expected = torch.exp(torch.tensor(-2 * torch.pi**2 * 0.8**2 * (8 / 64) ** 2))
    middle = slice(16, 48)
    ratio = change.blur(wave, 0.8)[..., middle, middle].std() / wave[..., middle, middle].std()
    assert float(ratio) == pytest.approx(float(expected), rel=0.02)
    assert high_frequency_ratio(change.blur(x), x) < 0.15


def test_noise_has_its_strength_and_its_generator():
    flat = torch.zeros(4, 3, 64, 64)
    noisy = change.noise(flat, 0.05, torch.Generator().manual_seed(1))
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.02)
    assert float(noisy.mean()) == pytest.approx(0.0, abs=0.002)
    assert torch.equal(noisy, change.noise(flat, 0.05, torch.Generator().manual_seed(1)))
    assert float(change.noise(flat + 1, 1.0).max()) == 1.0


def test_colour_turns_hues_and_keeps_greys():
    red = torch.tensor([1.0, -1.0, -1.0])[None, :, None, None].expand(1, 3, 8, 8)
    green = torch.tensor([-1.0, 1.0, -1.0])[None, :, None, None].expand(1, 3, 8, 8)
    torch.testing.assert_close(change.colour(red, 120), green, atol=1e-5, rtol=0)
    grey = torch.full((1, 3, 8, 8), 0.3)
    torch.testing.assert_close(change.colour(grey, 90), grey, atol=1e-6, rtol=0)


def test_texture_swaps_the_fur_and_nothing_else():
    test = Plushies(8, "test")
    x = to_float(render(test.attributes, test.seeds))
    other = change.texture(test.attributes, test.seeds)
    assert torch.equal(change.texture(test.attributes, test.seeds, fur_seed=0), x)
    assert not torch.equal(other, change.texture(test.attributes, test.seeds, fur_seed=2))
    # Where there is no fur nothing changes, and over a few pixels fur averages out.
    assert torch.equal(other[:, :, :4, :4], x[:, :, :4, :4])
    fine, coarse = (other - x).abs().mean(), F.avg_pool2d(other - x, 8).abs().mean()
    assert float(coarse) < 0.4 * float(fine)
    assert high_frequency_ratio(other, x) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: change.shift(x, 1.5), "pixels: got 1.5"),
        (lambda x: change.shift(x, 128), "pixels: got 128"),
        (lambda x: change.blur(x, 0), "sigma: got 0"),
        (lambda x: change.noise(x, 2), "std: got 2"),
        (lambda x: change.colour(x, 270), "degrees: got 270"),
        (lambda x: change.colour(x[0]), "x: expected pictures"),
    ],
)
def test_bad_input_is_named(call, message, x):
    with pytest.raises(ValueError, match=message):
        call(x)
