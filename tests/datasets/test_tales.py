"""Whole tales: Grimm's and Andersen's as they were published, and texts of one's own."""

import gzip
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import attnlab as al
from attnlab.datasets import Tales, load_tales, normalise
from attnlab.datasets.texts import text_hash
from attnlab.errors import AttnlabError, AttnlabWarning, DataError

PARTS = ("train", "dev", "test")
WORDS = [
    "fox",
    "goose",
    "king",
    "queen",
    "wolf",
    "kid",
    "hen",
    "cat",
    "mouse",
    "bear",
    "wren",
    "frog",
    "bird",
    "horse",
    "dog",
]
OWN = [f"Once upon a time there was a {word}.\nIt lived long." for word in WORDS]


@pytest.fixture(scope="module")
def grimm():
    return load_tales("grimm")


def test_grimm_is_split_into_whole_tales(grimm):
    assert [len(getattr(grimm, part)) for part in PARTS] == [42, 3, 9]
    texts = [text for part in PARTS for text in getattr(grimm, part)]
    titles = [title for part in PARTS for title in grimm.titles[part]]
    assert len({*map(normalise, texts)}) == len({*titles}) == 54
    assert {"Hansel and Gretel", "Snow White", "The Fox and the Geese"} <= {*titles}
    assert grimm.characters == {part: sum(map(len, getattr(grimm, part))) for part in PARTS}
    assert sum(grimm.characters.values()) == CHARACTERS


def test_the_split_is_the_same_on_every_machine(grimm):
    digest = hashlib.sha256("\n".join(grimm.titles["test"]).encode()).hexdigest()
    assert digest.startswith(GOLDEN), "the test tales changed: published scores no longer hold"


CHARACTERS, GOLDEN = 394_993, "519dca8aeef97568"


def test_tales_read_as_they_were_told(grimm):
    by_title = dict(zip(grimm.titles["train"], grimm.train, strict=True))
    for part in PARTS:
        by_title |= dict(zip(grimm.titles[part], getattr(grimm, part), strict=True))
    for text in by_title.values():
        assert text == text.strip() and "  " not in text and "\t" not in text
        assert not re.search(r"\n\n|\r", text)
    assert by_title["Rapunzel"].startswith("There were once a man and a woman")
    assert by_title["Herr Korbes"].startswith("Once upon a time there w")  # not in quotes
    assert by_title["Hansel and Gretel"].count("\n") > 10


def test_andersen_is_another_author_for_test_alone():
    tales = load_tales("andersen")
    assert (tales.train, tales.dev, len(tales.test)) == ([], [], 3)
    assert "The Ugly Duckling" in tales.titles["test"]


@pytest.mark.parametrize("name", ["grimm", "andersen"])
def test_tales_are_named_data_sets(name):
    assert name in al.datasets.names(usual=True)
    assert repr(al.datasets.load(name)) == repr(load_tales(name))
    assert al.datasets.source(name) == al.datasets.source("reuters-r8")
    with pytest.raises(DataError, match="split of its own"):
        al.datasets.load(name, test_only=True)
    with pytest.raises(DataError, match="dev, separator is for texts of yours"):
        load_tales(name, dev=2, separator="*")


def test_a_few_tales_keep_their_titles(grimm):
    few = grimm.sample(train=5, test=2, seed=1)
    assert isinstance(few, Tales)
    assert [len(getattr(few, part)) for part in PARTS] == [5, 3, 2]
    for part in PARTS:
        known = dict(zip(grimm.titles[part], getattr(grimm, part), strict=True))
        for title, text in zip(few.titles[part], getattr(few, part), strict=True):
            assert known[title] == text


def test_what_needs_labels_or_pairs_refuses_tales(grimm):
    for train in (al.train_translator, lambda data: al.finetune("bundled", data)):
        with pytest.raises(AttnlabError):
            train(grimm)


# ── texts of one's own ─────────────────────────────────────────────────────────────────────────


@given(
    st.lists(
        st.text("abc d", min_size=1).filter(str.strip), min_size=3, max_size=60, unique_by=normalise
    )
)
def test_every_text_stands_whole_in_one_part(texts):
    tales = load_tales(texts)
    found = [text for part in PARTS for text in getattr(tales, part)]
    assert sorted(found) == sorted(text.strip() for text in texts)
    assert all(getattr(tales, part) for part in PARTS)
    assert [*map(len, tales.titles.values())] == [len(getattr(tales, part)) for part in PARTS]
    again = load_tales(texts[::-1])
    assert {*again.test} == {*tales.test}


