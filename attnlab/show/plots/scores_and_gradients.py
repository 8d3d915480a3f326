"""Two runs side by side: what moves first, and do matrices or their inputs move the scores?"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from attnlab.errors import AttnlabError
from attnlab.show.plots.loss_and_heads import RUN_PAIR, Runs, name_ends
from attnlab.show.plots.picture import HALO, Picture, need, style
from attnlab.show.plots.training_run import KIND_COLOURS

_LABELS = {
    "loss": "loss,\nnats",
    "gradient": "gradient's\nlength (log)",
    "lead": "lead",
    "input_lead": "lead",
}
_TITLES = {
    "lead": "lead of the largest score (mean of the heads of a layer)",
    "input_lead": "the same with the vectors of each step, but $W_Q$ and $W_K$ of the start",
}
_RISES, _FALLS, _STAYS = "rises first", "only falls", "changes less"
_LOOKS: dict[str, dict[str, Any]] = {  # of the leads of the second run
    _RISES: {"color": KIND_COLOURS["collapse"], "linewidth": 2.2},
    _FALLS: {"color": KIND_COLOURS["spread"], "linewidth": 2.2},
    _STAYS: {"color": "0.25", "linewidth": 1.4},
}
_GOOD: dict[str, Any] = {"color": "0.72", "linewidth": 1.4}


def scores_and_gradients(runs: Runs, alarms: Mapping[str, float]) -> Picture:
    """Draw loss, gradient and leads of the scores of two runs, one below the other, step by step.

    Parameters
    ----------
    runs : two, by name: the history, and the table of a `balance.ScoreRecorder`; the first is the
        good one, whose leads are light grey
    alarms : at which step each run's first head left its band, a dashed line; NaN for none

    The length of the gradient is that before clipping, on a scale of powers of ten. Leads are means
    over the heads of each layer. Those of the second run are orange if they ever rise by more than
    a quarter of their start, else blue if they end below half of it, and have the name of their
    layer, where they rise at their highest point, too. Below them stands what they would be if the
    matrices of queries and keys had stayed as they were, in the same colours: what both have in
    common comes from the inputs of the layers.
    """
    if len(runs) != len(RUN_PAIR) or set(alarms) != set(runs):
        raise AttnlabError(
            f"scores_and_gradients draws two runs with their alarms; got runs {sorted(runs)}, "
            f"alarms {sorted(alarms)}."
        )
    told, kinds = [], pd.Series(dtype=object)
    with style():
        figure, column = plt.subplots(
            4,
            1,
            figsize=(8.4, 8.2),
            layout="constrained",
            sharex=True,
            height_ratios=(1, 1, 1.8, 1.8),
        )
        panels = dict(zip(_LABELS, column, strict=True))
        for colour, (name, (history, table)) in zip(RUN_PAIR, runs.items(), strict=True):
            need(table, ("step", "layer", "head", "measure", "value"), "balance.ScoreRecorder")
            steps = history.steps_frame().set_index("step")
            panels["loss"].plot(steps["loss"], color=colour, linewidth=1.4)
            panels["gradient"].semilogy(steps["gradient_norm"], color=colour, linewidth=1.4)
            leads = {measure: _of_layers(table, measure) for measure in _TITLES}
            kinds = _kinds(leads["lead"])
            for measure, lead in leads.items():
                for layer, values in lead.items():
                    looks = _GOOD if colour == RUN_PAIR[0] else _LOOKS[kinds[layer]]
                    panels[measure].plot(values, **looks)
            if np.isfinite(alarms[name]):
                for axes in column:
                    axes.axvline(alarms[name], color=colour, linestyle="--", linewidth=1.3)
            peaks = [f"{lead.max().max():.1f} (layer {_top(lead)})" for lead in leads.values()]
            told.append(
                f"{name}: gradient at most {steps['gradient_norm'].max():.1f}, lead of the scores "
                f"at most {peaks[0]}, and {peaks[1]} with the matrices of the start; "
                f"{_in_words(kinds)}"
            )
        panels["lead"].sharey(panels["input_lead"])
        panels["lead"].margins(x=0, y=0.08)
        for measure, lead in leads.items():
            colours = {f"layer {layer}": _LOOKS[kinds[layer]]["color"] for layer in lead}
            lines = {f"layer {layer}": values for layer, values in lead.items()}
            name_ends(panels[measure], lines, colours, height=0.085)
            panels[measure].set_title(_TITLES[measure], loc="left", fontsize=10)
            _number_peaks(panels[measure], lead.loc[:, kinds == _RISES])
        panels["gradient"].yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        panels["gradient"].yaxis.set_major_formatter("{x:g}")
        panels["gradient"].yaxis.set_minor_locator(NullLocator())
        for measure, axes in panels.items():
            axes.set_ylabel(_LABELS[measure])
        column[-1].set_xlabel("step")
        _add_legends(figure, panels["input_lead"], list(runs))
        figure.align_ylabels(column)
        sns.despine(figure)
    return Picture(figure, f"Two runs, step by step. {'. '.join(told)}.")


def _of_layers(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The mean over the heads of each layer, a row for each step."""
    rows = table[table["measure"] == measure]
    return rows.pivot_table(index="step", columns="layer", values="value")


def _top(lead: pd.DataFrame) -> int:
    """The layer with the highest value of all steps."""
    return int(lead.max().idxmax())


def _kinds(lead: pd.DataFrame) -> pd.Series:
    """What the lead of each layer does, measured from its first value."""
    start = lead.iloc[0]
    rises, falls = lead.max() > 1.25 * start, lead.iloc[-1] < start / 2
    return pd.Series(np.select([rises, falls], [_RISES, _FALLS], _STAYS), lead.columns)


def _number_peaks(axes: Axes, lead: pd.DataFrame) -> None:
    """Write at the highest point of each line which layer it is."""
    for layer, values in lead.items():
        axes.annotate(
            f"{layer}",
            (values.idxmax(), values.max()),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
            fontweight="bold",
            color=_LOOKS[_RISES]["color"],
            path_effects=[HALO],
        )


def _in_words(kinds: pd.Series) -> str:
    """Which layers do what, for the alt text."""
    named = {kind: ", ".join(str(layer) for layer in kinds.index[kinds == kind]) for kind in _LOOKS}
    return "; ".join(f"{kind}: layer {layers}" for kind, layers in named.items() if layers)


def _add_legends(figure: Figure, below: Axes, names: Sequence[str]) -> None:
    """Above all panels what the runs are, below the leads what their colours mean."""
    inside: dict[str, Any] = {"frameon": False, "fontsize": 9, "ncols": 4}
    lines = [
        Line2D([], [], color=colour, linewidth=2, label=name)
        for colour, name in zip(RUN_PAIR, names, strict=True)
    ]
    dashed = Line2D([], [], color="0.25", linestyle="--", label="first head out of its band")
    figure.legend(handles=[*lines, dashed], loc="outside upper left", **inside)
    kinds = [Line2D([], [], label=f"{names[1]}: {kind}", **looks) for kind, looks in _LOOKS.items()]
    kinds.append(Line2D([], [], label=names[0], **_GOOD))
    figure.legend(handles=kinds, loc="outside lower center", **inside)
