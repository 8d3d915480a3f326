"""A figure with its text alternative, and the kinds of figure that have no subject of their own."""

import base64
import contextlib
import html
import io
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator

from attnlab.errors import AttnlabError
from attnlab.files import atomic_write


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
        return atomic_write(path, self.png(dpi=160))


def show(figure: Figure, alt: str) -> Picture:
    """Show any matplotlib figure with a text alternative, which says what there is to see in it."""
    if not alt.strip():
        raise AttnlabError("show needs an alt text: one sentence on what the figure shows.")
    return Picture(figure, alt)


def lines(
    x: Sequence[float] | np.ndarray,
    series: Mapping[str, Sequence[float] | np.ndarray],
    *,
    xlabel: str,
    ylabel: str,
    alt: str | None = None,
    title: str | None = None,
    log: str = "",
    points: tuple[Sequence[float], Sequence[float]] | None = None,
    errors: Mapping[str, Sequence[float] | np.ndarray] | None = None,
    levels: Mapping[str, float] | None = None,
    marks: bool = False,
) -> Picture:
    """Draw several curves over one axis, told apart by colour and by dashes.

    Parameters
    ----------
    x : the places, shared by all curves
    series : name of each curve, and its heights
    xlabel, ylabel : what the axes show, with units
    alt : one or two sentences on what there is to see; default where each curve begins and ends,
        is lowest and highest
    log : "x", "y" or "xy" for logarithmic axes
    points : places and heights of dots to draw as well
    errors : half the length of the error bars of each curve, or their lengths below and above,
        (2, N); say in the text what they are. Curves with bars stand a little beside each other,
        so that no bar hides another.
    levels : heights to compare with: thin grey lines across, with their names at the right end
    marks : put a dot at each place, where the places are few
    """
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 3.4))
        if points is not None:
            axes.plot(*points, "o", color="black", markersize=5, zorder=5)
        frame = pd.DataFrame({name: np.asarray(y, dtype=float) for name, y in series.items()})
        frame.index = np.asarray(x, dtype=float)
        dots = len(axes.lines)
        legend = len(series) > 1  # the name of a single curve would only repeat the axis
        looks: dict[str, Any] = {"palette": "colorblind", "linewidth": 2}
        sns.lineplot(frame, ax=axes, legend="auto" if legend else False, **looks)
        curves = axes.lines[dots : dots + len(frame.columns)]  # behind them stand a legend's own
        barred = [name for name in frame.columns if errors and name in errors]
        for line, name in zip(curves, frame.columns, strict=True):
            line.set_marker("o" if marks else "")
            if errors and name in errors:
                place = barred.index(name) - (len(barred) - 1) / 2
                places = _beside(frame.index.to_numpy(), 0.05 * place, "x" in log)
                line.set_xdata(np.sort(places))
                axes.errorbar(
                    places, frame[name], errors[name], fmt="o", color=line.get_color(), capsize=3
                )
        for name, height in (levels or {}).items():
            axes.axhline(height, color="0.45", linewidth=1, zorder=1)
            where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
            axes.annotate(f" {name}", (1, height), color="0.35", **where)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if "x" in log:
            doublings = np.allclose(np.log2(frame.index) % 1, 0)
            axes.set_xscale("log", base=2 if doublings else 10)
            if doublings:
                axes.xaxis.set_major_formatter("{x:g}")
        if "y" in log:
            axes.set_yscale("log")
        handles = [line for line in axes.lines if line.get_label() in frame.columns]
        if legend:
            axes.legend(
                handles=handles,
                facecolor="white",  # legible where it cannot but lie on a curve
                edgecolor="none",
                **_place_of_legend(len(series)),
            )
        if title:
            axes.set_title(title, loc="left")
        sns.despine(figure)
    return show(figure, _in_words(frame, ylabel, levels or {}) if alt is None else alt)


def _beside(places: np.ndarray, share: float, log: bool) -> np.ndarray:
    """Places moved sideways by a share of the smallest distance between two of them."""
    known = np.unique(np.log(places) if log else places)
    step = float(np.diff(known).min()) if len(known) > 1 else 1.0
    return places * math.exp(share * step) if log else places + share * step


def _in_words(frame: pd.DataFrame, ylabel: str, levels: Mapping[str, float]) -> str:
    """Where each curve begins and ends, and where between them it is lowest or highest."""
    told = []
    for name, curve in frame.items():
        known = curve.dropna()
        if known.empty:
            continue
        last = len(known) - 1
        rows = [("from", 0), ("to", last)]
        tops = (("lowest", int(known.argmin())), ("highest", int(known.argmax())))
        rows += [(how, at) for how, at in tops if 0 < at < last]
        words = [f"{how} {known.iloc[at]:.3g} at {known.index[at]:g}" for how, at in rows]
        told.append(f"{name} {', '.join(words)}")
    told += [f"{name} {height:.3g} throughout" for name, height in levels.items()]
    return f"{' '.join(ylabel.split())}: {'; '.join(told)}."


