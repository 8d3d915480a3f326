"""A number of every head against another one, as ranks within the layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy import stats

from attnlab.errors import AttnlabError
from attnlab.show.plots.learning import RUN_COLOURS, RUN_MARKERS
from attnlab.show.plots.picture import HALO, Picture, style

_BESIDE = 0.3  # how far dots with the same two ranks stand from each other, in ranks


def layer_scatter(
    over: Mapping[str, np.ndarray],
    values: np.ndarray,
    ylabel: str,
    titles: Mapping[str, str],
    marked: Sequence[tuple[int, int]] = (),
) -> Picture:
    """Draw a number of every head over others by ranks within its layer, a panel for each other.

    Parameters
    ----------
    over : by name: what is across, arrays (L, H)
    values : array (L, H), what is upwards
    ylabel : what its rank says, and what rank 1 means
    titles : what stands above each panel, by the names of ``over``
    marked : (layer, head) of the heads that get a ring and their names

    Rank 1 is the lowest value of a layer. Dots with the same two ranks stand beside each other. The
    grey line is the least squares line, and without ties its slope is the rank correlation within
    layers.
    """
    if not over or any(np.shape(one) != np.shape(values) for one in over.values()):
        shapes = {name: np.shape(one) for name, one in over.items()}
        raise AttnlabError(
            f"layer_scatter needs arrays of one shape, {np.shape(values)}; got {shapes}."
        )
    upwards = stats.rankdata(values, axis=1)
    with style(), sns.axes_style("ticks"):
        figure, grid = plt.subplots(
            1,
            len(over),
            figsize=(1.4 + 3.9 * len(over), 4.4),
            layout="constrained",
            sharey=True,
            squeeze=False,
        )
        for axes, (name, across) in zip(grid[0], over.items(), strict=True):
            _draw_heads(axes, stats.rankdata(across, axis=1), upwards, marked)
            axes.set_title(titles[name].replace("-", "−"), loc="left", fontsize=10)
            axes.set_xlabel(f"rank of the {name} in its layer")
        grid[0, 0].set_ylabel(ylabel)
        handles = [Line2D([], [], label=str(n), **_looks(n)) for n in range(len(values))]
        figure.legend(handles=handles, title="layer", loc="outside right center", frameon=False)
        sns.despine(figure)
    told = "; ".join(f"over {name}: {' '.join(titles[name].split())}" for name in over)
    return Picture(figure, f"{' '.join(ylabel.split())}, a dot for each head, {told}.")


def _looks(layer: int) -> dict[str, Any]:
    """Colour and marker of a layer; both differ within six, and the pair within 36."""
    count = len(RUN_COLOURS)
    colour, marker = RUN_COLOURS[layer % count], RUN_MARKERS[(layer + layer // count) % count]
    return {"color": colour, "marker": marker, "linestyle": "", "markersize": 7.5}


def _draw_heads(
    axes: Axes, across: np.ndarray, upwards: np.ndarray, marked: Sequence[tuple[int, int]]
) -> None:
    """The heads (L, H) at their ranks, a colour and a marker for each layer, and their trend."""
    heads = across.shape[1]
    x, y = across.ravel(), upwards.ravel()
    cells = pd.DataFrame({"x": x, "y": y}).groupby(["x", "y"])["x"]
    places = x + _BESIDE * (cells.cumcount() - (cells.transform("size") - 1) / 2)
    places = places.to_numpy().reshape(across.shape)
    if heads > 1:
        ends = np.array([0.5, heads + 0.5])
        axes.plot(ends, np.polyval(np.polyfit(x, y, 1), ends), color="0.7", linewidth=3, zorder=0)
    for layer, (row, heights) in enumerate(zip(places, upwards, strict=True)):
        axes.plot(row, heights, markeredgecolor="white", markeredgewidth=0.5, **_looks(layer))
    for layer, head in marked:
        point = places[layer, head], upwards[layer, head]
        left, top = across[layer, head] > heads / 2, upwards[layer, head] == heads
        ring: dict[str, Any] = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.4}
        axes.scatter(*point, s=150, zorder=3, **ring)
        axes.annotate(  # between two rows of dots, so that it covers none
            f"L{layer}H{head}",
            (point[0], point[1] + (-0.5 if top else 0.5)),
            xytext=(-6 if left else 6, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=9,
            fontweight="bold",
            path_effects=[HALO],
            zorder=4,
        )
    ticks = np.unique(np.linspace(1, heads, min(heads, 12)).round())
    axes.set(xlim=(0.4, heads + 0.6), ylim=(0.3, heads + 0.7), xticks=ticks, yticks=ticks)
    axes.grid(color="0.94")
    axes.set_axisbelow(True)
