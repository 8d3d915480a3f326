"""Exercise ``fake_quantize``: weights rounded to few steps, a step for each row."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    CHANGES_TENSOR,
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    not_finite,
    require,
)

CODES = (
    "The result holds {dtype}: these are the numbers of steps. Weights are asked for, as floats.\n"
    "How long is a step?"
)
OTHER_TYPE = (
    "The weights were {before} and come back as {after}.\n"
    "Is there a .float() or a new tensor without the dtype of the weights?"
)
ROWS_OF_ZEROS = (
    "A row of zeros becomes NaN: its largest weight is 0, and so is its step.\n"
    "What should stand in place of a step of 0, before you divide by it?"
)
SMALL_ROWS = (
    "Right for weights of ordinary size; in a row whose weights are all very small they are lost.\n"
    "Is there a smallest step, or something added to it? Which rows really need care?"
)
SMALLEST = 1e-30  # what the largest weight of a very small row may be


def check(answer: Answer, draw: Draw) -> Held:
    """``fake_quantize(weight, bits)``: each weight a whole number of its row's steps."""
    compared = Comparison(answer, reference, MISTAKES, read=_in_row_maxima, tolerance=1e-4)
    otherwise = (
        "With {bits} bits the weights are wrong: the largest absolute weight of a row is {steps} "
        "steps.\nHow long is a step, and how many of them is each weight nearest to?"
    )
    compared.on(
        lambda: Call(_matrix(draw, 2, bits := draw.whole(3, 8), alike=True), bits),
        otherwise,
        facts=_facts,
    )
    yield "rows of equal range: the nearest whole number of steps"

    compared.on(
        lambda: Call(_matrix(draw, 4, bits := draw.whole(3, 8)), bits), otherwise, facts=_facts
    )
    yield "a step for each row"

    for bits in (2, 3, 4, 5, 6, 7, 8):

        def with_bits(bits: int = bits) -> Call:
            return Call(_matrix(draw, 3, bits), bits)

        compared.on(with_bits, otherwise, facts=_facts, draws=1)
    yield "8 to 2 bits"

    def with_zeros() -> Call:
        weight, bits = _matrix(draw, 4, 4), 4
        weight[draw.whole(0, 3)] = 0
        return Call(weight, bits)

    compared.on(with_zeros, "A row of zeros does not stay as it is.\nHow long is its step?")
    yield "a row of zeros stays a row of zeros"

    def with_small() -> Call:
        weight, bits = _matrix(draw, 4, 4), 4
        weight[draw.whole(0, 3)] *= SMALLEST
        return Call(weight, bits)

    compared.on(with_small, SMALL_ROWS)
    yield "a row may be as small as it likes"

    weight = _matrix(draw, 2, 4).double()
    after = a_tensor(answer(weight, 4), (2, weight.shape[1]), "weights").dtype
    require(after == weight.dtype, OTHER_TYPE.format(before=weight.dtype, after=after))
    yield "the same type of numbers"


def reference(weight: Tensor, bits: int) -> Tensor:
    """Row by row, number by number."""
    rows = []
    for row in weight.tolist():
        step = max(map(abs, row)) / (2 ** (bits - 1) - 1)
        rows.append([round(number / step) * step if step else 0.0 for number in row])
    return torch.tensor(rows, dtype=torch.float64)


def _matrix(draw: Draw, rows: int, bits: int, alike: bool = False) -> Tensor:
    """Rows of very different size or of one; no weight lies halfway between two steps."""
    columns, steps = 7, 2 ** (bits - 1) - 1
    codes = torch.stack(
        [
            torch.tensor([draw.whole(-steps, steps) for _ in range(columns)], dtype=torch.float)
            for _ in range(rows)
        ]
    )
    away = torch.rand(rows, columns, generator=draw.generator)
    codes = (codes + 0.2 + 0.2 * away).clamp(-steps, steps)
    for row in codes:  # the largest is negative, and somewhere there is a small one
        place = draw.whole(0, columns - 2)
        row[place], row[place + 1] = -steps, 0.3
    sizes = draw.normal(1, 1) if alike else draw.normal(rows, 1) + torch.arange(rows)[:, None]
    return codes * sizes.exp()


def _in_row_maxima(result: Any, right: Tensor) -> Tensor:
    """The weights as shares of the largest in their row, so that each row counts the same."""
    result = a_tensor(result, tuple(right.shape), "weights", may_be_nan=result is right)
    if not result.is_floating_point():
        raise CheckFailed(CODES.format(dtype=str(result.dtype).removeprefix("torch.")))
    largest = right.abs().amax(1, keepdim=True)
    return result.detach().double() / largest.where(largest > 0, torch.ones(()).double())


def _facts(call: Call, result: Any) -> dict[str, Any]:
    bits = call.arguments[1]
    return {"bits": bits, "steps": 2 ** (bits - 1) - 1, "all": 2**bits - 1, "half": 2 ** (bits - 1)}


# --- What learners write instead -----------------------------------------------------------------


