"""What learners write instead of ``drop_tokens``, and what is said of it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.examiner import NO_GRADIENT, Mistake

TURNED = "The lengths come first.\nIn which order does the docstring name the two?"
NOT_SHORTER = (
    "All {tokens} tokens are still there, some of them as zeros or padding.\n"
    "A layer is only faster for a tensor that is really shorter."
)
PADDED = (
    "A padded batch of shape {shape} came back; the texts should stand one behind the other, "
    "(tokens, width).\nWhich tokens of it are real?"
)
MASK = "{what} came back instead of `hidden`.\nWhat do you get if you index `hidden` with it?"
WHOLE = "The lengths should be whole numbers; they are {dtype}.\nWhere does a share come in?"
NOT_THESE = (
    "The lengths are {lengths}, but {tokens} tokens came back.\nTo how many do the lengths of the "
    "shorter texts add up?"
)
SCALED = (
    "The right number of tokens is left, but their vectors are changed.\n"
    "Is `hidden` multiplied by the importance? It only decides who stays."
)


def _ranked(importance: Tensor, length: int, count: int) -> list[int]:
    """The first token, and the best others, in their order."""
    own = importance.tolist()
    others = sorted(range(1, length), key=lambda place: (-own[place], place))
    return sorted([0, *others[: max(count - 1, 0)]])


def _without_the_first(importance: Tensor, length: int, count: int) -> list[int]:
    own = importance.tolist()
    return sorted(sorted(range(length), key=lambda place: (-own[place], place))[:count])


def _and_the_first(importance: Tensor, length: int, count: int) -> list[int]:
    """The best of all, and the first besides."""
    return sorted({0, *_without_the_first(importance, length, count)})


def _one_more(importance: Tensor, length: int, count: int) -> list[int]:
    return _ranked(importance, length, count + 1)


def _in_order_of_importance(importance: Tensor, length: int, count: int) -> list[int]:
    own = importance.tolist()
    others = sorted(range(1, length), key=lambda place: (-own[place], place))
    return [0, *others[: count - 1]]


def _least(importance: Tensor, length: int, count: int) -> list[int]:
    return _ranked(-importance, length, count)


def _first_come(importance: Tensor, length: int, count: int) -> list[int]:
    return list(range(count))


def _at_the_end(importance: Tensor, length: int, count: int) -> list[int]:
    return [0, *range(length - count + 1, length)]


def _later_of_equals(importance: Tensor, length: int, count: int) -> list[int]:
    own = importance.tolist()
    others = sorted(range(1, length), key=lambda place: (-own[place], -place))
    return sorted([0, *others[: count - 1]])


def _all_of_equals(importance: Tensor, length: int, count: int) -> list[int]:
    own = importance.clone()
    own[0] = torch.inf
    least = own.sort(descending=True).values[count - 1]
    return (own >= least).nonzero()[:, 0].tolist()


def _first_as_one(importance: Tensor, length: int, count: int) -> list[int]:
    own = importance.clone()
    own[0] = 1.0
    return _without_the_first(own, length, count)


def _with_the_last(importance: Tensor, length: int, count: int) -> list[int]:
    own = importance.clone()
    own[-1] = torch.inf
    return _ranked(own, length, count)


def _by_text(
    chosen: Callable[[Tensor, int, int], list[int]] = _ranked,
    *,
    count: Callable[[float, int, list[int]], int] = lambda keep, length, all: math.ceil(
        keep * length
    ),
    offset: bool = True,
    lengths_of: Callable[[list[int], list[int]], list[int]] = lambda counts, before: counts,
    vectors: Callable[[Tensor, Tensor, list[int]], Tensor] = lambda hidden, importance, rows: (
        hidden[rows]
    ),
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Token dropping with a part exchanged."""

    def answer(
        hidden: Tensor, lengths: Tensor, importance: Tensor, keep: float
    ) -> tuple[Tensor, Tensor]:
        rows: list[int] = []
        counts, start, before = [], 0, lengths.tolist()
        for length in before:
            some = min(count(keep, length, before), length)
            stay = chosen(importance[start : start + length], length, some)
            rows += [place + (start if offset else 0) for place in stay]
            counts.append(len(stay))
            start += length
        return vectors(hidden, importance, rows), torch.tensor(lengths_of(counts, before))

    return answer


_right = _by_text()


def _over_the_batch(
    hidden: Tensor, lengths: Tensor, importance: Tensor, keep: float
) -> tuple[Tensor, Tensor]:
    """The best of the whole batch, and the first of each text."""
    starts = lengths.cumsum(0) - lengths
    own = importance.clone()
    own[starts] = torch.inf
    count = sum(math.ceil(keep * length) for length in lengths.tolist())
    stay = own.sort(descending=True, stable=True).indices[:count].sort().values
    of = torch.arange(len(lengths)).repeat_interleave(lengths)[stay]
    return hidden[stay], of.bincount(minlength=len(lengths))


def _first_of_the_batch(
    hidden: Tensor, lengths: Tensor, importance: Tensor, keep: float
) -> tuple[Tensor, Tensor]:
    own = importance.clone()
    own[0] = torch.inf
    return _by_text(_without_the_first)(hidden, lengths, own, keep)


