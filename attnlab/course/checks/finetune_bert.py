"""Checks of lesson 05, fine-tuning BERT."""

import contextlib
import functools
import numbers
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    Unwritten,
    a_list,
    a_number,
    a_pair,
    a_tensor,
    compare,
    require,
    same,
    where,
)

Held = Generator[str, None, None]
Part = tuple[Tensor, Tensor]


# --- pad_batch -----------------------------------------------------------------------------------


def pad_batch(answer: Answer, draw: Draw) -> Held:
    """``pad_batch(rows, pad_id)``: token ids and mask of texts of different lengths, as two tensors."""
    row, pad_id = [draw.whole(1000, 9000) for _ in range(5)], draw.whole(1, 9)
    ids, mask = _padded(answer, [row], pad_id, (1, 5))
    require(
        ids.dtype == torch.long,
        f"The ids are of type {ids.dtype}; the model looks each one up in a table, by its number.\n"
        "Which type do whole numbers have in torch?",
    )
    require(
        same(ids, torch.tensor([row])),
        "A single text should stay as it is.\nWhat happens to a text that needs no padding?",
    )
    compare(
        mask,
        torch.ones(1, 5),
        {
            "The mask is turned round: it marks a text that is all real with 0.\n"
            "Which of the two numbers says that a token is real?": lambda: torch.zeros(1, 5),
        },
        "A text without padding should have a mask of ones.\nWhich tokens are real?",
    )
    yield "a single text needs no padding"

    lengths = [5, 3, 7, 4]
    rows = [[draw.whole(1000, 9000) for _ in range(length)] for length in lengths]
    ids, mask = _padded(answer, rows, pad_id, (4, 7))
    right, real = _reference_ids(rows, pad_id)
    ordered = sorted(rows, key=len)
    compare(
        ids,
        right,
        {
            "The padding stands before the texts, so [CLS] is no longer in column 0.\n"
            "To which end of a row do you add it?": lambda: _reference_ids(rows, pad_id, left=True)[
                0
            ],
            f"The texts are filled up with 0, not with pad_id, which is {pad_id} here.\n"
            "Which number does this tokenizer use for padding?": (
                lambda: _reference_ids(rows, 0)[0]
            ),
            "The texts have changed their order: they are sorted by length.\n"
            "Which text do the labels of the batch belong to now?": (
                lambda: _reference_ids(ordered, pad_id)[0]
            ),
            "The texts have changed their order: the longest comes first.\n"
            "Which text do the labels of the batch belong to now?": (
                lambda: _reference_ids(ordered[::-1], pad_id)[0]
            ),
        },
        "The shape is right, the ids are not.\nEach row: the ids of the text, then pad_id. Which differs?",
    )
    compare(
        mask,
        real,
        {
            "The mask is 1 everywhere, so the model attends to the padding.\n"
            "Where does each text end?": lambda: torch.ones(4, 7),
            "The mask is turned round: 1 marks the padding.\n"
            "In Transformers' masks, which tokens get a 1?": lambda: 1 - real,
            "The ids are padded behind, but the mask has its zeros in front.\n"
            "Do both fill up at the same end?": lambda: real.flip(1),
        },
        "The ids are right, the mask is not.\nIs it 1 as often as the text has tokens, and 0 after that?",
    )
    yield "shorter texts are filled up behind, and the mask says where"

    for pad_id in (0, draw.whole(1000, 9000)):
        rows = [[draw.whole(1000, 9000) for _ in range(draw.whole(3, 6))] for _ in range(3)]
        rows = [[*row[:1], pad_id, *row[1:], pad_id] for row in rows]
        right, real = _reference_ids(rows, pad_id)
        ids, mask = _padded(answer, rows, pad_id, tuple(right.shape))
        compare(
            mask,
            real,
            {
                f"A real token that happens to have the id {pad_id} is taken for padding. Some tokenizers use one "
                "token for the end of a text and for padding.\n"
                "What tells you for certain where a text ends, if not the ids?": (
                    lambda right=right, pad_id=pad_id: (right != pad_id).float()
                ),
            },
            f"Where real tokens have the id {pad_id}, as padding does, the mask is wrong.\nWhat is it made from?",
        )
        require(
            same(ids, right),
            f"Where real tokens have the id {pad_id}, as padding does, the ids are wrong.\n"
            "Do you look for the padding in the ids?",
        )
    yield "real tokens stay real, whatever their id"


