"""Exercise ``evaluate``: accuracy over all texts, and a model that is left as it was."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.course.checks.examiner import (
    SWITCHED_OFF,
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
Batches = Sequence[Batch]
Evaluation = Callable[[nn.Module, Batches], float]

FIRST_ONLY = (
    "Only the first batch is measured in eval mode.\nIs model.train() indented into the loop?"
)
DROPOUT_ON = (
    "The model is in training mode while you measure: dropout falsifies its answers.\n"
    "Which call switches dropout off?"
)
FLAG_ONLY = (
    "The model says that it is in eval mode, but its layers are in training mode: dropout is still "
    "on.\nDid you set model.training? Which method tells the layers, too?"
)
FROZEN = (
    "Afterwards parameters of the model do not require gradients any more: they would never learn "
    "again.\nIs there a way that leaves the parameters alone?"
)
THAWED = (
    "Afterwards parameters require gradients that were frozen before: they would begin to learn.\n"
    "Is there a way that leaves the parameters alone?"
)
BUILDS_GRAPH = (
    "The accuracy is right, but the model builds a graph for gradients that nobody asks for: more "
    "memory, more time.\nHow do you tell torch that no gradients will be needed?"
)
CHANGED = (
    "Afterwards the model is another one: weights, running statistics, gradients or the type of "
    "numbers have changed.\n"
    "Does measuring need anything but model(inputs)?"
)
LEFT_IN_EVAL = (
    "The model was in training mode and is in eval mode afterwards: training would go on without "
    "dropout.\nWhich mode must it have when you return?"
)
LAYERS_IN_EVAL = (
    "The model says that it is in training mode again, but its layers are still in eval mode.\n"
    "Did you set model.training? Which method tells the layers, too?"
)
LEFT_IN_TRAINING = (
    "The model was in eval mode and is in training mode afterwards: its next answer would be "
    "random.\nHow can you know which mode it was in?"
)


@dataclass(frozen=True)
class Run:
    """What a function returned, and how it treated the model."""

    accuracy: Any
    modes: list[list[bool]]  # of the model and its layers, whenever it was asked: training or not
    graphs: bool  # were built on the way
    frozen: bool  # parameters that were not before
    thawed: bool  # parameters that were frozen before
    retyped: bool  # numbers of the model have another type than before
    changed: bool  # weights, running statistics or gradients
    training: bool  # the model is, afterwards
    split: bool  # the model says one mode, some of its layers another


class Measurement(Call):
    """Some batches for a model that is in training mode or not."""

    def __init__(self, batches: Batches, training: bool = True):
        super().__init__(batches)
        self.batches, self.training = batches, training

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function does with a model of its own."""
        model = _model().train(self.training)
        before = _state(model)
        wanted = [parameter.requires_grad for parameter in model.parameters()]
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
            accuracy = function(model, self.batches)
        after = [parameter.requires_grad for parameter in model.parameters()]
        states = list(zip(before, _state(model), strict=True))
        return Run(
            accuracy,
            modes,
            any(graphs),
            any(was and not now for was, now in zip(wanted, after, strict=True)),
            any(now and not was for was, now in zip(wanted, after, strict=True)),
            any(was.dtype != now.dtype for was, now in states),
            any(not torch.equal(was, now) for was, now in states),
            model.training,
            any(part.training != model.training for part in model.modules()),
        )


def check(answer: Answer, draw: Draw) -> Held:
    """``evaluate(model, batches)``: accuracy over all texts, and a model that is left as it was."""
    compared = Comparison(answer, reference, MISTAKES, read=_accuracy, tolerance=1e-4, draws=2)
    compared.on(
        lambda: _telling(draw, [4], IN_ONE_BATCH),
        "For a single batch the accuracy is wrong: it should be {right:.4f}; you return "
        "{found:.4f}.\nIs the class with the highest score compared with the label, text by text?",
        facts=_facts,
    )
    yield "the share of right answers, with dropout off"

    several = _telling(draw, [8, 8, 3], [*IN_ONE_BATCH[1:], *IN_SEVERAL_BATCHES])
    compared.on(
        lambda: several,
        "In batches of unequal size the accuracy is wrong: it should be {right:.4f}; you return "
        "{found:.4f}.\nWhat do you add up, and by what do you divide?",
        facts=_facts,
    )
    yield "every text counts once, also in batches of unequal size"

    run = several.of(answer)
    require(not run.frozen, FROZEN)
    require(not run.thawed, THAWED)
    require(not run.graphs, BUILDS_GRAPH)
    require(not run.changed, CHANGED)
    yield "no gradients, and the model left alone"

    require(run.training, LEFT_IN_EVAL)
    require(not run.split, LAYERS_IN_EVAL)
    again = Measurement(several.batches, training=False).of(answer)
    require(not again.training, LEFT_IN_TRAINING)
    yield "the mode is what it was before"


