"""The exercise ``beam_search``."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    Held,
    Mistake,
    require,
    where,
)
from attnlab.course.checks.translation import language as languages
from attnlab.course.checks.translation.language import Language, Result, found_by
from attnlab.course.checks.translation.searching import Ask, search
from attnlab.course.checks.translation.searching import beam_search as searched

WIDTH = 3
LANGUAGES = 16  # in which a search is tried

EMPTY_FOR_NOTHING = (
    "The empty sequence comes with log-probability 0; its end mark has {end:.3f}.\n"
    "Does a sentence end for nothing?"
)
CERTAIN = (
    "The log-probability is 0, which means certainty.\n"
    "From where do you begin, and is it added or multiplied?"
)
ENDED_IS_LOST = (
    "The end mark is the likeliest first token, with {end:.3f}, but {found} came: a sequence that "
    "has ended is thrown away.\nShould it not stay in the race, even if it is empty?"
)
UNENDED_IS_LOST = (
    "With longest=1 the likeliest is {right}, which has not ended; {found} came.\n"
    "Does what has not ended not count as it is?"
)
WRONG_END = (
    "With longest=1 {found} came; {right} has the largest log-probability.\n"
    "Which end of the order do you take?"
)
PROBABILITY = "It is the probability; asked for is its logarithm.\nIs there an exp too many?"
NO_MINUS = "The log-probability has lost its minus sign.\nCan the log of a probability be above 0?"
ONLY_THE_TOTAL = (
    "The sequences are right, but their log-probabilities are not.\n"
    "What is added up, from where to where?"
)
THROWN_AWAY = "{found} came; the best of all is {right}.\nIs anything thrown away?"


def check(answer: Answer, draw: Draw) -> Held:
    """``beam_search(next_log_probabilities, start, end, width, longest)``: the best sequence."""
    for end_first in (False, True):
        _one_token(answer, Language(draw).of_one_token(end_first))
    yield "one token: the likeliest, or nothing where the end mark is"

    _same_search(
        answer,
        draw,
        1,
        OF_ONE_BEAM,
        "With width 1 the result is wrong.\n"
        "The likeliest token at each step, until the end mark: what is kept, and what is added "
        "up?",
    )
    yield "width 1: the likeliest token at each step, log-probabilities added up"
    _same_search(
        answer,
        draw,
        WIDTH,
        OF_SEVERAL_BEAMS,
        f"With width 1 it is right, with width {WIDTH} it is not.\n"
        "Extend all that go on; of these and those that have ended keep the best: which step "
        "differs?",
    )
    yield f"width {WIDTH}: the best of all ways to go on, and of those that have ended"

    language = Language(draw).of_a_late_winner()
    everything = language.words**language.longest
    right = search(language, everything)
    with where(f"With width {everything}, which holds every sequence there is:"):
        found = found_by(answer, language, everything)
        require(_agree(found, right), THROWN_AWAY.format(found=_shown(found), right=_shown(right)))
    yield "wide enough, it finds the best of all"


def _agree(result: Result, other: Result) -> bool:
    return result[0] == other[0] and math.isclose(result[1], other[1], rel_tol=1e-4, abs_tol=1e-4)


def _shown(result: Result) -> str:
    return f"{result[0]} with {result[1]:.3f}"


def _one_token(answer: Answer, language: Language) -> None:
    right, found = search(language, 1), found_by(answer, language, 1)
    facts = {
        "found": _shown(found),
        "right": _shown(right),
        "end": language.row([])[language.end],
    }
    require(found[1] != 0 or bool(right[0]), EMPTY_FOR_NOTHING.format(**facts))
    require(found[1] != 0, CERTAIN)
    require(bool(right[0]) or found[0] == [], ENDED_IS_LOST.format(**facts))
    require(bool(found[0]) or right[0] == [], UNENDED_IS_LOST.format(**facts))
    require(found[0] == right[0], WRONG_END.format(**facts))
    require(not math.isclose(found[1], math.exp(right[1]), rel_tol=1e-4), PROBABILITY)
    require(not math.isclose(found[1], -right[1], rel_tol=1e-4), NO_MINUS)
    require(
        _agree(found, right),
        f"With longest=1 the token is right; its log-probability is {right[1]:.3f}, and "
        f"{found[1]:.3f} came.\nFrom where do you begin to add up, and what is done to the sum?",
    )


def _same_search(
    answer: Answer, draw: Draw, width: int, mistakes: Sequence[Mistake], otherwise: str
) -> None:
    """Compare over languages in which every mistake shows, and no two look alike."""
    drawn = _languages(draw, width)
    rights = [search(language, width) for language in drawn]
    found = [found_by(answer, language, width) for language in drawn]
    if all(map(_agree, found, rights)):
        return
    further, outcomes = _discerning(draw, width, drawn, mistakes)
    found += [found_by(answer, language, width) for language in further]
    rights += [search(language, width) for language in further]
    for mistake, mistaken in zip(mistakes, outcomes, strict=True):
        if all(map(_agree, found, mistaken)):
            raise CheckFailed(mistake.diagnosis)
    pairs = list(zip(found, rights, strict=True))
    if all(mine[0] == right[0] for mine, right in pairs):
        raise CheckFailed(ONLY_THE_TOTAL)
    mine, right = next(pair for pair in pairs if not _agree(*pair))
    raise CheckFailed(f"{otherwise}\n{_shown(mine)} came; {_shown(right)} is right.")


def _languages(draw: Draw, width: int) -> list[Language]:
    """So many that mistakes show, and one for each of those that seldom do."""
    drawn = [Language(draw) for _ in range(LANGUAGES)]
    for wrong in SELDOM if width > 1 else []:
        drawn.append(Language(draw))
        while _agree(search(drawn[-1], width), search(drawn[-1], width, wrong)):
            drawn[-1] = Language(draw)
    return drawn


def _discerning(
    draw: Draw, width: int, drawn: Sequence[Language], mistakes: Sequence[Mistake]
) -> tuple[list[Language], list[list[Result]]]:
    """Further languages, and what every mistake gives in all of them.

    A result is one sequence, so that many mistakes agree in one language: more are drawn until no
    two agree in all of them, nor with what is right.
    """
    searches = [searched, *(mistake.wrong for mistake in mistakes)]
    outcomes = [[search(language, width, each) for language in drawn] for each in searches]
    further: list[Language] = []
    while len({tuple(map(_key, results)) for results in outcomes}) < len(searches):
        further.append(Language(draw))
        for each, results in zip(searches, outcomes, strict=True):
            results.append(search(further[-1], width, each))
    return further, outcomes[1:]


def _key(result: Result) -> tuple[tuple[int, ...], float]:
    return tuple(result[0]), round(result[1], 2)


# --- What learners write instead -----------------------------------------------------------------

Search = Callable[..., Any]


def _if_wide(**wrong: Any) -> Search:
    """A mistake that is made with several beams only."""

    def answer(ask: Ask, start: int, end: int, width: int, longest: int) -> Result:
        return searched(ask, start, end, width, longest, **(wrong if width > 1 else {}))

    return answer


def _with_total(change: Callable[[list[int], float], float]) -> Search:
    """The right sequence, with something done to its log-probability."""

    def answer(*inputs: Any) -> Result:
        ids, total = searched(*inputs)
        return ids, change(ids, total)

    return answer


def _asking(change: Callable[[list[list[int]]], Any]) -> Search:
    """A search that asks for something else than the beginnings it should ask for."""

    def answer(ask: Any, start: int, end: int, width: int, longest: int) -> Result:
        return searched(lambda prefixes: ask(change(prefixes)), start, end, width, longest)

    return answer


def _one_step_too_many(ask: Ask, start: int, end: int, width: int, longest: int) -> Result:
    return searched(ask, start, end, width, longest + 1)


def _ended_goes_on(ask: Ask, start: int, end: int, width: int, longest: int) -> Result:
    ids, total = searched(ask, start, -1, width, longest)
    return [token for token in ids if token != end], total


def _best_of_each_beam(ask: Ask, start: int, end: int, width: int, longest: int) -> Result:
    """Each beam keeps as many ways as there may be beams: their number grows."""
    beams: list[Result] = [([], 0.0)]
    for _ in range(longest):
        kept: list[Result] = []
        for ids, total in beams:
            if ids[-1:] == [end]:
                kept.append((ids, total))
                continue
            row = ask([[start, *ids]])[0].tolist()
            best = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:width]
            kept += [([*ids, token], total + row[token]) for token in best]
        beams = kept
    ids, total = max(beams, key=lambda beam: beam[1])
    return [token for token in ids if token != end], total


def _index_of_all(ask: Ask, start: int, end: int, width: int, longest: int) -> Result:
    """Takes the index among all candidates for the token."""
    prefixes, total = [[start]], 0.0
    for _ in range(longest):
        rows = ask(prefixes)
        logs, indices = rows.flatten().topk(min(width, rows.numel()))
        total += logs[0].item()
        if indices[0] == end:
            break
        prefixes = [[*prefixes[0], index] for index in indices.tolist() if index != end]
    return [token for token in prefixes[0] if token not in (start, end)], total


def _with_marks(start_too: bool) -> Search:
    def answer(ask: Ask, start: int, end: int, width: int, longest: int) -> Result:
        ids, total = searched(ask, start, end, width, longest)
        marks = [start] if start_too else []
        return [*marks, *ids, *([end] if len(ids) < longest else [])], total

    return answer


def _last_token_cut(ask: Ask, start: int, end: int, width: int, longest: int) -> Result:
    """Takes it for granted that the last token is the end mark."""
    ids, total = searched(ask, start, end, width, longest)
    return (ids[:-1] if len(ids) == longest else ids), total


def _never_more_than_a_few(ask: Ask, start: int, end: int, width: int, longest: int) -> Result:
    return searched(ask, start, end, min(width, WIDTH), longest)


def _end_for_nothing(ask: Ask, start: int, end: int, width: int, longest: int) -> Result:
    ids, total = searched(ask, start, end, width, longest)
    return ids, total if ids else 0.0


SELDOM = [
    partial(searched, finished="aside"),
    partial(searched, finished="stop"),
    partial(searched, unfinished="left out"),
]
OF_ONE_BEAM = [
    Mistake(
        partial(searched, total="last"),
        "Only the last step's log-probability is kept.\n"
        "Of two numbers that multiply, what do the logarithms do?",
    ),
    Mistake(
        partial(searched, total="product"),
        "The log-probabilities are multiplied.\n"
        "Of two probabilities that multiply, what do the logarithms do?",
    ),
    Mistake(
        partial(searched, figure="per token"),
        "The log-probability is divided by the length.\nIs that asked for here?",
    ),
]

OF_SEVERAL_BEAMS = [
    Mistake(
        partial(searched, greedy=True),
        "It is greedy: only one beginning is followed, or all beams hold the same.\n"
        f"How do you keep the {WIDTH} best at each step?",
    ),
    Mistake(
        _if_wide(total="last"),
        "With several beams only the last step's log-probability decides.\n"
        "What has a beginning cost so far?",
    ),
    Mistake(
        _if_wide(total="product"),
        "With several beams the log-probabilities are multiplied.\n"
        "Of two probabilities that multiply, what do the logarithms do?",
    ),
    Mistake(
        _if_wide(finished="dropped"),
        "A sequence that has ended is thrown away.\n"
        "Should it not stay in the race with the log-probability it has?",
    ),
    Mistake(
        partial(searched, finished="aside"),
        "Who has ended takes no place among the beams, so that more are followed than `width`.\n"
        "Of what goes on *and* what has ended, how many are to be kept?",
    ),
    Mistake(
        partial(searched, finished="first"),
        "The search stops as soon as one sequence has ended, though a better one is still being "
        "written.\nWhen can nothing that goes on overtake it any more?",
    ),
    Mistake(
        partial(searched, finished="stop"),
        "The search stops as soon as one sequence has ended, and returns the best of those kept, "
        "which may only have begun.\nWhen can nothing that goes on change the result?",
    ),
    Mistake(
        partial(searched, worst="in the end"),
        "The last of those kept is returned, not the best.\nWhich end of the order is it?",
    ),
    Mistake(
        _if_wide(worst="always"),
        "The least likely ones are kept.\nWhich end of the order do you keep?",
    ),
    Mistake(
        partial(searched, rivals="each its own"),
        "Each beam keeps one way to go on, so each stays a greedy search by itself.\n"
        f"Among what should the {WIDTH} best be chosen: those of a beam, or all?",
    ),
    Mistake(
        partial(searched, rank="always"),
        "Beginnings are compared by log-probability per token, not by their whole "
        "log-probability.\nIs that asked for here?",
    ),
    Mistake(
        partial(searched, rank="in the end"),
        "In the end sequences are compared by log-probability per token, not by their whole "
        "log-probability.\nIs that asked for here?",
    ),
    Mistake(
        partial(searched, unfinished="left out"),
        "What has not ended after `longest` tokens is left out.\nDoes it not count as it is?",
    ),
]

FOUND_OTHERWISE = [
    Mistake(wrong, diagnosis, compared=False)
    for wrong, diagnosis in (
        (_end_for_nothing, EMPTY_FOR_NOTHING),
        (_with_total(lambda ids, total: 0.0 * total if ids else total), CERTAIN),
        (partial(searched, finished="dropped"), ENDED_IS_LOST),
        (_last_token_cut, UNENDED_IS_LOST),
        (partial(searched, worst="always"), WRONG_END),
        (_with_total(lambda ids, total: math.exp(total)), PROBABILITY),
        (_with_total(lambda ids, total: -total), NO_MINUS),
        (_with_total(lambda ids, total: total + 0.1 * max(len(ids) - 1, 0)), ONLY_THE_TOTAL),
        (_never_more_than_a_few, THROWN_AWAY),
        (_asking(lambda prefixes: prefixes[0]), languages.ONE_BEGINNING),
        (_asking(lambda prefixes: [ids[1:] for ids in prefixes]), languages.WITHOUT_START),
        (_ended_goes_on, languages.ENDED_GOES_ON),
        (_one_step_too_many, languages.TOO_LONG),
        (_index_of_all, languages.NO_WORD),
        (_best_of_each_beam, languages.TOO_MANY),
        (lambda *inputs: searched(*inputs)[::-1], languages.SWAPPED),
        (_with_marks(start_too=True), languages.HOLDS_START),
        (_with_marks(start_too=False), languages.HOLDS_END),
    )
]

MISTAKES = [*OF_ONE_BEAM, *OF_SEVERAL_BEAMS, *FOUND_OTHERWISE]

EXERCISE = Exercise("beam_search", "translation", 4, check, mistakes=MISTAKES, ours=searched)
