"""Pictures of how heads compare with each other: their similarity, and the kinds they fall into."""

import itertools
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from attnlab.balance.anomalies import Clusters
from attnlab.balance.similarities import Similarity
from attnlab.classification.classifier import Classifier
from attnlab.errors import AttnlabError, suggest
from attnlab.heads.maps import AttentionMaps
from attnlab.show.plots.learning import RUN_COLOURS, RUN_MARKERS
from attnlab.show.plots.maps import readable
from attnlab.show.plots.picture import HALO, Picture, heatmap, style
from attnlab.show.wording import head_name

_MOST_TOKENS = 24  # of a small map
_MOST_MAPS = 6
_SIMILARITIES = {"js": "Jensen-Shannon divergence, bits", "cka": "CKA of contexts"}


def similarity(sim: Similarity, which: Literal["js", "cka"] = "js") -> Picture:
    """Draw how alike every two heads are, layers ruled off.

    Parameters
    ----------
    sim : of `balance.similarity`
    which : "js", the Jensen-Shannon divergence of their weights in bits (0: they look alike), or
        "cka", the likeness of their contexts (1: the same up to rotation and size)
    """
    if which not in _SIMILARITIES:
        raise AttnlabError(f"There is no similarity {which!r}. {suggest(which, _SIMILARITIES)}")
    values = np.array(getattr(sim, which), dtype=float)  # (P, P)
    others = np.where(np.eye(len(values), dtype=bool), np.nan, values)
    label = _SIMILARITIES[which]
    with style():
        figure, axes = plt.subplots(figsize=(6.9, 5.7), layout="constrained")
        heatmap(
            others,
            axes,
            cmap="cividis_r" if which == "js" else "cividis",  # light is alike in both
            vmin=0,
            vmax=float(np.nanmax(others)) or 1.0,
            square=True,
            xticklabels=False,
            yticklabels=False,
            cbar_kws={"label": f"{label} (light: alike)", "pad": 0.02, "shrink": 0.85},
        )
        _rule_off_layers(axes, np.array([layer for layer, _ in sim.heads], dtype=int))
    nearest = np.nanargmin if which == "js" else np.nanargmax
    a, b = np.unravel_index(nearest(others), others.shape)
    (layer, head), (layer_b, head_b) = sim.heads[a], sim.heads[b]
    alt = (
        f"Heat map of {label} between {len(values)} heads, mean {np.nanmean(others):.2f}. "
        f"Most alike: layer {layer} head {head} and layer {layer_b} head {head_b}, "
        f"{values[a, b]:.3f}."
    )
    return Picture(figure, alt)


def _rule_off_layers(axes: Axes, layer: np.ndarray) -> None:
    """Lines between layers, and their numbers, where ``layer`` (P,) is the layer of each head."""
    ends = (np.flatnonzero(np.diff(layer)) + 1).tolist()
    starts = [0, *ends]
    for end in ends:
        axes.axhline(end, color="white", linewidth=1.6)
        axes.axvline(end, color="white", linewidth=1.6)
    middles = [(a + b) / 2 for a, b in itertools.pairwise([*starts, len(layer)])]
    names = [f"{number}" for number in layer[starts]]
    axes.set_xticks(middles, names)
    axes.set_yticks(middles, names, rotation=0)
    axes.set(xlabel="layer (its heads in order)", ylabel="layer (its heads in order)")


