"""Small changes to a text or a picture, after which a good classifier answers as before.

All but one: "negation" turns what a text says, and is kept apart as the change that should count.
"""

import itertools
import re
import zlib
from collections.abc import Callable
from typing import overload

import numpy as np

from attnlab.adaptive.synonyms import partner_of
from attnlab.datasets.pictures import check_images
from attnlab.errors import AttnlabError, DataError, suggest

__all__ = ["IMAGE_KINDS", "TEXT_KINDS", "TURNING_KINDS", "disturb"]

_WORD = re.compile(r"[^\W\d_]+")
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SHORTEST = 4  # letters of a word that gets a typing error
_SHARE = 0.2  # of the words that could be changed, and at least one
_DISTRACTORS = (
    "The doors open at seven.",
    "This page has three columns.",
    "The screening took place on a Tuesday.",
    "Tickets are sold at the counter.",
    "The text was printed on white paper.",
    "The building stands beside the station.",
    "The report was sent by mail.",
    "The room has forty seats.",
)
_TURNABLE = re.compile(
    r"\b((?:ca|wo)(?=n['’]t)|is|was|are|were|does|did|has|have|had|can|could|will|would|should|must"
    r"|may|might)(n['’]t\b|\s+not\b|\b)",
    re.IGNORECASE,
)
_WHOLE = {"ca": "can", "wo": "will"}  # of "can't" and "won't"


@overload
def disturb(given: str, kind: str, seed: int = 0) -> str: ...
@overload
def disturb(given: np.ndarray, kind: str, seed: int = 0) -> np.ndarray: ...
def disturb(given: str | np.ndarray, kind: str, seed: int = 0) -> str | np.ndarray:
    """Return a text or an image with a small change, drawn by the seed and by what is given.

    Parameters
    ----------
    given : str; or an image, uint8 array (H, W) or (H, W, 3)
    kind : of a text (`TEXT_KINDS`) "typos" (in a fifth of the words of four letters or more one is
        swapped, dropped, doubled or replaced by its neighbour on the keyboard), "case" (capitals),
        "synonyms" (a fifth of the words that our list has, at least one; "a" and "an" follow),
        "distractor" (a neutral sentence before or behind). Of an image (`IMAGE_KINDS`) "shift" (by
        a pixel or two, black comes in), "noise" (normal, a standard deviation of 16 of 255),
        "occlusion" (a grey square, a quarter of height and width).
        And of a text "negation" (`TURNING_KINDS`): the first auxiliary is negated, or no longer
        negated; a text without one is called untrue. This *should* change an answer.
    seed : the same seed, kind and text give the same change

    Returns
    -------
    of the same type; equal to what was given where there is nothing to change, such as no synonym

    Raises
    ------
    AttnlabError : no such kind
    DataError : neither a text nor an image

    >>> disturb("It is a funny movie.", "synonyms", seed=1)
    'It is an amusing movie.'
    >>> disturb("It is a funny movie.", "negation")
    'It is not a funny movie.'
    """
    if not isinstance(given, str | np.ndarray):
        raise DataError(
            f"Expected a text (str) or an image (uint8 array), got {type(given).__name__}. Of a "
            "pair disturb one side at a time."
        )
    changes = _TEXT_CHANGES if isinstance(given, str) else _IMAGE_CHANGES
    if kind not in changes:
        what = "A text" if isinstance(given, str) else "An image"
        raise AttnlabError(f"{what} cannot be disturbed by {kind!r}. {suggest(kind, [*changes])}")
    if isinstance(given, str):
        content = given.encode()
    else:
        check_images(given[None], "this call")
        content = np.ascontiguousarray(given).tobytes()
    return changes[kind](given, np.random.default_rng([seed, zlib.crc32(content)]))


# ── texts ──────────────────────────────────────────────────────────────────────────────────────


def _some(count: int, generator: np.random.Generator) -> set[int]:
    """A share of so many places, at least one if there is one."""
    chosen = min(count, max(1, round(_SHARE * count)))
    return set(generator.choice(count, chosen, replace=False).tolist()) if count else set()


