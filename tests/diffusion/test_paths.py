"""Paths: ends, derivatives, round trips between the four predictions, and the posterior's closed form."""

import pytest
import torch

from course_utils.diffusion.paths import Cosine, Path, RectifiedFlow, VariancePreserving

PATHS = [RectifiedFlow(), VariancePreserving(), Cosine()]
by_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


T = torch.tensor([0.02, 0.3, 0.5, 0.97], dtype=torch.float64)
Z0, EPS = randn(4, 4, 8, 8), randn(4, 4, 8, 8, seed=1)


@by_path
def test_ends_are_data_and_noise(path):
    ends = torch.tensor([0.0, 1.0])
    assert path.alpha(ends)[0] == 1
    assert path.sigma(ends)[0] == 0
    assert path.alpha(ends)[1].abs() < 0.007
    assert path.sigma(ends)[1].item() == pytest.approx(1, abs=3e-5)
    assert torch.equal(path.add_noise(Z0[:1], EPS[:1], ends[:1].double()), Z0[:1])
    torch.testing.assert_close(path.add_noise(Z0[:1], EPS[:1], ends[1:].double()), EPS[:1], rtol=0, atol=0.03)


@by_path
def test_derivatives_equal_autograd(path):
    t = T.clone().requires_grad_()
    torch.testing.assert_close(path.d_alpha(T), torch.autograd.grad(path.alpha(t).sum(), t)[0])
    torch.testing.assert_close(path.d_sigma(T), torch.autograd.grad(path.sigma(t).sum(), t)[0])


@by_path
def test_velocity_is_how_the_noisy_latent_moves(path):
    h = 1e-6
    moved = (path.add_noise(Z0, EPS, T + h) - path.add_noise(Z0, EPS, T - h)) / (2 * h)
    torch.testing.assert_close(path.velocity(Z0, EPS, T), moved, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", PATHS[1:], ids=["VariancePreserving", "Cosine"])
def test_variance_is_preserved(path):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones_like(t), rtol=0, atol=1e-14)


def test_alpha_bar_is_ddpms():
    """The continuous alpha_bar(i / 1000) follows DDPM's product of 1 − β over its thousand steps."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    ours = VariancePreserving().alpha_bar(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    assert (ours - (1 - betas).cumprod(0)).abs().max() < 2e-3
    torch.testing.assert_close(VariancePreserving().alpha(T) ** 2, VariancePreserving().alpha_bar(T))


@by_path
@pytest.mark.parametrize("given", ["eps", "velocity", "z0", "score"])
def test_each_prediction_gives_the_other_three(path, given):
    """The truth about (z0, eps), said in any of the four ways, is the truth in all four."""
    z = path.add_noise(Z0, EPS, T)
    truth = {
        "z0": Z0,
        "eps": EPS,
        "velocity": path.velocity(Z0, EPS, T),
        "score": -EPS / path.sigma(T)[:, None, None, None],
    }
    prediction = getattr(path, f"from_{given}")(truth[given], z, T)
    for name, expected in truth.items():
        torch.testing.assert_close(getattr(prediction, name), expected, rtol=1e-9, atol=1e-9, msg=name)
    assert prediction.path is path


def test_score_is_the_gradient_of_the_log_density():
    """One data point z0 makes p_t a Gaussian, whose log density torch.distributions differentiates."""
    path, z = VariancePreserving(), Z0.clone().requires_grad_()
    alpha, sigma = (x(T)[:, None, None, None] for x in (path.alpha, path.sigma))
    log_density = torch.distributions.Normal(alpha * EPS, sigma).log_prob(z).sum()
    score = torch.autograd.grad(log_density, z)[0]
    torch.testing.assert_close(path.from_z0(EPS, Z0, T).score, score)


@by_path
def test_ends_are_finite(path):
    """Where alpha is 0, knowing the noise says 0 of the data; where sigma is 0, the data 0 of the noise."""
    one, zero = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for given in ("from_eps", "from_velocity", "from_z0", "from_score"):
        for t in (zero, one):
            prediction = getattr(path, given)(EPS, Z0, t)
            for name in ("z0", "eps", "velocity"):
                assert getattr(prediction, name).isfinite().all(), (given, name, t[0])
    if path.alpha(one)[0] == 0:
        assert path.from_eps(EPS, EPS, one).z0.abs().max() == 0
    assert path.from_z0(Z0, Z0, zero).eps.abs().max() == 0
    torch.testing.assert_close(path.from_velocity(EPS, Z0, zero).z0, Z0)


@by_path
def test_posterior_is_bayes_rule(path):
    """q(z_s | z_t, z0) is the product of two Gaussians in z_s: q(z_s | z0) and q(z_t | z_s)."""
    t, s = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    ratio = path.alpha(t) / path.alpha(s)
    added = path.sigma(t) ** 2 - (ratio * path.sigma(s)) ** 2
    precision = 1 / path.sigma(s) ** 2 + ratio**2 / added
    z = path.add_noise(Z0, EPS, t)
    expected = (path.alpha(s) * Z0 / path.sigma(s) ** 2 + ratio * z / added) / precision
    mean, std = path.posterior(z, Z0, t, s)
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(std, precision.rsqrt())
    many_mean, many_std = path.posterior(z, Z0, t.expand(4), s.expand(4))
    torch.testing.assert_close(many_mean, mean)
    assert many_std.shape == (4, 1, 1, 1)


@by_path
def test_posterior_ends_in_the_data(path):
    mean, std = path.posterior(EPS, Z0, torch.tensor(0.5), torch.tensor(0.0))
    torch.testing.assert_close(mean, Z0)
    assert std == 0


def test_a_path_without_proper_ends_is_refused():
    with pytest.raises(ValueError, match="pure noise at t = 1, got alpha 0.9"):
        VariancePreserving(beta_min=0.1, beta_max=0.2)
    with pytest.raises(ValueError, match="0 < beta_min <= beta_max"):
        VariancePreserving(beta_min=2, beta_max=1)

    class Backwards(RectifiedFlow):
        def alpha(self, t):
            return t

        def sigma(self, t):
            return 1 - t

    with pytest.raises(ValueError, match="pure data at t = 0"):
        Backwards()
    with pytest.raises(NotImplementedError):
        Path()
