"""Stripes that are planted in noise are found, and stripes of other lengths are not taken for a checkerboard."""

import pytest
import torch

from course_utils.evaluation.checkerboard import stripes, wave_ratio

SIDE, STD, PLANTED = 64, 0.15, 0.08


@pytest.fixture(scope="module")
def pictures():
    """Two sets of noise, the waves of which have a power of STD²."""
    g = torch.Generator().manual_seed(0)
    return [(STD * torch.randn(96, 3, SIDE, SIDE, generator=g)).clamp(-1, 1) for _ in range(2)]


def planted(pictures, period, across=True):
    """With columns (or rows) repeated every `period` pixels, each row (or column) as strongly as chance has it."""
    wave = torch.cos(2 * torch.pi * torch.arange(SIDE) / period)
    strength = PLANTED * torch.randn(len(pictures), 1, SIDE, 1, generator=torch.Generator().manual_seed(1))
    pattern = strength * wave
    return (pictures + (pattern if across else pattern.transpose(2, 3))).clamp(-1, 1)


def test_the_ratio_is_that_of_the_powers_wave_by_wave(pictures):
    real, other = pictures
    assert wave_ratio(real, real).abs().max() == 0
    torch.testing.assert_close(wave_ratio(0.1 * real, real), torch.full((SIDE, SIDE), -2.0).double(), atol=1e-4, rtol=0)
    assert wave_ratio(other, real).mean().abs() < 0.02
    slow = torch.nn.functional.avg_pool2d(other, 5, 1, 2)  # a blur keeps the middle and takes the rim
    ratio, middle = wave_ratio(slow, real), SIDE // 2
    assert ratio[middle, middle + 2] > -0.3
    assert max(ratio[0, middle], ratio[middle, 0], ratio[0, 0]) < -1


@pytest.mark.parametrize("across", [True, False], ids=["columns", "rows"])
def test_planted_stripes_are_found_with_their_strength(pictures, across):
    real, other = pictures
    assert stripes(wave_ratio(other, real)) < 1.3
    # A window of which the squares' mean is 3/8 and the mean 1/2 gives white stripes of variance s² the power s² · side · 2/3
    # in the column of their period: here, above the noise,
    power = PLANTED**2 * SIDE * 2 / 3
    assert stripes(wave_ratio(planted(other, 2, across), real)) == pytest.approx(1 + power / STD**2, rel=0.15)
    # and a wave of four pixels, which is split between +¼ and -¼, a quarter of that.
    assert stripes(wave_ratio(planted(other, 4, across), real)) == pytest.approx(1 + power / 4 / STD**2, rel=0.15)


@pytest.mark.parametrize("period", [2, 4])
@pytest.mark.parametrize(("down", "across"), [(0, 1), (1, 0), (1, 1)], ids=["columns", "rows", "diagonal"])
def test_a_pattern_that_is_the_same_all_over_is_found(pictures, period, down, across):
    real, other = pictures
    along = torch.arange(SIDE)
    angle = 2 * torch.pi / period * (down * along[:, None] + across * along)
    pattern = 0.03 * torch.cos(angle)  # far weaker than the noise, and always the same
    assert stripes(wave_ratio((other + pattern).clamp(-1, 1), real)) > 5
    # so weak that the mean of its line does not tell
    line = wave_ratio((other + pattern).clamp(-1, 1), real)[:, SIDE // 2 - SIDE // period]
    assert across == 0 or line.mean() < 0.1


def test_another_wave_is_no_checkerboard(pictures):
    real, other = pictures
    pattern = 0.03 * torch.cos(2 * torch.pi / 8 * torch.arange(SIDE))
    assert stripes(wave_ratio((other + pattern).clamp(-1, 1), real)) < 1.35


def test_other_stripes_are_no_checkerboard(pictures):
    real, other = pictures
    assert stripes(wave_ratio(planted(other, 8), real)) < 1.3


@pytest.mark.parametrize("shape", [(44, 44), (50, 50), (64, 48), (64,), (3, 64, 64)])
def test_bad_squares_are_named(shape):
    with pytest.raises(ValueError, match="ratio: got shape .* expected"):
        stripes(torch.zeros(shape))


def test_bad_pictures_are_named(pictures):
    with pytest.raises(ValueError, match="fake: got pictures of .* expected real's size"):
        wave_ratio(pictures[0][..., :32], pictures[1])
