"""What is out of line as a table that people can read, below each row a picture to open."""

import base64
import html
import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from attnlab.balance.control_chart import bands
from attnlab.balance.reading import Balance, By
from attnlab.show.plots.learning import RUN_COLOURS
from attnlab.show.plots.picture import HALO, Picture, need, style
from attnlab.show.plots.training_run import EPISODE_COLUMNS, draw_episode
from attnlab.show.wording import episode_in_words, head_name, number, short

_OUTLIER_COLUMNS = ("layer", "head", "measure", "value", "median", "z")


def anomaly_table(
    found: pd.DataFrame, source: pd.DataFrame | Balance, most: int = 30
) -> "AnomalyTable":
    """Show what is out of line as a table, the strongest first, with pictures to open.

    Parameters
    ----------
    found : of `balance.episodes`, or of `balance.outliers`
    source : what it was found in: the table of a `balance.Recorder`, or a `balance.Balance`
    most : rows, at most

    Raises
    ------
    AttnlabError : a table without the columns of either, or a source of the other kind
    """
    if isinstance(source, Balance):
        need(found, _OUTLIER_COLUMNS, "balance.outliers", rows=False)
        strongest = _strongest(found, "z", most)
        return AnomalyTable(
            pd.DataFrame([_outlier_row(outlier) for outlier in strongest]),
            [_outlier_picture(source, outlier) for outlier in strongest],
            "No head is far from the others.",
        )
    need(found, EPISODE_COLUMNS, "balance.episodes", rows=False)
    strongest = _strongest(found, "strength", most)
    return AnomalyTable(
        pd.DataFrame([_episode_row(episode) for episode in strongest]),
        [_episode_picture(source, episode) for episode in strongest],
        "No head left its band.",
    )


class AnomalyTable:
    """What is out of line as a table that people can read, below each row a picture to open.

    Attributes
    ----------
    frame : DataFrame, the rows as they are shown
    pictures : list of Picture, one for each row

    Shown as plain HTML, which needs no script and no kernel.
    """

    def __init__(self, frame: pd.DataFrame, pictures: Sequence[Picture], empty: str):
        self.frame, self.pictures, self._empty = frame, list(pictures), empty

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"AnomalyTable({len(self)} rows)"

    def _repr_html_(self) -> str:
        if self.frame.empty:
            return f"<p>{html.escape(self._empty)}</p>"
        head = "".join(
            '<th scope="col" style="text-align:left;white-space:nowrap">'
            f"{html.escape(str(name))}</th>"
            for name in self.frame.columns
        )
        rows = []
        for row, picture in zip(self.frame.itertuples(index=False), self.pictures, strict=True):
            cells = "".join(
                '<td style="text-align:left;vertical-align:top;white-space:nowrap">'
                f"{html.escape(str(cell))}</td>"
                for cell in row
            )
            rows.append(
                f'<tr>{cells}</tr><tr><td colspan="{len(row)}" style="text-align:left">'
                f"<details><summary>picture</summary>{_image(picture)}</details></td></tr>"
            )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _image(picture: Picture) -> str:
    data = base64.b64encode(picture.png(dpi=90)).decode()
    alt = html.escape(picture.alt, quote=True)
    return f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{data}">'


def _strongest(found: pd.DataFrame, column: str, most: int) -> list[Any]:
    """The rows that are largest in this column, whatever their sign."""
    ranked = found.assign(size=found[column].abs())
    return list(ranked.sort_values("size", ascending=False, kind="stable")[:most].itertuples())


def _episode_row(episode: Any) -> dict[str, str]:
    lasts = not math.isfinite(episode.end)
    span = f"from {episode.start:.0f} on" if lasts else f"{episode.start:.0f} to {episode.end:.0f}"
    return {
        "what": episode.kind,
        "head": head_name(episode),
        "measure": short(episode.measure),
        "steps": span,
        "strength": f"{episode.strength:.1f}",
    }


def _episode_picture(table: pd.DataFrame, episode: Any) -> Picture:
    """The measure over steps with its band, and the span outside."""
    with style():
        figure, axes = plt.subplots(figsize=(4.4, 2.1), layout="constrained")
        draw_episode(axes, table, episode)
        axes.set_xlabel("step")
        sns.despine(figure)
    band = bands(table, int(episode.layer), int(episode.head), episode.measure)
    inside = band[(band["step"] >= episode.start) & ~(band["step"] > episode.end)]
    values, low, high = inside["value"], inside["low"].median(), inside["high"].median()
    alt = (
        f"{episode_in_words(episode)}: {short(episode.measure)} {values.min():.3g} to "
        f"{values.max():.3g}, expected {low:.3g} to {high:.3g}."
    )
    return Picture(figure, alt)


def _outlier_row(outlier: Any) -> dict[str, str]:
    return {
        "head": head_name(outlier),
        "measure": short(outlier.measure),
        "value": number(outlier.value, 3),
        "median": number(outlier.median, 3),
        "robust z": number(outlier.z, 1, signed=True),
    }


def _outlier_picture(b: Balance, outlier: Any) -> Picture:
    """All heads on one axis, this one marked."""
    by: By = "contributions" if outlier.measure == "contribution" else "weights"
    values = b.map(outlier.measure, "all", by)
    values = np.sort(values[np.isfinite(values)])
    blue, orange = RUN_COLOURS[:2]
    with style():
        figure, axes = plt.subplots(figsize=(4.4, 1.4), layout="constrained")
        axes.plot(values, np.zeros(len(values)), "|", color="0.45", markersize=16)
        axes.plot(outlier.median, 0, "|", color=blue, markersize=26, markeredgewidth=3)
        axes.plot(outlier.value, 0, "o", color=orange, markersize=8)
        looks: dict[str, Any] = {
            "textcoords": "offset points",
            "ha": "center",
            "fontsize": 9,
            "path_effects": [HALO],
        }
        axes.annotate(head_name(outlier), (outlier.value, 0), xytext=(0, 12), **looks)
        axes.annotate("median", (outlier.median, 0), xytext=(0, -24), color=blue, **looks)
        axes.set(ylim=(-1, 1), yticks=[], xlabel=short(outlier.measure))
        axes.margins(x=0.08)
        sns.despine(figure, left=True)
    alt = (
        f"{short(outlier.measure)} of all heads: layer {outlier.layer:.0f} head "
        f"{outlier.head:.0f} has {outlier.value:.3g}, the median is {outlier.median:.3g}, "
        f"robust z {outlier.z:+.1f}."
    )
    return Picture(figure, alt)
