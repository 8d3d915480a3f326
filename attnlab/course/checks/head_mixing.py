"""Checks of lesson 06, head mixing."""

import math
from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_number,
    a_pair,
    a_tensor,
    compare,
    require,
    same,
    some_numbers,
    where,
)

Held = Generator[str, None, None]
Layer = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


# --- mix_heads -----------------------------------------------------------------------------------


def mix_heads(answer: Answer, draw: Draw) -> Held:
    """``mix_heads(query, key, value, output_weight, output_bias, scale, temperature)``: a layer's output."""
    layer = _layer(draw, heads=1, neutral=True)
    compare(
        _output(answer, layer),
        _mixed(layer),
        {
            "With one head, both knobs at 1: the scores are not scaled, or only by the root of the number of "
            "heads, which is 1 here.\n"
            "By the root of which width must they be divided?": lambda: _mixed(layer, root=1),
            "With one head, both knobs at 1: the scores are divided by the width.\n"
            "Where is the square root?": lambda: _mixed(layer, root=_width(layer)),
            "With one head, both knobs at 1: the scores are divided by the root of the number of tokens.\n"
            "Over what does the sum in a dot product of query and key run?": (
                lambda: _mixed(layer, root=math.sqrt(layer[0].shape[2]))
            ),
            "With one head, both knobs at 1: the softmax runs over the queries.\n"
            "Which axis of the scores holds the keys?": lambda: _mixed(layer, axis=-2),
            "With one head, both knobs at 1: the bias is missing.\n"
            "What does nn.Linear add after its product?": lambda: _mixed(layer, biases=0),
            "With one head, both knobs at 1: output_weight (E, H * D) is reshaped as if E came last, which mixes "
            "its rows and columns up.\nWhich axis of it has to be cut, and into what?": (
                lambda: _mixed(layer, columns="rows")
            ),
            "With one head, both knobs at 1: there is no softmax.\n"
            "What turns scores into weights?": lambda: _mixed(layer, axis=None),
        },
        "With one head, both knobs at 1, the output is wrong.\n"
        "Scores, scaled; softmax over the keys; values mixed; output projection: which step differs?",
        tolerance=1e-4,
    )
    yield "one head, both knobs at 1"

    layer = _layer(draw, heads=3, neutral=True)
    heads, width = 3, _width(layer)
    compare(
        _output(answer, layer),
        _mixed(layer),
        {
            "The bias comes with every head, so it is there three times.\n"
            "How often does the layer add it?": lambda: _mixed(layer, biases=heads),
            "The heads are averaged.\nDoes the layer divide by their number?": (
                lambda: _mixed(layer, outside=torch.full((heads,), 1 / heads))
            ),
            "The heads are averaged, and the bias with them.\n"
            "Does the layer divide by their number?": lambda: _mixed(layer) / heads,
            "Only the last head is there.\nIs there a = in the loop where += should be?": (
                lambda: _mixed(layer, outside=torch.tensor([0.0, 0.0, 1.0]))
            ),
            "The columns of output_weight are dealt out one by one: head 0 gets every third one.\n"
            "Its width is cut as (H, D): which D columns stand together?": (
                lambda: _mixed(layer, columns="in turn")
            ),
            "Heads and tokens get mixed up when the heads are put side by side.\n"
            "Which two axes must change places before a reshape?": (
                lambda: _mixed(layer, columns="merged")
            ),
            "The scores are divided by the root of the whole width H * D.\n"
            "How wide is one query?": lambda: _mixed(layer, root=math.sqrt(heads * width)),
        },
        "Right for one head; with several the output is wrong.\n"
        "Head h goes through columns h D to (h + 1) D - 1 of output_weight: is it the sum of these?",
        tolerance=1e-4,
    )
    yield "several heads: the sum of what each brings, and the bias once"

    *rest, scale, temperature = _layer(draw, heads=3)
    ones = torch.ones(3)
    layer = (*rest, scale, ones)
    compare(
        _output(answer, layer),
        _mixed(layer),
        {
            "The scale has no effect.\nIs it used, or does a normalisation take it out again?": (
                lambda: _mixed(layer, outside=ones)
            ),
            "The scale is inside the softmax: it sharpens the weights, and makes no head louder.\n"
            "Where does s stand in the formula, before A or in it?": (
                lambda: _mixed(layer, inside=scale, outside=ones)
            ),
            "The bias is scaled with the heads.\n"
            "What should be left of the layer when all its heads are silent?": (
                lambda: _mixed(layer, biases=scale.mean())
            ),
            "The scale enters twice.\nDo you multiply values or weights by it, and the output again?": (
                lambda: _mixed(layer, outside=scale**2)
            ),
            "The scale divides.\nIs a head with scale 2 louder, or softer?": (
                lambda: _mixed(layer, outside=1 / scale)
            ),
            "The scale is normalised, so that a louder head makes the others softer.\n"
            "Is s a weight among heads, or a factor of its own?": (
                lambda: _mixed(layer, outside=3 * scale / scale.sum())
            ),
            "Scale and temperature have changed places.\n"
            "In which order does the function get them?": (
                lambda: _mixed(layer, inside=1 / scale, outside=ones)
            ),
        },
        "With scales the output is wrong.\nDoes s_h multiply what head h brings, and nothing else?",
        tolerance=1e-4,
    )
    yield "scale: in front of each head, not of the bias"

    layer = (*rest, ones, temperature)
    compare(
        _output(answer, layer),
        _mixed(layer),
        {
            "The temperature has no effect.\nIs it used, or does a normalisation take it out again?": (
                lambda: _mixed(layer, inside=ones)
            ),
            "A higher temperature makes the weights sharper; it should flatten them.\n"
            "Multiply, or divide?": lambda: _mixed(layer, inside=temperature),
            "The temperature comes after the softmax: the weights of a row no longer sum to 1.\n"
            "Which is divided, scores or weights?": (
                lambda: _mixed(layer, inside=ones, outside=1 / temperature)
            ),
            "The temperature stands under the square root.\n"
            "What is under the root in the formula, and what is beside it?": (
                lambda: _mixed(layer, inside=temperature**-0.5)
            ),
            "The temperature enters twice.\nDo you divide the queries by it, and the keys too?": (
                lambda: _mixed(layer, inside=temperature**-2)
            ),
        },
        "With temperatures the output is wrong.\nDoes tau_h divide the scores of head h, before the softmax?",
        tolerance=1e-4,
    )
    yield "temperature: divides the scores"

    layer = (*rest, scale, temperature)
    compare(
        _output(answer, layer),
        _mixed(layer),
        {},
        "Each knob is right by itself; with both the output is wrong.\nWhere do they meet?",
        tolerance=1e-4,
    )
    silent = (*rest, torch.zeros(3), temperature)
    compare(
        _output(answer, silent),
        rest[-1].expand(layer[0].shape[0], layer[0].shape[2], -1),
        {},
        "With all heads at scale 0 only the bias should be left.\nIs there a division by the scale?",
        tolerance=1e-4,
    )
    answer.gradients(lambda *inputs: _mixed(inputs), *layer)
    yield "both together, with gradients to each knob"


