"""The exercise ``merge_tiles``."""

import itertools
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    a_list,
    a_tensor,
    where,
)
from attnlab.course.checks.language_model.merge_tiles_mistakes import (
    EMPTY,
    LOST_DIGITS,
    MISTAKES,
    OVERFLOW,
    THREE,
)

PARTS = ("maximum", "sum", "mixture")


def check(answer: Answer, draw: Draw) -> Held:
    """``merge_tiles(max_a, sum_a, mix_a, max_b, sum_b, mix_b)``: two tiles of softmax as one."""
    compared = Comparison(answer, _reference, MISTAKES, read=_read)
    otherwise = "The {part} is wrong: {found}, and it should be {right}."

    def drawn(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Call:
        """Two tiles of 1 to 5 keys for each query."""
        width = draw.whole(2, 4)
        a = _tile(draw, shape, draw.whole(1, 5), width, scale)
        b = _tile(draw, shape, draw.whole(1, 5), width, scale, shift)
        return Call(*a, *b)

    shifts = itertools.cycle([-2.5, 2.5])  # which of the tiles has the higher scores
    with where("For a single query:"):
        compared.on(lambda: drawn(1, shift=next(shifts)), otherwise, facts=_facts, draws=6)
    yield "one query: whichever of the two tiles has the larger score"

    with where("For several queries, texts and heads:"):
        compared.on(lambda: drawn(draw.whole(4, 7), scale=2.0), otherwise, facts=_facts)
        compared.on(lambda: drawn(2, 3, 5, scale=2.0), otherwise, facts=_facts)
        compared.on(lambda: _square(draw), otherwise, facts=_facts, draws=2)
    yield "any number of axes before the width"

    for scale, shift in ((2e3, 0.0), (2.0, 1e4), (2.0, -1e4)):
        with where("For extreme scores:"):
            compared.on(
                partial(drawn, 2, 5, scale=scale, shift=shift),
                "{told}",
                facts=_facts,
                tolerance=1e-4,
            )
    with where("Where all scores are far below 0:"):
        compared.on(lambda: _moved(drawn(6, scale=2.0), -3e3), "{told}", facts=_facts)
    yield "exact for extreme scores"

    with where("Where a mask hides a whole tile from some queries:"):
        compared.on(
            lambda: _hidden(drawn(6, scale=2.0), [0, 2], [1, 4]), otherwise, facts=_facts, draws=2
        )
        compared.on(
            lambda: _hidden(drawn(6, scale=2.0), [0, 2, 3], [1, 2, 4]), EMPTY, facts=_facts, draws=2
        )
    yield "a tile in which there is nothing to see"

    _all_tiles(answer, draw)
    yield "tile after tile the same as softmax over all keys"


def _tile(
    draw: Draw, shape: tuple[int, ...], keys: int, width: int, scale: float, shift: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Maximum, sum and mixture of some scores and values."""
    return _seen(scale * draw.normal(*shape, keys) + shift, draw.normal(*shape, keys, width))


def _seen(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    largest = scores.amax(-1)
    powers = (scores - largest[..., None]).exp()
    return largest, powers.sum(-1), (powers[..., None] * values).sum(-2)


def _square(draw: Draw) -> Call:
    """As many queries as numbers in a value, so that a wrong axis broadcasts as well."""
    return Call(*_tile(draw, (4,), 3, 4, 2.0), *_tile(draw, (4,), 3, 4, 2.0))


def _moved(call: Call, by: float) -> Call:
    max_a, sum_a, mix_a, max_b, sum_b, mix_b = call.arguments
    return Call(max_a + by, sum_a, mix_a, max_b + by, sum_b, mix_b)


def _hidden(call: Call, rows_a: list[int], rows_b: list[int]) -> Call:
    """Nothing is seen of the tiles in these rows."""
    parts = [part.clone() for part in call.arguments]
    for tile, rows in ((parts[:3], rows_a), (parts[3:], rows_b)):
        for part, empty in zip(tile, (-torch.inf, 0.0, 0.0), strict=True):
            part[rows] = empty
    return Call(*parts)


def _all_tiles(answer: Answer, draw: Draw) -> None:
    """Nine keys in tiles of 2, 4 and 3, beside plain softmax."""
    scores, values = 30 * draw.normal(2, 5, 9), draw.normal(2, 5, 9, 4)
    right = (scores.double().softmax(-1)[..., None] * values.double()).sum(-2)
    for order in ((0, 1, 2), (2, 1, 0)):
        parts = [
            _seen(each, value)
            for each, value in zip(
                scores.split([2, 4, 3], -1), values.split([2, 4, 3], -2), strict=True
            )
        ]
        first, *others = (parts[index] for index in order)
        merged: Any = first
        for other in others:
            merged = _read(answer(*merged, *other), first)
        apart = float((merged[2] / merged[1][..., None] - right).detach().abs().max())
        if not apart < 1e-4:
            raise CheckFailed(
                f"Three tiles, one after the other, differ by {apart:.3g} from softmax over all "
                "keys.\nIs what comes back in the form in which it went in?"
            )


def _reference(*parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """In float64, by the logarithm of the sums."""
    max_a, sum_a, mix_a, max_b, sum_b, mix_b = (part.double() for part in parts)
    largest = torch.where(max_a >= max_b, max_a, max_b)
    nothing = largest == -torch.inf
    safe = torch.where(nothing, 0.0, largest)
    share_a, share_b = torch.exp(max_a - safe), torch.exp(max_b - safe)
    total = sum_a * share_a + sum_b * share_b
    mixture = mix_a * share_a[..., None] + mix_b * share_b[..., None]
    return largest.float(), total.float(), mixture.float()


def _read(result: Any, right: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        raise CheckFailed(THREE.format(found="One tensor"))
    parts = a_list(result, "maximum, sum and mixture")
    if len(parts) != 3:
        raise CheckFailed(THREE.format(found=f"{len(parts)} things"))
    return [
        a_tensor(part, tuple(wanted.shape), what, may_be_nan=True).double()
        for part, wanted, what in zip(parts, right, PARTS, strict=True)
    ]


def _facts(call: Call, result: Any) -> dict[str, Any]:
    """The first part that is wrong, and the number of it that is furthest off."""
    maxima = torch.cat([call.arguments[0].flatten(), call.arguments[3].flatten()])
    largest = maxima[maxima.isfinite()].abs().max()
    facts: dict[str, Any] = {"largest": largest, "part": "result", "found": "", "right": ""}
    for what, mine, wanted in zip(PARTS, result, call.of(_reference), strict=False):
        facts["part"] = what
        if mine.shape != wanted.shape:
            break
        if torch.allclose(mine.double(), wanted.double(), 2e-5, 2e-5):
            continue
        apart = (mine.double() - wanted.double()).abs().nan_to_num(torch.inf).detach()
        worst = int(apart.flatten().argmax())
        facts["found"] = f"{float(mine.flatten()[worst]):.4g}"
        facts["right"] = f"{float(wanted.flatten()[worst]):.4g}"
        break
    parts = [part for part in result if isinstance(part, Tensor)]
    lost = all(part.isfinite().all() for part in parts)
    return facts | {"told": (LOST_DIGITS if lost else OVERFLOW).format(**facts)}


EXERCISE = Exercise(
    "merge_tiles",
    "language_model",
    2,
    check,
    frozenset({"attnlab.merge_tiles", "attnlab.tiled_attention"}),
    MISTAKES,
    ours=_reference,
)
