"""What learners write instead of ``Controller``, and what is said of it."""

import math
from typing import Any, ClassVar

from attnlab.course.checks.examiner import Mistake

NO_CLASS = (
    "Controller(...) gave None.\nIs it a class with __init__ and observe, and not a function?"
)
NO_OBSERVE = "What Controller(...) makes has no method `observe`.\nIs it indented into the class?"
NO_INDEX = (
    "observe(...) returns None.\nDoes it end in `return self.index`, whichever branch was taken?"
)
NOT_AN_INDEX = "observe(...) returns {found!r}, not the index of a point.\nWhat is returned?"
SHARED = (
    "Two controllers at once disturb each other.\n"
    "Is the index or the count an attribute of the class? Set both in __init__, on `self`."
)


class _Right:
    """The rule, in parts that the mistakes replace."""

    first = 0

    def __init__(
        self, points: int, target_ms: float, headroom: float = 0.7, patience: int = 3
    ) -> None:
        self.points, self.target = points, target_ms
        self.headroom, self.patience = headroom, patience
        self.index, self.calm = self.first, 0

    def observe(self, p95_ms: float) -> Any:
        """The index of the point to use next."""
        if self.is_over(p95_ms):
            self.over()
        elif self.is_calm(p95_ms):
            self.quiet()
        else:
            self.between()
        return self.index

    def is_over(self, p95: float) -> bool:
        return p95 > self.target

    def is_calm(self, p95: float) -> bool:
        return math.isnan(p95) or p95 < self.headroom * self.target

    def over(self) -> None:
        self.index, self.calm = min(self.index + 1, self.points - 1), 0

    def quiet(self) -> None:
        self.calm += 1
        if self.calm >= self.patience:
            self.index, self.calm = max(self.index - 1, 0), 0

    def between(self) -> None:
        self.calm = 0


class _StartsAtTheEnd(_Right):
    def __init__(self, points: int, *settings: Any, **more: Any) -> None:
        super().__init__(points, *settings, **more)
        self.index = points - 1


class _StartsAtOne(_Right):
    first = 1


class _TurnedRound(_Right):
    def over(self) -> None:
        self.index, self.calm = max(self.index - 1, 0), 0

    def quiet(self) -> None:
        self.calm += 1
        if self.calm >= self.patience:
            self.index, self.calm = min(self.index + 1, self.points - 1), 0


class _BeyondTheLast(_Right):
    def over(self) -> None:
        self.index, self.calm = self.index + 1, 0


class _OneBeyond(_Right):
    def over(self) -> None:
        self.index, self.calm = min(self.index + 1, self.points), 0


class _NeverTheLast(_Right):
    def over(self) -> None:
        self.index, self.calm = max(min(self.index + 1, self.points - 2), 0), 0


class _BelowZero(_Right):
    def quiet(self) -> None:
        self.calm += 1
        if self.calm >= self.patience:
            self.index, self.calm = self.index - 1, 0


class _ToTheLast(_Right):
    def over(self) -> None:
        self.index, self.calm = self.points - 1, 0


class _ToTheFirst(_Right):
    def quiet(self) -> None:
        self.calm += 1
        if self.calm >= self.patience:
            self.index, self.calm = 0, 0


class _PatientWithTrouble(_Right):
    """Also wants several readings in a row before it goes down."""

    high = 0

    def over(self) -> None:
        self.high, self.calm = self.high + 1, 0
        if self.high >= self.patience:
            self.index, self.high = min(self.index + 1, self.points - 1), 0

    def quiet(self) -> None:
        self.high = 0
        super().quiet()

    def between(self) -> None:
        self.high = self.calm = 0


class _WithoutPatience(_Right):
    def quiet(self) -> None:
        self.index = max(self.index - 1, 0)


class _CountGoesOn(_Right):
    def quiet(self) -> None:
        self.calm += 1
        if self.calm >= self.patience:
            self.index = max(self.index - 1, 0)


class _OneTooMany(_Right):
    def quiet(self) -> None:
        self.calm += 1
        if self.calm > self.patience:
            self.index, self.calm = max(self.index - 1, 0), 0


