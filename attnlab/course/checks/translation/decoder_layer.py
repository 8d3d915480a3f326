"""The exercise ``decoder_layer``."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.attention import MultiHeadAttention
from attnlab.course.checks.examiner import (
    GRADIENT_MISSING,
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
)

BATCH, TOKENS, WIDTH = 2, 5, 8

OfTensor = Callable[[Tensor], Tensor]

AS_LONG_AS_THE_SOURCE = (
    "With more source than target tokens the result is as long as the source.\n"
    "Who asks in cross-attention, and is so the one to get an answer?"
)
OTHER_LENGTHS = (
    "Right with as many source as target tokens, wrong with more source tokens.\n"
    "Where is the length of one taken for that of the other?"
)


MODE = (
    "Your function switches the layer between training and eval mode.\n"
    "Whoever calls it decides that: is there a train() or eval() in it?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``decoder_layer(x, memory, layer, target_mask, source_mask)``: one layer, pre-norm."""
    layer = _Layer(WIDTH)
    compared = Comparison(answer, _decoded, MISTAKES, read=_output, tolerance=1e-4)

    def inputs(layer: _Layer, *masks: Tensor, source_tokens: int = TOKENS) -> Call:
        memory = draw.normal(BATCH, source_tokens, WIDTH)
        return Call(draw.normal(BATCH, TOKENS, WIDTH), memory, layer, *masks)

    all_seen = (
        torch.ones(BATCH, TOKENS, TOKENS, dtype=torch.bool),
        torch.ones(BATCH, 1, TOKENS, dtype=torch.bool),
    )
    parts_speak = partial(inputs, layer, *all_seen)

    def silenced(*names: str) -> Callable[[], Call]:
        """First with these attentions silent; then, to tell mistakes apart, with none."""
        draws = iter([partial(inputs, _with_silent(layer, names), *all_seen)])
        return lambda: next(draws, parts_speak)()

    compared.on(
        silenced("attention", "cross_attention"),
        "With both attentions silenced (they say 0) the result is wrong.\n"
        "Should it not be x + feed_forward(norm(x)), with the third norm?",
        draws=1,
    )
    yield "x + feed_forward(norm(x)), while both attentions are silent"
    compared.on(
        silenced("cross_attention"),
        "With cross-attention silenced (it says 0) the result is wrong.\n"
        "What does self-attention get as queries, keys and values, and what is its result added "
        "to?",
        draws=1,
    )
    yield "x + attention(norm(x)) before it, while cross-attention is silent"
    compared.on(
        parts_speak,
        "The rest is right, but with cross-attention the result is wrong.\n"
        "Where do its queries come from, where its keys and values?",
    )
    yield "x + cross_attention(norm(x), memory) between them"

    causal = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril().repeat(BATCH, 1, 1)
    causal[1, :, TOKENS - 2 :] = False  # padding of the second sentence
    lengths = torch.tensor([[[TOKENS - 1]], [[TOKENS - 3]]])
    compared.on(
        lambda: inputs(layer, causal, torch.arange(TOKENS) < lengths),
        "Right where all may be seen, wrong with masks.\n"
        "Which attention takes `target_mask`, which `source_mask`, as mask=...?",
    )
    yield "each attention with its own mask"
    for tokens in (TOKENS + 2, 40):
        seen = torch.arange(tokens) < lengths + tokens - TOKENS
        compared.on(partial(inputs, layer, causal, seen, source_tokens=tokens), OTHER_LENGTHS)
    yield "whatever the lengths"
    for training in (False, True):
        call = inputs(layer.train(training), causal, seen, source_tokens=tokens)
        call.of(answer)
        require(layer.training == training, MODE)
    answer.gradients(_decoded, *inputs(layer.eval(), causal, seen, source_tokens=40).arguments)
    yield "gradients reach x and the memory; training or not is left as it was"


class _Layer(nn.Module):
    """The parts of a decoder layer, with norms that differ."""

    def __init__(self, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = MultiHeadAttention(width, heads=2)
        self.cross_attention = MultiHeadAttention(width, heads=2)
        self.feed_forward = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, width))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.7)
        self.eval().requires_grad_(False)


def _with_silent(layer: _Layer, names: Iterable[str]) -> _Layer:
    """A copy of the layer in which these attentions say 0."""
    layer = copy.deepcopy(layer)
    for name in names:
        for parameter in getattr(layer, name).output.parameters():
            parameter.zero_()
    return layer


def _output(result: object, right: Tensor) -> Tensor:
    if isinstance(result, Tensor) and result.shape == (BATCH, TOKENS + 2, WIDTH):
        raise CheckFailed(AS_LONG_AS_THE_SOURCE)
    return a_tensor(result, tuple(right.shape))


