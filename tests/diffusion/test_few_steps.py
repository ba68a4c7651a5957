"""Few steps: the student is asked for the grid's own steps, and what it cannot do is refused."""

import pytest
import torch
from torch import nn

from course_utils.diffusion.few_steps import FastPipeline, FewSteps
from course_utils.diffusion.guidance_methods import Rescale
from course_utils.diffusion.paths import RectifiedFlow, over
from course_utils.diffusion.samplers import euler, next_time, time_grid
from course_utils.diffusion.threaded import ThreadedPipeline, on_all_cores
from tests.diffusion.test_pipeline import Clip, Vae


class Student(nn.Module):
    """The exact mean velocity of dz/dt = z + w, for any step; it notes what it was asked."""

    class config:  # noqa: N801
        channels, side = 4, 2

    def __init__(self):
        super().__init__()
        self.null, self.asked = nn.Parameter(torch.zeros(6)), []

    def forward(self, z, t, s, cond, w):
        self.asked.append((t.tolist(), s.tolist(), w.tolist()))
        return over((1 - (s - t).exp()) / (t - s), z) * (z + over(w, z))


@pytest.fixture
def pipeline():
    return FastPipeline(Vae(), Clip(), Student(), RectifiedFlow())


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_any_number_of_steps_ends_where_the_way_ends(steps):
    z, w, path = torch.randn(3, 4, 2, 2), torch.tensor([0.0, 1.0, 4.0]), RectifiedFlow()
    few = FewSteps(Student(), torch.zeros(3, 6), w, times=time_grid(steps))
    end = euler(lambda z, t: path.from_velocity(few(z, t), z, t), z, time_grid(steps))
    torch.testing.assert_close(end, (z + over(w, z)) * torch.tensor(-1.0).exp() - over(w, z))


def test_one_forward_per_step_and_a_scale_for_each_picture(pipeline):
    pipeline.generate("a bear", 2, torch.tensor([1.0, 7.0]), steps=2)
    assert pipeline.denoiser.asked == [([1.0, 1.0], [0.5, 0.5], [1.0, 7.0]), ([0.5, 0.5], [0.0, 0.0], [1.0, 7.0])]


def test_without_a_prompt_it_is_not_guided(pipeline):
    pipeline.generate("", 2, 5.0, steps=1)
    assert pipeline.denoiser.asked == [([1.0, 1.0], [0.0, 0.0], [0.0, 0.0])]


def test_a_strip_and_shared_work_are_the_same_pictures(pipeline):
    strip = pipeline.strip("a bear", [0.0, 3.0], 2, steps=4)
    shared = on_all_cores(pipeline, 2)
    assert isinstance(shared, ThreadedPipeline)
    torch.testing.assert_close(shared.strip("a bear", [0.0, 3.0], 2, steps=4), strip)
    torch.testing.assert_close(pipeline.generate("a bear", 2, 3.0, steps=4), strip[1])
    shared.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 3}, "steps is 3; expected one of 1, 2, 4, 8, as it was distilled"),
        ({"steps": 0}, "steps is 0; expected a whole number"),
        ({"sampler": "heun"}, "sampler is 'heun'; expected 'euler'"),
        ({"negative": "a cat"}, "negative is 'a cat'; expected ''"),
        ({"negative": None}, "negative is None"),
        ({"guidance": Rescale}, "guidance is <class .*Rescale.*>; expected plain guidance"),
    ],
)
def test_what_a_student_cannot_do_is_refused(pipeline, changes, message):
    for kind in (pipeline, ThreadedPipeline(pipeline, 1)):
        with pytest.raises(ValueError, match=message):
            kind.generate("a bear", 1, 3.0, **{"steps": 4} | changes)
    assert not pipeline.denoiser.asked


def test_the_next_time_of_a_grid():
    assert next_time(time_grid(4), torch.tensor([1.0, 0.5, 0.25])).tolist() == [0.75, 0.25, 0.0]
    with pytest.raises(ValueError, match="expected times from which the grid goes on, above 0.0"):
        next_time(time_grid(4), torch.tensor([0.0]))
    with pytest.raises(ValueError, match="times is .*; expected a falling grid"):
        FewSteps(Student(), torch.zeros(1, 6), 1.0, times=torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="z holds 2 latents; expected 1"):
        FewSteps(Student(), torch.zeros(1, 6), 1.0, times=time_grid(1))(torch.zeros(2, 4, 2, 2), torch.ones(2))
