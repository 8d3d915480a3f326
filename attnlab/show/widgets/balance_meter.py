"""The balance meter: a dial for the whole model, a map of its heads, and one head closely.

The view is in static/balance.js; what it draws is made in balance_report.py.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import traitlets

from attnlab.balance.meter import Meter
from attnlab.balance.reading import Balance
from attnlab.classification.classifier import Classifier
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError
from attnlab.evaluation.inputs import tokenised
from attnlab.heads import one_setting
from attnlab.heads.maps import What
from attnlab.show import plots
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import change_report, fitting, map_report, palettes
from attnlab.show.widgets.balance_report import meter_report
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.worker import Current

FIRST = 16  # texts before the first reading: a fraction of a second
CHUNK = 96  # texts from one reading to the next


class BalanceMeter(ReportDesk):
    """A meter of how evenly a classifier's heads attend: a dial, a map, and one head closely.

    Parameters
    ----------
    clf : Classifier
    data : TextDataset, or list of texts, to measure on
    text : the sentence whose attention is shown; by default a sentence of ours
    before : the classifier before it was fine-tuned, or damaged: measured in the same way, its
        overall figure is marked on the dial, the map can show the change, and ``js_before`` how far
        rows of attention have moved

    Attributes
    ----------
    settings : dict of ``measure``, ``tokens``, ``by``, ``value``, ``layer``, ``head`` and ``text``;
        `set` changes some of them, as in ``meter.set(measure="distance", layer=2)``
    balance : Balance, what was read so far; None before the first reading
    report : dict, what is drawn: the `meter_report`
    error : str, what went wrong; empty if nothing did

    Notes
    -----
    Measured in a thread of its own: a random sample of 16 texts first, then more and more, until
    all are. An `applied` block does not reach into it; give settings to `balance.measure` for that.
    Where no kernel runs, nothing is drawn: end with ``meter.picture()``, which stays.
    """

    _esm = script("balance")
    _css = style("grids", "balance")
    _kinds = ("sentence", "measure")

    sentence = traitlets.Dict().tag(sync=True)
    palette = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        clf: Classifier,
        data: TextDataset | list[str],
        text: str = "A warm, funny and beautifully acted film.",
        before: Classifier | None = None,
    ):
        self.balance: Balance | None = None
        self.before: Balance | None = None
        self._clf, self._other = clf, before
        self._size = clf.layers, clf.heads
        if before is not None and (before.layers, before.heads) != self._size:
            raise AttnlabError(
                f"The model before has {before.layers} layers of {before.heads} heads, this one "
                f"{clf.layers} of "
                f"{clf.heads}. Compare models of one size."
            )
        self._texts = list(data.texts if isinstance(data, TextDataset) else data)
        if not self._texts:
            raise AttnlabError("There are no texts to measure on. Give at least one.")
        first = {
            "measure": "entropy",
            "tokens": "text",
            "by": "weights",
            "value": "mean",
            "layer": clf.layers - 1,
            "head": 0,
            "text": text,
        }
        super().__init__(self._report(first), palette=palettes())
        self._work.start("measure", self._measure)
        self._work.start("sentence", self._draw_sentence)

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the report of these settings on what was read so far."""
        return self._report(settings)

    def picture(self) -> plots.Picture:
        """What the meter shows as a picture with its text alternative, which needs no kernel.

        Raises
        ------
        AttnlabError : nothing is measured yet
        """
        with self._lock:
            balance, before, shown = self.balance, self.before, self.report["shown"]
        if balance is None:
            raise AttnlabError("Nothing is measured yet. Try again in a second, or meter.wait().")
        value = "mean" if shown["value"] == "change" else shown["value"]
        return plots.balance(balance, shown["measure"], shown["tokens"], shown["by"], before, value)

    def __repr__(self) -> str:
        return f"BalanceMeter({self.balance or 'measuring'})"

    # What happens when something moves

    def _report(self, settings: dict[str, Any]) -> dict[str, Any]:
        comparing = self._other is not None
        total = len(self._texts)
        return meter_report(self.balance, settings, self._size, self.before, total, comparing)

    def _follow(self, before: dict[str, Any]) -> None:
        if _seen(before["settings"]) != _seen(self.report["settings"]):
            self._work.start("sentence", self._draw_sentence)

    # Measuring

    def _measure(self, current: Current) -> Iterator[None]:
        """Read a small sample first, then the rest chunk by chunk, each drawn at random."""
        models = [self._clf, *([] if self._other is None else [self._other])]
        meters = [
            Meter(clf, one_setting(clf, None), against)
            for clf, against in zip(models, (self._other, None), strict=False)
        ]
        encoded = [tokenised(clf, self._texts) for clf in models]
        order = np.random.default_rng(0).permutation(len(self._texts))
        ends = [min(FIRST, len(order)), *range(FIRST + CHUNK, len(order), CHUNK), len(order)]
        for start, end in itertools.pairwise([0, *dict.fromkeys(ends)]):
            for meter, texts in zip(meters, encoded, strict=True):
                for _ in meter.feed(texts, order[start:end]):
                    yield
                    if not current():
                        return
            read = [meter.read() for meter in meters]
            with self._lock:
                self.balance, self.before = (*read, None)[:2]
                self._redraw()

    # The sentence

    def _draw_sentence(self, current: Current) -> None:
        settings = self.report["settings"]
        text = fitting(self._clf, settings["text"])
        layer, head = settings["layer"], settings["head"]
        what: What = "contributions" if settings["by"] == "contributions" else "weights"
        maps = self._clf.attend(text, self._clf.settings())
        if settings["value"] == "change" and self._other is not None:
            report = change_report(maps, self._other.attend(text), layer, head, what)
        else:
            report = map_report(maps, layer, head, what)
        if text != settings["text"]:
            report["note"] += f" Only the first {self._clf.max_length} tokens are read."
        self._publish(current, sentence=report | {"stamp": [layer, head, settings["text"]]})


def _seen(settings: dict[str, Any]) -> tuple[Any, ...]:
    """What the sentence's map depends on."""
    change = settings["value"] == "change"
    return (change, *(settings[name] for name in ("layer", "head", "text", "by")))
