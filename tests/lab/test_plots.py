"""Tiles: what stands where, in which colour, and what is refused."""

import io

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from course_utils.lab import plots


def flat(*levels: float, side: int = 4) -> torch.Tensor:
    """Pictures (N, 3, side, side), each of one grey."""
    return torch.tensor(levels, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, side, side).clone()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def test_values_are_mapped_and_clipped():
    x = plots.as_bytes(flat(-1, 0, 1, 7, -7))
    assert x.shape == (5, 4, 4, 3)
    assert x[:, 0, 0, 0].tolist() == [0, 128, 255, 255, 0]


def test_bytes_pass_unchanged_and_channels_keep_their_order():
    x = torch.zeros(1, 3, 2, 5, dtype=torch.uint8)
    x[0, 0, 1, 4], x[0, 2, 0, 0] = 200, 90  # red below right, blue above left
    got = plots.as_bytes(x)[0]
    assert got.shape == (2, 5, 3)
    assert got[1, 4].tolist() == [200, 0, 0]
    assert got[0, 0].tolist() == [0, 0, 90]
    assert np.array_equal(plots.as_bytes(got)[0], got), "arrays go through as they are"


def test_one_channel_is_grey_and_sequences_are_joined():
    assert plots.as_bytes(torch.ones(1, 6, 6)).shape == (1, 6, 6, 3)
    assert plots.as_bytes([torch.ones(3, 6, 6), torch.ones(2, 3, 6, 6)]).shape == (3, 6, 6, 3)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (torch.full((1, 3, 4, 4), float("nan")), "NaN"),
        (torch.zeros(2, 4, 8, 8), r"\(2, 4, 8, 8\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "int64"),
        (np.zeros((4, 4, 3)), "float64"),
        (torch.zeros(0, 3, 4, 4), "none"),
        ([], "empty"),
        ([torch.zeros(3, 4, 4), torch.zeros(3, 5, 5)], "one size"),
        ("cat.png", "str"),
    ],
)
def test_what_is_no_picture_is_refused(bad, says):
    with pytest.raises(ValueError, match=f"pictures.*{says}"):
        plots.as_bytes(bad)


def test_tiles_stand_in_reading_order_with_gaps():
    image = pixels(plots.tile(flat(-1, 0, 1), columns=2, scale=2, gap=3))
    assert image.shape == (2 * 8 + 3, 2 * 8 + 3, 3)
    assert (image[:8, :8] == 0).all()  # first tile, 4 × 2 = 8 pixels wide
    assert image[0, 8, 0] == 255, "a white gap"
    assert image[0, 11, 0] == 128
    assert image[11, 0, 0] == 255, "the third picture is white"
    x = torch.rand(1, 3, 4, 4) * 2 - 1
    sharp = plots.as_bytes(x)[0].repeat(3, axis=0).repeat(3, axis=1)
    assert np.array_equal(pixels(plots.tile(x, scale=3)), sharp)


def test_captions_take_room_and_leave_the_pictures_alone():
    x = flat(-1, -1)
    plain = pixels(plots.tile(x, columns=2, scale=3))
    captioned = pixels(plots.tile(x, ["one", "two"], columns=2, scale=3))
    assert captioned.shape[1] == plain.shape[1]
    assert captioned.shape[0] > plain.shape[0]
    assert np.array_equal(captioned[:12], plain[:12])
    assert (captioned[12:] < 128).any(), "there is ink"
    labelled = pixels(plots.tile(x, columns=1, scale=3, row_labels=["a", "longer"]))
    assert labelled.shape[1] > 12
    assert (labelled[:, :6] > 250).all(), "no label touches the edge"


@pytest.mark.parametrize("label", ["100 % right", "w = 0.5, away", "92 % right"])
def test_the_longest_row_label_stays_on_one_line(label):
    unbreakable = label.replace(" ", "\u00a0")
    rows = [pixels(plots.tile(flat(1), scale=16, row_labels=[text])) < 128 for text in (label, unbreakable)]
    high, expected = (int(ink.any((1, 2)).sum()) for ink in rows)
    assert 0 < high == expected


def test_labels_must_fit_the_tiles():
    with pytest.raises(ValueError, match="captions: got 1; expected 2"):
        plots.tile(flat(0, 1), ["one"])
    with pytest.raises(ValueError, match="columns"):
        plots.tile(flat(0, 1), columns=0)
    with pytest.raises(ValueError, match="equally many"):
        plots.labelled_rows({"a": flat(0), "b": flat(0, 1)})


def test_a_row_fits_into_a_notebook():
    for n in range(1, 17):
        assert plots.tile(torch.zeros(n, 3, 64, 64)).width <= plots.WIDTH


