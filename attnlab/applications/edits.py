"""From one text to another: how many characters must change, and which ones are right."""

import numpy as np

__all__ = ["edit_distance", "right_characters"]


def edit_distance(found: str, wanted: str) -> int:
    """Fewest characters to insert, delete or replace to turn one text into the other.

    Source: Levenshtein 1966.

    >>> edit_distance("kitchen", "kitten")
    2
    """
    return _distances(found, wanted)[0][0]


def right_characters(found: str, wanted: str) -> np.ndarray:
    """Which characters of ``found`` have an equal partner on a shortest way to ``wanted``.

    Returns
    -------
    bool array (len(found),)

    >>> right_characters("k1ngs", "king").tolist()
    [True, False, True, True, False]
    """
    rest = _distances(found, wanted)
    right, i, j = np.zeros(len(found), bool), 0, 0
    while i < len(found):
        left = rest[i][j]
        if j < len(wanted) and rest[i + 1][j + 1] + (found[i] != wanted[j]) == left:
            right[i] = found[i] == wanted[j]
            i, j = i + 1, j + 1
        elif j < len(wanted) and rest[i][j + 1] + 1 == left:
            j += 1
        else:
            i += 1
    return right


def _distances(found: str, wanted: str) -> list[list[int]]:
    """Row i, column j: the distance of ``found[i:]`` to ``wanted[j:]``."""
    rows = [list(range(len(wanted), -1, -1))]
    for character in reversed(found):
        below, row = rows[-1], [rows[-1][-1] + 1]
        for place in range(len(wanted) - 1, -1, -1):
            change = below[place + 1] + (character != wanted[place])
            row.append(min(change, below[place] + 1, row[-1] + 1))
        rows.append(row[::-1])
    return rows[::-1]


def __dir__() -> list[str]:
    return sorted(__all__)
