"""How the course draws: pictures tiled into one encoded image, and curves in one style.

Rows of pictures are tiled with PIL rather than drawn as figures: each pixel stays a sharp square, encoding
takes milliseconds, and a saved notebook stays small. Curves are matplotlib's, in colours that colour-blind
readers tell apart (Okabe & Ito 2008), each with a marker and a dash of its own, so that they survive in grey.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib import rcsetup
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#333333")
"""Blue, vermilion, green, pink, sky, orange, near-black."""

INK, FAINT, PAPER = "#222222", "#666666", "#FFFFFF"
WIDTH = 1090  # pixels that a row of tiles may take in a notebook
_DASHES, _MARKERS = ("-", "--", "-.", ":"), "osD^vPX"

Pictures = Tensor | np.ndarray | Sequence["Tensor | np.ndarray"]


def as_bytes(pictures: Pictures) -> np.ndarray:
    """Pictures as uint8 (N, H, W, 3).

    Tensors are (3, H, W) or (N, 3, H, W), float in [-1, 1] (values outside are clipped) or uint8; one
    channel is shown in grey. NumPy arrays are uint8 (H, W, 3) or (N, H, W, 3). Sequences of these work too.
    """
    if isinstance(pictures, (list, tuple)):
        if not pictures:
            raise ValueError("pictures: got an empty sequence; expected one picture or more")
        parts = [as_bytes(p) for p in pictures]
        if len({part.shape[1:] for part in parts}) > 1:
            raise ValueError(f"pictures: got sizes {[part.shape[1:3] for part in parts]}; expected one size")
        return np.concatenate(parts)
    if isinstance(pictures, np.ndarray):
        if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or pictures.shape[-1] != 3:
            raise ValueError(
                f"pictures: got an array {pictures.shape} of {pictures.dtype}; expected uint8 (N, H, W, 3)"
            )
        return pictures[None] if pictures.ndim == 3 else pictures
    if not isinstance(pictures, Tensor) or pictures.ndim not in (3, 4) or pictures.shape[-3] not in (1, 3):
        came = f"shape {tuple(pictures.shape)}" if isinstance(pictures, Tensor) else type(pictures).__name__
        raise ValueError(f"pictures: got {came}; expected a tensor (N, 3, H, W) or (3, H, W)")
    if not pictures.is_floating_point() and pictures.dtype != torch.uint8:
        raise ValueError(f"pictures: got {pictures.dtype}; expected float in [-1, 1] or uint8")
    # In NumPy from here on: torch would split this little work among threads, and wait for all of them.
    x = (pictures.detach().float() if pictures.is_floating_point() else pictures).cpu().numpy()
    x = x[None] if x.ndim == 3 else x
    if len(x) == 0:
        raise ValueError("pictures: got none; expected one picture or more")
    if x.dtype != np.uint8:
        if not np.isfinite(x).all():
            raise ValueError("pictures: got NaN or infinite values; expected numbers in [-1, 1]")
        x = np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8)
    n, _, height, width = x.shape
    return np.ascontiguousarray(np.broadcast_to(x, (n, 3, height, width)).transpose(0, 2, 3, 1))


@cache
def font(size: int = 13, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib carries: the same letters in tiles and in figures, on every system."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def wrap(text: str, width: float, size: int = 13) -> str:
    """Break a text at spaces so that each line fits into `width` pixels; a longer word keeps its line."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and font(size).getlength(longer) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return "\n".join(lines)


