"""Alarms on shares keep what they promise, and the news monitor reads topics from first words."""

import itertools

import numpy as np
import pytest

import attnlab as al
from attnlab import applications
from attnlab.applications import alarms
from attnlab.cli import main
from attnlab.errors import AttnlabError


@pytest.mark.parametrize("share", [0.2, 0.3, 0.4])
def test_no_way_to_bet_gains_on_average_while_the_share_is_usual(share):
    """Over all 2 ** 9 streams, each as likely as it is: an expectation without chance in it."""
    streams = np.array([*itertools.product([False, True], repeat=9)])
    likely = np.where(streams, share, 1 - share).prod(1)
    wealth = likely @ alarms.bets(streams, 0.2, 0.4)
    assert likely.sum() == pytest.approx(1)
    assert (wealth <= 1 + 1e-12).all()
    assert wealth[-1] > 0.5


def test_bets_gain_when_the_share_has_changed_either_way():
    rng = np.random.default_rng(0)
    for share in (0.05, 0.6):
        assert alarms.bets(rng.random((50, 300)) < share, 0.2, 0.3)[:, -1].min() > 20


def test_wealth_of_the_first_text_is_what_the_formula_says():
    """Some of the money is placed, in six parts; a hit multiplies each by its ratio of chances."""
    low, high = 0.2, 0.3
    (found,) = alarms.bets(np.array([True]), low, high)
    ratios = [odds * high / (1 - high + odds * high) / high for odds in (1.5, 2, 4)]
    ratios += [low / odds / (1 - low + low / odds) / low for odds in (1.5, 2, 4)]
    waits = 1 / (1 + np.log(2))
    assert found == pytest.approx(waits + (1 - waits) * np.mean(ratios))


def test_a_share_of_nothing_or_all_gives_no_bet_that_cannot_be_lost():
    for hits in (0, 30):
        low, high = alarms.usual_share(hits, 30)
        wealth = alarms.bets(np.full((1, 40), hits > 0), low, high)
        assert np.isfinite(wealth).all() and wealth.max() < 20
    with pytest.raises(AttnlabError, match="one text or more"):
        alarms.usual_share(0, 0)


@pytest.mark.slow
def test_false_alarms_are_at_the_promised_rate_and_a_planted_shift_is_found():
    ways = {
        "each day": alarms.by_day(0.05),
        "CUSUM": alarms.by_cusum(0.05),
        "bets": alarms.by_bets(0.05),
    }
    table = alarms.alarm_table(ways, 0.2, [0.4], texts=1000, change_at=500, streams=400)
    usual, changed = (part.set_index("way") for _, part in table.groupby("share"))
    assert usual.loc["bets", "low"] <= 0.05 and usual.loc["bets", "alarms"] < 0.08
    assert usual.loc["CUSUM", "low"] <= 0.05 <= usual.loc["CUSUM", "high"]
    assert usual.loc["each day", "alarms"] > 0.8  # fifty days, each with its own chance
    assert changed.loc["bets", "alarms"] > 0.9
    assert changed.loc["bets", "delay"] < 200


def test_the_first_text_over_a_threshold_is_found_or_none():
    over = np.array([[False, True, True], [False, False, False]])
    assert alarms.first_alarms(over).tolist() == [2, 0]


def test_a_topic_that_grows_is_named_and_the_others_are_not():
    rng = np.random.default_rng(0)
    names = np.array(["earn", "acq", "oil", "rare"])
    usual = rng.choice(names, 500, p=[0.5, 0.3, 0.19, 0.01])
    stream = rng.choice(names, 600, p=[0.5, 0.3, 0.19, 0.01])
    assert (applications.watch(usual, stream)["alarm_at"] == 0).all()
    stream[300:] = rng.choice(names, 300, p=[0.19, 0.3, 0.5, 0.01])
    table = applications.watch(usual, stream).set_index("topic")
    assert 300 < table.loc["oil", "alarm_at"] < 500
    assert table.loc["acq", "alarm_at"] == 0
    assert "rare" not in table.index  # too few to say what is usual
    stream[300:] = rng.choice(names, 300, p=[0.4, 0.25, 0.15, 0.2])
    table = applications.watch(usual, stream).set_index("topic")
    assert 300 < table.loc["others", "alarm_at"] < 500
    assert table["evidence"].is_monotonic_decreasing
    with pytest.raises(AttnlabError, match="Did you mean 'oil'"):
        applications.watch(usual, stream, ["oils"])
    with pytest.raises(AttnlabError, match="The reference has 0 texts"):
        applications.watch([], stream)


