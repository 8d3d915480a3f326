"""Drawings of attention as tensors: each step of the code with its numbers or its shapes."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle
from torch import Tensor

from attnlab.attention import scaled_dot_product_attention
from attnlab.show.drawings.sketch import INK, ROLES, Box, Sketch
from attnlab.show.plots.picture import Picture, ink_on
from attnlab.show.wording import with_minus

__all__ = [
    "attention_shapes",
    "attention_steps",
    "multi_head",
    "norm_steps",
    "projections",
    "sheet_tensor",
    "weight_colour",
    "weight_table",
]

_CELL = (0.46, 0.3)  # of a number: inches


def weight_colour(weight: float) -> str:
    """The colour of the weights, from nearly white at 0 to full at 1."""
    part = 0.08 + 0.92 * min(1.0, max(0.0, weight))
    red, green, blue = (1 - part * (1 - one) for one in to_rgb(ROLES["weights"]))
    return to_hex((red, green, blue))


def weight_table(
    sheet: Sketch,
    x: float,
    y: float,
    weights: Sequence[Sequence[float]],
    *,
    cell: tuple[float, float] = _CELL,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    size: float = 9,
) -> Box:
    """A table of weights round (x, y): the larger, the darker; returns where its cells are."""
    box = Box(x, y, len(weights[0]) * cell[0], len(weights) * cell[1])
    left, top = x - box.width / 2, y + box.height / 2
    for (row, column), weight in np.ndenumerate(np.asarray(weights)):
        corner, fill = (left + column * cell[0], top - (row + 1) * cell[1]), weight_colour(weight)
        sheet.axes.add_patch(Rectangle(corner, *cell, fc=fill, ec="white", lw=1))
        middle = corner[0] + cell[0] / 2, corner[1] + cell[1] / 2
        text = sheet.axes.text(*middle, f"{weight:.2f}", ha="center", va="center", fontsize=size)
        text.set_color(ink_on(fill))
    for row, word in enumerate(rows):
        sheet.text(left - 0.08, top - (row + 0.5) * cell[1], word, size=size, align="right")
    for column, word in enumerate(columns):
        sheet.text(left + (column + 0.5) * cell[0], top + 0.13, word, size=size)
    return box


def _shape(sheet: Sketch, box: Box, shape: Sequence[int | str], role: str = "output") -> None:
    """The shape of a tensor, below it."""
    x, y = box.side("bottom")
    sheet.text(x, y - 0.14, f"({', '.join(map(str, shape))})", size=9, role=role)


def _outline(sheet: Sketch, box: Box, row: int, rows: int) -> None:
    """A frame round one row of a table."""
    high = box.height / rows
    corner = box.x - box.width / 2, box.y + box.height / 2 - (row + 1) * high
    frame = Rectangle(corner, box.width, high, fc="none", ec=INK, lw=1.8, zorder=5)
    sheet.axes.add_patch(frame)


def projections(
    words: Sequence[str],
    x: Tensor,
    matrices: Mapping[str, Tensor],
    columns: Mapping[str, Sequence[str]],
) -> Picture:
    """Draw how the vectors of a sentence become queries, keys and values, with all numbers.

    Parameters
    ----------
    words : T words
    x : Tensor, shape (T, E), one row for each word
    matrices : "query", "key" and "value", Tensor of shape (E, D) each
    columns : what the columns mean, of "x", "query", "key" and "value"
    """
    high = 0.3 * len(words)
    step = high + 0.74
    sheet = Sketch(7.6, 3 * step + 0.12)
    middle = (3 * step) / 2
    given = sheet.numbers(
        1.35, middle, x.numpy(), cell=(0.48, 0.3), digits=0, rows=words, columns=columns["x"]
    )
    sheet.text(1.35, given.side("top")[1] + 0.36, "X: a row for each word", size=9.5, bold=True)
    _shape(sheet, given, tuple(x.shape))
    for number, (name, matrix) in enumerate(matrices.items()):
        y, letter = 3 * step - 0.5 - high / 2 - number * step + 0.14, name[0].upper()
        maker = sheet.numbers(3.75, y, matrix.numpy(), role=name, cell=(0.46, 0.3), digits=1)
        sheet.text(3.75, maker.side("top")[1] + 0.14, f"$W_{letter}$", size=10, role=name)
        _shape(sheet, maker, tuple(matrix.shape))
        sheet.arrow(given, (maker.side("left")[0] - 0.28, y), role=name)
        sheet.text(maker.side("left")[0] - 0.14, y, "×", size=13, role=name)
        made = sheet.numbers(
            6.15,
            y,
            (x @ matrix).numpy(),
            role=name,
            digits=1,
            cell=(0.62, 0.3),
            rows=words,
            columns=columns[name],
        )
        sheet.text(4.85, y, "=", size=13)
        title = f"{letter}: {_PLURAL[name]}"
        sheet.text(6.15, made.side("top")[1] + 0.34, title, size=9.5, role=name, bold=True)
        _shape(sheet, made, (len(words), matrix.shape[1]))
    return sheet.picture(
        f"The table X, {len(words)} words of {x.shape[1]} numbers, times three matrices gives "
        f"queries, keys and values, {len(words)} rows of "
        f"{next(iter(matrices.values())).shape[1]} numbers each. The query of “{words[-1]}” is "
        f"{_written((x @ matrices['query'])[-1])}."
    )


_PLURAL = {"query": "queries", "key": "keys", "value": "values"}


def _written(numbers: Tensor) -> str:
    """A vector as (3, 0)."""
    return f"({', '.join(with_minus(f'{round(one, 1) + 0:g}') for one in numbers.tolist())})"


def attention_steps(
    words: Sequence[str], query: Tensor, key: Tensor, value: Tensor, follow: int
) -> Picture:
    """Draw the three steps of attention with all their numbers: scores, softmax, mixture.

    Parameters
    ----------
    words : T words
    query, key, value : Tensor, shape (T, D)
    follow : the word whose row is framed
    """
    count, width = query.shape
    scores = query @ key.mT / width**0.5
    context, weights = scaled_dot_product_attention(query, key, value)
    high = 0.3 * count
    step = high + 0.78
    sheet = Sketch(7.6, 3 * step)
    letters = [word[:5] for word in words]
    places, signs = (2.05, 3.95, 6.35), (3.0, 5.15)
    ys = [3 * step - 0.42 - high / 2 - number * step for number in range(3)]

    def named(box: Box, name: str, role: str, shape: Sequence[int], above: float = 0.16) -> Box:
        sheet.text(
            box.x, box.side("top")[1] + above, name, size=9.5, bold=True, role=role, align="center"
        )
        _shape(sheet, box, shape)
        return box

    for number, (y, title) in enumerate(zip(ys, ("scores", "softmax", "mixture"), strict=True)):
        sheet.text(0.08, y + 0.1, f"{number + 1}", size=19, align="left", role="frozen")
        sheet.text(0.3, y + 0.1, title, size=10.5, align="left", bold=True)
    asked = sheet.numbers(places[0], ys[0], query.numpy(), role="query", cell=_CELL, rows=words)
    named(asked, "Q", "query", (count, width))
    found = sheet.numbers(places[1], ys[0], key.mT.numpy(), role="key", cell=_CELL, columns=letters)
    named(found, "$\\mathbf{K^\\top}$", "key", (width, count), above=0.36)
    score = sheet.numbers(places[2], ys[0], scores.numpy(), cell=_CELL, columns=letters)
    named(score, "scores", "output", (count, count), above=0.36)
    for x, sign in zip(signs, ("×", f"÷ $\\sqrt{{{width}}}$  ="), strict=True):
        sheet.text(x, ys[0], sign, size=12)
    again = sheet.numbers(places[0], ys[1], scores.numpy(), cell=_CELL, rows=words)
    named(again, "scores", "output", (count, count))
    weight = weight_table(sheet, places[2], ys[1], weights.tolist(), columns=letters)
    named(weight, "A: weights", "weights", (count, count), above=0.36)
    sheet.arrow((again.side("right")[0] + 0.1, ys[1]), (weight.side("left")[0] - 0.1, ys[1]))
    sheet.text(4.2, ys[1] + 0.18, "softmax of each row", size=9.5)
    sheet.text(4.2, ys[1] - 0.18, "each sums to 1 before rounding", size=9.5, role="weights")
    taken = weight_table(sheet, places[0], ys[2], weights.tolist(), rows=words)
    named(taken, "A: weights", "weights", (count, count))
    mixed = sheet.numbers(places[1], ys[2], value.numpy(), role="value", cell=_CELL)
    named(mixed, "V", "value", tuple(value.shape))
    for row, word in enumerate(letters):
        sheet.text(
            mixed.side("right")[0] + 0.06,
            ys[2] + high / 2 - 0.3 * (row + 0.5),
            word,
            size=9,
            align="left",
        )
    result = sheet.numbers(places[2], ys[2], context.numpy(), cell=_CELL)
    named(result, "C: context", "output", tuple(context.shape))
    for x, sign in zip(signs, ("×", "="), strict=True):
        sheet.text(x + (0.06 if sign == "=" else 0), ys[2], sign, size=12)
    for box in (asked, score, again, weight, taken, result):
        _outline(sheet, box, follow, count)
    most = int(weights[follow].argmax())
    return sheet.picture(
        "Three steps. 1: queries times transposed keys, divided by the root of "
        f"{width}, are the scores, {count} by {count}. 2: the softmax of each row gives the "
        f"weights. 3: weights times values give the context, {count} by {value.shape[1]}. "
        f"“{words[follow]}” gives “{words[most]}” the weight "
        f"{float(weights[follow, most]):.2f}; its context is {_written(context[follow])}."
    )


def attention_shapes(cases: Mapping[str, tuple[int, int, int, int]]) -> Picture:
    """Draw the tensors of attention to scale, one row for each case, with their shapes.

    Parameters
    ----------
    cases : title, and the numbers of queries, of keys, of columns of a key and of a value
    """
    largest = max(max(case) for case in cases.values())
    scale, step = 1.15 / largest, 1.75
    sheet = Sketch(7.6, step * len(cases))
    for number, (name, (queries, keys, width, inner)) in enumerate(cases.items()):
        y = step * (len(cases) - number) - 0.95
        sheet.text(0.05, y + 0.78, name, size=10.5, align="left", bold=True)
        boxes = []
        for x, letter, role, (rows, columns) in (
            (0.75, "Q", "query", (queries, width)),
            (2.2, "$K^\\top$", "key", (width, keys)),
            (3.6, "A", "weights", (queries, keys)),
            (4.95, "V", "value", (keys, inner)),
            (6.75, "C", "output", (queries, inner)),
        ):
            boxes.append(sheet_tensor(sheet, x, y, (columns * scale, rows * scale), letter, role))
            _shape(sheet, boxes[-1], (rows, columns))
        gaps = [
            (one.side("right")[0] + other.side("left")[0]) / 2
            for one, other in itertools.pairwise(boxes)
        ]
        sheet.text(gaps[0], y, "×", size=13)
        sheet.arrow((gaps[1] - 0.26, y), (gaps[1] + 0.26, y))
        sheet.text(gaps[1], y + 0.15, f"÷ $\\sqrt{{{width}}}$", size=9)
        sheet.text(gaps[1], y - 0.15, "softmax", size=9)
        sheet.text(gaps[2], y, "×", size=13)
        sheet.text(gaps[3], y, "=", size=13)
    said = "; ".join(
        f"{name}: weights {queries} by {keys}, context {queries} by {inner}"
        for name, (queries, keys, _, inner) in cases.items()
    )
    return sheet.picture(f"Queries, keys, weights, values and context drawn to scale. {said}.")


def sheet_tensor(
    sheet: Sketch, x: float, y: float, size: tuple[float, float], name: str, role: str
) -> Box:
    """A tensor without its numbers: a rectangle of this size round (x, y), with its letter."""
    wide, high = size
    colour = ROLES[role]
    red, green, blue = (1 - 0.22 * (1 - part) for part in to_rgb(colour))
    fill = to_hex((red, green, blue))
    corner = x - wide / 2, y - high / 2
    sheet.axes.add_patch(Rectangle(corner, wide, high, fc=fill, ec=colour, lw=1.3))
    sheet.text(x, y, name, size=10.5, role=role, bold=True)
    return Box(x, y, wide, high)


def multi_head(tokens: int, width: int, heads: int) -> Picture:
    """Draw multi-head attention as tensors: project, split, attend, merge, project.

    Parameters
    ----------
    tokens, width, heads : T, E and H; three of the heads are drawn
    """
    inner = width // heads
    sheet, drawn = Sketch(7.6, 3.75), (0.96, 0.44)
    low, mid, high = 0.5, 1.6, 2.7
    start = sheet_tensor(sheet, 0.58, mid, drawn, "x", "output")
    _shape(sheet, start, (tokens, width))
    fronts, backs = {}, {}
    for role, y in (("query", high), ("key", mid), ("value", low)):
        whole = _bands(sheet, 2.15, y, drawn, role)
        sheet.text(2.15, y + 0.36, role[0].upper(), size=11, role=role, bold=True)
        _shape(sheet, whole, (tokens, width))
        sheet.arrow(start.side("right"), whole.side("left"), role=role)
        fronts[role] = _stack(sheet, 3.4, y, (0.32, 0.44), role)
        _shape(sheet, fronts[role], (heads, tokens, inner))
        sheet.arrow(whole, fronts[role], role=role)
        backs[role] = fronts[role].side("right")[0] + 0.24, y + 0.06
    weights = _stack(sheet, 4.85, (mid + high) / 2, (0.44, 0.44), "weights")
    sheet.text(weights.x + 0.1, weights.y + 0.54, "A", size=11, role="weights", bold=True)
    _shape(sheet, weights, (heads, tokens, tokens))
    for role, down in (("query", 0.08), ("key", -0.08)):
        end = weights.side("left")[0], weights.y + down
        sheet.arrow(backs[role], end, role=role)
    contexts = _stack(sheet, 4.85, low, (0.32, 0.44), "output")
    sheet.text(contexts.x + 0.27, contexts.y + 0.52, "C", size=11, bold=True)
    _shape(sheet, contexts, (heads, tokens, inner))
    sheet.arrow(backs["value"], (contexts.side("left")[0], low + 0.06), role="value")
    sheet.arrow((4.95, weights.side("bottom")[1] - 0.26), (4.95, low + 0.41), role="weights")
    merged = _bands(sheet, 6.75, low, drawn, "output")
    _shape(sheet, merged, (tokens, width))
    sheet.arrow((contexts.side("right")[0] + 0.24, low + 0.06), (6.27, low + 0.06))
    made = sheet_tensor(sheet, 6.75, mid + 0.55, drawn, "output", "output")
    sheet.arrow(merged, made)
    sheet.text(6.75, made.side("top")[1] + 0.14, f"({tokens}, {width})", size=9)
    for x, y, text in (
        (1.4, 3.5, "project"),
        (2.9, 3.5, "split"),
        (4.75, 3.5, "attend, in each head"),
        (5.83, low + 0.22, "merge"),
        (6.4, 1.25, "project"),
    ):
        sheet.text(x, y, text, size=10, bold=True)
    return sheet.picture(
        f"Multi-head attention as tensors: x, {tokens} by {width}, is projected to Q, K and V of "
        f"the same shape; each is split into {heads} heads of {tokens} by {inner}. Every head has "
        f"weights, {tokens} by {tokens}, and a context, {tokens} by {inner}. The contexts are "
        f"merged to {tokens} by {width} and projected once more."
    )


def _bands(sheet: Sketch, x: float, y: float, size: tuple[float, float], role: str) -> Box:
    """A tensor whose columns are those of heads 0, 1 and further ones, side by side."""
    box = sheet_tensor(sheet, x, y, size, "", role)
    third = size[0] / 3
    for cut in (-0.5, 0.5):
        ends = [y - size[1] / 2, y + size[1] / 2]
        sheet.axes.plot([x + cut * third] * 2, ends, color=ROLES[role], lw=1.3)
    for place, text in ((-1, "0"), (0, "1"), (1, "…")):
        sheet.text(x + place * third, y, text, size=9, role=role)
    return box


def _stack(sheet: Sketch, x: float, y: float, size: tuple[float, float], role: str) -> Box:
    """Three tensors one behind the other, the heads; returns where the front one is."""
    for back in (2, 1):
        sheet_tensor(sheet, x + 0.1 * back, y + 0.08 * back, size, "", role)
    return sheet_tensor(sheet, x, y, size, "0", role)


def norm_steps(numbers: Sequence[float]) -> Picture:
    """Draw the layer norm of one token in two steps: less the mean, by the deviation."""
    x = torch.tensor(list(numbers), dtype=torch.float32)
    centred, variance = x - x.mean(), float(x.var(correction=0))
    made = centred / variance**0.5
    sheet = Sketch(7.6, 0.85)
    mean = f"{float(x.mean()):g}"
    steps = (
        (x, f"one token: mean {mean}", 0),
        (centred, f"mean 0, variance {variance:g}", 0),
        (made, "mean 0, variance 1", 2),
    )
    boxes = []
    for place, (row, name, digits) in zip((1.05, 3.8, 6.55), steps, strict=True):
        boxes.append(
            sheet.numbers(place, 0.27, [row.tolist()], cell=(0.5, 0.34), digits=digits, size=10)
        )
        sheet.text(place, 0.63, name, size=9.5, bold=True)
    for (one, other), step in zip(
        itertools.pairwise(boxes), (f"− {mean}", f"÷ √{variance:g}"), strict=True
    ):
        sheet.arrow(one, other)
        sheet.text((one.x + other.x) / 2, 0.44, step, size=10)
    return sheet.picture(
        f"Layer norm of one token: {', '.join(f'{one:g}' for one in numbers)} less their mean "
        f"{float(x.mean()):g}, then divided by the root of the variance {variance:g}: "
        f"{', '.join(with_minus(f'{one:.2f}') for one in made.tolist())}."
    )


def __dir__() -> list[str]:
    return sorted(__all__)
