"""Exercise ``accumulate``: the gradients of a large batch, computed in parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_number,
    require,
)

Part = tuple[Tensor, Tensor]
Parts = Sequence[Part]

WEIGHTS_CHANGED = (
    "The weights of the model have changed.\n"
    "Gradients are asked for, no step: who calls the optimizer, and when?"
)
NO_GRADIENTS_LEFT = (
    "Parameters of the model have no gradient afterwards.\n"
    "Is backward() called, and are gradients left alone after it?"
)
ALL_AT_ONCE = (
    "The gradients are right, but the model sees {texts} texts at once, and needs memory for all "
    "of them.\nThe parts are there to save it: can each go through the model by itself?"
)
ALL_WAIT = (
    "The gradients are right, but the intermediate results of {waiting} parts are in memory at the "
    "same time.\nThe parts are there to save it: does each go backward before the next one goes "
    "forward, and is its graph forgotten then (no retain_graph)?"
)
MODE = (
    "The model is in training mode, and your function switches it to eval mode.\n"
    "Training goes on: is there an eval() out of habit?"
)
CLIPPED = (
    "Where gradients are large they are wrong.\n"
    "Are they clipped or rescaled? They are asked for as they are."
)


@dataclass(frozen=True)
class Run:
    """What a function returned, and what it did to the model."""

    loss: Any
    gradients: list[Tensor | None]
    changed: bool  # the weights
    trains: bool  # the model, in every pass and afterwards
    largest: int  # number of texts in a pass forward
    waiting: int  # parts whose intermediate results were in memory at the same time


class _Saved:
    """What a part's graph keeps for the way back."""

    def __init__(self, part: int, tensor: Tensor):
        self.part, self.tensor = part, tensor


