"""The still picture of the budget explorer, drawn from what it shows."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from attnlab.show.plots.picture import Picture, style
from attnlab.show.wording import folded, plain

COLOURS = {
    "embedding": "#6b6b6b",
    "attention projections": "#2166ac",
    "attention scores": "#7db3e6",
    "feed-forward": "#ca5a14",
    "classifier": "#212121",
}
_MARKS = {"search": ("o", "#2166ac", 5), "chance": ("P", "#757575", 5.5),
          "whole": ("D", "#212121", 6.5)}  # fmt: skip
_NAMES = {
    "search": "chosen by the search",
    "chance": "drawn at random",
    "whole": "whole classifier",
}
_PALE, _BLUE, _ORANGE = 0.2, "#2166ac", "#ca5a14"


def explored_budget(report: dict[str, Any]) -> Picture:
    """Draw the frontier with the limits, what stays, where the cost is, and what follows from it.

    Parameters
    ----------
    report : as `budget_report.budget_report` makes it
    """
    with style():
        checked = report["check"]
        figure = plt.figure(figsize=(10.6, 6.2 if checked else 5.4), layout="constrained")
        grid = figure.add_gridspec(2, 1, height_ratios=(2, 1.3) if checked else (2.5, 1))
        top = grid[0].subgridspec(1, 2, width_ratios=(1.35, 1))
        _draw_frontier(figure.add_subplot(top[0]), report)
        _draw_map(figure.add_subplot(top[1]), report["map"], report["fits"])
        widths = (2.2, 1) if checked else (1,)
        bottom = grid[1].subgridspec(1, len(widths), width_ratios=widths)
        _draw_split(figure.add_subplot(bottom[0]), report["split"], report["fits"])
        if checked:
            _draw_check(figure.add_subplot(bottom[1]), checked)
        words = plain(folded(_limits(report) + report["remark"], 160), 2000)
        figure.supxlabel(words, x=0.01, ha="left", fontsize=9)
    alt = " ".join(report[part]["alt"] for part in ("chart", "map", "split"))
    return Picture(figure, f"{_limits(report)}{report['remark']} {alt}")


def _limits(report: dict[str, Any]) -> str:
    given = [f"{one['label']} {one['told']}" for one in report["sliders"] if one["on"]]
    return f"Limits: {', '.join(given) or 'none'}. "


def _draw_frontier(axes: Axes, report: dict[str, Any]) -> None:
    """Accuracy against a cost; what is beyond the limits is pale."""
    chart = report["chart"]
    path = [*chart["path"], [chart["across"]["to"], chart["path"][-1][1]]]
    axes.step(*zip(*path, strict=True), where="post", color=_BLUE, lw=1.6, alpha=0.6,
              label="frontier, 95 % bars")  # fmt: skip
    for point in chart["points"]:
        mark, colour, size = _MARKS[point["kind"]]
        solid = point["frontier"] or point["chosen"] or point["kind"] != "search"
        alpha = 1 if point["inside"] else 0.45
        if point["frontier"] or point["chosen"] or point["kind"] == "whole":
            axes.vlines(point["x"], point["low"], point["high"], colors=colour, lw=1, alpha=alpha)
        axes.plot(point["x"], point["y"], mark, color=colour, ms=size, alpha=alpha,
                  mfc=colour if solid else "white", zorder=3)  # fmt: skip
        if point["chosen"]:
            axes.plot(point["x"], point["y"], "o", ms=14, mfc="none", mec=_ORANGE, mew=2, zorder=4)
    for kind, (mark, colour, size) in _MARKS.items():
        fill = "white" if kind == "search" else colour
        axes.plot([], [], mark, color=colour, ms=size, mfc=fill, label=_NAMES[kind])
    axes.plot([], [], "o", ms=9, mfc="none", mec=_ORANGE, mew=2, label="best inside the limits")
    if chart["limit"] is not None:
        axes.axvline(chart["limit"], color="#212121", lw=1.2, ls="--", label="limit")
    across, up = chart["across"], chart["up"]
    axes.set(xlim=(across["from"], across["to"]), ylim=(up["from"], up["to"]))
    axes.set_xticks([place for place, _ in across["ticks"]], [told for _, told in across["ticks"]])
    axes.set_yticks([place for place, _ in up["ticks"]], [told for _, told in up["ticks"]])
    name = next(words for name, words, _ in report["costs"] if name == report["settings"]["cost"])
    unit = f"{chart['unit']} parameters" if name == "parameters" else chart["unit"]
    axes.set_xlabel(unit.strip() or name)
    axes.set_title("Accuracy on dev", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7.5, loc="lower right")


def _draw_map(axes: Axes, shown: dict[str, Any], fits: bool) -> None:
    """A square for each head, and a bar of neurons for each layer; what is gone is pale."""
    axes.axis("off")
    layers, heads = shown["layers"], shown["heads"]
    axes.set_title(f"{shown['name']}\n{shown['title']}", loc="left", fontsize=9)
    blue, orange = (_BLUE, _ORANGE) if fits else ("#8c8c8c", "#8c8c8c")
    start, wide = heads + 1.0, 0.8 * heads + 2
    for place, layer in enumerate(layers):
        axes.text(-0.4, place + 0.5, layer["name"], ha="right", va="center", fontsize=8)
        for head, stays in enumerate(layer["heads"]):
            if stays is not None:
                square = (head + 0.06, place + 0.1)
                axes.add_patch(
                    Rectangle(square, 0.88, 0.8, color=blue, alpha=1 if stays else _PALE, lw=0)
                )
        share = layer["neurons"] / layer["most"]
        for part, alpha in ((1.0, _PALE), (share, 1.0)):
            bar = Rectangle((start, place + 0.1), part * wide, 0.8, color=orange, alpha=alpha, lw=0)
            axes.add_patch(bar)
        axes.text(start + wide + 0.2, place + 0.5, layer["told"], va="center", fontsize=8)
    axes.text(-0.4, -0.15, "layer", ha="right", fontsize=8)
    axes.text(0, -0.15, "heads", fontsize=8)
    axes.text(start, -0.15, "neurons (pale: gone)", fontsize=8)
    axes.set(xlim=(-2.2, start + wide + 2.6), ylim=(max(len(layers), 4), -0.6))


def _draw_split(axes: Axes, split: dict[str, Any], fits: bool) -> None:
    """Two bars: the cost of each part, of the whole classifier and of the chosen one."""
    for row, (_, told) in enumerate(split["bars"]):
        start = 0.0
        for part in split["parts"]:
            share = part["shares"][row]
            alpha = 1 if fits or row == 0 else 0.35
            axes.barh(row, share, 0.7, left=start, color=COLOURS[part["name"]], alpha=alpha,
                      edgecolor="white", lw=0.8)  # fmt: skip
            start += share
        axes.text(start + 0.01, row, told, va="center", fontsize=9)
    axes.set_yticks(range(len(split["bars"])), [who for who, _ in split["bars"]])
    axes.set(xlim=(0, 1.16), ylim=(len(split["bars"]) - 0.45, -0.55))
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    handles = [
        Patch(color=COLOURS[part["name"]], label=f"{part['name']} {part['told']}")
        for part in split["parts"]
    ]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 0.02), ncols=3,
                frameon=False, fontsize=8)  # fmt: skip
    note = f", {split['note']}" if split["note"] else ""
    axes.set_title(f"{split['title']}{note}", loc="left", fontsize=10)


def _draw_check(axes: Axes, check: dict[str, Any]) -> None:
    """Measured against predicted milliseconds, and where both would be equal."""
    axis = check["axis"]
    axes.plot([0, axis["to"]], [0, axis["to"]], color="#8c8c8c", lw=1, ls="--")
    axes.plot(*zip(*(point[:2] for point in check["points"]), strict=True), "o", ms=4, color=_BLUE)
    axes.set(xlim=(0, axis["to"]), ylim=(0, axis["to"]))
    for ticks in (axes.set_xticks, axes.set_yticks):
        ticks([place for place, _ in axis["ticks"]], [told for _, told in axis["ticks"]])
    axes.set_xlabel("predicted, ms")
    axes.set_ylabel("measured, ms")
    axes.set_title(folded(f"Milliseconds. {check['note']}", 40), loc="left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
