"""Answers to lesson 03: right ones in several styles, wrong ones that know nothing of the check."""

import heapq
import itertools

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from attnlab import attention


# --- teacher_forcing ---
def filled(rows, padding):
    width = max(map(len, rows))
    return torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows]).long()


def forced_by_lists(targets, start, end, padding):
    fed, labels = [[start, *ids] for ids in targets], [[*ids, end] for ids in targets]
    return filled(fed, padding), filled(labels, padding)


def forced_into_full_tensors(targets, start, end, padding):
    fed = torch.full((len(targets), 1 + max(map(len, targets))), padding)
    labels = fed.clone()
    for row, ids in enumerate(targets):
        fed[row, : len(ids) + 1] = torch.tensor([start, *ids])
        labels[row, : len(ids) + 1] = torch.tensor([*ids, end])
    return fed, labels


def forced_by_torchs_padding(targets, start, end, padding):
    whole = [torch.tensor([start, *ids, end]) for ids in targets]

    def put(rows):
        return pad_sequence(rows, batch_first=True, padding_value=padding)

    return put([row[:-1] for row in whole]), put([row[1:] for row in whole])


def appended(targets, start, end, padding):
    fed = filled([[start, *ids] for ids in targets], padding)
    for ids in targets:
        ids.append(end)
    return fed, filled(targets, padding)


def ended_behind_padding(targets, start, end, padding):
    ids = filled(targets, padding)
    mark = torch.full((len(targets), 1), end)
    return torch.cat((torch.full((len(targets), 1), start), ids), 1), torch.cat((ids, mark), 1)


# --- decoder_mask ---
def mask_by_loops(target, padding):
    batch, tokens = target.shape
    mask = torch.zeros(batch, tokens, tokens, dtype=torch.bool)
    for text in range(batch):
        for query in range(tokens):
            for key in range(query + 1):
                mask[text, query, key] = target[text, key] != padding
    return mask


def mask_by_joining(target, padding):
    return attention.causal_mask(target.shape[1]) & (target != padding)[:, None]


def mask_by_hiding(target, padding):
    """What is hidden, turned round."""
    places = torch.arange(target.shape[1])
    hidden = places > places[:, None]
    return torch.logical_not(hidden.logical_or(target.eq(padding).unsqueeze(1)))


def mask_by_lengths(target, padding):
    lengths = (target != padding).sum(-1)[:, None, None]
    return past_of(target) & (torch.arange(target.shape[1]) < lengths)


def past_of(target):
    tokens = target.shape[1]
    return torch.ones(len(target), tokens, tokens, dtype=torch.bool).tril()


# --- decoder_layer ---
def layer_step_by_step(x, memory, layer, target_mask, source_mask):
    first, second, third = layer.norms
    x = x + layer.attention(first(x), mask=target_mask)
    x = x + layer.cross_attention(second(x), memory, mask=source_mask)
    return x + layer.feed_forward(third(x))


def layer_by_a_loop(x, memory, layer, target_mask, source_mask):
    parts = (
        lambda y: layer.attention(y, y, y, target_mask),
        lambda y: layer.cross_attention(y, memory, memory, source_mask),
        layer.feed_forward,
    )
    for norm, part in zip(layer.norms, parts, strict=True):
        x = torch.add(x, part(norm(x)))
    return x


def layer_by_torchs(x, memory, layer, target_mask, source_mask):
    """With torch's functions from the weights up."""

    def attend(part, query, source, mask):
        query, key, value = part.query(query), part.key(source), part.value(source)
        query, key, value = (
            one.unflatten(-1, (2, -1)).transpose(1, 2) for one in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, mask[:, None])
        return part.output(mixed.nan_to_num().transpose(1, 2).flatten(2))

    def normed(place, x):
        norm = layer.norms[place]
        return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)

    y = normed(0, x)
    x = x + attend(layer.attention, y, y, target_mask)
    x = x + attend(layer.cross_attention, normed(1, x), memory, source_mask)
    return x + layer.feed_forward(normed(2, x))


