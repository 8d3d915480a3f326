"""What the mask desk shows of one head's weights under masks, as plain numbers, lists and texts."""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from attnlab.attention import (
    causal_mask,
    effective_keys,
    local_mask,
    padding_mask,
    softmax,
)
from attnlab.errors import AttnlabError, SettingsError
from attnlab.heads.maps import AttentionMaps
from attnlab.languages import tr
from attnlab.show import plots
from attnlab.show.wording import spoken

SETTINGS = ("layer", "head", "causal", "window", "padding", "place")
PLACES = ("before", "after")
MOST_TOKENS = 30  # beyond this the grid no longer fits a screen
_ALL = 1 - 1e-9  # sums of weights are exact to about 1e-15


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def mask_report(
    maps: AttentionMaps, layer: int, head: int, causal: bool, window: int, padding: int, place: str
) -> dict[str, Any]:
    """Mask the weights of one head, and say what becomes of each row.

    Parameters
    ----------
    maps : AttentionMaps of a text of T tokens, at most `MOST_TOKENS`
    layer, head : whose weights
    causal : whether no token sees those after it
    window : how many places a token sees to either side, 0 to T - 1; T - 1 hides nothing
    padding : how many of the last tokens are hidden as keys, 0 to T
    place : "before" the softmax, as is right, or "after" it, a common mistake

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``settings``: the six parameters that are not ``maps``
        - ``weights`` and ``visible``: T rows of T numbers and of T booleans
        - for each row ``sums``, and ``effective``: the number of keys over which what is left of
          the row is spread, 0 where nothing is left
        - ``sum_texts`` and ``effective_texts``: the same as they are written; ``short``: whether a
          row that may look somewhere has lost weight
        - ``rows``: each row in words; ``alt``: the whole picture; ``remark``: what is to be noticed

    Raises
    ------
    SettingsError : if a setting is of the wrong kind or out of range
    AttnlabError : if the maps have no such head, or too many tokens

    Notes
    -----
    Maps hold weights, and masks belong on scores. The logarithm of the weights serves as scores: it
    differs from the true ones by a constant in each row, the log of the sum of their exponentials,
    and softmax takes no notice of such a constant, with a mask or without. So softmax(log w) = w,
    and masking log w is masking the true scores. Only a weight so small that it was stored as 0
    stays 0, whatever the mask.
    """
    _check(maps, layer, head, causal, window, padding, place)
    count = len(maps.tokens)
    scores = maps.weights[layer, head].detach().double().log()  # (T, T)
    mask = local_mask(count, int(window)) & padding_mask(torch.tensor([count - padding]), count)[0]
    if causal:
        mask = mask & causal_mask(count)
    unmasked, masked = softmax(scores), softmax(scores, mask)  # (T, T)
    weights = masked if place == "before" else unmasked * mask  # (T, T)
    sums = weights.sum(-1)  # (T,)
    settings = (int(layer), int(head), causal, int(window), int(padding), place)
    report = {
        "settings": dict(zip(SETTINGS, settings, strict=True)),
        "tokens": plots.readable(maps.tokens),
        "weights": weights.tolist(),
        "visible": mask.tolist(),
        "sums": sums.tolist(),
        # a mask after the softmax leaves the same proportions as one before it
        "effective": torch.where(masked.sum(-1) > 0, effective_keys(masked), 0).tolist(),
        "short": (mask.any(-1) & (sums < _ALL)).tolist(),
        "sum_texts": [_amount(total) for total in sums.tolist()],
    }
    report["effective_texts"] = [f"{keys:.1f}" if keys else "–" for keys in report["effective"]]
    return report | {
        "rows": [_row(report, row) for row in range(count)],
        "alt": _alternative(report),
        "remark": _remark(report, unmasked),
    }


# ── what is said ───────────────────────────────────────────────────────────────────────────────