def reference(model: nn.Module, batches: Batches) -> float:
    """The share of texts whose highest score is that of the label, from plain lists."""
    was_training, right = model.training, []
    model.eval()
    for inputs, labels in batches:
        scores = model(inputs).tolist()
        right += [
            row.index(max(row)) == label for row, label in zip(scores, labels.tolist(), strict=True)
        ]
    model.train(was_training)
    return sum(right) / len(right)


def _accuracy(run: Run, right: Run) -> float:
    """The accuracy, if it was measured in eval mode."""
    accuracy = a_number(run.accuracy, "accuracy")
    trains = [mode[0] for mode in run.modes]
    require(not any(trains) or trains[0], FIRST_ONLY)
    require(not any(trains), DROPOUT_ON)
    require(not any(map(any, run.modes)), FLAG_ONLY)
    require(not run.retyped, CHANGED)  # coarse numbers: whether a figure differs is chance
    return accuracy


def _facts(call: Call, run: Run) -> dict[str, Any]:
    return {"right": call.of(reference).accuracy, "found": run.accuracy}


def _telling(draw: Draw, sizes: Sequence[int], mistakes: Sequence[Mistake]) -> Measurement:
    """Batches on which all of these mistakes give different accuracies, and wrong ones."""
    while True:
        call = Measurement(
            [
                (3 * draw.normal(size, 5), torch.tensor([draw.whole(0, 3) for _ in range(size)]))
                for size in sizes
            ]
        )
        right = float(call.of(reference).accuracy)
        figures = {round(float(call.of(mistake.wrong).accuracy), 4) for mistake in mistakes}
        if len(figures | {round(right, 4)}) == len(mistakes) + 1 and 0 < right < 1:
            return call


def _state(model: nn.Module) -> list[Tensor]:
    """Weights, running statistics and gradients, as they are now."""
    gradients = [
        torch.zeros(()) if parameter.grad is None else parameter.grad.clone()
        for parameter in model.parameters()
    ]
    return [tensor.clone() for tensor in model.state_dict().values()] + gradients


