"""A vision Transformer: patches for tokens, and the encoder of lesson 03 for the rest.

In comments B is batch, C channels, H and W height and width in pixels, N the number of patches, T
tokens ([CLS] included, if there is one), E d_model.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from attnlab.attention import (
    MultiHeadAttention,
    rotary_angles_2d,
    shapes,
    sinusoidal_positions_2d,
)
from attnlab.errors import ModelError, TensorError, suggest
from attnlab.transformer import EncoderLayer
from attnlab.transformer.cache import Seen
from attnlab.vision.patches import PatchEmbedding, grid_of

__all__ = ["Pool", "Positions", "VisionTransformer"]

Pool = Literal["cls", "mean", "attention"]
Positions = Literal["learned", "sinusoidal", "rotary", "none"]
_CHOICES = {
    "pool": ("cls", "mean", "attention"),
    "positions": ("learned", "sinusoidal", "rotary", "none"),
}


class VisionTransformer(nn.Module):
    """An encoder of patches that chooses one of several classes for a picture.

    Parameters
    ----------
    image : height and width in pixels, or one number for both
    patch : side of a patch, in pixels
    d_model, heads, layers : size of the encoder, which normalises before each sublayer
    classes : number of labels
    channels : 1 for grey pictures, 3 for colour
    feed_forward : width between the two linear maps of a layer, with a GELU; default 4 * d_model
    pool : what the answer is read from: a token "cls" of its own, the "mean" of all patches, or
        "attention" of one learned query to them
    positions : "learned" or "sinusoidal" vectors, added to the patches; "rotary", queries and keys
        turned by row and column; or "none": then the order of the patches makes no difference
    stem : small convolutions before the patches; see `PatchEmbedding`
    dropout : share of the numbers set to 0 while training

    Attributes
    ----------
    size : dict of these parameters
    grid : rows and columns of patches

    Source: Dosovitskiy et al. 2021, "An image is worth 16 x 16 words".
    """

    positions: Tensor | None
    angles: Tensor | None

    def __init__(
        self,
        image: int | tuple[int, int],
        patch: int,
        d_model: int,
        heads: int,
        layers: int,
        classes: int,
        *,
        channels: int = 1,
        feed_forward: int | None = None,
        pool: Pool = "cls",
        positions: Positions = "learned",
        stem: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        height, width = (image, image) if isinstance(image, int) else image
        feed_forward = 4 * d_model if feed_forward is None else feed_forward
        self.size: dict[str, Any] = {
            "image": (height, width),
            "patch": patch,
            "d_model": d_model,
            "heads": heads,
            "layers": layers,
            "classes": classes,
            "channels": channels,
            "feed_forward": feed_forward,
            "pool": pool,
            "positions": positions,
            "stem": stem,
            "dropout": dropout,
        }
        _check_size(self.size)
        self.grid = grid_of(height, width, patch)
        self.embedding = PatchEmbedding(patch, channels, d_model, stem)
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, d_model)) if pool == "cls" else None
        self._place(positions, d_model, d_model // heads)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, heads, feed_forward, dropout, fused=True, activation="gelu")
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(d_model)
        if pool == "attention":
            self.query = nn.Parameter(0.02 * torch.randn(1, 1, d_model))
            self.pooling = MultiHeadAttention(d_model, heads, fused=True)
        self.classifier = nn.Linear(d_model, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Answer pictures: (B, C, H, W) to logits (B, classes)."""
        return self.classifier(self.pool(self.encode(images)))

    def embed(self, images: Tensor) -> Tensor:
        """Tokens before the first layer, with their positions: (B, C, H, W) to (B, T, E)."""
        if tuple(images.shape[-2:]) != self.size["image"]:
            height, width = self.size["image"]
            raise TensorError(
                f"images has shape {shapes.shown(images)}; this model reads pictures of {height} x "
                f"{width} pixels, (batch, channels, {height}, {width})."
            )
        x = self.embedding(images)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)
        return self.dropout(x if self.positions is None else x + self.positions)

    def encode(self, images: Tensor, seen: Seen | None = None) -> Tensor:
        """Tokens after the last layer and its norm: (B, C, H, W) to (B, T, E).

        Parameters
        ----------
        images : Tensor, shape (B, C, H, W)
        seen : a list that each layer's weights (B, heads, T, T) and values are added to
        """
        x = self.embed(images)
        for layer in self.layers:
            x = layer(x, seen=seen, angles=self.angles)
        return self.norm(x)

    def pool(self, tokens: Tensor) -> Tensor:
        """One vector for each picture, from its tokens: (B, T, E) to (B, E)."""
        if self.size["pool"] == "mean":
            return tokens.mean(1)
        if self.size["pool"] == "attention":
            return self.pooling(self.query.expand(len(tokens), -1, -1), tokens)[:, 0]
        return tokens[:, 0]

    def _place(self, positions: str, d_model: int, head_width: int) -> None:
        """Make what tells the patches apart; [CLS] stands nowhere."""
        rows, columns = self.grid
        before = (0, 0, 0 if self.cls is None else 1, 0)  # a row of zeros for [CLS]
        table = angles = None
        if positions == "sinusoidal":
            table = nn.functional.pad(sinusoidal_positions_2d(rows, columns, d_model), before)[None]
        elif positions == "rotary":
            angles = nn.functional.pad(rotary_angles_2d(rows, columns, head_width), before)
        if positions == "learned":
            tokens = before[2] + rows * columns
            self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, d_model))
        else:
            self.register_buffer("positions", table, persistent=False)
        self.register_buffer("angles", angles, persistent=False)


def _check_size(size: dict[str, Any]) -> None:
    for name in ("d_model", "heads", "layers", "classes", "channels", "feed_forward"):
        shapes.check_count(name, size[name], 1)
    for name, allowed in _CHOICES.items():
        if size[name] not in allowed:
            raise ModelError(f"There is no {name} {size[name]!r}. {suggest(size[name], allowed)}")
    if not 0 <= size["dropout"] < 1:
        raise ModelError(f"dropout is {size['dropout']}; it is a share: at least 0, below 1.")


def __dir__() -> list[str]:
    return sorted(__all__)
