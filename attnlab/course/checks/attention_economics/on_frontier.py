"""Exercise ``on_frontier``: which models are worth their cost, as far as the answers can tell."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from attnlab.course.checks.examiner import (
    CHANGES_ARRAY,
    Answer,
    ArrayCall,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_list,
    require,
    where,
)

Values = npt.NDArray[Any]
Rule = Callable[[Values, Values], bool]

TEXTS = 400

INDICES = (
    "The result holds {found}; for {models} models {models} times True or False is asked for.\n"
    "Is it a list of numbers of models? How does an array of False become True at some places?"
)
OTHER_LENGTH = (
    "The result holds {found} answers for {models} models.\n"
    "Is there one for each model, whether it is on the frontier or not?"
)


class Models(ArrayCall):
    """Models with a cost, and which of some texts each answers rightly."""

    def __init__(self, cost: list[float], correct: Values):
        super().__init__(np.array(cost, float), correct)

    def shuffled(self, draw: Draw) -> "Models":
        """The same models in another order."""
        cost, correct = self.arguments
        order = torch.randperm(len(cost), generator=draw.generator).numpy()
        return Models(cost[order].tolist(), correct[order])


def check(answer: Answer, draw: Draw) -> Held:
    """``on_frontier(cost, correct)``: True for each model that is worth its cost."""
    compared = Comparison(answer, reference, MISTAKES, read=_a_mask, draws=1)
    otherwise = (
        "Model {model} costs {cost:g} and answers {right} of {texts} texts rightly; it should "
        "{should}be on the frontier.\nWhich models come before it, and which of the two conditions "
        "decides?"
    )

    def on(place: str, kind: Callable[[Draw], Models]) -> None:
        with where(place):
            compared.on(lambda: kind(draw), otherwise, facts=_facts)

    on("For models in the order of their cost, far apart:", _far_apart)
    yield "the more expensive, the better"
    on("For models in any order:", _in_any_order)
    yield "each model at its own place"
    on("Where some models cost the same:", _of_equal_cost)
    yield "of the same cost only the best, and of equals only the first"
    on("Where models differ on so many texts that it may be chance:", _doubtful)
    yield "a difference has to hold"
    on("Where models differ little, but on few texts:", _nested)
    yield "intervals of the difference on the same texts"
    on("Where each model is a little better than the one before:", _in_small_steps)
    yield "compared with those on the frontier, not with the one before"
    on("Where models are better than all on the frontier, but not than all for less:", _overtaken)
    yield "more right answers than every model that costs no more"
    on("Where a difference just holds:", _just_so)
    yield "exactly the interval that was given"
    on("For many models:", _many)
    yield "many models, of all these kinds"


def reference(cost: Values, correct: Values) -> list[bool]:
    """Model by model, against all others."""
    right = [int(row.sum()) for row in correct]
    order = sorted(range(len(cost)), key=lambda model: (cost[model], -right[model], model))
    found: list[int] = []
    for place, model in enumerate(order):
        more = all(right[model] > right[other] for other in order[:place])
        if more and all(_holds(correct[other], correct[model]) for other in found):
            found.append(model)
    return [model in found for model in range(len(cost))]


def _holds(before: Values, after: Values) -> bool:
    """Whether the interval of Agresti and Min (2005) lies above 0."""
    gained, lost = (after & ~before).sum() + 0.5, (before & ~after).sum() + 0.5
    change, size = gained - lost, len(before) + 2
    return bool(change > 1.959964 * math.sqrt(gained + lost - change**2 / size))


# --- Models of several kinds ----------------------------------------------------------------------


def _answers(draw: Draw, *models: tuple[int, int]) -> Values:
    """Which texts models answer rightly: (how many, how many not as the others do).

    All find the same texts easy. Each swaps some that it would answer for as many that it would
    not: the more are swapped, the less certain is a difference.
    """
    order = torch.randperm(TEXTS, generator=draw.generator).numpy()
    rows = []
    for right, swapped in models:
        row = np.arange(TEXTS) < right
        away = torch.randperm(right, generator=draw.generator).numpy()[:swapped]
        there = right + torch.randperm(TEXTS - right, generator=draw.generator).numpy()[:swapped]
        row[away], row[there] = False, True
        rows.append(row[order])
    return np.stack(rows)


def _costs(draw: Draw, count: int) -> list[float]:
    """Costs from low to high, no two alike."""
    steps = 1 + 9 * torch.rand(count, generator=draw.generator)
    return [round(float(cost), 2) for cost in steps.cumsum(0)]


def _far_apart(draw: Draw) -> Models:
    cheap, dear = draw.whole(180, 220), draw.whole(300, 330)
    correct = _answers(draw, (cheap, 9), (cheap - 60, 9), (cheap + 60, 9), (dear, 9), (cheap, 9))
    return Models(_costs(draw, 5), correct)


def _in_any_order(draw: Draw) -> Models:
    models = _far_apart(draw)
    while (models.arguments[0].argsort() == np.arange(5)).sum() > 1:
        models = models.shuffled(draw)
    return models


def _of_equal_cost(draw: Draw) -> Models:
    low, middle, high, _, top = _costs(draw, 5)
    best = draw.whole(220, 240)
    correct = _answers(draw, (150, 6), (best - 50, 6), (best, 6), (best + 60, 6), (best + 56, 6))
    rows = [0, 1, 2, 2, 3, 3, 4]  # two pairs of equals, the first of each counts
    cost = [low, middle, middle, middle, high, high, top]
    while True:
        order = torch.randperm(7, generator=draw.generator).tolist()
        if order.index(1) < min(order.index(2), order.index(3)):  # of one cost the worst first
            return Models([cost[place] for place in order], correct[np.array(rows)[order]])


def _nested(draw: Draw) -> Models:
    start = draw.whole(190, 210)
    rights = [start, start + 9, start + 18, start + 16, start + 36]
    return Models(_costs(draw, 5), _answers(draw, *((right, 0) for right in rights))).shuffled(draw)


def _doubtful(draw: Draw) -> Models:
    start = draw.whole(200, 220)
    more = (0, 8, 70, 65, 76, 79)
    correct = _answers(draw, *((start + right, 45) for right in more))
    return Models(_costs(draw, 6), correct).shuffled(draw)


def _in_small_steps(draw: Draw) -> Models:
    """Two steps together hold, one of them does not; before the last there is one that is bad."""
    start, step = draw.whole(200, 220), 14
    steps = ((start + step * number, 16) for number in (0, 1, 2, 3, 4, -3, 5))
    return Models(_costs(draw, 7), _answers(draw, *steps)).shuffled(draw)


def _overtaken(draw: Draw) -> Models:
    """The second is better than the first, in doubt; then fewer and as many, without doubt."""
    start = draw.whole(200, 220)
    models = (start, 0), (start + 12, 80), (start + 10, 0), (start + 12, 0), (start + 80, 0)
    return Models(_costs(draw, 5), _answers(draw, *models)).shuffled(draw)


def _just_so(draw: Draw) -> Models:
    """Five gained and none lost hold, four do not; McNemar's exact test sees it in none."""
    start = draw.whole(200, 300)
    rights = [start, start + 4, start + 5, start + 9, start + 10]
    return Models(_costs(draw, 5), _answers(draw, *((right, 0) for right in rights))).shuffled(draw)


