"""What the budget explorer shows of a search, as plain numbers, lists and texts."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from attnlab.economics.budgets import COSTS, Budget, costs_of
from attnlab.economics.flops import flops_by_part
from attnlab.economics.latency import how_far_off
from attnlab.economics.plans import Plan
from attnlab.economics.points import Point
from attnlab.economics.results import SearchResult
from attnlab.economics.shapes import PARTS, Shape, megabytes, parameters_by_part
from attnlab.errors import AttnlabError, SettingsError, suggest
from attnlab.show.widgets.budget_words import NAMES, Scale, progress, remarks
from attnlab.show.wording import counted, number, significant, with_interval

KINDS = {"whole": "the whole classifier", "chance": "drawn at random"}
_STEPS = [1, 2, 5, 10]  # of ticks
_CHECKED = ("tokens", "batch", "ms_quiet", "predicted_ms", "error")
_NO_LATENCY = "Milliseconds are not known: give the search latency=, or a limit of them."


# ── limits ─────────────────────────────────────────────────────────────────────────────────────


def first_settings(budget: Budget) -> dict[str, Any]:
    """Where the controls stand at first: at the limits of the search."""
    limits = budget.limits
    return {**{name: limits.get(name) for name in COSTS}, "cost": next(iter(limits))}


def limits_of(settings: Mapping[str, Any]) -> dict[str, float]:
    """The limits that are on, by name of the cost."""
    return {name: settings[name] for name in COSTS if settings[name] is not None}


def scales_of(result: SearchResult, shape: Shape) -> dict[str, Scale]:
    """How each cost that is known of all that was measured is written and limited.

    Parameters
    ----------
    result : SearchResult, which may have no points yet
    shape : of the whole classifier
    """
    budget, few = result.budget, ((0, 1),)
    smallest = replace(shape, layers=few if not shape.sharing else few * len(shape.layers))
    least, whole = (costs_of(one, budget.tokens, budget.batch) for one in (smallest, shape))
    least["latency_ms"] = 0.0
    if any(point.number_format == "int8" for point in result.points):
        least["megabytes"] = megabytes(smallest, "int8")
    if result.points:
        whole |= result.points[0].costs
    known = [
        name
        for name in COSTS
        if not math.isnan(whole[name]) and all(name in point.costs for point in result.points)
    ]
    return {name: Scale.of(name, least[name], whole[name]) for name in known}


def within(
    result: SearchResult, settings: Mapping[str, Any], scales: Mapping[str, Scale]
) -> SearchResult:
    """The same search inside the limits of the desk.

    Where all limits are off, everything that was measured is inside.
    """
    limits = limits_of(settings)
    if not limits:
        most = max([1.0, *(point.costs["parameters"] for point in result.points)])
        limits = {"parameters": max(most, scales["parameters"].stops[-1])}
    free: dict[str, Any] = dict.fromkeys(COSTS)
    return replace(result, budget=replace(result.budget, **free | limits))


def _refuse_unknown(settings: dict[str, Any], scales: Mapping[str, Scale], measured: bool) -> None:
    """Raise for a cost that there is not, for what is no limit, and for one of an unknown cost."""
    if settings["cost"] not in COSTS:
        raise SettingsError(
            f"There is no cost {settings['cost']!r}. {suggest(str(settings['cost']), COSTS)}"
        )
    limits: dict[str, Any] = limits_of(settings)
    for name, limit in limits.items():
        Budget(**{name: limit})  # complains of what is no limit
        if name not in scales and measured:
            raise SettingsError(f"{name}={limit}: {_NO_LATENCY}")
    if settings["cost"] not in scales and measured:
        raise SettingsError(f"cost is {settings['cost']!r}. {_NO_LATENCY}")


# ── the whole report ───────────────────────────────────────────────────────────────────────────


def budget_report(
    result: SearchResult,
    shape: Shape,
    settings: dict[str, Any],
    last: int | None = None,
    state: str = "finished",
    doing: str = "",
    check: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Say all that the budget explorer shows.

    Parameters
    ----------
    result : SearchResult, which may have no points yet
    shape : of its whole classifier
    settings : a limit or None for each of `economics.COSTS`, and the ``cost`` that accuracy is
        drawn against
    last : row that was chosen before, which stays in view where nothing fits the limits
    state : of the search: "searching", "stopping", "stopped" or "finished"
    doing : what the search is at, a few words
    check : of `LatencyTable.check`

    Returns
    -------
    report : dict of plain numbers, lists and texts; ``row`` is the chosen row of the table, None
        where nothing fits

    Raises
    ------
    AttnlabError : a limit that is none
    SettingsError : a cost that there is not, or that is not known
    """
    scales = scales_of(result, shape)
    _refuse_unknown(settings, scales, bool(result.points))
    limited = within(result, settings, scales)
    cost = settings["cost"] if settings["cost"] in scales else "flops"
    inside = int(limited.table["inside"].sum()) if result.points else 0
    row = limited.chosen if inside else None
    shown = row if row is not None or last is None or last >= len(result.points) else last
    if result.points:
        frontier, prices = limited.frontier(cost), limited.prices(cost)
    else:
        frontier = prices = pd.DataFrame()
    point = None if shown is None else result.points[shown]
    who = "chosen" if row is not None or not result.points else "the last that fitted"
    said = remarks(limited, scales, cost, frontier, prices, state == "searching")
    return {
        "settings": dict(settings),
        "state": state,
        "fits": row is not None or not result.points,
        "row": row,
        "count": len(result.points),
        "sliders": [_slider(name, settings[name], scales.get(name)) for name in COSTS],
        "costs": [[name, NAMES[name], name in scales] for name in COSTS],
        "chart": _chart(limited, scales[cost], settings[cost], frontier, row),
        "map": _map(result, point, who),
        "layers": len(shape.layers),
        "split": _split(result.budget, shape, point, who, cost, scales),
        "check": None if check is None else _check(check, result.budget),
        "can_stop": state == "searching",
        "said": said,
        "remark": " ".join(said),
        "progress": progress(result, inside, state, doing),
    }


