"""What lesson 00 says of a learner's predictions: they stand beside what the model does.

Nothing is graded. Each function measures at once, and prints what it found. Where nothing is filled
in, or what is filled in makes no sense, it prints what to write instead, and no cell fails.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from attnlab.errors import AttnlabError, suggest
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.languages import tr
from attnlab.show.wording import number, percent, signed_points

if TYPE_CHECKING:
    from attnlab.show.widgets.head_mixer import HeadMixer

__all__ = ["diagonal", "halves", "repair", "silenced", "word"]

Place = tuple[int, int]
_CLEAR = 0.3  # mean weight from which a diagonal is seen


def _printed(lines: Callable[..., Iterator[str]]) -> Callable[..., None]:
    """Print line by line, and what is wrong with the input as a line of its own."""

    @functools.wraps(lines)
    def said(*given: Any, **named: Any) -> None:
        try:
            for line in lines(*given, **named):
                print(line)
        except AttnlabError as error:
            print(error)

    return said


@_printed
def word(said: str, words: Sequence[str], changes: Sequence[float] | np.ndarray) -> Iterator[str]:
    """Compare the word that was said to matter most with the largest change.

    Parameters
    ----------
    said : one of ``words``, in lower or upper case; empty if nothing is said yet
    words : of the sentence
    changes : of the answer without each word, in percentage points
    """
    sizes = np.abs(np.asarray(changes, dtype=float))
    if not isinstance(said, str):
        raise AttnlabError(
            tr("Write one word in quotation marks, such as {word!r}.", word=words[0])
        )
    if not said.strip():
        yield tr(
            "You have not said which word yet. Write it above, and run that cell and this one."
        )
        return
    folded = [name.casefold() for name in words]
    if said.strip().casefold() not in folded:
        near = suggest(said, words)
        raise AttnlabError(tr("{said!r} is no word of this sentence. {near}", said=said, near=near))
    same = [at for at, name in enumerate(folded) if name == said.strip().casefold()]
    mine, largest = max(same, key=lambda at: sizes[at]), int(sizes.argmax())
    yield tr(
        "You said “{word}”: {change} points, number {rank} of {count} by size.",
        word=words[mine],
        change=number(float(changes[mine]), 0, signed=True),
        rank=1 + int((sizes > sizes[mine]).sum()),
        count=len(words),
    )
    yield tr(
        "The largest change is that without “{word}”: {change} points.",
        word=words[largest],
        change=number(float(changes[largest]), 0, signed=True),
    )


@_printed
def diagonal(maps: AttentionMaps, head: str) -> Iterator[str]:
    """Say how much weight the tokens give to the one before, to themselves and to the next.

    Parameters
    ----------
    maps : from clf.attend(text)
    head : its layer and number, such as "0.2"; empty if nothing is said yet
    """
    if isinstance(head, str) and not head.strip():
        yield tr("Name a head above, such as {example!r}, and run this cell again.", example="0.2")
        return
    layer, column = _head(head, maps.layers, maps.heads)
    weights = maps.weights[layer, column]
    found = {
        tr("the token before"): float(weights.diagonal(-1).mean()),
        tr("itself"): float(weights.diagonal().mean()),
        tr("the next token"): float(weights.diagonal(1).mean()),
    }
    name = max(found, key=lambda one: found[one])
    parts = ", ".join(f"{place} {weight:.2f}" for place, weight in found.items())
    yield tr("Head {head}, mean weight: {parts}.", head=f"{layer}.{column}", parts=parts)
    if found[name] < _CLEAR:
        yield tr("None of the three is large: this head has no clear diagonal.")
    else:
        yield tr("Most of the three goes to {name}.", name=name)


@_printed
def silenced(desk: "HeadMixer", expected: Mapping[str, float | None]) -> Iterator[str]:
    """Silence heads and layers, one entry after the other, and measure what each costs.

    Parameters
    ----------
    desk : at which the faders move
    expected : change of held-out accuracy in points, by the name of a head such as "5.9", or of a
        layer such as "5"; None if nothing is expected yet
    """
    if not isinstance(expected, Mapping):
        raise AttnlabError(
            tr(
                'Write names and points between braces, such as {{"5.9": -2}}, not {it!r}.',
                it=expected,
            )
        )
    layers, heads = desk.size["layers"], desk.size["heads"]
    for name, points in expected.items():
        places = _places(name, layers, heads)
        what = tr("Layer {name}", name=name) if "." not in name else tr("Head {name}", name=name)
        if points is None:
            yield tr("{what}: write the points that you expect in place of None.", what=what)
            continue
        _points(points)
        settings = HeadSettings(layers, heads)
        for place in places:
            settings.scale[place] = 0
        desk.settings = settings
        yield f"{tr('{what} silent', what=what)}: {_cost(desk.wait().accuracy, points)}"


@_printed
def halves(desk: "HeadMixer", expected: float | None, times: int = 4) -> Iterator[str]:
    """Silence a random half of the heads several times, and measure what each half costs.

    Parameters
    ----------
    desk : at which the faders move
    expected : change of held-out accuracy in points; None if nothing is expected yet
    times : how many halves
    """
    if expected is None:
        yield tr("Write the points that you expect in place of None.")
        return
    _points(expected)
    for time in range(1, times + 1):
        desk.preset("random-half")
        cost = _cost(desk.wait().accuracy, expected)
        yield f"{tr('Half {time} of {times}', time=time, times=times)}: {cost}"


@_printed
def repair(
    desk: "HeadMixer",
    faders: Mapping[str, float],
    expected: float | None,
    alone: np.ndarray,
    without: str = "3.9",
) -> Iterator[str]:
    """Say whether faders turn the answer with one head left alone, and what they cost.

    Parameters
    ----------
    desk : at which the faders move; its sentence is the one to repair
    faders : the scale, from 0 to 2, by the name of a head such as "1.11"
    expected : change of held-out accuracy in points; None if nothing is expected
    alone : change of the probability of the answer without each head, in points, layers by heads
    without : the head that has to stay as trained
    """
    if not isinstance(faders, Mapping):
        raise AttnlabError(
            tr(
                'Write heads and faders between braces, such as {{"1.11": 2}}, not {it!r}.',
                it=faders,
            )
        )
    if not faders:
        yield tr("Fill in at least one fader above, such as {example}.", example='{"1.11": 2}')
        return
    settings, forecast = HeadSettings(*alone.shape), 0.0
    for name, scale in faders.items():
        place = _head(name, *alone.shape)
        if place == _head(without, *alone.shape):
            raise AttnlabError(
                tr("Leave head {head} out: the task is to do without it.", head=without)
            )
        settings.scale[place] = _scale(name, scale)
        forecast += (1 - scale) * float(alone[place])
    if expected is not None:
        _points(expected)
    desk.settings = settings
    found = desk.wait().sentence
    before, after = (int(np.argmax(found[name])) for name in ("before", "after"))
    share = found["before"][before]
    yield tr(
        "By the map “{label}” would go from {share} to {forecast}; measured: {measured}.",
        label=found["labels"][before],
        share=percent(share),
        forecast=percent(min(1.0, max(0.0, share + forecast / 100))),
        measured=percent(found["after"][before]),
    )
    label = found["labels"][after]
    if before == after:
        yield tr("The answer is still “{label}”. Move one fader more.", label=label)
    else:
        yield tr(
            "The answer turns to “{label}”, with head {head} as it was.", label=label, head=without
        )
    yield f"{tr('Held-out reviews')}: {_cost(desk.accuracy, expected)}"


# ── what is filled in ──────────────────────────────────────────────────────────────────────────


def _head(name: object, layers: int, heads: int) -> Place:
    """Layer and number of one head, by its name."""
    places = _places(name, layers, heads)
    if "." not in str(name):
        raise AttnlabError(
            tr(
                "{name!r} is a whole layer. Name one head of it, such as {one!r}.",
                name=name,
                one=f"{name}.0",
            )
        )
    return places[0]


def _places(name: object, layers: int, heads: int) -> list[Place]:
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


def _points(points: object) -> None:
    """Refuse what is no change of accuracy."""
    if not _is_number(points) or not -100 <= points <= 100:
        raise AttnlabError(
            tr(
                "{points!r} is no change in points. Write a number from -100 to 100 without "
                "quotation marks, such as -2.",
                points=points,
            )
        )


def _scale(name: str, scale: object) -> Any:
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


def _cost(accuracy: dict[str, Any], expected: float | None) -> str:
    """A measured change beside the expected one, and what its interval says."""
    if accuracy["delta"] is None:
        return tr("all faders are at 1, so nothing changes.")
    low, high = accuracy["low"], accuracy["high"]
    told = tr(
        "{change} points (95 % interval {low} to {high}, {zero}).",
        change=signed_points(accuracy["delta"]),
        low=signed_points(low),
        high=signed_points(high),
        zero=tr("contains 0") if low <= 0 <= high else tr("leaves out 0"),
    )
    if expected is None:
        return told
    said = number(float(expected), 1, signed=True)
    if 100 * low <= expected <= 100 * high:
        return f"{told} {tr('You said {said}: inside.', said=said)}"
    return f"{told} {tr('You said {said}: outside.', said=said)}"


def __dir__() -> list[str]:
    return sorted(__all__)
