"""The exercise ``encoder_layer``."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    GRADIENT_MISSING,
    NO_GRADIENT,
    READY_MADE,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    same,
)
from attnlab.languages import tr

WIDTH, WIDE, EPS = 6, 24, 1e-12
SMALL = (
    "Right for ordinary numbers, wrong where the variance is small beside `eps`.\n"
    "It is added to the variance, under the root."
)
CONSTANT = (
    "A token whose numbers are all equal has the variance 0, and your output has NaN there.\n"
    "What keeps the division from being 0 / 0?"
)
OTHERWISE = (
    "The output is wrong. Where both sublayers add nothing, so that only the two norms are left, "
    "it is {alone}.\nAdd and normalise, after attention and again after the feed-forward network: "
    "which step differs?"
)

Part = Callable[[Tensor], Tensor]
Norms = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def check(answer: Answer, draw: Draw) -> Held:
    """``encoder_layer(x, attend, up, down, norms)``: the layer of BERT around its attention."""
    compared = Comparison(answer, _reference, MISTAKES, what="output", tolerance=1e-4)
    compared.on(lambda: _layer(draw), OTHERWISE, facts=functools.partial(_facts, answer, draw))
    yield "attention and feed-forward network, each added to its input and normalised"
    compared.on(lambda: _layer(draw, size=0.03, eps=0.01), SMALL, read=_or_nan, tolerance=1e-4)
    compared.on(lambda: _layer(draw, constant=True), CONSTANT, read=_or_nan)
    yield "eps stands beside the variance, under the root"
    compared.on(
        lambda: _layer(draw, texts=draw.whole(3, 5), tokens=draw.whole(9, 20)),
        "Right for 2 texts of 5 tokens, wrong for other sizes.\nIs a number typed in?",
    )
    answer.gradients(_reference, *_layer(draw).arguments)
    yield "any sizes, with gradients"


def _layer(
    draw: Draw,
    texts: int = 2,
    tokens: int = 5,
    size: float = 1.0,
    eps: float = EPS,
    constant: bool = False,
    silent: bool = False,
) -> Call:
    """Inputs of the layer, its parts with weights of their own."""

    def linear(inputs: int, outputs: int) -> Part:
        weight = draw.normal(outputs, inputs) / inputs**0.5
        weight = 0 * weight if silent else weight
        return lambda y: F.linear(y, weight)

    mix = draw.normal(tokens, tokens).softmax(-1)
    value = linear(WIDTH, WIDTH)

    def attend(y: Tensor) -> Tensor:
        return mix.to(y.dtype) @ value(y)

    x = 0.5 + size * draw.normal(texts, tokens, WIDTH)
    if constant:
        x[0] = 1.0
        value = linear(WIDTH, WIDTH)
        return Call(
            x, lambda y: 0 * value(y), linear(WIDTH, WIDE), linear(WIDE, WIDTH), _norms(draw)
        )
    if size != 1.0:
        small = attend
        return Call(
            x,
            lambda y: size * small(y),
            linear(WIDTH, WIDE),
            linear(WIDE, WIDTH),
            _norms(draw),
            eps,
        )
    return Call(x, attend, linear(WIDTH, WIDE), linear(WIDE, WIDTH), _norms(draw))


def _norms(draw: Draw) -> Norms:
    first, second = ((1 + 0.5 * draw.normal(WIDTH), draw.normal(WIDTH)) for _ in range(2))
    return first, second


def _reference(
    x: Tensor, attend: Part, up: Part, down: Part, norms: Norms, eps: float = EPS
) -> Tensor:
    """By torch's own norm."""
    (gain, bias), (gain_2, bias_2) = norms
    x = F.layer_norm(x + attend(x), x.shape[-1:], gain, bias, eps)
    return F.layer_norm(x + down(F.gelu(up(x))), x.shape[-1:], gain_2, bias_2, eps)


