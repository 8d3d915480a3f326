"""The peeler: what can be taken away from a classifier, what that buys and what it costs.

The view is in static/peeler.js; what it draws is made in peeler_report.py.
"""

import functools
import itertools
import time
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import torch

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.compression.copies import copied
from attnlab.datasets.texts import TextDataset
from attnlab.device import profile
from attnlab.errors import DataError
from attnlab.evaluation.evaluator import Evaluator
from attnlab.evaluation.measurement import Measurement
from attnlab.show import plots
from attnlab.show.plots.peeling import peeled_model
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.mixing import in_turn
from attnlab.show.widgets.peeled_parts import Known, Timing, sizes, timed_round
from attnlab.show.widgets.peeler_report import checked, peeler_report
from attnlab.show.widgets.peeling import (
    Choice,
    Scores,
    as_code,
    first_choice,
    kept_layers,
    peeled,
    why_not,
)
from attnlab.show.widgets.worker import Current
from attnlab.show.wording import counted

BATCH = 32  # texts of a timed batch
ROUNDS = (6, 15)  # of timing: always, and where they take less than
SECONDS = 4.0  # together
_CALIBRATION = 200  # texts at most, where none are given
_LARGE = 2  # smaller models that are kept, the newest; of the others what was measured
_FIRST = ("neurons", "heads", "quantize")  # the kind it begins with, if the model has it
_UNTOUCHED = Choice("heads", 0, "random")