def _many(draw: Draw) -> Models:
    models = [(180 + 9 * number + draw.whole(-8, 8), draw.whole(0, 25)) for number in range(9)]
    cost = [float(round(number / 2) + draw.whole(0, 2)) for number in range(9)]
    return Models(cost, _answers(draw, *models)).shuffled(draw)


def _a_mask(result: Any, right: list[bool]) -> list[bool]:
    """A True or False for each model."""
    if isinstance(result, np.ndarray) and result.ndim == 1:
        result = result.tolist()
    marks = a_list(result, "frontier")
    kinds = all(isinstance(mark, bool | np.bool_) for mark in marks)
    if not kinds and not (len(marks) == len(right) and set(marks) <= {0, 1}):
        raise CheckFailed(INDICES.format(found=_short(marks), models=len(right)))
    require(len(marks) == len(right), OTHER_LENGTH.format(found=len(marks), models=len(right)))
    return [bool(mark) for mark in marks]


def _short(marks: list[Any]) -> str:
    told = ", ".join(str(mark) for mark in marks[:4])
    return told + (", ..." if len(marks) > 4 else "") if marks else "nothing"


def _facts(call: Call, result: Any) -> dict[str, Any]:
    """About the cheapest model that is judged wrongly."""
    cost, correct = call.arguments
    right = call.of(reference)
    try:
        found = _a_mask(result, right)
    except CheckFailed:
        found = [not mark for mark in right]
    wrong = [model for model in range(len(cost)) if found[model] != right[model]]
    model = min(wrong, key=lambda model: (cost[model], model), default=0)
    return {
        "model": model,
        "cost": cost[model],
        "right": int(correct[model].sum()),
        "texts": correct.shape[1],
        "should": "" if right[model] else "not ",
    }


