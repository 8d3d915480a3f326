"""Triage of feedback: what abstaining gains, who is read first, nearest answers, changed domains.

Heads and thresholds are chosen on dev of product-sentiment; its test part is opened once, here.
"""

import numpy as np
from rows import Row, accuracy, row

import attnlab as al
from attnlab import applications
from attnlab.datasets import messages
from attnlab.evaluation import bag_of_words
from attnlab.statistics import paired_test

COVERAGE = 0.8
FIRST = 100
OTHERS = ("tweet-sentiment", "editorial-sentiment")


def measure_feedback() -> list[Row]:
    """All parts."""
    reviews = al.datasets.split(al.datasets.load("product-sentiment").test, 500, 1400)
    mood, meaning = al.load_classifier("movie-sentiment"), al.classification.fresh_classifier()
    return [
        *measure_abstaining(reviews, mood),
        *measure_answers(mood, meaning),
        *measure_shift(reviews, meaning),
    ]


def measure_abstaining(reviews: al.datasets.Splits, mood: al.Classifier) -> list[Row]:
    """Selective accuracy at the coverage that dev was given, and precision among the first."""
    labels = {part: np.array(getattr(reviews, part).labels) for part in ("dev", "test")}
    train = applications.embed(mood, reviews.train.texts)
    head = applications.linear_head(train, reviews.train.labels)
    words = bag_of_words(reviews.train)
    ways = {
        "movie_classifier": lambda texts: mood.predict(texts).probabilities,
        "product_head": lambda texts: head.predict_proba(applications.embed(mood, texts)),
        "bag_of_words": words.predict_proba,
    }
    rows, answers, urgency = [], {}, {}
    for name, way in ways.items():
        dev, test = way(reviews.dev.texts), way(reviews.test.texts)
        right = test.argmax(1) == labels["test"]
        answers[name], urgency[name] = right, test[:, 0]
        rows.append(accuracy(f"applications.feedback.{name}.accuracy", right))
        threshold = applications.threshold_for(dev.max(1), COVERAGE)
        rows.append(_gain(name, test.max(1), right, threshold))
        told = f"more answers right than the movie classifier's, share, {name}"
        if name != "movie_classifier":
            beside = paired_test(answers["movie_classifier"], right)
            more = {"low": beside.low, "high": beside.high, "n": beside.n}
            rows.append(row(f"applications.feedback.{name}.delta", beside.delta, told, **more))
    chance = np.random.default_rng(0).random(len(reviews.test))
    rows.append(_gain("at_random", chance, answers["product_head"], 1 - COVERAGE))
    queue = applications.queue_table(urgency, labels["test"] == 0, [FIRST])
    for name, _, precision, low, high in queue.itertuples(index=False):
        written = name.replace(" ", "_")
        told = f"share of complaints among the first {FIRST}, {name}"
        found = {"low": low, "high": high, "n": FIRST}
        rows.append(row(f"applications.feedback.queue.{written}", precision, told, **found))
    return rows


def _gain(name: str, confidence: np.ndarray, right: np.ndarray, threshold: float) -> Row:
    found = applications.selective(confidence, right, threshold)
    return row(
        f"applications.feedback.{name}.selective_gain",
        found.gain,
        f"accuracy on what is answered minus on all, share; dev was covered to {COVERAGE:.0%}",
        low=found.low,
        high=found.high,
        n=len(right),
        coverage=found.coverage,
        accuracy=found.accuracy,
        full=found.full,
    )


def measure_answers(mood: al.Classifier, meaning: al.Classifier) -> list[Row]:
    """The right answer first, and the right topic, on templates that no training showed."""
    book, rows = messages.answer_book(), []
    questions, entries = book["question"].tolist(), None
    for part in ("seen", "unseen"):
        asked = messages.messages(240, part, seed=1)
        texts, entries = asked["text"].tolist(), asked["entry"].to_numpy()
        groups = asked["template"].to_numpy()
        likeness = {"words": applications.word_overlap(questions, texts)}
        for name, clf in (("encoder", meaning), ("movie_encoder", mood)):
            pair = applications.embed(clf, texts), applications.embed(clf, questions)
            likeness[name] = pair[0] @ pair[1].T
        table = applications.answer_table(likeness, entries, groups)
        for way, first, low, high, three, *more in table.itertuples(index=False):
            rows.append(
                row(
                    f"applications.feedback.answers.{part}.{way}",
                    first,
                    f"right answer of {len(book)} first, share; synthetic, by template",
                    low=low,
                    high=high,
                    n=len(set(groups)),
                    among_three=three,
                    more_than_words=more,
                )
            )
    train = messages.messages(240)
    named = al.datasets.from_frame(train, label="topic")
    wanted = [named.label_names.index(topic) for topic in asked["topic"]]
    head = applications.linear_head(applications.embed(meaning, named.texts), named.labels)
    told = {
        "encoder": head.predict(applications.embed(meaning, texts)),
        "bag_of_words": bag_of_words(named).predict(texts),
    }
    for name, found in told.items():
        by_template = asked.assign(right=found == wanted).groupby("template")["right"].mean()
        rows.append(accuracy(f"applications.feedback.topics.{name}", by_template.to_numpy()))
    return rows


def measure_shift(reviews: al.datasets.Splits, meaning: al.Classifier) -> list[Row]:
    """False alarms on product reviews, and alarms on windows from elsewhere."""
    usual = applications.embed(meaning, reviews.train.texts[:1000])
    others = {}
    for name in OTHERS:
        others[name] = applications.embed(meaning, al.datasets.load(name).test.sample(500).texts)
    rates = applications.shift_rates(usual, others, (10, 25, 50), (0.2, 0.5, 1.0), trials=200)
    rows = []
    for domain, size, share, alarms, low, high in rates.itertuples(index=False):
        name = f"applications.feedback.shift.{domain}.{share:g}.window_{size}"
        told = f"share of windows with an alarm at 5 %; {share:.0%} of the window from {domain}"
        rows.append(row(name, alarms, told, low=low, high=high, n=200))
    return rows


if __name__ == "__main__":
    for each in measure_feedback():
        print(each)
