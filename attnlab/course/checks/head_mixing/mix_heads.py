"""Check of ``mix_heads``."""

import math
from collections.abc import Generator

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_tensor,
    compare,
)

Layer = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``mix_heads(query, key, value, output_weight, output_bias, scale, temperature)``: a "
    "layer's output."""
    layer = _layer(draw, heads=1, neutral=True)
    compare(
        _output(answer, layer),
        _mixed(layer),
        {
            "With one head, both knobs at 1: the scores are not scaled, or only by the root of "
            "the number of "
            "heads, which is 1 here.\n"
            "By the root of which width must they be divided?": lambda: _mixed(layer, root=1),
            "With one head, both knobs at 1: the scores are divided by the width.\n"
            "Where is the square root?": lambda: _mixed(layer, root=_width(layer)),
            "With one head, both knobs at 1: the scores are divided by the root of the number of "
            "tokens.\n"
            "Over what does the sum in a dot product of query and key run?": (
                lambda: _mixed(layer, root=math.sqrt(layer[0].shape[2]))
            ),
            "With one head, both knobs at 1: the softmax runs over the queries.\n"
            "Which axis of the scores holds the keys?": lambda: _mixed(layer, axis=-2),
            "With one head, both knobs at 1: the bias is missing.\n"
            "What does nn.Linear add after its product?": lambda: _mixed(layer, biases=0),
            "With one head, both knobs at 1: output_weight (E, H * D) is reshaped as if E came "
            "last, which mixes "
            "its rows and columns up.\nWhich axis of it has to be cut, and into what?": (
                lambda: _mixed(layer, columns="rows")
            ),
            "With one head, both knobs at 1: there is no softmax.\n"
            "What turns scores into weights?": lambda: _mixed(layer, axis=None),
        },
        "With one head, both knobs at 1, the output is wrong.\n"
        "Scores, scaled; softmax over the keys; values mixed; output projection: which step "
        "differs?",
        tolerance=1e-4,
    )
    yield "one head, both knobs at 1"

    layer = _layer(draw, heads=3, neutral=True)
    heads, width = 3, _width(layer)
    compare(
        _output(answer, layer),
        _mixed(layer),
        {
            "The bias comes with every head, so it is there three times.\n"
            "How often does the layer add it?": lambda: _mixed(layer, biases=heads),
            "The heads are averaged.\nDoes the layer divide by their number?": (
                lambda: _mixed(layer, outside=torch.full((heads,), 1 / heads))
            ),
            "The heads are averaged, and the bias with them.\n"
            "Does the layer divide by their number?": lambda: _mixed(layer) / heads,
            "Only the last head is there.\nIs there a = in the loop where += should be?": (
                lambda: _mixed(layer, outside=torch.tensor([0.0, 0.0, 1.0]))
            ),
            "The columns of output_weight are dealt out one by one: head 0 gets every third one.\n"
            "Its width is cut as (H, D): which D columns stand together?": (
                lambda: _mixed(layer, columns="in turn")
            ),
            "Heads and tokens get mixed up when the heads are put side by side.\n"
            "Which two axes must change places before a reshape?": (
                lambda: _mixed(layer, columns="merged")
            ),
            "The scores are divided by the root of the whole width H * D.\n"
            "How wide is one query?": lambda: _mixed(layer, root=math.sqrt(heads * width)),
        },
        "Right for one head; with several the output is wrong.\n"
        "Head h goes through columns h D to (h + 1) D - 1 of output_weight: is it the sum of "
        "these?",
        tolerance=1e-4,
    )
    yield "several heads: the sum of what each brings, and the bias once"

    *rest, scale, temperature = _layer(draw, heads=3)
    ones = torch.ones(3)
    layer = (*rest, scale, ones)
    compare(
        _output(answer, layer),
        _mixed(layer),
        {
            "The scale has no effect.\nIs it used, or does a normalisation take it out again?": (
                lambda: _mixed(layer, outside=ones)
            ),
            "The scale is inside the softmax: it sharpens the weights, and makes no head louder.\n"
            "Where does s stand in the formula, before A or in it?": (
                lambda: _mixed(layer, inside=scale, outside=ones)
            ),
            "The bias is scaled with the heads.\n"
            "What should be left of the layer when all its heads are silent?": (
                lambda: _mixed(layer, biases=scale.mean())
            ),
            "The scale enters twice.\nDo you multiply values or weights by it, and the output "
            "again?": (lambda: _mixed(layer, outside=scale**2)),
            "The scale divides.\nIs a head with scale 2 louder, or softer?": (
                lambda: _mixed(layer, outside=1 / scale)
            ),
            "The scale is normalised, so that a louder head makes the others softer.\n"
            "Is s a weight among heads, or a factor of its own?": (
                lambda: _mixed(layer, outside=3 * scale / scale.sum())
            ),
            "Scale and temperature have changed places.\n"
            "In which order does the function get them?": (
                lambda: _mixed(layer, inside=1 / scale, outside=ones)
            ),
        },
        "With scales the output is wrong.\nDoes s_h multiply what head h brings, and nothing else?",
        tolerance=1e-4,
    )
    yield "scale: in front of each head, not of the bias"

    layer = (*rest, ones, temperature)
    compare(
        _output(answer, layer),
        _mixed(layer),
        {
            "The temperature has no effect.\nIs it used, or does a normalisation take it out "
            "again?": (lambda: _mixed(layer, inside=ones)),
            "A higher temperature makes the weights sharper; it should flatten them.\n"
            "Multiply, or divide?": lambda: _mixed(layer, inside=temperature),
            "The temperature comes after the softmax: the weights of a row no longer sum to 1.\n"
            "Which is divided, scores or weights?": (
                lambda: _mixed(layer, inside=ones, outside=1 / temperature)
            ),
            "The temperature stands under the square root.\n"
            "What is under the root in the formula, and what is beside it?": (
                lambda: _mixed(layer, inside=temperature**-0.5)
            ),
            "The temperature enters twice.\nDo you divide the queries by it, and the keys too?": (
                lambda: _mixed(layer, inside=temperature**-2)
            ),
        },
        "With temperatures the output is wrong.\nDoes tau_h divide the scores of head h, before "
        "the softmax?",
        tolerance=1e-4,
    )
    yield "temperature: divides the scores"

    layer = (*rest, scale, temperature)
    compare(
        _output(answer, layer),
        _mixed(layer),
        {},
        "Each knob is right by itself; with both the output is wrong.\nWhere do they meet?",
        tolerance=1e-4,
    )
    silent = (*rest, torch.zeros(3), temperature)
    compare(
        _output(answer, silent),
        rest[-1].expand(layer[0].shape[0], layer[0].shape[2], -1),
        {},
        "With all heads at scale 0 only the bias should be left.\nIs there a division by the "
        "scale?",
        tolerance=1e-4,
    )
    answer.gradients(lambda *inputs: _mixed(inputs), *layer)
    yield "both together, with gradients to each knob"


