"""Pictures of compressed models: what each costs and gives, and a model drawn to scale."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from attnlab.compression.describing import PARTS
from attnlab.errors import AttnlabError
from attnlab.show.plots.learning import RUN_COLOURS
from attnlab.show.plots.picture import HALO, Picture, ink_on, need, style
from attnlab.show.wording import counted, folded, number, plain

_LARGEST = 900.0  # area of the largest model, square points
_FULL = 0.99  # share of weights that are not 0, above which zeros are too few to draw
_PAPER = {  # parts beside each other differ in lightness too
    "word embeddings": "#d5cdb8",
    "other embeddings": "#8f8468",
    "attention": "#1f5fa8",
    "feed-forward": "#f2b654",
    "norms": "#1b1b24",
    "pooler and classifier": "#2f9e78",
}


# ── accuracy against time ──────────────────────────────────────────────────────────────────────


def compression_frontier(table: pd.DataFrame) -> Picture:
    """Draw accuracy against milliseconds for one text, a circle per model with its size as area.

    Parameters
    ----------
    table : of `compression.compare`, or several of them, one below the other (``pd.concat``), from
        one machine. Bars are 95 % intervals of each model alone.

    A model is on the frontier, and filled, if no other is both quicker and better.

    As in Tunstall et al. 2022 (*Natural Language Processing with Transformers*), chapter 8, with
    intervals.
    """
    columns = ("name", "accuracy", "ci_low", "ci_high", "ms_batch_1", "megabytes")
    need(table, columns, "compression.compare")
    table = table.reset_index(drop=True)
    unknown = ~np.isfinite(table[["accuracy", "ms_batch_1"]].to_numpy(float)).all(axis=1)
    if unknown.any() or (table["ms_batch_1"] <= 0).any():
        names = ", ".join(table["name"][unknown | (table["ms_batch_1"] <= 0)].astype(str))
        raise AttnlabError(f"No accuracy or no time is known of: {names}. Leave these rows out.")
    best = on_frontier(table)
    with style():
        figure, axes = plt.subplots(figsize=(8.6, 5.2), layout="constrained")
        _draw_frontier(axes, table[best].sort_values("ms_batch_1"))
        circles = _draw_models(axes, table, best)
        _set_limits(axes, table)
        _add_sizes(axes, table)
        axes.set(xlabel="milliseconds for one text", ylabel="accuracy, %")
        axes.grid(axis="y", color="0.93")
        axes.set_axisbelow(True)
        sns.despine(figure)
        figure.canvas.draw()
        figure.set_layout_engine("none")  # what is placed now must not move any more
        _name_apart(axes, table, circles, [_label(row) for row in table.itertuples()])
    return Picture(figure, _describe_frontier(table, best))


def on_frontier(table: pd.DataFrame) -> np.ndarray:
    """Which models no other beats: none is as quick and as good, and one of both is better.

    Returns
    -------
    bool array (N,)

    >>> table = pd.DataFrame({"accuracy": [0.9, 0.8, 0.7], "ms_batch_1": [9.0, 2.0, 3.0]})
    >>> on_frontier(table).tolist()
    [True, True, False]
    """
    good, slow = table["accuracy"].to_numpy(float), table["ms_batch_1"].to_numpy(float)
    as_good = (good[None] >= good[:, None]) & (slow[None] <= slow[:, None])
    better = (good[None] > good[:, None]) | (slow[None] < slow[:, None])
    return ~(as_good & better).any(axis=1)


def _label(row: Any) -> str:
    size = f", {_megabytes(row.megabytes)}" if math.isfinite(row.megabytes) else ""
    return f"{plain(str(row.name))}{size}"


def _megabytes(size: float) -> str:
    return f"{number(size, 0 if size >= 9.95 else 1)} MB"


def _area(megabytes: np.ndarray, largest: float) -> np.ndarray:
    """Areas of circles, in square points; of an unknown size a small one."""
    return np.where(np.isfinite(megabytes), _LARGEST * megabytes / largest, 30.0)


def _largest(table: pd.DataFrame) -> float:
    sizes = table["megabytes"].to_numpy(float)
    return float(np.nanmax(sizes)) if np.isfinite(sizes).any() else 1.0


def _draw_frontier(axes: Axes, best: pd.DataFrame) -> None:
    """The edge of what can be had: as quick as this, no model is better."""
    axes.step(
        best["ms_batch_1"],
        100 * best["accuracy"],
        where="post",
        color=RUN_COLOURS[0],
        alpha=0.45,
        linewidth=1.5,
        zorder=1,
        label="frontier",
    )


def _draw_models(axes: Axes, table: pd.DataFrame, best: np.ndarray) -> PathCollection:
    accuracy, place = 100 * table["accuracy"], table["ms_batch_1"]
    colours = [RUN_COLOURS[0] if first else "0.45" for first in best]
    axes.vlines(
        place, 100 * table["ci_low"], 100 * table["ci_high"], colors=colours, lw=1, zorder=2
    )
    known = np.isfinite(table["megabytes"].to_numpy(float))
    fills = [
        (*to_rgb(RUN_COLOURS[0]), 0.35) if first and sized else (1, 1, 1, 0.6)
        for first, sized in zip(best, known, strict=True)
    ]
    return axes.scatter(
        place,
        accuracy,
        s=_area(table["megabytes"].to_numpy(float), _largest(table)),
        facecolors=fills,
        edgecolors=colours,
        linewidths=1.3,
        zorder=3,
    )


def _set_limits(axes: Axes, table: pd.DataFrame) -> None:
    """Room for names around the points; a logarithmic axis with plain numbers."""
    slow = table["ms_batch_1"].to_numpy(float)
    room = max((slow.max() / slow.min()) ** 0.17, 1.3)
    axes.set_xscale("log")
    axes.set_xlim(slow.min() / room, slow.max() * room)
    low, high = axes.get_xlim()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    if len(ticks) < 3:
        ticks = [tick for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    bottom, top = 100 * table["ci_low"].min(), 100 * table["ci_high"].max()
    margin = max(0.08 * (top - bottom), 0.5)
    axes.set_ylim(bottom - margin, min(top + margin, 101.5))


def _add_sizes(axes: Axes, table: pd.DataFrame) -> None:
    """What the areas mean, and the colours."""
    largest = _largest(table)
    known = table["megabytes"].dropna()
    shown = sorted({float(known.max()), float(known.min())}) if len(known) else []
    entries: list[Any] = [
        Line2D(
            [], [], color=RUN_COLOURS[0], alpha=0.6, label="frontier: none is quicker and better"
        )
    ]
    for size in shown:
        points = math.sqrt(float(_area(np.array(size), largest)))
        looks: dict[str, Any] = {"marker": "o", "linestyle": "none", "color": "0.45"}
        entries.append(
            Line2D([], [], markersize=points, fillstyle="none", label=_megabytes(size), **looks)
        )
    axes.legend(
        handles=entries,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=3,
        frameon=False,
        fontsize=9,
        columnspacing=2.0,
        handlelength=3.4,  # as wide as the largest circle
        borderpad=0.9,
    )


def _name_apart(
    axes: Axes, table: pd.DataFrame, circles: PathCollection, names: Sequence[str]
) -> None:
    """Write a name next to each point, so that it covers no other name, no circle and no bar.

    Places around a point are tried from the nearest outwards; where none is free, the one that
    covers least is taken. A name that is not beside its point gets a line to it.
    """
    points = 72 / axes.figure.dpi
    middles = axes.transData.transform(circles.get_offsets())
    radii = np.sqrt(circles.get_sizes()) / 2 / points
    taken = [
        Bbox([middle - radius, middle + radius])
        for middle, radius in zip(middles, radii, strict=True)
    ]
    for middle, row in zip(middles, table.itertuples(), strict=True):
        ends = axes.transData.transform([(row.ms_batch_1, 100 * row.ci_low)] * 2)
        ends[1] = axes.transData.transform((row.ms_batch_1, 100 * row.ci_high))
        taken.append(Bbox([(middle[0] - 2, ends[0][1]), (middle[0] + 2, ends[1][1])]))
    crowded = np.argsort([-_nearby(middles, index) for index in range(len(names))], kind="stable")
    for index in crowded:
        note = axes.annotate(
            names[index],
            (table["ms_batch_1"][index], 100 * table["accuracy"][index]),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            path_effects=[HALO],
            zorder=5,
        )
        box = note.get_window_extent()
        size = np.array([box.width, box.height])
        tried = _places(middles[index], radii[index], size)
        boxes = [Bbox([place - size / 2, place + size / 2]) for place in tried]
        costs = [_covered(box, taken, axes.bbox) for box in boxes]
        chosen = int(np.argmin(costs))  # the first of the best, so the nearest
        taken.append(boxes[chosen].padded(1))
        shift = (tried[chosen] - middles[index]) * points
        _move(note, axes, shift, radii[index] * points if chosen >= 8 else None)


def _move(note: Annotation, axes: Axes, shift: np.ndarray, radius: float | None) -> None:
    """Put a name in its place; with a radius it gets a line to the edge of its circle."""
    note.set_position(tuple(shift))
    if radius is not None:
        note.remove()
        axes.annotate(
            note.get_text(),
            note.xy,
            xytext=tuple(shift),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            path_effects=[HALO],
            zorder=5,
            arrowprops={
                "arrowstyle": "-",
                "color": "0.6",
                "linewidth": 0.8,
                "shrinkA": 0,
                "shrinkB": radius,
            },
        )


def _nearby(middles: np.ndarray, index: int) -> int:
    """How many points are close to this one: those in a crowd choose their places first."""
    return int((np.abs(middles - middles[index]).max(axis=1) < 90).sum())


def _places(middle: np.ndarray, radius: float, size: np.ndarray) -> list[np.ndarray]:
    """Where the middle of a name may be: eight directions, ring by ring outwards."""
    directions = [(1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1)]
    found = []
    for gap in (5, 18, 34, 52, 74, 100, 130):
        for across, up in directions:
            diagonal = 0.75 if across and up else 1.0
            reach = np.array([across, up]) * (diagonal * radius + gap + size / 2)
            if across and up:
                reach[0] = across * (diagonal * radius + gap / 2 + size[0] / 2)
            found.append(middle + reach)
    return found


def _covered(box: Bbox, taken: Sequence[Bbox], page: Bbox) -> float:
    """How much a name here would cover, in pixels; much more where it leaves the axes."""
    covered = sum(_overlap(box, other) for other in taken)
    outside = box.width * box.height - _overlap(box, page)
    return covered + 100 * outside


def _overlap(one: Bbox, other: Bbox) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(width, 0) * max(height, 0)


def _describe_frontier(table: pd.DataFrame, best: np.ndarray) -> str:
    told = [
        f"{row.name} {row.accuracy:.1%} in {number(row.ms_batch_1, 1)} ms"
        + (f" with {_megabytes(row.megabytes)}" if math.isfinite(row.megabytes) else "")
        for row in table[best].sort_values("ms_batch_1").itertuples()
    ]
    return (
        f"Accuracy against milliseconds for one text of {counted(len(table), 'model')}. On the "
        f"frontier: {'; '.join(told)}."
    )


# ── a model drawn to scale ─────────────────────────────────────────────────────────────────────


def weights_by_part(parts: pd.DataFrame | Mapping[str, pd.DataFrame]) -> Picture:
    """Draw a model to scale, or several beside each other: a weight takes the same area everywhere.

    Parameters
    ----------
    parts : of `compression.describe`, or a name for each of several

    From the bottom up: embeddings, layers, what answers. What is hatched are zeros.
    """
    models = {"": parts} if isinstance(parts, pd.DataFrame) else dict(parts)
    if not models:
        raise AttnlabError("There is no model to draw. Pass what compression.describe returns.")
    for each in models.values():
        need(each, ("part", "layer", "parameters", "nonzero"), "compression.describe")
    totals = {name: int(each["parameters"].sum()) for name, each in models.items()}
    with style():
        figure, axes = plt.subplots(figsize=(2.6 + 2.9 * len(models), 5.4), layout="constrained")
        for place, (name, each) in enumerate(models.items()):
            _draw_model(axes, each, 1.35 * place, max(totals.values()))
            height = totals[name] / max(totals.values())
            title = f"{folded(plain(name, 44), 22)}\n" if name else ""
            axes.annotate(
                f"{title}{_count(totals[name])} parameters",
                (1.35 * place + 0.5, height),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
            )
        axes.set(xlim=(-0.3, 1.35 * len(models) - 0.3), ylim=(0, 1.12))
        axes.axis("off")
        _add_legend(axes, models)
    return Picture(figure, _describe_models(models, totals))


def _draw_model(axes: Axes, parts: pd.DataFrame, left: float, largest: int) -> None:
    """One model, as wide as any and as high as it has parameters: rows, a layer in each."""
    bottom = 0.0
    for layer, row in _rows(parts):
        height, place = row["parameters"].sum() / largest, left
        for part in row.itertuples():
            width = part.parameters / row["parameters"].sum()
            kept = part.nonzero / part.parameters if part.parameters else 1.0
            _draw_part(axes, part, (place, bottom, width, height), kept)
            place += width
        if layer is not None and height > 0.022:
            axes.text(
                left - 0.03, bottom + height / 2, f"layer {layer}", ha="right", va="center", size=8
            )
        bottom += height


def _rows(parts: pd.DataFrame) -> list[tuple[int | None, pd.DataFrame]]:
    """What stands in one row: the parts of a layer, or one part outside of the layers."""
    keys = [
        (None if pd.isna(layer) else int(layer), part if pd.isna(layer) else "")
        for part, layer in zip(parts["part"], parts["layer"], strict=True)
    ]
    grouped = itertools.groupby(range(len(parts)), key=lambda index: keys[index])
    return [(layer, parts.iloc[list(indices)]) for (layer, _), indices in grouped]


def _draw_part(axes: Axes, part: Any, box: tuple[float, float, float, float], kept: float) -> None:
    left, bottom, width, height = box
    colour = _PAPER.get(part.part, "0.7")
    axes.add_patch(Rectangle((left, bottom), width, height, fc=colour, ec="white", lw=0.8))
    if kept < _FULL:
        gone: dict[str, Any] = {"fc": "white", "ec": colour, "hatch": "////", "lw": 0.8}
        axes.add_patch(Rectangle((left + kept * width, bottom), (1 - kept) * width, height, **gone))
    text = f"{part.part} {_count(part.parameters)}"
    room = kept * width * 200  # points, about: a model is as wide as that
    if height * 330 > 11 and len(text) * 5.2 > room:
        text = _count(part.parameters)
    if height * 330 > 11 and len(text) * 5.2 <= room:
        middle = (left + kept * width / 2, bottom + height / 2)
        axes.text(*middle, text, ha="center", va="center", size=8.5, color=ink_on(colour))


def _count(parameters: float) -> str:
    """A number of parameters in words: 22.7 M, 590 k, 12."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if parameters >= 0.9995 * size:
            value = parameters / size
            return f"{number(value, 0 if value >= 99.95 else 1 if value >= 9.995 else 2)} {unit}"
    return f"{parameters:.0f}"


