"""The fast denoiser: what it is told counts, a fresh one is its teacher, and its adapter is a small change of it."""

from dataclasses import asdict

import pytest
import torch

from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.models.fast_denoiser import AdapterConfig, FastAdapter, FastDenoiser
from course_utils.models.plane_denoiser import FastPlaneDenoiser

SMALL = DenoiserConfig(width=32, depth=2, heads=2, condition=16)
ADAPTER = AdapterConfig(**asdict(SMALL), rank=3)


def stirred(model):
    """The model with all of its zero weights made random."""
    torch.manual_seed(1)
    for p in model.parameters():
        if not p.any():
            torch.nn.init.normal_(p, std=0.2)
    return model


def question(n=4):
    g = torch.Generator().manual_seed(0)
    z, cond = torch.randn(n, 4, 8, 8, generator=g), torch.randn(n, 16, generator=g)
    t = 0.3 + 0.7 * torch.rand(n, generator=g)
    return z, t, t / 2, cond, 1 + 3 * torch.rand(n, generator=g)


def test_a_fresh_adapter_makes_the_teacher_itself():
    teacher = stirred(Denoiser(SMALL)).eval()
    z, t, s, cond, w = question()
    fast = FastAdapter(ADAPTER).on(teacher)
    torch.testing.assert_close(fast(z, t, s, cond, w), teacher(z, t, cond))


@pytest.mark.parametrize("told", ["z", "t", "s", "condition", "guidance_scale"])
def test_everything_that_it_is_told_counts(told):
    fast, asked = stirred(FastDenoiser(SMALL)), list(question())
    before = fast(*asked)
    place = ["z", "t", "s", "condition", "guidance_scale"].index(told)
    asked[place] = asked[place] * 0.9
    assert not torch.allclose(before, fast(*asked), atol=1e-4)


def test_an_adapter_adds_a_product_of_low_rank_to_each_matrix_and_leaves_the_teacher_alone():
    teacher = stirred(Denoiser(SMALL))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    adapter = stirred(FastAdapter(ADAPTER))
    fast = adapter.on(teacher).state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, fast[name])}
    assert (
        changed
        == set(adapter.names)
        == {f"{n}.weight" for n, m in teacher.named_modules() if hasattr(m, "in_features")}
    )
    for name in adapter.names:
        assert torch.linalg.matrix_rank((fast[name] - before[name]).double(), atol=1e-5) == 3
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in before.items())


def test_only_the_adapter_is_trained_through_its_weights():
    teacher, adapter = stirred(Denoiser(SMALL)), stirred(FastAdapter(ADAPTER))
    out = torch.func.functional_call(FastDenoiser(SMALL), adapter.weights(teacher), question())
    out.square().sum().backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None and p.grad.any() for p in adapter.parameters())


def test_the_adapter_that_ships_is_a_fraction_of_the_denoiser():
    of = DenoiserConfig(width=256, depth=4, heads=4, patch=4, side=16)
    count = [sum(p.numel() for p in m.parameters()) for m in (FastAdapter(AdapterConfig(**asdict(of))), Denoiser(of))]
    assert count[0] < 0.35 * count[1]


def test_an_adapter_fits_one_denoiser_only():
    with pytest.raises(ValueError, match="denoiser: got one of .*width=64.*expected one of .*width=32"):
        FastAdapter(ADAPTER).on(Denoiser(DenoiserConfig(width=64, depth=2, heads=2, condition=16)))


@pytest.mark.parametrize("name", ["s", "guidance_scale"])
def test_refusals_name_the_argument(name):
    asked = dict(zip(["z", "t", "s", "condition", "guidance_scale"], question(), strict=True))
    with pytest.raises(ValueError, match=rf"{name}: expected one for each latent, shape \(4,\), got \(2,\)"):
        FastDenoiser(SMALL)(**asked | {name: asked[name][:2]})
    z, y = torch.randn(4, 2), torch.zeros(4, dtype=torch.int64)
    told = {"t": torch.ones(4), "s": torch.zeros(4), "guidance_scale": torch.ones(4)}
    with pytest.raises(ValueError, match=rf"{name}: expected one for each point, shape \(4,\), got \(2,\)"):
        FastPlaneDenoiser(3)(z, y=y, **told | {name: told[name][:2]})


@pytest.mark.parametrize("told", ["t", "s", "y", "guidance_scale"])
def test_points_are_told_the_same(told):
    torch.manual_seed(0)
    fast = stirred(FastPlaneDenoiser(3, width=16, depth=2))
    asked = {
        "z": torch.randn(4, 2),
        "t": torch.full((4,), 0.9),
        "s": torch.full((4,), 0.4),
        "y": torch.tensor([0, 1, 2, -1]),
        "guidance_scale": torch.full((4,), 2.0),
    }
    before = fast(**asked)
    other = asked[told].roll(1) if told == "y" else asked[told] * 0.5
    assert not torch.allclose(before, fast(**asked | {told: other}), atol=1e-4)
