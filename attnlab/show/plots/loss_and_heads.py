"""Runs side by side: their losses, and below what every head of each run does meanwhile."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import Picture, style
from attnlab.show.plots.training_run import KIND_COLOURS
from attnlab.training.history import History

Runs = Mapping[str, tuple[History, pd.DataFrame]]
RUN_PAIR = ("0.45", "#c51b7d")  # colours of two runs; orange and blue are what heads do
_LOW, _HIGH = 0.05, 0.97
_COLLAPSE, _SPREAD, _OTHER = f"falls under {_LOW}", f"ends above {_HIGH}", "other heads"
_MEANS = {  # in the legend
    _COLLAPSE: f"falls onto one token: under {_LOW} (may spread later)",
    _SPREAD: f"spreads: ends above {_HIGH}",
    _OTHER: _OTHER,
}
_PLURAL = {_COLLAPSE: f"fall under {_LOW}", _SPREAD: f"end above {_HIGH}", _OTHER: "others"}
_LOOKS = {  # from the back to the front: colour, width and opacity
    _OTHER: ("0.55", 0.7, 0.5),
    _SPREAD: (KIND_COLOURS["spread"], 1.0, 0.8),
    _COLLAPSE: (KIND_COLOURS["collapse"], 1.5, 0.95),
}


def loss_and_heads(
    runs: Runs, alarms: Mapping[str, float], window: int = 9, guessing: float | None = None
) -> Picture:
    """Draw the losses of two runs, and below the entropy of each run's heads, by what they do.

    Parameters
    ----------
    runs : two, by name: the history, and the table of a `balance.Recorder`
    alarms : at which step each run's first head left its band, a dashed line; NaN for none
    window : the strong line is the mean of so many losses
    guessing : the loss of a model that guesses, such as ln 2 for two classes: a dotted line

    Orange: a head whose normalised entropy falls under 0.05, from the alarm on where there is one,
    and was above it at first. Blue: another one that ends above 0.97. The title of a panel counts
    both.
    """
    if len(runs) != len(RUN_PAIR) or set(alarms) != set(runs):
        raise AttnlabError(
            f"loss_and_heads draws two runs with their alarms; got runs {sorted(runs)}, "
            f"alarms {sorted(alarms)}."
        )
    told = []
    with style():
        figure = plt.figure(figsize=(8.4, 6.8), layout="constrained")
        panels = figure.subplot_mosaic([["loss", "loss"], [0, 1]], height_ratios=(1, 1.35))
        for place, (name, (history, table)) in enumerate(runs.items()):
            colour, alarm, below = RUN_PAIR[place], alarms[name], panels[place]
            panels["loss"].plot(history.losses(), color=colour, alpha=0.35, linewidth=0.8)
            strong = _strong_line(history, window)
            panels["loss"].plot(strong, color=colour, label=name, linewidth=2.4)
            counts = _draw_heads(below, table, alarm)
            in_words = ", ".join(f"{counts[kind]} {_PLURAL[kind]}" for kind in _LOOKS)
            told.append(f"{name}: {in_words}")
            coloured, heads = sum(counts.values()) - counts[_OTHER], sum(counts.values())
            title = f"heads of the {name}: {coloured} of {heads} coloured"
            below.set_title(title, loc="left", fontsize=10, color=colour)
            if np.isfinite(alarm):
                for axes in (panels["loss"], below):
                    axes.axvline(alarm, color=colour, linestyle="--", linewidth=1.3)
                told[-1] += f"; the first head left its band at step {alarm:.0f}"
        ends = {name: _strong_line(history, window) for name, (history, _) in runs.items()}
        looks = dict(zip(runs, RUN_PAIR, strict=True))
        if guessing is not None:
            panels["loss"].axhline(guessing, color="0.25", linestyle=":", linewidth=1.2)
            ends["guessing"] = pd.Series(guessing, [max(line.index[-1] for line in ends.values())])
            looks["guessing"] = "0.25"
        panels["loss"].set_xlim(right=max(line.index[-1] for line in ends.values()))
        name_ends(panels["loss"], ends, looks, height=0.11)
        panels["loss"].set_ylabel(f"loss of a step, nats\n(strong: mean of {window})")
        panels[0].set_ylabel("normalised entropy,\na line for each head")
        for axes in panels.values():
            axes.set_xlabel("step")
        for axes in (panels[0], panels[1]):
            axes.set_ylim(-0.03, 1.03)
        _add_legends(figure, panels["loss"])
        sns.despine(figure)
    return Picture(figure, f"Losses of two runs, and entropy of their heads. {'. '.join(told)}.")


def _strong_line(history: History, window: int) -> pd.Series:
    """Means of so many losses, by step; of all of them where a run is shorter."""
    losses = history.losses()
    return history.losses(min(window, len(losses))).dropna()


def _draw_heads(axes: Axes, table: pd.DataFrame, alarm: float) -> dict[str, int]:
    """Draw a line for each head, coloured by what it does; return how many do what."""
    rows = table[table["measure"] == "entropy"]
    lines = rows.pivot(index="step", columns=["layer", "head"], values="value")
    kinds = _kinds(lines, alarm)
    for kind, (colour, width, opacity) in _LOOKS.items():
        axes.plot(lines.loc[:, kinds == kind], color=colour, linewidth=width, alpha=opacity)
    return {kind: int((kinds == kind).sum()) for kind in _LOOKS}


def _kinds(lines: pd.DataFrame, alarm: float) -> np.ndarray:
    """What each head does (heads,), from lines with a row for each step."""
    later = lines.loc[alarm:] if np.isfinite(alarm) else lines
    falls = (later.min() < _LOW) & (lines.iloc[0] >= _LOW)
    return np.select([falls, lines.iloc[-1] > _HIGH], [_COLLAPSE, _SPREAD], _OTHER)


def name_ends(
    axes: Axes, lines: Mapping[str, pd.Series], colours: Mapping[str, str], height: float
) -> None:
    """Write the name of each line beside its end, right of the axes, so that no two names touch.

    Parameters
    ----------
    lines : by name, values with their places as index
    height : of a name, as a share of the axes; call this once their limits are set
    """
    ends = sorted(lines, key=lambda name: lines[name].iloc[-1])
    low, high = axes.get_ylim()
    steps = height * (high - low) * np.arange(len(ends))
    wanted = np.array([lines[name].iloc[-1] for name in ends])
    for name, place in zip(ends, isotonic_regression(wanted - steps).x + steps, strict=True):
        axes.annotate(
            name,
            (lines[name].index[-1], lines[name].iloc[-1]),
            xytext=(1.03, place),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=colours[name],
            arrowprops={
                "arrowstyle": "-",
                "color": colours[name],
                "linewidth": 0.7,
                "shrinkA": 1,
                "shrinkB": 0,
            },
        )


def _add_legends(figure: Figure, top: Axes) -> None:
    """Above the losses what the dashes mean, below the heads what their colours mean."""
    dashed = Line2D([], [], color="0.25", linestyle="--", label="first head out of its band")
    inside = {"frameon": False, "fontsize": 9, "ncols": 3}
    top.legend(handles=[dashed], loc="lower left", bbox_to_anchor=(0, 1), **inside)
    kinds = [
        Line2D([], [], color=colour, linewidth=2, label=_MEANS[kind])
        for kind, (colour, *_) in reversed(_LOOKS.items())
    ]
    figure.legend(handles=kinds, loc="outside lower center", **inside)
