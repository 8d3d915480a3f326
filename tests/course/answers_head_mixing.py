"""Answers to lesson 06: right ones in several styles, and wrong ones, with what is said to them."""

import functools
import math

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch.nn import functional as F

from attnlab import statistics as significance
from attnlab import transformer


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


def mixed_by_vmap(query, key, value, weight, bias, scale, temperature):
    def head(query, key, value, columns, scale, temperature):
        weights = (query @ key.mT / query.shape[-1] ** 0.5 / temperature).softmax(-1)
        return weights @ (scale * value) @ columns

    columns = torch.stack(weight.T.split(query.shape[-1]))  # (H, D, E)
    return (
        torch.vmap(head, (1, 1, 1, 0, 0, 0))(query, key, value, columns, scale, temperature).sum(0)
        + bias
    )


def mixed_by_logarithms(query, key, value, weight, bias, scale, temperature):
    """The scale in the projection; double precision."""
    heads, width = query.shape[1], query.shape[-1]
    scores = query.double() @ key.double().mT / width**0.5 / temperature[:, None, None]
    weights = (scores - scores.logsumexp(-1, keepdim=True)).exp()
    columns = weight.unflatten(1, (heads, width)).permute(1, 2, 0) * scale[:, None, None]
    return (weights @ value.double() @ columns.double()).sum(1) + bias


def width_typed_in(*layer):
    query, *rest, temperature = layer
    return mixed_head_by_head(query, *rest, temperature * 2 / query.shape[-1] ** 0.5)


def loses_a_single_text(*layer):
    return mixed_head_by_head(*layer).squeeze(0)


def temperatures_up_to_ten(*layer):
    return mixed_head_by_head(*layer[:-1], layer[-1].clamp(max=10))


def scale_by_its_logarithm(query, key, value, weight, bias, scale, temperature):
    """Right, but at a scale of 0 its gradient is NaN."""
    scores = query @ key.mT / query.shape[-1] ** 0.5 / temperature[:, None, None]
    weights = (scores.log_softmax(-1) + scale.log()[:, None, None]).exp()
    return F.linear((weights @ value).transpose(1, 2).flatten(2), weight, bias)


def added_to_the_bias(query, key, value, weight, bias, scale, temperature):
    bias += mixed_head_by_head(query, key, value, weight, 0 * bias, scale, temperature)
    return bias


def mixed_without_changing_places(query, key, value, weight, bias, scale, temperature):
    scores = query @ key.mT / query.shape[-1] ** 0.5 / temperature[:, None, None]
    context = scale[:, None, None] * (scores.softmax(-1) @ value)
    return F.linear(context.reshape(len(query), query.shape[2], -1), weight, bias)


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


def ablated_by_index_copy(context, value, real, mean, head, how):
    """NaN where nothing is read; all padding is left at 0."""
    if how == "uniform":
        seen = value[:, head].masked_fill(~real[..., None], math.nan)
        new = seen.nanmean(1, keepdim=True).expand_as(seen)
    else:
        new = (mean[head] if how == "mean" else 0 * mean[head]).expand_as(context[:, head])
    return context.index_copy(1, torch.tensor([head]), new[:, None]) * real[:, None, :, None]


def as_many_as_the_first(context, value, real, mean, head, how):
    if how != "uniform":
        return ablated_by_where(context, value, real, mean, head, how)
    context = context.clone()
    total = (value[:, head] * real[..., None]).sum(1, keepdim=True)
    context[:, head] = total / real[0].sum()
    return context


def in_place(context, value, real, mean, head, how):
    context[:, head] = ablated_by_where(context, value, real, mean, head, how)[:, head]
    return context


def all_heads(context, value, real, mean, head, how):
    if how != "uniform":
        return ablated_by_where(context, value, real, mean, head, how)
    mask = real[:, None, :, None]
    uniform = (value * mask).sum(2, keepdim=True) / mask.sum(2, keepdim=True)
    return uniform.expand_as(context)


