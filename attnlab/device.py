"""Where the work runs: device, number format and size profile, each chosen once."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

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


NUMBER_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TORCH_KNOWS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


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
    """Return the size profile: ``ATTNLAB_PROFILE``, else "gpu" where CUDA answers, else "cpu"."""
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


def is_main_process() -> bool:
    """Whether this process writes and speaks: it is the only one, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


@cache
def number_format(device_type: str) -> torch.dtype:
    """Return the number format a model may run in here where speed counts.

    It depends on what the processor can do and on nothing else: not on how busy the machine is, nor
    on how long anything took. So the same command on the same kind of machine gives the same bits,
    and a run that was stopped goes on in the format it began in. Training notes the format in its
    checkpoint; ``dtype=`` of `finetune`, `finetune_tagger` and `train_translator` overrides it.

    Parameters
    ----------
    device_type : "cpu", "cuda" or another of torch's

    Returns
    -------
    torch.dtype
        - on a GPU bfloat16 where it has circuits for it, which have the range of float32; else
          float16;
        - on a CPU bfloat16 where it has AMX or AVX512_BF16; else float32, as products in bfloat16
          are slower without them;
        - float32 on all other devices.
    """
    if device_type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if device_type == "cpu" and _cpu_multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


def as_number_format(dtype: torch.dtype | str | None, device_type: str) -> torch.dtype:
    """Return a number format that was asked for, or with None the one that `number_format` names.

    Parameters
    ----------
    dtype : "float32", "bfloat16" or "float16", as a name or torch's; or None
    device_type : as for `number_format`

    Raises
    ------
    AttnlabError : another format
    """
    if dtype is None:
        return number_format(device_type)
    name = str(dtype).removeprefix("torch.")
    if name not in NUMBER_FORMATS:
        raise AttnlabError(
            f"dtype is {dtype!r}, which is no number format. {suggest(name, NUMBER_FORMATS)}"
        )
    return NUMBER_FORMATS[name]


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has circuits for products of bfloat16, by torch or else by Linux."""
    if all(hasattr(torch.cpu, name) for name in _TORCH_KNOWS):
        return any(getattr(torch.cpu, name)() for name in _TORCH_KNOWS)
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
        return "amx_bf16" in flags or "avx512_bf16" in flags
    return False


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