class Batch(Call):
    """A batch in parts, for a model that may have gradients from before."""

    def __init__(self, parts: Parts, old: Sequence[Tensor] = (), factor: float = 1.0):
        super().__init__(parts)
        self.parts, self.old, self.factor = parts, old, factor

    def loss_of(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a part."""
        return self.factor * F.cross_entropy(scores, labels)

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function does with a model of its own."""
        model = _model()
        for parameter, gradient in zip(model.parameters(), self.old, strict=False):
            parameter.grad = gradient.clone()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        saved: WeakSet[_Saved] = WeakSet()
        sizes, modes, waiting = [0], [], [0]

        def keep(tensor: Tensor) -> _Saved:
            kept = _Saved(len(sizes), tensor)
            saved.add(kept)
            return kept

        def watch(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
            modes.append(module.training)
            if outputs.requires_grad:
                waiting.append(len({kept.part for kept in saved}))
                sizes.append(len(outputs))

        with (
            model.register_forward_hook(watch),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept.tensor),
        ):
            loss = function(model, self.loss_of, self.parts)
        parameters = list(model.parameters())
        changed = any(map(lambda now, was: not torch.equal(now, was), parameters, before))
        gradients = [parameter.grad for parameter in parameters]
        trains = all([*modes, model.training])
        return Run(loss, gradients, changed, trains, max(sizes), max(waiting))


def check(answer: Answer, draw: Draw) -> Held:
    """``accumulate(model, loss_function, parts)``: gradients of a batch, computed in parts."""
    gradients = Comparison(answer, reference, MISTAKES, read=_gradients, tolerance=1e-4)
    both = Comparison(answer, reference, MISTAKES, read=_gradients_and_loss, tolerance=1e-4)

    def batch(*sizes: int) -> Callable[[], Batch]:
        return lambda: Batch(_parts(draw, sizes))

    size = draw.whole(3, 6)
    gradients.on(
        batch(size),
        "For a batch in one part the gradients are wrong.\n"
        "Do you call backward() on the mean loss, once for each part?",
    )
    both.on(
        batch(size),
        "For a batch in one part you return {loss:.4f}; the mean loss is {right:.4f}.\n"
        "Is it the mean over the texts?",
        facts=_loss_facts,
    )
    yield "one part: the gradients of the mean loss"

    gradients.on(
        batch(4, 4, 4),
        "With parts of equal size the gradients are wrong.\n"
        "The mean over all texts: what does each part add to it?",
    )
    yield "equal parts"

    gradients.on(
        batch(7, 2, 4),
        "With parts of unequal size the gradients are wrong.\n"
        "What share of all texts does each part hold?",
    )
    both.on(batch(7, 2, 4), _wrong_loss("{loss:.4f}, not {right:.4f}"), facts=_loss_facts)
    yield "unequal parts: every text counts the same"

    gradients.on(
        lambda: Batch(
            _parts(draw, [7, 2, 4]), [draw.normal(*p.shape) for p in _model().parameters()]
        ),
        "Where the model has gradients from before, they are wrong afterwards.\n"
        "backward() adds to .grad: what must happen before the first part?",
    )
    yield "old gradients are forgotten first"

    gradients.on(
        lambda: Batch(_parts(draw, [7, 2, 4]), factor=100.0),
        CLIPPED,
    )
    run = Batch(_parts(draw, [7, 2, 4])).of(answer)
    require(run.trains, MODE)
    yield "gradients as they are, and the model in the mode it was in"

    require(run.largest <= 7, ALL_AT_ONCE.format(texts=run.largest))
    require(run.waiting <= 1, ALL_WAIT.format(waiting=run.waiting))
    yield "only one part at a time is held in memory"


def reference(model: nn.Module, loss_function: Callable[..., Tensor], parts: Parts) -> float:
    """The mean loss over all texts at once."""
    inputs, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    loss = loss_function(model(inputs), labels)
    parameters = list(model.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    return loss.item()


def _model() -> nn.Module:
    """The same small classifier at each call, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def _parts(draw: Draw, sizes: Sequence[int]) -> list[Part]:
    """Parts of a batch; the classes are unequally hard, so that the means of the parts differ."""
    return [
        (draw.normal(size, 5) + index, torch.full((size,), index % 3))
        for index, size in enumerate(sizes)
    ]


def _gradients(run: Run, right: Run) -> Tensor:
    """The gradients in one row; weights must be as before."""
    require(not run.changed, WEIGHTS_CHANGED)
    found = [gradient for gradient in run.gradients if gradient is not None]
    if len(found) < len(run.gradients):
        a_number(run.loss, "loss")
        raise CheckFailed(NO_GRADIENTS_LEFT)
    return torch.cat([gradient.flatten() for gradient in found])


def _gradients_and_loss(run: Run, right: Run) -> list[Any]:
    return [_gradients(run, right), a_number(run.loss, "loss")]


def _loss_facts(call: Call, run: Run) -> dict[str, Any]:
    return {"loss": run.loss, "right": call.of(reference).loss}


# --- What learners write instead -----------------------------------------------------------------


def _sum_over_texts(losses: list[float], sizes: list[int]) -> float:
    return sum(loss * size for loss, size in zip(losses, sizes, strict=True))


def _accumulating(
    share: Callable[[int, int, int], float] = lambda size, texts, parts: size / texts,
    before: Callable[[nn.Module], object] = nn.Module.zero_grad,
    between: Callable[[nn.Module], object] = lambda model: None,
    after: Callable[[nn.Module], object] = lambda model: None,
    loss_of: Callable[[list[float], list[int]], float] = lambda losses, sizes: (
        _sum_over_texts(losses, sizes) / sum(sizes)
    ),
) -> Callable[..., float]:
    """Accumulation with a part exchanged."""

    def answer(model: nn.Module, loss_function: Callable[..., Tensor], parts: Parts) -> float:
        sizes, losses = [len(labels) for _, labels in parts], []
        before(model)
        for inputs, labels in parts:
            between(model)
            loss = loss_function(model(inputs), labels)
            (loss * share(len(labels), sum(sizes), len(parts))).backward()
            losses.append(loss.item())
        after(model)
        return loss_of(losses, sizes)

    return answer


def _all_at_once(model: nn.Module, loss_function: Callable[..., Tensor], parts: Parts) -> float:
    model.zero_grad()
    inputs, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    loss = loss_function(model(inputs), labels)
    loss.backward()
    return loss.item()


def _backward_at_the_end(
    model: nn.Module, loss_function: Callable[..., Tensor], parts: Parts
) -> float:
    model.zero_grad()
    losses = [len(labels) * loss_function(model(inputs), labels) for inputs, labels in parts]
    loss = torch.stack(losses).sum() / sum(len(labels) for _, labels in parts)
    loss.backward()
    return loss.item()


def _keeping_the_graphs(
    model: nn.Module, loss_function: Callable[..., Tensor], parts: Parts
) -> float:
    model.zero_grad()
    texts, losses = sum(len(labels) for _, labels in parts), []
    for inputs, labels in parts:
        losses.append(loss_function(model(inputs), labels) * len(labels) / texts)
        losses[-1].backward(retain_graph=True)
    return torch.stack(losses).sum().item()


def _forget_in_eval_mode(model: nn.Module) -> None:
    model.eval().zero_grad()


def _stepping(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.1 * parameter.grad)


def _wrong_loss(figure: str) -> str:
    return (
        f"The gradients are right, but the loss you return is {figure}.\n"
        "It should be the mean over all texts: do you add it up as you add up the gradients?"
    )


MISTAKES = [
    Mistake(
        _accumulating(share=lambda size, texts, parts: size),
        "The gradients are those of the sum over the texts: larger batches would take larger "
        "steps.\nA mean is asked for: by what must a sum be divided, and when?",
    ),
    Mistake(
        _accumulating(share=lambda size, texts, parts: 1),
        "With three parts of equal size the gradients are three times too large.\n"
        "backward() adds: what share of the mean does each part have?",
    ),
    Mistake(
        _accumulating(between=nn.Module.zero_grad, share=lambda size, texts, parts: 1),
        "Only the last part is left in the gradients: they are cleared between the parts.\n"
        "When must old gradients be forgotten, and when not?",
    ),
    Mistake(
        _accumulating(between=nn.Module.zero_grad),
        "Only the last part is left in the gradients, and only its share of them: they are cleared "
        "between the parts.\nWhen must old gradients be forgotten, and when not?",
    ),
    Mistake(
        _accumulating(share=lambda size, texts, parts: 1 / parts),
        "With parts of unequal size the gradients are the mean of the parts' means: in a small "
        "part each text counts for more.\nWhat share of all texts does each part hold?",
    ),
    Mistake(
        _accumulating(before=lambda model: None),
        "The gradients that were there before are still in it.\n"
        "backward() adds to .grad: what must happen before the first part?",
    ),
    Mistake(
        _accumulating(loss_of=lambda losses, sizes: losses[-1]),
        _wrong_loss("the loss of the last part"),
    ),
    Mistake(
        _accumulating(loss_of=lambda losses, sizes: sum(losses) / len(losses)),
        _wrong_loss("the mean of the parts' means"),
    ),
    Mistake(
        _accumulating(loss_of=lambda losses, sizes: sum(losses)),
        _wrong_loss("the sum of the parts' means"),
    ),
    Mistake(
        _accumulating(loss_of=_sum_over_texts),
        _wrong_loss("the sum over all texts"),
    ),
    Mistake(
        _accumulating(loss_of=lambda losses, sizes: losses[-1] * sizes[-1] / sum(sizes)),
        _wrong_loss("the last part's share of the loss"),
    ),
    Mistake(_accumulating(after=_stepping), WEIGHTS_CHANGED, compared=False),
    Mistake(_accumulating(after=nn.Module.zero_grad), NO_GRADIENTS_LEFT, compared=False),
    Mistake(_all_at_once, ALL_AT_ONCE, compared=False),
    Mistake(_backward_at_the_end, ALL_WAIT, compared=False),
    Mistake(_keeping_the_graphs, ALL_WAIT, compared=False),
    Mistake(_accumulating(before=_forget_in_eval_mode), MODE, compared=False),
    Mistake(
        _accumulating(
            after=lambda model: nn.utils.clip_grad_norm_(model.parameters(), max_norm=5.0)
        ),
        CLIPPED,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "accumulate", "finetune_bert", 3, check, mistakes=MISTAKES, ours=_accumulating()
)
