"""Exercise ``head_importance``: what silencing each head would cost, estimated by gradients."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
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
    require,
    some_numbers,
)

Losses = Callable[[Tensor, Tensor], Tensor]  # of scale (L, H) and sentences (N, D): (N,)
LossOf = Callable[[Tensor, Tensor], Tensor]  # their mean

TOO_MANY_CALLS = (
    "loss_of is called {calls} times for {batches}. "
    "One pass through a batch gives the gradients of all heads.\n"
    "Is there a loop over heads or sentences that backward() makes needless?"
)
NO_SCALES = (
    "loss_of was called with something else than a tensor of scales (layers, heads).\n"
    "In which order does it take scale and batch?"
)
NO_BATCH = (
    "loss_of was called with something else than one of the batches.\nIs there a loop over them?"
)
SCALES_LOST = (
    "The loss knows nothing of the scales: no gradient comes back to them.\n"
    "Do they have requires_grad=True, and is there a no_grad() or detach() around?"
)


@dataclass(frozen=True)
class Run:
    """What a function returned, how often it asked for a loss, and the unit of the loss."""

    result: Any
    calls: int
    unit: float


class Model(Call):
    """A model whose heads have scales, batches for it, and a unit for its loss."""

    def __init__(
        self, losses: Losses, batches: Sequence[Tensor], layers: int, heads: int, unit: float
    ):
        super().__init__(batches, layers, heads)
        self.unit = unit
        self.losses, self.batches = losses, list(batches)
        self.layers, self.heads = layers, heads

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function makes of the model."""
        calls = 0

        def loss_of(scale: Tensor, batch: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            shape = (self.layers, self.heads)
            require(isinstance(scale, Tensor) and tuple(scale.shape) == shape, NO_SCALES)
            require(isinstance(batch, Tensor) and batch.dim() == 2, NO_BATCH)
            return self.losses(scale, batch).mean() * self.unit

        try:
            result = function(loss_of, self.batches, self.layers, self.heads)
            return Run(result, calls, self.unit)
        except CheckFailed as problem:
            if "does not require grad" not in str(problem):
                raise
            raise CheckFailed(SCALES_LOST) from None


def check(answer: Answer, draw: Draw) -> Held:
    """``head_importance(loss_of, batches, layers, heads)``: what silencing each head would cost."""
    units = itertools.cycle([1.0, 1e-7, 1e4])  # small and large losses, too
    compared = Comparison(answer, reference, MISTAKES, read=_read, tolerance=1e-4)
    for sizes, otherwise, held in (
        (
            [4],
            "For a single batch the importances are wrong.\n"
            "Is it minus the gradient of the mean loss, with all scales at 1?",
            "one batch: minus the gradient at scale 1, with its sign",
        ),
        (
            [4, 1, 5],
            "Right for one batch; for several of unequal size the importances are wrong.\n"
            "A mean over all sentences: what does each batch add to it?",
            "several batches: every sentence counts the same",
        ),
    ):

        def facts(call: Call, run: Run, otherwise: str = otherwise) -> dict[str, str]:
            return {"problem": _needless_calls(run, call) or otherwise}

        def model(sizes: Sequence[int] = sizes) -> Model:
            return _model(draw, sizes, next(units))

        compared.on(model, "{problem}", facts=facts)
        call = _model(draw, sizes, 1.0)
        told = _needless_calls(call.of(answer), call)
        require(not told, told)
        yield held


def reference(
    loss_of: LossOf, batches: Sequence[Tensor], layers: int, heads: int
) -> list[list[float]]:
    """Minus the slope of the mean loss over all sentences, sentence by sentence, head by head."""
    scale = torch.ones(layers, heads, requires_grad=True)
    sentences = torch.cat(list(batches))
    mean = torch.stack([loss_of(scale, sentence[None]) for sentence in sentences]).mean()
    return (-torch.autograd.grad(mean, scale)[0]).tolist()


def _model(draw: Draw, sizes: Sequence[int], unit: float) -> Model:
    """A tiny model, and batches on which some of its heads help and some harm."""
    layers, heads, width = 2, draw.whole(3, 4), 4
    while True:
        weights, readout = draw.normal(layers, heads, width, width), draw.normal(width)

        def losses(
            scale: Tensor, batch: Tensor, weights: Tensor = weights, readout: Tensor = readout
        ) -> Tensor:
            for layer in range(layers):
                outputs = torch.tanh(batch @ weights[layer])
                batch = batch + torch.einsum("h,hnd->nd", scale[layer], outputs)
            return F.softplus(-batch @ readout / 2)

        batches = [draw.normal(size, width) + index for index, size in enumerate(sizes)]
        scale = torch.ones(layers, heads, requires_grad=True)
        mean = torch.autograd.grad(losses(scale, torch.cat(batches)).mean(), scale)[0]
        if min(mean.max(), -mean.min()) > 0.02 and mean.abs().max() < 1:
            return Model(losses, batches, layers, heads, unit)


def _read(run: Run, right: Run) -> Tensor:
    shape = (len(right.result), len(right.result[0]))
    return some_numbers(run.result, shape, "importance") / run.unit


def _needless_calls(run: Run, call: Call) -> str:
    """What to say of more calls than batches; nothing where there are not."""
    batches = len(call.arguments[0])
    if run.calls <= batches:
        return ""
    counted = f"{batches} batch" + "es" * (batches > 1)
    return TOO_MANY_CALLS.format(calls=run.calls, batches=counted)


# --- What learners write instead -----------------------------------------------------------------


def _gradient(
    loss_of: LossOf, batch: Tensor, layers: int, heads: int, scale: float = 1.0
) -> Tensor:
    scales = torch.full((layers, heads), scale, requires_grad=True)
    return torch.autograd.grad(loss_of(scales, batch), scales)[0]


def _weighing(
    of_batch: Callable[[Tensor], Tensor] = torch.neg,
    share: Callable[[int, int, int], float] = lambda size, sentences, batches: size / sentences,
    scale: float = 1.0,
    join: Callable[[list[Tensor]], Any] = sum,
) -> Callable[..., Tensor]:
    """Importance with a part exchanged."""

    def answer(loss_of: LossOf, batches: Sequence[Tensor], layers: int, heads: int) -> Tensor:
        sentences = sum(map(len, batches))
        return join(
            [
                of_batch(_gradient(loss_of, batch, layers, heads, scale))
                * share(len(batch), sentences, len(batches))
                for batch in batches
            ]
        )

    return answer


_right = _weighing()


def _by_sentence(change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """The mean of something made of each sentence's gradient."""

    def answer(loss_of: LossOf, batches: Sequence[Tensor], layers: int, heads: int) -> Tensor:
        gradients = [
            change(_gradient(loss_of, sentence[None], layers, heads))
            for batch in batches
            for sentence in batch
        ]
        return torch.stack(gradients).mean(0)

    return answer


def _small_ones_dropped(
    loss_of: LossOf, batches: Sequence[Tensor], layers: int, heads: int
) -> Tensor:
    importance = _right(loss_of, batches, layers, heads)
    return torch.where(importance.abs() < 1e-6, 0.0, importance)


def _silenced_one_by_one(
    loss_of: LossOf, batches: Sequence[Tensor], layers: int, heads: int
) -> Tensor:
    total, sentences = torch.zeros(layers * heads), sum(map(len, batches))
    for batch in batches:
        neutral = loss_of(torch.ones(layers, heads), batch)
        for head in range(layers * heads):
            scale = torch.ones(layers * heads)
            scale[head] = 0
            change = loss_of(scale.view(layers, heads), batch) - neutral
            total[head] += float(change) * len(batch) / sentences
    return total.view(layers, heads)


def _never_cleared(loss_of: LossOf, batches: Sequence[Tensor], layers: int, heads: int) -> Tensor:
    scale = torch.ones(layers, heads, requires_grad=True)
    total, sentences = torch.zeros(layers, heads), sum(map(len, batches))
    for batch in batches:
        loss_of(scale, batch).backward()
        assert scale.grad is not None
        total -= scale.grad * len(batch) / sentences
    return total


def _without_gradients(
    loss_of: LossOf, batches: Sequence[Tensor], layers: int, heads: int
) -> Tensor:
    with torch.no_grad():
        return _right(loss_of, batches, layers, heads)


MISTAKES = [
    Mistake(
        _weighing(of_batch=torch.clone),
        "The sign is turned: heads that help have negative importance.\n"
        "The gradient says what a *larger* scale does to the loss. What does silence do?",
    ),
    Mistake(
        _weighing(of_batch=torch.abs),
        "All values are positive: the absolute value is taken.\n"
        "Can you still tell heads that help from heads that harm?",
    ),
    Mistake(
        _by_sentence(torch.abs),
        "The absolute value is taken for each sentence: heads whose effects cancel look "
        "important.\nWhat would silencing such a head do to the mean loss?",
    ),
    Mistake(
        _weighing(of_batch=torch.square),
        "The gradients are squared.\nDo they still say by how much the loss would change?",
    ),
    Mistake(
        _weighing(scale=0.0),
        "The gradient is taken at scale 0, where all heads are silent.\n"
        "At which scale does the model run that you ask about?",
    ),
    Mistake(
        _weighing(share=lambda size, sentences, batches: size),
        "It is the sum over the sentences; a mean is asked for.\n"
        "loss_of gives a mean already: is it multiplied, and never divided?",
    ),
    Mistake(
        _silenced_one_by_one,
        "The heads are really silenced, one after another. That is what the gradient estimates, in "
        "one pass for all heads.\nWhat does backward() leave in the .grad of the scales?",
    ),
    Mistake(
        _weighing(share=lambda size, sentences, batches: 1 / sentences),
        "The mean is divided by the number of sentences once more.\nWhat has loss_of done already?",
    ),
    Mistake(
        _weighing(share=lambda size, sentences, batches: 1 / batches),
        "The means of the batches are averaged: in a small batch each sentence counts for more.\n"
        "What share of all sentences does each batch hold?",
    ),
    Mistake(
        _weighing(share=lambda size, sentences, batches: 1),
        "The means of the batches are added up.\nWhat share of all sentences does each batch hold?",
    ),
    Mistake(
        lambda loss_of, batches, layers, heads: _right(loss_of, batches[-1:], layers, heads),
        "Only the last batch counts.\n"
        "Is something started anew for each batch that should be added up?",
    ),
    Mistake(
        _weighing(join=lambda parts: parts[-1]),
        "Only the last batch counts, and only its share.\n"
        "Is there a = in the loop where += should be?",
    ),
    Mistake(
        lambda loss_of, batches, layers, heads: _right(loss_of, batches[:1], layers, heads),
        "Only the first batch counts.\nIs `return` inside the loop?",
    ),
    Mistake(
        _never_cleared,
        "The gradients of earlier batches are still in .grad when you add it: they count again and "
        "again.\nbackward() adds: what must happen before the next batch, or what need you not "
        "add?",
    ),
    Mistake(
        _small_ones_dropped,
        "Where the loss is small, all importances are 0.\n"
        "Is there a threshold, or a round()? A small number says which heads help, too.",
    ),
    Mistake(_by_sentence(torch.neg), TOO_MANY_CALLS, compared=False),
    Mistake(
        lambda loss_of, batches, layers, heads: _right(loss_of, batches, heads, layers),
        NO_SCALES,
        compared=False,
    ),
    Mistake(
        lambda loss_of, batches, layers, heads: -_gradient(loss_of, batches, layers, heads),
        NO_BATCH,
        compared=False,
    ),
    Mistake(_without_gradients, SCALES_LOST, compared=False),
]

EXERCISE = Exercise("head_importance", "head_mixing", 3, check, mistakes=MISTAKES, ours=_right)
