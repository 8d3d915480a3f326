"""Check of ``evaluate``."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attnlab.course.checks.examiner import (
    Answer,
    Draw,
    Exercise,
    a_number,
    require,
)
from attnlab.course.checks.finetune_bert.figures import same_figure

Part = tuple[Tensor, Tensor]


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
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
    same_figure(
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
        "In batches of unequal size you average the accuracies of the batches: in a small one "
        "each text counts "
        "for more.\nWhat would you add up, so that every text counts the same?": mistaken["means"],
        "Only the last batch counts.\n"
        "Is something started anew for each batch that should be added up?": mistaken["last"],
        "Only the first batch counts.\nIs `return` inside the loop?": mistaken["first"],
        "You divide by the number of batches.\nWhat is counted: texts, or batches?": mistaken[
            "per batch"
        ],
        "You divide by the size of the first batch times their number, but the last one is "
        "smaller.\n"
        "How many texts are there?": mistaken["as if equal"],
    }
    same_figure(
        measured.accuracy,
        right,
        told,
        "In batches of unequal size the accuracy is wrong.\n"
        "What do you add up, and by what do you divide?",
    )
    yield "every text counts once, also in batches of unequal size"

    require(
        measured.enabled,
        "Gradients are switched off afterwards, for everything that comes next: no training any "
        "more.\n"
        "Does torch.no_grad() stand in a `with` of its own?",
    )
    require(
        not measured.frozen,
        "Afterwards parameters of the model do not require gradients any more: they would never "
        "learn again.\n"
        "Is there a way that leaves the parameters alone?",
    )
    require(
        not measured.thawed,
        "Afterwards parameters require gradients that were frozen before: they would begin to "
        "learn.\n"
        "Is there a way that leaves the parameters alone?",
    )
    require(
        not measured.graphs,
        "The accuracy is right, but the model builds a graph for gradients that nobody asks for: "
        "more memory, "
        "more time.\nHow do you tell torch that no gradients will be needed?",
    )
    require(
        not measured.changed,
        "Afterwards the model is another one: weights, running statistics or gradients have "
        "changed.\n"
        "Does measuring need anything but model(inputs)?",
    )
    yield "no gradients, and the model left alone"

    require(
        measured.training,
        "The model was in training mode and is in eval mode afterwards: training would go on "
        "without dropout.\n"
        "Which mode must it have when you return?",
    )
    require(
        not measured.split,
        "The model says that it is in training mode again, but its layers are still in eval mode.\n"
        "Did you set model.training? Which method tells the layers, too?",
    )
    require(
        not _measured(answer, batches, training=False).training,
        "The model was in eval mode and is in training mode afterwards: its next answer would be "
        "random.\n"
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
        "The model says that it is in eval mode, but its layers are in training mode: dropout is "
        "still on.\n"
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
    """The same small classifier at each call, with running statistics and dropout; its first "
    "layer is frozen."""
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


EXERCISE = Exercise("evaluate", "finetune_bert", 3, check)
