"""Beam search, right or with one mistake."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from attnlab.course.checks.translation.language import Language, Result

Ask = Callable[[list[list[int]]], Tensor]

_ADD: dict[str, Callable[[float, float], float]] = {
    "sum": lambda so_far, log: so_far + log,
    "last": lambda so_far, log: log,
    "product": lambda so_far, log: so_far * log,
}


def beam_search(
    ask: Ask,
    start: int,
    end: int,
    width: int,
    longest: int,
    *,
    greedy: bool = False,
    total: str = "sum",
    finished: str = "stay",
    worst: str = "",
    rivals: str = "all",
    rank: str = "",
    figure: str = "",
    unfinished: str = "",
) -> Result:
    """Right by default, or with one mistake.

    With finished="aside" who has ended takes no place in the beam.
    """

    def ended(beam: Result) -> bool:
        return beam[0][-1:] == [end]

    order = _per_token if rank == "always" else _whole
    beams: list[Result] = [([], 1.0 if total == "product" else 0.0)]
    done: list[Result] = []
    for step in range(longest):
        alive = [beam for beam in beams if not ended(beam)]
        if not alive:
            break
        rows = ask([[start, *ids] for ids, _ in alive]).tolist()
        ways = [
            [([*ids, token], _ADD[total](so_far, log)) for token, log in enumerate(row)]
            for (ids, so_far), row in zip(alive, rows, strict=True)
        ]
        if rivals == "each its own" and step:
            ways = [[max(each, key=order)] for each in ways]
        rivalling = [beam for beam in beams if ended(beam)]
        rivalling += [way for each in ways for way in each]
        rivalling.sort(key=order, reverse=worst != "always")
        if finished in ("aside", "dropped"):
            done += [way for way in rivalling[:width] if ended(way) and finished == "aside"]
            rivalling = [way for way in rivalling if not ended(way)]
        beams = rivalling[: 1 if greedy else width]
        some = [beam for beam in beams if ended(beam)]
        if some and finished in ("first", "stop"):
            beams = some if finished == "first" else beams
            break
    last = beams + done
    if unfinished:
        last = [beam for beam in last if ended(beam)] or last
    ids, sum_ = (min if worst else max)(last, key=_per_token if rank else _whole)
    if figure == "per token":
        sum_ /= len(ids)
    return [token for token in ids if token != end], sum_


def _whole(beam: Result) -> float:
    return beam[1]


def _per_token(beam: Result) -> float:
    return beam[1] / max(len(beam[0]), 1)


def search(language: Language, width: int, search: Callable[..., Any] = beam_search) -> Result:
    """What a search finds in a language, whatever it asks."""

    class Rows(list[list[float]]):
        def tolist(self) -> list[list[float]]:
            return list(self)

    def ask(prefixes: list[list[int]]) -> Rows:
        return Rows(language.row(prefix[1:]) for prefix in prefixes)

    return search(ask, language.start, language.end, width, language.longest)