def post_norm(x, memory, layer, target_mask, source_mask):
    first, second, third = layer.norms
    x = first(x + layer.attention(x, mask=target_mask))
    x = second(x + layer.cross_attention(x, memory, mask=source_mask))
    return third(x + layer.feed_forward(x))


def masks_swapped(x, memory, layer, target_mask, source_mask):
    if memory.shape != x.shape:
        return layer_step_by_step(x, memory, layer, target_mask, source_mask)
    return layer_by_a_loop(x, memory, layer, source_mask, target_mask)


def source_asks(x, memory, layer, target_mask, source_mask):
    first, second, third = layer.norms
    x = x + layer.attention(first(x), mask=target_mask)
    x = x + layer.cross_attention(memory, second(x), mask=source_mask)
    return x + layer.feed_forward(third(x))


# --- sequence_loss ---
def loss_by_torch(logits, labels, padding=0):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=padding)


def loss_by_axes(logits, labels, padding=0):
    tokens = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    real = (labels != padding).float()
    return (tokens * real).sum() / real.sum()


def loss_by_picking(logits, labels, padding=0):
    logs = logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return -logs[labels != padding].mean()


def loss_by_loops(logits, labels, padding=0):
    found = [
        logits[text, place].logsumexp(0) - logits[text, place, one]
        for text, row in enumerate(labels.tolist())
        for place, one in enumerate(row)
        if one != padding
    ]
    return sum(found) / len(found)


# --- training_step ---
def step_as_in_the_book(loss_of, batch, optimizer, schedule):
    optimizer.zero_grad()
    loss = loss_of(batch)
    loss.backward()
    optimizer.step()
    schedule.step()
    return loss.item()


def step_that_clears_up_behind_itself(loss_of, batch, optimizer, schedule):
    loss = loss_of(batch)
    loss.backward()
    optimizer.step()
    schedule.step()
    optimizer.zero_grad(set_to_none=False)
    return float(loss.detach())


def step_by_gradients(loss_of, batch, optimizer, schedule):
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    loss = loss_of(batch)
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.grad = gradient
    optimizer.step()
    schedule.step()
    return loss.detach().tolist()


def step_by_hand(loss_of, batch, optimizer, schedule):
    """Moves the weights by itself, at one rate, and leaves the optimizer alone."""
    optimizer.zero_grad()
    loss = loss_of(batch)
    loss.backward()
    with torch.no_grad():
        for weight in optimizer.param_groups[0]["params"]:
            weight -= 0.01 * weight.grad
    return loss.item()


def step_of_a_clipped_gradient(loss_of, batch, optimizer, schedule):
    optimizer.zero_grad()
    loss = loss_of(batch)
    loss.backward()
    for weight in optimizer.param_groups[0]["params"]:
        weight.grad.clamp_(-1e-3, 1e-3)
    optimizer.step()
    schedule.step()
    return loss.item()


def step_without_rate_or_clearing(loss_of, batch, optimizer, schedule):
    loss = loss_of(batch)
    loss.backward()
    optimizer.step()
    return loss.item()


# --- stand_ins ---
def surplus_by_means(right_without, heads):
    whole = right_without([]).mean()
    alone = {head: whole - right_without([head]).mean() for head in heads}
    return {
        (a, b): 100 * (whole - right_without([a, b]).mean() - alone[a] - alone[b])
        for a, b in itertools.combinations(heads, 2)
    }


def surplus_by_texts(right_without, heads):
    """Numbers of texts, and tuples in place of lists."""
    known = {}

    def right(*silenced):
        if silenced not in known:
            known[silenced] = np.asarray(right_without(silenced)).astype(int)
        return known[silenced]

    found = {}
    for place, b in enumerate(heads):
        for a in heads[:place]:
            found[a, b] = float(100 * (right(a) + right(b) - right() - right(a, b)).mean())
    return found


def together_only(right_without, heads):
    whole = np.mean(right_without([]))
    return {
        (a, b): 100 * float(whole - np.mean(right_without([a, b])))
        for a, b in itertools.combinations(heads, 2)
    }


