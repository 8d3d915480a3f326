"""What a gradient at neutral says of every head, for the mixing desk: estimates and importances."""

import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal, get_args

import numpy as np

from attnlab.classification.base import Stopped
from attnlab.evaluation import Evaluator, Measurement
from attnlab.evaluation.gradients import TextGradients, text_gradients
from attnlab.show.widgets.mixing import in_turn

_ESTIMATED_ON = 1000  # sentences whose gradients the view gets: half a megabyte for 72 heads
_SHOWN_FIRST = 192  # of them are done, and shown, before the others
_GRADIENTS_AT_ONCE = 64  # sentences; a fader moved meanwhile waits for no more than these

Place = tuple[int, int]
Colour = Literal["loss", "margin"]
COLOURS: tuple[Colour, ...] = get_args(Colour)


def first_order(
    evaluator: Evaluator,
    neutral: Measurement,
    stop: Callable[[], bool],
    outranked: Callable[[], bool] = lambda: False,
    colour: Colour = "loss",
) -> Iterator[dict[str, Any] | None]:
    """Take the gradients in small parts, of a few sentences first, giving way after each part.

    Parameters
    ----------
    neutral : measurement of the untouched model, which is finished first
    stop : whether nobody wants them any more
    outranked : whether something more urgent waits
    colour : what the importance of a head is: the "loss" that silencing it adds, in nats, or the
        "margin" that it takes away, in logits, both to first order

    Yields
    ------
    None where something else may have its turn, and otherwise what is new, as a dict of

    - ``first_order`` : how many sentences are ``done`` of how many in ``total``; and once those of
      a stage are, ``importance`` and ``use`` of every head, the ``colour``, that is what the
      importance is of, ``accuracy`` at neutral, and ``n``, how many sentences these come from
    - ``slopes`` : with those, bytes as `packed` makes them
    """
    data, lengths = evaluator.dataset, evaluator.encoded.lengths
    drawn = np.random.default_rng(0).permutation(len(data))[:_ESTIMATED_ON]
    # in each stage those of like length together, so that little is padded
    stages = [
        sorted(stage, key=lambda index: lengths[index])
        for stage in (drawn[:_SHOWN_FIRST], drawn[_SHOWN_FIRST:])
        if len(stage)
    ]
    indices = np.array([index for stage in stages for index in stage])
    yield {"first_order": {"done": 0, "total": len(indices)}}
    for step in itertools.count():
        yield from in_turn(
            functools.partial(neutral.at, step, lambda: stop() or outranked()),
            lambda: not stop(),
        )
        if neutral.finished:
            break
        yield None
    # in float32, whatever the number format of the measurements
    exact = Evaluator(evaluator.clf, data.select(indices), cache_mb=0)
    margins, log_odds = [], []
    known: dict[str, Any] = {}
    done = 0
    for stage in stages:
        for part in np.array_split(
            np.arange(done, done + len(stage)), math.ceil(len(stage) / _GRADIENTS_AT_ONCE)
        ):
            yield None
            if stop():
                raise Stopped
            margins.append(text_gradients(exact, "margin", part))
            if len(evaluator.clf.label_names) == 2:  # the two are one
                log_odds.append(margins[-1])
            else:
                log_odds.append(text_gradients(exact, "log_odds", part))
            done += len(part)
            yield {"first_order": known | {"done": done, "total": len(indices)}}
        slopes, odds = TextGradients.joined(margins), TextGradients.joined(log_odds)
        score = neutral.snapshots[-1].score
        known = {
            "importance": brief(odds.loss_rise() if colour == "loss" else slopes.scale.mean(0)),
            "colour": colour,
            "use": brief(odds.use()),
            "accuracy": score.accuracy,
            "n": done,
        }
        yield {
            "first_order": known | {"done": done, "total": len(indices)},
            "slopes": packed(score.margins[indices[:done]], slopes.scale, slopes.temperature),
        }


def brief(table: np.ndarray) -> list[list[float]]:
    """Numbers to four digits, for the view."""
    return [[float(f"{value:.4g}") for value in row] for row in table.tolist()]


def packed(margins: np.ndarray, scale: np.ndarray, temperature: np.ndarray) -> bytes:
    """What the view needs to estimate accuracy by itself, as float32, little-endian.

    Parameters
    ----------
    margins : (N,); scale, temperature : (N, L, H), gradients of the margins by scale and log
        temperature

    Returns
    -------
    A row of N numbers for the margins, then one for each head's scale, then for each one's
    temperature.
    """
    columns = [margins[:, None], scale.reshape(len(scale), -1), temperature.reshape(len(scale), -1)]
    return np.concatenate(columns, axis=1).T.astype("<f4").tobytes()


def least_first(use: np.ndarray, removed: Collection[Place]) -> list[Place]:
    """The heads that are there, the least used first.

    Use is the mean size of a text's gradient (Michel et al. 2019). A head that helps some texts and
    harms others has much of it, though its mean effect may be 0; many of those cannot go together.
    """
    layers, heads = use.shape
    places = itertools.product(range(layers), range(heads))
    return sorted((place for place in places if place not in removed), key=lambda place: use[place])