def _facts(answer: Answer, draw: Draw, call: Call, result: Any) -> dict[str, str]:
    """Whether the norms alone are right."""
    silent = _layer(draw, silent=True)
    right = silent.of(_reference)
    mine = silent.of(answer)
    fits = isinstance(mine, Tensor) and same(mine, right, 1e-4)
    return {"alone": tr("right") if fits else tr("wrong, too")}


def _or_nan(result: Any, right: Tensor) -> Tensor:
    return a_tensor(result, tuple(right.shape), "output", may_be_nan=True)


# --- What learners write instead -----------------------------------------------------------------


def _norm(
    y: Tensor,
    gain: Tensor,
    bias: Tensor,
    eps: float,
    axis: Any = -1,
    fewer: int = 0,
    centre: bool = True,
    root: bool = True,
    outside: bool = False,
) -> Tensor:
    """Layer norm with a part exchanged."""
    mean = y.mean(axis, keepdim=True)
    variance = y.var(axis, correction=fewer, keepdim=True)
    if not centre:
        mean, variance = 0 * mean, y.square().mean(axis, keepdim=True)
    if outside:
        return gain * (y - mean) / (variance.sqrt() + eps) + bias
    spread = (variance + eps).sqrt() if root else variance + eps
    return gain * (y - mean) / spread + bias


