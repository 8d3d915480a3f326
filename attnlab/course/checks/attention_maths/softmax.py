"""The exercise ``softmax``."""

from functools import partial

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    CHANGES_TENSOR,
    FROM_NUMPY,
    NO_GRADIENT,
    READY_MADE,
    WRONG_GRADIENT,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    not_finite,
)

SHIFTED_TOO_EARLY = (
    "With scores near 1000 and temperature {temperature} the weights are wrong.\n"
    "Is the temperature used as it is? Do you divide by it first, and then subtract the largest?"
)
SMALL = (
    "The largest weights are right, the smallest are not.\n"
    "Is something added to the sum, or a small weight changed? Nothing needs it: once the largest "
    "score is subtracted, the sum is at least 1."
)


def check(answer: Answer, draw: Draw) -> Held:
    """``softmax(scores, temperature=1.0)``: positive weights that sum to 1 over the last axis."""
    compared = Comparison(answer, _reference, MISTAKES, what="weights")
    compared.on(
        lambda: Call(draw.normal(6)),
        "For a single row of scores the weights are wrong.\n"
        "Is it exp(score) over the sum of all exp(score)?",
    )
    yield "one row: positive, and sums to 1"

    compared.on(
        lambda: Call(draw.normal(4, 6)),
        "For several rows the weights are wrong.\nDoes the sum keep its axis (keepdim=True)?",
    )
    compared.on(
        lambda: Call(draw.normal(2, 4, 6)),
        "Right for a matrix, wrong for a batch of shape (B, T_q, T_k).\nThe last axis is -1.",
    )
    compared.on(
        lambda: Call(draw.normal(2, 3, 4, 6)),
        "Right for a batch, wrong for one with heads, (B, H, T_q, T_k).\nThe last axis is -1.",
    )
    yield "each row by itself, in a batch too"

    compared.on(
        lambda: Call(_large(draw)),
        "With scores near 1000 your weights are wrong.",
        tolerance=1e-3,
    )
    apart = torch.tensor([[1000.0, 999.0], [-1000.0, -999.0]])
    compared.on(
        lambda: Call(apart + draw.normal(2, 2)),
        "With rows at very different levels your weights are wrong.",
        tolerance=1e-3,
    )
    exact = Comparison(answer, _reference, read=_logarithms, tolerance=1e-4)
    exact.on(lambda: Call(8 * draw.normal(3, 6)), SMALL)
    exact = Comparison(answer, _reference, read=_if_double, tolerance=1e-8)
    exact.on(lambda: Call(draw.normal(3, 6).double()), SMALL)
    yield "stable at large scores, exact for small weights"

    compared.on(
        lambda: Call(draw.normal(3, 5), temperature=0.25 + 0.5 * draw.whole(3, 5)),
        "With temperature {temperature} the weights are wrong.\n"
        "Did you divide the scores by it, before anything else?",
        facts=lambda call, _: call.keywords,
    )
    for temperature in (0.25, 2.25):
        compared.on(
            partial(lambda temperature: Call(_large(draw), temperature=temperature), temperature),
            SHIFTED_TOO_EARLY,
            facts=lambda call, _: call.keywords,
            tolerance=1e-3,
        )
    yield "temperature divides the scores"

    answer.gradients(_reference, draw.normal(2, 5), temperature=1.75)
    yield "gradients pass through"


def _large(draw: Draw) -> Tensor:
    return torch.tensor([1000.0, 999.0, 900.0]) + draw.normal(3)


def _logarithms(result: object, right: Tensor) -> Tensor:
    """So that a small weight counts like a large one."""
    return a_tensor(result, tuple(right.shape), "weights").log().clamp_min(-80)


def _if_double(result: object, right: Tensor) -> Tensor:
    weights = a_tensor(result, tuple(right.shape), "weights")
    return weights if weights.dtype == torch.double else right


def _reference(scores: Tensor, temperature: float = 1.0) -> Tensor:
    return (scores / temperature).softmax(-1)


# --- What learners write instead -----------------------------------------------------------------


def _unstable(scores: Tensor) -> Tensor:
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


def _stable(scores: Tensor, axis: int = -1) -> Tensor:
    powers = (scores - scores.amax(axis, keepdim=True)).exp()
    return powers / powers.sum(axis, keepdim=True)


def _denominator_detached(scores: Tensor, temperature: float = 1.0) -> Tensor:
    powers = ((scores - scores.amax(-1, keepdim=True)) / temperature).exp()
    return powers / powers.sum(-1, keepdim=True).detach()


