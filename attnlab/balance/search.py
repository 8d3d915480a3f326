"""Adjusting by search: heads switched one at a time, and random knobs to compare with."""

import math

import torch
from torch import Tensor

from attnlab.balance.task import Task
from attnlab.errors import AttnlabError
from attnlab.heads import HeadSettings

_CANDIDATES = 4  # that greedy search measures at each step
_SPREAD = 0.5  # of random factors, standard deviation of their logarithms


def by_greed(task: Task, most: int | None = None) -> HeadSettings:
    """Heads go off, or on again, one by one as long as the objective falls: see `adjust`."""
    settings, steps = task.start, int(task.there.sum()) if most is None else most
    loss, value = task.measure(settings)
    task.note(loss, value, steps + 1)
    while len(task.rows) <= steps:
        expected = _expected_changes(task, settings)
        tried = []
        for index in expected.flatten().argsort()[:_CANDIDATES]:
            layer, head = divmod(int(index), task.clf.heads)
            if not torch.isfinite(expected[layer, head]):
                continue
            other = settings.copy()
            other.scale[layer, head] = 0.0 if settings.scale[layer, head] > 0 else 1.0
            tried.append((*task.measure(other), other))
        best = min(tried, key=lambda candidate: candidate[1])
        if best[1] >= value:
            break
        loss, value, settings = best
        task.note(loss, value, steps + 1)
    return settings.copy()


def _expected_changes(task: Task, settings: HeadSettings) -> Tensor:
    """First-order change of the objective when a head is switched, (L, H); infinite if removed."""
    scale = settings.scale.clone().requires_grad_()
    gradient, indices = torch.zeros_like(scale), task.sample()
    for batch in task.batches(indices):
        moved = HeadSettings.of(scale, settings.temperature)
        _, value = task.of_batch(batch, moved, task.whole)
        if value.requires_grad:
            gradient += torch.autograd.grad(value, scale)[0] * len(batch) / len(indices)
    on = scale.detach() > 0
    change = torch.where(on, -scale.detach(), 1.0) * gradient
    change += task.objective.heads * torch.where(on, -1.0, 1.0) / on.numel()
    return change.where(task.there, torch.inf)


def by_chance(task: Task, trials: int = 40) -> HeadSettings:
    """The best of so many random settings, the start among them: see `adjust`."""
    if trials < 1:
        raise AttnlabError(f"trials is {trials}; at least 1 is needed.")
    generator, best = task.generator(2), (math.inf, task.start)
    for trial in range(trials):
        drawn = torch.from_numpy(generator.standard_normal((2, *task.on.shape))).float()
        scale, temperature = (_SPREAD * drawn).exp()
        settings = task.start if trial == 0 else task.moved(scale, temperature)
        loss, value = task.measure(settings)
        task.note(loss, value, trials)
        if value < best[0]:
            best = (value, settings)
    return best[1].copy()
