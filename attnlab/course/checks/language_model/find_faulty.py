"""The exercise ``find_faulty``."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    Held,
    Unwritten,
    require,
    where,
)
from attnlab.course.checks.language_model.find_faulty_mistakes import (
    AFTER_REORDER,
    DICT,
    FROM_ONE,
    IN_READS,
    INVERTED,
    LARGEST,
    LAST,
    LONGER_THAN_IDS,
    MISSED,
    MISTAKES,
    NAMES,
    NEVER_ASKED,
    NEVER_BEHIND,
    NEVER_REORDERED,
    NO_STEP,
    NONE_FOR_RIGHT,
    ONLY_AT_ONCE,
    OTHER_STEP,
    SAME_ORDER,
    TOO_SHORT,
    TOO_STRICT,
    WHOLE_STEP,
    WITHIN_A_READ,
    WITHOUT_THE_PAST,
)
from attnlab.course.checks.language_model.planted_caches import FAULTS, Run, World, world

LEVELS = (2e-5, 1e-4, 1e-3, 1e-2, 3e-2)  # whichever of them an answer takes for a difference
CLEAR = 1e-3
FURTHER = 4  # worlds in which a wrong step is looked at again, to tell how it comes about
ONE_FAULT = (
    ("positions begin anew", "a cache that begins to count positions anew with each read"),
    ("window too short", "a cache that sees one key too few of the window"),
    ("window too long", "a cache that sees one key too many"),
    ("rows stay", "a cache whose rows stay where they were when they are reordered"),
    ("values of rows stay", "a cache of which only the keys are reordered"),
    ("the last row stays", "a cache of which the last row is not reordered"),
    ("no mask among new tokens", "a cache whose new tokens see each other, later ones too"),
)


def check(answer: Answer, draw: Draw) -> Held:
    """``find_faulty(full, caches, ids)``: which caches are faulty, and from which step on."""
    for number, (fault, told) in enumerate(ONE_FAULT):
        with where(f"With {told}:"):
            _judge(answer, draw, [fault, ""] if number % 2 else ["", fault, ""])
        yield told
    with where("With right caches only:"):
        _judge(answer, draw, ["", ""])
    some = torch.randperm(len(FAULTS), generator=draw.generator)[:3].tolist()
    with where("With several faulty caches:"):
        _judge(answer, draw, ["", *(FAULTS[index] for index in some), ""])
    yield "several faulty ones, or none"


def _judge(answer: Answer, draw: Draw, faults: list[str]) -> None:
    """Compare what came back with what the caches did in the answer's own experiment."""
    planted = world(draw, faults)
    steps = _steps(answer(planted.model.full, planted.caches(), planted.ids), planted)
    for name, runs in planted.runs.items():
        require(bool(runs), NEVER_ASKED.format(name=name))
    for name, fault in planted.faults.items():
        if not fault and name in steps:
            raise CheckFailed(_false_alarm(name, steps[name], planted, planted.runs[name]))
    for name, fault in planted.faults.items():
        if not fault:
            continue
        runs = planted.runs[name]
        apart = [_differences(planted, run) for run in runs]
        seen = max(float(each.max()) for each in apart)
        if seen <= CLEAR:
            raise CheckFailed(_never_tried(name, fault, planted))
        first = _first_steps(apart)
        if name not in steps:
            raise CheckFailed(MISSED.format(name=name, apart=seen, step=min(first)))
        if steps[name] not in first:
            facts = {"name": name, "step": steps[name], "right": min(first)}
            told = _likely(answer, draw, faults, _guesses(steps[name], apart, runs))
            raise CheckFailed(told.format(**facts))


def _steps(result: Any, planted: World) -> dict[str, int]:
    """What came back, as whole numbers by name."""
    if result is Ellipsis:
        raise Unwritten("Not written yet: the result is still `...`.")
    if not isinstance(result, Mapping):
        told = "None" if result is None else f"a {type(result).__name__}"
        raise CheckFailed(DICT.format(found=told))
    strange = [name for name in result if name not in planted.faults]
    require(not strange, NAMES.format(found=strange[:3], names=", ".join(planted.faults)))
    right = [name for name, fault in planted.faults.items() if not fault]
    steps: dict[str, int] = {}
    for name, step in result.items():
        if step is None:
            told = NONE_FOR_RIGHT if name in right else NO_STEP
            raise CheckFailed(told.format(name=name))
        plain = step.item() if isinstance(step, Tensor) and step.numel() == 1 else step
        whole = hasattr(plain, "__index__") and not isinstance(plain, bool)
        require(whole, WHOLE_STEP.format(name=name, found=type(step).__name__))
        steps[name] = int(plain)
    asked = any(planted.runs.values())
    if asked and len(right) < len(planted.faults) and set(steps) == set(right):
        raise CheckFailed(INVERTED.format(found=", ".join(steps)))
    return steps