def _typos(text: str, generator: np.random.Generator) -> str:
    words = [found for found in _WORD.finditer(text) if len(found[0]) >= _SHORTEST]
    chosen = _some(len(words), generator)
    for index in sorted(chosen, reverse=True):
        start, end = words[index].span()
        text = text[:start] + _misspelt(words[index][0], generator) + text[end:]
    return text


def _misspelt(word: str, generator: np.random.Generator) -> str:
    """The word with one typing error, not in its first letter, and never as it was."""
    place = int(generator.integers(1, len(word) - 1))
    letter, following = word[place], word[place + 1]
    kind = generator.choice(["swap", "drop", "double", "neighbour"])
    if kind == "swap" and letter != following:
        return word[:place] + following + letter + word[place + 2 :]
    if kind == "drop":
        return word[:place] + word[place + 1 :]
    beside = _beside(letter)
    if kind == "neighbour" and beside:
        return word[:place] + str(generator.choice(beside)) + word[place + 1 :]
    return word[: place + 1] + word[place:]


def _beside(letter: str) -> list[str]:
    """The keys left and right of a letter."""
    for keys in _KEYBOARD:
        if (place := keys.find(letter.lower())) >= 0:
            found = keys[max(0, place - 1) : place] + keys[place + 1 : place + 2]
            return [*(found.upper() if letter.isupper() else found)]
    return []


def _case(text: str, generator: np.random.Generator) -> str:
    return text.upper()


def _synonyms(text: str, generator: np.random.Generator) -> str:
    words = [
        (found, partner)
        for found in _WORD.finditer(text)
        if (partner := partner_of(found[0], generator))
    ]
    chosen = _some(len(words), generator)
    for index in sorted(chosen, reverse=True):
        found, partner = words[index]
        before = _article(text[: found.start()], found[0], partner)
        text = before + partner + text[found.end() :]
    return text


def _article(before: str, old: str, new: str) -> str:
    """The text before a word, its "a" or "an" as the new word needs it."""
    vowels = [word[0].lower() in "aeiou" for word in (old, new)]
    if vowels[0] == vowels[1]:
        return before
    if vowels[1]:
        return re.sub(r"\b([Aa])(\s+)$", r"\1n\2", before)
    return re.sub(r"\b([Aa])n(\s+)$", r"\1\2", before)


def _distractor(text: str, generator: np.random.Generator) -> str:
    sentence = str(generator.choice(_DISTRACTORS))
    return f"{sentence} {text}" if generator.integers(2) else f"{text} {sentence}"


def _negation(text: str, generator: np.random.Generator) -> str:
    found = _TURNABLE.search(text)
    if found is None:
        return f"It is not true that {text[0].lower()}{text[1:]}" if text else text
    verb = _WHOLE.get(found[1].lower(), found[1]) if found[2] else f"{found[1]} not"
    return text[: found.start()] + verb + text[found.end() :]


# ── images ─────────────────────────────────────────────────────────────────────────────────────


def _shift(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    steps = [step for step in itertools.product(range(-2, 3), repeat=2) if step != (0, 0)]
    down, right = steps[int(generator.integers(len(steps)))]
    height, width = image.shape[:2]
    moved = np.zeros_like(image)
    moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = image[
        max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
    ]
    return moved


def _noise(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    noisy = image + generator.normal(0, 16, image.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def _occlusion(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    height, width = (max(1, side // 4) for side in image.shape[:2])
    top = int(generator.integers(image.shape[0] - height + 1))
    left = int(generator.integers(image.shape[1] - width + 1))
    covered = image.copy()
    covered[top : top + height, left : left + width] = 128
    return covered


_TEXT_CHANGES: dict[str, Callable] = {
    "typos": _typos,
    "case": _case,
    "synonyms": _synonyms,
    "distractor": _distractor,
    "negation": _negation,
}
_IMAGE_CHANGES: dict[str, Callable] = {
    "shift": _shift,
    "noise": _noise,
    "occlusion": _occlusion,
}
TURNING_KINDS = ("negation",)
TEXT_KINDS = tuple(kind for kind in _TEXT_CHANGES if kind not in TURNING_KINDS)
IMAGE_KINDS = tuple(_IMAGE_CHANGES)


def __dir__() -> list[str]:
    return sorted(__all__)
