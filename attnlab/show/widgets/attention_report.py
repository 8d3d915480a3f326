"""One head's attention to a sentence, as the desks draw it: a map, the change of one, bertviz."""

import functools
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from seaborn import color_palette

from attnlab.classification.classifier import Classifier
from attnlab.errors import AttnlabError
from attnlab.heads.maps import WHATS, AttentionMaps, What
from attnlab.languages import later, tr
from attnlab.show import plots, views

BARS: dict[str, str] = {  # what the colours stand for
    "weights": later("weight"),
    "scaled": later("weight × scale"),
    "contributions": later("length of contribution"),
    "difference": later("change of weight × scale"),
}
LOOKS: dict[str, str] = {  # what the numbers say, for those who see them first
    "weights": later("Weights: how each word shares out its attention, 1 in all."),
    "scaled": later("Weights × scale: each head's weights times its fader."),
    "contributions": later("Contributions: how long the vector is that a word adds."),
    "difference": later("Difference: what the faders change; red is more, blue less."),
}


def map_report(maps: AttentionMaps, layer: int, head: int, what: What) -> dict[str, Any]:
    """One head's map for the desk: its numbers, limits and text alternative."""
    shown = min(len(maps.tokens), plots.MAX_TOKENS)
    values = maps.of(what)[layer, head, :shown, :shown]
    limit = float(values.abs().max())
    least = 0.05 if what == "difference" else 0.5 if what != "contributions" else 1e-6
    count = len(maps.tokens)
    cut = tr("The first {shown} of {count} tokens.", shown=shown, count=count)
    return {
        "kind": "map",
        "tokens": plots.readable(maps.tokens[:shown]),
        "values": [[round(value, 4) for value in row] for row in values.tolist()],
        "signed": what == "difference",
        "limit": max(limit, least),
        "label": tr(BARS[what]),
        "alt": tr(
            "Heat map of {what}, layer {layer}, head {head}. Rows look at columns.",
            what=tr(WHATS[what]),
            layer=layer,
            head=head,
        ),
        "note": cut if shown < count else f"{tr('Rows look at columns.')} {tr(LOOKS[what])}",
    }


def change_report(
    maps: AttentionMaps, before: AttentionMaps, layer: int, head: int, what: What
) -> dict[str, Any]:
    """One head's map minus that of the same head before, for the view."""
    shown = min(len(maps.tokens), plots.MAX_TOKENS)
    now, was = (side.of(what)[layer, head, :shown, :shown] for side in (maps, before))
    values = now - was
    limit = max(float(values.abs().max()), 0.05)
    report = map_report(maps, layer, head, what)
    return report | {
        "values": [[round(value, 4) for value in row] for row in values.tolist()],
        "signed": True,
        "limit": limit,
        "label": tr("change of {what}", what=tr(BARS[what])),
        "alt": f"Heat map of the change of {what} since before, layer {layer}, head {head}. "
        "Rows look at columns.",
        "note": f"Now minus before. {report['note']}",
    }


def bertviz_report(maps: AttentionMaps, layer: int, head: int | None, what: What) -> dict[str, Any]:
    """One head of a layer, or all, for bertviz: the part of its frame that changes."""
    views.check_budget(maps, "head", [layer])
    whose = tr("all heads") if head is None else tr("head {head}", head=head)
    heads = [head] if head is not None else _heads_on(maps, layer, what)
    if head is not None and not maps.of(what)[layer, head].any():
        told = tr("L{layer}H{head} is silent, so it has no lines.", layer=layer, head=head)
    else:
        told = tr(
            "A colour per head, 0 at the left; the darkest line is the strongest. Point at a word "
            "for its lines."
        )
    return {
        "kind": "bertviz",
        "drawing": views.drawing(
            maps, "head", [layer], what, layer, heads, views.opacity(maps, layer, what, heads)
        ),
        "height": round(22.5 * len(maps.tokens) + 50),
        "alt": tr(
            "bertviz: {what} of {whose} of layer {layer}",
            what=tr(WHATS[what]),
            whose=whose,
            layer=layer,
        ),
        "note": f"{tr(LOOKS[what])} {told}",
    }


def _heads_on(maps: AttentionMaps, layer: int, what: What) -> list[int] | None:
    """The heads of a layer that are drawn; None for all."""
    silent = maps.of(what)[layer].flatten(1).abs().amax(1) == 0
    return None if not silent.any() else (~silent).nonzero().flatten().tolist()


def bertviz_or_map(
    maps: AttentionMaps, layer: int, head: int, what: What, whole_layer: bool = False
) -> dict[str, Any]:
    """A bertviz picture of a head or of its whole layer; for too long a text the head's map."""
    try:
        return bertviz_report(maps, layer, None if whole_layer else head, what)
    except AttnlabError:  # a map of the beginning says more than an error
        return map_report(maps, layer, head, what)


def look_report(maps: AttentionMaps, look: dict[str, Any]) -> dict[str, Any]:
    """What the mixing desk shows of a sentence.

    Parameters
    ----------
    look : ``layer``, ``head``, ``what``, and ``kind``: "map", or bertviz of the "head" or the
        "layer"
    """
    layer, head, what, kind = (look[name] for name in ("layer", "head", "what", "kind"))
    if kind == "map" or what == "difference":
        return map_report(maps, layer, head, what)
    report = bertviz_or_map(maps, layer, head, what, whole_layer=kind == "layer")
    if report["kind"] == "map":
        report["note"] = f"{tr('Too long for bertviz.')} {report['note']}"
    return report


def fitting(clf: Classifier, text: str) -> str:
    """The text, or as much of its beginning as the model can read."""
    encoded = clf.tokenizer(text, return_offsets_mapping=True, verbose=False)
    if len(encoded["input_ids"]) <= clf.max_length:
        return text
    return text[: encoded["offset_mapping"][clf.max_length - 3][1]]


@functools.cache
def palettes() -> dict[str, list[str]]:
    """The colours of maps, as the figures use them: from low to high, 128 steps."""
    plain = matplotlib.colormaps["cividis"](np.linspace(0, 1, 128))
    signed = color_palette("vlag", as_cmap=True)(np.linspace(0, 1, 128))
    return {
        "plain": [to_hex(colour) for colour in plain],
        "signed": [to_hex(colour) for colour in signed],
    }
