"""The generator with a student: the same switch and the same drafts as the explorer's."""

from itertools import pairwise

import pytest
import torch

from course_utils.diffusion.few_steps import FastPipeline
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.samplers import time_grid
from course_utils.lab.widgets import picture_rows
from course_utils.lab.widgets.generator import Generator
from course_utils.lab.widgets.generator_core import GeneratorCore, GeneratorRequest
from course_utils.lab.widgets.judged import FAST_STEPS
from tests.lab.widgets.test_generator import FAST, SECONDS, Clip, Denoiser, Vae, core  # noqa: F401


class Student(Denoiser):
    """Notes which times it was asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, z, t, s, cond, w):
        self.asked.append((float(t[0]), float(s[0])))
        return super().forward(z, t, cond) + w[:, None, None, None]


@pytest.fixture
def fast(core):  # noqa: F811
    students = {"sharp": FastPipeline(Vae(0.3), Clip(), Student(), RectifiedFlow())}
    return GeneratorCore(core.pipelines, core.judge, core.references, core.attributes, core.weak, students)


def asked_of(core):  # noqa: F811
    return core.students["sharp"].denoiser.asked


def test_a_fast_request_is_drawn_in_a_few_long_steps(fast):
    made = fast.compute(GeneratorRequest("a bear", fast=True, n=1))
    assert asked_of(fast) == list(pairwise(time_grid(FAST_STEPS).tolist()))
    assert f"{FAST_STEPS} fast steps" in made.drawn.label


@pytest.mark.parametrize("change", [{"method": "APG"}, {"decoder": "soft"}, {"guidance_scale": -1.0}])
def test_what_the_student_cannot_do_is_drawn_exactly_and_said(fast, change):
    request = GeneratorRequest("a bear", fast=True, **FAST | change)
    made = fast.compute(request)
    assert not asked_of(fast)
    assert made.notes == ("exact: the fast model knows plain CFG only",)
    assert torch.equal(made.pictures, fast.compute(GeneratorRequest("a bear", **FAST | change)).pictures)
    assert f"{request.steps} steps" in made.drawn.label


@pytest.mark.parametrize(("control", "value", "drafts"), [("w", 7.0, 1), ("share", 0.75, 1), ("seed", 5, 0)])
def test_sliders_show_a_draft_first(fast, monkeypatch, control, value, drafts):
    monkeypatch.setattr(picture_rows, "INSTANT", -1.0)
    generator = Generator(core=fast, prompt="a bear", reference=1, steps=3, n=1)
    generator.refresh()
    assert generator.wait(SECONDS)
    getattr(generator, control).value = value
    assert generator.wait(SECONDS)
    assert len(asked_of(fast)) == FAST_STEPS * drafts
    assert not generator.shown.request.fast
    assert generator.pace in generator.children
    generator.close()


def test_without_a_student_there_is_no_switch(core):  # noqa: F811
    generator = Generator(core=core)
    assert generator.pace not in generator.children
    generator.close()
