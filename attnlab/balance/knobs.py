"""Ways to adjust a classifier's heads: the scale and temperature of each, and whether it is on.

Every way moves knobs from where they start, by factors: none knows what a head once was, so damage
that is hidden in the weights is met like damage that the settings show.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from attnlab.balance.gradient import by_gradient
from attnlab.balance.layerwise import by_least_squares
from attnlab.balance.search import by_chance, by_greed
from attnlab.balance.task import Objective, Task
from attnlab.classification.classifier import Classifier
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, suggest
from attnlab.heads import HeadSettings, one_setting

Way = Literal["gradient", "least-squares", "greedy", "random"]
WAYS: dict[Way, Callable[..., HeadSettings]] = {
    "gradient": by_gradient,
    "least-squares": by_least_squares,
    "greedy": by_greed,
    "random": by_chance,
}


@dataclass(frozen=True, eq=False)
class Adjustment:
    """What a way of adjusting came to.

    Attributes
    ----------
    way : its name
    settings : HeadSettings (L, H)
    history : DataFrame, a row per step or trial: ``step`` from 0, ``seconds`` since the start,
        ``loss`` and ``objective`` (of a batch for "gradient", of all texts for the others)
    seconds : it took
    """

    way: Way
    settings: HeadSettings
    history: pd.DataFrame
    seconds: float

    def __repr__(self) -> str:
        return f"Adjustment({self.way!r}, {self.seconds:.0f} s, {self.settings!r})"


def adjust(
    clf: Classifier,
    data: TextDataset,
    way: Way = "gradient",
    start: HeadSettings | None = None,
    *,
    objective: Objective | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Adjustment:
    """Look for head settings that make the objective small on these texts.

    Parameters
    ----------
    clf : Classifier, which stays as it is
    data : texts with labels, on which the objective is measured. What is found fits them better
        than any others: judge it on texts that were not among them, as `Tuner` does.
    way :
        - "gradient": Adam on the logarithms of scale and temperature of every head that is on, all
          at once. It begins where the objective is best among the start and a version in which the
          heads of a layer add alike, each with all scales times 2/3, 1, 3/2 or 9/4; a penalty, that
          of a normal prior, keeps every knob near where it begins. Options: ``epochs`` (8;
          0 returns where it would begin), ``scale_spread`` (0.7) and ``temperature_spread`` (0.3),
          the standard deviations of the prior, of the logarithms.
        - "least-squares": layer after layer the scales, 0 or more, at which the sum of residual and
          attention, computed from what the layers below now add, is nearest to that of the model
          with neutral settings (Kwon et al. 2022, section 3.3). Looks at no label.
        - "greedy": one head at a time goes off, or on again at scale 1. Each step takes the best of
          a few that a first-order estimate proposes, as long as the objective falls. Option:
          ``most`` steps (all).
        - "random": factors drawn for every head, the best of so many tries: what any way has to
          beat. Option: ``trials`` (40).
    start : settings to begin with; None takes those of an `applied` block, else neutral ones. Heads
        at scale 0 stay off, except for "greedy".
    objective : default: the loss alone. The share of heads is part of it for every way, but only
        "greedy" changes it.
    seed : of everything that is drawn
    progress : called as progress(step, steps)

    Returns
    -------
    Adjustment. "greedy" and "random" never are worse on ``data`` than the start; the others may be.

    Raises
    ------
    AttnlabError : an unknown way or option
    ModelError : "least-squares" with a model that `evaluation.forward` does not know; a model whose
        heads were all removed or are off
    """
    if way not in WAYS:
        raise AttnlabError(f"There is no way {way!r} to adjust heads. {suggest(way, WAYS)}")
    known = list(inspect.signature(WAYS[way]).parameters)[1:]
    for name in options:
        if name not in known:
            told = suggest(name, known) if known else "It has none."
            raise AttnlabError(f"The way {way!r} has no option {name!r}. {told}")
    task = Task(clf, data, one_setting(clf, start), objective or Objective(), seed, progress)
    settings = WAYS[way](task, **options)
    return Adjustment(way, settings, task.history, task.seconds)