class _OneTooFew(_Right):
    def quiet(self) -> None:
        self.calm += 1
        if self.calm >= self.patience - 1:
            self.index, self.calm = max(self.index - 1, 0), 0


class _CountsAllCalm(_Right):
    def between(self) -> None:
        pass


class _CountsThroughTrouble(_Right):
    def over(self) -> None:
        self.index = min(self.index + 1, self.points - 1)


class _NeverStartsAnew(_Right):
    def over(self) -> None:
        self.index = min(self.index + 1, self.points - 1)

    def between(self) -> None:
        pass


class _CountsBack(_Right):
    def between(self) -> None:
        self.calm = max(self.calm - 1, 0)


class _NoHeadroom(_Right):
    def is_calm(self, p95: float) -> bool:
        return math.isnan(p95) or p95 <= self.target


class _RestOfTheHeadroom(_Right):
    def is_calm(self, p95: float) -> bool:
        return math.isnan(p95) or p95 < (1 - self.headroom) * self.target


class _DownInTheRange(_Right):
    """Above the headroom it steps down already."""

    def is_over(self, p95: float) -> bool:
        return p95 >= self.headroom * self.target


class _SilenceIsNothing(_Right):
    def is_calm(self, p95: float) -> bool:
        return p95 < self.headroom * self.target


class _SilenceIsSkipped(_Right):
    def observe(self, p95_ms: float) -> Any:
        return self.index if math.isnan(p95_ms) else super().observe(p95_ms)


class _SilenceIsTrouble(_Right):
    def is_over(self, p95: float) -> bool:
        return not p95 <= self.target


class _TargetItself(_Right):
    def is_over(self, p95: float) -> bool:
        return p95 >= self.target


class _HeadroomItself(_Right):
    def is_calm(self, p95: float) -> bool:
        return math.isnan(p95) or p95 <= self.headroom * self.target


class _ThreeAlways(_Right):
    def __init__(self, *settings: Any, **more: Any) -> None:
        super().__init__(*settings, **more)
        self.patience = 3


class _SeventyPercentAlways(_Right):
    def __init__(self, *settings: Any, **more: Any) -> None:
        super().__init__(*settings, **more)
        self.headroom = 0.7


class _IndexBefore(_Right):
    def observe(self, p95_ms: float) -> Any:
        before = self.index
        super().observe(p95_ms)
        return before


class _Change(_Right):
    def observe(self, p95_ms: float) -> Any:
        before = self.index
        return super().observe(p95_ms) - before


class _Name(_Right):
    def observe(self, p95_ms: float) -> Any:
        return f"point {super().observe(p95_ms)}"


class _Nothing(_Right):
    def observe(self, p95_ms: float) -> Any:
        super().observe(p95_ms)


class _Shared(_Right):
    state: ClassVar[dict[str, int]] = {}

    def __init__(self, *settings: Any, **more: Any) -> None:
        super().__init__(*settings, **more)
        self.state.update(index=0, calm=0)

    def observe(self, p95_ms: float) -> Any:
        self.index, self.calm = self.state["index"], self.state["calm"]
        super().observe(p95_ms)
        self.state.update(index=self.index, calm=self.calm)
        return self.index


class _WithoutTheMethod:
    def __init__(self, *settings: Any, **more: Any) -> None:
        self.index = 0


