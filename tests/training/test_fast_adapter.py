"""The fast denoiser's recipe: what the teacher's ways are, what a step is taught, and that it is learnt."""

from dataclasses import asdict

import pytest
import torch

from course_utils.checkpoints import load
from course_utils.diffusion.distillation import mean_velocity
from course_utils.diffusion.guidance import ClassifierFreeGuidance
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.models.fast_denoiser import AdapterConfig, FastAdapter
from course_utils.training.loop import fit
from course_utils.training.recipes.fast_adapter import HIGHEST, KEPT, adapter_part, conditions, fast_loss, guided_ways

SMALL = DenoiserConfig(width=32, depth=1, heads=2, condition=16)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    model = Denoiser(SMALL)
    for p in (model.output.weight, model.modulation.weight):
        torch.nn.init.normal_(p, std=0.05)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def ways(teacher):
    return guided_ways(teacher, torch.randn(300, 16, generator=torch.Generator().manual_seed(0)), seed=1)


def test_ways_run_from_noise_along_the_guided_velocity(teacher, ways):
    assert ways.z.shape == (KEPT + 1, 300, 4, 8, 8)
    assert float(ways.z[0].float().std()) == pytest.approx(1, abs=0.02)
    z = ways.z[0, :5].float()
    guided = ClassifierFreeGuidance(teacher, ways.cond[:5], ways.w[:5])
    for k in (16, 15):
        z = z - guided(z, torch.full((5,), k / 16)) / 16
    torch.testing.assert_close(ways.z[1, :5].float(), z, atol=5e-3, rtol=5e-3)


def test_scales_cover_the_range_and_half_of_them_are_low(ways):
    assert 0 <= float(ways.w.min()) < 0.2
    assert 14 < float(ways.w.max()) <= HIGHEST
    assert float((ways.w < HIGHEST / 4).float().mean()) == pytest.approx(0.5, abs=0.08)


def test_ways_depend_on_their_seed(teacher, ways):
    cond = ways.cond[:8]
    assert torch.equal(guided_ways(teacher, cond, 3).z, guided_ways(teacher, cond, 3).z)
    assert not torch.equal(guided_ways(teacher, cond, 3).z, guided_ways(teacher, cond, 4).z)


def test_the_loss_is_that_of_the_mean_velocity_of_steps_of_all_lengths(teacher, ways, monkeypatch):
    asked = []

    class Fast(torch.nn.Module):
        def forward(self, z, t, s, cond, w):
            asked.append((z, t, s, cond, w))
            return torch.zeros_like(z)

    adapter = FastAdapter(AdapterConfig(**asdict(SMALL), rank=2))
    monkeypatch.setattr(adapter, "weights", lambda denoiser: {})
    loss = fast_loss(adapter, Fast(), teacher, ways, 400, torch.Generator().manual_seed(0))
    z, t, s, _, w = asked[0]
    lengths, counts = (8 * (t - s)).unique(return_counts=True)
    assert lengths.tolist() == [1, 2, 4, 8]
    assert all(70 < count < 130 for count in counts)
    assert all(float(x) % float(n) == 0 for x, n in zip(8 * t, 8 * (t - s), strict=True)), (
        "steps do not straddle the grid"
    )
    i = [int((ways.w == one).nonzero()[0]) for one in w]
    k, after = ((8 * (1 - x)).round().long() for x in (t, s))
    right = mean_velocity(z, ways.z[after, i].float(), t, s)
    assert torch.equal(z, ways.z[k, i].float())
    assert float(loss) == pytest.approx(1), "who says 0 is wrong by the whole length, however long"
    monkeypatch.setattr(Fast, "forward", lambda self, z, t, s, cond, w: 0.9 * right)
    loss = fast_loss(adapter, Fast(), teacher, ways, 400, torch.Generator().manual_seed(0))
    assert float(loss) == pytest.approx(0.01, rel=1e-4)


def test_an_adapter_learns_its_teachers_ways(teacher, ways):
    torch.manual_seed(0)
    part = adapter_part(teacher, ways, batch=64, rank=4)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    history = fit(part, steps=150, seed=0)
    losses = history.values["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in before.items())
    fast = part.module.on(teacher)
    z, cond, w = ways.z[0, :64].float(), ways.cond[:64], ways.w[:64]
    end = z - fast(z, torch.ones(64), torch.zeros(64), cond, w)
    right = ways.z[-1, :64].float()
    plain = z - teacher(z, torch.ones(64), cond)
    assert (end - right).square().mean() < 0.5 * (plain - right).square().mean()


def test_conditions_are_captions_and_some_pictures():
    towers = load("clip")
    found = conditions(40, towers, seed=3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(40))
    assert torch.equal(found, conditions(40, towers, seed=3))
    assert not torch.equal(found, conditions(40, towers, seed=4))
