"""What the training monitor shows of what was recorded, as plain numbers, lists and texts."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from attnlab.balance.control_chart import bands, episodes
from attnlab.balance.reading import MEASURES
from attnlab.errors import SettingsError, suggest
from attnlab.show.wording import (
    BOUNDED,
    colour_limits,
    counted,
    decimals_between,
    episode_in_words,
    short,
    significant,
)

POINTS = 120  # of one line, at most
MOST_PINNED = 5
MOST_ROWS = 40  # episodes in the table, the strongest
GRADIENT = "gradient"


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def monitor_report(
    table: pd.DataFrame,
    overall: pd.DataFrame,
    settings: dict[str, Any],
    total: int | None = None,
    state: str = "training",
) -> dict[str, Any]:
    """Say all that a training monitor shows.

    Parameters
    ----------
    table, overall : of a Recorder
    settings : ``measure``; ``layers``, "all" or the number of the one shown; ``layer`` and ``head``
        looked at; and ``pinned``, [layer, head] of others drawn strong
    total : how many steps the run will have, if that is known
    state : "waiting", "training", "finished" or "stopped"

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``settings``, ``state``, ``menus``, each choice as [value, text, whether it can be chosen]
        - ``step``, of `POINTS` points at most; ``faint``, a line for each head; ``strong``, name
          and line of those looked at; ``band`` of the first of them, ``low`` and ``high``;
          ``overall``, a line for each part
        - ``spans`` and ``lanes``: when which head was out of line, and of what kind
        - ``rows`` of the table of anomalies, with the measure and place that a click shows
        - ``axes``: limits, and ticks with their texts; ``map``: the last value of every head
        - ``remark``, ``alt``, ``note``

    Gradients are drawn on a logarithmic axis. Limits only ever grow while a run goes on.

    Raises
    ------
    SettingsError : a setting that there is not
    """
    if table.empty:
        return _empty(settings, state)
    settings = _checked(table, settings)
    found = episodes(table)
    rows = table[table["measure"] == settings["measure"]]
    wide = rows.pivot(index=["layer", "head"], columns="step", values="value")
    steps = wide.columns.to_numpy()
    shown = wide if settings["layers"] == "all" else wide.loc[[settings["layers"]]]
    log = settings["measure"] == GRADIENT
    keep = _thin(len(steps))
    strong = [(settings["layer"], settings["head"]), *map(tuple, settings["pinned"])]
    strong = list(dict.fromkeys(strong))
    across = _across(steps, total)
    up = _up(settings["measure"], wide.to_numpy(), log)
    half = float(np.median(np.diff(steps))) / 2 if len(steps) > 1 else 0.5
    spans = _spans(found, settings, steps[-1] + half, half)
    return {
        "settings": settings,
        "state": state,
        "menus": _menus(table),
        "stamp": int(steps[-1]),
        "step": steps[keep].astype(int).tolist(),
        "faint": [
            _line(values[keep], log)
            for place, values in zip(shown.index, shown.to_numpy(), strict=True)
            if place not in strong
        ],
        "strong": [
            {
                "name": f"L{place[0]}H{place[1]}",
                "line": _line(wide.loc[place].to_numpy()[keep], log),
            }
            for place in strong
        ],
        "band": _band(table, settings, keep, up, log),
        "overall": {
            name: [significant(share, 4) for share in overall[name].to_numpy()[keep]]
            for name in ("balance", "tokens", "heads")
        },
        "spans": spans,
        "lanes": sorted({(span["lane"], span["name"]) for span in spans}),
        "rows": _rows(found),
        "count": len(found),
        "axes": {"step": across, "value": up, "overall": _overall_axis(overall)},
        "map": _map(wide, settings["measure"]),
        "label": MEASURES.get(settings["measure"], _label(settings["measure"])),
        "remark": _remark(found, steps, total, state),
        "alt": _alternatives(wide, settings, overall, found),
    }


def _empty(settings: dict[str, Any], state: str) -> dict[str, Any]:
    axis = {"from": 0.0, "to": 1.0, "ticks": [[0.0, "0"], [0.5, "0.5"], [1.0, "1"]]}
    nothing = "Empty: waiting for the first measurement."
    return {
        "settings": dict(settings),
        "state": "waiting" if state == "training" else state,
        "menus": {
            "measure": [["entropy", MEASURES["entropy"], True]],
            "layers": [["all", "all layers", True]],
        },
        "stamp": -1,
        "step": [],
        "faint": [],
        "strong": [],
        "band": None,
        "overall": {"balance": [], "tokens": [], "heads": []},
        "spans": [],
        "lanes": [],
        "rows": [],
        "count": 0,
        "axes": {"step": axis | {"ticks": []}, "value": axis, "overall": axis},
        "map": None,
        "label": MEASURES.get(settings["measure"], ""),
        "remark": "Waiting for the first measurement.",
        "alt": {"lines": nothing, "overall": nothing, "spans": nothing},
    }


def _checked(table: pd.DataFrame, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, or SettingsError if there is no such measure or head."""
    measures = list(dict.fromkeys(table["measure"]))
    if settings["measure"] not in measures:
        raise SettingsError(
            f"{settings['measure']!r} was not recorded. "
            f"{suggest(str(settings['measure']), measures)}"
        )
    layers, heads = int(table["layer"].max()) + 1, int(table["head"].max()) + 1
    if settings["layers"] != "all" and settings["layers"] not in range(layers):
        raise SettingsError(
            f"layers is {settings['layers']!r}; it is 'all' or a number from 0 to {layers - 1}."
        )
    places = [(settings["layer"], settings["head"]), *map(tuple, settings["pinned"])]
    if len(settings["pinned"]) > MOST_PINNED:
        raise SettingsError(
            f"{len(settings['pinned'])} heads are pinned; {MOST_PINNED} can be told apart. Unpin "
            "some."
        )
    for place in places:
        if len(place) != 2 or place[0] not in range(layers) or place[1] not in range(heads):
            raise SettingsError(
                f"There is no head {place!r} in {layers} layers of {heads} heads. Write layer and "
                "head from 0."
            )
    return settings | {"pinned": [list(place) for place in settings["pinned"]]}


