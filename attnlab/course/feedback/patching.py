"""What is said of a learner's activation patching: one head's mixtures from another sentence."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.classification.classifier import Classifier
from attnlab.course.feedback import filled_in
from attnlab.course.feedback.printed import printed
from attnlab.errors import AttnlabError
from attnlab.heads.families import sites
from attnlab.languages import tr
from attnlab.show.wording import number

_ALIKE = 0.01  # points


@printed
def patched(
    clf: Classifier,
    text: str,
    twin: str,
    function: Callable[[str, str, int, int], Any],
    heads: Sequence[str] = ("L3H9", "L0H2", "L4H3"),
) -> Iterator[str]:
    """Compare a function that patches a head with what the same patch does here.

    Parameters
    ----------
    clf, text : the model, and what it reads
    twin : a text of as many tokens, whose mixtures are put in
    function : of text, twin, layer and head; gives the change of the probability of the second
        label, in points, when the head's mixtures in the text are replaced by those in the twin
    heads : layer and number of the heads to try
    """
    places = [filled_in.head(name, clf.layers, clf.heads) for name in heads]
    _need_partners(clf, text, twin)
    found = []
    for layer, head in places:
        try:
            given = _called(clf, function, text, twin, layer, head)
        except AttnlabError:
            raise
        except Exception as error:  # whatever a learner's function raises is told, not raised
            told = f"{type(error).__name__}: {error}"
            raise AttnlabError(tr("patched(...) fails: {error}", error=told)) from error
        if given is None:
            yield tr("patched gives None. Fill in what it returns, and run this cell again.")
            return
        found.append(_number(given))
    right = [_change(clf, text, twin, place) for place in places]
    for at, (name, got, own) in enumerate(zip(heads, found, right, strict=True)):
        if abs(got - own) > _ALIKE:
            yield tr(
                "Head {head}: patched gives {got}, where {own} is right.",
                head=name,
                got=f"{got:.4g}",
                own=number(own, 2, signed=True),
            )
            yield _why(clf, text, twin, places[at], places[0], got, own)
            return
    told = ", ".join(
        f"{name} {number(own, 1, signed=True)}" for name, own in zip(heads, right, strict=True)
    )
    yield tr("Right for {count} heads (points): {told}.", count=len(heads), told=told)


def patches(
    clf: Classifier,
    text: str,
    twin: str,
    function: Callable[[str, str, int, int], Any],
    *,
    told: bool = True,
) -> np.ndarray:
    """Patch every head by a learner's function, or by ours while theirs is not right.

    Parameters
    ----------
    clf, text, twin, function : as for `patched`
    told : say where our function took the place of the learner's

    Returns
    -------
    changes of the second label's probability in points (L, H)

    Raises
    ------
    AttnlabError : the texts differ in their number of tokens
    """
    _need_partners(clf, text, twin)
    own = all(
        _is_right(clf, text, twin, function, place)
        for place in ((0, 1), (clf.layers // 2, clf.heads - 1))  # no layer, no head in common
    )
    if not own and told:
        print(tr("Drawn with our function; with yours once it is right."))
    if own:
        every = (function(text, twin, *place) for place in np.ndindex(clf.layers, clf.heads))
        return np.array([float(change) for change in every]).reshape(clf.layers, clf.heads)
    before = clf.predict([text]).probabilities[0, 1]
    return np.array(
        [100 * (_heads_of(clf, text, twin, layer) - before) for layer in range(clf.layers)]
    )


def _is_right(
    clf: Classifier, text: str, twin: str, function: Callable[..., Any], place: tuple[int, int]
) -> bool:
    """Whether a learner's function patches this head as we do."""
    try:
        given = _called(clf, function, text, twin, *place)
        return given is not None and abs(_number(given) - _change(clf, text, twin, place)) <= _ALIKE
    except Exception:  # it is the learner's and may raise anything; `patched` has said what
        return False


def _need_partners(clf: Classifier, text: str, twin: str) -> None:
    """Refuse texts of unequal length: a token's mixture has to have a place in the other."""
    first, second = clf.encode([text, twin]).lengths
    if first != second:
        raise AttnlabError(
            tr(
                "The sentences have {first} and {second} tokens. Each token needs a partner: "
                "choose a word that is one token, too.",
                first=first,
                second=second,
            )
        )


def _called(
    clf: Classifier, function: Callable[..., Any], text: str, twin: str, layer: int, head: int
) -> Any:
    """What the function gives; hooks that it leaves behind are removed, and told."""
    before = {module: _hooks(module) for module in clf.model.modules()}
    try:
        given = function(text, twin, layer, head)
    finally:
        left = 0
        for module, known in before.items():
            for hooks in (module._forward_hooks, module._forward_pre_hooks):
                for key in [key for key in hooks if key not in known]:
                    del hooks[key]
                    left += 1
    if left and given is not None:
        raise AttnlabError(
            tr(
                "A hook is still in the model after patched(...), and changes every later answer. "
                "Call handle.remove() before you return. (It has been removed now.)"
            )
        )
    return given


def _hooks(module: torch.nn.Module) -> set[int]:
    return {*module._forward_hooks, *module._forward_pre_hooks}


