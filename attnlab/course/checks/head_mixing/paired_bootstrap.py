"""Exercise ``paired_bootstrap``: the interval of a change, measured on the same sentences."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from attnlab.course.checks.examiner import (
    CHANGES_ARRAY,
    Answer,
    ArrayCall,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_number,
    a_pair,
    require,
)

Values = npt.NDArray[Any]
Generator = np.random.Generator

TOLERANCE = 0.055  # as a share of the right interval's width; chance is below 0.01 in 6000 draws
DRAWS = 6000

OUT_OF_REACH = (
    "{changed} of {n} answers got better and none worse, but your interval begins at {low:.3f}: no "
    "resample can have such a mean.\n"
    "Is it mean ± 1.96 standard deviations? Which quantiles should it be?"
)
NOT_REPEATED = (
    "With the same generator, begun anew, another interval comes out.\n"
    "Do all random numbers come from `generator`?"
)
ALWAYS_THE_SAME = (
    "With another generator exactly the same interval comes out.\n"
    "Do the random numbers come from `generator`, or from one that you make?"
)
WITHOUT_DRAWS = (
    "With draws = 1 there is a single mean, and both ends should be this one; yours differ.\n"
    "Where does `draws` come in?"
)

RESAMPLE_SIZE = (
    "Resampling two sentences with the changes 0 and 1 gives the means {means}; it should be 0, "
    "0.5 and 1.\nHow many sentences does each resample hold?"
)
NOT_ALIKE = (
    "Of three sentences one got better by 1. In one of 27 resamples this one is drawn three times, "
    "so the interval should end at 1; it ends at {first:.3g} where it is the first sentence, at "
    "{last:.3g} where it is the last.\n"
    "Can every sentence be drawn, each as likely as any other?"
)
NOT_SCALED = (
    "With changes {factor:g} times as large the interval is not {factor:g} times as large.\n"
    "Is an end rounded, or limited?"
)
OTHER_SHARES = (
    "Between two means your interval covers the share {share:.4g}; from 2.5 % to 97.5 % it is 0.95 "
    "of their distance, which is 0.5 or 1.\nWhich two quantiles do you take?"
)


class Resampling(ArrayCall):
    """Measurements before and after, to be resampled with a generator of a given seed."""

    def __init__(self, before: Values, after: Values, draws: int, seed: int):
        super().__init__(before, after, draws)
        self.seed = seed

    def of(self, function: Callable[..., Any]) -> Any:
        """The result of a function with a generator of its own."""
        generator = np.random.default_rng(self.seed)
        return super().of(lambda *arguments: function(*arguments, generator))

    def ends(self, answer: Answer) -> tuple[float, float]:
        """The two ends of the answer's interval."""
        return _ends(self.of(answer))


def check(answer: Answer, draw: Draw) -> Held:
    """``paired_bootstrap(before, after, draws, generator)``: a 95 % interval of a change."""

    def hard_and_easy_sentences() -> Resampling:
        n, side = 120, draw.whole(0, 1) * 2 - 1
        before = 3 + 3 * draw.normal(n).double().numpy()
        after = before + side * 0.25 + 0.5 * draw.normal(n).double().numpy()
        return Resampling(before, after, DRAWS, draw.whole(0, 999))

    Comparison(answer, reference, MISTAKES, read=_relative, tolerance=TOLERANCE, draws=1).on(
        hard_and_easy_sentences,
        "It should be about {low:.3f} to {high:.3f}; yours is {found}.\n"
        "Sentences drawn with replacement, the mean of their changes, again and again: which step "
        "differs?",
        facts=_facts,
    )
    yield "the middle 95 % of the means of resampled differences"

    changed, n = draw.whole(2, 3), 50
    before, after = np.zeros(n), (np.arange(n) < changed).astype(float)
    low, _ = Resampling(before, after, 1000, draw.whole(0, 999)).ends(answer)
    require(low >= -1e-9, OUT_OF_REACH.format(changed=changed, n=n, low=low))
    yield "quantiles, which stay where means can be"

    before, after = 3 * draw.normal(2, 40).double().numpy()
    seed = draw.whole(0, 999)
    first, again = (Resampling(before, after, 50, seed).ends(answer) for _ in range(2))
    require(first == again, NOT_REPEATED)
    other = Resampling(before, after, 50, seed + 1).ends(answer)
    require(first != other, ALWAYS_THE_SAME)
    yield "random numbers from the generator, and from nowhere else"

    for factor in (1e-4, 1e3):
        scaled = Resampling(factor * before, factor * after, 50, seed).ends(answer)
        right = np.allclose(np.divide(scaled, factor), first, rtol=1e-4, atol=1e-5)
        require(right, NOT_SCALED.format(factor=factor))
    yield "changes of any size"

    low, high = Resampling(before, after, 1, seed).ends(answer)
    require(abs(high - low) < 1e-9, WITHOUT_DRAWS)
    yield "as many draws as asked for"
    _of_few_sentences(answer)
    yield "as many sentences in each as there are, all alike; 2.5 % and 97.5 % to the letter"


