import warnings

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest
from scipy import stats

import attnlab as al
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabWarning, DataError
from attnlab.translation.scores import compare, copy_source, nearest_string, score


@pytest.fixture(scope="module")
def french():
    return al.datasets.load("interface-fr")


@pytest.fixture(scope="module")
def nearest(french):
    return nearest_string(french)


@pytest.mark.parametrize(("name", "tokenize"), [("interface-fr", "13a"), ("interface-zh", "zh")])
def test_scores_and_intervals_are_sacrebleus_own(monkeypatch, name, tokenize):
    splits = al.datasets.load(name)
    predictions, references = nearest_string(splits), splits.test.targets
    found = score(predictions, references, seed=5, tokenize=tokenize)
    monkeypatch.setenv("SACREBLEU_SEED", "5")
    for measure, metric in (("bleu", BLEU(tokenize=tokenize)), ("chrf", CHRF())):
        theirs = metric.corpus_score(predictions, [references], n_bootstrap=1000)
        assert getattr(found, measure) == pytest.approx(theirs.score, abs=1e-9)
        low, high = getattr(found, f"{measure}_ci")
        assert (high - low) / 2 == pytest.approx(theirs._ci, abs=1e-4)
        assert low < theirs.score < high
        assert found.signature[measure] == str(metric.get_signature())
    assert f"tok:{tokenize}" in found.signature["bleu"]


def test_perfect_translations_have_the_highest_scores(french):
    found = score(french.test.targets, french.test.targets)
    assert (found.bleu, found.chrf, found.exact) == (pytest.approx(100), pytest.approx(100), 1)
    assert found.bleu_ci == pytest.approx((100, 100))
    assert found.n == 219
    worst = score([""] * 219, french.test.targets)
    assert (worst.bleu, worst.chrf, worst.exact) == (0, 0, 0)


def test_exact_matches_have_the_interval_of_wilson():
    references = [str(number) for number in range(100)]
    predictions = [*references[:97], "x", "y", "z"]
    found = score(predictions, references)
    assert found.exact == 0.97
    z = stats.norm.ppf(0.975)
    centre = (0.97 + z**2 / 200) / (1 + z**2 / 100)
    half = z / (1 + z**2 / 100) * np.sqrt(0.97 * 0.03 / 100 + z**2 / 40_000)
    assert found.exact_ci == pytest.approx((centre - half, centre + half))
    assert found.exact_ci == pytest.approx((0.9155, 0.9897), abs=1e-4)


def test_exact_is_to_the_letter_except_for_how_an_accent_is_written():
    found = score(["cafe\u0301", "Café", "café "], ["café", "café", "café"])
    assert found.exact == pytest.approx(2 / 3)


