"""Answers to lesson 03: right ones in several styles, and the mistakes people make, each with its diagnosis."""

import heapq
import itertools
import math

import torch
from torch.nn import functional as F

from attnlab import attention


# --- teacher_forcing ---
def forced_by_lists(ids, start, end):
    return [start, *ids], [*ids, end]


def forced_by_slices(ids, start, end):
    whole = torch.tensor([start, *ids, end])
    return whole[:-1], whole[1:]


def forced_step_by_step(ids, start, end):
    fed, labels, read = [], [], start
    for token in (*ids, end):
        fed.append(read)
        labels.append(token)
        read = token
    return fed, labels


def appended(ids, start, end):
    fed = [start, *ids]
    ids.append(end)
    return fed, ids


def forced_unless_empty(ids, start, end):
    return ([start, *ids], [*ids, end]) if ids else ([], [])


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


def joined(causal=lambda ones: ones.tril(), real=lambda target, padding: target != padding):
    """The mask with a part exchanged."""

    def answer(target, padding):
        ones = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool)
        return causal(ones) & real(target, padding)[:, None]

    return answer


def past_of(target):
    tokens = target.shape[1]
    return torch.ones(len(target), tokens, tokens, dtype=torch.bool).tril()


# --- embed ---
def embed_at_once(ids, table, positions):
    return table[ids] * table.shape[1] ** 0.5 + positions[: ids.shape[1]]


def embed_by_torch(ids, table, positions):
    places = torch.arange(ids.shape[1]).expand_as(ids)
    scaled = F.embedding(ids, table).mul(math.sqrt(table.shape[-1]))
    return scaled + F.embedding(places, positions)


def embed_by_loops(ids, table, positions):
    scale = math.sqrt(table.shape[1])
    return torch.stack(
        [
            torch.stack([scale * table[one] + positions[place] for place, one in enumerate(text)])
            for text in ids
        ]
    )


def embed_in_place(ids, table, positions):
    return table.mul_(table.shape[1] ** 0.5)[ids] + positions[: ids.shape[1]]


def embed_written_sizes(ids, table, positions):
    return table[ids] * 8**0.5 + positions[: ids.shape[1]]


def scaled(ids, table):
    return table[ids] * table.shape[1] ** 0.5


def table_plus(embedded, positions):
    return embedded + positions[: embedded.shape[1]]


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


def own(layer, y, mask):
    return layer.attention(y, mask=mask)


def across(layer, y, memory, mask):
    return layer.cross_attention(y, memory, mask=mask)


def forward(layer, y):
    return layer.feed_forward(y)


def layered(own=own, across=across, forward=forward, norms=(0, 1, 2), masks=lambda t, s: (t, s)):
    """Pre-norm with a part exchanged; None leaves it out."""

    def answer(x, memory, layer, target_mask, source_mask):
        first, second, third = (layer.norms[place] for place in norms)
        target_mask, source_mask = masks(target_mask, source_mask)
        x = x + own(layer, first(x), target_mask) if own else x
        x = x + across(layer, second(x), memory, source_mask) if across else x
        return x + forward(layer, third(x)) if forward else x

    return answer


def ordered(order):
    """The three parts in another order."""

    def answer(x, memory, layer, target_mask, source_mask):
        parts = {
            0: lambda y: own(layer, y, target_mask),
            1: lambda y: across(layer, y, memory, source_mask),
            2: lambda y: forward(layer, y),
        }
        for place in order:
            x = x + parts[place](layer.norms[place](x))
        return x

    return answer


def around(step):
    """What a step does with x, its norm and its part, exchanged; x0 is what the layer was given."""

    def answer(x, memory, layer, target_mask, source_mask):
        first = x
        for norm, part in zip(
            layer.norms,
            (
                lambda y: own(layer, y, target_mask),
                lambda y: across(layer, y, memory, source_mask),
                lambda y: forward(layer, y),
            ),
            strict=True,
        ):
            x = step(x, norm, part, first)
        return x

    return answer


