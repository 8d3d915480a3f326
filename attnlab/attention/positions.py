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
    angles = _angles(torch.arange(length), width, 10000.0)  # (length, width / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).float()


def sinusoidal_positions_2d(rows: int, columns: int, width: int) -> Tensor:
    """Give each cell of a grid a vector: `sinusoidal_positions` of its row, then of its column.

    Returns a Tensor, shape (rows * columns, width), row after row; half of the width each.

    Source: Dosovitskiy et al. 2021, appendix D.4; Carion et al. 2020.
    """
    _check_grid("sinusoidal_positions_2d", rows, columns, width)
    row = sinusoidal_positions(rows, width // 2).repeat_interleave(columns, 0)
    column = sinusoidal_positions(columns, width // 2).repeat(rows, 1)
    return torch.cat([row, column], dim=-1)


def rotary_angles_2d(rows: int, columns: int, width: int, base: float = 100.0) -> Tensor:
    """Return the angles by which `rotate` turns queries and keys of each cell of a grid.

    Parameters
    ----------
    rows, columns : of the grid
    width : of one head; the first half of its pairs turns with the row, the second with the column
    base : of the frequencies. Grids are short, so it is smaller than the 10,000 of texts.

    Returns
    -------
    Tensor, shape (rows * columns, width / 2), row after row

    Source: Su et al. 2021 (RoPE); Heo et al. 2024, "Rotary position embedding for vision
    Transformer" (axial).
    """
    _check_grid("rotary_angles_2d", rows, columns, width)
    row = _angles(torch.arange(rows), width // 2, base).repeat_interleave(columns, 0)
    column = _angles(torch.arange(columns), width // 2, base).repeat(rows, 1)
    return torch.cat([row, column], dim=-1).float()


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn each pair of neighbouring numbers of a vector by an angle.

    The dot product of two vectors that were turned depends on the difference of their angles only:
    so scores see how far apart query and key are, not where they stand.

    Parameters
    ----------
    x : Tensor, shape (..., T, D)
    angles : Tensor, shape (T, D / 2), radians

    Returns
    -------
    Tensor of the shape of x
    """
    shapes.check_float("x", x)
    wanted = (*x.shape[-2:-1], x.shape[-1] // 2)
    if x.dim() < 2 or x.shape[-1] % 2 or tuple(angles.shape) != wanted:
        raise TensorError(
            f"x {shapes.shown(x)}, angles {shapes.shown(angles)}: x is (..., T, D) with an even D, "
            "and the angles (T, D / 2), one for each pair of numbers."
        )
    cos, sin = angles.cos().to(x), angles.sin().to(x)
    first, second = x[..., 0::2], x[..., 1::2]
    turned = first * cos - second * sin, first * sin + second * cos
    return torch.stack(turned, dim=-1).flatten(-2)


def _angles(positions: Tensor, width: int, base: float) -> Tensor:
    """Position times frequency, (T, width / 2) in float64, from fast to slow."""
    frequency = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return positions.double()[:, None] * frequency


def _check_grid(name: str, rows: int, columns: int, width: int) -> None:
    shapes.check_count("rows", rows, 1)
    shapes.check_count("columns", columns, 1)
    shapes.check_count("width", width, 4)
    if width % 4:
        raise TensorError(
            f"{name}({rows}, {columns}, {width}): row and column take half of the width each, in "
            "pairs, so the width is a multiple of 4."
        )
