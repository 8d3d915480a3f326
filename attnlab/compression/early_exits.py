"""Early exit: easy texts get their answer after a few layers, hard ones go through all of them."""

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from attnlab import heads
from attnlab.classification.base import Predictions
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Encoded, Indices, Text
from attnlab.classification.fitting import usable
from attnlab.classification.loading import load_classifier
from attnlab.classification.saving import EXIT_HEADS, EXIT_RECORD, whole_folder
from attnlab.compression.exit_rules import (
    ExitRule,
    Rule,
    check_most_lost,
    check_threshold,
    never,
    tried,
)
from attnlab.compression.layer_by_layer import (
    Layers,
    features_of,
    layers_of,
    packed_start,
    together,
)
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabWarning, DataError, ModelError, SettingsError, suggest
from attnlab.evaluation.packed import Packed
from attnlab.files import read_json, read_tensors, understood
from attnlab.heads.settings import HeadSettings

__all__ = [
    "PENALTY",
    "EarlyExit",
    "ExitPredictions",
    "Pooling",
    "early_exit",
    "linear_classifier",
]

PENALTY = 0.1  # of the squared weights, beside the mean loss; dev of movie-sentiment knew no better

Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, eq=False)
class ExitPredictions(Predictions):
    """Answers to N texts; ``exits``, int array (N,), says after which layer each was given."""

    exits: np.ndarray


def early_exit(
    clf: Classifier,
    splits: Splits,
    *,
    by: ExitRule = "entropy",
    pooling: Pooling = "mean",
    threshold: float | None = None,
    most_lost: float = 0.5,
    most_texts: int = 10_000,
    seed: int = 0,
) -> "EarlyExit":
    """Let a classifier answer after any of its layers; return what does, and can be saved.

    A linear classifier is fitted to the hidden states after each layer but the last: logistic
    regression by scikit-learn, L2 penalty, on standardised features. The encoder stays as it is.

    Parameters
    ----------
    clf : of BERT, RoBERTa, DistilBERT, ELECTRA or ALBERT; its weights are shared, not copied
    splits : with non-empty train, for fitting, and dev, for choosing the threshold
    by : a text leaves after the first layer where
        - "entropy": the entropy of the layer's answer, in nats, is below the threshold (Xin et al.
          2020, DeeBERT);
        - "patience": so many layers in a row as the threshold says agreed with the one before
          (Zhou et al. 2020, PABEE)
    pooling : what a layer answers from: the mean of its tokens, or [CLS] alone
    threshold : default chosen on dev, see `EarlyExit.choose`
    most_lost : for that choice, in points of accuracy
    most_texts : of train that are fitted to, drawn at random; hidden states are kept for all of
        them, 4 bytes a number
    seed : of that draw

    Raises
    ------
    DataError : no texts, one label only, labels that the classifier does not know
    ModelError : one layer only; a model with a prefix
    SettingsError : another rule or pooling, a threshold without sense
    """
    _refuse_what_cannot_be(clf, by, pooling)
    if threshold is None:
        check_most_lost(most_lost)
    else:
        check_threshold(by, threshold)
    splits = usable(splits, "early_exit")
    train = splits.train.sample(min(most_texts, len(splits.train)), seed)
    labels = np.array(train.labels_in(clf.label_names))
    fitted = [
        linear_classifier(features.numpy(), labels, len(clf.label_names))
        for features in features_of(clf, clf.encode(train.texts), pooling)
    ]
    weights, biases = (torch.stack(tensors) for tensors in zip(*fitted, strict=True))
    found = EarlyExit(clf, weights, biases, by, pooling)
    if threshold is None:
        found.choose(splits.dev, most_lost)
    else:
        found.threshold = threshold
    return found


