"""A still picture of a sampling desk: the text and where a head looks, candidates, and the draw."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from attnlab.show.plots.picture import Picture, ink_on, style
from attnlab.show.wording import counted, percent, plain

_BLUE, _ORANGE, _GREY, _INK = "#2166ac", "#ca5a14", "#8c8c8c", "#212121"
_COLUMNS, _LINES = 60, 5  # of letters; of a longer text the end is shown


def sampling_desk(report: dict[str, Any], names: Sequence[str]) -> Picture:
    """Draw a sampling desk.

    Parameters
    ----------
    report : what the desk shows, a `sampling_report`
    names : of all tokens
    """
    with style():
        figure = plt.figure(figsize=(9.6, 3.6), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(1.35, 1), height_ratios=(4.2, 1))
        _draw_text(figure.add_subplot(grid[0, 0]), report)
        _draw_candidates(figure.add_subplot(grid[:, 1]), report, names)
        _draw_line(figure.add_subplot(grid[1, 0]), report, names)
    return Picture(figure, _words(report, names))


def _draw_text(axes: Axes, report: dict[str, Any]) -> None:
    """The end of the text, each token on the colour of its weight."""
    colours = matplotlib.colormaps["cividis"]
    lines: list[list[tuple[str, float, bool]]] = [[]]
    for index, (token, weight) in enumerate(zip(report["tokens"], report["weights"], strict=True)):
        shown = token.replace("▁", " ")
        if sum(len(piece) for piece, _, _ in lines[-1]) + len(shown) > _COLUMNS:
            lines.append([])
        lines[-1].append((shown, weight, index >= report["given"]))
        if "↵" in token:
            lines.append([])
    cut = len(lines) > _LINES
    lines = lines[-_LINES:]
    letter: dict[str, Any] = {
        "family": "DejaVu Sans Mono",
        "fontsize": 9,
        "va": "center",
        "ha": "center",
    }
    for row, line in enumerate(lines):
        column = 0.0
        for piece, weight, written in line:
            ground = colours(min(1.0, weight / report["limit"]))
            place = (column, row + 0.1)
            axes.add_patch(Rectangle(place, len(piece), 0.8, facecolor=ground, edgecolor="white"))
            ink = ink_on(ground)
            for offset, character in enumerate(piece):
                axes.text(column + offset + 0.5, row + 0.5, _safe(character), color=ink, **letter)
            if written:
                axes.plot([column, column + len(piece)], [row + 0.95] * 2, color=_ORANGE, lw=2)
            column += len(piece)
    axes.set(xlim=(0, _COLUMNS), ylim=(max(len(lines), 3), 0))
    axes.axis("off")
    start = "… " if cut else ""
    axes.set_title(
        f"{start}shaded: {report['looked']}; written: underlined", loc="left", fontsize=10
    )


def _draw_candidates(axes: Axes, report: dict[str, Any], names: Sequence[str]) -> None:
    """The likeliest candidates before and after the settings."""
    shown = report["shown"]
    before, after = (100 * np.array(report[name]) for name in ("before", "after"))
    rows = np.arange(len(shown))
    axes.barh(rows, after, 0.7, color=_BLUE, label="after the settings")
    axes.barh(rows, before, 0.7, facecolor="none", edgecolor=_INK, lw=1, label="by the model")
    if report["untouched"] is not None:
        axes.plot(
            100 * np.array(report["untouched"]),
            rows,
            "|",
            color=_ORANGE,
            ms=11,
            mew=2.5,
            label="faders at 1",
        )
    for row, share in enumerate(report["after"]):
        if share == 0:
            axes.text(before[row] + 0.5, row, "cut", va="center", fontsize=8, color="#595959")
    ticks = [
        f"{'▸ ' if token == report['next'] else ''}{_safe(plain(names[token], 16))}"
        for token in shown
    ]
    axes.set_yticks(rows, ticks)
    axes.set(xlabel="probability (%)", ylim=(len(shown) - 0.4, -0.6))
    axes.set_title(f"Next token; {_sampling(report['settings'])}", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_line(axes: Axes, report: dict[str, Any], names: Sequence[str]) -> None:
    """The number that is drawn, and what it falls on."""
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="#eeeeee"))
    for start, share, token in report["parts"]:
        ground = _BLUE if token == report["next"] else "#9dbedd"
        axes.add_patch(Rectangle((start, 0), share, 1, facecolor=ground, edgecolor="white", lw=0.6))
    axes.axvline(report["draw"], color=_ORANGE, lw=2.5)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    name = _safe(plain(names[report["next"]], 24))
    axes.set_title(f"{report['draw']:.3f} is drawn, on “{name}”", loc="left", fontsize=10)


def _sampling(settings: dict[str, Any]) -> str:
    """The sampling settings in a few words."""
    told = [f"temperature {settings['temperature']:g}"]
    for name, words in (("top_k", "top-k"), ("top_p", "top-p"), ("min_p", "min-p")):
        if settings[name] is not None:
            told.append(f"{words} {settings[name]:g}")
    return ", ".join(told)


def _words(report: dict[str, Any], names: Sequence[str]) -> str:
    text = "".join(report["tokens"][-60:]).replace("▁", " ").replace("↵", " ").strip()
    best = ", ".join(
        f"“{names[token]}” {percent(after)} (model {percent(before)})"
        for token, before, after in list(
            zip(report["shown"], report["before"], report["after"], strict=True)
        )[:3]
    )
    return (
        f"Sampling desk after {counted(len(report['tokens']), 'token')}: “{text}”. "
        f"{report['alt']} Next token at {_sampling(report['settings'])}: {best}. "
        f"{report['draw']:.3f} is drawn and falls on “{names[report['next']]}”."
    )


def _safe(text: str) -> str:
    return text.replace("$", r"\$")
