"""Is a difference more than chance? Intervals and tests for answers to the same questions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import scipy  # which imports its parts, such as its statistics, when they are needed

from attnlab.errors import AttnlabError

__all__ = [
    "PairedTest",
    "benjamini_hochberg",
    "bootstrap_means",
    "mcnemar",
    "mean_interval",
    "mean_p_value",
    "p_text",
    "paired_bootstrap",
    "paired_interval",
    "paired_test",
    "share_interval",
]

_Z = NormalDist().inv_cdf(0.975)  # all intervals are 95 %


@dataclass(frozen=True)
class PairedTest:
    """How the share of right answers changed on the same N questions.

    Attributes
    ----------
    gained, lost : numbers of answers that became right, and that became wrong
    n : number of questions N
    delta : change of the share, (gained - lost) / N
    low, high : 95 % interval of the change, see `paired_interval`
    p_value : exact McNemar test that neither is better, see `mcnemar`
    """

    gained: int
    lost: int
    n: int
    delta: float
    low: float
    high: float
    p_value: float


def paired_test(before: np.ndarray, after: np.ndarray) -> PairedTest:
    """Compare two sets of answers to the same questions.

    Parameters
    ----------
    before, after : bool arrays (N,), whether each answer is right

    Raises
    ------
    AttnlabError : no answers, or not as many after as before

    >>> test = paired_test(np.array([True, False, False]), np.array([True, True, True]))
    >>> test.gained, test.lost, round(test.delta, 2), test.p_value
    (2, 0, 0.67, 0.5)
    """
    before, after = np.asarray(before, bool), np.asarray(after, bool)
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise AttnlabError(
            f"A paired test needs answers to the same questions, arrays of one shape (N,), N at "
            f"least 1; got {before.shape} and {after.shape}."
        )
    n, gained, lost = len(before), int((after & ~before).sum()), int((before & ~after).sum())
    low, high = paired_interval(gained, lost, n)
    return PairedTest(gained, lost, n, (gained - lost) / n, low, high, mcnemar(gained, lost))


def share_interval(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, ``right`` of ``n``.

    Source: Wilson 1927. Unlike share ± standard error it says something where all answers are
    right, or none, and it stays between 0 and 1.

    >>> low, high = share_interval(40, 40)
    >>> f"{low:.3f} to {high:.3f}"
    '0.912 to 1.000'
    """
    if not 0 <= right <= n or n < 1:
        raise AttnlabError(
            f"A share needs 0 to n right answers of n, n at least 1; got {right!r} of {n!r}."
        )
    share, extra = right / n, _Z**2 / n  # in closed form: scipy's binomtest takes milliseconds
    half = _Z * math.sqrt(share * (1 - share) / n + extra / n / 4)
    low, high = ((share + extra / 2 + end) / (1 + extra) for end in (-half, half))
    return (0.0 if right == 0 else low), (1.0 if right == n else high)


def paired_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    """95 % interval of a difference of paired proportions.

    Source: Agresti and Min 2005, who add half a count.

    Unlike a bootstrap it does not shrink to nothing where no answer changed.

    >>> low, high = paired_interval(0, 0, 1000)   # no change seen is not proof of no change
    >>> low < 0 < high
    True
    """
    b, c, size = gained + 0.5, lost + 0.5, n + 2
    centre = (b - c) / size
    half = _Z * math.sqrt(max(b + c - (b - c) ** 2 / size, 0)) / size
    return max(centre - half, -1.0), min(centre + half, 1.0)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p-value from the numbers of answers gained and lost.

    >>> mcnemar(0, 0)
    1.0
    """
    if gained + lost == 0:
        return 1.0
    return float(scipy.stats.binomtest(gained, gained + lost, 0.5).pvalue)


def paired_bootstrap(
    differences: np.ndarray, draws: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile interval of a mean difference: texts are drawn again, with replacement.

    Parameters
    ----------
    differences : float array (N,), after minus before for each text, or (N, K) for K comparisons
        on the same texts, which then are drawn together
    draws : how often
    seed : of the draws

    Returns
    -------
    low, high : arrays of shape (), or (K,)

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    low, high = np.quantile(bootstrap_means(differences, draws, seed), [0.025, 0.975], axis=0)
    return low, high


def bootstrap_means(values: np.ndarray, draws: int = 2000, seed: int = 0) -> np.ndarray:
    """Means of values that are drawn again, with replacement: (draws,), or (draws, K).

    Parameters
    ----------
    values : float array (N,), one for each text, or (N, K), then drawn together
    draws, seed : see `paired_bootstrap`, whose interval is the middle 95 % of these

    Raises
    ------
    AttnlabError : no values, or no draws
    """
    values = np.asarray(values, dtype=float)
    if values.ndim not in (1, 2) or len(values) == 0 or draws < 1:
        raise AttnlabError(
            f"A bootstrap needs differences of shape (N,) or (N, K), N at least 1, and draws; "
            f"got {values.shape} and {draws} draws."
        )
    n = len(values)
    generator, chunk = np.random.default_rng(seed), max(1, 4_000_000 // n)
    means = []
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        drawn = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)  # how often each
        means.append(counts @ values / n)
    return np.concatenate(means)


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """95 % interval of a mean by Student's t, for few values, such as one for each seed.

    Raises
    ------
    AttnlabError : fewer than two values

    >>> low, high = mean_interval([2, 3, 4])
    >>> f"{low:.2f} to {high:.2f}"
    '0.52 to 5.48'
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise AttnlabError(
            f"An interval of a mean needs values (N,), N at least 2; got {values.shape}."
        )
    reach = scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - reach), float(values.mean() + reach)


def mean_p_value(values: Sequence[float] | np.ndarray) -> float:
    """Two-sided p-value by Student's t that a mean is 0; below .05 where `mean_interval` has no 0.

    Values that are all alike give 1 if they are 0, and else 0.

    Raises
    ------
    AttnlabError : fewer than two values

    >>> round(mean_p_value([2, 3, 4]), 3), mean_p_value([0, 0])
    (0.035, 1.0)
    """
    low, high = mean_interval(values)
    mean, reach = (low + high) / 2, (high - low) / 2
    if reach <= 1e-12 * max(1.0, abs(mean)):
        return float(abs(mean) <= 1e-12)
    freedom = len(values) - 1
    t = scipy.stats.t.ppf(0.975, freedom) * abs(mean) / reach
    return float(2 * scipy.stats.t.sf(t, freedom))


def p_text(p_value: float) -> str:
    """A p-value as papers write it: never as 0, and with no digits that mean nothing.

    >>> p_text(1.5e-13), p_text(0.0349), p_text(0.37), p_text(1.0), p_text(math.nan)
    ('p < 0.001', 'p = 0.035', 'p = 0.37', 'p = 1.00', 'p not known')
    """
    if not math.isfinite(p_value):
        return "p not known"
    if p_value < 0.001:
        return "p < 0.001"
    return f"p = {p_value:.3f}" if p_value < 0.0995 else f"p = {p_value:.2f}"


def benjamini_hochberg(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values adjusted for their number: of all called real below q, at most a share q is not.

    Parameters
    ----------
    p_values : K numbers from 0 to 1

    Returns
    -------
    array (K,), in the same order. Source: Benjamini and Hochberg 1995.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    p_values = np.asarray(p_values, dtype=float)
    if p_values.ndim != 1 or not ((p_values >= 0) & (p_values <= 1)).all():
        raise AttnlabError("p_values must be a list of numbers from 0 to 1.")
    return scipy.stats.false_discovery_control(p_values, method="bh") if len(p_values) else p_values


def __dir__() -> list[str]:
    return sorted(__all__)
