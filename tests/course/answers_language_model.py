"""Answers to lesson 04: right ones in several styles, and wrong ones, with what is said to them."""

import itertools
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from attnlab.attention import rotate, tiled_attention


# --- causal_loss ---
def loss_with_cross_entropy(logits, ids, mask):
    nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    real = mask[:, 1:] & mask[:, :-1]
    return (nats * real).sum() / real.sum()


def loss_by_ignoring(logits, ids, mask):
    labels = ids[:, 1:].masked_fill(~(mask[:, 1:] & mask[:, :-1]), -100)
    return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels.reshape(-1))


def loss_by_picking(logits, ids, mask):
    logs = logits.log_softmax(dim=-1)
    both = torch.logical_and(mask[:, 1:], mask[:, :-1])
    row, place = both.nonzero(as_tuple=True)
    return -logs[row, place, ids[row, place + 1]].mean()


def loss_by_text(logits, ids, mask):
    """Text by text, without its padding."""
    parts = []
    for row, said, real in zip(logits, ids, mask, strict=True):
        row, said = row[real], said[real]
        parts.append(nn.functional.nll_loss(row[:-1].log_softmax(-1), said[1:], reduction="none"))
    return torch.cat(parts).mean()


def loss_by_one_hot(logits, ids, mask):
    shifted = torch.roll(ids, -1, dims=1)
    real = mask & torch.roll(mask, -1, dims=1)
    real[:, -1] = False
    chosen = F.one_hot(shifted, logits.size(-1))
    largest = logits.amax(-1, keepdim=True)
    logs = logits - largest - (logits - largest).exp().sum(-1, keepdim=True).log()
    return -(torch.where(chosen.bool(), logs, 0.0).sum(-1) * real).sum() / real.count_nonzero()


def loss_of_every_fourth(logits, ids, mask):
    return loss_with_cross_entropy(logits[:, ::2], ids[:, ::2], mask[:, ::2])


def loss_of_axes_in_the_wrong_order(logits, ids, mask):
    return F.cross_entropy(logits[:, :-1], ids[:, 1:])


def loss_with_mask_in_place(logits, ids, mask):
    ids[~mask] = -100
    return loss_by_ignoring(logits, ids, mask)


# --- top_p ---
def top_p_by_sorting(logits, p):
    chances = torch.softmax(logits, -1)
    ranked, order = torch.sort(chances, dim=-1, descending=True, stable=True)
    stay = ranked.cumsum(-1) - ranked < p
    stay[..., 0] = True
    kept = torch.zeros_like(chances).scatter(-1, order, ranked * stay)
    return kept / kept.sum(-1, keepdim=True)


def top_p_by_undoing_the_order(logits, p):
    """As the big libraries do it: logits of -inf, and the softmax again."""
    order = logits.argsort(dim=-1, descending=True, stable=True)
    sums = logits.gather(-1, order).softmax(-1).cumsum(-1)
    cut = F.pad(sums[..., :-1] >= p, (1, 0), value=False)
    cut = cut.gather(-1, order.argsort(-1))
    return logits.masked_fill(cut, -math.inf).softmax(-1)


def top_p_in_a_loop(logits, p):
    result = torch.zeros_like(logits)
    for index in np.ndindex(*logits.shape[:-1]):
        chances = logits[index].softmax(-1)
        left, reached = chances.clone(), 0.0
        while True:
            best = int(left.argmax())
            result[index][best] = chances[best]
            reached += float(chances[best])
            left[best] = -1
            if reached >= p or (left < 0).all():
                break
        result[index] /= result[index].sum()
    return result


def top_p_by_numpy(logits, p):
    numbers = logits.double().numpy()
    powers = np.exp(numbers - numbers.max(-1, keepdims=True))
    chances = powers / powers.sum(-1, keepdims=True)
    order = np.argsort(-chances, axis=-1, kind="stable")
    ranked = np.take_along_axis(chances, order, -1)
    count = np.maximum((np.cumsum(ranked, -1) < p - 1e-12).sum(-1, keepdims=True) + 1, 1)
    ranked = np.where(np.arange(ranked.shape[-1]) < count, ranked, 0)
    result = np.zeros_like(chances)
    np.put_along_axis(result, order, ranked, -1)
    return torch.from_numpy(result / result.sum(-1, keepdims=True)).float()