def memory_normed(x, memory, layer, target_mask, source_mask):
    return layer_step_by_step(x, layer.norms[1](memory), layer, target_mask, source_mask)


def source_and_target_swapped(layer, y, memory, mask):
    return layer.cross_attention(memory, y, mask=mask)


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


def nats_of(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")


def real_mean(values, labels, padding):
    return values[labels != padding].mean()


def picked(values, labels):
    return values.gather(-1, labels[..., None])[..., 0]


def mean_of_means(logits, labels, padding=0):
    real = labels != padding
    return ((nats_of(logits, labels) * real).sum(1) / real.sum(1)).mean()


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
    """Asks for one beginning at a time, and stops once the best has ended: nothing can overtake it."""
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


def searched(
    add=lambda total, log: total + log,
    begin=0.0,
    order=lambda total, ids: total,
    last_order=None,
    cut=None,
    worst=False,
    lowest_at_the_end=False,
    keep_ended=True,
    stop=lambda beams, ended: False,
    result=lambda ids, total, logs, marks: ([one for one in ids if one not in marks], total),
    goes_on=lambda ids, end: ids[-1] != end,
    limit=lambda longest: longest,
    last=lambda beams, end: beams,
):
    """Beam search with a part exchanged; each beam is (total, ids, the logs of its tokens)."""

    def answer(next_log_probabilities, start, end, width, longest):
        def key(one):
            return order(one[0], one[1][1:])

        beams = [(begin, [start], [])]
        for step in range(limit(longest)):
            alive = [one for one in beams if goes_on(one[1], end)]
            if not alive:
                break
            rows = next_log_probabilities([ids for _, ids, _ in alive]).tolist()
            ways = [
                sorted(
                    [
                        (add(total, log), [*ids, token], [*logs, log])
                        for token, log in enumerate(row)
                        if keep_ended or token != end
                    ],
                    key=key,
                    reverse=not worst,
                )
                for (total, ids, logs), row in zip(alive, rows, strict=True)
            ]
            ended = [one for one in beams if not goes_on(one[1], end)]
            if cut == "one of each":
                ways = (
                    [list(itertools.chain(*ways))[:width]]
                    if not step
                    else [one[:1] for one in ways]
                )
                beams = sorted(ended + list(itertools.chain(*ways)), key=key, reverse=True)
            elif cut == "width of each":
                beams = ended + [way for one in ways for way in one[:width]]
            else:
                beams = sorted(ended + list(itertools.chain(*ways)), key=key, reverse=not worst)[
                    :width
                ]
            if stop(beams, [one for one in beams if one[1][-1] == end]):
                break
        beams = last(beams, end)
        choose = min if worst or lowest_at_the_end else max
        best = choose(beams, key=lambda one: (last_order or order)(one[0], one[1][1:]))
        return result(best[1], best[0], best[2], (start, end))

    return answer


def per_token(total, ids):
    return total / max(len(ids), 1)


def greedy(next_log_probabilities, start, end, width, longest):
    return beam_by_sorting(next_log_probabilities, start, end, 1, longest)


def first_that_ends(beams, end):
    return [one for one in beams if one[1][-1] == end][:1] or beams


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
    "teacher_forcing": [forced_by_lists, forced_by_slices, forced_step_by_step],
    "decoder_mask": [mask_by_loops, mask_by_joining, mask_by_hiding, joined()],
    "embed": [embed_at_once, embed_by_torch, embed_by_loops],
    "decoder_layer": [layer_step_by_step, layer_by_a_loop, layer_by_torchs, layered()],
    "sequence_loss": [loss_by_torch, loss_by_axes, loss_by_picking, loss_by_loops],
    "beam_search": [beam_by_sorting, beam_one_by_one, beam_by_topk, searched()],
}

