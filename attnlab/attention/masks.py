"""Masks: which keys may each query attend to? Padding, causal and local, and combined.

A mask is bool everywhere and True where attention is allowed.
"""

import torch
from torch import Tensor

from attnlab.attention import shapes
from attnlab.errors import TensorError


def padding_mask(lengths: Tensor, max_length: int | None = None) -> Tensor:
    """Hide the padding of a batch.

    Parameters
    ----------
    lengths : Tensor of int, shape (B,), the number of real tokens of each text
    max_length : number of tokens with padding; default the largest length

    Returns
    -------
    mask : Tensor of bool, shape (B, 1, T_k): the same for every query. With heads: ``mask[:,
        None]``.

    >>> padding_mask(torch.tensor([1, 3])).int().tolist()
    [[[1, 0, 0]], [[1, 1, 1]]]
    """
    valid = isinstance(lengths, Tensor) and lengths.dim() == 1
    valid = valid and not (lengths.is_floating_point() or lengths.dtype == torch.bool)
    if not valid or (len(lengths) and lengths.min() < 0):
        kind = getattr(lengths, "dtype", type(lengths).__name__)
        raise TensorError(
            f"lengths has shape {shapes.shown(lengths)} and type {kind}; padding_mask needs whole "
            "numbers, one for each text, (B,). Did you pass a mask? It may already be what you "
            "want."
        )
    if max_length is None:
        max_length = int(lengths.max()) if len(lengths) else 0
    shapes.check_count("max_length", max_length, 0)
    return (torch.arange(max_length, device=lengths.device) < lengths[:, None])[:, None, :]


def causal_mask(
    queries: int, keys: int | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Let each token attend to itself and to what came before.

    Returns a Tensor of bool, shape (queries, keys). With more keys than queries the last ones meet,
    as when a decoder asks about its newest tokens and remembers the keys of all before.

    >>> causal_mask(3).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    return _distances(queries, keys, device) <= 0


def local_mask(
    queries: int, window: int, keys: int | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Let each token attend to at most ``window`` positions on either side.

    >>> local_mask(4, window=1).int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    """
    shapes.check_count("window", window, 0)
    return _distances(queries, keys, device).abs() <= window


def combine_masks(*masks: Tensor | None) -> Tensor | None:
    """Allow what every mask allows; None allows all.

    >>> combine_masks(causal_mask(3), None, local_mask(3, 1)).int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    given = [mask for mask in masks if mask is not None]
    for mask in given:
        shapes.check_bool(mask)
    if not given:
        return None
    combined = given[0]
    for mask in given[1:]:
        try:
            combined = combined & mask
        except RuntimeError:
            raise TensorError(
                "These masks do not fit together: "
                f"{', '.join(shapes.shown(mask) for mask in given)}. Does a mask (B, 1, T) meet "
                "one with a head axis? Give it one too: mask[:, None]."
            ) from None
    return combined


def _distances(queries: int, keys: int | None, device: torch.device | str | None) -> Tensor:
    """How far each key lies ahead of each query, shape (queries, keys), the last ones meeting."""
    keys = queries if keys is None else keys
    shapes.check_count("queries", queries, 0)
    shapes.check_count("keys", keys, 0)
    position = torch.arange(queries, device=device)[:, None] + keys - queries
    return torch.arange(keys, device=device) - position