def squeezed(context, value, real, mean, head, how):
    """Right for several texts; a single one loses its axis."""
    return ablated_by_where(context, value, real, mean, head, how).squeeze(0)


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
    """How often each sentence is drawn is multinomial; quantiles by sorting; plain numbers."""
    n = len(before)
    counts = generator.multinomial(n, np.full(n, 1 / n), size=draws)
    means = np.sort(counts @ (after - before) / n)
    at = round(0.025 * (draws - 1))
    return [float(means[at]), float(means[draws - 1 - at])]


def bootstrap_by_choice_and_torch(before, after, draws, generator):
    change = generator.choice(after - before, size=(draws, len(before)))
    means = torch.from_numpy(change).mean(1)
    return torch.quantile(means, 0.025), torch.quantile(means, 0.975)


def bootstrap_by_scipy(before, after, draws, generator):
    """What another library gives."""
    found = stats.bootstrap(
        (before, after),
        lambda before, after, axis=-1: (after - before).mean(axis),
        n_resamples=draws,
        paired=True,
        method="percentile",
        rng=generator,
    )
    return found.confidence_interval


def never_the_first(before, after, draws, generator):
    n = len(before)
    drawn = (after - before)[generator.integers(1, n, (draws, n))]
    return np.quantile(drawn.mean(1), [0.025, 0.975])


def one_number_too_many(before, after, draws, generator):
    """The last sentence stands for two of the numbers that are drawn."""
    n = len(before)
    places = generator.integers(0, n, (draws, n), endpoint=True)
    return np.quantile((after - before)[np.minimum(places, n - 1)].mean(1), [0.025, 0.975])


def rounded(*given):
    return np.round(bootstrap_at_once(*given), 4)


def drawn_apart(before, after, draws, generator):
    n = len(before)
    first, second = (generator.choice(one, (draws, n)).mean(1) for one in (before, after))
    return tuple(np.quantile(second - first, [0.025, 0.975]))


def generator_of_its_own(before, after, draws, generator):
    return bootstrap_at_once(before, after, draws, np.random.default_rng(0))


def always_ten_thousand(before, after, draws, generator):
    return bootstrap_at_once(before, after, 10_000, generator)


def per_cent_as_shares(before, after, draws, generator):
    means = generator.choice(after - before, (draws, len(before))).mean(1)
    return np.quantile(means, [2.5, 97.5])


# --- patch_head ---
def patched_by_two_hooks(run, first, second, layer, head, tokens):
    kept = {}

    def record(index, contexts):
        kept[index] = contexts

    def replace(index, contexts):
        if index == layer:
            contexts = contexts.clone()
            contexts[tokens, head] = kept[layer][tokens, head]
        return contexts

    whole, broken = run(first, record), run(second)
    return (run(second, replace) - broken) / (whole - broken)


def patched_by_where(run, first, second, layer, head, tokens):
    """A list for what is kept, a mask for what is put in, plain runs for the margins."""
    kept = []
    run(first, hook=lambda index, contexts: kept.append(contexts))
    chosen = torch.zeros(kept[0].shape[:2], dtype=torch.bool)
    chosen[torch.tensor(tokens), head] = True

    def put(index, contexts):
        if index != layer:
            return None
        return torch.where(chosen[..., None], kept[layer], contexts)

    start, end = run(first), run(second)
    return 1 - (start - run(second, hook=put)) / (start - end)


def patched_in_place(run, first, second, layer, head, tokens):
    """Token by token, into the tensor that the hook is given, which it returns."""
    rows = {}

    def keep(index, contexts):
        if index == layer:
            rows.update({token: contexts[token, head].tolist() for token in tokens})

    def put(index, contexts):
        if index == layer:
            for token, row in rows.items():
                contexts[token, head] = torch.tensor(row)
        return contexts

    start = run(first, keep)
    end = run(second)
    return float(np.divide(run(second, put) - end, start - end))


def patched_with_partials(run, first, second, layer, head, tokens):
    """One hook for both runs, with a flag."""
    kept = torch.zeros(0)

    def hook(index, contexts, recording):
        nonlocal kept
        if index != layer:
            return contexts
        if recording:
            kept = contexts[tokens, head]
            return contexts
        where = (torch.tensor(tokens), torch.tensor(head))
        return contexts.index_put(where, kept)

    start = run(first, functools.partial(hook, recording=True))
    patched = run(second, functools.partial(hook, recording=False))
    end = run(second)
    return (end - patched) / (end - start)


