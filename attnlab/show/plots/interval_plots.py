"""Where an interval comes from: values that were drawn again, and results of a few seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from attnlab.errors import AttnlabError
from attnlab.show.plots.learning import RUN_COLOURS
from attnlab.show.plots.picture import BETTER_WITHOUT, HALO, NEEDED, Picture, lines, style
from attnlab.show.wording import number
from attnlab.statistics import mean_interval

Values = Sequence[float] | np.ndarray
_CLEAR = RUN_COLOURS[0]
_VALUE = "#6a3d9a"


def resampling(means: Values, xlabel: str) -> Picture:
    """Draw how often each mean came when values were drawn again; the middle 95 % are blue.

    Parameters
    ----------
    means : of `al.statistics.bootstrap_means`
    xlabel : what they are, with the unit
    """
    found = np.asarray(means, dtype=float)
    if found.ndim != 1 or not len(found):
        raise AttnlabError(f"Resampling needs means of shape (draws,); got {found.shape}.")
    low, high = np.quantile(found, [0.025, 0.975])
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 2.7), layout="constrained")
        places, heights, width = _bars(found)
        inside = (low <= places + 1e-9) & (places - 1e-9 <= high)
        colours = np.where(inside, _CLEAR, "0.75").tolist()
        axes.bar(places, heights, 0.9 * width, color=colours)
        for end, side in ((low, "right"), (high, "left")):
            axes.axvline(end, color="0.2", linewidth=1)
            nudge = (-4 if side == "right" else 4, -2)
            where: dict[str, Any] = {
                "xycoords": ("data", "axes fraction"),
                "textcoords": "offset points",
            }
            axes.annotate(f"{end:.1f}", (end, 1), nudge, ha=side, va="top", fontsize=10, **where)
        axes.set(xlabel=xlabel, ylabel=f"rounds, of {len(found):,}")
        sns.despine(figure)
    return Picture(
        figure,
        f"A heap of {len(found):,} means around {found.mean():.1f}; the middle 95 % go from "
        f"{low:.1f} to {high:.1f}.",
    )


def _bars(found: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Middles, heights and width: a bar for each value, such as a share of 500, or 40 bins."""
    values, counts = np.unique(found.round(9), return_counts=True)
    if 1 < len(values) <= 80:
        return values, counts, float(np.diff(values).min())
    counts, edges = np.histogram(found, 40)
    return (edges[1:] + edges[:-1]) / 2, counts, float(edges[1] - edges[0])


def intervals(
    found: Mapping[str, Sequence[float]],
    xlabel: str,
    ends: Mapping[float, str] | None = None,
    zero: bool = False,
    hollow: Mapping[str, Sequence[float]] | None = None,
    names: tuple[str, str] = ("", ""),
) -> Picture:
    """Draw values below each other, each with its interval and its number.

    Parameters
    ----------
    found : for each name a value and the ends of its interval, (3,); NaN is left out
    xlabel : what they are
    ends : what stands at the ticks, by value, such as 0 for nothing and 1 for all
    zero : the values are changes: draw a line at 0, red where the interval is below it and blue
        where it is above, and say that intervals are of 95 %
    hollow : a second value with its interval for each name, drawn below the first as a hollow dot
    names : what the filled and the hollow dots are
    """
    sets = [found] if hollow is None else [found, hollow]
    rows = [{name: tuple(map(float, row)) for name, row in one.items()} for one in sets]
    if not found or any(len(row) != 3 for one in rows for row in one.values()):
        raise AttnlabError("intervals needs a value and two ends for each name.")
    if any(list(one) != list(found) for one in rows):
        raise AttnlabError("The hollow values need the names of the filled ones, in their order.")
    with style():
        size = (6.8, 1.0 + ((0.45 if zero else 0.55) + 0.17 * (len(sets) - 1)) * len(found))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        if zero:
            axes.axvline(0, color="0.35", linewidth=0.9)
        for lower, one in enumerate(rows):
            for y, row in enumerate(one.values()):
                _interval(axes, row, y + 0.33 * lower, zero, filled=not lower)
        axes.set_yticks(range(len(found)), list(found))
        reach = " (line: 95 % interval)" if zero else ""
        axes.set(ylim=(len(found) - 0.5 + 0.2 * (len(sets) - 1), -0.6), xlabel=xlabel + reach)
        if ends:
            axes.set_xticks(list(ends), list(ends.values()))
        axes.grid(axis="x", color="0.92")
        axes.tick_params(axis="y", length=0)
        if hollow is not None:
            dots = [
                Line2D([], [], marker="o", linestyle="", color="0.2", mfc=face, label=name)
                for face, name in zip(("0.2", "white"), names, strict=True)
            ]
            figure.legend(handles=dots, loc="outside upper right", ncols=2, frameon=False)
        sns.despine(figure, left=True)
    told = ". ".join(
        (f"{kind}: " if kind else "") + "; ".join(_in_words(name, row) for name, row in one.items())
        for kind, one in zip(names, rows, strict=False)
    )
    return Picture(figure, f"Values with their intervals, {' '.join(xlabel.split())}: {told}.")


