"""Answers that work on NumPy arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np

from attnlab.course.checks.examiner import Call, require

CHANGES_ARRAY = (
    "Your function changes an array that it was given; np.sort(x) and x - y make a new one.\n"
    "Is there an assignment into it, a `-=`, or a .sort()?"
)


class ArrayCall(Call):
    """A call with arrays among its arguments, which must be the same afterwards."""

    def of(self, function: Callable[..., Any]) -> Any:
        """The result of a function with copies of these arguments."""
        copies = [
            argument.copy() if isinstance(argument, np.ndarray) else argument
            for argument in self.arguments
        ]
        result = function(*copies, **self.keywords)
        for before, after in zip(self.arguments, copies, strict=True):
            if isinstance(before, np.ndarray):
                require(
                    before.dtype == after.dtype and np.array_equal(before, after), CHANGES_ARRAY
                )
        return result
