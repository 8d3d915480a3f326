"""What our desks share: script, style sheet, controls whose setting is drawn, drawing while a cell trains."""

import math
import threading
import time
from typing import Any

import anywidget
import traitlets
from IPython import get_ipython

from attnlab.errors import AttnlabError, SettingsError
from attnlab.files import PACKAGE

PAUSE = 0.2  # seconds from one message of a `Live` view to the next, at least


def script(*names: str) -> str:
    """Return elements.js and then the scripts of these names: one module, as anywidget needs it."""
    return "".join(map(_read, ("elements.js", *names)))


def style(*names: str) -> str:
    """Return elements.css and then the style sheets of these names."""
    return "".join(map(_read, ("elements.css", *names)))


def _read(name: str) -> str:
    return (PACKAGE / "show" / "static" / name).read_text(encoding="utf-8") + "\n"


class ReportDesk(anywidget.AnyWidget):
    """A desk that draws a report of its settings; a subclass says what is in it.

    Attributes
    ----------
    settings : dict, what the controls say now. `set` changes some of them.
    report : dict, what is drawn; its ``settings`` are those it was made from
    error : str, why the settings cannot be drawn; empty if they can
    code : str, the settings as Python code
    """

    # one dictionary, so that several controls change together; ipywidgets has a `keys` of its own
    settings = traitlets.Dict().tag(sync=True)
    start = traitlets.Dict().tag(sync=True)
    report = traitlets.Dict().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)

    def __init__(self, report: dict[str, Any], **traits: Any):
        first = report["settings"]
        traits["code"] = _as_code(first)
        super().__init__(settings=dict(first), start=dict(first), report=report, **traits)
        self.observe(self._redraw, "settings")

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the report of these settings, or raise an `AttnlabError` that names the cure."""
        raise NotImplementedError

    def set(self, **changes: Any) -> None:
        """Move some of the controls, as in ``desk.set(temperature=0.5, keys=32)``.

        Raises
        ------
        AttnlabError : if there is no such control, or it cannot stand there; nothing moves then
        """
        self.settings = dict(self._report_of(self.report["settings"] | changes)["settings"])

    def reset(self) -> None:
        """Put every control back to where it was at first."""
        self.settings = dict(self.start)

    def _redraw(self, _change: dict[str, Any]) -> None:
        try:
            self.report, self.error = self._report_of(self.settings), ""
            self.code = _as_code(self.settings)
        except AttnlabError as error:
            self.error = f"{error} Or press “Reset”."

    def _report_of(self, settings: dict[str, Any]) -> dict[str, Any]:
        known = list(self.start)
        if set(settings) != set(known):
            raise SettingsError(
                f"The desk was given {', '.join(settings) or 'nothing'}; it needs exactly "
                f"{', '.join(known)}. To change one: desk.set({known[0]}={self.start[known[0]]!r})."
            )
        return self.compute(**settings)


class Live:
    """Mix-in of a widget drawn while a cell trains: a few times a second at most, and last when it has ended.

    A subclass draws in `_draw` and says in `_end` what the end of the cell means. Training calls `_ask`, and
    `_hear_of_the_cells_end` where there is nothing new to draw; both, and `_draw`, hold `_lock`.
    """

    error: str  # a trait of the widget

    def __init__(self, *args: Any, **traits: Any):
        self._lock = threading.RLock()
        self._sent, self._took = -math.inf, 0.0  # when something was drawn last, and its seconds
        self._timer: threading.Timer | None = None
        self._waits_for_cell = False
        super().__init__(*args, **traits)

    def _draw(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _ask(self) -> None:
        """Draw what is the newest now, or soon if something was drawn just before."""
        with self._lock:
            self._hear_of_the_cells_end()
            if self._timer is not None:
                return
            wait = self._sent + max(PAUSE, 10 * self._took) - time.monotonic()
            if wait <= 0:
                self._publish()
                return
            self._timer = threading.Timer(wait, self._publish_later)
            self._timer.daemon = True
            self._timer.start()

    def _hear_of_the_cells_end(self) -> None:
        """Nobody says that a run was stopped; but with the cell all training in it is over."""
        shell = get_ipython()
        if shell is None or self._waits_for_cell:
            return
        if threading.current_thread() is threading.main_thread():
            shell.events.register("post_run_cell", self._cell_ended)
            self._waits_for_cell = True

    def _cell_ended(self, *_: Any) -> None:
        get_ipython().events.unregister("post_run_cell", self._cell_ended)
        with self._lock:
            self._waits_for_cell = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._end()
            self._publish()

    def _publish_later(self) -> None:
        with self._lock:
            self._timer = None
            self._publish()

    def _publish(self) -> None:
        began = time.monotonic()
        try:
            self._draw()
        except Exception as error:  # a picture that fails must not end a training of hours
            self.error = f"This cannot be drawn: {type(error).__name__}: {error}. Training goes on."
        self._sent = time.monotonic()
        self._took = self._sent - began


def _as_code(settings: dict[str, Any]) -> str:
    """A call that puts a desk to these settings."""
    return f"desk.set({', '.join(f'{name}={value!r}' for name, value in settings.items())})"
