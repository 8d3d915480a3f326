"""Exercise ``rollout``: how much of each input token reaches each token of the last layer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    CHANGES_TENSOR,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    require,
    same,
)

SUM_GROWS = "With 14 layers a row sums to {total:.3g}.\nWhat keeps the sum of a row at 1?"
TYPED_IN = (
    "Right for three layers and five tokens, wrong for 14 and 20.\n"
    "Is one of these numbers typed in?"
)

TINY = (
    "Right for large shares, wrong for tiny ones, each compared with its own size.\n"
    "Is there a threshold, a clamp, a round() or a small number that you add?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``rollout(weights)``: how much of each input token reaches each token of the last layer."""
    compared = Comparison(answer, reference, MISTAKES, read=_read)

    def weights(layers: int, heads: int, sharpness: int = 1) -> Callable[[], Call]:
        return lambda: Call(_rows_to_one(draw.weights(layers, heads, 5, 5) ** sharpness))

    compared.on(
        weights(layers=1, heads=1),
        "With one layer and one head the result is wrong.\n"
        "Half of it comes through the weights, half past them: is it that?",
    )
    yield "one head: half through the weights, half past them"

    compared.on(
        weights(layers=1, heads=3),
        "Right for one head; with several the result is wrong.\nAre they averaged?",
    )
    yield "several heads: their mean"

    compared.on(
        weights(layers=3, heads=2, sharpness=2),
        "Right for one layer; with three the result is wrong.\n"
        "Last layer times the one before, and so on down to the first: is it that?",
    )
    yield "several layers: later ones from the left"

    def tiny() -> Call:
        return Call(_rows_to_one(1e-8 * draw.weights(3, 2, 5, 5) + torch.eye(5)))

    compared.on(tiny, TINY, read=_relative, tolerance=1e-3)
    yield "tiny weights count, too"

    many = draw.weights(14, 12, 20, 20)
    result = a_tensor(answer(many), (20, 20), "rollout", array=True)
    total = result.sum(-1)
    require(same(total, torch.ones(20), 1e-4), SUM_GROWS.format(total=total[0].item()))
    require(same(result, reference(many), 1e-4), TYPED_IN)
    yield "any sizes, and every row still sums to 1"


def reference(weights: Tensor) -> Tensor:
    """The product of all layers at once; a layer's rows are divided by their sums."""
    steps = _rows_to_one(weights.mean(1) + torch.eye(weights.shape[-1]))
    return torch.linalg.multi_dot([*steps.flip(0)]) if len(steps) > 1 else steps[0]


def _read(result: Any, right: Tensor) -> Tensor:
    return a_tensor(result, tuple(right.shape), "rollout", array=True)


def _relative(result: Any, right: Tensor) -> Tensor:
    """Each share in units of the right one; none is 0."""
    return _read(result, right) / right


# --- What learners write instead -----------------------------------------------------------------


def _rolling(
    heads: Callable[[Tensor], Tensor] = lambda layer: layer.mean(0),
    step: Callable[[Tensor, Tensor], Tensor] = lambda mean, identity: (mean + identity) / 2,
    join: Callable[[Tensor, Tensor], Tensor] = lambda step, reached: step @ reached,
    layers: Callable[[Tensor], Tensor] = lambda weights: weights,
) -> Callable[[Tensor], Tensor]:
    """Rollout with a part exchanged."""

    def answer(weights: Tensor) -> Tensor:
        identity = torch.eye(weights.shape[-1])
        first, *later = (step(heads(layer), identity) for layer in layers(weights))
        reached = first
        for matrix in later:
            reached = join(matrix, reached)
        return reached

    return answer


_right = _rolling()


