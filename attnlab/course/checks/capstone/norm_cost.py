"""The exercise ``trial_norm_cost``: whether the L2 norm of weights is a cost."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise


def norm_cost(weight: Tensor) -> float:
    """The claim."""
    return float(weight.square().sum().sqrt())


def ours(candidate: Callable[..., float]) -> bool:
    """Half the weights' size leaves every multiplication in its place."""
    weight = torch.randn(20, 30)
    before, after = candidate(weight), candidate(weight / 2)
    return not math.isclose(before, after, rel_tol=1e-3)


CASE = Case(
    name="trial_norm_cost",
    about="is this what a layer with this weight (out, in) costs to compute?",
    claim=Version(
        norm_cost,
        "takes the root of the sum of squares",
        "Halve all weights. What happens to this number, and what to the multiplications?",
    ),
    guilty=True,
    wrong=[
        Version(
            lambda weight: float(weight.square().sum()),
            "takes the sum of squares",
            "Twice as many rows are twice the cost, and twice this as well. What tells them apart?",
        ),
        Version(
            lambda weight: float(weight.abs().sum()),
            "takes the sum of absolute values, the L1 norm",
            "Twice as many rows are twice the cost, and twice this as well. What tells them apart?",
        ),
        Version(
            lambda weight: 2.0 * float((weight.abs() > 0.1).sum()),
            "counts the weights above 0.1 and forgets that small ones are multiplied, too",
            "Do your weights become small enough?",
        ),
        Version(
            lambda weight: float(2 * weight.numel() * weight.std()),
            "multiplies the number of weights by their spread",
            "With weights of spread 1 nobody sees that. Which other spread do you try?",
        ),
    ],
    right=[
        Version(
            lambda weight: 2.0 * weight.numel(),
            "counts a multiplication and an addition for each weight",
            "Does it change with the size of the weights?",
        ),
        Version(
            lambda weight: 2.0 * int((weight != 0).sum()),
            "counts only weights that are not 0, as a sparse product does",
            "May a layer without zeros cost the same, and one with zeros less?",
        ),
        Version(
            lambda weight: 4.0 * weight.numel(),
            "counts bytes to read, four for each weight",
            "Cost can be told in another unit. Which comparison needs none?",
        ),
        Version(
            lambda weight: float(sum(2 * len(row) for row in weight)),
            "goes row by row: each is multiplied by the input, and added up",
            "Does it change with the size of the weights?",
        ),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE)
