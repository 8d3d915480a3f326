"""Exercise ``layer_flops``: the floating-point operations of one encoder layer, by formula."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_number,
    where,
)

Formula = Callable[[int, int, int, int, int], Any]

NOT_WHOLE = (
    "{found} FLOPs came back.\nOperations are counted in whole numbers: is there a division?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``layer_flops(tokens, width, heads, head_width, neurons)``: FLOPs of one encoder layer."""
    compared = Comparison(answer, reference, MISTAKES, read=_a_count)
    otherwise = (
        "For {tokens}, width {width}, {heads} heads of {head_width} and {neurons} neurons "
        "you count {found:,} FLOPs; torch counts {right:,}.\n"
        "Which matrices are multiplied, and what are the three sizes of each product?"
    )

    def whole_layer(tokens: int) -> Call:
        heads, head_width = draw.whole(2, 6), draw.whole(5, 9)
        width = heads * head_width
        return Call(tokens, width, heads, head_width, 4 * width)

    with where("For a single token in a whole layer:"):
        compared.on(lambda: whole_layer(1), otherwise, facts=_facts)
    yield "a single token: four projections, one score a head, two matrices of the feed-forward"

    with where("For several tokens:"):
        compared.on(lambda: whole_layer(draw.whole(2, 90)), otherwise, facts=_facts)
    yield "several tokens: only scores and weighted sums grow with the square"

    def fewer_neurons() -> Call:
        tokens, width, heads, head_width, _ = whole_layer(draw.whole(2, 90)).arguments
        return Call(tokens, width, heads, head_width, draw.whole(width, 3 * width))

    with where("For a layer some of whose neurons are pruned:"):
        compared.on(fewer_neurons, otherwise, facts=_facts)
    yield "as many neurons as are left"

    def fewer_heads() -> Call:
        tokens, width, heads, head_width, neurons = fewer_neurons().arguments
        return Call(tokens, width, draw.whole(1, heads - 1), head_width, neurons)

    with where("For a layer some of whose heads are pruned:"):
        compared.on(fewer_heads, otherwise, facts=_facts)
    yield "as many heads as are left, though the layer is as wide as before"

    for tokens in (128, 4096):
        with where(f"For a layer of BERT-base and {tokens:,} tokens:"):
            bert_base = partial(Call, tokens, 768, 12, 64, 3072)
            compared.on(bert_base, otherwise, facts=_facts, draws=1)
    yield "BERT-base to the last operation"


@cache
def reference(tokens: int, width: int, heads: int, head_width: int, neurons: int) -> int:
    """What torch counts while such a layer runs, on tensors without numbers."""
    inner = heads * head_width

    def new(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, device="meta")

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        hidden = new(1, tokens, width)
        query, key, value = (
            F.linear(hidden, new(inner, width), new(inner))
            .view(1, tokens, heads, head_width)
            .transpose(1, 2)
            for _ in range(3)
        )
        context = (query @ key.mT).softmax(-1) @ value
        joined = context.transpose(1, 2).reshape(1, tokens, inner)
        hidden = F.layer_norm(hidden + F.linear(joined, new(width, inner), new(width)), (width,))
        F.linear(F.gelu(F.linear(hidden, new(neurons, width))), new(width, neurons))
    return int(counter.get_total_flops())


def _a_count(result: Any, right: int) -> int:
    """A whole number."""
    number = a_number(result.item() if _has_one(result) else result, "number of FLOPs")
    if number != int(number):
        raise CheckFailed(NOT_WHOLE.format(found=f"{number:,.6g}"))
    return int(number)


def _has_one(result: Any) -> bool:
    """Whether it is a tensor or array with a single number."""
    return getattr(result, "shape", None) == () and hasattr(result, "item")


def _facts(call: Call, result: Any) -> dict[str, Any]:
    tokens, width, heads, head_width, neurons = call.arguments
    return {
        "tokens": f"{tokens:,} tokens" if tokens > 1 else "1 token",
        "width": width,
        "heads": heads,
        "head_width": head_width,
        "inner": heads * head_width,
        "neurons": neurons,
        "found": _a_count(result, 0),
        "right": call.of(reference),
    }


# --- What learners write instead -----------------------------------------------------------------


# t tokens, e width, h heads, d head width, n neurons


def _projections(t: int, e: int, h: int, d: int, n: int) -> int:
    return 8 * t * e * h * d


def _scores(t: int, e: int, h: int, d: int, n: int) -> int:
    return 4 * t * t * h * d


def _counting(
    attention: Formula = _projections,
    scores: Formula = _scores,
    feed_forward: Formula = lambda t, e, h, d, n: 4 * t * e * n,
    times: float = 1,
) -> Formula:
    """The formula with a part exchanged."""

    def answer(tokens: int, width: int, heads: int, head_width: int, neurons: int) -> Any:
        sizes = tokens, width, heads, head_width, neurons
        return int(times * (attention(*sizes) + scores(*sizes) + feed_forward(*sizes)))

    return answer


def _of_width(formula: Formula) -> Formula:
    """A formula that takes the heads to be as wide together as the layer."""
    return lambda t, e, h, d, n: formula(t, e, 1, e, n)


_right = _counting()

