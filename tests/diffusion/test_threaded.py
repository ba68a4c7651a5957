"""A batch shared out over threads: the same pictures, errors and interruptions as in one."""

import threading

import pytest
import torch

from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.diffusion.threaded import ThreadedPipeline, on_all_cores
from course_utils.models.autoencoder import VAE, VAEConfig
from course_utils.models.clip import CLIP
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.models.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def pipeline():
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["a brown bear with a red hat", "a cat on a mint background"] * 3, 300, 16)
    clip = CLIP(tokenizer)
    denoiser = Denoiser(DenoiserConfig(width=32, depth=1, heads=1, condition=128))
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.1 * torch.randn_like(p))
    vae = VAE(VAEConfig(widths=(16, 16, 16)))
    return TextToPicture(vae.eval(), clip.eval(), denoiser.eval(), RectifiedFlow())


@pytest.mark.parametrize("sampler", ["euler", "ddpm"])
@pytest.mark.parametrize("n", [1, 3, 4])
def test_shares_make_the_same_pictures(pipeline, sampler, n):
    whole = pipeline.generate("a bear", n, 3.0, 3, sampler, seed=2)
    shared = ThreadedPipeline(pipeline, 2).generate("a bear", n, 3.0, 3, sampler, seed=2)
    torch.testing.assert_close(shared, whole, atol=1e-4, rtol=1e-4)


def test_each_picture_keeps_its_own_prompt_and_scale(pipeline):
    asked = {"prompt": ["a bear", "a cat", ""], "guidance_scale": torch.tensor([0.0, 4.0, 9.0]), "steps": 2}
    shared = ThreadedPipeline(pipeline, 2).generate(**asked)
    torch.testing.assert_close(shared, pipeline.generate(**asked), atol=1e-4, rtol=1e-4)
    strip = ThreadedPipeline(pipeline, 2).strip("a bear", (0.0, 2.0, 8.0), steps=2)
    torch.testing.assert_close(strip, pipeline.strip("a bear", (0.0, 2.0, 8.0), steps=2), atol=1e-4, rtol=1e-4)


def test_a_prompt_is_embedded_once(pipeline, monkeypatch):
    asked, encode = [], pipeline.clip.encode_text
    monkeypatch.setattr(pipeline.clip, "encode_text", lambda texts: asked.append(texts) or encode(texts))
    shared = ThreadedPipeline(pipeline, 1)
    for w in (0.0, 1.0, 5.0):
        shared.generate("a bear", 2, w, 1, negative="a cat")
    assert sorted(asked) == [["a bear"], ["a cat"]]
    torch.testing.assert_close(shared.embed("a bear"), pipeline.embed("a bear"))
    with pytest.raises(ValueError, match="prompt"):
        shared.embed(["a bear"])


def test_work_is_shared_and_the_caller_keeps_its_threads(pipeline):
    before, seen = torch.get_num_threads(), set()

    def look():
        seen.add((threading.current_thread().name, torch.get_num_threads()))
        return False

    ThreadedPipeline(pipeline, 2).generate("a bear", 4, steps=20, should_stop=look)
    assert {name for name, _ in seen} == {"pictures_0", "pictures_1"}
    assert {n for _, n in seen} == {1}
    assert torch.get_num_threads() == before


def test_stopping_and_errors_reach_the_caller(pipeline):
    shared = ThreadedPipeline(pipeline, 2)
    assert shared.generate("a bear", steps=5, should_stop=lambda: True) is None
    with pytest.raises(ValueError, match="sampler is 'magic'"):
        shared.generate("a bear", sampler="magic")
    with pytest.raises(ValueError, match="threads is 0; expected a whole number from 1"):
        ThreadedPipeline(pipeline, 0)


def test_a_callback_sees_the_whole_batch(pipeline):
    sizes = []
    ThreadedPipeline(pipeline, 2).generate("a bear", 3, steps=2, callback=lambda step, z, _: sizes.append(len(z)))
    assert set(sizes) == {3}


def test_only_the_courses_pipeline_on_a_cpu_is_shared_out(pipeline):
    assert isinstance(on_all_cores(pipeline, 2), ThreadedPipeline)
    other = object()
    assert on_all_cores(other) is other
    shared = ThreadedPipeline(pipeline, 2)
    assert on_all_cores(shared) is shared
