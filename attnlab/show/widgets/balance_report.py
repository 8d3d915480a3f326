"""What the balance meter shows of a reading, as plain numbers, lists and texts."""

from typing import Any

import numpy as np
import pandas as pd

from attnlab.balance.reading import MEASURES, Balance
from attnlab.errors import SettingsError, suggest
from attnlab.show.wording import (
    BY,
    TOKENS,
    VALUES,
    colour_limits,
    decimals_between,
    decimals_of,
    extremes,
    label_of,
    number,
    short,
    significant,
    with_minus,
)

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
    settings : ``measure``, ``tokens``, ``by`` and ``value`` of the map, ``layer`` and ``head``
        looked at, ``text``
    size : layers and heads of the model
    before : the same reading of the model before fine-tuning
    total : how many texts there are to measure
    comparing : whether there is a model before, measured or not

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``settings``, and ``shown``, what is drawn: where a measure was not taken so, the nearest
          that was
        - ``menus``: for each menu the choices, as [value, text, whether it can be chosen]
        - ``dial``: ``overall``, ``parts`` and those of the model before
        - ``map``: ``values`` (L, H), None for heads that are not there, ``low`` and ``high`` end of
          the colours, ``signed``, ``digits``, ``label``, ``alt``
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
    """The settings, with tokens and by changed where the measure was not taken so."""
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
        menus[name] = [[choice, words, choice in there] for choice, words in _MENUS[name].items()]
    menus["value"] = [
        [value, words, value != "change" or changes]
        for value, words in SHOWS.items()
        if comparing or value != "change"
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
            f"Dial: overall balance {overall:.2f} of 1, {balance.parts['tokens']:.2f} over tokens "
            "and "
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
        "values": [[significant(value, 4) for value in row] for row in values.tolist()],
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
    bounded = shown["value"] not in ("change", "slope", "std")
    name = label_of(shown["measure"], bounded)
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
    """What is to be noticed.

    Read out by screen readers, so it changes with the map and not with every text.
    """
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
