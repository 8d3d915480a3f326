"""Attention over several processes: its error, the memory that each needs, and its seconds."""

import ctypes
import re
import time
from pathlib import Path

import torch
from rows import Row, row

from attnlab import attention

TOKENS, HEADS, WIDTH = 12_288, 4, 32
PROCESSES = (1, 2, 3, 4)


def measure() -> list[Row]:
    """Rows of `make bench AREA=applications`; the processes share the cores of one machine."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, HEADS, TOKENS, WIDTH)
    rows = []
    alone = 0.0
    for count in PROCESSES:
        found = attention.in_processes(_work, count, query, key, value, timeout=300)
        expected = attention.tiled_attention(query, key, value, causal=True)
        error = max(float((context - expected).abs().max()) for context, _, _ in found)
        extra, seconds = (max(each[place] for each in found) for place in (1, 2))
        alone = alone or extra
        name = f"attention.ring.{count}-processes"
        what = f"{TOKENS:,} tokens, {HEADS} heads of width {WIDTH}, causal"
        rows += [
            row(f"{name}.error", error, f"largest difference from one process, {what}"),
            row(f"{name}.extra_mb", extra, f"10^6 bytes at most in a process, {what}"),
            row(f"{name}.memory_share", extra / alone, f"of what one process needs, {what}"),
            row(f"{name}.seconds", seconds, f"s, one machine, one thread each, {what}"),
        ]
    return rows


def _work(
    rank: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, float, float]:
    """In each process: all contexts, its peak memory above what was there, its seconds."""
    parts = [attention.ring_part(whole) for whole in (query, key, value)]
    small = [part[..., :64, :] for part in parts]
    attention.ring_attention(*small, causal=True)  # libraries are loaded, connections are made
    before, start = _memory("VmRSS", anew=True), time.perf_counter()
    context = attention.ring_attention(*parts, causal=True)
    extra, seconds = _memory("VmHWM") - before, time.perf_counter() - start
    parts_mb = sum(part.nbytes for part in parts) / 1e6
    return attention.ring_join(context), extra + parts_mb, seconds


def _memory(what: str, anew: bool = False) -> float:
    """Resident memory of this process now, or at most since it was last counted anew; Linux."""
    if anew:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6