class EarlyExit:
    """A classifier that answers a text as soon as it is sure enough.

    Its layers are copied at the first call: once the classifier has changed, make another.

    Attributes
    ----------
    clf : Classifier
    weights, biases : of the answers after each layer but the last, (L - 1, C, E) and (L - 1, C)
    by, pooling : as for `early_exit`
    threshold : in nats for "entropy", 0 for never; in layers for "patience", from 1. It may be
        changed.

    Raises
    ------
    ModelError : weights that do not fit the classifier
    SettingsError : a threshold, a rule or a pooling without sense
    """

    def __init__(
        self,
        clf: Classifier,
        weights: Tensor,
        biases: Tensor,
        by: ExitRule = "entropy",
        pooling: Pooling = "mean",
        threshold: float | None = None,
    ):
        _refuse_what_cannot_be(clf, by, pooling)
        width = heads.model_of(clf).config.hidden_size
        shape = (clf.layers - 1, len(clf.label_names), width)
        if weights.shape != shape or biases.shape != shape[:2]:
            raise ModelError(
                f"The weights of early exits have the shapes {tuple(weights.shape)} and "
                f"{tuple(biases.shape)}; for this classifier {shape} and {shape[:2]} are expected, "
                "layers but the last, labels and width. Fit them to it: early_exit(clf, splits)."
            )
        self.clf, self.by, self.pooling = clf, by, pooling
        self.weights, self.biases = weights.to(clf.device), biases.to(clf.device)
        self._layers: Layers | None = None
        self.threshold = self.never if threshold is None else threshold

    @property
    def never(self) -> float:
        """The threshold at which no text leaves early."""
        return never(self.by, self.clf.layers)

    @property
    def threshold(self) -> float:
        """When a text leaves."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        check_threshold(self.by, value)
        self._threshold = float(value)

    @property
    def label_names(self) -> list[str]:
        """Names of the labels."""
        return self.clf.label_names

    def nonzero(self) -> int:
        """Return the number of parameters that are not 0."""
        mine = [self.weights, self.biases, *self.clf.model.parameters()]
        return sum(int(parameter.count_nonzero()) for parameter in mine)

    def parameters(self) -> int:
        """Return the number of parameters, those of the early answers among them."""
        return self.clf.parameters() + self.weights.numel() + self.biases.numel()

    def encode(self, texts: Sequence[Text]) -> Encoded:
        """Tokenise texts, as the classifier does."""
        return self.clf.encode(texts)

    def predict(self, texts: Sequence[Text]) -> ExitPredictions:
        """Answer texts: N label names, probabilities (N, C), and the layer each answer is from."""
        logits, exits = self._answers(self.encode(texts))
        probabilities = logits.softmax(-1).numpy()
        labels = [self.label_names[label] for label in probabilities.argmax(-1)]
        return ExitPredictions(labels, probabilities, exits)

    def logits(self, encoded: Encoded, indices: Indices | None = None) -> Tensor:
        """Return logits (N, C), float32 on the CPU, each from the layer that its text left after.

        Head settings of an `applied` block around the call hold.
        """
        return self._answers(encoded, indices)[0]

    def every_layer(self, encoded: Encoded) -> Tensor:
        """Return what each layer would answer, logits (L, N, C); the last is the classifier's."""
        steps, settings = self._steps(encoded), self._settings()
        logits = torch.empty(self._shape(len(encoded)))
        with torch.inference_mode():
            for group in encoded.batches():
                packed = packed_start(steps, encoded, group)
                for layer in range(self.clf.layers):
                    packed, logits[layer, group] = self._after(steps, layer, packed, settings)
        return logits

    def choose(self, dev: TextDataset, most_lost: float = 0.5) -> pd.DataFrame:
        """Choose the threshold on dev, set it, and return the table that it was chosen from.

        It is the one with the fewest layers on average of those that surely lose little: the 95 %
        interval of the change of accuracy on the same texts (Agresti and Min 2005) stays above
        -``most_lost``. The mean alone would not do: of many thresholds, one looks free by chance.
        Few texts prove little, so that with some hundred nothing may leave.

        Parameters
        ----------
        dev : labelled texts that nothing was fitted to
        most_lost : points of accuracy (0 to 100), against all layers

        Returns
        -------
        DataFrame, a row per threshold tried: ``threshold``; ``accuracy``, ``delta``, ``low``,
        ``high``, 0 to 1, and the change against all layers with its interval; ``layers``, how many
        a text goes through on average; ``chosen``
        """
        check_most_lost(most_lost)
        if not isinstance(dev, TextDataset) or not len(dev):
            raise DataError("There are no labelled texts to choose a threshold on. Give some.")
        labels = np.array(dev.labels_in(self.label_names))
        answers = self.every_layer(self.encode(dev.texts))
        table = tried(answers, labels, self.by)
        sure = table[(table["low"] >= -most_lost / 100) & (table["layers"] < self.clf.layers)]
        if sure.empty:
            warnings.warn(
                f"No threshold surely loses at most {most_lost} points on these {len(dev)} texts, "
                "so nothing leaves early. Allow more, most_lost=..., or give more texts.",
                AttnlabWarning,
                stacklevel=2,
            )
        self.threshold = (
            self.never if sure.empty else sure.loc[sure["layers"].idxmin(), "threshold"]
        )
        return table.assign(chosen=table["threshold"] == self.threshold)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write everything to a folder for `load`; whole or not at all.

        `load_classifier` reads the classifier in it, which always goes through all layers.
        """
        with whole_folder(folder) as partial:
            self.clf.save(partial)
            heads_of_layers = {
                "weights": self.weights.cpu().contiguous(),
                "biases": self.biases.cpu().contiguous(),
            }
            record = {
                "by": self.by,
                "pooling": self.pooling,
                "threshold": self.threshold,
                "classifier": _fingerprint(partial),
            }
            save_file(heads_of_layers, partial / EXIT_HEADS)
            (partial / EXIT_RECORD).write_text(json.dumps(record, indent=1) + "\n")
        return Path(folder)

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], device: torch.device | str | None = None
    ) -> "EarlyExit":
        """Read what `save` wrote.

        Raises
        ------
        ModelError : a folder without early exits, a damaged file, a classifier that was changed
            since
        """
        record, tensors = _read(Path(folder))
        clf = load_classifier(folder, device)
        with understood(Path(folder) / EXIT_RECORD, "Save it again."):
            heads_of_layers = (tensors["weights"], tensors["biases"])
            how = (record["by"], record["pooling"], record["threshold"])
            return cls(clf, *heads_of_layers, *how)

    def __repr__(self) -> str:
        return f"EarlyExit({self.clf!r}, by {self.by}, threshold {self.threshold:g})"

    # --- inside ----------------------------------------------------------------------------------

    def _shape(self, texts: int) -> tuple[int, int, int]:
        return self.clf.layers, texts, len(self.label_names)

    def _steps(self, encoded: Encoded) -> Layers:
        """The classifier's layers, from its weights as they were at the first call."""
        if self._layers is None:
            self._layers = layers_of(self.clf, encoded)
        return self._layers

    def _settings(self) -> HeadSettings | None:
        """Head settings of the block around the call, one for all texts; None outside of any."""
        settings = heads.in_force(self.clf)
        return None if settings is None else heads.one_setting(self.clf, settings)

    def _after(
        self, steps: Layers, layer: int, packed: Packed, settings: HeadSettings | None
    ) -> tuple[Packed, Tensor]:
        """The states after a layer, and what it answers, logits (B, C) on the CPU."""
        hidden = steps.packed_layer(layer, packed, settings)
        if layer == self.clf.layers - 1:
            return packed, steps.answer(hidden).cpu()
        packed = packed.with_hidden(hidden)
        features = packed.pooled(self.pooling).float()
        return packed, F.linear(features, self.weights[layer], self.biases[layer]).cpu()

    def _answers(
        self, encoded: Encoded, indices: Indices | None = None
    ) -> tuple[Tensor, np.ndarray]:
        """Logits (N, C) on the CPU, and the layers (N,) that they are from."""
        indices = np.arange(len(encoded)) if indices is None else np.asarray(indices, dtype=int)
        logits = torch.empty(self._shape(len(indices))[1:])
        exits = np.full(len(indices), self.clf.layers - 1)
        with torch.inference_mode():
            for texts in together(encoded, indices):
                _answer_together(self, encoded, indices, texts, logits, exits)
        return logits, exits