def _menus(table: pd.DataFrame) -> dict[str, list[list[Any]]]:
    recorded = list(dict.fromkeys(table["measure"]))
    measures = [name for name in MEASURES if name in recorded]
    measures += [name for name in recorded if name not in MEASURES]
    layers = int(table["layer"].max()) + 1
    return {
        "measure": [[name, MEASURES.get(name, _label(name)), True] for name in measures],
        "layers": [
            ["all", "all layers", True],
            *([layer, f"layer {layer}", True] for layer in range(layers)),
        ],
    }


def _label(measure: str) -> str:
    return "length of a head's gradient" if measure == GRADIENT else short(measure)


def _thin(count: int) -> np.ndarray:
    """Which of so many measurements are drawn: the last one always."""
    stride = math.ceil(count / POINTS)
    return np.arange(count - 1, -1, -stride)[::-1]


def _line(values: np.ndarray, log: bool) -> list[float | None]:
    return [significant(value, 4) for value in (_logarithm(values) if log else values)]


def _logarithm(values: np.ndarray) -> np.ndarray:
    return np.log10(np.where(values > 0, values, np.nan))


def _band(
    table: pd.DataFrame, settings: dict[str, Any], keep: np.ndarray, up: dict[str, Any], log: bool
) -> dict[str, list[float | None]]:
    """Where the head looked at was expected; cut at the edges of the picture."""
    band = bands(table, settings["layer"], settings["head"], settings["measure"]).iloc[keep]
    cut = {}
    for name in ("low", "high"):
        values = band[name].to_numpy(float)
        values = _logarithm(values) if log else values
        cut[name] = [significant(value, 4) for value in np.clip(values, up["from"], up["to"])]
    return cut


def _across(steps: np.ndarray, total: int | None) -> dict[str, Any]:
    """The axis of steps: as long as the run; while that is unknown, a little longer than so far."""
    last = max(int(steps[-1]), 1)
    if total is None and len(steps) == 1:  # nothing to go by
        return {"from": 0.0, "to": 1.0, "ticks": []}
    end = max(total or 0, last)
    if total is None:  # grows seldom
        power = 10 ** math.floor(math.log10(last))
        end = next(times * power for times in (1, 1.5, 2, 3, 5, 7.5, 10) if times * power >= last)
    places = MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]).tick_values(0, end)
    ticks = [tick for tick in places if 0 <= tick <= end]
    return {
        "from": 0.0,
        "to": float(end),
        "ticks": [[float(tick), f"{tick:,.0f}"] for tick in ticks],
    }


def _up(measure: str, values: np.ndarray, log: bool) -> dict[str, Any]:
    if log:
        known = _logarithm(values)
        if not np.isfinite(known).any():
            return {"from": -1.0, "to": 0.0, "ticks": [[-1.0, "0.1"], [0.0, "1"]]}
        low, high = math.floor(np.nanmin(known)), math.ceil(np.nanmax(known) + 1e-9)
        low = max(low, high - 8)  # what is 0 but for rounding must not press the rest flat
        stride = 1 if high - low <= 5 else 2
        ticks = [[float(power), f"1e{power}"] for power in range(low, high + 1, stride)]
        return {"from": float(low), "to": float(high), "ticks": ticks}
    if measure in BOUNDED:
        return _axis(1.0)
    largest = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    return _axis(largest)


