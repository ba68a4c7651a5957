"""What the figures in the plane are drawn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from course_utils.diffusion.mixture import three_petals
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.samplers import ddpm, euler, time_grid
from course_utils.lab import planes
from course_utils.lab.plots import COLOURS

PETALS = three_petals(RectifiedFlow())


@pytest.fixture
def ax():
    return Figure().subplots()


def test_an_arrow_is_the_field_times_the_scale_to_the_axes_measure(ax):
    planes.arrows(ax, lambda z: torch.stack([z[:, 1], -z[:, 0]], 1), n=5, scale=0.5)
    (quiver,) = ax.collections
    at, u, v = (torch.tensor(np.asarray(x)) for x in (quiver.get_offsets(), quiver.U, quiver.V))
    assert torch.allclose(u, 0.5 * at[:, 1].to(u))
    assert torch.allclose(v, -0.5 * at[:, 0].to(v))
    assert quiver.scale == 1
    assert quiver.scale_units == "xy"


def test_contours_lie_where_the_density_has_their_level(ax):
    planes.contours(ax, lambda z: -0.5 * z.square().sum(1), n=200)
    (lines,) = ax.collections
    for level, path in zip(planes.LEVELS, lines.get_paths(), strict=True):
        radius = torch.tensor(path.vertices).norm(dim=1)
        assert torch.allclose(radius, radius.mean(), rtol=0.01)
        assert float((-0.5 * radius.mean() ** 2).exp()) == pytest.approx(level, rel=0.02)


def test_the_first_coordinate_of_a_density_is_the_horizontal_one(ax):
    planes.contours(ax, lambda z: -0.5 * (z - torch.tensor([1.0, 0.0])).square().sum(1) / 0.01)
    middle = torch.tensor(ax.collections[0].get_paths()[0].vertices).mean(0)
    assert torch.allclose(middle.float(), torch.tensor([1.0, 0.0]), atol=0.05)


@pytest.mark.parametrize("sampler", [euler, ddpm])
def test_walked_records_every_point_of_the_sampler_itself(sampler):
    z, times = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)), time_grid(9)
    found = planes.walked(sampler, PETALS.model(0), z, times, torch.Generator().manual_seed(1))
    assert found.shape == (10, 7, 2)
    assert torch.equal(found[0], z)
    assert torch.equal(found[-1], sampler(PETALS.model(0), z, times, torch.Generator().manual_seed(1)))


def test_ways_are_one_line_per_point_and_a_dot_at_each_end(ax):
    points = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    planes.ways(ax, points)
    *lines, ends = ax.lines
    assert len(lines) == 3
    assert torch.allclose(torch.tensor(lines[1].get_xydata()).float(), points[:, 1])
    assert torch.allclose(torch.tensor(ends.get_xydata()).float(), points[-1])


def test_pointers_run_from_their_points_to_their_tips_in_colours_of_their_own(ax):
    named = {"one": (torch.zeros(2), torch.tensor([1.0, 2.0])), "two": (torch.ones(2), torch.tensor([-1.0, 0.5]))}
    planes.pointers(ax, named)
    for arrow, (start, tip), colour in zip(ax.texts, named.values(), COLOURS, strict=False):
        assert (list(arrow.xy), list(arrow.xyann)) == (tip.tolist(), start.tolist())
        assert to_hex(arrow.arrow_patch.get_edgecolor()) == colour.lower()
    assert [text.get_text() for text in ax.legend().get_texts()] == ["one", "two"]
    with pytest.raises(ValueError, match="colours: got 1; expected one for each of the 2"):
        planes.pointers(ax, named, COLOURS[:1])


def test_a_row_of_ways_has_a_panel_for_each_name_in_its_order():
    ways = {"first": torch.randn(4, 3, 2), "second": torch.randn(4, 5, 2)}
    figure = planes.ways_row(ways, lambda z: -z.square().sum(1), reach=2.0)
    assert [ax.get_title() for ax in figure.axes] == ["first", "second"]
    for ax, points in zip(figure.axes, ways.values(), strict=True):
        *lines, ends = ax.lines
        assert len(lines) == points.shape[1]
        assert np.allclose(np.stack(ends.get_data(), 1), points[-1])
        assert ax.get_xlim() == (-2.0, 2.0)


def test_class_contours_draw_all_classes_in_grey_and_one_in_its_colour(ax):
    planes.class_contours(ax, PETALS, torch.tensor(0.0), y=1)
    of_all, of_class = ax.collections
    assert to_hex(of_all.get_edgecolor()[0]) == "#aaaaaa"
    assert to_hex(of_class.get_edgecolor()[0]) == planes.OF_CLASS.lower()
    class_middle = PETALS.sample(500, 1, torch.Generator().manual_seed(0)).mean(0)
    at = np.concatenate([path.vertices for path in of_class.get_paths()]).mean(0)
    assert torch.linalg.vector_norm(torch.tensor(at) - class_middle) < 0.5


def test_clouds_have_their_colours_and_the_last_lies_on_top(ax):
    first, second = torch.randn(3, 2), torch.randn(4, 2)
    planes.clouds(ax, [(first, COLOURS[0]), (second, COLOURS[1])])
    assert [line.get_color() for line in ax.lines] == list(COLOURS[:2])
    assert np.allclose(np.stack(ax.lines[1].get_data(), 1), second)


def test_a_fan_has_its_names_below_its_tips(ax):
    tips = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.0, 1.0])}
    planes.fan(ax, torch.zeros(2), tips)
    arrows, names = ax.texts[::2], ax.texts[1::2]
    assert [tuple(arrow.xy) for arrow in arrows] == [(1.0, 0.0), (0.0, 1.0)]
    assert [tuple(arrow.xyann) for arrow in arrows] == [(0.0, 0.0)] * 2
    assert [(text.get_text(), tuple(text.xy)) for text in names] == [("a", (1.0, 0.0)), ("b", (0.0, 1.0))]
