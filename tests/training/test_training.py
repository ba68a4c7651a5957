"""The loop and the recipes."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from course_utils import checkpoints, runtime
from course_utils.datasets.drawing import render
from course_utils.datasets.plushies import Plushies
from course_utils.images import to_float
from course_utils.models.autoencoder import VAE, VAEConfig
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.training import __main__ as command
from course_utils.training.loop import Averaged, Part, ema_decay, fit, learning_rate
from course_utils.training.recipes import BUDGETS, BUILDS_ON, RECIPES
from course_utils.training.recipes.clip import image_part
from course_utils.training.recipes.denoiser import (
    SIZE,
    denoiser_loss,
    diffusion_loss,
    latents_and_conditions,
    text_and_picture_conditions,
)

SMALL = DenoiserConfig(width=32, depth=1, heads=2, condition=16)


def outcome(model):
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


def linear_problem():
    """Fit y = 3x − 1 from random draws: whatever the loop does, the answer is known."""
    torch.manual_seed(0)
    model = nn.Linear(1, 1)

    def loss(g):
        x = torch.randn(32, 1, generator=g)
        value = (model(x) - (3 * x - 1)).square().mean()
        return value, {"loss": value.detach()}

    return model, loss


def test_fit_finds_the_answer_and_reports():
    model, loss = linear_problem()
    calls = []
    history = fit(Part(model, loss, lr=0.1, ema=0.9), steps=300, progress=lambda *a, **k: calls.append(a))
    assert model.weight.item() == pytest.approx(3, abs=0.05)
    assert model.bias.item() == pytest.approx(-1, abs=0.05)
    assert history.values["loss"][-1] < 0.01 < history.values["loss"][0]
    assert calls[-1][:2] == (300, 300)
    assert not model.training


def test_two_parts_take_turns():
    a, b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    order = []

    def loss(module, name):
        def value(g):
            order.append(name)
            out = (module.weight - 1).square().sum()
            return out, {name: out.detach()}

        return value

    fit([Part(a, loss(a, "a"), lr=0.1), Part(b, loss(b, "b"), lr=0.1)], steps=3)
    assert order == ["a", "b"] * 3


def test_nan_stops_the_run():
    model = nn.Linear(1, 1)
    before = outcome(model)
    with pytest.raises(FloatingPointError, match="wrong at step 1: the gradient's norm is nan"):
        fit(Part(model, lambda g: ((model.weight * math.nan).sum(), {})), steps=50)
    assert torch.equal(outcome(model), before), "it is stopped before it reaches the weights"
    with pytest.raises(FloatingPointError, match="wrong at step 10: {'loss': nan}"):
        fit(Part(model, lambda g: (model.weight.sum(), {"loss": math.nan})), steps=50)


@pytest.mark.parametrize("last", [math.nan, math.inf])
def test_nan_at_the_last_step_stops_the_run(last):
    model, seen = nn.Linear(1, 1), []

    def loss(g):
        seen.append(last if len(seen) == 6 else 1.0)
        return (model.weight * seen[-1]).sum(), {}

    with pytest.raises(FloatingPointError, match="step 7"):
        fit(Part(model, loss), steps=7)

    def spoil():
        with torch.no_grad():
            model.weight.fill_(last)

    model = nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="by step 1: weights"):
        fit(Part(model, lambda g: (model.bias.sum(), {}), after_step=spoil), steps=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps: got 0; expected a whole number, 1 or more"),
        ({"steps": 2.0}, "steps: got 2.0"),
        ({"steps": True}, "steps: got True"),
        ({"seed": -1}, "seed: got -1"),
        ({"warmup": -1}, "warmup: got -1"),
        ({"log_every": 0}, "log_every: got 0"),
        ({"save_every": 0}, "save_every: got 0"),
        ({"parts": []}, "parts: got none"),
        ({"parts": nn.Linear(1, 1)}, "parts: got a Linear; expected a Part"),
        ({"parts": [nn.Linear(1, 1)]}, "parts: got a Linear; expected a Part"),
        ({"parts": Part(nn.ReLU(), None)}, "module: got a ReLU without weights to train"),
        ({"parts": Part(nn.Linear(1, 1).requires_grad_(False), None)}, "module: got a Linear without weights"),
        ({"lr": math.nan}, "got lr nan"),
        ({"ema": 1.0}, "and ema 1.0"),
        ({"loss": lambda g: torch.ones(2)}, "loss: returned a Tensor; expected a pair"),
        ({"loss": lambda g: (1.0, {})}, "loss: returned a float; expected a scalar tensor"),
        ({"loss": lambda g: (torch.ones(2), {})}, r"loss: returned a tensor \(2,\); expected a scalar"),
        ({"loss": lambda g: (torch.ones(()), {})}, "loss: returned a tensor without a gradient"),
    ],
)
def test_bad_arguments_are_named(changes, said):
    model = nn.Linear(1, 1)
    settings = {k: changes[k] for k in ("lr", "ema") if k in changes}
    part = Part(model, changes.get("loss", lambda g: (model.weight.sum(), {})), **settings)
    how = {k: v for k, v in changes.items() if k in ("steps", "seed", "warmup", "log_every", "save_every")}
    with pytest.raises((ValueError, TypeError), match=said):
        fit(changes.get("parts", part), **{"steps": 1, **how})


def test_schedule_and_averaging():
    rates = [learning_rate(s, 100, 1.0, 10) for s in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert ema_decay(0, 0.999) == 0.1
    assert ema_decay(10**6, 0.999) == 0.999
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = Averaged(module, 0.999)
    nn.init.ones_(module.weight)
    average.update(module, 0)
    assert float(average.module.weight) == pytest.approx(0.9)


def test_condition_dropout_replaces_whole_rows_by_null():
    model = Denoiser(SMALL)
    seen = []
    model.forward = lambda z, t, c: (seen.append(c), torch.zeros_like(z) + 0 * c.sum())[1]
    latents, conditions = torch.randn(64, 4, 8, 8), torch.randn(64, 3, 16)
    denoiser_loss(model, latents, conditions, 4000, torch.Generator().manual_seed(0))
    is_null = (seen[0] == model.null).all(1)
    assert 0.08 < is_null.float().mean() < 0.12
    known = {tuple(c) for c in conditions.flatten(0, 1).tolist()}
    assert all(tuple(c) in known for c in seen[0][~is_null].tolist())


@pytest.mark.parametrize("loss_of", [denoiser_loss, diffusion_loss])
def test_a_model_that_says_0_pays_the_closed_form(loss_of):
    """Latents of variance 1: the velocity of the rectified flow has variance 2, the noise 1."""
    model = Denoiser(SMALL)  # a fresh one says 0
    latents, conditions = torch.randn(512, 4, 8, 8), torch.randn(512, 3, 16)
    with torch.no_grad():
        value = loss_of(model, latents, conditions, 512, torch.Generator().manual_seed(0))
    assert float(value) == pytest.approx(2.0 if loss_of is denoiser_loss else 1.0, rel=0.02)


@pytest.mark.parametrize("size", [64, 128])
def test_conditions_of_texts_and_pictures_belong_to_their_latent(monkeypatch, size):
    vae, clip, drawn = checkpoints.load("vae"), checkpoints.load("clip"), []

    def counted(attributes, seeds, size):
        drawn.append((len(seeds), size))
        return render(attributes, seeds, size)

    monkeypatch.setitem(text_and_picture_conditions.__globals__, "render", counted)
    latents, conditions = text_and_picture_conditions(6, vae, clip, seed=3, size=size)
    assert drawn == [(6, size)], "each picture is drawn once"
    source = Plushies(6, size=size, seed=3)
    assert latents.shape == (6, 4, size // 8, size // 8)
    assert conditions.shape == (6, 6, 128)
    x = torch.stack([source[i]["picture"] for i in range(6)])
    with torch.no_grad():
        torch.testing.assert_close(latents, vae.to_latent(x), atol=1e-4, rtol=0)
        torch.testing.assert_close(conditions[:, 4], clip.encode_image(x), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            conditions[:, 1], clip.encode_text([source.caption(i, 1) for i in range(6)]), atol=1e-4, rtol=0
        )
    assert torch.equal(conditions[:, 4], conditions[:, 5])
    alone, texts = latents_and_conditions(6, vae, clip, seed=3, size=size)
    assert torch.equal(alone, latents)
    assert torch.equal(texts, conditions[:, :4])


def test_the_image_tower_alone_learns_and_leaves_texts_as_they_are():
    data = Plushies(128, size=64).in_memory()
    texts = torch.randn(128, 2, 128, generator=torch.Generator().manual_seed(0))
    before, after = checkpoints.load("clip", "cpu"), checkpoints.load("clip", "cpu")
    asked = ["a bear with a hat", "a cat"]
    part = image_part(after, data, torch.nn.functional.normalize(texts, dim=-1), [torch.arange(128)], 32)
    history = fit(part, steps=20, seed=0, log_every=1).values["loss"]
    assert sum(history[-5:]) < sum(history[:5])
    assert torch.equal(after.encode_text(asked), before.encode_text(asked))
    assert torch.equal(after.logit_scale, before.logit_scale)
    x = to_float(data.pictures[:4])
    assert not torch.allclose(after.encode_image(x), before.encode_image(x), atol=1e-2)


def test_budgets_cover_every_recipe_and_profile():
    assert set(BUDGETS) == set(RECIPES) == set(checkpoints.MODELS)
    assert all(set(b) == set(runtime.PROFILES) for b in BUDGETS.values())
    order = list(RECIPES)
    for name, needed in BUILDS_ON.items():
        assert all(order.index(other) < order.index(name) for other in needed), name


def test_the_short_denoiser_is_the_fair_rival_of_diffusion():
    """The denoiser but for its number of steps, which is that of `diffusion`."""
    assert BUDGETS["short_denoiser"] == BUDGETS["diffusion"]
    assert BUILDS_ON["short_denoiser"] == BUILDS_ON["denoiser"] == BUILDS_ON["diffusion"]
    assert checkpoints.MODELS["short_denoiser"] is checkpoints.MODELS["denoiser"] is Denoiser
    for profile in ("cpu", "gpu"):
        short, long = BUDGETS["short_denoiser"][profile], BUDGETS["denoiser"][profile]
        assert 0.3 < short.steps / long.steps < 0.4, profile
        assert short == replace(long, steps=short.steps)


def test_denoisers_that_ship_see_latents_of_128_pixels_as_16_tokens():
    assert (SIZE.channels, SIZE.side, SIZE.side) == VAE(VAEConfig((16, 16, 16))).latent_shape(128)
    assert (SIZE.side // SIZE.patch) ** 2 == 16


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_trains_on_ci_and_its_checkpoint_loads(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / f"{name}.safetensors"
    assert command.main([name, "--profile", "ci", "--out", str(out), "--seed", "3"]) == 0
    about = checkpoints.header(out)
    assert about["model"] == name
    assert about["seed"] == 3
    assert about["metrics"]
    assert "--profile ci" in about["recipe"]
    assert isinstance(checkpoints.load(out, "cpu"), checkpoints.MODELS[name])
    assert out.name in capsys.readouterr().out


def test_profile_names_a_bad_value(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "laptop")
    with pytest.raises(ValueError, match="COURSE_PROFILE is 'laptop'"):
        runtime.profile()


def test_phases_of_a_recipe_are_kept_apart(tmp_path):
    means = replace(BUDGETS["clip"]["ci"], state=tmp_path)
    both, image = means.phase("both"), means.phase("image", steps=2)
    assert (both.state, image.state) == (tmp_path / "both", tmp_path / "image")
    assert (both, image) == (replace(means, state=tmp_path / "both"), replace(means, state=tmp_path / "image", steps=2))
    assert BUDGETS["clip"]["ci"].phase("both").state is None, "a run that is not kept stays so"
