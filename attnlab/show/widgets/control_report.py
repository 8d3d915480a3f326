"""What the control room shows of a service, as plain numbers, lists and texts."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from matplotlib.ticker import MaxNLocator

from attnlab.adaptive.live_load import MOST_PER_SECOND
from attnlab.errors import SettingsError
from attnlab.show.wording import counted, significant

SHOWN_S = 60  # seconds that the curves reach back
MOST_LOAD = MOST_PER_SECOND // 2  # of the slider: a rush hour doubles it
MOST_TARGET_MS = 60_000
LOG_LINES = 5
ENDED = "The service has ended. Run the cell again."
LINES = ("p95_ms", "target_ms", "kept", "accuracy", "low", "high", "sent", "answered", "refused")
_LONGEST_NAME = 11


# ── what was seen ──────────────────────────────────────────────────────────────────────────────


def sample_of(state: Mapping[str, Any], second: float, sent: float) -> dict[str, Any]:
    """Return one row of what is drawn.

    Parameters
    ----------
    state : of `adaptive.Server.state`
    second : when it was asked for
    sent : requests per second that are being sent

    Returns
    -------
    dict of ``second``, ``point``, ``waiting`` and the numbers of `LINES`, None where there was
    nothing to see
    """
    reading = state["reading"]
    return {
        "second": second,
        "point": state["point"],
        "waiting": reading["waiting"],
        "p95_ms": reading["p95_ms"],
        "target_ms": state["target_ms"],
        "kept": reading["kept"],
        "accuracy": reading["accuracy"],
        "low": reading["accuracy_low"],
        "high": reading["accuracy_high"],
        "sent": sent,
        "answered": reading["answers_per_second"],
        "refused": reading["refusals_per_second"],
    }


def is_quiet(sample: Mapping[str, Any]) -> bool:
    """Whether nothing is sent, waits, or was answered in the last seconds."""
    return not (sample["sent"] or sample["waiting"] or sample["answered"] or sample["refused"])


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def control_report(
    samples: Sequence[Mapping[str, Any]],
    state: Mapping[str, Any],
    settings: Mapping[str, Any],
    run: str = "running",
    rush_left_s: float = 0.0,
) -> dict[str, Any]:
    """Say all that a control room shows.

    Parameters
    ----------
    samples : of `sample_of`, the oldest first
    state : of `adaptive.Server.state`, the newest
    settings : ``load``, requests per second; ``target``, milliseconds, None where the service
        promises nothing; ``paused``, whether the curves stand still
    run : of the service, "running", "silent" (it does not answer) or "ended"
    rush_left_s : seconds that a rush hour still lasts

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``settings``; ``state``, "ended", "silent", "paused", "rush", "sending" or "idle"
        - ``seconds`` before the newest sample, and ``lines``, a list for each of `LINES`
        - ``spans``, from when to when which point answered, by its ``lane``; ``lanes``, their
          names, the dearest first
        - ``numbers``, the newest ones as [what, how much]; ``log``, lines in words; ``axes``
        - ``can``: why not to press a button, by its name; empty if it may be pressed
        - ``load``, ``remark``, ``alt``, ``point``

    Raises
    ------
    SettingsError : a setting that there is not
    """
    settings = checked(settings, state["target_ms"])
    now = samples[-1]["second"] if samples else 0.0
    shown = [sample for sample in samples if sample["second"] >= now - SHOWN_S]
    seconds = [round(sample["second"] - now, 1) for sample in shown]
    lines = {name: [_digits(sample[name]) for sample in shown] for name in LINES}
    points = [point["name"] for point in state["points"]]
    spans = _spans(shown, seconds, points)
    told = "paused" if settings["paused"] and run == "running" else _doing(run, shown, rush_left_s)
    return {
        "settings": settings,
        "state": told,
        "stamp": round(now, 1),
        "seconds": seconds,
        "lines": lines,
        "spans": spans,
        "lanes": [_cut(name) for name in points],
        "numbers": _numbers(shown[-1] if shown else None, state),
        "log": [log_line(step) for step in reversed(state["log"][-LOG_LINES:])],
        "axes": _axes(lines, state),
        "can": _can(told, settings),
        "load": _load(settings["load"], shown, rush_left_s),
        "point": state["point"],
        "remark": _remark(told, shown, state),
        "alt": _alternatives(shown, spans, state),
    }


def checked(settings: Mapping[str, Any], promised: float | None) -> dict[str, Any]:
    """Return the settings, or raise SettingsError if they cannot stand so."""
    load, target, paused = settings["load"], settings["target"], settings["paused"]
    if not _is_number(load) or not 0 <= load <= MOST_LOAD:
        raise SettingsError(
            f"load is {load!r}; expected 0 to {MOST_LOAD} requests per second: a rush hour doubles "
            f"it, and {MOST_PER_SECOND} are sent at most."
        )
    if promised is None:
        target = None  # it promises nothing
    elif not _is_number(target) or not 1 <= target <= MOST_TARGET_MS:
        raise SettingsError(
            f"target is {target!r}; expected milliseconds from 1 to {MOST_TARGET_MS:,}."
        )
    if not isinstance(paused, bool):
        raise SettingsError(f"paused is {paused!r}; it is True or False.")
    return {"load": load, "target": target, "paused": paused}


def log_line(step: Mapping[str, Any]) -> str:
    """Return a step of the controller in words.

    >>> log_line({"second": 83.4, "before": "full", "after": "exit-0.5", "why": "5 calm readings"})
    '1:23 full → exit-0.5: 5 calm readings'
    """
    minutes, seconds = divmod(int(step["second"]), 60)
    return f"{minutes}:{seconds:02} {step['before']} → {step['after']}: {step['why']}"


def _is_number(value: Any) -> bool:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and math.isfinite(value)


def _digits(value: float | None) -> float | None:
    return None if value is None else significant(value, 4)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _doing(run: str, shown: Sequence[Mapping[str, Any]], rush_left_s: float) -> str:
    if run != "running":
        return run
    if rush_left_s > 0:
        return "rush"
    return "sending" if shown and shown[-1]["sent"] else "idle"


def _spans(
    shown: Sequence[Mapping[str, Any]], seconds: Sequence[float], points: Sequence[str]
) -> list[dict[str, Any]]:
    """From when to when which point answered: each until the next one."""
    spans: list[dict[str, Any]] = []
    rows = zip(seconds, [sample["point"] for sample in shown], strict=True)
    for point, group in groupby(rows, key=lambda row: row[1]):
        start = next(group)[0]
        if spans:
            spans[-1]["end"] = start
        lane = points.index(point) if point in points else -1
        spans.append({"start": start, "end": 0.0, "point": point, "lane": lane})
    return [span for span in spans if span["lane"] >= 0]


# ── axes ───────────────────────────────────────────────────────────────────────────────────────


def _axes(lines: Mapping[str, list[float | None]], state: Mapping[str, Any]) -> dict[str, Any]:
    target = state["target_ms"] or 0.0
    points = state["points"]
    kept = [point["kept"] for point in points]
    accuracy = [point["accuracy"] for point in points]
    ticks = [[float(-back), "now" if not back else f"−{back} s"] for back in (60, 45, 30, 15, 0)]
    return {
        "second": {"from": -float(SHOWN_S), "to": 0.0, "ticks": ticks},
        "p95": _from_zero(max([1.5 * target, 10.0, *_known(lines["p95_ms"])])),
        "kept": _share_axis([*kept, *_known(lines["kept"])]),
        "accuracy": _share_axis([*accuracy, *_known(lines["low"])]),
        "requests": _from_zero(
            max([10.0, *_known(lines["sent"]), *_known(lines["answered"])]), most=3
        ),
    }


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _from_zero(largest: float, most: int = 4) -> dict[str, Any]:
    """From 0 to a round number above, which changes seldom."""
    power = 10 ** math.floor(math.log10(largest))
    top = next(n * power for n in (1, 1.5, 2, 3, 4, 6, 8, 10) if n * power >= largest)
    places = MaxNLocator(most, integer=True, steps=[1, 2, 5, 10]).tick_values(0, top)
    return {
        "from": 0.0,
        "to": float(top),
        "ticks": [[float(tick), f"{tick:,.0f}"] for tick in places if tick <= top],
    }


def _share_axis(shares: Sequence[float]) -> dict[str, Any]:
    """Percent, from the quarter below the lowest share to 100."""
    low = min(0.75, math.floor(4 * min(shares, default=0.0)) / 4)
    ticks = [low, (1 + low) / 2, 1.0]
    return {"from": low, "to": 1.0, "ticks": [[tick, f"{100 * tick:.3g} %"] for tick in ticks]}


# ── words ──────────────────────────────────────────────────────────────────────────────────────


def _can(told: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Why not to press or move something."""
    if told == "ended":
        return dict.fromkeys(("load", "rush", "stop", "target", "pause"), ENDED)
    nothing = "" if settings["load"] else "Nothing is sent. Move the load first."
    fixed = "" if settings["target"] is not None else "This service has a fixed point: no promise."
    rush = "It is rush hour already." if told == "rush" else nothing
    return {"load": "", "rush": rush, "stop": nothing, "target": fixed, "pause": ""}


