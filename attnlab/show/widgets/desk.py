"""What all desks have: complaints, work beside the cell, settings, and a still picture."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self

import anywidget
import traitlets

from attnlab.errors import AttnlabError, SettingsError
from attnlab.languages import later, tr
from attnlab.show import plots
from attnlab.show.widgets import still
from attnlab.show.widgets.worker import Current, Worker


class Desk(anywidget.AnyWidget):
    """A widget that says what goes wrong, works beside the cell, and leaves a picture behind.

    Attributes
    ----------
    error : str, what went wrong; empty if nothing did
    """

    error = traitlets.Unicode().tag(sync=True)

    _still: still.Still | None = None  # its picture, once it is shown
    _kinds: ClassVar[Sequence[str]] = ()  # of work beside the cell, the most urgent first
    _unforeseen: ClassVar[str] = later("That did not work. {}")  # an error that is no advice

    def __init__(self, **traits: Any):
        self._lock = threading.RLock()  # held while what the view shows is changed
        self._complaints: dict[str, str] = {}
        self._work = Worker(self._status, self._kinds)
        super().__init__(**traits)
        _answer_beside_the_cell(self.comm)
        self.on_msg(self._on_message)

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel.

        Raises
        ------
        AttnlabError : there is nothing to show yet
        """
        raise AttnlabError("This desk has no picture.")

    def wait(self, seconds: float = 600) -> Self:
        """Wait until everything shown belongs to the settings; return the desk."""
        self._work.wait(seconds)
        return self

    def close(self) -> None:
        """Remove the desk and stop its work."""
        if hasattr(self, "_work"):  # it was not refused while it was being made
            self._stop()
        if self._still is not None:
            self._still.end()
        super().close()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the view sends: not while a thread changes what is shown."""
        with self._lock:
            super().set_state(sync_data)

    @contextlib.contextmanager
    def hold_sync(self) -> Iterator[None]:
        """Send several changes together: one thread at a time, else a change is never sent."""
        with self._lock, super().hold_sync():
            yield

    def notify_change(self, change: Any) -> None:
        """Send a change, not while another thread gathers its own."""
        with self._lock:
            super().notify_change(change)

    def busy(self) -> bool:
        """Whether something is under way."""
        return self._work.busy()

    def restless(self) -> bool:
        """Whether it goes on changing though nobody works it."""
        return False

    def _ipython_display_(self, **_: Any) -> None:
        """Show the widget and, where there is one, its picture for pages without a kernel."""
        shown = super()._repr_mimebundle_()
        if shown is not None:
            self._still = still.show(self, shown[0], self._still)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget and, where there is one, its picture for pages without a kernel."""
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is not None:
            with contextlib.suppress(AttnlabError):  # nothing to show yet
                shown[0]["text/html"] = still.picture_html(self.picture())
        return shown

    # What a subclass uses

    def _stop(self) -> None:
        """Stop the work beside the cell."""
        self._work.end()

    def _obey(self, content: dict[str, Any]) -> None:
        """Do what a button of the view asks for."""

    def _on_message(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content == {"action": "ping"}:  # a view asks whether its kernel is still there
            self.send({"pong": True})
        else:
            self._attempt("message", lambda: self._obey(content))

    def _attempt(self, kind: str, action: Callable[[], None]) -> bool:
        """Do this, show what goes wrong with it, and return whether it went well."""
        try:
            action()
        except Exception as error:  # text that somebody pasted can hold anything
            self._status(kind, error)
            return False
        self._status(kind)
        return True

    def _status(self, kind: str, error: Exception | None = None) -> None:
        """Show what is wrong with one kind of work, or that nothing is; other complaints stay."""
        words = "" if error is None else str(error)
        if error is not None and not isinstance(error, AttnlabError):
            words = tr(self._unforeseen).format(f"{type(error).__name__}: {error}")
        with self._lock:
            self._complaints[kind] = words
            self.error = " ".join(dict.fromkeys(filter(None, self._complaints.values())))

    def _publish(self, current: Current, **traits: Any) -> bool:
        """Show what was computed, unless there is a newer request; return whether it was shown."""
        with self._lock:
            if not current():
                return False
            with self.hold_sync():
                for name, value in traits.items():
                    setattr(self, name, value)
        return True


def _answer_beside_the_cell(channel: Any) -> None:
    """Take the view's messages in the thread that the front end has chosen for widgets.

    ipykernel from 7.4 on sends them to whichever thread spoke to the view last. That is the cell's
    own, once the desk has been shown, and a view would wait for the next cell to end.
    """
    if hasattr(channel, "_reply_subshell_for"):
        channel._reply_subshell_for = lambda _data, chosen: chosen


class ReportDesk(Desk):
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
    code = traitlets.Unicode().tag(sync=True)

    def __init__(self, report: dict[str, Any], **traits: Any):
        first = report["settings"]
        super().__init__(settings=dict(first), start=dict(first), report=report, **traits)
        self.code = self._as_code()
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

    def _redraw(self, _change: Any = None) -> None:
        """Draw the report of the settings as they are, and what follows from it."""
        with self._lock:
            before = self.report
            if self._attempt("settings", self._draw):
                self._follow(before)

    def _draw(self) -> None:
        try:
            self.report = self._report_of(self.settings)
        except AttnlabError as error:
            raise AttnlabError(f"{error} {tr('Or press “Reset”.')}") from error
        self.code = self._as_code()

    def _follow(self, before: dict[str, Any]) -> None:
        """Start what follows from a new report, which took the place of ``before``."""

    def _as_code(self) -> str:
        """A call that puts the desk to its settings."""
        return (
            f"desk.set({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"
        )

    def _report_of(self, settings: dict[str, Any]) -> dict[str, Any]:
        known = list(self.start)
        if set(settings) != set(known):
            raise SettingsError(
                f"The desk was given {', '.join(settings) or 'nothing'}; it needs exactly "
                f"{', '.join(known)}. To change one: desk.set({known[0]}={self.start[known[0]]!r})."
            )
        return self.compute(**settings)
