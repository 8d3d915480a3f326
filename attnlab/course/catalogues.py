"""Catalogues of translations: what there is to say, what is missing, and what is wrong with them.

Each language has two in ``attnlab/locale/<language>/LC_MESSAGES``, ``attnlab`` for Python and
``desks`` for the scripts of desks, as sources (``.po``) and compiled (``.mo``), and one for each
lesson in ``notebooks/src/<language>``.
"""

import io
import string
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnlab.course import said_in_python
from attnlab.errors import AttnlabError
from attnlab.files import PACKAGE, atomic_write
from attnlab.languages import DOMAIN, LOCALE, SCRIPTS

__all__ = [
    "Missing",
    "build",
    "compiled",
    "fresh",
    "missing",
    "placeholders",
    "problems",
    "read",
    "read_bytes",
    "said",
    "written",
    "wrong",
]

Catalog = Any  # babel.messages.Catalog, whose package has no types

_SAID = {"tr": (1,)}
_WIDTH = 96  # of a line of a catalogue


@dataclass(frozen=True)
class Missing:
    """A text that a catalogue has no translation of.

    Attributes
    ----------
    catalogue : its file
    text : in English
    place : the file that says it, and its line
    """

    catalogue: Path
    text: str
    place: str


def said() -> dict[str, dict[str, list[tuple[str, int]]]]:
    """All texts that are said, for each domain: where, as file and line."""
    found: dict[str, dict[str, list[tuple[str, int]]]] = {DOMAIN: {}, SCRIPTS: {}}
    for domain, suffix in ((DOMAIN, "py"), (SCRIPTS, "js")):
        for path in sorted(PACKAGE.rglob(f"*.{suffix}")):
            for line, text in _extracted(path):
                place = (path.relative_to(PACKAGE.parent).as_posix(), line)
                found[domain].setdefault(text, []).append(place)
    return found


def build(language: str) -> list[Path]:
    """Bring the catalogues of a language up to date, and compile them; return what has changed.

    A text that is no longer said goes, a new one comes without a translation, and stays English
    until it has one.
    """
    changed = []
    for domain, texts in said().items():
        path = _path(language, domain)
        before = read(path, language)
        after = written(_renewed(before, texts, language, domain))
        for target, data in (
            (path, after),
            (path.with_suffix(".mo"), compiled(read_bytes(after, language))),
        ):
            if not target.exists() or target.read_bytes() != data:
                target.parent.mkdir(parents=True, exist_ok=True)
                changed.append(atomic_write(target, data))
    return changed


def missing(language: str) -> Iterator[Missing]:
    """Texts of Python and of the scripts that have no translation."""
    for domain, texts in said().items():
        path = _path(language, domain)
        known = read(path, language)
        for text, places in texts.items():
            message = known.get(text)
            if message is None or not message.string:
                yield Missing(path, text, "{}:{}".format(*places[0]))


def problems(language: str) -> Iterator[str]:
    """What is wrong with the catalogues: placeholders that differ, a stale compiled file."""
    for domain in (DOMAIN, SCRIPTS):
        path = _path(language, domain)
        catalogue = read(path, language)
        for message in catalogue:
            if message.id and message.string:
                yield from (f"{path.name}: {line}" for line in wrong(message.id, message.string))
        binary = path.with_suffix(".mo")
        if not binary.exists() or binary.read_bytes() != compiled(catalogue):
            yield f"{binary.name} of {language} is not {path.name}. Type: attnlab words build"


def wrong(text: str, translation: str) -> Iterator[str]:
    """What is wrong with a translation: it lacks a placeholder, or has one too many."""
    if placeholders(text) != placeholders(translation):
        yield f"the translation of {text!r} has not its placeholders: {translation!r}"


def placeholders(text: str) -> list[tuple[str, str, str]]:
    """The ``{names}`` of a text, sorted, each with its format and conversion.

    >>> placeholders("{share:.0%} of {name!r}")
    [('name', '', 'r'), ('share', '.0%', '')]
    """
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:  # braces that are no placeholder, such as a set's
        return []
    return sorted(
        (name, form or "", conversion or "") for _, name, form, conversion in parts if name
    )


def read(path: Path, language: str) -> Catalog:
    """The catalogue in a ``.po`` file; an empty one where there is no file.

    Raises
    ------
    AttnlabError : the file is no catalogue
    """
    return read_bytes(path.read_bytes() if path.exists() else b"", language, path)


def read_bytes(data: bytes, language: str, path: Path | None = None) -> Catalog:
    """The catalogue in the bytes of a ``.po`` file."""
    from babel.messages.pofile import PoFileError, read_po

    try:
        return read_po(io.BytesIO(data), locale=language, ignore_obsolete=True, abort_invalid=True)
    except (PoFileError, UnicodeDecodeError) as error:
        raise AttnlabError(f"{path or 'This'} is no catalogue of translations: {error}") from error


def written(catalogue: Catalog) -> bytes:
    """A catalogue as a ``.po`` file, the same each time: without dates and numbers of lines."""
    from babel.messages.pofile import write_po

    file = io.BytesIO()
    write_po(file, catalogue, width=_WIDTH, omit_header=True, include_lineno=False)
    header = (
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n'
        f'"Language: {catalogue.locale_identifier}\\n"\n\n'
    )
    return header.encode() + file.getvalue().rstrip() + b"\n"


def compiled(catalogue: Catalog) -> bytes:
    """A catalogue as a ``.mo`` file, which gettext reads; with nothing but its translations.

    Written here, as Babel's own writer puts the time and its version into it. The format: a magic
    number, the version, how many texts, where the tables of texts and translations begin, a hash
    table that is not there; in the tables the length and place of each, which ends in a zero.
    """
    header = f"Content-Type: text/plain; charset=utf-8\nLanguage: {catalogue.locale_identifier}\n"
    said = {"": header} | {
        message.id: message.string for message in catalogue if message.id and message.string
    }
    pairs = sorted((text.encode(), translation.encode()) for text, translation in said.items())
    count, first = len(pairs), 7 * 4
    place = first + 16 * count
    tables, data = [], b""
    for column in zip(*pairs, strict=True):
        for text in column:
            tables += [len(text), place + len(data)]
            data += text + b"\0"
    numbers = [0x950412DE, 0, count, first, first + 8 * count, 0, place, *tables]
    return struct.pack(f"<{len(numbers)}I", *numbers) + data


def fresh(language: str) -> Catalog:
    """An empty catalogue."""
    from babel.messages import Catalog as New

    return New(locale=language, fuzzy=False, charset="utf-8")


def _renewed(
    before: Catalog, texts: dict[str, list[tuple[str, int]]], language: str, domain: str
) -> Catalog:
    after = fresh(language)
    for text, places in texts.items():
        known = before.get(text)
        files = [(file, 0) for file in dict.fromkeys(file for file, _ in places)]
        after.add(text, known.string if known is not None else "", locations=files)
    return after


def _extracted(path: Path) -> Iterable[tuple[int, str]]:
    from babel.messages.extract import extract_from_file

    if path.suffix == ".py":
        yield from said_in_python.texts(path)
        return
    inside = {"parse_template_string": True}  # of `${…}`
    for line, text, *_ in extract_from_file("javascript", path, keywords=_SAID, options=inside):
        if isinstance(text, str) and text:
            yield line, text


def _path(language: str, domain: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / f"{domain}.po"


def __dir__() -> list[str]:
    return sorted(__all__)
