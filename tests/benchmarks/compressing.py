"""Compression: the smallest good model, the frontier, early exit, and what a teacher is worth.

Everything is chosen on dev and on training texts; test is opened once, for the rows that say so.
Models that were trained are kept in runs/bench and not trained again: delete it to begin anew.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from finetuning import RUNS, trained
from rows import Row, row

import attnlab as al
from attnlab import compression
from attnlab.classification.classifier import Classifier
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.statistics import paired_bootstrap, paired_test

SEEDS = (0, 1, 2)
KEEP = [0, 2, 5]
WITHOUT = 2 / 3  # of the small model's neurons go
AT_LEAST = 2  # training texts have a word piece that stays
OTHERS = ("product-sentiment", "tweet-sentiment", "editorial-sentiment")
KEPT = RUNS / "compression"


def measure() -> list[Row]:
    """The small film classifier, and the same for news; an hour and a half on two cores."""
    clf, splits = _films()
    students, small, from_scratch = _film_models()
    teacher, small_news = _news_models()
    return [
        *_worth_of_a_teacher(clf, students, splits.test),
        *_chain(clf, small, splits.test, "movie-sentiment"),
        *_chain(teacher, [small_news], al.datasets.load("reuters-r8").test, "reuters-r8"),
        *_frontier(clf, splits, students["taught", 0], from_scratch),
        *_exits(clf, splits),
    ]


# ── models ─────────────────────────────────────────────────────────────────────────────────────


def _films() -> tuple[Classifier, Splits]:
    return al.load_classifier("movie-sentiment"), al.datasets.load("movie-sentiment")


def _film_models() -> tuple[dict[tuple[str, int], Classifier], list[Classifier], Classifier]:
    """Students with and without a teacher, the chain's models, and a student from scratch."""
    clf, splits = _films()
    more = _with_more(clf, splits)
    small = [_kept(f"small-{seed}", _small, clf, splits, more, seed) for seed in SEEDS]
    student = compression.prune_layers(clf, keep=KEEP)
    students = {
        (name, seed): _kept(f"{name}-{seed}", _distilled, whose, student, splits, seed)
        for seed in SEEDS
        for name, whose in (("taught", clf), ("alone", None))
    }
    return students, small, _kept("from-scratch", _from_scratch, clf, splits)


def _news_models() -> tuple[Classifier, Classifier]:
    """A classifier of news, and the chain's model of it."""
    teacher = trained("reuters-r8", "full", 0)
    news = al.datasets.load("reuters-r8")
    return teacher, _kept("small-news", _small, teacher, news, news, 0)


def _kept(name: str, make: Callable[..., Classifier], *given: object) -> Classifier:
    """The model of this name, as it was saved; made and saved if there is none."""
    folder = KEPT / name
    if not (folder / "config.json").exists():
        make(*given).save(folder)
    return al.load_classifier(folder)


def _distilled(
    teacher: Classifier | None, student: Classifier, splits: Splits, seed: int, **more: object
) -> Classifier:
    return compression.distil(teacher, student, splits, seed=seed, **more)


def _small(teacher: Classifier, splits: Splits, taught_by: Splits, seed: int) -> Classifier:
    """The chain but for its last step, int8: layers, neurons, word pieces, then the teacher."""
    some = splits.train.sample(500, seed=1)
    student = compression.prune_layers(teacher, keep=KEEP)
    student = compression.prune_neurons(student, WITHOUT, data=some, repair=some.texts)
    student = compression.trim_vocabulary(student, splits.train.texts, at_least=AT_LEAST)
    return _distilled(teacher, student, taught_by, seed)


def _with_more(teacher: Classifier, splits: Splits) -> Splits:
    """Splits with more training texts, about other things, that the teacher labels itself."""
    held_out = {*splits.train.texts, *splits.dev.texts, *splits.test.texts}
    others = [text for name in OTHERS for text in al.datasets.load(name).test.texts]
    others = [text for text in dict.fromkeys(others) if text not in held_out]
    answers = teacher.logits(teacher.encode(others), fast=True).argmax(1).tolist()
    known = splits.train.labels_in(teacher.label_names)
    train = TextDataset(
        [*splits.train.texts, *others],
        [*known, *answers],
        list(teacher.label_names),
        f"{splits.train.name} and more",
    )
    return Splits(train, splits.dev, splits.test)


