"""Pictures of balance: how evenly heads attend, what is out of line, and what the tuner made of it."""

import base64
import html
import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle, Wedge
from matplotlib.ticker import MaxNLocator

from attnlab.balance.anomalies import Clusters, bands
from attnlab.balance.meter import MEASURES, Balance, Similarity
from attnlab.classification.classifier import Classifier
from attnlab.errors import AttnlabError, suggest
from attnlab.heads.maps import AttentionMaps
from attnlab.show.plots.learning import RUN_COLOURS, RUN_DASHES, RUN_MARKERS
from attnlab.show.plots.maps import readable
from attnlab.show.plots.picture import HALO, Picture, plain, style

UNBOUNDED = ("keys", "distance", "contribution", "gradient")
BOUNDED = ("entropy", "largest", "gini")  # drawn from 0 to 1, whatever the numbers are
VALUES = {
    "mean": "mean over texts",
    "std": "standard deviation over texts",
    "adjusted": "at a text of 16 keys",
    "slope": "change per doubling of length",
}
TOKENS = {"text": "without special tokens", "all": "all tokens"}
BY = {"weights": "weights", "contributions": "contributions"}
SHORT = {
    "entropy": "entropy share",
    "keys": "effective keys",
    "largest": "largest share",
    "gini": "Gini received",
    "cls": "on [CLS]",
    "sep": "on [SEP]",
    "punctuation": "on punctuation",
    "self": "on itself",
    "previous": "on previous",
    "next": "on next",
    "distance": "distance",
    "js_uniform": "from uniform",
    "js_average": "from average",
    "js_before": "from before",
    "contribution": "contribution",
    "gradient": "gradient",
}
KIND_COLOURS = {
    "collapse": "#e06000",
    "spread": "#1f5fa8",
    "jump": "#8f1fff",
    "dead gradient": "#00795c",
}
_BLUE, _ORANGE, _GREEN = RUN_COLOURS[0], RUN_COLOURS[1], RUN_COLOURS[3]


