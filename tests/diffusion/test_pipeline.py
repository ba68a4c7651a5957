"""The pipeline with tiny stand-ins for its models: what depends on what, and what is refused."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from course_utils.diffusion.guidance_methods import LimitedInterval, methods
from course_utils.diffusion.paths import RectifiedFlow, VariancePreserving
from course_utils.diffusion.pipeline import AsVelocity, TextToPicture
from course_utils.diffusion.samplers import SAMPLERS, time_grid


class Clip(nn.Module):
    """A unit vector from a text's letters; texts of more than 20 letters are too long."""

    def encode_text(self, texts):
        if any(len(text) > 20 for text in texts):
            raise ValueError("too long: 21 tokens, and 20 fit")
        rows = [torch.randn(6, generator=torch.Generator().manual_seed(sum(map(ord, text)))) for text in texts]
        return nn.functional.normalize(torch.stack(rows), dim=1)

    side = 64

    def encode_image(self, x):
        return nn.functional.normalize(x[:, :, :2, 0].flatten(1), dim=1)


class Denoiser(nn.Module):
    config = SimpleNamespace(channels=4, side=8)

    def __init__(self):
        super().__init__()
        self.null = nn.Parameter(torch.full((6,), 0.1))
        self.batches = []

    def forward(self, z, t, cond):
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(z))
        return z - 2 * cond[:, :4, None, None] * (1 + t[:, None, None, None]) - torch.sin(3 * z)


class Vae(nn.Module):
    def to_picture(self, z):
        return z[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3).div(4).clamp(-1, 1)


@pytest.fixture
def pipeline():
    return TextToPicture(Vae(), Clip(), Denoiser(), RectifiedFlow())


def test_shape_range_and_kind(pipeline):
    pictures = pipeline.generate("a bear")
    assert pictures.shape == (4, 3, 64, 64)
    assert pictures.abs().max() <= 1
    assert pictures.std() > 0.05
    assert not pictures.is_inference(), "a judge may take gradients through what comes out"
    assert pipeline.denoiser.batches == [8] * 20, "one doubled forward a step"


def test_a_denoiser_of_noise_takes_the_place_of_one_of_velocities():
    path, g = VariancePreserving(), torch.Generator().manual_seed(0)
    z0, eps = torch.randn(5, 4, 8, 8, generator=g), torch.randn(5, 4, 8, 8, generator=g)
    t = torch.linspace(0.1, 0.9, 5)

    class TellsTheNoise(nn.Module):
        null, config = torch.zeros(6), SimpleNamespace(channels=4, side=8)

        def forward(self, z, at, condition):
            assert torch.equal(at, t)
            return eps

    told = AsVelocity(TellsTheNoise(), path)
    expected = path.d_alpha(t)[:, None, None, None] * z0 + path.d_sigma(t)[:, None, None, None] * eps
    torch.testing.assert_close(told(path.add_noise(z0, eps, t), t, torch.zeros(5, 6)), expected, rtol=1e-3, atol=1e-4)
    assert told.config.side == 8
    assert torch.equal(told.null, torch.zeros(6))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_picture_depends_on_its_seed_and_place_alone(pipeline, sampler):
    def make(**changes):
        return pipeline.generate(**{"prompt": "a bear", "n": 4, "steps": 6, "sampler": sampler, "seed": 3} | changes)

    four = make()
    assert torch.equal(make(), four)
    torch.testing.assert_close(make(n=2), four[:2])
    torch.testing.assert_close(make(n=7)[:4], four)
    assert not torch.allclose(make(seed=4), four)
    assert not torch.allclose(four[0], four[1])
    assert not torch.allclose(make(prompt="a cat"), four)