def _axis(largest: float) -> dict[str, Any]:
    """From 0 to a round number above."""
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, max(largest, 1e-6))
    ticks = [tick for tick in ticks if tick >= 0]
    digits = next(n for n in range(7) if all(abs(tick - round(tick, n)) < 1e-9 for tick in ticks))
    return {
        "from": 0.0,
        "to": float(ticks[-1]),
        "ticks": [[float(tick), f"{tick:.{digits}f}"] for tick in ticks],
    }


def _overall_axis(overall: pd.DataFrame) -> dict[str, Any]:
    low = float(overall[["balance", "tokens", "heads"]].min().min())
    low = min(0.5, math.floor(4 * low) / 4) if math.isfinite(low) else 0.0
    ticks = [low, (1 + low) / 2, 1.0]
    return {"from": low, "to": 1.0, "ticks": [[tick, f"{tick:.2f}"] for tick in ticks]}


def _spans(
    found: pd.DataFrame, settings: dict[str, Any], last: float, half: float
) -> list[dict[str, Any]]:
    """When heads were out of line, a lane for each of the strongest six heads."""
    if settings["layers"] != "all":
        found = found[found["layer"] == settings["layers"]]
    if found.empty:
        return []
    order = found.groupby(["layer", "head"])["strength"].max().nlargest(6).index.tolist()
    looked = settings["layer"], settings["head"]
    spans = []
    for episode in found.itertuples():
        place = (episode.layer, episode.head)
        if place in order:
            spans.append(
                {
                    "start": float(episode.start - half),
                    "end": float(episode.end - half if math.isfinite(episode.end) else last),
                    "kind": episode.kind,
                    "name": f"L{episode.layer}H{episode.head}",
                    "lane": order.index(place),
                    "looked": place == looked,
                    "words": episode_in_words(episode),
                }
            )
    return spans


def _rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    """The table of anomalies, the strongest first."""
    strongest = found.sort_values("strength", ascending=False, kind="stable")[:MOST_ROWS]
    return [
        {
            "cells": [
                episode.kind,
                f"L{episode.layer}H{episode.head}",
                short(episode.measure),
                f"{episode.start:.0f} on"
                if math.isnan(episode.end)
                else f"{episode.start:.0f}–{episode.end:.0f}",
            ],
            "place": [int(episode.layer), int(episode.head)],
            "measure": episode.measure,
            "words": f"{episode_in_words(episode)}, {episode.strength:.1f} half bands away",
        }
        for episode in strongest.itertuples()
    ]


def _map(wide: pd.DataFrame, measure: str) -> dict[str, Any]:
    """The last value of every head."""
    last = wide.iloc[:, -1].unstack().to_numpy(float)
    low, high = colour_limits(measure, "mean", last)
    return {
        "values": [[significant(value, 4) for value in row] for row in last.tolist()],
        "low": low,
        "high": high,
        "signed": False,
        "digits": decimals_between((low, high)),
        "label": "now",
        "alt": f"Last {short(measure)} of every head.",
    }


def _remark(found: pd.DataFrame, steps: np.ndarray, total: int | None, state: str) -> str:
    """How it stands.

    Read out by screen readers, so it changes when something has happened, not all the time.
    """
    over = {"finished": "Finished", "stopped": "Stopped"}.get(state, "So far")
    if len(found):
        last = next(found[-1:].itertuples())
        kinds = found["kind"].value_counts()
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        return f"{over}: out of line {told}. The latest: {episode_in_words(last)}."
    if len(steps) <= 6:
        return "Bands need six measurements; from then on heads are judged."
    where = f" after {total or steps[-1]:,} steps" if state in ("finished", "stopped") else ""
    return f"{over}{where}: every head is inside its band."


def _alternatives(
    wide: pd.DataFrame, settings: dict[str, Any], overall: pd.DataFrame, found: pd.DataFrame
) -> dict[str, str]:
    """Each picture in words, with its numbers."""
    name, steps = short(settings["measure"]), wide.columns
    place = settings["layer"], settings["head"]
    looked = wide.loc[place]
    first, last = overall.iloc[0], overall.iloc[-1]
    return {
        "lines": f"Lines: {name} of {len(wide)} heads over steps {steps[0]} to {steps[-1]}. "
        f"Strong: layer {place[0]} head {place[1]}, from {looked.iloc[0]:.3g} to "
        f"{looked.iloc[-1]:.3g}.",
        "overall": f"Line: overall balance from {first['balance']:.2f} to {last['balance']:.2f}; "
        f"over tokens {last['tokens']:.2f}, over heads {last['heads']:.2f}.",
        "spans": f"Spans: {counted(len(found), 'anomaly', 'anomalies')}"
        + (f": {'; '.join(map(episode_in_words, found[:6].itertuples()))}." if len(found) else "."),
    }
