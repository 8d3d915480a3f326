"""Pictures of what small changes do: answers, the heads that carry a flip, curves of deletion."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from attnlab.errors import AttnlabError, suggest
from attnlab.show.plots.learning import RUN_COLOURS, RUN_DASHES
from attnlab.show.plots.picture import (
    BETTER_WITHOUT,
    NEEDED,
    SIGNED,
    Picture,
    heatmap,
    need,
    style,
)
from attnlab.show.wording import number

_NAMES = {
    "gradient": "gradient × input",
    "integrated": "integrated gradients",
    "random": "random orders",
}
_HEADINGS = {
    "deletion": "deletion: the lower the better",
    "insertion": "insertion: the higher the better",
}
_MEASURES = {"margin": "margin of the answer, logits", "probability": "probability of the answer"}


def robustness(table: pd.DataFrame) -> Picture:
    """Draw how many answers flip by each kind of change, and how far attention moves.

    Parameters
    ----------
    table : of `adaptive.robustness`

    Red are changes after which the answer should stay, blue those that should flip it. The lines
    are 95 % intervals.
    """
    columns = ("kind", "should_flip", "flips", "flips_low", "flips_high", "attention")
    need(table, columns, "adaptive.robustness")
    kinds = list(table["kind"])
    colours = [BETTER_WITHOUT if turns else NEEDED for turns in table["should_flip"]]
    with style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(8.2, 1.3 + 0.42 * len(kinds)), layout="constrained", sharey=True
        )
        rows = range(len(kinds))
        for row, found, colour in zip(rows, table.itertuples(), colours, strict=True):
            left.plot([100 * found.flips_low, 100 * found.flips_high], [row, row], color=colour)
            hollow = "white" if found.should_flip else colour
            left.plot(100 * found.flips, row, "o", color=colour, markerfacecolor=hollow)
        right.barh(rows, table["attention"], height=0.5, color=colours)
        left.set(xlabel="answers that flip, %", yticks=rows, yticklabels=kinds)
        left.set_xlim(left=min(0.0, left.get_xlim()[0]))
        left.invert_yaxis()
        right.set_xlabel("attention moves by, bits")
        if table["should_flip"].any():
            left.set_title("hollow, blue: should flip", loc="left")
        for axes in (left, right):
            axes.grid(axis="x", color="0.93")
        sns.despine(figure)
    told = [
        f"{found.kind} {number(100 * found.flips, 1)} % "
        f"({number(100 * found.flips_low, 1)} to {number(100 * found.flips_high, 1)})"
        for found in table.itertuples()
    ]
    return Picture(figure, f"Answers that flip, with 95 % intervals: {', '.join(told)}.")


def patching(table: pd.DataFrame, title: str | None = None, intervals: bool = False) -> Picture:
    """Draw how much of the clean margin each head brings back, layers down and heads across.

    Parameters
    ----------
    table : of `adaptive.patch_heads` or `adaptive.patching_effects`
    title : above the picture
    intervals : whether to write ``ci_low`` and ``ci_high`` below each number; the table may then
        hold some layers only

    Purple: the head brings the clean answer back; orange: it pushes further away from it.
    """
    columns = ("restored", "ci_low", "ci_high") if intervals else ("restored",)
    need(table, ("layer", "head", *columns), "adaptive.patch_heads")
    values, *ends = (100 * table.pivot(index="layer", columns="head", values=n) for n in columns)
    limit = float(np.nanmax(np.abs(values.to_numpy()))) or 1.0
    notes = _with_ends(values, *ends) if intervals else _written(values)
    rows, heads = values.shape
    colours = {} if intervals else {"cbar_kws": {"label": "margin restored, %", "pad": 0.02}}
    with style():
        width, height = (0.71, 0.55) if intervals else (0.62, 0.42)
        size = ((0.9 if intervals else 1.5) + width * heads, 1.3 + height * rows)
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        heatmap(
            values,
            axes,
            cmap=SIGNED,
            vmin=-limit,
            vmax=limit,
            annot=notes,
            fmt="",
            annot_kws={"size": 9},
            linewidths=0.5,
            cbar=not intervals,  # two rows leave no room for its name
            **colours,
        )
        reach = " (in the cells: margin restored, %, and its 95 % interval)" if intervals else ""
        axes.set(xlabel=f"head{reach}", ylabel="layer")
        axes.tick_params(axis="y", rotation=0)
        if title:
            axes.set_title(title, loc="left")
    return Picture(figure, f"{title or 'Map of heads'}: {_most_restored(values, notes)}")


def _most_restored(values: pd.DataFrame, notes: np.ndarray) -> str:
    """Alt text: what is drawn, and the head that brings back most, as its cell says it."""
    layer, head = values.stack().idxmax()
    most = notes[values.index.get_loc(layer), values.columns.get_loc(head)]
    value, _, reach = most.partition("\n")
    reach = f" ({reach.replace(', ', ' to ')})" if reach else ""
    rows, heads = values.shape
    words = f"margin restored, %, for {rows} layers by {heads} heads"
    words += ", with 95 % intervals" if reach else ""
    return f"{words}; highest L{layer}H{head}, {value}{reach}."


def _written(values: pd.DataFrame) -> np.ndarray:
    """What is written in each cell: the number."""
    return values.map(lambda share: number(share, 1)).to_numpy()


def _with_ends(values: pd.DataFrame, low: pd.DataFrame, high: pd.DataFrame) -> np.ndarray:
    """What is written in each cell: the number, and below it the ends of its interval."""
    cells = zip(*(one.to_numpy().ravel() for one in (values, low, high)), strict=True)
    told = [f"{number(a, 1)}\n{number(b, 1)}, {number(c, 1)}" for a, b, c in cells]
    return np.array(told).reshape(values.shape)


def deletion(curves: pd.DataFrame, measure: str = "margin") -> Picture:
    """Draw the answer as tokens go, and as they come back, in the order of each explanation.

    Parameters
    ----------
    curves : of `adaptive.deletion_curves`
    measure : "margin" or "probability"

    The lines are means over texts. Around random orders a band shows 1.96 standard errors of the
    mean; whether another order beats them is said by `adaptive.areas`, which compares text by text.
    """
    need(curves, ("text", "method", "kind", "share", *_MEASURES), "adaptive.deletion_curves")
    if measure not in _MEASURES:
        raise AttnlabError(f"There is no measure {measure!r}. {suggest(measure, _MEASURES)}")
    label = _MEASURES[measure]
    with style():
        figure, sides = plt.subplots(1, 2, figsize=(9.4, 3.7), layout="constrained", sharey=True)
        for axes, kind in zip(sides, _HEADINGS, strict=True):
            _draw_curves(axes, curves[curves["kind"] == kind], measure)
            axes.set_title(_HEADINGS[kind], loc="left")
            gone = "masked" if kind == "deletion" else "back in place"
            axes.set_xlabel(f"tokens {gone}, %")
        sides[0].set_ylabel(label)
        handles, names = sides[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=9)
        sns.despine(figure)
    means = curves.groupby(["kind", "method"], sort=False)[measure].mean()
    told = [
        f"{kind}: "
        + ", ".join(
            f"{_NAMES.get(str(name), name)} {number(v, 2)}" for name, v in means[kind].items()
        )
        for kind in _HEADINGS
    ]
    texts = curves["text"].nunique()
    return Picture(figure, f"Mean {label} along the curves of {texts} texts; {'; '.join(told)}.")


def _draw_curves(axes: Axes, curves: pd.DataFrame, measure: str) -> None:
    looks = itertools.cycle(zip(RUN_COLOURS, RUN_DASHES, strict=True))
    for method, own in curves.groupby("method", sort=False):
        along = own.groupby("share")[measure].agg(["mean", "sem"])
        share, name = 100 * along.index.to_numpy(), _NAMES.get(str(method), str(method))
        if method == "random":
            half = 1.96 * along["sem"].fillna(0)
            low, high = along["mean"] - half, along["mean"] + half
            axes.fill_between(share, low, high, color="0.25", alpha=0.2, lw=0)
            axes.plot(share, along["mean"], color="0.25", linewidth=2, label=name)
            continue
        colour, dashes = next(looks)
        line = (0, dashes) if dashes else "-"
        axes.plot(share, along["mean"], color=colour, linestyle=line, linewidth=2, label=name)
    axes.grid(axis="y", color="0.93")
