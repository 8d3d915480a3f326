"""The exercise ``neighbour_scores``."""

import itertools
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
    some_numbers,
    where,
)
from attnlab.languages import tr

KINDS = ("the token before", "the token after", "itself", "[CLS]", "[SEP]", "all tokens alike")
OFFSETS = (-1, 1, 0, -2)


def check(answer: Answer, draw: Draw) -> Held:
    """``neighbour_scores(weights, offset)``: mean weight of words on the word beside them."""
    compared = Comparison(answer, _reference, MISTAKES, read=_scores)
    kinds = itertools.cycle(KINDS)
    with where("For a single head that looks at one thing only:"):
        compared.on(
            lambda: Call(_pure(draw, next(kinds)), -1),
            "The score is {found:.3f}; it should be {right:.3f}.\n"
            "Which pairs of a word and the word before it are there?",
            facts=_facts,
            draws=2 * len(KINDS),
        )
    yield "heads that look at one thing only, offset -1"
    otherwise = (
        "With offset {offset}, the score of head {layer}.{head} is {found:.3f}; it should be "
        "{right:.3f}.\nOf a word at place i the key is i + offset. Do both have to be words?"
    )
    for offset in OFFSETS:
        with where("For heads with weights of all kinds:"):
            compared.on(
                partial(_call, draw, (3, 4), offset),
                otherwise,
                facts=_facts,
            )
    yield "the word before, the word after, further away; words only"
    for tokens in (5, 23):
        with where(tr("For a sentence of {tokens} tokens:", tokens=tokens)):
            compared.on(
                partial(_call, draw, (2, 2), -1, tokens),
                otherwise,
                facts=_facts,
                draws=2,
            )
    yield "sentences of any length"


def _pure(draw: Draw, kind: str) -> Tensor:
    """One head that gives one key the whole weight, or all keys the same: (1, 1, T, T)."""
    tokens = draw.whole(6, 9)
    places = torch.arange(tokens)
    keys = {
        "the token before": (places - 1).clamp_min(0),
        "the token after": (places + 1).clamp_max(tokens - 1),
        "itself": places,
        "[CLS]": torch.zeros_like(places),
        "[SEP]": torch.full_like(places, tokens - 1),
    }
    if kind not in keys:
        return torch.full((1, 1, tokens, tokens), 1 / tokens)
    weights = torch.zeros(1, 1, tokens, tokens)
    weights[0, 0, places, keys[kind]] = 1
    return weights


def _mixed(draw: Draw, layers: int, heads: int, tokens: int | None = None) -> Tensor:
    """Weights of all kinds, a good part of them on the first and the last token."""
    tokens = tokens or draw.whole(7, 11)
    scores = draw.normal(layers, heads, tokens, tokens)
    scores[..., 0] += 1.5
    scores[..., -1] += 1
    return scores.softmax(-1)


def _call(draw: Draw, size: tuple[int, int], offset: int, tokens: int | None = None) -> Call:
    """Weights of all kinds of so many layers and heads."""
    return Call(_mixed(draw, *size, tokens), offset)


def _reference(weights: Tensor, offset: int) -> Tensor:
    """Pair by pair."""
    return _mean(weights, offset, lambda place, tokens: 0 < place < tokens - 1)


def _mean(
    weights: Tensor,
    offset: int,
    key_counts: Callable[[int, int], bool],
    query_counts: Callable[[int, int], bool] | None = None,
) -> Tensor:
    """Mean weight over the pairs of which both tokens count, (L, H)."""
    tokens = weights.shape[-1]
    query_counts = query_counts or key_counts
    found = [
        weights[:, :, query, query + offset]
        for query in range(tokens)
        if query_counts(query, tokens)
        and 0 <= query + offset < tokens
        and key_counts(query + offset, tokens)
    ]
    return torch.stack(found).mean(0)


def _scores(result: Any, right: Tensor) -> Tensor:
    return some_numbers(result, tuple(right.shape), "scores")


def _facts(call: Call, result: Any) -> dict[str, Any]:
    """The head whose score is furthest off."""
    right = call.of(_reference).double()
    found = some_numbers(result, tuple(right.shape), may_be_nan=True)
    worst = int((found - right).abs().nan_to_num(1e9).flatten().argmax())
    layer, head = divmod(worst, right.shape[1])
    return {
        "offset": call.arguments[1],
        "layer": layer,
        "head": head,
        "found": float(found[layer, head]),
        "right": float(right[layer, head]),
    }


