"""Pictures of where heads look: how widely, and how much at special tokens."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from attnlab.show.plots.learning import RUN_COLOURS, RUN_DASHES
from attnlab.show.plots.picture import HALO, Picture, need, style

_BLUE, _ORANGE, _GREEN = RUN_COLOURS[0], RUN_COLOURS[1], RUN_COLOURS[3]


def entropy(profiles: pd.DataFrame) -> Picture:
    """Draw how widely each head looks, layer by layer, as figure 4 of Clark et al. 2019 does.

    Parameters
    ----------
    profiles : of `evaluation.profiles`
    """
    need(profiles, ("layer", "head", "entropy"), "evaluation.profiles")
    table = profiles.dropna(subset="entropy")
    means = table.groupby("layer")["entropy"].mean()
    low, high = table.loc[table["entropy"].idxmin()], table.loc[table["entropy"].idxmax()]
    uniform = profiles.attrs.get("uniform_entropy")
    with style():
        figure, axes = plt.subplots(figsize=(6.8, 3.8), layout="constrained")
        axes.plot(means.index, means, color=_BLUE, linewidth=2, label="mean of the layer")
        axes.plot(
            table["layer"],
            table["entropy"],
            "o",
            color=_BLUE,
            alpha=0.45,
            mew=0,
            label="a head",
            clip_on=False,
        )
        for head in (low, high):
            axes.annotate(
                f"head {head['head']:.0f}",
                (head["layer"], head["entropy"]),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                path_effects=[HALO],
            )
        if uniform is not None:
            _draw_uniform(axes, uniform)
        _mark_layers(axes, profiles)
        axes.set_ylabel("entropy of a row, nats")
        axes.set_ylim(-0.05 * axes.get_ylim()[1], None)  # room for a head at 0
        axes.legend(
            frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, fontsize=9
        )
        sns.despine(figure)
    alt = (
        f"Entropy of {len(table)} heads by layer: layer means from {means.min():.2f} nats in layer "
        f"{means.idxmin()} to {means.max():.2f} in layer {means.idxmax()}; most pointed layer "
        f"{low['layer']:.0f} head {low['head']:.0f} with {low['entropy']:.2f}, widest layer "
        f"{high['layer']:.0f} head {high['head']:.0f} with {high['entropy']:.2f}"
        + ("." if uniform is None else f"; looking at all tokens alike would be {uniform:.2f}.")
    )
    return Picture(figure, alt)


def _draw_uniform(axes: Axes, uniform: float) -> None:
    """A line at the entropy of looking at all tokens alike, nats."""
    axes.axhline(uniform, color="0.35", linestyle="--", linewidth=1.4)
    axes.annotate(
        f"all tokens alike: {uniform:.2f}",
        (1, uniform),
        xytext=(0, -4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        path_effects=[HALO],
    )


def special_shares(profiles: pd.DataFrame) -> Picture:
    """Draw how much weight falls on [CLS], [SEP] and the text, as figure 2 of Clark et al. 2019.

    Parameters
    ----------
    profiles : of `evaluation.profiles`

    Beside it stands how much special tokens contribute, which is less where their value vectors are
    short (Kobayashi et al. 2020).
    """
    needed = ("layer", "head", "cls", "sep", "special", "contribution_special")
    need(profiles, needed, "evaluation.profiles")
    table = profiles.dropna(subset="special").assign(rest=lambda rows: 1 - rows["special"])
    shares = ["cls", "sep", "rest", "contribution_special"]
    means = 100 * table.groupby("layer")[shares].mean()
    special = means["cls"] + means["sep"]
    with style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9.4, 3.9), sharey=True, sharex=True, layout="constrained"
        )
        _draw_shares(left, table, means)
        _draw_special(right, special, means["contribution_special"])
        left.set(ylabel="share, %", ylim=(-2, 100))
        left.set_title("Where weight falls", loc="left", pad=24)
        right.set_title("Share of [CLS] and [SEP]", loc="left", pad=24)
        for axes in (left, right):
            _mark_layers(axes, profiles)
            axes.grid(axis="y", color="0.93")
            axes.legend(
                frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 0.98), ncols=3, fontsize=9
            )
        sns.despine(figure)
    mean = 100 * table[shares].mean()
    top = special.idxmax()
    alt = (
        f"Where the weight of {len(table)} heads falls: {mean['cls']:.0f} % on [CLS], "
        f"{mean['sep']:.0f} % on [SEP], {mean['rest']:.0f} % on the text. Special tokens get most "
        f"in layer {top}, {special[top]:.0f} %. Of what heads add, "
        f"{mean['contribution_special']:.0f} % comes from them."
    )
    return Picture(figure, alt)


def _draw_shares(axes: Axes, table: pd.DataFrame, means: pd.DataFrame) -> None:
    """What falls where: a point for each head, a line through the means of layers, %."""
    kinds = {
        "cls": ("on [CLS]", _BLUE, "o", "-", -0.12),
        "sep": ("on [SEP]", _ORANGE, "s", (0, RUN_DASHES[1]), 0),
        "rest": ("on the text", _GREEN, "^", (0, RUN_DASHES[3]), 0.12),
    }
    for name, (label, color, marker, line, shift) in kinds.items():
        axes.plot(
            table["layer"] + shift,
            100 * table[name],
            alpha=0.35,
            mew=0,
            ls="",
            ms=4,
            color=color,
            marker=marker,
        )
        axes.plot(
            means.index, means[name], lw=2, linestyle=line, label=label, color=color, marker=marker
        )


def _draw_special(axes: Axes, weight: pd.Series, added: pd.Series) -> None:
    """Of special tokens by layer: the share of the weight, and of what heads add, %."""
    axes.plot(weight.index, weight, color="0.25", marker="D", lw=2, label="of the weight")
    axes.plot(
        added.index,
        added,
        color=RUN_COLOURS[5],
        label="of what heads add (contributions)",
        marker="v",
        lw=2,
        linestyle=(0, RUN_DASHES[1]),
    )


def _mark_layers(axes: Axes, profiles: pd.DataFrame) -> None:
    """Whole layers at the horizontal axis."""
    last = int(profiles["layer"].max())
    axes.set(xlabel="layer", xlim=(-0.4, last + 0.6))
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
