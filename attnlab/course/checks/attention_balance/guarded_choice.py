"""Exercise ``guarded_choice``: the best on tune, if guard agrees, and its test accuracy."""

import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

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
    a_number,
    a_pair,
    require,
    where,
)

PARTS = ("tune", "guard", "test")
NAMES = [f"settings {letter}" for letter in "ABCDEFGHIJK"]

Settings = Any  # a text
Score = Callable[[Settings, str], float]
Candidates = Sequence[Settings]
Accuracies = dict[Settings, float]

PART_FIRST = "score was called with the part first.\nIn which order does it take settings and part?"
NO_PART = "score was asked for the part {part!r}; there are tune, guard, test.\nWhich do you mean?"
NO_SETTINGS = (
    "score was called with something that is neither the start nor a candidate.\n"
    "Is it the index of a candidate, or all of them at once?"
)
TURNED = "The settings come second.\nIn which order does the docstring name the two?"
INDEX = "The index of a candidate came back, not the candidate.\nWhich candidate has this index?"
MUCH_OF_GUARD = (
    "The choice is right, but guard was asked for {count} settings. Once figures are there, "
    "somebody will choose by them, and then nothing guards the choice.\n"
    "Which two do you need, once tune has chosen?"
)
MUCH_OF_TEST = (
    "The choice is right, but test was asked for {count} settings. Once figures are there, "
    "somebody will choose by them.\nWhen do you know which single one you need?"
)
TEST_AGAIN = (
    "The choice is right, but test was asked {count} times for it; once is enough.\n"
    "Where can you keep the figure?"
)
NEVER_ASKED = (
    "The best on tune is kept, but on guard it has {guard_best:.3f}, the start {guard_start:.3f}: "
    "it was lucky on tune.\nWhere do you ask guard?"
)
ANOTHER_PASSES = (
    "The best on tune does not pass the guard, and you kept another that does. Who tries until one "
    "passes, chooses by guard.\nWhat is left if guard is asked once, and says no?"
)
ASKED_FOR_MORE = (
    "You stayed with the start, which is right, but more was asked for it than needed.\n"
    "Does a no from guard give you another question?"
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
        "Its test accuracy is {figure:.3f}; you return {found_figure:.3f}. Whose is it?"
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
    for name, changed in (
        ("tune has 0 for all", call.with_zeros()),
        ("guard sees little", call.barely()),
    ):
        with where(f"Where {name}:"):
            kept.on(partial(_same, changed), "You kept {found!r}, not {right!r}.", facts=_facts)
    yield "figures of 0, and the smallest gain on guard"


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
        best = max(candidates, key=tune.__getitem__)
        step = draw.whole(3, 20) / 1000 * (1 if passes else -1)
        tune[start], guard[start] = round(guard[best] + step, 3), round(guard[best] - step, 3)
        test[start] = round(0.75 + draw.whole(0, 140) / 1000, 3)
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


# --- What learners write instead -----------------------------------------------------------------


def _best_by(part: str) -> Callable[[Candidates, Score], Settings]:
    return lambda candidates, score: max(candidates, key=lambda settings: score(settings, part))


_best_on_tune = _best_by("tune")


def _better_on_guard(best: Settings, start: Settings, score: Score) -> bool:
    return score(best, "guard") > score(start, "guard")


def _test_accuracy(kept: Settings, other: Settings, score: Score) -> float:
    return score(kept, "test")


def _guarding(
    choose: Callable[[Candidates, Score], Settings] = _best_on_tune,
    agrees: Callable[[Settings, Settings, Score], bool] = _better_on_guard,
    figure: Callable[[Settings, Settings, Score], float] = _test_accuracy,
) -> Callable[..., Any]:
    """The guarded choice with a part exchanged."""

    def answer(start: Settings, candidates: Candidates, score: Score) -> Any:
        best = choose(candidates, score)
        kept, other = (best, start) if agrees(best, start, score) else (start, best)
        return kept, figure(kept, other, score)

    return answer


_right = _guarding()


def _unguarded(choose: Callable[[Candidates, Score], Settings]) -> Callable[..., Any]:
    return _guarding(choose, agrees=lambda best, start, score: True)


def _asked_in_vain(best: Settings, start: Settings, score: Score) -> bool:
    return score(best, "guard") > 0 <= score(start, "guard")


def _next_that_passes(start: Settings, candidates: Candidates, score: Score) -> Any:
    for candidate in sorted(candidates, key=lambda settings: -score(settings, "tune")):
        if score(candidate, "guard") > score(start, "guard"):
            return candidate, score(candidate, "test")
    return start, score(start, "test")


def _otherwise_the_best_on_guard(start: Settings, candidates: Candidates, score: Score) -> Any:
    best = _best_on_tune(candidates, score)
    if not _better_on_guard(best, start, score):
        best = _best_by("guard")(candidates, score)
    return best, score(best, "test")


def _asks_a_part_of_all(part: str) -> Callable[..., Any]:
    """Keeps the figures of one part for all settings."""

    def answer(start: Settings, candidates: Candidates, score: Score) -> Any:
        figures = {settings: score(settings, part) for settings in [start, *candidates]}
        return _right(
            start,
            candidates,
            lambda settings, asked: figures[settings] if asked == part else score(settings, asked),
        )

    return answer


def _asks_test_twice(start: Settings, candidates: Candidates, score: Score) -> Any:
    kept, figure = _right(start, candidates, score)
    return kept, (figure + score(kept, "test")) / 2


def _refused_on_test_too(start: Settings, candidates: Candidates, score: Score) -> Any:
    kept, figure = _right(start, candidates, score)
    if kept == start:
        score(_best_on_tune(candidates, score), "test")
    return kept, figure


def _highest_on_test(start: Settings, candidates: Candidates, score: Score) -> Any:
    kept, _ = _right(start, candidates, score)
    return kept, max(score(settings, "test") for settings in [start, *candidates])


def _highest_of_candidates(start: Settings, candidates: Candidates, score: Score) -> Any:
    kept, _ = _right(start, candidates, score)
    return kept, max(score(settings, "test") for settings in candidates)


def _part_first(start: Settings, candidates: Candidates, score: Score) -> Any:
    return _right(start, candidates, lambda settings, part: score(part, settings))


def _scores_indices(start: Settings, candidates: Candidates, score: Score) -> Any:
    return _right(start, range(len(candidates)), score)


def _index_of_the_kept(start: Settings, candidates: Candidates, score: Score) -> Any:
    kept, figure = _right(start, candidates, score)
    return list(candidates).index(kept), figure


CHOICES = [  # mistakes that keep another candidate, even where guard agrees with the right choice
    Mistake(
        _unguarded(_best_by("test")),
        "You kept what is best on test. Then its figure is too good: luck has been chosen with "
        "it.\nOn which part may you choose?",
    ),
    Mistake(
        _unguarded(_best_by("guard")),
        "You kept what is best on guard, so nothing is left that the choice has not seen.\n"
        "Which part is there to choose on, and which to judge the choice?",
    ),
    Mistake(
        _unguarded(
            lambda candidates, score: max(
                candidates, key=lambda settings: score(settings, "tune") + score(settings, "guard")
            )
        ),
        "You kept what is best on tune and guard together, so nothing is left that the choice has "
        "not seen.\nWhich part is there to choose on, and which to judge the choice?",
    ),
    Mistake(
        _unguarded(
            lambda candidates, score: min(candidates, key=lambda settings: score(settings, "tune"))
        ),
        "You kept the candidate with the lowest accuracy on tune.\n"
        "Is a < there for a >, or do you sort and take the wrong end?",
    ),
    Mistake(
        _unguarded(lambda candidates, score: candidates[0]),
        "You kept the first candidate, which is not the best on tune.\n"
        "Are the others compared with it? Is `return` inside the loop?",
    ),
    Mistake(
        _unguarded(lambda candidates, score: candidates[-1]),
        "You kept the last candidate, which is not the best on tune.\n"
        "Do you keep the best so far, or the last one seen?",
    ),
    Mistake(
        _unguarded(lambda candidates, score: max(candidates)),
        "You kept the last name in the alphabet.\n"
        "What is compared: the candidates, or what score says of them?",
    ),
]
RIGHT_BUT = "What is kept is right, but not its figure. "
MISTAKES = [
    *CHOICES,
    Mistake(
        _guarding(agrees=lambda best, start, score: False),
        "You stayed with the start, though on guard the best on tune has {guard_best:.3f}, the "
        "start {guard_start:.3f}.\n"
        "Which two figures do you compare? Are both of the same part?",
    ),
    Mistake(
        _guarding(figure=lambda kept, other, score: score(kept, "tune")),
        f"{RIGHT_BUT}It is that of tune, on which the choice was made: of several, the best is "
        "partly lucky there.\nWhich part has had no say?",
    ),
    Mistake(
        _guarding(figure=lambda kept, other, score: score(kept, "guard")),
        f"{RIGHT_BUT}It is that of guard, which has decided what is kept.\n"
        "Which part has had no say?",
    ),
    *(
        Mistake(
            highest,
            f"{RIGHT_BUT}It is the highest on test, which other settings have.\n"
            "Whose figure is asked for?",
        )
        for highest in (_highest_on_test, _highest_of_candidates)
    ),
    Mistake(
        _guarding(figure=lambda kept, other, score: score(other, "test")),
        f"{RIGHT_BUT}It is the test accuracy of what was not kept.\nWhose figure is asked for?",
    ),
    Mistake(
        _guarding(figure=lambda kept, other, score: score(kept, "test") - score(other, "test")),
        f"{RIGHT_BUT}It is the change on test, against what was not kept.\n"
        "A difference needs two looks; which single figure is asked for?",
    ),
    Mistake(
        _guarding(
            figure=lambda kept, other, score: sum(score(kept, part) for part in PARTS) / len(PARTS)
        ),
        f"{RIGHT_BUT}It is the mean of all three parts.\nWhich part has had no say?",
    ),
    Mistake(
        _guarding(agrees=_asked_in_vain),
        "The best on tune is kept, but on guard it has {guard_best:.3f}, the start "
        "{guard_start:.3f}. You asked guard, and yet it is kept.\n"
        "Which two figures do you compare? Are both of the same part?",
    ),
    Mistake(
        _guarding(agrees=lambda best, start, score: score(best, "guard") >= score(start, "guard")),
        "On guard the best candidate is exactly as good as the start, and the start is given up "
        "for it.\nIs there a >= for >?",
    ),
    Mistake(
        _guarding(lambda candidates, score: _best_on_tune(candidates[::-1], score)),
        "{equal} are equally good on tune; you kept {found!r}, and the first is asked for.\n"
        "Is there a >= for >, or do you sort and take the last?",
    ),
    Mistake(_unguarded(_best_on_tune), NEVER_ASKED, compared=False),
    Mistake(_next_that_passes, ANOTHER_PASSES, compared=False),
    Mistake(_otherwise_the_best_on_guard, ANOTHER_PASSES, compared=False),
    Mistake(_asks_a_part_of_all("guard"), MUCH_OF_GUARD, compared=False),
    Mistake(_asks_a_part_of_all("test"), MUCH_OF_TEST, compared=False),
    Mistake(_asks_test_twice, TEST_AGAIN, compared=False),
    Mistake(_refused_on_test_too, ASKED_FOR_MORE, compared=False),
    Mistake(lambda *given: _right(*given)[::-1], TURNED, compared=False),
    Mistake(_part_first, PART_FIRST, compared=False),
    Mistake(_guarding(_best_by("dev")), NO_PART, compared=False),
    Mistake(_scores_indices, NO_SETTINGS, compared=False),
    Mistake(_index_of_the_kept, INDEX, compared=False),
]

EXERCISE = Exercise("guarded_choice", "attention_balance", 2, check, mistakes=MISTAKES)
