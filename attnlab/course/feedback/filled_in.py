"""What a learner fills in before lesson 00 says something of it: read, or refused with its cure."""

import math
import re
from collections.abc import Sequence
from typing import Any, TypeGuard

from attnlab.errors import AttnlabError
from attnlab.languages import tr

__all__ = ["head", "head_name", "places", "points", "scale", "sentence"]

Place = tuple[int, int]


def sentence(text: object) -> None:
    """Refuse what is no sentence."""
    if not isinstance(text, str) or not text.strip():
        raise AttnlabError(tr("Write a sentence in quotation marks, not {text!r}.", text=text))


def head(name: object, layers: int, heads: int) -> Place:
    """Layer and number of one head, by its name."""
    found = places(name, layers, heads)
    if _numbers(str(name))[1] is None:
        raise AttnlabError(
            tr(
                "{name!r} is a whole layer. Name one head of it, such as {one!r}.",
                name=name,
                one=head_name(found[0]),
            )
        )
    return found[0]


def head_name(place: Sequence[int]) -> str:
    """The name of a head, from its layer and its number."""
    layer, number = place
    return f"L{layer}H{number}"


def places(name: object, layers: int, heads: int) -> list[Place]:
    """The head, or the heads of the layer, that a name means."""
    if not isinstance(name, str):
        raise AttnlabError(
            tr(
                "Write the head {name!r} in quotation marks, such as {example!r}.",
                name=name,
                example="L5H9",
            )
        )
    layer, number = _numbers(name)
    if 0 <= layer < layers:
        if number is None:
            return [(layer, head) for head in range(heads)]
        if number < heads:
            return [(layer, number)]
    raise AttnlabError(
        tr(
            "There is no head {name!r}. Write layer and head, from {first!r} to {last!r}.",
            name=name,
            first=head_name((0, 0)),
            last=head_name((layers - 1, heads - 1)),
        )
    )


def _numbers(name: str) -> tuple[int, int | None]:
    """Layer and number in "L3H9", or "3.9"; a layer alone has none, and -1 is no layer."""
    found = re.fullmatch(r"L?(\d+)(?:[H.](\d+))?", name.strip(), re.ASCII | re.IGNORECASE)
    if not found:
        return -1, None
    layer, number = found.groups()
    return int(layer), None if number is None else int(number)


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
