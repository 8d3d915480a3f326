"""What the translation desk shows of a sentence and of exact match, as plain numbers and texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from attnlab.errors import AttnlabError, SettingsError
from attnlab.heads.maps import Seq2SeqMaps
from attnlab.heads.settings import KINDS, HeadSettings, Seq2SeqSettings
from attnlab.show import plots
from attnlab.show.plots.translation import aligned, considered, described, place
from attnlab.show.wording import signed_points
from attnlab.statistics import paired_test, share_interval

CANDIDATES = 5  # shown at each step

Faders = dict[str, list[list[float]]]  # scales of each kind of attention, layers by heads


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def to_faders(settings: Seq2SeqSettings) -> Faders:
    """The scales of settings as the desk's tables of numbers.

    Raises
    ------
    SettingsError : temperatures, for which this desk has no faders; one setting per text
    """
    for kind, heads in zip(KINDS, settings, strict=True):
        if heads.scale.dim() != 2:
            raise SettingsError(
                f"A desk shows one setting, and {kind} has {len(heads.scale)}, one per text. Give "
                "one of them."
            )
        if (heads.temperature != 1).any():
            raise SettingsError(
                f"{kind} has temperatures that are not 1, and this desk has faders for scales "
                "alone. "
                "Give such settings to translator.translate or translator.attend."
            )
    return {
        kind: [[round(scale, 4) for scale in row] for row in getattr(settings, kind).scale.tolist()]
        for kind in KINDS
    }


def from_faders(faders: Faders, size: Mapping[str, Sequence[int]]) -> Seq2SeqSettings:
    """The desk's tables as settings.

    Parameters
    ----------
    size : layers and heads of each kind

    Raises
    ------
    SettingsError : tables that do not fit a model of this size, or hold what is no scale
    """
    made = {}
    for kind in KINDS:
        try:
            scale = torch.tensor(faders[kind], dtype=torch.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"The faders cannot be read: {type(error).__name__}: {error}. Give a table for "
                f"each of {KINDS}."
            ) from error
        heads = HeadSettings.of(scale, torch.ones_like(scale))
        try:
            made[kind] = heads.validate(*size[kind])
        except SettingsError as error:
            raise SettingsError(f"{kind}: {error}") from error
    return Seq2SeqSettings(**made)


def translation_report(
    maps: Seq2SeqMaps, translation: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """Say all that the desk shows of one sentence.

    Parameters
    ----------
    maps : of the source and the translation
    translation : in words
    settings : ``source``; ``step``, the output position looked at; ``layer`` and ``head`` of the
        cross-attention, None for the mean over them; ``faders``

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``tokens`` of the source, ``target`` tokens, and the ``start`` mark that is fed first
        - ``weights`` (T, S), weights × scale of the heads ``looked`` at; ``limit`` of their
          colours; ``alt``
        - ``steps``: for each position its ``candidates`` (token, share, chosen), likeliest first,
          and in ``words`` what happens there; ``step``, the position looked at, not beyond the last
        - ``note``: what is not shown

    Raises
    ------
    SettingsError : a step, layer or head that cannot be
    """
    step, layer, head = settings["step"], settings["layer"], settings["head"]
    for name, number in (("step", step), ("layer", layer), ("head", head)):
        absent = number is None and name != "step"
        if not absent and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise SettingsError(f"{name} is {number!r}; it is a whole number from 0.")
    try:
        values = aligned(maps.cross, layer, head)
    except AttnlabError as error:
        raise SettingsError(str(error)) from error
    (target, source), most = values.shape, plots.MAX_TOKENS
    shown = values[:most, :most]
    cut = [
        f"{count} {name} tokens, the first {most} are shown."
        for name, count in (("source", source), ("output", target))
        if count > most
    ]
    tokens, said = maps.cross.source[:most], maps.cross.target[:most]
    steps = [
        {
            "candidates": candidates,
            "words": _step_words(position, said[position], candidates, tokens, shown[position]),
        }
        for position, candidates in enumerate(considered(maps, CANDIDATES)[:most])
    ]
    return {
        "settings": settings,
        "translation": translation,
        "tokens": tokens,
        "target": said,
        "start": maps.decoder.tokens[0],
        "weights": [[round(weight, 3) for weight in row] for row in shown.tolist()],
        "limit": max(0.5, round(float(shown.max()), 3)),
        "steps": steps,
        "step": min(step, len(said) - 1),
        "looked": place(layer, head),
        "alt": described(maps, layer, head),
        "note": " ".join(cut),
    }


def _step_words(
    position: int,
    came: str,
    candidates: list[dict[str, Any]],
    tokens: list[str],
    weights: np.ndarray,
) -> str:
    """One position in words."""
    share = next((candidate["share"] for candidate in candidates if candidate["chosen"]), 0.0)
    most = int(weights.argmax())
    where = f"looks most at “{tokens[most]}” ({weights[most]:.2f})"
    if weights[most] == 0:
        where = "the heads looked at are silent"
    return f"Position {position}: “{came}” with {100 * share:.0f}\u00a0%; {where}."


def score_report(
    now: Sequence[bool], start: Sequence[bool], total: int, moved: bool = True
) -> dict[str, Any]:
    """Say what the panel of exact match shows.

    Parameters
    ----------
    now, start : for each text whether its translation is right to the letter, with the faders as
        they are and with all at 1; as many of each as are translated so far, of the same texts
    total : how many there will be
    moved : whether a fader is moved

    Returns
    -------
    report : dict with ``state`` ("partial" or "measured"), ``n``, ``total``, ``now`` and ``start``
        (each with ``share``, ``low`` and ``high``, the 95 % interval by Wilson 1927), ``words``,
        and ``change``, None where nothing is moved
    """
    right, before = np.asarray(now, bool), np.asarray(start, bool)
    n = len(right)
    report: dict[str, Any] = {
        "state": "measured" if n == total else "partial",
        "n": n,
        "total": total,
        "now": _share(right),
        "start": _share(before),
        "change": None,
        "words": "All faders at 1. Move one: what it does to exact match shows here.",
    }
    if moved:
        test = paired_test(before, right)
        report["change"] = test.delta
        delta, low, high = (signed_points(share) for share in (test.delta, test.low, test.high))
        report["words"] = (
            f"{delta} points ({low} to {high}): {test.gained} gained, {test.lost} lost."
        )
    return report


def _share(right: np.ndarray) -> dict[str, float]:
    low, high = share_interval(int(right.sum()), len(right))
    return {
        "share": float(right.mean()),
        "low": float(f"{low:.4g}"),
        "high": float(f"{high:.4g}"),
    }
