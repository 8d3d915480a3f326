"""Picture of which tokens of a text made the answer, by several measures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from attnlab.show.plots.maps import MAX_TOKENS, readable
from attnlab.show.plots.picture import Picture, heatmap, need, style
from attnlab.show.wording import number

_UNSIGNED, _SIGNED = ("attention", "rollout"), ("gradient", "ablation")
_HEADINGS = {
    "attention": "attention,\nlast layer, %",
    "rollout": "attention\nrollout, %",
    "gradient": "gradient ×\ninput, logits",
    "ablation": "ablation,\nnats",
}


def explanations(frame: pd.DataFrame) -> Picture:
    """Draw which tokens of a text made the answer, by four measures; each column has its own scale.

    Parameters
    ----------
    frame : of `evaluation.explanations`

    Attention has no sign. Gradients and ablation have one: red speaks for the answer, blue against
    it. The largest of each column is framed.
    """
    names = (*_UNSIGNED, *_SIGNED)
    need(frame, ("token", *names), "evaluation.explanations")
    shown = min(len(frame), MAX_TOKENS)
    with style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(6.6, 1.5 + 0.3 * shown), layout="constrained", sharey=True
        )
        _draw_columns(left, frame, _UNSIGNED)
        _draw_columns(right, frame, _SIGNED)
        left.set_xlabel("light: looked at more, each column by itself")
        right.set_xlabel("red: for the answer, blue: against it")
        if "label" in frame.attrs:
            answer = f"Answer: {frame.attrs['label']} ({frame.attrs['probability']:.0%})"
            figure.suptitle(answer, x=0.01, ha="left", fontsize=11)
    firsts = [f"{frame.loc[frame[name].abs().idxmax(), 'token']!r} by {name}" for name in names]
    cut = f"the first {shown} of " if shown < len(frame) else ""
    alt = (
        f"Four measures of {cut}{len(frame)} tokens"
        + (f", answer {frame.attrs['label']!r}" if "label" in frame.attrs else "")
        + f". Largest is {', '.join(firsts)}."
    )
    return Picture(figure, alt)


def _draw_columns(axes: Axes, frame: pd.DataFrame, names: tuple[str, ...]) -> None:
    """Two measures of the first tokens, each as a share of its largest, its numbers written."""
    signed = names == _SIGNED
    columns = frame[list(names)].to_numpy(float)
    values = columns[:MAX_TOKENS]
    share = values / np.maximum(np.abs(columns).max(0), 1e-12)
    written = [_written(column if signed else 100 * column) for column in values.T]
    tokens = [token.replace("$", r"\$") for token in readable(list(frame["token"][:MAX_TOKENS]))]
    heatmap(
        share,
        axes,
        cmap="vlag" if signed else "cividis",
        vmin=-1 if signed else 0,
        vmax=1,
        annot=np.stack(written, 1),
        fmt="",
        annot_kws={"size": 9},
        linewidths=0.5,
        cbar=False,
        xticklabels=[_HEADINGS[name] for name in names],
        yticklabels=tokens,
    )
    axes.tick_params(axis="both", rotation=0, length=0)
    axes.xaxis.tick_top()
    for column, row in enumerate(np.abs(share).argmax(0)):
        axes.add_patch(
            Rectangle((column, row), 1, 1, fill=False, ec="black", lw=2, clip_on=False, zorder=5)
        )


def _written(values: np.ndarray) -> np.ndarray:
    """The numbers of a column as text, with as many decimals as its largest needs."""
    largest = float(np.abs(values).max()) or 1.0
    decimals = int(np.clip(1 - np.floor(np.log10(largest)), 1, 4))
    return np.array([number(value, decimals) for value in values])
