"""A still picture of a flow desk: a sentence on its way through one head, and the answer so far."""

import functools
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import SubFigure
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path
from seaborn import color_palette

from attnlab.show.plots.picture import ROLES, Picture, style
from attnlab.show.wording import plain, with_minus

_FAINT = 0.05  # weights below this are not drawn, as at the desk, but for the token that looks
_STRIP = 0.22  # of the distance between two layers: how wide a vector is
_INK, _GREY, _PAPER, _EDGE = "#212121", "#8c8c8c", "#eeeeee", "#d0d0d0"


@functools.cache
def strip_colours() -> ListedColormap:
    """The colours of a number in a strip: blue below 0, white at 0, red above (129 steps)."""
    share = np.linspace(0, 1, 129)
    colours = color_palette("vlag", as_cmap=True)(share)
    paler = 1 - np.abs(2 * share - 1)[:, None]  # 1 in the middle, which vlag draws pink
    lift = 1 - colours[64, :3]
    colours[:, :3] = np.clip(colours[:, :3] + paler**2 * lift, 0, 1)
    colours[64] = 1.0
    return ListedColormap(colours)


def flow_desk(report: dict[str, Any]) -> Picture:
    """Draw a flow desk: the whole model, one of its heads, and what the layer makes of a vector.

    Parameters
    ----------
    report : what the desk shows, a `flow_report`
    """
    tokens, settings = report["tokens"], report["settings"]
    heights = 1.3 + 0.2 * len(tokens), 1.25 + 0.23 * (len(tokens) + 1), 2.5  # inches
    with style():
        figure = plt.figure(figsize=(8.4, sum(heights)), layout="constrained")
        rows: Any = figure.subfigures(3, 1, height_ratios=heights)
        for row in rows:
            row.patch.set_visible(False)  # what joins them is drawn behind
        whole = rows[0].subplots()
        query, key = _through_the_head(rows[1], report)
        update, by_head = rows[2].subplots(1, 2, width_ratios=(1, 0.34))
        _whole_model(whole, report)
        _update(update, report)
        _by_head(by_head, report)
        figure.supxlabel(
            f"“{plain(tokens[settings['token']], 14)}” looks. Red is above 0, blue below. Purple: "
            "attention, above the mean of a layer's heads; grey boxes: feed-forward networks.\n"
            f"Above: “{plain(report['label'], 14)}”, read off {plain(tokens[0])} after each layer. "
            f"Below: {len(report['columns'])} of the {report['width']} numbers of each vector; the "
            "other queries are faded.",
            fontsize=9,
            x=0.01,
            ha="left",
        )
        figure.canvas.draw()  # the layout decides where everything stands
        _ask(query, key, settings["token"], len(tokens))
        _zoom(whole, rows[1].axes, settings["layer"], len(tokens))
    return Picture(figure, report["alt"])


def _zoom(whole: Axes, panels: list[Axes], layer: int, count: int) -> None:
    """Join the frame of a layer to the panels that look into one of its heads."""
    figure: Any = whole.get_figure(root=True)
    into = figure.transFigure.inverted()
    corners = [(layer + _STRIP + 0.06, count - 0.3), (layer + 0.95, count - 0.3)]
    left, right = (into.transform(whole.transData.transform(corner)) for corner in corners)
    boxes = [panel.get_window_extent().transformed(into) for panel in panels]
    top = max(box.y1 for box in boxes) + 0.42 / figure.get_figheight()  # above their titles
    ends = [(max(box.x1 for box in boxes), top), (min(box.x0 for box in boxes), top)]
    wedge: dict[str, Any] = {"fc": ROLES["query"], "alpha": 0.1, "transform": figure.transFigure}
    figure.add_artist(Polygon([left, right, *ends], ec="none", zorder=-1, **wedge))


