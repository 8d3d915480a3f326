"""What lesson 00 says of a learner's predictions: they stand beside what the model does.

Nothing is graded. Each function measures at once, and prints what it found. Where nothing is filled
in, or what is filled in makes no sense, it prints what to write instead, and no cell fails.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnlab.classification.classifier import Classifier
from attnlab.course import filled_in
from attnlab.course.one_head import own_numbers, wrong_mixture
from attnlab.errors import AttnlabError, suggest
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.languages import tr
from attnlab.show.wording import number, percent, signed_points

if TYPE_CHECKING:
    from attnlab.show.widgets.head_mixer import HeadMixer

__all__ = ["designed", "diagonal", "mixture", "ranking", "repair", "silenced", "word"]

_CLEAR = 0.3  # mean weight from which a diagonal is seen
_ALIKE = 0.05  # points by which two effects may differ and count as equal


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
    layer, column = filled_in.head(head, maps.layers, maps.heads)
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
        yield tr("The largest of the three goes to {name}.", name=name)


@_printed
def mixture(
    clf: Classifier, text: str, function: Callable[..., Any], head: str = "3.9"
) -> Iterator[str]:
    """Compare a function that mixes values with what one head of the model makes of a text.

    Parameters
    ----------
    clf, text : the model, and what it reads (T tokens)
    function : from queries, keys and values of the head, each (T, D), to its mixtures (T, D)
    head : its layer and number
    """
    *parts, own = own_numbers(clf, text, *filled_in.head(head, clf.layers, clf.heads))
    try:
        given = function(*(part.clone() for part in parts))
        got = None if given is None else torch.as_tensor(given).detach().float()
    except Exception as error:  # whatever a learner's function raises is told, not raised
        told = f"{type(error).__name__}: {error}"
        raise AttnlabError(tr("mixture(...) fails: {error}", error=told)) from error
    if got is None:
        yield tr("mixture gives None. Fill in what it returns, and run this cell again.")
    elif got.shape != own.shape or not torch.allclose(got, own, atol=1e-4):
        yield wrong_mixture(got, *parts)
    else:
        yield tr(
            "Right: head {head} makes the same {size} numbers for each of the {count} tokens "
            "(largest difference {largest}).",
            head=head,
            size=own.shape[1],
            count=len(own),
            largest=f"{float((got - own).abs().max()):.0e}",
        )


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
        places = filled_in.places(name, layers, heads)
        what = tr("Layer {name}", name=name) if "." not in name else tr("Head {name}", name=name)
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


@_printed
def ranking(clf: Classifier, text: str, ranked: Sequence[str]) -> Iterator[str]:
    """Compare a list of all heads, the largest effect first, with effects measured anew.

    Parameters
    ----------
    clf : whose heads they are
    text : the sentence whose answer they change
    ranked : names of all heads such as "3.9", by how far silencing each one alone moves the answer
    """
    filled_in.sentence(text)
    if isinstance(ranked, str) or not isinstance(ranked, Sequence):
        raise AttnlabError(
            tr(
                'ranked has to be a list of names, such as ["3.9", "0.2"], not {it!r}.',
                it=ranked,
            )
        )
    if not ranked:
        yield tr("The list is empty. Write the lines that fill it, and run this cell again.")
        return
    places = [filled_in.head(name, clf.layers, clf.heads) for name in ranked]
    count = clf.layers * clf.heads
    if twice := [
        name for name, place in zip(ranked, places, strict=True) if places.count(place) > 1
    ]:
        raise AttnlabError(tr("Head {name} is in the list more than once.", name=twice[0]))
    if missing := [place for place in np.ndindex(clf.layers, clf.heads) if place not in places]:
        raise AttnlabError(
            tr(
                "{found} of {count} heads are in the list; head {name} is missing.",
                found=len(places),
                count=count,
                name=f"{missing[0][0]}.{missing[0][1]}",
            )
        )
    before, effects = _effects(clf, text)
    mine = np.array([effects[place] for place in places])
    best = sorted(np.ndindex(effects.shape), key=lambda place: -abs(effects[place]))
    first = ", ".join(
        f"{layer}.{head} ({number(float(effects[layer, head]), 1, signed=True)})"
        for layer, head in best[:5]
    )
    if not _falls(np.abs(mine)):
        yield _wrong_order(ranked, mine, effects)
        return
    yield tr("All {count} heads are there, the largest effect first.", count=count)
    yield tr("The first five, with the change in points: {first}.", first=first)
    turning = int(((before + effects / 100 > 0.5) != (before > 0.5)).sum())
    yield tr("Heads that turn the answer alone: {turning}.", turning=turning)


@_printed
def designed(clf: Classifier, text: str, meant: str, said: str) -> Iterator[str]:
    """Say whether the model is fooled by a sentence, and on which word its answer hangs.

    Parameters
    ----------
    clf : the model to fool
    text : a sentence
    meant : its right label
    said : the label that the model is expected to give; empty if nothing is said yet
    """
    if not isinstance(text, str) or not text.strip():
        yield tr("Write a sentence of your own above, and run this cell again.")
        return
    if said == "":
        yield tr(
            "Say first what the model will answer: {labels}.",
            labels=", ".join(repr(label) for label in clf.label_names),
        )
        return
    for label in (meant, said):
        if label not in clf.label_names:
            near = suggest(str(label), clf.label_names)
            raise AttnlabError(tr("There is no label {label!r}. {near}", label=label, near=near))
    answer = clf.predict([text])
    given, index = answer.labels[0], int(answer.probabilities[0].argmax())
    share = float(answer.probabilities[0, index])
    line = tr("The model answers “{label}” ({share}).", label=given, share=percent(share))
    as_said = tr("As you said.") if given == said else tr("You said “{said}”.", said=said)
    yield f"{line} {as_said}"
    if given == meant:
        yield tr("That is what you mean. So it is not fooled: change the sentence.")
        return
    yield tr("You mean “{meant}”: it is fooled.", meant=meant)
    words = re.findall(r"\w+(?:['’-]\w+)*|[^\w\s]", text)
    known = [at for at, word in enumerate(words) if word[0].isalnum()]
    if len(known) < 2:
        return
    shorter = [" ".join(words[:at] + words[at + 1 :]) for at in known]
    found = clf.predict(shorter)
    turning = [words[at] for at, now in zip(known, found.labels, strict=True) if now != given]
    if turning:
        names = ", ".join(f"“{word}”" for word in turning)
        yield tr("Leave out one of these words, and its answer turns: {names}.", names=names)
        return
    change = 100 * (found.probabilities[:, index] - share)
    yield tr(
        "No single word turns its answer. Without “{word}” it changes most, by {change} points.",
        word=words[known[int(change.argmin())]],
        change=number(float(change.min()), 0, signed=True),
    )


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


# ── what is measured anew ──────────────────────────────────────────────────────────────────────


def _effects(clf: Classifier, text: str) -> tuple[float, np.ndarray]:
    """Probability of the second label, and its change without each head in points (L, H)."""
    before = float(clf.predict([text]).probabilities[0, 1])
    effects = np.zeros((clf.layers, clf.heads))
    for place in np.ndindex(effects.shape):
        settings = HeadSettings(clf.layers, clf.heads)
        settings.scale[place] = 0
        effects[place] = 100 * (clf.predict([text], settings).probabilities[0, 1] - before)
    return before, effects


def _falls(values: np.ndarray) -> bool:
    """Whether no value is larger than one before it."""
    return bool((np.diff(values) <= _ALIKE).all())


def _wrong_order(ranked: Sequence[str], mine: np.ndarray, effects: np.ndarray) -> str:
    """Why heads with these effects are not in the order of their size."""
    sizes = np.abs(mine)
    if _falls(-sizes):
        return tr("The smallest effect is first. Turn the order round.")
    if _falls(mine) or _falls(-mine):
        return tr(
            "These are in the order of their signs, from one end to the other. A fall counts as "
            "much as a rise: sort by the size, abs(change)."
        )
    names = [f"{layer}.{head}" for layer, head in np.ndindex(effects.shape)]
    if list(ranked) == names:
        return tr(
            "These are in the order of layers and heads. Sort them by the size of the effect."
        )
    at = int(np.argmax(sizes < np.flip(np.maximum.accumulate(np.flip(sizes))) - _ALIKE))
    later = at + int(sizes[at:].argmax())
    return tr(
        "Number {place} is {name} ({change} points), but {other} moves the answer more ({more}).",
        place=at + 1,
        name=ranked[at],
        change=number(float(mine[at]), 1, signed=True),
        other=ranked[later],
        more=number(float(mine[later]), 1, signed=True),
    )


# ── what is printed ────────────────────────────────────────────────────────────────────────────


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


def __dir__() -> list[str]:
    return sorted(__all__)
