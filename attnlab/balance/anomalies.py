"""What is out of line among heads: those unlike the others, and the kinds they fall into."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from attnlab.balance.reading import Balance
from attnlab.errors import AttnlabError

_SIGMA = 1.4826  # from the median distance to the standard deviation of a normal distribution
_EIGHTH = 1.1503  # standard deviations that three quarters of normal values do not exceed
_MOST_CLUSTERS = 8
_UNLIMITED = ("keys", "distance", "contribution")  # all other measures lie between 0 and 1


def outliers(balance: Balance, threshold: float = 3.5) -> pd.DataFrame:
    """Find heads that are unlike the others in one of the meter's measures.

    Parameters
    ----------
    balance : of `measure`; what counts is what it measured over all tokens, by weights, and the
        contribution
    threshold : from how many robust standard deviations from the median of the heads a head is
        named

    Returns
    -------
    DataFrame, a row per head and measure, the farthest first: ``layer``, ``head``, ``measure``,
    ``value``, ``median`` over the heads and ``z`` = (x - median of x) / unit, where x is the value
    on a scale without an edge at 0 or 1: the arcsine of the square root of what lies between 0 and
    1, and the square root of what has no upper limit. Above the median and below it the unit is one
    of its own: the 75 % quantile of the distances on that side / 1.1503, which is one standard
    deviation where values are normally distributed. So a long tail on one side is measured by
    itself, and up to a quarter of each side may be far out without moving the unit. Where the
    quantile is 0, 1.2533 × mean distance on that side is the unit. Heads removed for good are left
    out.

    Sources: Iglewicz and Hoaglin 1993, "How to detect and handle outliers" (the threshold); Kimber
    1990, "Exploratory data analysis for possibly censored data from skewed distributions" (a unit
    for each side); Hoaglin 1983, "Letter values" (the eighths, which end at the 75 % quantiles).
    """
    rows = []
    for name, values in _measured(balance).items():
        centre, straight = values.median(), _straightened(str(name), values)
        z = _by_side(straight - straight.median())
        far = z[z.abs() >= threshold]
        rows += [(*head, name, values[head], centre, far[head]) for head in far.index]
    table = pd.DataFrame(rows, columns=["layer", "head", "measure", "value", "median", "z"])
    return table.sort_values("z", key=np.abs, ascending=False, ignore_index=True)


def _measured(balance: Balance) -> pd.DataFrame:
    """A row for each head that is there, a column for each measure."""
    by_weights, by_contributions = (
        balance.wide(by=by).set_index(["layer", "head"]) for by in ("weights", "contributions")
    )
    both = by_weights.join(by_contributions.reindex(columns=["contribution"]))
    return both.dropna(how="all").dropna(axis=1, how="all")


def _straightened(name: str, values: pd.Series) -> pd.Series:
    """Values on a scale on which small and large ones are crowded alike.

    Shares of most heads lie near 0 and stretch upward; as they are, the far end of that would pass
    for outliers.
    """
    roots = np.sqrt(values.clip(lower=0))
    return roots if name in _UNLIMITED else np.arcsin(roots.clip(upper=1))


def _by_side(distance: pd.Series) -> pd.Series:
    """Signed distances from the median in robust standard deviations of their own side."""
    z = pd.Series(0.0, index=distance.index)
    for side in (1, -1):
        own = (side * distance)[side * distance >= 0]
        unit = own.quantile(0.75) / _EIGHTH or 1.2533 * own.mean()
        if unit > 0:
            z[own.index] += side * own / unit  # the median itself, on both sides, adds 0
    return z


def _spread(values: pd.Series) -> float:
    """A robust standard deviation; 0 only where all values are the same."""
    distance = (values - values.median()).abs()
    return _SIGMA * distance.median() or 1.2533 * distance.mean()


@dataclass(frozen=True, eq=False)
class Clusters:
    """Heads sorted into kinds.

    Attributes
    ----------
    table : DataFrame, a row per head that is there: ``layer``, ``head``, ``cluster`` (from 0, the
        largest first), ``x`` and ``y`` on a map in two dimensions (principal components), and
        whether it is ``typical``: of its cluster the head nearest to the centre
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
    balance : of `measure`; what counts is what it measured over all tokens, by weights, and the
        contribution
    k : number of clusters; None takes the one with the best silhouette from 2 to 8
    seed : of the starts of k-means

    Raises
    ------
    AttnlabError : fewer than four heads, or a ``k`` that is not between 2 and one less than there
        are heads
    """
    wide = _measured(balance).dropna(axis=1)
    spreads = wide.apply(_spread)
    wide = wide.loc[:, spreads > 0]
    most = len(wide.drop_duplicates()) - 1
    if most < 3:
        raise AttnlabError(
            f"There are {len(wide)} heads, {most + 1} of them different; to sort them into kinds "
            "takes four."
        )
    if k is not None and not 2 <= k <= most:
        raise AttnlabError(f"k is {k}; {most + 1} different heads make 2 to {most} clusters.")
    # far outliers would otherwise be clusters of their own
    standard = ((wide - wide.median()) / spreads[wide.columns]).clip(-5, 5)
    points, found, silhouettes = standard.to_numpy(), {}, {}
    for count in sorted({*range(2, min(_MOST_CLUSTERS, most) + 1), k or 2}):
        found[count] = KMeans(count, n_init=10, random_state=seed).fit(points)
        silhouettes[count] = float(silhouette_score(points, found[count].labels_))
    k = k or max(silhouettes, key=lambda count: silhouettes[count])
    order = np.argsort(-np.bincount(found[k].labels_, minlength=k), kind="stable")
    cluster = np.argsort(order)[found[k].labels_]
    centres = found[k].cluster_centers_[order]
    far = np.linalg.norm(points - centres[cluster], axis=1)
    nearest = [np.where(cluster == group, far, np.inf).argmin() for group in range(k)]
    table = wide.index.to_frame(index=False).assign(cluster=cluster)
    table[["x", "y"]] = PCA(2, svd_solver="full").fit_transform(points)
    table["typical"] = np.isin(np.arange(len(table)), nearest)
    return Clusters(table, k, silhouettes, [_named(centre, wide.columns) for centre in centres])


def _named(centre: np.ndarray, measures: pd.Index) -> str:
    """The two measures that set a cluster apart."""
    farthest = np.argsort(-np.abs(centre), kind="stable")[:2]
    levels = ["high" if centre[index] > 0 else "low" for index in farthest]
    names = [measures[index] for index in farthest]
    return ", ".join(f"{level} {name}" for level, name in zip(levels, names, strict=True))
