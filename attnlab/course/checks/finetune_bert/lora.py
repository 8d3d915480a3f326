"""Exercise ``LoRA``: a linear layer that stays, and a correction of low rank that learns."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    NO_GRADIENT,
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    backward,
    require,
)

NO_MATRIX = (
    "There is no parameter self.{name} of shape {shape}.\n"
    "Is it an nn.Parameter, and which of its two axes is the rank?"
)
W_LEARNS = (
    "The weights of the given layer still learn; LoRA trains A and B alone.\n"
    "Is requires_grad_(False) of the given code still there, and is the layer kept as it is?"
)
MORE_LEARNS = (
    "{count} numbers learn; of a layer with {inputs} inputs and {outputs} outputs they should be "
    "rank x (inputs + outputs) = {right}.\nIs there a parameter besides A and B?"
)
BOTH_ZERO = (
    "A and B are both 0 in the beginning: then the gradient of each is 0, and nothing ever moves.\n"
    "Which of the two may be 0, so that the other still lets a gradient through?"
)
B_NOT_ZERO = (
    "A fresh layer does not compute what the given one does: the correction is not 0 yet.\n"
    "Which matrix has to begin at 0?"
)
A_IS_ZERO = (
    "A begins at 0 and B at random. That works too, but the paper and this lesson begin with B at "
    "0.\nCan you exchange the two?"
)
NOT_LINEAR = "merge() gave {kind}, not an nn.Linear.\nDoes it build a plain layer and return it?"
EDITS_W = (
    "merge() changes the weights of the given layer, so forward adds the correction twice "
    "afterwards.\nCan the sum go into a new nn.Linear?"
)
DETACHED = NO_GRADIENT
WIDE = (
    "The output is right, but B A is multiplied out in forward: a table of inputs x outputs "
    "numbers at each call.\nIn which order do two narrow products do it?"
)


@dataclass(frozen=True)
class Run:
    """What a layer computed, with given A and B."""

    output: Any
    merged: Any


class Layer(Call):
    """A given linear layer, with A and B to put into the answer's, and inputs."""

    def __init__(self, draw: Draw, inputs: int, outputs: int, rank: int, alpha: float):
        self.linear = nn.Linear(inputs, outputs)
        with torch.no_grad():
            self.linear.weight.copy_(draw.normal(outputs, inputs))
            self.linear.bias.copy_(draw.normal(outputs))
        self.rank, self.alpha = rank, alpha
        self.a, self.b = draw.normal(rank, inputs), draw.normal(outputs, rank)
        self.x = draw.normal(2, 5, inputs)
        super().__init__()

    def made(self, function: Callable[..., Any]) -> Any:
        """The layer that a function makes of a copy of the given one."""
        given = copy.deepcopy(self.linear), self.rank, self.alpha
        return function.module(*given) if isinstance(function, Answer) else function(*given)

    def filled(self, function: Callable[..., Any]) -> Any:
        """The same with this call's A and B in it."""
        made = self.made(function)
        module = made.given if isinstance(made, Answer) else made
        for name, value in (("A", self.a), ("B", self.b)):
            found = getattr(module, name, None)
            shape = tuple(value.shape)
            fits = isinstance(found, nn.Parameter) and tuple(found.shape) == shape
            require(fits, NO_MATRIX.format(name=name, shape=shape))
            assert isinstance(found, nn.Parameter)  # it fits
            found.data.copy_(value)
        return made

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function's layer gives, before and after merging."""
        made = self.filled(function)
        output = made(self.x)
        module = made.given if isinstance(made, Answer) else made
        merge = Answer(module.merge, "merge") if isinstance(made, Answer) else module.merge
        return Run(output, merge)


