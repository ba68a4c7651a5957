"""What several widgets or notebooks draw: tokens, matrices, attention on pictures, and ticks and crosses in HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from course_utils.lab import plots
from course_utils.lab.widgets.judged import GAP, Finding
from course_utils.models.tokenizer import CHAR_TO_BYTE, SPECIALS

TINTS = ("#CFE3F3", "#F9DEC7", "#CDEBDF", "#F3DDEA", "#FBEBC4")  # neighbours differ
WORD_END, SPACE = "</w>", "·"
TOKEN_WIDTH, PAD, LINE = 880, 5, 27  # pixels

# Tokens.


@cache
def _letters() -> frozenset[int]:
    """The code points that the course's font can draw."""
    from matplotlib.ft2font import FT2Font

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return frozenset(FT2Font(str(folder / "DejaVuSans.ttf")).get_charmap())


def readable(symbol: str) -> str:
    """A token's symbol as a reader sees it: a dot for a space or a word's end, bytes in hexadecimal.

    "Ġhat" and "hat</w>" become "·hat" and "hat·"; half a letter, or one that the font lacks, shows its bytes.
    """
    if symbol in SPECIALS:
        return symbol
    body = symbol.removesuffix(WORD_END)
    raw = bytes(CHAR_TO_BYTE[char] for char in body)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = ""
    if text and all(char.isprintable() and ord(char) in _letters() for char in text):
        shown = text.replace(" ", SPACE)
    else:
        shown = " ".join(f"{byte:02X}" for byte in raw)
    return shown + (SPACE if symbol != body else "")


def token_rows(
    rows: Mapping[str, Sequence[str]], ids: Mapping[str, Sequence[int]] | None = None, width: int = TOKEN_WIDTH
) -> Image.Image:
    """Named rows of tokens as coloured boxes, {"30 merges": ["Ġa", "Ġbear"]}; with `ids`, each id below its box.

    Rows are wrapped to `width` pixels.
    """
    if not rows:
        raise ValueError("rows: got none; expected one row or more")
    face, small = plots.font(14), plots.font(10)
    left = min(240, max(int(plots.font(12).getlength(label)) for label in rows) + 14)
    high = LINE + (13 if ids else 0)
    labels, boxes, y = [], [], 0
    for label, tokens in rows.items():
        labels.append((label, y))
        x = left
        numbers = [str(i) for i in ids[label]] if ids else [""] * len(tokens)
        for i, (token, number) in enumerate(zip(tokens, numbers, strict=True)):
            text = readable(token)
            wide = int(max(face.getlength(text), small.getlength(number))) + 2 * PAD
            if x + wide > width and x > left:
                x, y = left, y + high
            boxes.append((text, number, x, y, wide, TINTS[i % len(TINTS)]))
            x += wide + 2
        y += high + 8
    canvas = Image.new("RGB", (width, y - 4), plots.PAPER)
    pen = ImageDraw.Draw(canvas)
    for label, y in labels:
        pen.text((left - 12, y + 12), label, fill=plots.INK, font=plots.font(12), anchor="rm")
    for text, number, x, y, wide, tint in boxes:
        pen.rounded_rectangle((x, y, x + wide - 1, y + 24), 4, fill=tint)
        pen.text((x + wide / 2, y + 12), text, fill=plots.INK, font=face, anchor="mm")
        if number:
            pen.text((x + wide / 2, y + 32), number, fill=plots.FAINT, font=small, anchor="mm")
    return canvas


# Pictures.


def heat(matrix: Tensor, low: float, high: float) -> Tensor:
    """A matrix (n, m) as a picture (3, n, m) in [-1, 1]: `low` is dark blue, `high` yellow, one pixel per entry."""
    if matrix.ndim != 2 or not matrix.numel():
        raise ValueError(f"matrix: expected (n, m), got shape {tuple(matrix.shape)}")
    if not low < high:
        raise ValueError(f"high: got {high}; expected more than low, {low}")
    values = ((matrix.detach().float().cpu() - low) / (high - low)).clamp(0, 1).numpy()
    colours = matplotlib.colormaps["cividis"](values)[..., :3]
    return torch.from_numpy(2 * colours - 1).permute(2, 0, 1).float()


def spotlight(picture: Tensor, weights: Tensor) -> Tensor:
    """A picture (3, H, W) in [-1, 1], lit in proportion to each patch's weight (side²,), the largest fully."""
    side = round(len(weights) ** 0.5)
    light = (weights / weights.max().clamp(min=1e-9)).view(1, 1, side, side)
    light = F.interpolate(light, size=picture.shape[1:], mode="nearest")[0]
    return (picture + 1) * (0.12 + 0.88 * light) - 1


def stack(*images: Image.Image) -> Image.Image:
    """Images one below another, flush left."""
    canvas = Image.new("RGB", (max(i.width for i in images), sum(i.height + 6 for i in images) - 6), plots.PAPER)
    y = 0
    for image in images:
        canvas.paste(image, (0, y))
        y += image.height + 6
    return canvas


# HTML below pictures.


def themed(colour: str) -> str:
    """A colour for text that is readable on light and on dark pages: halfway to the theme's own ink.

    A browser that cannot mix colours leaves the ink as it is.
    """
    return f"color-mix(in srgb, {colour} 55%, var(--jp-ui-font-color1, #222))"


RIGHT, WRONG = themed("#009E73"), themed("#D55E00")


def grid_of_texts(cells: Sequence[str], tile: int, align: str = "left", lines: int = 2) -> str:
    """Texts below tiles: columns as wide as a tile, as far apart as the tiles are.

    There is room for some lines from the start, so that what is below stays where it is.
    """
    if not any(cells):
        return ""
    columns = " ".join([f"minmax(0, {tile}px)"] * len(cells))
    style = (
        f"display:grid;grid-template-columns:{columns};column-gap:{GAP}px;line-height:18px;"
        f"min-height:{18 * lines}px;text-align:{align}"
    )
    return f'<div style="{style}">{"".join(f"<div>{cell}</div>" for cell in cells)}</div>'


def findings_html(findings: Sequence[Finding]) -> str:
    """Ticks and crosses that differ in shape and in words, and only then in colour."""
    if not findings:
        return ""
    if not any(f.named for f in findings):
        seen = ", ".join(dict.fromkeys(f.seen for f in findings if f.seen != "nothing"))
        return f'<span style="color:var(--jp-ui-font-color2,#555)">judge sees {escape(seen)}</span>'
    right = [
        f'<span style="white-space:nowrap;margin-right:7px">✓&nbsp;{escape(f.named)}</span>'
        for f in findings
        if f.right
    ]
    wrong = [
        f'<div style="color:{WRONG}">✗&nbsp;{escape(f.named)} <small>sees {escape(f.seen)}</small></div>'
        for f in findings
        if not f.right
    ]
    return f'<div style="color:{RIGHT}">{" ".join(right)}</div>{"".join(wrong)}'
