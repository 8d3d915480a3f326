"""Matrices whose numbers repeat, written in fewer bits; they come back to the last bit.

In memory such a matrix is an ordinary one, in float32: what is small is the file.
"""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

Kind = Literal["codebook", "integer", "sparse"]
KINDS = get_args(Kind)


def pack(weight: Tensor, kind: Kind, bits: int = 8) -> dict[str, Tensor] | None:
    """Write a matrix in few bits; None if its numbers are not, or no longer, of that kind.

    Parameters
    ----------
    weight : (O, I), float32
    kind :
        - "codebook": at most 2^bits different numbers, and for each weight which of them it is;
        - "integer": in each row the multiples of one step, from -(2^(bits-1) - 1) times to as many
          times it, the largest of which occurs (`compression.quantize` makes such rows);
        - "sparse": zeros, a bit each, and the other numbers as they are
    bits : of a weight, 1 to 8; "sparse" does not use it

    Returns
    -------
    the parts of the file by name, or None
    """
    numbers = weight.detach().cpu().numpy()
    if kind == "codebook":
        values, codes = np.unique(numbers, return_inverse=True)
        if len(values) > 2**bits:
            return None
        return _tensors(codes=_bits(codes.ravel(), bits), values=values)
    if kind == "integer":
        top = 2 ** (bits - 1) - 1
        steps = np.abs(numbers).max(1, initial=0) / np.float32(top)  # exact: see `quantize`
        wanted = numbers / np.where(steps > 0, steps, 1)[:, None]
        codes = np.rint(wanted)
        if np.abs(codes).max(initial=0) > top or not np.array_equal(
            codes * steps[:, None], numbers
        ):
            return None
        return _tensors(codes=_bits((codes + top).astype(np.uint8).ravel(), bits), steps=steps)
    present = numbers != 0
    return _tensors(present=np.packbits(present.ravel()), values=numbers[present])


def unpack(parts: dict[str, Tensor], kind: Kind, bits: int, shape: tuple[int, ...]) -> Tensor:
    """Return the matrix that `pack` has written, float32, to the last bit.

    Raises
    ------
    ValueError : parts that do not belong to a matrix of this shape
    """
    count = int(np.prod(shape))
    read = {name: part.numpy() for name, part in parts.items()}
    if kind == "sparse":
        if len(read["present"]) != -(-count // 8):
            raise ValueError(f"{len(read['present'])} bytes for {count} weights")
        present = np.unpackbits(read["present"], count=count).astype(bool)
        numbers = np.zeros(count, np.float32)
        numbers[present] = read["values"]
    elif kind == "codebook":
        numbers = read["values"][_numbers(read["codes"], bits, count)]
    else:
        codes = _numbers(read["codes"], bits, count).astype(np.float32) - (2 ** (bits - 1) - 1)
        numbers = codes.reshape(shape) * read["steps"][:, None]
    return torch.from_numpy(np.ascontiguousarray(numbers, np.float32).reshape(shape))


def _bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Numbers below 2^bits, one behind the other in as many bits each."""
    if bits == 8:
        return codes.astype(np.uint8)
    single = np.unpackbits(codes.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]
    return np.packbits(single.ravel())


def _numbers(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    if len(packed) != -(-count * bits // 8):
        raise ValueError(f"{len(packed)} bytes for {count} weights of {bits} bits")
    if bits == 8:
        return packed
    single = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    return np.packbits(single, axis=1)[:, 0] >> (8 - bits)


def _tensors(**arrays: np.ndarray) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
