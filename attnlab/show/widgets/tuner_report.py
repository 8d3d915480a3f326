"""What the tuner's desk shows of its rounds, as plain numbers, lists and texts."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from attnlab.errors import SettingsError
from attnlab.heads.settings import HeadSettings
from attnlab.show.wording import signed_points, significant, with_interval
from attnlab.statistics import share_interval

if TYPE_CHECKING:
    from attnlab.balance.tuner import Round

KINDS = {
    "change": "map: change",
    "before": "map: before",
    "after": "map: after",
    "bertviz before": "bertviz: before",
    "bertviz after": "bertviz: after",
}
COLUMNS = ("round", "way", "verdict", "accuracy", "change, points")
_WIDEST = 2.0  # doublings to both sides of neutral that colours tell apart


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def tuner_report(
    rounds: Sequence["Round"],
    settings: dict[str, Any],
    size: tuple[int, int],
    start: HeadSettings,
    guard: tuple[float, float, int],
    state: str = "ready",
    can: Sequence[str] = (),
    doing: str = "",
) -> dict[str, Any]:
    """Say all that a tuner's desk shows.

    Parameters
    ----------
    rounds : of the tuner, so far
    settings : ``round``, the number of the one looked at, 0 for the start, or "newest"; ``layer``
        and ``head``; ``kind`` of picture; ``text``
    size : layers and heads
    start : what the knobs said before the first round
    guard : accuracy at the start on the guard part, its standard error, and how many texts that is
    state : "ready", "running", "stopping", "stopped" or "finished"
    can : what can be asked of the tuner now: "run", "stop", "step", "propose"
    doing : what the tuner is at, a few words

    Returns
    -------
    report : dict of plain numbers, lists and texts: ``rows`` of the table, ``points`` and ``axes``
        of the chart, ``knobs`` of the round looked at (maps of scale and temperature), ``looked``,
        ``why``, ``remark``, ``alt``

    Raises
    ------
    SettingsError : a setting that there is not
    """
    settings = _checked(rounds, settings, size)
    looked = looked_at(rounds, settings["round"])
    knobs = start if looked is None else looked.settings
    points = list(map(_point, rounds))
    axes = _axes(rounds, guard)
    return {
        "settings": settings,
        "size": list(size),
        "state": state,
        "can": list(can),
        "doing": doing,
        "columns": list(COLUMNS),
        "rows": [_first_row(guard), *map(_row, rounds)],
        "points": points,
        "start": significant(guard[0]),
        "axes": axes,
        "looked": 0 if looked is None else int(looked.number),
        "name": "Before the first round" if looked is None else f"Round {looked.number}",
        "why": _why(looked, guard),
        "knobs": {name: _knobs(knobs, name) for name in ("scale", "temperature")},
        "kinds": [[name, words, True] for name, words in KINDS.items()],
        "remark": _remark(rounds, guard, state),
        "alt": _alternative(rounds, guard),
        "note": f"95 % bars, {guard[2]:,} texts",
    }


def _checked(
    rounds: Sequence["Round"], settings: dict[str, Any], size: tuple[int, int]
) -> dict[str, Any]:
    numbers = [0, *(done.number for done in rounds)]
    if settings["round"] != "newest" and settings["round"] not in numbers:
        raise SettingsError(
            f"There is no round {settings['round']!r}. There are {numbers[0]} to {numbers[-1]}, "
            "or 'newest'."
        )
    for name, count in zip(("layer", "head"), size, strict=True):
        place = settings[name]
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < count:
            raise SettingsError(f"{name} is {place!r}; it is a whole number from 0 to {count - 1}.")
    if settings["kind"] not in KINDS:
        raise SettingsError(
            f"There is no picture {settings['kind']!r}. There are {', '.join(KINDS)}."
        )
    if not isinstance(settings["text"], str) or not settings["text"].strip():
        raise SettingsError("The sentence is empty. Type one.")
    return dict(settings)


def looked_at(rounds: Sequence["Round"], number: int | str) -> "Round | None":
    """The round looked at; None for the start. The newest is the last one accepted, or the last."""
    if number == "newest":
        kept = [done for done in rounds if done.accepted]
        return next(reversed(kept or list(rounds)), None)
    return next((done for done in rounds if done.number == number), None)


def _first_row(guard: tuple[float, float, int]) -> dict[str, Any]:
    low, high = _interval(guard)
    told = [f"{100 * guard[0]:.1f}\u00a0%", f"95\u00a0%: {100 * low:.1f} to {100 * high:.1f}"]
    return {"number": 0, "accepted": None, "cells": ["as it was", "start", *told]}


def _interval(guard: tuple[float, float, int]) -> tuple[float, float]:
    return share_interval(round(guard[0] * guard[2]), guard[2])


def _row(done: "Round") -> dict[str, Any]:
    low, high = done.ci
    return {
        "number": int(done.number),
        "accepted": bool(done.accepted),
        "cells": [
            str(done.way) + (" + retraining" if done.retrained else ""),
            "accepted" if done.accepted else "refused",
            f"{100 * done.accuracy:.1f}\u00a0%",
            f"{signed_points(done.delta)} ({signed_points(low)} to {signed_points(high)})",
        ],
    }


def _point(done: "Round") -> dict[str, Any]:
    before = done.accuracy - done.delta
    kind = "random" if done.way == "random" else "accepted" if done.accepted else "refused"
    return {
        "number": int(done.number),
        "kind": kind,
        "accepted": bool(done.accepted),
        "accuracy": significant(done.accuracy),
        "low": significant(before + done.ci[0]),
        "high": significant(before + done.ci[1]),
        "words": f"Round {done.number}, {done.way}: {100 * done.accuracy:.1f}\u00a0%, "
        f"{'accepted' if done.accepted else 'refused'}",
    }


def _axes(rounds: Sequence["Round"], guard: tuple[float, float, int]) -> dict[str, Any]:
    """Accuracy by steps of 5 %, at least 10 wide; rounds at least to the sixth: little jumps."""
    ends = list(_interval(guard))
    for done in rounds:
        before = done.accuracy - done.delta
        ends += [done.accuracy, before + done.ci[0], before + done.ci[1]]
    high = min(20, max(2, math.ceil(20 * max(ends) + 0.2)))
    low = max(0, min(math.floor(20 * min(ends) - 0.2), high - 2))
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(5 * low, 5 * high)
    last = max(6, *(done.number for done in rounds)) if rounds else 6
    stride = math.ceil(last / 8)
    return {
        "round": {
            "from": -0.4,
            "to": last + 0.4,
            "ticks": [
                [float(n), "start" if n == 0 else str(n)] for n in range(0, last + 1, stride)
            ],
        },
        "accuracy": {
            "from": low / 20,
            "to": high / 20,
            "ticks": [
                [tick / 100, f"{tick:.0f} %"] for tick in ticks if 5 * low <= tick <= 5 * high
            ],
        },
    }


def _knobs(settings: HeadSettings, name: str) -> dict[str, Any]:
    """A map of one kind of knob, coloured by doublings from neutral, which is left white."""
    values = getattr(settings, name).detach().double().numpy()
    with np.errstate(divide="ignore"):
        doublings = np.log2(values)
    shown = np.clip(doublings, -_WIDEST, _WIDEST)
    off = values == 0
    return {
        "values": [
            [
                None if silent else significant(value)
                for value, silent in zip(row, gone, strict=True)
            ]
            for row, gone in zip(shown, off, strict=True)
        ],
        "words": [
            ["off" if value == 0 else _factor(value) for value in row] for row in values.tolist()
        ],
        "low": -_WIDEST,
        "high": _WIDEST,
        "blank": 0.0,
        "signed": True,
        "digits": 2,
        "label": f"{name}, 1 is neutral",
        "alt": (
            f"{name} of {values.size} heads, from {_factor(values.min())} to "
            f"{_factor(values.max())}"
        )
        + (f", {int(off.sum())} off." if off.any() else "."),
    }


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.0f}"


def _why(looked: "Round | None", guard: tuple[float, float, int]) -> str:
    if looked is None:
        return f"Accuracy on the guard part {with_interval(guard[0], _interval(guard))}."
    out = "1 anomaly" if looked.anomalies == 1 else f"{looked.anomalies} anomalies"
    verdict = "Accepted" if looked.accepted else "Refused"
    told = [f"{looked.heads_on} heads on", f"{looked.seconds:.0f} s"]
    if math.isfinite(looked.balance):  # a model with a prefix has no meter
        told = [f"balance {looked.balance:.2f}", out, *told]
    return f"{', '.join(told)}. {verdict}: {looked.why}"


def _remark(rounds: Sequence["Round"], guard: tuple[float, float, int], state: str) -> str:
    """How it stands.

    Read out by screen readers, so it changes with a round and not all the time.
    """
    kept = [done for done in rounds if done.accepted]
    now = kept[-1].accuracy if kept else guard[0]
    doing = {
        "running": "Running",
        "stopping": "Stopping",
        "stopped": "Stopped",
        "finished": "Finished",
        "ready": "Ready",
    }[state]
    if not rounds:
        return f"{doing}. On the guard part {with_interval(guard[0], _interval(guard))}."
    return (
        f"{doing}. {len(rounds)} round{'s' if len(rounds) > 1 else ''}, {len(kept)} accepted: on "
        "the guard part "
        f"from {100 * guard[0]:.1f} to {100 * now:.1f}\u00a0%. What it is worth only test data "
        "can say."
    )


def _alternative(rounds: Sequence["Round"], guard: tuple[float, float, int]) -> str:
    told = "; ".join(_point(done)["words"] for done in rounds[-12:])
    return (
        f"Points: accuracy on the guard part after each round, from {guard[0]:.1%}: "
        f"{told or 'none yet'}."
    )
