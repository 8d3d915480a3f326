"""What learners write instead of the exercise ``merge_tiles``, and what is said of it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import CHANGES_TENSOR, Mistake, not_finite

__all__ = ["EMPTY", "LOST_DIGITS", "MISTAKES", "OVERFLOW", "THREE"]

THREE = "{found} came back; maximum, sum and mixture are asked for, three tensors."
OVERFLOW = (
    "With scores around {largest:.0f} the {part} is not finite.\nexp of a score itself overflows, "
    "or vanishes: which difference can never be above 0?"
)
LOST_DIGITS = (
    "With scores around {largest:.0f} the {part} is {found}; it should be {right}.\nA number of "
    "that size keeps only a few digits behind the point: is a sum carried as a logarithm, or added "
    "to a maximum?"
)
AS_MEANS = (
    "Maximum and sum are right; the mixtures are weighted by their sums, as if they were divided "
    "by them already.\nA mixture here is a sum of exp(s - max) times value."
)
EMPTY = (
    "Where neither tile holds a key that may be seen, both maxima are -inf, and NaN or another "
    "number came back as {part}.\n-inf - (-inf) is NaN; what are maximum, sum and mixture where "
    "nothing was seen?"
)

Shares = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # of both maxima and the new one


def _safe(max_a: Tensor, max_b: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    safe = largest.masked_fill(largest == -torch.inf, 0.0)
    return (max_a - safe).exp(), (max_b - safe).exp()


def _merged(
    *,
    shares: Shares = _safe,
    largest: Callable[[Tensor, Tensor], Tensor] = torch.maximum,
    of_sums: bool = True,
    of_mixtures: bool = True,
    give: Callable[..., Any] = lambda largest, total, mixture: (largest, total, mixture),
) -> Callable[..., Any]:
    """The merged tiles with a part exchanged."""

    def answer(
        max_a: Tensor, sum_a: Tensor, mix_a: Tensor, max_b: Tensor, sum_b: Tensor, mix_b: Tensor
    ) -> Any:
        new = largest(max_a, max_b)
        share_a, share_b = shares(max_a, max_b, new)
        total = sum_a * share_a + sum_b * share_b if of_sums else sum_a + sum_b
        mixture = mix_a + mix_b
        if of_mixtures:
            mixture = mix_a * share_a[..., None] + mix_b * share_b[..., None]
        return give(new, total, mixture)

    return answer


def _only_a(max_a: Tensor, max_b: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """What was seen so far is scaled, the new tile never."""
    return _safe(max_a, max_b, largest)[0], torch.ones_like(max_b)


def _only_b(max_a: Tensor, max_b: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones_like(max_a), _safe(max_a, max_b, largest)[1]


def _swapped(max_a: Tensor, max_b: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    return _safe(max_b, max_a, largest)


def _ratio(max_a: Tensor, max_b: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    safe = largest.masked_fill(largest == -torch.inf, 1.0)
    return max_a / safe, max_b / safe


def _through_zero(
    max_a: Tensor, sum_a: Tensor, mix_a: Tensor, max_b: Tensor, sum_b: Tensor, mix_b: Tensor
) -> Any:
    """All sums relative to the score 0, then divided again."""
    largest = torch.maximum(max_a, max_b)
    total = sum_a * max_a.exp() + sum_b * max_b.exp()
    mixture = mix_a * max_a.exp()[..., None] + mix_b * max_b.exp()[..., None]
    safe = largest.masked_fill(largest == -torch.inf, 0.0).exp()
    return largest, total / safe, mixture / safe[..., None]


def _by_logarithms(
    max_a: Tensor, sum_a: Tensor, mix_a: Tensor, max_b: Tensor, sum_b: Tensor, mix_b: Tensor
) -> Any:
    largest, _, mixture = _merged()(max_a, sum_a, mix_a, max_b, sum_b, mix_b)
    total = torch.logaddexp(max_a + sum_a.log(), max_b + sum_b.log())
    return largest, (total - largest).exp(), mixture


def _average(
    max_a: Tensor, sum_a: Tensor, mix_a: Tensor, max_b: Tensor, sum_b: Tensor, mix_b: Tensor
) -> Any:
    largest, total, _ = _merged()(max_a, sum_a, mix_a, max_b, sum_b, mix_b)
    return largest, total, (mix_a + mix_b) / 2


def _by_their_sums(
    max_a: Tensor, sum_a: Tensor, mix_a: Tensor, max_b: Tensor, sum_b: Tensor, mix_b: Tensor
) -> Any:
    """As if the mixtures were divided by their sums already."""
    largest, total, _ = _merged()(max_a, sum_a, mix_a, max_b, sum_b, mix_b)
    share_a, share_b = _safe(max_a, max_b, largest)
    share_a, share_b = share_a * sum_a, share_b * sum_b
    return largest, total, mix_a * share_a[..., None] + mix_b * share_b[..., None]


def _as_means(
    max_a: Tensor, sum_a: Tensor, mix_a: Tensor, max_b: Tensor, sum_b: Tensor, mix_b: Tensor
) -> Any:
    """Mixtures that are divided by their sums, before and after."""
    largest, total, mixture = _by_their_sums(max_a, sum_a, mix_a, max_b, sum_b, mix_b)
    return largest, total, mixture / total[..., None]


def _over_the_width(
    max_a: Tensor, sum_a: Tensor, mix_a: Tensor, max_b: Tensor, sum_b: Tensor, mix_b: Tensor
) -> Any:
    """The shares run over the width, where it is as long as there are queries."""
    largest, total, mixture = _merged()(max_a, sum_a, mix_a, max_b, sum_b, mix_b)
    if mix_a.shape[-1] == mix_a.shape[-2]:
        share_a, share_b = _safe(max_a, max_b, largest)
        mixture = mix_a * share_a[..., None, :] + mix_b * share_b[..., None, :]
    return largest, total, mixture


def _the_larger_one(
    max_a: Tensor, sum_a: Tensor, mix_a: Tensor, max_b: Tensor, sum_b: Tensor, mix_b: Tensor
) -> Any:
    """Whoever has the larger score wins."""
    first = max_a >= max_b
    return (
        torch.where(first, max_a, max_b),
        torch.where(first, sum_a, sum_b),
        torch.where(first[..., None], mix_a, mix_b),
    )


def _one_for_all(max_a: Tensor, max_b: Tensor) -> Tensor:
    return torch.maximum(max_a, max_b).max().expand_as(max_a)


def _in_place(max_a: Tensor, sum_a: Tensor, *others: Tensor) -> Any:
    result = _merged()(max_a, sum_a, *others)
    max_a.copy_(result[0])
    return result


RIGHT_MAXIMUM = "The maximum is right. "
MISTAKES = [
    Mistake(
        _merged(largest=torch.minimum),
        "The smaller maximum is kept, so the shares can be above 1 without end.\nWhich of the two "
        "keeps every exponent at 0 or below?",
    ),
    Mistake(
        _merged(largest=lambda max_a, max_b: max_b),
        "The maximum of the second tile is taken, whichever is larger.\nWhat if the first one saw "
        "a larger score?",
    ),
    Mistake(
        _merged(largest=lambda max_a, max_b: max_a),
        "The maximum of the first tile is kept, whichever is larger.\nWhat if the second one saw "
        "a larger score?",
    ),
    Mistake(
        _merged(largest=torch.logaddexp),
        "As maximum came log(exp(a) + exp(b)).\nThe larger of the two is asked for: which function "
        "takes it, element by element?",
    ),
    Mistake(
        _merged(of_sums=False, of_mixtures=False),
        RIGHT_MAXIMUM + "Sums and mixtures are added as they are, though each is relative to the "
        "maximum of its own tile.\nBy what does exp(s - old) differ from exp(s - new)?",
    ),
    Mistake(
        _merged(of_mixtures=False),
        "Maximum and sum are right, but the mixtures are added as they are.\nTo which maximum are "
        "their weights relative?",
    ),
    Mistake(
        _merged(of_sums=False),
        "Maximum and mixture are right, but the sums are added as they are.\nTo which maximum are "
        "their exponentials relative?",
    ),
    Mistake(
        _merged(shares=_swapped),
        RIGHT_MAXIMUM + "The shares have changed places: that of each tile scales the other one."
        "\nWhich tile's maximum stands in which exponent?",
    ),
    Mistake(
        _merged(shares=_only_a),
        RIGHT_MAXIMUM + "The first tile is scaled, the second one never.\nWhat if the first one "
        "has the larger score?",
    ),
    Mistake(
        _merged(shares=_only_b),
        RIGHT_MAXIMUM + "The second tile is scaled, the first one never.\nWhat if the second one "
        "has the larger score?",
    ),
    Mistake(
        _merged(shares=lambda a, b, new: ((new - a).exp(), (new - b).exp())),
        RIGHT_MAXIMUM + "The exponents have the wrong sign: what is small grows.\nIs it old minus "
        "new, or new minus old?",
    ),
    Mistake(
        _merged(shares=_ratio),
        RIGHT_MAXIMUM + "The tiles are scaled by the ratio of the maxima; they stand in exponents."
        "\nWhat is exp(s - new) / exp(s - old)?",
    ),
    Mistake(
        _merged(shares=lambda a, b, new: ((a - new).exp2(), (b - new).exp2())),
        RIGHT_MAXIMUM + "The powers are those of another base than e.\nIs it exp or exp2?",
    ),
    Mistake(
        _the_larger_one,
        "The tile with the larger score takes it all.\nHow much does the other one still count, "
        "by how far its maximum lies below?",
    ),
    Mistake(
        _average,
        "Maximum and sum are right; the mixture is the plain mean of the two.\nEach is scaled to "
        "the new maximum, like its sum.",
    ),
    Mistake(_by_their_sums, AS_MEANS),
    Mistake(_as_means, AS_MEANS),
    Mistake(
        _merged(give=lambda new, total, mixture: (new, total, mixture / total[..., None])),
        "Maximum and sum are right; the mixture is divided by the sum already.\nWhat would the "
        "next tile be added to? The division comes once, at the end.",
    ),
    Mistake(
        _merged(give=lambda new, total, mixture: (new + total.log(), total, mixture)),
        "As maximum came log of the sum of all exponentials.\nThe larger maximum is asked for.",
    ),
    Mistake(
        _merged(give=lambda new, total, mixture: (new, total.log(), mixture)),
        "The logarithm of the sum came back.\nThe sum itself is asked for.",
    ),
    Mistake(
        _merged(largest=_one_for_all),
        "One maximum is taken for all queries.\nElement by element: `torch.maximum`, or `max`?",
    ),
    Mistake(
        _over_the_width,
        "Maximum and sum are right; with as many queries as numbers in a value, the shares run "
        "over the width.\nWhere does the axis of length 1 belong: [..., None] or [..., None, :]?",
    ),
    Mistake(
        _through_zero,
        OVERFLOW,
        alike=lambda result, mistaken: any(map(not_finite, result, mistaken)),
    ),
    Mistake(_by_logarithms, LOST_DIGITS, compared=False),
    Mistake(
        _merged(shares=lambda a, b, new: ((a - new).exp(), (b - new).exp())),
        EMPTY,
        alike=lambda result, mistaken: any(map(not_finite, result[1:], mistaken[1:])),
    ),
    Mistake(
        _merged(largest=lambda a, b: torch.maximum(a, b).clamp_min(-1e4)),
        EMPTY,
        compared=False,
    ),
    Mistake(_merged(give=lambda new, total, mixture: mixture), THREE, compared=False),
    Mistake(_merged(give=lambda new, total, mixture: (total, mixture)), THREE, compared=False),
    Mistake(_in_place, CHANGES_TENSOR, compared=False),
]


def __dir__() -> list[str]:
    return sorted(__all__)
