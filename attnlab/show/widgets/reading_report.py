"""What the reading desk shows of a line of print, as plain numbers, lists and texts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from attnlab.applications.edits import edit_distance, right_characters
from attnlab.datasets.pages import ink_of
from attnlab.datasets.printed import FONTS, HELD_OUT, draw_line, scan
from attnlab.errors import DataError, SettingsError, suggest
from attnlab.show.widgets.image_data import png_address
from attnlab.show.wording import counted, percent, spoken

if TYPE_CHECKING:
    from attnlab.applications.reading import Reader, Reading

SETTINGS = ("text", "font", "noise", "seed", "choice")
MOST_CHARACTERS = 32  # of a line that is typed: more would be drawn smaller than a reader learned
NOISIEST = 4.0
UNSURE = 0.9  # below this probability a character is marked
LISTED = 5  # alternatives of a character
_FACES = {
    "STIX": ("", "bold", "italic", "bold italic"),
    HELD_OUT: ("roman", "bold", "italic", "sans", "typewriter"),
}
_NOISES = {3.0: "a bad fax", 2.0: "a poor scan", 1.0: "a fair scan", 0.01: "a good scan"}


def font_names() -> dict[str, str]:
    """What each font file is called, those of one family side by side.

    >>> font_names()["DejaVuSerif-Bold"], font_names()["cmr10"]
    ('DejaVu Serif bold', 'Computer Modern roman (held out)')
    """
    usual = ("", "bold", "oblique", "bold oblique")
    names = {}
    for family, files in FONTS.items():
        faces = ("", "bold", "italic", "bold italic") if family == "DejaVu Serif" else usual
        held_out = " (held out)" if family == HELD_OUT else ""
        for file, face in zip(files, _FACES.get(family, faces), strict=True):
            names[file] = f"{family} {face}".strip() + held_out
    return names


@dataclass(frozen=True, eq=False)
class ReadLine:
    """A picture of a line and what was read from it.

    Attributes
    ----------
    image : uint8 array, shape (H, W)
    truth : what stands there; None where nobody knows
    boxes : float array (characters, 4) of `printed.draw_line`; None where nobody knows
    reading : applications.Reading
    """

    image: np.ndarray
    truth: str | None
    boxes: np.ndarray | None
    reading: "Reading"


def grey_picture(image: np.ndarray) -> np.ndarray:
    """A picture as the desk takes it, (H, W); DataError unless there is something to read on it."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        image = np.asarray(Image.fromarray(image).convert("L"))
    ink_of(image)
    return image


