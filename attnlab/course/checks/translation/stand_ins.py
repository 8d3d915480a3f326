"""The exercise ``stand_ins``."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    Unwritten,
    a_number,
    require,
)

Head = tuple[int, int]
Measure = Callable[[Iterable[Head]], np.ndarray]
Surplus = dict[tuple[Head, Head], float]

TEXTS = 300

A_LIST = (
    "right_without got {found}.\nIt takes a list of heads, also for a single one: is it "
    "right_without([head])?"
)
DICT = "A dict from pairs of heads to numbers is asked for; {found} came."
PAIRS = (
    "{found} is no pair of `heads`, the earlier one first.\n"
    "What does itertools.combinations(heads, 2) give?"
)
MISSING = (
    "{count} of the {all} pairs of {heads} heads are missing, such as {example}.\n"
    "Is every head paired with every later one?"
)
NEVER_TOGETHER = (
    "{pair} were never silenced together, so what they cost together is a guess.\n"
    "Whether one stands in for the other shows only when both are gone: what is to be measured?"
)
AGAIN = (
    "right_without was called {count} times; {least} are enough. {heads} was measured {times} "
    "times.\nEach call translates all texts again: what can be measured once and kept?"
)
OTHERWISE = "For {pair} the surplus is {right:+.2f} points; {found:+.2f} came.{why}"


@dataclass(frozen=True)
class Run:
    """What a function returned, and which heads it silenced, call by call."""

    result: Any
    asked: list[frozenset[Head]]


class World(Call):
    """Texts, what each of them needs, and heads that deliver it.

    ``needs``: for each text the sets of heads of which one is enough, all sets being needed.
    ``spoils``: for some wrong texts the head without which they are right.
    """

    def __init__(
        self,
        heads: list[Head],
        needs: list[list[frozenset[Head]]],
        base: list[bool],
        spoils: dict[int, Head],
    ):
        super().__init__(heads)
        self.heads, self.needs, self.base, self.spoils = heads, needs, base, spoils
        self._known: dict[frozenset[Head], np.ndarray] = {}

    def right(self, silenced: frozenset[Head]) -> np.ndarray:
        """Which texts are right without these heads."""
        if silenced not in self._known:
            found = []
            for text, needs in enumerate(self.needs):
                served = all(group - silenced for group in needs)
                found.append(served and (self.base[text] or self.spoils.get(text) in silenced))
            self._known[silenced] = np.array(found)
        return self._known[silenced].copy()

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function returns, and what it asks."""
        asked: list[frozenset[Head]] = []

        def right_without(silenced: Iterable[Head]) -> np.ndarray:
            is_list = isinstance(silenced, list | tuple | set | frozenset)
            listed = list(silenced) if is_list else []
            known = is_list and all(head in self.heads for head in listed)
            require(known, A_LIST.format(found=repr(silenced)[:60]))
            asked.append(frozenset(listed))
            return self.right(asked[-1])

        return Run(function(right_without, list(self.heads)), asked)