def _row(report: dict[str, Any], row: int) -> str:
    """One row in words: where it looks most, its sum, and how wide it is."""
    tokens, weights = report["tokens"], report["weights"][row]
    name, hidden = f"“{tokens[row]}”", report["visible"][row].count(False)
    if hidden == len(tokens):
        return tr("{name} may look nowhere: all its weights are 0, and so is their sum.", name=name)
    best = sorted(range(len(tokens)), key=weights.__getitem__, reverse=True)[:4]
    most = ", ".join(f"“{tokens[key]}” {_said(weights[key])}" for key in best if weights[key])
    keys = tr("1 key") if hidden == 1 else tr("{count} keys", count=hidden)
    return tr(
        "{name} looks most at {most}. Sum {sum}, effective keys {effective}, {keys} hidden.",
        name=name,
        most=most or tr("no key"),
        sum=_said(report["sums"][row]),
        effective=report["effective_texts"][row],
        keys=keys if hidden else tr("no keys"),
    )


def _masks(settings: dict[str, Any], count: int) -> str:
    """The masks that hide something, in words; empty if none does."""
    parts = [
        tr("causal") if settings["causal"] else "",
        tr("window {window}", **settings) if settings["window"] < count - 1 else "",
        tr("padding {padding}", **settings) if settings["padding"] else "",
    ]
    return tr(", ").join(filter(None, parts))


def _alternative(report: dict[str, Any]) -> str:
    """The grid in words, with its numbers."""
    settings, sums, tokens = report["settings"], report["sums"], report["tokens"]
    count = len(tokens)
    hidden = sum(row.count(False) for row in report["visible"])
    masks = _masks(settings, count)
    before = settings["place"] == "before"
    how = (
        (tr("mask before the softmax") if before else tr("mask after the softmax")) + f": {masks}"
        if masks
        else tr("no mask")
    )
    largest, row, key = max(
        (report["weights"][row][key], row, key) for row in range(count) for key in range(count)
    )
    peak = tr(
        "The largest weight is {weight}, “{query}” at “{key}”.",
        weight=_said(largest),
        query=tokens[row],
        key=tokens[key],
    )
    grid = tr(
        "Grid of the weights of layer {layer}, head {head}, {how}. {count} rows, the queries, look "
        "at {count} columns, the keys; {hidden} of {cells} cells are hidden. Rows sum to {least} "
        "at least and {most} at most.",
        layer=settings["layer"],
        head=settings["head"],
        how=how,
        count=count,
        hidden=hidden,
        cells=count * count,
        least=_said(min(sums)),
        most=_said(max(sums)),
    )
    return f"{grid} {peak}" if largest else grid


def _remark(report: dict[str, Any], unmasked: Tensor) -> str:
    """Say in plain words what is to be noticed."""
    settings, tokens = report["settings"], report["tokens"]
    count, late = len(tokens), settings["place"] == "after"
    visible = torch.tensor(report["visible"])  # (T, T)
    sees = visible.any(-1)  # (T,)
    blind = int((~sees).sum())
    if not unmasked.any():
        return tr(
            "There is nothing to mask: all weights of layer {layer}, head {head} are 0. Was this "
            "head removed?",
            layer=settings["layer"],
            head=settings["head"],
        )
    if blind == count:
        return tr(
            "All {count} tokens are hidden as keys: nobody may look anywhere. "
            "Every row gets zeros, not NaN.",
            count=count,
        )
    if not _masks(settings, count):
        return _unmasked_remark(report)
    nowhere = (
        tr("1 token may look nowhere")
        if blind == 1
        else tr("{count} tokens may look nowhere", count=blind)
    )
    if late:
        least = min((total, row) for row, total in enumerate(report["sums"]) if sees[row])
        if least[0] >= _ALL:
            return tr("The mask hides no weight here: every row still sums to 1.")
        fall = tr(
            "Row sums fall to {sum} (“{token}”): a mask after the softmax throws weight away.",
            sum=_said(least[0]),
            token=tokens[least[1]],
        )
        also = tr("{nowhere}; their rows sum to 0.", nowhere=nowhere)
        return f"{fall} {also}" if blind else fall
    if blind:
        zeros = tr("it gets zeros") if blind == 1 else tr("they get zeros")
        return tr(
            "{nowhere}; {zeros}, not NaN. The other rows sum to 1.", nowhere=nowhere, zeros=zeros
        )
    hidden = _said(float((unmasked * ~visible).sum(-1).mean()))
    share = tr("On average {hidden} of a row's weight lay on hidden keys", hidden=hidden)
    if settings["window"] == 0:
        return tr(
            "Window 0: each token can only look at itself, so its weight there is 1. {share}.",
            share=share,
        )
    if settings["causal"]:
        return tr(
            "Causal: the first token can only look at itself, so its weight there is 1. "
            "{share}; the visible ones share it in proportion.",
            share=share,
        )
    if settings["window"] < count - 1:
        return tr(
            "Window {window}: no token sees more than {most} keys. {share}; the others share it.",
            window=settings["window"],
            most=max(row.count(True) for row in report["visible"]),
            share=share,
        )
    last = (
        tr("The last token is hidden as keys, yet still asked as queries.")
        if settings["padding"] == 1
        else tr(
            "The last {padding} tokens are hidden as keys, yet still asked as queries.", **settings
        )
    )
    return f"{last} {tr('{share}; the others share it.', share=share)}"


