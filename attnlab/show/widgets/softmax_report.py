"""What the softmax desk shows of one query's scores, as plain numbers, lists and texts."""

import functools
import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from attnlab.attention import dot_scores, effective_keys, entropy, softmax
from attnlab.errors import SettingsError
from attnlab.languages import tr

SETTINGS = ("temperature", "width", "keys", "scaled", "seed")
WIDTHS = tuple(2**power for power in range(10))  # 1 to 512
MOST_KEYS = 64
TEMPERATURES = (0.1, 10.0)
DRAWS = 256  # the curve is a mean over the draws of seeds 0 to 255
LARGEST_GRADIENT = 0.5
_LARGEST_SEED = 2**31 - 1


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def softmax_report(
    temperature: float, width: int, keys: int, scaled: bool, seed: int
) -> dict[str, Any]:
    """Score random keys for one random query, and say what the softmax makes of the scores.

    Parameters
    ----------
    temperature : divides the scores; 0.1 to 10
    width : d_k, how many components query and keys have; a power of two, 1 to 512
    keys : T, how many keys there are; 2 to 64
    scaled : whether the scores are divided by the square root of ``width``
    seed : of the draw. All components are independent, with mean 0 and variance 1. A wider or
        longer draw of the same seed continues the narrower or shorter one.

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``settings``: the five parameters
        - ``scores``, their ``std`` and the one ``predicted`` over many draws, ``limit`` of their
          axis
        - ``weights``, ``largest``: the place of the largest
        - ``entropy`` in nats, ``effective_keys``, ``gradient``, and their shares of the largest
          possible in ``meters``, each with its texts
        - ``query_gradient``: how strongly the weights answer the query, the norm of J K over √d_k
          and temperature, as far as the scores are divided by them; ``query_gradient_divided``: the
          same of this draw with the division
        - ``curve``: mean gradient size at each of ``WIDTHS``, as a share of the largest possible
        - ``remark``: what is to be noticed; ``seen``: the same of scores and weights alone;
          ``alt``: the pictures in words

    Raises
    ------
    SettingsError : if a setting is of the wrong kind or out of range
    """
    _check(temperature, width, keys, scaled, seed)
    temperature, width, keys, seed = float(temperature), int(width), int(keys), int(seed)
    scores = _scores(width, keys, scaled, seed) / temperature  # (T,)
    weights = softmax(scores)  # (T,)
    report = {
        "settings": dict(zip(SETTINGS, (temperature, width, keys, scaled, seed), strict=True)),
        "scores": scores.tolist(),
        "std": float(scores.std()),
        "predicted": (1 if scaled else math.sqrt(width)) / temperature,
        "limit": _axis_limit(float(scores.abs().max())),
        "weights": weights.tolist(),
        "largest": int(weights.argmax()),
        "entropy": float(entropy(weights)),
        "effective_keys": float(effective_keys(weights)),
        "gradient": float(gradient_size(weights)),
        "curve": _curve(temperature, keys),
    }
    for name, divided in (("query_gradient", scaled), ("query_gradient_divided", True)):
        report[name] = _query_gradient(temperature, width, keys, divided, seed)
    report |= {"formula": _formula(report), "prediction": _prediction(report)}
    return report | {
        "meters": _meters(report),
        "remark": _remark(report),
        "seen": _seen(report),
        "alt": _alternatives(report),
    }


def gradient_size(weights: Tensor) -> Tensor:
    """Return the Frobenius norm of the Jacobian of the softmax, diag(w) - w wᵀ.

    Parameters
    ----------
    weights : Tensor, shape (..., T), rows that sum to 1

    Returns
    -------
    size : Tensor, shape (...), between 0 and 1/2

    With s = Σ w² the squared norm is s - 2 Σ w³ + s². As s² <= Σ w³ (Cauchy-Schwarz), it is at most
    s - s² and so at most 1/4, which two equal weights of 1/2 reach.

    >>> gradient_size(torch.tensor([0.5, 0.5, 0.0])).item()
    0.5
    """
    squares = weights.square().sum(-1)
    cubes = (weights * weights.square()).sum(-1)
    return (squares - 2 * cubes + squares.square()).clamp_min(0).sqrt()


