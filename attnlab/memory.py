"""What the process's memory does meanwhile: no search for garbage, no giving back and forth."""

import ctypes
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["kept_memory", "no_collection", "short_pauses"]

TRIM, MAPPED = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
USUAL = {MAPPED: 32 << 20, TRIM: 64 << 20}  # bytes; the highest that glibc itself goes to
KEPT = {MAPPED: 1 << 30, TRIM: (1 << 31) - 1}
_lock, _inside = threading.Lock(), 0


@contextmanager
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


@contextmanager
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


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory for the next tensors inside the block; all is given back at its end.

    The C library hands blocks above 32 MB back at once, and the system clears every page when it
    hands it out anew. A pass that makes and drops such tensors again and again spends a good part
    of its time on that. With another C library than glibc nothing changes.
    """
    global _inside
    with _lock:
        _inside += 1
        _set(KEPT)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
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


def __dir__() -> list[str]:
    return sorted(__all__)
