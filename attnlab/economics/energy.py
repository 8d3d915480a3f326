"""Joules of a forward pass: an estimate, where the processor tells what it draws."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnlab.economics.passes import forward_pass
from attnlab.economics.timing import check_timing

__all__ = ["Energy", "energy"]

_POWERCAP = Path("/sys/class/powercap")
_WHAT = "an estimate: all of the processor drew while the passes ran, whatever else it did"


@dataclass(frozen=True)
class Energy:
    """What the processor drew while forward passes ran one after another.

    Attributes
    ----------
    joules : for one pass
    watts : drawn meanwhile
    idle_watts : drawn before, while this process waited
    passes : how many ran
    about : what these numbers are, to be printed beside them
    """

    joules: float
    watts: float
    idle_watts: float
    passes: int
    about: str = _WHAT


def energy(
    model: Any, tokens: int = 32, batch: int = 1, *, seconds: float = 2.0, root: Path = _POWERCAP
) -> Energy | None:
    """Estimate the joules of a forward pass from the processor's own counters (RAPL).

    Parameters
    ----------
    model, tokens, batch : see `forward_pass`
    seconds : to run passes for, and to wait for before
    root : where Linux keeps the counters

    Returns
    -------
    Energy; None where there are no counters, or where they may not be read (as is usual for all but
    root): then there is nothing to estimate from
    """
    check_timing(1, seconds, 1)
    counters = _counters(root)
    if _read(counters) is None:
        return None
    call = forward_pass(model, tokens, batch)
    call()
    idle, waited, _ = _drawn(counters, lambda: time.sleep(seconds), 0)
    joules, taken, passes = _drawn(counters, call, seconds)
    return Energy(joules / passes, joules / taken, idle / waited, passes)


def _counters(root: Path) -> list[Path]:
    """The folders of whole processors; their parts and the same counter under another name not."""
    folders = sorted(root.glob("intel-rapl:*")) if root.is_dir() else []
    return [folder for folder in folders if folder.name.count(":") == 1]


def _read(counters: list[Path]) -> list[int] | None:
    """Microjoules that each processor has drawn since some time; None where it does not say."""
    try:
        return [int((folder / "energy_uj").read_text()) for folder in counters] or None
    except (OSError, ValueError):
        return None


def _drawn(
    counters: list[Path], call: Callable[[], object], seconds: float
) -> tuple[float, float, int]:
    """Joules, seconds and calls, of one call or as many as fit."""
    joules, calls, start = 0.0, 0, time.perf_counter()
    before = _read(counters)
    while not calls or time.perf_counter() - start < seconds:
        call()
        calls += 1
        after = _read(counters)
        assert before is not None and after is not None
        for folder, low, high in zip(counters, before, after, strict=True):
            joules += _between(folder, low, high) / 1e6
        before = after
    return joules, time.perf_counter() - start, calls


def _between(folder: Path, low: int, high: int) -> int:
    """Microjoules from one reading to the next; the counter begins anew at its largest."""
    if high >= low:
        return high - low
    return high - low + int((folder / "max_energy_range_uj").read_text())


def __dir__() -> list[str]:
    return sorted(__all__)
