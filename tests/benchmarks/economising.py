"""Economics: formulas and predictions against what is counted and measured, search against chance.

Everything is chosen on dev; test is opened once, for the rows that say so.
"""

import statistics
import time
from dataclasses import replace

import numpy as np
from rows import Row, row
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import attnlab as al
from attnlab import compression, economics
from attnlab.classification.classifier import Classifier
from attnlab.datasets.splits import Splits
from attnlab.economics.passes import build, forward_pass
from attnlab.economics.sub_networks import random_shapes
from attnlab.statistics import paired_bootstrap

FAMILIES = {"bert": 2, "electra": 2, "roberta": 1, "camembert": 1, "distilbert": 0}  # text types
CELLS = ((32, 1), (32, 32), (128, 1), (128, 32))  # tokens and texts
SEEDS = (0, 1, 2, 3, 4)
MINUTES = 1.0  # that each search has
DRAWS = 10
LOWEST = 0.25  # of the FLOPs, from where the area under a frontier counts


def measure() -> list[Row]:
    """What it costs, what is predicted, and what a search finds; half an hour on two cores."""
    clf, splits = al.load_classifier("movie-sentiment"), al.datasets.load("movie-sentiment")
    return [
        *_formulas(),
        *_predictions(clf),
        *_half(clf, splits),
        *_thirty(clf, splits),
        *_search_and_chance(clf, splits),
    ]


# ── costs ──────────────────────────────────────────────────────────────────────────────────────


def _formulas() -> list[Row]:
    """FLOPs by formula against torch's count: five families, each whole and seven times pruned."""
    whole = economics.shape_of(al.load_classifier("movie-sentiment"))
    equal = []
    for family, types in FAMILIES.items():
        shape = replace(whole, family=family, vocabulary=99, types=types)
        for one in (shape, *random_shapes(shape, 7)):
            for tokens, batch in CELLS[:3]:
                equal.append(_counted(one, tokens, batch) == economics.flops(one, tokens, batch))
    return [
        row(
            "economics.flops.equal",
            float(np.mean(equal)),
            "share of cases in which the formula equals torch's count",
            n=len(equal),
        )
    ]


def _counted(shape: economics.Shape, tokens: int, batch: int) -> int:
    call = forward_pass(build(shape), tokens, batch)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


def _predictions(clf: Classifier) -> list[Row]:
    """A latency table against 30 sub-networks that it was not made from."""
    lengths, batches = sorted({cell[0] for cell in CELLS}), sorted({cell[1] for cell in CELLS})
    table = economics.LatencyTable.measure(economics.shape_of(clf), lengths, batches)
    errors = table.check(30).attrs["errors"]
    return [
        row(
            f"economics.latency.error_{int(one['tokens'])}_{int(one['batch'])}",
            one["median"],
            f"median of |predicted / measured - 1|, {int(one['batch'])} texts of "
            f"{int(one['tokens'])} tokens",
            high=one["p95"],
            n=30,
            drift=one["drift"],
            relative=one["relative"],
        )
        for _, one in errors.iterrows()
    ]


# ── what is found ──────────────────────────────────────────────────────────────────────────────