def _rows_to_one(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(-1, keepdim=True)


def _normalised_sum(mean: Tensor, identity: Tensor) -> Tensor:
    return _rows_to_one(mean + identity)


def _unchanged(mean: Tensor, identity: Tensor) -> Tensor:
    return mean


def _averaged_layers(weights: Tensor) -> Tensor:
    return torch.stack([_right(layer[None]) for layer in weights]).mean(0)


def _residual_at_the_end(weights: Tensor) -> Tensor:
    plain = _rolling(step=_unchanged)(weights)
    return (plain + torch.eye(len(plain))) / 2


def _first_layer_without_residual(weights: Tensor) -> Tensor:
    later = weights[1:]
    return _right(later) @ weights[0].mean(0) if len(later) else _right(weights)


def _first_layer_twice(weights: Tensor) -> Tensor:
    return _right(weights) @ _right(weights[:1]) if len(weights) > 1 else _right(weights)


def _not_halved_later(weights: Tensor) -> Tensor:
    """Right for three layers; in later ones the residual is not halved."""
    return _right(weights) * 2 ** max(len(weights) - 3, 0)


def _tiny_ones_dropped(weights: Tensor) -> Tensor:
    return _right(torch.where(weights < 1e-6, 0.0, weights))


def _at_least_a_little(weights: Tensor) -> Tensor:
    return _right(weights.clamp(min=1e-6))


def _added_in_place(weights: Tensor) -> Tensor:
    weights += torch.eye(weights.shape[-1])
    return _rolling(step=lambda mean, identity: mean / 2)(weights)


MISTAKES = [
    Mistake(
        _rolling(step=_unchanged),
        "With one layer and one head the weights come back as they are: the residual is missing.\n"
        "What does the layer add to the output of its heads?",
    ),
    Mistake(
        _rolling(step=lambda mean, identity: mean + identity),
        "The residual is added, but the rows now sum to 2.\n"
        "What share comes through the head, and what share beside it?",
    ),
    Mistake(
        _rolling(step=lambda mean, identity: _rows_to_one(mean + 1)),
        "1 is added everywhere, as if every token were carried past the layer to every other.\n"
        "Which matrix leaves a token as it is?",
    ),
    Mistake(
        _rolling(step=lambda mean, identity: (mean + 1) / 2),
        "1 is added everywhere, and the rows no longer sum to 1.\n"
        "Which matrix leaves a token as it is?",
    ),
    Mistake(
        lambda weights: _right(weights).T,
        "The result is transposed.\n"
        "A row belongs to a token that looks: which axis is that in the weights?",
    ),
    Mistake(
        _rolling(step=lambda mean, identity: (mean + identity) / (mean + identity).sum(0)),
        "The columns sum to 1, not the rows.\nOver which axis do you normalise?",
    ),
    Mistake(
        _rolling(heads=lambda layer: layer.sum(0), step=_normalised_sum),
        "The heads are added up, so that the residual has a smaller share.\n"
        "How do you take three heads for one?",
    ),
    Mistake(
        _rolling(heads=lambda layer: layer.sum(0)),
        "The heads are added up, and the rows no longer sum to 1.\n"
        "How do you take three heads for one?",
    ),
    Mistake(
        _rolling(heads=lambda layer: layer.amax(0), step=_normalised_sum),
        "For each pair of tokens only the strongest head counts.\n"
        "Is that their joint output, if each head has its share?",
    ),
    Mistake(
        _rolling(heads=lambda layer: layer.amax(0)),
        "For each pair of tokens only the strongest head counts, and the rows no longer sum to 1.\n"
        "Is that their joint output, if each head has its share?",
    ),
    Mistake(
        _rolling(heads=lambda layer: layer[0]),
        "Only the first head counts.\nWhere are the others?",
    ),
    Mistake(
        _rolling(heads=lambda layer: layer[-1]),
        "Only the last head counts.\nWhere are the others?",
    ),
    Mistake(
        _rolling(join=lambda step, reached: reached @ step),
        "The layers are multiplied in the wrong order.\n"
        "What the last layer looks at was made by the one before: which matrix stands on the left?",
    ),
    Mistake(
        _rolling(layers=lambda weights: weights[-1:]),
        "Only the last layer is there.\nOut of what are the tokens made that it looks at?",
    ),
    Mistake(
        _rolling(layers=lambda weights: weights[:1]),
        "Only the first layer is there.\nIs `return` inside the loop?",
    ),
    Mistake(
        _averaged_layers,
        "The layers are averaged.\n"
        "The second looks at what the first has made: how do two steps become one?",
    ),
    Mistake(
        _rolling(join=torch.mul),
        "The layers are multiplied number by number.\nWhich sign is the product of matrices?",
    ),
    Mistake(
        _residual_at_the_end,
        "The residual is added once, after all layers.\nWhich of the layers have one?",
    ),
    Mistake(
        _first_layer_without_residual,
        "The residual is missing in the first layer.\n"
        "With what do you begin, and does each layer have one?",
    ),
    Mistake(
        _first_layer_twice,
        "The first layer is there twice.\nWith what do you begin, and where does the loop begin?",
    ),
    Mistake(_tiny_ones_dropped, TINY, compared=False),
    Mistake(_at_least_a_little, TINY, compared=False),
    Mistake(_not_halved_later, SUM_GROWS, compared=False),
    Mistake(lambda weights: _right(weights[:3]), TYPED_IN, compared=False),
    Mistake(_added_in_place, CHANGES_TENSOR, compared=False),
]

EXERCISE = Exercise("rollout", "head_mixing", 1, check, frozenset({"rollout"}), MISTAKES)
