"""The exercise ``window_attention``."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
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

TABLE = (
    "The result is right, but for {tokens} tokens a tensor of {largest:,} numbers is made: a table "
    "of all queries and all keys has {table:,}.\n"
    "Which keys can the queries of a block see at most?"
)
ALL_KEYS = (
    "The result is right, but twice the tokens take {times:.1f} times the work: each query, or "
    "block of queries, is multiplied by all keys.\n"
    "Which keys can it see at most? Cut them out before the product."
)
BY_QUERY = (
    "The result is right, but for {tokens} tokens it takes {operations:,} operations: the queries "
    "are worked on one by one.\n"
    "How can a block of them be one matrix product?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``window_attention(query, key, value, window)``: keys at most ``window`` away."""
    compared = Comparison(answer, _reference, MISTAKES)
    otherwise = (
        "The result is wrong, first for query {first} of {tokens}.\n"
        "With window {window} it should see the keys from {low} to {high}, both included."
    )

    def drawn(tokens: int, window: int, batch: int = 2, heads: int = 2) -> Call:
        width = draw.whole(3, 6)
        return Call(
            *(draw.normal(batch, heads, tokens, width) for _ in range(3)),
            window,
        )

    def blocks() -> Call:
        window = draw.whole(2, 4)
        return drawn(4 * window, window)

    with where("For a text of whole blocks:"):
        compared.on(blocks, otherwise, facts=_facts)
    yield "each query sees just the keys that are at most `window` away"

    def wide() -> Call:
        tokens = draw.whole(4, 7)
        return drawn(tokens, tokens - 1)

    with where("Where the window holds the whole text, as ordinary attention does:"):
        compared.on(wide, otherwise, facts=_facts)
    yield "a window as wide as the text: ordinary attention"

    def odd() -> Call:
        window = draw.whole(2, 5)
        return drawn(draw.whole(2, 4) * window + draw.whole(1, window - 1), window)

    with where("Where the tokens are no multiple of the window:"):
        compared.on(odd, otherwise, facts=_facts)
    for tokens, window, batch in ((1, 1, 1), (5, 1, 3), (3, 8, 1), (2, 2, 1), (23, 3, 1)):
        with where(f"For {tokens} tokens and a window of {window}:"):
            compared.on(partial(drawn, tokens, window, batch, 3), otherwise, facts=_facts, draws=1)
    yield "any number of tokens"

    answer.gradients(_reference, *(draw.normal(1, 2, 11, 3) for _ in range(3)), 3)
    yield "gradients reach queries, keys and values"
    _frugal(answer, draw)
    yield "no table of all queries and all keys, and no loop over queries"


def _frugal(answer: Answer, draw: Draw) -> None:
    """Look at how large the tensors are, and how the work grows with the text."""
    tokens, window, width = 256, 8, 4

    def inputs(tokens: int) -> list[Tensor]:
        return [draw.normal(1, 1, tokens, width) for _ in range(3)]

    few = tokens // 2
    half = answer.effort(*inputs(few), window)
    require(
        half.operations <= 8 * few,
        BY_QUERY.format(tokens=few, operations=half.operations),
    )
    whole = answer.effort(*inputs(tokens), window)
    require(
        whole.largest <= 3 * tokens**2 // 4,
        TABLE.format(tokens=tokens, largest=whole.largest, table=tokens**2),
    )
    times = whole.made / max(half.made, 1)
    require(times <= 3, ALL_KEYS.format(times=times))