@pytest.mark.parametrize(
    ("side", "least", "scale"), [(64, 128, 2), (128, 128, 1), (256, 128, 1), (96, 128, 2), (128, 256, 2)]
)
def test_the_zoom_makes_pictures_large_enough(side, least, scale):
    assert plots.zoom(torch.zeros(2, 3, side, side), least) == scale


def test_wrapped_lines_fit():
    text = plots.wrap("a photo of a golden bear wearing a green scarf", 100)
    assert text.replace("\n", " ") == "a photo of a golden bear wearing a green scarf"
    assert len(text.split("\n")) > 1
    assert all(plots.font(13).getlength(line) <= 100 for line in text.split("\n"))


def test_png_is_lossless_and_jpeg_close():
    x = torch.rand(4, 3, 16, 16) * 2 - 1
    image = plots.tile(x, columns=2, scale=2)
    png = Image.open(io.BytesIO(plots.to_png(x, columns=2, scale=2)))
    assert png.format == "PNG"
    assert np.array_equal(pixels(png), pixels(image))
    smooth = plots.tile(flat(-0.5, 0.5, side=16), scale=2)
    jpeg = Image.open(io.BytesIO(plots.to_jpeg(smooth)))
    assert jpeg.format == "JPEG"
    assert np.abs(pixels(jpeg).astype(int) - pixels(smooth)).max() < 24


def test_curves_draw_what_they_are_given():
    plots.style()
    ax = plots.curves([0, 1, 3], {"adherence": [0.2, 0.5, 0.9], "diversity": torch.tensor([0.9, 0.5, 0.1])},
                      "w", "share", mark={"best": 3})  # fmt: skip
    first, second = ax.get_lines()[:2]
    assert first.get_ydata().tolist() == [0.2, 0.5, 0.9]
    assert (first.get_color(), first.get_linestyle(), first.get_marker()) != (
        second.get_color(), second.get_linestyle(), second.get_marker(),
    )  # fmt: skip
    assert first.get_linestyle() != second.get_linestyle(), "told apart without colour"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["adherence", "diversity"]
    with pytest.raises(ValueError, match="'b' has 2 values; expected 3"):
        plots.curves([0, 1, 2], {"b": [1, 2]}, "x", "y")


def white_on_white() -> None:
    """What a student who likes the dark may have set by hand."""
    clear = (1, 1, 1, 0)
    colours = {
        "figure.facecolor": clear,
        "axes.facecolor": clear,
        "text.color": "w",
        "xtick.color": "w",
        "ytick.color": "w",
    }
    pyplot.rcParams.update(
        colours | {"axes.labelcolor": "w", "savefig.transparent": True, "boxplot.boxprops.color": "w"}
    )


DARK = {
    "dark_background": lambda: pyplot.style.use("dark_background"),
    "seaborn's": lambda: pyplot.style.use("seaborn-v0_8-dark"),
    "by hand": white_on_white,
}


@pytest.fixture
def looks():
    """matplotlib's settings, as they were before and after the test."""
    with matplotlib.rc_context():
        pyplot.style.use("default")
        yield
    pyplot.close("all")


def own() -> Figure:
    return plots.curves([0, 1], {"a": [1, 2], "b": [2, 1]}, "x", "y", "title", mark={"best": 0.5}).figure


def a_bar_chart() -> Figure:
    return plots.bars({"a": 1.0, "b": 2.0}, "height", "title").figure


def into_axes() -> Figure:
    figure, axes = pyplot.subplots(1, 2)
    plots.curves([0, 1], {"a": [1, 2], "b": [2, 1]}, "x", "y", ax=axes[0])
    plots.bars({"a": 1.0}, "height", ax=axes[1])
    return figure


def by_hand() -> Figure:
    figure, axes = pyplot.subplots(1, 2)
    axes[0].imshow(np.zeros((4, 4)))
    axes[0].set(title="title", xlabel="x")
    axes[1].boxplot([[1, 2, 3]])
    axes[1].axvline(1, c=plots.INK, label="line")
    axes[1].legend(title="legend")
    figure.suptitle("all")
    return figure


def without_axes_of_its_own() -> Figure:
    pyplot.plot([0, 1], [1, 2], label="a")
    pyplot.legend()
    return pyplot.gcf()


def contrast(colour, paper=(1.0, 1.0, 1.0)) -> float:
    """The ratio of luminances of two opaque colours, from 1 to 21 (WCAG 2)."""

    def luminance(c):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(c)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(colour), luminance(paper)))
    return (light + 0.05) / (dark + 0.05)