def test_noise_depends_on_seed_and_place_alone(pipeline):
    assert pipeline.noise(5, 1).shape == (5, 4, 8, 8)
    assert torch.equal(pipeline.noise(5, 1)[:3], pipeline.noise(3, 1))
    every = torch.cat([pipeline.noise(4, seed) for seed in (-1, 0, 1, 2)])
    assert len(torch.unique(every[:, 0, 0, 0])) == 16, "no noise occurs twice"
    assert every.mean().abs() < 0.05
    assert (every.std() - 1).abs() < 0.05


def test_the_noise_that_ddpm_adds_is_not_the_start_again(pipeline):
    """From t = 1 the straight path's first step is z = (1 − s) z0 + s · fresh noise."""
    added = []

    def keep(step, z, prediction):
        if step == 0:
            added.append((z - 0.25 * prediction.z0) / 0.75)

    pipeline.generate("a bear", n=3, steps=4, sampler="ddpm", callback=keep)
    both = torch.stack([added[0].flatten(), pipeline.noise(3, 0).flatten()])
    assert both.corrcoef()[0, 1].abs() < 0.15
    assert added[0].std() == pytest.approx(1, abs=0.1)


def test_the_same_noise_at_every_w(pipeline):
    starts = []

    def keep(step, z, prediction):
        if step == 0:
            starts.append(prediction.z)

    for w in (0.0, 3.0, 12.0):
        pipeline.generate("a bear", n=2, guidance_scale=w, seed=5, callback=keep)
    assert all(torch.equal(start, pipeline.noise(2, 5)) for start in starts)
    assert len(starts) == 3


def test_w_0_ignores_the_prompt_and_the_empty_prompt_is_the_null_condition(pipeline):
    at_0 = pipeline.generate("a bear", guidance_scale=0.0)
    torch.testing.assert_close(at_0, pipeline.generate("a cat", guidance_scale=0.0))
    torch.testing.assert_close(at_0, pipeline.generate("", guidance_scale=7.0))
    torch.testing.assert_close(at_0, pipeline.generate("  \n", guidance_scale=1.0))
    assert torch.equal(pipeline.embed(""), pipeline.denoiser.null[None])
    assert not pipeline.embed("").requires_grad
    assert pipeline.embed("a bear").norm() == pytest.approx(1)


def test_negative_prompt(pipeline):
    plain = pipeline.generate("a bear", guidance_scale=3.0)
    assert torch.equal(pipeline.generate("a bear", guidance_scale=3.0, negative=""), plain)
    assert not torch.allclose(pipeline.generate("a bear", guidance_scale=3.0, negative="a cat"), plain)
    torch.testing.assert_close(
        pipeline.generate("a bear", guidance_scale=1.0, negative="a cat"),
        pipeline.generate("a bear", guidance_scale=1.0),
    )
    away_from_itself = pipeline.generate("a bear", guidance_scale=9.0, negative="a bear")
    torch.testing.assert_close(away_from_itself, pipeline.generate("a bear", guidance_scale=1.0))


def test_a_list_gives_a_picture_for_each_prompt(pipeline):
    both = pipeline.generate(["a bear", ""], guidance_scale=4.0)
    assert both.shape[0] == 2
    torch.testing.assert_close(both[0], pipeline.generate("a bear", 2, 4.0)[0])
    torch.testing.assert_close(both[1], pipeline.generate("", 2, 4.0)[1])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_strip_is_generate_at_each_w(pipeline, sampler):
    scales = [0, 1.0, 5.5]
    strip = pipeline.strip("a bear", scales, n=2, steps=5, sampler=sampler, negative="a dog", seed=8)
    assert strip.shape == (3, 2, 3, 64, 64)
    assert len(pipeline.denoiser.batches) == (9 if sampler == "heun" else 5), "all of it in one batch"
    for row, w in zip(strip, scales, strict=True):
        alone = pipeline.generate("a bear", 2, w, 5, sampler, "a dog", seed=8)
        torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-5)


