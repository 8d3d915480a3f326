"""Distillation: a small student learns what a large teacher answers, and how it gets there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import SequenceClassifierOutput

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.fingerprints import weights_hash
from attnlab.classification.fitting import fit, labelled, usable
from attnlab.classification.saving import check_out
from attnlab.classification.structure import noted
from attnlab.compression.copies import copied
from attnlab.compression.teacher import Lessons, lessons_of
from attnlab.datasets.splits import Splits
from attnlab.device import as_number_format, is_main_process
from attnlab.errors import ModelError, SettingsError
from attnlab.training.callbacks import Callback
from attnlab.training.recipe import Recipe

__all__ = ["attention_loss", "distil", "distillation_loss", "hidden_loss"]


def distil(
    teacher: Classifier | None,
    student: Classifier,
    splits: Splits,
    *,
    epochs: int = 3,
    learning_rate: float = 2e-4,
    batch_size: int = 32,
    temperature: float = 2.0,
    label_weight: float = 0.3,
    logits: bool | float = True,
    hidden: bool | float = False,
    attention: bool | float = False,
    layer_map: Sequence[int] | None = None,
    freeze_embeddings: bool = True,
    seed: int = 0,
    dtype: torch.dtype | str | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    save: bool = True,
    callbacks: Sequence[Callback] = (),
    **recipe: Any,
) -> Classifier:
    """Train a copy of a student to answer as its teacher does; return it at its best epoch on dev.

    The loss is a sum of up to four: `distillation_loss` from the teacher's logits, cross-entropy
    with the labels, `hidden_loss` and `attention_loss`. What the teacher answers to the training
    texts is computed once; its hidden states and maps, which would fill the memory, with each
    batch.

    Parameters
    ----------
    teacher : stays as it is. With None, or without ``logits``, ``hidden`` and ``attention``, the
        student learns from the labels alone: what the teacher is worth is the difference.
    student : any Classifier of the same labels, such as one with layers, heads or neurons removed;
        stays as it is. Logits may come from any teacher, which reads the texts with its own
        tokenizer; for hidden states and maps both must read the same word pieces.
    splits : with non-empty train and dev parts
    temperature : of the logits; above 1 it shows more of what the teacher thinks of wrong labels
    label_weight : of the cross-entropy with the labels, 0 for none; 1 where they are all there is
    logits, hidden, attention : what is learned from the teacher. A number is its weight in the
        loss, True is 1.
    layer_map : for each layer of the student the teacher's layer whose hidden states and maps it
        learns. Default evenly spaced: of 3 and 6 layers 1, 3, 5.
    freeze_embeddings : keep the word embeddings as they are, half of the weights of a small BERT
    dtype : number format of what is computed, such as "float32"; weights stay float32. Default:
        what this kind of processor computes fastest, `device.number_format`
    out : folder for the result; while training it holds a checkpoint
    resume : go on from the checkpoint in ``out``, to the same weights as if never stopped
    overwrite : put the result in place of one that is in ``out`` already
    save : False leaves the checkpoint in ``out`` and writes no model: for a result that is yet to
        be exported or changed, and put there. Killed before that, it goes on from the checkpoint.
    callbacks : of `training.Callback`, with the student as ``run.learner``
    **recipe : other fields of `training.Recipe`: head_lr_multiplier, warmup, weight_decay,
        max_grad_norm, micro_batches, bucket_batches, patience

    Returns
    -------
    Classifier with ``.history``

    Raises
    ------
    DataError : as `finetune`: no texts, one label only, labels that the student does not know
    SettingsError : a temperature not above 0, a negative weight, nothing to learn from
    ModelError : a teacher of other labels; hidden states of another width, or of other word pieces;
        a layer that the teacher does not have; a folder that holds something else

    Source: Hinton et al. 2015; hidden states by cosine as in Sanh et al. 2019 (DistilBERT), maps by
    divergence as in Wang et al. 2020 (MiniLM), layers as in Jiao et al. 2020 (TinyBERT).
    """
    weights = _weights(teacher, temperature, label_weight, logits, hidden, attention)
    splits = usable(splits, "distil")
    check_out(out, resume, overwrite)
    full_recipe = Recipe(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed, **recipe
    )
    small = _trainable(student)
    data = small.encode(splits.train.texts)
    answers = labelled(data, torch.tensor(splits.train.labels_in(small.label_names)))
    number_format = as_number_format(dtype, small.device.type)
    lessons = None
    if teacher is not None and weights.from_teacher:
        lessons = lessons_of(
            teacher,
            small,
            splits.train.texts,
            data,
            layer_map,
            dtype=number_format,
            logits=weights.logits > 0,
            hidden=weights.hidden > 0,
            attention=weights.attention > 0,
        )
    if freeze_embeddings:
        small.model.get_input_embeddings().requires_grad_(False)
    small.history = fit(
        small,
        splits,
        data,
        full_recipe,
        _Pupil(small.model, weights, lessons),
        dtype=number_format,
        folder=out,
        resume=resume,
        identity={
            "method": "distillation",
            "teacher": None if lessons is None or teacher is None else weights_hash(teacher.model),
            "student": weights_hash(student.model),
            "losses": weights.parts(),
            "temperature": weights.temperature,
            "layer_map": None if lessons is None else lessons.layer_map,
            "freeze_embeddings": freeze_embeddings,
        },
        batch=lambda indices: answers(indices) | {"rows": torch.from_numpy(np.asarray(indices))},
        callbacks=callbacks,
    )
    small.model.requires_grad_(True)
    learned_from = [name for name, weight in weights.parts().items() if weight]
    noted(small.model, "distil", learned_from=learned_from, epochs=epochs, seed=seed)
    if out is not None and save and is_main_process():
        small.save(out)
    return small


# --- Losses --------------------------------------------------------------------------------------


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return how far the student's answers are from the teacher's, a mean over texts.

    The Kullback-Leibler divergence of the probabilities at a temperature, times its square, so that
    gradients stay as large as those of the cross-entropy with labels (Hinton et al. 2015).

    Parameters
    ----------
    student, teacher : logits (B, C)
    temperature : above 0
    """
    return temperature**2 * F.kl_div(
        (student.float() / temperature).log_softmax(-1),
        (teacher.float() / temperature).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )


def hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Return 1 - cosine of two layers' hidden states: a mean over each text's tokens, then texts.

    Parameters
    ----------
    student, teacher : (B, T, E)
    mask : (B, T), 1 for tokens and 0 for padding
    """
    distance = 1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1)
    return _mean_over_texts(distance, mask)


def attention_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Return the divergence of two layers' maps: a mean over heads and each text's tokens.

    The Kullback-Leibler divergence, in nats, of the student's weights from the teacher's.

    Parameters
    ----------
    student, teacher : weights (B, H, T, T)
    mask : (B, T), 1 for tokens and 0 for padding
    """
    mine, wanted = student.float().clamp_min(1e-9), teacher.float().clamp_min(1e-9)
    divergence = (teacher.float() * (wanted.log() - mine.log())).sum(-1)  # (B, H, T)
    return _mean_over_texts(divergence.mean(1), mask)


def _mean_over_texts(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the tokens of each text, (B, T), then over the texts.

    So a batch that is computed in parts gives the same gradient.
    """
    return ((values * mask).sum(-1) / mask.sum(-1)).mean()


# --- What is learned from ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Weights:
    """How much each part of the loss counts, and the temperature of the logits."""

    labels: float
    logits: float
    hidden: float
    attention: float
    temperature: float

    @property
    def from_teacher(self) -> bool:
        return bool(self.logits or self.hidden or self.attention)

    def parts(self) -> dict[str, float]:
        """The weight of each part of the loss."""
        return {name: weight for name, weight in vars(self).items() if name != "temperature"}


class _Pupil(nn.Module):
    """A student with what it learns from: the training room sees a model that knows its loss."""

    def __init__(self, student: Any, weights: _Weights, lessons: Lessons | None):
        super().__init__()
        self.student, self.weights, self.lessons = student, weights, lessons

    def forward(self, labels: Tensor, rows: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        """The loss of texts with these labels, which stand in these rows of the training texts."""
        weights, lessons = self.weights, self.lessons
        wanted = {
            "output_hidden_states": weights.hidden > 0,
            "output_attentions": weights.attention > 0,
        }
        outputs = self.student(**inputs, **wanted)
        logits = outputs.logits.float()
        loss = weights.labels * F.cross_entropy(logits, labels)
        if lessons is not None and lessons.logits is not None:
            answers = lessons.logits[rows]
            loss = loss + weights.logits * distillation_loss(logits, answers, weights.temperature)
        if lessons is not None and any(wanted.values()):
            shown = lessons.shown(rows, **wanted)
            mask = inputs["attention_mask"]
            if weights.hidden:
                loss = loss + weights.hidden * _over_layers(lessons, outputs, shown, mask)
            if weights.attention:
                loss = loss + weights.attention * _over_maps(lessons, outputs, shown, mask)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def _over_layers(lessons: Lessons, outputs: Any, shown: Any, mask: Tensor) -> Tensor:
    """`hidden_loss`, a mean over the student's layers."""
    losses = [
        hidden_loss(mine, shown.hidden_states[other + 1].to(mine.device), mask)
        for mine, other in zip(outputs.hidden_states[1:], lessons.layer_map, strict=True)
    ]
    return torch.stack(losses).mean()


def _over_maps(lessons: Lessons, outputs: Any, shown: Any, mask: Tensor) -> Tensor:
    """`attention_loss`, a mean over the student's layers that have heads."""
    losses = []
    for layer, pairs in lessons.head_pairs.items():
        mine = outputs.attentions[layer]
        wanted = shown.attentions[lessons.layer_map[layer]].to(mine.device)
        if pairs is None:
            mine, wanted = mine.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
        else:
            mine, wanted = mine[:, pairs[0]], wanted[:, pairs[1]]
        losses.append(attention_loss(mine, wanted, mask))
    return torch.stack(losses).mean()


# --- Before the work -----------------------------------------------------------------------------


def _weights(
    teacher: Classifier | None,
    temperature: float,
    label_weight: float,
    logits: bool | float,
    hidden: bool | float,
    attention: bool | float,
) -> _Weights:
    """What each part of the loss weighs; SettingsError for numbers without sense."""
    if not temperature > 0:
        raise SettingsError(f"temperature is {temperature}; it divides logits: above 0, such as 2.")
    if teacher is None and (hidden or attention):
        raise SettingsError(
            "hidden and attention are a teacher's, and there is none: distil(teacher, student, "
            "splits, ...)."
        )
    given = {"logits": logits, "hidden": hidden, "attention": attention}
    for name, weight in {**given, "label_weight": label_weight}.items():
        if not 0 <= weight < float("inf"):
            raise SettingsError(f"{name} is {weight}; a weight in the loss is 0 or more.")
    mine, near, maps = (0.0 if teacher is None else float(weight) for weight in given.values())
    labels = float(label_weight) if mine or near or maps else 1.0
    return _Weights(labels, mine, near, maps, float(temperature))


def _trainable(student: Classifier) -> Classifier:
    """A copy of the student, in float32; ModelError where an adapter is around its model."""
    if heads.model_of(student) is not student.model:
        raise ModelError(
            "The student's model is wrapped, by a prefix or an adapter, and only what that adds "
            "would be trained. Merge it first, with model.merge_and_unload(), or take another "
            "student."
        )
    clf = copied(student)
    clf.model.float().requires_grad_(True)
    return clf


def __dir__() -> list[str]:
    return sorted(__all__)
