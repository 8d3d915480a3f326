"""One training loop, for every lesson: seeds, schedule, history, and the best epoch kept."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from attnlab.device import autocast
from attnlab.errors import AttnlabError


@dataclass
class History:
    """What was seen while training: one row an epoch.

    ``rows`` hold ``epoch`` (from 1), ``train_loss``, ``dev_accuracy``, ``dev_loss`` and ``seconds``
    since the start.
    """

    rows: list[dict[str, float]] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """The rows as a table."""
        return pd.DataFrame(self.rows)

    @property
    def best(self) -> dict[str, float]:
        """The row of the epoch with the best dev accuracy, the first of equals."""
        if not self.rows:
            raise AttnlabError("This history is empty: nothing was trained.")
        return max(self.rows, key=lambda row: row["dev_accuracy"])


def shuffled_batches(
    lengths: Sequence[int], batch_size: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """Batches in random order, each of texts of like length, so that little is padding.

    Texts are shuffled, cut into pools of 32 batches, ordered by length inside a pool, cut into
    batches, and the batches shuffled. Every text appears once.
    """
    order = generator.permutation(len(lengths))
    by_length = np.asarray(lengths)
    batches = []
    for start in range(0, len(order), 32 * batch_size):
        pool = order[start : start + 32 * batch_size]
        pool = pool[np.argsort(by_length[pool], kind="stable")]
        batches += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


def train(
    model: nn.Module,
    lengths: Sequence[int],
    batch: Callable[[np.ndarray], dict[str, Tensor]],
    evaluate: Callable[[], dict[str, float]],
    *,
    epochs: int = 3,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    warmup: float = 0.06,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    seed: int = 0,
    number_format: torch.dtype = torch.float32,
    progress: Callable[[int, int, str], None] | None = None,
) -> History:
    """Train ``model`` in place, leave it at its best epoch, and return what was seen.

    Parameters
    ----------
    model : anything that returns ``.loss`` for ``model(**batch)``; parameters that do not require
        gradients stay as they are
    lengths : tokens in each training text
    batch : makes the tensors of one batch, ``labels`` included, from the places of its texts
    evaluate : measures on dev after every epoch; returns at least ``dev_accuracy``
    warmup : share of the steps over which the learning rate rises; then it falls to 0 linearly
    weight_decay : on matrices only, not on biases and norms
    progress : called as progress(step, steps, text)

    Raises
    ------
    AttnlabError : a loss that is not a number, with the step and what to try
    """
    set_seed(seed)
    generator = np.random.default_rng(seed)
    trainable = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [one for one in trainable if one.dim() > 1], "weight_decay": weight_decay},
            {"params": [one for one in trainable if one.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=learning_rate,
    )
    steps = epochs * math.ceil(len(lengths) / batch_size)
    schedule = get_linear_schedule_with_warmup(optimizer, round(warmup * steps), steps)
    device = trainable[0].device
    history, best, start, step = History(), None, time.perf_counter(), 0

    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for places in shuffled_batches(lengths, batch_size, generator):
            inputs = {name: tensor.to(device) for name, tensor in batch(places).items()}
            with autocast(device, number_format):
                loss = model(**inputs).loss
            step += 1
            if not torch.isfinite(loss):
                raise AttnlabError(
                    f"The loss is {loss.item()} at step {step} of {steps} (texts {places[:4].tolist()}"
                    f", ...). Try a learning rate below {learning_rate:g}, or train in float32."
                )
            loss.backward()
            nn.utils.clip_grad_norm_(trainable, max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.item() * len(places)
            if progress:
                progress(step, steps, f"epoch {epoch} of {epochs}, loss {loss.item():.3f}")
        model.eval()
        row = {"epoch": epoch, "train_loss": total / len(lengths), **evaluate()}
        history.rows.append(row | {"seconds": time.perf_counter() - start})
        if history.best is history.rows[-1]:
            best = {
                name: one.detach().clone()
                for name, one in model.named_parameters()
                if one.requires_grad
            }
    if best is not None:
        with torch.no_grad():
            for name, one in model.named_parameters():
                if name in best:
                    one.copy_(best[name])
    return history
