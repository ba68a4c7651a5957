"""The plane in which the two halves of CLIP's space are seen."""

import pytest
import torch
import torch.nn.functional as F

from course_utils.evaluation.modality_gap import gap_plane


def two_halves(n=60, m=60, seed=0):
    """Vectors around two means that are apart along axis 0, spread widely along axis 1 and little along the others."""
    g = torch.Generator().manual_seed(seed)
    spread = torch.tensor([0.0, 0.5, 0.05, 0.05, 0.05])
    u, c = (torch.randn(k, 5, generator=g) * spread for k in (n, m))
    u, c = u - u.mean(0), c - c.mean(0)
    u[:, 0] += 0.4
    c[:, 0] -= 0.4
    return u, c


@pytest.mark.parametrize(("n", "m"), [(60, 60), (40, 70)])
def test_planted_directions_are_found(n, m):
    u, c = two_halves(n, m)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))
    for places, planted in zip(gap_plane(u @ turn, c @ turn), (u, c), strict=True):
        torch.testing.assert_close(places[:, 0], planted[:, 0], atol=1e-5, rtol=0)
        along = torch.corrcoef(torch.stack([places[:, 1], planted[:, 1]]))[0, 1]
        assert abs(float(along)) > 0.99


def test_of_unit_vectors_the_means_keep_their_distance_and_stand_on_either_side_of_zero():
    g = torch.Generator().manual_seed(2)
    u, c = (F.normalize(torch.randn(50, 16, generator=g) + shift, dim=1) for shift in (0.5, -0.3))
    pictures, captions = gap_plane(u, c)
    half = float((u.mean(0) - c.mean(0)).norm()) / 2
    torch.testing.assert_close(pictures.mean(0)[0], torch.tensor(half), atol=1e-5, rtol=0)
    torch.testing.assert_close(captions.mean(0)[0], torch.tensor(-half), atol=1e-5, rtol=0)


def test_no_direction_across_the_gap_spreads_more_than_the_second_axis():
    u, c = two_halves(seed=3)
    pictures, captions = gap_plane(u, c)
    spread = float(torch.cat([pictures, captions])[:, 1].square().sum())
    both = torch.cat([u, c])
    for direction in torch.randn(200, 5, generator=torch.Generator().manual_seed(4)):
        direction[0] = 0  # the gap is along axis 0
        assert float((both @ F.normalize(direction, dim=0)).square().sum()) <= spread + 1e-4


@pytest.mark.parametrize(("u", "c"), [((4, 3), (4, 2)), ((4,), (4, 3)), ((0, 3), (4, 3))])
def test_vectors_of_other_shapes_are_refused(u, c):
    with pytest.raises(ValueError, match="u, c: got"):
        gap_plane(torch.zeros(u), torch.zeros(c))
