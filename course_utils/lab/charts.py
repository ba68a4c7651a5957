"""Charts that several notebooks draw: values with their intervals, bars in groups, matrices with their numbers.

They draw on matplotlib axes, in the colours of `plots`. An interval is a triple (value, low, high).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import matplotlib.figure
import numpy as np
from torch import Tensor

from course_utils.evaluation.intervals import Interval
from course_utils.lab.plots import COLOURS, INK


def _columns(rows: Iterable[Interval]) -> np.ndarray:
    """Intervals as three rows of numbers: values, lows, highs."""
    found = np.array([[float(end) for end in row] for row in rows])
    if found.ndim != 2 or found.shape[1] != 3:
        raise ValueError(f"rows: got shape {found.shape}; expected intervals (value, low, high)")
    return found.T


def bands(ax, x: Sequence[float], rows: Mapping[str, Iterable[Interval]], xlabel: str = "", title: str = "") -> None:
    """A curve for each name, through values at x, each with the band of its intervals."""
    for (name, row), colour in zip(rows.items(), cycle(COLOURS), strict=False):
        value, low, high = _columns(row)
        ax.plot(x, value, "o-", color=colour, label=name)
        ax.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    ax.set(xlabel=xlabel, title=title)


def error_bars(ax, rows: Mapping[float, Interval], colour: str = COLOURS[0], label: str | None = None) -> None:
    """Intervals as upright bars over the numbers that are their keys, their values joined by a line."""
    value, low, high = _columns(rows.values())
    ends = [value - low, high - value]
    ax.errorbar(list(rows), value, ends, fmt="o-", color=colour, capsize=3, label=label, markersize=4)


def error_panels(
    series: Mapping[str, Mapping[float, Mapping[str, Interval]]],
    levels: Mapping[str, float],
    xlabel: str,
    columns: int = 3,
) -> tuple[matplotlib.figure.Figure, np.ndarray]:
    """A panel for each measure of the first series, {x: {measure: interval}}, with the others' `error_bars` where they have it.

    `levels` draws a dotted line at a number. The figure, and its axes in a row.
    """
    from matplotlib import pyplot

    first = next(iter(series.values()))
    measures = list(next(iter(first.values())))
    rows = -(-len(measures) // columns)
    fig, axes = pyplot.subplots(rows, columns, figsize=(3.77 * columns, 2.9 * rows), sharex=True, squeeze=False)
    for ax, measure in zip(axes.flat, measures, strict=False):
        for (label, found), colour in zip(series.items(), cycle(COLOURS), strict=False):
            if bars := {x: row[measure] for x, row in found.items() if measure in row}:
                error_bars(ax, bars, colour, label)
        if measure in levels:
            ax.axhline(levels[measure], color="grey", linestyle=":")
        ax.set_title(measure, fontsize=11)
        ax.set_xticks(list(first))
    fig.supxlabel(xlabel, fontsize=10)
    return fig, axes.ravel()


def whiskers(ax, rows: Mapping[str, Interval], title: str = "", colour: str = COLOURS[0]) -> None:
    """Intervals as lying bars, one below the other, with a dot at each value and its name on the left."""
    for i, (value, low, high) in enumerate(rows.values()):
        ax.plot([low, high], [i, i], color=colour, linewidth=3, alpha=0.4)
        ax.plot(value, i, "o", color=colour)
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), title=title, ylim=(len(rows) - 0.5, -0.5))


def powers_of_two(ax, ticks: Sequence[int]) -> None:
    """A logarithmic x axis with these ticks, such as numbers of steps."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, [f"{tick}" for tick in ticks])


def grouped_bars(ax, series: Mapping[str, Sequence[float]], names: Sequence[str], form: str | None = None) -> None:
    """For each of the names a group of bars side by side, one for each series; `form` writes values above them."""
    width = 0.8 / len(series)
    for j, (name, values) in enumerate(series.items()):
        at = [i + width * (j - (len(series) - 1) / 2) for i in range(len(names))]
        bars = ax.bar(at, [float(v) for v in values], width=0.95 * width, color=COLOURS[j % len(COLOURS)], label=name)
        if form:
            ax.bar_label(bars, fmt=form, fontsize=9, padding=5)
    ax.set_xticks(range(len(names)), names)
    ax.grid(axis="x", visible=False)


