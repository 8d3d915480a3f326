"""Labelled texts, and the normalised form that says whether two texts are the same."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from attnlab.errors import DataError, worded

_LIST = re.compile(r"[\[({]\s*['\"].*['\"]\s*,?\s*[\])}]")  # how a list of labels is printed


@dataclass(frozen=True, eq=False)
class TextDataset:
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

    def __post_init__(self) -> None:
        lists = [name for name in self.label_names if _LIST.fullmatch(str(name))]
        wrong = [label for label in self.labels if not isinstance(label, int | np.integer)]
        if lists or wrong:
            raise DataError(
                f"{self.name} has the label {(lists or wrong)[0]!r}. Expected one label for each "
                "text, as an index into label_names: texts with several labels are not for a "
                "classifier that chooses one, nor are numbers with decimals."
            )
        if len(self.texts) != len(self.labels):
            raise DataError(
                f"{self.name} has {len(self.texts)} texts and {len(self.labels)} labels. Give each "
                "text one."
            )
        wrong = [label for label in self.labels if not 0 <= label < len(self.label_names)]
        if wrong:
            raise DataError(
                f"{self.name} has the label {wrong[0]!r}, which is no index into its label names "
                f"{list(self.label_names)[:8]}. Labels are numbers from 0."
            )

    def __len__(self) -> int:
        return len(self.texts)

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

    def sample(self, n: int, seed: int = 0) -> "TextDataset":
        """At most ``n`` texts, drawn at random from a seed; all of them if there are fewer."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.select(order[:n])

    def labels_in(self, label_names: Sequence[str]) -> list[int]:
        """The labels as indices into other label names, matched by name.

        Raises
        ------
        DataError : a label that is not among them
        """
        unknown = [name for name in self.label_names if name not in label_names]
        if unknown:
            raise DataError(
                f"{self.name} has labels {self.label_names}, expected are {list(label_names)}; "
                f"{', '.join(map(repr, unknown[:5]))} is not among them. If they mean the same, "
                + worded(
                    "in the same order, give one the names of the other: clf.label_names = "
                    "data.label_names.",
                    "give them the same names in the file.",
                )
            )
        return [label_names.index(self.label_names[label]) for label in self.labels]

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