def _model() -> nn.Module:
    """The same small classifier at each call, with dropout; its first layer is frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        first, last = nn.Linear(5, 16), nn.Linear(16, 4)
    for parameter in last.parameters():  # as in the middle of an accumulation
        parameter.grad = torch.ones_like(parameter)
    first.requires_grad_(False)
    return nn.Sequential(first, nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.5), last)


# --- What learners write instead -----------------------------------------------------------------


def _evaluating(
    before: Callable[[nn.Module], object] = nn.Module.eval,
    after: Callable[[nn.Module, bool], object] = nn.Module.train,
    inside: Callable[[nn.Module], object] = lambda model: None,
    gradients: Callable[[], AbstractContextManager[Any]] = torch.no_grad,
    axis: int = -1,
    accuracy: Callable[[list[int], list[int]], float] = lambda right, sizes: (
        sum(right) / sum(sizes)
    ),
) -> Evaluation:
    """Evaluation with a part exchanged."""

    def answer(model: nn.Module, batches: Batches) -> float:
        was_training, right, sizes = model.training, [], []
        before(model)
        with gradients():
            for inputs, labels in batches:
                right.append(int((model(inputs).argmax(axis) == labels).sum()))
                sizes.append(len(labels))
                inside(model)
        after(model, was_training)
        return accuracy(right, sizes)

    return answer


def _of_two_classes(model: nn.Module, batches: Batches) -> float:
    def narrowed(inputs: Tensor) -> Tensor:
        return model(inputs)[:, :2]

    training = model.training
    model.eval()
    with torch.no_grad():
        hits = [(narrowed(inputs).argmax(-1) == labels).float() for inputs, labels in batches]
    model.train(training)
    return torch.cat(hits).mean().item()


def _set_the_flag(model: nn.Module, training: bool = False) -> None:
    model.training = training


def _switch_off_for_good(model: nn.Module, batches: Batches) -> float:
    torch.set_grad_enabled(False)
    return _evaluating()(model, batches)


def _freeze(model: nn.Module) -> None:
    model.eval().requires_grad_(False)


def _thaw(model: nn.Module, was_training: bool) -> None:
    model.train(was_training).requires_grad_(True)


def _decay(model: nn.Module, was_training: bool) -> None:
    model.train(was_training)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.999)


def _forget_gradients(model: nn.Module, was_training: bool) -> None:
    model.train(was_training).zero_grad()


def _in_half_precision(model: nn.Module, batches: Batches) -> float:
    model.bfloat16()
    return _evaluating()(model, [(inputs.bfloat16(), labels) for inputs, labels in batches])


IN_ONE_BATCH = [  # mistakes that give a wrong figure for a single batch, too
    Mistake(
        _evaluating(axis=0),
        "The arg-max runs over the texts; a class is chosen for each text.\n"
        "The scores are (B, C): which axis holds the classes?",
    ),
    Mistake(
        _of_two_classes,
        "You compare two scores of each text, as if there were two classes only.\n"
        "Which class has the highest score, however many there are?",
    ),
    Mistake(
        _evaluating(accuracy=lambda right, sizes: sum(right)),
        "You count the texts that are right; their share is asked for.\nBy what should you divide?",
    ),
    Mistake(
        _evaluating(accuracy=lambda right, sizes: 100 * sum(right) / sum(sizes)),
        "The result is in per cent; a share from 0 to 1 is asked for.\n"
        "Where does the 100 come from?",
    ),
    Mistake(
        _evaluating(accuracy=lambda right, sizes: 1 - sum(right) / sum(sizes)),
        "The result is the share of wrong answers.\nIs there a != for ==?",
    ),
]
IN_SEVERAL_BATCHES = [
    Mistake(
        _evaluating(
            accuracy=lambda right, sizes: (
                sum(hits / size for hits, size in zip(right, sizes, strict=True)) / len(sizes)
            )
        ),
        "In batches of unequal size you average the accuracies of the batches: in a small one each "
        "text counts for more.\nWhat would you add up, so that every text counts the same?",
    ),
    Mistake(
        _evaluating(accuracy=lambda right, sizes: right[-1] / sizes[-1]),
        "Only the last batch counts.\n"
        "Is something started anew for each batch that should be added up?",
    ),
    Mistake(
        lambda model, batches: _evaluating()(model, batches[:1]),
        "Only the first batch counts.\nIs `return` inside the loop?",
    ),
    Mistake(
        _evaluating(
            accuracy=lambda right, sizes: sum(right) / (len(sizes) if len(sizes) > 1 else sizes[0])
        ),
        "You divide by the number of batches.\nWhat is counted: texts, or batches?",
    ),
    Mistake(
        _evaluating(accuracy=lambda right, sizes: sum(right) / (sizes[0] * len(sizes))),
        "You divide by the size of the first batch times their number, but the last one is "
        "smaller.\nHow many texts are there?",
    ),
]
MISTAKES = [
    *IN_ONE_BATCH,
    *IN_SEVERAL_BATCHES,
    Mistake(_evaluating(inside=nn.Module.train), FIRST_ONLY, compared=False),
    Mistake(_evaluating(before=lambda model: None), DROPOUT_ON, compared=False),
    Mistake(_evaluating(before=_set_the_flag), FLAG_ONLY, compared=False),
    Mistake(_switch_off_for_good, SWITCHED_OFF, compared=False),
    Mistake(_evaluating(before=_freeze), FROZEN, compared=False),
    Mistake(_evaluating(before=_freeze, after=_thaw), THAWED, compared=False),
    Mistake(_evaluating(gradients=torch.enable_grad), BUILDS_GRAPH, compared=False),
    Mistake(_evaluating(after=_decay), CHANGED, compared=False),
    Mistake(_evaluating(after=_forget_gradients), CHANGED, compared=False),
    Mistake(_in_half_precision, CHANGED, compared=False),
    Mistake(_evaluating(after=lambda model, was: None), LEFT_IN_EVAL, compared=False),
    Mistake(_evaluating(after=_set_the_flag), LAYERS_IN_EVAL, compared=False),
    Mistake(_evaluating(after=lambda model, was: model.train()), LEFT_IN_TRAINING, compared=False),
]

EXERCISE = Exercise("evaluate", "finetune_bert", 3, check, mistakes=MISTAKES)
