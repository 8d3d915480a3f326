import datetime
import functools
import hashlib
import itertools
import subprocess
import sys
import time
import unicodedata
from collections import Counter, defaultdict

import pytest
from babel import Locale
from babel.dates import format_date
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import attnlab as al
from attnlab.datasets import dates
from attnlab.errors import DataError


@pytest.fixture(scope="module")
def splits():
    return al.datasets.load("dates")


@pytest.fixture(scope="module")
def held_out():
    return al.datasets.load("dates-held-out").test


def tag_of(source):
    return source.split(": ")[0]


def by_babel(locale, pattern, date):
    return f"{locale}: {format_date(date, pattern, Locale.parse(locale, sep='-'))}"


def day_of(target):
    return datetime.date.fromisoformat(target)


@functools.cache
def months_of(locale):
    """From every name of a month, as Babel has it, to its number."""
    names = Locale.parse(locale, sep="-").months
    return {
        name: number
        for context in ("format", "stand-alone")
        for width in ("wide", "abbreviated")
        for number, name in names[context][width].items()
    }


# ── what is promised of every date ─────────────────────────────────────────────────────────────


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(dates.LOCALES))
def test_spans_say_where_year_month_and_day_stand(seed, held_out, locale):
    data = dates.make(30, seed, [locale], held_out)
    for source, target, spans in zip(data.sources, data.targets, data.spans, strict=True):
        found = {field: source[start:end] for field, (start, end) in spans.items()}
        assert set(found) == set(dates.FIELDS)
        date = day_of(target)
        assert (int(found["year"]), int(found["day"])) == (date.year, date.day)
        month = found["month"]
        assert (int(month) if month.isdecimal() else months_of(locale)[month]) == date.month
        ends = sorted(spans.values())
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(ends))
        assert ends[0][0] > len(locale)


@pytest.mark.parametrize("locale", dates.LOCALES)
def test_every_pattern_is_written_as_babel_writes_it(locale):
    days = [datetime.date(1900 + 17 * month, month, 2 * month + 3) for month in range(1, 12)]
    for ways in dates._ways(locale).values():
        for way in ways:
            for date in [*days, datetime.date(2099, 12, 31)]:
                assert way.write(date)[0] == by_babel(locale, way.pattern, date)


def test_cldrs_own_patterns_are_there_with_the_year_in_full():
    for locale in dates.LOCALES:
        known = {pattern for group in dates.patterns(locale).values() for pattern in group}
        for size in ("full", "long", "medium"):
            pattern = Locale.parse(locale, sep="-").date_formats[size].pattern
            assert pattern.replace("\u202f", " ") in known
        assert not any("yy" in pattern for pattern in known)


def test_texts_are_what_a_keyboard_writes(splits, held_out):
    for source in [*splits.train.sources, *held_out.sources]:
        assert source == unicodedata.normalize("NFC", source)
        assert {letter for letter in source if letter.isspace()} == {" "}
        assert all(letter in "0123456789" for letter in source if letter.isdigit())


def test_years_months_and_days_are_drawn_evenly(splits):
    days = [day_of(target) for target in splits.train.targets]
    assert {day.year for day in days} == set(range(1900, 2100))
    first = datetime.date(1900, 1, 1).toordinal()
    last = datetime.date(2099, 12, 31).toordinal()
    every = [datetime.date.fromordinal(number) for number in range(first, last + 1)]
    for field in ("year", "month", "day"):
        expected = Counter(getattr(day, field) for day in every)
        found = Counter(getattr(day, field) for day in days)
        share = [expected[value] * len(days) / len(every) for value in expected]
        assert stats.chisquare([found[value] for value in expected], share).pvalue > 1e-4
    tags = Counter(tag_of(source) for source in splits.train.sources)
    assert stats.chisquare([tags[locale] for locale in dates.LOCALES]).pvalue > 1e-4


