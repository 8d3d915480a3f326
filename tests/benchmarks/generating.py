"""Generation: what a cache saves in time and costs in bytes, and attention over a long text.

The model has the size of lesson 04's; time and bytes do not depend on what it has learned, so its
weights are random, save where texts in two number formats are compared.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from rows import Row, not_measured, row
from torch import Tensor

import attnlab as al
from attnlab.attention import causal_mask, scaled_dot_product_attention, tiled_attention
from attnlab.device import pinned_threads
from attnlab.economics.timing import interleaved
from attnlab.inference import no_collection
from attnlab.language.generating import generate, stream
from attnlab.language.model import LanguageModel

SIZE = {"vocabulary": 1024, "d_model": 96, "heads": 4, "layers": 4}
PROMPT, WRITTEN = 8, 192  # tokens: 200 together
MODEL, TEXTS = "grimm", 20  # whose texts in two number formats are compared, and how many
KEPT = 64  # tokens in a cache whose bytes are counted
ROUNDS = 9
LENGTH, HEADS, WIDTH = 2048, 4, 24  # of the text, as many heads of this width as in the lesson


def measure() -> list[Row]:
    """All parts."""
    return [
        *cache_speed(),
        *cache_bytes(),
        *bfloat16(),
        *attention_times(),
        *attention_memory(),
    ]


# ── the cache ──────────────────────────────────────────────────────────────────────────────────


def cache_speed() -> list[Row]:
    """A text of 200 tokens with and without a cache, in turn, on one thread."""
    torch.manual_seed(0)
    model = LanguageModel(**SIZE).eval()
    prompt = torch.randint(SIZE["vocabulary"], (PROMPT,)).tolist()
    times: dict[str, list[list[float]]] = {"with": [], "without": []}
    texts = set()
    with pinned_threads(1), no_collection():
        for number in range(ROUNDS + 1):
            for name in sorted(times, reverse=number % 2 == 1):
                ids, steps = _timed(
                    stream(model, prompt, WRITTEN, temperature=0, cache=name == "with")
                )
                texts.add(tuple(ids))
                if number:  # the first round warms up
                    times[name].append(steps)
    if len(texts) > 1:
        raise AssertionError("With a cache and without, other tokens are written.")
    whole = {name: [sum(steps) for steps in rounds] for name, rounds in times.items()}
    last = {
        name: [statistics.median(steps[-20:]) for steps in rounds] for name, rounds in times.items()
    }
    return [
        *_compared("language.cache.step", last, "step at 200 tokens (median of the last 20)"),
        *_compared("language.cache.text", whole, f"text: {WRITTEN} tokens after {PROMPT}"),
    ]


def _timed(ids: Iterator[int]) -> tuple[list[int], list[float]]:
    """Ids, and milliseconds for each."""
    found, steps, start = [], [], time.perf_counter()
    for token in ids:
        found.append(token)
        steps.append(1000 * (time.perf_counter() - start))
        start = time.perf_counter()
    return found, steps


def _compared(name: str, times: dict[str, list[float]], what: str) -> list[Row]:
    """Milliseconds with and without a cache, and the ratio of their medians."""
    ratios = [slow / quick for slow, quick in zip(times["without"], times["with"], strict=True)]
    return [
        row(
            f"{name}.speedup",
            statistics.median(times["without"]) / statistics.median(times["with"]),
            f"x, time without a cache / with one, {what}, one thread; low and high are the "
            "quartiles of rounds",
            low=float(np.quantile(ratios, 0.25)),
            high=float(np.quantile(ratios, 0.75)),
            n=ROUNDS,
        ),
        *(
            row(f"{name}.{side}_ms", statistics.median(own), f"ms, {side} a cache, {what}", own)
            for side, own in times.items()
        ),
    ]


def cache_bytes() -> list[Row]:
    """Bytes of caches of 64 tokens, measured, beside the formula."""
    rows = []
    for layers in (3, SIZE["layers"]):
        for kv_heads in (4, 2, 1):
            rows.append(_bytes(layers, kv_heads))
    rows.append(_bytes(SIZE["layers"], 4, window=32))
    return rows


def _bytes(layers: int, kv_heads: int, window: int | None = None) -> Row:
    """Bytes after reading 64 tokens."""
    size = SIZE | {"layers": layers, "kv_heads": kv_heads, "window": window}
    model = LanguageModel(**size).eval()
    cache = model.cache()
    with torch.no_grad():
        for _ in range(KEPT):
            model(torch.zeros(1, 1, dtype=torch.long), cache=cache)
    slots = KEPT if window is None else min(KEPT, window)
    formula = 2 * layers * kv_heads * (SIZE["d_model"] // SIZE["heads"]) * slots * 4
    kind = f"{layers}-layers.{kv_heads}-kv-heads" + (f".window-{window}" if window else "")
    what = f"bytes of keys and values, {KEPT} tokens, float32, width {SIZE['d_model']}"
    return row(f"language.cache.bytes.{kind}", cache.bytes, what, formula=formula)


def bfloat16() -> list[Row]:
    """After how many tokens a text in bfloat16 differs from that in float32, of 20 texts."""
    names = ("greedy", "sampled")
    start, unit = "language.bfloat16", "tokens, the first that differs; median of texts"
    if MODEL not in al.language.language_models():
        why = f"The model {MODEL!r} does not come along yet."
        return [not_measured(f"{start}.{name}.first_differing", unit, why) for name in names]
    writer = al.load_language_model(MODEL)
    ids = writer.tokens.encode("\n".join(al.datasets.load_tales(MODEL).dev))
    starts = range(0, len(ids) - PROMPT, len(ids) // TEXTS)
    prompts = [ids[first : first + PROMPT] for first in starts][:TEXTS]
    rows = []
    for name, temperature in zip(names, (0.0, 0.8), strict=True):
        texts = [
            generate(writer.model, prompts, WRITTEN, temperature=temperature, dtype=dtype)
            for dtype in ("float32", "bfloat16")
        ]
        first = [_first_differing(*pair) for pair in zip(*texts, strict=True)]
        rows.append(
            row(
                f"{start}.{name}.first_differing",
                statistics.median(first),
                unit + f", {WRITTEN} where none of {WRITTEN} does; low and high are the quartiles",
                low=float(np.quantile(first, 0.25)),
                high=float(np.quantile(first, 0.75)),
                n=TEXTS,
                never=sum(one == WRITTEN for one in first) / TEXTS,
            )
        )
    return rows


def _first_differing(one: list[int], other: list[int]) -> int:
    pairs = enumerate(zip(one, other, strict=True))
    return next((place for place, (a, b) in pairs if a != b), len(one))


# ── attention over a long text ─────────────────────────────────────────────────────────────────


def _written_out(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    mask = causal_mask(query.shape[-2])
    return scaled_dot_product_attention(query, key, value, mask)[0]


def _fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)


def _tiled(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return tiled_attention(query, key, value, causal=True)


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "written-out": _written_out,
    "fused": _fused,
    "tiled": _tiled,
}


def _inputs(length: int, gradient: bool = False) -> list[Tensor]:
    """Query, key and value, (1, H, T, D)."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, HEADS, length, WIDTH, generator=generator).requires_grad_(gradient)
        for _ in range(3)
    ]


