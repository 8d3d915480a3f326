"""Answers that work on NumPy arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attnlab.course.checks.examiner.failures import CHANGES_ARRAY, require
from attnlab.course.checks.examiner.mistakes import Call


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
                same = before.dtype == after.dtype and np.array_equal(before, after, equal_nan=True)
                require(same, CHANGES_ARRAY)
        return result


class ArrayCalls(Call):
    """One call for each of several arrays, with the same further arguments."""

    def __init__(self, arrays: Sequence[np.ndarray], *further: float):
        super().__init__(arrays, *further)
        self.arrays, self.further = arrays, further

    def of(self, function: Callable[..., Any]) -> list[Any]:
        """The result of a function for each array, with the array."""
        return [(one, ArrayCall(one, *self.further).of(function)) for one in self.arrays]
