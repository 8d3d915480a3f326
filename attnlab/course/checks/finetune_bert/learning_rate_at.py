"""Exercise ``learning_rate_at``: a warm-up, then a straight line down to 0."""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    Unwritten,
    a_number,
    require,
    where,
)

Rate = Callable[[int, int, int, float], float]

NO_WARMUP = "How many steps does a warm-up of none have? Is there a division by it?"
ONLY_WARMUP = "How many steps are left for the fall? Is there a division by their number?"
BELOW_ZERO = (
    "At step {step} of {steps}, after the last one, the rate is {rate:.3g}: below 0, it would "
    "climb the loss.\nWhat keeps a number from falling below 0?"
)
NOT_ZERO = (
    "At step {step} of {steps}, after the last one, the rate is {rate:.3g}.\nShould it not stay 0?"
)


ROUNDED = (
    "The rates are rounded, and of a highest rate of {highest:.3g} little is left.\n"
    "Is there a round() or an int()?"
)


class Steps(Call):
    """Some steps of one run: the rate of each, and the highest."""

    def __init__(self, steps: Sequence[int], *arguments: Any):
        super().__init__(*arguments)
        self.steps, self.highest = steps, arguments[2]

    def of(self, function: Callable[..., Any]) -> tuple[list[Any], float]:
        """The results of a function, step by step, and the highest rate."""
        return [function(step, *self.arguments) for step in self.steps], self.highest


def check(answer: Answer, draw: Draw) -> Held:
    """``learning_rate_at(step, steps, warmup, highest)``: up over the warm-up, then down to 0."""
    sizes = itertools.cycle([1e-2, 1e-5, 1.0, 1e-4])  # rates of all sizes, in each situation

    def highest() -> float:
        return (2 + 7 * draw.uniform()) * next(sizes)

    def part(first: bool) -> Callable[[], Steps]:
        """The warm-up of a run, or what follows it."""

        def call() -> Steps:
            steps, warmup = draw.whole(14, 24), draw.whole(4, 6)
            return Steps(range(warmup) if first else range(warmup, steps), steps, warmup, highest())

        return call

    def whole(steps: int, warmup: int, every: int = 1) -> Callable[[], Steps]:
        """A run from its first step to its last."""
        return lambda: Steps([*range(0, steps, every), steps - 1], steps, warmup, highest())

    compared = Comparison(answer, reference, MISTAKES, read=_shares, tolerance=2e-6)
    compared.on(
        part(first=True),
        "The rates of the warm-up are wrong.\n"
        "Step 0 should have highest / warmup, step 1 twice that, and so on. Which step is off?",
        facts=_facts,
    )
    yield "the warm-up: something is learned from the first step on, the last has the highest rate"

    compared.on(
        part(first=False),
        "After the warm-up the rates are wrong.\n"
        "Step {warmup} has the highest rate, step {steps} would have 0, and between them is a "
        "straight line: which point is off?",
        facts=_facts,
    )
    yield "the fall: a straight line, which reaches 0 only after the last step"

    steps, warmup = draw.whole(14, 24), draw.whole(4, 6)
    with _if_it_raises("With warmup=0:", NO_WARMUP):
        compared.on(
            whole(steps, 0),
            "The rates are wrong.\nShould step 0 have the highest rate, and step `steps` 0?",
            facts=_facts,
        )
    with _if_it_raises("With a warm-up of all steps:", ONLY_WARMUP):
        compared.on(
            whole(warmup, warmup),
            "The rates are wrong.\nShould it rise to the last step?",
            facts=_facts,
        )
    yield "with no warm-up, and with nothing else"

    for what, call in (
        ("With a warm-up of one step", whole(steps, 1)),
        ("With one step after the warm-up", whole(warmup + 1, warmup)),
        ("With a single step and no warm-up", whole(1, 0)),
        ("With a single step, the warm-up", whole(1, 1)),
        ("In a run of hundreds of steps", whole(draw.whole(400, 900), draw.whole(40, 90), 13)),
    ):
        compared.on(
            call, f"{what} the rates are wrong.\nIs a number of steps typed in?", facts=_facts
        )
    top = highest()
    for run in (
        (steps, warmup, top),
        (steps, warmup + 1, top),
        (steps + 1, warmup + 1, top),
        (steps, warmup, 2 * top),
    ):
        compared.on(
            functools.partial(Steps, range(run[0]), *run),
            "With {steps} steps, {warmup} of them warm-up, the rates are wrong, though the same "
            "steps were right before.\nIs something kept from one call to the next?",
            facts=_facts,
        )
    yield "runs of any length, one after another"

    for beyond in (steps, steps + 1, steps + draw.whole(2, 9), 2 * steps, 40 * steps):
        rate = a_number(answer(beyond, steps, warmup, top), "learning rate")
        known = {"step": beyond, "steps": steps, "rate": rate}
        require(rate >= -1e-9 * top, BELOW_ZERO.format(**known))
        require(abs(rate) <= 1e-9 * top, NOT_ZERO.format(**known))
    with _if_it_raises("After a run that is all warm-up:", ONLY_WARMUP):
        for beyond in (warmup, warmup + 1, warmup + draw.whole(2, 9), 40 * warmup):
            after = a_number(answer(beyond, warmup, warmup, top), "learning rate")
            require(
                abs(after) <= 1e-9 * top,
                f"The rate is {after:.3g}.\nShould it not be 0 there, too?",
            )
    yield "0 after the last step, never less"


