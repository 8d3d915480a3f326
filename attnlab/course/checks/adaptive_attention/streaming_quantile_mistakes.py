"""What learners write instead of ``StreamingQuantile``, and what is said of it."""

import bisect
import math
import random
import statistics
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from attnlab.course.checks.examiner import Mistake

Values = Sequence[float]
Guess = Callable[[Values, float], tuple[Values, float]]

NO_CLASS = (
    "StreamingQuantile(...) gave None.\nIs it a class with __init__, add and quantile, and not a "
    "function?"
)
NO_METHOD = (
    "What StreamingQuantile(...) makes has no method `{method}`.\nIs it indented into the class?"
)
EMPTY = (
    "Before any value was added, the quantile is {found!r}; it should be NaN.\n"
    'Which number says that there is none? `float("nan")`.'
)
STORED = (
    "The quantiles are right, but after {many:,} values {bytes:,} bytes more are held than after "
    "{few:,}: the values are kept, or a new place for each.\n"
    "How many buckets does it take from 0.01 to 100,000 if each is a few percent wide?"
)
REVERSED = (
    "The quantiles come from the wrong end: 0.95 gives the value that 5 % are below.\n"
    "From which end do you count up?"
)
PERCENT = (
    "The quantile of q / 100 came back.\nq goes from 0 to 1, not to 100: is something divided or "
    "multiplied by 100?"
)
MEAN = "The mean came back, whatever q is.\nWhere do you count how many values lie below?"
NORMAL = (
    "The mean and some standard deviations came back, as if the values were normally distributed."
    "\nLatencies have a long tail: count them instead."
)
DISTINCT = "Equal values count once.\nIs there a set, or a count that stays at 1?"
LATEST = (
    "Only the latest {count} values count.\nWhat was known of the earlier ones is part of the "
    "stream, too: what can be kept of them in little memory?"
)
LAST = "The latest value came back.\nWhere do you count?"
HALVES = "The largest value came back, whatever q is.\nWhere does q come in?"
AS_INDEX = (
    "{found:g} came back, a whole number that grows with the quantile: the number of a bucket?\n"
    "Which value stands for the values of this bucket?"
)
CONSTANT = "{found:.4g} came back, whatever q is.\nHow does the place where you stop depend on q?"
LOWEST = (
    "For q = 0 the result is {found:.4g}; the smallest value is {right:.4g}.\n"
    "Is the first bucket chosen though it is empty? `0 >= 0` is true."
)
HIGHEST = (
    "For q = 1 the result is {found:.4g}; the largest value is {right:.4g}.\n"
    "Where does the loop over the buckets end?"
)
OTHER_ERROR = (
    "The numbers are right to 5 %, but {error:.0%} was asked for.\nDoes `error` decide how wide a "
    "bucket is?"
)
TWICE = (
    "The numbers are up to twice as far off as allowed.\nIs a bucket too wide, does an edge of it "
    "stand for its values (from its middle they are half as far), or is it a sample?"
)
WRONG = (
    "Of {count:,} values the quantile {q:g} lies between {low:.4g} and {high:.4g}; {found:.4g} "
    "came back, which is {apart:.1%} off, and {error:.0%} is allowed.\n"
    "How do you count the values below, how wide is the bucket there, and which number stands for "
    "its values?"
)
LIMITED = (
    "{found:.4g} stands for values around {low:.4g}, too.\nWhere do the buckets begin and end? "
    "Values go from 0.01 to 100,000."
)
RESET = (
    "Where `quantile` is asked after every value, the numbers become wrong.\nDoes it change the "
    "counts, or keep an old answer?"
)
SHARED = (
    "Two streams at once disturb each other.\nIs the table an attribute of the class, or a default "
    "argument? Make it in __init__, on `self`."
)


def _exact(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(max(math.ceil(q * len(ordered)) - 1, 0), len(ordered) - 1)]


