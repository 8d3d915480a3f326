"""Does cross-attention align? How often a head attends to the field being written."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from attnlab.datasets.pairs import ParallelDataset, Span
from attnlab.errors import DataError
from attnlab.heads.settings import Seq2SeqSettings
from attnlab.translation.batches import BATCH_SIZE, PairBatches
from attnlab.translation.maps import read

if TYPE_CHECKING:
    from attnlab.translation.translator import Translator

ISO_FIELDS = {"year": (0, 4), "month": (5, 7), "day": (8, 10)}  # characters of 2021-03-03


def alignment_accuracy(
    translator: "Translator", pairs: ParallelDataset, settings: Seq2SeqSettings | None = None
) -> pd.DataFrame:
    """How often a cross-attention head attends most to the field that is being written.

    For every token of a year, month or day that the decoder is to say next, the head is right if
    the source token with its largest weight lies in that field of the source. The decoder reads
    the right answers (teacher forcing).

    Parameters
    ----------
    translator : Translator
    pairs : with ``spans``, as `datasets.load("dates")` has
    settings : of the heads; None for neutral ones

    Returns
    -------
    DataFrame, a row per layer, head and field: ``accuracy``; ``chance``, the mean share of source
    tokens, marks left out, that lie in the field; ``n`` target tokens

    Raises
    ------
    DataError : pairs without spans
    """
    if pairs.spans is None:
        raise DataError(f"{pairs!r} has no spans to compare with. al.datasets.load('dates') has.")
    data = PairBatches(translator, pairs)
    rows: list[tuple[int, int, str, bool, float]] = []
    for start in range(0, len(pairs), BATCH_SIZE):
        indices = range(start, min(start + BATCH_SIZE, len(pairs)))
        inputs = {
            name: ids.to(translator.device) for name, ids in data.batch(list(indices)).items()
        }
        output = read(translator.model, inputs["source"], inputs["target"], settings)
        strongest = torch.stack(
            [weights.argmax(-1) for weights, _ in output.attention["cross"]]
        ).cpu()  # (L, B, H, T)
        for row, index in enumerate(indices):
            rows += _judged(translator, pairs, index, strongest[:, row].numpy())
    table = pd.DataFrame(rows, columns=["layer", "head", "field", "accuracy", "chance"])
    grouped = table.groupby(["layer", "head", "field"], sort=True)
    means = grouped.mean()
    means["n"] = grouped.size()
    return means.reset_index()


def _judged(
    translator: "Translator", pairs: ParallelDataset, index: int, strongest: np.ndarray
) -> Iterator[tuple[int, int, str, bool, float]]:
    """For each head and token of a field: does the strongest weight (L, H, T) lie in the field?"""
    assert pairs.spans is not None
    source_spans = translator.source_words.spans(pairs.sources[index])
    target_spans = translator.target_words.spans(pairs.targets[index])
    for field, characters in ISO_FIELDS.items():
        wanted = {
            token
            for token, span in enumerate(source_spans)
            if _overlap(span, pairs.spans[index][field])
        }
        for step, span in enumerate(target_spans):
            if not _overlap(span, characters):
                continue
            for layer, heads in enumerate(translator.model.active["cross"]):
                for head in heads:
                    right = int(strongest[layer, head, step]) in wanted
                    yield layer, head, field, right, len(wanted) / len(source_spans)


def _overlap(span: Span, other: Span) -> bool:
    return max(span[0], other[0]) < min(span[1], other[1])
