"""Runs side by side: their losses, and below what every head of each run does meanwhile."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import Picture, style
from attnlab.show.plots.training_run import KIND_COLOURS
from attnlab.training.history import History

Runs = Mapping[str, tuple[History, pd.DataFrame]]
_COLOURS = ("0.25", "#c51b7d")  # of the runs; orange and blue are what heads do
_LOW, _HIGH = 0.05, 0.97
_COLLAPSE, _SPREAD, _OTHER = f"falls under {_LOW}", f"ends above {_HIGH}", "other heads"
_PLURAL = {_COLLAPSE: f"fall under {_LOW}", _SPREAD: f"end above {_HIGH}", _OTHER: "others"}
_LOOKS = {  # from the back to the front: colour, width and opacity
    _OTHER: ("0.55", 0.7, 0.6),
    _SPREAD: (KIND_COLOURS["spread"], 0.8, 0.8),
    _COLLAPSE: (KIND_COLOURS["collapse"], 1.1, 0.9),
}


def loss_and_heads(runs: Runs, alarms: Mapping[str, float], window: int = 9) -> Picture:
    """Draw the losses of two runs, and below the entropy of each run's heads, by what they do.

    Parameters
    ----------
    runs : two, by name: the history, and the table of a `balance.Recorder`
    alarms : at which step each run's first head left its band, a dashed line; NaN for none
    window : the strong line is the mean of so many losses

    Orange: a head whose normalised entropy falls under 0.05, from the alarm on where there is one,
    and was above it at first. Blue: another one that ends above 0.97.
    """
    if len(runs) != len(_COLOURS) or set(alarms) != set(runs):
        raise AttnlabError(
            f"loss_and_heads draws two runs with their alarms; got runs {sorted(runs)}, "
            f"alarms {sorted(alarms)}."
        )
    told = []
    with style():
        figure = plt.figure(figsize=(8.4, 5.6), layout="constrained")
        panels = figure.subplot_mosaic([["loss", "loss"], [0, 1]])
        for place, (name, (history, table)) in enumerate(runs.items()):
            colour, alarm, below = _COLOURS[place], alarms[name], panels[place]
            panels["loss"].plot(history.losses(), color=colour, alpha=0.35, linewidth=0.8)
            panels["loss"].plot(history.losses(window), color=colour, label=name, linewidth=2)
            told.append(f"{name}: {_draw_heads(below, table, alarm)}")
            below.set_title(f"heads of the {name}", loc="left", fontsize=10, color=colour)
            if np.isfinite(alarm):
                for axes in (panels["loss"], below):
                    axes.axvline(alarm, color=colour, linestyle="--", linewidth=1.3)
                told[-1] += f"; the first head left its band at step {alarm:.0f}"
        panels["loss"].set_ylabel(f"loss of a step, nats\n(strong: mean of {window})")
        panels[0].set_ylabel("normalised entropy,\na line for each head")
        for axes in panels.values():
            axes.set_xlabel("step")
        for axes in (panels[0], panels[1]):
            axes.set_ylim(-0.03, 1.03)
        _add_legends(figure, panels["loss"])
        sns.despine(figure)
    return Picture(figure, f"Losses of two runs, and entropy of their heads. {'. '.join(told)}.")


def _draw_heads(axes: Axes, table: pd.DataFrame, alarm: float) -> str:
    """Draw a line for each head, coloured by what it does; return how many do what."""
    rows = table[table["measure"] == "entropy"]
    lines = rows.pivot(index="step", columns=["layer", "head"], values="value")
    kinds = _kinds(lines, alarm)
    for kind, (colour, width, opacity) in _LOOKS.items():
        axes.plot(lines.loc[:, kinds == kind], color=colour, linewidth=width, alpha=opacity)
    return ", ".join(f"{(kinds == kind).sum()} {_PLURAL[kind]}" for kind in _LOOKS)


def _kinds(lines: pd.DataFrame, alarm: float) -> np.ndarray:
    """What each head does (heads,), from lines with a row for each step."""
    later = lines.loc[alarm:] if np.isfinite(alarm) else lines
    falls = (later.min() < _LOW) & (lines.iloc[0] >= _LOW)
    return np.select([falls, lines.iloc[-1] > _HIGH], [_COLLAPSE, _SPREAD], _OTHER)


def _add_legends(figure: Figure, top: Axes) -> None:
    """Above the losses what the runs are, below the heads what their colours mean."""
    runs, _ = top.get_legend_handles_labels()
    dashed = Line2D([], [], color="0.25", linestyle="--", label="first head out of its band")
    inside = {"frameon": False, "fontsize": 9, "ncols": 3}
    top.legend(handles=[*runs, dashed], loc="lower left", bbox_to_anchor=(0, 1), **inside)
    kinds = [
        Line2D([], [], color=colour, linewidth=2, label=kind)
        for kind, (colour, *_) in reversed(_LOOKS.items())
    ]
    figure.legend(handles=kinds, loc="outside lower center", **inside)
