"""The mixture against torch.distributions and autograd; samplers and guidance against the mixture."""

from functools import lru_cache

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from course_utils.diffusion.classifier_guidance import ClassifierGuidance, classifier_gradient
from course_utils.diffusion.guidance import ClassifierFreeGuidance
from course_utils.diffusion.guidance_methods import AutoGuidance
from course_utils.diffusion.mixture import LabelledMixture, MixtureDenoiser, three_petals
from course_utils.diffusion.paths import Cosine, RectifiedFlow, VariancePreserving
from course_utils.diffusion.samplers import SAMPLERS, time_grid
from course_utils.evaluation.energy import energy_distance, energy_noise_floor

PATHS = [RectifiedFlow(), VariancePreserving(), Cosine()]
by_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
N, RUNS, POINTS = 500, 4, 1000


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def points(n=40, seed=0):
    return 1.5 * torch.randn(n, 2, generator=seeded(seed), dtype=torch.float64)


def times(n=40, low=0.05):
    return torch.linspace(low, 1, n, dtype=torch.float64)


def noisy(mixture, t, y=None):
    """torch's own mixture of what the noise has made of each Gaussian, at one time."""
    alpha, sigma = mixture.path.alpha(t), mixture.path.sigma(t)
    rows = slice(None) if y is None else mixture.labels == y
    covariances = alpha**2 * mixture.covariances[rows] + sigma**2 * torch.eye(2, dtype=torch.float64)
    parts = MultivariateNormal(alpha * mixture.means[rows], covariances)
    return MixtureSameFamily(Categorical(mixture.weights[rows]), parts)


@by_path
@pytest.mark.parametrize("y", [None, 0, 2])
def test_density_score_and_z0_at_every_t(path, y):
    """Density by torch.distributions, score by autograd of it, z0 by Tweedie's formula from that score."""
    mixture = three_petals(path)
    for t in torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64):
        z = points().requires_grad_()
        expected = noisy(mixture, t, y).log_prob(z)
        score = torch.autograd.grad(expected.sum(), z)[0]
        z = z.detach()
        torch.testing.assert_close(mixture.log_density(z, t, y), expected.detach(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(mixture.score(z, t, y), score, rtol=1e-9, atol=1e-9)
        alpha, sigma = path.alpha(t), path.sigma(t)
        if alpha > 1e-3:
            z0 = (z + sigma**2 * score) / alpha
            torch.testing.assert_close(mixture.z0(z, t, y), z0, rtol=1e-7, atol=1e-7)
    at_noise = mixture.z0(points(), torch.ones(()), y)
    assert at_noise.isfinite().all()


@by_path
def test_class_posterior_and_its_gradient(path):
    mixture = three_petals(path)
    y = torch.arange(40) % 3
    z, t = points().requires_grad_(), times()
    log_posterior = mixture.class_log_posterior(z, t)
    torch.testing.assert_close(log_posterior.exp().sum(1), torch.ones(40, dtype=torch.float64))
    expected = torch.autograd.grad(log_posterior.gather(1, y[:, None]).sum(), z)[0]
    torch.testing.assert_close(mixture.class_gradient(z, t, y).detach(), expected, rtol=1e-9, atol=1e-9)
    by_bayes = mixture.score(z, t, y) - mixture.score(z, t)
    torch.testing.assert_close(expected, by_bayes.detach(), rtol=1e-8, atol=1e-8)


@by_path
@pytest.mark.parametrize("w", [0.0, 1.0, 3.0, 8.0])
def test_both_guidances_equal_the_exact_guided_score(path, w):
    """CFG on velocities, classifier guidance by autograd on the posterior: to 1e-5, in float64 to 1e-9."""
    mixture, y = three_petals(path), torch.full((40,), 1)
    denoiser = MixtureDenoiser(mixture)
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 1e-5)):
        z, t = points().to(dtype), times(low=0.05).to(dtype)
        t[-1] = 0.99  # at t = 1 exactly the rectified flow holds no class to be guided by
        exact = mixture.guided_score(z.double(), t.double(), 1, w)
        gradient = classifier_gradient(mixture.class_log_posterior, y)
        by_classifier = ClassifierGuidance(mixture.model(), gradient, w)(z, t).score
        velocity = ClassifierFreeGuidance(denoiser, denoiser.condition(1, 40), w)(z, t)
        by_cfg = path.from_velocity(velocity, z, t).score
        for guided in (by_classifier, by_cfg):
            error = (guided.double() - exact).norm(dim=1) / exact.norm(dim=1).clamp(min=1)
            assert error.max() < tolerance


