"""The balance meter: a dial for the whole model, a map of its heads, and one head looked at closely.

`meter_report` computes what is drawn, tested without a browser. `BalanceMeter` measures in a thread of its own, a
sample first, and hands what is known so far to the view in static/balance.js.
"""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import traitlets

from attnlab.balance.meter import Meter
from attnlab.balance.reading import MEASURES, Balance
from attnlab.classification.classifier import Classifier
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, SettingsError, suggest
from attnlab.evaluation.measures import tokenised
from attnlab.heads import one_setting
from attnlab.heads.maps import AttentionMaps
from attnlab.show import plots
from attnlab.show.widgets.desk import ReportDesk, script, style
from attnlab.show.widgets.mixing import fitting, map_report, palettes
from attnlab.show.wording import (
    BY,
    TOKENS,
    VALUES,
    colour_limits,
    decimals_between,
    decimals_of,
    extremes,
    number,
    short,
    significant,
    with_minus,
)

FIRST = 16  # texts before the first reading: a fraction of a second
CHUNK = 96  # texts from one reading to the next
SHOWS = VALUES | {"change": "change since before"}
_MENUS = {"tokens": TOKENS, "by": BY, "value": SHOWS}
_PARTS = {
    "tokens": ("over tokens", "entropy of contributions, share of the largest"),
    "heads": ("over heads", "effective number of heads, share of those there are"),
}


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def meter_report(
    balance: Balance | None,
    settings: dict[str, Any],
    size: tuple[int, int],
    before: Balance | None = None,
    total: int = 0,
    comparing: bool = False,
) -> dict[str, Any]:
    """Say all that a balance meter shows of a reading.

    Parameters
    ----------
    balance : what was read so far; None before the first reading
    settings : ``measure``, ``tokens``, ``by`` and ``value`` of the map, ``layer`` and ``head`` looked at, ``text``
    size : layers and heads of the model
    before : the same reading of the model before fine-tuning
    total : how many texts there are to measure
    comparing : whether there is a model before, measured or not

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``settings``, and ``shown``, what is drawn: where a measure was not taken so, the nearest that was
        - ``menus``: for each menu the choices, as [value, text, whether it can be chosen]
        - ``dial``: ``overall``, ``parts`` and those of the model before
        - ``map``: ``values`` (L, H), None for heads that are not there, ``low`` and ``high`` end of the colours,
          ``signed``, ``digits``, ``label``, ``alt``
        - ``head``: its name and a row per measure, each a list of texts
        - ``state`` ("waiting", "partial" or "measured"), ``progress``, ``remark``

    Raises
    ------
    SettingsError : a setting that there is not
    """
    settings = _checked(settings, size, comparing)
    report: dict[str, Any] = {
        "settings": settings,
        "size": list(size),
        "comparing": comparing,
        "total": total,
        "n": 0 if balance is None else balance.texts,
    }
    if balance is None:
        shown = {name: settings[name] for name in ("measure", "tokens", "by", "value")}
        return report | {
            "shown": shown,
            "state": "waiting",
            "progress": "measuring a first sample",
            "menus": _menus(None, shown, comparing),
            "dial": _dial(None, None),
            "map": _empty_map(size),
            "head": {"name": _name(settings), "note": "", "columns": [], "rows": []},
            "remark": "Measuring.",
        }
    shown = _nearest(balance, settings)
    values = _values(balance, before, shown)
    state = "measured" if balance.texts >= total else "partial"
    return report | {
        "shown": shown,
        "state": state,
        "progress": _progress(balance, total),
        "menus": _menus(balance, shown, comparing),
        "dial": _dial(balance, before),
        "map": _map(values, shown),
        "head": _head(balance, before, shown, settings, values),
        "remark": _remark(values, shown, settings),
    }


