"""The reading desk: a line of print, what was read, how sure each letter is and where it was read.

The view is in static/reading.js; what it draws is made in reading_report.py.
"""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from attnlab.errors import SettingsError
from attnlab.show import plots
from attnlab.show.plots.reading_desk import reading_desk
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.reading_report import (
    MOST_CHARACTERS,
    NOISIEST,
    ReadLine,
    font_names,
    grey_picture,
    noise_words,
    read_line,
    reading_report,
)

if TYPE_CHECKING:
    from attnlab.applications.reading import Reader

_REMEMBERED = 16  # lines, so that looking at another character reads nothing anew


class ReadingDesk(ReportDesk):
    """A desk for a reader of printed lines.

    Type a line, choose its font and put noise on it; see what is read, which characters are marked
    as unsure, and which are wrong. Choose a character to see where the reader looked as it wrote
    it, and what else it might have written. The reader itself stays as it is.

    Parameters
    ----------
    reader : `applications.Reader`
    text : a line to draw, at most 32 characters; default a short one
    image : uint8 array, (H, W) or (H, W, 3), of one line, to read instead
    font : name of a file of `datasets.printed.FONTS`
    noise : strength of `datasets.printed.scan`, 0 to 4
    seed : of the noise

    Attributes
    ----------
    settings : dict of ``text``, ``font``, ``noise``, ``seed`` and ``choice``, as in
        `reading_report`; `set` changes some of them, as in ``desk.set(noise=2.0, choice=3)``
    report : dict, what is drawn: the `reading_report` of these settings
    error : str, why the settings cannot be drawn; empty if they can

    Raises
    ------
    DataError : a line that cannot be drawn or read, a picture with nothing on it
    SettingsError : a text and a picture, or a setting that makes no sense
    """

    _esm = script("reading")
    _css = style("reading")

    fonts: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    noises: traitlets.List[str] = traitlets.List().tag(sync=True)
    size = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        reader: "Reader",
        text: str | None = None,
        image: np.ndarray | None = None,
        font: str = "DejaVuSerif",
        noise: float = 0.0,
        seed: int = 0,
    ):
        if text is not None and image is not None:
            raise SettingsError(
                "The reading desk was given a text and a picture. Give the text to draw it, or the "
                "picture to read it."
            )
        if text is None and image is None:
            text = "The wolf and the seven kids"
        self._reader = reader
        self._picture = None if image is None else grey_picture(image)
        self._line = functools.lru_cache(_REMEMBERED, typed=True)(self._read)
        step = 0.25
        super().__init__(
            self.compute(text=text, font=font, noise=noise, seed=seed, choice=None),
            fonts=[list(pair) for pair in font_names().items()],
            noises=[noise_words(step * count) for count in range(round(NOISIEST / step) + 1)],
            size={
                "most": MOST_CHARACTERS,
                "noisiest": NOISIEST,
                "step": step,
                "picture": image is not None,
            },
        )

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the `reading_report` of these settings."""
        given = [settings[name] for name in ("text", "font", "noise", "seed")]
        if any(isinstance(value, list | dict) for value in given):
            raise SettingsError(f"text, font, noise and seed are single values; got {given}.")
        return reading_report(self._line(*given), settings)

    def set(self, **changes: Any) -> None:
        """Move some of the controls, as in ``desk.set(noise=2.0, choice=3)``.

        Of another text the character that is least sure is looked at.

        Raises
        ------
        AttnlabError : if there is no such control, or it cannot stand there; nothing moves then
        """
        fresh: dict[str, Any] = {"choice": None} if "text" in changes else {}
        super().set(**fresh | changes)

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel."""
        return reading_desk(self.report)

    def _read(self, text: str | None, font: str, noise: float, seed: int) -> ReadLine:
        return read_line(self._reader, self._picture, text, font, noise, seed)