def check(answer: Answer, draw: Draw) -> Held:
    """``LoRA(linear, rank, alpha)``: a frozen layer with a correction of low rank that learns."""

    def layer() -> Layer:
        inputs, outputs = draw.whole(5, 7), draw.whole(8, 10)
        return Layer(draw, inputs, outputs, draw.whole(2, 3), draw.whole(5, 9))

    _a_fresh_layer(answer, layer())
    yield "a fresh layer computes what the given one does; rank x (inputs + outputs) numbers learn"

    forward = Comparison(answer, Reference, MISTAKES, read=_output)
    forward.on(
        layer,
        "With A and B filled in the output is wrong.\n"
        "W x + b, and alpha / rank times B A x: which part differs?",
    )
    call = layer()
    made = call.filled(answer)
    output = made(call.x)
    parameters = [made.given.A, made.given.B]
    for gradient in backward(output, parameters, torch.ones_like(output)):
        require(gradient is not None, NO_GRADIENT)
    large = Layer(draw, 96, 96, 2, 3)
    effort = large.filled(answer).effort(large.x[:1, :1])
    require(effort.made < 96 * 96, WIDE)
    yield "forward: the given layer plus alpha / rank times B A x, by two narrow products"

    merged = Comparison(answer, Reference, MISTAKES, read=_merged)
    merged.on(layer, "The merged layer gives something else than forward.\nWhat is its weight?")
    made = call.filled(answer)
    made.given.merge()
    after = made(call.x)
    require(torch.allclose(after, call.of(Reference).output, atol=1e-4), EDITS_W)
    yield "merge: a plain layer that computes the same; the given one stays as it is"


