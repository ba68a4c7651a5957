"""Each method against diffusers' implementation where there is one, and against its formula where not."""

import pytest
import torch

from course_utils.diffusion.guidance import ClassifierFreeGuidance
from course_utils.diffusion.guidance_methods import (
    APG,
    AutoGuidance,
    CFGPlusPlus,
    CFGZeroStar,
    DynamicThreshold,
    LimitedInterval,
    Rescale,
    methods,
)
from course_utils.diffusion.paths import Cosine, RectifiedFlow, VariancePreserving
from course_utils.diffusion.samplers import ddim, euler, time_grid

PATHS = [RectifiedFlow(), VariancePreserving(), Cosine()]
by_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
scales = pytest.mark.parametrize("w", [0.0, 1.0, 3.0, 7.5])
FLOW = RectifiedFlow()


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Denoiser:
    """Mixes latent, time and condition, and counts the latents it was asked about."""

    null = randn(6, seed=5)

    def __init__(self, gain=1.0):
        self.gain, self.asked = gain, 0

    def __call__(self, z, t, cond):
        self.asked += len(z)
        shift = t[:, None, None, None] * cond[:, :4, None, None]
        return self.gain * torch.tanh(z + shift) + cond[:, 4:5, None, None]


Z, T, COND = randn(3, 4, 8, 8, seed=1), torch.tensor([0.1, 0.5, 0.9]), randn(3, 6, seed=2)
NULL = Denoiser.null.expand(3, 6)


def ends(z=Z, t=T):
    model = Denoiser()
    return model(z, t, NULL), model(z, t, COND)


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@scales
def test_interval_equals_diffusers_over_a_run(w):
    """Their start and stop count steps: 0.2 to 0.6 of ten steps is t = 0.8 down to 0.5."""
    from diffusers.guiders import ClassifierFreeGuidance as Guider

    ours, model = Guider(guidance_scale=w, start=0.2, stop=0.6), Denoiser()
    guided = LimitedInterval(model, COND, w, low=0.4, high=0.8)
    for step, now in enumerate(time_grid(10)[:-1]):
        t = now.expand(3)
        uncond, cond = ends(t=t)
        ours.set_state(step, 10, now)
        close(guided(Z, t), ours.forward(pred_cond=cond, pred_uncond=uncond).pred)
    assert model.asked == 3 * (10 + 4)  # the second question in four steps of ten only


def test_interval_for_latents_at_different_times():
    uncond, cond = ends()
    got = LimitedInterval(Denoiser(), COND, 4.0, low=0.3, high=0.8)(Z, T)
    close(got[[0, 2]], cond[[0, 2]])
    close(got[1], (uncond + 4 * (cond - uncond))[1])


@scales
@pytest.mark.parametrize("phi", [0.3, 0.7, 1.0])
def test_rescale_equals_diffusers(w, phi):
    from diffusers.guiders import ClassifierFreeGuidance as Guider

    uncond, cond = ends()
    theirs = Guider(guidance_scale=w, guidance_rescale=phi).forward(pred_cond=cond, pred_uncond=uncond).pred
    got = Rescale(Denoiser(), COND, w, phi=phi)(Z, T)
    close(got, theirs)
    if phi == 1:
        close(got.std((1, 2, 3)), cond.std((1, 2, 3)))