def _of_few_sentences(answer: Answer) -> None:
    """Of the changes 0 and 1 resamples of two have the means 0, 1/2 and 1, and no other.

    Of three sentences each is drawn as often as any other.
    """
    before, after = np.zeros(2), np.array([0.0, 1.0])
    single = {Resampling(before, after, 1, seed).ends(answer)[0] for seed in range(24)}
    near = {round(2 * mean, 6) for mean in single}
    always_one_sentence = near in ({0}, {2})
    require(
        near == {0, 1, 2} or always_one_sentence,
        RESAMPLE_SIZE.format(means=", ".join(map("{:.3g}".format, sorted(single)))),
    )
    for seed in () if always_one_sentence else range(12):
        low, high = Resampling(before, after, 2, seed).ends(answer)
        # between the two means, or, where no mean lies between them, at the means themselves
        within = any(abs(high - low - apart) < 1e-6 for apart in (0, 0.475, 0.5, 0.95, 1))
        require(within, OTHER_SHARES.format(share=high - low))
    first, last = (
        Resampling(np.zeros(3), np.eye(3)[place], 4000, 0).ends(answer)[1] for place in (0, 2)
    )
    alike = not always_one_sentence and min(first, last) > 1 - 1e-6
    require(alike, NOT_ALIKE.format(first=first, last=last))


def reference(
    before: Values, after: Values, draws: int, generator: Generator
) -> tuple[float, float]:
    """What resampling comes to for many sentences: the mean change ± 1.96 standard errors."""
    change = after - before
    mean, error = float(change.mean()), float(change.std()) / math.sqrt(len(change))
    return mean - 1.96 * error, mean + 1.96 * error


def _ends(result: Any) -> tuple[float, float]:
    """The two ends, finite numbers."""
    if isinstance(result, Tensor | np.ndarray):
        result = result.tolist()
    if isinstance(result, float):
        raise CheckFailed(
            "One number came back; an interval has two ends.\nDoes it end in `return low, high`?"
        )
    low, high = (
        end.item() if isinstance(end, Tensor | np.ndarray) and end.shape == () else end
        for end in a_pair(result, "low", "high")
    )
    return a_number(low, "low"), a_number(high, "high")


def _relative(result: Any, right: tuple[float, float]) -> list[float]:
    """The ends on a scale on which the right interval goes from 0 to 1."""
    return [(end - right[0]) / (right[1] - right[0]) for end in _ends(result)]


def _facts(call: Call, result: Any) -> dict[str, Any]:
    low, high = call.of(reference)
    try:
        found = "{:.3f} to {:.3f}".format(*_ends(result))
    except CheckFailed:
        found = "something else"
    return {"low": low, "high": high, "found": found, "draws": DRAWS}


# --- What learners write instead -----------------------------------------------------------------


def _resampled_means(change: Values, draws: int, generator: Generator) -> Values:
    return generator.choice(change, (draws, len(change))).mean(1)


def _means_of_size(more: int, change: Values, draws: int, generator: Generator) -> Values:
    return generator.choice(change, (draws, len(change) + more)).mean(1)