def _whole_model(axes: Axes, report: dict[str, Any]) -> None:
    """A row for each token, a frame for each layer, the answer so far below, as the desk's 0."""
    tokens, token = report["tokens"], report["settings"]["token"]
    between, limit = np.array(report["between"]["weights"]), report["limits"]["states"]
    count, depth = len(tokens), len(between)
    for index, state in enumerate(np.array(report["states"])):
        for row in range(count):
            axes.imshow(
                state[None, row],
                cmap=strip_colours(),
                vmin=-limit,
                vmax=limit,
                aspect="auto",
                interpolation="nearest",
                extent=(index, index + _STRIP, row + 0.32, row - 0.32),
            )
    for layer, weights in enumerate(between):
        _layer(axes, weights, token, layer, here=layer == report["settings"]["layer"])
    for index, answer in enumerate(report["answers"]):
        final, wide = index == depth, 1.5 * _STRIP
        for share, colour in ((1.0, _PAPER), (answer["share"], _INK if final else _GREY)):
            axes.add_patch(Rectangle((index, count + 0.1), wide * share, 0.35, color=colour))
        bold: Any = "bold" if final else "normal"
        axes.text(index, count + 1.2, answer["text"], fontsize=9, weight=bold)
    axes.plot([depth + _STRIP, depth + _STRIP + 0.1], [0, 0], color=_INK, lw=1.5)
    told = f"7\n{plain(report['label'], 10)}\n{report['answers'][-1]['text']}"
    axes.text(depth + _STRIP + 0.14, 0, told, fontsize=10, weight="bold", va="center")
    axes.set(xlim=(-0.03, depth + _STRIP + 0.62), ylim=(count + 1.3, -1.6), xticks=[])
    axes.set_yticks(range(count), [plain(name, 14) for name in tokens], fontsize=9.5)
    axes.get_yticklabels()[token].set(color=ROLES["query"], weight="bold")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("0  The whole model", loc="left", fontsize=10, weight="bold", color=_INK)


def _layer(axes: Axes, weights: np.ndarray, token: int, layer: int, here: bool) -> None:
    """A frame with a line from each token to each that looks at it, and boxes that feed forward."""
    count = len(weights)
    left, right = layer + _STRIP + 0.06, layer + 0.95
    frame = FancyBboxPatch(
        (left, -0.6),
        right - left,
        count + 0.2,
        boxstyle="round,pad=0,rounding_size=0.04",
        mutation_aspect=8,
        fc="#f9f9f9",
        ec=ROLES["query"] if here else _EDGE,
        lw=1.6 if here else 0.8,
    )
    axes.add_patch(frame)
    axes.hlines(range(count), left - 0.06, right + 0.05, color=_EDGE, lw=0.7)
    for row in range(count):
        axes.add_patch(Rectangle((right - 0.2, row - 0.22), 0.15, 0.44, color="#b0b0b0"))
    for looks, seen in np.argwhere(weights >= 0.005):
        weight, strong = weights[looks, seen], looks == token
        if not strong and (weight < _FAINT or looks == seen):
            continue
        how = {"lw": 0.2 + 6 * weight, "alpha": 0.8 if strong else 0.12, "zorder": 3 + strong}
        axes.add_patch(curve((left + 0.03, seen), (right - 0.24, looks), **how))
    axes.text((left + right) / 2, -1.1, f"layer {layer}", ha="center", fontsize=9.5)