@pytest.mark.parametrize("quantile", [0.9, 0.995])
def test_dynamic_threshold_equals_diffusers(quantile):
    """DDIMScheduler has Imagen's for pixels, limit 1, applied to the estimate of the data."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        thresholding=True, dynamic_thresholding_ratio=quantile, sample_max_value=1e6, clip_sample=False
    )
    got = DynamicThreshold(Denoiser(), COND, 9.0, path=FLOW, quantile=quantile, limit=1.0)(Z, T)
    plain = FLOW.from_velocity(ClassifierFreeGuidance(Denoiser(), COND, 9.0)(Z, T), Z, T).z0
    assert plain.abs().amax() > 2
    close(FLOW.from_velocity(got, Z, T).z0, scheduler._threshold_sample(plain), 1e-4)


@by_path
def test_dynamic_threshold_leaves_what_is_in_range(path):
    got = DynamicThreshold(Denoiser(), COND, 3.0, path=path, limit=1e4)(Z, T)
    close(got, ClassifierFreeGuidance(Denoiser(), COND, 3.0)(Z, T), 1e-3)


@by_path
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_cfg_plus_plus_is_its_algorithm(path, lam):
    """Chung et al.'s loop written out, in float64, step by step for a whole run."""
    times, z = torch.linspace(1, 0, 9, dtype=torch.float64), Z.double()
    model, cond, null = Denoiser(), COND.double(), NULL.double()
    guided = CFGPlusPlus(model, cond, lam, null, path=path, times=times)
    got = []
    ddim(lambda z, t: path.from_velocity(guided(z, t), z, t), z, times, callback=lambda i, z, p: got.append(z))
    for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        at = t.expand(3)
        free, conditional = (path.from_velocity(model(z, at, c), z, at) for c in (null, cond))
        z = path.alpha(s) * (free.z0 + lam * (conditional.z0 - free.z0)) + path.sigma(s) * free.eps
        torch.testing.assert_close(got[i], z, rtol=1e-5, atol=1e-5)  # w is kept in float32
    if isinstance(path, RectifiedFlow):
        end = euler(lambda z, t: path.from_velocity(guided(z, t), z, t), Z.double(), times)
        torch.testing.assert_close(end, z, rtol=1e-5, atol=1e-5)


@scales
@by_path
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("radius", [None, 2.0])
def test_apg_equals_diffusers_over_a_run(w, path, eta, radius):
    """On estimates of the data, as the paper; its w − 1 is diffusers' `use_original_formulation`."""
    from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

    buffer = MomentumBuffer(-0.5)
    guided = APG(Denoiser(), COND.double(), w, path=path, eta=eta, radius=radius, momentum=-0.5)
    for now in (0.9, 0.6, 0.3):
        z, t = Z.double(), torch.full((3,), now, dtype=torch.float64)
        model = Denoiser()
        free, conditional = (
            path.from_velocity(model(z, t, c.double()), z, t).z0 for c in (Denoiser.null.expand(3, 6), COND)
        )
        theirs = normalized_guidance(
            conditional, free, w - 1, buffer, eta, radius or 0.0, use_original_formulation=True
        )
        got = path.from_velocity(guided(z, t), z, t).z0
        torch.testing.assert_close(got, theirs, rtol=1e-8, atol=1e-8)


def test_apg_without_its_parts_is_cfg_and_forgets_between_runs():
    plain = APG(Denoiser(), COND, 5.0, path=FLOW, eta=1.0, momentum=0.0, radius=None)
    close(plain(Z, T), ClassifierFreeGuidance(Denoiser(), COND, 5.0)(Z, T), 1e-4)
    guided, late, early = APG(Denoiser(), COND, 5.0, path=FLOW), torch.full((3,), 0.2), torch.ones(3)
    first = guided(Z, early)
    remembered = guided(Z, late)
    assert not torch.allclose(remembered, APG(Denoiser(), COND, 5.0, path=FLOW)(Z, late))
    assert torch.equal(guided(Z, early), first), "a new run starts without memory"


@pytest.mark.parametrize("w", [0.0, 3.0, 7.5])  # diffusers turns its off at w = 1, scale and still start too
def test_zero_star_equals_diffusers_over_a_run(w):
    from diffusers.guiders import ClassifierFreeZeroStarGuidance as Guider

    theirs, guided = Guider(guidance_scale=w, zero_init_steps=2), CFGZeroStar(Denoiser(), COND, w, still=0.15)
    for step, now in enumerate(time_grid(10)[:-1]):
        t = now.expand(3)
        uncond, cond = ends(t=t)
        theirs.set_state(step, 10, now)
        close(guided(Z, t), theirs.forward(pred_cond=cond, pred_uncond=uncond).pred)


def test_zero_star_at_w_1_is_conditional():
    close(CFGZeroStar(Denoiser(), COND, 1.0)(Z, T), ends()[1])
    assert (CFGZeroStar(Denoiser(), COND, 7.0)(Z, torch.ones(3)) == 0).all()


