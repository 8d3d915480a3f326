"""A desk beside its still picture, which is what is seen where no kernel runs.

The picture is an output of its own, below the desk. The desk's style sheet hides it while the desk
is there; in a saved notebook it stands in the desk's place, on pages that show no widgets and in
JupyterLab before the cell has run. It is drawn anew when the desk has come to rest.
"""

import asyncio
import base64
import html
import io
import os
import weakref
from typing import TYPE_CHECKING, Any

from IPython import get_ipython
from IPython.display import display, update_display

from attnlab.errors import AttnlabError
from attnlab.show import plots

if TYPE_CHECKING:
    from attnlab.show.widgets.desk import Desk

WAIT = (
    "ATTNLAB_STILLS_WAIT"  # set where notebooks are built: a cell ends when its desks are at rest
)
_REST = 1.5  # seconds without a change before the picture is drawn anew
_COLOURS = 255  # of the picture: a notebook holds many

_shown: "weakref.WeakSet[Still]" = weakref.WeakSet()


def show(desk: "Desk", view: dict[str, Any], before: "Still | None") -> "Still":
    """Display a desk, whose widget is this bundle, and its still picture, which is returned."""
    display(view | {"text/plain": ""}, raw=True)
    shown = before or Still(desk)
    shown.display()
    return shown


class Still:
    """The still picture of a desk on the page.

    Parameters
    ----------
    desk : a desk with ``picture()``
    """

    def __init__(self, desk: "Desk"):
        self._desk = weakref.ref(desk)
        self._name = f"attnlab-still-{desk.model_id}"
        self._changed = False
        self._due = False  # it has no picture before the end of this cell
        self._timer: asyncio.TimerHandle | None = None
        try:  # the kernel's own, on its main thread: figures are drawn nowhere else
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        desk.observe(self._on_change)
        _shown.add(self)
        shell = get_ipython()
        if (
            shell is not None
            and _at_the_end_of_a_cell not in shell.events.callbacks["post_run_cell"]
        ):
            shell.events.register("post_run_cell", _at_the_end_of_a_cell)

    def display(self) -> None:
        """Show the picture below the desk; where a cell waits for its desks, it is drawn then."""
        self._changed = self._due = _cells_wait()
        display(self._bundle(drawn=not self._due), raw=True, display_id=self._name)

    def end(self) -> None:
        """Leave the picture as it is, and draw it if that was still to come."""
        desk = self._desk()
        if desk is not None:
            desk.unobserve(self._on_change)
            if self._due:
                self._due = False
                update_display(self._bundle(), raw=True, display_id=self._name)
        _shown.discard(self)
        self._loop = None
        self._changed = False

    def refresh(self, wait: bool = False) -> None:
        """Draw the picture anew if the desk has changed and is at rest."""
        desk = self._desk()
        if desk is None or not self._changed:
            return
        if wait:
            desk.wait()
        elif desk.busy():
            self._later()
            return
        self._changed = False
        update_display(self._bundle(), raw=True, display_id=self._name)

    def end_cell(self) -> None:
        """Draw the picture anew if the desk has changed, and is none that changes by itself."""
        desk = self._desk()
        if desk is not None and (self._due or not desk.restless()):
            self._due = False
            self.refresh(wait=_cells_wait())

    def _on_change(self, _change: Any) -> None:
        self._changed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._later)

    def _later(self) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_REST, self.refresh)

    def _bundle(self, drawn: bool = True) -> dict[str, str]:
        desk = self._desk()
        try:
            shown = picture_html(desk.picture()) if drawn and desk is not None else ""
        except AttnlabError:  # nothing to show yet
            shown = ""
        caption = "A picture of the desk. Run this cell to move it."
        page = (
            f'<figure data-attnlab-still="{self._name}" style="margin:0">{shown}'
            f'<figcaption style="font-size:12px;opacity:0.8">{caption}</figcaption></figure>'
            # without a kernel JupyterLab has only an error to show in the desk's place
            f"<style>.jp-OutputArea-child:not(:has(.attnlab-widget)):has(+ .jp-OutputArea-child "
            f'[data-attnlab-still="{self._name}"]) {{ display: none; }}</style>'
        )
        return {"text/html": page, "text/plain": caption}


def picture_html(picture: plots.Picture) -> str:
    """A picture as an element of few kilobytes that fits its page."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture.png(dpi=100))).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    alt = html.escape(picture.alt, quote=True)
    return f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{data}">'


def _cells_wait() -> bool:
    return bool(os.environ.get(WAIT)) and get_ipython() is not None


def _at_the_end_of_a_cell(*_: Any) -> None:
    for still in list(_shown):
        still.end_cell()
