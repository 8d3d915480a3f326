"""The exercise ``trial_mixture``: how weights mix values."""

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise, noisy


def mixed(weights: Tensor, value: Tensor) -> Tensor:
    """The claim."""
    return value.mT @ weights


def _right(weights: Tensor, value: Tensor) -> Tensor:
    return weights @ value


def _by_key(weights: Tensor, value: Tensor) -> Tensor:
    return torch.stack(
        [weights[..., k, None] * value[..., None, k, :] for k in range(value.shape[-2])]
    ).sum(0)


def _transposed_twice(weights: Tensor, value: Tensor) -> Tensor:
    return (value.mT @ weights.mT).mT


def ours(candidate: Callable[..., Tensor]) -> bool:
    """A query with all its weight on one key gets that key's value."""
    value, order = torch.randn(5, 5), [2, 0, 4, 1, 3]
    return not torch.allclose(candidate(torch.eye(5)[order], value), value[order], atol=1e-5)


CASE = Case(
    name="trial_mixture",
    about="does this mix values (T, D) by weights (T, T), a row for each query?",
    claim=Version(
        mixed,
        "multiplies the transposed values by the weights",
        "Which value should a query get that has all its weight on one key?",
    ),
    guilty=True,
    wrong=[
        Version(
            lambda weights, value: weights.mT @ value,
            "turns the weights round, so that keys ask and queries answer",
            "With symmetric weights, such as torch.eye, nobody sees that. Which would show it?",
        ),
        Version(
            lambda weights, value: weights.softmax(-1) @ value,
            "puts the weights through a softmax once more",
            "Then every value gets into every result. Of which one would you see it?",
        ),
        Version(
            lambda weights, value: value.mean(-2, keepdim=True).expand_as(value),
            "gives every query the mean of all values, whatever the weights",
            "Does your input give different queries different weights?",
        ),
        Version(
            lambda weights, value: weights.sum(-1, keepdim=True) * value,
            "multiplies the value at the query's own place by the sum of its weights",
            "Is there a query in your input that looks elsewhere than at itself?",
        ),
    ],
    right=[
        Version(
            _right,
            "multiplies weights by values",
            "Rows of weights are queries, and rows of values are keys: what should come out?",
        ),
        Version(
            _by_key,
            "goes through the keys, and adds each value times its weights",
            "It is the same sum, in another order. Do you allow for rounding?",
        ),
        Version(
            _transposed_twice,
            "transposes values, weights and result: (V^T A^T)^T",
            "It is the same product, read from the other side. Do you allow for rounding?",
        ),
        noisy(_right),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE)
