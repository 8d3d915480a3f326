"""Pictures of what becomes of a model without heads, one at a time or one after another."""

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy import stats

from attnlab.errors import AttnlabError, suggest
from attnlab.evaluation.evaluator import Score
from attnlab.show.plots.learning import RUN_COLOURS, RUN_DASHES, RUN_MARKERS
from attnlab.show.plots.picture import BETTER_WITHOUT, NEEDED, Picture, need, style
from attnlab.show.wording import counted, head_name, plain
from attnlab.statistics import benjamini_hochberg

Value = Literal["margin_delta", "loss_delta", "delta"]
_ORDERS = {
    "gradient": "by gradient",
    "ablation": "by ablation",
    "weights": "by size of weights",
    "given": "in the order given",
}
_UNITS = {
    "margin_delta": ("the margin", "logits"),
    "loss_delta": ("the loss", "nats"),
    "delta": ("accuracy", "points"),
}


# ── heads taken away one after another ─────────────────────────────────────────────────────────


def pruning(
    path: pd.DataFrame, neutral: Score | None = None, chance: float | None = None
) -> Picture:
    """Draw accuracy as heads are taken away, a line for each order in which they go.

    Parameters
    ----------
    path : of `pruning_curve`, or several of them, one below the other (``pd.concat``). Of an
        order with several seeds the mean is drawn, and a band from the lowest to the highest.
    neutral : Score with all heads on, drawn with its 95 % interval; by default the row of the table
        where none is off
    chance : accuracy of always giving the most frequent answer, 0 to 1

    As in Michel et al. 2019 ("Are sixteen heads really better than one?"), section 4.
    """
    columns = ("order", "seed", "heads_off", "heads_on", "accuracy", "stderr")
    need(path, columns, "pruning_curve")
    whole = path[path["heads_off"] == 0]
    if neutral is None and whole.empty:
        raise AttnlabError(
            "No row of this path has all heads on, so there is nothing to compare with. "
            "Pass neutral=ev.score()."
        )
    reference = whole.iloc[0] if neutral is None else neutral
    start, error = reference.accuracy, 1.96 * reference.stderr
    noise = (start - error, start + error) if neutral is None else neutral.ci
    total = int((path["heads_off"] + path["heads_on"]).max())
    with style():
        figure, axes = plt.subplots(figsize=(8.2, 4.4), layout="constrained")
        band = _draw_neutral(axes, start, *noise)
        for name, table, looks in _orders(path):
            if (table["seeds"] > 1).any():
                low, high = 100 * table["min"], 100 * table["max"]
                axes.fill_between(table.index, low, high, color=looks["color"], alpha=0.22, lw=0)
            axes.plot(
                table.index, 100 * table["mean"], label=name, linewidth=2, markersize=5, **looks
            )
        handles = [*axes.get_legend_handles_labels()[0], band]
        if chance is not None:
            handles.append(_draw_chance(axes, chance))
        axes.legend(
            handles=handles,
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=2,
            fontsize=9,
        )
        axes.set(xlabel=f"heads taken away, of {total}", ylabel="accuracy, %")
        axes.set_xlim(-0.02 * total, 1.02 * total)
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True, steps=[1, 2, 3, 4, 6, 10]))
        axes.grid(axis="y", color="0.93")
        sns.despine(figure)
    return Picture(figure, _describe_pruning(path, start, *noise, total))


def _draw_neutral(axes: Axes, start: float, low: float, high: float) -> Artist:
    """A band from low to high around the accuracy with all heads; return its legend entry."""
    looks: dict[str, Any] = {"fc": "none", "ec": "0.6", "hatch": "////"}
    axes.axhspan(100 * low, 100 * high, lw=0.5, **looks)
    label = f"all heads on, {100 * start:.1f} (95 %: {100 * low:.1f} to {100 * high:.1f})"
    return Patch(label=label, **looks)


