"""The frontier of accuracy and cost, and what one more unit of a cost buys along it.

A model is on the frontier only if it is better than those of the frontier that cost no more by a
difference that holds: the 95 % interval of the paired answers lies above 0. Otherwise there is no
reason to pay for it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from attnlab.errors import AttnlabError, suggest
from attnlab.statistics import paired_interval, share_interval

__all__ = ["area_under", "frontier", "shadow_prices"]


def frontier(table: pd.DataFrame, correct: np.ndarray, cost: str | Sequence[str]) -> pd.DataFrame:
    """Return the models that are worth their cost.

    Parameters
    ----------
    table : DataFrame, a row for each of P models, with a column for each cost
    correct : bool array (P, N), whether each model answers each of N texts rightly; the same texts
    cost : name of a column, or of several: then "costs no more" means in none of them

    Returns
    -------
    DataFrame, the rows on the frontier with their index, by their (first) cost, and

    - ``accuracy``, ``ci_low``, ``ci_high``: 0 to 1, with the 95 % interval (Wilson 1927)
    - ``gain``, ``gain_low``, ``gain_high``: accuracy minus that of the best other model of the
      frontier that costs no more, with the 95 % interval of paired answers (see
      `statistics.paired_test`); NaN where there is none

    Raises
    ------
    AttnlabError : no models, a cost that is no column or is not known for some, answers that do not
        fit

    Notes
    -----
    A model is on the frontier if no other that costs no more answers as many texts rightly, and if
    it is better than each of the frontier that costs no more by a difference that holds. Of models
    that cost the same and answer as many rightly the first counts. The accuracy of the best of many
    looks better than it is: measure the one that you choose on other texts.
    """
    costs, names = _costs(table, cost), [cost] if isinstance(cost, str) else list(cost)
    correct = np.asarray(correct, bool)
    if correct.ndim != 2 or len(correct) != len(table) or not correct.shape[1]:
        raise AttnlabError(
            f"Expected answers of shape ({len(table)}, N), a row for each model; got "
            f"{correct.shape}."
        )
    right, n = correct.sum(1), correct.shape[1]
    rows: list[int] = []
    gains: list[tuple[float, ...]] = []
    # nobody comes before one that costs no more and answers as many rightly
    for model in np.lexsort([-right, *costs.T[::-1]]):
        no_dearer = (costs <= costs[model]).all(1)
        same = no_dearer & (costs >= costs[model]).all(1)
        first = ~same | (right > right[model]) | (np.arange(len(table)) < model)
        if (no_dearer & first & (right >= right[model])).any():
            continue
        rivals = [row for row in rows if no_dearer[row]]
        if all(_gain(correct[rival], correct[model])[1] > 0 for rival in rivals):
            best = max(rivals, key=lambda rival: right[rival], default=None)
            gains.append((np.nan,) * 3 if best is None else _gain(correct[best], correct[model]))
            rows.append(int(model))
    found = table.iloc[rows].assign(accuracy=right[rows] / n)
    found[["ci_low", "ci_high"]] = [share_interval(int(right[row]), n) for row in rows]
    found[["gain", "gain_low", "gain_high"]] = gains
    return found.sort_values(names, kind="stable")


def shadow_prices(table: pd.DataFrame, correct: np.ndarray, cost: str) -> pd.DataFrame:
    """Return what one more unit of a cost buys, from each model on the frontier to the next.

    Parameters
    ----------
    table, correct, cost : as for `frontier`

    Returns
    -------
    DataFrame, a row for each step up the frontier:

    - ``from``, ``to``: index of the two models; ``cost_from``, ``cost_to``
    - ``gain``, ``gain_low``, ``gain_high``: of accuracy, paired, with its 95 % interval
    - ``price``, ``price_low``, ``price_high``: the same for one unit more of the cost

    Raises
    ------
    AttnlabError : as for `frontier`
    """
    points = frontier(table, correct, cost)
    places = table.index.get_indexer(points.index)
    rows = []
    for lower, upper in zip(range(len(points) - 1), range(1, len(points)), strict=True):
        below, above = (float(points[cost].iloc[place]) for place in (lower, upper))
        gain = np.array(_gain(*np.asarray(correct, bool)[places[[lower, upper]]]))
        pair = points.index[lower], points.index[upper]
        rows.append([*pair, below, above, *gain, *(gain / (above - below))])
    names = [f"{name}{end}" for name in ("gain", "price") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["from", "to", "cost_from", "cost_to", *names])


def area_under(table: pd.DataFrame, cost: str, low: float, high: float) -> float:
    """Return the mean, over costs from low to high, of the best accuracy that each can buy.

    Parameters
    ----------
    table : DataFrame with the columns ``accuracy`` and ``cost``
    cost : name of a column
    low, high : of the cost; where nothing is affordable, accuracy counts as 0

    Returns
    -------
    float, 0 to 1; it says how good a search was, and takes accuracies as they are, without doubt

    Examples
    --------
    >>> table = pd.DataFrame({"flops": [1.0, 3.0], "accuracy": [0.6, 0.8]})
    >>> area_under(table, "flops", 1, 4)  # 0.6 for two thirds, 0.8 for one
    0.666...
    """
    costs = _costs(table, cost)[:, 0]
    if not high > low:
        raise AttnlabError(f"Expected costs from low to high, got {low} to {high}.")
    edges = np.unique(np.clip(np.append(costs, [low, high]), low, high))
    best = [table["accuracy"].to_numpy()[costs <= edge].max(initial=0.0) for edge in edges[:-1]]
    return float((np.array(best) * np.diff(edges)).sum() / (high - low))


def _gain(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """By how much more is right after, with its interval; as `paired_test`, without the p-value."""
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return (gained - lost) / len(before), *paired_interval(gained, lost, len(before))


def _costs(table: pd.DataFrame, cost: str | Sequence[str]) -> np.ndarray:
    names = [cost] if isinstance(cost, str) else list(cost)
    for name in names:
        if name not in table:
            raise AttnlabError(f"There is no column {name!r}. {suggest(name, table.columns)}")
        if table[name].isna().any():
            raise AttnlabError(
                f"{name} is not known for {table[name].isna().sum()} of {len(table)} models. Choose"
                " another cost, or measure it."
            )
    if not len(table) or not names:
        raise AttnlabError(f"A frontier needs models and costs; got {len(table)} and {names}.")
    return table[names].to_numpy(float)


def __dir__() -> list[str]:
    return sorted(__all__)
