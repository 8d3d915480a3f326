"""Synthetic news: short financial news of our own making, with dates and sums of money tagged.

Nothing here was ever printed. Sentences come from templates in the manner of a newswire; companies
and people are made up, and the numbers are drawn. What is drawn with care is how a date or a sum of
money is *written*: by Babel, in the English of many countries, and as the wires of the 1980s
abbreviated ("12.3 mln dlrs"). Some ways of writing them, and some templates, are kept out of the
training part, so that a score on these says whether more was learned than a list of patterns.

What counts: a DATE is a day of the calendar, or a month with its year, such as "3 March",
"03/03/87", "March 1987"; a weekday belongs to it if it stands directly before. A weekday, month,
quarter or year by itself and a time of day are no dates. An AMOUNT is a number with a unit of
money, the word for millions included: "12.3 mln dlrs", "$18.50", "45 cts". Many sentences hold what
looks alike and is neither: numbers of shares, tonnes, percentages, bonds priced in 32nds, chapter
11, a Boeing 747, the May wheat contract, the year 1986/87.
"""

import datetime
import functools
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from attnlab.datasets.news_styles import DATES, MONEY
from attnlab.datasets.news_templates import (
    BROKERS,
    CITIES,
    CONTRACTS,
    CROPS,
    FIRST,
    LAWS,
    LEGAL,
    METALS,
    OF_THEIR_TIME,
    PEOPLE,
    PERIODS,
    TEMPLATES,
    TRADES,
    items,
)
from attnlab.datasets.splits import Splits
from attnlab.datasets.tagged import TaggedDataset, iob2_names, words_of
from attnlab.datasets.texts import normalise
from attnlab.errors import DataError, suggest

__all__ = ["NAME", "TAG_NAMES", "NewsSplits", "Part", "news", "splits"]

TAG_NAMES = iob2_names(["DATE", "AMOUNT"])
NAME = "synthetic-news"

Part = Literal["seen", "unseen"]  # in training, or kept out of it


@dataclass(frozen=True, eq=False, repr=False)
class NewsSplits(Splits):
    """Synthetic news: test is written as train is, ``unseen`` in ways that train never shows."""

    unseen: TaggedDataset

    def __repr__(self) -> str:
        return (
            f"NewsSplits({NAME!r}: {len(self.train):,} train, {len(self.dev):,} dev, "
            f"{len(self.test):,} test, {len(self.unseen):,} unseen)"
        )


def splits(
    train: int = 800,
    dev: int | None = None,
    test: int | None = None,
    unseen: int | None = None,
    seed: int = 0,
) -> NewsSplits:
    """Synthetic news to train and test a tagger on; no sentence occurs twice.

    Parameters
    ----------
    train, dev, test : how many sentences with templates and forms that are ``seen`` in training
    unseen : how many with neither a template nor a form of date or amount that occurs in training.
        By default dev has 200, test and unseen have 400, but none more than twice as many as train.
    seed : the same seed gives the same sentences on every machine that has the same release of
        Babel

    Raises
    ------
    DataError : a negative number

    Examples
    --------
    >>> splits(80, 20, 40, 40)
    NewsSplits('synthetic-news': 80 train, 20 dev, 40 test, 40 unseen)
    """
    dev, test, unseen = (
        min(usual, 2 * max(train, 0)) if size is None else size
        for size, usual in ((dev, 200), (test, 400), (unseen, 400))
    )
    sizes = {"train": train, "dev": dev, "test": test, "unseen": unseen}
    for name, size in sizes.items():
        if size < 0:
            raise DataError(f"{name} is {size}. Give the number of sentences.")
    known = news(train + dev + test, seed)
    return NewsSplits(
        known.select(range(train)),
        known.select(range(train, train + dev)),
        known.select(range(train + dev, train + dev + test)),
        news(unseen, seed, templates="unseen", forms="unseen"),
    )


def news(n: int, seed: int = 0, templates: Part = "seen", forms: Part = "seen") -> TaggedDataset:
    """Synthetic sentences of financial news, with their dates and amounts tagged.

    Parameters
    ----------
    n : how many, all different
    seed : of everything that is drawn
    templates : sentences that are "seen" in training, or others
    forms : ways to write a date or an amount that are "seen" in training, or others

    Returns
    -------
    TaggedDataset with tags for DATE and AMOUNT, as the module defines them, and with texts

    Raises
    ------
    DataError : more sentences than there are different ones, or a negative number
    """
    for value in (templates, forms):
        if value not in TEMPLATES:
            raise DataError(f"There is no part {value!r}. {suggest(value, TEMPLATES)}")
    if n < 0:
        raise DataError(f"n is {n}. Give the number of sentences.")
    draw = _Draw(f"{seed} {templates} {forms}")
    texts: list[str] = []
    words: list[list[str]] = []
    tags: list[list[int]] = []
    seen: set[str] = set()
    tries = 0
    while len(texts) < n:
        tries += 1
        if tries > 20 * n + 1000:
            raise DataError(f"There are no {n} different sentences of this kind. Ask for fewer.")
        text, entities = _Story(draw, forms).tell(draw.one(TEMPLATES[templates]))
        if normalise(text) not in seen:
            seen.add(normalise(text))
            texts.append(text)
            words.append([word for word, _, _ in words_of(text)])
            tags.append(_tags(text, entities))
    kept_out = {
        ("seen", "seen"): "",
        ("unseen", "seen"): "-unseen-templates",
        ("seen", "unseen"): "-unseen-forms",
        ("unseen", "unseen"): "-unseen",
    }
    return TaggedDataset(words, tags, TAG_NAMES, NAME + kept_out[templates, forms], texts)


