"""What is out of line: heads unlike the others, kinds of heads, and stretches in which one leaves its band."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from attnlab.balance.reading import Balance
from attnlab.errors import AttnlabError

KINDS = ("collapse", "spread", "dead gradient", "jump")
_SIGMA = 1.4826  # from the median distance to the standard deviation of a normal distribution
_MOST_CLUSTERS = 8

# measurements that say where a band's centre is, where it goes, how wide it is, and that a head can be judged
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


# ── over heads ─────────────────────────────────────────────────────────────────────────────────


def outliers(balance: Balance, threshold: float = 3.5) -> pd.DataFrame:
    """Find heads that are unlike the others in one of the meter's measures.

    Parameters
    ----------
    balance : of `measure`; what counts is what it measured over all tokens, by weights, and the contribution
    threshold : from how many robust standard deviations from the median of the heads a head is named

    Returns
    -------
    DataFrame, a row per head and measure, the farthest first: ``layer``, ``head``, ``measure``, ``value``,
    ``median`` over the heads and ``z`` = (value - median) / (1.4826 × median absolute deviation). Where more
    than half of the heads measure the same, 1.2533 × mean absolute deviation takes its place. Heads removed for
    good are left out.

    Source: Iglewicz and Hoaglin 1993, "How to detect and handle outliers".
    """
    rows = []
    for name, values in _measured(balance).items():
        centre, spread = values.median(), _spread(values)
        if spread > 0:
            z = (values - centre) / spread
            far = z[z.abs() >= threshold]
            rows += [(*place, name, values[place], centre, one) for place, one in far.items()]
    table = pd.DataFrame(rows, columns=["layer", "head", "measure", "value", "median", "z"])
    return table.sort_values("z", key=np.abs, ascending=False, ignore_index=True)


def _measured(balance: Balance) -> pd.DataFrame:
    """A row for each head that is there, a column for each measure."""
    by_weights, by_contributions = (
        balance.wide(by=by).set_index(["layer", "head"]) for by in ("weights", "contributions")
    )
    both = by_weights.join(by_contributions.reindex(columns=["contribution"]))
    return both.dropna(how="all").dropna(axis=1, how="all")


def _spread(values: pd.Series) -> float:
    """A robust standard deviation; 0 only where all values are the same."""
    distance = (values - values.median()).abs()
    return _SIGMA * distance.median() or 1.2533 * distance.mean()


@dataclass(frozen=True, eq=False)
class Clusters:
    """Heads sorted into kinds.

    Attributes
    ----------
    table : DataFrame, a row per head that is there: ``layer``, ``head``, ``cluster`` (from 0, the largest first),
        ``x`` and ``y`` on a map in two dimensions (principal components), and whether it is ``typical``: of its
        cluster the head nearest to the centre
    k : number of clusters
    silhouettes : mean silhouette for each number of clusters that was tried (Rousseeuw 1987)
    names : for each cluster the two measures that set it apart, such as "high cls, low entropy"
    """

    table: pd.DataFrame
    k: int
    silhouettes: dict[int, float]
    names: list[str]


def clusters(balance: Balance, k: int | None = None, seed: int = 0) -> Clusters:
    """Sort heads into kinds by all of the meter's measures (k-means on robustly standardised ones).

    Parameters
    ----------
    balance : of `measure`; what counts is what it measured over all tokens, by weights, and the contribution
    k : number of clusters; None takes the one with the best silhouette from 2 to 8
    seed : of the starts of k-means

    Raises
    ------
    AttnlabError : fewer than four heads, or a ``k`` that is not between 2 and one less than there are heads
    """
    wide = _measured(balance).dropna(axis=1)
    spreads = wide.apply(_spread)
    wide = wide.loc[:, spreads > 0]
    most = len(wide.drop_duplicates()) - 1
    if most < 3:
        raise AttnlabError(
            f"There are {len(wide)} heads, {most + 1} of them different; to sort them into kinds takes four."
        )
    if k is not None and not 2 <= k <= most:
        raise AttnlabError(f"k is {k}; {most + 1} different heads make 2 to {most} clusters.")
    # far outliers would otherwise be clusters of their own
    standard = ((wide - wide.median()) / spreads[wide.columns]).clip(-5, 5)
    points, found, silhouettes = standard.to_numpy(), {}, {}
    for count in sorted({*range(2, min(_MOST_CLUSTERS, most) + 1), k or 2}):
        found[count] = KMeans(count, n_init=10, random_state=seed).fit(points)
        silhouettes[count] = float(silhouette_score(points, found[count].labels_))
    k = k or max(silhouettes, key=silhouettes.get)
    order = np.argsort(-np.bincount(found[k].labels_, minlength=k), kind="stable")
    cluster = np.argsort(order)[found[k].labels_]
    centres = found[k].cluster_centers_[order]
    far = np.linalg.norm(points - centres[cluster], axis=1)
    nearest = [np.where(cluster == one, far, np.inf).argmin() for one in range(k)]
    table = wide.index.to_frame(index=False).assign(cluster=cluster)
    table[["x", "y"]] = PCA(2, svd_solver="full").fit_transform(points)
    table["typical"] = np.isin(np.arange(len(table)), nearest)
    return Clusters(table, k, silhouettes, [_named(one, wide.columns) for one in centres])


def _named(centre: np.ndarray, measures: pd.Index) -> str:
    most = np.argsort(-np.abs(centre), kind="stable")[:2]
    return ", ".join(f"{'high' if centre[one] > 0 else 'low'} {measures[one]}" for one in most)


# ── over steps ─────────────────────────────────────────────────────────────────────────────────


def episodes(table: pd.DataFrame, z: float = 15.0) -> pd.DataFrame:
    """Find the stretches of training in which a head left its band.

    Each measure of each head has a band, as on a control chart, known before the measurement it judges. Its
    centre is where the head would be if it went on as before: the last value plus the median of the last three
    changes. Half its width is ``z`` robust standard deviations of the distances from the centre so far, the head's
    own or those of the median head if they are larger; but at least 0.02 and at most 0.25 of a share, and for what
    is judged as a ratio (keys, distance, contribution) a tenth and a factor of 3.5. Gradients are those of one
    batch: their band is a fiftieth to fifty times the median of the last five.

    A head has left when it is outside in one measure, and not only because its whole layer moves, as after a
    change further below: it must be four times as far out as the median of the others, each in its farthest
    measure, or collapse, spread or have a gradient out of band. The bands it is outside of stay as they are until
    it is back: inside in every measure, or, counting those in which it left, more than half of the way to the
    centre from one measurement to the next.

    Parameters
    ----------
    table : `Recorder.table`, also of a run that still goes on
    z : half a band, in robust standard deviations

    Returns
    -------
    DataFrame, a row per head and stretch, by start: ``layer``, ``head``, ``kind``; ``start``, the step of the
    first measurement outside, and ``end``, that of the first one that is back (NaN while it lasts); ``strength``,
    the largest distance from the centre in half widths, and the ``measure`` of which that is. The kinds:

    - "collapse" onto one token: the mean largest weight is 0.9 or more, and was less
    - "spread" to uniform attention: the normalised entropy is 0.97 or more, and was less
    - "dead gradient": less than a fiftieth of what is usual, for the head and for its layer
    - "jump": anything else

    Six measurements must have been inside before a head is judged. What was not measured (NaN) is not judged.

    Raises
    ------
    AttnlabError : a table without these columns, or with two values in one place

    Source: control charts of what a forecast leaves over; Alwan and Roberts 1988, "Time-series modeling for
    statistical process control".
    """
    chart = _Chart(table, z)
    steps = [*chart.steps.tolist(), np.nan]
    rows = [
        (
            *chart.places[head],
            _kind(chart, head, slice(start, end)),
            *(steps[start], steps[end]),
            *(strength, chart.measures[measure]),
        )
        for head, measure, strength, start, end in chart.stretches
    ]
    kinds = {"layer": int, "head": int, "kind": str, "start": int, "end": float, "strength": float}
    kinds["measure"] = str
    found = pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
    return found.sort_values(["start", "layer", "head"], ignore_index=True)


def bands(
    table: pd.DataFrame, layer: int, head: int, measure: str, z: float = 15.0
) -> pd.DataFrame:
    """Return what `episodes` judged one measure of one head by: ``step``, ``value``, ``low`` and ``high``.

    The last two are NaN where nothing was judged. The band of a share or a divergence ends at 0 and 1, as the
    measure does. AttnlabError for what the table does not hold.
    """
    chart = _Chart(table, z)
    if measure not in chart.measures or (layer, head) not in chart.places:
        known = ", ".join(chart.measures) or "nothing"
        raise AttnlabError(
            f"This table has no {measure!r} of head ({layer}, {head}). It has {known} of {len(chart.places)}."
        )
    at = chart.measures.index(measure), chart.places.index((layer, head))
    centre, half = chart.centre[at], chart.half[at]
    low, high = centre - half, centre + half
    if measure in _RATIOS:
        low, high = np.exp(low), np.exp(high)
    else:
        low, high = low.clip(0, 1), high.clip(0, 1)
    return pd.DataFrame({"step": chart.steps, "value": chart.raw[at], "low": low, "high": high})


class _Chart:
    """A band for each of M measures and P heads, at each of T measurements.

    Attributes
    ----------
    measures, places, steps : what M, P and T are; a place is (layer, head)
    raw, values : (M, P, T), as measured, and with logarithms of `_RATIOS`
    centre, half : (M, P, T), of the band when a measurement came; NaN where it was not judged
    stretches : of heads outside: number of the head; of the measure in which it is farthest, in half widths; how
        far; of the first measurement outside, and of the first one that is back (T if there is none)
    """

    def __init__(self, table: pd.DataFrame, z: float):
        wide = _wide(table)
        self.measures, self.steps = list(wide.index.unique(0)), wide.columns.to_numpy()
        self.places = list(wide.index.droplevel(0).unique())
        self.raw = wide.to_numpy().reshape(len(self.measures), len(self.places), len(self.steps))
        self.values = self.raw.copy()
        for at, name in enumerate(self.measures):
            if name in _RATIOS:
                self.values[at] = _logarithms(self.raw[at])
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
        layer = np.array([place[0] for place in self.places])
        others = np.equal.outer(layer, layer) & ~np.eye(len(layer), dtype=bool)  # (P, P)
        ends = np.array([[_ENDS.get(name, np.inf)] for name in self.measures])
        seen, left = np.zeros((2, *size), int)  # how many inside; since when outside
        peak, before = np.zeros((2, *size))  # how far outside, at most and last, in half widths
        away = np.zeros(len(self.places), bool)
        for at in range(len(self.steps)):
            value = self.values[..., at]
            goes_on = recent[..., -1] + _median(np.diff(recent[..., -_TREND:]))
            centre = np.where(noisy, _median(recent), goes_on)
            own = _SIGMA * _median(departures)
            half = (z * np.fmax(own, _median(own)[:, None])).clip(least, most)
            judged = np.isfinite(value - centre) & (seen >= _FEWEST)
            off = np.where(judged, (value - centre) / half, 0.0)
            self.centre[..., at], self.half[..., at] = np.where(judged, (centre, half), np.nan)

            back = away & (judged | (peak <= 1)).all(0) & _returned(off, before, peak > 1)
            left = np.where(peak <= 1, at, left)
            peak = np.fmax(peak, np.abs(off))
            before = np.where(judged, off, before)
            top = np.where(noisy, 0.0, np.abs(off)).max(0)
            typical = np.nan_to_num(_median(np.where(others, top, np.nan)))
            leaves = ((np.abs(off) > 1) & ((top > _ALONE * typical) | (value >= ends))).any(0)
            over = [(head, at) for head in np.flatnonzero(back)]
            away = np.where(away, ~back, leaves)
            if at == len(self.steps) - 1:
                over += [(head, at + 1) for head in np.flatnonzero(away)]
            for head, end in over:
                strengths, start = peak[:, head], left[:, head].min()
                self.stretches.append((head, strengths.argmax(), strengths.max(), start, end))

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
        at = chart.measures.index(name), head
        return pd.Series(chart.values[at][span]).mean(), float(chart.centre[at][span.start])

    largest, usual_largest = level("largest")
    entropy, usual_entropy = level("entropy")
    if largest >= _ONE_TOKEN and largest - usual_largest > _SHARE[0]:
        return "collapse"
    if entropy >= _ALL_TOKENS and entropy - usual_entropy > _SHARE[0]:
        return "spread"
    slope, usual_slope = level("gradient")
    if slope < usual_slope - _DEAD:
        layer = [at for at, place in enumerate(chart.places) if place[0] == chart.places[head][0]]
        theirs = chart.centre[chart.measures.index("gradient"), layer, span.start]
        if slope < np.nanmedian(theirs) - _DEAD:
            return "dead gradient"
    return "jump"


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
            "This table has two values for one measure of one head at one step. Give one run's at a time."
        ) from error
    places = wide.index.droplevel(0).unique().sort_values()
    every = [(name, *place) for name in wide.index.unique(0) for place in places]
    return wide.reindex(pd.MultiIndex.from_tuples(every, names=wide.index.names)).sort_index(axis=1)


def _logarithms(values: np.ndarray) -> np.ndarray:
    """Logarithms (P, T); what is near 0 beside the heads' median counts as a ten-thousandth of it."""
    usual = _median(np.where(values > 0, values, np.nan).T)  # (T,)
    return np.log(np.maximum(values, 1e-4 * pd.Series(usual).ffill().bfill().to_numpy()))


def _median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis of what is finite, NaN where nothing is; NumPy's own is ten times slower."""
    known = np.isfinite(values)
    count = known.sum(-1, keepdims=True)
    ordered = np.sort(np.where(known, values, np.inf), axis=-1)
    low, high = (
        np.take_along_axis(ordered, one, -1) for one in ((count - 1).clip(0) // 2, count // 2)
    )
    return np.where(count > 0, (low + high) / 2, np.nan)[..., 0]


def _pushed(kept: np.ndarray, value: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The newest at the end, the oldest gone, where it says so."""
    return np.where(where[..., None], np.append(kept[..., 1:], value[..., None], -1), kept)
