"""Exercise ``knapsack``: which parts to buy, so that they give most together inside a budget."""

import contextlib
import itertools
import numbers
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.course.checks.attention_economics.buying import (
    RULES,
    Prices,
    Values,
    again_and_again,
    all_sets,
    buying,
    by_amounts,
    by_price,
    by_ratio,
    by_value,
    crosses_out,
    must_be_spent,
    never_remembered,
    sorted_first,
    until_too_dear,
)
from attnlab.course.checks.examiner import (
    CHANGES_LIST,
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    Unwritten,
    a_list,
    require,
    where,
)

MASK = (
    "The result holds {found}; the numbers of the parts are asked for, from 0.\n"
    "Which places of your list are meant?"
)
NO_PART = "The result holds {found}; there are parts 0 to {last}.\nDo you count from 0?"
NONE_THERE = "There are no parts, and yet some are bought.\nWhat is left to return?"
TWICE = (
    "Part {part} is bought more than once, and there is only one of it.\n"
    "When you decide on a part, is what is left of the budget computed without this part?"
)
TOO_DEAR = (
    "The parts that you buy cost {spent} together; the budget is {budget}.\n"
    "What is left of the budget after each part?"
)
DOUBLES = (
    "Or does it try all sets? With each further part there are twice as many. How many different "
    "amounts can be left, and what need you remember for each?"
)
TRIES_ALL = (
    "{parts} parts and a budget of {budget} take more than {limit:,} steps, and each further part "
    "doubles them: 72 parts would take millions of years.\n"
    "How many different amounts can be left, and what need you remember for each?"
)


@dataclass(frozen=True)
class Run:
    """What a function bought, and of which parts."""

    result: Any
    parts: "Parts"


