"""The exercise ``rotary``."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    NO_GRADIENT,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    require,
    same_shape,
    where,
)

ONLY_THE_DISTANCE = (
    "The score of a query and a key {distance} places apart is {first:.4f} at one place of the "
    "text and {second:.4f} further on.\nDo both turn by the angle of their own position?"
)
TWO_KINDS = (
    "Angles and numbers are laid out in two ways: the one in pairs of neighbours, the other in "
    "halves.\nHere everything is neighbours: does the table of angles repeat each angle, 0 0 1 1, "
    "or the whole row, 0 1 0 1?"
)
LONG = (
    "For positions in the thousands it is wrong by {apart:.3f}.\nIs a table of angles too short, "
    "or is a position kept in half precision?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``rotary(x, positions, base)``: each pair of neighbouring numbers turned by its angle."""
    compared = Comparison(answer, _reference, MISTAKES, tolerance=2e-5)

    def drawn(width: int, positions: Tensor, base: float, batch: int = 2, heads: int = 3) -> Call:
        return Call(draw.normal(batch, heads, len(positions), width), positions, base)

    with where("For one pair of numbers (D = 2):"):
        compared.on(
            lambda: drawn(2, torch.arange(draw.whole(4, 6)), _base(draw)),
            "The pair at position p should turn by p radians, counterclockwise.\n"
            "What becomes of (1, 0) at position 1?",
            facts=_facts,
        )
    yield "one pair turns by its position"

    with where("For several pairs:"):
        compared.on(
            lambda: drawn(2 * draw.whole(2, 4), torch.arange(draw.whole(4, 6)), 10000.0),
            "Pair i, the numbers 2 i and 2 i + 1, should turn by p * base ** (-2 i / D).\n"
            "The largest difference is in pair {pair} of {pairs}.",
            facts=_facts,
        )
        compared.on(
            lambda: drawn(2 * draw.whole(2, 4), torch.arange(draw.whole(4, 6)), _base(draw)),
            "With another base (here {base:.0f}) the result is wrong.\nWhere do you use `base`?",
            facts=_facts,
        )
    yield "each pair with a frequency of its own, from fast to slow"

    def later() -> Call:
        first, tokens = draw.whole(3, 40), draw.whole(4, 6)
        return drawn(2 * draw.whole(2, 4), torch.arange(first, first + tokens), _base(draw))

    def anywhere() -> Call:
        positions = torch.randperm(60, generator=draw.generator)[: draw.whole(3, 7)]
        return drawn(2 * draw.whole(2, 4), positions, _base(draw))

    for positions, place in (
        (anywhere, "Where the positions are in no order:"),
        (later, "Where the positions do not begin at 0, as with a cache:"),
    ):
        with where(place):
            compared.on(
                positions,
                "The result is wrong.\nAt which position stands token t? Is it `positions[t]`?",
                facts=_facts,
            )
    with where("For a single token, and as many heads as tokens or numbers:"):
        compared.on(
            lambda: drawn(4, torch.tensor([draw.whole(2, 9)]), 100.0, 1, 1),
            "It is wrong.",
            facts=_facts,
            draws=2,
        )
        compared.on(
            lambda: drawn(4, torch.arange(4), 100.0, 4, 4), "It is wrong.", facts=_facts, draws=2
        )
    yield "any positions, in any order"

    compared.on(
        lambda: drawn(8, torch.tensor([0, 1000, 2047, 4095]), 10000.0),
        LONG,
        facts=_facts,
        tolerance=5e-3,
        draws=2,
    )
    _distances(answer, draw)
    yield "scores depend on the distance only"
    answer.gradients(_reference, draw.normal(1, 2, 5, 6), torch.arange(2, 7), 100.0)
    yield "gradients reach x"