def _answer_together(
    small: EarlyExit,
    encoded: Encoded,
    indices: np.ndarray,
    texts: np.ndarray,
    logits: Tensor,
    exits: np.ndarray,
) -> None:
    """Answer some of the texts, into these rows; after each layer only those left go on."""
    steps, settings = small._steps(encoded), small._settings()
    rule = Rule(small.by, small.threshold, len(indices))
    packed = packed_start(steps, encoded, indices[texts])
    for layer in range(small.clf.layers):
        packed, answers = small._after(steps, layer, packed, settings)
        leaving = rule.leaving(answers, texts) | (layer == small.clf.layers - 1)
        logits[texts[leaving]], exits[texts[leaving]] = answers[leaving], layer
        if leaving.all():
            return
        packed, texts = packed.kept(~leaving), texts[~leaving]


def _refuse_what_cannot_be(clf: Classifier, by: str, pooling: str) -> None:
    """Raise SettingsError for another rule or pooling, ModelError for a model of one layer."""
    for value, kinds in ((by, ExitRule), (pooling, Pooling)):
        if value not in get_args(kinds):
            raise SettingsError(f"There is no {value!r}. {suggest(value, get_args(kinds))}")
    if clf.layers < 2:
        raise ModelError("This classifier has one layer, so there is nothing to leave out.")