# --- What learners write instead -----------------------------------------------------------------


def _by_cost(cost: Values, correct: Values) -> list[int]:
    return list(np.lexsort([-correct.sum(1), cost]))


def _filtering(
    holds: Rule = _holds,
    order: Callable[[Values, Values], list[int]] = _by_cost,
    rivals: Callable[[list[int], list[int]], list[int]] = lambda found, before: found,
    leads: Callable[[int, int], bool] = operator.gt,
    out: Callable[[list[int], int], Any] = lambda found, count: np.isin(np.arange(count), found),
) -> Callable[[Values, Values], Any]:
    """The frontier with a part exchanged."""

    def answer(cost: Values, correct: Values) -> Any:
        found: list[int] = []
        before: list[int] = []
        most = -1
        for model in order(cost, correct):
            right = int(correct[model].sum())
            if leads(right, most) and all(
                holds(correct[other], correct[model]) for other in rivals(found, before)
            ):
                found.append(int(model))
            before.append(int(model))
            most = max(most, right)
        return out(found, len(cost))

    return answer


def _apart(before: Values, after: Values) -> bool:
    """Two intervals that do not overlap."""
    from attnlab.statistics import share_interval  # takes a second: not before it is needed

    n = len(before)
    return share_interval(int(after.sum()), n)[0] > share_interval(int(before.sum()), n)[1]


def _unpaired(before: Values, after: Values) -> bool:
    """The interval of a difference as of two samples."""
    error = math.sqrt((before.var() + after.var()) / len(before))
    return bool(after.mean() - before.mean() > 1.96 * error)


def _by_p_value(before: Values, after: Values) -> bool:
    from attnlab.statistics import mcnemar

    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return gained > lost and mcnemar(gained, lost) < 0.05


def _strictly_cheaper(cost: Values, correct: Values) -> Any:
    marks = []
    for model in range(len(cost)):
        seen = (cost < cost[model]) | (np.arange(len(cost)) == model)
        marks.append(_filtering()(cost[seen], correct[seen])[seen[:model].sum()])
    return np.array(marks)


def _unless_worse(cost: Values, correct: Values) -> Any:
    """Out only if another that costs no more is better beyond doubt."""
    return np.array(
        [
            not any(
                cost[other] <= cost[model] and _holds(correct[model], correct[other])
                for other in range(len(cost))
            )
            for model in range(len(cost))
        ]
    )


def _in_order_of_cost(cost: Values, correct: Values) -> Any:
    order = _by_cost(cost, correct)
    return _filtering()(cost, correct)[order]


def _sorts_in_place(cost: Values, correct: Values) -> Any:
    marks = _filtering()(cost, correct)
    cost.sort()
    return marks


def _last_of_equals(cost: Values, correct: Values) -> Any:
    return _filtering()(cost[::-1], correct[::-1])[::-1]


