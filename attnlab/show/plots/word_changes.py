"""Picture of how much an answer changes without each word of a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import Picture, show, style

_FALL, _RISE = ("#9dbbe0", "#2369bd"), ("#dea5a5", "#a9373b")  # pale, and where the answer turns


def word_changes(
    words: Sequence[str],
    changes: Mapping[str, Sequence[float] | np.ndarray],
    *,
    label: str,
    turn: float | None = None,
) -> Picture:
    """Draw how far a probability moves without each word: bars, and dots for a second way.

    Blue falls and red rises, as in `head_map`.

    Parameters
    ----------
    words : of the sentence, from top to bottom
    changes : one or two ways to take a word away, and the change in percentage points for each word
    label : what the axis shows, with its unit
    turn : the change at which the answer turns: a dotted line there, and bars beyond it are
        strong; None where no bar comes near it

    Raises
    ------
    AttnlabError : if a way does not have one number for each word, or there are more than two ways
    """
    known = {name: np.asarray(values, dtype=float) for name, values in changes.items()}
    for name, values in known.items():
        if values.shape != (len(words),):
            raise AttnlabError(
                f"{name!r} has shape {values.shape}; there are {len(words)} words, and each needs "
                "one number."
            )
    if not 1 <= len(known) <= 2:
        raise AttnlabError(f"word_changes draws one or two ways; these are {len(known)}.")
    (bars, first), *rest = known.items()
    rows = range(len(words))
    with style():
        size = (7.6, 0.9 + 0.3 * len(rest) + 0.23 * len(words))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        strong = _beyond(first, turn)
        colours = [
            (_FALL if value < 0 else _RISE)[int(at)]
            for value, at in zip(first, strong, strict=True)
        ]
        drawn = axes.barh(rows, first, color=colours, height=0.7)
        if not rest:  # a word without a bar is seen to have been measured
            axes.bar_label(drawn, [_signed(value) for value in first], padding=3, fontsize=8)
            axes.margins(x=0.1)
        for name, values in rest:
            (dots,) = axes.plot(values, rows, "o", mfc="#212121", mec="white", mew=1, ms=7)
            both = tuple(Patch(fc=colour[0]) for colour in (_FALL, _RISE))  # bars fall or rise
            side_by_side = {tuple: HandlerTuple(ndivide=2, pad=0)}
            figure.legend(
                handles=[both, dots],
                labels=[bars, name],
                handler_map=side_by_side,
                frameon=False,
                loc="outside upper right",
                ncols=2,
            )
        axes.set_yticks(rows, [word.replace("$", r"\$") for word in words])
        axes.invert_yaxis()
        axes.axvline(0, color="0.3", lw=1)
        if turn is not None:
            _mark(axes, turn)
        axes.set(xlabel=label)
        axes.spines[["top", "right", "left"]].set_visible(False)
    told = [f"{label}, one by one."]
    for name, values in known.items():
        if turn is None:
            largest = int(np.abs(values).argmax())
            told.append(f"{name}: largest at {words[largest]}, {_signed(values[largest])}.")
        else:
            turning = ", ".join(np.array(words)[_beyond(values, turn)]) or "no word"
            told.append(f"{name}: the answer turns at {turning}.")
    return show(figure, " ".join(told))


def _mark(axes: Axes, turn: float) -> None:
    """A dotted line at 50 %, where the answer turns."""
    axes.axvline(turn, color="0.3", lw=1, ls=":")
    place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate("50 %", (turn, 1), (0, 5), ha="center", fontsize=9, **place)


def _signed(value: float) -> str:
    """The change to a whole point, with its sign."""
    return f"{value:+.0f}".replace("-", "−") if round(value) else "0"


def _beyond(values: np.ndarray, turn: float | None) -> np.ndarray:
    """Which changes are large enough to turn the answer."""
    if turn is None:
        return np.zeros(values.shape, dtype=bool)
    return (values < turn) if turn < 0 else (values > turn)
