"""Exercise ``calibration_error``: how far confidence is from accuracy, at a temperature."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_number,
    require,
)

PERCENT = "You return {found:.3g}; a share from 0 to 1 is asked for.\nIs there a factor of 100?"


def check(answer: Answer, draw: Draw) -> Held:
    """``calibration_error(logits, labels, temperature, bins)``: the expected calibration error."""

    def answers(
        texts: int, classes: int = 2, size: float = 2.0, wrong: float = 0.2
    ) -> tuple[Tensor, Tensor]:
        logits = size * draw.normal(texts, classes)
        guesses = logits.argmax(-1)
        others = (guesses + 1) % classes
        share = wrong * (1 + draw.uniform())
        missed = torch.rand(texts, generator=draw.generator) < share
        return logits, torch.where(missed, others, guesses)

    def one_bin() -> Call:
        count = draw.whole(24, 36)
        logits = torch.stack([torch.zeros(count), 1.6 + 0.15 * draw.normal(count).tanh()], 1)
        labels = torch.ones(count, dtype=torch.long)
        labels[: draw.whole(4, 14)] = 0
        return Call(logits, labels, 1.0, 10)

    def two_classes() -> Call:  # less sure than they might be, so that signs can be told apart
        return Call(*answers(draw.whole(80, 120), size=0.7, wrong=0.04), 1.0, 10)

    def warmer() -> Call:
        return Call(*answers(draw.whole(80, 120)), 1.4 + draw.uniform(), 10)

    def more_classes() -> Call:
        return Call(*answers(draw.whole(80, 120), 4), 1.3 + draw.uniform(), draw.whole(5, 8))

    def very_sure() -> Call:
        logits, labels = answers(draw.whole(30, 50), 3, 90.0)
        return Call(logits, labels, 0.5, 10)

    compared = Comparison(answer, reference, MISTAKES, read=_read, tolerance=1e-4)
    for situation, otherwise, held in (
        (
            one_bin,
            "Where all answers fall into one bin the error is wrong.\n"
            "Mean confidence and share of right answers: how far are they apart?",
            "one bin: the distance of confidence from accuracy",
        ),
        (
            two_classes,
            "Where answers fall into several bins the error is wrong.\n"
            "How much does each bin count?",
            "several bins, each with the weight of its answers",
        ),
        (
            warmer,
            "With another temperature the error is wrong.\nWhat is divided by it, and when?",
            "logits are divided by the temperature",
        ),
        (
            more_classes,
            "With more than two classes, or another number of bins, the error is wrong.\n"
            "Is a number typed in?",
            "any number of classes and bins",
        ),
        (
            very_sure,
            "Where answers have a confidence of exactly 1 the error is wrong.\n"
            "Into which bin do they fall?",
            "a confidence of 1 belongs to the last bin",
        ),
    ):
        given = "\nIt should be {right:.4f}; you return {found}."
        compared.on(situation, otherwise + given, facts=_facts)
        yield held


def reference(logits: Tensor, labels: Tensor, temperature: float, bins: int = 10) -> float:
    """By the signed gaps of the answers, summed in each bin."""
    shares = (logits.double() / temperature).softmax(-1)
    confidence, guesses = shares.max(-1)
    places = (confidence.float() * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins, dtype=torch.double)
    gaps.index_add_(0, places, confidence - (guesses == labels).double())
    return float(gaps.abs().sum() / len(labels))


def _read(result: Any, right: float) -> float:
    found = a_number(result, "calibration error")
    times_hundred = right > 1e-4 and abs(found - 100 * right) < 0.01 * found
    require(not times_hundred, PERCENT.format(found=found))
    return found


def _facts(call: Call, result: Any) -> dict[str, Any]:
    return {"found": result, "right": call.of(reference)}


# --- What learners write instead -----------------------------------------------------------------


def _calibrating(
    shares: Callable[[Tensor, float], Tensor] = lambda logits, t: (logits / t).softmax(-1),
    sure: Callable[[Tensor, Tensor], Tensor] = lambda shares, labels: shares.max(-1).values,
    gap: Callable[[Tensor, Tensor], Tensor] = lambda sure, right: (
        sure.mean() - right.mean()
    ).abs(),
    weight: Callable[[int, int, int], float] = lambda inside, texts, used: inside / texts,
    inside: Callable[[Tensor, int, int], Tensor] = lambda sure, number, bins: (
        (sure * bins).long().clamp(max=bins - 1) == number
    ),
) -> Callable[..., float]:
    """The calibration error with a part exchanged."""

    def answer(logits: Tensor, labels: Tensor, temperature: float, bins: int = 10) -> float:
        stated = shares(logits, temperature)
        confidence, right = sure(stated, labels), (stated.argmax(-1) == labels).float()
        places = [inside(confidence, number, bins) for number in range(bins)]
        places = [place for place in places if place.any()]
        total = 0.0
        for place in places:
            share = weight(int(place.sum()), len(labels), len(places))
            total += share * gap(confidence[place], right[place]).item()
        return total

    return answer


def _quantiles(sure: Tensor, number: int, bins: int) -> Tensor:
    ranks = sure.argsort().argsort()
    return ranks * bins // len(sure) == number


MISTAKES = [
    Mistake(
        _calibrating(gap=lambda sure, right: sure.mean() - right.mean()),
        "Gaps have a sign, so that bins which are too sure make up for bins which are not sure "
        "enough.\nWhich size of each gap counts?",
    ),
    Mistake(
        _calibrating(gap=lambda sure, right: (sure - right).abs().mean()),
        "You take the distance for each answer, and an answer is right or wrong: 80 % sure and "
        "right counts as .2.\nWhat is averaged over a bin before the two are compared?",
    ),
    Mistake(
        _calibrating(gap=lambda sure, right: (sure.mean() - right.mean()) ** 2),
        "The gaps are squared.\nHow is the error of a bin defined?",
    ),
    Mistake(
        _calibrating(sure=lambda shares, labels: shares.gather(1, labels[:, None])[:, 0]),
        "The confidence is the probability of the label, which the model does not know.\n"
        "How sure is it of what it answered?",
    ),
    Mistake(
        _calibrating(sure=lambda shares, labels: shares[:, 1]),
        "The confidence is the probability of class 1, whatever the answer is.\n"
        "How sure is it of what it answered?",
    ),
    Mistake(
        _calibrating(inside=lambda sure, number, bins: torch.full_like(sure, number).eq(0)),
        "All answers are in one bin: what is too sure here makes up for what is not there.\n"
        "Where do you divide the answers by their confidence?",
    ),
    Mistake(
        _calibrating(inside=_quantiles),
        "Your bins hold as many answers each; they should be equally wide.\n"
        "Which confidences belong to bin 0 of 10?",
    ),
    Mistake(
        _calibrating(
            inside=lambda sure, number, bins: (
                (sure >= number / bins)
                & ((sure < (number + 1) / bins) if number + 1 < bins else sure < 1)
            )
        ),
        "Answers with a confidence of exactly 1 are in no bin.\nWhere does the last bin end?",
    ),
    Mistake(
        _calibrating(weight=lambda inside, texts, used: 1 / used),
        "Every bin counts the same, be there 1 answer in it or 100.\n"
        "What share of all answers does each bin hold?",
    ),
    Mistake(
        _calibrating(weight=lambda inside, texts, used: 1.0),
        "The gaps of the bins are added up, without a weight.\n"
        "What share of all answers does each bin hold?",
    ),
    Mistake(
        _calibrating(shares=lambda logits, t: logits.softmax(-1)),
        "The temperature changes nothing.\nWhat is divided by it before the softmax?",
    ),
    Mistake(
        _calibrating(shares=lambda logits, t: (logits * t).softmax(-1)),
        "The logits are multiplied by the temperature: then a high one makes surer.\n"
        "What does a temperature of 2 do to logits of 3 and 1?",
    ),
    Mistake(
        _calibrating(shares=lambda logits, t: logits.softmax(-1) / t),
        "The probabilities are divided by the temperature, and do not sum to 1 any more.\n"
        "What is divided before the softmax?",
    ),
    Mistake(
        lambda *given: 100 * reference(*given),
        PERCENT,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "calibration_error", "finetune_bert", 3, check, mistakes=MISTAKES, ours=reference
)
