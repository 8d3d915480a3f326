"""What the query desk shows: one query among keys, and the values that it mixes."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from attnlab.attention import dot_scores, softmax
from attnlab.errors import SettingsError
from attnlab.languages import tr

SETTINGS = ("query", "keys", "values")
LIMITS = {"asks": (-2.0, 4.0), "mixes": (-1.0, 4.0)}  # of the two planes, in both directions
MOST_TOKENS = 5  # beyond this their names lie on each other
_SAME = 0.005  # weights that are written alike
_NEARLY_ALL = 0.9

Pairs = Sequence[Sequence[float]]


def query_report(
    words: Sequence[str], query: Sequence[float], keys: Pairs, values: Pairs
) -> dict[str, Any]:
    """Compare a query with keys in the plane, and mix the values by the weights.

    Parameters
    ----------
    words : T tokens that the query meets, 2 to `MOST_TOKENS`
    query : 2 numbers, each within the first pair of `LIMITS`
    keys : T pairs, likewise
    values : T pairs, each number within the second pair of `LIMITS`

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``settings``: ``query``, ``keys`` and ``values``
        - ``words``; ``dots``, ``scores`` (the dot products over √2) and ``weights``: T of each
        - ``mixture``: 2 numbers, the values times their weights, added up
        - ``feet``: T points, where a line from each key meets the query's direction at right
          angles; empty for a query of zeros, which has no direction
        - ``limits``: of the two planes
        - ``remark``: what is to be noticed; ``alt``: each of the two planes in words

    Raises
    ------
    SettingsError : if a setting is of the wrong kind or out of range
    """
    words = _words(words)
    settings = {
        "query": _pairs("query", [query], 1, "asks")[0],
        "keys": _pairs("keys", keys, len(words), "asks"),
        "values": _pairs("values", values, len(words), "mixes"),
    }
    q, k, v = (torch.tensor(settings[name]).double() for name in SETTINGS)
    dots = k @ q  # (T,)
    scores = dot_scores(q[None], k)[0] / math.sqrt(2)
    weights = softmax(scores)
    length = float(q @ q)
    report = {
        "settings": settings,
        "words": words,
        "dots": dots.tolist(),
        "scores": scores.tolist(),
        "weights": weights.tolist(),
        "mixture": (weights @ v).tolist(),
        "feet": (dots[:, None] * q / length).tolist() if length else [],
        "limits": {name: list(ends) for name, ends in LIMITS.items()},
    }
    return report | {"remark": _remark(report), "alt": _alternatives(report)}


def _remark(report: dict[str, Any]) -> str:
    """Say in plain words what is to be noticed."""
    weights, words = report["weights"], report["words"]
    order = sorted(range(len(words)), key=lambda index: -weights[index])
    best, next_best = order[:2]
    share = f"{weights[best]:.2f}"
    if weights[best] - weights[order[-1]] < _SAME:
        return tr(
            "All scores are alike: each weight is {share}, and the mixture is the mean of the "
            "values.",
            share=share,
        )
    if weights[best] - weights[next_best] < _SAME:
        return tr(
            "“{one}” and “{other}” get the same weight, {share}: their keys reach equally far in "
            "the direction of the query.",
            one=words[best],
            other=words[next_best],
            share=share,
        )
    if weights[best] > _NEARLY_ALL:
        return tr(
            "“{word}” gets {share} of the weight: the mixture is nearly its value alone.",
            word=words[best],
            share=share,
        )
    return tr(
        "“{word}” gets most weight, {share}: its key reaches furthest in the direction of the "
        "query.",
        word=words[best],
        share=share,
    )


def _alternatives(report: dict[str, Any]) -> dict[str, str]:
    """The two planes in words, by their names."""
    settings, words = report["settings"], report["words"]

    def each(pairs: Pairs) -> str:
        told = (f"“{word}” {_point(pair)}" for word, pair in zip(words, pairs, strict=True))
        return ", ".join(told)

    return {
        "asks": tr(
            "The query {query} among the keys: {keys}.",
            query=_point(settings["query"]),
            keys=each(settings["keys"]),
        ),
        "mixes": tr(
            "The mixture {mixture} among the values: {values}.",
            mixture=_point(report["mixture"]),
            values=each(settings["values"]),
        ),
    }


def _point(pair: Sequence[float]) -> str:
    """A pair as it is written, such as (1.44, 0.56)."""
    numbers = (f"{number:.2f}".rstrip("0").rstrip(".") for number in pair)
    return f"({', '.join(numbers)})".replace("(-0,", "(0,").replace("-", "−")


# ── what cannot be drawn ───────────────────────────────────────────────────────────────────────


def _words(words: Sequence[str]) -> list[str]:
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise SettingsError(
            f'words is {words!r}; it is a list of tokens, such as ["hours", "life"].'
        )
    if not 2 <= len(words) <= MOST_TOKENS:
        raise SettingsError(
            f"There are {len(words)} words; the desk has room for 2 to {MOST_TOKENS}."
        )
    return list(words)


def _pairs(name: str, pairs: Pairs, count: int, plane: str) -> list[list[float]]:
    low, high = LIMITS[plane]
    try:
        found = [[float(number) for number in pair] for pair in pairs]
    except (TypeError, ValueError):
        found = []
    shown = pairs[0] if name == "query" else pairs
    if len(found) != count or any(len(pair) != 2 for pair in found):
        wanted = (
            "two numbers" if name == "query" else f"{count} pairs of numbers, one for each word"
        )
        raise SettingsError(f"{name} is {shown!r}; here it is {wanted}.")
    if not all(low <= number <= high for pair in found for number in pair):
        raise SettingsError(
            f"{name} is {shown!r}; here each number is from {low:g} to {high:g}.".replace("-", "−")
        )
    return found
