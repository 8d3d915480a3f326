"""Exercise ``answer_early``: texts leave as soon as the model is sure, and the others go on."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_pair,
    a_tensor,
    require,
    where,
)

Layer = Callable[[Tensor, Tensor], Tensor]
Exit = Callable[[Tensor], Tensor]

ALL_ROWS = (
    "The answers are right, but the layers saw {seen} texts; {needed} would do. Who has an answer "
    "is computed on all the same, and no time is won.\n"
    "What must be taken out of `hidden` and `mask` after each layer?"
)
NOBODY_LEFT = (
    "A layer is called with no text at all, when everybody has left.\nWhen can the loop end?"
)
ROWS_TWICE = (
    "The answers are right, but the layers saw {seen} texts; {needed} would do: there is work that "
    "is done twice.\nDoes each layer go on from what the one before has made?"
)
ONE_BY_ONE = (
    "The answers are right, but {layers} layers are called {calls} times: the batch is taken "
    "apart, and a batch is faster than its texts one by one.\n"
    "How can a layer take all texts at once that are still there?"
)
TURNED = "The layers come second.\nIn which order does the docstring name the two?"
VERY_SURE = (
    "A text of which the model is quite sure goes on: its entropy is NaN, which is below nothing.\n"
    "What is p log p where p is 0 in the computer, and what should it be?"
)
AT_ZERO = "With threshold 0 a text leaves early. No entropy is below 0.\nIs there a <= for <?"


@dataclass(frozen=True)
class Run:
    """What a function returned, and how many texts each layer saw."""

    result: Any
    rows: list[int]  # in the order of the calls


class Batch(Call):
    """Layers, heads and texts; ``sharpness`` is the factor of all logits."""

    def __init__(
        self,
        draw: Draw,
        texts: int,
        threshold: float | None = None,
        sharpness: float = 3,
        depth: int = 4,
    ):
        tokens, width, classes = 6, 5, draw.whole(3, 4)
        lengths = torch.tensor([draw.whole(2, tokens) for _ in range(texts)])
        self.mask = torch.arange(tokens) < lengths[:, None]
        self.mask = self.mask if draw.whole(0, 1) else self.mask.flip(1)  # padding in front
        self.hidden = draw.normal(texts, tokens, width)
        self.inner = draw.normal(depth, width, width) / width**0.5
        self.heads = sharpness * draw.normal(depth, classes, width)
        self.threshold = self._telling(draw) if threshold is None else threshold
        super().__init__(self.hidden, self.mask, self.threshold)

    def parts(self, rows: list[int]) -> tuple[list[Layer], list[Exit]]:
        """Layers that note how many texts they see, and heads."""

        def layer(weight: Tensor) -> Layer:
            def run(hidden: Tensor, mask: Tensor) -> Tensor:
                rows.append(len(hidden))
                share = mask.to(hidden.dtype)[..., None]
                mean = (hidden * share).sum(1, keepdim=True) / share.sum(1, keepdim=True)
                return hidden + torch.tanh(hidden @ weight + mean)

            return run

        def head(weight: Tensor) -> Exit:
            return lambda pooled: pooled @ weight.T

        return [layer(weight) for weight in self.inner], [head(weight) for weight in self.heads]

    def entropies(self) -> tuple[Tensor, Tensor]:
        """Entropies and highest probabilities, (layers, texts), if nobody leaves."""
        layers, exits = self.parts([])
        hidden, found = self.hidden, []
        for layer, head in zip(layers, exits, strict=True):
            hidden = layer(hidden, self.mask)
            found.append(head(_mean(hidden, self.mask)))
        logits = torch.stack(found)
        return _entropy(logits), logits.softmax(-1).amax(-1)

    def _telling(self, draw: Draw) -> float:
        """A threshold in the middle of the entropies, but near none of them."""
        entropies, _ = self.entropies()
        ordered = entropies[:-1].flatten().sort().values
        near = range(len(ordered) // 3, max(2 * len(ordered) // 3, len(ordered) // 3 + 1))
        gaps = [float(ordered[i + 1] - ordered[i]) if i + 1 < len(ordered) else 0.0 for i in near]
        best = near[gaps.index(max(gaps))]
        following = ordered[best + 1] if best + 1 < len(ordered) else ordered[best] + 0.1
        return float((ordered[best] + following) / 2)

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function answers, with layers of its own."""
        rows: list[int] = []
        layers, exits = self.parts(rows)
        return Run(function(layers, exits, self.hidden, self.mask, self.threshold), rows)


