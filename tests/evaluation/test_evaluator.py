import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import accuracy_score, log_loss

import attnlab as al
from attnlab.classification.base import Stopped
from attnlab.errors import AttnlabError, DataError, SettingsError
from attnlab.evaluation.scores import Score


@pytest.fixture(scope="module")
def ev(clf, some):
    return al.Evaluator(clf, some)


@pytest.fixture(scope="module")
def damaged(clf):
    settings = clf.settings()
    settings.scale[5] = 0
    settings.scale[4, :6] = 0
    return settings


def test_a_score_is_what_scikit_learn_says(clf, some, ev, damaged):
    for settings in (None, damaged):
        score = ev.score(settings)
        answers = clf.predict(some.texts, settings)
        assert score.accuracy == pytest.approx(
            accuracy_score(some.to_frame()["label"], answers.labels)
        )
        assert score.loss == pytest.approx(log_loss(some.labels, answers.probabilities), rel=1e-4)
        assert [clf.label_names[one] for one in score.predictions] == answers.labels
        assert score.n == len(some) == len(score.losses)
        assert score.stderr == pytest.approx(
            math.sqrt(score.accuracy * (1 - score.accuracy) / score.n)
        )
        assert score.seconds > 0


def test_all_answers_right_is_not_said_to_be_certain():
    score = Score.of(torch.tensor([[3.0, 0.0]] * 40), np.zeros(40, dtype=int))
    assert score.ci == pytest.approx((0.912, 1), abs=1e-3)
    assert "100.0% (95 %: 91.2% to 100.0%)" in repr(score)


def test_applied_settings_and_settings_of_a_call_agree(clf, ev, damaged):
    with al.heads.applied(clf, damaged):
        inside = ev.score()
        neutral = ev.score(clf.settings())  # a call's own settings win
    assert np.array_equal(inside.losses, ev.score(damaged).losses)
    assert np.allclose(neutral.losses, ev.score().losses, atol=1e-6)


def test_a_stream_ends_in_the_score_and_samples_at_random(ev, some, damaged):
    stream = ev.stream(damaged, first=8)
    assert stream.score is None
    parts = list(stream)
    assert [part.score.n for part in parts] == [8, 24, 40]
    assert [part.finished for part in parts] == [False, False, True]
    assert stream.finished
    assert stream.score is stream.advance().score  # nothing more to do
    assert np.allclose(stream.score.losses, ev.score(damaged).losses, atol=1e-5)
    lengths = np.array([len(text) for text in some.texts])
    first = lengths[parts[0].indices]
    assert first.min() < np.median(lengths) < first.max()  # not the short ones first
    again = [part.indices for part in ev.stream(first=8)]
    assert all(
        np.array_equal(mine.indices, other) for mine, other in zip(parts, again, strict=True)
    )


def test_a_stream_can_be_stopped_and_taken_up_again(ev, damaged):
    asked, stream = [], ev.stream(damaged, first=8)

    def stop():
        asked.append(True)
        return len(asked) > 2

    with pytest.raises(Stopped):
        while True:
            stream.advance(stop)
    assert 1 <= len(stream.snapshots) < 3
    before = list(stream.snapshots)
    parts = list(stream)
    assert parts[: len(before)] == before  # not measured again
    assert len(parts) == 3
    assert np.allclose(stream.score.losses, ev.score(damaged).losses, atol=1e-5)


def test_streams_are_compared_on_the_texts_both_have_seen(ev, damaged):
    neutral, moved = ev.stream(first=8), ev.stream(damaged, first=8)
    with pytest.raises(AttnlabError, match="both have seen"):
        neutral.compare(moved)
    list(neutral)
    moved.advance()
    change = neutral.compare(moved)
    assert change.test.n == 8
    seen = moved.snapshots[0].indices
    assert set(change.flips.index) <= set(seen)
    first = neutral.snapshots[0].score
    assert change.delta == pytest.approx(moved.score.accuracy - first.accuracy)
    list(moved)
    whole, wanted = neutral.compare(moved), ev.compare(None, damaged)
    assert (whole.delta, whole.ci, whole.p_value) == (wanted.delta, wanted.ci, wanted.p_value)
    assert whole.flips.equals(wanted.flips)
    with pytest.raises(AttnlabError, match="one Evaluator"):
        other = al.Evaluator(ev.clf, ev.dataset).stream()
        other.advance()
        neutral.compare(other)


def test_logits_are_those_of_the_classifier(clf, ev, damaged):
    indices = np.array([3, 0, 17])
    wanted = clf.logits(ev.encoded, indices, damaged)
    assert torch.allclose(ev.logits(damaged, indices), wanted, atol=5e-5)
    assert ev.logits().shape == (40, 2)


def test_fast_mode_answers_nearly_alike(clf, some, ev):
    fast = al.Evaluator(clf, some, fast=True).score()
    assert (fast.predictions == ev.score().predictions).mean() >= 0.97
    assert np.abs(fast.losses - ev.score().losses).mean() < 0.03


def test_a_comparison_is_paired(clf, some, ev, damaged):
    one, two = ev.score(), ev.score(damaged)
    change = ev.compare(None, damaged)
    assert change.delta == pytest.approx(two.accuracy - one.accuracy)
    gained = int((two.correct & ~one.correct).sum())
    lost = int((one.correct & ~two.correct).sum())
    assert change.p_value == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
    assert change.ci[0] <= change.delta <= change.ci[1]
    assert len(change.flips) == (one.predictions != two.predictions).sum() > 0
    row = change.flips.iloc[0]
    place = change.flips.index[0]
    assert row["text"] == some.texts[place]
    assert row["label"] == some.label_names[some.labels[place]]
    assert row["before"] != row["after"]
    assert change.loss_delta == pytest.approx(two.loss - one.loss, abs=1e-6)
    back = ev.compare(two, one)
    assert back.delta == -change.delta
    assert back.p_value == change.p_value


def test_scores_of_different_texts_are_not_compared(clf, some, ev):
    other = al.Evaluator(clf, some.select(range(10))).score()
    with pytest.raises(AttnlabError, match="40 and 10 texts"):
        ev.compare(ev.score(), other)


def test_labels_are_matched_by_name(clf, some):
    turned = al.TextDataset(
        some.texts, [1 - label for label in some.labels], ["positive", "negative"], "turned"
    )
    assert al.Evaluator(clf, turned).score().accuracy == al.Evaluator(clf, some).score().accuracy


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda _: al.datasets.load("interface-fr").dev, DataError, "no labels"),
        (lambda d: d.select([]), DataError, "no texts in this part"),
        (
            lambda d: al.TextDataset(d.texts, d.labels, ["bad", "good"], "x"),
            DataError,
            "label_names =",
        ),
    ],
)
def test_data_that_cannot_be_scored_is_refused(clf, some, change, error, words):
    with pytest.raises(error, match=words):
        al.Evaluator(clf, change(some))


def test_settings_that_cannot_be_scored_are_refused(clf, ev):
    with pytest.raises(SettingsError, match="6 layers of 12 heads"):
        ev.score(al.HeadSettings(2, 2))
    with pytest.raises(AttnlabError, match="not a stack"):
        ev.score(al.HeadSettings.stack([clf.settings()] * 3))
    broken = clf.settings()
    broken.scale[0, 0] = torch.nan
    with pytest.raises(SettingsError, match="not a finite number"):
        ev.score(broken)
