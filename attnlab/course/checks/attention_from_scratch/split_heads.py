"""The exercise ``split_heads``."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    LOOP,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    same_shape,
)
from attnlab.languages import tr


def check(answer: Answer, draw: Draw) -> Held:
    """``split_heads(x, heads)``: (B, T, H * D) to (B, H, T, D)."""
    compared = Comparison(answer, _split, MISTAKES)
    compared.on(
        lambda: Call(draw.normal(2, 5, 3 * 4), 3),
        "The shape is right, the numbers are not in their places.\n"
        "Head h should hold columns h D to (h + 1) D.",
        facts=_shape_seen,
    )
    answer.gradients(_split, draw.normal(2, 5, 3 * 4), 3)
    yield "head h holds slice h of every token"
    for batch, tokens, heads, width in ((1, 1, 1, 6), (1, 7, 2, 3), (3, 7, 12, 2)):
        x = draw.normal(batch, tokens, heads * width)
        Comparison(answer, _split).on(
            partial(Call, x, heads),
            tr(
                "Wrong for an input of shape {shape} with {heads} heads.",
                shape=tuple(x.shape),
                heads=heads,
            ),
        )
    yield "any sizes"
    answer.without_loop((draw.normal(2, 3, 4), 2), (draw.normal(2, 3, 32), 16))
    yield "without a loop"


def _split(x: Tensor, heads: int) -> Tensor:
    return torch.stack(x.chunk(heads, -1), 1)


def _shape_seen(call: Call, result: Tensor) -> dict[str, Any]:
    return {"shape": tuple(result.shape)}


def _slice_by_slice(x: Tensor, heads: int) -> Tensor:
    width = x.shape[-1] // heads
    return torch.stack([x[..., head * width : (head + 1) * width] for head in range(heads)], 1)


SHAPE = "The result has shape {shape}.\n"

MISTAKES = [
    Mistake(
        lambda x, heads: x.unflatten(-1, (heads, -1)),
        SHAPE + "The heads come after the tokens.\nWhich two axes still have to change places?",
        alike=same_shape,
    ),
    Mistake(
        lambda x, heads: x.unflatten(-1, (heads, -1)).permute(0, 2, 3, 1),
        SHAPE + "Tokens and width of a head have changed places.\nWhich axes did you transpose?",
        alike=same_shape,
    ),
    Mistake(
        lambda x, heads: x.unflatten(-1, (heads, -1)).permute(2, 0, 1, 3),
        SHAPE + "The heads come before the batch.\nWhich axis comes first in (B, H, T, D)?",
        alike=same_shape,
    ),
    Mistake(
        lambda x, heads: x.unflatten(-1, (-1, heads)).permute(0, 2, 1, 3),
        SHAPE + "There are 4 heads of width 3, not 3 of width 4.\n"
        "Which of the two numbers is given as `heads`?",
        alike=same_shape,
    ),
    Mistake(
        lambda x, heads: x.reshape(len(x), heads, x.shape[1], -1),
        "The shape is right, but tokens are mixed up: a head holds pieces of several tokens.\n"
        "Did you view as (B, H, T, D) at once? First (B, T, H, D), then change places.",
    ),
    Mistake(
        lambda x, heads: x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2),
        "Head 0 gets every third number instead of the first slice.\n"
        "Which comes first when the width is cut: heads, or their width?",
    ),
    Mistake(
        lambda x, heads: x.unflatten(-1, (heads, -1)).transpose(1, 2).flip(1),
        "The heads come in reverse order.",
    ),
    Mistake(_slice_by_slice, LOOP, compared=False),
]

EXERCISE = Exercise(
    "split_heads",
    "attention_from_scratch",
    2,
    check,
    frozenset({"split_heads"}),
    MISTAKES,
)
