"""The exercise ``sinusoidal_positions``."""

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
)
from attnlab.languages import tr

LIMITED = (
    "Right for a small table, wrong for one with many {most}.\n"
    "Is there a largest number typed in? Both sizes come as arguments."
)


def check(answer: Answer, draw: Draw) -> Held:
    """``sinusoidal_positions(length, width)``: sines in even columns, cosines in odd ones."""

    def sizes() -> Call:
        return Call(2 * draw.whole(2, 4) + 1, 2 * draw.whole(2, 5))  # never the same

    def first_row(positions: object, right: Tensor) -> Tensor:
        return table(positions, right)[:1]

    def table(positions: object, right: Tensor) -> Tensor:
        return a_tensor(positions, tuple(right.shape), "positions", array=True)

    Comparison(answer, _reference, MISTAKES, read=first_row).on(
        sizes,
        "Position 0 should be 0, 1, 0, 1, ...: sin(0) and cos(0) in turn.",
        facts=lambda call, _: dict(zip(("length", "width"), call.arguments, strict=True)),
    )
    yield "position 0 is 0, 1, 0, 1, ..."
    compared = Comparison(answer, _reference, MISTAKES, read=table, tolerance=1e-4, loosely=3e-2)
    compared.on(
        sizes,
        "The frequencies are wrong.\n"
        "Is the angle position / 10000^(2i / width), with i the number of the pair?",
    )
    yield "frequencies fall from 1 towards 1/10000"
    for size, most in (
        (lambda: Call(5000 + draw.whole(1, 99), 2), tr("positions")),
        (lambda: Call(2, 2 * draw.whole(300, 400)), tr("columns")),
    ):
        Comparison(answer, _reference, read=table, tolerance=3e-3, draws=1).on(
            size, tr(LIMITED, most=most)
        )
    single = table(answer(1, 2), torch.zeros(1, 2))
    require(same(single, torch.tensor([[0.0, 1.0]])), "One position of width 2 should be [[0, 1]].")
    yield "any sizes, down to a single position"


def _reference(length: int, width: int) -> Tensor:
    rows = []
    for position in range(length):
        row: list[float] = []
        for pair in range(width // 2):
            angle = position / 10000 ** (2 * pair / width)
            row += [math.sin(angle), math.cos(angle)]
        rows.append(row)
    return torch.tensor(rows)


# --- What learners write instead -----------------------------------------------------------------


def _waves(
    length: int, width: int, base: float = 10000.0, start: int = 0, doubled: float = 1.0
) -> Tensor:
    """Sines in even columns, cosines in odd ones, with a part exchanged."""
    position = torch.arange(start, start + length)[:, None].float()
    angles = position / base ** (doubled * torch.arange(0, width, 2) / width)
    return _in_turn(angles.sin(), angles.cos())


def _in_turn(*columns: Tensor) -> Tensor:
    return torch.stack(columns, -1).flatten(-2)


def _frequency_of_each_column(length: int, width: int) -> Tensor:
    angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(width) / width)
    return _in_turn(angles[:, 0::2].sin(), angles[:, 1::2].cos())


def _halves(length: int, width: int) -> Tensor:
    table = _waves(length, width)
    return torch.cat([table[:, 0::2], table[:, 1::2]], -1)


def _cosine_first(length: int, width: int) -> Tensor:
    table = _waves(length, width)
    return _in_turn(table[:, 1::2], table[:, 0::2])


def _with(**parts: Any) -> Any:
    return lambda length, width: _waves(length, width, **parts)


def _a_table_of(rows: int) -> Callable[[int, int], Tensor]:
    """Cut out of a table that has so many rows."""
    return lambda length, width: _waves(rows, width)[torch.arange(length) % rows]


MISTAKES = [
    Mistake(
        lambda length, width: _waves(length, width).T,
        "Shape ({width}, {length}): a row for each column of the width.\n"
        "A row should be a position; is one thing transposed?",
        alike=same_shape,
    ),
    Mistake(
        _with(start=1),
        "At position 0 all sines should be 0. Yours begins with another position.\n"
        "Does your count start at 1?",
    ),
    Mistake(
        _halves,
        "All sines come first, then all cosines.\n"
        "Here they take turns: sine in even columns, cosine in odd ones.",
    ),
    Mistake(
        _cosine_first,
        "Sine and cosine have changed places: position 0 should begin with sin(0) = 0.",
    ),
    Mistake(
        _with(doubled=0.5),
        "Your waves get slow too late: a pair shares one frequency.\n"
        "Is the exponent 2i / width, with i the number of the pair?",
    ),
    Mistake(
        _with(doubled=-1),
        "Your waves get faster from column to column; they should get slower.\n"
        "Divide the position by the power, or multiply?",
    ),
    Mistake(
        _with(doubled=0),
        "All columns have the same frequency.\nWhere does the number of the pair come in?",
    ),
    Mistake(
        _with(doubled=2),
        "The exponent is too large: 2i is divided by half of the width.",
    ),
    Mistake(
        _frequency_of_each_column,
        "Sine and cosine of one pair have different frequencies: every column has its own.\n"
        "Did you use the number of the column instead of the pair's?",
    ),
    Mistake(_with(base=math.e), "The base is e instead of 10000."),
    Mistake(_with(base=1000), "The base is 1000 instead of 10000."),
    *(Mistake(_a_table_of(rows), LIMITED, compared=False) for rows in (64, 512, 5000)),
]

EXERCISE = Exercise(
    "sinusoidal_positions",
    "attention_maths",
    2,
    check,
    frozenset({"sinusoidal_positions"}),
    MISTAKES,
)
