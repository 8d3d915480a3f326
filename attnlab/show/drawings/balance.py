"""Drawings of lesson 07: weights shared out, a divergence, rulers, bands, a guard, a repair."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle
from scipy import stats
from scipy.spatial.distance import jensenshannon

from attnlab.show.drawings.sketch import ROLES, Sketch
from attnlab.show.plots.picture import Picture, ink_on

_ROWS = {
    "one key": (1.0, 0.0, 0.0, 0.0),
    "two keys alike": (0.5, 0.5, 0.0, 0.0),
    "one of four ahead": (0.7, 0.1, 0.1, 0.1),
    "four keys alike": (0.25, 0.25, 0.25, 0.25),
}

_Rule = tuple[str, float, tuple[float, float], str]  # name, centre, reaches down and up, role


def shared_attention() -> Picture:
    """One unit of attention cut up in four ways, with normalised entropy and effective keys."""
    sheet, left, unit = Sketch(7.4, 2.5), 1.75, 3.0
    sheet.text(left + unit / 2, 2.27, "one unit of attention, cut up among 4 keys", size=9.5)
    sheet.text(5.55, 2.27, "H / log n", size=9.5)
    sheet.text(6.75, 2.27, "effective keys", size=9.5)
    told = []
    for number, (name, row) in enumerate(_ROWS.items()):
        y, entropy = 1.82 - 0.5 * number, float(stats.entropy(row))
        share, keys = entropy / math.log(len(row)) + 0.0, math.exp(entropy)
        _bar(sheet, left, y, unit, row, "weights")
        sheet.text(left - 0.14, y, name, size=9.5, align="right")
        sheet.text(5.55, y, f"{share:.2f}", size=11, bold=True)
        sheet.text(6.75, y, f"{keys:.1f}", size=11, bold=True)
        told.append(f"{name}: H / log n {share:.2f}, effective keys {keys:.1f}")
    return sheet.picture("One unit of attention among four keys. " + "; ".join(told) + ".")


def _bar(
    sheet: Sketch, left: float, y: float, unit: float, row: Sequence[float], role: str
) -> None:
    """A bar cut into pieces as wide as these weights, each in a shade of its own."""
    for number, weight in enumerate(row):
        if weight > 0:
            strength = 0.75 - 0.17 * number
            red, green, blue = (1 - strength * (1 - part) for part in to_rgb(ROLES[role]))
            colour = to_hex((red, green, blue))
            sheet.axes.add_patch(
                Rectangle((left, y - 0.17), weight * unit, 0.34, fc=colour, ec="white", lw=1.5)
            )
            sheet.axes.text(
                left + weight * unit / 2,
                y,
                f"{weight:g}",
                fontsize=9,
                color=ink_on(colour),
                ha="center",
                va="center",
            )
            left += weight * unit


def divergence(
    p: Sequence[float] = (0.7, 0.3, 0.0), q: Sequence[float] = (0.1, 0.3, 0.6)
) -> Picture:
    """Two rows of weights, and how far each is from the middle between them, in bits."""
    sheet = Sketch(7.4, 1.85)
    middle = (np.asarray(p) + np.asarray(q)) / 2
    cell, columns = (0.46, 0.34), [f"key {number + 1}" for number in range(len(p))]
    boxes = {}
    for name, row, x, role in (
        ("before, p", p, 1.05, "text"),
        ("middle, m", middle, 3.7, "weights"),
        ("after, q", q, 6.35, "text"),
    ):
        boxes[name] = sheet.numbers(
            x, 1.1, [list(row)], role=role, cell=cell, digits=2, columns=columns, size=8.5
        )
        sheet.text(x, 1.65, name, role=role, size=10.5, bold=True)
    bits = [float(stats.entropy(row, middle, 2)) for row in (p, q)]
    sheet.arrow(boxes["before, p"], boxes["middle, m"], f"{bits[0]:.2f} bits")
    sheet.arrow(boxes["after, q"], boxes["middle, m"], f"{bits[1]:.2f} bits")
    for x, row, total in ((2.1, p, bits[0]), (5.3, q, bits[1])):
        sheet.text(x, 0.68, f"{_terms(row, middle)} = {total:.2f}", size=9)
    js = float(jensenshannon(p, q, 2) ** 2)
    sheet.text(3.7, 0.27, f"divergence: the mean of both, {js:.2f} bits", size=11, bold=True)
    return sheet.picture(
        f"Two rows of weights and the middle between them. From each to the middle {bits[0]:.2f} "
        f"and {bits[1]:.2f} bits; the Jensen-Shannon divergence is their mean, {js:.2f} bits."
    )


def _terms(row: Sequence[float], middle: Sequence[float] | np.ndarray) -> str:
    """The sum of a Kullback-Leibler divergence, without what adds nothing."""
    pairs = zip(row, middle, strict=True)
    parts = [f"{one:g} log₂({one:g}/{two:g})" for one, two in pairs if one not in (0, two)]
    return " + ".join(parts) or "0"


def two_rulers(values: Sequence[float] | np.ndarray) -> Picture:
    """Values on a line, and how far from the centre two rules reach: 3 σ, and 3.5 × 1.4826 MAD.

    Parameters
    ----------
    values : (N,), one a head; those outside of a reach are what the rule flags
    """
    values = np.asarray(values, dtype=float)
    mean, reach = values.mean(), 3 * values.std(ddof=1)
    return _rulers(
        values,
        ("mean ± 3 standard deviations", mean, (reach, reach), "key"),
        _one_ruler(values),
    )


def two_sides(values: Sequence[float] | np.ndarray) -> Picture:
    """Values on a line; above and below the median one reach, and a reach of its own for each side.

    Parameters
    ----------
    values : (N,), one a head; those outside of a reach are what the rule flags
    """
    values = np.asarray(values, dtype=float)
    away = values - np.median(values)
    down, up = (
        3.5 * float(np.quantile(side[side >= 0], 0.75)) / float(stats.norm.ppf(0.875))
        for side in (-away, away)
    )
    own = ("a unit of its own for each side", float(np.median(values)), (down, up), "value")
    return _rulers(values, _one_ruler(values), own)


def _one_ruler(values: np.ndarray) -> _Rule:
    centre = float(np.median(values))
    reach = 3.5 * 1.4826 * float(np.median(np.abs(values - centre)))
    return "median ± 3.5 × 1.4826 MAD", centre, (reach, reach), "weights"


def _rulers(values: np.ndarray, *rules: _Rule) -> Picture:
    """Values on a line for each rule, with its reach, and those outside of it marked."""
    low = min(values.min(), *(centre - down for _, centre, (down, _), _ in rules))
    high = max(values.max(), *(centre + up for _, centre, (_, up), _ in rules))
    sheet, left, wide = Sketch(7.4, 2.3), 0.45, 6.5

    def across(value: float) -> float:
        return left + wide * (value - low) / (high - low)

    note = "a dot is a head; red: flagged; shaded: what the rule expects"
    sheet.text(left + wide, 2.17, note, size=8.5, align="right")
    told = []
    for y, (name, centre, (down, up), role) in zip((1.5, 0.5), rules, strict=True):
        far = (values < centre - down) | (values > centre + up)
        colour = ROLES[role]
        begin, end = across(centre - down), across(centre + up)
        sheet.axes.add_patch(
            Rectangle((begin, y - 0.2), end - begin, 0.4, fc=colour, alpha=0.16, lw=0)
        )
        sheet.axes.plot([across(centre)] * 2, [y - 0.2, y + 0.2], color=colour, lw=2)
        count = f"{far.sum()} flagged" if far.any() else "none flagged"
        sheet.text(left, y + 0.42, f"{name}: {count}", role=role, align="left", bold=True)
        for value, flagged in zip(values, far, strict=True):
            sheet.axes.plot(
                across(value),
                y,
                "o",
                ms=8 if flagged else 6,
                mec="white",
                color=ROLES["trained"] if flagged else ROLES["text"],
            )
        for value in (values.min(), values.max()):
            sheet.text(across(value), y - 0.32, f"{value:.2f}", size=8.5)
        told.append(f"{name} flags {int(far.sum())}")
    return sheet.picture(f"{len(values)} values on a line. " + "; ".join(told) + ".")


_CALM = (0.39, 0.40, 0.41, 0.42, 0.43, 0.44, 0.45, 0.46, 0.60)
_RESTLESS = (0.38, 0.39, 0.41, 0.41, 0.43, 0.44, 0.44, 0.46, 0.60)  # guesses off by 0.01


def two_bands(calm: Sequence[float] = _CALM, restless: Sequence[float] = _RESTLESS) -> Picture:
    """Entropies of two heads while they learn, and the bands in which the last was expected.

    A band is that of exercise ``leaves_band`` in lesson 07, with z = 15 and at least 0.02.

    Parameters
    ----------
    calm, restless : at least nine values each: a value is judged once four distances are known
    """
    known = [_expected(values) for values in (calm, restless)]
    bottom = min(*calm, *restless, *(middle - half for middle, half, _ in known))
    top = max(*calm, *restless, *(middle + half for middle, half, _ in known))
    sheet, told = Sketch(7.4, 2.75), []
    sheet.text(6.95, 2.6, "shaded: where the last value was expected", size=9, align="right")

    def height(value: float) -> float:
        return 0.58 + 1.42 * (value - bottom) / (top - bottom)

    for left, name, values, (middle, half, usual) in zip(
        (0.75, 4.2), ("calm head", "restless head"), (calm, restless), known, strict=True
    ):
        low, high, last = middle - half, middle + half, values[-1]
        inside = low <= last <= high
        where = "inside its band" if inside else "outside its band"
        x = left + 2.1 * np.arange(len(values)) / (len(values) - 1)
        begin, tall = (float(x[-1]) - 0.2, height(low)), height(high) - height(low)
        band = Rectangle(begin, 0.4, tall, fc=ROLES["weights"], alpha=0.2)
        sheet.axes.add_patch(band)
        sheet.axes.plot(x, [height(value) for value in values], "o-", ms=5, color=ROLES["text"])
        colour = ROLES["text" if inside else "trained"]
        sheet.axes.plot(x[-1], height(last), "o", ms=8, color=colour)
        for end, y in ((low, height(low) - 0.05), (high, height(high) + 0.05)):
            sheet.text(x[-1] + 0.27, y, f"{end:.2f}", role="weights", size=9, align="left")
        for value, across in ((values[0], x[0] - 0.1), (last, x[-1] - 0.3)):
            sheet.text(across, height(value), f"{value:.2f}", size=9, align="right")
        sheet.text(left, 2.3, f"{name}: {where}", size=10.5, align="left", bold=True)
        off = f"guesses usually off by {usual:.2f}, so $w$ = {half:.2f}"
        sheet.text(left + 1.05, 0.33, off, role="weights", size=9)
        sheet.text(left + 1.05, 0.1, "entropy, measurement by measurement", size=9)
        told.append(
            f"{name}: guesses usually off by {usual:.2f}, expected {low:.2f} to {high:.2f}, "
            f"came {last:.2f}, {where}"
        )
    return sheet.picture("Entropies of two heads, step by step. " + "; ".join(told) + ".")


def _expected(values: Sequence[float]) -> tuple[float, float, float]:
    """Middle and half width of the last value's band, and the median of the distances so far."""
    series, distances = np.asarray(values, dtype=float), list[float]()
    for t in range(4, len(series)):
        middle = float(series[t - 1] + np.median(np.diff(series[t - 4 : t])))
        distances.append(abs(float(series[t]) - middle))
    usual = float(np.median(distances[:-1]))
    return middle, max(15 * 1.4826 * usual, 0.02), usual