def _distances(answer: Answer, draw: Draw) -> None:
    """The dot product of a query and a key, at two places of a text."""
    query, key = (draw.normal(1, 1, 1, 8) for _ in range(2))
    distance, shift = draw.whole(1, 9), draw.whole(10, 90)

    def score(place: int) -> float:
        shape = (1, 1, 1, 8)
        turned = answer.tensor(query, torch.tensor([place + distance]), 1000.0, shape=shape)
        other = answer.tensor(key, torch.tensor([place]), 1000.0, shape=shape)
        return float((turned * other).sum())

    first, second = score(0), score(shift)
    told = ONLY_THE_DISTANCE.format(distance=distance, first=first, second=second)
    require(math.isclose(first, second, rel_tol=1e-3, abs_tol=1e-3), told)


def _base(draw: Draw) -> float:
    """A base that is not the usual one."""
    return float(draw.whole(2, 20) ** 2)


def _reference(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Pairs as complex numbers, multiplied by numbers of length 1."""
    width = x.shape[-1]
    exponents = torch.arange(width // 2).double() * 2 / width
    angles = positions.double()[:, None] / base**exponents
    turns = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


def _facts(call: Call, result: Any) -> dict[str, Any]:
    x, positions, base = call.arguments
    right, pair, apart = call.of(_reference), 0, 0.0
    shape = tuple(result.shape) if isinstance(result, Tensor) else None
    if isinstance(result, Tensor) and result.shape == right.shape:
        difference = (result - right).detach().abs()
        apart = float(difference.max())
        pair = int(difference.amax((0, 1, 2)).nan_to_num(9.0).argmax()) // 2
    return {
        "pair": pair,
        "pairs": x.shape[-1] // 2,
        "base": base,
        "shape": shape,
        "first": int(positions[0]),
        "apart": apart,
    }


# --- What learners write instead -----------------------------------------------------------------

Frequencies = Callable[[int, float], Tensor]  # of the width and the base


def _usual(width: int, base: float) -> Tensor:
    return base ** (-torch.arange(0, width, 2) / width)


def _interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack([first * cos - second * sin, first * sin + second * cos], -1).flatten(-2)


def _halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


def _torn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs of neighbours, written one half behind the other."""
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


def _zipped(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Halves, written as pairs of neighbours."""
    first, second = x.chunk(2, -1)
    return torch.stack([first * cos - second * sin, first * sin + second * cos], -1).flatten(-2)


def _turned(
    *,
    frequencies: Frequencies = _usual,
    turn: Callable[[Tensor, Tensor, Tensor], Tensor] = _interleaved,
    places: Callable[[Tensor, Tensor], Tensor] = lambda positions, x: positions,
    angles: Callable[[Tensor], Tensor] = lambda angles: angles,
) -> Callable[..., Tensor]:
    """RoPE with a part exchanged."""

    def answer(x: Tensor, positions: Tensor, base: float) -> Tensor:
        own = frequencies(x.shape[-1], base)
        turns = angles(places(positions, x)[:, None].float() * own)
        return turn(x, turns.cos(), turns.sin())

    return answer


def _halves_of(x: Tensor) -> Tensor:
    """x turned by a quarter, its pairs made of halves."""
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


def _neighbours_of(x: Tensor) -> Tensor:
    return torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)


def _twice_each(turns: Tensor) -> Tensor:
    return turns.repeat_interleave(2, -1)


def _one_after(turns: Tensor) -> Tensor:
    return torch.cat([turns, turns], -1)


def _laid_out(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    pairs: Callable[[Tensor], Tensor],
    turns: Callable[[Tensor], Tensor],
) -> Tensor:
    """x and its quarter turn, with angles that are laid out in one way or the other."""
    return x * turns(cos) + pairs(x) * turns(sin)


def _mirrored(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack([first * cos + second * sin, first * sin - second * cos], -1).flatten(-2)


def _no_minus(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack([first * cos + second * sin, first * sin + second * cos], -1).flatten(-2)


def _one_after_the_other(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The second number of a pair is made of the first one as it is already turned."""
    first, second = x[..., 0::2], x[..., 1::2]
    first = first * cos - second * sin
    return torch.stack([first, first * sin + second * cos], -1).flatten(-2)


def _added(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x + torch.stack([sin, cos], -1).flatten(-2)


def _times_cos(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x * cos.repeat_interleave(2, -1)


def _over_heads(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """The positions run over the axis of the heads, where there are as many."""
    if x.shape[1] != len(positions):
        return _turned()(x, positions, base)
    return _turned()(x.transpose(1, 2), positions, base).transpose(1, 2)


def _heads_merged(x: Tensor, positions: Tensor, base: float) -> Tensor:
    return _turned()(x, positions, base).transpose(1, 2).flatten(2)


def _first_half(x: Tensor, positions: Tensor, base: float) -> Tensor:
    width = max(x.shape[-1] // 4 * 2, 2)
    turned = _turned()(x[..., :width], positions, base)
    return torch.cat([turned, x[..., width:]], -1)


def _table_of_64(x: Tensor, positions: Tensor, base: float) -> Tensor:
    return _turned()(x, positions.clamp_max(63), base)


def _in_half_precision(x: Tensor, positions: Tensor, base: float) -> Tensor:
    return _turned(places=lambda positions, x: positions.to(torch.bfloat16).float())(
        x, positions, base
    )


def _over_the_largest(width: int, base: float) -> Tensor:
    return base ** (-torch.arange(0, width, 2) / max(width - 2, 1))


MISTAKES = [
    Mistake(
        _heads_merged,
        "The result has shape {shape}: the heads are merged.\nx comes back in its own shape.",
        alike=same_shape,
    ),
    Mistake(
        _turned(angles=lambda angles: -angles),
        "It turns clockwise.\nWhich of the two numbers gets the minus sign? "
        "(first * cos - second * sin, first * sin + second * cos)",
    ),
    Mistake(
        _turned(turn=_mirrored),
        "The pair is mirrored, not turned: at position 0 its second number changes its sign.\n"
        "Which of the four products has a minus?",
    ),
    Mistake(
        _turned(turn=_no_minus),
        "A minus sign is missing, so the length of a pair changes.\n"
        "Which of the four products has it?",
    ),
    Mistake(
        _turned(turn=_one_after_the_other),
        "The second number of a pair is made of a first one that is turned already.\n"
        "Do you overwrite `first` before it is used again?",
    ),
    Mistake(
        _turned(turn=_added),
        "Sines and cosines are added to x, as in lesson 01.\nHere x is turned, by products.",
    ),
    Mistake(
        _turned(turn=_times_cos),
        "x is multiplied by the cosine, and that is all.\nWhat does a rotation take from the other "
        "number of the pair?",
    ),
    Mistake(
        _turned(turn=lambda x, cos, sin: _interleaved(x, sin, cos)),
        "Sine and cosine have changed places: at position 0 x should stay as it is.\n"
        "Which one is 1 at angle 0?",
    ),
    Mistake(
        _turned(angles=torch.deg2rad),
        "The angles are taken for degrees.\nSine and cosine of torch take radians.",
    ),
    Mistake(
        _turned(angles=lambda angles: 2 * math.pi * angles),
        "Nothing turns.\nWhere do sine and cosine of the angles come in? Or is there a factor 2 pi "
        "too many, so that position 1 is a whole turn?",
    ),
    Mistake(
        _turned(places=lambda positions, x: positions + 1),
        "The positions are counted from 1.\n`positions` are to be taken as they are.",
    ),
    Mistake(
        _turned(turn=_halves),
        "Pair i is made of the numbers i and i + D / 2, as in Llama's code.\nHere a pair is "
        "neighbours, 2 i and 2 i + 1: which slice takes every other number?",
    ),
    Mistake(
        _turned(turn=_torn),
        "The pairs are right, but they come back torn apart: all first numbers, then all second "
        "ones.\nWhich axis does `stack` make, and where must it be flattened?",
    ),
    Mistake(
        _turned(turn=_zipped),
        "Halves of x are taken for the pairs, and come back as neighbours.\n"
        "Which slice takes every other number?",
    ),
    Mistake(_turned(turn=partial(_laid_out, pairs=_halves_of, turns=_twice_each)), TWO_KINDS),
    Mistake(_turned(turn=partial(_laid_out, pairs=_neighbours_of, turns=_one_after)), TWO_KINDS),
    Mistake(
        _turned(frequencies=lambda width, base: torch.ones(width // 2)),
        "All pairs turn equally fast.\nWhere do you use the index of the pair?",
    ),
    Mistake(
        _turned(frequencies=lambda width, base: base ** (-torch.arange(width // 2) / width)),
        "The exponent is i / D; it should be 2 i / D.\nHow many pairs are there, and where does "
        "the last one end?",
    ),
    Mistake(
        _turned(frequencies=lambda width, base: base ** (-torch.arange(0, width, 2) * 2 / width)),
        "The exponent is 4 i / D; it should be 2 i / D.\nIs the 2 already in the step of your "
        "`arange`?",
    ),
    Mistake(
        _turned(frequencies=_over_the_largest),
        "The exponents run up to 1, with the last pair.\nBy what are they divided? D, not D - 2.",
    ),
    Mistake(
        _turned(frequencies=lambda width, base: base ** (torch.arange(0, width, 2) / width)),
        "The pairs turn faster and faster.\nIs a minus in the exponent missing, or a division?",
    ),
    Mistake(
        _turned(frequencies=lambda width, base: _usual(width, base).flip(0)),
        "The slow pairs come first.\nWhich exponent has pair 0?",
    ),
    Mistake(
        _turned(frequencies=lambda width, base: base ** (-torch.arange(2, width + 1, 2) / width)),
        "Even the first pair is slowed down.\nIs the index of the pairs counted from 1?",
    ),
    Mistake(
        _turned(frequencies=lambda width, base: 1 / (base * torch.arange(0, width, 2) / width + 1)),
        "The frequencies fall along a line instead of a power.\nIs it `**` or `*`?",
    ),
    Mistake(
        _first_half,
        "Only the first half of the numbers turns.\nHow many pairs has x, and are all turned?",
    ),
    Mistake(
        _turned(frequencies=lambda width, base: _usual(width, 10000.0)),
        "The base is always 10,000 (here {base:.0f} is asked for).\nWhere do you use `base`?",
    ),
    Mistake(
        _turned(places=lambda positions, x: torch.arange(x.shape[2])),
        "The tokens are counted from 0, whatever `positions` says (here they begin with {first})."
        "\nWhere do you use it?",
    ),
    Mistake(
        _turned(places=lambda positions, x: positions[0] + torch.arange(x.shape[2])),
        "The tokens are counted from the first position on.\nMay there be gaps between them?",
    ),
    Mistake(
        _turned(places=lambda positions, x: positions.sort().values),
        "The positions are sorted.\nWhich of them is that of token t?",
    ),
    Mistake(
        _turned(places=lambda positions, x: positions - positions.min()),
        "The smallest position is taken for 0 (here they begin with {first}).\nOf a query that "
        "comes alone and keys in a cache, what is then the distance?",
    ),
    Mistake(
        _over_heads,
        "With as many heads as tokens it is the heads that turn.\nWhich axis of (B, H, T, D) has "
        "the positions, counted from the end?",
    ),
    Mistake(_table_of_64, LONG, compared=False),
    Mistake(_in_half_precision, LONG, compared=False),
    Mistake(
        lambda x, positions, base: _turned()(x.detach(), positions, base),
        NO_GRADIENT,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "rotary",
    "language_model",
    3,
    check,
    frozenset({"attnlab.rotate", "attnlab.rotary_angles"}),
    MISTAKES,
    ours=_reference,
)
