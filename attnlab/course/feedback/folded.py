"""A result that stays folded until its reader has guessed."""

import html

from attnlab.languages import tr
from attnlab.show import plots


class Folded:
    """A result behind a line to click: *Run All* has made it, and it spoils no guess.

    Attributes
    ----------
    shown : Picture or str
    """

    def __init__(self, shown: plots.Picture | str):
        self.shown = shown
        self._title = tr("Your guess first. Then click here for the result.")

    def _repr_html_(self) -> str:
        if isinstance(self.shown, plots.Picture):
            inside = self.shown._repr_html_()
        else:
            inside = f"<pre>{html.escape(self.shown)}</pre>"
        title = html.escape(self._title)
        return f"<details><summary>{title}</summary>{inside}</details>"

    def __repr__(self) -> str:
        return str(self.shown)


def folded(shown: plots.Picture | str) -> Folded:
    """Fold a picture, or lines of text, behind a line that asks for a guess first."""
    return Folded(shown)
