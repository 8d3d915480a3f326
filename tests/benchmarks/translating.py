"""Figures on translation: training speed against torch.nn.Transformer, and what the cache saves."""

import statistics
import time
from collections.abc import Callable

import torch
from rows import Row, row
from torch import Tensor, nn

from attnlab.attention import sinusoidal_positions
from attnlab.transformer import decoding
from attnlab.transformer.encoder_decoder import Seq2SeqTransformer

REPEATS = 15
BATCH, SOURCE, TARGET, VOCABULARY = 64, 15, 12, 1000
WIDTHS = (128, 256)
LENGTHS = (12, 24)  # tokens that are written
START, END = 2, 3


def measure() -> list[Row]:
    """Training steps against torch's own model, and decoding with and without cache."""
    return [*_training(), _cache()]


class TorchTransformer(nn.Module):
    """The same model made of torch.nn.Transformer, as one would use it in training."""

    def __init__(self, d_model: int):
        super().__init__()
        self.transformer = nn.Transformer(
            d_model, 4, 2, 2, 512, dropout=0.1, batch_first=True, norm_first=True
        )
        self.source = nn.Embedding(VOCABULARY, d_model)
        self.target = nn.Embedding(VOCABULARY, d_model)
        self.output = nn.Linear(d_model, VOCABULARY, bias=False)
        self.output.weight = self.target.weight
        self.dropout = nn.Dropout(0.1)
        self.register_buffer("places", sinusoidal_positions(512, d_model))

    def embed(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        width = embedding.embedding_dim
        return self.dropout(embedding(ids) * width**0.5 + self.places[: ids.shape[1]])

    def forward(self, source: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        future = nn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=torch.bool)
        hidden = self.transformer(
            self.embed(self.source, source),
            self.embed(self.target, target),
            tgt_mask=future,
            src_key_padding_mask=source == 0,
            tgt_key_padding_mask=target == 0,
            memory_key_padding_mask=source == 0,
            tgt_is_causal=True,
        )
        logits = self.output(hidden)
        return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=0)


def _training() -> list[Row]:
    """Forward and backward of one batch; three models take turns, with a ratio for each turn."""
    ratios: dict[str, list[float]] = {}
    source, target, labels = _batch()
    for width in WIDTHS:
        torch.manual_seed(0)
        models = {
            "torch": TorchTransformer(width),
            "written": Seq2SeqTransformer(VOCABULARY, VOCABULARY, width),
            "fused": Seq2SeqTransformer(VOCABULARY, VOCABULARY, width, fused=True),
        }
        steps = {
            "torch": lambda model=models["torch"]: model(source, target, labels).backward(),
            "written": lambda model=models["written"]: model(
                source, target, labels
            ).loss.backward(),
            "fused": lambda model=models["fused"]: model(source, target, labels).loss.backward(),
        }
        seconds = _turns(steps)
        for name in ("written", "fused"):
            ratios[f"{name} {width}"] = [
                theirs / ours for theirs, ours in zip(seconds["torch"], seconds[name], strict=True)
            ]
    medians = {name: statistics.median(each) for name, each in ratios.items()}
    unit = (
        "tokens/s over those of torch.nn.Transformer, forward and backward, worst of d_model "
        + (" and ".join(map(str, WIDTHS)))
    )
    rows = []
    for kind, suffix in (("written", ""), ("fused", "_fused")):
        worst = min((f"{kind} {width}" for width in WIDTHS), key=medians.__getitem__)
        of_widths = {f"d_model_{width}": medians[f"{kind} {width}"] for width in WIDTHS}
        rows.append(
            row(
                f"translation.train_speed_ratio{suffix}",
                medians[worst],
                unit,
                ratios[worst],
                **of_widths,
            )
        )
    return rows


def _cache() -> Row:
    """Decoding 100 sentences at once; an untrained model hardly ever ends one before the limit."""
    torch.manual_seed(0)
    model = Seq2SeqTransformer(VOCABULARY, VOCABULARY).eval()
    source = torch.randint(4, VOCABULARY, (100, SOURCE))
    ratios = {}
    for length in LENGTHS:
        calls = {
            cache: lambda cache=cache, length=length: decoding.greedy(
                model, source, START, END, max_length=length, cache=cache
            )
            for cache in (True, False)
        }
        seconds = _turns(calls, repeats=7)
        ratios[length] = [
            without / cached for without, cached in zip(seconds[False], seconds[True], strict=True)
        ]
    medians = {f"tokens_{length}": statistics.median(each) for length, each in ratios.items()}
    unit = f"times as fast as without, 100 sentences at once, {LENGTHS[-1]} tokens each"
    runs = ratios[LENGTHS[-1]]
    return row("translation.cache_speedup", statistics.median(runs), unit, runs, **medians)


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    """Sentences of different length, the longest as long as the batch is wide."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(4, VOCABULARY, (BATCH, SOURCE), generator=generator)
    target = torch.randint(4, VOCABULARY, (BATCH, TARGET + 1), generator=generator)
    for line in range(1, BATCH):
        source[line, SOURCE - line % 8 :] = 0 if line % 8 else source[line, SOURCE:]
        target[line, TARGET + 1 - line % 6 :] = 0 if line % 6 else target[line, TARGET + 1 :]
    target[:, 0] = START
    return source, target[:, :-1], target[:, 1:]


def _turns(
    calls: dict[object, Callable[[], object]], repeats: int = REPEATS
) -> dict[object, list[float]]:
    """Seconds of each call, taken in turns, the first two turns left out."""
    seconds: dict[object, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds
