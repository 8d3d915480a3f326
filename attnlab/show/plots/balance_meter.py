"""Picture of the balance meter: the overall figure, its two parts, and a measure of every head."""

import math
from typing import cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle, Wedge

from attnlab.balance.reading import Balance, By, Tokens
from attnlab.errors import AttnlabError, suggest
from attnlab.show.plots.learning import RUN_COLOURS
from attnlab.show.plots.picture import Picture, heatmap, style
from attnlab.show.wording import (
    BY,
    TOKENS,
    VALUES,
    colour_limits,
    decimals_between,
    extremes,
    folded,
    label_of,
    rounded,
)


def balance(
    b: Balance,
    measure: str = "entropy",
    tokens: str = "text",
    by: str = "weights",
    reference: Balance | None = None,
    value: str = "mean",
) -> Picture:
    """Draw a model's overall balance, its two parts, and a measure of every head.

    Parameters
    ----------
    b : of `balance.measure`
    measure : one of `balance.MEASURES`
    tokens : "text", without special tokens, or "all"
    by : "weights", or "contributions", where a weight counts by the vector that it fetches
    reference : another model's Balance, measured on the same texts; its overall figure is marked,
        and the change from it is drawn below, ``b`` minus ``reference``
    value : "mean", "std", "adjusted" or "slope" of the measure over the texts

    Heads that were removed are hatched.
    """
    now = _map_of(b, measure, tokens, by, value)
    before = None
    if reference is not None:
        before = _map_of(reference, measure, tokens, by, value)
        _check_sizes(now, before)
    label = _label(measure, value)
    maps = 1 if before is None else 2
    height = max(0.9 + 0.36 * len(now), 1.5)
    with style():
        figure = plt.figure(figsize=(9.4, maps * height + 0.5), layout="constrained")
        cast(ConstrainedLayoutEngine, figure.get_layout_engine()).set(w_pad=0.1)
        grid = figure.add_gridspec(1, 2, width_ratios=(1.9, 7))
        left = grid[0].subgridspec(3 if maps == 2 else 2, 1, height_ratios=(1.5, 1, 1)[: maps + 1])
        right = grid[1].subgridspec(maps, 1)
        mark = None if reference is None else reference.overall
        _draw_dial(figure.add_subplot(left[0]), b.overall, mark)
        _draw_parts(figure.add_subplot(left[1]), b, reference)
        axes = figure.add_subplot(right[0])
        _draw_heads(axes, now, colour_limits(measure, value, now, before), label)
        name = "" if before is None else "this model: "
        axes.set_title(f"{name}{TOKENS[tokens]}, {BY[by]}", loc="left", fontsize=10)
        if before is not None:
            changed = _label(measure, value, change=True)
            _draw_change(figure.add_subplot(right[1]), now - before, changed)
    return Picture(figure, _described(b, reference, now, before, label))


def _check_sizes(now: np.ndarray, before: np.ndarray) -> None:
    """Raise AttnlabError unless both maps have as many layers and heads."""
    if before.shape != now.shape:
        raise AttnlabError(
            f"The reference has {before.shape[0]} layers of {before.shape[1]} heads, this model "
            f"{now.shape[0]} of {now.shape[1]}. Compare models of one size."
        )


def _map_of(b: Balance, measure: str, tokens: str, by: str, value: str) -> np.ndarray:
    """The measure as an array (L, H), or an AttnlabError that names what there is."""
    measures = sorted(set(b.table["measure"]))
    for name, given, known in (
        ("measure", measure, measures),
        ("tokens", tokens, list(TOKENS)),
        ("by", by, list(BY)),
        ("value", value, list(VALUES)),
    ):
        if given not in known:
            raise AttnlabError(f"There is no {name} {given!r}. {suggest(given, known)}")
    values = b.map(measure, cast(Tokens, tokens), cast(By, by), value).astype(float)
    if not np.isfinite(values).any():
        why = " [CLS] and [SEP] are left out there: use tokens='all'." if tokens == "text" else ""
        raise AttnlabError(f"{measure!r} was not measured with tokens={tokens!r}, by={by!r}.{why}")
    return values


def _label(measure: str, value: str = "mean", change: bool = False) -> str:
    name = label_of(measure, bounded=not change and value not in ("slope", "std"))
    name = name if value == "mean" else f"{name}, {VALUES[value]}"
    return f"change of {name}" if change else name


