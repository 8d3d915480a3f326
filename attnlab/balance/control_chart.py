"""Stretches of training in which a head leaves its band, as on a control chart."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from attnlab.errors import AttnlabError

_SIGMA = 1.4826  # from the median distance to the standard deviation of a normal distribution

# measurements that say where a band's centre is, where it goes, how wide it is, and that a head
# can be judged
_RECENT, _TREND, _WIDTH, _FEWEST = 5, 4, 20, 6
_RATIOS = ("keys", "distance", "contribution", "gradient")  # judged by their logarithm
_DEAD = float(np.log(50))  # so far below the usual a gradient is dead
_SHARE = (0.02, 0.25)  # half a band at least and, however wild all is, at most; for ratios:
_LIMITS = dict.fromkeys(_RATIOS, (0.1, 1.25)) | {"gradient": (_DEAD, _DEAD)}
_ALONE = 4  # times as far out as the median of the other heads of its layer

# what a head is like in a stretch
_ONE_TOKEN = 0.9  # mean largest weight
_ALL_TOKENS = 0.97  # mean normalised entropy
_ENDS = {"largest": _ONE_TOKEN, "entropy": _ALL_TOKENS, "gradient": -np.inf}  # whatever others do
# what is reported however slowly it came and whatever the others do: a contribution that falls to
# a fiftieth, as the divergence from uniform attention, and a share that rises to nearly 1
_CONSTANT = 0.99
_NEARLY = 0.9  # a head that was so at first has not become constant
_BY_LEVEL = {
    "contribution": "no effect",
    "js_uniform": "spread",
    "cls": "collapse",
    "sep": "collapse",
}


def episodes(table: pd.DataFrame, z: float = 15.0) -> pd.DataFrame:
    """Find the stretches of training in which a head left its band.

    Each measure of each head has a band, as on a control chart, known before the measurement it
    judges. Its centre is where the head would be if it went on as before: the last value plus the
    median of the last three changes. Half its width is ``z`` robust standard deviations of the
    distances from the centre so far, the head's own or those of the median head if they are larger;
    but at least 0.02 and at most 0.25 of a share, and for what is judged as a ratio (keys,
    distance, contribution) a tenth and a factor of 3.5. Gradients are those of one batch: their
    band is a fiftieth to fifty times the median of the last five.

    A head has left when it is outside in one measure, and not only because its whole layer moves,
    as after a change further below: it must be four times as far out as the median of the others,
    each in its farthest measure, or collapse, spread or have a gradient out of band. The bands it
    is outside of stay as they are until it is back: inside in every measure, or, counting those in
    which it left, more than half of the way to the centre from one measurement to the next.

    A band follows a head that gives in slowly. So what kills a head is reported however slowly it
    came, from the second measurement on, and of all heads at once if need be: that it adds less
    than a fiftieth of what it added at first, the median of its first six measurements; and that
    its attention became constant: its divergence from uniform attention fell to a fiftieth, or its
    share on [CLS] or [SEP] rose to 0.99 from less than 0.9.

    Parameters
    ----------
    table : `Recorder.table`, also of a run that still goes on
    z : half a band, in robust standard deviations

    Returns
    -------
    DataFrame, a row per head and stretch, by start: ``layer``, ``head``, ``kind``; ``start``, the
    step of the first measurement outside, and ``end``, that of the first one that is back (NaN
    while it lasts); ``strength``, the largest distance from the centre in half widths, and the
    ``measure`` of which that is; for what came slowly, the largest distance from where the head was
    at first, as a multiple of that of the limit. The kinds:

    - "collapse" onto one token: the mean largest weight is 0.9 or more, or the share on [CLS] or
      [SEP] 0.99, and was less
    - "spread" to uniform attention: the normalised entropy is 0.97 or more, or the divergence from
      uniform attention a fiftieth of what it was; it was not so at first
    - "dead gradient": less than a fiftieth of what is usual, for the head and for its layer
    - "no effect": it still gets a gradient, or none was recorded, but adds less than a fiftieth of
      what it added at first
    - "jump": anything else

    Six measurements must have been inside before a head is judged by its band. What was not
    measured (NaN) is not judged.

    Raises
    ------
    AttnlabError : a table without these columns, or with two values in one place

    Source: control charts of what a forecast leaves over; Alwan and Roberts 1988, "Time-series
    modeling for statistical process control".
    """
    chart = _Chart(table, z)
    steps = [*chart.steps.tolist(), np.nan]
    stretches = [
        _Stretch(head, _kind(chart, head, slice(start, end)), start, end, strength, measure)
        for head, measure, strength, start, end in chart.stretches
    ]
    rows = [
        (
            *chart.heads[one.head],
            one.kind,
            *(steps[one.start], steps[one.end]),
            *(one.strength, chart.measures[one.measure]),
        )
        for one in _with_levels(stretches, chart)
    ]
    kinds = {"layer": int, "head": int, "kind": str, "start": int, "end": float, "strength": float}
    kinds["measure"] = str
    found = pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
    return found.sort_values(["start", "layer", "head"], ignore_index=True)


@dataclass
class _Stretch:
    """Measurements ``start`` to ``end``, the first that is back, of a head; numbers of places."""

    head: int
    kind: str
    start: int
    end: int
    strength: float
    measure: int


def bands(
    table: pd.DataFrame, layer: int, head: int, measure: str, z: float = 15.0
) -> pd.DataFrame:
    """Return what `episodes` judged one measure of one head by: ``step, value, low, high``.

    The last two are NaN where nothing was judged. The band of a share or a divergence ends at 0 and
    1, as the measure does. AttnlabError for what the table does not hold.
    """
    chart = _Chart(table, z)
    if measure not in chart.measures or (layer, head) not in chart.heads:
        known = ", ".join(chart.measures) or "nothing"
        raise AttnlabError(
            f"This table has no {measure!r} of head ({layer}, {head}). It has {known} of "
            f"{len(chart.heads)}."
        )
    line = chart.measures.index(measure), chart.heads.index((layer, head))
    centre, half = chart.centre[line], chart.half[line]
    low, high = centre - half, centre + half
    if measure in _RATIOS:
        low, high = np.exp(low), np.exp(high)
    else:
        low, high = low.clip(0, 1), high.clip(0, 1)
    return pd.DataFrame({"step": chart.steps, "value": chart.raw[line], "low": low, "high": high})


class _Chart:
    """A band for each of M measures and P heads, at each of T measurements.

    Attributes
    ----------
    measures, heads, steps : what M, P and T are; a head is (layer, head)
    raw, values : (M, P, T), as measured, and with logarithms of `_RATIOS`
    centre, half : (M, P, T), of the band when a measurement came; NaN where it was not judged
    stretches : of heads outside: number of the head; of the measure in which it is farthest, in
        half widths; how far; of the first measurement outside, and of the first one that is back (T
        if there is none)
    """

    def __init__(self, table: pd.DataFrame, z: float):
        wide = _wide(table)
        self.measures, self.steps = list(wide.index.unique(0)), wide.columns.to_numpy()
        self.heads = list(wide.index.droplevel(0).unique())
        self.raw = wide.to_numpy().reshape(len(self.measures), len(self.heads), len(self.steps))
        self.values = self.raw.copy()
        for index, name in enumerate(self.measures):
            if name in _RATIOS:
                self.values[index] = _logarithms(self.raw[index])
        self.centre, self.half = np.full((2, *self.raw.shape), np.nan)
        self.stretches: list[tuple[int, int, float, int, int]] = []
        if self.raw.size:
            self._judge(z)

    def _judge(self, z: float) -> None:
        """Go through the measurements: what one is judged by comes from those before it."""
        size = self.values.shape[:2]
        limits = np.array([_LIMITS.get(name, _SHARE) for name in self.measures])
        least, most = limits.T[..., None]  # each (M, 1)
        noisy = np.array([[name == "gradient"] for name in self.measures])
        recent, departures = np.full((*size, _RECENT), np.nan), np.full((*size, _WIDTH), np.nan)
        layer = np.array([number for number, _ in self.heads])
        others = np.equal.outer(layer, layer) & ~np.eye(len(layer), dtype=bool)  # (P, P)
        ends = np.array([[_ENDS.get(name, np.inf)] for name in self.measures])
        seen, left = np.zeros((2, *size), int)  # how many inside; since when outside
        peak, before = np.zeros((2, *size))  # how far outside, at most and last, in half widths
        away = np.zeros(len(self.heads), bool)
        for time in range(len(self.steps)):
            value = self.values[..., time]
            goes_on = recent[..., -1] + _median(np.diff(recent[..., -_TREND:]))
            centre = np.where(noisy, _median(recent), goes_on)
            own = _SIGMA * _median(departures)
            half = (z * np.fmax(own, _median(own)[:, None])).clip(least, most)
            judged = np.isfinite(value - centre) & (seen >= _FEWEST)
            off = np.where(judged, (value - centre) / half, 0.0)
            self.centre[..., time], self.half[..., time] = np.where(judged, (centre, half), np.nan)

            back = away & (judged | (peak <= 1)).all(0) & _returned(off, before, peak > 1)
            left = np.where(peak <= 1, time, left)
            peak = np.fmax(peak, np.abs(off))
            before = np.where(judged, off, before)
            top = np.where(noisy, 0.0, np.abs(off)).max(0)
            typical = np.nan_to_num(_median(np.where(others, top, np.nan)))
            leaves = ((np.abs(off) > 1) & ((top > _ALONE * typical) | (value >= ends))).any(0)
            over = [(head, time) for head in np.flatnonzero(back)]
            away = np.where(away, ~back, leaves)
            if time == len(self.steps) - 1:
                over += [(head, time + 1) for head in np.flatnonzero(away)]
            for head, end in over:
                strengths, start = peak[:, head], left[:, head].min()
                measure, strength = int(strengths.argmax()), float(strengths.max())
                self.stretches.append((int(head), measure, strength, int(start), end))

            inside = np.isfinite(value) & ~(away & (peak > 1))
            departures = _pushed(departures, np.abs(value - centre), inside)
            recent, seen = _pushed(recent, value, inside), seen + inside
            peak = np.where(away, peak, 0.0)


def _returned(off: np.ndarray, before: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Which heads (P,) are back from where they were before, off the centre by (M, P) half widths.

    Over the measures in which a head went outside, where it is now is projected on where it was.
    """
    now, was = np.where(outside, (off, before), 0.0)
    part = (now * was).sum(0) / np.fmax((was**2).sum(0), 1e-30)
    return (np.abs(off) <= 1).all(0) | ((part > -1) & (part < 0.5))


