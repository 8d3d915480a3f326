"""Answers to lesson 06: right ones in several styles, and the mistakes people make, each with its diagnosis."""

import math

import numpy as np
import torch
from scipy import stats
from torch.nn import functional as F

from attnlab import statistics as significance
from attnlab.evaluation import explaining


# --- mix_heads ---
def mixed_head_by_head(query, key, value, weight, bias, scale, temperature):
    width, output = query.shape[-1], bias
    for head in range(query.shape[1]):
        scores = query[:, head] @ key[:, head].mT / math.sqrt(width) / temperature[head]
        context = scores.softmax(-1) @ value[:, head]
        output = output + scale[head] * context @ weight[:, head * width : (head + 1) * width].T
    return output


def mixed_by_einsum(query, key, value, weight, bias, scale, temperature):
    heads, width = query.shape[1], query.shape[-1]
    slices = weight.unflatten(1, (heads, width))  # (E, H, D)
    scores = torch.einsum("bhqd,bhkd,h->bhqk", query, key, 1 / temperature) / width**0.5
    return torch.einsum("h,bhqk,bhkd,ehd->bqe", scale, scores.softmax(-1), value, slices) + bias


def mixed_by_torchs_attention(query, key, value, weight, bias, scale, temperature):
    query, value = query / temperature[:, None, None], value * scale[:, None, None]
    context = F.scaled_dot_product_attention(query, key, value)
    return F.linear(context.transpose(1, 2).flatten(2), weight, bias)


def mixing(
    inside=lambda scale, temperature: 1 / temperature,
    outside=lambda scale, temperature: scale,
    root=lambda query: math.sqrt(query.shape[-1]),
    weigh=lambda scores: scores.softmax(-1),
    slices=lambda weight, heads: weight.chunk(heads, dim=1),
    biases=lambda scale: 1,
    add=sum,
):
    """Mixing head by head with a part exchanged."""

    def answer(query, key, value, weight, bias, scale, temperature):
        heads, brought = query.shape[1], []
        for head, part in zip(range(heads), slices(weight, heads), strict=True):
            scores = query[:, head] @ key[:, head].mT / root(query)
            weights = weigh(inside(scale, temperature)[head] * scores)
            context = outside(scale, temperature)[head] * weights @ value[:, head]
            brought.append(context @ part.T)
        return add(brought) + biases(scale) * bias

    return answer


def mixed_without_changing_places(query, key, value, weight, bias, scale, temperature):
    scores = query @ key.mT / query.shape[-1] ** 0.5 / temperature[:, None, None]
    context = scale[:, None, None] * (scores.softmax(-1) @ value)
    return F.linear(context.reshape(len(query), query.shape[2], -1), weight, bias)


def contexts_only(query, key, value, weight, bias, scale, temperature):
    scores = query @ key.mT / query.shape[-1] ** 0.5 / temperature[:, None, None]
    return scale[:, None, None] * (scores.softmax(-1) @ value)


def side_by_side_only(*layer):
    return contexts_only(*layer).transpose(1, 2).flatten(2)


def scaled_along_the_width(query, key, value, weight, bias, scale, temperature):
    return mixed_by_einsum(query, key, value * scale, weight, bias, 0 * scale + 1, temperature)


def knobs_as_plain_numbers(*layer):
    *rest, scale, temperature = layer
    scale, temperature = ([one.item() for one in knob] for knob in (scale, temperature))
    return mixed_head_by_head(*rest, scale, temperature)


def nan_when_all_is_silent(*layer):
    *rest, scale, temperature = layer
    total = scale.sum()
    return total * (mixed_by_einsum(*rest, scale / total, temperature) - rest[-1]) + rest[-1]


# --- ablate ---
def ablated_in_a_copy(context, value, real, mean, head, how):
    context = context.clone()
    if how == "zero":
        context[:, head] = 0
    elif how == "uniform":
        weights = real.float() / real.sum(-1, keepdim=True)  # (B, T)
        context[:, head] = torch.einsum("bt,btd->bd", weights, value[:, head])[:, None]
    else:
        context[:, head] = mean[head]
    return context


def ablated_by_where(context, value, real, mean, head, how):
    this = torch.arange(context.shape[1])[:, None, None] == head
    mask = real[:, None, :, None]
    new = {
        "zero": torch.zeros(()),
        "uniform": (value * mask).sum(2, keepdim=True) / mask.sum(2, keepdim=True),
        "mean": mean[:, None],
    }[how]
    return torch.where(this, new, context)


