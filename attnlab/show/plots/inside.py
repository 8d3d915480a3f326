"""Pictures of the inside of a language model: what heads do, and what each layer would say."""

import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from attnlab.errors import AttnlabError
from attnlab.language.induction import VOCABULARY
from attnlab.language.looking import HeadScores
from attnlab.show.plots.learning import RUN_COLOURS, RUN_DASHES
from attnlab.show.plots.maps import head_map
from attnlab.show.plots.picture import HALO, Picture, heatmap, ink_on, need, style
from attnlab.show.wording import plain

_MOST_TOKENS = 16  # of a logit lens: more cells cannot be read
_LONGEST = 9  # characters of a token in a cell


def head_scores(scores: HeadScores | dict[str, HeadScores]) -> Picture:
    """Draw what each head scores, layers down and heads across, one map for each score.

    Parameters
    ----------
    scores : of `previous_token_scores`, `induction_scores` or `sink_shares`, or a name for each of
        several

    Colours go from 0 to 1 in all maps, so that they can be compared. The title says what a head
    would score that looks at all tokens it may see alike.
    """
    named = {"weight": scores} if isinstance(scores, HeadScores) else dict(scores)
    if not named:
        raise AttnlabError("There are no scores to draw. Give at least one, with its name.")
    layers, heads = next(iter(named.values())).scores.shape
    cell = min(0.62, 6.0 / max(heads, layers))
    across = len(named)
    with style():
        size = across * (0.9 + cell * max(heads, 3)) + 1.0, 1.25 + cell * 0.75 * max(layers, 2)
        figure, panels = plt.subplots(1, across, figsize=size, layout="constrained", squeeze=False)
        for axes, (name, own) in zip(panels[0], named.items(), strict=True):
            heatmap(
                own.scores.numpy(),
                axes,
                cmap="cividis",
                vmin=0,
                vmax=1,
                annot=layers * heads <= 100,
                fmt=".2f",
                annot_kws={"size": 9},
                linewidths=0.5,
                cbar=False,
            )
            axes.set(xlabel="head", ylabel="layer")
            axes.tick_params(axis="both", rotation=0)
            title = f"{plain(name, 40)}\nuniform {own.uniform:.2f}"
            axes.set_title(title, loc="left", fontsize=10)
        bar = figure.colorbar(panels[0, 0].collections[0], ax=panels, pad=0.02)
        bar.set_label("mean weight")
    told = []
    for name, own in named.items():
        layer, head = own.best
        told.append(
            f"{plain(name, 40)}: highest {float(own.scores.max()):.2f} at layer {layer} head "
            f"{head}, a uniform head {own.uniform:.2f}"
        )
    return Picture(figure, f"Maps of {layers} layers by {heads} heads. {'; '.join(told)}.")


def head_ablation(table: pd.DataFrame, title: str | None = None) -> Picture:
    """Draw what each head is worth: the change of bits without it; red heads are needed.

    Parameters
    ----------
    table : of `ablate_language_model`
    title : above the picture
    """
    need(table, ("layer", "head", "delta", "ci_low", "ci_high"), "ablate_language_model")
    values = table.pivot(index="layer", columns="head", values="delta").to_numpy()
    unit = table.attrs.get("unit", "bits")
    return head_map(values, title=title, label=f"change, {unit}\n(red: needed)")


def induction(history: pd.DataFrame | dict[str, pd.DataFrame]) -> Picture:
    """Draw how a model learns to repeat: the loss of the second half, and its heads' best scores.

    Parameters
    ----------
    history : of `train_induction`, or a name for each of several, such as "two layers"
    """
    named = {"": history} if isinstance(history, pd.DataFrame) else dict(history)
    for own in named.values():
        need(own, ("step", "loss", "induction", "previous_token"), "train_induction")
    looks = list(zip(RUN_COLOURS, RUN_DASHES, strict=True))
    with style():
        figure, (left, right) = plt.subplots(
            2, 1, figsize=(7.2, 5.2), layout="constrained", sharex=True, height_ratios=(1.2, 1)
        )
        for (name, own), (colour, dashes) in zip(named.items(), looks, strict=False):
            line = {"color": colour, "linestyle": (0, dashes) if dashes else "-", "linewidth": 2}
            left.plot(own["step"], own["loss"], label=name or "second half", **line)
            right.plot(
                own["step"], own["induction"], label=f"{name}: induction".removeprefix(": "), **line
            )
            right.plot(
                own["step"],
                own["previous_token"],
                label=f"{name}: previous token".removeprefix(": "),
                **line | {"linewidth": 0.9},
            )
        _note_chance(left)
        left.set(ylabel="loss of the second half, nats", ylim=(0, None))
        right.set(xlabel="step", ylabel="highest score of a head", ylim=(-0.02, 1.02))
        for axes in (left, right):
            axes.grid(axis="y", color="0.93")
            axes.legend(
                loc="lower left",
                bbox_to_anchor=(-0.01, 1),
                ncols=max(2, len(named)),
                frameon=False,
                fontsize=9,
            )
        sns.despine(figure)
    told = []
    for name, own in named.items():
        last = own.iloc[-1]
        told.append(
            f"{name + ': ' if name else ''}loss from {own['loss'].iloc[0]:.2f} to "
            f"{last['loss']:.2f} nats in {last['step']:.0f} steps{_fall(own)}; at the end the best "
            f"induction score is {last['induction']:.2f}, the best previous-token score "
            f"{last['previous_token']:.2f}"
        )
    return Picture(figure, f"Training on repeated sequences. {'. '.join(told)}.")


