"""The exercise ``trial_accuracy``: a loss that is called accuracy."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise


def loss_as_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """The claim."""
    return 1 - _loss(probabilities, labels)


def _loss(probabilities: Tensor, labels: Tensor) -> float:
    given = torch.where(labels == 1, probabilities, 1 - probabilities)
    return float(-given.clamp_min(1e-12).log().mean())


def _difference(probabilities: Tensor, labels: Tensor) -> Tensor:
    return (probabilities - labels).abs()


def ours(candidate: Callable[..., float]) -> bool:
    """Answers that are less sure are the same answers."""
    probabilities = torch.rand(50)
    labels = torch.bernoulli(probabilities)
    less_sure = 0.5 + (probabilities - 0.5) / 3
    before, after = candidate(probabilities, labels), candidate(less_sure, labels)
    return not math.isclose(before, after, abs_tol=1e-4)


CASE = Case(
    name="trial_accuracy",
    about="is this the share of right answers, from probabilities and labels 0 or 1?",
    claim=Version(
        loss_as_accuracy,
        "takes the mean binary cross-entropy from 1",
        "What happens to it if every answer stays, and all become less sure?",
    ),
    guilty=True,
    wrong=[
        Version(
            lambda p, y: max(1 - _loss(p, y), 0.0),
            "takes the mean binary cross-entropy from 1, but never goes below 0",
            "It stays between 0 and 1, as an accuracy does. What else is true of an accuracy?",
        ),
        Version(
            lambda p, y: math.exp(-_loss(p, y)),
            "takes e to the power of minus the loss",
            "It stays between 0 and 1, as an accuracy does. What else is true of an accuracy?",
        ),
        Version(
            lambda p, y: 1 - float(_difference(p, y).mean()),
            "takes the mean probability of the right label",
            "If the model is quite sure of everything, that is the accuracy. And if not?",
        ),
        Version(
            lambda p, y: 1 - float(_difference(p, y).square().mean()),
            "takes the Brier score from 1",
            "If the model is quite sure of everything, that is the accuracy. And if not?",
        ),
    ],
    right=[
        Version(
            lambda p, y: float(((p > 0.5) == (y == 1)).float().mean()),
            "counts answers on the right side of one half",
            "An answer is the likelier label. Which change leaves all answers as they are?",
        ),
        Version(
            lambda p, y: 1 - float((p.round() - y).abs().mean()),
            "rounds, and takes the mean difference from 1",
            "After rounding a difference is 0 or 1. Do you allow for rounding of decimals, and is "
            "a probability just 0.5?",
        ),
        Version(
            lambda p, y: int((torch.stack([1 - p, p], -1).argmax(-1) == y).sum()) / len(y),
            "takes the likelier of the two labels, and divides by the number of answers",
            "Is a probability in your input just 0.5, or is there an `==` between decimals?",
        ),
        Version(
            lambda p, y: float(((p >= 0.5) == (y == 1)).float().mean()),
            "takes just 0.5 for label 1, where others take it for label 0",
            "Nobody has agreed on that. Which probabilities leave no doubt?",
        ),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE)
