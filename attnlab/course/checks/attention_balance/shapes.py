"""The shape of whatever an answer returned."""

import numpy as np
from torch import Tensor


def shape_of(result: object) -> tuple[int, ...] | None:
    """The shape of a tensor, an array or a NumPy number; None for anything else."""
    return tuple(result.shape) if isinstance(result, Tensor | np.ndarray | np.generic) else None
