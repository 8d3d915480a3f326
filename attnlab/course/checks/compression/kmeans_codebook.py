"""Exercise ``kmeans_codebook``: a few values that stand for all weights of a matrix."""

import itertools
from collections.abc import Callable
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
    a_pair,
    a_tensor,
    require,
    where,
)

Codebook = tuple[Tensor, Tensor]
APART = 1e-4  # by which one entry of the codebook is nearer than every other

TURNED = "The codes come second.\nIn which order does the docstring name the two?"
NOT_WHOLE = (
    "The codes are {dtype}; they are indices into the codebook.\n"
    "Which function gives the place of the smallest distance?"
)
TABLE = (
    "The result is right, but for {count} weights a tensor of {largest} numbers is made: each "
    "weight is compared with each other. A matrix of BERT would need terabytes.\n"
    "With how many values does a weight have to be compared?"
)
LOST = "The codebook is wrong where it is not sorted.\nWhich weights are nearest to each entry?"


def check(answer: Answer, draw: Draw) -> Held:
    """``kmeans_codebook(weights, codebook, rounds)``: k-means of plain numbers."""
    compared = Comparison(answer, reference, MISTAKES, read=_book_and_codes, tolerance=1e-4)
    wrong_book = (
        "After {rounds} rounds the result is wrong.\n"
        "In each, every weight goes to its nearest entry, then every entry to the mean of its own."
    )
    compared.on(
        lambda: _drawn(draw, 30, 3, 0),
        "With rounds = 0 the codebook stays as it is, and each weight gets the code of its nearest "
        "entry.\nHow far is a weight from an entry?",
    )
    yield "no round: the code of the nearest entry"

    compared.on(lambda: _drawn(draw, 30, 3, 1), wrong_book, facts=_facts)
    yield "one round: each entry to the mean of its weights"

    compared.on(lambda: _drawn(draw, 60, 4, draw.whole(3, 6)), wrong_book, facts=_facts)
    compared.on(lambda: _slow(draw), wrong_book, facts=_facts, draws=1)
    yield "several rounds, and codes that fit the codebook at the end"

    with where("Where an entry has no weights:"):
        compared.on(
            lambda: _drawn(draw, 40, 5, 3, empty=True),
            "it should stay where it is.\nWhat is the mean of no weights?",
        )
    compared.on(lambda: _drawn(draw, 150, 12, 2, empty=True), wrong_book, facts=_facts, draws=1)
    yield "an entry without weights stays where it is"

    weights, codebook, rounds = draw.normal(3000), draw.normal(4), 2
    largest = answer.effort(weights, codebook, rounds).largest
    require(
        largest <= 4 * len(weights) * len(codebook),
        TABLE.format(count=len(weights), largest=largest),
    )
    yield "no table of all weights with all weights"


def reference(weights: Tensor, codebook: Tensor, rounds: int) -> Codebook:
    """Weight by weight, on plain lists."""
    numbers, entries = weights.tolist(), codebook.tolist()

    def codes() -> list[int]:
        return [
            min(range(len(entries)), key=lambda entry: abs(number - entries[entry]))
            for number in numbers
        ]

    for _ in range(rounds):
        nearest = codes()
        for entry in range(len(entries)):
            own = [n for n, code in zip(numbers, nearest, strict=True) if code == entry]
            entries[entry] = sum(own) / len(own) if own else entries[entry]
    return torch.tensor(entries), torch.tensor(codes())


def _drawn(draw: Draw, count: int, entries: int, rounds: int, empty: bool = False) -> Call:
    """Weights and a codebook that is not sorted; no weight lies between two entries."""
    while True:
        weights = draw.normal(count)
        codebook = draw.normal(entries)
        if empty:
            codebook[draw.whole(0, entries - 1)] = 9.0 if draw.whole(0, 1) else -9.0
        if entries > 2 and codebook.equal(codebook.sort().values):
            codebook = codebook.flip(0)
        books = [codebook]
        for _ in range(rounds + 1):
            books.append(_moved(weights, books[-1]))
        distances = torch.stack([(weights[:, None] - book).abs() for book in books])
        two = distances.topk(2, largest=False).values
        moved = (books[-1] - books[-2]).abs().max() > 1e-3 or rounds == 0
        codes = distances.argmin(-1)
        stale = rounds == 0 or not codes[rounds].equal(codes[rounds - 1])
        if (two[..., 1] - two[..., 0]).min() < APART or (not empty and not (moved and stale)):
            continue
        if not empty and any(len(set(row)) < entries for row in codes.tolist()):
            continue  # entries without weights have a step of their own
        return Call(weights, codebook, rounds)


