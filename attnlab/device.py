"""Where the work runs: device, number format and size profile, each chosen once."""

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from attnlab.errors import AttnlabError, suggest

__all__ = [
    "NUMBER_FORMATS",
    "FixedLinear",
    "Profile",
    "as_number_format",
    "autocast",
    "cpu",
    "device",
    "float32_kernel",
    "float32_products",
    "has_int8_products",
    "is_main_process",
    "linear",
    "number_format",
    "pinned_threads",
    "profile",
    "seconds",
]


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
    distilled_sentences : that a small model learns from a large one
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
    distilled_sentences: int


NUMBER_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TORCH_KNOWS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
_LINUX_SAYS = {"avx512_f": "avx512f"}  # where torch has another word


def _lengths(largest_power: int) -> tuple[int, ...]:
    return tuple(2**power for power in range(5, largest_power + 1))


_PROFILES = {
    name: Profile(name, sentences, sweep, _lengths(power), *rest)
    for name, sentences, sweep, power, *rest in (
        ("ci", 16, 12, 9, 8, 32, 24, 1, 1, 2, 64, 1, 64, 2, 24),
        ("cpu", 1000, 500, 12, 320, 1000, 600, 2, 8, 20, 20_000, 8, 10_000, 20, 3000),
        ("gpu", 1000, 1000, 12, 2000, 10_000, 4000, 3, 8, 40, 20_000, 12, 10_000, 40, 10_000),
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
    """Whether the CPU has circuits for products of bfloat16."""
    if all(hasattr(torch.cpu, name) for name in _TORCH_KNOWS):
        return any(getattr(torch.cpu, name)() for name in _TORCH_KNOWS)
    return not cpu()[1].isdisjoint({"amx_bf16", "avx512_bf16"})


def has_int8_products() -> bool:
    """Whether the CPU sums products of int8 in one step (VNNI), without overflow.

    Without it sums of two products in 16 bits may overflow, unless they are computed in wider ones.
    """
    return not cpu()[1].isdisjoint({"avx512_vnni", "avx_vnni", "asimddp"})


@cache
def cpu() -> tuple[str, frozenset[str]]:
    """Return the CPU's name and its abilities in Linux's words ("avx512_vnni"), as far as known.

    Elsewhere torch says the abilities; where neither does, there are none.
    """
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        pairs = (line.partition(":") for line in lines)
        said = {key.strip(): value.strip() for key, _, value in pairs}
        flags = said.get("flags", said.get("Features", ""))  # of x86, of Arm
        return said.get("model name") or name, frozenset(flags.split())
    if not hasattr(torch.cpu, "get_capabilities"):
        return name, frozenset()
    able = torch.cpu.get_capabilities()
    return name, frozenset(_LINUX_SAYS.get(key, key) for key, has in able.items() if has is True)


def seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest time of a call on one thread of the CPU, after one that does not count.

    What else a machine does only ever adds to a time, so that the shortest of several says most
    about the call itself; and several threads wait for one another on a busy machine.
    """
    times = []
    with pinned_threads(1):
        for _ in range(repeats + 1):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return min(times[1:])


@contextlib.contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """So many threads of torch inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Run the block in ``dtype``; weights stay float32.

    In float32 its linear layers are `linear`'s: equal to torch's own but for rounding.
    """
    if dtype == torch.float32:
        return float32_products(device)
    return torch.autocast(device.type, dtype=dtype)


# --- products in float32 --------------------------------------------------------------------------


@cache
def float32_kernel() -> str:
    """Return the library for products of float32 matrices on this CPU, "onednn" or "torch".

    torch leaves them to MKL, which keeps to AVX2 on processors that are not Intel's. Where such a
    one has AVX512, oneDNN, which torch has aboard, computes the same about twice as fast. Like
    `number_format` this depends on what the processor is and on nothing else; the environment
    variable ``ATTNLAB_FLOAT32`` overrides it.

    Raises
    ------
    AttnlabError : ``ATTNLAB_FLOAT32`` is neither, or names what this torch does not have
    """
    has_onednn = torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_linear_pointwise"
    )
    wanted = os.environ.get("ATTNLAB_FLOAT32")
    if wanted == "onednn" and not has_onednn:
        raise AttnlabError("ATTNLAB_FLOAT32 is 'onednn', which this torch was built without.")
    if wanted in ("onednn", "torch"):
        return wanted
    if wanted:
        raise AttnlabError(f"ATTNLAB_FLOAT32 is {wanted!r}; it can be 'onednn' or 'torch'.")
    throttled = torch.backends.mkl.is_available() and not _is_intel()
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return "onednn" if has_onednn and has_avx512 and throttled else "torch"


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, by the quickest exact kernel: see `float32_kernel`.

    Parameters
    ----------
    input : (..., I)
    weight : (O, I)
    bias : (O,), optional

    Returns
    -------
    Tensor (..., O), equal to torch's but for rounding; gradients flow, once
    """
    if not _suits_onednn(input, weight, bias):
        return F.linear(input, weight, bias)
    if _needs_gradients(input, weight, bias):
        # torch.utils.checkpoint counts what is saved, and computes it again outside of the block
        saving = torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
        if saving or input.dtype != torch.float32:
            return F.linear(input, weight, bias)
        return _OneDNNLinear.apply(input, weight, bias)
    return _onednn(input, weight, bias)


@dataclass(frozen=True)
class FixedLinear:
    """A linear layer whose weights stay as they are: they are laid out for the kernel only once.

    Attributes
    ----------
    weight : (O, I)
    bias : (O,)
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, input: Tensor) -> Tensor:
        """`linear` of the input: from (..., I) to (..., O)."""
        if self._takes_onednn(input):
            return _onednn(input, self._laid_out, self.bias)
        return linear(input, self.weight, self.bias)

    def gelu(self, input: Tensor) -> Tensor:
        """The GELU of it, in the same kernel where no gradient is asked for."""
        if self._takes_onednn(input):
            return _onednn(input, self._laid_out, self.bias, gelu=True)
        return F.gelu(linear(input, self.weight, self.bias))

    def _takes_onednn(self, input: Tensor) -> bool:
        operands = (input, self.weight, self.bias)
        return _suits_onednn(*operands) and not _needs_gradients(*operands)

    @cached_property
    def _laid_out(self) -> Tensor:
        """The weight as the kernel would otherwise order it at each call."""
        return torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous())


def _suits_onednn(*operands: Tensor | None) -> bool:
    """Whether these are plain matrices on a CPU, in one format, that oneDNN multiplies quicker."""
    given = [operand for operand in operands if operand is not None]
    plain = all(
        type(operand) in (Tensor, torch.nn.Parameter)
        and operand.dtype == given[0].dtype
        and operand.device.type == "cpu"
        and operand.numel()
        for operand in given
    )
    if not plain or float32_kernel() != "onednn":
        return False
    dtype = given[0].dtype
    return dtype == torch.float32 or (dtype == torch.bfloat16 and _onednn_has_bfloat16())


@cache
def _onednn_has_bfloat16() -> bool:
    """Whether oneDNN multiplies bfloat16 on this CPU; without AVX512 it refuses."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _needs_gradients(*operands: Tensor | None) -> bool:
    given = (operand for operand in operands if operand is not None)
    return torch.is_grad_enabled() and any(operand.requires_grad for operand in given)


def float32_products(device: torch.device) -> contextlib.AbstractContextManager:
    """In the block every linear layer on a CPU is `linear`'s; for models that are not ours."""
    if device.type != "cpu" or float32_kernel() == "torch":
        return contextlib.nullcontext()
    return _LinearLayers()


def _is_intel() -> bool:
    """Whether the CPU is Intel's, by Linux, else by what Python's platform module knows."""
    with contextlib.suppress(OSError):
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return "GenuineIntel" in platform.processor()  # such as "Intel64 Family 6 ..., GenuineIntel"


class _LinearLayers(TorchFunctionMode):
    """Sends calls of `torch.nn.functional.linear` to `linear`."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        called = linear if func is F.linear and not torch.compiler.is_compiling() else func
        return called(*args, **(kwargs or {}))


class _OneDNNLinear(torch.autograd.Function):
    """A linear layer whose three products, forward and backward, are oneDNN's."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _onednn(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        rows = gradient.flatten(0, -2) if gradient.dim() > 1 else gradient[None]  # (N, O)
        to_input, to_weight, to_bias = ctx.needs_input_grad
        return (
            _onednn(gradient, weight.T.contiguous()) if to_input else None,
            _onednn(rows.T, input.reshape(len(rows), -1).T) if to_weight else None,
            rows.sum(0) if to_bias else None,
        )


def _onednn(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False
) -> Tensor:
    activation, mode = ("gelu", "none") if gelu else ("none", "")
    if not weight.is_mkldnn:  # else it is laid out already
        weight = weight.contiguous()
    return torch.ops.mkldnn._linear_pointwise(
        input.contiguous(), weight, bias, activation, [], mode
    )


def __dir__() -> list[str]:
    return sorted(__all__)