def _query_gradient(temperature: float, width: int, keys: int, scaled: bool, seed: int) -> float:
    """The Frobenius norm of dweights/dquery in one draw: J K over what divides the scores.

    The softmax may pass little and the query still be sensitive: K is not divided either.
    """
    divisor = temperature * (math.sqrt(width) if scaled else 1)
    key = _draw(seed)[1][:keys, :width]
    weights = softmax(_scores(width, keys, scaled, seed) / temperature)[:, None]  # (T, 1)
    return float((weights * (key - weights.T @ key)).norm() / divisor)


def _draw(seed: int) -> tuple[Tensor, Tensor]:
    """A query (1, d_k) and as many keys as there can be (MOST_KEYS, d_k), at the largest d_k."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, WIDTHS[-1], generator=generator).double()
    return query, torch.randn(MOST_KEYS, WIDTHS[-1], generator=generator).double()


@functools.lru_cache(maxsize=DRAWS)
def _dot_products(seed: int) -> Tensor:
    """One query's raw scores at every width, for all keys there can be: (widths, MOST_KEYS)."""
    query, key = _draw(seed)
    return torch.cat([dot_scores(query[:, :width], key[:, :width]) for width in WIDTHS])


@functools.cache
def _many_dot_products() -> Tensor:
    """The raw scores of all draws behind the curve, shape (DRAWS, widths, MOST_KEYS)."""
    return torch.stack([_dot_products(seed) for seed in range(DRAWS)])


def _scores(width: int, keys: int, scaled: bool, seed: int) -> Tensor:
    """Scores of one draw before the temperature, shape (T,)."""
    scores = _dot_products(seed)[WIDTHS.index(width), :keys]
    return scores / math.sqrt(width) if scaled else scores


@functools.lru_cache(maxsize=512)
def _curve(temperature: float, keys: int) -> dict[str, Any]:
    """Mean gradient size over many draws at every width, divided by √d_k and not."""
    plain = _many_dot_products()[..., :keys]  # (N, W, T)
    divided = plain / torch.tensor(WIDTHS, dtype=plain.dtype).sqrt()[:, None]
    curve: dict[str, Any] = {"widths": list(WIDTHS), "draws": DRAWS}
    for name, scores in (("divided", divided), ("plain", plain)):
        shares = gradient_size(softmax(scores, temperature=temperature)) / LARGEST_GRADIENT
        curve[name] = shares.mean(0).tolist()
        curve[f"{name}_error"] = (shares.std(0) / math.sqrt(DRAWS)).tolist()  # of the mean
    return curve


def _axis_limit(largest: float) -> float:
    """Steps of four: the bars must be seen to grow, and the axis must seldom change."""
    return 4.0 ** max(1, math.ceil(math.log(largest, 4))) if largest > 4 else 4.0


# ── what is said ───────────────────────────────────────────────────────────────────────────────


def _formula(report: dict[str, Any]) -> str:
    settings = report["settings"]
    root = f" / √{settings['width']}" if settings["scaled"] else ""
    by_temperature = f" / {settings['temperature']:.3g}" if settings["temperature"] != 1 else ""
    return f"q · k{root}{by_temperature}"


def _prediction(report: dict[str, Any]) -> str:
    settings, result = report["settings"], f"{report['predicted']:.3g}"
    start = "1" if settings["scaled"] else f"√{settings['width']}"
    if settings["temperature"] == 1:
        return result if settings["scaled"] else f"{start} = {result}"
    return f"{start} / {settings['temperature']:.3g} = {result}"


