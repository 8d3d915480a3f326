"""What the sampling desk shows of the next token, as plain numbers and texts."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.errors import SettingsError
from attnlab.heads.settings import HeadSettings
from attnlab.language.sampling import adjust, draw
from attnlab.show.widgets.sampling_reading import Reading
from attnlab.show.wording import counted, percent

SHOWN = 12  # candidates, the likeliest first
SAMPLING = ("temperature", "top_k", "top_p", "min_p")
LARGEST_SEED = 2**31 - 1

Table = list[list[float]]


# ── the settings ───────────────────────────────────────────────────────────────────────────────


def to_faders(settings: HeadSettings) -> Table:
    """The scales of settings as the desk's table, layers by heads.

    Raises
    ------
    SettingsError : temperatures of heads, for which this desk has no faders; one setting per text
    """
    if settings.scale.dim() != 2:
        raise SettingsError(
            f"A desk shows one setting, not {len(settings.scale)}. Give one of them."
        )
    if (settings.temperature != 1).any():
        raise SettingsError(
            "These settings have temperatures that are not 1, and this desk has faders for scales "
            "alone. Give such settings to writer.write or writer.attend."
        )
    return [[round(scale, 4) for scale in row] for row in settings.scale.tolist()]


def from_faders(faders: Table, layers: int, heads: int) -> HeadSettings:
    """The table as settings; SettingsError where it does not fit."""
    try:
        scale = torch.tensor(faders, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"The faders cannot be read: {error}. Give a table.") from error
    return HeadSettings.of(scale, torch.ones_like(scale)).validate_single(layers, heads)


def check(settings: Mapping[str, Any], names: Sequence[str], layers: int, heads: int) -> None:
    """Refuse what no desk of a model of this size can stand at; `adjust` refuses the rest.

    Raises
    ------
    SettingsError : what is wrong, and what could be there
    """
    prompt, taken = settings["prompt"], settings["taken"]
    if not isinstance(prompt, str):
        raise SettingsError(f"prompt is {prompt!r}; it is a text.")
    vocabulary = len(names)
    if not isinstance(taken, list) or not all(_whole(token, vocabulary) for token in taken):
        raise SettingsError(
            f"taken is {taken!r}; it lists the tokens after the prompt by their numbers, 0 to "
            f"{vocabulary - 1}."
        )
    if not _whole(settings["seed"], LARGEST_SEED + 1):
        raise SettingsError(
            f"seed is {settings['seed']!r}; it is a whole number from 0 to {LARGEST_SEED}."
        )
    for name, count in (("layer", layers), ("head", heads)):
        number = settings[name]
        if number is not None and not _whole(number, count):
            raise SettingsError(
                f"{name} is {number!r}; it is a whole number from 0 to {count - 1}, or None for "
                "the mean."
            )
    if not isinstance(settings["cache"], bool):
        raise SettingsError(f"cache is {settings['cache']!r}; it is True or False.")


def _whole(number: Any, below: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < below


# ── the draw ───────────────────────────────────────────────────────────────────────────────────


def number_of(seed: int, place: int) -> float:
    """The random number from 0 to 1 that draws a token, the one that `language.generate` takes.

    Parameters
    ----------
    place : how many tokens were drawn or taken before it. Whoever goes back and on again comes to
        the same text.
    """
    return float(np.random.default_rng((seed, 0)).random(place + 1)[place])


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def sampling_report(
    reading: Reading,
    settings: dict[str, Any],
    names: Sequence[str],
    untouched: Tensor | None = None,
    times: Mapping[bool, Sequence[Reading]] | None = None,
    most: int = 512,
    learned: int = 512,
) -> dict[str, Any]:
    """Say all that the desk shows.

    Parameters
    ----------
    reading : of the text so far, with the faders as they are
    settings : ``prompt``; ``taken``, the tokens after it; ``seed`` of the draws; ``temperature``,
        ``top_k``, ``top_p`` and ``min_p`` as in `adjust`; ``layer`` and ``head`` looked at (None
        for the mean over them); ``faders``, layers by heads; ``cache``, whether there is one
    names : of all V tokens, as people read them
    untouched : Tensor, shape (V,), the logits with all faders at 1; None if they stand there
    times : the last readings that took what a token takes, with a cache (True) and without (False)
    most : tokens that a text can have
    learned : tokens that the model read at once while it was trained

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``tokens`` of the text; the first ``given`` are of the prompt; ``weights`` of each,
          weight × scale of the heads ``looked`` at; ``limit`` of their colours; where they
          ``looks`` most; both in ``alt``
        - ``logits`` of all V tokens; ``shown``, the likeliest candidates; of each its ``before``
          (softmax of the logits) and ``after`` (`adjust`), and ``untouched`` (softmax with all
          faders at 1; None if they stand there)
        - ``draw``, the number from 0 to 1, and ``next``, the token it falls on; ``parts``: where
          those shown start and how wide they are, all tokens side by side in their order
        - ``cache``: in words what is kept, and what time was measured
        - ``full``: why no token can follow; empty if one can
        - ``remark``: what the faders do, and whether the text is longer than the model is used to

    Raises
    ------
    AttnlabError : sampling settings that cannot be
    """
    logits = torch.tensor([float(f"{logit:.7g}") for logit in reading.logits.tolist()]).double()
    before = logits.softmax(0)
    after = adjust(logits, **{name: settings[name] for name in SAMPLING})
    shown = logits.sort(descending=True, stable=True).indices[:SHOWN].tolist()
    plain = None if untouched is None else untouched.double().softmax(0)
    scale = torch.tensor(settings["faders"], dtype=torch.float32)
    weights = _looked_at(reading.weights * scale[..., None], settings["layer"], settings["head"])
    number = number_of(settings["seed"], len(settings["taken"]))
    tokens = [names[token] for token in reading.ids]
    looked, looks = place(settings["layer"], settings["head"]), _looks(tokens, weights)
    return {
        "settings": settings,
        "tokens": tokens,
        "given": len(tokens) - len(settings["taken"]),
        "weights": [round(weight, 3) for weight in weights.tolist()],
        "limit": max(0.1, round(float(weights.max()), 3)),
        "looked": looked,
        "looks": looks,
        "alt": f"{looked[0].upper()}{looked[1:]}, {looks}",
        "logits": logits.tolist(),
        "shown": shown,
        "before": _of(before, shown),
        "after": _of(after, shown),
        "untouched": None if plain is None else _of(plain, shown),
        "draw": number,
        "next": int(draw(after, torch.tensor(number, dtype=torch.float64))),
        "parts": _parts(after, shown),
        "cache": _cache_words(reading, times or {}),
        "full": _full(len(tokens), most),
        "remark": " ".join(filter(None, (_moved(before, plain, names), _long(tokens, learned)))),
    }


def place(layer: int | None, head: int | None) -> str:
    """Which heads are looked at, in words.

    >>> place(2, 1), place(2, None), place(None, None)
    ('layer 2, head 1', 'layer 2, mean of its heads', 'mean of all heads')
    """
    if layer is None:
        return "mean of all heads" if head is None else f"head {head}, mean of all layers"
    return f"layer {layer}, " + ("mean of its heads" if head is None else f"head {head}")


def most_focused(weights: Tensor) -> tuple[int, int]:
    """Layer and head that look hardest at one token, neither the first nor the last.

    Parameters
    ----------
    weights : Tensor, shape (L, H, T)
    """
    inner = weights[..., 1:-1] if weights.shape[-1] > 2 else weights
    layer, head = divmod(int(inner.amax(-1).argmax()), weights.shape[1])
    return layer, head


def _of(probabilities: Tensor, shown: list[int]) -> list[float]:
    return [float(f"{share:.5g}") for share in probabilities[shown].tolist()]


def _parts(after: Tensor, shown: list[int]) -> list[list[float]]:
    """Start, width and token of each candidate shown that can come, from 0 to 1."""
    starts = (after.cumsum(0) - after).tolist()
    widths = after.tolist()
    return [[starts[token], widths[token], token] for token in sorted(shown) if widths[token]]


def _looked_at(weights: Tensor, layer: int | None, head: int | None) -> Tensor:
    """The weights of these heads, or their mean, (T,)."""
    weights = weights.mean(0) if layer is None else weights[layer]
    return weights.mean(0) if head is None else weights[head]


def _looks(tokens: Sequence[str], weights: Tensor) -> str:
    """Where the last token looks most."""
    if float(weights.max()) == 0:
        return "silent."
    most = weights.sort(descending=True, stable=True).indices[:2].tolist()
    return f"looks most at {' and '.join(f'“{tokens[at]}” ({weights[at]:.2f})' for at in most)}."


def _full(count: int, most: int) -> str:
    if count < most:
        return ""
    return f"The text has {count} tokens, as many as the desk reads. Go back, or start over."


def _long(tokens: Sequence[str], learned: int) -> str:
    """What a text does to a model that has learned from shorter ones."""
    if len(tokens) <= learned:
        return ""
    return (
        f"It learned from {learned} tokens at once and reads longer texts less and less well; "
        f"writer.write reads the last {learned} only."
    )


def _moved(before: Tensor, plain: Tensor | None, names: Sequence[str]) -> str:
    """What the faders do to the next token."""
    if plain is None:
        return ""
    moved = 50 * float((before - plain).abs().sum())
    was, now = int(plain.argmax()), int(before.argmax())
    told = f"The faders move {moved:.0f} of 100 points of probability"
    if was == now:
        share, then = percent(float(before[now])), percent(float(plain[now]))
        return f"{told}; “{names[now]}” stays the likeliest: {then} before, {share} now."
    return f"{told}; the likeliest was “{names[was]}” and is “{names[now]}”."


# ── the cache ──────────────────────────────────────────────────────────────────────────────────


def _cache_words(reading: Reading, times: Mapping[bool, Sequence[Reading]]) -> dict[str, str]:
    """What is kept, and the time of a token this way and, where it is known, the other."""
    count = len(reading.ids)
    if reading.cached:
        each = round(reading.bytes / count)
        kept = f"{_size(reading.bytes)} kept: keys and values of {counted(count, 'token')}, "
        kept += f"{each:,} bytes each."
    else:
        kept = f"Nothing is kept: all {counted(count, 'token')} are read for each new one."
    time = _time(times.get(reading.cached) or [reading])
    if reading.cached and reading.tokens_read > 1:
        time = f"With cache: all {_time([reading], '')}"
    return {"kept": kept, "time": time, "other": _time(times.get(not reading.cached, []))}


def _time(readings: Sequence[Reading], how: str | None = None) -> str:
    """The median time of readings; nothing if there are none."""
    if not readings:
        return ""
    last = readings[-1]
    how = ("With cache: " if last.cached else "Without: ") if how is None else how
    seconds = statistics.median(reading.seconds for reading in readings)
    of = f" (median of {len(readings)})" if len(readings) > 1 else ""
    return f"{how}{counted(last.tokens_read, 'token')} read in {1000 * seconds:.1f} ms{of}."


def _size(count: int) -> str:
    """So many bytes.

    >>> _size(900), _size(147456)
    ('900 bytes', '147 kB')
    """
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1000:.0f} kB"