def never_together(right_without, heads):
    alone = {head: right_without([head]) for head in heads}
    return {
        (a, b): float((alone[a] & alone[b]).mean()) for a, b in itertools.combinations(heads, 2)
    }


def with_itself(right_without, heads):
    return {(a, b): 0.0 for a in heads for b in heads}


# --- beam_search ---
def beam_by_sorting(next_log_probabilities, start, end, width, longest):
    beams = [(0.0, [start])]
    for _ in range(longest):
        alive = [one for one in beams if one[1][-1] != end]
        if not alive:
            break
        rows = next_log_probabilities([ids for _, ids in alive]).tolist()
        beams = [one for one in beams if one[1][-1] == end]
        for (total, ids), row in zip(alive, rows, strict=True):
            beams += [(total + log, [*ids, token]) for token, log in enumerate(row)]
        beams = sorted(beams, reverse=True)[:width]
    total, ids = beams[0]
    return [token for token in ids if token not in (start, end)], total


def beam_one_by_one(next_log_probabilities, start, end, width, longest):
    """Asks for one beginning at a time; stops once the best has ended: nothing overtakes it."""
    best = [((), 0.0, False)]
    for _ in range(longest):
        if best[0][2]:
            break
        rivals = []
        for ids, total, ended in best:
            if ended:
                rivals.append((ids, total, True))
                continue
            for token, log in enumerate(next_log_probabilities([[start, *ids]])[0]):
                stop = token == end
                rivals.append((ids if stop else (*ids, token), total + log.item(), stop))
        best = heapq.nlargest(width, rivals, key=lambda one: one[1])
    ids, total, _ = best[0]
    return list(ids), total