def _layer(draw: Draw, heads: int, neutral: bool = False) -> Layer:
    """What mix_heads gets, in its order; all sizes differ."""
    batch, tokens, width, out = 2, 6, 4, 5
    scale, temperature = draw.normal(2, heads).mul(0.7).exp()
    return (
        *(draw.normal(batch, heads, tokens, width) for _ in range(3)),
        draw.normal(out, heads * width),
        draw.normal(out),
        torch.ones(heads) if neutral else scale,
        torch.ones(heads) if neutral else temperature,
    )


def _width(layer: Layer) -> int:
    return layer[0].shape[-1]


def _output(answer: Answer, layer: Layer) -> Tensor:
    """The answer's output (B, T, E)."""
    batch, heads, tokens, width = layer[0].shape
    out = len(layer[4])
    result = answer(*layer)
    shapes = {
        (
            batch,
            heads,
            tokens,
            out,
        ): "There is one output for each head.\nWhat does the layer do with them?",
        (
            batch,
            tokens,
            heads,
            out,
        ): "There is one output for each head.\nWhat does the layer do with them?",
        (
            batch,
            heads,
            tokens,
            width,
        ): "These are the contexts of the heads.\nWhere is the output projection?",
        (
            batch,
            tokens,
            heads * width,
        ): "The heads stand side by side.\nWhere is the output projection?",
    }
    if isinstance(result, Tensor) and tuple(result.shape) in shapes:
        raise CheckFailed(
            f"The result has shape {tuple(result.shape)}. {shapes[tuple(result.shape)]}"
        )
    return a_tensor(result, (batch, tokens, out), "output")


def _mixed(
    layer: Layer,
    inside: Tensor | None = None,
    outside: Tensor | None = None,
    biases: float | Tensor = 1,
    root: float | None = None,
    axis: int | None = -1,
    columns: str = "together",
) -> Tensor:
    """A layer's output head by head, right by default, or with one mistake.

    ``inside`` multiplies the scores of each head and ``outside`` its context, both (H,).
    """
    query, key, value, weight, bias, scale, temperature = layer
    batch, heads, tokens, width = query.shape
    inside = 1 / temperature if inside is None else inside
    outside = scale if outside is None else outside
    contexts = []
    for head in range(heads):
        scores = query[:, head] @ key[:, head].transpose(-2, -1)  # (B, T, T)
        scores = inside[head] * scores / (root or math.sqrt(width))
        weights = scores if axis is None else scores.softmax(axis)
        contexts.append(outside[head] * (weights @ value[:, head]))
    if columns == "merged":
        return torch.stack(contexts, 1).reshape(batch, tokens, -1) @ weight.T + biases * bias
    parts = {
        "together": [weight[:, head * width : (head + 1) * width] for head in range(heads)],
        "in turn": [weight[:, head::heads] for head in range(heads)],
        "rows": [part.T for part in weight.reshape(heads, width, -1)],
    }[columns]
    return sum(one @ part.T for one, part in zip(contexts, parts, strict=True)) + biases * bias


# --- ablate --------------------------------------------------------------------------------------


