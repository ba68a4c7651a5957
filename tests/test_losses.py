"""Each loss against an answer from elsewhere: torch.distributions, open_clip, or a line of algebra."""

import math

import pytest
import torch
import torch.nn.functional as F

from course_utils import losses


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_kl_equals_torch_distributions():
    from torch.distributions import Normal, kl_divergence

    mean, logvar = 3 * randn(5, 4, 2, 2), 2 * randn(5, 4, 2, 2, seed=1)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum((1, 2, 3))
    torch.testing.assert_close(losses.kl(mean, logvar), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(losses.kl(torch.zeros(2, 3), torch.zeros(2, 3)), torch.zeros(2))


def test_reconstruction_is_the_unit_gaussians_negative_log_likelihood():
    """Up to its constant, so that a KL weight of 1 beside it is the ELBO's."""
    from torch.distributions import Normal

    x, x_hat = randn(3, 3, 4, 4), randn(3, 3, 4, 4, seed=1)
    constant = 0.5 * math.log(2 * math.pi) * x[0].numel()
    expected = -Normal(x_hat, 1.0).log_prob(x).sum((1, 2, 3)) - constant
    torch.testing.assert_close(losses.reconstruction(x, x_hat), expected)


@pytest.mark.parametrize("log_scale", [0.0, math.log(1 / 0.07), math.log(100)])
def test_contrastive_equals_open_clip(log_scale):
    from open_clip import ClipLoss

    image, text = F.normalize(randn(16, 32)), F.normalize(randn(16, 32, seed=1))
    scale = torch.tensor(log_scale, dtype=torch.float64, requires_grad=True)
    ours, theirs = losses.contrastive(image, text, scale), ClipLoss()(image, text, scale.exp())
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    ours_grad, theirs_grad = (torch.autograd.grad(loss, scale)[0] for loss in (ours, theirs))
    torch.testing.assert_close(ours_grad, theirs_grad)
    assert losses.contrastive(text, image, scale).item() == pytest.approx(ours.item()), "symmetric"


def test_contrastive_closed_forms():
    """Scale 0: all B answers are equally likely, ln B. Orthogonal pairs: a softmax of one s, the rest 0."""
    image, text = F.normalize(randn(24, 8)), F.normalize(randn(24, 8, seed=1))
    assert losses.contrastive(image, text, torch.tensor(-30.0)).item() == pytest.approx(math.log(24), abs=1e-9)
    own = torch.eye(5, dtype=torch.float64)
    expected = math.log(math.exp(3) + 4) - 3
    assert losses.contrastive(own, own, torch.tensor(math.log(3.0))).item() == pytest.approx(expected, abs=1e-6)


def test_hinge_closed_forms():
    zero = torch.zeros(2, 1, 7, 7)
    assert losses.hinge_discriminator(zero, zero) == 2
    assert losses.hinge_discriminator(zero + 1, zero - 1) == 0, "a margin of 1 is enough"
    assert losses.hinge_discriminator(zero - 1, zero) == 3
    assert losses.hinge_discriminator(zero, zero + 2) == 4
    assert losses.hinge_generator(torch.tensor([1.0, 2.0, 6.0])) == -3


def test_adaptive_weight_is_the_ratio_of_gradient_norms():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    rec, adv = (w * torch.tensor([3.0, 4.0])).sum(), (w * torch.tensor([0.0, -0.5])).sum()
    weight = losses.adaptive_weight(rec, adv, w)
    assert weight.item() == pytest.approx(5 / 0.5, rel=1e-5)
    assert not weight.requires_grad
    (rec + weight * adv).backward()  # both graphs are still there
    torch.testing.assert_close(w.grad, torch.tensor([3.0, 4.0 - 10 * 0.5]))
    assert losses.adaptive_weight((w * 3).sum(), (w * 0).sum(), w) == 1e4, "clamped while adv has no gradient"


@pytest.mark.parametrize("loss", [losses.reconstruction, losses.kl])
def test_a_forgotten_axis_is_an_error(loss):
    with pytest.raises(ValueError, match="expected the same"):
        loss(torch.zeros(4, 1), torch.zeros(4))