def _padded(
    answer: Answer, rows: list[list[int]], pad_id: int, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The answer's ids and mask, of the right shape."""
    ids, mask = a_pair(answer(rows, pad_id), "input_ids", "attention_mask")
    lengths = [len(row) for row in rows]
    if isinstance(ids, Tensor) and ids.dim() == 2 and len(ids) == len(rows) > 1:
        if ids.shape[1] == min(lengths) < max(lengths):
            raise CheckFailed(
                f"All texts are cut to the length of the shortest, {min(lengths)}: their ends are lost.\n"
                "Which length must the batch have so that every text fits?"
            )
        if ids.shape[1] > max(lengths):
            raise CheckFailed(
                f"The batch is {ids.shape[1]} tokens wide, its longest text {max(lengths)}. Padding costs "
                "as much time as real tokens.\nWhich length is enough for this batch?"
            )
    return a_tensor(ids, shape, "input_ids"), a_tensor(mask, shape, "attention_mask")


def _reference_ids(
    rows: Sequence[Sequence[int]], pad_id: int, left: bool = False
) -> tuple[Tensor, Tensor]:
    ids = torch.full((len(rows), max(map(len, rows))), pad_id)
    real = torch.zeros(ids.shape)
    for place, row in enumerate(rows):
        columns = slice(-len(row), None) if left else slice(len(row))
        ids[place, columns], real[place, columns] = torch.tensor(row), 1
    return ids, real


# --- learning_rate_at ----------------------------------------------------------------------------


def learning_rate_at(answer: Answer, draw: Draw) -> Held:
    """``learning_rate_at(step, steps, warmup, highest)``: up over the warm-up, then down to 0 after the end."""
    steps, warmup, highest = draw.whole(14, 24), draw.whole(4, 6), draw.whole(2, 90) / 1000
    left = steps - warmup
    rates = _rates(answer, steps, warmup, highest)
    at = torch.arange(steps, dtype=torch.float64)
    up, down = at[:warmup], at[warmup:]
    compare(
        rates[:warmup],
        torch.linspace(1 / warmup, 1, warmup),
        {
            "Step 0 has the rate 0: gradients are computed, and nothing is learned from them.\n"
            "Steps count from 0: how many have been taken when step 0 is over?": lambda: (
                up / warmup
            ),
            "The warm-up ends below the highest rate.\n"
            "Its last step should have it: by what do you divide?": lambda: (up + 1) / (warmup + 1),
            "There is no warm-up: the rate falls from the first step on.\n"
            "What happens while step < warmup?": lambda: (steps - up) / steps,
            "The result is a share of the highest rate, not a rate.\nWhere does `highest` come in?": (
                lambda: (up + 1) / warmup / highest
            ),
            "The warm-up takes too long: you multiply its length by the number of steps.\n"
            "Here warmup is a number of steps, not a share: is there anything to multiply?": (
                lambda: (up + 1) / (warmup * steps)
            ),
            "During the warm-up the rate is 0 until its last step.\n"
            "Which division gives whole numbers only?": lambda: (up + 1) // warmup,
        },
        "The rates of the warm-up are wrong.\n"
        "Step 0 should have highest / warmup, step 1 twice that, and so on. Which step is off?",
        tolerance=1e-4,
    )
    yield "the warm-up: from the first step on something is learned, its last step has the highest rate"

    require(
        rates.max() < 1 + 1e-6,
        f"At step {int(rates.argmax())} the rate is {rates.max():.3g} times the highest.\n"
        f"The warm-up is steps 0 to {warmup - 1}: is there a <= where a < should be?",
    )
    compare(
        rates[warmup:],
        torch.linspace(1, 0, left + 1)[:-1],
        {
            "After the warm-up the rate jumps down at once.\n"
            "Does it fall over all steps, or over those that are left after the warm-up?": lambda: (
                (steps - down) / steps
            ),
            f"The fall begins a step early: step {warmup}, the first after the warm-up, should have the highest "
            "rate, and the last step one that is not 0.\nHow many steps are left when a step begins?": (
                lambda: (steps - 1 - down) / left
            ),
            "The last step has the rate 0: gradients are computed, and nothing is learned from them.\n"
            "After which step should 0 be reached?": lambda: (steps - 1 - down) / (left - 1),
            "After the warm-up the rate never falls.\nWhat should be left of it in the end?": (
                lambda: torch.ones(left)
            ),
            "The rate goes below 0, and such a step climbs the loss.\n"
            "You divide by the number of steps after the warm-up: do you also count from its end?": (
                lambda: (left - down) / left
            ),
            "After the warm-up the rate begins near 0 and rises again.\n"
            "Is it the share of steps that are over, or of those that are left?": lambda: (
                (down - warmup) / left
            ),
            f"After step {warmup} the rate is 0.\nWhich division gives whole numbers only?": (
                lambda: (steps - down) // left
            ),
        },
        f"After the warm-up the rates are wrong.\nStep {warmup} has the highest rate, step {steps} would have "
        "0, and between them is a straight line: which point is off?",
        tolerance=1e-4,
    )
    yield "the fall: a straight line, which reaches 0 only after the last step"

    with _if_it_raises(
        "With warmup=0:", "How many steps does a warm-up of none have? Is there a division by it?"
    ):
        compare(
            _rates(answer, steps, 0, highest),
            torch.linspace(1, 0, steps + 1)[:-1],
            {
                "The rate falls as if there were a warm-up of one step.\n"
                "Is a 1 that keeps you from dividing by 0 used elsewhere, too?": (
                    lambda: ((steps - at) / (steps - 1)).clamp(max=1)
                ),
            },
            "The rates are wrong.\nShould step 0 have the highest rate, and step `steps` 0?",
            tolerance=1e-4,
        )
    with _if_it_raises(
        "With a warm-up of all steps:", "How many are left for the fall? Is there a division by it?"
    ):
        compare(
            _rates(answer, warmup, warmup, highest),
            torch.linspace(1 / warmup, 1, warmup),
            {},
            "The rates are wrong.\nShould it rise to the last step?",
            tolerance=1e-4,
        )
    yield "with no warm-up, and with nothing else"

    for beyond in (steps, steps + draw.whole(1, 9)):
        rate = a_number(answer(beyond, steps, warmup, highest), "learning rate")
        require(
            rate >= -1e-9 * highest,
            f"At step {beyond} of {steps}, after the last one, the rate is {rate:.3g}: below 0, it would climb "
            "the loss.\nWhat keeps a number from falling below 0?",
        )
        require(
            abs(rate) <= 1e-9 * highest,
            f"At step {beyond} of {steps}, after the last one, the rate is {rate:.3g}.\nShould it not stay 0?",
        )
    after = a_number(answer(warmup, warmup, warmup, highest), "learning rate")
    require(
        abs(after) <= 1e-9 * highest,
        f"After a run that is all warm-up the rate is {after:.3g}.\nShould it not be 0 there, too?",
    )
    yield "0 after the last step, never less"


def _rates(answer: Answer, steps: int, warmup: int, highest: float) -> Tensor:
    """The answer's rates of all steps, as shares of the highest."""
    rates = [
        a_number(answer(step, steps, warmup, highest), "learning rate") for step in range(steps)
    ]
    return torch.tensor(rates, dtype=torch.float64) / highest


@contextlib.contextmanager
def _if_it_raises(place: str, hint: str) -> Iterator[None]:
    """Say where a failure inside the block happens; an exception of the answer gets a hint."""
    try:
        with where(place):
            yield
    except Unwritten:
        raise
    except CheckFailed as problem:
        asked = f"\n{hint}" if "Your function raised" in str(problem) else ""
        raise CheckFailed(f"{problem}{asked}") from None


# --- accumulate ----------------------------------------------------------------------------------


def accumulate(answer: Answer, draw: Draw) -> Held:
    """``accumulate(model, loss_function, parts)``: gradients of a batch, computed in parts."""
    parts = _parts(draw, [draw.whole(3, 6)])
    texts = len(parts[0][1])
    mean, gradients, loss, _ = _accumulated(answer, parts)
    compare(
        gradients,
        mean,
        {
            "The gradients are those of the sum over the texts: larger batches would take larger steps.\n"
            "A mean is asked for: by what must a sum be divided, and when?": lambda: mean * texts,
        },
        "For a batch in one part the gradients are wrong.\n"
        "Do you call backward() on the mean loss, once for each part?",
    )
    require(
        abs(loss - _mean_loss(parts)) < 1e-4,
        f"For a batch in one part you return {loss:.4f}; the mean loss is {_mean_loss(parts):.4f}.\n"
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
            "Only the last part is left in the gradients, and only its share of them: they are cleared between "
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
            "With parts of unequal size the gradients are the mean of the parts' means: in a small part each text "
            "counts for more.\nWhat share of all texts does each part hold?": (
                lambda: sum(_gradients([part]) for part in parts) / 3
            ),
        },
        "With parts of unequal size the gradients are wrong.\nWhat share of all texts does each part hold?",
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
        f"The gradients are right, but the model sees {largest} texts at once, and needs memory for all of them.\n"
        "The parts are there to save it: can each go through the model by itself?",
    )
    waiting = open_graphs = 0
    for kind, _ in events:
        open_graphs += 1 if kind == "forward" else -1
        waiting = max(waiting, open_graphs)
    require(
        waiting <= 1,
        f"The gradients are right, but {waiting} parts wait in memory for one backward() at the end.\n"
        "The parts are there to save memory: what may be forgotten as soon as a part went backward?",
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
    """The right gradients, the answer's, its loss, and when the model was run forward and backward."""
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


# --- evaluate ------------------------------------------------------------------------------------


def evaluate(answer: Answer, draw: Draw) -> Held:
    """``evaluate(model, batches)``: accuracy over all texts, and a model that is left as it was."""
    batches, right, mistaken = _batches(draw, [4])
    told = {
        "The arg-max runs over the texts; a class is chosen for each text.\n"
        "The scores are (B, C): which axis holds the classes?": mistaken["across"],
        "You count the texts that are right; their share is asked for.\n"
        "By what should you divide?": mistaken["count"],
        "The result is in per cent; a share from 0 to 1 is asked for.\n"
        "Where does the 100 come from?": mistaken["per cent"],
        "The result is the share of wrong answers.\nIs there a != for ==?": mistaken["wrong ones"],
    }
    _figure(
        _measured(answer, batches).accuracy,
        right,
        told,
        "For a single batch the accuracy is wrong.\n"
        "Is the class with the highest score compared with the label, text by text?",
    )
    yield "the share of right answers, with dropout off"

    batches, right, mistaken = _batches(draw, [8, 8, 3])
    measured = _measured(answer, batches)
    told = {
        "In batches of unequal size you average the accuracies of the batches: in a small one each text counts "
        "for more.\nWhat would you add up, so that every text counts the same?": mistaken["means"],
        "Only the last batch counts.\n"
        "Is something started anew for each batch that should be added up?": mistaken["last"],
        "Only the first batch counts.\nIs `return` inside the loop?": mistaken["first"],
        "You divide by the number of batches.\nWhat is counted: texts, or batches?": mistaken[
            "per batch"
        ],
        "You divide by the size of the first batch times their number, but the last one is smaller.\n"
        "How many texts are there?": mistaken["as if equal"],
    }
    _figure(
        measured.accuracy,
        right,
        told,
        "In batches of unequal size the accuracy is wrong.\n"
        "What do you add up, and by what do you divide?",
    )
    yield "every text counts once, also in batches of unequal size"

    require(
        measured.enabled,
        "Gradients are switched off afterwards, for everything that comes next: no training any more.\n"
        "Does torch.no_grad() stand in a `with` of its own?",
    )
    require(
        not measured.frozen,
        "Afterwards parameters of the model do not require gradients any more: they would never learn again.\n"
        "Is there a way that leaves the parameters alone?",
    )
    require(
        not measured.thawed,
        "Afterwards parameters require gradients that were frozen before: they would begin to learn.\n"
        "Is there a way that leaves the parameters alone?",
    )
    require(
        not measured.graphs,
        "The accuracy is right, but the model builds a graph for gradients that nobody asks for: more memory, "
        "more time.\nHow do you tell torch that no gradients will be needed?",
    )
    require(
        not measured.changed,
        "Afterwards the model is another one: weights, running statistics or gradients have changed.\n"
        "Does measuring need anything but model(inputs)?",
    )
    yield "no gradients, and the model left alone"

    require(
        measured.training,
        "The model was in training mode and is in eval mode afterwards: training would go on without dropout.\n"
        "Which mode must it have when you return?",
    )
    require(
        not measured.split,
        "The model says that it is in training mode again, but its layers are still in eval mode.\n"
        "Did you set model.training? Which method tells the layers, too?",
    )
    require(
        not _measured(answer, batches, training=False).training,
        "The model was in eval mode and is in training mode afterwards: its next answer would be random.\n"
        "How can you know which mode it was in?",
    )
    yield "the mode is what it was before"


@dataclass(frozen=True)
class _Measured:
    """What an answer measured, and how it left the model."""

    accuracy: float
    graphs: bool  # were built on the way
    enabled: bool  # gradients are, afterwards
    frozen: bool  # parameters that were not before
    thawed: bool  # parameters that were frozen before
    changed: bool
    training: bool
    split: bool  # the model says one mode, some of its layers another


def _measured(answer: Answer, batches: list[Part], training: bool = True) -> _Measured:
    model = _classifier().train(training)
    before = _state(model)
    wanted = [one.requires_grad for one in model.parameters()]
    modes: list[list[bool]] = []
    graphs: list[bool] = []

    def watch_modes(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        modes.append([part.training for part in module.modules()])

    def watch_graphs(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        graphs.append(outputs.requires_grad)

    with (
        model.register_forward_pre_hook(watch_modes),
        model.register_forward_hook(watch_graphs),
    ):
        accuracy = a_number(answer(model, batches), "accuracy")
    enabled = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    trains = [mode[0] for mode in modes]
    require(
        not any(trains) or trains[0],
        "Only the first batch is measured in eval mode.\nIs model.train() indented into the loop?",
    )
    require(
        not any(trains),
        "The model is in training mode while you measure: dropout falsifies its answers.\n"
        "Which call switches dropout off?",
    )
    require(
        not any(map(any, modes)),
        "The model says that it is in eval mode, but its layers are in training mode: dropout is still on.\n"
        "Did you set model.training? Which method tells the layers, too?",
    )
    after = [one.requires_grad for one in model.parameters()]
    return _Measured(
        accuracy,
        any(graphs),
        enabled,
        any(was and not now for was, now in zip(wanted, after, strict=True)),
        any(now and not was for was, now in zip(wanted, after, strict=True)),
        any(not torch.equal(was, now) for was, now in zip(before, _state(model), strict=True)),
        model.training,
        any(part.training != model.training for part in model.modules()),
    )


def _state(model: nn.Module) -> list[Tensor]:
    """Weights, running statistics and gradients, as they are now."""
    gradients = [
        torch.zeros(()) if one.grad is None else one.grad.clone() for one in model.parameters()
    ]
    return [one.clone() for one in model.state_dict().values()] + gradients


def _classifier() -> nn.Module:
    """The same small classifier at each call, with running statistics and dropout; its first layer is frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        first, last = nn.Linear(5, 16), nn.Linear(16, 4)
    first.requires_grad_(False)
    return nn.Sequential(first, nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.5), last)


def _batches(draw: Draw, sizes: Sequence[int]) -> tuple[list[Part], float, dict[str, float]]:
    """Batches, the accuracy on them, and what mistakes would give, each another figure."""
    model, texts = _classifier().eval(), sum(sizes)
    while True:
        inputs = [3 * draw.normal(size, 5) for size in sizes]
        labels = [[draw.whole(0, 3) for _ in range(size)] for size in sizes]
        counts = []
        for one, wanted in zip(inputs, labels, strict=True):
            scores = model(one).tolist()
            counts.append(
                sum(row.index(max(row)) == label for row, label in zip(scores, wanted, strict=True))
            )
        right = sum(counts) / texts
        mistaken = {"count": sum(counts), "per cent": 100 * right, "wrong ones": 1 - right}
        if len(sizes) == 1:
            across = model(inputs[0]).argmax(0) == torch.tensor(labels[0])
            mistaken["across"] = across.double().mean().item()
        else:
            shares = [count / size for count, size in zip(counts, sizes, strict=True)]
            mistaken["means"] = sum(shares) / len(sizes)
            mistaken["first"], mistaken["last"] = shares[0], shares[-1]
            mistaken["per batch"] = sum(counts) / len(sizes)
            mistaken["as if equal"] = sum(counts) / (sizes[0] * len(sizes))
        figures = {round(one, 4) for one in (right, *mistaken.values())}
        if len(figures) == 1 + len(mistaken) and 0 < right < 1:
            tensors = [torch.tensor(one) for one in labels]
            return list(zip(inputs, tensors, strict=True)), right, mistaken


def _figure(result: float, right: float, mistakes: dict[str, float], otherwise: str) -> None:
    """Fail unless a number is right; the mistake that gives this very number is named."""
    if abs(result - right) < 1e-4:
        return
    for diagnosis, mistaken in mistakes.items():
        require(abs(result - mistaken) >= 1e-4, diagnosis)
    raise CheckFailed(f"{otherwise}\nIt should be {right:.4f}; you return {result:.4f}.")


# --- choose --------------------------------------------------------------------------------------


def choose(answer: Answer, draw: Draw) -> Held:
    """``choose(candidates, dev_accuracy, test_accuracy)``: the best on dev, and its figure on test."""
    candidates, dev, test = _candidates(draw)
    roles = _roles(candidates, dev, test)
    choice, figure, looks = _chosen(answer, candidates, dev, test)
    best = roles.pop("best")
    told = {
        "test": "You chose what is best on test. Then its figure is too good: luck has been chosen with it.\n"
        "Which of the two sets is there to choose by?",
        "both": "You chose by dev and test together. Then the figure of test is too good: luck has been chosen "
        "with it.\nWhich of the two sets is there to choose by?",
        "worst": "You chose the candidate with the lowest accuracy on dev.\n"
        "Is a < there for a >, or do you sort and take the wrong end?",
        "first": "You chose the first candidate, which is not the best on dev.\n"
        "Are the others compared with it? Is `return` inside the loop?",
        "last": "You chose the last candidate, which is not the best on dev.\n"
        "Do you keep the best so far, or the last one seen?",
        "largest": "You chose the largest candidate.\n"
        "What is compared: the candidates, or their accuracies on dev?",
    }
    for role, one in roles.items():
        require(choice != one, told[role])
    require(
        choice != candidates.index(best),
        "The place of the best candidate came back, not the candidate.\nWhat stands at this place?",
    )
    require(
        choice == best,
        f"You chose {choice!r}; on dev {best!r} is the best.\nWhich figures do you compare?",
    )
    yield "the best on dev"

    told_figures = {
        "The figure you return is that of dev. Of several, the best on dev is partly lucky there, so it is too "
        "good.\nWhich set was not used to choose?": dev[best],
        "The figure you return is the highest on test, which another candidate has.\n"
        "Whose test accuracy is asked for?": max(test.values()),
    }
    _figure(figure, test[best], told_figures, "The test accuracy is wrong.\nWhose is it?")
    yield "its own figure on test"

    require(
        set(looks) == {best},
        f"The choice is right, but you looked at test for {len(set(looks))} candidates. Once figures are there, "
        "somebody will choose by them.\nWhen do you know which single one you need?",
    )
    require(
        len(looks) == 1,
        f"The choice is right, but test was measured {len(looks)} times for it; once is enough.\n"
        "Where can you keep the figure?",
    )
    yield "one look at test"

    equal = ["lora", "prefix", "full"]
    dev = dict(zip(["frozen", *equal], (0.75, 0.875, 0.875, 0.875), strict=True))
    test = dict(zip(dev, (0.7, 0.8, 0.85, 0.9), strict=True))
    choice, _, looks = _chosen(answer, list(dev), dev, test)
    require(
        len(looks) == 1,
        f"Where several are equal on dev you look at test for {len(looks)} of them.\n"
        "Does a tie give test the right to choose?",
    )
    require(
        choice == equal[0],
        f"Of {equal}, all equal on dev, you chose {choice!r}; the first of equals is asked for.\n"
        "Is there a >= for >, or do you sort and take the last?",
    )
    yield "the first of equals"


def _candidates(draw: Draw) -> tuple[list[float], dict[float, float], dict[float, float]]:
    """Candidates with accuracies on dev and test, such that every mistake chooses another one."""
    count = 10
    while True:
        order = torch.randperm(count, generator=draw.generator)
        candidates = [round((int(place) + 1) * 1e-5, 5) for place in order]
        accuracies = torch.randperm(300, generator=draw.generator)[: 2 * count]
        figures = [round(0.65 + int(one) / 1000, 3) for one in accuracies]
        dev = dict(zip(candidates, figures[:count], strict=True))
        test = dict(zip(candidates, figures[count:], strict=True))
        roles = _roles(candidates, dev, test)
        if len(set(roles.values())) == len(roles):
            return candidates, dev, test


def _roles(
    candidates: list[float], dev: dict[float, float], test: dict[float, float]
) -> dict[str, float]:
    """The best candidate, and those that a mistake would choose."""
    return {
        "best": max(candidates, key=lambda one: dev[one]),
        "test": max(candidates, key=lambda one: test[one]),
        "both": max(candidates, key=lambda one: dev[one] + test[one]),
        "worst": min(candidates, key=lambda one: dev[one]),
        "first": candidates[0],
        "last": candidates[-1],
        "largest": max(candidates),
    }


def _chosen(answer: Answer, candidates: list, dev: dict, test: dict) -> tuple[Any, float, list]:
    """The answer's choice, the figure that came with it, and for whom test was measured."""
    looks: list = []

    def measure(name: str, figures: dict, candidate: object) -> float:
        if not any(candidate is one for one in candidates) and candidate not in candidates:
            raise CheckFailed(
                f"{name} was called with {candidate!r}, which is no candidate.\n"
                "Is it the place of a candidate, or all of them at once?"
            )
        if figures is test:
            looks.append(candidate)
        return figures[candidate]

    result = answer(
        candidates,
        functools.partial(measure, "dev_accuracy", dev),
        functools.partial(measure, "test_accuracy", test),
    )
    choice, figure = a_pair(result, "candidate", "test accuracy")
    if isinstance(figure, str | numbers.Real) and figure in candidates:
        raise CheckFailed(
            "The candidate comes second.\nIn which order does the docstring name the two?"
        )
    require(
        isinstance(choice, str | numbers.Real),
        f"As candidate came a {type(choice).__name__}, which was not among them.\nWhat do you return first?",
    )
    return choice, a_number(figure, "test accuracy"), looks


# --- align_labels --------------------------------------------------------------------------------


def align_labels(answer: Answer, draw: Draw) -> Held:
    """``align_labels(word_ids, labels)``: one label per token; -100 but for the first piece of each word."""
    labels = _labels(draw, 4)
    words = [None, 0, 1, 2, 3, None]
    found = _aligned(answer, words, labels)
    _same_labels(
        found,
        words,
        labels,
        {
            "The labels begin at [CLS], so each stands one token too early.\n"
            "What does word_ids say of the first token?": [*labels, -100, -100],
            "[CLS] and [SEP] get the label 0, which is a class like any other.\n"
            "Which number does the loss leave out?": [0, *labels, 0],
            "[CLS] and [SEP] get the label -1, which the loss does not leave out.\n"
            "Which number does it leave out, if nothing else is said?": [-1, *labels, -1],
            "The first word gets no label. Its number is 0, and 0 counts as false.\n"
            "How do you ask whether something is None?": [-100, -100, *labels[1:], -100],
        },
        "Where each word is one token the labels are wrong.\nWhich word does each token belong to?",
    )
    yield "whole words get their labels, special tokens none"

    labels = _labels(draw, 4)
    pieces = [draw.whole(1, 3), 3, draw.whole(1, 2), 2]
    words = [None, *(word for word, count in enumerate(pieces) for _ in range(count)), None]
    found = _aligned(answer, words, labels)
    inside = words[1:-1]
    last = [a != b for a, b in zip(inside, [*inside[1:], None], strict=True)]
    in_turn = [*labels, *[-100] * len(words)][: len(inside)]
    first = _reference_labels(words, labels)
    _same_labels(
        found,
        words,
        labels,
        {
            "Every piece of a word gets its label: a word in three pieces counts three times.\n"
            "Which piece is to stand for the word?": [-100, *(labels[w] for w in inside), -100],
            "The last piece of a word gets its label, not the first.\n"
            "With which neighbour do you compare a token?": [
                -100,
                *(labels[w] if yes else -100 for w, yes in zip(inside, last, strict=True)),
                -100,
            ],
            "The labels are dealt out token by token, as if no word were cut into pieces.\n"
            "Which word does a token belong to?": [-100, *in_turn, -100],
            "Later pieces of a word get the label 0, which is a class like any other.\n"
            "Which number does the loss leave out?": [
                -100,
                *(0 if one == -100 else one for one in first[1:-1]),
                -100,
            ],
        },
        "Where words are cut into pieces the labels are wrong.\nWhich piece of a word is its first?",
    )
    yield "of a word in pieces, the first one"

    label = draw.whole(1, 9)
    labels, words = [label, label, label, 0, 0], [None, 0, 1, 1, 2, 3, 3, 4, None]
    merged = [-100, label, -100, -100, -100, 0, -100, -100, -100]
    _same_labels(
        _aligned(answer, words, labels),
        words,
        labels,
        {
            "Neighbouring words with the same label are taken for one word.\n"
            "What tells you that a new word begins: its label, or its number?": merged,
        },
        "Where neighbouring words have the same label the labels are wrong.\n"
        "What tells you that a new word begins?",
    )
    yield "neighbours with the same label stay two words"

    labels, start = _labels(draw, 9), draw.whole(2, 4)
    words = [None, start, start, start + 1, start + 3, start + 3, None, None, None]
    dealt = iter(labels)
    in_order = [-100 if one == -100 else next(dealt) for one in _reference_labels(words, labels)]
    _same_labels(
        _aligned(answer, words, labels),
        words,
        labels,
        {
            f"This is a later window of a long text: it begins with word {start}, and one word has no token. You "
            "deal the labels out from the first on.\n"
            "Where do the numbers of the words come in?": in_order,
        },
        f"In a later window of a long text, which begins with word {start}, the labels are wrong.\n"
        "Where do the numbers of the words come in?",
    )
    yield "the numbers of the words count, in a window of a longer text, too"


def _labels(draw: Draw, words: int) -> list[int]:
    """A label for each word, all different, none 0 or equal to a place."""
    return (torch.randperm(30, generator=draw.generator)[:words] + 20).tolist()


def _reference_labels(words: list[int | None], labels: list[int]) -> list[int]:
    return [
        -100 if word is None or word in words[:place] else labels[word]
        for place, word in enumerate(words)
    ]


def _aligned(answer: Answer, words: list[int | None], labels: list[int]) -> list[int]:
    """The answer's labels, whole numbers, one for each token."""
    found = a_list(answer(words, labels), "labels")
    real = [word for word in words if word is not None]
    shorter = {
        len(labels) + 2: "as many as there are words, and two special tokens.\n"
        "What if a word is cut into pieces?",
        len(
            real
        ): "special tokens are left out.\nWhich number marks a token that should not count?",
    }
    require(
        len(found) == len(words),
        f"For {len(words)} tokens there are {len(found)} labels: "
        + shorter.get(len(found), "one for each token is asked for.\nWhich ones have none?"),
    )
    require(
        not any(one is None for one in found),
        "There is None among the labels; they have to fit into a tensor of whole numbers.\n"
        "Which number does the loss leave out?",
    )
    require(
        all(isinstance(one, numbers.Integral) for one in found),
        f"The labels are {found}; each should be a whole number.\nWhat do you put into the list?",
    )
    return found


def _same_labels(
    found: list[int],
    words: list[int | None],
    labels: list[int],
    mistakes: dict[str, list[int]],
    otherwise: str,
) -> None:
    """Fail unless the labels are right; the mistake that gives these very labels is named."""
    right = _reference_labels(words, labels)
    if found == right:
        return
    for diagnosis, mistaken in mistakes.items():
        require(found != mistaken, diagnosis)
    raise CheckFailed(
        f"{otherwise}\nword_ids {words}, labels {labels}: it should be {right}; you return {found}."
    )


EXERCISES = [
    Exercise("pad_batch", "finetune_bert", 2, pad_batch),
    Exercise(
        "learning_rate_at", "finetune_bert", 2, learning_rate_at, frozenset({"linear_schedule"})
    ),
    Exercise("accumulate", "finetune_bert", 3, accumulate),
    Exercise("evaluate", "finetune_bert", 3, evaluate),
    Exercise("choose", "finetune_bert", 1, choose),
    Exercise("align_labels", "finetune_bert", 2, align_labels),
]
