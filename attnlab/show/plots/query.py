"""A still picture of a query desk: the query among keys, the weights, and the mixture."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from attnlab.show.plots.picture import HALO, ROLES, Picture, style
from attnlab.show.wording import plain, with_minus

_GREY, _LINE, _PAPER = "#8c8c8c", "#d9d9d9", "#eeeeee"


def query_desk(report: dict[str, Any]) -> Picture:
    """Draw a query desk: two planes, and between them a row for each word.

    Parameters
    ----------
    report : what the desk shows, a `query_report`
    """
    with style():
        figure, axes = plt.subplots(
            1, 3, figsize=(8.8, 3.1), width_ratios=(1, 1.05, 1), layout="constrained"
        )
        _asks(axes[0], report)
        _weights(axes[1], report)
        _mixes(axes[2], report)
    return Picture(figure, f"{report['alt']['asks']} {report['remark']} {report['alt']['mixes']}")


def _plane(axes: Axes, ends: list[float], title: str) -> None:
    low, high = ends
    ticks = range(int(low), int(high) + 1)
    axes.set(xlim=(low, high), ylim=(low, high), xticks=ticks, yticks=ticks, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: with_minus(f"{value:g}"))
    axes.grid(color=_LINE, lw=0.8)
    axes.axhline(0, color=_GREY, lw=1)
    axes.axvline(0, color=_GREY, lw=1)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=9)
    axes.set_title(title, loc="left", fontsize=10.5, weight="bold")


def _name(axes: Axes, pair: list[float], source: list[float], words: str, role: str) -> None:
    """Beside a point, on the side that leads away from another one."""
    low, high = axes.get_xlim()
    way = np.subtract(pair, source)
    turn, rise = way / (np.hypot(*way) or 1)
    left = pair[0] > low + 0.66 * (high - low) or turn < -0.75
    middle = abs(turn) <= 0.75 and rise and not pair[0] > low + 0.8 * (high - low)
    offset = (0 if middle else -8 if left else 8, -4 + (12 if middle else 8) * rise)
    how: dict[str, Any] = {"weight": "bold", "fontsize": 10, "path_effects": [HALO], "zorder": 6}
    axes.annotate(
        words,
        (pair[0], pair[1]),
        offset,
        textcoords="offset points",
        ha="center" if middle else "right" if left else "left",
        color=ROLES[role],
        **how,
    )


def _asks(axes: Axes, report: dict[str, Any]) -> None:
    """Arrows of the query and of every key, and how far each key reaches in its direction."""
    settings = report["settings"]
    _plane(axes, report["limits"]["asks"], "query and keys")
    pairs = [*settings["keys"], settings["query"]]
    for pair, role in zip(pairs, ["key"] * len(settings["keys"]) + ["query"], strict=True):
        width = 2.6 if role == "query" else 2
        arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": ROLES[role], "lw": width}
        arrow |= {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 13}
        axes.annotate("", pair, (0, 0), arrowprops=arrow, zorder=4)
    if report["feet"]:
        axes.axline((0, 0), settings["query"], color=ROLES["query"], lw=1, ls=":", alpha=0.5)
    for key, foot in zip(settings["keys"], report["feet"], strict=bool(report["feet"])):
        axes.plot(*zip(key, foot, strict=True), color=ROLES["key"], lw=1.1, ls="--", alpha=0.8)
        axes.plot(*foot, "o", color=ROLES["key"], ms=4, zorder=5)
    for pair, word in zip(settings["keys"], report["words"], strict=True):
        _name(axes, pair, [0, 0], plain(word, 10), "key")
    _name(axes, settings["query"], [0, 0], "query", "query")


def _weights(axes: Axes, report: dict[str, Any]) -> None:
    """A row for each word: its dot product, score and weight."""
    query, keys = report["settings"]["query"], report["settings"]["keys"]
    for row, weight in enumerate(report["weights"]):
        y = -row
        axes.text(0, y + 0.16, plain(report["words"][row], 10), color=ROLES["key"], weight="bold")
        products = " + ".join(f"{q:g} · {k:g}" for q, k in zip(query, keys[row], strict=True))
        told = f"{products} = {report['dots'][row]:g},  / √2 = {report['scores'][row]:.2f}"
        axes.text(0.3, y + 0.16, with_minus(told), fontsize=9.5)
        for part, colour in ((1.0, _PAPER), (weight, ROLES["weights"])):
            axes.barh(y - 0.14, 0.84 * part, 0.2, color=colour)
        axes.text(0.88, y - 0.14, f"{weight:.2f}", va="center", weight="bold")
    axes.set_box_aspect(1 / 1.05)  # as high as the planes
    axes.set(xlim=(-0.02, 1.1), ylim=(-len(keys) + 0.4, 0.6), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title("query · key, score, weight", loc="left", fontsize=10.5, weight="bold")


def _mixes(axes: Axes, report: dict[str, Any]) -> None:
    """The values, and the mixture that each draws to itself by its weight."""
    values, mixture = report["settings"]["values"], report["mixture"]
    _plane(axes, report["limits"]["mixes"], "values and mixture")
    axes.add_patch(Polygon(values, fc=ROLES["value"], alpha=0.08, ec="none"))
    for value, weight in zip(values, report["weights"], strict=True):
        ends = zip(value, mixture, strict=True)
        axes.plot(*ends, color=ROLES["weights"], lw=0.8 + 9 * weight, alpha=0.5, zorder=3)
        axes.plot(*value, "o", color=ROLES["value"], ms=6, zorder=5)
    axes.plot(*mixture, "o", mfc="white", mec=ROLES["value"], mew=2.6, ms=9, zorder=5)
    for value, word in zip(values, report["words"], strict=True):
        _name(axes, value, mixture, plain(word, 10), "value")
    told = with_minus(f"mixture\n({mixture[0]:.2f}, {mixture[1]:.2f})")
    low, high = report["limits"]["mixes"]
    others = [value[1] for value in values if abs(value[0] - mixture[0]) < (high - low) / 4]
    above = sum(other > mixture[1] for other in others) <= len(others) / 2  # fewer values are there
    inside = (min(max(mixture[0], low + 0.8), high - 0.8), mixture[1])
    how: dict[str, Any] = {"weight": "bold", "fontsize": 10, "path_effects": [HALO], "zorder": 6}
    axes.annotate(
        told,
        inside,
        (0, 9 if above else -9),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        color=ROLES["value"],
        **how,
    )
