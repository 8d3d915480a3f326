"""What a learner fills in before lesson 00 says something of it: read, or refused with its cure."""

import math
from typing import Any, TypeGuard

from attnlab.errors import AttnlabError
from attnlab.languages import tr

__all__ = ["head", "places", "points", "scale", "sentence"]

Place = tuple[int, int]


def sentence(text: object) -> None:
    """Refuse what is no sentence."""
    if not isinstance(text, str) or not text.strip():
        raise AttnlabError(tr("Write a sentence in quotation marks, not {text!r}.", text=text))


def head(name: object, layers: int, heads: int) -> Place:
    """Layer and number of one head, by its name."""
    found = places(name, layers, heads)
    if "." not in str(name):
        raise AttnlabError(
            tr(
                "{name!r} is a whole layer. Name one head of it, such as {one!r}.",
                name=name,
                one=f"{name}.0",
            )
        )
    return found[0]


def places(name: object, layers: int, heads: int) -> list[Place]:
    """The head, or the heads of the layer, that a name means."""
    if not isinstance(name, str):
        raise AttnlabError(
            tr(
                "Write the head {name!r} in quotation marks, such as {example!r}.",
                name=name,
                example="5.9",
            )
        )
    numbers = [int(part) if part.isdecimal() else -1 for part in name.strip().split(".")]
    if len(numbers) in (1, 2) and 0 <= numbers[0] < layers:
        if len(numbers) == 1:
            return [(numbers[0], head) for head in range(heads)]
        if 0 <= numbers[1] < heads:
            return [(numbers[0], numbers[1])]
    raise AttnlabError(
        tr(
            "There is no head {name!r}. Write layer and head, from {first!r} to {last!r}.",
            name=name,
            first="0.0",
            last=f"{layers - 1}.{heads - 1}",
        )
    )


def points(points: object) -> None:
    """Refuse what is no change of accuracy."""
    if not _is_number(points) or not -100 <= points <= 100:
        raise AttnlabError(
            tr(
                "{points!r} is no change in points. Write a number from -100 to 100 without "
                "quotation marks, such as -2.",
                points=points,
            )
        )


def scale(name: str, scale: object) -> Any:
    """A fader's number, if it is one."""
    if not _is_number(scale) or not 0 <= scale <= 2:
        raise AttnlabError(
            tr(
                "{scale!r} is no fader for head {name}. Write a number from 0 to 2 without "
                "quotation marks.",
                scale=scale,
                name=name,
            )
        )
    return scale


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def __dir__() -> list[str]:
    return __all__
