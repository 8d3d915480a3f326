"""Checks of lesson 02, attention from scratch."""

import functools
import math
from collections.abc import Callable, Generator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_tensor,
    backward,
    compare,
    require,
    same,
    where,
)

Held = Generator[str, None, None]


def attention(answer: Answer, draw: Draw) -> Held:
    """``attention(query, key, value)``: context and weights, for any batch."""
    query, key, value = draw.normal(1, 8), draw.normal(1, 8), draw.normal(1, 3)
    result = answer(query, key, value)
    if isinstance(result, tuple) and getattr(result[0], "shape", None) == (1, 8):
        raise CheckFailed(
            "The context is as wide as a key.\nDid you mix the keys instead of the values?"
        )
    context, weights = _pair(result, (1, 3), (1, 1))
    compare(
        weights,
        torch.ones(1, 1),
        {
            "A single key should get the weight 1; you scale the weight itself.\n"
            "Did you mean to scale the scores, before the softmax?": lambda: (
                torch.ones(1, 1) / math.sqrt(8)
            ),
        },
        f"A single key should get the weight 1; yours gets {weights.item():.3g}.\n"
        "Is there a softmax, and do you return what comes out of it?",
    )
    require(
        same(context, value),
        "With a single key the context should be its value.\nWhat do you mix: values, or keys?",
    )
    yield "a single key gets all the weight"

    queries, keys, width, out = 4, 6, 16, 5
    query, key, value = (
        draw.normal(queries, width),
        draw.normal(keys, width),
        draw.normal(keys, out),
    )
    product = query @ key.T
    right = (product / math.sqrt(width)).softmax(-1)
    context, weights = _pair(answer(query, key, value), (queries, out), (queries, keys))
    compare(
        weights,
        right,
        {
            "The weights are too sharp: the scores are not scaled.\n"
            "Did you divide by the square root of the width of a "
            "key?": lambda: product.softmax(-1),
            "The weights are too flat: the scores are divided by the width.\nDid you forget the square root?": (
                lambda: (product / width).softmax(-1)
            ),
            "The scores are scaled by the width of a value.\n"
            "The sum in the dot product runs over the width of a key.": (
                lambda: (product / math.sqrt(out)).softmax(-1)
            ),
            "The scores are scaled by the number of keys.\n"
            "The sum in the dot product runs over the width of a key.": (
                lambda: (product / math.sqrt(keys)).softmax(-1)
            ),
            "The columns of your weights sum to 1, not the rows.\n"
            "The softmax runs over the keys: which axis is that?": (
                lambda: (product / math.sqrt(width)).softmax(-2)
            ),
        },
        "The weights are wrong.\nScores, scaled; softmax over the keys: which of the two steps differs?",
    )
    yield "weights: scaled, and softmax over the keys"
    compare(
        context,
        right @ value,
        {},
        "The weights are right, but the context is not their mixture of the values.\nIs it weights @ value?",
    )
    yield "context: the values, mixed by the weights"

    query, key, value = draw.normal(5, 8), draw.normal(5, 8), draw.normal(5, 8)
    context, weights = _pair(answer(query, key, value), (5, 8), (5, 5))
    weights = weights.to(value.dtype)
    compare(
        context,
        weights @ value,
        {
            "With as many queries as keys your context comes from the transposed weights.\n"
            "A row of the weights belongs to "
            "a query: is it weights @ value?": lambda: weights.T @ value,
            "You mix the keys instead of the values.": lambda: weights @ key,
        },
        "With as many queries as keys the context is wrong.",
    )
    for shape in ((2,), (2, 3)):
        query = draw.normal(*shape, 4, 8)
        key, value = draw.normal(*shape, 6, 8), draw.normal(*shape, 6, 5)
        context, weights = _pair(answer(query, key, value), (*shape, 4, 5), (*shape, 4, 6))
        product = query @ key.transpose(-2, -1)
        compare(
            weights,
            (product / math.sqrt(8)).softmax(-1),
            {
                "Right for matrices, but in a batch your softmax runs over axis 1.\nThe last axis is -1.": (
                    lambda product=product: (product / math.sqrt(8)).softmax(1)
                ),
                "Right for matrices, but in a batch you scale by another axis.\n"
                "The width is the last one, shape[-1].": (
                    lambda product=product: (product / math.sqrt(product.shape[1])).softmax(-1)
                ),
            },
            "Right for matrices, wrong for a batch.\nDo you count the axes from the end?",
        )
        expected = F.scaled_dot_product_attention(query, key, value)
        compare(context, expected, {}, "Right for matrices, but in a batch the context is wrong.")
    answer.gradients(F.scaled_dot_product_attention, query, key, value, pick=0)
    yield "equal to torch's own, in a batch with heads"


