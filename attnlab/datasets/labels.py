"""Labels as people write them: which are missing, which mean the same, and their names in order.

Everything is read as text and converted here, once: ``007`` stays ``007``, and so do dates, long
numbers and booleans. Only ``1.0``, where all labels are such whole numbers, becomes ``1``: that is
how pandas writes whole numbers in a column with gaps.
"""

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pandas as pd

from attnlab.datasets.texts import normalise
from attnlab.errors import AttnlabWarning, DataError

# how pandas, spreadsheets, databases and people write that there is no value; case does not matter
_NO_VALUE = frozenset(
    [
        "#n/a",
        "#n/a n/a",
        "#na",
        "#div/0!",
        "#name?",
        "#null!",
        "#num!",
        "#ref!",
        "#value!",
        "-1.#ind",
        "-1.#qnan",
        "-nan",
        "1.#ind",
        "1.#qnan",
        "<na>",
        "<null>",
        "(null)",
        "[null]",
        "n/a",
        "n.a.",
        "na",
        "nan",
        "nat",
        "nil",
        "none",
        "null",
        "\\n",
        "?",
    ]
)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_WHOLE_WITH_POINT = re.compile(r"-?(0|[1-9]\d*)\.0+")


def written(value: Any, column: str) -> str | None:
    """A cell as text without spaces around it; None if it is empty or one of pandas' gaps.

    Raises
    ------
    DataError : a list or another value that is no single text
    """
    if isinstance(value, str):
        return value.strip() or None
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    if isinstance(value, bytes) or not pd.api.types.is_scalar(value):
        raise DataError(
            f"The column {column!r} holds {value!r:.60}, a {type(value).__name__}. Expected one "
            "text or label in each cell; several labels for one text are not for a classifier of "
            "one."
        )
    return str(value).strip()


def says_nothing(value: str | None) -> bool:
    """Whether a cell is empty, or says in one of the usual ways that there is no value.

    >>> [says_nothing(cell) for cell in (None, "", "NaN", "N/A", "null", "nancy")]
    [True, True, True, True, True, False]
    """
    return value is None or value.strip() == "" or value.strip().casefold() in _NO_VALUE


def with_decimals(labels: Sequence[str]) -> list[bool]:
    """Which labels are numbers that are not whole, if all labels are numbers."""
    if not all(_NUMBER.fullmatch(label) for label in labels):
        return [False] * len(labels)
    return [Decimal(label) % 1 != 0 for label in labels]


def numbered(
    labels: Sequence[str], name: str, examples: str = "texts"
) -> tuple[list[int], list[str]]:
    """Return labels as indices into their names, and the names: numbers by size, words by letter.

    Labels that differ only in case, spaces or number format stay apart, with an AttnlabWarning.
    """
    if all(_WHOLE_WITH_POINT.fullmatch(label) for label in labels):
        labels = [label.partition(".")[0] for label in labels]
    counts = Counter(labels)
    _warn_of_likeness(counts, name)
    names = sorted(counts)
    if all(_NUMBER.fullmatch(label) for label in names):
        names.sort(key=Decimal)
    if len(names) > 20 and len(names) > len(labels) / 2:
        warnings.warn(
            f"{name} has {len(names):,} different labels for {len(labels):,} {examples}. Labels "
            "should be few: check where they are taken from.",
            AttnlabWarning,
            stacklevel=4,
        )
    number = {label: index for index, label in enumerate(names)}
    return [number[label] for label in labels], names


def _warn_of_likeness(counts: Counter[str], name: str) -> None:
    """Point at labels that are written differently and probably mean the same."""
    alike: dict[str, list[str]] = {}
    for label in counts:
        alike.setdefault(_meaning(label), []).append(label)
    doubtful = [sorted(group) for group in alike.values() if len(group) > 1]
    if doubtful:
        told = "; ".join(
            " and ".join(f"{label!r} ({counts[label]:,})" for label in group)
            for group in doubtful[:3]
        )
        warnings.warn(
            f"{name} has labels that differ only in case, spaces, hyphens or number format: "
            f"{told}. They are kept apart, as different classes. If they mean the same, write them "
            "alike.",
            AttnlabWarning,
            stacklevel=5,
        )


def _meaning(label: str) -> str:
    """What is left of a label without its way of writing.

    >>> _meaning("Very  Good") == _meaning("very_good"), _meaning("007") == _meaning("7.0")
    (True, True)
    """
    if _NUMBER.fullmatch(label):
        return str(Decimal(label).normalize())
    visible = "".join(sign for sign in label if unicodedata.category(sign) != "Cf")
    return " ".join(re.split(r"[-_\s]+", normalise(visible)))