PRUNED = "{heads} heads of {head_width} are left, and the layer is {width} wide.\n"
MISTAKES = [
    Mistake(
        _counting(times=0.5),
        "A multiplication with its addition counts as 1, so that everything is half of what it "
        "should be.\nWhat should it count?",
    ),
    Mistake(
        lambda t, e, h, d, n: 4 * e * h * d + 2 * e * n,
        "These are the weights of the layer.\nHow many operations does each token need for each "
        "weight, and which products have no weight at all?",
    ),
    Mistake(
        _counting(attention=lambda t, e, h, d, n: 6 * t * e * h * d),
        "Three projections are counted: queries, keys and values.\nWhat does attention multiply by "
        "after the heads are joined?",
    ),
    Mistake(
        _counting(attention=lambda t, e, h, d, n: 2 * t * e * h * d),
        "One projection is counted.\nHow many has attention?",
    ),
    Mistake(
        _counting(attention=lambda t, e, h, d, n: 8 * t * e * d),
        "The projections are counted for one head.\nHow wide are all heads together?",
    ),
    Mistake(
        _counting(scores=lambda *sizes: 0),
        "The products without weights are missing, queries with keys and attention weights with "
        "values.\nHow many numbers has a table of scores?",
    ),
    Mistake(
        _counting(scores=lambda t, e, h, d, n: 2 * t * t * h * d),
        "One of two products without weights is missing.\nQueries with keys give scores: what are "
        "the attention weights multiplied by?",
    ),
    Mistake(
        _counting(scores=lambda t, e, h, d, n: 4 * t * t * d),
        "Scores and weighted sums are counted for one head.\nDoes each head have its own table?",
    ),
    Mistake(
        _counting(scores=lambda t, e, h, d, n: 4 * t * t * h * h * d),
        "The number of heads counts twice in scores and weighted sums.\nHow wide is one head?",
    ),
    Mistake(
        _counting(scores=lambda t, e, h, d, n: 4 * t * t * h),
        "A score is counted as one multiplication.\nHow many numbers of a query meet those of a "
        "key?",
    ),
    Mistake(
        _counting(feed_forward=lambda t, e, h, d, n: 2 * t * e * n),
        "One matrix of the feed-forward is counted.\nHow does it come back to the width of the "
        "layer?",
    ),
    Mistake(
        _counting(feed_forward=lambda *sizes: 0),
        "The feed-forward is missing.\nWhich two matrices has it?",
    ),
    Mistake(
        lambda t, e, h, d, n: _right(t, e, h, d, n) + t * (3 * h * d + 2 * e + n),
        "Biases are counted, too.\nWhich operations count here?",
    ),
    Mistake(
        lambda t, e, h, d, n: _right(t, e, h, d, n) + t * t * h,
        "An operation for each score is counted besides, as for a softmax or the division by the "
        "root of the head width.\nWhich operations count here?",
    ),
    Mistake(
        _counting(attention=lambda t, e, h, d, n: 8 * e * h * d),
        "The projections are counted for one token.\nHow many go through them?",
    ),
    Mistake(
        _counting(feed_forward=lambda t, e, h, d, n: 4 * e * n),
        "The feed-forward is counted for one token.\nHow many go through it?",
    ),
    Mistake(
        _counting(scores=lambda t, e, h, d, n: 4 * t * h * d),
        "Scores and weighted sums grow with the length as everything else does.\nWith how many "
        "keys does each query meet?",
    ),
    Mistake(
        _counting(scores=lambda t, e, h, d, n: 2 * t * (t + 1) * h * d),
        "Each token looks back only, as in a decoder.\nWhich tokens does one in an encoder look "
        "at?",
    ),
    Mistake(
        lambda t, e, h, d, n: t * t * (8 * e * h * d + 4 * h * d + 4 * e * n),
        "Everything grows with the square of the length.\nHow often does a token meet a weight "
        "matrix, and how often another token?",
    ),
    Mistake(
        _counting(feed_forward=lambda t, e, h, d, n: 16 * t * e * e),
        "The feed-forward is counted with four times as many neurons as the layer is wide; here "
        "there are {neurons}.\nWhich argument says how many are left?",
    ),
    Mistake(
        _counting(attention=_of_width(_projections), scores=_of_width(_scores)),
        f"{PRUNED}Attention is counted as if no head were gone. Which sizes have the projections "
        "and the scores?",
    ),
    Mistake(
        _counting(attention=_of_width(_projections)),
        f"{PRUNED}The projections are counted from width to width. Into how many numbers do they "
        "take a token?",
    ),
    Mistake(
        _counting(scores=_of_width(_scores)),
        f"{PRUNED}Scores and weighted sums are counted as if no head were gone. How wide are all "
        "heads together?",
    ),
    Mistake(
        _counting(attention=lambda t, e, h, d, n: 6 * t * e * h * d + 2 * t * e * e),
        f"{PRUNED}The output projection is counted from width to width. What goes into it?",
    ),
    Mistake(
        _counting(attention=lambda t, e, h, d, n: 8 * t * h * d * h * d),
        f"{PRUNED}The projections are counted from {{inner}} to {{inner}} numbers. How wide is "
        "what goes into the layer, and what comes out of it?",
    ),
    Mistake(
        _counting(feed_forward=lambda t, e, h, d, n: 4 * t * h * d * n),
        f"{PRUNED}The feed-forward is counted as if the layer had become narrower. How wide is "
        "what it reads?",
    ),
]

EXERCISE = Exercise(
    "layer_flops",
    "attention_economics",
    2,
    check,
    frozenset(
        {
            "get_total_flops",
            "attnlab.flops",
            "attnlab.flops_by_part",
            "attnlab.flops_of",
            "attnlab.cost",
        }
    ),
    MISTAKES,
)
