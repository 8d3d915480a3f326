"""Check of ``guarded_choice``."""

import numbers
from collections.abc import Generator

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

PARTS = ("tune", "guard", "test")
Table = dict[str, dict[str, float]]  # part to settings to accuracy


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``guarded_choice(start, candidates, score)``: the best on tune, if guard agrees, and its "
    "test accuracy."""
    start, candidates, table = _settings(draw, passes=True)
    tune, guard, _ = (table[part] for part in PARTS)
    roles = _choices(start, candidates, table)
    best = roles.pop("tune")
    kept, figure, asked = _guarded(answer, start, candidates, table)
    told = {
        "test": "You kept what is best on test. Then its figure is too good: luck has been chosen "
        "with it.\n"
        "On which part may you choose?",
        "guard": "You kept what is best on guard, so nothing is left that the choice has not "
        "seen.\n"
        "Which part is there to choose on, and which to judge the choice?",
        "both": "You kept what is best on tune and guard together, so nothing is left that the "
        "choice has not "
        "seen.\nWhich part is there to choose on, and which to judge the choice?",
        "worst": "You kept the candidate with the lowest accuracy on tune.\n"
        "Is a < there for a >, or do you sort and take the wrong end?",
        "first": "You kept the first candidate, which is not the best on tune.\n"
        "Are the others compared with it? Is `return` inside the loop?",
        "last": "You kept the last candidate, which is not the best on tune.\n"
        "Do you keep the best so far, or the last one seen?",
        "largest": "You kept the last name in the alphabet.\n"
        "What is compared: the candidates, or what score says of them?",
        "start": f"You stayed with the start, though on guard the best on tune has "
        f"{guard[best]:.3f}, the start "
        f"{guard[start]:.3f}.\nWhich two figures do you compare? Are both of the same part?",
    }
    for role, one in roles.items():
        require(kept != one, told[role])
    require(
        kept == best, f"You kept {kept!r}; on tune {best!r} is best.\nWhich figures do you compare?"
    )
    yield "the best on tune, where guard agrees"

    _right_figure(figure, best, start, table)
    yield "its own figure on test"

    others = set(asked["guard"]) - {best, start}
    require(
        not others,
        f"The choice is right, but guard was asked for {len(set(asked['guard']))} settings. Once "
        f"figures are "
        "there, somebody will choose by them, and then nothing guards the choice.\n"
        "Which two do you need, once tune has chosen?",
    )
    require(
        set(asked["test"]) == {best},
        f"The choice is right, but test was asked for {len(set(asked['test']))} settings. Once "
        f"figures are there, "
        "somebody will choose by them.\nWhen do you know which single one you need?",
    )
    require(
        len(asked["test"]) == 1,
        f"The choice is right, but test was asked {len(asked['test'])} times for it; once is "
        f"enough.\n"
        "Where can you keep the figure?",
    )
    yield "guard is asked for two settings, test for one, once"

    start, candidates, table = _settings(draw, passes=False)
    tune, guard, _ = (table[part] for part in PARTS)
    best = max(candidates, key=tune.__getitem__)
    kept, figure, asked = _guarded(answer, start, candidates, table)
    if kept == best:
        figures = f"on guard it has {guard[best]:.3f}, the start {guard[start]:.3f}"
        require(
            best in asked["guard"],
            f"The best on tune is kept, but {figures}: it was lucky on tune.\nWhere do you ask "
            f"guard?",
        )
        raise CheckFailed(
            f"The best on tune is kept, but {figures}. You asked guard, and yet it is kept.\n"
            "Which two figures do you compare? Are both of the same part?"
        )
    passing = [one for one in candidates if guard[one] > guard[start]]
    require(
        kept not in passing,
        "The best on tune does not pass the guard, and you kept another that does. Who tries "
        "until one passes, "
        "chooses by guard.\nWhat is left if guard is asked once, and says no?",
    )
    require(
        kept == start,
        f"The best on tune does not pass the guard, and you kept {kept!r}.\nWhat is there besides "
        f"the candidates?",
    )
    _right_figure(figure, start, best, table)
    require(
        len(asked["test"]) == 1 and set(asked["guard"]) <= {best, start},
        "You stayed with the start, which is right, but more was asked for it than needed.\n"
        "Does a no from guard give you another question?",
    )
    yield "the start, where guard says no"

    table["guard"] = {**guard, best: guard[start]}
    kept, _, _ = _guarded(answer, start, candidates, table)
    require(
        kept == start,
        "On guard the best candidate is exactly as good as the start, and the start is given up "
        "for it.\n"
        "Is there a >= for >?",
    )
    equal = candidates[1:4]  # in no order of their names
    highest = max(tune.values())
    table["tune"] = {**tune, best: min(tune.values()), **dict.fromkeys(equal, highest)}
    table["guard"] = {**guard, **dict.fromkeys(equal, max(guard.values()))}
    kept, _, _ = _guarded(answer, start, candidates, table)
    require(
        kept == equal[0],
        f"{', '.join(equal)} are equally good on tune; you kept {kept!r}, and the first is asked "
        f"for.\n"
        "Is there a >= for >, or do you sort and take the last?",
    )
    yield "equal on guard: the start; equal on tune: the first"


