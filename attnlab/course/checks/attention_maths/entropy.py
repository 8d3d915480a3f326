"""The exercise ``entropy``."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    NO_GRADIENT,
    READY_MADE,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    not_finite,
    same_shape,
    where,
)

SEEN = "{keys} equal weights should give log({keys}) = {right:.4f}; yours is {value:.4f}.\n"
IN_A_BATCH = "Right for a matrix, wrong for a batch: the last axis is -1."


def check(answer: Answer, draw: Draw) -> Held:
    """``entropy(weights)``: how widely each row is spread, in nats."""
    compared = Comparison(answer, _reference, MISTAKES, what="entropy", tolerance=5e-5)

    def equal_weights() -> Call:
        keys = draw.whole(3, 9)
        return Call(torch.full((1, keys), 1 / keys))

    compared.on(equal_weights, SEEN + "Is it -sum(w log w)?", facts=_facts)
    yield "equal weights of n keys give log(n)"

    compared.on(
        lambda: Call(draw.weights(4, 6)),
        "For rows of different weights the entropy is wrong.",
        tolerance=1e-4,
    )
    with where(IN_A_BATCH):
        answer.tensor(draw.weights(2, 3, 5), shape=(2, 3), what="entropy")
        in_batches = Comparison(answer, _reference, what="entropy")
        in_batches.on(lambda: Call(draw.weights(2, 3, 5)), "The entropy differs.")
    yield "one number for each query"

    compared.on(
        lambda: Call(torch.eye(4)),
        "A query that looks at one key only has entropy 0; yours is {value:.3g}.\n"
        "Did you add something to the weights to save the logarithm? Then it must be far smaller.",
        facts=_facts,
        tolerance=1e-4,
    )
    yield "a single key gives 0, without NaN"
    answer.gradients(_reference, draw.weights(3, 5))
    yield "gradients pass through"


def _reference(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum(-1)


def _facts(call: Call, entropy: Tensor) -> dict[str, Any]:
    keys = call.arguments[0].shape[-1]
    return {"keys": keys, "right": math.log(keys), "value": entropy.max().item()}


# --- What learners write instead -----------------------------------------------------------------


def _nats(weights: Tensor) -> Tensor:
    """Right wherever no weight is 0."""
    return -(weights * weights.log()).sum(-1)


def _right(weights: Tensor) -> Tensor:
    return -(weights * weights.clamp_min(1e-30).log()).sum(-1)


def _with_something_added(weights: Tensor, added: float) -> Tensor:
    return -(weights * (weights + added).log()).sum(-1)


MISTAKES = [
    Mistake(
        lambda weights: -(weights * weights.log2()).sum(-1),
        SEEN + "That is in bits.\nWhich logarithm gives nats?",
    ),
    Mistake(
        lambda weights: -(weights * weights.log()).mean(-1),
        SEEN + "You take the mean over the keys.\nThe weights already weigh: is a sum not enough?",
    ),
    Mistake(
        lambda weights: -_nats(weights),
        SEEN + "It is negative: log w is below 0 for weights below 1.\n"
        "Where does the minus sign go?",
    ),
    Mistake(
        lambda weights: _right(weights) / math.log(weights.shape[-1]),
        SEEN + "Equal weights give 1: you divide by the largest value it can have.\n"
        "That is a good measure, but here the raw entropy is asked for.",
    ),
    Mistake(
        lambda weights: _right(weights).exp(),
        SEEN + "That is exp(entropy), the effective number of keys.\n"
        "Is there an exponential too many?",
    ),
    *(
        Mistake(
            partial(_with_something_added, added=added),
            SEEN + f"Did you add {added:g} to the weights to save the logarithm? "
            "It must be far smaller.",
        )
        for added in (1e-1, 1e-2, 1e-3, 1e-4)
    ),
    Mistake(
        lambda weights: _nats(weights).sum(0, keepdim=len(weights) == 1),
        "One number for all rows: each query has an entropy of its own.\n"
        "Did you sum over everything?",
        alike=same_shape,
    ),
    Mistake(
        lambda weights: _nats(weights if len(weights) == 1 else weights.mT),
        "One number for each key, but it is queries that spread their weight.\n"
        "Did you sum over the wrong axis?",
        alike=same_shape,
    ),
    Mistake(lambda weights: -(weights * weights.log()).sum(1), IN_A_BATCH, compared=False),
    Mistake(
        _nats,
        "With a weight of exactly 0 your entropy is NaN: 0 * log(0) is 0 * -inf.\n"
        "What should 0 log 0 be, and how do you keep the logarithm away from 0?",
        alike=not_finite,
    ),
    Mistake(lambda weights: _right(weights.detach()), NO_GRADIENT, compared=False),
    Mistake(
        lambda weights: torch.special.entr(weights).sum(-1),
        READY_MADE,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "entropy",
    "attention_maths",
    1,
    check,
    frozenset({"entropy", "entr", "special_entr"}),
    MISTAKES,
)
