"""The trajectory explorer without a browser: what depends on what, remembered walks, refusals."""

import io

import pytest
import torch
from PIL import Image

from course_utils.diffusion.paths import VariancePreserving
from course_utils.lab.widgets.trajectory import TrajectoryExplorer
from course_utils.lab.widgets.trajectory_core import STEPS, TrajectoryCore, TrajectoryRequest
from course_utils.models.noisy_classifier import NoisyClassifier

SECONDS = 60  # after which a test that waits has failed


@pytest.fixture
def core():
    torch.manual_seed(0)
    path, calls = VariancePreserving(), []

    def model(z, t):
        """Latents of variance 1 are all it knows: E[z0 | z_t] = α z_t."""
        calls.append(len(z))
        return path.from_z0(path.alpha(t)[:, None, None, None] * z, z, t)

    def decode(z):
        return z[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3).div(4).clamp(-1, 1)

    made = TrajectoryCore(model, NoisyClassifier(width=16).requires_grad_(False), decode, n=3)
    made.calls = calls
    return made


def test_a_walk_ends_where_its_last_guess_is_and_starts_from_the_same_noise(core):
    walk = core.trajectory("species", "cat", 5.0, seed=1)
    assert walk.z.shape == walk.z0.shape == (STEPS + 1, 3, 4, 8, 8)
    assert walk.times[0] == 1
    assert walk.times[-1] == 0
    other = core.trajectory("fur", "pink", 0.0, seed=1)
    assert torch.equal(walk.z[0], other.z[0])
    assert not torch.equal(walk.z[-1], other.z[-1])
    assert not torch.equal(core.trajectory("species", "cat", 5.0, seed=2).z[0], walk.z[0])


def test_guidance_raises_the_classifiers_probability(core):
    free, pushed = (core.trajectory("species", "dog", w).probability[-5:].mean() for w in (0.0, 400.0))
    assert pushed > free + 0.1


def test_a_scale_may_be_negative(core):
    result = core.compute(TrajectoryRequest(guidance_scale=-400.0))
    free = core.compute(TrajectoryRequest(guidance_scale=0.0))
    assert result.probability.mean() < free.probability.mean()
    explorer = TrajectoryExplorer(core, TrajectoryRequest(guidance_scale=-2.5))
    assert explorer.request.guidance_scale == -2.5
    assert "w = -2.5" in explorer.request.words
    assert "w = 0 " in TrajectoryRequest(guidance_scale=-0.0).words
    explorer.close()


def test_the_step_slider_costs_no_new_walk(core):
    core.compute(TrajectoryRequest(step=3))
    asked = len(core.calls)
    first = core.compute(TrajectoryRequest(step=30))
    assert len(core.calls) == asked
    assert first.now.shape == first.guessed.shape == (3, 3, 64, 64)
    assert Image.open(io.BytesIO(first.encoded)).format == "JPEG"
    core.compute(TrajectoryRequest(step=30, guidance_scale=9.0))
    assert len(core.calls) > asked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attribute": "size"}, "attribute is 'size'; expected one of species"),
        ({"label": "wolf"}, "label is 'wolf'; expected one of bear"),
        ({"guidance_scale": float("inf")}, "guidance_scale is inf"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"step": 99}, f"step is 99; expected a whole number from 0 to {STEPS}"),
    ],
    ids=str,
)
def test_refusals_name_the_argument(core, changes, message):
    with pytest.raises(ValueError, match=message):
        core.compute(TrajectoryRequest(**changes))


def test_the_widget_shows_the_newest_request_and_says_errors(core):
    explorer = TrajectoryExplorer(core)
    try:
        for w in (1.0, 2.0, 20.0):
            explorer.w.value = w
        explorer.step.value = 12
        explorer.label.value = ("fur", "pink")
        assert explorer.wait(SECONDS)
        assert explorer.shown.request == TrajectoryRequest("fur", "pink", 20.0, 0, 12)
        assert "pink · w = 20" in explorer.status.value
        assert explorer.image.value == core.compute(explorer.request).encoded
        core.decode = None
        explorer.step.value = 13
        assert explorer.wait(SECONDS)
        assert "TypeError" in explorer.status.value
    finally:
        explorer.close()


def test_static_picture_has_a_column_for_each_step(core):
    explorer = TrajectoryExplorer(core)
    picture = Image.open(io.BytesIO(explorer.static().data))
    assert picture.width > 6 * 128 + 5 * 8, "six steps at 128 pixels each, and the names of the rows"
    explorer.close()