def _checked(settings: dict[str, Any], size: tuple[int, int], comparing: bool) -> dict[str, Any]:
    """The settings, or SettingsError if there is no such measure, head or text."""
    choices = {
        "measure": [name for name in MEASURES if comparing or name != "js_before"],
        "tokens": list(TOKENS),
        "by": list(BY),
        "value": [name for name in SHOWS if comparing or name != "change"],
    }
    for name, known in choices.items():
        if settings[name] not in known:
            why = ""
            if settings[name] in ("change", "js_before"):
                why = " It needs the model before: al.BalanceMeter(clf, data, before=other)."
            raise SettingsError(
                f"There is no {name} {settings[name]!r}.{why} {suggest(str(settings[name]), known)}"
            )
    for name, count in zip(("layer", "head"), size, strict=True):
        place = settings[name]
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < count:
            raise SettingsError(f"{name} is {place!r}; it is a whole number from 0 to {count - 1}.")
    if not isinstance(settings["text"], str) or not settings["text"].strip():
        raise SettingsError("The sentence is empty. Type one.")
    return dict(settings)


def _taken(balance: Balance, measure: str) -> set[tuple[str, str]]:
    """In which ways, tokens and by, a measure was taken."""
    rows = balance.table[balance.table["measure"] == measure]
    return set(zip(rows["tokens"], rows["by"], strict=True))


def _nearest(balance: Balance, settings: dict[str, Any]) -> dict[str, Any]:
    """What is shown: the settings, with tokens and by changed where the measure was not taken so."""
    shown = {name: settings[name] for name in ("measure", "tokens", "by", "value")}
    taken = _taken(balance, shown["measure"])
    if not taken:
        shown["measure"], taken = "entropy", _taken(balance, "entropy")
    shown["tokens"], shown["by"] = min(
        sorted(taken), key=lambda way: (way[1] != shown["by"]) + (way[0] != shown["tokens"])
    )
    return shown


def _values(balance: Balance, before: Balance | None, shown: dict[str, Any]) -> np.ndarray:
    """What the map shows (L, H)."""
    how = (shown["measure"], shown["tokens"], shown["by"])
    if shown["value"] != "change":
        return balance.map(*how, shown["value"])
    if before is None or how[1:] not in _taken(before, how[0]):
        return np.full((balance.layers, balance.heads), np.nan)
    return balance.map(*how) - before.map(*how)


def _menus(
    balance: Balance | None, shown: dict[str, Any], comparing: bool
) -> dict[str, list[list[Any]]]:
    """Each menu's choices, and whether they can be chosen for what is shown."""
    measures = [name for name in MEASURES if name != "js_average"]
    if balance is not None:
        measures = [name for name in MEASURES if _taken(balance, name)]
    elif not comparing:
        measures = [name for name in measures if name != "js_before"]
    taken = None if balance is None else _taken(balance, shown["measure"])
    changes = taken is None or shown["measure"] != "js_before"
    menus: dict[str, list[list[Any]]] = {
        "measure": [[name, MEASURES[name], True] for name in measures]
    }
    for place, name in enumerate(("tokens", "by")):
        there = set(_MENUS[name]) if taken is None else {way[place] for way in taken}
        menus[name] = [[one, words, one in there] for one, words in _MENUS[name].items()]
    menus["value"] = [
        [one, words, one != "change" or changes]
        for one, words in SHOWS.items()
        if comparing or one != "change"
    ]
    return menus


def _dial(balance: Balance | None, before: Balance | None) -> dict[str, Any]:
    parts = []
    for name, (words, note) in _PARTS.items():
        share = None if balance is None else balance.parts[name]
        parts.append(
            {
                "label": words,
                "share": share,
                "value": "–" if share is None else f"{share:.2f}",
                "before": None if before is None else before.parts[name],
                "note": note,
            }
        )
    overall = None if balance is None else balance.overall
    told = "Dial: not measured yet."
    if balance is not None:
        told = (
            f"Dial: overall balance {overall:.2f} of 1, {balance.parts['tokens']:.2f} over tokens and "
            f"{balance.parts['heads']:.2f} over heads."
        )
    if before is not None:
        told += f" Before it was {before.overall:.2f}."
    return {
        "overall": overall,
        "value": "–" if overall is None else f"{overall:.2f}",
        "before": None if before is None else before.overall,
        "was": "" if before is None else f"before {before.overall:.2f}",
        "parts": parts,
        "alt": told,
    }


