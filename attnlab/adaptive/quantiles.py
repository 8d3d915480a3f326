"""Quantiles of a stream in constant memory, with a bounded relative error."""

import math

import numpy as np

from attnlab.errors import AttnlabError

__all__ = ["StreamingQuantiles", "bucket_middles"]

SMALLEST, LARGEST = 1e-3, 1e7  # what is told apart; in milliseconds a microsecond to three hours


class StreamingQuantiles:
    """Counts in buckets that grow by a constant factor: any number of values, the same memory.

    Every value between `SMALLEST` and `LARGEST` is known up to ``error`` of itself; smaller and
    larger ones count as these.

    Parameters
    ----------
    error : relative, above 0 and below 1; .02 takes 576 buckets

    Source: Masson et al. 2019, "DDSketch", section 2.1.

    >>> times = StreamingQuantiles(error=0.01)
    >>> for value in range(1, 1001):
    ...     times.add(value)
    >>> abs(times.quantile(0.95) / 950 - 1) < 0.011
    True
    """

    def __init__(self, error: float = 0.02):
        self.error = error
        self._middles = bucket_middles(error)
        self.counts = np.zeros(len(self._middles), dtype=np.int64)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def index(self, value: float) -> int:
        """Return the bucket of a value; AttnlabError for one that is negative or not finite."""
        if not 0 <= value < math.inf:
            raise AttnlabError(f"Expected a number from 0, not infinite; got {value!r}.")
        growth = math.log((1 + self.error) / (1 - self.error))
        place = math.ceil(math.log(max(value, SMALLEST) / SMALLEST) / growth - 1e-9)
        return min(place, len(self.counts) - 1)

    def add(self, value: float) -> None:
        """Count a value, 0 or more."""
        self.counts[self.index(value)] += 1

    def merge(self, other: "StreamingQuantiles") -> None:
        """Count what another counted, too; AttnlabError if its error is another."""
        if other.error != self.error:
            raise AttnlabError(
                f"The errors differ, {self.error} and {other.error}, and so do the buckets. Count "
                "both with the same error."
            )
        self.counts += other.counts

    def quantile(self, q: float) -> float:
        """Return the value below which a share q, 0 to 1, of all lies; NaN if there are none."""
        return self.of(self.counts, q)

    def of(self, counts: np.ndarray, q: float) -> float:
        """Return the quantile q of counts in these buckets, int array (buckets,)."""
        if not 0 <= q <= 1:
            raise AttnlabError(f"q is {q}; it is a share, 0 to 1. The 95th percentile is 0.95.")
        total = int(counts.sum())
        if not total:
            return math.nan
        rank = q * (total - 1)
        return float(self._middles[np.searchsorted(counts.cumsum(), rank, side="right")])


def bucket_middles(error: float) -> np.ndarray:
    """Return what a value in each bucket is taken for, (buckets,)."""
    if not 0 < error < 1:
        raise AttnlabError(f"error is {error}; it is relative, above 0 and below 1, such as 0.02.")
    factor = (1 + error) / (1 - error)
    count = math.ceil(math.log(LARGEST / SMALLEST) / math.log(factor)) + 1
    upper = SMALLEST * factor ** np.arange(count)
    return 2 * upper / (factor + 1)  # as far from the lower edge as from the upper one


def __dir__() -> list[str]:
    return sorted(__all__)
