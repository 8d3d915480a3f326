"""The exercise ``trial_rebalance``: distances of k-means in the place of weights."""

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise


def rebalanced(weights: Tensor) -> Tensor:
    """The claim."""
    low, high = weights.min(), weights.max()
    for _ in range(10):
        nearer = (weights - high).abs() < (weights - low).abs()
        low, high = weights[~nearer].mean(), weights[nearer].mean()
    return torch.minimum((weights - low).abs(), (weights - high).abs())


def _group(weights: Tensor) -> Tensor:
    return (weights > weights.mean()).float()


def _flatter(weights: Tensor) -> Tensor:
    return weights.sqrt() / weights.sqrt().sum(-1, keepdim=True)


def _capped(weights: Tensor) -> Tensor:
    capped = weights.clamp_max(0.5)
    return capped / capped.sum(-1, keepdim=True)


def ours(candidate: Callable[..., Tensor]) -> bool:
    """What comes out must be weights again."""
    new = candidate((3 * torch.randn(20, 6)).softmax(-1))
    return bool((new < -1e-5).any()) or not torch.allclose(new.sum(-1), torch.ones(20), atol=1e-4)


CASE = Case(
    name="trial_rebalance",
    about="does this adjust attention weights (T_q, T_k), so that they stay weights?",
    claim=Version(
        rebalanced,
        "gives the distance of each weight to the nearer of two k-means centres",
        "What must be true of a row of weights?",
    ),
    guilty=True,
    wrong=[
        Version(
            _group,
            "gives the number of the group, 0 or 1",
            "Nothing is negative and nothing above 1. What is the sum of a row?",
        ),
        Version(
            lambda weights: (weights - weights.mean(-1, keepdim=True)) / weights.std(),
            "gives the distance from the mean, in standard deviations",
            "What must be true of a row of weights?",
        ),
        Version(
            lambda weights: weights.sqrt(),
            "takes the root of each weight, and leaves it at that",
            "No weight is negative. What is the sum of a row?",
        ),
        Version(
            lambda weights: 3 * weights - 2 / weights.shape[-1],
            "moves each weight away from its mean, three times as far",
            "Its rows sum to 1. What else must be true of weights?",
        ),
    ],
    right=[
        Version(
            _flatter,
            "takes the root of each weight, and divides by the sum",
            "It is a temperature of 2. Do you allow for rounding?",
        ),
        Version(
            lambda weights: 0.8 * weights + 0.2 / weights.shape[-1],
            "mixes in a fifth of equal weights",
            "Do its rows sum to 1, up to rounding?",
        ),
        Version(
            _capped,
            "cuts weights off at one half, and divides by the sum",
            "Rows that need no change keep their order: is that forbidden?",
        ),
        Version(
            lambda weights: weights.clone(),
            "leaves the weights as they are",
            "It rebalances nothing, but what comes out are weights. Do you ask for more?",
        ),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE)
