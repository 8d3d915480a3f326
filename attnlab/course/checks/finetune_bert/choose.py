"""Exercise ``choose``: the best on dev, and its accuracy on test."""

import functools
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

Candidate = Any  # a number or a text
Measure = Callable[[Candidate], float]
Accuracies = dict[Candidate, float]

NO_CANDIDATE = (
    "{name} was called with {candidate!r}, which is no candidate.\n"
    "Is it the index of a candidate, or all of them at once?"
)
TURNED = "The candidate comes second.\nIn which order does the docstring name the two?"
SEVERAL_LOOKS = (
    "The choice is right, but you looked at test for {count} candidates. Once figures are there, "
    "somebody will choose by them.\nWhen do you know which single one you need?"
)
LOOKS_AGAIN = (
    "The choice is right, but test was measured {count} times for it; once is enough.\n"
    "Where can you keep the figure?"
)
ALL_ZERO = (
    "Where all have 0 on dev, the first of them is asked for.\n"
    "With which figure does your comparison begin?"
)
TEST_BREAKS_TIES = (
    "Where several are equal on dev you look at test for {count} of them.\n"
    "Does a tie give test the right to choose?"
)


@dataclass(frozen=True)
class Run:
    """What a function returned, and for which candidates it looked at test."""

    result: Any
    looks: list[Candidate]


