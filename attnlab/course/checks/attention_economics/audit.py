"""Exercise ``audit``: an honest speed-up from the raw record of a benchmark that was not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from attnlab.course.checks.attention_economics.records import (
    CHANGES_RECORD,
    TRICKS,
    Audited,
    Record,
    Several,
    Trick,
    a_record,
    cold,
    other_rounds,
    other_texts,
    other_threads,
    shuffled,
    without_pairs,
)
from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_number,
    require,
    where,
)

Values = npt.NDArray[Any]
Ends = tuple[float, float]

DRAWS = 1000  # as the exercise asks for
TOLERANCE = 0.04  # of an end, as a share of the right width, in the mean of seven records
SINGLE = 0.13  # the same, of each record by itself
KEYS = ["round", "text"]

THREE = "Three numbers are asked for, ratio, low and high; there came {kind}.\nWhat do you return?"
NOT_AGAIN = (
    "For the same record another interval comes out the second time.\n"
    "Which seed have your random numbers?"
)
NOTHING_LEFT = (
    "Nothing in this record can be compared ({why}), and yet {found} comes back.\n"
    "How many pairs are left, and what should happen if there is none?"
)
INTERVAL = (
    "The ratio is right, but not its interval: {found_ends}; it should be about {right_ends}.\n"
    "What is drawn again, and of what are the quantiles taken?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``audit(record)``: the honest ratio of two medians, and its 95 % interval."""
    ratio = Comparison(answer, _quick_reference, RATIOS, read=_ratio, tolerance=1e-6)
    interval = Comparison(
        answer, reference, INTERVALS, read=_relative, tolerance=TOLERANCE, loosely=0.04, draws=1
    )
    calls: list[Audited] = []
    otherwise = (
        "You find that the new model is {found:.4f} times as fast; it is {right:.4f} times, by "
        "{pairs} of {rows} rows for each model.\n"
        "Which rows have a partner that was measured under the same conditions?"
    )

    def on(place: str, *tricks: Trick) -> None:
        calls.append(a_record(draw, *tricks))
        waiting = iter(calls[-1:])  # the answer is called once with each record

        def next_record() -> Audited:
            return next(waiting, None) or a_record(draw, *tricks)

        with where(place):
            ratio.on(next_record, otherwise, facts=_facts, draws=1)

    on("In a record in which nothing is wrong:")
    yield "a fair record, of which nothing is left out"
    on("Where round 0 was recorded, too:", cold)
    yield "round 0 is a warm-up"
    on("Where the models read different texts:", other_texts)
    yield "the same texts"
    on("Where one model ran in some rounds only:", other_rounds)
    yield "the same rounds"
    on("Where threads differ:", other_threads)
    yield "as many threads for both"
    on("Where rows stand in any order:", shuffled)
    yield "rows in any order"
    on("With all of these tricks:", *TRICKS)
    yield "all tricks together"

    first = iter([Several(calls)])
    interval.on(
        lambda: next(first, None) or Several([a_record(draw) for _ in range(3)]),
        INTERVAL,
        facts=_facts_of_first,
    )
    require(_three(calls[0].of(answer)) == _three(calls[0].again(answer)), NOT_AGAIN)
    yield "an interval by drawing pairs again"

    for why, record in without_pairs(draw):
        _must_raise(answer, record, why)
    yield "a ValueError where nothing can be compared"


