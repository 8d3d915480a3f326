"""Answers to lesson 02: right ones in two styles, and the mistakes people make, each with its diagnosis."""

import math

import torch
from torch import nn
from torch.nn import functional as F

import attnlab as al


# --- attention ---
def attention_by_loops(query, key, value):
    if query.dim() > 2:
        parts = [attention_by_loops(*one) for one in zip(query, key, value, strict=True)]
        return tuple(torch.stack(part) for part in zip(*parts, strict=True))
    weights = torch.stack([torch.softmax(key @ q / len(q) ** 0.5, 0) for q in query])
    context = [sum(w * v for w, v in zip(row, value, strict=True)) for row in weights]
    return torch.stack(context), weights


def attention_by_einsum(query, key, value):
    scores = torch.einsum("...qd,...kd->...qk", query, key) / key.shape[-1] ** 0.5
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return torch.einsum("...qk,...kv->...qv", weights, value), weights


def attend(scale=lambda q, k, v: q.shape[-1] ** 0.5, axis=-1, mix=lambda w, v, k: w @ v):
    """Attention with a part exchanged."""

    def answer(query, key, value):
        weights = (query @ key.transpose(-2, -1) / scale(query, key, value)).softmax(axis)
        return mix(weights, value, key), weights

    return answer


def scaled_after(query, key, value):
    weights = (query @ key.mT).softmax(-1) / key.shape[-1] ** 0.5
    return weights @ value, weights


# --- causal_mask ---
def mask_by_loops(length):
    return torch.tensor([[j <= i for j in range(length)] for i in range(length)])


def mask_by_positions(length):
    place = torch.arange(length)
    return place[None, :] <= place[:, None]


# --- masked_softmax ---
def masked_by_rows(scores, mask):
    mask = mask.expand_as(scores)
    rows = []
    for row, seen in zip(
        scores.reshape(-1, scores.shape[-1]), mask.reshape(-1, scores.shape[-1]), strict=True
    ):
        weights = 0 * row
        if seen.any():
            weights = weights.index_put((seen,), row[seen].softmax(0))
        rows.append(weights)
    return torch.stack(rows).reshape(scores.shape)


def masked_by_filling(scores, mask):
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    return weights.masked_fill(~mask, 0)


def masked_by_where(scores, mask):
    weights = torch.where(mask, scores, -math.inf).softmax(-1)
    return torch.where(mask, weights, 0.0)


def assigned(scores, mask):
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    weights[~mask.expand_as(weights)] = 0
    return weights


def mended_for_matrices(scores, mask):
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    return weights.masked_fill(~mask, 0) if scores.dim() == 2 else weights


def filled_in_place(scores, mask):
    return masked_by_filling(scores.masked_fill_(~mask, -math.inf), mask)


def finite(number):
    return lambda scores, mask: scores.masked_fill(~mask, number).softmax(-1)


def with_log_of_the_mask(scores, mask):
    return (scores + mask.float().log()).softmax(-1).nan_to_num(0)


# --- split_heads, merge_heads ---
def split_by_slices(x, heads):
    width = x.shape[-1] // heads
    return torch.stack([x[:, :, h * width : (h + 1) * width] for h in range(heads)], dim=1)