def _differences(planted: World, run: Run) -> Tensor:
    """How far the logits of each row and token are from those without a cache, (B, N)."""
    apart = []
    for history, found in run.reads:
        right = planted.model.full(history)[:, -found.shape[1] :]
        apart.append((found - right).abs().amax(2))
    return torch.cat(apart, 1)


def _first_steps(apart: list[Tensor]) -> set[int]:
    """The first step that differs, in whichever run and row, and by whichever tolerance."""
    return {
        int((row > level).int().argmax())
        for each in apart
        for row in (*each, each.amax(0))
        for level in LEVELS
        if (row > level).any()
    }


def _never_tried(name: str, fault: str, planted: World) -> str:
    """Which experiment would have shown the fault."""
    runs, window = planted.runs[name], planted.model.window
    reads = max(len(run.reads) for run in runs)
    longest = max(run.history.shape[1] for run in runs)
    if fault == "positions begin anew":
        return ONLY_AT_ONCE.format(name=name)
    if "window" in fault:
        return TOO_SHORT.format(name=name, longest=longest, window=window)
    if "rows" in fault:
        orders = [
            (moved, after < run.history.shape[1] and after > 0)
            for run in runs
            for after, moved in run.orders
        ]
        some = any(between for _, between in orders)
        return (SAME_ORDER if some else NEVER_REORDERED).format(name=name)
    return NEVER_BEHIND.format(name=name, reads=reads)


def _false_alarm(name: str, step: int, planted: World, runs: list[Run]) -> str:
    """What is said of a right cache that is named."""
    tokens = planted.ids.shape[1]
    longest = max(run.history.shape[1] for run in runs)
    facts = {"name": name, "step": step, "tokens": tokens, "longest": longest}
    if longest > tokens:
        return LONGER_THAN_IDS.format(**facts)
    orders = [after for run in runs for after, moved in run.orders if moved and after > 0]
    if orders and step >= min(orders):
        return AFTER_REORDER.format(**facts, order=min(orders))
    first = [run.reads[0][1].shape[1] for run in runs if run.reads]
    if step in first:
        return WITHOUT_THE_PAST.format(**facts)
    return TOO_STRICT.format(**facts)


def _guesses(step: int, apart: list[Tensor], runs: list[Run]) -> set[str]:
    """What may have led to a wrong step."""
    told = set()
    for each, run in zip(apart, runs, strict=True):
        if not (each > CLEAR).any():
            continue
        largest = each.amax(0)
        wrong = (largest > CLEAR).nonzero().flatten()
        first = int(wrong[0])
        begun = [history.shape[1] - found.shape[1] for history, found in run.reads]
        begun = [start for start in begun if start <= first]
        told |= {
            guess
            for guess, steps in (
                (FROM_ONE, [first + 1]),
                (WITHIN_A_READ, [first - begun[-1]]),
                (IN_READS, [len(begun) - 1]),
                (LAST, [int(wrong[-1])]),
                (LARGEST, [int(largest.argmax())]),
            )
            if step in steps
        }
    return told


def _likely(answer: Answer, draw: Draw, faults: list[str], guesses: set[str]) -> str:
    """The guess that fits further worlds, too."""
    for _ in range(FURTHER if len(guesses) > 1 else 0):
        planted = world(draw, faults)
        steps = _steps(answer(planted.model.full, planted.caches(), planted.ids), planted)
        for name, fault in planted.faults.items():
            if fault and name in steps:
                apart = [_differences(planted, run) for run in planted.runs[name]]
                guesses = guesses & _guesses(steps[name], apart, planted.runs[name])
    order = (FROM_ONE, WITHIN_A_READ, IN_READS, LAST, LARGEST)
    return next((guess for guess in order if guess in guesses), OTHER_STEP)


def _ours(
    full: Callable[[Tensor], Tensor], caches: Mapping[str, Any], ids: Tensor
) -> dict[str, int]:
    """Read a few tokens, some one by one behind a reordering of the rows, and the rest at once."""
    faulty: dict[str, int] = {}
    order, few = torch.arange(len(ids)).roll(1), ids.shape[1] // 3
    for name, make in caches.items():
        cache, seen = make(), ids[:, :0]
        for new in ids.split([few, *[1] * (ids.shape[1] - 2 * few), few], 1):
            start = seen.shape[1]
            if start == few + 1:
                cache.reorder(order)
                seen = seen[order]
            seen = torch.cat([seen, new], 1)
            wrong = (cache.read(new) - full(seen)[:, start:]).abs().amax((0, 2)) > CLEAR
            if wrong.any():
                faulty.setdefault(name, start + int(wrong.int().argmax()))
    return faulty


EXERCISE = Exercise("find_faulty", "language_model", 4, check, mistakes=MISTAKES, ours=_ours)
