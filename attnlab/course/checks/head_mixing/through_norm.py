"""Exercise ``through_norm``: what a frozen layer norm reads of its input along a direction."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    require,
    same,
)

TWO_RESULTS = (
    "Two tensors are wanted, reads (B, E) and bias (B,); got {kind}.\n"
    "Does your function end with `return reads, bias`?"
)
NOT_THE_SUM = (
    "The parts do not add up to what the norm says: {parts:.4f} and the bias's share {bias:.4f}\n"
    "make {total:.4f}, but direction · norm(entering) is {right:.4f}.\n"
    "What is subtracted before the norm divides?"
)
MODULE_CHANGED = (
    "The norm itself is not the same afterwards.\nWhich of your lines writes into its weights?"
)

Parts = tuple[Tensor, Tensor]


def check(answer: Answer, draw: Draw) -> Held:
    """``through_norm(norm, entering, direction)``: a frozen layer norm as one direction."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, tolerance=1e-4)

    def call(*, plain: bool, rows: int = 1, width: int = 6, shift: float = 0.0) -> Call:
        norm = nn.LayerNorm(width, eps=1e-5)
        if not plain:
            with torch.no_grad():
                norm.weight.copy_(1 + 0.5 * draw.normal(width))
                norm.bias.copy_(draw.normal(width))
        entering = (1 + draw.uniform()) * draw.normal(rows, width) + shift
        return Call(norm, entering, draw.normal(rows, width))

    compared.on(
        lambda: call(plain=True),
        "With a plain norm (weight 1, bias 0) and one row, the direction is wrong.\n"
        "By what does the norm divide, and what does it subtract?",
    )
    yield "a plain norm: divided by the size, centred"

    compared.on(
        lambda: call(plain=False),
        "Right for a plain norm, wrong once it has a weight and a bias.\n"
        "What does the norm do after it has divided?",
    )
    yield "weight and bias of the norm"

    compared.on(
        lambda: call(plain=False, rows=4, width=9, shift=3.0),
        "Right for one row, wrong for several rows whose mean is far from 0.\n"
        "Has each row its own size, and its own mean?",
    )
    yield "each row by itself, wherever its mean is"

    def small() -> Call:
        made = call(plain=False, rows=2)
        made.arguments = (made.arguments[0], 1e-3 * made.arguments[1], made.arguments[2])
        return made

    compared.on(small, "Right for usual rows, wrong for very small ones.\nWhere does eps stand?")
    yield "rows so small that eps counts"

    norm, entering, direction = call(plain=False, rows=3, width=32).arguments
    weight = norm.weight.detach().clone()
    parts = draw.normal(5, 3, 32)
    parts[-1] = entering - parts[:-1].sum(0)  # five parts that sum to what enters
    reads, bias = _read(answer(norm, entering, direction), reference(norm, entering, direction))
    require(torch.equal(norm.weight, weight), MODULE_CHANGED)
    said, right = (parts * reads).sum((0, -1)), (direction * norm(entering)).sum(-1)
    facts = {"parts": said[0], "bias": bias[0], "total": (said + bias)[0], "right": right[0]}
    require(same(said + bias, right, 1e-3), NOT_THE_SUM.format(**facts))
    yield "five parts and the bias add up to what the norm says"


