"""The noisy classifier: shapes, refusals, latents kept apart, and that it can learn."""

import pytest
import torch

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.diffusion.classifier_guidance import classifier_gradient
from course_utils.models.noisy_classifier import NoisyClassifier


@pytest.fixture
def model():
    torch.manual_seed(0)
    return NoisyClassifier(width=16)


def noise(n, seed=0):
    return torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_logits_for_each_attribute(model):
    logits = model(noise(3), torch.rand(3))
    assert {name: x.shape for name, x in logits.items()} == {k: (3, len(v)) for k, v in ATTRIBUTES.items()}
    torch.testing.assert_close(model.of("fur")(noise(3), torch.zeros(3)), model(noise(3), torch.zeros(3))["fur"])


def test_latents_do_not_see_each_other_and_time_counts(model):
    z, t = noise(4), torch.tensor([0.1, 0.5, 0.5, 0.9])
    together, alone = model(z, t)["species"], model(z[1:2], t[1:2])["species"]
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(model(z, t)["species"], model(z, t.flip(0))["species"], atol=1e-4)


def test_probability_and_gradient_agree_with_finite_differences(model):
    model.double()
    z, t, y = noise(2).double(), torch.full((2,), 0.3).double(), torch.tensor([1, 4])
    gradient = classifier_gradient(model.of("species"), y)(z, t)
    step = torch.zeros_like(z)
    step[:, 2, 3, 4] = 1e-5
    up, down = (model.probability(z + d, t, "species", y).log() for d in (step, -step))
    torch.testing.assert_close(gradient[:, 2, 3, 4], (up - down) / 2e-5, rtol=1e-5, atol=1e-9)


def test_it_learns_what_a_latent_shows():
    torch.manual_seed(0)
    model, signs = NoisyClassifier(width=16), torch.tensor([-1.0, 1.0])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for seed in range(40):
        y = torch.randint(0, 2, (32,))
        z = noise(32, seed) + signs[y][:, None, None, None]
        loss = torch.nn.functional.cross_entropy(model.of("species")(z, torch.rand(32)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    y = torch.randint(0, 2, (64,))
    answers = model.of("species")(noise(64, 99) + signs[y][:, None, None, None], torch.rand(64)).argmax(1)
    assert (answers == y).float().mean() > 0.95


@pytest.mark.parametrize("side", [8, 16, 24])
def test_latents_of_any_multiple_of_eight_are_seen_to_their_edges(side):
    model, z = NoisyClassifier(width=16, side=side), torch.randn(2, 4, side, side, requires_grad=True)
    (seen,) = torch.autograd.grad(model.of("species")(z, torch.full((2,), 0.5))[:, 0].sum(), z)
    assert bool((seen.abs().amax(1) > 0).all())


@pytest.mark.parametrize("side", [4, 12])
def test_other_sides_are_refused(side):
    with pytest.raises(ValueError, match=f"side: got {side}; expected a multiple of 8"):
        NoisyClassifier(side=side)


@pytest.mark.parametrize(
    ("z", "t", "message"),
    [
        (torch.zeros(2, 3, 8, 8), torch.zeros(2), r"z: expected latents \(B, 4, 8, 8\), got \(2, 3, 8, 8\)"),
        (torch.zeros(2, 4, 8, 8), torch.zeros(3), r"t: .* shape \(2,\), got \(3,\)"),
    ],
    ids=str,
)
def test_refusals(model, z, t, message):
    with pytest.raises(ValueError, match=message):
        model(z, t)
    with pytest.raises(ValueError, match="attribute is 'size'; expected one of species"):
        model.of("size")
