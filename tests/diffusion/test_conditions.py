"""Slerp against its geometry."""

import math

import pytest
import torch
from torch.nn import functional as F

from course_utils.diffusion.conditions import slerp


def unit(n, d=16, seed=0):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def angle(a, b):
    return torch.arccos((a * b).sum(1).clamp(-1, 1))


def test_it_walks_the_great_circle_at_constant_speed():
    a, b = unit(5), unit(5, seed=1)
    for share in (0.0, 0.2, 0.5, 0.9, 1.0):
        mixed = slerp(a, b, share)
        torch.testing.assert_close(mixed.norm(dim=1), torch.ones(5, dtype=torch.float64))
        torch.testing.assert_close(angle(a, mixed), share * angle(a, b), atol=1e-6, rtol=0)
        torch.testing.assert_close(angle(mixed, b), (1 - share) * angle(a, b), atol=1e-6, rtol=0)


def test_ends_and_middle():
    a, b = unit(3), unit(3, seed=1)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    torch.testing.assert_close(slerp(a, b, 0.5), F.normalize(a + b, dim=1))
    torch.testing.assert_close(slerp(a, b, 0.3), slerp(b, a, 0.7))


def test_a_share_for_each_and_one_for_all():
    a, b = unit(1), unit(1, seed=1)
    shares = torch.tensor([0.0, 0.4, 1.0])
    rows = torch.cat([slerp(a, b, s) for s in shares.tolist()])
    torch.testing.assert_close(slerp(a.expand(3, -1), b, shares), rows, atol=1e-7, rtol=0)


def test_equal_and_nearly_equal_vectors_stay_where_they_are():
    a = unit(2)
    torch.testing.assert_close(slerp(a, a, 0.5), a)
    near = F.normalize(a + 1e-6 * unit(2, seed=3), dim=1)
    torch.testing.assert_close(slerp(a, near, 0.5), F.normalize(a + near, dim=1), atol=1e-9, rtol=0)
    assert slerp(a.float(), near.float(), 0.5).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": torch.ones(16)}, r"a: expected unit vectors \(B, D\), got \(16,\)"),
        ({"b": None}, "b: expected unit vectors"),
        ({"b": 2 * unit(2)}, "b: expected unit vectors, got lengths"),
        ({"b": unit(2, 8)}, "b has 8 numbers"),
        ({"share": 1.2}, "share is 1.2"),
        ({"share": math.nan}, "share is nan"),
        ({"b": -unit(2)}, "opposite directions"),
    ],
    ids=str,
)
def test_refusals(changes, message):
    with pytest.raises(ValueError, match=message):
        slerp(**{"a": unit(2), "b": unit(2, seed=1), "share": 0.5} | changes)
