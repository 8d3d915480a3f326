"""Train a translator from nothing on pairs of texts."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.splits import Splits
from attnlab.device import as_number_format, is_main_process
from attnlab.device import device as default_device
from attnlab.errors import DataError, ModelError, needs
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import CHECKPOINT, fingerprint
from attnlab.training.loop import train
from attnlab.training.recipe import Recipe
from attnlab.transformer.encoder_decoder import Seq2SeqTransformer
from attnlab.transformer.subwords import Subwords
from attnlab.translation.batches import PairBatches
from attnlab.translation.translator import FILE, Translator


def train_translator(
    splits: Splits,
    out: str | os.PathLike[str] | None = None,
    *,
    vocabulary: int = 1000,
    d_model: int = 128,
    heads: int = 4,
    encoder_layers: int = 2,
    decoder_layers: int = 2,
    feed_forward: int = 512,
    dropout: float = 0.1,
    label_smoothing: float = 0.0,
    model: dict[str, Any] | None = None,
    epochs: int = 8,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
    **recipe: Any,
) -> Translator:
    """Train a Transformer from nothing on pairs of texts; return it at its best epoch on dev.

    Parameters
    ----------
    splits : of `ParallelDataset`, with train and dev parts
    out : folder for the result and, while training, a checkpoint
    vocabulary : sub-words of each language, at most; they are learned from the training texts alone
    d_model, heads, encoder_layers, decoder_layers, feed_forward, dropout, label_smoothing : of the
        model
    model : other keywords of `Seq2SeqTransformer`: norm, positions, max_length, tie, fused (True
        here: faster)
    learning_rate : at its highest; it rises over the first 6 % of the steps and falls to 0 linearly
    dtype : number format of what is computed; default that of `device.number_format` on a GPU,
        float32 on a CPU
    resume : go on from the checkpoint in ``out``
    overwrite : put the result in place of one that is in ``out`` already
    callbacks : of `training.Callback`, with the translator as ``run.learner``
    **recipe : other fields of `training.Recipe`: warmup, weight_decay, max_grad_norm,
        micro_batches, bucket_batches, patience

    Returns
    -------
    Translator with ``.history``. An epoch's row has ``dev_accuracy``, the share of dev texts whose
    translation is right to the letter, ``dev_chrf`` (0-100), by which the best epoch is chosen, and
    ``dev_loss`` in nats a token.
    """
    _check(splits)
    if resume and out is None:
        raise ModelError("There is nothing to go on from: resume=True needs the folder, out=...")
    folder = None if out is None else Path(out)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_finished(folder, resume, overwrite)
    full_recipe = Recipe(epochs, batch_size, learning_rate, seed=seed, **recipe)
    source_words = Subwords.train(splits.train.sources, vocabulary)
    target_words = Subwords.train(splits.train.targets, vocabulary)
    torch.manual_seed(seed)
    network = Seq2SeqTransformer(
        len(source_words),
        len(target_words),
        d_model=d_model,
        heads=heads,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        feed_forward=feed_forward,
        dropout=dropout,
        label_smoothing=label_smoothing,
        **{"fused": True} | (model or {}),
    )
    translator = Translator(
        network.to(default_device()), source_words, target_words, splits.train.name
    )
    data = PairBatches(translator, splits.train)
    translator.default_max_length = max(map(len, data.labels))
    if dtype is None and translator.device.type != "cuda":
        dtype = torch.float32
    translator.history = train(
        network,
        data.lengths,
        data.batch,
        _measuring(translator, splits.dev),
        full_recipe,
        dtype=as_number_format(dtype, translator.device.type),
        folder=folder,
        resume=resume,
        choose_by="dev_chrf",
        identity={
            "size": network.size,
            "training_texts": fingerprint(vars(splits.train)),
            "dev_texts": fingerprint(vars(splits.dev)),
        },
        callbacks=callbacks,
        learner=translator,
    )
    network.eval()
    if folder is not None and is_main_process():
        translator.save(folder / FILE)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return translator


def _refuse_finished(folder: Path, resume: bool, overwrite: bool) -> None:
    """Raise ModelError if the result of a run is there, unless it is to be overwritten."""
    finished = (folder / FILE).exists()
    if finished and resume and not (folder / CHECKPOINT).exists():
        raise ModelError(f"The run in {folder} is finished. al.load_translator loads it.")
    if finished and not resume and not overwrite:
        raise ModelError(
            f"{folder} holds a finished translator, which would be lost. Add overwrite=True to put "
            "the new one in its place, or name another folder."
        )


def _measuring(translator: Translator, dev: ParallelDataset) -> Callable[[], dict[str, float]]:
    """What to measure after every epoch."""
    with needs("lab"):
        from sacrebleu.metrics import CHRF

    pairs = PairBatches(translator, dev)

    def measure() -> dict[str, float]:
        found = translator.translate(dev.sources)
        right = np.mean([a == b for a, b in zip(found, dev.targets, strict=True)])
        chrf = CHRF().corpus_score(found, [dev.targets]).score
        return {
            "dev_accuracy": float(right),
            "dev_chrf": chrf,
            "dev_loss": _loss(translator, pairs),
        }

    return measure


def _loss(translator: Translator, pairs: PairBatches) -> float:
    """Mean loss of a token, nats, without label smoothing."""
    total = count = 0.0
    for batch in pairs.batches():
        inputs = {name: ids.to(translator.device) for name, ids in batch.items()}
        with torch.no_grad():
            logits = translator.model(inputs["source"], inputs["target"]).logits
        labels = inputs["labels"]
        total += float(
            nn.functional.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), ignore_index=0, reduction="sum"
            )
        )
        count += float((labels != 0).sum())
    return total / count


def _check(splits: Splits) -> None:
    for part in ("train", "dev"):
        data = getattr(splits, part)
        if not isinstance(data, ParallelDataset):
            raise DataError(
                f"{data!r} has labels and no translations. Use al.datasets.load('dates'), or "
                "pairs of your own: al.datasets.pairs_from_file."
            )
        if not len(data):
            raise DataError(f"{splits!r} leaves nothing for {part}.")