@lru_cache
def floor_of(y):
    """Mean distance of equal distributions, and its standard deviation for the mean of RUNS distances."""
    mixture, g = three_petals(PATHS[0]), seeded(8)
    floor = energy_noise_floor(lambda: mixture.sample(N, y, g), 100)
    return float(floor.mean()), float(floor.std()) / RUNS**0.5


def distance_of(mixture, model, name, y, grid):
    """Mean energy distance of RUNS runs of N points to as many exact draws.

    One distance's distribution has a long right tail (skewness 1.5 here); the mean of some is a fairer test.
    """
    g = seeded(3)
    made = SAMPLERS[name](model, torch.randn(RUNS * N, 2, generator=g), grid, g)
    exact = mixture.sample(RUNS * N, y, g)
    return sum(map(energy_distance, made.split(N), exact.split(N))) / RUNS


@by_path
@pytest.mark.parametrize(("name", "y"), [*((name, 1) for name in SAMPLERS), ("heun", None), ("ddpm", None)])
def test_samplers_reproduce_the_exact_distribution_at_w_1(path, name, y):
    mixture, grid = three_petals(path), time_grid(100)
    if isinstance(path, VariancePreserving):  # its noise is gone within a small part of t: steps there too
        grid = grid**2
    distance, (mean, std) = distance_of(mixture, mixture.model(y), name, y, grid), floor_of(y)
    print(f"{type(path).__name__} {name} y={y}: {distance:.5f}, floor {mean:.5f} ± {std:.5f}")
    assert distance < mean + 4 * std


@pytest.mark.parametrize(("w", "steps"), [(1.4, 100), (0.7, 100), (1.0, 4)])
def test_a_wrong_scale_or_too_few_steps_rise_above_the_floor(w, steps):
    mixture, (mean, std) = three_petals(RectifiedFlow()), floor_of(1)
    distance = distance_of(mixture, mixture.model(1, w), "euler", 1, time_grid(steps))
    print(f"w={w} in {steps} steps: {distance:.5f}, floor {mean:.5f} ± {std:.5f}")
    assert distance > mean + 8 * std


@pytest.mark.parametrize("w", [2.0, 4.0])
def test_cfg_does_not_sample_the_tilted_distribution(w):
    mixture, g = three_petals(RectifiedFlow()), seeded(4)
    denoiser = MixtureDenoiser(mixture)
    guided = ClassifierFreeGuidance(denoiser, denoiser.condition(1, POINTS), w)
    made = SAMPLERS["heun"](
        lambda z, t: mixture.path.from_velocity(guided(z, t), z, t),
        torch.randn(POINTS, 2, generator=g),
        time_grid(60),
    )
    floor = energy_noise_floor(lambda: mixture.tilted_sample(POINTS, 1, w, g), 12)
    distance = energy_distance(made, mixture.tilted_sample(POINTS, 1, w, g))
    print(f"CFG w={w} to tilted: {distance:.5f}, floor {floor.mean():.5f} ± {floor.std():.5f}")
    assert distance > floor.mean() + 10 * floor.std()
    assert distance > 10 * floor.abs().max()