def _load(load: float, shown: Sequence[Mapping[str, Any]], rush_left_s: float) -> str:
    if rush_left_s > 0 and shown:
        left = math.ceil(rush_left_s)
        return f"{min(2 * load, MOST_PER_SECOND):g} requests/s for {left} s more"
    return f"{load:g} requests/s" if load else "nothing is sent"


def _numbers(last: Mapping[str, Any] | None, state: Mapping[str, Any]) -> list[list[str]]:
    """The newest numbers: what, and how much."""
    if last is None:
        last = {"p95_ms": None, "kept": None, "accuracy": None, "answered": 0, "refused": 0}
        last |= {"waiting": 0}
    accuracy = _percent(last["accuracy"])
    if last["accuracy"] is not None:
        accuracy += f" ({100 * last['low']:.0f} to {100 * last['high']:.0f})"
    return [
        ["Operating point", _cut(state["point"])],
        ["95th percentile", "–" if last["p95_ms"] is None else f"{last['p95_ms']:,.0f} ms"],
        ["Attention kept", _percent(last["kept"])],
        ["Accuracy (95 %)", accuracy],
        ["Answered", f"{last['answered']:.0f}/s"],
        ["Refused", f"{last['refused']:.0f}/s"],
        ["Waiting", f"{last['waiting']:.0f}"],
    ]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _remark(told: str, shown: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> str:
    """How it stands.

    Read out by screen readers, so it changes when something has happened, not all the time.
    """
    if told == "ended":
        return ENDED
    if told == "silent":
        return "The service does not answer. It is asked again and again."
    if not shown or is_quiet(shown[-1]):
        return "Nothing is sent. Move the load, and watch what the controller does."
    last, target = shown[-1], state["target_ms"]
    stands = f"Answers come from “{state['point']}”"
    if target is None:
        return f"{stands}, which is fixed: nothing is promised."
    if last["p95_ms"] is None:
        return f"{stands}; none has come yet."
    late = last["p95_ms"] > target
    names = [point["name"] for point in state["points"]]
    dearest = not names or state["point"] == names[0]
    if not late and dearest:
        return f"The promise is kept, and no point is dearer. {stands}."
    if not late:
        return f"The promise is kept, at a cheaper point. {stands}."
    if state["point"] == names[-1]:
        return f"Answers are late, and there is no cheaper point. {stands}."
    return f"Answers are late: the curve is over the last ten seconds. {stands}."


def _alternatives(
    shown: Sequence[Mapping[str, Any]], spans: Sequence[Mapping[str, Any]], state: Mapping[str, Any]
) -> dict[str, str]:
    """Each chart in words, with its numbers."""
    if not shown:
        return dict.fromkeys(("p95", "points", "kept", "accuracy", "requests"), "Empty so far.")
    span = f"over the last {-round(shown[0]['second'] - shown[-1]['second'])} seconds"
    target = state["target_ms"]
    promised = f", target {target:,.0f}" if target is not None else ""
    order = ", ".join(one["point"] for one in spans)
    return {
        "p95": f"95th percentile of latency {span}: {_range(shown, 'p95_ms', 1, ' ms')}{promised}.",
        "points": f"Operating points {span}, {counted(len(spans), 'stretch', 'stretches')}: "
        f"{order}.",
        "kept": f"Attention kept {span}: {_range(shown, 'kept', 100, ' %')}.",
        "accuracy": f"Accuracy {span}: {_range(shown, 'accuracy', 100, ' %')}.",
        "requests": f"Requests per second {span}: sent {_range(shown, 'sent', 1)}; "
        f"answered {_range(shown, 'answered', 1)}; refused {_range(shown, 'refused', 1)}.",
    }


def _range(shown: Sequence[Mapping[str, Any]], name: str, factor: float, unit: str = "") -> str:
    known = _known([sample[name] for sample in shown])
    if not known:
        return "nothing to see"
    low, high, last = (factor * value for value in (min(known), max(known), known[-1]))
    return f"from {low:,.0f} to {high:,.0f}{unit}, now {last:,.0f}{unit}"
