"""One figure of data/results.json."""

import numpy as np

Row = dict[str, object]


def row(
    name: str, value: float, unit: str, runs: list[float] | None = None, n: int = 1, **more: object
) -> Row:
    """One figure; ``low`` and ``high`` are the spread over the runs unless given."""
    runs = runs or [value]
    spread = {"low": min(runs), "high": max(runs)} | more
    return {"name": name, "value": value, "unit": unit, **spread, "n": n if n > 1 else len(runs)}


def accuracy(name: str, right: np.ndarray, **more: object) -> Row:
    """A mean accuracy with its standard error over texts and 95 % interval.

    ``right`` says for each text whether it was answered correctly, or in which share of several
    runs.
    """
    value = float(right.mean())
    error = float(right.std() / len(right) ** 0.5)
    interval = {"low": max(0.0, value - 1.96 * error), "high": min(1.0, value + 1.96 * error)}
    return row(name, value, "share", n=len(right), stderr=error, **interval, **more)


def not_measured(name: str, unit: str, why: str) -> Row:
    """A figure that this machine cannot give, and why."""
    return {"name": name, "value": None, "unit": unit, "why": why}
