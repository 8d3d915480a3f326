"""What is left of answers when parts of a model are cut, for each of several cuts."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from attnlab.datasets.texts import TextDataset
from attnlab.show.wording import number
from attnlab.statistics import paired_interval

Positive = Callable[[Sequence[str], Sequence[int]], np.ndarray]


def left_over(
    positive: Positive,
    texts: Mapping[str, str],
    reviews: TextDataset,
    cuts: Mapping[str, Sequence[int]],
) -> pd.DataFrame:
    """What is left of the answers to some texts, and of right answers to reviews, after each cut.

    Parameters
    ----------
    positive : gives the probability of “positive” (N,) in texts, with nothing from these layers
    texts : a name for each text of which the answer is shown
    reviews : with their labels; 1 is “positive”
    cuts : a name for each choice of layers; the first is what the others are compared with

    Returns
    -------
    A row for each cut: the probability of “positive” in each text, in percent; how many of the
    reviews are right; its change in percentage points, with the 95 % interval of the paired
    difference; and the mean probability of the answer that is given to a review, in percent.
    """
    rows: dict[str, list[object]] = {}
    untouched = None
    for name, layers in cuts.items():
        ours = 100 * positive(list(texts.values()), layers)
        shares = positive(reviews.texts, layers)
        right = (shares > 0.5) == np.array(reviews.labels)
        change = "–" if untouched is None else _change(untouched, right)
        untouched = right if untouched is None else untouched
        sure = 100 * float(np.maximum(shares, 1 - shares).mean())
        rows[name] = [*ours.tolist(), int(right.sum()), change, sure]
    columns = [
        *(f"{name}, %" for name in texts),
        f"right of {len(reviews)}",
        "change, points (95 %)",
        "how sure, %",
    ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _change(before: np.ndarray, after: np.ndarray) -> str:
    """By how many points fewer or more are right, with its interval."""
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    low, high = paired_interval(gained, lost, len(before))
    points = (100 * (gained - lost) / len(before), 100 * low, 100 * high)
    return "{} ({} to {})".format(*(number(value, 1, signed=True) for value in points))
