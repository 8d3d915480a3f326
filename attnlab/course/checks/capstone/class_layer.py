"""The exercise ``trial_class_layer``: a layer that is made inside ``forward``."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attnlab.course.checks.capstone.court import Case, Version, exercise


class MadeInForward(nn.Module):
    """The claim."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.width, self.classes = width, classes

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits (N, classes)."""
        layer = nn.Linear(self.width, self.classes)
        logits: Tensor = layer(hidden)
        return logits


class _MadeAgainTheSame(MadeInForward):
    def forward(self, hidden: Tensor) -> Tensor:
        same = torch.Generator().manual_seed(0)
        return hidden @ torch.randn(self.width, self.classes, generator=same)


class _MadeAndForgotten(MadeInForward):
    def __init__(self, width: int, classes: int):
        super().__init__(width, classes)
        self.layer = nn.Linear(width, classes)


class _InAList(MadeInForward):
    def __init__(self, width: int, classes: int):
        super().__init__(width, classes)
        self.layers = [nn.Linear(width, classes)]
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:
        with torch.no_grad():
            before = self.norm(hidden)
        logits: Tensor = self.layers[0](before)
        return logits


class _ByHand(MadeInForward):
    def __init__(self, width: int, classes: int):
        super().__init__(width, classes)
        self.weight = nn.Parameter(torch.randn(width, classes) / width**0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.einsum("...w,wc->...c", hidden, self.weight)


def _with_dropout(width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Dropout(0.3), nn.Linear(width, classes))


def ours(candidate: Callable[..., nn.Module]) -> bool:
    """The same answer twice, and another one after a step down the gradient."""
    model, hidden = candidate(6, 3).eval(), torch.randn(8, 6)
    first, second = model(hidden), model(hidden)
    if not torch.allclose(first, second, atol=1e-5):
        return True
    if not first.requires_grad:
        return True
    first.square().sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=0.1)
    return torch.allclose(model(hidden), second, atol=1e-5)


CASE = Case(
    name="trial_class_layer",
    about="is `candidate(width, classes)` a class layer that can learn?",
    claim=Version(
        MadeInForward,
        "makes a new layer at every call, with new random weights",
        "What do two calls with the same input give, and what does a step of training change?",
    ),
    guilty=True,
    wrong=[
        Version(
            _MadeAgainTheSame,
            "draws its weights at every call, always the same ones",
            "Two calls agree. Does a step of training change anything?",
        ),
        Version(
            _MadeAndForgotten,
            "has a layer among its parameters, and calls another that it makes in forward",
            "There are parameters. Does the answer depend on them?",
        ),
        Version(
            _InAList,
            "keeps its layer in a plain list, where no optimizer finds it",
            "Two calls agree, and a gradient comes back. Does a step over `parameters()` change "
            "the answer?",
        ),
    ],
    right=[
        Version(
            nn.Linear,
            "is torch's own layer, made once",
            "What should change when it trains, and what should not without?",
        ),
        Version(
            _ByHand,
            "has a matrix of parameters, without bias and without nn.Linear",
            "Which property of a layer do you need, rather than a name or a count?",
        ),
        Version(
            lambda width, classes: nn.Sequential(nn.Linear(width, 16), nn.Tanh()).append(
                nn.Linear(16, classes)
            ),
            "has a hidden layer before the last one",
            "Which property of a layer do you need, rather than a name or a count?",
        ),
        Version(
            _with_dropout,
            "has dropout, so that two calls in training differ",
            "What is `.eval()` for?",
        ),
    ],
    ours=ours,
    times=2,  # an experiment may train
    warm_up=lambda: torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1),
)
EXERCISE = exercise(CASE, points=2)
