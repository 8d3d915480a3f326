"""Check of ``rollout``."""

from collections.abc import Generator

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Draw,
    Exercise,
    compare,
    require,
    same,
)


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``rollout(weights)``: how much of each input token reaches each token of the last layer."""
    tokens = 5
    itself = torch.eye(tokens)
    weights = draw.weights(1, 1, tokens, tokens)
    one = weights[0, 0]
    compare(
        answer.tensor(weights, shape=(tokens, tokens), what="rollout"),
        (one + itself) / 2,
        {
            "With one layer and one head the weights come back as they are: the residual is "
            "missing.\n"
            "What does the layer add to what its heads bring?": lambda: one,
            "The residual is added, but the rows now sum to 2.\n"
            "What share comes through the head, and what share beside it?": lambda: one + itself,
            "1 is added everywhere, as if every token were carried past the layer to every other.\n"
            "Which matrix leaves a token where it is?": lambda: (one + 1) / (1 + tokens),
            "1 is added everywhere, and the rows no longer sum to 1.\n"
            "Which matrix leaves a token where it is?": lambda: (one + 1) / 2,
            "The result is transposed.\nA row belongs to a token that looks: which axis is that "
            "in the weights?": (lambda: (one.T + itself) / 2),
            "The columns sum to 1, not the rows.\nOver which axis do you normalise?": (
                lambda: (one + itself) / (one + itself).sum(0)
            ),
        },
        "With one layer and one head the result is wrong.\n"
        "Half of it comes through the weights, half past them: is it that?",
    )
    yield "one head: half through the weights, half past them"

    weights = draw.weights(1, 3, tokens, tokens)
    (layer,) = weights

    def rows(one: Tensor) -> Tensor:
        return one / one.sum(-1, keepdim=True)

    compare(
        answer.tensor(weights, shape=(tokens, tokens), what="rollout"),
        (layer.mean(0) + itself) / 2,
        {
            "The heads are added up, so that the residual has a smaller share.\n"
            "How do you take three heads for one?": lambda: rows(layer.sum(0) + itself),
            "The heads are added up, and the rows no longer sum to 1.\n"
            "How do you take three heads for one?": lambda: (layer.sum(0) + itself) / 2,
            "At each place only the strongest head counts.\n"
            "Is that what they bring together, if each has its share?": (
                lambda: rows(layer.amax(0) + itself)
            ),
            "At each place only the strongest head counts, and the rows no longer sum to 1.\n"
            "Is that what they bring together, if each has its share?": (
                lambda: (layer.amax(0) + itself) / 2
            ),
            "Only the first head counts.\nWhere are the others?": lambda: (layer[0] + itself) / 2,
            "Only the last head counts.\nWhere are the others?": lambda: (layer[-1] + itself) / 2,
        },
        "Right for one head; with several the result is wrong.\nAre they averaged?",
    )
    yield "several heads: their mean"

    weights = draw.weights(3, 2, tokens, tokens) ** 2
    weights = rows(weights)
    first, second, third = steps = (weights.mean(1) + itself) / 2
    plain = weights.mean(1)
    compare(
        answer.tensor(weights, shape=(tokens, tokens), what="rollout"),
        third @ second @ first,
        {
            "The layers are multiplied in the wrong order.\n"
            "What the last layer looks at was made by the one before: which matrix stands on the "
            "left?": (lambda: first @ second @ third),
            "Only the last layer is there.\nOut of what are the tokens made that it looks at?": (
                lambda: third
            ),
            "Only the first layer is there.\nIs `return` inside the loop?": lambda: first,
            "The layers are averaged.\n"
            "The second looks at what the first has made: how do two steps become one?": (
                lambda: steps.mean(0)
            ),
            "The layers are multiplied number by number.\nWhich sign is the product of matrices?": (
                lambda: steps.prod(0)
            ),
            "The residual is added once, after all layers.\nWhich of the layers have one?": lambda: (
                (plain[2] @ plain[1] @ plain[0] + itself) / 2
            ),
            "The residual is missing in the first layer.\n"
            "With what do you begin, and does each layer have one?": lambda: (
                third @ second @ plain[0]
            ),
            "The first layer is there twice.\n"
            "With what do you begin, and where does the loop begin?": lambda: (
                third @ second @ first @ first
            ),
        },
        "Right for one layer; with three the result is wrong.\n"
        "Last layer times the one before, and so on down to the first: is it that?",
    )
    yield "several layers: later ones from the left"

    weights = draw.weights(6, 4, 9, 9)
    result = answer.tensor(weights, shape=(9, 9), what="rollout")
    total = result.sum(-1)
    require(
        same(total, torch.ones(9), 1e-4),
        f"With six layers a row sums to {total[0].item():.3g}.\nWhat keeps the sum of a row at 1?",
    )
    right = torch.linalg.multi_dot(list((weights.mean(1) + torch.eye(9)).flip(0) / 2))
    require(
        same(result, right, 1e-4),
        "Right for three layers and five tokens, wrong for six and nine.\nIs one of these numbers "
        "typed in?",
    )
    yield "any sizes, and every row still sums to 1"


EXERCISE = Exercise("rollout", "head_mixing", 1, check, frozenset({"rollout"}))
