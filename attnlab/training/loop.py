"""One training loop for every lesson: epochs, batches, forward, backward, step.

`train` is the loop that lesson 05 shows, on Accelerate, with what a real run needs around it: it
can be stopped or killed at any step and goes on as if it never had been, and it makes do with less
memory when there is not enough. Everything random in a step is drawn from the seed and the number
of the step, so nothing but numbers has to be remembered.
"""

import contextlib
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.device import as_number_format, autocast
from attnlab.errors import AttnlabError, AttnlabWarning, option, worded
from attnlab.training.callbacks import Callback, CallbackList
from attnlab.training.checkpoint import Checkpoint
from attnlab.training.history import History
from attnlab.training.recipe import Recipe
from attnlab.training.run import Run

Batch = Callable[[np.ndarray], dict[str, Tensor]]
Objective = Callable[[Any, dict[str, Tensor]], Tensor]


class Interrupted(AttnlabError):
    """Training was stopped by the user; the message says how to go on."""


def train(
    model: nn.Module,
    lengths: Sequence[int] | np.ndarray,
    batch: Batch,
    evaluate: Callable[[], dict[str, float]],
    recipe: Recipe | None = None,
    *,
    dtype: torch.dtype | str = torch.float32,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    choose_by: str = "dev_accuracy",
    identity: dict[str, Any] | None = None,
    top: Collection[str] = (),
    objective: Objective | None = None,
    callbacks: Sequence[Callback] = (),
    learner: Any = None,
) -> History:
    """Train ``model`` in place, leave it at its best epoch, and return what was seen.

    Parameters
    ----------
    model : anything that returns ``.loss``, a mean over the batch, for ``model(**batch)``;
        parameters that do not require gradients stay as they are
    lengths : tokens in each training text
    batch : makes the tensors of one batch, ``labels`` included, from the indices of its texts
    evaluate : measures on dev after every epoch; returns at least the figure of ``choose_by``
    recipe : default `Recipe()`
    dtype : number format of what is computed; weights stay float32. In float16 gradients are
        scaled, so that small ones are not lost, and a step that overflows is left out.
    folder : where a checkpoint is kept, after every epoch and about once a minute
    resume : go on from the checkpoint in ``folder``; the result is that of a run that was never
        stopped
    choose_by : which of the figures of ``evaluate`` decides on the best epoch: the highest, or the
        lowest of losses and of bits per character; "epoch" keeps the last
    identity : what else must be the same for a run to go on: base, data, method, whatever JSON
        can hold
    top : names of the parameters above the encoder; they learn ``recipe.head_lr_multiplier`` times
        faster
    objective : the loss, a mean over the texts of a batch, from what the model returns and its
        inputs; default ``.loss`` of what it returns
    callbacks : of `Callback`, told how the run goes on: bars, live curves, recorders
    learner : what callbacks are shown as ``run.learner``; default the model

    Raises
    ------
    AttnlabError : a loss that is not a number, with the step and what to try; a checkpoint of
        another run, or of one in another number format
    Interrupted : after Ctrl-C, once the step is finished and saved
    """
    run = Run(
        model,
        lengths,
        recipe or Recipe(),
        objective or (lambda outputs, inputs: outputs.loss),
        dtype=as_number_format(dtype, next(model.parameters()).device.type),
        learner=learner,
        top=top,
        choose_by=choose_by,
    )
    checkpoint = Checkpoint(folder, identity)
    checkpoint.begin(run, resume)
    told = CallbackList(callbacks)
    try:
        told.on_start(run)
        with _interrupts() as interrupted:
            while not (run.over or run.out_of_patience):
                model.train()
                for indices in _batches_of_epoch(run)[run.batch :]:
                    _step(run, indices, batch)
                    told.on_step(run)
                    run.optimizer.zero_grad(set_to_none=True)
                    checkpoint.save_now_and_then(run)
                    if interrupted:
                        raise Interrupted(checkpoint.farewell(run))
                model.eval()
                run.finish_epoch(evaluate())
                told.on_epoch(run)
                checkpoint.save(run)
        run.restore_best()
    finally:
        told.on_end(run)
    return run.history


def shuffled_batches(
    lengths: Sequence[int] | np.ndarray,
    batch_size: int,
    generator: np.random.Generator,
    bucket_batches: int = 32,
) -> list[np.ndarray]:
    """Return batches in random order, each of texts of like length, so that little is padding.

    Texts are shuffled, cut into buckets of so many batches, ordered by length inside a bucket, cut
    into batches, and the batches shuffled. Every text appears once.

    Parameters
    ----------
    lengths : tokens in each of N texts
    batch_size : texts in a batch
    generator : of NumPy, from which both orders are drawn
    bucket_batches : batches in a bucket

    Returns
    -------
    list of arrays of indices
    """
    order = generator.permutation(len(lengths))
    by_length = np.asarray(lengths)
    batches = []
    for start in range(0, len(order), bucket_batches * batch_size):
        bucket = order[start : start + bucket_batches * batch_size]
        bucket = bucket[np.argsort(by_length[bucket], kind="stable")]
        batches += [
            bucket[first : first + batch_size] for first in range(0, len(bucket), batch_size)
        ]
    return [batches[index] for index in generator.permutation(len(batches))]


