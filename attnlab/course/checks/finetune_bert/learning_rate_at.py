"""Check of ``learning_rate_at``."""

import contextlib
from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    Unwritten,
    a_number,
    compare,
    require,
    where,
)


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``learning_rate_at(step, steps, warmup, highest)``: up over the warm-up, then down to 0 "
    "after the end."""
    steps, warmup, highest = draw.whole(14, 24), draw.whole(4, 6), draw.whole(2, 90) / 1000
    left = steps - warmup
    rates = _rates(answer, steps, warmup, highest)
    at = torch.arange(steps, dtype=torch.float64)
    up, down = at[:warmup], at[warmup:]
    compare(
        rates[:warmup],
        torch.linspace(1 / warmup, 1, warmup),
        {
            "Step 0 has the rate 0: gradients are computed, and nothing is learned from them.\n"
            "Steps count from 0: how many have been taken when step 0 is over?": lambda: (
                up / warmup
            ),
            "The warm-up ends below the highest rate.\n"
            "Its last step should have it: by what do you divide?": lambda: (up + 1) / (warmup + 1),
            "There is no warm-up: the rate falls from the first step on.\n"
            "What happens while step < warmup?": lambda: (steps - up) / steps,
            "The result is a share of the highest rate, not a rate.\nWhere does `highest` come "
            "in?": (lambda: (up + 1) / warmup / highest),
            "The warm-up takes too long: you multiply its length by the number of steps.\n"
            "Here warmup is a number of steps, not a share: is there anything to multiply?": (
                lambda: (up + 1) / (warmup * steps)
            ),
            "During the warm-up the rate is 0 until its last step.\n"
            "Which division gives whole numbers only?": lambda: (up + 1) // warmup,
        },
        "The rates of the warm-up are wrong.\n"
        "Step 0 should have highest / warmup, step 1 twice that, and so on. Which step is off?",
        tolerance=1e-4,
    )
    yield (
        "the warm-up: from the first step on something is learned, its last step has the "
        "highest rate"
    )

    require(
        rates.max() < 1 + 1e-6,
        f"At step {int(rates.argmax())} the rate is {rates.max():.3g} times the highest.\n"
        f"The warm-up is steps 0 to {warmup - 1}: is there a <= where a < should be?",
    )
    compare(
        rates[warmup:],
        torch.linspace(1, 0, left + 1)[:-1],
        {
            "After the warm-up the rate jumps down at once.\n"
            "Does it fall over all steps, or over those that are left after the warm-up?": lambda: (
                (steps - down) / steps
            ),
            f"The fall begins a step early: step {warmup}, the first after the warm-up, should "
            f"have the highest "
            "rate, and the last step one that is not 0.\nHow many steps are left when a step "
            "begins?": (lambda: (steps - 1 - down) / left),
            "The last step has the rate 0: gradients are computed, and nothing is learned from "
            "them.\n"
            "After which step should 0 be reached?": lambda: (steps - 1 - down) / (left - 1),
            "After the warm-up the rate never falls.\nWhat should be left of it in the end?": (
                lambda: torch.ones(left)
            ),
            "The rate goes below 0, and such a step climbs the loss.\n"
            "You divide by the number of steps after the warm-up: do you also count from its end?": (
                lambda: (left - down) / left
            ),
            "After the warm-up the rate begins near 0 and rises again.\n"
            "Is it the share of steps that are over, or of those that are left?": lambda: (
                (down - warmup) / left
            ),
            f"After step {warmup} the rate is 0.\nWhich division gives whole numbers only?": (
                lambda: (steps - down) // left
            ),
        },
        f"After the warm-up the rates are wrong.\nStep {warmup} has the highest rate, step "
        f"{steps} would have "
        "0, and between them is a straight line: which point is off?",
        tolerance=1e-4,
    )
    yield "the fall: a straight line, which reaches 0 only after the last step"

    with _if_it_raises(
        "With warmup=0:", "How many steps does a warm-up of none have? Is there a division by it?"
    ):
        compare(
            _rates(answer, steps, 0, highest),
            torch.linspace(1, 0, steps + 1)[:-1],
            {
                "The rate falls as if there were a warm-up of one step.\n"
                "Is a 1 that keeps you from dividing by 0 used elsewhere, too?": (
                    lambda: ((steps - at) / (steps - 1)).clamp(max=1)
                ),
            },
            "The rates are wrong.\nShould step 0 have the highest rate, and step `steps` 0?",
            tolerance=1e-4,
        )
    with _if_it_raises(
        "With a warm-up of all steps:", "How many are left for the fall? Is there a division by it?"
    ):
        compare(
            _rates(answer, warmup, warmup, highest),
            torch.linspace(1 / warmup, 1, warmup),
            {},
            "The rates are wrong.\nShould it rise to the last step?",
            tolerance=1e-4,
        )
    yield "with no warm-up, and with nothing else"

    for beyond in (steps, steps + draw.whole(1, 9)):
        rate = a_number(answer(beyond, steps, warmup, highest), "learning rate")
        require(
            rate >= -1e-9 * highest,
            f"At step {beyond} of {steps}, after the last one, the rate is {rate:.3g}: below 0, "
            f"it would climb "
            "the loss.\nWhat keeps a number from falling below 0?",
        )
        require(
            abs(rate) <= 1e-9 * highest,
            f"At step {beyond} of {steps}, after the last one, the rate is {rate:.3g}.\nShould it "
            f"not stay 0?",
        )
    after = a_number(answer(warmup, warmup, warmup, highest), "learning rate")
    require(
        abs(after) <= 1e-9 * highest,
        f"After a run that is all warm-up the rate is {after:.3g}.\nShould it not be 0 there, too?",
    )
    yield "0 after the last step, never less"


def _rates(answer: Answer, steps: int, warmup: int, highest: float) -> Tensor:
    """The answer's rates of all steps, as shares of the highest."""
    rates = [
        a_number(answer(step, steps, warmup, highest), "learning rate") for step in range(steps)
    ]
    return torch.tensor(rates, dtype=torch.float64) / highest


@contextlib.contextmanager
def _if_it_raises(place: str, hint: str) -> Iterator[None]:
    """Say where a failure inside the block happens; an exception of the answer gets a hint."""
    try:
        with where(place):
            yield
    except Unwritten:
        raise
    except CheckFailed as problem:
        asked = f"\n{hint}" if "Your function raised" in str(problem) else ""
        raise CheckFailed(f"{problem}{asked}") from None


EXERCISE = Exercise("learning_rate_at", "finetune_bert", 2, check, frozenset({"linear_schedule"}))