def _of_normal(values: Values, q: float) -> tuple[Values, float]:
    if not 0 < q < 1:
        return [math.inf], q
    return [
        statistics.NormalDist(statistics.fmean(values), statistics.pstdev(values)).inv_cdf(q)
    ], q


def _of_latest(count: int) -> Guess:
    return lambda values, q: (values[-count:], q)


def _rounded(value: float) -> float:
    """The middle of a bucket for an error of 5 %."""
    growth = 1.05 / 0.95
    upper = growth ** math.ceil(math.log(value) / math.log(growth) - 1e-12)
    return 2 * upper / (growth + 1)


GUESSES: list[tuple[str, Guess]] = [  # of which values, and which quantile of them, it may be
    (LAST, lambda values, q: (values[-1:], q)),
    (HALVES, lambda values, q: (values, 1.0)),
    (MEAN, lambda values, q: ([statistics.fmean(values)], q)),
    (NORMAL, _of_normal),
    (REVERSED, lambda values, q: (values, 1 - q)),
    (PERCENT, lambda values, q: (values, q / 100)),
    (DISTINCT, lambda values, q: (list(set(values)), q)),
    (DISTINCT, lambda values, q: (list(set(map(_rounded, values))), q)),
]
OF_THE_LATEST: list[tuple[str, Guess]] = [
    (LATEST.format(count=count), _of_latest(count)) for count in (100, 500, 512, 1000, 1024, 2000)
]


class _Buckets:
    """The right way, in parts that the mistakes replace."""

    def __init__(self, error: float = 0.05) -> None:
        self.error = error
        self.growth = (1 + error) / (1 - error)
        self.counts: Counter[int] = Counter()

    def bucket(self, value: float) -> int:
        return math.ceil(math.log(value) / math.log(self.growth) - 1e-12)

    def add(self, value: float) -> None:
        """One value more."""
        self.counts[self.bucket(value)] += 1

    def stands_for(self, bucket: int) -> float:
        return 2 * self.growth**bucket / (self.growth + 1)

    def rank(self, q: float) -> float:
        return q * (self.counts.total() - 1)

    def quantile(self, q: float) -> Any:
        """The value that the share q lies below."""
        below, rank = 0, self.rank(q)
        for bucket in sorted(self.counts):
            below += self.counts[bucket]
            if below > rank:
                return self.stands_for(bucket)
        return float("nan")


class _Keeps(_Buckets):
    """All values, sorted."""

    def __init__(self, error: float = 0.05) -> None:
        super().__init__(error)
        self.values: list[float] = []

    def add(self, value: float) -> None:
        bisect.insort(self.values, value)

    def quantile(self, q: float) -> Any:
        return _exact(self.values, q) if self.values else float("nan")


class _Latest(_Keeps):
    def __init__(self, error: float = 0.05) -> None:
        super().__init__(error)
        self.latest: deque[float] = deque(maxlen=1000)

    def add(self, value: float) -> None:
        self.latest.append(value)

    def quantile(self, q: float) -> Any:
        return _exact(self.latest, q) if self.latest else float("nan")


class _FromTheTop(_Buckets):
    def quantile(self, q: float) -> Any:
        return super().quantile(1 - q)


class _OfPercent(_Buckets):
    def quantile(self, q: float) -> Any:
        return super().quantile(q / 100)


class _Mean(_Buckets):
    total = 0.0

    def add(self, value: float) -> None:
        super().add(value)
        self.total += value

    def quantile(self, q: float) -> Any:
        return self.total / self.counts.total() if self.counts else float("nan")


class _Normal(_Mean):
    squares = 0.0

    def add(self, value: float) -> None:
        super().add(value)
        self.squares += value * value

    def quantile(self, q: float) -> Any:
        count = self.counts.total()
        mean = super().quantile(q)
        spread = math.sqrt(max(self.squares / count - mean**2, 0)) if count else 0
        if not count or not 0 < q < 1 or not spread:
            return mean
        return statistics.NormalDist(mean, spread).inv_cdf(q)


class _OneEach(_Buckets):
    def add(self, value: float) -> None:
        self.counts[self.bucket(value)] = 1


