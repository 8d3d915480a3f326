"""Dates as people of many countries write them, and the same dates as ISO 8601 writes them.

A task that looks like translation and has one right answer: ``"fr: mardi 3 mars 2021"`` means
``"2021-03-03"``. Everything is made from a seed with Babel, which carries the patterns and the
names of months and weekdays that Unicode's CLDR collects. The word before the colon names the
locale (BCP 47). The calendar is Gregorian, digits are 0 to 9, years have four digits, 1900 to 2099,
and all days of these years are equally likely.

Patterns that training shows, for each locale: those of CLDR (full, long, medium, short, and shorter
weekdays and months), numbers with ``/``, ``.`` or ``-`` between them, and mixes of long names with
short ones. Numbers alone stand in the order that CLDR gives for the locale, so the tag tells what
``03/04/2021`` means: 3 April after ``en-GB:``, 4 March after ``en-US:``.

Patterns held out of training (``make(..., held_out=True)``), by `KINDS`; a fifth of the examples is
of each kind:

left-out
    ways of this locale that only its training lacks: one of CLDR's full, long and medium patterns,
    and one of the three separators of numbers with another filling. Which one goes round from
    locale to locale, and each name of a month still occurs in training.
borrowed
    numbers with the year first, ``2021-03-03``, after the tag of a locale that never writes them so
    in training.
new
    no locale has them in training: ``3-Mar-2021``, ``3 March 2021 (Tue)``, ``03 / 03 / 2021``.
other-order
    day and month the other way round than the tag says, and the day above 12, so that only one
    reading is a date: ``en-GB: 04/28/2021``. The target is that date.
either-order
    the same with a day up to 12, and day and month different: both readings are dates, and nothing
    tells which is meant. *The target is the reading that the tag does not tell*: whoever follows
    the tag, as training teaches, scores 0 here, and 1 minus the score is at most how far the tag is
    followed. No score here is good or bad; it says what was learned.
"""

import datetime
import functools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attnlab.datasets.pairs import ParallelDataset, Span
from attnlab.errors import DataError, needs, suggest

with needs("lab"):
    from babel import Locale
    from babel.dates import tokenize_pattern

__all__ = ["FIELDS", "KINDS", "LOCALES", "SEEN", "make", "patterns"]

LOCALES = (
    "en-GB",
    "en-US",
    "fr",
    "de",
    "es",
    "it",
    "pl",
    "fi",
    "hu",
    "tr",
    "vi",
    "ru",
    "uk",
    "el",
    "he",
    "hi",
    "ja",
    "zh",
    "ko",
)
FIELDS = ("year", "month", "day")
SEEN = "seen"
KINDS = ("left-out", "borrowed", "new", "other-order", "either-order")  # of what is held out

_FIRST = datetime.date(1900, 1, 1).toordinal()
_LAST = datetime.date(2099, 12, 31).toordinal()
_FIELD_OF = {"y": "year", "M": "month", "L": "month", "d": "day"}
_SEPARATORS = "/.-"


