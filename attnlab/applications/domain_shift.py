"""Has the domain changed? A window of texts beside a reference, by what an encoder makes of them.

The test compares whole distributions, not answers: it needs no labels, and it does not say that
answers are wrong.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from attnlab.errors import AttnlabError
from attnlab.statistics import share_interval

__all__ = ["shift_rates", "shift_test"]


def shift_test(reference: np.ndarray, window: np.ndarray, draws: int = 199, seed: int = 0) -> float:
    """P-value that both are drawn from one distribution.

    Parameters
    ----------
    reference, window : features (N, width) and (M, width), or (N,) and (M,) such as confidences
    draws : how often it is drawn anew who belongs to the window; p is 1 / (draws + 1) at least
    seed : of the draws

    Notes
    -----
    The statistic is the maximum mean discrepancy with a Gaussian kernel, its width the median
    distance (Gretton et al. 2012). As every way to deal the texts out is as likely as the one that
    came, p <= a has at most the probability a where nothing has changed, at any number of texts.

    >>> rng = np.random.default_rng(0)
    >>> shift_test(rng.normal(0, 1, 80), rng.normal(2, 1, 20))
    0.005
    """
    both = [np.asarray(part, dtype=float).reshape(len(part), -1) for part in (reference, window)]
    if min(map(len, both)) < 2:
        raise AttnlabError(
            f"The reference has {len(both[0])} and the window {len(both[1])} texts; each needs two."
        )
    points = np.concatenate(both)
    squares = (points**2).sum(1)
    distances = (squares[:, None] + squares - 2 * points @ points.T).clip(0)
    kernel = np.exp(-distances / (np.median(distances) or 1.0))
    weights = np.repeat([1 / len(both[0]), -1 / len(both[1])], [len(part) for part in both])
    rng = np.random.default_rng(seed)
    dealt = np.stack([weights, *(rng.permutation(weights) for _ in range(draws))], 1)
    found = (dealt * (kernel @ dealt)).sum(0)  # squared discrepancy of each way to deal
    return float((1 + (found[1:] >= found[0] - 1e-12).sum()) / (draws + 1))


def shift_rates(
    usual: np.ndarray,
    others: Mapping[str, np.ndarray],
    sizes: Sequence[int] = (10, 25, 50),
    shares: Sequence[float] = (1.0,),
    reference: int = 300,
    trials: int = 100,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """How often `shift_test` raises an alarm, where something has changed and where nothing has.

    Parameters
    ----------
    usual : features (N, width) of the usual domain; in each trial a reference and a window that
        share no text are drawn from it
    others : features of other domains by name
    sizes : texts in a window
    shares : of a window that comes from the other domain; the rest is usual
    reference : texts in the reference
    trials : windows for each row
    level : an alarm is a p-value up to this

    Returns
    -------
    DataFrame with ``domain`` ("usual" first, where each alarm is false), ``size``, ``share``,
    ``alarms``, a share of the trials, and its 95 % interval ``low``, ``high``
    """
    if len(usual) < reference + max(sizes):
        raise AttnlabError(
            f"There are {len(usual)} usual texts; {reference} for the reference and {max(sizes)} "
            "for a window are needed."
        )
    rng, rows = np.random.default_rng(seed), []
    cases = [("usual", usual, 0.0)]
    cases += [(name, other, share) for name, other in others.items() for share in shares]
    for name, other, share in cases:
        for size in sizes:
            alarms = 0
            for _ in range(trials):
                order, foreign = rng.permutation(len(usual)), round(share * size)
                known = usual[order[reference : reference + size - foreign]]
                strange = other[rng.permutation(len(other))[:foreign]]
                window = np.concatenate([known, strange])
                p_value = shift_test(usual[order[:reference]], window, 99, int(rng.integers(2**31)))
                alarms += p_value <= level
            interval = share_interval(alarms, trials)
            rows.append((name, size, share, alarms / trials, *interval))
    return pd.DataFrame(rows, columns=["domain", "size", "share", "alarms", "low", "high"])


def __dir__() -> list[str]:
    return sorted(__all__)
