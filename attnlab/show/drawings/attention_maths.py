"""Drawings of the lesson on the mathematics of attention."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.patches import Circle, FancyBboxPatch, Wedge
from scipy.special import softmax

from attnlab.show.drawings.sketch import ROLES, Sketch
from attnlab.show.plots.picture import Picture
from attnlab.show.wording import with_minus

Table = Sequence[Sequence[float]] | np.ndarray
LOW = 0.34  # height of a row of numbers, inches
PALE_WEIGHTS = "#e9e2f0"  # the weights' colour, thinned


def lesson_map() -> Picture:
    """Draw the parts of attention in their order, with the sections that explain each."""
    parts = (
        ("positions", "text", "which place?", "9"),
        ("score", "output", r"$q \cdot k\,/\sqrt{d_k}$", "1, 3, 6"),
        ("softmax", "weights", "makes weights", "2, 4, 5"),
        ("mean", "value", "of the values", "1"),
        ("heads", "output", "add up", "8"),
    )
    sheet = Sketch(7.6, 2.0)
    boxes = []
    for at, (name, role, does, sections) in enumerate(parts):
        x = 0.72 + 1.54 * at
        boxes.append(sheet.box(x, 1.3, f"{name}\n{does}", role=role, width=1.28, height=0.62))
        where = "section" if sections.isdigit() else "sections"
        sheet.text(x, 1.76, f"{where} {sections}", size=9)
    for first, second in pairwise(boxes):
        sheet.arrow(first, second)
    ends = boxes[-1].side("bottom"), boxes[1].side("bottom")
    sheet.arrow(*ends, role="trained", bend=-0.13)
    sheet.text(4.57, 0.55, "the gradient comes back: section 7", role="trained", size=9.5)
    return sheet.picture(
        "A map of the lesson, from left to right: positions (section 9), the score (1, 3, 6), the "
        "softmax, which makes weights (2, 4, 5), the mean of the values (1), and heads, which add "
        "up (8). An arrow leads back from the heads to the score: the gradient (7)."
    )


def one_query(
    words: Sequence[str],
    vectors: Table,
    query_weight: Table,
    key_weight: Table,
    value_weight: Table,
    asking: int,
) -> Picture:
    """Draw attention for one word of a sentence with all its numbers, a row for each word.

    Parameters
    ----------
    words : of the sentence
    vectors : (T, d), one for each word
    query_weight, key_weight : (d, d_k)
    value_weight : (d, d_v)
    asking : place of the word whose query is drawn
    """
    x, w_q, w_k, w_v = (
        np.asarray(table, dtype=float)
        for table in (vectors, query_weight, key_weight, value_weight)
    )
    query, keys, values = x[asking] @ w_q, x @ w_k, x @ w_v
    scores = keys @ query / np.sqrt(len(query))
    weights = softmax(scores)
    output = weights @ values
    sheet = Sketch(7.6, 1.75 + LOW * len(words))
    middle, top = 0.95 + LOW * len(words) / 2, 1.2 + LOW * len(words)
    cell = (0.4, LOW)
    columns = {
        "vector $x$": (1.5, x, "text", words),
        "key $x\\,W^K$": (3.25, keys, "key", ()),
        f"score $q \\cdot k\\,/\\sqrt{{{len(query)}}}$": (4.6, scores[:, None], "output", ()),
        "weight": (5.6, weights[:, None], "weights", ()),
        "value $x\\,W^V$": (6.85, values, "value", ()),
    }
    boxes = []
    for name, (place, numbers, role, rows) in columns.items():
        wide = cell if numbers.shape[1] > 1 else (0.6, LOW)
        digits = 0 if np.allclose(numbers, numbers.round()) else 2
        sheet.text(place, top, name, role=role, size=9.5)
        box = sheet.numbers(place, middle, numbers, role=role, cell=wide, digits=digits, rows=rows)
        boxes.append(box)
    vector, key, score, weight, value = boxes
    for start, end, label in ((vector, key, "$W^K$"), (key, score, ""), (score, weight, "")):
        sheet.arrow(start, end, label)
    asks = sheet.numbers(3.25, 0.32, query[None], role="query", cell=cell, digits=0)
    sheet.text(3.25, 0.63, "query $q = x\\,W^Q$", role="query", size=9.5)
    over = top + 0.16  # from the vectors over the other columns to the values
    sheet.arrow((1.5, over), (6.85, over), role="value", bend=-0.05)
    sheet.text(4.2, over + 0.25, "$W^V$", role="value", size=9)
    row = (1.5, middle - LOW * len(words) / 2 + LOW * (len(words) - 1 - asking))
    sheet.arrow(row, asks.side("left"), role="query", bend=0.15)
    sheet.text(1.62, 0.36, f"{words[asking]} asks: $W^Q$", role="query", size=9)
    sheet.arrow(asks.side("right"), score.side("bottom"), role="query", bend=0.2)
    mixed = sheet.numbers(6.85, 0.32, output[None], role="value", cell=(0.5, LOW), digits=2)
    sheet.text(5.5, 0.32, "output, the sum\nof weight · value", size=9)
    sheet.arrow(value, mixed, role="value")
    sheet.arrow(weight.side("bottom"), (6.3, 0.46), role="weights", bend=0.15)
    said = ", ".join(f"{word} {w:.2f}" for word, w in zip(words, weights, strict=True))
    return sheet.picture(
        f"Attention for the word {words[asking]}, step by step: vectors become keys and values, "
        f"its own vector the query; scores become the weights {said}; the output is "
        f"{_vector(output)}."
    )


def backward(query: Table, keys: Table, values: Table, gradient: Table) -> Picture:
    """Draw attention with its numbers, and below each matrix the gradient that goes back to it.

    Parameters
    ----------
    query : (T_q, d_k)
    keys : (T, d_k)
    values : (T, d_v)
    gradient : (T_q, d_v), of the loss for the contexts
    """
    q, k, v, g = (np.asarray(table, dtype=float) for table in (query, keys, values, gradient))
    root = k.shape[1] ** 0.5
    s = q @ k.T / root
    a = softmax(s, axis=-1)
    da = g @ v.T
    ds = a * (da - (a * da).sum(axis=-1, keepdims=True))
    sheet = Sketch(7.6, 3.2)
    nodes: dict[str, tuple[float, float, Any, Any, str, str]] = {
        "Q": (0.9, 2.55, q, ds @ k / root, "query", r"$\nabla S\,K\,/\,\sqrt{d_k}$"),
        "K": (0.9, 1.15, k, ds.T @ q / root, "key", r"$\nabla S^\top Q\,/\,\sqrt{d_k}$"),
        "S": (2.8, 2.1, s, ds, "output", r"$A\odot(\nabla A-\overline{\nabla A})$"),
        "A": (4.7, 2.55, a, da, "weights", r"$G\,V^\top$"),
        "V": (4.7, 1.15, v, a.T @ g, "value", r"$A^\top G$"),
        "C": (6.65, 2.1, a @ v, g, "value", "comes in as $G$"),
    }
    boxes = {}
    for name, (x, y, forward, back, role, formula) in nodes.items():
        high = 0.28 * len(forward)
        cell, low = (0.48, 0.28), y - high - 0.05
        digits = [0 if np.allclose(table, table.round()) else 2 for table in (forward, back)]
        boxes[name] = sheet.numbers(x, y, forward, role=role, cell=cell, digits=digits[0])
        below = sheet.numbers(x, low, back, role="trained", cell=cell, digits=digits[1])
        left = x - below.width / 2 - 0.06
        sheet.text(left, y, f"${name}$", role=role, size=10, align="right")
        sheet.text(left, low, f"$\\nabla {name}$", role="trained", size=10, align="right")
        sheet.text(x, low - high / 2 - 0.15, formula, role="trained", size=10)
    for start, end in (("Q", "S"), ("K", "S"), ("S", "A"), ("A", "C"), ("V", "C")):
        box = boxes[end]
        to = (box.x - box.width / 2 - 0.35, box.y)
        sheet.arrow(boxes[start].side("right"), to, role="frozen", weight=1.0)
    sheet.text(2.8, 2.41, r"scores $Q K^\top / \sqrt{d_k}$", size=9)
    sheet.text(4.7, 2.83, "weights", size=9)
    sheet.text(6.65, 2.38, "contexts $A V$", size=9)
    sheet.text(3.62, 2.66, "softmax", role="frozen", size=9)
    return sheet.picture(
        "Q and K make the scores S, S the weights A, A and V the contexts C. Below each stands its "
        f"gradient: {_vector(ds[0])} for the first row of S, {_vector((ds @ k / root)[0])} for "
        "that of Q."
    )


def two_circuits(width: int, head_width: int) -> Picture:
    """Draw the two jobs of a head: where it looks (QK) and what it carries over (OV).

    Parameters
    ----------
    width, head_width : d of a token and d_k of the head
    """
    sheet = Sketch(7.6, 3.0)
    narrow, whole = f"{width} × {head_width}", f"{width} × {width}, rank at most {head_width}"
    for corner, size, role in (
        ((1.48, 1.22), (1.94, 1.7), "weights"),
        ((1.48, 0.05), (4.0, 0.95), "value"),
    ):
        looks: dict[str, Any] = {"fc": ROLES[role], "ec": ROLES[role], "alpha": 0.12, "zorder": 0.5}
        frame = FancyBboxPatch(corner, *size, boxstyle="round,pad=0", lw=1.2, **looks)
        sheet.axes.add_patch(frame)
    sheet.text(2.45, 2.73, "QK: where to look", role="weights", size=9.5, bold=True)
    sheet.text(2.45, 2.53, whole, role="weights", size=8.5)
    carried: dict[str, Any] = {"role": "value", "size": 9.5, "align": "left", "bold": True}
    sheet.text(1.58, 0.83, "OV: what to carry over", **carried)
    sheet.text(5.38, 0.83, whole, role="value", size=8.5, align="right")
    asks = sheet.box(0.75, 2.15, "token $i$\nasks", width=1.1, height=0.6)
    read = sheet.box(0.75, 0.95, "token $j$\nis read", width=1.1, height=0.6)
    query = sheet.box(2.45, 2.15, f"$W^Q_h$  {narrow}", role="query", width=1.35)
    key = sheet.box(2.45, 1.55, f"$W^K_h$  {narrow}", role="key", width=1.35)
    value = sheet.box(2.45, 0.38, f"$W^V_h$  {narrow}", role="value", width=1.35)
    out = sheet.box(4.3, 0.38, f"$W^O_h$  {head_width} × {width}", role="value", width=1.35)
    weight = sheet.box(4.3, 1.85, "weight $A_{ij}$", role="weights", width=1.35)
    added = sheet.box(6.5, 1.1, "part of the\noutput for $i$", width=1.25, height=0.6)
    for start, end, role in (
        (asks, query, "query"),
        (read, key, "key"),
        (read, value, "value"),
        (query, weight, "query"),
        (key, weight, "key"),
        (value, out, "value"),
        (weight, added, "weights"),
        (out, added, "value"),
    ):
        sheet.arrow(start.side("right"), end.side("left"), role=role)
    return sheet.picture(
        f"A head's two circuits, in frames. QK, the query and key matrices, {narrow}, decides on "
        f"the weight; OV, the value and output matrices, what of token j becomes part of the "
        f"output for token i. Each is {whole}."
    )


def clock_hands(places: int, speeds: Sequence[float], step: int = 2) -> Picture:
    """Draw positions as clock hands, with the turn that a shift by some positions means.

    Parameters
    ----------
    places : how many positions, from 0
    speeds : radians a position, one for each row of clocks
    step : the shift whose turn is shaded
    """
    sheet = Sketch(7.6, 0.75 + 0.95 * len(speeds))
    across = 6.2 / places
    radius = min(0.34, 0.42 * across)
    for row, speed in enumerate(speeds):
        y = 0.5 + 0.95 * (len(speeds) - 1 - row) + 0.05
        sheet.text(0.62, y, f"{speed:g} rad\na position", size=9)
        for place in range(places):
            x = 1.25 + across * (place + 0.5)
            angle = speed * place
            sheet.axes.add_patch(Circle((x, y), radius, fc="white", ec=ROLES["frozen"], lw=1))
            if place >= step:
                before = np.degrees(angle - speed * step)
                shade = Wedge((x, y), radius, before, before + np.degrees(speed * step))
                shade.set(fc=ROLES["weights"], alpha=0.18, ec="none")
                sheet.axes.add_patch(shade)
            tip = (x + radius * np.cos(angle), y + radius * np.sin(angle))
            sheet.arrow((x, y), tip, role="query", weight=1.6)
    for place in range(places):
        sheet.text(
            1.25 + across * (place + 0.5), 0.35 + 0.95 * len(speeds), f"position {place}", size=8.5
        )
    turned = " and ".join(f"{speed * step:g}" for speed in speeds)
    return sheet.picture(
        f"Clock hands for {places} positions, {len(speeds)} speeds. A shift by {step} positions "
        f"turns them by {turned} radians, wherever it begins."
    )


def path_lengths(tokens: int = 7, reach: int = 2) -> Picture:
    """Draw how many steps lead from the first to the last token in three kinds of network.

    Parameters
    ----------
    tokens : in the text
    reach : tokens to either side that one layer of the convolution sees
    """
    networks: dict[str, Callable[[int], range]] = {
        "recurrent network": lambda j: range(j, min(j + 2, tokens)),
        f"convolution, width {2 * reach + 1}": lambda j: range(j, min(j + reach + 1, tokens)),
        "attention": lambda j: range(j, tokens),
    }
    sheet = Sketch(7.6, 1.5)
    steps = {}
    for column, (name, seen_by) in enumerate(networks.items()):
        left, wide = 0.15 + 2.5 * column, 2.3
        xs = np.linspace(left + 0.13, left + wide - 0.13, tokens)
        radius = min(0.12, 0.36 * (xs[1] - xs[0]))
        path = _shortest(seen_by, tokens - 1)
        count = len(path) - 1
        for place, x in enumerate(xs):
            colour = PALE_WEIGHTS if place in path else "white"
            token = Circle((x, 0.5), radius, fc=colour, ec=ROLES["text"], lw=1.2)
            sheet.axes.add_patch(token)
        for start, end in pairwise(path):
            sheet.arrow(
                (xs[start], 0.5 + radius),
                (xs[end], 0.5 + radius),
                role="weights",
                bend=-min(0.6, 0.55 / (xs[end] - xs[start])),
                weight=1.6,
            )
        sheet.text(left + wide / 2, 1.12, name, bold=True, size=10)
        unit = "step" if name.startswith("recurrent") else "layer"
        told = f"{count} {unit}{'s' * (count > 1)}{' in time' * (unit == 'step')}"
        steps[name] = told
        sheet.text(left + wide / 2, 0.2, told, role="weights")
    said = ", ".join(f"{name}: {told}" for name, told in steps.items())
    return sheet.picture(
        f"Steps from the first of {tokens} tokens to the last. {said[0].upper()}{said[1:]}."
    )


def two_tiles(scores: Sequence[float], values: Sequence[float], tile: int) -> Picture:
    """Draw how attention over two tiles of keys is put together, with its numbers.

    Parameters
    ----------
    scores, values : of the keys, one number each
    tile : how many of them are in the first tile
    """
    x, v = np.asarray(scores, dtype=float), np.asarray(values, dtype=float)
    cut = {"first tile": slice(0, tile), "second tile": slice(tile, len(x))}
    m = x.max()
    sheet = Sketch(7.6, 2.55)
    total = mixture = 0.0
    for row, (name, part) in enumerate(cut.items()):
        y = 1.75 - 1.1 * row
        own = x[part].max()
        powers = np.exp(x[part] - own)
        s, o, factor = powers.sum(), powers @ v[part], np.exp(own - m)
        total, mixture = total + factor * s, mixture + factor * o
        sheet.text(0.95, y + 0.48, f"scores, {name}", role="key", size=9)
        seen = sheet.numbers(0.95, y + 0.17, x[None, part], role="key", digits=0)
        sheet.numbers(0.95, y - 0.15, v[None, part], role="value", digits=0)
        sheet.text(0.18, y - 0.15, "values", role="value", size=8.5)
        kept = sheet.numbers(
            3.05, y, [[f"m = {own:g}", f"$\\ell$ = {s:.2f}", f"o = {o:.2f}"]], cell=(0.78, LOW)
        )
        sheet.arrow((seen.side("right")[0], y), kept)
        sheet.arrow(kept.side("right"), (5.2, 1.2), bend=0.12 if row else -0.12, role="weights")
        label = f"times $e^{{{own:g} - {m:g}}}$ = {factor:.2f}"
        sheet.text(5.0, y + (-0.22 if row else 0.22), label, role="weights", size=9)
    sheet.numbers(
        6.4,
        1.2,
        [[f"m = {m:g}", f"$\\ell$ = {total:.2f}", f"o = {mixture:.2f}"]],
        role="weights",
        cell=(0.75, LOW),
    )
    whole = float(softmax(x) @ v)
    sheet.text(6.4, 0.8, f"o / $\\ell$ = {mixture / total:.3f}", size=10, bold=True)
    sheet.text(6.4, 0.52, f"all at once: {whole:.3f}", size=9.5)
    sheet.text(6.4, 1.52, "both tiles", role="weights", size=9)
    return sheet.picture(
        f"Each tile keeps its largest score m, the sum ℓ and the mixture o. Brought to the larger "
        f"maximum they add up to ℓ = {total:.2f} and o = {mixture:.2f}; o / ℓ = "
        f"{mixture / total:.3f}, as attention over all keys."
    )


def _vector(numbers: Any) -> str:
    return "(" + ", ".join(with_minus(f"{number:.2f}") for number in numbers) + ")"


def _shortest(seen_by: Callable[[int], range], last: int) -> list[int]:
    """The fewest places that lead from the first token to the last, by breadth-first search."""
    paths = [[0]]
    while paths[0][-1] != last:
        path = paths.pop(0)
        paths += [[*path, place] for place in reversed(seen_by(path[-1])) if place > path[-1]]
    return paths[0]
