"""A still picture of a reading desk: attention over the line, what was read, how sure."""

import base64
import io
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from attnlab.show.plots.picture import HALO, ROLES, Picture, style
from attnlab.show.wording import percent, plain

_WRONG, _UNSURE, _GREY, _INK = "#b5452c", "#ca5a14", "#8c8c8c", "#212121"
_ROW = 40  # characters that are shown of a longer line


def reading_desk(report: dict[str, Any]) -> Picture:
    """Draw a reading desk.

    Parameters
    ----------
    report : what the desk shows, a `reading_report`
    """
    with style():
        figure = plt.figure(figsize=(9.6, 3.3), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(2.6, 1), height_ratios=(1.5, 1))
        _draw_line(figure.add_subplot(grid[0, 0]), report)
        _draw_characters(figure.add_subplot(grid[1, 0]), report)
        _draw_alternatives(figure.add_subplot(grid[:, 1]), report)
    return Picture(figure, report["alt"])


def _draw_line(axes: Axes, report: dict[str, Any]) -> None:
    """The picture, and over it a band for each column that the chosen character looked at."""
    data = base64.b64decode(report["image"].split(",")[1])
    width, height = report["size"]
    axes.imshow(
        np.asarray(Image.open(io.BytesIO(data))),
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(0, width, height, 0),
    )
    choice = report["choice"]
    title = "nothing was read"
    if choice is not None:
        for left, weight in zip(report["columns"], report["attention"][choice], strict=True):
            share = 0.6 * min(1.0, weight / report["limit"])
            band: dict[str, Any] = {"fc": ROLES["weights"], "alpha": share, "ec": "none"}
            axes.add_patch(Rectangle((left, 0), report["column"], height, **band))
        own = report["characters"][choice]
        axes.plot([own["where"]] * 2, [0, height], color=ROLES["weights"], lw=1.6, ls="--")
        axes.plot(own["where"], height * 1.06, "^", color=ROLES["weights"], ms=7, clip_on=False)
        title = f"where it looked, writing {_name(own['name'])}"
    axes.set(xlim=(0, width), ylim=(height * 1.12, 0))
    axes.axis("off")
    axes.set_title(title, loc="left", fontsize=10)


def _draw_characters(axes: Axes, report: dict[str, Any]) -> None:
    """The text that was read, with a mark below what is unsure and what is wrong."""
    shown = report["characters"][:_ROW]
    for column, own in enumerate(shown):
        wrong = own["right"] is False
        colour = _WRONG if wrong else _INK
        looks: dict[str, Any] = {"ha": "center", "va": "center", "color": colour}
        name = "␣" if own["name"] == " " else plain(own["name"])
        axes.text(column, 0, name, fontsize=13, weight="bold" if wrong else "normal", **looks)
        if column == report["choice"]:
            frame: dict[str, Any] = {"fill": False, "ec": ROLES["weights"], "lw": 1.8}
            axes.add_patch(Rectangle((column - 0.48, -0.5), 0.96, 1, **frame))
        marks = ("?" if own["unsure"] else "") + ("✗" if wrong else "")
        mark_colour = _WRONG if wrong else _UNSURE
        axes.text(column, 0.95, marks, ha="center", va="center", color=mark_colour, weight="bold")
    if len(report["characters"]) > _ROW:
        axes.text(_ROW, 0, "…", fontsize=13, ha="center", va="center")
    axes.set(xlim=(-0.7, max(len(shown), 20) + 0.4), ylim=(1.7, -0.8))
    axes.axis("off")
    marks = "? less than 90 % sure"
    if report["truth"] is not None:
        marks += "   ✗ wrong"
    axes.set_title(f"read: {marks}", loc="left", fontsize=10)


def _draw_alternatives(axes: Axes, report: dict[str, Any]) -> None:
    """What else it might have written."""
    choice = report["choice"]
    rows = [] if choice is None else report["characters"][choice]["alternatives"]
    for row, one in enumerate(rows):
        colour = _INK if row == 0 else _GREY
        axes.barh(row, 100 * one["share"], 0.6, color=colour)
        told = percent(one["share"])
        text = axes.text(100 * one["share"] + 2, row, told, va="center", fontsize=9)
        text.set_path_effects([HALO])
    axes.set_yticks(range(len(rows)), [_name(one["name"]) for one in rows])
    axes.set(xlim=(0, 125), ylim=(max(len(rows), 5) - 0.4, -0.6), xlabel="probability (%)")
    axes.set_xticks([0, 50, 100])
    axes.tick_params(axis="y", length=0)
    axes.set_title("might be", loc="left", fontsize=10)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _name(character: str) -> str:
    return {" ": "space", "": "end"}.get(character, plain(character))
