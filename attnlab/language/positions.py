"""How a language model knows where a token stands: five ways, one place for each to act.

In comments B is batch, T tokens, T_k tokens that may be looked at, H heads, E d_model.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from attnlab.attention import alibi_slopes, rotary_angles, sinusoidal_positions
from attnlab.attention.positions import turns
from attnlab.errors import TensorError

__all__ = ["POSITIONS", "PositionEncoding", "Positions"]

Positions = Literal["rope", "learned", "sinusoidal", "alibi", "none"]
POSITIONS = ("rope", "learned", "sinusoidal", "alibi", "none")
_EMBEDDING_STD = 0.02  # of token vectors at first, and so of position vectors


class PositionEncoding(nn.Module):
    """Where each token stands: a vector added to it, a turn of queries and keys, or a bias.

    Parameters
    ----------
    kind : "learned" or "sinusoidal" add a vector to each token before the first layer; "rope" turns
        queries and keys in every layer; "alibi" lowers scores by the distance; "none" does nothing
    d_model, heads : of the model
    max_length : number of learned positions
    base : of the speeds of "rope"
    """

    table: Tensor | None
    slopes: Tensor

    def __init__(self, kind: Positions, d_model: int, heads: int, max_length: int, base: float):
        super().__init__()
        self.kind, self.head_width, self.base = kind, d_model // heads, base
        learned = kind == "learned"
        table = _EMBEDDING_STD * torch.randn(max_length, d_model) if learned else None
        self.table = None if table is None else nn.Parameter(table)
        self.register_buffer("slopes", alibi_slopes(heads)[:, None, None], persistent=False)

    def add(self, x: Tensor, positions: Tensor) -> Tensor:
        """Add a vector for its position to each token, if that is the way.

        Parameters
        ----------
        x : Tensor, shape (B, T, E)
        positions : Tensor of int, shape (B, T); -1 at padding
        """
        if self.kind not in ("learned", "sinusoidal"):
            return x
        end = int(positions.max()) + 1
        if self.table is not None and end > len(self.table):
            raise TensorError(
                f"A text of {end} tokens does not fit: this model has {len(self.table)} learned "
                "positions. Cut the text to its last tokens, or make the model with "
                f"max_length={end}."
            )
        table = self.table
        if table is None:  # sines have a mean square of 1/2
            table = sinusoidal_positions(max(end, 1), x.shape[-1]).to(x) * _EMBEDDING_STD * 2**0.5
        return x + table[positions.clamp_min(0)]

    def options(self, queries: Tensor, keys: Tensor, active: list[list[int]]) -> list[dict]:
        """For each layer what its attention has to know: angles, bias, or nothing.

        Parameters
        ----------
        queries, keys : Tensor of int, shape (1 or B, T) and (1 or B, T_k), positions
        active : for each layer the heads that it has
        """
        options: dict[str, Any] = {}
        if self.kind == "rope":
            angles = turns(rotary_angles(queries.clamp_min(0), self.head_width, self.base))
            options["angles"] = angles[0] if len(angles) == 1 else angles[:, None]
        elif self.kind == "alibi":
            distance = (queries[:, None, :, None] - keys[:, None, None]).float()
            whole = -self.slopes * distance  # (1 or B, H, T, T_k)
            return [{"bias": whole[:, heads]} for heads in active]
        return [options] * len(active)


def __dir__() -> list[str]:
    return sorted(__all__)
