"""What is said of one head: where it looks, and whether a learner's mixture is its own."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from attnlab.classification.classifier import Classifier
from attnlab.course.feedback import filled_in
from attnlab.course.feedback.own_numbers import own_numbers, wrong_mixture
from attnlab.course.feedback.printed import printed
from attnlab.errors import AttnlabError
from attnlab.heads.maps import AttentionMaps
from attnlab.languages import tr

_BY_HAND = 0.011  # numbers are rounded on the way
_CLEAR = 0.3  # mean weight from which a diagonal is seen


@printed
def diagonal(maps: AttentionMaps, head: str) -> Iterator[str]:
    """Say how much weight the tokens give to the one before, to themselves and to the next.

    Parameters
    ----------
    maps : from clf.attend(text)
    head : its layer and number, such as "L0H2"; empty if nothing is said yet
    """
    if isinstance(head, str) and not head.strip():
        yield tr("Name a head above, such as {example!r}, and run this cell again.", example="L0H2")
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
    yield tr(
        "Head {head}, mean weight: {parts}.", head=filled_in.head_name((layer, column)), parts=parts
    )
    if found[name] < _CLEAR:
        yield tr("None of the three is large: this head has no clear diagonal.")
    else:
        yield tr("The largest of the three goes to {name}.", name=name)


@printed
def weights(
    said: Sequence[float], query: Sequence[float], keys: Sequence[Sequence[float]]
) -> Iterator[str]:
    """Compare weights that were worked out on paper with those of a query and its keys.

    Parameters
    ----------
    said : a weight for each key; empty if nothing is said yet
    query : of d numbers
    keys : of d numbers each
    """
    dots = torch.tensor(keys, dtype=torch.float32) @ torch.tensor(query, dtype=torch.float32)
    scores = dots / len(query) ** 0.5
    right = scores.softmax(0)
    if isinstance(said, Sequence) and len(said) == 0:
        yield tr("Write your {count} weights above, and run this cell again.", count=len(right))
        return
    try:
        mine = torch.tensor([float(one) for one in said])
    except (TypeError, ValueError):
        mine = torch.empty(0)
    if mine.shape != right.shape:
        raise AttnlabError(
            tr("Write {count} numbers between brackets, not {it!r}.", count=len(right), it=said)
        )
    told = ", ".join(f"{weight:.2f}" for weight in right.tolist())
    if torch.allclose(mine, right, rtol=0, atol=_BY_HAND):
        yield tr("Right: {weights}.", weights=told)
        return
    reasons = (
        (dots, tr("These are the dot products: divide them by √{size}.", size=len(query))),
        (scores, tr("These are the scores: now the softmax turns them into weights.")),
        (dots.softmax(0), tr("Divide the dot products by √{size} first.", size=len(query))),
        (scores.exp(), tr("These are the powers: divide each by their sum.")),
        (scores / scores.sum(), tr("Raise e to the power of each score before you take shares.")),
    )
    for wrong, why in reasons:
        if torch.allclose(mine, wrong, rtol=0.01, atol=_BY_HAND):
            yield why
            return
    if abs(float(mine.sum()) - 1) > _BY_HAND * len(mine):
        yield tr("Weights sum to 1; yours sum to {sum:.2f}.", sum=float(mine.sum()))
    else:
        yield tr("These are others. Work out the {count} dot products again.", count=len(right))


@printed
def mixture(
    clf: Classifier, text: str, function: Callable[..., Any], head: str = "L3H9"
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