def _by_head(axes: Axes, report: dict[str, Any]) -> None:
    """Step 6: how much each head of the layer adds to the token that looks."""
    settings = report["settings"]
    lengths = report["by_head"][settings["token"]]
    rows = np.arange(len(lengths))
    own = rows == settings["head"]
    axes.barh(rows, lengths, 0.6, color=np.where(own, _INK, _GREY))
    names = [f"L{settings['layer']}H{head}" for head in rows]
    axes.set_yticks(rows, names, fontsize=8)
    axes.get_yticklabels()[settings["head"]].set_fontweight("bold")
    for row, length in enumerate(lengths):
        axes.text(length + 0.03 * max(lengths), row, f"{length:.1f}", va="center", fontsize=8)
    axes.set(xlim=(0, 1.2 * max(*lengths, 1e-9)), ylim=(len(lengths) - 0.4, -0.6), xticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    title = "6  each head\nadds (length)"
    axes.set_title(title, loc="left", fontsize=10, weight="bold", color=_INK)


def _through_the_head(figure: SubFigure, report: dict[str, Any]) -> tuple[Axes, Axes]:
    """Steps 2 to 5, a row for each token; returns where the queries and the keys stand."""
    tokens, limits, token = report["tokens"], report["limits"], report["settings"]["token"]
    weights, queries = np.array(report["weights"][token]), np.array(report["queries"])
    values, mixture = np.array(report["values"]), np.array(report["mixtures"][token])
    stronger = limits["values"] / limits["parts"][token]
    # the sum is drawn in the colours of the values, its parts in stronger ones
    parts = np.vstack([weights[:, None] * values, mixture / stronger])
    panels = figure.subplots(1, 8, width_ratios=(1, 1, 0.5, 1, 0.42, 0.85, 1, 1.15))
    panels[2].axis("off")  # room for lines from the query to the keys
    axes = np.delete(panels, 2)
    vectors, query, key, score, weight, value, mixed = axes
    _strips(vectors, np.array(report["vectors"]), limits["vectors"])
    _strips(query, queries, limits["queries"])
    _strips(key, np.array(report["keys"]), limits["keys"])
    _strips(value, values, limits["values"])
    _numbers(score, np.array(report["scores"][token]))
    _bars(weight, weights)
    _strips(mixed, parts, limits["parts"][token])
    vectors.set_yticks(range(len(tokens)), [plain(name, 14) for name in tokens], fontsize=9.5)
    looking = vectors.get_yticklabels()[token]
    looking.set(color=ROLES["query"], weight="bold")
    _fade_others(query, token, queries.shape)
    weight.text(0.9, len(tokens), "sum", va="center", ha="right", fontsize=9)
    weight.text(1.04, len(tokens), f"{weights.sum():.2f}", va="center", fontsize=9)
    mixed.axhline(len(tokens) - 0.5, color=_INK, lw=1)
    frame: dict[str, Any] = {"fill": False, "edgecolor": _INK, "clip_on": False}
    mixed.add_patch(Rectangle((-0.5, len(tokens) - 0.5), parts.shape[1], 1, **frame))
    mixed.set_xlabel("sum: colours × 1", fontsize=8, labelpad=2, loc="left")
    for panel in axes:
        panel.set_ylim(len(tokens) + 0.5, -0.5)
    titles = [
        ("2\nvector", _INK),
        ("3\nquery", ROLES["query"]),
        ("3\nkey", ROLES["key"]),
        ("4\nscore", _INK),
        ("4\nweight", ROLES["weights"]),
        ("3\nvalue", ROLES["value"]),
        (f"5\nweight × value\n(colours × {stronger:.1f})", ROLES["value"]),
    ]
    for panel, (title, colour) in zip(axes, titles, strict=True):
        side: Any = "right" if panel is score else "left"
        panel.set_title(title, loc=side, fontsize=10, weight="bold", color=colour)
    return query, key


def _update(axes: Axes, report: dict[str, Any]) -> None:
    """Step 6: how the layer makes the new vector of the token that looks, a row for each part."""
    parts, token = report["update"], report["settings"]["token"]
    times = [part["times"][token] for part in parts]
    rows = [np.array(part["values"][token]) * one for part, one in zip(parts, times, strict=True)]
    wide = max(map(len, rows))  # one in so many numbers is drawn: inside the network there are more
    shown = np.array([row[np.arange(wide) * len(row) // wide] for row in rows])
    _strips(axes, shown, report["limits"]["vectors"])
    told = [f", colours × {one:.{int(one < 10)}f}" if one > 1 else "" for one in times]
    named = [
        f"{part['name']}{more}  {part['sign']}" for part, more in zip(parts, told, strict=True)
    ]
    axes.set_yticks(range(len(parts)), named, fontsize=9)
    for row, part in enumerate(parts):
        if part["sign"] == "=":
            axes.axhline(row - 0.5, color=_INK, lw=1)
    axes.get_yticklabels()[-1].set_fontweight("bold")
    title = f"6\nnew vector of “{plain(report['tokens'][token], 14)}”"
    axes.set_title(title, loc="left", fontsize=10, weight="bold", color=_INK)


def _fade_others(axes: Axes, token: int, shape: tuple[int, ...]) -> None:
    """Frame the query of the token that looks, and put a veil over the others."""
    rows, width = shape
    for row in range(rows):
        if row != token:
            veil: dict[str, Any] = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none"}
            axes.add_patch(Rectangle((-0.5, row - 0.5), width, 1, **veil))
    box: dict[str, Any] = {"fill": False, "edgecolor": ROLES["query"], "lw": 2, "clip_on": False}
    box["zorder"] = 5  # above the white lines between the rows
    axes.add_patch(Rectangle((-0.5, token - 0.5), width, 1, **box))


def _ask(query: Axes, key: Axes, token: int, count: int) -> None:
    """A line from the query of the token that looks to every key, in the query's colour."""
    figure: Any = query.get_figure(root=True)
    into = figure.transFigure.inverted()
    right = query.get_xlim()[1]
    left, start = into.transform(query.transData.transform((right, token)))
    for row in range(count):
        end_x, end = into.transform(key.transData.transform((-0.5, row)))
        how: dict[str, Any] = {"transform": figure.transFigure, "alpha": 0.7, "lw": 1.1}
        figure.add_artist(curve((left, start), (end_x, end), ec=ROLES["query"], **how))


def curve(start: tuple[float, float], end: tuple[float, float], **how: Any) -> PathPatch:
    """A line from one row to another, as what a head carries from token to token is drawn."""
    bend = (start[0] + end[0]) / 2
    path = Path(
        [start, (bend, start[1]), (bend, end[1]), end],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )
    looks: dict[str, Any] = {"fc": "none", "ec": ROLES["weights"], "capstyle": "butt"}
    return PathPatch(path, **looks | how)


def _strips(axes: Axes, values: np.ndarray, limit: float) -> None:
    """Vectors, a row each."""
    axes.imshow(
        values,
        cmap=strip_colours(),
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set(xticks=[], yticks=[])
    axes.hlines(np.arange(0.5, len(values) - 1), -0.5, values.shape[1] - 0.5, color="white", lw=2)
    for row in range(len(values)):  # numbers near 0 are white, as the page is
        edge: dict[str, Any] = {"fill": False, "edgecolor": _EDGE, "lw": 0.7, "clip_on": False}
        axes.add_patch(Rectangle((-0.5, row - 0.43), values.shape[1], 0.86, zorder=4, **edge))
    axes.spines[:].set_visible(False)


def _numbers(axes: Axes, scores: np.ndarray) -> None:
    """The score of each token, as a number."""
    for row, score in enumerate(scores):
        told = with_minus(f"{round(float(score), 1) + 0:.1f}")
        axes.text(1, row, told, va="center", ha="right", fontsize=9, color=_INK)
    axes.set(xlim=(0, 1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _bars(axes: Axes, weights: np.ndarray) -> None:
    """The weight on each token."""
    rows = np.arange(len(weights))
    axes.barh(rows, np.ones(len(weights)), 0.55, color=_PAPER)
    axes.barh(rows, weights, 0.55, color=ROLES["weights"])
    for row, weight in enumerate(weights):
        axes.text(1.04, row, f"{weight:.2f}", va="center", fontsize=9, color=_INK)
    axes.set(xlim=(0, 1.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
