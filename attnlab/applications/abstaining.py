"""Abstaining: answering only what one is sure of, and what that gains.

*Coverage* is the share of texts that are answered, *selective accuracy* the accuracy on those.
Source: El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from attnlab.errors import AttnlabError
from attnlab.statistics import share_interval

__all__ = ["Selective", "coverage_curve", "selective", "threshold_for"]


@dataclass(frozen=True)
class Selective:
    """What abstaining below a threshold gains.

    Attributes
    ----------
    coverage : share of texts that are answered
    accuracy : on those; ``full``, on all
    gain : accuracy minus full
    low, high : 95 % interval of the gain; texts are drawn again, with replacement, and the same
        texts stand on both sides
    """

    coverage: float
    accuracy: float
    full: float
    gain: float
    low: float
    high: float


def threshold_for(confidence: np.ndarray, coverage: float) -> float:
    """The highest threshold at which at least this share is answered. Choose it on dev.

    Parameters
    ----------
    confidence : (N,)
    coverage : above 0, up to 1

    >>> threshold_for(np.array([0.9, 0.6, 0.8, 0.7]), 0.5)
    0.8
    """
    if not 0 < coverage <= 1 or not len(confidence):
        raise AttnlabError(f"coverage is {coverage}; expected a share above 0, and some texts.")
    return float(np.sort(confidence)[::-1][int(np.ceil(coverage * len(confidence))) - 1])


def selective(
    confidence: np.ndarray, right: np.ndarray, threshold: float, draws: int = 2000, seed: int = 0
) -> Selective:
    """Accuracy on what is answered, from a threshold on, beside that on everything.

    Parameters
    ----------
    confidence : (N,) of each answer, such as its probability
    right : bool (N,)
    threshold : answers at least as sure as this are given
    draws, seed : of the bootstrap

    Raises
    ------
    AttnlabError : nothing is answered
    """
    kept, right = np.asarray(confidence) >= threshold, np.asarray(right, dtype=bool)
    if not kept.any():
        raise AttnlabError(f"No text is as sure as {threshold}: none would be answered.")
    drawn = np.random.default_rng(seed).integers(0, len(right), (draws, len(right)))
    answered = kept[drawn].sum(1).clip(1)
    gains = (kept & right)[drawn].sum(1) / answered - right[drawn].mean(1)
    low, high = np.quantile(gains, [0.025, 0.975])
    accuracy, full = float(right[kept].mean()), float(right.mean())
    return Selective(float(kept.mean()), accuracy, full, accuracy - full, float(low), float(high))


def coverage_curve(confidence: np.ndarray, right: np.ndarray, points: int = 20) -> pd.DataFrame:
    """Selective accuracy at every coverage, the surest texts first.

    Returns
    -------
    DataFrame with ``coverage``, ``accuracy``, and ``low`` and ``high``, its 95 % interval (Wilson);
    at coverage 1 stands the accuracy on everything, which abstaining at random has at each
    """
    order = np.argsort(-np.asarray(confidence), kind="stable")
    hits = np.asarray(right, dtype=bool)[order].cumsum()
    counts = np.unique(np.ceil(np.arange(1, points + 1) / points * len(hits)).astype(int))
    rows = [
        (count / len(hits), hits[count - 1] / count, *share_interval(int(hits[count - 1]), count))
        for count in counts.tolist()
    ]
    return pd.DataFrame(rows, columns=["coverage", "accuracy", "low", "high"])


def __dir__() -> list[str]:
    return sorted(__all__)