class Parts(Call):
    """Parts with what they give and what they cost."""

    def __init__(self, value: Values, price: Prices, budget: int):
        super().__init__(value, price, budget)
        self.value, self.price, self.budget = value, price, budget

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function buys."""
        return Run(super().of(function), self)

    def worth(self, chosen: Sequence[int]) -> float:
        """What some parts give together."""
        return float(sum(float(self.value[part]) for part in chosen))


def check(answer: Answer, draw: Draw) -> Held:
    """``knapsack(value, price, budget)``: the parts that give most together."""
    compared = Comparison(answer, reference, MISTAKES, read=_given_together, tolerance=1e-7)
    otherwise = (
        "You buy {found}, together worth {given:.3f}; {best} would be worth {most:.3f}.\n"
        "For each part and each amount that is left: is it better with the part or without it?"
    )

    with where("For a single part:"):
        compared.on(lambda: _single(draw), otherwise, facts=_facts)
    yield "a single part: bought where it is affordable"

    compared.on(lambda: _trap(draw), otherwise, facts=_facts)
    yield "four parts, where rules of thumb buy others"

    compared.on(lambda: _some(draw, draw.whole(6, 9)), otherwise, facts=_facts)
    with where("Where values differ in their third decimal only:"):
        compared.on(lambda: _alike(draw), otherwise, facts=_facts)
    yield "the best of all sets, to the last unit of the budget"

    with where("Where some parts cost nothing:"):
        compared.on(lambda: _some(draw, 7, free=2), otherwise, facts=_facts)
    with where("With a budget of 0:"):
        compared.on(lambda: _some(draw, 7, free=2, budget=0), otherwise, facts=_facts)
    yield "what costs nothing is bought, with a budget of 0, too"

    with where("Where some parts have a negative value:"):
        compared.on(lambda: _some(draw, 7, harmful=3), otherwise, facts=_facts)
    with where("Where the budget would buy everything:"):
        compared.on(lambda: _some(draw, 6, harmful=2, budget=999), otherwise, facts=_facts)
    with where("Without any part:"):
        compared.on(lambda: Parts([], [], 10), otherwise, facts=_facts, draws=1)
    yield "nothing is bought that does harm, and a budget may be left over"

    with _in_time():
        _steps(answer, draw)
    yield "without trying all sets"

    with where("For 72 parts and a budget of 2,000:"), _in_time():
        compared.on(lambda: _some(draw, 72, budget=2000), otherwise, facts=_facts, draws=1)
    yield "72 parts and a budget of 2,000"


def reference(value: Values, price: Prices, budget: int) -> list[int]:
    """Of few parts the best of all sets; of many by what is left of the budget."""
    if len(value) > 12:
        return _by_amount(value, price, budget)
    sets = itertools.product((False, True), repeat=len(value))
    affordable = (marks for marks in sets if _sum(price, marks) <= budget)
    best = max(affordable, key=lambda marks: _sum(value, marks))
    return [part for part, mark in enumerate(best) if mark]


def _sum(numbers: Sequence[float], marks: Sequence[bool]) -> float:
    return sum(itertools.compress(numbers, marks))


def _by_amount(value: Values, price: Prices, budget: int) -> list[int]:
    """With tensors over all amounts at once."""
    best, taken = torch.zeros(budget + 1, dtype=torch.float64), []
    for worth, cost in zip(value, price, strict=True):
        with_part = torch.full_like(best, -torch.inf)
        with_part[cost:] = best[: budget + 1 - cost] + float(worth)
        taken.append(with_part > best)
        best = torch.maximum(best, with_part)
    left, parts = budget, []
    for part in reversed(range(len(value))):
        if taken[part][left]:
            parts.append(part)
            left -= price[part]
    return parts[::-1]


# --- Parts of several kinds -----------------------------------------------------------------------


def _single(draw: Draw) -> Parts:
    price = draw.whole(2, 9)
    return Parts([1 + draw.uniform()], [price], price + draw.whole(-1, 1))


def _trap(draw: Draw) -> Parts:
    """Four parts, of which each rule of thumb buys others."""
    while True:
        price = [draw.whole(2, 9) for _ in range(4)]
        value = [round(cost * (0.6 + 0.8 * draw.uniform()), 2) for cost in price]
        parts = Parts(value, price, draw.whole(7, 14))
        worths = sorted(parts.worth(rule(value, price, parts.budget)) for rule in RULES)
        worths.append(parts.worth(reference(value, price, parts.budget)))
        less = parts.worth(reference(value, price, parts.budget - 1))  # the best spends all
        if less < worths[-1] - 0.01 and all(
            after > before + 0.01 for before, after in itertools.pairwise(worths)
        ):
            return parts


def _alike(draw: Draw) -> Parts:
    """Parts of one price, the values of which are apart by thousandths."""
    order = torch.randperm(6, generator=draw.generator).tolist()
    return Parts([1 + rank / 1000 for rank in order], [3] * 6, 9 + draw.whole(0, 2))


def _some(
    draw: Draw, count: int, free: int = 0, harmful: int = 0, budget: int | None = None
) -> Parts:
    """Parts such that buying by any rule of thumb gives less than the best."""
    small = count <= 12
    while True:
        price = [draw.whole(2, 12) if small else draw.whole(5, 120) for _ in range(count)]
        value = [cost * (0.6 + 0.8 * draw.uniform()) for cost in price]
        order = torch.randperm(count, generator=draw.generator).tolist()
        for part in order[:free]:
            price[part], value[part] = 0, 0.2 + draw.uniform()
        for place, part in enumerate(order[free : free + harmful]):
            value[part] = -0.3 - draw.uniform()
            price[part] = 0 if place == 0 else price[part]
        amount = draw.whole(sum(price) // 3, sum(price) // 2) if budget is None else budget
        parts = Parts(value, price, amount)
        if budget in (0, 999) or _tells(parts):
            return parts


def _tells(parts: Parts) -> bool:
    """Whether rules of thumb, and a budget that is smaller by 1, give something else."""
    given = parts.value, parts.price, parts.budget
    best = parts.worth(reference(*given))
    others = [rule(*given) for rule in RULES]
    if parts.budget < 1000:
        others.append(reference(parts.value, parts.price, parts.budget - 1))
    return all(parts.worth(other) < best - 1e-5 for other in others)


class _Counted(float):
    """A number that counts what is computed with it and what comes of it."""

    left = 0
    told = ""

    def _count(self) -> None:
        _Counted.left -= 1
        require(_Counted.left > 0, _Counted.told)

    def __add__(self, other: Any) -> "_Counted":
        self._count()
        return _Counted(float(self) + float(other))

    def __sub__(self, other: Any) -> "_Counted":
        self._count()
        return _Counted(float(self) - float(other))

    def __gt__(self, other: Any) -> bool:
        self._count()
        return float(self) > float(other)

    def __lt__(self, other: Any) -> bool:
        self._count()
        return float(self) < float(other)

    __radd__ = __add__


def _steps(answer: Answer, draw: Draw) -> None:
    """Fail where the number of steps doubles with each part."""
    count, budget = 18, 40
    value: Values = [_Counted(0.5 + draw.uniform()) for _ in range(count)]
    price = [draw.whole(2, 6) for _ in range(count)]
    limit = 40 * count * budget
    told = TRIES_ALL.format(parts=count, budget=budget, limit=limit)
    _Counted.left, _Counted.told = limit, told
    found = Parts(value, price, budget).of(answer)
    _Counted.left = 10**9
    _given_together(found, found)


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """Say what it may be where an answer does not end."""
    try:
        yield
    except Unwritten:
        raise
    except CheckFailed as problem:
        more = f"\n{DOUBLES}" if "did not end" in str(problem) else ""
        raise CheckFailed(f"{problem}{more}") from None


def _given_together(run: Run, right: Run) -> list[float]:
    """What the parts give together, if they may be bought together."""
    parts, count = run.parts, len(run.parts.value)
    result = run.result
    if isinstance(result, np.ndarray) and result.ndim == 1:
        result = result.tolist()
    chosen = a_list(sorted(result) if isinstance(result, set) else result, "parts")
    told = ", ".join(str(part) for part in chosen[:5]) + (", ..." if len(chosen) > 5 else "")
    whole = all(isinstance(part, numbers.Integral | Tensor) for part in chosen)
    require(
        whole and not any(isinstance(part, bool | np.bool_) for part in chosen),
        MASK.format(found=told),
    )
    chosen = [int(part) for part in chosen]
    if not all(0 <= part < count for part in chosen):
        raise CheckFailed(NO_PART.format(found=told, last=count - 1) if count else NONE_THERE)
    for part in chosen:
        require(chosen.count(part) == 1, TWICE.format(part=part))
    spent = sum(parts.price[part] for part in chosen)
    require(spent <= parts.budget, TOO_DEAR.format(spent=spent, budget=parts.budget))
    return [parts.worth(chosen)]


def _facts(call: Call, run: Run) -> dict[str, Any]:
    assert isinstance(call, Parts)
    best = reference(call.value, call.price, call.budget)
    try:
        given = _given_together(run, run)[0]
    except CheckFailed:
        given = 0.0
    return {
        "found": _named(run.result),
        "given": given,
        "best": _named(best),
        "most": call.worth(best),
        "budget": call.budget,
    }


def _named(chosen: Any) -> str:
    """Parts in words."""
    chosen = sorted(int(part) for part in chosen)
    if not chosen:
        return "nothing"
    if len(chosen) == 1:
        return f"part {chosen[0]}"
    return f"parts {', '.join(map(str, chosen))}" if len(chosen) < 12 else f"{len(chosen)} parts"


# --- What learners write instead -----------------------------------------------------------------


MISTAKES = [
    Mistake(
        by_ratio,
        "You buy what gives most for its price, one part after the other, and in the end a "
        "rest of the budget is left that fits nothing.\nWhich two choices are there for each part, "
        "whatever its price?",
    ),
    Mistake(
        until_too_dear,
        "You buy what gives most for its price, and stop at the first part that is too dear.\n"
        "Could others still be bought, and would another set give more?",
    ),
    Mistake(
        by_value,
        "You buy what gives most, one part after the other, whatever it costs.\nCould two cheaper "
        "parts give more than a dear one?",
    ),
    Mistake(
        by_price,
        "You buy the cheapest parts first, whatever they give.\nCould fewer parts give more?",
    ),
    Mistake(
        buying(better=lambda with_part, without: True),
        "Every part is bought that is affordable, from the last one on.\nWhat do you compare "
        "before you buy?",
    ),
    Mistake(
        buying(amounts=lambda budget: max(budget - 1, 0)),
        "One unit of the budget is never spent.\nHow many amounts are there from 0 to the budget?",
    ),
    Mistake(
        buying(worth=lambda value: 1.0),
        "You buy as many parts as possible, whatever they give.\nWhere does `value` come in?",
    ),
    Mistake(
        buying(worth=lambda value: int(value)),
        "What follows the decimal point of a value is lost.\nWhich numbers have to be whole here, "
        "values or prices?",
    ),
    Mistake(
        buying(of=lambda value, price: price > 0),
        "A part that costs nothing is left out.\nWhat do you ask of a price before you buy?",
    ),
    Mistake(
        lambda value, price, budget: [] if budget == 0 else by_amounts(value, price, budget),
        "With a budget of 0 nothing is bought, though some parts cost nothing.\nDoes your function "
        "return too early?",
    ),
    Mistake(
        buying(worth=abs),
        "Parts with a negative value are bought as if it were positive.\nWhat do they do to the "
        "sum?",
    ),
    Mistake(
        lambda value, price, budget: (
            list(range(len(value))) if sum(price) <= budget else by_amounts(value, price, budget)
        ),
        "Where the budget is large enough all parts are bought, also those that do harm.\nWhat do "
        "they give?",
    ),
    Mistake(
        must_be_spent,
        "The budget is spent as far as possible, even on parts that give less or do harm.\n"
        "May a rest be left?",
    ),
    Mistake(
        sorted_first,
        "The right parts are bought, but their numbers are those after sorting.\nWhich number had "
        "a part when it was given to you?",
    ),
    Mistake(again_and_again, TWICE, compared=False),
    Mistake(buying(pays=lambda left, price: left), TOO_DEAR, compared=False),
    Mistake(
        buying(out=lambda chosen, value, *rest: [part in chosen for part in range(len(value))]),
        MASK,
        compared=False,
    ),
    Mistake(
        buying(out=lambda chosen, value, *rest: [value[part] for part in chosen]),
        MASK,
        compared=False,
    ),
    Mistake(
        buying(out=lambda chosen, *given: [part + 1 for part in chosen]), NO_PART, compared=False
    ),
    Mistake(all_sets, TRIES_ALL, compared=False),
    Mistake(never_remembered, TRIES_ALL, compared=False),
    Mistake(crosses_out, CHANGES_LIST, compared=False),
]

EXERCISE = Exercise("knapsack", "attention_economics", 3, check, mistakes=MISTAKES)