def linear_classifier(
    features: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[Tensor, Tensor]:
    """Return weights (C, E) and biases (C,) of a logistic regression on features (N, E)."""
    features = features.astype(np.float64)  # a mean far from 0 and a small spread: float32 is short
    mean, spread = features.mean(0), features.std(0)
    spread[spread <= 1e-5 * np.abs(mean)] = 1  # constant, but for rounding: it tells nothing
    # held to its minimum, so that every machine finds the same
    regression = LogisticRegression(C=1 / (PENALTY * len(labels)), tol=1e-6, max_iter=1000)
    fitted = regression.fit((features - mean) / spread, labels)
    weights, biases = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # of two labels scikit-learn gives the difference
        weights, biases = np.concatenate([-weights, weights]) / 2, np.append(-biases, biases) / 2
    weights = weights / spread
    whole, offsets = np.zeros((classes, features.shape[1])), np.full(classes, -1e4)
    whole[fitted.classes_] = weights
    offsets[fitted.classes_] = biases - weights @ mean  # others had no text, and are never answered
    return torch.from_numpy(whole).float(), torch.from_numpy(offsets).float()


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `EarlyExit.save` noted, and the weights; ModelError if they do not belong there."""
    missing = [name for name in (EXIT_RECORD, EXIT_HEADS) if not (folder / name).exists()]
    if missing:
        raise ModelError(
            f"{folder} holds no {' and no '.join(missing)}, which EarlyExit.save writes. "
            "al.load_classifier reads a classifier without early exits."
        )
    record, tensors = read_json(folder / EXIT_RECORD), read_tensors(folder / EXIT_HEADS)[1]
    if record.get("classifier") != _fingerprint(folder):
        raise ModelError(
            f"The classifier in {folder} is not the one that its early exits were fitted to. Fit "
            "them again: early_exit(clf, splits)."
        )
    return record, tensors


def _fingerprint(folder: Path) -> str:
    """A hash of the files of a classifier's weights."""
    found = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        if file.name != EXIT_HEADS:
            found.update(file.read_bytes())
    return found.hexdigest()[:16]


def __dir__() -> list[str]:
    return sorted(__all__)
