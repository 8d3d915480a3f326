"""Drawings of one layer: a head, masks, splitting into heads, and the whole layer."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from attnlab.attention import scaled_dot_product_attention, softmax, split_heads
from attnlab.errors import AttnlabError
from attnlab.show.drawings.sketch import ROLES, Box, Sketch
from attnlab.show.plots.picture import Picture

__all__ = [
    "head_slices",
    "mask_first",
    "mask_grids",
    "one_head",
    "one_layer",
]

_FIRST_HEAD, _SECOND_HEAD = "#bcd4ea", "#ffffff"  # the head tells the fill


def one_head(
    words: Sequence[str], x: Tensor, w_query: Tensor, w_key: Tensor, w_value: Tensor
) -> Picture:
    """Draw how one head turns the vectors of a sentence into contexts, with all its numbers.

    Parameters
    ----------
    words : T words
    x : Tensor, shape (T, E), one row for each word
    w_query, w_key, w_value : Tensor, shape (E, D)
    """
    query, key, value = x @ w_query, x @ w_key, x @ w_value  # (T, D)
    context, weights = scaled_dot_product_attention(query, key, value)
    sheet = Sketch(7.6, 3.7)
    letters = [word[:4] for word in words]
    given = sheet.numbers(1.5, 1.7, x.numpy(), cell=(0.38, 0.3), digits=0, rows=words)
    sheet.text(1.5, 2.33, "X: vectors of the words", size=9, role="text")
    tables = {}
    for name, role, y, numbers in (
        ("query", "query", 2.93, query),
        ("key", "key", 1.7, key),
        ("value", "value", 0.5, value),
    ):
        tables[name] = sheet.numbers(
            3.65, y, numbers.numpy(), role=role, digits=1, cell=(0.42, 0.3)
        )
        sheet.text(3.65, y + 0.57, f"{name[0].upper()}: {_PLURAL[name]}", size=9, role=role)
        sheet.arrow(given, (3.65 - 0.46, y), role=role)
        above = 0.14 if y > 1 else -0.2
        sheet.text(2.62, 1.7 + 0.62 * (y - 1.7) + above, f"$W_{name[0].upper()}$", role=role)
    table = sheet.numbers(
        5.55, 2.28, weights.numpy(), cell=(0.44, 0.3), digits=2, shaded=True, columns=letters
    )
    sheet.text(5.55, 3.05, "A: weights", size=9, role="weights")
    found = sheet.numbers(7.0, 1.1, context.numpy(), digits=1, cell=(0.42, 0.3))
    sheet.text(7.0, 1.7, "C: context", size=9)
    sheet.arrow((tables["query"].side("right")[0] + 0.02, 2.93), (table.side("left")[0], 2.5))
    sheet.arrow((tables["key"].side("right")[0] + 0.02, 1.75), (table.side("left")[0], 2.1))
    sheet.text(4.98, 1.5, "softmax of q · k / √D", size=8.5)
    sheet.arrow((table.x, table.side("bottom")[1]), (found.side("left")[0], 1.25), bend=0.25)
    sheet.arrow(tables["value"], (found.side("left")[0], 0.95), "mixed by A", role="value")
    last = len(words) - 1
    most = int(weights[last].argmax())
    return sheet.picture(
        f"One head on {len(words)} words: from vectors of width {x.shape[1]} to queries, keys and "
        f"values of width {query.shape[1]}, weights and context. “{words[last]}” gives "
        f"“{words[most]}” the weight {float(weights[last, most]):.2f}."
    )


_PLURAL = {"query": "queries", "key": "keys", "value": "values"}


def mask_grids(masks: Mapping[str, Tensor], words: Sequence[str]) -> Picture:
    """Draw masks, two in a row: filled where a query (row) may look at a key (column).

    Parameters
    ----------
    masks : title, and Tensor of bool, shape (T, T)
    words : T words
    """
    count, side = len(words), 0.4
    for name, mask in masks.items():
        if tuple(mask.shape) != (count, count):
            raise AttnlabError(
                f"The mask {name!r} has shape {tuple(mask.shape)}; with {count} words it needs "
                f"({count}, {count})."
            )
    across = min(2, len(masks))
    down = math.ceil(len(masks) / across)
    wide, high = count * side + 1.6, count * side + 1.05
    sheet = Sketch(across * wide, down * high)
    for number, (name, mask) in enumerate(masks.items()):
        corner = number % across * wide + 0.85, (down - 1 - number // across) * high + 0.5
        _mask(sheet, corner, side, mask, words)
        sheet.text(corner[0], corner[1] + count * side + 0.3, name, size=10.5, align="left")
    seen_by = "; ".join(f"{name.rstrip('?')}: {int(mask.sum())}" for name, mask in masks.items())
    return sheet.picture(
        f"Masks over {count} words, filled where a query may look at a key. Of {count * count} "
        f"pairs are allowed: {seen_by}."
    )


def _mask(
    sheet: Sketch, corner: tuple[float, float], side: float, mask: Tensor, words: Sequence[str]
) -> None:
    """One mask, its lower left corner here, with words beside its rows and under its columns."""
    left, bottom = corner
    top = bottom + len(words) * side
    for (row, column), seen in np.ndenumerate(mask.numpy()):
        place = left + column * side, top - (row + 1) * side
        fill = ROLES["weights"] if seen else "#ececec"
        sheet.axes.add_patch(Rectangle(place, side, side, fc=fill, ec="white", lw=1.5))
    for at, word in enumerate(words):
        middle = (at + 0.5) * side
        sheet.text(left - 0.07, top - middle, word, size=9, align="right")
        sheet.text(left + middle, bottom - 0.13, word, size=8)
    sheet.text(left - 0.07, top + 0.1, "query", size=8.5, role="query", align="right")
    sheet.text(left + len(words) * side / 2, bottom - 0.33, "key", size=8.5, role="key")


def mask_first(words: Sequence[str], scores: Tensor, mask: Tensor) -> Picture:
    """Draw what becomes of one row of scores if it is masked before the softmax, and after it.

    Parameters
    ----------
    words : T words, the keys
    scores : Tensor, shape (T,)
    mask : Tensor of bool, shape (T,), True where looking is allowed
    """
    right, plain = softmax(scores[None], mask[None])[0], softmax(scores[None])[0]
    late = plain * mask
    hidden = [f"{one:.1f}" if seen else "−∞" for one, seen in zip(scores, mask, strict=True)]
    written = [f"{one:.1f}" for one in scores.tolist()]
    sheet, cell = Sketch(7.6, 2.75), (0.47, 0.42)
    places = (1.85, 4.2, 6.55)

    def row(
        y: float, name: str, steps: Sequence[str], cells: Sequence[Sequence[float | str]]
    ) -> None:
        boxes: list[Box] = []
        for x, numbers in zip(places, cells, strict=True):
            weights = not isinstance(numbers[0], str)
            boxes.append(
                sheet.numbers(
                    x,
                    y,
                    [list(numbers)],
                    cell=cell,
                    digits=2,
                    role="weights" if weights else "output",
                    columns=words,
                    size=10,
                )
            )
        for step, (one, other) in zip(steps, itertools.pairwise(boxes), strict=True):
            sheet.arrow(one, other)
            middle = (one.side("right")[0] + other.side("left")[0]) / 2
            sheet.text(middle, y - 0.33, step, size=9.5)
        sheet.text(0.1, y + 0.02, name, size=9.5, align="left", bold=True)

    row(2.05, "mask\nfirst", ("mask", "softmax"), (written, hidden, right.tolist()))
    row(0.75, "softmax\nfirst", ("softmax", "mask"), (written, plain.tolist(), late.tolist()))
    for y, weights in ((2.05, right), (0.75, late)):
        told = f"sum {float(weights.sum()):.2f}"
        sheet.text(places[2], y - 0.38, told, size=11, role="weights", bold=True)
    return sheet.picture(
        f"A row of {len(words)} scores, of which {int((~mask).sum())} may not be seen. Masked "
        f"before the softmax, the weights sum to {float(right.sum()):.2f}; masked after it, to "
        f"{float(late.sum()):.2f}."
    )


def head_slices(tokens: int = 3, heads: int = 2, width: int = 2) -> Picture:
    """Draw how a table is split into heads, and what a reshape alone makes of it.

    Each number says where it comes from: 100 × token + column.
    """
    x = 100 * torch.arange(tokens)[:, None] + torch.arange(heads * width)
    right = split_heads(x[None].float(), heads)[0].int()  # (H, T, D)
    wrong = x.reshape(heads, tokens, width)
    cell = 0.46
    sheet = Sketch(7.4, 0.62 * tokens + 1.35)
    middle = (0.62 * tokens + 1.35) / 2 - 0.08
    upper, lower = middle + 0.31 * tokens + 0.12, middle - 0.31 * tokens - 0.12
    _cells(sheet, 1.55, middle, x, width, [f"token {token}" for token in range(tokens)])
    sheet.text(1.55, middle + 0.15 * tokens + 0.2, "(T, H · D)", size=9.5)
    for y, parts, step in (
        (upper, right, "cut the width,\nthen transpose"),
        (lower, wrong, "reshape to\n(H, T, D) at once"),
    ):
        start = 1.55 + heads * width * cell / 2 + 0.05
        sheet.arrow((start, middle + (0.1 if y > middle else -0.1)), (4.15, y))
        sheet.text(2.95, (middle + y) / 2 + (0.58 if y > middle else -0.52), step, size=9)
        for head, part in enumerate(parts):
            centre = 4.75 + head * (width * cell + 0.45)
            _cells(sheet, centre, y, part, width)
            sheet.text(centre, y + 0.15 * tokens + 0.15, f"head {head}", size=9.5)
        good = bool(parts.equal(right))
        end = 4.75 + heads * (width * cell + 0.45) - 0.55
        sheet.text(end, y, "right" if good else "wrong", size=10, align="left", bold=True)
    mixed = sorted({int(number) // 100 for number in wrong[0].flatten()})
    lost = sorted(set(range(tokens)) - set(mixed))
    return sheet.picture(
        f"A table of {tokens} tokens by {heads * width} columns. Split into {heads} heads, head 0 "
        f"holds {right[0].tolist()}. After a reshape alone it holds {wrong[0].tolist()}: tokens "
        f"{mixed} in pieces, and nothing of token {', '.join(map(str, lost))}."
    )


def _cells(
    sheet: Sketch, x: float, y: float, numbers: Tensor, width: int, rows: Sequence[str] = ()
) -> None:
    """Whole numbers round (x, y), the first head's on a colour and the others' on white."""
    wide, high = 0.46, 0.3
    left, top = x - numbers.shape[1] * wide / 2, y + len(numbers) * high / 2
    for (row, column), number in np.ndenumerate(numbers.numpy()):
        corner = (left + column * wide, top - (row + 1) * high)
        fill = _FIRST_HEAD if number % 100 < width else _SECOND_HEAD
        sheet.axes.add_patch(Rectangle(corner, wide, high, fc=fill, ec=ROLES["query"], lw=0.9))
        sheet.text(corner[0] + wide / 2, corner[1] + high / 2, f"{number}", size=9)
    for row, word in enumerate(rows):
        sheet.text(left - 0.08, top - (row + 0.5) * high, word, size=9, align="right")


def one_layer(width: int, heads: int, wide: int) -> Picture:
    """Draw an encoder layer of BERT: two sublayers, each added to its input and normalised.

    Parameters
    ----------
    width, heads, wide : of the hidden states, number of heads, width inside the feed-forward
        network
    """
    sheet = Sketch(7.6, 3.35)
    steps = {
        "attention: mixes tokens": (
            "weights",
            ("to q, k and v,\nsplit", f"attend in each of\n{heads} heads × {width // heads}"),
            "merge,\nproject",
        ),
        "feed-forward network: each token by itself": (
            "value",
            (f"up\n{width} → {wide}", "GELU"),
            f"down\n{wide} → {width}",
        ),
    }
    for (name, (role, first, last)), y in zip(steps.items(), (2.4, 0.75), strict=True):
        boxes = [
            sheet.box(x, y, text, width=1.36, height=0.64, role=role, size=9.5)
            for x, text in zip((1.78, 3.4, 5.02), (*first, last), strict=True)
        ]
        added = sheet.box(6.1, y, "+", width=0.38, height=0.38, size=13)
        norm = sheet.box(6.98, y, "norm", width=0.8)
        for one, other in itertools.pairwise([*boxes, added, norm]):
            sheet.arrow(one, other)
        begin, over = 0.82, y + 0.55
        sheet.axes.plot([begin, begin, 6.1], [y, over, over], color=ROLES["output"], lw=1.2)
        sheet.arrow((6.1, over), added.side("top"))
        sheet.text(1.1, over + 0.14, "residual: the input itself", size=8.5, align="left")
        sheet.text(3.4, y - 0.48, name, size=9, role=role)
        sheet.arrow((0.6 if y > 1 else 0.3, y), boxes[0])
        if y > 1:
            sheet.box(0.33, y, "x", width=0.5)
            middle = 1.6
            corner = [norm.x, norm.x, 0.3, 0.3], [norm.side("bottom")[1], middle, middle, 0.75]
            sheet.axes.plot(*corner, color=ROLES["output"], lw=1.2)
        else:
            sheet.arrow(norm.side("bottom"), (norm.x, 0.12))
            sheet.text(norm.x - 0.12, 0.22, "to the next layer", size=8.5, align="right")
    return sheet.picture(
        f"An encoder layer: x goes through attention with {heads} heads of width "
        f"{width // heads} and is added to its result, then normalised; the same again with a "
        f"feed-forward network: up from {width} to {wide}, GELU, and down again."
    )


def __dir__() -> list[str]:
    return sorted(__all__)