def ablate(answer: Answer, draw: Draw) -> Held:
    """``ablate(context, value, real, mean, head, how)``: what a head brings, replaced in one of three ways."""
    given = _contexts(draw, lengths=[6, 4, 3])
    context, value, real, mean = given
    texts, heads, tokens, _ = context.shape
    head = draw.whole(1, texts - 1)  # also the number of a text, of a token and of a column
    this = (torch.arange(heads) == head)[:, None, None]

    def only(replaced: Tensor | float) -> Tensor:
        """The head replaced, every other left as it is."""
        return torch.where(this, replaced, context)

    def at(*place: slice | int) -> Tensor:
        """Zeros at another place than the head's."""
        other = context.clone()
        other[place] = 0
        return other

    zero = only(0.0)
    _same_contexts(
        answer,
        given,
        head,
        "zero",
        {
            "Nothing has changed.\nDo you return the new tensor, or the one that was given?": context,
            "All heads are silent.\nWhich axis of (B, H, T, D) counts the heads?": (
                torch.zeros_like(context)
            ),
            "Only this head is left, and all others are silent.\n"
            "Which of them was to be taken away?": torch.where(this, context, 0.0),
            f"Text {head} is silent, with all its heads, and no other.\n"
            "Which axis of (B, H, T, D) counts the heads?": at(head),
            f"Token {head} is silent, in all heads.\n"
            "Which axis of (B, H, T, D) counts the heads?": at(slice(None), slice(None), head),
            f"Head {head - 1} is silent, not head {head}.\nDo heads count from 0 or from 1?": (
                at(slice(None), head - 1)
            ),
            "The head is silent, and the others have become louder, as in dropout.\n"
            "Should anything but this head change?": zero * heads / (heads - 1),
        },
    )
    yield "zero: this head silent, and no other"

    count = real.sum(-1)[:, None, None, None]  # (B, 1, 1, 1)
    seen = (value * real[:, None, :, None]).sum(2, keepdim=True)  # (B, H, 1, D)
    right = seen / count
    _same_contexts(
        answer,
        given,
        head,
        "uniform",
        {
            "The head is silent, as for 'zero'.\nWhere does your function look at `how`?": zero,
            "The padding is averaged, too: the head looks at tokens that are not there.\n"
            "Which tokens does `real` mark?": only(value.mean(2, keepdim=True)),
            f"The values of the real tokens are divided by {tokens}, the number of all tokens.\n"
            "By how many must they be divided, so that the weights sum to 1?": only(seen / tokens),
            "The values of the real tokens are added up.\n"
            "How large is each weight, if they are equal and sum to 1?": only(seen),
            "The real tokens of all texts are averaged: each text looks into the others.\n"
            "Over which axis of (B, H, T, D) do the weights of a head run?": (
                only(seen.sum(0, keepdim=True) / real.sum())
            ),
            "It is the context that is averaged, in which the head's own weights are still at work.\n"
            "What do weights mix?": only(
                (context * real[:, None, :, None]).sum(2, keepdim=True) / count
            ),
            "All heads have uniform weights.\nShould anything but this head change?": (
                right.expand_as(context)
            ),
            "The values of all heads are averaged, at each token.\n"
            "Over which axis of (B, H, T, D) do the weights of a head run?": (
                only(value.mean(1, keepdim=True))
            ),
            "The weights themselves stand in the result.\n"
            "What do they mix, to become a context?": only((1 / count).float()),
        },
    )
    yield "uniform: the mean value of the text's real tokens"

    own = mean[:, None]  # (H, 1, D)
    mine = real[:, None, :, None]
    nearest = (context * mine).sum(2, keepdim=True)
    _same_contexts(
        answer,
        given,
        head,
        "mean",
        {
            "The head is silent, as for 'zero'; 'uniform' was right.\n"
            "What does `how` say for this third way?": zero,
            "The head has uniform weights, as for 'uniform'.\n"
            "Where does your function look at `how`?": only(right),
            "The mean is taken over the heads; it tells nothing of this one.\n"
            "Which row of `mean` belongs to it?": only(mean.mean(0)),
            "The mean of all heads at each token is there.\n"
            "Which row of `mean` belongs to this head?": only(context.mean(1, keepdim=True)),
            "The head has the mean of its own text, so it still tells something about it.\n"
            "What is `mean` for?": only(nearest / count),
            "The head has the mean of its own text, padding and all.\nWhat is `mean` for?": (
                only(context.mean(2, keepdim=True))
            ),
            "The head has the mean of this batch: the answer would depend on the company a text is in.\n"
            "What is `mean` for?": only(nearest.sum(0, keepdim=True) / real.sum()),
            "The head has the mean of this batch, padding and all.\nWhat is `mean` for?": (
                only(context.mean((0, 2), keepdim=True))
            ),
            "All heads have their mean.\nShould anything but this head change?": (
                own.expand_as(context)
            ),
            "The mean is added to what the head brings.\nShould that not be gone?": (
                only(context + own)
            ),
            "The mean is taken off what the head brings, so what is left is all that the text tells.\n"
            "Which of the two should stay?": only(context - own),
            "The head has the mean of head 0.\nWhich row of `mean` belongs to it?": only(own[:1]),
        },
    )
    yield "mean: what the head brings on average over many texts"

    with where("With a single text and no padding:"):
        single = _contexts(draw, lengths=[5])
        for head, how in ((0, "zero"), (heads - 1, "uniform"), (0, "mean")):
            _same_contexts(answer, single, head, how, {})
    yield "a single text, too"


