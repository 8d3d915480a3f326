"""The exercise ``training_step``."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_number,
    require,
)

Batch = tuple[Tensor, Tensor]
LossOf = Callable[[Batch], Tensor]

NO_STEP = (
    "The weights stay as they are: the optimizer makes no step.\n"
    "Which of its methods moves the weights?"
)
NO_GRADIENTS = (
    "The optimizer makes its step, but there are no gradients.\n"
    "Does backward() come before the step, and nothing that clears gradients between the two?"
)
MANY_STEPS = (
    "The optimizer makes {steps} steps for one batch.\nIs a line written twice, or in a loop?"
)
MANY_PASSES = (
    "The loss of a batch is computed {passes} times in a step, which doubles the work.\n"
    "Can the loss that you send backward be the one that you return?"
)


class _Watched(torch.optim.SGD):
    """An optimizer that counts its steps, and those that had gradients."""

    def __init__(self, parameters: Any, lr: float):
        super().__init__(parameters, lr=lr)
        self.steps = self.with_gradients = 0

    def step(self, closure: Any = None) -> Any:
        parameters = self.param_groups[0]["params"]
        self.steps += 1
        self.with_gradients += any(
            one.grad is not None and bool(one.grad.any()) for one in parameters
        )
        return super().step(closure)


@dataclass(frozen=True)
class Run:
    """What a function made of a model in some steps, and how."""

    weights: Tensor
    losses: list[Any]
    steps: int  # of the optimizer, for each batch
    with_gradients: int  # how many of all steps had gradients
    passes: int  # how often the loss was computed, for each batch


class Steps(Call):
    """So many steps of training, each with a batch of its own; the learning rate is halved."""

    def __init__(self, draw: Draw, count: int):
        self.batches = [(draw.normal(6, 3), draw.normal(6, 2)) for _ in range(count)]
        self.start = [draw.normal(2, 3), draw.normal(2)]
        super().__init__(self.batches)

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function does with a model of its own."""
        model = nn.Linear(3, 2)
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), self.start, strict=True):
                parameter.copy_(value)
        optimizer = _Watched(model.parameters(), lr=0.2)
        passes: list[int] = []

        def loss_of(batch: Batch) -> Tensor:
            passes.append(1)
            inputs, wanted = batch
            return (model(inputs) - wanted).square().mean()

        with warnings.catch_warnings():  # torch warns of a schedule that goes before its optimizer
            warnings.simplefilter("ignore")
            schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
            losses = [function(loss_of, batch, optimizer, schedule) for batch in self.batches]
        weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        each = len(self.batches)
        return Run(
            weights, losses, optimizer.steps // each, optimizer.with_gradients, len(passes) // each
        )


def check(answer: Answer, draw: Draw) -> Held:
    """``training_step(loss_of, batch, optimizer, schedule)``: one step of training."""
    weights = Comparison(answer, reference, MISTAKES, read=_weights)
    losses = Comparison(answer, reference, MISTAKES, read=_losses)
    weights.on(
        lambda: Steps(draw, 1),
        "After one step the weights are wrong.\n"
        "Is it the gradient of the loss by which the optimizer moves them, and of the loss alone?",
    )
    yield "one batch: the weights move once, by its gradients"

    weights.on(
        lambda: Steps(draw, 4),
        "The first step is right, later ones are not.\n"
        "What is left over from the step before, and what must change between two steps?",
    )
    yield "several: gradients do not pile up, and the learning rate follows its schedule"

    losses.on(lambda: Steps(draw, 3), "The weights are right, but not the losses you return.")
    run = Steps(draw, 3).of(answer)
    require(run.passes <= 1, MANY_PASSES.format(passes=run.passes))
    yield "the loss comes back as a plain number, computed once"


def reference(loss_of: LossOf, batch: Batch, optimizer: Any, schedule: Any) -> float:
    """One step with gradients that pass by ``.grad``'s past."""
    loss = loss_of(batch)
    parameters = optimizer.param_groups[0]["params"]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()
    schedule.step()
    return loss.item()


def _weights(run: Run, right: Run) -> Tensor:
    for loss in run.losses:
        if not isinstance(loss, Tensor):  # a tensor is told of at the end
            a_number(loss, "loss")
    require(run.steps > 0, NO_STEP)
    require(run.with_gradients > 0, NO_GRADIENTS)
    require(run.steps == 1, MANY_STEPS.format(steps=run.steps))
    return run.weights


def _losses(run: Run, right: Run) -> Tensor:
    return torch.tensor([a_number(loss, "loss") for loss in run.losses])


# --- What learners write instead -----------------------------------------------------------------


def _stepping(order: Sequence[str], returned: str = "before") -> Callable[..., Any]:
    """A step whose parts come in some order, or not at all."""

    def step(loss_of: LossOf, batch: Batch, optimizer: Any, schedule: Any) -> Any:
        loss = loss_of(batch)
        parts: dict[str, Callable[[], Any]] = {
            "zero": optimizer.zero_grad,
            "backward": loss.backward,
            "step": optimizer.step,
            "rate": schedule.step,
        }
        for name in order:
            parts[name]()
        if returned == "after":
            return loss_of(batch).item()
        return loss if returned == "tensor" else loss.item()

    return step


PARTS = ["zero", "backward", "step", "rate"]  # in the right order
MISTAKES = [
    Mistake(_stepping(["zero", "backward", "rate"]), NO_STEP, compared=False),
    Mistake(_stepping(["backward", "zero", "step", "rate"]), NO_GRADIENTS, compared=False),
    Mistake(_stepping(["zero", "step", "rate"]), NO_GRADIENTS, compared=False),
    Mistake(_stepping(["zero", "step", "backward", "rate"]), NO_GRADIENTS, compared=False),
    Mistake(_stepping(["zero", "backward", "step", "step", "rate"]), MANY_STEPS, compared=False),
    Mistake(
        _stepping(["backward", "step", "rate"]),
        "The gradients of all batches so far are added up: backward() adds to what is there.\n"
        "Who clears them, and when?",
    ),
    Mistake(
        _stepping(["zero", "backward", "step"]),
        "The learning rate stays where it began.\nWho tells the schedule that a step is over?",
    ),
    Mistake(
        _stepping(["zero", "backward", "rate", "step"]),
        "Each step uses the learning rate of the next one: the schedule moves on too early.\n"
        "Which of the two comes first?",
    ),
    Mistake(
        _stepping(["backward", "step"]),
        "Gradients pile up, and the learning rate stays where it began.\n"
        "Who clears the gradients, and who tells the schedule that a step is over?",
    ),
    Mistake(
        _stepping(PARTS, returned="after"),
        "You return the loss after the step, not the one that led to it.\n"
        "Can the loss that you send backward be the one that you return?",
    ),
    Mistake(
        _stepping(PARTS, returned="tensor"),
        "As loss came a tensor with its graph: who keeps it keeps everything it was computed "
        "from.\nA plain number is asked for: which method of a tensor gives one?",
        compared=False,
    ),
    Mistake(
        lambda loss_of, batch, optimizer, schedule: (
            loss_of(batch),
            _stepping(PARTS)(loss_of, batch, optimizer, schedule),
        )[1],
        MANY_PASSES,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "training_step", "translation", 2, check, mistakes=MISTAKES, ours=_stepping(PARTS)
)