def _half(clf: Classifier, splits: Splits) -> list[Row]:
    """Half of the FLOPs: chosen, by chance and retrained, on test, and how much faster."""
    shape = economics.shape_of(clf)
    budget = economics.Budget(flops=economics.flops(shape, 32) / 2)
    found = economics.search(clf, splits, budget, minutes=3)
    market = economics.Market(shape, economics.importance(clf, splits.train.sample(500)), budget)
    generator = np.random.default_rng(0)
    drawn = [market.random(generator).apply(clf) for _ in range(DRAWS)]
    learnt = compression.distil(clf, found.best, splits)
    whole, chosen, retrained, *chance = (
        _right(one, splits) for one in (clf, found.best, learnt, *drawn)
    )
    random = np.mean(chance, axis=0)
    models = {"whole": clf, "half": found.best}
    times = {batch: economics.latency(models, 32, batch)["ms_quiet"] for batch in (1, 32)}
    low, high = paired_bootstrap(chosen - random)
    rows = [
        row("economics.half.chance", float(random.mean()), "test accuracy, mean of ten draws",
            [float(one.mean()) for one in chance], n=len(random)),
        row("economics.half.above_chance", float((chosen - random).mean()),
            "test accuracy, chosen minus the mean of ten draws", low=float(low), high=float(high),
            n=len(random)),
    ]  # fmt: skip
    for name, right in (("chosen", chosen), ("retrained", retrained)):
        low, high = paired_bootstrap(right.astype(float) - whole)
        rows += [
            row(f"economics.half.{name}.accuracy", float(right.mean()), "test accuracy"),
            row(
                f"economics.half.{name}.change",
                float(right.mean() - whole.mean()),
                "test accuracy minus that of the whole classifier",
                low=float(low),
                high=float(high),
                n=len(right),
            ),
        ]
    return rows + [
        row(f"economics.half.speedup_{batch}", ms[0] / ms[1], f"x of the whole, {batch} texts")
        for batch, ms in times.items()
    ]


def _thirty(clf: Classifier, splits: Splits) -> list[Row]:
    """Minutes for accuracy on 1,000 sentences and milliseconds of 30 sub-networks."""
    budget = economics.Budget(flops=economics.flops(economics.shape_of(clf), 32) / 2)
    start = time.perf_counter()
    found = economics.search(clf, splits, budget, minutes=30, most=30)
    models = {str(number): point.plan.apply(clf) for number, point in enumerate(found.points)}
    economics.latency(models, 32, 1)
    seconds = time.perf_counter() - start
    return [row("economics.thirty.seconds", seconds, "s, importance included", n=len(models))]


def _search_and_chance(clf: Classifier, splits: Splits) -> list[Row]:
    """The search against random search with the same minutes: five seeds.

    Each chooses the best for every budget on one half of the dev sentences; the other half says how
    good the choices are.
    """
    whole = economics.flops(economics.shape_of(clf), 32)
    budget = economics.Budget(flops=whole / 2)
    areas: dict[str, list[float]] = {"all": [], "random": []}
    counts: dict[str, list[int]] = {"all": [], "random": []}
    for seed in SEEDS:
        for strategy in ("all", "random"):
            found = economics.search(
                clf, splits, budget, minutes=MINUTES, strategy=strategy, seed=seed
            )
            areas[strategy].append(_area(found, LOWEST * whole, whole / 2))
            counts[strategy].append(len(found.points))
    gains = [ours - theirs for ours, theirs in zip(*areas.values(), strict=True)]
    return [
        *(
            row(
                f"economics.search.area_{name}",
                statistics.mean(values),
                f"mean dev accuracy over budgets, {MINUTES:g} minute",
                values,
                sub_networks=counts[name],
            )
            for name, values in areas.items()
        ),
        row("economics.search.area_gain", statistics.mean(gains), "search minus chance", gains),
        row(
            "economics.search.better",
            sum(gain > 0 for gain in gains),
            f"of {len(gains)} seeds in which the search is better than chance",
        ),
    ]


def _area(found: economics.SearchResult, low: float, high: float) -> float:
    """Mean accuracy over FLOPs from low to high, of what is chosen on every second sentence."""
    costs, correct = found.table["flops"].to_numpy(), found.correct
    chosen_by, judged_by = correct[:, ::2].mean(1), correct[:, 1::2].mean(1)
    edges = np.unique(np.clip([low, high, *costs], low, high))
    buys = [
        judged_by[np.where(costs <= edge, chosen_by, -1).argmax()] if (costs <= edge).any() else 0.0
        for edge in edges[:-1]
    ]
    return float(np.dot(buys, np.diff(edges)) / (high - low))


def _right(clf: Classifier, splits: Splits) -> np.ndarray:
    labels = np.array(splits.test.labels_in(clf.label_names))
    return clf.logits(clf.encode(splits.test.texts)).argmax(1).numpy() == labels
