"""Pictures of translation: where output tokens look in the source, and what may come next."""

import warnings
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from attnlab.errors import AttnlabError
from attnlab.heads.maps import CrossMaps, Seq2SeqMaps
from attnlab.show.plots.maps import MAX_TOKENS
from attnlab.show.plots.picture import Picture, heatmap, style
from attnlab.show.wording import plain

Frame = tuple[tuple[int, int], tuple[int, int]]
_CHOSEN, _OTHER, _BEST = "#1f5fa8", "0.72", "#d95f02"


def alignment(
    maps: Seq2SeqMaps,
    layer: int | None = None,
    head: int | None = None,
    frames: Mapping[str, Frame] | None = None,
    title: str | None = None,
) -> Picture:
    """Draw where the model looks in the source (across) when it predicts each output token (down).

    Parameters
    ----------
    maps : from translator.attend(source)
    layer, head : of the cross-attention; without a head the mean over heads, without a layer over
        layers too
    frames : cells to point at: for each name the first and last row, and the first and last column
    title : what there is to see; without one, which heads are drawn

    What is drawn is weights × scale: a head that is silenced is dark.

    Raises
    ------
    AttnlabError : a layer or head that there is not; a head without its layer; a frame outside
    """
    values = aligned(maps.cross, layer, head)
    with style():
        rows, columns = (min(size, MAX_TOKENS) for size in values.shape)
        figure, axes = plt.subplots(figsize=(2.6 + 0.24 * columns, 1.5 + 0.24 * rows))
        limits = Normalize(0, max(0.5, float(values.max())))
        _draw(axes, (maps.cross.target, maps.cross.source), values, limits)
        bar = figure.colorbar(axes.collections[0], ax=axes, shrink=0.8, pad=0.02)
        bar.set_label(_measure(maps.cross))
        axes.set(xlabel=_cut("source token", values.shape[1]))
        axes.set(ylabel=_cut("predicted token", values.shape[0]))
        axes.set_title(title or f"Cross-attention, {place(layer, head)}", loc="left")
        for name, framed in (frames or {}).items():
            _frame(axes, name, framed, values.shape)
    told = f" Framed: {', '.join(frames)}." if frames else ""
    return Picture(figure, described(maps, layer, head) + told)


def attention_kinds(maps: Seq2SeqMaps) -> Picture:
    """Draw the three attentions of an encoder-decoder model side by side, each a mean of all heads.

    Rows look at columns. What the causal mask hides from the decoder is left blank.
    """
    cross, told = maps.cross, []
    panels = {
        "encoder: source looks at source": (maps.encoder, maps.encoder.tokens, maps.encoder.tokens),
        "decoder: written looks at written": (
            maps.decoder,
            maps.decoder.tokens,
            maps.decoder.tokens,
        ),
        "cross: written looks at source": (cross, cross.target, cross.source),
    }
    with style():
        shown = min(max(len(cross.source), len(cross.target)), MAX_TOKENS)
        wide = max(3.2, 0.9 + 0.2 * shown)
        figure, grid = plt.subplots(
            1, 3, figsize=(3 * wide + 0.7, wide + 0.6), layout="constrained"
        )
        for axes, (name, (own, rows, columns)) in zip(grid, panels.items(), strict=True):
            values = own.of("scaled").detach().float().mean((0, 1)).numpy()
            told.append(f"{name}, strongest {_strongest_of(values, rows, columns)}")
            if own is maps.decoder:
                values = np.where(np.tri(*values.shape) > 0, values, np.nan)
            _draw(axes, (rows, columns), values, Normalize(0, 0.7))
            axes.set_title(name, loc="left", fontsize=10)
        bar = figure.colorbar(grid[0].collections[0], ax=grid, shrink=0.7, pad=0.01)
        bar.set_label(_measure(cross))
    return Picture(figure, f"Heat maps, mean over all heads. {'; '.join(told)}.")


def alignments(maps: Seq2SeqMaps, layer: int) -> Picture:
    """Draw `alignment` for every head of a layer, with the same colours.

    Raises
    ------
    AttnlabError : a layer that there is not
    """
    cross = maps.cross
    cross.check_place(layer)
    values = cross.of("scaled")[layer].detach().numpy()  # (H, T, S)
    rows, columns = (min(size, MAX_TOKENS) for size in values.shape[1:])
    across, down = _grid(cross.heads, 0.6 + 0.19 * columns)
    limits = Normalize(0, max(0.5, float(values.max())))
    with style():
        size = across * (0.6 + 0.19 * columns) + 2, down * (0.5 + 0.19 * rows) + 1.2
        figure, grid = plt.subplots(
            down,
            across,
            figsize=size,
            squeeze=False,
            sharex=True,
            sharey=True,
            layout="constrained",
        )
        for head, axes in enumerate(grid.flat):
            if head >= cross.heads:
                axes.axis("off")
                continue
            _draw(axes, (cross.target, cross.source), values[head], limits)
            axes.set_title(f"head {head}", loc="left", fontsize=10)
        bar = figure.colorbar(grid[0, 0].collections[0], ax=grid, shrink=0.7, pad=0.01)
        bar.set_label(_measure(cross))
        figure.suptitle(f"Cross-attention, layer {layer}", fontsize=11)
        figure.supxlabel(_cut("source token", values.shape[2]), fontsize=10)
        figure.supylabel(_cut("predicted token", values.shape[1]), fontsize=10)
    told = "; ".join(
        f"head {head}: {_strongest(cross, weights)}" for head, weights in enumerate(values)
    )
    return Picture(figure, f"Heat maps of cross-attention, layer {layer}. Strongest cells: {told}.")