def _draw_dial(axes: Axes, overall: float, reference: float | None) -> None:
    """Half a ring, filled as far as the overall figure goes; a mark where the reference stands."""
    axes.add_patch(Wedge((0, 0), 1, 0, 180, fc="0.88", width=0.26, lw=0))
    filled = 180 * (1 - overall)
    axes.add_patch(Wedge((0, 0), 1, filled, 180, fc=RUN_COLOURS[0], width=0.26, lw=0))
    axes.text(0, 0.02, f"{overall:.2f}", ha="center", va="bottom", fontsize=20, weight="bold")
    axes.text(0, 1.1, "overall balance", ha="center", va="bottom", fontsize=10)
    for end, text in ((-0.87, "0"), (0.87, "1")):
        axes.text(end, -0.05, text, ha="center", va="top", fontsize=9)
    if reference is not None:
        turn = math.pi * (1 - reference)
        inner, outer = ((r * math.cos(turn), r * math.sin(turn)) for r in (0.68, 1.06))
        axes.plot(*zip(inner, outer, strict=True), color="black", linewidth=2)
        axes.text(0, -0.05, f"mark: {reference:.2f}", ha="center", va="top", fontsize=9)
    axes.set(xlim=(-1.15, 1.15), ylim=(-0.3, 1.35), aspect="equal")
    axes.set_axis_off()


def _draw_parts(axes: Axes, b: Balance, reference: Balance | None) -> None:
    """The two parts as bars from 0 to 1."""
    labels = {"tokens": "evenness over tokens", "heads": "evenness over heads"}
    for row, (name, label) in enumerate(labels.items()):
        share = b.parts[name]
        axes.barh(row, 1, height=0.34, color="0.88")
        axes.barh(row, share, height=0.34, color=RUN_COLOURS[0])
        axes.text(0, row - 0.24, label, va="bottom", fontsize=9)
        axes.text(1, row - 0.24, f"{share:.2f}", va="bottom", ha="right", fontsize=9, weight="bold")
        if reference is not None:
            axes.plot([reference.parts[name]] * 2, [row - 0.24, row + 0.24], "k", linewidth=2)
    axes.set(xlim=(0, 1), ylim=(1.45, -0.75))
    axes.set_axis_off()


def _draw_change(axes: Axes, change: np.ndarray, label: str) -> None:
    """The change of every head, colours centred at 0."""
    limit = float(np.nanmax(np.abs(change))) or 1.0
    _draw_heads(axes, change, (-limit, limit), label)
    axes.set_title("change: this model minus the reference", loc="left", fontsize=10)


def _draw_heads(axes: Axes, values: np.ndarray, limits: tuple[float, float], label: str) -> None:
    """Layers down, heads across; heads that are not there are hatched."""
    signed, heads, decimals = limits[0] < 0, values.shape[1], decimals_between(limits)
    axes.set_facecolor("white")
    for row, column in np.argwhere(~np.isfinite(values)):
        axes.add_patch(Rectangle((column, row), 1, 1, fc="white", ec="0.6", hatch="////", lw=0))
    heatmap(
        values,
        axes,
        cmap="vlag" if signed else "cividis",
        vmin=limits[0],
        vmax=limits[1],
        mask=~np.isfinite(values),
        annot=values.size <= 288 and heads <= 16,
        fmt=f"+.{decimals}f" if signed else f".{decimals}f",
        annot_kws={"size": 9 if heads <= 12 else 7},
        linewidths=0.5,
        cbar_kws={"label": folded(label, 30), "pad": 0.015},
    )
    axes.set(xlabel="head", ylabel="layer")
    axes.tick_params(axis="y", rotation=0)


def _described(
    b: Balance,
    reference: Balance | None,
    now: np.ndarray,
    before: np.ndarray | None,
    label: str,
) -> str:
    """Alt text: the overall figure, its parts, and where the map is lowest and highest."""
    alt = (
        f"Overall balance {b.overall:.2f} of 1: {b.parts['tokens']:.2f} over tokens, "
        f"{b.parts['heads']:.2f} over heads, on {b.texts:,} texts. Map of {label}, "
        f"{now.shape[0]} layers by {now.shape[1]} heads: {extremes(now)}."
    )
    if reference is not None and before is not None:
        alt += (
            f" The reference has {reference.overall:.2f}. Change from it: "
            f"{extremes(now - before, '+.2f')}, mean {rounded(np.nanmean(now - before), '+.2f')}."
        )
    missing = int((~np.isfinite(now)).sum())
    if not missing:
        return alt
    return f"{alt} {missing} head{' is' if missing == 1 else 's are'} removed."
