"""The tuner's desk: rounds as they come, kept or refused and why, their knobs, and what they do to a sentence.

`tuner_report` says all that is drawn, tested without a browser. `TunerDesk` runs the tuner in a thread and hands
its rounds to the view in static/tuner.js.
"""

import math
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from matplotlib.ticker import MaxNLocator

from attnlab.classification.classifier import Classifier
from attnlab.errors import AttnlabError, SettingsError
from attnlab.heads.settings import HeadSettings
from attnlab.show import plots, views
from attnlab.show.widgets.balance_meter import Newest, change_report
from attnlab.show.widgets.desk import ReportDesk, script, style
from attnlab.show.widgets.mixing import (
    bertviz_report,
    fitting,
    map_report,
    palettes,
)
from attnlab.show.wording import signed_points, significant
from attnlab.training.loop import Interrupted

if TYPE_CHECKING:
    from attnlab.balance.tuner import Round, Tuner

PAUSE = 0.25  # seconds between two looks at the tuner
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
    settings : ``round``, the number of the one looked at, 0 for the start, or "newest"; ``layer`` and ``head``;
        ``kind`` of picture; ``text``
    size : layers and heads
    start : what the knobs said before the first round
    guard : accuracy at the start on the guard part, its standard error, and how many texts that is
    state : "ready", "running", "stopping", "stopped" or "finished"
    can : what can be asked of the tuner now: "run", "stop", "step", "propose"
    doing : what the tuner is at, a few words

    Returns
    -------
    report : dict of plain numbers, lists and texts: ``rows`` of the table, ``points`` and ``axes`` of the chart,
        ``knobs`` of the round looked at (maps of scale and temperature), ``looked``, ``why``, ``remark``, ``alt``

    Raises
    ------
    SettingsError : a setting that there is not
    """
    settings = _checked(rounds, settings, size)
    looked = _looked(rounds, settings["round"])
    knobs = start if looked is None else looked.settings
    points = [_point(one) for one in rounds]
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
    numbers = [0, *(one.number for one in rounds)]
    if settings["round"] != "newest" and settings["round"] not in numbers:
        raise SettingsError(
            f"There is no round {settings['round']!r}. There are {numbers[0]} to {numbers[-1]}, or 'newest'."
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


def _looked(rounds: Sequence["Round"], number: int | str) -> "Round | None":
    """The round looked at; None for the start. The newest is the last one accepted, or the last."""
    if number == "newest":
        kept = [one for one in rounds if one.accepted]
        return (kept or list(rounds) or [None])[-1]
    return next((one for one in rounds if one.number == number), None)


def _first_row(guard: tuple[float, float, int]) -> dict[str, Any]:
    told = [f"{100 * guard[0]:.1f}\u00a0%", f"± {100 * guard[1]:.1f} standard error"]
    return {"number": 0, "accepted": None, "cells": ["as it was", "start", *told]}


def _row(one: "Round") -> dict[str, Any]:
    low, high = one.ci
    return {
        "number": int(one.number),
        "accepted": bool(one.accepted),
        "cells": [
            str(one.way) + (" + retraining" if one.retrained else ""),
            "accepted" if one.accepted else "refused",
            f"{100 * one.accuracy:.1f}\u00a0%",
            f"{signed_points(one.delta)} ({signed_points(low)} to {signed_points(high)})",
        ],
    }


def _point(one: "Round") -> dict[str, Any]:
    before = one.accuracy - one.delta
    kind = "random" if one.way == "random" else "accepted" if one.accepted else "refused"
    return {
        "number": int(one.number),
        "kind": kind,
        "accepted": bool(one.accepted),
        "accuracy": significant(one.accuracy),
        "low": significant(before + one.ci[0]),
        "high": significant(before + one.ci[1]),
        "words": f"Round {one.number}, {one.way}: {100 * one.accuracy:.1f}\u00a0%, "
        f"{'accepted' if one.accepted else 'refused'}",
    }


def _axes(rounds: Sequence["Round"], guard: tuple[float, float, int]) -> dict[str, Any]:
    """Accuracy by steps of 5 %, at least 10 wide; rounds at least to the sixth, so that little jumps."""
    ends = [guard[0] - guard[1], guard[0] + guard[1]]
    for one in rounds:
        before = one.accuracy - one.delta
        ends += [one.accuracy, before + one.ci[0], before + one.ci[1]]
    high = min(20, max(2, math.ceil(20 * max(ends) + 0.2)))
    low = max(0, min(math.floor(20 * min(ends) - 0.2), high - 2))
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(5 * low, 5 * high)
    last = max(6, *(one.number for one in rounds)) if rounds else 6
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
            "ticks": [[one / 100, f"{one:.0f} %"] for one in ticks if 5 * low <= one <= 5 * high],
        },
    }


def _knobs(settings: HeadSettings, name: str) -> dict[str, Any]:
    """A map of one kind of knob, coloured by doublings from neutral; silent heads are hatched."""
    values = getattr(settings, name).detach().double().numpy()
    with np.errstate(divide="ignore"):
        doublings = np.log2(values)
    shown = np.clip(doublings, -_WIDEST, _WIDEST)
    off = values == 0
    return {
        "values": [
            [None if silent else significant(one) for one, silent in zip(row, gone, strict=True)]
            for row, gone in zip(shown, off, strict=True)
        ],
        "words": [["off" if one == 0 else _factor(one) for one in row] for row in values.tolist()],
        "low": -_WIDEST,
        "high": _WIDEST,
        "signed": True,
        "digits": 2,
        "label": f"{name}, 1 is neutral",
        "alt": f"{name} of {values.size} heads, from {_factor(values.min())} to {_factor(values.max())}"
        + (f", {int(off.sum())} off." if off.any() else "."),
    }


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.0f}"


def _why(looked: "Round | None", guard: tuple[float, float, int]) -> str:
    if looked is None:
        return f"Accuracy on the guard part {100 * guard[0]:.1f} ± {100 * guard[1]:.1f}\u00a0%."
    out = "1 anomaly" if looked.anomalies == 1 else f"{looked.anomalies} anomalies"
    verdict = "Accepted" if looked.accepted else "Refused"
    told = [f"{looked.heads_on} heads on", f"{looked.seconds:.0f} s"]
    if math.isfinite(looked.balance):  # a model with a prefix has no meter
        told = [f"balance {looked.balance:.2f}", out, *told]
    return f"{', '.join(told)}. {verdict}: {looked.why}"


def _remark(rounds: Sequence["Round"], guard: tuple[float, float, int], state: str) -> str:
    """How it stands. Read out by screen readers, so it changes with a round and not all the time."""
    kept = [one for one in rounds if one.accepted]
    now = kept[-1].accuracy if kept else guard[0]
    doing = {
        "running": "Running",
        "stopping": "Stopping",
        "stopped": "Stopped",
        "finished": "Finished",
        "ready": "Ready",
    }[state]
    if not rounds:
        return f"{doing}. On the guard part {100 * guard[0]:.1f} ± {100 * guard[1]:.1f}\u00a0%."
    return (
        f"{doing}. {len(rounds)} round{'s' if len(rounds) > 1 else ''}, {len(kept)} accepted: on the guard part "
        f"from {100 * guard[0]:.1f} to {100 * now:.1f}\u00a0%. What it is worth only test data can say."
    )


def _alternative(rounds: Sequence["Round"], guard: tuple[float, float, int]) -> str:
    told = "; ".join(_point(one)["words"] for one in rounds[-12:])
    return f"Points: accuracy on the guard part after each round, from {guard[0]:.1%}: {told or 'none yet'}."


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


class TunerDesk(ReportDesk):
    """A desk for a Tuner: run it, watch its rounds, look at their knobs, and hand in settings of your own.

    Parameters
    ----------
    tuner : balance.Tuner, before, while or after it runs
    text : the sentence whose attention is shown

    Attributes
    ----------
    settings : dict of ``round``, ``layer``, ``head``, ``kind`` and ``text``; `set` changes some of them
    round_settings : HeadSettings of the round looked at
    report : dict, what is drawn: the `tuner_report`
    code, json : the settings of the round looked at, as Python code and as JSON
    error : str, what went wrong; empty if nothing did

    Notes
    -----
    Runs the tuner in a thread of its own and looks at its rounds four times a second, so it shows one that runs in
    a cell, too. Where no kernel runs, nothing is drawn: end with ``desk.picture()``, which stays.
    """

    _esm = script("grids.js", "charts.js", "tuner.js")
    _css = style("grids.css", "charts.css", "tuner.css")

    sentence = traitlets.Dict().tag(sync=True)
    palette = traitlets.Dict().tag(sync=True)
    library = traitlets.Unicode().tag(sync=True)
    json = traitlets.Unicode().tag(sync=True)

    def __init__(self, tuner: "Tuner", text: str = "A warm, funny and beautifully acted film."):
        self.tuner = tuner
        self._lock = threading.RLock()
        self._complaints: dict[str, str] = {}
        self._work = Newest(self._say)
        self._asked: str = ""  # of the tuner, by this desk: "running" or "stopping"
        self._size = tuner.clf.layers, tuner.clf.heads
        self._known: Any = None
        first = {
            "round": "newest",
            "layer": self._size[0] - 1,
            "head": 0,
            "kind": "change",
            "text": text,
        }
        super().__init__(self._report(first), palette=palettes(), library=views.library())
        self.on_msg(self._on_message)
        self._after(first)
        threading.Thread(target=_follow, args=(weakref.ref(self),), daemon=True).start()

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the report of these settings on the rounds so far."""
        return self._report(settings)

    @property
    def round_settings(self) -> HeadSettings:
        """The knobs of the round looked at, a copy."""
        with self._lock:
            looked = _looked(list(self.tuner.rounds), self.report["settings"]["round"])
            return (self.tuner.start if looked is None else looked.settings).copy()

    def run(self) -> None:
        """Run the tuner in a thread, as “Run” does, or let it go on.

        Raises
        ------
        AttnlabError : it runs already
        """
        self._begin(self.tuner.run)

    def step(self) -> None:
        """Do one more round in a thread. AttnlabError if the tuner runs already."""
        self._begin(self.tuner.step)

    def propose(self, settings: HeadSettings) -> None:
        """Hand in settings of your own, such as those of a mixing desk, as a round that the guard judges.

        Raises
        ------
        AttnlabError : the tuner runs already; settings of another size, or a stack
        """
        settings.validate_single(*self._size)
        self._begin(lambda: self.tuner.propose(settings))

    def stop(self) -> None:
        """Let the tuner end soon; finished rounds are kept."""
        with self._lock:
            if self._state() == "running":
                self._asked = (
                    "stopping" if self._asked else ""
                )  # another's run ends without our hearing
                self.tuner.stop()
        self._look()

    def wait(self, seconds: float = 600) -> "TunerDesk":
        """Wait until the tuner has ended and all is drawn, at most so many seconds; return the desk."""
        self._work.wait(seconds)
        self._look()
        return self

    def picture(self) -> plots.Picture:
        """The rounds as a picture with its text alternative, which needs no kernel."""
        return plots.tuning(list(self.tuner.rounds))

    def close(self) -> None:
        """Remove the desk; a tuner that it runs ends soon."""
        self.stop()
        self._work.end()
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget and, once there are rounds, their picture for pages without a kernel."""
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is not None and self.tuner.rounds:
            shown[0]["text/html"] = self.picture()._repr_html_()
        return shown

    def __repr__(self) -> str:
        return f"TunerDesk({self.report['remark']})"

    # What happens when a round is over

    def _state(self) -> str:
        if self._asked:
            return self._asked
        if self.tuner.doing:  # it runs in a cell
            return "running"
        if self.tuner.finished:
            return "finished"
        return "stopped" if self.tuner.rounds else "ready"

    def _begin(self, work: Callable[[], Any]) -> None:
        with self._lock:
            if self._state() in ("running", "stopping"):
                raise AttnlabError(
                    "The tuner is running. Wait for it, or stop it first: desk.stop()."
                )
            self._asked = "running"

        def whole(current: Callable[[], bool]) -> None:
            try:
                work()
            except Interrupted:
                pass  # as was asked
            finally:
                with self._lock:
                    self._asked = ""
                self._look()

        self._work.start("tuner", whole)
        self._look()

    def _look(self) -> None:
        """Draw again if there is something new."""
        with self._lock:
            known = len(self.tuner.rounds), self._state(), self.tuner.doing
            if known == self._known:
                return
            self._redraw({})
            self._known = known

    def _report(self, settings: dict[str, Any]) -> dict[str, Any]:
        score = self.tuner.guard_before
        state = self._state()
        can = {"running": ["stop"], "stopping": [], "finished": ["step", "propose"]}
        return tuner_report(
            list(self.tuner.rounds),
            settings,
            self._size,
            self.tuner.start,
            (score.accuracy, score.stderr, score.n),
            state,
            can.get(state, ["run", "step", "propose"]),
            self.tuner.doing,
        )

    def _redraw(self, change: dict[str, Any]) -> None:
        with self._lock:
            looked = self.report.get("looked")
            super()._redraw(change)
            if self.error:
                self._complaints["settings"] = self.error
                return
            self._say("settings", "")
            if change.get("new") != change.get("old") or looked != self.report["looked"]:
                self._after(self.report["settings"])

    def _after(self, settings: dict[str, Any]) -> None:
        """What follows from another choice: settings to copy, and the sentence's picture."""
        knobs = self.round_settings
        self.code, self.json = knobs.to_code(), knobs.to_json()
        self._work.start("sentence", lambda current: self._draw(settings, knobs, current))

    def _say(self, kind: str, message: str) -> None:
        """Show what one kind of work has to complain of; the others' complaints stay."""
        with self._lock:
            self._complaints[kind] = message
            self.error = " ".join(dict.fromkeys(filter(None, self._complaints.values())))

    def _on_message(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        """What a button asks for."""
        try:
            match content:
                case {"action": "run" | "step" | "stop" as action}:
                    getattr(self, action)()
                case {"action": "propose", "text": text}:
                    self.propose(HeadSettings.from_json(text))
            self._say("buttons", "")
        except AttnlabError as error:
            self._say("buttons", str(error))
        except Exception as error:  # text that somebody pasted can hold anything
            self._say("buttons", f"That did not work. {type(error).__name__}: {error}")

    # The sentence

    def _draw(
        self, settings: dict[str, Any], knobs: HeadSettings, current: Callable[[], bool]
    ) -> None:
        clf, kind = self.tuner.clf, settings["kind"]
        text = fitting(clf, settings["text"])
        layer, head = settings["layer"], settings["head"]
        now, remark = self._weights(self.report["looked"])
        before = after = None
        if "after" not in kind:
            before = clf.attend(text, self.tuner.start)
        if "before" not in kind:
            after = now.attend(text, knobs)
        maps = before if after is None else after
        if kind == "change":
            report = change_report(after, before, layer, head, "scaled")
        elif kind.startswith("bertviz"):
            try:
                report = bertviz_report(maps, layer, head, "scaled")
            except (
                AttnlabError
            ):  # too long for bertviz: a map of the beginning says more than an error
                report = map_report(maps, layer, head, "scaled")
        else:
            report = map_report(maps, layer, head, "scaled")
        report["note"] = f"{report['note']} {remark if after else ''}".strip()
        if current():
            self.sentence = report | {"stamp": [self.report["looked"], layer, head, kind]}

    def _weights(self, looked: int) -> tuple[Classifier, str]:
        """The classifier that goes with a round, and what is to be said of it."""
        rounds = [one for one in self.tuner.rounds if one.number <= looked]
        if rounds and rounds[-1].retrained and not rounds[-1].accepted:
            return self.tuner.clf, "The weights of this round were dropped."
        trained = [one.number for one in self.tuner.rounds if one.retrained and one.accepted]
        if not trained or looked < trained[0]:
            return self.tuner.clf, ""
        if looked < trained[-1]:
            return self.tuner.now, "With the weights of the last retraining."
        return self.tuner.now, "With retrained weights."


def _follow(reference: "weakref.ref[TunerDesk]") -> None:
    """Look at a tuner again and again, for as long as its desk is there."""
    pause = threading.Event()
    while not pause.wait(PAUSE):
        desk = reference()
        if desk is None or desk.comm is None:
            return
        desk._look()
        del desk
