"""The exercise ``additive_scores``."""

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    GRADIENT_MISSING,
    LOOP,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    same_shape,
    where,
)

ONE_PAIR = "For one query and one key: "
IN_A_BATCH = "Right for matrices, wrong for a batch: do you count the axes from the end?"


def check(answer: Answer, draw: Draw) -> Held:
    """``additive_scores(query, key, query_weight, key_weight, vector)``: a network per pair."""
    compared = Comparison(answer, _reference, MISTAKES, what="scores")
    compared.on(
        lambda: Call(*_telling_pair(draw)),
        "For one query and one key the score is wrong.\n"
        "Is it vector · tanh(query_weight' query + key_weight' key)?",
    )
    yield "one query, one key"

    compared.on(
        lambda: Call(*_inputs(draw, 3, 5, 4, 4, 6)),
        "With several queries and keys the scores are wrong.\nDoes every query meet every key?",
    )
    yield "every query meets every key"
    compared.on(
        lambda: Call(*_inputs(draw, 2, 4, 3, 8, 5)),
        "Where queries and keys have different widths the scores are wrong.",
    )
    query, key, *network = _inputs(draw, 3, 4, 6, 6, 5)
    batch = torch.stack([query, query.flip(0)]), torch.stack([key, key.flip(0)])
    with where(IN_A_BATCH):
        in_batches = Comparison(answer, _reference, what="scores")
        in_batches.on(lambda: Call(*batch, *network), "The scores differ.")
        heads = [each[:, None] for each in batch]
        in_batches.on(lambda: Call(*heads, *network), "The scores differ for (B, H, T, d_k).")
    answer.gradients(_reference, query, key, *network)
    yield "different widths, and batches"
    answer.without_loop(_inputs(draw, 2, 3, 4, 4, 5), _inputs(draw, 12, 20, 4, 4, 5))
    yield "without loops"


def _reference(query: Tensor, key: Tensor, u: Tensor, w: Tensor, v: Tensor) -> Tensor:
    if query.dim() > 2:
        return torch.stack([_reference(*pair, u, w, v) for pair in zip(query, key, strict=True)])
    rows = [[v @ torch.tanh(q @ u + k @ w) for k in key] for q in query]
    return torch.stack([torch.stack(row) for row in rows])


def _inputs(
    draw: Draw, queries: int, keys: int, query_width: int, key_width: int, hidden: int
) -> list[Tensor]:
    return [
        draw.normal(queries, query_width),
        draw.normal(keys, key_width),
        draw.normal(query_width, hidden),
        draw.normal(key_width, hidden),
        draw.normal(hidden),
    ]


def _telling_pair(draw: Draw) -> list[Tensor]:
    """One query and one key for which the function of the hidden layer shows."""
    sums = torch.zeros(1, 6)
    while not 1 <= (sums < 0).sum() <= 5:  # of both signs, or ReLU could hide
        query, key, u, w, v = _inputs(draw, 1, 1, 4, 4, 6)
        sums = query @ u + key @ w
    return [query, key, u, w, 2 * v / (sums @ v).abs()]  # not so small that tanh does nothing


# --- What learners write instead -----------------------------------------------------------------

OfTensor = Callable[[Tensor], Tensor]


def _with(
    inner: OfTensor = torch.tanh,
    outer: OfTensor = lambda score: score,
    joined: Callable[[Tensor, Tensor], Tensor] = torch.add,
    axes: tuple[int, int] = (-2, -3),
) -> Callable[..., Tensor]:
    """additive_scores with a part exchanged."""

    def answer(query: Tensor, key: Tensor, u: Tensor, w: Tensor, v: Tensor) -> Tensor:
        hidden = joined((query @ u).unsqueeze(axes[0]), (key @ w).unsqueeze(axes[1]))
        return outer(inner(hidden) @ v)

    return answer


def _pair_by_pair(query: Tensor, key: Tensor, u: Tensor, w: Tensor, v: Tensor) -> Tensor:
    rows = [(query[..., i, None, :] @ u + key @ w).tanh() @ v for i in range(query.shape[-2])]
    return torch.stack(rows, -2)


MISTAKES = [
    Mistake(
        _with(inner=lambda hidden: hidden),
        ONE_PAIR + "the tanh is missing.\n"
        "Without it the score is a sum of two numbers that do not know of each other.",
    ),
    Mistake(
        _with(inner=lambda hidden: hidden, outer=torch.tanh),
        ONE_PAIR + "the tanh comes after the vector.\nWhich of the two is the hidden layer?",
    ),
    Mistake(
        _with(inner=torch.sigmoid),
        ONE_PAIR + "that is a sigmoid.\nThe formula asks for tanh.",
    ),
    Mistake(
        _with(inner=torch.relu),
        ONE_PAIR + "that is a ReLU.\nThe formula asks for tanh.",
    ),
    Mistake(
        _with(joined=torch.mul),
        ONE_PAIR + "you multiply what comes from the query and from the key.\n"
        "Why is it called additive?",
    ),
    Mistake(
        lambda query, key, u, w, v: _with()(query, key, w, u, v),
        ONE_PAIR + "the two weight matrices have changed places.",
    ),
    Mistake(
        _with(inner=lambda hidden: hidden, joined=lambda a, b: a.tanh() + b.tanh()),
        ONE_PAIR + "you take tanh of each part and then add.\nAdd first.",
    ),
    Mistake(
        _with(axes=(-3, -2)),
        "Your scores have a row for each key.\nQueries ask: should they not be the rows?",
        alike=same_shape,
    ),
    Mistake(_pair_by_pair, LOOP, compared=False),
    Mistake(
        lambda query, key, u, w, v: _with()(query, key.detach(), u, w, v),
        GRADIENT_MISSING,
        compared=False,
    ),
    Mistake(
        lambda query, key, u, w, v: ((query @ u)[:, None] + (key @ w)[None]).tanh() @ v,
        IN_A_BATCH,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "additive_scores",
    "attention_maths",
    2,
    check,
    frozenset({"additive_scores"}),
    MISTAKES,
)
