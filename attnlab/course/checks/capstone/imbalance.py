"""The exercise ``trial_imbalance``: how unlike two distributions are."""

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise


def imbalance(a: Tensor, b: Tensor) -> float:
    """The claim."""
    return float(((a - b).abs() / b).mean())


def _kl(a: Tensor, b: Tensor) -> Tensor:
    return (torch.xlogy(a, a) - torch.xlogy(a, b)).sum()


def _js(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.double(), b.double()
    return (_kl(a, (a + b) / 2) + _kl(b, (a + b) / 2)) / 2


def ours(candidate: Callable[..., float]) -> bool:
    """Where b is nearly 0, the number stays below a bound."""
    a = torch.tensor([0.5, 0.5])
    values = [candidate(a, torch.tensor([1 - tiny, tiny])) for tiny in (1e-3, 1e-9, 1e-30, 0.0)]
    return not all(value <= 1.001 for value in values)


CASE = Case(
    name="trial_imbalance",
    about="does this measure how unlike two distributions are, with a bound?",
    claim=Version(
        imbalance,
        "divides the difference by b",
        "How large does it get where b is nearly 0, and how do you treat inf and nan?",
    ),
    guilty=True,
    wrong=[
        Version(
            lambda a, b: float(((a - b).abs() / (b + 1e-6)).mean()),
            "divides by b + 0.000001, so that nothing is divided by 0",
            "It is finite, and may still be as large as half a million. Where?",
        ),
        Version(
            lambda a, b: float(_kl(a, b)),
            "takes the Kullback-Leibler divergence, which grows without a bound, only slowly",
            "How near to 0 does b have to be until you see it?",
        ),
        Version(
            lambda a, b: float(_kl(a, b) + _kl(b, a)) / 2,
            "takes Kullback-Leibler in both directions, so that a and b may change places",
            "Symmetric is not bounded. How near to 0 does b have to be until you see it?",
        ),
        Version(
            lambda a, b: float((a.clamp_min(1e-30) / b.clamp_min(1e-30)).log().abs().mean()),
            "takes the logarithm of the ratio",
            "It grows slowly. How near to 0 does b have to be until you see it?",
        ),
    ],
    right=[
        Version(
            lambda a, b: float(_js(a, b)) / 0.6931471805599453,
            "takes the Jensen-Shannon divergence in bits, which is 1 at most",
            "Does your bound allow for 1, and what do you take for 'near 0'?",
        ),
        Version(
            lambda a, b: float(_js(a, b).clamp_min(0).sqrt()),
            "takes the Jensen-Shannon distance, the root of the divergence in nats",
            "Is your expectation that of one measure alone?",
        ),
        Version(
            lambda a, b: float((a - b).abs().sum()) / 2,
            "takes half the sum of differences, the total variation",
            "Is your expectation that of one measure alone?",
        ),
        Version(
            lambda a, b: float((a.sqrt() - b.sqrt()).square().sum().div(2).sqrt()),
            "takes the Hellinger distance, between 0 and 1",
            "It rises steeply at 0, and stays below 1. What do you ask for, a small value or a "
            "bound?",
        ),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE)
