"""Vectors of sentences in two dimensions, a panel for each model that made them."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import Picture, style

_CLASSES = (("#b35806", "v"), ("#542788", "o"), ("#1b7837", "s"), ("0.4", "D"))


def sentence_map(
    vectors: Mapping[str, np.ndarray], labels: Sequence[int] | np.ndarray, names: Sequence[str]
) -> Picture:
    """Draw vectors by their two principal components, each sentence in the colour of its label.

    Parameters
    ----------
    vectors : for each model the vectors of the same sentences, (N, D)
    labels : (N,), the class of each sentence
    names : of the classes, at most four

    Above each panel stands how much of the vectors' variance the picture shows. Each panel has
    components of its own, so neither places nor distances can be compared between panels.

    Raises
    ------
    AttnlabError : no vectors, other sentences than labels, or too many classes
    """
    labels = np.asarray(labels)
    counts = {name: np.shape(rows) for name, rows in vectors.items()}
    if not vectors or any(len(shape) != 2 or shape[0] != len(labels) for shape in counts.values()):
        raise AttnlabError(f"sentence_map needs (N, D) for {len(labels)} labels; got {counts}.")
    if len(names) > len(_CLASSES):
        raise AttnlabError(f"At most {len(_CLASSES)} classes have a look, not {len(names)}.")
    told = []
    with style():
        figure, row = plt.subplots(
            1, len(vectors), figsize=(4.2 * len(vectors), 3.9), squeeze=False, layout="constrained"
        )
        for axes, (title, rows) in zip(row[0], vectors.items(), strict=True):
            places, share = _principal(np.asarray(rows, dtype=float))
            for number, name in enumerate(names):
                colour, marker = _CLASSES[number]
                looks = {"color": colour, "markersize": 4, "alpha": 0.65, "markeredgewidth": 0}
                axes.plot(*places[labels == number].T, marker, label=name, **looks)
            axes.set_title(f"{title} ({share:.0%} of the variance)", loc="left")
            axes.set(xticks=[], yticks=[], xlabel="first component")
            told.append(f"{title}: {share:.0%} of the variance")
        row[0][0].set_ylabel("second component")
        handles = row[0][0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper right", ncols=len(names), frameon=False)
        sns.despine(figure)
    alt = f"Vectors of {len(labels)} sentences, {' and '.join(names)}, by principal components. "
    return Picture(figure, f"{alt}{'; '.join(told)}.")


def _principal(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """The first two principal components of each row, (N, 2), and their share of the variance."""
    left, sizes, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    shares = sizes**2 / (sizes**2).sum()
    return left[:, :2] * sizes[:2], float(shares[:2].sum())
