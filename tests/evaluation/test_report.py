"""The report says what scikit-learn says, and sets a classifier between floors and ceiling."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab as al
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError
from attnlab.evaluation import reports


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(1, 60), st.integers(0, 2**16))
def test_classes_and_confusion_are_what_counting_gives(classes, texts, seed):
    rng = np.random.default_rng(seed)
    predictions, labels = rng.integers(0, classes, (2, texts))
    names = [f"class {index}" for index in range(classes)]
    counts = np.zeros((classes, classes), int)
    for label, prediction in zip(labels, predictions, strict=True):
        counts[label, prediction] += 1
    confusion = reports.confusion(predictions, labels, names)
    assert (confusion.to_numpy() == counts).all()
    assert list(confusion.index) == list(confusion.columns) == names
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: nothing predicted, or no such text
        hits, predicted, there = counts.diagonal(), counts.sum(0), counts.sum(1)
        expected = {
            "precision": hits / predicted,
            "recall": hits / there,
            "f1": 2 * hits / (predicted + there),
            "texts": there,
        }
    table = reports.by_class(predictions, labels, names)
    assert list(table.columns) == ["label", *expected]
    for column, values in expected.items():
        np.testing.assert_allclose(table[column], values)


def test_calibration_is_right_by_hand():
    probabilities = np.array([[0.95, 0.05], [0.92, 0.08], [0.4, 0.6], [1.0, 0.0]])
    labels = np.array([0, 1, 1, 0])
    table, error = reports.calibration(probabilities, labels)
    assert table["texts"].tolist() == [1, 3]
    np.testing.assert_allclose(table["confidence"], [0.6, (0.95 + 0.92 + 1.0) / 3])
    np.testing.assert_allclose(table["accuracy"], [1.0, 2 / 3])
    assert error == pytest.approx((0.4 + 3 * abs((0.95 + 0.92 + 1.0) / 3 - 2 / 3)) / 4)


def test_who_is_as_sure_as_right_has_no_calibration_error():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 40_000)
    labels = (rng.uniform(size=40_000) > sure).astype(int)
    _, error = reports.calibration(np.stack([sure, 1 - sure], -1), labels)
    assert error < 0.01
    _, error = reports.calibration(np.stack([0 * sure + 0.999, 0 * sure + 0.001], -1), labels)
    assert error == pytest.approx(0.249, abs=0.01)


def test_our_classifier_stands_between_bag_of_words_and_raters(clf, movies):
    report = al.report(clf, movies.test.sample(300), movies.train)
    names = report.comparison["name"].tolist()
    assert names == ["this classifier", "majority", "tf-idf + logistic regression"]
    mine, majority, words = report.comparison["accuracy"]
    assert 0.4 < majority < words < mine < report.ceiling < 1
    assert mine == report.score.accuracy
    row = report.comparison.iloc[2]
    assert row.delta == pytest.approx(mine - words)
    assert row.ci_low < row.delta < row.ci_high
    assert (row.p_value < 0.05) == (row.ci_low > 0)
    assert report.confusion.to_numpy().sum() == report.classes["texts"].sum() == 300
    assert report.calibration["texts"].sum() == 300
    assert "points on tf-idf" in repr(report)


def test_without_what_it_learned_from_only_the_majority_is_beside_it(clf, some):
    report = al.report(clf, some)
    assert report.comparison["name"].tolist() == ["this classifier", "majority"]
    unrated = TextDataset(some.texts, some.labels, some.label_names, "unrated")
    assert math.isnan(al.report(clf, unrated).ceiling)


def test_one_label_only_cannot_teach_a_baseline():
    one = TextDataset(["good", "fine"], [1, 1], ["negative", "positive"], "praise")
    with pytest.raises(DataError, match="one label only"):
        reports.bag_of_words(one)