def test_stale_work_stops_at_the_next_step(pipeline):
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) > 3

    assert pipeline.generate("a bear", steps=20, should_stop=should_stop) is None
    assert len(pipeline.denoiser.batches) == 3
    assert pipeline.strip("a bear", [1, 2], should_stop=lambda: True) is None
    assert pipeline.generate("a bear", steps=3, should_stop=lambda: False) is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": None}, "prompt is None"),
        ({"prompt": 3}, "prompt is 3"),
        ({"prompt": []}, r"prompt is \[\]"),
        ({"prompt": ["a", 3], "n": None}, r"prompt\[1\] is 3 \(int\)"),
        ({"prompt": ["a", "b"], "n": 3}, "n is 3; expected 2"),
        ({"prompt": "q" * 21}, "21 tokens, and 20 fit"),
        ({"negative": None}, "negative is None"),
        ({"n": 0}, "n is 0"),
        ({"n": 1.5}, "n is 1.5"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": -1}, "steps is -1"),
        ({"steps": 2.0}, "steps is 2.0"),
        ({"sampler": "magic"}, "'magic'; expected one of euler, heun, ddim, ddpm"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"guidance_scale": -float("inf")}, "guidance_scale is -inf"),
        ({"guidance_scale": torch.ones(3)}, r"guidance_scale has shape \(3,\)"),
        ({"seed": 0.5}, "seed is 0.5"),
    ],
    ids=str,
)
def test_refusals_name_the_argument(pipeline, changes, message):
    with pytest.raises(ValueError, match=message):
        pipeline.generate(**{"prompt": "a bear", "n": 4} | changes)
    assert pipeline.denoiser.batches == [], "nothing was computed"


def picture(seed, n=1):
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_conditions_in_the_place_of_a_prompt(pipeline):
    text = pipeline.generate("a bear", 3, 4.0, steps=4, seed=2)
    cond = pipeline.condition("a bear").expand(3, -1)
    assert torch.equal(pipeline.generate(cond, guidance_scale=4.0, steps=4, seed=2), text)
    rows = pipeline.strip("a bear", [1, 4], n=3, steps=4, seed=2)
    assert torch.equal(pipeline.strip(cond[:1], [1, 4], n=3, steps=4, seed=2), rows)
    seen = pipeline.embed_picture(picture(0, 2))
    assert not torch.equal(pipeline.generate(seen, steps=4), pipeline.generate("a bear", 2, steps=4))


def test_condition_of_text_picture_and_both(pipeline):
    x = picture(0)
    text, seen = pipeline.embed("a bear"), pipeline.embed_picture(x)
    assert torch.equal(pipeline.condition("a bear"), text)
    assert torch.equal(pipeline.condition("", x), seen)
    assert torch.equal(pipeline.condition(), pipeline.denoiser.null[None])
    torch.testing.assert_close(pipeline.condition("a bear", x, 0.0), text)
    torch.testing.assert_close(pipeline.condition("a bear", x, 1.0), seen)
    torch.testing.assert_close(pipeline.condition("a bear", x, 0.5), nn.functional.normalize(text + seen, dim=1))
    assert not seen.is_inference()


def test_larger_reference_pictures_are_averaged_down(pipeline):
    large = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    small = nn.functional.avg_pool2d(large, 2)
    assert torch.equal(pipeline.embed_picture(large), pipeline.embed_picture(small))
    assert torch.equal(pipeline.condition("", large[:1]), pipeline.embed_picture(small[:1]))
    with pytest.raises(ValueError, match="picture: expected 64×64 pixels or a whole multiple, got 96×96"):
        pipeline.embed_picture(torch.zeros(1, 3, 96, 96))


