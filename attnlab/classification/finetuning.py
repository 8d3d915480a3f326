"""Fine-tuning: a BERT-family encoder learns from labelled texts, by the method of your choice."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy  # which imports its parts, such as its statistics, when they are needed
import torch
import transformers
from torch import nn

from attnlab.classification.adapter_files import save_adapter
from attnlab.classification.belonging import longest_text
from attnlab.classification.classifier import Classifier
from attnlab.classification.fingerprints import base_fingerprint
from attnlab.classification.fitting import fit, usable
from attnlab.classification.loading import load_base
from attnlab.classification.methods import (
    LEARNING_RATES,
    Method,
    prefixed,
    prepared,
)
from attnlab.classification.naming import BUNDLED
from attnlab.classification.saving import check_out
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.device import device as default_device
from attnlab.device import is_main_process
from attnlab.errors import (
    ModelError,
    option,
    suggest,
)
from attnlab.heads import model_of
from attnlab.training.callbacks import Callback
from attnlab.training.history import History
from attnlab.training.recipe import Recipe

# with many labels pooler and classification layer learn so many times faster than the encoder
HEAD_LR_MULTIPLIER = 10


def finetune(
    base: str | os.PathLike[str] = BUNDLED,
    splits: Splits | None = None,
    method: Method = "lora",
    out: str | os.PathLike[str] | None = None,
    *,
    epochs: int = 3,
    learning_rate: float | None = None,
    batch_size: int = 32,
    pretrained: bool = True,
    rank: int = 8,
    virtual_tokens: int = 16,
    max_length: int | None = None,
    seed: int = 0,
    class_weights: Literal["balanced"] | None = None,
    gradient_checkpointing: bool = False,
    dtype: torch.dtype | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    command: str | None = None,
    callbacks: Sequence[Callback] = (),
    **recipe: Any,
) -> Classifier:
    """Fine-tune a BERT-family encoder on labelled texts; return it at its best epoch on dev.

    Parameters
    ----------
    base : "minilm" (bundled), a folder or a hub name
    splits : with non-empty train and dev parts
    method :
        - "full" trains every weight;
        - "frozen-embeddings" every weight but the word embeddings, which are half of a small BERT;
        - "frozen" the classification layer alone, a probe of what the encoder knows already;
        - "lora" low-rank updates of all attention and feed-forward matrices (Hu et al. 2021);
        - "adalora" the same, with the ranks handed out to where they help most (Zhang et al. 2023).
          Its loss holds a penalty, and the last epoch is kept, when the ranks are settled;
        - "prefix" keys and values before those of the tokens, in every layer (Li and Liang 2021).
          They cannot be merged into the weights, so attention maps and `heads.prune` are not for
          such a classifier.
    out : folder for the result (an adapter for the last three); `load_classifier` reads it. While
        training it holds a checkpoint.
    learning_rate : default `LEARNING_RATES` of the method
    pretrained : with False every weight begins at random ("full" only), to see what pretraining
        gives
    rank : rank of the updates; for "adalora" the mean rank that is left in the end
    virtual_tokens : keys and values that "prefix" adds to each layer; texts may have so many tokens
        less
    max_length : tokens a text may have, [CLS] and [SEP] included; longer ones are cut, then and
        whenever the result is used. Default: as many as the encoder takes.
    class_weights : "balanced" gives every label the same say in the loss, however rare it is, and
        the best epoch is chosen by the mean recall of the labels (``dev_recall``); by default every
        text has the same
    gradient_checkpointing : compute activations again going backward instead of keeping them: less
        memory, and the forward pass is paid twice
    dtype : number format of what is computed, such as "float32"; weights stay float32. Default:
        what this kind of processor computes fastest, `device.number_format`. A run goes on in the
        format it began in.
    resume : go on from the checkpoint in ``out``
    overwrite : put the result in place of one that is in ``out`` already
    command : noted beside an adapter as the way to make it again
    callbacks : of `training.Callback`, told how the run goes on, with the classifier as
        ``run.learner``: a `TrainingCurve`, a `balance.Recorder`
    **recipe : other fields of `training.Recipe`: head_lr_multiplier, warmup, weight_decay,
        max_grad_norm, micro_batches, bucket_batches, patience. By default ``head_lr_multiplier`` is
        `HEAD_LR_MULTIPLIER` where more than two labels are to be told apart while the encoder
        learns slowly, else 1.

    Returns
    -------
    Classifier with ``.history``; adapters are merged. Whether it has learned anything say
    `majority` and `has_learned`.

    Raises
    ------
    DataError : no texts to train on or for dev, no labels, or one label only
    ModelError : wishes that do not go together; a base that cannot be trained; a folder that holds
        something else, or a finished result
    """
    splits = usable(splits, "finetune")
    _refuse_what_cannot_be(method, base, out, resume, overwrite, pretrained, gradient_checkpointing)
    weights = _weights(splits.train, class_weights)
    slow = method in ("full", "frozen-embeddings") and pretrained
    many = len(splits.train.label_names) > 2
    recipe.setdefault("head_lr_multiplier", HEAD_LR_MULTIPLIER if slow and many else 1)
    full_recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=LEARNING_RATES[method] if learning_rate is None else learning_rate,
        seed=seed,
        **recipe,
    )
    torch.manual_seed(seed)  # the new layers
    label_names = splits.train.label_names
    model, tokenizer, fresh = load_base(base, len(label_names), pretrained)
    known_by = base_fingerprint(model, tokenizer)
    model.to(default_device())
    if max_length is not None:
        _limit(tokenizer, model, max_length)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    own: list[Callback] = []
    if method == "prefix":
        trained = prefixed(model, virtual_tokens, fresh, _lasting(base))
    else:
        steps = epochs * -(-len(splits.train) // batch_size)
        trained, own = prepared(model, method, rank, steps, fresh)
    clf = Classifier(trained if method == "prefix" else model, tokenizer, label_names)
    balanced = weights is not None
    clf.history = fit(
        clf,
        splits,
        clf.encode(splits.train.texts),
        full_recipe,
        trained,
        dtype=dtype,
        folder=None if method == "adalora" else out,
        resume=resume,
        balanced=balanced,
        choose_by="epoch" if method == "adalora" else "dev_recall" if balanced else "dev_accuracy",
        identity={
            "method": method,
            "base": str(base),
            "base_encoder": known_by["encoder"],
            "base_tokenizer": known_by["tokenizer"],
            "class_weights": class_weights,
        },
        objective=None if weights is None else _weighted(weights.to(clf.device)),
        callbacks=[*own, *callbacks],
    )
    if gradient_checkpointing:
        model.gradient_checkpointing_disable()
    model.requires_grad_(True)
    if out is not None and is_main_process():
        if trained is model:
            clf.save(out)
        else:
            about = {"method": method, "command": command, "seed": seed, "max_length": max_length}
            record = _record(base, known_by, splits.train, clf, about)
            save_adapter(trained, record, out)
    if trained is model or method == "prefix":
        return clf
    return Classifier(trained.merge_and_unload(), tokenizer, label_names, clf.history)


@dataclass(frozen=True)
class Majority:
    """Always answering the most frequent training label, and how often that is right on dev."""

    label: str
    accuracy: float


def majority(splits: Splits) -> Majority:
    """The baseline that knows no text: the most frequent training label, whatever is asked."""
    counts = np.bincount(splits.train.labels, minlength=len(splits.train.label_names))
    label = int(counts.argmax())
    dev = splits.dev.labels_in(splits.train.label_names)
    return Majority(splits.train.label_names[label], dev.count(label) / max(len(dev), 1))


def has_learned(history: History, splits: Splits) -> bool:
    """Whether the best epoch beats always answering one label on dev, by more than chance (5 %).

    After balanced training that is the mean recall of the labels, else accuracy.
    """
    balanced = history.chosen_by == "dev_recall"
    alone = 1 / len(splits.train.label_names) if balanced else majority(splits).accuracy
    n = len(splits.dev)
    right = round(n * history.best["dev_recall" if balanced else "dev_accuracy"])
    return bool(scipy.stats.binomtest(right, n, alone, alternative="greater").pvalue < 0.05)


def _refuse_what_cannot_be(
    method: str,
    base: str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    resume: bool,
    overwrite: bool,
    pretrained: bool,
    gradient_checkpointing: bool,
) -> None:
    """Raise ModelError for wishes that do not go together, before the work and not after it."""
    if method not in LEARNING_RATES:
        raise ModelError(f"There is no method {method!r}. {suggest(method, LEARNING_RATES)}")
    if out is not None and Path(base).exists() and Path(base).resolve() == Path(out).resolve():
        raise ModelError(
            f"The result would take the place of its own base, {base}. Name another folder."
        )
    if not pretrained and method != "full":
        raise ModelError(
            f"Method {method!r} keeps weights as they are, which random ones are not worth. "
            "Use method='full' with pretrained=False."
        )
    if method == "prefix" and gradient_checkpointing:
        raise ModelError("A prefix does not go with gradient_checkpointing. Leave one of them out.")
    if resume and method == "adalora":
        raise ModelError(
            "A run of AdaLoRA cannot go on: how it hands out ranks is not in a checkpoint."
        )
    check_out(out, resume, overwrite)


def _record(
    base: str | os.PathLike[str],
    known_by: dict[str, str],
    train_data: TextDataset,
    clf: Classifier,
    about: dict[str, Any],
) -> dict[str, Any]:
    """What is noted beside an adapter."""
    assert clf.history is not None
    return {
        "base": _lasting(base),
        "base_fingerprint": known_by,
        "label_names": clf.label_names,
        "dataset": train_data.name,
        **about,
        "trainable_parameters": clf.history.trainable,
        "versions": {
            "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__,
        },
        "history": clf.history.rows,
    }


def _limit(tokenizer: Any, model: nn.Module, max_length: int) -> None:
    """Let texts have at most so many tokens; saved with the tokenizer."""
    tokenizer.model_max_length = int(1e9)  # a limit of an earlier fine-tuning can be lifted
    most = longest_text(model_of(model).config, tokenizer, prefix=0)
    if not 3 <= max_length <= most:
        raise ModelError(
            f"{option('max_length', max_length)} does not fit: this encoder takes from 3 to {most} "
            "tokens, [CLS] and [SEP] included."
        )
    tokenizer.model_max_length = max_length


def _weights(train: TextDataset, kind: str | None) -> torch.Tensor | None:
    """A weight for each label, with mean 1 over the texts."""
    if kind is None:
        return None
    if kind != "balanced":
        raise ModelError(f"There are no class weights {kind!r}. Use 'balanced', or leave them out.")
    counts = torch.bincount(torch.tensor(train.labels), minlength=len(train.label_names))
    return len(train) / ((counts > 0).sum() * counts.clamp_min(1))


def _weighted(weights: torch.Tensor) -> Callable[[Any, dict[str, torch.Tensor]], torch.Tensor]:
    """The loss with a weight for each label."""

    def objective(outputs: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        labels = inputs["labels"]
        losses = nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="none")
        penalty = outputs.loss - losses.mean()  # what AdaLoRA adds; else 0
        return (weights.to(labels.device)[labels] * losses).mean() + penalty

    return objective


def _lasting(base: str | os.PathLike[str]) -> str:
    """A name of the base that holds wherever the result is loaded: of a folder its whole path."""
    return str(Path(base).resolve()) if Path(base).is_dir() else str(base)
