"""An exercise, and the random numbers that its check draws."""

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner.answer import Answer
from attnlab.course.checks.examiner.failures import (
    CHECKS_OWN,
    CheckFailed,
    Unwritten,
    require,
)
from attnlab.course.checks.examiner.mistakes import Mistake
from attnlab.course.checks.examiner.safety import (
    exception_text,
    is_checks_own,
    no_stderr,
)
from attnlab.errors import AttnlabError
from attnlab.languages import tr

Held = Generator[str, None, None]
Check = Callable[[Answer, "Draw"], Held]


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson: how an answer is examined, and what it is worth.

    Attributes
    ----------
    name : the name of the function or class to write
    lesson : its topic, such as "attention_maths"
    points : what a right answer is worth
    check : generator function that examines an answer
    forbidden : names of library functions that would be the answer itself
    mistakes : wrong answers, each with its diagnosis
    ours : a right answer, which runs in a lesson for one that is not written yet
    """

    name: str
    lesson: str
    points: int
    check: Check
    forbidden: frozenset[str] = frozenset()
    mistakes: Sequence[Mistake] = ()
    ours: Callable[..., Any] | None = None

    def examine(self, answer: object, seed: int | None = None) -> list[str]:
        """Return what held; raise `CheckFailed` with the first thing that did not."""
        seed = int.from_bytes(os.urandom(2), "little") if seed is None else seed
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise AttnlabError(
                f"seed is {seed!r}; it is a whole number, 0 or more, as a failure printed it."
            )
        held: list[str] = []
        try:
            with no_stderr(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                examined = Answer(answer, self.name, self.forbidden)
                for line in self.check(examined, Draw(seed)):
                    held.append(tr(line))
                require(not is_checks_own(answer), CHECKS_OWN)
        except Unwritten as problem:
            raise Unwritten(f"{self.name}\n  {problem}") from None
        except CheckFailed as problem:
            raise CheckFailed(self._report(str(problem), held, seed)) from None
        except Exception as problem:  # a result so strange that it cannot even be compared
            told = f"{tr('What came back cannot be examined.')} {exception_text(problem)}"
            raise CheckFailed(self._report(told, held, seed)) from None
        return held

    def _report(self, problem: str, held: list[str], seed: int) -> str:
        lines = [self.name, *("  " + line for line in problem.splitlines())]
        if held:
            lines.append("  " + tr("Right so far: {held}.", held=tr("; ").join(held)))
        again = f"al.checks.{self.name}({self.name}, seed={seed})"
        lines.append("  " + tr("The same numbers again: {call}", call=again))
        return "\n".join(lines)


class Draw:
    """Random inputs of a check, from a seed."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """Numbers of mean 0 and variance 1."""
        return torch.randn(*shape, generator=self.generator)

    def weights(self, *shape: int) -> Tensor:
        """Rows of positive numbers that sum to 1."""
        return torch.softmax(self.normal(*shape), -1)

    def uniform(self) -> float:
        """A number from 0 to 1."""
        return float(torch.rand((), generator=self.generator))

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))