def _tags(text: str, entities: list[tuple[str, int, int]]) -> list[int]:
    """The tag of each word, from where the entities stand in the text."""
    tags = []
    for _, start, end in words_of(text):
        tag = "O"
        for kind, first, last in entities:
            if first <= start and end <= last:
                tag = f"{'B' if start == first else 'I'}-{kind}"
        tags.append(TAG_NAMES.index(tag))
    return tags


class _Draw:
    """Chance from a seed, by `random.random` alone: the same stream in all versions of Python."""

    def __init__(self, seed: str):
        self._random = random.Random(seed)

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high."""
        return low + int(self._random.random() * (high - low + 1))

    def one(self, choices: Sequence[Any]) -> Any:
        """One of them."""
        return choices[self.whole(0, len(choices) - 1)]


_DAYS = ("past", "soon", "later", "end", "far", "month", "lastmonth", "today")
_SUMS = ("sum", "less", "more", "big", "price", "cheaper", "cents")


@dataclass
class _Story:
    """One sentence: what it is about, and how its dates and its money are written."""

    draw: _Draw
    forms: Part
    slots: dict[str, Callable[[], str]] = field(default_factory=dict)

    def __post_init__(self):
        self.era = self.draw.one(("then", "now"))
        self.slots = self._dates() | self._money() | self._figures() | self._names()

    def tell(self, template: str) -> tuple[str, list[tuple[str, int, int]]]:
        """The sentence, and kind, start and end of what is tagged in it."""
        if self.draw.whole(1, 8) == 1 and "{today}" not in template:
            template = f"{self.slots['city']().upper()}, {{today}} - {template}"
        template = re.sub(r"\[(.*?)\]", lambda found: self.draw.one(found[1].split("|")), template)
        text, entities = "", []
        for index, piece in enumerate(re.split(r"\{(\w+)\}", template)):
            written = self.slots[piece]() if index % 2 else piece
            if index % 2 and piece in _DAYS + _SUMS:
                kind = "DATE" if piece in _DAYS else "AMOUNT"
                entities.append((kind, len(text), len(text) + len(written)))
            text += written
        return text.replace("..", "."), entities  # "at 5 p.m.."

    def _dates(self) -> dict[str, Callable[[], str]]:
        """Days around today, all written in one way."""
        draw, write = self.draw, self.draw.one(DATES[self.forms])
        year = draw.whole(1985, 1989) if self.era == "then" else draw.whole(2003, 2024)
        today = _weekday(datetime.date(year, 1, 1) + datetime.timedelta(draw.whole(20, 340)))
        soon = _weekday(today + datetime.timedelta(draw.whole(3, 25)))
        later = _weekday(soon + datetime.timedelta(draw.whole(8, 40)))
        past = _weekday(today - datetime.timedelta(draw.whole(3, 60)))
        ends = [datetime.date(year - 1, 12, 31), datetime.date(year, 3, 31)]
        ends += [datetime.date(year, 6, 30), datetime.date(year, 9, 30)]
        self.year = year
        return {
            "today": lambda: write.day(today),
            "soon": lambda: write.day(soon),
            "later": lambda: write.day(later),
            "past": lambda: write.day(past),
            "end": lambda: write.full(max(end for end in ends if end < today)),
            "far": lambda: write.full(_weekday(_months(today, draw.whole(36, 240)))),
            "month": lambda: write.month(_months(today, draw.whole(3, 14))),
            "lastmonth": lambda: write.month(_months(today, -draw.whole(2, 14))),
        }

    def _money(self) -> dict[str, Callable[[], str]]:
        """Sums and prices in one currency, all written in one way."""
        draw = self.draw
        write = draw.one([style for style in MONEY[self.forms] if self.era in style.eras])
        size = draw.one((1, 10, 100))
        million = draw.whole(1200, 9900) * size / 1000 * write.per_dollar
        self.less = draw.whole(55, 95) / 100
        self.more = draw.whole(105, 160) / 100
        price = draw.whole(900, 3600) / 100 * write.per_dollar
        cheaper = draw.whole(70, 94) / 100 * price
        cents = round(draw.whole(12, 95) * (write.per_dollar if write.per_dollar >= 6 else 1))
        times = draw.whole(8, 30)
        return {
            "sum": lambda: write.sum(million),
            "less": lambda: write.sum(million * self.less),
            "more": lambda: write.sum(million * self.more),
            "big": lambda: write.sum(million * times),
            "price": lambda: write.price(price),
            "cheaper": lambda: write.price(cheaper),
            "cents": lambda: write.cents(cents),
        }

    def _figures(self) -> dict[str, Callable[[], str]]:
        """Numbers that are neither dates nor amounts."""
        draw, then = self.draw, self.era == "then"
        mln = " mln" if then else " million"
        percent = draw.one((" pct", " pct", " per cent") if then else ("%", "%", " percent"))
        eighths, quarters = items("-1/8, -3/8, -5/8, -7/8"), items(".25, .5, .75")
        shown = draw.one(("scaled", "full"))

        def count() -> str:
            number = draw.whole(1200, 9900) * draw.one((100, 1000, 10_000)) + draw.whole(1, 99)
            if shown == "scaled" and number >= 1_000_000:
                return f"{number / 1e6:.1f}{mln}"
            return f"{number:,}"

        def tonnes() -> str:
            if draw.whole(1, 3) == 1:
                return f"{draw.whole(11, 99) / 10}{mln} tonnes"
            return f"{draw.whole(5, 900) * 250:,} tonnes"

        return {
            "rise": lambda: f"{100 / self.less - 100:.1f}{percent}",
            "fall": lambda: f"{100 - 100 / self.more:.1f}{percent}",
            "pct": lambda: f"{draw.whole(11, 99) / 10}{percent}",
            "rate": lambda: f"{draw.whole(3, 9)}{draw.one(eighths if then else quarters)}{percent}",
            "count": count,
            "tonnes": tonnes,
            "drop": lambda: f"{draw.whole(2, 80) * 25:,}",
            "stock": lambda: f"{draw.whole(80, 900) * 250:,}",
            "few": lambda: str(draw.whole(3, 19)),
            "dozens": lambda: str(10 * draw.whole(3, 25)),
            "staff": lambda: f"{draw.whole(9, 420) * 50:,}",
            "age": lambda: str(draw.whole(47, 71)),
            "page": lambda: str(draw.whole(3, 180)),
            "number": lambda: str(draw.whole(12, 899)),
            "points": lambda: f"{draw.whole(21, 480) / 10}",
            "index": lambda: f"{draw.whole(9000, 69000) / 10:,.1f}",
            "bond": lambda: f"{draw.whole(93, 104)}-{draw.whole(1, 31)}/32",
            "block": lambda: f"{draw.whole(2, 34)}/{draw.whole(1, 12)}",
            "time": self._time,
            "quarter": lambda: draw.one(PERIODS),
            "year": lambda: str(self.year - 1),
            "fiscal": lambda: f"{self.year - 2}/{(self.year - 1) % 100:02d}",
        }

    def _time(self) -> str:
        hour, minute = self.draw.whole(8, 17), self.draw.one(("00", "15", "30", "45"))
        half = f"{(hour - 1) % 12 + 1}{'' if minute == '00' else ':' + minute} {'ap'[hour > 11]}.m."
        return self.draw.one((f"{hour:02d}{minute} GMT", half))

    def _names(self) -> dict[str, Callable[[], str]]:
        """Companies, people and things."""
        draw = self.draw
        first = draw.one(FIRST)
        second = draw.one([name for name in FIRST if name != first])
        theirs = draw.one(TRADES), draw.one(LEGAL)
        others = draw.one(TRADES), draw.one(LEGAL)
        return {
            "company": lambda: f"{first} {theirs[0]} {theirs[1]}",
            "rival": lambda: f"{second} {others[0]} {others[1]}",
            "airline": lambda: f"{first} Airlines {theirs[1]}",
            "maker": lambda: f"{first} Aerospace {theirs[1]}",
            "driller": lambda: f"{first} Petroleum {theirs[1]}",
            "trade": lambda: draw.one([trade for trade in TRADES if trade not in theirs]).lower(),
            "person": lambda: draw.one(PEOPLE),
            "broker": lambda: draw.one(BROKERS),
            "city": lambda: draw.one(CITIES),
            "Metal": lambda: draw.one(METALS),
            "crop": lambda: draw.one(CROPS),
            "contract": lambda: f"{draw.one(CONTRACTS)} {draw.one(CROPS)}",
            "law": lambda: draw.one(LAWS),
            **{
                name: functools.partial(draw.one, choices)
                for name, choices in OF_THEIR_TIME[self.era].items()
            },
        }


def _weekday(day: datetime.date) -> datetime.date:
    """The day, or the Monday after a weekend: little is announced on Sundays."""
    return day + datetime.timedelta((0, 0, 0, 0, 0, 2, 1)[day.weekday()])


def _months(day: datetime.date, months: int) -> datetime.date:
    """The same day so many months away, at most the 28th."""
    number = day.year * 12 + day.month - 1 + months
    return datetime.date(number // 12, number % 12 + 1, min(day.day, 28))


def __dir__() -> list[str]:
    return sorted(__all__)
