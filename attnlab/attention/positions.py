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


def rotary_angles(positions: Tensor, width: int, base: float = 10000.0) -> Tensor:
    """Return the angles by which `rotate` turns queries and keys at these positions.

    Parameters
    ----------
    positions : Tensor of int, shape (..., T)
    width : of one head; each pair of its numbers turns at its own speed
    base : of the speeds, from 1 radian a position down to about 1 / base

    Returns
    -------
    Tensor, shape (..., T, width / 2)

    Source: Su et al. 2021, "RoFormer", section 3.2 (RoPE).
    """
    shapes.check_count("width", width, 2)
    if width % 2:
        raise TensorError(
            f"rotary_angles(positions, {width}): numbers are turned in pairs, so the width of a "
            "head is even. Choose d_model and heads accordingly."
        )
    return _angles(positions, width, base).float()


def alibi_slopes(heads: int) -> Tensor:
    """Return how much each head's scores fall with every token of distance, shape (H,).

    A geometric series from 2^(-8 / H) to 2^-8: the first head looks near by, the last one far.
    Scores are lowered by slope times distance; nothing is learned, and nothing else says where a
    token stands. Source: Press et al. 2022, "Train short, test long", section 3.
    """
    shapes.check_count("heads", heads, 1)
    return 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)


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
    angles : Tensor, shape (T, D / 2), radians, with axes before these that broadcast to those of x;
        or what `turns` makes of them, where the same ones are used many times

    Returns
    -------
    Tensor of the shape of x
    """
    shapes.check_float("x", x)
    wanted = (*x.shape[:-1], x.shape[-1] // 2)
    good = x.dim() >= 2 and x.shape[-1] % 2 == 0 and angles.shape[-2:] == wanted[-2:]
    if not good or not shapes.fits(angles, wanted):
        raise TensorError(
            f"x {shapes.shown(x)}, angles {shapes.shown(angles)}: x is (..., T, D) with an even D, "
            "and the angles (T, D / 2), one for each pair of numbers."
        )
    # a pair is a complex number, and to turn it is to multiply it by e^(i angle); the clone lays
    # pairs side by side, wherever x comes from
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    pairs = wide.unflatten(-1, (-1, 2)).clone(memory_format=torch.contiguous_format)
    around = angles if angles.is_complex() else turns(angles.to(wide))
    turned = torch.view_as_complex(pairs) * around
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def turns(angles: Tensor) -> Tensor:
    """Angles as complex numbers e^(i angle), which `rotate` multiplies by; shape of ``angles``."""
    return torch.polar(torch.ones_like(angles), angles)


def _angles(positions: Tensor, width: int, base: float) -> Tensor:
    """Position times frequency, (T, width / 2) in float64, from fast to slow."""
    frequency = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return positions.double()[..., None] * frequency.to(positions.device)


def _check_grid(name: str, rows: int, columns: int, width: int) -> None:
    shapes.check_count("rows", rows, 1)
    shapes.check_count("columns", columns, 1)
    shapes.check_count("width", width, 4)
    if width % 4:
        raise TensorError(
            f"{name}({rows}, {columns}, {width}): row and column take half of the width each, in "
            "pairs, so the width is a multiple of 4."
        )
