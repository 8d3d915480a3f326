"""What is said of faders at a desk: what they cost, and whether they repair a sentence."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.course.feedback import filled_in
from attnlab.course.feedback.printed import printed
from attnlab.errors import AttnlabError
from attnlab.heads.settings import HeadSettings
from attnlab.languages import tr
from attnlab.show.wording import number, percent, signed_points

if TYPE_CHECKING:
    from attnlab.show.widgets.head_mixer import HeadMixer


@printed
def silenced(desk: "HeadMixer", expected: Mapping[str, float | None]) -> Iterator[str]:
    """Silence heads and layers, one entry after the other, and measure what each costs.

    Parameters
    ----------
    desk : at which the faders move
    expected : change of held-out accuracy in points, by the name of a head such as "L5H9", or of a
        layer such as "L5"; None if nothing is expected yet
    """
    if not isinstance(expected, Mapping):
        raise AttnlabError(
            tr(
                'Write names and points between braces, such as {{"L5H9": -2}}, not {it!r}.',
                it=expected,
            )
        )
    layers, heads = desk.size["layers"], desk.size["heads"]
    for name, points in expected.items():
        places = filled_in.places(name, layers, heads)
        what = _named(name, places)
        if points is None:
            yield tr(
                "{what}: write the points that you expect in place of None, such as -2.", what=what
            )
            continue
        filled_in.points(points)
        settings = HeadSettings(layers, heads)
        for place in places:
            settings.scale[place] = 0
        desk.settings = settings
        yield f"{tr('{what} silent', what=what)}: {_cost(desk.wait().accuracy, points)}"


@printed
def repair(
    desk: "HeadMixer",
    faders: Mapping[str, float],
    expected: float | None,
    alone: np.ndarray,
    without: str = "L3H9",
) -> Iterator[str]:
    """Say whether faders turn the answer with one head left alone, and what they cost.

    Parameters
    ----------
    desk : at which the faders move; its sentence is the one to repair
    faders : the scale, from 0 to 2, by the name of a head such as "L1H11"
    expected : change of held-out accuracy in points; None if nothing is expected
    alone : change of the probability of the answer without each head, in points, layers by heads
    without : the head that has to stay as trained
    """
    if not isinstance(faders, Mapping):
        raise AttnlabError(
            tr(
                'Write heads and faders between braces, such as {{"L1H11": 2}}, not {it!r}.',
                it=faders,
            )
        )
    if not faders:
        yield tr("Fill in at least one fader above, such as {example}.", example='{"L1H11": 2}')
        return
    settings, forecast, singles = HeadSettings(*alone.shape), 0.0, []
    for name, scale in faders.items():
        place = filled_in.head(name, *alone.shape)
        if place == filled_in.head(without, *alone.shape):
            raise AttnlabError(
                tr("Leave head {head} out: the task is to do without it.", head=without)
            )
        settings.scale[place] = filled_in.scale(name, scale)
        singles.append(HeadSettings(*alone.shape))
        singles[-1].scale[place] = settings.scale[place]
        forecast += (1 - scale) * float(alone[place])
    if expected is not None:
        filled_in.points(expected)
    desk.settings = settings
    found = desk.wait().sentence
    before, after = (int(np.argmax(found[name])) for name in ("before", "after"))
    share = found["before"][before]
    single = [100 * (desk.probabilities(one)[before] - share) for one in singles]
    yield tr(
        "By the map “{label}” would go from {share} to {forecast}; measured: {measured}.",
        label=found["labels"][before],
        share=percent(share),
        forecast=percent(min(1.0, max(0.0, share + forecast / 100))),
        measured=percent(found["after"][before]),
    )
    if len(single) > 1:
        yield tr(
            "Measured one at a time, in points: {effects}. By their sum: {share}.",
            effects=", ".join(
                f"{name} {number(effect, 1, signed=True)}"
                for name, effect in zip(faders, single, strict=True)
            ),
            share=percent(min(1.0, max(0.0, share + sum(single) / 100))),
        )
    label = found["labels"][after]
    if before == after:
        yield tr("The answer is still “{label}”. Move one fader more.", label=label)
    else:
        yield tr(
            "The answer turns to “{label}”, with head {head} as it was.", label=label, head=without
        )
    yield f"{tr('Held-out reviews')}: {_cost(desk.accuracy, expected)}"


def _named(name: str, places: Sequence[tuple[int, int]]) -> str:
    """A layer or a head in words, by the name that its learner gives it."""
    if len(places) == 1:
        return tr("Head {name}", name=name)
    return tr("Layer {name}", name=name.strip().lstrip("Ll"))


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
        told += f" {tr('You said {said}: inside.', said=said)}"
    else:
        told += f" {tr('You said {said}: outside.', said=said)}"
    if expected > 0 > accuracy["delta"]:
        told += f" {tr('That is a gain. A loss has a minus, such as -1.')}"
    return told