def causal_mask(answer: Answer, draw: Draw) -> Held:
    """``causal_mask(length)``: True where a token may look, which is at itself and what came before."""
    length = draw.whole(4, 8)
    mask = a_tensor(answer(length), (length, length), "mask")
    require(
        mask.isfinite().all(),
        "The mask holds -inf, to be added to the scores.\n"
        "Here a mask is bool, True where looking is allowed: which comparison makes one?",
    )
    require(
        mask.dtype == torch.bool,
        f"The mask is of type {mask.dtype}; here a mask is bool, True where looking is allowed.\n"
        "A .bool() missing?",
    )
    right = torch.tensor([[key <= query for key in range(length)] for query in range(length)])
    compare(
        mask,
        right,
        {
            "A token may not look at itself, so the first one sees nothing.\n"
            "Does the diagonal belong to the past?": (
                lambda: right & ~torch.eye(length, dtype=torch.bool)
            ),
            "Every token looks at itself and the future.\n"
            "Rows are queries, columns are keys: which corner is the past?": (lambda: right.T),
            "The mask is turned round: True marks what is hidden.\nHere True means that looking is allowed.": (
                lambda: ~right
            ),
            "Every token looks one place into the future.\nDid you use diagonal=1?": (
                lambda: torch.ones(length, length).tril(1).bool()
            ),
            "Every token may look everywhere.\nWhat should the first token see?": lambda: (
                torch.ones_like(right)
            ),
            "Every token sees itself only.": lambda: torch.eye(length, dtype=torch.bool),
        },
        "Row i should be True in columns 0 to i, and False beyond.",
    )
    yield "itself and the past, never the future"
    require(
        bool(a_tensor(answer(1), (1, 1), "mask").all()),
        "A single token should see itself: [[True]].",
    )
    yield "a single token sees itself"


def masked_softmax(answer: Answer, draw: Draw) -> Held:
    """``masked_softmax(scores, mask)``: hidden keys get exactly 0; a row with nothing to see gets zeros."""
    scores = draw.normal(4, 6)
    everything = torch.ones(4, 6, dtype=torch.bool)
    compare(
        answer.tensor(scores, everything, shape=(4, 6), what="weights"),
        scores.softmax(-1),
        {
            "A mask of True everywhere should change nothing.\n"
            "True means that looking is allowed: is it turned round?": (lambda: torch.zeros(4, 6)),
            "The columns of your weights sum to 1, not the rows.\nThe keys are on the last axis.": (
                lambda: scores.softmax(-2)
            ),
        },
        "A mask of True everywhere should give the plain softmax.\nTrue means that looking is allowed.",
    )
    mask = torch.ones(4, 6, dtype=torch.bool).tril()
    right = scores.masked_fill(~mask, -math.inf).softmax(-1)
    weights = answer.tensor(scores, mask, shape=(4, 6), what="weights")
    compare(
        weights,
        right,
        {
            "The rows no longer sum to 1: weight was taken away after the softmax.\n"
            "Should hidden keys not be left out "
            "before it?": lambda: scores.softmax(-1) * mask,
            "Hidden keys count as keys with the score 0.\nexp(0) is 1: which score has the exponential 0?": (
                lambda: (scores * mask).softmax(-1)
            ),
            "You hide what may be seen and show what is hidden.\nTrue means that looking is allowed.": (
                lambda: scores.masked_fill(mask, -math.inf).softmax(-1)
            ),
            "The mask has no effect.": lambda: scores.softmax(-1),
        },
        "With a causal mask the weights are wrong.\n"
        "What score must a hidden key have so that its exponential is 0?",
        tolerance=1e-6,
    )
    yield "hidden keys get nothing, rows still sum to 1"

    low = torch.tensor([[-30000.0, -29999.0, 0.0, 1.0]]) + draw.normal(1, 4)
    mask = torch.tensor([[True, True, False, False]])
    weights = answer.tensor(low, mask, shape=(1, 4), what="weights")
    require(
        not weights[:, 2:].any(),
        "Where the visible keys have scores near -30,000, hidden ones get weight: your mask is a finite number.\n"
        "Which score stays below all others?",
    )
    compare(
        weights,
        low.masked_fill(~mask, -math.inf).softmax(-1),
        {},
        "With very low scores the weights are wrong.",
        tolerance=1e-2,
    )
    yield "whatever the scores, hidden is hidden"

    mask = torch.tensor([[True, True, False], [False, False, False]])
    scores = draw.normal(2, 3)
    weights = answer.tensor(scores, mask, shape=(2, 3), what="weights", may_be_nan=True)
    require(
        not weights[1].isnan().any(),
        "The second query may look nowhere, and its weights are NaN: 0 / 0.\n"
        "A padded query is like that. What should "
        "its weights be, so that it takes nothing from anywhere?",
    )
    require(
        not same(weights[1], torch.full((3,), 1 / 3)),
        "A query that may look nowhere spreads its weight evenly over hidden keys.\n"
        "An infinite score would have shown "
        "it as NaN; what should its weights be?",
    )
    require(
        not weights[1].any(),
        "A query that may look nowhere should get zeros.\nWhat do you do with a row in which all is hidden?",
    )
    require(
        same(weights[0], scores[0].masked_fill(~mask[0], -math.inf).softmax(-1)),
        "The other row changed too.",
    )
    yield "a query that may look nowhere gets zeros"

    def reference(scores: Tensor, mask: Tensor) -> Tensor:
        return scores.masked_fill(~mask, -math.inf).softmax(-1).masked_fill(~mask, 0)

    scores, mask = draw.normal(2, 3, 4, 5), torch.rand(2, 1, 4, 5, generator=draw.generator) < 0.5
    mask[..., 0], mask[1, :, 2] = True, False  # one query of the second text may look nowhere
    for name, one in (
        ("padding mask (B, 1, 1, T_k)", mask[:, :, :1]),
        ("mask (B, 1, T_q, T_k)", mask),
    ):
        with where(f"With heads and a {name}:"):
            compare(
                answer.tensor(scores, one, shape=(2, 3, 4, 5), what="weights"),
                reference(scores, one),
                {},
                "The weights are wrong.\nDo you let the mask broadcast?",
            )
    answer.gradients(reference, scores, mask)
    yield "broadcasts over heads, with finite gradients"