def _kind(chart: _Chart, head: int, span: slice) -> str:
    """What a head is like in a stretch, beside what its band was."""

    def level(name: str) -> tuple[float, float]:
        if name not in chart.measures:
            return np.nan, np.nan
        line = chart.measures.index(name), head
        return pd.Series(chart.values[line][span]).mean(), float(chart.centre[line][span.start])

    largest, usual_largest = level("largest")
    entropy, usual_entropy = level("entropy")
    if largest >= _ONE_TOKEN and largest - usual_largest > _SHARE[0]:
        return "collapse"
    if entropy >= _ALL_TOKENS and entropy - usual_entropy > _SHARE[0]:
        return "spread"
    slope, usual_slope = level("gradient")
    if slope < usual_slope - _DEAD:
        own_layer = chart.heads[head][0]
        layer = [index for index, (number, _) in enumerate(chart.heads) if number == own_layer]
        theirs = chart.centre[chart.measures.index("gradient"), layer, span.start]
        if slope < np.nanmedian(theirs) - _DEAD:
            return "dead gradient"
    return "jump"


def _with_levels(stretches: list[_Stretch], chart: _Chart) -> list[_Stretch]:
    """Those found by bands, and those found by levels that they do not say yet."""
    found, by_band = list(stretches), len(stretches)
    for one in _by_level(chart):
        there = [
            other
            for other in found
            if other.head == one.head and other.start < one.end and one.start < other.end
        ]
        kinds = {other.kind for other in there}
        if one.kind in kinds or (one.kind == "no effect" and "dead gradient" in kinds):
            continue
        jumps = [other for other in found[:by_band] if other in there and other.kind == "jump"]
        if jumps:
            jump = jumps[0]
            jump.kind = one.kind
            jump.start, jump.end = min(jump.start, one.start), max(jump.end, one.end)
        else:
            found.append(one)
    return found


