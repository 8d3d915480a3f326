"""Labelled texts, and the normalised form that says whether two texts are the same."""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from attnlab.datasets.labelled import Labelled


@dataclass(frozen=True, eq=False)
class TextDataset(Labelled):
    """Labelled texts.

    Attributes
    ----------
    texts : list of N str
    labels : list of N int, indices into label_names
    label_names : list of str
    name : str
    ratings : DataFrame or None, N rows: what the human raters said, where there were several.
        Columns ``mean`` (as published, in [-4, 4]; it decides the label), ``std`` (population
        standard deviation of the raw ratings) and ``raters`` (how many).

    Raises
    ------
    DataError : other than one label for each text
    """

    texts: list[str]
    labels: list[int]
    label_names: list[str]
    name: str
    ratings: pd.DataFrame | None = None

    examples = "texts"

    def __post_init__(self) -> None:
        self.check_labels(len(self.texts))

    def select(self, indices: Sequence[int] | np.ndarray) -> "TextDataset":
        """The texts with these indices, in this order."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            texts=[self.texts[index] for index in chosen],
            labels=[self.labels[index] for index in chosen],
            ratings=None
            if self.ratings is None
            else self.ratings.iloc[chosen].reset_index(drop=True),
        )

    def to_frame(self) -> pd.DataFrame:
        """A table with columns ``text`` and ``label`` (the label's name), and ratings if any."""
        frame = pd.DataFrame(
            {"text": self.texts, "label": [self.label_names[label] for label in self.labels]}
        )
        return frame if self.ratings is None else frame.join(self.ratings.reset_index(drop=True))

    def __repr__(self) -> str:
        return f"TextDataset({self.name!r}, {len(self):,} texts, labels {self.label_names[:8]})"


def normalise(text: str) -> str:
    """The form that decides whether two texts are the same: case and spacing do not matter.

    >>> normalise("  A  good\\tFILM ")
    'a good film'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_hash(text: str) -> str:
    """The sha256 of a normalised text, in hexadecimal: it orders texts alike everywhere."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()
