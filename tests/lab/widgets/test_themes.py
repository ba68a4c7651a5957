"""What widgets write is readable on JupyterLab's light page and on its dark one."""

import io
import re

import pytest
from PIL import Image, ImageColor

from course_utils.lab.widgets.base import QUIET, WRONG
from course_utils.lab.widgets.drawing import RIGHT, findings_html
from course_utils.lab.widgets.drawing import WRONG as MISSED
from course_utils.lab.widgets.judged import Finding
from tests.lab.widgets.test_base import MAKERS, SECONDS

# Page, --jp-ui-font-color1 and 2, over the page: JupyterLab 4's own themes.
THEMES = {"light": ("#ffffff", "#212121", "#616161"), "dark": ("#111111", "#ffffff", "#c4c4c4")}


def luminance(rgb):
    """WCAG 2's relative luminance of a colour from 0 to 255."""
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def drawn(colour, ink, quiet):
    """The colour that a browser makes of what the widgets write."""
    mixed = re.fullmatch(r"color-mix\(in srgb, (#\w+) (\d+)%, var\(--jp-ui-font-color1, #222\)\)", colour)
    if mixed:
        share = int(mixed[2]) / 100
        pair = ImageColor.getrgb(mixed[1]), ImageColor.getrgb(ink)
        return tuple(share * c + (1 - share) * i for c, i in zip(*pair, strict=True))
    assert colour.startswith("var(--jp-ui-font-color2,")
    return ImageColor.getrgb(quiet)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("colour", [WRONG, RIGHT, MISSED, QUIET])
def test_colours_have_contrast_in_both_themes(colour, theme):
    page, ink, quiet = THEMES[theme]
    assert contrast(drawn(colour, ink, quiet), ImageColor.getrgb(page)) >= 4.5, "WCAG 2, level AA"


def test_no_html_has_a_colour_of_its_own():
    html = findings_html([Finding("species", "cat", "cat"), Finding("fur", "grey", "blue")])
    assert html.count("color:color-mix(") == html.count("color:") == 2


@pytest.mark.parametrize(
    "name", ["AttentionViewer", "TemperatureSlider", "KLSlider", "ToyVAEExplorer", "FieldExplorer"]
)
def test_drawings_bring_their_own_paper(name):
    widget = {kind.__name__: make for kind, make in MAKERS.items()}[name]()
    widget.refresh()
    assert widget.wait(SECONDS)
    image = Image.open(io.BytesIO(widget.image.value))
    assert image.mode == "RGB", "nothing of the page shines through"
    assert min(image.getpixel((0, 0))) > 250
    widget.close()
