"""The control room: a real service under a load that is moved by hand, and what it does about it.

The view is in static/control.js; what it draws is made in control_report.py.
"""

import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from attnlab.adaptive.live_load import LiveLoad
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.show.plots.live_service import live_service
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.control_report import control_report, is_quiet, sample_of
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.worker import Current

if TYPE_CHECKING:
    from attnlab.adaptive.serving import Server

PAUSE = 0.5  # seconds between two looks at the service
KEPT = 1200  # samples, ten minutes of them


class ControlRoom(ReportDesk):
    """A desk for a service: move the load and the promise, and watch what its controller does.

    Parameters
    ----------
    server : adaptive.Server, which runs
    texts : TextDataset, whose texts are sent in turn and whose labels tell the accuracy; or texts
    load : requests per second that are sent at first, 0 to 100

    Attributes
    ----------
    settings : dict of ``load``, ``target`` and ``paused``; `set` changes some of them, as in
        ``room.set(load=30, target=150)``
    report : dict, what is drawn: the `control_report`
    error : str, what went wrong; empty if nothing did

    Raises
    ------
    AttnlabError : the service has stopped, or is on another machine
    DataError : no texts
    SettingsError : a load that is not sent

    Notes
    -----
    Requests are sent over HTTP by a thread of this kernel in an open loop, at most 200 per second
    and for ten minutes after each start, and no longer than the desk, the service and the kernel
    are there. Curves are what the service itself reads over its last ten seconds, twice a second.
    ``room.close()`` stops the load, ``server.stop()`` the service. Where no kernel runs, nothing is
    drawn: end with ``room.picture()``.
    """

    _esm = script("control")
    _css = style("charts", "control")

    def __init__(
        self, server: "Server", texts: TextDataset | Sequence[str], load: float = 0
    ) -> None:
        self.server = server
        self._state = server.state()
        labels = None
        if isinstance(texts, TextDataset):
            labels = [texts.label_names[label] for label in texts.labels]
            texts = texts.texts
        self._sender = LiveLoad(server.url, list(texts), labels)
        self._samples: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._began = time.monotonic()
        self._run = "running"
        self._frozen: tuple[list[dict[str, Any]], dict[str, Any]] | None = None
        first = {"load": load, "target": self._state["target_ms"], "paused": False}
        super().__init__(self._report(first))
        self._apply_load(load)
        weakref.finalize(self, self._sender.stop)
        threading.Thread(
            target=_follow, args=(weakref.ref(self),), name="attnlab control room", daemon=True
        ).start()

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the report of these settings on what was seen so far."""
        return self._report(settings)

    def rush_hour(self) -> None:
        """Double the load for 15 s, as the button does; AttnlabError if there is none."""
        self._sender.rush()
        self._redraw()

    def stop_load(self) -> None:
        """Send nothing more."""
        self.set(load=0)

    def watch(self, seconds: float) -> Self:
        """Wait for so many seconds, or until the service ends, while the curves go on."""
        end = time.monotonic() + seconds
        while self._run != "ended" and time.monotonic() < end:
            time.sleep(min(PAUSE, max(end - time.monotonic(), 0)))
        return self

    def to_frame(self) -> pd.DataFrame:
        """Return what was seen in the last ten minutes, a row for each look, twice a second.

        Columns: ``second`` since the desk was made; ``point``; ``waiting``, requests; ``p95_ms``
        and ``target_ms``; ``kept``; ``accuracy`` with its 95 % interval, ``low`` and ``high``;
        ``sent``, ``answered`` and ``refused`` per second
        """
        with self._lock:
            return pd.DataFrame(list(self._samples))

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel.

        Raises
        ------
        AttnlabError : nothing was seen yet
        """
        with self._lock:
            if not self._samples:
                raise AttnlabError("Nothing was seen yet. Wait a second: room.watch(1).")
            return live_service(self.report)

    def restless(self) -> bool:
        """Whether requests are being sent."""
        return self._sender.rate > 0

    def __repr__(self) -> str:
        return f"ControlRoom({self.report['remark']})"

    # What happens when something is moved

    def _stop(self) -> None:
        self._sender.stop()
        super()._stop()

    def _obey(self, content: dict[str, Any]) -> None:
        if content == {"action": "rush"}:
            self.rush_hour()

    def _follow(self, before: dict[str, Any]) -> None:
        old, new = before["settings"], self.report["settings"]
        if new["load"] != old["load"]:
            self._apply_load(new["load"])
        if new["target"] != old["target"] and new["target"] != self._state["target_ms"]:
            self._work.start("target", lambda current: self._promise(new["target"], current))
        if new["paused"] != old["paused"]:
            self._redraw()  # from here on as they are, or as they have become

    def _apply_load(self, load: float) -> None:
        if self._run != "ended":
            self._sender.set_rate(load)

    def _promise(self, target: float, current: Current) -> None:
        """Tell the service, which may take a while as it is busy."""
        state = self.server.set_target(target)
        with self._lock:
            if current():
                self._state = state
        self._redraw()

    def _report(self, settings: dict[str, Any]) -> dict[str, Any]:
        if not settings["paused"] or self._run == "ended":
            self._frozen = None
        elif self._frozen is None:
            self._frozen = list(self._samples), self._state
        samples, state = self._frozen or (list(self._samples), self._state)
        return control_report(samples, state, settings, self._run, self._sender.rush_left_s)

    # What happens when nothing is moved

    def _look(self) -> None:
        """Ask the service how it is, and draw it."""
        try:
            state = self.server.state()
        except AttnlabError:
            self._unanswered()
            return
        with self._lock:
            quiet = bool(self._samples) and is_quiet(self._samples[-1])
            steered = state["target_ms"] != self._state["target_ms"]
            self._run, self._state = "running", state
            sample = sample_of(state, time.monotonic() - self._began, self._sender.rate)
            if quiet and is_quiet(sample) and not steered:
                return  # nothing moves: the curves stand still, and a picture shows the last load
            self._samples.append(sample)
            self._follow_others(steered)
        if self._sender.trouble:
            said = f"A request failed: {self._sender.trouble}"
            self._status("load", AttnlabError(said))
        if not self.settings.get("paused"):
            self._redraw()

    def _follow_others(self, steered: bool) -> None:
        """Let the controls follow a load that ended by itself, and a promise made elsewhere."""
        changes: dict[str, Any] = {}
        if self._sender.expired and self.settings.get("load"):
            self._sender.expired = False
            changes["load"] = 0
            self._status("load", AttnlabError("Ten minutes of load are over. Move it to go on."))
        if steered and not self._work.busy():
            changes["target"] = self._state["target_ms"]
        if changes:
            self.settings = self.settings | changes

    def _unanswered(self) -> None:
        process = getattr(self.server, "process", None)
        ended = process is not None and process.poll() is not None
        with self._lock:
            before, self._run = self._run, "ended" if ended else "silent"
            if ended:
                self._sender.stop()
                self._status("load")
        if self._run != before:
            self._redraw()


def _follow(reference: "weakref.ref[ControlRoom]") -> None:
    """Look at a service again and again, for as long as it and its desk are there."""
    pause = threading.Event()
    while not pause.wait(PAUSE):
        desk = reference()
        if desk is None or desk.comm is None or desk._run == "ended":
            return
        desk._look()
        del desk
