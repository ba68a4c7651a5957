"""Realness: what it trains on is not what it is used on, and it knows real pictures from generated ones."""

import pytest
import torch

from course_utils.checkpoints import load, load_pipeline
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion.pipeline import _generators
from course_utils.evaluation.realness import (
    PICTURES_SEED,
    SCALES,
    generated,
    real_and_generated,
    realness,
    reconstructed,
    training_seed,
)
from course_utils.images import to_float
from course_utils.models.realness import Realness, RealnessConfig


def test_noise_of_training_is_never_that_of_a_measurement():
    training = {g.initial_seed() for k in (0, 1, 2, 5_000) for g in _generators(2_000, training_seed(k))}
    measured = {g.initial_seed() for seed in (0, 1, 2, 5_000) for g in _generators(10_000, seed)}
    later = {g.initial_seed() for seed in (0, 1, 2) for g in _generators(10_000, seed, later=True)}
    assert len(training) == 4 * 2_000
    assert not training & (measured | later)
    for bad in (-1, 0.5):
        with pytest.raises(ValueError, match="k is"):
            training_seed(bad)


@pytest.mark.parametrize("split", ["train", "val", "test", "heldout"])
def test_its_real_pictures_are_nobody_elses(split):
    own = {int(s) for k in (0, 1) for s in Plushies(45_000, seed=PICTURES_SEED + k).seeds}
    assert not own & {int(s) for seed in (0, 1, 2) for s in Plushies(100_000, split, seed=seed).seeds}


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline()


def test_real_pictures_and_generated_ones_are_drawn_by_the_same_decoder(pipeline, monkeypatch):
    x = to_float(Plushies(3, "test").in_memory().pictures)
    vae = pipeline.vae
    with torch.no_grad():
        expected = vae.decoder(vae.encode(x).mode()).clamp(-1, 1)
    torch.testing.assert_close(reconstructed(vae, x), expected, atol=1e-4, rtol=0)
    decoded = []
    hook = vae.decoder.register_forward_hook(lambda *_: decoded.append(1))
    real_and_generated(pipeline, Plushies(2, "test").in_memory(), [0])
    hook.remove()
    assert len(decoded) == 2, "once for real ones, once for generated ones"


def test_each_caption_is_drawn_at_its_own_w_with_the_noise_of_its_chunk(pipeline, monkeypatch):
    monkeypatch.setattr("course_utils.evaluation.realness.CHUNK", 2)
    captions, scales = ["a bear", "a cat", "a pink dog"], torch.tensor([0.0, 3.0, 8.0])
    found = generated(pipeline, captions, scales, [4, 9])
    first = pipeline.generate(captions[:2], guidance_scale=scales[:2], seed=4)
    last = pipeline.generate(captions[2:], guidance_scale=8.0, seed=9)
    torch.testing.assert_close(found, torch.cat([first, last]), atol=1e-3, rtol=0)
    for some, seeds in ((scales[:2], [4, 9]), (scales, [4])):
        with pytest.raises(ValueError, match="scales, seeds: got .* expected 3 and 2"):
            generated(pipeline, captions, some, seeds)


def test_all_scales_are_drawn_equally_often():
    class Drawn:
        vae = load("vae")

        def generate(self, prompt, guidance_scale, seed):
            return torch.zeros(len(prompt), 3, 64, 64)

    _, fake, scales = real_and_generated(Drawn(), Plushies(3 * len(SCALES), "test").in_memory(), [0])
    assert len(fake) == len(scales)
    assert [int((scales == w).sum()) for w in SCALES] == [3] * len(SCALES)


def test_realness_is_the_probability_of_its_network():
    torch.manual_seed(0)
    model = Realness(RealnessConfig(width=8)).eval()
    for side in (64, 128):
        x = torch.rand(5, 3, side, side) * 2 - 1
        with torch.no_grad():
            torch.testing.assert_close(realness(model, x), model(x).sigmoid())
        assert model(x).shape == (5,)
    with pytest.raises(ValueError, match="pictures: expected pictures of shape"):
        realness(model, torch.zeros(3, 64, 64))
    with pytest.raises(ValueError, match="pictures: expected values"):
        realness(model, torch.full((1, 3, 64, 64), 3.0))
    with pytest.raises(ValueError, match="x: expected float32"):
        model(torch.zeros(1, 3, 64, 64, dtype=torch.float64))


def test_the_one_that_ships_knows_unseen_pictures(pipeline):
    """Away from the prompt, without it, and far too strongly guided: all look less real than unseen real ones."""
    model, data = load("realness"), Plushies(72, "test", seed=3).in_memory()
    real = realness(model, reconstructed(pipeline.vae, to_float(data.pictures)))
    away, without, burnt = (
        realness(model, generated(pipeline, data.captions, torch.full((72,), w), [5])) for w in (-2.0, 0.0, 15.0)
    )
    assert float(real.mean()) > max(float(without.mean()), float(burnt.mean())) + 0.15
    assert float(away.mean()) < 0.2
    told = torch.cat([real > 0.5, burnt <= 0.5]).float().mean()
    assert float(told) > 0.65, "by chance it would be 0.5"
