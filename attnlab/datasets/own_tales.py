"""Tales by name, and your own texts: a file, files, a folder, or a list of texts."""

import os
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from attnlab.datasets.named import load
from attnlab.datasets.reading import ending_of, local_file, name_of, read_text
from attnlab.datasets.tales import PARTS, Tales, held_apart
from attnlab.datasets.texts import normalise
from attnlab.errors import AttnlabWarning, DataError, suggest

NAMED = ("grimm", "andersen")
_ENDINGS = (".txt", ".text", ".md", "")
_Path = str | os.PathLike[str]


def load_tales(
    source: _Path | Iterable[_Path] = "grimm",
    *,
    dev: int | float | None = None,
    test: int | float | None = None,
    separator: str | None = None,
    encoding: str = "UTF-8",
    name: str | None = None,
) -> Tales:
    """Load whole tales, or your own texts, in three parts.

    Parameters
    ----------
    source : "grimm" (54 tales: 42 to train on, 3 for dev, 9 for test), "andersen" (3 tales, all for
        test: another author), or texts of your own: a file of plain text (packed or not), a folder
        with one text in each of its .txt files, a list of texts, or a list of such files
    dev, test : how many of your own texts are held out, or which share of them if below 1. By
        default as of Grimm's tales: an eighteenth and a sixth, at least one each.
    separator : the line that stands between two texts of a file, such as ``***``. By default a file
        is divided where two or more lines are empty, and the files of a folder or list are not.
    encoding : of your own files
    name : of the data set; that of the file or folder if not given

    Returns
    -------
    Tales, with ``train``, ``dev`` and ``test`` (lists of str), ``titles`` and ``name``

    Raises
    ------
    DataError : an unknown name, no such file, a file that is no text, an empty text, fewer texts
        than can be held out

    Notes
    -----
    Of Grimm's tales, shuffled with seed 0, the first 9 are for test and the next 3 for dev. Which
    of your own texts is held out is decided by a hash of it, so it is the same on every machine,
    and copies of a text stay in one part. In Grimm's and Andersen's tales a new line stands where
    the source has two spaces or more: between paragraphs, and between the lines of a verse.

    Examples
    --------
    >>> load_tales(["Once upon a time.", "There was a king.", "A fox came by.", "The end."])
    Tales('texts': 2 train (31 characters), 1 dev (17 characters), 1 test (8 characters))
    """
    if isinstance(source, str) and source in NAMED:
        own = {"dev": dev, "test": test, "separator": separator, "name": name}
        if given := [option for option, value in own.items() if value is not None]:
            raise DataError(
                f"{source!r} has a split of its own; {', '.join(given)} is for texts of yours. "
                f"Write load_tales({source!r})."
            )
        found = load(source)
        assert isinstance(found, Tales)
        return found
    titles, texts, called = _read(source, separator, encoding)
    return _held_out(titles, texts, name or called, dev, test)


# ── reading ────────────────────────────────────────────────────────────────────────────────────

_Texts = tuple[list[str], list[str], str]  # titles, texts, and what to call them


def _read(source: _Path | Iterable[_Path], separator: str | None, encoding: str) -> _Texts:
    """The texts of a source of somebody's own."""
    if isinstance(source, str | bytes | os.PathLike):
        path = _existing(source)
        if path.is_dir():
            return _from_files(_files_in(path), separator, encoding, path.resolve().name)
        parts = _divided(_text_of(path, encoding), separator)
        return _first_words(parts), parts, name_of(path)
    if isinstance(source, dict) or hasattr(source, "columns") or not isinstance(source, Iterable):
        raise DataError(
            f"Expected a name, the path of a file or folder, or a list of texts, got "
            f"{type(source).__name__}. Give the texts as a list of str."
        )
    given = list(source)
    if given and all(_is_file(each) for each in given):
        return _from_files([local_file(each) for each in given], separator, encoding, "texts")
    return _from_list(given)


def _existing(source: _Path) -> Path:
    """The path of a file or folder that is there."""
    given = os.fsdecode(source)
    try:
        path = Path(given).expanduser()
        if path.is_dir():
            return path
        is_bare = not path.exists() and re.fullmatch(r"[\w-]{1,40}", given)
    except (OSError, ValueError):  # too long, or with a zero byte: perhaps a text
        raise DataError(
            f"{given[:60]!r} is no path of a file. Give texts of your own as a list: [text, ...]."
        ) from None
    if is_bare:
        raise DataError(
            f"There are no tales {given!r}, nor a file or folder of that name in {Path.cwd()}. "
            f"{suggest(given, NAMED)}"
        )
    if "\n" in given:
        raise DataError(
            f"{given[:40]!r}... is a text, not a path. Give a list of texts, of which some can be "
            "held out."
        )
    return local_file(path)