def _map(values: np.ndarray, shown: dict[str, Any]) -> dict[str, Any]:
    signed = shown["value"] in ("change", "slope")
    low, high = colour_limits(shown["measure"], "slope" if signed else shown["value"], values)
    label = _label(shown)
    told = extremes(values, "+.2f" if signed else ".2f") if np.isfinite(values).any() else "empty"
    return {
        "values": [[significant(one, 4) for one in row] for row in values.tolist()],
        "low": low,
        "high": high,
        "signed": signed,
        "digits": decimals_between((low, high)),
        "label": label,
        "alt": f"Map of {label}, {values.shape[0]} layers by {values.shape[1]} heads: {told}.",
    }


def _empty_map(size: tuple[int, int]) -> dict[str, Any]:
    return {
        "values": None,
        "low": 0.0,
        "high": 1.0,
        "signed": False,
        "digits": 2,
        "label": "",
        "alt": f"Map of {size[0]} layers by {size[1]} heads, not measured yet.",
    }


def _label(shown: dict[str, Any]) -> str:
    name = MEASURES[shown["measure"]]
    return name if shown["value"] == "mean" else f"{name}: {SHOWS[shown['value']]}"


def _name(settings: dict[str, Any]) -> str:
    return f"Layer {settings['layer']}, head {settings['head']}"


def _head(
    balance: Balance,
    before: Balance | None,
    shown: dict[str, Any],
    settings: dict[str, Any],
    values: np.ndarray,
) -> dict[str, Any]:
    """All that was measured of the head looked at, in the way shown."""
    place = settings["layer"], settings["head"]
    rows = []
    for name, here in _rows_of(balance, place, shown).iterrows():
        was = None if before is None else _rows_of(before, place, shown).get("mean", {}).get(name)
        digits = decimals_of(here["mean"])
        cells = [f"{number(here['mean'], digits)} ± {number(here['std'], digits)}"]
        if before is not None:
            cells.append("–" if was is None else number(was, digits))
        rows.append([short(name), *cells])
    columns = ["measure", "mean ± texts", *(["before"] if before is not None else [])]
    if not np.isfinite(values[place]):
        return {"name": _name(settings), "note": "not there", "columns": columns, "rows": rows}
    known = values[np.isfinite(values)]
    rank = int((known < values[place]).sum()) + 1
    note = f"rank {rank} of {known.size} on the map, from the lowest"
    return {"name": _name(settings), "note": note, "columns": columns, "rows": rows}


def _rows_of(balance: Balance, place: tuple[int, int], shown: dict[str, Any]) -> pd.DataFrame:
    """A head's means and standard deviations, by measure, in their usual order."""
    table = balance.table
    rows = table[
        (table["layer"] == place[0])
        & (table["head"] == place[1])
        & (table["tokens"] == shown["tokens"])
        & (table["by"] == shown["by"])
    ].set_index("measure")
    return rows.loc[[name for name in MEASURES if name in rows.index], ["mean", "std"]]


def _progress(balance: Balance, total: int) -> str:
    tokens = f"{balance.tokens:,} tokens"
    if balance.texts >= total:
        return f"measured on {balance.texts:,} texts, {tokens}"
    return f"so far {balance.texts:,} of {total:,} texts"


def _remark(values: np.ndarray, shown: dict[str, Any], settings: dict[str, Any]) -> str:
    """What is to be noticed. Read out by screen readers, so it changes with the map and not with every text."""
    if not np.isfinite(values).any():
        return "This was not measured of the model before."
    told = extremes(values, "+.2f" if shown["value"] in ("change", "slope") else ".2f")
    words = with_minus(f"{told[0].upper()}{told[1:]}. ")
    moved = [
        _MENUS[name][shown[name]] for name in ("tokens", "by") if shown[name] != settings[name]
    ]
    if moved:
        words += f"This measure was taken with {' and '.join(moved)}."
    elif shown["value"] == "slope":
        words += "Near 0: the measure does not depend on how long a text is."
    else:
        words += "Even is not the same as good: see what happens without a head on the mixing desk."
    return words


