"""Floating-point operations of a forward pass, by formula."""

from attnlab.economics.shapes import ATTENTION, FEED_FORWARD, PARTS, Shape
from attnlab.errors import AttnlabError

__all__ = ["flops", "flops_by_part"]


def flops(shape: Shape, tokens: int = 32, batch: int = 1) -> int:
    """Count the floating-point operations of the matrix products in one forward pass.

    Parameters
    ----------
    shape : Shape
    tokens : T, of each text
    batch : B, texts

    Returns
    -------
    int : a multiplication with its addition counts as 2, as torch's FlopCounterMode has it

    Raises
    ------
    AttnlabError : numbers of tokens or texts that are none

    Examples
    --------
    >>> flops(Shape.of(layers=12, heads=12, neurons=3072, width=768), tokens=128)
    22348434432
    """
    return sum(flops_by_part(shape, tokens, batch).values())


def flops_by_part(shape: Shape, tokens: int = 32, batch: int = 1) -> dict[str, int]:
    """Count floating-point operations by part, one of `PARTS` each; see `flops`.

    Notes
    -----
    A matrix of W weights costs 2 W for each token it meets; the classifier meets one of each text.
    Scores cost 2 T² D for each head, and as much again to weigh the values. A layer without heads
    still attends, to zeros, as one head does: its output is the bias, and Transformers asks it.
    """
    for name, value in (("tokens", tokens), ("batch", batch)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise AttnlabError(f"{name} is {value!r}; expected a whole number of at least 1.")
    layers = range(len(shape.layers))
    scored = sum(max(count, 1) for count, _ in shape.layers) * shape.head_width
    weights = (
        shape.embedding_width * shape.width if shape.has_projection else 0,
        sum(shape.weights(layer, name) for layer in layers for name in ATTENTION),
        2 * tokens * scored,
        sum(shape.weights(layer, name) for layer in layers for name in FEED_FORWARD),
    )
    counts = [2 * batch * tokens * count for count in weights]
    counts.append(2 * batch * (shape.width * shape.width + shape.width * shape.classes))
    return dict(zip(PARTS, counts, strict=True))


def __dir__() -> list[str]:
    return sorted(__all__)
