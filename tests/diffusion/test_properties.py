"""What holds for any settings: pictures are finite and of the right shape, or a ValueError says why there are none."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_utils.diffusion.guidance import LARGEST, ClassifierFreeGuidance
from course_utils.diffusion.guidance_methods import Rescale, methods
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.diffusion.samplers import SAMPLERS, time_grid
from tests.diffusion.test_guidance import COND, NEGATIVE, Denoiser, T, Z
from tests.diffusion.test_pipeline import Clip, Vae
from tests.diffusion.test_pipeline import Denoiser as PictureDenoiser

QUICK = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck), derandomize=True)
PIPELINE = TextToPicture(Vae(), Clip(), PictureDenoiser(), RectifiedFlow())
SCALES = st.floats(-LARGEST, LARGEST, width=32)
ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers()))


@settings(QUICK, max_examples=20)
@given(
    st.text(max_size=15), st.integers(1, 3), SCALES, st.integers(1, 3), st.sampled_from(list(SAMPLERS)),
    st.text(max_size=15), st.integers(-(2**63), 2**63),
)  # fmt: skip
def test_pictures_are_finite_and_of_the_right_shape(prompt, n, w, steps, sampler, negative, seed):
    asked = {"guidance_scale": w, "steps": steps, "sampler": sampler, "negative": negative, "seed": seed}
    if any("\ud800" <= letter <= "\udfff" for letter in prompt + negative):
        with pytest.raises(ValueError, match="surrogate"):
            PIPELINE.generate(prompt, n, **asked)
        return
    pictures = PIPELINE.generate(prompt, n, **asked)
    assert pictures.shape == (n, 3, 64, 64)
    assert bool(pictures.isfinite().all())
    assert float(pictures.abs().max()) <= 1


@QUICK
@given(st.sampled_from(["prompt", "n", "guidance_scale", "steps", "sampler", "negative", "seed"]), ANYTHING)
def test_any_other_setting_is_refused_by_name(name, value):
    asked = {"prompt": "a bear", "n": 1, "guidance_scale": 1.0, "steps": 1, "seed": 0, name: value}
    if name in ("n", "steps") and isinstance(value, int) and value > 8:
        asked[name] = -value
    refused = ""
    try:
        pictures = PIPELINE.generate(**asked)
    except ValueError as error:
        refused = str(error)
    assert name in refused if refused else bool(pictures.isfinite().all())


@QUICK
@given(SCALES, SCALES)
def test_guided_velocities_are_linear_in_w(a, b):
    def guided(w):
        return ClassifierFreeGuidance(Denoiser(), COND, w, NEGATIVE)(Z, T).double()

    there = guided(0) + a * (guided(1) - guided(0))
    torch.testing.assert_close(guided(a), there, rtol=1e-4, atol=1e-4 * (1 + abs(a)))
    middle = guided((a + b) / 2)
    torch.testing.assert_close(middle, (guided(a) + guided(b)) / 2, rtol=1e-3, atol=1e-4 * (1 + abs(a) + abs(b)))


@QUICK
@given(st.sampled_from(["CFG", "interval", "dynamic threshold", "APG"]), st.integers(0, 2**31))
def test_w_0_is_unconditional_and_w_1_conditional(name, seed):
    z = torch.randn(Z.shape, generator=torch.Generator().manual_seed(seed)).clamp(-0.5, 0.5)
    of = methods(RectifiedFlow(), time_grid(4))[name]
    denoiser = Denoiser()
    t = torch.full((len(z),), 0.5)
    conditional, free = denoiser(z, t, COND), denoiser(z, t, denoiser.null.expand_as(COND))
    if name != "dynamic threshold":  # it clips what is far outside of the data
        torch.testing.assert_close(of(denoiser, COND, 1.0, None)(z, t), conditional, rtol=1e-4, atol=1e-4)
    if name in ("CFG", "interval"):
        torch.testing.assert_close(of(denoiser, COND, 0.0, None)(z, t), free, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(Rescale(denoiser, COND, 1.0, phi=1.0)(z, t), conditional, rtol=1e-4, atol=1e-4)
