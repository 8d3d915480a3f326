"""Fine-tuning a tagger: one score for each word instead of one for a text."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification

from attnlab.classification.fingerprints import base_fingerprint
from attnlab.classification.loading import load_base
from attnlab.classification.merging_adapters import merged
from attnlab.classification.methods import prepared
from attnlab.classification.naming import BUNDLED
from attnlab.classification.saving import check_out
from attnlab.datasets.splits import Splits
from attnlab.datasets.tagged import TaggedDataset
from attnlab.device import as_number_format, autocast, is_main_process
from attnlab.device import device as default_device
from attnlab.errors import DataError, ModelError, needs, suggest
from attnlab.tagging.alignment import IGNORED, best_tags
from attnlab.tagging.scores import accuracy, refuse_unknown_tags, refuse_untagged
from attnlab.tagging.tagger import Tagger
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import fingerprint
from attnlab.training.loop import train
from attnlab.training.recipe import Recipe

Method = Literal["full", "frozen-embeddings", "frozen", "lora"]

# the highest learning rate of each method, where none is given: above those for whole texts, as
# every word has its say in a step
LEARNING_RATES = {"full": 3e-4, "frozen-embeddings": 3e-4, "frozen": 1e-2, "lora": 2e-3}


def finetune_tagger(
    base: str | os.PathLike[str] = BUNDLED,
    splits: Splits | None = None,
    method: Method = "lora",
    out: str | os.PathLike[str] | None = None,
    *,
    epochs: int = 3,
    learning_rate: float | None = None,
    batch_size: int = 16,
    rank: int = 8,
    seed: int = 0,
    dtype: torch.dtype | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
    **recipe: Any,
) -> Tagger:
    """Fine-tune a BERT-family encoder on tagged sentences; return it at its best F1 on dev.

    Parameters
    ----------
    base : "minilm" (bundled), a folder or a hub name
    splits : with non-empty train and dev parts that are TaggedDatasets, such as
        `datasets.news.splits()`
    method : "full", "frozen-embeddings", "frozen" or "lora", as for `finetune`
    out : folder for the result, which `load_tagger` reads: the whole model for every method, the
        updates of "lora" merged into it. While training it holds a checkpoint.
    learning_rate : default `LEARNING_RATES` of the method
    rank : rank of the updates of "lora"
    dtype : number format of what is computed; default what this kind of processor computes fastest
    resume : go on from the checkpoint in ``out``
    overwrite : put the result in place of one that is in ``out`` already
    callbacks : of `training.Callback`, with the tagger as ``run.learner``
    **recipe : other fields of `training.Recipe`: warmup, weight_decay, max_grad_norm,
        micro_batches, patience

    Returns
    -------
    Tagger with ``.history``; its rows also have ``dev_f1``, over whole entities as `score` counts
    them

    Notes
    -----
    The loss is the mean cross-entropy over the words, each of which counts the same.
    `training.train` weighs the parts of a batch, when memory or processes divide it, by their
    texts, but parts of as many texts have more or fewer words. So the sum over the words of a part
    is divided by its number of texts times the mean number of words in a training text, a constant:
    that is a mean over texts, so a divided batch gives the same gradient, and over an epoch it is
    exactly the mean over words. A mean over each part's own words would be neither.
    """
    if method not in LEARNING_RATES:
        raise ModelError(
            f"There is no method {method!r} for taggers. {suggest(method, LEARNING_RATES)}"
        )
    splits = _usable(splits)
    check_out(out, resume, overwrite)  # before the work, not after it
    full_recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=LEARNING_RATES[method] if learning_rate is None else learning_rate,
        seed=seed,
        **recipe,
    )
    torch.manual_seed(seed)  # the new layer
    tag_names = splits.train.tag_names
    model, tokenizer, fresh = load_base(base, len(tag_names), kind=AutoModelForTokenClassification)
    known_by = base_fingerprint(model, tokenizer)
    model.to(default_device())
    tagger = Tagger(model, tokenizer, tag_names)
    data = tagger.encode(splits.train.words)
    labels = data.labels(splits.train.tags)
    words = sum(int((row != IGNORED).sum()) for row in labels)
    steps = epochs * -(-len(splits.train) // batch_size)
    trained, own = prepared(model, method, rank, steps, fresh)
    number_format = as_number_format(dtype, tagger.device.type)

    def batch(indices: np.ndarray) -> dict[str, Tensor]:
        rows = [labels[int(index)] for index in indices]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        return data.pieces.batch(indices) | {"labels": padded}  # (B, T)

    history = train(
        trained,
        data.pieces.lengths,
        batch,
        _measuring(tagger, splits.dev, number_format),
        full_recipe,
        dtype=number_format,
        folder=out,
        resume=resume,
        choose_by="dev_f1",
        identity={
            "method": method,
            "base": str(base),
            "base_encoder": known_by["encoder"],
            "base_tokenizer": known_by["tokenizer"],
            "training_sentences": fingerprint(vars(splits.train)),
            "dev_sentences": fingerprint(vars(splits.dev)),
        },
        objective=mean_over_words(words / len(labels)),
        callbacks=[*own, *callbacks],
        learner=tagger,
    )
    model.requires_grad_(True)
    if trained is not model:
        model = merged(trained)
    tagger = Tagger(model, tokenizer, tag_names, history)
    if out is not None and is_main_process():
        tagger.save(out)
    return tagger


def mean_over_words(words_per_text: float) -> Callable[[Any, dict[str, Tensor]], Tensor]:
    """Return the loss of a batch: its sum over words, by how many so many texts have on average.

    ``words_per_text`` is a constant of the training set; the notes of `finetune_tagger` say why.
    """

    def objective(outputs: Any, inputs: dict[str, Tensor]) -> Tensor:
        logits, labels = outputs.logits.float(), inputs["labels"]  # (B, T, C), (B, T)
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return losses / (words_per_text * len(labels))

    return objective


def _usable(splits: Splits | None) -> Splits:
    """The splits, or an error that says what is missing."""
    if splits is None or not len(splits.train) or not len(splits.dev):
        raise DataError(
            "finetune_tagger needs sentences to train on and sentences for dev. Use "
            "al.datasets.news.splits(), or al.datasets.split(your_data)."
        )
    for part in (splits.train, splits.dev):
        if not isinstance(part, TaggedDataset):
            raise DataError(
                f"{part!r} has no tags on its words. For labels on whole texts there is "
                "al.finetune."
            )
    refuse_unknown_tags(splits.dev, splits.train.tag_names, "the training sentences")
    refuse_untagged(splits.train)
    return splits


def _measuring(
    tagger: Tagger, dev: TaggedDataset, dtype: torch.dtype
) -> Callable[[], dict[str, float]]:
    """What is measured after every epoch."""
    with needs("lab"):
        from seqeval.metrics import f1_score
        from seqeval.scheme import IOB2

    encoded = tagger.encode(dev.words)
    truth = [dev.named(index) for index in range(len(dev))]
    number = {tag: index for index, tag in enumerate(tagger.tag_names)}
    wanted = [np.array([number[tag] for tag in tags]) for tags in truth]

    def measure() -> dict[str, float]:
        with autocast(tagger.device, dtype):
            answers = tagger.log_probabilities(encoded)
        guess = [
            [tagger.tag_names[tag] for tag in best_tags(answer, tagger.tag_names)]
            for answer in answers
        ]
        right = [
            answer[np.arange(len(tags)), tags] for answer, tags in zip(answers, wanted, strict=True)
        ]
        return {
            "dev_accuracy": accuracy(truth, guess),
            "dev_loss": float(-np.nanmean(np.concatenate(right))),
            "dev_f1": float(f1_score(truth, guess, mode="strict", scheme=IOB2, zero_division=0)),
        }

    return measure
