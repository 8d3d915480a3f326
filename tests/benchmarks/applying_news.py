"""News monitor: topics from first words, and alarms on a topic's share.

The head is the one that dev of reuters-r52 was seen with; the test part is opened once, here. False
alarms are counted on simulated streams, and on real texts in an order drawn from a seed.
"""

import numpy as np
from rows import Row, accuracy, not_measured, row

import attnlab as al
from attnlab import applications
from attnlab.evaluation import bag_of_words
from attnlab.statistics import paired_test, share_interval

LEARNED = 1000
ALPHA = 0.05
DAY, DAYS = 20, 100
WAYS = {
    "each_day": applications.by_day(ALPHA, DAY),
    "all_days": applications.by_day(ALPHA, DAY, DAYS),
    "cusum": applications.by_cusum(ALPHA),
    "bets": applications.by_bets(ALPHA),
}
REFERENCE = 500
SHARES = {0.05: (0.1,), 0.2: (0.3, 0.4)}
ORDERS = 100
STREAMS = 1000


def measure_news() -> list[Row]:
    """All parts."""
    topics, rows = measure_topics()
    return [*rows, *measure_alarms(), *measure_real_orders(topics)]


def measure_topics() -> tuple[np.ndarray, list[Row]]:
    """Accuracy by first words, beside a bag of the same words; and the topics that were told."""
    news = al.datasets.load("reuters-r52")
    train = news.train.sample(LEARNED)
    monitor = applications.NewsMonitor.train(train)
    told = monitor.topics(news.test.texts)
    labels = np.array(news.test.labels)
    right = {"encoder": told == np.array(news.test.label_names)[labels]}
    short = [applications.first_words(part.texts, 12) for part in (train, news.test)]
    bag = bag_of_words(al.datasets.TextDataset(short[0], train.labels, train.label_names, "r52"))
    right["bag_of_words"] = bag.predict(short[1]) == labels
    right["majority"] = labels == np.bincount(train.labels).argmax()
    rows = [accuracy(f"applications.news.{name}.accuracy", each) for name, each in right.items()]
    beside = paired_test(right["bag_of_words"], right["encoder"])
    interval = {"low": beside.low, "high": beside.high, "n": beside.n}
    unit = f"accuracy of encoder minus bag of words, share; {LEARNED} labelled texts, 12 words each"
    return told, [*rows, row("applications.news.encoder.delta", beside.delta, unit, **interval)]


def measure_alarms() -> list[Row]:
    """False alarms in 2,000 texts of simulated streams, and the delay to a planted change."""
    rows = []
    for share, changed in SHARES.items():
        table = applications.alarm_table(WAYS, share, changed, reference=REFERENCE, streams=STREAMS)
        for way, after, alarms, low, high, early, delay in table.itertuples(index=False):
            start, found = f"applications.news.{way}", {"low": low, "high": high, "n": STREAMS}
            if after == share:
                unit = f"share of streams with a false alarm in {DAY * DAYS} texts, share {share:g}"
                rows.append(row(f"{start}.false_alarms_{share:g}", alarms, unit, **found))
                continue
            unit = f"texts from a change {share:g} to {after:g} until the alarm, median"
            told = {"found": alarms, "found_low": low, "found_high": high, "early": early}
            name = f"{start}.delay_{share:g}_{after:g}"
            if np.isfinite(delay):
                rows.append(row(name, delay, unit, n=STREAMS) | told)
            else:
                why = "fewer than half of the streams had an alarm before their end"
                rows.append(not_measured(name, unit, why) | told)
    return rows


def measure_real_orders(topics: np.ndarray) -> list[Row]:
    """False alarms for any of the watched topics, on real texts in orders drawn from a seed."""
    rng, false = np.random.default_rng(0), {"bets": 0, "each_day": 0}
    for _ in range(ORDERS):
        order = rng.permutation(topics)
        usual, stream = order[:REFERENCE], order[REFERENCE:]
        watched = applications.watch(usual, stream, alpha=ALPHA)
        false["bets"] += bool(watched["alarm_at"].any())
        daily = [
            WAYS["each_day"]((stream == name)[None], np.array([(usual == name).sum()]), REFERENCE)
            for name in watched["topic"]
        ]
        false["each_day"] += bool(np.concatenate(daily).any())
    rows = []
    for name, count in false.items():
        low, high = share_interval(count, ORDERS)
        unit = f"share of orders of {len(topics):,} texts with a false alarm for any topic"
        interval = {"low": low, "high": high, "n": ORDERS}
        rows.append(row(f"applications.news.real.{name}", count / ORDERS, unit, **interval))
    return rows


if __name__ == "__main__":
    for each in measure_news():
        print(each)
