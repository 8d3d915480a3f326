"""The still picture of the peeler, drawn from what it shows."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from attnlab.show.plots.picture import Picture, style

COLOURS = {
    "words": "#6b6b6b",
    "embeddings": "#9a9a9a",
    "attention": "#2166ac",
    "feed-forward": "#ca5a14",
    "head": "#212121",
}
_PALE = 0.22
_NAMES = {
    "words": "word embeddings",
    "embeddings": "other embeddings",
    "attention": "attention",
    "feed-forward": "feed-forward",
    "head": "classification head",
}


def peeled_model(report: dict[str, Any]) -> Picture:
    """Draw a smaller model to scale, its milliseconds by part, and what it bought and cost.

    Parameters
    ----------
    report : as `peeler_report.peeler_report` makes it
    """
    with style():
        figure = plt.figure(figsize=(10.6, 4.6), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(1.5, 1), height_ratios=(1.55, 1))
        _draw_model(figure.add_subplot(grid[0, 0]), report)
        _draw_times(figure.add_subplot(grid[0, 1]), report["times"])
        _draw_table(figure.add_subplot(grid[1, :]), report)
        handles = [Patch(color=COLOURS[kind], label=name) for kind, name in _NAMES.items()]
        handles.append(Patch(facecolor=COLOURS["attention"], alpha=_PALE, label="gone"))
        figure.legend(handles=handles, loc="outside lower left", ncols=6, frameon=False, fontsize=9)
    rows = "; ".join(
        f"{row['name']} {row['cells'][0][0]}, now {row['cells'][1][0]} ({row['cells'][2][0]})"
        for row in report["rows"]
    )
    return Picture(figure, f"{report['alt']} {rows}. {report['remark']}")


def _draw_model(axes: Axes, report: dict[str, Any]) -> None:
    """A column for the embeddings, each layer and the head; what is gone is pale."""
    widths = [sum(part["total"] for part in column["parts"]) for column in report["columns"]]
    whole, start, ticks = sum(widths) or 1, 0.0, []
    for column, total in zip(report["columns"], widths, strict=True):
        width, top = total / whole, 1.0
        for part in column["parts"]:
            if not part["total"]:
                continue
            height = part["total"] / total
            left, zeros = (
                height * min(1.0, part[name] / part["total"]) for name in ("left", "zeros")
            )
            colour, bottom = COLOURS[part["kind"]], top - height
            looks: dict[str, Any] = {"facecolor": colour, "edgecolor": "white", "linewidth": 1}
            axes.add_patch(Rectangle((start, bottom), width, height, **looks, alpha=_PALE))
            axes.add_patch(Rectangle((start, bottom), width, left, **looks))
            hatched: dict[str, Any] = {"facecolor": "none", "edgecolor": colour, "linewidth": 0}
            axes.add_patch(
                Rectangle((start, bottom + left), width, zeros, **hatched, hatch="/////")
            )
            top = bottom
        if width > 0.02:
            ticks.append((start + width / 2, column["name"]))
        start += width
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_yticks([])
    axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    area = "bytes in the file" if report["settings"]["area"] == "bytes" else "parameters"
    what = next(words for name, words, _ in report["kinds"] if name == report["settings"]["kind"])
    amount = dict(report["amounts"])[report["settings"]["amount"]]
    title = f"Area: {area}, {report['total']}   ({what}, {amount})"
    axes.set_title(title, loc="left", fontsize=10)


def _draw_times(axes: Axes, times: dict[str, Any]) -> None:
    """Bars of milliseconds; the untouched model's are pale."""
    for place, bar in enumerate(times["bars"]):
        colour = COLOURS[bar["kind"]]
        axes.bar(place, bar["before"], 0.8, color=colour, alpha=_PALE)
        axes.bar(place, bar["after"], 0.8, color=colour)
    if not times["bars"]:
        axes.text(0.5, 0.5, "not measured yet", ha="center", transform=axes.transAxes)
    across, up = times["across"], times["up"]
    axes.set(xlim=(across["from"], across["to"]), ylim=(up["from"], up["to"]))
    axes.set_xticks([place for place, _ in across["ticks"]], [name for _, name in across["ticks"]])
    axes.set_yticks([place for place, _ in up["ticks"]], [name for _, name in up["ticks"]])
    axes.set_title(times["title"], loc="left", fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_table(axes: Axes, report: dict[str, Any]) -> None:
    axes.axis("off")
    cells = [
        [f"{text}  ({note})" if note else text for text, note in row["cells"]]
        for row in report["rows"]
    ]
    table = axes.table(
        cells,
        rowLabels=[row["name"] for row in report["rows"]],
        colLabels=report["heads"][1:],
        loc="center",
        edges="horizontal",
        cellLoc="right",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.15)
