"""The mixing desk: one fader per attention head, and what moving it does.

`HeadMixer` connects the plain functions of `mixing` to the view in static/mixer.js and decides
what is computed when: the newest setting always wins, and work for an older one is dropped.
"""

import asyncio
import functools
import itertools
import math
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import anywidget
import numpy as np
import torch
import traitlets

from attnlab.classification.classifier import Classifier, Stopped
from attnlab.datasets.texts import TextDataset
from attnlab.device import number_format
from attnlab.errors import AttnlabError
from attnlab.evaluation.evaluator import Evaluator
from attnlab.heads import removed
from attnlab.heads.settings import HeadSettings
from attnlab.show import views
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import bertviz_report, fitting, map_report, palettes
from attnlab.show.widgets.mixing import (
    Measurement,
    accuracy_report,
    brief,
    from_faders,
    importances,
    least_first,
    packed,
    preset,
    to_faders,
)

_ESTIMATED_ON = 1000  # sentences whose gradients the view gets: half a megabyte for 72 heads
_GRADIENTS_AT_ONCE = 64  # sentences; a fader moved meanwhile waits for no more than these
_REMEMBERED = 12  # settings whose measured accuracy is kept, so that going back costs nothing


def _cancel(task: asyncio.Task) -> None:
    """Cancel a task from any thread: JupyterLab delivers messages in another than it runs cells in."""
    if not task.done():
        task.get_loop().call_soon_threadsafe(task.cancel)