def make(
    n: int, seed: int = 0, locales: Sequence[str] = LOCALES, held_out: bool = False
) -> ParallelDataset:
    """Dates written for people, with the same dates as ISO 8601, no text twice.

    Parameters
    ----------
    n : how many
    seed : the same seed gives the same dates on every machine that has the same release of Babel
    locales : some of `LOCALES`, equally often
    held_out : write them in ways that training never shows; the module says which, and what is
        asked

    Returns
    -------
    ParallelDataset with ``spans`` (characters of year, month and day in the source; a month's name
    is its span) and ``kinds`` ("seen", or one of `KINDS`)

    Raises
    ------
    DataError : an unknown locale, no locale, or a number of dates that cannot be made

    Examples
    --------
    >>> dates = make(3, locales=["fr"])
    >>> dates.sources[0], dates.targets[0]
    ('fr: vendredi 8 juin 2012', '2012-06-08')
    """
    locales = _known(locales)
    if not 0 <= n <= 100_000 * len(locales):
        raise DataError(
            f"n is {n}. Give a number of dates from 0 to {100_000 * len(locales):,}, which is "
            "100,000 for each locale."
        )
    draw = random.Random(f"dates {seed} {held_out} {' '.join(locales)}")
    choices = _choices(locales, held_out)
    kinds = list(choices)
    sources: list[str] = []
    targets: list[str] = []
    spans: list[dict[str, Span]] = []
    drawn: list[str] = []
    seen: set[str] = set()
    while len(sources) < n:
        kind = kinds[len(sources) % len(kinds)]
        locale, ways = draw.choice(choices[kind])
        way = draw.choice(ways)
        date = datetime.date.fromordinal(draw.randint(_FIRST, _LAST))
        if not _asks(kind, date):
            continue
        text, where = way.write(date)
        if text in seen or (kind in KINDS[:3] and text in _training_texts(locale, date)):
            continue
        seen.add(text)
        sources.append(text)
        targets.append(date.isoformat())
        spans.append(where)
        drawn.append(kind)
    name = "dates-held-out" if held_out else "dates"
    return ParallelDataset(sources, targets, name, spans, drawn)


def patterns(locale: str) -> dict[str, list[str]]:
    """The patterns of a locale by kind, as CLDR writes them.

    Letters are ``d`` for the day, ``M`` month, ``E`` weekday and ``y`` year.

    >>> patterns("en-GB")["new"]
    ['d-MMM-y', 'd MMMM y (EEE)', 'dd / MM / y']
    """
    (locale,) = _known([locale])
    return {kind: [way.pattern for way in ways] for kind, ways in _ways(locale).items()}


def _known(locales: Sequence[str]) -> list[str]:
    if isinstance(locales, str) or not locales:
        raise DataError(f"locales is {locales!r}. Give a list, such as ['fr', 'de'].")
    for locale in locales:
        if locale not in LOCALES:
            raise DataError(f"There is no locale {locale!r} here. {suggest(locale, LOCALES)}")
    return list(dict.fromkeys(locales))


def _choices(locales: list[str], held_out: bool) -> dict[str, list[tuple[str, list["_Way"]]]]:
    """For each kind, the locales that have it, with their ways of writing."""
    choices = {
        kind: [(locale, _ways(locale)[kind]) for locale in locales if _ways(locale)[kind]]
        for kind in (KINDS if held_out else [SEEN])
    }
    return {kind: locales_with for kind, locales_with in choices.items() if locales_with}


def _asks(kind: str, date: datetime.date) -> bool:
    """Whether this date is one for this kind; only the two with another order are choosy."""
    if kind == "other-order":
        return date.day > 12
    if kind == "either-order":
        return date.day <= 12 and date.day != date.month
    return True


def _training_texts(locale: str, date: datetime.date) -> set[str]:
    """What training may write for this date: in May, ``d MMMM y`` and ``d MMM y`` are the same."""
    return {way.write(date)[0] for way in _ways(locale)[SEEN]}


# ── patterns ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class _Way:
    """A pattern of a locale, taken apart once, because Babel would do so for every date.

    Each part is a letter of CLDR with the number of digits, or with the names by number; or "" with
    a text that is written as it is.
    """

    tag: str
    pattern: str
    parts: tuple[tuple[str, Any], ...]

    def write(self, date: datetime.date) -> tuple[str, dict[str, Span]]:
        """The date as text, and where its year, month and day stand."""
        text, spans = f"{self.tag}: ", {}
        for letter, how in self.parts:
            if letter == "":
                text += how
                continue
            written = _field(letter, how, date)
            if letter in _FIELD_OF:
                spans[_FIELD_OF[letter]] = (len(text), len(text) + len(written))
            text += written
        return text, spans


