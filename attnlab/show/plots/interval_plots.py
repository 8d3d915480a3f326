"""Where an interval comes from: values that were drawn again, and results of a few seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from attnlab.errors import AttnlabError
from attnlab.show.plots.learning import RUN_COLOURS
from attnlab.show.plots.picture import Picture, lines, style
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
    found: Mapping[str, Sequence[float]], xlabel: str, ends: Mapping[float, str] | None = None
) -> Picture:
    """Draw values below each other, each with its interval and its number.

    Parameters
    ----------
    found : for each name a value and the ends of its interval, (3,); NaN is left out
    xlabel : what they are
    ends : what stands at the ticks, by value, such as 0 for nothing and 1 for all
    """
    rows = {name: tuple(float(one) for one in row) for name, row in found.items()}
    if not rows or any(len(row) != 3 for row in rows.values()):
        raise AttnlabError("intervals needs a value and two ends for each name.")
    with style():
        size = (6.8, 1.0 + 0.55 * len(rows))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        for y, (value, low, high) in enumerate(rows.values()):
            axes.plot([low, high], [y, y], "|-", color=_VALUE, linewidth=1.6, markersize=8)
            axes.plot(value, y, "o", color=_VALUE, markersize=6)
            if np.isfinite(value):
                axes.annotate(
                    number(value, 2), (value, y), (0, 6), ha="center", textcoords="offset points"
                )
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set(ylim=(len(rows) - 0.5, -0.6), xlabel=xlabel)
        if ends:
            axes.set_xticks(list(ends), list(ends.values()))
        axes.grid(axis="x", color="0.92")
        axes.tick_params(axis="y", length=0)
        sns.despine(figure, left=True)
    told = "; ".join(
        f"{' '.join(name.split())} {number(value, 2)} ({number(low, 2)} to {number(high, 2)})"
        for name, (value, low, high) in rows.items()
    )
    return Picture(figure, f"Values with their intervals, {' '.join(xlabel.split())}: {told}.")


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
    """Draw differences below each other: a small dot for each seed, the mean, its interval.

    Parameters
    ----------
    groups : for each group, such as a number of labels, the differences by name: (seeds,) each
    xlabel : what they are, with the unit

    Intervals are those of `al.statistics.mean_interval`. Filled: it leaves out 0. Hollow: it
    holds 0. Mean and interval are written at the right.
    """
    if not any(groups.values()):
        raise AttnlabError("There are no differences to draw.")
    count = sum(map(len, groups.values()))
    told, places, names, y = [], [], [], -1.0
    with style():
        size = (8.2, 0.5 + 0.29 * count + 0.36 * len(groups))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        axes.axvline(0, color="0.35", linewidth=0.9)
        for group, rows in groups.items():
            y += 1.2
            beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
            axes.annotate(group, (-0.02, y), ha="right", weight="bold", **beside)
            for name, gaps in rows.items():
                y += 1
                words = _row(axes, np.asarray(gaps, dtype=float), y)
                places.append(y)
                names.append(name)
                told.append(f"{group}, {name}: {words}")
        axes.set_yticks(places, names)
        axes.set(ylim=(y + 0.7, -0.6), xlabel=xlabel)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="0.92")
        sns.despine(figure, left=True)
    return Picture(figure, f"Mean differences with 95 % intervals. {'; '.join(told)}.")


def _row(axes: Axes, gaps: np.ndarray, y: float) -> str:
    """Draw one comparison; return what is written beside it."""
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
        (1.02, y),
        xycoords=("axes fraction", "data"),
        va="center",
        color=colour if clear else "0.3",
        weight="bold" if clear else "normal",
    )
    return words
