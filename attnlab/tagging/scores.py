"""Scores of taggers, by whole entities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from attnlab.datasets.tagged import TaggedDataset, kinds_of, spans
from attnlab.errors import DataError, needs

RESAMPLES = 1000  # of the bootstrap


class Predicts(Protocol):
    """Anything that tags sentences of words: a Tagger, or the `baseline`."""

    tag_names: list[str]

    def predict(self, words: Sequence[Sequence[str]]) -> list[list[str]]:
        """Give each word of each sentence a tag."""


@dataclass(frozen=True, eq=False)
class TagScore:
    """What a tagger scored on n sentences: an entity is right if its kind and both ends are.

    Attributes
    ----------
    f1 : harmonic mean of precision and recall over all entities (micro average), 0 to 1
    stderr : its standard error: the standard deviation of F1 over 1000 bootstrap samples of n
        sentences, drawn with replacement. Sentences are drawn, not entities, as those of one
        sentence are not independent.
    precision : share of what was found that is right; 0 if nothing was found
    recall : share of what is there that was found
    accuracy : share of words with the right tag; high for anybody, as most words name nothing
    n : number of sentences
    entities : number of entities in them
    kinds : DataFrame with a row per kind: kind, precision, recall, f1, entities
    predictions : n lists of tag names
    """

    f1: float
    stderr: float
    precision: float
    recall: float
    accuracy: float
    n: int
    entities: int
    kinds: pd.DataFrame
    predictions: list[list[str]]

    def __repr__(self) -> str:
        return (
            f"TagScore(F1 {self.f1:.1%} ± {self.stderr:.1%}, precision {self.precision:.1%}, "
            f"recall {self.recall:.1%}, {self.entities:,} entities, n {self.n:,})"
        )


def score(tagger: Predicts, data: TaggedDataset) -> TagScore:
    """Measure a tagger on held-out sentences, by whole entities.

    Precision, recall and F1 are seqeval's, in its strict mode for IOB2. Words that a sentence is
    too long for have the tag O, so what they name counts as missed.

    Parameters
    ----------
    tagger : Tagger, or the `baseline`
    data : TaggedDataset of kinds that the tagger knows

    Raises
    ------
    DataError : no sentences, nothing named in them, or kinds that the tagger does not know
    """
    with needs("lab"):
        from seqeval.metrics import classification_report
        from seqeval.scheme import IOB2

    if not isinstance(data, TaggedDataset):
        raise DataError(f"{data!r} has no tags on its words to measure against.")
    refuse_unknown_tags(data, tagger.tag_names, "this tagger")
    refuse_untagged(data)
    truth = [data.named(index) for index in range(len(data))]
    guess = tagger.predict(data.words)
    report = classification_report(
        truth, guess, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
    )
    overall = report["micro avg"]
    rows = [
        {
            "kind": kind,
            "precision": float(report[kind]["precision"]),
            "recall": float(report[kind]["recall"]),
            "f1": float(report[kind]["f1-score"]),
            "entities": int(report[kind]["support"]),
        }
        for kind in kinds_of(data.tag_names)
        if kind in report
    ]
    return TagScore(
        f1=float(overall["f1-score"]),
        stderr=_bootstrap(truth, guess),
        precision=float(overall["precision"]),
        recall=float(overall["recall"]),
        accuracy=accuracy(truth, guess),
        n=len(data),
        entities=int(overall["support"]),
        kinds=pd.DataFrame(rows),
        predictions=guess,
    )


def accuracy(truth: list[list[str]], guess: list[list[str]]) -> float:
    """Return the share of words with the right tag."""
    both = zip(truth, guess, strict=True)
    right = [tag == said for pair in both for tag, said in zip(*pair, strict=True)]
    return float(np.mean(right))


def refuse_untagged(data: TaggedDataset) -> None:
    """Raise DataError if nothing is tagged."""
    if not any(spans(data.named(index)) for index in range(len(data))):
        raise DataError(
            f"Nothing is tagged in the {len(data)} sentences of {data.name}. Give sentences with "
            "B- and I- tags."
        )


def refuse_unknown_tags(data: TaggedDataset, tag_names: Sequence[str], who: str) -> None:
    """Raise DataError for tags that somebody does not know."""
    unknown = sorted({*data.tag_names} - {*tag_names})
    if unknown:
        raise DataError(
            f"{data.name} has the tags {', '.join(unknown[:6])}, and {who} know "
            f"{', '.join(kinds_of(tag_names))}. Give sentences with the same kinds of entity."
        )


def _bootstrap(truth: list[list[str]], guess: list[list[str]]) -> float:
    """Standard deviation of F1 over samples of sentences, drawn with replacement."""
    counts = []
    for tags, said in zip(truth, guess, strict=True):
        there, found = {*spans(tags)}, {*spans(said)}
        counts.append((2 * len(there & found), len(there) + len(found)))
    table = np.array(counts)  # (n, 2): F1 is the sum of the one over the sum of the other
    draw = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        right, all_of_them = table[draw.integers(len(table), size=len(table))].sum(0)
        values.append(right / max(all_of_them, 1))
    return float(np.std(values, ddof=1))
