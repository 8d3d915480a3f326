"""The exercise ``capstone_report``: does a report agree with itself?"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    Held,
    Mistake,
    Unwritten,
    a_list,
    a_number,
    require,
)

KEYS = (
    *("question", "trained_on", "baseline", "baseline_right", "own_right"),
    *("baseline_score", "own_score", "interval", "answer", "seeds", "ablation", "limit"),
)
ANSWERS = ("better", "worse", "no clear difference")
ROUNDED = 0.0051  # scores may be given to two decimals

NO_DICT = "Expected a dict with the parts of the report; {found} came back."
MISSING = "The report has no {missing}.\nIts parts are: {keys}."
UNKNOWN = "The report has a part that is not asked for: {unknown}.\nIs it a misspelt one?"
QUESTION = "The question is {found!r}.\nWhich question, with a question mark, does a number answer?"
SHORT = "The {what} says only {found!r}.\nWhat would a reader need who was not there?"
NO_MAP = "'{what}' should map each held-out item to True or False, {{item: right}}; it is {found}."
OTHER_ITEMS = (
    "Baseline and own answers are not about the same items: {only_one} only in the one, "
    "{only_other} only in the other.\nOn which items did both answer?"
)
FEW = "There are {n} held-out items; with fewer than 30 no interval says much.\nAre there more?"
LEAK = (
    "{count} of the held-out items are in 'trained_on' as well.\nWhat has been seen, or used for "
    "choosing, is not held out."
)
PERCENT = (
    "The {what} is {found}: it looks like percent.\nAll numbers of the report are shares from 0 to "
    "1, differences from -1 to 1."
)
SCORE = (
    "The {what} is {found:.3f}; the answers to {n} items give {right:.3f}.\nIs it from another "
    "split, or another run?"
)
TURNED_ENDS = "The upper end of the interval comes first.\nExpected is low, high."
OTHER_SIGN = (
    "The interval holds {reverse:+.3f} and not {difference:+.3f}.\nThe difference is own minus "
    "baseline: which way round did you take it?"
)
OF_THE_SCORE = (
    "The interval from {low:.3f} to {high:.3f} holds your own score, {own:.3f}, and not the "
    "difference, {difference:+.3f}.\nThe question is how much better: an interval of what?"
)
OUTSIDE = (
    "The interval from {low:.3f} to {high:.3f} does not hold the difference, {difference:+.3f}."
    "\nAre both from the same answers?"
)
NARROW = (
    "The interval is {found:.3f} wide; with {n} items, of which {differ} are answered differently, "
    "95 % take about {right:.3f}.\nIs it a standard error, or are items counted several times?"
)
WIDE = (
    "The interval is {found:.3f} wide; with {n} items, of which {differ} are answered differently, "
    "95 % take about {right:.3f}.\nBoth answer the same items: is the difference taken item by "
    "item?"
)
VERDICT = "The answer is {found!r}; choose one of: {answers}."
CLAIM = (
    "The answer is {found!r}, and the interval from {low:+.3f} to {high:+.3f} says "
    "{right!r}.\nDoes the interval hold 0?"
)
SEEDS = (
    "There are results of {found} seeds; at least three are needed.\nWhat does chance alone change?"
)
NO_SEEDS = "'seeds' should map each seed to its score, {{seed: score}}; it is {found}."
BEST_SEED = (
    "Your own score is that of the best of {found} seeds.\nWho picks the best run picks luck, too: "
    "which run stands in the middle?"
)
NOT_A_SEED = (
    "Your own score, {own:.3f}, is none of the seeds', {low:.3f} to {high:.3f}.\nWhich run is it?"
)
SAME_SEEDS = (
    "All seeds give exactly {found:.4f}.\nDoes the seed reach what is drawn: order, start, sample?"
)
ABLATION = (
    "'ablation' should be a dict with 'without', what was taken away, and 'score'; it is {found}."
)


def check(answer: Answer, draw: Draw) -> Held:
    """``capstone_report()``: the parts of your report, as far as they can be checked."""
    report = _parts(answer())
    _words(report["question"], "question", 4)
    require("?" in report["question"], QUESTION.format(found=report["question"]))
    _words(report["baseline"], "baseline", 1)
    yield "a question and a baseline"
    baseline, own = (_right(report, name) for name in ("baseline_right", "own_right"))
    strange = len(baseline.keys() - own.keys()), len(own.keys() - baseline.keys())
    require(strange == (0, 0), OTHER_ITEMS.format(only_one=strange[0], only_other=strange[1]))
    items = list(own)
    n = len(items)
    require(n >= 30, FEW.format(n=n))
    seen = set(_listed(report["trained_on"], "trained_on")) & set(items)
    require(not seen, LEAK.format(count=len(seen)))
    yield f"{n} held-out items, the same for both"
    before, after = (np.array([side[item] for item in items]) for side in (baseline, own))
    for what, answers in (("baseline_score", before), ("own_score", after)):
        _score(report[what], what, float(answers.mean()), n)
    yield "scores that follow from the answers"
    low, high = _interval(report["interval"], before.astype(float), after.astype(float))
    yield "an interval of the difference, as wide as these items allow"
    right = "better" if low > 0 else "worse" if high < 0 else "no clear difference"
    found = report["answer"]
    require(found in ANSWERS, VERDICT.format(found=found, answers=", ".join(ANSWERS)))
    require(found == right, CLAIM.format(found=found, low=low, high=high, right=right))
    yield "an answer that the interval supports"
    _seeds(report["seeds"], float(after.mean()), n)
    yield "three seeds or more, not the best of them"
    _ablation(report["ablation"])
    _words(report["limit"], "limit", 6)
    yield "an ablation, and a limit in words"


def _parts(report: Any) -> dict[str, Any]:
    if report is Ellipsis:
        raise Unwritten("Not written yet: the report is still `...`.")
    if not isinstance(report, Mapping):
        raise CheckFailed(NO_DICT.format(found=_kind(report)))
    missing = [key for key in KEYS if key not in report]
    told = {"missing": ", ".join(missing), "keys": ", ".join(KEYS)}
    require(not missing, MISSING.format(**told))
    unknown = [str(key) for key in report if key not in KEYS]
    require(not unknown, UNKNOWN.format(unknown=", ".join(unknown)))
    if any(report[key] is Ellipsis for key in KEYS):
        raise Unwritten("Not written yet: a part of the report is still `...`.")
    return dict(report)


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"


def _words(text: Any, what: str, least: int) -> None:
    """Require a text of some words; their sense is for people to judge."""
    if not isinstance(text, str) or len(text.split()) < least or len(text.strip(" .?!")) < 3:
        raise CheckFailed(SHORT.format(what=what, found=text))


def _listed(values: Any, what: str) -> list[Any]:
    if isinstance(values, np.ndarray | set | frozenset | range) or hasattr(values, "tolist"):
        return list(values.tolist() if hasattr(values, "tolist") else values)
    return a_list(values, what)


def _right(report: Mapping[str, Any], name: str) -> dict[Any, bool]:
    """Whether each item was answered rightly."""
    found = report[name]
    found = found.to_dict() if hasattr(found, "to_dict") else found
    if not isinstance(found, Mapping):
        raise CheckFailed(NO_MAP.format(what=name, found=_kind(found)))
    plain = {
        item: value.item() if hasattr(value, "item") else value for item, value in found.items()
    }
    strange = [value for value in plain.values() if value not in (0, 1)]
    if strange:
        raise CheckFailed(NO_MAP.format(what=name, found=f"{strange[0]!r} for some items"))
    return {item: bool(value) for item, value in plain.items()}


def _share(value: Any, what: str) -> float:
    number = a_number(value.item() if isinstance(value, np.ndarray) else value, what)
    if not -1 <= number <= 1:
        raise CheckFailed(PERCENT.format(what=what, found=f"{number:g}"))
    return number


def _score(value: Any, what: str, right: float, n: int) -> None:
    found = _share(value, what)
    require(abs(found - right) < ROUNDED, SCORE.format(what=what, found=found, n=n, right=right))


def _interval(given: Any, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The interval of the report, if it may be one of own minus baseline."""
    ends = _listed(given, "interval")
    require(len(ends) == 2, f"The interval has {len(ends)} numbers; expected are low and high.")
    low, high = (_share(end, "interval") for end in ends)
    require(low <= high, TURNED_ENDS)
    change, n = after - before, len(after)
    difference, own = float(change.mean()), float(after.mean())
    facts = {"low": low, "high": high, "difference": difference, "own": own}
    if not low - ROUNDED <= difference <= high + ROUNDED:
        reverse = abs(difference) > ROUNDED and low <= -difference <= high
        said = OTHER_SIGN if reverse else OF_THE_SCORE if low <= own <= high else OUTSIDE
        raise CheckFailed(said.format(reverse=-difference, **facts))
    right = 2 * 1.96 * float(change.std()) / math.sqrt(n)
    told = {"found": high - low, "n": n, "differ": int((change != 0).sum()), "right": right}
    require(high - low >= 0.75 * right - 2 * ROUNDED, NARROW.format(**told))
    require(high - low <= 1.25 * right + 2 * ROUNDED + 3 / n, WIDE.format(**told))
    return low, high


def _seeds(given: Any, own: float, n: int) -> None:
    """Several runs, of which a usual one is reported."""
    given = given.to_dict() if hasattr(given, "to_dict") else given
    if not isinstance(given, Mapping):
        raise CheckFailed(NO_SEEDS.format(found=_kind(given)))
    require(len(given) >= 3, SEEDS.format(found=len(given)))
    scores = [_share(score, f"score of seed {seed}") for seed, score in given.items()]
    require(len(set(scores)) > 1 or n < 100, SAME_SEEDS.format(found=scores[0]))
    middle, best = float(np.median(scores)), max(scores)
    known = any(abs(own - score) < ROUNDED for score in scores)
    facts = {"own": own, "low": min(scores), "high": best}
    require(known, NOT_A_SEED.format(**facts))
    picked = abs(own - best) < 1e-6 and best - middle > ROUNDED
    require(not picked, BEST_SEED.format(found=len(scores)))


def _ablation(given: Any) -> None:
    if not isinstance(given, Mapping) or not {"without", "score"} <= given.keys():
        raise CheckFailed(ABLATION.format(found=_kind(given)))
    _words(given["without"], "ablation", 1)
    _share(given["score"], "score of the ablation")


# --- What learners write instead -----------------------------------------------------------------


def _answers(n: int = 100) -> tuple[dict[int, bool], dict[int, bool]]:
    """A baseline that is right on 70 of 100, and a model that is so on 78; 10 differ."""
    baseline = {item: item % 10 < 7 for item in range(n)}
    own = {item: item != 3 if item < 30 else right for item, right in baseline.items()}
    return baseline, own


