"""The exercise ``cross_attend``."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_pair,
    a_tensor,
    same_shape,
    where,
)

SUMS = (
    "The weights of a query should be positive and sum to 1 over the patches.\n"
    "Over which axis does the softmax run, and is there one at all?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``cross_attend(words, patches, w_q, w_k, w_v, w_o, heads)``: result and weights."""
    weights = Comparison(answer, _reference, MISTAKES, read=partial(_read, part=1))
    results = Comparison(answer, _reference, MISTAKES, read=partial(_read, part=0))
    otherwise = (
        "The {part} wrong.\nQueries come from the words, keys and values from the patches; "
        "scores are divided by the root of the width of a head."
    )

    def call(heads: int, batch: int = 2) -> Call:
        width = heads * draw.whole(2, 3) * 2
        words = draw.whole(4, 6)  # never as many as heads
        patches = words + draw.whole(2, 5)
        matrices = [draw.normal(width, width) / math.sqrt(width) for _ in range(4)]
        inputs = draw.normal(batch, words, width), draw.normal(batch, patches, width)
        return Call(*inputs, *matrices, heads)

    for heads, how in ((3, "three heads"), (1, "one head")):
        with where(f"With {how}:"):
            weights.on(partial(call, heads), otherwise, facts=_facts("weights are"))
            results.on(partial(call, heads), otherwise, facts=_facts("result is"))
        yield f"{how}: every word spreads its attention over the patches"
    few = call(2, batch=1)
    words, patches, *rest = few.arguments
    swapped = partial(Call, patches, words, *rest)  # more queries than keys
    with where("With fewer patches than words:"):
        results.on(swapped, otherwise, facts=_facts("result is"), draws=1)
    answer.gradients(_reference_result, *few.arguments, pick=0)
    yield "any lengths, and gradients reach all six"


def _read(result: Any, right: Any, part: int) -> Tensor:
    mixed, weights = a_pair(result, "result", "weights")
    expected = right[part]
    return a_tensor((mixed, weights)[part], tuple(expected.shape), ("result", "weights")[part])


def _shape_of_weights(result: Any) -> tuple[int, ...] | None:
    """That of the second of two results, where it is one."""
    pair = isinstance(result, tuple | list) and len(result) == 2
    return tuple(result[1].shape) if pair and isinstance(result[1], Tensor) else None


def _same_weights_shape(result: Any, mistaken: Any) -> bool:
    shape = _shape_of_weights(result)
    return shape is not None and shape == _shape_of_weights(mistaken)


def _same_shapes(result: Any, mistaken: Any) -> bool:
    """Of both results."""
    return _same_weights_shape(result, mistaken) and same_shape(result[0], mistaken[0])


def _facts(part: str) -> Callable[[Call, Any], dict[str, Any]]:
    def facts(call: Call, result: Any) -> dict[str, Any]:
        words, patches, *_, heads = call.arguments
        return {
            "part": part,
            "heads": heads,
            "words": words.shape[1],
            "patches": patches.shape[1],
            "width": words.shape[-1] // heads,
            "shape": _shape_of_weights(result),
        }

    return facts


def _reference(
    words: Tensor,
    patches: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor]:
    """Head by head, as a sum over heads of what each adds."""
    width = w_q.shape[1] // heads
    result, weights = torch.zeros_like(words), []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        scores = torch.einsum(
            "btd,bnd->btn", words @ w_q[:, own], patches @ w_k[:, own]
        ) / math.sqrt(width)
        powers = (scores - scores.amax(-1, keepdim=True)).exp()
        weights.append(powers / powers.sum(-1, keepdim=True))
        result = result + weights[-1] @ (patches @ w_v[:, own]) @ w_o[own]
    return result, torch.stack(weights, 1)


def _reference_result(*arguments: Any) -> Tensor:
    return _reference(*arguments)[0]


# --- What learners write instead -----------------------------------------------------------------


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _cut_wrongly(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)


def _viewed(x: Tensor, heads: int) -> Tensor:
    return x.reshape(len(x), heads, x.shape[1], -1)