def _unmasked_remark(report: dict[str, Any]) -> str:
    """What the head does by itself, or that the place of the mask does not matter yet."""
    if report["settings"]["place"] == "after":
        return tr(
            "Nothing is hidden yet, so every row sums to 1 wherever the mask acts. Try “causal”."
        )
    tokens, effective = report["tokens"], report["effective"]
    rows = range(len(tokens))
    widest, narrowest = max(rows, key=effective.__getitem__), min(rows, key=effective.__getitem__)
    return tr(
        "No mask: every token may look at all {count}, and every row sums to 1. “{widest}” looks "
        "most widely, as over {most:.1f} keys, “{narrowest}” least, {least:.1f}.",
        count=len(tokens),
        widest=tokens[widest],
        most=effective[widest],
        narrowest=tokens[narrowest],
        least=effective[narrowest],
    )


def _amount(weight: float) -> str:
    """A weight or a sum of weights with two digits; never 0 or 1 where it is not."""
    if 0 < weight < 0.005:
        return "< 0.01"
    if 0.995 <= weight < _ALL:
        return "> 0.99"
    return f"{weight:.2f}"


def _said(weight: float) -> str:
    """The same inside a sentence."""
    return spoken(_amount(weight))


# ── what is refused ────────────────────────────────────────────────────────────────────────────


def check_maps(maps: AttentionMaps) -> None:
    """Raise an AttnlabError unless these are maps of one text that the desk can draw."""
    if not isinstance(maps, AttentionMaps):
        raise SettingsError(
            f"The mask desk was given a {type(maps).__name__}; it needs attention maps of one "
            "text: "
            "MaskDesk(clf.attend('A warm and funny film.'))."
        )
    if len(maps.tokens) > MOST_TOKENS:
        raise AttnlabError(
            f"This text has {len(maps.tokens)} tokens; the mask desk draws {MOST_TOKENS} at most, "
            "so that the "
            "grid can be read. Take a shorter text, of about "
            f"{2 * MOST_TOKENS // 3} words: clf.attend(' "
            f"'.join(text.split()[:{2 * MOST_TOKENS // 3}]))."
        )


def _check(
    maps: AttentionMaps,
    layer: int,
    head: int,
    causal: bool,
    window: int,
    padding: int,
    place: str,
) -> None:
    check_maps(maps)
    for name, given in (("layer", layer), ("head", head)):
        if not _is_whole(given):
            raise SettingsError(f"{name} is {given!r}; it is a whole number, counted from 0.")
    maps.check_place(layer, head)
    count = len(maps.tokens)
    if not isinstance(causal, bool):
        raise SettingsError(
            f"causal is {causal!r}; it is True where no token may see the future, else False."
        )
    if not _is_whole(window) or not 0 <= window < count:
        raise SettingsError(
            f"window is {window!r}; it counts places to either side, a whole number from 0 to "
            f"{count - 1} in "
            f"this text of {count} tokens. {count - 1} hides nothing."
        )
    if not _is_whole(padding) or not 0 <= padding <= count:
        raise SettingsError(
            f"padding is {padding!r}; it counts the last tokens that are hidden, a whole number "
            "from 0 to "
            f"{count} in this text of {count} tokens."
        )
    if place not in PLACES:
        raise SettingsError(
            f"place is {place!r}; the mask acts 'before' the softmax, as is right, or 'after' it."
        )


def _is_whole(given: object) -> bool:
    return isinstance(given, Integral) and not isinstance(given, bool)
