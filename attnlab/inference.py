"""What running a model has in common: dropout off, finite numbers, and memory that stays put."""

import contextlib
import ctypes
import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from attnlab.errors import ModelError

NO_GRADIENTS = (
    "No gradients come back through this model, as quantised layers pass none. Ask the model as it "
    "was before it was quantised, or measure, as al.ablate does."
)


@dataclass
class _Modes:
    """How many blocks hold a model in evaluation mode, and its modules that were training."""

    training: list[nn.Module]
    blocks: int = 0


_lock = threading.Lock()
_held: weakref.WeakKeyDictionary[nn.Module, _Modes] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout and the like off inside the block; afterwards every module is as it was.

    So an answer is the same each time, also when it is asked for in the middle of a training.
    Blocks may be nested, and several threads may be in one: the last to leave restores. One thread
    must not train the model while another asks it.
    """
    with _lock:
        modes = _held.setdefault(model, _Modes([]))
        found = [module for module in model.modules() if module.training]
        modes.training += found
        modes.blocks += 1
        for module in found:
            module.training = False
    try:
        yield
    finally:
        with _lock:
            modes.blocks -= 1
            if not modes.blocks:
                del _held[model]
                for module in modes.training:
                    module.training = True


def check_finite(model: nn.Module, numbers: Tensor, what: str = "answers") -> Tensor:
    """Return the numbers; ModelError, naming the weights at fault, if one is NaN or infinite.

    Parameters
    ----------
    model : what computed them, or a part of it
    numbers : Tensor of any shape
    what : they are, in the plural
    """
    if bool(torch.isfinite(numbers).all()):
        return numbers
    at_fault = _not_finite(model)
    if at_fault:
        more = f" and {len(at_fault) - 3} more" if len(at_fault) > 3 else ""
        raise ModelError(
            f"The {what} of this model are not finite, because some of its weights are NaN or "
            f"infinite: {', '.join(at_fault[:3])}{more}. Load the model again, or train it again "
            "with a smaller learning rate."
        )
    raise ModelError(
        f"The {what} of this model are not finite: all of its weights are, but numbers on the way "
        f"grew too large for {str(numbers.dtype).removeprefix('torch.')} or the format it computes "
        "in. Try float32: model.float(), without fast=True or autocast."
    )


def slopes(value: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of a number by each input.

    Raises ModelError where one has no way back, as quantised layers pass no gradients.
    """
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if value.requires_grad:
        found = torch.autograd.grad(value, list(inputs), allow_unused=True)
    reached = [slope for slope in found if slope is not None]
    if len(reached) < len(inputs):
        raise ModelError(NO_GRADIENTS)
    return reached


def _not_finite(model: nn.Module) -> list[str]:
    """Names of the weights that are not finite, each with how many of its numbers are not."""
    found = []
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            count = tensor.numel() - int(torch.isfinite(tensor.detach()).sum())
            if count:
                found.append(f"{name} ({count} of {tensor.numel()} numbers)")
    return found


# --- the process's memory meanwhile ---------------------------------------------------------------

TRIM, MAPPED = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
USUAL = {MAPPED: 32 << 20, TRIM: 64 << 20}  # bytes; the highest that glibc itself goes to
KEPT = {MAPPED: 1 << 30, TRIM: (1 << 31) - 1}
_memory, _keeping = threading.Lock(), 0


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """No garbage collection inside the block, as in `timeit`: it would hit one call or another."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextlib.contextmanager
def short_pauses() -> Iterator[None]:
    """Keep Python's search for garbage short inside the block.

    A full search looks at every object of the process, and all threads wait for it. With torch
    and transformers loaded these are half a million objects and a quarter of a second, longer
    than many a promised latency. What is there already, stays; only what comes later is searched.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory for the next tensors inside the block; all is given back at its end.

    The C library hands blocks above 32 MB back at once, and the system clears every page when it
    hands it out anew. A pass that makes and drops such tensors again and again spends a good part
    of its time on that. With another C library than glibc nothing changes.
    """
    global _keeping
    with _memory:
        _keeping += 1
        _set(KEPT)
    try:
        yield
    finally:
        with _memory:
            _keeping -= 1
            if not _keeping:
                _set(USUAL)


def _set(limits: dict[int, int]) -> None:
    """Give malloc these limits; with the usual ones, give back what is free."""
    functions = _glibc()
    if functions is None:
        return
    mallopt, trim = functions
    for name, limit in limits.items():
        mallopt(name, limit)
    if limits is USUAL:
        trim(0)


@cache
def _glibc() -> tuple[Callable[[int, int], int], Callable[[int], int]] | None:
    """``mallopt`` and ``malloc_trim``, None where the C library has no such functions."""
    try:
        library = ctypes.CDLL(None)
        return library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):  # macOS, musl; Windows
        return None
