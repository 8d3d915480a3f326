"""Measured curves and tables of the lesson on the mathematics of attention, with their labels."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from attnlab.show.drawings.sketch import ROLES
from attnlab.show.plots.picture import Picture, heatmap, matrix, show, style


def largest_weights(
    widths: Sequence[int], largest: Mapping[str, Sequence[float]], keys: int
) -> Picture:
    """Draw the largest weight over the width of queries, between an equal share and all of it.

    Parameters
    ----------
    widths : of query and key
    largest : name of each way to score, and its mean largest weight at each width
    keys : how many share the weight
    """
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 3.2))
        for height, name in ((1, "all the weight"), (1 / keys, f"an equal share, 1/{keys}")):
            axes.axhline(height, color=ROLES["text"], lw=1.2, ls=":")
            axes.text(widths[0], height + 0.02, name, fontsize=9.5, color=ROLES["text"])
        looks = (("-", "#ca5a14"), ("--", ROLES["query"]))
        for (name, heights), (dashes, colour) in zip(largest.items(), looks, strict=False):
            axes.plot(widths, heights, dashes, color=colour, lw=2.2, label=name)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="width $d_k$ of query and key", ylabel=f"largest of {keys} weights, mean")
        axes.set(ylim=(0, 1.1), yticks=np.arange(0, 1.1, 0.25), xticks=list(widths))
        axes.legend(loc="center left", bbox_to_anchor=(0.0, 0.66), frameon=False)
        sns.despine(figure)
    ends = "; ".join(
        f"{name}, from {heights[0]:.2f} to {heights[-1]:.2f}" for name, heights in largest.items()
    )
    return show(
        figure,
        f"The largest of {keys} weights over the width of queries and keys, from {widths[0]} to "
        f"{widths[-1]}: {ends}.",
    )


def jacobian(slopes: np.ndarray) -> Picture:
    """Draw how each weight of a softmax answers to each score.

    Parameters
    ----------
    slopes : (T, T), change of weight i for each unit of score j
    """
    return matrix(
        slopes,
        xlabel="score that is raised",
        ylabel="weight that answers",
        label="change of weight per score",
        digits=3,
        alt="Jacobian of a softmax: positive on the diagonal, negative elsewhere, and small for "
        "keys with little weight.",
    )


def position_table(table: np.ndarray) -> Picture:
    """Draw a table of positions on its side: position across, its columns down.

    Parameters
    ----------
    table : (T, d)
    """
    across = np.asarray(table, dtype=float).T
    columns, positions = across.shape
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
        ticks, rows = np.arange(0, positions, 8), np.arange(0, columns, 4)
        axes.set_xticks(ticks + 0.5, [str(tick) for tick in ticks], rotation=0)
        axes.set_yticks(rows + 0.5, [str(row) for row in rows], rotation=0)
        axes.set(xlabel="position", ylabel="column")
    return show(
        figure,
        f"A table of {positions} positions with {columns} columns, on its side. The upper columns "
        "change sign every few positions, the lower ones hardly change.",
    )
