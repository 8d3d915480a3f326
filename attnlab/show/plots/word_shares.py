"""Picture of how often texts with a word have a label, beside what the word does to one answer."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import Picture, style
from attnlab.show.wording import number
from attnlab.statistics import share_interval

_LOOKS = {  # of the bars: face and hatch
    "fits": ("0.13", ""),
    "does not fit": ("white", "////"),
    "share not clear": ("0.72", ""),
}


def word_shares(
    words: Sequence[str],
    found: Sequence[int] | np.ndarray,
    counts: Sequence[int] | np.ndarray,
    changes: Sequence[float] | np.ndarray,
    *,
    overall: float,
    labels: tuple[str, str],
) -> Picture:
    """Draw the share of a label among texts with each word, beside the change without the word.

    The largest share is at the top. A word fits where texts with it have the label more often than
    all texts, and without it the label becomes less likely; or the reverse. Where the interval of
    its share holds that of all texts, it says neither.

    Parameters
    ----------
    words : W words of a sentence
    found : of the texts with each word, how many have the label; its 95 % interval is drawn
    counts : how many texts there are with each word
    changes : of the label's probability without the word, in percentage points
    overall : the label's share of all texts, from 0 to 1
    labels : what the two axes show, with their units

    Raises
    ------
    AttnlabError : numbers that do not fit the words, or a word that no text has
    """
    right, total, moved = (np.asarray(given) for given in (found, counts, changes))
    if not right.shape == total.shape == moved.shape == (len(words),):
        raise AttnlabError(
            f"There are {len(words)} words, and each needs one number of each kind; these have the "
            f"shapes {right.shape}, {total.shape} and {moved.shape}."
        )
    if (total < 1).any():
        missing = words[int(np.argmax(total < 1))]
        raise AttnlabError(f"No text has the word {missing!r}: it has no share. Leave it out.")
    order = np.argsort(-right / total, kind="stable")
    right, total, moved = right[order], total[order], moved[order]
    names = [words[row] for row in order]
    shares = 100 * right / total
    ends = 100 * np.array([share_interval(*pair) for pair in zip(right, total, strict=True)])
    known = (ends[:, 0] > 100 * overall) | (ends[:, 1] < 100 * overall)
    fits = (shares - 100 * overall) * moved < 0
    kinds = np.array(list(_LOOKS))[np.where(known, np.where(fits, 0, 1), 2)]
    rows = range(len(names))
    with style():
        size = (7.6, 0.9 + 0.25 * len(names))
        figure, (left, side) = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
        left.hlines(rows, ends[:, 0], ends[:, 1], color="0.4", lw=1.5)
        left.plot(shares, rows, "o", color="black", ms=5)
        left.axvline(100 * overall, color="0.3", lw=1, ls=":")
        ticks = [f"{name}  ({count:,})" for name, count in zip(names, total, strict=True)]
        left.set_yticks(rows, [tick.replace("$", r"\$") for tick in ticks])
        left.invert_yaxis()
        left.set(xlabel=labels[0])
        for kind, (face, hatch) in _LOOKS.items():
            heights = np.where(kinds == kind, moved, 0)
            side.barh(rows, heights, color=face, ec="0.13", hatch=hatch, height=0.7, label=kind)
        bars = side.barh(rows, moved, color="none")  # all in one, for their numbers
        side.bar_label(bars, [number(value, 0, signed=True) for value in moved], padding=3, size=8)
        side.axvline(0, color="0.3", lw=1)
        side.margins(x=0.14)
        side.set(xlabel=labels[1])
        side.tick_params(axis="y", length=0)
        for axes in (left, side):
            axes.spines[["top", "right"]].set_visible(False)
        side.spines["left"].set_visible(False)
        figure.legend(
            *side.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False
        )
    told = ", ".join(f"{name} {share:.0f} %" for name, share in zip(names, shares, strict=True))
    lists = "; ".join(
        f"{kind}: {', '.join(np.array(names)[kinds == kind]) or 'no word'}" for kind in _LOOKS
    )
    return Picture(
        figure,
        f"{labels[0]}, beside {labels[1]}. Shares: {told}; all texts {100 * overall:.0f} %. "
        f"{lists[0].upper()}{lists[1:]}.",
    )


def __dir__() -> list[str]:
    return ["word_shares"]