def guard() -> Picture:
    """The way of a repair: candidates are fitted on one part, and another part lets one through."""
    sheet = Sketch(7.4, 2.3)
    tune = sheet.box(0.85, 1.6, "tune", width=1.1, role="key")
    candidates = sheet.box(2.75, 1.6, "candidates", width=1.3, role="weights")
    best = sheet.box(4.6, 1.6, "best on tune", width=1.35, role="weights")
    asked = sheet.box(4.6, 0.55, "guard", width=1.1, role="query")
    start = sheet.box(2.75, 0.55, "start", width=1.1, role="text")
    kept = sheet.box(6.5, 1.07, "kept: best\nor start", width=1.3, height=0.62, role="value")
    sheet.arrow(tune, candidates, "fit")
    sheet.arrow(candidates, best)
    sheet.arrow(best, asked, "better?")
    sheet.arrow(start, asked)
    sheet.arrow(asked, kept, bend=0.12)
    sheet.text(0.85, 1.97, "sentences to fit on", size=9)
    sheet.text(4.6, 0.16, "other sentences, asked once", size=9)
    sheet.text(6.5, 0.58, "then: test, once", size=9)
    return sheet.picture(
        "Candidates are fitted on the tune sentences; the best of them is compared with the start "
        "on the guard sentences; the better one of the two is kept and goes to the test."
    )


