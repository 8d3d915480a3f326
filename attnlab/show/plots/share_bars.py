"""Bars that are cut into shares: what became of all things of a kind."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from attnlab.show.plots.picture import Picture, ink_on, need, show, style
from attnlab.show.wording import plain

_SHADES = ("#1f5fa8", "#e8a33d", "#c9c9c9", "#5c5c5c", "#2f9e78", "#7a0000")


def share_bars(table: pd.DataFrame, *, xlabel: str, alt: str) -> Picture:
    """Draw a bar for each row, cut into its shares, with its percentages.

    They stand in the pieces; of pieces that are too small, at the end of the bar, with the name.

    Parameters
    ----------
    table : a row for each bar and a column for each piece, at most six; a row's shares sum to 1
    xlabel : what all of a bar is
    alt : one or two sentences on what there is to see
    """
    need(table, (), "your shares")
    with style():
        figure, axes = plt.subplots(figsize=(7.5, 1.1 + 0.36 * len(table)), layout="constrained")
        left = pd.Series(0.0, index=table.index)
        small: list[list[str]] = [[] for _ in range(len(table))]
        for name, colour in zip(table.columns, _SHADES, strict=False):
            shares = 100 * table[name]
            axes.barh(range(len(table)), shares, left=left, color=colour, label=name, height=0.72)
            for row, (start, share) in enumerate(zip(left, shares, strict=True)):
                if share >= 4:
                    place = start + share / 2, row
                    looks: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9}
                    axes.text(*place, f"{share:.0f}", color=ink_on(colour), **looks)
                elif share > 0:
                    small[row].append(f"{share:.0f} {name}" if share >= 0.5 else f"<1 {name}")
            left += shares
        for row, words in enumerate(small):
            axes.text(101, row, ", ".join(words), va="center", fontsize=9)
        axes.set_yticks(range(len(table)), [plain(str(name), 24) for name in table.index])
        axes.invert_yaxis()
        axes.set(xlim=(0, 100), xlabel=f"{xlabel}, %")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper center", ncols=len(table.columns), frameon=False)
        sns.despine(figure, left=True)
    return show(figure, alt)
