"""Ways to buy parts, none of which is right as it is: mistakes of the exercise ``knapsack``."""

import itertools
from collections.abc import Callable
from typing import Any

Values = list[float]
Prices = list[int]
Choice = Callable[[Values, Prices, int], Any]


def greedy(key: Callable[[float, int], float], stops: bool = False) -> Choice:
    """Buys one part after the other, by a rule of thumb."""

    def answer(value: Values, price: Prices, budget: int) -> list[int]:
        chosen = []
        for part in sorted(range(len(value)), key=lambda part: key(value[part], price[part])):
            if value[part] > 0 and price[part] <= budget:
                chosen.append(part)
                budget -= price[part]
            elif stops and value[part] > 0:
                break
        return chosen

    return answer


def for_its_price(value: float, price: int) -> float:
    """Less, the more a part gives for its price."""
    return -value / price if price else -float("inf")


by_ratio = greedy(for_its_price)
by_value = greedy(lambda value, price: -value)
by_price = greedy(lambda value, price: price)
until_too_dear = greedy(for_its_price, stops=True)
RULES = (by_ratio, until_too_dear, by_value, by_price)


def buying(
    of: Callable[[float, int], bool] = lambda value, price: True,
    amounts: Callable[[int], int] = lambda budget: budget,
    worth: Callable[[float], float] = lambda value: value,
    better: Callable[[float, float], bool] = lambda with_part, without: with_part > without,
    out: Callable[[list[int], Values, Prices, int], Any] = lambda chosen, *given: chosen,
    pays: Callable[[int, int], int] = lambda left, price: left - price,
) -> Choice:
    """Dynamic programming with a part exchanged."""

    def answer(value: Values, price: Prices, budget: int) -> Any:
        size = amounts(budget)
        best = [0.0] * (size + 1)
        taken = []
        for each, cost in zip(value, price, strict=True):
            row = [
                of(each, cost)
                and cost <= amount
                and better(best[amount - cost] + worth(each), best[amount])
                for amount in range(size + 1)
            ]
            best = [
                best[amount - cost] + worth(each) if row[amount] else best[amount]
                for amount in range(size + 1)
            ]
            taken.append(row)
        left, chosen = size, []
        for part in reversed(range(len(value))):
            if left >= 0 and taken[part][left]:
                chosen.append(part)
                left = pays(left, price[part])
        return out(chosen[::-1], value, price, budget)

    return answer


by_amounts = buying()


def again_and_again(value: Values, price: Prices, budget: int) -> list[int]:
    """One row of amounts, filled upwards: a part meets itself."""
    best: list[tuple[float, list[int]]] = [(0.0, []) for _ in range(budget + 1)]
    for part, (each, cost) in enumerate(zip(value, price, strict=True)):
        for amount in range(cost, budget + 1):
            given, chosen = best[amount - cost]
            if given + each > best[amount][0]:
                best[amount] = given + each, [*chosen, part]
    return best[budget][1]


def all_sets(value: Values, price: Prices, budget: int) -> list[int]:
    """Tries all sets, from small to large."""
    most, found = 0.0, []
    for size in range(len(value) + 1):
        for chosen in itertools.combinations(range(len(value)), size):
            if sum(price[part] for part in chosen) <= budget:
                given = sum(value[part] for part in chosen)
                if given > most:
                    most, found = given, list(chosen)
    return found


def never_remembered(value: Values, price: Prices, budget: int) -> list[int]:
    """Asks the same question again and again."""

    def best(part: int, left: int) -> tuple[float, list[int]]:
        if part == len(value):
            return 0.0, []
        without = best(part + 1, left)
        if price[part] > left:
            return without
        given, chosen = best(part + 1, left - price[part])
        return max(without, (given + value[part], [part, *chosen]))

    return best(0, budget)[1]


def sorted_first(value: Values, price: Prices, budget: int) -> list[int]:
    """Returns the places that the parts have after sorting."""
    order = sorted(range(len(value)), key=lambda part: for_its_price(value[part], price[part]))
    value, price = [value[part] for part in order], [price[part] for part in order]
    return list(by_amounts(value, price, budget))


def crosses_out(value: Values, price: Prices, budget: int) -> Any:
    """Marks in the list what is bought."""
    chosen = by_amounts(value, price, budget)
    for part in chosen:
        value[part] = 0.0
    return chosen


def must_be_spent(value: Values, price: Prices, budget: int) -> Any:
    """The best of the sets that spend most."""
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for part, (each, cost) in enumerate(zip(value, price, strict=True)):
        for amount, (given, chosen) in list(best.items()):
            bought = given + each, [*chosen, part]
            if amount + cost <= budget:
                best[amount + cost] = max(bought, best.get(amount + cost, bought))
    return best[max(best)][1]
