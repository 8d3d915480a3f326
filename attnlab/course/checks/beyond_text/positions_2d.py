"""The exercise ``positions_2d``."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    require,
    same,
    same_shape,
    where,
)


def check(answer: Answer, draw: Draw) -> Held:
    """``positions_2d(rows, columns, width)``: half of the width tells the row, half the column."""
    compared = Comparison(answer, _reference, MISTAKES, read=_table, tolerance=1e-4, loosely=3e-3)
    otherwise = (
        "Some positions are wrong.\nThe first half of a vector should be the one-dimensional "
        "position of the row, width {half}, the second half that of the column."
    )

    def sizes() -> Call:
        rows = draw.whole(2, 4)
        return Call(rows, rows + draw.whole(1, 3), 4 * draw.whole(2, 5))

    with where("For a grid with more columns than rows:"):
        compared.on(sizes, otherwise, facts=_facts)
    yield "the first half tells the row, the second the column"

    def wide() -> Call:
        return Call(draw.whole(4, 6), draw.whole(2, 3), 4 * draw.whole(16, 32))

    with where("For a wide model and a grid with more rows than columns:"):
        compared.on(wide, otherwise, facts=_facts)
    yield "frequencies of half the width, from 1 towards 1/10000"
    single = _table(answer(1, 1, 4), torch.zeros(1, 4))
    require(
        same(single, torch.tensor([[0.0, 1.0, 0.0, 1.0]])),
        "A single patch in a width of 4 should be at [[0, 1, 0, 1]].",
    )
    large = _table(answer(40, 70, 8), torch.zeros(2800, 8))
    require(
        same(large, _reference(40, 70, 8), 1e-3),
        "Right for small grids, wrong for 40 x 70.\nIs there a largest number typed in?",
    )
    yield "any sizes, down to a single patch"


def _table(positions: object, right: Tensor) -> Tensor:
    return a_tensor(positions, tuple(right.shape), "positions", array=True).float()


def _reference(rows: int, columns: int, width: int) -> Tensor:
    half = width // 2
    table = []
    for row in range(rows):
        for column in range(columns):
            vector: list[float] = []
            for position in (row, column):
                for pair in range(half // 2):
                    angle = position / 10000 ** (2 * pair / half)
                    vector += [math.sin(angle), math.cos(angle)]
            table.append(vector)
    return torch.tensor(table)


def _facts(call: Call, result: Any) -> dict[str, Any]:
    rows, columns, width = call.arguments
    return {
        "rows": rows,
        "columns": columns,
        "width": width,
        "half": width // 2,
        "shape": tuple(getattr(result, "shape", ())),
    }


# --- What learners write instead -----------------------------------------------------------------


def _along(count: Tensor | int, width: int, base: float = 10000.0, of: int | None = None) -> Tensor:
    """Positions in one dimension, (count, width); ``of`` is the width in the exponent."""
    position = torch.arange(count) if isinstance(count, int) else count
    angles = position[:, None] / base ** (torch.arange(0, width, 2) / (of or width))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def _joined(rows: int, columns: int, width: int, **more: Any) -> tuple[Tensor, Tensor]:
    """The halves of rows and of columns, each (rows, columns, width / 2)."""
    half = width // 2
    return (
        _along(rows, half, **more)[:, None].expand(rows, columns, half),
        _along(columns, half, **more)[None].expand(rows, columns, half),
    )


def _of(
    join: Callable[[Tensor, Tensor], Tensor] = lambda row, column: torch.cat([row, column], -1),
    **more: Any,
) -> Callable[..., Tensor]:
    """The answer with a part exchanged."""
    return lambda rows, columns, width: join(*_joined(rows, columns, width, **more)).flatten(0, 1)


def _in_one_dimension(rows: int, columns: int, width: int) -> Tensor:
    return _along(rows * columns, width)


def _column_major(rows: int, columns: int, width: int) -> Tensor:
    whole = torch.cat(_joined(rows, columns, width), -1)
    return whole.transpose(0, 1).flatten(0, 1)


def _wrongly_repeated(inner: bool) -> Callable[..., Tensor]:
    """Both halves repeated as a whole, or both row by row."""

    def answer(rows: int, columns: int, width: int) -> Tensor:
        row, column = _along(rows, width // 2), _along(columns, width // 2)
        if inner:
            repeated = row.repeat_interleave(columns, 0), column.repeat_interleave(rows, 0)
        else:
            repeated = row.repeat(columns, 1), column.repeat(rows, 1)
        return torch.cat(repeated, -1)

    return answer


def _full_width(rows: int, columns: int, width: int) -> Tensor:
    return _of(of=width)(rows, columns, width)


def _sum_of_both(rows: int, columns: int, width: int) -> Tensor:
    return (_along(rows, width)[:, None] + _along(columns, width)[None]).flatten(0, 1)


def _sines_first(rows: int, columns: int, width: int) -> Tensor:
    row, column = (
        torch.cat([half[..., 0::2], half[..., 1::2]], -1) for half in _joined(rows, columns, width)
    )
    return torch.cat([row, column], -1).flatten(0, 1)


def _all_sines_first(rows: int, columns: int, width: int) -> Tensor:
    table = _of()(rows, columns, width)
    return torch.cat([table[:, 0::2], table[:, 1::2]], -1)


def _from_one(rows: int, columns: int, width: int) -> Tensor:
    half = width // 2
    row = _along(torch.arange(1, rows + 1), half)[:, None].expand(rows, columns, half)
    column = _along(torch.arange(1, columns + 1), half)[None].expand(rows, columns, half)
    return torch.cat([row, column], -1).flatten(0, 1)


def _shares(rows: int, columns: int, width: int) -> Tensor:
    half = width // 2
    row = _along(torch.arange(rows) / rows, half)[:, None].expand(rows, columns, half)
    column = _along(torch.arange(columns) / columns, half)[None].expand(rows, columns, half)
    return torch.cat([row, column], -1).flatten(0, 1)


MISTAKES = [
    Mistake(
        lambda rows, columns, width: torch.cat(_joined(rows, columns, width), -1),
        "Shape {shape}: rows and columns are still two axes.\nThe result should have one row for "
        "each patch.",
        alike=same_shape,
    ),
    Mistake(
        lambda rows, columns, width: _along(rows, width),
        "Shape {shape}: a row for each row of patches.\nHow many patches are there in a grid of "
        "{rows} x {columns}?",
        alike=same_shape,
    ),
    Mistake(
        lambda rows, columns, width: torch.cat(_joined(rows, columns, 2 * width), -1).flatten(0, 1),
        "Shape {shape}: row and column have the whole width each.\nWhat is left for each if they "
        "share it?",
        alike=same_shape,
    ),
    Mistake(
        _in_one_dimension,
        "These are positions in one dimension: patches are counted through.\nPatch {columns} "
        "begins row 1. Does your vector say that it lies below patch 0?",
    ),
    Mistake(
        _of(lambda row, column: torch.cat([column, row], -1)),
        "Row and column have changed places: the first half should tell the row.",
    ),
    Mistake(
        _column_major,
        "The second position is the one below the first.\nPatches come row after row.",
    ),
    Mistake(
        _wrongly_repeated(inner=False),
        "Both tables are repeated as a whole, so that row and column move on together.\nWhich of "
        "them should stay the same along a row of patches?",
    ),
    Mistake(
        _wrongly_repeated(inner=True),
        "Both tables are repeated entry by entry, so that columns hardly move along a row.\nWhich "
        "of them should change from patch to patch?",
    ),
    Mistake(
        lambda rows, columns, width: (
            _of()(rows, columns, width).unflatten(-1, (-1, 2)).flip(-1).flatten(1)
        ),
        "Sine and cosine have changed places in every pair.",
    ),
    Mistake(
        _full_width,
        "Waves are too fast in both halves.\nWhich width belongs into the exponent: that of the "
        "vector, {width}, or that of a half, {half}?",
    ),
    Mistake(
        _sum_of_both,
        "Row and column are added.\nThen row 1, column 2 is where row 2, column 1 is: give each "
        "half of the width.",
    ),
    Mistake(
        _of(lambda row, column: torch.stack([row, column], -1).flatten(-2)),
        "Row and column take turns, number by number.\nThe first half should tell the row, the "
        "second the column.",
    ),
    Mistake(
        _sines_first,
        "All sines of a half come first, then its cosines.\nHere they take turns: sin, cos, sin, "
        "cos.",
    ),
    Mistake(
        _of(lambda row, column: torch.cat([row, row], -1)),
        "Both halves tell the row.\nWhich one should change along a row of patches?",
    ),
    Mistake(
        _of(lambda row, column: torch.cat([column, column], -1)),
        "Both halves tell the column.\nWhich one should change from row to row?",
    ),
    Mistake(
        lambda rows, columns, width: _of()(columns, rows, width),
        "The numbers of rows and columns have changed places.\nHow many patches stand in a row?",
    ),
    Mistake(
        _all_sines_first,
        "All sines come first, of rows and of columns, then all cosines.\nThe first half should "
        "tell the row, and in it sine and cosine take turns.",
    ),
    Mistake(
        _from_one,
        "Rows and columns are counted from 1.\nAt row 0, column 0 all sines should be 0.",
    ),
    Mistake(
        _shares,
        "Positions are shares of the grid, from 0 to 1.\nThe formula takes the number of the row, "
        "0, 1, 2, ...",
    ),
    Mistake(
        _of(base=1000.0),
        "The waves do not get slow enough: the base seems to be 1000.\nWhich base does the text "
        "give?",
    ),
    Mistake(
        _of(base=1e-4),
        "The waves get faster from pair to pair; they should get slower.\nIs the sign of the "
        "exponent right?",
    ),
    Mistake(
        lambda rows, columns, width: (
            _reference(rows, columns, width).reshape(rows * columns, 2, -1).flip(-1).flatten(1)
        ),
        "Each half is the wrong way round.\nPosition 0 should be 0, 1, 0, 1, ...: sin(0) and "
        "cos(0) in turn.",
    ),
]

EXERCISE = Exercise(
    "positions_2d",
    "beyond_text",
    3,
    check,
    frozenset({"sinusoidal_positions_2d", "sinusoidal_positions"}),
    MISTAKES,
)