def _settings(draw: Draw, passes: bool) -> tuple[str, list[str], Table]:
    """A start, candidates and their figures, such that every mistake keeps another one."""
    count = 11
    names = [chr(ord("A") + one) for one in range(count)]
    while True:
        order = torch.randperm(count, generator=draw.generator).tolist()
        start, *candidates = (f"settings {names[one]}" for one in order)
        table: Table = {}
        for part in PARTS:
            places = torch.randperm(150, generator=draw.generator)[: count - 1].tolist()
            figures = [round(0.75 + place / 1000, 3) for place in places]
            table[part] = dict(zip(candidates, figures, strict=True)) | {start: 0.7}
        tune, guard, test = (table[part] for part in PARTS)
        best = max(candidates, key=lambda one: tune[one])
        step = draw.whole(3, 20) / 1000  # figures of different parts, if compared, say the opposite
        tune[start] = round(guard[best] + (step if passes else -step), 3)
        guard[start] = round(guard[best] - (step if passes else -step), 3)
        test[start] = round(0.75 + draw.whole(0, 140) / 1000, 3)
        kept, other = (best, start) if passes else (start, best)
        highest = max(test, key=lambda one: test[one])
        figures = [tune[kept], guard[kept], test[kept], test[other], test[highest]]
        roles = _choices(start, candidates, table)
        if (
            len(set(figures)) == len(figures)
            and len(set(roles.values())) == len(roles)
            and tune[start] < tune[best]
            and sum(guard[one] > guard[start] for one in candidates) >= 2
        ):
            return start, candidates, table


def _choices(start: str, candidates: list[str], table: Table) -> dict[str, str]:
    """What would be kept by tune alone, and by each mistake."""
    tune, guard, test = (table[part] for part in PARTS)
    return {
        "tune": max(candidates, key=lambda one: tune[one]),
        "test": max(candidates, key=lambda one: test[one]),
        "guard": max(candidates, key=lambda one: guard[one]),
        "both": max(candidates, key=lambda one: tune[one] + guard[one]),
        "worst": min(candidates, key=lambda one: tune[one]),
        "first": candidates[0],
        "last": candidates[-1],
        "largest": max(candidates),
        "start": start,
    }


def _guarded(
    answer: Answer, start: str, candidates: list[str], table: Table
) -> tuple[str, float, dict[str, list[str]]]:
    """What the answer keeps, the figure that comes with it, and for which settings it asked each "
    "part."""
    asked: dict[str, list[str]] = {part: [] for part in PARTS}

    def score(settings: object, part: object) -> float:
        require(
            settings not in PARTS,
            "score was called with the part first.\nIn which order does it take settings and part?",
        )
        require(
            isinstance(part, str) and part in PARTS,
            f"score was asked for the part {part!r}; there are {', '.join(PARTS)}.\nWhich one do "
            f"you mean?",
        )
        require(
            isinstance(settings, str) and settings in table["tune"],
            "score was called with something that is neither the start nor a candidate.\n"
            "Is it the place of a candidate, or all of them at once?",
        )
        asked[part].append(settings)
        return table[part][settings]

    kept, figure = a_pair(answer(start, candidates, score), "settings", "test accuracy")
    require(
        not isinstance(figure, str),
        "The settings come second.\nIn which order does the docstring name the two?",
    )
    require(
        not isinstance(kept, numbers.Integral),
        "The place of a candidate came back, not the candidate.\nWhat stands at this place?",
    )
    require(
        isinstance(kept, str) and kept in table["tune"],
        f"As settings came a {type(kept).__name__} that is neither the start nor a candidate.\n"
        "What do you return first?",
    )
    return kept, a_number(figure, "test accuracy"), asked


def _right_figure(figure: float, kept: str, other: str, table: Table) -> None:
    """Fail unless the figure is the test accuracy of what is kept; name which one it is instead."""
    tune, guard, test = (table[part] for part in PARTS)
    figures = {
        "It is that of tune, on which the choice was made: of several, the best is partly lucky "
        "there.\n"
        "Which part has had no say?": tune[kept],
        "It is that of guard, which has decided what is kept.\nWhich part has had no say?": guard[
            kept
        ],
        "It is the highest on test, which other settings have.\nWhose figure is asked for?": max(
            test.values()
        ),
        "It is the test accuracy of what was not kept.\nWhose figure is asked for?": test[other],
        "It is the change on test, against what was not kept.\n"
        "A difference needs two looks; which single figure is asked for?": test[kept] - test[other],
        "It is the mean of all three parts.\nWhich part has had no say?": (
            (tune[kept] + guard[kept] + test[kept]) / 3
        ),
    }
    if abs(figure - test[kept]) < 1e-6:
        return
    for diagnosis, one in figures.items():
        require(abs(figure - one) > 1e-6, f"What is kept is right, but not its figure. {diagnosis}")
    raise CheckFailed(
        "What is kept is right, but not its figure.\n"
        f"Its test accuracy is {test[kept]:.3f}; you return {figure:.3f}. Whose is it?"
    )


EXERCISE = Exercise("guarded_choice", "attention_balance", 2, check)
