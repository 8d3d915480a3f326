"""Picture of what a classifier with two labels makes of a few texts, and whether it is right."""

from collections.abc import Iterable, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import Picture, style

_INK, _SOFT, _PAPER, _BAR = "#212121", "#595959", "#eeeeee", "#8c8c8c"


def answers(
    texts: Sequence[str],
    probabilities: np.ndarray,
    labels: Sequence[str],
    meant: Iterable[str],
) -> Picture:
    """Draw the answer to each text: a bar for the probability of the second label, and a verdict.

    Parameters
    ----------
    texts : N texts, from top to bottom
    probabilities : array (N, 2), as a classifier's ``predict`` gives them
    labels : the names of the two labels
    meant : the right label of each text; wrong answers are drawn dark

    Raises
    ------
    AttnlabError : if texts, probabilities and right labels are not as many, or labels are not two
    """
    right, shares = list(meant), np.asarray(probabilities, dtype=float)
    if shares.shape != (len(texts), 2) or len(right) != len(texts) or len(labels) != 2:
        raise AttnlabError(
            f"answers draws two labels, here {len(labels)}; {len(texts)} texts need an array "
            f"({len(texts)}, 2) of probabilities, here {shares.shape}, and as many right labels, "
            f"here {len(right)}."
        )
    told = []
    with style():
        size = (7.6, 0.45 + 0.85 * len(texts))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        for row, (text, pair, wanted) in enumerate(zip(texts, shares, right, strict=True)):
            given = labels[int(pair.argmax())]
            good = given == wanted
            verdict = "✓ right" if good else f"✗ wrong, should be {wanted}"
            axes.barh(row, 100, 0.26, color=_PAPER)
            axes.barh(row, 100 * pair[1], 0.26, color=_BAR if good else _INK)
            axes.plot([50, 50], [row - 0.2, row + 0.2], color="white", lw=1.6)
            shown = fill(text, 90, max_lines=1, placeholder=" …").replace("$", r"\$")
            axes.text(0, row - 0.25, f"“{shown}”", va="bottom", fontsize=11.5, color=_INK)
            words = f"{given} {pair.max():.0%}".replace("%", " %")
            axes.text(103, row, words, va="center", fontsize=10.5, weight="bold", color=_INK)
            axes.text(
                103, row + 0.25, verdict, va="center", fontsize=9.5, color=_SOFT if good else _INK
            )
            told.append(f"“{text}”: {words}, {verdict[2:]}.")
        axes.set(xlim=(0, 138), ylim=(len(texts) - 0.45, -0.75), yticks=[])
        ends = [labels[0], "50 %", labels[1]]
        axes.set_xticks([0, 50, 100], ends, fontsize=9.5, color=_SOFT)
        for tick, side in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
            plt.setp(tick, ha=side)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return Picture(figure, " ".join(told))