def _meters(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The three read-outs: where the bar stands, and the texts beside it."""
    keys = report["settings"]["keys"]
    spread = report["entropy"] / math.log(keys)
    gradient = report["gradient"] / LARGEST_GRADIENT
    return [
        {
            "label": tr("Entropy of the weights"),
            "value": tr("{entropy:.2f} nats", entropy=report["entropy"]),
            "note": tr(
                "{share} of log {keys} = {most:.2f}",
                share=_percent(spread),
                keys=keys,
                most=math.log(keys),
            ),
            "share": spread,
        },
        {
            "label": tr("Effective keys, exp(entropy)"),
            "value": f"{report['effective_keys']:.1f}",
            "note": tr("of {keys}", keys=keys),
            "share": report["effective_keys"] / keys,
        },
        {
            "label": tr("Gradient size ‖diag(w) − w wᵀ‖"),
            "value": f"{report['gradient']:.3f}",
            "note": tr(
                "{share} of the largest, {largest}",
                share=_percent(gradient),
                largest=LARGEST_GRADIENT,
            ),
            "share": gradient,
        },
    ]


def _remark(report: dict[str, Any]) -> str:
    """Say in plain words what is to be noticed: in the softmax, and at the query behind it."""
    settings = report["settings"]
    root = " / √d_k" if settings["scaled"] else ""
    if settings["temperature"] != 1:
        root += f" / {settings['temperature']:.3g}"
    at_query = tr(
        "What reaches the query, ‖J K‖{root}: {size:.2g}", root=root, size=report["query_gradient"]
    )
    if not settings["scaled"] and settings["width"] > 1:
        at_query += tr("; divided {size:.2g}", size=report["query_gradient_divided"])
    return tr("{softmax} {query}.", softmax=_of_the_softmax(report), query=at_query)


def _seen(report: dict[str, Any]) -> str:
    """Say how far apart the scores lie, and what share of the weight the best key takes."""
    return tr(
        "The scores lie up to {apart:.3g} apart. Key {key} takes {share} of the weight; an equal "
        "share is {alike}.",
        apart=max(report["scores"]) - min(report["scores"]),
        key=report["largest"],
        share=_percent(report["weights"][report["largest"]]),
        alike=_percent(1 / report["settings"]["keys"]),
    )


def _of_the_softmax(report: dict[str, Any]) -> str:
    """What of it concerns scores and weights."""
    settings = report["settings"]
    keys, largest = settings["keys"], report["largest"]
    share = report["gradient"] / LARGEST_GRADIENT
    top = _percent(report["weights"][largest])
    if share < 0.1:  # between 2 and 64 keys, flat weights never come near this
        takes = tr(
            "Key {key} takes {share} of the weight; only {passed} of the largest gradient passes "
            "the softmax.",
            key=largest,
            share=top,
            passed=_percent(share),
        )
        return f"{takes}{_cure(report)}"
    if report["effective_keys"] > 0.97 * keys:
        advice = (
            tr(" A lower temperature lets the scores speak.") if settings["temperature"] > 1 else ""
        )
        alike = tr(
            "The weights are nearly alike, {low:.2g} to {high:.2g}: attention averages {keys} keys "
            "and hardly prefers any.",
            low=min(report["weights"]),
            high=max(report["weights"]),
            keys=tr("both") if keys == 2 else tr("all {count}", count=keys),
        )
        return f"{alike}{advice}"
    passes = tr("{share} of the largest gradient passes", share=_percent(share))
    curve = report["curve"]["divided" if settings["scaled"] else "plain"]
    usual = curve[WIDTHS.index(settings["width"])]
    if share > usual + 0.2:  # a tie by chance
        return tr(
            "In this draw {passes}; over {draws} draws the mean is about {usual}.",
            passes=passes,
            draws=DRAWS,
            usual=_percent(usual),
        )
    if report["weights"][largest] > 0.5:
        return tr(
            "Key {key} leads with {share} of the weight; {passes}.",
            key=largest,
            share=top,
            passes=passes,
        )
    return tr(
        "About {effective:.1f} of {keys} keys share the weight, and {passes}: the scores can "
        "learn.",
        effective=report["effective_keys"],
        keys=keys,
        passes=passes,
    )


def _cure(report: dict[str, Any]) -> str:
    """What would let most gradient pass again in this very draw, with its effect."""
    temperature, width, keys, scaled, seed = report["settings"].values()
    cures = {}
    if not scaled and width > 1:
        divided = tr("Divided by √{width} = {root:.3g}", width=width, root=math.sqrt(width))
        cures[divided] = True, temperature
    if temperature < 1:
        cures[tr("At temperature 1")] = scaled, 1.0
    if not cures:
        return ""
    shares = {
        words: float(gradient_size(softmax(_scores(width, keys, division, seed) / other)))
        / LARGEST_GRADIENT
        for words, (division, other) in cures.items()
    }
    best = max(shares, key=shares.__getitem__)
    would = tr(
        "{cure}, the same scores would let {share} of the largest pass.",
        cure=best,
        share=_percent(shares[best]),
    )
    return f" {would}"


def _alternatives(report: dict[str, Any]) -> dict[str, str]:
    """Each picture in words, with its numbers."""
    settings, curve = report["settings"], report["curve"]
    keys, width, largest = settings["keys"], settings["width"], report["largest"]
    here = WIDTHS.index(width)
    low, high = min(report["scores"]), max(report["scores"])
    divided, plain = (
        [_percent(curve[name][place]) for place in (0, here, -1)] for name in ("divided", "plain")
    )
    return {
        "scores": tr(
            "Bars: scores {formula} of {keys} keys, from {low:.3g} to {high:.3g}. "
            "Standard deviation {spread:.3g}, predicted {prediction}.",
            formula=report["formula"],
            keys=keys,
            low=low,
            high=high,
            spread=report["std"],
            prediction=report["prediction"],
        ),
        "weights": tr(
            "Bars: weights of {keys} keys. Key {largest} has the largest, {weight:.3f}; alike, "
            "each would have {alike:.3f}.",
            keys=keys,
            largest=largest,
            weight=report["weights"][largest],
            alike=1 / keys,
        ),
        "curve": tr(
            "Lines: mean gradient size over d_k, as a share of the largest possible, {keys} keys, "
            "temperature {temperature:.3g}. At d_k = 1, {width} and {widest}: divided by √d_k "
            "{divided}; not divided {plain}.",
            keys=keys,
            temperature=settings["temperature"],
            width=width,
            widest=WIDTHS[-1],
            divided=", ".join(divided),
            plain=", ".join(plain),
        ),
    }


def _percent(share: float) -> str:
    """A share as people say it; never 0 or 100 % where something is left."""
    if share < 0.001:
        return tr("less than 0.1\u00a0%")
    if share > 0.999:
        return tr("more than 99.9\u00a0%")
    digits = 0 if 0.0995 <= share < 0.99 else 1
    return f"{100 * share:.{digits}f}\u00a0%"


# ── what is refused ────────────────────────────────────────────────────────────────────────────


def _check(temperature: float, width: int, keys: int, scaled: bool, seed: int) -> None:
    low, high = TEMPERATURES
    if not _is_number(temperature, Real) or not low <= temperature <= high:
        raise SettingsError(
            f"temperature is {temperature!r}; here it is a number from {low} to {high:g}. It "
            "divides the scores: "
            "below 1 it sharpens, above 1 it flattens."
        )
    if not _is_number(width, Integral) or width not in WIDTHS:
        raise SettingsError(
            f"width is {width!r}; here it is a power of two from 1 to {WIDTHS[-1]}. Choose one of: "
            f"{', '.join(map(str, WIDTHS))}."
        )
    if not _is_number(keys, Integral) or not 2 <= keys <= MOST_KEYS:
        raise SettingsError(
            f"keys is {keys!r}; here it is a whole number from 2 to {MOST_KEYS}. A single key "
            "would always get "
            "the whole weight."
        )
    if not isinstance(scaled, bool):
        raise SettingsError(
            f"scaled is {scaled!r}; it is True where scores are divided by √d_k, else False."
        )
    if not _is_number(seed, Integral) or not 0 <= seed <= _LARGEST_SEED:
        raise SettingsError(
            f"seed is {seed!r}; it is a whole number from 0 to {_LARGEST_SEED}. Any will do: it "
            "picks the draw."
        )


def _is_number(given: object, kind: type) -> bool:
    return isinstance(given, kind) and not isinstance(given, bool)
