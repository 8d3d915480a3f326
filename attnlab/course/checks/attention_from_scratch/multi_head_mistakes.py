"""What learners write instead of ``MultiHead``, and what is said of it."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    GRADIENT_MISSING,
    NO_GRADIENT,
    READY_MADE,
    Mistake,
)

WIDTH, HEADS = 15, 3  # the width of a head, 5, is no square

UNUSED = (
    "The layer `{name}` gets no gradient: your forward does not use it.\n"
    "Is a new Linear made inside forward, which is random at every call and never trains? Or is "
    "there a detach()?"
)
MODE = (
    "Your forward switches the module between training and eval mode.\n"
    "Whoever calls it decides that: is there a train() or eval() in it?"
)
LEFT_OVER = "Without a mask, after calls with one:"
OTHER_SIZES = (
    "Right for {heads} heads and a few tokens, wrong for {others} heads and {tokens} tokens."
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
FULL = "Right with masks (T_q, T_k) and (B, 1, T_k), wrong with a mask (B, T_q, T_k)."


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


_Right: Any = _with()  # with no mistake yet


class _Switching(_Right):
    def attend(self, *inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        self.eval()
        return super().forward(*inputs)

    forward = attend


class _KeepingTheMask(_Right):
    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        self.mask = getattr(self, "mask", None) if mask is None else mask
        return super().forward(query, key, value, self.mask)

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
        _with(scale=lambda q: math.isqrt(q.shape[-1]) ** 2),
        "The scores are scaled by a whole number: math.isqrt rounds down.\n"
        "Which function gives the root itself?",
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
        _with(broadcast=lambda mask, texts: mask.unsqueeze(2) if mask.dim() == 3 else mask),
        FULL,
        compared=False,
    ),
    Mistake(
        _with(last=lambda self, merged: self.output(merged).detach()),
        NO_GRADIENT,
        compared=False,
    ),
    *(
        Mistake(_with(inputs=inputs), GRADIENT_MISSING, compared=False)
        for inputs in (
            lambda q, k, v: (q.detach(), k, v),
            lambda q, k, v: (q, k.detach(), v),
            lambda q, k, v: (q, k, v.detach()),
        )
    ),
    Mistake(_with(split=lambda x, heads: _split(x, HEADS)), OTHER_SIZES, compared=False),
    Mistake(_with(inputs=lambda q, k, v: (q, k[:, :32], v[:, :32])), OTHER_SIZES, compared=False),
    Mistake(_Switching, MODE, compared=False),
    Mistake(_KeepingTheMask, LEFT_OVER, compared=False),
    Mistake(_TorchsOwn, READY_MADE, compared=False),
]
