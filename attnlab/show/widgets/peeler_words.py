"""What the peeler says: what was bought and what it cost, read off what was measured."""

import math
from collections.abc import Mapping

from attnlab.evaluation.measurement import Snapshot
from attnlab.show.widgets.peeled_parts import Known, Part, Size, Timing, summed
from attnlab.show.widgets.peeling import Choice
from attnlab.show.wording import change_in_words
from attnlab.statistics import paired_test

_ZEROS = "a zero is multiplied like any other number"
_BITS = "the weights are small in the file only, and computed with in float32"


def remark(choice: Choice, untouched: Mapping[Part, Size], known: Known) -> str:
    """What this bought and what it cost, from what was measured."""
    if known.sizes is None:
        return "Not measured yet."
    if choice.nothing:
        told = "The untouched model."
        if known.timed and known.timing is not None:
            middle, low, high = known.timing.ratio("batch")
            told += (
                f" Timed against itself, a batch takes {_times_of(middle, low, high)}: that much "
                "is noise."
            )
        return told
    said = [_bought(choice, untouched, known.sizes)]
    if known.timed and known.timing is not None:
        said.append(_time(choice, known.timing))
    if known.seen is not None and known.seen[0].finished:
        said.append(_cost(known.seen))
    elif known.seen is not None:
        said.append("The accuracy is not final.")
    return " ".join(said)


def _bought(choice: Choice, untouched: Mapping[Part, Size], sizes: Mapping[Part, Size]) -> str:
    before, after = (summed(one, "parameters") for one in (untouched, sizes))
    size = summed(sizes, "bytes") / summed(untouched, "bytes")
    file = f"the file is {_share(1 - size)} smaller" if size < 0.9995 else (
        f"the file is {_share(size - 1)} larger" if size > 1.0005 else "so is the file"
    )  # fmt: skip
    if after == before:
        zeros = summed(sizes, "zeros") - summed(untouched, "zeros")
        what = (
            f"No parameter is gone, {_share(zeros / before)} are 0"
            if zeros > 0
            else "No parameter is gone"
        )
        return f"{what}; {file if size != 1 else 'the file is as large as before'}."
    within = sum(
        size.parameters - sizes.get(part, Size()).parameters
        for part, size in untouched.items()
        if part[1] >= 0
    )
    layers = sum(size.parameters for part, size in untouched.items() if part[1] >= 0)
    return (
        f"{_share(1 - after / before)} of all parameters are gone, {_share(within / layers)} of "
        f"the layers'; {file}."
    )


def _share(share: float) -> str:
    """A share in percent; below one, with a digit more.

    >>> _share(0.234), _share(0.004)
    ('23\xa0%', '0.4\xa0%')
    """
    return f"{100 * share:.{0 if share >= 0.0095 else 1}f}\u00a0%"


def _times_of(middle: float, low: float, high: float) -> str:
    told = f"{middle:.2f} of the time"
    return f"{told} ({low:.2f} to {high:.2f})" if math.isfinite(low) else told


def _time(choice: Choice, timing: Timing) -> str:
    """Whether it is faster, by the interval of the ratio, and why not, where that is known."""
    told = {name: timing.ratio(name) for name in ("batch", "one")}
    batch, one = (_times_of(*told[name]) for name in ("batch", "one"))
    _, low, high = told["batch"]
    if high < 1:
        sure = told["one"][2] < 1
        other = f", 1 text {told['one'][0]:.2f}" if sure else "; for 1 text no gain is shown"
        return f"It is faster: {timing.texts} texts take {batch}{other}."
    why = ""
    if choice.kind == "weights":
        why = f": {_ZEROS}"
    elif choice.kind in ("quantize", "codebook"):
        why = f": {_BITS}"
    if low > 1:
        return f"It is slower: {timing.texts} texts take {batch}."
    single = "" if told["one"][2] >= 1 else f" A single text takes {one}."
    return f"It is not measurably faster{why}. {timing.texts} texts take {batch}.{single}"


def _cost(seen: tuple[Snapshot, Snapshot]) -> str:
    before, after = (snapshot.score for snapshot in seen)
    return change_in_words(paired_test(before.correct, after.correct))