def ablated_by_joining(context, value, real, mean, head, how):
    """Text by text; what stands at padding is left at 0."""
    new = torch.zeros_like(context[:, head])
    for text, seen in enumerate(real):
        if how == "uniform":
            new[text, seen] = value[text, head, seen].double().mean(0).float()
        elif how == "mean":
            new[text, seen] = mean[head]
    return torch.cat([context[:, :head], new[:, None], context[:, head + 1 :]], 1)


def ablated_by_attention(context, value, real, mean, head, how):
    """Uniform weights as a masked softmax of equal scores."""
    if how == "uniform":
        scores = torch.zeros(*context.shape[:3], context.shape[2])
        mask = real[:, None, None].expand_as(scores)
        uniform = scores.masked_fill(~mask, -math.inf).softmax(-1) @ value
        return torch.stack(
            [uniform[:, h] if h == head else context[:, h] for h in range(context.shape[1])], 1
        )
    return ablated_by_where(context, value, real, mean, head, how)


def ablating(**ways):
    """Ablation with what one of the ways puts into the head's place exchanged."""

    def answer(context, value, real, mean, head, how):
        right = ablated_by_where(context, value, real, mean, head, how)
        if how not in ways:
            return right
        new = ways[how](context, value, real, mean, head)
        this = (torch.arange(context.shape[1]) == head)[:, None, None]
        return torch.where(this, new, context)

    return answer


def at_another_place(**ways):
    """Ablation whose result, for some of the ways, is another one altogether."""

    def answer(context, value, real, mean, head, how):
        right = ablated_by_where(context, value, real, mean, head, how)
        return ways[how](context, right, mean, head) if how in ways else right

    return answer


def zeros_at(place):
    def zeroed(context, right, mean, head):
        other = context.clone()
        other[place(head)] = 0
        return other

    return zeroed


def in_place(context, value, real, mean, head, how):
    context[:, head] = ablated_by_where(context, value, real, mean, head, how)[:, head]
    return context


def only_this_head(context, right, mean, head):
    this = (torch.arange(context.shape[1]) == head)[:, None, None]
    return torch.where(this, context, 0.0)


def all_heads(context, value, real, mean, head, how):
    if how != "uniform":
        return ablated_by_where(context, value, real, mean, head, how)
    mask = real[:, None, :, None]
    uniform = (value * mask).sum(2, keepdim=True) / mask.sum(2, keepdim=True)
    return uniform.expand_as(context)


def squeezed(context, value, real, mean, head, how):
    """Right for several texts; a single one loses its axis."""
    return ablated_by_where(context, value, real, mean, head, how).squeeze(0)


def of_real(one, real):
    """Sums over the real tokens (B, H, 1, D), and their number."""
    mask = real[:, None, :, None]
    return (one * mask).sum(2, keepdim=True), mask.sum(2, keepdim=True)


# --- head_importance ---
def importance_by_grad(loss_of, batches, layers, heads):
    total, sentences = torch.zeros(layers, heads), sum(len(one) for one in batches)
    for batch in batches:
        scale = torch.ones(layers, heads, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss_of(scale, batch), scale)
        total -= gradient * len(batch) / sentences
    return total


def importance_by_backward(loss_of, batches, layers, heads):
    """Everything collects in .grad."""
    scale = torch.ones((layers, heads)).requires_grad_()
    sentences = sum(map(len, batches))
    for batch in batches:
        (-loss_of(scale, batch) * len(batch) / sentences).backward()
    return scale.grad.numpy()


def importance_by_sums(loss_of, batches, layers, heads):
    """Sums of double precision, divided at the end; a list of lists."""
    sums, sentences = np.zeros((layers, heads)), 0
    scale = torch.nn.Parameter(torch.ones(layers, heads))
    for batch in batches:
        scale.grad = None
        loss_of(scale, batch).backward()
        sums += len(batch) * scale.grad.double().numpy()
        sentences += len(batch)
    return (-sums / sentences).tolist()


def importance_of_a_weighted_loss(loss_of, batches, layers, heads):
    """The mean loss first, its gradient then; the result still has its graph."""
    scale = torch.ones(layers, heads, requires_grad=True)
    total = sum(len(batch) * loss_of(scale, batch) for batch in batches)
    (gradient,) = torch.autograd.grad(total, scale, create_graph=True)
    return -gradient / sum(len(batch) for batch in batches)


def gradient_of(loss_of, batch, layers, heads, at=1.0):
    scale = torch.full((layers, heads), at, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_of(scale, batch), scale)
    return gradient


