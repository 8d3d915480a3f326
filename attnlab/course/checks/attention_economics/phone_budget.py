"""Exercise ``phone_budget``: what a model may cost on a given phone."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    Unwritten,
    a_number,
    require,
)
from attnlab.errors import AttnlabError

Phone = dict[str, Any]
Read = Callable[[Phone], Any]

NO_BUDGET = (
    "As result came a {kind}; a Budget is asked for.\nDoes it end in "
    "`return al.economics.Budget(...)`?"
)
CHANGES_PHONE = (
    "Your function changes the dictionary that it was given.\n"
    "Is there a pop(), an update() or an assignment into it? get() only reads."
)
IMPOSSIBLE = (
    "{why}, and yet a budget comes back: {found}.\n"
    "What should happen where nothing is left for the model?"
)
NO_WORDS = "An error is raised, but it has no words.\nWhat would you like to read in its place?"
NOT_GIVEN = (
    "A phone need not have every entry, and this one has only {given}: your function raised "
    "KeyError.\nWhich way of asking a dictionary takes a missing entry for None?"
)
LENGTHS = "Which length do at least 95 of 100 messages not exceed?"


class Asked(Call):
    """A phone, whose dictionary must be the same afterwards."""

    def __init__(self, phone: Phone):
        super().__init__(phone)
        self.phone = phone

    def of(self, function: Callable[..., Any]) -> Any:
        """The budget that a function makes of it."""
        copy = _copied(self.phone)
        result = function(copy)
        require(copy == self.phone, CHANGES_PHONE)
        return result


def check(answer: Answer, draw: Draw) -> Held:
    """``phone_budget(phone)``: the limits of a model on this phone."""
    compared = Comparison(answer, reference, MISTAKES, read=_limits, tolerance=1e-6)
    otherwise = (
        "For {phone} you return {found}; right is {right}.\n"
        "Which entries of the phone belong to this limit, and in which units?"
    )

    def app(*more: str) -> Asked:
        return _phone(draw, "app_megabytes", *more)

    def answers(*more: str) -> Asked:
        return _phone(draw, "ms_per_answer", *more)

    def on(*calls: Callable[[], Asked]) -> None:
        for call in calls:
            given = ", ".join(call().phone)
            try:
                compared.on(call, otherwise, facts=_facts)
            except Unwritten:
                raise
            except CheckFailed as problem:
                told = NOT_GIVEN.format(given=given)
                raise CheckFailed(
                    told if "raised KeyError" in str(problem) else str(problem)
                ) from None

    on(app)
    yield "megabytes, for numbers of 4 bytes"
    on(lambda: app("other_megabytes"))
    yield "what else the app holds is taken off"
    on(lambda: app("bytes_per_weight"), lambda: app("other_megabytes", "bytes_per_weight"))
    yield "megabytes as in float32, whatever the phone's numbers are"
    on(answers, lambda: answers("ms_elsewhere"))
    yield "milliseconds, without what is spent elsewhere"
    on(lambda: answers("slower"), lambda: answers("ms_elsewhere", "slower"))
    yield "milliseconds of this machine, not of the phone"
    on(lambda: _phone(draw, "gflops_per_charge", "answers_per_charge"))
    yield "FLOPs of one answer"
    on(lambda: app("lengths"), lambda: answers("lengths"))
    yield "as many tokens as 95 of 100 messages do not exceed"
    on(lambda: _phone(draw, *ENTRIES), lambda: _phone(draw, *ENTRIES[:4]))
    yield "several limits together"

    for phone, why in _impossible(draw):
        _must_raise(answer, phone, why)
    yield "an error in words where nothing is left for the model"


ENTRIES = (
    "app_megabytes",
    "other_megabytes",
    "ms_per_answer",
    "ms_elsewhere",
    "slower",
    "bytes_per_weight",
    "gflops_per_charge",
    "answers_per_charge",
    "lengths",
)


def reference(phone: Phone) -> dict[str, float]:
    """The limits, from the phone's entries one by one."""
    found = {"tokens": 32.0, "batch": 1.0}
    if "app_megabytes" in phone:
        left = phone["app_megabytes"] - phone.get("other_megabytes", 0)
        found["megabytes"] = left / phone.get("bytes_per_weight", 4) * 4
    if "ms_per_answer" in phone:
        left = phone["ms_per_answer"] - phone.get("ms_elsewhere", 0)
        found["latency_ms"] = left / phone.get("slower", 1)
    if "gflops_per_charge" in phone:
        found["flops"] = phone["gflops_per_charge"] * 1e9 / phone["answers_per_charge"]
    if "lengths" in phone:
        lengths = phone["lengths"]
        enough = [
            length
            for length in lengths
            if 100 * sum(other <= length for other in lengths) >= 95 * len(lengths)
        ]
        found["tokens"] = float(min(enough))
    return found