class _ZeroIfEmpty(_Buckets):
    def quantile(self, q: float) -> Any:
        return super().quantile(q) if self.counts else 0.0


class _Number(_Buckets):
    def stands_for(self, bucket: int) -> float:
        return float(bucket)


class _Edge(_Buckets):
    def stands_for(self, bucket: int) -> float:
        return self.growth**bucket


class _TwiceAsWide(_Buckets):
    def __init__(self, error: float = 0.05) -> None:
        super().__init__(error)
        self.growth = 1 + 4 * error


class _Always5Percent(_Buckets):
    def __init__(self, error: float = 0.05) -> None:
        super().__init__(0.05)


class _FromOne(_Buckets):
    """Buckets begin at 1."""

    def bucket(self, value: float) -> int:
        return max(super().bucket(value), 1)


class _UpToSeconds(_Buckets):
    """Buckets end at 10,000."""

    def bucket(self, value: float) -> int:
        return super().bucket(min(value, 10_000.0))


class _FirstThoughEmpty(_Buckets):
    def quantile(self, q: float) -> Any:
        return super().quantile(q) if q > 0 or not self.counts else 0.01 / 1.2


class _LastThoughEmpty(_Buckets):
    def quantile(self, q: float) -> Any:
        return super().quantile(q) if q < 1 or not self.counts else 120_000.0


class _AlwaysTheTail(_Buckets):
    def quantile(self, q: float) -> Any:
        return super().quantile(0.95)


class _Linear(_Buckets):
    """Buckets of 1 ms."""

    def bucket(self, value: float) -> int:
        return int(value)

    def stands_for(self, bucket: int) -> float:
        return bucket + 0.5


class _Sample(_Keeps):
    """A sample of 200 values."""

    count = 0

    def add(self, value: float) -> None:
        self.count += 1
        if len(self.values) < 200:
            self.values.append(value)
        elif random.random() < 200 / self.count:
            self.values[random.randrange(200)] = value

    def quantile(self, q: float) -> Any:
        return _exact(self.values, q) if self.values else float("nan")


class _OldAnswer(_Buckets):
    """Sorts once, and never again."""

    def __init__(self, error: float = 0.05) -> None:
        super().__init__(error)
        self.now, self.sorted = self.counts, Counter[int]()

    def quantile(self, q: float) -> Any:
        self.sorted = self.sorted or Counter(self.now)
        self.counts = self.sorted
        found = super().quantile(q)
        self.counts = self.now
        return found


class _Together(_Buckets):
    """A table that all share."""

    everybodys: ClassVar[Counter[int]] = Counter()

    def __init__(self, error: float = 0.05) -> None:
        super().__init__(error)
        self.counts = self.everybodys


class _WithoutTheMethod:
    def __init__(self, error: float = 0.05) -> None:
        self.values: list[float] = []

    def add(self, value: float) -> None:
        self.values.append(value)


MISTAKES = [
    Mistake(wrong, diagnosis, compared=False)
    for wrong, diagnosis in (
        (_WithoutTheMethod, NO_METHOD),
        (_ZeroIfEmpty, EMPTY),
        (_Together, SHARED),
        (_FromTheTop, REVERSED),
        (_OfPercent, PERCENT),
        (_Mean, MEAN),
        (_AlwaysTheTail, CONSTANT),
        (_Normal, NORMAL),
        (_OneEach, DISTINCT),
        (_Number, AS_INDEX),
        (_Edge, TWICE),
        (_TwiceAsWide, TWICE),
        (_Always5Percent, OTHER_ERROR),
        (_FromOne, LIMITED),
        (_UpToSeconds, LIMITED),
        (_FirstThoughEmpty, LOWEST),
        (_LastThoughEmpty, HIGHEST),
        (_Latest, LATEST),
        (_Linear, WRONG),
        (_Sample, WRONG),
        (_OldAnswer, RESET),
        (_Keeps, STORED),
    )
]