def _slider(name: str, limit: float | None, scale: Scale | None) -> dict[str, Any]:
    """A limit and where it may stand; before anything is measured milliseconds have no scale."""
    if scale is None:
        stops, place = [limit or 1.0], 0
        told = "not known" if limit is None else f"{limit:g}\u00a0ms"
    elif limit is None:
        stops, place, told = scale.stops, len(scale.stops) - 1, "no limit"
    else:
        stops, place = scale.stops, scale.position(limit)
        told = _bare_unit(scale, limit)
    return {
        "name": name,
        "label": NAMES[name],
        "on": limit is not None,
        "stops": stops,
        "position": place,
        "told": told,
        "why": _NO_LATENCY if scale is None else "",
    }


def _bare_unit(scale: Scale, value: float) -> str:
    """A cost with its unit where what it is of is said beside it, as in "15.2 M"."""
    return scale.told(value).removesuffix("\u00a0parameters")


# ── accuracy against a cost ────────────────────────────────────────────────────────────────────


def _chart(
    limited: SearchResult,
    scale: Scale,
    limit: float | None,
    frontier: pd.DataFrame,
    row: int | None,
) -> dict[str, Any]:
    """Points, those of the frontier joined, and the axes."""
    points = []
    if limited.points:
        for place, told in enumerate(limited.table.to_dict("records")):
            points.append(_point(place, told, scale, place in frontier.index, place == row))
    path = [
        [significant(scale.units(told[scale.name])), significant(told["accuracy"])]
        for told in frontier.to_dict("records")
    ]
    return {
        "points": points,
        "path": path,
        "limit": None if limit is None else significant(scale.units(limit)),
        "across": _across(scale, points, limit),
        "up": _up(points),
        "unit": scale.unit,
        "alt": _chart_words(points, scale, limit),
    }


def _point(
    row: int, told: dict[str, Any], scale: Scale, on_frontier: bool, chosen: bool
) -> dict[str, Any]:
    origin = told["origin"]
    kind = {"whole": "whole", "random": "chance"}.get(origin, "search")
    accuracy = with_interval(told["accuracy"], (told["ci_low"], told["ci_high"]))
    who = f"chosen by {origin}" if kind == "search" else KINDS[kind]
    if told["number_format"] != "float32":
        who += f", {told['number_format']}"
    return {
        "kind": kind,
        "x": significant(scale.units(told[scale.name])),
        "y": significant(told["accuracy"]),
        "low": significant(told["ci_low"]),
        "high": significant(told["ci_high"]),
        "inside": bool(told["inside"]),
        "frontier": on_frontier,
        "chosen": chosen,
        "words": f"Row {row}, {who}: {scale.told(told[scale.name])}, {accuracy}",
    }


