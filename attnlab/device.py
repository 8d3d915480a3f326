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
    quick_sentences : to train on while you wait a few seconds
    training_sentences : to train on where methods are compared
    tagged_sentences : likewise, where words are labelled
    epochs : how often they are seen
    passes : over the sentences that knobs of heads are tuned on
    trials : random settings that tuning is compared with
    pairs : dates to learn to translate
    pair_epochs : how often they are seen
    strings : pairs of real strings, likewise
    string_epochs : how often they are seen
    """

    name: str
    sentences: int
    sweep_sentences: int
    lengths: tuple[int, ...]
    quick_sentences: int
    training_sentences: int
    tagged_sentences: int
    epochs: int
    passes: int
    trials: int
    pairs: int
    pair_epochs: int
    strings: int
    string_epochs: int


def _lengths(largest_power: int) -> tuple[int, ...]:
    return tuple(2**power for power in range(5, largest_power + 1))


_PROFILES = {
    name: Profile(name, sentences, sweep, _lengths(power), *rest)
    for name, sentences, sweep, power, *rest in (
        ("ci", 16, 12, 9, 8, 32, 24, 1, 1, 2, 64, 1, 64, 2),
        ("cpu", 1000, 500, 12, 320, 1000, 600, 2, 8, 20, 20_000, 8, 10_000, 20),
        ("gpu", 1000, 1000, 12, 2000, 10_000, 4000, 3, 8, 40, 20_000, 12, 10_000, 40),
    )
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
    """Return the device models are loaded to: the first GPU where there is one, else the CPU.

    Of several processes, each takes its own GPU.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@cache
def number_format(device_type: str) -> torch.dtype:
    """Return the fastest number format a model may run in here: bfloat16, float16 or float32.

    A short one is taken where a large product is at least 1.5 times faster in it than in float32. That is
    measured once a process (about 20 ms), since units without the right circuits are slower in it. Among
    the short ones it is bfloat16, which has the range of float32; float16 is for GPUs that lack it.
    """
    if device_type not in ("cpu", "cuda"):
        return torch.float32
    old_gpu = device_type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    short = torch.float16 if old_gpu else torch.bfloat16
    faster = _product_seconds(device_type, torch.float32) / _product_seconds(device_type, short)
    return short if faster > 1.5 else torch.float32


def _product_seconds(device_type: str, dtype: torch.dtype) -> float:
    """Time of one product of the size of a feed-forward layer's: of a small BERT's, or on a GPU a large one's."""
    size = 3072 if device_type == "cuda" else 384
    a = torch.ones(size + 128, size, dtype=dtype, device=device_type)
    b = torch.ones(size, 4 * size, dtype=dtype, device=device_type)
    runs = []
    for _ in range(6):
        start = time.perf_counter()
        product = a @ b
        if product.is_cuda:
            torch.cuda.synchronize()
        runs.append(time.perf_counter() - start)
    return min(runs)


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