def reference(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    """By automatic differentiation: centring is followed, the size is held as it is."""
    size = (entering.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt().detach()
    moved = entering.detach().clone().requires_grad_()
    said = ((moved - moved.mean(-1, keepdim=True)) / size * norm.weight.detach() * direction).sum()
    (reads,) = torch.autograd.grad(said, moved)
    return reads, (direction * norm.bias.detach()).sum(-1)


def _read(result: Any, right: Parts) -> list[Tensor]:
    if result is None or result is Ellipsis:
        a_tensor(result, (), "reads")  # which says what is missing
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise CheckFailed(TWO_RESULTS.format(kind=type(result).__name__))
    names = ("reads", "bias")
    return [
        a_tensor(one, tuple(wanted.shape), name).detach()
        for one, wanted, name in zip(result, right, names, strict=True)
    ]


# --- What learners write instead -----------------------------------------------------------------


def _size(entering: Tensor, eps: float) -> Tensor:
    return (entering.var(-1, unbiased=False, keepdim=True) + eps).sqrt()


def _centred(reads: Tensor) -> Tensor:
    return reads - reads.mean(-1, keepdim=True)


def _said(norm: nn.LayerNorm, direction: Tensor) -> Tensor:
    return direction @ norm.bias


def _dividing_by(
    size: Callable[[Tensor, float], Tensor],
) -> Callable[[nn.LayerNorm, Tensor, Tensor], Parts]:
    """The right answer with another size."""

    def answer(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
        reads = _centred(direction * norm.weight / size(entering, norm.eps))
        return reads, _said(norm, direction)

    return answer


def _true_gradient(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    moved = entering.detach().clone().requires_grad_()
    (reads,) = torch.autograd.grad((norm(moved) * direction).sum(), moved)
    return reads, _said(norm, direction)


def _not_centred(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    return direction * norm.weight / _size(entering, norm.eps), _said(norm, direction)


def _centred_before_the_weight(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    reads = _centred(direction) * norm.weight / _size(entering, norm.eps)
    return reads, _said(norm, direction)


def _without_weight(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    return _centred(direction / _size(entering, norm.eps)), _said(norm, direction)


def _weight_divides(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    return _centred(direction / norm.weight / _size(entering, norm.eps)), _said(norm, direction)


def _not_divided(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    return _centred(direction * norm.weight), _said(norm, direction)


def _multiplied(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    reads = _centred(direction * norm.weight * _size(entering, norm.eps))
    return reads, _said(norm, direction)


def _through_the_norm(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    return norm(direction), _said(norm, direction)


def _output_of_the_norm(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    return norm(entering), _said(norm, direction)


_right = _dividing_by(_size)


def _bias_per_number(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    return _right(norm, entering, direction)[0], direction * norm.bias


def _bias_alone(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    return _right(norm, entering, direction)[0], norm.bias.sum().expand(len(entering))


def _no_bias(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    return _right(norm, entering, direction)[0], torch.zeros(len(entering))


def _bias_read_inside(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    reads = _right(norm, entering, direction)[0]
    return reads, reads @ norm.bias


def _only_reads(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Tensor:
    return _right(norm, entering, direction)[0]


def _weight_in_place(norm: nn.LayerNorm, entering: Tensor, direction: Tensor) -> Parts:
    result = _right(norm, entering, direction)
    with torch.no_grad():
        norm.weight.mul_(0.5)
    return result


MISTAKES = [
    Mistake(
        _true_gradient,
        "This is the norm's gradient: it also follows how the size changes with the input.\n"
        "Which number is to be held as it is?",
    ),
    Mistake(
        _through_the_norm,
        "The direction itself went through the norm.\n"
        "Whose mean and size does the norm use: those of the direction, or of what enters?",
    ),
    Mistake(
        _output_of_the_norm,
        "The output of the norm came back as the direction.\n"
        "Which vector, multiplied with the *input*, gives what the norm says?",
    ),
    Mistake(
        _not_centred,
        "Divided and weighted, but not centred.\n"
        "The norm subtracts the mean of its input: what does a part lose that is the same "
        "everywhere?",
    ),
    Mistake(
        _centred_before_the_weight,
        "The direction is centred before the weight is in it.\n"
        "The norm centres first and weights last: in which order do you go back?",
    ),
    Mistake(
        _without_weight,
        "The norm's weight is missing.\nWith what are the divided numbers multiplied?",
    ),
    Mistake(
        _weight_divides,
        "The direction is divided by the norm's weight.\n"
        "The norm multiplies by it. Is it undone, or carried along?",
    ),
    Mistake(
        _multiplied,
        "The direction is multiplied by the size, not divided.\n"
        "If the norm divides its input, how large is what it says?",
    ),
    Mistake(
        _not_divided,
        "The direction is weighted and centred, but not divided.\n"
        "By what does the norm divide each row?",
    ),
    Mistake(
        _dividing_by(lambda entering, eps: (entering.var(-1, keepdim=True) + eps).sqrt()),
        "The size is that with E - 1 in it.\nWhat does nn.LayerNorm divide the squares by?",
    ),
    Mistake(
        _dividing_by(lambda entering, eps: (entering.square().mean(-1, keepdim=True) + eps).sqrt()),
        "The size is taken without subtracting the mean, as an RMS norm does.\n"
        "Which size does a layer norm take?",
    ),
    Mistake(
        _dividing_by(lambda entering, eps: entering.var(-1, unbiased=False, keepdim=True) + eps),
        "The row is divided by its variance.\nIs that a size in the same unit?",
    ),
    Mistake(
        _dividing_by(lambda entering, eps: (entering.var(unbiased=False) + eps).sqrt()),
        "All rows share one size.\nOver which axis is it taken?",
    ),
    Mistake(
        _dividing_by(lambda entering, eps: entering.std(-1, unbiased=False, keepdim=True) + eps),
        "eps is added after the root.\nWhere does nn.LayerNorm add it?",
    ),
    Mistake(
        _dividing_by(lambda entering, eps: entering.std(-1, unbiased=False, keepdim=True)),
        "eps is missing.\nWhat would happen to a row whose numbers are all equal?",
    ),
    Mistake(
        _dividing_by(lambda entering, eps: entering.norm(dim=-1, keepdim=True)),
        "The row is divided by its length, not by its standard deviation.\n"
        "What does nn.LayerNorm divide by?",
    ),
    Mistake(
        _bias_read_inside,
        "The bias is read along the direction *before* the norm.\n"
        "On which side of the norm is its bias added?",
    ),
    Mistake(
        _no_bias,
        "The norm's bias says nothing here.\nWhat does `direction` read of `norm.bias`?",
    ),
    Mistake(
        _bias_alone,
        "The bias is added up, whatever the direction is.\nWhat does `direction` read of it?",
    ),
    Mistake(_bias_per_number, "Expected shape", compared=False),
    Mistake(_only_reads, "Two tensors are wanted", compared=False),
    Mistake(_weight_in_place, MODULE_CHANGED, compared=False),
]

EXERCISE = Exercise("through_norm", "head_mixing", 2, check, frozenset({"through_norm"}), MISTAKES)
