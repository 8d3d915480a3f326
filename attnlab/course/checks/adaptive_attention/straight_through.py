"""The exercise ``straight_through``."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    NO_GRADIENT,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    backward,
    require,
    where,
)

HARD = (
    "The result is right, but the scores get no gradient: the best key is found by an arg-max, "
    "which has none.\nWhich soft result can lend its gradient?"
)
NO_VALUES = "The result is right, but the values get no gradient.\nWhat of it is under detach()?"
INFINITE = (
    "Scores of hidden keys are -inf, and a gradient or result is NaN.\n"
    "Is something computed as inf - inf? Is there a `scores - scores.detach()`?"
)
TIED = (
    "Where two keys are equally good, the result is neither value of the two.\n"
    "How many weights are 1 if you compare scores with their largest?"
)


class Backward(Call):
    """A call with the gradients of what comes out, for a given gradient of the result."""

    def __init__(self, scores: Tensor, values: Tensor, gradient: Tensor):
        super().__init__(scores, values)
        self.gradient = gradient

    def of(self, function: Callable[..., Any]) -> list[Any]:
        """The result, and the gradients of scores and values."""
        leaves = [argument.detach().clone().requires_grad_() for argument in self.arguments]
        result = function(*leaves)
        if not isinstance(result, Tensor) or result.shape != self.gradient.shape:
            return [a_tensor(result, tuple(self.gradient.shape)), None, None]
        require(result.requires_grad, NO_GRADIENT)
        gradients = backward(result, leaves, self.gradient)
        for gradient, told in zip(gradients, (HARD, NO_VALUES), strict=True):
            require(gradient is not None, told)
        return [result.detach(), *gradients]


def check(answer: Answer, draw: Draw) -> Held:
    """``straight_through(scores, values)``: hard forward, soft backward."""
    compared = Comparison(answer, _forward, MISTAKES)
    otherwise = (
        "The result is wrong for query {query} of the first text: it should be the value of key "
        "{key}, whose score is the largest.\nWhich row of `values` is that?"
    )

    def forward(batch: int) -> Call:
        queries, keys, width = draw.whole(2, 3), draw.whole(4, 5), draw.whole(6, 7)
        return Call(draw.normal(batch, queries, keys), draw.normal(batch, keys, width))

    with where("For a single text:"):
        compared.on(lambda: forward(1), otherwise, facts=_facts)
    with where("For several texts:"):
        compared.on(lambda: forward(3), otherwise, facts=_facts)
    yield "forward: the value of the best key, and nothing else"
    _tied(answer, draw)
    yield "one key, where several are equally good"

    both = Comparison(answer, _soft_backward, OF_GRADIENTS, read=_read)
    wrong = (
        "The result is right, but the gradient of the {what} is not that of soft attention.\n"
        "Which part of the sum is under detach()?"
    )

    def backwards(scale: float = 1.0) -> Backward:
        scores, values = forward(2).arguments
        gradient = draw.normal(2, scores.shape[1], values.shape[2])
        return Backward(scale * scores, values, gradient)

    both.on(backwards, wrong, facts=_of_gradients)
    yield "backward: the gradients of soft attention, for scores and for values"

    def large() -> Backward:
        call = backwards(40.0)
        scores, values = call.arguments
        return Backward(scores + 300, values, call.gradient)

    with where("For scores in the hundreds:"):
        both.on(large, wrong, facts=_of_gradients, draws=2)

    def hidden() -> Backward:
        call = backwards()
        scores, values = call.arguments
        scores = scores.clone()
        scores[0, :, 0] = scores[1, :, -1] = -torch.inf
        return Backward(scores, values, call.gradient)

    for _ in range(2):
        call = hidden()
        finite = all(
            part.isfinite().all() for part in _read(call.of(answer), call.of(answer), nan=True)
        )
        require(finite, INFINITE)
    with where("Where some scores are -inf:"):
        both.on(hidden, wrong, facts=_of_gradients, draws=2)
    yield "large scores, and hidden keys"


def _tied(answer: Answer, draw: Draw) -> None:
    """Any one of the best keys will do."""
    for _ in range(2):
        scores, values = draw.normal(2, 3, 5), draw.normal(2, 5, 4)
        first, second = torch.randperm(5, generator=draw.generator)[:2].tolist()
        scores[:, :, first] = scores[:, :, second] = 4.0
        result = answer.tensor(scores, values, shape=(2, 3, 4))
        choices = values[:, None, [first, second]]  # (2, 1, 2, 4)
        apart = (result.detach()[:, :, None] - choices).abs().amax(-1).amin(-1)
        require(apart.max() < 1e-5, TIED)


def _forward(scores: Tensor, values: Tensor) -> Tensor:
    """Query by query."""
    return torch.stack(
        [
            torch.stack([rows[max(range(len(row)), key=row.__getitem__)] for row in table])
            for table, rows in zip(scores.tolist(), values, strict=True)
        ]
    )


class _Straight(torch.autograd.Function):
    """By hand, sharing nothing with the usual trick."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(scores, values)
        return _forward(scores, values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        scores, values = ctx.saved_tensors
        weights = torch.softmax(scores, -1)
        of_weights = torch.einsum("bqd,bkd->bqk", gradient, values)
        mean = (weights * of_weights).sum(-1, keepdim=True)
        return weights * (of_weights - mean), torch.einsum("bqk,bqd->bkd", weights, gradient)


def _soft_backward(scores: Tensor, values: Tensor) -> Tensor:
    result: Tensor = _Straight.apply(scores, values)
    return result


def _read(result: list[Any], right: list[Any], nan: bool = False) -> list[Tensor]:
    shapes = [tuple(part.shape) for part in right]
    return [
        a_tensor(part, shape, what, may_be_nan=nan).detach()
        for part, shape, what in zip(
            result,
            shapes,
            ("result", "gradient of the scores", "gradient of the values"),
            strict=True,
        )
    ]


def _facts(call: Call, result: Any) -> dict[str, Any]:
    scores, _ = call.arguments
    right, query = call.of(_forward), 0
    if isinstance(result, Tensor) and result.shape == right.shape:
        query = int((result.detach() - right)[0].abs().amax(-1).argmax())
    return {"query": query, "key": int(scores[0, query].argmax())}


def _of_gradients(call: Call, result: list[Any]) -> dict[str, Any]:
    right = call.of(_soft_backward)
    for part, expected, what in zip(result, right, ("result", "scores", "values"), strict=True):
        if not torch.allclose(part, expected, rtol=1e-4, atol=1e-5):
            return {"what": what}
    return {"what": "scores"}


# --- What learners write instead -----------------------------------------------------------------


def _soft(scores: Tensor, values: Tensor) -> Tensor:
    return scores.softmax(-1) @ values


def _one_hot(scores: Tensor, axis: int = -1) -> Tensor:
    return torch.zeros_like(scores).scatter(axis, scores.argmax(axis, keepdim=True), 1.0)


def _hard(scores: Tensor, values: Tensor) -> Tensor:
    return _one_hot(scores) @ values


def _by_weights(soft: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The trick on the weights instead of the result."""

    def answer(scores: Tensor, values: Tensor) -> Tensor:
        weights = soft(scores)
        return (_one_hot(scores) + weights - weights.detach()) @ values

    return answer


def _lending(lent: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The hard result with another's gradient."""

    def answer(scores: Tensor, values: Tensor) -> Tensor:
        soft = lent(scores, values)
        return _hard(scores, values).detach() + soft - soft.detach()

    return answer


def _adding_up(scores: Tensor, values: Tensor) -> Tensor:
    soft = _soft(scores, values)
    return _hard(scores, values) + soft - soft.detach()


def _gradient_of_difference(scores: Tensor, values: Tensor) -> Tensor:
    soft = _soft(scores, values)
    return soft.detach() + (_hard(scores, values) - soft)


def _of_hidden(scores: Tensor, values: Tensor) -> Tensor:
    right = _lending(_soft)(scores, values)
    return right + (scores - scores.detach()).sum() * 0


def _all_of_the_best(scores: Tensor, values: Tensor) -> Tensor:
    best = (scores == scores.amax(-1, keepdim=True)).to(values.dtype) @ values
    soft = _soft(scores, values)
    return best.detach() + soft - soft.detach()


MISTAKES = [
    Mistake(
        _soft,
        "The result is that of soft attention: a mean of all values.\nForward, only the best key "
        "counts.",
    ),
    Mistake(
        lambda scores, values: _hard(-scores, values),
        "The value of the *worst* key comes back.\nIs there an argmin, or a minus?",
    ),
    Mistake(
        lambda scores, values: _one_hot(scores, 1) @ values,
        "For each key the best query is found.\nOver which axis is the arg-max?",
    ),
    Mistake(
        lambda scores, values: values[torch.arange(len(values))[:, None], scores.argmax(-1) * 0],
        "Every query gets the value of key 0.\nDoes the index differ among queries?",
    ),
    Mistake(
        lambda scores, values: values[0][scores.argmax(-1)],
        "Every text gets values of the first text.\nWhich text does your index take them from?",
    ),
    Mistake(
        lambda scores, values: (_one_hot(scores) * scores.softmax(-1)) @ values,
        "The best value is made smaller by its weight.\nForward, its weight should be 1.",
    ),
    Mistake(
        lambda scores, values: (_one_hot(scores) * scores) @ values,
        "The best value is multiplied by its score.\nForward, its weight should be 1.",
    ),
    Mistake(
        lambda scores, values: _hard(scores, values) + _soft(scores, values),
        "The hard and the soft result are added up.\nOf the soft one only the gradient is wanted: "
        "what must be taken away again?",
    ),
    Mistake(
        lambda scores, values: _hard(scores, values) - _soft(scores, values),
        "The soft result is taken from the hard one.\nOf the soft one only the gradient is wanted: "
        "what must be added again?",
    ),
    Mistake(
        lambda scores, values: (_hard(scores, values) + _soft(scores, values)) / 2,
        "The result lies half-way between the hard and the soft one.\nForward, only the best key "
        "counts.",
    ),
    Mistake(
        lambda scores, values: values.amax(1, keepdim=True).expand(-1, scores.shape[1], -1),
        "In each column the largest value is taken.\nThe largest *score* decides.",
    ),
    Mistake(_hard, HARD, compared=False),
    Mistake(_all_of_the_best, TIED, compared=False),
    Mistake(_of_hidden, INFINITE, compared=False),
]

OF_GRADIENTS = [
    Mistake(
        _by_weights(lambda scores: scores.softmax(-1)),
        "The scores get the right gradient, the values do not: only the value of the best key is "
        "trained.\nIs the trick done with the weights? Do it with the result.",
    ),
    Mistake(
        _by_weights(lambda scores: scores),
        "The gradient passes to the scores as if there were no softmax, and only the values of the "
        "best keys are trained.\nOf which function do you lend the gradient?",
    ),
    Mistake(
        _lending(lambda scores, values: scores @ values),
        "The gradient is that of scores without a softmax.\nOf which function do you lend the "
        "gradient?",
    ),
    Mistake(
        _adding_up,
        "The values get two gradients, the hard and the soft one.\nWhat of the hard result must be "
        "under detach()?",
    ),
    Mistake(
        _gradient_of_difference,
        "The gradient has the wrong sign for the scores.\nWhich of the two terms is under "
        "detach()?",
    ),
    Mistake(
        lambda scores, values: _lending(lambda *given: 2 * _soft(*given))(scores, values),
        "Both gradients are twice as large as they should be.\nHow often is the soft result added?",
    ),
    Mistake(
        lambda scores, values: _lending(
            lambda scores, values: (scores / values.shape[-1] ** 0.5).softmax(-1) @ values
        )(scores, values),
        "The gradient is that of a softmax of scores divided by the root of the width.\nThe scores "
        "are given as they are.",
    ),
    Mistake(
        lambda scores, values: _lending(lambda scores, values: scores.sigmoid() @ values)(
            scores, values
        ),
        "The gradient is that of a sigmoid.\nSoft attention has a softmax.",
    ),
]

EXERCISE = Exercise(
    "straight_through",
    "adaptive_attention",
    2,
    check,
    frozenset({"gumbel_softmax", "attnlab.straight_through", "attnlab.hard_attention"}),
    [*MISTAKES, *OF_GRADIENTS],
)
