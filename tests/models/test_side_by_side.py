"""Small denoisers side by side: they start alike, and none hears of another."""

import pytest
import torch

from course_utils.models.side_by_side import SmallDenoisers


@pytest.fixture
def small():
    torch.manual_seed(0)
    return SmallDenoisers(kinds=2, alike=3)


def asked(small, seed=0):
    g = torch.Generator().manual_seed(seed)
    z, t = torch.randn(5, 2, generator=g).expand(6, -1, -1), torch.rand(5, generator=g)
    return z, t, small.classes[:, torch.tensor([0, 1, 2, 0, 1])]


def test_kinds_start_alike_and_seeds_do_not(small):
    v = small(*asked(small))
    assert v.shape == (6, 5, 2)
    torch.testing.assert_close(v[:3], v[3:])
    assert not torch.allclose(v[0], v[1])
    torch.testing.assert_close(small.null[:3], small.null[3:])


def test_each_is_a_plain_network_of_its_own(small):
    z, t, c = asked(small)
    h = torch.cat([z[1], torch.stack([t, (torch.pi * t).sin(), (torch.pi * t).cos()], 1), c[1]], 1)
    for k in range(4):
        h = h @ small.weights[k][1] + small.biases[k][1]
        h = torch.nn.functional.silu(h) if k < 3 else h
    torch.testing.assert_close(small(z, t, c)[1], h)


def test_a_loss_of_one_trains_that_one_only(small):
    small(*asked(small))[4].square().sum().backward()
    for p in small.weights:
        heard = p.grad.flatten(1).abs().sum(1) > 0
        assert heard.tolist() == [False] * 4 + [True, False]
    assert small.null.grad is None, "nobody was asked without a condition"


def test_bad_input_is_refused(small):
    z, t, c = asked(small)
    with pytest.raises(ValueError, match=r"z, c: got \(5, 2\)"):
        small(z[0], t, c)
    with pytest.raises(ValueError, match="kinds is 0"):
        SmallDenoisers(0)
