"""The exercise ``contrastive``."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    same_shape,
    where,
)


def check(answer: Answer, draw: Draw) -> Held:
    """``contrastive(images, texts, log_temperature)``: both directions of a batch of pairs."""
    compared = Comparison(answer, _reference, MISTAKES)
    otherwise = (
        "The loss is {found:.4f}; it should be {right:.4f}, the mean of {across:.4f} from "
        "pictures to texts and {back:.4f} from texts to pictures."
    )

    def units() -> Call:
        pairs, width = draw.whole(3, 6), draw.whole(4, 7)
        vectors = (F.normalize(draw.normal(pairs, width), dim=-1) for _ in range(2))
        return Call(*vectors, torch.tensor(0.5))

    with where("For vectors of length 1 and a temperature of 1.65:"):
        compared.on(units, otherwise, facts=_facts)
    yield "each picture among all texts, and each text among all pictures"

    def colder() -> Call:
        images, texts, _ = units().arguments
        return Call(images, texts, torch.tensor(0.2 + draw.uniform()).log())

    with where("For vectors of length 1 and a temperature near 1:"):
        compared.on(colder, otherwise, facts=_facts)
    yield "similarities divided by the temperature"

    def longer() -> Call:
        images, texts, log_temperature = colder().arguments
        lengths = (0.3 + 3 * torch.rand(len(images), 1, generator=draw.generator) for _ in range(2))
        first, second = lengths
        return Call(first * images, second * texts, log_temperature)

    with where("For vectors of any length:"):
        compared.on(longer, otherwise, facts=_facts)
    yield "vectors of any length"
    answer.gradients(_reference, *longer().arguments)

    def cold_pairs() -> Call:
        """Two pairs alike, and two whose texts have changed places."""
        images = F.normalize(draw.normal(4, 6), dim=-1)
        texts = F.normalize(images + 0.1 * draw.normal(4, 6), dim=-1)[[0, 1, 3, 2]]
        return Call(images, texts, torch.tensor(0.005).log())

    with where("For a temperature of 0.005:"):
        Comparison(answer, _reference, MISTAKES, tolerance=1e-4).on(
            cold_pairs,
            otherwise,
            facts=_facts,
        )
    yield "gradients reach both and the temperature, and nothing overflows"


def _reference(images: Tensor, texts: Tensor, log_temperature: Tensor) -> Tensor:
    """Pair by pair, by the definition."""
    lengths = images.square().sum(-1).sqrt(), texts.square().sum(-1).sqrt()
    alike = torch.einsum("ie,je->ij", images, texts) / (lengths[0][:, None] * lengths[1])
    logits = alike / log_temperature.exp()
    losses = []
    for own in range(len(images)):
        losses.append(logits[own].logsumexp(0) - logits[own, own])
        losses.append(logits[:, own].logsumexp(0) - logits[own, own])
    return torch.stack(losses).mean()


def _facts(call: Call, result: Any) -> dict[str, Any]:
    images, texts, log_temperature = call.arguments
    logits = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T / log_temperature.exp()
    own = torch.arange(len(images))
    found = result.detach().float().flatten()
    return {
        "found": float(found[0]) if len(found) == 1 else float("nan"),
        "right": float(call.of(_reference)),
        "across": float(F.cross_entropy(logits, own)),
        "back": float(F.cross_entropy(logits.T, own)),
        "pairs": len(images),
        "shape": tuple(result.shape),
    }


# --- What learners write instead -----------------------------------------------------------------


def _units(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def _both(logits: Tensor) -> Tensor:
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def _with(
    loss: Callable[[Tensor], Tensor] = _both,
    *,
    image: Callable[[Tensor], Tensor] = _units,
    text: Callable[[Tensor], Tensor] = _units,
    divisor: Callable[[Tensor], Any] = torch.exp,
) -> Callable[..., Tensor]:
    """The answer with a part exchanged."""
    return lambda images, texts, log_temperature: loss(
        image(images) @ text(texts).T / divisor(log_temperature)
    )


def _own(logits: Tensor) -> Tensor:
    return torch.arange(len(logits))


def _without_the_own(logits: Tensor) -> Tensor:
    """The own pair is left out of the sum below."""
    hidden = logits.masked_fill(torch.eye(len(logits), dtype=torch.bool), -torch.inf)
    mine = logits.diagonal()
    return ((hidden.logsumexp(0) + hidden.logsumexp(1)) / 2 - mine).mean()


def _plain(loss: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """With exponentials that overflow."""
    return _with(loss)


def _by_exponentials(logits: Tensor) -> Tensor:
    powers = logits.exp()
    mine = powers.diagonal()
    return -((mine / powers.sum(0)).log() + (mine / powers.sum(1)).log()).mean() / 2


MISTAKES = [
    Mistake(
        _with(
            lambda logits: (
                (
                    F.cross_entropy(logits, _own(logits), reduction="none")
                    + F.cross_entropy(logits.T, _own(logits), reduction="none")
                )
                / 2
            )
        ),
        "Shape {shape}: a loss for each pair.\nWhat does a training step need?",
        alike=same_shape,
    ),
    Mistake(
        _with(lambda logits: F.cross_entropy(logits, _own(logits))),
        "Only one direction counts: each picture looks for its text.\nAnd each text?",
    ),
    Mistake(
        _with(lambda logits: F.cross_entropy(logits.T, _own(logits))),
        "Only one direction counts: each text looks for its picture.\nAnd each picture?",
    ),
    Mistake(
        _with(lambda logits: F.cross_entropy((logits + logits.T) / 2, _own(logits))),
        "The two tables of logits are averaged.\nEach direction has a softmax and a loss of its "
        "own; average those.",
    ),
    Mistake(
        lambda images, texts, log_temperature: _reference(images, images, log_temperature),
        "Pictures are compared with pictures.\nWhere do the texts come in?",
    ),
    Mistake(
        lambda images, texts, log_temperature: _reference(texts, texts, log_temperature),
        "Texts are compared with texts.\nWhere do the pictures come in?",
    ),
    Mistake(
        _with(lambda logits: F.cross_entropy(logits, torch.ones(len(logits)).long())),
        "The right class of every picture is the same, 1.\nWhich column belongs to row i?",
    ),
    Mistake(
        _with(divisor=lambda log: log.exp().clamp_min(0.01)),
        "Below a temperature of 0.01 nothing changes any more.\nIs there a clamp? Here "
        "similarities are divided by any temperature.",
    ),
    Mistake(
        _with(lambda logits: _both(logits) / 2),
        "The loss is half as large as it should be.\nIs the mean of two taken twice?",
    ),
    Mistake(
        _with(lambda logits: 2 * _both(logits)),
        "The two directions are added.\nTheir mean is asked for.",
    ),
    Mistake(
        _with(lambda logits: len(logits) * _both(logits)),
        "The losses of all pairs are added.\nTheir mean is asked for: else a larger batch means "
        "larger steps.",
    ),
    Mistake(
        _with(
            lambda logits: F.cross_entropy(
                logits.flatten()[None].expand(len(logits), -1),
                torch.arange(len(logits)) * (len(logits) + 1),
            )
        ),
        "All pairs of the batch are one softmax.\nEach picture chooses among the {pairs} texts "
        "by itself.",
    ),
    Mistake(
        _with(lambda logits: -logits.diagonal().mean()),
        "Only the pairs that belong together count.\nWhat keeps all vectors from becoming the "
        "same?",
    ),
    Mistake(
        _with(_without_the_own),
        "The own pair is left out of the sum over all.\nA softmax sums over every class, the right "
        "one too.",
    ),
    Mistake(
        _with(lambda logits: F.binary_cross_entropy_with_logits(logits, torch.eye(len(logits)))),
        "Each pair is judged by itself, right or wrong.\nHere a picture chooses one of the texts: "
        "a softmax.",
    ),
    Mistake(
        _with(lambda logits: (logits - torch.eye(len(logits))).square().mean()),
        "The similarities are compared with the identity matrix.\nHere a picture chooses one of "
        "the texts: a cross-entropy.",
    ),
    Mistake(
        _with(lambda logits: F.cross_entropy(logits, torch.eye(len(logits)).roll(1, 0))),
        "Each picture is to find the text of another pair.\nWhich column belongs to row i?",
    ),
    Mistake(
        _with(lambda logits: _both(logits.softmax(-1))),
        "There is a softmax before the cross-entropy, which has one itself.",
    ),
    Mistake(
        _with(lambda logits: _both(-logits)),
        "The sign is wrong: pairs that belong together are driven apart.",
    ),
    Mistake(
        _with(divisor=lambda log: (-log).exp()),
        "Similarities are multiplied by the temperature.\nA low temperature should sharpen.",
    ),
    Mistake(
        _with(divisor=lambda log: 1.0),
        "The temperature has no effect.\nWhere are the similarities divided by it?",
    ),
    Mistake(
        _with(divisor=lambda log: log),
        "Similarities are divided by the logarithm of the temperature.\nWhat is the temperature "
        "itself?",
    ),
    Mistake(
        _with(divisor=lambda log: log.exp().square()),
        "The temperature is divided by twice.",
    ),
    Mistake(
        _with(image=lambda x: x, text=lambda x: x),
        "The vectors are not scaled to length 1.\nThen a long vector is similar to everything.",
    ),
    Mistake(
        _with(image=lambda x: x),
        "The pictures' vectors are not scaled to length 1.",
    ),
    Mistake(
        _with(text=lambda x: x),
        "The texts' vectors are not scaled to length 1.",
    ),
    Mistake(
        _with(image=lambda x: F.normalize(x, dim=0), text=lambda x: F.normalize(x, dim=0)),
        "Every component is scaled over the batch.\nWhich axis is one vector?",
    ),
    Mistake(
        _with(image=lambda x: x / x.norm(), text=lambda x: x / x.norm()),
        "The batch as a whole is scaled to length 1.\nEvery row should be.",
    ),
    Mistake(
        _with(
            image=lambda x: x / x.square().sum(-1, keepdim=True),
            text=lambda x: x / x.square().sum(-1, keepdim=True),
        ),
        "Rows are divided by the square of their length.\nWhere is the root?",
    ),
    Mistake(
        _with(image=lambda x: x.softmax(-1), text=lambda x: x.softmax(-1)),
        "The vectors are turned into distributions.\nScale them to length 1.",
    ),
    Mistake(
        _with(divisor=lambda log: log.detach().exp()),
        "The result is right, but `log_temperature` gets no gradient.",
        compared=False,
    ),
    Mistake(
        _with(_by_exponentials),
        "There is NaN in the result.\nIs something 0 / 0, log(0), inf - inf, or an overflow?",
        compared=False,
    ),
]

EXERCISE = Exercise(
    "contrastive",
    "beyond_text",
    2,
    check,
    frozenset({"contrastive_loss", "attnlab.contrastive_loss"}),
    MISTAKES,
)
