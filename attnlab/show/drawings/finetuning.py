"""Drawings of fine-tuning: what is new on top, padding, LoRA, and tags of words in pieces."""

from collections.abc import Sequence

import numpy as np

from attnlab.datasets.tagged import spans
from attnlab.show.drawings.sketch import Sketch
from attnlab.show.plots.picture import Picture


def fine_tuned_parts(layers: int, labels: Sequence[str]) -> Picture:
    """Draw a classifier from its tokens to its loss: what is pretrained, and what is not.

    The pooler is drawn as in the bundled encoder, where no training has used it yet.

    Parameters
    ----------
    layers : of the encoder
    labels : names of the classes
    """
    sheet = Sketch(8.2, 2.35)
    words = ["[CLS]", "a", "warm", "film", "[SEP]"]
    tokens = [
        sheet.box(0.55, 1.95 - 0.4 * i, w, width=0.8, height=0.32) for i, w in enumerate(words)
    ]
    sheet.box(2.3, 1.15, "", width=1.7, height=1.95, role="frozen")
    sheet.text(2.3, 1.5, "BERT", size=12, bold=True)
    sheet.text(2.3, 1.15, f"embeddings,\n{layers} layers", size=9)
    sheet.text(2.3, 0.6, "pretrained", size=9, role="text")
    for token in tokens:
        sheet.arrow(token, (1.44, token.y))
    vector = sheet.box(4.0, 1.95, "vector of [CLS]", width=1.3, height=0.36, role="value")
    sheet.arrow((3.16, 1.95), vector)
    for token in tokens[1:-1]:
        sheet.text(3.3, token.y, "…", size=9, role="frozen")
    pooler = sheet.box(4.0, 1.2, "pooler", width=1.0, height=0.36, role="frozen")
    sheet.text(4.0, 0.87, "here untrained", size=9, role="trained")
    sheet.arrow(vector, pooler)
    top = sheet.box(5.65, 1.2, "layer on top", width=1.3, height=0.4, role="trained")
    sheet.text(5.65, 0.82, "new, random", size=9, role="trained")
    sheet.arrow(pooler, top)
    logits = sheet.numbers(
        7.2, 1.2, [[f"z({label})"] for label in labels], cell=(1.15, 0.32), role="output"
    )
    sheet.arrow(top, logits)
    sheet.text(7.2, 1.2 + 0.16 * len(labels) + 0.2, "logits", size=9)
    loss = sheet.box(7.2, 0.3, "loss", width=0.9, height=0.36, role="output")
    sheet.arrow(logits, loss)
    back = (3.25, 0.3)
    sheet.arrow((6.72, 0.3), back, "gradients go all the way back", role="trained", dashed=True)
    return sheet.picture(
        f"Five tokens enter BERT with {layers} layers; the vector of [CLS] goes through the "
        f"pooler, here untrained, and a new layer, which gives {len(labels)} logits and a loss. "
        "Gradients go back to BERT."
    )


def padded_batch(tokens: Sequence[Sequence[str]], pad: str = "[PAD]") -> Picture:
    """Draw a batch of texts of unequal length, with its attention mask.

    Parameters
    ----------
    tokens : of each text, padding not among them
    pad : how padding is written
    """
    longest = max(map(len, tokens))
    filled = [[*row, *[pad] * (longest - len(row))] for row in tokens]
    widest = max(len(token) for row in filled for token in row)
    cell = max(0.3, 0.073 * widest + 0.1)
    left, step = cell * longest, 0.3
    high = step * len(filled)
    sheet = Sketch(left + 0.5 + 0.25 * longest + 0.1, high + 0.4)
    middle = high / 2 + 0.05
    for line, row in enumerate(filled):
        y = middle + high / 2 - step * (line + 0.5)
        real = len(tokens[line])
        for column, token in enumerate(row):
            role = "key" if column < real else "frozen"
            x = cell * (column + 0.5)
            sheet.numbers(x, y, [[token]], cell=(cell, step), role=role, size=8)
            sheet.numbers(
                left + 0.5 + 0.25 * (column + 0.5),
                y,
                [["1" if column < real else "0"]],
                cell=(0.25, step),
                role="weights" if column < real else "frozen",
                size=8,
            )
    sheet.text(left / 2, high + 0.2, "tokens (in the model: their ids)", size=9)
    sheet.text(left + 0.5 + 0.125 * longest, high + 0.2, "attention mask", size=9)
    share = sum(map(len, tokens)) / (longest * len(tokens))
    return sheet.picture(
        f"A batch of {len(tokens)} texts, {longest} tokens wide; shorter ones are filled up with "
        f"{pad}, where the mask is 0. {share:.0%} of its tokens are real."
    )


