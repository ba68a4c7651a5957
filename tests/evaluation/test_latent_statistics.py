"""Posteriors whose statistics are known: by construction, from torch.distributions, or from many samples."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from course_utils.evaluation import latent_statistics
from course_utils.evaluation.chunks import in_chunks
from course_utils.evaluation.latent_statistics import (
    active_dimensions,
    aggregate_moments,
    kl_per_dimension,
    posteriors,
)
from course_utils.models.autoencoder import VAE, VAEConfig


@pytest.fixture
def pair():
    g = torch.Generator().manual_seed(0)
    return torch.randn(50, 7, generator=g), 0.5 * torch.randn(50, 7, generator=g) - 1


def test_posteriors_are_the_encoder_s_in_chunks(monkeypatch):
    torch.manual_seed(0)
    model, x = VAE(VAEConfig((16, 16, 16))), torch.rand(5, 3, 64, 64) * 2 - 1
    monkeypatch.setattr(latent_statistics, "in_chunks", partial(in_chunks, size=2))
    mean, logvar = posteriors(model, x)
    with torch.no_grad():
        q = model.encode(x)
    torch.testing.assert_close(mean, q.mean.flatten(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logvar, q.logvar.flatten(1), rtol=1e-4, atol=1e-5)
    assert mean.shape == (5, 256)
    assert not mean.requires_grad
    with pytest.raises(ValueError, match="pictures: got none"):
        posteriors(model, x[:0])


def test_dimensions_are_channel_row_column():
    at = torch.zeros(1, 4, 8, 8)
    at[0, 2, 3, 5] = 1.0
    model = torch.nn.Linear(1, 1)
    model.encode = lambda x: SimpleNamespace(mean=at, logvar=at)
    d = int(posteriors(model, torch.zeros(1, 3, 64, 64))[0].argmax())
    assert (d // 64, d % 64 // 8, d % 8) == (2, 3, 5)


def test_active_is_variance_of_the_mean_above_a_hundredth():
    step = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None]
    # Variance of ±s over four pictures, with N − 1 below: 4/3 s². The third sits far from 0, and says nothing.
    mean = step * torch.tensor([[0.08, 0.09, 0.0, 2.0]]) + torch.tensor([[0.0, 0.0, 5.0, -3.0]])
    assert active_dimensions(mean).tolist() == [False, True, False, True]
    assert active_dimensions(mean, threshold=1.0).tolist() == [False, False, False, True]


def test_kl_agrees_with_torch(pair):
    mean, logvar = pair
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(kl_per_dimension(mean, logvar), expected)
    zero = torch.zeros(3, 2)
    assert torch.equal(kl_per_dimension(zero, zero), torch.zeros(2))


def test_aggregate_moments_are_those_of_samples(pair):
    mean, logvar = pair
    eps = torch.randn(4000, *mean.shape, generator=torch.Generator().manual_seed(1))
    z = (mean + (0.5 * logvar).exp() * eps).flatten(0, 1)
    m, v = aggregate_moments(mean, logvar)
    torch.testing.assert_close(m, z.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(v, z.var(0), rtol=0.02, atol=0)


@pytest.mark.parametrize("function", [kl_per_dimension, aggregate_moments])
def test_bad_shapes_are_named(function, pair):
    mean, logvar = pair
    with pytest.raises(ValueError, match=r"mean: got \(7,\); expected \(N, D\)"):
        function(mean[0], logvar)
    with pytest.raises(ValueError, match=r"logvar: got \(50, 3\); expected the shape of mean, \(50, 7\)"):
        function(mean, logvar[:, :3])
    with pytest.raises(ValueError, match="mean: got list; expected"):
        active_dimensions([1.0])