def reference(record: Record, draws: int = 8 * DRAWS) -> tuple[float, float, float]:
    """Row by row: the times of both models under the same conditions."""
    times: dict[str, dict[Any, float]] = {"old": {}, "new": {}}
    for number, model, text, threads, ms in record.itertuples(index=False):
        if number > 0:
            times[model][number, text, threads] = ms
    both = sorted(times["old"].keys() & times["new"].keys())
    old, new = (np.array([times[model][key] for key in both]) for model in ("old", "new"))
    rows = np.random.default_rng(1).integers(len(both), size=(draws, len(both)))
    ratios = np.median(old[rows], axis=1) / np.median(new[rows], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(np.median(old) / np.median(new)), float(low), float(high)


def _quick_reference(record: Record) -> tuple[float, float, float]:
    """The right ratio, with a rough interval."""
    return reference(record, draws=20)


def _must_raise(answer: Answer, record: Record, why: str) -> None:
    """Fail unless the answer raises a ValueError."""
    caught, raised = answer.catching(ValueError)
    result = Audited(record).of(caught)
    if not raised:
        numbers = _listed(result)
        found = ", ".join(f"{number}" for number in numbers) if numbers else type(result).__name__
        raise CheckFailed(NOTHING_LEFT.format(why=why, found=found))


# --- Results --------------------------------------------------------------------------------------


def _listed(result: Any) -> list[Any]:
    if isinstance(result, np.ndarray | torch.Tensor | pd.Series):
        return list(result.tolist()) if getattr(result, "ndim", 0) == 1 else []
    return list(result) if isinstance(result, list | tuple) else []


def _three(result: Any) -> tuple[float, float, float]:
    """A ratio and two ends."""
    numbers = _listed(result)
    if len(numbers) != 3:
        if result is None or result is Ellipsis:
            a_number(result, "ratio, low and high")
        kind = f"{len(numbers)} numbers" if numbers else f"a {type(result).__name__}"
        raise CheckFailed(THREE.format(kind=kind))
    plain = [
        end.item() if isinstance(end, torch.Tensor | np.ndarray) and end.shape == () else end
        for end in numbers
    ]
    ratio, low, high = (
        a_number(number, name) for number, name in zip(plain, ("ratio", "low", "high"), strict=True)
    )
    return ratio, low, high


def _ratio(result: Any, right: Any) -> float:
    return _three(result)[0]


def _relative(results: Any, rights: Any) -> list[float]:
    """The ends on a scale on which the right interval goes from 0 to 1: the mean, and each."""
    ends = [
        [(end - low) / (high - low) for end in _three(result)[1:]]
        for result, (_, low, high) in zip(results, rights, strict=True)
    ]
    strict = np.concatenate([np.mean(ends, axis=0), TOLERANCE / SINGLE * np.ravel(ends)])
    return [float(end) for end in strict]


def _facts_of_first(call: Call, results: Any) -> dict[str, Any]:
    assert isinstance(call, Several)
    return _facts(call.calls[0], results[0])


def _facts(call: Call, result: Any) -> dict[str, Any]:
    assert isinstance(call, Audited)
    right, found = call.of(reference), _three(result)
    record = call.record
    warm = record[record["round"] > 0].drop(columns="ms")
    pairs = warm[warm["model"] == "old"].merge(warm[warm["model"] == "new"], on=[*KEYS, "threads"])
    return {
        "found": found[0],
        "right": right[0],
        "found_ends": f"{found[1]:.3f} to {found[2]:.3f}",
        "right_ends": f"{right[1]:.3f} to {right[2]:.3f}",
        "pairs": len(pairs),
        "rows": int(record["model"].value_counts().max()),
    }


# --- What learners write instead -----------------------------------------------------------------


def _warm(record: Record) -> Record:
    return record[record["round"] > 0]


def _paired(keys: list[str]) -> Callable[[Record], Record]:
    """Rows of both models side by side."""

    def pairs(record: Record) -> Record:
        old, new = (record[record["model"] == model] for model in ("old", "new"))
        return old.merge(new, on=keys, suffixes=("_old", "_new"))

    return pairs


_same_conditions = _paired([*KEYS, "threads"])


def _unpaired(record: Record) -> Record:
    """All rows of both, as many as the model with fewer has."""
    both = {model: record["ms"][record["model"] == model].to_numpy() for model in ("old", "new")}
    length = min(map(len, both.values()))
    return pd.DataFrame({f"ms_{model}": times[:length] for model, times in both.items()})


def _one_thread(record: Record) -> Record:
    return _same_conditions(record[record["threads"] == 1])


def _pairs_drawn(pairs: int, generator: np.random.Generator) -> tuple[Values, Values]:
    rows = generator.integers(pairs, size=(DRAWS, pairs))
    return rows, rows


def _drawn_apart(pairs: int, generator: np.random.Generator) -> tuple[Values, Values]:
    first, second = generator.integers(pairs, size=(2, DRAWS, pairs))
    return first, second


def _fewer_drawn(pairs: int, generator: np.random.Generator) -> tuple[Values, Values]:
    rows = generator.integers(pairs, size=(DRAWS, max(pairs // 2, 1)))
    return rows, rows


def _of_medians(old: Values, new: Values) -> Values:
    return np.median(old, axis=-1) / np.median(new, axis=-1)


def _middle_95(ratios: Values) -> Ends:
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def _quantiles(low: float, high: float) -> Callable[[Values], Any]:
    return lambda ratios: np.quantile(ratios, [low, high])


def _auditing(
    kept: Callable[[Record], Record] = _warm,
    pairs: Callable[[Record], Record] = _same_conditions,
    ratio: Callable[[Values, Values], Values] = _of_medians,
    ratios: Callable[[Values, Values], Values] | None = None,
    drawn: Callable[[int, np.random.Generator], tuple[Values, Values]] = _pairs_drawn,
    ends: Callable[[Values], Any] = _middle_95,
    raises: bool = True,
    seed: int | None = 0,
) -> Callable[[Record], Any]:
    """The audit with a part exchanged."""

    def answer(record: Record) -> Any:
        found = pairs(kept(record))
        if found.empty:
            if raises:
                raise ValueError("nothing in this record can be compared")
            return 1.0, 1.0, 1.0
        old, new = found["ms_old"].to_numpy(), found["ms_new"].to_numpy()
        first, second = drawn(len(old), np.random.default_rng(seed))
        low, high = ends((ratios or ratio)(old[first], new[second]))
        return float(ratio(old, new)), float(low), float(high)

    return answer


_right = _auditing()


def _as_reported(record: Record) -> Any:
    """The mean of one against the best of the other."""
    old, new = (record["ms"][record["model"] == model] for model in ("old", "new"))
    return old.mean() / new.min(), 1.0, 2.0


def _without_outliers(record: Record) -> Record:
    warm = _warm(record)
    return warm[warm["ms"] < 2.5 * warm["ms"].median()]


def _in_place(record: Record) -> Any:
    record.drop(record[record["round"] == 0].index, inplace=True)  # noqa: PD002, inplace is the mistake
    return _right(record)


def _asks_for_round_0(record: Record) -> Record:
    return record[record["round"] > record["round"].min()]


def _adds_a_column(record: Record) -> Any:
    record["cold"] = record["round"] == 0
    return _right(record.drop(columns="cold"))


MIDDLE = "Which middle does not care how far off a few rows are?"
RATIOS = [
    Mistake(
        _as_reported,
        "The mean of the old model is divided by the best time of the new one, as a report does "
        "that wants a large number.\nWhich figure is asked for, of both?",
    ),
    Mistake(
        _auditing(ratio=lambda old, new: _of_medians(new, old)),
        "The ratio is upside down: above 1 it should mean that the new model is faster.\nWhich "
        "time is divided by which?",
    ),
    Mistake(
        _auditing(ratio=lambda old, new: old.mean(-1) / new.mean(-1)),
        f"The means are compared, which a few interruptions move.\n{MIDDLE}",
    ),
    Mistake(
        _auditing(ratio=lambda old, new: old.min(-1) / new.min(-1)),
        f"The best times are compared, which are those of the shortest text.\n{MIDDLE}",
    ),
    Mistake(
        _auditing(ratio=lambda old, new: np.median(old / new, axis=-1)),
        "This is the median of the ratios.\nThe ratio of two medians is asked for: which comes "
        "first?",
    ),
    Mistake(
        _auditing(ratio=lambda old, new: (old / new).mean(-1)),
        "This is the mean of the ratios.\nThe ratio of two medians is asked for: which comes "
        "first?",
    ),
    Mistake(
        _auditing(kept=_asks_for_round_0),
        "The first round of the record is left out; it is round 1, and the warm-up was not "
        "recorded.\nHow do you know a warm-up round?",
    ),
    Mistake(
        _auditing(kept=_without_outliers),
        "Rows are left out because they took long. An interruption is no trick, and both models "
        "have some.\nWhich rows cannot be compared, and what does a median do to the others?",
    ),
    Mistake(
        _auditing(kept=lambda record: record),
        "Round 0 counts, in which one of the models was cold.\nWhich rounds are warm?",
    ),
    Mistake(
        _auditing(pairs=_unpaired),
        "All warm rows count, whatever text was read in which round.\nWhich row of the other model "
        "was measured under the same conditions?",
    ),
    Mistake(
        _auditing(pairs=_paired(["text", "threads"])),
        "Rows are paired by text and threads, so that each meets all rounds of the other model.\n"
        "What else has to be the same?",
    ),
    Mistake(
        _auditing(pairs=_paired(KEYS)),
        "Rows are paired by round and text, also where one model had more threads.\nWhat else has "
        "to be the same?",
    ),
    Mistake(
        _auditing(pairs=_one_thread),
        "Only rows with one thread count; where both models had four, they can be compared, too.\n"
        "Must it be one thread, or as many for both?",
    ),
]
INTERVALS = [
    Mistake(
        _auditing(drawn=_drawn_apart),
        "The ratio is right. The rows of the two models are drawn apart, as if they were not "
        "measured on the same texts.\nWhich row of the new model must be drawn for one of the old?",
    ),
    Mistake(
        _auditing(drawn=_fewer_drawn),
        "The ratio is right. Half as many pairs are drawn as there are, so that the interval is "
        "too wide.\nHow many pairs has each new sample?",
    ),
    Mistake(
        _auditing(ratios=lambda old, new: np.median(old / new, axis=-1)),
        "The ratio is right. The interval is that of the median of the ratios.\nWhich figure is "
        "computed again for each sample?",
    ),
    Mistake(
        _auditing(ratios=lambda old, new: old.mean(-1) / new.mean(-1)),
        "The ratio is right. The interval is that of the ratio of means.\nWhich figure is computed "
        "again for each sample?",
    ),
    Mistake(
        _auditing(ratios=lambda old, new: (old / new)[0]),
        "The ratio is right. The interval is that of single pairs, which differ much more than "
        "their medians.\nOf what should the quantiles be taken?",
    ),
    Mistake(
        _auditing(ends=_quantiles(0.05, 0.95)),
        "The ratio is right. The interval holds 90 %.\nHow much should lie outside on each side, "
        "if 95 % lie inside?",
    ),
    Mistake(
        _auditing(ends=_quantiles(0.005, 0.995)),
        "The ratio is right. The interval holds 99 %.\nHow much should lie outside on each side, "
        "if 95 % lie inside?",
    ),
    Mistake(
        _auditing(ends=lambda ratios: ratios.mean() + ratios.std() * np.array([-1, 1])),
        "The ratio is right. The interval is one standard error to each side, which holds 68 %.\n"
        "Which quantiles have 95 % between them?",
    ),
    Mistake(
        _auditing(ends=_quantiles(0.975, 0.025)),
        "The ratio is right. The upper end comes first.\nIn which order does the docstring name "
        "the two?",
    ),
]
MISTAKES = [
    *RATIOS,
    *INTERVALS,
    Mistake(_auditing(seed=None), NOT_AGAIN, compared=False),
    Mistake(_auditing(raises=False), NOTHING_LEFT, compared=False),
    Mistake(_in_place, CHANGES_RECORD, compared=False),
    Mistake(_adds_a_column, CHANGES_RECORD, compared=False),
    Mistake(lambda record: _right(record)[0], THREE, compared=False),
]

EXERCISE = Exercise("audit", "attention_economics", 3, check, mistakes=MISTAKES)
