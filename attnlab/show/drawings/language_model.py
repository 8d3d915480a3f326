"""Drawings of lesson 04: the whole model, a step with a cache, two heads that copy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from attnlab.show.drawings.sketch import INK, Sketch
from attnlab.show.plots.picture import Picture


def gpt(vocabulary: int, d_model: int, layers: int, parameters: dict[str, int]) -> Picture:
    """Draw a GPT: embedding, blocks that add to the residual stream, the embedding table again.

    Parameters
    ----------
    vocabulary, d_model, layers : of the model
    parameters : how many the "embedding", all "attention", all "feed-forward" and the "norms" have
    """
    sheet = Sketch(7.6, 2.75)
    y = 0.95
    start = sheet.box(0.62, y, "embedding", width=1.05)
    adds = [sheet.box(x, y, "+", width=0.4) for x in (2.75, 4.55)]
    norm = sheet.box(5.72, y, "norm", width=0.7, role="frozen")
    end = sheet.box(6.9, y, "embedding\nagain", width=1.05, height=0.5)
    for one, other in zip([start, *adds, norm], [*adds, norm, end], strict=True):
        sheet.arrow(one, other, role="text", weight=2.2)
    names = ("norm,\ncausal attention", "norm,\nfeed-forward")
    for add, name, role in zip(adds, names, ("weights", "value"), strict=True):
        part = sheet.box(add.x - 0.55, y + 0.85, name, width=1.3, height=0.55, role=role)
        turn = add.x - 1.08
        sheet.arrow((turn, y + 0.02), (turn, part.side("bottom")[1]), role=role)
        sheet.arrow((add.x, part.side("bottom")[1]), add, role=role)
    frame: dict[str, Any] = {"color": "0.6", "lw": 1, "ls": "--"}
    left, right, low, high = 1.4, 5.0, 0.55, 2.3
    sheet.axes.plot([left, right, right, left, left], [low, low, high, high, low], **frame)
    sheet.text((left + right) / 2, high + 0.16, f"{layers} blocks, one after another", size=9.5)
    counts = {
        start.x: parameters["embedding"],
        adds[0].x - 0.55: parameters["attention"],
        adds[1].x - 0.55: parameters["feed-forward"],
        norm.x: parameters["norms"],
    }
    for x, count in counts.items():
        sheet.text(x, 0.32, f"{count:,}", size=9.5)
    sheet.text(end.x, 0.32, "the same table", size=9.5)
    sheet.text(3.6, 0.1, "parameters of all blocks together; norms of the whole model", size=8.5)
    sheet.text(2.48, y - 0.15, "residual stream", size=9, role="text", align="right")
    sheet.text(start.x, y + 0.48, f"id → {d_model}\nnumbers", size=9)
    sheet.text(end.x, y + 0.52, f"logits of\n{vocabulary:,} pieces", size=9)
    return sheet.picture(
        f"A GPT: the embedding makes {d_model} numbers of each piece. {layers} blocks follow; each "
        "adds to the stream what causal attention and then a feed-forward network make of the "
        "normed stream. After a last norm the embedding table, once more, gives logits of "
        f"{vocabulary:,} pieces. Parameters: embedding {parameters['embedding']:,}, attention "
        f"{parameters['attention']:,}, feed-forward {parameters['feed-forward']:,}, norms "
        f"{parameters['norms']:,}."
    )


def cache_step(
    pieces: Sequence[str], keys: npt.ArrayLike, values: npt.ArrayLike, query: npt.ArrayLike
) -> Picture:
    """Draw one step with a cache: kept keys and values, one new row, one query over all.

    Parameters
    ----------
    pieces : of the text, the last one is new
    keys, values : (T, D), a row for each piece
    query : (D,), of the new piece
    """
    k, v, q = (np.asarray(part, dtype=float) for part in (keys, values, query))
    weights = softmax(k @ q / np.sqrt(len(q)))
    high, cell, count = 0.32, (0.46, 0.32), len(pieces)
    sheet = Sketch(7.6, 1.35 + high * count)
    middle, top = 0.75 + high * count / 2, 0.98 + high * count
    places = {"keys": (2.2, k, "key", 0), "values": (5.9, v, "value", 0)}
    for name, (x, numbers, role, digits) in places.items():
        rows = pieces if name == "keys" else ()
        sheet.numbers(x, middle, numbers, role=role, cell=cell, digits=digits, rows=rows)
        sheet.text(x, top, name, role=role, size=10, bold=True)
        wide = cell[0] * numbers.shape[1] / 2 + 0.02
        edge = [x - wide, x + wide, x + wide, x - wide, x - wide]
        low, over = middle - high * count / 2 - 0.03, middle - high * count / 2 + high + 0.01
        sheet.axes.plot(edge, [low, low, over, over, low], color=INK, lw=1.8)
    box = sheet.numbers(4.2, middle, weights[:, None], role="weights", cell=(0.6, high), digits=2)
    sheet.text(4.2, top, "weights", role="weights", size=10, bold=True)
    asks = sheet.numbers(2.2, 0.3, q[None], role="query", cell=cell, digits=0)
    sheet.text(1.62, 0.3, "query", role="query", size=10, align="right", bold=True)
    sheet.arrow(asks.side("right"), box.side("bottom"), role="query", bend=0.2)
    output = sheet.numbers(5.9, 0.3, (weights @ v)[None], cell=cell, digits=2)
    sheet.arrow((5.9, middle - high * count / 2 - 0.05), output, role="value")
    sheet.text(6.5, 0.3, "context", size=10, align="left", bold=True)
    new = middle - high * (count - 1) / 2
    sheet.text(6.5, new, "new: computed now", size=9.5, align="left")
    sheet.text(6.5, new + high * count / 2, "kept in the cache", size=9.5, align="left")
    told = ", ".join(f"{piece} {weight:.2f}" for piece, weight in zip(pieces, weights, strict=True))
    return sheet.picture(
        f"A step with a cache: keys and values of {count - 1} earlier pieces are kept, only the "
        f"row of “{pieces[-1]}” is computed. Its query meets all keys; the weights are {told}."
    )


def copying(tokens: Sequence[str] = ("A", "B", "C", "A")) -> Picture:
    """Draw how two heads copy: one notes what stood before, one looks for that note.

    Parameters
    ----------
    tokens : of which the last occurred before
    """
    last = len(tokens) - 1
    found = list(tokens[:last]).index(tokens[last]) + 1  # what followed the earlier copy
    sheet = Sketch(7.6, 3.2)
    across = [2.1 + 1.3 * place for place in range(len(tokens))]
    low, middle, high = 0.35, 1.5, 2.75
    for text, y in (("token", low), ("after layer 0", middle), ("after layer 1", high)):
        sheet.text(1.35, y, text, size=9.5, align="right")
    first = [sheet.box(x, low, token) for x, token in zip(across, tokens, strict=True)]
    notes = ["(first)", *(f"after {token}" for token in tokens[:-1])]
    second = [
        sheet.box(x, middle, f"{token}\n{note}", height=0.52, role="key")
        for x, token, note in zip(across, tokens, notes, strict=True)
    ]
    for place in range(1, len(tokens)):
        sheet.arrow(first[place - 1], second[place], role="key")
    for one, other in zip(first, second, strict=True):
        sheet.arrow(one, other, role="text", weight=0.8)
    says = sheet.box(across[last], high, f"says {tokens[found]}", role="value")
    sheet.arrow(second[last], says, role="text", weight=0.8)
    start = second[found].side("top")
    sheet.arrow(start, says.side("left"), role="weights", weight=2)
    asks = f"asks: who\nstands after\n{tokens[last]}?"
    sheet.text(across[last] + 0.58, middle, asks, size=9, align="left", role="query")
    value = f"finds it, and copies\nits value: {tokens[found]}"
    sheet.text(start[0] + 0.35, 2.45, value, size=9, role="value", align="right")
    sheet.text(across[0] - 0.45, 0.92, "looks\none back", size=9, role="key", align="right")
    return sheet.picture(
        f"Tokens {' '.join(tokens)}. A head of layer 0 looks one back, so that each place notes "
        f"what stood before it. In layer 1 the last {tokens[last]} looks for the place that notes "
        f"“after {tokens[last]}”, finds {tokens[found]}, and its value makes the model say "
        f"{tokens[found]}."
    )
