"""What every training of a classifier shares: usable splits, batches with labels, dev accuracy."""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Encoded
from attnlab.classification.methods import parameters_on_top
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.device import as_number_format, autocast
from attnlab.errors import AttnlabWarning, DataError, worded
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import fingerprint
from attnlab.training.history import History
from attnlab.training.loop import Batch, Objective, train
from attnlab.training.recipe import Recipe


def fit(
    clf: Classifier,
    splits: Splits,
    data: Encoded,
    recipe: Recipe,
    trained: nn.Module,
    *,
    dtype: torch.dtype | str | None,
    folder: str | os.PathLike[str] | None,
    resume: bool,
    identity: dict[str, Any],
    balanced: bool = False,
    choose_by: str = "dev_accuracy",
    batch: Batch | None = None,
    measure: Callable[[], dict[str, float]] | None = None,
    objective: Objective | None = None,
    callbacks: Sequence[Callback] = (),
) -> History:
    """Train a classifier in place with `training.train`, and leave it at its best epoch on dev.

    Parameters
    ----------
    clf : what is measured on dev, and shown to callbacks
    splits : of `usable`
    data : the training texts, encoded by ``clf``
    trained : what is trained: the classifier's model, or a module around it
    identity : what must be the same for a run to go on, besides recipe, texts and their length
    balanced : measure the mean recall of the labels, ``dev_recall``, as well
    batch : makes the inputs of ``trained`` from indices of texts; default `labelled`
    measure : what is measured after every epoch; default what ``clf`` answers on dev
    dtype : default what this kind of processor computes fastest
    folder, resume, choose_by, objective, callbacks : as for `training.train`
    """
    number_format = as_number_format(dtype, clf.device.type)
    labels = torch.tensor(splits.train.labels_in(clf.label_names))
    return train(
        trained,
        data.lengths,
        labelled(data, labels) if batch is None else batch,
        measure or _measuring(clf, splits.dev, balanced, number_format),
        recipe,
        dtype=number_format,
        folder=folder,
        resume=resume,
        choose_by=choose_by,
        identity=identity
        | {
            "max_length": clf.max_length,
            "training_texts": fingerprint(vars(splits.train)),
            "dev_texts": fingerprint(vars(splits.dev)),
        },
        top=parameters_on_top(trained),
        objective=objective,
        callbacks=callbacks,
        learner=clf,
    )


def usable(splits: Splits | None, what: str) -> Splits:
    """The splits, or an error that says what ``what``, a function, lacks."""
    if splits is None or not len(splits.train) + len(splits.dev):
        raise DataError(
            f"{what} needs texts to train on and texts for dev. Use a set that has both, such as "
            + worded(
                "al.datasets.load('movie-sentiment'), or al.datasets.split(your_data).",
                "movie-sentiment, or a file of your own.",
            )
        )
    if not isinstance(splits.train, TextDataset):
        raise DataError(f"{splits.train!r} holds no labelled texts to learn from.")
    names = np.array(splits.train.label_names)
    for part in ("train", "dev"):
        if not len(getattr(splits, part)):
            raise DataError(
                f"{splits!r} leaves nothing for {part}. A split needs some ten texts of a label, "
                "with no copies"
                + worded(
                    "; for fewer say how many you want, as in al.datasets.split(data, dev=1, "
                    "test=0).",
                    ". Bring more texts.",
                )
            )
    seen = set(splits.train.labels)
    if len(seen) < 2:
        raise DataError(
            f"All {len(splits.train)} training texts have the label {str(names[seen.pop()])!r}, so "
            "there is nothing to tell apart. Add texts with other labels."
        )
    for part, trouble in (("train", "cannot be learned"), ("dev", "are not measured")):
        present = getattr(splits, part).labels_in(splits.train.label_names)
        absent = sorted(set(range(len(names))) - set(present))
        if absent:
            few = ", ".join(names[absent[:3]]) + (", ..." if len(absent) > 3 else "")
            warnings.warn(
                f"{len(absent)} of {len(names)} labels have no text in {part} and {trouble}: {few}",
                AttnlabWarning,
                stacklevel=3,
            )
    return splits


def labelled(data: Encoded, labels: Tensor) -> Callable[[np.ndarray], dict[str, Tensor]]:
    """The function that makes a batch of texts with their labels from their indices."""
    return lambda indices: data.batch(indices) | {"labels": labels[indices]}


def _measuring(
    clf: Classifier, dev: TextDataset, balanced: bool, dtype: torch.dtype
) -> Callable[[], dict[str, float]]:
    """What is measured after every epoch; with balanced weights also the mean recall of labels."""
    encoded, labels = clf.encode(dev.texts), torch.tensor(dev.labels_in(clf.label_names))

    def measure() -> dict[str, float]:
        with autocast(clf.device, dtype):
            logits = clf.logits(encoded)
        right = (logits.argmax(-1) == labels).double()
        measured = {
            "dev_accuracy": float(right.mean()),
            "dev_loss": float(nn.functional.cross_entropy(logits, labels)),
        }
        if balanced:
            recalls = [float(right[labels == label].mean()) for label in labels.unique()]
            measured["dev_recall"] = sum(recalls) / len(recalls)
        return measured

    return measure
