"""What learners write instead of the exercise ``find_faulty``, and what is said of it."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import Mistake

__all__ = ["MISTAKES"]

NEVER_ASKED = (
    "Cache {name} was never asked to read anything.\nDoes your loop go on to the next cache, "
    "whatever the one before was like?"
)
DICT = (
    "Expected a dict of names and steps; {found} came back.\nWhich caches are faulty, and at which "
    "step do they first differ?"
)
NAMES = "There are no caches {found}.\nThe names are those of `caches`: {names}."
NONE_FOR_RIGHT = (
    "Cache {name} is named, with None for its step.\nOnly faulty caches are named: a right one is "
    "left out."
)
NO_STEP = "Cache {name} is named without a step.\nAt which position did its logits differ first?"
WHOLE_STEP = (
    "The step of cache {name} came as a {found}; it is a whole number, the position of a token."
)
INVERTED = "The caches that are named, {found}, are the right ones.\nThe faulty ones are asked for."
ONLY_AT_ONCE = (
    "Cache {name} is faulty, and your experiment cannot show it: all tokens are read at once, "
    "so that nothing comes out of the cache.\nHow is a text read while it is being written?"
)
NEVER_REORDERED = (
    "Cache {name} is faulty, and your experiment cannot show it: its rows are never reordered "
    "between two reads.\nWhat else can be done with a cache, besides reading? And what must "
    "come before and after it?"
)
SAME_ORDER = (
    "Cache {name} is faulty, and your experiment cannot show it: the rows are reordered into the "
    "order in which they were.\nWhich order would move every row?"
)
TOO_SHORT = (
    "Cache {name} is faulty, and your experiment cannot show it: at most {longest} tokens are "
    "read, and the window is {window} tokens wide.\nWhat leaves the window, and when?"
)
NEVER_BEHIND = (
    "Cache {name} is faulty, and your experiment cannot show it: several tokens at once are read "
    "only into an empty cache.\nWhat if somebody goes on with a whole sentence?"
)
MISSED = (
    "Cache {name} is faulty and is not named, though in your own experiment its logits differ by "
    "up to {apart:.3g}, from step {step} on.\nDo you compare every row, every position of a "
    "read and every logit? How large a difference counts?"
)
TOO_STRICT = (
    "Cache {name} is right, and is named, with step {step}. Its logits differ by rounding only, "
    "by about 0.000001.\nIs it == where a tolerance is needed, or is the tolerance too small?"
)
WITHOUT_THE_PAST = (
    "Cache {name} is right, and is named, with step {step}: where the second read begins.\nA cache "
    "knows the tokens before. Does `full` get them, too, and which of its positions are compared?"
)
AFTER_REORDER = (
    "Cache {name} is right, and is named, with step {step}; the rows were reordered after {order} "
    "tokens.\nRow i then goes on with what row rows[i] was: which texts must `full` be given?"
)
LONGER_THAN_IDS = (
    "Cache {name} is right, and is named. It has read {longest} tokens, though the texts have "
    "{tokens}: a second experiment goes on where the first one ended.\nWhat makes an empty cache?"
)
FROM_ONE = (
    "Cache {name} first differs at step {right}; {step} came back.\nPositions are counted from 0: "
    "how many tokens were read *before* the first one that differs?"
)
WITHIN_A_READ = (
    "Cache {name} first differs at step {right}; {step} came back.\nIs that counted from where the "
    "read begins, instead of from the beginning of the text?"
)
IN_READS = (
    "Cache {name} first differs at step {right}; {step} came back.\nIs that the number of the "
    "read, instead of the position of the token?"
)
LAST = (
    "Cache {name} first differs at step {right}; the last step that differs came back, {step}.\n"
    "Is a later step written over the first one?"
)
LARGEST = (
    "Cache {name} first differs at step {right}; the step with the largest difference came back, "
    "{step}.\nThe first one that is more than rounding is asked for."
)
OTHER_STEP = (
    "Cache {name} first differs at step {right}, by your own experiment; {step} came back.\nWhich "
    "is the first position whose logits are not those of `full`?"
)

# --- What learners write instead -----------------------------------------------------------------


def _tolerantly(found: Tensor, right: Tensor) -> Tensor:
    """Which of the positions of a read differ, (n,)."""
    return (found - right).abs().amax((0, 2)) > 1e-3


def _mixed(tokens: int) -> list[int]:
    """A first read of three, then one by one, and several at once in between and at the end."""
    middle = tokens // 2
    singles = range(4, middle + 2)
    return [0, 3, *singles, middle + 3, middle + 4, tokens]


def _one_by_one(tokens: int) -> list[int]:
    return list(range(tokens + 1))


def _first_place(start: int, number: int, apart: Tensor) -> int:
    return start + int(apart.int().argmax())


def _expected(full: Callable[[Tensor], Tensor], seen: Tensor, new: Tensor) -> Tensor:
    return full(seen)[:, -new.shape[1] :]


def _one_further(rows: int) -> Tensor:
    return torch.arange(rows).roll(1)


def _experiment(
    *,
    cuts: Callable[[int], list[int]] = _mixed,
    differ: Callable[[Tensor, Tensor], Tensor] = _tolerantly,
    order: Callable[[int], Tensor] | None = _one_further,
    reorder_after: Callable[[int], int] = lambda tokens: tokens // 2,
    expected_order: Callable[[Tensor], Tensor] = lambda order: order,
    expected: Callable[..., Tensor] = _expected,
    step: Callable[[int, int, Tensor], int] = _first_place,
    last: bool = False,
    once: bool = False,
    twice: bool = False,
    limit: int | None = None,
    give: Callable[[dict[str, int], Sequence[str]], Any] = lambda faulty, names: faulty,
) -> Callable[..., Any]:
    """The experiment with a part exchanged."""

    def answer(full: Any, caches: Any, ids: Tensor) -> Any:
        ids = ids[:, :limit]
        faulty: dict[str, int] = {}
        for name, make in caches.items():
            cache = make()
            for _ in range(2 if twice else 1):
                _try_out(cache, full, ids, name, faulty)
            if once and faulty:
                break
        return give(faulty, list(caches))

    def _try_out(cache: Any, full: Any, ids: Tensor, name: str, faulty: dict[str, int]) -> None:
        tokens = ids.shape[1]
        places, seen = cuts(tokens), ids[:, :0]
        for number, (start, stop) in enumerate(itertools.pairwise(places)):
            if order is not None and start == reorder_after(tokens):
                rows = order(len(ids))
                cache.reorder(rows)
                seen = seen[expected_order(rows)]
            new = ids[:, start:stop]
            seen = torch.cat([seen, new], 1)
            apart = differ(cache.read(new), expected(full, seen, new))
            if apart.any() and (last or name not in faulty):
                faulty[name] = step(start, number, apart)

    return answer


def _last_place(start: int, number: int, apart: Tensor) -> int:
    return start + int(apart.nonzero().max())


def _at_the_largest(full: Any, caches: Any, ids: Tensor) -> Any:
    """The step with the largest difference."""
    largest: dict[str, tuple[float, int]] = {}
    middle, rows = ids.shape[1] // 2, torch.arange(len(ids)).roll(1)
    for name, make in caches.items():
        cache, seen = make(), ids[:, :0]
        places = _mixed(ids.shape[1])
        for start, stop in itertools.pairwise(places):
            if start == middle:
                cache.reorder(rows)
                seen = seen[rows]
            new = ids[:, start:stop]
            seen = torch.cat([seen, new], 1)
            apart = (cache.read(new) - full(seen)[:, start:]).abs().amax((0, 2))
            best = float(apart.max()), start + int(apart.argmax())
            largest[name] = max(largest.get(name, (1e-3, -1)), best)
    return {name: step for name, (_, step) in largest.items() if step >= 0}


def _only_last_position(found: Tensor, right: Tensor) -> Tensor:
    """The last position of a read; the others count as equal."""
    apart = _tolerantly(found, right)
    apart[:-1] = False
    return apart


MISTAKES = [
    Mistake(lambda full, caches, ids: {}, NEVER_ASKED, compared=False),
    Mistake(_experiment(once=True), NEVER_ASKED, compared=False),
    Mistake(
        _experiment(cuts=lambda tokens: [0, tokens]),
        ONLY_AT_ONCE,
        compared=False,
    ),
    Mistake(_experiment(order=None), NEVER_REORDERED, compared=False),
    Mistake(_experiment(reorder_after=lambda tokens: 0), NEVER_REORDERED, compared=False),
    Mistake(_experiment(order=torch.arange), SAME_ORDER, compared=False),
    Mistake(_experiment(limit=4, cuts=_one_by_one), TOO_SHORT, compared=False),
    Mistake(_experiment(cuts=_one_by_one), NEVER_BEHIND, compared=False),
    Mistake(
        _experiment(cuts=lambda tokens: [0, *range(4, tokens + 1)]), NEVER_BEHIND, compared=False
    ),
    Mistake(
        _experiment(differ=lambda found, right: (found - right).abs().amax((0, 2)) > 100.0),
        MISSED,
        compared=False,
    ),
    Mistake(
        _experiment(
            differ=lambda found, right: _tolerantly(found[:1], right[:1]),
        ),
        MISSED,
        compared=False,
    ),
    Mistake(_experiment(differ=_only_last_position), MISSED, compared=False),
    Mistake(
        _experiment(differ=lambda found, right: (found != right).any(2).any(0)),
        TOO_STRICT,
        compared=False,
    ),
    Mistake(
        _experiment(differ=lambda found, right: (found - right).abs().amax((0, 2)) > 1e-8),
        TOO_STRICT,
        compared=False,
    ),
    Mistake(
        _experiment(expected=lambda full, seen, new: full(new)),
        WITHOUT_THE_PAST,
        compared=False,
    ),
    Mistake(
        _experiment(expected=lambda full, seen, new: full(seen)[:, : new.shape[1]]),
        WITHOUT_THE_PAST,
        compared=False,
    ),
    Mistake(
        _experiment(expected_order=lambda order: torch.arange(len(order))),
        AFTER_REORDER,
        compared=False,
    ),
    Mistake(
        _experiment(expected_order=lambda order: order.argsort()), AFTER_REORDER, compared=False
    ),
    Mistake(_experiment(twice=True), LONGER_THAN_IDS, compared=False),
    Mistake(
        _experiment(step=lambda start, number, apart: _first_place(start, number, apart) + 1),
        FROM_ONE,
        compared=False,
    ),
    Mistake(
        _experiment(step=lambda start, number, apart: int(apart.int().argmax())),
        WITHIN_A_READ,
        compared=False,
    ),
    Mistake(_experiment(step=lambda start, number, apart: number), IN_READS, compared=False),
    Mistake(_experiment(step=_last_place, last=True), LAST, compared=False),
    Mistake(_at_the_largest, LARGEST, compared=False),
    Mistake(
        _experiment(give=lambda faulty, names: {n: 0 for n in names if n not in faulty}),
        INVERTED,
        compared=False,
    ),
    Mistake(
        _experiment(give=lambda faulty, names: {n: faulty.get(n) for n in names}),
        NONE_FOR_RIGHT,
        compared=False,
    ),
    Mistake(_experiment(give=lambda faulty, names: list(faulty)), DICT, compared=False),
    Mistake(
        _experiment(give=lambda faulty, names: dict.fromkeys(faulty, True)),
        WHOLE_STEP,
        compared=False,
    ),
    Mistake(
        _experiment(give=lambda faulty, names: {names.index(n): s for n, s in faulty.items()}),
        NAMES,
        compared=False,
    ),
]


def __dir__() -> list[str]:
    return sorted(__all__)
