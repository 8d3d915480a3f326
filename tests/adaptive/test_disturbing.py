"""Small changes are small, the same each time, and honest about what they compare."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_classifiers import LITTLE, tiny_classifier
from tiny_images import answered, tiny_image_classifier

from attnlab import adaptive
from attnlab.adaptive.drifting import aligned_tokens
from attnlab.adaptive.synonyms import PAIRS
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, DataError

REVIEW = "It is a funny movie, but the actors are often boring."


def words(text):
    return re.findall(r"\w+", text)


@given(st.text(), st.sampled_from(adaptive.TEXT_KINDS + adaptive.TURNING_KINDS), st.integers(0, 99))
def test_the_same_seed_gives_the_same_text_and_any_text_will_do(text, kind, seed):
    assert adaptive.disturb(text, kind, seed) == adaptive.disturb(text, kind, seed)


def test_another_seed_gives_another_text():
    for kind in ("typos", "synonyms", "distractor"):
        assert len({adaptive.disturb(REVIEW, kind, seed) for seed in range(20)}) > 3


def test_typing_errors_change_a_fifth_of_the_long_words_in_one_place():
    for seed in range(30):
        before, after = words(REVIEW), words(adaptive.disturb(REVIEW, "typos", seed))
        changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
        assert len(changed) == 1
        for old, new in changed:
            assert len(old) >= 4
            assert old[0] == new[0]
            assert abs(len(old) - len(new)) <= 1


def test_case_changes_nothing_else():
    assert adaptive.disturb(REVIEW, "case").lower() == REVIEW.lower()
    assert adaptive.disturb(REVIEW, "case") != REVIEW


def test_synonyms_keep_form_capitals_and_articles():
    assert adaptive.disturb("Movies", "synonyms") == "Films"
    assert adaptive.disturb("A funny thing", "synonyms") == "An amusing thing"
    assert adaptive.disturb("an amusing thing", "synonyms") == "a funny thing"
    assert adaptive.disturb("It began.", "synonyms") == "It started."
    assert adaptive.disturb("Nothing here", "synonyms") == "Nothing here"


def test_each_pair_of_synonyms_has_the_same_forms_on_both_sides():
    pairs = [[side.split() for side in line.split("=")] for line in PAIRS.strip().splitlines()]
    assert len(pairs) >= 100
    for left, right in pairs:
        assert len(left) == len(right)
        assert not {*left} & {*right}


def test_a_distractor_leaves_the_text_whole_and_comes_before_and_behind():
    changed = [adaptive.disturb(REVIEW, "distractor", seed) for seed in range(20)]
    assert all(REVIEW in text and len(text) > len(REVIEW) for text in changed)
    assert {text.startswith(REVIEW) for text in changed} == {True, False}


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("It is good.", "It is not good."),
        ("It is not good.", "It is good."),
        ("It isn't good.", "It is good."),
        ("You can't miss it.", "You can miss it."),
        ("You won’t miss it.", "You will miss it."),
        ("You can miss it.", "You can not miss it."),
        ("Great fun.", "It is not true that great fun."),
    ],
)
def test_negation_turns_the_first_auxiliary(text, negated):
    assert adaptive.disturb(text, "negation") == negated


def test_images_are_shifted_covered_and_noisy():
    image = np.random.default_rng(0).integers(1, 256, (28, 28), dtype=np.uint8)
    for kind in adaptive.IMAGE_KINDS:
        changed = adaptive.disturb(image, kind, 3)
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert (changed != image).any()
        assert (changed == adaptive.disturb(image, kind, 3)).all()
    covered = adaptive.disturb(image, "occlusion", 1)
    assert (covered != image).sum() <= 7 * 7
    shifted = adaptive.disturb(image, "shift", 1)
    places = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    rolled = [np.roll(image, place, (0, 1))[2:-2, 2:-2] for place in places]
    assert any((one == shifted[2:-2, 2:-2]).all() for one in rolled)


def test_what_cannot_be_disturbed_is_named():
    with pytest.raises(AttnlabError, match=r"'typo'.*typos"):
        adaptive.disturb(REVIEW, "typo")
    with pytest.raises(AttnlabError, match="image"):
        adaptive.disturb(np.zeros((8, 8), np.uint8), "typos")
    with pytest.raises(DataError, match="tuple"):
        adaptive.disturb(("a", "b"), "case")


def test_words_are_aligned_though_they_have_other_tokens(clf):
    first, second, aligned, of = aligned_tokens(clf, "a funny movie", "well: a funnny movie")
    tokens = clf.attend("well: a funnny movie").tokens
    assert (aligned, of) == (6, 8)
    assert first[:2] == [[0], [4]]  # [CLS], [SEP]
    assert first[2:] == [[1], [2], [3]]
    assert "".join(tokens[token] for token in second[3]).replace("##", "") == "funnny"
    assert len(second[3]) > 1


def test_drift_is_zero_without_a_change_and_between_0_and_1_with_one(clf):
    same = adaptive.attention_drift(clf, [REVIEW], [REVIEW])
    assert len(same) == clf.layers * clf.heads
    assert same["attention"].max() < 1e-5
    assert same["contributions"].max() < 1e-5
    moved = adaptive.attention_drift(clf, [REVIEW], [adaptive.disturb(REVIEW, "typos", 1)])
    assert moved["attention"].between(1e-4, 1).mean() > 0.9
    assert moved.attrs["aligned"] == 1


def test_drift_of_texts_of_one_token_a_word_is_that_of_their_maps():
    clf = tiny_classifier("bert")
    one, other = "a slow start", "a dull start"
    table = adaptive.attention_drift(clf, [one], [other])
    a, b = (clf.attend(text).weights.double().numpy() for text in (one, other))
    middle = (a + b) / 2
    by_hand = (a * np.log2(a / middle) + b * np.log2(b / middle)).sum(-1).mean(-1) / 2
    assert np.allclose(table["attention"], by_hand.ravel(), atol=1e-5)


def test_the_table_counts_flips_against_the_answers_before():
    clf = tiny_classifier("bert")
    data = TextDataset(LITTLE, [0, 1, 2, 0], clf.label_names, "little")
    table = adaptive.robustness(clf, data).set_index("kind")
    assert list(table.index) == [*adaptive.TEXT_KINDS, *adaptive.TURNING_KINDS]
    assert table["should_flip"].to_numpy().nonzero()[0].tolist() == [4]
    before = clf.predict(LITTLE).labels
    for kind, found in table.iterrows():
        after = clf.predict([adaptive.disturb(text, kind) for text in LITTLE]).labels
        assert found["flips"] == np.mean([a != b for a, b in zip(before, after, strict=True)])
        assert found["flips_low"] <= found["flips"] <= found["flips_high"]
        change = found["accuracy"] - table.attrs["accuracy"]
        assert found["change"] == pytest.approx(change)


def test_capitals_do_not_matter_to_a_model_without_them(clf, some):
    found = adaptive.robustness(clf, some, ["case"]).iloc[0]
    assert found["flips"] == 0
    assert found["attention"] < 1e-6
    assert found["changed"] == 1


def test_images_have_a_table_too():
    clf = tiny_image_classifier()
    data = answered(clf, 20)
    table = adaptive.robustness(clf, data)
    assert list(table["kind"]) == [*adaptive.IMAGE_KINDS]
    assert (table["aligned"] == 1).all()
    assert (table["attention"] > 0).all()


def test_lists_of_different_lengths_are_refused(clf):
    with pytest.raises(DataError, match="2 clean and 1"):
        adaptive.attention_drift(clf, ["a", "b"], ["a"])
    assert torch.is_grad_enabled()
