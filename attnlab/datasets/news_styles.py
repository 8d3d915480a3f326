"""How synthetic news writes money and dates: by Babel, and as the wires of the 1980s did."""

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass

from attnlab.errors import needs

with needs("lab"):
    from babel.dates import format_date
    from babel.numbers import format_compact_currency, format_currency


@dataclass(frozen=True)
class MoneyStyle:
    """One way to write money.

    ``sum`` writes millions of the currency, ``price`` the price of one thing, ``cents`` a dividend
    in hundredths of it; ``per_dollar`` is what a dollar makes, roughly; ``eras`` when it was
    written so.
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
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
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

MONEY: dict[str, list[MoneyStyle]] = {
    "seen": [
        MoneyStyle(
            lambda m: f"{_scaled(m, ' mln')} dlrs",
            lambda p: f"{p:.2f} dlrs",
            lambda c: f"{c} cts",
            eras="then",
        ),
        MoneyStyle(lambda m: f"${_scaled(m)}", _us, lambda c: f"{c} cents"),
        MoneyStyle(_millions(_babel("USD", "en_US", "¤#,##0")), _us, _hundredths(_us)),
        MoneyStyle(
            lambda m: f"£{_scaled(m, 'm', 'bn')}",
            lambda p: f"{p * 100:.0f}p",
            lambda c: f"{c / 10:.1f}p",
            0.6,
        ),
        MoneyStyle(
            lambda m: f"{_scaled(m, ' mln')} stg",
            lambda p: f"{p * 100:.0f} pence",
            lambda c: f"{c / 10:.1f} pence",
            0.6,
            "then",
        ),
        MoneyStyle(_compact("GBP", "en_GB"), _gb, _hundredths(_gb), 0.6, "now"),
        MoneyStyle(
            lambda m: f"{_scaled(m)} yen",
            lambda p: f"{p:,.0f} yen",
            lambda c: f"{c / 10:.1f} yen",
            130,
        ),
        MoneyStyle(
            lambda m: f"EUR {_scaled(m, 'm', 'bn')}",
            lambda p: f"EUR {p:.2f}",
            lambda c: f"EUR {c / 100:.2f}",
            0.9,
            "now",
        ),
        MoneyStyle(
            _millions(_babel("EUR", "en_IE", "#,##0 ¤¤¤")),
            lambda p: f"{p:.2f} euros",
            lambda c: f"{c / 100:.2f} euros",
            0.9,
            "now",
        ),
    ],
    "unseen": [
        MoneyStyle(
            lambda m: f"US${_scaled(m)}", lambda p: f"US${p:.2f}", lambda c: f"US${c / 100:.2f}"
        ),
        MoneyStyle(_millions(_babel("USD", "en_AU", "¤#,##0")), _au, _hundredths(_au)),
        MoneyStyle(
            lambda m: f"{_scaled(m, ' mln')} marks",
            lambda p: f"{p:.2f} marks",
            lambda c: f"{c} pfennigs",
            1.8,
            "then",
        ),
        MoneyStyle(
            lambda m: f"{_scaled(m, ' mln')} francs",
            lambda p: f"{p:.2f} francs",
            lambda c: f"{c} centimes",
            6,
            "then",
        ),
        MoneyStyle(
            _millions(_babel("INR", "en_IN", "¤#,##,##0")), _rupees, _hundredths(_rupees), 80, "now"
        ),
        MoneyStyle(
            lambda m: f"Rs {m / 10:,.1f}".removesuffix(".0") + " crore",
            lambda p: f"Rs {p:,.0f}",
            lambda c: f"Rs {c / 10:.2f}",
            13,
        ),
        MoneyStyle(_millions(_babel("EUR", "en_DE", "#,##0 ¤")), _de, _hundredths(_de), 0.9, "now"),
        MoneyStyle(_millions(_babel("ZAR", "en_ZA", "¤#,##0")), _za, _hundredths(_za), 8),
        MoneyStyle(_millions(_babel("CHF", "en_CH", "¤ #,##0")), _ch, _hundredths(_ch), 1.4),
        MoneyStyle(lambda m: f"A${_scaled(m, 'm', 'bn')}", _nz, _hundredths(_nz), 1.4),
        MoneyStyle(_compact("EUR", "en_IE"), _ie, _hundredths(_ie), 0.9, "now"),
        MoneyStyle(
            lambda m: f"{_spelled(m)} million dollars",
            lambda p: f"{_spelled(p)} dollars",
            lambda c: f"{_spelled(c)} cents",
        ),
    ],
}


@dataclass(frozen=True)
class DateStyle:
    """One way to write dates: a day of these weeks, a full date, and a month with its year."""

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


def _same(day: Callable[[datetime.date], str], month: str) -> DateStyle:
    """A form that has the year in any case."""
    return DateStyle(day, day, _written(month))


DATES: dict[str, list[DateStyle]] = {
    "seen": [
        DateStyle(_written("MMMM d"), _written("long", "en_US"), _written("MMMM y")),
        DateStyle(_written("d MMMM"), _written("long", "en_GB"), _written("MMMM y")),
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
        DateStyle(_ordinal("MMMM ", ""), _ordinal("MMMM ", ", y"), _written("MMMM, y")),
        DateStyle(_ordinal("", " MMMM"), _ordinal("", " MMMM y"), _written("MMMM, y")),
    ],
}
