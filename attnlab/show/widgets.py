"""The mixing desk: one fader per attention head, and what moving it does.

What faders, presets and results mean is in plain functions, tested without a browser. `HeadMixer`
connects them to the view in static/mixer.js and decides what is computed when: the newest setting
always wins, and work for an older one is dropped.
"""

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anywidget
import matplotlib
import numpy as np
import torch
import traitlets
from matplotlib.colors import to_hex
from seaborn import color_palette

from attnlab.bert import Classifier, Stopped
from attnlab.datasets import TextDataset
from attnlab.device import number_format
from attnlab.errors import AttnlabError, SettingsError, suggest
from attnlab.evaluate import Comparison, Evaluator, Running
from attnlab.heads import removed
from attnlab.maps import WHATS, AttentionMaps
from attnlab.settings import HeadSettings
from attnlab.show import plots, views
from attnlab.show.desk import script, style

_FLIPS_SHOWN = 60
PRESETS = ("neutral", "silence", "keep-one", "random-half")


# ── what faders and presets mean ───────────────────────────────────────────────────────────────


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
    return HeadSettings.of(*tables).validate(layers, heads)


def preset(
    name: str, settings: HeadSettings, place: tuple[int, int], seed: int = 0
) -> HeadSettings:
    """The settings after a preset was pressed.

    Parameters
    ----------
    name : "neutral"; "silence" sets the head at ``place`` to 0 and leaves the others; "keep-one"
        silences all but one head of every layer, the one whose number ``place`` names;
        "random-half" silences half of all heads, drawn from ``seed``
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
        count = new.scale.numel()
        silent = np.random.default_rng(seed).permutation(count)[: count // 2]
        new.scale.view(-1)[torch.as_tensor(silent)] = 0
    return new


# ── what results look like ─────────────────────────────────────────────────────────────────────


def accuracy_report(
    running: Running, change: Comparison | None, right: np.ndarray
) -> dict[str, Any]:
    """The accuracy panel: the score so far and, unless neutral, its change from neutral.

    ``right`` says for each row of ``change.flips`` whether the new answer is the right one.
    """
    score = running.score
    report = {
        "state": "measured" if running.finished else "estimate",
        "accuracy": score.accuracy,
        "stderr": score.stderr,
        "n": score.n,
        "total": running.total,
        "seconds": score.seconds,
        "delta": None,
    }
    if change is None:
        return report
    flips = change.flips
    shown = [
        {"text": text, "after": after, "right": bool(good)}
        for text, after, good in zip(flips["text"], flips["after"], right, strict=True)
    ][:_FLIPS_SHOWN]
    return report | {
        "delta": change.delta,
        "low": change.ci[0],
        "high": change.ci[1],
        "p": change.p_value,
        "gained": int(right.sum()),
        "lost": int((flips["before"] == flips["label"]).sum()),
        "flips": sorted(shown, key=lambda flip: flip["right"]),
    }


def map_report(maps: AttentionMaps, layer: int, head: int, what: str) -> dict[str, Any]:
    """One head's map for the desk: its numbers, limits and text alternative."""
    shown = min(len(maps.tokens), plots.MAX_TOKENS)
    values = maps.of(what)[layer, head, :shown, :shown]
    limit = float(values.abs().max())
    least = 0.05 if what == "difference" else 0.5 if what != "contributions" else 1e-6
    cut = f"The first {shown} of {len(maps.tokens)} tokens." if shown < len(maps.tokens) else ""
    return {
        "kind": "map",
        "tokens": plots.readable(maps.tokens[:shown]),
        "values": [[round(value, 4) for value in row] for row in values.tolist()],
        "signed": what == "difference",
        "limit": max(limit, least),
        "alt": f"Heat map of {WHATS[what]}, layer {layer}, head {head}. Rows look at columns.",
        "note": f"Rows look at columns. {cut}",
    }


def bertviz_report(maps: AttentionMaps, layer: int, head: int | None, what: str) -> dict[str, Any]:
    """One head of a layer, or all, for bertviz: the part of its frame that changes."""
    views.check_budget(maps, "head", [layer])
    whose = "all heads" if head is None else f"head {head}"
    return {
        "kind": "bertviz",
        "drawing": views.drawing(
            maps, "head", [layer], what, layer, None if head is None else [head]
        ),
        "height": round(22.5 * len(maps.tokens) + 50),
        "alt": f"bertviz: {WHATS[what]} of {whose} of layer {layer}",
        "note": "A colour per head. Point at a word to see its lines alone.",
    }


def fitting(clf: Classifier, text: str) -> str:
    """The text, or as much of its beginning as the model can read."""
    encoded = clf.tokenizer(text, return_offsets_mapping=True, verbose=False)
    if len(encoded["input_ids"]) <= clf.max_length:
        return text
    return text[: encoded["offset_mapping"][clf.max_length - 3][1]]


