"""Tagged sentences: synthetic news whose tags can be relied on, and your own from a file."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from dateutil import parser
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab as al
from attnlab.datasets import news as synthetic
from attnlab.datasets.conll import from_conll
from attnlab.datasets.splits import split
from attnlab.datasets.tagged import TaggedDataset, iob2_names, spans, words_of
from attnlab.datasets.texts import normalise
from attnlab.errors import DataError

PARTS = [(a, b) for a in ("seen", "unseen") for b in ("seen", "unseen")]


@pytest.fixture(scope="module")
def every():
    """Sentences of every kind."""
    return [synthetic.news(400, 1, templates, forms) for templates, forms in PARTS]


# ── synthetic news ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("train", "others"), [(24, [48, 48, 48]), (150, [200, 300, 300])])
def test_beside_few_sentences_to_train_on_there_are_few_to_measure_on(train, others):
    splits = synthetic.splits(train)
    assert [len(part) for part in (splits.dev, splits.test, splits.unseen)] == others
    assert len(synthetic.splits(train, unseen=7).unseen) == 7


def test_splits_have_the_sizes_asked_for_and_say_that_they_are_synthetic():
    splits = synthetic.splits(30, 10, 20, 15)
    assert [len(one) for one in (splits.train, splits.dev, splits.test, splits.unseen)] == [
        30,
        10,
        20,
        15,
    ]
    for one in (splits, splits.train, splits.unseen, synthetic.news(5, forms="unseen")):
        assert "synthetic" in repr(one)
    assert "synthetic" in synthetic.__doc__.lower()
    assert len(splits.sample(train=8).train) == 8
    assert splits.sample(train=8).unseen is splits.unseen


GOLDEN = "906d14dcc096b695"


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_sentences_are_the_same_in_every_process(hash_seed):
    code = (
        "import hashlib; from attnlab.datasets import news; s = news.splits(200, 50, 50, 200);"
        "all_of = [one.texts + one.tags for one in (s.train, s.dev, s.test, s.unseen)];"
        "print(hashlib.sha256(repr(all_of).encode()).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith(GOLDEN), "the sentences changed: published scores no longer hold"


def test_another_seed_gives_other_sentences():
    assert not {*synthetic.news(50, 0).texts} & {*synthetic.news(50, 1).texts}


def test_no_sentence_stands_in_two_parts():
    splits = synthetic.splits()
    parts = [splits.train, splits.dev, splits.test, splits.unseen]
    texts = [{normalise(text) for text in part.texts} for part in parts]
    assert len(set().union(*texts)) == sum(map(len, parts)) == 1800


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(PARTS))
def test_tags_are_always_valid_and_one_a_word(seed, part):
    data = synthetic.news(20, seed, *part)
    for place, text in enumerate(data.texts):
        named = data.named(place)
        assert [word for word, _, _ in words_of(text)] == data.words[place]
        assert len(named) == len(data.words[place])
        for before, tag in zip(["O", *named], named, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]


MONEY = (
    r"dlrs|cts|cents|dollars|stg|pence|yen|euros|marks|pfennigs|francs|centimes|crore|p\b"
    r"|[$£€₹]|EUR|USD|CHF|Rs|R\d"
)
NUMBER = r"\d|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|teen|ty|hundred"
NO_MONEY = r"tonnes|shares|percent|pct|%|points|GMT|Boeing|barrel"


def test_every_amount_that_is_tagged_is_a_number_with_a_unit_of_money_and_nothing_else(every):
    amounts = [one.text for one in _all_entities(every) if one.kind == "AMOUNT"]
    assert len(amounts) > 1000
    for text in amounts:
        assert re.search(MONEY, text), text
        assert re.search(NUMBER, text), text
        assert not re.search(NO_MONEY, text), text
        assert not re.search(r"^[\s,.;]|[\s,.;]$", text), text


def test_every_date_that_is_tagged_can_be_read_as_one(every):
    dates = [one.text for one in _all_entities(every) if one.kind == "DATE"]
    assert len(dates) > 1000
    for text in dates:
        # dateutil takes these months without a day for other things
        read = re.sub(r"^(\d\d)\.(\d{4})$", r"\2-\1", text)
        read = re.sub(r"^([A-Z][a-z]{2})-(\d\d)$", r"1 \1 \2", read)
        assert 1980 < parser.parse(read).year < 2050, text


def _all_entities(every):
    return [one for data in every for place in range(len(data)) for one in data.entities(place)]


def test_entities_are_the_words_that_carry_the_tags(every):
    for data in every:
        for place in range(len(data)):
            for one in data.entities(place):
                assert "".join(data.words[place][one.start : one.end]) == one.text.replace(" ", "")


@pytest.mark.parametrize(
    "pattern",
    [
        r"chapter 11",
        r"section (403|13\(d\))|rule 10b-5|rule 144|article 8[56]",
        r"Boeing 7\d7(-\d+)?|Airbus A\d+|MD-80",
        r"[\d.]+ ?(%|pct|per cent|percent)",
        r"[\d,.]+( mln| million)? (shares|tonnes|tickets|passengers)",
        r"\d{4} GMT|[\d:]+ [ap]\.m\.",
        r"[Pp]age \d+|room \d+|flight \d+|form 4|block \d+/\d+|Well \d+/\d+",
        r"(in|than in) \d{4}(/\d\d)?(?=[ ,.])",
        r"(March|May|July|September|December) (wheat|maize|soybeans|sugar|coffee|rice)",
        r"\d+-\d+/32|ISO 9001|Expo \d+|Release 3\.1",
        r"(first|second|third|fourth) quarter|first half",
        r"(1986|1974|1934|2017|2002) [A-Z][a-z]+ [A-Z\-a-z ]*Act",
        r"Pound Lane|Dollar Creek|Penny Hill|May and Sutter|April Dawson|Augustus May|Marchbank",
    ],
)
def test_what_only_looks_like_a_date_or_an_amount_has_no_tag(every, pattern):
    found = 0
    for data in every:
        for text, tags in zip(data.texts, data.tags, strict=True):
            for match in re.finditer(pattern, text):
                found += 1
                inside = [
                    tag
                    for (_, start, end), tag in zip(words_of(text), tags, strict=True)
                    if match.start() <= start and end <= match.end()
                ]
                assert inside
                assert not any(inside), text
    assert found > 5


def test_no_form_and_no_template_of_the_unseen_part_occurs_in_training():
    splits = synthetic.splits(2000, 10, 10, 500)

    def shapes(data):
        return {re.sub(r"\d+", "#", one.text.lower()) for one in _all_entities([data])}

    def frames(data):
        """The words that are neither drawn nor tagged, roughly: those in small letters."""
        return {
            " ".join(
                word
                for word, tag in zip(words, tags, strict=True)
                if not tag and word.isalpha() and word.islower()
            )
            for words, tags in zip(data.words, data.tags, strict=True)
        }

    assert not shapes(splits.train) & shapes(splits.unseen)
    assert not frames(splits.train) & frames(splits.unseen)
    assert shapes(synthetic.news(300, 5, templates="unseen")) & shapes(splits.train)
    assert frames(synthetic.news(300, 5, forms="unseen")) & frames(splits.train)


def test_what_cannot_be_generated_says_so():
    with pytest.raises(DataError, match="Did you mean 'unseen'"):
        synthetic.news(3, forms="unsen")
    with pytest.raises(DataError, match="n is -1"):
        synthetic.news(-1)
    with pytest.raises(DataError, match="train is -5"):
        synthetic.splits(-5, 10)
    assert len(synthetic.news(0)) == 0


# ── words ──────────────────────────────────────────────────────────────────────────────────────


@given(st.text())
def test_words_lie_where_they_say_and_leave_nothing_but_white_space_out(text):
    words = words_of(text)
    assert all(text[start:end] == word for word, start, end in words)
    assert "".join(word for word, _, _ in words) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("at 5 p.m., it said.", ["at", "5", "p.m.", ",", "it", "said", "."]),
        ("U.S. firm's $1,234.50", ["U.S.", "firm's", "$", "1,234.50"]),
        ("due 3-Mar-87 (03/03/87).", ["due", "3-Mar-87", "(", "03/03/87", ")", "."]),
        ("1.2bn,up 3%", ["1.2bn", ",", "up", "3", "%"]),
    ],
)
def test_numbers_dates_and_abbreviations_are_words(text, words):
    assert [word for word, _, _ in words_of(text)] == words


# ── tagged sentences ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two():
    return TaggedDataset(
        [["Paid", "$", "5", "on", "May", "3"], ["Nothing"]],
        [[0, 3, 4, 0, 1, 2], [0]],
        iob2_names(["DATE", "AMOUNT"]),
        "two",
    )


def test_entities_without_a_text_are_shown_by_their_words(two):
    assert [(one.kind, one.start, one.end, one.text) for one in two.entities(0)] == [
        ("AMOUNT", 1, 3, "$ 5"),
        ("DATE", 4, 6, "May 3"),
    ]
    assert two.entities(1) == []
    assert "2 sentences, 2 entities of AMOUNT, DATE" in repr(two)


def test_sentences_are_selected_and_sampled_with_their_tags_and_texts():
    data = synthetic.news(20)
    some = data.select(np.array([3, 1]))
    assert some.texts == [data.texts[3], data.texts[1]]
    assert some.tags == [data.tags[3], data.tags[1]]
    assert data.sample(5, seed=2).texts == data.sample(5, seed=2).texts
    assert len(data.sample(99)) == 20


@pytest.mark.parametrize(
    ("words", "tags", "tag_names", "told"),
    [
        ([["a", "b"]], [[0]], ["O", "B-X", "I-X"], "2 words and 1 tags"),
        ([["a"]], [[3]], ["O", "B-X", "I-X"], "outside of 0 to 2"),
        ([["a"]], [], ["O", "B-X", "I-X"], "1 sentences and 0 lists"),
        ([["a"]], [[0]], ["O", "NN"], "'NN' is no IOB2 tag"),
        ([["a"]], [[0]], ["O", "B-X"], "'X' has only one of the two"),
        ([["a"]], [[0]], ["B-X", "I-X"], "Expected 'O' once"),
        ([["a"]], [[0]], ["O", "S-X", "E-X"], "'S-X', 'E-X' are no IOB2 tag"),
    ],
)
def test_tags_that_do_not_fit_are_refused(words, tags, tag_names, told):
    with pytest.raises(DataError, match=re.escape(told)):
        TaggedDataset(words, tags, tag_names, "own")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=9, max_size=40), st.integers(0, 60))
def test_a_split_keeps_every_sentence_once_and_copies_together(letters, dev):
    data = TaggedDataset(
        [[one, "x"] for one in letters], [[0, 1]] * len(letters), ["O", "B-X", "I-X"], "own"
    )
    parts = split(data, dev / 100, 0.2)
    words = [{one[0] for one in part.words} for part in (parts.train, parts.dev, parts.test)]
    assert not words[0] & words[1] | words[0] & words[2] | words[1] & words[2]
    assert sorted(
        one[0] for part in (parts.train, parts.dev, parts.test) for one in part.words
    ) == sorted(letters)


def test_a_split_that_leaves_nothing_to_train_on_is_refused(two):
    with pytest.raises(DataError, match="leave something for training"):
        split(two, 1, 1)


# ── your own files ─────────────────────────────────────────────────────────────────────────────

CONLL = "Paid\tO\nMarch\tB-DATE\n3\tI-DATE\n\n5\tB-AMOUNT\ndlrs\tI-AMOUNT\n.\tO\n"


@pytest.mark.parametrize(
    "written",
    [
        CONLL,
        CONLL.replace("\t", " "),
        CONLL.replace("\n", "\r\n"),
        "\ufeff" + CONLL,
        "-DOCSTART- -X- O O\n\n" + CONLL.replace("\t", " NN B-NP ") + "\n\n\n",
        CONLL.replace("B-", "I-"),  # IOB1
        CONLL.strip(),
    ],
)
def test_files_of_words_and_tags_are_read(tmp_path, written):
    path = tmp_path / "own.conll"
    path.write_bytes(written.encode())
    data = from_conll(path)
    assert data.words == [["Paid", "March", "3"], ["5", "dlrs", "."]]
    assert [data.named(place) for place in range(2)] == [
        ["O", "B-DATE", "I-DATE"],
        ["B-AMOUNT", "I-AMOUNT", "O"],
    ]
    assert data.tag_names == ["O", "B-AMOUNT", "I-AMOUNT", "B-DATE", "I-DATE"]
    assert data.name == "own"


def test_neighbours_in_iob1_stay_apart(tmp_path):
    (tmp_path / "x").write_text("a I-X\nb B-X\nc I-X\nd I-Y\ne O\n")
    assert spans(from_conll(tmp_path / "x").named(0)) == [("X", 0, 1), ("X", 1, 3), ("Y", 3, 4)]


def test_synthetic_news_survives_the_way_through_a_file(tmp_path):
    data = synthetic.news(50)
    lines = [
        "".join(f"{word}\t{tag}\n" for word, tag in zip(words, data.named(place), strict=True))
        for place, words in enumerate(data.words)
    ]
    (tmp_path / "news.tsv").write_text("\n".join(lines), encoding="utf-8")
    again = from_conll(tmp_path / "news.tsv")
    assert again.words == data.words
    assert [again.named(place) for place in range(50)] == [data.named(place) for place in range(50)]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"", "holds no words"),
        (b"\n \n\t\n", "holds no words"),
        (b"a O\nb B-X\n\nMarch\nc O\n", "Line 4 of own.txt is 'March'"),
        (b"a O\nb\t\n", "Line 2 of own.txt is 'b'"),
        (b"a O\nb X\n", "Line 2 of own.txt has the tag 'X'"),
        (b"a O\nb S-X\n", "the tag 'S-X'"),
        (b"a O\nb B-\n", "the tag 'B-'"),
        (b"a O\nb O\n", "have the tag 'O'"),
        (b"a B-X\n\nb I-X\n", "have the tag 'B-X'"),
        (b"caf\xe9 O\nb B-X\n", "is not utf-8"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_what_to_do(tmp_path, written, told):
    (tmp_path / "own.txt").write_bytes(written)
    with pytest.raises(DataError, match=re.escape(told)):
        from_conll(tmp_path / "own.txt")


def test_a_file_that_is_not_there_and_an_encoding_that_is_none_say_so(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        from_conll(tmp_path / "none")
    with pytest.raises(DataError, match="is a folder"):
        from_conll(tmp_path)
    (tmp_path / "x").write_bytes("a O\ncaf\xe9 B-X\n".encode("cp1252"))
    with pytest.raises(DataError, match="no encoding 'utf8x'"):
        from_conll(tmp_path / "x", encoding="utf8x")
    assert from_conll(tmp_path / "x", encoding="cp1252").words == [["a", "café"]]


def test_the_names_are_there():
    assert al.datasets.news.news(2).kinds == ["AMOUNT", "DATE"]
    assert isinstance(al.datasets.news.news(2), al.TaggedDataset)
