"""A token that heads rest on: how much of their weight it gets, and how much it adds."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes

from attnlab.errors import AttnlabError
from attnlab.heads.maps import AttentionMaps
from attnlab.show.plots.picture import HALO, ROLES, Picture, style
from attnlab.show.wording import number


def sink(readings: Sequence[AttentionMaps]) -> Picture:
    """Draw, by layer, what the first token gets, what it adds, and how long its vector is.

    Parameters
    ----------
    readings : from clf.attend(text), one for each text of at least three tokens

    Left its shares of a layer's weight and of what the layer's heads add, where *added* is the sum
    over queries of weight × length of the vector; right that length, what a head would add with
    the weight 1, for the first token and for the mean of the words between first and last. All are
    means over the texts. Lengths are added, so vectors that cancel are counted twice (Kobayashi et
    al. 2020).
    """
    if not readings or any(len(one.tokens) < 3 for one in readings):
        raise AttnlabError("sink needs maps of texts with a word or more, from clf.attend(text).")
    shares, lengths = (
        torch.stack(one).mean(0).detach().numpy() for one in zip(*map(_of, readings), strict=True)
    )
    name = readings[0].tokens[0]
    even = 100 * float(np.mean([1 / len(one.tokens) for one in readings]))
    with style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(8.4, 3.2), width_ratios=(1.35, 1), layout="constrained"
        )
        _bars(left, shares, ("of the weight", "of what is added"), ("weights", "value"), even=even)
        left.axhline(even, color="0.25", linewidth=1, linestyle=":", zorder=0.5)
        beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
        left.annotate(f" even\n share,\n {even:.0f} %", (1, even), **beside)
        left.set(ylabel=f"share of {name}, %")
        _bars(right, lengths, (name, "a word"), ("output", "frozen"), decimals=1)
        right.set(ylabel="length of the vector")
        sns.despine(figure)
    told = "; ".join(
        f"layer {layer} {number(weight, 0)} and {number(added, 0)} % (length {number(own, 2)}, "
        f"a word {number(word, 2)})"
        for layer, ((weight, added), (own, word)) in enumerate(zip(shares, lengths, strict=True))
    )
    return Picture(figure, f"Shares of {name} in the weight and in what is added: {told}.")


def _of(one: AttentionMaps) -> tuple[torch.Tensor, torch.Tensor]:
    """By layer: shares in %, and lengths of the vectors, (L, 2) each."""
    weight, added = one.weights.sum((1, 2)), one.contributions.sum((1, 2))  # (L, T)
    shares = [100 * part[:, 0] / part.sum(1) for part in (weight, added)]
    vector = (one.contributions.sum(2) / one.weights.sum(2)).mean(1)  # (L, T)
    return torch.stack(shares, -1), torch.stack([vector[:, 0], vector[:, 1:-1].mean(1)], -1)


def _bars(
    axes: Axes,
    pairs: np.ndarray,
    names: tuple[str, str],
    roles: tuple[str, str],
    decimals: int = 0,
    even: float = -math.inf,
) -> None:
    """Two bars for each layer, with their numbers, which stand clear of a line at ``even``."""
    highest = 1.14 * pairs.max()
    for place, name, role, values in zip((-0.2, 0.2), names, roles, pairs.T, strict=True):
        bars = axes.bar(np.arange(len(pairs)) + place, values, 0.38, color=ROLES[role], label=name)
        written = [number(value, decimals) for value in values]
        aside = math.copysign(2.5, place) if decimals else 0.0  # wide numbers clear the other bar
        for bar, value, text in zip(bars, values, written, strict=True):
            crossed = value <= even < value + 0.1 * highest  # the line would strike it through
            middle, foot = bar.get_x() + bar.get_width() / 2, even if crossed else value
            beside: dict[str, Any] = {"textcoords": "offset points", "ha": "center"}
            axes.annotate(
                text,
                (middle, foot),
                (aside, 3),
                fontsize=9,
                path_effects=[HALO],
                zorder=5,
                **beside,
            )
    axes.set_xticks(range(len(pairs)))
    axes.set(xlabel="layer", ylim=(0, highest))
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