def test_shares_are_counted_window_by_window():
    table = applications.topic_shares(["a", "b", "a", "a", "b"], ["a"], 2)
    assert table["text"].tolist() == [2, 4]
    assert table["a"].tolist() == [0.5, 1.0]
    with pytest.raises(AttnlabError, match="do not fill one window"):
        applications.topic_shares(["a"], ["a"], 2)


@pytest.mark.slow
def test_topics_are_read_from_first_words_and_the_command_names_a_change(tmp_path, capsys):
    news = al.datasets.load("reuters-r8")
    train, test = news.train.sample(200), news.test.sample(200)
    monitor = applications.NewsMonitor.train(train)
    right = monitor.topics(test.texts) == [test.label_names[label] for label in test.labels]
    majority = np.bincount(test.labels).max() / len(test)
    assert right.mean() > majority + 0.15
    usual = np.array(test.texts)[:120]
    crude = [
        text
        for text, kind in zip(news.test.texts, news.test.labels, strict=True)
        if news.test.label_names[kind] == "crude"
    ][:60]
    for name, texts in (("stream", [*usual, *test.texts[120:], *crude]), ("train", train.texts)):
        labels = ["x"] * len(texts) if name == "stream" else train.to_frame()["label"]
        rows = "\n".join(f"{text},{label}" for text, label in zip(texts, labels, strict=True))
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{rows}\n")
    files = [str(tmp_path / "stream.csv"), "--topics", str(tmp_path / "train.csv")]
    with pytest.raises(SystemExit) as end:
        main(["apps", "news", *files, "--reference", "120", "--window", "40", "--tone"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert "Alarm: others" in told and "negative" in told


def test_a_topic_that_a_monitor_met_no_text_of_has_probability_0(monkeypatch):
    class Head:
        classes_ = np.array(["acq", "earn"])

        def predict_proba(self, features):
            return np.array([[0.3, 0.7]] * len(features))

    monkeypatch.setattr(applications.news, "embed", lambda clf, texts: texts)
    monitor = applications.NewsMonitor(None, Head(), 2, ["earn", "crude", "acq"])
    found = monitor.predict(["profit rose again"])
    assert found.labels == ["earn"]
    assert found.probabilities.tolist() == [[0.7, 0.0, 0.3]]
    assert monitor.kept(["profit rose again", "oil"]) == 3 / 4


@pytest.mark.slow
@pytest.mark.thorough
def test_under_load_a_service_reads_fewer_words_of_each_text():
    """Texts that come together are read together, and a rush brings the controller down a step."""
    news = al.datasets.load("reuters-r8")
    train, dev = news.train.sample(80), news.dev.sample(32)
    ways = applications.reading_ways(train, words=[None, 6])
    assert list(ways) == ["whole", "6 words"]
    shares = [monitor.kept(dev.texts) for monitor in ways.values()]
    assert shares[0] == 1 > shares[1] > 0
    for monitor in ways.values():
        found = monitor.predict(dev.texts)
        assert found.labels == monitor.topics(dev.texts).tolist()
        assert found.probabilities.shape == (32, 8)
        assert found.probabilities.sum(1) == pytest.approx(1)
        best = [monitor.label_names[column] for column in found.probabilities.argmax(1)]
        assert best == found.labels
    points = al.adaptive.measure_points(ways, dev, seconds=0.1)
    assert points[0].name == "whole" and points[0].kept == 1
    controller = al.adaptive.Controller(points, target_ms=1.0)  # nothing can keep this
    with al.adaptive.BatchingService(controller) as service:
        asked = [service.submit([text]) for text in dev.texts]
        answers = [future.result() for future in asked]
    assert answers[0].label_names == news.train.label_names
    assert controller.point is points[-1]
