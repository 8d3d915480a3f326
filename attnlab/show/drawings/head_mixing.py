"""Drawings of lesson 06: the desk, margins, routes to the answer, patching, the last layer."""

import numpy as np
from scipy.special import softmax

from attnlab.show.drawings.sketch import INK, Sketch
from attnlab.show.plots.picture import BETTER_WITHOUT, NEEDED, Picture
from attnlab.show.wording import number, with_minus


def mixing_desk(
    scores: tuple[float, float] = (2.0, 0.0),
    temperature: float = 2.0,
    scale: float = 0.5,
    values: tuple[float, float] = (1.0, -1.0),
) -> Picture:
    """Draw one head that looks at two tokens, with its two knobs, and the sum over heads.

    Parameters
    ----------
    scores : of the two tokens
    temperature, scale : where the knobs of this head stand
    values : what the two tokens have to offer, a number each
    """
    before, after = softmax(np.array(scores)), softmax(np.array(scores) / temperature)
    context = float(after @ np.array(values))
    sheet = Sketch(7.6, 2.65)
    y, cell = 1.75, (0.46, 0.32)
    sheet.text(0.75, y + 0.62, "scores", size=10, bold=True)
    first = sheet.numbers(0.75, y, [scores], role="query", cell=cell)
    sheet.text(2.75, y + 0.62, "weights", size=10, bold=True)
    second = sheet.numbers(2.75, y, [after.tolist()], role="weights", cell=cell, digits=2)
    sheet.text(4.55, y + 0.62, "mixture of values", size=10, bold=True)
    third = sheet.numbers(4.55, y, [[context]], role="value", cell=cell, digits=2)
    sheet.text(6.75, y + 0.62, "the head adds", size=10, bold=True)
    last = sheet.numbers(6.75, y, [[scale * context]], cell=cell, digits=2)
    sheet.arrow(first, second, f"÷ τ = {temperature:g}", role="weights")
    sheet.text(1.75, y - 0.14, "softmax", size=9)
    sheet.arrow(second, third, role="value")
    middle = (second.side("right")[0] + third.side("left")[0]) / 2
    told = f"· values {number(values[0], 0)}, {number(values[1], 0)}"
    sheet.text(middle, y + 0.13, told, size=9)
    sheet.arrow(third, last, f"× s = {scale:g}", role="trained")
    sheet.text((third.side("right")[0] + last.side("left")[0]) / 2, y - 0.14, "W$^O_h$ = 1", size=9)
    untouched = sheet.numbers(2.75, 0.95, [before.tolist()], role="frozen", cell=cell, digits=2)
    sheet.text(untouched.side("left")[0] - 0.1, 0.95, "at τ = 1:", size=9, align="right")
    total = sheet.box(6.05, 0.42, "Σ over heads, + bias", width=1.75)
    sheet.arrow((6.75, last.side("bottom")[1]), (6.75, total.side("top")[1]))
    others = sheet.box(2.9, 0.42, "the other heads, with their own τ and s", width=3.1)
    sheet.arrow(others, total)
    return sheet.picture(
        f"One head: scores {scores[0]:g} and {scores[1]:g} are divided by the temperature "
        f"{temperature:g} and become weights {after[0]:.2f} and {after[1]:.2f} (at 1 they would be "
        f"{before[0]:.2f} and {before[1]:.2f}). The mixture of values {values[0]:g} and "
        f"{values[1]:g} is {context:.2f}; times the scale {scale:g}, with a projection of 1, the "
        f"head adds {scale * context:.2f} to the sum over heads."
    )


def margins(
    before: tuple[float, ...] = (3.4, 2.2, 1.5, 0.6, -1.2),
    after: tuple[float, ...] = (2.4, 1.5, 0.9, 0.2, -1.5),
) -> Picture:
    """Draw the margins of a few sentences before and after a change, and what each measure says.

    Parameters
    ----------
    before, after : margins of the same sentences, logits
    """
    first, second = np.array(before), np.array(after)
    sheet = Sketch(7.6, 1.4 + 0.32 * len(first))
    left, unit = 3.05, 0.72  # where 0 is, and inches for a logit
    bottom, top = 0.7, 0.85 + 0.32 * len(first)
    sheet.axes.plot([left, left], [bottom, top + 0.3], color=INK, lw=1)
    sheet.text(left - 0.12, top + 0.22, "wrong", size=9.5, align="right")
    sheet.text(left + 0.12, top + 0.22, "right", size=9.5, align="left")
    both = np.concatenate([first, second])
    ticks = range(int(np.floor(both.min())), int(np.ceil(both.max())) + 1)
    ends = [left + unit * tick for tick in (ticks[0], ticks[-1])]
    sheet.axes.plot(ends, [bottom, bottom], color=INK, lw=1)
    for tick in ticks:
        at = left + unit * tick
        sheet.axes.plot([at, at], [bottom, bottom - 0.06], color=INK, lw=1)
        sheet.text(at, bottom - 0.2, with_minus(str(tick)), size=9.5)
    words = "margin: the right label's logit minus the wrong one's"
    sheet.text(sum(ends) / 2, bottom - 0.5, words, size=9.5)
    for row, (old, new) in enumerate(zip(first, second, strict=True)):
        y = top - 0.2 - 0.32 * row
        colour = NEEDED if new < old else BETTER_WITHOUT
        sheet.axes.annotate(
            "",
            (left + unit * new, y),
            (left + unit * old, y),
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6},
        )
        sheet.axes.plot(left + unit * old, y, "o", color="0.35", ms=5)
        sheet.text(1.55, y, f"sentence {row + 1}", size=9.5, align="right")
    mean, right = float((second - first).mean()), ((first > 0).sum(), (second > 0).sum())
    sheet.text(6.75, top - 0.2, "accuracy", size=10, bold=True)
    sheet.text(6.75, top - 0.47, f"{right[0]} of {len(first)} → {right[1]} of {len(first)}")
    sheet.text(6.75, top - 0.9, "mean margin", size=10, bold=True)
    sheet.text(6.75, top - 1.17, f"{number(mean, 2, signed=True)} logits")
    return sheet.picture(
        f"Margins of {len(first)} sentences before and after a head is silenced: "
        f"{right[0]} and then {right[1]} are above 0, so accuracy goes from {right[0]} to "
        f"{right[1]} of {len(first)}, while the mean margin changes by {mean:+.2f}."
    )


