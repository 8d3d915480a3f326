"""Inside language models: induction heads, ablation that breaks them, attention sinks. Two minutes.

Induction on three seeds, each with its own model and sequences; scores and ablation on sequences
that no model was trained on.
"""

import math
import statistics

import pandas as pd
import torch
from rows import Row, row

import attnlab as al
from attnlab.language import (
    ablate_language_model,
    induction_scores,
    previous_token_scores,
    repeated_sequences,
    sink_shares,
    token_losses,
    train_induction,
)

SEEDS = (0, 1, 2)
STEPS, FIXED = 450, 24
LEARNED = 0.5  # nats per token: below, a model counts as having learned to repeat
TEXTS = 200  # of movie reviews, for BERT's sinks
NATS = math.log(2)  # in a bit


def measure() -> list[Row]:
    """All parts."""
    torch.set_num_threads(1)
    return [*induction(), *one_layer(), *bert_sinks()]


def induction() -> list[Row]:
    """Two layers: how far and when the loss falls, the heads that do it, and the model without."""
    found = pd.DataFrame([two_layers(seed) for seed in SEEDS])
    units = {
        "loss": "nats per token of the second half, two layers, varying halves",
        "step": f"steps until that loss is below {LEARNED}",
        "drop_steps": "steps in which it falls from 3.5 to 0.5",
        "induction_score": "mean weight, best head",
        "previous_token_score": "mean weight, best head",
        "loss_without_induction_head": "nats per token of the second half, best head ablated",
        "loss_without_previous_token_head": "nats per token of the second half, best head ablated",
    }
    return [spread(f"language.induction.{name}", found[name], unit) for name, unit in units.items()]


def two_layers(seed: int) -> dict[str, float]:
    """What one model of two layers shows."""
    model, history = train_induction(2, STEPS, seed)
    fresh = repeated_sequences(256, seed=500 + seed)
    seen: list = []
    with torch.no_grad():
        model(fresh.ids, fresh.mask, seen=seen)
    copying = induction_scores(seen, fresh.ids, fresh.mask)
    before = previous_token_scores(seen, fresh.mask)
    table = ablate_language_model(model, fresh.ids, mask=fresh.mask, counted=fresh.second)
    without = NATS * table.set_index(["layer", "head"])["bits"]
    step = first_below(history, LEARNED)
    return {
        "loss": NATS * table.attrs["bits"],
        "step": step,
        "drop_steps": step - first_below(history, 3.5),
        "induction_score": float(copying.scores.max()),
        "previous_token_score": float(before.scores.max()),
        "loss_without_induction_head": without[copying.best],
        "loss_without_previous_token_head": without[before.best],
    }


def one_layer() -> list[Row]:
    """One layer: it fails on varying halves; with a fixed one it learns how far back to look."""
    varying, fixed, transferred, scores = [], [], [], []
    for seed in SEEDS:
        varying.append(train_induction(1, STEPS, seed)[1]["loss"].iloc[-1])
        model, history = train_induction(1, STEPS, seed, fixed=FIXED)
        fixed.append(history["loss"].iloc[-1])
        scores.append(history["induction"].iloc[-1])
        fresh = repeated_sequences(256, seed=500 + seed)
        losses = token_losses(model, fresh.ids, fresh.mask)
        transferred.append(NATS * float(losses[fresh.second].mean()))
    unit = "nats per token of the second half, one layer"
    name = "language.induction.one_layer"
    return [
        spread(f"{name}.loss", varying, f"{unit}, varying halves"),
        spread(f"{name}.fixed_loss", fixed, f"{unit}, halves of {FIXED}"),
        spread(f"{name}.fixed_score", scores, f"induction score, best head, halves of {FIXED}"),
        spread(
            f"{name}.fixed_loss_on_varying",
            transferred,
            f"{unit}, trained on halves of {FIXED}, measured on varying ones",
        ),
    ]


def bert_sinks() -> list[Row]:
    """How much the bundled BERT looks at [CLS] and [SEP], layer by layer, beside a uniform head."""
    clf = al.load_classifier("movie-sentiment")
    texts = al.datasets.load("movie-sentiment").dev.texts[:TEXTS]
    marks = {"cls": 0, "sep": -1}
    shares: dict[str, list[torch.Tensor]] = {name: [] for name in marks}
    uniform = []
    for text in texts:
        maps = clf.attend(text)
        for name, position in marks.items():
            found = sink_shares(maps, position)
            shares[name].append(found.scores.mean(1))
        uniform.append(found.uniform)
    rows = [
        row(
            "language.sinks.bert_uniform",
            statistics.mean(uniform),
            "share of a uniform head",
            n=TEXTS,
            low=min(uniform),
            high=max(uniform),
        )
    ]
    for name in marks:
        by_layer = torch.stack(shares[name]).mean(0).tolist()
        rows.append(
            row(
                f"language.sinks.bert_{name}",
                statistics.mean(by_layer[1:]),
                "mean share, layers from 1 on; low and high: of a layer",
                n=TEXTS,
                low=min(by_layer[1:]),
                high=max(by_layer[1:]),
                by_layer=by_layer,
            )
        )
    return rows


def first_below(history: pd.DataFrame, loss: float) -> int:
    """The first measured step at which the loss is below; the last one if it never is."""
    below = history.loc[history["loss"] < loss, "step"]
    return int(below.iloc[0]) if len(below) else int(history["step"].iloc[-1])


def spread(name: str, values: object, unit: str) -> Row:
    """The mean over seeds; low and high are the extremes."""
    runs = [float(value) for value in values]
    return row(name, statistics.mean(runs), unit, runs, by_seed=runs)