def _moved(weights: Tensor, codebook: Tensor) -> Tensor:
    """The codebook after one more round."""
    own = (weights[:, None] - codebook).abs().argmin(1)[:, None] == torch.arange(len(codebook))
    means = (weights[:, None] * own).sum(0) / own.sum(0).clamp_min(1)
    return torch.where(own.any(0), means, codebook)


def _slow(draw: Draw) -> Call:
    """Weights whose entries hardly move in a round, and move on in those that follow."""
    for _ in range(100):
        weights, codebook, rounds = _drawn(draw, 200, 3, draw.whole(6, 12)).arguments
        books = [codebook]
        for _ in range(rounds):
            books.append(_moved(weights, books[-1]))
        moves = [float((new - old).abs().max()) for old, new in itertools.pairwise(books)]
        if min(moves[:-1]) < 0.01:
            break
    return Call(weights, codebook, rounds)


def _book_and_codes(result: Any, right: Codebook) -> list[Tensor]:
    """The codebook as it is, and the codes as whole numbers."""
    codebook, codes = a_pair(result, "codebook", "codes")
    shapes = tuple(right[0].shape), tuple(right[1].shape)
    if isinstance(codebook, Tensor) and isinstance(codes, Tensor):
        turned = (tuple(codes.shape), tuple(codebook.shape)) == shapes
        require(not turned, TURNED)
    codebook = a_tensor(codebook, shapes[0], "codebook").detach()
    codes = torch.tensor(codes) if isinstance(codes, list) else codes
    codes = a_tensor(codes, shapes[1], "codes", array=True).detach()
    if codes.is_floating_point() and not codes.frac().eq(0).all():
        raise CheckFailed(NOT_WHOLE.format(dtype=str(codes.dtype).removeprefix("torch.")))
    return [codebook, codes.double()]


def _facts(call: Call, result: Any) -> dict[str, Any]:
    return {"rounds": call.arguments[2]}


# --- What learners write instead -----------------------------------------------------------------


def _nearest(weights: Tensor, codebook: Tensor) -> Tensor:
    return (weights[:, None] - codebook).abs().argmin(1)


def _clustering(
    nearest: Callable[[Tensor, Tensor], Tensor] = _nearest,
    centre: Callable[[Tensor, Tensor], Any] = lambda own, entry: own.mean() if len(own) else entry,
    start: Callable[[Tensor, Tensor], Tensor] = lambda codebook, weights: codebook,
    times: Callable[[int], int] = lambda rounds: rounds,
    result: Callable[[Tensor, Tensor, Tensor], Any] = lambda codebook, codes, weights: (
        codebook,
        codes,
    ),
) -> Callable[[Tensor, Tensor, int], Any]:
    """k-means with a part exchanged."""

    def answer(weights: Tensor, codebook: Tensor, rounds: int) -> Any:
        codebook = start(codebook, weights).clone()
        for _ in range(times(rounds)):
            codes = nearest(weights, codebook)
            for entry in range(len(codebook)):
                codebook[entry] = centre(weights[codes == entry], codebook[entry])
        return result(codebook, nearest(weights, codebook), weights)

    return answer


_right = _clustering()


def _codes_of_the_last_round(weights: Tensor, codebook: Tensor, rounds: int) -> Codebook:
    before, _ = _right(weights, codebook, max(rounds - 1, 0))
    return _right(weights, codebook, rounds)[0], _nearest(weights, before)


def _assigned_again_for_each_entry(weights: Tensor, codebook: Tensor, rounds: int) -> Codebook:
    codebook = codebook.clone()
    for _ in range(rounds):
        for entry in range(len(codebook)):
            own = weights[_nearest(weights, codebook) == entry]
            if len(own):
                codebook[entry] = own.mean()
    return codebook, _nearest(weights, codebook)


def _sorted_first(weights: Tensor, codebook: Tensor, rounds: int) -> Codebook:
    return _right(weights, codebook.sort().values, rounds)


def _assigned_once(weights: Tensor, codebook: Tensor, rounds: int) -> Codebook:
    codebook, _ = _right(weights, codebook, min(rounds, 1))
    return codebook, _nearest(weights, codebook)