def weighing(
    of_batch=lambda gradient: -gradient,
    share=lambda part, sentences, batches: part / sentences,
    at=1.0,
    result=lambda parts: sum(parts),
):
    """Importance with a part exchanged."""

    def answer(loss_of, batches, layers, heads):
        sentences = sum(len(one) for one in batches)
        return result(
            [
                of_batch(gradient_of(loss_of, batch, layers, heads, at))
                * share(len(batch), sentences, len(batches))
                for batch in batches
            ]
        )

    return answer


def sentence_by_sentence(change):
    def answer(loss_of, batches, layers, heads):
        gradients = [
            change(gradient_of(loss_of, sentence[None], layers, heads))
            for batch in batches
            for sentence in batch
        ]
        return torch.stack(gradients).mean(0)

    return answer


def left_out_one_by_one(loss_of, batches, layers, heads):
    total, sentences = torch.zeros(layers, heads), sum(len(one) for one in batches)
    for batch in batches:
        neutral = loss_of(torch.ones(layers, heads), batch)
        for layer in range(layers):
            for head in range(heads):
                scale = torch.ones(layers, heads)
                scale[layer, head] = 0
                change = loss_of(scale, batch) - neutral
                total[layer, head] += float(change) * len(batch) / sentences
    return total


def by_finite_differences(loss_of, batches, layers, heads):
    total, sentences = torch.zeros(layers, heads), sum(len(one) for one in batches)
    for batch in batches:
        for layer in range(layers):
            for head in range(heads):
                step = torch.zeros(layers, heads)
                step[layer, head] = 1e-2
                change = loss_of(1 - step, batch) - loss_of(1 + step, batch)
                total[layer, head] += change / 2e-2 * len(batch) / sentences
    return total


def never_cleared(loss_of, batches, layers, heads):
    scale = torch.ones(layers, heads, requires_grad=True)
    total, sentences = torch.zeros(layers, heads), sum(len(one) for one in batches)
    for batch in batches:
        loss_of(scale, batch).backward()
        total -= scale.grad * len(batch) / sentences
    return total


def without_gradients(loss_of, batches, layers, heads):
    with torch.no_grad():
        return importance_by_backward(loss_of, batches, layers, heads)


def scales_that_do_not_require_any(loss_of, batches, layers, heads):
    scale = torch.ones(layers, heads)
    loss_of(scale, batches[0]).backward()
    return -scale.grad


def all_batches_in_one_call(loss_of, batches, layers, heads):
    return -gradient_of(loss_of, batches, layers, heads)


# --- paired_bootstrap ---
def bootstrap_at_once(before, after, draws, generator):
    change = after - before
    resamples = change[generator.integers(0, len(change), (draws, len(change)))]
    return np.quantile(resamples.mean(1), [0.025, 0.975])


def bootstrap_in_a_loop(before, after, draws, generator):
    means, n = [], len(before)
    for _ in range(draws):
        places = generator.integers(n, size=n)
        means.append((after[places] - before[places]).sum() / n)
    return np.percentile(means, 2.5), np.percentile(means, 97.5)


def bootstrap_by_counts(before, after, draws, generator):
    """How often each sentence is drawn is a multinomial number; quantiles by sorting, no numpy in the result."""
    n = len(before)
    counts = generator.multinomial(n, np.full(n, 1 / n), size=draws)
    means = np.sort(counts @ (after - before) / n)
    at = round(0.025 * (draws - 1))
    return [float(means[at]), float(means[draws - 1 - at])]


def bootstrap_by_choice_and_torch(before, after, draws, generator):
    change = generator.choice(after - before, size=(draws, len(before)))
    means = torch.from_numpy(change).mean(1)
    return torch.quantile(means, 0.025), torch.quantile(means, 0.975)


def drawing(
    change=lambda before, after: after - before,
    resample=lambda change, draws, rng: rng.choice(change, (draws, len(change))).mean(1),
    ends=lambda means, change: np.quantile(means, [0.025, 0.975]),
):
    """The bootstrap with a part exchanged."""

    def answer(before, after, draws, generator):
        changes = change(before, after)
        return ends(resample(changes, draws, generator), changes)

    return answer


def drawn_apart(before, after, draws, generator):
    n = len(before)
    first, second = (generator.choice(one, (draws, n)).mean(1) for one in (before, after))
    return tuple(np.quantile(second - first, [0.025, 0.975]))


def swapped_at_random(before, after, draws, generator):
    signs = generator.choice([-1, 1], (draws, len(before)))
    return np.quantile((signs * (after - before)).mean(1), [0.025, 0.975])


def generator_of_its_own(before, after, draws, generator):
    return bootstrap_at_once(before, after, draws, np.random.default_rng(0))


