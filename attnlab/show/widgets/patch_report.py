"""What the patch desk shows of one picture, as plain numbers, lists and texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from scipy import stats
from torch import Tensor

from attnlab.errors import SettingsError, suggest
from attnlab.heads.maps import AttentionMaps
from attnlab.show.widgets.image_data import png_address
from attnlab.show.wording import counted, number, spoken, strict_percent
from attnlab.vision.image_classifier import ImageClassifier
from attnlab.vision.looking import (
    COVERS,
    Occlusion,
    attention_rollout,
    cover_patches,
    occlusion,
    over_patches,
    rank_agreement,
)

MOST_ANSWERS = 10  # shown, the likeliest
_SMALL = 0.02  # a change of a probability below it decides nothing
_LEAST = 0.001  # and below this one is drawn pale
_NAMED = 3  # patches that are looked at most
_TELLING = 6  # patches; of fewer every order is likely by chance

Settings = dict[str, Any]


# ── what is looked at ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class Look:
    """What a classifier does with one picture.

    Attributes
    ----------
    label_names : of the classifier
    truth : index of the true label
    grid : rows and columns of patches
    image : uint8 array, the picture as it is shown: with its covered patches
    maps : AttentionMaps of that picture
    rollout : Tensor, shape (T, T), of `attention_rollout`
    occlusion : Occlusion of the answer that is asked about, in that picture
    whole, now : arrays (C,), probabilities of the picture with no patch covered, and as it is shown
    """

    label_names: list[str]
    truth: int
    grid: tuple[int, int]
    image: np.ndarray
    maps: AttentionMaps
    rollout: Tensor
    occlusion: Occlusion
    whole: np.ndarray
    now: np.ndarray


def look_at(
    clf: ImageClassifier,
    image: np.ndarray,
    truth: int,
    covered: Sequence[Sequence[int]] = (),
    cover: str = "mean",
    answer: int | None = None,
) -> Look:
    """Ask a classifier all that the desk shows of one picture.

    Parameters
    ----------
    image : uint8 array, (H, W) if grey or (H, W, 3) in colour
    truth : index of its true label
    covered, cover : row and column of the patches that are covered, and with what
    answer : index of the label that occlusion asks about; default the one that is answered
    """
    patches = [(row, column) for row, column in covered]
    colour: Any = cover
    shown = cover_patches(image, patches, clf.patch, colour)
    maps = clf.attend(shown)
    whole, now = clf.predict([image, shown]).probabilities
    return Look(
        list(clf.label_names),
        truth,
        clf.grid,
        shown,
        maps,
        attention_rollout(maps.weights),
        occlusion(clf, image, answer, colour, patches),
        whole,
        now,
    )


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def patch_report(look: Look, settings: Settings) -> dict[str, Any]:
    """Say all that the desk shows of a look at one picture.

    Parameters
    ----------
    look : of `look_at`, with what these settings say
    settings : ``model`` and ``index`` of the picture; ``layer``, and ``head`` or None for the mean
        over the layer's; ``patch``, [row, column] of the patch whose attention is drawn over the
        picture, or None for [CLS]; ``covered``, patches that are covered by hand, and ``cover``,
        with what; ``answer``, index of the label asked about, or None for the model's own

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``settings``; ``image``, a PNG as data: address; ``grid``; ``tokens``, and of these
          ``before``, how many stand before the patches
        - ``weights`` (T, T) of this head; ``limit`` of their colours; for each token what it looks
          at, ``looks``, in words, and for each patch in ``counts`` what the three maps say of it
        - ``maps``: "attention", "rollout" and "occlusion", each with ``values`` by rows and
          columns, ``low`` and ``high`` of its colours, ``signed``, ``title``, ``label`` and
          ``agreement``, in words, and ``alt``
        - ``agreement``: Spearman's rank correlation of attention and of rollout with occlusion,
          None where there is none
        - ``answers``: the likeliest, each with ``label``, ``name``, ``whole``, ``now``, ``true``
          and ``asked``; ``truth``; ``remark``; ``alt``

    Raises
    ------
    SettingsError : a layer, head or patch that is not there
    """
    check_place(look.maps, look.grid, settings)
    weights = _weights(look.maps, settings["layer"], settings["head"])
    before = len(look.maps.tokens) - look.grid[0] * look.grid[1]
    attention = over_patches(weights[0], look.grid)
    rollout = over_patches(look.rollout[0], look.grid)
    drop = look.occlusion.drop
    agreement = [rank_agreement(attention, drop), rank_agreement(rollout, drop)]
    seen = weights[:, before:]
    report: dict[str, Any] = {
        "settings": settings,
        "image": png_address(look.image),
        "grid": list(look.grid),
        "tokens": look.maps.tokens,
        "before": before,
        "weights": [[round(weight, 4) for weight in row] for row in weights.tolist()],
        "limit": round(float(seen.max()), 4) or 1.0,
        "looks": [_looks(look.maps.tokens, row, before, weights) for row in range(len(weights))],
        "counts": _counts(look, attention, rollout),
        "maps": [
            _map("attention", attention, settings, look),
            _map("rollout", rollout, settings, look),
            _map("occlusion", drop, settings, look),
        ],
        "agreement": [None if np.isnan(rho) else round(rho, 3) for rho in agreement],
        "chance": chance(drop.size),
        "answers": _answers(look),
        "truth": look.label_names[look.truth],
    }
    for drawn, rho in zip(report["maps"], report["agreement"], strict=False):
        drawn["agreement"] = "ρ –" if rho is None else f"ρ {number(rho, 2, signed=True)}"
    report["remark"] = _remark(report, look)
    return report | {"alt": _alternative(report, look)}


def chance(patches: int) -> float | None:
    """How far from 0 a rank correlation stays in 19 of 20 orders; None for too few patches.

    Student's t with n - 2 degrees of freedom, as if patches were independent. Neighbours are not,
    so it is a floor.

    >>> chance(16), chance(4)
    (0.5, None)
    """
    if patches < _TELLING:
        return None
    t = float(stats.t.ppf(0.975, patches - 2))
    return round(t / float(np.sqrt(patches - 2 + t * t)), 2)


def _weights(maps: AttentionMaps, layer: int, head: int | None) -> Tensor:
    """Weights (T, T) of a head, or of the mean over those that are there."""
    whole = maps.weights[layer]
    if head is not None:
        return whole[head]
    there = whole[whole.sum((-2, -1)) > 0]
    return there.mean(0) if len(there) else whole[0]


def _map(kind: str, values: np.ndarray, settings: Settings, look: Look) -> dict[str, Any]:
    """One of the three maps, with what its colours mean."""
    signed = kind == "occlusion"
    top = float(np.abs(values).max())
    high = max(top, _LEAST) if signed else top or 1.0
    name = look.label_names[look.occlusion.label]
    title, label = {
        "attention": ("[CLS] attention", f"weight, {place(settings)}"),
        "rollout": ("Attention rollout", "share, all layers"),
        "occlusion": ("Occlusion", f"fall of “{name}”"),
    }[kind]
    row, column = np.unravel_index(np.abs(values).argmax(), values.shape)
    return {
        "kind": kind,
        "values": [[round(value, 4) for value in row] for row in values.tolist()],
        "low": -high if signed else 0.0,
        "high": high,
        "signed": signed,
        "digits": 2 if high >= 0.095 else 3 if high >= 0.0095 else 4,
        "title": title,
        "label": label,
        "agreement": "the causal check" if signed else "",
        "alt": f"Map over {values.shape[0]} x {values.shape[1]} patches: {title}, {label}. "
        f"Strongest at {row},{column}: {number(float(values[row, column]), 3)}.",
    }


def place(settings: Settings) -> str:
    """The layer and head that are shown, in words."""
    head = "mean" if settings["head"] is None else f"head {settings['head']}"
    return f"layer {settings['layer']}, {head}"


def _answers(look: Look) -> list[dict[str, Any]]:
    """The likeliest answers, the true one and the one asked about, in the order of the labels."""
    likeliest = np.argsort(-look.now, kind="stable").tolist()
    wanted = [look.truth, look.occlusion.label]
    chosen = list(dict.fromkeys([*wanted, *likeliest]))[:MOST_ANSWERS]
    return [
        {
            "label": label,
            "name": look.label_names[label],
            "whole": round(float(look.whole[label]), 5),
            "now": round(float(look.now[label]), 5),
            "text": strict_percent(look.now[label]),
            "true": label == look.truth,
            "asked": label == look.occlusion.label,
        }
        for label in sorted(chosen)
    ]


# ── what is said ───────────────────────────────────────────────────────────────────────────────


def _said(share: float) -> str:
    return spoken(strict_percent(share))


def _named(token: str) -> str:
    return token if token.startswith("[") else f"patch {token}"


def _looks(tokens: list[str], row: int, before: int, weights: Tensor) -> str:
    """One token in words: which patches it looks at most, and what it keeps for the others."""
    values = weights[row]
    best = values[before:].argsort(descending=True, stable=True)[:_NAMED].tolist()
    most = ", ".join(f"{tokens[before + at]} ({float(values[before + at]):.2f})" for at in best)
    kept = [
        f"{'itself' if at == row else tokens[at]} {float(values[at]):.2f}"
        for at in [*range(before), *([row] if row >= before else [])]
    ]
    return f"{_capital(_named(tokens[row]))} looks most at {most}; {', '.join(kept)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _counts(look: Look, attention: np.ndarray, rollout: np.ndarray) -> list[str]:
    """For each patch what the three maps say of it, with its ranks."""
    drop = look.occlusion.drop
    ranks = [stats.rankdata(-values.ravel(), "min") for values in (attention, rollout, drop)]
    name, before = look.label_names[look.occlusion.label], look.occlusion.before
    words = []
    for at, (row, column) in enumerate(np.ndindex(drop.shape)):
        after = float(look.occlusion.after[row, column])
        first, second, third = (int(order[at]) for order in ranks)
        words.append(
            f"Patch {row},{column}: [CLS] gives it {attention[row, column]:.2f} (rank {first} of "
            f"{drop.size}), rollout {rollout[row, column]:.2f} (rank {second}). Covered: “{name}” "
            f"{_said(before)} → {_said(after)} (rank {third})."
        )
    return words


def _remark(report: dict[str, Any], look: Look) -> str:
    """Say in plain words what is to be noticed."""
    told = []
    if report["settings"]["covered"]:
        told.append(_covered_remark(report, look))
    told.append(_needs_remark(look))
    told.append(_agreement_remark(report))
    return " ".join(told)


def _covered_remark(report: dict[str, Any], look: Look) -> str:
    """What became of the answer by what is covered by hand."""
    names, first, now = look.label_names, int(look.whole.argmax()), int(look.now.argmax())
    patches = counted(len(report["settings"]["covered"]), "patch", "patches")
    share, before = _said(float(look.now[now])), _said(float(look.whole[first]))
    if now != first:
        change = f"“{names[first]}” ({before}) becomes “{names[now]}” ({share})"
    else:
        change = (
            f"“{names[now]}” {f'goes from {before} to' if share != before else 'keeps'} {share}"
        )
    return f"With {patches} covered {change}."


def _needs_remark(look: Look) -> str:
    """Which patch the answer asked about needs most, if any."""
    found, name = look.occlusion, look.label_names[look.occlusion.label]
    falls, rises = (
        np.unravel_index(pick, found.drop.shape)
        for pick in (found.drop.argmax(), found.drop.argmin())
    )
    if found.drop[falls] >= _SMALL:
        return (
            f"“{name}” needs patch {falls[0]},{falls[1]} most: without it {_said(found.before)} "
            f"becomes {_said(float(found.after[falls]))}."
        )
    if found.drop[rises] <= -_SMALL:
        return (
            f"No single patch is needed for “{name}”; without patch {rises[0]},{rises[1]} it rises "
            f"from {_said(found.before)} to {_said(float(found.after[rises]))}."
        )
    return (
        f"No single patch decides about “{name}”: whichever is covered, its probability changes by "
        f"less than {100 * _SMALL:.0f} points."
    )


def _agreement_remark(report: dict[str, Any]) -> str:
    """How the two maps of attention rank the patches, beside occlusion and beside chance."""
    limit, (attention, rollout) = report["chance"], report["agreement"]
    if limit is None:
        count = report["grid"][0] * report["grid"][1]
        return f"With {counted(count, 'patch', 'patches')} a rank agreement says nothing."
    if attention is None or rollout is None:
        return "A map that is the same everywhere has no ranks to compare."
    words = [
        f"{name} ρ {number(rho, 2, signed=True)}"
        for name, rho in (("attention", attention), ("rollout", rollout))
    ]
    verdict = {
        (True, True): "both beyond chance",
        (True, False): "only attention beyond chance",
        (False, True): "only rollout beyond chance",
        (False, False): "neither beyond chance",
    }[abs(attention) > limit, abs(rollout) > limit]
    return f"Ranks against occlusion: {', '.join(words)}; {verdict} (±{limit:.2f})."


def _alternative(report: dict[str, Any], look: Look) -> str:
    """The desk in words, for those who cannot see it."""
    now = int(look.now.argmax())
    return (
        f"Patch desk: a picture of “{report['truth']}”, cut into {look.grid[0]} x {look.grid[1]} "
        f"patches, is answered “{look.label_names[now]}” with {_said(float(look.now[now]))}. "
        f"{' '.join(drawn['alt'] for drawn in report['maps'])} {report['remark']}"
    )


# ── what is refused ────────────────────────────────────────────────────────────────────────────


def check_place(maps: AttentionMaps, grid: tuple[int, int], settings: Settings) -> None:
    """Raise SettingsError unless there are this layer, head and patch."""
    sizes = [("layer", maps.layers, False), ("head", maps.heads, True)]
    for name, size, may_be_none in sizes:
        given = settings[name]
        if not (given is None and may_be_none) and not is_index(given, size):
            none = ", or None for the mean of its heads" if may_be_none else ""
            raise SettingsError(
                f"{name} is {given!r}; it is a whole number from 0 to {size - 1}{none}."
            )
    if settings["patch"] is not None:
        check_patch("patch", settings["patch"], grid)


def check_covered(grid: tuple[int, int], settings: Settings) -> None:
    """Raise SettingsError unless these patches can be covered with that."""
    covered = settings["covered"]
    if not isinstance(covered, list | tuple):
        raise SettingsError(f"covered is {covered!r}; it is a list of patches, such as [[0, 1]].")
    for patch in covered:
        check_patch("A covered patch", patch, grid)
    if settings["cover"] not in COVERS:
        raise SettingsError(
            f"There is no cover {settings['cover']!r}. {suggest(settings['cover'], COVERS)}"
        )


def check_patch(name: str, patch: Any, grid: tuple[int, int]) -> None:
    """Raise SettingsError unless this is row and column of a patch."""
    right = isinstance(patch, list | tuple) and len(patch) == 2
    if not right or not all(is_index(at, size) for at, size in zip(patch, grid, strict=True)):
        raise SettingsError(
            f"{name} is {patch!r}; it is [row, column], from [0, 0] to "
            f"[{grid[0] - 1}, {grid[1] - 1}]."
        )


def is_index(given: object, size: int) -> bool:
    """Whether this counts something of which there are so many."""
    if not isinstance(given, Integral) or isinstance(given, bool):
        return False
    return int(given) in range(size)
