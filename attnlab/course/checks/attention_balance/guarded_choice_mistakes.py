"""What learners write instead of ``guarded_choice``, and what is said of it."""

from collections.abc import Callable, Sequence
from typing import Any

from attnlab.course.checks.examiner import Mistake

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


def _start_competes(start: Settings, candidates: Candidates, score: Score) -> Any:
    best = _best_on_tune([*candidates, start], score)
    kept = best if best == start or _better_on_guard(best, start, score) else start
    return kept, score(kept, "test")


def _better_on_both(best: Settings, start: Settings, score: Score) -> bool:
    gain = score(best, "tune") >= score(start, "tune")
    return gain and _better_on_guard(best, start, score)


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
    *(
        Mistake(
            answer,
            "The start is ahead of all candidates on tune, and you kept it, though guard prefers "
            "the best of them.\nOn which part are candidate and start compared?",
        )
        for answer in (_start_competes, _guarding(agrees=_better_on_both))
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
