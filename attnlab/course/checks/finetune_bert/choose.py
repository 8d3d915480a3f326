"""Check of ``choose``."""

import functools
import numbers
from collections.abc import Generator
from typing import Any

import torch

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_number,
    a_pair,
    require,
)
from attnlab.course.checks.finetune_bert.figures import same_figure


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``choose(candidates, dev_accuracy, test_accuracy)``: the best on dev, and its figure on "
    "test."""
    candidates, dev, test = _candidates(draw)
    roles = _roles(candidates, dev, test)
    choice, figure, looks = _chosen(answer, candidates, dev, test)
    best = roles.pop("best")
    told = {
        "test": "You chose what is best on test. Then its figure is too good: luck has been "
        "chosen with it.\n"
        "Which of the two sets is there to choose by?",
        "both": "You chose by dev and test together. Then the figure of test is too good: luck "
        "has been chosen "
        "with it.\nWhich of the two sets is there to choose by?",
        "worst": "You chose the candidate with the lowest accuracy on dev.\n"
        "Is a < there for a >, or do you sort and take the wrong end?",
        "first": "You chose the first candidate, which is not the best on dev.\n"
        "Are the others compared with it? Is `return` inside the loop?",
        "last": "You chose the last candidate, which is not the best on dev.\n"
        "Do you keep the best so far, or the last one seen?",
        "largest": "You chose the largest candidate.\n"
        "What is compared: the candidates, or their accuracies on dev?",
    }
    for role, one in roles.items():
        require(choice != one, told[role])
    require(
        choice != candidates.index(best),
        "The place of the best candidate came back, not the candidate.\nWhat stands at this place?",
    )
    require(
        choice == best,
        f"You chose {choice!r}; on dev {best!r} is the best.\nWhich figures do you compare?",
    )
    yield "the best on dev"

    told_figures = {
        "The figure you return is that of dev. Of several, the best on dev is partly lucky there, "
        "so it is too "
        "good.\nWhich set was not used to choose?": dev[best],
        "The figure you return is the highest on test, which another candidate has.\n"
        "Whose test accuracy is asked for?": max(test.values()),
    }
    same_figure(figure, test[best], told_figures, "The test accuracy is wrong.\nWhose is it?")
    yield "its own figure on test"

    require(
        set(looks) == {best},
        f"The choice is right, but you looked at test for {len(set(looks))} candidates. Once "
        f"figures are there, "
        "somebody will choose by them.\nWhen do you know which single one you need?",
    )
    require(
        len(looks) == 1,
        f"The choice is right, but test was measured {len(looks)} times for it; once is enough.\n"
        "Where can you keep the figure?",
    )
    yield "one look at test"

    equal = ["lora", "prefix", "full"]
    dev = dict(zip(["frozen", *equal], (0.75, 0.875, 0.875, 0.875), strict=True))
    test = dict(zip(dev, (0.7, 0.8, 0.85, 0.9), strict=True))
    choice, _, looks = _chosen(answer, list(dev), dev, test)
    require(
        len(looks) == 1,
        f"Where several are equal on dev you look at test for {len(looks)} of them.\n"
        "Does a tie give test the right to choose?",
    )
    require(
        choice == equal[0],
        f"Of {equal}, all equal on dev, you chose {choice!r}; the first of equals is asked for.\n"
        "Is there a >= for >, or do you sort and take the last?",
    )
    yield "the first of equals"


def _candidates(draw: Draw) -> tuple[list[float], dict[float, float], dict[float, float]]:
    """Candidates with accuracies on dev and test, such that every mistake chooses another one."""
    count = 10
    while True:
        order = torch.randperm(count, generator=draw.generator)
        candidates = [round((int(place) + 1) * 1e-5, 5) for place in order]
        accuracies = torch.randperm(300, generator=draw.generator)[: 2 * count]
        figures = [round(0.65 + int(one) / 1000, 3) for one in accuracies]
        dev = dict(zip(candidates, figures[:count], strict=True))
        test = dict(zip(candidates, figures[count:], strict=True))
        roles = _roles(candidates, dev, test)
        if len(set(roles.values())) == len(roles):
            return candidates, dev, test


def _roles(
    candidates: list[float], dev: dict[float, float], test: dict[float, float]
) -> dict[str, float]:
    """The best candidate, and those that a mistake would choose."""
    return {
        "best": max(candidates, key=lambda one: dev[one]),
        "test": max(candidates, key=lambda one: test[one]),
        "both": max(candidates, key=lambda one: dev[one] + test[one]),
        "worst": min(candidates, key=lambda one: dev[one]),
        "first": candidates[0],
        "last": candidates[-1],
        "largest": max(candidates),
    }


def _chosen(answer: Answer, candidates: list, dev: dict, test: dict) -> tuple[Any, float, list]:
    """The answer's choice, the figure that came with it, and for whom test was measured."""
    looks: list = []

    def measure(name: str, figures: dict, candidate: object) -> float:
        if not any(candidate is one for one in candidates) and candidate not in candidates:
            raise CheckFailed(
                f"{name} was called with {candidate!r}, which is no candidate.\n"
                "Is it the place of a candidate, or all of them at once?"
            )
        if figures is test:
            looks.append(candidate)
        return figures[candidate]

    result = answer(
        candidates,
        functools.partial(measure, "dev_accuracy", dev),
        functools.partial(measure, "test_accuracy", test),
    )
    choice, figure = a_pair(result, "candidate", "test accuracy")
    if isinstance(figure, str | numbers.Real) and figure in candidates:
        raise CheckFailed(
            "The candidate comes second.\nIn which order does the docstring name the two?"
        )
    require(
        isinstance(choice, str | numbers.Real),
        f"As candidate came a {type(choice).__name__}, which was not among them.\nWhat do you "
        f"return first?",
    )
    return choice, a_number(figure, "test accuracy"), looks


EXERCISE = Exercise("choose", "finetune_bert", 1, check)