def ours() -> dict[str, Any]:
    """A report that agrees with itself; its numbers are made up."""
    baseline, own = _answers()
    before, after = (np.array(list(side.values()), float) for side in (baseline, own))
    change = after - before
    wide = 1.96 * float(change.std()) / 10
    low, high = float(change.mean()) - wide, float(change.mean()) + wide
    return {
        "question": "Does the model read product reviews better than single words do?",
        "trained_on": list(range(1000, 1200)),
        "baseline": "logistic regression on words",
        "baseline_right": baseline,
        "own_right": own,
        "baseline_score": float(before.mean()),
        "own_score": float(after.mean()),
        "interval": (low, high),
        "answer": "better" if low > 0 else "worse" if high < 0 else "no clear difference",
        "seeds": {0: float(after.mean()), 1: float(after.mean()) + 0.03, 2: 0.7},
        "ablation": {"without": "the attention layers", "score": 0.71},
        "limit": "Only English reviews of a few products from one shop were read.",
    }


def _but(**changes: Any) -> Callable[[], Any]:
    """Our report with parts exchanged; a function is given the report."""

    def answer() -> Any:
        report = ours()
        return report | {
            name: value(report) if callable(value) else value for name, value in changes.items()
        }

    return answer


def _without(name: str) -> Callable[[], Any]:
    return lambda: {key: value for key, value in ours().items() if key != name}


