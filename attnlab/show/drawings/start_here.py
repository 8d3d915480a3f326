"""Drawings of lesson 00: the whole way from tokens to an answer, and one head of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

from attnlab.attention import scaled_dot_product_attention
from attnlab.show.drawings.sketch import ROLES, Sketch
from attnlab.show.plots.flow import curve, strip_colours
from attnlab.show.plots.picture import Picture

Numbers = Sequence[Sequence[float]]
_LINE, _PAPER, _SOFT, _INK = "#9a9a9a", "#eeeeee", "#595959", "#212121"
_CARRIED: dict[str, Any] = {"lw": 1.4, "zorder": 2}  # what a head carries from token to token


def whole_path(
    layers: int = 6,
    heads: int = 12,
    width: int = 384,
    tokens: Sequence[str] = ("[CLS]", "two", "hours", "…", "back", "[SEP]"),
    answer: tuple[str, float] = ("positive", 0.75),
) -> Picture:
    """Draw a sentence on its way through a BERT classifier: a row for each token.

    Parameters
    ----------
    layers, heads, width : of the model; ``heads`` in each layer
    tokens : of the sentence, from top to bottom, the one that is read off first
    answer : a label and its probability
    """
    step, top = 0.36, 0.36 * len(tokens) + 0.72  # the layers' caption stands below the rows
    sheet = Sketch(7.6, top + 0.72)
    rows = [top - 0.2 - step * (row + 0.5) for row in range(len(tokens))]
    _layer(sheet, rows, top, layers)
    for row, (y, token) in enumerate(zip(rows, tokens, strict=True)):
        sheet.box(0.5, y, token, width=0.8, height=0.27, size=9.5)
        sheet.arrow((0.93, y), (1.12, y), role="frozen")
        _vector(sheet, 1.5, y, seed=row)
        _vector(sheet, 5.95, y, seed=row + 50, faint=row > 0)
        for left, right in ((1.86, 2.22), (5.24, 5.6)):
            sheet.axes.plot([left, right], [y, y], color=_LINE, lw=1.2)
    sheet.arrow((6.32, rows[0]), (6.56, rows[0]), role="output")
    sheet.box(7.04, rows[0], "read-out", width=0.94, height=0.3, size=9.5)
    sheet.arrow((7.04, rows[0] - 0.16), (7.04, rows[0] - 0.42), role="output")
    label, share = answer
    y = rows[0] - 0.58
    for part, colour in ((1.0, _PAPER), (share, ROLES["output"])):
        sheet.axes.add_patch(Rectangle((6.59, y - 0.07), 0.9 * part, 0.14, fc=colour, ec="none"))
    sheet.text(7.04, y - 0.22, f"{label} {share:.0%}".replace("%", " %"), size=9.5)
    for x, title, told, role in (
        (0.5, "1  tokens", "pieces of text", None),
        (1.5, "2  vectors", f"{width} numbers", None),
        (2.96, "3–5  attention", f"{heads} heads side by side", "weights"),
        (4.52, "6  new vector", "two sums", None),
        (7.04, "7  answer", f"read off {tokens[0]}", None),
    ):
        sheet.text(x, top + 0.5, title, size=10.5, bold=True, role=role)
        sheet.text(x, top + 0.29, told, size=8.8)
    return sheet.picture(
        f"A row for each token. Each token becomes a vector of {width} numbers. {layers} layers "
        f"follow: attention with {heads} heads, in which lines run from every token to every "
        f"other, dark those to {tokens[0]}, then a feed-forward network for each token alone; what "
        f"either makes is added to the token's vector. The answer, {label} {share:.0%}, is read "
        f"off {tokens[0]} alone."
    )


def _layer(sheet: Sketch, rows: Sequence[float], top: float, layers: int) -> None:
    """The middle: one layer on top of a stack of them, from the vectors to the vectors."""
    left, right, low = 2.08, 5.3, rows[-1] - 0.3
    for shift in (0.1, 0.05, 0.0):
        box = FancyBboxPatch(
            (left + shift, low - shift),
            right - left,
            top + 0.06 - low,
            boxstyle="round,pad=0.02",
            fc="#fbfaf8",
            ec="#c9c9c9",
            lw=1,
        )
        sheet.axes.add_patch(box)
    sheet.text(
        3.74,
        low - 0.26,
        f"one layer; {layers} of them, one after the other. LayerNorm after each +",
        size=9,
    )
    for at, y in enumerate(rows):
        sheet.axes.plot([2.22, 5.24], [y, y], color=_LINE, lw=1.2, zorder=1)
        for other, target in enumerate(rows):
            if other != at:
                read_off = other == 0  # what the answer is made of
                alpha, width, order = (0.85, 1.7, 2.5) if read_off else (0.13, 1.2, 2)
                how: dict[str, Any] = {"alpha": alpha, "lw": width, "zorder": order}
                sheet.axes.add_patch(curve((2.3, y), (3.5, target), **how))
        forward = Rectangle((4.03, y - 0.1), 0.86, 0.2, fc="#e4e4e4", ec="#7d7d7d", lw=1)
        sheet.axes.add_patch(forward).set_zorder(3)
        sheet.text(4.46, y, "feed-forward", size=8)
        for start, end in ((2.24, 3.56), (3.74, 5.07)):  # past attention, and past the network
            sheet.arrow((start, y), (end, y + 0.07), role="frozen", bend=-0.2, weight=0.9)
        for x in (3.6, 5.1):
            _plus(sheet, x, y)


def _plus(sheet: Sketch, x: float, y: float) -> None:
    """A sum: what was made is added to the vector that passes."""
    sheet.axes.add_patch(Circle((x, y), 0.085, fc="white", ec=_SOFT, lw=1.1, zorder=4))
    sheet.axes.plot([x - 0.045, x + 0.045], [y, y], color=_SOFT, lw=1.1, zorder=5)
    sheet.axes.plot([x, x], [y - 0.045, y + 0.045], color=_SOFT, lw=1.1, zorder=5)


def _vector(sheet: Sketch, x: float, y: float, *, seed: int, faint: bool = False) -> None:
    """A vector as at the flow desk: a stripe for each number, red above 0, blue below."""
    colours = strip_colours()
    numbers = np.random.default_rng(seed).normal(0.5, 0.22, 12)
    for place, number in enumerate(numbers):
        stripe = Rectangle((x - 0.36 + 0.06 * place, y - 0.11), 0.061, 0.22, ec="none")
        stripe.set(facecolor=colours(number), alpha=0.4 if faint else 1.0)
        sheet.axes.add_patch(stripe)


def three_cuts(
    answers: Sequence[float] | None = None,
    tokens: Sequence[str] = ("[CLS]", "two", "hours", "of", "my", "life", "…", "back", "[SEP]"),
    head: str = "L3H9",
    label: str = "positive",
) -> Picture:
    """Draw where three experiments cut the way from the words to the answer, and what they leave.

    Parameters
    ----------
    answers : probabilities of the label: untouched, with the head silent, with nothing for the
        first token from the heads before the last layer, and with nothing for it in the last
        layer; without them only the cuts are drawn
    tokens : of the sentence, from top to bottom, the one that is read off first
    head : the name of the head
    label : whose probability it is
    """
    whole, silent, early, late = (
        (f"{label} {answer:.1%}".replace("%", " %") for answer in answers)
        if answers is not None
        else [""] * 4
    )
    top = 0.31 * len(tokens) + 0.95  # the names of layers and of a cut stand below the rows
    sheet = Sketch(7.6, top + 0.75)
    rows = [top - 0.2 - 0.31 * (row + 0.5) for row in range(len(tokens))]
    low, high = rows[-1] - 0.22, rows[0] + 0.22
    for left, right, named in ((1.16, 4.0, "layers 0 to 4"), (4.3, 5.64, "layer 5")):
        corner, style = (left, low), "round,pad=0.02"
        box = FancyBboxPatch(corner, right - left, high - low, style, fc="#fbfaf8", ec="#c9c9c9")
        sheet.axes.add_patch(box)
        sheet.text(left, low - 0.14, named, size=9.5, align="left")
    for y, token in zip(rows, tokens, strict=True):
        sheet.box(0.56, y, token, width=0.84, height=0.25, size=9.5)
        sheet.axes.plot([1.02, 5.78], [y, y], color=_LINE, lw=1.2, zorder=1)
    middle = (rows[0] + rows[-1]) / 2
    # the head is crossed out, so that its name stands above
    for x, inside, alpha in ((2.42, "other\nheads", 0.2), (3.4, "", 0.75)):
        for row in rows:
            read = curve((x - 0.46, row), (x - 0.24, middle), alpha=alpha, **_CARRIED)
            sheet.axes.add_patch(read)
        for row in rows[1:]:  # what heads bring to the first token is drawn apart
            brought = curve((x + 0.24, middle), (x + 0.46, row), alpha=alpha, **_CARRIED)
            sheet.axes.add_patch(brought)
        sheet.box(x, middle, inside, width=0.5, height=0.4, size=8.5)
    sheet.text(3.4, middle + 0.34, head, size=9)
    for slope in (1, -1):  # the head is taken out
        cross = [3.12, 3.68], [middle - 0.26 * slope, middle + 0.26 * slope]
        sheet.axes.plot(*cross, color=_INK, lw=2.2, alpha=0.7, zorder=6)
    for start in rows[1:]:
        sheet.axes.add_patch(curve((1.26, start), (1.96, rows[0]), alpha=0.5, **_CARRIED))
        sheet.axes.add_patch(curve((4.4, start), (5.5, rows[0]), alpha=0.85, **_CARRIED))
    sheet.arrow((5.78, rows[0]), (6.0, rows[0]), role="output")
    sheet.box(6.72, rows[0], whole or "read-out", width=1.36, height=0.32, size=9.5)
    if whole:
        sheet.text(6.72, rows[0] - 0.3, "untouched", size=9.5)
    sheet.axes.plot([3.4, 3.4], [middle - 0.3, low - 0.24], color=_INK, lw=1, ls=":", zorder=5)
    sheet.text(
        3.4, low - 0.4, f"2  {head} silent: {silent}".removesuffix(": "), size=9.5, bold=True
    )
    nothing = f"nothing for {tokens[0]} in"
    for x, told in (
        (1.78, f"1  {nothing} layers 0 to 4:\n{early}".removesuffix(":\n")),
        (5.22, f"3  {nothing} layer 5:\n{late}".removesuffix(":\n")),
    ):
        # through what heads bring, and not through the way of the token's own vector
        for ends, look in (((0.05, 0.34), {"lw": 1, "ls": ":"}), ((-0.04, -0.4), {"lw": 2.4})):
            sheet.axes.plot([x, x], [rows[0] + end for end in ends], color=_INK, zorder=5, **look)
        sheet.text(x, rows[0] + 0.56, told, size=9.5, bold=True)
    if not whole:
        return sheet.picture(
            f"The way from {len(tokens)} tokens to the read-out, with three cuts: nothing for "
            f"{tokens[0]} from any head in the layers before the last; {head} silent; nothing for "
            f"{tokens[0]} in the last layer."
        )
    return sheet.picture(
        f"The way from {len(tokens)} tokens to the answer, {whole}, with three cuts. With "
        f"{head} silent it is {silent}. With nothing for {tokens[0]} from any head in the layers "
        f"before the last it is {early}; with nothing in the last layer, {late}."
    )


def head_by_hand(
    words: Sequence[str] = ("hours", "life", "back"),
    vector: Sequence[float] = (1.0, 2.0, 0.0),
    query_matrix: Numbers = ((0.0, 1.0), (1.0, 0.0), (3.0, 2.0)),
    keys: Numbers = ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0)),
    values: Numbers = ((2.0, 0.0), (0.0, 3.0), (1.0, 0.0)),
) -> Picture:
    """Draw what one head does for one token that looks, with small numbers.

    Parameters
    ----------
    words : T tokens that it looks at
    vector : E numbers, of the token that looks
    query_matrix : E rows of D numbers, W_Q; the others are not drawn
    keys, values : T rows of D numbers
    """
    query = (torch.tensor([vector]) @ torch.tensor(query_matrix))[0].tolist()
    mixture, weights = scaled_dot_product_attention(
        torch.tensor([query]), torch.tensor(keys), torch.tensor(values)
    )
    shares, mixed = weights[0].tolist(), mixture[0].tolist()
    scores = [
        sum(q * k for q, k in zip(query, key, strict=True)) / len(query) ** 0.5 for key in keys
    ]
    cell = (0.42, 0.38)
    half = cell[1] * max(len(words), len(vector)) / 2
    y = 0.68 + half
    sheet = Sketch(9.2, y + half + 0.5)
    lines = [y + ((len(words) - 1) / 2 - row) * cell[1] for row in range(len(words))]
    for line, share in zip(lines, shares, strict=True):
        for start, end, role, weight in (
            ((2.72, y), (3.04, line), "query", 1.0),
            ((4.62, line), (4.86, line), "frozen", 1.0),
            ((5.42, line), (5.68, line), "weights", 1.0),
            ((6.68, line), (6.98, line), "weights", 0.6 + 4 * share),
            ((7.86, line), (8.16, y), "value", 0.6 + 4 * share),
        ):
            path = ([start[0], end[0]], [start[1], end[1]])
            sheet.axes.plot(*path, color=ROLES[role], lw=weight, alpha=0.75)
    size = 10
    own = sheet.numbers(0.36, y, [[number] for number in vector], role="text", cell=cell, size=size)
    learned = sheet.numbers(1.16, y, query_matrix, role="query", cell=cell, size=size)
    for row in range(len(vector)):  # each number times its row
        sheet.text(0.66, y + ((len(vector) - 1) / 2 - row) * cell[1], "×", size=size)
    sheet.arrow((1.6, y), (1.84, y), role="query")
    asked = sheet.numbers(2.28, y, [query], role="query", cell=cell, size=size)
    found = sheet.numbers(4.16, y, keys, role="key", cell=cell, rows=words, size=size)
    column = [[score] for score in scores]
    scored = sheet.numbers(5.14, y, column, cell=(0.5, 0.38), digits=2, size=size)
    for line, share in zip(lines, shares, strict=True):
        for part, colour in ((1.0, _PAPER), (share, ROLES["weights"])):
            bar = Rectangle((5.74, line - 0.09), 0.5 * part, 0.18, fc=colour, ec="none")
            sheet.axes.add_patch(bar)
        sheet.text(6.3, line, f"{share:.2f}", size=size, align="left")
    offered = sheet.numbers(7.42, y, values, role="value", cell=cell, size=size)
    made = sheet.numbers(8.66, y, [mixed], role="value", cell=(0.48, 0.38), digits=2, size=size)
    for x, title, told, source, role in (
        (own.x, "vector", "of one token", "", "text"),
        (learned.x, "$W_Q$", "", "add each column", "query"),
        (asked.x, "query", "looks for", "vector × $W_Q$", "query"),
        (found.x, "keys", "found by", "vectors × $W_K$", "key"),
        (scored.x, "scores", f"q · k / √{len(query)}", "", "text"),
        (6.16, "weights", "softmax; sum 1", "", "weights"),
        (offered.x, "values", "pass on", "vectors × $W_V$", "value"),
        (made.x, "mixture", "weights × values", "", "value"),
    ):
        sheet.text(x, y + half + 0.3, title, size=10.5, bold=True, role=role)
        sheet.text(x, 0.42, told, size=9)
        sheet.text(x, 0.2, source, size=9, role=role)
    told = ", ".join(f"“{word}” {share:.2f}" for word, share in zip(words, shares, strict=True))
    return sheet.picture(
        "One head with invented numbers, for one token that looks: its vector times W_Q is the "
        f"query {', '.join(f'{number:g}' for number in query)}. It is compared with the "
        f"keys of {len(words)} tokens, the weights are {told}, and the head hands on the values "
        f"mixed by these weights: {', '.join(f'{number:.2f}' for number in mixed)}."
    )


def cuts_in_a_head(
    tokens: Sequence[str] = ("[CLS]", "two", "life", "back"), read: int = 2, written: int = 1
) -> Picture:
    """Draw where four experiments cut one head: what single tokens get of it, and what they give.

    Parameters
    ----------
    tokens : of the sentence, from top to bottom, the one that is read off first
    read : the token whose value is cut
    written : the token for which the head is silent
    """
    first, others = [0], list(range(1, len(tokens)))
    step, wide = 0.38, 1.9
    low = 0.2
    rows = [low + step * (len(tokens) - 0.5 - row) for row in range(len(tokens))]
    top = low + step * len(tokens)
    sheet = Sketch(4 * wide, top + 0.75)
    panels: tuple[tuple[str, str, list[int], list[int]], ...] = (
        ("A", f"silent for {tokens[0]}", [], first),
        ("B", "silent for all others", [], others),
        ("C", f"value of “{tokens[read]}” at 0", [read], []),
        ("D", f"silent for “{tokens[written]}”", [], [written]),
    )
    for number, (letter, title, sources, targets) in enumerate(panels):
        left = wide * number + 0.1
        sheet.text(left, top + 0.5, letter, size=11, bold=True, align="left")
        sheet.text(left + 0.2, top + 0.5, title, size=10, align="left")
        sheet.text(left + 0.52, top + 0.17, "value", size=9, role="value")
        sheet.text(left + 1.42, top + 0.17, "mixture", size=9, role="value")
        for row, token in enumerate(tokens):
            sheet.text(left + 0.4, rows[row], token, size=9, align="right")
            for other in range(len(tokens)):
                _thread(sheet, left, rows[row], rows[other], cut=row in sources or other in targets)
        for at, lost in ((left + 0.52, sources), (left + 1.42, targets)):
            for row, y in enumerate(rows):
                _spot(sheet, at, y, cut=row in lost)
    return sheet.picture(
        "Four experiments with one head, each a column of values at the left and one of mixtures "
        "at the right, with a line from every value to every mixture. A: the mixture of "
        f"{tokens[0]} is cut. B: all other mixtures. C: the value of “{tokens[read]}”, and so what "
        f"all tokens get of it. D: the mixture of “{tokens[written]}”."
    )


def _thread(sheet: Sketch, left: float, start: float, end: float, *, cut: bool) -> None:
    """From a value to a mixture; pale and dashed where nothing passes."""
    colour, dashes = ("#c4c4c4", ":") if cut else (ROLES["weights"], "-")
    ends = ([left + 0.6, left + 1.34], [start, end])
    sheet.axes.plot(*ends, color=colour, ls=dashes, lw=0.9, zorder=1)


def _spot(sheet: Sketch, x: float, y: float, *, cut: bool) -> None:
    """A value or a mixture; crossed out where it is set to 0."""
    colour = "white" if cut else ROLES["value"]
    edge = _SOFT if cut else ROLES["value"]
    sheet.axes.add_patch(Circle((x, y), 0.085, fc=colour, ec=edge, lw=1.2, zorder=3))
    if cut:
        for rise in (-0.13, 0.13):
            line = ([x - 0.13, x + 0.13], [y - rise, y + rise])
            sheet.axes.plot(*line, color=_INK, lw=2.2, zorder=4)
