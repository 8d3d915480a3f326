"""A court case: the learner's experiment is tried on versions that are wrong, and on right ones.

A `Case` names them, and what each does. All come to the experiment in the same wrapper, in any
order, under changing names and random numbers; what is judged is the verdict.
"""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    Held,
    Mistake,
    Unwritten,
    require,
)

__all__ = ["Case", "Version", "exercise", "noisy"]

Trial = Callable[[Callable[..., Any]], Any]
TIMES = 4

NOTHING = "Your trial returned None where a verdict was expected.\nDoes it end in `return`?"
NO_BOOL = (
    "Your trial returned {found}.\nTrue is guilty and False is innocent: which comparison ends it?"
)
SEVERAL = (
    "Your trial returned {found} truth values where one verdict is asked for.\nMust all of them "
    "hold, `.all()`, or is one enough, `.any()`?"
)
CONVICTS_ALL = (
    "Your trial convicts every version, and some of them are right.\nWhat would you see if the "
    "claim were right?"
)
ACQUITS_ALL = (
    "Your trial acquits every version, and some of them are wrong.\nOn which input do a wrong and "
    "a right version differ?"
)
NOT_CALLED = (
    "Your trial acquits every version without calling one. Name, source and identity tell nothing "
    "here: all come in the same wrapper.\nWhat does `candidate` give for an input of yours?"
)
BY_NAME = (
    "The verdict changes with the name of a function, and nothing else.\nWhat does `candidate` "
    "give for an input of yours?"
)
LUCK = (
    "With other random numbers the verdict on the same version changes. It {does}.\nIs the input "
    "so small that chance decides, or the tolerance as tight as rounding?"
)
TURNED = (
    "Every verdict is the wrong way round.\nTrue is guilty: is there a `not` too many, or too few?"
)
BREAKS = (
    "On your input a version raises {error}. It {does}.\nWhich input can every version take? Or "
    "catch the error, if it is evidence to you."
)
CLAIM_ACQUITTED = "Your trial acquits the claim itself, which is wrong: it {does}.\n{ask}"
CLAIM_CONVICTED = "Your trial convicts the claim itself, which is right: it {does}.\n{ask}"
ACQUITTED = "Your trial acquits a version that is wrong: it {does}.\n{ask}"
CONVICTED = "Your trial convicts a version that is right: it {does}.\n{ask}"
RAISED_ON = "{problem}\nIt happened with a version that {does}."


@dataclass(frozen=True)
class Version:
    """One way to do it.

    Attributes
    ----------
    run : what the experiment gets as its candidate
    does : what it does, to follow "it"
    ask : a question that leads an experiment to it which judges it wrongly
    """

    run: Callable[..., Any]
    does: str
    ask: str


@dataclass(frozen=True)
class Case:
    """What circulates, and versions beside it.

    Attributes
    ----------
    name : of the exercise, ``trial_...``
    about : one line on what the experiment is given and should find out
    claim : the version that circulates
    guilty : whether it is wrong
    wrong, right : versions that an experiment must convict, and acquit
    ours : an experiment that does
    times : each version is tried, with other random numbers
    warm_up : run once before, for what torch loads at its first use; it takes none of the time
    """

    name: str
    about: str
    claim: Version
    guilty: bool
    wrong: Sequence[Version]
    right: Sequence[Version]
    ours: Trial
    times: int = TIMES
    warm_up: Callable[[], object] = lambda: None