def _interval(
    axes: Axes, row: tuple[float, ...], y: float, zero: bool, filled: bool = True
) -> None:
    """Draw one value at height y with its interval and, above it, its number."""
    value, low, high = row
    colour = _VALUE
    if zero:
        colour = NEEDED if high < 0 else BETTER_WITHOUT if low > 0 else "0.45"
    axes.plot([low, high], [y, y], "|-", color=colour, linewidth=1.6, markersize=8)
    axes.plot(value, y, "o", color=colour, markersize=6, mfc=colour if filled else "white")
    if np.isfinite(value):
        words = number(value, _decimals(row), signed=zero)
        looks: dict[str, Any] = {"textcoords": "offset points", "path_effects": [HALO]}
        place = {"xytext": (0, 6), "ha": "center"} if filled else {"xytext": (9, -4)}
        axes.annotate(words, (value if filled else max(value, high), y), **place, **looks)


def _decimals(row: tuple[float, ...]) -> int:
    """Two, or as many as show that a value is not 0 whose interval leaves 0 out."""
    value, low, high = row
    if low > 0 or high < 0:
        return next((some for some in (2, 3, 4) if round(value, some)), 2)
    return 2


def _in_words(name: str, row: tuple[float, ...]) -> str:
    value, low, high = (number(one, _decimals(row)) for one in row)
    return f"{' '.join(name.split())} {value} ({low} to {high})"


def over_seeds(
    results: pd.DataFrame,
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    levels: Mapping[str, float] | None = None,
) -> Picture:
    """Draw the mean over seeds of each method, with bars from the lowest seed to the highest.

    Parameters
    ----------
    results : a column for each method, and a row for each place and seed, which are the index
    xlabel, ylabel, log, levels : as in `lines`
    """
    if results.index.nlevels != 2 or results.empty:
        raise AttnlabError(
            "Results over seeds need a table with two levels of index, place and seed; this one "
            f"has {results.index.nlevels}, and {len(results)} rows."
        )
    places = results.groupby(level=0)
    means = places.mean()
    errors = {
        name: np.stack([means[name] - places[name].min(), places[name].max() - means[name]])
        for name in results
    }
    curves = {str(name): means[name].to_numpy() for name in results}
    return lines(
        means.index.to_numpy(float),
        curves,
        xlabel=xlabel,
        ylabel=f"{ylabel}\n(bars: lowest to highest seed)",
        errors={str(name): reach for name, reach in errors.items()},
        log=log,
        levels=levels,
    )


def differences(groups: Mapping[str, Mapping[str, Values]], xlabel: str) -> Picture:
    """Draw differences in a panel for each group: a tick for each seed, the mean, its interval.

    Parameters
    ----------
    groups : for each group, such as a number of labels, the differences by name: (seeds,) each.
        Equal names stand in one row.
    xlabel : what they are, with the unit

    Intervals are those of `al.statistics.mean_interval`. Filled: it leaves out 0. Hollow: it
    holds 0. Mean and interval are written above.
    """
    if not any(groups.values()):
        raise AttnlabError("There are no differences to draw.")
    names = list(dict.fromkeys(name for rows in groups.values() for name in rows))
    told = []
    with style():
        figure, panels = plt.subplots(
            1,
            len(groups),
            figsize=(2.2 + 2.4 * len(groups), 1.2 + 0.48 * len(names)),
            layout="constrained",
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        for axes, (group, rows) in zip(panels[0], groups.items(), strict=True):
            axes.axvline(0, color="0.35", linewidth=0.9)
            axes.set_title(group, fontsize=10.5, weight="bold")
            for name, gaps in rows.items():
                words = _row(axes, np.asarray(gaps, dtype=float), names.index(name))
                told.append(f"{group}, {name}: {words}")
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x", color="0.92")
        panels[0][0].set_yticks(range(len(names)), names)
        panels[0][0].set_ylim(len(names) - 0.6, -0.7)
        figure.supxlabel(xlabel, fontsize=10)
        sns.despine(figure, left=True)
    return Picture(figure, f"Mean differences with 95 % intervals. {'; '.join(told)}.")


def _row(axes: Axes, gaps: np.ndarray, y: float) -> str:
    """Draw one comparison; return what is written above it."""
    low, high = mean_interval(gaps)
    clear = low > 0 or high < 0
    colour = _CLEAR if clear else "0.45"
    axes.plot([low, high], [y, y], color=colour, linewidth=2 if clear else 1.2)
    axes.plot(gaps, np.full(len(gaps), y), "|", color="0.2", markersize=9)
    face = colour if clear else "white"
    axes.plot(gaps.mean(), y, "o", color=colour, markerfacecolor=face, markersize=7)
    mean, *ends = (number(value, 1, signed=True) for value in (gaps.mean(), low, high))
    words = f"{mean} [{', '.join(ends)}]"
    axes.annotate(
        words,
        (0.5, y - 0.24),
        xycoords=("axes fraction", "data"),
        ha="center",
        va="bottom",
        fontsize=9,
        color=colour if clear else "0.3",
        weight="bold" if clear else "normal",
        path_effects=[HALO],
    )
    return words
