"""Drawing while a cell trains: a few times a second at most, and again when it has ended."""

import math
import threading
import time
from typing import Any

from IPython import get_ipython

from attnlab.show.widgets.desk import Desk

PAUSE = 0.2  # seconds from one message of a `LiveDesk` to the next, at least


class LiveDesk(Desk):
    """A desk that is drawn while a cell trains.

    A subclass draws in `_draw_newest` and says in `_end` what the end of the cell means. Training
    calls `_ask`, and `_hear_of_the_cells_end` where there is nothing new to draw; both, and
    `_draw_newest`, hold `_lock`.
    """

    # a picture that fails must not end a training of hours
    _unforeseen = "This cannot be drawn: {}. Training goes on."

    def __init__(self, *args: Any, **traits: Any):
        self._sent, self._took = -math.inf, 0.0  # when something was drawn last, and its seconds
        self._timer: threading.Timer | None = None
        self._waits_for_cell = False
        super().__init__(*args, **traits)

    def _draw_newest(self) -> None:
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
                self._draw_now()
                return
            self._timer = threading.Timer(wait, self._draw_later)
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
            self._draw_now()

    def _draw_later(self) -> None:
        with self._lock:
            self._timer = None
            self._draw_now()

    def _draw_now(self) -> None:
        began = time.monotonic()
        self._attempt("settings", self._draw_newest)
        self._sent = time.monotonic()
        self._took = self._sent - began
