"""A short retraining with head settings in force."""

import copy
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.methods import prepared
from attnlab.datasets.texts import TextDataset
from attnlab.device import number_format
from attnlab.errors import DataError
from attnlab.evaluation.evaluator import Evaluator
from attnlab.heads import one_setting
from attnlab.heads.settings import HeadSettings
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import fingerprint
from attnlab.training.loop import train
from attnlab.training.recipe import Recipe


def retrain(
    clf: Classifier,
    train_data: TextDataset,
    dev: TextDataset,
    settings: HeadSettings | None = None,
    *,
    texts: int | None = 2000,
    epochs: int = 1,
    learning_rate: float = 3e-5,
    batch_size: int = 32,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Classifier:
    """Train every weight but the word embeddings a little further, with these settings in force.

    Parameters
    ----------
    clf : Classifier, which stays as it is
    train_data, dev : texts to learn from, and texts on which the best epoch is chosen
    settings : what the heads are set to, then and afterwards; it is not put into the weights. None
        takes those of an `applied` block, else neutral ones.
    texts : how many texts are learned from, drawn at random; None for all
    epochs, learning_rate, batch_size, seed : as in `training.Recipe`
    folder, resume, callbacks : as for `training.train`

    Returns
    -------
    Classifier with ``.history``; it is to be used with the same settings
    """
    for name, part in (("train", train_data), ("dev", dev)):
        if not isinstance(part, TextDataset) or not len(part):
            raise DataError(f"Retraining needs labelled texts in {name}; got {part!r}.")
    settings = one_setting(clf, settings)
    few = train_data if texts is None else train_data.sample(texts, seed)
    model = copy.deepcopy(clf.model).requires_grad_(True)
    prepared(heads.model_of(model), "frozen-embeddings", 0, 0, [])
    trained = clf.with_model(model)
    learned, held = Evaluator(trained, few), Evaluator(trained, dev, fast=True)
    data, labels = learned.encoded, torch.from_numpy(learned.labels)

    def measured() -> dict[str, float]:
        score = held.score(settings)
        return {"dev_accuracy": score.accuracy, "dev_loss": score.loss}

    trained.history = train(
        _InForce(model, settings),
        data.lengths,
        lambda indices: data.batch(indices) | {"labels": labels[indices]},
        measured,
        Recipe(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed),
        dtype=number_format(clf.device.type),
        folder=folder,
        resume=resume,
        identity={
            "settings": settings.to_json(),
            "training_texts": fingerprint(vars(few)),
            "dev_texts": fingerprint(vars(dev)),
        },
        callbacks=callbacks,
        learner=trained,
    )
    model.requires_grad_(True).eval()
    return trained


class _InForce(nn.Module):
    """A model with head settings in every call."""

    def __init__(self, model: nn.Module, settings: HeadSettings):
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, **batch: Tensor) -> Any:
        """The model's outputs."""
        return self.model(**batch, **heads.keywords(self.model, self.settings))