def _contexts(draw: Draw, lengths: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What ablate gets: contexts, values, which tokens are real, and means."""
    heads, tokens, width = 4, max(lengths), 5
    shape = (len(lengths), heads, tokens, width)
    real = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    return draw.normal(*shape), 1 + draw.normal(*shape), real, 1 + draw.normal(heads, width)


def _same_contexts(
    answer: Answer,
    given: tuple[Tensor, Tensor, Tensor, Tensor],
    head: int,
    how: str,
    mistakes: dict[str, Tensor],
) -> None:
    """Fail unless the head is replaced and nothing else; what stands at its padding does not count."""
    context, value, real, mean = given
    texts, heads, tokens, width = context.shape
    uniform = [
        one[:, seen].mean(1) for one, seen in zip(value, real, strict=True)
    ]  # B times (H, D)
    there = {
        "zero": torch.zeros(texts, width),
        "uniform": torch.stack(uniform)[:, head],
        "mean": mean[head].expand(texts, width),
    }[how]
    right = torch.stack(
        [
            there[:, None].expand(-1, tokens, -1) if h == head else context[:, h]
            for h in range(heads)
        ],
        1,
    )
    ignored = torch.zeros(texts, heads, tokens, 1, dtype=torch.bool)
    ignored[:, head, :, 0] = ~real

    result = answer(*given, head, how)
    if isinstance(result, Tensor) and tuple(result.shape) in (
        (texts, heads - 1, tokens, width),
        (texts, tokens, width),
        (texts, 1, tokens, width),
    ):
        what = "one head less" if result.dim() == 4 and result.shape[1] > 1 else "only this head"
        raise CheckFailed(
            f"For {how!r} there is {what} in the result, of shape {tuple(result.shape)}.\n"
            "All heads should stay in their places: what should stand in the place of this one?"
        )
    result = a_tensor(result, tuple(context.shape), "context")
    compare(
        torch.where(ignored, right, result.to(right.dtype)),
        right,
        {
            diagnosis: (lambda one=one: torch.where(ignored, right, one))
            for diagnosis, one in mistakes.items()
        },
        f"For {how!r} the result is wrong.\n"
        "What should stand in the place of this head, and do all others stay as they were?",
    )


# --- head_importance -----------------------------------------------------------------------------


def head_importance(answer: Answer, draw: Draw) -> Held:
    """``head_importance(loss_of, batches, layers, heads)``: what silencing each head would cost, roughly."""
    layers, heads, losses, (batch,) = _scaled_model(draw, [4])
    gradients = _sentence_gradients(losses, batch, torch.ones(layers, heads))
    right = -gradients.mean(0)

    def without_each_head() -> Tensor:
        ones = torch.ones(layers * heads)
        silent = (ones - torch.eye(layers * heads)).view(-1, layers, heads)
        cost = [
            (losses(one, batch) - losses(ones.view(layers, heads), batch)).mean() for one in silent
        ]
        return torch.stack(cost).view(layers, heads)

    found, calls = _importance(answer, losses, [batch], layers, heads)
    compare(
        found,
        right,
        {
            "The sign is turned: heads that help have negative importance.\n"
            "The gradient says what a *larger* scale does to the loss. What does silence do?": (
                lambda: -right
            ),
            "All values are positive: the absolute value is taken.\n"
            "Can you still tell heads that help from heads that harm?": right.abs,
            "The absolute value is taken for each sentence: heads whose effects cancel look important.\n"
            "What would silencing such a head do to the mean loss?": (
                lambda: gradients.abs().mean(0)
            ),
            "The gradients are squared.\nDo they still say by how much the loss would change?": (
                lambda: right**2
            ),
            "The gradient is taken at scale 0, where all heads are silent.\n"
            "At which scale does the model run that you ask about?": (
                lambda: -_sentence_gradients(losses, batch, torch.zeros(layers, heads)).mean(0)
            ),
            "It is the sum over the sentences; a mean is asked for.\n"
            "loss_of gives a mean already: is it multiplied, and never divided?": (
                lambda: -gradients.sum(0)
            ),
            "The heads are really silenced, one after another. That is what the gradient estimates, in "
            "one pass for all heads.\nWhat does backward() leave in the .grad of the scales?": (
                without_each_head
            ),
            "The mean is divided by the number of sentences once more.\n"
            "What has loss_of done already?": lambda: right / len(batch),
        },
        _once(calls, 1)
        or "For a single batch the importances are wrong.\n"
        "Is it minus the gradient of the mean loss, with all scales at 1?",
        tolerance=1e-4,
    )
    require(calls <= 1, _once(calls, 1))
    yield "one batch: minus the gradient at scale 1, with its sign"

    sizes = [4, 2, 5]
    layers, heads, losses, batches = _scaled_model(draw, sizes)
    means = [_sentence_gradients(losses, one, torch.ones(layers, heads)).mean(0) for one in batches]
    weighted = [-size / sum(sizes) * mean for size, mean in zip(sizes, means, strict=True)]
    so_far = torch.stack(means).cumsum(0)
    found, calls = _importance(answer, losses, batches, layers, heads)
    compare(
        found,
        sum(weighted),
        {
            "The means of the batches are averaged: in a small batch each sentence counts for more.\n"
            "What share of all sentences does each batch hold?": lambda: -sum(means) / len(sizes),
            "The means of the batches are added up.\n"
            "What share of all sentences does each batch hold?": lambda: -sum(means),
            "Only the last batch counts.\n"
            "Is something started anew for each batch that should be added up?": lambda: -means[-1],
            "Only the last batch counts, and only its share.\n"
            "Is there a = in the loop where += should be?": lambda: weighted[-1],
            "Only the first batch counts.\nIs `return` inside the loop?": lambda: -means[0],
            "The gradients of earlier batches are still in .grad when you add it: they count again and again.\n"
            "backward() adds: what must happen before the next batch, or what need you not add?": (
                lambda: (
                    -sum(size / sum(sizes) * one for size, one in zip(sizes, so_far, strict=True))
                )
            ),
        },
        _once(calls, 3)
        or "Right for one batch; for several of unequal size the importances are wrong.\n"
        "A mean over all sentences: what does each batch add to it?",
        tolerance=1e-4,
    )
    require(calls <= len(sizes), _once(calls, 3))
    yield "several batches: every sentence counts the same"


Losses = Callable[[Tensor, Tensor], Tensor]


def _scaled_model(draw: Draw, sizes: Sequence[int]) -> tuple[int, int, Losses, list[Tensor]]:
    """A tiny model whose heads have scales, and batches on which some heads help and some harm."""
    layers, heads, width = 2, 3, 4
    while True:
        weights, readout = draw.normal(layers, heads, width, width), draw.normal(width)

        def losses(scale: Tensor, batch: Tensor, weights=weights, readout=readout) -> Tensor:
            """The loss of each sentence, (N,)."""
            x = batch
            for layer in range(layers):
                x = x + torch.einsum("h,hnd->nd", scale[layer], torch.tanh(x @ weights[layer]))
            return F.softplus(-x @ readout / 2)

        batches = [draw.normal(size, width) + place for place, size in enumerate(sizes)]
        each = _sentence_gradients(losses, torch.cat(batches), torch.ones(layers, heads))
        mean = each.mean(0)
        if min(mean.max(), -mean.min()) > 0.02 and mean.abs().max() < 1:
            return layers, heads, losses, batches


def _sentence_gradients(losses: Losses, batch: Tensor, scale: Tensor) -> Tensor:
    """The gradient of each sentence's loss, (N, L, H)."""
    scale = scale.clone().requires_grad_()
    each = losses(scale, batch)
    return torch.stack([torch.autograd.grad(one, scale, retain_graph=True)[0] for one in each])


def _importance(
    answer: Answer, losses: Losses, batches: list[Tensor], layers: int, heads: int
) -> tuple[Tensor, int]:
    """The answer's importances (L, H), and how often it asked for a loss."""
    calls = 0

    def loss_of(scale: Tensor, batch: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        require(
            isinstance(scale, Tensor) and tuple(scale.shape) == (layers, heads),
            "loss_of was called with something else than a tensor of scales (layers, heads).\n"
            "In which order does it take scale and batch?",
        )
        require(
            isinstance(batch, Tensor) and batch.dim() == 2,
            "loss_of was called with something else than one of the batches.\n"
            "Is there a loop over them?",
        )
        return losses(scale, batch).mean()

    try:
        result = answer(loss_of, batches, layers, heads)
    except CheckFailed as problem:
        if "does not require grad" not in str(problem):
            raise
        raise CheckFailed(
            "The loss knows nothing of the scales: no gradient comes back to them.\n"
            "Do they have requires_grad=True, and is there a no_grad() or detach() around?"
        ) from None
    return some_numbers(result, (layers, heads), "importance"), calls


def _once(calls: int, batches: int) -> str:
    """What to say of more calls than batches; nothing where there are not."""
    if calls <= batches:
        return ""
    return (
        f"loss_of is called {calls} times for {batches} batch{'es' * (batches > 1)}. "
        "One pass through a batch gives the gradients of all heads.\n"
        "Is there a loop over heads or sentences that backward() makes needless?"
    )


# --- paired_bootstrap ----------------------------------------------------------------------------


def paired_bootstrap(answer: Answer, draw: Draw) -> Held:
    """``paired_bootstrap(before, after, draws, generator)``: 95 % interval of a change on the same sentences."""
    n, draws = 120, 4000
    side = draw.whole(0, 1) * 2 - 1
    before = 3 + 3 * draw.normal(n).double().numpy()  # hard sentences and easy ones
    after = before + side * 0.25 + 0.5 * draw.normal(n).double().numpy()
    _same_interval(
        _interval(answer, before, after, draws, draw.whole(0, 999)), before, after, draws
    )
    yield "the middle 95 % of the means of resampled differences"

    changed, n = draw.whole(2, 3), 50
    before = np.zeros(n)
    after = np.arange(n) < changed
    low, _ = _interval(answer, before, after.astype(float), 1000, draw.whole(0, 999))
    require(
        low >= -1e-9,
        f"{changed} of {n} answers got better and none worse, but your interval begins at {low:.3f}: no resample "
        "can have such a mean.\nIs it mean ± 1.96 standard deviations? Which quantiles should it be?",
    )
    yield "quantiles, which stay where means can be"

    before, after = 3 * draw.normal(2, 40).double().numpy()
    seed = draw.whole(0, 999)
    first, again = (_interval(answer, before, after, 50, seed) for _ in range(2))
    require(
        first == again,
        "With the same generator, begun anew, another interval comes out.\n"
        "Do all random numbers come from `generator`?",
    )
    other = _interval(answer, before, after, 50, seed + 1)
    require(
        first != other,
        "With another generator exactly the same interval comes out.\n"
        "Do the random numbers come from `generator`, or from one that you make?",
    )
    yield "random numbers from the generator, and from nowhere else"

    low, high = _interval(answer, before, after, 1, seed)
    require(
        abs(high - low) < 1e-9,
        "With draws = 1 there is a single mean, and both ends should be this one; yours differ.\n"
        "Where does `draws` come in?",
    )
    yield "as many draws as asked for"


def _interval(
    answer: Answer, before: np.ndarray, after: np.ndarray, draws: int, seed: int
) -> tuple[float, float]:
    """The answer's two ends, finite numbers."""
    result = _from_arrays(answer, [before, after], draws, np.random.default_rng(seed))
    if isinstance(result, Tensor | np.ndarray):
        result = result.tolist()
    if isinstance(result, float):
        raise CheckFailed(
            "One number came back; an interval has two ends.\nDoes it end in `return low, high`?"
        )
    ends = [
        one.item() if isinstance(one, Tensor | np.ndarray) and one.shape == () else one
        for one in a_pair(result, "low", "high")
    ]
    return a_number(ends[0], "low"), a_number(ends[1], "high")


def _same_interval(
    found: tuple[float, float], before: np.ndarray, after: np.ndarray, draws: int
) -> None:
    """Fail unless the ends are those of a paired bootstrap, up to chance; name what else they are."""
    low, high = found
    change = after - before
    n, mean = len(change), float(change.mean())
    error = float(change.std()) / math.sqrt(n)  # standard deviation of a resample's mean
    apart = math.sqrt((before.var() + after.var()) / n)
    require(
        low <= high,
        "The upper end comes first.\nIn which order does the docstring name the two?",
    )
    exactly = {
        "These are quantiles of the sentences' own changes; of one sentence you would expect that. The mean of "
        "many varies less.\nOf what should the quantiles be taken?": np.quantile(
            change, [0.025, 0.975]
        ),
        "The interval is as wide as the changes of single sentences vary, mean ± 1.96 standard deviations. The "
        "mean of many varies less.\nWhere are the means of resampled sentences?": (
            mean + 1.96 * change.std() * np.array([-1, 1])
        ),
        "The interval is the mean change ± one standard deviation of the sentences. The mean of many varies "
        "less.\nWhere are the means of resampled sentences?": (
            mean + change.std() * np.array([-1, 1])
        ),
    }
    for diagnosis, ends in exactly.items():
        require(not np.allclose(found, ends, rtol=0, atol=0.02 * change.std()), diagnosis)
    centre, width = (low + high) / 2, (high - low) / error
    require(
        high - low > 1e-9,
        "The interval has no width: all resamples have the same mean.\n"
        "Without replacement each holds all sentences, once: how do you draw?",
    )
    places = {
        "The sign is turned: it is the change from after to before.\n"
        "Which of the two is taken off the other?": (-mean, error),
        "The interval lies around 0, not around the change that was measured.\n"
        "That would test for chance: is the mean taken off, or are before and after swapped at random?": (
            0.0,
            error,
        ),
        "It is the sum over the sentences that is in the interval.\nWhat is accuracy, a sum or a mean?": (
            n * mean,
            n * error,
        ),
        "The interval is in per cent; shares are asked for.\nWhere does the 100 come from?": (
            100 * mean,
            100 * error,
        ),
    }
    for diagnosis, (place, unit) in places.items():
        wide = (high - low) / unit
        require(abs(centre - place) > 0.5 * unit or not 3.5 < wide < 4.4, diagnosis)
    require(
        high > mean - 1.2 * error,
        "Both ends lie below the change that was measured.\n"
        "np.percentile counts to 100, np.quantile to 1: which of them do you call, and with what?",
    )
    widths = {
        "before and after are resampled apart, as if they were measured on different sentences. A hard "
        "sentence is hard for both, and that is lost.\nWhich sentences must be drawn for after, if these are "
        "drawn for before?": 3.92 * apart / error,
        "These are the quantiles 5 % and 95 %, with 90 % between them.\n"
        "How much should lie outside on each side, if 95 % lie inside?": 3.29,
        "The interval is the mean ± one standard error, which holds 68 %.\n"
        "Which quantiles have 95 % between them?": 2.0,
        "Half of the means lie in the interval: these are the quantiles 25 % and 75 %.\n"
        "What is 2.5 % as a share of 1?": 1.35,
        "The interval holds 99 % of the means.\n"
        "How much should lie outside on each side, if 95 % lie inside?": 5.15,
    }
    for diagnosis, one in widths.items():
        require(abs(width / one - 1) > 0.08, diagnosis)
    require(
        abs(width / (3.92 * math.sqrt(n / draws)) - 1) > 0.5,
        f"The interval is far too narrow, as if each resample held {draws} sentences.\n"
        f"Each of {draws} resamples has as many sentences as there are: over which axis is the mean taken?",
    )
    require(
        abs(width - 3.92) < 0.3 and abs(centre - mean) < 0.3 * error,
        f"It should be about {mean - 1.96 * error:.3f} to {mean + 1.96 * error:.3f}; "
        f"yours is {low:.3f} to {high:.3f}.\n"
        "Sentences drawn with replacement, the mean of their changes, again and again: which step differs?",
    )


# --- adjust_for_many -----------------------------------------------------------------------------


def adjust_for_many(answer: Answer, draw: Draw) -> Held:
    """``adjust_for_many(p_values)``: Benjamini-Hochberg adjusted values, in the order given."""
    p = np.array([draw.whole(10, 90) / 1000])
    _same_values(
        answer,
        p,
        {
            "For a single p-value the result is infinite.\nDoes the smallest have rank 0, or 1?": (
                lambda: p / 0.0
            ),
        },
        "A single look needs no adjustment.\nWhat are the number of values and the rank here?",
    )
    yield "a single p-value stays as it is"

    count = 8
    rank = np.arange(1, count + 1)
    p = np.sort(_uniform(draw, count)) * rank / count  # p * count / rank rises: no minimum needed
    _same_values(
        answer,
        p,
        {
            "Each p-value is multiplied by the number of values. That is Bonferroni's adjustment, against a "
            "single false find; here a share of false finds is allowed.\nWhat is divided by the rank?": (
                lambda: np.minimum(p * count, 1)
            ),
            "Each p-value is multiplied by the number of values, even beyond 1. That is Bonferroni's adjustment; "
            "here a share of false finds is allowed.\nWhat is divided by the rank?": lambda: (
                p * count
            ),
            "Each p-value is multiplied by the number of those from it on. That is Holm's adjustment, against a "
            "single false find.\nWhat is divided by the rank?": (
                lambda: np.minimum(np.maximum.accumulate(p * (count + 1 - rank)), 1)
            ),
            "Nothing is adjusted.\nHow many values were looked at?": lambda: p,
            "Rank and number have changed places.\nWhich of the two multiplies?": lambda: (
                p * rank / count
            ),
            "The number of values is missing.\np times what, divided by the rank?": lambda: (
                p / rank
            ),
            "The largest p-value has rank 1 here.\nWhich of them should have it?": lambda: (
                np.minimum.accumulate((p * count / rank[::-1])[::-1])[::-1]
            ),
            "The running minimum begins at the smallest p-value, so all that follow are pulled down to it.\n"
            "From which end must it run?": lambda: np.full(count, p[0] * count),
            "The values come back sorted, the largest first.\n"
            "How do you put each back into the place of its p-value?": lambda: _adjusted(p)[::-1],
            "All values are too large by the same factor. That is Benjamini and Yekutieli's adjustment, which "
            "is for any dependence.\nWhere does the sum 1 + 1/2 + 1/3 + ... come from?": lambda: (
                np.minimum(_adjusted(p) * (1 / rank).sum(), 1)
            ),
        },
        "For sorted p-values the result is wrong.\nIs it p times their number, divided by the rank?",
    )
    yield "p times the number of values, divided by the rank"

    p, raw = _crossing(draw, count)
    _same_values(
        answer,
        p,
        {
            "Some values are above 1, and a larger p-value has a smaller result than one before it.\n"
            "A value may not exceed those of larger p-values: where do you take the minimum?": (
                lambda: raw
            ),
            "A larger p-value has a smaller result than one before it; cutting at 1 does not mend that.\n"
            "A value may not exceed those of larger p-values: where do you take the minimum?": (
                lambda: np.minimum(raw, 1)
            ),
            "Results are pulled up to those of smaller p-values.\n"
            "Is it a running maximum from the smallest, or a running minimum from the largest?": (
                lambda: np.maximum.accumulate(np.minimum(raw, 1))
            ),
            "Results are pulled up to those of smaller p-values, even beyond 1.\n"
            "Is it a running maximum from the smallest, or a running minimum from the largest?": (
                lambda: np.maximum.accumulate(raw)
            ),
        },
        "For sorted p-values, where p times number by rank falls and rises, the result is wrong.\n"
        "Is it the smallest such value of this p-value and all larger ones?",
    )
    yield "never more than the value of a larger p-value"

    p = np.sort(_uniform(draw, count)) * rank / count  # all adjusted values differ
    right = _adjusted(p)
    while True:
        mixed = torch.randperm(count, generator=draw.generator).numpy()
        order = np.argsort(p[mixed])
        ours = right[mixed]
        sorted_back = right[order]  # the wrong way
        if not np.allclose(sorted_back, ours, atol=1e-3) and not np.allclose(
            right, ours, atol=1e-3
        ):
            break
    p = p[mixed]
    in_turn = p * count / rank
    _same_values(
        answer,
        p,
        {
            "The values are right, but they come back sorted, the smallest first.\n"
            "How do you put each back into the place of its p-value?": lambda: right,
            "The values come back in a wrong order: the sorting is done once more, not undone.\n"
            "Into which places must result[order] be written?": lambda: sorted_back,
            "The rank is the place in the list.\nWhich p-value has rank 1?": lambda: in_turn,
            "The rank is the place in the list, and the minimum runs over places.\n"
            "Which p-value has rank 1?": lambda: np.minimum.accumulate(in_turn[::-1])[::-1],
        },
        "Right for sorted p-values, wrong for others.\nDoes each value stand where its p-value stood?",
    )
    yield "each in the place of its p-value"

    low, high = 0.01 * (1 + _uniform(draw, 1)[0]), 0.5 + 0.4 * _uniform(draw, 1)[0]
    p = np.array([high, low, 0.0, low, high, low])
    average = np.array([5.5, 3, 1, 3, 5.5, 3])
    _same_values(
        answer,
        p,
        {
            "Equal p-values share the mean of their ranks.\n"
            "How many p-values are as small as each of them, or smaller?": (
                lambda: p * len(p) / average
            ),
            "Equal p-values have the lowest of their ranks.\n"
            "How many p-values are as small as each of them, or smaller?": (
                lambda: p * len(p) / np.array([5, 2, 1, 2, 5, 2])
            ),
        },
        "Where p-values are equal, or 0, the result is wrong.\nShould equal ones not have equal values?",
    )
    yield "equal p-values alike"


def _uniform(draw: Draw, count: int) -> np.ndarray:
    """Numbers from 0.05 to 0.95, at least 0.01 apart."""
    places = torch.randperm(91, generator=draw.generator)[:count]
    return (places.double().numpy() + 5) / 100


def _crossing(draw: Draw, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted p-values, and p times number by rank, which falls and rises and goes beyond 1."""
    rank = np.arange(1, count + 1)
    while True:
        p = np.sort(_uniform(draw, count))
        raw = p * count / rank
        ways = [
            _adjusted(p),
            raw,
            np.minimum(raw, 1),
            np.maximum.accumulate(np.minimum(raw, 1)),
            np.maximum.accumulate(raw),
        ]
        gaps = [
            np.abs(one - other).max() for at, one in enumerate(ways) for other in ways[at + 1 :]
        ]
        if min(gaps) > 0.01:
            return p, raw


def _adjusted(p: np.ndarray) -> np.ndarray:
    """Straight from the definition: the smallest p_j m / #{k: p_k <= p_j} of all p_j >= p_i."""
    raw = p * len(p) / (p[None, :] <= p[:, None]).sum(1)
    return np.array([raw[p >= one].min() for one in p])


def _same_values(
    answer: Answer,
    p_values: np.ndarray,
    mistakes: dict[str, Callable[[], np.ndarray]],
    otherwise: str,
) -> None:
    """Compare the answer's adjusted values with the right ones, and with what mistakes would give."""
    result = _from_arrays(answer, [p_values])
    if getattr(result, "dtype", None) in (torch.bool, np.dtype(bool)):
        raise CheckFailed(
            "These are decisions, true or false; adjusted values are asked for.\n"
            "With what would each p-value have to be multiplied, so that it can be compared with 0.05?"
        )

    def tensor(mistaken: Callable[[], np.ndarray]) -> Callable[[], Tensor]:
        def made() -> Tensor:
            with np.errstate(all="ignore"):
                return torch.from_numpy(np.ascontiguousarray(mistaken()))

        return made

    compare(
        some_numbers(result, p_values.shape, "adjusted values"),
        torch.from_numpy(_adjusted(p_values)),
        {diagnosis: tensor(mistaken) for diagnosis, mistaken in mistakes.items()},
        otherwise,
    )


# --- rollout -------------------------------------------------------------------------------------


def rollout(answer: Answer, draw: Draw) -> Held:
    """``rollout(weights)``: how much of each input token reaches each token of the last layer."""
    tokens = 5
    itself = torch.eye(tokens)
    weights = draw.weights(1, 1, tokens, tokens)
    one = weights[0, 0]
    compare(
        answer.tensor(weights, shape=(tokens, tokens), what="rollout"),
        (one + itself) / 2,
        {
            "With one layer and one head the weights come back as they are: the residual is missing.\n"
            "What does the layer add to what its heads bring?": lambda: one,
            "The residual is added, but the rows now sum to 2.\n"
            "What share comes through the head, and what share beside it?": lambda: one + itself,
            "1 is added everywhere, as if every token were carried past the layer to every other.\n"
            "Which matrix leaves a token where it is?": lambda: (one + 1) / (1 + tokens),
            "1 is added everywhere, and the rows no longer sum to 1.\n"
            "Which matrix leaves a token where it is?": lambda: (one + 1) / 2,
            "The result is transposed.\nA row belongs to a token that looks: which axis is that in the weights?": (
                lambda: (one.T + itself) / 2
            ),
            "The columns sum to 1, not the rows.\nOver which axis do you normalise?": (
                lambda: (one + itself) / (one + itself).sum(0)
            ),
        },
        "With one layer and one head the result is wrong.\n"
        "Half of it comes through the weights, half past them: is it that?",
    )
    yield "one head: half through the weights, half past them"

    weights = draw.weights(1, 3, tokens, tokens)
    (layer,) = weights

    def rows(one: Tensor) -> Tensor:
        return one / one.sum(-1, keepdim=True)

    compare(
        answer.tensor(weights, shape=(tokens, tokens), what="rollout"),
        (layer.mean(0) + itself) / 2,
        {
            "The heads are added up, so that the residual has a smaller share.\n"
            "How do you take three heads for one?": lambda: rows(layer.sum(0) + itself),
            "The heads are added up, and the rows no longer sum to 1.\n"
            "How do you take three heads for one?": lambda: (layer.sum(0) + itself) / 2,
            "At each place only the strongest head counts.\n"
            "Is that what they bring together, if each has its share?": (
                lambda: rows(layer.amax(0) + itself)
            ),
            "At each place only the strongest head counts, and the rows no longer sum to 1.\n"
            "Is that what they bring together, if each has its share?": (
                lambda: (layer.amax(0) + itself) / 2
            ),
            "Only the first head counts.\nWhere are the others?": lambda: (layer[0] + itself) / 2,
            "Only the last head counts.\nWhere are the others?": lambda: (layer[-1] + itself) / 2,
        },
        "Right for one head; with several the result is wrong.\nAre they averaged?",
    )
    yield "several heads: their mean"

    weights = draw.weights(3, 2, tokens, tokens) ** 2
    weights = rows(weights)
    first, second, third = steps = (weights.mean(1) + itself) / 2
    plain = weights.mean(1)
    compare(
        answer.tensor(weights, shape=(tokens, tokens), what="rollout"),
        third @ second @ first,
        {
            "The layers are multiplied in the wrong order.\n"
            "What the last layer looks at was made by the one before: which matrix stands on the left?": (
                lambda: first @ second @ third
            ),
            "Only the last layer is there.\nOut of what are the tokens made that it looks at?": (
                lambda: third
            ),
            "Only the first layer is there.\nIs `return` inside the loop?": lambda: first,
            "The layers are averaged.\n"
            "The second looks at what the first has made: how do two steps become one?": (
                lambda: steps.mean(0)
            ),
            "The layers are multiplied number by number.\nWhich sign is the product of matrices?": (
                lambda: steps.prod(0)
            ),
            "The residual is added once, after all layers.\nWhich of the layers have one?": lambda: (
                (plain[2] @ plain[1] @ plain[0] + itself) / 2
            ),
            "The residual is missing in the first layer.\n"
            "With what do you begin, and does each layer have one?": lambda: (
                third @ second @ plain[0]
            ),
            "The first layer is there twice.\n"
            "With what do you begin, and where does the loop begin?": lambda: (
                third @ second @ first @ first
            ),
        },
        "Right for one layer; with three the result is wrong.\n"
        "Last layer times the one before, and so on down to the first: is it that?",
    )
    yield "several layers: later ones from the left"

    weights = draw.weights(6, 4, 9, 9)
    result = answer.tensor(weights, shape=(9, 9), what="rollout")
    total = result.sum(-1)
    require(
        same(total, torch.ones(9), 1e-4),
        f"With six layers a row sums to {total[0].item():.3g}.\nWhat keeps the sum of a row at 1?",
    )
    right = torch.linalg.multi_dot(list((weights.mean(1) + torch.eye(9)).flip(0) / 2))
    require(
        same(result, right, 1e-4),
        "Right for three layers and five tokens, wrong for six and nine.\nIs one of these numbers typed in?",
    )
    yield "any sizes, and every row still sums to 1"


# --- What several checks need ----------------------------------------------------------------------


def _from_arrays(answer: Answer, arrays: Sequence[np.ndarray], *rest: object) -> object:
    """What the answer makes of these arrays; they must be the same afterwards."""
    copies = [one.copy() for one in arrays]
    result = answer(*copies, *rest)
    for before, after in zip(arrays, copies, strict=True):
        require(
            before.dtype == after.dtype and np.array_equal(before, after),
            "Your function changes an array that it was given; np.sort(x) and x - y make a new one.\n"
            "Is there an assignment into it, a `-=`, or a .sort()?",
        )
    return result


EXERCISES = [
    Exercise("mix_heads", "head_mixing", 3, mix_heads),
    Exercise("ablate", "head_mixing", 2, ablate),
    Exercise("head_importance", "head_mixing", 3, head_importance),
    Exercise(
        "paired_bootstrap", "head_mixing", 2, paired_bootstrap, frozenset({"paired_bootstrap"})
    ),
    Exercise(
        "adjust_for_many", "head_mixing", 2, adjust_for_many, frozenset({"benjamini_hochberg"})
    ),
    Exercise("rollout", "head_mixing", 1, rollout, frozenset({"rollout"})),
]
