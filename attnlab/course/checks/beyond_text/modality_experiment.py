"""The exercise ``modality_experiment``."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from attnlab.course.checks.beyond_text.planted import (
    Planted,
    misled,
    often_wrong,
    picture_reader,
    question_reader,
    reader_of_both,
)
from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_list,
    a_number,
    require,
    where,
)
from attnlab.statistics import paired_bootstrap

MODALITIES = ("image", "question")
BASELINE = (
    "The model is never asked with everything as it is.\nWhat is the accuracy without a modality "
    "compared with?"
)
BOTH = (
    "Pictures and questions are shuffled in the same call.\nIf accuracy falls then, which of the "
    "two was missed?"
)
TOGETHER = (
    "Pictures and questions are shuffled together, so that each picture keeps its question.\nWhat "
    "does the model miss then?"
)
INVENTED = (
    "The model is given {what} that are none of the examples, such as black pictures.\nIt never "
    "saw their like, so a fall of accuracy says little: take those of other examples."
)
SAME = (
    "With the {what} of other examples the model is never asked.\nIs the shuffled one handed over?"
)
SINGLE = (
    "All examples are given the same {what}.\nThen accuracy hangs on that one: shuffle those of "
    "all examples."
)
IN_PLACE = (
    "Your function changes the {what} that it was given, and every later call sees them so.\nDoes "
    "`shuffle` work in place? `permutation` makes a new array."
)
PARTS = (
    "The model is asked about {found} of {n} examples at once.\nAsk about all of them in one "
    "call: others are drawn among all."
)
KEYS = "Expected a dict with the keys 'image' and 'question'; {found} came back."
UNSEEDED = (
    "Two calls with the same seed give different numbers.\nIs the generator made from `seed`, "
    "inside of the function?"
)
SEEDLESS = "The seed has no effect.\nIs `seed` given to np.random.default_rng?"
SIGN = (
    "For {what} the drop is {found:+.2f}; accuracy goes from {before:.2f} to {after:.2f}.\nA fall "
    "should be a positive drop: before minus after."
)
AFTER = (
    "For {what} the accuracy without it came back, {after:.2f}.\nHow far has it fallen from "
    "{before:.2f}?"
)
SWAPPED = "The drops of the two modalities have changed places.\nWhich one was shuffled?"
RELATIVE = (
    "For {what} the drop is given as a share of the accuracy before.\nThe difference is asked for."
)
CHANGED = (
    "For {what} the share of answers that changed came back.\nA wrong answer that becomes another "
    "wrong one costs no accuracy."
)
PERCENT = (
    "For {what} the drop is given in percentage points.\nA fall from {before:.2f} to {after:.2f} "
    "is {drop:+.2f}."
)
NO_SIGN = (
    "For {what} it is counted how many examples change, gained or lost: {found:.2f}.\nAccuracy "
    "goes from {before:.2f} to {after:.2f}: a model may do better without a modality."
)
DROP = (
    "For {what} the drop is {found:+.3f}; accuracy goes from {before:.3f} to {after:.3f}, which is "
    "{drop:+.3f}."
)
TURNED = "For {what} the upper end of the interval comes first.\nExpected is drop, low, high."
OUTSIDE = "For {what} the interval from {low:.3f} to {high:.3f} does not hold the drop, {drop:.3f}."
UNPAIRED = (
    "For {what} the interval is {found:.3f} wide; that of the paired difference is {right:.3f}.\n"
    "Both answers are to the same examples: take the difference for each example first."
)
NARROW = (
    "For {what} the interval is {found:.3f} wide; a 95 % interval is {right:.3f}.\nIs that a "
    "standard error, or a bootstrap with too few draws?"
)
OTHER_LEVEL = (
    "Over all models, your intervals are {found:.2f} times as wide as 95 % intervals.\nBetween "
    "which two quantiles of the bootstrap do 95 % of its draws lie?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``modality_experiment(answer, images, questions, labels, seed=0)``: drops with intervals."""
    n, wider = 240, []
    for made, held in (
        (picture_reader, "a model that reads pictures alone"),
        (question_reader, "a model that reads questions alone, though pictures would do as well"),
        (reader_of_both, "a model that needs both"),
        (often_wrong, "a model that is often wrong, and rarely by the picture"),
        (misled, "a model that its pictures mislead, and that would do better without"),
    ):
        planted = made(draw, n)
        with where(f"For {held}:"):
            wider += _judge(answer, planted, draw.whole(0, 99))
        yield held
    times = float(np.mean(wider))
    require(0.9 <= times <= 1.17, OTHER_LEVEL.format(found=times))
    yield "intervals of 95 %"
    planted = reader_of_both(draw, n)
    again: list[dict[str, tuple[float, float, float]]] = []
    asked: list[list[tuple[bytes, Any]]] = []
    for seed in (3, 3, 4):
        planted.calls.clear()
        again.append(_experimented(answer, planted, seed))
        asked.append([(images.tobytes(), questions) for images, questions, _ in planted.calls])
    require((again[0], asked[0]) == (again[1], asked[1]), UNSEEDED)
    require(asked[0] != asked[2], SEEDLESS)  # numbers may agree by chance
    yield "the same seed gives the same numbers"