def read_line(
    reader: "Reader",
    picture: np.ndarray | None,
    text: str | None,
    font: str,
    noise: float,
    seed: int,
) -> ReadLine:
    """Draw a line, or take the picture, put noise on it and read it.

    Parameters
    ----------
    picture : uint8 array, shape (H, W), or None
    text : what to draw; None for the picture
    font : name of a file of `printed.FONTS`
    noise, seed : strength and seed of `printed.scan`

    Raises
    ------
    SettingsError : a setting is of the wrong kind or out of range
    DataError : a line that is empty, too long, or of characters that the reader does not know
    """
    files = list(font_names())
    if font not in files:
        raise SettingsError(f"There is no font {font!r}. {suggest(str(font), files)}")
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise <= NOISIEST:
        raise SettingsError(
            f"noise is {noise!r}; it is a number from 0 (clean) to {NOISIEST:g}, where 1 is a fair "
            "scan and 3 a bad fax."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise SettingsError(f"seed is {seed!r}; it is a whole number from 0.")
    truth = boxes = None
    if text is not None:
        truth = _line_of(reader, text)
        clean, boxes = draw_line(truth, font)
    elif picture is not None:
        clean = picture
    else:
        raise SettingsError("This desk was given no picture, so text cannot be None. Type a line.")
    image = scan(clean, noise, seed)
    return ReadLine(image, truth, boxes, reader.read([image], alternatives=LISTED)[0])


def reading_report(line: ReadLine, settings: dict[str, Any]) -> dict[str, Any]:
    """Say all that the desk shows.

    Parameters
    ----------
    line : of `read_line` with these settings
    settings : ``text``, ``font``, ``noise``, ``seed``, and ``choice``, number of the character that
        is looked at, from 0; None for the one that is least sure

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``settings``; ``choice``: the character that is looked at, None if nothing was read
        - ``image``, a PNG as data: address, its ``size`` (width, height)
        - ``columns``, left edges in pixels, and ``column``, their width; ``attention`` (characters,
          columns), and ``limit`` of its colours
        - ``characters``: for each that was read ``name``, ``probability``, ``unsure``, ``right``
          (None if nobody knows), ``where`` (x of the centre), ``alternatives`` (each with ``name``
          and ``share``) and ``told``, all of this in words
        - ``read`` and ``truth``, None if unknown; ``errors``, characters to insert, delete or
          replace; ``wrong``, how many of the characters that were read; ``caught``, how many of
          those are marked as unsure; ``unsure``, how many are marked at all
        - ``end``: probability that the line ends there
        - ``remark``: what is to be noticed; ``alt``: the whole picture in words

    Raises SettingsError for a choice that is no number.
    """
    reading, truth = line.reading, line.truth
    right = None if truth is None else right_characters(reading.text, truth)
    choice = _choice(settings["choice"], reading.probabilities)
    columns, width = reading.columns, line.image.shape[1]
    column = float(np.median(np.diff(columns))) if len(columns) > 1 else float(width)
    peaks = reading.attention.max(1) if len(reading.text) else np.ones(1)
    unsure = reading.probabilities < UNSURE
    wrong = np.zeros(len(reading.text), bool) if right is None else ~right
    report = {
        "settings": {name: settings[name] for name in SETTINGS},
        "choice": choice,
        "image": png_address(line.image),
        "size": [width, line.image.shape[0]],
        "columns": np.round(columns - column / 2, 2).tolist(),
        "column": round(column, 3),
        "attention": np.round(reading.attention.astype(float), 4).tolist(),
        "limit": round(float(np.median(peaks)), 4),
        "characters": [
            {
                "name": character,
                "probability": round(float(reading.probabilities[place]), 4),
                "unsure": bool(unsure[place]),
                "right": None if right is None else bool(right[place]),
                "where": round(float(reading.where[place]), 1),
                "alternatives": [
                    {"name": name, "share": round(float(share), 4)}
                    for name, share in reading.alternatives[place]
                ],
                "told": _told(line, place),
            }
            for place, character in enumerate(reading.text)
        ],
        "read": reading.text,
        "truth": truth,
        "errors": None if truth is None else edit_distance(reading.text, truth),
        "wrong": None if truth is None else int(wrong.sum()),
        "caught": None if truth is None else int((wrong & unsure).sum()),
        "unsure": int(unsure.sum()),
        "end": round(float(reading.end), 4),
    }
    report["remark"] = _remark(report)
    report["alt"] = _alt(report)
    return report


def in_words(name: str) -> str:
    """A character as it is called; "" is the end of the line.

    >>> in_words("k"), in_words(" "), in_words("")
    ('“k”', 'a space', 'the end')
    """
    return {" ": "a space", "": "the end"}.get(name, f"“{name}”")


def noise_words(noise: float) -> str:
    """What a strength of `printed.scan` is like.

    >>> noise_words(0), noise_words(0.5), noise_words(2.75)
    ('clean', 'a good scan', 'a poor scan')
    """
    return next((told for low, told in _NOISES.items() if noise >= low), "clean")


def _line_of(reader: "Reader", text: str) -> str:
    """What can be seen of a typed line: no spaces at its ends, nor two in a row."""
    if not isinstance(text, str):
        raise SettingsError(f"text is {text!r}; it is a line to draw, such as 'the old king'.")
    line = " ".join(text.split())
    if not line:
        raise DataError("The line is empty. Type at least one letter.")
    if len(line) > MOST_CHARACTERS:
        raise DataError(
            f"The line has {len(line)} characters; at most {MOST_CHARACTERS} are drawn, for "
            "letters would become smaller than the reader has learned. Type a shorter one."
        )
    reader.ids(line)
    return line


def _choice(choice: int | None, probabilities: np.ndarray) -> int | None:
    """The character that is looked at; one behind the end of a shorter reading is the last."""
    if choice is not None and (isinstance(choice, bool) or not isinstance(choice, int)):
        raise SettingsError(f"choice is {choice!r}; it is the number of a character, or None.")
    if choice is not None and choice < 0:
        raise SettingsError(f"choice is {choice}; characters have numbers from 0.")
    if not len(probabilities):
        return None
    return int(probabilities.argmin()) if choice is None else min(choice, len(probabilities) - 1)


def _told(line: ReadLine, place: int) -> str:
    """A character in words: how sure it is, and whether the attention is on its own letter."""
    reading = line.reading
    share = percent(float(reading.probabilities[place]))
    told = f"{in_words(reading.text[place])}, {share} sure; attention centred at x = "
    told += f"{reading.where[place]:.0f} of {line.image.shape[1]} pixels"
    if line.boxes is None or reading.text != line.truth:
        return f"{told}."
    left, _, width, _ = line.boxes[place]
    away = max(left - reading.where[place], reading.where[place] - left - width, 0.0)
    return f"{told}, {'on its own letter' if away <= 0 else f'{away:.0f} px beside its letter'}."


def _remark(report: dict[str, Any]) -> str:
    read, errors = report["read"], report["errors"]
    sure = f"{100 * UNSURE:.0f}\u00a0%"
    if not read:
        return "Nothing was read: the first thing that the reader wrote is the end of the line."
    marked = f"{counted(report['unsure'], 'character')} of {len(read)} less than {sure} sure"
    if errors is None:
        told = f"{marked[0].upper()}{marked[1:]}. Nobody told the desk what stands here."
    elif not errors:
        told = f"Read without a mistake; {marked}."
    else:
        wrong, caught = report["wrong"], report["caught"]
        told = f"{counted(errors, 'mistake')} in {counted(len(report['truth']), 'character')}"
        if wrong:
            told += f": {wrong} read wrongly, {_share(caught, wrong)} marked as unsure"
        missing = errors - wrong
        told += f"{',' if wrong else ':'} {missing} left out." if missing else "."
        good = report["unsure"] - caught
        if good:
            told += f" {counted(good, 'right one is', 'right ones are')} marked too."
    if report["end"] < UNSURE:
        told += f" That the line ends there is {spoken(percent(report['end']))} sure."
    return told


def _share(part: int, whole: int) -> str:
    """So many of them, in words."""
    if part == whole:
        return "and" if whole == 1 else "all"
    return f"{part or 'none'} of them" if whole > 1 else "not"


def _alt(report: dict[str, Any]) -> str:
    settings = report["settings"]
    if settings["text"] is None:
        told = "A picture of a line"
    else:
        told = f"“{report['truth']}” drawn in {font_names()[settings['font']]}"
    told += f", noise {settings['noise']:g}, read as “{report['read']}”. {report['remark']}"
    if report["choice"] is None:
        return told
    return f"{told} Looked at: {report['characters'][report['choice']]['told']}"
