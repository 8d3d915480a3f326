"""What the peeler shows of a smaller model, as plain numbers, lists and texts."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.ticker import MaxNLocator

from attnlab.errors import SettingsError, suggest
from attnlab.evaluation.measurement import Snapshot
from attnlab.show.widgets.peeled_parts import (
    EMBEDDINGS,
    HEAD,
    WORDS,
    Known,
    Part,
    Size,
    Timing,
    parts,
    summed,
)
from attnlab.show.widgets.peeler_words import remark
from attnlab.show.widgets.peeling import KINDS, Choice, amounts, first_choice
from attnlab.show.wording import number, signed_points
from attnlab.statistics import paired_test

AREAS = {"parameters": "parameters", "bytes": "bytes in the file"}
COLUMNS = ("measure", "untouched", "now", "change")
NAMES = {
    "words": "word embeddings",
    "embeddings": "other embeddings",
    "attention": "attention",
    "feed-forward": "feed-forward",
    "head": "classification head",
}


def peeler_report(
    settings: dict[str, Any],
    known: Known,
    untouched: Mapping[Part, Size],
    layers: int,
    missing: Mapping[str, str],
    machine: str = "",
) -> dict[str, Any]:
    """Say all that the peeler shows.

    Parameters
    ----------
    settings : ``kind``, ``amount``, ``by``, ``repaired``, and the ``area`` of the drawing
    known : of that choice
    untouched : sizes of the untouched model's parts
    layers : it has
    missing : kinds it does not have, with the reason
    machine : what times are measured on, in a few words

    Returns
    -------
    report : dict of plain numbers, lists and texts

    Raises
    ------
    SettingsError : a setting that there is not
    """
    choice = checked(settings, layers, missing)
    kind = KINDS[choice.kind]
    steps = amounts(choice.kind, layers)
    sizes = known.sizes
    return {
        "settings": dict(settings),
        "state": known.state,
        "kinds": [
            [name, one.words + (f" ({missing[name]})" if name in missing else ""),
             name not in missing]
            for name, one in KINDS.items()
        ],
        "starts": {name: _controls(first_choice(name, layers)) for name in KINDS},
        "amounts": [list(step) for step in steps],
        "scores": [[name, words, True] for name, words in kind.scores.items()],
        "repairs": kind.repairs and not choice.nothing,
        "areas": [[name, words, True] for name, words in AREAS.items()],
        "columns": _columns(untouched, sizes, layers, settings["area"]),
        "total": _total(untouched, sizes, settings["area"]),
        "times": _times(known.timing, layers, machine),
        "heads": list(COLUMNS),
        "rows": _rows(untouched, known),
        "remark": remark(choice, untouched, known),
        "progress": _progress(known),
        "alt": _alternative(choice, untouched, sizes, settings["area"]),
    }  # fmt: skip


def checked(settings: dict[str, Any], layers: int, missing: Mapping[str, str]) -> Choice:
    """The choice that settings stand for.

    Raises
    ------
    SettingsError : a kind, amount or score that there is not
    """
    kind, by = settings["kind"], settings["by"]
    if kind not in KINDS:
        raise SettingsError(f"There is no kind {kind!r}. {suggest(str(kind), list(KINDS))}")
    if kind in missing:
        raise SettingsError(
            f"This model does not have that kind, {KINDS[kind].words}: {missing[kind]}."
        )
    steps = [value for value, _ in amounts(kind, layers)]
    if settings["amount"] not in steps or isinstance(settings["amount"], bool):
        raise SettingsError(
            f"amount is {settings['amount']!r}; for {KINDS[kind].words} it is one of "
            f"{', '.join(map(str, steps))}."
        )
    if by not in KINDS[kind].scores:
        raise SettingsError(
            f"by is {by!r}. For {KINDS[kind].words} there are {', '.join(KINDS[kind].scores)}."
        )
    if settings["area"] not in AREAS:
        raise SettingsError(f"area is {settings['area']!r}. There are {', '.join(AREAS)}.")
    repaired = bool(settings["repaired"])
    if repaired and not KINDS[kind].repairs:
        raise SettingsError(f"Nothing is repaired for {KINDS[kind].words}: repaired=False.")
    return Choice(kind, settings["amount"], by, repaired)


def _controls(choice: Choice) -> dict[str, Any]:
    return {
        "kind": choice.kind,
        "amount": choice.amount,
        "by": choice.by,
        "repaired": choice.repaired,
    }


# ── the model, drawn to scale ──────────────────────────────────────────────────────────────────


def _columns(
    untouched: Mapping[Part, Size], sizes: Mapping[Part, Size] | None, layers: int, area: str
) -> list[dict[str, Any]]:
    """The drawing from left to right: embeddings, each layer, classification head."""
    groups: list[tuple[str, list[Part]]] = [("embeddings", [WORDS, EMBEDDINGS])]
    groups += [
        (str(layer), [("attention", layer), ("feed-forward", layer)]) for layer in range(layers)
    ]
    groups.append(("head", [HEAD]))
    return [
        {
            "name": name,
            "parts": [_part(part, untouched, untouched if sizes is None else sizes, area)
                      for part in members],
        }
        for name, members in groups
    ]  # fmt: skip


def _part(
    part: Part, untouched: Mapping[Part, Size], sizes: Mapping[Part, Size], area: str
) -> dict[str, Any]:
    before, after = untouched.get(part, Size()), sizes.get(part, Size())
    total, left = getattr(before, area), getattr(after, area)
    zeros = max(0, after.zeros - before.zeros) if area == "parameters" else 0
    name = NAMES[part[0]] if part[1] < 0 else f"layer {part[1]}, {NAMES[part[0]]}"
    told = _amount(left, area) if left == total else (
        f"{_amount(left, area)} of {_amount(total, area)}"
    )  # fmt: skip
    return {
        "kind": part[0],
        "total": total,
        "left": left - zeros,
        "zeros": zeros,
        "words": f"{name}: {told}" + (f", {_amount(zeros, area)} of them 0" if zeros else ""),
    }


def _amount(value: float, area: str) -> str:
    return megabytes(value) if area == "bytes" else count(value)


def count(value: float) -> str:
    """How many parameters, in millions where that many.

    >>> count(22_713_216), count(4_812), count(0)
    ('22.7\xa0M', '4,812', '0')
    """
    return f"{value / 1e6:.{1 if value >= 1e6 else 2}f}\u00a0M" if value >= 1e5 else f"{value:,}"


def megabytes(value: float) -> str:
    """Bytes as megabytes (10⁶).

    >>> megabytes(90_870_000), megabytes(57_000)
    ('90.9\xa0MB', '0.06\xa0MB')
    """
    return f"{value / 1e6:.{1 if value >= 1e6 else 2}f}\u00a0MB"


def _total(untouched: Mapping[Part, Size], sizes: Mapping[Part, Size] | None, area: str) -> str:
    before = summed(untouched, area)
    after = before if sizes is None else summed(sizes, area)
    if after == before:
        return _amount(before, area)
    return f"{_amount(after, area)} of {_amount(before, area)}"


# ── milliseconds ───────────────────────────────────────────────────────────────────────────────


def _times(timing: Timing | None, layers: int, machine: str) -> dict[str, Any]:
    """Bars from embeddings to classification head, as they were and as they are."""
    order = [part for part in parts(layers) if part != WORDS]
    before, after = ({}, {}) if timing is None else timing.parts()
    bars: list[dict[str, Any]] = [
        {
            "kind": part[0],
            "before": 1000 * before.get(part, 0.0),
            "after": 1000 * after.get(part, 0.0),
            "words": f"{_place(part)}: {1000 * after.get(part, 0.0):.2f}\u00a0ms, "
            f"untouched {1000 * before.get(part, 0.0):.2f}",
        }
        for part in order
    ]
    most = max([1e-3, *(max(bar["before"], bar["after"]) for bar in bars)])
    ticks = [tick for tick in MaxNLocator(4).tick_values(0, most) if tick >= 0]
    digits = 0 if ticks[1] >= 1 else 1 if ticks[1] >= 0.1 else 2
    stride = math.ceil(layers / 12)
    names = [(1.5 + 2 * layer, str(layer)) for layer in range(0, layers, stride)]
    return {
        "bars": bars if before else [],
        "across": {
            "from": -0.7,
            "to": len(bars) - 0.3,
            "ticks": [[0, "emb."], *map(list, names), [len(bars) - 1, "head"]],
        },
        "up": {
            "from": 0,
            "to": float(max(most, ticks[-1])),
            "ticks": [[float(tick), f"{tick:.{digits}f}"] for tick in ticks if before],
        },
        "title": f"Milliseconds by part, {timing.texts if timing else 32} texts",
        "machine": f"Pale: untouched. {machine}".strip(),
        "alt": "Milliseconds by part: " + ("; ".join(bar["words"] for bar in bars) + "."
                                          if before else "not measured yet."),
    }  # fmt: skip


def _place(part: Part) -> str:
    if part == EMBEDDINGS:
        return "embeddings"
    return NAMES[part[0]] if part[1] < 0 else f"layer {part[1]}, {NAMES[part[0]]}"


# ── the table ──────────────────────────────────────────────────────────────────────────────────


def _rows(untouched: Mapping[Part, Size], known: Known) -> list[dict[str, Any]]:
    """A row for each measure: its name, and as many cells, each with its text and a note."""
    sizes = known.sizes
    rows = [_accuracy(known.seen)]
    for name, area in (("parameters", "parameters"), ("file", "bytes")):
        before = summed(untouched, area)
        cells = [[_amount(before, area), ""]]
        if sizes is not None:
            after = summed(sizes, area)
            note = _zeros(untouched, sizes) if area == "parameters" else ""
            cells += [[_amount(after, area), ""], [_percent(after / before), note]]
        rows.append(_row(name, cells, ""))
    timing = known.timing
    for what, name in (("one", "1 text"), ("batch", f"{_batch(timing)} texts")):
        cells, verdict = [], ""
        if timing is not None:
            told = [[_milliseconds(time), ""] for time in timing.medians(what)]
            middle, low, high = timing.ratio(what)
            between = f"{_percent(low)} to {_percent(high)}".replace("\u00a0%", "")  # as in the row
            note = between if math.isfinite(low) else "not final"
            cells = [*told, [_percent(middle), note]]
            verdict = "good" if high < 1 else "bad" if low > 1 else ""
        rows.append(_row(name, cells, verdict))
    return rows


def _row(name: str, cells: list[list[str]], verdict: str) -> dict[str, Any]:
    filled = [*cells, *[["…", ""]] * (3 - len(cells))]
    return {"name": name, "cells": filled, "verdict": verdict}


def _batch(timing: Timing | None) -> int:
    return 32 if timing is None else timing.texts


def _milliseconds(seconds: float) -> str:
    return f"{number(1000 * seconds, 1 if seconds >= 0.01 else 2)}\u00a0ms"


def _percent(ratio: float) -> str:
    """A ratio as a change in percent; below a half per mille there is none to tell."""
    change = 100 * (ratio - 1)
    return f"{number(change, 0 if abs(change) >= 10 else 1, signed=True)}\u00a0%"


def _zeros(untouched: Mapping[Part, Size], sizes: Mapping[Part, Size]) -> str:
    zeros = summed(sizes, "zeros") - summed(untouched, "zeros")
    return f"{count(zeros)} are 0" if zeros > 0 else ""


def _accuracy(seen: tuple[Snapshot, Snapshot] | None) -> dict[str, Any]:
    if seen is None:
        return _row("accuracy", [], "")
    before, after = (snapshot.score for snapshot in seen)
    test = paired_test(before.correct, after.correct)
    cells = [
        [
            f"{100 * score.accuracy:.1f}\u00a0%",
            f"{100 * score.ci[0]:.1f} to {100 * score.ci[1]:.1f}",
        ]
        for score in (before, after)
    ]
    change = [
        f"{signed_points(test.delta)} points",
        f"{signed_points(test.low)} to {signed_points(test.high)}",
    ]
    verdict = "bad" if test.high < 0 else "good" if test.low > 0 else ""
    return _row("accuracy", [*cells, change], verdict)


def _progress(known: Known) -> str:
    """What is under way; how times were taken, where all is measured."""
    if known.state == "measured" and known.timing and known.seen:
        rounds = len(known.timing.one)
        return (
            f"Accuracy on {known.seen[0].total:,} held-out texts. Times: medians of {rounds} "
            "rounds in turn."
        )
    if known.state == "building":
        return "choosing and removing …"
    if known.state == "timing":
        rounds = 0 if known.timing is None else len(known.timing.one)
        return f"timing, round {rounds + 1}, not final"
    if known.seen is None:
        return "measuring …"
    return f"{known.seen[0].score.n:,} of {known.seen[0].total:,} texts, not final"


def _alternative(
    choice: Choice,
    untouched: Mapping[Part, Size],
    sizes: Mapping[Part, Size] | None,
    area: str,
) -> str:
    words = KINDS[choice.kind].words
    shares = {
        name: (
            sum(getattr(size, area) for part, size in untouched.items() if part[0] == name),
            sum(getattr(size, area) for part, size in (sizes or untouched).items()
                if part[0] == name),
        )
        for name in NAMES
    }  # fmt: skip
    whole = sum(before for before, _ in shares.values()) or 1
    told = "; ".join(
        f"{NAMES[name]} {before / whole:.0%}, of which {after / before if before else 1:.0%} left"
        for name, (before, after) in shares.items()
    )
    return f"The model drawn by {AREAS[area]}, {words} {choice.amount}: {told}."
