"""Drawings of one layer: masks, splitting into heads, the whole layer, and a model of layers."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from attnlab.attention import softmax, split_heads
from attnlab.errors import AttnlabError
from attnlab.show.drawings.sketch import INK, ROLES, Box, Sketch
from attnlab.show.drawings.tensor_steps import weight_colour, weight_table
from attnlab.show.plots.picture import Picture

__all__ = [
    "head_slices",
    "joined_masks",
    "mask_first",
    "mask_grids",
    "one_layer",
    "rebuilt_model",
]

_FIRST_HEAD, _SECOND_HEAD = "#bcd4ea", "#ffffff"  # the head tells the fill
HIDDEN = "#ececec"  # a square that may not be looked at


def mask_grids(masks: Mapping[str, Tensor], words: Sequence[str]) -> Picture:
    """Draw masks, three in a row: filled where a query (row) may look at a key (column).

    Parameters
    ----------
    masks : title, and Tensor of bool, shape (T, T)
    words : T words
    """
    count, side = len(words), 0.34
    for name, mask in masks.items():
        if tuple(mask.shape) != (count, count):
            raise AttnlabError(
                f"The mask {name!r} has shape {tuple(mask.shape)}; with {count} words it needs "
                f"({count}, {count})."
            )
    across = min(3, len(masks))
    down = math.ceil(len(masks) / across)
    wide, high = count * side + 0.82, count * side + 0.95
    sheet = Sketch(across * wide, down * high)
    for number, (name, mask) in enumerate(masks.items()):
        corner = number % across * wide + 0.62, (down - 1 - number // across) * high + 0.45
        _mask(sheet, corner, side, mask, words)
        sheet.text(corner[0], corner[1] + count * side + 0.32, name, size=10, align="left")
    seen_by = "; ".join(f"{name.rstrip('?')}: {int(mask.sum())}" for name, mask in masks.items())
    return sheet.picture(
        f"Masks over {count} words, filled where a query may look at a key. Of {count * count} "
        f"pairs are allowed: {seen_by}."
    )


def _mask(
    sheet: Sketch,
    corner: tuple[float, float],
    side: float,
    mask: Tensor,
    words: Sequence[str],
    faint: Sequence[int] = (),
) -> None:
    """One mask, its lower left corner here, with words at its rows and columns; faint: rows."""
    left, bottom = corner
    top = bottom + len(words) * side
    for (row, column), seen in np.ndenumerate(mask.numpy()):
        place = left + column * side, top - (row + 1) * side
        fill = (weight_colour(0.35) if row in faint else ROLES["weights"]) if seen else HIDDEN
        sheet.axes.add_patch(Rectangle(place, side, side, fc=fill, ec="white", lw=1.5))
    for at, word in enumerate(words):
        middle = (at + 0.5) * side
        sheet.text(left - 0.07, top - middle, word, size=9, align="right")
        sheet.text(left + middle, bottom - 0.13, word, size=8)
    sheet.text(left - 0.07, top + 0.1, "query", size=8.5, role="query", align="right")
    sheet.text(left + len(words) * side / 2, bottom - 0.33, "key", size=8.5, role="key")


def joined_masks(near: Tensor, real: Tensor, words: Sequence[str]) -> Picture:
    """Draw a mask of pairs, joined by & with a mask that is one row, repeated for each query.

    Parameters
    ----------
    near : Tensor of bool, shape (T, T)
    real : Tensor of bool, shape (1, T)
    words : T words
    """
    count, side = len(words), 0.33
    wide, bottom = count * side, 0.62
    both = near & real
    repeated: tuple[Sequence[int], ...] = ((), range(1, count), ())
    sheet = Sketch(7.6, count * side + 1.2)
    places = (0.62, 3.1, 5.6)
    for left, mask, name, shape, faint in zip(
        places,
        (near, real.expand(count, count), both),
        ("window of 1", "padding, repeated", "both"),
        (f"({count}, {count})", f"(1, {count})", f"({count}, {count})"),
        repeated,
        strict=True,
    ):
        _mask(sheet, (left, bottom), side, mask, words, faint)
        sheet.text(left, bottom + wide + 0.36, name, size=10, align="left", bold=True)
        sheet.text(left + wide / 2, 0.1, shape, size=9.5)
    for left, sign in zip(places[1:], ("&", "="), strict=True):
        sheet.text(left - 0.64, bottom + wide / 2, sign, size=15)
    for row in torch.nonzero(~both.any(1)).flatten().tolist():
        corner = places[2], bottom + wide - (row + 1) * side
        frame = Rectangle(corner, wide, side, fc="none", ec=INK, lw=1.8, zorder=5)
        sheet.axes.add_patch(frame)
        middle = corner[1] + side / 2
        sheet.text(corner[0] + wide / 2, middle, "may look nowhere", size=8.5)
    empty = [words[row] for row in torch.nonzero(~both.any(1)).flatten().tolist()]
    return sheet.picture(
        f"A window mask of {count} by {count} squares and a padding mask of one row of {count}. "
        f"The row is repeated for every query; joined, {int(both.sum())} squares are filled. Rows "
        f"in which none is: {', '.join(empty) or 'none'}."
    )


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
            if isinstance(numbers[0], str):
                boxes.append(
                    sheet.numbers(x, y, [list(numbers)], cell=cell, columns=words, size=10)
                )
            else:
                weights = [[float(one) for one in numbers]]
                boxes.append(weight_table(sheet, x, y, weights, cell=cell, columns=words, size=10))
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
    sheet, high = Sketch(7.6, 0.6 * tokens + 1.75), 0.3 * tokens
    upper, lower, end = 0.3 * tokens + 1.2 + high / 2, 0.25 + high / 2, 7.55 - 0.19 * width
    names = [f"token {token}" for token in range(tokens)]
    starts = [_cells(sheet, 1.36, y, x, width, names) for y in (upper, lower)]
    block = 0.38 * width + 0.14
    cut = [  # (T, H, D): for each token a block with a row for each head
        _cells(sheet, 2.88 + block * token, upper, part, width)
        for token, part in enumerate(x.reshape(tokens, heads, width))
    ]
    for name, box in zip(names, cut, strict=True):
        sheet.text(box.x, box.side("top")[1] + 0.14, name, size=9)
    for y, parts in ((upper, right), (lower, wrong)):
        made = [
            _cells(sheet, end - block * (heads - 1 - head), y, part, width)
            for head, part in enumerate(parts)
        ]
        for head, box in enumerate(made):
            sheet.text(box.x, box.side("top")[1] + 0.14, f"head {head}", size=9, bold=True)
        sheet.text((made[0].x + made[-1].x) / 2, y - high / 2 - 0.16, "(H, T, D)", size=9.5)
        begin = (cut[-1] if parts is right else starts[1]).side("right")[0] + 0.06
        sheet.arrow((begin, y), (made[0].side("left")[0] - 0.06, y))
        sheet.text(1.36, y - high / 2 - 0.16, "(T, H · D)", size=9.5)
    sheet.arrow((starts[0].side("right")[0] + 0.06, upper), (cut[0].side("left")[0] - 0.06, upper))
    sheet.text((cut[0].x + cut[-1].x) / 2, upper - high / 2 - 0.16, "(T, H, D)", size=9.5)
    over = upper + high / 2 + 0.42
    sheet.text(2.3, over, "1. cut the width", size=10)
    sheet.text(5.45, over, "2. heads before tokens", size=10)
    sheet.text(4.0, lower + 0.17, "reshape to (H, T, D) at once", size=10)
    for y, name in ((over, "right"), (lower + high / 2 + 0.26, "wrong")):
        sheet.text(0.05, y, name, size=10.5, align="left", bold=True)
    mixed = sorted({int(number) // 100 for number in wrong[0].flatten()})
    lost = sorted(set(range(tokens)) - set(mixed))
    return sheet.picture(
        f"A table of {tokens} tokens by {heads * width} columns. Split into {heads} heads, head 0 "
        f"holds {right[0].tolist()}. After a reshape alone it holds {wrong[0].tolist()}: tokens "
        f"{mixed} in pieces, and nothing of token {', '.join(map(str, lost))}."
    )


def _cells(
    sheet: Sketch, x: float, y: float, numbers: Tensor, width: int, rows: Sequence[str] = ()
) -> Box:
    """Whole numbers round (x, y), the first head's on a colour and the others' on white."""
    wide, high = 0.38, 0.3
    left, top = x - numbers.shape[1] * wide / 2, y + len(numbers) * high / 2
    for (row, column), number in np.ndenumerate(numbers.numpy()):
        corner = (left + column * wide, top - (row + 1) * high)
        fill = _FIRST_HEAD if number % 100 < width else _SECOND_HEAD
        sheet.axes.add_patch(Rectangle(corner, wide, high, fc=fill, ec=ROLES["query"], lw=0.9))
        sheet.text(corner[0] + wide / 2, corner[1] + high / 2, f"{number}", size=9)
    for row, word in enumerate(rows):
        sheet.text(left - 0.08, top - (row + 0.5) * high, word, size=9, align="right")
    return Box(x, y, numbers.shape[1] * wide, len(numbers) * high)


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
            "text",
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
            sheet.text(0.03, y - 0.36, f"(T, {width})", size=8.5, align="left")
            middle = 1.6
            corner = [norm.x, norm.x, 0.3, 0.3], [norm.side("bottom")[1], middle, middle, 0.75]
            sheet.axes.plot(*corner, color=ROLES["output"], lw=1.2)
        else:
            sheet.arrow(norm.side("bottom"), (norm.x, 0.12))
            sheet.text(
                norm.x - 0.12, 0.22, f"(T, {width}), to the next layer", size=8.5, align="right"
            )
    return sheet.picture(
        f"An encoder layer: x goes through attention with {heads} heads of width "
        f"{width // heads} and is added to its result, then normalised; the same again with a "
        f"feed-forward network: up from {width} to {wide}, GELU, and down again."
    )


def rebuilt_model(layers: int, labels: Sequence[str]) -> Picture:
    """Draw a whole BERT classifier: which parts are the learner's, and which are given.

    Parameters
    ----------
    layers : number of encoder layers
    labels : the classes
    """
    sheet = Sketch(7.6, 1.55)
    y, boxes = 0.72, []
    parts = (
        (0.5, "tokens", 0.8, "text"),
        (1.6, "embeddings", 1.06, "frozen"),
        (3.3, f"{layers} layers", 1.5, "weights"),
        (5.0, "pooler", 0.82, "frozen"),
        (6.0, "classifier", 0.88, "frozen"),
        (7.1, "\n".join(labels), 0.84, "text"),
    )
    for x, name, wide, role in parts:
        if role == "weights":
            for back in (2, 1):
                sheet.box(x + 0.07 * back, y + 0.08 * back, "", width=wide, height=0.6, role=role)
        boxes.append(sheet.box(x, y, name, width=wide, height=0.6, role=role, size=9.5))
    for one, other in itertools.pairwise(boxes):
        behind = 0.16 if one.x == 3.3 else 0.0  # the other layers
        sheet.arrow((one.side("right")[0] + behind, y), other.side("left"))
    sheet.text(3.3, y + 0.66, "yours", size=10.5, role="weights", bold=True)
    sheet.text(1.6, y + 0.5, "given", size=9.5)
    sheet.text(5.5, y + 0.5, "given", size=9.5)
    sheet.text(4.45, y - 0.46, "vector of [CLS]", size=9)
    sheet.text(6.55, y - 0.46, "logits, softmax", size=9)
    return sheet.picture(
        f"Tokens, embeddings, {layers} layers, pooler and classifier in a row; only the layers "
        f"are yours. The pooler takes the vector of [CLS]. The answer is {' or '.join(labels)}."
    )


def __dir__() -> list[str]:
    return sorted(__all__)
