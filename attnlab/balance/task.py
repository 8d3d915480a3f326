"""What every way of adjusting works with: the texts, where it starts, and how good settings are."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab import heads
from attnlab.classification.classifier import Classifier, Encoded
from attnlab.datasets.texts import TextDataset
from attnlab.device import FixedLinear
from attnlab.errors import AttnlabError, ModelError
from attnlab.evaluation.evaluator import Evaluator
from attnlab.evaluation.forward import Engine
from attnlab.heads import HeadSettings

_SAMPLE = 256  # texts that are enough for statistics of heads and to compare far-apart settings


@dataclass(frozen=True)
class Objective:
    """What an adjustment makes small: a weighted sum of two figures.

    Attributes
    ----------
    loss : weight of the mean cross-entropy, nats
    heads : weight of the share of heads that are on, of all the model was built with
    """

    loss: float = 1.0
    heads: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.loss, self.heads)
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise AttnlabError(
                f"{self} has no use: weights are 0 or more, and one is above 0. "
                "The plain one is Objective()."
            )

    def value(self, loss: float, heads: float) -> float:
        """The weighted sum of the loss and the share of heads that are on."""
        return self.loss * loss + self.heads * heads


class Task:
    """A classifier, texts, a start and an objective; and the record of what was tried.

    Parameters
    ----------
    clf, data, start, objective, seed, progress : as for `knobs.adjust`

    Attributes
    ----------
    there, on : (L, H), bool, the heads that were not removed, and of these the ones that are on
    whole, engine : Engine with all heads that are there, and one with those that are on; None for a
        model whose forward pass we do not know
    rows : list of dict, the history

    Raises
    ------
    ModelError : no head is on
    """

    def __init__(
        self,
        clf: Classifier,
        data: TextDataset,
        start: HeadSettings,
        objective: Objective,
        seed: int,
        progress: Callable[[int, int], None] | None,
    ):
        self._began = time.perf_counter()
        self.clf, self.data, self.start, self.objective = clf, data, start, objective
        self.seed, self._progress = seed, progress
        self.evaluator = Evaluator(clf, data, fast=True)
        self.encoded: Encoded = self.evaluator.encoded
        self._labels = torch.as_tensor(self.evaluator.labels)
        self.whole: Engine | None = self.evaluator.current_engine()
        self.there = torch.ones(clf.layers, clf.heads, dtype=torch.bool)
        for head in heads.removed(clf):
            self.there[head] = False
        self.on = self.there & (start.scale > 0)
        if not self.on.any():
            raise ModelError(
                "Every head of this model is off or was removed; there is nothing to adjust."
            )
        self.engine = None if self.whole is None else _narrowed(self.whole, self.on)
        self.rows: list[dict[str, float]] = []

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._began

    @property
    def history(self) -> pd.DataFrame:
        """What was noted."""
        return pd.DataFrame(self.rows, columns=["step", "seconds", "loss", "objective"])

    def generator(self, *purpose: int) -> np.random.Generator:
        """A source of random numbers that depends on the seed and on what it is for."""
        return np.random.default_rng([self.seed, *purpose])

    def sample(self) -> np.ndarray:
        """Indices of a few texts, drawn at random."""
        return self.generator(0).permutation(len(self.data))[:_SAMPLE]

    def batches(self, indices: np.ndarray) -> list[np.ndarray]:
        """The indices in batches of like length."""
        return [indices[batch] for batch in self.encoded.batches(indices, max_tokens=2048)]

    def moved(self, scale: Tensor, temperature: Tensor) -> HeadSettings:
        """The start with the heads that are on multiplied by these factors, (L, H)."""
        return HeadSettings.of(
            self.start.scale * torch.where(self.on, scale, 1.0),
            self.start.temperature * torch.where(self.on, temperature, 1.0),
        )

    def note(self, loss: float, value: float, steps: int) -> None:
        """Add a row to the history."""
        row = {"step": len(self.rows), "seconds": self.seconds, "loss": loss, "objective": value}
        self.rows.append(row)
        if self._progress:
            self._progress(len(self.rows), steps)

    def measure(self, settings: HeadSettings) -> tuple[float, float]:
        """Mean loss and objective of settings on all texts."""
        loss = self.evaluator.score(settings).loss
        return loss, self.objective.value(loss, self.share_on(settings))

    def share_on(self, settings: HeadSettings) -> float:
        """Share of all heads that are on."""
        return float((self.there & (settings.scale > 0)).float().mean())

    def of_batch(
        self, indices: np.ndarray, settings: HeadSettings, engine: Engine | None
    ) -> tuple[Tensor, Tensor]:
        """Mean loss and objective on some texts; gradients reach the settings."""
        if engine is None:
            batch = self.encoded.batch(indices)
            batch = {name: tensor.to(self.clf.device) for name, tensor in batch.items()}
            logits = heads.run(self.clf, batch, settings)
        else:
            with torch.no_grad():
                hidden, mask = engine.start(self.encoded, indices)
            logits = engine.logits(hidden, mask, settings)
        loss = F.cross_entropy(logits.float().cpu(), self._labels[indices])
        return loss, self.objective.loss * loss + self.objective.heads * self.share_on(settings)


def _narrowed(engine: Engine, on: Tensor) -> Engine:
    """The engine without the heads that are off, which takes less time and answers the same."""
    narrow = copy.copy(engine)
    narrow.layers = []
    for layer, parts in zip(on, engine.layers, strict=True):
        present = [index for index, head in enumerate(parts.active_heads) if layer[head]]
        shape = (len(parts.active_heads), parts.head_dim)
        narrow.layers.append(
            replace(
                parts,
                qkv=FixedLinear(
                    parts.qkv.weight.unflatten(0, (3, *shape))[:, present].flatten(0, 2),
                    parts.qkv.bias.unflatten(0, (3, *shape))[:, present].flatten(),
                ),
                out_proj=FixedLinear(
                    parts.out_proj.weight.unflatten(1, shape)[:, present].flatten(1),
                    parts.out_proj.bias,
                ),
                active_heads=[parts.active_heads[index] for index in present],
            )
        )
    return narrow
