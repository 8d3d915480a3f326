"""A map that somebody rebuilt, and how far each of its weights is from the model's."""

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.colors import PowerNorm
from torch import Tensor

from attnlab.errors import AttnlabError
from attnlab.heads.maps import AttentionMaps
from attnlab.show.plots.maps import readable
from attnlab.show.plots.picture import ROLES, Picture, style


def rebuilt_map(maps: AttentionMaps, layer: int, head: int, weights: Tensor) -> Picture:
    """Draw rebuilt weights as a map, and beside it each of them against the model's own.

    Parameters
    ----------
    maps : from clf.attend(text): the model's own weights
    layer, head : which of them was rebuilt
    weights : Tensor, shape (T, T), the rebuilt ones; rows are queries

    Where all weights are the model's, all dots lie on the line.

    Raises
    ------
    AttnlabError : a layer or head that there is not, or weights of another shape
    """
    maps.check_place(layer, head)
    tokens = [token.replace("$", r"\$") for token in readable(maps.tokens)]
    count = len(tokens)
    if tuple(weights.shape) != (count, count):
        raise AttnlabError(
            f"The map of {count} tokens has shape ({count}, {count}); these weights have shape "
            f"{tuple(weights.shape)}. Pass those of one text."
        )
    own, made = maps.weights[layer, head].detach().numpy(), weights.detach().cpu().numpy()
    apart = f"{abs(made - own).max():.0e}"
    with style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(8.2, 0.9 + 0.19 * count), width_ratios=(1.15, 1), layout="constrained"
        )
        drawn = left.imshow(made, cmap="cividis", norm=PowerNorm(0.5, 0, 1))
        left.set_xticks(range(count), tokens, rotation=60, ha="right", rotation_mode="anchor")
        left.set_yticks(range(count), tokens)
        left.set(xlabel="key (is looked at)", ylabel="query (looks)")
        left.tick_params(length=0)
        left.spines[:].set_visible(False)
        left.set_title("your map", loc="left")
        bar = figure.colorbar(drawn, ax=left, shrink=0.8, pad=0.02, format="{x:g}")
        bar.set_label("weight (stretched scale)")
        bar.set_ticks([0, 0.05, 0.25, 0.5, 1])
        right.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=1)
        right.scatter(own, made, s=18, color=ROLES["weights"], alpha=0.6, linewidths=0, zorder=2)
        right.set(xlabel="the model's weight", ylabel="your weight", aspect="equal")
        digit, power = apart.split("e")
        written = rf"${digit} \times 10^{{{int(power)}}}$" if digit != "0" else "0"
        right.set_title(f"largest difference {written}", loc="left")
        sns.despine(ax=right)
    return Picture(
        figure,
        f"Left the rebuilt map of layer {layer} head {head}, {count} tokens. Right each of its "
        f"{count * count} weights against the model's own; the largest difference is {apart}.",
    )