def bars_of_seeds(ax, runs: Mapping[str, Sequence[float]], colours: Sequence[str]) -> None:
    """A bar at the mean of each run's values, with a dot for each of them, which are seeds."""
    for k, (values, colour) in enumerate(zip(runs.values(), colours, strict=True)):
        ax.bar(k, sum(values) / len(values), color=colour, width=0.6)
        ax.plot([k] * len(values), values, "o", color=INK, markersize=4)
    ax.set_xticks(range(len(runs)), [name.replace(", ", "\n") for name in runs], fontsize=9)


def lying_bars(ax, rows: Mapping[str, tuple[float, str]], colour: str = COLOURS[0]) -> None:
    """Shares from 0 to 1 as lying bars, one below the other, each with a text on its right."""
    ax.barh(list(rows), [share for share, _ in rows.values()], color=colour, height=0.6)
    for i, (_, text) in enumerate(rows.values()):
        ax.text(1.03, i, text, va="center", fontsize=9)
    ax.set(xlim=(0, 1.5), xticks=(0, 0.5, 1))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)


def histograms(ax, values: Mapping[str, Tensor], bins: int, between: tuple[float, float], weights=None) -> None:
    """The densities of several sets of numbers as outlines; `weights` has as many numbers for each name, or none."""
    for (name, found), colour in zip(values.items(), cycle(COLOURS), strict=False):
        how = {"bins": bins, "range": between, "density": True, "histtype": "step", "linewidth": 1.8}
        counted = None if weights is None else weights[name].numpy()
        ax.hist(found.numpy(), weights=counted, color=colour, label=name, **how)
    ax.set(yticks=[])


def bare(axes: Iterable) -> None:
    """Take ticks and grid away from axes that show a picture."""
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)


def matrices(
    named: Mapping[str, Tensor], label: str, between: tuple[float, float], size: tuple[float, float], **how
) -> tuple[matplotlib.figure.Figure, np.ndarray]:
    """Matrices side by side in one scale of colours, `between` its ends; `how` goes to imshow. The figure and its axes."""
    from matplotlib import pyplot

    fig, axes = pyplot.subplots(1, len(named), figsize=size, squeeze=False)
    for ax, (title, matrix) in zip(axes[0], named.items(), strict=True):
        shown = ax.imshow(matrix.numpy(), vmin=between[0], vmax=between[1], **how)
        ax.set(title=title)
    bare(axes[0])
    fig.colorbar(shown, ax=axes, label=label, shrink=0.8)
    return fig, axes[0]


def confusion(ax, counts: Tensor, names: Sequence[str], title: str = "") -> None:
    """How often each of K kinds (rows) was taken for which (columns): counts (K, K), the numbers written into the cells."""
    shares = counts / counts.sum(1, keepdim=True)
    ax.imshow((shares**0.5).numpy(), vmin=0, vmax=1)  # the root, so that rare mistakes show
    for i, row in enumerate(counts.tolist()):
        for j, count in enumerate(row):
            ink = "black" if shares[i, j] > 0.5 else "white"
            ax.text(j, i, f"{count:.0f}", ha="center", va="center", fontsize=9, color=ink)
    bare([ax])
    ax.set(yticks=range(len(names)), yticklabels=names, ylabel="shown", xlabel="named", title=title)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")


def one_each(
    names: Sequence[str], xlabel: str, ylabel: str, columns: int = 4
) -> tuple[matplotlib.figure.Figure, np.ndarray]:
    """A small panel for each name, all on the same axes: the figure, and its axes in a row (those left over are hidden)."""
    from matplotlib import pyplot

    rows = -(-len(names) // columns)
    size = (3 * columns, 2.7 * rows)
    fig, axes = pyplot.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        ax.set_title(name, fontsize=10)
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    fig.supxlabel(xlabel, fontsize=10)
    fig.supylabel(ylabel, fontsize=10)
    return fig, axes.ravel()


def crossing(ax, ranks: Mapping[str, Sequence[int]], names: Sequence[str]) -> None:
    """What several ways of measuring, the names, make of the same things: each thing's ranks as a line with its name at the end."""
    for (name, rank), colour, marker in zip(ranks.items(), cycle(COLOURS), cycle("osD^v"), strict=False):
        ax.plot(names, rank, marker=marker, color=colour, markersize=10)
        end = len(names) - 1, rank[-1]
        ax.annotate(name, end, (12, 0), textcoords="offset points", va="center", color=colour)
    ax.set(yticks=range(1, len(ranks) + 1), xlim=(-0.2, len(names) - 0.4))
