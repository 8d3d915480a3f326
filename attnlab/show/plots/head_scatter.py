"""Two measures of the same heads against each other, a dot for each head."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from scipy import stats

from attnlab.errors import AttnlabError
from attnlab.show.plots.learning import RUN_COLOURS
from attnlab.show.plots.picture import FOLLOWED, Picture, style
from attnlab.show.wording import number

Measures = Sequence[float] | np.ndarray
Marks = Sequence[bool] | np.ndarray


def head_scatter(
    panels: Mapping[str, tuple[Measures, Measures]],
    *,
    xlabel: str,
    ylabel: str,
    marked: Mapping[str, Marks] | None = None,
    diagonal: bool = False,
    ranks: bool = True,
) -> Picture:
    """Draw two measures of every head against each other, with Spearman's ρ above them.

    Parameters
    ----------
    panels : what is measured, with its unit, and its numbers across and upwards, in the same order
    xlabel, ylabel : what tells the two apart, such as "change on dev" and "change on test"
    marked : groups of heads by name, at most three, drawn large, each in a colour of its own; the
        last is that of the head that a lesson follows
    diagonal : whether to draw the line on which both numbers are equal
    ranks : whether ρ is written

    Raises
    ------
    AttnlabError : no panel, numbers of different heads, or too many groups
    """
    if not panels:
        raise AttnlabError("A scatter of heads needs at least one pair of measures.")
    groups = {name: np.asarray(which, dtype=bool) for name, which in (marked or {}).items()}
    if len(groups) > len(_MARKED):
        raise AttnlabError(f"At most {len(_MARKED)} groups can be marked, not {len(groups)}.")
    arrays = {name: _checked(name, pair, groups) for name, pair in panels.items()}
    told = []
    with style():
        size = (4.8 if len(panels) == 1 else 3.7 * len(panels), 3.3)
        figure, row = plt.subplots(
            1, len(panels), figsize=size, squeeze=False, layout="constrained"
        )
        colours = _MARKED[len(_MARKED) - len(groups) :]
        for axes, (name, (x, y)) in zip(row[0], arrays.items(), strict=True):
            axes.plot(x, y, ".", color="0.5" if groups else "0.4", markersize=6, label="_")
            for (group, which), colour in zip(groups.items(), colours, strict=True):
                axes.plot(x[which], y[which], "o", color=colour, markersize=6.5, label=group)
            if diagonal:
                axes.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
            rank = f": ρ = {number(stats.spearmanr(x, y).statistic, 2)}" if ranks else ""
            axes.set(xlabel=xlabel, ylabel=ylabel if axes is row[0][0] else "")
            axes.set_title(f"{name}{rank}", loc="left")
            axes.locator_params(axis="x", nbins=5)
            where = [
                f"{group} at {number(x[which][0], 2)} and {number(y[which][0], 2)}"
                for group, which in groups.items()
                if which.sum() == 1
            ]
            told.append("; ".join([f"{name}{rank}", *where]))
        if groups:
            handles = row[0][0].get_legend_handles_labels()
            figure.legend(*handles, loc="outside upper right", ncols=3, frameon=False)
        sns.despine(figure)
    heads = f"{len(x)} heads, {xlabel} against {ylabel}"
    return Picture(figure, f"{heads}. {'; '.join(told)}.")


# of the marked groups, from the last one backwards
_MARKED = (RUN_COLOURS[1], RUN_COLOURS[2], FOLLOWED)


def _checked(
    name: str, pair: tuple[Measures, Measures], groups: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Both numbers of each head, (N,)."""
    x, y = (np.asarray(values, dtype=float).ravel() for values in pair)
    if len(x) != len(y):
        raise AttnlabError(f"{name}: {len(x)} and {len(y)} heads. Pass the same heads each time.")
    for group, which in groups.items():
        if len(which) != len(x):
            raise AttnlabError(f"{group}: {len(which)} heads may be marked, {len(x)} are drawn.")
    return x, y
