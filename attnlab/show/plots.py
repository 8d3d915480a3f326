"""Figures with seaborn and matplotlib, each with its text alternative.

Every function returns a `Picture`, which a notebook shows as an image with alt text (Jupyter's own
output of a figure has none). ``picture.figure`` is the matplotlib figure, yours to change.
"""

import base64
import contextlib
import html
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from bertviz.util import format_special_chars
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attnlab.errors import AttnlabError
from attnlab.files import write_whole
from attnlab.maps import WHATS, AttentionMaps, What
from attnlab.training import History

MAX_TOKENS = 60  # beyond this the labels of a map can no longer be read


class Picture:
    """A figure with its text alternative.

    Attributes
    ----------
    figure : matplotlib Figure
    alt : str, what the figure shows, for those who cannot see it
    """

    def __init__(self, figure: Figure, alt: str):
        self.figure, self.alt = figure, alt
        plt.close(figure)  # or Jupyter would show it a second time, without alt text

    def png(self, dpi: int = 110) -> bytes:
        """The picture as PNG."""
        buffer = io.BytesIO()
        with warnings.catch_warnings():  # a missing glyph is drawn as a box; no need to say it
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            self.figure.savefig(
                buffer, format="png", dpi=dpi, bbox_inches="tight", facecolor="white"
            )
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png()).decode()
        return f'<img alt="{html.escape(self.alt, quote=True)}" src="data:image/png;base64,{data}">'

    def __repr__(self) -> str:
        return f"Picture({self.alt})"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG file, whole or not at all."""
        return write_whole(path, self.png(dpi=160))


def show(figure: Figure, alt: str) -> Picture:
    """Show any matplotlib figure with a text alternative, which says what there is to see in it."""
    if not alt.strip():
        raise AttnlabError("show needs an alt text: one sentence on what the figure shows.")
    return Picture(figure, alt)


def head_map(
    values: pd.DataFrame | np.ndarray,
    column: str = "delta",
    title: str | None = None,
    label: str | None = None,
) -> Picture:
    """Draw one number per head: layers down, heads across.

    Parameters
    ----------
    values : array (L, H), or the table of `Evaluator.sweep`
    column : which column of the table: "delta" (drawn in points) with its noise marked, "loss_delta", ...
    label : what the number is, with its unit

    With a sweep's ``delta`` a frame marks heads whose 95 % interval excludes 0, and the band beside the
    colour bar is what heads that do nothing would still show, half of the mean interval's width.
    """
    band, outside = None, np.zeros(0)
    if isinstance(values, pd.DataFrame):
        if column not in values:
            raise AttnlabError(f"The table has no column {column!r}: {', '.join(values.columns)}.")
        table = values.pivot(index="layer", columns="head", values=column)
        if column == "delta":
            table, label = 100 * table, label or "change of accuracy, points"
            band = 100 * float((values["ci_high"] - values["ci_low"]).mean()) / 2
            marked = (values["ci_low"] > 0) | (values["ci_high"] < 0)
            outside = values.assign(marked=marked).pivot(
                index="layer", columns="head", values="marked"
            )
            outside = np.argwhere(outside.to_numpy(dtype=float, na_value=0) > 0)
    else:
        array = np.asarray(values, dtype=float)
        if array.ndim != 2:
            raise AttnlabError(f"head_map draws an array (L, H); this one has shape {array.shape}.")
        table = pd.DataFrame(array)
    label = label or column.replace("_", " ")
    signed = bool((table.to_numpy() < 0).any())
    limit = float(np.nanmax(np.abs(table.to_numpy()))) or 1.0
    if band:
        limit = max(limit, 1.3 * band)
    rows, columns = table.shape
    with _style():
        figure, axes = plt.subplots(figsize=(1.6 + 0.62 * columns, 1.3 + 0.42 * rows))
        sns.heatmap(
            table,
            ax=axes,
            cmap="vlag" if signed else "cividis",
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
        for row, col in outside:
            axes.add_patch(plt.Rectangle((col, row), 1, 1, fill=False, edgecolor="black", lw=2.2))
        if band:
            bar = axes.collections[0].colorbar.ax
            bar.axhspan(-band, band, facecolor="none", edgecolor="0.25", hatch="////", lw=1)
            note = f"hatched: noise of ±{band:.1f} points"
            note += (
                "; framed: 95 % interval excludes 0" if len(outside) else "; no head is outside it"
            )
            axes.text(
                1,
                -0.32 / max(rows / 6, 0.5),
                note,
                transform=axes.transAxes,
                ha="right",
                fontsize=9,
            )
        if title:
            axes.set_title(title, loc="left")
    low, high = table.stack().idxmin(), table.stack().idxmax()
    alt = (
        f"{title or 'Map of heads'}: {label} for {rows} layers by {columns} heads, lowest "
        f"{table.loc[low]:.2f} at layer {low[0]} head {low[1]}, highest {table.loc[high]:.2f} at layer "
        f"{high[0]} head {high[1]}."
    )
    if band:
        alt += f" {len(outside)} heads have an interval that excludes 0."
    return Picture(figure, alt)


def attention_map(
    maps: AttentionMaps, layer: int, head: int | None = None, what: What = "weights"
) -> Picture:
    """Draw where each token (down) looks (across), for one head, or the mean over a layer's heads."""
    maps.check_place(layer, head)
    with _style():
        side = _side(maps)
        figure, axes = plt.subplots(figsize=(side + 1.6, side))
        _draw_map(axes, maps, _matrix(maps, layer, head, what), what)
        axes.set_title(_place(layer, head), loc="left")
    return Picture(figure, _describe(maps, layer, head, what))


