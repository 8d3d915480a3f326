"""The model that reads a line of print: columns of a picture come in, letters are written.

It is the encoder-decoder Transformer of lesson 03 with another way in: where a sentence has
embedded words, a picture has columns that small convolutions look at. In comments B is batch, H and
W height and width in pixels, S columns, T characters, E d_model.
"""

from typing import Any

import torch
from torch import Tensor, nn

from attnlab.attention import sinusoidal_positions
from attnlab.errors import TensorError
from attnlab.training.history import History
from attnlab.transformer import Seq2SeqTransformer

__all__ = ["BEHIND", "COLUMN", "END", "PADDING", "START", "LineEmbedding", "LineTransformer"]

PADDING, START, END = range(3)  # ids of the marks; characters follow
COLUMN = 4  # pixels from one column to the next
BEHIND = -1.0  # what stands in pixels behind the end of a picture; ink is 1, paper 0
_WIDEST = 512  # columns


class LineEmbedding(nn.Module):
    """A vector for each column of a picture, plus one for its position.

    Four convolutions look at 19 pixels around a column, over the whole height, before attention
    does. Source of the idea: Xiao et al. 2021, "Early convolutions help Transformers see better".

    Parameters
    ----------
    height : of a picture in pixels, a multiple of 8
    d_model : width of the vectors
    dropout : share of the numbers set to 0 while training
    channels : of the convolutions
    """

    positions: Tensor

    def __init__(
        self,
        height: int,
        d_model: int,
        dropout: float,
        channels: tuple[int, int, int] = (16, 32, 64),
    ):
        super().__init__()
        first, second, third = channels
        self.height = height
        self.convolutions: Any = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride, padding=1)
            for before, after, stride in (
                (1, first, (2, 2)),
                (first, second, (2, 1)),
                (second, third, (2, 2)),
                (third, third, (1, 1)),
            )
        )
        self.linear = nn.Linear(third * height // 8, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)
        waves = sinusoidal_positions(_WIDEST, d_model)
        self.register_buffer("positions", waves, persistent=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Embed pictures, (B, H, W), `BEHIND` behind their ends.

        Returns
        -------
        columns : Tensor, shape (B, S, E), one for `COLUMN` pixels
        mask : Tensor of bool, shape (B, S), True at columns of the picture
        """
        there = (pixels > BEHIND).any(1)[:, None, None]  # (B, 1, 1, W)
        x = torch.where(there, pixels[:, None], 0.0)
        for convolution in self.convolutions:
            there = there[..., :: convolution.stride[1]]
            # nothing stands behind the end, so that a picture is read alike in every batch
            x = nn.functional.gelu(convolution(x)) * there
        mask = there[:, 0, 0]
        columns = self.norm(self.linear(x.flatten(1, 2).transpose(1, 2)))
        if columns.shape[1] > _WIDEST:
            raise TensorError(
                f"A picture of {pixels.shape[-1]} columns does not fit: this model reads "
                f"{_WIDEST * COLUMN}. Cut it at a gap between words."
            )
        return self.dropout(columns + self.positions[: columns.shape[1]]), mask


class LineTransformer(Seq2SeqTransformer):
    """Reads pictures of lines and writes their characters, with `transformer.greedy` and `beam`.

    Parameters
    ----------
    characters : how many it knows
    height : of a picture, in pixels
    **size : of `Seq2SeqTransformer`: d_model, heads, encoder_layers, decoder_layers, ...

    Attributes
    ----------
    hint : says for each column which character stands there (`PADDING` for none). It is trained
        beside the decoder, so that the encoder learns letters at once, and used for nothing else.
    """

    history: History | None = None

    def __init__(self, characters: int, height: int = 32, **size: Any):
        tokens = END + 1 + characters
        options: dict[str, Any] = {
            "d_model": 128,
            "heads": 4,
            "feed_forward": 256,
            "dropout": 0.05,
            "max_length": 48,
            "tie": "none",
            "fused": True,
            **size,
        }
        super().__init__(source_vocabulary=1, target_vocabulary=tokens, **options)
        width = self.size["d_model"]
        self.source_embedding: Any = LineEmbedding(height, width, self.size["dropout"])
        self.hint = nn.Linear(width, tokens)

    def embed(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """What the encoder's first layer reads of pictures (B, H, W): (B, S, E) and (B, 1, S)."""
        height = self.source_embedding.height
        if source.dim() != 3 or source.shape[1] != height or not source.is_floating_point():
            raise TensorError(
                f"source has shape {tuple(source.shape)} and type {source.dtype}; this model reads "
                f"pictures of float numbers, (batch, {height}, width)."
            )
        columns, mask = self.source_embedding(source)
        return columns, mask[:, None]


def __dir__() -> list[str]:
    return sorted(__all__)
