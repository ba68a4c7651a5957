"""The toy VAE without a browser: what is drawn is what the model says, as it is now; training can be watched."""

import io

import pytest
import torch
from PIL import Image, ImageColor

from course_utils import losses
from course_utils.lab.widgets import toy_vae
from course_utils.lab.widgets.toy_vae import ToyVAEExplorer
from course_utils.lab.widgets.toy_vae_core import CORNERS, NODES, REACH, ToyRequest, ToyVAECore, nodes

SECONDS = 60  # after which a test that waits has failed


class Shift:
    """A model whose latents are two pixels of the picture, scaled, and whose decoder writes them back."""

    def __init__(self, scale=1.0, logvar=0.0):
        self.scale, self.logvar = scale, logvar

    def encode(self, x):
        mean = self.scale * x[:, 0, 0, :2]
        return mean, torch.full_like(mean, self.logvar)

    def decode(self, z):
        pictures = torch.zeros(len(z), 1, 8, 8)
        pictures[:, 0, 0, :2] = z / self.scale
        return pictures


@pytest.fixture
def factors():
    axis = torch.linspace(-1, 1, 3)
    return torch.cartesian_prod(axis, axis)


@pytest.fixture
def pictures(factors):
    x = torch.zeros(9, 1, 8, 8)
    x[:, 0, 0, :2] = factors
    return x


@pytest.fixture
def core(pictures, factors):
    return ToyVAECore({0.0: Shift(20.0, -12.0), 1.0: Shift(1.5, -2.0)}, pictures, factors)


@pytest.fixture
def toy(pictures, factors):
    made = ToyVAEExplorer({0.0: Shift(20.0, -12.0), 1.0: Shift(1.5, -2.0)}, pictures, factors)
    yield made
    made.close()


def test_numbers_are_the_model_s(core, factors):
    result = core.compute(ToyRequest(1.0))
    assert torch.equal(result.mean, 1.5 * factors)
    assert torch.allclose(result.std, torch.full((9, 2), float(torch.tensor(-1.0).exp())))
    expected = losses.kl(1.5 * factors, torch.full((9, 2), -2.0)).mean()
    assert result.nats == pytest.approx(float(expected), abs=1e-5)
    assert result.error == pytest.approx(0, abs=1e-9)
    assert result.numbers.startswith(f"KL {expected:.2f} nats per picture · mean squared error 0.000")
    assert torch.equal(result.decoded, Shift(1.5).decode(nodes()).clamp(-1, 1))


def test_the_grid_runs_as_the_plane_is_drawn():
    z = nodes()
    assert z.shape == (NODES**2, 2)
    assert z[0].tolist() == [-REACH, REACH]
    assert z[NODES - 1].tolist() == [REACH, REACH]
    assert z[-1].tolist() == [REACH, -REACH]
    assert z[NODES**2 // 2].tolist() == [0, 0]


def test_the_plane_shows_each_mean_in_its_colour(core, factors):
    side, reach = 300, 3.0
    plane = core._plane(2 * factors, torch.full((9, 2), 0.05), side)
    for (x, y), corner in zip([(-2, 2), (2, 2), (-2, -2), (2, -2)], [(0, 1), (1, 1), (0, 0), (1, 0)], strict=True):
        at = round(side / 2 * (1 + x / reach)), round(side / 2 * (1 - y / reach))
        found, wanted = plane.getpixel(at), ImageColor.getrgb(CORNERS[corner])
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 40, (corner, found, wanted)


def test_the_prior_s_circle_is_drawn_to_scale(core, factors):
    """Along the axis, dark pixels stand one and two σ from the middle, and closer when the frame has grown."""
    for spread, reach in ((0.0, 3.0), (10.0, 10.8)):
        plane = core._plane(spread * factors, torch.full((9, 2), 0.001), 600).convert("L")
        row = [plane.getpixel((x, 300 - 9)) for x in range(300, 600)]
        circle = 300 * (1 / reach)
        near = range(round(circle) - 4, round(circle) + 4)
        assert min(row[i] for i in near) < 120, (spread, circle)


def test_a_model_that_is_not_finite_is_drawn_empty(core, factors):
    core._plane(torch.full((9, 2), torch.nan), torch.full((9, 2), torch.nan), 100)
    core._plane(factors, torch.full((9, 2), torch.inf), 100)


def test_samples_are_of_the_same_latents_at_every_weight(core):
    for weight, scale in ((0.0, 20.0), (1.0, 1.5)):
        z = torch.randn(5, 2, generator=torch.Generator().manual_seed(3))
        assert torch.equal(core.samples(weight, 5, seed=3), Shift(scale).decode(z).clamp(-1, 1))


def test_the_overview_has_a_column_for_each_weight(core, pictures, factors):
    two = core.overview(side=90)
    one = ToyVAECore({1.0: Shift()}, pictures, factors).overview(side=90)
    assert two.height == one.height
    assert two.width == 2 * one.width + 12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"models": {}}, "models: got none"),
        ({"factors": torch.zeros(9, 3)}, r"factors: got shape \(9, 3\); expected \(9, 2\)"),
        ({"pictures": torch.zeros(9, 2, 8, 8)}, "pictures: got shape"),
        ({"pictures": torch.full((9, 1, 8, 8), torch.nan)}, "pictures: got NaN"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, says, pictures, factors):
    given = {"models": {1.0: Shift()}, "pictures": pictures, "factors": factors} | change
    with pytest.raises(ValueError, match=says):
        ToyVAECore(**given)


def test_weights_and_latents_that_are_none(core, pictures, factors):
    with pytest.raises(ValueError, match="weight: got 3; expected one of 0, 1"):
        core.compute(ToyRequest(3))
    wide = Shift()
    wide.encode = lambda x: (torch.zeros(len(x), 5), torch.zeros(len(x), 5))
    with pytest.raises(ValueError, match=r"models: at 1, means have shape \(9, 5\); expected \(n, 2\)"):
        ToyVAECore({1.0: wide}, pictures, factors).compute(ToyRequest(1.0))


def test_dragging_shows_the_last_value(toy):
    toy.refresh()
    assert toy.wait(SECONDS)
    before = toy.image.value
    toy.weight.value = 1.0
    assert toy.wait(SECONDS)
    assert "β = 1" in toy.status.value
    assert "nats per picture" in toy.numbers.value
    assert Image.open(io.BytesIO(toy.image.value)).width <= 1090
    assert toy.image.value != before


def test_watching_draws_the_weights_of_the_moment_now_and_then(toy, monkeypatch):
    now, asked = [100.0], []
    monkeypatch.setattr(toy_vae.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(toy, "refresh", lambda: asked.append(toy.request))
    for _ in range(20):
        toy.watch(0.0)
        now[0] += 0.1
    assert len(asked) == pytest.approx(2.0 / toy_vae.EVERY, abs=1)
    asked.clear()
    toy.watch(1.0)
    assert asked == [ToyRequest(1.0)], "another model is drawn at once, and once"
    assert toy.weight.value == 1.0


def test_a_model_that_has_learned_is_drawn_anew(toy):
    first = toy.at(1.0)
    toy.core.models[1.0].scale = 3.0
    assert torch.equal(toy.at(1.0).mean, 2 * first.mean)


def test_the_notebook_gets_a_still_picture(toy):
    assert Image.open(io.BytesIO(toy.static().data)).format == "JPEG"