ANEW = "What happens to the count then?"
MISTAKES = [
    Mistake(
        _StartsAtTheEnd,
        "It begins with the last point, the cheapest.\nWhich one is used before there is trouble?",
    ),
    Mistake(
        _StartsAtOne,
        "It begins with point 1.\nWhich index has the full model?",
    ),
    Mistake(
        _IndexBefore,
        "The index from before the step comes back.\nWhat is returned, and when?",
    ),
    Mistake(
        _Change,
        "The change of the index comes back, not the index.\nWhat does the service need to know?",
    ),
    Mistake(
        _DownInTheRange,
        "It steps down below the target already.\nWith what is p95 compared? The headroom is for "
        "stepping up.",
    ),
    Mistake(
        _NoHeadroom,
        "Every reading up to the target counts as calm, so that a step up can bring the trouble "
        "back at once.\nWhat is the headroom for?",
    ),
    Mistake(
        _TurnedRound,
        "Above the target it steps to a costlier point, or stays at the costliest.\nWhich index is "
        "the cheapest?",
    ),
    Mistake(
        _BeyondTheLast,
        "Above the target it steps on beyond the last point.\nWhich is the largest index of "
        "`points` points?",
    ),
    Mistake(
        _OneBeyond,
        "The largest index is one too large.\nWhich is the last one, if you count from 0?",
    ),
    Mistake(
        _NeverTheLast,
        "The last point is never used.\nWhich is the largest index of `points` points?",
    ),
    Mistake(
        _ToTheLast,
        "Above the target it leaps to the cheapest point at once.\nHow many points per reading?",
    ),
    Mistake(
        _PatientWithTrouble,
        "It waits for several readings above the target before it steps down; meanwhile the "
        "promise is broken.\nWhich direction needs patience?",
    ),
    Mistake(
        _WithoutPatience,
        "It steps up at the first calm reading, which makes it go up and down.\nWhat is `patience` "
        "for?",
    ),
    Mistake(
        _ToTheFirst,
        "After enough calm readings it leaps to point 0.\nHow many points at a time?",
    ),
    Mistake(
        _CountGoesOn,
        f"After the first step up, every further calm reading is a step.\n{ANEW}",
    ),
    Mistake(
        _BelowZero,
        "The index falls below 0, and a list with index -1 gives its *last* element.\nWhere does "
        "stepping up end?",
    ),
    Mistake(
        _OneTooMany,
        "One calm reading more than `patience` is needed.\nIs there a > for >=?",
    ),
    Mistake(
        _OneTooFew,
        "One calm reading less than `patience` is enough.\nWhere does the count begin?",
    ),
    Mistake(
        _RestOfTheHeadroom,
        "Calm is only what lies below (1 - headroom) of the target.\nBelow which share of it is "
        "enough?",
    ),
    Mistake(
        _SilenceIsTrouble,
        "NaN counts as above the target: `not p95 <= target` is true for it.\nWhat does a second "
        "without a request mean for the load?",
    ),
    Mistake(
        _NeverStartsAnew,
        "Calm readings are counted whatever comes between them.\nWhat does *in a row* mean? "
        "Only a step up starts your count anew.",
    ),
    Mistake(
        _CountsAllCalm,
        "Calm readings are counted though one between headroom and target came between them."
        f"\n{ANEW}",
    ),
    Mistake(
        _CountsThroughTrouble,
        f"Calm readings are counted though one above the target came between them.\n{ANEW}",
    ),
    Mistake(
        _CountsBack,
        "A reading between headroom and target takes one from the count.\nIt should start anew.",
    ),
    Mistake(
        _SilenceIsNothing,
        "NaN ends a row of calm readings: every comparison with it is false.\nWhich function "
        "recognises it?",
    ),
    Mistake(
        _SilenceIsSkipped,
        "NaN is skipped.\nA second without a request is calm: it counts.",
    ),
    Mistake(
        _TargetItself,
        "A p95 of just the target counts as above it.\nIs the promise broken then?",
    ),
    Mistake(
        _HeadroomItself,
        "A p95 of just headroom x target counts as calm.\nIs it *below*?",
    ),
    Mistake(
        _ThreeAlways,
        "`patience` has no effect: three calm readings are enough.\nIs there a number typed in?",
    ),
    Mistake(
        _SeventyPercentAlways,
        "`headroom` has no effect: it is always 0.7.\nIs there a number typed in?",
    ),
    Mistake(_Nothing, NO_INDEX, compared=False),
    Mistake(_Name, NOT_AN_INDEX, compared=False),
    Mistake(_Shared, SHARED, compared=False),
    Mistake(_WithoutTheMethod, NO_OBSERVE, compared=False),
]
