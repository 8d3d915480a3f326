"""Drawings of translation: two texts, what the decoder may see, stand-ins, beams, the cache."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from attnlab.attention import causal_mask
from attnlab.show.drawings.attention_from_scratch import mask_grids
from attnlab.show.drawings.sketch import Box, Sketch
from attnlab.show.plots.picture import Picture
from attnlab.show.wording import number as number_of

__all__ = [
    "beam_tree",
    "cross_attention_by_hand",
    "decoder_layer",
    "decoder_masks",
    "encoder_decoder",
    "kept_keys",
    "search_tree",
    "surplus",
    "teacher_forcing",
    "training_circle",
    "writing_steps",
]

Candidate = tuple[str, int, float, bool]  # token, index of its parent, log-probability, kept
_TREE_NOTE = "box: a token, and the log-probability (nats) of the beginning that ends with it"


def encoder_decoder(source: Sequence[str], target: Sequence[str]) -> Picture:
    """Draw the two halves of the model, and what goes from one to the other.

    Parameters
    ----------
    source : a few tokens that are read
    target : a few tokens that are written
    """
    sheet = Sketch(7.5, 3.3)
    left, right, step = 1.5, 5.7, 0.62
    sheet.text(left, 3.12, "encoder", bold=True)
    sheet.text(right, 3.12, "decoder", bold=True)
    sheet.box(left, 1.46, "self-attention\nsees the whole source", width=2.6, height=0.64)
    sheet.box(right, 1.2, "self-attention: sees what is written", width=3.3, role="query")
    across = sheet.box(right, 1.78, "cross-attention", width=3.3, height=0.42, role="key")
    for word, x in zip(source, _spread(left, step, len(source)), strict=True):
        token = sheet.box(x, 0.6, word, width=0.56, height=0.34, size=9)
        sheet.arrow(token.side("top"), (x, 1.14))
        state = sheet.box(x, 2.4, "", width=0.42, height=0.34, role="key")
        sheet.arrow((x, 1.78), state.side("bottom"), role="key")
    for read, said, x in zip(
        ["start", *target], [*target, "end"], _spread(right, step, len(target) + 1), strict=True
    ):
        token = sheet.box(x, 0.6, read, width=0.56, height=0.34, size=9)
        sheet.arrow(token.side("top"), (x, 0.99))
        sheet.arrow((x, 1.41), (x, 1.57), role="query")
        spoken = sheet.box(x, 2.4, said, width=0.56, height=0.34, role="query", size=9)
        sheet.arrow((x, 1.99), spoken.side("bottom"), role="query")
    sheet.text(left, 2.76, "memory: a vector for each token", role="key", size=9)
    sheet.text(right, 2.76, "says the next token", role="query", size=9)
    sheet.text(left, 0.22, "reads the source, once", size=9)
    sheet.text(right, 0.22, "reads what has been written", size=9)
    memory = (left + step * len(source) / 2, 2.4)
    sheet.arrow(memory, across.side("left"), role="key", weight=2, bend=-0.25)
    sheet.text(3.66, 2.5, "keys and\nvalues", role="key", size=9)
    return sheet.picture(
        f"The encoder reads {_listed(source)} once and leaves a memory, one vector for each token. "
        "The decoder reads start and what has been written, looks into the memory by "
        f"cross-attention, and says {_listed([*target, 'end'])}, one token ahead."
    )


def writing_steps(target: Sequence[str]) -> Picture:
    """Draw how the decoder writes: what it says at one step it reads at the next.

    Parameters
    ----------
    target : a few tokens that are written
    """
    said = [*target, "end"]
    step, high = 0.66, 0.5
    sheet = Sketch(7.5, 0.5 + high * len(said))
    left = 1.55
    sheet.text(left + step * (len(said) - 1) / 2, 0.32 + high * len(said), "it reads", size=9)
    sheet.text(6.85, 0.32 + high * len(said), "it says", role="query", size=9)
    for number, word in enumerate(said):
        y = 0.28 + high * (len(said) - 1 - number)
        sheet.text(0.12, y, f"step {number + 1}", align="left", size=9)
        for place, token in enumerate(["start", *target][: number + 1]):
            new = place == number and number > 0
            x = left + step * place
            role = "query" if new else "text"
            last = sheet.box(x, y, token, width=0.58, height=0.34, size=9, role=role)
        decoder = sheet.box(5.55, y, "decoder", width=0.95, height=0.36, size=9, filled=False)
        sheet.arrow(last, decoder)
        spoken = sheet.box(6.85, y, word, width=0.58, height=0.34, size=9, role="query")
        sheet.arrow(decoder, spoken, role="query")
    return sheet.picture(
        f"The decoder writes in {len(said)} steps. It reads start and what it has said so far, and "
        f"says one more token at each step: {_listed(said)}."
    )


def cross_attention_by_hand(
    query: Tensor, keys: Tensor, values: Tensor, source: Sequence[str], asks: str
) -> Picture:
    """Draw cross-attention of one target position in numbers.

    Parameters
    ----------
    query : (d_k,), of the position that is being written
    keys, values : (S, d_k) each, of the source tokens
    source : S words
    asks : what the position looks for, in a few words
    """
    scores = keys @ query / query.shape[0] ** 0.5
    weights = scores.softmax(0)
    mixture = weights @ values
    sheet = Sketch(7.5, 2.75)
    row = 1.05
    sheet.text(0.15, 2.4, f"The next character {asks}. Its query:", align="left")
    top = sheet.numbers(4.35, 2.4, [query.tolist()], role="query")
    tables = {
        "keys": (1.35, keys.numpy(), "key", source),
        "scores\n$q \\cdot k\\,/\\,\\sqrt{d_k}$": (2.85, scores[:, None].numpy(), "output", ()),
        "weights\nsoftmax": (4.1, weights[:, None].numpy(), "weights", ()),
        "values": (5.4, values.numpy(), "value", ()),
    }
    places: list[Box] = []
    for name, (x, numbers, role, words) in tables.items():
        digits = 2 if role == "weights" else 1
        places.append(sheet.numbers(x, row, numbers, role=role, rows=words, digits=digits))
        sheet.text(x, row - 0.15 * len(source) - 0.27, name, role=role, size=9)
    for before, after in itertools.pairwise(places):
        sheet.arrow(before.side("right"), after.side("left"))
    found = sheet.numbers(6.75, row, [mixture.tolist()], role="value", digits=2)
    sheet.arrow(places[-1].side("right"), found.side("left"))
    sheet.text(6.75, row - 0.15 * len(source) - 0.27, "mixture:\nwhat is fetched", size=9)
    sheet.arrow(top.side("bottom"), (2.95, row + 0.15 * len(source) + 0.04), role="query", bend=0.1)
    most = int(weights.argmax())
    return sheet.picture(
        f"Cross-attention in numbers. Scores {_numbers(scores)} become weights "
        f"{_numbers(weights)}: most falls on {source[most]!r}. "
        f"The mixture of the values is {_numbers(mixture)}."
    )


def teacher_forcing(target: Sequence[str]) -> Picture:
    """Draw what the decoder reads in training, and what it should say at each position."""
    read, said = ["start", *target], [*target, "end"]
    step = min(0.58, 6.3 / len(read))
    sheet = Sketch(7.5, 2.3)
    centres = _spread(4.2, step, len(read))
    sheet.box(4.2, 1.15, "decoder, all positions at once", width=step * len(read), height=0.44)
    for before, after, x in zip(read, said, centres, strict=True):
        low = sheet.box(x, 0.4, before, width=step - 0.06, height=0.36, size=9)
        high = sheet.box(x, 1.9, after, width=step - 0.06, height=0.36, size=9, role="query")
        sheet.arrow(low.side("top"), (x, 0.92))
        sheet.arrow((x, 1.38), high.side("bottom"), role="query")
    sheet.text(0.08, 0.4, "it reads", align="left")
    sheet.text(0.08, 1.9, "it should say", align="left", role="query")
    return sheet.picture(
        f"Teacher forcing. The decoder reads {_listed(read)} and should say {_listed(said)}: "
        "the same text, shifted by one."
    )


def training_circle() -> Picture:
    """Draw one step of training: from a batch to its loss, and back to the weights."""
    sheet = Sketch(7.5, 1.95)
    high, low = 1.6, 0.35
    batch = sheet.box(0.75, high, "64 pairs", width=1.1)
    weights = sheet.box(3.2, high, "weights of the model", width=1.9, role="trained")
    loss = sheet.box(6.6, high, "loss", width=1.2)
    gradients = sheet.box(6.6, low, "gradients", width=1.2)
    optimizer = sheet.box(3.2, low, "optimizer", width=1.9)
    rate = sheet.box(0.75, low, "learning rate", width=1.3)
    sheet.arrow(batch, weights)
    sheet.arrow(weights, loss, "how wrong is it?")
    sheet.arrow(loss, gradients, role="trained")
    sheet.text(6.5, (high + low) / 2, "what would lower it?", size=9, align="right")
    sheet.arrow(gradients, optimizer, "which way?", role="trained")
    sheet.arrow(rate, optimizer, "how far?")
    sheet.arrow(optimizer, weights, "moves them", role="trained")
    return sheet.picture(
        "A step of training. A batch of pairs goes through the model, and gives a loss; from it "
        "come gradients. By them and the learning rate the optimizer moves the weights."
    )


def decoder_masks(tokens: Sequence[str], padding: str = "pad") -> Picture:
    """Draw the causal mask, the mask of padding, and both together, for one sentence."""
    causal = causal_mask(len(tokens))
    real = torch.tensor([token != padding for token in tokens]).expand_as(causal)
    return mask_grids({"the past": causal, "no padding": real, "both": causal & real}, tokens)


def decoder_layer() -> Picture:
    """Draw the three parts of a decoder layer; each reads a norm of x and adds to x."""
    sheet = Sketch(7.5, 2.75)
    line = 2.3
    sheet.text(0.2, line, "$x$", size=12, role="output")
    sheet.arrow((0.35, line), (7.2, line), weight=2)
    sheet.text(7.35, line, "$x$", size=12)
    parts = (("self-attention", "query"), ("cross-attention", "key"), ("feed-forward", "text"))
    for (name, role), x in zip(parts, (1.5, 3.75, 6.0), strict=True):
        norm = sheet.box(x - 0.6, 1.65, "norm", width=0.7, height=0.34, role="frozen", size=9)
        part = sheet.box(x, 0.95, name, width=1.75, height=0.42, role=role)
        sheet.arrow((x - 0.6, line), norm.side("top"))
        sheet.arrow(norm.side("bottom"), (x - 0.6, part.side("top")[1]))
        plus = sheet.box(x + 0.6, line, "+", width=0.3, height=0.3, size=13, filled=False)
        sheet.arrow((x + 0.6, part.side("top")[1]), plus.side("bottom"))
    memory = sheet.box(3.75, 0.28, "memory of the source", width=1.9, height=0.34, role="key")
    sheet.arrow(memory, (3.75, 0.74), role="key")
    return sheet.picture(
        "A decoder layer. x runs through unchanged; self-attention, cross-attention and "
        "feed-forward each read a norm of it and add their result. Cross-attention also reads "
        "the memory of the source."
    )


def surplus(alone: tuple[float, float], together: float) -> Picture:
    """Draw what two heads cost alone and together as bars, and what is left beyond the sum.

    Parameters
    ----------
    alone : points lost without the first head, and without the second
    together : points lost without both; more than the sum
    """
    first, second = alone
    both = first + second
    sheet = Sketch(7.5, 2.05)
    left, unit = 1.95, 4.9 / together
    rows = (
        ("lost without A", ((0, first, "text"),)),
        ("lost without B", ((0, second, "text"),)),
        ("sum of the two", ((0, first, "text"), (first, second, "text"))),
        ("lost without both", ((0, both, "text"), (both, together - both, "trained"))),
    )
    for number, (name, bars) in enumerate(rows):
        y = 1.78 - 0.44 * number
        sheet.text(left - 0.12, y, name, align="right")
        for start, length, role in bars:
            x = left + unit * (start + length / 2)
            words = f"surplus: {length:g} points" if start == both else f"{length:g}"
            sheet.box(x, y, words, width=unit * length, height=0.34, role=role, size=9)
    return sheet.picture(
        f"Points lost without head A: {first:g}; without head B: {second:g}; the sum is {both:g}. "
        f"Without both {together:g} are lost: a surplus of {together - both:g}."
    )


def beam_tree(steps: Sequence[Sequence[Candidate]]) -> Picture:
    """Draw the beginnings of a beam search as a tree that grows to the right.

    The likelier a beginning, the higher it stands in its column, so branches may cross. A heavy
    line through coloured boxes leads to the likeliest of the last step; all others are grey.

    Parameters
    ----------
    steps : for each step its candidates: token, index of the parent among those of the step before
        (0 at the first step), log-probability of the whole beginning, and whether it is kept
    """
    rows = max(map(len, steps))
    high, across = 0.64, min(1.7, 6.5 / len(steps))
    size = max(5.4, 1.0 + across * len(steps)), 0.55 + high * rows
    sheet = Sketch(*size)
    way = _way_to(steps)
    best = steps[-1][way[-1]]
    top = size[1] - 0.1 - high / 2
    sheet.text(0.1, 0.18, _TREE_NOTE, size=8.5, align="left")
    before = [sheet.box(0.42, top, "start", width=0.62, height=0.42, size=9)]
    for number, candidates in enumerate(steps):
        x = 0.35 + across * (number + 1)
        places: dict[int, Box] = {}
        order = sorted(range(len(candidates)), key=lambda index: -candidates[index][2])
        for place, index in enumerate(order):
            token, parent, total, kept = candidates[index]
            y = top - high * place
            wins = way[number] == index
            role = "query" if wins else "frozen"
            wide = min(across - 0.42, 1.0)
            box = sheet.box(x, y, width=wide, height=0.5, role=role, dashed=not kept)
            sheet.text(x, y + 0.1, token, size=10.5, bold=True)
            sheet.text(x, y - 0.12, number_of(total, 2), size=8.5)
            weight = 3.4 if wins else 1.0
            sheet.arrow(before[parent].side("right"), box.side("left"), role=role, weight=weight)
            places[index] = box
        before = [places[index] for index in range(len(candidates))]
    return sheet.picture(
        f"Beam search over {len(steps)} steps; each box holds a token and the log-probability of "
        f"the beginning that ends with it. In the last column {best[0]!r} is the likeliest, with "
        f"{round(best[2], 2) + 0:.2f}."
    )


def search_tree(
    asked: Mapping[tuple[int, ...], Tensor], name: Callable[[int], str], depth: int = 4
) -> Picture:
    """Draw the beginnings that a beam search has continued, as a tree, up to some length.

    Parameters
    ----------
    asked : for each beginning that was continued (a tuple of ids, start mark first) the
        log-probabilities of all next tokens, (V,)
    name : the token of an id
    depth : how many tokens of each beginning to draw
    """
    steps: list[list[Candidate]] = []
    known: dict[tuple[int, ...], tuple[int, float]]
    known = {ids: (0, 0.0) for ids in asked if len(ids) == 1}  # its place, its log-probability
    for length in range(2, depth + 2):
        level: list[Candidate] = []
        for ids in sorted(
            (ids for ids in asked if len(ids) == length), key=lambda ids: known[ids[:-1]][0]
        ):
            parent, total = known[ids[:-1]]
            known[ids] = len(level), total + float(asked[ids[:-1]][ids[-1]])
            level.append((name(ids[-1]), parent, known[ids][1], True))
        steps.append(level)
    return beam_tree([level for level in steps if level])


def kept_keys(tokens: Sequence[str]) -> Picture:
    """Draw which keys and values are computed at each step, without and with a cache."""
    count = len(tokens)
    cell, y = 0.52, 0.42 + 0.15 * count
    sheet = Sketch(7.5, 1.25 + 0.3 * count)
    steps = [f"step {number}" for number in range(1, count + 1)]
    totals = {}
    for name, x in (("without a cache", 2.1), ("with a cache", 5.75)):
        computed = np.zeros((count, count), bool)
        for row in range(count):
            for column in range(row + 1):
                new = name == "without a cache" or column == row
                computed[row, column] = new
                sheet.numbers(
                    x + cell * (column - (count - 1) / 2),
                    y + 0.3 * ((count - 1) / 2 - row),
                    [["new" if new else "kept"]],
                    role="trained" if new else "frozen",
                    cell=(cell, 0.3),
                    size=8,
                )
            left = x - cell * count / 2 - 0.08
            sheet.text(left, y + 0.3 * ((count - 1) / 2 - row), steps[row], size=8, align="right")
        for column, word in enumerate(tokens):
            over = y + 0.15 * count + 0.13
            sheet.text(x + cell * (column - (count - 1) / 2), over, word, size=8)
        totals[name] = int(computed.sum())
        sheet.text(x, y + 0.15 * count + 0.48, f"{name}: {totals[name]} computed")
    return sheet.picture(
        f"Keys and values of {count} tokens, step by step. Without a cache "
        f"{totals['without a cache']} are computed, with a cache {totals['with a cache']}: one a "
        "step, and the others are kept."
    )


def _spread(middle: float, step: float, count: int) -> list[float]:
    """Places of so many things, so far apart, around a middle."""
    return [middle + step * (index - (count - 1) / 2) for index in range(count)]


def _way_to(steps: Sequence[Sequence[Candidate]]) -> list[int]:
    """Index at each step of the beginning of the likeliest candidate of the last step."""
    index = max(range(len(steps[-1])), key=lambda index: steps[-1][index][2])
    way = [index]
    for candidates in reversed(steps[1:]):
        way.append(candidates[way[-1]][1])
    return way[::-1]


def _listed(words: Sequence[str]) -> str:
    return " ".join(words)


def _numbers(values: Tensor) -> str:
    return ", ".join(f"{value:.2f}" for value in values.tolist())


def __dir__() -> list[str]:
    return sorted(__all__)