def _across(scale: Scale, points: list[dict[str, Any]], limit: float | None) -> dict[str, Any]:
    """From the first stop of the slider to the last, so that nothing moves when a slider does."""
    ends = [scale.first * scale.step, scale.last * scale.step, *(point["x"] for point in points)]
    low, high = min(ends), max(ends)
    if scale.first <= 1 + 0.1 * scale.last:
        low = 0.0
    room = 0.03 * (high - low)
    return {
        "from": low - (room if low else 0),
        "to": high + room,
        "ticks": _ticks(low, high, 5),
    }


def _up(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy by steps of 5 %, at least 10 wide: few jumps while points arrive."""
    drawn = points or [{"low": 0.5, "high": 1.0}]
    ends = [end for point in drawn for end in (point["low"], point["high"])]
    high = min(20, max(2, math.ceil(20 * max(ends))))
    low = max(0, min(math.floor(20 * min(ends)), high - 2))
    ticks = MaxNLocator(5, steps=_STEPS).tick_values(5 * low, 5 * high)
    return {
        "from": ticks[0] / 100,
        "to": ticks[-1] / 100,
        "ticks": [[tick / 100, f"{tick:.0f} %"] for tick in ticks],
    }


def _ticks(low: float, high: float, most: int) -> list[list[Any]]:
    """Round numbers from low to high, about so many, each as a value and as text."""
    locator = MaxNLocator(most, steps=_STEPS)
    ticks = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]
    step = min((after - before for before, after in itertools.pairwise(ticks)), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [[tick, number(tick, decimals) if tick else "0"] for tick in ticks]


def _chart_words(points: list[dict[str, Any]], scale: Scale, limit: float | None) -> str:
    if not points:
        return f"Accuracy on dev against {NAMES[scale.name]}: nothing is measured yet."
    best = "; ".join(point["words"] for point in points if point["frontier"])
    chosen = next((point["words"] for point in points if point["chosen"]), "none, nothing fits")
    limited = "no limit" if limit is None else f"limit {scale.told(limit)}"
    return (
        f"Accuracy on dev against {NAMES[scale.name]} of {len(points)} sub-networks, {limited}. "
        f"Chosen: {chosen}. On the frontier: {best}."
    )


# ── what stays ─────────────────────────────────────────────────────────────────────────────────


def _map(result: SearchResult, point: Point | None, who: str) -> dict[str, Any]:
    """Layer by layer: for each head 1 if it stays, 0 if it goes, None if it never was; neurons."""
    if point is None:
        name, alt = "What stays", "Nothing is chosen yet."
        return {"layers": [], "heads": 0, "name": name, "title": "", "alt": alt}
    plan, whole = point.plan, result.points[0].plan
    count = 1 + max((head for heads in whole.heads for head in heads), default=-1)
    layers = []
    for layer in whole.layers:
        stays = layer in plan.layers
        heads = set(plan.heads[layer]) if stays else set()
        neurons = len(plan.neurons[layer]) if stays else 0
        there, most = whole.heads[layer], len(whole.neurons[layer])
        told = f"{len(heads)} of {len(there)} heads, {neurons:,} of {most:,} neurons"
        layers.append(
            {
                "name": str(layer),
                "stays": stays,
                "heads": [int(head in heads) if head in there else None for head in range(count)],
                "neurons": neurons,
                "most": most,
                "told": f"{neurons:,}" if stays else "gone",
                "words": f"layer {layer}: {told if stays else 'gone'}",
            }
        )
    (kept, left), (heads_there, neurons) = map(_sizes, (plan, whole))
    title = (
        f"{len(plan.layers)} of {len(whole.layers)} layers, {kept} of {heads_there} heads, "
        f"{left / neurons:.0%} of the neurons"
    ).replace("%", "\u00a0%")
    if point.number_format != "float32":
        title += f", {point.number_format}"
    name = "What stays" if who == "chosen" else f"What stays: {who}"
    alt = "; ".join(str(layer["words"]) for layer in layers)
    return {
        "layers": layers,
        "heads": count,
        "name": name,
        "title": title,
        "alt": f"What stays, {who}: {alt}.",
    }


def _sizes(plan: Plan) -> tuple[int, int]:
    """Heads and neurons in the layers that a plan keeps."""
    kept = [(len(plan.heads[layer]), len(plan.neurons[layer])) for layer in plan.layers]
    return sum(heads for heads, _ in kept), sum(neurons for _, neurons in kept)


# ── where the cost is ──────────────────────────────────────────────────────────────────────────


def _split(
    budget: Budget,
    shape: Shape,
    point: Point | None,
    who: str,
    cost: str,
    scales: Mapping[str, Scale],
) -> dict[str, Any]:
    """The cost of each part, of the whole classifier and of the chosen one, in units.

    Milliseconds are not known by part: FLOPs stand for them. Nor are the megabytes of int8, for
    which parameters stand.
    """
    if cost == "latency_ms":
        cost = "flops"
    elif cost == "megabytes" and point is not None and point.number_format != "float32":
        cost = "parameters"
    by_flops, scale = cost == "flops", scales[cost]
    bytes_each = 4e-6 if cost == "megabytes" else 1.0  # MB of a parameter

    def amounts(one: Shape) -> list[float]:
        parts = (
            flops_by_part(one, budget.tokens, budget.batch) if by_flops else parameters_by_part(one)
        )
        return [parts[part] * bytes_each for part in PARTS]

    bars = [("whole", amounts(shape))]
    if point is not None:
        bars.append((who, amounts(point.plan.shape(shape))))
    total, name = sum(bars[0][1]), NAMES[cost]
    parts = [
        {
            "name": part,
            "told": " → ".join(dict.fromkeys(scale.bare(values[place]) for _, values in bars)),
            "shares": [values[place] / total for _, values in bars],
        }
        for place, part in enumerate(PARTS)
        if any(values[place] for _, values in bars)
    ]
    told = ", ".join(f"{part['name']} {part['told']}" for part in parts)
    texts = counted(budget.batch, "text")
    return {
        "title": f"{name[0].upper()}{name[1:]} by part",
        "note": f"{texts} of {budget.tokens} tokens" if by_flops else "",
        "unit": scale.unit,
        "parts": parts,
        "bars": [[name_of, _bare_unit(scale, sum(values))] for name_of, values in bars],
        "alt": f"{name} by part, whole → {who}: {told} {scale.unit}.",
    }


# ── milliseconds, predicted and measured ───────────────────────────────────────────────────────


def checked_table(check: Any) -> pd.DataFrame:
    """The table, if `LatencyTable.check` can have made it; AttnlabError if not."""
    if not isinstance(check, pd.DataFrame) or not len(check) or not {*_CHECKED} <= {*check}:
        given = f"a {type(check).__name__}"
        if isinstance(check, pd.DataFrame):
            given = f"{counted(len(check), 'row')} with {', '.join(map(str, check))}"
        raise AttnlabError(
            "check= is the table of predicted and measured milliseconds that LatencyTable.check() "
            f"returns, with {', '.join(_CHECKED)}; got {given}."
        )
    return check


def _check(check: pd.DataFrame, budget: Budget) -> dict[str, Any]:
    """Predicted against measured milliseconds, for the texts of the budget if they were checked."""
    cells = check[["tokens", "batch"]].drop_duplicates().to_numpy(int).tolist()
    mine = [budget.tokens, budget.batch]
    tokens, batch = mine if mine in cells else cells[0]
    rows = check[(check["tokens"] == tokens) & (check["batch"] == batch)]
    pairs = rows[["predicted_ms", "ms_quiet"]].to_numpy(float)
    high = 1.08 * float(pairs.max())
    axis = {"from": 0, "to": high, "ticks": _ticks(0, high, 4)}
    off = how_far_off(rows)
    texts = f"{tokens} tokens" if batch == 1 else f"{batch} texts of {tokens} tokens"
    told = counted(len(rows), "sub-network")
    note = f"Median error {100 * off['median']:.1f}\u00a0%, {told}, {texts}."
    if len(rows) > 1:  # the machine may merely run at another speed now
        left = f"{100 * off['relative']:.1f}\u00a0%"
        note += f" With all predictions times {off['factor']:.2f}: {left}."
    return {
        "points": [
            [
                significant(told),
                significant(took),
                f"predicted {told:.3g}\u00a0ms, measured {took:.3g}\u00a0ms",
            ]
            for told, took in pairs.tolist()
        ],
        "axis": axis,
        "note": note,
        "alt": (
            f"Predicted and measured milliseconds. {note} Measured from {pairs[:, 1].min():.3g} "
            f"to {pairs[:, 1].max():.3g}\u00a0ms."
        ),
    }