def alignment_accuracy(frame: pd.DataFrame) -> Picture:
    """Draw how often each head looks most where the answer stands, one heat map for each field.

    A frame marks the best head of a field.

    Parameters
    ----------
    frame : with columns ``layer``, ``head``, ``field``, ``accuracy`` and ``chance`` (shares), as
        `translation.alignment_accuracy` returns it

    Raises
    ------
    AttnlabError : a table without rows or without one of these columns
    """
    missing = [column for column in _COLUMNS if column not in frame]
    if missing or frame.empty:
        lack = f"lacks {', '.join(missing)}" if missing else "has no rows"
        raise AttnlabError(
            f"This table {lack}. Give that of al.translation.alignment_accuracy(translator, data)."
        )
    fields = list(dict.fromkeys(frame["field"]))
    tables = {
        field: 100 * part.pivot(index="layer", columns="head", values="accuracy")
        for field, part in frame.groupby("field", sort=False)
    }
    chance = 100 * frame.groupby("field", sort=False)["chance"].mean()
    layers, heads = tables[fields[0]].shape
    told = []
    with style():
        across, down = _grid(len(fields), 0.6 + 0.52 * heads)
        size = across * (0.6 + 0.52 * heads) + 1.4, down * (1.2 + 0.42 * layers) + 0.3
        figure, grid = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
        for rest in grid.flat[len(fields) :]:
            rest.axis("off")
        for field, axes in zip(fields, grid.flat, strict=False):
            table = tables[field]
            heatmap(
                table,
                axes,
                cmap="cividis",
                vmin=0,
                vmax=100,
                annot=layers * heads <= 160,
                fmt=".0f",
                annot_kws={"size": 9},
                linewidths=0.5,
                cbar=False,
            )
            axes.set(xlabel="head", ylabel="layer")
            axes.tick_params(axis="both", rotation=0)
            layer, head = table.stack().idxmax()
            about = f"best {layer}.{head}, chance {chance[field]:.0f} %"
            axes.set_title(f"{plain(field)}\n{about}", loc="left", fontsize=10)
            row, column = table.index.get_loc(layer), table.columns.get_loc(head)
            frame_of: dict[str, Any] = {"edgecolor": _BEST, "linewidth": 2.5, "clip_on": False}
            axes.add_patch(Rectangle((column, row), 1, 1, fill=False, **frame_of))
            told.append(
                f"{field}: best is layer {layer} head {head} with {table.loc[layer, head]:.0f} %, "
                f"chance {chance[field]:.0f} %"
            )
        bar = figure.colorbar(grid[0, 0].collections[0], ax=grid, pad=0.02)
        bar.set_label("right place, %")
    return Picture(figure, f"Alignment accuracy of {layers * heads} heads. {'; '.join(told)}.")


def next_tokens(maps: Seq2SeqMaps, step: int, k: int = 5) -> Picture:
    """Draw what the model considers at one step: the ``k`` likeliest tokens, and the one that came.

    Parameters
    ----------
    step : the output position, 0 for the first; what came at earlier ones is fed

    Raises
    ------
    AttnlabError : a step that there is not; k below 1
    """
    found = considered(maps, k)
    if not 0 <= step < len(found):
        raise AttnlabError(f"There is no step {step}; steps are 0 to {len(found) - 1}.")
    fed = " ".join(maps.decoder.tokens[: step + 1])
    names = [plain(choice["token"], 16) for choice in found[step]]
    shares = [100 * choice["share"] for choice in found[step]]
    colours = [_CHOSEN if choice["chosen"] else _OTHER for choice in found[step]]
    with style():
        figure, axes = plt.subplots(figsize=(5.2, 0.9 + 0.32 * len(names)))
        bars = axes.barh(range(len(names)), shares, color=colours, height=0.72)
        notes = [
            f"{share:.1f}{' chosen' if choice['chosen'] else ''}"
            for share, choice in zip(shares, found[step], strict=True)
        ]
        axes.bar_label(bars, notes, padding=4, fontsize=9)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlim=(0, 118), xlabel="probability, %", xticks=range(0, 101, 25))
        shown = fed if len(fed) <= 46 else f"…{fed[-45:]}"
        axes.set_title("after  " + shown.replace("$", r"\$"), loc="left", fontsize=10)
        sns.despine(figure)
    told = ", ".join(f"{choice['token']!r} {choice['share']:.1%}" for choice in found[step])
    came = maps.cross.target[step]
    alt = f"Bars: the likeliest tokens at step {step}, after {fed!r}: {told}. Chosen: {came!r}."
    return Picture(figure, alt)