def _field(letter: str, how: int | dict[int, str], date: datetime.date) -> str:
    number = {"y": date.year, "d": date.day, "E": date.weekday(), "c": date.weekday()}.get(
        letter, date.month
    )
    return how[number] if isinstance(how, dict) else str(number).zfill(how)


def _way(locale: str, pattern: str) -> _Way:
    """Take a pattern apart; names come from CLDR, as Babel carries it."""
    names = Locale.parse(locale, sep="-")
    parts: list[tuple[str, Any]] = []
    tokens: list[Any] = tokenize_pattern(pattern)
    for kind, value in tokens:
        if kind == "chars":
            parts.append(("", value))
            continue
        letter, width = value
        context = "stand-alone" if letter in "Lc" else "format"
        size = "wide" if width == 4 else "abbreviated"
        if letter in "Ec":
            parts.append((letter, dict(names.days[context][size])))
        elif letter in "ML" and width > 2:
            parts.append((letter, dict(names.months[context][size])))
        else:
            parts.append((letter, width))
    return _Way(locale, pattern, tuple(parts))


@functools.cache
def _ways(locale: str) -> dict[str, list[_Way]]:
    """All patterns of a locale, by kind; what is held out is not among what is seen."""
    names = Locale.parse(locale, sep="-")
    turn = LOCALES.index(locale)
    full, long, medium, short = (
        _typed(names.date_formats[size].pattern) for size in ("full", "long", "medium", "short")
    )
    shorter = [
        _typed(names.datetime_skeletons[skeleton].pattern)
        for skeleton in ("yMMMEd", "yMEd", "yMMMd", "yMd")
    ]
    mixed = [
        long.replace("MMMM", "MMM"),
        full.replace("MMMM", "MMM"),
        re.sub("EEEE|cccc", "EEE", full),
    ]
    order = _order(short)
    kept_out = _SEPARATORS[(_SEPARATORS.index(_separator(short)) + 1 + turn % 2) % 3]
    numbers = {
        separator: [_numbers(order, separator, filled) for filled in (True, False)]
        for separator in _SEPARATORS
    }
    left_out = [[full, long, medium][turn % 3], *numbers[kept_out]]
    seen = [full, long, medium, short, *shorter, *mixed]
    seen += [way for separator in _SEPARATORS for way in numbers[separator]]
    year_first = order[0] == "y"
    phrases = any(" " in month for month in names.months["format"]["abbreviated"].values())
    swapped = order.translate(str.maketrans("dM", "Md"))
    other = [] if year_first else [_numbers(swapped, _separator(short), True)]
    groups = {
        SEEN: [pattern for pattern in seen if pattern not in left_out],
        "left-out": left_out,
        "borrowed": [] if year_first else ["y-MM-dd", "y/MM/dd", "y.MM.dd"],
        "new": [] if year_first or phrases else ["d-MMM-y"],
        "other-order": other,
        "either-order": other,
    }
    groups["new"] += [f"{long} (EEE)", _numbers(order, " / ", True)]
    return {
        kind: [_way(locale, pattern) for pattern in dict.fromkeys(group)]
        for kind, group in groups.items()
    }


def _typed(pattern: str) -> str:
    """A pattern of CLDR as people type it: plain spaces, and the year in full."""
    pattern = re.sub(r"[\u00a0\u202f]", " ", pattern)
    return re.sub(r"\byy\b", "y", pattern)


def _order(pattern: str) -> str:
    """The order of day, month and year in a pattern.

    >>> _order("dd/MM/y")
    'dMy'
    """
    return "".join(dict.fromkeys(letter for letter in pattern if letter in "dMy"))


def _separator(pattern: str) -> str:
    return next(letter for letter in pattern if letter in _SEPARATORS)


def _numbers(order: str, separator: str, filled: bool) -> str:
    """A pattern of numbers alone, filled with zeros to two digits or not."""
    return separator.join(letter if letter == "y" or not filled else 2 * letter for letter in order)


def __dir__() -> list[str]:
    return sorted(__all__)
