"""The exercise ``MultiHead``."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from attnlab.course.checks.attention_from_scratch.multi_head_mistakes import (
    AS_MANY_TEXTS,
    FITS,
    FULL,
    HEADS,
    LARGE,
    LEAKY,
    LEFT_OVER,
    MISTAKES,
    MODE,
    OTHER_LAYERS,
    OTHER_SIZES,
    PADDING,
    RANDOM,
    UNUSED,
    WIDTH,
)
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
    backward,
    require,
    same,
    where,
)
from attnlab.languages import tr

BATCH, QUERIES, KEYS = 2, 6, 7
LAYERS = ("query", "key", "value", "output")


def check(answer: Answer, draw: Draw) -> Held:
    """``MultiHead(width, heads)``: self- and cross-attention like torch.nn.MultiheadAttention."""
    mine, theirs = _modules(answer, WIDTH, HEADS)
    _all_layers_are_used(mine, draw.normal(BATCH, QUERIES, WIDTH))
    yield "all four layers are used, and nothing else that is random"

    reference = functools.partial(_reference, theirs)
    compared = Comparison(
        mine, reference, _with_weights(MISTAKES, theirs), what="output", tolerance=1e-4
    )

    def to_itself() -> Call:
        return Call(*[draw.normal(BATCH, QUERIES, WIDTH)] * 3)

    compared.on(
        to_itself,
        "Self-attention differs from torch's with the same weights.\n"
        "Project, split, attend, merge, project: which step is it?",
    )
    yield "self-attention equals torch's"
    compared.on(
        lambda: Call(
            draw.normal(BATCH, QUERIES, WIDTH),
            draw.normal(BATCH, KEYS, WIDTH),
            draw.normal(BATCH, KEYS, WIDTH),
        ),
        "Cross-attention differs from torch's.\n"
        "Queries come from one text, keys and values from another.",
    )
    yield "cross-attention equals torch's"
    leaky = LEAKY(WIDTH, HEADS)
    _copy_weights(theirs, leaky)
    _masks(compared, reference, leaky, draw)
    with where(LEFT_OVER):
        compared.on(to_itself, "The output is wrong.\nDo you keep a mask in self?")
    yield "masks: one for all (T_q, T_k), and one per text (B, 1, T_k) or (B, T_q, T_k)"
    source = draw.normal(BATCH, KEYS, WIDTH), draw.normal(BATCH, KEYS, WIDTH)
    mine.gradients(reference, draw.normal(BATCH, QUERIES, WIDTH), *source)
    yield "gradients reach all three inputs"
    _other_sizes(answer, draw)
    yield "any sizes"


def _modules(answer: Answer, width: int, heads: int) -> tuple[Answer, nn.MultiheadAttention]:
    """The learner's module and torch's, with the same weights, in eval mode."""
    mine = answer.module(width, heads)
    theirs = nn.MultiheadAttention(width, heads, batch_first=True).eval()
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    _copy_weights(theirs, mine.given)
    mine.given.eval()
    return mine, theirs


def _other_sizes(answer: Answer, draw: Draw) -> None:
    """Compare with more heads and tokens, and with padding."""
    width, heads, tokens, keys = 24, 6, 40, 70
    mine, theirs = _modules(answer, width, heads)
    padding = torch.arange(keys) < torch.tensor([[[keys]], [[keys - 30]], [[keys - 60]]])

    def padded() -> Call:
        source = draw.normal(3, keys, width)
        return Call(draw.normal(3, tokens, width), source, source, padding)

    compared = Comparison(mine, functools.partial(_reference, theirs), what="output")
    with where(tr(OTHER_SIZES, heads=HEADS, others=heads, tokens=keys)):
        compared.on(padded, "Is a number typed in that should come from a shape?", tolerance=1e-4)


def _all_layers_are_used(mine: Answer, x: Tensor) -> None:
    """Fail where a layer gets no gradient, or where a second call gives something else."""
    first, second = (mine.tensor(x, x, x, shape=tuple(x.shape), what="output") for _ in range(2))
    weights = [getattr(mine.given, name).weight for name in LAYERS]
    gradients = backward(first, weights, torch.ones_like(first))
    for name, gradient in zip(LAYERS, gradients, strict=True):
        require(gradient is not None, tr(UNUSED, name=name))
    require(same(first, second, 1e-6), RANDOM)
    for training in (False, True):
        mine.given.train(training)
        mine(x, x, x)
        require(mine.given.training == training, MODE)
    mine.given.eval()


def _masks(
    compared: Comparison, reference: Callable[..., Tensor], leaky: nn.Module, draw: Draw
) -> None:
    """Compare under masks through which every query sees something.

    ``leaky`` hides by a finite score: inputs are drawn until this shows.
    """
    crossed = torch.ones(QUERIES, KEYS, dtype=torch.bool).tril(1)

    def read(result: object, right: Tensor) -> Tensor:
        return a_tensor(result, tuple(right.shape), "output", may_be_nan=True).nan_to_num()

    def masked(texts: int) -> Call:
        x = draw.normal(texts, QUERIES, WIDTH)
        seen = torch.rand(QUERIES, QUERIES, generator=draw.generator) < 0.3
        seen[-1] = True
        return Call(x, x, x, seen.fill_diagonal_(True))  # another mask at each call

    def large() -> Call:
        for _ in range(200):
            x, source = (30 * draw.normal(BATCH, tokens, WIDTH) for tokens in (QUERIES, KEYS))
            call = Call(x, source, source, crossed)
            if not same(call.of(reference), call.of(leaky), 1e-2):
                break
        return call

    for place, draw_call in (
        (FITS, lambda: masked(BATCH)),
        (AS_MANY_TEXTS, lambda: masked(QUERIES)),
        (LARGE, large),
    ):
        with where(place):
            compared.on(
                draw_call,
                "The output is wrong.\n"
                "Do you tell the two kinds of mask apart by their number of axes?",
                read=read,
                tolerance=1e-3,
            )

    def padded() -> Call:
        shorter = KEYS - draw.whole(1, 4)
        padding = torch.arange(KEYS) < torch.tensor([[[KEYS]], [[shorter]]])  # (B, 1, T_k)
        source = draw.normal(BATCH, KEYS, WIDTH)
        return Call(draw.normal(BATCH, QUERIES, WIDTH), source, source, padding)

    def full() -> Call:
        call = padded()
        (x, source, *_, padding), own = call.arguments, torch.ones(BATCH, QUERIES, KEYS).tril(2)
        return Call(x, source, source, padding & own.bool())

    for place, draw_call in ((PADDING, padded), (FULL, full)):
        with where(place):
            compared.on(
                draw_call,
                "Scores have four axes, (B, H, T_q, T_k): where must the mask get one more?",
            )


def _reference(
    theirs: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """torch's own, whose masks mark what is hidden."""
    if mask is not None:
        mask = ~mask
        if mask.dim() == 3:
            mask = mask.expand(-1, query.shape[1], -1).repeat_interleave(theirs.num_heads, 0)
    return theirs(query, key, value, attn_mask=mask, need_weights=False)[0]