def _layer(draw: Draw, heads: int, neutral: bool = False) -> Layer:
    """What mix_heads gets, in its order; all sizes differ."""
    batch, tokens, width, out = 2, 6, 4, 5
    scale, temperature = draw.normal(2, heads).mul(0.7).exp()
    return (
        *(draw.normal(batch, heads, tokens, width) for _ in range(3)),
        draw.normal(out, heads * width),
        draw.normal(out),
        torch.ones(heads) if neutral else scale,
        torch.ones(heads) if neutral else temperature,
    )


def _width(layer: Layer) -> int:
    return layer[0].shape[-1]


def _output(answer: Answer, layer: Layer) -> Tensor:
    """The answer's output (B, T, E)."""
    batch, heads, tokens, width = layer[0].shape
    out = len(layer[4])
    result = answer(*layer)
    shapes = {
        (
            batch,
            heads,
            tokens,
            out,
        ): "There is one output for each head.\nWhat does the layer do with them?",
        (
            batch,
            tokens,
            heads,
            out,
        ): "There is one output for each head.\nWhat does the layer do with them?",
        (
            batch,
            heads,
            tokens,
            width,
        ): "These are the contexts of the heads.\nWhere is the output projection?",
        (
            batch,
            tokens,
            heads * width,
        ): "The heads stand side by side.\nWhere is the output projection?",
    }
    if isinstance(result, Tensor) and tuple(result.shape) in shapes:
        raise CheckFailed(
            f"The result has shape {tuple(result.shape)}. {shapes[tuple(result.shape)]}"
        )
    return a_tensor(result, (batch, tokens, out), "output")


def _mixed(
    layer: Layer,
    inside: Tensor | None = None,
    outside: Tensor | None = None,
    biases: float | Tensor = 1,
    root: float | None = None,
    axis: int | None = -1,
    columns: str = "together",
) -> Tensor:
    """A layer's output head by head, right by default, or with one mistake.

    ``inside`` multiplies the scores of each head and ``outside`` its context, both (H,).
    """
    query, key, value, weight, bias, scale, temperature = layer
    batch, heads, tokens, width = query.shape
    inside = 1 / temperature if inside is None else inside
    outside = scale if outside is None else outside
    contexts = []
    for head in range(heads):
        scores = query[:, head] @ key[:, head].transpose(-2, -1)  # (B, T, T)
        scores = inside[head] * scores / (root or math.sqrt(width))
        weights = scores if axis is None else scores.softmax(axis)
        contexts.append(outside[head] * (weights @ value[:, head]))
    if columns == "merged":
        return torch.stack(contexts, 1).reshape(batch, tokens, -1) @ weight.T + biases * bias
    parts = {
        "together": [weight[:, head * width : (head + 1) * width] for head in range(heads)],
        "in turn": [weight[:, head::heads] for head in range(heads)],
        "rows": [part.T for part in weight.reshape(heads, width, -1)],
    }[columns]
    return sum(one @ part.T for one, part in zip(contexts, parts, strict=True)) + biases * bias


EXERCISE = Exercise("mix_heads", "head_mixing", 3, check)
