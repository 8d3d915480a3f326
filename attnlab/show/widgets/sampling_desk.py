"""The sampling desk: write token by token, see the candidates and where a head looks.

The view is in static/sampling.js; what it draws is made in sampling_report.py.
"""

import functools
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import traitlets

from attnlab.errors import AttnlabError, SettingsError
from attnlab.heads.settings import HeadSettings
from attnlab.show import plots
from attnlab.show.plots.sampling_desk import sampling_desk
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import palettes
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.sampling_reading import Reader, Reading
from attnlab.show.widgets.sampling_report import (
    check,
    from_faders,
    most_focused,
    sampling_report,
    to_faders,
)

if TYPE_CHECKING:
    from attnlab.language.writer import Writer

MOST_TOKENS = 512  # of a text
_REMEMBERED = 32  # readings, so that looking at another head reads nothing anew


class SamplingDesk(ReportDesk):
    """A desk for a language model: the next token's candidates, and the hand that draws.

    Set temperature, top-k, top-p and min-p and watch the candidates; draw a token, take another
    one, or let it run; see where a head looks, turn heads down, and write with a cache or without.
    The model itself stays as it is.

    Parameters
    ----------
    writer : Writer
    prompt : what the text begins with
    seed : of the draws; the same seed draws the same text

    Attributes
    ----------
    settings : dict of ``prompt``, ``taken``, ``seed``, ``temperature``, ``top_k``, ``top_p``,
        ``min_p``, ``layer``, ``head``, ``faders`` and ``cache``, as in `sampling_report`; `set`
        changes some of them, as in ``desk.set(temperature=0.7, top_p=0.9)``
    head_settings : HeadSettings that the faders say; assign to move them
    report : dict, what is drawn: the `sampling_report` of these settings
    text : str, what is written so far, the prompt included
    error : str, why the settings cannot be drawn; empty if they can

    Raises
    ------
    AttnlabError : a prompt that the model cannot read

    Notes
    -----
    Times are those of this machine while it did what else it had to do: they show what a cache is
    for, and are no measurement. Where no kernel runs, nothing is drawn: end with
    ``desk.picture()``, which stays.
    """

    _esm = script("sampling")
    _css = style("mixer", "sampling")

    size = traitlets.Dict().tag(sync=True)
    names: traitlets.List[str] = traitlets.List().tag(sync=True)
    palette: traitlets.List[str] = traitlets.List().tag(sync=True)

    def __init__(self, writer: "Writer", prompt: str = "Once upon a time", seed: int = 0):
        if not hasattr(writer, "tokens") or not hasattr(writer, "model"):
            raise SettingsError(
                f"SamplingDesk was given a {type(writer).__name__}; it needs a language model with "
                "its tokens: al.load_language_model(...), or what al.train_language_model returns."
            )
        self._writer, model = writer, writer.model
        neutral = model.neutral_settings()
        self._neutral, self._shape = to_faders(neutral), tuple(neutral.scale.shape)
        self._names = writer.tokens.pieces(list(range(len(writer.tokens))))
        learned = model.size["positions"] == "learned"  # others read beyond their max_length
        self._most = min(MOST_TOKENS, int(model.size["max_length"])) if learned else MOST_TOKENS
        self._reader, self._plain_reader = Reader(model), Reader(model)
        self._times: dict[bool, deque[Reading]] = {True: deque(maxlen=5), False: deque(maxlen=5)}
        self._read = functools.lru_cache(maxsize=_REMEMBERED)(self._reading)
        self._read_plain = functools.lru_cache(maxsize=_REMEMBERED)(self._plain_reading)
        first: dict[str, Any] = {
            "prompt": prompt,
            "taken": [],
            "seed": seed,
            "temperature": 1.0,
            "top_k": None,
            "top_p": None,
            "min_p": None,
            "layer": 0,
            "head": None,
            "faders": self._neutral,
            "cache": True,
        }
        check(first, self._names, *self._shape)
        reading = self._read(self._ids(prompt, []), neutral.to_json(), True)
        first["layer"], first["head"] = most_focused(reading.weights)
        super().__init__(
            self.compute(**first),
            size={
                "layers": self._shape[0],
                "heads": self._shape[1],
                "tokens": len(self._names),
                "start": writer.tokens.start,
            },
            names=self._names,
            palette=palettes()["plain"],
        )

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the `sampling_report` of these settings."""
        check(settings, self._names, *self._shape)
        knobs = from_faders(settings["faders"], *self._shape)
        ids = self._ids(settings["prompt"], settings["taken"])
        reading = self._read(ids, knobs.to_json(), settings["cache"])
        untouched = None if knobs.is_neutral() else self._read_plain(ids).logits
        limits = self._most, self._writer.block_length
        return sampling_report(reading, settings, self._names, untouched, self._times, *limits)

    def step(self, times: int = 1) -> Self:
        """Draw so many tokens, as the button does; return the desk."""
        for _ in range(times):
            if self.report["full"]:
                raise AttnlabError(self.report["full"])
            self.set(taken=[*self.report["settings"]["taken"], self.report["next"]])
        return self

    def back(self) -> Self:
        """Take the last token back; return the desk."""
        self.set(taken=self.report["settings"]["taken"][:-1])
        return self

    def start_over(self) -> Self:
        """Go back to the prompt alone; return the desk."""
        self.set(taken=[])
        return self

    @property
    def text(self) -> str:
        """What is written so far, the prompt included."""
        settings = self.report["settings"]
        return settings["prompt"] + self._writer.tokens.decode(settings["taken"])

    @property
    def head_settings(self) -> HeadSettings:
        """What the faders say, a copy. Assign settings to move them."""
        return from_faders(self.report["settings"]["faders"], *self._shape)

    @head_settings.setter
    def head_settings(self, settings: HeadSettings) -> None:
        self.set(faders=to_faders(settings))

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel."""
        return sampling_desk(self.report, self._names)

    def __repr__(self) -> str:
        return f"SamplingDesk({self.text!r})"

    # What the model reads

    def _ids(self, prompt: str, taken: list[int]) -> tuple[int, ...]:
        """The tokens of the text."""
        tokens = self._writer.tokens
        start = [] if tokens.start is None else [tokens.start]
        ids = (*start, *tokens.encode(prompt), *taken)
        if not ids:
            raise SettingsError("The prompt is empty. Type one letter at least.")
        if len(ids) > self._most:
            raise SettingsError(
                f"The text has {len(ids)} tokens; at most {self._most} are read. Take some away."
            )
        return ids

    def _reading(self, ids: tuple[int, ...], knobs: str, cached: bool) -> Reading:
        reading = self._reader.read(ids, HeadSettings.from_json(knobs), cached)
        if not cached or reading.tokens_read == 1:  # what a token takes
            self._times[cached].append(reading)
        return reading

    def _plain_reading(self, ids: tuple[int, ...]) -> Reading:
        return self._plain_reader.read(ids, self._writer.model.neutral_settings())
