"""Where the work runs: device, number format and size profile, each chosen once."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from attnlab.errors import AttnlabError, suggest


@dataclass(frozen=True)
class Profile:
    """How large the notebooks' experiments are.

    Attributes
    ----------
    name : "ci", "cpu" or "gpu"
    sentences : held-out sentences the desk and the lessons evaluate on
    sweep_sentences : held-out sentences for experiments that repeat an evaluation for every head
    lengths : numbers of tokens over which the cost of attention is measured
    """

    name: str
    sentences: int
    sweep_sentences: int
    lengths: tuple[int, ...]


def _lengths(largest_power: int) -> tuple[int, ...]:
    return tuple(2**power for power in range(5, largest_power + 1))


_PROFILES = {
    "ci": Profile("ci", 80, 12, _lengths(9)),
    "cpu": Profile("cpu", 1000, 120, _lengths(12)),
    "gpu": Profile("gpu", 1000, 1000, _lengths(12)),
}


def profile() -> Profile:
    """Return the size profile: ``ATTNLAB_PROFILE``, else ``gpu`` where CUDA answers, else ``cpu``."""
    name = os.environ.get("ATTNLAB_PROFILE") or ("gpu" if torch.cuda.is_available() else "cpu")
    if name not in _PROFILES:
        raise AttnlabError(
            f"ATTNLAB_PROFILE is {name!r}, which is no size profile. {suggest(name, _PROFILES)}"
        )
    return _PROFILES[name]


def device() -> torch.device:
    """Return the device models are loaded to: the first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def number_format(device_type: str) -> torch.dtype:
    """Return the fastest number format a model may run in here: ``bfloat16`` or ``float32``.

    bfloat16 is taken where one large product is at least 1.5 times faster in it. That is measured
    once a process (about 20 ms), since processors without the right unit are slower in bfloat16.
    """
    if device_type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device_type != "cpu":
        return torch.float32

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
        runs = []
        for _ in range(6):
            start = time.perf_counter()
            a @ b
            runs.append(time.perf_counter() - start)
        return min(runs)

    return (
        torch.bfloat16 if seconds(torch.float32) > 1.5 * seconds(torch.bfloat16) else torch.float32
    )


def seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of a call, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Run the block in ``dtype`` where that is not float32 already; weights stay float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