def numpys_global_state(before, after, draws, generator):
    change = after - before
    return np.quantile(
        np.random.choice(change, (draws, len(change))).mean(1),  # noqa: NPY002 - this is the mistake: the old global state instead of the generator
        [0.025, 0.975],
    )


def subtracted_in_place(before, after, draws, generator):
    after -= before
    return bootstrap_at_once(0 * after, after, draws, generator)


def always_ten_thousand(before, after, draws, generator):
    return bootstrap_at_once(before, after, 10_000, generator)


# --- adjust_for_many ---
def adjusted_at_once(p_values):
    order = np.argsort(p_values)
    ranks = np.arange(1, len(p_values) + 1)
    smallest = np.minimum.accumulate((p_values[order] * len(p_values) / ranks)[::-1])[::-1]
    result = np.empty_like(p_values)
    result[order] = smallest
    return result


def adjusted_in_a_loop(p_values):
    """From the largest down; a list of plain numbers."""
    count, lowest = len(p_values), 1.0
    places = sorted(range(count), key=lambda place: p_values[place], reverse=True)
    result = [0.0] * count
    for step, place in enumerate(places):
        lowest = min(lowest, float(p_values[place]) * count / (count - step))
        result[place] = lowest
    return result


def adjusted_by_torch(p_values):
    p = torch.from_numpy(p_values)
    ordered, order = p.sort(descending=True)
    ranks = torch.arange(len(p), 0, -1)
    lowest = (ordered * len(p) / ranks).cummin(0).values.clamp(max=1)
    return lowest[order.argsort()]


def adjusted_by_scipy(p_values):
    """What another library gives: an oracle for our own reference."""
    return stats.false_discovery_control(p_values)


def adjusting(
    rank=lambda count: np.arange(1, count + 1),
    adjust=lambda p, count, rank: p * count / rank,
    smooth=lambda raw: np.minimum.accumulate(raw[::-1])[::-1],
    back=lambda smooth, order: smooth[np.argsort(order)],
    order=lambda p: np.argsort(p, kind="stable"),
):
    """Benjamini-Hochberg with a part exchanged."""

    def answer(p_values):
        places, count = order(p_values), len(p_values)
        with np.errstate(all="ignore"):
            return back(smooth(adjust(p_values[places], count, rank(count))), places)

    return answer


def as_it_is(one, *_):
    return one


def bonferroni(p_values):
    return np.minimum(p_values * len(p_values), 1)


def holm(p, count, rank):
    return np.minimum(np.maximum.accumulate(p * (count + 1 - rank)), 1)


def yekutieli(p_values):
    return stats.false_discovery_control(p_values, method="by")


def with_ranks_of_ties(method):
    """Every p-value by its rank, without a minimum where ties are, as rankdata gives it."""

    def answer(p_values):
        if len(np.unique(p_values)) == len(p_values):
            return adjusted_at_once(p_values)
        return p_values * len(p_values) / stats.rankdata(p_values, method)

    return answer


def sorted_in_place(p_values):
    right = adjusted_at_once(p_values)
    p_values.sort()
    return right


# --- rollout ---
def rollout_by_a_loop(weights):
    reached = torch.eye(weights.shape[-1])
    for layer in weights:
        reached = (0.5 * layer.mean(0) + 0.5 * torch.eye(len(reached))) @ reached
    return reached


def rollout_by_a_chain(weights):
    """The sums of the rows are divided out, in double precision."""
    steps = weights.double().mean(1) + torch.eye(weights.shape[-1], dtype=torch.double)
    steps = steps / steps.sum(-1, keepdim=True)
    return torch.linalg.multi_dot([*steps.flip(0)]) if len(steps) > 1 else steps[0]


def rollout_by_einsum(weights):
    steps = (weights.mean(dim=1) + torch.eye(weights.shape[-1])) / 2
    reached = steps[-1]
    for step in reversed(steps[:-1]):
        reached = torch.einsum("ij,jk->ik", reached, step)
    return reached


def rolling(
    heads=lambda layer: layer.mean(0),
    step=lambda mean, itself: (mean + itself) / 2,
    join=lambda step, reached: step @ reached,
    layers=lambda weights: weights,
):
    """Rollout with a part exchanged."""

    def answer(weights):
        itself, reached = torch.eye(weights.shape[-1]), None
        for layer in layers(weights):
            now = step(heads(layer), itself)
            reached = now if reached is None else join(now, reached)
        return reached

    return answer


def by_rows(one):
    return one / one.sum(-1, keepdim=True)