def _by_level(chart: _Chart) -> Iterator[_Stretch]:
    """Stretches in which a head has no effect or constant attention, compared with its first."""
    for name, kind in _BY_LEVEL.items():
        if name not in chart.measures:
            continue
        measure = chart.measures.index(name)
        raw = chart.raw[measure]
        if name == "contribution" and "entropy" in chart.measures:
            # nothing at all is added where attention was measured and a length was not
            seen = np.isfinite(chart.raw[chart.measures.index("entropy")])
            raw = np.where(seen & np.isnan(raw), 0.0, raw)
        for head, values in enumerate(raw):
            for start, end, strength in _runs(
                values, _risen if name in ("cls", "sep") else _fallen
            ):
                yield _Stretch(head, kind, start, end, strength, measure)


def _fallen(value: float, first: float) -> float:
    """How far a value fell from the first, in powers of a fiftieth, at most 2."""
    if first <= 0:
        return 0.0
    return min(-float(np.log(max(value / first, np.exp(-2 * _DEAD)))) / _DEAD, 2.0)


def _risen(value: float, first: float) -> float:
    """How far a share rose from the first, 1 at what is constant."""
    if first >= _NEARLY:
        return 0.0
    return (value - first) / (_CONSTANT - first)


def _runs(
    values: np.ndarray, far: Callable[[float, float], float]
) -> Iterator[tuple[int, int, float]]:
    """Stretches that are 1 or more from the first: start, end, and how far they are at most.

    The first is the median of the first six measurements that are in none.
    """
    usual: list[float] = []
    start, most = -1, 0.0
    for time, value in enumerate(values.tolist()):
        if not np.isfinite(value):
            continue
        distance = far(value, float(np.median(usual))) if usual else 0.0
        if distance >= 1:
            start, most = (time, distance) if start < 0 else (start, max(most, distance))
            continue
        if start >= 0:
            yield start, time, most
            start = -1
        if len(usual) < _FEWEST:
            usual.append(value)
    if start >= 0:
        yield start, len(values), most


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each measure and head, a column for each step."""
    needed = ["step", "layer", "head", "measure", "value"]
    missing = [name for name in needed if name not in getattr(table, "columns", ())]
    if missing:
        raise AttnlabError(
            f"This table has no {', '.join(missing)}. Give the table of a Recorder, recorder.table."
        )
    try:
        wide = table.pivot(index=["measure", "layer", "head"], columns="step", values="value")
    except ValueError as error:
        raise AttnlabError(
            "This table has two values for one measure of one head at one step. Give one run's at "
            "a time."
        ) from error
    heads = wide.index.droplevel(0).unique().sort_values()
    every = [(name, *head) for name in wide.index.unique(0) for head in heads]
    return wide.reindex(pd.MultiIndex.from_tuples(every, names=wide.index.names)).sort_index(axis=1)


def _logarithms(values: np.ndarray) -> np.ndarray:
    """Logarithms (P, T); what is far below the heads' median counts as a ten-thousandth of it."""
    usual = _median(np.where(values > 0, values, np.nan).T)  # (T,)
    return np.log(np.maximum(values, 1e-4 * pd.Series(usual).ffill().bfill().to_numpy()))


def _median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis of what is finite, or NaN; NumPy's own is ten times slower."""
    known = np.isfinite(values)
    count = known.sum(-1, keepdims=True)
    ordered = np.sort(np.where(known, values, np.inf), axis=-1)
    low, high = (
        np.take_along_axis(ordered, rank, -1) for rank in ((count - 1).clip(0) // 2, count // 2)
    )
    return np.where(count > 0, (low + high) / 2, np.nan)[..., 0]


def _pushed(kept: np.ndarray, value: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The newest at the end, the oldest gone, where it says so."""
    return np.where(where[..., None], np.append(kept[..., 1:], value[..., None], -1), kept)
