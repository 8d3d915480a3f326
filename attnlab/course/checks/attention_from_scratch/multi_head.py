"""The exercise ``MultiHead``."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    NO_GRADIENT,
    READY_MADE,
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    backward,
    require,
    same,
    where,
)

WIDTH, HEADS, BATCH, QUERIES, KEYS = 12, 3, 2, 5, 7
LAYERS = ("query", "key", "value", "output")

UNUSED = (
    "The layer `{name}` gets no gradient: your forward does not use it.\n"
    "Is a new Linear made inside forward? That one is random at every call and never trains."
)
RANDOM = (
    "Two calls with the same input differ, in eval mode.\n"
    "Is dropout always on? F.dropout needs training=self.training."
)
OTHER_LAYERS = (
    "`self.{name}` should be nn.Linear({inputs}, {outputs}) as given.\n"
    "Leave __init__ as it is; the exercise is forward."
)
FITS = "With a mask (T_q, T_k), which fits the scores of all heads as it is:"
AS_MANY_TEXTS = "With a mask (T_q, T_k) and as many texts as tokens:"
LARGE = "With large scores and a mask:"
PADDING = "Right with a mask (T_q, T_k), wrong with a padding mask (B, 1, T_k)."


def check(answer: Answer, draw: Draw) -> Held:
    """``MultiHead(width, heads)``: self- and cross-attention like torch.nn.MultiheadAttention."""
    mine = answer.module(WIDTH, HEADS)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    _copy_weights(theirs, mine.given)
    mine.given.eval()
    _all_layers_are_used(mine, draw.normal(BATCH, QUERIES, WIDTH))
    yield "all four layers are used, and nothing else that is random"

    reference = functools.partial(_reference, theirs)
    compared = Comparison(
        mine, reference, _with_weights(MISTAKES, theirs), what="output", tolerance=1e-4
    )

    def to_itself() -> Call:
        return Call(*[draw.normal(BATCH, QUERIES, WIDTH)] * 3)

    compared.on(
        to_itself,
        "Self-attention differs from torch's with the same weights.\n"
        "Project, split, attend, merge, project: which step is it?",
    )
    yield "self-attention equals torch's"
    compared.on(
        lambda: Call(
            draw.normal(BATCH, QUERIES, WIDTH),
            draw.normal(BATCH, KEYS, WIDTH),
            draw.normal(BATCH, KEYS, WIDTH),
        ),
        "Cross-attention differs from torch's.\n"
        "Queries come from one text, keys and values from another.",
    )
    yield "cross-attention equals torch's"
    leaky = LEAKY(WIDTH, HEADS)
    _copy_weights(theirs, leaky)
    _masks(compared, reference, leaky, draw)
    yield "masks: one for all (T_q, T_k), and one per text (B, 1, T_k)"


def _all_layers_are_used(mine: Answer, x: Tensor) -> None:
    """Fail where a layer gets no gradient, or where a second call gives something else."""
    first, second = (mine.tensor(x, x, x, shape=tuple(x.shape), what="output") for _ in range(2))
    weights = [getattr(mine.given, name).weight for name in LAYERS]
    gradients = backward(first, weights, torch.ones_like(first))
    for name, gradient in zip(LAYERS, gradients, strict=True):
        require(gradient is not None, UNUSED.format(name=name))
    require(same(first, second, 1e-6), RANDOM)


def _masks(
    compared: Comparison, reference: Callable[..., Tensor], leaky: nn.Module, draw: Draw
) -> None:
    """Compare under masks through which every query sees something.

    ``leaky`` hides by a finite score: inputs are drawn until this shows.
    """
    causal = torch.ones(QUERIES, QUERIES, dtype=torch.bool).tril()
    crossed = torch.ones(QUERIES, KEYS, dtype=torch.bool).tril(1)

    def read(result: object, right: Tensor) -> Tensor:
        return a_tensor(result, tuple(right.shape), "output", may_be_nan=True).nan_to_num()

    def masked(texts: int) -> Call:
        x = draw.normal(texts, QUERIES, WIDTH)
        return Call(x, x, x, causal)

    def large() -> Call:
        for _ in range(200):
            x, source = (30 * draw.normal(BATCH, tokens, WIDTH) for tokens in (QUERIES, KEYS))
            call = Call(x, source, source, crossed)
            if not same(call.of(reference), call.of(leaky), 1e-2):
                break
        return call

    for place, draw_call in (
        (FITS, lambda: masked(BATCH)),
        (AS_MANY_TEXTS, lambda: masked(QUERIES)),
        (LARGE, large),
    ):
        with where(place):
            compared.on(
                draw_call,
                "The output is wrong.\n"
                "Do you tell the two kinds of mask apart by their number of axes?",
                read=read,
                tolerance=1e-3,
            )
    padding = torch.arange(KEYS) < torch.tensor([[[KEYS]], [[KEYS - 3]]])  # (B, 1, T_k)

    def padded() -> Call:
        source = draw.normal(BATCH, KEYS, WIDTH)
        return Call(draw.normal(BATCH, QUERIES, WIDTH), source, source, padding)

    with where(PADDING):
        compared.on(
            padded,
            "Scores have four axes, (B, H, T_q, T_k): where must the mask get one more?",
        )


def _reference(
    theirs: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """torch's own, whose masks mark what is hidden."""
    if mask is not None:
        mask = ~mask
        if mask.dim() == 3:
            mask = mask.expand(-1, query.shape[1], -1).repeat_interleave(theirs.num_heads, 0)
    return theirs(query, key, value, attn_mask=mask, need_weights=False)[0]