def _experimented(
    answer: Answer, planted: Planted, seed: int
) -> dict[str, tuple[float, float, float]]:
    """The numbers that come back; the arrays must be the same afterwards."""
    images, labels = planted.images.copy(), copy.copy(planted.labels)
    result = answer(planted.answer, images, planted.questions, labels, seed=seed)
    require(np.array_equal(images, planted.images), IN_PLACE.format(what="pictures"))
    require(np.array_equal(labels, planted.labels), IN_PLACE.format(what="labels"))
    return _drops(result)


def _judge(answer: Answer, planted: Planted, seed: int) -> list[float]:
    """Look at what the model was asked, and at the numbers that came back.

    Returns how many times as wide as they should be the intervals are that have a width.
    """
    found = _experimented(answer, planted, seed)
    before, without = _asked(planted)
    wider = []
    for name in MODALITIES:
        facts = {"what": f"'{name}'"}
        drops = [before.mean() - after.mean() for after in without[name]]
        if not min(drops) - 1e-6 <= found[name][0] <= max(drops) + 1e-6:
            raise CheckFailed(_wrong_drop(name, found, before, without, planted))
        drop, low, high = found[name]
        change = before.astype(float) - np.mean(without[name], 0)
        expected = paired_bootstrap(change)
        wide = float(expected[1] - expected[0])
        require(low <= high, TURNED.format(**facts))
        if not low - 1e-9 <= drop <= high + 1e-9:
            raise CheckFailed(OUTSIDE.format(low=low, high=high, drop=drop, **facts))
        facts |= {"found": f"{high - low:.3f}", "right": f"{wide:.3f}"}
        require(high - low <= 1.5 * wide + 0.004, _filled(UNPAIRED, facts))
        require(high - low >= 0.65 * wide - 0.004, _filled(NARROW, facts))
        if wide > 0.02:  # else a single example counts for too much
            wider.append((high - low) / wide)
    return wider


def _filled(text: str, facts: dict[str, str]) -> str:
    return (
        text.replace("{found:.3f}", facts["found"])
        .replace("{right:.3f}", facts["right"])
        .replace("{what}", facts["what"])
    )


def _drops(result: Any) -> dict[str, tuple[float, float, float]]:
    """What came back, as three numbers for each modality."""
    if not isinstance(result, dict) or set(result) != set(MODALITIES):
        told = f"the keys {sorted(map(str, result))}" if isinstance(result, dict) else "none"
        raise CheckFailed(KEYS.format(found=told))
    found = {}
    for name in MODALITIES:
        values = result[name]
        values = a_list(
            values.tolist() if isinstance(values, np.ndarray) else values, f"result['{name}']"
        )
        require(
            len(values) == 3,
            f"result['{name}'] has {len(values)} numbers; expected drop, low and high.",
        )
        plain = [
            value.item() if np.ndim(value) == 0 and hasattr(value, "item") else value
            for value in values
        ]
        first, second, third = (a_number(value, f"result['{name}']") for value in plain)
        found[name] = (float(first), float(second), float(third))
    return found


