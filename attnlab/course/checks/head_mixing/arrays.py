"""Answers that work on NumPy arrays."""

from collections.abc import Sequence

import numpy as np

from attnlab.course.checks.examiner import (
    Answer,
    require,
)


def from_arrays(answer: Answer, arrays: Sequence[np.ndarray], *rest: object) -> object:
    """What the answer makes of these arrays; they must be the same afterwards."""
    copies = [one.copy() for one in arrays]
    result = answer(*copies, *rest)
    for before, after in zip(arrays, copies, strict=True):
        require(
            before.dtype == after.dtype and np.array_equal(before, after),
            "Your function changes an array that it was given; np.sort(x) and x - y make a new one.\n"
            "Is there an assignment into it, a `-=`, or a .sort()?",
        )
    return result
