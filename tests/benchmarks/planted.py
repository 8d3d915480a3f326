"""Anomalies planted in real training, to see how many are found: heads tampered with a while."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
from torch import Tensor

import attnlab as al
from attnlab import heads
from attnlab.balance.control_chart import episodes
from attnlab.balance.recorder import Recorder
from attnlab.classification.classifier import Classifier
from attnlab.datasets.splits import Splits
from attnlab.training.run import Run

EVERY = 2
STEPS = 80
HEADS, TAMPERED = 72, 7
WAYS = {"larger": "collapse", "zero": "spread", "other": "jump", "silent": "dead gradient"}
_EARLIEST, _LATEST, _SHORTEST, _LONGEST = 20, 50, 8, 20  # steps


def planted(seed: int, tampered: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fine-tune the bundled BERT while heads are tampered with; return the record, and the truth.

    Seven heads of 72, drawn from the seed, each over a span of 8 to 20 steps; one span lasts to the
    end. The ways:

    - larger: query times 30, so that the head looks at one token ("collapse");
    - zero: query times 0, so that it looks at all alike ("spread");
    - other: query and key of another head of the layer ("jump");
    - silent: its gradient is taken away, going backward, or its value and output set to 0 ("dead
      gradient").

    Afterwards the weights are put back.

    Half a minute on one core.

    Returns
    -------
    table : what a `balance.Recorder` saw, every two steps
    truth : DataFrame, a row per tampered head: ``layer``, ``head``, ``kind``, ``start``, ``end``
        (NaN if it lasts)
    """
    movies = al.datasets.load("movie-sentiment")
    splits = Splits(
        movies.train.sample(8 * STEPS // 2, seed),
        movies.dev.sample(16, seed),
        movies.test.sample(16, seed),
    )
    by_length = sorted(movies.dev.sample(60, seed + 100).texts, key=len)
    recorder = Recorder(by_length[10:24], EVERY)
    truth = _drawn(seed) if tampered else _drawn(seed).iloc[:0]
    working: dict[int, _Tampering] = {}

    class Tamper(al.training.Callback):
        def on_step(self, run: Run) -> None:
            for at, row in enumerate(truth.itertuples()):
                if run.step == row.start:
                    working[at] = _Tampering(run.learner, row.layer, row.head, row.way, row.other)
                if run.step == row.end and at in working:
                    working.pop(at).undo()
            for one in working.values():
                one.hold()

    both = [Tamper(), recorder]
    al.finetune("minilm", splits, "full", epochs=2, batch_size=8, seed=seed, callbacks=both)
    return recorder.table, truth.drop(columns=["way", "other"])


def judged(
    runs: Sequence[tuple[pd.DataFrame, pd.DataFrame]],
    untouched: Sequence[pd.DataFrame],
    **options: float,
) -> dict[str, float]:
    """How well `balance.episodes` finds what was planted, over several runs together.

    Parameters
    ----------
    runs : of `planted`
    untouched : tables of `planted` with ``tampered=False``
    options : for `balance.episodes`

    Returns
    -------
    recall : share of the planted stretches that a row of their head overlaps (give or take an
        interval)
    precision : share of the rows that stand for a planted stretch; a second row for the same one
        does not
    ends_within : of those found, the share whose start and end are both right to one interval
    kinds_right : likewise, the share whose kind is the one planted
    flagged_untouched : share of heads with a row although nothing was done
    """
    planted_, rows, right = 0, 0, []
    for table, truth in runs:
        found = episodes(table, **options)
        planted_, rows = planted_ + len(truth), rows + len(found)
        for one in truth.fillna({"end": np.inf}).itertuples():
            same = found[(found["layer"] == one.layer) & (found["head"] == one.head)]
            ends = same["end"].fillna(np.inf)
            same = same[(same["start"] <= one.end + EVERY) & (ends >= one.start - EVERY)]
            if len(same):
                best = same.loc[same["strength"].idxmax()]
                end = best["end"] if np.isfinite(best["end"]) else np.inf
                ends_right = end == one.end or abs(end - one.end) <= EVERY
                starts_right = abs(best["start"] - one.start) <= EVERY
                right.append((ends_right and starts_right, best["kind"] == one.kind))
    flagged = [
        len(episodes(one, **options)[["layer", "head"]].drop_duplicates()) for one in untouched
    ]
    return {
        "recall": len(right) / planted_,
        "precision": len(right) / rows if rows else 1.0,
        "ends_within": float(np.mean([ends for ends, _ in right])) if right else 0.0,
        "kinds_right": float(np.mean([kind for _, kind in right])) if right else 0.0,
        "flagged_untouched": sum(flagged) / (HEADS * len(untouched)),
    }


def _drawn(seed: int) -> pd.DataFrame:
    """Which heads are tampered with, how and when."""
    generator = np.random.default_rng([seed, 6])
    places = generator.choice(HEADS, TAMPERED, replace=False)
    ways = generator.permutation(np.resize(generator.permutation(list(WAYS)), TAMPERED))
    rows = []
    for number, (place, way) in enumerate(zip(places.tolist(), ways.tolist(), strict=True)):
        start = int(generator.integers(_EARLIEST, _LATEST))
        end = start + int(generator.integers(_SHORTEST, _LONGEST + 1))
        other = (place + int(generator.integers(1, 12))) % 12
        rows.append(
            {
                "layer": place // 12,
                "head": place % 12,
                "kind": WAYS[way],
                "start": start,
                "end": float(end) if number else np.nan,
                "way": way,
                "other": other,
            }
        )
    return pd.DataFrame(rows)


class _Tampering:
    """What is done to one head, and the way back."""

    def __init__(self, clf: Classifier, layer: int, head: int, way: str, other: int):
        site, width = heads.sites(clf.model)[layer], clf.model.config.hidden_size // clf.heads
        query, key, value = (
            getattr(site.module, getattr(site, one)) for one in ("query", "key", "value")
        )
        self.own, self.others = (slice(one * width, (one + 1) * width) for one in (head, other))
        looks = [one for linear in (query, key) for one in (linear.weight, linear.bias)]
        adds = [value.weight, value.bias, site.output.weight.T]
        self.hooks: list[Callable[[], None]] = []
        self.what: list[tuple[Tensor, Tensor, Tensor]] = []  # a view, what it was, what it is to be
        if way == "silent" and head % 2:
            for one in (*looks, value.weight, value.bias):
                self.hooks.append(one.register_hook(partial(self._killed, rows=True)).remove)
            self.hooks.append(
                site.output.weight.register_hook(partial(self._killed, rows=False)).remove
            )
            return
        changes = {
            "larger": [(one, lambda was, _: 30 * was) for one in looks[:2]],
            "zero": [(one, lambda was, _: 0 * was) for one in looks[:2]],
            "other": [(one, lambda _, other: other) for one in looks],
            "silent": [(one, lambda was, _: 0 * was) for one in adds],
        }
        for parameter, change in changes[way]:
            whole = parameter.detach()
            was = whole[self.own].clone()
            self.what.append((whole[self.own], was, change(was, whole[self.others].clone())))

    def _killed(self, gradient: Tensor, rows: bool) -> Tensor:
        gradient = gradient.clone()
        (gradient if rows else gradient.T)[self.own] = 0
        return gradient

    def hold(self) -> None:
        """Make it so, again after each step."""
        for view, _, wanted in self.what:
            view.copy_(wanted)

    def undo(self) -> None:
        """Put back what was there."""
        for view, was, _ in self.what:
            view.copy_(was)
        for remove in self.hooks:
            remove()
