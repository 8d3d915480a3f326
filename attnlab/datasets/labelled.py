"""What all data sets with one label for each example share: checks, samples, matching by name."""

import re
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from attnlab.errors import DataError, worded

_LIST = re.compile(r"[\[({]\s*['\"].*['\"]\s*,?\s*[\])}]")  # how a list of labels is printed


class Labelled:
    """One label for each example, an index into ``label_names``; what the examples are, it leaves.

    Attributes
    ----------
    labels : list of N int
    label_names : list of str
    name : str
    """

    labels: list[int]
    label_names: list[str]
    name: str
    examples: ClassVar[str]  # "texts", for messages

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Sequence[int] | np.ndarray) -> Self:
        """The examples with these indices, in this order."""
        raise NotImplementedError

    def sample(self, n: int, seed: int = 0) -> Self:
        """At most ``n`` examples, drawn at random from a seed; all of them if there are fewer."""
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

    def check_labels(self, n: int) -> None:
        """Raise DataError unless there is one label for each of ``n`` examples, all with a name."""
        one = self.examples.removesuffix("s")
        lists = [name for name in self.label_names if _LIST.fullmatch(str(name))]
        wrong = [label for label in self.labels if not isinstance(label, int | np.integer)]
        if lists or wrong:
            raise DataError(
                f"{self.name} has the label {(lists or wrong)[0]!r}. Expected one label for each "
                f"{one}, as an index into label_names: {self.examples} with several labels are not "
                "for a classifier that chooses one, nor are numbers with decimals."
            )
        if n != len(self.labels):
            raise DataError(
                f"{self.name} has {n} {self.examples} and {len(self.labels)} labels. Give each "
                f"{one} one."
            )
        wrong = [label for label in self.labels if not 0 <= label < len(self.label_names)]
        if wrong:
            raise DataError(
                f"{self.name} has the label {wrong[0]!r}, which is no index into its label names "
                f"{list(self.label_names)[:8]}. Labels are numbers from 0."
            )
