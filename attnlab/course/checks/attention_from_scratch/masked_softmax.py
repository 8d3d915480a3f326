"""The exercise ``masked_softmax``."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    BACKWARD_FAILS,
    CHANGES_TENSOR,
    GRADIENT_LOST,
    NO_GRADIENT,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    not_finite,
    where,
)
from attnlab.languages import tr

WITH_HEADS = "With heads and a {name}:"


def check(answer: Answer, draw: Draw) -> Held:
    """``masked_softmax(scores, mask)``: hidden keys get 0; a row with nothing to see gets zeros."""
    compared = Comparison(answer, _reference, MISTAKES, what="weights")
    everything = torch.ones(4, 6, dtype=torch.bool)
    compared.on(
        lambda: Call(draw.normal(4, 6), everything),
        "A mask of True everywhere should give the plain softmax.\n"
        "True means that looking is allowed.",
    )
    compared.on(
        lambda: Call(draw.normal(4, 6), everything.tril()),
        "With a causal mask the weights are wrong.\n"
        "What score must a hidden key have so that its exponential is 0?",
        tolerance=1e-6,
    )
    yield "hidden keys get nothing, rows still sum to 1"

    low = torch.tensor([[-100000.0, -99999.0, 0.0, 1.0]])
    compared.on(
        lambda: Call(low + draw.normal(1, 4), low < -1),
        "With very low scores the weights are wrong.",
        tolerance=1e-2,
    )
    yield "whatever the scores, hidden is hidden"

    nothing_to_see = torch.tensor([[True, True, False], [False, False, False]])
    compared.on(
        lambda: Call(draw.normal(2, 3), nothing_to_see),
        "A query that may look nowhere should get zeros, and others stay as they are.\n"
        "What do you do with a row in which all is hidden?",
    )
    yield "a query that may look nowhere gets zeros"

    mask = torch.rand(2, 1, 4, 5, generator=draw.generator) < 0.5
    mask[..., 0], mask[1, :, 2] = True, False  # one query of the second text may look nowhere
    for name, seen in (
        (tr("padding mask (B, 1, 1, T_k)"), mask[:, :, :1]),
        (tr("mask (B, 1, T_q, T_k)"), mask),
    ):
        with where(tr(WITH_HEADS, name=name)):
            Comparison(answer, _reference, what="weights").on(
                partial(_of_heads, draw, seen),
                "The weights are wrong.\nDo you let the mask broadcast?",
            )
    answer.gradients(_reference, draw.normal(2, 3, 4, 5), mask)
    yield "broadcasts over heads, with finite gradients"


def _of_heads(draw: Draw, seen: Tensor) -> Call:
    """Masks that differ from call to call: one that is kept would show."""
    return Call(draw.normal(2, 3, 4, 5), seen.roll(draw.whole(0, 1), 0))


def _reference(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask, -math.inf).softmax(-1).masked_fill(~mask, 0)


# --- What learners write instead -----------------------------------------------------------------


def _filled_with(number: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda scores, mask: scores.masked_fill(~mask, number).softmax(-1)


def _mended(scores: Tensor, mask: Tensor) -> Tensor:
    return _filled_with(-math.inf)(scores, mask).masked_fill(~mask, 0)


def _assigned(scores: Tensor, mask: Tensor) -> Tensor:
    weights = _filled_with(-math.inf)(scores, mask)
    weights[~mask.expand_as(weights)] = 0
    return weights


def _mended_for_matrices(scores: Tensor, mask: Tensor) -> Tensor:
    return _mended(scores, mask) if scores.dim() == 2 else _filled_with(-math.inf)(scores, mask)


def _log_of_the_mask_added(scores: Tensor, mask: Tensor) -> Tensor:
    return (scores + mask.float().log()).softmax(-1).nan_to_num(0)


def _show_what_is_hidden(weights: Any, mistaken: Any) -> bool:
    """Whether the keys that are hidden in the row of very low scores get weight in both."""
    if weights.shape != (1, 4) or weights.isnan().any():
        return False
    return bool(weights[:, 2:].any() and mistaken[:, 2:].any())


MISTAKES = [
    Mistake(
        lambda scores, mask: scores.masked_fill(mask, -math.inf).softmax(-1).nan_to_num(0),
        "A mask of True everywhere should change nothing.\n"
        "True means that looking is allowed: is it turned round?",
    ),
    Mistake(
        lambda scores, mask: scores.masked_fill(mask, -math.inf).softmax(-1),
        "With a mask of True everywhere the weights are NaN, as if all keys were hidden.\n"
        "True means that looking is allowed: is the mask turned round?",
        alike=not_finite,
    ),
    Mistake(
        lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(-2).nan_to_num(0),
        "The columns of your weights sum to 1, not the rows.\nThe keys are on the last axis.",
    ),
    Mistake(
        lambda scores, mask: scores.softmax(-1) * mask,
        "The rows no longer sum to 1: weight was taken away after the softmax.\n"
        "Should hidden keys not be left out before it?",
    ),
    Mistake(
        lambda scores, mask: (scores * mask).softmax(-1),
        "Hidden keys count as keys with the score 0.\n"
        "exp(0) is 1: which score has the exponential 0?",
    ),
    Mistake(lambda scores, mask: scores.softmax(-1), "The mask has no effect."),
    Mistake(
        _filled_with(-1e4),
        "Where the visible keys have scores near -100,000, hidden ones get weight: your mask is a "
        "finite number.\nWhich score stays below all others?",
        alike=_show_what_is_hidden,
    ),
    Mistake(
        _filled_with(-math.inf),
        "The second query may look nowhere, and its weights are NaN: 0 / 0.\n"
        "A padded query is like that. What should its weights be, so that it takes nothing from "
        "anywhere?",
        alike=not_finite,
    ),
    Mistake(
        _filled_with(-1e9),
        "A query that may look nowhere spreads its weight evenly over hidden keys.\n"
        "An infinite score would have shown it as NaN; what should its weights be?",
    ),
    Mistake(
        _mended_for_matrices,
        "With heads and a mask (B, 1, T_q, T_k):\nThere is NaN in the weights.",
        compared=False,
    ),
    Mistake(_filled_with(-65504.0), "scores near -100,000", compared=False),
    Mistake(_log_of_the_mask_added, GRADIENT_LOST, compared=False),
    Mistake(_assigned, BACKWARD_FAILS, compared=False),
    Mistake(
        lambda scores, mask: _mended(scores.masked_fill_(~mask, -math.inf), mask),
        CHANGES_TENSOR,
        compared=False,
    ),
    Mistake(lambda scores, mask: _mended(scores.detach(), mask), NO_GRADIENT, compared=False),
]

EXERCISE = Exercise(
    "masked_softmax",
    "attention_from_scratch",
    3,
    check,
    frozenset({"attnlab.softmax"}),
    MISTAKES,
)
