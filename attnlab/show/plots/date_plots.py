"""Figures about answers that are right or wrong: in a grid, as dots beside 0, along training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from attnlab.errors import AttnlabError
from attnlab.show.plots.learning import RUN_COLOURS, smoothed
from attnlab.show.plots.number_table import table
from attnlab.show.plots.picture import Picture, need, style
from attnlab.show.wording import number, plain

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

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


def date_fields(answers: pd.DataFrame) -> "Styler":
    """A table of answers to dates, field by field; a wrong year, month or day has another ground.

    Parameters
    ----------
    answers : with columns ``source``, ``found`` and ``wanted``, such as rows of
        `translation.date_answers`; other columns that come before ``source`` are shown, too

    What an answer holds beyond three fields stands in its day; fields that it lacks are empty.
    """
    need(answers, ("source", "found", "wanted"), "your answers")
    first = answers.columns[: answers.columns.get_loc("source") + 1]
    shown = answers[list(first)].reset_index(drop=True)
    marked = pd.DataFrame(False, index=shown.index, columns=shown.columns)
    parts = [[_fields(text) for text in answers[name]] for name in ("found", "wanted")]
    for place, field in enumerate(("year", "month", "day")):
        shown[field] = [found[place] for found in parts[0]]
        marked[field] = [found[place] != right[place] for found, right in zip(*parts, strict=True)]
    shown["right date"], marked["right date"] = answers["wanted"].to_numpy(), False
    return table(shown, marked).hide(axis="index")


def _fields(text: str) -> list[str]:
    """Year, month and day of a text, as far as it has them."""
    return [*text.split("-", 2), "", ""][:3]


def dots_beside_zero(
    groups: Mapping[str, Values], *, xlabel: str, sides: tuple[str, str] | None = None
) -> Picture:
    """Draw a dot for each value, a row for each group, and a line at 0.

    Parameters
    ----------
    groups : the values of each group, (N,)
    xlabel : what they are, with the unit
    sides : what a value below 0 is, and what one above; written over the two sides

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
        room = 0.3 if sides else 0.06  # the left side needs room for its words
        axes.set_xlim(left=min(axes.get_xlim()[0], -room * axes.get_xlim()[1]))
        if sides:
            axes.axvspan(axes.get_xlim()[0], 0, color="0.94", zorder=0)
            for words, away, side in zip(sides, (-6, 6), ("right", "left"), strict=True):
                over: dict[str, Any] = {"textcoords": "offset points", "ha": side, "fontsize": 9}
                over["xycoords"] = axes.get_xaxis_transform()
                axes.annotate(words, (0, 1), (away, 4), color="0.3", **over)
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
            looks: dict[str, Any] = {"color": RUN_COLOURS[place], "linewidth": 1.6 if place else 4}
            looks |= {"alpha": 1 if place else 0.45, "label": name}
            steps = np.asarray(step, dtype=float)
            left.plot(steps, smoothed(steps, np.asarray(loss, dtype=float), longest), **looks)
            measured, shares = zip(*marks, strict=True)
            right.plot(measured, 100 * np.array(shares), "o-", markersize=5, **looks)
        left.set(yscale="log", xlabel="training step")
        left.set_title("loss, smoothed (nats)", loc="left", fontsize=10)
        right.set(ylim=(0, 104), xlabel="training step")
        right.set_title(f"{share} (%)", loc="left", fontsize=10)
        left.set_xlim(left=0)
        right.set_xlim(left.get_xlim())
        if len(runs) > 1:  # one legend for both, since the colours are the same
            right.legend(frameon=False, loc="lower right")
        sns.despine(figure)
    ends = [f"{name} ends at {number(marks[-1][1], 2)}" for name, (*_, marks) in runs.items()]
    return Picture(figure, f"Loss on a log scale, and the share: {share}. {'; '.join(ends)}.")
