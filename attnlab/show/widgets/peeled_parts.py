"""A classifier by parts: how many weights each has, its bytes in the file, and its milliseconds."""

import contextlib
import json
import statistics
import struct
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Encoded
from attnlab.classification.saving import quietly
from attnlab.classification.structure import write_model
from attnlab.device import autocast
from attnlab.evaluation.measurement import Snapshot

Part = tuple[
    str, int
]  # "words", "embeddings" or "head" with -1; "attention", "feed-forward": layer
WORDS, EMBEDDINGS, HEAD = ("words", -1), ("embeddings", -1), ("head", -1)


# ── weights and bytes ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Size:
    """What a part is made of: ``parameters``, how many of them are ``zeros``, ``bytes`` in a file.

    ``bytes`` are those of the file of weights that `Classifier.save` writes.
    """

    parameters: int = 0
    zeros: int = 0
    bytes: int = 0


def parts(layers: int) -> list[Part]:
    """The parts of a model of so many layers, from the words to the answer."""
    within: list[Part] = [
        (name, layer) for layer in range(layers) for name in ("attention", "feed-forward")
    ]
    return [WORDS, EMBEDDINGS, *within, HEAD]


def sizes(
    clf: Classifier, numbers: Sequence[int] | None = None, zeros: bool = False
) -> dict[Part, Size]:
    """The size of every part; what layers share counts with the first of them.

    Parameters
    ----------
    clf : Classifier
    numbers : what its layers are called, where some were removed; default from 0
    zeros : count them in the layers' matrices
    """
    model = heads.model_of(clf)
    owner, named = _owners(model, numbers), dict(model.named_parameters())
    parameters: dict[Part, int] = defaultdict(int)
    silent: dict[Part, int] = defaultdict(int)
    for name, parameter in named.items():
        part = owner.get(id(parameter)) or _outside(name)
        parameters[part] += parameter.numel()
        if zeros and part[1] >= 0 and parameter.dim() > 1:
            silent[part] += int((parameter == 0).sum())
    written: dict[Part, int] = defaultdict(int)
    for key, length in _lengths(model).items():
        found = named.get(key, named.get(key.rpartition(".")[0]))  # a packed matrix is several
        written[owner.get(id(found)) or _outside(key)] += length
    return {
        part: Size(parameters[part], silent[part], written[part])
        for part in {*parameters, *written}
    }


def summed(sizes: Mapping[Part, Size], name: str) -> int:
    """The ``parameters``, ``zeros`` or ``bytes`` of all parts together."""
    return sum(getattr(size, name) for size in sizes.values())


def _owners(model: Any, numbers: Sequence[int] | None) -> dict[int, Part]:
    """To which part a parameter belongs, by its id."""
    owner: dict[int, Part] = {id(model.get_input_embeddings().weight): WORDS}
    for layer, (site, block) in enumerate(
        zip(heads.sites(model), heads.feed_forwards(model), strict=True)
    ):
        own = layer if numbers is None else numbers[layer]
        attention = [getattr(site.module, name) for name in (site.query, site.key, site.value)]
        attention += [site.output, block.attention_norm]
        for name, modules in (
            ("attention", attention),
            ("feed-forward", [block.up, block.down, block.norm]),
        ):
            for module in modules:
                for parameter in module.parameters():
                    owner.setdefault(id(parameter), (name, own))
    return owner


def _outside(name: str) -> Part:
    return EMBEDDINGS if "embedding" in name else HEAD


def _lengths(model: Any) -> dict[str, int]:
    """Bytes of each tensor in the file of weights, read off the file's own table."""
    found: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="attnlab-") as folder, quietly():
        write_model(model, Path(folder))
        for file in Path(folder).glob("*.safetensors"):
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                table = json.loads(stream.read(length))
            table.pop("__metadata__", None)
            for key, about in table.items():
                start, end = about["data_offsets"]
                found[key] = end - start
    return found


# ── milliseconds ───────────────────────────────────────────────────────────────────────────────


