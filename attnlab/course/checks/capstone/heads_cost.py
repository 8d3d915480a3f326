"""The exercise ``trial_heads_cost``: whether more heads make attention cheaper."""

from collections.abc import Callable

from attnlab.course.checks.capstone.court import Case, Version, exercise


def heads_cost(tokens: int, width: int, heads: int) -> float:
    """The claim."""
    head = width // heads
    return 8 * tokens * width**2 + 4 * tokens**2 * head


def _right(tokens: int, width: int, heads: int) -> float:
    return 8 * tokens * width**2 + 4 * tokens**2 * width


def _head_by_head(tokens: int, width: int, heads: int) -> float:
    pairs = sum(2 * tokens * (width / heads) * tokens for _ in range(heads))
    return 4 * (2 * tokens * width * width) + pairs + pairs


def _with_softmax(tokens: int, width: int, heads: int) -> float:
    return _right(tokens, width, heads) + 5 * heads * tokens**2


def ours(candidate: Callable[..., float]) -> bool:
    """Eight heads cost about as much as one, on a short text and on a long one."""
    ratios = [candidate(tokens, 512, 8) / candidate(tokens, 512, 1) for tokens in (64, 8192)]
    return min(ratios) < 0.9 or max(ratios) > 1.1


CASE = Case(
    name="trial_heads_cost",
    about="are these the operations of an attention layer?",
    claim=Version(
        heads_cost,
        "counts the scores of one head, and forgets that there are as many as `heads`",
        "How often does a head of width d / h occur? And is the text so long that pairs count?",
    ),
    guilty=True,
    wrong=[
        Version(
            lambda tokens, width, heads: _right(tokens, width, heads) / heads,
            "divides everything by the number of heads, as if they worked at the same time",
            "With 1 and with 8 heads, what is the ratio?",
        ),
        Version(
            lambda tokens, width, heads: _right(tokens, width, heads) * heads,
            "gives every head the full width",
            "A cost may be too high as well as too low. Do you look at both sides?",
        ),
        Version(
            lambda tokens, width, heads: 8 * tokens * width**2 / heads + 4 * tokens**2 * width,
            "lets the projections get cheaper by heads",
            "On a text so long that pairs are nearly everything, you do not see the projections. "
            "Which other length do you try?",
        ),
    ],
    right=[
        Version(
            _right,
            "counts two operations for each product of a matrix",
            "Which number of heads should change it?",
        ),
        Version(
            lambda *sizes: _right(*sizes) / 2,
            "counts multiply-adds, half as many as operations",
            "Which ratio does not depend on the unit?",
        ),
        Version(
            _head_by_head,
            "adds up head by head",
            "Do you allow for rounding?",
        ),
        Version(
            _with_softmax,
            "counts the softmax as well, some 5 operations for each score of each head",
            "More heads are more scores, a little: is your width so small that this is much, or "
            "do you ask for equality?",
        ),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE)
