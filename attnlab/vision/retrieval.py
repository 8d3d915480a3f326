"""Two encoders, one space: pictures and words that belong together lie close together."""

import math

import torch
from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.errors import TensorError

__all__ = ["SharedSpace", "contrastive_loss", "recall_at"]

MOST = 100.0  # similarities are multiplied by at most so much, as in CLIP


class SharedSpace(nn.Module):
    """Projects the vectors of two encoders to unit vectors of one width; learns a temperature.

    Parameters
    ----------
    image_width, text_width : of the two encoders' vectors
    width : of the shared space
    temperature : at the start

    Attributes
    ----------
    temperature : Tensor, shape (), at least 0.01; it is learned as a logarithm

    Source: Radford et al. 2021 (CLIP), section 2.3.
    """

    def __init__(
        self, image_width: int, text_width: int, width: int = 64, temperature: float = 0.07
    ):
        super().__init__()
        self.image = nn.Linear(image_width, width, bias=False)
        self.text = nn.Linear(text_width, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    @property
    def temperature(self) -> Tensor:
        """What similarities are divided by."""
        return 1 / self.log_scale.exp().clamp(max=MOST)

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of pictures and of texts, shapes (B, width) and (C, width)."""
        projected = (self.image(images), self.text(texts))
        first, second = (nn.functional.normalize(vectors, dim=-1) for vectors in projected)
        return first, second


def contrastive_loss(images: Tensor, texts: Tensor, temperature: Tensor | float) -> Tensor:
    """Cross-entropy of finding the text of each picture in the batch, and the picture of each text.

    Parameters
    ----------
    images, texts : Tensor, shape (B, E), unit vectors; row i of one belongs to row i of the other
    temperature : divides the similarities

    Returns
    -------
    Tensor, shape (), in nats, the mean of both directions; log(B) if nothing tells pairs apart

    Source: Radford et al. 2021, figure 3.

    >>> contrastive_loss(torch.eye(4), torch.eye(4), 0.01).item()
    0.0
    """
    if images.dim() != 2 or images.shape != texts.shape or len(images) < 2:
        raise TensorError(
            f"images {shapes.shown(images)} and texts {shapes.shown(texts)}: expected pairs, both "
            "(B, E), at least two: the others of the batch are what is told apart."
        )
    logits = images @ texts.T / temperature  # (B, B)
    own = torch.arange(len(logits), device=logits.device)
    across = nn.functional.cross_entropy(logits, own)
    return (across + nn.functional.cross_entropy(logits.T, own)) / 2


def recall_at(similarities: Tensor, right: Tensor, k: int) -> float:
    """Share of queries that find a right item among their ``k`` most similar ones.

    Parameters
    ----------
    similarities : Tensor, shape (queries, items)
    right : Tensor of bool, same shape, which items are right for a query
    k : how many are looked at
    """
    shapes.check_bool(right)
    if right.shape != similarities.shape or not 1 <= k <= similarities.shape[-1]:
        raise TensorError(
            f"similarities {shapes.shown(similarities)}, right {shapes.shown(right)}, k = {k}: "
            "expected two tables (queries, items) of one shape, and k from 1 to the items."
        )
    best = similarities.topk(k).indices
    return right.gather(1, best).any(1).float().mean().item()


def __dir__() -> list[str]:
    return sorted(__all__)