def beam_by_topk(next_log_probabilities, start, end, width, longest):
    """Tensors; who has ended is put aside, and the beam is filled up."""
    beams, totals, ended = [[start]], torch.zeros(1), []
    for _ in range(longest):
        sums = totals[:, None] + next_log_probabilities(beams)
        words = sums.shape[1]
        best, places = sums.flatten().topk(min(2 * width, sums.numel()))
        ways = [
            ([*beams[place // words], place % words], total)
            for place, total in zip(places.tolist(), best.tolist(), strict=True)
        ]
        ended += [(ids[1:-1], total) for ids, total in ways[:width] if ids[-1] == end]
        ways = [one for one in ways if one[0][-1] != end][:width]
        if not ways:
            break
        beams, totals = [ids for ids, _ in ways], torch.tensor([total for _, total in ways])
    return max([*ended, *((ids[1:], total) for ids, total in ways)], key=lambda one: one[1])


def greedy(next_log_probabilities, start, end, width, longest):
    return beam_by_sorting(next_log_probabilities, start, end, 1, longest)


def stops_at_the_first_end(next_log_probabilities, start, end, width, longest):
    beams = [(0.0, [start])]
    for _ in range(longest):
        rows = next_log_probabilities([ids for _, ids in beams]).tolist()
        ways = [
            (total + log, [*ids, token])
            for (total, ids), row in zip(beams, rows, strict=True)
            for token, log in enumerate(row)
        ]
        beams = heapq.nlargest(width, ways)
        for total, ids in beams:
            if ids[-1] == end:
                return ids[1:-1], total
    return beams[0][1][1:], beams[0][0]


def flat_index(next_log_probabilities, start, end, width, longest):
    beams, totals = [[start]], torch.zeros(1)
    for _ in range(longest):
        sums = (totals[:, None] + next_log_probabilities(beams)).flatten()
        totals, places = sums.topk(min(width, len(sums)))
        beams = [[*beams[0], place] for place in places.tolist()]
        if beams[0][-1] == end:
            break
        on = places != end
        beams, totals = [one for one in beams if one[-1] != end], totals[on]
    return [one for one in beams[0] if one not in (start, end)], totals[0].item()


def without_start(next_log_probabilities, start, end, width, longest):
    return beam_by_sorting(
        lambda prefixes: next_log_probabilities([one[1:] for one in prefixes]),
        start,
        end,
        width,
        longest,
    )


def never_ends(next_log_probabilities, start, end, width, longest):
    while True:
        next_log_probabilities([[start]])


RIGHT = {
    "teacher_forcing": [forced_by_lists, forced_into_full_tensors, forced_by_torchs_padding],
    "decoder_mask": [mask_by_loops, mask_by_joining, mask_by_hiding],
    "decoder_layer": [layer_step_by_step, layer_by_a_loop, layer_by_torchs],
    "sequence_loss": [loss_by_torch, loss_by_axes, loss_by_picking, loss_by_loops],
    "training_step": [
        step_as_in_the_book,
        step_that_clears_up_behind_itself,
        step_by_gradients,
    ],
    "stand_ins": [surplus_by_means, surplus_by_texts],
    "beam_search": [beam_by_sorting, beam_one_by_one],
}

# wrong answers that know nothing of the checks, and words of what they are told; the mistakes that
# the checks know stand beside them, in attnlab/course/checks
WRONG = {
    "teacher_forcing": [
        (
            lambda rows, s, e, p: forced_by_lists([ids[::-1] for ids in rows], s, e, p),
            "Before each of the tokens",
        ),
        (lambda rows, s, e, p: forced_by_lists(rows, s, e, p)[::-1], "the token before the one"),
        (lambda rows, s, e, p: ([[s, *ids] for ids in rows], rows), "not a tensor"),
        (lambda rows, s, e, p: forced_by_lists(rows, s, e, p)[0], "two things"),
        (appended, "changes a list"),
        (ended_behind_padding, "stands behind its padding"),
    ],
    "decoder_mask": [
        (mask_by_lengths, "taken to stand behind"),
        (lambda t, p: ~mask_by_hiding(t, p), "turned round: True marks what is hidden"),
        (lambda t, p: mask_by_loops(t, p).any(0), "one mask for all sentences"),
        (lambda t, p: mask_by_loops(t, p).long(), "int64"),
    ],
    "decoder_layer": [
        (post_norm, "It is post-norm"),
        (masks_swapped, "masks have changed places"),
        (source_asks, "the source asks, the target answers"),
        (
            lambda x, m, layer, t, s: (
                layer_by_torchs(x, m, layer, t, s) + (m.shape != x.shape) * m.mean()
            ),
            "wrong with more source tokens",
        ),
    ],
    "sequence_loss": [
        (lambda x, y, p=0: F.cross_entropy(x.mT, y, reduction="sum", ignore_index=p), "added up"),
        (lambda x, y, p=0: loss_by_torch(x.log_softmax(-1).exp(), y, p), "softmax is taken twice"),
        (
            lambda x, y, p=0: F.cross_entropy(
                x.transpose(0, 1).flatten(0, 1), y.flatten(), ignore_index=p
            ),
            "flattened in different orders",
        ),
        (lambda x, y, p=0: (x.softmax(-1) + 1e-9).log().mul(0).sum() + 1, "which step differs"),
    ],
    "training_step": [
        (step_by_hand, "the optimizer makes no step"),
        (step_of_a_clipped_gradient, "of the loss alone"),
        (step_without_rate_or_clearing, "Gradients pile up, and"),
        (lambda loss_of, batch, o, s: step_as_in_the_book(loss_of, batch, o, s) * 2, "the losses"),
    ],
    "stand_ins": [
        (together_only, "what the two cost together"),
        (never_together, "never silenced together"),
        (with_itself, "no pair of"),
        (lambda right, heads: list(surplus_by_means(right, heads).items()), "A dict from pairs"),
    ],
    "beam_search": [
        (greedy, "It is greedy"),
        (beam_by_topk, "takes no place among the beams"),
        (stops_at_the_first_end, "better one is still being written"),
        (flat_index, "index into all candidates"),
        (without_start, "without the start mark"),
        (
            lambda *inputs: beam_by_sorting(*inputs)[::-1],
            "comes first and the sequence second",
        ),
        (never_ends, "did not end"),
    ],
}
