"""Measured curves and tables of the lesson on the mathematics of attention, with their labels."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from attnlab.show.drawings.sketch import ROLES
from attnlab.show.plots.picture import (
    BETTER_WITHOUT,
    NEEDED,
    Picture,
    heatmap,
    show,
    style,
)

ORANGE = "#ca5a14"  # of the largest weight, and of scores that are not divided
# blue, white, red: with a pure white middle the smallest slopes show their sign
SIGNS = LinearSegmentedColormap.from_list("signs", [BETTER_WITHOUT, "white", NEEDED])


def largest_weights(
    widths: Sequence[int], largest: Mapping[str, Sequence[float]], keys: int
) -> Picture:
    """Draw the largest weight over the width of queries, between an equal share and all of it.

    Parameters
    ----------
    widths : of query and key
    largest : name of each way to score, at most two, and its mean largest weight at each width;
        the names stand at the curves, with √d_k set as a formula
    keys : how many share the weight
    """
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 3.2))
        for height, name in ((1, "all the weight"), (1 / keys, f"an equal share, 1/{keys}")):
            axes.axhline(height, color=ROLES["text"], lw=1.2, ls=":")
            axes.text(widths[0], height + 0.02, name, fontsize=9.5, color=ROLES["text"])
        at = max(len(widths) - 3, 0)  # of the names: left of the ends, above the curves
        looks = (("--", ORANGE), ("-", ROLES["query"]))  # as on the softmax desk
        for (name, heights), (dashes, colour) in zip(largest.items(), looks, strict=False):
            axes.plot(widths, heights, dashes, color=colour, lw=2.2)
            written = name.replace("√d_k", r"$\sqrt{d_k}$")
            place = widths[at], heights[at] + 0.03
            axes.annotate(written, place, ha="right", va="bottom", color=colour)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="width $d_k$ of query and key", ylabel=f"largest of {keys} weights, mean")
        axes.set(ylim=(0, 1.1), yticks=np.arange(0, 1.1, 0.25), xticks=list(widths))
        sns.despine(figure)
    ends = "; ".join(
        f"{name}, from {heights[0]:.2f} to {heights[-1]:.2f}" for name, heights in largest.items()
    )
    return show(
        figure,
        f"The largest of {keys} weights over the width of queries and keys, from {widths[0]} to "
        f"{widths[-1]}: {ends}.",
    )


def jacobian(slopes: np.ndarray, weights: Sequence[float] | np.ndarray) -> Picture:
    """Draw how each weight of a softmax answers to each score.

    Parameters
    ----------
    slopes : (T, T), change of weight i for each unit of score j
    weights : (T,), those whose changes these are; they stand at the rows
    """
    slopes = np.asarray(slopes, dtype=float)
    count = len(slopes)
    limit = float(np.abs(slopes).max()) or 1.0
    with style():
        figure, axes = plt.subplots(figsize=(1.9 + 0.85 * count, 0.9 + 0.45 * count))
        heatmap(
            slopes,
            axes,
            cmap=SIGNS,
            vmin=-limit,
            vmax=limit,
            cbar=False,  # the numbers are in the cells
            annot=True,
            fmt=".3f",
            annot_kws={"size": 10},
            linewidths=1.5,
            xticklabels=[f"score {key}" for key in range(count)],
            yticklabels=[f"weight {key}, {weight:.2f}" for key, weight in enumerate(weights)],
        )
        axes.tick_params(axis="y", rotation=0)
        axes.xaxis.tick_top()
        axes.set_title("slope of each weight as one score grows", fontsize=10, pad=8)
    return show(
        figure,
        "Jacobian of a softmax: positive on the diagonal, negative elsewhere, and small for "
        "keys with little weight.",
    )


def position_table(table: np.ndarray) -> Picture:
    """Draw a table of positions on its side: position across, its columns down.

    A black mark stands where a pair of columns has made its first full turn.

    Parameters
    ----------
    table : (T, d)
    """
    across = np.asarray(table, dtype=float).T
    columns, positions = across.shape
    turns = 2 * np.pi * 10000.0 ** (np.arange(0, columns, 2) / columns)  # of each pair, positions
    with style():
        figure, axes = plt.subplots(figsize=(7.6, 0.9 + 0.1 * columns))
        heatmap(
            across,
            axes,
            cmap="vlag",
            vmin=-1,
            vmax=1,
            cbar_kws={"label": "sine or cosine", "pad": 0.02, "ticks": (-1, 0, 1)},
        )
        seen = [(pair, turn) for pair, turn in enumerate(turns) if turn + 0.5 < positions]
        for pair, turn in seen:  # a cell's middle is its position
            axes.plot([turn + 0.5] * 2, [2 * pair, 2 * pair + 2], color="black", lw=2.5)
        ticks, rows = np.arange(0, positions, 8), np.arange(0, columns, 4)
        axes.set_xticks(ticks + 0.5, [str(tick) for tick in ticks], rotation=0)
        axes.set_yticks(rows + 0.5, [str(row) for row in rows], rotation=0)
        axes.set(xlabel="position (black: the first full turn)", ylabel="column")
    marked = ", ".join(f"{turn:.1f}" for _, turn in seen) or "none"
    return show(
        figure,
        f"A table of {positions} positions with {columns} columns, on its side. The upper columns "
        "change sign every few positions, the lower ones hardly change. The first full turns end "
        f"at position {marked}.",
    )


def named_curves(
    x: Sequence[float] | np.ndarray,
    curves: Mapping[str, Sequence[float] | np.ndarray],
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    log: str = "",
    points: tuple[Sequence[float], Sequence[float]] | None = None,
    guides: Collection[str] = (),
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> Picture:
    """Draw curves over one axis, each with its name at its right end instead of a legend.

    Parameters
    ----------
    x : the places, shared by all curves
    curves : name of each curve, and its heights; at most four that are no guides
    xlabel, ylabel : what the axes show, with units
    alt : one or two sentences on what there is to see
    log : "x", "y" or "xy" for logarithmic axes
    points : places and heights of dots to draw as well
    guides : names of curves to compare with, drawn thin and grey
    bands : lower and upper heights of an area round some of the curves
    """
    heights = {name: np.asarray(curve, dtype=float) for name, curve in curves.items()}
    looks = iter(((ROLES["query"], "-"), (ORANGE, "--"), (ROLES["value"], "-."), ("black", ":")))
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 3.4))
        ends: list[tuple[float, str, str]] = []
        for name, curve in heights.items():
            colour, dashes = (ROLES["frozen"], ":") if name in guides else next(looks)
            axes.plot(x, curve, dashes, color=colour, lw=1.6 if name in guides else 2.2, label=name)
            if bands and name in bands:
                low, high = (np.asarray(edge, dtype=float) for edge in bands[name])
                axes.fill_between(x, low, high, color=colour, alpha=0.16, lw=0)
            ends.append((float(curve[-1]), name, ROLES["text"] if name in guides else colour))
        if points is not None:
            axes.plot(*points, "o", color="black", ms=5, zorder=5)
        if "x" in log:
            axes.set_xscale("log", base=2 if np.allclose(np.log2(x) % 1, 0) else 10)
            axes.xaxis.set_major_formatter("{x:g}")
        if "y" in log:
            axes.set_yscale("log")
        axes.set(xlabel=xlabel, ylabel=ylabel)
        _name_ends(axes, float(np.asarray(x)[-1]), ends)
        sns.despine(figure)
    return show(figure, alt)


def _name_ends(axes: Axes, last: float, ends: list[tuple[float, str, str]]) -> None:
    """Write names at the right ends of curves, moved apart where they would touch."""
    axes.autoscale_view()  # or the limits are not known yet
    line = 14 * axes.figure.dpi / 72
    groups: list[list[tuple[float, float, str, str]]] = []
    for y, name, ink in sorted(ends):
        groups.append([(float(axes.transData.transform((last, y))[1]), y, name, ink)])
        while (
            len(groups) > 1
            and _heights(groups[-1], line)[0] - line < _heights(groups[-2], line)[-1]
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    for group in groups:
        for (at, y, name, ink), to in zip(group, _heights(group, line), strict=True):
            move = (8, (to - at) * 72 / axes.figure.dpi)
            looks: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
            axes.annotate(name, (last, y), move, color=ink, fontsize=10, **looks)


def _heights(group: Sequence[tuple[float, float, str, str]], line: float) -> list[float]:
    """Where the names of a group stand, in pixels: a line apart, round their middle."""
    middle = sum(at for at, *_ in group) / len(group)
    return [middle + line * (place - (len(group) - 1) / 2) for place in range(len(group))]


def token_bars(tokens: Sequence[str], sizes: Sequence[float] | np.ndarray, ylabel: str) -> Picture:
    """Draw one number for each token of a text as bars, the largest one in orange.

    Parameters
    ----------
    tokens : in their order
    sizes : of the bars
    ylabel : what they show
    """
    sizes = np.asarray(sizes, dtype=float)
    places, largest = np.arange(len(tokens)), int(sizes.argmax())
    with style():
        figure, axes = plt.subplots(figsize=(7.6, 2.3))
        names = [token.replace("$", r"\$") for token in tokens]
        colours = [ORANGE if place == largest else ROLES["query"] for place in places]
        axes.bar(places, sizes, color=colours, width=0.7)
        axes.text(largest, sizes[largest], f"{sizes[largest]:.1f}", ha="center", va="bottom")
        axes.set_xticks(places, names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set(ylabel=ylabel, xlim=(-0.6, len(tokens) - 0.4), ylim=(0, 1.15 * sizes[largest]))
        sns.despine(figure)
    said = ", ".join(f"{token} {size:.1f}" for token, size in zip(tokens, sizes, strict=True))
    return show(figure, f"Bars, {ylabel} of each token: {said}.")