def share_of_damage(whole: float, hurt: float, repaired: float) -> Picture:
    """Accuracies of the whole, the damaged and the repaired model on a line, and the share back."""
    share = (repaired - hurt) / (whole - hurt)
    sheet, left, wide = Sketch(7.4, 1.75), 1.0, 5.4
    low, high = min(whole, hurt, repaired), max(whole, hurt, repaired)

    def across(value: float) -> float:
        return left + wide * (value - low) / (high - low)

    sheet.axes.plot([left, left + wide], [0.8, 0.8], color=ROLES["text"], lw=1.2)
    for name, value, role, y in (
        ("damaged", hurt, "key", 0.8),
        ("repaired", repaired, "weights", 0.8),
        ("whole", whole, "value", 0.8),
    ):
        sheet.axes.plot(across(value), y, "o", ms=9, color=ROLES[role], mec="white")
        sheet.text(across(value), y - 0.3, f"{name}\n{value:.0%}", role=role, size=9.5)
    sheet.arrow(
        (across(whole), 1.42),
        (across(hurt), 1.42),
        f"the damage costs {100 * (whole - hurt):.0f} points",
    )
    sheet.arrow(
        (across(hurt), 1.02),
        (across(repaired), 1.02),
        f"the repair brings {100 * (repaired - hurt):.0f} points: {share:.0%} of it",
        role="weights",
        weight=2,
    )
    return sheet.picture(
        f"Accuracy {hurt:.0%} damaged, {repaired:.0%} repaired, {whole:.0%} whole: {share:.0%} of "
        "the damage came back."
    )