def _copy_weights(theirs: nn.MultiheadAttention, mine: nn.Module) -> None:
    """Give a learner's four layers the weights of torch's module."""
    weights = [*theirs.in_proj_weight.chunk(3), theirs.out_proj.weight]
    biases = [*theirs.in_proj_bias.chunk(3), theirs.out_proj.bias]
    for name, weight, bias in zip(LAYERS, weights, biases, strict=True):
        layer = getattr(mine, name, None)
        if (
            not isinstance(layer, nn.Linear)
            or layer.weight.shape != weight.shape
            or layer.bias is None
        ):
            outputs, inputs = weight.shape
            raise CheckFailed(tr(OTHER_LAYERS, name=name, inputs=inputs, outputs=outputs))
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)


def _with_weights(mistakes: Sequence[Mistake], theirs: nn.MultiheadAttention) -> list[Mistake]:
    """The mistakes as modules with torch's weights."""
    made = []
    for mistake in mistakes:
        if mistake.compared:
            module = mistake.wrong(WIDTH, HEADS)
            _copy_weights(theirs, module)
            made.append(replace(mistake, wrong=module))
    return made


EXERCISE = Exercise(
    "MultiHead",
    "attention_from_scratch",
    4,
    check,
    frozenset({"multi_head_attention_forward", "attnlab.forward"}),
    MISTAKES,
)