def linear_schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the learning rate at a step (from 0).

    It rises over the warm-up, a share of all steps, then falls to 0 after the last step.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return (steps - step) / max(steps - rising, 1)


# --- One step ------------------------------------------------------------------------------------


def _batches_of_epoch(run: Run) -> list[np.ndarray]:
    """The batches of this epoch, from its seed."""
    generator = np.random.default_rng([run.recipe.seed, run.epoch])
    batches = shuffled_batches(
        run.lengths, run.recipe.batch_size, generator, run.recipe.bucket_batches
    )
    return batches[: run.steps - (run.step - run.batch)]  # the last epoch may end early


def _step(run: Run, indices: np.ndarray, batch: Batch) -> None:
    """One step over one batch, in as many parts as memory asks for."""
    began = time.perf_counter()
    while True:
        try:
            loss = _forward_and_backward(run, indices, batch)
            break
        except torch.OutOfMemoryError:
            _make_do_with_less(run, indices)
    if not math.isfinite(loss):
        raise AttnlabError(
            f"The loss is {loss} at step {run.step + 1} of {run.steps} (texts "
            f"{indices[:4].tolist()}, ...). Try a learning rate below "
            f"{run.recipe.learning_rate:g}, or train in float32: {option('dtype', 'float32')}."
        )
    rate, norm = _update(run)
    run.finish_step(loss, rate, norm, indices, time.perf_counter() - began)


def _forward_and_backward(run: Run, indices: np.ndarray, batch: Batch) -> float:
    """Forward and backward, part by part and on every process its share; returns the mean loss."""
    rank, processes = run.accelerator.process_index, run.accelerator.num_processes
    torch.manual_seed((run.recipe.seed * 1_000_003 + run.step) * 1009 + rank)
    run.optimizer.zero_grad(set_to_none=True)
    loss: Any = 0.0
    parts = [part for part in np.array_split(indices, run.micro_batches) if len(part)]
    for number, part in enumerate(parts):
        share = part[rank::processes]
        mine = share if len(share) else part[:1]  # every process must take part
        inputs = {name: tensor.to(run.device) for name, tensor in batch(mine).items()}
        last = number == len(parts) - 1
        waits = contextlib.nullcontext() if last else run.accelerator.no_sync(run.wrapped)
        with waits:
            with autocast(run.device, run.dtype):
                mean = run.objective(run.wrapped(**inputs), inputs)
            # gradients are averaged over processes, so each counts for its share of the batch
            weighted = mean * (len(share) * processes / len(indices))
            run.scaler.scale(weighted).backward()
        loss += weighted.detach()
    return float(run.accelerator.reduce(loss, "mean")) if processes > 1 else float(loss)


def _update(run: Run) -> tuple[float, Tensor]:
    """Clip the gradients and move the weights; returns the learning rate, and their length."""
    run.scaler.unscale_(run.optimizer)
    norm = nn.utils.clip_grad_norm_(run.trainable.values(), run.recipe.max_grad_norm)
    rate = run.recipe.learning_rate * linear_schedule(run.step, run.steps, run.recipe.warmup)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * (run.recipe.head_lr_multiplier if group["top"] else 1)
    run.scaler.step(run.optimizer)  # not where gradients are too large for float16
    run.scaler.update()
    run.left_out = run.scaler.is_enabled() and not bool(norm.isfinite())
    return rate, norm


def _make_do_with_less(run: Run, indices: np.ndarray) -> None:
    """Compute batches in twice as many parts from now on, with a warning."""
    if run.micro_batches >= len(indices) or run.accelerator.num_processes > 1:
        at_a_time = math.ceil(len(indices) / run.micro_batches)
        raise AttnlabError(
            f"Out of memory with {at_a_time} texts at a time. Try shorter texts, a smaller model, "
            + worded(
                "gradient_checkpointing=True, or micro_batches= more parts.",
                "or a smaller --batch-size.",
            )
        ) from None
    run.micro_batches = min(2 * run.micro_batches, len(indices))
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    warnings.warn(
        f"Out of memory at step {run.step + 1}: going on with batches in {run.micro_batches} "
        "parts, same steps.",
        AttnlabWarning,
        stacklevel=4,
    )


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that is no longer empty after Ctrl-C, so that a step can be finished.

    A second Ctrl-C is at once.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