def change_report(
    maps: AttentionMaps, before: AttentionMaps, layer: int, head: int, what: str
) -> dict[str, Any]:
    """One head's map minus that of the same head before, for the view."""
    shown = min(len(maps.tokens), plots.MAX_TOKENS)
    now, was = (one.of(what)[layer, head, :shown, :shown] for one in (maps, before))
    values = now - was
    limit = max(float(values.abs().max()), 0.05)
    report = map_report(maps, layer, head, what)
    return report | {
        "values": [[round(value, 4) for value in row] for row in values.tolist()],
        "signed": True,
        "limit": limit,
        "alt": f"Heat map of the change of {what} since before, layer {layer}, head {head}. Rows look at columns.",
        "note": f"Now minus before. {report['note']}",
    }


# ── work beside the cell ───────────────────────────────────────────────────────────────────────


Work = Callable[[Callable[[], bool]], None]  # told by a function whether it is still the newest


class Newest:
    """Threads for a desk's work: of each kind one, in which newer work takes the place of older.

    A thread ends when it has nothing to do. One that waits would keep its share of torch's threads, and small
    steps of training in another cell would take nearly twice as long.

    Parameters
    ----------
    complain : called with the kind of work and what went wrong, or "" when it went well
    """

    def __init__(self, complain: Callable[[str, str], None]):
        self._complain = complain
        self._waiting: dict[str, tuple[int, Work]] = {}  # of each kind the newest
        self._serial: dict[str, int] = {}
        self._count = itertools.count(1)
        self._busy: set[str] = set()  # kinds that have a thread
        self._idle = threading.Condition()

    def start(self, kind: str, work: Work) -> None:
        """Do this work in the kind's thread; it is told by a function whether it is still the newest."""
        with self._idle:
            serial = self._serial[kind] = next(self._count)
            self._waiting[kind] = serial, work
            if kind in self._busy:
                return
            self._busy.add(kind)
        threading.Thread(
            target=self._work_off, args=(kind,), name=f"attnlab-{kind}", daemon=True
        ).start()

    def _work_off(self, kind: str) -> None:
        while True:
            with self._idle:
                if kind not in self._waiting:
                    self._busy.discard(kind)
                    self._idle.notify_all()
                    return
                serial, work = self._waiting.pop(kind)
            self._run(kind, serial, work)

    def _run(self, kind: str, serial: int, work: Work) -> None:
        def current() -> bool:
            return self._serial[kind] == serial

        try:
            if current():
                work(current)
                self._complain(kind, "")
        except AttnlabError as error:
            self._complain(kind, str(error))
        except Exception as error:  # whatever it is, the person at the desk must see it
            self._complain(kind, f"That did not work. {type(error).__name__}: {error}")

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is under way, so many seconds at most; whether it is so."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._busy, seconds)

    def end(self) -> None:
        """Drop what is under way at its next chance."""
        with self._idle:
            self._waiting.clear()
            for kind in self._serial:
                self._serial[kind] = next(self._count)


# ── the meter ──────────────────────────────────────────────────────────────────────────────────


