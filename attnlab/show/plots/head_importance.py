"""Pictures of several measures of every head: how each ranks them, and how far the ranks agree."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import SIGNED, Picture, heatmap, need, style
from attnlab.show.wording import number, plain, rounded

_MOST_NAMED = 5  # ranks that are written


def importances(table: pd.DataFrame, title: str | None = None) -> Picture:
    """Draw several measures of every head side by side, each by rank: light is important.

    Parameters
    ----------
    table : a row per head: ``layer``, ``head``, and a column for each measure, the larger the more
        important

    The five most important heads of each measure carry their rank. For a single measure see
    `head_map`, which draws its values.
    """
    names, values = _measures(table, ("layer", "head"))
    layer, head = table[["layer", "head"]].to_numpy(int).T
    layers, heads = layer.max() + 1, head.max() + 1
    columns = min(len(names), 2)
    rows = -(-len(names) // columns)
    cell = min(0.32, 4.0 / heads)
    size = (columns * (0.6 + cell * heads) + 1.1, rows * (0.75 + cell * layers))
    with style():
        figure, panels = plt.subplots(
            rows,
            columns,
            figsize=size,
            layout="constrained",
            squeeze=False,
            sharex=True,
            sharey=True,
        )
        for axes in panels.flat[len(names) :]:
            axes.set_axis_off()
        drawn = list(panels.flat[: len(names)])
        for axes, name, measured in zip(drawn, names, values.T, strict=True):
            rank = np.full((layers, heads), np.nan)
            rank[layer, head] = stats.rankdata(-measured, nan_policy="omit")
            _draw_ranks(axes, rank, len(table))
            axes.set_title(_label(name), loc="left")
        for axes in drawn[-columns:]:
            axes.set_xlabel("head")
            axes.tick_params(axis="x", labelbottom=True)  # also above an empty place
        for axes in panels[:, 0]:
            axes.set_ylabel("layer")
        bar = figure.colorbar(drawn[0].collections[0], ax=panels, pad=0.02, shrink=0.8)
        bar.ax.invert_yaxis()
        bar.outline.set_visible(False)
        bar.set_label(f"rank among {len(table)} heads, 1 is the most important")
        bar.set_ticks([1, len(table)])
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    tops = [table.iloc[order] for order in np.argsort(-np.nan_to_num(values, nan=-np.inf), 0)[0]]
    told = [
        f"layer {top['layer']:.0f} head {top['head']:.0f} by {_label(name)}"
        for name, top in zip(names, tops, strict=True)
    ]
    about = title or "Importance of heads"
    return Picture(figure, f"{about}: {len(table)} heads by rank. First is {', '.join(told)}.")


def _draw_ranks(axes: Axes, rank: np.ndarray, heads: int) -> None:
    """A map of ranks (L, H), NaN where there is no head; the first ones are written."""
    written = np.where(rank <= _MOST_NAMED, np.nan_to_num(rank).astype(int).astype(str), "")
    heatmap(
        rank,
        axes,
        cmap="cividis_r",
        vmin=1,
        vmax=heads,
        cbar=False,
        annot=written,
        fmt="",
        annot_kws={"size": 10, "weight": "bold"},
        linewidths=0.5,
    )
    axes.tick_params(axis="both", rotation=0)


def agreement(table: pd.DataFrame) -> Picture:
    """Draw how far measures rank alike: Spearman's correlations, in a triangle.

    Purple: they rank alike; orange: one ranks high what the other ranks low.

    Parameters
    ----------
    table : a column for each measure and a row for each head (columns ``layer`` and ``head`` may
        stand beside them); or the result of `evaluation.agreement`, whose intervals then are
        written too
    """
    pairwise = {"first", "second", "correlation", "ci_low", "ci_high"} <= set(table.columns)
    matrix, notes, about = _given(table) if pairwise else _correlated(table)
    names = list(matrix.columns)
    below = np.tril(np.ones(matrix.shape, dtype=bool), -1)[1:, :-1]
    labels = [_label(name).replace(" ", "\n", 1) for name in names]
    cell = min(1.15 if pairwise else 0.95, 9 / (len(names) - 1))
    with style():
        size = (2.4 + cell * (len(names) - 1), 1.4 + 0.62 * (len(names) - 1))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        heatmap(
            matrix.iloc[1:, :-1],
            axes,
            mask=~below,
            cmap=SIGNED,
            vmin=-1,
            vmax=1,
            annot=notes.iloc[1:, :-1],
            fmt="",
            annot_kws={"size": 10},
            linewidths=1,
            xticklabels=labels[:-1],
            yticklabels=labels[1:],
            cbar_kws={"label": "Spearman's ρ", "pad": 0.02, "ticks": [-1, -0.5, 0, 0.5, 1]},
        )
        axes.tick_params(axis="both", rotation=0)
        axes.set_xlabel(about, loc="left", labelpad=8, fontsize=9)
    pairs = [
        (float(matrix.iloc[i, j]), _label(names[j]), _label(names[i]))
        for i in range(len(names))
        for j in range(i)
    ]
    best = max(pairs, key=lambda pair: pair[0])
    worst = min(pairs, key=lambda pair: pair[0])
    alt = (
        f"Rank correlations of {len(names)} measures ({about}): highest {rounded(best[0])} between "
        f"{best[1]} and {best[2]}, lowest {rounded(worst[0])} between {worst[1]} and {worst[2]}."
    )
    return Picture(figure, alt)


def _given(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Correlations of a table that has them, what is written in the cells, and what they are of."""
    names = list(dict.fromkeys([*table["first"], *table["second"]]))
    matrix = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    notes = matrix.astype(object)
    for row in table.to_dict("records"):
        interval = f"[{number(row['ci_low'], 2)}, {number(row['ci_high'], 2)}]"
        for cell in ((row["first"], row["second"]), (row["second"], row["first"])):
            matrix.loc[cell] = row["correlation"]
            notes.loc[cell] = f"{number(row['correlation'], 2)}\n{interval}"
    return matrix, notes, f"mean over {table['texts'].max()} texts, with 95 % interval"


def _correlated(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The same, computed from measures of every head."""
    names, values = _measures(table, ())
    count = int(np.isfinite(values).all(1).sum())
    matrix = pd.DataFrame(values, columns=names).corr(method="spearman")
    student = stats.t.ppf(0.975, count - 2) if count > 2 else np.inf
    limit = student / np.sqrt(count - 2 + student**2) if np.isfinite(student) else 1
    about = f"{count} heads; by chance alone up to ±{limit:.2f}, 95 times in 100"
    return matrix, matrix.map(lambda share: number(share, 2)), about


def _measures(table: pd.DataFrame, columns: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """Names and values (heads, measures) of what a table measures on every head."""
    need(table, columns, "your measures, a row per head")
    names = [str(name) for name in table.columns if name not in ("layer", "head")]
    text = [name for name in names if not pd.api.types.is_numeric_dtype(table[name])]
    if text or len(names) < 2:
        why = f"{text[0]!r} holds no numbers" if text else f"there is {len(names)}"
        raise AttnlabError(
            f"At least two measures are needed, a column of numbers for each; {why}."
        )
    values = table[names].to_numpy(float)
    for name, measured in zip(names, values.T, strict=True):
        if not np.nanmax(measured, initial=-np.inf) > np.nanmin(measured, initial=np.inf):
            raise AttnlabError(
                f"{name!r} is the same for every head, so it ranks none. Leave it out."
            )
    return names, values


def _label(name: str) -> str:
    return plain(name.replace("_", " "))
