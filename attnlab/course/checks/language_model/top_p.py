"""The exercise ``top_p``."""

import itertools
import math
from functools import partial
from typing import Any

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
    a_tensor,
    where,
)
from attnlab.course.checks.language_model.top_p_mistakes import IDS, MASK, MISTAKES

MARGIN = 2e-3  # how far sums of probabilities stay from p: no result rests on rounding


def check(answer: Answer, draw: Draw) -> Held:
    """``top_p(logits, p)``: the fewest tokens whose probability reaches p, scaled to sum to 1."""
    compared = Comparison(answer, _reference, MISTAKES, what="probabilities", read=_read)
    otherwise = (
        "With p = {p:.3f}, the probabilities {before} should become {right}; yours are {found}."
    )

    kinds = itertools.cycle(["some", "many", "one"])  # how many tokens stay
    with where("For a single row, with the most likely token first:"):
        compared.on(lambda: _ordered(draw, next(kinds)), otherwise, facts=_facts, draws=6)
    yield "the fewest tokens whose probability reaches p, and they sum to 1"

    with where("For a single row, in any order:"):
        compared.on(partial(_telling, draw, 6), otherwise, facts=_facts)
        compared.on(partial(_telling, draw, 6, p=1.0), otherwise, facts=_facts, draws=2)
    yield "the tokens are in any order, and stay where they are"

    with where("Where the most likely token alone reaches p:"):
        compared.on(partial(_telling, draw, 5, scale=4.0, low_p=True), otherwise, facts=_facts)
        compared.on(partial(_telling, draw, 5, p=0.0), otherwise, facts=_facts, draws=2)
    yield "at least one token stays"

    with where("For several rows at once:"):
        compared.on(partial(_telling, draw, 4, 7), otherwise, facts=_facts)
        compared.on(partial(_telling, draw, 2, 3, 5), otherwise, facts=_facts, draws=2)
    yield "each row by itself, with any number of axes before the last"

    with where("Where tokens are equally likely:"):
        compared.on(partial(_equal, draw, 6), otherwise, facts=_facts)
        compared.on(partial(_equal, draw, 40), otherwise, facts=_facts, draws=2)
    yield "of equally likely tokens those with smaller ids"

    with where("Where tokens are ruled out, with logits of -inf:"):
        compared.on(partial(_ruled_out, draw), otherwise, facts=_facts)
    with where("For logits in the hundreds:"):
        compared.on(
            partial(_telling, draw, 6, scale=300.0, p=0.5), otherwise, facts=_facts, draws=2
        )
    yield "tokens that are ruled out, and a model that is very sure"


def _telling(
    draw: Draw,
    *shape: int,
    p: float | None = None,
    scale: float = 1.5,
    low_p: bool = False,
) -> Call:
    """Logits and p that leave more than one token and fewer than all, but for the exceptions.

    ``low_p``: the first token alone reaches p, in every row.
    """
    while True:
        logits = scale * draw.normal(*shape)
        own = 0.15 + 0.75 * draw.uniform() if p is None else p
        sums = logits.softmax(-1).sort(descending=True).values.cumsum(-1)
        if p is not None:
            return Call(logits, own)
        stay = (sums < own).sum(-1) + 1
        clear = ((sums - own).abs() > MARGIN).all()
        alone = (stay == 1).all() and (sums[..., 0] < 0.98).all()
        several = (stay > 1).all() and (stay < shape[-1] - 1).all()
        varied = len(shape) < 2 or len(set(stay.flatten().tolist())) > 1
        if clear and (alone if low_p else several and varied and _apart(logits)):
            return Call(logits, own)


def _apart(logits: Tensor) -> bool:
    """Whether the tokens of each row differ so that no order rests on rounding."""
    gaps = logits.sort(-1).values.diff(dim=-1)
    return bool((gaps > 0.02).all())


