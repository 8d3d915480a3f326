"""Pairs of texts as padded batches of token ids."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.datasets.pairs import ParallelDataset
from attnlab.heads.settings import Seq2SeqSettings
from attnlab.inference import evaluating

if TYPE_CHECKING:
    from attnlab.translation.translator import Translator

BATCH_SIZE = 100  # texts that are translated or measured in one batch


class PairBatches:
    """Pairs as token ids, ready to be put into batches.

    The decoder reads the right answer one token late (teacher forcing): it is given start, y₁, y₂
    and has to say y₁, y₂, end.

    Attributes
    ----------
    sources : N lists of int, ids of the source texts with the end mark
    labels : N lists of int, ids of the translations with the end mark
    decoder_inputs : N lists of int, the labels shifted by one: start mark first, end mark left out
    lengths : N int, tokens of a source and its translation together
    """

    def __init__(self, translator: "Translator", pairs: ParallelDataset):
        start = translator.target_words.start
        self.sources = translator.encode(pairs.sources)
        self.labels = translator.encode_targets(pairs.targets)
        self.decoder_inputs = [[start, *row[:-1]] for row in self.labels]
        self.lengths = [
            len(source) + len(label)
            for source, label in zip(self.sources, self.labels, strict=True)
        ]

    def batch(self, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Tensors of these pairs: source (B, S), target and labels (B, T)."""
        rows = {"source": self.sources, "target": self.decoder_inputs, "labels": self.labels}
        return {name: padded([ids[index] for index in indices]) for name, ids in rows.items()}

    def batches(self, size: int = BATCH_SIZE) -> Iterator[dict[str, Tensor]]:
        """All pairs, in batches of similar length."""
        order = np.argsort(self.lengths, kind="stable")
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size])


@torch.no_grad()
def mean_loss(
    translator: "Translator",
    pairs: "ParallelDataset | PairBatches",
    settings: Seq2SeqSettings | None = None,
) -> float:
    """Return the mean loss of a target token in nats, without label smoothing or dropout.

    Parameters
    ----------
    translator : Translator
    pairs : to measure on; the decoder reads the right answers (teacher forcing)
    settings : of heads; None for neutral ones
    """
    data = pairs if isinstance(pairs, PairBatches) else PairBatches(translator, pairs)
    total = count = 0.0
    for batch in data.batches():
        inputs = {name: ids.to(translator.device) for name, ids in batch.items()}
        with evaluating(translator.model):
            logits = translator.model(inputs["source"], inputs["target"], settings=settings).logits
        labels = inputs["labels"]
        total += float(
            nn.functional.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), ignore_index=0, reduction="sum"
            )
        )
        count += float((labels != 0).sum())
    return total / count


def padded(rows: Sequence[Sequence[int]], padding: int = 0) -> Tensor:
    """Put rows of ids into one tensor (B, T), with padding behind the shorter ones."""
    filled = np.full((len(rows), max(map(len, rows))), padding)
    for line, row in zip(filled, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(filled)
