"""How the course draws what happens in the plane: densities as contours, fields as arrows, samplers' ways as lines.

All take matplotlib axes and tensors on the CPU, and draw on a square of side 2 · `reach` around the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from course_utils.diffusion.mixture import LabelledMixture
from course_utils.diffusion.samplers import Generators, Model
from course_utils.lab.plots import COLOURS, INK, PAPER

REACH = 2.6
OF_CLASS = COLOURS[5]
LEVELS = (0.05, 0.15, 0.35, 0.6, 0.85)  # of a density's peak

Field = Callable[[Tensor], Tensor]
"""Points (N, 2) -> a vector at each (N, 2), or a number (N,)."""


def check_mixture(mixture: LabelledMixture) -> None:
    """Raises ValueError for a mixture that does not lie in the plane."""
    if mixture.means.shape[1] != 2:
        raise ValueError(f"mixture: got one in {mixture.means.shape[1]} dimensions; expected 2")


def panels(rows: int, columns: int, side: float) -> tuple[Figure, np.ndarray]:
    """A figure of panels `side` inches wide, with room for a title, and its axes row by row, (rows · columns,).

    It is apart from pyplot, which is not made for a widget's thread, and brings its own paper.
    """
    figure = Figure(figsize=(columns * side, rows * (side + 0.3)), dpi=100, facecolor=PAPER)
    edges = {"left": 0.005, "right": 0.995, "bottom": 0.01, "top": 1 - 0.07 / rows, "wspace": 0.03, "hspace": 0.12}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=edges).ravel()
    for ax in axes:
        ax.set_facecolor(PAPER)
        ax.title.set_color(INK)
    return figure, axes


def drawn(figure: Figure) -> Image.Image:
    """A figure of `panels` as a picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def plane(ax, title: str = "", reach: float = REACH) -> None:
    """Equal axes without ticks."""
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[], title=title)
    ax.grid(False)


def lattice(n: int, reach: float = REACH) -> Tensor:
    """n × n points (n², 2) of the square, the first coordinate slowest."""
    side = torch.linspace(-reach, reach, n)
    return torch.cartesian_prod(side, side)


def contours(ax, log_density: Field, colour: str = "#AAAAAA", reach: float = REACH, n: int = 96) -> None:
    """Lines of equal density, at fixed shares of its peak in the square."""
    density = log_density(lattice(n, reach)).double().exp().view(n, n).T
    side = torch.linspace(-reach, reach, n)
    levels = [float(density.max()) * share for share in LEVELS]
    ax.contour(side, side, density, levels=levels, colors=colour, linewidths=0.9)


def arrows(ax, field: Field, colour: str = COLOURS[0], reach: float = REACH, n: int = 17, scale: float = 1.0) -> None:
    """The field on a lattice of n × n points, each arrow `scale` times the vector there, to the axes' measure."""
    at = lattice(n, 0.95 * reach)
    v = scale * field(at)
    ax.quiver(*at.T, *v.T, color=colour, angles="xy", scale_units="xy", scale=1, width=0.004, headwidth=4, headlength=5)


def walked(
    sampler: Callable[..., Tensor], model: Model, z: Tensor, times: Tensor, generator: Generators = None, **how
) -> Tensor:
    """The ways of points z (N, 2) under a sampler, the start among them: (steps + 1, N, 2)."""
    found = [z]
    sampler(model, z, times, generator, callback=lambda step, z, prediction: found.append(z), **how)
    return torch.stack(found)


def ways(ax, points: Tensor, colour: str = COLOURS[0], ends: str = COLOURS[1]) -> None:
    """Ways (steps + 1, N, 2) as lines, with a dot where each ends."""
    ax.plot(*points.permute(2, 0, 1), color=colour, linewidth=0.7, alpha=0.8)
    ax.plot(*points[-1].T, ".", color=ends, markersize=5)


def ways_row(panels: Mapping[str, Tensor], log_density: Field, reach: float = REACH, side: float = 3.4) -> Figure:
    """A panel for each name with its ways (steps + 1, N, 2) over the contours of one density, in the colour of a class."""
    from matplotlib import pyplot

    fig, axes = pyplot.subplots(1, len(panels), figsize=(side * len(panels), side + 0.8), squeeze=False)
    for ax, (title, points) in zip(axes[0], panels.items(), strict=True):
        plane(ax, title, reach)
        contours(ax, log_density, OF_CLASS, reach)
        ways(ax, points)
    return fig


def class_contours(ax, mixture: LabelledMixture, t: Tensor, y: int, reach: float = REACH) -> None:
    """The contours of all classes at time t in grey, and those of class y in its colour."""
    contours(ax, lambda z: mixture.log_density(z, t), reach=reach)
    contours(ax, lambda z: mixture.log_density(z, t, y), OF_CLASS, reach)


def clouds(ax, points: Sequence[tuple[Tensor, str]], size: float = 4) -> None:
    """Sets of points (N, 2), each with its colour, one on top of the other."""
    for some, colour in points:
        ax.plot(*some.T, ".", color=colour, markersize=size)


def fan(ax, start: Tensor, tips: Mapping[str, Tensor], colours: Sequence[str] = COLOURS) -> None:
    """Arrows from one point (2,) to several, each in its colour with its name below its tip."""
    for (name, tip), colour in zip(tips.items(), colours, strict=False):
        look = {"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0}  # from point to point
        ax.annotate("", tip.tolist(), start.tolist(), arrowprops=look)
        ax.annotate(name, tip.tolist(), (0, -17), textcoords="offset points", ha="center", fontsize=11)


def pointers(ax, named: Mapping[str, tuple[Tensor, Tensor]], colours: Sequence[str] = COLOURS) -> None:
    """Single arrows, each from a point (2,) to a point (2,), in a colour of its own with its name in the legend."""
    if len(named) > len(colours):
        raise ValueError(f"colours: got {len(colours)}; expected one for each of the {len(named)} arrows")
    for (name, (start, tip)), colour in zip(named.items(), colours, strict=False):
        look = {"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", tip.tolist(), start.tolist(), arrowprops=look)
        ax.plot([], [], color=colour, label=name)