def test_the_same_seed_gives_the_same_dates_in_every_process():
    code = (
        "import hashlib; from attnlab.datasets import dates\n"
        "for held in (False, True):\n"
        "    data = dates.make(300, 7, held_out=held)\n"
        "    print(hashlib.sha256(repr((data.sources, data.targets, data.spans, data.kinds))"
        ".encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(runs) == 1
    assert len(set(next(iter(runs)).split())) == 2
    assert dates.make(50, 1).sources != dates.make(50, 2).sources


def test_the_test_dates_are_those_of_the_published_scores(splits, held_out):
    text = "\n".join([*splits.test.sources, *splits.test.targets, *held_out.sources])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == GOLDEN


GOLDEN = "c4c8c59475a91915"


def test_twenty_thousand_dates_are_made_in_seconds():
    start = time.process_time()
    assert len(dates.make(22_000, seed=3)) == 22_000
    assert time.process_time() - start < 5


# ── what is in training ────────────────────────────────────────────────────────────────────────


def test_the_parts_have_their_sizes_and_share_no_text(splits, held_out):
    parts = [splits.train, splits.dev, splits.test, held_out]
    assert [len(part) for part in parts] == [20_000, 1_000, 1_000, 1_000]
    assert len({source for part in parts for source in part.sources}) == sum(map(len, parts))
    assert {part.name for part in parts} == {"dates", "dates-held-out"}
    assert set(splits.train.kinds) == {dates.SEEN}


def test_training_shows_every_pattern_of_every_locale(splits):
    shown = defaultdict(set)
    for source, target in zip(splits.train.sources, splits.train.targets, strict=True):
        locale = tag_of(source)
        wrote = {
            way.pattern
            for way in dates._ways(locale)[dates.SEEN]
            if way.write(day_of(target))[0] == source
        }
        assert wrote
        shown[locale] |= wrote
    assert {locale: shown[locale] for locale in dates.LOCALES} == {
        locale: set(dates.patterns(locale)[dates.SEEN]) for locale in dates.LOCALES
    }


def test_there_are_a_dozen_locales_and_five_scripts(splits):
    scripts = {
        unicodedata.name(letter).split()[0]
        for source in splits.train.sources[:3000]
        for letter in source
        if letter.isalpha()
    }
    assert len(dates.LOCALES) >= 12
    wanted = {"LATIN", "CYRILLIC", "GREEK", "HEBREW", "DEVANAGARI", "CJK", "HANGUL"}
    assert scripts >= wanted


@pytest.mark.parametrize("locale", dates.LOCALES)
def test_a_text_of_training_has_one_meaning_given_its_tag(locale):
    meanings = defaultdict(set)
    for number in range(365):
        date = datetime.date(2003, 1, 1) + datetime.timedelta(number)
        for pattern in dates.patterns(locale)[dates.SEEN]:
            meanings[by_babel(locale, pattern, date)].add(date)
    assert {len(found) for found in meanings.values()} == {1}


def test_the_tag_tells_the_order_of_numbers():
    date = datetime.date(2021, 4, 3)
    assert by_babel("en-GB", "dd/MM/y", date) == "en-GB: 03/04/2021"
    assert "dd/MM/y" in dates.patterns("en-GB")["seen"]
    assert "MM/dd/y" in dates.patterns("en-US")["seen"]
    assert "dd/MM/y" not in dates.patterns("en-US")["seen"]


# ── what is held out ───────────────────────────────────────────────────────────────────────────


def test_training_writes_nothing_as_held_out_dates_are_written(held_out):
    for source, target, kind in zip(
        held_out.sources, held_out.targets, held_out.kinds, strict=True
    ):
        locale = tag_of(source)
        assert any(
            by_babel(locale, pattern, day_of(target)) == source
            for pattern in dates.patterns(locale)[kind]
        )
        for pattern in dates.patterns(locale)[dates.SEEN]:
            assert by_babel(locale, pattern, day_of(target)) != source


@pytest.mark.parametrize("locale", dates.LOCALES)
def test_what_is_held_out_is_no_pattern_of_training(locale):
    patterns = dates.patterns(locale)
    for kind in dates.KINDS:
        assert not set(patterns[kind]) & set(patterns[dates.SEEN])
    assert len(patterns["left-out"]) == 3
    everywhere = {one for name in dates.LOCALES for one in dates.patterns(name)[dates.SEEN]}
    assert not set(patterns["new"]) & everywhere
    borrowed = set(patterns["borrowed"])
    assert borrowed <= everywhere


def test_held_out_dates_have_no_name_of_a_month_that_training_lacks(splits, held_out):
    def names(data):
        found = set()
        for source, spans in zip(data.sources, data.spans, strict=True):
            month = source[slice(*spans["month"])]
            if not month.isdecimal():
                found.add((tag_of(source), month))
        return found

    assert len(names(held_out)) > 100
    assert names(held_out) <= names(splits.train)


def test_a_fifth_is_of_each_kind(held_out):
    counts = Counter(held_out.kinds)
    assert set(counts) == set(dates.KINDS)
    assert all(190 <= count <= 210 for count in counts.values())


def reading_of_the_tag(source, target):
    """The date that training would teach to read, if there is one."""
    date = day_of(target)
    try:
        other = date.replace(day=date.month, month=date.day)
    except ValueError:
        return None
    patterns = dates.patterns(tag_of(source))[dates.SEEN]
    wrote = any(by_babel(tag_of(source), one, other) == source for one in patterns)
    return other if wrote else None


def test_other_orders_have_one_reading_or_two_as_their_kind_says(held_out):
    for source, target, kind in zip(
        held_out.sources, held_out.targets, held_out.kinds, strict=True
    ):
        if kind == "other-order":
            assert day_of(target).day > 12
        if kind == "either-order":
            read = reading_of_the_tag(source, target)
            assert read is not None, "training must write this text for the other reading"
            assert read != day_of(target), "who follows the tag is never right here"


def test_locales_that_put_the_year_first_have_no_other_order():
    data = dates.make(60, locales=["ja", "zh"], held_out=True)
    assert set(data.kinds) == {"left-out", "new"}


# ── asking for what cannot be made ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 5, "locales": ["en_GB"]}, "no locale 'en_GB'.*Did you mean 'en-GB'"),
        ({"n": 5, "locales": "fr"}, r"Give a list, such as \['fr', 'de'\]"),
        ({"n": 5, "locales": []}, "Give a list"),
        ({"n": -1}, "from 0 to 1,900,000"),
        ({"n": 100_001, "locales": ["fr"]}, "from 0 to 100,000"),
    ],
)
def test_dates_that_cannot_be_made_say_why(options, words):
    with pytest.raises(DataError, match=words):
        dates.make(**options)


def test_an_unknown_locale_has_no_patterns():
    with pytest.raises(DataError, match="Did you mean 'en-GB'"):
        dates.patterns("en-GP")


def test_no_dates_are_an_empty_set():
    assert len(dates.make(0)) == 0


def test_locales_are_drawn_as_asked_for():
    assert {tag_of(source) for source in dates.make(40, locales=["fr", "ja"]).sources} == {
        "fr",
        "ja",
    }