def top_p_by_comparing_all(logits, p):
    """What is likelier than a token, added up without sorting."""
    chances, ids = logits.softmax(-1), torch.arange(logits.shape[-1])
    mine, other = chances[..., :, None], chances[..., None, :]
    before = (other > mine) | ((other == mine) & (ids < ids[:, None]))
    stay = ((before * other).sum(-1) < p) | ~before.any(-1)
    return F.normalize(chances * stay, p=1.0, dim=-1)


def top_p_of_the_unsorted_mask(logits, p):
    ranked = logits.softmax(-1).sort(-1, descending=True).values
    return logits.masked_fill(ranked.cumsum(-1) > p, -math.inf).softmax(-1)


def top_p_of_one_row(logits, p):
    ranked, order = logits.softmax(-1).sort(descending=True, stable=True)
    count = int((ranked.cumsum(0) < p).sum()) + 1
    result = torch.zeros_like(logits)
    result[order[:count]] = ranked[:count]
    return result / result.sum()


def top_p_of_logits_from_zero(logits, p):
    return top_p_by_sorting(logits - logits.amin(-1, keepdim=True), p)


# --- cached_step ---
def step_with_repeated_keys(query, key, value, cache_keys, cache_values):
    keys, values = torch.cat([cache_keys, key], -2), torch.cat([cache_values, value], -2)
    shared = query.shape[1] // keys.shape[1]
    many_keys, many_values = (x.repeat_interleave(shared, dim=1) for x in (keys, values))
    scores = query @ many_keys.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return scores.softmax(-1) @ many_values, keys, values


def step_by_groups(query, key, value, cache_keys, cache_values):
    """Nothing is repeated: query heads that share keys are rows of one product."""
    keys, values = torch.cat((cache_keys, key), dim=2), torch.cat((cache_values, value), dim=2)
    groups = query.unflatten(1, (keys.shape[1], -1)).squeeze(3)
    weights = torch.softmax(groups @ keys.mT * groups.shape[-1] ** -0.5, dim=-1)
    return (weights @ values).flatten(1, 2).unsqueeze(2), keys, values


def step_by_einsum(query, key, value, cache_keys, cache_values):
    batch, width = len(query), query.shape[-1]
    keys = F.pad(cache_keys, (0, 0, 0, 1))
    values = F.pad(cache_values, (0, 0, 0, 1))
    keys = torch.cat([keys[:, :, :-1], key], 2)
    values = torch.cat([values[:, :, :-1], value], 2)
    grouped = query.reshape(batch, keys.shape[1], -1, width)
    scores = torch.einsum("bkgd,bktd->bkgt", grouped, keys) / width**0.5
    context = torch.einsum("bkgt,bktd->bkgd", scores.softmax(-1), values)
    return [context.reshape(query.shape), keys, values]


def step_in_two_parts(query, key, value, cache_keys, cache_values):
    """The cache and the new token apart, as two tiles of a softmax."""
    index = torch.arange(query.shape[1]) * key.shape[1] // query.shape[1]
    old = (query * cache_keys[:, index]).sum(-1) / query.shape[-1] ** 0.5
    new = (query * key[:, index]).sum(-1) / query.shape[-1] ** 0.5
    total = torch.logsumexp(torch.cat([old, new], -1), -1, keepdim=True)
    context = (old - total).exp()[:, :, None] @ cache_values[:, index]
    context = context + (new - total).exp()[:, :, None] * value[:, index]
    return context, torch.cat([cache_keys, key], 2), torch.cat([cache_values, value], 2)


def step_ready_made(query, key, value, cache_keys, cache_values):
    keys, values = torch.cat([cache_keys, key], 2), torch.cat([cache_values, value], 2)
    context = F.scaled_dot_product_attention(query, keys, values, enable_gqa=True)
    return context, keys, values


