"""What the history desk shows of a recommendation, as plain numbers, lists and texts."""

from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.datasets.histories import item_numbers
from attnlab.errors import SettingsError

if TYPE_CHECKING:
    from attnlab.applications.recommending import Recommender
    from attnlab.datasets.histories import Histories

SETTINGS = ("person", "out", "added", "choice")
LATEST = 12  # items of a history that are shown and read
LISTED = 10  # items that are recommended
MOST_ADDED = 4


def history_report(
    recommender: "Recommender",
    histories: "Histories",
    person: int,
    out: list[int],
    added: list[str],
    choice: str | None,
) -> dict[str, Any]:
    """Recommend from a history of which some items were taken out and others put in.

    Parameters
    ----------
    recommender, histories : the model, and whose histories
    person : number, from 0; the last `LATEST` items before the test item are the history
    out : places in the history, from 0, of items that are taken out
    added : names of items that are put in at the end, at most `MOST_ADDED`
    choice : the recommended item whose reasons are shown; None for the first of the list

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``settings``: person, out, added and choice
        - ``past``: for each item of the history ``item``, ``out``, ``added``, ``attention`` (weight
          from the last place in the last layer, mean over heads) and ``missed`` (nats that the
          choice loses without it), both None where it is out
        - ``list``: for each recommended item ``item``, ``share`` (probability), ``rank`` and
          ``before``, its rank with the whole history
        - ``choice``, ``next`` (what the person really came to), ``next_rank``, ``next_before``
        - ``people``; ``remark``: what is to be noticed; ``alt``: the whole picture in words

    Raises
    ------
    SettingsError : a setting is of the wrong kind or out of range, or no item is left
    DataError : an item that the recommender does not know
    """
    whole, kept = _history(recommender, histories, person, out, added)
    after, before = _ranked(recommender, kept), _ranked(recommender, whole)
    names = recommender.items
    listed = recommender.recommend(kept, LISTED)
    item_numbers(names, [] if choice is None else [choice])
    chosen = listed[0] if choice is None or choice in kept else choice
    told = recommender.explain(kept, chosen)
    reasons = iter(zip(told["attention"], told["missed"], strict=True))
    past = []
    for place, item in enumerate([*whole, *added]):
        gone = place in out
        attention, missed = (None, None) if gone else map(float, next(reasons))
        new = place >= len(whole)
        past.append(
            {"item": item, "out": gone, "added": new, "attention": attention, "missed": missed}
        )
    target = names[histories.targets("test")[person]]
    number = names.index(target)
    report = {
        "settings": {
            "person": int(person),
            "out": sorted(set(out)),
            "added": list(added),
            "choice": choice,
        },
        "past": past,
        "list": [
            {
                "item": item,
                "share": float(after["shares"][names.index(item)]),
                "rank": rank,
                "before": _rank(before, names.index(item)),
            }
            for rank, item in enumerate(listed, 1)
        ],
        "choice": chosen,
        "next": target,
        "next_rank": _rank(after, number),
        "next_before": _rank(before, number),
        "people": len(histories),
    }
    report["remark"] = _remark(report)
    report["alt"] = _alt(report)
    return report


def _history(
    recommender: "Recommender",
    histories: "Histories",
    person: int,
    out: list[int],
    added: list[str],
) -> tuple[list[str], list[str]]:
    """The history as it was, and as it is now; SettingsError unless the settings make sense."""
    people = len(histories)
    if not isinstance(person, int) or isinstance(person, bool) or not 0 <= person < people:
        raise SettingsError(f"person is {person!r}; people have numbers from 0 to {people - 1}.")
    whole = [histories.items[number] for number in histories.before("test")[person][-LATEST:]]
    if not isinstance(added, list) or len(added) > MOST_ADDED:
        raise SettingsError(
            f"added is {added!r}; it is a list of at most {MOST_ADDED} names of items."
        )
    item_numbers(recommender.items, added)
    for item in added:
        if item in whole or added.count(item) > 1:
            raise SettingsError(f"{item!r} is in this history already.")
    size = len(whole) + len(added)
    places = out if isinstance(out, list) else [None]
    if not all(isinstance(place, int) and 0 <= place < size for place in places):
        raise SettingsError(
            f"out is {out!r}; it is a list of places in the history, from 0 to {size - 1}."
        )
    kept = [item for place, item in enumerate([*whole, *added]) if place not in out]
    if not kept:
        raise SettingsError("Nothing is left of this history; put an item back in.")
    return whole, kept


def _ranked(recommender: "Recommender", past: list[str]) -> dict[str, np.ndarray]:
    """Probability and rank of each item, those of the history behind all others."""
    numbers = item_numbers(recommender.items, past)
    scores = recommender.scores([numbers])[0].astype(float)
    scores[numbers] = -np.inf
    shares = np.exp(scores - scores.max())
    order = np.argsort(-scores, kind="stable")
    ranks = np.empty(len(order), dtype=int)
    ranks[order] = np.arange(1, len(order) + 1)
    return {"shares": shares / shares.sum(), "ranks": ranks, "had": numbers}


def _rank(ranked: dict[str, np.ndarray], number: int) -> int | None:
    """An item's place in the list, from 1; None where it is part of the history."""
    return None if number in ranked["had"] else int(ranked["ranks"][number])


def _remark(report: dict[str, Any]) -> str:
    settings, left = report["settings"], [one for one in report["past"] if not one["out"]]
    most = max(left, key=lambda one: one["missed"])
    looked = max(left, key=lambda one: one["attention"])
    if most["missed"] <= 0:
        reason = f"“{report['choice']}” loses nothing without any one of these."
    elif most is looked:
        reason = (
            f"“{report['choice']}” rests most on “{most['item']}”, which is also looked at most."
        )
    else:
        reason = (
            f"“{report['choice']}” would lose most without “{most['item']}”, "
            f"but looks most at “{looked['item']}”."
        )
    rank, before = report["next_rank"], report["next_before"]
    came = f"This person went on to “{report['next']}”"
    if rank is None or before is None:
        return f"{reason} {came}, which is in this history now."
    moved = "" if rank == before else f" ({before} with the whole history)"
    changed = "" if settings["out"] or settings["added"] else " Take items out to see it move."
    return f"{reason} {came}: rank {rank}{moved}.{changed}"


def _alt(report: dict[str, Any]) -> str:
    first = ", ".join(one["item"] for one in report["list"][:3])
    left = [one["item"] for one in report["past"] if not one["out"]]
    return (
        f"A history of {len(left)} items, the last of them {left[-1]}. Recommended first: {first}. "
        f"{report['remark']}"
    )
