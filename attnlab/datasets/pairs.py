"""Texts with their translations: what they are, read from a file, and split without near-duplicates."""

import csv
import hashlib
import os
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from attnlab.errors import AttnlabWarning, DataError, suggest

Span = tuple[int, int]  # characters, from the first to behind the last

NEAR = 0.7  # cosine of letter trigrams from which two texts are near-duplicates
PLACEHOLDER = r"%\d+|\{\d+\}|%s|&"  # what a program fills in: %1, {0}, %s, and the mark of a key


@dataclass(frozen=True, eq=False)
class ParallelDataset:
    """Texts with their translations: ``sources[i]`` means ``targets[i]``.

    Attributes
    ----------
    sources, targets : lists of N str
    name : str
    spans : list of N dicts or None: where in the source something stands that the target must say. For
        dates: ``{"year": (start, end), "month": ..., "day": ...}`` in characters.
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
        """The pairs at these places, in this order."""
        places = [int(index) for index in indices]

        def some(values: list | None) -> list | None:
            return None if values is None else [values[place] for place in places]

        return replace(
            self,
            sources=some(self.sources),
            targets=some(self.targets),
            spans=some(self.spans),
            kinds=some(self.kinds),
        )

    def sample(self, n: int, seed: int = 0) -> "ParallelDataset":
        """At most ``n`` pairs, drawn at random from a seed; all of them if there are fewer."""
        return self.select(np.random.default_rng(seed).permutation(len(self))[:n])

    def __repr__(self) -> str:
        return f"ParallelDataset({self.name!r}, {len(self):,} pairs)"


def normalise(text: str) -> str:
    """The form of a text that decides whether two texts are the same: case and spacing do not matter.

    >>> normalise("  A  good\\tFILM ")
    'a good film'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_hash(text: str) -> str:
    """The sha256 of a normalised text, in hexadecimal: an order of texts that is the same everywhere."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


# ── a file of one's own ────────────────────────────────────────────────────────────────────────


def pairs_from_file(
    path: str | os.PathLike[str],
    source: str | None = None,
    target: str | None = None,
    name: str | None = None,
) -> ParallelDataset:
    """Read your own pairs from a file with two columns, in UTF-8.

    Parameters
    ----------
    path : a .csv file (cells with a comma in quotes), or a .tsv file (a tab between the cells; quotes are text)
    source, target : the names of the two columns, if the first line names them. Without them every line is a
        pair, the source first.
    name : of the data set; that of the file if not given

    Raises
    ------
    DataError : no such file, another ending, not UTF-8, other than two columns, no such column, an empty cell,
        no rows. Rows are counted from 1, below the header if there is one; empty lines are passed over.
    """
    path = Path(path)
    separators = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
    if path.suffix.lower() not in separators:
        raise DataError(f"{path.name} ends in {path.suffix!r}. Give a .csv or a .tsv file.")
    separator = separators[path.suffix.lower()]
    if (source is None) != (target is None):
        raise DataError(
            f"source is {source!r} and target is {target!r}. Name both columns, or neither if the first line "
            "is a pair."
        )
    rows = [row for row in _rows(path, separator) if any(cell.strip() for cell in row)]
    places = (0, 1)
    if source is not None:
        header = [cell.strip() for cell in rows.pop(0)] if rows else []
        for column in (source, target):
            if column not in header:
                raise DataError(
                    f"{path.name} has no column {column!r}. {suggest(column, header) if header else ''} "
                    "The first line must name the columns."
                )
        places = (header.index(source), header.index(target))
    if not rows:
        raise DataError(f"{path.name} has no pairs. Give at least one.")
    width = 2 if source is None else len(header)
    wrong = [row for row, cells in enumerate(rows, 1) if len(cells) != width]
    if wrong:
        raise DataError(_told_width(path.name, separator, width, wrong, len(rows[wrong[0] - 1])))
    pairs = [(row[places[0]].strip(), row[places[1]].strip()) for row in rows]
    empty = [row for row, cells in enumerate(pairs, 1) if not all(cells)]
    if empty:
        raise DataError(
            f"{len(empty)} rows of {path.name} have an empty cell ({_some(empty)}). A pair needs both texts: "
            "fill it in, or take the row out."
        )
    if source is None and _is_header(pairs[0]):
        warnings.warn(
            f"The first line of {path.name} is {pairs[0]}. If that names the columns, write "
            f"source={pairs[0][0]!r}, target={pairs[0][1]!r}; now it is taken as a pair.",
            AttnlabWarning,
            stacklevel=2,
        )
    return ParallelDataset(
        [pair[0] for pair in pairs], [pair[1] for pair in pairs], name or path.stem
    )


def _rows(path: Path, separator: str) -> list[list[str]]:
    quoting = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file, delimiter=separator, quoting=quoting, strict=True))
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {path}. Check the path; you are in {Path.cwd()}."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not UTF-8 (byte {error.object[error.start]:#04x}). Save it as UTF-8: a "
            "spreadsheet offers 'CSV UTF-8'."
        ) from error
    except csv.Error as error:
        raise DataError(
            f"{path.name} is not a table that can be read: {error}. Put a cell that holds a comma or a quote "
            'into quotes, and write its own quotes twice: "say ""yes"""'
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Give a file.") from error


