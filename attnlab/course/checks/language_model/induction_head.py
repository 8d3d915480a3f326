"""The exercise ``induction_head``."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_list,
    a_pair,
    require,
    some_numbers,
    where,
)

CHANGED_PLACES = "Scores and head have changed places.\nIn which order are they asked for?"
ONE_INDEX = (
    "As head came the single number {found}; a layer and a head in it are asked for.\nargmax "
    "counts through all heads of all layers: which division and which remainder tell the two?"
)
TURNED = "As head came {found}: first the layer, then the head in it, both counted from 0."
NOT_THE_BEST = (
    "The scores are right, but as head came {found}, with a score of {score:.3f}; head {right} "
    "has {best:.3f}.\nWhich of them is the highest?"
)
FROM_ONE = (
    "The scores are right, but layers and heads are counted from 1: {found} came for {right}.\n"
    "Both are counted from 0."
)
LEAST = (
    "The scores are right, but as head came {found}, which has the lowest of all, {score:.3f}.\n"
    "Is it argmax or argmin?"
)
OTHER_DIVISOR = (
    "The scores are right, but as head came {found} instead of {right}.\nargmax counts through "
    "{heads} heads of each of {layers} layers: by which of the two numbers do you divide?"
)
NO_HEAD = "There is no head {found} among {layers} layers with {heads} heads each."
PLACES = ("previous token", "same token", "sink", "token after it")  # what a head looks at
KINDS = (*PLACES, "everything so far")


def check(answer: Answer, draw: Draw) -> Held:
    """``induction_head(weights, half)``: scores (L, H) and the head that has the highest."""
    compared = Comparison(answer, _reference, MISTAKES, read=_scores)
    otherwise = (
        "The score of head {layer}.{head} is {found:.3f}; it should be {right:.3f}.\nOf a query in "
        "the second half, at place t, which key comes right after the earlier copy of its token?"
    )

    kinds = itertools.cycle(KINDS)
    with where("For a single head that looks at one thing only:"):
        compared.on(lambda: _pure(draw, next(kinds)), otherwise, facts=_facts, draws=2 * len(KINDS))
    yield "heads that look at one thing only: the token after the copy counts, nothing else"

    with where("For heads with weights of all kinds:"):
        compared.on(lambda: _mixed(draw, 1, 1), otherwise, facts=_facts)
        compared.on(lambda: _mixed(draw, 3, 4), otherwise, facts=_facts)
        compared.on(lambda: _mixed(draw, 4, 2), otherwise, facts=_facts)
    yield "the mean weight over all queries of the second half"

    with where("For halves of other lengths:"):
        compared.on(lambda: _mixed(draw, 2, 2, 2), otherwise, facts=_facts, draws=2)
        compared.on(lambda: _mixed(draw, 2, 2, 17), otherwise, facts=_facts, draws=2)
    yield "halves of any length"

    _choose(answer, [_undecided(draw, *size) for size in ((3, 5), (5, 3), (2, 4)) * 3])
    yield "the head with the highest score, by layer and head"


def _key(kind: str, query: int, half: int) -> int:
    """The place that a head of this kind looks at; the first token where there is none."""
    place = {
        "sink": 0,
        "previous token": query - 1,
        "same token": query - half,
        "token after it": query - half + 1 if query >= half else 0,
    }[kind]
    return max(place, 0)


def _pure(draw: Draw, kind: str) -> Call:
    """One head that gives one key the whole weight, or all keys the same."""
    half = draw.whole(4, 7)
    weights = torch.zeros(1, 1, 2 * half, 2 * half)
    for query in range(2 * half):
        if kind == "everything so far":
            weights[..., query, : query + 1] = 1 / (query + 1)
        else:
            weights[..., query, _key(kind, query, half)] = 1
    return Call(weights, half)


def _mixed(draw: Draw, layers: int, heads: int, half: int | None = None) -> Call:
    """Causal heads with weights of all kinds, and more or less of each of the above."""
    half = half or draw.whole(4, 8)
    tokens = 2 * half
    hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    scores = draw.normal(layers, heads, tokens, tokens).masked_fill(hidden, -torch.inf)
    looks = torch.zeros(len(PLACES), tokens, tokens)
    for number, kind in enumerate(PLACES):
        for query in range(tokens):
            looks[number, query, _key(kind, query, half)] = 1
    kinds = torch.randint(len(PLACES), (layers, heads), generator=draw.generator)
    share = 0.7 * torch.rand(layers, heads, 1, 1, generator=draw.generator)
    weights = (1 - share) * scores.softmax(-1) + share * looks[kinds]
    return Call(weights, half)


def _undecided(draw: Draw, layers: int, heads: int) -> Call:
    """Weights of which the largest belongs to another head than the highest score."""
    while True:
        call = _mixed(draw, layers, heads)
        weights, half = call.arguments
        copies = weights.diagonal(1 - half, -2, -1)[..., 1:]
        if copies.amax(-1).argmax() != copies.mean(-1).argmax():
            return call


def _choose(answer: Answer, calls: list[Call]) -> None:
    """The head that was chosen must be the best one, each time."""
    found = [_pair(call.of(answer))[1] for call in calls]
    scores = [call.of(_reference)[0] for call in calls]
    right = [_best(each) for each in scores]
    wrong = next((i for i in range(len(calls)) if found[i] != right[i]), None)
    if wrong is None:
        return
    mine, (layers, heads) = found[wrong], scores[wrong].shape
    inside = 0 <= mine[0] < layers and 0 <= mine[1] < heads
    facts = {
        "found": mine,
        "right": right[wrong],
        "layers": layers,
        "heads": heads,
        "best": float(scores[wrong].max()),
        "score": float(scores[wrong][mine]) if inside else 0.0,
    }
    for told, chosen in CHOICES:
        if all(one == chosen(each) for one, each in zip(found, scores, strict=True)):
            raise CheckFailed(told.format(**facts))
    raise CheckFailed((NOT_THE_BEST if inside else NO_HEAD).format(**facts))


def _pair(result: Any) -> tuple[Any, tuple[int, int]]:
    """The scores as they came, and the layer and head."""
    scores, head = a_pair(result, "scores", "head")
    tables = [isinstance(each, Tensor | np.ndarray) and each.ndim == 2 for each in (scores, head)]
    require(tables != [False, True], CHANGED_PLACES)
    if (isinstance(head, Tensor) and head.dim() == 0) or not hasattr(head, "__len__"):
        whole = isinstance(head, Tensor) or hasattr(head, "__index__")
        require(not whole, ONE_INDEX.format(found=head))
    places = a_list(head.tolist() if hasattr(head, "tolist") else head, "head")
    require(
        len(places) == 2,
        f"As head came a list of {len(places)}; a layer and a head are two numbers.",
    )
    for place in places:
        plain = place.item() if isinstance(place, Tensor) and place.numel() == 1 else place
        require(
            hasattr(plain, "__index__") and not isinstance(plain, bool),
            f"As layer or head came a {type(plain).__name__}; both are whole numbers.",
        )
    return scores, (int(places[0]), int(places[1]))


def _scores(result: Any, right: Any) -> Tensor:
    return some_numbers(_pair(result)[0], tuple(right[0].shape), "scores")


def _reference(weights: Tensor, half: int) -> tuple[Tensor, tuple[int, int]]:
    """Head by head and query by query."""
    layers, heads = weights.shape[:2]
    scores = torch.zeros(layers, heads)
    for layer in range(layers):
        for head in range(heads):
            own = weights[layer, head].tolist()
            seen = [own[half + place][place + 1] for place in range(half)]
            scores[layer, head] = sum(seen) / half
    return scores, _best(scores)


def _facts(call: Call, result: Any) -> dict[str, Any]:
    """The head whose score is furthest off."""
    right = call.of(_reference)[0].double()
    facts: dict[str, Any] = {"layer": 0, "head": 0, "found": 0.0, "right": 0.0}
    found = some_numbers(_pair(result)[0], tuple(right.shape), may_be_nan=True)
    worst = int((found - right).abs().nan_to_num(1e9).flatten().argmax())
    layer, head = divmod(worst, right.shape[1])
    return facts | {
        "layer": layer,
        "head": head,
        "found": float(found[layer, head]),
        "right": float(right[layer, head]),
    }


def _best(scores: Tensor) -> tuple[int, int]:
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    return layer, head


CHOICES: list[tuple[str, Callable[[Tensor], tuple[int, int]]]] = [
    (TURNED, lambda scores: _best(scores)[::-1]),
    (FROM_ONE, lambda scores: (_best(scores)[0] + 1, _best(scores)[1] + 1)),
    (LEAST, lambda scores: _best(-scores)),
    (OTHER_DIVISOR, lambda scores: divmod(int(scores.argmax()), len(scores))),
]

# --- What learners write instead -----------------------------------------------------------------


def _diagonal(weights: Tensor, offset: int) -> Tensor:
    """The weights of queries on keys that are so far behind them, (L, H, places)."""
    return weights.diagonal(-offset, -2, -1)


def _scored(scores: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, int], Any]:
    """Other scores, and the head that has the highest of them."""

    def answer(weights: Tensor, half: int) -> Any:
        found = scores(weights, half)
        return found, _best(found)

    return answer


def _right(weights: Tensor, half: int) -> Tensor:
    return _diagonal(weights, half - 1)[..., 1:].mean(-1)


def _chosen(head: Callable[[Tensor], Any]) -> Callable[[Tensor, int], Any]:
    """The right scores, and another head."""
    return lambda weights, half: (_right(weights, half), head(_right(weights, half)))


def _second_half(values: Tensor, half: int) -> Tensor:
    return values[..., half:, :]


MISTAKES = [
    Mistake(
        _scored(lambda weights, half: _diagonal(weights, 1).mean(-1)),
        "That is the score of a previous-token head: the weight on the token right before.\nWhat "
        "followed when this token was last seen?",
    ),
    Mistake(
        _scored(lambda weights, half: _diagonal(weights, 1)[..., half - 1 :].mean(-1)),
        "That is the weight on the token right before, in the second half.\nWhat followed when "
        "this token was last seen?",
    ),
    Mistake(
        _scored(lambda weights, half: _diagonal(weights, half).mean(-1)),
        "That is the weight on the earlier copy of the query's own token.\nAn induction head looks "
        "at what came *after* it: one place further.",
    ),
    Mistake(
        _scored(lambda weights, half: _diagonal(weights, half + 1).mean(-1)),
        "That is the weight on the token *before* the earlier copy.\nDoes one place further along "
        "mean half + 1 or half - 1 back?",
    ),
    Mistake(
        _scored(lambda weights, half: _diagonal(weights, half - 1).mean(-1)),
        "The last query of the first half is in the mean, too.\nIts token has no earlier copy: at "
        "which query does the second half begin?",
    ),
    Mistake(
        _scored(lambda weights, half: _diagonal(weights, half - 1)[..., 1:-1].mean(-1)),
        "The last query is left out of the mean.\nIts key is at place `half`, and it exists: where "
        "does your range end?",
    ),
    Mistake(
        _scored(lambda weights, half: _diagonal(weights, half - 1)[..., 2:].mean(-1)),
        "The first query of the second half is left out of the mean.\nIts token was seen before, "
        "at place 0: where does your range begin?",
    ),
    Mistake(
        _scored(lambda weights, half: _diagonal(weights, half - 1)[..., 1:].sum(-1)),
        "The weights are added up.\nA mean over the queries of the second half is asked for.",
    ),
    Mistake(
        _scored(
            lambda weights, half: _diagonal(weights, half - 1)[..., 1:].sum(-1) / weights.shape[-1]
        ),
        "The sum is divided by the number of all tokens.\nHow many queries are in it?",
    ),
    Mistake(
        _scored(lambda weights, half: _diagonal(weights, half - 1)[..., 1:].amax(-1)),
        "The largest weight is taken.\nA mean over the queries of the second half is asked for.",
    ),
    Mistake(
        _scored(lambda weights, half: weights.mT.diagonal(1 - half, -2, -1)[..., 1:].mean(-1)),
        "Rows and columns have changed places: the weights are those of queries on *later* keys."
        "\nIs a row a query or a key?",
    ),
    Mistake(
        _scored(lambda weights, half: weights[..., 0].mean(-1)),
        "That is the weight on the first token, the score of an attention sink.\nWhat followed "
        "when this token was last seen?",
    ),
    Mistake(
        _scored(lambda weights, half: weights[..., half:, :half].sum(-1).mean(-1)),
        "That is the whole weight on the first half.\nOf each query only one key counts: which?",
    ),
    Mistake(
        _scored(lambda weights, half: _right(weights, half).sub(1 / weights.shape[-1])),
        "The weight of an even head is subtracted.\nThe plain mean is asked for.",
    ),
    Mistake(
        _scored(
            lambda weights, half: (
                (_second_half(weights, half).argmax(-1) == torch.arange(1, half + 1))
                .float()
                .mean(-1)
            )
        ),
        "That is the share of queries whose *largest* weight is on the key.\nThe mean of the "
        "weight itself is asked for.",
    ),
    Mistake(
        _scored(
            lambda weights, half: (
                _right(weights, half).mean(0, keepdim=True).expand(len(weights), -1)
            )
        ),
        "All layers get the same scores: a mean is taken over layers, too.\nWhich axes are left?",
    ),
    Mistake(
        lambda weights, half: (_best(_right(weights, half)), _right(weights, half)),
        CHANGED_PLACES,
        compared=False,
    ),
    Mistake(_chosen(lambda scores: int(scores.argmax())), ONE_INDEX, compared=False),
    *(Mistake(_chosen(chosen), told, compared=False) for told, chosen in CHOICES),
    Mistake(
        _chosen(lambda scores: (len(scores) - 1, int(scores[-1].argmax()))),
        NOT_THE_BEST,
        compared=False,
    ),
    Mistake(_chosen(lambda scores: (len(scores), 0)), NO_HEAD, compared=False),
]

EXERCISE = Exercise(
    "induction_head",
    "language_model",
    2,
    check,
    frozenset({"attnlab.induction_scores"}),
    MISTAKES,
    ours=_reference,
)
