"""Positions: what tells attention, which sees a set of tokens, where each of them stands."""

import torch
from torch import Tensor

from attnlab.attention import shapes
from attnlab.errors import TensorError


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """Give each position a vector of sines and cosines, from fast to slow waves.

    Returns a Tensor, shape (length, width): sines in the even columns, cosines in the odd ones. Two
    positions a fixed distance apart are related by the same rotation wherever they are.

    Source: Vaswani et al. 2017, section 3.5.
    """
    shapes.check_count("length", length, 0)
    shapes.check_count("width", width, 2)
    if width % 2:
        raise TensorError(
            f"sinusoidal_positions({length}, {width}): sines and cosines come in pairs, so the "
            "width is even."
        )
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = position * frequency  # (length, width / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).float()
