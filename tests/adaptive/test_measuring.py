"""What a controller is told of its points: right accuracies, and none that is of no use."""

import numpy as np
import pandas as pd
import pytest
from tiny_classifiers import answering

from attnlab import adaptive
from attnlab.adaptive import measuring
from attnlab.errors import SettingsError


@pytest.fixture(scope="module")
def whole():
    return answering("bert", 80)


def names(clf, data, table, monkeypatch):
    rows = [{"name": n, "accuracy": a, "ms_batch_32": ms} for n, (a, ms) in table.items()]
    monkeypatch.setattr(measuring, "measured", lambda *given, **more: pd.DataFrame(rows))
    return [point.name for point in adaptive.measure_points(dict.fromkeys(table, clf), data)]


def test_points_come_dearest_first_without_those_of_no_use(whole, monkeypatch):
    table = {"full": (0.9, 64), "worse": (0.7, 48), "half": (0.8, 32), "least": (0.75, 16)}
    assert names(*whole, table, monkeypatch) == ["full", "half", "least"]


def test_the_whole_classifier_stays_though_another_is_as_good_by_chance(whole, monkeypatch):
    table = {"full": (0.9, 64), "half": (0.9, 32)}
    assert names(*whole, table, monkeypatch) == ["full", "half"]


def test_what_is_measured_is_what_they_answer_and_keep(whole):
    clf, data = whole
    few = adaptive.drop_tokens(clf, {0: 0.5}, "first")
    found = {
        name: measuring._kept(model, data, clf.layers)
        for name, model in (("full", clf), ("few", few))
    }
    assert found == {"full": 1, "few": few.kept(data.texts)}
    (point,) = adaptive.measure_points({"full": clf}, data, seconds=1)
    right = np.equal(clf.predict(data.texts).labels, [data.label_names[i] for i in data.labels])
    assert point.accuracy == pytest.approx(right.mean())


def test_nothing_to_measure_is_refused(whole):
    with pytest.raises(SettingsError, match="no way to answer"):
        adaptive.measure_points({}, whole[1])