def _scaled(factor: float) -> Callable[[dict[str, Any]], tuple[float, float]]:
    def interval(report: dict[str, Any]) -> tuple[float, float]:
        low, high = report["interval"]
        middle = (low + high) / 2
        return middle - factor * (high - middle), middle + factor * (high - middle)

    return interval


def _first(name: str) -> Callable[[dict[str, Any]], dict[int, bool]]:
    return lambda report: dict(list(report[name].items())[:20])


def _other(report: dict[str, Any]) -> str:
    return "worse" if report["answer"] != "worse" else "better"


MISTAKES = [
    Mistake(lambda: [1, 2], NO_DICT, compared=False),
    Mistake(_without("limit"), MISSING, compared=False),
    Mistake(_but(sseeds={}), UNKNOWN, compared=False),
    Mistake(_but(question="My model is very good indeed."), QUESTION, compared=False),
    Mistake(_but(limit="none"), SHORT, compared=False),
    Mistake(_but(own_right=[True] * 100), NO_MAP, compared=False),
    Mistake(
        _but(
            own_right=lambda report: {item + 50: now for item, now in report["own_right"].items()}
        ),
        OTHER_ITEMS,
        compared=False,
    ),
    Mistake(
        _but(own_right=_first("own_right"), baseline_right=_first("baseline_right")),
        FEW,
        compared=False,
    ),
    Mistake(_but(trained_on=list(range(90, 300))), LEAK, compared=False),
    Mistake(_but(own_score=lambda report: 100 * report["own_score"]), PERCENT, compared=False),
    Mistake(_but(baseline_score=0.5), SCORE, compared=False),
    Mistake(_but(interval=lambda report: report["interval"][::-1]), TURNED_ENDS, compared=False),
    Mistake(
        _but(interval=lambda report: tuple(-end for end in report["interval"][::-1])),
        OTHER_SIGN,
        compared=False,
    ),
    Mistake(
        _but(interval=lambda report: (report["own_score"] - 0.08, report["own_score"] + 0.08)),
        OF_THE_SCORE,
        compared=False,
    ),
    Mistake(_but(interval=(0.4, 0.5)), OUTSIDE, compared=False),
    Mistake(_but(interval=_scaled(0.5)), NARROW, compared=False),
    Mistake(_but(interval=_scaled(1.7)), WIDE, compared=False),
    Mistake(_but(answer="of course"), VERDICT, compared=False),
    Mistake(_but(answer=_other), CLAIM, compared=False),
    Mistake(_but(seeds={0: 0.8}), SEEDS, compared=False),
    Mistake(_but(seeds=[0.8, 0.7, 0.75]), NO_SEEDS, compared=False),
    Mistake(
        _but(seeds=lambda report: {seed: report["own_score"] - 0.04 * seed for seed in range(4)}),
        BEST_SEED,
        compared=False,
    ),
    Mistake(_but(seeds={0: 0.1, 1: 0.2, 2: 0.3}), NOT_A_SEED, compared=False),
    Mistake(
        _but(seeds=lambda report: dict.fromkeys(range(3), report["own_score"])),
        SAME_SEEDS,
        compared=False,
    ),
    Mistake(_but(ablation="the heads"), ABLATION, compared=False),
]

EXERCISE = Exercise("capstone_report", "capstone", 4, check, mistakes=MISTAKES, ours=ours)
