"""A result that stays folded until its reader has guessed."""

import html
from typing import Any

from attnlab.languages import tr


class Folded:
    """A result behind a line to click: *Run All* has made it, and it spoils no guess.

    Attributes
    ----------
    shown : what notebooks show as HTML, such as a Picture or a table; or lines of text
    """

    def __init__(self, shown: Any):
        self.shown = shown
        self._title = tr("Your guess first. Then click here for the result.")

    def _repr_html_(self) -> str:
        if hasattr(self.shown, "_repr_html_"):
            inside = self.shown._repr_html_()
        else:
            inside = f"<pre>{html.escape(self.shown)}</pre>"
        title = html.escape(self._title)
        return f"<details><summary>{title}</summary>{inside}</details>"

    def __repr__(self) -> str:
        return str(self.shown)


def folded(shown: Any) -> Folded:
    """Fold a picture, a table or lines of text behind a line that asks for a guess first."""
    return Folded(shown)
