"""Check of ``tune_rounds``."""

import functools
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_tensor,
    require,
    same,
)

Event = tuple[str, int] | tuple[str, int, int]


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``tune_rounds(start, propose, compare, rounds)``: several rounds of tuning, with rollback."""
    run = functools.partial(_same_run, answer, draw)
    run(
        "G",
        {
            "One round, and a gain: the start came back.\n"
            "Is the gain refused, or kept under another name than the one you return?": {
                "result": "start"
            },
            "compare got its two settings in the wrong order, so every change has the wrong sign.\n"
            "Which of them comes first?": {"swapped": True},
            "What is kept is not what was compared: propose is asked once more, and makes "
            "something new.\n"
            "Where can you keep the proposal until you know?": {"again": True},
            "One round is asked for, and two are made.\nHow often does range(rounds) run?": {
                "extra": 1
            },
            "One round is asked for, and none is made.\nHow often does range(rounds) run?": {
                "extra": -1
            },
            "One proposal was asked for and never compared.\nWhat tells you whether to keep it?": {
                "blind": True
            },
        },
        "One round, and a gain beyond noise: what comes back is wrong.",
    )
    yield "one round, one gain: kept"

    run(
        "GWBWGW",
        {
            "Every proposal is made from the start, so nothing adds up.\n"
            "What does propose change once there has been a gain?": {"base": "start"},
            "Proposals are compared with the start, not with what is kept: a loss hides behind an "
            "earlier gain.\n"
            "What would the model be without this proposal?": {"against": "start"},
            "Nothing is rolled back: what is worse beyond noise is kept.\n"
            "Which end of the interval tells that a proposal is better?": {"keep": lambda *_: True},
            "The last proposal comes back, though it was refused.\n"
            "Are there two names, for what is kept and for what is tried?": {"result": "last"},
            "The settings with the largest change come back.\n"
            "It was measured against what was kept then; what has been added since?": {
                "result": "best"
            },
            "The settings of the first round come back.\nWhich name do you return?": {
                "result": "first"
            },
            "After a refusal the next proposal begins from the refused settings.\n"
            "From what should propose begin?": {"base": "last"},
            "After a refusal you go on from the start, and an earlier gain is lost.\n"
            "To what should you roll back?": {"back": "start"},
            "After a refusal the next proposal is compared with the refused settings; to beat "
            "those is easy.\n"
            "With what is it to be compared?": {"against": "last"},
            "You stop at the first refusal.\nCould the next proposal not be a better one?": {
                "patience": 1
            },
            "You stop at the second refusal, but there was a gain between the two.\n"
            "When must the count begin again at 0?": {"resets": False},
            "You stop after the first round.\nIs `return` inside the loop?": {"only": 1},
        },
        "Gains and losses by turns: the rounds do not follow on each other as they should.",
    )
    yield "several: each begins from what is kept and is compared with it, losses are rolled back"

    run(
        "-",
        {
            "A loss inside the noise is kept, because it might be none.\n"
            "Only what is *better* beyond noise is kept: which end of the interval tells?": {
                "keep": lambda delta, low, high: high >= 0
            },
        },
        "One round, and a loss inside the noise: what comes back is wrong.",
    )
    run(
        "+",
        {
            "A change upwards is kept, though it is inside the noise: `delta` is judged, not its "
            "interval.\n"
            "Only what is better *beyond* noise is kept: which end of the interval tells?": {
                "keep": lambda delta, low, high: delta > 0
            },
        },
        "One round, and a change inside the noise: what comes back is wrong.",
    )
    run(
        "E",
        {
            "An interval that begins at 0 counts as a gain; it still holds 0.\nIs there a >= for "
            ">?": {"keep": lambda delta, low, high: low >= 0},
        },
        "One round, and an interval that begins at 0: what comes back is wrong.",
    )
    yield "what is inside the noise is rolled back, too"

    run(
        "GWWWGG",
        {
            "Two refusals in a row, and you go on to the last round.\n"
            "What do you count, and when do you stop?": {"patience": 99},
            "You stop after three refusals in a row.\nHow many are asked for?": {"patience": 3},
        },
        "Two refusals in a row: what you do then is wrong.",
    )
    run(
        "G+--GWWG",
        {
            "Only losses beyond noise are counted as refusals; inside the noise nothing is "
            "gained, either.\n"
            "Which rounds are refused?": {"counts": lambda delta, low, high: high < 0},
            "Only changes downwards are counted as refusals.\nWhich rounds are refused?": {
                "counts": lambda delta, low, high: delta < 0
            },
        },
        "Two refusals in a row, inside the noise: what you do then is wrong.",
    )
    yield "the end: two refusals in a row"

    model = _Model([25], 10)
    kept = _number(answer, model, draw, 0)
    require(
        kept == 0 and not model.events,
        "With rounds=0 a proposal is made.\nIs the number of rounds asked only after the first?",
    )
    yield "none, where no round is asked for"


@dataclass
class _Model:
    """What is tuned: settings by number, 0 for the start, their accuracy, and what was asked "
    "about them."""

    changes: list[int]  # of accuracy, in thousandths, by each proposal
    noise: int  # half of an interval
    accuracy: list[int] = field(default_factory=lambda: [0])
    events: list[Event] = field(default_factory=list)

    def propose(self, base: int) -> int:
        """The number of new settings, made from those with the number ``base``."""
        self.events.append(("propose", base))
        made = len(self.accuracy)
        change = self.changes[(made - 1) % len(self.changes)]
        self.accuracy.append(self.accuracy[base] + change)
        return made

    def compare(self, before: int, after: int) -> tuple[float, float, float]:
        """How accuracy changes, and the ends of its interval."""
        self.events.append(("compare", before, after))
        change = self.accuracy[after] - self.accuracy[before]
        return change / 1000, (change - self.noise) / 1000, (change + self.noise) / 1000


