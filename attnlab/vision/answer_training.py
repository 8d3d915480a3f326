"""Train a model to answer questions about pictures, and measure each kind of question."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.datasets.grammar import QuestionDataset
from attnlab.datasets.splits import Splits
from attnlab.device import device as default_device
from attnlab.device import is_main_process
from attnlab.errors import DataError
from attnlab.training.checkpoint import begin_run, end_run
from attnlab.training.history import History
from attnlab.training.stepping import hashed, train_steps
from attnlab.vision.asking import FILE, Answerer
from attnlab.vision.bodies import Windows, body_record
from attnlab.vision.vision_transformer import VisionTransformer

__all__ = ["fit_answerer", "train_answerer"]


def train_answerer(
    splits: Splits,
    body: VisionTransformer | Windows,
    out: str | os.PathLike[str] | None = None,
    *,
    fusion: str = "cross-attention",
    layers: int = 2,
    heads: int = 4,
    feed_forward: int = 128,
    dropout: float = 0.0,
    modality_dropout: float = 0.0,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Answerer:
    """Train a model to answer questions about pictures; return it at its best epoch on dev.

    Parameters
    ----------
    splits : of `QuestionDataset`, such as `datasets.scenes.questions` draws
    body : VisionTransformer, or `Windows` of one, that reads these pictures; best one that has
        learned to see, on pictures of single things. It stays as it is; a copy is trained.
    out : folder for the result and, while training, a checkpoint
    fusion, layers, heads, feed_forward, dropout, modality_dropout : of the `Answerer`
    resume : go on from the checkpoint in ``out``
    overwrite : put the result in place of one that is in ``out`` already
    **options : of `fit_answerer`: steps, batch_size, learning_rate, ...
    """
    _check(splits)
    folder = begin_run(out, FILE, "attnlab.vision.asking.load_answerer", resume, overwrite)
    torch.manual_seed(seed)
    model = Answerer(
        body,
        splits.train.label_names,
        fusion=fusion,
        layers=layers,
        heads=heads,
        feed_forward=feed_forward,
        dropout=dropout,
        modality_dropout=modality_dropout,
    ).to(default_device())
    fit_answerer(model, splits, folder=folder, seed=seed, resume=resume, **options)
    if folder is not None and is_main_process():
        model.save(folder / FILE)
        end_run(folder)
    return model


def fit_answerer(
    model: Answerer,
    splits: Splits,
    *,
    freeze: bool = False,
    **options: Any,
) -> History:
    """Train an answerer in place, new or trained before, and leave it at its best epoch on dev.

    Parameters
    ----------
    model : Answerer
    splits : of `QuestionDataset`
    freeze : leave the body as it is; else it learns too, ``head_lr_multiplier`` times slower than
        what is above it
    **options : of `stepping.train_steps`: steps, batch_size, learning_rate, ...

    Returns
    -------
    History, whose rows have ``dev_accuracy``, ``dev_loss`` and, for each kind of question, such as
    ``dev_size``, the share of right answers
    """
    _check(splits)
    train, dev = splits.train, splits.dev
    model.body.requires_grad_(not freeze)
    pixels = model.processor.checked(train.images)
    ids, labels = model.encode(train.questions), torch.tensor(train.labels_in(model.answers))

    def batch(indices: np.ndarray) -> dict[str, Tensor]:
        images = model.processor.pixels(pixels[indices])
        return {"images": images, "questions": ids[indices], "labels": labels[indices]}

    def loss(asked: Answerer, images: Tensor, questions: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(asked(images, questions), labels)

    model.history = train_steps(
        model,
        loss,
        len(train),
        batch,
        _measuring(model, dev),
        top=[name for name, _ in model.named_parameters() if not name.startswith("body.")],
        tokens=len(model.patches),
        identity={
            "body": body_record(model.body),
            "options": model.options,
            "freeze": freeze,
            "training": hashed(train.images, ids, labels),
            "dev": hashed(dev.images, model.encode(dev.questions), dev.labels),
        },
        **options,
    )
    return model.history


def _measuring(model: Answerer, dev: QuestionDataset) -> Callable[[], dict[str, float]]:
    """What is measured after every epoch."""
    labels, kinds = np.array(dev.labels_in(model.answers)), np.array(dev.kinds)

    def measure() -> dict[str, float]:
        chances = model.answer(dev.images, dev.questions).probabilities
        right = chances.argmax(-1) == labels
        own = np.maximum(chances[np.arange(len(labels)), labels], 1e-12)
        by_kind = {f"dev_{kind}": float(right[kinds == kind].mean()) for kind in sorted(set(kinds))}
        return {
            "dev_accuracy": float(right.mean()),
            "dev_loss": float(-np.log(own).mean()),
            **by_kind,
        }

    return measure


def _check(splits: Splits) -> None:
    for part in ("train", "dev"):
        data = getattr(splits, part)
        if not isinstance(data, QuestionDataset) or not len(data):
            raise DataError(
                f"{data!r} has no pictures with questions. Use "
                "al.datasets.scenes.questions(digits)."
            )


def __dir__() -> list[str]:
    return sorted(__all__)