def _decoded(
    x: Tensor,
    memory: Tensor,
    layer: _Layer,
    target_mask: Tensor | None,
    source_mask: Tensor | None,
    order: str = "scf",
    norms: tuple[int, int, int] = (0, 1, 2),
    around: str = "pre",
    across: str = "ymm",
    of_memory: bool = False,
    through: str = "cross_attention",
) -> Tensor:
    """A decoder layer, right by default, or with one mistake.

    ``order``: self-attention, cross-attention, feed-forward. ``across``: what is query, key and
    value of cross-attention, y of the target or the memory.
    """
    given = x
    norm = {name: layer.norms[place] for name, place in zip("scf", norms, strict=True)}
    source = norm["c"](memory) if of_memory else memory

    def cross(y: Tensor) -> Tensor:
        query, key, value = ({"y": y, "m": source}[name] for name in across)
        return getattr(layer, through)(query, key, value, mask=source_mask)

    parts: dict[str, OfTensor] = {
        "s": lambda y: layer.attention(y, y, y, mask=target_mask),
        "c": cross,
        "f": layer.feed_forward,
    }
    for name in order:
        x = _AROUND[around](x, norm[name], parts[name], given)
    return x


_AROUND: dict[str, Callable[[Tensor, OfTensor, OfTensor, Tensor], Tensor]] = {
    "pre": lambda x, norm, part, given: x + part(norm(x)),
    "post": lambda x, norm, part, given: norm(x + part(x)),
    "pre and post": lambda x, norm, part, given: norm(x + part(norm(x))),
    "no residual": lambda x, norm, part, given: part(norm(x)),
    "no norm": lambda x, norm, part, given: x + part(x),
    "from the norm": lambda x, norm, part, given: norm(x) + part(norm(x)),
    "from the start": lambda x, norm, part, given: given + part(norm(x)),
    "side by side": lambda x, norm, part, given: x + part(norm(given)),
}


# --- What learners write instead -----------------------------------------------------------------


def _masked(
    masks: Callable[[Tensor, Tensor], tuple[Tensor | None, Tensor | None]],
) -> Callable[..., Tensor]:
    """The layer with other masks, made of the two that were given."""

    def answer(
        x: Tensor, memory: Tensor, layer: _Layer, target_mask: Tensor, source_mask: Tensor
    ) -> Tensor:
        return _decoded(x, memory, layer, *masks(target_mask, source_mask))

    return answer


def _of_detached(place: int) -> Callable[..., Tensor]:
    def answer(x: Tensor, memory: Tensor, *others: Any) -> Tensor:
        inputs = [x, memory]
        inputs[place] = inputs[place].detach()
        return _decoded(inputs[0], inputs[1], *others)

    return answer


def _in_eval_mode(x: Tensor, memory: Tensor, layer: _Layer, *masks: Any) -> Tensor:
    return _decoded(x, memory, layer.eval(), *masks)


def _wrong_with_more_source(
    x: Tensor, memory: Tensor, layer: _Layer, target_mask: Tensor, source_mask: Tensor
) -> Tensor:
    right = _decoded(x, memory, layer, target_mask, source_mask)
    return right if memory.shape == x.shape else right + memory.mean()


def _as_long_as_the_source(
    x: Tensor, memory: Tensor, layer: _Layer, target_mask: Tensor, source_mask: Tensor
) -> Tensor:
    right = _decoded(x, memory, layer, target_mask, source_mask)
    return right if memory.shape == x.shape else memory