def check(answer: Answer, draw: Draw) -> Held:
    """``stand_ins(right_without, heads)``: what each pair costs beyond the sum of the two."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, tolerance=1e-6)
    compared.on(lambda: _world(draw, heads=2), OTHERWISE, facts=_facts)
    yield "two heads: what they cost together, less what each costs alone"
    compared.on(lambda: _world(draw, heads=5), OTHERWISE, facts=_facts)
    yield "each pair of several heads, the earlier one first"
    compared.on(lambda: _world(draw, heads=4, apart=True), OTHERWISE, facts=_facts, draws=2)
    yield "about 0 for heads that serve different texts"

    world = _world(draw, heads=6)
    run = world.of(answer)
    least = 1 + len(world.heads) + len(world.heads) * (len(world.heads) - 1) // 2
    often = max(run.asked, key=run.asked.count)
    told = {
        "count": len(run.asked),
        "least": least,
        "heads": f"[{', '.join(map(str, sorted(often)))}]",
        "times": run.asked.count(often),
    }
    require(len(run.asked) <= least, AGAIN.format(**told))
    yield "nothing is measured twice"
    Comparison(answer, reference, read=_read).on(
        lambda: _world(draw, heads=1), "A single head has no partner: what comes back?", draws=1
    )
    yield "a single head has no partner"


def reference(right_without: Measure, heads: list[Head]) -> Surplus:
    """From shares that are right, text by text."""
    whole = _share(right_without([]))
    lost = {head: whole - _share(right_without([head])) for head in heads}
    surplus = {}
    for index, first in enumerate(heads):
        for second in heads[index + 1 :]:
            both = whole - _share(right_without([first, second]))
            surplus[first, second] = 100 * (both - lost[first] - lost[second])
    return surplus


def _share(right: np.ndarray) -> float:
    return sum(map(int, right)) / len(right)


def _world(draw: Draw, heads: int, apart: bool = False) -> World:
    """Heads of two layers; some deliver the same, unless they are to be apart."""
    everyone = [(layer, head) for layer in range(2) for head in range(4)]
    order = torch.randperm(len(everyone), generator=draw.generator).tolist()
    names = [everyone[index] for index in order[:heads]]
    groups = [frozenset([name]) for name in names]
    if not apart:
        groups += [frozenset(pair) for pair in itertools.combinations(names, 2)]
    needs, base, spoils = [], [], {}
    for text in range(TEXTS):
        count = 1 if apart else draw.whole(1, 2)
        needs.append([groups[draw.whole(0, len(groups) - 1)] for _ in range(count)])
        base.append(draw.uniform() < 0.9)
        if not base[-1] and draw.uniform() < 0.7:
            spoils[text] = names[draw.whole(0, heads - 1)]
            others = [frozenset([name]) for name in names if name != spoils[text]]
            needs[-1] = [] if apart or not others else [others[draw.whole(0, len(others) - 1)]]
    return World(names, needs, base, spoils)


def _read(run: Any, right: Any) -> Surplus:
    result, heads = run.result, _heads_of(right)
    if result is Ellipsis:
        raise Unwritten("Not written yet: the result is still `...`.")
    require(isinstance(result, Mapping), DICT.format(found=type(result).__name__))
    for pair in result:
        require(pair in right.result, PAIRS.format(found=repr(pair)[:60]))
    missing = [pair for pair in right.result if pair not in result]
    facts = {"count": len(missing), "all": len(right.result), "heads": heads}
    require(not missing, MISSING.format(**facts, example=missing[0] if missing else ""))
    for pair in right.result:
        require(
            frozenset(pair) in run.asked, NEVER_TOGETHER.format(pair=" and ".join(map(str, pair)))
        )
    return {pair: a_number(result[pair], "surplus") for pair in right.result}


def _heads_of(right: Run) -> int:
    return len({head for pair in right.result for head in pair})


def _facts(call: Call, run: Any) -> dict[str, Any]:
    right = call.of(reference)
    try:
        found = _read(run, right)
    except CheckFailed:
        found = {}
    for pair, wanted in right.result.items():
        if abs(found.get(pair, wanted + 1) - wanted) > 1e-6:
            why = "\nWhat they cost together, less what each of them costs alone: which differs?"
            got = found.get(pair, float("nan"))
            return {"pair": " and ".join(map(str, pair)), "right": wanted, "found": got, "why": why}
    return {"pair": "", "right": 0.0, "found": 0.0, "why": ""}


# --- What learners write instead -----------------------------------------------------------------


def _from(rule: Callable[[float, float, float, float], float]) -> Callable[..., Surplus]:
    """A surplus from shares that are right: of the whole, without a, without b, without both."""

    def answer(right_without: Measure, heads: list[Head]) -> Surplus:
        whole = float(right_without([]).mean())
        alone = {head: float(right_without([head]).mean()) for head in heads}
        return {
            (a, b): 100 * rule(whole, alone[a], alone[b], float(right_without([a, b]).mean()))
            for a, b in itertools.combinations(heads, 2)
        }

    return answer


def _only_the_lost(right_without: Measure, heads: list[Head]) -> Surplus:
    whole = right_without([])

    def lost(silenced: list[Head]) -> float:
        return float((whole & ~right_without(silenced)).mean())

    alone = {head: lost([head]) for head in heads}
    return {
        (a, b): 100 * (lost([a, b]) - alone[a] - alone[b])
        for a, b in itertools.combinations(heads, 2)
    }


def _guessed(right_without: Measure, heads: list[Head]) -> Surplus:
    """Takes a text for right without both if it is right without either."""
    whole = right_without([]).mean()
    alone = {head: right_without([head]) for head in heads}
    return {
        (a, b): 100
        * float(alone[a].mean() + alone[b].mean() - whole - (alone[a] & alone[b]).mean())
        for a, b in itertools.combinations(heads, 2)
    }


def _measured_again(right_without: Measure, heads: list[Head]) -> Surplus:
    def lost(silenced: list[Head]) -> float:
        return float(right_without([]).mean() - right_without(silenced).mean())

    return {
        (a, b): 100 * (lost([a, b]) - lost([a]) - lost([b]))
        for a, b in itertools.combinations(heads, 2)
    }


def _both_orders(right_without: Measure, heads: list[Head]) -> Surplus:
    found = _right(right_without, heads)
    return found | {(b, a): value for (a, b), value in found.items()}


def _neighbours(right_without: Measure, heads: list[Head]) -> Surplus:
    found = _right(right_without, heads)
    return {pair: found[pair] for pair in itertools.pairwise(heads)}


def _without_a_list(right_without: Any, heads: list[Head]) -> Surplus:
    for head in heads:
        right_without(head)
    return _right(right_without, heads)


_right = _from(lambda whole, a, b, both: a + b - whole - both)

MISTAKES = [
    Mistake(
        _from(lambda whole, a, b, both: whole - both),
        "This is what the two cost together.\nWhat would they cost if neither stood in for the "
        "other, and where is it taken off?",
    ),
    Mistake(
        _from(lambda whole, a, b, both: min(a, b) - both),
        "From what the two cost together only the dearer one is taken off.\n"
        "If they did different things, what would they cost together?",
    ),
    Mistake(
        _from(lambda whole, a, b, both: (a + b) / 2 - both),
        "From what the two cost together the mean of the two is taken off.\n"
        "If they did different things, what would they cost together?",
    ),
    Mistake(
        _from(lambda whole, a, b, both: whole + both - a - b),
        "The sign is turned: a surplus is positive where the two cost more together than alone.\n"
        "What is subtracted from what?",
    ),
    Mistake(
        _from(lambda whole, a, b, both: (a + b - whole - both) / 100),
        "These are shares; points are asked for, hundredths.\nBy what are they multiplied?",
    ),
    Mistake(
        _from(lambda whole, a, b, both: a + b - both),
        "The share that is right with all heads is missing.\n"
        "What a head costs is a change: from what to what?",
    ),
    Mistake(
        _from(lambda whole, a, b, both: a + b - both - 1),
        "It is as if everything were right with all heads, but that share is below 1.\n"
        "How is it measured?",
    ),
    Mistake(
        _from(lambda whole, a, b, both: a * b / whole - both),
        "The shares are multiplied, as chances of independent events are.\n"
        "Asked for is the sum of what each costs: where is it?",
    ),
    Mistake(
        _only_the_lost,
        "Only texts that became wrong are counted. Without a head some also become right.\n"
        "How does the *share* of right ones change?",
    ),
    Mistake(_guessed, NEVER_TOGETHER, compared=False),
    Mistake(_measured_again, AGAIN, compared=False),
    Mistake(_both_orders, PAIRS, compared=False),
    Mistake(_neighbours, MISSING, compared=False),
    Mistake(_without_a_list, A_LIST, compared=False),
    Mistake(
        lambda right_without, heads: list(_right(right_without, heads).values()),
        DICT,
        compared=False,
    ),
]

EXERCISE = Exercise("stand_ins", "translation", 3, check, mistakes=MISTAKES, ours=reference)