def assert_readable(figure: Figure) -> None:
    figure.canvas.draw()
    assert to_rgba(figure.get_facecolor()) == (1, 1, 1, 1)
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    assert len(texts) > 5
    for text in texts:
        assert contrast(text.get_color()) > 4.5, text
    for ax in figure.axes:
        assert to_rgba(ax.get_facecolor()) == (1, 1, 1, 1)
        assert all(contrast(s.get_edgecolor()) > 3 for s in ax.spines.values())
        assert all(contrast(line.get_color()) > 2 for line in ax.get_lines())


@pytest.mark.parametrize("draw", [own, a_bar_chart, into_axes, by_hand, without_axes_of_its_own])
@pytest.mark.parametrize("dark", DARK)
@pytest.mark.parametrize("order", ["before", "after"])
def test_every_figure_is_dark_on_white_whatever_style_was_chosen(looks, order, dark, draw):
    if order == "before":
        DARK[dark]()
    plots.style()
    if order == "after":
        DARK[dark]()
    assert_readable(draw())


@pytest.mark.parametrize("draw", [own, a_bar_chart])
def test_the_courses_own_figures_need_no_style(looks, draw):
    pyplot.style.use("dark_background")
    assert_readable(draw())
    assert pyplot.rcParams["text.color"] == "white", "outside the figure it is the student's"


def test_a_style_changes_no_figure_by_a_pixel(looks):
    def drawn():
        figure = by_hand()
        figure.canvas.draw()
        return np.asarray(figure.canvas.buffer_rgba()).copy()

    plots.style()
    plain = drawn()
    pyplot.style.use("dark_background")
    assert np.array_equal(drawn(), plain)


def test_a_style_chosen_later_keeps_its_sizes_and_can_have_its_colours(looks):
    plots.style()
    pyplot.rcParams["font.size"] = 17
    assert by_hand().axes[0].xaxis.label.get_size() == 17
    pyplot.style.use("dark_background")
    pyplot.rcParams["figure.hooks"] = []
    assert to_rgba(by_hand().get_facecolor()) == (0, 0, 0, 1)


@pytest.mark.parametrize("thing", ["a figure", "a tile"])
def test_what_is_shown_keeps_its_words(thing, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    figure, _ = pyplot.subplots()
    plots.show(figure if thing == "a figure" else plots.tile(flat(0.0)), alt="an empty pair of axes")
    data, metadata = shown[0]._repr_png_()
    assert metadata["alt"] == "an empty pair of axes"
    assert data
    assert (thing == "a tile") == pyplot.fignum_exists(figure.number), "a figure that was shown is closed"
    pyplot.close(figure)


def test_a_table_is_markdown():
    assert plots.table(["", "a"], [["x", "1"], ("y", "2")]) == "|  | a |\n|---|---|\n| x | 1 |\n| y | 2 |"
    with pytest.raises(ValueError, match="expected 2 in each"):
        plots.table(["", "a"], [["x", "1", "2"]])


def test_a_diagram_has_its_boxes_and_its_arrows_end_at_their_edges():
    boxes = {"in": (0, 0, "a picture"), "net": (3, 0, "a network\nof two lines"), "out": (6, 1, "numbers")}
    fig = plots.diagram(boxes, [("in", "net"), ("net", "out")], filled=["net"])
    (ax,) = fig.axes
    texts = {text.get_text(): text for text in ax.texts if text.get_text()}
    assert list(texts) == [text for *_, text in boxes.values()]
    colours = [texts[boxes[name][2]].get_bbox_patch().get_facecolor() for name in boxes]
    assert colours[0] == colours[2] != colours[1]
    fig.canvas.draw()
    arrow = next(text.arrow_patch for text in ax.texts if not text.get_text())
    box = texts["a picture"].get_bbox_patch().get_window_extent()
    begins = arrow.get_window_extent().x0
    assert box.x1 <= begins < box.x1 + 20
    pyplot.close(fig)


def test_rows_are_shown_with_their_names(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "show", lambda thing, alt="": shown.append((thing, alt)))
    plots.show_rows({"real": flat(0, 1, side=8), "decoded": flat(1, 0, side=8)}, "two rows")
    ((image, alt),) = shown
    assert alt == "two rows"
    assert image.size == plots.labelled_rows({"real": flat(0, 1, side=8), "decoded": flat(1, 0, side=8)}, 1).size
    assert len(image.getcolors()) <= 256


def test_a_table_is_shown_between_its_lead_and_its_note(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    plots.show_table(["a", "b"], [["1", "2"]], note="below", lead="above")
    plots.show_table(["a"], [["1"]])
    assert shown[0].data == "above\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nbelow"
    assert shown[1].data == "| a |\n|---|\n| 1 |"
