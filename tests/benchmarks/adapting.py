"""Adaptive attention: what fewer tokens cost and save, beside chance. Twenty minutes on one thread.

Everything is looked at on dev; test is opened once, for what was chosen there and its rivals.
"""

import numpy as np
import torch
from finetuning import trained
from rows import Row, accuracy, row

import attnlab as al
from attnlab import adaptive
from attnlab.adaptive.tokens import FewerTokens
from attnlab.compression import compare
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.statistics import paired_bootstrap, paired_test

LAYER = 1  # after which tokens go, counted from 0
SHARES = (0.7, 0.5, 0.3)
SEEDS = (0, 1, 2)  # of chance, of the texts that a scorer is fitted to, and of retraining
NEWS = [{0: 0.7}, {0: 0.5}, {1: 0.5}, {2: 0.5}, {1: 0.3}, {2: 0.3}, {0: 0.7, 2: 0.4}]
MOST_LOST = 0.005  # of accuracy on R8


def measure() -> list[Row]:
    """All parts."""
    torch.set_num_threads(1)
    return [*guides(), *retrained(), *by_input(), *times(), *news()]


def right(model: object, data: TextDataset) -> np.ndarray:
    """Which texts are answered correctly, float (N,)."""
    logits = model.logits(model.encode(data.texts))
    return (logits.argmax(-1).numpy() == np.array(data.labels)).astype(float)


def beside(name: str, mine: list[np.ndarray], theirs: list[np.ndarray], **more: object) -> Row:
    """The mean over seeds of a difference of accuracies on the same texts, with its interval."""
    change = np.mean(mine, axis=0) - np.mean(theirs, axis=0)
    low, high = paired_bootstrap(change)
    by_seed = [float(a.mean() - b.mean()) for a, b in zip(mine, theirs, strict=True)]
    more = {"low": float(low), "high": float(high), "by_seed": by_seed} | more
    return row(name, float(change.mean()), "share, difference", n=len(change), **more)


def ways(clf: al.Classifier, splits: Splits, share: float) -> dict[str, list[FewerTokens]]:
    """Every way to go on with a share of the tokens, one for each seed where chance has a say."""
    found = {
        by: [adaptive.drop_tokens(clf, {LAYER: share}, by)]
        for by in ("cls", "received", "norm", "first")
    }
    found["random"] = [adaptive.drop_tokens(clf, {LAYER: share}, "random", seed) for seed in SEEDS]
    found["scorer"] = [
        adaptive.drop_tokens(clf, {LAYER: share}, scorer) for scorer in scorers(clf, splits)
    ]
    if share >= 0.5:
        found["merge"] = [adaptive.merge_tokens(clf, {LAYER: share})]
    return found


def scorers(clf: al.Classifier, splits: Splits) -> list[adaptive.TokenScorer]:
    """Scorers of other texts each."""
    return [
        adaptive.token_scorer(clf, splits.train.texts, [LAYER], most=500, seed=seed)
        for seed in SEEDS
    ]


def guides() -> list[Row]:
    """Ways to choose tokens, on dev; on test the scorer at half of the tokens, beside chance."""
    splits, clf = al.datasets.load("movie-sentiment"), al.load_classifier("movie-sentiment")
    rows = []
    for part, shares in (("dev", SHARES), ("test", (0.5,))):
        data = getattr(splits, part)
        whole = right(clf, data)
        rows.append(accuracy(f"adaptive.tokens.whole.{part}_accuracy", whole))
        for share in shares:
            found = {
                by: [right(model, data) for model in models]
                for by, models in ways(clf, splits, share).items()
                if part == "dev" or by in ("scorer", "random")
            }
            for by, runs in found.items():
                name = f"adaptive.tokens.{by}.keep-{share}.{part}"
                rows.append(beside(f"{name}.minus_whole", runs, [whole] * len(runs)))
                if by != "random":
                    chance = [np.mean(found["random"], axis=0)] * len(runs)
                    rows.append(beside(f"{name}.minus_random", runs, chance))
    return rows


def retrained() -> list[Row]:
    """Half of the tokens after a retraining on 2,000 texts: scorer, attention and chance, dev."""
    splits, clf = al.datasets.load("movie-sentiment"), al.load_classifier("movie-sentiment")
    whole, runs = right(clf, splits.dev), {}
    for by in ("scorer", "cls", "random"):
        runs[by] = []
        for seed, scorer in zip(SEEDS, scorers(clf, splits), strict=True):
            guide = scorer if by == "scorer" else by
            few = adaptive.drop_tokens(clf, {LAYER: 0.5}, guide, seed)
            few = adaptive.retrain(
                few, splits.train, splits.dev, texts=2000, learning_rate=5e-5, seed=seed
            )
            runs[by].append(right(few, splits.dev))
    rows = []
    for by, each in runs.items():
        name = f"adaptive.tokens.{by}.keep-0.5.retrained.dev"
        rows.append(beside(f"{name}.minus_whole", each, [whole] * len(each)))
        if by != "random":
            rows.append(beside(f"{name}.minus_random", each, runs["random"]))
    return rows


