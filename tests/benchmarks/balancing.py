"""Figures on balance: cost of meter and recorder, and planted anomalies that are found."""

import itertools
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from planted import judged, planted
from rows import Row, row
from scipy import stats

import attnlab as al
from attnlab import balance
from attnlab.classification.classifier import Classifier
from attnlab.datasets.splits import Splits

REPEATS = 5
ORACLE_TEXTS = 8
SEEDS = range(15, 20)  # none of them was used to make the rules


def measure() -> list[Row]:
    """What meter and recorder cost, and which planted anomalies are found."""
    return [*_meter(), *_recorder(), *_anomalies()]


def _meter() -> list[Row]:
    """The meter on 1,000 movie sentences against a forward pass that returns attentions."""
    clf = al.load_classifier("movie-sentiment")
    texts = al.datasets.load("movie-sentiment").dev.texts[:1000]
    encoded = clf.encode(texts)

    def plain() -> None:
        with torch.no_grad():
            for places in encoded.batches():
                clf.model(**encoded.batch(places), output_attentions=True)

    ratios = []
    for _ in range(REPEATS):
        clf.model.set_attn_implementation("eager")
        alone = _seconds(plain)
        clf.model.set_attn_implementation("attnlab")
        ratios.append(_seconds(lambda: balance.measure(clf, texts)) / alone)
    off = _off(clf, texts[:ORACLE_TEXTS])
    code = (
        "import resource, sys; sys.path.insert(0, 'tests/benchmarks'); import attnlab as al; "
        "clf = al.load_classifier('movie-sentiment'); "
        "al.balance.measure(clf, al.datasets.load('movie-sentiment').dev.texts[:1000]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return [
        row(
            "balance.meter.overhead",
            statistics.median(ratios) - 1,
            "extra share of a plain forward pass with attentions",
            [one - 1 for one in ratios],
        ),
        row("balance.meter.peak_mb", float(done.stdout), "MB, the whole process, 1,000 sentences"),
        row(
            "balance.meter.error",
            off,
            f"largest difference from plain loops, {ORACLE_TEXTS} sentences",
        ),
    ]


def _off(clf: Classifier, texts: list[str]) -> float:
    """How far the entropy over words, by weights, is from a loop over rows in float64."""
    values = np.zeros((clf.layers, clf.heads))
    for text in texts:
        maps = clf.attend(text)
        words = np.flatnonzero(~maps.special.numpy())
        for layer, head in itertools.product(range(clf.layers), range(clf.heads)):
            rows = maps.weights[layer, head].double().numpy()[np.ix_(words, words)]
            spread = [stats.entropy(one) / math.log(len(words)) for one in rows]
            values[layer, head] += np.mean(spread) / len(texts)
    return float(np.abs(balance.measure(clf, texts).map("entropy") - values).max())


def _recorder() -> list[Row]:
    """What recording costs while a model trains, by default 32 sentences every 25 steps of 32."""
    movies = al.datasets.load("movie-sentiment")
    some = Splits(movies.train.sample(2400), movies.dev.sample(100), movies.test.sample(100))
    shares = []
    for seed in range(3):
        recorder = balance.Recorder(movies.dev.sample(32, seed).texts)
        al.finetune("minilm", some, "full", epochs=1, seed=seed, callbacks=[recorder])
        shares.append(recorder.overhead)
    name, unit = "balance.recorder.overhead", "extra share of training time"
    return [row(name, statistics.median(shares), unit, shares)]


def _anomalies() -> list[Row]:
    """Heads tampered with in real training, five seeds pooled; and as many untouched runs."""
    found = judged(
        [planted(seed) for seed in SEEDS],
        [planted(seed, tampered=False)[0] for seed in SEEDS],
    )
    units = {
        "recall": "share of planted anomalies found",
        "precision": "share of what is found that was planted",
        "ends_within": "share of starts and ends within one measurement",
        "kinds_right": "share of kinds that are named as planted",
        "flagged_untouched": "share of heads named in untouched runs",
    }
    return [
        row(f"balance.anomalies.{name}", found[name], units[name], n=len(SEEDS)) for name in units
    ]


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
