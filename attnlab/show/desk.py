"""What all our desks share: script, style sheet, and controls whose setting is drawn as a report."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from attnlab.errors import AttnlabError, SettingsError

_STATIC = Path(__file__).parent / "static"


def script(*names: str) -> str:
    """Return elements.js and then the scripts of these names: one module, as anywidget needs it."""
    return "".join(map(_read, ("elements.js", *names)))


def style(*names: str) -> str:
    """Return elements.css and then the style sheets of these names."""
    return "".join(map(_read, ("elements.css", *names)))


def _read(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8") + "\n"


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


def _as_code(settings: dict[str, Any]) -> str:
    """A call that puts a desk to these settings."""
    return f"desk.set({', '.join(f'{name}={value!r}' for name, value in settings.items())})"