def split_by_view(x, heads):
    batch, tokens, width = x.shape
    return x.view(batch, tokens, heads, width // heads).permute(0, 2, 1, 3)


def merge_by_joining(x):
    return torch.cat([x[:, h] for h in range(x.shape[1])], dim=-1)


def merge_by_reshape(x):
    batch, heads, tokens, width = x.shape
    return x.permute(0, 2, 1, 3).reshape(batch, tokens, heads * width)


# --- MultiHead ---
class Given(nn.Module):
    """What the exercise gives: four layers."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)


class HeadByHead(Given):
    def forward(self, query, key, value, mask=None):
        q, k, v = self.query(query), self.key(key), self.value(value)
        width = q.shape[-1] // self.heads
        contexts = []
        for head in range(self.heads):
            part = slice(head * width, (head + 1) * width)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / width**0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf)
            contexts.append(scores.softmax(-1) @ v[..., part])
        return self.output(torch.cat(contexts, -1))


class AllHeads(Given):
    """All heads at once, with parts that a mistake may exchange."""

    far = -math.inf
    split = staticmethod(split_by_view)
    merge = staticmethod(merge_by_reshape)

    def inputs(self, query, key, value):
        self.texts = len(query)
        return query, key, value

    def project(self, q, k, v):
        return self.query(q), self.key(k), self.value(v)

    def scale(self, q):
        return q.shape[-1]

    def hidden(self, mask):
        return ~(mask[:, None] if mask.dim() == 3 else mask)

    def weigh(self, scores):
        return scores.softmax(-1)

    def last(self, merged):
        return self.output(merged)

    def forward(self, query, key, value, mask=None):
        query, key, value = self.inputs(query, key, value)
        q, k, v = (self.split(x, self.heads) for x in self.project(query, key, value))
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / self.scale(q) ** 0.5
        if mask is not None:
            scores = scores.masked_fill(self.hidden(mask), self.far)
        return self.last(self.merge(self.weigh(scores) @ v))


def reshaped_split(x, heads):
    return x.reshape(len(x), heads, x.shape[1], -1)


def reshaped_merge(x):
    return x.reshape(len(x), x.shape[2], -1)


def with_changes(**methods):
    """AllHeads with some of its parts exchanged."""
    return type("MultiHead", (AllHeads,), methods)


class NewLayers(AllHeads):
    def project(self, q, k, v):
        return nn.Linear(12, 12)(q), nn.Linear(12, 12)(k), nn.Linear(12, 12)(v)


class UsesTorchs(Given):
    def forward(self, query, key, value, mask=None):
        made = nn.MultiheadAttention(12, 3, batch_first=True)
        return self.output(
            made(self.query(query), self.key(key), self.value(value), need_weights=False)[0]
        )


class OtherInit(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.everything = nn.Linear(width, 3 * width)


class LateMask(AllHeads):
    def hidden(self, mask):
        self.kept = mask[:, None] if mask.dim() == 3 else mask
        return torch.zeros_like(mask[..., :1, :1], dtype=torch.bool)

    def weigh(self, scores):
        weights = scores.softmax(-1)
        return weights * self.kept if getattr(self, "kept", None) is not None else weights


class WithoutGradients(AllHeads):
    @torch.no_grad()
    def forward(self, query, key, value, mask=None):
        return AllHeads.forward(self, query, key, value, mask)


def no_mask(self, query, key, value, mask=None):
    return AllHeads.forward(self, query, key, value)


RIGHT = {
    "attention": [attention_by_loops, attention_by_einsum, attend()],
    "causal_mask": [mask_by_loops, mask_by_positions],
    "masked_softmax": [masked_by_rows, masked_by_filling, masked_by_where],
    "split_heads": [split_by_slices, split_by_view],
    "merge_heads": [merge_by_joining, merge_by_reshape],
    "MultiHead": [HeadByHead, AllHeads],
}

WRONG = {
    "attention": [
        (attend(scale=lambda q, k, v: 1), "too sharp"),
        (attend(scale=lambda q, k, v: q.shape[-1]), "too flat"),
        (attend(scale=lambda q, k, v: v.shape[-1] ** 0.5), "width of a value"),
        (attend(scale=lambda q, k, v: k.shape[-2] ** 0.5), "number of keys"),
        (attend(axis=-2), "columns of your weights|should get the weight 1"),
        (attend(axis=1), "over axis 1"),
        (attend(scale=lambda q, k, v: q.shape[1] ** 0.5), "scale by another axis"),
        (lambda q, k, v: (q @ k.mT / 4 @ v, q @ k.mT / 4), "Is there a softmax|raw scores"),
        (scaled_after, "scale the weight itself"),
        (
            attend(mix=lambda w, v, k: (w.mT if w.shape[-1] == w.shape[-2] else w) @ v),
            "transposed weights",
        ),
        (attend(mix=lambda w, v, k: w @ (k if k.shape == v.shape else v)), "mix the keys"),
        (
            lambda q, k, v: (attention_by_einsum(q, k, k)[0], attention_by_einsum(q, k, v)[1]),
            "as wide as a key",
        ),
        (lambda q, k, v: attention_by_einsum(q, k, v)[0], "One tensor came back"),
        (lambda q, k, v: attention_by_einsum(q, k, v)[::-1], "weights come first"),
        (lambda q, k, v: (*attention_by_einsum(q, k, v), None), "Two tensors"),
        (
            lambda q, k, v: (F.scaled_dot_product_attention(q, k, v), q @ k.mT),
            "ready-made scaled_dot",
        ),
        (lambda q, k, v: None, "returned None"),
        (lambda q, k, v: [one.detach() for one in attention_by_einsum(q, k, v)], "No gradient"),
        (lambda q, k, v: al.attention.top_k_attention(q, k, v, 99), "ready-made top_k"),
    ],
    "causal_mask": [
        (lambda n: torch.ones(n, n).tril(-1).bool(), "look at itself, so the first"),
        (lambda n: torch.ones(n, n).triu().bool(), "itself and the future"),
        (lambda n: torch.ones(n, n).triu(1).bool(), "turned round"),
        (lambda n: torch.ones(n, n).tril(1).bool(), "one place into the future"),
        (lambda n: torch.ones(n, n).bool(), "look everywhere"),
        (lambda n: torch.eye(n).bool(), "itself only"),
        (lambda n: torch.ones(n, n).tril(), "float32"),
        (lambda n: torch.full((n, n), -math.inf).triu(1), "to be added"),
        (lambda n: torch.ones(n).bool(), r"it is \(\d,\)"),
    ],
    "masked_softmax": [
        (lambda s, m: s.softmax(-1) * m, "after the softmax"),
        (lambda s, m: (s * m).softmax(-1), "with the score 0"),
        (lambda s, m: s.masked_fill(m, -math.inf).softmax(-1).nan_to_num(0), "is it turned round"),
        (lambda s, m: s.softmax(-1), "mask has no effect"),
        (
            lambda s, m: s.masked_fill(~m, -math.inf).softmax(-2).nan_to_num(0),
            "columns of your weights",
        ),
        (finite(-1e4), "finite number"),
        (finite(-1e9), "evenly over hidden keys"),
        (lambda s, m: s.masked_fill(~m, -math.inf).softmax(-1), "0 / 0"),
        (with_log_of_the_mask, "gradient is NaN"),
        (assigned, "going backward fails"),
        (mended_for_matrices, r"(?s)mask \(B, 1, T_q, T_k\).*NaN"),
        (filled_in_place, "in place"),
        (lambda s, m: masked_by_filling(s.detach(), m), "No gradient"),
        (
            lambda s, m: (
                torch.stack([masked_by_filling(a, b) for a, b in zip(s, m, strict=True)])
                if s.shape == m.shape
                else masked_by_filling(s, m.transpose(-1, -2))
            ),
            "let the mask broadcast|RuntimeError",
        ),
    ],
    "split_heads": [
        (reshaped_split, "pieces of several tokens"),
        (lambda x, h: x.view(*x.shape[:2], -1, h).permute(0, 3, 1, 2), "every third number"),
        (lambda x, h: x.view(*x.shape[:2], h, -1), "come after the tokens"),
        (lambda x, h: split_by_view(x, h).transpose(-1, -2), "width of a head have changed"),
        (lambda x, h: split_by_view(x, h).transpose(0, 1), "before the batch"),
        (lambda x, h: split_by_view(x, x.shape[-1] // h), "4 heads of width 3"),
        (lambda x, h: split_by_view(x, h).flip(1), "reverse order"),
        (lambda x, h: split_by_view(x, 3), "Expected shape"),
    ],
    "merge_heads": [
        (reshaped_merge, "pieces of other tokens"),
        (lambda x: x.permute(0, 2, 3, 1).reshape(len(x), x.shape[2], -1), "take turns"),
        (lambda x: x.sum(1), "added up"),
        (lambda x: x.flatten(2), "tokens of each head stand"),
        (lambda x: x.flatten(1, 2), "below each other"),
        (lambda x: x.transpose(1, 2), "join the last two"),
        (lambda x: merge_by_reshape(x).transpose(1, 2), "width comes before"),
        (lambda x: merge_by_reshape(x.flip(1)), "reverse order"),
        (lambda x: x.transpose(1, 2).view(len(x), x.shape[2], -1), "RuntimeError"),
    ],
    "MultiHead": [
        (with_changes(last=lambda self, merged: merged), "`output` gets no gradient"),
        (
            with_changes(last=lambda self, merged: merged + 0 * self.output(merged)),
            "output projection",
        ),
        (with_changes(scale=lambda self, q: q.shape[-1] * q.shape[1]), "whole width"),
        (with_changes(scale=lambda self, q: 1), "not scaled"),
        (with_changes(scale=lambda self, q: q.shape[1]), "number of heads"),
        (with_changes(hidden=lambda self, m: ~m[:, None]), "as it is"),
        (
            with_changes(hidden=lambda self, m: ~(m[:, None] if len(m) == self.texts else m)),
            "as many texts as tokens",
        ),
        (with_changes(merge=staticmethod(reshaped_merge)), "when the heads are merged"),
        (with_changes(split=staticmethod(reshaped_split)), "when the heads are split\\."),
        (
            with_changes(split=staticmethod(reshaped_split), merge=staticmethod(reshaped_merge)),
            "split, and again",
        ),
        (with_changes(weigh=lambda self, scores: scores.softmax(-2)), "runs over the queries"),
        (
            with_changes(split=staticmethod(lambda x, heads: split_by_view(x, 1))),
            "one head over the whole",
        ),
        (with_changes(weigh=lambda self, s: F.dropout(s.softmax(-1), 0.1)), "dropout always on"),
        (NewLayers, "`query` gets no gradient"),
        (with_changes(inputs=lambda self, q, k, v: (q, q, q)), "self-attention whatever"),
        (with_changes(inputs=lambda self, q, k, v: (q, k, k)), "come from the key input"),
        (with_changes(inputs=lambda self, q, k, v: (q, v, v)), "come from the value input"),
        (
            with_changes(inputs=lambda self, q, k, v: (q, v, k)),
            "Keys and values have changed places",
        ),
        (with_changes(forward=no_mask), "mask has no effect"),
        (
            with_changes(hidden=lambda self, m: m[:, None] if m.dim() == 3 else m),
            "mask is turned round",
        ),
        (with_changes(hidden=lambda self, m: ~m), "wrong with a padding mask"),
        (
            with_changes(hidden=lambda self, m: ~(m.mT if m.dim() == 2 else m[:, None])),
            "mask is transposed",
        ),
        (with_changes(far=-100.0), "stays below all others"),
        (with_changes(far=0.0), "exponential 0"),
        (LateMask, "after the softmax"),
        (WithoutGradients, "No gradient"),
        (OtherInit, "Leave __init__ as it is"),
        (UsesTorchs, "ready-made multi_head_attention_forward"),
        (lambda width, heads: AllHeads, "not a torch.nn.Module"),
    ],
}