def _from_scratch(clf: Classifier, splits: Splits) -> Classifier:
    """A student of three layers whose layers start at random, taught in the same way."""
    student = compression.prune_layers(clf, keep=KEEP)
    torch.manual_seed(0)
    for layer in al.heads.layer_list(student.model):
        layer.apply(student.model._init_weights)
    return _distilled(clf, student, splits, 0)


# ── figures ────────────────────────────────────────────────────────────────────────────────────


def _worth_of_a_teacher(
    clf: Classifier, students: dict[tuple[str, int], Classifier], test: TextDataset
) -> list[Row]:
    """The same student with and without a teacher: three seeds, paired text by text on test."""
    labels = _labels(clf, test)
    right = {
        name: [_answers(students[name, seed], test) == labels for seed in SEEDS]
        for name in ("taught", "alone")
    }
    shares = {name: np.mean(runs, axis=0) for name, runs in right.items()}  # of seeds, for a text
    gain = shares["taught"] - shares["alone"]
    low, high = paired_bootstrap(gain)
    return [
        *(
            row(
                f"compression.teacher.{name}",
                float(share.mean()),
                "test accuracy, three seeds",
                [float(one.mean()) for one in right[name]],
                n=len(labels),
            )
            for name, share in shares.items()
        ),
        row(
            "compression.teacher.gain",
            float(gain.mean()),
            "test accuracy, taught minus labels alone",
            low=float(low),
            high=float(high),
            n=len(labels),
        ),
    ]


def _chain(clf: Classifier, small: list[Classifier], test: TextDataset, data: str) -> list[Row]:
    """The chain, beside the untouched model in PyTorch and in ONNX Runtime, on test."""
    small_graphs = [_graph(f"{data}-small-{seed}", one, "int8") for seed, one in enumerate(small)]
    models = {
        "torch": clf,
        "onnx-float32": _graph(f"{data}-float32", clf),
        "onnx-int8": _graph(f"{data}-int8", clf, "int8"),
        "small": small_graphs[0],
    }
    table = compression.compare(models, test).set_index("name")
    start, rows = f"compression.{data}", []
    plain = table.loc["onnx-float32"]
    for name, one in table.iterrows():
        rows += [
            row(
                f"{start}.{name}.accuracy",
                one["accuracy"],
                "test accuracy",
                low=one["ci_low"],
                high=one["ci_high"],
                n=len(test),
            ),
            row(f"{start}.{name}.megabytes", one["megabytes"], "MB, weights"),
            row(f"{start}.{name}.peak_mb", one["peak_mb"], "MB, a process that answers 128 texts"),
        ]
        if name != "torch":
            rows.append(
                row(
                    f"{start}.{name}.change",
                    one["delta"],
                    "test accuracy minus the untouched",
                    low=one["delta_low"],
                    high=one["delta_high"],
                    n=len(test),
                )
            )
        for batch in (1, 32):
            ratio = plain[f"ms_batch_{batch}"] / one[f"ms_batch_{batch}"]
            rows.append(
                row(
                    f"{start}.{name}.speedup_{batch}",
                    ratio,
                    f"x of ONNX Runtime, float32, untouched, batch {batch}",
                )
            )
    if len(small) > 1:
        labels = _labels(clf, test)
        right = [_answers(graph, test) == labels for graph in small_graphs]
        change = np.mean(right, axis=0) - (_answers(clf, test) == labels)
        low, high = paired_bootstrap(change)
        rows.append(
            row(
                f"{start}.small.change_three_seeds",
                float(change.mean()),
                "test accuracy minus the untouched",
                low=float(low),
                high=float(high),
                n=len(test),
                by_seed=[float(one.mean()) for one in right],
                test_opened=2,  # once before, without the texts about other things
            )
        )
    return rows


