"""Check of ``paired_bootstrap``."""

import math
from collections.abc import Generator

import numpy as np
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_number,
    a_pair,
    require,
)
from attnlab.course.checks.head_mixing.arrays import from_arrays


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``paired_bootstrap(before, after, draws, generator)``: 95 % interval of a change on the "
    "same sentences."""
    n, draws = 120, 4000
    side = draw.whole(0, 1) * 2 - 1
    before = 3 + 3 * draw.normal(n).double().numpy()  # hard sentences and easy ones
    after = before + side * 0.25 + 0.5 * draw.normal(n).double().numpy()
    _same_interval(
        _interval(answer, before, after, draws, draw.whole(0, 999)), before, after, draws
    )
    yield "the middle 95 % of the means of resampled differences"

    changed, n = draw.whole(2, 3), 50
    before = np.zeros(n)
    after = np.arange(n) < changed
    low, _ = _interval(answer, before, after.astype(float), 1000, draw.whole(0, 999))
    require(
        low >= -1e-9,
        f"{changed} of {n} answers got better and none worse, but your interval begins at "
        f"{low:.3f}: no resample "
        "can have such a mean.\nIs it mean ± 1.96 standard deviations? Which quantiles should it "
        "be?",
    )
    yield "quantiles, which stay where means can be"

    before, after = 3 * draw.normal(2, 40).double().numpy()
    seed = draw.whole(0, 999)
    first, again = (_interval(answer, before, after, 50, seed) for _ in range(2))
    require(
        first == again,
        "With the same generator, begun anew, another interval comes out.\n"
        "Do all random numbers come from `generator`?",
    )
    other = _interval(answer, before, after, 50, seed + 1)
    require(
        first != other,
        "With another generator exactly the same interval comes out.\n"
        "Do the random numbers come from `generator`, or from one that you make?",
    )
    yield "random numbers from the generator, and from nowhere else"

    low, high = _interval(answer, before, after, 1, seed)
    require(
        abs(high - low) < 1e-9,
        "With draws = 1 there is a single mean, and both ends should be this one; yours differ.\n"
        "Where does `draws` come in?",
    )
    yield "as many draws as asked for"


def _interval(
    answer: Answer, before: np.ndarray, after: np.ndarray, draws: int, seed: int
) -> tuple[float, float]:
    """The answer's two ends, finite numbers."""
    result = from_arrays(answer, [before, after], draws, np.random.default_rng(seed))
    if isinstance(result, Tensor | np.ndarray):
        result = result.tolist()
    if isinstance(result, float):
        raise CheckFailed(
            "One number came back; an interval has two ends.\nDoes it end in `return low, high`?"
        )
    ends = [
        one.item() if isinstance(one, Tensor | np.ndarray) and one.shape == () else one
        for one in a_pair(result, "low", "high")
    ]
    return a_number(ends[0], "low"), a_number(ends[1], "high")


def _same_interval(
    found: tuple[float, float], before: np.ndarray, after: np.ndarray, draws: int
) -> None:
    """Fail unless the ends are those of a paired bootstrap, up to chance; name what else they "
    "are."""
    low, high = found
    change = after - before
    n, mean = len(change), float(change.mean())
    error = float(change.std()) / math.sqrt(n)  # standard deviation of a resample's mean
    apart = math.sqrt((before.var() + after.var()) / n)
    require(
        low <= high,
        "The upper end comes first.\nIn which order does the docstring name the two?",
    )
    exactly = {
        "These are quantiles of the sentences' own changes; of one sentence you would expect "
        "that. The mean of "
        "many varies less.\nOf what should the quantiles be taken?": np.quantile(
            change, [0.025, 0.975]
        ),
        "The interval is as wide as the changes of single sentences vary, mean ± 1.96 standard "
        "deviations. The "
        "mean of many varies less.\nWhere are the means of resampled sentences?": (
            mean + 1.96 * change.std() * np.array([-1, 1])
        ),
        "The interval is the mean change ± one standard deviation of the sentences. The mean of "
        "many varies "
        "less.\nWhere are the means of resampled sentences?": (
            mean + change.std() * np.array([-1, 1])
        ),
    }
    for diagnosis, ends in exactly.items():
        require(not np.allclose(found, ends, rtol=0, atol=0.02 * change.std()), diagnosis)
    centre, width = (low + high) / 2, (high - low) / error
    require(
        high - low > 1e-9,
        "The interval has no width: all resamples have the same mean.\n"
        "Without replacement each holds all sentences, once: how do you draw?",
    )
    places = {
        "The sign is turned: it is the change from after to before.\n"
        "Which of the two is taken off the other?": (-mean, error),
        "The interval lies around 0, not around the change that was measured.\n"
        "That would test for chance: is the mean taken off, or are before and after swapped at "
        "random?": (
            0.0,
            error,
        ),
        "It is the sum over the sentences that is in the interval.\nWhat is accuracy, a sum or a "
        "mean?": (
            n * mean,
            n * error,
        ),
        "The interval is in per cent; shares are asked for.\nWhere does the 100 come from?": (
            100 * mean,
            100 * error,
        ),
    }
    for diagnosis, (place, unit) in places.items():
        wide = (high - low) / unit
        require(abs(centre - place) > 0.5 * unit or not 3.5 < wide < 4.4, diagnosis)
    require(
        high > mean - 1.2 * error,
        "Both ends lie below the change that was measured.\n"
        "np.percentile counts to 100, np.quantile to 1: which of them do you call, and with what?",
    )
    widths = {
        "before and after are resampled apart, as if they were measured on different sentences. A "
        "hard "
        "sentence is hard for both, and that is lost.\nWhich sentences must be drawn for after, "
        "if these are "
        "drawn for before?": 3.92 * apart / error,
        "These are the quantiles 5 % and 95 %, with 90 % between them.\n"
        "How much should lie outside on each side, if 95 % lie inside?": 3.29,
        "The interval is the mean ± one standard error, which holds 68 %.\n"
        "Which quantiles have 95 % between them?": 2.0,
        "Half of the means lie in the interval: these are the quantiles 25 % and 75 %.\n"
        "What is 2.5 % as a share of 1?": 1.35,
        "The interval holds 99 % of the means.\n"
        "How much should lie outside on each side, if 95 % lie inside?": 5.15,
    }
    for diagnosis, one in widths.items():
        require(abs(width / one - 1) > 0.08, diagnosis)
    require(
        abs(width / (3.92 * math.sqrt(n / draws)) - 1) > 0.5,
        f"The interval is far too narrow, as if each resample held {draws} sentences.\n"
        f"Each of {draws} resamples has as many sentences as there are: over which axis is the "
        f"mean taken?",
    )
    require(
        abs(width - 3.92) < 0.3 and abs(centre - mean) < 0.3 * error,
        f"It should be about {mean - 1.96 * error:.3f} to {mean + 1.96 * error:.3f}; "
        f"yours is {low:.3f} to {high:.3f}.\n"
        "Sentences drawn with replacement, the mean of their changes, again and again: which step "
        "differs?",
    )


EXERCISE = Exercise("paired_bootstrap", "head_mixing", 2, check, frozenset({"paired_bootstrap"}))