@functools.cache
def palettes() -> dict[str, list[str]]:
    """The colours of maps, as the figures use them: from low to high, 128 steps."""
    plain = matplotlib.colormaps["cividis"](np.linspace(0, 1, 128))
    signed = color_palette("vlag", as_cmap=True)(np.linspace(0, 1, 128))
    return {"plain": [to_hex(one) for one in plain], "signed": [to_hex(one) for one in signed]}


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


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
    Numbers marked "estimate" are of the sentences evaluated so far, a random sample; "measured" is of
    all. Where the machine is faster in bfloat16 it is used, for both sides, and the desk says so.
    """

    _esm = script("mixer.js")
    _css = style("mixer.css")

    size = traitlets.Dict().tag(sync=True)
    faders = traitlets.Dict().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    look = traitlets.Dict().tag(sync=True)
    sentence = traitlets.Dict().tag(sync=True)
    picture = traitlets.Dict().tag(sync=True)
    accuracy = traitlets.Dict().tag(sync=True)
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
        self._clf = clf
        self._evaluator = Evaluator(
            clf, dataset.sample(sentences) if sentences else dataset, fast=True
        )
        self._neutral: list[Running] = []  # the model as it is, chunk by chunk
        self._neutral_logits: list[tuple[torch.Tensor, float]] = []
        self._history: list[dict[str, Any]] = []
        self._before = to_faders(clf.settings())
        self._gesture: int | None = None
        self._stamps = itertools.count(1)
        self._half_seed = itertools.count()
        self._tasks: dict[str, asyncio.Task] = {}
        self._complaints: dict[str, str] = {}
        # a sentence, and the untouched model's answer to it
        self._untouched: tuple[str, list[float]] = ("", [])
        self._format = ", bfloat16" if number_format(clf.device.type) == torch.bfloat16 else ""
        super().__init__(
            size={
                "layers": clf.layers,
                "heads": clf.heads,
                "removed": [list(p) for p in removed(clf)],
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

    # What a cell may do with a desk

    @property
    def settings(self) -> HeadSettings:
        """What the faders say now. Assign settings to move the faders."""
        return from_faders(self.faders, self._clf.layers, self._clf.heads)

    @settings.setter
    def settings(self, settings: HeadSettings) -> None:
        settings.validate(self._clf.layers, self._clf.heads)
        self._set_faders(to_faders(settings))

    def preset(self, name: str, place: tuple[int, int] | None = None) -> None:
        """Press a preset: "neutral", "silence", "keep-one" or "random-half"."""
        place = place or (self.look["layer"], self.look["head"])
        # only "silence" builds on the faders as they are; the others must work when those are broken
        start = self.settings if name == "silence" else self._clf.settings()
        self.settings = preset(name, start, place, next(self._half_seed))

    def reset(self) -> None:
        """Put every fader back to neutral. `undo` brings them back."""
        self.preset("neutral")

    def undo(self) -> None:
        """Take the last change back, if there was one; a whole drag counts as one."""
        if self._history:
            self._set_faders(self._history.pop(), remember=False)
            self.can_undo = bool(self._history)

    async def settled(self) -> None:
        """Wait until everything shown belongs to the faders as they stand."""
        while any(not task.done() for task in self._tasks.values()):
            await asyncio.sleep(0.01)  # they may belong to the loop of another thread

    def close(self) -> None:
        """Remove the desk and stop its work."""
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
            if content.get("action") == "undo":
                self.undo()
            elif content.get("action") == "preset":
                self.preset(content["name"], tuple(content["place"]))
            self._say("message", "")
        except AttnlabError as error:
            self._say("message", str(error))

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin this work, and drop what was under way for older settings."""
        if name in self._tasks:
            _cancel(self._tasks[name])
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

    async def _update_sentence(self) -> None:
        stamp, settings, text, look = self.faders.get("stamp"), self.settings, self.text, self.look
        if not text.strip():
            self.sentence = {"error": "Type a sentence.", "stamp": stamp}
            return

        def now() -> bool:
            return (stamp, text, look) == (self.faders.get("stamp"), self.text, self.look)

        answer = await self._compute(self._answer, text, settings)
        if now():
            self.sentence = answer | {"stamp": stamp}
            picture = await self._compute(self._draw, text, settings, look)
            if now():
                self.picture = picture | {"stamp": stamp}

    def _answer(self, text: str, settings: HeadSettings) -> dict[str, Any]:
        shown = fitting(self._clf, text)
        if self._untouched[0] != shown:  # asked once a sentence, not at every move
            answer = self._clf.predict([shown], self._clf.settings())
            self._untouched = (shown, answer.probabilities[0].tolist())
        after = self._clf.predict([shown], settings).probabilities[0].tolist()
        cut = f"Only the first {self._clf.max_length} tokens of this sentence count."
        return {
            "labels": self._clf.label_names,
            "after": after,
            "before": self._untouched[1],
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

    async def _update_accuracy(self) -> None:
        stamp, settings = self.faders.get("stamp"), self.settings
        neutral = settings.is_neutral()

        def stale() -> bool:
            return self.faders.get("stamp") != stamp

        runs = None if neutral else self._evaluator.running(settings, stop=stale)
        for step in itertools.count():
            if step == len(self._neutral):
                await self._compute(self._extend_neutral, step, stale)
            base = self._neutral[step]
            if neutral and not base.finished and step + 1 < len(self._neutral):
                continue  # known already: go straight to the newest
            running = base if neutral else await self._compute(next, runs)
            change, right = None, np.zeros(0, bool)
            if not neutral:
                change = self._evaluator.compare_on(running.places, base.score, running.score)
                right = (change.flips["after"] == change.flips["label"]).to_numpy()
            if stale():
                return
            self.accuracy = accuracy_report(running, change, right) | {
                "stamp": stamp,
                "format": self._format,
            }
            if running.finished:
                return

    def _extend_neutral(self, step: int, stale: Callable[[], bool]) -> None:
        """Evaluate the next chunk of the untouched model; what was done before is kept."""
        runs = self._evaluator.running(self._clf.settings(), known=self._neutral_logits, stop=stale)
        if step == len(self._neutral):
            self._neutral.append(next(itertools.islice(runs, step, None)))