def tile(
    pictures: Pictures,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    scale: float | None = None,
    gap: int = 8,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
) -> Image.Image:
    """Several pictures (N, 3, H, W) as one, row by row.

    A whole-number `scale` repeats each pixel, any other resamples (Lanczos); left out, it is the largest
    whole number up to 3 with which a row fits into a notebook. `captions`: one under each picture.
    `row_labels` stand left of the rows, `column_labels` above the columns.
    """
    x = as_bytes(pictures)
    n, height, width = x.shape[:3]
    columns = min(n, 8) if columns is None else columns
    if columns < 1:
        raise ValueError(f"columns: got {columns}; expected 1 or more")
    rows = -(-n // columns)
    for name, texts, expected in (
        ("captions", captions, n),
        ("row_labels", row_labels, rows),
        ("column_labels", column_labels, columns),
    ):
        if texts is not None and len(texts) != expected:
            raise ValueError(f"{name}: got {len(texts)}; expected {expected}")
    left = 0 if row_labels is None else min(220, max(math.ceil(_width(t)) for t in row_labels) + 2 * gap)
    if scale is None:
        scale = max(1, min(3, (WIDTH - left) // (columns * (width + gap))))
    if not 0 < scale < 100:
        raise ValueError(f"scale: got {scale}; expected more than 0")
    w, h = round(width * scale), round(height * scale)
    how = Image.Resampling.NEAREST if float(scale).is_integer() else Image.Resampling.LANCZOS

    under = [wrap(text, w) for text in captions or ()]
    above = [wrap(text, w) for text in column_labels or ()]
    aside = [wrap(text, left - 2 * gap) for text in row_labels or ()]
    caption_height = _height(under) + 6 if under else 0
    top = _height(above) + 6 if above else 0
    stride_x, stride_y = w + gap, h + caption_height + gap
    canvas = Image.new("RGB", (left + columns * stride_x - gap, top + rows * stride_y - gap), PAPER)
    draw = ImageDraw.Draw(canvas)
    for i in range(n):
        at = left + i % columns * stride_x, top + i // columns * stride_y
        picture = Image.fromarray(x[i])
        canvas.paste(picture if scale == 1 else picture.resize((w, h), how), at)
        if under:
            _text(draw, (at[0] + w / 2, at[1] + h + 4), under[i], "ma")
    for column, text in enumerate(above):
        _text(draw, (left + column * stride_x + w / 2, top - 5), text, "md")
    for row, text in enumerate(aside):
        _text(draw, (left - gap, top + row * stride_y + h / 2), text, "rm")
    return canvas


def _width(text: str) -> float:
    return max(font().getlength(line) for line in text.split("\n"))


def _height(texts: Sequence[str]) -> int:
    return max(text.count("\n") + 1 for text in texts) * 17


def _text(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, anchor: str) -> None:
    align = "right" if anchor[0] == "r" else "center"
    draw.multiline_text(at, text, fill=INK, font=font(), anchor=anchor, align=align, spacing=3)


def zoom(pictures: Tensor, least: int = 128) -> int:
    """The smallest whole-number scale at which pictures (..., H, W) are `least` pixels wide or wider."""
    return math.ceil(least / pictures.shape[-1])


def to_png(pictures: Pictures | Image.Image, **how) -> bytes:
    """The tiled pictures as PNG, lossless; `how` goes to `tile`."""
    return _encode(pictures, how, "PNG", optimize=True)


def to_jpeg(pictures: Pictures | Image.Image, **how) -> bytes:
    """The tiled pictures as JPEG, some ten times faster than PNG: for widgets. `how` goes to `tile`."""
    return _encode(pictures, how, "JPEG", quality=85, subsampling=0)


def _encode(pictures: Pictures | Image.Image, how: dict, kind: str, **options) -> bytes:
    image = pictures if isinstance(pictures, Image.Image) else tile(pictures, **how)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def show(thing: Image.Image | bytes | matplotlib.figure.Figure, alt: str = "") -> None:
    """Show a tiled picture, its PNG bytes or a figure here in the notebook, once.

    `alt`: the picture in words, for readers who do not see it. The notebook keeps it beside the picture.
    """
    from IPython.display import Image as Shown
    from IPython.display import display

    if isinstance(thing, matplotlib.figure.Figure):
        from matplotlib import pyplot

        buffer = io.BytesIO()
        thing.savefig(buffer, format="png")
        pyplot.close(thing)
        # In 256 colours, which a figure hardly ever has more of, it takes a third of the bytes.
        thing = Image.open(buffer).convert("RGB").quantize(256, kmeans=1)
    display(Shown(thing if isinstance(thing, bytes) else to_png(thing), alt=alt or None))


def show_grid(
    pictures: Pictures,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    scale: float | None = None,
    column_labels: Sequence[str] | None = None,
) -> None:
    """Show pictures (N, 3, H, W) row by row, with a title under each."""
    show(tile(pictures, titles, columns, scale, column_labels=column_labels))


def labelled_rows(
    rows: Mapping[str, Pictures], scale: float | None = None, column_labels: Sequence[str] | None = None
) -> Image.Image:
    """Rows of equally many pictures, each with its name on the left: {"real": x, "decoded": x_hat}."""
    if not rows:
        raise ValueError("rows: got none; expected one row or more")
    arrays = [as_bytes(pictures) for pictures in rows.values()]
    if len({len(a) for a in arrays}) > 1:
        raise ValueError(f"rows: got {[len(a) for a in arrays]} pictures; expected equally many in each row")
    return tile(
        np.concatenate(arrays),
        columns=len(arrays[0]),
        scale=scale,
        row_labels=list(rows),
        column_labels=column_labels,
    )


def show_rows(rows: Mapping[str, Pictures], alt: str = "", scale: float | None = 1) -> None:
    """Show `labelled_rows` in 256 colours, so that a saved notebook stays small and each pixel a sharp square."""
    show(labelled_rows(rows, scale).quantize(256, kmeans=1), alt)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the names of its columns, and rows of as many cells."""
    lines = [list(columns), *map(list, rows)]
    if len({len(line) for line in lines}) > 1:
        raise ValueError(
            f"rows: got {sorted({len(line) for line in lines[1:]})} cells; expected {len(lines[0])} in each"
        )
    head, *body = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|---" * len(lines[0]) + "|", *body])


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], note: str = "", lead: str = "") -> None:
    """Show a `table` here in the notebook, between a line before it and a note below it, both in Markdown."""
    from IPython.display import Markdown, display

    display(Markdown("\n\n".join(part for part in (lead, table(columns, rows), note) if part)))


def diagram(
    boxes: Mapping[str, tuple[float, float, str]],
    arrows: Sequence[tuple[str, str]],
    filled: Sequence[str] = (),
    size: tuple[float, float] = (11, 2.7),
) -> matplotlib.figure.Figure:
    """Boxes by name, (x, y, text) each, with arrows from box to box; those in `filled` have a colour."""
    from matplotlib import pyplot

    fig, ax = pyplot.subplots(figsize=size)
    ax.axis("off")
    (x0, x1), (y0, y1) = ((min(v), max(v)) for v in list(zip(*boxes.values(), strict=True))[:2])
    ax.set(xlim=(x0 - 0.6, x1 + 0.6), ylim=(y0 - 0.5, y1 + 0.5))
    drawn = {}
    for name, (x, y, text) in boxes.items():
        look = {"boxstyle": "round,pad=0.45", "fc": "#DCEBF5" if name in filled else PAPER, "ec": COLOURS[0]}
        drawn[name] = ax.text(x, y, text, ha="center", va="center", bbox=look, fontsize=9.5, zorder=3)
    fig.canvas.draw()  # only now does a box know its size, at whose edge its arrows end
    for start, end in arrows:
        patches = {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        arrow = {"arrowstyle": "-|>", "shrinkA": 4, "shrinkB": 4, "color": FAINT, **patches}
        ax.annotate("", boxes[end][:2], boxes[start][:2], arrowprops=arrow)
    return fig


ON_PAPER: dict[Any, Any] = {
    name: value for name, value in matplotlib.rcParamsDefault.items() if name.endswith("color")
} | {
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.prop_cycle": rcsetup.cycler(color=COLOURS),
    "figure.facecolor": PAPER,
}
"""matplotlib's settings that are colours: dark ink on white."""


def on_paper(figure: matplotlib.figure.Figure) -> None:
    """Draw a new figure with dark ink on white, whatever style is in force (matplotlib calls this: `figure.hooks`).

    The course's figures name colours of their own, which are made for white paper.
    """
    matplotlib.rcParams.update(ON_PAPER)
    figure.set(facecolor=PAPER, edgecolor=PAPER)


def style() -> None:
    """The course's style for matplotlib. Called once, in a notebook's setup cell.

    It starts from matplotlib's own, so that nothing is left of a style chosen before. One chosen later keeps its sizes
    and letters; its colours give way to `on_paper`. `plt.rcParams["figure.hooks"] = []` lets them through.
    """
    from matplotlib import pyplot

    pyplot.style.use("default")
    pyplot.rcParams.update(ON_PAPER)
    pyplot.rcParams.update(
        {
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "figure.constrained_layout.use": True,
            "figure.dpi": 96,
            "figure.figsize": (7.2, 3.6),
            "figure.hooks": [f"{__name__}:{on_paper.__name__}"],
            "font.family": "DejaVu Sans",
            "font.size": 10.5,
            "grid.alpha": 0.35,
            "grid.linewidth": 0.6,
            "image.cmap": "cividis",
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "lines.markersize": 5.5,
            "savefig.dpi": 96,
        }
    )


def curves(
    x: Sequence[float] | Tensor,
    ys: Mapping[str, Sequence[float] | Tensor],
    xlabel: str,
    ylabel: str,
    title: str = "",
    ax=None,
    markers: bool = True,
    logy: bool = False,
    mark: Mapping[str, float] | None = None,
):
    """Named curves over the same x, in the course's colours, dashes and markers; returns the axes.

    `mark`: {label: x} draws a labelled vertical line, such as the best w.
    """
    from matplotlib import pyplot

    along = _numbers(x)
    with pyplot.rc_context(ON_PAPER if ax is None else None):
        if ax is None:
            _, ax = pyplot.subplots()
        looks = zip(ys.items(), cycle(COLOURS), cycle(_MARKERS), cycle(_DASHES), strict=False)
        for (name, y), colour, marker, dash in looks:
            up = _numbers(y)
            if up.shape != along.shape:
                raise ValueError(f"ys: {name!r} has {up.size} values; expected {along.size}, as many as x")
            ax.plot(along, up, label=name, color=colour, linestyle=dash, marker=marker if markers else None)
        for label, at in (mark or {}).items():
            ax.axvline(at, color=FAINT, linewidth=1, linestyle=":")
            ax.annotate(label, (at, 1), (3, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
                        va="top", color=FAINT, fontsize=9)  # fmt: skip
        ax.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale="log" if logy else "linear")
        if len(ys) > 1:
            ax.legend()
    return ax


def bars(values: Mapping[str, float], ylabel: str, title: str = "", ax=None, digits: int = 2):
    """One bar per name, each with its number on top; returns the axes."""
    from matplotlib import pyplot

    colours = [COLOURS[i % len(COLOURS)] for i in range(len(values))]
    with pyplot.rc_context(ON_PAPER if ax is None else None):
        if ax is None:
            _, ax = pyplot.subplots()
        shown = ax.bar(list(values), list(values.values()), color=colours, width=0.65)
        ax.bar_label(shown, fmt=f"%.{digits}f", padding=2)
        ax.grid(axis="x", visible=False)
        ax.set(ylabel=ylabel, title=title)
        ax.margins(y=0.12)
    return ax


def _numbers(values: Sequence[float] | Tensor) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=float)
