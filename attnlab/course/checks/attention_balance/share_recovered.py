"""Exercise ``share_recovered``: how much of a loss came back, with a paired bootstrap interval."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    CHANGES_ARRAY,
    Answer,
    ArrayCall,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_list,
    a_number,
    require,
)

Right = npt.NDArray[np.bool_]
Draws = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
Ends = Callable[[Numbers], tuple[float, float]]

TEXTS = 40
NOT_THREE = (
    "{count} numbers came back; three are asked for: the share, and both ends of its interval.\n"
    "Does it end in `return share, low, high`?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``share_recovered(whole, hurt, repaired, draws)``: what came back, and its interval."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, tolerance=1e-9, loosely=1e-9)
    told = "\nYours: {found}; right: {right}."

    compared.on(
        lambda: _answers(draw, 0.9, 0.5, 0.75),
        "The share or its interval is wrong." + told,
        facts=_facts,
    )
    yield "the share, and the middle 95 % of the shares in all draws, cost and gain from each draw"
    compared.on(
        lambda: _answers(draw, 0.8, 0.5, 0.95),
        "Where the repaired model is better than the whole one, the share is wrong." + told,
        facts=_facts,
    )
    compared.on(
        lambda: _answers(draw, 0.9, 0.6, 0.4),
        "Where a repair does harm, the share is wrong." + told,
        facts=_facts,
    )
    yield "above 1 and below 0, too"
    compared.on(
        lambda: _with_draws_without_cost(draw),
        "Where some draws show no cost, the interval is wrong." + told,
        facts=_facts,
    )
    yield "draws in which the damage cost nothing are left out of the interval"


def reference(
    whole: Right, hurt: Right, repaired: Right, draws: Draws
) -> tuple[float, float, float]:
    """With counts of right answers, draw by draw, as plain numbers."""

    def share(indices: list[int]) -> float | None:
        counts = [sum(bool(model[i]) for i in indices) for model in (whole, hurt, repaired)]
        lost = counts[0] - counts[1]
        return (counts[2] - counts[1]) / lost if lost > 0 else None

    everything = share(list(range(len(whole))))
    assert everything is not None
    shares = [found for row in draws.tolist() if (found := share(row)) is not None]
    low, high = np.quantile(shares, [0.025, 0.975])
    return everything, float(low), float(high)


def _answers(draw: Draw, whole: float, hurt: float, repaired: float, rows: int = 120) -> ArrayCall:
    """Right and wrong answers of three models with about these accuracies, and draws of texts."""
    while True:
        models = []
        for accuracy in (whole, hurt, repaired):
            right = torch.rand(TEXTS, generator=draw.generator) < accuracy
            models.append(right.numpy())
        drawn = torch.randint(TEXTS, (rows, TEXTS), generator=draw.generator).numpy()
        first, second, third = (model.mean() for model in models)
        lost = models[0][drawn].mean(1) - models[1][drawn].mean(1)
        if first - second > 0.15 and abs(third - second) > 0.05 and lost.min() > 0:
            return ArrayCall(*models, drawn)


def _with_draws_without_cost(draw: Draw) -> ArrayCall:
    """A small cost, so that some draws show none, and others the opposite."""
    while True:
        whole = torch.rand(TEXTS, generator=draw.generator).numpy() < 0.8
        hurt = whole.copy()
        flipped = torch.randperm(TEXTS, generator=draw.generator)[:7].numpy()
        hurt[flipped] = ~hurt[flipped]
        repaired = hurt.copy()
        repaired[flipped[:3]] = whole[flipped[:3]]
        drawn = torch.randint(TEXTS, (120, TEXTS), generator=draw.generator).numpy()
        lost = whole[drawn].mean(1) - hurt[drawn].mean(1)
        gained = repaired[drawn].mean(1) - hurt[drawn].mean(1)
        cost, gain = whole.mean() - hurt.mean(), repaired.mean() - hurt.mean()
        worse, none = lost < -1e-9, np.abs(lost) < 1e-9
        if cost > 0.02 and gain > 0.02 and worse.sum() > 8 and (none & (gained > 1e-9)).sum() > 3:
            return ArrayCall(whole, hurt, repaired, drawn)


def _read(result: Any, right: Any) -> list[float]:
    """Three plain numbers."""
    if isinstance(result, np.ndarray):
        result = result.tolist()
    numbers = a_list(result, "share and interval")
    if len(numbers) == 2 and isinstance(numbers[1], list | tuple | np.ndarray | Tensor):
        numbers = [numbers[0], *list(numbers[1])]
    require(len(numbers) == 3, NOT_THREE.format(count=len(numbers)))
    try:
        plain = [float(number) for number in numbers]
    except (TypeError, ValueError, RuntimeError) as error:
        told = "Share and interval should be three plain numbers.\nIs a mean missing?"
        raise CheckFailed(told) from error
    names = ("share", "lower end", "upper end")
    return [a_number(number, name) for number, name in zip(plain, names, strict=True)]


def _facts(call: Any, result: Any) -> dict[str, str]:
    right = call.of(reference)
    try:
        found = ", ".join(f"{number:.3f}" for number in _read(result, right))
    except CheckFailed:
        found = "no three numbers"
    return {"found": found, "right": ", ".join(f"{number:.3f}" for number in right)}


# --- What learners write instead ------------------------------------------------------------------


def _middle(shares: Numbers) -> tuple[float, float]:
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def _ninety(shares: Numbers) -> tuple[float, float]:
    low, high = np.quantile(shares, [0.05, 0.95])
    return float(low), float(high)


def _normal(shares: Numbers) -> tuple[float, float]:
    centre, half = shares.mean(), 1.96 * shares.std()
    return float(centre - half), float(centre + half)


def _range(shares: Numbers) -> tuple[float, float]:
    return float(shares.min()), float(shares.max())


def _standard_error(shares: Numbers) -> tuple[float, float]:
    centre, half = shares.mean(), 1.96 * shares.std() / len(shares) ** 0.5
    return float(centre - half), float(centre + half)


def _as_ratio(
    above: Callable[[Numbers, Numbers, Numbers], Numbers] = lambda w, h, r: r - h,
    below: Callable[[Numbers, Numbers, Numbers], Numbers] = lambda w, h, r: w - h,
    ends: Ends = _middle,
    known_cost: bool = False,
    keep: Callable[[Numbers], Right] = lambda lost: lost > 1e-9,
    estimate: Callable[[Numbers], float] | None = None,
    last: Callable[[float], float] = lambda share: share,
) -> Callable[..., tuple[float, float, float]]:
    """The share recovered with a part exchanged."""

    def answer(
        whole: Right, hurt: Right, repaired: Right, draws: Draws
    ) -> tuple[float, float, float]:
        models = [model.astype(float) for model in (whole, hurt, repaired)]
        everything = [np.array([model.mean()]) for model in models]
        drawn = [model[draws].mean(1) for model in models]
        cost = below(*everything) if known_cost else below(*drawn)
        cost = np.broadcast_to(cost, len(draws))
        kept = keep(cost)
        with np.errstate(all="ignore"):
            shares = above(*drawn)[kept] / cost[kept]
            share = float((above(*everything) / below(*everything))[0])
            share = estimate(shares) if estimate else share
            low, high = ends(shares)
        return last(share), last(low), last(high)

    return answer


_right = _as_ratio()


def _swapped_ends(
    whole: Right, hurt: Right, repaired: Right, draws: Draws
) -> tuple[float, float, float]:
    share, low, high = _right(whole, hurt, repaired, draws)
    return share, high, low


def _apart(whole: Right, hurt: Right, repaired: Right, draws: Draws) -> tuple[float, float, float]:
    """Intervals of gain and cost by themselves, then divided."""
    gain = repaired.astype(float) - hurt
    lost = whole.astype(float) - hurt
    low, high = _middle(gain[draws].mean(1))
    least, most = _middle(lost[draws].mean(1))
    return float(gain.mean() / lost.mean()), low / most, high / least


def _unpaired(
    whole: Right, hurt: Right, repaired: Right, draws: Draws
) -> tuple[float, float, float]:
    """Each model on draws of its own."""
    models = [model.astype(float) for model in (whole, hurt, repaired)]
    drawn = [model[np.roll(draws, shift, axis=0)].mean(1) for shift, model in enumerate(models)]
    lost = drawn[0] - drawn[1]
    shares = (drawn[2] - drawn[1])[lost > 1e-9] / lost[lost > 1e-9]
    return (_right(whole, hurt, repaired, draws)[0], *_middle(shares))


def _nothing_lost_counts_as_zero(
    whole: Right, hurt: Right, repaired: Right, draws: Draws
) -> tuple[float, float, float]:
    gain = (repaired.astype(float) - hurt)[draws].mean(1)
    lost = (whole.astype(float) - hurt)[draws].mean(1)
    shares = np.where(lost > 1e-9, gain / np.where(lost > 1e-9, lost, 1), 0)
    return (_right(whole, hurt, repaired, draws)[0], *_middle(shares))


def _in_place(
    whole: Right, hurt: Right, repaired: Right, draws: Draws
) -> tuple[float, float, float]:
    draws.sort(axis=1)
    return _right(whole, hurt, repaired, draws)


MISTAKES = [
    Mistake(
        _as_ratio(below=lambda w, h, r: w),
        "You divide by the accuracy of the whole model. What the damage *cost* is the whole "
        "model's accuracy minus the damaged one's.\nWhich of the two could a repair bring back?",
    ),
    Mistake(
        _as_ratio(above=lambda w, h, r: r, below=lambda w, h, r: w),
        "Repaired divided by whole: a damaged model that nobody repaired would already get more "
        "than 0.\nFrom where does the share start to count?",
    ),
    Mistake(
        _as_ratio(above=lambda w, h, r: w - r),
        "This is the share that is still missing, not the share that came back.\n"
        "Which two accuracies does the gain lie between?",
    ),
    Mistake(
        _as_ratio(above=lambda w, h, r: r - h, below=lambda w, h, r: np.ones_like(w)),
        "This is the gain in accuracy; the share of the cost is asked for.\n"
        "By what is it to be divided?",
    ),
    Mistake(
        _as_ratio(known_cost=True),
        "Every draw is divided by the same cost, as if that were known exactly: the interval does "
        "not fit.\nThe cost was measured on the same texts: what is it in each draw?",
    ),
    Mistake(
        _as_ratio(ends=_ninety),
        "The interval holds the middle 90 % of the shares; 95 % are asked for.\n"
        "How much is cut off at each end?",
    ),
    Mistake(
        _as_ratio(ends=_range),
        "The interval goes from the smallest to the largest share.\nWhich part of them is asked "
        "for?",
    ),
    Mistake(
        _as_ratio(ends=_normal),
        "The interval is the mean plus and minus 1.96 standard deviations, as if ratios were "
        "spread evenly on both sides.\nWhich quantiles of the shares are asked for?",
    ),
    Mistake(
        _as_ratio(ends=_standard_error),
        "The standard deviation of the shares is divided by the root of the number of draws: more "
        "draws would make the interval as narrow as you like.\nWhich quantiles are asked for?",
    ),
    Mistake(
        _as_ratio(estimate=lambda shares: float(shares.mean())),
        "The share is the mean over the draws; the one on all texts is asked for.\n"
        "What are the draws for?",
    ),
    Mistake(
        _as_ratio(estimate=lambda shares: float(np.median(shares))),
        "The share is the median over the draws; the one on all texts is asked for.\n"
        "What are the draws for?",
    ),
    Mistake(
        _swapped_ends,
        "The ends of the interval are exchanged: the lower one comes first.\n"
        "In which order do you return them?",
    ),
    Mistake(
        _as_ratio(last=lambda share: 100 * share),
        "These are percentages; shares are asked for, where 1 is everything.\nWhat makes them a "
        "hundred times too large?",
    ),
    Mistake(
        _apart,
        "Gain and cost have intervals of their own here, and their ends are divided: far too "
        "wide.\nGain and cost come from the same texts: which ratio does each draw give?",
    ),
    Mistake(
        _unpaired,
        "Each model is measured on other texts: the same draw should serve all three.\n"
        "Which row of `draws` belongs to which model?",
    ),
    Mistake(
        _as_ratio(last=lambda share: min(max(share, 0.0), 1.0)),
        "Shares above 1 or below 0 are cut off.\nA repair may do harm, or outdo the whole model: "
        "is there a clip, a min or a max?",
    ),
    Mistake(
        _as_ratio(keep=lambda lost: np.abs(lost) > 1e-9),
        "Draws in which the damaged model is *better* than the whole one count: gain and cost "
        "change their signs there.\nWhich draws does the docstring leave out?",
    ),
    Mistake(
        _nothing_lost_counts_as_zero,
        "Draws in which the damage cost nothing count as a share of 0.\n"
        "Which draws does the docstring leave out?",
    ),
    Mistake(
        lambda whole, hurt, repaired, draws: _right(whole, hurt, repaired, draws)[:1],
        NOT_THREE,
        compared=False,
    ),
    Mistake(
        _in_place,
        CHANGES_ARRAY,
        compared=False,
    ),
]


def _ours(
    whole: np.ndarray, hurt: np.ndarray, repaired: np.ndarray, draws: np.ndarray
) -> tuple[float, float, float]:
    right = np.stack([whole, hurt, repaired]).astype(float)
    a, b, c = right[:, draws].mean(-1)  # of each draw
    low, high = np.quantile((c - b)[a > b] / (a - b)[a > b], [0.025, 0.975])
    a, b, c = right.mean(-1)
    return float((c - b) / (a - b)), float(low), float(high)


EXERCISE = Exercise("share_recovered", "attention_balance", 3, check, mistakes=MISTAKES, ours=_ours)
