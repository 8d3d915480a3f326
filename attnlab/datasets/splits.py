"""Train, dev and test: a data set in three parts, split the same way on every machine."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attnlab.datasets.labelled import Labelled
from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.pictures import ImageDataset, SceneDataset
from attnlab.datasets.tagged import TaggedDataset
from attnlab.datasets.texts import TextDataset, text_hash
from attnlab.errors import DataError, worded

Dataset = TextDataset | ParallelDataset | TaggedDataset | ImageDataset | SceneDataset


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three parts. A set that is for testing only has empty train and dev parts.

    Attributes
    ----------
    train, dev, test : all three data sets of one kind, such as a TextDataset or an ImageDataset
    """

    train: Any
    dev: Any
    test: Any

    def sample(
        self,
        train: int | None = None,
        dev: int | None = None,
        test: int | None = None,
        seed: int = 0,
    ) -> "Splits":
        """At most so many of each part, drawn at random from a seed; None for all of them."""
        wanted = {"train": train, "dev": dev, "test": test}
        parts = {
            name: getattr(self, name).sample(n, seed) for name, n in wanted.items() if n is not None
        }
        return replace(self, **parts)

    def __repr__(self) -> str:
        return (
            f"Splits({self.test.name!r}: {len(self.train):,} train, {len(self.dev):,} dev, "
            f"{len(self.test):,} test)"
        )


def split(dataset: Dataset, dev: int | float = 0.1, test: int | float = 0.1) -> Splits:
    """Split a data set into train, dev and test, the same way on every machine.

    Parameters
    ----------
    dataset : texts with labels, texts with translations, sentences with tagged words, or pictures
    dev, test : how many texts or pictures, or which share of them if below 1

    Each label has its share in each part (stratified). Texts (sources, sentences) are ordered by a
    hash of their normalised form, pictures by one of their pixels, and copies of one stay together,
    so that a part may be larger by a few.

    Raises
    ------
    DataError : parts that do not fit, or leave nothing for training
    """
    return split_by(_keys_of(dataset), dataset, dev, test)


def split_by(keys: Sequence[str], dataset: Any, dev: int | float, test: int | float) -> Splits:
    """Split so that what has the same key stays together, in the order of the keys."""
    wanted = {
        part: round(size * len(dataset)) if 0 < size < 1 else int(size)
        for part, size in (("test", test), ("dev", dev))
    }
    if min(wanted.values()) < 0 or sum(wanted.values()) >= len(dataset):
        what = "pictures" if isinstance(dataset, ImageDataset | SceneDataset) else "texts"
        raise DataError(
            f"dev={dev} and test={test} do not fit {len(dataset)} {what}. "
            + worded(
                f"Give numbers of {what}, or shares below 1, that leave something for training.",
                f"Bring more {what}.",
            )
        )
    labels = dataset.labels if isinstance(dataset, Labelled) else [0] * len(dataset)
    classes = len(dataset.label_names) if isinstance(dataset, Labelled) else 1
    order = sorted(range(len(dataset)), key=lambda index: (keys[index], index))
    quota = {
        part: _quota([labels[index] for index in order], count, classes)
        for part, count in wanted.items()
    }
    parts: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    part_of: dict[str, str] = {}
    for index in order:
        key, label = keys[index], labels[index]
        if key not in part_of:
            part_of[key] = next((part for part in quota if quota[part][label] > 0), "train")
        part = part_of[key]
        if part in quota:
            quota[part][label] -= 1
        parts[part].append(index)
    return Splits(**{part: dataset.select(indices) for part, indices in parts.items()})


def _keys_of(dataset: Dataset) -> list[str]:
    """A hash of each example: copies have the same, and it orders them alike everywhere."""
    if isinstance(dataset, ImageDataset | SceneDataset):
        return [picture_hash(image) for image in dataset.images]
    if isinstance(dataset, TextDataset):
        texts = dataset.texts
    elif isinstance(dataset, ParallelDataset):
        texts = dataset.sources
    else:
        texts = [" ".join(words) for words in dataset.words]
    return [text_hash(text) for text in texts]


def picture_hash(image: np.ndarray) -> str:
    """The sha256 of a picture's pixels, in hexadecimal."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def _quota(labels: list[int], count: int, classes: int) -> list[int]:
    """How many of each label make up ``count``, in proportion, by largest remainder."""
    exact = np.bincount(labels, minlength=classes) * count / max(len(labels), 1)
    whole = np.floor(exact).astype(int)
    for label in np.argsort(whole - exact, kind="stable")[: count - whole.sum()]:
        whole[label] += 1
    return whole.tolist()
