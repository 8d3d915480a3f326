"""Training by steps: what every model that has a loss of its own goes through."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.device import as_number_format
from attnlab.training.callbacks import Callback
from attnlab.training.history import History
from attnlab.training.loop import train
from attnlab.training.recipe import Recipe

__all__ = ["batches", "hashed", "train_steps"]

_BATCH = 256  # examples that are measured at once


@dataclass
class _Output:
    loss: Tensor


class _WithLoss(nn.Module):
    """A model and its loss, as `training.train` calls them."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor]):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, **inputs: Tensor) -> _Output:
        return _Output(self.loss(self.model, **inputs))


def train_steps(
    model: nn.Module,
    loss: Callable[..., Tensor],
    examples: int,
    batch: Callable[[np.ndarray], dict[str, Tensor]],
    evaluate: Callable[[], dict[str, float]],
    *,
    tokens: int | np.ndarray = 1,
    steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
    choose_by: str = "dev_accuracy",
    top: Sequence[str] = (),
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    identity: dict[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    learner: Any = None,
    **recipe: Any,
) -> History:
    """Train a model in place for so many steps, whatever the number of examples.

    Parameters
    ----------
    model : nn.Module
    loss : mean loss of a batch, from the model and, as keywords, what ``batch`` returns
    examples : how many there are
    batch : tensors of one batch, from the indices of its examples
    evaluate : measures on dev after every epoch
    tokens : of every example, or of each: then those in a batch are of like length
    steps : how many are taken
    dtype : number format of what is computed; default that of `device.number_format` on a GPU,
        float32 on a CPU
    top : names of parameters that learn ``head_lr_multiplier`` times faster
    choose_by, folder, resume, identity, callbacks : as for `training.train`
    learner : what callbacks are shown as ``run.learner``; default the model
    batch_size, learning_rate, seed, **recipe : fields of `training.Recipe`
    """
    device = next(model.parameters()).device
    full_recipe = Recipe(
        epochs=max(1, math.ceil(steps / math.ceil(examples / batch_size))),
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_steps=steps,
        seed=seed,
        **recipe,
    )
    if dtype is None and device.type != "cuda":
        dtype = torch.float32
    history = train(
        _WithLoss(model, loss),
        np.full(examples, tokens),
        batch,
        evaluate,
        full_recipe,
        dtype=as_number_format(dtype, device.type),
        folder=folder,
        resume=resume,
        choose_by=choose_by,
        identity=identity,
        top=[f"model.{name}" for name in top],
        callbacks=callbacks,
        learner=model if learner is None else learner,
    )
    model.eval()
    return history


def batches(count: int) -> Iterator[np.ndarray]:
    """Indices of so many examples, few enough at a time to be measured at once."""
    for start in range(0, count, _BATCH):
        yield np.arange(start, min(start + _BATCH, count))


def hashed(*arrays: Any) -> str:
    """A hash of arrays and lists, to know data again."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()[:16]


def __dir__() -> list[str]:
    return sorted(__all__)