def _told_width(name: str, separator: str, width: int, wrong: list[int], found: int) -> str:
    between = "a comma" if separator == "," else "a tab"
    if found == 1:
        cure = f"Put {between} between the source and its translation."
    elif separator == ",":
        cure = (
            "Put texts that hold a comma into quotes, or name the columns with source= and target=."
        )
    else:
        cure = "Leave two, or name the columns with source= and target=."
    columns = "1 column" if found == 1 else f"{found} columns"
    return (
        f"{len(wrong)} rows of {name} do not have {width} columns ({_some(wrong)}; the first has {columns}). "
        f"{cure}"
    )


def _some(rows: list[int]) -> str:
    return "row " + ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")


def _is_header(cells: tuple[str, str]) -> bool:
    """Whether a first line looks like names of columns: language codes, or source and target."""
    return all(
        re.fullmatch(r"[a-z]{2}([-_][A-Za-z]{2,4})?|source|target|src|tgt", one) for one in cells
    )


# ── near-duplicates ────────────────────────────────────────────────────────────────────────────


def fold(text: str) -> str:
    """What is left of a text without placeholders, digits, punctuation and case.

    >>> fold("&Delete %1 files?") == fold("delete files")
    True
    """
    text = re.sub(PLACEHOLDER, lambda found: "" if found[0] == "&" else " ", text)
    text = unicodedata.normalize("NFKC", text).casefold()
    kept = (letter if unicodedata.category(letter)[0] in "LM" else " " for letter in text)
    return " ".join("".join(kept).split())


def near_duplicates(texts: Sequence[str]) -> list[str]:
    """A key for each text; near-duplicates, and near-duplicates of those, have the same.

    Two texts are near-duplicates if they are equal after `fold`, or if the sets of their letter trigrams have a
    cosine of at least `NEAR`. A key is a hash of letters alone, so it is the same in every order of the texts.
    All pairs are compared: 3,000 texts take under a second, 30,000 too much memory.

    >>> keys = near_duplicates(["Close the file", "close file", "Close the files!", "Open a terminal"])
    >>> keys[0] == keys[2], keys[0] == keys[3]
    (True, False)
    """
    folded = [fold(text) for text in texts]
    near = trigram_cosine(folded, folded) >= NEAR
    _, group = connected_components(near, directed=False)
    first: dict[int, str] = {}
    for number, text in zip(group.tolist(), folded, strict=True):
        first[number] = min(first.get(number, text), text)
    return [text_hash(first[number]) for number in group.tolist()]


def trigram_cosine(texts: Sequence[str], others: Sequence[str]) -> sparse.csr_array:
    """Cosines of the sets of character trigrams of N texts and M others, a sparse array (N, M)."""
    column: dict[str, int] = {}
    first, second = (_trigrams(some, column) for some in (texts, others))
    first.resize(len(texts), len(column))
    return first @ second.T


def _trigrams(texts: Sequence[str], column: dict[str, int]) -> sparse.csr_array:
    """Rows of length 1, one for each text; new trigrams get new columns."""
    grams = [{*_threes(f" {text} ")} for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(some) for some in grams])
    columns = [column.setdefault(gram, len(column)) for some in grams for gram in sorted(some)]
    values = np.repeat([len(some) ** -0.5 for some in grams], [len(some) for some in grams])
    return sparse.csr_array((values, (rows, columns)), shape=(len(texts), len(column)))


def _threes(text: str) -> Iterator[str]:
    return (text[start : start + 3] for start in range(max(len(text) - 2, 1)))