def _all_with_all(weights: Tensor, codebook: Tensor, rounds: int) -> Codebook:
    codebook = codebook.clone()
    for _ in range(rounds):
        codes = _nearest(weights, codebook)
        together = (codes[:, None] == codes).to(weights.dtype)  # (N, N)
        means = (together @ weights) / together.sum(1)
        codebook[codes] = means
    return codebook, _nearest(weights, codebook)


def _in_place(weights: Tensor, codebook: Tensor, rounds: int) -> Codebook:
    for _ in range(max(rounds, 1)):
        codes = _nearest(weights, codebook)
        for entry in codes.unique():
            codebook[entry] = weights[codes == entry].mean()
    return codebook, _nearest(weights, codebook)


def _both_nan(result: Any, mistaken: Any) -> bool:
    books = [one[0] for one in (result, mistaken)]
    return all(isinstance(book, Tensor) and bool(book.isnan().any()) for book in books)


STAYS = "What should become of an entry that is nobody's nearest?"
MISTAKES = [
    Mistake(lambda *given: _right(*given)[::-1], TURNED, compared=False),
    Mistake(
        _clustering(result=lambda codebook, codes, weights: (codebook, codebook[codes])),
        NOT_WHOLE,
        compared=False,
    ),
    Mistake(
        _clustering(nearest=lambda weights, codebook: (weights[:, None] - codebook).argmin(1)),
        "Every weight gets the largest entry: the smallest difference is the most negative one.\n"
        "Is there an abs() missing?",
    ),
    Mistake(
        _clustering(
            nearest=lambda weights, codebook: (weights[:, None] - codebook).abs().argmax(1)
        ),
        "Every weight gets the entry that is furthest away.\nWhich distance should be least?",
    ),
    Mistake(
        _clustering(start=lambda codebook, weights: weights[: len(codebook)]),
        "You begin with the first weights.\nWith which entries should you begin?",
    ),
    Mistake(
        _clustering(
            start=lambda codebook, weights: torch.linspace(
                float(weights.min()), float(weights.max()), len(codebook)
            )
        ),
        "You begin with entries at equal distances.\nWith which entries should you begin?",
    ),
    Mistake(
        _sorted_first,
        "The entries come back in another order: they were sorted on the way, so the codes are "
        "others.\nDoes anything need them sorted?",
    ),
    Mistake(
        _clustering(times=lambda rounds: rounds + 1),
        "There is one round too many.\nHow often are the entries moved, and when do you stop?",
    ),
    Mistake(
        _clustering(times=lambda rounds: 0),
        "The entries have not moved.\nWhere do the means go?",
    ),
    Mistake(
        _clustering(times=lambda rounds: 300 if rounds else 0),
        "You go on until nothing moves any more.\nHow many rounds are asked for?",
    ),
    Mistake(
        _assigned_once,
        "Only the first round has an effect.\nIs `return` inside the loop, or are the weights "
        "assigned only once?",
    ),
    Mistake(
        _codes_of_the_last_round,
        "The codebook is right, but the codes are those from before it moved for the last time.\n"
        "Which entry is the nearest at the end?",
    ),
    Mistake(
        _clustering(centre=lambda own, entry: own.median() if len(own) else entry),
        "Each entry goes to the median of its weights.\nWhich centre makes the squares least?",
    ),
    Mistake(
        _clustering(
            centre=lambda own, entry: (own.min() + own.max()) / 2 if len(own) else entry,
        ),
        "Each entry goes to the middle between its smallest and its largest weight.\n"
        "Which centre makes the squares least?",
    ),
    Mistake(
        _assigned_again_for_each_entry,
        "While the entries of a round are moved, weights are assigned again: those that come later "
        "lose weights to those before.\nWhen in a round does each weight choose its entry?",
    ),
    Mistake(
        _clustering(centre=lambda own, entry: own.mean()),
        f"it becomes NaN, which is the mean of nothing.\n{STAYS}",
        alike=_both_nan,
    ),
    Mistake(
        _clustering(centre=lambda own, entry: own.sum() / max(len(own), 1)),
        f"it becomes 0, and takes weights from the others.\n{STAYS}",
    ),
    Mistake(_all_with_all, TABLE, compared=False),
    Mistake(_in_place, CHANGES_TENSOR, compared=False),
]

EXERCISE = Exercise(
    "kmeans_codebook", "compression", 2, check, frozenset({"attnlab.clustered"}), mistakes=MISTAKES
)