Judge = Callable[[float, float, float], bool]


def _tuned(
    model: _Model,
    rounds: int,
    keep: Judge = lambda delta, low, high: low > 0,
    counts: Judge = lambda delta, low, high: True,
    base: str = "kept",
    against: str = "kept",
    back: str = "kept",
    result: str = "kept",
    patience: int = 2,
    resets: bool = True,
    only: int = 99,
    extra: int = 0,
    swapped: bool = False,
    again: bool = False,
    blind: bool = False,
) -> int:
    """The number of the settings that tuning comes to, right by default, or with one mistake."""
    at = {"start": 0, "kept": 0, "last": 0, "best": 0, "first": 1}
    refused, highest = 0, -math.inf
    for _ in range(min(rounds + extra, only)):
        new = model.propose(at[base])
        if blind:
            return new
        pair = (at[against], new)
        change = model.compare(*(pair[::-1] if swapped else pair))
        at["last"] = new
        if change[0] > highest:
            at["best"], highest = new, change[0]
        if keep(*change):
            at["kept"] = model.propose(at["kept"]) if again else new
            refused = 0 if resets else refused
        else:
            at["kept"] = at[back]
            refused += counts(*change)
        if refused >= patience:
            break
    return at[result]


def _same_run(
    answer: Answer, draw: Draw, kinds: str, mistakes: dict[str, dict], otherwise: str
) -> None:
    """Fail unless the answer asks and keeps what it should; the mistake that does this very thing is named.

    ``kinds`` says what each proposal does to accuracy: B and G gain, W loses, + and - stay inside the noise, E
    just touches its edge.
    """
    noise, rounds = draw.whole(9, 12), len(kinds)
    sizes = {"B": 60, "G": draw.whole(20, 40), "W": -draw.whole(20, 40), "E": noise}
    sizes |= {"+": draw.whole(2, 6), "-": -draw.whole(2, 6)}
    changes = [sizes[kind] for kind in kinds]
    model = _Model(changes, noise)
    kept = _number(answer, model, draw, rounds)
    once = [
        event for place, event in enumerate(model.events) if event not in model.events[:place][-1:]
    ]

    right = _Model(changes, noise)
    wanted = _tuned(right, rounds)
    if (kept, model.events) == (wanted, right.events):
        return
    require(
        (kept, once) != (wanted, right.events) or once == model.events,
        "The result is right, but compare is asked more than once about the same proposal, and "
        "every time it runs "
        "the model on all sentences.\nWhere can you keep its three numbers?",
    )
    for diagnosis, mistake in mistakes.items():
        other = _Model(changes, noise)
        require((kept, once) != (_tuned(other, rounds, **mistake), other.events), diagnosis)
    made = len(right.accuracy) - 1
    told = ", ".join(f"{change / 1000:+.3f}" for change in changes[:made])
    proposals = max(len(model.accuracy), len(right.accuracy))
    names = ["the start", *(f"proposal {one}" for one in range(1, proposals))]
    raise CheckFailed(
        f"{otherwise}\nThe changes are {told}, each ± {noise / 1000:.3f}: of {rounds} rounds "
        f"{made} should be "
        f"made, and {names[wanted]} kept; you made {len(model.accuracy) - 1} proposals and kept "
        f"{names[kept]}.\n"
        "Which round goes another way than it should?"
    )


def _number(answer: Answer, model: _Model, draw: Draw, rounds: int) -> int:
    """Which settings the answer keeps: 0 for the start, or the number of the proposal."""
    known = [draw.normal(6)]
    most = 3 * rounds + 4

    def number(settings: object) -> int:
        require(
            isinstance(settings, Tensor) and settings.shape == known[0].shape,
            "propose and compare take settings as they are, the start or something proposed.\n"
            "What do you call them with?",
        )
        for place in reversed(range(len(known))):
            if same(settings, known[place], 1e-6):
                return place
        raise CheckFailed(
            "There are settings at work that were neither the start nor ever proposed.\n"
            "Do you change or mix settings yourself?"
        )

    def propose(settings: Tensor) -> Tensor:
        require(
            len(known) <= most,
            f"For rounds={rounds} propose was called {most} times, and there is no end.\n"
            "What makes your loop stop?",
        )
        model.propose(number(settings))
        known.append(draw.normal(6))
        return known[-1].clone()

    def compare(before: Tensor, after: Tensor) -> tuple[float, float, float]:
        return model.compare(number(before), number(after))

    result = answer(known[0], propose, compare, rounds)
    if isinstance(result, tuple | list):
        raise CheckFailed(
            f"A {type(result).__name__} of {len(result)} came back; only the settings that are "
            f"kept are asked "
            "for.\n"
            "Does your function return just what the docstring says?"
        )
    return number(a_tensor(result, tuple(known[0].shape), "settings"))


EXERCISE = Exercise("tune_rounds", "attention_balance", 3, check)