class Reference(nn.Module):
    """The whole matrix, computed at each call."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float):
        super().__init__()
        self.linear, self.share = linear.requires_grad_(False), alpha / rank
        self.A = nn.Parameter(torch.randn(rank, linear.in_features))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def weight(self) -> Tensor:
        """W with its correction."""
        return self.linear.weight + self.share * torch.einsum("or,ri->oi", self.B, self.A)

    def forward(self, x: Tensor) -> Tensor:
        """By one wide product."""
        return F.linear(x, self.weight(), self.linear.bias)

    def merge(self) -> nn.Linear:
        """A layer with that matrix."""
        return _linear(self.weight(), self.linear.bias)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, bias=bias is not None)
    linear.weight.data = weight.detach().clone()
    if bias is not None:
        linear.bias.data = bias.detach().clone()
    return linear


def _a_fresh_layer(answer: Answer, call: Layer) -> None:
    """Shapes, what learns, and that nothing is changed in the beginning."""
    made = call.made(answer)
    call.filled(answer)
    module = made.given
    own = {"A": module.A, "B": module.B}
    learns = [p for name, p in module.named_parameters() if p.requires_grad and name not in own]
    shapes = {tuple(parameter.shape) for parameter in learns}
    require(tuple(call.linear.weight.shape) not in shapes, W_LEARNS)
    outputs, inputs = call.linear.weight.shape
    count = sum(p.numel() for p in module.parameters() if p.requires_grad)
    right = call.rank * (inputs + outputs)
    facts = {"count": count, "inputs": inputs, "outputs": outputs, "right": right}
    require(count == right, MORE_LEARNS.format(**facts))
    zero = {name: not value.detach().any() for name, value in own.items()}
    require(not all(zero.values()), BOTH_ZERO)
    require(not zero["A"], A_IS_ZERO)
    output = a_tensor(made(call.x), (2, 5, outputs), "output")
    require(zero["B"], B_NOT_ZERO)
    if not torch.allclose(output, call.linear(call.x), atol=1e-5):
        linear = call.linear(call.x)
        for mistake in FRESH:
            wrong = call.made(mistake.wrong)(call.x)
            if torch.allclose(output, wrong, atol=1e-5):
                raise CheckFailed(mistake.diagnosis)
        apart = (output - linear).abs().max().item()
        raise CheckFailed(
            f"A fresh layer differs from the given one by up to {apart:.2g}.\n"
            "With B at 0, what should be left of forward?"
        )


def _output(run: Run, right: Run) -> Tensor:
    return a_tensor(run.output, tuple(right.output.shape), "output")


def _merged(run: Run, right: Run) -> Tensor:
    """The matrix and bias of the merged layer, in one table."""
    linear = run.merged()
    if not isinstance(linear, nn.Linear):
        if linear is None or linear is Ellipsis:
            a_tensor(linear, (), "merged layer")
        raise CheckFailed(NOT_LINEAR.format(kind=f"a {type(linear).__name__}"))
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    return torch.cat([linear.weight, bias[:, None]], 1).detach()


# --- What learners write instead -----------------------------------------------------------------


def _lora(
    output: Callable[[Reference, Tensor], Tensor] | None = None,
    merged: Callable[[Reference], Any] | None = None,
    start: Callable[[Reference], object] | None = None,
) -> type[Reference]:
    """LoRA with a part exchanged."""

    class Wrong(Reference):
        def __init__(self, linear: nn.Linear, rank: int, alpha: float):
            super().__init__(linear, rank, alpha)
            self.rank, self.alpha = rank, alpha
            if start is not None:
                start(self)

        def forward(self, x: Tensor) -> Tensor:
            if output is not None:
                return output(self, x)
            plain: Tensor = self.linear(x)
            return plain + self.share * (x @ self.A.T @ self.B.T)

        def merge(self) -> Any:
            return super().merge() if merged is None else merged(self)

    return Wrong


def _with_share(share: Callable[[Any], float]) -> type[Reference]:
    return _lora(lambda own, x: own.linear(x) + share(own) * (x @ own.A.T @ own.B.T))


def _in_place(own: Reference) -> nn.Linear:
    own.linear.weight.data += own.share * own.B @ own.A
    return own.linear


FRESH = [
    Mistake(
        _lora(lambda own, x: own.share * (x @ own.A.T @ own.B.T)),
        "The output is the correction alone; a fresh layer gives 0 for everything.\n"
        "Where is what the given layer computes?",
        compared=False,
    ),
    Mistake(
        _lora(lambda own, x: x @ own.weight().T),
        "The bias of the given layer is missing.\nWhat does self.linear(x) compute?",
        compared=False,
    ),
]
MISTAKES = [
    *FRESH,
    Mistake(
        _with_share(lambda own: 1.0),
        "The correction is B A x, without its factor.\nBy what does the lesson multiply it?",
    ),
    Mistake(
        _with_share(lambda own: own.alpha),
        "The correction is multiplied by alpha; the factor is alpha / rank.\n"
        "What keeps the correction alike in size when the rank is doubled?",
    ),
    Mistake(
        _with_share(lambda own: own.rank / own.alpha),
        "The factor is upside down: rank / alpha.\nWhich of the two makes a correction larger?",
    ),
    Mistake(
        _lora(merged=lambda own: _linear(own.linear.weight + own.B @ own.A, own.linear.bias)),
        "The merged weight is W + B A, without the factor that forward has.\n"
        "Should both not compute the same?",
    ),
    Mistake(
        _lora(merged=lambda own: _linear(own.share * own.B @ own.A, own.linear.bias)),
        "The merged weight is the correction alone.\nTo which matrix is it added?",
    ),
    Mistake(
        _lora(merged=lambda own: _linear(own.linear.weight, own.linear.bias)),
        "The merged layer is the given one, without what was learned.\nWhat has to be added to W?",
    ),
    Mistake(
        _lora(merged=lambda own: _linear(own.weight(), None)),
        "The bias is missing in the merged layer.\nWhere does the given one keep it?",
    ),
    Mistake(
        _lora(merged=lambda own: _linear(own.weight(), torch.randn(len(own.B)))),
        "The merged layer has the right matrix and a bias of its own.\n"
        "Which bias does a new nn.Linear begin with, and which does it need?",
        alike=lambda found, wrong: (
            found[:, :-1].equal(wrong[:, :-1])
            or torch.allclose(found[:, :-1], wrong[:, :-1], atol=1e-5)
        ),
    ),
    Mistake(_lora(merged=lambda own: own.weight()), NOT_LINEAR, compared=False),
    Mistake(_lora(merged=_in_place), EDITS_W, compared=False),
    Mistake(_lora(start=lambda own: own.linear.requires_grad_(True)), W_LEARNS, compared=False),
    Mistake(
        _lora(start=lambda own: setattr(own, "C", nn.Parameter(torch.zeros(3)))),
        MORE_LEARNS,
        compared=False,
    ),
    Mistake(_lora(start=lambda own: own.A.data.zero_()), BOTH_ZERO, compared=False),
    Mistake(_lora(start=lambda own: own.B.data.normal_()), B_NOT_ZERO, compared=False),
    Mistake(
        _lora(start=lambda own: (own.A.data.zero_(), own.B.data.normal_())),
        A_IS_ZERO,
        compared=False,
    ),
    Mistake(
        _lora(start=lambda own: setattr(own, "A", nn.Parameter(own.A.detach().T.clone()))),
        NO_MATRIX,
        compared=False,
    ),
    Mistake(
        _lora(lambda own, x: own.linear(x) + (own.share * x @ own.A.T @ own.B.T).detach()),
        NO_GRADIENT,
        compared=False,
    ),
    Mistake(_lora(lambda own, x: Reference.forward(own, x)), WIDE, compared=False),
]

_OURS = _lora(start=lambda own: own.A.data.div_(own.A.shape[1] ** 0.5))
EXERCISE = Exercise("LoRA", "finetune_bert", 3, check, mistakes=MISTAKES, ours=_OURS)
