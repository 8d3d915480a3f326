"""Every head as a small map of its weights, side by side."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import PowerNorm

from attnlab.errors import AttnlabError
from attnlab.heads.maps import AttentionMaps
from attnlab.show.plots.maps import MAX_TOKENS, WEIGHT_TICKS, readable
from attnlab.show.plots.picture import ROLES, Picture, style
from attnlab.show.wording import rounded


def attention_grid(
    maps: AttentionMaps,
    framed: Sequence[tuple[int, int]] = (),
    layers: Sequence[int] | None = None,
    across: int | None = None,
    cmap: str = "cividis",
) -> Picture:
    """Draw the weights of every head as a small map: layers down, heads across.

    In each map rows look at columns, as in `attention_map`; above it stands the name of the head,
    such as 3.9. All share one scale, by the square root of the weight, so that small weights can be
    told apart. Of a long text the first `MAX_TOKENS` tokens are drawn. ``framed`` are heads, as
    (layer, head), that get a frame; ``layers`` those that are drawn, default all; ``across`` how
    many maps stand in a row, default all of a layer. ``cmap`` is a colour map of matplotlib's.
    """
    chosen = list(range(maps.layers)) if layers is None else list(layers)
    for place in [*framed, *((layer, None) for layer in chosen)]:
        maps.check_place(*place)
    if across is not None and across < 1:
        raise AttnlabError(f"across is how many maps stand in a row, 1 or more; got {across}.")
    shown = min(len(maps.tokens), MAX_TOKENS)
    weights = maps.weights[chosen, :, :shown, :shown].detach().numpy()  # (L, H, T, T)
    heads = weights.shape[1]
    wide = min(across or heads, heads)
    per_layer = -(-heads // wide)  # rows
    several = per_layer > 1
    rows, gap = len(chosen) * per_layer, max(2, shown // 6)
    side, step = shown + gap, shown + max(gap, round((0.34 if several else 0.46) * shown))
    whole = np.full(((rows - 1) * step + shown, wide * side - gap), np.nan)
    corners = {  # of each map, its left and its top
        (layer, head): (head % wide * side, (index * per_layer + head // wide) * step)
        for index, layer in enumerate(chosen)
        for head in range(heads)
    }
    for (layer, head), (left, top) in corners.items():
        whole[top : top + shown, left : left + shown] = weights[chosen.index(layer), head]
    each = 0.83 if several else 0.62  # inches
    with style():
        figure, axes = plt.subplots(figsize=(1.3 + each * wide, 0.7 + each * step / side * rows))
        drawn = axes.imshow(whole, cmap=cmap, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
        edges = [plt.Rectangle((x - 0.5, y - 0.5), shown, shown) for x, y in corners.values()]
        # weights near 0 may be white, as the page is
        axes.add_collection(PatchCollection(edges, facecolor="none", edgecolor="#d0d0d0", lw=0.6))
        for place in framed:
            left, top = corners[place]
            looks: dict[str, Any] = {"fill": False, "ec": ROLES["trained"], "lw": 2.4}
            frame = plt.Rectangle((left - 1.2, top - 1.2), shown + 1.4, shown + 1.4, **looks)
            frame.set_clip_on(False)
            axes.add_patch(frame)
        _name_maps(axes, corners, shown, framed)
        bar = figure.colorbar(drawn, ax=axes, pad=0.02, shrink=0.7, aspect=28)
        bar.set_ticks(WEIGHT_TICKS, labels=[f"{tick:g}" for tick in WEIGHT_TICKS])
        bar.set_label("weight (stretched scale)")
    names = ", ".join(f"layer {layer} head {head}" for layer, head in framed)
    return Picture(figure, _patterns(maps, chosen) + (f" Framed: {names}." if framed else ""))


def _name_maps(
    axes: Axes,
    corners: dict[tuple[int, int], tuple[int, int]],
    shown: int,
    framed: Sequence[tuple[int, int]],
) -> None:
    """Write above each small map which head it is; where a row is a layer, also the layer."""
    middle = (shown - 1) / 2
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (layer, head), (left, top) in corners.items():
        has_frame = (layer, head) in framed
        bold, above = ("bold", 2.2) if has_frame else ("normal", 1.1)
        looks: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 7.5}
        axes.text(left + middle, top - above, f"L{layer}H{head}", fontweight=bold, **looks)
    columns = sorted({left for left, _ in corners.values()})
    rows = {top: layer for (layer, _), (_, top) in corners.items()}
    axes.set_xticks([left + middle for left in columns], [""] * len(columns))
    if len(set(rows.values())) == len(rows):
        axes.set_yticks([top + middle for top in rows], [str(layer) for layer in rows.values()])
        axes.set(ylabel="layer")
    else:
        axes.set_yticks([])


def _patterns(maps: AttentionMaps, chosen: list[int]) -> str:
    """Alt text of these layers: the heads with the clearest column and the clearest diagonal."""
    weights, tokens = maps.weights[chosen].detach(), readable(maps.tokens)
    layers, heads, count = weights.shape[:3]
    received = weights.mean(2)  # (L, H, T)
    layer, head, token = np.unravel_index(int(received.argmax()), tuple(received.shape))
    told = (
        f"Maps of {layers} layers by {heads} heads over {count} tokens. Clearest column: layer "
        f"{chosen[layer]}, head {head}, in which tokens give {rounded(float(received.max()))} of "
        f"their weight to {tokens[token]!r} on average."
    )
    if count < 3:
        return told
    offsets = {"the token before": -1, "itself": 0, "the next token": 1}
    found = {
        name: weights.diagonal(offset, -2, -1).mean(-1) for name, offset in offsets.items()
    }  # (L, H) each
    name = max(found, key=lambda one: float(found[one].max()))
    layer, head = np.unravel_index(int(found[name].argmax()), (layers, heads))
    return (
        f"{told} Clearest diagonal: layer {chosen[layer]}, head {head}, in which a token gives "
        f"{rounded(float(found[name].max()))} to {name}."
    )