def _all_equals(cost: Values, correct: Values) -> Any:
    pairs = list(zip(cost, correct.sum(1), strict=True))
    found = {pairs[model] for model in np.flatnonzero(_filtering()(cost, correct))}
    return np.array([pair in found for pair in pairs])


def _as_given(cost: Values, correct: Values) -> list[int]:
    return list(range(len(cost)))


MISTAKES = [
    Mistake(
        _filtering(order=lambda cost, correct: list(np.lexsort([-correct.sum(1), -cost]))),
        "You go from the dearest model to the cheapest.\nWho has to be better than whom?",
    ),
    Mistake(
        _filtering(order=_as_given),
        "The models are taken in the order in which they stand.\nWhich of them come before a "
        "model, whatever their places?",
    ),
    Mistake(
        _in_order_of_cost,
        "The marks are right, but in the order of cost.\nWhich place had a model before you "
        "sorted?",
    ),
    Mistake(
        _strictly_cheaper,
        "Models of the same cost are not compared with each other.\nWhich models cost no more than "
        "a model?",
    ),
    Mistake(
        _filtering(order=lambda cost, correct: list(np.argsort(cost, kind="stable"))),
        "Of models that cost the same, one that is worse comes first and stays.\nIn which order "
        "are they taken?",
    ),
    Mistake(
        _last_of_equals,
        "Of models that are equal in cost and right answers the last is on the frontier; the first "
        "is asked for.\nWhat does your order do with equals?",
    ),
    Mistake(
        _all_equals,
        "Models that are equal in cost and right answers are all on the frontier; only the first "
        "is asked for.\nIs each better than every model before it?",
    ),
    Mistake(
        _filtering(holds=lambda before, after: True),
        "Model {model} has a few right answers more than all before it, and that may be chance: "
        "there is no interval.\nWhich end of which interval has to be above 0?",
    ),
    Mistake(
        _unless_worse,
        "Models stay unless another is better beyond doubt. It is the other way round: one that "
        "costs more has to be better beyond doubt.\nWho has to prove what?",
    ),
    Mistake(
        _filtering(holds=_apart),
        "A model gets in only where its interval does not overlap another's. Both have answered "
        "the same texts, and the interval of their difference is narrower.\nWhich interval is "
        "asked for?",
    ),
    Mistake(
        _filtering(holds=_unpaired),
        "The interval is that of two models that have answered different texts.\nOn how many texts "
        "do the two differ at all?",
    ),
    Mistake(
        _filtering(rivals=lambda found, before: before[-1:]),
        "A model is compared with the one that comes just before it, which need not be on the "
        "frontier.\nWith which models should it be compared?",
    ),
    Mistake(
        _filtering(rivals=lambda found, before: before),
        "A model has to be better beyond doubt than every one before it, also than those that are "
        "not on the frontier.\nWhich condition is for all, and which for the frontier?",
    ),
    Mistake(
        _filtering(rivals=lambda found, before: before[:1]),
        "Every model is compared with the cheapest.\nWith which models should it be compared?",
    ),
    Mistake(
        _filtering(leads=operator.ge),
        "Model {model} has as many right answers as one that costs less, and more are asked for.\n"
        "Is there a >= for >?",
    ),
    Mistake(
        _filtering(leads=lambda right, most: True),
        "A model that is on no frontier itself costs less than model {model} and has as many right "
        "answers or more.\nIs there a condition for all models, not only those on the frontier?",
    ),
    Mistake(
        _filtering(holds=_by_p_value),
        "Model {model} is left out, as by a p-value that has to be below 0.05; but the lower end "
        "of the interval is above 0.\nWhich of the two was asked for?",
    ),
    Mistake(
        _filtering(out=lambda found, count: sorted(found)),
        INDICES,
        compared=False,
    ),
    Mistake(_sorts_in_place, CHANGES_ARRAY, compared=False),
]

EXERCISE = Exercise(
    "on_frontier",
    "attention_economics",
    3,
    check,
    frozenset({"attnlab.frontier", "attnlab.shadow_prices"}),
    MISTAKES,
)