def _as_zeros(
    hidden: Tensor, lengths: Tensor, importance: Tensor, keep: float
) -> tuple[Tensor, Tensor]:
    marks = torch.arange(len(hidden), dtype=hidden.dtype)[:, None]
    stay, _ = _right(marks, lengths, importance, keep)
    seen = torch.zeros(len(hidden), 1)
    seen[stay[:, 0].long()] = 1
    return hidden * seen, lengths


def _scaled(hidden: Tensor, importance: Tensor, rows: list[int]) -> Tensor:
    return hidden[rows] * importance[rows, None]


def _detached(
    hidden: Tensor, lengths: Tensor, importance: Tensor, keep: float
) -> tuple[Tensor, Tensor]:
    return _right(hidden.detach(), lengths, importance, keep)


def _turned(
    hidden: Tensor, lengths: Tensor, importance: Tensor, keep: float
) -> tuple[Tensor, Tensor]:
    return _right(hidden, lengths, importance, keep)[::-1]


def _padded(
    hidden: Tensor, lengths: Tensor, importance: Tensor, keep: float
) -> tuple[Tensor, Tensor]:
    hidden, lengths = _right(hidden, lengths, importance, keep)
    texts = hidden.split(lengths.tolist())
    return torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True), lengths


LONE = "By which of the lengths should the share be multiplied?"
MISTAKES = [
    Mistake(_as_zeros, NOT_SHORTER),
    Mistake(_turned, TURNED, compared=False),
    Mistake(_padded, PADDED, compared=False),
    Mistake(
        _by_text(lengths_of=lambda counts, before: before),
        "The right tokens stay, but the lengths are those from before.\nHow long is each text now?",
    ),
    Mistake(_by_text(vectors=_scaled), SCALED),
    Mistake(
        _by_text(offset=False),
        "The tokens of all texts are taken from the first text: the places of each are counted "
        "from its own start.\nWhere in the batch does each text begin?",
    ),
    Mistake(
        _over_the_batch,
        "The most important tokens of the whole batch stay, so that some texts lose more than "
        "others.\nThe share is that of each text.",
    ),
    Mistake(
        _by_text(count=lambda keep, length, all: math.floor(keep * length)),
        "The number of tokens is rounded down.\nWhich function rounds up?",
    ),
    Mistake(
        _by_text(count=lambda keep, length, all: round(keep * length)),
        "The number of tokens is rounded to the nearest.\nWhich function rounds up?",
    ),
    Mistake(
        _by_text(count=lambda keep, length, all: int(keep * length) + 1),
        "One token is added to the number rounded down: where the share is a whole number, that is "
        "one too many.\nWhich function rounds up?",
    ),
    Mistake(
        _by_text(count=lambda keep, length, all: math.ceil((1 - keep) * length)),
        "As many tokens stay as should go.\nIs `keep` the share that stays?",
    ),
    Mistake(
        _by_text(count=lambda keep, length, all: math.ceil(keep * max(all))),
        f"Every text keeps as many tokens as the longest.\n{LONE}",
    ),
    Mistake(
        _by_text(count=lambda keep, length, all: math.ceil(keep * min(all))),
        f"Every text keeps as many tokens as the shortest.\n{LONE}",
    ),
    Mistake(
        _by_text(count=lambda keep, length, all: math.ceil(keep * all[0])),
        f"Every text keeps as many tokens as the first.\n{LONE}",
    ),
    Mistake(
        _by_text(_without_the_first),
        "The first token of a text, [CLS], is dropped where it is less important than others.\n"
        "What reads the answer from it? It always stays.",
    ),
    Mistake(
        _first_of_the_batch,
        "Only the first text keeps its [CLS] for sure.\nWhere does each of the others begin?",
    ),
    Mistake(
        _by_text(_first_as_one),
        "The first token is given the importance 1, and others may have more.\nWhich number is "
        "larger than any?",
    ),
    Mistake(
        _by_text(_one_more),
        "The first token stays besides the others, so that one too many is left.\n"
        "It takes one of the places.",
    ),
    Mistake(
        _by_text(_and_the_first),
        "The first token is added where it is not among the best, so that one too many is left.\n"
        "It takes one of the places.",
    ),
    Mistake(
        _by_text(_in_order_of_importance),
        "The right tokens stay, but the most important comes first.\nIn which order did they "
        "stand in the text?",
    ),
    Mistake(
        _by_text(_least),
        "The least important tokens stay.\nIn which direction do you sort?",
    ),
    Mistake(
        _by_text(_first_come),
        "The first tokens of each text stay.\nWhere does `importance` come in?",
    ),
    Mistake(
        _by_text(_at_the_end),
        "The last tokens of each text stay.\nWhere does `importance` come in?",
    ),
    Mistake(
        _by_text(_with_the_last),
        "The last token always stays, too.\nOnly the first one has this right.",
    ),
    Mistake(
        _by_text(_later_of_equals),
        "Of tokens that are equally important, the later ones stay.\nWhat does a sort that is "
        "turned over do with equals?",
    ),
    Mistake(
        _by_text(_all_of_equals),
        "Of tokens that are equally important all stay: more than the share allows.\n"
        "Is there a >= that compares with the last one that stays?",
    ),
    Mistake(_detached, NO_GRADIENT, compared=False),
]