def _drawing(
    change: Callable[[Values, Values], Values] = lambda before, after: after - before,
    means_of: Callable[[Values, int, Generator], Values] = _resampled_means,
    ends: Callable[[Values, Values], Any] = lambda means, change: np.quantile(
        means, [0.025, 0.975]
    ),
) -> Callable[..., Any]:
    """The bootstrap with a part exchanged."""

    def answer(before: Values, after: Values, draws: int, generator: Generator) -> Any:
        changes = change(before, after)
        return ends(means_of(changes, draws, generator), changes)

    return answer


_right = _drawing()


def _quantiles(low: float, high: float) -> Callable[..., Any]:
    return _drawing(ends=lambda means, change: np.quantile(means, [low, high]))


def _around_the_mean(deviations: float) -> Callable[..., Any]:
    """The mean change, give or take so many standard deviations of the sentences' changes."""
    return _drawing(
        ends=lambda means, change: change.mean() + deviations * change.std() * np.array([-1, 1])
    )


def _drawn_apart(before: Values, after: Values, draws: int, generator: Generator) -> Any:
    shape = (draws, len(before))
    first, second = (generator.choice(values, shape).mean(1) for values in (before, after))
    return np.quantile(second - first, [0.025, 0.975])


def _ends_half_as_often(change: Values, draws: int, generator: Generator) -> Values:
    places = generator.random((draws, len(change))) * (len(change) - 1)
    return change[np.rint(places).astype(int)].mean(1)


def _never_the_last(change: Values, draws: int, generator: Generator) -> Values:
    return change[generator.integers(0, len(change) - 1, (draws, len(change)))].mean(1)


def _shuffled(change: Values, draws: int, generator: Generator) -> Values:
    return np.array([generator.permutation(change).mean() for _ in range(draws)])


def _global_state(before: Values, after: Values, draws: int, generator: Generator) -> Any:
    # the old global state is the mistake
    seed = np.random.randint(1000)  # noqa: NPY002
    return _right(before, after, draws, np.random.default_rng(seed))


def _subtracted_in_place(before: Values, after: Values, draws: int, generator: Generator) -> Any:
    after -= before
    return _right(0 * after, after, draws, generator)


def _roughly(tolerance: float) -> Callable[[Any, Any], bool]:
    """Ends that are alike up to a share of the right interval's width; for wilder mistakes."""
    return lambda result, mistaken: bool(np.allclose(result, mistaken, rtol=0.1, atol=tolerance))