def averaged_layers(weights):
    return torch.stack([rollout_by_a_loop(one[None]) for one in weights]).mean(0)


def residual_at_the_end(weights):
    plain = rolling(step=as_it_is)(weights)
    return (plain + torch.eye(len(plain))) / 2


def first_layer_without_residual(weights):
    if len(weights) == 1:
        return rollout_by_a_loop(weights)
    return rollout_by_a_loop(weights[1:]) @ weights[0].mean(0)


def first_layer_twice(weights):
    if len(weights) == 1:
        return rollout_by_a_loop(weights)
    return rollout_by_a_loop(weights) @ rollout_by_a_loop(weights[:1])


def added_in_place(weights):
    weights += torch.eye(weights.shape[-1])
    return rolling(step=lambda mean, itself: mean / 2)(weights)


def sum_grows(weights):
    """The first layers are right; in later ones the residual is not halved."""
    steps = [rollout_by_a_loop(one[None]) for one in weights[:3]]
    steps += [one.mean(0) + torch.eye(weights.shape[-1]) for one in weights[3:]]
    return torch.linalg.multi_dot(steps[::-1]) if len(steps) > 1 else steps[0]


def three_layers_typed_in(weights):
    return rollout_by_a_loop(weights[:3])


def never_ends(*arguments):
    while True:
        pass


RIGHT = {
    "mix_heads": [mixed_head_by_head, mixed_by_einsum, mixed_by_torchs_attention],
    "ablate": [ablated_in_a_copy, ablated_by_where, ablated_by_joining, ablated_by_attention],
    "head_importance": [
        importance_by_grad,
        importance_by_backward,
        importance_by_sums,
        importance_of_a_weighted_loss,
    ],
    "paired_bootstrap": [
        bootstrap_at_once,
        bootstrap_in_a_loop,
        bootstrap_by_counts,
        bootstrap_by_choice_and_torch,
    ],
    "adjust_for_many": [
        adjusted_at_once,
        adjusted_in_a_loop,
        adjusted_by_torch,
        adjusted_by_scipy,
    ],
    "rollout": [rollout_by_a_loop, rollout_by_a_chain, rollout_by_einsum],
}