def _number(given: Any) -> float:
    """The learner's result, if it is one number."""
    try:
        value = float(given)
    except (TypeError, ValueError, RuntimeError):
        value = math.nan
    if not math.isfinite(value):
        raise AttnlabError(
            tr("patched has to return one number, a change in points, not {it!r}.", it=given)
        )
    return value


def _change(
    clf: Classifier,
    text: str,
    twin: str,
    place: tuple[int, int],
    *,
    part: tuple[slice, slice] | None = None,
    zero: bool = False,
) -> float:
    """Change of the second label's probability, in points, with a part of a layer's mixtures
    (tokens, heads x D) taken from the twin; that of one head for all tokens unless it is given."""
    layer, head = place
    rows, columns = part or _head(clf, head)
    theirs = _mixtures(clf, twin, layer)
    if zero:
        theirs = torch.zeros_like(theirs)
    before = clf.predict([text]).probabilities[0, 1]
    after = _hooked(clf, [text], layer, _put(theirs, rows, columns))[0]
    return float(100 * (after - before))


def _heads_of(clf: Classifier, text: str, twin: str, layer: int) -> np.ndarray:
    """Probability of the second label with each head of a layer patched (H,): a row for each."""
    theirs = _mixtures(clf, twin, layer)[0]

    def put(mixtures: Tensor) -> Tensor:
        mixtures = mixtures.clone()
        for head in range(clf.heads):
            _, columns = _head(clf, head)
            mixtures[head, :, columns] = theirs[:, columns]
        return mixtures

    return _hooked(clf, [text] * clf.heads, layer, put)


def _head(clf: Classifier, head: int) -> tuple[slice, slice]:
    """Where the mixtures of one head stand among (tokens, heads x D): all rows, its columns."""
    size = clf.model.config.hidden_size // clf.heads
    return slice(None), slice(head * size, (head + 1) * size)


def _put(theirs: Tensor, rows: slice, columns: slice) -> Callable[[Tensor], Tensor]:
    """A change of mixtures (1, tokens, heads x D): a part of them is taken from others."""

    def put(mixtures: Tensor) -> Tensor:
        mixtures = mixtures.clone()
        mixtures[:, rows, columns] = theirs[:, rows, columns]
        return mixtures

    return put


def _mixtures(clf: Classifier, text: str, layer: int) -> Tensor:
    """The mixtures of all heads of a layer, side by side (1, tokens, heads x D)."""
    noted: list[Tensor] = []

    def note(mixtures: Tensor) -> Tensor:
        noted.append(mixtures.clone())
        return mixtures

    _hooked(clf, [text], layer, note)
    return noted[0]


def _hooked(
    clf: Classifier, texts: list[str], layer: int, change: Callable[[Tensor], Tensor]
) -> np.ndarray:
    """Probability of the second label (N,) while a function changes a layer's mixtures."""
    site, mine = sites(clf.model)[layer], threading.get_ident()
    joined = getattr(site.output_parent, site.output_name)  # reads the mixtures of all heads

    def hook(_: torch.nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if threading.get_ident() != mine:  # a desk may measure with the same model meanwhile
            return None
        return (change(given[0]), *given[1:])

    handle = joined.register_forward_pre_hook(hook)
    try:
        return clf.predict(texts).probabilities[:, 1]
    finally:
        handle.remove()


def _why(
    clf: Classifier,
    text: str,
    twin: str,
    place: tuple[int, int],
    first: tuple[int, int],
    got: float,
    own: float,
) -> str:
    """What the number is instead of the change; first is the head that was tried first."""
    whole, mine = _head(clf, place[1])
    before = 100 * float(clf.predict([text]).probabilities[0, 1])
    other = 100 * float(clf.predict([twin]).probabilities[0, 1])

    def change(place: tuple[int, int] = place, **named: Any) -> float:
        return _change(clf, text, twin, place, **named)

    reasons = (
        (
            0.0,
            tr(
                "Nothing changes. Does the hook write into the mixtures of “text”, and is it in "
                "the model while the model answers?"
            ),
        ),
        (own / 100, tr("Points are hundredths: multiply by 100.")),
        (-own, tr("The sign is turned round: the change is after minus before.")),
        (before + own, tr("That is the new probability. Subtract the one before.")),
        ((before + own) / 100, tr("That is the new probability. Subtract the one before.")),
        (
            other - before,
            tr("You compare the two sentences. Put only this head's numbers into “text”."),
        ),
        (
            _change(clf, twin, text, place),
            tr("The sentences have changed places: keep from “twin”, put into “text”."),
        ),
        (
            change(part=(whole, whole)),
            tr("That replaces all heads of the layer. Replace only the columns of this head."),
        ),
        (change(zero=True), tr("That silences the head. Put in what it makes for “twin”.")),
        (
            change(part=(slice(0, 1), mine)),
            tr("That replaces the numbers of one token. Replace them for all tokens."),
        ),
    )
    for wrong, why in reasons:
        if abs(got - wrong) <= _ALIKE / 10 * max(1.0, abs(wrong)):
            return why
    if place != first:
        for stuck in (first, (place[0], first[1]), (first[0], place[1])):
            if abs(got - change(place=stuck)) <= _ALIKE / 10:
                return tr(
                    "That is head {head}. Do layer and columns follow the arguments?",
                    head=filled_in.head_name(stuck),
                )
    return tr("Does the hook sit on the attention of this layer, and write to this head's columns?")
