"""Numbers, names and sentences as plots and widgets write them: one of each."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd

from attnlab.balance.reading import MEASURES
from attnlab.languages import tr
from attnlab.statistics import PairedTest

BOUNDED = ("entropy", "largest", "gini")  # drawn from 0 to 1, whatever the numbers are
UNBOUNDED = ("keys", "distance", "contribution", "gradient")
VALUES = {
    "mean": "mean over texts",
    "std": "standard deviation over texts",
    "adjusted": "at a text of 16 keys",
    "slope": "change per doubling of length",
}
TOKENS = {"text": "without special tokens", "all": "all tokens"}
BY = {"weights": "weights", "contributions": "contributions"}
SHORT = {
    "entropy": "normalised entropy",
    "keys": "effective keys",
    "largest": "largest share",
    "gini": "Gini received",
    "cls": "on [CLS]",
    "sep": "on [SEP]",
    "punctuation": "on punctuation",
    "self": "on itself",
    "previous": "on previous",
    "next": "on next",
    "distance": "distance",
    "js_uniform": "from uniform",
    "js_average": "from average",
    "js_before": "from before",
    "contribution": "contribution",
    "gradient": "gradient",
}


# ── numbers ────────────────────────────────────────────────────────────────────────────────────


def with_minus(text: str) -> str:
    """The text with a minus sign for every hyphen."""
    return text.replace("-", "−")


def signed_points(share: float) -> str:
    """A change of a share in percentage points, with its sign.

    >>> signed_points(0.012), signed_points(-0.005), signed_points(-0.0001)
    ('+1.2', '−0.5', '0.0')
    """
    return number(100 * share, 1, signed=True)


def percent(share: float) -> str:
    """A probability in percent, as desks write it.

    >>> percent(0.4567), percent(0.0123), percent(0.0002), percent(0)
    ('46\xa0%', '1.2\xa0%', '< 0.1\xa0%', '0\xa0%')
    """
    if share == 0:
        return "0\u00a0%"
    if share < 0.001:
        return "< 0.1\u00a0%"
    return f"{100 * share:.{1 if share < 0.0995 else 0}f}\u00a0%"


def strict_percent(share: float, decimals: int = 1) -> str:
    """A probability in percent; never 0 or 100 where it is not.

    >>> strict_percent(0.9999), strict_percent(0.5), strict_percent(0.0001), strict_percent(0.0)
    ('> 99.9\xa0%', '50.0\xa0%', '< 0.1\xa0%', '0.0\xa0%')
    >>> strict_percent(0.713, 0), strict_percent(0.999, 0), strict_percent(0.004, 0)
    ('71\xa0%', '> 99\xa0%', '< 1\xa0%')
    """
    unit = 10.0**-decimals
    if 0 < share < unit / 200:
        return f"< {unit:.{decimals}f}\u00a0%"
    if 1 - unit / 200 <= share < 1:
        return f"> {100 - unit:.{decimals}f}\u00a0%"
    return f"{100 * share:.{decimals}f}\u00a0%"


def spoken(text: str) -> str:
    """Such a percentage inside a sentence.

    >>> spoken(strict_percent(0.9999))
    'more than 99.9\xa0%'
    """
    return text.replace("<", tr("less than")).replace(">", tr("more than"))


def with_interval(share: float, interval: tuple[float, float]) -> str:
    """A share in percent with its 95 % interval.

    >>> with_interval(0.745, (0.681, 0.8))
    '74.5\xa0% (95\xa0%: 68.1 to 80.0)'
    """
    low, high = interval
    return f"{100 * share:.1f}\u00a0% (95\u00a0%: {100 * low:.1f} to {100 * high:.1f})"


def change_in_words(test: PairedTest) -> str:
    """Whether a smaller model is less accurate, and if that is not shown, how much it may be.

    >>> change_in_words(PairedTest(5, 25, 1000, -0.02, -0.03, -0.01, 0.0))
    'It costs 2.0 points of accuracy (95\xa0%: −3.0 to −1.0).'
    """
    between = f"95\u00a0%: {signed_points(test.low)} to {signed_points(test.high)}"
    if test.high < 0:
        return f"It costs {number(-100 * test.delta, 1)} points of accuracy ({between})."
    if test.low > 0:
        return f"Accuracy is {number(100 * test.delta, 1)} points higher ({between})."
    least = number(max(0.0, -100 * test.low), 1)
    return (
        f"Accuracy changes by {signed_points(test.delta)} points ({between}): no loss is shown, "
        f"and one of up to {least} points is not ruled out."
    )


def significant(value: float, digits: int = 5) -> float | None:
    """The value to so many significant digits, all that can be seen; None if not finite."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def decimals_of(value: float) -> int:
    """How many decimals a single number is written with."""
    return 1 if abs(value) >= 10 else 2 if abs(value) >= 0.0995 else 3


