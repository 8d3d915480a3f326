"""How much damage the tuner makes good, on sentences that nothing was chosen by."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rows import Row, row

import attnlab as al
from attnlab import balance
from attnlab.classification.classifier import Classifier
from attnlab.datasets.splits import Splits
from attnlab.evaluation.evaluator import Score
from attnlab.heads.settings import HeadSettings

SEEDS = (0, 1, 2)
SIGMA, SHARE = 1.5, 0.6  # of the spread of random factors, and of the heads that are taken away


def spun(clf: Classifier, seed: int) -> HeadSettings:
    """Damage A: every scale times a log-normal factor."""
    settings, noise = clf.settings(), torch.Generator().manual_seed(seed)
    settings.scale *= torch.exp(SIGMA * torch.randn(settings.scale.shape, generator=noise))
    return settings


def thinned(clf: Classifier, seed: int) -> HeadSettings:
    """Damage B: heads silent, drawn at random."""
    settings, count = clf.settings(), clf.layers * clf.heads
    drawn = np.random.default_rng(seed).permutation(count)[: round(SHARE * count)]
    settings.scale.view(-1)[torch.as_tensor(drawn)] = 0
    return settings


def measure() -> list[Row]:
    """The share of lost test accuracy that comes back, and the seconds it takes; three seeds."""
    clf, splits = (one("movie-sentiment") for one in (al.load_classifier, al.datasets.load))
    test = al.Evaluator(clf, splits.test)
    whole = test.score()
    plans: dict[str, tuple[Callable[[Classifier, int], HeadSettings], list[str], dict | None]] = {
        "": (spun, ["gradient"], None),
        "thinned.least_squares.": (thinned, ["least-squares"], None),
        "thinned.retrained.": (thinned, [], {}),
    }
    rows = []
    for name, (damage, ways, retrain) in plans.items():
        shares, times, before = [], [], []
        for seed in SEEDS:
            start = damage(clf, seed)
            began = time.perf_counter()
            tuner = balance.Tuner(
                clf,
                splits,
                start,
                ways=ways,
                retrain=retrain,
                rounds=len(ways) + (retrain is not None),
                seed=seed,
            )
            while not tuner.finished:
                tuner.step()
            times.append(time.perf_counter() - began)
            hurt = test.score(start).accuracy
            mended = al.Evaluator(tuner.now, splits.test).score(tuner.settings).accuracy
            shares.append((mended - hurt) / (whole.accuracy - hurt))
            before.append(hurt)
        rows += [
            row(
                f"balance.tuner.{name}recovered_share",
                statistics.mean(shares),
                "share of the lost test accuracy, mean and range over seeds",
                shares,
                accuracy_before=before,
            ),
            row(f"balance.tuner.{name}seconds", statistics.median(times), "s", times),
        ]
    rows += _knobs_alone(clf, splits, test, whole)
    changes = []
    for seed in SEEDS:
        tuner = balance.Tuner(clf, splits, seed=seed, rounds=1)
        while not tuner.finished:
            tuner.step()
        changes.append(test.compare(whole, tuner.settings))
    return [
        *rows,
        row(
            "balance.tuner.healthy_delta",
            statistics.mean(one.delta for one in changes),
            "change of test accuracy of a healthy model, share",
            [one.delta for one in changes],
            intervals=[list(one.ci) for one in changes],
        ),
    ]


def _knobs_alone(clf: Classifier, splits: Splits, test: al.Evaluator, whole: Score) -> list[Row]:
    """Damage B, knobs alone: dev is too little for it, so they are fitted to training sentences."""
    shares, times = [], []
    for seed in SEEDS:
        start, began = thinned(clf, seed), time.perf_counter()
        texts = splits.train.sample(2500, seed)
        found = balance.adjust(clf, texts, "gradient", start, seed=seed, epochs=4)
        times.append(time.perf_counter() - began)
        hurt = test.score(start).accuracy
        shares.append((test.score(found.settings).accuracy - hurt) / (whole.accuracy - hurt))
    unit = "share of the lost test accuracy, mean and range over seeds"
    name = "balance.tuner.thinned"
    return [
        row(f"{name}.recovered_share", statistics.mean(shares), unit, shares),
        row(f"{name}.seconds", statistics.median(times), "s", times),
    ]
