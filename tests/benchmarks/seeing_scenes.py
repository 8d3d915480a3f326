"""Vision: questions about scenes, answered by words that look at patches and by simpler fusions.

All fusions read with a copy of one body that has learned to read single digits. Test and what was
held out are opened once for each run, whose outcome is kept (see seeing.py). Parts can be called
alone. Half an hour on one thread.
"""

from collections.abc import Sequence
from functools import cache, partial

import numpy as np
import torch
from rows import Row
from seeing import SEEDS, Outcome, difference, kept, mean_accuracy
from torch import Tensor, nn

import attnlab as al
from attnlab.datasets import scenes
from attnlab.vision.answer_training import train_answerer
from attnlab.vision.asking import Answerer
from attnlab.vision.bodies import Windows
from attnlab.vision.fusion import ModalityDropout
from attnlab.vision.training import fit, untrained

SINGLES = {"train": 8000, "dev": 500, "test": 500}  # pictures of one digit, for the body
QUESTIONS = {"train": 32000, "dev": 1000, "test": 2000, "held_out": 2000}
READING, ASKING = 800, 1500  # steps
FUSIONS = {  # and their seeds
    "cross-attention": SEEDS,
    "concatenation": SEEDS,
    "pooled": (0,),
    "late": (0,),
    "question": (0,),
    "image": (0,),
}
PARTS = ("test", "held_out")
DROPPED = 0.4  # share of examples that lose one modality
LOST = {"no-image": (False, True), "no-question": (True, False)}  # text, picture


def measure() -> list[Row]:
    """All parts."""
    return [*questions(), *places(), *one_missing()]


@cache
def asked(hold_out: str = "pairs") -> scenes.QuestionSplits:
    """Questions in four parts."""
    return scenes.questions(al.datasets.load("mnist-5k"), hold_out=hold_out, **QUESTIONS)


@cache
def body() -> Windows:
    """What reads scenes, quarter by quarter: it has learned to read one digit of any size."""
    singles = scenes.canvas(al.datasets.load("mnist-5k"), 28, clutter=0, sides=(15, 28), **SINGLES)
    reader = untrained(singles, patch=7, d_model=64, heads=4, layers=2, pool="mean")
    fit(reader, singles, steps=READING)
    return Windows(reader)


# ── by kind of question ────────────────────────────────────────────────────────────────────────


def questions() -> list[Row]:
    """Each fusion by kind of question, on test and on pairs of digits that were held out."""
    runs = {name: [_answered(name, seed) for seed in seeds] for name, seeds in FUSIONS.items()} | {
        "most-frequent": [kept("ask.most-frequent", _most_frequent)]
    }
    rows = []
    for part in PARTS:
        for name, own in runs.items():
            rows += _by_kind(f"vision.ask.{name}.{part}", own, part)
        for name in (name for name in runs if name != "cross-attention"):
            seeds = slice(len(runs[name]))
            pair = (runs["cross-attention"][seeds], runs[name])
            rows += _leads(f"vision.ask.over_{name}.{part}", *pair, part, f"minus {name}")
    return rows


def places() -> list[Row]:
    """Cross-attention where places of digits were held out instead; seed 0."""
    own = [_answered("cross-attention", 0, "places")]
    return [
        one for part in PARTS for one in _by_kind(f"vision.ask.places.{part}", own, part, "places")
    ]


def _answered(fusion: str, seed: int, hold_out: str = "pairs") -> Outcome:
    name = f"ask.{fusion}.{seed}" if hold_out == "pairs" else f"ask.{hold_out}.{fusion}.{seed}"
    return kept(name, lambda: _trained(fusion, seed, hold_out))


def _trained(fusion: str, seed: int, hold_out: str = "pairs", dropped: float = 0.0) -> Outcome:
    """Train a fusion; right answers to both parts and, for cross-attention, with one loss each."""
    asks = asked(hold_out)
    model = train_answerer(
        asks, body(), fusion=fusion, modality_dropout=dropped, steps=ASKING, seed=seed
    )
    outcome = {part: _right(model, getattr(asks, part)) for part in PARTS}
    if fusion == "cross-attention":
        trained = model.modality_dropout
        for name, lost in LOST.items():
            model.modality_dropout = _Missing(trained, *lost)
            outcome[name] = _right(model, asks.test)
    return outcome


def _right(model: Answerer, data: scenes.QuestionDataset) -> np.ndarray:
    answers = model.answer(data.images, data.questions).probabilities.argmax(-1)
    return answers == np.array(data.labels_in(model.answers))


def _most_frequent() -> Outcome:
    """To each kind of question the answer that is most frequent in training."""
    train = asked().train
    kinds, labels = np.array(train.kinds), np.array(train.labels)
    always = {kind: np.bincount(labels[kinds == kind]).argmax() for kind in scenes.KINDS}
    outcome = {}
    for part in PARTS:
        data = getattr(asked(), part)
        outcome[part] = np.array([always[kind] for kind in data.kinds]) == data.labels
    return outcome


def _of_kind(runs: Sequence[Outcome], part: str, kind: str, hold_out: str) -> list[Outcome]:
    chosen = np.array(getattr(asked(hold_out), part).kinds) == kind
    return [run | {part: run[part][chosen]} for run in runs]


def _by_kind(start: str, runs: Sequence[Outcome], part: str, hold_out: str = "pairs") -> list[Row]:
    return [
        mean_accuracy(f"{start}.{kind}", _of_kind(runs, part, kind, hold_out), part)
        for kind in scenes.KINDS
    ]


def _leads(
    start: str, ours: Sequence[Outcome], theirs: Sequence[Outcome], part: str, against: str
) -> list[Row]:
    what = f"right answers, cross-attention {against}, seeds {list(range(len(theirs)))}"
    return [
        difference(
            f"{start}.{kind}",
            _of_kind(ours, part, kind, "pairs"),
            _of_kind(theirs, part, kind, "pairs"),
            what,
            part,
        )
        for kind in scenes.KINDS
    ]


# ── one modality missing ───────────────────────────────────────────────────────────────────────


class _Missing(nn.Module):
    """Takes the text, or the picture, of every example, in place of modality dropout."""

    def __init__(self, trained: ModalityDropout, no_text: bool, no_image: bool):
        super().__init__()
        self.trained, self.lost = trained, (no_text, no_image)

    def forward(self, text: Tensor, mask: Tensor, patches: Tensor) -> tuple[Tensor, ...]:
        lost = (torch.full((len(text),), one) for one in self.lost)
        return self.trained.without(text, mask, patches, *lost)


def one_missing() -> list[Row]:
    """Cross-attention trained without and with modality dropout; seed 0, test questions.

    What is missing is replaced by the vector that modality dropout teaches; without it, that vector
    was never learned.
    """
    dropped = partial(_trained, "cross-attention", 0, dropped=DROPPED)
    runs = {
        "without": [_answered("cross-attention", 0)],
        "with": [kept("ask.modality-dropout.0", dropped)],
    }
    rows = []
    for name, key in (("whole", "test"), *((lost, lost) for lost in LOST)):
        rows += [
            mean_accuracy(f"vision.modality-dropout.{way}.{name}", own, key)
            for way, own in runs.items()
        ]
        what = f"right answers, with modality dropout minus without, {name}, seed 0"
        start = f"vision.modality-dropout.change.{name}"
        rows.append(difference(start, runs["with"], runs["without"], what, key))
    return rows