@pytest.mark.parametrize("w", [0.5, 1.0, 3.0])
def test_tilted_samples_against_a_grid(w):
    """The mean and spread of rejection samples against sums over a grid of the unnormalised density."""
    mixture = three_petals(RectifiedFlow())
    line = torch.linspace(-5, 5, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    now = torch.zeros((), dtype=torch.float64)
    log_tilted = mixture.log_density(grid, now) + w * mixture.class_log_posterior(grid, now)[:, 1]
    p = log_tilted.softmax(0)[:, None]
    mean = (p * grid).sum(0)
    second = (p * (grid - mean) ** 2).sum(0)
    z = mixture.tilted_sample(20_000, 1, w, seeded(5)).double()
    torch.testing.assert_close(z.mean(0), mean, rtol=0, atol=0.02)
    torch.testing.assert_close(z.var(0), second, rtol=0.05, atol=0.01)


def test_a_negative_scale_draws_everything_but_the_class():
    mixture = three_petals(RectifiedFlow())
    z = torch.randn(600, 2, generator=seeded(6))
    now = torch.zeros(())
    share = {}
    for w in (0.0, -2.0):
        drawn = SAMPLERS["euler"](mixture.model(0, w), z, time_grid(60))
        share[w] = float((mixture.class_log_posterior(drawn, now).argmax(1) == 0).float().mean())
    assert share[0.0] == pytest.approx(1 / 3, abs=0.06)
    assert share[-2.0] < 0.02


def test_autoguidance_undoes_the_blur_of_an_imperfect_model():
    """A model that is blurred a little, guided away from one that is blurred more: nearer to the truth."""
    mixture, g = three_petals(RectifiedFlow()), seeded(6)
    good, weak = (MixtureDenoiser(mixture.blurred(by)) for by in (0.25, 0.5))
    start, distances = torch.randn(POINTS, 2, generator=g), {}
    for w in (1.0, 1.3):
        guided = AutoGuidance(good, good.condition(1, POINTS), w, weak=weak)
        made = SAMPLERS["heun"](
            lambda z, t, guided=guided: mixture.path.from_velocity(guided(z, t), z, t), start, time_grid(60)
        )
        distances[w] = energy_distance(made, mixture.sample(POINTS, 1, g))
    floor = energy_noise_floor(lambda: mixture.sample(POINTS, 1, g), 12)
    print(f"autoguidance: {distances}, floor {floor.mean():.5f} ± {floor.std():.5f}")
    assert distances[1.0] > floor.mean() + 5 * floor.std()
    assert distances[1.3] < 0.5 * distances[1.0]


def test_exact_samples_have_the_classes_moments():
    mixture = three_petals(RectifiedFlow())
    z = mixture.sample(40_000, 2, seeded(7)).double()
    rows = mixture.labels == 2
    torch.testing.assert_close(z.mean(0), mixture.means[rows].mean(0), rtol=0, atol=0.02)
    assert torch.equal(mixture.sample(5, generator=seeded(1)), mixture.sample(5, generator=seeded(1)))


def test_model_is_guided_like_the_guided_score():
    mixture, z, t = three_petals(RectifiedFlow()), points(), times()
    t[-1] = 0.99
    torch.testing.assert_close(mixture.model(1, 4.0)(z, t).score, mixture.guided_score(z, t, 1, 4.0))
    assert mixture.model(1, 4.0)(z, torch.ones(40)).velocity.isfinite().all()


def test_bad_mixtures_and_arguments_are_refused():
    path, eye = RectifiedFlow(), torch.eye(2).expand(2, 2, 2)
    means, weights, labels = torch.zeros(2, 2), torch.ones(2), torch.tensor([0, 1])
    for arguments, name in [
        ((torch.zeros(2), eye, weights, labels), "means"),
        ((means * float("nan"), eye, weights, labels), "finite"),
        ((means, eye[:1], weights, labels), "covariances"),
        ((means, -eye, weights, labels), "positive definite"),
        ((means, eye, torch.tensor([1.0, 0.0]), labels), "weights"),
        ((means, eye, weights, torch.tensor([0, 2])), "labels"),
    ]:
        with pytest.raises(ValueError, match=name):
            LabelledMixture(*arguments, path)
    mixture, z, t = three_petals(path), points(), times()
    for call, name in [
        (lambda: mixture.score(z[:, :1], t), "z has shape"),
        (lambda: mixture.score(z, t[:3]), "t has shape"),
        (lambda: mixture.score(z, t + 1), r"times in \[0, 1\]"),
        (lambda: mixture.score(z, t * float("nan")), "times in"),
        (lambda: mixture.score(z, t, 3), "classes from 0 to 2"),
        (lambda: mixture.score(z, t, 0.5), "y is 0.5"),
        (lambda: mixture.guided_score(z, t, 1, float("nan")), "guidance_scale"),
        (lambda: mixture.tilted_sample(5, 1, float("nan")), "guidance_scale"),
        (lambda: mixture.sample(0), "n is 0"),
        (lambda: mixture.blurred(-1.0), "by is"),
        (lambda: mixture.tilted_sample(4, 0, -1.0), "expected 0 or more"),
        (lambda: MixtureDenoiser(mixture)(z, t, torch.zeros(40, 2)), "cond has shape"),
    ]:
        with pytest.raises(ValueError, match=name):
            call()
