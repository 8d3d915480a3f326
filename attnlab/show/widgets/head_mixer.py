"""The mixing desk: one fader per attention head, and what moving it does.

`HeadMixer` connects the plain functions of `mixing`, `first_order` and `attention_report` to the
view in static/mixer.js. The newest setting always wins, and work for an older one is dropped.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
import traitlets

from attnlab.classification.base import BaseClassifier, Stopped
from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, suggest
from attnlab.evaluation.evaluator import Evaluator
from attnlab.heads import removed
from attnlab.heads.settings import HeadSettings
from attnlab.languages import ENGLISH, later, speaking, tr
from attnlab.show import plots, views
from attnlab.show.plots.desks import mixing_desk, mixing_readings
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import palettes
from attnlab.show.widgets.fader_history import FaderHistory, Tables
from attnlab.show.widgets.first_order import COLOURS, Colour, first_order, least_first
from attnlab.show.widgets.mixed_items import items_of
from attnlab.show.widgets.mixing import (
    Measurements,
    accuracy_report,
    from_faders,
    in_turn,
    preset,
    to_faders,
)
from attnlab.show.widgets.spoken import SpokenDesk
from attnlab.show.widgets.worker import Current


class HeadMixer(SpokenDesk):
    """A mixing desk for the attention heads of a classifier.

    Moving a fader changes the heads for the desk's own evaluations, and only there: other cells see
    the model as it is. ``desk.settings`` is what the faders say, ready for `al.heads.applied`.

    Parameters
    ----------
    clf : Classifier of texts, or ImageClassifier
    dataset : held-out TextDataset or ImageDataset that accuracy is measured on
    text : the sentence shown, and classified before and after; for an ImageClassifier the number
        of the image that is shown first, such as "3"
    sentences : evaluate at most so many of the held-out texts or images, drawn at random; default
        all
    colour : what the colours of the faders estimate: the "loss" that silencing the head adds, or
        the "margin" that it takes away
    simple : show few controls first, without temperatures, comparing, colours and the like; a
        button brings the others

    Notes
    -----
    Accuracy comes in three states, and the desk names the one it shows. *First-order estimate*: at
    once, in the browser, from the gradients of at most 1,000 sentences at neutral; good near
    neutral, a guess far from it. *Measured so far*: on a random sample that grows. *Measured*: on
    all. The gradients are taken in the background, once the untouched model is measured; until
    then, and where they cannot be had, the desk works without estimate and importances. Where the
    machine is faster in bfloat16 measurements use it, for both sides, and the desk says so.

    Two settings can be compared: `keep_as_a` keeps the faders as A and goes on as B; results are
    then B against A, sentence by sentence, and `switch` goes from one to the other.
    """

    _esm = script("mixer")
    _css = style("grids", "mixer")
    _kinds = ("sentence", "accuracy", "first order")
    _unforeseen = later("That did not work. {}. Press “All neutral”, or start anew.")

    size = traitlets.Dict().tag(sync=True)
    faders = traitlets.Dict().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    look = traitlets.Dict().tag(sync=True)
    sentence = traitlets.Dict().tag(sync=True)
    attention = traitlets.Dict().tag(sync=True)
    accuracy = traitlets.Dict().tag(sync=True)
    first_order = traitlets.Dict().tag(sync=True)
    slopes = traitlets.Bytes().tag(sync=True)
    side = traitlets.Unicode().tag(sync=True)
    other = traitlets.Dict().tag(sync=True)
    palette = traitlets.Dict().tag(sync=True)
    library = traitlets.Unicode().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)
    can_undo = traitlets.Bool(False).tag(sync=True)
    heard = traitlets.Any(0).tag(sync=True)  # the stamp of the faders that arrived last

    def __init__(
        self,
        clf: BaseClassifier,
        dataset: TextDataset | ImageDataset,
        text: str | None = None,
        sentences: int | None = None,
        colour: Colour = "loss",
        simple: bool = False,
    ):
        if colour not in COLOURS:
            raise AttnlabError(f"There is no colour {colour!r}. {suggest(colour, COLOURS)}")
        self._colour: Colour = colour
        self._clf: Any = clf
        self._removed = set(removed(clf))
        sample = dataset.sample(sentences) if sentences else dataset
        self._items = items_of(clf, sample, text)
        self._measurements = Measurements(Evaluator(clf, sample, fast=clf.reads == "texts"))
        neutral = to_faders(clf.settings())
        self._history = FaderHistory(neutral)
        self._stamps = itertools.count(1)
        self._half_seed = itertools.count()
        self._shares = functools.lru_cache(maxsize=1)(self._predicted)
        dtype = self._measurements.evaluator.dtype
        self._format = ", bfloat16" if dtype == torch.bfloat16 else ""
        super().__init__(
            size={
                "layers": clf.layers,
                "heads": clf.heads,
                "removed": [list(place) for place in sorted(self._removed)],
                "items": self._items.noun,
                "images": self._items.count,
                "simple": simple,
            },
            faders=neutral | {"stamp": 0},
            text=self._items.first,
            look={"layer": clf.layers - 1, "head": 0, "what": "scaled"} | self._items.look,
            palette=palettes(),
            library=views.library(),
            code=clf.settings().to_code(),
        )
        self.observe(self._on_faders, "faders")
        self.observe(self._ask_for_sentence, ["text", "look"])
        self._ask_for_sentence()
        self._ask_for_accuracy()
        self._work.start("first order", self._update_first_order)

    # What a cell may do with a desk

    @property
    def settings(self) -> HeadSettings:
        """What the faders say now. Assign settings to move the faders."""
        return from_faders(self.faders, self._clf.layers, self._clf.heads)

    @settings.setter
    def settings(self, settings: HeadSettings) -> None:
        self._show(to_faders(settings.validate_single(self._clf.layers, self._clf.heads)))

    def preset(self, name: str, place: tuple[int, int] | None = None, count: int = 20) -> None:
        """Press a preset.

        Parameters
        ----------
        name : "neutral", "silence", "keep-one", "random-half" or "least-important"
        place : (layer, head) for "silence" and "keep-one"; default the head shown
        count : for "least-important", how many heads to silence: those that are used least, by the
            mean size of their gradients

        Raises
        ------
        AttnlabError : an unknown name, a count of heads there are not, or gradients that are not
            there yet
        """
        place = place or (self.look["layer"], self.look["head"])
        order = least_first(self._use(), self._removed) if name == "least-important" else ()
        # only "silence" builds on the faders as they are; the others must work with broken ones
        start = self.settings if name == "silence" else self._clf.settings()
        self.settings = preset(name, start, place, next(self._half_seed), order, count)

    def reset(self) -> None:
        """Put every fader back to neutral. `undo` brings them back."""
        self.preset("neutral")

    def undo(self) -> None:
        """Take the last change back, if there was one; a whole drag counts as one."""
        before = self._history.back()
        if before is not None:
            self._show(before)

    def keep_as_a(self) -> None:
        """Keep what the faders say as A and go on as B: results are B against A from now on."""
        kept = to_faders(self.settings)
        self._history.forget_other()
        self._history.now = kept
        with self.hold_sync():
            self.other, self.side = kept, "B"
            self._show(kept)

    def switch(self, side: Literal["A", "B"]) -> None:
        """Show the other of A and B on the faders. Each keeps its own undo.

        Raises
        ------
        AttnlabError : there is no A yet
        """
        if side not in ("A", "B") or not self.side:
            raise AttnlabError(
                tr(
                    "There is no {side} to switch to. Press “Compare: keep this as A” first.",
                    side=side,
                )
            )
        if side == self.side:
            return
        shown, hidden = to_faders(self.settings), dict(self.other)
        self._history.switch(hidden)
        with self.hold_sync():
            self.other, self.side = shown, side
            self._show(hidden)

    def stop_comparing(self) -> None:
        """Forget the one of A and B not on the faders; results are against neutral again."""
        self._history.forget_other()
        with self.hold_sync():
            self.other, self.side = {}, ""
            self._show(self._history.now)

    def probabilities(self, settings: HeadSettings) -> list[float]:
        """Return what the model makes of the desk's sentence with these settings, label by label.

        The faders stay where they are.
        """
        return self._predicted(self.text, settings.to_json())

    def picture(self, faders: bool = True) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel.

        Attention is left out, and what is not measured yet; so are the faders, where only what
        comes of them is to be shown.
        """
        with self._lock:
            moved, settings, text = dict(self.faders), self.settings, self.text
            sentence, accuracy = dict(self.sentence), dict(self.accuracy)
        stamp = moved.get("stamp")
        if problem := self._items.problem(text):
            raise AttnlabError(problem)
        shown = self._items.shown(text)
        if sentence.get("stamp") != stamp or sentence.get("text") != text:
            sentence = {
                "labels": self._clf.label_names,
                "after": self._clf.predict([shown], settings).probabilities[0].tolist(),
                "before": self._shares(text, self._reference().to_json()),
            }
        titled = (self._items.title(text), sentence)
        measured = accuracy if accuracy.get("stamp") == stamp else {}
        known = None if self.size["simple"] else self.first_order.get("importance")
        with speaking(ENGLISH):  # fonts of figures have no other signs
            if not faders:
                return mixing_readings(titled, measured)
            return mixing_desk(moved, (known, self._colour), titled, measured)

    # What happens when something moves

    def _show(self, tables: Tables) -> None:
        """Put the faders there; a state that is in the history already adds nothing to it."""
        self.faders = tables | {"stamp": -next(self._stamps)}  # the view's own stamps are positive

    def _on_faders(self, _change: Any) -> None:
        self.heard = self.faders.get("stamp")
        now = {name: self.faders.get(name) for name in ("scale", "temperature")}
        self._history.note(now, self.faders.get("gesture"))
        self.can_undo = self._history.can_undo
        if self._attempt("faders", self._write_code):
            self._ask_for_sentence()
            self._ask_for_accuracy()

    def _write_code(self) -> None:
        self.code = self.settings.to_code()

    def _obey(self, content: dict[str, Any]) -> None:
        match content:
            case {"action": "undo"}:
                self.undo()
            case {"action": "preset", "name": name, "place": place}:
                self.preset(name, tuple(place), content.get("count", 0))
            case {"action": "keep"}:
                self.keep_as_a()
            case {"action": "switch", "side": side}:
                self.switch(side)
            case {"action": "end"}:
                self.stop_comparing()
            case {"action": "load", "text": text}:
                self.settings = HeadSettings.from_json(text)

    def _reference(self) -> HeadSettings:
        """What results are shown against: the other one of A and B, or the untouched model."""
        if self.side:
            return from_faders(self.other, self._clf.layers, self._clf.heads)
        return self._clf.settings()

    def _say_again(self) -> None:
        self._ask_for_sentence()

    # The sentence

    def _ask_for_sentence(self, _change: Any = None) -> None:
        self._work.start("sentence", self._update_sentence)

    def _update_sentence(self, current: Current) -> Iterator[None]:
        stamp, settings, text, look = self.faders.get("stamp"), self.settings, self.text, self.look
        if problem := self._items.problem(text):
            self._publish(current, sentence={"error": problem, "stamp": stamp, "text": text})
            return
        shown, reference = self._items.shown(text), self._reference().to_json()
        answer = {
            "labels": self._clf.label_names,
            "after": self._clf.predict([shown], settings).probabilities[0].tolist(),
            "before": self._shares(text, reference),  # asked once a sentence, not at every move
            "error": self._items.remark(text),
            "title": self._items.title(text),
            "stamp": stamp,
            "text": text,
        }
        if self._publish(current, sentence=answer):
            yield
            attention = self._items.report(text, self._clf.attend(shown, settings), look)
            self._publish(
                current, attention=attention | {"stamp": stamp, "look": look, "text": text}
            )

    def _predicted(self, text: str, settings: str) -> list[float]:
        shown = [self._items.shown(text)]
        return self._clf.predict(shown, HeadSettings.from_json(settings)).probabilities[0].tolist()

    # Held-out accuracy

    def _ask_for_accuracy(self) -> None:
        self._work.start("accuracy", self._update_accuracy)

    def _update_accuracy(self, current: Current) -> Iterator[None]:
        stamp, side = self.faders.get("stamp"), self.side
        mine = self._measurements.of(self.settings)
        other = self._measurements.of(self._reference())

        def stop() -> bool:  # a picture must not wait for a chunk of sentences
            return not current() or self._work.outranked("accuracy")

        # what is known already is not shown again chunk by chunk
        for step in itertools.count(max(0, min(len(mine.snapshots), len(other.snapshots)) - 1)):
            for measurement in (other, mine):
                yield from in_turn(functools.partial(measurement.at, step, stop), current)
            report = accuracy_report(mine, other, step, side)
            shown = report | {"stamp": stamp, "format": self._format}
            if not self._publish(current, accuracy=shown) or report["state"] == "measured":
                return
            yield

    # First order

    def _use(self) -> np.ndarray:
        """How much each head is used (L, H), or an AttnlabError if that is not known."""
        if "use" in self.first_order:
            return np.array(self.first_order["use"])
        raise AttnlabError(
            self.first_order.get("error")
            or f"How much each head matters is still being computed{self._so_far()}. Try again in "
            "a few seconds, or first `desk.wait()`."
        )

    def _so_far(self) -> str:
        done = self.first_order.get("done")
        return f" ({done} of {self.first_order['total']:,} {self._items.noun})" if done else ""

    def _update_first_order(self, current: Current) -> Iterator[None]:
        """Take the gradients whenever nothing else is to be done."""
        neutral, evaluator = self._measurements.neutral, self._measurements.evaluator
        try:
            for found in first_order(
                evaluator,
                neutral,
                lambda: not current(),
                lambda: self._work.outranked("first order"),
                self._colour,
            ):
                if found is not None:
                    self._publish(current, **found)
                yield
        except Stopped:
            raise
        except Exception as error:  # the desk does without
            report = {"error": f"The heads of this model have no gradients here: {error}"}
            self._publish(current, first_order=report)