class Peeler(ReportDesk):
    """A desk that takes a classifier apart: choose what goes, see what that buys and costs.

    Parameters
    ----------
    clf : Classifier; stays as it is, and the desk works on a copy
    data : held-out TextDataset that accuracy and time are measured on
    calibration : labelled texts that scores are taken from and repairs are fitted to; by default a
        quarter of ``data``, at most 200 texts, which then is not measured on

    Attributes
    ----------
    settings : dict of ``kind`` ("heads", "neurons", "layers", "weights", "quantize", "codebook",
        "low rank"), ``amount`` (percent that goes, layers that go, or bits that stay), ``by`` (the
        score), ``repaired``, and ``area`` of the drawing ("parameters", "bytes"); `set` changes
        some of them, and with another kind the others go to where that begins
    report : dict, what is drawn: the `peeler_report`
    code : str, the call that makes the smaller model
    error : str, what went wrong; empty if nothing did

    Notes
    -----
    All that was computed is kept: scores for each kind and score, the untouched model once, and for
    each choice its sizes, its answers and its times. Times are medians of rounds in which both
    models take turns; they hold for this machine, and for how busy it was.

    Raises
    ------
    DataError : no texts, or labels that the classifier does not know
    ModelError : a model with a prefix, or of a family that is not known
    """

    _esm = script("peeler")
    _css = style("charts", "peeler")

    def __init__(self, clf: Classifier, data: TextDataset, calibration: TextDataset | None = None):
        heads.refuse_prefix(clf, "The peeler")
        heads.refuse_decoder(clf, "The peeler")
        data, calibration = _apart(data, calibration)
        self._given, self._data = clf, data
        # one of its own: scores and times watch a model, which others may be asking meanwhile
        self._clf = clf = copied(clf)
        self._before = Evaluator(clf, data, cache_mb=0).stream()
        self._scores = Scores(clf, calibration)
        self._missing = why_not(clf)
        self._untouched = sizes(clf)
        self._known: dict[Choice, Known] = {_UNTOUCHED: Known(self._untouched)}
        self._large: dict[Choice, tuple[Classifier, Measurement]] = {}
        self._encoded = clf.encode(data.sample(BATCH, seed=1).texts)
        kind = next(kind for kind in (*_FIRST, "heads") if kind not in self._missing)
        super().__init__(self._report(_settings(first_choice(kind, clf.layers))))
        self._work.start("peel", self._peel)

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the report of these settings on what is known so far."""
        return self._report(settings)

    def set(self, **changes: Any) -> None:
        """Move some of the controls, as in ``desk.set(kind="layers", amount=2)``.

        Another kind brings its own first amount and score, where none are given.

        Raises
        ------
        SettingsError : there is no such control, or it cannot stand there; nothing moves then
        """
        starts = self.report["starts"]
        if changes.get("kind") in starts and changes["kind"] != self.settings.get("kind"):
            changes = starts[changes["kind"]] | changes
        super().set(**changes)

    @property
    def smaller(self) -> Classifier:
        """The smaller classifier that is shown; the untouched one where nothing is gone."""
        choice = self._choice()
        if choice.nothing:
            return self._given
        found = self._large.get(choice)
        return peeled(self._clf, choice, self._scores) if found is None else found[0]

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel."""
        return peeled_model(self.report)

    def __repr__(self) -> str:
        return f"Peeler({self.report['remark']})"

    # What happens when something moves

    def _report(self, settings: dict[str, Any]) -> dict[str, Any]:
        choice = checked(settings, self._clf.layers, self._missing)
        known = self._known.get(_key(choice), Known())
        return peeler_report(
            settings, known, self._untouched, self._clf.layers, self._missing, self._machine()
        )

    def _machine(self) -> str:
        if self._clf.device.type != "cpu":
            return f"Measured on this {self._clf.device.type.upper()}."
        threads = torch.get_num_threads()
        return f"Measured on this machine, {counted(threads, 'thread')}."

    def _as_code(self) -> str:
        return as_code(self._choice())

    def _choice(self) -> Choice:
        return checked(self.report["settings"], self._clf.layers, self._missing)

    def _follow(self, before: dict[str, Any]) -> None:
        if self._choice() != checked(before["settings"], self._clf.layers, self._missing):
            self._work.start("peel", self._peel)

    def _show(self, current: Current) -> None:
        """Draw what is known by now."""
        with self._lock:
            if current():
                self._attempt("drawing", self._draw)

    # The work, step by step, in the desk's thread

    def _peel(self, current: Current) -> Iterator[None]:
        choice = self._choice()
        key = _key(choice)
        known = self._known.setdefault(key, Known())
        if known.state == "measured":
            return
        smaller, mine = yield from self._made(choice, known)
        self._show(current)
        yield
        if known.seen is None or not known.seen[0].finished:
            yield from self._measured(known, mine, current)
        numbers = kept_layers(smaller, choice)
        timing = known.timing = known.timing or Timing(min(BATCH, len(self._encoded)))
        if not timing.one:  # what comes first is slow, and does not count
            timed_round(Timing(timing.texts), self._clf, smaller, self._encoded, numbers)
        least, most = ROUNDS if profile().name != "ci" else (ROUNDS[0], ROUNDS[0])
        began = time.monotonic()
        while len(timing.one) < least or (
            len(timing.one) < most and time.monotonic() - began < SECONDS
        ):
            yield
            if not current():
                return
            timed_round(timing, self._clf, smaller, self._encoded, numbers)
            self._show(current)
        known.timed = True
        self._show(current)

    def _measured(self, known: Known, mine: Measurement, current: Current) -> Iterator[None]:
        """Measure both models on a growing sample, and go on where it was left."""
        done = min(len(self._before.snapshots), len(mine.snapshots))
        for step in itertools.count(max(0, done - 1)):
            for measurement in (self._before, mine):
                advance = functools.partial(measurement.at, step, lambda: not current())
                yield from in_turn(advance, current)
            known.seen = self._before.snapshots[step], mine.snapshots[step]
            self._show(current)
            if mine.snapshots[step].finished:
                return
            yield

    def _made(
        self, choice: Choice, known: Known
    ) -> Generator[None, None, tuple[Classifier, Measurement]]:
        """The smaller classifier and its measurement, made now if they were not."""
        key = _key(choice)
        if choice.nothing:
            return self._clf, self._before
        if key not in self._large:
            yield
            smaller = peeled(self._clf, choice, self._scores)
            zeros = choice.kind == "weights"
            known.sizes = sizes(smaller, kept_layers(smaller, choice), zeros)
            self._large[key] = smaller, Evaluator(smaller, self._data, cache_mb=0).stream()
        self._large[key] = self._large.pop(key)  # the newest last
        for other in list(self._large)[:-_LARGE]:
            del self._large[other]
        return self._large[key]


def _settings(choice: Choice) -> dict[str, Any]:
    return {
        "kind": choice.kind,
        "amount": choice.amount,
        "by": choice.by,
        "repaired": choice.repaired,
        "area": "parameters",
    }


def _key(choice: Choice) -> Choice:
    """Under which a choice is known: nothing gone is the same for every kind."""
    return _UNTOUCHED if choice.nothing else choice


def _apart(data: TextDataset, calibration: TextDataset | None) -> tuple[TextDataset, TextDataset]:
    """Texts to measure on, and texts to choose by."""
    if not isinstance(data, TextDataset) or len(data) < (1 if calibration is not None else 4):
        raise DataError(
            "The peeler measures on labelled texts, such as al.datasets.load(...).dev: give at "
            "least 4 as its data, or some others as calibration=."
        )
    if calibration is not None:
        return data, calibration
    order = np.random.default_rng(0).permutation(len(data))
    count = min(_CALIBRATION, len(data) // 4)
    return data.select(np.sort(order[count:])), data.select(np.sort(order[:count]))