# ── the meter ──────────────────────────────────────────────────────────────────────────────────


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
    reference : another model's Balance, measured on the same texts; its overall figure is marked, and the change
        from it is drawn below, ``b`` minus ``reference``
    value : "mean", "std", "adjusted" or "slope" of the measure over the texts

    Heads that were removed are hatched.
    """
    now = _map_of(b, measure, tokens, by, value)
    before = None
    if reference is not None:
        before = _map_of(reference, measure, tokens, by, value)
        if before.shape != now.shape:
            raise AttnlabError(
                f"The reference has {before.shape[0]} layers of {before.shape[1]} heads, this model "
                f"{now.shape[0]} of {now.shape[1]}. Compare models of one size."
            )
    maps = 1 if before is None else 2
    high = max(0.9 + 0.36 * len(now), 1.5)
    with style():
        figure = plt.figure(figsize=(9.4, maps * high + 0.5), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.1)
        grid = figure.add_gridspec(1, 2, width_ratios=(1.9, 7))
        right = grid[1].subgridspec(maps, 1)
        left = grid[0].subgridspec(3 if maps == 2 else 2, 1, height_ratios=(1.5, 1, 1)[: maps + 1])
        _draw_dial(figure.add_subplot(left[0]), b.overall, reference and reference.overall)
        _draw_parts(figure.add_subplot(left[1]), b, reference)
        limits = limits_of(measure, value, now, before)
        _draw_heads(figure.add_subplot(right[0]), now, limits, _label(measure, value))
        about = f"{TOKENS[tokens]}, {BY[by]}"
        name = "" if before is None else "this model: "
        figure.axes[-2].set_title(f"{name}{about}", loc="left", fontsize=10)
        if before is not None:
            change = now - before
            limit = float(np.nanmax(np.abs(change))) or 1.0
            axes = figure.add_subplot(right[1])
            _draw_heads(axes, change, (-limit, limit), f"change of {_label(measure, value)}", True)
            axes.set_title("change: this model minus the reference", loc="left", fontsize=10)
    return Picture(figure, _describe_balance(b, reference, now, before, _label(measure, value)))


def limits_of(
    measure: str, value: str, values: np.ndarray, other: np.ndarray | None = None
) -> tuple[float, float]:
    """Ends of the colours for a measure: 0 to 1 where it is bounded so, about 0 where it has a sign."""
    both = values if other is None else np.stack([values, other])
    largest = float(np.nanmax(np.abs(both))) if np.isfinite(both).any() else 1.0
    if value == "slope":
        return -(largest or 1.0), largest or 1.0
    if value != "std" and measure in BOUNDED:
        return 0.0, 1.0
    return 0.0, largest or 1.0


def digits_of(limits: tuple[float, float]) -> int:
    """How many digits after the point tell numbers between these limits apart."""
    largest = max(abs(one) for one in limits)
    return 1 if largest >= 3 else 2 if largest >= 0.1 else 3


def _map_of(b: Balance, measure: str, tokens: str, by: str, value: str) -> np.ndarray:
    """The measure (L, H) as an array, or an AttnlabError that names what there is."""
    known = sorted(set(b.table["measure"]))
    for name, given, there in (
        ("measure", measure, known),
        ("tokens", tokens, ("all", "text")),
        ("by", by, ("weights", "contributions")),
        ("value", value, tuple(VALUES)),
    ):
        if given not in there:
            raise AttnlabError(f"There is no {name} {given!r}. {suggest(given, there)}")
    values = np.asarray(b.map(measure, tokens, by, value), dtype=float)
    if not np.isfinite(values).any():
        why = " [CLS] and [SEP] are left out there: use tokens='all'." if tokens == "text" else ""
        raise AttnlabError(f"{measure!r} was not measured with tokens={tokens!r}, by={by!r}.{why}")
    return values


def _label(measure: str, value: str = "mean") -> str:
    name = MEASURES.get(measure, measure.replace("_", " "))
    return name if value == "mean" else f"{name}, {VALUES[value]}"


def _draw_dial(axes: Axes, overall: float, reference: float | None) -> None:
    """Half a ring, filled as far as the overall figure goes; a mark where the reference stands."""
    ring = {"width": 0.26, "lw": 0}
    axes.add_patch(Wedge((0, 0), 1, 0, 180, fc="0.88", **ring))
    axes.add_patch(Wedge((0, 0), 1, 180 * (1 - overall), 180, fc=_BLUE, **ring))
    axes.text(0, 0.02, f"{overall:.2f}", ha="center", va="bottom", fontsize=20, weight="bold")
    axes.text(0, 1.1, "overall balance", ha="center", va="bottom", fontsize=10)
    for at, words in ((-0.87, "0"), (0.87, "1")):
        axes.text(at, -0.05, words, ha="center", va="top", fontsize=9)
    if reference is not None:
        turn = math.pi * (1 - reference)
        inner, outer = ((r * math.cos(turn), r * math.sin(turn)) for r in (0.68, 1.06))
        axes.plot(*zip(inner, outer, strict=True), color="black", linewidth=2)
        axes.text(0, -0.05, f"mark: {reference:.2f}", ha="center", va="top", fontsize=9)
    axes.set(xlim=(-1.15, 1.15), ylim=(-0.3, 1.35), aspect="equal")
    axes.set_axis_off()


def _draw_parts(axes: Axes, b: Balance, reference: Balance | None) -> None:
    """The two parts as bars from 0 to 1."""
    names = {"tokens": "evenness over tokens", "heads": "evenness over heads"}
    for place, (name, words) in enumerate(names.items()):
        share = b.parts[name]
        axes.barh(place, 1, height=0.34, color="0.88")
        axes.barh(place, share, height=0.34, color=_BLUE)
        axes.text(0, place - 0.24, words, va="bottom", fontsize=9)
        axes.text(
            1, place - 0.24, f"{share:.2f}", va="bottom", ha="right", fontsize=9, weight="bold"
        )
        if reference is not None:
            axes.plot([reference.parts[name]] * 2, [place - 0.24, place + 0.24], "k", linewidth=2)
    axes.set(xlim=(0, 1), ylim=(1.45, -0.75))
    axes.set_axis_off()


def _draw_heads(
    axes: Axes,
    values: np.ndarray,
    limits: tuple[float, float],
    label: str,
    signed: bool | None = None,
) -> None:
    """Layers down, heads across; heads that are not there are hatched."""
    signed = limits[0] < 0 if signed is None else signed
    heads = values.shape[1]
    axes.set_facecolor("white")
    for row, column in np.argwhere(~np.isfinite(values)):
        axes.add_patch(Rectangle((column, row), 1, 1, fc="white", ec="0.6", hatch="////", lw=0))
    digits = digits_of(limits)
    sns.heatmap(
        values,
        ax=axes,
        cmap="vlag" if signed else "cividis",
        vmin=limits[0],
        vmax=limits[1],
        mask=~np.isfinite(values),
        annot=values.size <= 288 and heads <= 16,
        fmt=f"+.{digits}f" if signed else f".{digits}f",
        annot_kws={"size": 9 if heads <= 12 else 7},
        linewidths=0.5,
        cbar_kws={"label": "\n".join(_folded(label, 30)), "pad": 0.015},
    )
    colours = axes.collections[0].get_facecolors()[np.isfinite(values).ravel()]
    for words, colour in zip(axes.texts, colours, strict=len(axes.texts) > 0):
        words.set_color("white" if _luminance(colour) < 0.179 else "black")
        words.set_text(words.get_text().replace("-", "−"))
    axes.set(xlabel="head", ylabel="layer")
    axes.tick_params(axis="y", rotation=0)


def _luminance(colour: np.ndarray) -> float:
    """Relative luminance; below 0.179 white has more contrast on it than black (WCAG 2.1)."""
    shares = colour[:3]
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _folded(words: str, width: int) -> list[str]:
    """Words in lines of about this many letters."""
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _describe_balance(
    b: Balance,
    reference: Balance | None,
    now: np.ndarray,
    before: np.ndarray | None,
    label: str,
) -> str:
    alt = (
        f"Overall balance {b.overall:.2f} of 1: {b.parts['tokens']:.2f} over tokens, {b.parts['heads']:.2f} over "
        f"heads, on {b.texts:,} texts. Map of {label}, {now.shape[0]} layers by {now.shape[1]} heads: "
        f"{extremes(now)}."
    )
    if before is not None:
        alt += (
            f" The reference has {reference.overall:.2f}. Change from it: {extremes(now - before, '+.2f')}, mean "
            f"{np.nanmean(now - before):+.2f}."
        )
    missing = int((~np.isfinite(now)).sum())
    if not missing:
        return alt
    return f"{alt} {missing} head{' is' if missing == 1 else 's are'} removed."


def extremes(values: np.ndarray, form: str = ".2f") -> str:
    """Where a map of heads is lowest and highest, in words."""
    low, high = (
        np.unravel_index(pick(values), values.shape) for pick in (np.nanargmin, np.nanargmax)
    )
    return (
        f"lowest {values[low]:{form}} at layer {low[0]} head {low[1]}, highest {values[high]:{form}} at layer "
        f"{high[0]} head {high[1]}"
    )


# ── between heads ──────────────────────────────────────────────────────────────────────────────


def similarity(sim: Similarity, which: Literal["js", "cka"] = "js") -> Picture:
    """Draw how alike every two heads are, layers ruled off.

    Parameters
    ----------
    sim : of `balance.similarity`
    which : "js", the Jensen-Shannon divergence of their weights in bits (0: they look alike), or "cka", the
        likeness of their contexts (1: the same up to rotation and size)
    """
    if which not in ("js", "cka"):
        raise AttnlabError(f"There is no similarity {which!r}. {suggest(which, ('js', 'cka'))}")
    values = np.array(getattr(sim, which), dtype=float)  # (P, P)
    places = [tuple(map(int, place)) for place in sim.places]
    layer = np.array([place[0] for place in places])
    ends = np.flatnonzero(np.diff(layer)) + 1
    starts = [0, *ends]
    apart = np.where(np.eye(len(values), dtype=bool), np.nan, values)
    label = "Jensen-Shannon divergence, bits" if which == "js" else "CKA of contexts"
    with style():
        figure, axes = plt.subplots(figsize=(6.9, 5.7), layout="constrained")
        sns.heatmap(
            apart,
            ax=axes,
            # light is alike in both
            cmap="cividis_r" if which == "js" else "cividis",
            vmin=0,
            vmax=float(np.nanmax(apart)) or 1.0,
            square=True,
            xticklabels=False,
            yticklabels=False,
            cbar_kws={"label": f"{label} (light: alike)", "pad": 0.02, "shrink": 0.85},
        )
        for end in ends:
            axes.axhline(end, color="white", linewidth=1.6)
            axes.axvline(end, color="white", linewidth=1.6)
        middles = [(a + b) / 2 for a, b in itertools.pairwise([*starts, len(values)])]
        names = [f"{one}" for one in layer[starts]]
        axes.set_xticks(middles, names)
        axes.set_yticks(middles, names, rotation=0)
        axes.set(xlabel="layer (its heads in order)", ylabel="layer (its heads in order)")
    pick = np.nanargmin if which == "js" else np.nanargmax
    a, b = np.unravel_index(pick(apart), apart.shape)
    alt = (
        f"Heat map of {label} between {len(values)} heads, mean {np.nanmean(apart):.2f}. Most alike: layer "
        f"{places[a][0]} head {places[a][1]} and layer {places[b][0]} head {places[b][1]}, {values[a, b]:.3f}."
    )
    return Picture(figure, alt)


def clusters(clusters: Clusters, clf: Classifier | None = None, text: str | None = None) -> Picture:
    """Draw heads where their measures put them: those that are near each other do alike.

    Parameters
    ----------
    clusters : of `balance.clusters`
    clf, text : both, to draw beside it how the most typical head of each cluster reads the text

    Named are the typical members, as in "L3 H8". The small panel is why there are so many clusters: the
    number with the highest silhouette is taken.
    """
    if (clf is None) != (text is None):
        raise AttnlabError("For maps of typical heads give both clf and text, or neither.")
    table = clusters.table
    groups = list(range(clusters.k))
    typical = table[table["typical"].astype(bool)].drop_duplicates("cluster").set_index("cluster")
    first = [tuple(map(int, typical.loc[group, ["layer", "head"]])) for group in groups]
    with style():
        wide = 0 if clf is None else 4.4
        figure = plt.figure(figsize=(6.2 + wide, 4.9), layout="constrained")
        parts = figure.add_gridspec(
            1, 2 if wide else 1, width_ratios=(6.2, 4.6)[: 2 if wide else 1]
        )
        left = parts[0].subgridspec(2, 1, height_ratios=(4.4, 1))
        _draw_clusters(figure.add_subplot(left[0]), clusters)
        _draw_silhouettes(figure.add_subplot(left[1]), clusters)
        if wide:
            maps = clf.attend(text)
            columns = 2 if len(groups) > 2 else 1
            cells = parts[1].subgridspec(-(-min(len(groups), 6) // columns), columns)
            for place, (group, head) in enumerate(zip(groups[:6], first, strict=False)):
                _draw_small_map(
                    figure.add_subplot(cells[place // columns, place % columns]), maps, group, head
                )
        for axes in figure.axes[:2]:
            sns.despine(ax=axes)
    sizes = ", ".join(
        f"{(table['cluster'] == group).sum()} like layer {head[0]} head {head[1]} ({clusters.names[group]})"
        for group, head in zip(groups, first, strict=True)
    )
    best = clusters.silhouettes.get(clusters.k)
    why = "" if best is None else f" (silhouette {best:.2f})"
    alt = f"{len(table)} heads in {len(groups)} clusters{why}: {sizes}."
    if clf is not None:
        alt += f" Beside it the attention maps of the typical heads on {text!r}."
    return Picture(figure, alt)


def _looks(group: int) -> dict[str, Any]:
    return {
        "color": RUN_COLOURS[group % len(RUN_COLOURS)],
        "marker": RUN_MARKERS[group % len(RUN_MARKERS)],
    }


def _draw_clusters(axes: Axes, clusters: Clusters) -> None:
    for group, part in clusters.table.groupby("cluster"):
        looks = {"s": 34, "linewidths": 0.6, "edgecolors": "white"}
        label = f"{len(part)}: {clusters.names[group]}"
        axes.scatter(part["x"], part["y"], label=label, **looks, **_looks(group))
        for row in part[part["typical"].astype(bool)].itertuples():
            axes.annotate(
                f"L{row.layer:.0f} H{row.head:.0f}",
                (row.x, row.y),
                xytext=(5, 3),
                textcoords="offset points",
                fontsize=9,
                path_effects=[HALO],
            )
    axes.set(xlabel="first principal axis", ylabel="second principal axis")
    axes.margins(0.08)
    axes.legend(
        frameon=False,
        fontsize=9,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        handletextpad=0.2,
        columnspacing=1.0,
    )


def _draw_silhouettes(axes: Axes, clusters: Clusters) -> None:
    names = sorted(clusters.silhouettes)
    heights = [clusters.silhouettes[one] for one in names]
    colours = [_BLUE if one == clusters.k else "0.75" for one in names]
    axes.bar(names, heights, color=colours, width=0.7)
    for one, height in zip(names, heights, strict=True):
        axes.text(one, max(height, 0), f"{height:.2f}", ha="center", va="bottom", fontsize=8)
    axes.set(xlabel="number of clusters", ylabel="silhouette")
    axes.set_xticks(names)
    axes.set_yticks([])
    axes.margins(y=0.25)


def _draw_small_map(axes: Axes, maps: AttentionMaps, group: int, head: tuple[int, int]) -> None:
    shown = min(len(maps.tokens), 24)
    values = maps.of("weights")[head][:shown, :shown].detach().numpy()
    labels = [token.replace("$", r"\$") for token in readable(maps.tokens[:shown])]
    sns.heatmap(
        values,
        ax=axes,
        cmap="cividis",
        vmin=0,
        vmax=max(float(values.max()), 0.5),
        square=True,
        cbar=False,
        xticklabels=False,
        yticklabels=labels if shown <= 16 else False,
    )
    axes.tick_params(axis="y", rotation=0, labelsize=8, length=0)
    axes.set_xlabel("is looked at", fontsize=8)
    axes.set_ylabel("looks", fontsize=8)
    title = f"L{head[0]} H{head[1]}, the most typical"
    axes.set_title(title, fontsize=9, loc="left", color=_looks(group)["color"])


# ── over a training run ────────────────────────────────────────────────────────────────────────


def episodes(table: pd.DataFrame, found: pd.DataFrame, most: int = 6) -> Picture:
    """Draw the heads that left their band longest and farthest, with the band they were judged by.

    Parameters
    ----------
    table : of a `balance.Recorder`
    found : of `balance.episodes`
    most : how many of the strongest to draw

    The line is the measure, the grey band where it was expected, and the coloured span when it was outside.
    """
    _check_found(found, ("layer", "head", "kind", "start", "end", "strength", "measure"))
    strongest = found.assign(size=found["strength"].abs()).nlargest(most, "size", keep="all")[:most]
    wide = 2 if len(strongest) > 1 else 1
    rows = max(-(-len(strongest) // wide), 1)
    with style():
        size = (4.7 * wide if wide > 1 else 6.4, 2.1 * rows + 0.5)
        figure, panels = plt.subplots(rows, wide, figsize=size, layout="constrained", squeeze=False)
        for axes in panels.flat:
            axes.set_axis_off()
        if strongest.empty:
            panels[0, 0].text(0.5, 0.5, "No head left its band.", ha="center", va="center")
        for axes, one in zip(panels.flat, strongest.itertuples(), strict=False):
            axes.set_axis_on()
            draw_episode(axes, table, one)
        for axes in panels.flat[max(len(strongest) - wide, 0) : len(strongest)]:
            axes.set_xlabel("step")
        if len(strongest):
            kinds = [one for one in KIND_COLOURS if one in set(strongest["kind"])]
            handles = [
                Line2D([], [], color="black", marker="o", markersize=3, label="measured"),
                Patch(fc="0.85", label="expected"),
                *(
                    Patch(fc=KIND_COLOURS[one], alpha=0.25, label=f"outside: {one}")
                    for one in kinds
                ),
            ]
            figure.legend(
                handles=handles, frameon=False, ncols=6, loc="outside upper left", fontsize=9
            )
        sns.despine(figure)
    told = "; ".join(in_words(one) for one in strongest.itertuples())
    count = len(found)
    if not count:
        return Picture(figure, "No anomalies over time: no head left its band.")
    which = f"the {len(strongest)} strongest of {count}" if count > len(strongest) else f"{count}"
    return Picture(figure, f"Anomalies over training steps, {which}: {told}.")


def counted(anomalies: int) -> str:
    """So many anomalies, in words."""
    return f"{anomalies} {'anomaly' if anomalies == 1 else 'anomalies'}"


def in_words(one: Any) -> str:
    """An episode as people say it."""
    until = "the end" if not math.isfinite(one.end) else f"{one.end:.0f}"
    return f"layer {one.layer:.0f} head {one.head:.0f}, {one.kind}, step {one.start:.0f} to {until}"


def draw_episode(axes: Axes, table: pd.DataFrame, one: Any) -> None:
    """A head's measure over steps, its band, and the span of one episode."""
    band = bands(table, int(one.layer), int(one.head), one.measure)
    step = band["step"].to_numpy(float)
    half = float(np.median(np.diff(step))) / 2 if len(step) > 1 else 0.5
    end = step[-1] + half if not math.isfinite(one.end) else one.end - half
    colour = KIND_COLOURS.get(one.kind, "0.3")
    axes.axvspan(one.start - half, end, color=colour, alpha=0.16, lw=0)
    axes.fill_between(step, band["low"], band["high"], color="0.85", lw=0)
    marker = {"marker": "o" if len(step) <= 60 else "", "markersize": 2.5}
    axes.plot(step, band["value"], color="black", linewidth=1.6, **marker)
    title = f"layer {one.layer:.0f} head {one.head:.0f}: {one.kind}"
    axes.set_title(title, loc="left", fontsize=10, color=colour)
    axes.set_ylabel(short(one.measure), fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if one.measure == "gradient":
        axes.set_yscale("log")
        return
    # a wide band must not press the line flat
    low, high = band["value"].min(), band["value"].max()
    room = 0.35 * (high - low) or 0.1
    top = math.inf if one.measure in UNBOUNDED else 1.05
    axes.set_ylim(max(low - room, -0.02), min(high + room, top))
    axes.yaxis.set_major_locator(MaxNLocator(4))


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
    found : of `balance.episodes`: spans below the lines, a row per head, the strongest six heads of this table
    heads : those to draw strong, at most six; all others are faint
    overall : of the Recorder: adds the balance of the whole model
    layer : only the heads of this one
    """
    known = list(dict.fromkeys(table["measure"]))
    if measure not in known:
        raise AttnlabError(f"{measure!r} was not recorded. {suggest(measure, known)}")
    rows = table[table["measure"] == measure]
    if layer is not None:
        rows = rows[rows["layer"] == layer]
    wide = rows.pivot(index="step", columns=["layer", "head"], values="value")
    strong = [tuple(place) for place in heads][: len(RUN_COLOURS)]
    found = None if found is None or found.empty else found
    heights = [3.2, *([0.9] if found is not None else []), *([0.9] if overall is not None else [])]
    with style():
        figure, panels = plt.subplots(
            len(heights),
            1,
            figsize=(9.4, 0.6 + sum(heights)),
            height_ratios=heights,
            layout="constrained",
            sharex=True,
            squeeze=False,
        )
        left = list(panels[:, 0])
        axes = left.pop(0)
        faint = [place for place in wide if place not in strong]
        axes.plot(wide.index, wide[faint], color="0.55", linewidth=0.7, alpha=0.5)
        looks = zip(strong, RUN_COLOURS, RUN_DASHES, strict=False)
        for place, colour, dashes in looks:
            line = (0, dashes) if dashes else "-"
            name = f"layer {place[0]} head {place[1]}"
            axes.plot(
                wide.index, wide[place], color=colour, linestyle=line, linewidth=2, label=name
            )
        if strong:
            axes.legend(
                frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=6, fontsize=9
            )
        if measure == "gradient":
            axes.set_yscale("log")
        axes.set_ylabel("\n".join(_folded(MEASURES.get(measure, short(measure)), 30)))
        if found is not None:
            _draw_spans(left.pop(0), found, wide.index)
        if overall is not None:
            axes = left.pop(0)
            axes.plot(overall["step"], overall["balance"], color=_BLUE, linewidth=2)
            axes.set_ylabel("balance")
            # two runs side by side must not differ by their axes
            low = 0.5 if overall["balance"].min() >= 0.5 else 0.0
            axes.set(ylim=(low, 1), yticks=[low, (1 + low) / 2, 1])
        panels[-1, 0].set_xlabel("step")
        panels[-1, 0].xaxis.set_major_locator(MaxNLocator(10, integer=True))
        sns.despine(figure)
    steps = wide.index
    alt = (
        f"{short(measure)} of {wide.shape[1]} heads over training, steps {steps[0]} to {steps[-1]}: mean "
        f"{np.nanmean(wide.iloc[0]):.2f} at first, {np.nanmean(wide.iloc[-1]):.2f} at last."
    )
    if overall is not None and len(overall):
        ends = overall["balance"].iloc[[0, -1]]
        alt += f" Overall balance from {ends.iloc[0]:.2f} to {ends.iloc[1]:.2f}."
    if found is not None:
        most = next(found.nlargest(1, "strength").itertuples())
        heads = len(found.groupby(["layer", "head"]))
        of = f"{heads} head{'' if heads == 1 else 's'}"
        alt += f" {counted(len(found))} of {of}, the strongest: {in_words(most)}."
    return Picture(figure, alt)


def _draw_spans(axes: Axes, found: pd.DataFrame, steps: pd.Index) -> None:
    """When the heads that were strongest out of line were so: a row per head."""
    strongest = found.groupby(["layer", "head"])["strength"].max()
    order = strongest.nlargest(6).index
    half = float(np.median(np.diff(steps))) / 2 if len(steps) > 1 else 0.5
    drawn = set()
    for place, (layer, head) in enumerate(order):
        part = found[(found["layer"] == layer) & (found["head"] == head)]
        drawn |= set(part["kind"])
        for one in part.itertuples():
            end = one.end - half if math.isfinite(one.end) else steps[-1] + half
            axes.barh(
                place,
                end - one.start + half,
                left=one.start - half,
                height=0.8,
                color=KIND_COLOURS[one.kind],
            )
    axes.set_yticks(range(len(order)), [f"L{layer} H{head}" for layer, head in order], fontsize=8)
    axes.set(ylim=(len(order) - 0.4, -0.6))
    kinds = [one for one in KIND_COLOURS if one in drawn]
    axes.legend(
        handles=[Patch(fc=KIND_COLOURS[one], label=one) for one in kinds],
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
    return f"{heads} head{'' if heads == 1 else 's'}"


def short(measure: str) -> str:
    """The name of a measure in two or three words."""
    return SHORT.get(measure, measure.replace("_", " "))


class AnomalyTable:
    """What is out of line as a table that people can read, each row with a picture to open.

    Attributes
    ----------
    frame : DataFrame, the rows as they are shown
    pictures : list of Picture, one for each row

    Shown as plain HTML, which needs no script and no kernel.
    """

    def __init__(self, frame: pd.DataFrame, pictures: Sequence[Picture], empty: str):
        self.frame, self.pictures, self._empty = frame, list(pictures), empty

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"AnomalyTable({len(self)} rows)"

    def _repr_html_(self) -> str:
        if self.frame.empty:
            return f"<p>{html.escape(self._empty)}</p>"
        head = "".join(
            f'<th scope="col" style="text-align:left;white-space:nowrap">{html.escape(str(name))}</th>'
            for name in (*self.frame.columns, "picture")
        )
        rows = []
        for row, picture in zip(self.frame.itertuples(index=False), self.pictures, strict=True):
            cells = "".join(
                f'<td style="text-align:left;vertical-align:top;white-space:nowrap">{html.escape(str(one))}</td>'
                for one in row
            )
            rows.append(
                f'<tr>{cells}<td style="text-align:left;vertical-align:top;min-width:410px"><details>'
                f"<summary>show</summary>{_image(picture)}</details></td></tr>"
            )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _image(picture: Picture) -> str:
    data = base64.b64encode(picture.png(dpi=90)).decode()
    alt = html.escape(picture.alt, quote=True)
    return f'<img alt="{alt}" src="data:image/png;base64,{data}">'


def anomaly_table(
    found: pd.DataFrame, source: pd.DataFrame | Balance, most: int = 30
) -> AnomalyTable:
    """Show what is out of line as a table, the strongest first, each row with a picture to open.

    Parameters
    ----------
    found : of `balance.episodes`, or of `balance.outliers`
    source : what it was found in: the table of a `balance.Recorder`, or a `balance.Balance`
    most : rows, at most
    """
    over_time = "kind" in found
    if over_time:
        _check_found(found, ("layer", "head", "kind", "start", "end", "strength", "measure"))
        ranked = found.assign(size=found["strength"].abs())
    else:
        _check_found(found, ("layer", "head", "measure", "value", "median", "z"))
        ranked = found.assign(size=found["z"].abs())
    ranked = ranked.sort_values("size", ascending=False, kind="stable")[:most]
    rows, pictures = [], []
    for one in ranked.itertuples():
        rows.append(_episode_row(one) if over_time else _outlier_row(one))
        pictures.append(
            _episode_picture(source, one) if over_time else _outlier_picture(source, one)
        )
    empty = "No head left its band." if over_time else "No head is far from the others."
    return AnomalyTable(pd.DataFrame(rows), pictures, empty)


def _check_found(found: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        raise AttnlabError(
            f"These anomalies lack {', '.join(map(repr, missing))}. Pass what al.balance.episodes or "
            "al.balance.outliers returns."
        )


def _episode_row(one: Any) -> dict[str, str]:
    lasts = not math.isfinite(one.end)
    return {
        "what": one.kind,
        "head": f"L{one.layer:.0f} H{one.head:.0f}",
        "measure": short(one.measure),
        "steps": f"from {one.start:.0f} on" if lasts else f"{one.start:.0f} to {one.end:.0f}",
        "strength": f"{one.strength:.1f}",
    }


def _outlier_row(one: Any) -> dict[str, str]:
    return {
        "head": f"L{one.layer:.0f} H{one.head:.0f}",
        "measure": short(one.measure),
        "value": f"{one.value:.3g}",
        "median": f"{one.median:.3g}",
        "robust z": f"{one.z:+.1f}",
    }


def _episode_picture(table: pd.DataFrame, one: Any) -> Picture:
    with style():
        figure, axes = plt.subplots(figsize=(4.4, 2.1), layout="constrained")
        draw_episode(axes, table, one)
        axes.set_xlabel("step")
        sns.despine(figure)
    band = bands(table, int(one.layer), int(one.head), one.measure)
    inside = band[(band["step"] >= one.start) & ~(band["step"] > one.end)]
    alt = f"{in_words(one)}: {short(one.measure)} {inside['value'].min():.3g} to {inside['value'].max():.3g}"
    low, high = inside["low"].median(), inside["high"].median()
    return Picture(figure, f"{alt}, expected {low:.3g} to {high:.3g}.")


def _outlier_picture(b: Balance, one: Any) -> Picture:
    """All heads on one axis, this one marked."""
    values = np.sort(b.wide()[one.measure].dropna().to_numpy(float))
    with style():
        figure, axes = plt.subplots(figsize=(4.4, 1.4), layout="constrained")
        axes.plot(values, np.zeros(len(values)), "|", color="0.45", markersize=16)
        axes.plot(one.median, 0, "|", color=_BLUE, markersize=26, markeredgewidth=3)
        axes.plot(one.value, 0, "o", color=_ORANGE, markersize=8)
        looks = {
            "textcoords": "offset points",
            "ha": "center",
            "fontsize": 9,
            "path_effects": [HALO],
        }
        axes.annotate(f"L{one.layer:.0f} H{one.head:.0f}", (one.value, 0), xytext=(0, 12), **looks)
        axes.annotate("median", (one.median, 0), xytext=(0, -24), color=_BLUE, **looks)
        axes.set(ylim=(-1, 1), yticks=[], xlabel=short(one.measure))
        axes.margins(x=0.08)
        sns.despine(figure, left=True)
    alt = (
        f"{short(one.measure)} of all heads: layer {one.layer:.0f} head {one.head:.0f} has {one.value:.3g}, the "
        f"median is {one.median:.3g}, robust z {one.z:+.1f}."
    )
    return Picture(figure, alt)


# ── the tuner ──────────────────────────────────────────────────────────────────────────────────


def tuning(tuned: Any, report: pd.DataFrame | None = None) -> Picture:
    """Draw the rounds of a tuner, kept and refused, and what is left of it on test.

    Parameters
    ----------
    tuned : a Tuner or a Tuned, its list of Rounds, or its ``rounds_frame()``
    report : of `Tuned.report`: before and after on data that nobody tuned on

    Left, accuracy on the guard part after each round, with the 95 % interval of its change; the line is the
    accuracy that was kept. Right, accuracy on test with one standard error, and the change with its 95 % interval.
    """
    rounds = rounds_frame(tuned)
    if report is not None and report.empty:
        report = None
    with style():
        wide = 2 if report is not None else 1
        figure = plt.figure(figsize=(9.4 if wide == 2 else 6.4, 3.9), layout="constrained")
        parts = figure.add_gridspec(1, wide, width_ratios=(1.15, 1)[:wide])
        _draw_rounds(figure.add_subplot(parts[0]), rounds)
        if report is not None:
            _draw_report(figure.add_subplot(parts[1]), report)
        sns.despine(figure)
    return Picture(figure, _describe_tuning(rounds, report))


def rounds_frame(tuned: Any) -> pd.DataFrame:
    """The rounds of a Tuner or a Tuned, of a list of Rounds or of their table, a row each, accuracies 0 to 1."""
    if isinstance(tuned, pd.DataFrame):
        return tuned
    rounds = getattr(tuned, "rounds", tuned)
    rows = [
        {
            "number": one.number,
            "way": one.way,
            "accepted": bool(one.accepted),
            "why": one.why,
            "accuracy": one.accuracy,
            "delta": one.delta,
            "ci_low": one.ci[0],
            "ci_high": one.ci[1],
            "balance": one.balance,
            "heads_on": one.heads_on,
            "anomalies": one.anomalies,
            "retrained": bool(one.retrained),
            "seconds": one.seconds,
        }
        for one in rounds
    ]
    columns = ["number", "way", "accepted", "why", "accuracy", "delta", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=None if rows else columns)


def _draw_rounds(axes: Axes, rounds: pd.DataFrame) -> None:
    handles = []
    if rounds.empty:
        axes.text(0.5, 0.5, "no round yet", ha="center", va="center", transform=axes.transAxes)
    else:
        first = rounds.iloc[0]
        kept = rounds["accuracy"].where(rounds["accepted"].astype(bool)).ffill()
        kept = kept.fillna(first["accuracy"] - first["delta"])
        path = [first["accuracy"] - first["delta"], *kept]
        places = [first["number"] - 1, *rounds["number"]]
        axes.step(places, 100 * np.array(path), where="post", color="0.45", linewidth=1.4)
        handles.append(Line2D([], [], color="0.45", linewidth=1.4, label="kept"))
        random = (rounds["way"] == "random").to_numpy()
        accepted = rounds["accepted"].to_numpy(bool)
        kinds = {
            "accepted": (accepted & ~random, {"color": _BLUE, "marker": "o"}),
            "refused": (~accepted & ~random, {"color": _ORANGE, "marker": "X"}),
            "random knobs": (random, {"color": "0.35", "marker": "D"}),
        }
        before = rounds["accuracy"] - rounds["delta"]
        for name, (which, looks) in kinds.items():
            if not which.any():
                continue
            at, part = rounds["number"][which], 100 * rounds["accuracy"][which]
            bars = np.abs(
                [
                    part - 100 * (before + rounds["ci_low"])[which],
                    100 * (before + rounds["ci_high"])[which] - part,
                ]
            )
            axes.errorbar(at, part, bars, linestyle="", capsize=3, markersize=7, **looks)
            handles.append(Line2D([], [], linestyle="", markersize=7, label=name, **looks))
        axes.legend(
            handles=handles,
            frameon=False,
            ncols=4,
            fontsize=9,
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            handletextpad=0.4,
            columnspacing=1.2,
        )
    axes.set(
        xlabel="round", ylabel="accuracy on the guard part, %\n(bars: 95 % interval of the change)"
    )
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    low, high = axes.get_ylim()
    room = max(0.06 * (high - low), 1.5 - (high - low) / 2)
    axes.set_ylim(low - room, high + room)
    axes.grid(axis="y", color="0.93")
    axes.margins(x=0.06)


def _draw_report(axes: Axes, report: pd.DataFrame) -> None:
    """A row for each thing compared: accuracy on test with one standard error, and its change."""
    table = report.reset_index(drop=True)
    low, high = 100 * table["accuracy"].min(), 100 * table["accuracy"].max()
    room = max(0.4 * (high - low), 3 - (high - low) / 2)
    axes.set_xlim(low - room, high + room)
    for place, row in table.iterrows():
        looks = {
            "color": _BLUE if place and "random" not in str(row["name"]) else "0.35",
            "fmt": "o",
            "capsize": 3,
        }
        axes.errorbar(100 * row["accuracy"], place, xerr=100 * row["stderr"], markersize=7, **looks)
        words = f"{100 * row['accuracy']:.1f}"
        if np.isfinite(row["delta"]) and row["name"] != table["name"][0]:
            words += f"  ({_signed(row['delta'])}, {_signed(row['ci_low'])} to {_signed(row['ci_high'])})"
        # long words grow towards the middle, so that they end inside
        along = (100 * row["accuracy"] - low + room) / (high - low + 2 * room)
        side = "left" if along < 0.4 else "right" if along > 0.6 else "center"
        axes.annotate(
            words,
            (100 * row["accuracy"], place),
            xytext=({"left": -12, "center": 0, "right": 12}[side], 9),
            textcoords="offset points",
            ha=side,
            fontsize=9,
            path_effects=[HALO],
        )
    start = 100 * table["accuracy"][0]
    axes.axvline(start, color="0.6", linewidth=1, linestyle=":")
    names = ["\n".join(_folded(plain(str(name), 40), 16)) for name in table["name"]]
    axes.set_yticks(range(len(table)), names)
    axes.set_ylim(len(table) - 0.5, -0.7)
    axes.set_xlabel("accuracy on test, %\n(bars: ± one standard error)")
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _signed(share: float) -> str:
    """A change in points with its sign: +1.2, −0.5."""
    return f"{100 * share:+.1f}".replace("-", "−")


def _describe_tuning(rounds: pd.DataFrame, report: pd.DataFrame | None) -> str:
    if rounds.empty:
        told = "Rounds of the tuner: none yet."
    else:
        kept = rounds[rounds["accepted"].astype(bool)]
        first = rounds.iloc[0]
        start = first["accuracy"] - first["delta"]
        now = kept.iloc[-1]["accuracy"] if len(kept) else start
        count = f"{len(rounds)} round{'s' if len(rounds) > 1 else ''}"
        told = (
            f"{count} of the tuner, {len(kept)} accepted: accuracy on the guard part from {start:.1%} "
            f"to {now:.1%}."
        )
    if report is not None:
        rows = [
            f"{row['name']} {row['accuracy']:.1%} ± {row['stderr']:.1%}"
            for _, row in report.iterrows()
        ]
        told += f" On test, with one standard error: {', '.join(rows)}."
    return told
