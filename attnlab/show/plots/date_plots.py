"""Figures about answers that are right or wrong: in a grid, as dots beside 0, along training."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from attnlab.errors import AttnlabError
from attnlab.show.plots.learning import RUN_COLOURS, smoothed
from attnlab.show.plots.picture import Picture, need, style
from attnlab.show.wording import number, plain

Values = Sequence[float] | np.ndarray
Run = tuple[Values, Values, Sequence[tuple[float, float]]]
_RIGHT, _WRONG = "#1f5fa8", "#efefef"
_MIDDLE: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 10}


def answer_grid(found: pd.DataFrame, wanted: Sequence[str], *, xlabel: str, ylabel: str) -> Picture:
    """Draw answers in a grid: a filled cell is right, a pale one wrong.

    Parameters
    ----------
    found : the answers, (rows, columns), str
    wanted : the right answer of each row
    xlabel, ylabel : what columns and rows are
    """
    need(found, (), "your answers")
    if len(wanted) != len(found):
        raise AttnlabError(f"There are {len(found)} rows, but {len(wanted)} right answers.")
    right = found.eq(pd.Series(list(wanted), index=found.index), axis=0).to_numpy()
    rows, columns = found.shape
    cells = found.to_numpy()
    with style():
        size = (2.0 + 1.3 * columns, 0.9 + 0.4 * rows)
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        for row in range(rows):
            for column in range(columns):
                fill, ink = (_RIGHT, "white") if right[row, column] else (_WRONG, "0.15")
                edge: dict[str, Any] = {"edgecolor": "white", "linewidth": 2}
                axes.add_patch(plt.Rectangle((column, row), 1, 1, facecolor=fill, **edge))
                place = column + 0.5, row + 0.5
                axes.text(*place, plain(str(cells[row, column]), 16), color=ink, **_MIDDLE)
        axes.set(xlim=(0, columns), ylim=(rows, 0), xlabel=xlabel, ylabel=ylabel)
        axes.set_xticks(np.arange(columns) + 0.5, found.columns)
        axes.set_yticks(np.arange(rows) + 0.5, found.index)
        axes.tick_params(length=0)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        sns.despine(figure, left=True, bottom=True, top=True)
    told = [
        f"{name}: {', '.join(map(str, found.columns[own])) or 'none'}"
        for name, own in zip(found.index, right, strict=True)
    ]
    return Picture(figure, f"Right answers. {'; '.join(told)}.")


def dots_beside_zero(groups: Mapping[str, Values], *, xlabel: str) -> Picture:
    """Draw a dot for each value, a row for each group, and a line at 0.

    Parameters
    ----------
    groups : the values of each group, (N,)
    xlabel : what they are, with the unit

    The mean of a group, and how many values it has, are written at the right.
    """
    if not groups or not all(map(len, groups.values())):
        raise AttnlabError("Each group needs at least one value, and there must be a group.")
    told, shift = [], np.random.default_rng(0)
    with style():
        size = (7.5, 0.9 + 0.5 * len(groups))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        axes.axvline(0, color="0.2", linewidth=1.2)
        for row, (name, own) in enumerate(groups.items()):
            values = np.asarray(own, dtype=float)
            places = row + shift.uniform(-0.25, 0.25, len(values))
            axes.plot(values, places, "o", color=_RIGHT, alpha=0.35, markersize=4, mew=0)
            words = f"mean {number(values.mean(), 1)} (of {len(values)})"
            beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
            axes.annotate(words, (1.02, row), fontsize=9, **beside)
            told.append(f"{name}: {words}, {int((values < 0).sum())} below 0")
        axes.set_yticks(range(len(groups)), list(groups))
        axes.set(ylim=(len(groups) - 0.5, -0.5), xlabel=xlabel)
        axes.set_xlim(left=min(axes.get_xlim()[0], -0.06 * axes.get_xlim()[1]))
        axes.tick_params(axis="y", length=0)
        sns.despine(figure, left=True)
    return Picture(figure, f"A dot for each value. {'; '.join(told)}.")


def loss_and_share(runs: Mapping[str, Run], *, share: str) -> Picture:
    """Draw the smoothed loss of one or two runs, and beside it a share that was measured at times.

    Parameters
    ----------
    runs : for each name: steps (N,), losses in nats (N,), and pairs (step, share from 0 to 1)
    share : what the share is of

    The first run is drawn broad and pale, so that the second can be seen above it.
    """
    if not runs:
        raise AttnlabError("There is no run to draw.")
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.9), layout="constrained")
        longest = max(int(np.max(step)) for step, _, _ in runs.values())
        for place, (name, (step, loss, marks)) in enumerate(runs.items()):
            colour = RUN_COLOURS[place]
            looks: dict[str, Any] = {"color": colour, "linewidth": 1.3 if place else 4}
            looks |= {"alpha": 1 if place else 0.45, "label": name}
            steps = np.asarray(step, dtype=float)
            left.plot(steps, smoothed(steps, np.asarray(loss, dtype=float), longest), **looks)
            right.plot(*zip(*marks, strict=True), "o-", color=colour, markersize=5, label=name)
        left.set(yscale="log", xlabel="training step", ylabel="loss, smoothed (nats)")
        right.set(ylim=(0, 1.03), xlabel="training step", ylabel=f"{share} (share)")
        for axes in (left, right):
            axes.set_xlim(left=0)
            axes.legend(frameon=False)
        sns.despine(figure)
    ends = [f"{name} ends at {number(marks[-1][1], 2)}" for name, (*_, marks) in runs.items()]
    return Picture(figure, f"Loss on a log scale, and the share: {share}. {'; '.join(ends)}.")
