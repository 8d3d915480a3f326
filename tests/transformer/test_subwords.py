import os
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab as al
from attnlab import Subwords
from attnlab.datasets.pairs import PLACEHOLDER
from attnlab.errors import DataError

SETS = ("interface-fr", "interface-zh", "dates")


@pytest.fixture(scope="module")
def trained():
    """For each data set and side, its training texts and sub-words trained on them."""
    found = {}
    for name in SETS:
        train = al.datasets.load(name).train
        for side in ("sources", "targets"):
            texts = getattr(train, side)
            found[name, side] = (texts, Subwords.train(texts, 1000))
    return found


CASES = [(name, side) for name in SETS for side in ("sources", "targets")]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_every_training_text_comes_back(trained, case):
    texts, words = trained[case]
    ids = words.encode_all(texts)
    for text, found in zip(texts, ids, strict=True):
        assert words.decode(found) == unicodedata.normalize("NFC", text)
        assert words.unknown not in found
    assert [words.encode(text) for text in texts[:50]] == ids[:50]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_tokens_stand_where_their_spans_say(trained, case):
    texts, words = trained[case]
    for text in texts[:300]:
        text = unicodedata.normalize("NFC", text)
        spans = words.spans(text)
        shown = [text[start:end].replace(" ", "▁").replace("\n", "↵") for start, end in spans]
        assert shown == words.tokens(words.encode(text))
        assert "".join(text[start:end] for start, end in spans) == text


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_placeholders_and_digits_stand_alone(trained, case):
    texts, words = trained[case]
    for text in texts:
        tokens = words.tokens(words.encode(text))
        assert [one for one in tokens if re.fullmatch(PLACEHOLDER, one)] == re.findall(
            PLACEHOLDER, text
        )
        for token in tokens:
            assert re.fullmatch(PLACEHOLDER, token) or not (
                len(token) > 1 and any(letter.isdigit() for letter in token)
            )


def test_a_placeholder_is_whole_beside_anything():
    words = Subwords.train(["%1 %2 {0} %s & word (x). %"], 100)
    for text in ("%1%2", "word%1word", "(%s)", "%%s", "&word", " {0}.", "%1 %2", "x&&x"):
        tokens = words.tokens(words.encode(text))
        found = [one for one in tokens if re.fullmatch(PLACEHOLDER, one)]
        assert found == re.findall(PLACEHOLDER, text), tokens
        assert words.decode(words.encode(text)) == text


def test_a_placeholder_that_training_lacks_is_written_by_its_characters():
    words = Subwords.train(["%1 file"], 60)
    assert words.tokens(words.encode("%12")) == ["%", "1", "2"]


def test_what_is_protected_can_be_chosen():
    words = Subwords.train(["go <name> home", "go home"] * 9, 60, protect=r"<\w+>")
    assert "<name>" in words.tokens(words.encode("go <name>home"))
    assert "%1" not in Subwords.train(["%1 file"] * 9, 60, protect="").vocabulary


def test_frequent_words_are_one_token_with_their_space():
    words = Subwords.train(["open the file", "close the file"] * 5, 60)
    assert words.tokens(words.encode("open the file")) == ["open", "▁the", "▁file"]


def test_unknown_characters_are_marked_and_do_no_harm(trained):
    _, words = trained["interface-fr", "sources"]
    ids = words.encode("Open ☃𝔘")
    assert ids.count(words.unknown) == 2
    assert words.decode(ids) == "Open [unknown][unknown]"
    assert words.spans("☃x")[0] == (0, 1)


def test_a_vocabulary_knows_only_what_it_was_trained_on():
    splits = al.datasets.load("interface-fr")

    def words_of(texts):
        return {word for text in texts for word in re.findall(r"[a-z]{6,}", text)}

    everything = "\n".join(splits.train.sources)
    new = {word for word in words_of(splits.test.sources) if word not in everything}
    assert len(new) > 10
    found = Subwords.train(splits.train.sources, 8000).vocabulary
    assert not {f"▁{word}" for word in new} & set(found)
    assert len({f"▁{word}" for word in words_of(splits.train.sources)} & set(found)) > 500


def test_texts_that_name_a_special_token_are_only_text():
    words = Subwords.train(["[end] of [start] [padding] [unknown]"] * 3, 90)
    for text in ("[end] of", "[start]", "[padding][unknown]"):
        ids = words.encode(text)
        assert not set(ids) & {words.padding, words.unknown, words.start, words.end}
        assert words.decode(ids) == text


def test_special_tokens_have_their_places_and_are_not_read_out():
    words = Subwords.train(["a file"] * 3, 40)
    assert (words.padding, words.unknown, words.start, words.end) == (0, 1, 2, 3)
    assert words.vocabulary[:4] == ["[padding]", "[unknown]", "[start]", "[end]"]
    ids = words.encode("a file")
    assert words.decode([words.start, *ids, words.end, words.padding]) == "a file"
    assert words.tokens([2, *ids, 3]) == ["[start]", *words.tokens(ids), "[end]"]
    assert words.encode("") == []
    assert words.decode([]) == ""


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab é\u0301\n\t %1{0}&.'7中ि", max_size=30))
def test_any_text_of_known_characters_comes_back(text):
    known = Subwords.train(["ab é\u0301x\u0301 \n\t %1{0}&.'7中ि{}% a\u0301 b\u0301 0"], 200)
    plain = unicodedata.normalize("NFC", text)
    ids = known.encode(text)
    if known.unknown not in ids:
        assert known.decode(ids) == plain
    else:
        spans = known.spans(plain)
        assert "".join(plain[start:end] for start, end in spans) == plain


def test_two_ways_to_write_an_accent_are_one():
    words = Subwords.train(["café"] * 3, 30)
    assert words.encode("cafe\u0301") == words.encode("café")
    assert words.decode(words.encode("cafe\u0301")) == "café"


def test_the_size_is_kept(trained):
    for case in (("interface-fr", "sources"), ("dates", "sources")):
        _, words = trained[case]
        assert len(words) == len(words.vocabulary) == 1000
    assert len(set(words.vocabulary)) == 1000


def test_it_is_the_same_after_writing_and_reading(trained):
    texts, words = trained["interface-zh", "targets"]
    again = Subwords.from_json(words.to_json())
    assert again.vocabulary == words.vocabulary
    assert again.encode_all(texts) == words.encode_all(texts)


def test_the_same_texts_give_the_same_vocabulary_in_every_process():
    code = (
        "import hashlib; from attnlab import Subwords\nfrom attnlab.datasets import dates\n"
        "vocabulary = Subwords.train(dates.make(800).sources, 300).to_json()\n"
        "print(hashlib.sha256(vocabulary.encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Subwords.train([]), "no text to learn"),
        (lambda: Subwords.train(["", ""]), "no text to learn"),
        (lambda: Subwords.train("one text"), "Give a list"),
        (lambda: Subwords.train(["a"], 3), "at least 5"),
        (lambda: Subwords.train(["a"], 50, "("), "no regular expression"),
        (lambda: Subwords.train(["a"], 50, "x*"), "no character at all"),
        (lambda: Subwords.train(["a b"], 50).decode([999]), "no token 999.*counted from 0"),
        (lambda: Subwords.train(["a b"], 50).tokens([-1]), "no token -1"),
        (lambda: Subwords.from_json("{}"), r"to_json\(\) wrote"),
        (lambda: Subwords.from_json("not json"), r"to_json\(\) wrote"),
    ],
)
def test_what_cannot_be_done_says_why(call, words):
    with pytest.raises(DataError, match=words):
        call()
