"""Drawing of lesson 00: the whole way from tokens to an answer, and one head of it."""

import itertools
from collections.abc import Sequence

import torch

from attnlab.attention import scaled_dot_product_attention
from attnlab.show.drawings.sketch import Sketch
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
    sheet = Sketch(7.6, 4.1)
    _path(sheet, layers, heads, width)
    _head(sheet, words, query, keys, values, weights[0].tolist(), mixture[0].tolist())
    invented = f"(invented: {len(query)} numbers each; in this model {width // heads})"
    sheet.text(3.05, 2.2, invented, size=9, align="left")
    shares = ", ".join(
        f"“{word}” {share:.2f}" for word, share in zip(words, weights[0].tolist(), strict=True)
    )
    return sheet.picture(
        f"Each token becomes a vector of {width} numbers, with its position added. {layers} layers "
        f"follow: attention with {heads} heads, then a feed-forward network for each token alone; "
        "what either makes is added to the vectors. The answer is read off [CLS]. Below, one "
        f"head with invented numbers: a query is compared with keys, the weights are {shares}, "
        "and the head hands on the "
        "values mixed by these weights."
    )


def _path(sheet: Sketch, layers: int, heads: int, width: int) -> None:
    """The upper row: from tokens to the answer."""
    y = 3.2
    sheet.box(4.32, y, width=3.2, height=1.4, role="frozen", filled=False, dashed=True)
    sheet.text(4.32, y + 0.84, f"one layer; {layers} of them follow each other", size=9.5)
    tokens = sheet.box(0.55, y, "tokens", width=0.85)
    vectors = sheet.box(1.9, y, f"vectors:\n{width} numbers\n+ position", width=1.25, height=0.8)
    attention = sheet.box(
        3.55, y, f"attention:\n{heads} heads", width=1.1, height=0.6, role="weights"
    )
    first = sheet.box(4.4, y, "+", width=0.28, height=0.28)
    forward = sheet.box(5.14, y, "feed-\nforward", width=0.8, height=0.6)
    second = sheet.box(5.76, y, "+", width=0.24, height=0.28)
    read_out = sheet.box(6.42, y, "read-out\nof [CLS]", width=0.82, height=0.6)
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
    values: Numbers,
    weights: Sequence[float],
    mixture: Sequence[float],
) -> None:
    """The lower row: one head, for one token that looks."""
    y, cell, head = 0.95, (0.42, 0.32), 1.72
    sheet.text(0.12, 2.2, "One head, for one token that looks", size=10, bold=True, align="left")
    sheet.arrow((3.04, 2.92), (2.85, 2.26), role="weights", dashed=True)
    asked = sheet.numbers(0.65, y, [list(query)], role="query", cell=cell)
    found = sheet.numbers(2.35, y, keys, role="key", cell=cell, rows=words)
    shares = sheet.numbers(
        4.15, y, [[weight] for weight in weights], cell=cell, digits=2, shaded=True
    )
    offered = sheet.numbers(5.4, y, values, role="value", cell=cell)
    mixed = sheet.numbers(7.0, y, [list(mixture)], role="value", cell=cell, digits=2)
    for table, name, role in (
        (asked, "query", "query"),
        (found, "keys", "key"),
        (shares, "weights", "weights"),
        (offered, "values", "value"),
        (mixed, "mixture", "value"),
    ):
        sheet.text(table.x, head, name, role=role, bold=True)
    sheet.arrow(found, shares)
    sheet.text((found.x + shares.x) / 2 + 0.1, y + 0.2, f"q · k / √{len(query)},", size=8.5)
    sheet.text((found.x + shares.x) / 2 + 0.1, y - 0.14, "softmax", size=8.5)
    sheet.arrow(shares, offered, "×")
    sheet.arrow(offered, mixed, "add up", role="value")
    sheet.arrow(asked, (found.side("left")[0] - 0.5, y), role="query")
    under = 0.22
    for table, words_ in (
        (asked, "it looks for"),
        (found, "can be found by"),
        (shares, "sum 1"),
        (offered, "pass on"),
        (mixed, "handed on"),
    ):
        sheet.text(table.x, under, words_, size=9)