MISTAKES = [
    Mistake(
        _quantiles(0.975, 0.025),
        "The upper end comes first.\nIn which order does the docstring name the two?",
    ),
    Mistake(
        _drawing(ends=lambda means, change: np.quantile(change, [0.025, 0.975])),
        "These are quantiles of the sentences' own changes; of one sentence you would expect that. "
        "The mean of many varies less.\nOf what should the quantiles be taken?",
    ),
    Mistake(
        _around_the_mean(1.96),
        "The interval is as wide as the changes of single sentences vary, mean ± 1.96 standard "
        "deviations. The mean of many varies less.\n"
        "Where are the means of resampled sentences?",
    ),
    Mistake(
        _around_the_mean(1),
        "The interval is the mean change ± one standard deviation of the sentences. The mean of "
        "many varies less.\nWhere are the means of resampled sentences?",
    ),
    Mistake(
        _drawing(means_of=_shuffled),
        "The interval has no width: all resamples have the same mean.\n"
        "Without replacement each holds all sentences, once: how do you draw?",
    ),
    Mistake(
        _drawing(change=lambda before, after: before - after),
        "The sign is turned: it is the change from after to before.\n"
        "Which of the two is subtracted from the other?",
    ),
    Mistake(
        _drawing(ends=lambda means, change: np.quantile(means - change.mean(), [0.025, 0.975])),
        "The interval lies around 0, not around the change that was measured.\n"
        "That would test for chance: is the mean subtracted, or are before and after swapped at "
        "random?",
        alike=_roughly(0.15),
    ),
    Mistake(
        _drawing(
            means_of=lambda change, draws, generator: (
                len(change) * _resampled_means(change, draws, generator)
            )
        ),
        "It is the sum over the sentences that is in the interval.\n"
        "What is accuracy, a sum or a mean?",
    ),
    Mistake(
        _drawing(ends=lambda means, change: 100 * np.quantile(means, [0.025, 0.975])),
        "The interval is in per cent; shares are asked for.\nWhere does the 100 come from?",
    ),
    Mistake(
        _drawing(ends=lambda means, change: np.percentile(means, [0.025, 0.975])),
        "Both ends lie below the change that was measured.\n"
        "np.percentile counts to 100, np.quantile to 1: which of them do you call, and with what?",
        alike=_roughly(0.35),
    ),
    Mistake(
        _drawn_apart,
        "before and after are resampled apart, as if they were measured on different sentences. A "
        "hard sentence is hard for both, and that is lost.\n"
        "Which sentences must be drawn for after, if these are drawn for before?",
        alike=_roughly(0.5),
    ),
    Mistake(
        _quantiles(0.05, 0.95),
        "These are the quantiles 5 % and 95 %, with 90 % between them.\n"
        "How much should lie outside on each side, if 95 % lie inside?",
    ),
    Mistake(
        _drawing(ends=lambda means, change: means.mean() + means.std() * np.array([-1, 1])),
        "The interval is the mean ± one standard error, which holds 68 %.\n"
        "Which quantiles have 95 % between them?",
    ),
    Mistake(
        _quantiles(0.25, 0.75),
        "Half of the means lie in the interval: these are the quantiles 25 % and 75 %.\n"
        "What is 2.5 % as a share of 1?",
    ),
    Mistake(
        _quantiles(0.005, 0.995),
        "The interval holds 99 % of the means.\n"
        "How much should lie outside on each side, if 95 % lie inside?",
        alike=_roughly(0.1),
    ),
    Mistake(
        _drawing(
            means_of=lambda change, draws, generator: generator.choice(
                change, (draws, len(change))
            ).mean(0)
        ),
        "The interval is far too narrow, as if each resample held {draws} sentences.\n"
        "Each of {draws} resamples has as many sentences as there are: over which axis is the mean "
        "taken?",
    ),
    Mistake(
        _drawing(ends=lambda means, change: means.mean() + 1.96 * means.std() * np.array([-1, 1])),
        OUT_OF_REACH,
        compared=False,
    ),
    *(
        Mistake(_drawing(means_of=partial(_means_of_size, more)), RESAMPLE_SIZE, compared=False)
        for more in (-1, 1)
    ),
    *(
        Mistake(_quantiles(low, high), OTHER_SHARES, compared=False)
        for low, high in ((0.025, 0.97), (0.03, 0.97), (0.02, 0.98))
    ),
    *(
        Mistake(_drawing(means_of=means_of), NOT_ALIKE, compared=False)
        for means_of in (_never_the_last, _ends_half_as_often)
    ),
    Mistake(
        _drawing(ends=lambda means, change: np.quantile(means, [0.025, 0.975]).round(3)),
        NOT_SCALED,
        compared=False,
    ),
    Mistake(
        _drawing(ends=lambda means, change: np.quantile(means, [0.025, 0.975]).clip(-1, 1)),
        NOT_SCALED,
        compared=False,
    ),
    Mistake(_global_state, NOT_REPEATED, compared=False),
    Mistake(
        lambda before, after, draws, generator: _right(
            before, after, draws, np.random.default_rng(0)
        ),
        ALWAYS_THE_SAME,
        compared=False,
    ),
    Mistake(
        lambda before, after, draws, generator: _right(before, after, 10_000, generator),
        WITHOUT_DRAWS,
        compared=False,
    ),
    Mistake(_subtracted_in_place, CHANGES_ARRAY, compared=False),
]

EXERCISE = Exercise(
    "paired_bootstrap",
    "head_mixing",
    2,
    check,
    frozenset({"paired_bootstrap"}),
    MISTAKES,
)
