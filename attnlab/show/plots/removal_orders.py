"""What a model keeps as its heads go, in several orders."""

import itertools
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from attnlab.show.plots.learning import RUN_COLOURS, RUN_DASHES
from attnlab.show.plots.picture import Picture, need, style
from attnlab.show.wording import number


def removal_orders(path: pd.DataFrame, half: float | None = None) -> Picture:
    """Draw what each order of removal does to several measures, a panel for each.

    Parameters
    ----------
    path : a row for each order and number of heads: ``order``, ``heads off``, and a column for
        each measure, named as its axis shall be. Where an order has several rows for a number, the
        mean is drawn, and a band from the lowest to the highest.
    half : a number of heads to mark with a dotted line

    The order "random" is grey: it is what others are compared with.
    """
    need(path, ("order", "heads off"), "your removals")
    measures = [name for name in path.columns if name not in ("order", "heads off")]
    told = []
    with style():
        size = (0.4 + 4.1 * len(measures), 3.6)
        figure, panels = plt.subplots(
            1, len(measures), figsize=size, layout="constrained", squeeze=False
        )
        for axes, measure in zip(panels[0], measures, strict=True):
            axes.axhline(0, color="0.35", linewidth=0.9)
            if half is not None:
                axes.axvline(half, color="0.15", linewidth=1.6, linestyle=":")
            kinds = itertools.cycle(zip(RUN_COLOURS, RUN_DASHES, strict=True))
            for order, rows in path.groupby("order", sort=False):
                colour, dashes = ("0.45", (1, 1.2)) if order == "random" else next(kinds)
                looks: dict[str, Any] = {"color": colour, "linewidth": 2, "label": order}
                several = rows.groupby("heads off")[measure].agg(["mean", "min", "max"])
                axes.plot(several["mean"], linestyle=(0, dashes) if dashes else "-", **looks)
                axes.fill_between(
                    several.index, several["min"], several["max"], color=colour, alpha=0.2, lw=0
                )
                near = several.index[-1] if half is None else half
                if near in several.index:
                    there = f"{number(several.loc[near, 'mean'], 2)} with {near:.0f} heads off"
                    told.append(f"{measure}, {order}: {there}")
            axes.set(xlabel="heads off", ylabel=measure)
            axes.grid(axis="y", color="0.93")
        handles = panels[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper left", ncols=3, frameon=False)
        sns.despine(figure)
    return Picture(figure, f"What is left as heads go. {'; '.join(told)}.")
