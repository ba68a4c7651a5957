"""Photographs that come with scikit-image."""

import pytest
import torch
from skimage import data

from course_utils.datasets.photos import NAMES, photo


@pytest.mark.parametrize("name", NAMES)
def test_every_photograph_is_there_offline(name):
    x = photo(name, 64)
    assert (x.shape, x.dtype) == ((3, 64, 64), torch.uint8)
    assert float(x.float().std()) > 10


def test_the_middle_square_in_full_size_is_the_original():
    original = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
    assert torch.equal(photo("astronaut", 512), original)
    rocket = torch.from_numpy(data.rocket()).permute(2, 0, 1)
    side, left = rocket.shape[1], (rocket.shape[2] - rocket.shape[1]) // 2
    assert torch.equal(photo("rocket", side), rocket[:, :, left : left + side])


def test_grey_textures_get_three_equal_channels():
    x = photo("grass", 128)
    assert torch.equal(x[0], x[1])
    assert torch.equal(x[0], x[2])


def test_smaller_pictures_keep_the_mean():
    means = [float(photo("coffee", size).float().mean()) for size in (32, 256)]
    assert means[0] == pytest.approx(means[1], abs=2)


@pytest.mark.parametrize(("name", "size", "says"), [
    ("mona_lisa", 64, "name: got 'mona_lisa'; expected one of astronaut"),
    ("chelsea", 4, "size is 4; expected a whole number from 8 to 300"),
    ("chelsea", 1000, "size is 1000; expected a whole number from 8 to 300"),
])  # fmt: skip
def test_bad_arguments(name, size, says):
    with pytest.raises(ValueError, match=says):
        photo(name, size)
