"""Narrower attention: what it loses in a real classifier, and what a window saves in time."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from adapting import SEEDS, beside, right
from finetuning import trained
from rows import Row, row
from torch.nn import functional as F

import attnlab as al
from attnlab.attention import scaled_dot_product_attention, window_attention, window_mask
from attnlab.balance.retraining import retrain
from attnlab.compression import compare
from attnlab.heads import Narrow, narrow

WAYS = {
    "top-8": Narrow("top-k", k=8),
    "top-4": Narrow("top-k", k=4),
    "hard": Narrow("hard"),
    "sparsemax": Narrow("sparsemax"),
    "entmax": Narrow("entmax"),
    "window-9": Narrow("window", window=4),
    "window-9-no-sinks": Narrow("window", window=4, sinks=False),
}
RETRAINED = ("hard", "window-9-no-sinks")  # what loses most
LENGTHS, WINDOWS = (256, 512, 1024, 2048), (32, 64, 128)
HEADS, WIDTH = 12, 32  # of the bundled encoder
ROUNDS = 15


def measure() -> list[Row]:
    """All parts, on two threads where time is taken."""
    torch.set_num_threads(2)
    rows = windows()
    torch.set_num_threads(1)
    return [*rows, *without_retraining(), *retrained(), *news()]


def windows() -> list[Row]:
    """Time of one attention, beside torch's own on the whole table, in turn; and how equal."""
    rows = []
    for tokens in LENGTHS:
        torch.manual_seed(0)
        q, k, v = torch.randn(3, 1, HEADS, tokens, WIDTH)
        ways: dict[str, Callable[[], object]] = {
            "dense": partial(F.scaled_dot_product_attention, q, k, v),
            "written": partial(scaled_dot_product_attention, q, k, v),
            **{str(window): partial(window_attention, q, k, v, window) for window in WINDOWS},
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        with torch.no_grad():
            for call in ways.values():
                call()
            for _ in range(ROUNDS):
                for name, call in ways.items():
                    began = time.perf_counter()
                    call()
                    taken[name].append(time.perf_counter() - began)
        middle = {name: statistics.median(each) for name, each in taken.items()}
        for window in WINDOWS:
            name = f"adaptive.window.tokens-{tokens}.window-{window}"
            for beside_what in ("dense", "written"):
                ratio = middle[beside_what] / middle[str(window)]
                rows.append(row(f"{name}.speedup_over_{beside_what}", ratio, "x", n=ROUNDS))
        mask = window_mask(tokens, WINDOWS[0])
        whole = F.scaled_dot_product_attention(q, k, v, mask)
        apart = float((window_attention(q, k, v, WINDOWS[0]) - whole).abs().max())
        rows.append(row(f"adaptive.window.tokens-{tokens}.largest_difference", apart, "absolute"))
    return rows


def without_retraining() -> list[Row]:
    """Accuracy on dev of movie-sentiment, beside the whole classifier on the same texts."""
    splits, clf = al.datasets.load("movie-sentiment"), al.load_classifier("movie-sentiment")
    whole = right(clf, splits.dev)
    return [
        beside(
            f"adaptive.narrow.{name}.dev.minus_whole",
            [right(narrow(clf, how), splits.dev)],
            [whole],
        )
        for name, how in WAYS.items()
    ]


def retrained() -> list[Row]:
    """The same after one epoch on 2,000 texts, beside the whole classifier trained as long."""
    splits, clf = al.datasets.load("movie-sentiment"), al.load_classifier("movie-sentiment")
    runs: dict[str, list[np.ndarray]] = {}
    for name in ("whole", *RETRAINED):
        start = clf if name == "whole" else narrow(clf, WAYS[name])
        runs[name] = [
            right(retrain(start, splits.train, splits.dev, seed=seed), splits.dev) for seed in SEEDS
        ]
    return [
        beside(f"adaptive.narrow.{name}.retrained.dev.minus_whole", runs[name], runs["whole"])
        for name in RETRAINED
    ]


def news() -> list[Row]:
    """Reuters R8, up to 128 tokens of text: what narrower attention loses, and a window's time."""
    splits, clf = al.datasets.load("reuters-r8"), trained("reuters-r8", "full", 0)
    dev = splits.dev
    whole = right(clf, dev)
    models = {name: narrow(clf, WAYS[name]) for name in ("top-8", "top-4", "window-9")}
    models["window-9-no-sinks"] = narrow(clf, WAYS["window-9-no-sinks"])
    rows = [
        beside(f"adaptive.narrow.r8.{name}.dev.minus_whole", [right(model, dev)], [whole])
        for name, model in models.items()
    ]
    table = compare(
        {"whole": clf, "window": models["window-9"]}, dev.sample(160), seconds=60, memory=False
    )
    return [
        *rows,
        *(
            row(
                f"adaptive.narrow.r8.window-9.speedup_batch_{batch}",
                float(table[f"ms_batch_{batch}"][0] / table[f"ms_batch_{batch}"][1]),
                "x of the whole classifier",
                n=table.attrs["rounds"][batch],
            )
            for batch in (1, 32)
        ),
    ]
