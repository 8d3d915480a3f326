"""Drawing of lesson 00: the whole way from tokens to an answer, and one head of it."""

import itertools
from collections.abc import Sequence

import torch
from matplotlib.patches import Rectangle

from attnlab.attention import scaled_dot_product_attention
from attnlab.show.drawings.sketch import ROLES, Sketch
from attnlab.show.plots.picture import Picture

Numbers = Sequence[Sequence[float]]


def whole_path(
    layers: int = 6,
    heads: int = 12,
    width: int = 384,
    words: Sequence[str] = ("hours", "life", "back"),
    query: Sequence[float] = (2.0, 1.0),
    keys: Numbers = ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0)),
    values: Numbers = ((2.0, 0.0), (0.0, 2.0), (1.0, 1.0)),
) -> Picture:
    """Draw a sentence on its way through a BERT classifier, and below it what one head does.

    Parameters
    ----------
    layers, heads, width : of the model; ``heads`` in each layer
    words : T tokens that the head of the example looks at
    query : D numbers, of the token that looks
    keys, values : T rows of D numbers
    """
    mixture, weights = scaled_dot_product_attention(
        torch.tensor([query]), torch.tensor(keys), torch.tensor(values)
    )
    scores = [
        sum(q * k for q, k in zip(query, key, strict=True)) / len(query) ** 0.5 for key in keys
    ]
    sheet = Sketch(7.6, 4.1)
    _path(sheet, layers, heads, width)
    _head(sheet, words, query, keys, scores, values, weights[0].tolist(), mixture[0].tolist())
    invented = f"(invented: {len(query)} numbers each; in this model {width // heads})"
    sheet.text(3.05, 2.2, invented, size=9, align="left")
    joined = f"{heads} × {width // heads} = {width}\n× $W_O$, to the +"
    sheet.text(7.0, 0.52, joined, size=8.5)
    shares = ", ".join(
        f"“{word}” {share:.2f}" for word, share in zip(words, weights[0].tolist(), strict=True)
    )
    return sheet.picture(
        f"Each token becomes a vector of {width} numbers, with its position added. {layers} layers "
        f"follow: attention with {heads} heads, then a feed-forward network for each token alone; "
        "what either makes is added to the vectors. The answer is read off [CLS]. Below, one "
        f"head with invented numbers: a query is compared with keys, the weights are {shares}, "
        "and the head hands on the values mixed by these weights. The mixtures of all heads side "
        f"by side, {width} numbers, are multiplied by a matrix and go to the first sum."
    )


def _path(sheet: Sketch, layers: int, heads: int, width: int) -> None:
    """The upper row: from tokens to the answer."""
    y = 3.2
    sheet.box(4.32, y, width=3.2, height=1.4, role="frozen", filled=False, dashed=True)
    sheet.text(4.32, y + 0.84, f"one layer; {layers} of them follow each other", size=9.5)
    tokens = sheet.box(0.55, y, "1 tokens", width=0.95)
    vectors = sheet.box(1.9, y, f"2 vectors:\n{width} numbers\n+ position", width=1.25, height=0.8)
    attention = sheet.box(
        3.55, y, f"3–5 attention:\n{heads} heads", width=1.2, height=0.6, role="weights"
    )
    first = sheet.box(4.4, y, "+", width=0.28, height=0.28)
    forward = sheet.box(5.14, y, "feed-\nforward", width=0.8, height=0.6)
    second = sheet.box(5.76, y, "+", width=0.24, height=0.28)
    read_out = sheet.box(6.42, y, "6 read-out\nof [CLS]", width=0.82, height=0.6)
    answer = sheet.box(7.26, y, "answer", width=0.62, role="output", size=9.5)
    way = [tokens, vectors, attention, first, forward, second, read_out, answer]
    for one, other in itertools.pairwise(way):
        sheet.arrow(one, other)
    for start, plus in ((2.8, first), (4.6, second)):
        sheet.arrow((start, y), (plus.x, y + 0.14), role="frozen", bend=-0.65)
    sheet.text(3.68, y - 0.5, "tokens exchange", size=9)
    sheet.text(5.14, y - 0.5, "each token alone", size=9)


def _head(
    sheet: Sketch,
    words: Sequence[str],
    query: Sequence[float],
    keys: Numbers,
    scores: Sequence[float],
    values: Numbers,
    weights: Sequence[float],
    mixture: Sequence[float],
) -> None:
    """The lower row: one head, for one token that looks; numbered as at the flow desk."""
    y, cell, head = 0.95, (0.4, 0.32), 1.78
    sheet.text(0.12, 2.2, "One head, for one token that looks", size=10, bold=True, align="left")
    sheet.arrow((3.04, 2.92), (2.85, 2.26), role="weights", dashed=True)
    asked = sheet.numbers(0.6, y, [list(query)], role="query", cell=cell)
    found = sheet.numbers(2.05, y, keys, role="key", cell=cell, rows=words)
    scored = sheet.numbers(3.35, y, [[score] for score in scores], cell=(0.46, 0.32), digits=2)
    left, room = 4.05, 0.55  # of the bars that are the weights, as in step 4 of the flow desk
    for row, weight in enumerate(weights):
        middle = y + ((len(weights) - 1) / 2 - row) * cell[1]
        for share, colour in ((1.0, "#eeeeee"), (weight, ROLES["weights"])):
            place = (left, middle - 0.08)
            sheet.axes.add_patch(Rectangle(place, room * share, 0.16, fc=colour, ec="none"))
        sheet.text(left + room + 0.06, middle, f"{weight:.2f}", size=9, align="left")
    offered = sheet.numbers(5.68, y, values, role="value", cell=cell)
    mixed = sheet.numbers(7.04, y, [list(mixture)], role="value", cell=(0.46, 0.32), digits=2)
    under = 0.2
    for x, name, role, told in (
        (asked.x, "3 query", "query", "it looks for"),
        (found.x, "3 keys", "key", "found by"),
        (scored.x, "4 scores", "text", f"q · k / √{len(query)}"),
        (left + 0.45, "4 weights", "weights", "softmax, sum 1"),
        (offered.x, "3 values", "value", "pass on"),
        (mixed.x, "5 mixture", "value", "handed on"),
    ):
        sheet.text(x, head, name, role=role, bold=True)
        sheet.text(x, under, told, size=9)
    sheet.arrow(asked, (found.side("left")[0] - 0.48, y), role="query")
    sheet.arrow(found, scored)
    sheet.arrow(scored, (left - 0.03, y), role="weights")
    sheet.text(left + room + 0.53, y, "×", size=11)
    sheet.arrow(offered, mixed, "add up", role="value")
