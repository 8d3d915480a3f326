"""The exercise ``attention``."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    GRADIENT_MISSING,
    NO_GRADIENT,
    READY_MADE,
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    same_shape,
    where,
)
from attnlab.languages import tr

ONE_CAME = "One tensor came back; two are asked for.\nDoes it end in `return context, weights`?"
NOT_TWO = "Two tensors are asked for, {count} came.\nDoes it end in `return context, weights`?"
MANY_KEYS = "Right for a few keys, wrong for many.\nIs a number of keys typed in?"
SMALL = (
    "Large weights are right, small ones are not.\n"
    "Do you add something, round, or leave weights out?"
)
OF_THE_WEIGHTS = "The weights that you return beside the context:"
SWAPPED = "The weights come first and the context second.\nThe order is `return context, weights`."

Pair = tuple[Tensor, Tensor]


def check(answer: Answer, draw: Draw) -> Held:
    """``attention(query, key, value)``: context and weights, for any batch."""
    weights = Comparison(answer, _reference, MISTAKES, read=_weights)
    context = Comparison(answer, _reference, MISTAKES, read=_context)

    def inputs(*batch: int, queries: int, keys: int, width: int, value_width: int) -> Call:
        return Call(
            draw.normal(*batch, queries, width),
            draw.normal(*batch, keys, width),
            draw.normal(*batch, keys, value_width),
        )

    def single_key() -> Call:
        return inputs(queries=1, keys=1, width=8, value_width=3)

    weights.on(
        single_key,
        "A single key should get the weight 1; yours gets {weight:.3g}.\n"
        "Is there a softmax, and do you return what comes out of it?",
        facts=lambda _, result: {"weight": result[1].item()},
    )
    context.on(
        single_key,
        "With a single key the context should be its value.\nWhat do you mix: values, or keys?",
    )
    yield "a single key gets all the weight"

    def matrices() -> Call:
        return inputs(queries=4, keys=6, width=10, value_width=5)

    weights.on(
        matrices,
        "The weights are wrong.\n"
        "Scores, scaled; softmax over the keys: which of the two steps differs?",
    )
    yield "weights: scaled, and softmax over the keys"
    context.on(
        matrices,
        "The weights are right, but the context is not their mixture of the values.\n"
        "Is it weights @ value?",
    )
    yield "context: the values, mixed by the weights"

    context.on(
        lambda: inputs(queries=5, keys=5, width=8, value_width=8),
        "With as many queries as keys the context is wrong.",
    )
    for batch in ((2,), (2, 3)):

        def in_a_batch(batch: tuple[int, ...] = batch) -> Call:
            return inputs(*batch, queries=4, keys=6, width=8, value_width=5)

        weights.on(
            in_a_batch,
            "Right for matrices, wrong for a batch.\nDo you count the axes from the end?",
        )
        context.on(in_a_batch, "Right for matrices, but in a batch the context is wrong.")
    context.on(
        lambda: inputs(queries=3, keys=draw.whole(100, 200), width=10, value_width=5), MANY_KEYS
    )
    exact = Comparison(answer, _reference, read=_logarithms, tolerance=1e-3)
    exact.on(lambda: _sharp(matrices()), SMALL)
    yield "any number of keys, and exact for small weights"
    answer.gradients(F.scaled_dot_product_attention, *in_a_batch().arguments, pick=0)
    with where(OF_THE_WEIGHTS):
        answer.gradients(lambda *all: _reference(*all)[1], *in_a_batch().arguments, pick=1)
    yield "equal to torch's own, in a batch with heads, gradients too"


def _reference(query: Tensor, key: Tensor, value: Tensor) -> Pair:
    weights = (query @ key.mT / math.sqrt(key.shape[-1])).softmax(-1)
    return F.scaled_dot_product_attention(query, key, value), weights


def _context(result: object, right: Pair) -> Tensor:
    return _pair(result, right)[0]


def _weights(result: object, right: Pair) -> Tensor:
    return _pair(result, right)[1]


def _logarithms(result: object, right: Pair) -> Tensor:
    """So that a small weight counts like a large one."""
    return _weights(result, right).log().clamp_min(-80)


def _sharp(call: Call) -> Call:
    query, *others = call.arguments
    return Call(5 * query, *others)


def _pair(result: object, right: Pair) -> Pair:
    """The answer's context and weights, or a failure that says what came instead."""
    context, weights = (tuple(part.shape) for part in right)
    if isinstance(result, Tensor):
        raise CheckFailed(ONE_CAME)
    if not isinstance(result, tuple | list):
        a_tensor(result, (), "pair (context, weights)")
        raise CheckFailed(ONE_CAME)
    if len(result) != 2:
        raise CheckFailed(tr(NOT_TWO, count=len(result)))
    first, second = result
    swapped = isinstance(first, Tensor) and isinstance(second, Tensor)
    if swapped and context != weights and (first.shape, second.shape) == (weights, context):
        raise CheckFailed(SWAPPED)
    return a_tensor(first, context, "context"), a_tensor(second, weights, "weights")


# --- What learners write instead -----------------------------------------------------------------


