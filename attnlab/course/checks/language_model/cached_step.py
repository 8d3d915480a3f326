"""The exercise ``cached_step``."""

from collections.abc import Callable
from functools import partial
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
    a_list,
    a_tensor,
    where,
)

PARTS = ("context", "cached keys", "cached values")
CACHE_ONLY = "The context is right, but "
REPEATED = (
    "The cache comes back with {found} heads; it came with {heads}.\n"
    "The point of shared keys is to keep few of them: where are they repeated, before or after "
    "they are kept?"
)
THREE = (
    "{found} came back; the context and both caches are asked for, three tensors.\n"
    "Without its caches, what would the next step read?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``cached_step(query, key, value, cache_keys, cache_values)``: one token, with a cache."""
    compared = Comparison(answer, _reference, MISTAKES, read=_read)
    otherwise = (
        "What came back as {part} is wrong.\nThe new token sees every key in the cache, and its "
        "own; afterwards both caches are one token longer."
    )

    def drawn(tokens: int, heads: int = 1, shared: int = 1, batch: int = 1, width: int = 3) -> Call:
        query, new = (batch, heads, 1, width), (batch, heads // shared, 1, width)
        cache = (batch, heads // shared, tokens, width)
        return Call(*(draw.normal(*shape) for shape in (query, new, new, cache, cache)))

    with where("For the first token, with an empty cache:"):
        compared.on(lambda: drawn(0), otherwise, facts=_facts)
    yield "the first token: it sees itself, and is kept"

    with where("For a later token, with a single head:"):
        compared.on(lambda: drawn(draw.whole(3, 6)), otherwise, facts=_facts)
    with where("For several texts and heads:"):
        compared.on(
            lambda: drawn(draw.whole(4, 7), heads=3, batch=2, width=draw.whole(4, 6)),
            otherwise,
            facts=_facts,
        )
        compared.on(lambda: drawn(5, heads=6, batch=3, width=5), otherwise, facts=_facts, draws=2)
    yield "a later token sees the whole cache and itself, and is kept behind the others"

    with where("Where two query heads share a key head (H = 6, of keys 3):"):
        compared.on(
            lambda: drawn(draw.whole(4, 7), heads=6, shared=2, batch=2), otherwise, facts=_facts
        )
    with where("Where all query heads share one key head (H = 4, of keys 1):"):
        compared.on(
            lambda: drawn(draw.whole(4, 7), heads=4, shared=4, batch=2), otherwise, facts=_facts
        )
    yield "query heads that share keys, and the cache stays small"

    with where("Token by token, from an empty cache on:"):
        for heads, kept in ((2, 2), (4, 2)):
            _a_text(answer, draw, heads, kept)
    yield "token by token the same as all at once with a causal mask"
    answer.gradients(
        lambda *given: _reference(*given)[0], *drawn(4, 4, 2, batch=2).arguments, pick=0
    )
    yield "gradients reach the cache"


def _a_text(answer: Answer, draw: Draw, heads: int, kept: int) -> None:
    """A whole text, one token after the other, beside causal attention without a cache."""
    tokens, width = 7, 4
    queries = draw.normal(2, heads, tokens, width)
    keys, values = (draw.normal(2, kept, tokens, width) for _ in range(2))
    cache_keys = cache_values = torch.zeros(2, kept, 0, width)
    for place in range(tokens):
        now, far = slice(place, place + 1), slice(0, place)
        result = answer(
            queries[:, :, now], keys[:, :, now], values[:, :, now], cache_keys, cache_values
        )
        given = queries[:, :, now], keys[:, :, now], values[:, :, now]
        right = _reference(*given, keys[:, :, far], values[:, :, far])
        context, cache_keys, cache_values = _read(result, right)
        apart = float((context - right[0]).detach().abs().max())
        if apart > 1e-4:
            raise CheckFailed(
                f"Token {place} of {tokens} differs by {apart:.3g} from attention without a cache."
                "\nWhat does your function keep from one step to the next, and in which order?"
            )


def _read(result: Any, right: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        raise CheckFailed(THREE.format(found="One tensor"))
    parts = a_list(result, "context and caches")
    if len(parts) != 3:
        raise CheckFailed(THREE.format(found=f"{len(parts)} things"))
    heads = right[1].shape[1]
    for part in parts[1:]:
        several = isinstance(part, Tensor) and part.dim() == 4
        if several and part.shape[1] == right[0].shape[1] != heads:
            raise CheckFailed(REPEATED.format(found=part.shape[1], heads=heads))
    return [
        a_tensor(part, tuple(wanted.shape), what)
        for part, wanted, what in zip(parts, right, PARTS, strict=True)
    ]


def _reference(
    query: Tensor, key: Tensor, value: Tensor, cache_keys: Tensor, cache_values: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Text by text and head by head."""
    batch, heads, _, width = query.shape
    shared = heads // key.shape[1]
    contexts = []
    for b in range(batch):
        for head in range(heads):
            own = head // shared
            seen = torch.cat([cache_keys[b, own], key[b, own]])
            scores = (seen * query[b, head]).sum(-1) * width**-0.5
            powers = (scores - scores.max()).exp()
            mixed = torch.cat([cache_values[b, own], value[b, own]]) * powers[:, None]
            contexts.append(mixed.sum(0) / powers.sum())
    context = torch.stack(contexts).reshape(batch, heads, 1, width)
    return context, torch.cat([cache_keys, key], 2), torch.cat([cache_values, value], 2)


def _facts(call: Call, result: Any) -> dict[str, Any]:
    """Which of the three parts is the first to be wrong."""
    right, found = call.of(_reference), "result"
    for what, mine, wanted in zip(PARTS, result, right, strict=False):
        if mine.shape != wanted.shape or not torch.allclose(mine, wanted, 1e-4, 1e-5):
            found = what
            break
    shapes = [tuple(part.shape) if isinstance(part, Tensor) else None for part in result]
    return {"part": found, "shape": shapes[0], "kept": shapes[1], "values": shapes[-1]}


# --- What learners write instead -----------------------------------------------------------------

Parts = tuple[Tensor, Tensor]


def _grown(key: Tensor, value: Tensor, cache_keys: Tensor, cache_values: Tensor) -> Parts:
    return torch.cat([cache_keys, key], 2), torch.cat([cache_values, value], 2)


def _neighbours_share(x: Tensor, heads: int) -> Tensor:
    return x.repeat_interleave(heads // x.shape[1], 1)


def _in_turn(x: Tensor, heads: int) -> Tensor:
    return x.repeat(1, heads // x.shape[1], 1, 1)


def _attended(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    spread: Callable[[Tensor, int], Tensor] = _neighbours_share,
    divisor: Callable[[Tensor, Tensor], float] = lambda query, keys: query.shape[-1] ** 0.5,
    shares: Callable[[Tensor], Tensor] = lambda scores: scores.softmax(-1),
) -> Tensor:
    heads = query.shape[1]
    scores = query @ spread(keys, heads).mT / divisor(query, keys)
    return shares(scores) @ spread(values, heads)


def _step(
    *,
    grow: Callable[..., Parts] = _grown,
    attend: Callable[..., Tensor] = _attended,
    give: Callable[..., Any] = lambda context, keys, values: (context, keys, values),
) -> Callable[..., Any]:
    """A step with a part exchanged."""

    def answer(query: Tensor, key: Tensor, value: Tensor, *cache: Tensor) -> Any:
        keys, values = grow(key, value, *cache)
        return give(attend(query, keys, values), keys, values)

    return answer


def _seeing(keys_seen: Callable[..., Parts]) -> Callable[..., Any]:
    """Attention to other keys and values than those that are kept."""

    def answer(query: Tensor, key: Tensor, value: Tensor, *cache: Tensor) -> Any:
        return (
            _attended(query, *keys_seen(key, value, *cache)),
            *_grown(key, value, *cache),
        )

    return answer


def _kept(other: Callable[..., Parts]) -> Callable[..., Any]:
    """The right context, and other caches."""

    def answer(query: Tensor, key: Tensor, value: Tensor, *cache: Tensor) -> Any:
        return (
            _attended(query, *_grown(key, value, *cache)),
            *other(key, value, *cache, query=query),
        )

    return answer


def _only_the_old(query: Tensor, key: Tensor, value: Tensor, *cache: Tensor) -> Any:
    """Attention to the cache alone; with an empty one to itself."""
    seen = cache if cache[0].shape[2] else (key, value)
    return _attended(query, *seen), *_grown(key, value, *cache)


def _causal_from_the_top(scores: Tensor) -> Tensor:
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


def _repeated(query: Tensor, key: Tensor, value: Tensor, *cache: Tensor) -> Any:
    keys, values = _grown(key, value, *cache)
    heads = query.shape[1]
    keys, values = _neighbours_share(keys, heads), _neighbours_share(values, heads)
    return _attended(query, keys, values), keys, values


def _at_the_front(key: Tensor, value: Tensor, cache_keys: Tensor, cache_values: Tensor) -> Parts:
    return torch.cat([key, cache_keys], 2), torch.cat([value, cache_values], 2)


def _keys_in_front(key: Tensor, value: Tensor, cache_keys: Tensor, cache_values: Tensor) -> Parts:
    return torch.cat([key, cache_keys], 2), torch.cat([cache_values, value], 2)


def _in_a_ring(key: Tensor, value: Tensor, cache_keys: Tensor, cache_values: Tensor) -> Parts:
    """The newest replaces the oldest."""
    if not cache_keys.shape[2]:
        return key, value
    return torch.cat([cache_keys[:, :, 1:], key], 2), torch.cat([cache_values[:, :, 1:], value], 2)


def _mean_over_sharers(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    shared = query.shape[1] // keys.shape[1]
    queries = query.unflatten(1, (-1, shared)).mean(2)
    return _neighbours_share(_attended(queries, keys, values), query.shape[1])


def _first_of_the_sharers(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    heads = torch.arange(query.shape[1]).clamp_max(keys.shape[1] - 1)
    return _attended(query, keys[:, heads], values[:, heads])


def _in_place(query: Tensor, key: Tensor, value: Tensor, *cache: Tensor) -> Any:
    """The new key is written over the last one of the cache."""
    if cache[0].shape[2]:
        cache[0][:, :, -1:] = key
    return _attended(query, *_grown(key, value, *cache)), *_grown(key, value, *cache)


def _caches_swapped(key: Tensor, value: Tensor, keys: Tensor, values: Tensor) -> Parts:
    return torch.cat([values, key], 2), torch.cat([keys, value], 2)


def _shapes(result: Any) -> list[tuple[int, ...]]:
    return [tuple(part.shape) for part in result]


MISTAKES = [
    Mistake(
        _kept(lambda key, value, *cache, query: cache),
        "The caches come back as they were: the new token is not kept.\n"
        "Which token would the next one miss?",
        alike=lambda result, mistaken: _shapes(result) == _shapes(mistaken),
    ),
    Mistake(
        _kept(lambda key, value, *cache, query: (key, value)),
        "Only the new key and value come back: what was in the cache is lost.\n"
        "Which tokens would the next one miss?",
        alike=lambda result, mistaken: _shapes(result) == _shapes(mistaken),
    ),
    Mistake(
        _step(grow=_in_a_ring),
        "The caches do not grow: the newest token takes the place of the oldest.\n"
        "Is there a window here?",
        alike=lambda result, mistaken: _shapes(result) == _shapes(mistaken),
    ),
    Mistake(
        _step(
            give=lambda context, keys, values: (context.transpose(1, 2).flatten(2), keys, values)
        ),
        "The heads of the context are merged: its shape is {shape}.\nIt comes back as the query "
        "came, (B, H, 1, D).",
        alike=lambda result, mistaken: _shapes(result) == _shapes(mistaken),
    ),
    Mistake(
        _step(give=lambda context, keys, values: (context, values, keys)),
        "Keys and values have changed places in what comes back.\nIn which order are the three "
        "asked for?",
    ),
    Mistake(
        _kept(
            lambda key, value, *cache, query: (
                torch.cat([cache[0], query[:, : key.shape[1]]], 2),
                torch.cat([cache[1], value], 2),
            )
        ),
        "The query is kept as a key.\nWhich of the three does nobody ask for again?",
    ),
    Mistake(
        _kept(
            lambda key, value, *cache, query: (
                torch.cat([cache[0], key], 2),
                torch.cat([cache[1], key], 2),
            )
        ),
        CACHE_ONLY + "the new key is kept as its value, too.\nWhat goes into `cache_values`?",
    ),
    Mistake(
        _step(
            grow=lambda key, value, keys, values: (
                torch.cat([keys, key], 2),
                torch.cat([values, key], 2),
            )
        ),
        "The new key is taken for its value, too.\nWhat is mixed, and what is compared?",
    ),
    Mistake(
        _only_the_old,
        "The new token sees the cache, and not itself.\nIs its key put into the cache before the "
        "scores, or after them?",
    ),
    Mistake(
        _seeing(lambda key, value, *cache: (key, value)),
        "The new token sees only itself.\nWith which keys is its query multiplied?",
    ),
    Mistake(
        _step(grow=_at_the_front),
        "The context is right, but the new token is kept in front of the others.\nWhich of the two "
        "comes first in `torch.cat`?",
    ),
    Mistake(
        _step(grow=_keys_in_front),
        "The keys grow in front, the values behind: a key no longer has the value of its own "
        "token.\nIn which order do the two calls of `torch.cat` take them?",
    ),
    Mistake(
        _step(attend=partial(_attended, divisor=lambda query, keys: 1.0)),
        "The scores are too large.\nBy the root of what does attention divide them?",
    ),
    Mistake(
        _step(attend=partial(_attended, divisor=lambda query, keys: query.shape[-1])),
        "The scores are divided by the width; the root of it is asked for.\nIs there a sqrt "
        "missing?",
    ),
    Mistake(
        _step(attend=partial(_attended, divisor=lambda query, keys: keys.shape[2] ** 0.5)),
        "The scores are divided by the root of the number of keys.\nWhich axis is the width?",
    ),
    Mistake(
        _step(attend=partial(_attended, shares=lambda scores: scores.softmax(-2))),
        "Every key gets the weight 1: the softmax runs over the one query there is.\n"
        "Over which axis should it run?",
    ),
    Mistake(
        _step(attend=partial(_attended, shares=lambda scores: scores)),
        "The values are mixed with scores instead of weights.\nWhere is the softmax?",
    ),
    Mistake(
        _step(attend=partial(_attended, shares=_causal_from_the_top)),
        "The new token sees only the first key: a causal mask is laid on its one row from the "
        "top.\nWhich row of the mask is it in a text? What comes after the newest token?",
    ),
    Mistake(
        _step(attend=partial(_attended, shares=lambda s: torch.full_like(s, 1 / s.shape[-1]))),
        "The context is the plain mean of all values.\nWhere do the scores come in?",
    ),
    Mistake(
        _step(grow=_caches_swapped),
        "The new key is put behind the cached values, and the new value behind the keys.\n"
        "In which order do the arguments come?",
    ),
    Mistake(
        _step(attend=partial(_attended, spread=_in_turn)),
        "The heads share keys in turn, 0 1 2 0 1 2; neighbours should share one, 0 0 1 1 2 2.\n"
        "`repeat` or `repeat_interleave`?",
    ),
    Mistake(
        _step(attend=_mean_over_sharers),
        "Query heads that share keys give the same: their queries are averaged.\n"
        "What do they share, and what not?",
    ),
    Mistake(
        _step(attend=_first_of_the_sharers),
        "Query head h uses key head h as long as there is one, then the last.\n"
        "Heads 0 and 1 share key head 0: which division tells it?",
    ),
    Mistake(_repeated, REPEATED, compared=False),
    Mistake(
        _step(give=lambda context, keys, values: context),
        THREE,
        compared=False,
    ),
    Mistake(
        _step(give=lambda context, keys, values: (context, (keys, values))),
        THREE,
        compared=False,
    ),
    Mistake(_in_place, CHANGES_TENSOR, compared=False),
]

EXERCISE = Exercise(
    "cached_step",
    "language_model",
    3,
    check,
    frozenset(
        {
            "scaled_dot_product_attention",
            "multi_head_attention_forward",
            "flex_attention",
            "attnlab.tiled_attention",
        }
    ),
    MISTAKES,
    ours=_reference,
)
