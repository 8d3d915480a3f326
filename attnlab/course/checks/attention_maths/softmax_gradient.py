"""The exercise ``softmax_gradient``."""

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    READY_MADE,
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
from attnlab.languages import tr

TABLE = (
    "The gradient is right, but for {keys} keys in a row you make a tensor of {largest:,} numbers: "
    "that is the Jacobian, T x T.\nMultiplied by g, what is left of w_i w_j g_j if you add up over "
    "j first?"
)
SMALL = (
    "Where a weight is small or exactly 0 the gradient is wrong.\n"
    "Do you divide by a weight, or leave small ones out?"
)
KEYS = 64


def check(answer: Answer, draw: Draw) -> Held:
    """``softmax_gradient(weights, gradient)``: from dLoss/dweights back to dLoss/dscores."""
    compared = Comparison(answer, _reference, MISTAKES, what="gradient")
    compared.on(
        lambda: Call(draw.weights(6), draw.normal(6)),
        "For one row the gradient is wrong; autograd says otherwise.\n"
        "Write the Jacobian out for two keys: what are its four entries?",
    )
    yield "one row: as autograd says"
    compared.on(
        lambda: Call(draw.weights(3, 4, 5), draw.normal(3, 4, 5)),
        "Right for one row, wrong for a batch.\n"
        "Does the sum run over the last axis, with keepdim=True?",
    )
    yield "each row by itself"
    result = compared.on(
        lambda: Call(draw.weights(4, 6), draw.normal(4, 6)),
        "Right for one row and a batch, wrong for a matrix.\nDo you count the axes from the end?",
    )
    total = result.sum(-1).abs().max().item()
    problem = tr("The gradient of a row should sum to 0, yours sums to {total:.2g}.", total=total)
    require(total < 1e-5, problem)
    yield "sums to 0: the same added to all scores changes nothing"

    def sharp() -> Call:
        """The smaller a weight, the larger what is asked of it."""
        weights = (5 * draw.normal(3, 6)).softmax(-1)
        return Call(weights, draw.normal(3, 6) / weights)

    def with_zeros() -> Call:
        weights = torch.cat([draw.weights(3, 4), torch.zeros(3, 2)], -1)
        return Call(weights, draw.normal(3, 6))

    for situation in (sharp, with_zeros):
        compared.on(situation, SMALL, read=_or_nan, tolerance=1e-3)
    yield "small weights, and weights of 0"
    largest = answer.effort(draw.weights(2, KEYS), draw.normal(2, KEYS)).largest
    require(largest < KEYS**2, tr(TABLE, keys=KEYS, largest=largest))
    yield "without a table of T x T numbers"


def _or_nan(result: object, right: Tensor) -> Tensor:
    return a_tensor(result, tuple(right.shape), "gradient", may_be_nan=True)


def _reference(weights: Tensor, gradient: Tensor) -> Tensor:
    scores = weights.log().requires_grad_()  # their softmax gives the weights
    return torch.autograd.grad(scores.softmax(-1), scores, gradient)[0]


# --- What learners write instead -----------------------------------------------------------------


def _less_the_mean(weights: Tensor, gradient: Tensor, axis: int = -1) -> Tensor:
    return weights * (gradient - (weights * gradient).sum(axis, keepdim=True))


def _by_jacobian(weights: Tensor, gradient: Tensor) -> Tensor:
    jacobian = torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]
    return (jacobian @ gradient[..., None])[..., 0]


MISTAKES = [
    Mistake(
        lambda weights, gradient: weights * gradient,
        "You let each weight depend on its own score only: w * g.\n"
        "Raising one score also lowers all other weights: which term says that?",
    ),
    Mistake(
        lambda weights, gradient: weights * (1 - weights) * gradient,
        "You use the diagonal of the Jacobian only: w (1 - w) g.\n"
        "What about the entries -w_i w_j beside it?",
    ),
    Mistake(
        lambda weights, gradient: weights * (gradient - gradient.mean(-1, keepdim=True)),
        "You subtract the plain mean of the gradient.\n"
        "Is it a mean with all keys alike, or weighted?",
    ),
    Mistake(
        lambda weights, gradient: weights * (gradient - gradient.sum(-1, keepdim=True)),
        "You subtract the sum of the gradient.\nShould it not be weighted by w?",
    ),
    Mistake(
        lambda weights, gradient: gradient - (weights * gradient).sum(-1, keepdim=True),
        "The weighted mean is taken off, but the factor w in front is missing.",
    ),
    Mistake(
        lambda weights, gradient: -_less_the_mean(weights, gradient),
        "The sign is turned round.\nWhich way does a weight go when its own score rises?",
    ),
    Mistake(
        lambda weights, gradient: weights * (gradient + (weights * gradient).sum(-1, keepdim=True)),
        "You add the weighted mean of the gradient instead of taking it off.",
    ),
    Mistake(
        lambda weights, gradient: weights * (gradient - (weights * gradient).sum()),
        "Rows influence each other.\nDid you sum over the whole tensor instead of the last axis?",
    ),
    Mistake(
        lambda weights, gradient: _less_the_mean(
            weights, gradient, 0 if weights.dim() == 1 else -2
        ),
        "You sum over the queries.\nWhich axis is normalised by the softmax?",
    ),
    Mistake(
        lambda weights, gradient: _less_the_mean(weights, gradient, 0),
        "Right for one row; for a batch you sum over axis 0.\nThe last axis is -1.",
    ),
    Mistake(_by_jacobian, TABLE, compared=False),
    Mistake(
        lambda weights, gradient: torch.where(
            weights > 1e-3, _less_the_mean(weights, gradient), 0.0
        ),
        SMALL,
        compared=False,
    ),
    Mistake(
        lambda weights, gradient: _less_the_mean(weights, gradient) / weights * weights,
        SMALL,
        compared=False,
    ),
    Mistake(_reference, READY_MADE, compared=False),
]

EXERCISE = Exercise(
    "softmax_gradient",
    "attention_maths",
    3,
    check,
    frozenset(
        {"grad", "backward", "jacobian", "vjp", "jvp", "make_dual", "_softmax_backward_data"}
    ),
    MISTAKES,
    ours=_less_the_mean,
)