def test_refusals_of_conditions_and_pictures(pipeline):
    good = pipeline.condition("a bear")
    for bad, message in [
        (good[0], r"expected conditions \(n, 6\), got \(6,\)"),
        (good[:, :5], r"got \(1, 5\)"),
        (good[:0], r"got \(0, 6\)"),
        (good.long(), "expected conditions"),
        (good * float("nan"), "expected finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            pipeline.generate(bad)
    with pytest.raises(ValueError, match="n is 4; expected 1"):
        pipeline.generate(good, 4)
    with pytest.raises(ValueError, match="n is 1; expected 2"):
        pipeline.strip(good.expand(2, -1), [1])
    for bad, message in [
        (picture(0)[0], "picture: expected pictures"),
        (picture(0)[:, :, ::2], "64×64"),
        (3 * picture(0), r"\[-1, 1\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            pipeline.embed_picture(bad)
    with pytest.raises(ValueError, match="picture holds 2 pictures; expected 1"):
        pipeline.condition("a bear", picture(0, 2))
    with pytest.raises(ValueError, match="share is 2"):
        pipeline.condition("a bear", picture(0), 2)
    assert pipeline.denoiser.batches == [], "nothing was computed"


def test_refusals_of_strip(pipeline):
    for bad, message in [([], "scales is"), (3.0, "scales is 3.0"), ([1, float("nan")], "guidance_scale")]:
        with pytest.raises(ValueError, match=message):
            pipeline.strip("a bear", bad)
    for n in (0, None):
        with pytest.raises(ValueError, match=f"n is {n}"):
            pipeline.strip("a bear", [1], n=n)
    with pytest.raises(ValueError, match="n is 0"):
        pipeline.noise(0, seed=1)
    with pytest.raises(ValueError, match="prompt is None"):
        pipeline.strip(None, [1])


def test_every_method_of_guidance_can_take_the_place_of_cfg(pipeline):
    """By name; with the default it is CFG, and each other one makes another picture of the same noise."""
    plain = pipeline.generate("a bear", 2, 8.0, steps=6)
    named = methods(pipeline.path, time_grid(6), weak=lambda z, t, cond: 0.5 * pipeline.denoiser(z, t, cond))
    for name, guidance in named.items():
        pictures = pipeline.generate("a bear", 2, 8.0, steps=6, guidance=guidance)
        assert pictures.isfinite().all()
        assert torch.equal(pictures, plain) == (name == "CFG"), name
        rows = pipeline.strip("a bear", [8.0], n=2, steps=6, guidance=guidance)
        assert torch.equal(rows[0], pictures), name


def test_interval_asks_less_and_autoguidance_takes_no_negative(pipeline):
    pipeline.generate("a bear", 2, 8.0, steps=10, guidance=LimitedInterval)  # 0.2 < t <= 0.8
    assert pipeline.denoiser.batches == [2] * 2 + [4] * 6 + [2] * 2
    auto = methods(pipeline.path, time_grid(2), weak=pipeline.denoiser)["autoguidance"]
    with pytest.raises(ValueError, match="negative"):
        pipeline.generate("a bear", 2, 8.0, steps=2, negative="a hat", guidance=auto)


def test_too_long_a_negative_prompt_is_named_so(pipeline):
    with pytest.raises(ValueError, match="^negative "):
        pipeline.generate("a bear", negative="a text of more than twenty letters")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_conditions_and_pictures_of_another_precision_are_taken(pipeline, dtype):
    cond = pipeline.condition("a bear")
    drawn = pipeline.generate(cond.to(dtype), steps=2)
    torch.testing.assert_close(drawn, pipeline.generate(cond.to(dtype).float(), steps=2))
    seen = pipeline.embed_picture(picture(0).to(dtype))
    torch.testing.assert_close(seen, pipeline.embed_picture(picture(0).to(dtype).float()))


def test_more_pictures_than_a_batch_can_hold_are_refused_at_once(pipeline):
    for call in (
        lambda: pipeline.generate("a bear", n=10**6),
        lambda: pipeline.strip("a bear", [1.0], n=10**6),
        lambda: pipeline.noise(10**9, 0),
    ):
        with pytest.raises(ValueError, match="n is 1000000.*from 1 to 10,000"):
            call()
