"""What every classifier shares whose heads can be reached, whether it reads texts or images."""

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.encoding import TOKENS_PER_BATCH, Indices
from attnlab.device import autocast, number_format
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.training.history import History


class ModelInputs(Protocol):
    """What a model is asked with, ready to be put into batches: tokens of texts, or pixels."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text or image, shape (N,)."""

    def batch(self, indices: Indices) -> dict[str, Tensor]:
        """Return tensors for the model's forward call."""

    def batches(
        self, indices: Indices | None = None, max_tokens: int = TOKENS_PER_BATCH
    ) -> Iterator[np.ndarray]:
        """Cut into batches of at most so many tokens each: positions in ``indices``."""

    def arrays(self) -> Iterator[np.ndarray]:
        """Return everything there is, by which the same inputs are known again."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers to N texts or images: ``labels``, N names; ``probabilities``, numpy array (N, C)."""

    labels: list[str]
    probabilities: np.ndarray


class Stopped(Exception):
    """A computation was given up because nobody wants its result any more."""


class BaseClassifier(abc.ABC):
    """A Transformers model that chooses one label of several, and whose heads can be set.

    Attributes
    ----------
    model : the plain Transformers model, through whose attention `heads.attach` was put
    label_names : list of C str
    layers, heads : size of its attention; heads removed for good still count
    history : History of its training, if it was trained here
    """

    task: ClassVar[str]  # how the model's class ends
    reads: ClassVar[str]  # what it is asked with, in the plural
    loaded_from: str | None = None  # what loading was asked for
    model: Any
    label_names: list[str]
    layers: int
    heads: int
    history: History | None

    @abc.abstractmethod
    def encode(self, given: Any) -> Any:
        """Return `ModelInputs` of texts or images; DataError for something else."""

    @abc.abstractmethod
    def inputs_of(self, dataset: Any) -> Any:
        """Return what `encode` takes of a labelled data set; DataError for one of another kind."""

    @abc.abstractmethod
    def with_model(self, model: Any) -> "BaseClassifier":
        """Return a classifier that differs in nothing but its model."""

    @property
    def config(self) -> Any:
        """The configuration of the Transformers model."""
        return heads.model_of(self.model).config

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def to(self, device: torch.device | str) -> Self:
        """Move the model, in place, and return the same classifier."""
        self.model.to(device)
        return self

    def settings(self) -> HeadSettings:
        """Return neutral head settings of this model's size."""
        return HeadSettings(self.layers, self.heads)

    def parameters(self) -> int:
        """Return the number of parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def logits(
        self,
        encoded: ModelInputs,
        indices: Indices | None = None,
        settings: HeadSettings | None = None,
        fast: bool = False,
        stop: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Return logits (N, C), float32 on the CPU, of encoded texts or images.

        Parameters
        ----------
        encoded : of `encode`
        indices : of N texts or images, in the order that is wanted; default all
        settings : hold for this call only, whatever else runs on the model meanwhile; None takes
            those of an `applied` block around the call, else the model as it stands. A stack gives
            each text or image its own.
        fast : compute in `device.number_format`, else in float32; a model whose weights are not
            float32 computes in its own format
        stop : asked between batches; when it says True the call raises `Stopped`

        Raises
        ------
        ModelError : answers that are not finite; see `heads.run`, which switches dropout off
        """
        settings = heads.in_force(self) if settings is None else settings
        indices = np.arange(len(encoded)) if indices is None else np.asarray(indices, dtype=int)
        result = torch.empty(len(indices), len(self.label_names))
        short = fast and self.model.dtype == torch.float32
        dtype = number_format(self.device.type) if short else torch.float32
        stacked = settings is not None and settings.scale.dim() == 3
        if settings is not None:
            settings.validate(self.layers, self.heads, batch=len(indices))
        with torch.inference_mode(), autocast(self.device, dtype):
            # smaller batches when somebody may want it to stop: it can, only between them
            for group in encoded.batches(indices, TOKENS_PER_BATCH if stop is None else 512):
                if stop is not None and stop():
                    raise Stopped
                rows = group.tolist()
                batch = encoded.batch(indices[group])
                inputs = {name: tensor.to(self.device) for name, tensor in batch.items()}
                part = settings
                if settings is not None and stacked:
                    part = HeadSettings.of(settings.scale[rows], settings.temperature[rows])
                result[rows] = self._answers(inputs, part)
        return result

    def _predictions(self, encoded: ModelInputs, settings: HeadSettings | None) -> Predictions:
        """Names and probabilities of the answers."""
        if settings is not None:
            settings.validate(self.layers, self.heads, batch=len(encoded))
        probabilities = self.logits(encoded, settings=settings).softmax(-1).numpy()
        return Predictions(
            [self.label_names[label] for label in probabilities.argmax(-1)], probabilities
        )

    def _maps(
        self,
        encoded: ModelInputs,
        settings: HeadSettings | None,
        tokens: list[str],
        special: Tensor,
        second_start: int | None = None,
    ) -> AttentionMaps:
        """The attention over the one text or image that is encoded, and over it heads neutral."""
        neutral = self.settings()
        settings = heads.one_setting(self, settings)
        inputs = {name: tensor.to(self.device) for name, tensor in encoded.batch([0, 0]).items()}
        weights, norms = self._attention(inputs, HeadSettings.stack([settings, neutral]))

        def maps(row: int, used: HeadSettings, before: AttentionMaps | None) -> AttentionMaps:
            return AttentionMaps(
                tokens=tokens,
                weights=weights[row],
                contributions=weights[row]
                * used.scale[:, :, None, None]
                * norms[row, :, :, None, :],
                special=special,
                settings=used,
                neutral=before,
                second_start=second_start,
            )

        before = maps(1, neutral, None)
        return before if settings.is_neutral() else maps(0, settings, before)

    def _answers(self, inputs: dict[str, Tensor], settings: HeadSettings | None) -> Tensor:
        """Logits (B, C) of a batch, on the CPU."""
        return heads.run(self, inputs, settings).cpu()

    def _attention(
        self, inputs: dict[str, Tensor], settings: HeadSettings
    ) -> tuple[Tensor, Tensor]:
        """Weights (B, L, H, T, T) of a batch, and norms of transformed values (B, L, H, T)."""
        records = heads.record(self, inputs, settings)
        weights, norms = (
            torch.stack([getattr(layer, name) for layer in records], 1).float().cpu()
            for name in ("weights", "norms")
        )
        return weights, norms

    def __repr__(self) -> str:
        gone = len(heads.removed(self.model))
        return (
            f"{type(self).__name__}({self.model.config.model_type}, {self.layers} layers x "
            f"{self.heads} heads{f', {gone} removed' if gone else ''}, "
            f"{self.parameters() / 1e6:.1f} M parameters, labels {self.label_names})"
        )
