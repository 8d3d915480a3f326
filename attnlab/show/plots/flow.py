"""A still picture of a flow desk: a sentence on its way through one head, and the answer so far."""

import functools
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import SubFigure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from seaborn import color_palette

from attnlab.show.plots.picture import ROLES, Picture, style
from attnlab.show.wording import plain, with_minus

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
    """Draw a flow desk: all of its steps side by side, for the token that looks.

    Parameters
    ----------
    report : what the desk shows, a `flow_report`
    """
    tokens, settings = report["tokens"], report["settings"]
    upper, lower = 1.25 + 0.23 * (len(tokens) + 1), 2.7  # inches
    with style():
        figure = plt.figure(figsize=(8.4, upper + lower), layout="constrained")
        rows: Any = figure.subfigures(2, 1, height_ratios=(upper, lower))
        through_head, after = rows
        query, key = _through_the_head(through_head, report)
        update, answer = after.subplots(1, 2, width_ratios=(1, 0.62))
        _update(update, report)
        _answer(answer, report)
        figure.supxlabel(
            f"“{plain(tokens[settings['token']], 14)}” looks, in layer {settings['layer']}, head "
            f"{settings['head']}. Red is above 0, blue below; the other queries are veiled.\n"
            f"Vectors: {len(report['columns'])} of {report['width']} numbers. "
            "Between 6 and 7: all later layers.",
            fontsize=9,
            x=0.01,
            ha="left",
        )
        _ribbons(query, key, settings["token"], np.array(report["weights"][settings["token"]]))
    return Picture(figure, report["alt"])


def _through_the_head(figure: SubFigure, report: dict[str, Any]) -> tuple[Axes, Axes]:
    """Steps 2 to 5, a row for each token; returns where the queries and the keys stand."""
    tokens, limits, token = report["tokens"], report["limits"], report["settings"]["token"]
    weights, queries = np.array(report["weights"][token]), np.array(report["queries"])
    values, mixture = np.array(report["values"]), np.array(report["mixtures"][token])
    parts = np.vstack([weights[:, None] * values, mixture])
    stronger = limits["values"] / limits["parts"][token]
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
    shown = np.array([part["values"][token] for part in parts]) * np.array(times)[:, None]
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


def _ribbons(query: Axes, key: Axes, token: int, weights: np.ndarray) -> None:
    """From the query of the token that looks to each key, as wide as the weight that it gets."""
    figure: Any = query.get_figure(root=True)
    figure.canvas.draw()  # the layout decides where the two stand
    into = figure.transFigure.inverted()
    right = query.get_xlim()[1]
    left, start = into.transform(query.transData.transform((right, token)))
    for row, weight in enumerate(weights):
        if weight < 0.005:
            continue
        end_x, end = into.transform(key.transData.transform((-0.5, row)))
        bend = (left + end_x) / 2
        path = Path(
            [(left, start), (bend, start), (bend, end), (end_x, end)],
            [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
        )
        figure.add_artist(
            PathPatch(
                path,
                transform=figure.transFigure,
                fc="none",
                ec=ROLES["weights"],
                alpha=0.55,
                lw=0.6 + 12 * weight,
            )
        )


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


def _answer(axes: Axes, report: dict[str, Any]) -> None:
    """The probability of the final answer before the first layer and after each."""
    shares = [100 * answer["share"] for answer in report["answers"]]
    rows = np.arange(len(shares))
    axes.barh(rows, np.full(len(shares), 100), 0.55, color=_PAPER)
    axes.barh(rows, shares, 0.55, color=[*[_GREY] * (len(shares) - 1), _INK])
    axes.axvline(50, color=_INK, lw=1, ls=":")
    for row, answer in enumerate(report["answers"]):
        axes.text(104, row, answer["text"], va="center", fontsize=9, color=_INK)
    axes.set(xlim=(0, 150), ylim=(len(shares) - 0.4, -0.6))
    axes.set_xticks([50], ["50 %"], fontsize=9)
    axes.set_yticks(rows, report["names"], fontsize=9)
    axes.spines[:].set_visible(False)
    title = f"7\n“{plain(report['label'], 14)}”"
    axes.set_title(title, loc="left", fontsize=10, weight="bold", color=_INK)
