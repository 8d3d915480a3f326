"""Two measures of the same heads against each other, a dot for each head."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from scipy import stats

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import NEEDED, Picture, style
from attnlab.show.wording import number

Measures = Sequence[float] | np.ndarray


def head_scatter(
    panels: Mapping[str, tuple[Measures, Measures]],
    *,
    xlabel: str,
    ylabel: str,
    marked: Sequence[bool] | np.ndarray | None = None,
    diagonal: bool = False,
) -> Picture:
    """Draw two measures of every head against each other, with Spearman's ρ above them.

    Parameters
    ----------
    panels : what is measured, with its unit, and its numbers across and upwards, in the same order
    xlabel, ylabel : what tells the two apart, such as "change on dev" and "change on test"
    marked : which heads are drawn large and red
    diagonal : whether to draw the line on which both numbers are equal

    Raises
    ------
    AttnlabError : no panel, or numbers of different heads
    """
    if not panels:
        raise AttnlabError("A scatter of heads needs at least one pair of measures.")
    arrays = {name: _checked(name, pair, marked) for name, pair in panels.items()}
    told = []
    with style():
        size = (4.8 if len(panels) == 1 else 3.7 * len(panels), 3.3)
        figure, row = plt.subplots(
            1, len(panels), figsize=size, squeeze=False, layout="constrained"
        )
        for axes, (name, (x, y, chosen)) in zip(row[0], arrays.items(), strict=True):
            axes.plot(x, y, ".", color="0.4", markersize=6)
            axes.plot(x[chosen], y[chosen], "o", color=NEEDED, markersize=7)
            if diagonal:
                axes.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
            rank = f"ρ = {number(stats.spearmanr(x, y).statistic, 2)}"
            axes.set(xlabel=xlabel, ylabel=ylabel if axes is row[0][0] else "")
            axes.set_title(f"{name}: {rank}", loc="left")
            axes.locator_params(axis="x", nbins=5)
            told.append(f"{name}: {rank}")
        sns.despine(figure)
    heads = f"{len(x)} heads, {xlabel} against {ylabel}"
    return Picture(figure, f"{heads}. {'; '.join(told)}.")


def _checked(
    name: str, pair: tuple[Measures, Measures], marked: Sequence[bool] | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both numbers of each head (N,), and whether it is marked."""
    x, y = (np.asarray(values, dtype=float).ravel() for values in pair)
    chosen = np.zeros(len(x), bool) if marked is None else np.asarray(marked, dtype=bool)
    if not len(x) == len(y) == len(chosen):
        raise AttnlabError(
            f"{name}: {len(x)} and {len(y)} heads, of which {len(chosen)} may be marked. "
            "Pass the same heads each time."
        )
    return x, y, chosen
