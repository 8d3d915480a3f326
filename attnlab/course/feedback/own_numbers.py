"""What one head of a model makes of each token, and what a learner's mixture is instead of it."""

import threading

import torch
from torch import Tensor

from attnlab.classification.classifier import Classifier
from attnlab.heads.families import sites
from attnlab.languages import tr

__all__ = ["own_numbers", "wrong_mixture"]


def own_numbers(clf: Classifier, text: str, layer: int, head: int) -> list[Tensor]:
    """Queries, keys, values and mixtures of one head (T, D), as the model makes them."""
    site, mine = sites(clf.model)[layer], threading.get_ident()
    noted: list[Tensor] = []

    def note(made: Tensor) -> None:
        if threading.get_ident() == mine:  # a desk may measure with the same model meanwhile
            noted.append(made)

    projections = [getattr(site.module, name) for name in (site.query, site.key, site.value)]
    joined = getattr(site.output_parent, site.output_name)  # reads the mixtures of all heads
    handles = [part.register_forward_hook(lambda *told: note(told[2])) for part in projections]
    handles.append(joined.register_forward_pre_hook(lambda _, given: note(given[0])))
    try:
        clf.predict([text])
    finally:
        for handle in handles:
            handle.remove()
    size = noted[0].shape[-1] // clf.heads
    return [made[0, :, head * size : (head + 1) * size].float().cpu() for made in noted]


def wrong_mixture(got: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> str:
    """What a learner's mixtures are instead of the head's; queries, keys and values are (T, D)."""
    scores, size = queries @ keys.T, values.shape[1]
    scaled = scores / size**0.5
    weights = scaled.softmax(1)
    reasons = (
        (weights, tr("These are the weights. Multiply each value by its weight, and add up.")),
        (scores.softmax(1) @ values, tr("Divide the scores by √{size} first.", size=size)),
        ((scores / size).softmax(1) @ values, tr("Divide by the root of {size}.", size=size)),
        (scaled @ values, tr("These scores are no weights yet: take their softmax.")),
        (
            scaled.softmax(0) @ values,
            tr("The weights of each row have to sum to 1: take the softmax with dim=1."),
        ),
        (scaled.T.softmax(1) @ values, tr("Row i of the scores belongs to query i, not key i.")),
        (weights @ keys, tr("You mix the keys. Mix the values.")),
    )
    for wrong, why in reasons:
        if got.shape == wrong.shape and torch.allclose(got, wrong, atol=1e-4):
            return why
    if got.shape != values.shape:
        return tr(
            "The result has the shape {got}; mixtures have that of the values, {right}.",
            got=tuple(got.shape),
            right=tuple(values.shape),
        )
    return tr("These are not the head's numbers. Go through section 3 again, step by step.")


def __dir__() -> list[str]:
    return __all__