@scales
def test_autoguidance_equals_diffusers(w):
    from diffusers.guiders import AutoGuidance as Guider

    weak, strong = Denoiser(0.6), Denoiser()
    guider = Guider(guidance_scale=w, auto_guidance_layers=[0], dropout=1.0)
    theirs = guider.forward(pred_cond=strong(Z, T, COND), pred_uncond=weak(Z, T, COND)).pred
    close(AutoGuidance(strong, COND, w, weak=weak)(Z, T), theirs)


def test_every_method_by_name_takes_a_scale_a_latent():
    """The same interface, the conditional answer at w = 1 (but for CFG++), and rows that do not mix."""
    w, times = torch.tensor([1.0, 2.0, 6.0]), time_grid(8)
    t = torch.tensor([0.75, 0.5, 0.25])
    _, cond = ends(t=t)
    named = methods(FLOW, times, weak=Denoiser(0.6))
    assert set(named) - set(methods(FLOW, times)) == {"autoguidance"}
    plain = named["CFG"](Denoiser(), COND, w)(Z, t)
    for name, method in named.items():
        got = method(Denoiser(), COND, w)(Z, t)
        assert got.shape == Z.shape
        assert got.isfinite().all()
        if name not in ("CFG++", "dynamic threshold"):
            close(got[0], cond[0], 1e-4)
        if name != "CFG":
            assert not torch.allclose(got, plain, atol=1e-3) or name in ("interval", "dynamic threshold")
        alone = method(Denoiser(), COND[1:2], 2.0)(Z[1:2], t[1:2])
        close(got[1:2], alone, 1e-4)


@pytest.mark.parametrize("name", methods(FLOW, time_grid(8), weak=Denoiser()))
@pytest.mark.parametrize("w", [float("nan"), -float("inf"), float("inf"), torch.ones(2), "a", None])
def test_bad_scales_are_refused_by_every_method(name, w):
    method = methods(FLOW, time_grid(8), weak=Denoiser())[name]
    with pytest.raises(ValueError, match="guidance_scale"):
        method(Denoiser(), COND, w)


@pytest.mark.parametrize("name", methods(FLOW, time_grid(8), weak=Denoiser()))
def test_wrong_batches_are_refused_by_every_method(name):
    guided = methods(FLOW, time_grid(8), weak=Denoiser())[name](Denoiser(), COND, 2.0)
    for t in (T[:2], torch.full((2,), 0.05)):
        with pytest.raises(ValueError, match="z holds 2 latents; expected 3"):
            guided(Z[:2], t)


nan = float("nan")


@pytest.mark.parametrize(
    ("method", "keywords", "message"),
    [
        (LimitedInterval, {"low": 0.5, "high": 0.5}, "interval from low 0.5 to high 0.5"),
        (LimitedInterval, {"low": 0.8, "high": 0.2}, "interval"),
        (LimitedInterval, {"low": -0.1, "high": 0.2}, "low is -0.1; expected a finite number from 0 to 1"),
        (LimitedInterval, {"low": nan, "high": 0.2}, "low is nan"),
        (Rescale, {"phi": 1.5}, "phi is 1.5"),
        (Rescale, {"phi": nan}, "phi is nan"),
        (DynamicThreshold, {"path": FLOW, "quantile": nan}, "quantile"),
        (DynamicThreshold, {"path": FLOW, "limit": 0.0}, "limit"),
        (CFGPlusPlus, {"path": FLOW, "times": torch.tensor([0.0, 1.0])}, "times"),
        (CFGPlusPlus, {"path": FLOW, "times": torch.tensor([1.0])}, "times"),
        (APG, {"path": FLOW, "radius": 0.0}, "radius"),
        (APG, {"path": FLOW, "eta": 2.0}, "eta"),
        (APG, {"path": FLOW, "momentum": -1.0}, "momentum"),
        (CFGZeroStar, {"still": nan}, "still"),
    ],
)
def test_bad_settings_are_refused(method, keywords, message):
    with pytest.raises(ValueError, match=message):
        method(Denoiser(), COND, 2.0, **keywords)


def test_other_refusals():
    with pytest.raises(ValueError, match="negative"):
        AutoGuidance(Denoiser(), COND, 2.0, NULL, weak=Denoiser())
    guided = CFGPlusPlus(Denoiser(), COND, 0.5, path=FLOW, times=time_grid(4))
    with pytest.raises(ValueError, match="the grid goes on"):
        guided(Z, torch.zeros(3))