def _is_file(given: object) -> bool:
    """Whether this names a file that is there, or at least is a path and no text."""
    if isinstance(given, os.PathLike):
        return True
    try:
        return isinstance(given, str) and Path(given).expanduser().is_file()
    except (OSError, ValueError):
        return False


def _files_in(folder: Path) -> list[Path]:
    """The files of plain text in a folder, by name; others are left out, with a warning."""
    inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    files = [path for path in inside if path.is_file() and ending_of(path) in _ENDINGS]
    others = [path.name for path in inside if path not in files]
    if not files:
        held = f"It holds {_few(others)}" if others else "It is empty"
        raise DataError(
            f"{folder} has no .txt file in it. {held}. Give a folder with a text in each file."
        )
    if others:
        warnings.warn(
            f"{len(others)} entries of {folder.name} are no .txt files and are left out: "
            f"{_few(others)}.",
            AttnlabWarning,
            stacklevel=4,
        )
    return files


def _from_files(paths: Sequence[Path], separator: str | None, encoding: str, name: str) -> _Texts:
    titles, texts = [], []
    for path in paths:
        text = _text_of(path, encoding)
        parts = [text.strip()] if separator is None else _divided(text, separator)
        texts += parts
        many = len(parts) > 1
        titles += [
            f"{name_of(path)} {n}" if many else name_of(path) for n in range(1, len(parts) + 1)
        ]
    return titles, texts, name


def _from_list(given: Sequence[object]) -> _Texts:
    wrong = [index for index, text in enumerate(given) if not isinstance(text, str)]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(given)} texts are no text: number {wrong[0]} (from 0) is "
            f"{type(given[wrong[0]]).__name__}. Give a list of str."
        )
    texts = [str(text).strip() for text in given]
    if empty := [index for index, text in enumerate(texts) if not text]:
        raise DataError(
            f"{len(empty)} of {len(texts)} texts are empty (the first is number {empty[0]}, from "
            "0). Take them out."
        )
    return _first_words(texts), texts, "texts"


def _text_of(path: Path, encoding: str) -> str:
    """The text of a file, with the same line ends everywhere."""
    text = read_text(path, encoding, plain=True)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise DataError(f"{path} is empty. Give a file with a text in it.")
    return text


def _divided(text: str, separator: str | None) -> list[str]:
    """The texts that stand in one file."""
    if separator is None:
        parts = re.split(r"\n[ \t]*\n[ \t]*\n\s*", text)
    else:
        parts = re.split(rf"^[ \t]*{re.escape(separator.strip())}[ \t]*$", text, flags=re.M)
    return [part.strip() for part in parts if part.strip()]


def _first_words(texts: Iterable[str]) -> list[str]:
    """Titles for texts that have none: their first line, cut."""
    lines = [text.partition("\n")[0].strip() for text in texts]
    return [line if len(line) <= 40 else line[:39].rstrip() + "…" for line in lines]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


# ── holding out ────────────────────────────────────────────────────────────────────────────────


def _held_out(
    titles: list[str],
    texts: list[str],
    name: str,
    dev: int | float | None,
    test: int | float | None,
) -> Tales:
    """Three parts, none of them empty unless it was asked for."""
    sizes = {
        "dev": max(1, round(len(texts) / 18)) if dev is None else dev,
        "test": max(1, round(len(texts) / 6)) if test is None else test,
    }
    different = len({normalise(text) for text in texts})
    needed = 1 + sum(size > 0 for size in sizes.values())
    if different < needed:
        copies = "" if different == len(texts) else f", {different} of them different"
        raise DataError(
            f"{name} holds {len(texts)} {'text' if len(texts) == 1 else 'texts'}{copies}: too few "
            f"to hold any out. Give at least {needed}, one for each part. If several stand in one "
            "file, say what line divides them: separator='***'; a book can be divided at its "
            "chapters."
        )
    tales = held_apart(titles, texts, name, **sizes)
    wanted = [part for part in PARTS if sizes.get(part, 1)]
    if empty := [part for part in wanted if not getattr(tales, part)]:
        raise DataError(
            f"Of the {len(texts)} texts of {name} none is left for {' and '.join(empty)}. Give "
            "more texts, or hold out fewer: dev=1, test=1."
        )
    return tales