# --- What learners write instead -----------------------------------------------------------------


def _words(weights: Tensor) -> Tensor:
    return weights[..., 1:-1, 1:-1]


def _of_words(weights: Tensor, offset: int) -> Tensor:
    return _words(weights).diagonal(offset, -2, -1)


def _of_rows(weights: Tensor, offset: int) -> Tensor:
    """Words' weights among words, each row brought to the sum 1."""
    among = _words(weights)
    return (among / among.sum(-1, keepdim=True).clamp_min(1e-9)).diagonal(offset, -2, -1).mean(-1)


def _often_the_most(weights: Tensor, offset: int) -> Tensor:
    best = weights[..., 1:-1, :].argmax(-1)
    places = torch.arange(1, weights.shape[-1] - 1)
    keys = places + offset
    fits = (keys > 0) & (keys < weights.shape[-1] - 1)
    return (best == keys)[..., fits].float().mean(-1)


MISTAKES = [
    Mistake(
        lambda weights, offset: weights.diagonal(offset, -2, -1).mean(-1),
        "[CLS] and [SEP] are in the mean.\nA head that rests on [CLS] then seems to look one back "
        "from the first word: which rows and columns belong to words?",
    ),
    Mistake(
        lambda weights, offset: _mean(
            weights,
            offset,
            lambda place, tokens: True,
            lambda place, tokens: 0 < place < tokens - 1,
        ),
        "The queries are words, but [CLS] or [SEP] still counts as a key: the first word looks "
        "one back at [CLS].\nWhich columns belong to words?",
    ),
    Mistake(
        lambda weights, offset: _mean(
            weights,
            offset,
            lambda place, tokens: 0 < place < tokens - 1,
            lambda place, tokens: True,
        ),
        "The keys are words, but [CLS] or [SEP] still counts as a query.\n"
        "Which rows belong to words?",
    ),
    Mistake(
        lambda weights, offset: _of_words(weights, -offset).mean(-1),
        "The offset is turned round: for -1 you take the word *after*.\n"
        "Rows are queries, columns are keys: on which side of the diagonal is an earlier key?",
    ),
    Mistake(
        lambda weights, offset: _of_words(weights, offset).sum(-1),
        "The weights are added up.\nA mean over the pairs is asked for.",
    ),
    Mistake(
        lambda weights, offset: _of_words(weights, offset).sum(-1) / (weights.shape[-1] - 2),
        "The sum is divided by the number of words.\n"
        "How many pairs are there? The first word has none before it.",
    ),
    Mistake(
        lambda weights, offset: _of_words(weights, offset).sum(-1) / weights.shape[-1],
        "The sum is divided by the number of tokens.\nHow many pairs are in it?",
    ),
    Mistake(
        lambda weights, offset: _of_words(weights, offset).amax(-1),
        "The largest weight is taken.\nA mean over the pairs is asked for.",
    ),
    Mistake(
        _of_rows,
        "The rows are brought to the sum 1 again after [CLS] and [SEP] are cut off.\n"
        "Then a head that rests on [CLS] looks as if it cared for words: take the weights as they "
        "are.",
    ),
    Mistake(
        _often_the_most,
        "That is the share of words whose *largest* weight is on the neighbour.\n"
        "The mean of the weight itself is asked for.",
    ),
    Mistake(
        lambda weights, offset: weights[..., offset].mean(-1),
        "That is the weight on the token at place {offset}, the same key for every query.\n"
        "Of a query at place i, which key is meant?",
    ),
    Mistake(
        lambda weights, offset: _of_words(weights, -1).mean(-1),
        "Right for the word before, wrong for offset {offset}.\nIs a -1 typed in?",
    ),
    Mistake(
        lambda weights, offset: (
            _of_words(weights, offset).mean(-1).mean(0, keepdim=True).expand(len(weights), -1)
        ),
        "All layers get the same scores: a mean is taken over layers, too.\nWhich axes are left?",
    ),
]

EXERCISE = Exercise(
    "neighbour_scores",
    "attention_from_scratch",
    2,
    check,
    frozenset({"attnlab.previous_token_scores"}),
    MISTAKES,
    ours=_reference,
)
