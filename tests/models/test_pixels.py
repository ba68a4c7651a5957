"""Pixels as their own latents."""

import pytest
import torch

from course_utils.models.pixels import Pixels


def test_pixels_come_back_and_are_standardised():
    x = 0.4 * torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)) - 0.7
    codec = Pixels(x)
    z = codec.to_latent(x)
    assert z.mean().abs() < 1e-5
    assert z.std() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(codec.to_picture(z), x)
    assert codec.to_picture(100 * z).abs().max() == 1


def test_pictures_out_of_range_are_refused():
    with pytest.raises(ValueError, match="pictures"):
        Pixels(2 * torch.ones(1, 3, 4, 4))
