"""The denoiser of points: shapes, refusals, classes and none, and that it learns what the petals' exact field says."""

import pytest
import torch

from course_utils.diffusion.mixture import three_petals
from course_utils.diffusion.paths import VariancePreserving
from course_utils.models.plane_denoiser import PlaneDenoiser


def woken(**how):
    """A network whose answer is not 0."""
    torch.manual_seed(0)
    model = PlaneDenoiser(**how)
    torch.nn.init.normal_(model.output.weight)
    return model


def test_a_fresh_one_says_zero():
    assert torch.equal(PlaneDenoiser()(torch.randn(5, 2), torch.rand(5)), torch.zeros(5, 2))


def test_points_do_not_see_each_other_and_time_counts():
    model, z, t = woken(), torch.randn(4, 2), torch.tensor([0.1, 0.5, 0.5, 0.9])
    torch.testing.assert_close(model(z, t)[1:2], model(z[1:2], t[1:2]))
    assert not torch.allclose(model(z, t), model(z, t.flip(0)), atol=1e-4)


def test_no_class_is_minus_one_and_has_its_own_learned_vector():
    model, z, t = woken(classes=3), torch.randn(4, 2), torch.rand(4)
    torch.testing.assert_close(model(z, t), model(z, t, torch.full((4,), -1)))
    mixed = model(z, t, torch.tensor([0, -1, 2, 1]))
    torch.testing.assert_close(mixed[1], model(z, t)[1])
    assert not torch.allclose(mixed[0], model(z, t)[0], atol=1e-4)
    model(z, t, torch.tensor([0, -1, 2, 1])).square().sum().backward()
    assert model.null.grad.abs().sum() > 0
    assert (model.label.weight.grad.abs().sum(1) > 0).all()


def test_it_learns_the_exact_field():
    torch.manual_seed(0)
    path = VariancePreserving()
    petals, model, g = three_petals(path), PlaneDenoiser(width=64), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    data = petals.sample(4000, generator=g)
    for _ in range(150):
        z0, t = data[torch.randint(len(data), (256,), generator=g)], torch.rand(256, generator=g)
        eps = torch.randn(z0.shape, generator=g)
        loss = (model(path.add_noise(z0, eps, t), t) - eps).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    t = torch.full((1000,), 0.3)
    z = path.add_noise(data[:1000], torch.randn(1000, 2, generator=g), t)
    exact = path.from_z0(petals.z0(z, t), z, t).eps
    with torch.no_grad():
        assert (model(z, t) - exact).square().sum(1).mean() < 0.05 * exact.square().sum(1).mean()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((torch.zeros(2, 3), torch.zeros(2)), r"z: expected points \(B, 2\), got \(2, 3\)"),
        ((torch.zeros(2, 2), torch.zeros(3)), r"t: .* shape \(2,\), got \(3,\)"),
        ((torch.zeros(2, 2), torch.zeros(2), torch.tensor([0, 2])), "y: expected classes from 0 to 1"),
        ((torch.zeros(2, 2), torch.zeros(2), torch.zeros(2)), "y: expected whole numbers"),
    ],
    ids=str,
)
def test_refusals(given, message):
    with pytest.raises(ValueError, match=message):
        PlaneDenoiser(classes=2)(*given)
