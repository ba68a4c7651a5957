"""Tiles: what stands where, in which colour, and what is refused."""

import io

import numpy as np
import pytest
import torch
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
