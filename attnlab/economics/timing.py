"""Milliseconds: several calls in turn, each warm, on a stated number of threads."""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from attnlab.compression.hardware import hardware
from attnlab.device import device, pinned_threads
from attnlab.economics.passes import forward_pass
from attnlab.errors import AttnlabError, AttnlabWarning, worded
from attnlab.inference import no_collection

__all__ = ["Times", "check_timing", "interleaved", "latency", "warn_of_noise"]

_FEWEST = 3  # rounds, however long they take
_MORE = 3  # times as many rounds where the machine is noisy and seconds are left
_NOISY = 1.5  # times the quiet time that the 95th percentile of a quiet machine stays below
_QUIET = 0.1  # quantile: even the time on the processor grows where others use its cache

Round = dict[str, tuple[float, float]]  # seconds of each call, by the clock and on the processor


def latency(
    models: Mapping[str, Any],
    tokens: int = 32,
    batch: int = 1,
    *,
    target_tokens: int | None = None,
    rounds: int = 20,
    seconds: float = 20.0,
    threads: int = 1,
) -> pd.DataFrame:
    """Measure how long models take for a forward pass, all in turn, so that noise meets all alike.

    Parameters
    ----------
    models : by name; what `forward_pass` takes
    tokens, batch : T tokens in each of B texts, without padding; tokenisation does not count
    target_tokens : of each translation, for encoder-decoders; default ``tokens``
    rounds, seconds : of measuring: so many rounds, or so long; but 3 rounds at least, and more
        where times differ much
    threads : of torch

    Returns
    -------
    DataFrame, a row per model: ``name``, ``ms`` (median), ``ms_p95``, ``ms_quiet``, ``rounds``.
    ``ms_quiet`` is the time on the processor (10th percentile), which is what the pass takes where
    nothing else runs; with several threads, or on a GPU, it is by the clock, too. ``attrs`` hold
    ``tokens``, ``batch``, ``threads`` and what `hardware` says.

    Raises
    ------
    AttnlabError : no models, a number without sense, more tokens than positions

    Warns
    -----
    AttnlabWarning : times that differ so much that the machine must be doing something else
    """
    if not models:
        raise AttnlabError('There are no models to measure. Give them by name: {"whole": clf}.')
    calls = {
        name: forward_pass(model, tokens, batch, target_tokens) for name, model in models.items()
    }
    times = interleaved(calls, rounds=rounds, seconds=seconds, threads=threads)
    warn_of_noise(times.spread)
    table = times.summary().rename_axis("name").reset_index()
    table.attrs = {"tokens": tokens, "batch": batch, "threads": threads, **hardware()}
    return table


@dataclass(frozen=True, eq=False)
class Times:
    """Milliseconds of several calls, a row for each round, a column for each call.

    Attributes
    ----------
    wall : DataFrame, what a clock says
    quiet : DataFrame, what the processor worked, without the time that other processes had it; with
        several threads or a GPU, where that cannot be told, the same as ``wall``
    """

    wall: pd.DataFrame
    quiet: pd.DataFrame

    @property
    def spread(self) -> float:
        """How many times its quiet time a call's 95th percentile is; the median of all calls."""
        return float((self.wall.quantile(0.95) / self.quiet.quantile(_QUIET)).median())

    def summary(self) -> pd.DataFrame:
        """``ms`` (median), ``ms_p95``, ``ms_quiet`` and ``rounds``, a row for each call."""
        table = {
            "ms": self.wall.median(),
            "ms_p95": self.wall.quantile(0.95),
            "ms_quiet": self.quiet.quantile(_QUIET),
        }
        return pd.DataFrame(table).assign(rounds=len(self.wall))


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 20,
    seconds: float = 20.0,
    threads: int = 1,
) -> Times:
    """Time calls in turn.

    In each round every call runs twice, and the second time counts: its numbers are then in the
    processor's cache as far as they fit, as where one model answers text after text. The first of
    a round changes, garbage is collected afterwards, and where times differ much there are up to
    three times as many rounds.

    Parameters
    ----------
    calls : by name
    rounds, seconds, threads : see `latency`
    """
    check_timing(rounds, seconds, threads)
    names, rows = list(calls), list[Round]()
    with pinned_threads(threads), no_collection():
        for name in names:
            calls[name]()
        end = time.perf_counter() + seconds
        for number in range(_MORE * rounds):
            late = number >= _FEWEST and time.perf_counter() > end
            if late or (number >= rounds and _times(rows, threads).spread <= _NOISY):
                break
            shift, row = number % len(names), Round()
            for name in names[shift:] + names[:shift]:
                calls[name]()
                start, worked = time.perf_counter(), time.thread_time()
                calls[name]()
                worked = time.thread_time() - worked
                row[name] = time.perf_counter() - start, worked
            rows.append(row)
    return _times(rows, threads)


def check_timing(rounds: int, seconds: float, threads: int) -> None:
    """Raise AttnlabError for rounds, seconds or threads that are none."""
    for name, value in (("rounds", rounds), ("seconds", seconds), ("threads", threads)):
        whole = name == "seconds" or isinstance(value, int)
        if isinstance(value, bool) or not (whole and math.isfinite(value) and value > 0):
            raise AttnlabError(f"{name} is {value!r}; expected a number above 0.")


def warn_of_noise(spread: float) -> None:
    """Warn the caller's caller of times that differ more than where nothing else runs."""
    if spread > _NOISY:
        warnings.warn(
            f"A forward pass took up to {spread:.1f} times what the processor needs for it (95th "
            "percentile): this machine is doing something else. Compare models that were measured "
            f"together{worded(', by ms_quiet', '')}, or measure again when it is quiet.",
            AttnlabWarning,
            stacklevel=3,
        )


def _times(rows: list[Round], threads: int) -> Times:
    wall, worked = (
        pd.DataFrame([{name: 1000 * pair[which] for name, pair in row.items()} for row in rows])
        for which in (0, 1)
    )
    return Times(wall, worked if threads == 1 and device().type == "cpu" else wall)


def __dir__() -> list[str]:
    return sorted(__all__)