def _asked(planted: Planted) -> tuple[np.ndarray, dict[str, list[np.ndarray]]]:
    """Which answers were right with everything as it is, and without each modality."""
    n, labels = len(planted.images), np.asarray(planted.labels)
    known = {image.tobytes() for image in planted.images}
    before: np.ndarray | None = None
    without: dict[str, list[np.ndarray]] = {name: [] for name in MODALITIES}
    for images, questions, answers in planted.calls:
        if len(images) != n:
            raise CheckFailed(PARTS.format(found=len(images), n=n))
        strange = [image.tobytes() not in known for image in images]
        require(not any(strange), INVENTED.format(what="pictures"))
        require(set(questions) <= set(planted.questions), INVENTED.format(what="questions"))
        distinct = {image.tobytes() for image in images}
        require(len(distinct) > 1, SINGLE.format(what="picture"))
        require(len(set(questions)) > 1, SINGLE.format(what="question"))
        same = (images == planted.images).all(), questions == planted.questions
        right = answers == labels
        if all(same):
            before = right
        elif not any(same):
            pairs = {
                (i.tobytes(), q) for i, q in zip(planted.images, planted.questions, strict=True)
            }
            kept = all((i.tobytes(), q) in pairs for i, q in zip(images, questions, strict=True))
            raise CheckFailed(TOGETHER if kept else BOTH)
        else:
            without["image" if same[1] else "question"].append(right)
    if before is None:
        raise CheckFailed(BASELINE)
    for name, what in zip(MODALITIES, ("pictures", "questions"), strict=True):
        require(bool(without[name]), SAME.format(what=what))
    return before, without


def _wrong_drop(
    name: str,
    found: dict[str, tuple[float, float, float]],
    before: np.ndarray,
    without: dict[str, list[np.ndarray]],
    planted: Planted,
) -> str:
    """What is said of a drop that is wrong."""
    value, accuracy = found[name][0], float(before.mean())
    after = float(np.mean([right.mean() for right in without[name]]))
    facts = {"what": f"'{name}'", "found": value, "before": accuracy, "after": after}
    facts["drop"] = accuracy - after
    other = MODALITIES[1 - MODALITIES.index(name)]
    theirs = accuracy - float(np.mean([right.mean() for right in without[other]]))
    plain = planted.calls[0][2]
    changed = [float((answers != plain).mean()) for *_, answers in planted.calls[1:]]
    for sentence, guess in (
        (SIGN, after - accuracy),
        (AFTER, after),
        (SWAPPED, theirs),
        *((NO_SIGN, float((before != right).mean())) for right in without[name]),
        (PERCENT, 100 * (accuracy - after)),
        (RELATIVE, (accuracy - after) / accuracy if accuracy else np.nan),
        *((CHANGED, share) for share in changed),
    ):
        if abs(value - guess) < 1e-6:
            return sentence.format(**facts)
    return DROP.format(**facts)


# --- What learners write instead -----------------------------------------------------------------