def two_routes() -> Picture:
    """Draw the direct route of a head to the answer, and the routes through later layers."""
    sheet = Sketch(7.6, 2.65)
    y, above = 0.6, 2.2
    stream = [sheet.box(x, y, "+ norm", width=0.9) for x in (2.1, 3.9, 5.5)]
    start = sheet.box(0.75, y, "[CLS]", width=1.1)
    answer = sheet.box(6.95, y, "margin", width=0.95, role="output")
    for one, other in zip([start, *stream], [*stream, answer], strict=True):
        sheet.arrow(one, other, weight=2.2, role="text")
    other = sheet.box(0.75, above, "other tokens", width=1.2)
    added = sheet.box(2.1, above, "+ norm", width=0.9)
    sheet.arrow(other, added)
    head = sheet.box(2.1, 1.4, "head", width=0.8, role="weights")
    sheet.arrow(head, stream[0], role="weights", weight=2.2)
    sheet.arrow(head, added, role="weights", dashed=True)
    later = sheet.box(3.9, 1.4, "later heads", width=1.15, role="frozen")
    forward = sheet.box(5.5, 1.4, "feed-forward", width=1.25, role="frozen")
    sheet.arrow(added, later, role="frozen", dashed=True)
    for x in (3.1, 4.7):  # what the stream carries is read again, too
        end = later if x < 4 else forward
        sheet.arrow((x, y + 0.04), end, role="frozen", dashed=True)
    sheet.arrow(later, stream[1], role="frozen", dashed=True)
    sheet.arrow(forward, stream[2], role="frozen", dashed=True)
    sheet.text(4.1, 0.17, "thick: the direct route, along [CLS]'s residual stream", size=9.5)
    sheet.text(5.9, above, "dashed: detours, through later parts", size=9.5)
    return sheet.picture(
        "A head adds to the residual stream of [CLS] and of all other tokens. Along [CLS]'s stream "
        "its addition reaches the margin directly; what it adds at other tokens comes there only "
        "through later heads, which fetch it, and feed-forward networks."
    )


def path_patching() -> Picture:
    """Draw path patching: of all later heads, one alone sees what another head does otherwise."""
    sheet = Sketch(7.6, 2.5)
    sender = sheet.box(0.95, 1.5, "L3H9, as in\nthe first run", width=1.5, role="weights")
    stream = sheet.box(2.75, 1.5, "streams of\nall tokens", width=1.3)
    reader = sheet.box(4.75, 1.5, "one later head", width=1.6, role="weights")
    others = sheet.box(4.75, 0.6, "23 other heads", width=1.6, role="frozen", dashed=True)
    answer = sheet.box(6.85, 1.5, "margin,\nsecond run", width=1.2, role="output")
    for one, other in ((sender, stream), (stream, reader), (reader, answer)):
        sheet.arrow(one, other, role="weights", weight=2.2)
    sheet.arrow(others, answer, role="frozen", dashed=True)
    sheet.text(4.75, 1.87, "sees the change", size=9.5)
    sheet.text(3.85, 0.6, "do not see it", size=9.5, align="right")
    return sheet.picture(
        "The output of L3H9 in the first run goes into the residual streams of the second. One "
        "later head sees the change and passes it on to the margin. The 23 other later heads do "
        "not see it: they are given their inputs of the second run."
    )


def patching(
    source: str = "… the acting is a joy",
    target: str = "… the acting is a mess",
    measure: str = "margin",
) -> Picture:
    """Draw activation patching: one head's output goes from one sentence's run into another's.

    Parameters
    ----------
    source, target : the sentence that the output is taken from, and the one that it is put into
    measure : what is read off at the end
    """
    sheet = Sketch(7.6, 2.1)
    rows = {1.6: (source, f"{measure},\nfirst"), 0.5: (target, f"{measure},\npatched")}
    boxes = {}
    for y, (words, end) in rows.items():
        text = sheet.box(1.0, y, words, width=1.85, size=9.5)
        lower = sheet.box(2.85, y, "layers below", width=1.2)
        head = sheet.box(4.35, y, "head", width=0.85, role="weights", dashed=y < 1)
        upper = sheet.box(5.75, y, "layers above", width=1.2)
        last = sheet.box(7.05, y, end, width=0.95, role="output", size=9)
        for one, other in zip([text, lower, head, upper], [lower, head, upper, last], strict=True):
            sheet.arrow(one, other)
        boxes[y] = head
    sheet.arrow(boxes[1.6], boxes[0.5], role="weights", weight=2.2)
    sheet.text(4.5, 1.05, "its output, copied", size=9.5, align="left")
    return sheet.picture(
        f"Two runs of the model on two sentences, “{source}” and “{target}”. The output of one "
        "head in the first run takes the place of that head's output in the second, and the "
        f"{measure} of the second run is measured again."
    )
