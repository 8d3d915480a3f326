"""Models of this package that take head settings themselves, without Transformers' interface."""

from collections.abc import Iterable
from typing import Any, Self

from torch import nn


class OwnModel(nn.Module):
    """A model whose forward pass takes ``settings=``, a `HeadSettings` of its size.

    `heads.applied`, `heads.prune`, `heads.size` and `heads.removed` work on it as on a model of
    Transformers.

    Attributes
    ----------
    layers, heads : size of its attention; heads removed for good still count
    """

    layers: int
    heads: int

    @property
    def removed_heads(self) -> list[tuple[int, int]]:
        """Heads (layer, head) that were removed for good."""
        raise NotImplementedError

    def without_heads(self, heads: Iterable[tuple[int, int]]) -> Self:
        """Return a new, smaller model without these heads and those removed before."""
        raise NotImplementedError


def own_model(target: Any) -> OwnModel | None:
    """The model of our own in a target, which may hold it as ``model``; None for other models."""
    if isinstance(target, OwnModel):
        return target
    inside = None if isinstance(target, nn.Module) else getattr(target, "model", None)
    return inside if isinstance(inside, OwnModel) else None