def test_copies_of_a_text_stay_in_one_part():
    tales = load_tales([*OWN, *(text.upper() for text in OWN)])
    for part in PARTS:
        words = [normalise(text) for text in getattr(tales, part)]
        assert all(words.count(word) == 2 for word in words)


def test_how_many_are_held_out_can_be_said():
    tales = load_tales(OWN, dev=2, test=4)
    assert [len(getattr(tales, part)) for part in PARTS] == [9, 2, 4]
    tales = load_tales(OWN, dev=0, test=0.2)
    assert [len(getattr(tales, part)) for part in PARTS] == [12, 0, 3]
    assert len(load_tales(OWN[:1], dev=0, test=0).train) == 1


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_file_is_divided_at_empty_lines_or_at_a_line_of_yours(tmp_path, ends):
    path = tmp_path / "mine.txt"
    path.write_bytes("\n\n\n".join(OWN).replace("\n", ends).encode("utf-8-sig"))
    tales = load_tales(path)
    assert tales.name == "mine"
    assert {text for part in PARTS for text in getattr(tales, part)} == {*OWN}
    assert tales.titles["test"][0] == tales.test[0].partition("\n")[0]
    path.write_text("\n***\n".join(OWN))
    assert load_tales(str(path), separator="***", name="ours").test == tales.test


def test_a_folder_holds_a_text_in_each_file(tmp_path):
    for word, text in zip(WORDS, OWN, strict=True):
        (tmp_path / f"{word}.txt").write_text(f"{text}\n\n\n\n{text}\n")
    packed = gzip.compress(b"A packed one.")
    (tmp_path / "packed.txt.gz").write_bytes(packed)
    tales = load_tales(tmp_path)
    assert {title for part in PARTS for title in tales.titles[part]} == {*WORDS, "packed"}
    assert tales.name == tmp_path.name
    files = sorted(tmp_path.glob("*.txt*"))
    assert load_tales(files).test == load_tales([*map(str, files)]).test == tales.test
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.warns(AttnlabWarning, match="picture.png"):
        load_tales(tmp_path)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("grim", "Did you mean 'grimm'"),
        ("no/such/file.txt", "no file"),
        ("Once upon a time\nthere was a king.", "Give a list of texts"),
        ("https://a.b/c.txt", "is an address"),
        ("x" * 5000, "no path of a file"),
        ([], "holds 0 texts"),
        (OWN[:1], "holds 1 text: too few"),
        (OWN[:2], "Give at least 3"),
        (OWN[:1] * 9, "holds 9 texts, 1 of them different"),
        (["a", "b", " \n"], "1 of 3 texts are empty .*number 2"),
        (["a", None, 3], "2 of 3 texts are no text: number 1 .*NoneType"),
        ({"a": "b"}, "got dict"),
        (7, "got int"),
    ],
)
def test_what_is_no_collection_of_texts_is_refused(source, words):
    with pytest.raises(DataError, match=words):
        load_tales(source)


def test_more_held_out_than_there_are_is_refused():
    with pytest.raises(DataError, match="do not fit 15 texts"):
        load_tales(OWN, dev=8, test=7)
    with pytest.raises(DataError, match="none is left for"):
        first, *others = sorted(OWN, key=text_hash)
        load_tales([first] * 8 + others[:2], dev=2, test=1)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is empty"),
        (b" \n\n\n ", "is empty"),
        (b"\x89PNG\r\n", "a picture.*plain text"),
        (b"%PDF-1.7", "a PDF document.*Save it as plain text"),
        (b"\x00\x01\x02 one", "no text at all. Give plain text"),
        ("café".encode("cp1252"), "cp1252"),
        (b"<!DOCTYPE html><html>", "web page, not plain text"),
        (b"one text alone", "holds 1 text: too few"),
    ],
)
def test_a_file_that_is_no_text_says_what_to_do(tmp_path, raw, words):
    (tmp_path / "a.txt").write_bytes(raw)
    with pytest.raises(DataError, match=f"(?s){words}"):
        load_tales(tmp_path / "a.txt")


def test_an_empty_folder_and_one_without_texts_are_refused(tmp_path):
    with pytest.raises(DataError, match="It is empty"):
        load_tales(tmp_path)
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"It holds a\.csv"):
        load_tales(tmp_path)