class BalanceMeter(ReportDesk):
    """A meter of how evenly a classifier's heads attend: a dial, a map of heads, and one head closely.

    Parameters
    ----------
    clf : Classifier
    data : TextDataset, or list of texts, to measure on
    text : the sentence whose attention is shown; by default a sentence of ours
    before : the classifier before it was fine-tuned, or damaged: measured in the same way, its overall figure is
        marked on the dial, the map can show the change, and ``js_before`` how far rows of attention have moved

    Attributes
    ----------
    settings : dict of ``measure``, ``tokens``, ``by``, ``value``, ``layer``, ``head`` and ``text``; `set` changes
        some of them, as in ``meter.set(measure="distance", layer=2)``
    balance : Balance, what was read so far; None before the first reading
    report : dict, what is drawn: the `meter_report`
    error : str, what went wrong; empty if nothing did

    Notes
    -----
    Measured in a thread of its own: a random sample of 16 texts first, then more and more, until all are. An
    `applied` block does not reach into it; give settings to `balance.measure` for that. Where no kernel runs,
    nothing is drawn: end with ``meter.picture()``, which stays.
    """

    _esm = script("grids.js", "balance.js")
    _css = style("grids.css", "balance.css")

    sentence = traitlets.Dict().tag(sync=True)
    palette = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        clf: Classifier,
        data: TextDataset | list[str],
        text: str = "A warm, funny and beautifully acted film.",
        before: Classifier | None = None,
    ):
        self._work = Newest(self._say)
        self.balance: Balance | None = None
        self.before: Balance | None = None
        self._clf, self._other = clf, before
        self._size = clf.layers, clf.heads
        if before is not None and (before.layers, before.heads) != self._size:
            raise AttnlabError(
                f"The model before has {before.layers} layers of {before.heads} heads, this one {clf.layers} of "
                f"{clf.heads}. Compare models of one size."
            )
        self._texts = list(getattr(data, "texts", data))
        if not self._texts:
            raise AttnlabError("There are no texts to measure on. Give at least one.")
        self._lock = threading.RLock()
        self._complaints: dict[str, str] = {}
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
        self._work.start("sentence", self._draw)

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

    def wait(self, seconds: float = 600) -> "BalanceMeter":
        """Wait until all is measured and drawn, at most so many seconds; return the meter."""
        self._work.wait(seconds)
        return self

    def close(self) -> None:
        """Remove the meter and stop its work."""
        self._work.end()
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget and, once something is measured, its picture for pages without a kernel."""
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is not None and self.balance is not None:
            shown[0]["text/html"] = self.picture()._repr_html_()
        return shown

    def __repr__(self) -> str:
        return f"BalanceMeter({self.balance or 'measuring'})"

    # What happens when something moves

    def _report(self, settings: dict[str, Any]) -> dict[str, Any]:
        comparing = self._other is not None
        total = len(self._texts)
        return meter_report(self.balance, settings, self._size, self.before, total, comparing)

    def _redraw(self, change: dict[str, Any]) -> None:
        with self._lock:
            super()._redraw(change)
            if self.error:
                self._complaints["settings"] = self.error
            else:
                self._say("settings", "")
        if not self.error and _seen(change.get("old")) != _seen(change.get("new")):
            self._work.start("sentence", self._draw)

    def _say(self, kind: str, message: str) -> None:
        """Show what one kind of work has to complain of; the others' complaints stay."""
        with self._lock:
            self._complaints[kind] = message
            self.error = " ".join(dict.fromkeys(filter(None, self._complaints.values())))

    # Measuring

    def _measure(self, current: Callable[[], bool]) -> None:
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
                    if not current():
                        return
            read = [meter.read() for meter in meters]
            with self._lock:
                self.balance, self.before = (*read, None)[:2]
                self._redraw({})

    # The sentence

    def _draw(self, current: Callable[[], bool]) -> None:
        settings = self.report["settings"]
        text = fitting(self._clf, settings["text"])
        layer, head = settings["layer"], settings["head"]
        what = "contributions" if settings["by"] == "contributions" else "weights"
        maps = self._clf.attend(text)
        if settings["value"] == "change":
            report = change_report(maps, self._other.attend(text), layer, head, what)
        else:
            report = map_report(maps, layer, head, what)
        if text != settings["text"]:
            report["note"] += f" Only the first {self._clf.max_length} tokens are read."
        if current():
            self.sentence = report | {"stamp": [layer, head, settings["text"]]}


def _seen(settings: dict[str, Any] | None) -> tuple[Any, ...]:
    """What the sentence's map depends on."""
    settings = settings or {}
    change = settings.get("value") == "change"
    return (change, *(settings.get(name) for name in ("layer", "head", "text", "by")))
