"""Check of ``accumulate``."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_number,
    compare,
    require,
    same,
)

Part = tuple[Tensor, Tensor]


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``accumulate(model, loss_function, parts)``: gradients of a batch, computed in parts."""
    parts = _parts(draw, [draw.whole(3, 6)])
    texts = len(parts[0][1])
    mean, gradients, loss, _ = _accumulated(answer, parts)
    compare(
        gradients,
        mean,
        {
            "The gradients are those of the sum over the texts: larger batches would take larger "
            "steps.\n"
            "A mean is asked for: by what must a sum be divided, and when?": lambda: mean * texts,
        },
        "For a batch in one part the gradients are wrong.\n"
        "Do you call backward() on the mean loss, once for each part?",
    )
    require(
        abs(loss - _mean_loss(parts)) < 1e-4,
        f"For a batch in one part you return {loss:.4f}; the mean loss is "
        f"{_mean_loss(parts):.4f}.\n"
        "Is it the mean over the texts?",
    )
    yield "one part: the gradients of the mean loss"

    parts = _parts(draw, [4, 4, 4])
    mean, gradients, loss, _ = _accumulated(answer, parts)
    last = _gradients(parts[-1:])
    compare(
        gradients,
        mean,
        {
            "With three parts of equal size the gradients are three times too large.\n"
            "backward() adds: what share of the mean does each part have?": lambda: 3 * mean,
            "Only the last part is left in the gradients: they are cleared between the parts.\n"
            "When must old gradients be forgotten, and when not?": lambda: last,
            "Only the last part is left in the gradients, and only its share of them: they are "
            "cleared between "
            "the parts.\nWhen must old gradients be forgotten, and when not?": lambda: last / 3,
        },
        "With parts of equal size the gradients are wrong.\n"
        "The mean over all texts: what does each part add to it?",
    )
    yield "equal parts"

    parts = _parts(draw, [7, 2, 4])
    mean, gradients, loss, events = _accumulated(answer, parts)
    shares = [len(labels) / 13 for _, labels in parts]
    compare(
        gradients,
        mean,
        {
            "With parts of unequal size the gradients are the mean of the parts' means: in a "
            "small part each text "
            "counts for more.\nWhat share of all texts does each part hold?": (
                lambda: sum(_gradients([part]) for part in parts) / 3
            ),
        },
        "With parts of unequal size the gradients are wrong.\nWhat share of all texts does each "
        "part hold?",
    )
    means = [_mean_loss([part]) for part in parts]
    figures = {
        "the loss of the last part": means[-1],
        "the mean of the parts' means": sum(means) / 3,
        "the sum of the parts' means": sum(means),
        "the sum over all texts": 13 * _mean_loss(parts),
        "the last part's share of the loss": means[-1] * shares[-1],
    }
    named = next((name for name, one in figures.items() if abs(loss - one) < 1e-4), "wrong")
    require(
        abs(loss - _mean_loss(parts)) < 1e-4,
        f"The gradients are right, but the loss you return is {named}.\n"
        "It should be the mean over all texts: do you add it up as you add up the gradients?",
    )
    yield "unequal parts: every text counts the same"

    _accumulated(answer, parts, old=True)
    yield "old gradients are forgotten first"

    largest = max((count for _, count in events), default=0)
    require(
        largest <= 7,
        f"The gradients are right, but the model sees {largest} texts at once, and needs memory "
        f"for all of them.\n"
        "The parts are there to save it: can each go through the model by itself?",
    )
    waiting = open_graphs = 0
    for kind, _ in events:
        open_graphs += 1 if kind == "forward" else -1
        waiting = max(waiting, open_graphs)
    require(
        waiting <= 1,
        f"The gradients are right, but {waiting} parts wait in memory for one backward() at the "
        f"end.\n"
        "The parts are there to save memory: what may be forgotten as soon as a part went "
        "backward?",
    )
    yield "only one part at a time is held in memory"


def _model() -> nn.Module:
    """The same small classifier at each call, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def _parts(draw: Draw, sizes: Sequence[int]) -> list[Part]:
    """Parts of a batch; the classes are unequally hard, so that the means of the parts differ."""
    return [
        (draw.normal(size, 5) + place, torch.full((size,), place % 3))
        for place, size in enumerate(sizes)
    ]


def _loss(parts: Sequence[Part], model: nn.Module) -> Tensor:
    inputs, labels = (torch.cat(one) for one in zip(*parts, strict=True))
    return F.cross_entropy(model(inputs), labels)


def _mean_loss(parts: Sequence[Part]) -> float:
    return _loss(parts, _model()).item()


def _gradients(parts: Sequence[Part]) -> Tensor:
    """The gradients of the mean loss over all parts, in one row."""
    model = _model()
    gradients = torch.autograd.grad(_loss(parts, model), list(model.parameters()))
    return torch.cat([one.flatten() for one in gradients])


def _accumulated(
    answer: Answer, parts: list[Part], old: bool = False
) -> tuple[Tensor, Tensor, float, list[tuple[str, int]]]:
    """The right gradients, the answer's, its loss, and when the model was run forward and "
    "backward."""
    right, model, events = _gradients(parts), _model(), []
    if old:
        for one in model.parameters():
            one.grad = torch.randn_like(one)
    before = [one.detach().clone() for one in model.parameters()]

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        if outputs.requires_grad:
            events.append(("forward", len(outputs)))
            outputs.register_hook(lambda _: events.append(("backward", 0)))

    with model.register_forward_hook(watch):
        result = answer(model, F.cross_entropy, parts)
    require(
        all(torch.equal(one, was) for one, was in zip(model.parameters(), before, strict=True)),
        "The weights of the model have changed.\n"
        "Gradients are asked for, no step: who calls the optimizer, and when?",
    )
    found = [one.grad for one in model.parameters()]
    if any(one is None for one in found):
        a_number(result, "loss")
        raise CheckFailed(
            "Parameters of the model have no gradient afterwards.\n"
            "Is backward() called, and are gradients left alone after it?"
        )
    gradients = torch.cat([one.flatten() for one in found])
    if old:
        require(
            same(gradients, right, 1e-4),
            "The gradients that were there before are still in it.\n"
            "backward() adds to .grad: what must happen before the first part?",
        )
    return right, gradients, a_number(result, "loss"), events


EXERCISE = Exercise("accumulate", "finetune_bert", 3, check)
