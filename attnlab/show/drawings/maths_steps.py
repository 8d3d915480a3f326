"""Drawings of single steps in the lesson on the mathematics of attention."""

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from scipy.special import entr, softmax

from attnlab.show.drawings.sketch import ROLES, Sketch
from attnlab.show.plots.picture import Picture, show, style

Table = Sequence[Sequence[float]] | np.ndarray
LOW = 0.28  # height of a row of numbers, inches


def all_at_once(
    words: Sequence[str],
    vectors: Table,
    query_weight: Table,
    key_weight: Table,
    value_weight: Table,
) -> Picture:
    """Draw self-attention as products of matrices, with their numbers and shapes.

    Parameters
    ----------
    words : T words of a sentence
    vectors : (T, d)
    query_weight, key_weight : (d, d_k)
    value_weight : (d, d_v)
    """
    x, w_q, w_k, w_v = (
        np.asarray(table, dtype=float)
        for table in (vectors, query_weight, key_weight, value_weight)
    )
    query, key, value = x @ w_q, x @ w_k, x @ w_v
    scores = query @ key.T / np.sqrt(key.shape[1])
    weights = softmax(scores, axis=-1)
    context = weights @ value
    sheet = Sketch(7.6, 3.5)
    left = 0.62
    for role, letter, matrix, product in (
        ("query", "Q", w_q, query),
        ("key", "K", w_k, key),
        ("value", "V", w_v, value),
    ):
        rows = words if role == "query" else ()
        row = [("$X$", x, "text", 0, rows), ("·",), (f"$W^{letter}$", matrix, role, 0, ())]
        end = _product(sheet, left, 2.7, [*row, ("=",), (f"${letter}$", product, role, 0, ())])
        left = end + 0.2
    scored = f"$Q K^\\top / \\sqrt{{{key.shape[1]}}}$"
    first = [("$Q$", query, "query", 0, words), ("·",), ("$K^\\top$", key.T, "key", 0, ())]
    end = _product(sheet, 0.62, 0.95, [*first, ("→",), (scored, scores, "output", 2, ())])
    arrow = (end + 0.05, 0.95), (end + 0.8, 0.95)
    sheet.arrow(*arrow, role="weights")
    sheet.text(end + 0.42, 1.1, "softmax", role="weights", size=9)
    sheet.text(end + 0.42, 0.78, "row by row", role="weights", size=8.5)
    last = [("$A$, weights", weights, "weights", 2, ()), ("·",), ("$V$", value, "value", 0, ())]
    _product(sheet, end + 0.95, 0.95, [*last, ("=",), ("output", context, "value", 2, ())])
    shown = "; ".join(
        f"{word} ({', '.join(f'{number:.2f}' for number in line)})"
        for word, line in zip(words, context, strict=True)
    )
    return sheet.picture(
        f"Attention for all {len(words)} words as products of matrices: X times W gives queries, "
        f"keys and values; queries times keys the scores; softmax row by row the weights; weights "
        f"times values the output. Its rows: {shown}."
    )


def bell_look_up(values: Mapping[float, float], query: float, temperature: float) -> Picture:
    """Draw a look-up in which near keys count more: a bell around the query gives the weights.

    Parameters
    ----------
    values : hour of the day, and how many visitors there were
    query : hour that is asked for
    temperature : how widely to look
    """
    keys, found = np.array(list(values), dtype=float), np.array(list(values.values()))
    weights = softmax(-((query - keys) ** 2) / 2 / temperature)
    answer = weights @ found
    sheet = Sketch(7.6, 2.55)
    first, last = keys.min() - 1.5, keys.max() + 1.5

    def across(place: Any) -> Any:
        return 1.0 + 5.2 * (place - first) / (last - first)

    base, high = 0.95, 1.05
    places = np.linspace(first, last, 300)
    bell = np.exp(-((query - places) ** 2) / 2 / temperature)
    sheet.axes.plot(across(places), base + high * bell, color=ROLES["query"], lw=1.6)
    sheet.axes.plot(across(np.array([first, last])), [base, base], color=ROLES["frozen"], lw=1)
    for key, value, weight in zip(keys, found, weights, strict=True):
        x, top = across(key), base + high * np.exp(-((query - key) ** 2) / 2 / temperature)
        sheet.axes.plot([x, x], [base, top], color=ROLES["weights"], lw=3)
        sheet.axes.plot([x], [top], "o", color=ROLES["weights"], ms=5)
        side = -0.24 if key <= query else 0.24
        sheet.text(x + side, top + 0.1, f"{weight:.2f}", role="weights", size=9.5)
        sheet.numbers(x, 0.7, [[key]], role="key", digits=0, cell=(0.42, LOW))
        sheet.numbers(x, 0.38, [[value]], role="value", digits=0, cell=(0.42, LOW))
    sheet.text(across(query), 2.36, f"query: {query:g} o'clock", role="query", size=9.5)
    sheet.arrow((across(query), 2.24), (across(query), base + high + 0.02), role="query")
    sheet.text(0.85, 1.5, "weights", role="weights", size=9.5, align="right")
    sheet.text(0.85, 0.7, "keys, hours", role="key", size=9.5, align="right")
    sheet.text(0.85, 0.38, "visitors", role="value", size=9.5, align="right")
    box = sheet.numbers(7.0, 0.38, [[answer]], role="value", cell=(0.6, LOW))
    sheet.arrow((across(last) + 0.05, 0.38), box, role="value")
    sheet.text(7.0, 0.75, "answer, the mean\nwith these weights", size=8.5)
    said = ", ".join(f"{key:g}: {weight:.2f}" for key, weight in zip(keys, weights, strict=True))
    return sheet.picture(
        f"A bell around the query {query:g} gives each key its weight ({said}). The mean of the "
        f"values with these weights is {answer:.1f}."
    )


