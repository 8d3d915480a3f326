"""Texts with their translations."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from attnlab.errors import DataError

Span = tuple[int, int]  # characters, from the first to behind the last

PLACEHOLDER = r"%\d+|\{\d+\}|%s|&"  # what a program fills in: %1, {0}, %s, and the mark of a key


@dataclass(frozen=True, eq=False)
class ParallelDataset:
    """Texts with their translations: ``sources[i]`` means ``targets[i]``.

    Attributes
    ----------
    sources, targets : lists of N str
    name : str
    spans : list of N dicts or None: where in the source something stands that the target must say.
        For dates: ``{"year": (start, end), "month": ..., "day": ...}`` in characters.
    kinds : list of N str or None: which kind of example each pair is, to give a score for each kind
    """

    sources: list[str]
    targets: list[str]
    name: str
    spans: list[dict[str, Span]] | None = None
    kinds: list[str] | None = None

    def __post_init__(self) -> None:
        sizes = {
            field.name: len(getattr(self, field.name))
            for field in fields(self)
            if field.name != "name" and getattr(self, field.name) is not None
        }
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{size} {name}" for name, size in sizes.items())
            raise DataError(f"{self.name} has {told}. Give as many of each.")

    def __len__(self) -> int:
        return len(self.sources)

    def select(self, indices: Sequence[int] | np.ndarray) -> "ParallelDataset":
        """The pairs with these indices, in this order."""
        chosen = [int(index) for index in indices]

        return replace(
            self,
            sources=[self.sources[index] for index in chosen],
            targets=[self.targets[index] for index in chosen],
            spans=None if self.spans is None else [self.spans[index] for index in chosen],
            kinds=None if self.kinds is None else [self.kinds[index] for index in chosen],
        )

    def sample(self, n: int, seed: int = 0) -> "ParallelDataset":
        """At most ``n`` pairs, drawn at random from a seed; all of them if there are fewer."""
        return self.select(np.random.default_rng(seed).permutation(len(self))[:n])

    def __repr__(self) -> str:
        return f"ParallelDataset({self.name!r}, {len(self):,} pairs)"