def split_heads(answer: Answer, draw: Draw) -> Held:
    """``split_heads(x, heads)``: (B, T, H * D) to (B, H, T, D)."""
    batch, tokens, heads, width = 2, 5, 3, 4
    x = draw.normal(batch, tokens, heads * width)
    right = torch.stack([x[..., h * width : (h + 1) * width] for h in range(heads)], 1)
    result = answer(x, heads)
    shapes = {
        (
            batch,
            tokens,
            heads,
            width,
        ): "The heads come after the tokens.\nWhich two axes still have to change places?",
        (
            batch,
            heads,
            width,
            tokens,
        ): "Tokens and width of a head have changed places.\nWhich axes did you transpose?",
        (
            heads,
            batch,
            tokens,
            width,
        ): "The heads come before the batch.\nWhich axis comes first in (B, H, T, D)?",
        (
            batch,
            width,
            tokens,
            heads,
        ): f"There are {width} heads of width {heads}, not {heads} of width {width}.",
    }
    if isinstance(result, Tensor) and tuple(result.shape) in shapes:
        raise CheckFailed(
            f"The result has shape {tuple(result.shape)}.\n{shapes[tuple(result.shape)]}"
        )
    compare(
        a_tensor(result, (batch, heads, tokens, width), "result"),
        right,
        {
            "The shape is right, but tokens are mixed up: a head holds pieces of several tokens.\nDid you view as "
            "(B, H, T, D) at once? First (B, T, H, D), then change places.": lambda: x.reshape(
                batch, heads, tokens, width
            ),
            "Head 0 gets every third number instead of the first slice.\n"
            "Which comes first when the width is cut: heads, or "
            "their width?": lambda: x.reshape(batch, tokens, width, heads).permute(0, 3, 1, 2),
            "The heads come in reverse order.": lambda: right.flip(1),
        },
        "The shape is right, the numbers are not in their places.\nHead h should hold columns h D to (h + 1) D.",
    )
    answer.gradients(lambda x, heads: torch.stack(x.chunk(heads, -1), 1), x, heads)
    yield "head h holds slice h of every token"
    for batch, tokens, heads, width in ((1, 1, 1, 6), (3, 7, 12, 2)):
        x = draw.normal(batch, tokens, heads * width)
        result = answer.tensor(x, heads, shape=(batch, heads, tokens, width), what="result")
        right = torch.stack(x.split(width, -1), 1)
        require(
            same(result, right), f"Wrong for an input of shape {tuple(x.shape)} with {heads} heads."
        )
    yield "any sizes"


