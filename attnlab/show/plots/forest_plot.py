"""A forest plot: many paired comparisons below each other, each with its interval."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from attnlab.errors import AttnlabError, suggest
from attnlab.evaluation.scores import Comparison
from attnlab.show.plots.picture import BETTER_WITHOUT, NEEDED, Picture, style
from attnlab.show.wording import number

ForestMeasure = Literal["accuracy", "margin", "loss"]
Interval = tuple[float, float, float]  # change, and the ends of its interval
_MEASURES: dict[str, tuple[str, int, Callable[[Comparison], Interval]]] = {
    "accuracy": (
        "accuracy, points",
        1,
        lambda one: (100 * one.delta, 100 * one.ci[0], 100 * one.ci[1]),
    ),
    "margin": ("mean margin, logits", 2, lambda one: (one.margin_delta, *one.margin_ci)),
    "loss": ("mean loss, nats", 3, lambda one: (one.loss_delta, *one.loss_ci)),
}

_LEGEND = "line: 95 % interval; red: worse, blue: better, grey: unclear"


def forest(
    comparisons: Mapping[str, Comparison],
    measures: Sequence[ForestMeasure] = ("accuracy", "margin"),
    title: str | None = None,
) -> Picture:
    """Draw paired changes below each other, with their 95 % intervals, a panel for each measure.

    Parameters
    ----------
    comparisons : a name for each, as `Evaluator.compare` returns them
    measures : of "accuracy" (points), "margin" (logits) and "loss" (nats)
    title : above the picture

    Red: the model is worse after the change, and the interval excludes 0; blue: it is better; grey:
    the interval holds 0. The number is written at the right.

    Raises
    ------
    AttnlabError : no comparison, or no such measure
    """
    wrong = [name for name in measures if name not in _MEASURES]
    if wrong or not measures or not comparisons:
        why = f"There is no measure {wrong[0]!r}. {suggest(wrong[0], _MEASURES)}" if wrong else ""
        raise AttnlabError(why or "A forest needs at least one comparison and one measure.")
    names, several = list(comparisons), list(comparisons.values())
    told = []
    with style():
        figure, panels = plt.subplots(
            1,
            len(measures),
            figsize=(2.2 + 3.0 * len(measures), 1.3 + 0.33 * len(names)),
            layout="constrained",
            sharey=True,
            squeeze=False,
        )
        for axes, measure in zip(panels[0], measures, strict=True):
            label, digits, of = _MEASURES[measure]
            found = [of(one) for one in several]
            _draw(axes, found, digits, worse_below_0=measure != "loss")
            axes.set_xlabel(f"change of {label}")
            told.append(f"{label}: " + _words(names, found, digits))
        panels[0, 0].set_yticks(range(len(names)), names)
        panels[0, 0].set_ylim(len(names) - 0.5, -0.6)
        figure.supxlabel(_LEGEND, fontsize=9, color="0.3")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        sns.despine(figure, left=True)
    about = title or "Paired changes"
    return Picture(figure, f"{about}, with 95 % intervals. {'; '.join(told)}.")


def _draw(axes: Axes, found: Sequence[Interval], digits: int, worse_below_0: bool) -> None:
    axes.axvline(0, color="0.35", linewidth=0.9)
    for row, (change, low, high) in enumerate(found):
        falls, rises = high < 0, low > 0
        colour = "0.45"
        if falls or rises:
            colour = NEEDED if falls == worse_below_0 else BETTER_WITHOUT
        axes.plot([low, high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot(change, row, "o", color=colour, markersize=5.5)
        looks: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
        axes.annotate(
            number(change, digits, signed=True), (1.02, row), fontsize=9, color=colour, **looks
        )
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.92")
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _words(names: Sequence[str], found: Sequence[Interval], digits: int) -> str:
    return ", ".join(
        f"{name} {number(change, digits, signed=True)} "
        f"({number(low, digits)} to {number(high, digits)})"
        for name, (change, low, high) in zip(names, found, strict=True)
    )
