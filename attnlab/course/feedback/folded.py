"""A result that stays folded until its reader has guessed."""

import html
from typing import Any

from attnlab.languages import tr


class Folded:
    """A result behind a line to click: *Run All* has made it, and it spoils no guess.

    Attributes
    ----------
    shown : what notebooks show as HTML, such as a Picture or a table; or lines of text
    guess : what its reader has guessed; empty if nothing
    measured : in a few words, what the guess is to be compared with; empty if nothing
    """

    def __init__(self, shown: Any, guess: object = "", measured: str = ""):
        self.shown = shown
        self.guess = guess
        self.measured = measured
        told = str(guess).strip()
        self._title = (
            tr("Your guess: “{guess}”. Click here for the result.", guess=told)
            if told
            else tr("Your guess first. Then click here for the result.")
        )

    def _repr_html_(self) -> str:
        if hasattr(self.shown, "_repr_html_"):
            inside = self.shown._repr_html_()
        else:
            inside = f"<pre>{html.escape(self.shown)}</pre>"
        if self.measured:
            inside = f"<p>{html.escape(self._beside())}</p>{inside}"
        title = html.escape(self._title)
        return f"<details><summary>{title}</summary>{inside}</details>"

    def _beside(self) -> str:
        """What was measured, and beside it what was guessed, if anything."""
        told = str(self.guess).strip()
        if not told:
            return tr("Measured: {measured}.", measured=self.measured)
        return tr(
            "You guessed “{guess}”. Measured: {measured}.", guess=told, measured=self.measured
        )

    def __repr__(self) -> str:
        return f"{self._beside()}\n{self.shown}" if self.measured else str(self.shown)


def folded(shown: Any, guess: object = "", measured: str = "") -> Folded:
    """Fold a picture, a table or lines of text behind a line that asks for a guess, or repeats it.

    Parameters
    ----------
    shown : what notebooks show as HTML, such as a Picture or a table; or lines of text
    guess : what its reader has guessed, a word or a number
    measured : in a few words, what the guess is to be compared with
    """
    return Folded(shown, guess, measured)
