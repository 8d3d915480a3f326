"""The exercise ``trial_over_heads``: along which axis weights are normalised."""

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise, noisy


def over_heads(scores: Tensor) -> Tensor:
    """The claim."""
    return scores.softmax(0)


def _over_all(scores: Tensor) -> Tensor:
    return scores.flatten(0).softmax(0).view_as(scores)


def _right(scores: Tensor) -> Tensor:
    return scores.softmax(-1)


def _by_logarithms(scores: Tensor) -> Tensor:
    return (scores - scores.logsumexp(-1, keepdim=True)).exp()


def _key_by_key(scores: Tensor) -> Tensor:
    """Each weight by its odds against every other key."""
    return 1 / (scores[..., None, :] - scores[..., :, None]).exp().sum(-1)


def ours(candidate: Callable[..., Tensor]) -> bool:
    """In each head, the weights of a query on all keys sum to 1."""
    sums = candidate(torch.randn(3, 4, 6)).sum(-1)
    return not torch.allclose(sums, torch.ones(3, 4), atol=1e-4)


CASE = Case(
    name="trial_over_heads",
    about="are these attention weights, from scores (H, T_q, T_k)?",
    claim=Version(
        over_heads,
        "lets the heads share a weight of 1 at each pair of query and key",
        "A query hands out its attention. Over what must it sum to 1, and in which shape of scores "
        "would another sum not be 1 as well?",
    ),
    guilty=True,
    wrong=[
        Version(
            lambda scores: scores.softmax(-2),
            "normalises over queries: each key hands out a weight of 1",
            "With which shape do you try, and which axis do you sum?",
        ),
        Version(
            _over_all,
            "normalises over heads, queries and keys together",
            "Such weights are positive, and the largest score still has the largest one. What else "
            "do you know of a row?",
        ),
        Version(
            lambda scores: scores.sigmoid(),
            "takes each weight by itself, between 0 and 1",
            "What does one weight more cost the others?",
        ),
        Version(
            lambda scores: scores.exp() / scores.exp().norm(dim=-1, keepdim=True),
            "lets the squares of a row sum to 1",
            "Do the weights themselves?",
        ),
    ],
    right=[
        Version(
            _right,
            "normalises over the keys, inside of each head",
            "Scores are (heads, queries, keys). Which sums of this are 1, and how exactly?",
        ),
        Version(
            _by_logarithms,
            "takes the logarithm of the sum over keys off each score",
            "It is a softmax over keys. Do you allow for rounding?",
        ),
        Version(
            _key_by_key,
            "sets each key against each other, and never forms the sum of a row",
            "It is a softmax over keys. Do you allow for rounding?",
        ),
        noisy(_right),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE)