def step_with_tiles(query, key, value, cache_keys, cache_values):
    keys, values = torch.cat([cache_keys, key], 2), torch.cat([cache_values, value], 2)
    return tiled_attention(query, keys, values), keys, values


def step_with_a_memory(query, key, value, cache_keys, cache_values):
    """Keeps its own lists beside the caches."""
    if not cache_keys.shape[2]:
        MEMORY.clear()
    MEMORY.append((key, value))
    keys, values = (torch.cat([part[i] for part in MEMORY], 2) for i in range(2))
    return step_with_repeated_keys(query, keys[:, :, -1:], values[:, :, -1:], keys, values)


MEMORY = []


# --- find_faulty ---
def faulty_by_a_plan(full, caches, ids):
    faulty, tokens = {}, ids.shape[1]
    order = torch.arange(len(ids)).roll(1)
    cuts = [0, 3, *range(4, tokens // 2 + 3), tokens]
    for name, make in caches.items():
        cache, seen = make(), ids[:, :0]
        for start, stop in itertools.pairwise(cuts):
            if start == tokens // 2:
                cache.reorder(order)
                seen = seen[order]
            seen = torch.cat([seen, ids[:, start:stop]], 1)
            apart = (cache.read(ids[:, start:stop]) - full(seen)[:, start:]).abs()
            wrong = apart.amax((0, 2)) > 1e-3
            if wrong.any():
                faulty[name] = start + int(wrong.int().argmax())
                break
    return faulty


def faulty_by_three_experiments(full, caches, ids):
    """Each way to use a cache by itself, with a fresh cache."""
    rows, tokens = ids.shape

    def one_by_one(make):
        cache, right = make(), full(ids)
        for t in range(tokens):
            if not torch.allclose(cache.read(ids[:, [t]])[:, 0], right[:, t], atol=1e-4):
                return t
        return None

    def in_chunks(make):
        cache, right, size = make(), full(ids), 4
        for start in range(0, tokens, size):
            found = cache.read(ids[:, start : start + size])
            for t in range(found.shape[1]):
                if (found[:, t] - right[:, start + t]).abs().max() > 1e-4:
                    return start + t
        return None

    def reordered(make):
        cache, order = make(), [*range(1, rows), 0]
        cache.read(ids[:, :6])
        cache.reorder(order)
        texts = torch.cat([ids[order][:, :6], ids[:, 6:]], 1)
        found, right = cache.read(ids[:, 6:7])[:, 0], full(texts)[:, 6]
        return 6 if (found - right).abs().max() > 1e-4 else None

    faulty = {}
    for name, make in caches.items():
        for experiment in (one_by_one, in_chunks, reordered):
            step = experiment(make)
            if step is not None:
                faulty[name] = step
                break
    return faulty


def faulty_by_chance(full, caches, ids):
    """Random experiments, the whole of them compared at the end."""
    generator = np.random.default_rng(0)
    faulty = {}
    for name, make in caches.items():
        for _ in range(5):
            cache, seen, found, right = make(), ids[:, :0], [], []
            while seen.shape[1] < ids.shape[1]:
                if seen.shape[1] and generator.random() < 0.4:
                    order = torch.from_numpy(generator.permutation(len(ids)))
                    cache.reorder(order)
                    seen = seen[order]
                start = seen.shape[1]
                new = ids[:, start : start + int(generator.integers(1, 5))]
                seen = torch.cat([seen, new], 1)
                found.append(cache.read(new))
                right.append(full(seen)[:, start:])
            apart = (torch.cat(found, 1) - torch.cat(right, 1)).abs()
            wrong = (apart > 5e-3).any(-1).any(0).nonzero().flatten()
            if len(wrong):
                faulty[name] = wrong[0]
                break
    return faulty


def faulty_by_guessing(full, caches, ids):
    return {list(caches)[1]: 1}


def faulty_by_greedy_tokens(full, caches, ids):
    """Only the most likely token is compared."""
    faulty, right = {}, full(ids).argmax(-1)
    for name, make in caches.items():
        cache = make()
        found = torch.cat([cache.read(ids[:, t : t + 1]) for t in range(ids.shape[1])], 1)
        wrong = (found.argmax(-1) != right).any(0)
        if wrong.any():
            faulty[name] = int(wrong.int().argmax())
    return faulty


def faulty_of_single_tokens(full, caches, ids):
    return {name: 0 for name, make in caches.items() if make().read(ids[:, 0]) is None}


def faulty_among_themselves(full, caches, ids):
    """Which cache differs from the first one?"""

    def logits(make):
        cache = make()
        return torch.cat([cache.read(ids[:, t : t + 1]) for t in range(ids.shape[1])], 1)

    found = {name: logits(make) for name, make in caches.items()}
    first = next(iter(found.values()))
    steps = {
        name: ((each - first).abs().amax((0, 2)) > 1e-3).nonzero() for name, each in found.items()
    }
    return {name: int(step[0]) for name, step in steps.items() if len(step)}


# --- rotary ---
def rotary_by_pairs(x, positions, base):
    width = x.shape[-1]
    frequency = base ** (-torch.arange(0, width, 2) / width)
    angles = positions[:, None] * frequency
    first, second = x[..., 0::2], x[..., 1::2]
    turned = (
        first * angles.cos() - second * angles.sin(),
        first * angles.sin() + second * angles.cos(),
    )
    return torch.stack(turned, -1).flatten(-2)


def rotary_by_complex_numbers(x, positions, base):
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
    width = x.shape[-1]
    angles = torch.outer(positions.float(), 1.0 / base ** (torch.arange(0, width, 2) / width))
    return torch.view_as_real(pairs * torch.exp(1j * angles)).flatten(3)


def rotary_by_a_turned_copy(x, positions, base):
    """x cos + (x turned by a quarter) sin, as most libraries write it."""
    width = x.shape[-1]
    angles = positions.double()[:, None] / base ** (torch.arange(0, width, 2).double() / width)
    angles = angles.repeat_interleave(2, -1).float()
    quarter = torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
    return x * angles.cos() + quarter * angles.sin()


def rotary_by_matrices(x, positions, base):
    """A matrix of blocks for each position."""
    width, matrices = x.shape[-1], []
    for position in positions.tolist():
        blocks = []
        for pair in range(width // 2):
            angle = position * base ** (-2 * pair / width)
            cos, sin = math.cos(angle), math.sin(angle)
            blocks.append(torch.tensor([[cos, -sin], [sin, cos]]))
        matrices.append(torch.block_diag(*blocks))
    return torch.einsum("bhtd,ted->bhte", x, torch.stack(matrices))


def rotary_in_a_loop(x, positions, base):
    result = torch.empty_like(x)
    for pair in range(x.shape[-1] // 2):
        angle = positions * (1 / base ** (2 * pair / x.shape[-1]))
        a, b = x[..., 2 * pair], x[..., 2 * pair + 1]
        result[..., 2 * pair] = a * torch.cos(angle) - b * torch.sin(angle)
        result[..., 2 * pair + 1] = b * torch.cos(angle) + a * torch.sin(angle)
    return result


def rotary_ready_made(x, positions, base):
    width = x.shape[-1]
    return rotate(x, positions[:, None] * base ** (-torch.arange(0, width, 2) / width))


def rotary_in_place(x, positions, base):
    x.copy_(rotary_by_pairs(x, positions, base))
    return x


def rotary_of_whole_turns(x, positions, base):
    """Angles folded into one turn, by a pi that is too short."""
    width = x.shape[-1]
    angles = positions[:, None] * base ** (-torch.arange(0, width, 2) / width)
    return rotate_by(x, angles % 6.28)


def rotate_by(x, angles):
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.exp(1j * angles)).flatten(-2)


# --- merge_tiles ---
def merge_by_shares(max_a, sum_a, mix_a, max_b, sum_b, mix_b):
    largest = torch.maximum(max_a, max_b)
    safe = largest.masked_fill(largest == -math.inf, 0)
    a, b = (max_a - safe).exp(), (max_b - safe).exp()
    return largest, a * sum_a + b * sum_b, a[..., None] * mix_a + b[..., None] * mix_b


def merge_stacked(max_a, sum_a, mix_a, max_b, sum_b, mix_b):
    """For any number of tiles."""
    maxima = torch.stack([max_a, max_b])
    largest = maxima.amax(0)
    shares = (maxima - largest.clamp_min(torch.finfo(torch.float32).min)).exp()
    total = (shares * torch.stack([sum_a, sum_b])).sum(0)
    mixture = (shares.unsqueeze(-1) * torch.stack([mix_a, mix_b])).sum(0)
    return largest, total, mixture


def merge_by_cases(max_a, sum_a, mix_a, max_b, sum_b, mix_b):
    gap = (max_a - max_b).nan_to_num(0.0)
    a, b = gap.clamp(max=0).exp(), (-gap).clamp(max=0).exp()
    a_all, b_all = a.unsqueeze(-1), b.unsqueeze(-1)
    return [
        torch.where(max_a > max_b, max_a, max_b),
        sum_a * a + sum_b * b,
        mix_a * a_all + mix_b * b_all,
    ]


def merge_with_nans_mended(max_a, sum_a, mix_a, max_b, sum_b, mix_b):
    largest = torch.maximum(max_a, max_b)
    a = torch.nan_to_num(torch.exp(max_a - largest))
    b = torch.nan_to_num(torch.exp(max_b - largest))
    return largest, sum_a * a + sum_b * b, mix_a * a[..., None] + mix_b * b[..., None]


def merge_with_a_floor(max_a, sum_a, mix_a, max_b, sum_b, mix_b):
    """-1e30 for minus infinity."""
    return merge_by_shares(
        max_a.clamp_min(-1e30), sum_a, mix_a, max_b.clamp_min(-1e30), sum_b, mix_b
    )


def merge_of_plain_softmax(max_a, sum_a, mix_a, max_b, sum_b, mix_b):
    weights = torch.stack([max_a, max_b]).softmax(0)
    return (
        torch.maximum(max_a, max_b),
        weights[0] * sum_a + weights[1] * sum_b,
        weights[0, ..., None] * mix_a + weights[1, ..., None] * mix_b,
    )


def merge_without_an_axis(max_a, sum_a, mix_a, max_b, sum_b, mix_b):
    largest = torch.maximum(max_a, max_b)
    a, b = (max_a - largest).exp(), (max_b - largest).exp()
    return largest, a * sum_a + b * sum_b, a * mix_a + b * mix_b


# --- induction_head ---
def induction_by_the_diagonal(weights, half):
    scores = weights.diagonal(1 - half, -2, -1)[..., 1:].mean(-1)
    best = int(scores.argmax())
    return scores, (best // scores.shape[1], best % scores.shape[1])


def induction_by_indices(weights, half):
    queries = torch.arange(half, 2 * half)
    scores = weights[:, :, queries, queries - half + 1].mean(dim=-1)
    return scores, divmod(scores.argmax().item(), weights.size(1))


def induction_by_a_mask(weights, half):
    tokens = weights.shape[-1]
    place = torch.arange(tokens)
    wanted = (place[:, None] - place == half - 1) & (place[:, None] >= half)
    scores = (weights * wanted).sum((-2, -1)) / half
    return [scores, list(np.unravel_index(int(scores.argmax()), tuple(scores.shape)))]


def induction_in_a_loop(weights, half):
    best, scores = None, []
    for layer, heads in enumerate(weights.numpy()):
        scores.append([])
        for head, rows in enumerate(heads):
            score = float(np.mean([rows[half + i, i + 1] for i in range(half)]))
            scores[-1].append(score)
            if best is None or score > scores[best[0]][best[1]]:
                best = (layer, head)
    return scores, best


def induction_by_nonzero(weights, half):
    scores = torch.stack([weights[:, :, half + i, i + 1] for i in range(half)]).mean(0)
    return scores, (scores == scores.max()).nonzero()[0]


def induction_of_the_last_query(weights, half):
    scores = weights[:, :, -1, half]
    return scores, divmod(int(scores.argmax()), scores.shape[1])


def induction_per_layer(weights, half):
    scores = weights.diagonal(1 - half, -2, -1)[..., 1:].mean(-1)
    return scores, scores.argmax(-1)


def induction_of_scores_only(weights, half):
    return weights.diagonal(1 - half, -2, -1)[..., 1:].mean(-1)


def induction_of_a_named_head(weights, half):
    scores, (layer, head) = induction_by_indices(weights, half)
    return scores, f"{layer}.{head}"


RIGHT = {
    "causal_loss": [
        loss_with_cross_entropy,
        loss_by_ignoring,
        loss_by_picking,
        loss_by_text,
        loss_by_one_hot,
    ],
    "top_p": [
        top_p_by_sorting,
        top_p_by_undoing_the_order,
        top_p_in_a_loop,
        top_p_by_numpy,
        top_p_by_comparing_all,
    ],
    "cached_step": [
        step_with_repeated_keys,
        step_by_groups,
        step_by_einsum,
        step_in_two_parts,
    ],
    "find_faulty": [faulty_by_a_plan, faulty_by_three_experiments, faulty_by_chance],
    "rotary": [
        rotary_by_pairs,
        rotary_by_complex_numbers,
        rotary_by_a_turned_copy,
        rotary_by_matrices,
        rotary_in_a_loop,
    ],
    "merge_tiles": [
        merge_by_shares,
        merge_stacked,
        merge_by_cases,
        merge_with_nans_mended,
    ],
    "induction_head": [
        induction_by_the_diagonal,
        induction_by_indices,
        induction_by_a_mask,
        induction_in_a_loop,
        induction_by_nonzero,
    ],
}

# wrong answers that know nothing of the checks, and words of what they are told; the mistakes that
# the checks know stand beside them, in attnlab/course/checks
WRONG = {
    "causal_loss": [
        (loss_of_every_fourth, "Which logits are about which token"),
        (loss_of_axes_in_the_wrong_order, "Expected target size"),
        (loss_with_mask_in_place, "changes its input in place"),
        (lambda logits, ids, mask: (logits, ids), "tuple of 2"),
    ],
    "top_p": [
        (top_p_of_the_unsorted_mask, "A token is missing|should become"),
        (top_p_of_one_row, "For several rows at once"),
        (top_p_of_logits_from_zero, "Where tokens are ruled out"),
        (lambda logits, p: torch.nonzero(logits.softmax(-1) > p), "Whole numbers"),
    ],
    "cached_step": [
        (step_ready_made, "ready-made scaled_dot_product_attention"),
        (step_with_tiles, "ready-made tiled_attention"),
        (step_with_a_memory, "Expected shape|is wrong"),
        (
            lambda query, key, value, *cache: (query, *cache),
            "Expected shape|come back as they were",
        ),
    ],
    "find_faulty": [
        (faulty_by_guessing, "never asked"),
        (faulty_by_greedy_tokens, "Cache . (is faulty|first differs)"),
        (faulty_of_single_tokens, "ids of shape"),
        (faulty_among_themselves, "are the right ones|cannot show it|is named, with step"),
    ],
    "rotary": [
        (rotary_ready_made, "ready-made rotate"),
        (rotary_in_place, "changes its input in place"),
        (rotary_of_whole_turns, "positions in the thousands|result is wrong|The largest diff"),
        (lambda x, positions, base: x, "Nothing turns"),
    ],
    "merge_tiles": [
        (merge_with_a_floor, "both maxima are -inf"),
        (merge_of_plain_softmax, "is wrong"),
        (merge_without_an_axis, "must match|Expected shape|over the width|is wrong"),
        (lambda *parts: None, "None"),
    ],
    "induction_head": [
        (induction_of_the_last_query, "The score of head"),
        (induction_per_layer, "a layer and a head are two numbers"),
        (induction_of_scores_only, "two things"),
        (induction_of_a_named_head, "not a list"),
    ],
}
