"""An alarm on a share, such as that of a topic: how often does it cry wolf, how late is it?

Texts come one by one; each is a hit or not. A reference says what share is usual. In comments S is
streams, T texts of each.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from attnlab.errors import AttnlabError
from attnlab.statistics import share_interval

__all__ = ["alarm_table", "bets", "by_bets", "by_cusum", "by_day", "first_alarms", "usual_share"]

_ODDS = (1.5, 2.0, 4.0)  # how much more, or less, likely hits are to become: what is bet on
_TRIALS = 2000  # of the simulation that sets the threshold of CUSUM

Alarm = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # see `first_alarms`


def usual_share(hits: int, n: int, level: float = 0.025) -> tuple[float, float]:
    """Between which shares the usual one lies, but for a chance of ``level``.

    Source: Clopper and Pearson 1934, which never promises too much.

    >>> low, high = usual_share(50, 500)
    >>> f"{low:.3f} to {high:.3f}"
    '0.072 to 0.134'
    """
    if not 0 <= hits <= n or n < 1:
        raise AttnlabError(
            f"The reference has {hits} hits of {n} texts; it needs one text or more."
        )
    low = float(stats.beta.ppf(level / 2, hits, n - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - level / 2, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def bets(hits: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """What a unit of money has become that was bet on the share having left [low, high].

    While the share stays inside, no way to bet gains on average, so the chance that the wealth
    ever reaches 1 / a is at most a, however long one watches (Ville 1939).

    Parameters
    ----------
    hits : bool (..., T)
    low, high : of the usual share, see `usual_share`; numbers or (...,)

    Returns
    -------
    array (..., T), the wealth after each text

    Notes
    -----
    The money is put on six bets in equal parts: that the odds of a hit have become 1.5, 2 or 4
    times those at ``high``, or as many times less than those at ``low``. Each bets after every text
    by how much likelier that made it. As nobody knows when a change comes, the money enters bit by
    bit: 1 / (1 + log(1 + n)) of it still waits after n texts. A mixture of e-processes is one
    (Shin, Ramdas and Rinaldo 2023; Waudby-Smith and Ramdas 2023).
    """
    hits = np.asarray(hits, dtype=bool)
    ends = [np.broadcast_to(np.asarray(end, dtype=float), hits.shape[:-1]) for end in (low, high)]
    gains = []
    for end, power in zip(ends, (-1, 1), strict=True):
        for odds in _ODDS:
            odds = odds**power
            other = odds * end / (1 - end + odds * end)
            with np.errstate(divide="ignore", invalid="ignore"):
                hit, miss = other / end, (1 - other) / (1 - end)
            # at 0 and 1 there is nothing left to bet on; the money stays as it is
            gains.append(np.where((end > 0) & (end < 1), [miss, hit], 1.0))
    steps = np.stack(gains, -1)  # (2, ..., bets)
    waits = 1 / (1 + np.log1p(np.arange(hits.shape[-1] + 1)))
    wealth, placed = np.empty(hits.shape), np.zeros(steps.shape[1:])
    for text in range(hits.shape[-1]):
        gain = np.where(hits[..., text, None], steps[1], steps[0])
        placed = (placed + waits[text] - waits[text + 1]) * gain
        wealth[..., text] = placed.mean(-1) + waits[text + 1]
    return wealth


# ── ways to raise an alarm ─────────────────────────────────────────────────────────────────────


def first_alarms(over: np.ndarray) -> np.ndarray:
    """The text (counted from 1) at which each stream is first over its threshold; 0 for never."""
    over = np.asarray(over, dtype=bool)
    return np.where(over.any(-1), over.argmax(-1) + 1, 0)


def by_bets(alpha: float = 0.05) -> Alarm:
    """Alarm when the wealth of `bets` reaches 2 / alpha. Half of alpha goes to the reference.

    Returns
    -------
    function of the hits (S, T) of streams, the hits (S,) of their references, and the number of
    texts in each reference; to their first alarms (S,)
    """

    def alarm(hits: np.ndarray, reference: np.ndarray, n: int) -> np.ndarray:
        ends = np.array([usual_share(int(count), n, alpha / 2) for count in reference])
        return first_alarms(bets(hits, ends[:, 0], ends[:, 1]) >= 2 / alpha)

    return alarm


def by_day(alpha: float = 0.05, day: int = 20, days: int = 1) -> Alarm:
    """Alarm when one day's share is off by a two-sided z-test at level alpha / days.

    With ``days`` = 1, each day has its own chance alpha of a false alarm.
    """

    def alarm(hits: np.ndarray, reference: np.ndarray, n: int) -> np.ndarray:
        whole = hits.shape[-1] // day
        shares = hits[:, : whole * day].reshape(len(hits), whole, day).mean(-1)
        usual = np.clip(reference / n, 0.5 / n, 1 - 0.5 / n)[:, None]
        errors = np.sqrt(usual * (1 - usual) / day)
        limit = stats.norm.ppf(1 - alpha / days / 2)
        return day * first_alarms(np.abs(shares - usual) / errors >= limit)

    return alarm


def by_cusum(alpha: float = 0.05, odds: float = 2.0, seed: int = 0) -> Alarm:
    """CUSUM on both sides (Page 1954), its threshold from a simulation of just so many texts.

    Simulated streams have the usual share of the first reference; each has a reference of its own.
    The promise ends with the last text: whoever watches on needs another threshold.
    """

    def alarm(hits: np.ndarray, reference: np.ndarray, n: int) -> np.ndarray:
        rng, usual = np.random.default_rng(seed), float(np.mean(reference)) / n
        usual = min(max(usual, 0.5 / n), 1 - 0.5 / n)
        simulated = rng.random((_TRIALS, hits.shape[-1])) < usual
        known = rng.binomial(n, usual, _TRIALS)
        highest = _cusum(simulated, known / n, odds, n).max(-1)
        limit = np.quantile(highest, 1 - alpha)
        return first_alarms(_cusum(hits, reference / n, odds, n) > limit)

    return alarm


def _cusum(hits: np.ndarray, usual: np.ndarray, odds: float, n: int) -> np.ndarray:
    """The higher of two sums of log-likelihood ratios, neither of which falls below 0: (S, T)."""
    usual, found = np.clip(usual, 0.5 / n, 1 - 0.5 / n), np.empty(hits.shape)
    steps = []
    for times in (odds, 1 / odds):
        other = times * usual / (1 - usual + times * usual)
        steps.append([np.log((1 - other) / (1 - usual)), np.log(other / usual)])
    step = np.moveaxis(np.array(steps), 0, -1)  # (2, S, sides)
    sums = np.zeros((len(hits), 2))
    for text in range(hits.shape[-1]):
        sums = (sums + np.where(hits[:, text, None], step[1], step[0])).clip(0)
        found[:, text] = sums.max(-1)
    return found


# ── how they are measured ──────────────────────────────────────────────────────────────────────


def alarm_table(
    ways: dict[str, Alarm],
    share: float,
    changed: Sequence[float],
    *,
    reference: int = 500,
    texts: int = 2000,
    change_at: int = 1000,
    streams: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """False alarms, and how late true ones are, on simulated streams.

    Parameters
    ----------
    ways : by name, such as ``{"bets": by_bets(0.05)}``
    share : of hits, usually
    changed : shares that it changes to at ``change_at``; the alarm does not know when
    reference : texts in the reference of each stream, drawn as well
    texts : that are watched
    streams : how many are simulated; the same for every way
    seed : of the simulation

    Returns
    -------
    DataFrame with ``way``; ``share``, after the change, or the usual one where there is none;
    ``alarms``, the share of streams with an alarm (without a change: each is false; with one: at or
    after it), with its 95 % interval ``low``, ``high`` (Wilson); ``early``, the share with an alarm
    before the change; ``delay``, the median of texts from the change to the alarm, over streams
    without an early one, infinite where fewer than half of them had any
    """
    rng, rows = np.random.default_rng(seed), []
    known = rng.binomial(reference, share, streams)
    drawn = rng.random((streams, texts))
    for after in (share, *changed):
        usual = np.full(texts, share)
        usual[change_at:] = after
        for name, way in ways.items():
            found = way(drawn < usual, known, reference)
            start = change_at if after != share else 0
            early = (found > 0) & (found <= start)
            true = found > start
            delays = np.where(true, found - start, np.inf)[~early]
            interval = share_interval(int(true.sum()), streams)
            delay = float(np.median(delays)) if after != share and len(delays) else np.nan
            rows.append((name, after, true.mean(), *interval, early.mean(), delay))
    return pd.DataFrame(rows, columns=["way", "share", "alarms", "low", "high", "early", "delay"])


def __dir__() -> list[str]:
    return sorted(__all__)
