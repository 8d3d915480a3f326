"""The exercise ``attention_backward``."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
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
    same,
)
from attnlab.course.checks.examiner.results import kind_of
from attnlab.languages import tr

NAMES = ("query", "key", "value")
THREE = (
    "Three gradients are asked for, {found} came.\nDoes it end in `return d_query, d_key, d_value`?"
)
SHAPES = "For {queries} queries and {keys} keys:"
WHICH = (
    "The gradient of `{name}` is wrong; autograd says otherwise.\n"
    "Which product is `{name}` a factor of, and what stands beside it there?"
)
MASKED = (
    "Right without a mask, wrong with one.\nWhich of the products know of a key that is hidden?"
)
NOWHERE = (
    "Where a query may look nowhere the gradients are wrong.\n"
    "What are its weights, and what can pass through them?"
)

Three = tuple[Tensor, Tensor, Tensor]


def check(answer: Answer, draw: Draw) -> Held:
    """``attention_backward(query, key, value, gradient, mask)``: gradients of all three inputs."""
    compared = Comparison(answer, _reference, MISTAKES, read=_three, tolerance=1e-4)

    def inputs(*batch: int, queries: int, keys: int, width: int, value_width: int) -> Call:
        return Call(
            draw.normal(*batch, queries, width),
            draw.normal(*batch, keys, width),
            draw.normal(*batch, keys, value_width),
            draw.normal(*batch, queries, value_width),
        )

    compared.on(
        lambda: inputs(queries=5, keys=5, width=3, value_width=3), WHICH, facts=_first_that_differs
    )
    yield "query, key and value: as autograd says"
    compared.on(
        lambda: inputs(queries=3, keys=6, width=5, value_width=4),
        "Right for as many queries as keys, wrong for 3 queries and 6 keys: " + WHICH,
        facts=_first_that_differs,
    )
    yield "any number of queries and keys"
    for batch in ((2,), (2, 3)):
        compared.on(
            partial(inputs, *batch, queries=3, keys=6, width=5, value_width=4),
            "Right for matrices, wrong for a batch.\nDo you count the axes from the end?",
        )
    yield "batches and heads come along"

    def masked(nowhere: bool) -> Call:
        call = inputs(2, queries=4, keys=5, width=3, value_width=2)
        mask = torch.rand(2, 4, 5, generator=draw.generator) < 0.5
        mask[..., 0], mask[..., 1] = True, False
        mask[:, 2] &= not nowhere
        return Call(*call.arguments, mask)

    compared.on(partial(masked, nowhere=False), MASKED)
    yield "hidden keys have no part in it"
    compared.on(partial(masked, nowhere=True), NOWHERE)
    yield "a query that may look nowhere sends zeros back"


def _reference(
    query: Tensor, key: Tensor, value: Tensor, gradient: Tensor, mask: Tensor | None = None
) -> Three:
    """By autograd."""
    with torch.enable_grad():
        leaves = [x.detach().clone().requires_grad_() for x in (query, key, value)]
        scores = torch.einsum("...qd,...kd->...qk", leaves[0], leaves[1])
        weights = _masked(scores / math.sqrt(query.shape[-1]), mask)
        context = torch.einsum("...qk,...kv->...qv", weights, leaves[2])
        first, second, third = torch.autograd.grad(context, leaves, gradient)
    return first, second, third


def _masked(scores: Tensor, mask: Tensor | None, hidden: float = -math.inf) -> Tensor:
    if mask is None:
        return scores.softmax(-1)
    return scores.masked_fill(~mask, hidden).softmax(-1).masked_fill(~mask, 0)


def _three(result: Any, right: Three) -> list[Tensor]:
    if result is None or isinstance(result, Tensor) or not isinstance(result, list | tuple):
        raise CheckFailed(tr(THREE, found=kind_of(result)))
    if len(result) != 3:
        raise CheckFailed(tr(THREE, found=len(result)))
    return [
        a_tensor(mine, tuple(theirs.shape), tr("gradient of `{name}`", name=name)).detach()
        for name, mine, theirs in zip(NAMES, result, right, strict=True)
    ]


def _first_that_differs(call: Call, result: Any) -> dict[str, str]:
    """Value first, then query, then key: in the order in which they are computed."""
    mine, right = _three(result, call.of(_reference)), call.of(_reference)
    for place in (2, 0, 1):
        if not same(mine[place], right[place], 1e-4):
            return {"name": NAMES[place]}
    return {"name": "query"}


# --- What learners write instead -----------------------------------------------------------------


def _less_the_mean(weights: Tensor, gradient: Tensor, axis: int = -1) -> Tensor:
    return weights * (gradient - (weights * gradient).sum(axis, keepdim=True))


def _root(query: Tensor) -> float:
    return math.sqrt(query.shape[-1])


def _with(
    forward: Callable[[Tensor], float] = _root,
    backward: Callable[[Tensor], float] = _root,
    through: Callable[[Tensor, Tensor], Tensor] = _less_the_mean,
    to_value: Callable[[Tensor, Tensor], Tensor] = lambda weights, g: weights.mT @ g,
    to_weights: Callable[[Tensor, Tensor], Tensor] = lambda value, g: g @ value.mT,
    to_query: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda ds, q, k: ds @ k,
    to_key: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda ds, q, k: ds.mT @ q,
    last: Callable[[Tensor, Tensor, Tensor], Any] = lambda dq, dk, dv: (dq, dk, dv),
    softmax: Callable[[Tensor, Tensor | None], Tensor] = _masked,
) -> Callable[..., Any]:
    """The backward pass with a part exchanged."""

    def answer(
        query: Tensor, key: Tensor, value: Tensor, gradient: Tensor, mask: Tensor | None = None
    ) -> Any:
        weights = softmax(query @ key.mT / forward(query), mask)
        scores = through(weights, to_weights(value, gradient)) / backward(query)
        return last(
            to_query(scores, query, key), to_key(scores, query, key), to_value(weights, gradient)
        )

    return answer


def _unmended(scores: Tensor, mask: Tensor | None, hidden: float = -math.inf) -> Tensor:
    return (scores if mask is None else scores.masked_fill(~mask, hidden)).softmax(-1)


def _holds_nan(result: Any, mistaken: Any) -> bool:
    """Whether one of the gradients is NaN somewhere in both."""
    return all(any(not x.isfinite().all() for x in three) for three in (result, mistaken))


MISTAKES = [
    Mistake(
        _with(backward=lambda q: 1.0),
        "The gradients of `query` and `key` are too large by the root of the width.\n"
        "Going forward the scores are divided by it. And going backward?",
    ),
    Mistake(
        _with(backward=lambda q: float(q.shape[-1])),
        "The gradients of `query` and `key` are divided by the width, not by its root.",
    ),
    Mistake(
        _with(forward=lambda q: 1.0),
        "The weights are those of scores that are not divided by the root of the width.\n"
        "Going forward, what happens to the scores before the softmax?",
    ),
    Mistake(
        _with(forward=lambda q: 1.0, backward=lambda q: 1.0),
        "Nothing is divided by the root of the width, forward or backward.",
    ),
    Mistake(
        _with(through=lambda weights, gradient: gradient),
        "The softmax is left out on the way back: the gradient of the weights is taken for that "
        "of the scores.\nWhat did lesson 01 say about a softmax going backward?",
    ),
    Mistake(
        _with(through=lambda weights, gradient: weights * gradient),
        "On the way back through the softmax each weight depends on its own score only: w * g.\n"
        "A score that rises also lowers all other weights of its row: which term says that?",
    ),
    Mistake(
        _with(through=lambda w, g: w * (g - g.mean(-1, keepdim=True))),
        "In the softmax you subtract the plain mean of the gradient.\n"
        "Should the keys not count by their weights?",
    ),
    Mistake(
        _with(through=lambda w, g: _less_the_mean(w, g, -2)),
        "In the softmax you sum over the queries.\nWhich axis did the softmax make sum to 1?",
    ),
    Mistake(
        _with(through=lambda w, g: w * (1 - w) * g),
        "In the softmax you use the diagonal of the Jacobian only: w (1 - w) g.\n"
        "What about the entries beside it?",
    ),
    Mistake(
        _with(through=lambda w, g: -_less_the_mean(w, g)),
        "The signs of the gradients of `query` and `key` are turned round.",
    ),
    Mistake(
        _with(to_value=lambda weights, g: weights @ g),
        "The gradient of `value` is mixed by the rows of the weights.\n"
        "Value j goes to all queries: which weights say how much of it each one took?",
    ),
    Mistake(
        _with(to_weights=lambda value, g: value @ g.mT),
        "The gradient of the weights is transposed.\n"
        "In which order does it have queries and keys, and in which do the weights?",
    ),
    Mistake(
        _with(to_key=lambda ds, q, k: ds @ q),
        "The gradient of `key` adds up over keys.\n"
        "Key j stands in column j of the scores: which axis has to be summed over?",
    ),
    Mistake(
        _with(to_query=lambda ds, q, k: ds @ q, to_key=lambda ds, q, k: ds.mT @ k),
        "The gradient of `query` is made of queries, and that of `key` of keys.\n"
        "In q · k, what is the derivative by q?",
    ),
    Mistake(
        _with(to_query=lambda ds, q, k: ds.mT @ k, to_key=lambda ds, q, k: ds @ q),
        "The gradient of the scores is transposed.\n"
        "Which of its axes belongs to the queries, and which to the keys?",
    ),
    Mistake(
        _with(last=lambda dq, dk, dv: (dk, dq, dv)),
        "The gradients of `query` and `key` have changed places.",
    ),
    Mistake(
        _with(last=lambda dq, dk, dv: (dv, dq, dk)),
        "The gradient of `value` comes first.\nThe order is that of the arguments.",
    ),
    Mistake(
        _with(softmax=lambda scores, mask: scores.softmax(-1)),
        "The mask has no effect.\nWhich weights have hidden keys, and which of the products use "
        "the weights?",
    ),
    Mistake(
        _with(softmax=lambda s, mask: s.softmax(-1) * (1.0 if mask is None else mask)),
        "The mask takes weight away after the softmax, so rows no longer sum to 1.\n"
        "Where did exercise 2 put it?",
    ),
    Mistake(
        _with(softmax=_unmended),
        "A query that may look nowhere makes gradients NaN.\n"
        "Which weights does your softmax of exercise 2 give it?",
        alike=_holds_nan,
    ),
    Mistake(
        _with(softmax=lambda scores, mask: _unmended(scores, mask, -1e9)),
        "A query that may look nowhere still sends gradients to keys that are hidden.\n"
        "What should its weights be?",
    ),
    Mistake(_with(last=lambda dq, dk, dv: (dq, dk)), THREE, compared=False),
    Mistake(_reference, READY_MADE, compared=False),
]

EXERCISE = Exercise(
    "attention_backward",
    "attention_from_scratch",
    3,
    check,
    frozenset({"grad", "backward", "jacobian", "vjp", "jvp", "make_dual"}),
    MISTAKES,
    ours=_reference,
)
