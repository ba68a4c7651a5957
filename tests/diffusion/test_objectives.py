"""The denoisers' objectives against a line of algebra."""

import pytest
import torch

from course_utils.diffusion import objectives
from course_utils.diffusion.paths import Cosine, RectifiedFlow, VariancePreserving


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("path", [RectifiedFlow(), Cosine()])
def test_flow_matching_sums_over_the_latent(path):
    z0, eps, cond, t = (
        randn(3, 4, 2, 2),
        randn(3, 4, 2, 2, seed=1),
        randn(3, 7),
        torch.tensor([0.0, 0.3, 1.0]),
    )
    seen = {}

    def silent(z_t, at, c):
        seen.update(z_t=z_t, t=at, cond=c)
        return torch.zeros_like(z_t)

    velocity = path.velocity(z0, eps, t)
    loss = objectives.flow_matching(silent, path, z0, cond, t, eps)
    torch.testing.assert_close(loss, (velocity**2).sum((1, 2, 3)))
    assert torch.equal(seen["z_t"], path.add_noise(z0, eps, t))
    assert seen["t"] is t
    assert seen["cond"] is cond
    assert objectives.flow_matching(lambda *_: velocity, path, z0, cond, t, eps).max() == 0


def test_first_loss_of_the_rectified_flow_is_twice_the_latents_size():
    """A fresh denoiser says 0, and E‖eps − z0‖² = 2 for each number of a latent of unit variance."""
    z0, eps = randn(4096, 4, 2, 2), randn(4096, 4, 2, 2, seed=1)
    loss = objectives.flow_matching(lambda z, t, c: 0 * z, RectifiedFlow(), z0, None, torch.full((4096,), 0.5), eps)
    assert loss.mean().item() == pytest.approx(2 * 16, rel=0.02)


def test_noise_prediction_is_ddpms_simple_loss():
    path = VariancePreserving()
    z0, eps, t = randn(3, 4, 2, 2), randn(3, 4, 2, 2, seed=1), torch.tensor([0.0, 0.3, 1.0])
    seen = {}

    def silent(z_t, at, c):
        seen.update(z_t=z_t, t=at, cond=c)
        return torch.zeros_like(z_t)

    loss = objectives.noise_prediction(silent, path, z0, "condition", t, eps)
    torch.testing.assert_close(loss, (eps**2).sum((1, 2, 3)))
    alpha_bar = path.alpha_bar(t)[:, None, None, None]
    torch.testing.assert_close(seen["z_t"], alpha_bar.sqrt() * z0 + (1 - alpha_bar).sqrt() * eps)
    assert seen["t"] is t
    assert seen["cond"] == "condition"
    assert objectives.noise_prediction(lambda *_: eps, path, z0, None, t, eps).max() == 0
