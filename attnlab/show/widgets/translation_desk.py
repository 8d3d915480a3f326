"""The translation desk: step through the decoder, move its heads' faders, and watch exact match.

The view is in static/translation.js; what it draws is made in translation_report.py.
"""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import traitlets

from attnlab.datasets.pairs import ParallelDataset
from attnlab.errors import AttnlabError, SettingsError
from attnlab.heads.maps import Seq2SeqMaps
from attnlab.heads.settings import KINDS, Seq2SeqSettings
from attnlab.show import plots
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import palettes
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.translation_report import (
    Faders,
    from_faders,
    score_report,
    to_faders,
    translation_report,
)
from attnlab.show.widgets.worker import Current

if TYPE_CHECKING:
    from attnlab.translation.translator import Translator

_CHUNK = 25  # texts translated before the panel shows more, and before older work is dropped
_REMEMBERED = 12  # settings whose answers are kept, so that going back costs nothing


class TranslationDesk(ReportDesk):
    """A desk for a translator: step through what it says, and turn its heads down.

    Moving a fader changes the heads for the desk's own translations, and only there: other cells
    see the model as it is. ``desk.head_settings`` is what the faders say, for
    `Translator.translate` and `Translator.attend`.

    Parameters
    ----------
    translator : Translator
    dataset : held-out ParallelDataset that exact match is measured on
    source : the text that is translated; default the first of the dataset
    n : measure on so many of the dataset, drawn at random, or on all if there are fewer

    Attributes
    ----------
    settings : dict of ``source``, ``step``, ``layer``, ``head`` and ``faders``; `set` changes some
        of them, as in ``desk.set(step=3, layer=1, head=None)``
    head_settings : Seq2SeqSettings that the faders say; assign to move them
    report : dict, what is drawn of the sentence: the `translation_report`
    score : dict, what is drawn of exact match: the `score_report`
    code : str, the faders as Python code
    error : str, what went wrong; empty if nothing did

    Notes
    -----
    The sentence is translated at once; exact match is measured in a thread of its own, the newest
    faders first. Where no kernel runs, nothing is drawn: end with ``desk.picture()``, which stays.
    """

    _esm = script("translation")
    _css = style("mixer", "translation")

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
        last_row, last_column = len(maps.cross.target) - 1, len(maps.cross.source) - 1
        step = min(settings["step"], last_row)
        frames = {f"output position {step}": ((step, step), (0, last_column))}
        if max(step, last_column) >= plots.MAX_TOKENS:  # not in the picture
            frames = {}
        drawn = plots.alignment(maps, settings["layer"], settings["head"], frames)
        drawn.alt = f"“{settings['source']}” becomes “{translation}”. {drawn.alt}"
        return drawn

    def __repr__(self) -> str:
        return f"TranslationDesk({self.report['translation']!r})"

    # What happens when something moves

    def _follow(self, before: dict[str, Any]) -> None:
        if before["settings"]["faders"] != self.report["settings"]["faders"]:
            self._start(self.head_settings)

    def _as_code(self) -> str:
        return self.head_settings.to_code()

    def _start(self, knobs: Seq2SeqSettings) -> None:
        """Measure exact match with these settings."""
        faders = to_faders(knobs)
        self._work.start("score", lambda current: self._measure(faders, current))

    def _translated(self, source: str, knobs: str) -> tuple[Seq2SeqMaps, str]:
        settings = Seq2SeqSettings.from_json(knobs)
        (translation,) = self._translator.translate([source], settings=settings)
        return self._translator.attend(source, settings=settings), translation

    # Exact match

    def _measure(self, faders: Faders, current: Current) -> Iterator[None]:
        """Translate chunk by chunk, the untouched model's first where they are not known."""
        total, moved = len(self._sample), faders != self._neutral
        while current():
            start = self._right(self._neutral)
            now = self._right(faders)
            n = min(len(start), len(now))
            if n:
                report = score_report(now[:n], start[:n], total, moved)
                self._publish(current, score=report | {"faders": faders})
            if n == total:
                return
            self._answer(self._neutral if len(start) == n else faders)
            yield

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
        known += [said == right for said, right in zip(found, chunk.targets, strict=True)]
