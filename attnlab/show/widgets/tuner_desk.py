"""The tuner's desk: rounds as they come, kept or refused, and what they do to a sentence.

The view is in static/tuner.js; what it draws is made in tuner_report.py.
"""

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import traitlets

from attnlab.classification.classifier import Classifier
from attnlab.errors import AttnlabError
from attnlab.heads.settings import HeadSettings
from attnlab.show import plots, views
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import (
    bertviz_or_map,
    change_report,
    fitting,
    map_report,
    palettes,
)
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.tuner_report import looked_at, tuner_report
from attnlab.show.widgets.worker import Current, Worker
from attnlab.training.loop import Interrupted

if TYPE_CHECKING:
    from attnlab.balance.tuner import Tuner

PAUSE = 0.25  # seconds between two looks at the tuner


class TunerDesk(ReportDesk):
    """A desk for a Tuner: run it, watch its rounds, and hand in settings of your own.

    Parameters
    ----------
    tuner : balance.Tuner, before, while or after it runs
    text : the sentence whose attention is shown

    Attributes
    ----------
    settings : dict of ``round``, ``layer``, ``head``, ``kind`` and ``text``; `set` changes some of
        them
    round_settings : HeadSettings of the round looked at
    report : dict, what is drawn: the `tuner_report`
    code, json : the settings of the round looked at, as Python code and as JSON
    error : str, what went wrong; empty if nothing did

    Notes
    -----
    Runs the tuner in a thread of its own and looks at its rounds four times a second, so it shows
    one that runs in a cell, too. Where no kernel runs, nothing is drawn: end with
    ``desk.picture()``, which stays.
    """

    _esm = script("tuner")
    _css = style("grids", "charts", "tuner")

    sentence = traitlets.Dict().tag(sync=True)
    palette = traitlets.Dict().tag(sync=True)
    library = traitlets.Unicode().tag(sync=True)
    json = traitlets.Unicode().tag(sync=True)

    def __init__(self, tuner: "Tuner", text: str = "A warm, funny and beautifully acted film."):
        self.tuner = tuner
        self._runner = Worker(self._status)  # a run lasts minutes, and the sentence must not wait
        self._asked = ""  # of the tuner, by this desk: "running" or "stopping"
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
        self._draw_chosen()
        threading.Thread(target=_follow, args=(weakref.ref(self),), daemon=True).start()

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the report of these settings on the rounds so far."""
        return self._report(settings)

    @property
    def round_settings(self) -> HeadSettings:
        """The knobs of the round looked at, a copy."""
        with self._lock:
            looked = looked_at(list(self.tuner.rounds), self.report["settings"]["round"])
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
        """Hand in settings of your own, such as a mixing desk's, as a round that the guard judges.

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
                # another's run ends without our hearing
                self._asked = "stopping" if self._asked else ""
                self.tuner.stop()
        self._look()

    def wait(self, seconds: float = 600) -> "TunerDesk":
        """Wait until the tuner has ended and all is drawn; return the desk."""
        self._runner.wait(seconds)
        self._look()
        return super().wait(seconds)

    def picture(self) -> plots.Picture:
        """The rounds as a picture with its text alternative, which needs no kernel."""
        return plots.tuning(list(self.tuner.rounds))

    def __repr__(self) -> str:
        return f"TunerDesk({self.report['remark']})"

    # What happens when a round is over

    def _stop(self) -> None:
        self.stop()  # a tuner that it runs ends soon
        self._runner.end()
        super()._stop()

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

        def whole(_current: Current) -> None:
            try:
                work()
            except Interrupted:
                pass  # as was asked
            finally:
                with self._lock:
                    self._asked = ""
                self._look()

        self._runner.start("tuner", whole)
        self._look()

    def _look(self) -> None:
        """Draw again if there is something new."""
        with self._lock:
            known = len(self.tuner.rounds), self._state(), self.tuner.doing
            if known == self._known:
                return
            self._redraw()
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

    def _follow(self, before: dict[str, Any]) -> None:
        if (before["settings"], before["looked"]) != (
            self.report["settings"],
            self.report["looked"],
        ):
            self._draw_chosen()

    def _as_code(self) -> str:
        return self.round_settings.to_code()

    def _draw_chosen(self) -> None:
        """What follows from another choice: settings to copy, and the sentence's picture."""
        settings, knobs = self.report["settings"], self.round_settings
        self.json = knobs.to_json()
        self._work.start("sentence", lambda current: self._draw_sentence(settings, knobs, current))

    def _obey(self, content: dict[str, Any]) -> None:
        match content:
            case {"action": "run" | "step" | "stop" as action}:
                getattr(self, action)()
            case {"action": "propose", "text": text}:
                self.propose(HeadSettings.from_json(text))

    # The sentence

    def _draw_sentence(
        self, settings: dict[str, Any], knobs: HeadSettings, current: Current
    ) -> None:
        clf, kind, looked = self.tuner.clf, settings["kind"], self.report["looked"]
        text = fitting(clf, settings["text"])
        layer, head = settings["layer"], settings["head"]
        now, remark = self._weights(looked)
        if kind == "change":
            after, before = now.attend(text, knobs), clf.attend(text, self.tuner.start)
            report = change_report(after, before, layer, head, "scaled")
        else:
            early = "before" in kind
            maps = clf.attend(text, self.tuner.start) if early else now.attend(text, knobs)
            draw = bertviz_or_map if kind.startswith("bertviz") else map_report
            report = draw(maps, layer, head, "scaled")
            remark = "" if early else remark
        report["note"] = f"{report['note']} {remark}".strip()
        self._publish(current, sentence=report | {"stamp": [looked, layer, head, kind]})

    def _weights(self, looked: int) -> tuple[Classifier, str]:
        """The classifier that goes with a round, and what is to be said of it."""
        rounds = [done for done in self.tuner.rounds if done.number <= looked]
        if rounds and rounds[-1].retrained and not rounds[-1].accepted:
            return self.tuner.clf, "The weights of this round were dropped."
        kept = [done for done in self.tuner.rounds if done.accepted]
        trained = [done.number for done in kept if done.retrained]
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