WRONG = {
    "teacher_forcing": [
        (lambda ids, s, e: ([s, *ids], [s, *ids]), "copying is all"),
        (lambda ids, s, e: ([*ids, e], [s, *ids]), "the token before the one"),
        (lambda ids, s, e: ([e, *ids], [*ids, s]), "Start and end have changed places"),
        (lambda ids, s, e: ([s, *ids[:-1]], ids), "never asked for the end mark"),
        (lambda ids, s, e: ([s, *ids], [s, *ids, e]), "labels hold the start mark"),
        (lambda ids, s, e: ([s, *ids[:-1]], [*ids[:-1], e]), "last token is lost"),
        (lambda ids, s, e: ([s, *ids, e], [*ids, e]), "reads the end mark"),
        (lambda ids, s, e: (ids, [*ids, e]), "does not read the start mark"),
        (lambda ids, s, e: ([s, *ids], [*ids[1:], e]), "shifted twice"),
        (lambda ids, s, e: ([s, *ids[:-1]], [*ids, e]), "missing in what the decoder reads"),
        (lambda ids, s, e: ([s, *ids[::-1]], [*ids, e]), "Before each of the tokens"),
        (lambda ids, s, e: ([s, *ids], [*ids[::-1], e]), "After each token it reads"),
        (lambda ids, s, e: ([s, ids], [ids, e]), "there is a list among the ids"),
        (lambda ids, s, e: [s, *ids, e], "a list of 7; two things"),
        (appended, "changes a list"),
        (forced_unless_empty, "wrong for 0"),
    ],
    "decoder_mask": [
        (joined(causal=lambda ones: ones.tril(-1)), "may not look at itself"),
        (joined(causal=lambda ones: ones.tril(1)), "one place ahead"),
        (joined(causal=lambda ones: ones.triu()), "itself and the future"),
        (lambda t, p: ~mask_by_joining(t, p), "turned round: True marks what is hidden"),
        (joined(causal=lambda ones: ones), "looks everywhere"),
        (joined(real=lambda target, padding: target == padding), "No token may look anywhere"),
        (lambda t, p: past_of(t), "padding is seen as any token"),
        (
            lambda t, p: past_of(t) & (t != p)[:, :, None],
            "Padding as a query is hidden, and as a key",
        ),
        (
            lambda t, p: mask_by_joining(t, p) & (t != p)[:, :, None],
            "hidden as a key, as asked, but as a query too",
        ),
        (mask_by_lengths, "taken to stand behind"),
        (joined(real=lambda target, padding: target != 0), "id 0 is taken for padding"),
        (
            lambda t, p: past_of(t) | ((t != p)[:, None] & (t == p).any()),
            "one of the two masks allows it",
        ),
        (
            lambda t, p: (
                (t != p)[:, None].expand(-1, t.shape[1], -1) if (t == p).any() else past_of(t)
            ),
            "the future is seen where it is no padding",
        ),
        (lambda t, p: past_of(t)[0], "one mask for all sentences"),
        (lambda t, p: (t != p)[:, None], "for all queries alike"),
        (lambda t, p: t != p, "Where is the axis of the queries"),
        (lambda t, p: mask_by_joining(t, p)[:, None], "an axis of heads"),
        (lambda t, p: past_of(t) * (t != p)[:, None].float(), "float32"),
        (
            lambda t, p: torch.zeros(past_of(t).shape).masked_fill(
                ~mask_by_joining(t, p), -math.inf
            ),
            "-inf",
        ),
        (lambda t, p: mask_by_joining(t, p).numpy(), "numpy array"),
    ],
    "embed": [
        (lambda i, t, p: table_plus(t[i], p), "not scaled"),
        (lambda i, t, p: table_plus(t[i] / t.shape[1] ** 0.5, p), "divided by the root"),
        (lambda i, t, p: table_plus(t[i] * t.shape[1], p), "multiplied by the width"),
        (lambda i, t, p: table_plus(t[i] / t.shape[1], p), "divided by the width"),
        (lambda i, t, p: table_plus(t[i] * len(t) ** 0.5, p), "size of the vocabulary"),
        (lambda i, t, p: table_plus(t[i] * i.shape[1] ** 0.5, p), "root of the number of tokens"),
        (lambda i, t, p: scaled(i, t) + 2 * p[: i.shape[1]], "added twice"),
        (lambda i, t, p: (t[i] + p[: i.shape[1]]) * t.shape[1] ** 0.5, "multiplied as well"),
        (lambda i, t, p: scaled(i, t), "positions are missing"),
        (lambda i, t, p: scaled(i, t) + p[: len(i), None], "Each \\*sentence\\*"),
        (lambda i, t, p: scaled(i, t) + p[1 : i.shape[1] + 1], "first token has position 1"),
        (lambda i, t, p: scaled(i, t) + p[i % len(p)], "position that its id names"),
        (lambda i, t, p: scaled(i, t) + p[-i.shape[1] :], "last rows"),
        (lambda i, t, p: scaled(i, t) + p[0], "All tokens have position 0"),
        (lambda i, t, p: scaled(i, t) - p[: i.shape[1]], "subtracted"),
        (
            lambda i, t, p: scaled(i, t) * p[: i.shape[1]],
            "embeddings are multiplied with them",
        ),
        (lambda i, t, p: scaled(i, t) + p[: i.shape[1]].flip(0), "reverse order"),
        (lambda i, t, p: scaled(i, t) + p, "RuntimeError"),
        (
            lambda i, t, p: scaled(i, t.detach()) + p[: i.shape[1]],
            "gradient is NaN or infinite, or missing",
        ),
        (lambda i, t, p: embed_at_once(i, t, p).transpose(0, 1), "their order is not"),
        (embed_in_place, "in place"),
        (embed_written_sizes, "size written as a number"),
    ],
    "decoder_layer": [
        (around(lambda x, norm, part, x0: part(norm(x))), "residuals are missing"),
        (around(lambda x, norm, part, x0: norm(x + part(x))), "It is post-norm"),
        (around(lambda x, norm, part, x0: norm(x + part(norm(x)))), "another one after the sum"),
        (around(lambda x, norm, part, x0: x + part(x)), "There is no norm"),
        (around(lambda x, norm, part, x0: norm(x) + part(norm(x))), "x itself is lost"),
        (around(lambda x, norm, part, x0: x0 + part(norm(x))), "do not build on each other"),
        (around(lambda x, norm, part, x0: x + part(norm(x0))), "side by side"),
        (layered(forward=None), "feed-forward network is missing"),
        (layered(own=None), "Self-attention is missing"),
        (layered(across=None), "Cross-attention is missing"),
        (ordered((1, 0, 2)), "Cross-attention comes before"),
        (ordered((2, 0, 1)), "feed-forward network comes first"),
        (ordered((0, 2, 1)), "between the two attentions"),
        (layered(across=source_and_target_swapped), "the source asks, the target answers"),
        (
            layered(across=lambda la, y, m, mask: la.cross_attention(y, m, y, mask)),
            "values of cross-attention come from the target",
        ),
        (
            layered(across=lambda la, y, m, mask: la.cross_attention(y, y, m, mask)),
            "keys of cross-attention come from the target",
        ),
        (
            layered(across=lambda la, y, m, mask: la.cross_attention(y, mask=mask)),
            "self-attention again",
        ),
        (
            layered(across=lambda la, y, m, mask: la.cross_attention(m, mask=mask)),
            "the memory as queries, too",
        ),
        (memory_normed, "memory is normalised, too"),
        (layered(norms=(0, 0, 0)), "same norm is used three times"),
        (layered(norms=(2, 1, 0)), "norms come in reverse"),
        (layered(norms=(1, 0, 2)), "norms of the two attentions"),
        (layered(norms=(0, 2, 1)), "norms of cross-attention and feed-forward"),
        (layered(norms=(0, 0, 2)), "shares its norm"),
        (layered(masks=lambda t, s: (None, None)), "No mask is used"),
        (layered(masks=lambda t, s: (None, s)), "Self-attention has no mask"),
        (layered(masks=lambda t, s: (t, None)), "Cross-attention has no mask"),
        (layered(masks=lambda t, s: (s, t)), "masks have changed places"),
        (layered(masks=lambda t, s: (t, t)), "`target_mask` is used in both"),
        (layered(masks=lambda t, s: (s, s)), "`source_mask` is used in both"),
        (
            layered(masks=lambda t, s: (t, s) if t.all() else (~t, ~s)),
            "masks are turned round",
        ),
        (
            lambda x, m, layer, t, s: (
                layer_step_by_step(x, m, layer, t, s) + (m.shape != x.shape) * m.mean()
            ),
            "wrong with more source tokens",
        ),
    ],
    "sequence_loss": [
        (lambda x, y, p=0: nats_of(x, y)[y != p].sum(), "tokens are added up: a large"),
        (lambda x, y, p=0: loss_by_torch(x, y, p) / math.log(2), "in bits"),
        (lambda x, y, p=0: loss_by_torch(x.softmax(-1), y, p), "softmax is taken twice"),
        (lambda x, y, p=0: -real_mean(picked(x.softmax(-1), y), y, p), "logarithm is missing"),
        (lambda x, y, p=0: -loss_by_torch(x, y, p), "It is negative"),
        (lambda x, y, p=0: -real_mean(picked(x, y), y, p), "softmax is missing"),
        (
            lambda x, y, p=0: -real_mean(picked(x.log_softmax(1), y), y, p),
            "softmax runs over the tokens",
        ),
        (
            lambda x, y, p=0: F.cross_entropy(x.reshape(len(x), -1, x.shape[1]), y, ignore_index=p),
            r"reshaped to \(B, V, T\)",
        ),
        (lambda x, y, p=0: loss_by_torch(x, y, p).exp(), "perplexity"),
        (lambda x, y, p=0: loss_by_torch(x, y, p) / x.shape[-1], "tokens times words"),
        (lambda x, y, p=0: -x.log_softmax(-1).mean(), "right ones and wrong ones"),
        (lambda x, y, p=0: nats_of(x, y)[y != p].sum() / len(y), "mean is over sentences"),
        (lambda x, y, p=0: nats_of(x, y)[y != p].sum() / y.shape[1], "sentences are added up"),
        (
            lambda x, y, p=0: F.cross_entropy(
                x.transpose(0, 1).reshape(-1, x.shape[-1]), y.flatten(), ignore_index=p
            ),
            "flattened in different orders",
        ),
        (
            lambda x, y, p=0: -real_mean(picked(x.log_softmax(0), y), y, p),
            "softmax runs over the sentences",
        ),
        (
            lambda x, y, p=0: loss_by_torch(x.index_fill(-1, torch.tensor(p), -1e9), y, p),
            "taken out of the softmax",
        ),
        (lambda x, y, p=0: loss_by_torch(x[:1], y[:1], p), "Only the first sentence"),
        (lambda x, y, p=0: nats_of(x, y).mean(), "Padding counts like any token"),
        (
            lambda x, y, p=0: (
                F.cross_entropy(x.transpose(1, 2), y, ignore_index=p, reduction="sum") / y.numel()
            ),
            "divided by the number of all",
        ),
        (mean_of_means, "mean of the means"),
        (lambda x, y, p=0: loss_by_torch(x, y, 0), "id 0 is taken for padding"),
        (
            lambda x, y, p=0: nats_of(x * (y != p)[..., None], y).mean(),
            "logits of padding are set to 0",
        ),
        (
            lambda x, y, p=0: (
                loss_by_torch(x, y, p) if (y != p).all() else nats_of(x, y)[y == p].mean()
            ),
            "padding that counts",
        ),
        (
            lambda x, y, p=0: nats_of(x, y).sum() / (y != p).sum(),
            "divided by the number of real ones",
        ),
        (
            lambda x, y, p=0: (
                -real_mean(picked(x.exp() / x.exp().sum(-1, keepdim=True), y).log(), y, p)
            ),
            "With large logits",
        ),
        (
            lambda x, y, p=0: -real_mean(picked((x.softmax(-1) + 1e-9).log(), y), y, p),
            "something added inside a logarithm",
        ),
        (lambda x, y, p=0: nats_of(x, y), "a number for each token"),
        (lambda x, y, p=0: loss_by_torch(x, y, p).item(), "an .item\\(\\) too many"),
        (lambda x, y, p=0: loss_by_torch(x.detach(), y, p), "No gradient"),
        (lambda x, y, p=0: loss_by_torch(x, y, p).detach().numpy(), "numpy array"),
    ],
    "beam_search": [
        (greedy, "It is greedy"),
        (searched(add=lambda total, log: log), "Only the last step's"),
        (searched(add=lambda total, log: total * log, begin=1.0), "are multiplied"),
        (searched(add=lambda total, log: total * log), "From where do you begin"),
        (searched(add=lambda total, log: total + math.exp(log)), "It is the probability"),
        (searched(add=lambda total, log: total - log, worst=True), "lost its minus sign"),
        (searched(worst=True), "Which end of the order do you take"),
        (searched(lowest_at_the_end=True), "The last of those kept"),
        (searched(keep_ended=False), "ended is thrown away"),
        (
            searched(
                stop=lambda beams, ended: bool(ended),
                last=first_that_ends,
            ),
            "better one is still being written",
        ),
        (searched(stop=lambda beams, ended: bool(ended)), "only have begun"),
        (searched(cut="one of each"), "each stays a greedy search"),
        (searched(cut="width of each"), "Does each beam keep"),
        (searched(order=per_token), "Beginnings are compared by log-probability per token"),
        (searched(last_order=per_token), "In the end sequences are compared"),
        (
            searched(last=lambda beams, end: [one for one in beams if one[1][-1] == end] or beams),
            "not ended after `longest`",
        ),
        (searched(goes_on=lambda ids, end: True), "A sequence that has ended is extended"),
        (searched(limit=lambda longest: longest + 1), "a sequence that long is extended"),
        (
            searched(
                result=lambda ids, total, logs, marks: (
                    [one for one in ids if one not in marks],
                    sum(logs[:-1] if ids[-1] == marks[1] else logs),
                )
            ),
            "Does a sentence end for nothing",
        ),
        (
            searched(
                result=lambda ids, total, logs, marks: (
                    [one for one in ids if one not in marks],
                    total / len(logs),
                )
            ),
            "divided by the length",
        ),
        (
            searched(
                result=lambda ids, total, logs, marks: (
                    [one for one in ids if one not in marks],
                    total + 0.1 * (len(logs) - 1),
                )
            ),
            "sequences are right, but",
        ),
        (searched(result=lambda ids, total, logs, marks: (ids, total)), "holds the start mark"),
        (searched(result=lambda ids, total, logs, marks: (ids[1:], total)), "holds the end mark"),
        (
            searched(result=lambda ids, total, logs, marks: (ids[1:-1], total)),
            "what has not ended not count",
        ),
        (
            lambda *inputs: beam_by_sorting(*inputs)[::-1],
            "comes first and the sequence second",
        ),
        (
            lambda ask, *rest: beam_by_sorting(lambda prefixes: ask(prefixes[0]), *rest),
            "Is one beginning given",
        ),
        (flat_index, "index into all candidates"),
        (without_start, "without the start mark"),
        (
            lambda ask, s, e, w, n: (
                beam_by_sorting(ask, s, e, w, n) if w < 9 else beam_by_sorting(ask, s, e, 3, n)
            ),
            "Is anything thrown away",
        ),
        (never_ends, "did not end"),
    ],
}
