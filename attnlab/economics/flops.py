"""Floating-point operations of a forward pass, by formula, and how they grow with the text."""

from collections.abc import Sequence

import pandas as pd

from attnlab.economics.shapes import (
    ATTENTION,
    FEED_FORWARD,
    PARTS,
    Shape,
    Sizes,
    encoder_decoder_size,
)
from attnlab.errors import AttnlabError
from attnlab.transformer import active_heads, flops_of

__all__ = ["crossing", "flops", "flops_by_part", "growth"]

_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def flops(shape: Sizes, tokens: int = 32, batch: int = 1, target_tokens: int | None = None) -> int:
    """Count the floating-point operations of the matrix products in one forward pass.

    Parameters
    ----------
    shape : Shape, or ``model.size`` of a `Seq2SeqTransformer`
    tokens : T, of each text
    batch : B, texts
    target_tokens : of each translation, for an encoder-decoder; default ``tokens``

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
    return sum(flops_by_part(shape, tokens, batch, target_tokens).values())


def flops_by_part(
    shape: Sizes, tokens: int = 32, batch: int = 1, target_tokens: int | None = None
) -> dict[str, int]:
    """Count floating-point operations by part, one of `PARTS` each; see `flops`.

    Notes
    -----
    A matrix of W weights costs 2 W for each token it meets; the classifier meets one of each text.
    Scores cost 2 T² D for each head, and as much again to weigh the values. A layer without heads
    still attends, to zeros, as one head does: its output is the bias, and Transformers asks it.
    """
    for name, value in (("tokens", tokens), ("batch", batch), ("target_tokens", target_tokens)):
        wrong = isinstance(value, bool) or not isinstance(value, int) or value < 1
        if wrong and not (name == "target_tokens" and value is None):
            raise AttnlabError(f"{name} is {value!r}; expected a whole number of at least 1.")
    if not isinstance(shape, Shape):
        return _of_encoder_decoder(shape, tokens, target_tokens or tokens, batch)
    if target_tokens is not None:
        raise AttnlabError(
            "target_tokens= is for an encoder-decoder; this shape is a classifier's."
        )
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


def _of_encoder_decoder(shape: Sizes, tokens: int, target: int, batch: int) -> dict[str, int]:
    size = encoder_decoder_size(shape)
    counted = dict(flops_of(size, tokens, target, batch).itertuples(index=False))
    heads = {kind: sum(map(len, layers)) for kind, layers in active_heads(size).items()}
    pairs = {"encoder": tokens * tokens, "decoder": target * target, "cross": target * tokens}
    scored = sum(heads[kind] * pairs[kind] for kind in heads)
    scores = 4 * batch * scored * (size["d_model"] // size["heads"])
    attention = sum(count for part, count in counted.items() if "attention" in part)
    networks = sum(count for part, count in counted.items() if "feed-forward" in part)
    counts = (0, attention - scores, scores, networks, counted["output"])
    return dict(zip(PARTS, counts, strict=True))


def growth(shape: Sizes, tokens: Sequence[int] = _LENGTHS, batch: int = 1) -> pd.DataFrame:
    """Return FLOPs by part for several lengths: only attention scores grow with the square.

    Returns
    -------
    DataFrame, a row per length: ``tokens``, the FLOPs of each of `PARTS`, their sum ``flops``, and
    ``scores_share``, that of the attention scores, 0 to 1
    """
    rows = [{"tokens": length, **flops_by_part(shape, length, batch)} for length in tokens]
    table = pd.DataFrame(rows, columns=["tokens", *PARTS])
    table["flops"] = table[list(PARTS)].sum(axis=1)
    return table.assign(scores_share=table["attention scores"] / table["flops"])


def crossing(shape: Sizes, part: str | None = None) -> int:
    """Return the shortest text whose attention scores cost as many FLOPs as a part, in tokens.

    Parameters
    ----------
    part : one of `PARTS`; None for all others together

    Raises
    ------
    AttnlabError : another part, or the scores themselves

    Examples
    --------
    >>> shape = Shape.of(layers=12, heads=12, neurons=3072, width=768)
    >>> crossing(shape, "attention projections")  # twice the width
    1536
    >>> crossing(shape)
    4609
    """
    if part not in (None, *PARTS) or part == "attention scores":
        raise AttnlabError(
            f"There is no part {part!r}; expected one of {', '.join(PARTS)}, or None."
        )

    def dearer(tokens: int) -> bool:
        counts = flops_by_part(shape, tokens)
        scores = counts.pop("attention scores")
        return scores >= (sum(counts.values()) if part is None else counts[part])

    high = 1
    while not dearer(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if dearer(middle) else (middle, high)
    return high


def __dir__() -> list[str]:
    return sorted(__all__)