def _ordered(draw: Draw, stay: str) -> Call:
    """Logits in descending order, and p that leaves some tokens, many, or the first one."""
    low, high = {"some": (3, 5), "many": (6, 8), "one": (1, 1)}[stay]
    while True:
        logits = draw.normal(9).sort(descending=True).values
        own = 0.05 + 0.9 * draw.uniform()
        chances = logits.softmax(-1)
        sums = chances.cumsum(-1)
        count = int((sums < own).sum()) + 1
        fits = low <= count <= high and ((sums - own).abs() > MARGIN).all() and _apart(logits)
        if fits and (stay != "one" or own < chances[1] - MARGIN):
            return Call(logits, own)


def _equal(draw: Draw, words: int) -> Call:
    """Tokens of two kinds, of which the likelier ones are cut, or all of one kind."""
    while True:
        logits = torch.randint(2, (3, words), generator=draw.generator).float()
        if draw.whole(0, 3) == 0:
            logits = torch.full((words,), draw.uniform())
        p = 0.1 + 0.6 * draw.uniform()
        ranked = logits.softmax(-1).sort(descending=True).values
        sums = ranked.cumsum(-1)
        stay = (sums < p).sum(-1, keepdim=True)
        cut_among_equals = ranked.gather(-1, stay) == ranked.gather(-1, stay + 1)
        if ((sums - p).abs() > MARGIN).all() and cut_among_equals.all() and (stay > 0).all():
            return Call(logits, p)


def _ruled_out(draw: Draw) -> Call:
    while True:
        call = _telling(draw, 8)
        logits, p = call.arguments
        logits[torch.randperm(8, generator=draw.generator)[:4]] = -torch.inf
        sums = logits.softmax(-1).sort(descending=True).values.cumsum(-1)
        if ((sums - p).abs() > MARGIN).all() and sums[1] < 0.99:
            return Call(logits, p)


def _reference(logits: Tensor, p: float) -> Tensor:
    """Row by row, token by token."""
    rows = []
    for row in logits.double().reshape(-1, logits.shape[-1]).tolist():
        largest = max(row)
        powers = [math.exp(logit - largest) for logit in row]
        total, reached = sum(powers), 0.0
        kept = [0.0] * len(row)
        for token in sorted(range(len(row)), key=lambda token: (-row[token], token)):
            kept[token] = powers[token] / total
            reached += kept[token]
            if reached >= p:
                break
        rows.append([share / reached for share in kept])
    return torch.tensor(rows).reshape(logits.shape)


def _read(result: Any, right: Tensor) -> Tensor:
    if isinstance(result, Tensor) and result.dtype == torch.bool:
        raise CheckFailed(MASK)
    if isinstance(result, Tensor) and not result.is_floating_point():
        raise CheckFailed(IDS)
    return a_tensor(result, tuple(right.shape), "probabilities", may_be_nan=True, array=True)


def _facts(call: Call, result: Any) -> dict[str, Any]:
    """The first row that is wrong."""
    logits, p = call.arguments
    words = logits.shape[-1]
    rows = [
        torch.as_tensor(each).detach().reshape(-1, words)
        for each in (logits.softmax(-1), call.of(_reference), result)
    ]
    apart = (rows[1] - rows[2]).abs().amax(-1).nan_to_num(1.0)
    before, right, found = (each[int(apart.argmax())] for each in rows)

    def shown(row: Tensor) -> str:
        numbers = ", ".join(f"{number:.3f}" for number in row[:8].tolist())
        return f"[{numbers}{', ...' if words > 8 else ''}]"

    return {
        "p": p,
        "before": shown(before),
        "right": shown(right),
        "found": shown(found),
        "so": "0 / 0 is NaN" if found.isnan().any() else "all are 0",
    }


EXERCISE = Exercise(
    "top_p",
    "language_model",
    3,
    check,
    frozenset({"attnlab.adjust", "attnlab.top_p", "attnlab.nucleus"}),
    MISTAKES,
    ours=_reference,
)