WRONG = {
    "mix_heads": [
        (mixing(root=lambda query: 1), "scores are not scaled"),
        (mixing(root=lambda query: query.shape[-1]), "divided by the width"),
        (mixing(root=lambda query: query.shape[-2] ** 0.5), "root of the number of tokens"),
        (mixing(root=lambda query: math.prod(query.shape[1::2]) ** 0.5), "root of the whole width"),
        (mixing(weigh=lambda scores: scores.softmax(-2)), "runs over the queries"),
        (mixing(weigh=lambda scores: scores), "there is no softmax"),
        (mixing(biases=lambda scale: 0), "bias is missing"),
        (mixing(biases=len), "bias comes with every head"),
        (mixing(biases=lambda scale: scale.mean()), "bias is scaled with the heads"),
        (mixing(add=lambda brought: sum(brought) / len(brought)), "heads are averaged\\."),
        (
            lambda *layer: mixed_by_einsum(*layer) / layer[0].shape[1],
            "averaged, and the bias with them",
        ),
        (mixing(add=lambda brought: brought[-1]), "Only the last head is there"),
        (
            mixing(slices=lambda weight, heads: [weight[:, h::heads] for h in range(heads)]),
            "every third one",
        ),
        (
            mixing(
                slices=lambda weight, heads: [
                    one.T for one in weight.reshape(heads, -1, len(weight))
                ]
            ),
            "as if E came last",
        ),
        (mixed_without_changing_places, "Heads and tokens get mixed up"),
        (contexts_only, "These are the contexts"),
        (side_by_side_only, "heads are concatenated"),
        (mixing(add=lambda brought: torch.stack(brought, 1)), "one output for each head"),
        (mixing(outside=lambda s, t: 0 * s + 1), "scale has no effect"),
        (
            mixing(inside=lambda s, t: s / t, outside=lambda s, t: 0 * s + 1),
            "scale is inside the softmax",
        ),
        (mixing(outside=lambda s, t: s**2), "scale enters twice"),
        (mixing(outside=lambda s, t: 1 / s), "scale divides"),
        (mixing(outside=lambda s, t: len(s) * s / s.sum()), "scale is normalised"),
        (
            mixing(inside=lambda s, t: 1 / s, outside=lambda s, t: t),
            "Scale and temperature are swapped",
        ),
        (scaled_along_the_width, "RuntimeError"),
        (mixing(inside=lambda s, t: t), "makes the weights sharper"),
        (
            mixing(inside=lambda s, t: 0 * t + 1, outside=lambda s, t: s / t),
            "temperature comes after the softmax",
        ),
        (mixing(inside=lambda s, t: 0 * t + 1), "temperature has no effect"),
        (mixing(inside=lambda s, t: t**-0.5), "under the square root"),
        (mixing(inside=lambda s, t: t**-2), "temperature enters twice"),
        (nan_when_all_is_silent, "NaN in the output"),
        (knobs_as_plain_numbers, "gradient is NaN or infinite, or missing"),
    ],
    "ablate": [
        (in_place, "in place"),
        (at_another_place(zero=lambda c, right, m, h: c), "Nothing has changed"),
        (at_another_place(zero=lambda c, right, m, h: 0 * c), "All heads are silent"),
        (at_another_place(zero=only_this_head), "Only this head is left"),
        (at_another_place(zero=zeros_at(lambda h: h)), r"Text \d is silent"),
        (at_another_place(zero=zeros_at(lambda h: (..., h, slice(None)))), r"Token \d is silent"),
        (
            at_another_place(zero=zeros_at(lambda h: (slice(None), h - 1))),
            r"Head \d is silent, not",
        ),
        (at_another_place(zero=lambda c, right, m, h: right * 4 / 3), "become louder"),
        (
            at_another_place(zero=lambda c, right, m, h: torch.cat([c[:, :h], c[:, h + 1 :]], 1)),
            "one head less",
        ),
        (at_another_place(zero=lambda c, right, m, h: right[:, h]), "only this head in the result"),
        (
            lambda c, v, r, m, h, how: ablated_by_where(c, v, r, m, h, "zero"),
            "(?s)'zero'.*look at `how`",
        ),
        (ablating(uniform=lambda c, v, r, m, h: v.mean(2, keepdim=True)), "padding is averaged"),
        (
            ablating(uniform=lambda c, v, r, m, h: of_real(v, r)[0] / r.shape[1]),
            r"divided by \d, the number of all",
        ),
        (ablating(uniform=lambda c, v, r, m, h: of_real(v, r)[0]), "real tokens are added up"),
        (
            ablating(uniform=lambda c, v, r, m, h: of_real(v, r)[0].sum(0) / r.sum()),
            "real tokens of all texts",
        ),
        (
            ablating(uniform=lambda c, v, r, m, h: of_real(c, r)[0] / of_real(c, r)[1]),
            "context that is averaged",
        ),
        (all_heads, "All heads have uniform weights"),
        (ablating(uniform=lambda c, v, r, m, h: v.mean(1, keepdim=True)), "values of all heads"),
        (ablating(uniform=lambda c, v, r, m, h: 1 / of_real(c, r)[1]), "weights themselves stand"),
        (at_another_place(mean=zeros_at(lambda h: (slice(None), h))), "'uniform' was right"),
        (ablating(mean=lambda c, v, r, m, h: m.mean(0)), "mean is taken over the heads"),
        (ablating(mean=lambda c, v, r, m, h: c.mean(1, keepdim=True)), "mean of all heads at each"),
        (
            ablating(mean=lambda c, v, r, m, h: of_real(c, r)[0] / of_real(c, r)[1]),
            "mean of its own text, so",
        ),
        (
            ablating(mean=lambda c, v, r, m, h: c.mean(2, keepdim=True)),
            "mean of its own text, padding",
        ),
        (
            ablating(mean=lambda c, v, r, m, h: of_real(c, r)[0].sum(0) / r.sum()),
            "mean of this batch: ",
        ),
        (
            ablating(mean=lambda c, v, r, m, h: c.mean((0, 2), keepdim=True)),
            "mean of this batch, padding",
        ),
        (
            at_another_place(mean=lambda c, right, m, h: m[:, None].expand_as(c)),
            "All heads have their mean",
        ),
        (ablating(mean=lambda c, v, r, m, h: c + m[:, None]), "mean is added"),
        (ablating(mean=lambda c, v, r, m, h: c - m[:, None]), "mean is subtracted"),
        (ablating(mean=lambda c, v, r, m, h: m[0]), "mean of head 0"),
        (
            lambda c, v, r, m, h, how: ablated_by_where(
                c, v, r, m, h, "zero" if how == "zero" else "uniform"
            ),
            "uniform weights, as for",
        ),
        (squeezed, "(?s)single text.*Expected shape"),
        (lambda *given: ablated_by_where(*given).numpy(), "numpy"),
    ],
    "head_importance": [
        (weighing(of_batch=lambda gradient: gradient), "sign is turned"),
        (weighing(of_batch=torch.abs), "All values are positive"),
        (weighing(of_batch=lambda gradient: gradient**2), "squared"),
        (sentence_by_sentence(torch.abs), "absolute value is taken for each sentence"),
        (sentence_by_sentence(torch.neg), "called 4 times for 1 batch\\."),
        (weighing(at=0.0), "taken at scale 0"),
        (weighing(share=lambda part, sentences, batches: part), "sum over the sentences"),
        (
            weighing(share=lambda part, sentences, batches: 1 / sentences),
            "number of sentences once more",
        ),
        (weighing(share=lambda part, sentences, batches: 1 / batches), "in a small batch"),
        (weighing(share=lambda part, sentences, batches: 1), "means of the batches are added"),
        (weighing(result=lambda parts: parts[-1]), "and only its share"),
        (
            lambda loss, batches, *size: importance_by_grad(loss, batches[-1:], *size),
            "Only the last batch counts\\.",
        ),
        (
            lambda loss, batches, *size: importance_by_grad(loss, batches[:1], *size),
            "Only the first batch counts",
        ),
        (never_cleared, "earlier batches are still in .grad"),
        (left_out_one_by_one, "really silenced, one after another"),
        (by_finite_differences, "called 12 times"),
        (without_gradients, "knows nothing of the scales"),
        (
            lambda loss, batches, layers, heads: importance_by_grad(loss, batches, heads, layers),
            r"tensor of scales \(layers, heads\)",
        ),
        (all_batches_in_one_call, "than one of the batches"),
        (lambda *given: importance_by_grad(*given).flatten(), r"it is \(6,\)"),
        (lambda *given: importance_by_grad(*given).mean(1), r"it is \(2,\)"),
    ],
    "paired_bootstrap": [
        (drawn_apart, "resampled apart"),
        (
            drawing(
                resample=lambda c, draws, rng: np.array(
                    [rng.permutation(c).mean() for _ in range(draws)]
                )
            ),
            "Without replacement each",
        ),
        (
            drawing(ends=lambda means, c: c.mean() + np.array([-1.96, 1.96]) * c.std()),
            "mean ± 1.96 standard deviations. The mean",
        ),
        (
            drawing(ends=lambda means, c: c.mean() + np.array([-1, 1]) * c.std(ddof=1)),
            "± one standard deviation of the sentences",
        ),
        (
            drawing(ends=lambda means, c: np.quantile(c, [0.025, 0.975])),
            "quantiles of the sentences' own changes",
        ),
        (
            drawing(ends=lambda means, c: means.mean() + np.array([-1, 1]) * means.std()),
            "one standard error, which holds 68",
        ),
        (
            drawing(ends=lambda means, c: means.mean() + np.array([-1.96, 1.96]) * means.std()),
            "no resample can have such a mean",
        ),
        (
            drawing(ends=lambda means, c: np.quantile(means, [0.05, 0.95])),
            "quantiles 5 % and 95 %",
        ),
        (
            drawing(ends=lambda means, c: np.quantile(means, [0.25, 0.75])),
            "quantiles 25 % and 75 %",
        ),
        (
            drawing(ends=lambda means, c: np.quantile(means, [0.005, 0.995])),
            "holds 99 %",
        ),
        (
            drawing(ends=lambda means, c: np.percentile(means, [0.025, 0.975])),
            "Both ends lie below",
        ),
        (drawing(ends=lambda means, c: np.quantile(means, [2.5, 97.5])), "ValueError"),
        (drawing(change=lambda before, after: before - after), "sign is turned"),
        (
            drawing(ends=lambda means, c: np.quantile(means, [0.975, 0.025])),
            "upper end comes first",
        ),
        (
            drawing(ends=lambda means, c: np.quantile(means - c.mean(), [0.025, 0.975])),
            "lies around 0",
        ),
        (
            drawing(resample=lambda c, draws, rng: rng.choice(c, (draws, len(c))).sum(1)),
            "sum over the sentences",
        ),
        (
            drawing(ends=lambda means, c: 100 * np.quantile(means, [0.025, 0.975])),
            "in per cent",
        ),
        (
            drawing(resample=lambda c, draws, rng: rng.choice(c, (draws, len(c))).mean(0)),
            "far too narrow",
        ),
        (numpys_global_state, "With the same generator"),
        (generator_of_its_own, "With another generator"),
        (subtracted_in_place, "changes an array"),
        (always_ten_thousand, "With draws = 1"),
        (
            lambda before, after, draws, generator: significance.paired_bootstrap(
                after - before, draws, generator.integers(99)
            ),
            "ready-made paired_bootstrap",
        ),
        (drawing(ends=lambda means, c: means.std()), "One number came back"),
        (drawing(ends=lambda means, c: means), "two things are asked for"),
    ],
    "adjust_for_many": [
        (bonferroni, "multiplied by the number of values. That is Bonferroni's"),
        (lambda p: p * len(p), "even beyond 1. That is Bonferroni's"),
        (adjusting(adjust=holm, smooth=as_it_is), "Holm"),
        (yekutieli, "Yekutieli"),
        (lambda p: p, "Nothing is adjusted"),
        (adjusting(adjust=lambda p, count, rank: p * rank / count), "number are swapped"),
        (adjusting(adjust=lambda p, count, rank: p / rank), "number of values is missing"),
        (adjusting(rank=lambda count: np.arange(count, 0, -1)), "largest p-value has rank 1"),
        (adjusting(rank=np.arange), "have rank 0, or 1"),
        (adjusting(smooth=as_it_is), "above 1, and a larger p-value"),
        (adjusting(smooth=lambda raw: np.minimum(raw, 1)), "cutting at 1 does not mend"),
        (
            adjusting(smooth=lambda raw: np.maximum.accumulate(np.minimum(raw, 1))),
            "pulled up to those of smaller p-values\\.",
        ),
        (adjusting(smooth=np.maximum.accumulate), "pulled up to those .*, even beyond 1"),
        (adjusting(smooth=np.minimum.accumulate), "begins at the smallest"),
        (adjusting(back=as_it_is), "sorted, the smallest first"),
        (adjusting(back=lambda smooth, order: smooth[order]), "sorting is done once more"),
        (adjusting(back=lambda smooth, order: smooth[::-1]), "sorted, the largest first"),
        (
            adjusting(order=lambda p: np.arange(len(p))),
            "index in the list, and the minimum",
        ),
        (
            lambda p: (
                adjusted_at_once(p)
                if (np.diff(p) > 0).all()
                else p * len(p) / np.arange(1, len(p) + 1)
            ),
            "rank is the index in the list\\.",
        ),
        (with_ranks_of_ties("average"), "mean of their ranks"),
        (with_ranks_of_ties("min"), "lowest of their ranks"),
        (lambda p: adjusted_at_once(p) < 0.05, "These are decisions"),
        (sorted_in_place, "changes an array"),
        (significance.benjamini_hochberg, "ready-made benjamini_hochberg"),
        (never_ends, "did not end"),
    ],
    "rollout": [
        (rolling(step=as_it_is), "residual is missing\\."),
        (rolling(step=lambda mean, itself: mean + itself), "rows now sum to 2"),
        (rolling(step=lambda mean, itself: by_rows(mean + 1)), "1 is added everywhere, as if"),
        (
            rolling(step=lambda mean, itself: (mean + 1) / 2),
            "1 is added everywhere, and the rows",
        ),
        (lambda weights: rollout_by_a_loop(weights).T, "transposed"),
        (
            rolling(step=lambda mean, itself: (mean + itself) / (mean + itself).sum(0)),
            "columns sum to 1",
        ),
        (
            rolling(
                heads=lambda layer: layer.sum(0), step=lambda mean, itself: by_rows(mean + itself)
            ),
            "heads are added up, so that",
        ),
        (rolling(heads=lambda layer: layer.sum(0)), "heads are added up, and"),
        (
            rolling(
                heads=lambda layer: layer.amax(0), step=lambda mean, itself: by_rows(mean + itself)
            ),
            "only the strongest head counts\\.",
        ),
        (rolling(heads=lambda layer: layer.amax(0)), "strongest head counts, and the rows"),
        (rolling(heads=lambda layer: layer[0]), "Only the first head"),
        (rolling(heads=lambda layer: layer[-1]), "Only the last head"),
        (rolling(join=lambda step, reached: reached @ step), "wrong order"),
        (rolling(layers=lambda weights: weights[-1:]), "Only the last layer"),
        (rolling(layers=lambda weights: weights[:1]), "Only the first layer"),
        (averaged_layers, "layers are averaged"),
        (rolling(join=lambda step, reached: step * reached), "number by number"),
        (residual_at_the_end, "added once, after all"),
        (first_layer_without_residual, "missing in the first layer"),
        (first_layer_twice, "first layer is there twice"),
        (sum_grows, "With six layers a row sums to"),
        (added_in_place, "in place"),
        (explaining.rollout, "ready-made rollout"),
        (three_layers_typed_in, "typed in"),
    ],
}
