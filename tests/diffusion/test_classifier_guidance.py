"""Classifier guidance: closed forms, its two forms against each other, and sampling on the mixture."""

import pytest
import torch

from course_utils.diffusion.classifier_guidance import (
    ClassifierGuidance,
    classifier_gradient,
    guided_ddpm,
    guided_mean,
)
from course_utils.diffusion.mixture import three_petals
from course_utils.diffusion.paths import Cosine, RectifiedFlow, VariancePreserving
from course_utils.diffusion.samplers import ddpm, time_grid
from course_utils.evaluation.energy import energy_distance, energy_noise_floor

PATHS = [RectifiedFlow(), VariancePreserving(), Cosine()]
by_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def test_gradient_of_a_linear_classifier():
    """logits = z A: ∇ log softmax_y = A_y − Σ_k p_k A_k. Also where gradients are switched off."""
    weight, z, y = randn(12, 5, seed=1), randn(4, 3, 2, 2), torch.tensor([0, 4, 2, 2])

    def classifier(z, t):
        return z.flatten(1) @ weight

    expected = (weight.T[y] - classifier(z, None).softmax(1) @ weight.T).view(4, 3, 2, 2)
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            got = classifier_gradient(classifier, y)(z.clone(), torch.ones(4).clone())
        torch.testing.assert_close(got, expected)


@by_path
def test_epsilon_form_is_its_formula(path):
    """eps − w σ g, for a scale a latent, and w = 0 is the model alone."""
    z, eps, g, t = randn(3, 4, 2, 2), randn(3, 4, 2, 2, seed=1), randn(3, 4, 2, 2, seed=2), randn(3).sigmoid()
    w = torch.tensor([0.0, 1.0, 6.0])
    guided = ClassifierGuidance(lambda z, t: path.from_eps(eps, z, t), lambda z, t: g, w)(z, t)
    expected = eps - (w * path.sigma(t))[:, None, None, None] * g
    torch.testing.assert_close(guided.eps, expected, rtol=1e-9, atol=1e-9)


@by_path
def test_mean_form_tends_to_the_epsilon_form(path):
    """The two means differ by a share of the push that shrinks with the step, like the step."""
    z, z0, g, t = randn(3, 4), randn(3, 4, seed=1), randn(3, 4, seed=2), torch.full((3,), 0.5).double()
    base = path.from_z0(z0, z, t)
    by_eps = ClassifierGuidance(lambda z, t: base, lambda z, t: g, 3.0)(z, t)
    shares = []
    for step in (0.02, 0.01, 0.005):
        s = t - step
        plain, std = path.posterior(z, z0, t, s)
        by_mean = guided_mean(base, s, g, 3.0)[0]
        torch.testing.assert_close(by_mean - plain, 3.0 * std**2 * g)
        other = path.posterior(z, by_eps.z0, t, s)[0]
        shares.append(((other - by_mean).norm() / (by_mean - plain).norm()).item())
    assert shares[0] / shares[1] == pytest.approx(2, rel=0.3)
    assert shares[1] / shares[2] == pytest.approx(2, rel=0.3)


@pytest.mark.parametrize("form", ["mean", "epsilon"])
def test_both_forms_sample_the_class_at_w_1(form):
    """Bayes: the unconditional model and the exact noisy classifier give the conditional distribution."""
    mixture, n, g = three_petals(Cosine()), 1000, seeded(1)
    gradient = classifier_gradient(mixture.class_log_posterior, torch.ones(n, dtype=torch.int64))
    start, grid = torch.randn(n, 2, generator=g), time_grid(120)
    if form == "mean":
        made = guided_ddpm(mixture.model(), start, grid, g, gradient=gradient, guidance_scale=1.0)
    else:
        made = ddpm(ClassifierGuidance(mixture.model(), gradient, 1.0), start, grid, g)
    floor = energy_noise_floor(lambda: mixture.sample(n, 1, g), 40)
    distance = energy_distance(made, mixture.sample(n, 1, g))
    print(f"classifier guidance, {form} form: {distance:.5f}, floor {floor.mean():.5f} ± {floor.std():.5f}")
    assert distance < floor.mean() + 4 * floor.std()
    assert energy_distance(made, mixture.sample(n, 0, g)) > 100 * floor.std()


def test_guided_ddpm_without_a_push_is_ddpm():
    mixture, z = three_petals(VariancePreserving()), randn(8, 2)
    told = []
    a = guided_ddpm(
        mixture.model(),
        z,
        time_grid(5),
        seeded(2),
        lambda i, z, p: told.append(i),
        gradient=lambda z, t: torch.ones_like(z),
        guidance_scale=0.0,
    )
    torch.testing.assert_close(a, ddpm(mixture.model(), z, time_grid(5), seeded(2)))
    assert told == list(range(5))


def test_bad_arguments_are_refused():
    mixture, z, t = three_petals(Cosine()), randn(4, 2), torch.full((4,), 0.5).double()

    def gradient(z, t):
        return torch.zeros_like(z)

    for w in (float("nan"), -float("inf"), float("inf"), "a", None, torch.tensor([1.0, float("nan")])):
        with pytest.raises(ValueError, match="guidance_scale"):
            ClassifierGuidance(mixture.model(), gradient, w)
    with pytest.raises(ValueError, match="guidance_scale"):
        ClassifierGuidance(mixture.model(), gradient, torch.ones(3))(z, t)
    with pytest.raises(ValueError, match="guidance_scale"):
        guided_ddpm(mixture.model(), z, time_grid(2), gradient=gradient, guidance_scale=float("nan"))
    for y in (1, torch.ones(4), torch.ones(2, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match="y is"):
            classifier_gradient(mixture.class_log_posterior, y)
    with pytest.raises(ValueError, match="z holds 4 latents; expected 2"):
        classifier_gradient(mixture.class_log_posterior, torch.tensor([0, 1]))(z, t)
    with pytest.raises(ValueError, match="classes of the classifier"):
        classifier_gradient(mixture.class_log_posterior, torch.tensor([0, 1, 2, 3]))(z, t)
