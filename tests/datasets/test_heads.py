"""The bear's heads: where they stand and how large they are, measured on the pixels."""

import pytest
import torch

from course_utils.datasets.heads import SIDE, heads


def light(pictures):
    """Pictures as numbers from 0 to 1, (n, 24, 24)."""
    return (pictures[:, 0] + 1) / 2


def test_a_head_has_light_skin_and_dark_eyes():
    picture = light(heads(torch.zeros(1, 2)))[0]
    assert picture.shape == (SIDE, SIDE)
    assert 0 <= float(picture.min()) < 0.01
    assert 0.9 < float(picture.max()) <= 1
    torch.testing.assert_close(picture, picture.flip(1), atol=1e-5, rtol=0)  # left and right are alike
    assert picture[:, 0].max() < 0.05  # paper beside it

    def at(right, down):
        """The pixel there, in half sides from the middle."""
        return float(picture[round((down + 1) / 2 * (SIDE - 1)), round((right + 1) / 2 * (SIDE - 1))])

    assert min(at(0, -0.25), at(-0.34, -0.34), at(0.34, -0.34)) > 0.9  # forehead, ears
    assert max(at(0.16, -0.06), at(-0.16, -0.06), at(0, 0.12)) < 0.4  # eyes, nose


def test_a_head_stands_at_its_place():
    places = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, -3.0], [2.0, 3.0]]) * 2 / (SIDE - 1)  # whole pixels
    pictures = light(heads(places))
    for picture, (right, down) in zip(pictures, [(0, 0), (4, 0), (0, -3), (2, 3)], strict=True):
        torch.testing.assert_close(picture, torch.roll(pictures[0], (down, right), (0, 1)), atol=0.01, rtol=0)


def test_sizes_scale_the_head_about_its_place():
    places = torch.tensor([[0.1, -0.2]]).expand(3, 2)
    small, middle, large = light(heads(places, torch.tensor([0.5, 0.75, 1.0]))).sum((1, 2)).tolist()
    assert small / large == pytest.approx(0.25, rel=0.1)  # areas go with the square
    assert middle / large == pytest.approx(0.5625, rel=0.1)
    assert torch.equal(heads(places, 1.0), heads(places))
    assert torch.equal(heads(places, torch.ones(3)), heads(places))


@pytest.mark.parametrize(
    ("places", "sizes", "message"),
    [
        (torch.zeros(2), 1.0, r"places: got \(2,\); expected"),
        (torch.zeros(2, 3), 1.0, r"places: got \(2, 3\)"),
        (torch.zeros(2, 2), torch.ones(3), r"sizes: got shape \(3,\); expected one number or \(2,\)"),
        (torch.zeros(2, 2), 0.0, "sizes: got 0.0; expected more than 0"),
    ],
)
def test_bad_input_is_named(places, sizes, message):
    with pytest.raises(ValueError, match=message):
        heads(places, sizes)