class Choice(Call):
    """Candidates with their accuracies."""

    def __init__(self, dev: Accuracies, test: Accuracies):
        super().__init__(dev, test)
        self.dev, self.test = dev, test

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function chooses, and what it asks."""
        looks: list[Candidate] = []

        def measure(name: str, accuracies: Accuracies, candidate: Candidate) -> float:
            if candidate not in list(accuracies):
                raise CheckFailed(NO_CANDIDATE.format(name=name, candidate=candidate))
            if accuracies is self.test:
                looks.append(candidate)
            return accuracies[candidate]

        result = function(
            list(self.dev),
            functools.partial(measure, "dev_accuracy", self.dev),
            functools.partial(measure, "test_accuracy", self.test),
        )
        return Run(result, looks)


def check(answer: Answer, draw: Draw) -> Held:
    """``choose(candidates, dev_accuracy, test_accuracy)``: the best on dev, its figure on test."""
    choice = Comparison(answer, reference, MISTAKES, read=_choice)
    both = Comparison(answer, reference, MISTAKES, read=_choice_and_figure)
    choice.on(
        lambda: _telling(draw),
        "You chose {found!r}; on dev {right!r} is the best.\nWhich figures do you compare?",
        facts=_facts,
    )
    yield "the best on dev"

    call = _telling(draw)
    both.on(lambda: call, "The test accuracy is wrong.\nWhose is it?", facts=_facts)
    yield "its own figure on test"

    looks = call.of(answer).looks
    require(len(set(looks)) == 1, SEVERAL_LOOKS.format(count=len(set(looks))))
    require(len(looks) == 1, LOOKS_AGAIN.format(count=len(looks)))
    yield "one look at test"

    names = ["frozen", "lora", "prefix", "full"]
    tie = Choice(
        dict(zip(names, (0.75, 0.875, 0.875, 0.875), strict=True)),
        dict(zip(names, (0.7, 0.8, 0.85, 0.9), strict=True)),
    )
    looks = tie.of(answer).looks
    require(len(looks) == 1, TEST_BREAKS_TIES.format(count=len(looks)))
    choice.on(
        lambda: tie,
        "Of several that are equally good on dev, the first, {right!r}, is asked for; you chose "
        "{found!r}.\nHow do you compare equals?",
        facts=_facts,
    )
    nothing = Choice(dict.fromkeys(names, 0.0), tie.test)
    with where(ALL_ZERO):
        choice.on(lambda: nothing, "You chose {found!r}, not {right!r}.", facts=_facts)
    yield "the first of equals, even where nobody is right at all"


def reference(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
    """By the index of the highest accuracy."""
    accuracies = list(map(dev, candidates))
    best = candidates[accuracies.index(max(accuracies))]
    return best, test(best)


def _telling(draw: Draw) -> Choice:
    """Candidates with accuracies such that every mistake chooses another one."""
    count = 10
    while True:
        order = torch.randperm(count, generator=draw.generator).tolist()
        candidates = [round((number + 1) / 100, 2) for number in order]
        drawn = torch.randperm(300, generator=draw.generator)[: 2 * count].tolist()
        accuracies = [round(0.65 + number / 1000, 3) for number in drawn]
        call = Choice(
            dict(zip(candidates, accuracies[:count], strict=True)),
            dict(zip(candidates, accuracies[count:], strict=True)),
        )
        wrong = [mistake.wrong for mistake in CHOICES]
        chosen = {call.of(function).result[0] for function in (reference, *wrong)}
        if len(chosen) == len(wrong) + 1:
            return call


def _choice(run: Run, right: Run) -> Candidate:
    return _choice_and_figure(run, right)[0]


def _choice_and_figure(run: Run, right: Run) -> tuple[Candidate, float]:
    """The candidate and a number."""
    choice, figure = a_pair(run.result, "candidate", "test accuracy")
    require(figure != right.result[0] or choice == right.result[0], TURNED)
    require(
        isinstance(choice, str | numbers.Real),
        f"As candidate came a {type(choice).__name__}, which was not among them.\n"
        "What do you return first?",
    )
    return choice, a_number(figure, "test accuracy")


def _facts(call: Call, run: Run) -> dict[str, Any]:
    return {"found": run.result[0], "right": call.of(reference).result[0]}


# --- What learners write instead -----------------------------------------------------------------


def _choosing(
    key: Callable[[Candidate, Measure, Measure], float] = lambda candidate, dev, test: dev(
        candidate
    ),
    figure: Callable[..., float] = lambda best, candidates, dev, test: test(best),
) -> Callable[..., Any]:
    """The candidate with the highest key, and a figure."""

    def answer(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
        best = max(candidates, key=lambda candidate: key(candidate, dev, test))
        return best, figure(best, candidates, dev, test)

    return answer


_right = _choosing()


def _first_candidate(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
    return candidates[0], test(candidates[0])


def _last_candidate(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
    return candidates[-1], test(candidates[-1])


def _index_of_the_best(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
    best, figure = _right(candidates, dev, test)
    return list(candidates).index(best), figure


def _measures_indices(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
    best = max(range(len(candidates)), key=dev)
    return candidates[best], test(candidates[best])


def _looks_at_all(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
    table = [(candidate, dev(candidate), test(candidate)) for candidate in candidates]
    best = max(table, key=lambda row: row[1])
    return best[0], best[2]


def _looks_twice(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
    best, figure = _right(candidates, dev, test)
    return best, (figure + test(best)) / 2


def _last_of_equals(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
    best = sorted(candidates, key=dev)[-1]
    return best, test(best)


def _test_breaks_ties(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
    accuracies = [dev(candidate) for candidate in candidates]
    equal = [
        candidate
        for candidate, accuracy in zip(candidates, accuracies, strict=True)
        if accuracy == max(accuracies)
    ]
    best = equal[0] if len(equal) == 1 else max(equal, key=test)
    return best, test(best)


def _begins_with_zero(candidates: Sequence[Candidate], dev: Measure, test: Measure) -> Any:
    best, highest = candidates[-1], 0.0
    for candidate in candidates:
        if dev(candidate) > highest:
            best, highest = candidate, dev(candidate)
    return best, test(best)


CHOICES = [  # mistakes that choose another candidate
    Mistake(
        _choosing(lambda candidate, dev, test: test(candidate)),
        "You chose what is best on test. Then its figure is too good: luck has been chosen with "
        "it.\nWhich of the two sets is there to choose by?",
    ),
    Mistake(
        _choosing(lambda candidate, dev, test: dev(candidate) + test(candidate)),
        "You chose by dev and test together. Then the figure of test is too good: luck has been "
        "chosen with it.\nWhich of the two sets is there to choose by?",
    ),
    Mistake(
        _choosing(lambda candidate, dev, test: -dev(candidate)),
        "You chose the candidate with the lowest accuracy on dev.\n"
        "Is a < there for a >, or do you sort and take the wrong end?",
    ),
    Mistake(
        _first_candidate,
        "You chose the first candidate, which is not the best on dev.\n"
        "Are the others compared with it? Is `return` inside the loop?",
    ),
    Mistake(
        _last_candidate,
        "You chose the last candidate, which is not the best on dev.\n"
        "Do you keep the best so far, or the last one seen?",
    ),
    Mistake(
        _choosing(lambda candidate, dev, test: candidate),
        "You chose the largest candidate.\n"
        "What is compared: the candidates, or their accuracies on dev?",
    ),
]
MISTAKES = [
    *CHOICES,
    Mistake(
        _index_of_the_best,
        "The index of the best candidate came back, not the candidate.\n"
        "Which candidate has this index?",
    ),
    Mistake(
        _choosing(figure=lambda best, candidates, dev, test: dev(best)),
        "The figure you return is that of dev. Of several, the best on dev is partly lucky there, "
        "so it is too good.\nWhich set was not used to choose?",
    ),
    Mistake(
        _choosing(figure=lambda best, candidates, dev, test: max(map(test, candidates))),
        "The figure you return is the highest on test, which another candidate has.\n"
        "Whose test accuracy is asked for?",
    ),
    Mistake(_measures_indices, NO_CANDIDATE, compared=False),
    Mistake(lambda *given: _right(*given)[::-1], TURNED, compared=False),
    Mistake(_looks_at_all, SEVERAL_LOOKS, compared=False),
    Mistake(_looks_twice, LOOKS_AGAIN, compared=False),
    Mistake(_begins_with_zero, ALL_ZERO, compared=False),
    Mistake(_test_breaks_ties, TEST_BREAKS_TIES, compared=False),
    Mistake(
        _last_of_equals,
        "Of several that are equally good on dev you chose {found!r}; the first, {right!r}, is "
        "asked for.\nIs there a >= for >, or do you sort and take the last?",
    ),
]

EXERCISE = Exercise("choose", "finetune_bert", 1, check, mistakes=MISTAKES)