def _quantizing(
    largest: Callable[[Tensor], Tensor] = lambda weight: weight.abs().amax(1, keepdim=True),
    steps: Callable[[int], int] = lambda bits: 2 ** (bits - 1) - 1,
    rounded: Callable[[Tensor], Tensor] = torch.round,
    guarded: Callable[[Tensor], Tensor] = lambda step: step.where(step > 0, torch.ones(())),
    back: Callable[[Tensor, Tensor], Tensor] = torch.mul,
) -> Callable[[Tensor, int], Tensor]:
    """Quantisation with a part exchanged."""

    def answer(weight: Tensor, bits: int) -> Tensor:
        step = guarded(largest(weight) / steps(bits))
        return back(rounded(weight / step), step)

    return answer


def _from_lowest_to_highest(weight: Tensor, bits: int) -> Tensor:
    lowest = weight.amin(1, keepdim=True)
    step = (weight.amax(1, keepdim=True) - lowest) / (2**bits - 1)
    step = step.where(step > 0, torch.ones(()))
    return ((weight - lowest) / step).round() * step + lowest


def _in_place(weight: Tensor, bits: int) -> Tensor:
    step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    weight /= step.where(step > 0, torch.ones(()))
    return weight.round() * step


def _always_float32(weight: Tensor, bits: int) -> Tensor:
    return _quantizing()(weight.float(), bits)


NEAREST = "To which whole number should a weight go: the next lower one, or the nearest?"
HOW_MANY = "How many whole numbers do {bits} bits hold, and how many of them are positive?"
MISTAKES = [
    Mistake(
        lambda weight, bits: weight.clone(),
        "The weights come back as they were.\nDo you return the rounded ones?",
    ),
    Mistake(
        _quantizing(back=lambda codes, step: codes),
        "The numbers of steps come back. Weights are asked for.\nHow long is a step?",
    ),
    Mistake(
        _quantizing(rounded=torch.trunc),
        f"What follows the decimal point is cut off, so that every weight moves towards 0.\n"
        f"{NEAREST}",
    ),
    Mistake(
        _quantizing(rounded=torch.floor),
        f"Every weight goes down to the next step, so that their mean falls.\n{NEAREST}",
    ),
    Mistake(
        _quantizing(rounded=torch.ceil),
        f"Every weight goes up to the next step, so that their mean rises.\n{NEAREST}",
    ),
    Mistake(
        _quantizing(steps=lambda bits: 2 ** (bits - 1)),
        f"The largest absolute weight is {{half}} steps; it should be {{steps}}.\n{HOW_MANY}",
    ),
    Mistake(
        _quantizing(steps=lambda bits: 2**bits - 1),
        f"The largest absolute weight is {{all}} steps; it should be {{steps}}. The sign needs a "
        f"bit, too.\n{HOW_MANY}",
    ),
    Mistake(
        _quantizing(steps=lambda bits: 2**bits),
        f"The largest absolute weight is {{all}} + 1 steps; it should be {{steps}}. The sign needs "
        f"a bit, too.\n{HOW_MANY}",
    ),
    Mistake(
        _quantizing(steps=lambda bits: 127),
        "There are 127 steps whatever `bits` says.\nWhere does your function look at `bits`?",
    ),
    Mistake(
        _quantizing(largest=lambda weight: weight.amax(1, keepdim=True)),
        "The step comes from the largest weight; a negative one may be further from 0.\n"
        "Is there an abs() missing?",
    ),
    Mistake(
        _from_lowest_to_highest,
        "The steps run from the lowest weight of a row to its highest, so that 0 is no step any "
        "more.\nWhat does symmetric mean for the step?",
    ),
    Mistake(
        _quantizing(largest=lambda weight: weight.abs().amax()),
        "There is one step for the whole matrix, and rows of small weights are lost.\n"
        "Over which axis is the largest taken?",
    ),
    Mistake(
        _quantizing(largest=lambda weight: weight.abs().amax(0, keepdim=True)),
        "There is a step for each column.\nOver which axis of (rows, columns) is the largest "
        "taken?",
    ),
    Mistake(_quantizing(guarded=lambda step: step), ROWS_OF_ZEROS, alike=not_finite),
    Mistake(_quantizing(guarded=lambda step: step.clamp_min(1e-8)), SMALL_ROWS, compared=False),
    Mistake(_quantizing(guarded=lambda step: step + 1e-8), SMALL_ROWS, compared=False),
    Mistake(
        _quantizing(back=lambda codes, step: codes.to(torch.int8)),
        CODES,
        compared=False,
    ),
    Mistake(_always_float32, OTHER_TYPE, compared=False),
    Mistake(_in_place, CHANGES_TENSOR, compared=False),
]

EXERCISE = Exercise(
    "fake_quantize",
    "compression",
    1,
    check,
    frozenset(
        {
            "fake_quantize_per_channel_affine",
            "fake_quantize_per_tensor_affine",
            "quantize_per_channel",
            "quantize_per_tensor",
            "attnlab.fake_quantized",
        }
    ),
    MISTAKES,
)