def recorded_for_the_second(run, first, second, layer, head, tokens):
    def recording(sentence, hook=None):
        if hook and sentence is first:
            run(second, hook)
            return run(first)
        return run(sentence, hook)

    return patched_by_two_hooks(recording, first, second, layer, head, tokens)


def last_token_forgotten(run, first, second, layer, head, tokens):
    """Right where all tokens are given."""
    kept = tokens if len(tokens) > 2 else tokens[:-1]
    return patched_by_two_hooks(run, first, second, layer, head, kept)


def as_a_tensor(*given):
    return torch.tensor([patched_by_two_hooks(*given)])


def one_head_returned(run, first, second, layer, head, tokens):
    run(second, lambda index, contexts: contexts[:, head])


def rounded_to_per_cent(*given):
    return round(patched_by_two_hooks(*given), 2)


def hook_with_one_argument(run, first, second, layer, head, tokens):
    return run(first, lambda contexts: contexts)


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


def adjusted_by_pandas(p_values):
    falling = pd.Series(p_values).sort_values(ascending=False)
    ranks = np.arange(len(falling), 0, -1)
    return (falling * len(falling) / ranks).cummin().sort_index().to_numpy()


def without_repetitions(p_values):
    distinct, places = np.unique(p_values, return_inverse=True)
    return adjusted_at_once(distinct)[places]


def hochberg(p_values):
    order = np.argsort(p_values)[::-1]
    result = np.empty(len(p_values))
    steps = np.arange(1, len(p_values) + 1)
    result[order] = np.minimum.accumulate(np.minimum(p_values[order] * steps, 1))
    return result


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


# --- through_norm ---
def read_step_by_step(norm, entering, direction):
    spread = entering - entering.mean(-1, keepdim=True)
    size = (spread.pow(2).mean(-1, keepdim=True) + norm.eps) ** 0.5
    before = direction * norm.weight / size
    return before - before.mean(-1, keepdim=True), (direction * norm.bias).sum(-1)


def read_by_a_matrix(norm, entering, direction):
    """Centring as a matrix, in double precision, a row at a time."""
    width = entering.shape[-1]
    centre = torch.eye(width, dtype=torch.double) - 1 / width
    rows, said = [], []
    for row, wanted in zip(entering.double(), direction.double(), strict=True):
        size = math.sqrt(float(row.var(correction=0)) + norm.eps)
        rows.append(centre @ (norm.weight.double() * wanted) / size)
        said.append(wanted @ norm.bias.double())
    return torch.stack(rows).float(), torch.stack(said).float()


def read_from_the_norms_own_output(norm, entering, direction):
    """What the norm made of the row says by what it divided."""
    centred = entering - entering.mean(-1, keepdim=True)
    size = torch.sqrt(centred.square().mean(-1) + norm.eps)
    reads = torch.einsum("be,e,b->be", direction, norm.weight, 1 / size)
    return [reads - reads.mean(1)[:, None], torch.einsum("be,e->b", direction, norm.bias)]


def size_of_the_direction(norm, entering, direction):
    return read_step_by_step(norm, direction, direction)


def bias_taken_from_the_norm(norm, entering, direction):
    reads, _ = read_step_by_step(norm, entering, direction)
    return reads, (direction * norm(entering)).sum(-1)


def one_row_only(norm, entering, direction):
    reads, bias = read_step_by_step(norm, entering[:1], direction[:1])
    return reads.expand_as(entering), bias.expand(len(entering))


def never_ends(*arguments):
    while True:
        pass


