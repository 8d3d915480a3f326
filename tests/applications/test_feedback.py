"""Feedback: abstaining gains where confidence tells something; complaints are read first."""

import numpy as np
import pandas as pd
import pytest

import attnlab as al
from attnlab import applications
from attnlab.cli import main
from attnlab.datasets import messages
from attnlab.errors import AttnlabError, DataError


def test_abstaining_gains_where_confidence_tells_and_nothing_at_random():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 4000)
    right = rng.random(4000) < confidence
    threshold = applications.threshold_for(confidence, 0.5)
    found = applications.selective(confidence, right, threshold)
    assert found.coverage == pytest.approx(0.5)
    assert found.gain == pytest.approx(0.125, abs=0.03)  # 0.875 against 0.75
    assert 0 < found.low < found.gain < found.high
    chance = applications.selective(rng.random(4000), right, 0.5)
    assert chance.low < 0 < chance.high


def test_the_curve_ends_at_the_accuracy_on_everything():
    confidence, right = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True])
    curve = applications.coverage_curve(confidence, right, points=4)
    assert curve["coverage"].tolist() == [0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(curve["accuracy"], [1, 1, 2 / 3, 3 / 4])


def test_a_threshold_covers_what_was_asked_also_among_equals():
    assert applications.threshold_for(np.array([0.9, 0.7, 0.7, 0.6]), 0.5) == 0.7
    assert applications.threshold_for(np.array([0.9, 0.7]), 1) == 0.7
    with pytest.raises(AttnlabError, match="coverage is 0"):
        applications.threshold_for(np.array([0.9]), 0)
    with pytest.raises(AttnlabError, match="none would be answered"):
        applications.selective(np.array([0.6]), np.array([True]), 0.9)


def test_the_first_of_a_queue_are_counted():
    urgent = np.array([False, False, True, True])
    table = applications.queue_table({"best": urgent, "worst": ~urgent}, urgent, [2])
    precision = table.set_index("way")["precision"]
    assert precision.to_dict() == {"as they came": 0, "best": 1, "worst": 0}


def test_the_place_of_the_right_answer_is_shared_among_equals():
    likeness = np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.2]])
    assert applications.answer_ranks(likeness, np.array([2, 0])).tolist() == [2, 2]
    table = applications.answer_table(
        {"first": np.eye(3), "last": 1 - np.eye(3)}, np.arange(3), np.arange(3)
    )
    assert table["first"].tolist() == [1, 0]
    assert table["more_high"].tolist() == [0, -1]


def test_nothing_changed_raises_few_alarms_and_a_change_raises_one():
    rng = np.random.default_rng(0)
    usual, other = rng.normal(0, 1, (600, 5)), rng.normal(0.8, 1, (200, 5))
    rates = applications.shift_rates(
        usual, {"other": other}, sizes=[20], shares=[0.5, 1], reference=100, trials=60
    )
    false, half, whole = rates["alarms"]
    assert rates["low"][0] < 0.05 and false < 0.15
    assert whole > 0.95 and false < half < whole


def test_a_change_of_spread_alone_is_noticed():
    rng = np.random.default_rng(1)
    assert applications.shift_test(rng.normal(0, 1, 200), rng.normal(0, 4, 60)) < 0.02
    with pytest.raises(AttnlabError, match="each needs two"):
        applications.shift_test(np.zeros(5), np.zeros(1))


@pytest.fixture(scope="module")
def reviews():
    return al.datasets.split(al.datasets.load("product-sentiment").test.sample(330), 60, 30)


@pytest.fixture(scope="module")
def triage(reviews, clf):
    return applications.Triage.train(
        reviews, messages.answer_book(), messages.messages(96), mood=clf
    )


@pytest.mark.slow
def test_complaints_come_first_and_what_is_unsure_goes_to_a_person(triage):
    given = ["Excellent, I love it.", "Terrible, it broke and the support is awful.", "A phone."]
    queue = triage.sort(given)
    assert queue["message"].tolist() == [1, 2, 0]
    assert queue["sentiment"].iloc[[0, 2]].tolist() == ["negative", "positive"]
    assert queue["negative"].is_monotonic_decreasing
    triage.threshold, before = 1.1, triage.threshold
    assert set(triage.sort(given)["sentiment"]) == {"a person decides"}
    triage.threshold = before


@pytest.mark.slow
def test_a_question_of_the_book_gets_its_own_answer_and_topic(triage):
    book = messages.answer_book()
    queue = triage.sort(book["question"].tolist()).sort_values("message")
    assert queue["answer"].tolist() == book["answer"].tolist()
    assert queue["likeness"].min() > 0.999
    assert (queue["topic"].to_numpy() == book["topic"]).mean() > 0.9


@pytest.mark.slow
def test_features_do_not_depend_on_the_texts_beside(clf):
    texts = ["short", "a text that is a good deal longer than the other one, by many words"]
    together = applications.embed(clf, texts)
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_allclose(row, applications.embed(clf, [text])[0], atol=1e-5)
    np.testing.assert_allclose((together**2).sum(1), 1, atol=1e-5)


@pytest.mark.slow
def test_the_encoder_finds_answers_where_words_do_not(triage):
    asked, questions = messages.messages(96, "unseen"), triage.book["question"].tolist()
    texts = asked["text"].tolist()
    encoded = [applications.embed(triage.meaning, each) for each in (texts, questions)]
    table = applications.answer_table(
        {
            "words": applications.word_overlap(questions, texts),
            "encoder": encoded[0] @ encoded[1].T,
        },
        asked["entry"].to_numpy(),
        asked["template"].to_numpy(),
    )
    assert table["more_low"].iloc[1] > 0.1


@pytest.mark.slow
def test_tweets_among_reviews_are_noticed(triage, reviews):
    tweets = al.datasets.load("tweet-sentiment").test.sample(25).texts
    assert triage.unlike(reviews.train.texts[:100], tweets) <= 0.01


def test_what_a_triage_needs_is_said(reviews):
    with pytest.raises(DataError, match="no column 'answer'"):
        applications.Triage.train(reviews, pd.DataFrame({"topic": ["a"], "question": ["b"]}))
    with pytest.raises(DataError, match="one label only"):
        applications.linear_head(np.eye(2), [1, 1])


@pytest.mark.slow
def test_the_command_sorts_a_file_of_ones_own(tmp_path, capsys, monkeypatch, reviews):
    own, book = tmp_path / "own.csv", tmp_path / "book.csv"
    own.write_text('said\n"It is awful, I hate it."\n"Wonderful, thanks!"\n')
    book.write_text(
        "topic,question,answer\nblame,It is bad.,We are sorry.\nthanks,It is good.,Thank you!\n"
    )
    monkeypatch.setattr(al.datasets, "split", lambda *given: reviews)
    arguments = ["apps", "feedback", str(own), "--text", "said", "--book", str(book)]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--out", str(tmp_path / "queue.csv")])
    assert end.value.code == 0
    queue = pd.read_csv(tmp_path / "queue.csv")
    assert queue["answer"].tolist() == ["We are sorry.", "Thank you!"]
    assert "for a person to decide" in capsys.readouterr().out