def _fall(history: pd.DataFrame) -> str:
    """When the loss fell below half of what it was at first, in words."""
    below = history.loc[history["loss"] < history["loss"].iloc[0] / 2, "step"]
    return f", below half after {below.iloc[0]:.0f}" if len(below) else ", never below half"


def logit_lens(table: pd.DataFrame, title: str | None = None) -> Picture:
    """Draw what each layer would predict, layers upwards, the tokens read across.

    In each cell stands the likeliest next token after that layer; its colour is its probability. A
    frame marks the token that did come next.

    Parameters
    ----------
    table : of `lens_table`; of a longer text the first 16 positions are drawn
    title : above the picture
    """
    columns = ("layer", "position", "token", "top", "probability", "next")
    need(table, columns, "language.lens_table")
    shown = table[table["position"] < _MOST_TOKENS]
    shares = shown.pivot(index="layer", columns="position", values="probability").sort_index(
        ascending=False
    )
    tops, nexts = (
        shown.pivot(index="layer", columns="position", values=name).loc[shares.index].to_numpy()
        for name in ("top", "next")
    )
    words = [_piece(word) for word in tops.ravel()]
    layers, tokens = shares.shape
    read = shown[shown["layer"] == shares.index[0]].sort_values("position")["token"]
    came = [_piece(word) if isinstance(word, str) else "" for word in nexts[0]]
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        widest = max(4, *(len(word) for word in [*words, *came]))
        size = 1.6 + (0.16 + 0.085 * widest) * tokens, 1.5 + 0.42 * layers
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        heatmap(
            shares.to_numpy(),
            axes,
            cmap="cividis",
            vmin=0,
            vmax=1,
            annot=np.array(words).reshape(layers, tokens),
            fmt="",
            annot_kws={"size": 9},
            linewidths=0.5,
            xticklabels=[_piece(word) for word in read],
            yticklabels=[str(layer - 1) if layer else "embedding" for layer in shares.index],
            cbar_kws={"label": "its probability", "pad": 0.02},
        )
        _frame(axes, tops == nexts)
        axes.tick_params(axis="both", rotation=0, labelsize=9)
        above = axes.secondary_xaxis("top")
        above.set_xticks(np.arange(tokens) + 0.5, came, fontsize=9)
        above.tick_params(length=0)
        above.spines["top"].set_visible(False)
        above.set_xlabel("came next (framed where predicted)", fontsize=10)
        cut = f", first {tokens} of {table['position'].nunique()}"
        longer = tokens < table["position"].nunique()
        axes.set(xlabel="read" + (cut if longer else ""), ylabel="after layer")
        if title:
            figure.suptitle(title, x=0.02, ha="left", fontsize=11)
    right = (tops == nexts)[:, [bool(word) for word in came]]
    told = ", ".join(
        f"{hits.sum()} after {f'layer {layer - 1}' if layer else 'the embedding'}"
        for layer, hits in zip(shares.index[::-1], right[::-1], strict=True)
    )
    alt = (
        f"Logit lens over {tokens} tokens: the likeliest next token after each layer. "
        f"Right of {right.shape[1]} that came next: {told}."
    )
    return Picture(figure, alt)


def _frame(axes: Axes, marked: np.ndarray) -> None:
    """Frame the marked cells (rows, columns) of a heat map, in what can be seen on their colour."""
    colours: Any = axes.collections[0].get_facecolor()
    for row, column in np.argwhere(marked):
        ink = ink_on(colours[row * marked.shape[1] + column])
        place, size = (column + 0.05, row + 0.07), (0.9, 0.86)
        axes.add_patch(plt.Rectangle(place, *size, fill=False, edgecolor=ink, linewidth=1.6))


def _piece(token: str) -> str:
    """A token as it fits a cell."""
    return plain(token, _LONGEST)


def _note_chance(axes: Axes) -> None:
    """The loss of a guess among all tokens of repeated sequences."""
    chance = float(np.log(VOCABULARY))
    axes.axhline(chance, color="0.35", linestyle=":", linewidth=1.2)
    axes.annotate(
        f"a guess: {chance:.2f}",
        (1, chance),
        xycoords=("axes fraction", "data"),
        xytext=(0, -3),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        path_effects=[HALO],
    )
