"""Samplers against diffusers' schedulers step by step, and against problems solved by hand."""

import pytest
import torch

from course_utils.diffusion.paths import Cosine, RectifiedFlow, VariancePreserving, over
from course_utils.diffusion.samplers import SAMPLERS, ddim, ddpm, euler, heun, matched_times, noise_like, time_grid

PATHS = [RectifiedFlow(), VariancePreserving(), Cosine()]
by_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
TRAINED = 40  # steps that diffusers' schedulers are told the model was trained with


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def network(z, t):
    """A small smooth function of latents and times that stands for any network."""
    weight = randn(3, 3, seed=7).to(z) / 2
    mixed = torch.einsum("ij,bjhw->bihw", weight, z)
    return torch.tanh(mixed + t[:, None, None, None]) + 0.3 * z


def exact_grid(steps):
    """`time_grid` in float64, so that a comparison is not one of roundings."""
    times = torch.arange(steps, -1, -1, dtype=torch.float64) / steps
    assert torch.equal(times.float(), time_grid(steps))
    return times


def run(sampler, model, z, times, **kwargs):
    """The latents after each step."""
    trajectory = []
    end = sampler(model, z, times, callback=lambda i, z, _: trajectory.append(z), **kwargs)
    assert torch.equal(end, trajectory[-1])
    return trajectory


def gaussian(path, mean=1.5, std=0.4):
    """The exact model of data N(mean, std²) and, by it, where the probability flow takes a start at t = 1."""

    def model(z, t):
        alpha, sigma = (x(t)[:, None] for x in (path.alpha, path.sigma))
        gain = alpha * std**2 / ((alpha * std) ** 2 + sigma**2)
        return path.from_z0(mean + gain * (z - alpha * mean), z, t)

    def end(z):
        one = torch.ones((), dtype=z.dtype)
        alpha, sigma = path.alpha(one), path.sigma(one)
        return mean + std * (z - alpha * mean) / torch.sqrt((alpha * std) ** 2 + sigma**2)

    return model, end


def discrete(scheduler_class, path, steps, **kwargs):
    """diffusers' scheduler on our path: its index i is our t = (i + 1) / TRAINED."""
    alpha_bar = path.alpha(torch.arange(1, TRAINED + 1, dtype=torch.float64) / TRAINED) ** 2
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    scheduler = scheduler_class(
        num_train_timesteps=TRAINED,
        trained_betas=(1 - alpha_bar / before).tolist(),
        clip_sample=False,
        timestep_spacing="trailing",
        prediction_type="epsilon",
        **kwargs,
    )
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), alpha_bar, rtol=1e-3, atol=1e-6)
    scheduler.alphas_cumprod = alpha_bar  # the same numbers without its float32 rounding
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("steps", [8, TRAINED])
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_equals_diffusers_step_by_step(steps, eta):
    from diffusers import DDIMScheduler

    path, z = VariancePreserving(), randn(2, 3, 4, 4)
    scheduler = discrete(DDIMScheduler, path, steps)
    ours = run(
        ddim,
        lambda z, t: path.from_eps(network(z, t), z, t),
        z,
        exact_grid(steps),
        eta=eta,
        generator=torch.Generator().manual_seed(3),
    )
    g = torch.Generator().manual_seed(3)
    for i, mine in zip(scheduler.timesteps, ours, strict=True):
        t = ((i + 1).double() / TRAINED).expand(2)
        z = scheduler.step(network(z, t), i, z, eta=eta, generator=g).prev_sample
        torch.testing.assert_close(mine, z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [8, TRAINED])
def test_ddpm_equals_diffusers_step_by_step(steps):
    from diffusers import DDPMScheduler

    path, z = VariancePreserving(), randn(2, 3, 4, 4)
    scheduler = discrete(DDPMScheduler, path, steps, variance_type="fixed_small")
    ours = run(
        ddpm,
        lambda z, t: path.from_eps(network(z, t), z, t),
        z,
        exact_grid(steps),
        generator=torch.Generator().manual_seed(3),
    )
    g = torch.Generator().manual_seed(3)
    for i, mine in zip(scheduler.timesteps, ours, strict=True):
        t = ((i + 1).double() / TRAINED).expand(2)
        z = scheduler.step(network(z, t), i, z, generator=g).prev_sample
        torch.testing.assert_close(mine, z, rtol=1e-10, atol=1e-10)  # theirs adds 1e-20 of variance at the end