def _with(
    *,
    split: Callable[[Tensor, int], Tensor] = _split,
    scale: Callable[[Tensor], float] = lambda q: 1 / math.sqrt(q.shape[-1]),
    normalise: Callable[[Tensor], Tensor] = lambda scores: scores.softmax(-1),
    roles: tuple[int, int, int] = (0, 1, 1),
    matrices: tuple[int, int, int] = (0, 1, 2),
    join: Callable[[Tensor], Tensor] = lambda mixed: mixed.transpose(1, 2).flatten(2),
    output: bool = True,
    told: Callable[[Tensor], Tensor] = lambda weights: weights,
    transposed: bool = False,
) -> Callable[..., Any]:
    """The answer with a part exchanged."""

    def answer(words: Any, patches: Any, w_q: Any, w_k: Any, w_v: Any, w_o: Any, heads: int) -> Any:
        given, weights = (words, patches), (w_q, w_k, w_v)
        if transposed:
            weights, w_o = tuple(w.T for w in weights), w_o.T
        q, k, v = (
            split(given[role] @ weights[which], heads)
            for role, which in zip(roles, matrices, strict=True)
        )
        table = normalise(q @ k.transpose(-2, -1) * scale(q))
        mixed = join(table @ v)
        return (mixed @ w_o if output else mixed), told(table)

    return answer


def _swapped_results(*arguments: Any) -> Any:
    return _reference(*arguments)[::-1]


def _a_weight_per_head(
    words: Tensor, patches: Tensor, w_q: Any, w_k: Any, w_v: Any, w_o: Any, heads: int
) -> Any:
    """One weight for each head, normalised across heads."""
    q, k, v = _split(words @ w_q, heads), _split(patches @ w_k, heads), _split(patches @ w_v, heads)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = scores.mean((-2, -1), keepdim=True).softmax(1).expand_as(scores)
    return (weights @ v).transpose(1, 2).flatten(2) @ w_o, weights


def _one_large_head(
    words: Tensor, patches: Tensor, w_q: Any, w_k: Any, w_v: Any, w_o: Any, heads: int
) -> Any:
    result, weights = _reference(words, patches, w_q, w_k, w_v, w_o, 1)
    return result, weights.expand(-1, heads, -1, -1)


