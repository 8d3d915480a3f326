"""What learners write instead of the exercise ``top_p``, and what is said of it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.examiner import CHANGES_TENSOR, Mistake, not_finite

__all__ = ["IDS", "MASK", "MISTAKES"]

MASK = (
    "A mask of type bool came back: which tokens stay.\nProbabilities are asked for: what are "
    "those of the tokens that stay, so that they sum to 1?"
)
IDS = (
    "Whole numbers came back.\nThe probability of every token of the vocabulary is asked for; "
    "drawing one of them comes afterwards."
)
NOTHING_LEFT = (
    "With p = {p:.2f} no token stays ({so}).\nThe most likely one always does: is it kept even "
    "where its probability alone is above p, or p is 0?"
)

Keep = Callable[[Tensor, float], Tensor]  # of ranked probabilities and p, which of them stay


def _needed(ranked: Tensor, p: float) -> Tensor:
    """Whether what comes before does not reach p yet."""
    keep = ranked.cumsum(-1) - ranked < p
    keep[..., 0] = True
    return keep


def _scaled(kept: Tensor) -> Tensor:
    return kept / kept.sum(-1, keepdim=True)


def _back(kept: Tensor, order: Tensor) -> Tensor:
    return torch.zeros_like(kept).scatter(-1, order, kept)


def _ranked(
    keep: Keep = _needed,
    *,
    descending: bool = True,
    scaled: Callable[[Tensor], Tensor] = _scaled,
    back: Callable[[Tensor, Tensor], Tensor] = _back,
    chances: Callable[[Tensor], Tensor] = lambda logits: logits.softmax(-1),
) -> Callable[[Tensor, float], Tensor]:
    """The usual way, by sorting, with a part exchanged."""

    def answer(logits: Tensor, p: float) -> Tensor:
        ranked, order = chances(logits).sort(descending=descending, stable=True)
        kept = torch.where(keep(ranked, p), ranked, 0.0)
        return scaled(back(kept, order))

    return answer


def _masked(keep: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float], Tensor]:
    """Tokens that stay by a rule of their own, in the order of their ids; one stays at least."""

    def answer(logits: Tensor, p: float) -> Tensor:
        probabilities = logits.softmax(-1)
        stay = keep(probabilities, p)
        best = torch.zeros_like(stay).scatter(-1, logits.argmax(-1, keepdim=True), True)
        return _scaled(probabilities * (stay | best))

    return answer


def _right(logits: Tensor, p: float) -> Tensor:
    return _ranked()(logits, p)


def _before_it(ranked: Tensor, p: float) -> Tensor:
    keep = ranked.cumsum(-1) <= p
    keep[..., 0] = True
    return keep


def _and_one_more(ranked: Tensor, p: float) -> Tensor:
    keep = _needed(ranked, p)
    return keep | torch.cat([keep[..., :1], keep[..., :-1]], -1)


def _only_as_many(probabilities: Tensor, p: float) -> Tensor:
    """As many of the most likely ones as p says of the vocabulary."""
    count = max(math.ceil(p * probabilities.shape[-1]), 1)
    ranks = probabilities.argsort(descending=True, stable=True).argsort()
    return ranks < count


def _down_to_the_last(probabilities: Tensor, p: float) -> Tensor:
    """All that are as likely as the last one that is needed."""
    ranked = probabilities.sort(descending=True).values
    least = torch.where(_needed(ranked, p), ranked, 2.0).amin(-1, keepdim=True)
    return probabilities >= least


def _logits_at_zero(logits: Tensor, p: float) -> Tensor:
    return torch.where(_right(logits, p) > 0, logits, 0.0).softmax(-1)


def _twice(logits: Tensor, p: float) -> Tensor:
    return _right(logits.softmax(-1), p)


def _twice_in_the_end(logits: Tensor, p: float) -> Tensor:
    return _right(logits, p).softmax(-1)


def _one_set_for_all(logits: Tensor, p: float) -> Tensor:
    rows = logits.reshape(-1, logits.shape[-1])
    stay = _right(rows[0], p) > 0
    return _scaled(logits.softmax(-1) * stay)


def _rest_to_the_first(logits: Tensor, p: float) -> Tensor:
    kept = _ranked(scaled=lambda kept: kept)(logits, p)
    best = logits.argmax(-1, keepdim=True)
    return kept.scatter_add(-1, best, 1 - kept.sum(-1, keepdim=True))


def _later_ids(logits: Tensor, p: float) -> Tensor:
    return _right(logits.flip(-1), p).flip(-1)


def _in_place(logits: Tensor, p: float) -> Tensor:
    logits[_right(logits, p) == 0] = -torch.inf
    return logits.softmax(-1)


MISTAKES = [
    Mistake(
        _ranked(scaled=lambda kept: kept),
        "The probabilities sum to less than 1: they are those of before.\nBy what must those that "
        "stay be divided?",
    ),
    Mistake(
        _ranked(_before_it),
        "A token is missing: without it those that stay do not reach p = {p:.3f}.\nDo you ask "
        "whether the sum is below p with the token, or before it?",
    ),
    Mistake(
        _ranked(_and_one_more),
        "There is one token too many: without it p = {p:.3f} is reached already.\nIs the mask "
        "moved by one place twice?",
    ),
    Mistake(
        lambda logits, p: _right(logits, 1 - p),
        "Those that stay reach 1 - p, not p.\nIs p what stays, or what is cut off?",
    ),
    Mistake(
        _ranked(lambda ranked, p: ~_needed(ranked, p)),
        "What should be cut off stays, and the other way round.\nWhich way does the mask say it?",
    ),
    Mistake(
        _ranked(descending=False),
        "The least likely tokens are taken first.\nIn which order does `sort` put them, without "
        "`descending=True`?",
    ),
    Mistake(
        _twice,
        "The softmax is taken twice, of what is probabilities already.\nWhere is the first one?",
    ),
    Mistake(
        _twice_in_the_end,
        "A softmax is taken of the probabilities that stay, which gives the others "
        "exp(0) = 1.\nTo make numbers sum to 1, a division is enough.",
    ),
    Mistake(
        _logits_at_zero,
        "The logits of what is cut off are set to 0, and exp(0) is 1.\nWhich logit gives the "
        "probability 0?",
    ),
    Mistake(
        lambda logits, p: torch.softmax((_right(logits, p) > 0).float().log(), -1),
        "All tokens that stay are equally likely.\nWhere do their own probabilities come in?",
    ),
    Mistake(
        _rest_to_the_first,
        "What is cut off is all given to the most likely token.\nThose that stay keep their "
        "proportions: which division does it?",
    ),
    Mistake(
        _masked(lambda probabilities, p: probabilities >= p),
        "Each token is compared with p by itself.\nIt is the sum, from the most likely one down, "
        "that is to reach p.",
    ),
    Mistake(
        _masked(lambda probabilities, p: probabilities >= p * probabilities.amax(-1, keepdim=True)),
        "Tokens stay that have at least p times the probability of the best one; that is min-p."
        "\nHere their sum is to reach p.",
    ),
    Mistake(
        _masked(_only_as_many),
        "The share p of the *vocabulary* stays, whatever the probabilities: that is top-k.\n"
        "What is to reach p?",
    ),
    Mistake(
        lambda logits, p: _right(logits, 0.0),
        "Only the most likely token stays: that is greedy.\nWhere do you use p?",
    ),
    Mistake(
        lambda logits, p: logits.softmax(-1),
        "All tokens stay.\nWhere do you use p?",
    ),
    Mistake(
        lambda logits, p: _right(logits, p).log(),
        "Logarithms of probabilities came back.\nThe probabilities themselves are asked for.",
    ),
    Mistake(
        lambda logits, p: logits.masked_fill(_right(logits, p) == 0, -torch.inf),
        "Logits came back, -inf for what is cut off.\nProbabilities are asked for: which function "
        "is missing at the end?",
    ),
    Mistake(
        _masked(lambda chances, p: chances.cumsum(-1) - chances < p),
        "The sum is taken in the order of the ids.\nWhich token comes first, and how do you sort?",
    ),
    Mistake(
        _ranked(back=lambda kept, order: kept),
        "The probabilities come back sorted, so that token 0 gets the largest.\nHow does each get "
        "back to its own id? `sort` gives the order as well.",
    ),
    Mistake(
        _ranked(back=lambda kept, order: kept.gather(-1, order)),
        "The probabilities go to the wrong tokens: the order is applied once more instead of "
        "undone.\nDoes `scatter` undo it, or `gather`?",
    ),
    Mistake(
        lambda logits, p: _scaled(
            logits.softmax(-1) * _needed(logits.softmax(-1).sort(descending=True).values, p)
        ),
        "The mask of the sorted tokens is laid on tokens in the order of their ids.\nWhose is the "
        "first entry of the mask?",
    ),
    Mistake(
        _ranked(lambda ranked, p: ranked.cumsum(-1) - ranked < p),
        NOTHING_LEFT,
        alike=not_finite,
    ),
    Mistake(
        _ranked(
            lambda ranked, p: ranked.cumsum(-1) - ranked < p,
            scaled=lambda kept: kept / kept.sum(-1, keepdim=True).clamp_min(1e-9),
        ),
        NOTHING_LEFT,
    ),
    Mistake(
        _ranked(chances=lambda logits: logits.softmax(0)),
        "With several rows the softmax runs over the rows.\nWhich axis holds the vocabulary?",
    ),
    Mistake(
        _ranked(
            lambda ranked, p: (
                _needed(ranked, p)
                if ranked.dim() == 1
                else (ranked.cumsum(0) - ranked < p).index_fill(-1, torch.tensor(0), True)
            )
        ),
        "With several rows the sums run over the rows.\nWhich axis holds the vocabulary?",
    ),
    Mistake(
        _one_set_for_all,
        "The tokens that stay in the first row stay in all of them.\nHas each row a mask of its "
        "own?",
    ),
    Mistake(
        lambda logits, p: _right(logits.flatten(), p).view_as(logits),
        "All rows together are taken for one distribution.\nOver which axis do the probabilities "
        "sum to 1?",
    ),
    Mistake(
        _masked(_down_to_the_last),
        "All tokens stay that are as likely as the last one needed, so that there are more than "
        "are needed.\nIs it cut by a probability, or by a rank?",
    ),
    Mistake(
        _later_ids,
        "Of equally likely tokens those with larger ids stay.\nIs a sorted list turned over? "
        "`sort` has `descending` and `stable`.",
    ),
    Mistake(lambda logits, p: _right(logits, p) > 0, MASK, compared=False),
    Mistake(
        lambda logits, p: torch.multinomial(_right(logits, p).reshape(-1, logits.shape[-1]), 1),
        IDS,
        compared=False,
    ),
    Mistake(_in_place, CHANGES_TENSOR, compared=False),
]


def __dir__() -> list[str]:
    return sorted(__all__)