@pytest.mark.parametrize("steps", [1, 10, 33])
def test_euler_equals_diffusers_flow_matching_step_by_step(steps):
    from diffusers import FlowMatchEulerDiscreteScheduler

    path, z = RectifiedFlow(), randn(2, 3, 4, 4, dtype=torch.float32)
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(sigmas=time_grid(steps)[:-1].tolist())
    ours = run(euler, lambda z, t: path.from_velocity(network(z, t), z, t), z, time_grid(steps))
    for t, mine in zip(scheduler.timesteps, ours, strict=True):
        z = scheduler.step(network(z, (t / 1000).expand(2)), t, z).prev_sample
        torch.testing.assert_close(mine, z, rtol=1e-5, atol=1e-6)


def test_ddim_on_the_rectified_flow_is_euler():
    path, z = RectifiedFlow(), randn(2, 3, 4, 4)

    def model(z, t):
        return path.from_velocity(network(z, t), z, t)

    for a, b in zip(*(run(s, model, z, time_grid(9).double()) for s in (ddim, euler)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


@by_path
def test_ddim_with_eta_1_is_ddpm(path):
    def model(z, t):
        return path.from_velocity(network(z, t), z, t)

    z, times = randn(2, 3, 4, 4), time_grid(9).double()
    a = run(ddim, model, z, times, generator=torch.Generator().manual_seed(5), eta=1.0)
    b = run(ddpm, model, z, times, generator=torch.Generator().manual_seed(5))
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)


@by_path
@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2), (ddim, 1)])
def test_order_of_convergence(path, sampler, order):
    """Halving the steps' length divides the error by 2 to the order; Gaussian data has an exact answer.

    The linear path's velocity is infinite at t = 0, so there the flow is followed to t = 0.1 only.
    """
    model, exact = gaussian(path)
    z, last = randn(64, 1), 0.1 if isinstance(path, VariancePreserving) else 0.0
    errors = []
    for steps in (64, 128):
        times = 1 - (1 - last) * torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        at = torch.tensor([last], dtype=torch.float64)
        scale = torch.sqrt((path.alpha(at) * 0.4) ** 2 + path.sigma(at) ** 2) / 0.4
        expected = path.alpha(at) * 1.5 + scale * (exact(z) - 1.5)
        errors.append((sampler(model, z, times) - expected).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


@by_path
def test_ddpm_draws_from_the_data(path):
    """An exact model of Gaussian data: ancestral samples have the data's mean and standard deviation.

    The posterior's variance is a little too small (Ho et al. 2020, §3.2): std is up to 5 % low here.
    """
    model, _ = gaussian(path)
    samples = ddpm(model, randn(2000, 1), time_grid(150).double(), torch.Generator().manual_seed(1))
    assert samples.mean().item() == pytest.approx(1.5, abs=0.04)
    assert samples.std().item() == pytest.approx(0.4, rel=0.1)


@by_path
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_one_data_point_is_found_from_anywhere(path, sampler, steps):
    """If all data is one point the exact model always says so, and every sampler must end on it."""
    point = randn(1, 3, 2, 2, seed=9)
    times, g = time_grid(steps).double(), torch.Generator().manual_seed(0)
    end = sampler(lambda z, t: path.from_z0(point.expand_as(z), z, t), randn(5, 3, 2, 2), times, generator=g)
    if sampler in (ddim, ddpm) or isinstance(path, RectifiedFlow):
        torch.testing.assert_close(end, point.expand_as(end))
    else:
        assert end.isfinite().all()


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_calls_to_model_and_callback(sampler):
    """One forward a step (Heun two, but for the last), at the grid's times, and one callback."""
    path, seen, told = RectifiedFlow(), [], []

    def model(z, t):
        assert t.shape == (2,)
        assert t.dtype == z.dtype
        seen.append(t[0].item())
        return path.from_velocity(-z, z, t)

    z = randn(2, 3, 4, 4, dtype=torch.float32)
    sampler(model, z, time_grid(4), callback=lambda i, z, p: told.append((i, z.shape, p.z0.shape)))
    assert seen == ([1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25] if sampler is heun else [1, 0.75, 0.5, 0.25])
    assert told == [(i, z.shape, z.shape) for i in range(4)]


@pytest.mark.parametrize("sampler", [ddpm, lambda *a, **k: ddim(*a, eta=1.0, **k)], ids=["ddpm", "ddim"])
def test_a_latents_fate_is_its_own_generators(sampler):
    path, z, times = RectifiedFlow(), randn(3, 3, 4, 4), time_grid(5)

    def sample(rows):
        generators = [torch.Generator().manual_seed(i) for i in rows]
        return sampler(lambda z, t: path.from_velocity(network(z, t), z, t), z[rows], times, generator=generators)

    torch.testing.assert_close(sample([0, 1, 2])[1:], sample([1, 2]))
    assert not torch.allclose(sample([0]), sampler_with_other_seed(sampler, path, z[:1], times))


def sampler_with_other_seed(sampler, path, z, times):
    g = torch.Generator().manual_seed(99)
    return sampler(lambda z, t: path.from_velocity(network(z, t), z, t), z, times, generator=g)


def test_time_grid():
    assert time_grid(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert torch.equal(time_grid(1), torch.tensor([1.0, 0.0]))
    for steps in (0, -3, 2.5, "4", None, True):
        with pytest.raises(ValueError, match="steps is"):
            time_grid(steps)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize(
    "times", [[1.0], [0.0, 1.0], [1.0, 0.5, 0.5, 0.0], [1.5, 0.0], [1.0, float("nan")], [[1.0, 0.0]]]
)
def test_bad_times_are_refused(sampler, times):
    with pytest.raises(ValueError, match="times"):
        sampler(lambda z, t: None, randn(1, 2), torch.tensor(times))


def test_other_refusals():
    with pytest.raises(ValueError, match="eta is 1.5"):
        ddim(lambda z, t: None, randn(1, 2), time_grid(2), eta=1.5)
    with pytest.raises(ValueError, match="1 generators for 2 latents"):
        noise_like(randn(2, 3), [torch.Generator()])


def test_matched_times_have_the_other_paths_ratio():
    """On the cosine path σ/α = tan(πt/2), which can be turned around by hand."""
    times = torch.linspace(0, 1, 33, dtype=torch.float64)
    expected = 2 / torch.pi * torch.atan(times / (1 - times))
    torch.testing.assert_close(matched_times(Cosine(), RectifiedFlow(), times), expected, atol=1e-12, rtol=0)
    for path in PATHS:
        torch.testing.assert_close(matched_times(path, path, times), times, atol=1e-9, rtol=0)
    inner = times[1:-1].view(-1, 1)  # any shape
    matched = matched_times(VariancePreserving(), RectifiedFlow(), inner)
    assert matched.shape == inner.shape
    path = VariancePreserving()
    torch.testing.assert_close(path.sigma(matched) / path.alpha(matched), inner / (1 - inner), rtol=1e-9, atol=0)


def test_matched_times_keep_the_ends_and_the_dtype():
    grid = matched_times(VariancePreserving(), RectifiedFlow(), time_grid(16))
    assert grid.dtype == torch.float32
    assert grid[[0, -1]].tolist() == [1, 0]
    assert (grid.diff() < 0).all()
    beyond = matched_times(
        VariancePreserving(), RectifiedFlow(), torch.tensor([0.999, 0.9])
    )  # noisier than α/σ = 0.007
    assert beyond[0] == 1 > beyond[1]


def test_ddim_on_matched_times_is_euler_on_the_straight_path():
    """The same model in other coordinates: z on DDPM's path, divided by α + σ, lies on the straight one."""
    straight, curved = RectifiedFlow(), VariancePreserving()

    def model_on(path):
        def model(z, t):
            alpha, sigma = (over(x(t), z) for x in (path.alpha, path.sigma))
            ratio = path.sigma(t) / path.alpha(t)  # the network sees z and the noise in the straight path's coordinates
            return path.from_z0(network(z / (alpha + sigma), ratio / (1 + ratio)), z, t)

        return model

    times = torch.linspace(0.97, 0, 9, dtype=torch.float64)
    curved_times, start = matched_times(curved, straight, times), randn(2, 3, 4, 4)
    scale = curved.alpha(curved_times[0]) + curved.sigma(curved_times[0])
    by_euler = euler(model_on(straight), start, times)
    torch.testing.assert_close(ddim(model_on(curved), scale * start, curved_times), by_euler)
    assert not torch.allclose(ddim(model_on(curved), scale * start, times), by_euler, atol=1e-2)


@pytest.mark.parametrize("times", [torch.tensor([1, 0]), [0.5], torch.tensor([1.1]), torch.tensor([float("nan")])])
def test_matched_times_say_what_they_expect(times):
    with pytest.raises(ValueError, match=r"^times is .*expected .*\[0, 1\]"):
        matched_times(Cosine(), RectifiedFlow(), times)