def nearest_key(
    query: Sequence[float], degrees: Sequence[float], lengths: Sequence[float] = ()
) -> Picture:
    """Draw keys round a query, and their weights by distance and by dot product.

    Parameters
    ----------
    query : (2,)
    degrees : direction of each key
    lengths : of the keys; 1 unless they are given
    """
    q, angles = np.asarray(query, dtype=float), np.deg2rad(degrees)
    sizes = np.array(lengths or [1.0] * len(angles))
    keys = sizes[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    near, product = -((q - keys) ** 2).sum(-1) / 2, keys @ q
    middle, unit = np.array([1.35, 1.15]), 0.92
    sheet = Sketch(7.6, max(2.6, middle[1] + unit * keys[:, 1].max() + 0.3))
    turn = np.linspace(0, 2 * np.pi, 200)
    circle = middle[:, None] + unit * np.stack([np.cos(turn), np.sin(turn)])
    sheet.axes.plot(*circle, color=ROLES["frozen"], lw=1)
    for name, key, size in zip("abcdefgh", keys, sizes, strict=False):
        tip = middle + unit * key
        sheet.axes.plot(*zip(tip, middle + unit * q, strict=True), ":", color=ROLES["text"], lw=1.2)
        sheet.arrow(tuple(middle), tuple(tip), role="key")
        x, y = middle + (1 + 0.14 / size) * unit * key
        sheet.text(x, y, name, role="key", size=10.5)
    sheet.arrow(tuple(middle), tuple(middle + unit * q), role="query", weight=2)
    x, y = middle + unit * q
    sheet.text(x + 0.05, y + 0.13, "q", role="query", size=10.5)
    columns = {
        "score\n$-\\frac{1}{2}|q-k|^2$": (3.6, near, "output"),
        "its softmax": (4.55, softmax(near), "weights"),
        "score\n$q \\cdot k$": (5.75, product, "output"),
        " its softmax": (6.7, softmax(product), "weights"),
    }
    for place, (title, (x, numbers, role)) in enumerate(columns.items()):
        rows = [f"key {name}" for name, _ in zip("abcdefgh", keys, strict=False)]
        sheet.numbers(
            x,
            0.95,
            numbers[:, None],
            role=role,
            digits=2,
            cell=(0.75, 0.32),
            rows=() if place else rows,
        )
        sheet.text(x, 1.25 + 0.16 * len(keys), title.strip(), size=9.5, role=role)
    by_product, by_distance = (
        ", ".join(f"{weight:.2f}" for weight in softmax(scores)) for scores in (product, near)
    )
    if np.ptp(sizes) == 0:
        told = (
            f"of one length. By distance and by dot product the weights are the same: {by_product}"
        )
    else:
        told = (
            f"of the lengths {', '.join(f'{size:g}' for size in sizes)}. By distance the weights "
            f"are {by_distance}; by dot product {by_product}"
        )
    return sheet.picture(f"{len(keys)} keys round a query, {told}.")


def best_spread(scores: tuple[float, float] = (1.0, 0.0), temperature: float = 1.0) -> Picture:
    """Draw mean score, entropy and their sum over all ways to share the weight of two keys.

    Parameters
    ----------
    scores : of the two keys
    temperature : what the entropy is worth
    """
    first = np.linspace(0, 1, 400)

    def parts(share: Any) -> tuple[Any, Any]:
        mean = share * scores[0] + (1 - share) * scores[1]
        return mean, temperature * (entr(share) + entr(1 - share))

    mean, spread = parts(first)
    best = float(softmax(np.array(scores) / temperature)[0])
    with style():
        figure, axes = plt.subplots(figsize=(5.8, 3.2))
        for curve, dashes, role, width, name, at, move in (
            (mean, "--", "output", 1.6, "mean score", 0.2, (0, -12)),
            (spread, ":", "frozen", 2.2, "τ · entropy", 0.86, (6, 6)),
            (mean + spread, "-", "weights", 2.4, "their sum", 0.2, (-10, 4)),
        ):
            axes.plot(first, curve, dashes, color=ROLES[role], lw=width, label=name)
            axes.annotate(
                name,
                (at, float(np.interp(at, first, curve))),
                move,
                textcoords="offset points",
                ha="right" if move[0] < 0 else "left",
                color=ROLES["text" if role == "frozen" else role],
                fontsize=10,
            )
        named = {0.5: "half each", best: "softmax", 1.0: "all on the first"}
        said = []
        for share, name in named.items():
            height = float(sum(parts(share)))
            said.append(f"{name} {height:.2f}")
            axes.plot([share], [height], "o", color="black", ms=6, zorder=5)
            side = {0.5: ("right", -6), 1.0: ("left", 8)}.get(share, ("center", 0))
            axes.annotate(
                said[-1],
                (share, height),
                (side[1], 8 if share < 1 else -4),
                textcoords="offset points",
                ha=side[0],
                fontsize=10,
            )
        axes.set(xlabel="weight of the first key", ylabel="what it is worth")
        axes.set(ylim=(-0.02, 1.55), xlim=(-0.02, 1.02), xticks=np.arange(0, 1.1, 0.25))
        sns.despine(figure)
    return show(
        figure,
        f"Over the weight of the first key the mean score rises along a line, the entropy is a "
        f"hump, and their sum is highest at the softmax: {', '.join(said)}.",
    )


def spreads(
    rows: Sequence[Sequence[float]], keys: Sequence[str] = (), titles: Sequence[str] = ()
) -> Picture:
    """Draw rows of weights as bars, each with its entropy and its effective number of keys.

    Parameters
    ----------
    rows : of weights, each with the sum 1
    keys : their names, if not their numbers
    titles : of the rows, in place of entropy and effective number
    """
    with style():
        figure, row = plt.subplots(
            1, len(rows), figsize=(7.6, 2.1), sharey=True, squeeze=False, layout="constrained"
        )
        said = []
        for place, (axes, weights) in enumerate(zip(row[0], rows, strict=True)):
            entropy = float(entr(np.asarray(weights, dtype=float)).sum())
            axes.bar(range(len(weights)), weights, color=ROLES["weights"], width=0.7)
            for key, weight in enumerate(weights):
                axes.text(
                    key,
                    weight + 0.03,
                    f"{weight:.2f}" if titles else f"{weight:g}",
                    ha="center",
                    fontsize=9,
                )
            said.append(f"H = {entropy:.2f}, {np.exp(entropy):.1f} keys")
            title = f"$H$ = {entropy:.2f}\n{np.exp(entropy):.1f} effective keys"
            if titles:
                title = titles[place]
                shares = zip(keys or range(len(weights)), weights, strict=True)
                said[-1] = f"{title} " + ", ".join(f"{key} {share:.2f}" for key, share in shares)
            axes.set_title(title, fontsize=10, color=ROLES["weights"])
            axes.set(xlabel="key", ylim=(0, 1.15), yticks=(0, 0.5, 1))
            axes.set_xticks(range(len(weights)), keys or range(len(weights)))
            axes.tick_params(labelsize=8.5 if keys else 9)
        row[0][0].set_ylabel("weight")
        sns.despine(figure)
    return show(figure, f"{len(rows)} rows of weights as bars: {'; '.join(said)}.")


def growing_scores(widths: Sequence[int] = (4, 16, 64)) -> Picture:
    """Draw how dot products of vectors of random signs spread, the wider the vectors, the wider.

    Parameters
    ----------
    widths : how many signs, +1 or -1, a vector has
    """
    limit = 2.9 * max(widths) ** 0.5
    with style():
        figure, row = plt.subplots(
            1, len(widths), figsize=(7.6, 2.3), sharex=True, sharey=True, squeeze=False
        )
        figure.set_layout_engine("constrained")
        for axes, width in zip(row[0], widths, strict=True):
            sums = np.arange(-width, width + 1, 2)
            chance = np.array([comb(width, ones) for ones in range(width + 1)]) / 2.0**width
            seen = np.abs(sums) <= limit
            axes.axvspan(-(width**0.5), width**0.5, color=ROLES["weights"], alpha=0.16, lw=0)
            axes.bar(sums[seen], chance[seen], width=1.5, color=ROLES["query"])
            axes.set_title(f"$d_k$ = {width}, typically ± {width**0.5:g}", fontsize=10)
            axes.set(xlabel="dot product", xlim=(-limit, limit))
            axes.tick_params(labelsize=9)
        row[0][0].set_ylabel("probability")
        sns.despine(figure)
    said = ", ".join(f"{width**0.5:g} at width {width}" for width in widths)
    return show(
        figure,
        f"Probability of each dot product of two vectors of random signs. The standard deviation, "
        f"shaded, grows: {said}.",
    )


def heads_add_up(
    contexts: Table,
    output_weight: Table,
    columns: Sequence[str] = (),
    name: str = "$W^O$",
    first: int = 1,
) -> Picture:
    """Draw that heads side by side, times W^O, are a sum over heads.

    Parameters
    ----------
    contexts : (n, d_k), what each head passes on
    output_weight : (n * d_k, d)
    columns : what each of the d columns says
    name : of the matrix
    first : the number of the first head
    """
    heads, matrix = np.asarray(contexts, dtype=float), np.asarray(output_weight, dtype=float)
    n, narrow = heads.shape
    roles = [("value", "weights")[head % 2] for head in range(n)]
    blocks = matrix.reshape(n, narrow, -1)
    apart = LOW * narrow + 0.3  # of two heads
    sheet = Sketch(7.6, 0.75 + apart * n)
    cell = (0.36 if len(columns) else 0.34, LOW)
    high, wide = LOW * len(matrix), cell[0] * matrix.shape[1]
    x, y = 0.85, 0.5 + apart * n / 2
    side = x - cell[0] * n * narrow / 2
    for head, (own, role) in enumerate(zip(heads, roles, strict=True)):
        place = side + cell[0] * narrow * (head + 0.5)
        sheet.numbers(place, y, own[None], role=role, cell=cell, digits=0)
        sheet.text(place, y + 0.27, f"head {head + first}", role=role, size=9)
    sheet.text(1.65, y, "·", size=14)
    for head, (block, role) in enumerate(zip(blocks, roles, strict=True)):
        place = y + high / 2 - LOW * narrow * (head + 0.5)
        sheet.numbers(2.45, place, block, role=role, cell=cell, digits=0)
    sheet.text(2.45, y + high / 2 + (0.38 if len(columns) else 0.15), name, size=10)
    for above, column in enumerate(columns):
        place = cell[0] * (above + 0.5) - wide / 2
        sheet.text(2.45 + place, y + high / 2 + 0.13, column, size=9)
        sheet.text(6.65 + place, y + apart * (n - 1) / 2 + LOW / 2 + 0.13, column, size=9)
    sheet.text(3.27, y, "=", size=13)
    for head, (own, block, role) in enumerate(zip(heads, blocks, roles, strict=True)):
        place = y + apart * ((n - 1) / 2 - head)
        sheet.numbers(3.8, place, own[None], role=role, cell=cell, digits=0)
        sheet.text(4.27, place, "·", size=14)
        sheet.numbers(5.05, place, block, role=role, cell=cell, digits=0)
        sheet.text(5.85, place, "=", size=13)
        sheet.numbers(6.65, place, (own @ block)[None], role=role, cell=cell, digits=0)
        if head:
            sheet.text(6.65, place + apart / 2, "+", size=13)
    total = heads.reshape(-1) @ matrix
    line = y - apart * (n - 1) / 2 - LOW / 2 - 0.1
    sheet.axes.plot([6.65 - wide / 2, 6.65 + wide / 2], [line, line], color=ROLES["output"], lw=1)
    sheet.numbers(6.65, line - 0.24, total[None], cell=cell, digits=0)
    sheet.text(6.65 - wide / 2 - 0.1, line - 0.24, "output", size=9.5, align="right")
    said = " plus ".join(
        f"({', '.join(f'{number:g}' for number in own @ block)})"
        for own, block in zip(heads, blocks, strict=True)
    )
    return sheet.picture(
        f"{n} heads side by side times {name.strip('$')}: each head meets only rows of its own, so "
        f"the output is a sum over heads, {said} = "
        f"({', '.join(f'{number:g}' for number in total)})."
    )


def _product(sheet: Sketch, left: float, y: float, parts: Sequence[tuple[Any, ...]]) -> float:
    """Draw matrices and the signs between them in a row from the left; returns its right end."""
    for part in parts:
        if len(part) == 1:
            sheet.text(left + 0.1, y, part[0], size=13)
            left += 0.2
            continue
        name, numbers, role, digits, rows = part
        cell = (0.4 if digits else 0.24, LOW)
        wide, high = cell[0] * numbers.shape[1], LOW * numbers.shape[0]
        middle = left + wide / 2
        sheet.numbers(middle, y, numbers, role=role, cell=cell, digits=digits, rows=rows)
        sheet.text(middle, y + high / 2 + 0.16, name, role=role, size=10)
        shape = f"{numbers.shape[0]} × {numbers.shape[1]}"
        sheet.text(middle, y - high / 2 - 0.14, shape, role="text", size=8.5)
        left += wide
    return left
