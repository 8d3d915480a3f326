"""A number of every head over another one, a dot for each head."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import Picture, style


def layer_scatter(
    over: Mapping[str, np.ndarray],
    values: np.ndarray,
    ylabel: str,
    titles: Mapping[str, str],
    marked: tuple[int, int] | None = None,
) -> Picture:
    """Draw a number of every head over others, a panel for each of these; colours are layers.

    Parameters
    ----------
    over : by name, with the unit: what is across, arrays (L, H)
    values : array (L, H), what is upwards
    ylabel : what that is, with its unit
    titles : what stands above each panel, by the names of ``over``
    marked : (layer, head) of a head that gets its name
    """
    if not over or any(np.shape(one) != np.shape(values) for one in over.values()):
        shapes = {name: np.shape(one) for name, one in over.items()}
        raise AttnlabError(
            f"layer_scatter needs arrays of one shape, {np.shape(values)}; got {shapes}."
        )
    layer = np.indices(values.shape)[0]
    with style(), sns.axes_style("ticks"):
        figure, grid = plt.subplots(
            1,
            len(over),
            figsize=(1.2 + 3.6 * len(over), 3.9),
            layout="constrained",
            sharey=True,
            squeeze=False,
        )
        for axes, (name, across) in zip(grid[0], over.items(), strict=True):
            dots = axes.scatter(across, values, c=layer, cmap="cividis", s=34)
            axes.axhline(0, color="0.5", linewidth=0.8)
            if marked:
                label = f"L{marked[0]}H{marked[1]}  "
                axes.text(across[marked], values[marked], label, ha="right", va="center")
            axes.set_title(titles[name].replace("-", "−"), loc="left", fontsize=10)
            axes.set_xlabel(name)
        grid[0, 0].set_ylabel(ylabel)
        figure.colorbar(dots, ax=list(grid[0]), label="layer", ticks=range(len(values)))
        sns.despine(figure)
    told = "; ".join(f"over {name}: {' '.join(titles[name].split())}" for name in over)
    return Picture(figure, f"{' '.join(ylabel.split())}, a dot for each head, {told}.")
