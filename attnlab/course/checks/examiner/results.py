"""What an answer returned, as the kind of thing that was asked for, or a failure."""

import contextlib
import math
import numbers
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.course.checks.examiner.failures import FROM_NUMPY, CheckFailed, Unwritten
from attnlab.languages import tr


def a_tensor(
    result: object,
    shape: tuple[int, ...],
    what: str = "result",
    may_be_nan: bool = False,
    array: bool = False,
) -> Tensor:
    """The result as a tensor of this shape without NaN, or a failure that says what it is.

    Where no gradient is needed an ``array`` will do.
    """
    _something(result, what)
    if array and isinstance(result, np.ndarray):
        with contextlib.suppress(TypeError):  # of text or of objects
            result = torch.from_numpy(np.ascontiguousarray(result))
    if isinstance(result, np.ndarray | np.generic):
        raise CheckFailed(tr(FROM_NUMPY, what=tr(what)))
    if not isinstance(result, Tensor):
        raise CheckFailed(
            tr(
                "As {what} came {kind}, not a tensor.\n"
                "Does your function return just what the docstring says?",
                what=tr(what),
                kind=kind_of(result),
            )
        )
    if tuple(result.shape) != tuple(shape):
        hint = tr("Is one axis summed or missing, or one too many?")
        if sorted(result.shape) == sorted(shape):
            hint = tr("The sizes are right, their order is not: which axis is which?")
        told = tr(
            "Expected shape {expected} for the {what}; it is {shape}.",
            expected=tuple(shape),
            what=tr(what),
            shape=tuple(result.shape),
        )
        raise CheckFailed(f"{told}\n{hint}")
    if not may_be_nan and result.is_floating_point() and result.isnan().any():
        raise CheckFailed(
            tr(
                "There is NaN in the {what}.\n"
                "Is something 0 / 0, log(0), inf - inf, or an overflow?",
                what=tr(what),
            )
        )
    return result


def some_numbers(
    result: object, shape: tuple[int, ...], what: str = "result", may_be_nan: bool = False
) -> Tensor:
    """The result as a tensor in float64; an array, lists or a plain number will do."""
    plain = isinstance(result, numbers.Real) and not isinstance(result, bool)
    if plain or isinstance(result, np.ndarray | list | tuple):
        with contextlib.suppress(ValueError, TypeError, RuntimeError):
            result = torch.from_numpy(np.array(result, dtype=float))
    return a_tensor(result, shape, what, may_be_nan).detach().double()


def a_number(result: object, what: str = "result") -> float:
    """The result as a plain finite number, or a failure that says what came instead."""
    _something(result, what)
    if isinstance(result, Tensor) and result.requires_grad:
        raise CheckFailed(
            tr(
                "As {what} came a tensor with its graph: who keeps it keeps everything it was "
                "computed from.\n"
                "A plain number is asked for: which method of a tensor gives one?",
                what=tr(what),
            )
        )
    if isinstance(result, bool) or not isinstance(result, numbers.Real):
        raise CheckFailed(
            tr(
                "As {what} came {kind}, not a plain number.\n"
                "Is there an .item() or float() missing, or is more returned than the docstring "
                "says?",
                what=tr(what),
                kind=kind_of(result),
            )
        )
    number = float(result)
    if not math.isfinite(number):
        raise CheckFailed(
            tr(
                "The {what} is {number}.\nIs something 0 / 0, or an overflow?",
                what=tr(what),
                number=number,
            )
        )
    return number


def a_list(result: object, what: str = "result") -> list[Any]:
    """The result as a list (a tuple or tensor will do), or a failure that says what it is."""
    _something(result, what)
    if isinstance(result, Tensor) and result.dim() == 1:
        return result.tolist()
    if not isinstance(result, list | tuple):
        raise CheckFailed(
            tr(
                "As {what} came {kind}, not a list.\n"
                "Does your function return just what the docstring says?",
                what=tr(what),
                kind=kind_of(result),
            )
        )
    return list(result)


def a_pair(result: object, first: str, second: str) -> tuple[Any, Any]:
    """The result as two things, or a failure that says what came instead."""
    both = tr("{first} and {second}", first=tr(first), second=tr(second))
    _something(result, both)
    if not isinstance(result, list | tuple):
        raise CheckFailed(
            tr(
                "As {what} came {kind}; two things are asked for.\n"
                "Does it end in `return ..., ...`?",
                what=both,
                kind=kind_of(result),
            )
        )
    if len(result) != 2:
        raise CheckFailed(
            tr(
                "As {what} came {kind}; two things are asked for.\n"
                "Does your function return just what the docstring says?",
                what=both,
                kind=kind_of(result),
            )
        )
    return result[0], result[1]


def _something(result: object, what: str) -> None:
    """Fail where nothing was returned, or the dots of a hole."""
    if result is None:
        raise CheckFailed(
            tr(
                "Your function returned None where {what} was expected.\nDoes it end in `return`?",
                what=tr(what),
            )
        )
    if result is Ellipsis:
        raise Unwritten(tr("Not written yet: {what} is still `...`.", what=tr(what)))


def same(result: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    """Whether two tensors have one shape and are equal up to rounding."""
    if result.shape != expected.shape:
        return False
    return torch.allclose(result.double(), expected.double(), rtol=tolerance, atol=tolerance)


def kind_of(value: object) -> str:
    """What a value is, in words: "a tensor of shape (2, 3)"."""
    if isinstance(value, Tensor):
        return tr("a tensor of shape {shape}", shape=tuple(value.shape))
    if isinstance(value, tuple | list):
        return tr("a {kind} of {count}", kind=type(value).__name__, count=len(value))
    kind = type(value).__name__
    return kind if value is None else tr("a {kind}", kind=kind)