RIGHT = {
    "mix_heads": [
        mixed_head_by_head,
        mixed_by_einsum,
        mixed_by_torchs_attention,
        mixed_by_vmap,
        mixed_by_logarithms,
    ],
    "ablate": [
        ablated_in_a_copy,
        ablated_by_where,
        ablated_by_joining,
        ablated_by_attention,
        ablated_by_index_copy,
    ],
    "patch_head": [
        patched_by_two_hooks,
        patched_by_where,
        patched_in_place,
        patched_with_partials,
    ],
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
        bootstrap_by_scipy,
    ],
    "adjust_for_many": [
        adjusted_at_once,
        adjusted_in_a_loop,
        adjusted_by_torch,
        adjusted_by_scipy,
        adjusted_by_pandas,
    ],
    "through_norm": [
        read_step_by_step,
        read_by_a_matrix,
        read_from_the_norms_own_output,
    ],
}

# wrong answers that know nothing of the checks, and words of what they are told; the mistakes that
# the checks know stand beside them, in attnlab/course/checks
WRONG = {
    "mix_heads": [
        (mixed_without_changing_places, "Heads and tokens get mixed up"),
        (scaled_along_the_width, "RuntimeError"),
        (nan_when_all_is_silent, "NaN in the output"),
        (knobs_as_plain_numbers, "gets no gradient"),
        (width_typed_in, "(?s)twelve of width 3.*typed in"),
        (loses_a_single_text, "(?s)single text.*Expected shape"),
        (temperatures_up_to_ten, "high temperatures"),
        (scale_by_its_logarithm, "a gradient is NaN"),
        (added_to_the_bias, r"x = x \+"),
    ],
    "ablate": [
        (
            lambda c, v, r, m, h, how: ablated_by_where(c, v, r, m, h, "zero"),
            "(?s)'zero'.*look at `how`",
        ),
        (in_place, "in place"),
        (all_heads, "All heads have uniform weights"),
        (squeezed, "(?s)single text.*Expected shape"),
        (as_many_as_the_first, "'uniform' the result is wrong"),
        (lambda *given: ablated_by_where(*given).numpy(), "numpy"),
    ],
    "patch_head": [
        (recorded_for_the_second, "Nothing comes back"),
        (last_token_forgotten, "wrong if only some"),
        (as_a_tensor, "not a plain number"),
        (one_head_returned, "something else than contexts"),
        (rounded_to_per_cent, "share is wrong"),
        (hook_with_one_argument, "TypeError"),
    ],
    "head_importance": [
        (left_out_one_by_one, "really silenced, one after another"),
        (by_finite_differences, "called (12|16) times"),
        (never_cleared, "earlier batches are still in .grad"),
        (lambda *given: importance_by_grad(*given).flatten(), r"it is \([68],\)"),
        (lambda *given: importance_by_grad(*given).mean(1), r"it is \(2,\)"),
    ],
    "paired_bootstrap": [
        (drawn_apart, "resampled apart"),
        (generator_of_its_own, "With another generator"),
        (always_ten_thousand, "With draws = 1"),
        (never_the_first, "ends at 0 where it is the first"),
        (one_number_too_many, "ends at 0.667 where it is the first"),
        (rounded, "0.0001 times as large"),
        (per_cent_as_shares, "ValueError"),
        (lambda *given: float(np.ptp(bootstrap_at_once(*given))), "One number came back"),
        (
            lambda before, after, draws, generator: generator.choice(
                after - before, (draws, len(before))
            ).mean(1),
            "two things are asked for",
        ),
        (
            lambda before, after, draws, generator: significance.paired_bootstrap(
                after - before, draws, generator.integers(99)
            ),
            "ready-made paired_bootstrap",
        ),
    ],
    "adjust_for_many": [
        (yekutieli, "Yekutieli"),
        (hochberg, "Hochberg's adjustment"),
        (without_repetitions, "counted as one"),
        (with_ranks_of_ties("average"), "mean of their ranks"),
        (sorted_in_place, "changes an array"),
        (significance.benjamini_hochberg, "ready-made benjamini_hochberg"),
        (never_ends, "did not end"),
    ],
    "through_norm": [
        (size_of_the_direction, "direction itself went through"),
        (bias_taken_from_the_norm, "(?s)plain norm.*direction is wrong|largest difference"),
        (one_row_only, "wrong for several rows"),
        (transformer.through_norm, "ready-made through_norm"),
    ],
}
