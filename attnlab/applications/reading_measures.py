"""How well lines are read, how far probabilities can be trusted, and whether the pointer points."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from attnlab.applications.edits import edit_distance, right_characters
from attnlab.applications.reading import Reader, Reading
from attnlab.datasets.printed import PrintedDataset, known_words
from attnlab.errors import DataError

__all__ = [
    "calibration_table",
    "pointer_table",
    "reading_table",
    "word_table",
]

Way = Callable[[Sequence[np.ndarray]], list[str]]
_DRAWS = 2000
_EDGES = (0.0, 0.5, 0.9, 0.99, 1.0)


def reading_table(
    ways: Mapping[str, Way], lines: Mapping[str, PrintedDataset], *, spaces: bool = True
) -> pd.DataFrame:
    """Compare ways to read on the same lines.

    Parameters
    ----------
    ways : functions from pictures to texts, such as ``lambda images: [one.text for one in
        reader.read(images)]`` and `by_ppocr`; the first is what others are compared with
    lines : data sets by name
    spaces : False leaves spaces out of both texts, as some readers write none

    Returns
    -------
    DataFrame with a row for each data set and way: ``lines``, ``way``, ``n``; ``exact``, the share
    of lines without a mistake; ``errors``, the character error rate: characters to insert, delete
    or replace for each that is there; ``more``, by how much that is above the first way's; each
    with its 95 % interval over lines (``_low``, ``_high``)
    """
    rows = []
    for name, data in lines.items():
        wanted = [_told(text, spaces) for text in data.texts]
        lengths = np.array([len(text) for text in wanted], dtype=float)
        first: np.ndarray | None = None
        for way, read in ways.items():
            found = read(data.images)
            if len(found) != len(wanted):
                raise DataError(f"{way} read {len(found)} lines of {len(wanted)}.")
            wrong = np.array(
                [
                    edit_distance(_told(text, spaces), other)
                    for text, other in zip(found, wanted, strict=True)
                ],
                dtype=float,
            )
            first = wrong if first is None else first
            one = np.ones(len(wanted))
            row = {"lines": name, "way": way, "n": len(wanted)}
            row |= _ratio("exact", (wrong == 0).astype(float), one)
            row |= _ratio("errors", wrong, lengths) | _ratio("more", wrong - first, lengths)
            rows.append(row)
    return pd.DataFrame(rows)


def word_table(ways: Mapping[str, Way], lines: Mapping[str, PrintedDataset]) -> pd.DataFrame:
    """How many words are read without a mistake: those that the training tales have, and new ones.

    A word counts if it has three letters or more and no digit. It is right if it stands in what was
    read, signs around it included.

    Returns
    -------
    DataFrame with a row for each data set, way and kind of word: ``right``, with its 95 % interval
    over lines, and ``n`` words
    """
    rows = []
    for name, data in lines.items():
        for way, read in ways.items():
            pairs = list(zip(read(data.images), data.texts, strict=True))
            for kind in ("known", "new"):
                right, count = [], []
                for found, wanted in pairs:
                    words = [word for word in wanted.split() if _kind(word) == kind]
                    there = found.split()
                    right.append(sum(word in there for word in words))
                    count.append(len(words))
                row = {"lines": name, "way": way, "words": kind, "n": sum(count)}
                rows.append(row | _ratio("right", np.array(right, float), np.array(count, float)))
    return pd.DataFrame(rows)


def calibration_table(readings: Sequence[Reading], texts: Sequence[str]) -> pd.DataFrame:
    """How often a character of some probability is right.

    Parameters
    ----------
    readings : of N lines
    texts : what stands there. A character is right if it has a partner in the shortest way to turn
        one text into the other.

    Returns
    -------
    DataFrame with a row for each range of probabilities: ``from``, ``to``, ``n`` characters,
    ``probability`` (mean), ``right`` (share), with its 95 % interval over lines
    """
    right = [right_characters(one.text, text) for one, text in zip(readings, texts, strict=True)]
    rows = []
    for low, high in itertools.pairwise(_EDGES):
        inside = [
            (one.probabilities >= low) & ((one.probabilities < high) | (high == 1))
            for one in readings
        ]
        count = np.array([own.sum() for own in inside], dtype=float)
        good = np.array([(own & ok).sum() for own, ok in zip(inside, right, strict=True)], float)
        total = sum(one.probabilities[own].sum() for one, own in zip(readings, inside, strict=True))
        row = {"from": low, "to": high, "n": int(count.sum())}
        row["probability"] = float(total / max(count.sum(), 1))
        rows.append(row | _ratio("right", good, count))
    return pd.DataFrame(rows)


def pointer_table(reader: Reader, data: PrintedDataset) -> pd.DataFrame:
    """Does the attention point at the letter being read? Only lines that are read without a mistake
    count, and no spaces.

    Returns
    -------
    DataFrame with a row for each way to point: "attention", the centre of the cross-attention;
    "proportional", character i of n at (i + 1/2) / n from where the line starts to where it ends,
    which takes no model, only the text; "middle", the centre of uniform attention. ``inside``, the
    share of characters whose own box the way points into; ``above``, by how much that is above
    "proportional"; each with its 95 % interval over lines; ``pixels``, the mean distance to the
    middle of the box; ``n`` characters
    """
    hits: dict[str, list[float]] = {"attention": [], "proportional": [], "middle": []}
    away: dict[str, float] = dict.fromkeys(hits, 0.0)
    counts = []
    for one, text, boxes in zip(reader.read(data.images), data.texts, data.boxes, strict=True):
        letters = np.array([character != " " for character in text])
        if one.text != text or not letters.any():
            continue
        start, end = boxes[0, 0], boxes[-1, 0] + boxes[-1, 2]
        places = {
            "attention": one.where,
            "proportional": start + (np.arange(len(text)) + 0.5) / len(text) * (end - start),
            "middle": np.full(len(text), one.columns.mean()),
        }
        for way, x in places.items():
            inside = (boxes[:, 0] <= x) & (x < boxes[:, 0] + boxes[:, 2])
            hits[way].append(float(inside[letters].sum()))
            away[way] += float(np.abs(x - boxes[:, 0] - boxes[:, 2] / 2)[letters].sum())
        counts.append(float(letters.sum()))
    count, base = np.array(counts), np.array(hits["proportional"])
    rows = []
    for way, own in hits.items():
        row = {"way": way, "n": int(count.sum())} | _ratio("inside", np.array(own), count)
        row |= _ratio("above", np.array(own) - base, count)
        rows.append(row | {"pixels": away[way] / max(count.sum(), 1)})
    return pd.DataFrame(rows)


def _told(text: str, spaces: bool) -> str:
    return text if spaces else text.replace(" ", "")


def _kind(word: str) -> str | None:
    """Whether a word is known from the training tales or new; None if it does not count."""
    bare = word.strip(".,;:!?'\"-()&/%").lower()
    if len(bare) < 3 or not bare.isalpha():
        return None
    return "known" if bare in known_words() else "new"


def _ratio(name: str, top: np.ndarray, bottom: np.ndarray) -> dict[str, float]:
    """A ratio of two sums over lines, with its 95 % interval: lines are drawn again."""
    if not bottom.sum():
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
    drawn = np.random.default_rng(0).integers(0, len(top), (_DRAWS, len(top)))
    sums = bottom[drawn].sum(1)
    values = top[drawn].sum(1)[sums > 0] / sums[sums > 0]
    low, high = np.quantile(values, [0.025, 0.975])
    value = top.sum() / bottom.sum()
    return {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}


def __dir__() -> list[str]:
    return sorted(__all__)