def _draw_chance(axes: Axes, chance: float) -> Artist:
    """A line at the accuracy of a constant answer; return its legend entry."""
    looks: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 1.4}
    axes.axhline(100 * chance, **looks)
    return Line2D([], [], label=f"always the most frequent answer, {100 * chance:.1f}", **looks)


def _orders(path: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Each order: its name, accuracies by the number of heads off, and how its line looks."""
    looks = list(zip(RUN_COLOURS, RUN_DASHES, RUN_MARKERS, strict=True))
    kinds = itertools.cycle(looks[:2] + looks[3:])
    for order, part in path.groupby("order", sort=False):
        accuracy = part.groupby("heads_off")["accuracy"]
        table = accuracy.agg(["mean", "min", "max"]).assign(seeds=accuracy.size())
        seeds = part["seed"].nunique()
        name = _ORDERS.get(str(order), plain(str(order)))
        if seeds > 1:
            name += f", mean of {seeds} (band: lowest to highest)"
        # a random order is the yardstick and not one of the contenders
        colour, dashes, marker = ("0.25", (), "") if order == "random" else next(kinds)
        line = (0, dashes) if dashes else "-"
        marker = marker if len(table) <= 30 else ""
        yield name, table, {"color": colour, "linestyle": line, "marker": marker}


def _describe_pruning(path: pd.DataFrame, start: float, low: float, high: float, total: int) -> str:
    """Alt text: for each order, where it leaves the band, and what is left at the end."""
    told = []
    for name, table, _ in _orders(path):
        lost = table.index[table["mean"] < low]
        fall = f"from {lost[0]} heads off" if len(lost) else "never"
        last = table.iloc[-1]
        told.append(f"{name}: {fall}, and {last['mean']:.1%} with {table.index[-1]} off")
    return (
        f"Accuracy as heads are taken away, {total} in all: {start:.1%} with all on "
        f"(95 %: {low:.1%} to {high:.1%}). Below that are {'; '.join(told)}."
    )


# ── heads taken away one at a time ─────────────────────────────────────────────────────────────


def effects(table: pd.DataFrame, value: Value = "loss_delta") -> Picture:
    """Draw the change that each head makes, sorted, and where heads with no mean effect would lie.

    Parameters
    ----------
    table : of `ablate`, with one value
    value : "margin_delta" in logits, "loss_delta" in nats, or "delta", accuracy in points

    Bars are 95 % intervals. The band is where the sorted changes of so many heads would lie, 95
    times in 100, if no head had an effect on average, and all differences were noise as large as
    its interval says. In colour are heads that stay significant after correction for their number
    (Benjamini and Hochberg 1995, q < 0.05): for accuracy by the table's ``q_value``, for the
    others by their intervals.
    """
    ends = {
        "margin_delta": ("margin_low", "margin_high"),
        "loss_delta": ("loss_low", "loss_high"),
        "delta": ("ci_low", "ci_high"),
    }
    if value not in ends:
        raise AttnlabError(f"effects cannot draw {value!r}. {suggest(value, ends)}")
    need(table, ("layer", "head", value, *ends[value], "q_value"), "ablate")
    if table.duplicated(["layer", "head"]).any():
        raise AttnlabError(
            "This table has several rows for a head. Draw one scale or temperature at a time: "
            "table[table['scale'] == 0.5]."
        )
    table = _sorted_effects(table, value, ends[value])
    outside = int(((table["low"] > 0) | (table["high"] < 0)).sum())
    name, unit = _UNITS[value]
    excluded = counted(outside, "interval excludes", "intervals exclude")
    by_chance = f"{excluded} 0, and chance alone makes that about"
    with style():
        figure, axes = plt.subplots(figsize=(9.4, 4.4), layout="constrained")
        _draw_noise(axes, table["error"].to_numpy())
        axes.axhline(0, color="0.35", linewidth=0.8)
        _draw_effects(axes, table)
        _name_outermost(axes, table)
        axes.set_xlabel(f"{len(table)} heads, sorted: {by_chance} {0.05 * len(table):.1f}")
        axes.set_ylabel(f"change of {name}, {unit}")
        axes.set_xticks([])
        axes.margins(x=0.02, y=0.12)
        axes.legend(
            frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, fontsize=9
        )
        sns.despine(figure, bottom=True)
    strongest = table.iloc[int(table["change"].abs().argmax())]
    real, some = counted(table["real"].sum(), "is", "are"), counted(outside, "has", "have")
    alt = (
        f"Change of {name} for {len(table)} heads, sorted: {real} significant after correction for "
        f"their number; {some} an interval that excludes 0, and chance alone makes that about "
        f"{0.05 * len(table):.1f}. The largest is {strongest['change']:+.3g} {unit} for layer "
        f"{strongest['layer']:.0f} head {strongest['head']:.0f}."
    )
    return Picture(figure, alt.replace("+-", "-"))


def _sorted_effects(table: pd.DataFrame, value: Value, ends: tuple[str, str]) -> pd.DataFrame:
    """A row per head, by change: ``change, low, high, error``, and whether it is real and worse."""
    unit = 100 if value == "delta" else 1
    table = table.sort_values(value, ignore_index=True)
    change, low, high = (unit * table[name].to_numpy(float) for name in (value, *ends))
    error = (high - low) / (2 * stats.norm.ppf(0.975))
    if value == "delta":
        adjusted = table["q_value"].to_numpy()
    else:
        p_values = 2 * stats.norm.sf(np.abs(change) / np.maximum(error, 1e-12))
        adjusted = benjamini_hochberg(p_values)
    return table[["layer", "head"]].assign(
        change=change,
        low=low,
        high=high,
        error=error,
        real=adjusted < 0.05,
        worse=change > 0 if value == "loss_delta" else change < 0,
    )


def _draw_noise(axes: Axes, error: np.ndarray) -> None:
    """Where the sorted changes would lie if each were noise with this standard error (P,)."""
    draws = np.random.default_rng(0).normal(0, error, (4000, len(error)))
    band = np.quantile(np.sort(draws, 1), (0.025, 0.975), axis=0)
    rank = np.arange(1, len(error) + 1)
    label = "heads with no mean effect, 95 %"
    axes.fill_between(rank, *band, color="0.87", lw=0, label=label)


def _draw_effects(axes: Axes, table: pd.DataFrame) -> None:
    """The changes with their intervals, in colour where they are real."""
    real, worse = table["real"], table["worse"]
    kinds = {
        "not significant, 95 % interval": (~real, "0.45"),
        "significant: needed": (real & worse, NEEDED),
        "significant: better without": (real & ~worse, BETTER_WITHOUT),
    }
    for label, (which, colour) in kinds.items():
        part = table[which]
        if len(part):
            change, low, high = part[["change", "low", "high"]].to_numpy().T
            axes.errorbar(
                part.index.to_numpy() + 1,
                change,
                np.stack([change - low, high - change]),
                label=label,
                color=colour,
                fmt="o",
                markersize=4,
                elinewidth=1.1,
            )


def _name_outermost(axes: Axes, table: pd.DataFrame) -> None:
    """Name the outermost real heads, each at a height of its own with a line to its bar."""
    most = 4 if len(table) <= 80 else 1
    real = table[table["real"]]
    below, above = real[real["high"] < 0][:most], real[real["low"] > 0][-most:]
    gap = 0.06 * float(table["high"].max() - table["low"].min())  # a line of text
    for named, sign, end in ((below[::-1], -1, "low"), (above, 1, "high")):
        height = -np.inf
        for head in named.itertuples():  # from the inside out, so that no line crosses another
            tip, first = getattr(head, end), head.Index - (5 if sign > 0 else 0)
            beside = sign * table[end].iloc[max(first, 0) : first + 6]  # the bars at its name
            height = max(height + gap, beside.max() + gap / 2)
            axes.annotate(
                head_name(head),
                (head.Index + 1, tip),
                xytext=(head.Index + 1 - 1.6 * sign, sign * height),
                ha="right" if sign > 0 else "left",
                va="center",
                fontsize=9,
                arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.8, "shrinkB": 1},
            )