@functools.cache
def _worker() -> ThreadPoolExecutor:
    """One thread for all desks: two at once would only make each other slow."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="attnlab-desk")


class HeadMixer(anywidget.AnyWidget):
    """A mixing desk for the attention heads of a classifier.

    Moving a fader changes the heads for the desk's own evaluations, and only there: other cells see
    the model as it is. ``desk.settings`` is what the faders say, ready for `al.heads.applied`.

    Parameters
    ----------
    clf : Classifier
    dataset : held-out TextDataset that accuracy is measured on
    text : the sentence shown, and classified before and after
    sentences : evaluate at most so many of the held-out sentences, drawn at random; default all

    Notes
    -----
    Accuracy comes in three states, and the desk names the one it shows. *First-order estimate*: at once, in
    the browser, from the gradients of at most 1,000 sentences at neutral; good near neutral, a guess far from
    it. *Measured so far*: on a random sample that grows. *Measured*: on all. The gradients are taken in the
    background, once the untouched model is measured; until then, and where they cannot be had, the desk works
    without estimate and importances. Where the machine is faster in bfloat16 measurements use it, for
    both sides, and the desk says so.

    Two settings can be compared: `keep_as_a` keeps the faders as A and goes on as B; results are then B against
    A, sentence by sentence, and `switch` goes from one to the other.
    """

    _esm = script("mixer")
    _css = style("mixer")

    size = traitlets.Dict().tag(sync=True)
    faders = traitlets.Dict().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    look = traitlets.Dict().tag(sync=True)
    sentence = traitlets.Dict().tag(sync=True)
    picture = traitlets.Dict().tag(sync=True)
    accuracy = traitlets.Dict().tag(sync=True)
    first_order = traitlets.Dict().tag(sync=True)
    slopes = traitlets.Bytes().tag(sync=True)
    side = traitlets.Unicode().tag(sync=True)
    other = traitlets.Dict().tag(sync=True)
    palette = traitlets.Dict().tag(sync=True)
    library = traitlets.Unicode().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    can_undo = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        clf: Classifier,
        dataset: TextDataset,
        text: str = "A warm, funny and beautifully acted film.",
        sentences: int | None = None,
    ):
        self._tasks: dict[str, asyncio.Task] = {}
        self._closed = False
        self._clf = clf
        self._evaluator = Evaluator(
            clf, dataset.sample(sentences) if sentences else dataset, fast=True
        )
        self._neutral = Measurement(self._evaluator, clf.settings())
        self._measured: list[Measurement] = []  # the newest last
        self._removed = set(removed(clf))
        self._history: list[dict[str, Any]] = []
        self._other_history: list[dict[str, Any]] = []
        self._before = to_faders(clf.settings())
        self._gesture: int | None = None
        self._stamps = itertools.count(1)
        self._half_seed = itertools.count()
        self._complaints: dict[str, str] = {}
        # a sentence, settings, and the answer the sentence's new one is shown against
        self._answered: tuple[str, HeadSettings | None, list[float]] = ("", None, [])
        self._format = ", bfloat16" if number_format(clf.device.type) == torch.bfloat16 else ""
        super().__init__(
            size={
                "layers": clf.layers,
                "heads": clf.heads,
                "removed": [list(place) for place in sorted(self._removed)],
            },
            faders=self._before | {"stamp": 0},
            text=text,
            look={"layer": clf.layers - 1, "head": 0, "kind": "layer", "what": "scaled"},
            palette=palettes(),
            library=views.library(),
            code=clf.settings().to_code(),
        )
        self.observe(self._on_faders, "faders")
        self.observe(lambda _: self._start("sentence", self._update_sentence), "text")
        self.observe(lambda _: self._start("sentence", self._update_sentence), "look")
        self.on_msg(self._on_message)
        self._start("sentence", self._update_sentence)
        self._start("accuracy", self._update_accuracy)
        self._start("first order", self._update_first_order)

    # What a cell may do with a desk

    @property
    def settings(self) -> HeadSettings:
        """What the faders say now. Assign settings to move the faders."""
        return from_faders(self.faders, self._clf.layers, self._clf.heads)

    @settings.setter
    def settings(self, settings: HeadSettings) -> None:
        self._set_faders(to_faders(settings.validate_single(self._clf.layers, self._clf.heads)))

    def preset(self, name: str, place: tuple[int, int] | None = None, count: int = 20) -> None:
        """Press a preset.

        Parameters
        ----------
        name : "neutral", "silence", "keep-one", "random-half" or "least-important"
        place : (layer, head) for "silence" and "keep-one"; default the head shown
        count : for "least-important", how many heads to silence: those that are used least, by the mean size
            of their gradients

        Raises
        ------
        AttnlabError : an unknown name, a count of heads there are not, or gradients that are not there yet
        """
        place = place or (self.look["layer"], self.look["head"])
        order = least_first(self._use(), self._removed) if name == "least-important" else ()
        # only "silence" builds on the faders as they are; the others must work when those are broken
        start = self.settings if name == "silence" else self._clf.settings()
        self.settings = preset(name, start, place, next(self._half_seed), order, count)

    def reset(self) -> None:
        """Put every fader back to neutral. `undo` brings them back."""
        self.preset("neutral")

    def undo(self) -> None:
        """Take the last change back, if there was one; a whole drag counts as one."""
        if self._history:
            self._set_faders(self._history.pop(), remember=False)
            self.can_undo = bool(self._history)

    def keep_as_a(self) -> None:
        """Keep what the faders say as A and go on as B: results are B against A from now on."""
        kept = to_faders(self.settings)
        self._other_history = []
        with self.hold_sync():
            self.other, self.side = kept, "B"
            self._set_faders(kept, remember=False)

    def switch(self, side: Literal["A", "B"]) -> None:
        """Show the other of A and B on the faders. Each keeps its own undo.

        Raises
        ------
        AttnlabError : there is no A yet
        """
        if side not in ("A", "B") or not self.side:
            raise AttnlabError(f"There is no {side} to switch to. Press “Keep as A” first.")
        if side == self.side:
            return
        shown = to_faders(self.settings)
        self._history, self._other_history = self._other_history, self._history
        with self.hold_sync():
            shown, self.other = dict(self.other), shown
            self.side = side
            self._set_faders(shown, remember=False)
            self.can_undo = bool(self._history)

    def stop_comparing(self) -> None:
        """Forget the one of A and B that the faders do not show; results are against neutral again."""
        self._other_history = []
        with self.hold_sync():
            self.other, self.side = {}, ""
            self._set_faders(self._before, remember=False)

    async def settled(self) -> None:
        """Wait until everything shown belongs to the faders as they stand."""
        while any(not task.done() for task in self._tasks.values()):
            await asyncio.sleep(0.01)  # they may belong to the loop of another thread

    def close(self) -> None:
        """Remove the desk and stop its work."""
        self._closed = True
        for task in self._tasks.values():
            _cancel(task)
        super().close()

    # What happens when something moves

    def _set_faders(self, tables: dict[str, Any], remember: bool = True) -> None:
        if not remember:
            self._before = tables
        self.faders = tables | {"stamp": -next(self._stamps)}  # the view's own stamps are positive

    def _on_faders(self, change: dict[str, Any]) -> None:
        now = {name: self.faders.get(name) for name in ("scale", "temperature")}
        gesture = self.faders.get("gesture")
        if now != self._before and (gesture is None or gesture != self._gesture):
            self._history = [*self._history[-99:], self._before]
            self.can_undo = True
        self._before, self._gesture = now, gesture
        try:
            self.code = self.settings.to_code()
            self._say("faders", "")
        except AttnlabError as error:
            self._say("faders", str(error))
            return
        self._start("sentence", self._update_sentence)
        self._start("accuracy", self._update_accuracy)

    def _on_message(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        try:
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
            self._say("message", "")
        except AttnlabError as error:
            self._say("message", str(error))
        except Exception as error:  # text that somebody pasted can hold anything
            self._say("message", f"That did not work. {type(error).__name__}: {error}")

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin this work, and drop what was under way for older settings."""
        if name in self._tasks:
            _cancel(self._tasks[name])
        if self._closed:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a plain script: there is no one to keep waiting
            asyncio.run(self._guarded(name, work))
            return
        self._tasks[name] = loop.create_task(self._guarded(name, work))

    async def _guarded(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Show what goes wrong in the desk itself; a log would be read by nobody."""
        try:
            await work()
            self._say(name, "")
        except Stopped:
            pass  # a newer setting is on its way
        except AttnlabError as error:
            self._say(name, str(error))
        except Exception as error:  # whatever it is, the person at the desk must see it
            self._say(name, f"{type(error).__name__}: {error}. Press “All neutral”, or start anew.")
            raise

    def _say(self, name: str, message: str) -> None:
        """Show what one kind of work has to complain of; the others' complaints stay."""
        self._complaints = {**self._complaints, name: message}
        self.error = " ".join(dict.fromkeys(filter(None, self._complaints.values())))

    async def _compute(self, function: Callable, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(_worker(), function, *args)

    # The sentence

    async def _update_sentence(self) -> None:
        stamp, settings, text, look = self.faders.get("stamp"), self.settings, self.text, self.look
        reference = self._reference()
        if not text.strip():
            self.sentence = {"error": "Type a sentence.", "stamp": stamp}
            return

        def now() -> bool:
            return (stamp, text, look) == (self.faders.get("stamp"), self.text, self.look)

        answer = await self._compute(self._answer, text, settings, reference)
        if now():
            self.sentence = answer | {"stamp": stamp}
            picture = await self._compute(self._draw, text, settings, look)
            if now():
                self.picture = picture | {"stamp": stamp}

    def _reference(self) -> HeadSettings:
        """What results are shown against: the other one of A and B, or the untouched model."""
        if self.side:
            return from_faders(self.other, self._clf.layers, self._clf.heads)
        return self._neutral.settings

    def _answer(self, text: str, settings: HeadSettings, reference: HeadSettings) -> dict[str, Any]:
        shown = fitting(self._clf, text)
        if self._answered[:2] != (shown, reference):  # asked once a sentence, not at every move
            before = self._clf.predict([shown], reference).probabilities[0].tolist()
            self._answered = (shown, reference, before)
        after = self._clf.predict([shown], settings).probabilities[0].tolist()
        cut = f"Only the first {self._clf.max_length} tokens of this sentence count."
        return {
            "labels": self._clf.label_names,
            "after": after,
            "before": self._answered[2],
            "error": "" if shown == text else cut,
        }

    def _draw(self, text: str, settings: HeadSettings, look: dict[str, Any]) -> dict[str, Any]:
        maps = self._clf.attend(fitting(self._clf, text), settings)
        layer, what = look["layer"], look["what"]
        if look["kind"] == "map" or what == "difference":
            return map_report(maps, layer, look["head"], what)
        try:
            return bertviz_report(
                maps, layer, look["head"] if look["kind"] == "head" else None, what
            )
        except AttnlabError:  # too long for bertviz: a map of the beginning says more than an error
            report = map_report(maps, layer, look["head"], what)
            return report | {"note": f"Too long for bertviz. {report['note']}"}

    # Held-out accuracy

    async def _update_accuracy(self) -> None:
        stamp, side = self.faders.get("stamp"), self.side
        mine, other = self._measurement(self.settings), self._measurement(self._reference())

        def stale() -> bool:
            return self._closed or self.faders.get("stamp") != stamp

        def measure(step: int) -> dict[str, Any]:
            other.at(step, stale)
            mine.at(step, stale)
            return accuracy_report(mine, other, step, side)

        # what is known already is not shown again chunk by chunk
        for step in itertools.count(max(0, min(len(mine.done), len(other.done)) - 1)):
            report = await self._compute(measure, step)
            if stale():
                return
            self.accuracy = report | {"stamp": stamp, "format": self._format}
            if report["state"] == "measured":
                return

    def _measurement(self, settings: HeadSettings) -> Measurement:
        """What is known of these settings; that of the last few stays known."""
        known = (one for one in (self._neutral, *self._measured) if one.settings == settings)
        found = next(known, None) or Measurement(self._evaluator, settings)
        if found is not self._neutral:
            rest = [one for one in self._measured if one is not found]
            self._measured = [*rest, found][-_REMEMBERED:]
        return found

    # First order

    def _use(self) -> np.ndarray:
        """How much each head is used (L, H), or an AttnlabError if that is not known."""
        if "use" in self.first_order:
            return np.array(self.first_order["use"])
        raise AttnlabError(
            self.first_order.get("error")
            or "How much each head matters is still being computed. Try again in a few seconds, or first "
            "`await desk.settled()`."
        )

    async def _update_first_order(self) -> None:
        """Take the gradients in small parts, whenever nothing else is to be done."""
        data = self._evaluator.dataset
        places = np.random.default_rng(0).permutation(len(data))[:_ESTIMATED_ON]
        # of like length, so that little is padded
        places = np.array(sorted(places, key=lambda place: len(data.texts[place])))
        try:
            for step in itertools.count():
                if (await self._compute(self._neutral.at, step, lambda: self._closed)).finished:
                    break
            margins, losses = (
                one[places] for one in (self._neutral.score.margins, self._neutral.score.losses)
            )
            found = []
            for part in np.array_split(places, math.ceil(len(places) / _GRADIENTS_AT_ONCE)):
                while any(not self._idle(name) for name in ("sentence", "accuracy")):
                    await asyncio.sleep(0.02)
                found.append(await self._compute(self._gradients_at, part))
        except Stopped:
            raise
        except Exception as error:  # the desk does without
            self.first_order = {"error": f"The heads of this model have no gradients here: {error}"}
            return
        scale, temperature, odds = map(np.concatenate, zip(*found, strict=True))
        importance, use = importances(losses, odds)
        with self.hold_sync():
            self.slopes = packed(margins, scale, temperature)
            self.first_order = {
                "importance": brief(importance),
                "use": brief(use),
                "accuracy": self._neutral.score.accuracy,
                "n": len(places),
            }

    def _idle(self, name: str) -> bool:
        return name not in self._tasks or self._tasks[name].done()

    def _gradients_at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradients (N, L, H) of the margins by scale and by temperature, and of the log-odds by scale."""
        if self._closed:
            raise Stopped
        part = Evaluator(self._clf, self._evaluator.dataset.select(places), cache_mb=0)
        scale = part.gradients("scale", "margin", per_sentence=True)
        temperature = part.gradients("temperature", "margin", per_sentence=True)
        if len(self._clf.label_names) == 2:  # the two are one
            return scale, temperature, scale
        return scale, temperature, part.gradients("scale", "log_odds", per_sentence=True)