def _place_of_legend(curves: int) -> dict[str, Any]:
    if curves > 4:  # it would hide a curve: beside the axes
        return {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    return {"loc": "best"}


def panels(
    x: Sequence[float] | np.ndarray,
    groups: Mapping[str, Mapping[str, Sequence[float] | np.ndarray]],
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    log: bool = False,
) -> Picture:
    """Draw groups of curves side by side; a name has one colour and one kind of dashes in all.

    Curves that coincide stay visible, as the earlier ones show in the gaps of the later.

    Parameters
    ----------
    x : the places, shared by all curves
    groups : title of each panel, and its curves: names and heights
    xlabel, ylabel : what the axes show, with units
    alt : one or two sentences on what there is to see
    log : whether the places stand on a logarithmic axis
    """
    names = list(dict.fromkeys(name for curves in groups.values() for name in curves))
    colours = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    known: dict[str, Line2D] = {}
    with style():
        size = ((4.2, 4.2, 2.55)[min(len(groups), 3) - 1] * len(groups), 3.2)
        figure, row = plt.subplots(
            1, len(groups), figsize=size, sharey=True, squeeze=False, layout="constrained"
        )
        for axes, (title, curves) in zip(row[0], groups.items(), strict=True):
            for name, heights in curves.items():
                dashes = ("-", "--", ":", "-.")[names.index(name) % 4]
                (known[name],) = axes.plot(
                    x, heights, dashes, color=colours[name], linewidth=2.2, label=name
                )
            axes.set(title=title, xlabel=xlabel, xscale="log" if log else "linear")
            if log:
                axes.xaxis.set_major_locator(LogLocator(numticks=6))
                axes.tick_params(axis="x", labelsize=9)
        row[0][0].set_ylabel(ylabel)
        handles = [known[name] for name in names]
        figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
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
    values : array (rows, columns); where it holds negative numbers the colours are centred at 0,
        and cells with NaN stay empty
    xlabel, ylabel, label : what columns, rows and colours stand for
    alt : one or two sentences on what there is to see
    rows, columns : names to write at the axes
    digits : of the numbers in the cells
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2:
        raise AttnlabError(f"matrix draws an array (rows, columns); this one is {values.shape}.")
    signed = bool((values < 0).any())
    limit = float(np.nanmax(np.abs(values))) or 1.0
    height, width = values.shape
    cell = 0.5 if values.size <= 144 else 6.0 / max(values.shape)
    with style():
        figure, axes = plt.subplots(figsize=(1.9 + cell * width, 1.1 + cell * height))
        heatmap(
            values,
            axes,
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


def heatmap(values: Any, axes: Axes, **looks: Any) -> None:
    """Seaborn's heat map, with numbers that can be read on every colour.

    Each is black or white, whichever has more contrast (at least 4.5 : 1, WCAG 2.1; seaborn's own
    choice is white on middle colours, down to 2.7 : 1). Minus signs are minus signs, and what
    rounds to 0 has none.
    """
    earlier = len(axes.texts), len(axes.collections)
    sns.heatmap(values, ax=axes, **looks)
    mesh: Any = axes.collections[earlier[1]]
    mesh.update_scalarmappable()
    colours, width = mesh.get_facecolor(), np.shape(values)[1]
    for text in axes.texts[earlier[0] :]:
        column, row = (int(place) for place in text.get_position())
        text.set_color(ink_on(colours[row * width + column]))
        text.set_text(_HYPHEN.sub("−", _MINUS_ZERO.sub("", text.get_text())))


def ink_on(colour: Any) -> str:
    """Black or white, whichever has more contrast on a colour."""
    return "white" if _luminance(np.array(to_rgb(colour))) < 0.179 else "black"


def _luminance(colour: np.ndarray) -> float:
    """Relative luminance; below 0.179 white has more contrast on it than black (WCAG 2.1)."""
    shares = colour[:3]
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


_MINUS_ZERO = re.compile(r"^-(?=0(\.0*)?$)")
_HYPHEN = re.compile(r"^-(?=[\d.])")
# One colour for each role, the same in every drawing and desk of the course.
ROLES = {
    "query": "#2166ac",
    "key": "#b35806",
    "value": "#1b7837",
    "weights": "#6a3d9a",
    "text": "#4d4d4d",
    "output": "#333333",
    "trained": "#c51b7d",
    "frozen": "#8c8c8c",
}
# ends of the colour map "vlag", and one convention wherever something is taken away
NEEDED, BETTER_WITHOUT = "#a9373b", "#2369bd"
FOLLOWED = "#6a3d9a"  # the head that a lesson follows, as in its drawings
SIGNED = "PuOr"  # signed numbers that are no change: shares brought back, correlations
HALO = withStroke(linewidth=3, foreground="white")  # keeps a number legible on a line


def need(table: Any, columns: Sequence[str], source: str, rows: bool = True) -> None:
    """Raise AttnlabError unless a table has these columns and, if asked for, rows.

    ``source`` is what returns such a table.
    """
    if not isinstance(table, pd.DataFrame):
        raise AttnlabError(
            f"Expected the table of {source}, a DataFrame, got {type(table).__name__}."
        )
    missing = [name for name in columns if name not in table]
    if missing or (rows and table.empty):
        why = f"lacks {', '.join(map(repr, missing))}" if missing else "has no rows"
        raise AttnlabError(f"This table {why}. Pass the one that {source} returns.")


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Our looks, for the figures made inside the block and nothing else.

    An error in the block closes those figures: Jupyter would show half a picture below it.
    """
    known = set(plt.get_fignums())
    installed = {font.name for font in font_manager.fontManager.ttflist}
    fallback = [
        name for name in ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans") if name in installed
    ]
    settings: dict[Any, Any] = {
        "font.family": ["DejaVu Sans", *fallback],
        "font.size": 10,
        "axes.titlesize": 11,
    }
    with sns.axes_style("white"), plt.rc_context(settings):
        try:
            yield
        except BaseException:
            for number in set(plt.get_fignums()) - known:
                plt.close(number)
            raise
