"""Exercise ``mix_heads``: the output of a layer whose heads have a scale and a temperature."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    GRADIENT_MISSING,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    same_shape,
    where,
)

Knob = Callable[[Tensor, Tensor], Tensor]  # of scale and temperature, (H,)
Layer = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def check(answer: Answer, draw: Draw) -> Held:
    """``mix_heads(query, key, value, output_weight, output_bias, scale, temperature)``."""
    compared = Comparison(answer, reference, MISTAKES, what="output", read=_read, tolerance=1e-4)

    def layer(heads: int, scale: bool = False, temperature: bool = False) -> Callable[[], Call]:
        return lambda: Call(*_layer(draw, heads, scale, temperature))

    def another_size() -> Call:
        return Call(*_layer(draw, 12, scale=True, temperature=True, sizes=(1, 7, 3, 8)))

    compared.on(
        layer(heads=1),
        "With one head, both knobs at 1, the output is wrong.\n"
        "Scores, scaled; softmax over the keys; values mixed; output projection: which step "
        "differs?",
        facts=_facts,
    )
    yield "one head, both knobs at 1"

    compared.on(
        layer(heads=3),
        "Right for one head; with several the output is wrong.\n"
        "Head h goes through columns h D to (h + 1) D - 1 of output_weight: is it the sum of "
        "these?",
        facts=_facts,
    )
    yield "several heads: the sum of their outputs, and the bias once"

    compared.on(
        layer(heads=3, scale=True),
        "With scales the output is wrong.\n"
        "Does s_h multiply the output of head h, and nothing else?",
        facts=_facts,
    )
    yield "scale: in front of each head, not of the bias"

    compared.on(
        layer(heads=3, temperature=True),
        "With temperatures the output is wrong.\n"
        "Does tau_h divide the scores of head h, before the softmax?",
        facts=_facts,
    )
    yield "temperature: divides the scores"

    compared.on(
        layer(heads=3, scale=True, temperature=True),
        "Each knob is right by itself; with both the output is wrong.\nWhere do they meet?",
        facts=_facts,
    )
    with where("Right for three heads of width 4, wrong for twelve of width 3 in a single text:"):
        compared.on(
            another_size,
            "the numbers differ.\nIs a number of heads or a width typed in?",
        )
    *rest, scale, temperature = _layer(draw, 3, True, True)
    for extreme, louder, hotter in (
        ("low temperatures", 1, 1 / 60),
        ("high temperatures", 1, 20),
        ("large scales", 20, 1),
    ):
        call = Call(*rest, louder * scale, hotter * temperature)
        compared.on(
            functools.partial(_same, call),
            f"With {extreme} the output is wrong.\nAre they limited, or is something added?",
        )
    compared.on(
        lambda: Call(*rest, torch.zeros(3), temperature),
        "With all heads at scale 0 only the bias should be left.\n"
        "Is there a division by the scale?",
        facts=_facts,
    )
    answer.gradients(reference, *rest, scale, temperature)
    one_silent = scale * (torch.arange(3) > 0)
    answer.gradients(reference, *rest, one_silent, temperature)
    yield "both together, with gradients to each knob, also to that of a silent head"


def reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    temperature: Tensor,
) -> Tensor:
    """All heads at once, by one sum over indices."""
    heads, width = query.shape[1], query.shape[-1]
    slices = weight.unflatten(1, (heads, width))  # (E, H, D)
    scores = torch.einsum("bhqd,bhkd,h->bhqk", query, key, 1 / temperature) / width**0.5
    output = torch.einsum("h,bhqk,bhkd,ehd->bqe", scale, scores.softmax(-1), value, slices)
    return output + bias


def _layer(
    draw: Draw,
    heads: int,
    scale: bool,
    temperature: bool,
    sizes: tuple[int, int, int, int] = (2, 6, 4, 5),
) -> Layer:
    """What mix_heads gets, in its order; all sizes differ, and a knob that is off is at 1."""
    batch, tokens, width, out = sizes
    scales, temperatures = draw.normal(2, heads).mul(0.7).exp()
    query, key, value = draw.normal(3, batch, heads, tokens, width)
    return (
        query,
        key,
        value,
        draw.normal(out, heads * width),
        draw.normal(out),
        scales if scale else torch.ones(heads),
        temperatures if temperature else torch.ones(heads),
    )


def _same(call: Call) -> Call:
    return call


def _read(result: Any, right: Tensor) -> Tensor:
    return a_tensor(result, tuple(right.shape), "output")


def _facts(call: Call, result: Any) -> dict[str, Any]:
    return {"shape": tuple(result.shape) if isinstance(result, Tensor) else None}


# --- What learners write instead -----------------------------------------------------------------


def _mixing(
    inside: Knob = lambda scale, temperature: 1 / temperature,
    outside: Knob = lambda scale, temperature: scale,
    root: Callable[[Tensor], float] = lambda query: math.sqrt(query.shape[-1]),
    weigh: Callable[[Tensor], Tensor] = lambda scores: scores.softmax(-1),
    slices: Callable[[Tensor, int], Any] = lambda weight, heads: weight.chunk(heads, dim=1),
    biases: Callable[[Tensor], float | Tensor] = lambda scale: 1,
    join: Callable[[list[Tensor]], Any] = sum,
) -> Callable[..., Tensor]:
    """Mixing head by head with a part exchanged.

    ``inside`` multiplies the scores of each head and ``outside`` its context.
    """

    def answer(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        temperature: Tensor,
    ) -> Tensor:
        heads, outputs = query.shape[1], []
        for head, part in zip(range(heads), slices(weight, heads), strict=True):
            scores = query[:, head] @ key[:, head].mT / root(query)
            weights = weigh(inside(scale, temperature)[head] * scores)
            context = outside(scale, temperature)[head] * weights @ value[:, head]
            outputs.append(context @ part.T)
        return join(outputs) + biases(scale) * bias

    return answer


_right = _mixing()


def _contexts(*layer: Tensor) -> Tensor:
    """The scaled contexts of the heads, (B, H, T, D)."""
    query, key, value, _, _, scale, temperature = layer
    scores = query @ key.mT / query.shape[-1] ** 0.5 / temperature[:, None, None]
    return scale[:, None, None] * (scores.softmax(-1) @ value)


def _reshaped_without_transpose(*layer: Tensor) -> Tensor:
    contexts = _contexts(*layer)
    texts, _, tokens, _ = contexts.shape
    return F.linear(contexts.reshape(texts, tokens, -1), layer[3], layer[4])


def _knobs_as_plain_numbers(*layer: Any) -> Tensor:
    *rest, scale, temperature = layer
    return _right(*rest, scale.detach(), temperature.detach())


def _rows_for_columns(weight: Tensor, heads: int) -> list[Tensor]:
    return [part.T for part in weight.reshape(heads, -1, len(weight))]


def _every_third_column(weight: Tensor, heads: int) -> list[Tensor]:
    return [weight[:, head::heads] for head in range(heads)]


def _whole_width(query: Tensor) -> float:
    return math.sqrt(query.shape[1] * query.shape[-1])


def _ones(scale: Tensor, temperature: Tensor) -> Tensor:
    return torch.ones_like(scale)


PLAIN = "With one head, both knobs at 1: "

MISTAKES = [
    Mistake(
        _mixing(root=lambda query: 1),
        f"{PLAIN}the scores are not scaled, or only by the root of the number of heads, which is 1 "
        "here.\nBy the root of which width must they be divided?",
    ),
    Mistake(
        _mixing(root=lambda query: query.shape[-1]),
        f"{PLAIN}the scores are divided by the width.\nWhere is the square root?",
    ),
    Mistake(
        _mixing(root=lambda query: math.sqrt(query.shape[-2])),
        f"{PLAIN}the scores are divided by the root of the number of tokens.\n"
        "Over what does the sum in a dot product of query and key run?",
    ),
    Mistake(
        _mixing(weigh=lambda scores: scores.softmax(-2)),
        f"{PLAIN}the softmax runs over the queries.\nWhich axis of the scores holds the keys?",
    ),
    Mistake(
        _mixing(biases=lambda scale: 0),
        f"{PLAIN}the bias is missing.\nWhat does nn.Linear add after its product?",
    ),
    Mistake(
        _mixing(slices=_rows_for_columns),
        f"{PLAIN}output_weight (E, H * D) is reshaped as if E came last, which mixes its rows and "
        "columns up.\nWhich axis of it has to be cut, and into what?",
    ),
    Mistake(
        _mixing(weigh=lambda scores: scores),
        f"{PLAIN}there is no softmax.\nWhat turns scores into weights?",
    ),
    Mistake(
        _mixing(biases=len),
        "The bias comes with every head, so it is there three times.\n"
        "How often does the layer add it?",
    ),
    Mistake(
        _mixing(join=lambda outputs: sum(outputs) / len(outputs)),
        "The heads are averaged.\nDoes the layer divide by their number?",
    ),
    Mistake(
        lambda *layer: _right(*layer) / layer[0].shape[1],
        "The heads are averaged, and the bias with them.\nDoes the layer divide by their number?",
    ),
    Mistake(
        _mixing(join=lambda outputs: outputs[-1]),
        "Only the last head is there.\nIs there a = in the loop where += should be?",
    ),
    Mistake(
        _mixing(slices=_every_third_column),
        "The columns of output_weight are handed out in turn: head 0 gets every third one.\n"
        "Its width is cut as (H, D): which D columns stand together?",
    ),
    Mistake(
        _reshaped_without_transpose,
        "Heads and tokens get mixed up when the heads are concatenated.\n"
        "Which two axes must be swapped before a reshape?",
    ),
    Mistake(
        _mixing(root=_whole_width),
        "The scores are divided by the root of the whole width H * D.\nHow wide is one query?",
    ),
    Mistake(
        _mixing(outside=_ones),
        "The scale has no effect.\nIs it used, or does a normalisation take it out again?",
    ),
    Mistake(
        _mixing(inside=lambda scale, temperature: scale / temperature, outside=_ones),
        "The scale is inside the softmax: it sharpens the weights, and makes no head louder.\n"
        "Where does s stand in the formula, before A or in it?",
    ),
    Mistake(
        _mixing(biases=torch.mean),
        "The bias is scaled with the heads.\n"
        "What should be left of the layer when all its heads are silent?",
    ),
    Mistake(
        _mixing(outside=lambda scale, temperature: scale**2),
        "The scale enters twice.\nDo you multiply values or weights by it, and the output again?",
    ),
    Mistake(
        _mixing(outside=lambda scale, temperature: 1 / scale),
        "The scale divides.\nIs a head with scale 2 louder, or softer?",
    ),
    Mistake(
        _mixing(outside=lambda scale, temperature: len(scale) * scale / scale.sum()),
        "The scale is normalised, so that a louder head makes the others softer.\n"
        "Is s a weight among heads, or a factor of its own?",
    ),
    Mistake(
        _mixing(
            inside=lambda scale, temperature: 1 / scale,
            outside=lambda scale, temperature: temperature,
        ),
        "Scale and temperature are swapped.\nIn which order does the function get them?",
    ),
    Mistake(
        _mixing(inside=_ones),
        "The temperature has no effect.\nIs it used, or does a normalisation take it out again?",
    ),
    Mistake(
        _mixing(inside=lambda scale, temperature: temperature),
        "A higher temperature makes the weights sharper; it should flatten them.\n"
        "Multiply, or divide?",
    ),
    Mistake(
        _mixing(inside=_ones, outside=lambda scale, temperature: scale / temperature),
        "The temperature comes after the softmax: the weights of a row no longer sum to 1.\n"
        "Which is divided, scores or weights?",
    ),
    Mistake(
        _mixing(inside=lambda scale, temperature: temperature**-0.5),
        "The temperature stands under the square root.\n"
        "What is under the root in the formula, and what is beside it?",
    ),
    Mistake(
        _mixing(inside=lambda scale, temperature: temperature**-2),
        "The temperature enters twice.\nDo you divide the queries by it, and the keys too?",
    ),
    Mistake(
        _contexts,
        "The result has shape {shape}. These are the contexts of the heads.\n"
        "Where is the output projection?",
        alike=same_shape,
    ),
    Mistake(
        lambda *layer: _contexts(*layer).transpose(1, 2).flatten(2),
        "The result has shape {shape}. The heads are concatenated.\n"
        "Where is the output projection?",
        alike=same_shape,
    ),
    *(
        Mistake(
            _mixing(join=functools.partial(torch.stack, dim=axis)),
            "The result has shape {shape}. There is one output for each head"
            + ("" if axis == 1 else " of each token")
            + ".\nWhat does the layer do with them?",
            alike=same_shape,
        )
        for axis in (1, 2)
    ),
    Mistake(_knobs_as_plain_numbers, GRADIENT_MISSING, compared=False),
]

EXERCISE = Exercise("mix_heads", "head_mixing", 3, check, mistakes=MISTAKES, ours=reference)