def lora(inputs: int, outputs: int, rank: int) -> Picture:
    """Draw a linear layer with a correction of low rank: lengths in proportion, A and B thicker.

    Parameters
    ----------
    inputs, outputs : widths of the layer
    rank : of the correction
    """
    full, low = inputs * outputs, rank * (inputs + outputs)
    sheet = Sketch(7.6, 3.75)
    inch = 1.5 / max(inputs, outputs)
    wide, high, thin = inputs * inch, outputs * inch, max(rank * inch, 0.12)
    top, low_row, middle = 2.9, 0.95, 1.95
    x = sheet.box(0.5, middle, "$x$", width=0.6, height=0.4, role="text", size=12)
    sheet.text(0.5, middle - 0.35, f"{inputs} numbers", size=9)
    sheet.box(3.0, top, "$W$", width=wide, height=high, role="frozen", size=14)
    sheet.text(3.0, top - high / 2 - 0.17, f"stays as it is: {full:,} numbers", size=9)
    a = sheet.box(2.35, low_row, "", width=wide, height=thin, role="trained")
    b = sheet.box(4.35, low_row, "", width=thin, height=high, role="trained")
    sheet.text(2.35, low_row + thin / 2 + 0.15, f"$A$   {rank} × {inputs}", size=10, role="trained")
    sheet.text(4.55, low_row, f"$B$   {outputs} × {rank}", size=10, role="trained", align="left")
    sheet.text(
        2.35, 0.4, f"learn: {low:,} numbers, {low / full:.1%} of $W$", size=9, role="trained"
    )
    plus = sheet.box(6.3, middle, "+", width=0.42, height=0.42, role="output", size=13)
    sheet.arrow(x, (3.0 - wide / 2, top))
    sheet.arrow(x, (2.35 - wide / 2, low_row), role="trained")
    sheet.arrow(a, b, f"{rank} numbers", role="trained")
    sheet.arrow((3.05 + wide / 2, top), plus.side("top"), bend=-0.25)
    sheet.arrow((5.5, low_row), plus.side("bottom"), role="trained", bend=0.25)
    sheet.text(5.6, middle - 0.45, r"$\times\,\alpha / r$", size=11, role="trained")
    sheet.arrow(plus, (7.1, middle))
    sheet.text(7.15, middle, "output", size=10, align="left")
    return sheet.picture(
        f"x goes through W, {outputs} by {inputs}, which stays, and A and B of rank {rank}, "
        f"which learn {low:,} numbers instead of {full:,}; both ways are added."
    )


def tagged_pieces(
    words: Sequence[str], pieces: Sequence[Sequence[str]], tags: Sequence[str]
) -> Picture:
    """Draw words, the pieces BERT reads, which piece is asked for a tag, and the entities.

    Parameters
    ----------
    words, tags : of a sentence, one tag for each word
    pieces : of each word
    """
    pairs = list(zip(pieces, tags, strict=True))
    asked = ["–", *(shown for own, tag in pairs for shown in _first(tag, own)), "–"]
    flat = ["[CLS]", *(piece for own in pieces for piece in own), "[SEP]"]
    word_ids = ["–", *(str(i) for i, own in enumerate(pieces) for _ in own), "–"]
    starts = np.cumsum([1, *map(len, pieces)])  # of each word, and of [SEP]
    found = spans(tags)
    lines = _two_lines(starts, found)
    cell, left, high = max(0.5, 0.084 * max(map(len, [*flat, *asked])) + 0.1), 0.75, 2.0
    named_in = [any(starts[first] in line for _, first, _ in found) for line in lines]
    room = [high if named else high - 0.3 for named in named_in]
    sheet = Sketch(left + cell * max(map(len, lines)) + 0.1, sum(room))
    for number, line in enumerate(lines):
        base = sum(room[number:]) - high
        for name, values, y in (
            ("tokens", flat, 1.2),
            ("word", word_ids, 0.88),
            ("tag", asked, 0.56),
        ):
            sheet.text(left - 0.1, base + y, name, size=9, align="right")
            for place in line:
                value = values[place]
                tagged = name == "tag" and asked[place] not in ("–", "O")
                role = "trained" if tagged else "text" if value != "–" else "frozen"
                x = left + cell * (place - line.start + 0.5)
                sheet.numbers(x, base + y, [[value]], cell=(cell, 0.3), role=role, size=9)
        sheet.text(left - 0.1, base + 1.6, "words", size=9, align="right")
        boxes = [(word, i, i + 1, 1.6, "text") for i, word in enumerate(words)]
        boxes += [(kind, first, end, 0.2, "trained") for kind, first, end in found]
        for name, first, end, y, role in boxes:
            if starts[first] in line:
                a, b = (left + cell * (starts[word] - line.start) for word in (first, end))
                middle, width = (a + b) / 2, b - a - 0.06
                sheet.box(middle, base + y, name, width=width, height=0.3, role=role, size=9)
    named = ", ".join(f"{kind} ({' '.join(words[first:end])})" for kind, first, end in found)
    return sheet.picture(
        f"{len(words)} words become {len(flat)} tokens; the first piece of each word has its tag, "
        f"all others none. The tags name: {named}."
    )


def _first(tag: str, pieces: Sequence[str]) -> list[str]:
    """The tag at the first piece, a dash at the others."""
    return [tag, *["–"] * (len(pieces) - 1)]


def _two_lines(starts: np.ndarray, found: Sequence[tuple[str, int, int]]) -> list[range]:
    """Places of the tokens in each line: one, or two where they are many; no entity is cut."""
    count = int(starts[-1]) + 1
    inside = {word for _, first, end in found for word in range(first + 1, end)}
    breaks = [int(start) for word, start in enumerate(starts[:-1]) if word and word not in inside]
    if count <= 10 or not breaks:
        return [range(count)]
    middle = min(breaks, key=lambda place: max(place, count - place))
    return [range(middle), range(middle, count)]
