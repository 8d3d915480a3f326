"""Drawings for looking into a model: what a head adds, which weights count, where runs differ."""

import itertools
from collections.abc import Mapping, Sequence

from matplotlib.patches import Rectangle

from attnlab.show.drawings.attention_from_scratch import HIDDEN
from attnlab.show.drawings.sketch import ROLES, Sketch
from attnlab.show.drawings.tensor_steps import weight_colour
from attnlab.show.plots.picture import Picture
from attnlab.show.wording import with_minus

__all__ = ["neighbour_cells", "two_runs", "weight_times_vector"]


def weight_times_vector(keys: Mapping[str, tuple[float, float]]) -> Picture:
    """Draw what a head adds for each key as an area: weight across, length of the vector up.

    Parameters
    ----------
    keys : name, and its weight and the length of its vector
    """
    tallest = max(length for _, length in keys.values())
    widest = max(weight for weight, _ in keys.values())
    sheet = Sketch(7.2, 2.1)
    for number, (name, (weight, length)) in enumerate(keys.items()):
        left, bottom = 1.2 + 3.5 * number, 0.5
        wide, high = 1.5 * weight / widest, 1.3 * length / tallest
        sheet.axes.add_patch(
            Rectangle((left, bottom), wide, high, fc="#cfe3d5", ec=ROLES["value"], lw=1.3)
        )
        sheet.axes.plot([left, left + wide], [bottom] * 2, color=ROLES["weights"], lw=3.5)
        sheet.text(
            left, bottom - 0.15, f"weight {weight:g}", size=9.5, role="weights", align="left"
        )
        sheet.text(left, bottom - 0.36, name, size=10, bold=True, align="left")
        sheet.text(
            left - 0.08,
            bottom + high / 2,
            f"length {length:g}",
            size=9.5,
            role="value",
            align="right",
        )
        sheet.text(
            left + wide + 0.12,
            bottom + high / 2,
            f"{weight:g} × {length:g} = {weight * length:g}",
            size=10.5,
            bold=True,
            align="left",
        )
    said = "; ".join(
        f"{name}: weight {weight:g}, length {length:g}, area {weight * length:g}"
        for name, (weight, length) in keys.items()
    )
    return sheet.picture(f"Rectangles, as wide as the weight and as high as the vector. {said}.")


def neighbour_cells(words: Sequence[str], offset: int) -> Picture:
    """Draw which weights of a map count for exercise 6: words on the word this far away.

    Parameters
    ----------
    words : T tokens, the first and the last of which are no words
    offset : −1 for the word before, 1 for the word after
    """
    count, side, left, bottom = len(words), 0.34, 1.1, 0.5
    sheet = Sketch(7.2, count * side + 0.75)
    top, counted = bottom + count * side, 0
    for row, column in itertools.product(range(count), repeat=2):
        inside = 0 < row < count - 1 and 0 < column < count - 1
        hit = inside and column == row + offset
        counted += hit
        fill = ROLES["weights"] if hit else weight_colour(0.1) if inside else HIDDEN
        corner = left + column * side, top - (row + 1) * side
        sheet.axes.add_patch(Rectangle(corner, side, side, fc=fill, ec="white", lw=1.5))
    for place, word in enumerate(words):
        middle = (place + 0.5) * side
        sheet.text(left - 0.08, top - middle, word, size=9, align="right")
        sheet.text(left + middle, bottom - 0.13, word, size=8)
    sheet.text(left - 0.08, top + 0.12, "query", size=9, role="query", align="right")
    sheet.text(left + count * side / 2, bottom - 0.36, "key", size=9, role="key")
    for y, fill, text in (
        (top - 0.4, ROLES["weights"], f"counts for offset {with_minus(str(offset))}"),
        (top - 0.85, weight_colour(0.1), "does not count"),
        (top - 1.3, HIDDEN, "[CLS] or [SEP]: left out"),
    ):
        at = left + count * side + 0.5
        sheet.axes.add_patch(Rectangle((at, y - 0.12), 0.24, 0.24, fc=fill, ec="white"))
        sheet.text(at + 0.36, y, text, size=10, align="left")
    return sheet.picture(
        f"A map of {count} tokens. For offset {with_minus(str(offset))} {counted} squares count, "
        f"on a line beside the diagonal; rows and columns of the first and last token do not."
    )


def two_runs(parts: Sequence[str], good: Sequence[float], bad: Sequence[float]) -> Picture:
    """Draw a good and a bad run of the same parts, and where they first differ.

    Parameters
    ----------
    parts : names, in the order of computation
    good, bad : a number for each part
    """
    sheet = Sketch(7.2, 2.2)
    gap = 5.4 / len(parts)
    places = [1.75 + gap * number for number in range(len(parts))]
    first = next(
        (at for at, pair in enumerate(zip(good, bad, strict=True)) if pair[0] != pair[1]), None
    )
    for y, name, numbers in ((1.65, "good", good), (0.75, "bad", bad)):
        sheet.text(0.1, y, name, size=10.5, align="left", bold=True)
        boxes = []
        for at, (x, part, number) in enumerate(zip(places, parts, numbers, strict=True)):
            off = name == "bad" and first is not None and at >= first
            boxes.append(
                sheet.box(
                    x,
                    y,
                    f"{part}\n{with_minus(f'{number:.2f}')}",
                    width=1.1,
                    height=0.54,
                    role="trained" if off else "output",
                )
            )
        sheet.arrow((0.75, y), boxes[0])
        for one, other in itertools.pairwise(boxes):
            sheet.arrow(one, other)
    for at, x in enumerate(places):
        same = good[at] == bad[at]
        sheet.text(x, 1.2, "=" if same else "≠", size=15, bold=True)
        if first is not None and at >= first:
            told = "first difference" if at == first else "a consequence?"
            sheet.text(x, 0.12, told, size=9.5, bold=at == first)
    return sheet.picture(
        "Two runs of the same parts: "
        + "; ".join(
            f"{part} {with_minus(f'{a:.2f}')} and {with_minus(f'{b:.2f}')}"
            for part, a, b in zip(parts, good, bad, strict=True)
        )
        + f". They first differ at {parts[first] if first is not None else 'no part'}."
    )


def __dir__() -> list[str]:
    return sorted(__all__)
