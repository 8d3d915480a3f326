"""Values on a line, with the band in which a rule expects them."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from attnlab.show.plots.picture import ROLES, Picture, style

Values = Sequence[float] | np.ndarray


def rug(
    lines: Mapping[str, tuple[Values, float, float]], flagged: np.ndarray | None = None
) -> Picture:
    """Draw values as ticks on a line each, their median, and those outside of a band as dots.

    Parameters
    ----------
    lines : for each name the values, and the lower and the upper end of the band
    flagged : (N,), bool, of another rule: these are dots then, in every line
    """
    told, which = [], "outside" if flagged is None else "flagged"
    with style():
        size = (7.4, 0.4 + 1.3 * len(lines))
        figure, panels = plt.subplots(
            len(lines), 1, figsize=size, layout="constrained", squeeze=False
        )
        for axes, (name, (values, low, high)) in zip(panels[:, 0], lines.items(), strict=True):
            x = np.asarray(values, dtype=float)
            out = (x < low) | (x > high) if flagged is None else np.asarray(flagged)
            axes.axvspan(low, high, color=ROLES["weights"], alpha=0.15, lw=0)
            axes.axvline(float(np.nanmedian(x)), color=ROLES["weights"], lw=1.5)
            axes.plot(x, 0 * x, "|", ms=16, color="0.4")
            apart = 0.02 * float(np.ptp(np.append(x[np.isfinite(x)], (low, high))))
            axes.plot(x[out], _stacked(x[out], apart), "o", ms=7, color="#c51b7d")
            axes.set(yticks=[], ylim=(-1, 1))
            axes.set_title(f"{name}: {out.sum()} of {len(x)} flagged", loc="left", fontsize=10.5)
            told.append(f"{name}: band {low:.2f} to {high:.2f}, {out.sum()} of {len(x)} {which}")
        panels[-1, 0].set_xlabel("value; shaded: what the rule expects, red: flagged")
        sns.despine(figure, left=True)
    return Picture(figure, f"Values on a line, with the band expected. {'; '.join(told)}.")


def _stacked(values: np.ndarray, apart: float) -> np.ndarray:
    """Heights for dots, so that those nearer to each other than ``apart`` do not lie together."""
    heights, last, level = np.zeros(len(values)), -np.inf, 0
    for place in np.argsort(values):
        near = values[place] - last < apart
        level = (level + 1) % 4 if near else 0
        heights[place] = 0.25 * level
        last = values[place]
    return heights
