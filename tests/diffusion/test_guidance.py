"""Classifier-free guidance: the formula, its two ends, the one forward, and diffusers' guider."""

import pytest
import torch

from course_utils.diffusion.guidance import ClassifierFreeGuidance


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Denoiser:
    """Mixes latent, time and condition, and remembers what it was asked."""

    null = randn(6, seed=5)

    def __init__(self):
        self.calls = []

    def __call__(self, z, t, cond):
        self.calls.append((z, t, cond))
        return torch.tanh(z + t[:, None, None, None] * cond[:, :4, None, None]) + cond[:, 4:5, None, None]


Z, T, COND, NEGATIVE = (
    randn(3, 4, 8, 8, seed=1),
    torch.tensor([0.1, 0.5, 0.9]),
    randn(3, 6, seed=2),
    randn(3, 6, seed=3),
)


def ends(negative=None):
    """The unconditional and the conditional answer, by two forwards of their own."""
    model = Denoiser()
    return model(Z, T, Denoiser.null.expand(3, 6) if negative is None else negative), model(Z, T, COND)


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0, 3.0, 7.5, 15.0])
@pytest.mark.parametrize("negative", [None, NEGATIVE], ids=["null", "negative"])
def test_equals_diffusers_guider_in_both_conventions(w, negative):
    """Its default writes our w; its `use_original_formulation`, Ho & Salimans' own, writes w − 1."""
    from diffusers.guiders import ClassifierFreeGuidance as Guider

    uncond, cond = ends(negative)
    guided = ClassifierFreeGuidance(Denoiser(), COND, w, negative)(Z, T)
    expected = Guider(guidance_scale=w).forward(pred_cond=cond, pred_uncond=uncond).pred
    torch.testing.assert_close(guided, expected, rtol=1e-6, atol=1e-5)
    original = Guider(guidance_scale=w - 1, use_original_formulation=True)
    torch.testing.assert_close(guided, original.forward(pred_cond=cond, pred_uncond=uncond).pred, rtol=1e-5, atol=1e-5)


def test_the_two_ends():
    uncond, cond = ends()
    assert (uncond - cond).abs().max() > 0.5
    torch.testing.assert_close(ClassifierFreeGuidance(Denoiser(), COND, 0)(Z, T), uncond)
    torch.testing.assert_close(ClassifierFreeGuidance(Denoiser(), COND, 1)(Z, T), cond)
    torch.testing.assert_close(
        ClassifierFreeGuidance(Denoiser(), COND, 2)(Z, T), 2 * cond - uncond, rtol=1e-5, atol=1e-5
    )


def test_a_negative_scale_leads_away_from_the_condition():
    uncond, cond = ends()
    guided = ClassifierFreeGuidance(Denoiser(), COND, -1.5)(Z, T)
    torch.testing.assert_close(guided, torch.lerp(uncond, cond, -1.5))
    assert bool(((guided - cond).flatten(1).norm(dim=1) > (uncond - cond).flatten(1).norm(dim=1)).all())


def test_one_doubled_forward_in_the_order_uncond_cond():
    model = Denoiser()
    guided = ClassifierFreeGuidance(model, COND, 4.0)
    guided(Z, T)
    assert len(model.calls) == 1
    z, t, cond = model.calls[0]
    assert torch.equal(z, torch.cat([Z, Z]))
    assert torch.equal(t, torch.cat([T, T]))
    assert torch.equal(cond, torch.cat([Denoiser.null.expand(3, 6), COND]))
    assert all(torch.equal(a, b) for a, b in zip(guided.prepare(Z, T), (z, t, cond), strict=True))


def test_a_scale_for_each_picture():
    w = torch.tensor([0.0, 1.0, 6.0])
    together = ClassifierFreeGuidance(Denoiser(), COND, w)(Z, T)
    for i in range(3):
        alone = ClassifierFreeGuidance(Denoiser(), COND[i : i + 1], w[i])(Z[i : i + 1], T[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


def test_negative_takes_the_place_of_null():
    same = ClassifierFreeGuidance(Denoiser(), COND, 5.0, Denoiser.null[None])(Z, T)
    assert torch.equal(same, ClassifierFreeGuidance(Denoiser(), COND, 5.0)(Z, T))
    itself = ClassifierFreeGuidance(Denoiser(), COND, 5.0, COND)(Z, T)
    torch.testing.assert_close(itself, ends()[1]), "away from itself, w times nothing"


@pytest.mark.parametrize(
    "w",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        1e30,
        -10_001.0,
        torch.tensor([1.0, 2.0, float("nan")]),
        torch.ones(2),
        torch.ones(3, 1),
        "a",
        None,
    ],
)
def test_bad_scales_are_refused(w):
    with pytest.raises(ValueError, match="guidance_scale"):
        ClassifierFreeGuidance(Denoiser(), COND, w)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match=r"cond is torch.float32 \(6,\); expected floats \(B, D\)"):
        ClassifierFreeGuidance(Denoiser(), COND[0], 1.0)
    with pytest.raises(ValueError, match=r"negative has shape \(2, 6\)"):
        ClassifierFreeGuidance(Denoiser(), COND, 1.0, NEGATIVE[:2])
    with pytest.raises(ValueError, match="z holds 2 latents; expected 3"):
        ClassifierFreeGuidance(Denoiser(), COND, 1.0)(Z[:2], T[:2])