def clusters(clusters: Clusters, clf: Classifier | None = None, text: str | None = None) -> Picture:
    """Draw heads where their measures put them: those that are near each other do alike.

    Parameters
    ----------
    clusters : of `balance.clusters`
    clf, text : both, to draw beside it how the most typical head of each cluster reads the text

    Named are the typical members, as in "L3H8". The small panel is why there are so many clusters:
    the number with the highest silhouette is taken.
    """
    if (clf is None) != (text is None):
        raise AttnlabError("For maps of typical heads give both clf and text, or neither.")
    maps = None if clf is None or text is None else clf.attend(text)
    typical = _typical_heads(clusters)
    with style():
        width = 0 if maps is None else 4.4
        figure = plt.figure(figsize=(6.2 + width, 4.9), layout="constrained")
        columns = 1 if maps is None else 2
        parts = figure.add_gridspec(1, columns, width_ratios=(6.2, 4.6)[:columns])
        left = parts[0].subgridspec(2, 1, height_ratios=(4.4, 1))
        _draw_clusters(figure.add_subplot(left[0]), clusters)
        _draw_silhouettes(figure.add_subplot(left[1]), clusters)
        if maps is not None:
            columns = 2 if len(typical) > 2 else 1
            cells = parts[1].subgridspec(-(-min(len(typical), _MOST_MAPS) // columns), columns)
            for group, head in enumerate(typical[:_MOST_MAPS]):
                axes = figure.add_subplot(cells[group // columns, group % columns])
                _draw_small_map(axes, maps, group, head)
        for axes in figure.axes[:2]:
            sns.despine(ax=axes)
    alt = _describe_clusters(clusters, typical)
    if text is not None:
        alt += f" Beside it the attention maps of the typical heads on {text!r}."
    return Picture(figure, alt)


def _typical_heads(clusters: Clusters) -> list[tuple[int, int]]:
    """(layer, head) of the most typical head of each cluster."""
    table = clusters.table
    typical = table[table["typical"].astype(bool)].drop_duplicates("cluster").set_index("cluster")
    rows = typical.loc[range(clusters.k), ["layer", "head"]].to_numpy(int)
    return [(int(layer), int(head)) for layer, head in rows]


def _looks(group: int) -> dict[str, Any]:
    """Colour and marker of a cluster."""
    return {
        "color": RUN_COLOURS[group % len(RUN_COLOURS)],
        "marker": RUN_MARKERS[group % len(RUN_MARKERS)],
    }


def _draw_clusters(axes: Axes, clusters: Clusters) -> None:
    """The heads as points, the typical ones with their names."""
    for group, part in clusters.table.groupby("cluster"):
        axes.scatter(
            part["x"],
            part["y"],
            label=f"{len(part)}: {clusters.names[group]}",
            s=34,
            linewidths=0.6,
            edgecolors="white",
            **_looks(group),
        )
        for head in part[part["typical"].astype(bool)].itertuples():
            axes.annotate(
                head_name(head),
                (head.x, head.y),
                xytext=(5, 3),
                textcoords="offset points",
                fontsize=9,
                path_effects=[HALO],
            )
    axes.set(xlabel="first principal axis", ylabel="second principal axis")
    axes.margins(0.08)
    axes.legend(
        frameon=False,
        fontsize=9,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        handletextpad=0.2,
        columnspacing=1.0,
    )


def _draw_silhouettes(axes: Axes, clusters: Clusters) -> None:
    """The silhouette of every number of clusters that was tried, the chosen one in colour."""
    counts = sorted(clusters.silhouettes)
    heights = [clusters.silhouettes[count] for count in counts]
    colours = [RUN_COLOURS[0] if count == clusters.k else "0.75" for count in counts]
    axes.bar(counts, heights, color=colours, width=0.7)
    for count, height in zip(counts, heights, strict=True):
        axes.text(count, max(height, 0), f"{height:.2f}", ha="center", va="bottom", fontsize=8)
    axes.set(xlabel="number of clusters", ylabel="silhouette")
    axes.set_xticks(counts)
    axes.set_yticks([])
    axes.margins(y=0.25)


def _draw_small_map(axes: Axes, maps: AttentionMaps, group: int, head: tuple[int, int]) -> None:
    """The attention of a cluster's most typical head (layer, head)."""
    shown = min(len(maps.tokens), _MOST_TOKENS)
    values = maps.of("weights")[head][:shown, :shown].detach().numpy()
    labels = [token.replace("$", r"\$") for token in readable(maps.tokens[:shown])]
    heatmap(
        values,
        axes,
        cmap="cividis",
        vmin=0,
        vmax=max(float(values.max()), 0.5),
        square=True,
        cbar=False,
        xticklabels=False,
        yticklabels=labels if shown <= 16 else False,
    )
    axes.tick_params(axis="y", rotation=0, labelsize=8, length=0)
    axes.set_xlabel("is looked at", fontsize=8)
    axes.set_ylabel("looks", fontsize=8)
    title = f"L{head[0]}H{head[1]}, the most typical"
    axes.set_title(title, fontsize=9, loc="left", color=_looks(group)["color"])


def _describe_clusters(clusters: Clusters, typical: list[tuple[int, int]]) -> str:
    """Alt text: how many heads are like which typical one."""
    table = clusters.table
    sizes = ", ".join(
        f"{(table['cluster'] == group).sum()} like layer {layer} head {head} ({name})"
        for group, ((layer, head), name) in enumerate(zip(typical, clusters.names, strict=True))
    )
    best = clusters.silhouettes.get(clusters.k)
    why = "" if best is None else f" (silhouette {best:.2f})"
    return f"{len(table)} heads in {len(typical)} clusters{why}: {sizes}."
