"""What is said of one head: where it looks, and whether a learner's mixture is its own."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from attnlab.classification.classifier import Classifier
from attnlab.course.feedback import filled_in
from attnlab.course.feedback.own_numbers import own_numbers, wrong_mixture
from attnlab.course.feedback.printed import printed
from attnlab.errors import AttnlabError
from attnlab.heads.maps import AttentionMaps
from attnlab.languages import tr

_CLEAR = 0.3  # mean weight from which a diagonal is seen


@printed
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


@printed
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