def decimals_between(limits: tuple[float, float]) -> int:
    """How many decimals tell numbers between these limits apart."""
    largest = max(abs(limit) for limit in limits)
    return 1 if largest >= 3 else 2 if largest >= 0.1 else 3


def number(value: float, decimals: int, signed: bool = False) -> str:
    """A number with its minus sign, or a dash if there is none; what rounds to 0 has no minus.

    Parameters
    ----------
    value : the number
    decimals : how many to write
    signed : write a plus before what is positive; what rounds to 0 has no sign at all, since
        either would say more than is known

    >>> number(-0.004, 2), number(1234.5, 1), number(0.25, 1, signed=True), number(math.nan, 2)
    ('0.00', '1,234.5', '+0.2', '–')
    """
    if not math.isfinite(value):
        return "–"
    rounded = round(float(value), decimals) + 0.0  # adding 0 turns −0 into 0
    sign = "+" if signed and rounded else ""
    return with_minus(f"{rounded:{sign},.{decimals}f}")


def rounded(value: float, form: str = ".2f") -> str:
    """A number for a sentence, such as an alt text: in this format, and 0 without a minus.

    >>> rounded(-0.31), rounded(-0.001), rounded(-0.001, "+.2f")
    ('-0.31', '0.00', '+0.00')
    """
    text = f"{value:{form}}"
    return f"{0.0:{form}}" if float(text) == 0 else text


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "head"), counted(2, "anomaly", "anomalies")
    ('1 head', '2 anomalies')
    """
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


# ── measures of heads ──────────────────────────────────────────────────────────────────────────


def label_of(measure: str, bounded: bool = True) -> str:
    """What the numbers of a measure are; from 0 to 1 only where these numbers are bounded so.

    Parameters
    ----------
    measure : one of `balance.MEASURES`
    bounded : False for changes, slopes and spreads of a measure

    >>> label_of("gini"), label_of("gini", bounded=False)
    ('Gini of what tokens receive, 0 to 1', 'Gini of what tokens receive')
    """
    name = MEASURES.get(measure, measure.replace("_", " "))
    return name if bounded else name.removesuffix(", 0 to 1")


def short(measure: str) -> str:
    """The name of a measure in two or three words."""
    return SHORT.get(measure, measure.replace("_", " "))


def colour_limits(
    measure: str, value: str, values: np.ndarray, other: np.ndarray | None = None
) -> tuple[float, float]:
    """Ends of the colours: 0 to 1 for a measure bounded so, symmetric about 0 for a signed one."""
    both = values if other is None else np.stack([values, other])
    largest = float(np.nanmax(np.abs(both))) if np.isfinite(both).any() else 1.0
    if value == "slope":
        return -(largest or 1.0), largest or 1.0
    if value != "std" and measure in BOUNDED:
        return 0.0, 1.0
    return 0.0, largest or 1.0


def extremes(values: np.ndarray, form: str = ".2f") -> str:
    """Where a map of heads (L, H) is lowest and highest, in words."""
    low, high = (
        np.unravel_index(pick(values), values.shape) for pick in (np.nanargmin, np.nanargmax)
    )
    return (
        f"lowest {rounded(values[low], form)} at layer {low[0]} head {low[1]}, "
        f"highest {rounded(values[high], form)} at layer {high[0]} head {high[1]}"
    )


def alarm_in_words(found: pd.DataFrame) -> str:
    """How many heads left their band, and when the first one did; ``found`` as of `episodes`."""
    heads = len(found[["layer", "head"]].drop_duplicates())
    if not heads:
        return "no head left its band"
    first = f"{found['start'].min():.0f}"
    if heads == 1:
        return f"1 head left its band, at step {first}"
    return f"{heads} heads left their bands, the first at step {first}"


def episode_in_words(episode: Any) -> str:
    """A row of `balance.episodes` in words: the head, the kind, and from when to when."""
    until = "the end" if not math.isfinite(episode.end) else f"{episode.end:.0f}"
    return (
        f"layer {episode.layer:.0f} head {episode.head:.0f}, {episode.kind}, "
        f"step {episode.start:.0f} to {until}"
    )


# ── text in a figure ───────────────────────────────────────────────────────────────────────────


def head_name(head: Any) -> str:
    """A row with ``layer`` and ``head`` as a short name: L3H8."""
    return f"L{head.layer:.0f}H{head.head:.0f}"


def plain(name: str, most: int = 28) -> str:
    """A name for a label: cut if long; a dollar sign would start a formula."""
    return (name if len(name) <= most else f"{name[: most - 1]}…").replace("$", r"\$")


def folded(text: str, width: int) -> str:
    """The text in lines of at most so many characters, as far as its words allow.

    What a no-break space joins stays together.

    >>> folded("It has 87.5\xa0% on dev.", 11).splitlines()
    ['It has', '87.5\xa0% on', 'dev.']
    """
    lines = [""]
    for word in re.split(r"[ \t\n]+", text.strip(" \t\n")):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