@dataclass
class _Hearing:
    """A version before the court: how often it was called, and the error it ended with."""

    calls: int = 0
    error: Exception | None = None

    def candidate(self, version: Version, name: str) -> Callable[..., Any]:
        """The version as the experiment gets it."""

        def candidate(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            self.error = None
            try:
                return version.run(*arguments, **keywords)
            except Exception as error:
                self.error = error
                raise

        candidate.__name__ = candidate.__qualname__ = name
        return candidate


def exercise(case: Case, points: int = 1) -> Exercise:
    """The exercise of a case."""

    def check(answer: Answer, draw: Draw) -> Held:
        yield from _try(case, answer, draw)

    check.__doc__ = f"``{case.name}(candidate)``: {case.about}"
    return Exercise(case.name, "capstone", points, check, mistakes=_mistakes(case), ours=case.ours)


def noisy(run: Callable[..., Tensor]) -> Version:
    """A right version with the rounding errors of float32 added."""

    def rounded(*given: Any) -> Tensor:
        result = run(*given)
        return result + 2e-7 * result.abs() * torch.randn(result.shape)

    return Version(
        rounded,
        "differs from another right one by rounding, some 1e-7 of each number",
        "Is there an `==` between decimals? torch.allclose with atol=1e-5 forgives rounding.",
    )


def _try(case: Case, answer: Answer, draw: Draw) -> Held:
    versions = [(case.claim, case.guilty)]
    versions += [(version, True) for version in case.wrong]
    versions += [(version, False) for version in case.right]
    names = (case.claim.run.__name__, "candidate")
    rounds = [(index, time) for index in range(len(versions)) for time in range(case.times)]
    verdicts: list[list[bool]] = [[] for _ in versions]
    case.warm_up()
    calls, base = 0, draw.whole(0, 10**6)
    for place in torch.randperm(len(rounds), generator=draw.generator).tolist():
        index, time = rounds[place]
        hearing = _Hearing()
        verdict = _verdict(answer, versions[index][0], hearing, names[time % 2], base + place)
        verdicts[index].append(verdict)
        calls += hearing.calls

    given = {verdict for each in verdicts for verdict in each}
    require(given != {True}, CONVICTS_ALL)
    require(given != {False}, ACQUITS_ALL if calls else NOT_CALLED)
    for (version, _), each in zip(versions, verdicts, strict=True):
        if len(set(each)) > 1:
            named = _by_name(answer, version, names, base)
            raise CheckFailed(BY_NAME if named else LUCK.format(does=version.does))
    found = [each[0] for each in verdicts]
    require(any(now == guilty for now, (_, guilty) in zip(found, versions, strict=True)), TURNED)
    for now, (version, guilty) in zip(found, versions, strict=True):
        if now != guilty:
            said = ACQUITTED if guilty else CONVICTED
            if version is case.claim:
                said = CLAIM_ACQUITTED if guilty else CLAIM_CONVICTED
            raise CheckFailed(said.format(does=version.does, ask=version.ask))
    yield f"the claim: {'guilty' if case.guilty else 'innocent'}"
    yield f"{len(case.wrong)} other wrong versions are convicted"
    yield f"{len(case.right)} right ones, written differently, are acquitted"
    yield "the same verdicts with other random numbers and other names"


def _verdict(answer: Answer, version: Version, hearing: _Hearing, name: str, seed: int) -> bool:
    """What the experiment says of a version, with these random numbers."""
    with _random_numbers(seed):
        try:
            result = answer(hearing.candidate(version, name))
        except Unwritten:
            raise
        except CheckFailed as problem:
            if hearing.error is not None:
                error = f"{type(hearing.error).__name__}: {hearing.error}".splitlines()[0][:120]
                raise CheckFailed(BREAKS.format(error=error, does=version.does)) from None
            if " raised " not in str(problem):
                raise
            raise CheckFailed(RAISED_ON.format(problem=problem, does=version.does)) from None
    if result is Ellipsis:
        raise Unwritten("Not written yet: the verdict is still `...`.")
    require(result is not None, NOTHING)
    if isinstance(result, Tensor | np.ndarray):
        count = result.numel() if isinstance(result, Tensor) else result.size
        require(count == 1, SEVERAL.format(found=count))
        result = result.item()
    kind = f"{result!r:.40}, a {type(result).__name__}"
    require(isinstance(result, bool | np.bool_), NO_BOOL.format(found=kind))
    return bool(result)


def _by_name(answer: Answer, version: Version, names: tuple[str, str], base: int) -> bool:
    """Whether the same version under the same random numbers is judged by its name."""
    pairs = [
        [_verdict(answer, version, _Hearing(), name, base + time) for name in names]
        for time in range(3)
    ]
    return all(one != other and [one, other] == pairs[0] for one, other in pairs)


@contextlib.contextmanager
def _random_numbers(seed: int) -> Iterator[None]:
    """Seed torch, NumPy and Python, and leave the last two as they were.

    NumPy's global numbers, not a generator: a trial that learners write may draw from `np.random`.
    """
    arrays, plain = np.random.get_state(), random.getstate()  # noqa: NPY002 - trials draw from it
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - likewise
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(arrays)  # noqa: NPY002 - likewise
        random.setstate(plain)


def _mistakes(case: Case) -> list[Mistake]:
    """Experiments that judge by anything but evidence."""

    def by_name(candidate: Callable[..., Any]) -> bool:
        return candidate.__name__ == case.claim.run.__name__

    def by_a_coin(candidate: Callable[..., Any]) -> bool:
        return random.random() < 0.5

    wrong: tuple[tuple[Trial, str], ...] = (
        (lambda candidate: True, CONVICTS_ALL),
        (lambda candidate: bool(case.ours(candidate)) and False, ACQUITS_ALL),
        (lambda candidate: candidate is case.claim.run, NOT_CALLED),
        (by_name, BY_NAME),
        (by_a_coin, LUCK),
        (lambda candidate: not case.ours(candidate), TURNED),
        (lambda candidate: float(case.ours(candidate)), NO_BOOL),
        (lambda candidate: torch.tensor([case.ours(candidate)] * 3), SEVERAL),
        (lambda candidate: None, NOTHING),
    )
    return [Mistake(trial, diagnosis, compared=False) for trial, diagnosis in wrong]


def __dir__() -> list[str]:
    return sorted(__all__)