def merge_heads(answer: Answer, draw: Draw) -> Held:
    """``merge_heads(x)``: (B, H, T, D) to (B, T, H * D)."""
    batch, heads, tokens, width = 2, 3, 5, 4
    x = draw.normal(batch, heads, tokens, width)
    right = torch.cat([x[:, h] for h in range(heads)], -1)
    result = answer(x)
    shapes = {
        (
            batch,
            tokens,
            width,
        ): "The heads are added up or averaged.\nThey should stand side by side.",
        (
            batch,
            heads,
            tokens * width,
        ): "The tokens of each head stand side by side.\nWhich axis should follow the batch?",
        (
            batch,
            heads * tokens,
            width,
        ): "The heads stand below each other, as more tokens.\nThey should stand side by side.",
        (
            batch,
            tokens,
            heads,
            width,
        ): "Tokens and heads have changed places; now join the last two axes.",
        (
            batch,
            heads * width,
            tokens,
        ): "The width comes before the tokens.\nWhich axes did you transpose?",
    }
    if isinstance(result, Tensor) and tuple(result.shape) in shapes:
        raise CheckFailed(
            f"The result has shape {tuple(result.shape)}.\n{shapes[tuple(result.shape)]}"
        )
    compare(
        a_tensor(result, (batch, tokens, heads * width), "result"),
        right,
        {
            "The shape is right, but a token holds pieces of other tokens.\n"
            "Did you reshape before tokens and heads changed "
            "places?": lambda: x.reshape(batch, tokens, heads * width),
            "The numbers of the heads take turns.\n"
            "Each head should keep its own slice: what is next to what before you "
            "join?": lambda: x.permute(0, 2, 3, 1).reshape(batch, tokens, heads * width),
            "The heads come in reverse order.": lambda: torch.cat(
                [x[:, h] for h in reversed(range(heads))], -1
            ),
        },
        "The shape is right, the numbers are not in their places.\n"
        "Columns h D to (h + 1) D should come from head h.",
    )
    answer.gradients(lambda x: torch.cat(list(x.unbind(1)), -1), x)
    yield "head h becomes slice h of every token"
    for batch, heads, tokens, width in ((1, 1, 1, 6), (3, 12, 7, 2)):
        x = draw.normal(batch, heads, tokens, width)
        result = answer.tensor(x, shape=(batch, tokens, heads * width), what="result")
        require(
            same(result, torch.cat(list(x.unbind(1)), -1)),
            f"Wrong for an input of shape {tuple(x.shape)}.",
        )
    yield "any sizes"


