"""The exercise ``entropy``."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    NO_GRADIENT,
    WRONG_GRADIENT,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    backward,
    not_finite,
    require,
    same,
    same_shape,
    where,
)

SEEN = "{keys} equal weights should give log({keys}) = {right:.4f}; yours is {value:.4f}.\n"
IN_A_BATCH = "Right for a matrix, wrong for a batch: the last axis is -1."
MANY_KEYS = (
    "With several hundred keys the entropy is wrong; with a few it is right. "
    "There each weight is small, yet together they are much.\nDo you leave small weights out, or "
    "change them?"
)
TINY = (
    "Where thousands of keys share a thousandth of the weight the entropy is wrong.\n"
    "Is a weight changed or left out that is small, but not 0?"
)
NAN_AT_ZERO = (
    "The entropy is right, but its gradient is NaN where a weight is exactly 0: the NaN of 0 log 0 "
    "is mended afterwards, and the gradient still comes through it.\n"
    "Can you keep 0 away from the logarithm beforehand?"
)


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
    compared.on(lambda: Call(_many(draw, 1.0)), MANY_KEYS)
    compared.on(lambda: Call(_many(draw, 1e-3)), TINY)
    yield "small weights count, however many they are"
    with where(IN_A_BATCH):
        answer.tensor(draw.weights(2, 3, 5), shape=(2, 3), what="entropy")
        in_batches = Comparison(answer, _reference, what="entropy")
        for shape in ((2, 5, 5), (2, 3, 4, 5)):
            in_batches.on(partial(_weights, draw, *shape), "The entropy differs.")
    compared.on(lambda: Call(draw.weights(6)), "Right for a matrix, wrong for a single row (T,).")
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
    _gradients_beside_zeros(answer, draw)
    yield "gradients pass through, also beside a weight of 0"


def _reference(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum(-1)


def _weights(draw: Draw, *shape: int) -> Call:
    return Call(draw.weights(*shape))


def _many(draw: Draw, share: float) -> Tensor:
    """Rows in which hundreds of keys, or thousands, have a ``share`` of the weight among them."""
    keys = draw.whole(200, 400) if share == 1 else 10 * draw.whole(300, 400)
    weights = torch.full((2, keys), share / keys)
    weights[:, 0] += 1 - share
    return weights


def _gradients_beside_zeros(answer: Answer, draw: Draw) -> None:
    """Where a weight is 0 the true gradient is infinite, so any number will do, but not NaN."""
    weights = torch.zeros(3, 6)
    weights[:, 1:5] = draw.weights(3, 4)
    weights.requires_grad_()
    result = answer.tensor(weights, shape=(3,), what="entropy")
    (found,) = backward(result, [weights], torch.ones(3))
    assert found is not None
    require(not found.isnan().any(), NAN_AT_ZERO)
    right = -1 - weights.detach()[:, 1:5].log()
    require(same(found[:, 1:5], right, 1e-3), WRONG_GRADIENT)


def _facts(call: Call, entropy: Tensor) -> dict[str, Any]:
    keys = call.arguments[0].shape[-1]
    return {"keys": keys, "right": math.log(keys), "value": entropy.max().item()}


# --- What learners write instead -----------------------------------------------------------------


def _nats(weights: Tensor) -> Tensor:
    """Right wherever no weight is 0."""
    return -(weights * weights.log()).sum(-1)


def _right(weights: Tensor) -> Tensor:
    return -(weights * weights.clamp_min(1e-30).log()).sum(-1)


def _only_above(least: float, weights: Tensor) -> Tensor:
    return torch.where(weights > least, torch.special.entr(weights), 0.0).sum(-1)


def _clamped_at(least: float, weights: Tensor) -> Tensor:
    return -(weights * weights.clamp_min(least).log()).sum(-1)


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
    *(Mistake(partial(_only_above, least), MANY_KEYS) for least in (1e-2, 5e-3)),
    Mistake(lambda weights: _right(weights.clamp_min(5e-3)), MANY_KEYS),
    *(Mistake(partial(_only_above, least), TINY) for least in (1e-3, 1e-6)),
    *(Mistake(partial(_clamped_at, least), TINY) for least in (1e-3, 1e-6)),
    Mistake(lambda weights: _right(weights.detach()), NO_GRADIENT, compared=False),
    Mistake(
        lambda weights: -(weights * weights.log()).nan_to_num().sum(-1), NAN_AT_ZERO, compared=False
    ),
    Mistake(lambda weights: -torch.xlogy(weights, weights).sum(-1), NAN_AT_ZERO, compared=False),
]

EXERCISE = Exercise("entropy", "attention_maths", 1, check, frozenset({"entropy"}), MISTAKES)
