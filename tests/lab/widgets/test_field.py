"""The field explorer without a browser: its arrows and ways are the mixture's and the samplers', refusals, the newest request."""

import io

import pytest
import torch
from PIL import Image

from course_utils.diffusion.guidance import LARGEST
from course_utils.diffusion.mixture import LabelledMixture, three_petals
from course_utils.diffusion.paths import RectifiedFlow, VariancePreserving
from course_utils.diffusion.samplers import ddpm, time_grid
from course_utils.evaluation.energy import energy_distance
from course_utils.lab.widgets.field import FieldExplorer
from course_utils.lab.widgets.field_core import NODES, FieldCore, FieldRequest

SECONDS = 60  # after which a test that waits has failed
PATH = RectifiedFlow()


@pytest.fixture
def core():
    return FieldCore(three_petals(PATH))


@pytest.fixture
def explorer():
    made = FieldExplorer(three_petals(PATH))
    yield made
    made.close()


@pytest.mark.parametrize(("y", "w"), [(None, 1.0), (1, 1.0), (1, 3.0), (2, 0.0)])
def test_velocity_and_score_say_the_same(core, y, w):
    """On any path, v = (α′/α) z + (σ² α′/α − σ σ′) score; on the straight one α′ = −1 and σ′ = 1."""
    t = 0.4
    request = FieldRequest(t, y=y, guidance_scale=w)
    velocity = core.compute(request)
    score = core.field(FieldRequest(t, y=y, guidance_scale=w, field="score"), velocity.at)
    expected = -velocity.at / (1 - t) - (t**2 / (1 - t) + t) * score
    assert velocity.arrows.shape == (NODES**2, 2)
    torch.testing.assert_close(velocity.arrows, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("path", [RectifiedFlow(), VariancePreserving()], ids=["flow", "vp"])
@pytest.mark.parametrize("field", ["velocity", "score"])
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_the_ends_are_finite(path, field, t):
    result = FieldCore(three_petals(path)).compute(FieldRequest(t, 3, "ddpm", 2.0, 0, field))
    assert result.arrows.isfinite().all()
    assert result.ways.isfinite().all()


def test_ways_are_the_samplers(core):
    result = core.compute(FieldRequest(0.5, 7, "ddpm", 1.0, 2))
    assert result.ways.shape == (8, 40, 2)
    assert torch.equal(result.times, time_grid(7))
    expected = ddpm(core.mixture.model(2), core.start, time_grid(7), torch.Generator().manual_seed(1))
    assert torch.equal(result.ways[-1], expected)


def test_the_same_noise_at_every_setting_and_another_for_another_seed(core):
    one, two = core.ways(FieldRequest(steps=3)), core.ways(FieldRequest(0.1, 9, "ddim", 4.0, 1))
    assert torch.equal(one[0], two[0])
    assert not torch.equal(FieldCore(core.mixture, seed=1).start, core.start)


def test_guidance_takes_the_points_to_their_class():
    core = FieldCore(three_petals(PATH), n=400)
    wanted = core.mixture.sample(400, 1, torch.Generator().manual_seed(0))
    one, all_of_them = (core.ways(FieldRequest(steps=40, y=1, guidance_scale=w))[-1] for w in (1.0, 0.0))
    assert energy_distance(one, wanted) < 0.1 * energy_distance(all_of_them, wanted)


def test_the_drawing_follows_t_and_the_class(core):
    encoded = {core.compute(FieldRequest(t, y=y)).encoded for t in (0.2, 0.8) for y in (None, 0)}
    assert len(encoded) == 4
    picture = Image.open(io.BytesIO(encoded.pop()))
    assert picture.format == "JPEG"
    assert 900 < picture.width <= 1090


def test_it_stops_when_nobody_waits(core):
    assert core.compute(FieldRequest(), should_stop=lambda: True) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t": 1.5}, "t is 1.5; expected a finite number from 0 to 1"),
        ({"steps": 0}, "steps is 0; expected a whole number from 1"),
        ({"sampler": "magic"}, "sampler is 'magic'; expected one of euler"),
        ({"field": "noise"}, "field is 'noise'; expected one of velocity, score"),
        ({"y": 3}, "y is 3; expected a whole number from 0 to 2"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"guidance_scale": 2 * LARGEST}, "guidance_scale is"),
    ],
    ids=str,
)
def test_refusals_name_the_argument(core, changes, message):
    with pytest.raises(ValueError, match=message):
        core.compute(FieldRequest(**changes))


def test_only_the_plane_is_drawn():
    line = LabelledMixture(torch.zeros(1, 1), torch.ones(1, 1, 1), torch.ones(1), torch.zeros(1).long(), PATH)
    with pytest.raises(ValueError, match="mixture: got one in 1 dimensions; expected 2"):
        FieldCore(line)


def test_the_widget_shows_the_newest_request(explorer):
    for t in (0.2, 0.4, 0.94):
        explorer.t.value = t
    explorer.sampler.value, explorer.steps.value = "ddpm", 5
    assert explorer.wait(SECONDS)
    assert explorer.shown.request == FieldRequest(0.94, 5, "ddpm")
    assert "all classes · t = 0.94 · ddpm, 5 steps" in explorer.status.value
    assert explorer.image.value == explorer.core.compute(explorer.request).encoded


def test_w_counts_once_a_class_is_chosen(explorer):
    assert explorer.w.disabled
    explorer.y.value, explorer.w.value = 1, 3.0
    assert not explorer.w.disabled
    assert explorer.wait(SECONDS)
    assert explorer.shown.request == FieldRequest(guidance_scale=3.0, y=1)
    assert "class 1 · w = 3" in explorer.status.value


def test_a_request_may_lie_beyond_the_slider():
    made = FieldExplorer(three_petals(PATH), FieldRequest(guidance_scale=-2.0, y=0))
    assert made.request.guidance_scale == -2.0
    made.close()


def test_static_picture_has_three_times_and_the_ways(explorer):
    picture = Image.open(io.BytesIO(explorer.static().data))
    assert picture.format == "JPEG"
    assert picture.width > 3.5 * 270


def test_the_list_of_classes_shows_what_is_chosen(explorer):
    """A list whose value is None shows an empty line."""
    assert explorer.y.label == "all"
    assert explorer.y.value is not None
    assert explorer.request.y is None
    explorer.y.value = 0
    assert explorer.request.y == 0
    assert explorer.wait(SECONDS)
    assert not explorer.w.disabled
