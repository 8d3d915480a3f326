"""Exercise ``tune_rounds``: several rounds of tuning, with rollback."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from attnlab.course.checks.attention_balance.tune_rounds_mistakes import (
    ASKED_AGAIN,
    MISTAKES,
    MORE_THAN_SETTINGS,
    NO_END,
    NO_ROUNDS,
    NOT_SETTINGS,
    UNKNOWN,
    Compare,
    Event,
    Propose,
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
    a_tensor,
    require,
    same,
)


@dataclass(frozen=True)
class Run:
    """Which settings were kept, by number, 0 for the start, and what was asked."""

    kept: int
    events: list[Event]

    @property
    def once(self) -> list[Event]:
        """What was asked, without repetitions."""
        before: list[Event | None] = [None, *self.events]
        return [event for event, last in zip(self.events, before, strict=False) if event != last]


class Rounds(Call):
    """What each proposal does to accuracy, in thousandths, and half the width of the intervals."""

    def __init__(self, changes: list[float], noise: int, rounds: int, settings: list[Tensor]):
        super().__init__(changes, noise, rounds, settings)
        self.changes, self.noise, self.rounds, self.settings = changes, noise, rounds, settings

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function keeps, and what it asks."""
        accuracies: list[float] = [0]
        events: list[Event] = []

        def propose(settings: Settings) -> Tensor:
            made = len(accuracies)
            if made == len(self.settings):
                raise CheckFailed(NO_END.format(rounds=self.rounds, count=made - 1))
            base = self._number(settings, made)
            events.append(("propose", base))
            accuracies.append(accuracies[base] + self.changes[(made - 1) % len(self.changes)])
            return self.settings[made].clone()

        def compare(before: Settings, after: Settings) -> tuple[float, float, float]:
            first, second = (self._number(each, len(accuracies)) for each in (before, after))
            events.append(("compare", first, second))
            change = accuracies[second] - accuracies[first]
            return change / 1000, (change - self.noise) / 1000, (change + self.noise) / 1000

        result = function(self.settings[0].clone(), propose, compare, self.rounds)
        if isinstance(result, tuple | list):
            told = MORE_THAN_SETTINGS.format(kind=type(result).__name__, count=len(result))
            raise CheckFailed(told)
        result = a_tensor(result, tuple(self.settings[0].shape), "settings")
        return Run(self._number(result, len(accuracies)), events)

    def _number(self, settings: Settings, made: int) -> int:
        """The number of settings, 0 for the start, among the ``made`` ones that there are."""
        known = self.settings[:made]
        if not isinstance(settings, Tensor) or settings.shape != known[0].shape:
            raise CheckFailed(NOT_SETTINGS)
        for number in reversed(range(made)):
            if same(settings, known[number], 1e-6):
                return number
        raise CheckFailed(UNKNOWN)


def check(answer: Answer, draw: Draw) -> Held:
    """``tune_rounds(start, propose, compare, rounds)``: several rounds of tuning, with rollback."""
    compared = Comparison(answer, reference, MISTAKES)

    def on(kinds: str, otherwise: str) -> None:
        call = _rounds(draw, kinds)
        right = call.of(reference)

        def read(run: Run, _: Run) -> list[Any]:
            return [run.kept, run.once]

        compared.on(lambda: call, otherwise + OF_THESE, facts=_facts, read=read)
        require(call.of(answer).events == right.events, ASKED_AGAIN)

    on("G", "One round, and a gain beyond noise: what comes back is wrong.")
    yield "one round, one gain: kept"

    on(
        "GWBWGW",
        "Gains and losses by turns: the rounds do not follow on each other as they should.",
    )
    yield "several: each begins from what is kept and is compared with it, losses are rolled back"

    on("-", "One round, and a loss inside the noise: what comes back is wrong.")
    on("+", "One round, and a change inside the noise: what comes back is wrong.")
    on("E", "One round, and an interval that begins at 0: what comes back is wrong.")
    yield "what is inside the noise is rolled back, too"

    on("GWWWGG", "Two refusals in a row: what you do then is wrong.")
    on("G+--GWWG", "Two refusals in a row, inside the noise: what you do then is wrong.")
    yield "the end: two refusals in a row"

    on("S", "One round, and an interval that begins just above 0: what comes back is wrong.")
    on("GW" * 30, "Many rounds: is their number limited by more than `rounds`?")
    yield "the smallest gain beyond noise counts, and however many rounds are asked for"

    run = _rounds(draw, "").of(answer)
    require(run.kept == 0 and not run.events, NO_ROUNDS)
    yield "none, where no round is asked for"


def reference(start: Settings, propose: Propose, compare: Compare, rounds: int) -> Settings:
    """From a stack of what was kept, and a text of gains and refusals."""
    kept, outcomes = [start], ""
    while len(outcomes) < rounds and not outcomes.endswith("rr"):
        proposal = propose(kept[-1])
        _, low, _ = compare(kept[-1], proposal)
        outcomes += "g" if low > 0 else "r"
        kept += [proposal] * (low > 0)
    return kept[-1]


def _rounds(draw: Draw, kinds: str) -> Rounds:
    """A proposal of each kind.

    B and G gain, S barely, W loses, + and - stay inside the noise, and E just touches its edge.
    """
    noise = draw.whole(9, 12)
    sizes: dict[str, float] = {"B": 60, "G": draw.whole(20, 40), "W": -draw.whole(20, 40)}
    sizes |= {"E": noise, "S": noise + 1e-4}
    sizes |= {"+": draw.whole(2, 6), "-": -draw.whole(2, 6)}
    changes = [sizes[kind] for kind in kinds or "G"]
    settings = list(draw.normal(3 * len(kinds) + 5, 6))
    return Rounds(changes, noise, len(kinds), settings)


OF_THESE = (
    "\nThe changes are {changes}, each ± {noise:.3f}: of {rounds} rounds {made} should be made, "
    "and {right} kept; you made {found_made} proposals and kept {found}.\n"
    "Which round goes another way than it should?"
)


def _facts(call: Call, run: Run) -> dict[str, Any]:
    assert isinstance(call, Rounds)
    right = call.of(reference)

    def name(number: int) -> str:
        return f"proposal {number}" if number else "the start"

    made, found_made = (
        sum(event[0] == "propose" for event in each.events) for each in (right, run)
    )
    return {
        "changes": ", ".join(f"{change / 1000:+.3f}" for change in call.changes[:made]),
        "noise": call.noise / 1000,
        "rounds": call.rounds,
        "made": made,
        "found_made": found_made,
        "right": name(right.kept),
        "found": name(run.kept),
    }


EXERCISE = Exercise("tune_rounds", "attention_balance", 3, check, mistakes=MISTAKES)
