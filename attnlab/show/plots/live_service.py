"""A picture of a service under load: latency, operating points, attention, accuracy, requests."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from attnlab.show.plots.learning import RUN_COLOURS, RUN_DASHES
from attnlab.show.plots.picture import Picture, style

__all__ = ["live_service"]


def live_service(report: dict[str, Any]) -> Picture:
    """Draw what a control room shows.

    Parameters
    ----------
    report : of a `ControlRoom`

    Latency with the promise as a line, which operating point answered, the share of attention, the
    accuracy with its 95 % interval, and requests, over the same seconds.
    """
    seconds = np.array(report["seconds"])
    lines = {name: np.array(line, dtype=float) for name, line in report["lines"].items()}
    with style():
        figure, grid = plt.subplots(
            3,
            2,
            figsize=(9.4, 4.6),
            layout="constrained",
            sharex=True,
            gridspec_kw={"height_ratios": (1, 1, 1.15)},
        )
        for axes in grid[:2, 0]:
            axes.remove()
        latency = figure.add_subplot(grid[0, 0].get_gridspec()[:2, 0], sharex=grid[2, 0])
        _draw_latency(latency, seconds, lines, report["axes"]["p95"]["to"])
        _draw_points(grid[2, 0], report)
        _draw_share(grid[0, 1], seconds, lines["kept"], "Attention kept", report["axes"]["kept"])
        axes = grid[1, 1]
        axes.fill_between(
            seconds, 100 * lines["low"], 100 * lines["high"], color=RUN_COLOURS[0], alpha=0.18, lw=0
        )
        _draw_share(axes, seconds, lines["accuracy"], "Accuracy", report["axes"]["accuracy"])
        _draw_requests(grid[2, 1], seconds, lines)
        grid[2, 0].set_xlim(min(float(seconds.min(initial=-10.0)), -10.0), 0)
        for axes in grid[2]:
            axes.set_xlabel("seconds before the picture")
        sns.despine(figure)
    told = " ".join(report["alt"].values())
    return Picture(figure, f"The control room. {report['remark']} {told}")


def _draw_latency(
    axes: Axes, seconds: np.ndarray, lines: dict[str, np.ndarray], top: float
) -> None:
    axes.plot(seconds, lines["p95_ms"], color=RUN_COLOURS[0], lw=2, label="95th percentile")
    if np.isfinite(lines["target_ms"]).any():
        axes.step(seconds, lines["target_ms"], "k", lw=1.2, ls="--", where="post", label="promised")
    axes.set_ylim(0, top)
    axes.set_title("Latency, ms")
    axes.tick_params(labelbottom=False)
    axes.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)


def _draw_points(axes: Axes, report: dict[str, Any]) -> None:
    for span in report["spans"]:
        width = max(span["end"] - span["start"], 0.2)
        axes.barh(span["lane"], width, left=span["start"], height=0.72, color=RUN_COLOURS[0])
    axes.set_yticks(range(len(report["lanes"])), report["lanes"])
    axes.set_ylim(len(report["lanes"]) - 0.4, -0.6)
    axes.set_title("Operating point")


def _draw_share(
    axes: Axes, seconds: np.ndarray, line: np.ndarray, title: str, limits: dict[str, Any]
) -> None:
    axes.plot(seconds, 100 * line, color=RUN_COLOURS[0], lw=2)
    axes.set_ylim(100 * limits["from"], 101)
    axes.set_title(f"{title}, %")


def _draw_requests(axes: Axes, seconds: np.ndarray, lines: dict[str, np.ndarray]) -> None:
    axes.step(seconds, lines["sent"], color="#767676", lw=1.2, where="post", label="sent")
    for index, name in enumerate(("answered", "refused")):
        axes.plot(
            seconds,
            lines[name],
            color=RUN_COLOURS[index],
            ls=(0, RUN_DASHES[index]) if RUN_DASHES[index] else "-",
            lw=2,
            label=name,
        )
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # the legend stands above the lines
    axes.set_title("Requests per second")
    axes.legend(frameon=False, fontsize=9, loc="upper left", ncols=3)


def __dir__() -> list[str]:
    return sorted(__all__)
