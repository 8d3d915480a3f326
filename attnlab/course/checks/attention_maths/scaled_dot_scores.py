"""The exercise ``scaled_dot_scores``."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

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
    same_shape,
    where,
)
from attnlab.languages import tr

SEEN = "With d = {width} your scores have a standard deviation of {spread:.2g}, not about 1.\n"
ALL_AXES = (
    "Right for matrices, wrong for batches {names}.\n"
    "Do you count the axes from the end? (.T turns all of them round.)"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``scaled_dot_scores(query, key, mask=None)``: how well each key answers, -inf if hidden."""
    compared = Comparison(answer, _reference, MISTAKES, what="scores")
    compared.on(
        partial(_pair, draw, 5, 7, 64),
        "The scores are wrong.\nIs it one dot product per pair of query and key?",
        facts=_facts,
    )
    yield "one score per query and key"
    yield "a standard deviation of about 1, also at d = 64"
    for width in (1, 10, 16, 256):
        compared.on(
            partial(_pair, draw, 2, 3, width),
            "Right at d = 64, wrong at d = {width}.\n"
            "Do you take the width from the shape of the key?",
            facts=_facts,
        )
    for batch, names in (((2,), "(B, T, d_k)"), ((2, 3), "(B, H, T, d_k)")):
        query, key = draw.normal(*batch, 4, 8), draw.normal(*batch, 5, 8)
        with where(tr(ALL_AXES, names=names)):
            answer.tensor(query, key, shape=(*batch, 4, 5), what="scores")
        compared.on(
            partial(_batches, draw, batch),
            tr(
                "Right for matrices, wrong for batches {names}.\n"
                "Do you count the axes from the end?",
                names=names,
            ),
            facts=_facts,
        )
    answer.gradients(_reference, query, key)
    yield "any width, and batches"
    for axes, shape in (((), (4, 5)), ((2, 3), (2, 1, 1, 5)), ((2, 3), (4, 5))):
        compared.on(
            partial(_masked, draw, axes, shape),
            tr(
                "With a mask of shape {shape} the scores are wrong.\n"
                "Hidden keys score -inf; are all others as without a mask?",
                shape=shape,
            ),
            facts=_facts,
        )
    yield "hidden keys score -inf"


def _pair(draw: Draw, queries: int, keys: int, width: int) -> Call:
    return Call(draw.normal(queries, width), draw.normal(keys, width))


def _batches(draw: Draw, batch: tuple[int, ...]) -> Call:
    tokens = draw.whole(4, 6)  # sizes that differ from draw to draw, and from each other
    return Call(draw.normal(*batch, tokens, 8), draw.normal(*batch, 9 - tokens, 8))


def _masked(draw: Draw, batch: tuple[int, ...], shape: tuple[int, ...]) -> Call:
    query, key = draw.normal(*batch, 4, 8), draw.normal(*batch, 5, 8)
    return Call(query, key, mask=draw.normal(*shape) > 0)