def attention_times() -> list[Row]:
    """The three ways in turn, on one thread, forward."""
    inputs = _inputs(LENGTH)
    first = _written_out(*inputs)
    for name, way in WAYS.items():
        error = float((way(*inputs) - first).abs().max())
        if not error < 1e-5:
            raise AssertionError(f"{name} attention differs by {error:g}")
    calls = {name: lambda way=way: way(*inputs) for name, way in WAYS.items()}
    wall = interleaved(calls, rounds=ROUNDS, seconds=120).wall
    what = f"{LENGTH} tokens, {HEADS} heads of width {WIDTH}, causal, one thread"
    rows = [
        row(
            f"language.attention.{name}.ms",
            float(wall[name].median()),
            f"ms, {what}",
            list(wall[name]),
        )
        for name in WAYS
    ]
    for name in ("fused", "tiled"):
        ratio = wall["written-out"] / wall[name]
        rows.append(
            row(
                f"language.attention.{name}.speedup",
                float(wall["written-out"].median() / wall[name].median()),
                f"x, time written out / {name}, {what}; low and high are the quartiles of rounds",
                low=float(ratio.quantile(0.25)),
                high=float(ratio.quantile(0.75)),
                n=len(wall),
            )
        )
    return rows


def attention_memory() -> list[Row]:
    """Memory that each way takes beside its inputs, forward alone and with backward."""
    rows = []
    for direction in ("forward", "backward"):
        found = {name: [_extra_megabytes(name, direction) for _ in range(3)] for name in WAYS}
        through = "forward" if direction == "forward" else "forward and backward"
        what = f"{LENGTH} tokens, {HEADS} heads of width {WIDTH}, causal, {through}"
        start = "language.attention" + (".with-gradient" if direction == "backward" else "")
        for name, runs in found.items():
            unit = f"10^6 bytes at most beside the inputs, {what}"
            rows.append(row(f"{start}.{name}.extra_mb", statistics.median(runs), unit, runs))
        for name in ("fused", "tiled"):
            written_out, other = (statistics.median(found[way]) for way in ("written-out", name))
            unit = f"x, extra memory written out / {name}, {what}"
            rows.append(row(f"{start}.{name}.memory_ratio", written_out / other, unit))
    return rows


def _extra_megabytes(name: str, direction: str) -> float:
    """In a process of its own: in this one freed memory would be used again, unseen."""
    done = subprocess.run(
        [sys.executable, __file__, name, direction], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def _measure_memory(name: str, direction: str) -> float:
    """What a call adds to the memory of this process at most, in 10^6 bytes (Linux)."""
    torch.set_num_threads(1)
    gradient = direction == "backward"

    def call(length: int) -> tuple[float, float]:
        inputs = _inputs(length, gradient)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _status("VmRSS")
        context = WAYS[name](*inputs)
        if gradient:
            context.sum().backward()
        return before, _status("VmHWM")

    call(256)  # what libraries load and keep does not count
    before, peak = call(LENGTH)
    return peak - before


def _status(name: str) -> float:
    """A figure of this process's memory, in 10^6 bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    print(_measure_memory(*sys.argv[1:]))