def check(answer: Answer, draw: Draw) -> Held:
    """``answer_early(layers, exits, hidden, mask, threshold)``: logits, and the layer of each."""
    compared = Comparison(answer, reference, MISTAKES, read=_logits_and_layers, tolerance=1e-4)
    otherwise = (
        "The answers are wrong for {wrong} of {texts} texts.\n"
        "After which layer does each leave, and whose answer does it get?"
    )
    with where("With threshold 0:"):
        compared.on(lambda: Batch(draw, 5, 0.0), otherwise, facts=_facts)
    yield "with threshold 0 all answer at the last layer"

    compared.on(lambda: _mixed(draw, 8), otherwise, facts=_facts)
    compared.on(lambda: _mixed(draw, 12, depth=6), otherwise, facts=_facts, draws=1)
    with where("For a single text:"):
        compared.on(lambda: _mixed(draw, 1), otherwise, facts=_facts)
    yield "each text leaves at the first layer that is sure, and answers stay in order"

    batches = [_mixed(draw, 8), Batch(draw, 5, 9.0), Batch(draw, 6, 0.0)]
    for batch in batches:
        rows, needed = batch.of(answer).rows, sum(batch.of(reference).rows)
        require(0 not in rows, NOBODY_LEFT)
        depth = len(batch.inner)
        told = ALL_ROWS if len(rows) <= depth else ROWS_TWICE
        require(sum(rows) <= needed, told.format(seen=sum(rows), needed=needed))
        require(len(rows) <= depth, ONE_BY_ONE.format(layers=depth, calls=len(rows)))
    yield "the layers see only those who are still there, as a batch"

    for threshold, told in ((0.1, VERY_SURE), (0.0, AT_ZERO)):
        with where(told):
            compared.on(
                functools.partial(Batch, draw, 5, threshold, sharpness=4000),
                otherwise,
                facts=_facts,
                read=_sure,
            )
    yield "very sure answers, too"


