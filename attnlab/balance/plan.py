"""What a tuner is to do: which ways in which order, toward what, and when to stop."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from attnlab.balance.knobs import WAYS, Way
from attnlab.balance.task import Objective
from attnlab.balance.tuned import Round
from attnlab.errors import AttnlabError, suggest

Step = Way | Literal["retrain"]


@dataclass(frozen=True)
class Plan:
    """What a tuner is to do; the attributes are those of `Tuner`.

    Raises
    ------
    AttnlabError : ways or options without sense
    """

    ways: Sequence[Way]
    objective: Objective
    rounds: int
    retrain: dict[str, Any] | None
    options: dict[Way, dict[str, Any]]
    seed: int

    def __post_init__(self) -> None:
        nothing = not self.ways and self.retrain is None
        if isinstance(self.ways, str) or nothing or self.rounds < 1:
            raise AttnlabError(
                f"ways is {self.ways!r}, rounds {self.rounds}: give a list of ways, or retrain, "
                "and at least 1 round."
            )
        for way in self.ways:
            if way not in WAYS:
                raise AttnlabError(f"There is no way {way!r} to adjust heads. {suggest(way, WAYS)}")
        for way in self.options:
            if way not in (*self.ways, "random"):
                raise AttnlabError(f"There are options for {way!r}, which is none of {self.ways}.")

    @property
    def steps(self) -> list[Step]:
        """The ways and, at the end, the retraining."""
        return [*self.ways] if self.retrain is None else [*self.ways, "retrain"]

    def next_step(self, rounds: list[Round]) -> Step:
        """What comes after these rounds."""
        return self.steps[len(_own(rounds)) % len(self.steps)]

    def finished(self, rounds: list[Round]) -> bool:
        """Whether the last rounds brought nothing, or there are as many as wanted."""
        own, patience = _own(rounds), max(2, len(self.steps))
        last = own[-patience:]
        idle = len(last) == patience and not any(each.accepted for each in last)
        return idle or len(own) >= self.rounds

    def seed_of(self, number: int) -> int:
        """The seed of a round."""
        return 1000 * self.seed + number

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on; it may make more rounds."""
        return {
            "ways": list(self.ways),
            "objective": asdict(self.objective),
            "retrain": repr(self.retrain),
            "options": repr(self.options),
            "seed": self.seed,
        }


def _own(rounds: list[Round]) -> list[Round]:
    """The rounds that were not made by hand."""
    return [each for each in rounds if each.way != "by hand"]