def before_after(maps: AttentionMaps, layer: int, head: int | None = None) -> Picture:
    """Draw one head with neutral settings, with these settings, and the difference.

    What is drawn is weights × scale, which is what reaches the next layer.
    """
    maps.check_place(layer, head)
    if maps.neutral is None:
        raise AttnlabError(
            "These maps are of neutral settings, so there is nothing to compare. Use "
            "clf.attend(text, settings) with settings that change a head."
        )
    with _style():
        side = _side(maps)
        figure, axes = plt.subplots(1, 3, figsize=(3 * side + 2.5, side + 0.4), sharey=True)
        _draw_map(axes[0], maps, _matrix(maps.neutral, layer, head, "scaled"), "scaled")
        _draw_map(axes[1], maps, _matrix(maps, layer, head, "scaled"), "scaled")
        _draw_map(axes[2], maps, _matrix(maps, layer, head, "difference"), "difference")
        for one, name in zip(axes, ("neutral", "with settings", "difference"), strict=True):
            one.set_title(f"{_place(layer, head)}: {name}", loc="left", fontsize=10)
        for one in axes[1:]:
            one.set_ylabel("")
    alt = f"Before, after and difference. {_describe(maps, layer, head, 'difference')}"
    return Picture(figure, alt)


def learning_curve(history: History) -> Picture:
    """Draw training loss, dev loss and dev accuracy over epochs."""
    frame = history.to_frame()
    if frame.empty:
        raise AttnlabError(
            "This history is empty. Train first: clf = al.finetune(...); then clf.history."
        )
    with _style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
        for column, name in (("train_loss", "training"), ("dev_loss", "dev")):
            sns.lineplot(frame, x="epoch", y=column, marker="o", label=name, ax=left)
        sns.lineplot(
            x=frame["epoch"], y=100 * frame["dev_accuracy"], marker="o", ax=right, color="C1"
        )
        left.set(xlabel="epoch", ylabel="loss, nats", xticks=frame["epoch"])
        right.set(xlabel="epoch", ylabel="dev accuracy, %", xticks=frame["epoch"])
        figure.tight_layout()
    best = history.best
    alt = (
        f"Learning curve over {len(frame)} epochs: training loss from {frame['train_loss'].iloc[0]:.2f} to "
        f"{frame['train_loss'].iloc[-1]:.2f}; best dev accuracy {best['dev_accuracy']:.1%} at epoch "
        f"{best['epoch']:.0f}."
    )
    return Picture(figure, alt)


