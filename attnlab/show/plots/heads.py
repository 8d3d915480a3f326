"""Pictures of many heads: what each does, where it looks, and how far measures of it agree."""

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from scipy import stats

from attnlab.errors import AttnlabError, suggest
from attnlab.evaluation.evaluator import Score
from attnlab.show.plots.learning import RUN_COLOURS, RUN_DASHES, RUN_MARKERS
from attnlab.show.plots.maps import MAX_TOKENS, readable
from attnlab.show.plots.picture import HALO, Picture, plain, style
from attnlab.statistics import benjamini_hochberg

Value = Literal["loss_delta", "delta"]
_BLUE, _ORANGE, _GREEN = RUN_COLOURS[0], RUN_COLOURS[1], RUN_COLOURS[3]
_ORDERS = {
    "gradient": "by gradient",
    "ablation": "by ablation",
    "weights": "by size of weights",
    "given": "in the order given",
}


# ── what heads do ──────────────────────────────────────────────────────────────────────────────


def pruning(
    path: pd.DataFrame, neutral: Score | None = None, chance: float | None = None
) -> Picture:
    """Draw accuracy as heads are taken away, a line for each order in which they go.

    Parameters
    ----------
    path : of `Evaluator.prune_path`, or several of them, one below the other (``pd.concat``). Of an order with
        several seeds the mean is drawn, and a band from the lowest to the highest.
    neutral : Score with all heads on; by default the row of the table where none is off
    chance : accuracy of always giving the most frequent answer, 0 to 1

    As in Michel et al. 2019 ("Are sixteen heads really better than one?"), section 4. The grey band is one
    standard error to both sides of the neutral accuracy.
    """
    _need(
        path,
        ("order", "seed", "heads_off", "heads_on", "accuracy", "stderr"),
        "Evaluator.prune_path",
    )
    whole = path[path["heads_off"] == 0]
    if neutral is None and whole.empty:
        raise AttnlabError(
            "No row of this path has all heads on, so there is nothing to compare with. "
            "Pass neutral=ev.score()."
        )
    start, error = (neutral or whole.iloc[0]).accuracy, (neutral or whole.iloc[0]).stderr
    total = int((path["heads_off"] + path["heads_on"]).max())
    with style():
        figure, axes = plt.subplots(figsize=(8.2, 4.4), layout="constrained")
        axes.axhspan(
            100 * (start - error), 100 * (start + error), fc="none", ec="0.6", hatch="////", lw=0.5
        )
        for name, table, looks in _orders(path):
            places, mean = table.index.to_numpy(), 100 * table["mean"]
            if (table["seeds"] > 1).any():
                low, high = 100 * table["min"], 100 * table["max"]
                axes.fill_between(places, low, high, color=looks["color"], alpha=0.22, lw=0)
            axes.plot(places, mean, label=name, linewidth=2, markersize=5, **looks)
        words = f"all heads on, {100 * start:.1f} ± {100 * error:.1f} (one standard error)"
        handles = [
            *axes.get_legend_handles_labels()[0],
            Patch(fc="none", ec="0.6", hatch="////", label=words),
        ]
        if chance is not None:
            axes.axhline(100 * chance, color="0.35", linestyle=":", linewidth=1.4)
            line = {"color": "0.35", "linestyle": ":", "linewidth": 1.4}
            always = f"always the most frequent answer, {100 * chance:.1f}"
            handles.append(Line2D([], [], label=always, **line))
        axes.legend(
            handles=handles,
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=2,
            fontsize=9,
        )
        axes.set(xlabel=f"heads taken away, of {total}", ylabel="accuracy, %")
        axes.set_xlim(-0.02 * total, 1.02 * total)
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True, steps=[1, 2, 3, 4, 6, 10]))
        axes.grid(axis="y", color="0.93")
        sns.despine(figure)
    return Picture(figure, _describe_pruning(path, start, error, total))