def test_the_same_seed_gives_the_same_intervals(french, nearest):
    one, again, other = (score(nearest, french.test.targets, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one.bleu_ci != other.bleu_ci
    assert one.bleu == other.bleu


def test_scores_make_a_table(french, nearest):
    found = score(nearest, french.test.targets)
    frame = found.to_frame()
    assert list(frame.index) == ["bleu", "chrf", "exact"]
    assert frame.loc["bleu"].tolist() == [found.bleu, *found.bleu_ci]
    assert frame.loc["exact"].tolist() == [found.exact, *found.exact_ci]


SCRIPTS = {
    "zh": ["今天天气很好。", "我喜欢在公园里散步。", "打开文件 README.md"],
    "char": ["今日は天気がいいです。", "ファイルを開く", "วันนี้อากาศดีมาก"],
    "13a": [
        "Il fait beau aujourd'hui.",
        "오늘은 날씨가 아주 좋습니다 .",
        "Он открыл файл 文件 вчера .",
    ],
}


@pytest.mark.parametrize("tokenize", list(SCRIPTS))
def test_a_perfect_translation_has_100_in_every_script(tokenize):
    texts = SCRIPTS[tokenize]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(texts, texts)
        assert compare(texts, texts, texts).loc["bleu", "b"] == pytest.approx(100)
    assert found.bleu == pytest.approx(100)
    assert f"tok:{tokenize}" in found.signature["bleu"]


def test_the_script_is_that_of_the_references():
    assert "tok:zh" in score(["nothing here"] * 3, SCRIPTS["zh"]).signature["bleu"]


def test_where_bleu_says_nothing_that_is_said():
    with pytest.warns(AttnlabWarning, match="would be 0 here.*tokenize='zh'"):
        score(["今天天气很好"], ["今天天气很好"], tokenize="13a")
    with pytest.warns(AttnlabWarning, match="would be 0 here.*four words"):
        score(["Open", "Close it"], ["Open", "Close it"])


# ── comparing ──────────────────────────────────────────────────────────────────────────────────


def test_differences_are_tested_as_sacrebleu_tests_them(monkeypatch, french, nearest):
    references = french.test.targets
    some = [*nearest[:200], *references[200:]]
    frame = compare(nearest, some, references, seed=3)
    monkeypatch.setenv("SACREBLEU_SEED", "3")
    test = PairedTest(
        [("a", nearest), ("b", some)],
        {"bleu": BLEU(force=True), "chrf": CHRF()},
        [references],
        test_type="bs",
    )
    _, theirs = test()
    for measure, name in (("bleu", "BLEU"), ("chrf", "chrF2")):
        a, b = theirs[name]
        row = frame.loc[measure]
        assert (row["a"], row["b"]) == (pytest.approx(a.score), pytest.approx(b.score))
        assert row["difference"] == pytest.approx(b.score - a.score)
        assert row["p_value"] == pytest.approx(b.p_value)
        assert 0 < row["low"] < row["difference"] < row["high"]


def test_a_difference_that_is_none_is_called_none(french, nearest):
    frame = compare(nearest, nearest, french.test.targets)
    assert (frame["difference"] == 0).all()
    assert (frame["low"] <= 0).all()
    assert (frame["high"] >= 0).all()
    assert (frame["p_value"] > 0.9).all()


def test_the_better_one_has_a_difference_above_nothing():
    references = [f"file number {number} is open" for number in range(60)]
    good = [*references[:50], *["no"] * 10]
    bad = [*references[:20], *["no"] * 40]
    frame = compare(bad, good, references)
    assert (frame["low"] > 0).all()
    assert frame.loc["exact", "difference"] == pytest.approx(0.5)
    assert frame.loc["exact", "p_value"] == pytest.approx(2 * 0.5**30)
    back = compare(good, bad, references)
    assert np.allclose(back["difference"], -frame["difference"])
    assert (back["high"] < 0).all()


# ── baselines ──────────────────────────────────────────────────────────────────────────────────


def test_the_baselines_have_their_published_scores(french, nearest):
    found = score(nearest, french.test.targets)
    copied = score(copy_source(french), french.test.targets)
    assert found.bleu == pytest.approx(10.84, abs=0.005)
    assert found.chrf == pytest.approx(35.50, abs=0.005)
    assert copied.bleu == pytest.approx(4.34, abs=0.005)
    assert copied.exact == pytest.approx(13 / 219)


def test_copying_translates_nothing(french):
    assert copy_source(french) == french.test.sources


def test_the_nearest_string_is_found_by_looking_at_all(french, nearest):
    def trigrams(text):
        padded = f" {al.datasets.normalise(text)} "
        return {padded[at : at + 3] for at in range(len(padded) - 2)}

    known = [trigrams(text) for text in french.train.sources]
    for place in range(0, 219, 12):
        mine = trigrams(french.test.sources[place])
        likeness = [len(mine & one) / (len(mine) * len(one)) ** 0.5 for one in known]
        best = {
            french.train.targets[at] for at in np.flatnonzero(np.isclose(likeness, max(likeness)))
        }
        assert nearest[place] in best


def test_the_nearest_string_is_the_same_in_blocks(french, nearest):
    doubled = french.test.select([*range(219), *range(219)])
    assert nearest_string(Splits(french.train, french.dev, doubled)) == nearest * 2


def test_a_string_of_training_has_its_own_translation(french):
    again = Splits(french.train, french.dev, french.train.select(range(40)))
    assert nearest_string(again) == french.train.targets[:40]


# ── what cannot be scored ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("predictions", "references", "options", "words"),
    [
        (["a"], ["a", "b"], {}, "1 predictions and 2 references"),
        ([], [], {}, "at least one"),
        ("text", ["a"], {}, "predictions is one text"),
        (["a"], "a", {}, "references is one text"),
        (["a", None], ["a", "b"], {}, r"predictions\[1\] is None.*Give ''"),
        (["a"], ["a"], {"tokenize": "zhh"}, "Did you mean 'zh'"),
    ],
)
def test_what_cannot_be_scored_says_why(predictions, references, options, words):
    with pytest.raises(DataError, match=words):
        score(predictions, references, **options)
    with pytest.raises(DataError, match=words):
        compare(predictions, predictions, references, **options)


def test_baselines_need_pairs_and_a_training_part():
    empty = al.datasets.load("dates-held-out")
    with pytest.raises(DataError, match="no training part"):
        nearest_string(empty)
    texts = al.TextDataset(["a"], [0], ["x"], "toy")
    with pytest.raises(DataError, match="no translations"):
        copy_source(Splits(texts, texts, texts))