def lines(
    x: Sequence[float] | np.ndarray,
    series: Mapping[str, Sequence[float] | np.ndarray],
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    title: str | None = None,
    log: str = "",
    points: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Picture:
    """Draw several curves over one axis, told apart by colour and by dashes.

    Parameters
    ----------
    x : the places, shared by all curves
    series : name of each curve, and its heights
    xlabel, ylabel : what the axes show, with units
    alt : one or two sentences on what there is to see
    log : "x", "y" or "xy" for logarithmic axes
    points : places and heights of dots to draw as well
    """
    with _style():
        figure, axes = plt.subplots(figsize=(6.4, 3.4))
        if points is not None:
            axes.plot(*points, "o", color="black", markersize=5, zorder=5)
        frame = pd.DataFrame({name: np.asarray(y, dtype=float) for name, y in series.items()})
        frame.index = np.asarray(x, dtype=float)
        sns.lineplot(frame, ax=axes, palette="colorblind", linewidth=2)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if "x" in log:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
        if "y" in log:
            axes.set_yscale("log")
        axes.legend(frameon=False, loc="best" if len(series) > 1 else "upper right")
        if title:
            axes.set_title(title, loc="left")
        sns.despine(figure)
    return show(figure, alt)


def matrix(
    values: np.ndarray,
    *,
    xlabel: str,
    ylabel: str,
    label: str,
    alt: str,
    title: str | None = None,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    digits: int = 2,
) -> Picture:
    """Draw any matrix as a heat map, with its numbers where it is small.

    Parameters
    ----------
    values : array (rows, columns); where it holds negative numbers the colours are centred at 0
    xlabel, ylabel, label : what columns, rows and colours stand for
    alt : one or two sentences on what there is to see
    rows, columns : names to write at the axes
    digits : of the numbers in the cells
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2:
        raise AttnlabError(f"matrix draws an array (rows, columns); this one is {values.shape}.")
    signed = bool((values < 0).any())
    limit = float(np.abs(values).max()) or 1.0
    height, width = values.shape
    cell = 0.5 if values.size <= 144 else 6.0 / max(values.shape)
    with _style():
        figure, axes = plt.subplots(figsize=(1.9 + cell * width, 1.1 + cell * height))
        sns.heatmap(
            values,
            ax=axes,
            cmap="vlag" if signed else "cividis",
            vmin=-limit if signed else 0,
            vmax=limit,
            annot=values.size <= 144,
            fmt=f".{digits}f",
            annot_kws={"size": 9},
            xticklabels="auto" if columns is None else list(columns),
            yticklabels="auto" if rows is None else list(rows),
            cbar_kws={"label": label, "pad": 0.03},
        )
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.tick_params(axis="y", rotation=0)
        if title:
            axes.set_title(title, loc="left")
    return show(figure, alt)


def readable(tokens: Sequence[str]) -> list[str]:
    """Word pieces as people read them, without the marks that tokenizers use for spaces."""
    return format_special_chars(list(tokens))


def _matrix(maps: AttentionMaps, layer: int, head: int | None, what: What) -> np.ndarray:
    picture = maps.of(what)[layer]
    return (picture.mean(0) if head is None else picture[head]).detach().numpy()


def _draw_map(axes: Axes, maps: AttentionMaps, values: np.ndarray, what: What) -> None:
    signed = what == "difference"
    limit = max(float(np.abs(values).max()), 1e-6)
    shown = min(len(maps.tokens), MAX_TOKENS)
    # "$" would start a formula
    labels = [token.replace("$", r"\$") for token in readable(maps.tokens[:shown])]
    sns.heatmap(
        values[:shown, :shown],
        ax=axes,
        cmap="vlag" if signed else "cividis",
        vmin=-limit if signed else 0,
        vmax=limit if signed or what == "contributions" else max(limit, 0.5),
        annot=shown <= 8,
        fmt=".2f",
        annot_kws={"size": 9},
        xticklabels=labels,
        yticklabels=labels,
        square=True,
        cbar_kws={"shrink": 0.7, "pad": 0.02, "label": _BAR[what]},
    )
    axes.set(xlabel="is looked at", ylabel="looks")
    axes.tick_params(axis="x", rotation=60 if shown <= 30 else 90)
    axes.tick_params(axis="y", rotation=0)
    if shown <= 30:
        plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
    if shown < len(maps.tokens):
        axes.set_xlabel(f"is looked at (first {shown} of {len(maps.tokens)} tokens)")


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
        f"{tokens[row]!r} to {tokens[column]!r}, {values[row, column]:.2f}."
    )


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Our looks, for the figures made inside the block and nothing else."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    fallback = [
        name for name in ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans") if name in installed
    ]
    settings = {"font.family": ["DejaVu Sans", *fallback], "font.size": 10, "axes.titlesize": 11}
    with sns.axes_style("white"), plt.rc_context(settings):
        yield
