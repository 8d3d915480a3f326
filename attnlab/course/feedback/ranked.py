"""What is said of a list of all heads, the largest effect first."""

from collections.abc import Iterator, Sequence

import numpy as np

from attnlab.classification.classifier import Classifier
from attnlab.course.feedback import filled_in
from attnlab.course.feedback.printed import printed
from attnlab.errors import AttnlabError
from attnlab.heads.settings import HeadSettings
from attnlab.languages import tr
from attnlab.show.wording import number

_ALIKE = 0.05  # points by which two effects may differ and count as equal


@printed
def ranking(clf: Classifier, text: str, ranked: Sequence[str]) -> Iterator[str]:
    """Compare a list of all heads, the largest effect first, with effects measured anew.

    Parameters
    ----------
    clf : whose heads they are
    text : the sentence whose answer they change
    ranked : names of all heads such as "L3H9", by how far silencing each one alone moves the answer
    """
    filled_in.sentence(text)
    if isinstance(ranked, str) or not isinstance(ranked, Sequence):
        raise AttnlabError(
            tr(
                'ranked has to be a list of names, such as ["L3H9", "L0H2"], not {it!r}.',
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
                name=filled_in.head_name(missing[0]),
            )
        )
    before, effects = _effects(clf, text)
    mine = np.array([effects[place] for place in places])
    best = sorted(np.ndindex(effects.shape), key=lambda place: -abs(effects[place]))
    first = ", ".join(
        f"{filled_in.head_name(place)} ({number(float(effects[place]), 1, signed=True)})"
        for place in best[:5]
    )
    if not _falls(np.abs(mine)):
        yield _wrong_order(ranked, mine, effects)
        return
    yield tr("All {count} heads are there, the largest effect first.", count=count)
    yield tr("The first five, with the change in points: {first}.", first=first)
    turning = int(((before + effects / 100 > 0.5) != (before > 0.5)).sum())
    yield tr("Heads that turn the answer alone: {turning}.", turning=turning)


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
    if list(ranked) == [filled_in.head_name(place) for place in np.ndindex(effects.shape)]:
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