def reference(step: int, steps: int, warmup: int, highest: float) -> float:
    """A point of the two lines, by torch."""
    up = torch.linspace(0, 1, warmup + 1, dtype=torch.float64)[1:]
    down = torch.linspace(1, 0, steps - warmup + 1, dtype=torch.float64)[:-1]
    return highest * float(torch.cat([up, down])[step])


def _shares(result: tuple[Any, float], right: Any) -> Tensor:
    """The rates as shares of the highest."""
    found, highest = result
    rates = [a_number(rate, "learning rate") for rate in found]
    return torch.tensor(rates, dtype=torch.float64) / highest


def _facts(call: Call, result: Any) -> dict[str, Any]:
    return dict(zip(("steps", "warmup", "highest"), call.arguments, strict=True))


@contextlib.contextmanager
def _if_it_raises(situation: str, hint: str) -> Iterator[None]:
    """Say where a failure inside the block happens; an exception of the answer gets a hint."""
    try:
        with where(situation):
            yield
    except Unwritten:
        raise
    except CheckFailed as problem:
        asked = f"\n{hint}" if "Your function raised" in str(problem) else ""
        raise CheckFailed(f"{problem}{asked}") from None


# --- What learners write instead -----------------------------------------------------------------


def _rate(
    up: Callable[[int, int], float] = lambda step, warmup: (step + 1) / warmup,
    down: Callable[[int, int, int], float] = lambda step, steps, warmup: (
        (steps - step) / max(steps - warmup, 1)
    ),
    rising: Callable[[int, int], bool] = lambda step, warmup: step < warmup,
    highest_step: Callable[[int, int], int] = lambda step, steps: step,
) -> Rate:
    """The learning rate with a part exchanged."""

    def answer(step: int, steps: int, warmup: int, highest: float) -> float:
        step = highest_step(step, steps)
        share = up(step, warmup) if rising(step, warmup) else down(step, steps, warmup)
        return highest * (max(0, share) if step >= steps else share)

    return answer


_right = _rate()


def _without_a_floor(step: int, steps: int, warmup: int, highest: float) -> float:
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * (steps - step) / max(steps - warmup, 1)


def _both_lines_at_once(step: int, steps: int, warmup: int, highest: float) -> float:
    up, down = (step + 1) / max(warmup, 1), (steps - step) / (steps - warmup)
    return max(0, highest * min(up, 1, down))


def _rounded(digits: int) -> Rate:
    return lambda *given: round(_right(*given), digits)


def _first_above_highest(result: Any, mistaken: Any) -> bool:
    """Whether both have more than the highest rate right after the warm-up."""
    return bool(result[0] > 1 + 1e-6 and mistaken[0] > 1 + 1e-6)