# ── shared with the desk ───────────────────────────────────────────────────────────────────────


def aligned(cross: CrossMaps, layer: int | None, head: int | None) -> np.ndarray:
    """Weights × scale of one head, or the mean over what is not given, (T, S).

    Raises
    ------
    AttnlabError : as `alignment`
    """
    if layer is None and head is not None:
        raise AttnlabError(f"Of which layer is head {head}? Give the layer too, or leave both out.")
    if layer is not None:
        cross.check_place(layer, head)
    values = cross.of("scaled").detach().float()
    values = values.mean(0) if layer is None else values[layer]  # (H, T, S)
    return (values.mean(0) if head is None else values[head]).numpy()


def considered(maps: Seq2SeqMaps, k: int = 5) -> list[list[dict[str, Any]]]:
    """The k likeliest tokens of every step with their shares, and the one that came in any case."""
    found = []
    for row, came, chances in zip(
        maps.top(k), maps.cross.target, maps.probabilities.tolist(), strict=True
    ):
        choices: list[dict[str, Any]] = [
            {"token": token, "share": float(f"{share:.4g}"), "chosen": token == came}
            for token, share in row
        ]
        if not any(choice["chosen"] for choice in choices) and came in maps.vocabulary:
            share = float(f"{chances[maps.vocabulary.index(came)]:.4g}")
            choices.append({"token": came, "share": share, "chosen": True})
        found.append(choices)
    return found


def place(layer: int | None, head: int | None) -> str:
    """Which heads, in words."""
    if layer is None:
        return "mean over all heads"
    return f"layer {layer}, " + ("mean over heads" if head is None else f"head {head}")


def described(maps: Seq2SeqMaps, layer: int | None, head: int | None) -> str:
    """Alt text of an alignment: what it is, and its strongest cell."""
    values = aligned(maps.cross, layer, head)
    return (
        f"Heat map of cross-attention, {place(layer, head)}: {len(values)} predicted tokens down, "
        f"{values.shape[1]} source tokens across. Strongest: {_strongest(maps.cross, values)}."
    )


_COLUMNS = ("layer", "head", "field", "accuracy", "chance")


def _measure(cross: CrossMaps) -> str:
    """What is drawn: with neutral settings weight × scale is the weight."""
    return "weight" if bool((cross.settings.scale == 1).all()) else "weight × scale"


def _label(token: str) -> str:
    """A token at an axis, with an open box for the mark of a space."""
    return plain(token.replace("▁", "␣"), 12)


def _draw(
    axes: Axes, tokens: tuple[list[str], list[str]], values: np.ndarray, limits: Normalize
) -> None:
    """A heat map of weights (T, S) with the tokens of its rows and of its columns."""
    rows, columns = (min(size, MAX_TOKENS) for size in values.shape)
    with warnings.catch_warnings():  # a missing glyph is drawn as a box; no need to say it
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        heatmap(
            values[:rows, :columns],
            axes,
            cmap="cividis",
            vmin=limits.vmin,
            vmax=limits.vmax,
            xticklabels=[_label(token) for token in tokens[1][:columns]],
            yticklabels=[_label(token) for token in tokens[0][:rows]],
            cbar=False,
        )
    axes.tick_params(axis="x", rotation=90)
    axes.tick_params(axis="y", rotation=0)


def _frame(axes: Axes, name: str, framed: Frame, shape: tuple[int, ...]) -> None:
    """Draw a frame around cells, with its name where there is more room, if any."""
    (top, bottom), (left, right) = framed
    inside = 0 <= top <= bottom < shape[0] and 0 <= left <= right < shape[1]
    if not inside:
        raise AttnlabError(f"The frame {name!r} does not lie within {shape[0]} x {shape[1]} cells.")
    size = right + 1 - left, bottom + 1 - top
    axes.add_patch(Rectangle((left, top), *size, fill=False, edgecolor="white", linewidth=2))
    if size[0] == shape[1]:
        return
    before = left > shape[1] - 1 - right
    x, side = (left - 0.3, "right") if before else (right + 1.3, "left")
    looks: dict[str, Any] = {"color": "white", "fontsize": 10, "va": "center", "ha": side}
    edge = [withStroke(linewidth=3, foreground="#00204d")]  # the darkest colour of the map
    axes.text(x, (top + bottom + 1) / 2, plain(name, 16), path_effects=edge, **looks)


def _grid(count: int, width: float) -> tuple[int, int]:
    """How many pictures of this width go side by side on nine inches, and in how many rows."""
    across = min(count, 4, max(1, int(9 / width)))
    if across == 3 and count == 4:
        across = 2
    return across, -(-count // across)


def _cut(words: str, count: int) -> str:
    return words if count <= MAX_TOKENS else f"{words} (first {MAX_TOKENS} of {count})"


def _strongest(cross: CrossMaps, values: np.ndarray) -> str:
    return _strongest_of(values, cross.target, cross.source)


def _strongest_of(values: np.ndarray, rows: list[str], columns: list[str]) -> str:
    row, column = np.unravel_index(values.argmax(), values.shape)
    return f"{rows[row]!r} to {columns[column]!r}, {values[row, column]:.2f}"
