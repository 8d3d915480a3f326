"""Pictures of heads over the steps of a training: what was recorded, and what was out of line."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from attnlab.balance.control_chart import bands
from attnlab.balance.reading import MEASURES
from attnlab.errors import AttnlabError, suggest
from attnlab.show.plots.learning import RUN_COLOURS, RUN_DASHES
from attnlab.show.plots.picture import Picture, need, style
from attnlab.show.wording import UNBOUNDED, counted, episode_in_words, folded, head_name, short

KIND_COLOURS = {
    "collapse": "#e06000",
    "spread": "#1f5fa8",
    "jump": "#8f1fff",
    "dead gradient": "#00795c",
    "no effect": "#6b5a00",
}
EPISODE_COLUMNS = ("layer", "head", "kind", "start", "end", "strength", "measure")
_MOST_SPANS = 6  # heads


# ── episodes ───────────────────────────────────────────────────────────────────────────────────


def episodes(table: pd.DataFrame, found: pd.DataFrame, most: int = 6) -> Picture:
    """Draw the heads that left their band longest and farthest, with the band they were judged by.

    Parameters
    ----------
    table : of a `balance.Recorder`
    found : of `balance.episodes`
    most : how many of the strongest to draw

    The line is the measure, the grey band where it was expected, and the coloured span when it was
    outside.
    """
    need(found, EPISODE_COLUMNS, "balance.episodes", rows=False)
    strongest = found.assign(size=found["strength"].abs()).nlargest(most, "size", keep="all")[:most]
    columns = 2 if len(strongest) > 1 else 1
    rows = max(-(-len(strongest) // columns), 1)
    with style():
        size = (4.7 * columns if columns > 1 else 6.4, 2.1 * rows + 0.5)
        figure, grid = plt.subplots(
            rows, columns, figsize=size, layout="constrained", squeeze=False
        )
        panels = list(grid.flat)
        for axes in panels[len(strongest) :]:
            axes.set_axis_off()
        for axes, episode in zip(panels, strongest.itertuples(), strict=False):
            draw_episode(axes, table, episode)
        for axes in panels[max(len(strongest) - columns, 0) : len(strongest)]:
            axes.set_xlabel("step")
        if strongest.empty:
            panels[0].text(0.5, 0.5, "No head left its band.", ha="center", va="center")
        else:
            _add_legend(figure, set(strongest["kind"]))
        sns.despine(figure)
    if found.empty:
        return Picture(figure, "No anomalies over time: no head left its band.")
    count = len(found)
    which = f"the {len(strongest)} strongest of {count}" if count > len(strongest) else f"{count}"
    told = "; ".join(episode_in_words(episode) for episode in strongest.itertuples())
    return Picture(figure, f"Anomalies over training steps, {which}: {told}.")


def _add_legend(figure: Figure, drawn: set[str]) -> None:
    """What line, band and spans stand for, above the panels."""
    spans = [
        Patch(fc=colour, alpha=0.25, label=f"outside: {kind}")
        for kind, colour in KIND_COLOURS.items()
        if kind in drawn
    ]
    handles = [
        Line2D([], [], color="black", marker="o", markersize=3, label="measured"),
        Patch(fc="0.85", label="expected"),
        *spans,
    ]
    figure.legend(handles=handles, frameon=False, ncols=6, loc="outside upper left", fontsize=9)


def draw_episode(axes: Axes, table: pd.DataFrame, episode: Any) -> None:
    """Draw a head's measure over steps, its band, and the span of one row of `balance.episodes`."""
    band = bands(table, int(episode.layer), int(episode.head), episode.measure)
    step = band["step"].to_numpy(float)
    colour = KIND_COLOURS.get(episode.kind, "0.3")
    axes.axvspan(*_span(episode, step), color=colour, alpha=0.16, lw=0)
    axes.fill_between(step, band["low"], band["high"], color="0.85", lw=0)
    marker = "o" if len(step) <= 60 else ""
    axes.plot(step, band["value"], color="black", linewidth=1.6, marker=marker, markersize=2.5)
    title = f"{head_name(episode)}: {episode.kind}"
    axes.set_title(title, loc="left", fontsize=10, color=colour)
    axes.set_ylabel(short(episode.measure), fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if episode.measure == "gradient":
        axes.set_yscale("log")
        return
    # a wide band must not press the line flat
    low, high = band["value"].min(), band["value"].max()
    room = 0.35 * (high - low) or 0.1
    top = math.inf if episode.measure in UNBOUNDED else 1.05
    axes.set_ylim(max(low - room, -0.02), min(high + room, top))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _span(episode: Any, steps: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Where an episode begins and ends on the step axis, half a measurement around its steps."""
    half = float(np.median(np.diff(steps))) / 2 if len(steps) > 1 else 0.5
    end = episode.end - half if math.isfinite(episode.end) else steps[-1] + half
    return episode.start - half, end


# ── a whole recording ──────────────────────────────────────────────────────────────────────────


def recording(
    table: pd.DataFrame,
    measure: str = "entropy",
    found: pd.DataFrame | None = None,
    heads: Sequence[tuple[int, int]] = (),
    overall: pd.DataFrame | None = None,
    layer: int | None = None,
) -> Picture:
    """Draw a measure of every head over the steps of a training, and what was out of line when.

    Parameters
    ----------
    table : of a `balance.Recorder`
    measure : one of those recorded
    found : of `balance.episodes`: spans below the lines, a row per head, the strongest six heads of
        this table
    heads : those to draw strong, at most six; all others are faint
    overall : of the Recorder: adds the balance of the whole model
    layer : only the heads of this one
    """
    lines = _over_steps(table, measure, layer)
    found = None if found is None or found.empty else found
    heights = [3.2, *([0.9] if found is not None else []), *([0.9] if overall is not None else [])]
    with style():
        figure, grid = plt.subplots(
            len(heights),
            1,
            figsize=(9.4, 0.6 + sum(heights)),
            height_ratios=heights,
            layout="constrained",
            sharex=True,
            squeeze=False,
        )
        panels = list(grid[:, 0])
        _draw_lines(panels[0], lines, measure, heads)
        if found is not None:
            _draw_spans(panels[1], found, lines.index)
        if overall is not None:
            _draw_overall(panels[-1], overall)
        panels[-1].set_xlabel("step")
        panels[-1].xaxis.set_major_locator(MaxNLocator(10, integer=True))
        sns.despine(figure)
    return Picture(figure, _describe_recording(lines, measure, found, overall))


def _over_steps(table: pd.DataFrame, measure: str, layer: int | None) -> pd.DataFrame:
    """One measure: a row for each step, a column for each (layer, head)."""
    known = list(dict.fromkeys(table["measure"]))
    if measure not in known:
        raise AttnlabError(f"{measure!r} was not recorded. {suggest(measure, known)}")
    rows = table[table["measure"] == measure]
    if layer is not None:
        rows = rows[rows["layer"] == layer]
    return rows.pivot(index="step", columns=["layer", "head"], values="value")


def _draw_lines(
    axes: Axes, lines: pd.DataFrame, measure: str, heads: Sequence[tuple[int, int]]
) -> None:
    """A faint line for every head, and strong ones for those chosen."""
    strong = [tuple(head) for head in heads][: len(RUN_COLOURS)]
    faint = [head for head in lines if head not in strong]
    axes.plot(lines.index, lines[faint], color="0.55", linewidth=0.7, alpha=0.5)
    for (layer, head), colour, dashes in zip(strong, RUN_COLOURS, RUN_DASHES, strict=False):
        axes.plot(
            lines.index,
            lines[layer, head],
            color=colour,
            linestyle=(0, dashes) if dashes else "-",
            linewidth=2,
            label=f"L{layer}H{head}",
        )
    if strong:
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=6, fontsize=9)
    if measure == "gradient":
        axes.set_yscale("log")
    axes.set_ylabel(folded(MEASURES.get(measure, short(measure)), 30))


def _draw_spans(axes: Axes, found: pd.DataFrame, steps: pd.Index) -> None:
    """When the heads that were strongest out of line were so: a row per head."""
    strongest = found.groupby(["layer", "head"])["strength"].max()
    order = strongest.nlargest(_MOST_SPANS).index
    drawn = set()
    for row, (layer, head) in enumerate(order):
        for episode in found[(found["layer"] == layer) & (found["head"] == head)].itertuples():
            kind = str(episode.kind)
            start, end = _span(episode, steps)
            axes.barh(row, end - start, left=start, height=0.8, color=KIND_COLOURS[kind])
            drawn.add(kind)
    axes.set_yticks(range(len(order)), [f"L{layer}H{head}" for layer, head in order], fontsize=8)
    axes.set(ylim=(len(order) - 0.4, -0.6))
    axes.legend(
        handles=[
            Patch(fc=KIND_COLOURS[kind], label=kind) for kind in KIND_COLOURS if kind in drawn
        ],
        title=_some_of(len(order), len(strongest)),
        title_fontsize=9,
        alignment="left",
        frameon=False,
        fontsize=9,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.2),
    )


def _some_of(shown: int, heads: int) -> str:
    """How many of the heads that left their band are drawn."""
    if shown < heads:
        return f"the strongest {shown}\nof {heads} heads"
    return counted(heads, "head")


def _draw_overall(axes: Axes, overall: pd.DataFrame) -> None:
    """The balance of the whole model; two runs side by side must not differ by their axes."""
    axes.plot(overall["step"], overall["balance"], color=RUN_COLOURS[0], linewidth=2)
    axes.set_ylabel("balance")
    low = 0.5 if overall["balance"].min() >= 0.5 else 0.0
    axes.set(ylim=(low, 1), yticks=[low, (1 + low) / 2, 1])


def _describe_recording(
    lines: pd.DataFrame, measure: str, found: pd.DataFrame | None, overall: pd.DataFrame | None
) -> str:
    """Alt text: where the measure went, the overall balance, and the strongest episode."""
    steps = lines.index
    alt = (
        f"{short(measure)} of {lines.shape[1]} heads over training, steps {steps[0]} to "
        f"{steps[-1]}: mean {np.nanmean(lines.iloc[0]):.2f} at first, "
        f"{np.nanmean(lines.iloc[-1]):.2f} at last."
    )
    if overall is not None and len(overall):
        ends = overall["balance"].iloc[[0, -1]]
        alt += f" Overall balance from {ends.iloc[0]:.2f} to {ends.iloc[1]:.2f}."
    if found is not None:
        strongest = next(found.nlargest(1, "strength").itertuples())
        heads = counted(len(found.groupby(["layer", "head"])), "head")
        episodes = counted(len(found), "anomaly", "anomalies")
        alt += f" {episodes} of {heads}, the strongest: {episode_in_words(strongest)}."
    return alt