def _shifted_too_early(scores: Tensor, temperature: float = 1.0) -> Tensor:
    return _unstable(scores / temperature - scores.amax(-1, keepdim=True))


def _sum_with(added: float, scores: Tensor, temperature: float = 1.0) -> Tensor:
    scores = scores / temperature
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    return powers / (powers.sum(-1, keepdim=True) + added)


def _in_place(scores: Tensor, temperature: float = 1.0) -> Tensor:
    scores -= scores.amax(-1, keepdim=True)
    return _stable(scores / temperature)


MISTAKES = [
    Mistake(
        lambda scores, temperature=1.0: scores.exp(),
        "The exponentials are right, but they do not sum to 1.\nDid you divide by their sum?",
    ),
    Mistake(
        lambda scores, temperature=1.0: scores / scores.sum(-1, keepdim=True),
        "Your weights are the shares of the scores themselves.\nWhere is the exponential?",
    ),
    Mistake(
        lambda scores, temperature=1.0: _stable(-scores / temperature),
        "Small scores get the large weights.\nIs there a minus sign too many?",
    ),
    Mistake(
        lambda scores, temperature=1.0: _stable(
            scores / temperature, 0 if scores.dim() == 1 else -2
        ),
        "The columns of your weights sum to 1, not the rows.\n"
        "The keys are on the last axis: did you sum over it?",
    ),
    Mistake(
        lambda scores, temperature=1.0: _stable((scores / temperature).flatten()).view_as(scores),
        "All rows together sum to 1.\nDid you sum over the whole tensor instead of the last axis?",
    ),
    Mistake(
        lambda scores, temperature=1.0: _stable(scores / temperature, min(1, scores.dim() - 1)),
        "Right for a matrix, but for a batch (B, T_q, T_k) you sum over axis 1.\n"
        "The last axis is -1.",
    ),
    Mistake(
        lambda scores, temperature=1.0: _stable(
            scores / temperature, 1 if scores.dim() == 2 else 0
        ),
        "Right for a matrix, but for a batch (B, T_q, T_k) you sum over axis 0.\n"
        "The last axis is -1.",
    ),
    Mistake(
        lambda scores, temperature=1.0: _unstable(scores / temperature),
        "With scores near 1000 your weights are not finite: exp(1000) overflows.\n"
        "Adding the same number to all scores changes no weight. Which number would help?",
        alike=not_finite,
    ),
    Mistake(
        lambda scores, temperature=1.0: _unstable((scores - scores.max()) / temperature),
        "Where one row has scores near 1000 and another near -1000, one of them is 0 / 0.\n"
        "Did you subtract the largest score of the whole tensor instead of each row's own?",
        alike=not_finite,
    ),
    Mistake(
        lambda scores, temperature=1.0: _stable(scores),
        "The temperature has no effect.\n"
        "Does it cancel, or is it not used? Divide the scores, before the exponential.",
    ),
    Mistake(
        lambda scores, temperature=1.0: _stable(scores * temperature),
        "A higher temperature makes your weights sharper; it should flatten them.\n"
        "Multiply, or divide?",
    ),
    Mistake(
        lambda scores, temperature=1.0: _stable(scores) / temperature,
        "With a temperature your rows no longer sum to 1.\n"
        "Did you divide the weights instead of the scores?",
    ),
    Mistake(_shifted_too_early, SHIFTED_TOO_EARLY, alike=not_finite),
    Mistake(
        lambda scores, temperature=1.0: _stable(scores.detach() / temperature),
        NO_GRADIENT,
        compared=False,
    ),
    *(Mistake(partial(_sum_with, added), SMALL, compared=False) for added in (1e-5, 1e-6, 1e-7)),
    Mistake(
        lambda scores, temperature=1.0: _stable(scores / temperature).clamp_min(1e-6),
        SMALL,
        compared=False,
    ),
    Mistake(_denominator_detached, WRONG_GRADIENT, compared=False),
    Mistake(_in_place, CHANGES_TENSOR, compared=False),
    Mistake(
        lambda scores, temperature=1.0: _stable(scores / temperature).detach().numpy(),
        FROM_NUMPY,
        compared=False,
    ),
    Mistake(
        lambda scores, temperature=1.0: torch.softmax(scores / temperature, -1),
        READY_MADE,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "softmax",
    "attention_maths",
    2,
    check,
    frozenset({"softmax", "log_softmax", "softmin"}),
    MISTAKES,
)