def _graph(name: str, clf: Classifier, quantize: str | None = None) -> Classifier:
    """The classifier in ONNX Runtime."""
    folder = KEPT / "graphs" / name
    clf.export(folder, quantize=quantize, overwrite=True)
    return al.load_classifier(folder)


def _frontier(
    clf: Classifier, splits: Splits, taught: Classifier, from_scratch: Classifier
) -> list[Row]:
    """Chosen models and random ones in one table, on dev: is one of ours dominated by chance?"""
    some = splits.train.sample(500, seed=1)
    ours = {
        "untouched": clf,
        "heads-25": compression.prune_heads(clf, 0.25, data=some, repair=some.texts),
        "heads-50": compression.prune_heads(clf, 0.5, data=some, repair=some.texts),
        "neurons-25": compression.prune_neurons(clf, 0.25, data=some, repair=some.texts),
        "neurons-50": compression.prune_neurons(clf, 0.5, data=some, repair=some.texts),
        "neurons-75": compression.prune_neurons(clf, 0.75, data=some, repair=some.texts),
        "layers-5": compression.prune_layers(clf, 1, data=some),
        "taught-3": taught,
    }
    chance = {
        "random-heads-25": compression.prune_heads(clf, 0.25, by="random"),
        "random-heads-50": compression.prune_heads(clf, 0.5, by="random"),
        "random-neurons-25": compression.prune_neurons(clf, 0.25, by="random"),
        "random-neurons-50": compression.prune_neurons(clf, 0.5, by="random"),
        "random-neurons-75": compression.prune_neurons(clf, 0.75, by="random"),
        "random-layers-5": compression.prune_layers(clf, 1, by="random"),
        "random-start-3": from_scratch,
    }
    graphs = {name: _graph(name, one) for name, one in (ours | chance).items()}
    table = compression.compare(graphs, splits.dev, memory=False).set_index("name")
    beaten = sum(_dominated(table.loc[name], table.loc[list(chance)]) for name in ours)
    rows = [
        row(f"compression.frontier.{name}.{column}", one[column], unit)
        for name, one in table.iterrows()
        for column, unit in (
            ("accuracy", "dev accuracy"),
            ("ms_batch_1", "ms, one text, ONNX Runtime"),
            ("megabytes", "MB, weights"),
        )
    ]
    return [*rows, row("compression.frontier.beaten", beaten, f"of our {len(ours)} models")]


def _dominated(one: pd.Series, others: pd.DataFrame) -> bool:
    """Whether another is better and, by more than 3 %, quicker."""
    better = others["accuracy"] > one["accuracy"]
    quicker = others["ms_batch_1"] < 0.97 * one["ms_batch_1"]
    return bool((better & quicker).any())


def _exits(clf: Classifier, splits: Splits) -> list[Row]:
    """Leaving early: the threshold is chosen on dev, then accuracy and time are taken on test."""
    early, labels = compression.early_exit(clf, splits), _labels(clf, splits.test)
    chosen, rows = early.threshold, []
    whole = _answers(clf, splits.test) == labels
    for threshold in (0.3, 0.4, 0.5, chosen):
        early.threshold = threshold
        name = "chosen" if threshold == chosen else f"entropy-{threshold}"
        found = paired_test(whole, _answers(early, splits.test) == labels)
        table = compression.compare({"whole": clf, "early": early}, splits.test, memory=False)
        rows += [
            row(f"compression.exit.{name}.threshold", threshold, "nats"),
            row(
                f"compression.exit.{name}.change",
                found.delta,
                "test accuracy",
                low=found.low,
                high=found.high,
                n=len(labels),
            ),
            *(
                row(
                    f"compression.exit.{name}.speedup_{batch}",
                    table[f"ms_batch_{batch}"][0] / table[f"ms_batch_{batch}"][1],
                    f"x of the whole model in PyTorch, batch {batch}",
                )
                for batch in (1, 32)
            ),
        ]
    return rows


def _labels(clf: Classifier, data: TextDataset) -> np.ndarray:
    return np.array(data.labels_in(clf.label_names))


def _answers(model: object, data: TextDataset) -> np.ndarray:
    names = model.label_names
    return np.array([names.index(label) for label in model.predict(data.texts).labels])