def reference(
    layers: Sequence[Layer], exits: Sequence[Exit], hidden: Tensor, mask: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Text by text."""
    answers, left = [], []
    for text in range(len(hidden)):
        state, real = hidden[text : text + 1], mask[text : text + 1]
        for number, (layer, head) in enumerate(zip(layers, exits, strict=True)):
            state = layer(state, real)
            logits = head(state[real].mean(0, keepdim=True))
            if _entropy(logits).item() < threshold or number == len(layers) - 1:
                answers.append(logits[0])
                left.append(number)
                break
    return torch.stack(answers), torch.tensor(left)


def _entropy(logits: Tensor) -> Tensor:
    return torch.special.entr(logits.softmax(-1)).sum(-1)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    share = mask.to(hidden.dtype)[..., None]
    return (hidden * share).sum(1) / share.sum(1)


def _mixed(draw: Draw, texts: int, depth: int = 4) -> Batch:
    """Texts that leave at different layers, of which some are needed to tell mistakes."""
    while True:
        batch = Batch(draw, texts, depth=depth)
        entropies, highest = batch.entropies()
        if (entropies - batch.threshold).abs().min() < 1e-3:
            continue
        left = _first_below(entropies, batch.threshold)
        if texts == 1:
            return batch
        moved = left.sort(stable=True).indices.tolist() != list(range(texts))
        others = (entropies / math.log(2), 1 - highest)  # of which mistakes take the wrong one
        told = all(not left.equal(_first_below(other, batch.threshold)) for other in others)
        if moved and told and len(left.unique()) >= 3 and left.max() == len(batch.inner) - 1:
            return batch


def _first_below(entropies: Tensor, threshold: float) -> Tensor:
    """The first layer whose number is below the threshold, or the last layer, for each text."""
    sure = entropies < threshold
    sure[-1] = True
    return sure.int().argmax(0)


def _logits_and_layers(run: Run, right: Run) -> list[Tensor]:
    """The logits, and the numbers of the layers."""
    logits, left = a_pair(run.result, "logits", "layers")
    shapes = [tuple(part.shape) for part in right.result]
    if isinstance(logits, Tensor) and isinstance(left, Tensor):
        require([tuple(left.shape), tuple(logits.shape)] != shapes, TURNED)
    if isinstance(left, list | tuple):
        left = torch.tensor([int(number) for number in left])
    logits = a_tensor(logits, shapes[0], "logits")
    return [logits.detach(), a_tensor(left, shapes[1], "layers", array=True).double()]


def _sure(run: Run, right: Run) -> list[Tensor]:
    """The layers only: logits are too large to compare."""
    return _logits_and_layers(run, right)[1:]


def _facts(call: Call, run: Run) -> dict[str, Any]:
    right = call.of(reference)
    wrong = [
        not torch.allclose(mine, theirs, rtol=1e-3, atol=1e-3)
        for mine, theirs in zip(run.result[0], right.result[0], strict=False)
    ]
    return {"wrong": sum(wrong), "texts": len(wrong)}


# --- What learners write instead -----------------------------------------------------------------


def _leaving(
    pooled: Callable[[Tensor, Tensor], Tensor] = _mean,
    entropy: Callable[[Tensor], Tensor] = _entropy,
    sure: Callable[[Tensor, float], Tensor] = lambda entropy, threshold: entropy < threshold,
    all_at_last: bool = True,
    number: Callable[[int], int] = lambda layer: layer,
    into: Callable[[Tensor, Tensor], Tensor] = lambda here, leave: here[leave],
    ends: bool = True,
    before: bool = False,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Early exit with a part exchanged."""

    def answer(
        layers: Sequence[Layer],
        exits: Sequence[Exit],
        hidden: Tensor,
        mask: Tensor,
        threshold: float,
    ) -> tuple[Tensor, Tensor]:
        here = torch.arange(len(hidden))
        answers = exits[0](hidden[:, 0]) * 0
        left = torch.full((len(hidden),), number(len(layers) - 1))
        for depth, (layer, head) in enumerate(zip(layers, exits, strict=True)):
            if ends and len(here) == 0:
                break
            given, hidden = hidden, layer(hidden, mask)
            logits = head(pooled(given if before else hidden, mask))
            leave = sure(entropy(logits), threshold)
            if all_at_last and depth == len(layers) - 1:
                leave = torch.ones_like(leave)
            answers[into(here, leave)] = logits[leave]
            left[into(here, leave)] = number(depth)
            here, hidden, mask = here[~leave], hidden[~leave], mask[~leave]
        return answers, left

    return answer


_right = _leaving()


def _in_order_of_leaving(*given: Any) -> tuple[Tensor, Tensor]:
    logits, left = _right(*given)
    order = left.sort(stable=True).indices
    return logits[order], left[order]


def _everybody_goes_on(
    layers: Sequence[Layer], exits: Sequence[Exit], hidden: Tensor, mask: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    answers, left = exits[0](hidden[:, 0]), torch.full((len(hidden),), -1)
    for depth, (layer, head) in enumerate(zip(layers, exits, strict=True)):
        hidden = layer(hidden, mask)
        logits = head(_mean(hidden, mask))
        leave = (left < 0) & ((_entropy(logits) < threshold) | (depth == len(layers) - 1))
        answers = torch.where(leave[:, None], logits, answers)
        left[leave] = depth
    return answers, left


def _from_the_start(
    layers: Sequence[Layer], exits: Sequence[Exit], hidden: Tensor, mask: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    def to(depth: int, state: Tensor, mask: Tensor) -> Tensor:
        for layer in layers[: depth + 1]:
            state = layer(state, mask)
        return state

    answers, left = exits[0](hidden[:, 0]) * 0, torch.full((len(hidden),), -1)
    for depth, head in enumerate(exits):
        here = (left < 0).nonzero()[:, 0]
        if not len(here):
            break
        logits = head(_mean(to(depth, hidden[here], mask[here]), mask[here]))
        leave = (_entropy(logits) < threshold) | (depth == len(layers) - 1)
        answers[here[leave]], left[here[leave]] = logits[leave], depth
    return answers, left


def _one_by_one(
    layers: Sequence[Layer], exits: Sequence[Exit], hidden: Tensor, mask: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    logits, left = zip(
        *(
            _right(layers, exits, hidden[text : text + 1], mask[text : text + 1], threshold)
            for text in range(len(hidden))
        ),
        strict=True,
    )
    return torch.cat(logits), torch.cat(left)


def _as_one(entropy: Tensor, threshold: float) -> Tensor:
    together = entropy.mean() < threshold if len(entropy) else torch.tensor(False)
    return together.expand(len(entropy)).clone()


def _naive_entropy(logits: Tensor) -> Tensor:
    shares = logits.softmax(-1)
    return -(shares * shares.log()).sum(-1)


def _last_layers_answer(
    layers: Sequence[Layer], exits: Sequence[Exit], hidden: Tensor, mask: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    _, left = _right(layers, exits, hidden, mask, threshold)
    return _right(layers, exits, hidden, mask, 0.0)[0], left


WHO_LEAVES = "Which entropy belongs to a sure answer, a large one or a small one?"
MISTAKES = [
    Mistake(
        _leaving(sure=lambda entropy, threshold: entropy > threshold),
        f"Those leave who are unsure, and the sure ones go on.\n{WHO_LEAVES}",
    ),
    Mistake(
        _leaving(number=lambda layer: layer + 1),
        "The layers count from 1.\nWhich number has the first of them in a list?",
    ),
    Mistake(
        _leaving(pooled=lambda hidden, mask: hidden[:, 0]),
        "The heads get the first token.\nOf which tokens do they expect the mean?",
    ),
    Mistake(
        _leaving(pooled=lambda hidden, mask: hidden.mean(1)),
        "The heads get the mean of all tokens, padding included.\nWhich tokens does `mask` mark?",
    ),
    Mistake(
        _leaving(pooled=lambda hidden, mask: (hidden * mask[..., None]).mean(1)),
        "The sum of the real tokens is divided by the number of all tokens.\n"
        "By what must it be divided?",
    ),
    Mistake(
        _leaving(before=True),
        "Each head is given what went into its layer.\nAfter which layer does head i answer?",
    ),
    Mistake(
        _leaving(entropy=lambda logits: _entropy(logits) / math.log(2)),
        "The entropy is in bits.\nWhich logarithm gives nats?",
    ),
    Mistake(
        _leaving(entropy=lambda logits: 1 - logits.softmax(-1).amax(-1)),
        "Those leave whose highest probability is large enough.\n"
        "What is the entropy of the whole answer?",
    ),
    Mistake(
        _leaving(all_at_last=False),
        "Who is unsure to the end gets no answer.\nWho leaves at the last layer?",
    ),
    Mistake(
        _last_layers_answer,
        "A text that left early gets the answer of the last layer.\nWhere is its answer kept?",
    ),
    Mistake(
        _leaving(sure=_as_one),
        "The batch leaves as one, when it is sure on average.\nWhich texts may leave alone?",
    ),
    Mistake(
        _in_order_of_leaving,
        "The answers stand in the order in which the texts left.\n"
        "How do you know which row of the batch a text was, once others are gone?",
    ),
    Mistake(
        _leaving(into=lambda here, leave: leave.nonzero()[:, 0]),
        "Answers go to the wrong texts: once some have left, row 0 is another one.\n"
        "How do you know which row of the batch a text was?",
    ),
    Mistake(lambda *given: _right(*given)[::-1], TURNED, compared=False),
    Mistake(_everybody_goes_on, ALL_ROWS, compared=False),
    Mistake(_from_the_start, ROWS_TWICE, compared=False),
    Mistake(_one_by_one, ONE_BY_ONE, compared=False),
    Mistake(_leaving(ends=False), NOBODY_LEFT, compared=False),
    Mistake(_leaving(entropy=_naive_entropy), VERY_SURE, compared=False),
    Mistake(
        _leaving(sure=lambda entropy, threshold: entropy <= threshold), AT_ZERO, compared=False
    ),
]

EXERCISE = Exercise("answer_early", "compression", 3, check, mistakes=MISTAKES)
