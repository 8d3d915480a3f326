"""Pictures of attention: one map, two of them, and one number for every head."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from bertviz.util import format_special_chars
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from torch import Tensor

from attnlab.errors import AttnlabError
from attnlab.heads.maps import WHATS, AttentionMaps, What
from attnlab.show.plots.picture import Picture, heatmap, style
from attnlab.show.wording import counted, rounded

WEIGHT_TICKS = [0, 0.05, 0.25, 0.5, 1]  # of a scale by the square root of the weight
MAX_TOKENS = 60  # beyond this the labels of a map can no longer be read


def head_map(
    values: pd.DataFrame | np.ndarray,
    column: str = "delta",
    title: str | None = None,
    label: str | None = None,
) -> Picture:
    """Draw one number per head: layers down, heads across.

    Parameters
    ----------
    values : array (L, H), or the table of `ablate`
    column : which column of the table: "delta" (drawn in points) with its noise marked,
        "loss_delta", ...
    label : what the number is, with its unit

    Red heads are needed, blue ones are those without which the model does better: a table's
    ``delta`` and ``margin_delta`` are red where they fall, all other numbers where they rise.

    With a table's ``delta`` a frame marks heads whose 95 % interval excludes 0, and the band beside
    the colour bar is what heads that do nothing would still show, half of the mean interval's
    width.
    """
    table, band, outside = _numbers_of_heads(values, column)
    if column == "delta" and isinstance(values, pd.DataFrame):
        label = label or "change of accuracy, points\n(red: needed, blue: better without)"
    label = label or column.replace("_", " ")
    needed_is_low = isinstance(values, pd.DataFrame) and column in _FALLING
    signed = bool((table.to_numpy() < 0).any())
    limit = float(np.nanmax(np.abs(table.to_numpy()))) or 1.0
    if limit < 0.1:  # two decimals would say nothing of them
        table, limit, label = 1000 * table, 1000 * limit, f"{label}, thousandths"
    if band:
        limit = max(limit, 1.3 * band)
    rows, columns = table.shape
    with style():
        figure, axes = plt.subplots(figsize=(1.6 + 0.62 * columns, 1.3 + 0.42 * rows))
        heatmap(
            table,
            axes,
            cmap=_colours(signed, needed_is_low),
            vmin=-limit if signed else None,
            vmax=limit if signed else None,
            annot=rows * columns <= 160,
            fmt=".1f" if limit >= 1 else ".2f",
            annot_kws={"size": 9},
            linewidths=0.5,
            cbar_kws={"label": label, "pad": 0.02},
        )
        axes.set(xlabel="head", ylabel="layer")
        axes.tick_params(axis="y", rotation=0)
        if band:
            _mark_noise(axes, band, outside, rows)
        if title:
            axes.set_title(title, loc="left")
    low, high = table.stack().idxmin(), table.stack().idxmax()
    about = f"{title or 'Map of heads'}: {label.splitlines()[0]}"
    lowest, highest = rounded(table.loc[low]), rounded(table.loc[high])
    alt = (
        f"{about} for {rows} layers by {columns} heads, lowest {lowest} at layer {low[0]} "
        f"head {low[1]}, highest {highest} at layer {high[0]} head {high[1]}."
    )
    if band:
        alt += f" {counted(len(outside), 'head has', 'heads have')} an interval that excludes 0."
    return Picture(figure, alt)


_FALLING = ("delta", "margin_delta")  # what falls without a head that is needed


def _colours(signed: bool, needed_is_low: bool) -> str:
    """A colour map in which a needed head is red."""
    if not signed:
        return "cividis"
    return "vlag_r" if needed_is_low else "vlag"


def _numbers_of_heads(
    values: pd.DataFrame | np.ndarray, column: str
) -> tuple[pd.DataFrame, float | None, np.ndarray]:
    """A map of heads; of changes of accuracy, in points, also their noise and what exceeds it.

    The last is an array (N, 2) of the layers and heads whose interval excludes 0.
    """
    nowhere = np.zeros((0, 2), dtype=int)
    if not isinstance(values, pd.DataFrame):
        array = np.asarray(values, dtype=float)
        if array.ndim != 2:
            raise AttnlabError(f"head_map draws an array (L, H); this one has shape {array.shape}.")
        return pd.DataFrame(array), None, nowhere
    if column not in values:
        raise AttnlabError(f"The table has no column {column!r}: {', '.join(values.columns)}.")
    table = values.pivot(index="layer", columns="head", values=column)
    if column != "delta":
        return table, None, nowhere
    band = 100 * float((values["ci_high"] - values["ci_low"]).mean()) / 2
    marked = values.assign(marked=(values["ci_low"] > 0) | (values["ci_high"] < 0))
    marks = marked.pivot(index="layer", columns="head", values="marked")
    return 100 * table, band, np.argwhere(marks.to_numpy(dtype=float, na_value=0) > 0)


def _mark_noise(axes: Axes, band: float, outside: np.ndarray, rows: int) -> None:
    """Hatch the noise on the colour bar, and frame the heads that are outside it."""
    for row, column in outside:
        axes.add_patch(plt.Rectangle((column, row), 1, 1, fill=False, edgecolor="black", lw=2.2))
    bar: Any = axes.collections[0].colorbar
    bar.ax.axhspan(-band, band, facecolor="none", edgecolor="0.25", hatch="////", lw=1)
    note = f"hatched: noise of ±{band:.1f} points"
    note += "; framed: 95 % interval excludes 0" if len(outside) else "; no head is outside it"
    looks: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(note, (1, 0), (0, -48), ha="right", fontsize=9, **looks)


def attention_map(
    maps: AttentionMaps,
    layer: int,
    head: int | None = None,
    what: What = "weights",
    stretched: bool = False,
    cmap: str = "cividis",
) -> Picture:
    """Draw where each token (down) looks (across), for one head or the mean of a layer.

    With ``stretched`` weights are drawn on the scale of `attention_grid`, by their square root from
    0 to 1, so that small ones can be told apart. ``cmap`` is a colour map of matplotlib's, such as
    "Purples"; a difference has its own.
    """
    maps.check_place(layer, head)
    with style():
        side = _side(maps)
        figure, axes = plt.subplots(figsize=(side + 1.6, side))
        if stretched:
            shades = PowerNorm(0.5, 0, 1)
            _draw_map(axes, maps, _matrix(maps, layer, head, what), what, norm=shades, cmap=cmap)
            bar: Any = axes.collections[0].colorbar
            bar.set_ticks(WEIGHT_TICKS, labels=[f"{tick:g}" for tick in WEIGHT_TICKS])
            bar.set_label(f"{_BAR[what]} (stretched scale)")
        else:
            _draw_map(axes, maps, _matrix(maps, layer, head, what), what, cmap=cmap)
        axes.set_title(_place(layer, head), loc="left")
    return Picture(figure, _describe(maps, layer, head, what))


def chosen_heads(
    maps: AttentionMaps, heads: Sequence[tuple[int, int]], title: str | None = None
) -> Picture:
    """Draw the weights of a few heads side by side, on one scale from 0 to 1.

    Parameters
    ----------
    maps : from clf.attend(text); a short text is read best
    heads : layer and head of each map, from left to right
    title : what the reader is to find out

    Raises
    ------
    AttnlabError : a layer or head that there is not, or no heads at all
    """
    if not heads:
        raise AttnlabError("There are no heads to draw. Name some, as in heads=[(0, 2), (1, 8)].")
    for layer, head in heads:
        maps.check_place(layer, head)
    shown = min(len(maps.tokens), MAX_TOKENS)
    labels = [token.replace("$", r"\$") for token in readable(maps.tokens[:shown])]
    side = 0.6 + max(0.16, min(0.4, 2.5 / shown)) * shown
    with style():
        figure, grid = plt.subplots(
            1,
            len(heads),
            figsize=(len(heads) * side + 0.6, side + 0.9),
            squeeze=False,
            sharey=True,
            layout="constrained",
        )
        for axes, (layer, head) in zip(grid[0], heads, strict=True):
            values = maps.weights[layer, head, :shown, :shown].detach().numpy()
            drawn = axes.imshow(values, cmap="cividis", vmin=0, vmax=1)
            axes.set_title(f"layer {layer}, head {head}", loc="left", fontsize=11)
            axes.set_xticks(range(shown), labels, rotation=90)
            axes.set(xlabel="key (is looked at)")
            axes.spines[:].set_visible(False)
        grid[0, 0].set_yticks(range(shown), labels)
        grid[0, 0].set_ylabel("query (looks)")
        for axes in grid[0]:
            axes.tick_params(length=0)
        figure.colorbar(drawn, ax=grid, label="weight", shrink=0.8, pad=0.01)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    habits = " ".join(
        f"{_place(layer, head).capitalize()}: {_habit(maps.weights[layer, head], maps.tokens)}."
        for layer, head in heads
    )
    return Picture(figure, f"Maps of {counted(len(heads), 'head', 'heads')}. {habits}")


def _habit(weights: Tensor, tokens: Sequence[str]) -> str:
    """Where a head (T, T) looks most on average: beside the query, at it, or at one token."""
    column = int(weights.mean(0).argmax())
    found = {f"{readable(tokens)[column]!r}": float(weights[:, column].mean())}
    for name, offset in (("the token before", -1), ("itself", 0), ("the next token", 1)):
        line = weights.diagonal(offset)
        found[name] = float(line.mean()) if len(line) else 0.0
    name = max(found, key=lambda one: found[one])
    return f"a token gives {rounded(found[name])} of its weight to {name} on average"


def before_after(
    maps: AttentionMaps,
    layer: int,
    head: int | None = None,
    names: Sequence[str] = ("neutral", "with settings", "difference"),
) -> Picture:
    """Draw one head with neutral settings, with these settings, and the difference.

    What is drawn is weights × scale, by which the head mixes the values it adds. Before and after
    share one colour scale and its bar. ``names`` stand above the three, such as those of two
    models: put the maps of the earlier one into ``maps.neutral``. With two names the difference is
    left out, and the maps are larger.
    """
    maps.check_place(layer, head)
    if maps.neutral is None:
        raise AttnlabError(
            "These maps are of neutral settings, so there is nothing to compare. Use "
            "clf.attend(text, settings) with settings that change a head."
        )
    if len(names) not in (2, 3):
        raise AttnlabError(f"names are those of 2 maps, or of 3 with the difference; got {names}.")
    difference = len(names) == 3
    with style():
        side = _side(maps)
        size = (3 * side + 2.5, side + 0.4) if difference else (1.7 * side + 1.2, 0.85 * side)
        figure, axes = plt.subplots(1, len(names), figsize=size, sharey=True)
        both = [_matrix(one, layer, head, "scaled") for one in (maps.neutral, maps)]
        limit = float(np.abs(both).max())
        for panel, matrix in zip(axes, both, strict=False):
            _draw_map(panel, maps, matrix, "scaled", limit, bar=False)
        one = axes[1].collections[0]
        bar = figure.colorbar(one, ax=list(axes[:2]), shrink=0.7, pad=0.02, label=_BAR["scaled"])
        bar.outline.set_visible(False)
        if difference:
            _draw_map(axes[2], maps, _matrix(maps, layer, head, "difference"), "difference")
        for panel, name in zip(axes, names, strict=True):
            panel.set_title(f"{_place(layer, head)}: {name}", loc="left", fontsize=10)
        for panel in axes[1:]:
            panel.set_ylabel("")
        if all(bool((one.settings.scale == 1).all()) for one in (maps.neutral, maps)):
            for panel in figure.axes[len(names) :]:
                panel.set_ylabel(panel.get_ylabel().removesuffix(" × scale"))
    drawn = "Before, after and difference" if difference else "Before and after"
    return Picture(figure, f"{drawn}. {_describe(maps, layer, head, 'difference')}")


def readable(tokens: Sequence[str]) -> list[str]:
    """Word pieces as people read them, without the marks that tokenizers use for spaces."""
    return format_special_chars(list(tokens))


def _matrix(maps: AttentionMaps, layer: int, head: int | None, what: What) -> np.ndarray:
    picture = maps.of(what)[layer]
    return (picture.mean(0) if head is None else picture[head]).detach().numpy()


def _draw_map(
    axes: Axes,
    maps: AttentionMaps,
    values: np.ndarray,
    what: What,
    limit: float | None = None,
    norm: PowerNorm | None = None,
    bar: bool = True,
    cmap: str = "cividis",
) -> None:
    signed = what == "difference"
    limit = max(float(np.abs(values).max()) if limit is None else limit, 1e-6)
    shown = min(len(maps.tokens), MAX_TOKENS)
    # "$" would start a formula
    labels = [token.replace("$", r"\$") for token in readable(maps.tokens[:shown])]
    heatmap(
        values[:shown, :shown],
        axes,
        mask=values[:shown, :shown] == 0 if what == "weights" else None,  # hidden keys stay white
        cmap="vlag" if signed else cmap,
        norm=norm,
        vmin=None if norm else -limit if signed else 0,
        vmax=None if norm else limit if signed or what == "contributions" else max(limit, 0.5),
        annot=shown <= 8,
        fmt=".2f",
        annot_kws={"size": 9},
        xticklabels=labels,
        yticklabels=labels,
        square=True,
        cbar=bar,
        cbar_kws={"shrink": 0.7, "pad": 0.02, "label": _BAR[what]},
    )
    axes.set(xlabel="key (is looked at)", ylabel="query (looks)")
    axes.tick_params(axis="x", rotation=60 if shown <= 30 else 90)
    axes.tick_params(axis="y", rotation=0)
    if shown <= 30:
        plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
    if shown < len(maps.tokens):
        axes.set_xlabel(f"key (first {shown} of {len(maps.tokens)} tokens)")


_BAR = {
    "weights": "weight",
    "scaled": "weight × scale",
    "contributions": "norm of contribution",
    "difference": "change of weight × scale",
}


def _side(maps: AttentionMaps) -> float:
    """Side of a map in inches."""
    return 1.8 + 0.2 * min(len(maps.tokens), MAX_TOKENS)


def _place(layer: int, head: int | None) -> str:
    return f"layer {layer}, " + ("mean over heads" if head is None else f"head {head}")


def _describe(maps: AttentionMaps, layer: int, head: int | None, what: What) -> str:
    """Alt text of one map: what it is, and its strongest cell."""
    values = _matrix(maps, layer, head, what)
    row, column = np.unravel_index(np.abs(values).argmax(), values.shape)
    tokens = readable(maps.tokens)
    return (
        f"Heat map of {WHATS[what]}, {_place(layer, head)}, {len(tokens)} tokens. Strongest: "
        f"{tokens[row]!r} to {tokens[column]!r}, {rounded(float(values[row, column]))}."
    )