def _reference(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = query @ key.mT / math.sqrt(key.shape[-1])
    return scores if mask is None else scores.masked_fill(~mask, -math.inf)


def _facts(call: Call, scores: Tensor) -> dict[str, Any]:
    query, key = call.arguments
    return {
        "width": query.shape[-1],
        "spread": scores.std().item(),
        "queries": query.shape[-2],
        "keys": key.shape[-2],
    }


# --- What learners write instead -----------------------------------------------------------------


def _product(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.transpose(-2, -1)


def _finite(scores: Tensor, mask: Tensor, low: float) -> Tensor:
    return scores.masked_fill(~mask, low)


def _with(hide: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """The scores, with another way to hide keys."""

    def answer(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = _product(query, key) / key.shape[-1] ** 0.5
        return scores if mask is None else hide(scores, mask)

    return answer


def _both_nan(result: Any, mistaken: Any) -> bool:
    both = isinstance(result, Tensor) and isinstance(mistaken, Tensor)
    return both and bool(result.isnan().any() and mistaken.isnan().any())


MISTAKES = [
    Mistake(
        lambda query, key: _product(key, query) / query.shape[-1] ** 0.5,
        "Your scores have shape ({keys}, {queries}): a row for each key.\n"
        "Queries ask: which of the two should be the rows?",
        alike=same_shape,
    ),
    Mistake(_product, SEEN + "Did you divide by the square root of the width of a key?"),
    Mistake(
        lambda query, key: _product(query, key) / query.shape[-1],
        SEEN + "Did you divide by the width itself instead of its square root?",
    ),
    Mistake(
        lambda query, key: _product(query, key) * query.shape[-1] ** 0.5,
        SEEN + "Did you multiply by the square root of the width?",
    ),
    Mistake(
        lambda query, key: _product(query, key) / key.shape[-2] ** 0.5,
        SEEN + "Did you divide by the root of the number of keys? The sum runs over the width.",
    ),
    Mistake(
        lambda query, key: _product(query, key) / query.shape[-2] ** 0.5,
        SEEN + "Did you divide by the root of the number of queries? The sum runs over the width.",
    ),
    Mistake(
        lambda query, key: (_product(query, key) / query.shape[-1] ** 0.5).softmax(-1),
        "These are weights: their rows sum to 1.\nScores come before the softmax.",
    ),
    Mistake(
        lambda query, key: _product(query, key) / query.shape[-1] ** 1 / 2,
        SEEN + "`d**1/2` is d / 2, as `**` binds before `/`. The root is `d**0.5`.",
    ),
    Mistake(
        lambda query, key: torch.cosine_similarity(
            query[..., :, None, :], key[..., None, :, :], dim=-1
        ),
        "Your scores do not change if a query is twice as long.\n"
        "Did you normalise the vectors (cosine)? Only their width matters here.",
    ),
    Mistake(
        lambda query, key: _product(query, key) / 8,
        "Right at d = 64, wrong at d = {width}.\nIs there an 8 typed in where sqrt(d) should be?",
    ),
    Mistake(
        lambda query, key: _product(query, key) / math.isqrt(query.shape[-1]),
        "Right at d = 64, wrong at d = {width}, which is no square number.\n"
        "math.isqrt rounds down to a whole number: which function gives the root itself?",
    ),
    Mistake(lambda query, key: query @ key.T / query.shape[-1] ** 0.5, ALL_AXES, compared=False),
    Mistake(
        lambda query, key: _product(query, key) / key.shape[1] ** 0.5,
        "Right for matrices, but in a batch you scale by another axis.\n"
        "The width is shape[-1]; is it shape[1] in yours?",
    ),
    Mistake(
        lambda query, key: _product(query, key) / query.shape[1] ** 0.5,
        "Right for matrices, but in a batch you scale by another axis.\n"
        "The width is shape[-1]; is it shape[1] of the query in yours?",
    ),
    Mistake(_with(lambda scores, mask: scores), "The mask has no effect."),
    Mistake(
        _with(lambda scores, mask: scores.masked_fill(mask, -math.inf)),
        "The keys that may be seen are hidden, and the others are not.\n"
        "True means that looking is allowed: is the mask turned round?",
    ),
    Mistake(
        _with(lambda scores, mask: scores * mask),
        "Hidden keys score 0.\nexp(0) is 1: which score has the exponential 0?",
    ),
    *(
        Mistake(
            _with(partial(_finite, low=low)),
            "Hidden keys have a large negative score, but a finite one.\n"
            "Which score stays below all others, however low they are?",
        )
        for low in (-1e4, -1e9)
    ),
    Mistake(
        _with(lambda scores, mask: scores + ~mask * -math.inf),
        "There is NaN in the scores: 0 times infinity.\n"
        "Can you write -inf into the hidden places only (masked_fill, torch.where)?",
        alike=_both_nan,
    ),
]

EXERCISE = Exercise(
    "scaled_dot_scores",
    "attention_maths",
    1,
    check,
    frozenset({"scaled_dot_scores"}),
    MISTAKES,
    ours=_reference,
)
