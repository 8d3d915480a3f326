"""What a model costs: parameters, FLOPs, memory and milliseconds, and which part costs what."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attnlab import heads
from attnlab.economics.flops import flops_by_part
from attnlab.economics.passes import encoder_decoder_in, forward_pass
from attnlab.economics.shapes import PARTS, Sizes, shape_of
from attnlab.economics.timing import latency

__all__ = ["Cost", "activations", "cost"]


@dataclass(frozen=True, eq=False)
class Cost:
    """What a model costs for a batch of texts of one length.

    Attributes
    ----------
    parameters, nonzero : how many, and how many of them are not 0
    l2 : the square root of the sum of their squares
    flops : of one forward pass, see `flops`
    megabytes : of the weights in memory, 10^6 bytes; what is written in fewer bits or as zeros
        takes less on disk, see `compare`
    peak_mb : of weights and activations together, where most of them are held, 10^6 bytes
    latency_ms, latency_p95_ms : of one forward pass, median and 95th percentile
    latency_quiet_ms : of one where nothing else runs, see `latency`. All three and ``peak_mb`` are
        NaN where nothing was measured.
    tokens, batch : T tokens in each of B texts
    threads : of torch, for the latency
    parts : DataFrame, a row for each of `PARTS`: ``part``, ``parameters``, ``nonzero``, ``l2``,
        ``megabytes``, ``flops``
    """

    parameters: int
    nonzero: int
    l2: float
    flops: int
    megabytes: float
    peak_mb: float
    latency_ms: float
    latency_p95_ms: float
    latency_quiet_ms: float
    tokens: int
    batch: int
    threads: int
    parts: pd.DataFrame

    def __repr__(self) -> str:
        texts = f"{self.batch} text{'s' * (self.batch > 1)} of {self.tokens} tokens"
        known = [
            f"{self.parameters:,} parameters",
            f"{self.flops:,} FLOPs",
            f"{self.megabytes:,.1f} MB",
            *([] if math.isnan(self.peak_mb) else [f"{self.peak_mb:,.1f} MB at the peak"]),
            *([] if math.isnan(self.latency_ms) else [f"{self.latency_ms:,.3g} ms"]),
        ]
        return f"Cost({', '.join(known)}, for {texts})"


def cost(
    model: Any,
    tokens: int = 32,
    batch: int = 1,
    *,
    target_tokens: int | None = None,
    measured: bool = True,
    rounds: int = 20,
    seconds: float = 10.0,
    threads: int = 1,
) -> Cost:
    """Say what a model costs, in all and by part.

    Parameters
    ----------
    model : Classifier, Transformers model that classifies texts, Translator or Seq2SeqTransformer
    tokens, batch : T tokens in each of B texts, without padding
    target_tokens : of each translation, for an encoder-decoder; default ``tokens``
    measured : False leaves out what a forward pass must be run for: peak memory and latency
    rounds, seconds, threads : of measuring latency, see `latency`

    Raises
    ------
    AttnlabError : numbers without sense, more tokens than positions
    ModelError : a model whose parts we do not know, see `shape_of`
    """
    translator = encoder_decoder_in(model)
    shape: Sizes = shape_of(model) if translator is None else translator.size
    module: Any = heads.model_of(model) if translator is None else translator
    counted = flops_by_part(shape, tokens, batch, target_tokens)
    parts = _weights(module, _parts_of_translator if translator is not None else _parts)
    parts["flops"] = [counted[part] for part in PARTS]
    megabytes = float(parts["megabytes"].sum())
    peak, times = math.nan, dict.fromkeys(("ms", "ms_p95", "ms_quiet"), math.nan)
    if measured:
        peak = megabytes + activations(model, tokens, batch, target_tokens) / 1e6
        table = latency(
            {"model": model},
            tokens,
            batch,
            target_tokens=target_tokens,
            rounds=rounds,
            seconds=seconds,
            threads=threads,
        )
        times = {name: float(table[name][0]) for name in times}
    return Cost(
        parameters=int(parts["parameters"].sum()),
        nonzero=int(parts["nonzero"].sum()),
        l2=math.sqrt(float((parts["l2"] ** 2).sum())),
        flops=sum(counted.values()),
        megabytes=megabytes,
        peak_mb=peak,
        latency_ms=times["ms"],
        latency_p95_ms=times["ms_p95"],
        latency_quiet_ms=times["ms_quiet"],
        tokens=tokens,
        batch=batch,
        threads=threads,
        parts=parts,
    )


# --- weights ------------------------------------------------------------------------------------


def _weights(module: nn.Module, parts: Callable[[Any], dict[int, str]]) -> pd.DataFrame:
    """Parameters, non-zeros, norm and size by part; what several layers share counts once."""
    belongs, rows = parts(module), {part: [0.0, 0.0, 0.0, 0.0] for part in PARTS}
    for parameter in module.parameters():
        row, weight = rows[belongs[id(parameter)]], parameter.detach()
        row[0] += weight.numel()
        row[1] += int(weight.count_nonzero())
        row[2] += float(weight.double().square().sum())
        row[3] += weight.numel() * weight.element_size() / 1e6
    columns = ["parameters", "nonzero", "l2", "megabytes"]
    table = pd.DataFrame(list(rows.values()), columns=columns)
    table = table.astype({"parameters": int, "nonzero": int}).assign(l2=table["l2"] ** 0.5)
    table.insert(0, "part", list(PARTS))
    return table


def _parts(model: Any) -> dict[int, str]:
    """Which part each parameter of a Transformers model belongs to, by its id."""
    found = {
        id(weight): "embedding" if "embedding" in name else "classifier"
        for name, weight in model.named_parameters()
    }
    for site, block in zip(heads.sites(model), heads.feed_forwards(model), strict=True):
        for module in (site.module, site.output, block.attention_norm):
            found |= {id(weight): "attention projections" for weight in module.parameters()}
        for module in (block.up, block.down, block.norm):
            found |= {id(weight): "feed-forward" for weight in module.parameters()}
    return found


def _parts_of_translator(model: nn.Module) -> dict[int, str]:
    kinds = (("embedding", PARTS[0]), ("attention", PARTS[1]), ("feed_forward", PARTS[3]))
    return {
        id(weight): next((part for kind, part in kinds if kind in name), "classifier")
        for name, weight in model.named_parameters()
    }


# --- activations --------------------------------------------------------------------------------


def activations(
    model: Any, tokens: int = 32, batch: int = 1, target_tokens: int | None = None
) -> int:
    """Return the bytes of the tensors that a forward pass makes, where most are held at once.

    Weights and inputs do not count, nor what the inside of one operation needs. The same every
    time: tensors are counted, not the memory of the process.

    Parameters
    ----------
    model, tokens, batch, target_tokens : see `forward_pass`
    """
    call = forward_pass(model, tokens, batch, target_tokens)
    with _Live() as live:
        call()
    return live.peak


class _Live(TorchDispatchMode):
    """Counts the bytes of tensors made inside the block that are still held."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with self:  # operations that are made of others, as in torch's FlopCounterMode
            made = func.decompose(*args, **(kwargs or {}))
        if made is not NotImplemented:
            return made
        given = {one.untyped_storage()._cdata for one in _tensors((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        for key in [key for key, (storage, _) in self.held.items() if storage.expired()]:
            del self.held[key]
        for tensor in _tensors(made):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:  # no view of a weight or of an input
                self.held[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self.held.values()))
        return made


def _tensors(tree: Any) -> list[Tensor]:
    return [one for one in tree_leaves(tree) if isinstance(one, Tensor)]


def __dir__() -> list[str]:
    return sorted(__all__)
