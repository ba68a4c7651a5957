"""Targets of distillation: against what the teacher really does, and on fields whose ways are known."""

import pytest
import torch

from course_utils.diffusion import distillation
from course_utils.diffusion.guidance import ClassifierFreeGuidance
from course_utils.diffusion.mixture import LabelledMixture, MixtureDenoiser, three_petals
from course_utils.diffusion.paths import RectifiedFlow, over
from course_utils.diffusion.samplers import euler, time_grid

PATH = RectifiedFlow()


def draws(n=64, seed=0):
    g = torch.Generator().manual_seed(seed)
    z, t = torch.randn(n, 2, generator=g), 0.2 + 0.8 * torch.rand(n, generator=g)
    return z, t, t * torch.rand(n, generator=g)


def test_a_mean_velocity_is_what_leads_there_in_one_step():
    z, t, s = draws()
    there = torch.randn(64, 2)
    u = distillation.mean_velocity(z, there, t, s)
    torch.testing.assert_close(distillation.step_to(lambda *_: u, z, t, s), there)


def test_two_steps_are_two_euler_steps():
    perfect = MixtureDenoiser(three_petals(PATH))
    z, cond, w = torch.randn(16, 2), perfect.condition(1, 16), 3.0
    guided = ClassifierFreeGuidance(perfect, cond, w)
    t, s = torch.full((16,), 0.75), torch.full((16,), 0.25)
    u = distillation.two_steps(lambda z, t, s: guided(z, t), z, t, s)
    walked = euler(lambda z, t: PATH.from_velocity(guided(z, t), z, t), z, torch.tensor([0.75, 0.5, 0.25]))
    torch.testing.assert_close(z - 0.5 * u, walked)


def test_two_steps_agree_with_the_exact_mean_velocity_where_it_is_one():
    """A student that knows the way exactly is its own teacher: the long step's target is its own answer."""

    def exact(z, t, s):  # dz/dt = z has z_s = z_t e^(s − t)
        return over((1 - (s - t).exp()) / (t - s), z) * z

    z, t, s = (x.double() for x in draws())
    torch.testing.assert_close(distillation.two_steps(exact, z, t, s), exact(z, t, s))


def test_a_target_carries_no_gradient():
    weight = torch.ones(2, requires_grad=True)
    z, t, s = draws()
    assert not distillation.two_steps(lambda z, t, s: weight * z, z, t, s).requires_grad


@pytest.mark.parametrize("keep", [1, 2, 4, 8])
def test_a_trajectory_is_eulers_way_at_the_kept_times(keep):
    perfect = MixtureDenoiser(three_petals(PATH))
    z = torch.randn(8, 2)
    seen = [z]

    def velocity(z, t):
        return perfect(z, t, perfect.condition(0, len(z)))

    euler(
        lambda z, t: PATH.from_velocity(velocity(z, t), z, t),
        z,
        time_grid(8),
        callback=lambda step, z, prediction: seen.append(z),
    )
    found = distillation.trajectory(velocity, z, 8, keep)
    torch.testing.assert_close(found, torch.stack(seen)[:: 8 // keep])
    t, s = time_grid(keep)[[0, 1]].expand(8, 2).T
    u = distillation.mean_velocity(found[0], found[1], t, s)
    torch.testing.assert_close(distillation.step_to(lambda *_: u, found[0], t, s), found[1])


def test_regression_is_the_squared_error_summed_over_a_latent():
    z, t, s = draws(3)
    cond, w, target = torch.randn(3, 5), torch.rand(3), torch.randn(3, 2)

    def student(*question):
        assert all(a is b for a, b in zip(question, (z, t, s, cond, w), strict=True))
        return target + torch.tensor([[1.0, 2.0]])

    assert distillation.regression(student, z, t, s, cond, w, target).tolist() == pytest.approx([5.0] * 3)


def test_guidance_can_be_distilled_exactly():
    """With one Gaussian per class the guided velocity at a time is linear in (1, z) and in (1, w): a student of that form
    reproduces CFG at every w, those that it has not seen included."""
    means, eye = torch.tensor([[1.0, 0.0], [-1.0, 0.5]]), torch.eye(2)
    twins = LabelledMixture(means, torch.stack([0.3 * eye, 0.3 * eye]), torch.ones(2), torch.tensor([0, 1]), PATH)
    model, g = MixtureDenoiser(twins), torch.Generator().manual_seed(0)
    at = torch.tensor(0.6)

    def features(z, w):
        free = model(z, at.expand(len(z)), torch.zeros(len(z), 2))  # the unconditional answer, which is not linear
        one = torch.cat([torch.ones(len(z), 1), z, free], 1)
        return torch.cat([one, w[:, None] * one], 1).double()

    def guided(z, w):
        return ClassifierFreeGuidance(model, model.condition(0, len(z)), w)(z, at.expand(len(z)))

    z, w = torch.randn(400, 2, generator=g), 4 * torch.rand(400, generator=g)
    student = torch.linalg.lstsq(features(z, w), guided(z, w).double()).solution
    z, w = torch.randn(400, 2, generator=g), 15 * torch.rand(400, generator=g)
    torch.testing.assert_close((features(z, w) @ student).float(), guided(z, w), atol=1e-4, rtol=1e-4)


def test_refusals_name_the_argument():
    z, t, s = draws(4)
    with pytest.raises(ValueError, match=r"expected s below t everywhere"):
        distillation.mean_velocity(z, z, s, t)
    with pytest.raises(ValueError, match=r"z_t .*z_s|z_s .*z_t"):
        distillation.mean_velocity(z, z[:2], t, s)
    with pytest.raises(ValueError, match="keep is 3; expected a divisor of steps, 8"):
        distillation.trajectory(lambda z, t: z, z, 8, 3)
    with pytest.raises(ValueError, match="steps is 0"):
        distillation.trajectory(lambda z, t: z, z, 0, 1)