def _with(
    scale: Callable[[Tensor, Tensor, Tensor], float] = lambda q, k, v: q.shape[-1] ** 0.5,
    axis: int = -1,
    mix: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda weights, key, value: weights @ value,
) -> Callable[..., Pair]:
    """Attention with a part exchanged."""

    def answer(query: Tensor, key: Tensor, value: Tensor) -> Pair:
        scores = query @ key.transpose(-2, -1) / scale(query, key, value)
        weights = scores.softmax(axis)
        return mix(weights, key, value), weights

    return answer


def _scaled_after(query: Tensor, key: Tensor, value: Tensor) -> Pair:
    weights = (query @ key.transpose(-2, -1)).softmax(-1) / key.shape[-1] ** 0.5
    return weights @ value, weights


def _contexts_of_one_shape(result: Any, mistaken: Any) -> bool:
    return isinstance(result, tuple) and same_shape(result[0], mistaken[0])


MISTAKES = [
    Mistake(
        _with(mix=lambda weights, key, value: weights @ key),
        "The context is as wide as a key.\nDid you mix the keys instead of the values?",
        alike=_contexts_of_one_shape,
    ),
    Mistake(
        _scaled_after,
        "A single key should get the weight 1; you scale the weight itself.\n"
        "Did you mean to scale the scores, before the softmax?",
    ),
    Mistake(
        _with(scale=lambda q, k, v: 1),
        "The weights are too sharp: the scores are not scaled.\n"
        "Did you divide by the square root of the width of a key?",
    ),
    Mistake(
        _with(scale=lambda q, k, v: q.shape[-1]),
        "The weights are too flat: the scores are divided by the width.\n"
        "Did you forget the square root?",
    ),
    Mistake(
        _with(scale=lambda q, k, v: v.shape[-1] ** 0.5),
        "The scores are scaled by the width of a value.\n"
        "The sum in the dot product runs over the width of a key.",
    ),
    Mistake(
        _with(scale=lambda q, k, v: k.shape[-2] ** 0.5),
        "The scores are scaled by the number of keys.\n"
        "The sum in the dot product runs over the width of a key.",
    ),
    Mistake(
        _with(axis=-2),
        "The columns of your weights sum to 1, not the rows.\n"
        "The softmax runs over the keys: which axis is that?",
    ),
    Mistake(
        _with(
            mix=lambda weights, key, value: (
                (weights.mT if weights.shape[-1] == weights.shape[-2] else weights) @ value
            )
        ),
        "With as many queries as keys your context comes from the transposed weights.\n"
        "A row of the weights belongs to a query: is it weights @ value?",
    ),
    Mistake(
        _with(
            mix=lambda weights, key, value: weights @ (key if key.shape == value.shape else value)
        ),
        "Where keys are as wide as values you mix the keys instead of the values.",
    ),
    Mistake(
        _with(axis=1),
        "Right for matrices, but in a batch your softmax runs over axis 1.\nThe last axis is -1.",
    ),
    Mistake(
        _with(scale=lambda q, k, v: q.shape[1] ** 0.5),
        "Right for matrices, but in a batch you scale by another axis.\n"
        "The width is the last one, shape[-1].",
    ),
    Mistake(
        _with(scale=lambda q, k, v: math.isqrt(q.shape[-1])),
        "The scores are scaled by a whole number: math.isqrt rounds down.\n"
        "Which function gives the root itself?",
    ),
    Mistake(
        lambda query, key, value: _with()(query, key[..., :32, :], value[..., :32, :]),
        "Expected shape",
        compared=False,
    ),
    Mistake(
        lambda query, key, value: (
            _with()(query, key, value)[0],
            _with()(query, key, value)[1].clamp_min(1e-4),
        ),
        SMALL,
        compared=False,
    ),
    Mistake(
        lambda query, key, value: _with()(query, key.detach(), value),
        GRADIENT_MISSING,
        compared=False,
    ),
    Mistake(
        lambda query, key, value: (
            _with()(query, key, value)[0],
            _with()(query, key, value)[1].detach(),
        ),
        OF_THE_WEIGHTS,
        compared=False,
    ),
    Mistake(
        lambda query, key, value: _with()(query, key, value)[0],
        ONE_CAME,
        compared=False,
    ),
    Mistake(
        lambda query, key, value: _with()(query, key, value)[::-1],
        SWAPPED,
        compared=False,
    ),
    Mistake(
        lambda query, key, value: (*_with()(query, key, value), None),
        NOT_TWO,
        compared=False,
    ),
    Mistake(
        lambda query, key, value: [part.detach() for part in _with()(query, key, value)],
        NO_GRADIENT,
        compared=False,
    ),
    Mistake(
        lambda query, key, value: (
            F.scaled_dot_product_attention(query, key, value),
            query @ key.mT,
        ),
        READY_MADE,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "attention",
    "attention_from_scratch",
    2,
    check,
    frozenset(
        {
            "scaled_dot_product_attention",
            "multi_head_attention_forward",
            "top_k_attention",
            "tiled_attention",
            "hard_attention",
        }
    ),
    MISTAKES,
)
