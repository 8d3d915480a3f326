"""No long pauses: Python's garbage collector leaves alone what was there before."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["short_pauses"]


@contextmanager
def short_pauses() -> Iterator[None]:
    """Keep Python's search for garbage short within the block.

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


def __dir__() -> list[str]:
    return sorted(__all__)
