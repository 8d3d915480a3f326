"""When adaptive attention breaks: small changes, heads that carry a flip, faithful explanations.

All on dev and one thread, ten minutes.
"""

import numpy as np
import torch
from rows import Row, row

import attnlab as al
from attnlab import adaptive
from attnlab.adaptive.disturbing import IMAGE_KINDS, TEXT_KINDS, TURNING_KINDS
from attnlab.statistics import paired_bootstrap

TEXTS, EXPLAINED, FLIPS = 400, 100, 40
SEEDS = (0, 1, 2)  # of orders by chance
TOGETHER = (1, 3, 6, 12, 24, 36)  # heads patched at once


def measure() -> list[Row]:
    """All parts."""
    torch.set_num_threads(1)
    return [*texts(), *images(), *patched(), *faithful()]


def texts() -> list[Row]:
    """What changes of a text do to answers and to attention."""
    data = al.datasets.load("movie-sentiment").dev.sample(TEXTS)
    return _robust(al.load_classifier("movie-sentiment"), data, (*TEXT_KINDS, *TURNING_KINDS))


def images() -> list[Row]:
    """The same of pictures."""
    data = al.datasets.load("mnist-5k").dev
    return _robust(al.load_image_classifier("mnist-5k"), data, IMAGE_KINDS)


def _robust(clf: object, data: object, kinds: tuple[str, ...]) -> list[Row]:
    table, rows = adaptive.robustness(clf, data, kinds), []
    for found in table.itertuples():
        name = f"adaptive.robust.{found.kind}"
        more = {"n": found.n, "changed": found.changed, "aligned": found.aligned}
        rows += [
            row(
                f"{name}.flips",
                found.flips,
                "share of answers",
                low=found.flips_low,
                high=found.flips_high,
                **more,
            ),
            row(
                f"{name}.accuracy_change",
                found.change,
                "share, difference",
                low=found.change_low,
                high=found.change_high,
                **more,
            ),
            row(f"{name}.attention_drift", found.attention, "bits", **more),
            row(f"{name}.contributions_drift", found.contributions, "bits", **more),
        ]
    return rows


def flips() -> list[tuple[str, str]]:
    """Texts and what changed their answers, of several kinds."""
    clf, data = al.load_classifier("movie-sentiment"), al.datasets.load("movie-sentiment").dev
    before = clf.logits(clf.encode(data.texts)).argmax(-1)
    found = []
    for kind in ("typos", "synonyms", "distractor"):
        changed = [adaptive.disturb(text, kind) for text in data.texts]
        after = clf.logits(clf.encode(changed)).argmax(-1)
        flipped = (before != after).nonzero().flatten().tolist()
        found += [(data.texts[index], changed[index]) for index in flipped]
    chosen = np.random.default_rng(0).permutation(len(found))[:FLIPS]
    return [found[index] for index in chosen]


def patched() -> list[Row]:
    """The best single heads; and many together, chosen on half of the flips, on the other half."""
    clf, pairs = al.load_classifier("movie-sentiment"), flips()
    table = adaptive.patching_effects(clf, pairs).sort_values("restored", ascending=False)
    rows = [
        row(
            f"adaptive.robust.patched.best-{rank}",
            found.restored,
            "share of the margin restored, mean",
            low=found.ci_low,
            high=found.ci_high,
            n=len(pairs),
            head=f"{found.layer}.{found.head}",
        )
        for rank, found in enumerate(table.head(3).itertuples(), 1)
    ]
    clear = int((table["ci_low"] > 0).sum())
    rows.append(row("adaptive.robust.patched.heads_above_0", clear, "heads", n=len(table)))
    half = len(pairs) // 2
    chosen = adaptive.patching_effects(clf, pairs[:half]).sort_values("restored", ascending=False)
    order = [*zip(chosen["layer"], chosen["head"], strict=True)]
    curves = np.array([_curve(clf, pair, order) for pair in pairs[half:]])  # (N, K)
    chance = np.mean([_by_chance(clf, pairs[half:], order, seed) for seed in SEEDS], axis=0)
    for column, count in enumerate(TOGETHER):
        for name, values in (
            ("restored", curves[:, column]),
            ("minus_random", curves[:, column] - chance[:, column]),
        ):
            low, high = paired_bootstrap(values)
            rows.append(
                row(
                    f"adaptive.robust.patched.together-{count}.{name}",
                    float(values.mean()),
                    "share of the margin",
                    low=float(low),
                    high=float(high),
                    n=len(values),
                )
            )
    return rows


def _by_chance(clf: object, pairs: list, order: list, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    shuffled = [order[index] for index in generator.permutation(len(order))]
    return np.array([_curve(clf, pair, shuffled) for pair in pairs])


def _curve(clf: object, pair: tuple[str, str], order: list) -> np.ndarray:
    found = adaptive.patching_curve(clf, *pair, order[: max(TOGETHER)])
    return found["restored"].to_numpy()[list(TOGETHER)]


def faithful() -> list[Row]:
    """Areas under deletion and insertion curves, against random orders of the same tokens."""
    data = al.datasets.load("movie-sentiment").dev.sample(EXPLAINED)
    curves = adaptive.deletion_curves(al.load_classifier("movie-sentiment"), data.texts)
    return [
        row(
            f"adaptive.faithful.{found.kind}.{found.method}.minus_random",
            found.better,
            "logits of margin, mean height; above 0 is better than chance",
            low=found.ci_low,
            high=found.ci_high,
            n=found.texts,
            area=found.area,
        )
        for found in adaptive.areas(curves).itertuples()
        if found.method != "random"
    ]
