"""A run: the model, the optimizer, and how far they are. All of it goes into a checkpoint."""

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.errors import needs
from attnlab.training.history import History
from attnlab.training.recipe import Recipe

_NOTES = 200  # steps that are noted in a history, about


class Run:
    """What changes while training, and what callbacks are shown of it.

    Attributes
    ----------
    learner : the Classifier, Tagger or Translator that is trained; else the model
    model : nn.Module, and ``wrapped``, the same for several processes
    recipe, dtype, lengths, objective : as given to `training.train`
    trainable : parameters that are trained, by name
    steps : how many there are in all; ``step`` and ``epoch`` say how many are over, ``batch`` how
        many of this epoch's, ``seen`` how many of its texts
    micro_batches : parts in which a batch is computed; grows when memory does not suffice
    history : History; ``noted`` says whether the last step is in it
    left_out : whether the last step was left out, as its gradients were too large for float16
    status : where the run stands, in words
    best : weights of the best epoch so far, on the CPU
    """

    def __init__(
        self,
        model: nn.Module,
        lengths: Sequence[int] | np.ndarray,
        recipe: Recipe,
        objective: Callable[[Any, dict[str, Tensor]], Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        learner: Any = None,
        top: Collection[str] = (),
        choose_by: str = "dev_accuracy",
    ):
        self.model, self.learner = model, model if learner is None else learner
        self.lengths, self.recipe, self.objective, self.dtype = lengths, recipe, objective, dtype
        self.device = next(model.parameters()).device
        self.trainable = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        with needs("lab"):
            from accelerate import Accelerator

        self.accelerator = Accelerator(cpu=self.device.type == "cpu")
        several = self.accelerator.num_processes > 1
        self.wrapped = self.accelerator.prepare_model(model) if several else model
        self.optimizer = _optimizer(model, recipe, top)
        # float16 has so short a range that small gradients would be lost: they are made larger,
        # then smaller
        half = dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half, init_scale=2.0**12)
        self.steps = recipe.epochs * math.ceil(len(lengths) / recipe.batch_size)
        if recipe.max_steps is not None:
            self.steps = min(self.steps, recipe.max_steps)
        self.step = self.epoch = self.batch = self.seen = 0
        self.micro_batches = recipe.micro_batches
        self.loss_sum, self.status = 0.0, ""
        self.left_out = self.noted = False
        count = sum(parameter.numel() for parameter in self.trainable.values())
        self.history = History(trainable=count, epochs=recipe.epochs, chosen_by=choose_by)
        self.best: dict[str, Tensor] = {}
        self.started = time.perf_counter()

    def finish_step(
        self, loss: float, rate: float, norm: Tensor, indices: np.ndarray, seconds: float
    ) -> None:
        """Count a step over the texts with these indices; note some steps in the history.

        ``norm`` is the length of the gradient before it was clipped.
        """
        self.step, self.batch = self.step + 1, self.batch + 1
        self.loss_sum += loss * len(indices)
        self.seen += len(indices)
        self.status = f"epoch {self.epoch + 1} of {self.recipe.epochs}, loss {loss:.3f}"
        self.noted = (self.step - 1) % max(1, self.steps // _NOTES) == 0
        if self.noted:
            self.history.steps.append(
                {
                    "step": self.step,
                    "loss": loss,
                    "gradient_norm": float(norm),
                    "learning_rate": rate,
                    "tokens_per_second": sum(self.lengths[index] for index in indices) / seconds,
                    "memory_mb": self._memory() / 1e6,
                    "seconds": time.perf_counter() - self.started,
                }
            )

    def finish_epoch(self, measured: dict[str, float]) -> None:
        """Note what was measured, and keep the weights if they are the best so far."""
        self.epoch, self.batch = self.epoch + 1, 0
        row = {"epoch": self.epoch, "train_loss": self.loss_sum / self.seen, **measured}
        self.history.rows.append(row | {"seconds": time.perf_counter() - self.started})
        self.loss_sum, self.seen = 0.0, 0
        if self.history.best is self.history.rows[-1]:
            self.best = {
                name: parameter.detach().cpu().clone() for name, parameter in self.trainable.items()
            }

    @property
    def over(self) -> bool:
        """Whether every epoch, or the last step, is done and measured."""
        return self.epoch == self.recipe.epochs or (self.step == self.steps and not self.batch)

    @property
    def out_of_patience(self) -> bool:
        """Whether the best epoch lies too far back."""
        if self.recipe.patience is None or not self.history.rows:
            return False
        return self.epoch - self.history.best["epoch"] >= self.recipe.patience

    @torch.no_grad()
    def restore_best(self) -> None:
        """Put the weights of the best epoch back."""
        for name, weights in self.best.items():
            self.trainable[name].copy_(weights)

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on: recipe, format, data and what is trained."""
        return asdict(self.recipe) | {
            "dtype": str(self.dtype).removeprefix("torch."),
            "texts": len(self.lengths),
            "tokens": int(sum(self.lengths)),
            "trainable_parameters": self.history.trainable,
        }

    def _memory(self) -> int:
        """Bytes in use: the most so far on a GPU, else of this process now."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        with needs("lab"):
            import psutil

        return psutil.Process().memory_info().rss


def parameter_groups(
    model: nn.Module, weight_decay: float, top: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return what trains, for an optimizer: matrices with weight decay, biases and norms without.

    Parameters named in ``top`` stand in groups of their own, marked ``"top": True``.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name in top, parameter.dim() > 1), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if matrices else 0.0, "top": above}
        for (above, matrices), parameters in groups.items()
    ]


def _optimizer(model: nn.Module, recipe: Recipe, top: Collection[str]) -> torch.optim.AdamW:
    groups = parameter_groups(model, recipe.weight_decay, top)
    # one pass over each weight's numbers instead of ten: on a processor four times faster
    fused = True if next(model.parameters()).device.type in ("cpu", "cuda") else None
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=fused)