MISTAKES = [
    *(Mistake(_rounded(digits), ROUNDED) for digits in range(3, 9)),
    Mistake(
        _rate(up=lambda step, warmup: step / warmup),
        "Step 0 has the rate 0: gradients are computed, and nothing is learned from them.\n"
        "Steps count from 0: how many have been taken when step 0 is over?",
    ),
    Mistake(
        _rate(up=lambda step, warmup: (step + 1) / (warmup + 1)),
        "The warm-up ends below the highest rate.\n"
        "Its last step should have it: by what do you divide?",
    ),
    Mistake(
        lambda step, steps, warmup, highest: highest * max(0, steps - step) / steps,
        "There is no warm-up: the rate falls from the first step on.\n"
        "What happens while step < warmup?",
    ),
    Mistake(
        lambda step, steps, warmup, highest: _right(step, steps, warmup, 1.0),
        "The result is a share of the highest rate, not a rate.\nWhere does `highest` come in?",
    ),
    Mistake(
        lambda step, steps, warmup, highest: _right(step, steps, warmup * steps, highest),
        "The warm-up takes too long: you multiply its length by the number of steps.\n"
        "Here warmup is a number of steps, not a share: is there anything to multiply?",
    ),
    Mistake(
        _rate(up=lambda step, warmup: (step + 1) // warmup),
        "During the warm-up the rate is 0 until its last step.\n"
        "Which division gives whole numbers only?",
    ),
    Mistake(
        _rate(rising=lambda step, warmup: step <= warmup),
        "At step {warmup} the rate is above the highest.\n"
        "The warm-up is the steps below {warmup}: is there a <= where a < should be?",
        alike=_first_above_highest,
    ),
    Mistake(
        _rate(down=lambda step, steps, warmup: (steps - step) / steps),
        "After the warm-up the rate jumps down at once.\n"
        "Does it fall over all steps, or over those that are left after the warm-up?",
    ),
    Mistake(
        _rate(down=lambda step, steps, warmup: (steps - 1 - step) / (steps - warmup)),
        "The fall begins a step early: step {warmup}, the first after the warm-up, should have the "
        "highest rate, and the last step one that is not 0.\n"
        "How many steps are left when a step begins?",
    ),
    Mistake(
        _rate(down=lambda step, steps, warmup: (steps - 1 - step) / (steps - 1 - warmup)),
        "The last step has the rate 0: gradients are computed, and nothing is learned from them.\n"
        "After which step should 0 be reached?",
    ),
    Mistake(
        _rate(
            down=lambda step, steps, warmup: (
                (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2
            )
        ),
        "After the warm-up the rate falls along half a wave of the cosine.\n"
        "That is another schedule: which line is drawn in the table?",
    ),
    Mistake(
        _rate(down=lambda step, steps, warmup: ((steps - step) / max(steps - warmup, 1)) ** 2),
        "After the warm-up the rate falls along a parabola.\n"
        "Is a share squared, or multiplied twice?",
    ),
    Mistake(
        _rate(down=lambda step, steps, warmup: 1),
        "After the warm-up the rate never falls.\nWhat should be left of it in the end?",
    ),
    Mistake(
        _rate(down=lambda step, steps, warmup: 1 - step / (steps - warmup)),
        "The rate goes below 0, and such a step climbs the loss.\n"
        "You divide by the number of steps after the warm-up: do you also count from its end?",
    ),
    Mistake(
        _rate(down=lambda step, steps, warmup: (step - warmup) / (steps - warmup)),
        "After the warm-up the rate begins near 0 and rises again.\n"
        "Is it the share of steps that are over, or of those that are left?",
    ),
    Mistake(
        _rate(down=lambda step, steps, warmup: (steps - step) // (steps - warmup)),
        "After step {warmup} the rate is 0.\nWhich division gives whole numbers only?",
    ),
    Mistake(
        lambda step, steps, warmup, highest: _right(step, steps, max(warmup, 1), highest),
        "The rate falls as if there were a warm-up of one step.\n"
        "Is a 1 that keeps you from dividing by 0 used elsewhere, too?",
    ),
    Mistake(
        _rate(rising=lambda step, warmup: step < warmup or warmup == 0), NO_WARMUP, compared=False
    ),
    Mistake(_both_lines_at_once, ONLY_WARMUP, compared=False),
    Mistake(_without_a_floor, BELOW_ZERO, compared=False),
    Mistake(_rate(highest_step=lambda step, steps: step % steps), NOT_ZERO, compared=False),
]

EXERCISE = Exercise(
    "learning_rate_at",
    "finetune_bert",
    2,
    check,
    frozenset({"linear_schedule"}),
    MISTAKES,
)
