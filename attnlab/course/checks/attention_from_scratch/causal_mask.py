"""The exercise ``causal_mask``."""

import math

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
)

TO_BE_ADDED = (
    "The mask holds -inf, to be added to the scores.\n"
    "Here a mask is bool, True where looking is allowed: which comparison makes one?"
)
NOT_BOOL = (
    "The mask is of type {dtype}; here a mask is bool, True where looking is allowed.\n"
    "A .bool() missing?"
)


LIMITED = (
    "Right for a few tokens, wrong for {length}.\n"
    "Is a largest length typed in, or a mask kept from an earlier call?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``causal_mask(length)``: True where a token may look: at itself and what came before."""
    compared = Comparison(answer, _reference, MISTAKES, read=_mask)
    compared.on(
        lambda: Call(draw.whole(4, 8)), "Row i should be True in columns 0 to i, and False beyond."
    )
    yield "itself and the past, never the future"
    compared.on(lambda: Call(1), "A single token should see itself: [[True]].")
    yield "a single token sees itself"
    compared.on(lambda: Call(draw.whole(520, 540)), LIMITED, facts=_facts, draws=1)
    yield "any length"


def _reference(length: int) -> Tensor:
    position = torch.arange(length)
    return position.expand(length, length) <= position.unsqueeze(1)


def _facts(call: Call, result: object) -> dict[str, object]:
    return {"length": call.arguments[0]}


def _mask(result: object, right: Tensor) -> Tensor:
    mask = a_tensor(result, tuple(right.shape), "mask", array=True)
    require(mask.isfinite().all(), TO_BE_ADDED)
    require(mask.dtype == torch.bool, NOT_BOOL.format(dtype=mask.dtype))
    return mask


MISTAKES = [
    Mistake(
        lambda length: torch.ones(length, length).tril(-1).bool(),
        "A token may not look at itself, so the first one sees nothing.\n"
        "Does the diagonal belong to the past?",
    ),
    Mistake(
        lambda length: torch.ones(length, length).triu().bool(),
        "Every token looks at itself and the future.\n"
        "Rows are queries, columns are keys: which corner is the past?",
    ),
    Mistake(
        lambda length: torch.ones(length, length).triu(1).bool(),
        "The mask is turned round: True marks what is hidden.\n"
        "Here True means that looking is allowed.",
    ),
    Mistake(
        lambda length: torch.ones(length, length).tril(1).bool(),
        "Every token looks one place into the future.\nDid you use diagonal=1?",
    ),
    Mistake(
        lambda length: torch.ones(length, length).bool(),
        "Every token may look everywhere.\nWhat should the first token see?",
    ),
    Mistake(lambda length: torch.eye(length).bool(), "Every token sees itself only."),
    *(
        Mistake(
            lambda length, most=most: torch.ones(most, most).tril().bool()[:length, :length],
            "Expected shape",
            compared=False,
        )
        for most in (16, 512)
    ),
    Mistake(
        lambda length: torch.ones(length, length).tril(int(length > 256)).bool(),
        LIMITED,
        compared=False,
    ),
    Mistake(lambda length: torch.ones(length, length).tril(), NOT_BOOL, compared=False),
    Mistake(
        lambda length: torch.full((length, length), -math.inf).triu(1),
        TO_BE_ADDED,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "causal_mask", "attention_from_scratch", 1, check, frozenset({"causal_mask"}), MISTAKES
)