def multi_head(answer: Answer, draw: Draw) -> Held:
    """``MultiHead(width, heads)``: self- and cross-attention, equal to torch.nn.MultiheadAttention."""
    width, heads, batch, queries, keys = 12, 3, 2, 5, 7
    mine = answer.module(width, heads)
    theirs = nn.MultiheadAttention(width, heads, batch_first=True).eval()
    _copy_weights(theirs, mine.given)
    mine.given.eval()
    x, source = draw.normal(batch, queries, width), draw.normal(batch, keys, width)
    shape = (batch, queries, width)
    first = mine.tensor(x, x, x, shape=shape, what="output")
    weights = [getattr(mine.given, name).weight for name in _LAYERS]
    for name, gradient in zip(
        _LAYERS, backward(first, weights, torch.ones_like(first)), strict=True
    ):
        require(
            gradient is not None,
            f"The layer `{name}` gets no gradient: your forward does not use it.\n"
            "Is a new Linear made inside forward? That one is random at every call and never trains.",
        )
    second = mine.tensor(x, x, x, shape=shape, what="output")
    require(
        same(first, second, 1e-6),
        "Two calls with the same input differ, in eval mode.\n"
        "Is dropout always on? F.dropout needs training=self.training.",
    )
    yield "all four layers are used, and nothing else that is random"

    variant = functools.partial(_reference, theirs)
    compare(
        first,
        variant(x, x, x),
        {
            "Right up to the output projection.\nWhat mixes the heads in the end?": lambda: variant(
                x, x, x, output=False
            ),
            "The scores are scaled by the whole width.\n"
            "Each head has queries and keys of its own, narrower width.": (
                lambda: variant(x, x, x, scale=width)
            ),
            "The scores are scaled by the root of the number of heads.\n"
            "It is the width of one head that counts.": (lambda: variant(x, x, x, scale=heads)),
            "The scores are not scaled.\nBy the root of which width?": lambda: variant(
                x, x, x, scale=1
            ),
            "Tokens get mixed up when the heads are merged.\n"
            "Do tokens and heads change places before you reshape?": (
                lambda: variant(x, x, x, merge="reshape")
            ),
            "Tokens get mixed up when the heads are split.\nDid you view as (B, H, T, D) at once?": (
                lambda: variant(x, x, x, split="reshape")
            ),
            "Tokens get mixed up when the heads are split, and again when they are merged.\n"
            "Did you view as (B, H, T, D) "
            "at once?": lambda: variant(x, x, x, split="reshape", merge="reshape"),
            "The softmax runs over the queries.\nWhich axis holds the keys?": lambda: variant(
                x, x, x, axis=-2
            ),
            "There is one head over the whole width.\nDid you split?": lambda: _one_head(theirs, x),
        },
        "Self-attention differs from torch's with the same weights.\n"
        "Project, split, attend, merge, project: which step is "
        "it?",
        tolerance=1e-4,
    )
    yield "self-attention equals torch's"

    other = draw.normal(batch, keys, width)
    compare(
        mine.tensor(x, source, other, shape=shape, what="output"),
        theirs(x, source, other, need_weights=False)[0],
        {
            "Keys and values come from the query: this is self-attention whatever is given.\nWhich input feeds "
            "self.key, which self.value?": lambda: variant(x, x, x),
            "The values come from the key input.\nThere is a third input.": lambda: variant(
                x, source, source
            ),
            "The keys come from the value input.": lambda: variant(x, other, other),
            "Keys and values have changed places.": lambda: variant(x, other, source),
        },
        "Cross-attention differs from torch's.\nQueries come from one text, keys and values from another.",
        tolerance=1e-4,
    )
    yield "cross-attention equals torch's"

    causal = torch.ones(queries, queries, dtype=torch.bool).tril()
    crossed = torch.ones(queries, keys, dtype=torch.bool).tril(1)
    square = draw.normal(queries, queries, width)
    one = other = x
    for _ in range(200):  # until a finite mask would be seen to leak
        one, other = 30 * draw.normal(*x.shape), 30 * draw.normal(*source.shape)
        if not same(
            variant(one, other, other, crossed), variant(one, other, other, crossed, far=-100)
        ):
            break
    fits = "With a mask (T_q, T_k), which fits the scores of all heads as it is:"
    equal = "With a mask (T_q, T_k) and as many texts as tokens:"
    _masked(mine, variant, (x, x, causal), fits)
    _masked(mine, variant, (square, square, causal), equal)
    _masked(mine, variant, (one, other, crossed), "With large scores and a mask:")
    padding = torch.arange(keys) < torch.tensor([[[keys]], [[keys - 3]]])  # (B, 1, T_k)
    with where("Right with a mask (T_q, T_k), wrong with a padding mask (B, 1, T_k)."):
        compare(
            mine.tensor(x, source, source, padding, shape=shape, what="output"),
            variant(x, source, source, padding),
            {},
            "Scores have four axes, (B, H, T_q, T_k): where must the mask get one more?",
            tolerance=1e-4,
        )
    yield "masks: one for all (T_q, T_k), and one per text (B, 1, T_k)"


def _masked(
    mine: Answer,
    variant: Callable[..., Tensor],
    inputs: tuple[Tensor, Tensor, Tensor],
    place: str,
) -> None:
    """Compare under one mask (T_q, T_k) that every query sees something through."""
    query, key, mask = inputs
    run = functools.partial(variant, query, key, key)
    with where(place):
        output = mine.tensor(
            query, key, key, mask, shape=tuple(query.shape), what="output", may_be_nan=True
        )
        compare(
            output.nan_to_num(),
            run(mask),
            {
                "The mask has no effect.\nIs it used before the softmax?": run,
                "The mask is turned round.\nTrue means that looking is allowed.": (
                    lambda: run(~mask).nan_to_num()
                ),
                "The mask is transposed.\nRows are queries, columns are keys.": lambda: run(
                    mask.mT
                ),
                "The mask is applied after the softmax, so rows no longer sum to 1.\nWhere does it belong?": (
                    lambda: run(mask, late=True)
                ),
                "Hidden keys count as keys with the score 0.\nWhich score has the exponential 0?": (
                    lambda: run(mask, far=0.0)
                ),
                "Hidden keys get weight: they have a finite score.\nWhich score stays below all others?": (
                    lambda: run(mask, far=-100)
                ),
            },
            "The output is wrong.\nDo you tell the two kinds of mask apart by their number of axes?",
            tolerance=1e-3,
        )