def _add_legend(axes: Axes, models: Mapping[str, pd.DataFrame]) -> None:
    """Parts from the top down, as they are drawn, with their shares where there is one model."""
    whole = pd.concat(models.values())
    sums = whole.groupby("part")["parameters"].sum()
    entries = []
    for part in [name for name in reversed(PARTS) if name in sums.index]:
        percent = 100 * sums[part] / sums.sum()
        share = f"{percent:.1f} %" if percent >= 0.1 else "below 0.1 %"
        label = f"{part}, {share}" if len(models) == 1 else part
        entries.append(Patch(fc=_PAPER[part], label=label))
    if (whole["nonzero"] < _FULL * whole["parameters"]).any():
        entries.append(Patch(fc="white", ec="0.4", hatch="////", label="zeros"))
    axes.legend(
        handles=entries, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9
    )


def _describe_models(models: Mapping[str, pd.DataFrame], totals: Mapping[str, int]) -> str:
    told = []
    for name, parts in models.items():
        sums = parts.groupby("part")["parameters"].sum().sort_values(ascending=False)
        seen = sums[sums >= 0.0005 * totals[name]]
        shares = ", ".join(f"{part} {count / totals[name]:.1%}" for part, count in seen.items())
        zeros = 1 - parts["nonzero"].sum() / totals[name]
        empty = f"; {zeros:.0%} of the weights are 0" if zeros >= 0.005 else ""
        who = f"{name}: " if name else "A model of "
        told.append(f"{who}{_count(totals[name])} parameters, drawn to scale: {shares}{empty}.")
    return " ".join(told)