def _permutation(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(n)


def _other_questions(questions: list[str], order: np.ndarray) -> list[str]:
    return [questions[index] for index in order]


def _experiment(
    *,
    image: Callable[..., Any] = lambda images, order: images[order],
    question: Callable[..., Any] = _other_questions,
    other: bool = False,
    result: Callable[[np.ndarray, np.ndarray], Any] | None = None,
    order: Callable[[int, int], np.ndarray] = _permutation,
    names: tuple[str, str] = MODALITIES,
    baseline: bool = True,
) -> Callable[..., Any]:
    """The experiment with a part exchanged."""
    told = result or (
        lambda before, after: (_mean(before - after), *paired_bootstrap(before - after))
    )

    def answer(answer: Any, images: Any, questions: Any, labels: Any, seed: int = 0) -> Any:
        labels, rows = np.asarray(labels), order(seed, len(labels))
        before = np.ones(len(labels))
        if baseline:
            before = (np.asarray(answer(images, questions)) == labels).astype(float)
        shuffled = image(images, rows), question(questions, rows)
        without = (
            answer(shuffled[0], shuffled[1] if other else questions),
            answer(shuffled[0] if other else images, shuffled[1]),
        )
        return {
            name: told(before, (np.asarray(found) == labels).astype(float))
            for name, found in zip(names, without, strict=True)
        }

    return answer


def _mean(differences: np.ndarray) -> float:
    return float(differences.mean())


def _unpaired(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    drop = _mean(before) - _mean(after)
    error = 1.96 * ((before.var() + after.var()) / len(before)) ** 0.5
    return drop, drop - error, drop + error


def _of_the_error(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    drop, error = _mean(before - after), float((before - after).std() / len(before) ** 0.5)
    return drop, drop - error, drop + error


def _as_array(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.array([_mean(before - after), *paired_bootstrap(before - after)])


def _without_signs(before: np.ndarray, after: np.ndarray) -> tuple[Any, ...]:
    return _mean(abs(before - after)), *paired_bootstrap(abs(before - after))


def _of_90_percent(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    drop, error = _mean(before - after), float((before - after).std() / len(before) ** 0.5)
    return drop, drop - 1.645 * error, drop + 1.645 * error


def _shuffled_in_place(answer: Any, images: Any, *others: Any, seed: int = 0) -> Any:
    def shuffled(images: np.ndarray, order: np.ndarray) -> np.ndarray:
        images[:] = images[order]
        return images

    return _experiment(image=shuffled)(answer, images, *others, seed)


def _turned(sign: Callable[[np.ndarray, np.ndarray], Any]) -> Callable[..., Any]:
    return _experiment(result=sign)


MISTAKES = [
    Mistake(_experiment(baseline=False), BASELINE, compared=False),
    Mistake(_experiment(other=True), TOGETHER, compared=False),
    Mistake(
        _experiment(other=True, question=lambda questions, order: [*questions[1:], questions[0]]),
        BOTH,
        compared=False,
    ),
    Mistake(_experiment(image=lambda images, order: images * 0), INVENTED, compared=False),
    Mistake(
        _experiment(question=lambda questions, order: ["" for _ in questions]),
        INVENTED,
        compared=False,
    ),
    Mistake(_experiment(image=lambda images, order: images), SAME, compared=False),
    Mistake(
        _experiment(question=lambda questions, order: questions),
        SAME,
        compared=False,
    ),
    Mistake(_experiment(names=("question", "image")), SWAPPED, compared=False),
    Mistake(_experiment(names=("picture", "text")), KEYS, compared=False),
    Mistake(
        _turned(lambda before, after: (_mean(after - before), *paired_bootstrap(after - before))),
        SIGN,
        compared=False,
    ),
    Mistake(
        _turned(lambda before, after: (_mean(after), *paired_bootstrap(after))),
        AFTER,
        compared=False,
    ),
    Mistake(_turned(lambda before, after: 100 * _as_array(before, after)), PERCENT, compared=False),
    Mistake(
        _experiment(image=lambda images, order: images[order[:1].repeat(len(order))]),
        SINGLE,
        compared=False,
    ),
    Mistake(_shuffled_in_place, IN_PLACE, compared=False),
    Mistake(
        _turned(lambda before, after: _as_array(before, after)[[0, 2, 1]]), TURNED, compared=False
    ),
    Mistake(_turned(_of_90_percent), OTHER_LEVEL, compared=False),
    Mistake(_turned(_without_signs), NO_SIGN, compared=False),
    Mistake(_turned(_unpaired), UNPAIRED, compared=False),
    Mistake(_turned(_of_the_error), NARROW, compared=False),
    Mistake(
        _turned(lambda before, after: (_mean(before - after), *paired_bootstrap(after - before))),
        OUTSIDE,
        compared=False,
    ),
    Mistake(
        _experiment(order=lambda seed, n: np.random.default_rng().permutation(n)),
        UNSEEDED,
        compared=False,
    ),
    Mistake(
        _experiment(order=lambda seed, n: np.random.default_rng(0).permutation(n)),
        SEEDLESS,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "modality_experiment",
    "beyond_text",
    3,
    check,
    frozenset({"modality_use", "attnlab.modality_use"}),
    MISTAKES,
)
