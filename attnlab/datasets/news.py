"""Synthetic data: short financial news of our own making, in which dates and sums of money are tagged.

Nothing here was ever printed. Sentences come from templates in the manner of a newswire; companies and people
are made up, and the numbers are drawn. What is drawn with care is how a date or a sum of money is *written*: by
Babel, in the English of many countries, and as the wires of the 1980s abbreviated ("12.3 mln dlrs"). Some ways of
writing them, and some templates, are kept out of the training part, so that a score on these says whether more
was learned than a list of patterns.

What counts: a DATE is a day of the calendar, or a month with its year, such as "3 March", "03/03/87", "March
1987"; a weekday belongs to it if it stands directly before. A weekday, month, quarter or year by itself and a
time of day are no dates. An AMOUNT is a number with a unit of money, the word for millions included: "12.3 mln
dlrs", "$18.50", "45 cts". Many sentences hold what looks alike and is neither: numbers of shares, tonnes,
percentages, bonds priced in 32nds, chapter 11, a Boeing 747, the May wheat contract, the year 1986/87.
"""

import datetime
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from attnlab.datasets.tagged import TaggedDataset, iob2_names, words_of
from attnlab.datasets.texts import Splits, normalise
from attnlab.errors import DataError, needs, suggest

with needs("lab"):
    from babel.dates import format_date
    from babel.numbers import format_compact_currency, format_currency

TAG_NAMES = iob2_names(["DATE", "AMOUNT"])
NAME = "synthetic-news"

Part = Literal["seen", "unseen"]  # in training, or kept out of it


@dataclass(frozen=True, eq=False, repr=False)
class NewsSplits(Splits):
    """Synthetic news in parts: test is written as train is, ``unseen`` in ways that train never shows."""

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
    unseen : how many with neither a template nor a form of date or amount that occurs in training. By default
        dev has 200, test and unseen have 400, but none more than twice as many as train.
    seed : the same seed gives the same sentences on every machine that has the same release of Babel

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
        if value not in _TEMPLATES:
            raise DataError(f"There is no part {value!r}. {suggest(value, _TEMPLATES)}")
    if n < 0:
        raise DataError(f"n is {n}. Give the number of sentences.")
    draw = _Draw(f"{seed} {templates} {forms}")
    texts, words, tags = [], [], []
    seen: set[str] = set()
    tries = 0
    while len(texts) < n:
        tries += 1
        if tries > 20 * n + 1000:
            raise DataError(f"There are no {n} different sentences of this kind. Ask for fewer.")
        text, entities = _Story(draw, forms).tell(draw.one(_TEMPLATES[templates]))
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
    """Chance from a seed. Only `random.random` is used: its stream is the same in all versions of Python."""

    def __init__(self, seed: str):
        self._random = random.Random(seed)

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high."""
        return low + int(self._random.random() * (high - low + 1))

    def one(self, choices: Sequence[Any]) -> Any:
        """One of them."""
        return choices[self.whole(0, len(choices) - 1)]


# ── how money is written ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Money:
    """One way to write money.

    ``sum`` writes millions of the currency, ``price`` the price of one thing, ``cents`` a dividend in
    hundredths of it; ``per_dollar`` is what a dollar makes, roughly; ``eras`` when it was written so.
    """

    sum: Callable[[float], str]
    price: Callable[[float], str]
    cents: Callable[[int], str]
    per_dollar: float = 1
    eras: str = "then now"


def _scaled(million: float, mln: str = " million", bln: str = " billion") -> str:
    """12.3 million, or 1.23 billion, in these words.

    >>> _scaled(12.34), _scaled(1234, "m", "bn")
    ('12.3 million', '1.23bn')
    """
    if million < 999.95:
        return f"{million:.1f}".removesuffix(".0") + mln
    return f"{million / 1000:.2f}".rstrip("0").removesuffix(".") + bln


def _babel(currency: str, locale: str, pattern: str | None = None) -> Callable[[float], str]:
    """Babel's writer of an amount in a currency; the patterns of ours are for whole units."""

    def write(value: float) -> str:
        number = value if pattern is None else round(value)
        text = format_currency(
            number, currency, pattern, locale=locale, currency_digits=pattern is None
        )
        return re.sub(r"\s", " ", text)  # no-break spaces

    return write


