"""Train a translator from nothing on pairs of texts, or go on with one."""

import copy
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
from attnlab.errors import DataError, needs
from attnlab.heads.settings import Seq2SeqSettings
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import begin_run, end_run, fingerprint
from attnlab.training.loop import train
from attnlab.training.recipe import Recipe
from attnlab.transformer.encoder_decoder import Seq2SeqTransformer
from attnlab.transformer.subwords import Subwords
from attnlab.translation.batches import PairBatches, mean_loss
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
    folder = begin_run(out, FILE, "al.load_translator", resume, overwrite)
    full_recipe = Recipe(epochs, batch_size, learning_rate, seed=seed, **recipe)
    translator = untrained(
        splits,
        vocabulary=vocabulary,
        seed=seed,
        d_model=d_model,
        heads=heads,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        feed_forward=feed_forward,
        dropout=dropout,
        label_smoothing=label_smoothing,
        **model or {},
    )
    _train(
        translator,
        translator.model,
        splits,
        full_recipe,
        dtype=dtype,
        folder=folder,
        resume=resume,
        callbacks=callbacks,
    )
    if folder is not None and is_main_process():
        translator.save(folder / FILE)
        end_run(folder)
    return translator


def untrained(splits: Splits, *, vocabulary: int = 1000, seed: int = 0, **model: Any) -> Translator:
    """Make a translator that knows its sub-words and nothing else, for `fit`.

    Parameters
    ----------
    splits : of `ParallelDataset`, with train and dev parts
    vocabulary : sub-words of each language, at most; they are learned from the training texts alone
    seed : of the weights
    **model : keywords of `Seq2SeqTransformer`, such as d_model, heads, dropout and fused (True
        here: faster)
    """
    _check(splits)
    source_words = Subwords.train(splits.train.sources, vocabulary)
    target_words = Subwords.train(splits.train.targets, vocabulary)
    torch.manual_seed(seed)
    options: dict[str, Any] = {"fused": True} | model
    network = Seq2SeqTransformer(len(source_words), len(target_words), **options)
    return Translator(network.to(default_device()), source_words, target_words, splits.train.name)


def fit(
    translator: Translator,
    splits: Splits,
    *,
    around: Callable[[Seq2SeqTransformer], nn.Module] | None = None,
    choose_by: str = "dev_chrf",
    epochs: int = 2,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    **recipe: Any,
) -> Translator:
    """Train a translator, new or trained before or with fewer heads; return a trained copy.

    Parameters
    ----------
    translator : Translator, stays as it is; its sub-words must fit the texts
    splits : of `ParallelDataset`, with train and dev parts
    around : makes a module around the model, which is trained in its place: it takes ``source``,
        ``target`` and ``labels`` and returns what has a ``.loss``, to which it may add a term.
        Parameters that it adds learn ``head_lr_multiplier`` times faster. If it has
        ``settings()``, dev is translated with what that returns.
    choose_by : figure of dev by which the best epoch is chosen; "epoch" keeps the last
    epochs, batch_size, learning_rate, dtype, seed, callbacks, **recipe : as for `train_translator`

    Examples
    --------
    Retraining after heads were removed, where ``smaller`` is the model without them:

    >>> pruned = translator.with_model(smaller)  # doctest: +SKIP
    >>> translation.fit(pruned, dates, epochs=1)  # doctest: +SKIP
    """
    _check(splits)
    full_recipe = Recipe(epochs, batch_size, learning_rate, seed=seed, **recipe)
    copied = translator.with_model(copy.deepcopy(translator.model))
    trained = copied.model if around is None else around(copied.model)
    _train(
        copied,
        trained,
        splits,
        full_recipe,
        dtype=dtype,
        choose_by=choose_by,
        callbacks=callbacks,
    )
    return copied


def _train(
    translator: Translator,
    trained: nn.Module,
    splits: Splits,
    recipe: Recipe,
    *,
    dtype: torch.dtype | str | None = None,
    folder: Path | None = None,
    resume: bool = False,
    choose_by: str = "dev_chrf",
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train a translator in place, by way of what is around its model, or the model itself."""
    network = translator.model
    data = PairBatches(translator, splits.train)
    translator.default_max_length = max(map(len, data.labels))
    if dtype is None and translator.device.type != "cuda":
        dtype = torch.float32
    inside = {id(parameter) for parameter in network.parameters()}
    added = [name for name, weight in trained.named_parameters() if id(weight) not in inside]
    translator.history = train(
        trained,
        data.lengths,
        data.batch,
        _measuring(translator, splits.dev, getattr(trained, "settings", lambda: None)),
        recipe,
        dtype=as_number_format(dtype, translator.device.type),
        folder=folder,
        resume=resume,
        choose_by=choose_by,
        identity={
            "size": network.size,
            "training_texts": fingerprint(vars(splits.train)),
            "dev_texts": fingerprint(vars(splits.dev)),
        },
        top=added,
        callbacks=callbacks,
        learner=translator,
    )
    trained.eval()


def _measuring(
    translator: Translator,
    dev: ParallelDataset,
    settings: Callable[[], Seq2SeqSettings | None],
) -> Callable[[], dict[str, float]]:
    """What to measure after every epoch, with the settings of heads that there are by then."""
    with needs("lab"):
        from sacrebleu.metrics import CHRF

    pairs = PairBatches(translator, dev)

    def measure() -> dict[str, float]:
        with torch.no_grad():
            heads = settings()
        found = translator.translate(dev.sources, settings=heads)
        right = np.mean([a == b for a, b in zip(found, dev.targets, strict=True)])
        chrf = CHRF().corpus_score(found, [dev.targets]).score
        return {
            "dev_accuracy": float(right),
            "dev_chrf": chrf,
            "dev_loss": mean_loss(translator, pairs, heads),
        }

    return measure


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
