"""The exercise ``trial_scale``: attention weights without a scale."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise, noisy


def unscaled(query: Tensor, key: Tensor) -> Tensor:
    """The claim."""
    return (query @ key.mT).softmax(-1)


def _divided(by: Callable[[Tensor, Tensor], float]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda query, key: (query @ key.mT / by(query, key)).softmax(-1)


def _right(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)


def _both_scaled(query: Tensor, key: Tensor) -> Tensor:
    root = query.shape[-1] ** -0.25
    return ((root * query) @ (root * key).mT).softmax(-1)


def _shifted(query: Tensor, key: Tensor) -> Tensor:
    scores = torch.einsum("...qd,...kd->...qk", query / query.shape[-1] ** 0.5, key)
    scores = scores - scores.amax(-1, keepdim=True)
    return (scores - scores.logsumexp(-1, keepdim=True)).exp()


def ours(candidate: Callable[..., Tensor]) -> bool:
    """The spread of the scores, read off the weights, is about 1 at any width."""
    for width in (4, 64):
        query, key = torch.randn(2, 200, width)
        spread = float(candidate(query, key).log().std(-1).mean())
        if not 0.8 < spread < 1.2:
            return True
    return False


CASE = Case(
    name="trial_scale",
    about="are these attention weights, for queries and keys of any width?",
    claim=Version(
        unscaled,
        "never divides the scores by anything",
        "The variance of a score grows with the width. Which width makes that visible?",
    ),
    guilty=True,
    wrong=[
        Version(
            _divided(lambda query, key: 8**0.5),
            "divides by the square root of 8, its number of heads",
            "That is right at width 8. Which other width do you try?",
        ),
        Version(
            _divided(lambda query, key: 8.0),
            "divides by 8, whatever the width",
            "That is right at width 64. Which other width do you try?",
        ),
        Version(
            _divided(lambda query, key: float(query.shape[-1])),
            "divides by the width instead of its square root",
            "Weights may be too even as well as too sharp. Do you look at both sides?",
        ),
        Version(
            _divided(lambda query, key: key.shape[-2] ** 0.5),
            "divides by the square root of the number of keys",
            "That is right where there are as many keys as numbers in one. Are there, in yours?",
        ),
    ],
    right=[
        Version(
            _right,
            "divides the scores by the square root of the width",
            "How large are scores of this version with numbers of variance 1, and how sharp the "
            "weights?",
        ),
        Version(
            _both_scaled,
            "scales query and key, each by the fourth root of the width, in place of the scores",
            "What counts is the product. Do you allow for rounding?",
        ),
        Version(
            _shifted,
            "scales the query before, and takes the maximum off the scores",
            "Do weights change when all scores of a row fall by the same? Only by rounding.",
        ),
        noisy(_right),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE)