def _millions(write: Callable[[float], str]) -> Callable[[float], str]:
    """A writer of millions in full, to the thousand."""
    return lambda million: write(round(million * 1000) * 1000)


def _hundredths(write: Callable[[float], str]) -> Callable[[int], str]:
    return lambda cents: write(cents / 100)


def _compact(currency: str, locale: str) -> Callable[[float], str]:
    return lambda million: format_compact_currency(
        million * 1e6, currency, locale=locale, fraction_digits=1
    )


_ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"


def _spelled(number: float) -> str:
    """A number from 1 to 99,999 in words, rounded.

    >>> _spelled(7), _spelled(42.3), _spelled(30), _spelled(215)
    ('seven', 'forty-two', 'thirty', 'two hundred and fifteen')
    """
    number = max(1, round(number))
    ones, tens = _ONES.split(), _TENS.split()
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            link = " and " if rest < 100 else " "
            return f"{_spelled(number // size)} {name}{link + _spelled(rest) if rest else ''}"
    if number < 20:
        return ones[number - 1]
    return tens[number // 10 - 2] + (f"-{ones[number % 10 - 1]}" if number % 10 else "")


_us, _gb = _babel("USD", "en_US"), _babel("GBP", "en_GB")
_euros, _rupees = _babel("EUR", "en_IE", "#,##0.00 ¤¤¤"), _babel("INR", "en_IN")
_de, _za, _ch = _babel("EUR", "en_DE"), _babel("ZAR", "en_ZA"), _babel("CHF", "en_CH")
_au, _nz, _ie = _babel("USD", "en_AU"), _babel("AUD", "en_NZ"), _babel("EUR", "en_IE")

_MONEY: dict[str, list[_Money]] = {
    "seen": [
        _Money(
            lambda m: f"{_scaled(m, ' mln')} dlrs",
            lambda p: f"{p:.2f} dlrs",
            lambda c: f"{c} cts",
            eras="then",
        ),
        _Money(lambda m: f"${_scaled(m)}", _us, lambda c: f"{c} cents"),
        _Money(_millions(_babel("USD", "en_US", "¤#,##0")), _us, _hundredths(_us)),
        _Money(
            lambda m: f"£{_scaled(m, 'm', 'bn')}",
            lambda p: f"{p * 100:.0f}p",
            lambda c: f"{c / 10:.1f}p",
            0.6,
        ),
        _Money(
            lambda m: f"{_scaled(m, ' mln')} stg",
            lambda p: f"{p * 100:.0f} pence",
            lambda c: f"{c / 10:.1f} pence",
            0.6,
            "then",
        ),
        _Money(_compact("GBP", "en_GB"), _gb, _hundredths(_gb), 0.6, "now"),
        _Money(
            lambda m: f"{_scaled(m)} yen",
            lambda p: f"{p:,.0f} yen",
            lambda c: f"{c / 10:.1f} yen",
            130,
        ),
        _Money(
            lambda m: f"EUR {_scaled(m, 'm', 'bn')}",
            lambda p: f"EUR {p:.2f}",
            lambda c: f"EUR {c / 100:.2f}",
            0.9,
            "now",
        ),
        _Money(
            _millions(_babel("EUR", "en_IE", "#,##0 ¤¤¤")),
            lambda p: f"{p:.2f} euros",
            lambda c: f"{c / 100:.2f} euros",
            0.9,
            "now",
        ),
    ],
    "unseen": [
        _Money(
            lambda m: f"US${_scaled(m)}", lambda p: f"US${p:.2f}", lambda c: f"US${c / 100:.2f}"
        ),
        _Money(_millions(_babel("USD", "en_AU", "¤#,##0")), _au, _hundredths(_au)),
        _Money(
            lambda m: f"{_scaled(m, ' mln')} marks",
            lambda p: f"{p:.2f} marks",
            lambda c: f"{c} pfennigs",
            1.8,
            "then",
        ),
        _Money(
            lambda m: f"{_scaled(m, ' mln')} francs",
            lambda p: f"{p:.2f} francs",
            lambda c: f"{c} centimes",
            6,
            "then",
        ),
        _Money(
            _millions(_babel("INR", "en_IN", "¤#,##,##0")), _rupees, _hundredths(_rupees), 80, "now"
        ),
        _Money(
            lambda m: f"Rs {m / 10:,.1f}".removesuffix(".0") + " crore",
            lambda p: f"Rs {p:,.0f}",
            lambda c: f"Rs {c / 10:.2f}",
            13,
        ),
        _Money(_millions(_babel("EUR", "en_DE", "#,##0 ¤")), _de, _hundredths(_de), 0.9, "now"),
        _Money(_millions(_babel("ZAR", "en_ZA", "¤#,##0")), _za, _hundredths(_za), 8),
        _Money(_millions(_babel("CHF", "en_CH", "¤ #,##0")), _ch, _hundredths(_ch), 1.4),
        _Money(lambda m: f"A${_scaled(m, 'm', 'bn')}", _nz, _hundredths(_nz), 1.4),
        _Money(_compact("EUR", "en_IE"), _ie, _hundredths(_ie), 0.9, "now"),
        _Money(
            lambda m: f"{_spelled(m)} million dollars",
            lambda p: f"{_spelled(p)} dollars",
            lambda c: f"{_spelled(c)} cents",
        ),
    ],
}


# ── how dates are written ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Dates:
    """One way to write dates: a day of these weeks, a day with its year, and a month with its year."""

    day: Callable[[datetime.date], str]
    full: Callable[[datetime.date], str]
    month: Callable[[datetime.date], str]


def _written(pattern: str, locale: str = "en_US") -> Callable[[datetime.date], str]:
    """Babel's writer; ``pattern`` is the name of a country's own form, or the form in letters."""
    return lambda day: format_date(day, pattern, locale=locale)


def _ordinal(before: str, after: str) -> Callable[[datetime.date], str]:
    """A writer of 1st, 2nd, 3rd, ... between these patterns."""

    def write(day: datetime.date) -> str:
        ending = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
        ending = "th" if 11 <= day.day <= 13 else ending
        return format_date(day, f"{before}d'{ending}'{after}", locale="en_US")

    return write


def _same(day: Callable[[datetime.date], str], month: str) -> _Dates:
    """A form that has the year in any case."""
    return _Dates(day, day, _written(month))


_DATES: dict[str, list[_Dates]] = {
    "seen": [
        _Dates(_written("MMMM d"), _written("long", "en_US"), _written("MMMM y")),
        _Dates(_written("d MMMM"), _written("long", "en_GB"), _written("MMMM y")),
        _same(_written("long", "en_US"), "MMMM y"),
        _same(_written("long", "en_GB"), "MMMM y"),
        _same(_written("medium", "en_US"), "MMM y"),
        _same(_written("full", "en_US"), "MMMM y"),
        _same(_written("short", "en_US"), "MMMM y"),
        _same(_written("short", "en_GB"), "MMMM y"),
    ],
    "unseen": [
        _same(_written("short", "en_CA"), "y-MM"),
        _same(_written("short", "en_CH"), "MM.y"),
        _same(_written("full", "en_IE"), "MMMM, y"),
        _same(_written("d-MMM-yy"), "MMM-yy"),
        _same(_written("MMMM d y"), "MMMM, y"),
        _Dates(_ordinal("MMMM ", ""), _ordinal("MMMM ", ", y"), _written("MMMM, y")),
        _Dates(_ordinal("", " MMMM"), _ordinal("", " MMMM y"), _written("MMMM, y")),
    ],
}


# ── what is told ───────────────────────────────────────────────────────────────────────────────


def _items(text: str) -> list[str]:
    return text.split(", ")


_FIRST = _items(
    "Harlow, Dunmore, Brackley, Calder, Ostrow, Pellworth, Varley, Quillan, Marchbank, Northfen, Kestrel, "
    "Lindquist, Ambrose, Fairbourne, Holloway, Trevanion, Penny Hill, Dollar Creek, Pound Lane, May and Sutter, "
    "Tessin, Averill, Corvane, Mayfield"
)
_TRADES = _items(
    "Mills, Petroleum, Foods, Steel, Bancorp, Electronics, Mining, Chemicals, Insurance, Shipping, Paper, Stores, "
    "Aerospace, Sugar, Breweries, Motors, Textiles, Rubber, Cement"
)
_LEGAL = _items("Inc, Corp, Co, plc, Ltd, AG, NV, Group, Holdings, and Co")
_PEOPLE = _items(
    "Ruth Calder, April Dawson, Augustus May, Peter Marsh, Helen Ostrander, June Whitlock, Tom Penny, "
    "Ingrid Solberg, Marcus Pound, Anil Deshmukh, Claire Fontenoy, Douglas Reeve"
)
_BROKERS = _items(
    "Brackley Securities, Holt and Marlow, Varley Fenn, Ostrow Brothers, Dunmore Capital"
)
_CITIES = _items(
    "London, New York, Frankfurt, Tokyo, Toronto, Chicago, Zurich, Sydney, Houston, Paris, Hamburg, Dublin"
)
_METALS = _items("Copper, Zinc, Lead, Nickel, Tin, Aluminium")
_CROPS = _items("wheat, maize, soybeans, sugar, coffee, rice")
_CONTRACTS = _items("March, May, July, September, December")
_PERIODS = _items("first quarter, second quarter, third quarter, fourth quarter, first half")
_LAWS = _items("section 403, section 13(d), rule 10b-5, rule 144, article 85, chapter 7")
_OF_THEIR_TIME = {
    "then": {
        "plane": _items(
            "Boeing 747, Boeing 737-300, Boeing 767, Airbus A310, Airbus A300-600, McDonnell Douglas MD-80"
        ),
        "act": _items("1986 Tax Reform Act, 1974 Trade Act, 1934 Securities Exchange Act"),
        "expo": _items("Expo 86, Expo 88"),
    },
    "now": {
        "plane": _items(
            "Boeing 747, Boeing 737-800, Boeing 787-9, Airbus A320, Airbus A350-900, Embraer 190"
        ),
        "act": _items("2017 Tax Cuts and Jobs Act, 1974 Trade Act, 2002 Sarbanes-Oxley Act"),
        "expo": _items("Expo 2015, Expo 2020"),
    },
}

_TEMPLATES: dict[str, tuple[str, ...]] = {
    "seen": (
        "{company} said [net profit|pre-tax profit|operating income] in the {quarter} rose {rise} to {sum} "
        "from {less}.",
        "{company} said [net profit|net income|revenue] fell {fall} to {sum} in the {quarter}, from {more} "
        "a year earlier.",
        "{company} said its loss for the year to {end} [narrowed|shrank] to {sum} from {more}.",
        "{company} [declared|said it would pay] a quarterly dividend of {cents} a share, payable {later} "
        "to holders of record {soon}.",
        "{company} agreed to buy {rival} for {big} in cash and expects to close the deal by {later}.",
        "{company} said it sold its {trade} unit to {rival} for {sum}.",
        "The board of {company} meets on {soon} to consider the offer from {rival}, worth {big}.",
        "{company} shares closed at {price}, up {pct}[ on the day| from Friday|].",
        "{company}, which filed for chapter 11 protection on {past}, owes its banks {sum}.",
        "Bids for the {tonnes} of {crop} must be in by {time} on {soon}, the trade ministry said.",
        "{airline} ordered {few} {plane} jets worth {big}, with the first due in {month}.",
        "The index of {dozens} leading shares gained {points} points to {index}[|, its highest "
        "since {past}].",
        "{company} holders will vote on {soon} on the sale of {count} shares at {price} each.",
        "[Coal|Steel|Cement] output rose to {tonnes} in {fiscal}, {pct} more than a year before, the "
        "ministry said.",
        "The central bank [left|kept] its key rate at {rate} and will meet again on {soon}.",
        "{company} will redeem {sum} of its {rate} notes due {far} on {soon}.",
        "{person} at {broker} [cut|raised] the profit forecast for {company} to {sum}.",
        "{company} said {count} shares, or {pct} of the total, had been tendered by {time} on {past}.",
        "{company} [climbed|eased] to {price} in Tokyo, while {contract} futures in Chicago were little "
        "changed.",
        "In a filing under {law}, {company} said it held {count} shares, or {pct}, of {rival}.",
        "{company} said its {year} accounts, on page {page}, understated debt by {sum}.",
        "The {act} added {sum} to costs at {company} in the {quarter}.",
        "{company} employs {staff} people at {few} plants and had sales of {big} in {year}.",
        "{airline} flight {number}, operated with one of its {plane} jets, landed safely at {time} with "
        "{dozens} people aboard.",
        "[The trade gap|The current account deficit|The budget deficit] [widened|grew] to {big} in the "
        "{quarter} from {sum}, official figures show.",
        "Analysts had expected earnings of {sum} from {company}, according to {broker}.",
        "{company} named {person} chief executive from {soon}.",
        "{person}, {age}, retires as chairman of {company} on {later} after {few} years.",
        "The strike at {company}, now in its third week, has cost {sum}, the union said.",
        "A court in {city} fined {company} {sum} for breaches of {law}.",
        "{maker} won a contract worth {sum} to supply seats for the {plane}, with delivery from {month}.",
        "{Metal} stocks fell {drop} tonnes to {stock} tonnes, the exchange said at {time}.",
        "{company} split its shares [two-for-one|three-for-two] effective {soon}.",
        "The treasury will auction {big} of {rate} bonds on {soon}, maturing {far}.",
        "The loan, signed on {past}, lets {company} draw up to {sum} until {far}.",
        "The benchmark bond was quoted at {bond} at {time}, to yield {rate}.",
        "{driller} found gas in block {block} and will drill a second well before {later}.",
        "Turnover was {count} shares, against {count} on Friday.",
        "{company} raised its bid for {rival} to {price} a share from {cheaper}, valuing it at {big}.",
        "The offer, which was to lapse at {time} on {past}, has been extended to {soon}.",
        "{company} will open a depot at {number} King Street in {month}, at a cost of {sum}.",
        "Since {past}, {company} has bought back {count} shares at an average of {price}.",
        "{company} reports {quarter} results on {soon}; {person} of {broker} expects revenue of {big}.",
        "{company} spent {sum} on research in {fiscal}, or {pct} of sales.",
        "{city}-based {company} raised {sum} from investors led by {rival}.",
        "The hearing resumes at {time} on {soon} in room {number}.",
        "{company} said the plant had met the ISO 9001 standard {few} weeks early.",
        "{airline} has sold {count} tickets since {lastmonth} and cut fares by {pct}.",
    ),
    "unseen": (
        "Net loss for the [three|six|nine] months to {end} was {sum}, {company} told the exchange.",
        "[Shareholders|Investors] in {company} have until {soon} to accept {price} for each of their "
        "{count} shares.",
        "Of the {sum} that {company} borrowed in {lastmonth}, {less} has been repaid.",
        "A fire on {past} at one of the warehouses of {company} caused damage of {sum} and destroyed "
        "{tonnes} of {crop}.",
        "Payments of {sum} fall due on {soon} and again on {later}, {person} told reporters.",
        "Buyers offered {price} for {company} in late trade, {pct} above the close on {past}.",
        "From {soon}, the tariff on imported coal will be {price} a tonne instead of {cheaper}.",
        "The ministry put [storm|drought] damage at {big}, up from an estimate of {sum} given on {past}.",
        "Under article 86 of the treaty, the commission may fine {company} up to {pct} of its turnover, or "
        "{sum}.",
        "Trading in {company}, suspended since {past}, resumes at {time} today.",
        "Coal for delivery in three months ended at {price} a tonne after {tonnes} changed hands.",
        "Asked about the {expo} site, {person} said {sum} had been set aside in {year}.",
        "The {plane} fleet of {airline} carried {count} passengers, {pct} more than in {fiscal}.",
        "{person} sold {count} shares at {price} on {past}, a form 4 filing shows.",
        "What {company} paid for {rival}, {big}, will be written off by {far}.",
        "Page {page} of the prospectus, dated {past}, lists loans of {less} from {broker}.",
        "The merger of {company} and {rival}, first announced in {lastmonth}, was called off on {past}.",
        "By {time} the index had lost {points} points, or {pct}, to stand at {index}.",
        "The {rate} debentures, callable from {far}, were priced to raise {sum}.",
        "Talks between {airline} and its {staff} pilots broke down on {past} over {sum} in back pay.",
        "{contract} slipped {points} points on forecasts that {tonnes} would reach the market.",
        "Lawyers for both sides meet in {city} on {soon} to settle a claim for {sum}.",
        "Release 3.1 of the software, which costs {price} a copy, ships in {month}, {company} said.",
        "Two of the {few} directors, {person} among them, will stand down on {later}.",
        "Well {block} flowed at {count} cubic feet a day, said {driller}, which has {few} more to test.",
    ),
}

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
        template = re.sub(r"\[(.*?)\]", lambda one: self.draw.one(one[1].split("|")), template)
        text, entities = "", []
        for place, piece in enumerate(re.split(r"\{(\w+)\}", template)):
            written = self.slots[piece]() if place % 2 else piece
            if place % 2 and piece in _DAYS + _SUMS:
                kind = "DATE" if piece in _DAYS else "AMOUNT"
                entities.append((kind, len(text), len(text) + len(written)))
            text += written
        return text.replace("..", "."), entities  # "at 5 p.m.."

    def _dates(self) -> dict[str, Callable[[], str]]:
        """Days around today, all written in one way."""
        draw, write = self.draw, self.draw.one(_DATES[self.forms])
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
        write = draw.one([one for one in _MONEY[self.forms] if self.era in one.eras])
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
        eighths, quarters = _items("-1/8, -3/8, -5/8, -7/8"), _items(".25, .5, .75")
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
            "quarter": lambda: draw.one(_PERIODS),
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
        first = draw.one(_FIRST)
        second = draw.one([name for name in _FIRST if name != first])
        theirs = draw.one(_TRADES), draw.one(_LEGAL)
        others = draw.one(_TRADES), draw.one(_LEGAL)
        return {
            "company": lambda: f"{first} {theirs[0]} {theirs[1]}",
            "rival": lambda: f"{second} {others[0]} {others[1]}",
            "airline": lambda: f"{first} Airlines {theirs[1]}",
            "maker": lambda: f"{first} Aerospace {theirs[1]}",
            "driller": lambda: f"{first} Petroleum {theirs[1]}",
            "trade": lambda: draw.one([one for one in _TRADES if one not in theirs]).lower(),
            "person": lambda: draw.one(_PEOPLE),
            "broker": lambda: draw.one(_BROKERS),
            "city": lambda: draw.one(_CITIES),
            "Metal": lambda: draw.one(_METALS),
            "crop": lambda: draw.one(_CROPS),
            "contract": lambda: f"{draw.one(_CONTRACTS)} {draw.one(_CROPS)}",
            "law": lambda: draw.one(_LAWS),
            **{
                name: lambda choices=choices: draw.one(choices)
                for name, choices in _OF_THEIR_TIME[self.era].items()
            },
        }


def _weekday(day: datetime.date) -> datetime.date:
    """The day, or the Monday after a weekend: little is announced on Sundays."""
    return day + datetime.timedelta((0, 0, 0, 0, 0, 2, 1)[day.weekday()])


def _months(day: datetime.date, months: int) -> datetime.date:
    """The same day so many months away, at most the 28th."""
    number = day.year * 12 + day.month - 1 + months
    return datetime.date(number // 12, number % 12 + 1, min(day.day, 28))
