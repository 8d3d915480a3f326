"""The exercise ``drop_tokens``."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.adaptive_attention.drop_tokens_mistakes import (
    MASK,
    MISTAKES,
    NOT_THESE,
    PADDED,
    TURNED,
    WHOLE,
)
from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    a_pair,
    a_tensor,
    require,
    where,
)


def check(answer: Answer, draw: Draw) -> Held:
    """``drop_tokens(hidden, lengths, importance, keep)``: the most important tokens stay."""
    compared = Comparison(answer, reference, MISTAKES, read=_read)
    otherwise = (
        "Of text {text}, with {length} tokens and importances {importance}, the tokens {found} "
        "stay; they should be {right}, of a share of {keep}."
    )

    def drawn(lengths: list[int], keep: float, whole: bool = False) -> Call:
        tokens = sum(lengths)
        importance = draw.normal(tokens)
        if whole:
            importance = (2 * draw.normal(tokens)).round()
        return Call(_hidden(draw, tokens), torch.tensor(lengths), importance, keep)

    with where("For a single text, of which all tokens stay:"):
        compared.on(lambda: drawn([draw.whole(3, 6)], 1.0), otherwise, facts=_facts, draws=2)
    yield "all tokens stay with keep = 1"

    def half() -> Call:
        return drawn([2 * draw.whole(3, 5)], 0.5)

    for first, high in ((True, True), (False, True), (False, False)):
        with where("For a single text:"):
            compared.on(
                functools.partial(_telling, draw, drawn, 1, first, high),
                otherwise,
                facts=_facts,
            )
    with where("For a single text, of which just a half stays:"):
        compared.on(half, otherwise, facts=_facts)
    yield "the most important tokens and the first one, in their order"

    with where("For several texts:"):
        compared.on(lambda: _telling(draw, drawn, 4), otherwise, facts=_facts)
    with where("For texts of 1, 2 and 3 tokens:"):
        compared.on(lambda: drawn([2, 1, 1, 3, 1], 0.4), otherwise, facts=_facts, draws=2)
    with where("For a share that leaves one token of a text:"):
        compared.on(lambda: drawn([5, 8, 3], 0.06), otherwise, facts=_facts, draws=2)
    yield "each text by itself, whatever its length"

    for sign, side in ((1, "above"), (-1, "below")):

        def large(sign: int = sign) -> Call:
            hidden, lengths, importance, keep = _telling(draw, drawn, 3).arguments
            return Call(hidden, lengths, 1e4 * importance + sign * 3e4, keep)

        with where(f"For importances in the ten thousands, most of them {side} 0:"):
            compared.on(large, otherwise, facts=_facts, draws=2)

    def equal() -> Call:
        return drawn([draw.whole(40, 60), 7, draw.whole(20, 30)], 0.45 + draw.uniform() / 10, True)

    with where("Where tokens are equally important:"):
        compared.on(equal, otherwise, facts=_facts)
    yield "the earlier ones of those that are equally important"

    hidden, lengths, importance, keep = _telling(draw, drawn, 3).arguments
    _gradients(answer, hidden, lengths, importance, keep)
    yield "gradients reach those that stay"


def _gradients(answer: Answer, *arguments: Any) -> None:
    """Those of `hidden`; the importance only decides."""
    hidden, lengths, importance, keep = arguments

    def given(hidden: Tensor) -> Any:
        return answer.given(hidden, lengths.clone(), importance.clone(), keep)

    one = Answer(given, answer.name, answer.forbidden, answer.seconds_left)
    one.gradients(lambda hidden: reference(hidden, lengths, importance, keep)[0], hidden, pick=0)


def reference(
    hidden: Tensor, lengths: Tensor, importance: Tensor, keep: float
) -> tuple[Tensor, Tensor]:
    """Text by text, on plain lists."""
    chosen, counts, start = [], [], 0
    for length in lengths.tolist():
        own = importance[start : start + length].tolist()
        count = math.ceil(keep * length)
        others = sorted(range(1, length), key=lambda place: (-own[place], place))
        chosen += [start + place for place in sorted([0, *others[: count - 1]])]
        counts.append(count)
        start += length
    return hidden[chosen], torch.tensor(counts)


def _hidden(draw: Draw, tokens: int) -> Tensor:
    """Vectors that tell tokens apart."""
    return draw.normal(tokens, 3) + torch.arange(tokens)[:, None] / 7


def _telling(
    draw: Draw, drawn: Callable[..., Call], texts: int, first: bool = False, high: bool = False
) -> Call:
    """Texts of which a share of tokens stays that is no whole number.

    The ``first`` token of the first text is its most important one, or else its least important;
    and the share is rounded up to the nearest (``high``), or up to the one that is not the nearest.
    """
    while True:
        lengths = (4 + torch.randperm(9, generator=draw.generator)[:texts]).tolist()
        keep = 0.3 + 0.4 * draw.uniform()
        parts = [keep * length % 1 for length in lengths]
        between = texts < 3 or min(lengths) < lengths[0] < max(lengths)
        if min(parts) < 0.05 or max(parts) > 0.95 or not between or keep * lengths[0] < 2:
            continue
        if not (parts[0] > 0.55 if high else parts[0] < 0.45):
            continue
        call = drawn(lengths, keep)
        own = call.arguments[2][: lengths[0]]
        if (own.argmax() if first else own.argmin()) == 0:
            return call


def _read(result: Any, right: tuple[Tensor, Tensor]) -> list[Tensor]:
    """The vectors that stay, and the lengths."""
    hidden, lengths = a_pair(result, "hidden", "lengths")
    both = isinstance(hidden, Tensor) and isinstance(lengths, Tensor)
    if both and hidden.dim() == 1 and lengths.dim() == 2:
        raise CheckFailed(TURNED)
    if isinstance(lengths, list | tuple):
        lengths = torch.tensor(lengths)
    if isinstance(hidden, Tensor) and hidden.dim() == 3:
        raise CheckFailed(PADDED.format(shape=tuple(hidden.shape)))
    if isinstance(hidden, Tensor) and not hidden.is_floating_point():
        what = "A mask" if hidden.dtype == torch.bool else "A tensor of whole numbers"
        raise CheckFailed(MASK.format(what=what))
    lengths = a_tensor(lengths, tuple(right[1].shape), "lengths", array=True)
    require(not lengths.is_floating_point(), WHOLE.format(dtype=lengths.dtype))
    shape = tuple(right[0].shape)
    if isinstance(hidden, Tensor) and hidden.dim() == 2:
        shape = (len(hidden), shape[1])  # how many stay is told in the lesson's words
        told = NOT_THESE.format(lengths=lengths.tolist(), tokens=len(hidden))
        require(int(lengths.sum()) == len(hidden), told)
    return [a_tensor(hidden, shape, "hidden").detach(), lengths.double()]


def _facts(call: Call, result: Any) -> dict[str, Any]:
    """What happened to the first text that is wrong."""
    hidden, lengths, importance, keep = call.arguments
    found, counts = result[0].detach(), result[1]
    right, right_counts = call.of(reference)
    facts: dict[str, Any] = {"keep": f"{keep:.2f}", "tokens": len(hidden)}
    counts = [int(count) for count in counts]
    starts = [int(start) for start in (lengths.cumsum(0) - lengths)]
    mine = theirs = text = 0
    for count, expected in zip(counts, right_counts.tolist(), strict=True):
        here, there = found[mine : mine + count], right[theirs : theirs + expected]
        if here.shape != there.shape or not torch.allclose(here, there):
            break
        mine, theirs, text = mine + count, theirs + expected, text + 1

    def places(rows: Tensor) -> list[Any]:
        near = (hidden[None] - rows[:, None]).abs().amax(-1).min(-1)
        return [
            int(place) - starts[text] if gap < 1e-5 else "?"
            for gap, place in zip(near.values, near.indices, strict=True)
        ]

    text = min(text, len(counts) - 1)
    length = int(lengths[text])
    own = importance[starts[text] : starts[text] + length]
    return facts | {
        "text": text,
        "length": length,
        "importance": [round(number, 2) for number in own.tolist()][:8],
        "found": places(found[mine : mine + counts[text]]),
        "right": places(right[theirs : theirs + int(right_counts[text])]),
        "lengths": counts,
    }


EXERCISE = Exercise(
    "drop_tokens",
    "adaptive_attention",
    3,
    check,
    frozenset({"attnlab.most_important"}),
    MISTAKES,
)