MISTAKES = [
    Mistake(
        partial(_decoded, around="no residual"),
        "The residuals are missing: what a part says takes the place of x.\n"
        "What is it to be added to?",
    ),
    Mistake(
        partial(_decoded, around="post"),
        "It is post-norm, as in the paper: the norm comes after the sum.\n"
        "Here each part reads norm(x), and its result is added to x as it was: where does each "
        "norm stand?",
    ),
    Mistake(
        partial(_decoded, around="pre and post"),
        "There is a norm before each part, as asked, and another one after the sum.\n"
        "Does anything touch x on its way through, besides sums?",
    ),
    Mistake(
        partial(_decoded, around="no norm"),
        "There is no norm.\nWhat does each part read: x, or norm(x)?",
    ),
    Mistake(
        partial(_decoded, around="from the norm"),
        "What a part says is added to norm(x), so x itself is lost.\n"
        "Which of the two goes through the layer unchanged?",
    ),
    Mistake(
        partial(_decoded, around="from the start"),
        "The parts do not build on each other: each adds its result to the x that the layer was "
        "given, and the one before is lost.\nWhich x is the second sum to begin with?",
    ),
    Mistake(
        partial(_decoded, around="side by side"),
        "All parts read the x that the layer was given, side by side.\n"
        "Should the second not read what the first has made of it?",
    ),
    Mistake(
        partial(_decoded, order="sc"),
        "The feed-forward network is missing.\nWhat comes after the two attentions?",
    ),
    Mistake(
        partial(_decoded, order="cf"),
        "Self-attention is missing.\nHow should the target tokens know of each other?",
    ),
    Mistake(
        partial(_decoded, order="sf"),
        "Cross-attention is missing: the source is never read.\nWhere does `memory` go?",
    ),
    Mistake(
        partial(_decoded, order="csf"),
        "Cross-attention comes before self-attention.\nWhich of the two is first?",
    ),
    Mistake(
        partial(_decoded, order="fsc"),
        "The feed-forward network comes first.\nIn which order do the three parts stand?",
    ),
    Mistake(
        partial(_decoded, order="sfc"),
        "The feed-forward network comes between the two attentions.\n"
        "In which order do the three parts stand?",
    ),
    Mistake(
        partial(_decoded, across="myy"),
        "Source and target have changed places in cross-attention: the source asks, the target "
        "answers.\nWho has a question here: where do the queries come from?",
    ),
    Mistake(
        partial(_decoded, across="ymy"),
        "The values of cross-attention come from the target: it looks at the source and takes "
        "from itself.\nWhat is mixed, once the weights are known?",
    ),
    Mistake(
        partial(_decoded, across="yym"),
        "The keys of cross-attention come from the target: it looks at itself and takes from the "
        "source.\nWith what are the queries compared?",
    ),
    Mistake(
        partial(_decoded, across="yyy"),
        "Cross-attention gets the target as keys and values, too: that is self-attention again.\n"
        "Where does `memory` go?",
    ),
    Mistake(
        partial(_decoded, across="mmm"),
        "Cross-attention gets the memory as queries, too: the target is never asked about.\n"
        "Where do the queries come from?",
    ),
    Mistake(
        partial(_decoded, through="attention"),
        "Cross-attention goes through `layer.attention`, the part of self-attention.\n"
        "Which part of the layer has learned to read the source?",
    ),
    Mistake(
        partial(_decoded, of_memory=True),
        "The memory is normalised, too. The encoder has done so at its end.\n"
        "Which of the inputs of cross-attention is normalised here?",
    ),
    Mistake(
        partial(_decoded, norms=(0, 0, 0)),
        "The same norm is used three times.\nWhich of `layer.norms` belongs to which part?",
    ),
    Mistake(
        partial(_decoded, norms=(2, 1, 0)),
        "The norms come in reverse order.\nWhich of `layer.norms` belongs to which part?",
    ),
    Mistake(
        partial(_decoded, norms=(1, 0, 2)),
        "The norms of the two attentions have changed places.\n"
        "Which of `layer.norms` belongs to which part?",
    ),
    Mistake(
        partial(_decoded, norms=(0, 2, 1)),
        "The norms of cross-attention and feed-forward network have changed places.\n"
        "Which of `layer.norms` belongs to which part?",
    ),
    Mistake(
        partial(_decoded, norms=(0, 0, 2)),
        "Cross-attention shares its norm with self-attention.\n"
        "Which of `layer.norms` belongs to which part?",
    ),
    Mistake(
        _masked(lambda target, source: (None, None)),
        "No mask is used: tokens see the future, and padding.\n"
        "Which attention takes which mask, as mask=...?",
    ),
    Mistake(
        _masked(lambda target, source: (None, source)),
        "Self-attention has no mask: tokens see the future.\nWhich mask hides it?",
    ),
    Mistake(
        _masked(lambda target, source: (target, None)),
        "Cross-attention has no mask: padding of the source is seen.\nWhich mask hides it?",
    ),
    Mistake(
        _masked(lambda target, source: (source, target)),
        "The masks have changed places.\nWhich attention looks at the source?",
    ),
    Mistake(
        _masked(lambda target, source: (target, target)),
        "`target_mask` is used in both attentions.\nMay a target token look at the whole source?",
    ),
    Mistake(
        _masked(lambda target, source: (source, source)),
        "`source_mask` is used in both attentions.\n"
        "What may a target token see of its own sentence?",
    ),
    *(
        Mistake(
            _masked(masks),
            "The masks are turned round.\n"
            "True means that looking is allowed: is there a ~ too many?",
        )
        for masks in (
            lambda target, source: (~target, ~source),
            lambda target, source: (target, source) if target.all() else (~target, ~source),
        )
    ),
    Mistake(_of_detached(0), GRADIENT_MISSING, compared=False),
    Mistake(_of_detached(1), GRADIENT_MISSING, compared=False),
    Mistake(_in_eval_mode, MODE, compared=False),
    Mistake(_as_long_as_the_source, AS_LONG_AS_THE_SOURCE, compared=False),
    Mistake(_wrong_with_more_source, OTHER_LENGTHS, compared=False),
]

EXERCISE = Exercise("decoder_layer", "translation", 3, check, mistakes=MISTAKES, ours=_decoded)