MISTAKES = [
    Mistake(
        _swapped_results,
        "The two results have changed places: first the mixture (B, T, E), then the weights.",
        alike=_same_weights_shape,
    ),
    Mistake(
        _with(told=lambda weights: weights.mean(1)),
        "The weights have shape {shape}: the heads are averaged or added up.\nReturn those "
        "of every head.",
        alike=_same_weights_shape,
    ),
    Mistake(
        _with(told=lambda weights: weights.transpose(1, 2)),
        "The weights have shape {shape}: heads come behind the words.\nExpected is (B, heads, T, "
        "N).",
        alike=_same_weights_shape,
    ),
    Mistake(
        _with(told=lambda weights: weights.transpose(2, 3)),
        "The weights have shape {shape}: words and patches have changed places.\nExpected is (B, "
        "heads, T, N).",
        alike=_same_shapes,
    ),
    Mistake(
        _with(roles=(1, 0, 0)),
        "The weights have shape {shape}: the patches look at the words.\nWhich of the two asks?",
        alike=_same_weights_shape,
    ),
    Mistake(
        _with(roles=(0, 0, 0)),
        "The weights have shape {shape}: words look at words.\nWhere do keys and values come from?",
        alike=_same_weights_shape,
    ),
    Mistake(
        _with(normalise=lambda scores: scores.softmax(-2)),
        "The weights sum to 1 over the words: patches share themselves out.\nEach word should "
        "spread its own attention over the patches.",
    ),
    Mistake(
        _with(normalise=lambda scores: scores.softmax(1)),
        "The weights sum to 1 over the heads: heads compete for every patch.\nEach head should "
        "spread its own attention over the patches.",
    ),
    Mistake(
        _with(
            normalise=lambda scores: scores.flatten(2).softmax(-1).unflatten(2, scores.shape[2:])
        ),
        "The weights sum to 1 over words and patches together.\nEach word should spread its own "
        "attention over the patches.",
    ),
    Mistake(
        _with(normalise=lambda scores: scores.softmax(0)),
        "The weights sum to 1 over the examples of the batch.\nEach word should spread its own "
        "attention over the patches.",
    ),
    Mistake(
        _with(normalise=torch.exp),
        "There are exponentials, but they are not divided by their sum over the patches.",
    ),
    Mistake(
        _with(normalise=lambda scores: (-scores).softmax(-1)),
        "The sign of the scores is wrong: the least alike get the most attention.",
    ),
    Mistake(
        _a_weight_per_head,
        "There is one weight for each head, the same for all words and patches.\nWhat is a weight "
        "of attention for: a head, or a pair of word and patch?",
    ),
    Mistake(_with(normalise=lambda scores: scores), SUMS),
    Mistake(
        _with(normalise=lambda scores: scores / scores.sum(-1, keepdim=True)),
        "Scores are divided by their sum, without exponentials.\nWhat if one of them is negative?",
    ),
    Mistake(
        _with(normalise=torch.sigmoid),
        "Each weight is a sigmoid by itself, so they do not sum to 1.\nThe patches should compete "
        "for the attention of a word.",
    ),
    Mistake(
        _with(
            normalise=lambda scores: scores.masked_fill(
                torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf
            ).softmax(-1)
        ),
        "Word t looks at the first t patches only, as with a causal mask.\nIs there anything in a "
        "picture that must not be seen yet?",
    ),
    Mistake(
        lambda words, patches, *rest: (
            words + _reference(words, patches, *rest)[0],
            _reference(words, patches, *rest)[1],
        ),
        "The words are added to the result: a residual connection.\nIt belongs around attention, "
        "not into it.",
    ),
    Mistake(
        _with(scale=lambda q: 1.0),
        "Scores are not divided by the root of the width of a head.\nWhat does that do to the "
        "softmax?",
    ),
    Mistake(
        _with(scale=lambda q: 1 / q.shape[-1]),
        "Scores are divided by the width of a head, {width}, instead of its root.",
    ),
    Mistake(
        _with(scale=lambda q: 1 / math.sqrt(q.shape[1])),
        "Scores are divided by the root of the number of heads, {heads}.\nThe d in the formula is "
        "the width of a query or key.",
    ),
    Mistake(
        _with(scale=lambda q: 1 / math.sqrt(q.shape[1] * q.shape[-1])),
        "Scores are divided by the root of the whole width.\nHow wide is the query of one head?",
    ),
    Mistake(
        _with(scale=lambda q: 1 / math.sqrt(q.shape[-2])),
        "Scores are divided by the root of the number of words, {words}.\nWhich axis is the width "
        "of a head?",
    ),
    Mistake(
        _with(scale=lambda q: math.sqrt(q.shape[-1])),
        "Scores are multiplied by the root of the width of a head.\nThey should be divided by it.",
    ),
    Mistake(
        lambda words, patches, *rest: _with(scale=lambda q: 1 / math.sqrt(patches.shape[1]))(
            words, patches, *rest
        ),
        "Scores are divided by the root of the number of patches, {patches}.\nWhich axis is the "
        "width of a head?",
    ),
    Mistake(
        _with(split=_cut_wrongly),
        "Head 0 gets every {heads}rd column instead of the first slice.\nWhich comes first when "
        "the width is cut: heads, or their width?",
    ),
    Mistake(
        _with(split=_viewed),
        "Heads hold pieces of several tokens.\nDid you view as (B, heads, T, D) at once? First (B, "
        "T, heads, D), then change places.",
    ),
    Mistake(
        _one_large_head,
        "All heads have the same weights, those of a single wide head.\nWhere is the width cut "
        "into heads?",
    ),
    Mistake(
        _with(matrices=(1, 0, 2)),
        "w_q and w_k have changed places.",
    ),
    Mistake(
        _with(matrices=(0, 1, 1)),
        "Values are made with w_k.\nWhich matrix is for values?",
    ),
    Mistake(
        _with(matrices=(0, 0, 2)),
        "Keys are made with w_q.\nWhich matrix is for keys?",
    ),
    Mistake(
        _with(transposed=True),
        "The matrices are transposed: `nn.Linear` stores them so, but here words @ w_q is meant.",
    ),
    Mistake(
        lambda words, patches, w_q, w_k, w_v, w_o, heads: _reference(
            words, patches, w_q, w_k, w_v, w_o.T, heads
        ),
        "w_o is transposed.\nHere mixed @ w_o is meant.",
    ),
    Mistake(
        _with(output=False),
        "The last product, with w_o, is missing.",
    ),
    Mistake(
        _with(
            join=lambda mixed: (
                mixed.flatten(2)
                .unflatten(2, (mixed.shape[2], -1))
                .mean(1)
                .repeat(1, 1, mixed.shape[1])
            )
        ),
        "The heads are averaged.\nThey should stand side by side before w_o.",
    ),
    Mistake(
        _with(join=lambda mixed: mixed.reshape(len(mixed), mixed.shape[2], -1)),
        "The weights are right, but heads and words are mixed up when the heads are joined.\nWhich "
        "two axes must change places before they are flattened?",
    ),
    Mistake(
        _with(join=lambda mixed: mixed.permute(0, 2, 3, 1).flatten(2)),
        "The heads are interleaved, number by number.\nHead 0 should fill the first columns.",
    ),
]

EXERCISE = Exercise(
    "cross_attend",
    "beyond_text",
    3,
    check,
    frozenset(
        {
            "scaled_dot_product_attention",
            "MultiheadAttention",
            "multi_head_attention_forward",
            "MultiHeadAttention",
            "attnlab.attention",
            "attnlab.soft_attention",
        }
    ),
    MISTAKES,
)