def _phone(draw: Draw, *entries: str) -> Asked:
    """A phone with some entries."""
    count = (40, 54)[draw.whole(0, 1)]  # 95 % are 38 messages, or 51.3
    ranks = torch.randperm(count, generator=draw.generator).tolist()
    ranks = [max(rank, count // 3) for rank in ranks]  # a third is of the same length
    lengths = [4 + 5 * rank + (60 if rank > 0.9 * count else 0) for rank in ranks]
    whole = {
        "app_megabytes": draw.whole(40, 90),
        "other_megabytes": round(3 + 20 * draw.uniform(), 1),
        "bytes_per_weight": (1, 2, 0.5)[draw.whole(0, 2)],
        "ms_per_answer": draw.whole(150, 300),
        "ms_elsewhere": draw.whole(5, 30),
        "slower": round(1.5 + 2.5 * draw.uniform(), 1),
        "gflops_per_charge": draw.whole(2000, 9000),
        "answers_per_charge": draw.whole(300, 900),
        "lengths": lengths,
    }
    return Asked({name: whole[name] for name in entries})


def _impossible(draw: Draw) -> list[tuple[Phone, str]]:
    """Phones without room or without time, and why."""
    small, hasty = _phone(draw, *ENTRIES[:6]).phone, _phone(draw, *ENTRIES[:6]).phone
    app, patience = small["app_megabytes"], hasty["ms_per_answer"]
    return [
        (small | {"other_megabytes": app + 5}, f"The app may have {app} MB, the rest needs more"),
        (
            small | {"other_megabytes": app},
            f"The app may have {app} MB, the rest needs all of them",
        ),
        (hasty | {"ms_elsewhere": patience + 9}, f"Of {patience} ms all is spent elsewhere"),
        (hasty | {"ms_elsewhere": patience}, f"Of {patience} ms all is spent elsewhere"),
        (hasty | {"app_megabytes": 0}, "The app may have 0 MB"),
        ({}, "The phone limits nothing"),
    ]


def _must_raise(answer: Answer, phone: Phone, why: str) -> None:
    """Fail unless the answer raises an error with words."""
    caught, raised = answer.catching(AttnlabError, ValueError)
    result = Asked(phone).of(caught)
    if not raised:
        _limits(result, {})
        raise CheckFailed(IMPOSSIBLE.format(why=why, found=result))
    require(len(str(raised[0])) > 5, NO_WORDS)


def _limits(result: Any, right: Any) -> dict[str, float]:
    """The limits of a budget, by name."""
    from attnlab.economics import Budget  # takes seconds: not before it is needed

    if isinstance(result, Mapping) and result is right:
        return dict(right)
    if result is None or result is Ellipsis:
        a_number(result, "budget")
    require(isinstance(result, Budget), NO_BUDGET.format(kind=type(result).__name__))
    limits = {name: float(limit) for name, limit in result.limits.items()}
    return limits | {"tokens": float(result.tokens), "batch": float(result.batch)}


def _facts(call: Call, result: Any) -> dict[str, Any]:
    assert isinstance(call, Asked)
    phone, right = call.phone, reference(call.phone)
    entries = [f"{name} {value:g}" for name, value in phone.items() if name != "lengths"]
    entries += [f"{len(phone['lengths'])} lengths"] if "lengths" in phone else []
    found = _limits(result, right)
    return {
        "phone": ", ".join(entries),
        "found": _told(found, right),
        "right": _told(right, found),
        "tokens": f"{found['tokens']:.0f}",
        "enough": f"{right['tokens']:.0f}",
    }


def _told(limits: Mapping[str, float], others: Mapping[str, float]) -> str:
    """Those limits that differ from others, in words."""
    names = [name for name in {**limits, **others} if limits.get(name) != others.get(name)]
    return ", ".join(
        f"{name} {limits[name]:,.6g}" if name in limits else f"no limit of {name}" for name in names
    )


def _copied(phone: Phone) -> Phone:
    return {
        name: list(value) if isinstance(value, list) else value for name, value in phone.items()
    }


# --- What learners write instead -----------------------------------------------------------------


def _left(whole: float, other: float) -> float:
    return whole - other


def _of_95(lengths: list[int]) -> int:
    return int(np.quantile(lengths, 0.95, method="inverted_cdf"))


def _designing(
    room: Callable[[float, float], Any] = _left,
    stored: Callable[[Any, float], float] = lambda left, size: left * 4 / size,
    time: Callable[[float, float, float], Any] = lambda whole, other, slower: (
        (whole - other) / slower
    ),
    flops: Callable[[float, float], float] = lambda gflops, answers: 1e9 * gflops / answers,
    tokens: Callable[[list[int]], int] = _of_95,
    get: Callable[[Phone, str, Any], Any] = lambda phone, name, default: phone.get(name, default),
    more: Mapping[str, Any] | None = None,
    kind: Callable[..., Any] | None = None,
) -> Read:
    """The budget with a part exchanged."""

    def answer(phone: Phone) -> Any:
        from attnlab.economics import Budget

        limits: dict[str, Any] = dict(more or {})
        if get(phone, "app_megabytes", None) is not None:
            left = room(phone["app_megabytes"], get(phone, "other_megabytes", 0))
            if left is not None:
                limits["megabytes"] = stored(left, get(phone, "bytes_per_weight", 4))
        if get(phone, "ms_per_answer", None) is not None:
            limits["latency_ms"] = time(
                phone["ms_per_answer"], get(phone, "ms_elsewhere", 0), get(phone, "slower", 1)
            )
        if get(phone, "gflops_per_charge", None) is not None:
            limits["flops"] = flops(phone["gflops_per_charge"], phone["answers_per_charge"])
        if get(phone, "lengths", None) is not None:
            limits["tokens"] = tokens(phone["lengths"])
        return (kind or Budget)(**limits)

    return answer


def _pops(phone: Phone) -> Any:
    phone.pop("other_megabytes", None)
    return _designing()(phone)


def _interpolated(to: Callable[[float], float], lengths: list[int]) -> int:
    return int(to(float(np.percentile(lengths, 95))))


SPENT = "What is spent elsewhere happens on the phone: "
MISTAKES = [
    Mistake(
        _designing(stored=lambda left, size: left * 1e6 / size),
        "The limit is the number of weights that fit. `megabytes` is asked for.\nHow many bytes "
        "has a weight in float32?",
    ),
    Mistake(
        _designing(stored=lambda left, size: left * 1.048576 * 4 / size),
        "A megabyte counts as 1,048,576 bytes.\nHow many has it in a Budget?",
    ),
    Mistake(
        _designing(stored=lambda left, size: left * 1e6 * 4 / size),
        "The limit is in bytes.\nWhich unit has `megabytes`?",
    ),
    Mistake(
        _designing(room=lambda whole, other: whole),
        "What else the app holds is not taken off.\nWhat is left for the model?",
    ),
    Mistake(
        _designing(room=lambda whole, other: whole + other),
        "What else the app holds is added.\nWhat is left for the model?",
    ),
    Mistake(
        _designing(stored=lambda left, size: left),
        "The limit is in megabytes of the phone's number format. A Budget counts 4 bytes a "
        "weight.\nHow many weights fit, and what do they weigh in float32?",
    ),
    Mistake(
        _designing(stored=lambda left, size: left * size / 4),
        "Smaller numbers make the limit smaller; it should be larger.\nHow many weights fit, and "
        "what do they weigh in float32?",
    ),
    Mistake(
        _designing(stored=lambda left, size: left / size),
        "The limit is in millions of weights.\nWhat do so many weigh in float32?",
    ),
    Mistake(
        _designing(
            room=lambda whole, other: (whole, other),
            stored=lambda left, size: left[0] * 4 / size - left[1],
        ),
        "The rest of the app is taken off after the weights are counted in float32. It weighs what "
        "it weighs on the phone.\nWhich comes first?",
    ),
    Mistake(
        _designing(time=lambda whole, other, slower: whole / slower),
        "What is spent elsewhere is not taken off the time.\nWhat is left for the model?",
    ),
    Mistake(
        _designing(time=lambda whole, other, slower: (whole - other) * slower),
        "A slower phone allows more milliseconds here; it should allow fewer.\nHow long does a "
        "millisecond of this machine take on the phone?",
    ),
    Mistake(
        _designing(time=lambda whole, other, slower: whole - other),
        "These are milliseconds of the phone. A Budget counts those of this machine.\nHow long "
        "does one of them take on the phone?",
    ),
    Mistake(
        _designing(time=lambda whole, other, slower: whole / slower - other),
        f"{SPENT}you take it off after the conversion to this machine.\nWhich comes first?",
    ),
    Mistake(
        _designing(flops=lambda gflops, answers: gflops / answers),
        "The limit is in GFLOPs.\nHow many FLOPs are these?",
    ),
    Mistake(
        _designing(flops=lambda gflops, answers: 1e9 * gflops),
        "The limit of FLOPs is that of the whole charge.\nHow many answers have to be made of it?",
    ),
    Mistake(
        _designing(flops=lambda gflops, answers: 1e6 * gflops / answers),
        "A GFLOP counts as a million FLOPs.\nWhat does the G stand for?",
    ),
    Mistake(
        _designing(flops=lambda gflops, answers: 1e9 * gflops * answers),
        "More answers of a charge allow more FLOPs for each.\nIs something multiplied that should "
        "be divided?",
    ),
    Mistake(
        _designing(tokens=lambda lengths: 32),
        "`tokens` does not depend on the lengths.\nWhere does your function look at them?",
    ),
    Mistake(
        _designing(tokens=max),
        f"{{tokens}} tokens: the longest of all messages decides. One may be cut.\n{LENGTHS}",
    ),
    Mistake(
        _designing(tokens=lambda lengths: round(sum(lengths) / len(lengths))),
        f"{{tokens}} tokens: the mean length decides, and many messages are longer.\n{LENGTHS}",
    ),
    Mistake(
        _designing(tokens=lambda lengths: int(np.median(lengths))),
        f"{{tokens}} tokens: the median decides, and half of the messages are longer.\n{LENGTHS}",
    ),
    Mistake(
        _designing(tokens=lambda lengths: int(0.95 * max(lengths))),
        f"{{tokens}} tokens: 95 % of the longest message.\n{LENGTHS}",
    ),
    Mistake(
        _designing(tokens=lambda lengths: _of_95(sorted(set(lengths)))),
        f"{{tokens}} tokens: each length counts once, however many messages have it.\n{LENGTHS}",
    ),
    *(
        Mistake(
            _designing(tokens=functools.partial(_interpolated, to)),
            "{tokens} tokens: that lies between the lengths of two messages; {enough} is the "
            "smallest that is enough.\nWhich method of np.quantile takes a length that occurs?",
        )
        for to in (np.floor, np.ceil, np.round)
    ),
    Mistake(
        _designing(tokens=lambda lengths: sorted(lengths)[int(0.95 * len(lengths)) - 1]),
        f"{{tokens}} tokens: fewer than 95 of 100 messages are that short; {{enough}} is enough.\n"
        f"{LENGTHS} Does a place in a list count from 0?",
    ),
    Mistake(
        _designing(tokens=lambda lengths: sorted(lengths)[int(0.95 * len(lengths))]),
        f"{{tokens}} tokens: {{enough}} would be enough for 95 of 100 messages.\n{LENGTHS} Does a "
        "place in a list count from 0?",
    ),
    Mistake(
        _designing(tokens=lambda lengths: lengths[int(0.95 * len(lengths))]),
        f"{{tokens}} tokens: that is the length of a message somewhere.\n{LENGTHS} In which order "
        "are they?",
    ),
    Mistake(
        _designing(more={"batch": 32}),
        "The budget is for 32 messages at once.\nHow many does a phone read at a time?",
    ),
    Mistake(_designing(room=lambda whole, other: abs(whole - other)), IMPOSSIBLE, compared=False),
    Mistake(
        _designing(room=lambda whole, other: max(whole - other, 0.1)), IMPOSSIBLE, compared=False
    ),
    Mistake(
        _designing(room=lambda whole, other: whole - other if whole > other else None),
        IMPOSSIBLE,
        compared=False,
    ),
    Mistake(
        _designing(time=lambda whole, other, slower: max(whole - other, 1) / slower),
        IMPOSSIBLE,
        compared=False,
    ),
    Mistake(
        _designing(get=lambda phone, name, default: phone.get(name) or default),
        IMPOSSIBLE,
        compared=False,
    ),
    Mistake(_designing(get=lambda phone, name, default: phone[name]), NOT_GIVEN, compared=False),
    Mistake(_designing(kind=dict), NO_BUDGET, compared=False),
    Mistake(_pops, CHANGES_PHONE, compared=False),
]

EXERCISE = Exercise("phone_budget", "attention_economics", 2, check, mistakes=MISTAKES)
