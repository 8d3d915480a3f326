"""The translation desk: step through the decoder, move its heads' faders, and watch exact match.

`translation_report` and `score_report` say all that is drawn, tested without a browser. `TranslationDesk` decides
what is computed when; the view is in static/translation.js.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import traitlets
from scipy import stats

from attnlab.datasets.pairs import ParallelDataset
from attnlab.errors import AttnlabError, SettingsError
from attnlab.heads.maps import Seq2SeqMaps
from attnlab.heads.settings import KINDS, HeadSettings, Seq2SeqSettings
from attnlab.show import plots
from attnlab.show.plots.translation import aligned, considered, described, place
from attnlab.show.widgets.balance_meter import Newest
from attnlab.show.widgets.desk import ReportDesk, script, style
from attnlab.show.widgets.mixing import palettes
from attnlab.show.wording import signed_points
from attnlab.statistics import paired_test

if TYPE_CHECKING:
    from attnlab.translation.translator import Translator

CANDIDATES = 5  # shown at each step
_CHUNK = 25  # texts translated before the panel shows more, and before older work is dropped
_REMEMBERED = 12  # settings whose answers are kept, so that going back costs nothing

Faders = dict[str, list[list[float]]]  # scales of each kind of attention, layers by heads


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def to_faders(settings: Seq2SeqSettings) -> Faders:
    """The scales of settings as the desk's tables of numbers.

    Raises
    ------
    SettingsError : temperatures, for which this desk has no faders; one setting per text
    """
    for kind, one in zip(KINDS, settings, strict=True):
        if one.scale.dim() != 2:
            raise SettingsError(
                f"A desk shows one setting, and {kind} has {len(one.scale)}, one per text. Give one of them."
            )
        if (one.temperature != 1).any():
            raise SettingsError(
                f"{kind} has temperatures that are not 1, and this desk has faders for scales alone. "
                "Give such settings to translator.translate or translator.attend."
            )
    return {
        kind: [[round(one, 4) for one in row] for row in getattr(settings, kind).scale.tolist()]
        for kind in KINDS
    }


def from_faders(faders: Faders, size: dict[str, Sequence[int]]) -> Seq2SeqSettings:
    """The desk's tables as settings.

    Parameters
    ----------
    size : layers and heads of each kind

    Raises
    ------
    SettingsError : tables that do not fit a model of this size, or hold what is no scale
    """
    made = {}
    for kind in KINDS:
        try:
            scale = torch.tensor(faders[kind], dtype=torch.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"The faders cannot be read: {type(error).__name__}: {error}. Give a table for each of {KINDS}."
            ) from error
        one = HeadSettings.of(scale, torch.ones_like(scale))
        try:
            made[kind] = one.validate(*size[kind])
        except SettingsError as error:
            raise SettingsError(f"{kind}: {error}") from error
    return Seq2SeqSettings(**made)


def translation_report(
    maps: Seq2SeqMaps, translation: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """Say all that the desk shows of one sentence.

    Parameters
    ----------
    maps : of the source and the translation
    translation : in words
    settings : ``source``; ``step``, the output position looked at; ``layer`` and ``head`` of the cross-attention,
        None for the mean over them; ``faders``

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``tokens`` of the source, ``target`` tokens, and the ``start`` mark that is fed first
        - ``weights`` (T, S), weights × scale of the heads ``looked`` at; ``limit`` of their colours; ``alt``
        - ``steps``: for each position its ``candidates`` (token, share, chosen), likeliest first, and in ``words``
          what happens there; ``step``, the position looked at, not beyond the last
        - ``note``: what is not shown

    Raises
    ------
    SettingsError : a step, layer or head that cannot be
    """
    step, layer, head = settings["step"], settings["layer"], settings["head"]
    for name, number in (("step", step), ("layer", layer), ("head", head)):
        absent = number is None and name != "step"
        if not absent and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise SettingsError(f"{name} is {number!r}; it is a whole number from 0.")
    try:
        values = aligned(maps.cross, layer, head)
    except AttnlabError as error:
        raise SettingsError(str(error)) from error
    (target, source), most = values.shape, plots.MAX_TOKENS
    shown = values[:most, :most]
    cut = [
        f"{count} {name} tokens, the first {most} are shown."
        for name, count in (("source", source), ("output", target))
        if count > most
    ]
    tokens, said = maps.cross.source[:most], maps.cross.target[:most]
    steps = [
        {"candidates": one, "words": _step_words(at, said[at], one, tokens, shown[at])}
        for at, one in enumerate(considered(maps, CANDIDATES)[:most])
    ]
    return {
        "settings": settings,
        "translation": translation,
        "tokens": tokens,
        "target": said,
        "start": maps.decoder.tokens[0],
        "weights": [[round(one, 3) for one in row] for row in shown.tolist()],
        "limit": max(0.5, round(float(shown.max()), 3)),
        "steps": steps,
        "step": min(step, len(said) - 1),
        "looked": place(layer, head),
        "alt": described(maps, layer, head),
        "note": " ".join(cut),
    }


def _step_words(
    at: int, came: str, candidates: list[dict[str, Any]], tokens: list[str], weights: np.ndarray
) -> str:
    """One position in words."""
    share = next((one["share"] for one in candidates if one["chosen"]), 0.0)
    most = int(weights.argmax())
    where = f"looks most at “{tokens[most]}” ({weights[most]:.2f})"
    if weights[most] == 0:
        where = "the heads looked at are silent"
    return f"Position {at}: “{came}” with {100 * share:.0f}\u00a0%; {where}."


def score_report(
    now: Sequence[bool], start: Sequence[bool], total: int, moved: bool = True
) -> dict[str, Any]:
    """Say what the panel of exact match shows.

    Parameters
    ----------
    now, start : for each text whether its translation is right to the letter, with the faders as they are and with
        all at 1; as many of each as are translated so far, of the same texts
    total : how many there will be
    moved : whether a fader is moved

    Returns
    -------
    report : dict with ``state`` ("partial" or "measured"), ``n``, ``total``, ``now`` and ``start`` (each with
        ``share``, ``low`` and ``high``, the 95 % interval by Wilson 1927), ``words``, and ``change``, None where
        nothing is moved
    """
    right, before = np.asarray(now, bool), np.asarray(start, bool)
    n = len(right)
    report = {
        "state": "measured" if n == total else "partial",
        "n": n,
        "total": total,
        "now": _share(right),
        "start": _share(before),
        "change": None,
        "words": "All faders at 1. Move one: what it does to exact match shows here.",
    }
    if moved:
        test = paired_test(before, right)
        report["change"] = test.delta
        delta, low, high = (signed_points(share) for share in (test.delta, test.low, test.high))
        report["words"] = (
            f"{delta} points ({low} to {high}): {test.gained} gained, {test.lost} lost."
        )
    return report


def _share(right: np.ndarray) -> dict[str, float]:
    interval = stats.binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return {
        "share": float(right.mean()),
        "low": float(f"{interval.low:.4g}"),
        "high": float(f"{interval.high:.4g}"),
    }


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


class TranslationDesk(ReportDesk):
    """A desk for a translator: step through what it says, and turn its heads down.

    Moving a fader changes the heads for the desk's own translations, and only there: other cells see the model as
    it is. ``desk.head_settings`` is what the faders say, for `Translator.translate` and `Translator.attend`.

    Parameters
    ----------
    translator : Translator
    dataset : held-out ParallelDataset that exact match is measured on
    source : the text that is translated; default the first of the dataset
    n : measure on so many of the dataset, drawn at random, or on all if there are fewer

    Attributes
    ----------
    settings : dict of ``source``, ``step``, ``layer``, ``head`` and ``faders``; `set` changes some of them, as in
        ``desk.set(step=3, layer=1, head=None)``
    head_settings : Seq2SeqSettings that the faders say; assign to move them
    report : dict, what is drawn of the sentence: the `translation_report`
    score : dict, what is drawn of exact match: the `score_report`
    code : str, the faders as Python code
    error : str, what went wrong; empty if nothing did

    Notes
    -----
    The sentence is translated at once; exact match is measured in a thread of its own, the newest faders first.
    Where no kernel runs, nothing is drawn: end with ``desk.picture()``, which stays.
    """

    _esm = script("grids.js", "mixer-faders.js", "translation.js")
    _css = style("mixer.css", "translation.css")

    size = traitlets.Dict().tag(sync=True)
    score = traitlets.Dict().tag(sync=True)
    palette = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        translator: "Translator",
        dataset: ParallelDataset,
        source: str | None = None,
        n: int = 100,
    ):
        self._lock = threading.RLock()
        self._complaints: dict[str, str] = {}
        self._work = Newest(self._say)
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise SettingsError(f"n is {n!r}; it is how many texts to measure on, at least 1.")
        if not len(dataset):
            raise AttnlabError("There are no texts to measure on. Give a dataset with some.")
        self._translator, self._sample = translator, dataset.sample(n)
        neutral = translator.settings()
        self._size = {kind: list(getattr(neutral, kind).scale.shape) for kind in KINDS}
        self._neutral = to_faders(neutral)
        self._answers: dict[str, list[bool]] = {}  # by faders; the newest last
        self._read = functools.lru_cache(maxsize=4)(self._translated)
        first = {
            "source": dataset.sources[0] if source is None else source,
            "step": 0,
            "layer": self._size["cross"][0] - 1,
            "head": None,
            "faders": self._neutral,
        }
        super().__init__(self.compute(**first), size=self._size, palette=palettes())
        self.code = neutral.to_code()
        self._start(neutral)

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the report of these settings."""
        source = settings["source"]
        if not isinstance(source, str) or not source.strip():
            raise SettingsError("The text is empty. Type one.")
        knobs = from_faders(settings["faders"], self._size)
        maps, translation = self._read(source, knobs.to_json())
        return translation_report(maps, translation, settings)

    @property
    def head_settings(self) -> Seq2SeqSettings:
        """What the faders say, a copy. Assign settings to move them."""
        return from_faders(self.report["settings"]["faders"], self._size)

    @head_settings.setter
    def head_settings(self, settings: Seq2SeqSettings) -> None:
        self.set(faders=to_faders(settings))

    def picture(self) -> plots.Picture:
        """The alignment as a picture with its text alternative, which needs no kernel."""
        with self._lock:
            settings = self.report["settings"]
            maps, translation = self._read(settings["source"], self.head_settings.to_json())
        drawn = plots.alignment(maps, settings["layer"], settings["head"])
        drawn.alt = f"“{settings['source']}” becomes “{translation}”. {drawn.alt}"
        return drawn

    def wait(self, seconds: float = 600) -> "TranslationDesk":
        """Wait until exact match is measured, at most so many seconds; return the desk."""
        self._work.wait(seconds)
        return self

    def close(self) -> None:
        """Remove the desk and stop its work."""
        self._work.end()
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and its picture for pages without a kernel."""
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is not None:
            shown[0]["text/html"] = self.picture()._repr_html_()
        return shown

    def __repr__(self) -> str:
        return f"TranslationDesk({self.report['translation']!r})"

    # What happens when something moves

    def _redraw(self, change: dict[str, Any]) -> None:
        before = self.head_settings
        try:
            super()._redraw(change)
            self._say("settings", self.error)
        except Exception as error:  # whatever it is, the person at the desk must see it
            self._say("settings", f"That did not work. {type(error).__name__}: {error}")
        now = self.head_settings
        self.code = now.to_code()
        if now != before:
            self._start(now)

    def _start(self, knobs: Seq2SeqSettings) -> None:
        """Measure exact match with these settings."""
        faders = to_faders(knobs)
        self._work.start("score", lambda current: self._measure(faders, current))

    def _say(self, kind: str, message: str) -> None:
        """Show what one kind of work has to complain of; the others' complaints stay."""
        with self._lock:
            self._complaints[kind] = message
            self.error = " ".join(dict.fromkeys(filter(None, self._complaints.values())))

    def _translated(self, source: str, knobs: str) -> tuple[Seq2SeqMaps, str]:
        settings = Seq2SeqSettings.from_json(knobs)
        (translation,) = self._translator.translate([source], settings=settings)
        return self._translator.attend(source, settings=settings), translation

    # Exact match

    def _measure(self, faders: Faders, current: Callable[[], bool]) -> None:
        """Translate chunk by chunk, the untouched model's first where they are not known."""
        total, moved = len(self._sample), faders != self._neutral
        while current():
            start = self._right(self._neutral)
            now = self._right(faders)
            n = min(len(start), len(now))
            if n:
                report = score_report(now[:n], start[:n], total, moved)
                self.score = report | {"faders": faders}
            if n == total:
                return
            self._answer(self._neutral if len(start) == n else faders)

    def _right(self, faders: Faders) -> list[bool]:
        """What is known of these faders, and of the last few."""
        key = repr(faders)
        self._answers[key] = self._answers.pop(key, [])
        for old in list(self._answers)[:-_REMEMBERED]:
            if old != repr(self._neutral):
                del self._answers[old]
        return self._answers[key]

    def _answer(self, faders: Faders) -> None:
        """Translate the next chunk."""
        known = self._right(faders)
        chunk = self._sample.select(range(len(known), min(len(known) + _CHUNK, len(self._sample))))
        found = self._translator.translate(chunk.sources, settings=from_faders(faders, self._size))
        known += [one == right for one, right in zip(found, chunk.targets, strict=True)]