def _orders(path: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Each order: its name, accuracies by the number of heads off, and how its line looks."""
    looks = list(zip(RUN_COLOURS, RUN_DASHES, RUN_MARKERS, strict=True))
    kinds = itertools.cycle(looks[:2] + looks[3:])
    for order, part in path.groupby("order", sort=False):
        accuracy = part.groupby("heads_off")["accuracy"]
        table = accuracy.agg(["mean", "min", "max"]).assign(seeds=accuracy.size())
        seeds = part["seed"].nunique()
        name = _ORDERS.get(str(order), plain(str(order)))
        if seeds > 1:
            name += f", mean of {seeds} (band: lowest to highest)"
        # a random order is the yardstick and not one of the contenders
        colour, dashes, marker = ("0.25", (), "") if order == "random" else next(kinds)
        line = (0, dashes) if dashes else "-"
        marker = marker if len(table) <= 30 else ""
        yield name, table, {"color": colour, "linestyle": line, "marker": marker}


def _describe_pruning(path: pd.DataFrame, start: float, error: float, total: int) -> str:
    told = []
    for name, table, _ in _orders(path):
        lost = table.index[table["mean"] < start - 2 * error]
        fall = f"from {lost[0]} heads off" if len(lost) else "never"
        last = table.iloc[-1]
        told.append(f"{name}: {fall}, and {last['mean']:.1%} with {table.index[-1]} off")
    return (
        f"Accuracy as heads are taken away, {total} in all: {start:.1%} ± {error:.1%} with all on. More than two "
        f"standard errors are lost {'; '.join(told)}."
    )


def effects(sweep: pd.DataFrame, value: Value = "loss_delta") -> Picture:
    """Draw the change that each head makes, sorted, and where heads that do nothing would lie.

    Parameters
    ----------
    sweep : of `Evaluator.sweep`, with one scale and one temperature
    value : "loss_delta" in nats, or "delta", accuracy in points

    Bars are 95 % intervals. The band is where the sorted changes of so many heads would lie, 95 times in 100,
    if no head did anything and all differences were noise, as large for each as its interval says. In colour are
    heads that stay significant after correction for their number (Benjamini and Hochberg 1995, q < 0.05): for
    accuracy by the table's ``q_value``, for the loss by its intervals.
    """
    ends = {"loss_delta": ("loss_low", "loss_high"), "delta": ("ci_low", "ci_high")}
    if value not in ends:
        raise AttnlabError(f"effects cannot draw {value!r}. {suggest(value, ends)}")
    _need(sweep, ("layer", "head", value, *ends[value], "q_value"), "Evaluator.sweep")
    if sweep.duplicated(["layer", "head"]).any():
        raise AttnlabError(
            "This sweep has several rows for a head. Draw one scale and temperature at a time: "
            "sweep[sweep['scale'] == 0]."
        )
    unit = 100 if value == "delta" else 1
    table = sweep.sort_values(value, ignore_index=True)
    change, low, high = (unit * table[name].to_numpy(float) for name in (value, *ends[value]))
    error = (high - low) / (2 * stats.norm.ppf(0.975))
    by_loss = 2 * stats.norm.sf(np.abs(change) / np.maximum(error, 1e-12))
    adjusted = benjamini_hochberg(by_loss) if value == "loss_delta" else table["q_value"].to_numpy()
    real = adjusted < 0.05
    worse = change < 0 if value == "delta" else change > 0
    outside = int(((low > 0) | (high < 0)).sum())
    draws = np.random.default_rng(0).normal(0, error, (4000, len(table)))
    band = np.quantile(np.sort(draws, 1), (0.025, 0.975), axis=0)
    name, short = ("accuracy", "points") if value == "delta" else ("the loss", "nats")
    with style():
        figure, axes = plt.subplots(figsize=(9.4, 4.4), layout="constrained")
        rank = np.arange(1, len(table) + 1)
        axes.fill_between(
            rank, *band, color="0.87", lw=0, label="where heads that do nothing would lie, 95 %"
        )
        axes.axhline(0, color="0.35", linewidth=0.8)
        kinds = {
            "not significant, 95 % interval": (~real, "0.45"),
            "significant: the model gets worse": (real & worse, _ORANGE),
            "significant: the model gets better": (real & ~worse, _BLUE),
        }
        for label, (which, colour) in kinds.items():
            if which.any():
                bars = np.stack([change - low, high - change])[:, which]
                looks = {"color": colour, "fmt": "o", "markersize": 4, "elinewidth": 1.1}
                axes.errorbar(rank[which], change[which], bars, label=label, **looks)
        _name_heads(axes, table, low, high, real)
        axes.set(
            xlabel=f"{len(table)} heads, sorted: {outside} intervals exclude 0, and chance alone makes that "
            f"about {0.05 * len(table):.1f}",
            ylabel=f"change of {name}, {short}",
        )
        axes.set_xticks([])
        axes.margins(x=0.02, y=0.12)
        axes.legend(
            frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, fontsize=9
        )
        sns.despine(figure, bottom=True)
    strongest = table.iloc[int(np.abs(change).argmax())]
    alt = (
        f"Change of {name} for {len(table)} heads, sorted: {real.sum()} are significant after correction for "
        f"their number; {outside} have an interval that excludes 0, and chance alone makes that about "
        f"{0.05 * len(table):.1f}. The largest is {unit * strongest[value]:+.3g} {short} for layer "
        f"{strongest['layer']:.0f} head {strongest['head']:.0f}."
    )
    return Picture(figure, alt.replace("+-", "-"))


def _name_heads(
    axes: Axes, table: pd.DataFrame, low: np.ndarray, high: np.ndarray, which: np.ndarray
) -> None:
    """Name the outermost of these heads: upright above bars on the right, below them on the left."""
    most = 4 if len(table) <= 80 else 1  # more would run into each other
    below, above = np.flatnonzero(which & (high < 0)), np.flatnonzero(which & (low > 0))
    for at in [*below[:most], *above[-most:]]:
        right = low[at] > 0
        axes.annotate(
            f"L{table['layer'][at]:.0f} H{table['head'][at]:.0f}",
            (at + 1, high[at] if right else low[at]),
            xytext=(0, 3 if right else -3),
            textcoords="offset points",
            ha="center",
            va="bottom" if right else "top",
            rotation=90,
            fontsize=8.5,
        )


def importances(table: pd.DataFrame, title: str | None = None) -> Picture:
    """Draw several measures of every head side by side, each by rank: light is important.

    Parameters
    ----------
    table : a row per head: ``layer``, ``head``, and a column for each measure, the larger the more important

    The five most important heads of each measure carry their rank. For a single measure see `head_map`, which
    draws its values.
    """
    names, values = _measures(table, ("layer", "head"))
    places = table[["layer", "head"]].to_numpy(int).T
    size = tuple(places.max(1) + 1)
    wide = min(len(names), 2)
    rows = -(-len(names) // wide)
    cell = min(0.32, 4.0 / size[1])
    with style():
        figure, panels = plt.subplots(
            rows,
            wide,
            figsize=(wide * (0.6 + cell * size[1]) + 1.1, rows * (0.75 + cell * size[0])),
            layout="constrained",
            squeeze=False,
            sharex=True,
            sharey=True,
        )
        for axes in panels.flat[len(names) :]:
            axes.set_axis_off()
        drawn = list(panels.flat[: len(names)])
        for axes, name, measured in zip(drawn, names, values.T, strict=True):
            rank = np.full(size, np.nan)
            rank[*places] = stats.rankdata(-measured, nan_policy="omit")
            words = np.where(rank <= 5, np.nan_to_num(rank).astype(int).astype(str), "")
            sns.heatmap(
                rank,
                ax=axes,
                cmap="cividis_r",
                vmin=1,
                vmax=len(table),
                cbar=False,
                annot=words,
                fmt="",
                annot_kws={"size": 10, "weight": "bold"},
                linewidths=0.5,
            )
            axes.set_title(_words(name), loc="left")
            axes.tick_params(axis="both", rotation=0)
        for axes in drawn[-wide:]:
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
        f"layer {top['layer']:.0f} head {top['head']:.0f} by {_words(name)}"
        for name, top in zip(names, tops, strict=True)
    ]
    alt = (
        f"{title or 'Importance of heads'}: {len(table)} heads by rank. First is {', '.join(told)}."
    )
    return Picture(figure, alt)


def agreement(table: pd.DataFrame) -> Picture:
    """Draw how far measures rank alike: Spearman's correlations, in a triangle.

    Parameters
    ----------
    table : a column for each measure and a row for each head (columns ``layer`` and ``head`` may stand beside
        them); or the result of `measures.agreement`, whose intervals then are written too
    """
    if {"first", "second", "correlation", "ci_low", "ci_high"} <= set(table.columns):
        names = list(dict.fromkeys([*table["first"], *table["second"]]))
        matrix = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
        notes = matrix.astype(object)
        for row in table.itertuples():
            for place in ((row.first, row.second), (row.second, row.first)):
                matrix.loc[place] = row.correlation
                interval = f"[{_signed(row.ci_low)}, {_signed(row.ci_high)}]"
                notes.loc[place] = f"{_signed(row.correlation)}\n{interval}"
        about = f"mean over {table['texts'].max()} texts, with 95 % interval"
    else:
        names, values = _measures(table, ())
        count = int(np.isfinite(values).all(1).sum())
        matrix = pd.DataFrame(values, columns=names).corr(method="spearman")
        notes = matrix.map(_signed)
        student = stats.t.ppf(0.975, count - 2) if count > 2 else np.inf
        limit = student / np.sqrt(count - 2 + student**2) if np.isfinite(student) else 1
        about = f"{count} heads; by chance alone up to ±{limit:.2f}, 95 times in 100"
    below = np.tril(np.ones(matrix.shape, dtype=bool), -1)[1:, :-1]
    labels = [_words(name).replace(" ", "\n", 1) for name in names]
    cell = min(1.15 if "first" in table else 0.95, 9 / (len(names) - 1))
    with style():
        size = (2.4 + cell * (len(names) - 1), 1.4 + 0.62 * (len(names) - 1))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        sns.heatmap(
            matrix.iloc[1:, :-1],
            ax=axes,
            mask=~below,
            cmap="vlag",
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
    pairs = [(names[j], names[i], matrix.iloc[i, j]) for i in range(len(names)) for j in range(i)]
    best, worst = (f(pairs, key=lambda pair: pair[2]) for f in (max, min))
    alt = (
        f"Rank correlations of {len(names)} measures ({about}): highest {best[2]:.2f} between {_words(best[0])} "
        f"and {_words(best[1])}, lowest {worst[2]:.2f} between {_words(worst[0])} and {_words(worst[1])}."
    )
    return Picture(figure, alt)


# ── where heads look ───────────────────────────────────────────────────────────────────────────


def entropy(profiles: pd.DataFrame) -> Picture:
    """Draw how widely each head looks, layer by layer, as figure 4 of Clark et al. 2019 does.

    Parameters
    ----------
    profiles : of `measures.profiles`
    """
    _need(profiles, ("layer", "head", "entropy"), "measures.profiles")
    table = profiles.dropna(subset="entropy")
    means = table.groupby("layer")["entropy"].mean()
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
        for place in (table["entropy"].idxmin(), table["entropy"].idxmax()):
            row = table.loc[place]
            axes.annotate(
                f"head {row['head']:.0f}",
                (row["layer"], row["entropy"]),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                path_effects=[HALO],
            )
        if uniform is not None:
            axes.axhline(uniform, color="0.35", linestyle="--", linewidth=1.4)
            words = f"all tokens alike: {uniform:.2f}"
            axes.annotate(
                words,
                (1, uniform),
                xytext=(0, -4),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=9,
                path_effects=[HALO],
            )
        _layers(axes, profiles)
        axes.set_ylabel("entropy of a row, nats")
        axes.set_ylim(-0.05 * axes.get_ylim()[1], None)  # room for a head at 0
        axes.legend(
            frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, fontsize=9
        )
        sns.despine(figure)
    low, high = table.loc[table["entropy"].idxmin()], table.loc[table["entropy"].idxmax()]
    alt = (
        f"Entropy of {len(table)} heads by layer: layer means from {means.min():.2f} nats in layer "
        f"{means.idxmin()} to {means.max():.2f} in layer {means.idxmax()}; most pointed layer {low['layer']:.0f} "
        f"head {low['head']:.0f} with {low['entropy']:.2f}, widest layer {high['layer']:.0f} head "
        f"{high['head']:.0f} with {high['entropy']:.2f}"
        + ("." if uniform is None else f"; looking at all tokens alike would be {uniform:.2f}.")
    )
    return Picture(figure, alt)


def special_shares(profiles: pd.DataFrame) -> Picture:
    """Draw how much of the weight falls on [CLS], on [SEP] and on the text, as figure 2 of Clark et al. 2019 does.

    Parameters
    ----------
    profiles : of `measures.profiles`

    Beside it stands how much special tokens contribute, which is less where their value vectors are short
    (Kobayashi et al. 2020).
    """
    needed = ("layer", "head", "cls", "sep", "special", "contribution_special")
    _need(profiles, needed, "measures.profiles")
    table = profiles.dropna(subset="special").assign(rest=lambda one: 1 - one["special"])
    means = 100 * table.groupby("layer")[["cls", "sep", "rest", "contribution_special"]].mean()
    kinds = {
        "cls": ("on [CLS]", _BLUE, "o", "-"),
        "sep": ("on [SEP]", _ORANGE, "s", (0, RUN_DASHES[1])),
        "rest": ("on the text", _GREEN, "^", (0, RUN_DASHES[3])),
    }
    with style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9.4, 3.9), sharey=True, sharex=True, layout="constrained"
        )
        shift = dict(zip(kinds, (-0.12, 0, 0.12), strict=True))
        for name, (label, colour, marker, line) in kinds.items():
            places = table["layer"] + shift[name]
            looks = {"color": colour, "marker": marker}
            left.plot(places, 100 * table[name], alpha=0.35, mew=0, ls="", ms=4, **looks)
            left.plot(means.index, means[name], lw=2, linestyle=line, label=label, **looks)
        special = means["cls"] + means["sep"]
        right.plot(means.index, special, color="0.25", marker="D", lw=2, label="of the weight")
        added = means["contribution_special"]
        line = {"marker": "v", "lw": 2, "linestyle": (0, RUN_DASHES[1])}
        right.plot(
            means.index,
            added,
            color=RUN_COLOURS[5],
            label="of what heads add (contributions)",
            **line,
        )
        left.set(ylabel="share, %", ylim=(-2, 100))
        left.set_title("Where weight falls", loc="left", pad=24)
        right.set_title("Share of [CLS] and [SEP]", loc="left", pad=24)
        for axes in (left, right):
            _layers(axes, profiles)
            axes.grid(axis="y", color="0.93")
            axes.legend(
                frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 0.98), ncols=3, fontsize=9
            )
        sns.despine(figure)
    mean = 100 * table[["cls", "sep", "rest", "contribution_special"]].mean()
    top = special.idxmax()
    alt = (
        f"Where the weight of {len(table)} heads falls: {mean['cls']:.0f} % on [CLS], {mean['sep']:.0f} % on "
        f"[SEP], {mean['rest']:.0f} % on the text. Special tokens get most in layer {top}, "
        f"{special[top]:.0f} %. Of what heads add, {mean['contribution_special']:.0f} % comes from them."
    )
    return Picture(figure, alt)


# ── one text ───────────────────────────────────────────────────────────────────────────────────


def explanations(frame: pd.DataFrame) -> Picture:
    """Draw which tokens of a text made the answer, by four measures; each column has its own scale.

    Parameters
    ----------
    frame : of `measures.explanations`

    Attention has no sign. Gradients and ablation have one: red speaks for the answer, blue against it. The
    largest of each column is framed.
    """
    unsigned, signed = ("attention", "rollout"), ("gradient", "ablation")
    frame_looks = {"fill": False, "ec": "black", "lw": 2, "clip_on": False, "zorder": 5}
    _need(frame, ("token", *unsigned, *signed), "measures.explanations")
    shown = frame.iloc[:MAX_TOKENS]
    tokens = [token.replace("$", r"\$") for token in readable(list(shown["token"]))]
    heads = {
        "attention": "attention,\nlast layer, %",
        "rollout": "attention\nrollout, %",
        "gradient": "gradient ×\ninput, logits",
        "ablation": "ablation,\nnats",
    }
    with style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(6.6, 1.5 + 0.3 * len(shown)), layout="constrained", sharey=True
        )
        for axes, names in ((left, unsigned), (right, signed)):
            values = shown[list(names)].to_numpy(float)
            share = values / np.maximum(np.abs(frame[list(names)].to_numpy(float)).max(0), 1e-12)
            words = np.stack(
                [_numbers(100 * one if names is unsigned else one) for one in values.T], 1
            )
            sns.heatmap(
                share,
                ax=axes,
                cmap="cividis" if names is unsigned else "vlag",
                vmin=0 if names is unsigned else -1,
                vmax=1,
                annot=words,
                fmt="",
                annot_kws={"size": 9},
                linewidths=0.5,
                cbar=False,
                xticklabels=[heads[name] for name in names],
                yticklabels=tokens,
            )
            axes.tick_params(axis="both", rotation=0, length=0)
            axes.xaxis.tick_top()
            for column, row in enumerate(np.abs(share).argmax(0)):
                axes.add_patch(Rectangle((column, row), 1, 1, **frame_looks))
        left.set_xlabel("light: looked at more")
        right.set_xlabel("red: for the answer, blue: against it")
        if "label" in frame.attrs:
            answer = f"Answer: {frame.attrs['label']} ({frame.attrs['probability']:.0%})"
            figure.suptitle(answer, x=0.01, ha="left", fontsize=11)
    names = (*unsigned, *signed)
    firsts = [f"{frame.loc[frame[name].abs().idxmax(), 'token']!r} by {name}" for name in names]
    some = f"the first {len(shown)} of " if len(shown) < len(frame) else ""
    alt = (
        f"Four measures of {some}{len(frame)} tokens"
        + (f", answer {frame.attrs['label']!r}" if "label" in frame.attrs else "")
        + f". Largest is {', '.join(firsts)}."
    )
    return Picture(figure, alt)


# ── shared ─────────────────────────────────────────────────────────────────────────────────────


def _need(table: pd.DataFrame, columns: tuple[str, ...], source: str) -> None:
    """Raise AttnlabError unless the table has these columns, and rows."""
    if not isinstance(table, pd.DataFrame):
        raise AttnlabError(
            f"Expected the table of {source}, a DataFrame, got {type(table).__name__}."
        )
    missing = [name for name in columns if name not in table]
    if missing or table.empty:
        why = f"lacks {', '.join(map(repr, missing))}" if missing else "has no rows"
        raise AttnlabError(f"This table {why}. Pass the one that {source} returns.")


def _measures(table: pd.DataFrame, places: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """Names and values (heads, measures) of what a table measures on every head."""
    _need(table, places, "your measures, a row per head")
    names = [str(name) for name in table.columns if name not in ("layer", "head")]
    values = table[names]
    text = [name for name in names if not pd.api.types.is_numeric_dtype(values[name])]
    if text or len(names) < 2:
        why = f"{text[0]!r} holds no numbers" if text else f"there is {len(names)}"
        raise AttnlabError(
            f"At least two measures are needed, a column of numbers for each; {why}."
        )
    values = values.to_numpy(float)
    for name, measured in zip(names, values.T, strict=True):
        if not np.nanmax(measured, initial=-np.inf) > np.nanmin(measured, initial=np.inf):
            raise AttnlabError(
                f"{name!r} is the same for every head, so it ranks none. Leave it out."
            )
    return names, values


def _signed(number: float, digits: int = 2) -> str:
    return f"{round(number, digits) + 0.0:.{digits}f}".replace("-", "−")  # no −0.00


def _numbers(values: np.ndarray) -> np.ndarray:
    """The numbers of a column in words, with as many digits as its largest needs."""
    largest = float(np.abs(values).max()) or 1.0
    digits = int(np.clip(1 - np.floor(np.log10(largest)), 1, 4))
    return np.array([_signed(one, digits) for one in values])


def _words(name: str) -> str:
    return plain(name.replace("_", " "))


def _layers(axes: Axes, profiles: pd.DataFrame) -> None:
    """Whole layers at the horizontal axis."""
    last = int(profiles["layer"].max())
    axes.set(xlabel="layer", xlim=(-0.4, last + 0.6))
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
