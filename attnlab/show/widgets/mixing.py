"""What the mixing desk's faders, presets and results mean, as plain functions."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from attnlab.classification.base import Stopped
from attnlab.errors import AttnlabError, SettingsError, suggest
from attnlab.evaluation import Comparison, Evaluator, Measurement
from attnlab.evaluation.scores import Score
from attnlab.heads.settings import HeadSettings

Place = tuple[int, int]
PRESETS = ("neutral", "silence", "keep-one", "random-half", "least-important")
_FLIPS_SHOWN = 60
_REMEMBERED = 12  # settings whose measured accuracy is kept, so that going back costs nothing


# ── faders and presets ─────────────────────────────────────────────────────────────────────────


def to_faders(settings: HeadSettings) -> dict[str, list[list[float]]]:
    """Settings as the desk's tables of numbers."""
    return {
        name: [[round(value, 4) for value in row] for row in getattr(settings, name).tolist()]
        for name in ("scale", "temperature")
    }


def from_faders(faders: dict[str, Any], layers: int, heads: int) -> HeadSettings:
    """The desk's tables as settings; SettingsError if they do not fit a model of this size."""
    try:
        tables = [
            torch.tensor(faders[name], dtype=torch.float32) for name in ("scale", "temperature")
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"The desk's faders cannot be read: {error}. Press “All neutral”."
        ) from error
    return HeadSettings.of(*tables).validate_single(layers, heads)


def preset(
    name: str,
    settings: HeadSettings,
    place: Place,
    seed: int = 0,
    order: Sequence[Place] = (),
    count: int = 0,
) -> HeadSettings:
    """The settings after a preset was pressed.

    Parameters
    ----------
    name : "neutral"; "silence" sets the head at ``place`` to 0 and leaves the others; "keep-one"
        silences all but one head of every layer, the one whose number ``place`` names;
        "random-half" silences half of all heads, drawn from ``seed``; "least-important" silences
        the first ``count`` heads of ``order``
    order : the heads (layer, head) that are there, the least important first

    Raises
    ------
    AttnlabError : an unknown name, or more heads to silence than there are
    """
    if name not in PRESETS:
        raise AttnlabError(f"There is no preset {name!r}. {suggest(name, PRESETS)}")
    new = settings.copy()
    layer, head = place
    if name == "silence":
        new.scale[layer, head] = 0
        return new
    new.reset()
    if name == "keep-one":
        new.scale[:] = 0
        new.scale[:, head] = 1
    elif name == "random-half":
        number = new.scale.numel()
        silent = np.random.default_rng(seed).permutation(number)[: number // 2]
        new.scale.view(-1)[torch.as_tensor(silent)] = 0
    elif name == "least-important":
        if not isinstance(count, int) or not 0 <= count <= len(order):
            raise AttnlabError(
                f"{count!r} heads cannot be silenced: there are {len(order)}. Give a whole number "
                "up to that."
            )
        for layer, head in order[:count]:
            new.scale[layer, head] = 0
    return new


# ── results ────────────────────────────────────────────────────────────────────────────────────


class Measurements:
    """What was measured: of the untouched model for good, and of the last few settings."""

    def __init__(self, evaluator: Evaluator):
        self.evaluator = evaluator
        self.neutral = evaluator.stream(evaluator.clf.settings())
        self._latest: list[Measurement] = []  # the newest last

    def of(self, settings: HeadSettings) -> Measurement:
        """The measurement of these settings, as far as it is."""
        known = (
            measurement
            for measurement in (self.neutral, *self._latest)
            if measurement.settings == settings
        )
        found = next(known, None) or self.evaluator.stream(settings)
        if found is not self.neutral:
            others = (measurement for measurement in self._latest if measurement is not found)
            self._latest = [*others, found][-_REMEMBERED:]
        return found


def in_turn(measure: Callable[[], object], current: Callable[[], bool]) -> Iterator[None]:
    """Measure a chunk; where it stops for something more urgent, give way and start it again."""
    while True:
        try:
            measure()
            return
        except Stopped:
            if not current():
                raise
        yield


def accuracy_report(
    mine: Measurement, other: Measurement, step: int, side: str = ""
) -> dict[str, Any]:
    """The accuracy panel after a chunk that both have seen: the score and the change between them.

    Parameters
    ----------
    mine : of what the faders say
    other : what it is compared with: the untouched model, or the other one of A and B
    step : number of the chunk
    side : "A" or "B", the one the faders show, if two are compared; the change is always B against
        A

    Notes
    -----
    A change is known much better than an accuracy, since both answer the same texts. So before all
    are measured, and where the other's accuracy on all is known, the accuracy is that, plus the
    change so far.
    """
    snapshot, before = mine.snapshots[step], other.snapshots[step]
    score = snapshot.score
    report = {
        "state": "measured" if snapshot.finished else "partial",
        "accuracy": score.accuracy,
        "interval": list(score.ci),
        "n": score.n,
        "total": snapshot.total,
        "seconds": score.seconds,
        "side": side,
        "delta": None,
    }
    if mine is other:
        return report
    change = _change(mine.compare(other, step) if side == "A" else other.compare(mine, step))
    if not snapshot.finished and other.finished and other.score:
        moved = score.accuracy - before.score.accuracy
        report["accuracy"] = min(1.0, max(0.0, other.score.accuracy + moved))
        report["interval"] = _moved(other.score, moved, change)
    return report | change


def _moved(known: Score, moved: float, change: dict[str, Any]) -> list[float]:
    """95 % interval of a known accuracy plus a change that has an interval of its own.

    The distances to the ends add up as independent errors do (Zou and Donner 2008, "MOVER").
    """
    low, high = known.ci
    point, half = known.accuracy + moved, (change["high"] - change["low"]) / 2
    return [
        max(0.0, point - float(np.hypot(known.accuracy - low, half))),
        min(1.0, point + float(np.hypot(high - known.accuracy, half))),
    ]


def _change(comparison: Comparison) -> dict[str, Any]:
    """What changed, for the view: the numbers, and the first answers that flipped."""
    shown = comparison.flips.head(_FLIPS_SHOWN)
    texts = shown["text"] if "text" in shown else [f"image {index + 1}" for index in shown.index]
    flips = [
        {"text": text, "after": after, "label": label, "right": bool(after == label)}
        for text, label, after in zip(texts, shown["label"], shown["after"], strict=True)
    ]
    test = comparison.test
    return {
        "delta": test.delta,
        "low": test.low,
        "high": test.high,
        "p": test.p_value,
        "gained": test.gained,
        "lost": test.lost,
        "flips": sorted(flips, key=lambda flip: flip["right"]),
    }
