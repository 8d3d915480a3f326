"""Adjusting by gradient: all scales and temperatures go downhill at once, held near their start."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from attnlab.balance.layerwise import evened
from attnlab.balance.task import Task
from attnlab.errors import AttnlabError, ModelError
from attnlab.heads import HeadSettings
from attnlab.inference import NO_GRADIENTS
from attnlab.training import shuffled_batches

# These and the defaults below were chosen on dev sentences, of other random damage than is reported
_FACTORS = (1 / 1.5, 1.0, 1.5, 1.5**2)  # of all scales, where gradient descent may begin
_LEARNING_RATE = 0.1  # falls to 0 along a cosine
_BATCH_SIZE = 32
_BUCKET_BATCHES = 8  # batches that are ordered by length together


def by_gradient(
    task: Task,
    epochs: int = 8,
    scale_spread: float = 0.7,
    temperature_spread: float = 0.3,
) -> HeadSettings:
    """Adam on the logarithms of scale and temperature of every head that is on: see `adjust`."""
    if epochs < 0 or not (scale_spread > 0 and temperature_spread > 0):
        raise AttnlabError(
            f"epochs ({epochs}) must be 0 or more, scale_spread ({scale_spread}) and "
            f"temperature_spread ({temperature_spread}) must be above 0."
        )
    start, on = _best_start(task), task.on
    spreads = {"scale": scale_spread, "temperature": temperature_spread}
    knobs = {name: torch.zeros_like(start.scale, requires_grad=True) for name in spreads}
    knobs["layer"] = torch.zeros(task.clf.layers, 1, requires_grad=True)  # its heads share it

    def settings() -> HeadSettings:
        factor = (knobs["scale"] + knobs["layer"]).exp()
        moved = torch.where(on, start.scale * factor, start.scale)
        sharper = torch.where(on, knobs["temperature"].exp(), 1.0)
        return HeadSettings.of(moved, start.temperature * sharper)

    def penalty() -> Tensor:
        far = [(knobs[name][on] / spread).square().sum() for name, spread in spreads.items()]
        return sum(far, torch.zeros(())) / (2 * len(task.data))

    optimizer = torch.optim.Adam(knobs.values(), lr=_LEARNING_RATE, betas=(0.9, 0.99))
    steps = epochs * math.ceil(len(task.data) / _BATCH_SIZE)
    for step, indices in enumerate(_batches(task, epochs)):
        rate = _LEARNING_RATE * (1 + math.cos(math.pi * (step / steps))) / 2
        optimizer.param_groups[0]["lr"] = rate
        loss, value = task.of_batch(indices, settings(), task.engine)
        gradients = torch.autograd.grad(value + penalty(), list(knobs.values()), allow_unused=True)
        if gradients[-1] is None:  # the penalty does not reach this one
            raise ModelError(NO_GRADIENTS)
        for knob, gradient in zip(knobs.values(), gradients, strict=True):
            knob.grad = gradient
        optimizer.step()
        task.note(loss.item(), value.item(), steps)
    return settings().copy()


def _batches(task: Task, epochs: int) -> Iterator[np.ndarray]:
    """Batches of so many epochs."""
    for epoch in range(epochs):
        generator = task.generator(1, epoch)
        yield from shuffled_batches(task.encoded.lengths, _BATCH_SIZE, generator, _BUCKET_BATCHES)


def _best_start(task: Task) -> HeadSettings:
    """The best of the start, the evened start, and common factors of both, on a few texts.

    From scales far too large gradient descent does not find back: the layer's norm divides them out
    again, and the slope is flat.
    """
    starts = [task.start]
    if task.engine is not None:
        starts.append(evened(task, task.engine))
    indices, tried = task.sample(), []
    for start, factor in itertools.product(starts, _FACTORS):
        scale = torch.where(task.on, start.scale * factor, start.scale)
        settings = HeadSettings.of(scale, start.temperature)
        value = 0.0
        for batch in task.batches(indices):
            with torch.no_grad():
                value += float(task.of_batch(batch, settings, task.engine)[1]) * len(batch)
        tried.append((value / len(indices), settings))
    return min(tried, key=lambda pair: pair[0])[1].copy()
