"""Check of ``head_importance``."""

from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    compare,
    require,
    some_numbers,
)


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``head_importance(loss_of, batches, layers, heads)``: what silencing each head would cost, "
    "roughly."""
    layers, heads, losses, (batch,) = _scaled_model(draw, [4])
    gradients = _sentence_gradients(losses, batch, torch.ones(layers, heads))
    right = -gradients.mean(0)

    def without_each_head() -> Tensor:
        ones = torch.ones(layers * heads)
        silent = (ones - torch.eye(layers * heads)).view(-1, layers, heads)
        cost = [
            (losses(one, batch) - losses(ones.view(layers, heads), batch)).mean() for one in silent
        ]
        return torch.stack(cost).view(layers, heads)

    found, calls = _importance(answer, losses, [batch], layers, heads)
    compare(
        found,
        right,
        {
            "The sign is turned: heads that help have negative importance.\n"
            "The gradient says what a *larger* scale does to the loss. What does silence do?": (
                lambda: -right
            ),
            "All values are positive: the absolute value is taken.\n"
            "Can you still tell heads that help from heads that harm?": right.abs,
            "The absolute value is taken for each sentence: heads whose effects cancel look "
            "important.\n"
            "What would silencing such a head do to the mean loss?": (
                lambda: gradients.abs().mean(0)
            ),
            "The gradients are squared.\nDo they still say by how much the loss would change?": (
                lambda: right**2
            ),
            "The gradient is taken at scale 0, where all heads are silent.\n"
            "At which scale does the model run that you ask about?": (
                lambda: -_sentence_gradients(losses, batch, torch.zeros(layers, heads)).mean(0)
            ),
            "It is the sum over the sentences; a mean is asked for.\n"
            "loss_of gives a mean already: is it multiplied, and never divided?": (
                lambda: -gradients.sum(0)
            ),
            "The heads are really silenced, one after another. That is what the gradient "
            "estimates, in "
            "one pass for all heads.\nWhat does backward() leave in the .grad of the scales?": (
                without_each_head
            ),
            "The mean is divided by the number of sentences once more.\n"
            "What has loss_of done already?": lambda: right / len(batch),
        },
        _once(calls, 1)
        or "For a single batch the importances are wrong.\n"
        "Is it minus the gradient of the mean loss, with all scales at 1?",
        tolerance=1e-4,
    )
    require(calls <= 1, _once(calls, 1))
    yield "one batch: minus the gradient at scale 1, with its sign"

    sizes = [4, 2, 5]
    layers, heads, losses, batches = _scaled_model(draw, sizes)
    means = [_sentence_gradients(losses, one, torch.ones(layers, heads)).mean(0) for one in batches]
    weighted = [-size / sum(sizes) * mean for size, mean in zip(sizes, means, strict=True)]
    so_far = torch.stack(means).cumsum(0)
    found, calls = _importance(answer, losses, batches, layers, heads)
    compare(
        found,
        sum(weighted),
        {
            "The means of the batches are averaged: in a small batch each sentence counts for "
            "more.\n"
            "What share of all sentences does each batch hold?": lambda: -sum(means) / len(sizes),
            "The means of the batches are added up.\n"
            "What share of all sentences does each batch hold?": lambda: -sum(means),
            "Only the last batch counts.\n"
            "Is something started anew for each batch that should be added up?": lambda: -means[-1],
            "Only the last batch counts, and only its share.\n"
            "Is there a = in the loop where += should be?": lambda: weighted[-1],
            "Only the first batch counts.\nIs `return` inside the loop?": lambda: -means[0],
            "The gradients of earlier batches are still in .grad when you add it: they count "
            "again and again.\n"
            "backward() adds: what must happen before the next batch, or what need you not add?": (
                lambda: (
                    -sum(size / sum(sizes) * one for size, one in zip(sizes, so_far, strict=True))
                )
            ),
        },
        _once(calls, 3)
        or "Right for one batch; for several of unequal size the importances are wrong.\n"
        "A mean over all sentences: what does each batch add to it?",
        tolerance=1e-4,
    )
    require(calls <= len(sizes), _once(calls, 3))
    yield "several batches: every sentence counts the same"


Losses = Callable[[Tensor, Tensor], Tensor]


def _scaled_model(draw: Draw, sizes: Sequence[int]) -> tuple[int, int, Losses, list[Tensor]]:
    """A tiny model whose heads have scales, and batches on which some heads help and some harm."""
    layers, heads, width = 2, 3, 4
    while True:
        weights, readout = draw.normal(layers, heads, width, width), draw.normal(width)

        def losses(scale: Tensor, batch: Tensor, weights=weights, readout=readout) -> Tensor:
            """The loss of each sentence, (N,)."""
            x = batch
            for layer in range(layers):
                x = x + torch.einsum("h,hnd->nd", scale[layer], torch.tanh(x @ weights[layer]))
            return F.softplus(-x @ readout / 2)

        batches = [draw.normal(size, width) + place for place, size in enumerate(sizes)]
        each = _sentence_gradients(losses, torch.cat(batches), torch.ones(layers, heads))
        mean = each.mean(0)
        if min(mean.max(), -mean.min()) > 0.02 and mean.abs().max() < 1:
            return layers, heads, losses, batches


def _sentence_gradients(losses: Losses, batch: Tensor, scale: Tensor) -> Tensor:
    """The gradient of each sentence's loss, (N, L, H)."""
    scale = scale.clone().requires_grad_()
    each = losses(scale, batch)
    return torch.stack([torch.autograd.grad(one, scale, retain_graph=True)[0] for one in each])


def _importance(
    answer: Answer, losses: Losses, batches: list[Tensor], layers: int, heads: int
) -> tuple[Tensor, int]:
    """The answer's importances (L, H), and how often it asked for a loss."""
    calls = 0

    def loss_of(scale: Tensor, batch: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        require(
            isinstance(scale, Tensor) and tuple(scale.shape) == (layers, heads),
            "loss_of was called with something else than a tensor of scales (layers, heads).\n"
            "In which order does it take scale and batch?",
        )
        require(
            isinstance(batch, Tensor) and batch.dim() == 2,
            "loss_of was called with something else than one of the batches.\n"
            "Is there a loop over them?",
        )
        return losses(scale, batch).mean()

    try:
        result = answer(loss_of, batches, layers, heads)
    except CheckFailed as problem:
        if "does not require grad" not in str(problem):
            raise
        raise CheckFailed(
            "The loss knows nothing of the scales: no gradient comes back to them.\n"
            "Do they have requires_grad=True, and is there a no_grad() or detach() around?"
        ) from None
    return some_numbers(result, (layers, heads), "importance"), calls


def _once(calls: int, batches: int) -> str:
    """What to say of more calls than batches; nothing where there are not."""
    if calls <= batches:
        return ""
    return (
        f"loss_of is called {calls} times for {batches} batch{'es' * (batches > 1)}. "
        "One pass through a batch gives the gradients of all heads.\n"
        "Is there a loop over heads or sentences that backward() makes needless?"
    )


EXERCISE = Exercise("head_importance", "head_mixing", 3, check)
