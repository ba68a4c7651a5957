"""What the charts draw: which number stands where."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from course_utils.lab import charts
from course_utils.lab.plots import COLOURS

ROWS = {"a": [(1.0, 0.5, 1.5), (2.0, 1.0, 4.0)], "b": [(3.0, 2.5, 3.5), (4.0, 3.0, 6.0)]}


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    pyplot.close("all")


def test_bands_lie_around_their_curves(ax):
    charts.bands(ax, [1, 2], ROWS, "x", "title")
    assert (ax.get_xlabel(), ax.get_title()) == ("x", "title")
    for line, band, (name, rows) in zip(ax.lines, ax.collections, ROWS.items(), strict=True):
        assert line.get_label() == name
        assert line.get_ydata().tolist() == [row[0] for row in rows]
        corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
        assert {(x, end) for x, row in zip((1.0, 2.0), rows, strict=True) for end in row[1:]} <= corners


def test_error_bars_reach_from_low_to_high(ax):
    charts.error_bars(ax, dict(zip((1, 3), ROWS["a"], strict=True)), COLOURS[2], "name")
    (bars,) = ax.collections
    assert [s[:, 1].tolist() for s in bars.get_segments()] == [[0.5, 1.5], [1.0, 4.0]]
    assert [s[0, 0] for s in bars.get_segments()] == [1, 3]


def test_whiskers_stand_beside_their_names_from_top_to_bottom(ax):
    charts.whiskers(ax, {"upper": (1.0, 0.5, 1.5), "lower": (3.0, 2.0, 3.5)})
    assert [text.get_text() for text in ax.get_yticklabels()] == ["upper", "lower"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first is above"
    bars, dots = ax.lines[::2], ax.lines[1::2]
    assert [list(bar.get_xdata()) for bar in bars] == [[0.5, 1.5], [2.0, 3.5]]
    assert [float(np.ravel(dot.get_xdata())[0]) for dot in dots] == [1.0, 3.0]


@pytest.mark.parametrize("rows", [{"a": [(1.0, 2.0)]}, {"a": []}])
def test_what_is_no_interval_is_refused(ax, rows):
    with pytest.raises(ValueError, match="expected intervals"):
        charts.bands(ax, [1], rows)


def test_powers_of_two_have_plain_ticks(ax):
    ax.plot([1, 16], [0, 1])
    charts.powers_of_two(ax, [1, 4, 16])
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "4", "16"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_groups_of_bars_stand_over_their_names(ax, count):
    series = {f"s{j}": [j + 1.0, j + 2.0] for j in range(count)}
    charts.grouped_bars(ax, series, ["left", "right"], "%.1f")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["left", "right"]
    for k in (0, 1):
        group = [container.patches[k] for container in ax.containers]
        middles = [bar.get_x() + bar.get_width() / 2 for bar in group]
        assert np.mean(middles) == pytest.approx(k)
        assert all(a.get_x() + a.get_width() <= b.get_x() + 1e-9 for a, b in zip(group, group[1:], strict=False))
        assert [bar.get_height() for bar in group] == [values[k] for values in series.values()]
    assert [text.get_text() for text in ax.texts][:2] == ["1.0", "2.0"]


def test_bars_of_seeds_are_as_high_as_the_mean(ax):
    charts.bars_of_seeds(ax, {"one, two": [1.0, 3.0], "three": [5.0]}, COLOURS[:2])
    assert [bar.get_height() for bar in ax.patches] == [2.0, 5.0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1.0, 3.0], [5.0]]
    assert ax.get_xticklabels()[0].get_text() == "one\ntwo"


def test_lying_bars_have_their_texts_beside_them(ax):
    charts.lying_bars(ax, {"a": (0.25, "first"), "b": (1.0, "second")})
    assert [bar.get_width() for bar in ax.patches] == [0.25, 1.0]
    assert [(text.get_position()[1], text.get_text()) for text in ax.texts] == [(0, "first"), (1, "second")]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_histograms_are_densities_and_follow_their_weights(ax):
    values = {"even": torch.linspace(0, 1, 1001)[:-1], "weighted": torch.linspace(0, 1, 1001)[:-1]}
    weights = {"even": torch.ones(1000), "weighted": torch.arange(1000).float()}
    charts.histograms(ax, values, 2, (0, 1), weights)
    even, weighted = (sorted(set(patch.get_xy()[:, 1].round(2)) - {0.0}) for patch in ax.patches)
    assert even == [1.0]
    assert weighted == [0.5, 1.5]


def test_matrices_share_one_scale_of_colours():
    figure, axes = charts.matrices({"a": torch.zeros(2, 2), "b": torch.ones(3, 3)}, "value", (-1, 1), (6, 3))
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    assert {ax.images[0].get_clim() for ax in axes} == {(-1, 1)}
    assert figure.axes[-1].get_ylabel() == "value"
    assert not axes[0].get_xticks().tolist()


def test_a_confusion_has_its_counts_in_its_cells(ax):
    charts.confusion(ax, torch.tensor([[8, 2], [0, 5]]), ["cat", "dog"], "title")
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written == {(0, 0): "8", (1, 0): "2", (0, 1): "0", (1, 1): "5"}
    assert [text.get_text() for text in ax.get_yticklabels()] == ["cat", "dog"]
    assert ax.images[0].get_array()[0, 0] == pytest.approx(0.8**0.5)
    assert {text.get_text(): text.get_color() for text in ax.texts}["8"] == "black"


def test_one_each_hides_the_panels_that_are_left_over():
    figure, axes = charts.one_each(["a", "b", "c"], "x", "y", columns=2)
    assert [ax.get_title() for ax in axes] == ["a", "b", "c", ""]
    assert [ax.axison for ax in axes] == [True, True, True, False]
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("x", "y")


def test_colours_begin_again_when_there_are_more_curves(ax):
    charts.bands(ax, [1, 2], {f"{k}": ROWS["a"] for k in range(len(COLOURS) + 1)})
    assert to_hex(ax.lines[-1].get_color()) == COLOURS[0].lower()


def test_panels_show_each_measure_of_those_who_have_it():
    row = {"a": ROWS["a"][0], "b": ROWS["b"][0]}
    series = {"both": {1: row, 2: row}, "one": {2: {"a": ROWS["a"][1]}}}
    figure, axes = charts.error_panels(series, {"b": 3.25}, "w", columns=2)
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    assert [len(ax.containers) for ax in axes] == [2, 1]
    assert [line.get_ydata()[0] for line in axes[1].lines if line.get_linestyle() == ":"] == [3.25]
    assert axes[0].containers[1].get_label() == "one"
    assert figure.get_supxlabel() == "w"


def test_crossing_lines_have_a_thing_s_ranks_and_its_name_at_the_end(ax):
    charts.crossing(ax, {"blur": [1, 3], "shift": [3, 1], "noise": [2, 2]}, ["MSE", "CLIP"])
    assert [line.get_ydata().tolist() for line in ax.lines] == [[1, 3], [3, 1], [2, 2]]
    assert [text.get_text() for text in ax.texts] == ["blur", "shift", "noise"]
    assert [text.xy for text in ax.texts] == [(1, 3), (1, 1), (1, 2)]
    assert [text.get_color() for text in ax.texts] == [line.get_color() for line in ax.lines]
    assert ax.get_yticks().tolist() == [1, 2, 3]
    assert ax.get_xlim() == (-0.2, 1.6)