_LAYERS = ("query", "key", "value", "output")


def _pair(
    result: object, context: tuple[int, ...], weights: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The answer's context and weights, or a failure that says what came instead."""
    if isinstance(result, Tensor):
        raise CheckFailed(
            "One tensor came back; two are asked for.\nDoes it end in `return context, weights`?"
        )
    if not isinstance(result, tuple | list):
        a_tensor(result, (), "pair (context, weights)")
    if len(result) != 2:
        raise CheckFailed(
            f"Two tensors are asked for, {len(result)} came.\n"
            "Does it end in `return context, weights`?"
        )
    first, second = result
    swapped = isinstance(first, Tensor) and isinstance(second, Tensor)
    if swapped and context != weights and (first.shape, second.shape) == (weights, context):
        raise CheckFailed(
            "The weights come first and the context second.\nThe order is `return context, weights`."
        )
    return a_tensor(first, context, "context"), a_tensor(second, weights, "weights")


def _copy_weights(theirs: nn.MultiheadAttention, mine: nn.Module) -> None:
    """Give the learner's four layers the weights of torch's module."""
    weights = [*theirs.in_proj_weight.chunk(3), theirs.out_proj.weight]
    biases = [*theirs.in_proj_bias.chunk(3), theirs.out_proj.bias]
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    for name, weight, bias in zip(_LAYERS, weights, biases, strict=True):
        layer = getattr(mine, name, None)
        if (
            not isinstance(layer, nn.Linear)
            or layer.weight.shape != weight.shape
            or layer.bias is None
        ):
            raise CheckFailed(
                f"`self.{name}` should be nn.Linear({weight.shape[1]}, {weight.shape[0]}) as given.\n"
                "Leave __init__ as it is; "
                "the exercise is forward."
            )
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)


def _reference(
    module: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
    split: str = "transpose",
    merge: str = "transpose",
    axis: int = -1,
    output: bool = True,
    late: bool = False,
    far: float = -math.inf,
) -> Tensor:
    """Multi-head attention with torch's weights, right by default, or with one mistake."""
    heads = module.num_heads
    q, k, v = (
        F.linear(x, weight, bias)
        for x, weight, bias in zip(
            (query, key, value),
            module.in_proj_weight.chunk(3),
            module.in_proj_bias.chunk(3),
            strict=True,
        )
    )
    d = q.shape[-1] // heads
    if split == "reshape":
        q, k, v = (x.reshape(len(x), heads, -1, d) for x in (q, k, v))
    else:
        q, k, v = (torch.stack(x.split(d, -1), 1) for x in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(scale or d)
    if mask is not None:
        mask = mask[:, None] if mask.dim() == 3 else mask
        scores = scores if late else scores.masked_fill(~mask, far)
    weights = scores.softmax(axis)
    context = (weights * mask if late else weights) @ v
    if merge == "reshape":
        merged = context.reshape(len(query), -1, heads * d)
    else:
        merged = torch.cat(list(context.unbind(1)), -1)
    return module.out_proj(merged) if output else merged


def _one_head(module: nn.MultiheadAttention, x: Tensor) -> Tensor:
    q, k, v = F.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
    return module.out_proj(F.scaled_dot_product_attention(q, k, v))


EXERCISES = [
    Exercise(
        "attention",
        "attention_from_scratch",
        2,
        attention,
        frozenset(
            {
                "scaled_dot_product_attention",
                "multi_head_attention_forward",
                "top_k_attention",
                "tiled_attention",
                "hard_attention",
            }
        ),
    ),
    Exercise("causal_mask", "attention_from_scratch", 1, causal_mask, frozenset({"causal_mask"})),
    Exercise(
        "masked_softmax",
        "attention_from_scratch",
        3,
        masked_softmax,
        frozenset({"attnlab.softmax"}),
    ),
    Exercise("split_heads", "attention_from_scratch", 2, split_heads, frozenset({"split_heads"})),
    Exercise("merge_heads", "attention_from_scratch", 2, merge_heads, frozenset({"merge_heads"})),
    Exercise(
        "MultiHead",
        "attention_from_scratch",
        4,
        multi_head,
        frozenset({"multi_head_attention_forward", "attnlab.forward"}),
    ),
]
