"""The exercise ``trial_sum_of_heads``: is joining heads and projecting them a sum over heads?"""

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise, noisy


def sum_of_heads(heads: Tensor, projection: Tensor) -> Tensor:
    """The claim."""
    parts = projection.split(heads.shape[-1])
    return torch.stack([head @ part for head, part in zip(heads, parts, strict=True)]).sum(0)


def _right(heads: Tensor, projection: Tensor) -> Tensor:
    return torch.cat(list(heads), -1) @ projection


def _by_einsum(heads: Tensor, projection: Tensor) -> Tensor:
    parts = projection.unflatten(0, (heads.shape[0], heads.shape[-1]))
    return torch.einsum("htd,hde->te", heads, parts)


def _interleaved(heads: Tensor, projection: Tensor) -> Tensor:
    return heads.permute(1, 2, 0).flatten(1) @ projection


def _first_part(heads: Tensor, projection: Tensor) -> Tensor:
    return heads.sum(0) @ projection[: heads.shape[-1]]


def ours(candidate: Callable[..., Tensor]) -> bool:
    """Beside the concatenation of the heads."""
    heads, projection = torch.randn(3, 5, 4), torch.randn(12, 6)
    expected = torch.cat([heads[0], heads[1], heads[2]], -1) @ projection
    return not torch.allclose(candidate(heads, projection), expected, atol=1e-4)


CASE = Case(
    name="trial_sum_of_heads",
    about="does this join heads (H, T, D) and project them by (H * D, E)?",
    claim=Version(
        sum_of_heads,
        "gives each head its own D rows of the projection, and adds up",
        "Write out a concatenation times a matrix for two heads of width 1. What is the "
        "difference, beyond rounding?",
    ),
    guilty=False,
    wrong=[
        Version(
            lambda heads, projection: sum_of_heads(heads, projection) / heads.shape[0],
            "takes the mean over heads instead of the sum",
            "It is right with a single head. How many do you give it, and are its results 0?",
        ),
        Version(
            _first_part,
            "adds the heads up first, and gives all of them the rows of the first",
            "Has your projection other rows for each head?",
        ),
        Version(
            _interleaved,
            "puts the first number of each head first, then the second of each",
            "It is right where heads have width 1, or all rows of the projection are alike. Are "
            "they?",
        ),
        Version(
            lambda heads, projection: heads.reshape(heads.shape[1], -1) @ projection,
            "reshapes (H, T, D) to (T, H * D) without transposing, which mixes up tokens",
            "It is right with a single token. How many do you give it?",
        ),
    ],
    right=[
        Version(
            _right,
            "puts the heads side by side and projects them, by the book",
            "What does your trial expect, if not this?",
        ),
        Version(
            _by_einsum,
            "sums over heads and widths in one einsum",
            "Which sums does 'htd,hde->te' take? Do you allow for rounding?",
        ),
        Version(
            lambda heads, projection: sum_of_heads(
                heads.flip(0), projection.unflatten(0, (len(heads), -1)).flip(0).flatten(0, 1)
            ),
            "begins with the last head",
            "A sum may be taken in any order. Do you allow for rounding?",
        ),
        noisy(_right),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE)
