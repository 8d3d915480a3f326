"""Pictures of a report on a classifier, and of what training moved."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import PowerNorm

from attnlab.errors import AttnlabError
from attnlab.evaluation.movement import KINDS, layer_movement
from attnlab.evaluation.reports import BINS, Report
from attnlab.show.plots.learning import RUN_COLOURS, bars
from attnlab.show.plots.picture import Picture, heatmap, style
from attnlab.show.wording import plain, signed_points
from attnlab.statistics import share_interval


def calibration(report: Report) -> Picture:
    """Draw how often a classifier is right when it is so sure, with 95 % intervals (Wilson).

    Parameters
    ----------
    report : of `al.report`

    Below stands how many texts there are in each bin of confidence.
    """
    table = report.calibration
    hits = (table["accuracy"] * table["texts"]).round().astype(int)
    places = 100 * table["confidence"].to_numpy()
    accuracy = 100 * table["accuracy"].to_numpy()
    ends = 100 * np.array([share_interval(k, n) for k, n in zip(hits, table["texts"], strict=True)])
    with style():
        figure, (above, below) = plt.subplots(
            2, 1, figsize=(5.6, 4.3), sharex=True, height_ratios=(3.5, 1), layout="constrained"
        )
        above.plot([0, 100], [0, 100], "--", color="0.45", label="as sure as right")
        above.errorbar(
            places,
            accuracy,
            np.abs(ends.T - accuracy),
            fmt="o",
            color=RUN_COLOURS[0],
            capsize=3,
            label="this classifier, 95 % interval",
        )
        width = 100 / BINS
        bins = width * np.minimum(places // width, BINS - 1)
        bars = below.bar(bins, table["texts"], width, align="edge", color="0.6", edgecolor="w")
        below.bar_label(bars, fmt="{:,.0f}", fontsize=9, padding=1)
        below.margins(y=0.3)
        low = min(bins.min(), width * (ends.min() // width))
        above.set(ylabel="right among these answers, %", ylim=(low, 101.5))
        below.set(xlabel="confidence of the answer, %", ylabel="texts", xlim=(bins.min(), 101.5))
        error = f"Expected calibration error {report.calibration_error:.1%}"
        above.set_title(error, loc="left", pad=20)
        above.legend(  # above the axes, where no interval can reach
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(-0.02, 0.98),
            ncols=2,
            fontsize=9,
            borderaxespad=0.1,
        )
        sns.despine(figure)
    gap = table["confidence"] - table["accuracy"]
    worst = (gap.abs() * table["texts"]).idxmax()
    alt = (
        f"Reliability diagram of {table['texts'].sum():,} texts: expected calibration error "
        f"{report.calibration_error:.1%}. Most of it comes from the "
        f"{table['texts'][worst]:,} answers with a mean confidence of "
        f"{table['confidence'][worst]:.0%}, of which {table['accuracy'][worst]:.0%} are right."
    )
    return Picture(figure, alt)


def confusion(report: Report, most: int = 12) -> Picture:
    """Draw which labels are taken for which: counts, coloured by their share of the true label.

    Parameters
    ----------
    report : of `al.report`
    most : draw at most so many labels; of more, those with the most confusions, and the rest as one
    """
    if most < 2:
        raise AttnlabError(f"most is {most}; a picture of confusions needs at least 2 labels.")
    counts = _most_confused(report.confusion, most)
    values = counts.to_numpy()
    shares = 100 * values / np.maximum(values.sum(1, keepdims=True), 1)
    numbers = np.where(values > 0, values.astype(str), "")
    labels = [plain(name) for name in counts.index]
    cell = 0.5 if len(labels) > 4 else 0.8
    longest = max(map(len, labels))
    with style():
        width, height = cell * len(labels) + 2.8, cell * len(labels) * 0.8 + 1.8
        figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
        heatmap(
            shares,
            axes,
            cmap="cividis",
            norm=PowerNorm(0.5, 0, 100),  # by the root: small shares must be told from none
            annot=numbers,
            fmt="",
            annot_kws={"size": 9},
            linewidths=0.5,
            xticklabels=labels,
            yticklabels=labels,
            cbar_kws={
                "label": "share of the true label, %",
                "pad": 0.02,
                "ticks": [0, 1, 5, 10, 25, 50, 100],
            },
        )
        axes.set(xlabel="predicted", ylabel="true")
        axes.tick_params(axis="y", rotation=0)
        if longest * 0.09 > cell:
            plt.setp(axes.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
        else:
            axes.tick_params(axis="x", rotation=0)
        few = f", the {len(counts) - 1} most confused of {len(report.confusion)} labels"
        many = len(counts) < len(report.confusion)
        axes.set_title(f"Number of texts{few if many else ''}", loc="left")
    return Picture(figure, _describe_confusion(report, counts))


def comparison(report: Report) -> Picture:
    """Draw the accuracy of a classifier beside that of simpler ones and, if known, of raters.

    Parameters
    ----------
    report : of `al.report`

    Bars are 95 % intervals of each one alone. What stands to the right compares on the same texts,
    which is sharper.
    """
    table = report.comparison
    with style():
        figure, axes = plt.subplots(figsize=(8.4, 1.5 + 0.42 * len(table)), layout="constrained")
        for place, row in enumerate(table.itertuples()):
            looks: dict[str, Any] = {
                "color": RUN_COLOURS[min(place, 1)],
                "fmt": "os"[min(place, 1)],
                "capsize": 4,
            }
            reach = 100 * bars([row.accuracy], report.score.n)
            axes.errorbar(100 * row.accuracy, place, xerr=reach, markersize=7, **looks)
            axes.annotate(
                f"{100 * row.accuracy:.1f}",
                (100 * row.accuracy, place),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
            axes.annotate(
                _ahead(row), (1.03, place), xycoords=("axes fraction", "data"), va="center"
            )
        if np.isfinite(report.ceiling):
            axes.axvline(100 * report.ceiling, linestyle="--", color="0.35")
            words = f"single raters agree with the label: {report.ceiling:.1%}"
            axes.annotate(
                words, (100 * report.ceiling, 1.03), xycoords=("data", "axes fraction"), ha="right"
            )
        axes.set(xlabel="accuracy, %", ylim=(len(table) - 0.5, -0.6))
        axes.set_yticks(range(len(table)), [plain(name) for name in table["name"]])
        axes.annotate("this classifier is ahead by", (1.03, 1.03), xycoords="axes fraction")
        axes.grid(axis="x", color="0.9")
        sns.despine(figure, left=True)
    return Picture(figure, _describe_comparison(report))


def movement(before: Any, after: Any) -> Picture:
    """Draw how far training moved each matrix, as a share of its norm: see `layer_movement`.

    Parameters
    ----------
    before, after : Classifiers, models or state dicts of one architecture
    """
    table = layer_movement(before, after).assign(percent=lambda moved: 100 * moved["relative"])
    inside = table.dropna(subset="layer").astype({"layer": int})
    grid = inside.pivot(index="layer", columns="kind", values="percent")
    grid = grid[[kind for kind in KINDS if kind in grid]]
    largest = float(np.nanmax(grid.to_numpy()))
    digits = 1 if largest >= 10 else 2 if largest >= 0.1 else 3
    with style():
        size = (1.9 + 1.0 * grid.shape[1], 1.6 + 0.4 * len(grid))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        heatmap(
            grid,
            axes,
            cmap="cividis",
            vmin=0,
            vmax=largest or 1.0,
            annot=True,
            fmt=f".{digits}f",
            annot_kws={"size": 9},
            linewidths=0.5,
            xticklabels=[kind.replace(" ", "\n", 1) for kind in grid],
            cbar_kws={"label": "‖ΔW‖ / ‖W‖, %", "pad": 0.02},
        )
        outside = table[table["layer"].isna()]
        note = ", ".join(f"{row.kind} {row.percent:.{digits}f} %" for row in outside.itertuples())
        axes.set(xlabel=f"outside the layers: {note}" if note else "", ylabel="layer")
        axes.tick_params(axis="both", rotation=0)
        axes.set_title("How far training moved each matrix", loc="left")
    return Picture(figure, _describe_movement(inside, note))


def _most_confused(counts: pd.DataFrame, most: int) -> pd.DataFrame:
    """Confusions of so many labels at most: the most confused ones, and the others as one."""
    if len(counts) <= most:
        return counts
    values = counts.to_numpy()
    mistakes = values.sum(0) + values.sum(1) - 2 * values.diagonal()
    kept = np.sort(np.argsort(-mistakes, kind="stable")[: most - 1])
    rest = np.setdiff1d(np.arange(len(counts)), kept)
    pool = np.zeros((len(kept) + 1, len(counts)), dtype=int)  # which row takes which label
    pool[np.arange(len(kept)), kept] = 1
    pool[-1, rest] = 1
    names = [*counts.index[kept], f"{len(rest)} others"]
    return pd.DataFrame(pool @ values @ pool.T, index=names, columns=names)


def _describe_confusion(report: Report, counts: pd.DataFrame) -> str:
    """Alt text: how much was right, and which labels were taken for which most often."""
    table = report.confusion
    off = table.to_numpy() * (1 - np.eye(len(table), dtype=int))
    worst = [np.unravel_index(cell, off.shape) for cell in np.argsort(-off, axis=None)[:3]]
    told = [
        f"{table.index[row]!r} for {table.index[column]!r} {off[row, column]:,} times"
        for row, column in worst
        if off[row, column]
    ]
    shown = f", {len(counts) - 1} drawn one by one" if len(counts) < len(table) else ""
    most = f" Most often mistaken: {'; '.join(told)}." if told else ""
    return (
        f"Confusions of {len(table)} labels{shown}: {np.trace(table.to_numpy()):,} of "
        f"{table.to_numpy().sum():,} texts are right.{most}"
    )


def _ahead(row: Any) -> str:
    """By how much the classifier is ahead of a row of the comparison, on the same texts."""
    if not np.isfinite(row.delta):
        return ""
    delta, low, high = (signed_points(share) for share in (row.delta, row.ci_low, row.ci_high))
    return f"{delta} points, [{low}, {high}]"


def _describe_comparison(report: Report) -> str:
    told = [f"{row.name} {row.accuracy:.1%}" for row in report.comparison.itertuples(index=False)]
    raters = f" Single raters agree in {report.ceiling:.1%}." if report.ceiling > 0 else ""
    return f"Accuracy on {report.score.n:,} texts: {', '.join(told)}.{raters}"


def _describe_movement(inside: pd.DataFrame, note: str) -> str:
    ends = (inside.loc[inside["percent"].agg(which)] for which in ("idxmax", "idxmin"))
    most, least = (
        f"{matrix['percent']:.2g} % for {matrix['kind']} of layer {matrix['layer']}"
        for matrix in ends
    )
    size = f"{inside['layer'].nunique()} layers by {inside['kind'].nunique()} kinds"
    return (
        f"How far training moved each matrix, as a share of its norm, {size}: most {most}, least "
        f"{least}." + (f" Outside the layers: {note}." if note else "")
    )
