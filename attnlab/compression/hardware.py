"""What a timing depends on: the processor, what it can do, and the libraries that compute."""

import importlib.metadata
from typing import Any

import torch

from attnlab.device import cpu, float32_kernel

__all__ = ["hardware"]

# circuits that decide how quick float32, bfloat16 and int8 are; x86 first, then Arm
_MATTER = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)


def hardware() -> dict[str, Any]:
    """Return what a timing on this machine depends on.

    Returns
    -------
    dict : ``cpu``, its name; ``cpu_flags``, those of its abilities that matter to products of
        matrices (int8 is quick with VNNI or AMX, and slow without), empty where the system does not
        say; ``float32_kernel`` of `device`; ``torch`` and ``onnxruntime``, versions, None where not
        installed
    """
    name, flags = cpu()
    try:
        runtime: str | None = importlib.metadata.version("onnxruntime")
    except importlib.metadata.PackageNotFoundError:
        runtime = None
    return {
        "cpu": name,
        "cpu_flags": [flag for flag in _MATTER if flag in flags],
        "float32_kernel": float32_kernel(),
        "torch": torch.__version__,
        "onnxruntime": runtime,
    }


def __dir__() -> list[str]:
    return sorted(__all__)
