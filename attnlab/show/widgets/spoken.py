"""Desks that speak the learner's language."""

from typing import Any

import traitlets

from attnlab.languages import ENGLISH, current, known, speaking, use, words_of_scripts
from attnlab.show.widgets.desk import Desk, ReportDesk

__all__ = ["SpokenDesk"]


class SpokenDesk(Desk):
    """A desk whose view can be read in other languages; its script ends in `spoken` of words.js.

    Attributes
    ----------
    language : str, in which the desk speaks. A choice in its menu holds for all that is said from
        then on: by this desk, desks to come, checks and errors.
    languages : dict, those that there are, and what each calls itself
    words : dict, what the view says, from English to the language; empty for English
    """

    language = traitlets.Unicode().tag(sync=True)
    languages = traitlets.Dict().tag(sync=True)
    words = traitlets.Dict().tag(sync=True)

    def __init__(self, *args: Any, **traits: Any):
        spoken = {"language": current(), "languages": known(), "words": words_of_scripts()}
        super().__init__(*args, **traits, **spoken)
        self.observe(self._on_language, "language")

    def _on_language(self, _change: Any) -> None:
        use(self.language)
        with self.hold_sync():
            self._say_again()
            self.words = words_of_scripts()

    def _say_again(self) -> None:
        """Say in the new language what Python says."""
        if isinstance(self, ReportDesk):
            self._redraw()

    def _report_to_draw(self) -> dict[str, Any]:
        """What the picture of a desk shows: in English, as fonts of figures have no other signs."""
        assert isinstance(self, ReportDesk)
        if self.language == ENGLISH:
            return self.report
        with speaking(ENGLISH):
            return self.compute(**self.report["settings"])


def __dir__() -> list[str]:
    return sorted(__all__)