def by_input() -> list[Row]:
    """Unequal shares by a signal, minus the same share for all and minus the shares shuffled."""
    splits, clf = al.datasets.load("movie-sentiment"), al.load_classifier("movie-sentiment")
    (scorer, *_), rows = scorers(clf, splits), []
    same = right(adaptive.drop_tokens(clf, {LAYER: 0.5}, scorer), splits.dev)
    for signal in ("entropy", "length"):
        few = adaptive.tokens_by_input(
            clf, splits.train, LAYER, scorer, easy=0.3, hard=0.7, mean=0.5, signal=signal
        )
        shares = adaptive.spent(few, splits.dev.texts)["share"].to_numpy()
        encoded, labels = few.encode(splits.dev.texts), np.array(splits.dev.labels)
        mine = right(few, splits.dev)
        mixed = []
        for seed in SEEDS:
            shuffled = np.random.default_rng(seed).permutation(shares)
            answers = few.logits(encoded, shares=shuffled).argmax(-1).numpy()
            mixed.append((answers == labels).astype(float))
        name, told = f"adaptive.by_input.{signal}.dev", {"mean_share": float(shares.mean())}
        rows.append(beside(f"{name}.minus_same_share", [mine], [same], **told))
        rows.append(beside(f"{name}.minus_shuffled", [mine] * len(mixed), mixed, **told))
    return rows


def times() -> list[Row]:
    """Milliseconds of a text, alone and in a batch of 32, relative to the whole classifier."""
    splits, clf = al.datasets.load("movie-sentiment"), al.load_classifier("movie-sentiment")
    (scorer, *_) = scorers(clf, splits)
    models = {
        f"{by}.keep-{share}": adaptive.drop_tokens(clf, {LAYER: share}, guide)
        for by, guide in (("cls", "cls"), ("scorer", scorer))
        for share in (1.0, *SHARES)
    }
    data = splits.dev.sample(320)
    table = compare({"whole": clf} | models, data, seconds=90, memory=False).set_index("name")
    whole = table.loc["whole"]
    return [
        row(
            f"adaptive.tokens.{name}.time_batch_{batch}",
            float(table.loc[name, f"ms_batch_{batch}"] / whole[f"ms_batch_{batch}"]),
            "x of the whole classifier",
            n=table.attrs["rounds"][batch],
        )
        for name in models
        for batch in (1, 32)
    ]


def news() -> list[Row]:
    """Reuters R8, long texts: the quickest schedule that surely loses little on dev; test once."""
    splits, clf = al.datasets.load("reuters-r8"), trained("reuters-r8", "full", 0)
    layers = sorted({layer for schedule in NEWS for layer in schedule})
    scorer = adaptive.token_scorer(clf, splits.train.texts, layers, most=300)
    whole, tried = right(clf, splits.dev), []
    for schedule in NEWS:
        few = adaptive.drop_tokens(clf, schedule, scorer)
        test = paired_test(whole == 1, right(few, splits.dev) == 1)
        tried.append((few.kept(splits.dev.texts), schedule, test))
    sure = [each for each in tried if each[2].delta >= -MOST_LOST] or tried
    _, schedule, _ = min(sure, key=lambda each: each[0])
    few = adaptive.drop_tokens(clf, schedule, scorer)
    table = compare({"whole": clf, "few": few}, splits.dev.sample(160), seconds=60, memory=False)
    told = {"schedule": {str(layer): share for layer, share in schedule.items()}}
    rows = [
        row(
            f"adaptive.r8.scorer.speedup_batch_{batch}",
            float(table[f"ms_batch_{batch}"][0] / table[f"ms_batch_{batch}"][1]),
            "x of the whole classifier",
            n=table.attrs["rounds"][batch],
            **told,
        )
        for batch in (1, 32)
    ]
    on_test, whole = right(few, splits.test), right(clf, splits.test)
    chance = [
        right(adaptive.drop_tokens(clf, schedule, "random", seed), splits.test) for seed in SEEDS
    ]
    rows.append(accuracy("adaptive.r8.whole.test_accuracy", whole))
    rows.append(beside("adaptive.r8.scorer.test.minus_whole", [on_test], [whole], **told))
    rows.append(beside("adaptive.r8.scorer.test.minus_random", [on_test] * 3, chance, **told))
    for kept, each, test in tried:
        name = "-".join(f"{layer}:{share}" for layer, share in each.items())
        interval = {"low": test.low, "high": test.high, "kept": kept}
        unit = "share, difference"
        rows.append(
            row(f"adaptive.r8.tried.{name}.dev", test.delta, unit, n=len(splits.dev), **interval)
        )
    return rows
