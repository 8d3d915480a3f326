"""Exercise ``guarded_choice``: the best on tune, if guard agrees, and its test accuracy."""

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from attnlab.course.checks.attention_balance.guarded_choice_mistakes import (
    ANOTHER_PASSES,
    ASKED_FOR_MORE,
    CHOICES,
    INDEX,
    MISTAKES,
    MUCH_OF_GUARD,
    MUCH_OF_TEST,
    NAMES,
    NEVER_ASKED,
    NO_PART,
    NO_SETTINGS,
    PART_FIRST,
    PARTS,
    TEST_AGAIN,
    TURNED,
    Accuracies,
    Candidates,
    Score,
    Settings,
)
from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    a_number,
    a_pair,
    require,
    where,
)


@dataclass(frozen=True)
class Run:
    """What a function returned, and for which settings it asked each part."""

    result: Any
    asked: dict[str, list[Settings]]


class Choice(Call):
    """A start and candidates, with their accuracies on each part."""

    def __init__(self, start: Settings, candidates: Candidates, table: dict[str, Accuracies]):
        super().__init__(start, candidates, table)
        self.start, self.candidates, self.table = start, candidates, table
        self.best = max(candidates, key=table["tune"].__getitem__)

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function keeps, and what it asks."""
        asked: dict[str, list[Settings]] = {part: [] for part in PARTS}

        def score(settings: Settings, part: str) -> float:
            require(not isinstance(settings, str) or settings not in PARTS, PART_FIRST)
            require(isinstance(part, str) and part in PARTS, NO_PART.format(part=part))
            require(isinstance(settings, str) and settings in self.table["tune"], NO_SETTINGS)
            asked[part].append(settings)
            return self.table[part][settings]

        return Run(function(self.start, self.candidates, score), asked)

    def with_zeros(self) -> "Choice":
        """Nobody is right on tune; guard prefers the first candidate to the start."""
        guard = {**self.table["guard"], self.candidates[0]: 1.0}
        tune = dict.fromkeys(self.table["tune"], 0.0)
        return Choice(self.start, self.candidates, {**self.table, "tune": tune, "guard": guard})

    def with_the_start_ahead(self) -> "Choice":
        """On tune the start is better than all candidates, by a little."""
        tune = {**self.table["tune"], self.start: self.table["tune"][self.best] + 0.001}
        return Choice(self.start, self.candidates, {**self.table, "tune": tune})

    def with_the_last_best(self) -> "Choice":
        """On tune and on guard the last candidate is ahead of all others."""
        table, last = dict(self.table), self.candidates[-1]
        for part in ("tune", "guard"):
            table[part] = {**table[part], last: 1.0}
        return Choice(self.start, self.candidates, table)

    def barely(self) -> "Choice":
        """The best is better on guard by next to nothing."""
        guard = {**self.table["guard"], self.best: self.table["guard"][self.start] + 1e-6}
        return Choice(self.start, self.candidates, {**self.table, "guard": guard})

    def with_equals(self, on_tune: bool) -> "Choice":
        """The best equals the start on guard; or three others are the best on tune."""
        table = dict(self.table)
        if on_tune:
            tune, guard = table["tune"], table["guard"]
            equal = self.candidates[1:4]  # in no order of their names
            high = dict.fromkeys(equal, max(tune.values()))
            table["tune"] = {**tune, self.best: min(tune.values()), **high}
            table["guard"] = {**guard, **dict.fromkeys(equal, max(guard.values()))}
        else:
            table["guard"] = {**table["guard"], self.best: table["guard"][self.start]}
        return Choice(self.start, self.candidates, table)


def _same(choice: Choice) -> Choice:
    return choice


def check(answer: Answer, draw: Draw) -> Held:
    """``guarded_choice(start, candidates, score)``: the best on tune, if guard agrees."""
    kept = Comparison(answer, reference, MISTAKES, read=_kept)
    both = Comparison(answer, reference, MISTAKES, read=_kept_and_figure)

    call = _telling(draw, passes=True)
    kept.on(
        lambda: call,
        "You kept {found!r}; on tune {best!r} is best.\nWhich figures do you compare?",
        facts=_facts,
    )
    yield "the best on tune, where guard agrees"

    otherwise = (
        "What is kept is right, but not its figure.\n"
        "Its test accuracy is {figure:.4f}; you return {found_figure:.4f}. Whose is it?"
    )
    both.on(lambda: call, otherwise, facts=_facts)
    yield "its own figure on test"

    asked = call.of(answer).asked
    for part, allowed, told in (
        ("guard", {call.best, call.start}, MUCH_OF_GUARD),
        ("test", {call.best}, MUCH_OF_TEST),
    ):
        of_part = set(asked[part])
        require(of_part <= allowed, told.format(count=len(of_part)))
    require(len(asked["test"]) == 1, TEST_AGAIN.format(count=len(asked["test"])))
    yield "guard is asked for two settings, test for one, once"

    refused = _telling(draw, passes=False)
    run = refused.of(answer)
    chosen, guard = _kept(run, run), refused.table["guard"]
    if chosen == refused.best:
        require(refused.best in run.asked["guard"], NEVER_ASKED.format_map(_facts(refused, run)))
    require(
        chosen == refused.best or guard[chosen] <= guard[refused.start],
        ANOTHER_PASSES,
    )
    kept.on(
        lambda: refused,
        "The best on tune does not pass the guard, and you kept {found!r}.\n"
        "What is there besides the candidates?",
        facts=_facts,
    )
    both.on(lambda: refused, otherwise, facts=_facts)
    asked = refused.of(answer).asked
    require(
        len(asked["test"]) == 1 and set(asked["guard"]) <= {refused.best, refused.start},
        ASKED_FOR_MORE,
    )
    yield "the start, where guard says no"

    equal_on_guard = refused.with_equals(on_tune=False)
    kept.on(
        lambda: equal_on_guard,
        "On guard the best candidate is exactly as good as the start; you kept {found!r}.\n"
        "What is kept if guard sees no gain?",
        facts=_facts,
    )
    equal_on_tune = equal_on_guard.with_equals(on_tune=True)
    kept.on(
        lambda: equal_on_tune,
        "{equal} are equally good on tune; you kept {found!r}, and the first is asked for.\n"
        "How do you compare equals?",
        facts=_facts,
    )
    yield "equal on guard: the start; equal on tune: the first"
    ahead = call.with_the_start_ahead()
    kept.on(
        lambda: ahead,
        "The start is ahead of all candidates on tune, but guard prefers {right!r} to it; you kept "
        "{found!r}.\nOn which part are candidate and start compared?",
        facts=_facts,
    )
    yield "whatever the start has on tune"
    for name, changed in (
        ("tune has 0 for all", call.with_zeros()),
        ("guard sees little", call.barely()),
        ("the last is best", call.with_the_last_best()),
    ):
        with where(f"Where {name}:"):
            kept.on(partial(_same, changed), "You kept {found!r}, not {right!r}.", facts=_facts)
    yield "figures of 0, the smallest gain on guard, and the last candidate"


def reference(start: Settings, candidates: Candidates, score: Score) -> Any:
    """By the index of the highest accuracy."""
    accuracies = [score(candidate, "tune") for candidate in candidates]
    best = candidates[accuracies.index(max(accuracies))]
    chosen = [start, best][score(start, "guard") < score(best, "guard")]
    return chosen, score(chosen, "test")


def _telling(draw: Draw, passes: bool) -> Choice:
    """Settings with accuracies such that every mistake keeps others, or returns other figures.

    The best on tune ``passes`` the guard or not; figures of different parts, if they are compared,
    say the opposite.
    """
    while True:
        order = torch.randperm(len(NAMES), generator=draw.generator).tolist()
        start, *candidates = (NAMES[index] for index in order)
        table = {}
        for part in PARTS:
            drawn = torch.randperm(150, generator=draw.generator)[: len(candidates)].tolist()
            accuracies = [round(0.75 + number / 1000, 3) for number in drawn]
            table[part] = dict(zip(candidates, accuracies, strict=True)) | {start: 0.7}
        tune, guard, test = (table[part] for part in PARTS)
        table["test"] = test = {settings: figure + 0.0004 for settings, figure in test.items()}
        best = max(candidates, key=tune.__getitem__)
        step = draw.whole(3, 20) / 1000 * (1 if passes else -1)
        tune[start], guard[start] = round(guard[best] + step, 3), round(guard[best] - step, 3)
        test[start] = round(0.75 + draw.whole(0, 140) / 1000, 3) + 0.0004
        kept, other = (best, start) if passes else (start, best)
        figures = [tune[kept], guard[kept], test[kept], test[other], max(test.values())]
        call = Choice(start, candidates, table)
        chosen = [call.of(mistake.wrong).result[0] for mistake in CHOICES]
        if (
            len(set(figures)) == len(figures)
            and len({best, start, *chosen}) == len(chosen) + 2
            and tune[start] < tune[best]
            and sum(guard[candidate] > guard[start] for candidate in candidates) >= 2
        ):
            return call


def _kept(run: Run, right: Run) -> Settings:
    return _kept_and_figure(run, right)[0]


def _kept_and_figure(run: Run, right: Run) -> tuple[Settings, float]:
    """The settings that are kept, and a number."""
    kept, figure = a_pair(run.result, "settings", "test accuracy")
    require(not isinstance(figure, str), TURNED)
    require(not isinstance(kept, numbers.Integral), INDEX)
    if not isinstance(kept, str) or kept not in NAMES:
        raise CheckFailed(
            f"As settings came a {type(kept).__name__} that is neither the start nor a candidate.\n"
            "What do you return first?"
        )
    return kept, a_number(figure, "test accuracy")


def _facts(call: Call, run: Run) -> dict[str, Any]:
    assert isinstance(call, Choice)
    kept, figure = call.of(reference).result
    tune, guard = call.table["tune"], call.table["guard"]
    equal = [candidate for candidate in call.candidates if tune[candidate] == tune[call.best]]
    return {
        "found": run.result[0],
        "found_figure": run.result[1],
        "right": kept,
        "figure": figure,
        "best": call.best,
        "guard_best": guard[call.best],
        "guard_start": guard[call.start],
        "equal": ", ".join(equal),
    }


def _ours(start: Any, candidates: Any, score: Callable[[Any, str], float]) -> tuple[Any, float]:
    best = max(candidates, key=lambda one: score(one, "tune"))
    kept = best if score(best, "guard") > score(start, "guard") else start
    return kept, score(kept, "test")


EXERCISE = Exercise("guarded_choice", "attention_balance", 2, check, mistakes=MISTAKES, ours=_ours)
