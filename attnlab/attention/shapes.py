"""What tensors have to be, and errors that show their shapes and ask the likely question."""

import torch
from torch import Tensor, nn

from attnlab.errors import TensorError


def shown(given: object) -> str:
    """The shape of a tensor as people write it, or the name of what is none."""
    return str(tuple(given.shape)) if hasattr(given, "shape") else type(given).__name__


def check_float(name: str, given: Tensor) -> None:
    """A tensor of floating-point numbers."""
    if not isinstance(given, Tensor):
        raise TensorError(
            f"{name} is a {type(given).__module__}.{type(given).__name__}, not a torch tensor. "
            "Use torch.as_tensor."
        )
    if not given.is_floating_point():
        raise TensorError(
            f"{name} is of type {given.dtype}, shape {shown(given)}; attention needs "
            "floating-point numbers. Are these token ids? Embed them first. Otherwise: .float()."
        )


def check_pair(query: Tensor, key: Tensor, names: str = "query key") -> None:
    """Both are (..., T, D), of one type, on one device, with batch axes that fit."""
    for name, given in zip(names.split(), (query, key), strict=True):
        check_float(name, given)
        if given.dim() < 2:
            raise TensorError(
                f"{name} has shape {shown(given)}; it needs at least (tokens, width). Is it a "
                f"single vector? Give it a token axis: {name}[None]."
            )
    first, second = names.split()
    shapes = f"{first} {shown(query)}, {second} {shown(key)}"
    if not same_type(query, key):
        raise TensorError(
            f"{shapes}: types differ, {query.dtype} and {key.dtype}. Did one of them come from "
            "numpy (float64)?"
        )
    if query.device != key.device:
        raise TensorError(
            f"{shapes}: devices differ, {query.device} and {key.device}. Did you forget "
            ".to(device) for one?"
        )
    check_batch(**{first: query, second: key})


def check_batch(**given: Tensor) -> None:
    """Axes before (tokens, width) that broadcast together."""
    if len({tensor.shape[:-2] for tensor in given.values()}) == 1:
        return
    try:
        torch.broadcast_shapes(*(tensor.shape[:-2] for tensor in given.values()))
    except RuntimeError:
        shapes = ", ".join(f"{name} {shown(tensor)}" for name, tensor in given.items())
        raise TensorError(
            f"{shapes}: the axes before (tokens, width) do not fit together. Do all have the "
            "heads before the tokens, (B, H, T, D)?"
        ) from None


def same_type(first: Tensor, second: Tensor) -> bool:
    """Whether both have one type, or autocast will see to it."""
    return first.dtype == second.dtype or torch.is_autocast_enabled(first.device.type)


def check_width(query: Tensor, key: Tensor) -> None:
    """Vectors that a dot product can take."""
    if query.shape[-1] == 0:
        raise TensorError(
            f"query {shown(query)}, key {shown(key)}: vectors of width 0 say nothing."
        )
    if query.shape[-1] != key.shape[-1]:
        raise TensorError(
            f"query {shown(query)}, key {shown(key)}: widths differ, {query.shape[-1]} and "
            f"{key.shape[-1]}, so there is no dot product. Is the key transposed already, or one "
            "of them not projected?"
        )


def check_value(query: Tensor, key: Tensor, value: Tensor) -> None:
    """A value for each key."""
    check_pair(key, value, "key value")
    check_batch(query=query, key=key, value=value)
    if key.shape[-2] != value.shape[-2]:
        raise TensorError(
            f"key {shown(key)}, value {shown(value)}: {key.shape[-2]} keys but {value.shape[-2]} "
            "values; each key has one value. Did query and value change places?"
        )


def check_parameter(name: str, given: Tensor, shape: tuple[int, ...], query: Tensor) -> None:
    """A learned matrix or vector of this shape, beside the query it meets."""
    check_float(name, given)
    if tuple(given.shape) != shape:
        raise TensorError(
            f"{name} has shape {shown(given)}; here it needs {shape}. Is it the weight of an "
            "nn.Linear? That is stored transposed: use .weight.T."
        )
    check_type(name, given, query)


def check_input(name: str, given: Tensor, layer: nn.Linear) -> None:
    """What a linear layer can take, (batch, tokens, width)."""
    check_float(name, given)
    if given.dim() != 3 or given.shape[-1] != layer.in_features:
        raise TensorError(
            f"{name} has shape {shown(given)}; this layer needs (batch, tokens, "
            f"{layer.in_features}). Is the batch axis missing (x[None]), or are heads split "
            "already?"
        )
    check_type(name, given, layer.weight)


def check_bool(mask: Tensor) -> None:
    """A mask of bool."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TensorError(
            f"The mask is of type {kind}; it needs bool, True where attention is allowed. Ones and "
            "zeros: mask.bool(). Zeros and -inf, to be added: mask == 0."
        )


def fits(given: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether it broadcasts to this shape without making it larger."""
    ends = zip(reversed(given.shape), reversed(shape), strict=False)
    return given.dim() <= len(shape) and all(size in (1, wanted) for size, wanted in ends)


def check_mask(mask: Tensor, shape: tuple[int, ...]) -> None:
    """A mask of bool that broadcasts to this shape."""
    check_bool(mask)
    if not fits(mask, shape):
        raise TensorError(
            f"The mask has shape {shown(mask)}, the scores {tuple(shape)}. Is it one row per "
            "text, (B, T)? Then mask[:, None, :], and mask[:, None, None, :] where there are "
            "heads."
        )


def check_type(name: str, given: Tensor, beside: Tensor) -> None:
    """A float tensor, of the type and on the device of what it meets."""
    check_float(name, given)
    if not same_type(given, beside) or given.device != beside.device:
        raise TensorError(
            f"{name} is {given.dtype} on {given.device}, what it meets is {beside.dtype} on "
            f"{beside.device}. Use {name}.to(...) with the other's."
        )


def check_addend(name: str, given: Tensor, scores: Tensor) -> None:
    """What is added to or divides the scores, and so broadcasts to their shape."""
    check_type(name, given, scores)
    if not fits(given, tuple(scores.shape)):
        raise TensorError(
            f"{name} has shape {shown(given)}, the scores {shown(scores)}: it does not fit. Is an "
            f"axis missing, as in {name}[:, None, None]?"
        )


def check_temperature(temperature: float | Tensor, scores: Tensor) -> None:
    """A positive number, or a tensor of such that broadcasts to the scores."""
    if isinstance(temperature, Tensor):
        check_addend("temperature", temperature, scores)
        good = bool((temperature > 0).all())
    else:
        good = isinstance(temperature, int | float) and temperature > 0
    if not good:
        raise TensorError(
            f"temperature is {temperature!r}; it divides the scores, so it must be a positive "
            "number. For the limit 0, the best key alone, use hard_attention."
        )


def check_count(name: str, given: int, least: int) -> None:
    """A whole number that is not too small."""
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise TensorError(f"{name} is {given!r}; it is counted: a whole number, at least {least}.")