def _reference(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Query by query."""
    tokens, width = query.shape[-2:]
    rows = []
    for place in range(tokens):
        near = slice(max(place - window, 0), min(place + window + 1, tokens))
        scores = torch.einsum("bhd,bhkd->bhk", query[:, :, place], key[:, :, near]) * width**-0.5
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        rows.append(torch.einsum("bhk,bhkd->bhd", weights, value[:, :, near]))
    return torch.stack(rows, 2)


def _facts(call: Call, result: Any) -> dict[str, Any]:
    query, *_, window = call.arguments
    tokens, right = query.shape[-2], call.of(_reference)
    first = 0
    if isinstance(result, Tensor) and result.shape == right.shape:
        apart = (result - right).detach().abs().amax((0, 1, 3)).nan_to_num(1.0) > 1e-5
        first = int(apart.int().argmax())
    return {
        "first": first,
        "tokens": tokens,
        "window": window,
        "low": max(first - window, 0),
        "high": min(first + window, tokens - 1),
        "shape": tuple(result.shape) if isinstance(result, Tensor) else None,
    }


# --- What learners write instead -----------------------------------------------------------------

Allowed = Callable[[Tensor, int], Tensor]  # of key minus query, (T, T), and the window


def _near(distance: Tensor, window: int) -> Tensor:
    return distance.abs() <= window


def _masked(
    allowed: Allowed = _near,
    *,
    divisor: Callable[[int, int, int], float] = lambda width, window, tokens: math.sqrt(width),
    weights: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Callable[..., Tensor]:
    """Dense attention with a mask, of which a part is exchanged."""

    def shares(scores: Tensor, mask: Tensor) -> Tensor:
        return scores.masked_fill(~mask, -torch.inf).softmax(-1)

    def answer(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
        tokens, width = query.shape[-2:]
        places = torch.arange(tokens)
        scores = query @ key.transpose(-2, -1) / divisor(width, window, tokens)
        mask = allowed(places - places[:, None], window)
        return (weights or shares)(scores, mask) @ value

    return answer


def _in_blocks(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Blocks of queries, each against all keys."""
    tokens, places = query.shape[-2], torch.arange(query.shape[-2])
    found = []
    for start in range(0, tokens, window):
        some = slice(start, start + window)
        scores = query[:, :, some] @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        far = (places - places[some, None]).abs() > window
        found.append(scores.masked_fill(far, -torch.inf).softmax(-1) @ value)
    return torch.cat(found, 2)


def _by_query(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    return _reference(query, key, value, window)


def _around(padding: Callable[[Tensor, int], Tensor], hidden: bool) -> Callable[..., Tensor]:
    """Keys at each of the 2w + 1 distances, where the text is continued beyond its ends."""

    def answer(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
        tokens, span = query.shape[-2], 2 * window + 1
        keys, values = (
            padding(x, window).unfold(2, span, 1).transpose(-2, -1) for x in (key, value)
        )
        scores = (keys @ query[..., None])[..., 0] / query.shape[-1] ** 0.5
        place = torch.arange(tokens)[:, None] + torch.arange(span) - window
        real = (place >= 0) & (place < tokens)
        scores = scores if not hidden else scores.masked_fill(~real, 0.0)
        return (scores.softmax(-1)[..., None, :] @ values)[..., 0, :]

    return answer


def _zeros(x: Tensor, window: int) -> Tensor:
    return F.pad(x, (0, 0, window, window))


def _repeated(x: Tensor, window: int) -> Tensor:
    first, last = x[:, :, :1], x[:, :, -1:]
    return torch.cat([*[first] * window, x, *[last] * window], 2)


def _in_a_circle(x: Tensor, window: int) -> Tensor:
    return torch.cat([x[:, :, -window:], x, x[:, :, :window]], 2)


def _same_block(distance: Tensor, window: int) -> Tensor:
    places = torch.arange(len(distance)) // window
    return places == places[:, None]


def _neighbours(distance: Tensor, window: int) -> Tensor:
    places = torch.arange(len(distance)) // window
    return (places - places[:, None]).abs() <= 1


def _shifted(distance: Tensor, window: int) -> Tensor:
    """At the ends the window is moved inward, so that it always holds 2w + 1 keys."""
    tokens, places = len(distance), torch.arange(len(distance))
    low = (places - window).clamp(0, max(tokens - 2 * window - 1, 0))[:, None]
    return (places >= low) & (places <= low + 2 * window)


def _whole_blocks(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    whole = query.shape[-2] // window * window
    return _masked()(query[:, :, :whole], key[:, :, :whole], value[:, :, :whole], window)


def _padded(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Zeros up to a whole number of blocks, which count as tokens."""
    more = -query.shape[-2] % window
    query, key, value = (F.pad(x, (0, 0, 0, more)) for x in (query, key, value))
    return _masked()(query, key, value, window)[:, :, : query.shape[-2] - more]


def _padding_returned(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    return F.pad(_masked()(query, key, value, window), (0, 0, 0, -query.shape[-2] % window))


EDGES = "Where the text begins or ends, "
MISTAKES = [
    Mistake(
        _whole_blocks,
        "The result has shape {shape}: the last tokens, which do not fill a block, are missing.\n"
        "Can they be padded, and the padding be hidden?",
        alike=same_shape,
    ),
    Mistake(
        _padding_returned,
        "The result has shape {shape}: there are tokens that the text does not have.\n"
        "Where are they cut off again?",
        alike=same_shape,
    ),
    Mistake(
        _masked(divisor=lambda *_: 1),
        "The scores are too large.\nBy the root of what does attention divide them?",
    ),
    Mistake(
        _masked(divisor=lambda width, window, tokens: width),
        "The scores are divided by the width; the root of it is asked for.\nIs there a sqrt "
        "missing?",
    ),
    Mistake(
        _masked(divisor=lambda width, window, tokens: math.sqrt(tokens)),
        "The scores are divided by the root of the number of tokens.\nWhich axis is the width?",
    ),
    Mistake(
        _masked(divisor=lambda width, window, tokens: math.sqrt(2 * window + 1)),
        "The scores are divided by the root of the number of keys.\nWhich axis is the width?",
    ),
    Mistake(
        _masked(weights=lambda scores, mask: scores.masked_fill(~mask, -torch.inf).softmax(-2)),
        "For each key the weights of the queries sum to 1.\nOver which axis is the softmax?",
    ),
    Mistake(
        _masked(lambda distance, window: torch.ones_like(distance).bool()),
        "Every query sees all keys.\nWhere does `window` come in?",
    ),
    Mistake(
        _masked(lambda distance, window: ~_near(distance, window - 1)),
        "Each query sees what is far away, and not what is near.\nDoes your mask say what is "
        "hidden, or what is seen?",
    ),
    Mistake(
        _masked(lambda distance, window: (distance <= 0) & _near(distance, window)),
        "Each query sees only itself and what comes before.\nThe window lies on both sides.",
    ),
    Mistake(
        _masked(lambda distance, window: (distance >= 0) & _near(distance, window)),
        "Each query sees only itself and what comes after.\nThe window lies on both sides.",
    ),
    Mistake(
        _masked(lambda distance, window: _near(distance, window // 2)),
        "The window is half as wide as it should be.\n`window` counts the keys on *either* side.",
    ),
    Mistake(
        _masked(lambda distance, window: _near(distance, window - 1)),
        "A key that is just `window` away is not seen.\nIs there a < for <=, or the end of a "
        "range or slice that is left out?",
    ),
    Mistake(
        _masked(lambda distance, window: (distance >= -window) & (distance < window)),
        "Of the keys that are just `window` away the later one is not seen.\nDoes a slice or a "
        "range hold its end?",
    ),
    Mistake(
        _masked(lambda distance, window: _near(distance, window + 1)),
        "Keys that are `window` + 1 away are seen, too.\nWhere does the window end?",
    ),
    Mistake(
        _masked(lambda distance, window: _near(distance, window) & (distance != 0)),
        "No query sees its own key.\nHow far away is that?",
    ),
    Mistake(
        _masked(_same_block),
        "Each block of queries sees just its own block.\nHow far does the first query of a block "
        "look back?",
    ),
    Mistake(
        _masked(_neighbours),
        "Each block sees the whole of its neighbours: keys that are further than `window` away, "
        "too.\nWhich pairs inside of the three blocks are near enough?",
    ),
    Mistake(
        _masked(weights=lambda scores, mask: (scores * mask).softmax(-1)),
        "Hidden scores are set to 0, and exp(0) is 1.\nWhich score gives the weight 0?",
    ),
    Mistake(
        _masked(weights=lambda scores, mask: scores.softmax(-1) * mask),
        "The weights of a query sum to less than 1.\nIs the mask applied before the softmax, or "
        "after it?",
    ),
    Mistake(
        _masked(weights=lambda scores, mask: mask / mask.sum(-1, keepdim=True)),
        "Each result is the plain mean of the values in the window.\nWhere do the scores come in?",
    ),
    Mistake(
        _around(_zeros, hidden=False),
        EDGES + "the padding counts as keys, with the score 0.\nWhich score hides it?",
    ),
    Mistake(
        _around(_repeated, hidden=False),
        EDGES + "the first or last key counts several times.\nDoes `clamp` move a place into the "
        "text that should be hidden?",
    ),
    Mistake(
        _around(_in_a_circle, hidden=False),
        EDGES + "the window goes on at its other end.\nDo `roll` or negative indices lead there?",
    ),
    Mistake(
        _masked(_shifted),
        EDGES + "the window is moved inward, so that it is always full.\nNo key is seen that is "
        "further than `window` away.",
    ),
    Mistake(
        _padded,
        "The last tokens see the padding of the last block.\nWhich places are no tokens of the "
        "text?",
    ),
    Mistake(_masked(), TABLE, compared=False),
    Mistake(_in_blocks, ALL_KEYS, compared=False),
    Mistake(_by_query, BY_QUERY, compared=False),
]

EXERCISE = Exercise(
    "window_attention",
    "adaptive_attention",
    3,
    check,
    frozenset(
        {
            "scaled_dot_product_attention",
            "multi_head_attention_forward",
            "flex_attention",
            "attnlab.window_attention",
            "attnlab.tiled_attention",
        }
    ),
    MISTAKES,
)