def _copy_weights(theirs: nn.MultiheadAttention, mine: nn.Module) -> None:
    """Give a learner's four layers the weights of torch's module."""
    weights = [*theirs.in_proj_weight.chunk(3), theirs.out_proj.weight]
    biases = [*theirs.in_proj_bias.chunk(3), theirs.out_proj.bias]
    for name, weight, bias in zip(LAYERS, weights, biases, strict=True):
        layer = getattr(mine, name, None)
        if (
            not isinstance(layer, nn.Linear)
            or layer.weight.shape != weight.shape
            or layer.bias is None
        ):
            outputs, inputs = weight.shape
            raise CheckFailed(OTHER_LAYERS.format(name=name, inputs=inputs, outputs=outputs))
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)


def _with_weights(mistakes: Sequence[Mistake], theirs: nn.MultiheadAttention) -> list[Mistake]:
    """The mistakes as modules with torch's weights."""
    made = []
    for mistake in mistakes:
        if mistake.compared:
            module = mistake.wrong(WIDTH, HEADS)
            _copy_weights(theirs, module)
            made.append(replace(mistake, wrong=module))
    return made


# --- What learners write instead -----------------------------------------------------------------


class _Given(nn.Module):
    """What the exercise gives: four layers."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _reshaped_split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(len(x), heads, x.shape[1], -1)


def _merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _reshaped_merge(x: Tensor) -> Tensor:
    return x.reshape(len(x), x.shape[2], -1)


def _with_axis_of_heads(mask: Tensor, texts: int) -> Tensor:
    return mask[:, None] if mask.dim() == 3 else mask


def _with(
    inputs: Callable[..., tuple[Tensor, Tensor, Tensor]] = lambda q, k, v: (q, k, v),
    split: Callable[[Tensor, int], Tensor] = _split,
    scale: Callable[[Tensor], float] = lambda q: q.shape[-1],
    broadcast: Callable[[Tensor, int], Tensor] = _with_axis_of_heads,
    far: float = -math.inf,
    axis: int = -1,
    late: bool = False,
    weigh: Callable[[Tensor], Tensor] = lambda weights: weights,
    merge: Callable[[Tensor], Tensor] = _merge,
    last: Callable[[Any, Tensor], Tensor] = lambda self, merged: self.output(merged),
) -> type[nn.Module]:
    """MultiHead with a part exchanged; ``late`` masks the weights instead of the scores."""

    def attend(
        self: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        query, key, value = inputs(query, key, value)
        q, k, v = (
            split(layer(x), self.heads)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        scores = q @ k.mT / math.sqrt(scale(q))
        seen = torch.ones(1, dtype=torch.bool) if mask is None else broadcast(mask, len(query))
        weights = (scores if late else scores.masked_fill(~seen, far)).softmax(axis)
        weights = weigh(weights * seen if late else weights)
        return last(self, merge(weights @ v))

    return type("MultiHead", (_Given,), {"forward": attend})


class _OtherLayers(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.everything = nn.Linear(width, 3 * width)


class _NewLayers(_Given):
    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        new = _Given(query.shape[-1], self.heads)
        q, k, v = (_split(new.query(x), self.heads) for x in (query, key, value))
        return self.output(_merge((q @ k.mT).softmax(-1) @ v))

    forward = attend


class _TorchsOwn(_Given):
    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        made = nn.MultiheadAttention(query.shape[-1], self.heads, batch_first=True)
        return self.output(made(query, key, value, need_weights=False)[0])

    forward = attend


LEAKY = _with(far=-100.0)

MISTAKES = [
    Mistake(_OtherLayers, OTHER_LAYERS, compared=False),
    Mistake(_NewLayers, UNUSED, compared=False),
    Mistake(
        _with(weigh=lambda weights: F.dropout(weights, 0.1)),
        RANDOM,
        compared=False,
    ),
    Mistake(
        _with(last=lambda self, merged: merged + 0 * self.output(merged)),
        "Right up to the output projection.\nWhat mixes the heads in the end?",
    ),
    Mistake(
        _with(scale=lambda q: q.shape[-1] * q.shape[1]),
        "The scores are scaled by the whole width.\n"
        "Each head has queries and keys of its own, narrower width.",
    ),
    Mistake(
        _with(scale=lambda q: q.shape[1]),
        "The scores are scaled by the root of the number of heads.\n"
        "It is the width of one head that counts.",
    ),
    Mistake(
        _with(scale=lambda q: 1),
        "The scores are not scaled.\nBy the root of which width?",
    ),
    Mistake(
        _with(merge=_reshaped_merge),
        "Tokens get mixed up when the heads are merged.\n"
        "Do tokens and heads change places before you reshape?",
    ),
    Mistake(
        _with(split=_reshaped_split),
        "Tokens get mixed up when the heads are split.\nDid you view as (B, H, T, D) at once?",
    ),
    Mistake(
        _with(split=_reshaped_split, merge=_reshaped_merge),
        "Tokens get mixed up when the heads are split, and again when they are merged.\n"
        "Did you view as (B, H, T, D) at once?",
    ),
    Mistake(
        _with(axis=-2),
        "The softmax runs over the queries.\nWhich axis holds the keys?",
    ),
    Mistake(
        _with(split=lambda x, heads: _split(x, 1)),
        "There is one head over the whole width.\nDid you split?",
    ),
    Mistake(
        _with(inputs=lambda q, k, v: (q, q, q)),
        "Keys and values come from the query: this is self-attention whatever is given.\n"
        "Which input feeds self.key, which self.value?",
    ),
    Mistake(
        _with(inputs=lambda q, k, v: (q, k, k)),
        "The values come from the key input.\nThere is a third input.",
    ),
    Mistake(
        _with(inputs=lambda q, k, v: (q, v, v)),
        "The keys come from the value input.\nThere is a second input.",
    ),
    Mistake(
        _with(inputs=lambda q, k, v: (q, v, k)),
        "Keys and values have changed places.\nWhich input feeds self.key, which self.value?",
    ),
    Mistake(
        _with(broadcast=lambda mask, texts: mask[:, None]),
        FITS,
        compared=False,
    ),
    Mistake(
        _with(broadcast=lambda mask, texts: torch.ones(1, dtype=torch.bool)),
        "The mask has no effect.\nIs it used before the softmax?",
    ),
    Mistake(
        _with(broadcast=lambda mask, texts: ~_with_axis_of_heads(mask, texts)),
        "The mask is turned round.\nTrue means that looking is allowed.",
    ),
    Mistake(
        _with(broadcast=lambda mask, texts: ~_with_axis_of_heads(mask, texts), far=-1e9),
        "The mask is turned round: what may be seen is hidden by a very low score.\n"
        "True means that looking is allowed.",
    ),
    Mistake(
        _with(broadcast=lambda mask, texts: mask.mT if mask.dim() == 2 else mask[:, None]),
        "The mask is transposed.\nRows are queries, columns are keys.",
    ),
    Mistake(
        _with(late=True),
        "The mask is applied after the softmax, so rows no longer sum to 1.\nWhere does it belong?",
    ),
    Mistake(
        _with(far=0.0),
        "Hidden keys count as keys with the score 0.\nWhich score has the exponential 0?",
    ),
    Mistake(
        LEAKY,
        "Hidden keys get weight: they have a finite score.\nWhich score stays below all others?",
    ),
    Mistake(
        _with(broadcast=lambda mask, texts: mask[:, None] if len(mask) == texts else mask),
        AS_MANY_TEXTS,
        compared=False,
    ),
    Mistake(_with(broadcast=lambda mask, texts: mask), PADDING, compared=False),
    Mistake(
        _with(last=lambda self, merged: self.output(merged).detach()),
        NO_GRADIENT,
        compared=False,
    ),
    Mistake(_TorchsOwn, READY_MADE, compared=False),
]

EXERCISE = Exercise(
    "MultiHead",
    "attention_from_scratch",
    4,
    check,
    frozenset({"multi_head_attention_forward", "attnlab.forward"}),
    MISTAKES,
)