@dataclass
class Timing:
    """Times of the untouched model and of another, taken in turn, in seconds.

    Attributes
    ----------
    one, batch : for each round (untouched, other): of one text, and of a batch
    by_part : for each round of the batch, likewise, a dict from part to seconds
    texts : how many the batch holds
    """

    texts: int
    one: list[tuple[float, float]] = field(default_factory=list)
    batch: list[tuple[float, float]] = field(default_factory=list)
    by_part: list[tuple[dict[Part, float], dict[Part, float]]] = field(default_factory=list)

    def medians(self, name: str) -> tuple[float, float]:
        """Median seconds of "one" or "batch": untouched, other."""
        before, after = zip(*getattr(self, name), strict=True)
        return statistics.median(before), statistics.median(after)

    def ratio(self, name: str) -> tuple[float, float, float]:
        """Median of other / untouched, round by round, with its interval of 95 % or more."""
        return median_interval([after / before for before, after in getattr(self, name)])

    def parts(self) -> tuple[dict[Part, float], dict[Part, float]]:
        """Median seconds of each part in a batch: untouched, other."""
        untouched, other = (
            {
                part: statistics.median(one[side].get(part, 0.0) for one in self.by_part)
                for part in self.by_part[0][side]
            }
            for side in (0, 1)
        )
        return untouched, other


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the order statistics around it that hold it with 95 % or more.

    Of fewer than 6 values not even the smallest and the largest do: then the interval is endless.

    >>> median_interval([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    (3.5, 1.0, 6.0)
    >>> median_interval([1.0, 2.0])
    (1.5, -inf, inf)
    """
    order, count = sorted(values), len(values)
    outside, tail, skipped = 0.5**count, 0.5**count, 0
    if tail > 0.025:
        return statistics.median(order), -torch.inf, torch.inf
    while True:  # skip another one on each side while no more than 2.5 % is lost there
        outside *= (count - skipped) / (skipped + 1)
        if tail + outside > 0.025:
            return statistics.median(order), order[skipped], order[count - 1 - skipped]
        tail, skipped = tail + outside, skipped + 1


def timed_round(
    timing: Timing,
    before: Classifier,
    after: Classifier,
    encoded: Encoded,
    numbers: Sequence[int] | None = None,
) -> None:
    """Time one text and a batch on both models, in turn, and add that to a timing.

    Parameters
    ----------
    timing : is added to
    before, after : the untouched classifier, and the other
    encoded : the texts of the batch; each round takes another one of them alone
    numbers : as for `sizes`, of ``after``
    """
    count, models = len(timing.one), (before, after)
    order = (0, 1) if count % 2 == 0 else (1, 0)  # neither is always the first
    one, batch = [0.0, 0.0], [0.0, 0.0]
    by_part: list[dict[Part, float]] = [{}, {}]
    for side in order:
        one[side] = _seconds(models[side], encoded, [count % len(encoded)])
    for side in order:
        with _by_part(models[side], numbers if side else None) as split:
            batch[side] = _seconds(models[side], encoded, range(timing.texts))
        by_part[side] = split(batch[side])
    timing.one.append((one[0], one[1]))
    timing.batch.append((batch[0], batch[1]))
    timing.by_part.append((by_part[0], by_part[1]))


def _seconds(clf: Classifier, encoded: Encoded, indices: Sequence[int]) -> float:
    """Of one pass, padded to the longest text; tokenising is not in it."""
    inputs = {name: tensor.to(clf.device) for name, tensor in encoded.batch(indices).items()}
    began = time.perf_counter()
    with torch.inference_mode(), autocast(clf.device, torch.float32):
        heads.run(clf, inputs).cpu()  # on a GPU it waits: logits come back
    return time.perf_counter() - began


@contextlib.contextmanager
def _by_part(
    clf: Classifier, numbers: Sequence[int] | None
) -> Iterator[Callable[[float], dict[Part, float]]]:
    """Watch where a forward pass is; yields what splits its seconds by parts afterwards.

    A layer's attention lasts until its norm is done, its feed-forward block until the second norm
    is. Other threads may ask the model meanwhile: they are not heard.
    """
    model, ours = heads.model_of(clf), threading.get_ident()
    start: list[float] = []
    first: list[float] = []
    ends: list[float] = []
    handles = []

    def note(times: list[float]) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if threading.get_ident() == ours:
                if clf.device.type == "cuda":
                    torch.cuda.synchronize(clf.device)
                times.append(time.perf_counter())

        return hook

    blocks = heads.feed_forwards(model)
    norms = {id(norm): norm for block in blocks for norm in (block.attention_norm, block.norm)}
    handles.append(model.register_forward_pre_hook(note(start)))
    handles.append(heads.sites(model)[0].module.register_forward_pre_hook(note(first)))
    handles += [norm.register_forward_hook(note(ends)) for norm in norms.values()]

    def split(took: float) -> dict[Part, float]:
        names = list(range(len(blocks))) if numbers is None else list(numbers)
        if len(start) != 1 or not first or len(ends) != 2 * len(blocks):
            return {}
        found, at = {EMBEDDINGS: first[0] - start[0]}, first[0]
        pairs = [(name, layer) for layer in names for name in ("attention", "feed-forward")]
        for part, end in zip(pairs, ends, strict=True):
            found[part], at = end - at, end
        return found | {HEAD: max(0.0, start[0] + took - at)}

    try:
        yield split
    finally:
        for handle in handles:
            handle.remove()


# ── both, and the answers ──────────────────────────────────────────────────────────────────────


@dataclass
class Known:
    """What is known of one choice so far; None, where nothing is.

    Attributes
    ----------
    sizes : of its parts, see `sizes`
    seen : the untouched model and this one on the same texts
    timing : of both, in turn
    timed : whether that is all the timing there will be
    """

    sizes: Mapping[Part, Size] | None = None
    seen: tuple[Snapshot, Snapshot] | None = None
    timing: Timing | None = None
    timed: bool = False

    @property
    def state(self) -> str:
        """ "building", "partial", "timing" or "measured"."""
        if self.sizes is None:
            return "building"
        if self.seen is None or not self.seen[0].finished:
            return "partial"
        return "measured" if self.timed else "timing"