def _plain(y: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    return y


def _with(
    first: Callable[..., Tensor] = _norm,
    second: Callable[..., Tensor] = _norm,
    residual: tuple[float, float] = (1.0, 1.0),
    activate: Part = F.gelu,
    from_input: bool = False,
    swapped: bool = False,
) -> Callable[..., Tensor]:
    """The layer with a part exchanged."""

    def answer(
        x: Tensor, attend: Part, up: Part, down: Part, norms: Norms, eps: float = EPS
    ) -> Tensor:
        one, two = norms[::-1] if swapped else norms
        y = first(residual[0] * x + attend(x), *one, eps)
        added = x if from_input else y
        return second(residual[1] * added + down(activate(up(y))), *two, eps)

    return answer


def _both(**changed: Any) -> Callable[..., Tensor]:
    norm = functools.partial(_norm, **changed)
    return _with(first=norm, second=norm)


def _pre_norm(
    x: Tensor, attend: Part, up: Part, down: Part, norms: Norms, eps: float = EPS
) -> Tensor:
    x = x + attend(_norm(x, *norms[0], eps))
    return x + down(F.gelu(up(_norm(x, *norms[1], eps))))


def _norm_of_the_sublayer(
    x: Tensor, attend: Part, up: Part, down: Part, norms: Norms, eps: float = EPS
) -> Tensor:
    x = x + _norm(attend(x), *norms[0], eps)
    return x + _norm(down(F.gelu(up(x))), *norms[1], eps)


def _without_gain(y: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    return _norm(y, torch.ones_like(gain), torch.zeros_like(bias), eps)


def _without_bias(y: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    return _norm(y, gain, torch.zeros_like(bias), eps)


def _gain_last(y: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    return gain * (_without_gain(y, gain, bias, eps) + bias)


def _without_eps(y: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    return _norm(y, gain, bias, 0.0)


def _by_modules(
    x: Tensor, attend: Part, up: Part, down: Part, norms: Norms, eps: float = EPS
) -> Tensor:
    norm = nn.LayerNorm(x.shape[-1], eps=eps)
    return norm(norm(x + attend(x)) + down(F.gelu(up(x))))


def _cut_off(*given: Any) -> Tensor:
    return _with()(*given).detach()


def _cut_inside(x: Tensor, *given: Any) -> Tensor:
    return _with()(x.detach(), *given) + 0 * given[3][0][0].clone().requires_grad_()


MISTAKES = [
    Mistake(
        _both(fewer=1),
        "The variance is divided by the width less 1, as torch's std and var do unless told "
        "otherwise.\nA layer norm describes the numbers it has: which keyword of `var` says so?",
    ),
    Mistake(
        _both(axis=-2),
        "Your norm takes mean and variance over the tokens.\n"
        "Each token is normalised by itself: which axis holds its numbers?",
    ),
    Mistake(
        _both(axis=(-2, -1)),
        "Your norm takes one mean and variance for all tokens of a text.\n"
        "Each token is normalised by itself: over which axis?",
    ),
    Mistake(
        _both(axis=0),
        "Your norm takes mean and variance over the texts, as a batch norm does.\n"
        "Each token is normalised by itself: over which axis?",
    ),
    Mistake(
        _both(root=False),
        "You divide by the variance.\nWhat has to become 1, the variance or its square?",
    ),
    Mistake(
        _both(centre=False),
        "The mean is not subtracted (a norm without it is called RMSNorm).\n"
        "What should the mean of a token's numbers be before gain and bias?",
    ),
    Mistake(
        _with(first=_without_gain, second=_without_gain),
        "Gain and bias are not used.\nWhat is done with the numbers once they have mean 0 and "
        "variance 1?",
    ),
    Mistake(_with(first=_without_bias, second=_without_bias), "The bias of the norms is not used."),
    Mistake(
        _with(first=_gain_last, second=_gain_last),
        "The bias is multiplied by the gain.\nWhich of the two comes first?",
    ),
    Mistake(
        _pre_norm,
        "You normalise what goes *into* each sublayer, as most models do today (pre-norm).\n"
        "BERT is older: it normalises the sum, after the sublayer.",
    ),
    Mistake(
        _norm_of_the_sublayer,
        "You normalise what the sublayer gives, and add then.\nIn BERT, which comes first?",
    ),
    Mistake(
        _with(first=_plain, second=_plain),
        "Nothing is normalised.\nWhere do the two norms belong?",
    ),
    Mistake(_with(first=_plain), "The first norm is missing, the one after attention."),
    Mistake(_with(second=_plain), "The second norm is missing, at the end of the layer."),
    Mistake(
        _with(swapped=True), "The two norms have changed places: norms[0] belongs to attention."
    ),
    Mistake(
        _with(residual=(0.0, 0.0)),
        "Nothing is added to the input: there are no residual connections.\n"
        "What goes into each norm besides the output of the sublayer?",
    ),
    Mistake(
        _with(residual=(0.0, 1.0)),
        "The input is not added to what attention gives.\nWhat goes into the first norm?",
    ),
    Mistake(
        _with(residual=(1.0, 0.0)),
        "What goes into the feed-forward network is not added to its output.\n"
        "What goes into the second norm?",
    ),
    Mistake(
        _with(from_input=True),
        "The second sum takes the input of the whole layer.\n"
        "What went into the feed-forward network?",
    ),
    Mistake(
        _with(activate=F.relu),
        "The activation is a ReLU.\nBERT has a smooth one: which function of torch is it?",
    ),
    Mistake(
        _with(activate=functools.partial(F.gelu, approximate="tanh")),
        "The GELU is the approximation by a tanh, which GPT-2 has.\nBERT has the exact one.",
    ),
    Mistake(
        _with(activate=lambda y: y),
        "Between `up` and `down` there is no activation, so that the two are a single linear map."
        "\nWhich function stands between them?",
    ),
    Mistake(
        _both(outside=True),
        "`eps` is added to the standard deviation.\nIt belongs to the variance, under the root.",
    ),
    Mistake(
        _with(first=_without_eps, second=_without_eps),
        SMALL,
        compared=False,
    ),
    Mistake(
        lambda x, attend, up, down, norms, eps=EPS: _with()(x, attend, up, down, norms, EPS),
        SMALL,
        compared=False,
    ),
    Mistake(
        lambda x, *given: _with()(x, *given) if x.shape[1] == 5 else x,
        "Right for 2 texts of 5 tokens",
        compared=False,
    ),
    Mistake(_cut_off, NO_GRADIENT, compared=False),
    Mistake(_cut_inside, GRADIENT_MISSING, compared=False),
    Mistake(_by_modules, READY_MADE, compared=False),
]

EXERCISE = Exercise(
    "encoder_layer",
    "attention_from_scratch",
    3,
    check,
    frozenset({"layer_norm", "native_layer_norm", "batch_norm", "group_norm", "instance_norm"}),
    MISTAKES,
    ours=_reference,
)
