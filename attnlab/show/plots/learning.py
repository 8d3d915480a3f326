"""Learning curves: what one run saw, or several."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import HALO, Picture, style
from attnlab.show.wording import plain
from attnlab.statistics import share_interval
from attnlab.training.history import History

# Runs in one picture. The colours stay apart for colour-blind readers too: at least 20 CIELAB
# units under simulated protanopia, deuteranopia and tritanopia (Machado et al. 2009), and 3:1 on
# white. See also curve.css.
RUN_COLOURS = ("#1f5fa8", "#e06000", "#1b1b24", "#2f9e78", "#7a0000", "#8f1fff")
RUN_DASHES = ((), (4, 1.6), (1, 1.2), (5, 1.2, 1, 1.2), (8, 2), (2, 1.4))
RUN_MARKERS = ("o", "s", "^", "v", "D", "P")


def learning_curve(
    history: History | Mapping[str, History],
    dev_texts: int | None = None,
    guessing: float | None = None,
) -> Picture:
    """Draw how one run learned, or several: losses, learning rate and dev accuracy.

    Parameters
    ----------
    history : of one run, or a name for each of several
    dev_texts : how many texts the accuracy was measured on; with it goes a 95 % interval
    guessing : the loss of a model that guesses, such as ln 2 for two classes: a grey line

    The loss of single steps is drawn thin, and thick as `smoothed`. Without steps in every history,
    as in one read from an adapter's card, losses are those of whole epochs. Of a translator the
    accuracy is the share of exact matches, and chrF is drawn thin beside it.
    """
    histories = {"training": history} if isinstance(history, History) else dict(history)
    histories = {name: run for name, run in histories.items() if run.rows or run.steps}
    if not histories:
        raise AttnlabError(
            "This history is empty. Train first: clf = al.finetune(...); then clf.history."
        )
    by_step = all(run.steps for run in histories.values())
    if not by_step:
        histories = {name: run for name, run in histories.items() if run.rows}
    with style():
        figure = plt.figure(figsize=(9.4, 4), layout="constrained")
        grid = figure.add_gridspec(2, 2, height_ratios=(4, 1), width_ratios=(3, 2))
        left = figure.add_subplot(grid[0, 0] if by_step else grid[:, 0])
        right = figure.add_subplot(grid[:, 1])
        (_draw_steps if by_step else _draw_epochs)(left, histories)
        handles = _loss_legend(
            "each step" if by_step else None, "smoothed" if by_step else "training"
        )
        if guessing is not None:
            seen = np.concatenate([np.asarray(line.get_ydata(), float) for line in left.lines])
            _draw_guessing(left, seen[np.isfinite(seen)], guessing)
            handles.append(left.lines[-1])
        _legend_above(left, handles)
        _draw_accuracies(right, histories, dev_texts)
        if by_step:
            left.tick_params(labelbottom=False)
            _draw_rates(figure.add_subplot(grid[1, 0], sharex=left), histories)
        sns.despine(figure)
    alt = _describe_runs(histories, dev_texts)
    return Picture(figure, alt if guessing is None else f"{alt} Guessing: loss {guessing:.2f}.")


def smoothed(step: np.ndarray, values: np.ndarray, steps: int) -> np.ndarray:
    """Return a moving mean: a value counts e times less every 1/30 of the run, or 2 steps.

    Parameters
    ----------
    step : array (N,), at which step each value was seen, rising
    values : array (N,); what is not a number is left out
    steps : of the whole run; of less than 60 it is every 2 steps, or nothing would be smoothed

    What is drawn does not change when more values come.
    """
    gaps = np.diff(step, prepend=2 * step[0] - step[1] if len(step) > 1 else 0)
    shares = 1 - np.exp(-np.maximum(gaps, 1e-9) * 30 / max(steps, 60))
    total = weight = 0.0
    means = np.full(len(values), np.nan)
    for place, (value, share) in enumerate(zip(values, shares, strict=True)):
        if np.isfinite(value):
            total += share * (value - total)
            weight += share * (1 - weight)
        if weight:
            means[place] = total / weight
    return means


def loss_floor(lowest: float, guessing: float | None) -> float:
    """Where the axis of losses begins: at 0, or below the lowest where guessing is drawn too."""
    return 0.0 if guessing is None else max(0.0, math.floor(10 * lowest - 0.2) / 10)


def epoch_ends(history: History) -> list[float]:
    """After which step each epoch ended: the last one noted by then, or a little early."""
    clock = np.array([noted["seconds"] for noted in history.steps])
    step = [0.0, *(float(noted["step"]) for noted in history.steps)]
    return [step[int(np.searchsorted(clock, row["seconds"], "right"))] for row in history.rows]


def accuracy_name(histories: Iterable[History]) -> str:
    """What the dev accuracy of runs is: "accuracy", or "exact match" if all are of translators."""
    translated = [_translates(history) for history in histories]
    return "exact match" if translated and all(translated) else "accuracy"


def bars(shares: Sequence[float] | np.ndarray, texts: int) -> np.ndarray:
    """How far the 95 % intervals of shares of so many texts reach below and above: (2, N).

    >>> bars([1.0], 40).round(3).tolist()
    [[0.088], [0.0]]
    """
    ends = np.array([share_interval(round(share * texts), texts) for share in shares])
    return np.abs(ends - np.asarray(shares, dtype=float)[:, None]).T


def quality(history: History, row: Mapping[str, float], share: str) -> str:
    """How good an epoch was on dev, in words.

    Parameters
    ----------
    row : of ``history.rows``
    share : its accuracy, written out
    """
    words = f"{accuracy_name([history])} {share}"
    return f"chrF {row['dev_chrf']:.1f} and {words}" if _translates(history) else words


def brief(rate: float) -> str:
    """A learning rate as people write it: 1e-4, 2.5e-5."""
    digits, power = f"{rate:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}" if rate else "0"


def _looks(histories: Mapping[str, History]) -> Iterator[tuple[History, dict[str, Any]]]:
    """Each run with how its lines look: told apart by colour, dashes and marker."""
    kinds = itertools.cycle(zip(RUN_COLOURS, RUN_DASHES, RUN_MARKERS, strict=True))
    for history, (colour, dashes, marker) in zip(histories.values(), kinds, strict=False):
        line = (0, dashes) if dashes else "-"
        yield history, {"color": colour, "linestyle": line, "marker": marker}


def _draw_steps(axes: Axes, histories: Mapping[str, History]) -> None:
    """Loss of the steps, thin and smoothed, and dev loss at the ends of epochs."""
    highest = 0.0
    for history, looks in _looks(histories):
        frame = history.steps_frame()
        step, loss = frame["step"].to_numpy(float), frame["loss"].to_numpy(float)
        mean = smoothed(step, loss, int(step.max()))
        axes.plot(step, loss, color=looks["color"], linewidth=1, alpha=0.65)
        axes.plot(step, mean, linewidth=2, **looks | {"marker": "" if len(step) > 1 else "o"})
        dev = [row.get("dev_loss", np.nan) for row in history.rows]
        axes.plot(epoch_ends(history), dev, "D", mfc="white", mec=looks["color"], mew=1.6)
        highest = max([highest, *mean[np.isfinite(mean)], *(loss for loss in dev if loss > 0)])
    axes.set(ylim=(0, 1.08 * highest or 1), ylabel="loss, nats")


def _draw_epochs(axes: Axes, histories: Mapping[str, History]) -> None:
    """Mean training loss of each epoch, and dev loss."""
    for history, looks in _looks(histories):
        frame = history.to_frame()
        axes.plot(frame["epoch"], frame["train_loss"], **looks | {"marker": ""}, linewidth=2)
        if "dev_loss" in frame:
            axes.plot(frame["epoch"], frame["dev_loss"], "D", mfc="white", mec=looks["color"])
    axes.set(xlabel="epoch", ylabel="loss, nats", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_guessing(axes: Axes, seen: np.ndarray, guessing: float) -> None:
    """The loss of guessing, and axes from below the lowest of what is seen."""
    axes.axhline(guessing, color="0.45", linewidth=1, zorder=1, linestyle="--", label="guessing")
    known = [*seen.tolist(), guessing]
    low, high = loss_floor(min(known), guessing), max(known)
    axes.set_ylim(low, high + 0.1 * (high - low))


def _loss_legend(thin: str | None, thick: str) -> list[Line2D]:
    grey: dict[str, Any] = {"color": "0.35"}
    diamond: dict[str, Any] = {
        "marker": "D",
        "linestyle": "",
        "mfc": "white",
        "mec": "0.35",
        "mew": 1.6,
    }
    raw = [Line2D([], [], linewidth=1, alpha=0.65, label=thin, **grey)] if thin else []
    mean = Line2D([], [], linewidth=2, label=thick, **grey)
    return [*raw, mean, Line2D([], [], label="dev", **diamond)]


def _legend_above(axes: Axes, handles: Sequence[Any], names: Sequence[str] | None = None) -> None:
    """A legend in one row above the axes, where no line can run through it."""
    names = [handle.get_label() for handle in handles] if names is None else names
    axes.legend(
        handles,
        names,
        frameon=False,
        ncols=4 if len(handles) == 4 else 3,
        fontsize=9,
        columnspacing=1.4,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        borderaxespad=0.2,
    )


def dev_accuracies(history: History) -> np.ndarray:
    """Dev accuracy after each epoch; AttnlabError for a run that measures something else."""
    for row in history.rows:
        if "dev_accuracy" not in row:
            measured = ", ".join(name for name in row if name.startswith("dev_")) or "nothing"
            raise AttnlabError(
                f"This run measured no accuracy on dev, which is drawn here, but {measured}. "
                "history.to_frame() has what there is to draw."
            )
    return np.array([row["dev_accuracy"] for row in history.rows], float)


def _draw_accuracies(axes: Axes, histories: Mapping[str, History], dev_texts: int | None) -> None:
    """Dev accuracy at the end of every epoch, with its 95 % interval."""
    handles = []
    shifts = np.linspace(-0.06, 0.06, len(histories)) if len(histories) > 1 else [0.0]
    for (history, looks), shift in zip(_looks(histories), shifts, strict=True):
        epoch = np.array([row["epoch"] for row in history.rows])
        share = dev_accuracies(history)
        error = None if dev_texts is None else 100 * bars(share, dev_texts)
        drawn = axes.errorbar(epoch + shift, 100 * share, error, capsize=3, linewidth=1.2, **looks)
        handles.append(drawn)
        if len(histories) == 1 and len(epoch) <= 6:
            for place, (number, percent) in enumerate(zip(epoch, 100 * share, strict=True)):
                rises = percent < 100 * share[min(place + 1, len(share) - 1)]
                axes.annotate(  # on the side from which the line does not leave
                    f"{percent:.1f}",
                    (number, percent),
                    fontsize=9,
                    zorder=5,
                    xytext=(7, -11 if rises else 5),
                    textcoords="offset points",
                    path_effects=[HALO],
                )
        if _translates(history):
            chrf = [row["dev_chrf"] for row in history.rows]
            axes.plot(epoch + shift, chrf, linewidth=0.8, color=looks["color"])
    low, high = axes.get_ylim()
    # below 5 points, differences look like much
    room = max(0.1 * (high - low), 2.5 - (high - low) / 2)
    name = accuracy_name(histories.values())
    label = f"dev {name}, %" + (" (thin: chrF)" if name == "exact match" else "")
    axes.set(xlabel="epoch", ylabel=label, ylim=(low - room, high + room))
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if dev_texts is not None:
        note = f"95 % intervals, {dev_texts:,} texts"
        axes.annotate(note, (0.99, 0.01), xycoords="axes fraction", ha="right", fontsize=9)
    if len(histories) > 1:
        _legend_above(axes, handles, [plain(name, 14) for name in histories])


def _translates(history: History) -> bool:
    """Whether a history is that of a translator, whose best epoch is chosen by chrF."""
    return history.chosen_by == "dev_chrf"


def _draw_rates(axes: Axes, histories: Mapping[str, History]) -> None:
    """The learning rate; of several runs, each as a share of its highest."""
    several = len(histories) > 1
    for history, looks in _looks(histories):
        frame = history.steps_frame()
        rate = frame["learning_rate"] / (frame["learning_rate"].max() / 100 if several else 1)
        axes.plot(frame["step"], rate, linewidth=1.5, **looks | {"marker": ""})
    label = "% of highest\nrate" if several else "learning\nrate"
    axes.set(xlabel="step", ylabel=label, ylim=(0, None))
    top = 100.0 if several else float(frame["learning_rate"].max())
    axes.set_yticks([0, top], ["0", "100" if several else brief(top)])
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))


def _describe_runs(histories: Mapping[str, History], dev_texts: int | None) -> str:
    """Alt text of a learning curve: for each run where its loss went and how good it became."""
    told = []
    for name, history in histories.items():
        words = f"{name}: " if len(histories) > 1 else ""
        if not history.rows:
            words += f"no epoch has ended; last loss {history.steps[-1]['loss']:.2f}"
            told.append(words)
            continue
        first, last, best = history.rows[0], history.rows[-1], history.best
        interval = ""
        if dev_texts is not None:
            low, high = share_interval(round(best["dev_accuracy"] * dev_texts), dev_texts)
            interval = f" (95 %: {100 * low:.1f} to {100 * high:.1f})"
        epochs = f"{len(history.rows)} epoch{'s' if len(history.rows) > 1 else ''}"
        words += (
            f"over {epochs} training loss from {first['train_loss']:.2f} to "
            f"{last['train_loss']:.2f}; best dev "
            f"{quality(history, best, format(best['dev_accuracy'], '.1%'))}{interval} at epoch "
            f"{best['epoch']:.0f}"
        )
        top = max(history.rows, key=lambda row: row["dev_accuracy"])
        if top["dev_accuracy"] > best["dev_accuracy"]:  # chosen by something else
            name_of_share = accuracy_name([history])
            words += f"; highest {name_of_share} {top['dev_accuracy']:.1%} at epoch "
            words += f"{top['epoch']:.0f}"
        told.append(words)
    return f"Learning curve. {'. '.join(told)}."
